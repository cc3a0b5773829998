"""A shop whose one plan says something of each kind of feature, and short ways to read what it entitles to."""

from __future__ import annotations

from typing import Any, Final

from behaviour.commerce import CREDITS, buy, found_shop
from behaviour.world import ACME, REGIONS, RETENTION, SEATS, SSO, TOKENS
from headgate import AsyncHeadgate, DeniedReason, Entitlement, Headgate, MeteredEntitlement

FULL: Final = "plan-full"
PAID: Final = "feature-images"
DESCRIBED: Final[list[dict[str, Any]]] = [
    {"feature": TOKENS, "usage_limit": 1_000, "reset_period": "MONTH"},
    {"feature": SEATS, "usage_limit": 5},
    {"feature": SSO},
    {"feature": RETENTION, "usage_limit": 30},
    {"feature": REGIONS, "enum_values": ["us", "eu"]},
    {"feature": PAID, "usage_limit": 100, "credit_rate": {"currency": CREDITS, "amount": 2.5}},
]


async def found_full_shop(engine: AsyncHeadgate, **changes: dict[str, Any]) -> None:
    """Found the shop, with a plan that says something of each kind of feature; `changes` by the feature's last word."""
    await found_shop(engine)
    await engine.catalog.put_features([{"id": PAID, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    await put_plan(engine, **changes)
    await buy(engine, FULL)


async def put_plan(engine: AsyncHeadgate | Headgate, **changes: dict[str, Any]) -> None:
    described = [{**terms, **changes.get(terms["feature"].rpartition("-")[2], {})} for terms in DESCRIBED]
    written: Any = engine.catalog.put_plans([{"id": FULL, "entitlements": described}])
    if not isinstance(engine, Headgate):
        await written


async def metered(engine: AsyncHeadgate, feature: str = TOKENS, usage: float = 1, **named: Any) -> MeteredEntitlement:
    return await engine.metered_entitlement(ACME, feature, requested_usage=usage, **named)


async def held(engine: AsyncHeadgate, **named: Any) -> dict[str, Entitlement]:
    """Everything that the customer is entitled to, by id."""
    return {each.id: each for each in (await engine.entitlements(ACME, **named)).entitlements}


def verdict(entitlement: Entitlement) -> tuple[bool, DeniedReason | None]:
    assert bool(entitlement) is entitlement.has_access
    return entitlement.has_access, entitlement.reason
