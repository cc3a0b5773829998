"""The ledger, derived: what grants and the records of reservations say happened to them. Pure.

Nothing is written for it. A grant is known for ever, a reservation until 24 hours after its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from headgate.amounts import add
from headgate.model.credits import Charge, GrantState, GrantStatus
from headgate.model.ledger import LedgerEntry, LedgerEvent
from headgate.model.reservation import Reservation, ReservationStatus

NOTHING_SET_ASIDE: Final[Mapping[str, tuple[Charge, ...]]] = MappingProxyType({})
_ORDER = {event: rank for rank, event in enumerate(LedgerEvent)}


def ledger(
    customer: str,
    grants: Iterable[GrantState],
    reservations: Iterable[tuple[Reservation, float]],
    *,
    now_ms: int,
    set_aside: Mapping[str, tuple[Charge, ...]] = NOTHING_SET_ASIDE,
) -> list[LedgerEntry]:
    """Tell what happened until an instant, the earliest first. Each reservation comes with what it sets aside.

    `set_aside` says of the reservations, by id, what of which grant that is.
    """
    entries = [entry for grant in grants for entry in _of_grant(customer, grant)]
    for each, held in reservations:
        entries += _of_reservation(each, held, set_aside.get(each.id, ()))
    happened = [entry for entry in entries if entry.at_ms <= now_ms]
    return sorted(happened, key=lambda entry: (entry.at_ms, _ORDER[entry.event], entry.id))


def _of_grant(customer: str, grant: GrantState) -> Iterator[LedgerEntry]:
    def entry(event: LedgerEvent, at_ms: int, amount: float) -> LedgerEntry:
        return LedgerEntry(
            event, at_ms, amount, customer, currency=grant.currency, resource=grant.resource, grant=grant.id
        )

    yield entry(LedgerEvent.GRANTED, grant.created_at_ms, grant.amount)
    if grant.voided_at_ms is not None:
        yield entry(LedgerEvent.GRANT_VOIDED, grant.voided_at_ms, grant.voided)
    elif grant.status is GrantStatus.EXPIRED and grant.expires_at_ms is not None:
        yield entry(LedgerEvent.GRANT_EXPIRED, grant.expires_at_ms, grant.expired)


def _of_reservation(reservation: Reservation, held: float, set_aside: tuple[Charge, ...]) -> Iterator[LedgerEntry]:
    """Tell what happened to one reservation: it was made, and perhaps it has ended. One may be settled after expiry."""
    settled = reservation.settled if reservation.currency is None else reservation.settled_credits

    def entry(event: LedgerEvent, at_ms: int, amount: float, returned: float = 0.0) -> LedgerEntry:
        return LedgerEntry(
            event,
            at_ms,
            amount,
            reservation.customer,
            currency=reservation.currency,
            feature=reservation.feature,
            resource=reservation.resource,
            reservation=reservation.id,
            returned=returned,
            metadata=reservation.metadata,
            set_aside=set_aside,
        )

    yield entry(LedgerEvent.RESERVED, reservation.reserved_at_ms, held)
    if reservation.ended_at_ms is None:
        return
    is_late = reservation.ended_at_ms >= reservation.expires_at_ms
    if is_late:
        yield entry(LedgerEvent.RESERVATION_EXPIRED, reservation.expires_at_ms, held, held)
    rest = 0.0 if is_late else max(add(held, -settled), 0.0)
    if reservation.status is ReservationStatus.SETTLED:
        yield entry(LedgerEvent.SETTLED, reservation.ended_at_ms, settled, rest)
    elif reservation.status is ReservationStatus.RELEASED:
        yield entry(LedgerEvent.RELEASED, reservation.ended_at_ms, held, rest)
