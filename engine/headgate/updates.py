"""What an update message means. Pure: it only makes staleness rarer, no verdict depends on a message arriving.

What is answered without asking Redis does depend on it: the rules of headgate.entitlement_cache say how far.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from headgate import keys, wire
from headgate.cache import State
from headgate.model.decision import instant
from headgate.usage_notes import UsageNote


class UpdateKind(StrEnum):
    """What changed; `MISSED` says that some updates may not have been heard: read again what you show."""

    CATALOG = "catalog"
    CUSTOMER = "customer"
    USAGE = "usage"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Update:
    """The configuration of a customer, or the catalog, has changed and stands at `token` now; or usage was counted.

    Usage is told of the account level, some times a second: `feature` or `currency` names what was counted, `used` and
    `held` are the counter at the instant `at`; `used` is None where it has changed and the number was not at hand.
    """

    kind: UpdateKind
    customer: str | None
    token: bytes = b""
    feature: str | None = None
    currency: str | None = None
    resource: str | None = None
    used: float | None = None
    held: float = 0.0
    at: datetime | None = None

    def concerns(self, customer: str | None) -> bool:
        """Whether who asks for the updates of a customer is to be told: of its own, and of what is about all."""
        return customer is None or self.customer is None or self.customer == customer


MISSED: Final = Update(UpdateKind.MISSED, None)

_FEATURE: Final = keys.feature_capability("")
_CURRENCY: Final = keys.currency_capability("")


def read_updates(state: State | None, message: bytes) -> list[Update]:
    """Read a message, let the state of a client learn from it, and say what it tells.

    Nothing, for a message of a kind that this version does not know.
    """
    try:
        fields = wire.unpack_update(message)
        kind = UpdateKind(fields["kind"])
        if kind is UpdateKind.USAGE:
            notes = wire.unpack_usage_update(fields)
            updates = [_of_note(_required(note)) for note in notes]
        else:
            notes = []
            customer, token = fields["customer"] or None, fields["token"]
            if not isinstance(customer, str | None) or not isinstance(token, bytes):
                raise TypeError("a customer is a text, and a token bytes")
            updates = [Update(kind, customer, token)]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return []
    if state is not None:
        for note in notes:
            state.entitlements.note_usage(note)
        for update in updates:
            apply_update(state, update)
    return updates


def _required(note: UsageNote) -> UsageNote:
    """A note as another process should send it; raises TypeError where it is none."""
    names = (note.customer, note.capability, note.resource or "")
    numbers = (note.at_ms, note.start_ms, note.used or 0.0, note.held)
    if not all(isinstance(each, str) for each in names) or not all(isinstance(each, int | float) for each in numbers):
        raise TypeError("ids are texts, and what is counted are numbers")
    return note


def _of_note(note: UsageNote) -> Update:
    capability = note.capability
    return Update(
        UpdateKind.USAGE,
        note.customer,
        feature=capability.removeprefix(_FEATURE) if capability.startswith(_FEATURE) else None,
        currency=capability.removeprefix(_CURRENCY) if capability.startswith(_CURRENCY) else None,
        resource=note.resource,
        used=note.used,
        held=note.held,
        at=instant(note.at_ms),
    )


def apply_update(state: State, update: Update) -> None:
    """Forget what the update made stale, if this client does not stand there already."""
    catalog = state.catalog
    if update.kind is UpdateKind.CATALOG:
        if catalog is not None and catalog.token != update.token:
            state.catalog = None
        state.entitlements.drop_all(update.token)
    if update.kind is UpdateKind.CUSTOMER and update.customer is not None:
        state.told.put(update.customer, update.token)
        state.entitlements.drop_customer(update.customer, update.token)
