"""A hold in a `with` block: however the block is left, what was not used is given back."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from typing import Any

import anyio
import pytest

from behaviour.holding import ANN, everywhere, hold, numbers, status
from behaviour.targets import BOTH_EDGES, SERVERS, Target
from behaviour.world import ACME, TOKENS, ask, found_chain, spend
from headgate import (
    AsyncHeadgate,
    Conflict,
    InvalidInput,
    ManualClock,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    ReservationStatus,
    Unavailable,
)

ON_BOTH_EDGES = pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
"""For what is refused before anything is sent."""

ASYNC_ONLY = pytest.mark.parametrize("target", [f"async-{SERVERS[0]}", "async-in-process"], indirect=True)
"""For rules of asyncio alone, which are the same on every server."""


class Stop(BaseException):
    """What ends a program, as KeyboardInterrupt does."""


async def leave(reserving: Any, error: BaseException, *, counted: float | None = None) -> None:
    """Leave a block by an error, after something was counted."""
    async with reserving as made:
        if counted is not None:
            made.count(counted)
        raise error


async def test_leaving_the_block_gives_all_of_it_back(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        assert await numbers(engine) == everywhere(0, 75)
    assert made.reservation.status is ReservationStatus.RELEASED
    assert await numbers(engine) == everywhere(0, 0)


@pytest.mark.parametrize("error", [None, Stop()])
@pytest.mark.parametrize("ends", ["settle", "release"])
async def test_an_end_that_may_not_have_come_about_is_asked_for_again_when_the_block_is_left(
    target: Target, engine: AsyncHeadgate, ends: str, error: BaseException | None
) -> None:
    def cut() -> None:
        raise OutcomeUnknown("its reply never came")

    await found_chain(engine)
    with contextlib.suppress(Stop):
        async with hold(engine, 75, id="job") as made:
            made.count(5)
            target.before("settle", cut)
            with pytest.raises(OutcomeUnknown):
                await (made.settle(60) if ends == "settle" else made.release())
            if error is not None:
                raise error
    assert await numbers(engine) == everywhere(60 if ends == "settle" else 0, 0)
    assert await status(engine, "job") is ReservationStatus["SETTLED" if ends == "settle" else "RELEASED"]


async def test_an_end_that_is_there_already_is_not_asked_for_again(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75, id="job") as made:
        await engine.reservations.settle(ACME, "job", 10)
        with pytest.raises(Conflict):
            await made.settle(60)
    assert await numbers(engine) == everywhere(10, 0)


async def test_who_repeats_an_id_ends_nothing_of_who_made_it_by_leaving(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    first = await hold(engine, 75, id="job")
    async with hold(engine, 75, id="job") as second:
        assert second
    with pytest.raises(Stop):
        await leave(hold(engine, 75, id="job"), Stop())
    assert await numbers(engine) == everywhere(0, 75)
    await first.settle(33)
    assert await numbers(engine) == everywhere(33, 0)


async def test_who_repeats_an_id_and_counts_settles_what_was_counted(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await hold(engine, 75, id="job")
    async with hold(engine, 75, id="job") as second:
        second.count(20)
    assert await numbers(engine) == everywhere(20, 0)


async def test_nothing_is_counted_any_more_after_the_end(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        await made.settle(10)
        with pytest.raises(Conflict, match="settled or released already"):
            made.count(5)


async def test_an_extension_without_a_span_lasts_as_long_as_at_first(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75, expires_in=90)
    target.clock.advance(60_000)
    extended = await made.extend()
    assert extended.expires_at_ms == target.clock.now_ms + 90_000


async def test_what_was_settled_in_the_block_stays_settled(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        await made.settle(30)
    assert await status(engine, made.id) is ReservationStatus.SETTLED
    assert await numbers(engine) == everywhere(30, 0)


async def test_what_was_released_in_the_block_stays_released(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        await made.release()
        target.scripts_sent()
    assert target.scripts_sent() == []
    assert await numbers(engine) == everywhere(0, 0)


async def test_a_hold_that_was_waited_for_can_be_used_as_a_block(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    made = await hold(engine, 75)
    async with made as same:
        assert same.id == made.id
    assert await numbers(engine) == everywhere(0, 0)


@pytest.mark.parametrize("error", [ValueError, Stop, asyncio.CancelledError])
async def test_leaving_by_an_exception_gives_all_of_it_back(engine: AsyncHeadgate, error: type[BaseException]) -> None:
    await found_chain(engine)
    with pytest.raises(error):
        await leave(hold(engine, 75), error())
    assert await numbers(engine) == everywhere(0, 0)


async def test_what_a_stream_counted_is_settled_when_the_block_is_left(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        assert [made.count(each) for each in (10, 0.5, Decimal("0.1"), 0)] == [10, 10.5, 10.6, 10.6]
        assert await numbers(engine) == everywhere(0, 75)
    assert (made.reservation.status, made.reservation.settled) == (ReservationStatus.SETTLED, 10.6)
    assert await numbers(engine) == everywhere(10.6, 0)


@pytest.mark.parametrize("error", [ValueError, Stop])
async def test_what_a_stream_counted_until_it_broke_is_settled_too(
    engine: AsyncHeadgate, error: type[BaseException]
) -> None:
    await found_chain(engine)
    with pytest.raises(error):
        await leave(hold(engine, 75), error(), counted=10)
    assert await numbers(engine) == everywhere(10, 0)


async def test_a_stream_that_counts_more_than_was_held_is_charged_for_all_of_it(engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=100)
    async with hold(engine, 75) as made:
        made.count(60)
        made.count(60)
    assert await numbers(engine) == everywhere(120, 0)
    assert not await ask(engine, 1, **ANN)


async def test_what_is_settled_says_more_than_what_was_counted(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        made.count(10)
        await made.settle(30)
    assert await numbers(engine) == everywhere(30, 0)


async def test_a_block_that_took_longer_than_its_hold_lasts_counts_late(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine, team=100)
    async with hold(engine, 75, expires_in=60) as made:
        made.count(30)
        clock.advance(60_000)
        assert await spend(engine, 100, **ANN)
    assert await numbers(engine) == everywhere(130, 0)
    async with hold(engine, 0, expires_in=60):
        clock.advance(60_000)
        await engine.reservations.sweep()
    assert await numbers(engine) == everywhere(130, 0)


async def test_a_block_whose_hold_another_process_ended_in_another_way_says_so(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    with pytest.raises(Conflict):
        async with hold(engine, 75) as made:
            await target.open().reservations.settle(ACME, made.id, 30)
    assert await numbers(engine) == everywhere(30, 0)


async def test_an_error_in_the_block_is_not_hidden_by_one_of_giving_back(
    target: Target, engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)

    def refuse() -> None:
        raise Unavailable("the server is gone")

    with pytest.raises(Unavailable):
        async with hold(engine, 20, expires_in=60):
            target.before("settle", refuse)
    target.before("settle", refuse)
    with pytest.raises(ValueError, match="mine"):
        await leave(hold(engine, 20, expires_in=60), ValueError("mine"))
    assert await numbers(engine) == everywhere(0, 40)
    clock.advance(60_000)
    assert await engine.reservations.sweep() == 2
    assert await numbers(engine) == everywhere(0, 0)


# Cancellation.


@ASYNC_ONLY
async def test_a_task_that_is_canceled_in_its_block_gives_all_of_it_back(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    inside = asyncio.Event()

    async def work() -> None:
        async with hold(engine, 75):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    assert await numbers(engine) == everywhere(0, 75)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(engine) == everywhere(0, 0)


@ASYNC_ONLY
async def test_a_task_that_is_canceled_again_while_it_gives_back_waits_until_it_has(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    inside = asyncio.Event()

    async def work() -> None:
        async with hold(engine, 75) as made:
            made.count(10)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    target.before("settle", task.cancel)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert target.sent[-1].script == "settle"
    assert await numbers(engine) == everywhere(10, 0)


@ASYNC_ONLY
async def test_a_scope_that_is_canceled_has_given_back_when_it_is_left(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    with anyio.CancelScope() as scope:
        async with hold(engine, 75) as made:
            made.count(10)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert target.sent[-1].script == "settle"
    assert await numbers(engine) == everywhere(10, 0)


@ASYNC_ONLY
async def test_a_deadline_that_passes_in_the_block_is_told_as_one(engine: AsyncHeadgate) -> None:
    await found_chain(engine)

    async def work() -> None:
        async with asyncio.timeout(None) as timeout, hold(engine, 75):
            timeout.reschedule(asyncio.get_running_loop().time())
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()
    assert await numbers(engine) == everywhere(0, 0)


@ASYNC_ONLY
async def test_a_task_that_is_canceled_while_it_reserves_holds_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    for id in (None, "job-1"):
        task: asyncio.Task[Any] = asyncio.ensure_future(_waited_for(engine, id))
        target.before("reserve", task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [call.script for call in target.sent[-2:]] == ["reserve", "settle"]
        assert await numbers(engine) == everywhere(0, 0)


@ASYNC_ONLY
async def test_a_task_that_is_canceled_while_it_repeats_a_request_takes_nothing_from_who_made_it(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    await hold(engine, 75, id="job-1")
    task: asyncio.Task[Any] = asyncio.ensure_future(_waited_for(engine, "job-1"))
    target.before("reserve", task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(engine) == everywhere(0, 75)


def cancel_all(but: set[asyncio.Task[Any]]) -> None:
    """Cancel every task, as the end of a loop does, but those that run the test."""
    for task in asyncio.all_tasks() - but:
        task.cancel()


@ASYNC_ONLY
@pytest.mark.parametrize("counted", [None, 10])
async def test_a_loop_that_cancels_every_task_leaves_nothing_held_and_loses_nothing(
    target: Target, engine: AsyncHeadgate, counted: int | None
) -> None:
    await found_chain(engine)
    of_the_test = asyncio.all_tasks()
    inside = asyncio.Event()

    async def work() -> None:
        async with hold(engine, 75) as made:
            if counted is not None:
                made.count(counted)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    target.before("settle", lambda: cancel_all(of_the_test))
    cancel_all(of_the_test)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(engine) == everywhere(counted or 0, 0)


@ASYNC_ONLY
async def test_a_loop_that_cancels_every_task_while_one_reserves_leaves_nothing_held(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    of_the_test = asyncio.all_tasks()
    task: asyncio.Task[Any] = asyncio.ensure_future(_waited_for(engine, None))
    target.before("reserve", lambda: cancel_all(of_the_test))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(engine) == everywhere(0, 0)


@ASYNC_ONLY
async def test_a_reservation_may_be_awaited_more_than_once(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    reserving = hold(engine, 75)
    first, second = await reserving, await reserving
    assert first is second
    assert await numbers(engine) == everywhere(0, 75)


@ASYNC_ONLY
async def test_a_task_that_is_canceled_while_it_is_refused_is_canceled(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=10)
    task: asyncio.Task[Any] = asyncio.ensure_future(_waited_for(engine, None))
    target.before("reserve", task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await numbers(engine) == everywhere(0, 0)


async def _waited_for(engine: AsyncHeadgate, id: str | None) -> Any:
    return await hold(engine, 75, id=id)


@ASYNC_ONLY
async def test_a_reservation_that_is_waited_for_twice_is_one(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    reserving = hold(engine, 75)
    assert await reserving is await reserving
    assert await numbers(engine) == everywhere(0, 75)
    async with reserving as made:
        assert made is await reserving
    assert await numbers(engine) == everywhere(0, 0)


# What is not accepted.


@ON_BOTH_EDGES
@pytest.mark.parametrize(
    ("named", "field"),
    [
        *(({"amount": bad}, "amount") for bad in (-1, "5", None, True, float("nan"), float("inf"), 2**53)),
        *(({"expires_in": bad}, "expires_in") for bad in (0, 0.999, 86_400.001, -5, True, "60", float("nan"))),
        *(({"id": bad}, "id") for bad in ("", "a b", "a:b", "{a}", "x" * 256, 5)),
        *(({"metadata": bad}, "metadata") for bad in ("text", {"a": 1}, {1: "a"}, {"a": "x" * 4_096}, [("a", "b")])),
        ({"metadata": {"a": "\ud800"}}, "metadata"),
        ({"dimensions": {"teamId": None}}, "dimensions.teamId"),
        ({"feature": None}, "feature"),
        ({"currency": "currency-credits"}, "feature"),
        ({"resource": "a b"}, "resource"),
    ],
)
async def test_a_reservation_that_breaks_a_rule_is_refused_before_anything_is_sent(
    target: Target, engine: AsyncHeadgate, named: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await hold(engine, **named)
    (problem,) = caught.value.problems
    assert (problem.field, bool(problem.rule)) == (field, True)
    assert target.sent == []


@ON_BOTH_EDGES
@pytest.mark.parametrize("amount", [-1, "5", None, True, float("nan"), 2**53])
async def test_an_amount_that_was_not_used_by_anybody_is_refused(engine: AsyncHeadgate, amount: Any) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        for use in (made.settle, lambda used: engine.reservations.settle(ACME, made.id, used)):
            with pytest.raises(InvalidInput, match="amount"):
                await use(amount)
        with pytest.raises(InvalidInput, match="amount"):
            made.count(amount)
        assert await numbers(engine) == everywhere(0, 75)
    assert made.reservation.status is ReservationStatus.RELEASED


async def test_a_count_beyond_the_range_of_exact_numbers_is_refused_and_the_rest_stays_counted(
    engine: AsyncHeadgate,
) -> None:
    await found_chain(engine)
    async with hold(engine, 75) as made:
        made.count(10)
        with pytest.raises(OutOfRange):
            made.count(2**53 - 1)
        assert made.count(1) == 11
    assert await numbers(engine) == everywhere(11, 0)


async def test_a_settle_beyond_the_range_of_exact_numbers_gives_back_what_was_held(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await spend(engine, 1, **ANN)
    made = await hold(engine, 75)
    await made.settle(2**53 - 1)
    assert await numbers(engine) == everywhere(1, 0)
    assert not await ask(engine, 1_000, **ANN)
    assert await ask(engine, 999, **ANN)


@ON_BOTH_EDGES
async def test_ids_and_spans_are_looked_at_by_every_method(target: Target, engine: AsyncHeadgate) -> None:
    reservations = engine.reservations
    calls: list[tuple[Any, str]] = [
        *(
            (each, "customer")
            for each in (lambda: reservations.get("a b", "x"), lambda: reservations.settle("", "x", 1))
        ),
        *(
            (each, "id")
            for each in (lambda: reservations.release(ACME, "a b"), lambda: reservations.extend(ACME, "", 9))
        ),
        (lambda: reservations.extend(ACME, "x", 0), "expires_in"),
    ]
    for call, field in calls:
        with pytest.raises(InvalidInput) as caught:
            await call()
        assert [problem.field for problem in caught.value.problems] == [field]
    assert target.sent == []


async def test_the_longest_and_the_shortest_span_and_the_longest_metadata_are_accepted(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_chain(engine)
    metadata = {"a": "x" * (4_096 - 6)}
    for expires_in in (1, 86_400):
        made = await hold(engine, 1, expires_in=expires_in, metadata=metadata)
        assert made.reservation.expires_at_ms == clock.now_ms + expires_in * 1_000
        assert (await engine.reservations.get(ACME, made.id)).metadata == metadata
    with pytest.raises(InvalidInput):
        await hold(engine, 1, metadata={"a": "x" * (4_096 - 5)})


async def test_an_id_that_was_never_reserved_is_not_made_by_settling_it(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    before = target.dump()
    with pytest.raises(NotFound, match="job-1"):
        await engine.reservations.settle(ACME, "job-1", 5)
    assert target.dump() == before
    assert (await engine.check(ACME, feature=TOKENS)).granted
