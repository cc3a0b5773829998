"""The ledger of credits, as clients are shown it.

A reservation changes the balance when it is made and when it ends: its entries carry what they did to it, so a reserve
is negative, and so is a settle that used more than was held. The amounts of other entries are what was granted,
expired or voided. What was used outside reservations is not told one by one: the grants say how much that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from headgate.amounts import AmountOutOfRange, add
from headgate.model.decision import instant
from headgate.model.ledger import LedgerEntry, LedgerEvent
from headgate.rest.shapes import Answer, Number


class CreditEvent(StrEnum):
    """What happened, as the wire spells it. Those that Headgate does not tell may be asked for; there are none."""

    GRANTED = "CREDITS_GRANTED"
    EXPIRED = "CREDITS_EXPIRED"
    CONSUMED = "CREDITS_CONSUMED"
    VOIDED = "CREDITS_VOIDED"
    UPDATED = "CREDITS_UPDATED"
    TRANSFER_SOURCE = "CREDITS_CONSUMPTION_TRANSFER_SOURCE"
    TRANSFER_TARGET = "CREDITS_CONSUMPTION_TRANSFER_TARGET"
    RESERVED = "CREDITS_RESERVED"
    RESERVATION_RELEASED = "CREDITS_RESERVATION_RELEASED"
    RESERVATION_EXPIRED = "CREDITS_RESERVATION_EXPIRED"


CREDIT_EVENTS: Final = {
    LedgerEvent.GRANTED: CreditEvent.GRANTED,
    LedgerEvent.GRANT_EXPIRED: CreditEvent.EXPIRED,
    LedgerEvent.GRANT_VOIDED: CreditEvent.VOIDED,
    LedgerEvent.RESERVED: CreditEvent.RESERVED,
    LedgerEvent.SETTLED: CreditEvent.RESERVATION_RELEASED,
    LedgerEvent.RELEASED: CreditEvent.RESERVATION_RELEASED,
    LedgerEvent.RESERVATION_EXPIRED: CreditEvent.RESERVATION_EXPIRED,
}

_ENDS: Final = (LedgerEvent.SETTLED, LedgerEvent.RELEASED, LedgerEvent.RESERVATION_EXPIRED)


class LedgerAnswer(Answer):
    """One thing that happened to credits. `creditGrantId` of a reservation is the first grant that it was held of."""

    event_id: str
    event_type: CreditEvent
    timestamp: datetime
    amount: Number
    hold_returned_amount: Number | None
    customer_id: str
    resource_id: str | None
    credit_currency_id: str
    credit_grant_id: str
    feature_id: str | None
    reservation_id: str | None
    metadata: dict[str, str] | None
    breakdown: None = None

    @classmethod
    def of(cls, entry: LedgerEntry, held: Held, grant_id: str) -> Self:
        """Show an entry, of whose reservation this was held until then."""
        is_end = entry.event in _ENDS
        return cls(
            event_id=entry.id,
            event_type=CREDIT_EVENTS[entry.event],
            timestamp=instant(entry.at_ms),
            amount=_effect(entry, held.get(entry.id, 0.0)),
            hold_returned_amount=held.get(entry.id, 0.0) if is_end else None,
            customer_id=entry.customer,
            resource_id=entry.resource,
            credit_currency_id=entry.currency or "",
            credit_grant_id=grant_id,
            feature_id=entry.feature,
            reservation_id=entry.reservation,
            metadata=entry.metadata if entry.reservation is not None else None,
        )


Held = Mapping[str, float]
"""What was still held when a reservation ended, by the ids of the entries that tell it."""


def held_until(entries: Iterable[LedgerEntry]) -> dict[str, float]:
    """Find out what each end of a reservation gave back first. One that is settled after it expired gives nothing."""
    open_holds: dict[str, float] = {}
    held: dict[str, float] = {}
    for entry in entries:
        if entry.reservation is None:
            continue
        if entry.event is LedgerEvent.RESERVED:
            open_holds[entry.reservation] = entry.amount
        elif entry.event in _ENDS:
            held[entry.id] = open_holds.pop(entry.reservation, 0.0)
    return held


def _effect(entry: LedgerEntry, held: float) -> float:
    """What an entry of a reservation did to the balance; of any other, its amount."""
    match entry.event:
        case LedgerEvent.RESERVED:
            return -entry.amount
        case LedgerEvent.SETTLED:
            return _difference(held, entry.amount)
        case LedgerEvent.RELEASED | LedgerEvent.RESERVATION_EXPIRED:
            return held
        case _:
            return entry.amount


def _difference(held: float, used: float) -> float:
    try:
        return add(held, -used)
    except AmountOutOfRange:
        return held - used
