"""The ledger: what happened to grants and reservations, each thing once, in the order in which it happened."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import CREDITS, SITE, found_shop, give
from behaviour.holding import HOUR_MS, hold
from behaviour.targets import BOTH_EDGES, NOW_MS, Target
from behaviour.world import ACME, TOKENS, found_chain
from headgate import AsyncHeadgate, InvalidInput, LedgerEntry, LedgerEvent, NotFound, ReservationStatus
from headgate.holds import LISTED_MAX

Told = tuple[LedgerEvent, int, float, float]


async def told(engine: AsyncHeadgate) -> list[Told]:
    """Event, instant after the beginning, amount, and what was returned, of each entry."""
    entries: list[LedgerEntry] = await engine.credits.ledger(ACME, currency=CREDITS)
    assert {(each.customer, each.currency, each.resource) for each in entries} <= {(ACME, CREDITS, None)}
    return [(each.event, each.at_ms - NOW_MS, each.amount, each.returned) for each in entries]


async def test_each_end_of_a_reservation_is_told_with_what_it_gave_back(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_shop(engine)
    await give(engine, 100, id="grant")
    clock.advance(10)
    settled = await engine.reserve(ACME, currency=CREDITS, amount=30, id="settled", metadata={"trace": "a1"})
    await engine.reserve(ACME, currency=CREDITS, amount=20, id="released")
    await engine.reserve(ACME, currency=CREDITS, amount=10, id="forgotten", expires_in=60)
    clock.advance(10)
    await settled.settle(12)
    await engine.reservations.release(ACME, "released")
    clock.advance(60_000)
    assert await told(engine) == [
        (LedgerEvent.GRANTED, 0, 100, 0),
        (LedgerEvent.RESERVED, 10, 10, 0),
        (LedgerEvent.RESERVED, 10, 20, 0),
        (LedgerEvent.RESERVED, 10, 30, 0),
        (LedgerEvent.SETTLED, 20, 12, 18),
        (LedgerEvent.RELEASED, 20, 20, 20),
        (LedgerEvent.RESERVATION_EXPIRED, 60_010, 10, 10),
    ]
    entries = await engine.credits.ledger(ACME, currency=CREDITS)
    assert [each.metadata for each in entries if each.reservation == "settled"] == [{"trace": "a1"}] * 2
    assert len({each.id for each in entries}) == len(entries)


async def test_nothing_new_is_told_when_what_expired_is_freed_or_said_again(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_shop(engine)
    await give(engine, 100, id="grant")
    await engine.reserve(ACME, currency=CREDITS, amount=30, id="done")
    await engine.reserve(ACME, currency=CREDITS, amount=10, id="forgotten", expires_in=60)
    await engine.reservations.settle(ACME, "done", 30)
    clock.advance(60_000)
    before = await told(engine)
    await engine.reservations.sweep()
    await engine.reservations.settle(ACME, "done", 30)
    await engine.reserve(ACME, currency=CREDITS, amount=30, id="done")
    assert await told(engine) == before


async def test_a_late_settle_comes_after_the_expiry_and_gives_nothing_back(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_shop(engine)
    await give(engine, 100, id="grant")
    await engine.reserve(ACME, currency=CREDITS, amount=10, id="late", expires_in=60)
    clock.advance(70_000)
    await engine.reservations.settle(ACME, "late", 4)
    assert await told(engine) == [
        (LedgerEvent.GRANTED, 0, 100, 0),
        (LedgerEvent.RESERVED, 0, 10, 0),
        (LedgerEvent.RESERVATION_EXPIRED, 60_000, 10, 10),
        (LedgerEvent.SETTLED, 70_000, 4, 0),
    ]


async def test_grants_that_expired_or_were_voided_say_what_was_left(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_shop(engine)
    await give(engine, 10, id="short", priority=0, expires_at_ms=NOW_MS + HOUR_MS)
    await give(engine, 20, id="taken-back", priority=1)
    await engine.consume(ACME, currency=CREDITS, amount=13)
    clock.advance(5)
    await engine.credits.void(ACME, "taken-back", currency=CREDITS)
    clock.advance(HOUR_MS)
    assert await told(engine) == [
        (LedgerEvent.GRANTED, 0, 10, 0),
        (LedgerEvent.GRANTED, 0, 20, 0),
        (LedgerEvent.GRANT_VOIDED, 5, 17, 0),
        (LedgerEvent.GRANT_EXPIRED, HOUR_MS, 0, 0),
    ]


async def test_a_resource_has_a_ledger_of_its_own(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    await give(engine, 10, id="of-the-site", resource=SITE)
    await engine.reserve(ACME, currency=CREDITS, amount=4, id="hold", resource=SITE)
    assert await told(engine) == []
    entries = await engine.credits.ledger(ACME, currency=CREDITS, resource=SITE)
    assert [(each.event, each.resource) for each in entries] == [
        (LedgerEvent.GRANTED, SITE),
        (LedgerEvent.RESERVED, SITE),
    ]


async def test_reservations_are_listed_as_they_stand_now(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_chain(engine)
    for place in range(4):
        await hold(engine, 10 + place, id=f"job-{place}", expires_in=3_600 if place else 60)
        clock.advance(1)
    await engine.reservations.settle(ACME, "job-1", 7)
    await engine.reservations.release(ACME, "job-2")
    clock.advance(60_000)
    listed = await engine.reservations.list(ACME)
    assert [(each.id, each.status.name, each.settled) for each in listed] == [
        ("job-0", "EXPIRED", 0),
        ("job-1", "SETTLED", 7),
        ("job-2", "RELEASED", 0),
        ("job-3", "OPEN", 0),
    ]
    assert [each.reserved_at_ms - NOW_MS for each in listed] == [0, 1, 2, 3]
    assert [each.ended_at_ms and each.ended_at_ms - NOW_MS for each in listed] == [60_000, 4, 4, None]
    of_open = await engine.reservations.list(ACME, feature=TOKENS, status=ReservationStatus.OPEN)
    assert [each.id for each in of_open] == ["job-3"]
    assert await engine.reservations.list(ACME, currency=CREDITS) == []


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
async def test_more_reservations_than_one_page_has_are_listed_each_once(target: Target) -> None:
    engine = target.engine
    await found_chain(engine)
    ids = [f"job-{place:04}" for place in range(LISTED_MAX + 40)]
    for id in ids:
        await hold(engine, 1, id=id)
    target.scripts_sent()
    assert sorted(each.id for each in await engine.reservations.list(ACME)) == ids
    assert target.scripts_sent().count("find_holds") > 1


async def test_what_ended_a_day_ago_is_told_no_more_once_its_record_went(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_chain(engine)
    await hold(engine, 10, id="job")
    await engine.reservations.settle(ACME, "job", 7)
    clock.advance(24 * HOUR_MS + 1)
    await engine.reservations.sweep()
    assert await engine.reservations.list(ACME) == []


async def test_whoever_is_not_there_has_no_ledger(target: Target) -> None:
    await found_shop(target.engine)
    with pytest.raises(NotFound, match="nobody"):
        await target.engine.reservations.list("nobody")
    with pytest.raises(NotFound, match="nobody"):
        await target.engine.credits.ledger("nobody", currency=CREDITS)
    with pytest.raises(NotFound, match="no-such"):
        await target.engine.credits.ledger(ACME, currency="no-such")


@pytest.mark.parametrize("status", ["OPEN", 1, "nonsense", ReservationStatus.REFUSED])
async def test_a_status_that_is_none_is_refused(target: Target, status: object) -> None:
    await found_chain(target.engine)
    with pytest.raises(InvalidInput, match="status"):
        await target.engine.reservations.list(ACME, status=status)  # type: ignore[arg-type]


@pytest.mark.parametrize("customers", [0, -1, 1.5, "x", None, True, 5_001])
async def test_a_number_of_customers_that_is_none_is_refused(target: Target, customers: Any) -> None:
    with pytest.raises(InvalidInput, match="customers_a_partition"):
        await target.engine.reservations.sweep(customers_a_partition=customers)


async def test_a_settle_in_the_millisecond_of_the_expiry_comes_after_it(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_shop(engine)
    await give(engine, 100, id="grant")
    await engine.reserve(ACME, currency=CREDITS, amount=35, id="job", expires_in=60)
    clock.advance(60_000)
    await engine.reservations.sweep()
    await engine.reservations.settle(ACME, "job", 0)
    assert [(event, returned) for event, _, _, returned in await told(engine)] == [
        (LedgerEvent.GRANTED, 0),
        (LedgerEvent.RESERVED, 0),
        (LedgerEvent.RESERVATION_EXPIRED, 35),
        (LedgerEvent.SETTLED, 0),
    ]
