"""Resources: sub-accounts of a customer, with subscriptions, counters and wallets of their own."""

from __future__ import annotations

import pytest

from behaviour.commerce import BASIC, CREDITS, SITE, buy, found_shop, give, in_days, limit_of, refused
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, ENTITY_TYPES, SSO, TOKENS
from headgate import AsyncHeadgate, DeniedReason, NotFound


async def test_a_resource_is_created_then_changed_where_something_is_given(target: Target) -> None:
    await found_shop(target.engine)
    customers = target.engine.customers
    created = await customers.put_resource(ACME, SITE, display_name="Hamburg")
    assert (created.id, created.display_name, created.metadata) == (SITE, "Hamburg", {})
    assert (created.created_at_ms, created.updated_at_ms) == (NOW_MS, NOW_MS)

    target.clock.advance(5)
    changed = await customers.put_resource(ACME, SITE, metadata={"region": "eu"})
    assert (changed.display_name, changed.metadata) == ("Hamburg", {"region": "eu"})
    assert (changed.created_at_ms, changed.updated_at_ms) == (NOW_MS, NOW_MS + 5)
    assert await customers.resources(ACME) == [changed]


async def test_a_resource_that_is_written_again_writes_nothing(target: Target) -> None:
    await found_shop(target.engine)
    await target.engine.customers.put_resource(ACME, SITE, display_name="Hamburg", metadata={"region": "eu"})
    before = target.dump()
    target.clock.advance(5)
    await target.engine.customers.put_resource(ACME, SITE)
    await target.engine.customers.put_resource(ACME, SITE, metadata={"region": "eu"})
    assert target.dump() == before


async def test_resources_are_listed_by_id_and_belong_to_one_customer(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await engine.customers.put("cus-other")
    for resource in ("site-02", "site-10", "site-01"):
        await engine.customers.put_resource(ACME, resource)
    assert [each.id for each in await engine.customers.resources(ACME)] == ["site-01", "site-02", "site-10"]
    assert await engine.customers.resources("cus-other") == []


async def test_what_names_an_unknown_customer_or_resource_is_not_found(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    before = target.dump()
    for doing in (
        engine.customers.put_resource("cus-nobody", SITE),
        engine.customers.resources("cus-nobody"),
    ):
        with pytest.raises(NotFound, match="customer 'cus-nobody' was not found"):
            await doing
    for doing in (
        buy(engine, resource=SITE),
        give(engine, resource=SITE),
        engine.subscriptions.get(ACME, BASIC, resource=SITE),
        engine.subscriptions.list(ACME, resource=SITE),
        engine.subscriptions.list(ACME, resource=SITE, include_ended=True),
        engine.subscriptions.cancel(ACME, BASIC, resource=SITE),
        engine.credits.void(ACME, "grant-1", currency=CREDITS, resource=SITE),
    ):
        with pytest.raises(
            NotFound, match="customer resource 'site-01' of customer 'cus-acme' was not found"
        ) as caught:
            await doing
        assert (caught.value.kind, caught.value.id) == ("customer resource", SITE)
        assert caught.value.code == "CustomerResourceNotFound"
    assert target.dump() == before


async def test_a_request_of_an_unknown_resource_is_denied_before_the_feature_is_looked_at(
    engine: AsyncHeadgate,
) -> None:
    await found_shop(engine)
    await buy(engine)
    assert await limit_of(engine, resource=SITE) is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    assert await limit_of(engine, "feature-none", resource=SITE) is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    await engine.customers.put_resource(ACME, SITE)
    assert await limit_of(engine, resource=SITE) == 1_000
    assert await limit_of(engine, "feature-none", resource=SITE) is DeniedReason.FEATURE_NOT_FOUND


async def test_a_resource_has_its_subscriptions_beside_those_of_the_customer(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    for resource in (SITE, "site-02"):
        await engine.customers.put_resource(ACME, resource)
    await buy(engine, "plan-pro", resource=SITE)
    assert await limit_of(engine) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    assert await limit_of(engine, resource="site-02") is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    assert await limit_of(engine, resource=SITE) == 5_000
    await buy(engine)
    assert [await limit_of(engine, resource=each) for each in (None, SITE, "site-02")] == [1_000, 5_000, 1_000]


async def test_each_resource_counts_for_itself_at_the_account_and_all_count_on_budgets(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.governance.put_entities(ACME, [{"id": "team-eng", "type": "team"}])
    budget = {"entity": "team-eng", "feature": TOKENS, "usage_limit": 2_000, "cadence": "P1M"}
    await engine.governance.put_assignments(ACME, [budget])
    await buy(engine)
    used = []
    for resource in (None, SITE, "site-02"):
        if resource is not None:
            await engine.customers.put_resource(ACME, resource)
        decision = await engine.consume(
            ACME, feature=TOKENS, amount=600, resource=resource, dimensions={"teamId": "team-eng"}
        )
        assert decision.granted
        assert decision.account is not None
        assert decision.chains
        used.append((decision.account.used, decision.chains[0][0].used))
    assert used == [(600, 600), (600, 1_200), (600, 1_800)]
    refusal = await engine.consume(ACME, feature=TOKENS, amount=600, resource=SITE, dimensions={"teamId": "team-eng"})
    assert not refusal.granted


async def test_a_promotion_is_for_the_customer_and_each_of_its_resources_until_it_expires(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    await engine.customers.grant_entitlement(ACME, {"feature": SSO, "expires_at_ms": in_days(1)})
    assert list(await engine.customers.entitlements(ACME)) == [SSO]
    for moment, granted in ((in_days(1) - 1, True), (in_days(1), False)):
        target.clock.set(moment)
        for resource in (None, SITE):
            decision = await engine.check(ACME, feature=SSO, resource=resource)
            assert decision.granted is granted
            assert decision.reason is (None if granted else DeniedReason.NO_ACTIVE_SUBSCRIPTION)
    assert await engine.customers.entitlements(ACME) == {}


async def test_a_promotion_has_to_expire_after_the_present(target: Target) -> None:
    await found_shop(target.engine)
    for expires_at_ms in (NOW_MS, NOW_MS - 1):
        doing = target.engine.customers.grant_entitlement(ACME, {"feature": SSO, "expires_at_ms": expires_at_ms})
        assert (await refused(target, doing))[:2] == ("expires_at_ms", expires_at_ms)


async def test_a_promotion_that_expired_or_was_revoked_can_be_given_again(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.grant_entitlement(ACME, {"feature": SSO, "expires_at_ms": in_days(1)})
    target.clock.set(in_days(2))
    await engine.customers.grant_entitlement(ACME, {"feature": SSO, "expires_at_ms": in_days(3)})
    assert (await engine.check(ACME, feature=SSO)).granted
    await engine.customers.revoke_entitlement(ACME, feature=SSO)
    assert (await engine.check(ACME, feature=SSO)).reason is DeniedReason.REVOKED
    target.clock.set(in_days(4))
    assert (await engine.check(ACME, feature=SSO)).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    given = await engine.customers.grant_entitlement(ACME, {"feature": SSO})
    assert (given.revoked_at_ms, given.expires_at_ms) == (None, None)
    assert (await engine.check(ACME, feature=SSO)).granted
