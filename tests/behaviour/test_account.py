"""The account level: who the customer is, what the feature is, and what gives access to it, in the contract's order."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.targets import Target
from behaviour.world import ACME, REGIONS, RETENTION, SEATS, SSO, TOKENS, ask, budget, found_acme, spend, used
from headgate import AsyncHeadgate, Decision, DeniedReason, InvalidInput, NotFound


def reason(decision: Decision) -> DeniedReason | None:
    assert not decision.granted
    assert decision.account is None
    assert decision.binding is None
    return decision.reason


async def test_a_denial_names_the_customer_before_the_feature_before_the_entitlement(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    assert reason(await engine.check("cus-nobody", feature="feature-none")) is DeniedReason.CUSTOMER_NOT_FOUND
    assert reason(await engine.check(ACME, feature="feature-none")) is DeniedReason.FEATURE_NOT_FOUND
    assert reason(await engine.check(ACME, feature=SEATS)) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    await engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    assert reason(await engine.check(ACME, feature=TOKENS)) is DeniedReason.REVOKED
    await engine.customers.archive(ACME)
    for feature in (TOKENS, SEATS, "feature-none"):
        assert reason(await engine.check(ACME, feature=feature)) is DeniedReason.CUSTOMER_IS_ARCHIVED


async def test_a_denied_consume_counts_nothing_anywhere(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10)
    await engine.customers.archive(ACME)
    before = target.dump()
    for customer, feature in ((ACME, TOKENS), ("cus-nobody", TOKENS), (ACME, "feature-none")):
        assert not (await engine.consume(customer, feature=feature, dimensions={"teamId": "team-eng"})).granted
    assert target.dump() == before


async def test_a_denial_of_the_account_level_does_not_look_at_budgets(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10)
    await engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    assert (await ask(engine, teamId="team-eng")).chains == ()
    assert (await ask(engine)).chains is None


async def test_an_archived_customer_that_comes_back_has_its_usage(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=10)
    await spend(engine, 8)
    assert (await engine.customers.archive(ACME)).archived_at_ms is not None
    assert reason(await spend(engine, 1)) is DeniedReason.CUSTOMER_IS_ARCHIVED
    assert (await engine.customers.unarchive(ACME)).archived_at_ms is None
    assert not (await spend(engine, 3)).granted
    assert (await spend(engine, 2)).granted


async def test_an_entitlement_that_is_given_again_has_its_usage(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=10)
    await spend(engine, 8)
    await engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    assert await engine.customers.entitlements(ACME) == {}
    await engine.customers.grant_entitlement(
        ACME,
        {"feature": TOKENS, "usage_limit": 10, "reset_period": "MONTH", "reset_according_to": "StartOfTheMonth"},
    )
    assert await used(engine) == {"account": 8}
    assert not (await spend(engine, 3)).granted


async def test_a_boolean_feature_is_granted_to_whom_it_was_given(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    assert reason(await engine.check(ACME, feature=SSO)) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    await engine.customers.grant_entitlement(ACME, {"feature": SSO})
    decision = await engine.check(ACME, feature=SSO)
    assert decision.granted
    assert decision.account is None
    assert decision.binding is None


async def test_a_numeric_feature_tells_its_value(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.customers.grant_entitlement(ACME, {"feature": RETENTION, "usage_limit": 90})
    decision = await engine.check(ACME, feature=RETENTION)
    assert decision.granted
    assert decision.numeric_value == 90
    await engine.customers.grant_entitlement(ACME, {"feature": RETENTION, "has_unlimited_usage": True})
    decision = await engine.check(ACME, feature=RETENTION)
    assert (decision.granted, decision.numeric_value, decision.has_unlimited_usage) == (True, None, True)


@pytest.mark.parametrize(
    ("wanted", "granted"),
    [
        ((), True),
        (("eu",), True),
        (("us", "eu"), True),
        (("asia",), False),
        (("eu", "asia"), False),
        (("mars",), False),
    ],
)
async def test_an_enum_feature_grants_the_values_that_were_given(
    engine: AsyncHeadgate, wanted: tuple[str, ...], granted: bool
) -> None:
    await found_acme(engine)
    await engine.customers.grant_entitlement(ACME, {"feature": REGIONS, "enum_values": ["eu", "us"]})
    decision = await engine.check(ACME, feature=REGIONS, requested_values=wanted)
    assert decision.granted is granted
    assert decision.reason is (None if granted else DeniedReason.REQUESTED_VALUES_MISMATCH)
    assert decision.enum_values == ("eu", "us")


@pytest.mark.parametrize("feature", [SSO, RETENTION, REGIONS])
async def test_what_is_not_metered_cannot_be_consumed(engine: AsyncHeadgate, feature: str) -> None:
    await found_acme(engine)
    given: dict[str, dict[str, Any]] = {SSO: {}, RETENTION: {"usage_limit": 5}, REGIONS: {"enum_values": ["eu"]}}
    await engine.customers.grant_entitlement(ACME, {"feature": feature, **given[feature]})
    decision = await engine.consume(ACME, feature=feature)
    assert not decision.granted
    assert decision.reason is DeniedReason.FEATURE_TYPE_MISMATCH


@pytest.mark.parametrize("status", ["NEW", "ACTIVE", "SUSPENDED"])
async def test_the_status_of_a_feature_is_shown_and_does_not_decide(engine: AsyncHeadgate, status: str) -> None:
    await found_acme(engine)
    feature = {"id": TOKENS, "feature_type": "NUMBER", "meter_type": "INCREMENTAL", "status": status}
    await engine.catalog.put_features([feature])
    decision = await spend(engine, 1)
    assert decision.granted
    assert decision.details is not None
    assert decision.details.status == status


@pytest.mark.parametrize(
    ("entitlement", "field"),
    [
        ({"feature": SSO, "usage_limit": 5}, "usage_limit"),
        ({"feature": SSO, "reset_period": "MONTH"}, "reset_period"),
        ({"feature": SSO, "enum_values": ["eu"]}, "enum_values"),
        ({"feature": RETENTION}, "usage_limit"),
        ({"feature": RETENTION, "usage_limit": 5, "has_soft_limit": True}, "reset_period"),
        ({"feature": REGIONS}, "enum_values"),
        ({"feature": REGIONS, "enum_values": ["mars"]}, "enum_values"),
        ({"feature": TOKENS}, "usage_limit"),
        ({"feature": TOKENS, "usage_limit": 5, "enum_values": ["eu"]}, "enum_values"),
    ],
    ids=str,
)
async def test_an_entitlement_has_to_fit_its_feature(
    target: Target, engine: AsyncHeadgate, entitlement: dict[str, object], field: str
) -> None:
    await found_acme(engine)
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await engine.customers.grant_entitlement(ACME, entitlement)
    assert [problem.field for problem in caught.value.problems] == [field]
    assert target.dump() == before


async def test_set_up_of_what_is_not_there_is_not_found(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    with pytest.raises(NotFound, match="customer 'cus-nobody' was not found"):
        await engine.customers.get("cus-nobody")
    with pytest.raises(NotFound, match="customer 'cus-nobody' was not found"):
        await engine.customers.archive("cus-nobody")
    with pytest.raises(NotFound, match="customer 'cus-nobody' was not found"):
        await engine.governance.put_entities("cus-nobody", [{"id": "team-eng", "type": "team"}])
    with pytest.raises(NotFound, match="feature 'feature-none' was not found"):
        await engine.customers.grant_entitlement(ACME, {"feature": "feature-none", "usage_limit": 1})
    with pytest.raises(NotFound, match="entitlement 'feature-seats' of customer 'cus-acme' was not found"):
        await engine.customers.revoke_entitlement(ACME, feature=SEATS)
    with pytest.raises(NotFound, match="entity 'team-none' of customer 'cus-acme' was not found"):
        await engine.governance.archive(ACME, ["team-none"])
    with pytest.raises(NotFound, match="feature 'feature-none' was not found"):
        await engine.governance.tree(ACME, feature="feature-none")
