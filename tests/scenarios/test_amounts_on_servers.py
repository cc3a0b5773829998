"""Amounts are exact through the scripts: against Decimal, at the ends of the range, and where a counter is damaged."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from headgate.clock import ManualClock
from headgate.errors import OutOfRange
from headgate.wire import unpack_counter
from scenarios.setting import MIDNIGHT_MS, Place, budget, check, consume, furnish, report

WHOLE_MAX = 2**53 - 1
FRACTION_BELOW = 2**35
STEP = Decimal("0.00001")
TEAM = {"teamId": "team-eng"}


def fraction_near(random_numbers: random.Random, centre: int) -> Decimal:
    return Decimal(random_numbers.randrange(centre * 99_999, centre * 100_001)) * STEP


def test_sums_of_fractions_near_2_to_34_are_those_of_decimal(place: Place) -> None:
    random_numbers = random.Random(34)
    engine = place.open()
    furnish(engine, limit=None)
    for verb in (consume, report):
        for _ in range(100):
            used = fraction_near(random_numbers, 2**34)
            amount = fraction_near(random_numbers, random_numbers.choice((1, 1_000, 2**33)))
            place.plant(0, float(used))
            answer = verb(engine, float(amount))
            account = answer.account if verb is consume else answer.account.state
            assert account.used == float(used + amount), (used, amount)
            assert place.used() == float(used + amount), (used, amount)


def test_whole_numbers_above_2_to_41_are_added_plainly(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    place.plant(0, 13_571_996_285_128)
    assert consume(engine, 68).account.used == 13_571_996_285_196
    random_numbers = random.Random(41)
    for verb in (consume, report):
        for _ in range(50):
            used, amount = random_numbers.randrange(2**41, 2**52), random_numbers.randrange(1, 2**52)
            place.plant(0, used)
            verb(engine, amount)
            assert place.used() == used + amount


def test_three_tenths_fit_a_limit_of_0_3_and_a_fourth_does_not(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=0.3)
    assert [consume(engine, 0.1).granted for _ in range(4)] == [True, True, True, False]
    assert place.used() == 0.3
    assert not consume(engine, 0.00001).granted


def test_a_limit_is_used_up_to_the_last_unit_and_not_beyond(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=100)
    budget(engine, "team-eng", 100)
    assert check(engine, 100, **TEAM).granted
    assert not check(engine, 101, **TEAM).granted
    assert consume(engine, 100, **TEAM).granted
    assert consume(engine, 0, **TEAM).granted
    assert not consume(engine, 0.00001, **TEAM).granted
    assert place.used() == 100


@pytest.mark.parametrize("limit", [100, None], ids=["limited", "unlimited"])
@pytest.mark.parametrize(("used", "held"), [(float("nan"), None), (1, float("nan"))], ids=["used", "held"])
def test_a_counter_that_is_not_a_number_refuses(
    place: Place, clock: ManualClock, limit: float | None, used: float, held: float | None
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=limit)
    number = budget(engine, "team-eng", None)
    place.plant(0, used, held)
    for ask in (check, consume):
        assert not ask(engine, 1).granted
        assert not ask(engine, 1, **TEAM).granted
    assert place.used(number) == 0
    if used != used:
        with pytest.raises(OutOfRange):
            report(engine, 1, dimensions=TEAM)
        assert place.used(number) == 0


def test_a_budget_that_is_not_a_number_refuses_and_nothing_is_counted_above_it(
    place: Place, clock: ManualClock
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", 100)
    place.plant(clock.now_ms, float("nan"), number=number)
    refused = consume(engine, 1, **TEAM)
    assert (refused.granted, refused.binding.entity) == (False, "team-eng")
    with pytest.raises(OutOfRange):
        report(engine, 1, dimensions=TEAM)
    assert place.used() == 0


VERBS: dict[str, Callable[..., Any]] = {
    "check": lambda engine, amount: check(engine, amount, **TEAM),
    "consume": lambda engine, amount: consume(engine, amount, **TEAM),
    "report": lambda engine, amount: report(engine, amount, dimensions=TEAM),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("damaged", ["account", "budget"])
@pytest.mark.parametrize(
    ("used", "held", "amount"),
    [
        (WHOLE_MAX, None, 1),
        (WHOLE_MAX - 5, None, WHOLE_MAX),
        (FRACTION_BELOW - 0.5, None, 0.75),
        (FRACTION_BELOW, None, 0.5),
        (2**52 + 1, None, 0.00001),
    ],
)
def test_a_sum_out_of_range_is_an_error_and_nothing_is_written(
    place: Place, clock: ManualClock, verb: str, damaged: str, used: float, held: float | None, amount: float
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", None)
    if damaged == "account":
        place.plant(0, used, held)
    else:
        place.plant(clock.now_ms, used, held, number=number)
    before = place.content()
    with pytest.raises(OutOfRange):
        VERBS[verb](engine, amount)
    assert place.content() == before


@pytest.mark.parametrize("verb", ["check", "consume"])
def test_what_is_held_takes_part_in_the_range(place: Place, clock: ManualClock, verb: str) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    budget(engine, "team-eng", None)
    place.plant(0, WHOLE_MAX - 10, 10)
    before = place.content()
    with pytest.raises(OutOfRange):
        VERBS[verb](engine, 1)
    assert place.content() == before


def test_the_largest_numbers_of_the_range_are_counted(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    place.plant(0, WHOLE_MAX - 1)
    assert consume(engine, 1).account.used == WHOLE_MAX
    place.plant(0, FRACTION_BELOW - 1.5)
    assert consume(engine, 1.25).account.used == FRACTION_BELOW - 0.25


def test_a_refusal_comes_before_a_sum_out_of_range(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    budget(engine, "team-eng", 10)
    place.plant(0, WHOLE_MAX)
    for ask in (check, consume):
        assert ask(engine, 11, **TEAM).binding.entity == "team-eng"


def test_the_difference_of_a_set_that_is_out_of_range_is_an_error(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", None)
    place.plant(clock.now_ms, WHOLE_MAX - 5, number=number)
    place.plant(0, 100)
    before = place.content()
    with pytest.raises(OutOfRange):
        report(engine, 106, behavior="SET", dimensions=TEAM)
    assert place.content() == before
    report(engine, 105, behavior="SET", dimensions=TEAM)
    assert (place.used(), place.used(number)) == (105, WHOLE_MAX)


def test_a_counter_is_16_bytes_and_no_text(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None, reset_period="DAY", reset_anchor_ms=MIDNIGHT_MS)
    consume(engine, 12_345_678_901_234_567 // 10)
    (value,) = [value for name, value in place.raw.hgetall(place.keys.usage).items() if not name.startswith(b"@")]
    assert len(value) == 16
    assert unpack_counter(value).used == 1_234_567_890_123_456
