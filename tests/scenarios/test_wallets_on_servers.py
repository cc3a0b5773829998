"""Credits on real servers: what a wallet has is spent once, in order, never after its end, and never in part."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from headgate.clock import ManualClock
from headgate.errors import InvalidInput, OutOfRange
from headgate.keys import account_counter_field, counter_place, currency_capability
from headgate.model.credits import Charge
from headgate.model.decision import DeniedReason
from scenarios.setting import CUSTOMER, FEATURE, HOUR_MS, MIDNIGHT_MS, Engine, Place, budget, consume, furnish, report

CREDITS = "credits"


def open_wallet(engine: Engine, *amounts: float, **more: Any) -> list[int]:
    """A customer with a grant for each amount, burnt in this order; return the numbers of their counters."""
    furnish(engine, limit=None)
    engine.catalog.put_currencies([{"id": CREDITS}])
    return [grant(engine, f"grant-{place}", amount, priority=place, **more) for place, amount in enumerate(amounts)]


def grant(engine: Engine, id: str, amount: float, **more: Any) -> int:
    given = engine.credits.grant(CUSTOMER, {"id": id, "currency": CREDITS, "amount": amount, **more})
    return int(given.number)


def pay_by_use(engine: Engine, rate: float) -> None:
    """Let a plan say that the feature is paid in credits, and subscribe to it."""
    terms = {
        "feature": FEATURE,
        "has_unlimited_usage": True,
        "credit_rate": {"currency": CREDITS, "amount": rate},
    }
    engine.catalog.put_plans([{"id": "plan-paid", "entitlements": [terms]}])
    engine.customers.revoke_entitlement(CUSTOMER, feature=FEATURE)
    engine.subscriptions.provision(CUSTOMER, {"plan": "plan-paid"})


def spend(engine: Engine, amount: float, **dimensions: Any) -> Any:
    return engine.consume(CUSTOMER, currency=CREDITS, amount=amount, dimensions=dimensions or None)


def record(engine: Engine, value: float) -> Any:
    return engine.report(CUSTOMER, currency=CREDITS, value=value)


def balance(engine: Engine) -> float:
    return float(engine.credits.wallet(CUSTOMER, currency=CREDITS).balance)


def overdraft(place: Place) -> float:
    value: Any = place.raw.hget(place.keys.usage, account_counter_field(currency_capability(CREDITS)))
    return 0.0 if value is None else float(struct.unpack("<dd", value)[1])


def charges(answer: Any) -> dict[str | None, float]:
    return {charge.grant: charge.amount for charge in answer.charges}


def test_grants_are_burnt_in_order_whatever_bucket_their_counters_are_in(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    engine.catalog.put_currencies([{"id": CREDITS}])
    last = grant(engine, "burnt-last", 10, priority=90)
    for number in range(64):  # the next grant's counter is in another hash, under another field
        budget(engine, f"user-{number}", 5)
    first = grant(engine, "burnt-first", 10, priority=10)
    assert counter_place(first)[0] != counter_place(last)[0]
    assert charges(spend(engine, 4)) == {"burnt-first": 4}
    assert charges(spend(engine, 9)) == {"burnt-first": 6, "burnt-last": 3}
    assert (place.used(first), place.used(last)) == (10, 3)
    assert balance(engine) == 7


def test_a_refused_request_takes_nothing_from_any_grant_and_pays_no_overdraft(place: Place) -> None:
    engine = place.open()
    open_wallet(engine, 10)
    record(engine, 25)
    grant(engine, "grant-later", 20)
    before = place.content()
    assert (overdraft(place), balance(engine)) == (15, 5)
    refused = spend(engine, 6)
    assert (refused.granted, refused.reason, refused.charges) == (False, DeniedReason.INSUFFICIENT_CREDITS, ())
    assert refused.binding.name == f"wallet {CREDITS}"
    assert refused.binding.left == 5
    assert place.content() == before


def test_overdraft_is_paid_before_anything_else_is_bought(place: Place) -> None:
    engine = place.open()
    open_wallet(engine, 10)
    assert charges(record(engine, 25)) == {"grant-0": 10, None: 15}
    later = grant(engine, "grant-later", 20)
    assert charges(spend(engine, 5)) == {"grant-later": 20, None: -15}
    assert (place.used(later), overdraft(place), balance(engine)) == (20, 0, 0)
    assert not spend(engine, 1).granted


def test_a_budget_that_refuses_leaves_the_wallet_alone_and_the_wallet_leaves_budgets_alone(place: Place) -> None:
    engine = place.open()
    (number,) = open_wallet(engine, 100)
    pay_by_use(engine, 2)
    of_feature = budget(engine, "team-eng", 30)
    engine.governance.put_assignments(
        CUSTOMER, [{"entity": "team-eng", "currency": CREDITS, "usage_limit": 50, "cadence": "P1M"}]
    )
    of_currency = of_feature + 1
    assert consume(engine, 20, teamId="team-eng").granted  # 40 credits
    before = place.content()
    refused = consume(engine, 6, teamId="team-eng")  # 52 credits of the team's 50
    assert (refused.granted, refused.reason) == (False, DeniedReason.BUDGET_EXCEEDED)
    assert (refused.binding.entity, refused.binding.currency) == ("team-eng", CREDITS)
    refused = consume(engine, 31)  # 62 of the 60 credits that are left
    assert (refused.granted, refused.reason) == (False, DeniedReason.INSUFFICIENT_CREDITS)
    assert place.content() == before
    assert [place.used(), place.used(of_feature), place.used(of_currency), place.used(number)] == [20, 20, 40, 40]


def test_a_grant_is_never_spent_at_its_end_or_later(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    ends_ms = clock.now_ms + HOUR_MS
    short, long = open_wallet(engine, 10), None
    engine.credits.grant(CUSTOMER, {"id": "short", "currency": CREDITS, "amount": 10, "expires_at_ms": ends_ms})
    long = short[0]
    clock.set(ends_ms - 1)
    assert charges(spend(engine, 1)) == {"grant-0": 1}  # by priority
    assert balance(engine) == 19
    clock.set(ends_ms)
    refused = spend(engine, 10)
    assert not refused.granted
    assert balance(engine) == 9
    assert charges(spend(engine, 9)) == {"grant-0": 9}
    assert place.used(long) == 10
    states = {each.id: each for each in engine.credits.grants(CUSTOMER, currency=CREDITS)}
    assert (states["short"].expired, states["short"].consumed) == (10, 0)


def test_a_grant_that_expires_between_preparing_and_the_call_is_not_spent(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    engine.catalog.put_currencies([{"id": CREDITS}])
    number = grant(engine, "short", 10, expires_at_ms=clock.now_ms + 1_000)
    assert spend(engine, 1).granted  # the prepared request is kept
    clock.advance(1_000)
    assert not spend(engine, 1).granted
    assert place.used(number) == 1


def test_a_scheduled_grant_is_not_spent_before_its_instant(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    engine.catalog.put_currencies([{"id": CREDITS}])
    grant(engine, "later", 10, effective_at_ms=clock.now_ms + 1_000)
    assert not spend(engine, 1).granted
    clock.advance(999)
    assert not spend(engine, 1).granted
    clock.advance(1)
    assert spend(engine, 10).granted


def test_credits_given_back_reduce_overdraft_then_go_to_the_grant_that_was_burnt_last(place: Place) -> None:
    engine = place.open()
    numbers = open_wallet(engine, 10, 10)
    record(engine, 23)
    assert charges(record(engine, -2)) == {None: -2}
    assert charges(record(engine, -5)) == {None: -1, "grant-1": -4}
    assert charges(record(engine, -100)) == {"grant-1": -6, "grant-0": -10}
    assert [place.used(number) for number in numbers] == [0, 0]
    assert (overdraft(place), balance(engine)) == (0, 20)


def test_what_is_held_of_a_grant_is_neither_spent_nor_forgotten(place: Place) -> None:
    engine = place.open()
    (number,) = open_wallet(engine, 10)
    assert spend(engine, 1).granted
    counter = place.counter(number)
    assert counter is not None
    place.plant(counter.start_ms, 1, 4, number=number)
    assert not spend(engine, 6).granted
    assert spend(engine, 5).granted
    record(engine, 1)
    after = place.counter(number)
    assert after is not None
    assert (after.used, after.held, overdraft(place)) == (6, 4, 1)


def test_a_counter_that_is_no_number_grants_nothing(place: Place) -> None:
    engine = place.open()
    (number,) = open_wallet(engine, 10)
    place.plant(0, float("nan"), number=number)
    assert not spend(engine, 1).granted
    assert not engine.check(CUSTOMER, currency=CREDITS).granted


def test_fractions_of_credits_add_up_exactly(place: Place) -> None:
    engine = place.open()
    numbers = open_wallet(engine, 0.1, 0.2)
    assert spend(engine, 0.3).granted
    assert [place.used(number) for number in numbers] == [0.1, 0.2]
    more = [grant(engine, f"more-{amount}", amount) for amount in (0.1, 0.7)]
    assert spend(engine, 0.8).granted  # added plainly, they are a little less
    assert [place.used(number) for number in more] == [0.1, 0.7]
    assert balance(engine) == 0
    assert not spend(engine, 0.00001).granted


def test_a_wallet_whose_numbers_leave_the_exact_range_writes_nothing(place: Place) -> None:
    engine = place.open()
    open_wallet(engine, 2**52)
    credit = {"currency": CREDITS, "amount": 2**52, "cadence": "MONTH"}
    engine.catalog.put_plans([{"id": "plan", "credits": [credit]}])
    engine.subscriptions.provision(CUSTOMER, {"plan": "plan"})
    before = place.content()
    for ask in (lambda: spend(engine, 1), lambda: record(engine, 1), lambda: balance(engine)):
        with pytest.raises(OutOfRange):
            ask()
    assert place.content() == before


@pytest.mark.parametrize(("first", "second"), [(2**52, 2**52), (2**40, 0.5)])
def test_a_grant_that_makes_a_wallet_no_number_can_hold_is_refused(place: Place, first: float, second: float) -> None:
    engine = place.open()
    open_wallet(engine, first)
    before = place.content()
    with pytest.raises(InvalidInput, match="can't be counted exactly"):
        grant(engine, "too-much", second)
    assert place.content() == before


def test_a_request_that_costs_more_credits_than_there_can_be_is_not_sent(place: Place) -> None:
    engine = place.open()
    open_wallet(engine, 10)
    pay_by_use(engine, 1_000)
    before = place.content()
    for ask in (consume, report):
        with pytest.raises(OutOfRange):
            ask(engine, 2**52)
    assert place.content() == before


def test_a_voided_grant_is_not_spent_by_an_engine_that_was_not_told(place: Place) -> None:
    engine, other = place.open(), place.open()
    (number,) = open_wallet(engine, 10)
    assert spend(other, 4).granted
    engine.credits.void(CUSTOMER, "grant-0", currency=CREDITS)
    assert not spend(other, 1).granted
    assert place.used(number) == 4
    (state,) = engine.credits.grants(CUSTOMER, currency=CREDITS)
    assert (state.consumed, state.voided, state.left) == (4, 6, 0)


def test_a_recurring_grant_appears_with_its_period_and_pays_overdraft_first(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    engine.catalog.put_currencies([{"id": CREDITS}])
    engine.catalog.put_plans([{"id": "plan", "credits": [{"currency": CREDITS, "amount": 100, "cadence": "MONTH"}]}])
    engine.subscriptions.provision(CUSTOMER, {"plan": "plan", "start_ms": MIDNIGHT_MS})
    record(engine, 130)
    assert balance(engine) == -30
    clock.set(MIDNIGHT_MS + 31 * 24 * HOUR_MS - 1)
    assert not spend(engine, 1).granted
    clock.advance(1)
    assert charges(spend(engine, 50)) == {f"plan:{CREDITS}:MONTH:1": 80, None: -30}
    clock.advance(-1)  # a failover to a server whose clock is behind: the month before, and it is used up
    assert not spend(engine, 1).granted
    clock.advance(1)
    assert balance(engine) == 20
    states = engine.credits.grants(CUSTOMER, currency=CREDITS)
    assert [(each.consumed, each.expired, each.left) for each in states] == [(100, 0, 0), (80, 0, 20)]


def test_a_soft_wallet_does_not_refuse_and_owes_the_rest(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    engine.catalog.put_currencies([{"id": CREDITS}])
    credit = {"currency": CREDITS, "amount": 10, "cadence": "MONTH", "has_soft_limit": True}
    engine.catalog.put_plans([{"id": "plan", "credits": [credit]}])
    engine.subscriptions.provision(CUSTOMER, {"plan": "plan"})
    granted = spend(engine, 14)
    assert granted.granted
    assert granted.charges == (Charge(f"plan:{CREDITS}:MONTH:0", 10), Charge(None, 4))
    assert (overdraft(place), balance(engine)) == (4, -4)
