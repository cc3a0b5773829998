"""The reference model on its own: plans, add-ons, subscriptions, resources and promotions, followed on paper."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.errors import InvalidInput, NotFound
from headgate.model.catalog import Currency, Feature, FeatureType, MeterType
from headgate.model.decision import Decision, DeniedReason
from model.reference import Reference

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00Z
DAY_MS = 86_400_000
ACME, SITE = "cus-acme", "site-01"
TOKENS, SEATS, REGION, ACCESS = "tokens", "seats", "region", "access"


def shop() -> Reference:
    """A catalog with a plan of 100 tokens a day and 5 seats for each unit, and add-ons; and a customer without any."""
    model = Reference(NOON_MS)
    model.put_features(
        [
            Feature(id=TOKENS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL),
            Feature(id=SEATS, feature_type=FeatureType.NUMBER),
            Feature(id=REGION, feature_type=FeatureType.ENUM, enum_values=("eu", "us", "in")),
            Feature(id=ACCESS, feature_type=FeatureType.BOOLEAN),
        ]
    )
    model.put_currencies([Currency(id="credits")])
    plan(model, "basic", tokens(100, reset_period="DAY"), {"feature": SEATS, "usage_limit": 5, "per_unit": True})
    model.put_customer(ACME)
    model.put_resource(ACME, SITE)
    return model


def tokens(limit: float | None, **more: Any) -> dict[str, Any]:
    given = {"has_unlimited_usage": True} if limit is None else {"usage_limit": limit}
    return {"feature": TOKENS, **given, **more}


def plan(model: Reference, id: str, *entitlements: dict[str, Any], **more: Any) -> None:
    model.put_plans([{"id": id, "entitlements": entitlements, **more}])


def addon(model: Reference, id: str, *entitlements: dict[str, Any], **more: Any) -> None:
    model.put_addons([{"id": id, "entitlements": entitlements, **more}])


def subscribe(model: Reference, plan: str = "basic", **more: Any) -> None:
    model.provision(ACME, {"plan": plan, **more})


def check(model: Reference, feature: str = TOKENS, resource: str | None = None, amount: float = 1) -> Decision:
    return model.check(ACME, feature=feature, resource=resource, requested_usage=amount)


def limit(model: Reference, resource: str | None = None) -> float | None:
    account = check(model, resource=resource).account
    assert account is not None
    return account.limit


# --- within one subscription ----------------------------------------------------------------------------------------


def test_a_plan_gives_its_limit_and_multiplies_what_is_per_unit() -> None:
    model = shop()
    subscribe(model, unit_quantity=3)
    assert limit(model) == 100
    assert check(model, SEATS).numeric_value == 15


def test_increments_are_added_to_the_plan_as_often_as_they_are_bought() -> None:
    model = shop()
    addon(model, "a-pack", tokens(10))
    addon(model, "b-pack", tokens(7, has_soft_limit=True))
    subscribe(model, addons=[{"addon": "a-pack", "quantity": 4}, {"addon": "b-pack"}])
    account = check(model).account
    assert account is not None
    assert (account.limit, account.is_soft, account.cadence) == (100 + 4 * 10 + 7, True, "DAY")


def test_the_most_generous_override_alone_stands_in_the_place_of_all_others() -> None:
    model = shop()
    addon(model, "a-pack", tokens(1_000))
    addon(model, "b-over", tokens(30, behavior="OVERRIDE", reset_period="HOUR"))
    addon(model, "c-over", tokens(20, behavior="OVERRIDE"))
    subscribe(model, addons=[{"addon": "a-pack"}, {"addon": "b-over"}, {"addon": "c-over", "quantity": 2}])
    account = check(model).account
    assert account is not None
    assert (account.limit, account.cadence) == (40, None)


def test_where_a_plan_is_silent_the_first_addon_by_its_id_gives_the_period() -> None:
    model = shop()
    plan(model, "bare")
    addon(model, "z-pack", tokens(10, reset_period="DAY"))
    addon(model, "a-pack", tokens(5, reset_period="HOUR"))
    subscribe(model, "bare", addons=[{"addon": "z-pack"}, {"addon": "a-pack"}])
    account = check(model).account
    assert account is not None
    assert (account.limit, account.cadence) == (15, "HOUR")


def test_terms_of_the_subscriptions_own_stand_as_they_are() -> None:
    model = shop()
    addon(model, "pack", {"feature": SEATS, "usage_limit": 100})
    own = {"feature": SEATS, "usage_limit": 2}
    subscribe(model, unit_quantity=3, addons=[{"addon": "pack"}], entitlements=[own])
    assert check(model, SEATS).numeric_value == 2


def test_a_limit_beyond_the_range_is_the_greatest_number() -> None:
    model = shop()
    addon(model, "pack", tokens(2**53 - 1))
    subscribe(model, addons=[{"addon": "pack", "quantity": 2}])
    assert limit(model) == 2**53 - 1


def test_a_plan_that_is_edited_is_another_one_for_everybody_at_once() -> None:
    model = shop()
    subscribe(model)
    model.consume(ACME, feature=TOKENS, amount=100)
    assert not check(model)
    assert model.put_plans([{"id": "basic", "entitlements": [tokens(150, reset_period="DAY")]}]) == (("basic", 2),)
    assert check(model, amount=50)
    assert not check(model, amount=51)
    assert check(model, SEATS).reason is DeniedReason.NO_FEATURE_ENTITLEMENT
    assert model.put_plans([{"id": "basic", "entitlements": [tokens(150, reset_period="DAY")]}]) == (("basic", 2),)


# --- across sources -------------------------------------------------------------------------------------------------


def test_the_most_generous_source_gives_limit_and_period_and_a_soft_one_softens_it() -> None:
    model = shop()
    plan(model, "large", tokens(200, reset_period="MONTH"))
    plan(model, "soft", tokens(1, has_soft_limit=True))
    for id in ("basic", "large", "soft"):
        subscribe(model, id)
    account = check(model, amount=500).account
    assert account is not None
    assert (account.limit, account.cadence, account.is_soft, account.granted) == (200, "MONTH", True, True)


def test_unlimited_is_more_than_any_limit() -> None:
    model = shop()
    plan(model, "free", tokens(None))
    subscribe(model)
    subscribe(model, "free")
    decision = check(model, amount=1_000)
    assert (decision.granted, decision.has_unlimited_usage, limit(model)) == (True, True, None)


def test_of_equals_the_subscription_that_began_first_gives_the_period_and_the_promotion_comes_last() -> None:
    model = shop()
    plan(model, "hourly", tokens(100, reset_period="HOUR"))
    model.grant(ACME, {**tokens(100), "reset_period": "WEEK"})
    subscribe(model, "hourly")
    subscribe(model, start_ms=NOON_MS - DAY_MS)
    account = check(model).account
    assert account is not None
    assert account.cadence == "DAY"


def test_values_are_united_in_the_order_of_the_feature() -> None:
    model = shop()
    plan(model, "asia", {"feature": REGION, "enum_values": ("in", "us")})
    plan(model, "europe", {"feature": REGION, "enum_values": ("eu",)})
    subscribe(model, "asia")
    subscribe(model, "europe")
    assert check(model, REGION).enum_values == ("eu", "us", "in")
    assert model.check(ACME, feature=REGION, requested_values=("in", "eu")).granted


# --- time -----------------------------------------------------------------------------------------------------------


def test_a_subscription_applies_from_its_start_until_the_instant_it_ends() -> None:
    model = shop()
    subscribe(model, start_ms=NOON_MS + DAY_MS, end_ms=NOON_MS + 2 * DAY_MS)
    granted = {}
    for offset_ms in (DAY_MS - 1, DAY_MS, 2 * DAY_MS - 1, 2 * DAY_MS):
        model.now_ms = NOON_MS + offset_ms
        granted[offset_ms] = check(model).reason
    assert granted == {
        DAY_MS - 1: DeniedReason.NO_ACTIVE_SUBSCRIPTION,
        DAY_MS: None,
        2 * DAY_MS - 1: None,
        2 * DAY_MS: DeniedReason.NO_ACTIVE_SUBSCRIPTION,
    }


def test_a_trial_that_cancels_ends_the_subscription_and_another_one_does_not() -> None:
    model = shop()
    subscribe(model, trial_end_ms=NOON_MS + DAY_MS)
    subscribe(model, id="tried", trial_end_ms=NOON_MS + DAY_MS, trial_end_behavior="CANCEL_SUBSCRIPTION")
    model.now_ms += DAY_MS
    (still,) = (each for each in model.customers[ACME].subscriptions.values() if model.applies_at(each, model.now_ms))
    assert still.id == "basic"


def test_a_subscription_is_cancelled_now_or_at_the_end_of_the_period_that_was_paid_for() -> None:
    model = shop()
    subscribe(model, billing_anchor_ms=NOON_MS - 10 * DAY_MS, billing_period="MONTHLY")
    later = model.cancel(ACME, "basic", at="period_end", resource=None)
    assert later.end_ms == NOON_MS + 21 * DAY_MS  # the 22nd of December and a month
    assert check(model)
    now = model.cancel(ACME, "basic", at="now", resource=None)
    assert now.end_ms == NOON_MS
    assert not check(model)
    with pytest.raises(InvalidInput):
        subscribe(model, end_ms=None)


def test_a_promotion_is_there_until_it_expires_or_is_revoked() -> None:
    model = shop()
    model.grant(ACME, {**tokens(10), "expires_at_ms": NOON_MS + DAY_MS})
    model.now_ms = NOON_MS + DAY_MS - 1
    assert check(model)
    model.now_ms += 1
    assert check(model).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    model.now_ms -= 1
    model.revoke(ACME, TOKENS)
    assert check(model).reason is DeniedReason.REVOKED
    model.now_ms += 1
    assert check(model).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    with pytest.raises(InvalidInput):
        model.grant(ACME, {**tokens(10), "expires_at_ms": model.now_ms})


# --- resources ------------------------------------------------------------------------------------------------------


def test_a_resource_has_its_own_subscriptions_and_its_customers_and_counts_by_itself() -> None:
    model = shop()
    subscribe(model)
    plan(model, "site", tokens(300, reset_period="DAY"))
    subscribe(model, "site", resource=SITE)
    assert (limit(model), limit(model, SITE)) == (100, 300)
    model.consume(ACME, feature=TOKENS, resource=SITE, amount=300)
    assert check(model, amount=100)
    assert not check(model, resource=SITE)
    assert ("site@site-01") in {id for _, id in model.customers[ACME].subscriptions}


def test_denials_of_resources_come_after_the_customers_and_before_the_features() -> None:
    model = shop()
    assert check(model, "none", "site-02").reason is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    assert check(model, "none", SITE).reason is DeniedReason.FEATURE_NOT_FOUND
    model.set_customer_archived(ACME, archived=True)
    assert check(model, "none", "site-02").reason is DeniedReason.CUSTOMER_IS_ARCHIVED
    with pytest.raises(NotFound):
        model.report(ACME, feature=TOKENS, resource="site-02", value=1)


def test_a_refused_subscription_leaves_nothing_behind() -> None:
    model = shop()
    for wrong in (
        {"id": "no-plan"},
        {"end_ms": NOON_MS},
        {"trial_end_ms": NOON_MS - 1},
        {"trial_end_ms": NOON_MS + 2, "end_ms": NOON_MS + 1},
        {"trial_end_behavior": "CANCEL_SUBSCRIPTION"},
        {"addons": [{"addon": "none"}]},
        {"entitlements": [{"feature": REGION}]},
        {"credits": [{"currency": "none", "amount": 1, "cadence": "MONTH"}]},
    ):
        given = {"plan": "basic", **wrong} if "id" not in wrong else wrong
        with pytest.raises(InvalidInput):
            model.provision(ACME, given)
    for missing in ({"plan": "none"}, {"plan": "basic", "resource": "site-02"}):
        with pytest.raises(NotFound):
            model.provision(ACME, missing)
    assert model.customers[ACME].subscriptions == {}


# --- rates ----------------------------------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_terms_that_gave_the_reset_and_else_the_plans() -> None:
    model = shop()
    rates = {id: {"currency": "credits", "amount": amount} for id, amount in (("plan", 2), ("addon", 3))}
    plan(model, "paid", tokens(10, credit_rate=rates["plan"]))
    plan(model, "bare")
    addon(model, "pack", tokens(10, credit_rate=rates["addon"]))
    addon(model, "over", tokens(10, behavior="OVERRIDE"))
    addon(model, "rated", tokens(10, behavior="OVERRIDE", credit_rate=rates["addon"]))
    found: dict[str, object] = {}
    for id, of, addons in (
        ("a", "paid", ["pack"]),
        ("b", "bare", ["pack"]),
        ("c", "paid", ["over"]),
        ("d", "paid", ["rated"]),
        ("e", "basic", ["over"]),
    ):
        record = model.provision(ACME, {"id": id, "plan": of, "addons": [{"addon": each} for each in addons]})
        source = model.of_subscription(record, TOKENS)
        assert source is not None
        found[id] = None if source.rate is None else source.rate.amount
    assert found == {"a": 2, "b": 3, "c": 2, "d": 3, "e": None}
    for id, rate in (("a", 2), ("b", 3), ("d", 2), ("e", None)):
        own = model.provision(ACME, {"id": id, "entitlements": [tokens(1)]})
        source = model.of_subscription(own, TOKENS)
        assert source is not None
        assert source.terms.limit == 1
        assert (None if source.rate is None else source.rate.amount) == rate
