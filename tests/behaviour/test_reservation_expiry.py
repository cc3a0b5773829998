"""What expires is given back to whoever needs it, once; a record stays for a day, so that its end can be repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from behaviour.commerce import DAY_MS
from behaviour.holding import ANN, HOUR_MS, everywhere, hold, numbers, status
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, TOKENS, ask, count, found_chain, spend
from headgate import AsyncHeadgate, Conflict, InvalidInput, ManualClock, NotFound, ReservationStatus
from headgate.holds import FREED_MAX


async def test_what_has_expired_is_given_to_whoever_would_be_refused_because_of_it(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine, team=100)
    made = await hold(engine, 75, expires_in=60)
    clock.advance(59_999)
    for answer in (await ask(engine, 26, **ANN), await spend(engine, 26, **ANN), await hold(engine, 26)):
        assert not answer
    assert await status(engine, made.id) is ReservationStatus.OPEN
    clock.advance(1)
    assert await status(engine, made.id) is ReservationStatus.EXPIRED
    assert await ask(engine, 100, **ANN)
    assert await numbers(engine) == everywhere(0, 0)
    assert engine.metrics["holds_freed"] == 1
    assert await status(engine, made.id) is ReservationStatus.EXPIRED


@pytest.mark.parametrize("verb", ["consume", "reserve", "entitlement"])
async def test_each_way_of_asking_frees_what_has_expired(
    target: Target, engine: AsyncHeadgate, clock: ManualClock, verb: str
) -> None:
    await found_chain(engine, account=100)
    for _ in range(3):
        await hold(engine, 30, expires_in=60)
    clock.advance(60_000)
    other = target.open()
    if verb == "entitlement":
        assert (await other.metered_entitlement(ACME, TOKENS, requested_usage=100)).has_access
    elif verb == "consume":
        assert await spend(other, 100, **ANN)
    else:
        assert await hold(other, 100)
    assert other.metrics["holds_freed"] == 3
    assert (await numbers(engine))["account"] == {"consume": (100, 0), "reserve": (0, 100)}.get(verb, (0, 0))


async def test_a_grant_frees_nothing_and_open_holds_stay(
    target: Target, engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    await hold(engine, 75, expires_in=60)
    await hold(engine, 50, expires_in=600)
    clock.advance(60_000)
    await ask(engine, 1, **ANN)
    target.scripts_sent()
    assert await spend(engine, 1, **ANN)
    assert target.scripts_sent() == ["consume"]
    assert not await spend(engine, 950, **ANN)
    assert await numbers(engine) == everywhere(1, 50)


async def test_a_hold_that_was_freed_is_settled_late_and_counted_once(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, expires_in=60)
    clock.advance(60_000)
    assert await engine.reservations.sweep() == 1
    assert await numbers(engine) == everywhere(0, 0)
    assert (await made.settle(30)).status is ReservationStatus.SETTLED
    assert await made.settle(30)
    assert await numbers(engine) == everywhere(30, 0)
    assert await engine.reservations.sweep() == 0


async def test_a_hold_that_is_settled_after_its_expiry_and_before_it_is_freed_is_not_freed(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    made, other = await hold(engine, 75, expires_in=60), await hold(engine, 20, expires_in=60)
    clock.advance(60_000)
    await made.settle(30)
    assert await numbers(engine) == everywhere(30, 20)
    assert await engine.reservations.sweep() == 1
    assert await numbers(engine) == everywhere(30, 0)
    assert await status(engine, other.id) is ReservationStatus.EXPIRED


async def test_an_expired_hold_is_released_late_and_then_not_settled(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, expires_in=60)
    clock.advance(60_000)
    await engine.reservations.sweep()
    assert (await made.release()).status is ReservationStatus.RELEASED
    with pytest.raises(Conflict):
        await made.settle(30)
    assert await numbers(engine) == everywhere(0, 0)


async def test_a_tree_is_read_while_what_has_expired_stands_beyond_a_limit(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine, team=100, account=100)
    await hold(engine, 75, expires_in=60)
    await count(engine, 101, **ANN)
    clock.advance(60_000)
    tree = await engine.governance.tree(ACME, feature=TOKENS)
    assert tree.account.used == 101


# Extending.


async def test_an_extended_hold_lasts_from_now_on(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, expires_in=60)
    clock.advance(59_999)
    extended = await made.extend(timedelta(seconds=90))
    assert (extended.expires_at_ms, made.reservation) == (NOW_MS + 149_999, extended)
    clock.advance(89_999)
    assert await engine.reservations.sweep() == 0
    clock.advance(1)
    assert await engine.reservations.sweep() == 1


async def test_a_hold_can_be_shortened_and_extended_by_its_id(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_chain(engine, account=100)
    made, other = await hold(engine, 75), await hold(engine, 25, expires_in=20)
    await engine.reservations.extend(ACME, made.id, 10)
    clock.advance(10_000)
    assert not await ask(engine, 76, **ANN)
    assert await numbers(engine) == everywhere(0, 25)
    assert await status(engine, other.id) is ReservationStatus.OPEN
    clock.advance(10_000)
    assert await ask(engine, 100, **ANN)


async def test_what_has_ended_or_expired_is_not_extended(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_chain(engine)
    settled, released, due, freed = [await hold(engine, 10, expires_in=each) for each in (90, 90, 60, 30)]
    await settled.settle(1)
    await released.release()
    clock.advance(30_000)
    await engine.reservations.sweep()
    clock.advance(30_000)
    for each, word in ((settled, "settled"), (released, "released"), (due, "expired"), (freed, "expired")):
        with pytest.raises(Conflict, match=word):
            await each.extend(600)
    assert await engine.reservations.sweep() == 1


# Sweeping.


async def test_a_sweep_frees_the_holds_of_customers_whom_nobody_calls(
    target: Target, engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    for number in range(8):  # several partitions
        await engine.customers.put(f"cus-{number}")
        await engine.customers.grant_entitlement(f"cus-{number}", {"feature": TOKENS, "usage_limit": 10})
        for expires_in in (60, 60, 120):
            await engine.reserve(f"cus-{number}", feature=TOKENS, amount=2, expires_in=expires_in)
    clock.advance(60_000)
    other = target.open()
    assert await other.reservations.sweep() == 16
    assert [await each.reservations.sweep() for each in (other, engine)] == [0, 0]
    account = (await engine.check("cus-3", feature=TOKENS)).account
    assert account is not None
    assert account.held == 2
    clock.advance(60_000)
    some = await engine.reservations.sweep(customers_a_partition=1)
    assert 1 <= some <= 4  # of each of four partitions
    assert await engine.reservations.sweep() == 8 - some


async def test_a_sweep_of_an_environment_without_holds_frees_nothing(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    assert await engine.reservations.sweep() == 0


async def test_more_holds_than_one_call_frees_are_all_freed(
    target: Target, engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine, team=FREED_MAX + 1)
    for _ in range(FREED_MAX + 1):
        assert await hold(engine, 1, expires_in=60)
    clock.advance(60_000)
    target.scripts_sent()
    assert await spend(engine, FREED_MAX + 1, **ANN)
    assert target.scripts_sent().count("free") == 2
    assert await numbers(engine) == everywhere(FREED_MAX + 1, 0)


# What is kept of a reservation, and for how long.


async def test_a_record_goes_a_day_after_its_end_and_its_id_is_free_then(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    await (await hold(engine, 75, id="settled")).settle(30)
    await (await hold(engine, 75, id="released")).release()
    await hold(engine, 75, id="expired", expires_in=60)
    clock.advance(60_000)
    assert await engine.reservations.sweep() == 1
    clock.advance(DAY_MS - 60_001)
    await engine.reservations.sweep()
    for id, amount in (("settled", 30), ("released", 0)):
        assert (await engine.reservations.get(ACME, id)).settled == amount
    clock.advance(1)
    await engine.reservations.sweep()
    for id in ("settled", "released"):
        with pytest.raises(NotFound):
            await engine.reservations.get(ACME, id)
    assert await status(engine, "expired") is ReservationStatus.EXPIRED
    clock.advance(60_000)
    await engine.reservations.sweep()
    with pytest.raises(NotFound):
        await engine.reservations.settle(ACME, "expired", 1)
    assert await hold(engine, 5, id="settled")


async def test_nothing_is_left_when_all_holds_have_ended_and_their_records_went(
    target: Target, engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    before = target.dump().keys()
    for number in range(FREED_MAX + 1):
        made = await hold(engine, 1, id=f"job-{number}")
        if number < 60:
            await made.release()
    clock.advance(HOUR_MS)
    assert await engine.reservations.sweep() == FREED_MAX + 1 - 60
    clock.advance(DAY_MS)
    target.scripts_sent()
    await engine.reservations.sweep()
    assert target.scripts_sent().count("free") == 2
    assert {key for key in target.dump() if b":usage:" not in key} == {key for key in before if b":usage:" not in key}


# Until an instant.


def at(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)


async def test_a_reservation_lasts_until_the_instant_that_was_named_to_the_millisecond(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine, team=100)
    made = await hold(engine, 75, expires_at=at(NOW_MS + 90_123))
    assert made.reservation.expires_at_ms == NOW_MS + 90_123
    clock.advance(90_122)
    assert await status(engine, made.id) is ReservationStatus.OPEN
    assert not await ask(engine, 26, **ANN)
    clock.advance(1)
    assert await status(engine, made.id) is ReservationStatus.EXPIRED
    assert await ask(engine, 100, **ANN)


async def test_the_same_instant_is_the_same_request_whenever_it_is_repeated(
    target: Target, engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    until = at(NOW_MS + HOUR_MS)
    first = await hold(engine, 75, id="job-1", expires_at=until)
    clock.advance(1_000)
    assert (await hold(engine, 75, id="job-1", expires_at=until)).reservation.expires_at_ms == NOW_MS + HOUR_MS
    assert await numbers(engine) == everywhere(0, 75)
    before = target.dump()
    for other in ({"expires_at": at(NOW_MS + HOUR_MS + 1)}, {"expires_in": 3_600}, {}):
        with pytest.raises(Conflict, match="another request"):
            await hold(engine, 75, id="job-1", **other)
    assert target.dump() == before
    clock.advance(HOUR_MS)
    late = await hold(engine, 75, id="job-1", expires_at=until)
    assert (late.reservation.status, late.reservation.reserved_at_ms) == (
        ReservationStatus.EXPIRED,
        first.reservation.reserved_at_ms,
    )


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"expires_at": at(NOW_MS)}, "must be 1 second to 24 hours ahead"),
        ({"expires_at": at(NOW_MS + 999)}, "must be 1 second to 24 hours ahead"),
        ({"expires_at": at(NOW_MS - DAY_MS)}, "must be 1 second to 24 hours ahead"),
        ({"expires_at": at(NOW_MS + DAY_MS + 1)}, "must be 1 second to 24 hours ahead"),
        ({"expires_at": datetime(2026, 3, 10, 13)}, "must be a datetime with a time zone"),  # noqa: DTZ001
        ({"expires_at": NOW_MS + HOUR_MS}, "must be a datetime with a time zone"),
        ({"expires_at": at(NOW_MS + HOUR_MS), "expires_in": 60}, "give expires_in or expires_at, not both"),
    ],
)
async def test_an_instant_that_can_not_be_is_refused_and_nothing_is_held(
    target: Target, engine: AsyncHeadgate, given: dict[str, Any], rule: str
) -> None:
    await found_chain(engine)
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await hold(engine, 75, **given)
    assert target.dump() == before
    (problem,) = caught.value.problems
    assert (problem.field, problem.rule) == ("expires_at", rule)


@pytest.mark.parametrize("ahead_ms", [1_000, DAY_MS])
async def test_the_nearest_and_the_farthest_instant_are_accepted(engine: AsyncHeadgate, ahead_ms: int) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, expires_at=at(NOW_MS + ahead_ms))
    assert (await engine.reservations.get(ACME, made.id)).expires_at_ms == NOW_MS + ahead_ms
