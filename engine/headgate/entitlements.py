"""The account level: what a customer may do with a feature, at one instant. Pure.

The order of the denials is the contract's (docs/design.md, "What each verb means"): the customer first, then the
feature, then what gives access to it, then the limit, which the script decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from headgate.model.catalog import Feature
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import DeniedReason
from headgate.periods import ALWAYS, Period, Schedule, reset_schedule


@dataclass(frozen=True, slots=True)
class AccountLevel:
    """What the account level says of a request: a denial, or access with its limit and the period it counts in."""

    denial: DeniedReason | None
    period: Period = ALWAYS
    limit: float | None = None
    is_soft: bool = False
    cadence: str | None = None
    has_unlimited_usage: bool = False
    enum_values: tuple[str, ...] = ()
    numeric_value: float | None = None


def entitlement_schedule(entitlement: PromotionalEntitlement) -> Schedule | None:
    """How the entitlement's counter resets, or None where it never does."""
    if entitlement.reset_period is None:
        return None
    return reset_schedule(
        entitlement.reset_period,
        anchor_ms=entitlement.reset_anchor_ms or 0,
        according_to=entitlement.reset_according_to,
        zone=entitlement.zone,
    )


def account_level(
    customer: Customer | None, feature: Feature | None, entitlement: PromotionalEntitlement | None, *, now_ms: int
) -> AccountLevel:
    """Decide what the account level says, but for the counter."""
    if customer is None:
        return AccountLevel(DeniedReason.CUSTOMER_NOT_FOUND)
    level = _feature_level(feature, entitlement, now_ms)
    # An archived customer is denied, and what is reported of it still counts in the period of its entitlement.
    return level if customer.archived_at_ms is None else replace(level, denial=DeniedReason.CUSTOMER_IS_ARCHIVED)


def _feature_level(feature: Feature | None, entitlement: PromotionalEntitlement | None, now_ms: int) -> AccountLevel:
    if feature is None:
        return AccountLevel(DeniedReason.FEATURE_NOT_FOUND)
    if entitlement is None:
        return AccountLevel(DeniedReason.NO_ACTIVE_SUBSCRIPTION)
    # What is reported after a revocation still counts in the entitlement's period.
    denial = None if entitlement.revoked_at_ms is None else DeniedReason.REVOKED
    if not feature.is_metered:
        return AccountLevel(
            denial,
            has_unlimited_usage=entitlement.has_unlimited_usage,
            enum_values=entitlement.enum_values,
            numeric_value=entitlement.usage_limit,
        )
    schedule = entitlement_schedule(entitlement)
    return AccountLevel(
        denial,
        period=ALWAYS if schedule is None else schedule.period_at(now_ms),
        limit=None if entitlement.has_unlimited_usage else entitlement.usage_limit,
        is_soft=entitlement.has_soft_limit,
        cadence=entitlement.reset_period and entitlement.reset_period.value,
        has_unlimited_usage=entitlement.has_unlimited_usage,
    )
