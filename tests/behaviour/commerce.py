"""The shop that Acme buys in: two plans, two add-ons, a currency, and short ways to buy, to give and to refuse."""

from __future__ import annotations

from typing import Any, Final

import pytest

from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, FEATURES, SEATS, SSO, TOKENS
from headgate import AsyncHeadgate, DeniedReason, Grant, InvalidInput, Subscription

BASIC: Final = "plan-basic"
PRO: Final = "plan-pro"
MORE_SEATS: Final = "addon-seats"
MORE_CREDITS: Final = "addon-credits"
CREDITS: Final = "currency-credits"
COINS: Final = "currency-coins"
SITE: Final = "site-01"

DAY_MS: Final = 86_400_000
MARCH_END_MS: Final = 1_775_001_600_000
"""2026-04-01 00:00 UTC."""

PLANS: Final[list[dict[str, Any]]] = [
    {
        "id": BASIC,
        "entitlements": [
            {"feature": TOKENS, "usage_limit": 1_000, "reset_period": "MONTH"},
            {"feature": SEATS, "usage_limit": 5, "per_unit": True},
        ],
    },
    {
        "id": PRO,
        "entitlements": [{"feature": TOKENS, "usage_limit": 5_000, "reset_period": "MONTH"}, {"feature": SSO}],
        "credits": [{"currency": CREDITS, "amount": 100, "cadence": "MONTH"}],
    },
]
ADDONS: Final[list[dict[str, Any]]] = [
    {"id": MORE_SEATS, "entitlements": [{"feature": SEATS, "usage_limit": 10}]},
    {"id": MORE_CREDITS, "credits": [{"currency": CREDITS, "amount": 50, "cadence": "YEAR"}]},
]


async def found_shop(engine: AsyncHeadgate) -> None:
    """Write the catalog, and a customer that has bought nothing."""
    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_currencies([{"id": CREDITS}, {"id": COINS}])
    await engine.catalog.put_plans(PLANS)
    await engine.catalog.put_addons(ADDONS)
    await engine.customers.put(ACME)


async def buy(engine: AsyncHeadgate, plan: str | None = BASIC, **given: Any) -> Subscription:
    """Provision a subscription for the customer."""
    upsert = given if plan is None else {"plan": plan, **given}
    return await engine.subscriptions.provision(ACME, upsert)


async def give(engine: AsyncHeadgate, amount: float = 10, **given: Any) -> Grant:
    """Grant the customer credits."""
    return await engine.credits.grant(ACME, {"currency": CREDITS, "amount": amount, **given})


async def limit_of(engine: AsyncHeadgate, feature: str = TOKENS, **named: Any) -> float | DeniedReason | None:
    """The account-level limit of a feature, or why the customer has none."""
    decision = await engine.check(ACME, feature=feature, requested_usage=0, **named)
    return decision.reason if decision.account is None else decision.account.limit


async def refused(target: Target, doing: Any) -> tuple[str, object, str]:
    """The one problem that a call is refused for, after a look that nothing was written."""
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await doing
    assert target.dump() == before
    (problem,) = caught.value.problems
    assert problem.rule
    return problem.field, problem.value, problem.rule


def fields_written(target: Target) -> set[str]:
    """The names of the customer's documents."""
    (config,) = [value for key, value in target.dump().items() if key.endswith(f"{ACME}:config".encode())]
    assert isinstance(config, dict)
    return {field.decode() for field in config}


def in_days(days: float) -> int:
    """An instant some days after the clock's first."""
    return NOW_MS + round(days * DAY_MS)
