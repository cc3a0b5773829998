"""What is said of an entitlement, of each kind, with every number; and of all of them together."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, Final

import pytest

from behaviour.commerce import BASIC, COINS, CREDITS, DAY_MS, PRO, SITE, buy, found_shop, give, in_days
from behaviour.readings import FULL, PAID, found_full_shop, held, metered, put_plan, verdict
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, REGIONS, RETENTION, SEATS, SSO, TOKENS
from headgate import (
    AsyncHeadgate,
    BooleanEntitlement,
    CreditEntitlement,
    DeniedReason,
    Entitlement,
    EntitlementKind,
    Entitlements,
    EnumEntitlement,
    InvalidInput,
    MeteredEntitlement,
    NumericEntitlement,
    OutOfRange,
)
from headgate.keys import account_counter_field, currency_capability
from headgate.model.decision import instant

# Method → what it returns, its kind, and the feature of the shop that it is for.
TYPED: Final[dict[str, tuple[type[Entitlement], EntitlementKind, str]]] = {
    "boolean_entitlement": (BooleanEntitlement, EntitlementKind.BOOLEAN, SSO),
    "numeric_entitlement": (NumericEntitlement, EntitlementKind.NUMERIC, RETENTION),
    "metered_entitlement": (MeteredEntitlement, EntitlementKind.METERED, TOKENS),
    "enum_entitlement": (EnumEntitlement, EntitlementKind.ENUM, REGIONS),
}


async def test_a_metered_entitlement_says_every_number(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await engine.report(ACME, feature=TOKENS, value=250.5)
    target.clock.set(in_days(3))
    found = await metered(engine, usage=2)
    assert found == await engine.entitlement(ACME, TOKENS, requested_usage=2)
    assert (found.customer, found.resource, found.id, found.kind) == (ACME, None, TOKENS, "METERED")
    assert (found.has_access, found.reason, found.is_fallback, found.requested_usage) == (True, None, False, 2)
    assert found.feature == (await engine.catalog.features())[TOKENS]
    assert (found.usage_limit, found.is_unlimited, found.has_soft_limit) == (1_000, False, False)
    assert (found.current_usage, found.held) == (250.5, 0)
    assert found.reset_period == "MONTH"
    assert (found.usage_period_anchor, found.usage_period_start) == (instant(NOW_MS), instant(NOW_MS))
    assert found.usage_period_end == instant(NOW_MS + 31 * DAY_MS)
    assert (found.currency, found.credit_rate, found.wallet) == (None, None, None)
    assert found.read_at_ms == in_days(3)
    assert json.loads(json.dumps(found.as_dict())) == {
        "customer": ACME,
        "resource": None,
        "id": TOKENS,
        "kind": "METERED",
        "has_access": True,
        "reason": None,
        "is_fallback": False,
        "requested_usage": 2,
        "requested_values": [],
        "feature": {
            "id": TOKENS,
            "display_name": "AI Tokens",
            "feature_type": "NUMBER",
            "meter_type": "INCREMENTAL",
            "is_metered": True,
            "units": "",
            "units_plural": "",
            "status": "ACTIVE",
        },
        "usage_limit": 1_000,
        "is_unlimited": False,
        "has_soft_limit": False,
        "current_usage": 250.5,
        "held": 0,
        "reset_period": "MONTH",
        "usage_period_anchor": "2026-03-10T12:00:00+00:00",
        "usage_period_start": "2026-03-10T12:00:00+00:00",
        "usage_period_end": "2026-04-10T12:00:00+00:00",
        "currency": None,
        "credit_rate": None,
        "wallet": None,
        "read_at": "2026-03-13T12:00:00+00:00",
    }


@pytest.mark.parametrize("method", TYPED)
async def test_a_typed_reading_grants_its_own_type_and_denies_the_others(engine: AsyncHeadgate, method: str) -> None:
    await found_full_shop(engine)
    kind, named, _ = TYPED[method]
    for _, actual, feature in TYPED.values():
        found = await getattr(engine, method)(ACME, feature)
        assert type(found) is kind
        assert (found.kind, found.id) == (named, feature)
        if actual is named:
            assert verdict(found) == (True, None)
            assert found.feature is not None
        else:
            assert verdict(found) == (False, DeniedReason.FEATURE_TYPE_MISMATCH)
            assert found == kind(
                customer=ACME,
                resource=None,
                id=feature,
                has_access=False,
                reason=DeniedReason.FEATURE_TYPE_MISMATCH,
                read_at_ms=NOW_MS,
                requested_usage=1 if named is EntitlementKind.METERED else 0,
            )


async def test_the_generic_reading_is_of_the_kind_of_the_feature(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    for kind, named, feature in TYPED.values():
        found = await engine.entitlement(ACME, feature)
        assert type(found) is kind
        assert (found.kind, verdict(found)) == (named, (True, None))
        assert found.as_dict()["kind"] == named


async def test_a_numeric_reading_is_the_number_or_unlimited_and_never_exceeded(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    found = await engine.numeric_entitlement(ACME, RETENTION)
    assert (verdict(found), found.value, found.is_unlimited) == ((True, None), 30, False)
    assert verdict(await engine.entitlement(ACME, RETENTION, requested_usage=31)) == (True, None)
    await put_plan(engine, days={"usage_limit": None, "has_unlimited_usage": True})
    found = await engine.numeric_entitlement(ACME, RETENTION)
    assert (verdict(found), found.value, found.is_unlimited) == ((True, None), None, True)


async def test_an_enum_reading_needs_every_requested_value_and_shows_those_granted(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    for values, granted in ([], True), (["eu"], True), (["us", "eu"], True), (["eu", "asia"], False):
        for found in (
            await engine.enum_entitlement(ACME, REGIONS, requested_values=values),
            await engine.entitlement(ACME, REGIONS, requested_values=values),
        ):
            assert isinstance(found, EnumEntitlement)
            assert verdict(found) == (granted, None if granted else DeniedReason.REQUESTED_VALUES_MISMATCH)
            assert (found.enum_values, found.requested_values) == (("eu", "us"), tuple(values))
            assert found.feature is not None


async def test_a_metered_reading_grants_what_fits_exactly_and_shows_everything_where_it_does_not(
    engine: AsyncHeadgate,
) -> None:
    await found_full_shop(engine)
    await engine.report(ACME, feature=SEATS, value=3)
    fits, exceeds = await metered(engine, SEATS, 2), await metered(engine, SEATS, 2.00001)
    assert verdict(fits) == (True, None)
    assert verdict(exceeds) == (False, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT)
    for found, usage in ((fits, 2), (exceeds, 2.00001)):
        assert (found.requested_usage, found.usage_limit, found.current_usage) == (usage, 5, 3)
        assert found.feature is not None
        period = (found.reset_period, found.usage_period_anchor, found.usage_period_start, found.usage_period_end)
        assert period == (None, None, None, None)
    await engine.report(ACME, feature=SEATS, value=2)
    assert verdict(await engine.metered_entitlement(ACME, SEATS)) == (
        False,
        DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT,
    )
    assert verdict(await metered(engine, SEATS, 0)) == (True, None)


async def test_a_soft_and_an_unlimited_metered_reading_grant_whatever_is_asked(engine: AsyncHeadgate) -> None:
    await found_full_shop(
        engine, tokens={"usage_limit": None, "has_unlimited_usage": True}, seats={"has_soft_limit": True}
    )
    for feature in (TOKENS, SEATS):
        await engine.report(ACME, feature=feature, value=9)
    unlimited, soft = await metered(engine, TOKENS, 10_000), await metered(engine, SEATS, 10_000)
    assert verdict(unlimited) == verdict(soft) == (True, None)
    assert (unlimited.usage_limit, unlimited.is_unlimited, unlimited.has_soft_limit) == (None, True, False)
    assert (soft.usage_limit, soft.is_unlimited, soft.has_soft_limit, soft.current_usage) == (5, False, True, 9)
    assert unlimited.usage_period_end == instant(NOW_MS + 31 * DAY_MS)


async def test_without_an_entitlement_there_is_no_feature_no_limit_and_no_usage(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await engine.report(ACME, feature=TOKENS, value=7)
    await engine.subscriptions.cancel(ACME, FULL)
    for method, (kind, _, feature) in TYPED.items():
        found = await getattr(engine, method)(ACME, feature)
        assert type(found) is kind
        assert found == await engine.entitlement(ACME, feature, requested_usage=found.requested_usage)
        assert verdict(found) == (False, DeniedReason.NO_ACTIVE_SUBSCRIPTION)
        assert found.feature is None
        if isinstance(found, MeteredEntitlement):
            assert (found.usage_limit, found.is_unlimited, found.current_usage) == (None, False, 0)
            assert (found.reset_period, found.usage_period_start) == (None, None)
    # Nothing entitles, so of which type it is does not matter.
    assert verdict(await engine.boolean_entitlement(ACME, TOKENS)) == (False, DeniedReason.NO_ACTIVE_SUBSCRIPTION)


async def test_every_denial_of_the_account_level_is_told_before_any_other(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    await engine.customers.grant_entitlement(ACME, {"feature": "feature-sso"})

    async def reason(customer: str, feature: str, **named: Any) -> DeniedReason | None:
        found = await engine.entitlement(customer, feature, requested_usage=9_999, requested_values=["x"], **named)
        assert not found.has_access
        assert found.feature is None
        return found.reason

    assert await reason("cus-nobody", TOKENS) is DeniedReason.CUSTOMER_NOT_FOUND
    assert await reason("cus-nobody", "feature-none") is DeniedReason.CUSTOMER_NOT_FOUND
    assert await reason(ACME, "feature-none", resource=SITE) is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    assert await reason(ACME, "feature-none") is DeniedReason.FEATURE_NOT_FOUND
    assert (await engine.entitlement(ACME, "feature-none")).kind is None
    assert (await engine.metered_entitlement(ACME, "feature-none")).kind is EntitlementKind.METERED

    await engine.subscriptions.cancel(ACME, FULL)
    assert await reason(ACME, TOKENS) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    await buy(engine, BASIC)
    assert await reason(ACME, REGIONS) is DeniedReason.NO_FEATURE_ENTITLEMENT
    assert (await engine.boolean_entitlement(ACME, SSO)).has_access
    await engine.customers.revoke_entitlement(ACME, feature=SSO)
    assert await reason(ACME, SSO) is DeniedReason.REVOKED
    await engine.customers.archive(ACME)
    assert await reason(ACME, TOKENS) is DeniedReason.CUSTOMER_IS_ARCHIVED
    assert await reason(ACME, "feature-none") is DeniedReason.CUSTOMER_IS_ARCHIVED


async def test_a_resource_has_entitlements_and_usage_of_its_own(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    await buy(engine, PRO, resource=SITE)
    await engine.report(ACME, feature=TOKENS, value=3)
    await engine.report(ACME, feature=TOKENS, value=40, resource=SITE)
    for resource, limit, used in ((None, 1_000, 3), (SITE, 5_000, 40)):
        found = await metered(engine, resource=resource)
        assert (found.resource, found.usage_limit, found.current_usage) == (resource, limit, used)
        everything = await held(engine, resource=resource)
        assert {each.resource for each in everything.values()} == {resource}
        listed = everything[TOKENS]
        assert isinstance(listed, MeteredEntitlement)
        assert (listed.usage_limit, listed.current_usage) == (limit, used)
        assert (CREDITS in everything) is (resource == SITE)


async def test_a_resource_has_wallets_of_its_own(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    await give(engine, 10)
    assert verdict(await metered(engine, PAID)) == (True, None)
    assert verdict(await metered(engine, PAID, resource=SITE)) == (False, DeniedReason.INSUFFICIENT_CREDITS)
    await give(engine, 30, resource=SITE)
    for resource, balance in ((None, 10), (SITE, 30)):
        everything = await held(engine, resource=resource)
        credits, images = everything[CREDITS], everything[PAID]
        assert isinstance(credits, CreditEntitlement)
        assert isinstance(images, MeteredEntitlement)
        assert (credits.resource, credits.remaining) == (resource, balance)
        assert images.wallet == credits.wallet == await engine.credits.wallet(ACME, currency=CREDITS, resource=resource)


async def test_a_feature_paid_in_credits_needs_a_balance_and_what_is_asked_for(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    empty = await metered(engine, PAID, 0)
    assert verdict(empty) == (False, DeniedReason.INSUFFICIENT_CREDITS)
    assert (empty.usage_limit, empty.current_usage, empty.credit_rate) == (100, 0, 2.5)

    await give(engine, 10)
    assert verdict(await metered(engine, PAID, 4)) == (True, None)
    costly = await metered(engine, PAID, 4.1)
    assert verdict(costly) == (False, DeniedReason.INSUFFICIENT_CREDITS)
    assert costly.currency == (await engine.catalog.currencies())[CREDITS]
    assert costly.wallet == await engine.credits.wallet(ACME, currency=CREDITS)
    assert costly.as_dict()["wallet"]["balance"] == 10
    assert (costly.as_dict()["currency"], costly.as_dict()["credit_rate"]) == (CREDITS, 2.5)
    # The feature's own limit comes first.
    assert (await metered(engine, PAID, 101)).reason is DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT

    assert (await engine.consume(ACME, feature=PAID, amount=4)).granted
    used_up = await metered(engine, PAID, 0)
    assert (used_up.current_usage, verdict(used_up)) == (4, (False, DeniedReason.INSUFFICIENT_CREDITS))
    assert (await held(engine))[PAID] == used_up
    await engine.report(ACME, feature=PAID, value=1)
    overdrawn = await metered(engine, PAID, 0)
    assert overdrawn.wallet is not None
    assert (overdrawn.wallet.balance, verdict(overdrawn)) == (-2.5, (False, DeniedReason.INSUFFICIENT_CREDITS))


async def test_a_soft_wallet_gives_access_with_nothing_in_it(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    soft = {"currency": CREDITS, "amount": 1, "cadence": "MONTH", "has_soft_limit": True}
    await engine.catalog.put_plans([{"id": BASIC, "credits": [soft]}])
    await buy(engine, BASIC)
    await engine.report(ACME, currency=CREDITS, value=5)
    found, listed = await metered(engine, PAID, 40), (await held(engine))[CREDITS]
    assert verdict(found) == verdict(listed) == (True, None)
    assert isinstance(listed, CreditEntitlement)
    assert (listed.remaining, listed.has_soft_limit) == (-4, True)


async def test_a_cost_beyond_the_exact_range_is_an_error_and_no_answer(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    with pytest.raises(OutOfRange):
        await metered(engine, PAID, 2**53 - 1)


async def test_a_wallet_that_can_not_be_summed_is_an_error_and_no_answer(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await give(engine, 10)
    (usage,) = [key for key in target.dump() if key.endswith(f"{ACME}:usage".encode())]
    overdraft = account_counter_field(currency_capability(CREDITS))
    target.redis.hset(usage, overdraft, struct.pack("<dd", 0, 2.0**35 + 0.5))
    for doing in (metered(engine, PAID), engine.entitlements(ACME)):
        with pytest.raises(OutOfRange):
            await doing


async def test_all_entitlements_are_the_features_by_id_then_the_currencies_by_id(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    await engine.report(ACME, feature=TOKENS, value=999)
    await engine.report(ACME, feature=SEATS, value=5)
    await engine.report(ACME, currency=COINS, value=3)
    await give(engine, 10)
    found = await engine.entitlements(ACME)
    assert isinstance(found, Entitlements)
    assert (found.customer, found.resource, found.reason, found.customer_exists) == (ACME, None, None, True)
    features = sorted([TOKENS, SEATS, SSO, RETENTION, REGIONS, PAID])
    assert [each.id for each in found.entitlements] == [*features, COINS, CREDITS]
    for each in found.entitlements[: len(features)]:
        assert each == await engine.entitlement(ACME, each.id, requested_usage=0)
    coins, credits = found.entitlements[len(features) :]
    assert isinstance(credits, CreditEntitlement)
    assert verdict(credits) == (True, None)
    assert credits.wallet == await engine.credits.wallet(ACME, currency=CREDITS)
    assert credits.currency.id == CREDITS
    numbers = (credits.usage_limit, credits.current_usage, credits.remaining, credits.has_soft_limit)
    assert numbers == (10, 0, 10, False)
    assert isinstance(coins, CreditEntitlement)
    assert verdict(coins) == (False, DeniedReason.INSUFFICIENT_CREDITS)
    assert coins.wallet == await engine.credits.wallet(ACME, currency=COINS)
    plain = json.loads(json.dumps(found.as_dict()))
    assert [each["id"] for each in plain["entitlements"]] == [each.id for each in found.entitlements]
    assert (plain["reason"], plain["customer_exists"], plain["read_at"]) == (None, True, "2026-03-10T12:00:00+00:00")
    assert [each["kind"] for each in plain["entitlements"][-2:]] == ["CREDIT", "CREDIT"]


async def test_a_limit_below_what_was_used_shows_in_the_list_without_access(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    await engine.report(ACME, feature=SEATS, value=5)
    assert (await held(engine))[SEATS].has_access
    await put_plan(engine, seats={"usage_limit": 4})
    assert verdict((await held(engine))[SEATS]) == (False, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT)


async def test_the_list_says_why_there_is_nothing(engine: AsyncHeadgate) -> None:
    await found_shop(engine)

    async def reason(customer: str = ACME, **named: Any) -> tuple[DeniedReason | None, bool]:
        found = await engine.entitlements(customer, **named)
        assert found.entitlements == ()
        return found.reason, found.customer_exists

    assert await reason("cus-nobody") == (DeniedReason.CUSTOMER_NOT_FOUND, False)
    assert await reason("cus-nobody", resource=SITE) == (DeniedReason.CUSTOMER_NOT_FOUND, False)
    assert await reason(resource=SITE) == (DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND, True)
    assert await reason() == (DeniedReason.NO_ACTIVE_SUBSCRIPTION, True)
    await engine.catalog.put_plans([{"id": "plan-empty"}])
    await buy(engine, "plan-empty")
    assert await reason() == (None, True)
    await buy(engine, PRO)
    await engine.customers.archive(ACME)
    assert await reason() == (DeniedReason.CUSTOMER_IS_ARCHIVED, True)


async def test_credits_alone_are_listed_and_need_no_subscription(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await give(engine, 10)
    found = await engine.entitlements(ACME)
    assert ([each.id for each in found.entitlements], found.reason) == ([CREDITS], None)


async def test_a_currency_is_listed_while_it_has_a_live_grant_or_overdraft(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, 10, id="soon", effective_at_ms=in_days(1), expires_at_ms=in_days(2))
    await give(engine, 10, id="taken-back", currency=COINS)
    await engine.credits.void(ACME, "taken-back", currency=COINS)
    assert await held(engine) == {}
    target.clock.set(in_days(1))
    assert verdict((await held(engine))[CREDITS]) == (True, None)
    await engine.consume(ACME, currency=CREDITS, amount=10)
    assert verdict((await held(engine))[CREDITS]) == (False, DeniedReason.INSUFFICIENT_CREDITS)
    target.clock.set(in_days(2))
    assert await held(engine) == {}
    await engine.report(ACME, currency=CREDITS, value=1)
    assert list(await held(engine)) == [CREDITS]


async def test_recurring_credits_are_listed_with_the_end_of_their_period(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, PRO)
    await give(engine, 5, expires_at_ms=in_days(1))
    credits = (await held(engine))[CREDITS]
    assert isinstance(credits, CreditEntitlement)
    assert (credits.usage_limit, credits.usage_period_end) == (105, instant(NOW_MS + 31 * DAY_MS))
    await engine.report(ACME, currency=COINS, value=1)
    coins = (await held(engine))[COINS]
    assert isinstance(coins, CreditEntitlement)
    assert coins.usage_period_end is None


BAD: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    "no feature": (lambda engine: engine.entitlement(ACME, None), "feature"),
    "a feature that is no id": (lambda engine: engine.boolean_entitlement(ACME, "a:b"), "feature"),
    "a customer that is no id": (lambda engine: engine.numeric_entitlement("", TOKENS), "customer"),
    "a resource that is no id": (lambda engine: engine.enum_entitlement(ACME, REGIONS, resource="{x}"), "resource"),
    "negative usage": (lambda engine: engine.metered_entitlement(ACME, TOKENS, requested_usage=-1), "requested_usage"),
    "usage that is text": (lambda engine: engine.entitlement(ACME, TOKENS, requested_usage="1"), "requested_usage"),
    "values that are text": (
        lambda engine: engine.enum_entitlement(ACME, REGIONS, requested_values="eu"),
        "requested_values",
    ),
    "a list for a customer that is no id": (lambda engine: engine.entitlements("a b"), "customer"),
    "a list for a resource that is no id": (lambda engine: engine.entitlements(ACME, resource=""), "resource"),
    "a reload of a customer that is no id": (lambda engine: engine.reload(None), "customer"),
}


@pytest.mark.parametrize("bad", BAD)
async def test_bad_input_is_one_clear_error_and_nothing_is_sent(target: Target, bad: str) -> None:
    act, field = BAD[bad]
    with pytest.raises(InvalidInput) as caught:
        await act(target.engine)
    (problem,) = caught.value.problems
    assert (problem.field, bool(problem.rule)) == (field, True)
    assert target.scripts_sent() == []


async def test_an_entitlement_reads_as_a_sentence(engine: AsyncHeadgate) -> None:
    await found_full_shop(engine)
    await give(engine, 10)
    await engine.report(ACME, feature=TOKENS, value=250)
    said = {id: str(each) for id, each in (await held(engine)).items()}
    assert said == {
        TOKENS: "cus-acme has access to feature-ai-tokens: 250 of 1,000 used.",
        SEATS: "cus-acme has access to feature-seats: 0 of 5 used.",
        SSO: "cus-acme has access to feature-sso.",
        RETENTION: "cus-acme has access to feature-retention-days: 30.",
        REGIONS: "cus-acme has access to feature-regions: eu, us.",
        PAID: "cus-acme has access to feature-images: 0 of 100 used, and wallet currency-credits has 10.",
        CREDITS: "cus-acme has access to currency-credits: wallet currency-credits has 10.",
    }
    refused = await metered(engine, usage=1_000)
    assert str(refused) == (
        "cus-acme has no access to feature-ai-tokens (RequestedUsageExceedingLimit): 250 of 1,000 used."
    )
    assert (
        str(await engine.metered_entitlement(ACME, SSO))
        == "cus-acme has no access to feature-sso (FeatureTypeMismatch)."
    )
