"""Holds on real servers: no unit is held twice or lost, whoever ends them, when, and whatever was changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from headgate import AsyncHeadgate, Conflict, NotFound
from headgate.clock import ManualClock
from headgate.model.reservation import ReservationStatus
from scenarios.holding import (
    CREDITS,
    NOTHING_KEPT,
    USER,
    fill_wallet,
    furnish_chain,
    hold,
    kept,
    overdraft,
    pay_by_use,
    stands,
)
from scenarios.setting import (
    CALM,
    CUSTOMER,
    DAY_MS,
    FEATURE,
    HOUR_MS,
    Engine,
    Place,
    budget,
    check,
    consume,
    entitle,
    furnish,
    report,
)

CALLERS = 20


# Twenty at once.


def at_once(place: Place, edge: str, ask: dict[str, Any]) -> list[Any]:
    """Reserve so often at once, through one engine; end what was granted, half of it in each way."""
    if edge == "sync":
        engine = place.open()
        with ThreadPoolExecutor(CALLERS) as callers:
            made = list(callers.map(lambda _: engine.reserve(CUSTOMER, **ask), range(CALLERS)))
            held = [each for each in made if each]
            list(callers.map(lambda each: each.settle(ask["amount"]), held[::2]))
            list(callers.map(lambda each: each.release(), held[1::2]))
        return made

    async def storm() -> list[Any]:
        async with AsyncHeadgate.connect(place.server.url, environment=place.environment, settings=CALM) as engine:

            async def reserve() -> Any:
                return await engine.reserve(CUSTOMER, **ask)

            made = await asyncio.gather(*(reserve() for _ in range(CALLERS)))
            held = [each for each in made if each]
            await asyncio.gather(*(each.settle(ask["amount"]) for each in held[::2]))
            await asyncio.gather(*(each.release() for each in held[1::2]))
            return list(made)

    return place.runner.run(storm())


def test_of_twenty_at_once_on_an_account_limit_six_are_granted(place: Place, edge: str) -> None:
    furnish(place.open(), limit=500)
    made = at_once(place, edge, {"feature": FEATURE, "amount": 75})
    assert sum(each.granted for each in made) == 6
    assert {each.decision.binding.name for each in made if not each} == {"account"}
    assert stands(place, None) == [(225, 0)]


def test_of_twenty_at_once_on_a_chain_of_three_six_are_granted(place: Place, edge: str) -> None:
    numbers = furnish_chain(place.open(), budgets=500)
    made = at_once(place, edge, {"feature": FEATURE, "amount": 75, "dimensions": USER})
    assert sum(each.granted for each in made) == 6
    assert stands(place, *numbers) == [(225, 0)] * 4


def test_of_twenty_at_once_on_a_wallet_six_are_granted(place: Place, edge: str) -> None:
    engine = place.open()
    furnish(engine)
    numbers = fill_wallet(engine, 100, 400)
    made = at_once(place, edge, {"currency": CREDITS, "amount": 75})
    assert sum(each.granted for each in made) == 6
    assert sum(used for used, _ in stands(place, *numbers)) == 225
    assert (sum(held for _, held in stands(place, *numbers)), overdraft(place)) == (0, 0)


def test_of_twenty_at_once_on_a_chain_and_a_wallet_six_are_granted(place: Place, edge: str) -> None:
    engine = place.open()
    numbers = furnish_chain(engine, budgets=10_000)
    grants = fill_wallet(engine, 200, 300)
    pay_by_use(engine, 2.5)
    made = at_once(place, edge, {"feature": FEATURE, "amount": 30, "dimensions": USER})
    assert sum(each.granted for each in made) == 6
    assert stands(place, *numbers) == [(90, 0)] * 4
    assert sum(used for used, _ in stands(place, *grants)) == 225
    assert sum(held for _, held in stands(place, *grants)) == 0


# A hold from its beginning to its end.


def test_a_hold_stands_in_every_counter_and_is_decided_over(place: Place) -> None:
    engine = place.open()
    numbers = furnish_chain(engine, budgets=100)
    consume(engine, 5, **USER)
    made = hold(engine, 60, id="job")
    assert stands(place, *numbers) == [(5, 60)] * 4
    before = place.raw.hgetall(place.keys.usage), kept(place)
    for answer in (check(engine, 36, **USER), consume(engine, 36, **USER), hold(engine, 36)):
        assert not answer
    assert (place.raw.hgetall(place.keys.usage), kept(place)) == before
    assert consume(engine, 35, **USER)
    report(engine, 7, dimensions=USER)
    made.settle(20)
    assert stands(place, *numbers) == [(67, 0)] * 4
    assert kept(place) == (1, 0, 1, 1, False)


def test_a_refused_hold_is_as_if_it_had_not_been_asked_for(place: Place) -> None:
    engine = place.open()
    numbers = furnish_chain(engine, budgets=10)
    grants = fill_wallet(engine, 10)
    pay_by_use(engine, 2)
    report(engine, 1, dimensions=USER)
    before = stands(place, *numbers, *grants)
    assert not hold(engine, 10)
    assert not hold(engine, 5)
    assert not engine.reserve(CUSTOMER, currency=CREDITS, amount=9)
    assert stands(place, *numbers, *grants) == before
    assert kept(place) == NOTHING_KEPT


def test_the_same_hold_is_made_and_ended_once_however_often_it_is_asked_for(place: Place) -> None:
    engine, other = place.open(), place.open()
    numbers = furnish_chain(engine)
    for each in (engine, other, engine):
        assert hold(each, 60, id="job").reservation.status is ReservationStatus.OPEN
    assert stands(place, *numbers) == [(0, 60)] * 4
    with pytest.raises(Conflict):
        hold(other, 61, id="job")
    for _ in range(3):
        assert other.reservations.settle(CUSTOMER, "job", 20).settled == 20
    for end in (
        lambda: engine.reservations.settle(CUSTOMER, "job", 21),
        lambda: engine.reservations.release(CUSTOMER, "job"),
    ):
        with pytest.raises(Conflict):
            end()
    assert hold(engine, 60, id="job").reservation.status is ReservationStatus.SETTLED
    assert stands(place, *numbers) == [(20, 0)] * 4
    engine.reservations.release(CUSTOMER, hold(engine, 0, id="nothing").id)
    with pytest.raises(Conflict):  # as much was used, and yet it is another end
        engine.reservations.settle(CUSTOMER, "nothing", 0)
    with pytest.raises(NotFound):
        engine.reservations.settle(CUSTOMER, "another", 0)


def test_credits_are_held_and_paid_grant_by_grant(place: Place) -> None:
    engine = place.open()
    furnish(engine)
    numbers = fill_wallet(engine, 10, 20, 30)
    made = engine.reserve(CUSTOMER, currency=CREDITS, amount=25)
    assert stands(place, *numbers) == [(0, 10), (0, 15), (0, 0)]
    second = engine.reserve(CUSTOMER, currency=CREDITS, amount=10)
    assert stands(place, *numbers) == [(0, 10), (0, 20), (0, 5)]
    assert not engine.consume(CUSTOMER, currency=CREDITS, amount=26)
    made.settle(12)
    assert stands(place, *numbers) == [(10, 0), (2, 5), (0, 5)]
    second.settle(13)
    assert stands(place, *numbers) == [(10, 0), (10, 0), (5, 0)]  # 3 more than was held
    assert overdraft(place) == 0
    assert engine.credits.wallet(CUSTOMER, currency=CREDITS).balance == 35
    third, fourth = [engine.reserve(CUSTOMER, currency=CREDITS, amount=1) for _ in range(2)]
    assert stands(place, *numbers) == [(10, 0), (10, 2), (5, 0)]
    assert overdraft(place) == 0
    third.settle(3)
    fourth.settle(2)
    assert stands(place, *numbers) == [(10, 0), (15, 0), (5, 0)]
    assert overdraft(place) == 0
    assert engine.credits.wallet(CUSTOMER, currency=CREDITS).balance == 30


def test_units_and_what_they_cost_are_held_and_settled_in_their_own_sections(place: Place) -> None:
    engine = place.open()
    numbers = furnish_chain(engine)
    grants = fill_wallet(engine, 10, 100)
    pay_by_use(engine, 2.5)
    assignment = {"entity": "team-eng", "currency": CREDITS, "usage_limit": 50, "cadence": "P1M"}
    (of_currency,) = engine.governance.put_assignments(CUSTOMER, [assignment])
    made = hold(engine, 8)
    assert stands(place, *numbers, of_currency.number) == [(0, 8)] * 4 + [(0, 20)]
    assert stands(place, *grants) == [(0, 10), (0, 10)]
    assert not hold(engine, 13)  # 32.5 credits of the 30 that the team has left
    made.settle(6)
    assert stands(place, *numbers, of_currency.number) == [(6, 0)] * 4 + [(15, 0)]
    assert stands(place, *grants) == [(10, 0), (5, 0)]
    assert overdraft(place) == 0


def test_grants_are_held_and_paid_in_burn_order_whatever_hash_their_counters_are_in(
    place: Place, clock: ManualClock
) -> None:
    engine = place.open(clock)
    furnish(engine)
    engine.catalog.put_currencies([{"id": CREDITS}])
    last = grant(engine, "last", 30, priority=60)
    for number in range(63):  # the next counters are in another hash
        budget(engine, f"user-{number}", 5)
    numbers = [grant(engine, "first", 10, priority=10), grant(engine, "second", 20, priority=20), last]
    made, _ = [engine.reserve(CUSTOMER, currency=CREDITS, amount=20, expires_in=60) for _ in range(2)]
    assert stands(place, *numbers) == [(0, 10), (0, 20), (0, 10)]
    made.settle(15)
    assert stands(place, *numbers) == [(10, 0), (5, 10), (0, 10)]
    clock.advance(60_000)
    assert engine.reservations.sweep() == 1
    assert stands(place, *numbers) == [(10, 0), (5, 0), (0, 0)]


def grant(engine: Engine, id: str, amount: float, **more: Any) -> int:
    return int(engine.credits.grant(CUSTOMER, {"id": id, "currency": CREDITS, "amount": amount, **more}).number)


# Periods [shown].


def test_a_hold_stays_when_its_counter_rolls_and_is_taken_back_when_it_ends(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, reset_period="DAY")
    clock.advance(1)
    made = hold(engine, 75, dimensions=None, expires_in=DAY_MS / 1_000)
    clock.advance(DAY_MS - 1)  # the next day's first instant
    assert not consume(engine, 26)
    assert consume(engine, 20)  # rolls the counter
    assert stands(place, None) == [(20, 75)]
    made.settle(75)
    assert stands(place, None) == [(20, 0)]
    assert consume(engine, 80)
    assert not consume(engine, 1)


def test_a_hold_is_counted_in_the_period_that_it_was_taken_in(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, reset_period="DAY")
    hour = budget(engine, "user-ann", 100, cadence="PT1H")
    consume(engine, 10, **USER)
    made, other = [hold(engine, amount, expires_in=DAY_MS / 1_000) for amount in (40, 30)]
    made.settle(25)
    assert stands(place, None, hour) == [(35, 30)] * 2
    clock.advance(HOUR_MS)  # the account's day goes on, the user's hour has ended
    consume(engine, 1, **USER)
    other.settle(20)
    assert stands(place, None, hour) == [(56, 0), (1, 0)]


def test_a_clock_that_steps_back_gives_no_hold_twice(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100, reset_period="DAY")
    clock.advance(DAY_MS + 1)
    made = hold(engine, 75, dimensions=None)
    clock.advance(-5_000)  # a failover to a server that is 5 s behind, just before midnight
    assert not consume(engine, 26)
    late = hold(engine, 25, dimensions=None)
    made.settle(70)
    late.settle(25)
    assert stands(place, None) == [(95, 0)]


# What is done to the configuration while a hold is open.


CHANGES: dict[str, Callable[[Engine], object]] = {
    "another parent": lambda engine: budget(engine, "user-ann", 100, parent="team-ops"),
    "no parent": lambda engine: budget(engine, "user-ann", 100, parent=None),
    "an archived entity": lambda engine: engine.governance.archive(CUSTOMER, ["team-eng"]),
    "a lower limit": lambda engine: entitle(engine, limit=1),
    "no entitlement": lambda engine: engine.customers.revoke_entitlement(CUSTOMER, feature=FEATURE),
    "an archived customer": lambda engine: engine.customers.archive(CUSTOMER),
    "another cadence": lambda engine: budget(engine, "user-ann", 100, cadence="P1D"),
    "another limit": lambda engine: budget(engine, "user-ann", 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_hold_ends_by_its_record_whatever_was_changed_since(place: Place, change: str) -> None:
    engine = place.open()
    numbers = furnish_chain(engine)
    budget(engine, "team-ops", 100, parent="org-acme")
    settled, released = hold(engine, 10), hold(engine, 20)
    CHANGES[change](engine)
    assert settled.settle(4).settled == 4
    assert released.release().status is ReservationStatus.RELEASED
    assert stands(place, *numbers) == [(4, 0)] * 4


def test_what_expires_after_a_change_is_freed_by_its_record(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    grants = fill_wallet(engine, 5, 100)
    pay_by_use(engine, 2)
    assignment = {"entity": "team-eng", "currency": CREDITS, "usage_limit": 50, "cadence": "P1M"}
    (of_currency,) = engine.governance.put_assignments(CUSTOMER, [assignment])
    numbers.append(of_currency.number)
    hold(engine, 20, expires_in=60)
    hold(engine, 30, dimensions=None, expires_in=60)
    budget(engine, "team-ops", 100, parent="org-acme")
    budget(engine, "user-ann", 100, parent="team-ops")
    engine.governance.archive(CUSTOMER, ["team-eng"])
    engine.credits.void(CUSTOMER, "g0", currency=CREDITS)
    engine.subscriptions.cancel(CUSTOMER, "plan-paid")
    assert stands(place, *numbers, *grants) == [(0, 50), *[(0, 20)] * 3, (0, 40), (0, 5), (0, 95)]
    clock.advance(60_000)
    assert engine.reservations.sweep() == 2
    assert stands(place, *numbers, *grants) == [(0, 0)] * 7


def test_a_hold_of_a_scoped_budget_ends_though_its_scope_is_gone(place: Place) -> None:
    engine = place.open()
    furnish(engine)
    engine.governance.put_entities(CUSTOMER, [{"id": "org-acme", "type": "org"}])
    scoped = budget(engine, "user-ann", 100, scope=["org-acme"])
    made = hold(engine, 10, dimensions={**USER, "orgId": "org-acme"})
    assert stands(place, None, scoped) == [(0, 10)] * 2
    engine.governance.archive(CUSTOMER, ["org-acme"])
    made.settle(4)
    assert stands(place, None, scoped) == [(4, 0)] * 2


def test_a_counter_that_was_lost_is_neither_made_up_nor_below_nothing(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    grants = fill_wallet(engine, 5, 100)
    pay_by_use(engine, 1)
    settled = hold(engine, 20)
    hold(engine, 30, expires_in=60)
    place.erase([place.keys.bucket(1)])  # the team's and the user's, and the wallet's
    assert stands(place, *numbers, *grants) == [(0, 50), (0, 50)] + [(0, 0)] * 4
    settled.settle(8)
    clock.advance(60_000)
    assert engine.reservations.sweep() == 1
    # What was used is owed, as nobody knows any more of which grant it was: so the live ones pay in burn order.
    assert stands(place, *numbers, *grants) == [(8, 0), (8, 0), (0, 0), (0, 0), (5, 0), (3, 0)]
    assert overdraft(place) == 0
