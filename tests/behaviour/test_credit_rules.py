"""What becomes of credits: the rules of docs/concepts/credits.md that are about counters.

Burn order, recurring amounts and windows are pure, and are shown in tests/unit/test_wallets.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, ENTITY_TYPES, FEATURES, TOKENS
from headgate import AsyncHeadgate, Decision, DeniedReason, InvalidInput, ManualClock, Receipt

CREDITS: Final = "currency-credits"
SITE: Final = "site-01"
DAY_MS: Final = 86_400_000
SHORT: Final = DeniedReason.INSUFFICIENT_CREDITS
MONTHLY: Final = {"currency": CREDITS, "amount": 100, "cadence": "MONTH"}


def ms(month: int, day: int, hour: int = 0) -> int:
    return round(datetime(2026, month, day, hour, tzinfo=UTC).timestamp() * 1000)


async def found(engine: AsyncHeadgate, **plan: Any) -> None:
    """Write a customer with a resource and, if something is said of it, a subscription to the plan `p`."""
    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_currencies([{"id": CREDITS}])
    await engine.customers.put(ACME)
    await engine.customers.put_resource(ACME, SITE)
    if plan:
        await put_plan(engine, **plan)
        await engine.subscriptions.provision(ACME, {"plan": "p"})


async def put_plan(engine: AsyncHeadgate, **plan: Any) -> None:
    await engine.catalog.put_plans([{"id": "p", **plan}])


def paid_in_credits(amount: float, limit: float = 1_000) -> dict[str, Any]:
    """What a plan says of tokens that cost an amount of credits each."""
    return {"feature": TOKENS, "usage_limit": limit, "credit_rate": {"currency": CREDITS, "amount": amount}}


async def give(engine: AsyncHeadgate, id: str, amount: float, **given: Any) -> None:
    await engine.credits.grant(ACME, {"id": id, "currency": CREDITS, "amount": amount, **given})


async def take(engine: AsyncHeadgate, amount: float, resource: str | None = None) -> Decision:
    return await engine.consume(ACME, currency=CREDITS, amount=amount, resource=resource)


async def count(engine: AsyncHeadgate, value: float, resource: str | None = None) -> Receipt:
    return await engine.report(ACME, currency=CREDITS, value=value, resource=resource)


async def balance(engine: AsyncHeadgate, resource: str | None = None) -> float:
    return (await engine.credits.wallet(ACME, currency=CREDITS, resource=resource)).balance


async def left(engine: AsyncHeadgate, resource: str | None = None) -> dict[str, float]:
    """What each grant that ever was has left, after a look that nothing of it got lost."""
    states = await engine.credits.grants(ACME, currency=CREDITS, resource=resource)
    for state in states:
        assert state.amount == state.left + state.held + state.consumed + state.expired + state.voided
    return {state.id: state.left for state in states}


def charges(answer: Decision | Receipt) -> list[tuple[str | None, float]]:
    return [(charge.grant, charge.amount) for charge in answer.charges]


async def test_c1_a_customer_and_each_of_its_resources_have_wallets_of_their_own(engine: AsyncHeadgate) -> None:
    await found(engine, credits=[MONTHLY])
    await engine.customers.put_resource(ACME, "site-02")
    # One id each, for the customer and its resources: what recurs is still three grants.
    for resource in (SITE, "site-02"):
        await engine.subscriptions.provision(ACME, {"id": "p", "plan": "p", "resource": resource})
    await give(engine, "given", 5)
    await take(engine, 60)
    await take(engine, 30, SITE)
    assert [await balance(engine, resource) for resource in (None, SITE, "site-02")] == [45, 70, 100]


async def test_c2_a_request_uses_the_wallet_that_it_names_and_no_other(engine: AsyncHeadgate) -> None:
    await found(engine)
    await give(engine, "own", 100)
    await give(engine, "of-the-site", 10, resource=SITE)
    assert (await take(engine, 11, SITE)).reason is SHORT
    assert charges(await take(engine, 4, SITE)) == [("of-the-site", 4)]
    assert charges(await take(engine, 30)) == [("own", 30)]
    assert (await balance(engine), await balance(engine, SITE)) == (70, 6)
    assert (await take(engine, 1, "site-99")).reason is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND


async def test_c3_credits_need_no_subscription(engine: AsyncHeadgate) -> None:
    await found(engine)
    assert (await take(engine, 1)).reason is SHORT
    await give(engine, "given", 10)
    assert await take(engine, 10)


async def test_c5_what_was_used_of_a_voided_grant_stays_used(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found(engine)
    await give(engine, "first", 100)
    await give(engine, "second", 100)
    await take(engine, 30)
    voided = await engine.credits.void(ACME, "first", currency=CREDITS)
    assert voided.voided_at_ms == NOW_MS
    assert await balance(engine) == 100
    (first, second) = await engine.credits.grants(ACME, currency=CREDITS)
    assert (first.consumed, first.voided, first.left, second.consumed) == (30, 70, 0, 0)
    clock.advance(5)
    assert await engine.credits.void(ACME, "first", currency=CREDITS) == voided
    clock.set(NOW_MS - DAY_MS)
    assert (await engine.credits.grants(ACME, currency=CREDITS))[0].status == "VOIDED"
    with pytest.raises(InvalidInput):
        await engine.credits.void(ACME, "p:currency-credits:MONTH:0", currency=CREDITS)


async def test_c8_a_grant_that_is_given_again_under_its_id_is_the_same(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine)
    await give(engine, "given", 10)
    await take(engine, 10)
    before = target.dump()
    await give(engine, "given", 10)
    assert target.dump() == before
    assert (await take(engine, 1)).reason is SHORT


async def test_c9_the_65th_grant_of_a_wallet_that_has_not_ended_is_refused(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found(engine, credits=[MONTHLY, {**MONTHLY, "cadence": "YEAR"}])
    for number in range(62):
        await give(engine, f"g{number}", 1, expires_at_ms=NOW_MS + DAY_MS if number == 0 else None)
    before = target.dump()
    with pytest.raises(InvalidInput, match="64"):
        await give(engine, "one-more", 1)
    assert target.dump() == before
    await give(engine, "elsewhere", 1, resource=SITE)
    await engine.credits.void(ACME, "g1", currency=CREDITS)
    await give(engine, "one-more", 1)
    with pytest.raises(InvalidInput, match="64"):
        await give(engine, "and-another", 1)
    target.clock.advance(DAY_MS)
    await give(engine, "and-another", 1)
    assert charges(await take(engine, 61 + 100 + 100 + 1))[-1] == ("and-another", 1)


async def test_c17_what_fits_exactly_is_granted_and_a_refusal_writes_nothing(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found(engine)
    await give(engine, "first", 0.1)
    await give(engine, "second", 0.2)
    before = target.dump()
    refused = await take(engine, 0.30001)
    assert (refused.reason, refused.charges) == (SHORT, ())
    assert target.dump() == before
    decision = await take(engine, 0.3)
    assert charges(decision) == [("first", 0.1), ("second", 0.2)]
    assert decision.wallet is not None
    assert decision.wallet.balance == 0


async def test_c18_a_soft_wallet_does_not_refuse_and_owes_the_rest(engine: AsyncHeadgate) -> None:
    await found(engine, credits=[{**MONTHLY, "has_soft_limit": True}])
    decision = await take(engine, 130)
    assert decision.granted
    assert charges(decision) == [("p:currency-credits:MONTH:0", 100), (None, 30)]
    assert (await balance(engine), await left(engine)) == (-30, {"p:currency-credits:MONTH:0": 0})
    assert charges(await take(engine, 5)) == [(None, 5)]
    await put_plan(engine, credits=[MONTHLY])
    assert (await take(engine, 1)).reason is SHORT


async def test_c19_a_report_is_counted_whatever_the_balance(engine: AsyncHeadgate) -> None:
    await found(engine)
    assert charges(await count(engine, 7)) == [(None, 7)]
    await give(engine, "given", 10)
    receipt = await count(engine, 5)
    assert receipt.wallet is not None
    assert (receipt.wallet.balance, receipt.wallet.overdraft, await left(engine)) == (-2, 2, {"given": 0})


async def test_c21_overdraft_is_paid_first_in_burn_order(engine: AsyncHeadgate) -> None:
    await found(engine)
    await count(engine, 70)
    await give(engine, "late", 100, priority=60)
    await give(engine, "early", 50, priority=40)
    assert await balance(engine) == 80
    decision = await take(engine, 10)
    assert charges(decision) == [("early", 50), ("late", 30), (None, -70)]
    assert await left(engine) == {"early": 0, "late": 70}
    wallet = await engine.credits.wallet(ACME, currency=CREDITS)
    assert (wallet.overdraft, wallet.balance) == (0, 70)
    await count(engine, 75)
    await give(engine, "last", 3)
    await count(engine, 0)  # A report of nothing pays, too.
    wallet = await engine.credits.wallet(ACME, currency=CREDITS)
    assert (wallet.overdraft, wallet.balance) == (2, -2)


async def test_c22_a_refusal_and_a_check_pay_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine)
    await count(engine, 70)
    await give(engine, "given", 100)
    before = target.dump()
    assert (await take(engine, 31)).reason is SHORT
    assert await engine.check(ACME, currency=CREDITS, requested_usage=30)
    assert (await balance(engine), await left(engine)) == (30, {"given": 100})
    assert target.dump() == before


async def test_c23_credits_given_back_reduce_overdraft_then_go_back_in_reverse(engine: AsyncHeadgate) -> None:
    await found(engine)
    await give(engine, "first", 10)
    await give(engine, "second", 20)
    await count(engine, 35)
    receipt = await count(engine, -12)
    assert receipt.wallet is not None
    assert (receipt.wallet.balance, receipt.wallet.overdraft) == (7, 0)
    assert sorted(charges(receipt), key=str) == [("second", -7), (None, -5)]
    assert await left(engine) == {"first": 0, "second": 7}
    await count(engine, -15)
    assert await left(engine) == {"first": 2, "second": 20}


async def test_c24_nothing_is_given_back_beyond_what_was_used(engine: AsyncHeadgate) -> None:
    await found(engine)
    await give(engine, "given", 10)
    await count(engine, 4)
    receipt = await count(engine, -9)
    assert charges(receipt) == [("given", -4)]
    assert await left(engine) == {"given": 10}
    assert charges(await count(engine, -1)) == []
    assert await balance(engine) == 10


async def test_c25_nothing_is_given_back_to_a_grant_that_is_not_live(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found(engine)
    await give(engine, "ends", 10, expires_at_ms=NOW_MS + DAY_MS)
    await give(engine, "voided", 10, priority=60)
    await give(engine, "stays", 10, priority=70)
    await count(engine, 25)
    await engine.credits.void(ACME, "voided", currency=CREDITS)
    clock.advance(DAY_MS)
    assert charges(await count(engine, -25)) == [("stays", -5)]
    consumed = {state.id: state.consumed for state in await engine.credits.grants(ACME, currency=CREDITS)}
    assert consumed == {"ends": 10, "voided": 10, "stays": 0}


async def test_c28_a_recurring_grant_is_there_when_its_period_starts(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found(engine, credits=[MONTHLY])
    await take(engine, 60)
    clock.set(ms(4, 10, 12) - 1)
    assert (await take(engine, 41)).reason is SHORT
    clock.set(ms(4, 10, 12))
    assert charges(await take(engine, 41)) == [("p:currency-credits:MONTH:1", 41)]
    (march, april) = await engine.credits.grants(ACME, currency=CREDITS)
    assert (march.consumed, march.expired, march.left, march.status) == (60, 40, 0, "EXPIRED")
    assert (april.consumed, april.left) == (41, 59)
    clock.set(ms(9, 20))
    assert len(await left(engine)) == 7
    clock.set(ms(4, 10, 12) - 1)  # A clock that steps back meets the grant of before, as it was used.
    assert await balance(engine) == 40


async def test_c36_the_next_recurring_grant_pays_overdraft_before_anything_else(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, credits=[MONTHLY])
    await count(engine, 130)
    clock.set(ms(4, 10, 12))
    assert await balance(engine) == 70
    assert (await take(engine, 71)).reason is SHORT
    assert await take(engine, 70)
    (march, april) = await engine.credits.grants(ACME, currency=CREDITS)
    assert (march.consumed, april.consumed) == (100, 100)
    assert await balance(engine) == 0


@pytest.mark.parametrize("named", [{}, {"feature": TOKENS, "currency": CREDITS}], ids=["none", "both"])
async def test_c37_a_request_names_a_feature_or_a_currency(
    target: Target, engine: AsyncHeadgate, named: dict[str, str]
) -> None:
    await found(engine)
    before = target.dump()
    for ask in (
        lambda: engine.check(ACME, **named),
        lambda: engine.consume(ACME, amount=1, **named),
        lambda: engine.report(ACME, value=1, **named),
    ):
        with pytest.raises(InvalidInput):
            await ask()
    assert target.dump() == before


async def found_team(engine: AsyncHeadgate, **budget: Any) -> None:
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.governance.put_entities(ACME, [{"id": "team-eng", "type": "team"}])
    await engine.governance.put_assignments(ACME, [{"entity": "team-eng", "cadence": "P1M", **budget}])


TEAM: Final = {"teamId": "team-eng"}


async def test_c38_a_request_by_currency_counts_on_wallet_and_budgets_of_the_currency(engine: AsyncHeadgate) -> None:
    await found(engine)
    await found_team(engine, currency=CREDITS, usage_limit=50)
    await engine.governance.put_assignments(
        ACME, [{"entity": "team-eng", "feature": TOKENS, "usage_limit": 1, "cadence": "P1M"}]
    )
    await give(engine, "given", 60)
    decision = await engine.consume(ACME, currency=CREDITS, amount=45, dimensions=TEAM)
    assert decision.granted
    assert (decision.feature, decision.account, decision.currency) == (None, None, CREDITS)
    assert [(state.name, state.currency, state.used, state.left) for state in decision.constraints] == [
        (f"wallet {CREDITS}", CREDITS, 45, 15),
        ("team-eng", CREDITS, 45, 5),
    ]
    refused = await engine.consume(ACME, currency=CREDITS, amount=6, dimensions=TEAM)
    assert refused.reason is DeniedReason.BUDGET_EXCEEDED
    assert await balance(engine) == 15
    receipt = await engine.report(ACME, currency=CREDITS, value=6, dimensions=TEAM)
    assert [(counted.state.used, counted.applied) for counted in receipt.entities] == [(51, 6)]
    assert await balance(engine) == 9


async def test_c39_a_currency_that_is_not_there_is_no_entitlement(engine: AsyncHeadgate) -> None:
    await found(engine)
    for verb in (engine.check, engine.consume):
        assert (await verb(ACME, currency="gold")).reason is DeniedReason.ENTITLEMENT_NOT_FOUND
        assert (await verb("nobody", currency="gold")).reason is DeniedReason.CUSTOMER_NOT_FOUND
        missing = await verb(ACME, currency="gold", resource="site-99")
        assert missing.reason is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    await engine.customers.archive(ACME)
    assert (await engine.check(ACME, currency=CREDITS)).reason is DeniedReason.CUSTOMER_IS_ARCHIVED


async def test_c40_a_feature_with_a_rate_counts_in_two_sections(engine: AsyncHeadgate) -> None:
    await found(engine, entitlements=[paid_in_credits(2.5)])
    await found_team(engine, currency=CREDITS, usage_limit=50)
    await engine.governance.put_assignments(
        ACME, [{"entity": "team-eng", "feature": TOKENS, "usage_limit": 30, "cadence": "P1M"}]
    )
    await give(engine, "given", 100)
    decision = await engine.consume(ACME, feature=TOKENS, amount=10, dimensions=TEAM)
    assert decision.granted
    assert charges(decision) == [("given", 25)]
    counted = {(state.name, state.currency): state.used for state in decision.constraints}
    assert counted == {
        ("account", None): 10,
        (f"wallet {CREDITS}", CREDITS): 25,
        ("team-eng", None): 10,
        ("team-eng", CREDITS): 25,
    }
    receipt = await engine.report(ACME, feature=TOKENS, value=4, dimensions=TEAM)
    assert charges(receipt) == [("given", 10)]
    assert receipt.account is not None
    assert (receipt.account.state.used, await balance(engine)) == (14, 65)
    receipt = await engine.report(ACME, feature=TOKENS, value=-4, dimensions=TEAM)
    assert (charges(receipt), await balance(engine)) == ([("given", -10)], 75)


@pytest.mark.parametrize(
    ("amount", "rate", "credits"),
    [(3, 0.1, 0.3), (1, 0.00001, 0.00001), (0.5, 0.00001, 0.00001), (0.4, 0.00001, 0), (1.5, 0.33333, 0.5)],
)
async def test_c41_a_price_is_exact_and_rounded_half_up(
    engine: AsyncHeadgate, amount: float, rate: float, credits: float
) -> None:
    await found(engine, entitlements=[paid_in_credits(rate)])
    await give(engine, "given", 1)
    assert charges(await engine.consume(ACME, feature=TOKENS, amount=amount)) == [("given", credits)] * (credits > 0)


async def test_c42_a_section_that_refuses_keeps_the_other_from_counting(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine, entitlements=[paid_in_credits(10, limit=5)])
    await found_team(engine, currency=CREDITS, usage_limit=35)
    await give(engine, "given", 40)
    await engine.consume(ACME, feature=TOKENS, amount=1, dimensions=TEAM)
    before = target.dump()
    reasons = [
        (await engine.consume(ACME, feature=TOKENS, amount=amount, dimensions=dimensions)).reason
        for amount, dimensions in ((5, None), (4, None), (3, TEAM))
    ]
    assert reasons == [DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT, SHORT, DeniedReason.BUDGET_EXCEEDED]
    assert target.dump() == before


@pytest.mark.parametrize(
    ("limit", "granted", "reason"),
    [
        (1, 1, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT),
        (1, 90, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT),
        (9, 1, SHORT),
        (9, 90, DeniedReason.BUDGET_EXCEEDED),
    ],
)
async def test_c43_of_several_that_refuse_the_limit_comes_first_then_credits_then_budgets(
    engine: AsyncHeadgate, limit: float, granted: float, reason: DeniedReason
) -> None:
    await found(engine, entitlements=[paid_in_credits(10, limit=limit)])
    await found_team(engine, currency=CREDITS, usage_limit=1)
    await give(engine, "given", granted)
    asked = await engine.check(ACME, feature=TOKENS, requested_usage=2, dimensions=TEAM)
    taken = await engine.consume(ACME, feature=TOKENS, amount=2, dimensions=TEAM)
    assert (asked.reason, taken.reason) == (reason, reason)


async def test_c44_credits_are_not_set(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine, entitlements=[paid_in_credits(10)])
    await give(engine, "given", 40)
    before = target.dump()
    for named in ({"currency": CREDITS}, {"feature": TOKENS}):
        with pytest.raises(InvalidInput) as caught:
            await engine.report(ACME, value=5, behavior="SET", **named)
        assert [problem.field for problem in caught.value.problems] == ["behavior"]
    assert target.dump() == before


async def test_c45_a_report_of_what_nothing_entitles_to_costs_nothing(engine: AsyncHeadgate) -> None:
    await found(engine, entitlements=[paid_in_credits(10)])
    await give(engine, "given", 40)
    await engine.subscriptions.cancel(ACME, "p")
    receipt = await engine.report(ACME, feature=TOKENS, value=3)
    assert receipt.account is not None
    assert (receipt.account.state.used, charges(receipt), await balance(engine)) == (3, [], 40)


async def test_c47_a_correction_gives_back_what_was_paid_for_what_it_took(engine: AsyncHeadgate) -> None:
    await found(engine, entitlements=[paid_in_credits(5)])
    await found_team(engine, currency=CREDITS, usage_limit=100)
    await give(engine, "given", 100)
    await engine.consume(ACME, feature=TOKENS, amount=3, dimensions=TEAM)
    await take(engine, 50)
    receipts = [await engine.report(ACME, feature=TOKENS, value=-2, dimensions=TEAM) for _ in range(3)]
    assert [charges(receipt) for receipt in receipts] == [[("given", -10)], [("given", -5)], []]
    assert [receipt.entities[0].applied for receipt in receipts] == [-10, -5, 0]
    assert await balance(engine) == 50


async def test_c48_a_correction_of_last_month_does_not_go_to_the_grant_of_this_one(
    engine: AsyncHeadgate, target: Target
) -> None:
    await found(engine, credits=[MONTHLY])
    await give(engine, "given", 10, priority=90)
    earlier = datetime.fromtimestamp(NOW_MS / 1000 + 60, UTC)
    await take(engine, 105)
    target.clock.set(ms(4, 20))
    await take(engine, 60)
    receipt = await engine.report(ACME, currency=CREDITS, value=-20, timestamp=earlier)
    assert charges(receipt) == [("given", -5)]
    assert charges(await count(engine, -20)) == [("p:currency-credits:MONTH:1", -20)]


async def test_c49_a_grant_never_says_less_than_was_used_of_it(engine: AsyncHeadgate, target: Target) -> None:
    await found(engine, credits=[MONTHLY])
    await take(engine, 80)
    target.clock.advance(-1)  # the clock of the server that writes the change is behind that of the one that counted
    await put_plan(engine, credits=[{**MONTHLY, "amount": 10}])
    target.clock.advance(1)
    await give(engine, "given", 5)
    assert await balance(engine) == 5
    assert charges(await take(engine, 5)) == [("given", 5)]
    states = {state.id: state for state in await engine.credits.grants(ACME, currency=CREDITS)}
    recurring = states["p:currency-credits:MONTH:0"]
    assert (recurring.amount, recurring.consumed, recurring.left) == (80, 80, 0)
