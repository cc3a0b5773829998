"""Reservations of credits: they are held of the grants in burn order, and what was used is taken from what was held."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import CREDITS, DAY_MS, SITE, buy, found_shop, give, in_days
from behaviour.readings import PAID
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, ENTITY_TYPES
from headgate import (
    AsyncHeadgate,
    DeniedReason,
    GrantState,
    ManualClock,
    OutOfRange,
    ReservationStatus,
    Unavailable,
    Wallet,
)

RATE = 2.5


async def found_wallet(engine: AsyncHeadgate, *amounts: float, **more: Any) -> None:
    """A customer with a grant of each amount, named g0, g1…, burnt in this order."""
    await found_shop(engine)
    for place, amount in enumerate(amounts):
        await give(engine, amount, id=f"g{place}", priority=place, **more)


async def sell(engine: AsyncHeadgate, limit: float = 1_000, plan: str = "plan-paid") -> None:
    """Let the customer buy a feature that costs 2.5 credits a unit."""
    await engine.catalog.put_features([{"id": PAID, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    terms = {"feature": PAID, "usage_limit": limit, "credit_rate": {"currency": CREDITS, "amount": RATE}}
    await engine.catalog.put_plans([{"id": plan, "entitlements": [terms]}])
    await buy(engine, plan)


async def govern(engine: AsyncHeadgate, credits: float, units: float) -> None:
    """Give a team a budget of credits and one of the feature."""
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.governance.put_entities(ACME, [{"id": "team-eng", "type": "team"}])
    of_team = {"entity": "team-eng", "cadence": "P1M"}
    await engine.governance.put_assignments(
        ACME,
        [
            {**of_team, "currency": CREDITS, "usage_limit": credits},
            {**of_team, "feature": PAID, "usage_limit": units},
        ],
    )


def hold(engine: AsyncHeadgate, amount: float, **named: Any) -> Any:
    """Reserve credits."""
    return engine.reserve(ACME, currency=CREDITS, amount=amount, **named)


def hold_paid(engine: AsyncHeadgate, amount: float, **named: Any) -> Any:
    """Reserve units of the feature that is paid in credits."""
    return engine.reserve(ACME, feature=PAID, amount=amount, **named)


async def wallet(engine: AsyncHeadgate, **named: Any) -> Wallet:
    return await engine.credits.wallet(ACME, currency=CREDITS, **named)


async def balance(engine: AsyncHeadgate) -> tuple[float, float, float]:
    """What the wallet has, what of it is held, and what is owed."""
    found = await wallet(engine)
    return found.balance, found.held, found.overdraft


async def ledger(engine: AsyncHeadgate) -> dict[str, GrantState]:
    """What became of each grant, after a look that nothing of it is missing."""
    states = await engine.credits.grants(ACME, currency=CREDITS)
    for each in states:
        assert each.left + each.held + each.consumed + each.expired + each.voided == each.amount, each
    return {each.id: each for each in states}


async def consumed(engine: AsyncHeadgate) -> dict[str, tuple[float, float]]:
    """What was used of each grant, and what is held of it."""
    return {id: (state.consumed, state.held) for id, state in (await ledger(engine)).items()}


async def units(engine: AsyncHeadgate, **named: Any) -> dict[str, tuple[float, float]]:
    """What is used and held of each limit in the way of the paid feature."""
    decision = await engine.check(ACME, feature=PAID, requested_usage=0, **named)
    assert decision.account is not None
    states = [decision.account, *(state for chain in decision.chains or () for state in chain)]
    return {f"{state.name} {state.currency or 'units'}": (state.used, state.held) for state in states}


async def test_credits_are_held_of_the_grants_in_burn_order(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10, 20, 30)
    made = await hold(engine, 25)
    assert (made.reservation.amount, made.reservation.credits, made.reservation.currency) == (25, 25, CREDITS)
    assert made.decision is not None
    assert made.decision.wallet is not None
    assert (made.decision.wallet.balance, made.decision.wallet.held) == (35, 25)
    assert await consumed(engine) == {"g0": (0, 10), "g1": (0, 15), "g2": (0, 0)}
    assert await balance(engine) == (35, 25, 0)


async def test_credits_that_are_held_are_not_spent_by_anybody_else(target: Target, engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10, 20)
    await hold(engine, 25)
    before = target.dump()
    for answer in (
        await engine.check(ACME, currency=CREDITS, requested_usage=6),
        await engine.consume(ACME, currency=CREDITS, amount=6),
        (await hold(engine, 6)).decision,
    ):
        assert answer is not None
        assert (answer.granted, answer.reason) == (False, DeniedReason.INSUFFICIENT_CREDITS)
        assert answer.binding is not None
        assert (answer.binding.held, answer.binding.left) == (25, 5)
    assert target.dump() == before
    assert await engine.consume(ACME, currency=CREDITS, amount=5)
    assert await consumed(engine) == {"g0": (0, 10), "g1": (5, 15)}


@pytest.mark.parametrize(
    ("used", "of_grants", "owed"),
    [
        (0, (0, 0, 0), 0),
        (4, (4, 0, 0), 0),
        (12.5, (10, 2.5, 0), 0),
        (25, (10, 15, 0), 0),
        (31, (10, 20, 1), 0),
        (64, (10, 20, 30), 4),
    ],
)
async def test_what_was_used_is_taken_from_what_was_held_then_from_the_live_grants_and_the_rest_is_owed(
    engine: AsyncHeadgate, used: float, of_grants: tuple[float, ...], owed: float
) -> None:
    await found_wallet(engine, 10, 20, 30)
    made = await hold(engine, 25)
    assert (await made.settle(used)).settled == used
    assert list((await consumed(engine)).values()) == [(each, 0) for each in of_grants]
    assert await balance(engine) == (60 - used, 0, owed)


async def test_what_a_settle_owes_is_paid_before_the_grants_that_can_pay_expire(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_wallet(engine, 100, expires_at_ms=clock.now_ms + DAY_MS)
    await (await hold(engine, 10)).settle(50)
    clock.advance(DAY_MS)
    await give(engine, 100, id="new")
    assert await balance(engine) == (100, 0, 0)


async def test_what_is_owed_after_a_settle_is_paid_by_the_next_call_that_writes_if_it_could_not_be_at_once(
    target: Target, engine: AsyncHeadgate
) -> None:
    def cut() -> None:
        raise Unavailable("no answer")

    await found_wallet(engine, 10, 20, 30)
    made = await hold(engine, 25)
    target.before("report_credits", cut)
    assert (await made.settle(31)).settled == 31
    assert await balance(engine) == (29, 0, 6)
    assert await engine.consume(ACME, currency=CREDITS, amount=1)
    assert await consumed(engine) == {"g0": (10, 0), "g1": (20, 0), "g2": (2, 0)}
    assert await balance(engine) == (28, 0, 0)


async def test_a_reservation_pays_what_is_owed_first(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10)
    await engine.report(ACME, currency=CREDITS, value=14)
    await give(engine, 20, id="later", priority=50)
    assert not await hold(engine, 17)
    assert await balance(engine) == (16, 0, 4)
    assert await hold(engine, 16)
    assert await balance(engine) == (0, 16, 0)
    assert await consumed(engine) == {"g0": (10, 0), "later": (4, 16)}


async def test_a_release_leaves_the_wallet_as_it_was(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10, 20)
    async with hold(engine, 25):
        assert await balance(engine) == (5, 25, 0)
    assert await balance(engine) == (30, 0, 0)


async def test_of_twenty_reservations_of_75_against_a_wallet_of_500_six_are_granted(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 100, 100, 300)
    made = [await hold(engine, 75) for _ in range(20)]
    assert [bool(each) for each in made] == [True] * 6 + [False] * 14
    assert await balance(engine) == (50, 450, 0)
    for each in made[:3]:
        await each.settle(70)
    for each in made[3:6]:
        await each.release()
    assert await balance(engine) == (290, 0, 0)


# A feature that is paid in credits.


async def test_units_and_credits_are_held_and_settled_together(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 100)
    await sell(engine)
    await govern(engine, credits=80, units=20)
    team = {"dimensions": {"teamId": "team-eng"}}
    made = await hold_paid(engine, 6, **team)
    assert (made.reservation.amount, made.reservation.credits) == (6, 15)
    found = await engine.reservations.get(ACME, made.id)
    assert (found.feature, found.currency, found.credits) == (PAID, CREDITS, 15)
    assert await units(engine, **team) == {
        "account units": (0, 6),
        "team-eng units": (0, 6),
        f"team-eng {CREDITS}": (0, 15),
    }
    assert await balance(engine) == (85, 15, 0)
    assert (await made.settle(4)).settled == 4
    assert await units(engine, **team) == {
        "account units": (4, 0),
        "team-eng units": (4, 0),
        f"team-eng {CREDITS}": (10, 0),
    }
    assert await balance(engine) == (90, 0, 0)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"limit": 5}, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT),
        ({"grant": 14}, DeniedReason.INSUFFICIENT_CREDITS),
        ({"credits": 14}, DeniedReason.BUDGET_EXCEEDED),
        ({"units": 5}, DeniedReason.BUDGET_EXCEEDED),
    ],
    ids=["account", "wallet", "budget of credits", "budget of units"],
)
async def test_if_one_of_them_refuses_nothing_is_held_anywhere(
    target: Target, engine: AsyncHeadgate, limits: dict[str, float], reason: DeniedReason
) -> None:
    await found_wallet(engine, limits.get("grant", 100))
    await sell(engine, limits.get("limit", 1_000))
    await govern(engine, credits=limits.get("credits", 80), units=limits.get("units", 20))
    before = target.dump()
    refused = await hold_paid(engine, 6, dimensions={"teamId": "team-eng"})
    assert refused.decision is not None
    assert (bool(refused), refused.decision.reason) == (False, reason)
    assert target.dump() == before


async def test_of_twenty_reservations_against_a_chain_and_a_wallet_six_are_granted(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 500)
    await sell(engine)
    await govern(engine, credits=10_000, units=10_000)
    made = [await hold_paid(engine, 30, dimensions={"teamId": "team-eng"}) for _ in range(20)]
    assert [bool(each) for each in made] == [True] * 6 + [False] * 14
    for each in made[:6]:
        await each.settle(30)
    assert await balance(engine) == (50, 0, 0)
    assert (await units(engine))["account units"] == (180, 0)


async def test_a_stream_counts_units_and_pays_their_credits(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10, 90)
    await sell(engine)
    async with hold_paid(engine, 6) as made:
        for _ in range(4):
            made.count(0.1)
    assert await consumed(engine) == {"g0": (1, 0), "g1": (0, 0)}
    assert (await units(engine))["account units"] == (0.4, 0)


async def test_the_rate_is_that_of_the_reservation(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 100)
    await sell(engine)
    made = await hold_paid(engine, 6)
    terms = {"feature": PAID, "usage_limit": 1_000, "credit_rate": {"currency": CREDITS, "amount": 50}}
    await engine.catalog.put_plans([{"id": "plan-paid", "entitlements": [terms]}])
    await made.settle(6)
    assert await balance(engine) == (85, 0, 0)


async def test_a_settle_counts_though_the_subscription_is_gone(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 100)
    await sell(engine)
    made = await hold_paid(engine, 6)
    await engine.subscriptions.cancel(ACME, "plan-paid")
    assert (await made.settle(8)).settled == 8
    assert await balance(engine) == (80, 0, 0)


# Soft wallets.


async def test_of_a_soft_wallet_only_what_it_has_is_held(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    credit = {"currency": CREDITS, "amount": 10, "cadence": "MONTH", "has_soft_limit": True}
    await engine.catalog.put_plans([{"id": "plan-soft", "credits": [credit]}])
    await buy(engine, "plan-soft")
    made, other = await hold(engine, 14), await hold(engine, 5)
    assert await balance(engine) == (0, 10, 0)
    await other.settle(5)
    assert await balance(engine) == (-5, 10, 5)
    await made.settle(12)
    assert await balance(engine) == (-7, 0, 7)


# Grants that are no longer live when a hold on them ends.


async def test_a_grant_that_was_voided_while_it_was_held_pays_what_was_used_of_the_hold(
    engine: AsyncHeadgate,
) -> None:
    await found_wallet(engine, 10, 20)
    made = await hold(engine, 15)
    await engine.credits.void(ACME, "g0", currency=CREDITS)
    assert await balance(engine) == (15, 5, 0)
    assert ((await ledger(engine))["g0"].held, (await ledger(engine))["g0"].voided) == (10, 0)
    await made.settle(4)
    assert await consumed(engine) == {"g0": (4, 0), "g1": (0, 0)}
    assert (await ledger(engine))["g0"].voided == 6
    assert await balance(engine) == (20, 0, 0)


async def test_a_grant_that_expired_while_it_was_held_pays_what_was_used_of_the_hold(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_wallet(engine, 10, expires_at_ms=NOW_MS + 60_000)
    await give(engine, 20, id="later", priority=50)
    made = await hold(engine, 15)
    clock.advance(60_000)
    assert await balance(engine) == (15, 5, 0)
    await made.settle(4)
    assert await consumed(engine) == {"g0": (4, 0), "later": (0, 0)}
    assert (await ledger(engine))["g0"].expired == 6
    assert await balance(engine) == (20, 0, 0)


async def test_a_hold_on_a_recurring_grant_belongs_to_its_period(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_shop(engine)
    credit = {"currency": CREDITS, "amount": 100, "cadence": "MONTH"}
    await engine.catalog.put_plans([{"id": "plan", "credits": [credit]}])
    await buy(engine, "plan")
    clock.set(in_days(31) - 60_000)
    made = await hold(engine, 70)
    clock.advance(60_000)
    assert await balance(engine) == (100, 0, 0)
    await made.settle(40)
    assert await consumed(engine) == {f"plan:{CREDITS}:MONTH:0": (40, 0), f"plan:{CREDITS}:MONTH:1": (0, 0)}
    assert await balance(engine) == (100, 0, 0)


# Expiry.


async def test_what_has_expired_of_a_wallet_is_given_to_whoever_would_be_refused(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_wallet(engine, 10, 20)
    for _ in range(3):
        await hold(engine, 9, expires_in=60)
    clock.advance(60_000)
    assert await engine.consume(ACME, currency=CREDITS, amount=30)
    assert engine.metrics["holds_freed"] == 3
    assert await consumed(engine) == {"g0": (10, 0), "g1": (20, 0)}


async def test_a_wallet_that_owes_is_read_while_something_is_due(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_wallet(engine, 10)
    await hold(engine, 9, expires_in=60)
    await engine.report(ACME, currency=CREDITS, value=20)
    assert await balance(engine) == (-19, 9, 19)
    clock.advance(60_000)
    assert await balance(engine) == (-10, 0, 19)


async def test_a_late_settle_is_paid_out_of_the_live_grants_at_once(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_wallet(engine, 10, 20)
    made = await hold(engine, 15, expires_in=60)
    clock.advance(60_000)
    assert await engine.reservations.sweep() == 1
    assert await balance(engine) == (30, 0, 0)
    late = await made.settle(12)
    assert (late.status, late.settled) == (ReservationStatus.SETTLED, 12)
    assert await balance(engine) == (18, 0, 0)
    assert not await engine.consume(ACME, currency=CREDITS, amount=19)
    assert await engine.consume(ACME, currency=CREDITS, amount=18)
    assert await balance(engine) == (0, 0, 0)


async def test_a_day_of_holds_that_nobody_ended_leaves_the_wallet_whole(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_wallet(engine, 0.1, 0.2, 299.7)
    await sell(engine)
    for _ in range(20):
        await hold_paid(engine, 5.5, expires_in=60)
        await hold(engine, 0.7, expires_in=90)
    clock.advance(DAY_MS)
    await engine.reservations.sweep()
    assert await balance(engine) == (300, 0, 0)
    assert (await units(engine))["account units"] == (0, 0)


# Resources.


async def test_a_hold_for_a_resource_is_one_on_its_own_wallet_and_limit(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10)
    await engine.customers.put_resource(ACME, SITE)
    await give(engine, 30, id="of-site", resource=SITE)
    assert not await hold(engine, 20)
    made = await hold(engine, 20, resource=SITE)
    found = await engine.reservations.get(ACME, made.id)
    assert (found.resource, found.credits) == (SITE, 20)
    assert await balance(engine) == (10, 0, 0)
    assert (await wallet(engine, resource=SITE)).held == 20
    await made.settle(12)
    of_site = await wallet(engine, resource=SITE)
    assert (of_site.balance, of_site.held) == (18, 0)
    assert await balance(engine) == (10, 0, 0)


# Numbers at the end of their range.


async def test_a_soft_wallet_with_a_fraction_refuses_to_hold_what_no_number_could_say(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_shop(engine)
    credit = {"currency": CREDITS, "amount": 0.5, "cadence": "MONTH", "has_soft_limit": True}
    await engine.catalog.put_plans([{"id": "plan-soft", "credits": [credit]}])
    await buy(engine, "plan-soft")
    before = target.dump()
    for ask in (hold(engine, 2**40), engine.consume(ACME, currency=CREDITS, amount=2**40)):
        with pytest.raises(OutOfRange):
            await ask
    assert target.dump() == before


async def test_a_settle_that_no_overdraft_could_hold_still_gives_back(engine: AsyncHeadgate) -> None:
    await found_wallet(engine, 10)
    made = await hold(engine, 5)
    await engine.report(ACME, currency=CREDITS, value=11)
    assert await balance(engine) == (-6, 5, 6)
    await made.settle(2**53 - 1)
    assert await consumed(engine) == {"g0": (10, 0)}
    assert await balance(engine) == (-6, 0, 6)
