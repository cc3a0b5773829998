"""What the state machine of credits draws from: a small catalog that is edited over and over."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from headgate.model.catalog import Currency
from model.vocabulary import (
    DAY_MS,
    HOUR_MS,
    REGION,
    RETENTION,
    SEATS,
    SINGLE_SIGN_ON,
    TOKENS,
    cadences,
    metered_grants,
    other_grants,
)

CREDITS, COINS = "credits", "coins"
CURRENCIES = (Currency(id=CREDITS), Currency(id=COINS))
PLANS, ADDONS = ("plan-a", "plan-b", "plan-c"), ("addon-a", "addon-b")
SITE = "site-1"
MONTH_MS = 31 * DAY_MS

resources = st.sampled_from((None, None, None, SITE))
any_resource = st.sampled_from((None,) * 12 + (SITE,) * 5 + ("site-none",))
currencies = st.sampled_from((CREDITS,) * 7 + (COINS,) * 2)
any_currency = st.sampled_from((CREDITS,) * 12 + (COINS,) * 3 + ("currency-none",))
amounts = st.sampled_from((0, 1, 1, 1, 2, 3, 5, 8, 10, 13, 20, 0.1, 0.3, 2.5, 0.00001, 40))
corrections = st.sampled_from((-1, -1, -2, -5, -13, -0.1, -40))
dimensions = st.none() | st.sampled_from(
    (
        {"teamId": "team-1"},
        {"userId": "user-1"},
        {"userId": "user-1", "modelId": "model-1"},
        {"teamId": "team-1", "userId": "user-1", "modelId": "model-1"},
    )
)


def _together(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def _maybe(part: dict[str, Any], *, of: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(({},) * (of - 1) + (part,))


# --- plans and add-ons ----------------------------------------------------------------------------------------------

_limit = st.sampled_from(
    (
        *({"usage_limit": limit} for limit in (5, 10, 10, 30, 100, 0.3, 2**53 - 1)),
        *({"has_unlimited_usage": True},) * 2,
    )
)
_reset = st.sampled_from(
    (
        *({}, {}, {"reset_period": "HOUR"}, {"reset_period": "DAY"}, {"reset_period": "MONTH"}),
        *({"reset_period": "MONTH", "reset_according_to": "StartOfTheMonth"}, {"reset_period": "YEAR"}),
        {"reset_period": "WEEK", "reset_according_to": "EveryMonday"},
        {"reset_period": "DAY", "zone": "Europe/Berlin"},
    )
)
_rate = st.sampled_from(
    ({},) * 3
    + tuple({"credit_rate": {"currency": CREDITS, "amount": amount}} for amount in (1, 1, 0.1, 2.5, 0.33333))
    + ({"credit_rate": {"currency": COINS, "amount": 1}},)
)
_terms = st.builds(
    _together,
    st.sampled_from(({"feature": TOKENS},) * 4 + ({"feature": SEATS},)),
    _limit,
    _reset,
    _maybe({"has_soft_limit": True}, of=6),
)
_other_terms: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    (
        {"feature": SINGLE_SIGN_ON},
        {"feature": RETENTION, "usage_limit": 30},
        {"feature": RETENTION, "usage_limit": 7},
        {"feature": RETENTION, "has_unlimited_usage": True},
        {"feature": REGION, "enum_values": ("us", "eu")},
        {"feature": REGION, "enum_values": ("in",)},
    )
)
_unfit_terms = st.sampled_from(({"feature": "feature-none"}, {"feature": TOKENS}, {"feature": REGION}))
_of_plan = st.builds(_together, _terms, _rate, _maybe({"per_unit": True}, of=3))
_of_addon = st.builds(_together, _terms, _rate, _maybe({"behavior": "OVERRIDE"}, of=3))
_other_of_addon = st.builds(_together, _other_terms, _maybe({"behavior": "OVERRIDE"}, of=3))


def _by(name: str, each: st.SearchStrategy[dict[str, Any]], *, most: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(each, max_size=most, unique_by=lambda one: one[name])


def _credit(amount: float, cadence: str, currency: str) -> dict[str, Any]:
    return {"currency": currency, "amount": amount, "cadence": cadence}


_recurring = st.builds(
    _credit,
    st.sampled_from((1, 5, 10, 20, 20, 50, 100, 0.5)),
    st.sampled_from(("MONTH", "MONTH", "MONTH", "YEAR")),
    st.sampled_from((CREDITS,) * 4 + (COINS,)),
)
_soft = _maybe({"has_soft_limit": True}, of=6)
_of_plan_credit = st.builds(_together, _recurring, _soft, _maybe({"per_unit": True}, of=3))
_of_addon_credit = st.builds(_together, _recurring, _soft)


def _credits(each: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(each, max_size=2, unique_by=lambda one: (one["currency"], one["cadence"]))


def _package(id: str, metered: list[Any], others: list[Any], credits: list[Any]) -> dict[str, Any]:
    return {"id": id, "entitlements": [*metered, *others], "credits": credits}


plan_ids = st.sampled_from(PLANS)
plans = st.builds(
    _package,
    plan_ids,
    _by("feature", _of_plan, most=2),
    _by("feature", _other_terms, most=2),
    _credits(_of_plan_credit),
)
addons = st.builds(
    _package,
    st.sampled_from(ADDONS),
    _by("feature", _of_addon, most=2),
    _by("feature", _other_of_addon, most=2),
    _credits(_of_addon_credit),
)
unfit_packages = st.builds(
    _package,
    plan_ids,
    st.lists(_unfit_terms, min_size=1, max_size=1),
    st.just([]),
    st.just([]),
) | st.builds(lambda id: _package(id, [], [], [_credit(1, "MONTH", "currency-none")]), plan_ids)

# --- subscriptions --------------------------------------------------------------------------------------------------

OFFSETS_MS = (0, 1, -1, HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS, -10 * DAY_MS, MONTH_MS, -MONTH_MS, -3 * MONTH_MS)
offsets_ms = st.sampled_from(OFFSETS_MS)
offsets_ahead_ms = st.sampled_from((*(each for each in OFFSETS_MS if each > 0), 3 * DAY_MS, 3 * MONTH_MS))
_quantities = st.sampled_from((1, 2, 3, 3, 10))
_own_addons = st.lists(
    st.builds(lambda id, quantity: {"addon": id, "quantity": quantity}, st.sampled_from(ADDONS), _quantities),
    max_size=2,
    unique_by=lambda one: one["addon"],
)
_own_credits = _by("currency", st.builds(_together, _recurring, _soft), most=2)
subscription_ids = st.sampled_from((None, None, "sub-1", "sub-1", "sub-2"))
_trials = st.sampled_from(
    ({}, {}, {"trial_end_behavior": "CANCEL_SUBSCRIPTION"}, {"trial_end_behavior": "CONVERT_TO_PAID"})
)
_trial_ends = st.builds(lambda at_ms: {"trial_end_ms": at_ms}, offsets_ahead_ms)
_trial: st.SearchStrategy[dict[str, Any]] = (
    st.just({}) | _trials | st.builds(_together, _trials, _trial_ends) | st.builds(_together, _trials, _trial_ends)
)
_named: dict[str, st.SearchStrategy[Any]] = {"plan": plan_ids, "id": subscription_ids, "resource": resources}
_subscriptions = st.fixed_dictionaries(
    _named,
    optional={
        "unit_quantity": _quantities,
        "addons": _own_addons,
        "credits": _own_credits,
        "entitlements": _by("feature", _terms | _other_terms, most=2),
        "start_ms": offsets_ms,
        "end_ms": offsets_ahead_ms,
        "billing_anchor_ms": offsets_ms,
        "billing_period": st.sampled_from(("MONTHLY", "MONTHLY", "ANNUALLY")),
    },
)
subscriptions = st.builds(_together, _subscriptions, _trial)
changes = st.fixed_dictionaries(
    {},
    optional={
        "plan": plan_ids,
        "unit_quantity": _quantities,
        "addons": _own_addons,
        "credits": _own_credits,
        "entitlements": _by("feature", _terms | _other_terms, most=2),
        "end_ms": offsets_ahead_ms | st.none(),
        "billing_period": st.sampled_from(("MONTHLY", "ANNUALLY")),
    },
)
unfit_subscriptions = st.sampled_from(
    (
        {"plan": "plan-none"},
        {"id": "sub-none"},
        {"plan": "plan-a", "id": "sub-3", "end_ms": 0},
        {"plan": "plan-a", "id": "sub-3", "resource": "site-none"},
        {"plan": "plan-a", "id": "sub-3", "addons": [{"addon": "addon-none"}]},
        {"plan": "plan-a", "id": "sub-3", "credits": [_credit(1, "MONTH", "currency-none")]},
        {"plan": "plan-a", "id": "sub-3", "entitlements": [{"feature": "feature-none"}]},
    )
)
moments = st.sampled_from(("now", "now", "period_end", "period_end", DAY_MS, MONTH_MS, -1, 1))

# --- grants and promotions ------------------------------------------------------------------------------------------

grants = st.fixed_dictionaries(
    {
        "currency": currencies,
        "resource": resources,
        "amount": st.sampled_from((1, 5, 10, 10, 20, 50, 0.3, 2.5, 100)),
    },
    optional={
        "kind": st.sampled_from(("PAID", "PROMOTIONAL")),
        "priority": st.sampled_from((0, 10, 50, 50, 90)),
        "effective_at_ms": offsets_ms,
        "expires_at_ms": offsets_ahead_ms | offsets_ms,
    },
)
promotions = st.builds(
    _together,
    metered_grants | other_grants,
    st.sampled_from(({}, *({"expires_at_ms": each} for each in (1, 0, DAY_MS, MONTH_MS, HOUR_MS)))),
)
budgets = st.builds(
    _together,
    st.fixed_dictionaries(
        {"entity": st.sampled_from(("team-1", "user-1", "user-1", "org-1")), "cadence": cadences},
        optional={"scope": st.sampled_from(([], ["model-1"]))},
    ),
    st.sampled_from(({"usage_limit": None}, {"usage_limit": 3}, {"usage_limit": 10}, {"usage_limit": 30})),
    st.sampled_from(({"currency": CREDITS},) * 4 + ({"feature": TOKENS}, {"feature": TOKENS}, {"currency": "none"})),
)
