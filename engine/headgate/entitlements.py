"""Effective entitlements: what a customer may do with a feature, at one instant. Pure.

Where it comes from, how sources combine and which denial comes first is told as a table, a test for each row, in
docs/concepts/entitlements.md. The order of the denials is the contract's (docs/design.md, "What each verb means"): the
customer first, then the resource and the feature, then what gives access to it, then the limit, which the script
decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from headgate.amounts import FRACTION_BELOW, WHOLE_MAX, parse_amount
from headgate.model.catalog import Currency, Feature
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import DeniedReason
from headgate.model.packages import Behavior, CreditRate, PackageEntitlement, Packages
from headgate.model.subscription import Subscription
from headgate.model.terms import EntitlementTerms
from headgate.periods import ALWAYS, FOREVER_END_MS, FOREVER_START_MS, Period, Schedule, reset_schedule


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a customer holds that may entitle to one feature.

    `subscriptions` are all in question: the customer's own, and those of the resource that the request names.
    """

    customer: Customer | None
    resource: str | None = None
    resource_exists: bool = False
    subscriptions: tuple[Subscription, ...] = ()
    promotional: PromotionalEntitlement | None = None


@dataclass(frozen=True, slots=True)
class AccountLevel:
    """What the account level says of a request: a denial, or access with its limit and the period it counts in.

    It holds from `from_ms` until `until_ms` (exclusive): the nearest instants at which a source begins or ends.
    `lacks_resource`: the resource that was named is not there, whatever the denial is.
    """

    denial: DeniedReason | None
    period: Period = ALWAYS
    limit: float | None = None
    is_soft: bool = False
    cadence: str | None = None
    has_unlimited_usage: bool = False
    enum_values: tuple[str, ...] = ()
    numeric_value: float | None = None
    anchor_ms: int | None = None
    rate: CreditRate | None = None
    from_ms: int = FOREVER_START_MS
    until_ms: int = FOREVER_END_MS
    lacks_resource: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """What one subscription, or a promotion, says of the feature."""

    terms: EntitlementTerms
    anchor_ms: int
    rate: CreditRate | None = None

    @property
    def generosity(self) -> float:
        return float("inf") if self.terms.has_unlimited_usage else (self.terms.usage_limit or 0.0)


def account_level(feature: Feature | None, holdings: Holdings, packages: Packages, *, now_ms: int) -> AccountLevel:
    """Decide what the account level says of a feature, but for the counter."""
    denial = _customer_denial(holdings)
    if denial is not None and denial is not DeniedReason.CUSTOMER_IS_ARCHIVED:
        return AccountLevel(denial, lacks_resource=_lacks_resource(holdings))
    # An archived customer is denied, and what is reported of it still counts in the period of its entitlement.
    level = _feature_level(feature, holdings, packages, now_ms)
    return level if denial is None else replace(level, denial=denial, lacks_resource=_lacks_resource(holdings))


def currency_level(currency: Currency | None, holdings: Holdings) -> AccountLevel:
    """Decide what the account level says of a request for credits, but for the wallet: credits need no subscription."""
    denial = _customer_denial(holdings)
    if denial is None and currency is None:
        denial = DeniedReason.ENTITLEMENT_NOT_FOUND
    return AccountLevel(denial, lacks_resource=_lacks_resource(holdings))


def _lacks_resource(holdings: Holdings) -> bool:
    return holdings.customer is not None and holdings.resource is not None and not holdings.resource_exists


def _customer_denial(holdings: Holdings) -> DeniedReason | None:
    if holdings.customer is None:
        return DeniedReason.CUSTOMER_NOT_FOUND
    if holdings.customer.archived_at_ms is not None:
        return DeniedReason.CUSTOMER_IS_ARCHIVED
    if _lacks_resource(holdings):
        return DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    return None


def _feature_level(feature: Feature | None, holdings: Holdings, packages: Packages, now_ms: int) -> AccountLevel:
    if feature is None:
        return AccountLevel(DeniedReason.FEATURE_NOT_FOUND)
    from_ms, until_ms = span_around(now_ms, _instants_ms(holdings))
    denial = None
    sources = list(_sources(feature.id, holdings, packages, now_ms))
    if not sources:
        denial, sources = _without_source(holdings, now_ms)
    if not sources:
        return AccountLevel(denial, from_ms=from_ms, until_ms=until_ms)
    best = max(sources, key=lambda source: source.generosity)  # the first of equals
    united = {value for source in sources for value in source.terms.enum_values}
    terms = best.terms
    level = AccountLevel(
        denial,
        has_unlimited_usage=terms.has_unlimited_usage,
        enum_values=tuple(value for value in feature.enum_values if value in united),
        from_ms=from_ms,
        until_ms=until_ms,
    )
    if not feature.is_metered:
        return replace(level, numeric_value=None if terms.has_unlimited_usage else terms.usage_limit)
    schedule = entitlement_schedule(terms, best.anchor_ms)
    return replace(
        level,
        period=ALWAYS if schedule is None else schedule.period_at(now_ms),
        limit=None if terms.has_unlimited_usage else terms.usage_limit,
        is_soft=any(source.terms.has_soft_limit for source in sources),
        cadence=terms.reset_period and terms.reset_period.value,
        anchor_ms=None if schedule is None else schedule.anchor_ms,
        rate=best.rate,
    )


def span_around(now_ms: int, instants_ms: Iterable[int]) -> tuple[int, int]:
    """The last instant that is not after now, and the first one that is: between them nothing begins or ends."""
    from_ms, until_ms = FOREVER_START_MS, FOREVER_END_MS
    for instant_ms in instants_ms:
        if instant_ms <= now_ms:
            from_ms = max(from_ms, instant_ms)
        else:
            until_ms = min(until_ms, instant_ms)
    return from_ms, until_ms


def _instants_ms(holdings: Holdings) -> Iterator[int]:
    for subscription in holdings.subscriptions:
        yield from subscription.instants_ms()
    if holdings.promotional is not None and holdings.promotional.expires_at_ms is not None:
        yield holdings.promotional.expires_at_ms


def _sources(feature: str, holdings: Holdings, packages: Packages, now_ms: int) -> Iterator[_Source]:
    """Every source that entitles at an instant: subscriptions by start and id, then the promotion."""
    for subscription in sorted(holdings.subscriptions, key=lambda each: (each.start_ms, each.id)):
        if subscription.applies_at(now_ms):
            source = _of_subscription(feature, subscription, packages)
            if source is not None:
                yield source
    promotional = holdings.promotional
    if promotional is not None and promotional.revoked_at_ms is None and _lasts(promotional, now_ms):
        yield _Source(promotional, promotional.reset_anchor_ms or 0)


def _lasts(promotional: PromotionalEntitlement, now_ms: int) -> bool:
    return promotional.expires_at_ms is None or now_ms < promotional.expires_at_ms


def _without_source(holdings: Holdings, now_ms: int) -> tuple[DeniedReason, list[_Source]]:
    """Why nothing entitles. What is reported after a revocation still counts in the entitlement's period."""
    promotional = holdings.promotional
    if promotional is not None and _lasts(promotional, now_ms):
        return DeniedReason.REVOKED, [_Source(promotional, promotional.reset_anchor_ms or 0)]
    if any(subscription.applies_at(now_ms) for subscription in holdings.subscriptions):
        return DeniedReason.NO_FEATURE_ENTITLEMENT, []
    return DeniedReason.NO_ACTIVE_SUBSCRIPTION, []


def _of_subscription(feature: str, subscription: Subscription, packages: Packages) -> _Source | None:
    """What a subscription says of a feature: its own terms, or those of its plan together with its add-ons."""
    plan = packages.plans.get(subscription.plan)
    of_plan = plan.entitlement(feature) if plan else None
    if of_plan is not None and of_plan.per_unit:
        of_plan = _multiplied(of_plan, subscription.unit_quantity)
    of_addons = []
    for ordered in sorted(subscription.addons, key=lambda each: each.addon):
        addon = packages.addons.get(ordered.addon)
        of_addon = addon.entitlement(feature) if addon else None
        if of_addon is not None:
            of_addons.append(_multiplied(of_addon, ordered.quantity))
    said = [*([of_plan] if of_plan else []), *of_addons]

    own = next((each for each in subscription.entitlements if each.feature == feature), None)
    if own is not None:
        return _Source(own, subscription.billing_anchor_ms, _first_rate(said))
    overrides = [each for each in of_addons if each.behavior is Behavior.OVERRIDE]
    if overrides:
        best = max(overrides, key=lambda terms: _Source(terms, 0).generosity)
        return _Source(best, subscription.billing_anchor_ms, _first_rate([best, *([of_plan] if of_plan else [])]))
    if not said:
        return None
    rate = _first_rate(said[:1])
    return _Source(_summed(said), subscription.billing_anchor_ms, rate)


def _first_rate(said: Sequence[PackageEntitlement]) -> CreditRate | None:
    return next((each.credit_rate for each in said if each.credit_rate is not None), None)


def _multiplied(terms: PackageEntitlement, quantity: int) -> PackageEntitlement:
    if terms.usage_limit is None or quantity == 1:
        return terms
    return terms.model_copy(update={"usage_limit": capped_product(terms.usage_limit, quantity)})


def _summed(parts: Sequence[PackageEntitlement]) -> PackageEntitlement:
    """The first part's terms, with what the others add."""
    first = parts[0]
    if len(parts) == 1:
        return first
    unlimited = any(part.has_unlimited_usage for part in parts)
    limits = [part.usage_limit for part in parts if part.usage_limit is not None]
    return first.model_copy(
        update={
            "has_unlimited_usage": unlimited,
            "usage_limit": None if unlimited or not limits else capped_sum(limits),
            "has_soft_limit": any(part.has_soft_limit for part in parts),
            "enum_values": tuple(dict.fromkeys(value for part in parts for value in part.enum_values)),
        }
    )


def capped_sum(amounts: Iterable[float]) -> float:
    """The exact sum of amounts; beyond the range of exact numbers the greatest not above it."""
    return _kept(sum((Decimal(repr(amount)) for amount in amounts), Decimal(0)))


def capped_product(amount: float, times: float) -> float:
    """The exact product of an amount and a quantity; beyond the range of exact numbers the greatest not above it."""
    return _kept(Decimal(repr(amount)) * Decimal(repr(times)))


def _kept(exact: Decimal) -> float:
    if exact >= FRACTION_BELOW:
        return float(min(int(exact), WHOLE_MAX))
    return float(parse_amount(exact))


def entitlement_schedule(terms: EntitlementTerms, anchor_ms: int) -> Schedule | None:
    """How the counter of an entitlement resets, or None where it never does."""
    if terms.reset_period is None:
        return None
    return reset_schedule(
        terms.reset_period, anchor_ms=anchor_ms, according_to=terms.reset_according_to, zone=terms.zone
    )
