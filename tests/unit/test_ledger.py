"""The ledger is derived: each fact of a grant or a reservation is one entry, and what will happen is none."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.ledger import ledger
from headgate.model.credits import GrantKind, GrantState, GrantStatus
from headgate.model.ledger import LedgerEvent
from headgate.model.reservation import Reservation, ReservationStatus


def granted(status: GrantStatus, **more: Any) -> GrantState:
    named = {"currency": "credits", "resource": None, "kind": GrantKind.PAID, "priority": 50, "amount": 10.0}
    return GrantState(**{"id": "g", "status": status, "consumed": 3.0, "held": 1.0, **named, **more})


def reserved(status: ReservationStatus, currency: str | None = "credits", **more: Any) -> Reservation:
    named = {"feature": "tokens", "currency": currency, "resource": None, "amount": 4.0, "credits": 10.0}
    times = {"reserved_at_ms": 100, "expires_at_ms": 1_100}
    return Reservation(**{"id": "r", "customer": "acme", "status": status, **named, **times, **more})


def told(*, grants: Any = (), reservations: Any = (), now_ms: int = 9_999) -> list[tuple[str, int, float, float]]:
    entries = ledger("acme", grants, reservations, now_ms=now_ms)
    return [(each.event.value, each.at_ms, each.amount, each.returned) for each in entries]


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (granted(GrantStatus.ACTIVE, effective_at_ms=50, expires_at_ms=None, created_at_ms=5), []),
        (
            granted(GrantStatus.EXPIRED, effective_at_ms=50, expires_at_ms=90, created_at_ms=5),
            [("GRANT_EXPIRED", 90, 6, 0)],
        ),
        (
            granted(GrantStatus.VOIDED, effective_at_ms=50, expires_at_ms=90, created_at_ms=5, voided_at_ms=60),
            [("GRANT_VOIDED", 60, 6, 0)],
        ),
    ],
)
def test_a_grant_is_given_once_and_ends_once(grant: GrantState, expected: list[Any]) -> None:
    assert told(grants=[grant]) == [("GRANTED", 5, 10, 0), *expected]


@pytest.mark.parametrize(
    ("reservation", "expected"),
    [
        (reserved(ReservationStatus.OPEN), []),
        (
            reserved(ReservationStatus.SETTLED, ended_at_ms=200, settled=1, settled_credits=2.5),
            [("SETTLED", 200, 2.5, 7.5)],
        ),
        (
            reserved(ReservationStatus.SETTLED, ended_at_ms=200, settled=8, settled_credits=20.0),
            [("SETTLED", 200, 20, 0)],
        ),
        (reserved(ReservationStatus.RELEASED, ended_at_ms=200), [("RELEASED", 200, 10, 10)]),
        (reserved(ReservationStatus.EXPIRED, ended_at_ms=1_100), [("RESERVATION_EXPIRED", 1_100, 10, 10)]),
        (
            reserved(ReservationStatus.RELEASED, ended_at_ms=1_200),
            [("RESERVATION_EXPIRED", 1_100, 10, 10), ("RELEASED", 1_200, 10, 0)],
        ),
    ],
)
def test_a_reservation_is_made_once_and_what_became_of_it_follows(reservation: Reservation, expected: Any) -> None:
    assert told(reservations=[(reservation, 10.0)]) == [("RESERVED", 100, 10, 0), *expected]


def test_what_a_soft_wallet_could_not_set_aside_is_not_given_back() -> None:
    settled = reserved(ReservationStatus.SETTLED, ended_at_ms=200, settled=1, settled_credits=2.5)
    assert told(reservations=[(settled, 6.0)]) == [("RESERVED", 100, 6, 0), ("SETTLED", 200, 2.5, 3.5)]


def test_units_are_told_where_no_credits_are_paid() -> None:
    settled = reserved(ReservationStatus.SETTLED, None, ended_at_ms=200, settled=1)
    assert told(reservations=[(settled, 4.0)]) == [("RESERVED", 100, 4, 0), ("SETTLED", 200, 1, 3)]


def test_what_is_still_to_come_is_not_told() -> None:
    grant = granted(GrantStatus.SCHEDULED, effective_at_ms=50, expires_at_ms=90, created_at_ms=5)
    assert told(grants=[grant], now_ms=4) == []
    assert told(grants=[grant], now_ms=5) == [("GRANTED", 5, 10, 0)]


def test_entries_of_one_instant_stand_in_the_order_of_the_events() -> None:
    grants = [granted(GrantStatus.VOIDED, effective_at_ms=0, expires_at_ms=None, created_at_ms=100, voided_at_ms=100)]
    entries = ledger("acme", grants, [(reserved(ReservationStatus.OPEN), 10.0)], now_ms=100)
    assert [each.event for each in entries] == [
        LedgerEvent.GRANTED,
        LedgerEvent.RESERVED,
        LedgerEvent.GRANT_VOIDED,
    ]
    assert len({each.id for each in entries}) == 3
