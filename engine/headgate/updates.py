"""What an update message means. Pure: it only makes staleness rarer, no verdict depends on a message arriving."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headgate import wire
from headgate.cache import State


class UpdateKind(StrEnum):
    """What changed."""

    CATALOG = "catalog"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Update:
    """The configuration of a customer, or the catalog, has changed and stands at `token` now."""

    kind: UpdateKind
    customer: str | None
    token: bytes


def read_update(message: bytes) -> Update | None:
    """Read a message, or return None for one of a kind that this version does not know."""
    try:
        fields = wire.unpack_update(message)
        return Update(UpdateKind(fields["kind"]), fields["customer"] or None, fields["token"])
    except (ValueError, KeyError, TypeError):
        return None


def apply_update(state: State, update: Update) -> None:
    """Forget what the update made stale, if this client does not stand there already."""
    catalog = state.catalog
    if update.kind is UpdateKind.CATALOG and catalog is not None and catalog.token != update.token:
        state.catalog = None
    if update.kind is UpdateKind.CUSTOMER and update.customer is not None:
        state.told.put(update.customer, update.token)
