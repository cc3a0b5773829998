"""Effective entitlements, rule by rule: the tables of docs/concepts/entitlements.md that need no counter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.amounts import WHOLE_MAX
from headgate.entitlements import AccountLevel, Holdings, account_level
from headgate.model.catalog import Feature
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import DeniedReason
from headgate.model.packages import Addon, CreditRate, PackageEntitlement, Packages, Plan
from headgate.model.subscription import Subscription, SubscriptionAddon, TrialEndBehavior
from headgate.model.terms import EntitlementTerms
from headgate.periods import FOREVER_END_MS

UNLIMITED: Final = float("inf")
CAPPED: Final = float(WHOLE_MAX)


def ms(month: int, day: int, hour: int = 0) -> int:
    return round(datetime(2026, month, day, hour, tzinfo=UTC).timestamp() * 1000)


NOW: Final = ms(3, 10, 12)
JANUARY: Final = ms(1, 5)

TOKENS: Final = Feature.model_validate({"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"})
DAYS: Final = Feature.model_validate({"id": "days", "feature_type": "NUMBER"})
SSO: Final = Feature.model_validate({"id": "sso", "feature_type": "BOOLEAN"})
REGIONS: Final = Feature.model_validate({"id": "regions", "feature_type": "ENUM", "enum_values": ["eu", "us", "asia"]})

CUSTOMER: Final = Customer(id="acme", created_at_ms=0, updated_at_ms=0)
ARCHIVED: Final = CUSTOMER.model_copy(update={"archived_at_ms": 1})
DOLLAR: Final = CreditRate(currency="credits", amount=1)
CENT: Final = CreditRate(currency="credits", amount=0.01)
OVERRIDE: Final = {"behavior": "OVERRIDE"}
MONTHLY: Final = {"reset_period": "MONTH"}
DAILY: Final = {"reset_period": "DAY"}


def terms(limit: float | None = None, *, feature: Feature = TOKENS, **given: Any) -> dict[str, Any]:
    """What a plan, an add-on or a subscription says of a feature; a limit of infinity is none."""
    how_much = {"has_unlimited_usage": True} if limit == UNLIMITED else {"usage_limit": limit}
    return {"feature": feature.id, **how_much, **given}


def subscribed(plan: str = "p", id: str | None = None, *, addons: Mapping[str, int] = {}, **given: Any) -> Subscription:
    """A subscription that started in January, unless it says another start."""
    start_ms = given.pop("start_ms", JANUARY)
    own = tuple(EntitlementTerms.model_validate(each) for each in given.pop("own", ()))
    return Subscription(
        id=id or plan,
        plan=plan,
        addons=tuple(SubscriptionAddon(addon=addon, quantity=quantity) for addon, quantity in addons.items()),
        entitlements=own,
        start_ms=start_ms,
        billing_anchor_ms=given.pop("billing_anchor_ms", start_ms),
        created_at_ms=0,
        updated_at_ms=0,
        **given,
    )


def promoted(limit: float | None = None, **given: Any) -> PromotionalEntitlement:
    return PromotionalEntitlement.model_validate({"reset_anchor_ms": JANUARY, **terms(limit, **given)})


@dataclass(frozen=True)
class Case:
    """What there is, and what the account level has to say of it at NOW.

    If nothing is said of subscriptions, there is one to the plan `p` with each add-on once.
    """

    expect: Mapping[str, Any]
    plans: Mapping[str, Any] = field(default_factory=dict)
    addons: Mapping[str, Any] = field(default_factory=dict)
    holds: tuple[Subscription, ...] | None = None
    promotional: PromotionalEntitlement | None = None
    feature: Feature | None = TOKENS
    now_ms: int = NOW
    customer: Customer | None = CUSTOMER
    resource: str | None = None
    resource_exists: bool = False

    def level(self) -> AccountLevel:
        packages = Packages(
            {id: Plan(id=id, entitlements=_each(said)) for id, said in self.plans.items()},
            {id: Addon(id=id, entitlements=_each(said)) for id, said in self.addons.items()},
        )
        holds = (subscribed(addons=dict.fromkeys(self.addons, 1)),) if self.holds is None else self.holds
        holdings = Holdings(self.customer, self.resource, self.resource_exists, holds, self.promotional)
        return account_level(self.feature, holdings, packages, now_ms=self.now_ms)


def _each(said: Any) -> tuple[PackageEntitlement, ...]:
    items = said if isinstance(said, tuple) else (said,)
    return tuple(PackageEntitlement.model_validate(item) for item in items if item)


def rule(name: str, expect: Mapping[str, Any] | DeniedReason, **there: Any) -> Any:
    """One case of a row; a limit of infinity is no limit, a bare denial is the whole expectation."""
    wanted = {"denial": expect} if isinstance(expect, DeniedReason) else {"denial": None, **expect}
    return pytest.param(Case(wanted, **there), id=name)


def said(level: AccountLevel, names: Mapping[str, Any]) -> dict[str, Any]:
    """What the account level says of what is asked; an unlimited one has a limit of infinity."""
    found = {name: getattr(level, name) for name in names}
    if "limit" in found and level.has_unlimited_usage:
        assert found["limit"] is None
        found["limit"] = UNLIMITED
    return found


NONE_APPLIES: Final = DeniedReason.NO_ACTIVE_SUBSCRIPTION
SILENT: Final = DeniedReason.NO_FEATURE_ENTITLEMENT
CANCELS: Final = {"trial_end_behavior": TrialEndBehavior.CANCEL_SUBSCRIPTION}
HUNDRED: Final = {"plans": {"p": terms(100)}}

SOURCES = [
    rule("E1 from the start on", {"limit": 100}, **HUNDRED, holds=(subscribed(start_ms=NOW),)),
    rule("E1 not before it", NONE_APPLIES, **HUNDRED, holds=(subscribed(start_ms=NOW + 1),)),
    rule("E1 until the end", {"limit": 100}, **HUNDRED, holds=(subscribed(end_ms=NOW + 1),)),
    rule("E1 not at the end", NONE_APPLIES, **HUNDRED, holds=(subscribed(end_ms=NOW),)),
    rule("E2 in trial", {"limit": 100}, **HUNDRED, holds=(subscribed(trial_end_ms=NOW + 1, **CANCELS),)),
    rule("E2 goes on", {"limit": 100}, **HUNDRED, holds=(subscribed(trial_end_ms=NOW),)),
    rule("E2 ends", NONE_APPLIES, **HUNDRED, holds=(subscribed(trial_end_ms=NOW, **CANCELS),)),
    rule("E3 the plan is gone", SILENT),
    rule("E3 an add-on is gone", {"limit": 100}, **HUNDRED, holds=(subscribed(addons={"gone": 3}),)),
    rule("E4 for ever", {"limit": 7}, holds=(), promotional=promoted(7)),
    rule("E4 until it expires", {"limit": 7}, holds=(), promotional=promoted(7, expires_at_ms=NOW + 1)),
    rule("E4 not at its expiry", NONE_APPLIES, holds=(), promotional=promoted(7, expires_at_ms=NOW)),
    rule("E4 revoked", {"limit": 100}, **HUNDRED, promotional=promoted(777, revoked_at_ms=NOW - 1)),
]

WITHIN_ONE_SUBSCRIPTION = [
    rule(
        "E10 as it is",
        {"limit": 5, "is_soft": False, "cadence": "DAY"},
        plans={"p": terms(100, per_unit=True, has_soft_limit=True, **MONTHLY)},
        addons={"a": terms(1_000, **OVERRIDE), "b": terms(10)},
        holds=(subscribed(unit_quantity=3, addons={"a": 2, "b": 2}, own=[terms(5, **DAILY)]),),
    ),
    rule("E10 of a plan that is silent", {"limit": 5}, plans={"p": None}, holds=(subscribed(own=[terms(5)]),)),
    rule("E10 of a plan that is gone", {"limit": 5}, holds=(subscribed(own=[terms(5)]),)),
    rule("E10 of another feature", {"limit": 100}, **HUNDRED, holds=(subscribed(own=[terms(5, feature=DAYS)]),)),
    rule("E11 per unit", {"limit": 300}, plans={"p": terms(100, per_unit=True)}, holds=(subscribed(unit_quantity=3),)),
    rule("E11 not per unit", {"limit": 100}, **HUNDRED, holds=(subscribed(unit_quantity=3),)),
    rule(
        "E12 the plan's units do not multiply add-ons",
        {"limit": 270},
        plans={"p": terms(100, per_unit=True)},
        addons={"a": terms(10), "b": terms(20)},
        holds=(subscribed(unit_quantity=2, addons={"a": 3, "b": 2}),),
    ),
    rule(
        "E12 an add-on that is not ordered", {"limit": 100}, **HUNDRED, addons={"a": terms(10)}, holds=(subscribed(),)
    ),
    rule(
        "E13 the plan",
        {"limit": UNLIMITED},
        plans={"p": terms(UNLIMITED, per_unit=True)},
        addons={"a": terms(10)},
        holds=(subscribed(unit_quantity=2, addons={"a": 1}),),
    ),
    rule(
        "E13 an increment",
        {"limit": UNLIMITED},
        **HUNDRED,
        addons={"a": terms(10), "b": terms(UNLIMITED)},
        holds=(subscribed(addons={"a": 1, "b": 2}),),
    ),
    rule(
        "E14 also where it gives less",
        {"limit": 40},
        **HUNDRED,
        addons={"a": terms(10), "b": terms(20, **OVERRIDE)},
        holds=(subscribed(addons={"a": 1, "b": 2}),),
    ),
    rule(
        "E14 also in the place of what is unlimited",
        {"limit": 20},
        plans={"p": terms(UNLIMITED)},
        addons={"a": terms(20, **OVERRIDE)},
    ),
    rule(
        "E15 the higher with its quantity",
        {"limit": 60},
        **HUNDRED,
        addons={"a": terms(50, **OVERRIDE), "b": terms(20, **OVERRIDE)},
        holds=(subscribed(addons={"a": 1, "b": 3}),),
    ),
    rule(
        "E15 unlimited before limited",
        {"limit": UNLIMITED},
        **HUNDRED,
        addons={"a": terms(CAPPED, **OVERRIDE), "b": terms(UNLIMITED, **OVERRIDE)},
    ),
    rule(
        "E15 then the lower id",
        {"limit": 60, "cadence": "DAY"},
        **HUNDRED,
        addons={"b": terms(60, **OVERRIDE, **MONTHLY), "a": terms(60, **OVERRIDE, **DAILY)},
    ),
    rule(
        "E16 increments",
        {"limit": 50},
        plans={"p": terms(9, feature=DAYS)},
        addons={"a": terms(10), "b": terms(20)},
        holds=(subscribed(addons={"a": 3, "b": 1}),),
    ),
    rule(
        "E16 an override",
        {"limit": 20},
        plans={"p": None},
        addons={"a": terms(10), "b": terms(20, **OVERRIDE)},
        holds=(subscribed(addons={"a": 3, "b": 1}),),
    ),
    rule("E16 of a plan that is gone", {"limit": 10}, addons={"a": terms(10)}),
    rule("E17 the plan", {"is_soft": True, "limit": 100}, plans={"p": terms(100, has_soft_limit=True)}),
    rule("E17 nothing soft", {"is_soft": False}, **HUNDRED),
    rule("E17 an increment", {"is_soft": True, "limit": 110}, **HUNDRED, addons={"a": terms(10, has_soft_limit=True)}),
    rule(
        "E17 beside an override the plan takes no part",
        {"is_soft": False, "limit": 10},
        plans={"p": terms(100, has_soft_limit=True)},
        addons={"a": terms(10, **OVERRIDE)},
    ),
    rule(
        "E18 the plan's",
        {"limit": 110, "cadence": "MONTH", "period": (ms(3, 1), ms(4, 1))},
        plans={"p": terms(100, reset_according_to="StartOfTheMonth", **MONTHLY)},
        addons={"a": terms(10, **DAILY)},
    ),
    rule(
        "E18 the plan's, which has none", {"limit": 110, "cadence": None}, **HUNDRED, addons={"a": terms(10, **DAILY)}
    ),
    rule(
        "E18 the zone goes along",
        {"period": (ms(3, 9, 15), ms(3, 10, 15))},
        plans={"p": terms(100, zone="Asia/Tokyo", **DAILY)},
        holds=(subscribed(start_ms=ms(1, 4, 15)),),
    ),
    rule(
        "E18 the overriding add-on's",
        {"cadence": "DAY"},
        plans={"p": terms(100, **MONTHLY)},
        addons={"a": terms(10, reset_period="HOUR"), "b": terms(10, **OVERRIDE, **DAILY)},
    ),
    rule(
        "E18 the first add-on's by id",
        {"cadence": "DAY", "limit": 30},
        plans={"p": None},
        addons={"c": terms(10, **MONTHLY), "b": terms(20, **DAILY), "a": terms(1, feature=DAYS)},
    ),
    rule(
        "E19 united",
        {"enum_values": ("eu", "us")},
        feature=REGIONS,
        plans={"p": terms(feature=REGIONS, enum_values=["us"])},
        addons={"a": terms(feature=REGIONS, enum_values=["eu"])},
    ),
    rule(
        "E19 an override alone",
        {"enum_values": ("asia",)},
        feature=REGIONS,
        plans={"p": terms(feature=REGIONS, enum_values=["us"])},
        addons={
            "a": terms(feature=REGIONS, enum_values=["eu"]),
            "b": terms(feature=REGIONS, enum_values=["asia"], **OVERRIDE),
        },
    ),
    rule(
        "E20 exact",
        {"limit": 0.7},
        plans={"p": terms(0.1, per_unit=True)},
        addons={"a": terms(0.2)},
        holds=(subscribed(unit_quantity=3, addons={"a": 2}),),
    ),
    rule(
        "E20 a capped product",
        {"limit": CAPPED},
        plans={"p": terms(CAPPED, per_unit=True)},
        holds=(subscribed(unit_quantity=2),),
    ),
    rule("E20 a capped sum", {"limit": CAPPED}, plans={"p": terms(CAPPED)}, addons={"a": terms(1)}),
    rule("E21 the plan's", {"rate": CENT}, plans={"p": terms(100, credit_rate=CENT)}),
    rule("E21 none, if the plan has none", {"rate": None}, **HUNDRED, addons={"a": terms(1, credit_rate=DOLLAR)}),
    rule(
        "E21 not an increment's",
        {"rate": CENT},
        plans={"p": terms(100, credit_rate=CENT)},
        addons={"a": terms(1, credit_rate=DOLLAR)},
    ),
    rule(
        "E21 the override's",
        {"rate": DOLLAR},
        plans={"p": terms(100, credit_rate=CENT)},
        addons={"a": terms(1, credit_rate=DOLLAR, **OVERRIDE)},
    ),
    rule(
        "E21 the plan's, if the override has none",
        {"rate": CENT, "limit": 1},
        plans={"p": terms(100, credit_rate=CENT)},
        addons={"a": terms(1, **OVERRIDE)},
    ),
    rule(
        "E21 the first add-on's",
        {"rate": DOLLAR},
        plans={"p": None},
        addons={"b": terms(1, credit_rate=CENT), "a": terms(1, credit_rate=DOLLAR)},
    ),
    rule(
        "E22 the plan's",
        {"rate": CENT, "limit": 5},
        plans={"p": terms(100, credit_rate=CENT)},
        addons={"a": terms(1, credit_rate=DOLLAR, **OVERRIDE)},
        holds=(subscribed(addons={"a": 1}, own=[terms(5)]),),
    ),
    rule(
        "E22 the first add-on's",
        {"rate": DOLLAR, "limit": 5},
        plans={"p": None},
        addons={"b": terms(1, credit_rate=CENT), "a": terms(1, credit_rate=DOLLAR)},
        holds=(subscribed(addons={"b": 1, "a": 1}, own=[terms(5)]),),
    ),
    rule(
        "E23 the billing anchor",
        {"period": (ms(2, 20), ms(3, 20)), "anchor_ms": ms(1, 20)},
        plans={"p": terms(100, **MONTHLY)},
        holds=(subscribed(billing_anchor_ms=ms(1, 20)),),
    ),
    rule(
        "E23 of an entitlement of its own too",
        {"period": (ms(2, 20), ms(3, 20))},
        holds=(subscribed(billing_anchor_ms=ms(1, 20), own=[terms(5, **MONTHLY)]),),
    ),
    rule(
        "E23 the promotion's own",
        {"period": (ms(3, 2), ms(4, 2)), "anchor_ms": ms(2, 2)},
        promotional=promoted(7, reset_anchor_ms=ms(2, 2), **MONTHLY),
    ),
]

TWO: Final = (subscribed("p", start_ms=JANUARY + 1), subscribed("q", start_ms=JANUARY + 2))

ACROSS_SOURCES = [
    rule("E24 the higher", {"limit": 100}, plans={"p": terms(60), "q": terms(100)}, holds=TWO),
    rule("E24 in any order", {"limit": 100}, plans={"p": terms(100), "q": terms(60)}, holds=TWO),
    rule("E24 unlimited", {"limit": UNLIMITED}, plans={"p": terms(CAPPED), "q": terms(UNLIMITED)}, holds=TWO),
    rule("E24 a promotion that is higher", {"limit": 101}, **HUNDRED, promotional=promoted(101)),
    rule("E24 a promotion that is lower", {"limit": 100}, **HUNDRED, promotional=promoted(99)),
    rule("E24 a limit of 0", {"limit": 0}, plans={"p": terms(0), "q": None}, holds=TWO),
    rule(
        "E25 reset and rate",
        {"limit": 100, "cadence": "DAY", "rate": CENT, "anchor_ms": JANUARY + 2},
        plans={"p": terms(60, credit_rate=DOLLAR, **MONTHLY), "q": terms(100, credit_rate=CENT, **DAILY)},
        holds=TWO,
    ),
    rule(
        "E25 none",
        {"limit": 100, "cadence": None, "rate": None, "anchor_ms": None},
        plans={"p": terms(60, credit_rate=DOLLAR, **MONTHLY)},
        promotional=promoted(100),
    ),
    rule(
        "E26 the first start",
        {"cadence": "DAY"},
        plans={"p": terms(60, **MONTHLY), "q": terms(60, **DAILY)},
        holds=(subscribed("p", start_ms=JANUARY + 1), subscribed("q", start_ms=JANUARY)),
    ),
    rule(
        "E26 then the lower id",
        {"cadence": "DAY"},
        plans={"p": terms(60, **MONTHLY), "q": terms(60, **DAILY)},
        holds=(subscribed("p", "b"), subscribed("q", "a")),
    ),
    rule(
        "E26 a promotion last",
        {"cadence": "DAY"},
        plans={"p": terms(60, **DAILY)},
        promotional=promoted(60, reset_anchor_ms=0, **MONTHLY),
    ),
    rule(
        "E26 of two that are unlimited",
        {"cadence": "DAY"},
        plans={"p": terms(UNLIMITED, **DAILY), "q": terms(UNLIMITED, **MONTHLY)},
        holds=TWO[::-1],
    ),
    rule(
        "E27 the less generous one",
        {"limit": 100, "is_soft": True},
        plans={"p": terms(60, has_soft_limit=True), "q": terms(100)},
        holds=TWO,
    ),
    rule("E27 a promotion", {"limit": 100, "is_soft": True}, **HUNDRED, promotional=promoted(1, has_soft_limit=True)),
    rule(
        "E27 not one that has ended",
        {"limit": 100, "is_soft": False},
        plans={"p": terms(60, has_soft_limit=True), "q": terms(100)},
        holds=(subscribed("p", end_ms=NOW), subscribed("q")),
    ),
    rule(
        "E28 in the order of the feature",
        {"enum_values": ("eu", "us", "asia")},
        feature=REGIONS,
        plans={
            "p": terms(feature=REGIONS, enum_values=["asia", "us"]),
            "q": terms(feature=REGIONS, enum_values=["us"]),
        },
        holds=TWO,
        promotional=promoted(feature=REGIONS, enum_values=["eu"]),
    ),
    rule(
        "E29 the highest",
        {"numeric_value": 90, "has_unlimited_usage": False},
        feature=DAYS,
        plans={"p": terms(30, feature=DAYS), "q": terms(90, feature=DAYS)},
        holds=TWO,
        promotional=promoted(60, feature=DAYS),
    ),
    rule(
        "E29 unlimited wins",
        {"numeric_value": None, "has_unlimited_usage": True},
        feature=DAYS,
        plans={"p": terms(UNLIMITED, feature=DAYS), "q": terms(90, feature=DAYS)},
        holds=TWO,
    ),
    rule("E30 a plan", {}, feature=SSO, plans={"p": None, "q": terms(feature=SSO)}, holds=TWO),
    rule("E30 a promotion", {}, feature=SSO, holds=(), promotional=promoted(feature=SSO)),
]

NOBODY: Final = DeniedReason.CUSTOMER_NOT_FOUND
IS_ARCHIVED: Final = DeniedReason.CUSTOMER_IS_ARCHIVED
NO_RESOURCE: Final = DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
NO_FEATURE: Final = DeniedReason.FEATURE_NOT_FOUND
REVOKED: Final = DeniedReason.REVOKED
SITE: Final = {"resource": "site", "resource_exists": True}
TAKEN_BACK: Final = promoted(7, revoked_at_ms=NOW - 5)

DENIALS = [
    rule("E31 no customer", NOBODY, customer=None, feature=None, resource="site", holds=()),
    rule("E31 archived", IS_ARCHIVED, **HUNDRED, customer=ARCHIVED),
    rule("E31 archived first", IS_ARCHIVED, customer=ARCHIVED, feature=None, resource="site"),
    rule("E31 no resource", NO_RESOURCE, **HUNDRED, resource="site"),
    rule("E31 no resource first", NO_RESOURCE, feature=None, resource="site"),
    rule("E31 no feature", NO_FEATURE, feature=None),
    rule("E31 no feature first", NO_FEATURE, feature=None, **SITE, holds=(), promotional=TAKEN_BACK),
    rule("E31 nothing wrong", {"limit": 100}, **HUNDRED, **SITE),
    rule("E32 without subscriptions", REVOKED, holds=(), promotional=TAKEN_BACK),
    rule("E32 beside a plan that is silent", REVOKED, plans={"p": None}, promotional=TAKEN_BACK),
    rule("E32 it would have gone on", REVOKED, promotional=promoted(7, revoked_at_ms=NOW - 5, expires_at_ms=NOW + 1)),
    rule(
        "E32 not after its expiry",
        SILENT,
        plans={"p": None},
        promotional=promoted(7, revoked_at_ms=NOW - 1, expires_at_ms=NOW - 3),
    ),
    rule("E33 none at all", NONE_APPLIES, holds=()),
    rule("E33 all have ended or not begun", NONE_APPLIES, holds=(subscribed(end_ms=NOW), subscribed(start_ms=NOW + 1))),
    rule("E33 a promotion that expired", NONE_APPLIES, holds=(), promotional=promoted(7, expires_at_ms=NOW)),
    rule("E34 plan and add-ons are silent", SILENT, plans={"p": terms(1, feature=DAYS)}),
    rule("E34 a boolean that no plan has", SILENT, **HUNDRED, feature=SSO),
    rule(
        "E34 the one that speaks has ended",
        SILENT,
        plans={"p": None, "q": terms(5)},
        holds=(subscribed("p"), subscribed("q", end_ms=NOW)),
    ),
    rule("E35 a subscription gives it", {"limit": 100}, **HUNDRED, promotional=TAKEN_BACK),
]


@pytest.mark.parametrize("case", [*SOURCES, *WITHIN_ONE_SUBSCRIPTION, *ACROSS_SOURCES, *DENIALS])
def test_the_account_level_follows_the_rules_of_the_page(case: Case) -> None:
    wanted = dict(case.expect)
    found = said(case.level(), wanted)
    if "period" in found:
        found["period"] = (found["period"].start_ms, found["period"].end_ms)
    assert found == wanted


EDGES_AROUND_NOW: Final = (
    subscribed("ended", start_ms=ms(1, 1), end_ms=ms(3, 2)),
    subscribed("begins", start_ms=ms(3, 20)),
)


def spans(name: str, from_ms: int, until_ms: int, **there: Any) -> Any:
    return rule(name, {"from_ms": from_ms, "until_ms": until_ms}, feature=SSO, plans={"p": terms(feature=SSO)}, **there)


def ends(expires_at_ms: int) -> PromotionalEntitlement:
    return promoted(feature=SSO, expires_at_ms=expires_at_ms)


@pytest.mark.parametrize(
    "case",
    [
        spans("E36 a start and an end", JANUARY, ms(3, 12), holds=(subscribed(end_ms=ms(3, 12)),)),
        spans("E36 a trial that goes on", JANUARY, ms(3, 11), holds=(subscribed(trial_end_ms=ms(3, 11)),)),
        spans("E36 a trial that went on", ms(3, 9), FOREVER_END_MS, holds=(subscribed(trial_end_ms=ms(3, 9)),)),
        spans("E36 others' edges", ms(3, 2), ms(3, 20), holds=(subscribed(), *EDGES_AROUND_NOW)),
        spans("E36 an expiry", JANUARY, ms(3, 13), promotional=ends(ms(3, 13))),
        spans("E36 an expiry that was", ms(3, 3), FOREVER_END_MS, promotional=ends(ms(3, 3))),
        spans("E36 this instant", NOW, ms(3, 20), holds=(subscribed(start_ms=NOW), EDGES_AROUND_NOW[1])),
    ],
)
def test_what_was_computed_holds_until_the_next_instant_at_which_a_source_changes(case: Case) -> None:
    assert said(case.level(), case.expect) == case.expect


@pytest.mark.parametrize(
    ("denial", "until_ms", "there"),
    [
        (NONE_APPLIES, ms(3, 20), {"holds": EDGES_AROUND_NOW}),
        (SILENT, ms(3, 12), {"holds": (subscribed(end_ms=ms(3, 12)),)}),
        (REVOKED, ms(3, 11), {"holds": (), "promotional": promoted(7, revoked_at_ms=1, expires_at_ms=ms(3, 11))}),
        (REVOKED, ms(3, 20), {"holds": EDGES_AROUND_NOW[1:], "promotional": TAKEN_BACK}),
    ],
    ids=str,
)
def test_a_denial_holds_until_the_next_instant_at_which_a_source_changes(
    denial: DeniedReason, until_ms: int, there: dict[str, Any]
) -> None:
    level = Case({}, **there).level()
    assert (level.denial, level.until_ms) == (denial, until_ms)


INSTANTS = st.integers(min_value=ms(3, 1), max_value=ms(3, 20))
SUBSCRIPTIONS = st.lists(
    st.builds(
        lambda number, start_ms, length_ms, trial_ms, cancels, plan: subscribed(
            plan,
            f"s{number}",
            start_ms=start_ms,
            end_ms=None if length_ms is None else start_ms + length_ms,
            trial_end_ms=None if trial_ms is None else start_ms + trial_ms,
            trial_end_behavior=TrialEndBehavior("CANCEL_SUBSCRIPTION" if cancels else "CONVERT_TO_PAID"),
        ),
        st.integers(0, 99),
        INSTANTS,
        st.none() | st.integers(1, 10 * 86_400_000),
        st.none() | st.integers(1, 10 * 86_400_000),
        st.booleans(),
        st.sampled_from(["p", "q", "silent", "gone"]),
    ),
    max_size=4,
).map(tuple)
PROMOTIONS = st.none() | st.builds(
    lambda limit, expires_at_ms, revoked_at_ms: promoted(
        limit, expires_at_ms=expires_at_ms, revoked_at_ms=revoked_at_ms
    ),
    st.sampled_from([30.0, 70.0, UNLIMITED]),
    st.none() | INSTANTS,
    st.none() | INSTANTS,
)
PLANS_OF_LAWS: Final = {"p": terms(50), "q": terms(80, has_soft_limit=True), "silent": None}


@given(SUBSCRIPTIONS, PROMOTIONS, INSTANTS, INSTANTS)
def test_at_every_instant_of_the_span_the_answer_is_the_same(
    holds: tuple[Subscription, ...], promotional: PromotionalEntitlement | None, now_ms: int, other_ms: int
) -> None:
    def at(instant_ms: int) -> AccountLevel:
        return Case({}, PLANS_OF_LAWS, holds=holds, promotional=promotional, now_ms=instant_ms).level()

    level = at(now_ms)
    assert level.from_ms <= now_ms < level.until_ms
    inside = (level.from_ms, min(level.until_ms - 1, ms(4, 20)), min(max(other_ms, level.from_ms), level.until_ms - 1))
    for instant_ms in inside:
        assert at(instant_ms) == level


@given(SUBSCRIPTIONS, PROMOTIONS, INSTANTS)
def test_another_source_never_takes_anything_away(
    holds: tuple[Subscription, ...], promotional: PromotionalEntitlement | None, now_ms: int
) -> None:
    def generosity(level: AccountLevel) -> float:
        if level.denial is not None:
            return -1
        return UNLIMITED if level.has_unlimited_usage else level.limit or 0

    def at(present: tuple[Subscription, ...], given: PromotionalEntitlement | None) -> float:
        return generosity(Case({}, PLANS_OF_LAWS, holds=present, promotional=given, now_ms=now_ms).level())

    whole = at(holds, promotional)
    assert whole >= at(holds, None)
    assert whole == max([at((each,), None) for each in holds] + [at((), promotional)])
    assert whole == at(holds[::-1], promotional)
