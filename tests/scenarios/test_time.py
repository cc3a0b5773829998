"""Clocks that step, run fast or were wild: a budget is never given twice, and what is held is never forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from headgate.calls import Call, Reply
from headgate.clock import ManualClock
from headgate.errors import ConfigurationKeepsChanging
from headgate.wire import Counter, Status
from scenarios.setting import (
    DAY_MS,
    HOUR_MS,
    MIDNIGHT_MS,
    Between,
    Place,
    budget,
    check,
    consume,
    furnish,
    report,
    send,
)

DAILY = {"reset_period": "DAY", "reset_anchor_ms": MIDNIGHT_MS}
TOMORROW_MS = MIDNIGHT_MS + DAY_MS


def test_a_clock_that_steps_back_over_midnight_gives_no_budget_twice(place: Place, clock: ManualClock) -> None:
    engine, other = place.open(clock), place.open(clock)
    furnish(engine, limit=100, **DAILY)
    granted = 0
    for now_ms in (
        MIDNIGHT_MS + 1_000,
        TOMORROW_MS + 1_000,  # the next day
        TOMORROW_MS - 4_000,  # a failover to a server whose clock is 5 s behind: the first day is current again
        TOMORROW_MS + 2_000,
    ):
        clock.set(now_ms)
        for each in (engine, other):
            granted += sum(consume(each, amount).granted * amount for amount in (100, 1))
    assert granted == 200
    assert place.counter() == Counter(TOMORROW_MS, 100, 0)


def test_a_clock_that_steps_back_changes_nothing_for_a_budget_either(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", 100, cadence="P1D")
    granted = 0
    for now_ms in (MIDNIGHT_MS + 1_000, TOMORROW_MS + 1_000, TOMORROW_MS, TOMORROW_MS + 2_000):
        clock.set(now_ms)
        granted += 100 * consume(engine, 100, teamId="team-eng").granted
    assert granted == 200
    assert place.counter(number) == Counter(TOMORROW_MS + 1_000, 100, 0)


def test_a_report_after_a_step_back_counts_in_the_later_period(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    clock.set(TOMORROW_MS + 1_000)
    report(engine, 60)
    clock.set(TOMORROW_MS - 4_000)
    assert report(engine, 15).account.state.used == 75
    assert place.counter() == Counter(TOMORROW_MS, 75, 0)


def test_a_longer_cadence_gives_no_budget_twice(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    budget(engine, "team-eng", 100, cadence="PT1H")
    clock.advance(5 * HOUR_MS)
    assert consume(engine, 100, teamId="team-eng").granted
    budget(engine, "team-eng", 100, cadence="P1D")
    assert not consume(engine, 1, teamId="team-eng").granted


@pytest.mark.parametrize("verb", ["consume", "report"])
def test_what_is_held_outlives_the_roll_of_its_period_and_counts(place: Place, clock: ManualClock, verb: str) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    place.plant(MIDNIGHT_MS, 25, held=75)
    assert not check(engine, 1).granted
    clock.set(TOMORROW_MS + 1_000)
    if verb == "consume":
        assert consume(engine, 20).granted
    else:
        report(engine, 20)
    assert place.counter() == Counter(TOMORROW_MS, 20, 75)

    refused = consume(engine, 6)
    assert (refused.granted, refused.account.used, refused.account.held) == (False, 20, 75)
    assert consume(engine, 5).granted
    assert place.counter() == Counter(TOMORROW_MS, 25, 75)


def test_what_is_held_counts_in_the_period_it_was_taken_in(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", 100)
    place.plant(clock.now_ms, 20, held=70, number=number)
    refused = consume(engine, 11, teamId="team-eng")
    assert (refused.granted, refused.binding.entity, refused.binding.held) == (False, "team-eng", 70)
    assert consume(engine, 10, teamId="team-eng").granted
    assert place.counter(number) == Counter(clock.now_ms, 30, 70)


def shifted(place: Place, by_ms: int) -> Between:
    """A transport of a client that is wrong about the time: what it loads seems to be of another instant."""

    def step(call: Call, send_on: Callable[[], Reply]) -> Reply:
        reply = send_on()
        if call.script == "load":
            reply[1] += by_ms
        return reply

    return Between(place.transport(), step)


@pytest.mark.parametrize("hours", [1, -1, 2, -2])
def test_a_client_whose_clock_is_wrong_counts_in_no_other_hour(place: Place, hours: int) -> None:
    honest, wrong = place.open(), place.engine_over(shifted(place, hours * HOUR_MS))
    anchor_ms = place.server_now_ms() - HOUR_MS * 9 // 2
    furnish(honest, limit=100, reset_period="HOUR", reset_anchor_ms=anchor_ms)
    hour_ms = anchor_ms + 4 * HOUR_MS

    for verb in (consume, check, report):
        with pytest.raises(ConfigurationKeepsChanging):
            verb(wrong, 1)
    assert place.counter() is None
    assert wrong.metrics["moved_on"] == 24

    assert consume(honest, 100).granted
    with pytest.raises(ConfigurationKeepsChanging):
        consume(wrong, 1)
    assert not consume(honest, 1).granted
    assert place.counter() == Counter(hour_ms, 100, 0)


def test_a_request_prepared_before_a_boundary_is_prepared_again_at_it(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    clock.set(TOMORROW_MS - 1)
    assert consume(engine, 100).granted
    assert not consume(engine, 1).granted
    assert engine.metrics["moved_on"] == 0
    clock.set(TOMORROW_MS)
    decision = consume(engine, 100)
    assert (decision.granted, decision.account.period.start_ms) == (True, TOMORROW_MS)
    assert engine.metrics["moved_on"] == 1
    clock.set(TOMORROW_MS + 1)
    assert not consume(engine, 1).granted
    assert engine.metrics["moved_on"] == 1


def test_a_moved_on_request_learns_the_time_and_its_place(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    consume(engine, 1)
    (prepared,) = engine._state.prepared._entries.values()
    clock.set(TOMORROW_MS + 7)
    call = prepared.ask("consume", 1.0, writes=True)
    transport = place.transport(clock)
    assert send(transport, call, now_ms=clock.now_ms) == [Status.MOVED_ON, TOMORROW_MS + 7]
    assert send(transport, call, now_ms=MIDNIGHT_MS - 1) == [Status.MOVED_ON, MIDNIGHT_MS - 1]
    assert send(transport, call, now_ms=MIDNIGHT_MS)[0] == Status.GRANTED


@pytest.mark.parametrize("days_ahead", [400, 3, 2])
def test_the_start_of_a_wild_clock_is_put_right_and_its_number_stands(
    place: Place, clock: ManualClock, days_ahead: int
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    place.plant(MIDNIGHT_MS + days_ahead * DAY_MS, 40)
    assert check(engine, 60).granted
    assert not check(engine, 61).granted
    assert not consume(engine, 61).granted
    assert place.counter() == Counter(MIDNIGHT_MS + days_ahead * DAY_MS, 40, 0)
    assert consume(engine, 60).granted
    assert place.counter() == Counter(MIDNIGHT_MS, 100, 0)
    clock.set(TOMORROW_MS)
    assert consume(engine, 100).granted


def test_a_wild_start_is_told_by_a_metric(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None, **DAILY)
    for verb in (check, consume, report):
        place.plant(MIDNIGHT_MS + 400 * DAY_MS, 40)
        before = engine.metrics["wild_starts"]
        verb(engine, 1)
        assert engine.metrics["wild_starts"] == before + 1, verb


def test_the_wild_clock_of_a_report_is_put_right_too(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    place.plant(MIDNIGHT_MS + 400 * DAY_MS, 40, held=5)
    assert report(engine, 2).account.state.used == 42
    assert place.counter() == Counter(MIDNIGHT_MS, 42, 5)


def test_a_start_of_the_next_period_is_no_wild_one(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, **DAILY)
    place.plant(TOMORROW_MS, 40)
    assert consume(engine, 60).granted
    assert place.counter() == Counter(TOMORROW_MS, 100, 0)


def test_a_correction_dated_before_the_period_is_not_applied_there(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=1_000, **DAILY)
    number = budget(engine, "team-eng", 1_000)  # by the month: yesterday lies in its period
    team = {"dimensions": {"teamId": "team-eng"}}
    report(engine, 600, **team)
    clock.set(TOMORROW_MS + HOUR_MS)
    report(engine, 600, **team)

    yesterday = datetime.fromtimestamp((TOMORROW_MS - HOUR_MS) / 1000, UTC)
    receipt = report(engine, -500, timestamp=yesterday, **team)
    assert (receipt.account.applied, receipt.account.state.used) == (0, 600)
    assert [(each.applied, each.state.used) for each in receipt.entities] == [(-500, 700)]
    assert (place.used(), place.used(number)) == (600, 700)

    now = datetime.fromtimestamp(TOMORROW_MS / 1000, UTC)
    receipt = report(engine, -500, timestamp=now, **team)
    assert (receipt.account.applied, receipt.account.state.used) == (-500, 100)


def test_usage_dated_before_the_period_counts_today(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=1_000, **DAILY)
    yesterday = datetime.fromtimestamp((MIDNIGHT_MS - HOUR_MS) / 1000, UTC)
    assert report(engine, 5, timestamp=yesterday).account.applied == 5
