"""Where a limit comes from, through the engine: the rules of docs/concepts/entitlements.md that need several calls.

How sources combine is pure, and is shown in tests/unit/test_entitlements.py.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, ENTITY_TYPES, FEATURES, REGIONS, RETENTION, SEATS, SSO, TOKENS
from headgate import AsyncHeadgate, Decision, DeniedReason, ManualClock

SITE: Final = "site-01"
OTHER_SITE: Final = "site-02"
DAY_MS: Final = 86_400_000


def seats(limit: float, **given: Any) -> dict[str, Any]:
    return {"feature": SEATS, "usage_limit": limit, **given}


async def found(engine: AsyncHeadgate, **plans: dict[str, Any]) -> None:
    """Write a customer with two resources, and plans that say one thing each."""
    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_plans([{"id": id, "entitlements": [said]} for id, said in plans.items()])
    await engine.customers.put(ACME)
    for site in (SITE, OTHER_SITE):
        await engine.customers.put_resource(ACME, site)


async def provision(engine: AsyncHeadgate, plan: str, **given: Any) -> None:
    await engine.subscriptions.provision(ACME, {"plan": plan, **given})


async def ask(engine: AsyncHeadgate, resource: str | None = None, feature: str = SEATS) -> Decision:
    return await engine.check(ACME, feature=feature, resource=resource)


async def limit(engine: AsyncHeadgate, resource: str | None = None) -> float | None:
    """The limit of seats that a request sees; a denial is an error."""
    decision = await ask(engine, resource)
    assert decision.account is not None, decision
    return decision.account.limit


async def test_e5_without_a_resource_only_the_customers_own_subscriptions_count(engine: AsyncHeadgate) -> None:
    await found(engine, small=seats(5), large=seats(50))
    await provision(engine, "large", resource=SITE)
    assert (await ask(engine)).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    await provision(engine, "small")
    assert await limit(engine) == 5


async def test_e6_a_resource_has_its_subscriptions_and_the_customers_own(engine: AsyncHeadgate) -> None:
    await found(engine, small=seats(5), large=seats(50), middle=seats(20))
    await provision(engine, "small", resource=SITE)
    await provision(engine, "large", resource=OTHER_SITE)
    assert (await limit(engine, SITE), await limit(engine, OTHER_SITE)) == (5, 50)
    await provision(engine, "middle")
    assert (await limit(engine, SITE), await limit(engine, OTHER_SITE), await limit(engine)) == (20, 50, 20)
    await engine.subscriptions.cancel(ACME, "middle")
    await engine.subscriptions.cancel(ACME, f"small@{SITE}", resource=SITE)
    assert (await ask(engine, SITE)).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    assert (await ask(engine, "site-99")).reason is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND


async def test_e7_a_promotion_is_for_the_customer_and_each_of_its_resources(engine: AsyncHeadgate) -> None:
    await found(engine, large=seats(50))
    await engine.customers.grant_entitlement(ACME, seats(7))
    assert [await limit(engine, resource) for resource in (None, SITE, OTHER_SITE)] == [7, 7, 7]
    await engine.customers.revoke_entitlement(ACME, feature=SEATS)
    for resource in (None, SITE):
        assert (await ask(engine, resource)).reason is DeniedReason.REVOKED


async def test_e8_each_resource_counts_for_itself_and_entities_count_for_all(engine: AsyncHeadgate) -> None:
    await found(engine, small=seats(5))
    await provision(engine, "small")
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.governance.put_entities(ACME, [{"id": "team-eng", "type": "team"}])
    budget = {"entity": "team-eng", "feature": SEATS, "usage_limit": 12, "cadence": "P1M"}
    await engine.governance.put_assignments(ACME, [budget])

    async def take(amount: float, resource: str | None) -> Decision:
        dimensions = {"teamId": "team-eng"}
        return await engine.consume(ACME, feature=SEATS, amount=amount, resource=resource, dimensions=dimensions)

    assert await take(5, SITE)
    assert (await take(1, SITE)).reason is DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
    assert await take(5, OTHER_SITE)
    refused = await take(3, None)
    assert refused.reason is DeniedReason.BUDGET_EXCEEDED
    assert refused.account is not None
    assert (refused.account.used, refused.resource) == (0, None)
    last = await take(2, None)
    assert last.granted
    assert last.chains is not None
    assert (last.chains[0][0].used, last.account and last.account.used) == (12, 2)
    assert (await engine.report(ACME, feature=SEATS, value=-1, resource=SITE)).resource == SITE
    assert [(await ask(engine, each)).account.used for each in (None, SITE, OTHER_SITE)] == [2, 4, 5]  # type: ignore[union-attr]


async def test_e9_an_edited_plan_holds_for_everybody_on_the_next_call(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine, small=seats(5), empty=seats(1))
    customers = [f"cus-{number}" for number in range(5)]
    for customer in customers:
        await engine.customers.put(customer)
        await engine.subscriptions.provision(customer, {"plan": "small"})
    other = target.open()

    async def limits() -> set[float | None]:
        seen = set()
        for asked in (engine, other):
            for customer in customers:
                account = (await asked.check(customer, feature=SEATS)).account
                seen.add(account and account.limit)
        return seen

    assert await limits() == {5}
    for number in (9, 3):
        await engine.catalog.put_plans([{"id": "small", "entitlements": [seats(number)]}])
        assert await limits() == {number}
    await other.catalog.put_plans([{"id": "small", "entitlements": []}])
    for asked in (engine, other):
        decision = await asked.check(customers[0], feature=SEATS)
        assert decision.reason is DeniedReason.NO_FEATURE_ENTITLEMENT
    versions = {id: plan.version for id, plan in (await engine.catalog.plans()).items()}
    assert versions == {"small": 4, "empty": 1}


@pytest.mark.parametrize("edge_ms", [NOW_MS + 1, NOW_MS + 14 * DAY_MS])
async def test_e37_a_change_happens_at_its_instant_without_a_job(
    engine: AsyncHeadgate, clock: ManualClock, edge_ms: int
) -> None:
    await found(engine, before=seats(5), trial=seats(10), after=seats(3))
    await provision(engine, "before", end_ms=edge_ms + 20)
    await provision(engine, "trial", trial_end_ms=edge_ms + 10, trial_end_behavior="CANCEL_SUBSCRIPTION")
    await engine.customers.grant_entitlement(ACME, seats(20, expires_at_ms=edge_ms))
    await provision(engine, "after", start_ms=edge_ms + 30)
    seen: dict[int, float | DeniedReason | None] = {}
    for instant_ms in (edge_ms - 1, edge_ms, edge_ms + 9, edge_ms + 10, edge_ms + 19, edge_ms + 20, edge_ms + 30):
        clock.set(instant_ms)
        decision = await ask(engine)
        seen[instant_ms - edge_ms] = decision.reason or (decision.account and decision.account.limit)
    none = DeniedReason.NO_ACTIVE_SUBSCRIPTION
    assert seen == {-1: 20, 0: 10, 9: 10, 10: 5, 19: 5, 20: none, 30: 3}
    clock.set(edge_ms - 1)  # A clock that steps back meets what held then.
    assert await limit(engine) == 20


async def test_everything_together_is_what_the_page_says(engine: AsyncHeadgate) -> None:
    """One customer with all kinds of sources, for each type of feature."""
    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_plans(
        [
            {
                "id": "team",
                "entitlements": [
                    seats(5, per_unit=True),
                    {"feature": REGIONS, "enum_values": ["us"]},
                    {"feature": RETENTION, "usage_limit": 30},
                    {"feature": TOKENS, "usage_limit": 100, "reset_period": "MONTH"},
                ],
            },
            {"id": "legacy", "entitlements": [{"feature": SSO}, seats(12, has_soft_limit=True)]},
        ]
    )
    await engine.catalog.put_addons(
        [
            {"id": "more-seats", "entitlements": [seats(2)]},
            {"id": "europe", "entitlements": [{"feature": REGIONS, "enum_values": ["eu"]}]},
            {
                "id": "firehose",
                "entitlements": [{"feature": TOKENS, "has_unlimited_usage": True, "behavior": "OVERRIDE"}],
            },
        ]
    )
    await engine.customers.put(ACME)
    addons = [{"addon": "more-seats", "quantity": 4}, {"addon": "europe"}, {"addon": "firehose"}]
    await provision(engine, "team", unit_quantity=2, addons=addons)
    await provision(engine, "legacy")
    await engine.customers.grant_entitlement(ACME, {"feature": RETENTION, "usage_limit": 90})

    account = (await ask(engine)).account
    assert account is not None
    assert (account.limit, account.is_soft) == (18, True)
    assert (await ask(engine, feature=REGIONS)).enum_values == ("eu", "us")
    assert (await ask(engine, feature=RETENTION)).numeric_value == 90
    assert (await ask(engine, feature=SSO)).granted
    assert (await ask(engine, feature=TOKENS)).has_unlimited_usage
    await engine.subscriptions.cancel(ACME, "legacy")
    account = (await ask(engine)).account
    assert account is not None
    assert (account.limit, account.is_soft) == (18, False)
    assert (await ask(engine, feature=SSO)).reason is DeniedReason.NO_FEATURE_ENTITLEMENT
