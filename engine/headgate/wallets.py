"""Wallets: which grants of a currency a customer has at one instant, and in which order they are burnt. Pure.

A wallet belongs to a customer, or to one of its resources. Its grants were given, or recur: nothing creates a recurring
grant, it is derived, one for each period of a subscription, and has a counter of its own, so that what each gave
stays readable. The rules are told as a table, a test for each row, in docs/concepts/credits.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headgate import keys
from headgate.entitlements import capped_product, capped_sum, span_around
from headgate.model.credits import PRIORITY_DEFAULT, Grant, GrantKind, GrantStatus
from headgate.model.packages import CreditCadence, Package, Packages, RecurringCredit
from headgate.model.subscription import Subscription
from headgate.periods import Cadence, CadenceUnit, Schedule

_BURNT = {kind: place for place, kind in enumerate(GrantKind)}
_PERIODS_MAX = 100_000
"""How many periods of one recurring credit are looked at: more than a subscription can have."""


@dataclass(frozen=True, slots=True)
class WalletGrant:
    """One grant with the place of its counter. It can be used from `effective_at_ms` until `expires_at_ms`."""

    id: str
    kind: GrantKind
    priority: int
    amount: float
    effective_at_ms: int
    expires_at_ms: int | None
    created_at_ms: int
    place: tuple[int | str, bytes]
    voided_at_ms: int | None = None
    subscription: str | None = None
    display_name: str = ""

    def status_at(self, now_ms: int) -> GrantStatus:
        """Where it stands at an instant; a voided grant is voided at every instant."""
        if self.voided_at_ms is not None:
            return GrantStatus.VOIDED
        if now_ms < self.effective_at_ms:
            return GrantStatus.SCHEDULED
        if self.expires_at_ms is not None and now_ms >= self.expires_at_ms:
            return GrantStatus.EXPIRED
        return GrantStatus.ACTIVE

    @property
    def burn_rank(self) -> tuple[int, float, int, int, int, str]:
        """What is burnt first: low priority, earliest expiry, promotional before paid, effective date, creation."""
        expires = float("inf") if self.expires_at_ms is None else self.expires_at_ms
        return (self.priority, expires, _BURNT[self.kind], self.effective_at_ms, self.created_at_ms, self.id)


@dataclass(frozen=True, slots=True)
class LiveWallet:
    """The live grants of a wallet in burn order, which holds from `from_ms` until `until_ms` (exclusive).

    A soft wallet does not refuse.
    """

    grants: tuple[WalletGrant, ...]
    is_soft: bool
    from_ms: int
    until_ms: int


def live_wallet(
    currency: str, given: Sequence[Grant], subscriptions: Sequence[Subscription], packages: Packages, *, now_ms: int
) -> LiveWallet:
    """Find the grants that can be used at an instant. `subscriptions` are those of the wallet's own resource."""
    live, instants_ms, is_soft = [], list[int](), False
    for grant in map(_given, given):
        if grant.voided_at_ms is None:
            instants_ms.append(grant.effective_at_ms)
            if grant.expires_at_ms is not None:
                instants_ms.append(grant.expires_at_ms)
            if grant.status_at(now_ms) is GrantStatus.ACTIVE:
                live.append(grant)
    for subscription in subscriptions:
        instants_ms.extend((*subscription.instants_ms(), *_changes_ms(subscription, packages)))
        if subscription.applies_at(now_ms):
            is_soft |= any(each.has_soft_limit for each, _ in _parts(currency, subscription, packages, now_ms))
    for subscription, cadence in _definitions(currency, subscriptions, packages):
        schedule = _schedule(subscription, cadence)
        ordinal = schedule.ordinal_at(now_ms)
        instants_ms.extend((schedule.boundary_ms(ordinal), schedule.boundary_ms(ordinal + 1)))
        recurring = _recurring(currency, subscription, cadence, ordinal, schedule, packages)
        if recurring is not None and recurring.status_at(now_ms) is GrantStatus.ACTIVE:
            live.append(recurring)
    from_ms, until_ms = span_around(now_ms, instants_ms)
    return LiveWallet(tuple(sorted(live, key=lambda grant: grant.burn_rank)), is_soft, from_ms, until_ms)


def every_grant(
    currency: str, given: Sequence[Grant], subscriptions: Sequence[Subscription], packages: Packages, *, now_ms: int
) -> list[WalletGrant]:
    """List every grant that there is or was, recurring ones up to the present period, by effective instant and id."""
    found = [_given(grant) for grant in given]
    begun = [each for each in subscriptions if each.start_ms <= now_ms]
    for subscription, cadence in _definitions(currency, begun, packages):
        schedule = _schedule(subscription, cadence)
        first = schedule.ordinal_at(subscription.start_ms)
        last = min(schedule.ordinal_at(now_ms), first + _PERIODS_MAX)
        for ordinal in range(first, last + 1):
            if subscription.ends_at_ms is not None and schedule.boundary_ms(ordinal) >= subscription.ends_at_ms:
                break
            recurring = _recurring(currency, subscription, cadence, ordinal, schedule, packages)
            if recurring is not None and recurring.effective_at_ms <= now_ms:
                found.append(recurring)
    return sorted(found, key=lambda grant: (grant.effective_at_ms, grant.id))


def recurring_definitions(
    currency: str, subscriptions: Iterable[Subscription], packages: Packages
) -> set[tuple[str, CreditCadence]]:
    """Which subscriptions give or gave a currency, and how often."""
    return {(each.id, cadence) for each, cadence in _definitions(currency, subscriptions, packages)}


def _given(grant: Grant) -> WalletGrant:
    return WalletGrant(
        id=grant.id,
        kind=grant.kind,
        priority=grant.priority,
        amount=grant.amount,
        effective_at_ms=grant.effective_at_ms,
        expires_at_ms=grant.expires_at_ms,
        created_at_ms=grant.created_at_ms,
        place=keys.counter_place(grant.number),
        voided_at_ms=grant.voided_at_ms,
        display_name=grant.display_name,
    )


def _schedule(subscription: Subscription, cadence: CreditCadence) -> Schedule:
    return Schedule(Cadence(1, CadenceUnit[cadence.name]), subscription.billing_anchor_ms)


def _packages_of(subscription: Subscription, packages: Packages) -> Iterator[Package]:
    """Every plan and add-on that a subscription has or had, each once."""
    contents = (*subscription.earlier, subscription)
    for plan in dict.fromkeys(content.plan for content in contents):
        if plan in packages.plans:
            yield packages.plans[plan]
    for addon in dict.fromkeys(ordered.addon for content in contents for ordered in content.addons):
        if addon in packages.addons:
            yield packages.addons[addon]


def _definitions(
    currency: str, subscriptions: Iterable[Subscription], packages: Packages
) -> Iterator[tuple[Subscription, CreditCadence]]:
    for subscription in subscriptions:
        said = [each for content in (*subscription.earlier, subscription) for each in content.credits]
        for package in _packages_of(subscription, packages):
            said += [each for credits in package.earlier_credits for each in credits.credits]
            said += package.credits
        cadences = {each.cadence for each in said if each.currency == currency}
        for cadence in CreditCadence:
            if cadence in cadences:
                yield subscription, cadence


def _recurring(
    currency: str,
    subscription: Subscription,
    cadence: CreditCadence,
    ordinal: int,
    schedule: Schedule,
    packages: Packages,
) -> WalletGrant | None:
    """The grant of one period, or None where the period gives nothing.

    Its amount is the highest that was said of any instant of the period: so an increase counts at once, a decrease from
    the next period on, and what a past period gave does not change any more.
    """
    start_ms = max(schedule.boundary_ms(ordinal), subscription.start_ms)
    end_ms = schedule.boundary_ms(ordinal + 1)
    if subscription.ends_at_ms is not None:
        end_ms = min(end_ms, subscription.ends_at_ms)
    if end_ms <= start_ms:
        return None
    instants_ms = {start_ms, *(each for each in _changes_ms(subscription, packages) if start_ms < each < end_ms)}
    amount = max(_amount_at(currency, subscription, cadence, instant_ms, packages) for instant_ms in instants_ms)
    if not amount > 0:
        return None
    definition = f"{subscription.id}:{currency}:{cadence}"
    return WalletGrant(
        id=f"{definition}:{ordinal}",
        kind=GrantKind.RECURRING,
        priority=PRIORITY_DEFAULT,
        amount=amount,
        effective_at_ms=start_ms,
        expires_at_ms=end_ms,
        created_at_ms=start_ms,
        place=keys.recurring_counter_place(definition, ordinal, subscription.resource),
        subscription=subscription.id,
    )


def _changes_ms(subscription: Subscription, packages: Packages) -> Iterator[int]:
    for content in subscription.earlier:
        yield content.until_ms
    for package in _packages_of(subscription, packages):
        for earlier in package.earlier_credits:
            yield earlier.until_ms


def _amount_at(
    currency: str, subscription: Subscription, cadence: CreditCadence, instant_ms: int, packages: Packages
) -> float:
    parts = _parts(currency, subscription, packages, instant_ms)
    return capped_sum(capped_product(each.amount, times) for each, times in parts if each.cadence is cadence)


def _parts(
    currency: str, subscription: Subscription, packages: Packages, instant_ms: int
) -> list[tuple[RecurringCredit, int]]:
    """What was said of a currency at an instant, and how many times: the subscription's own word stands alone."""
    content = subscription.content_at(instant_ms)
    own = [(each, 1) for each in content.credits if each.currency == currency]
    if own:
        return own
    plan = packages.plans.get(content.plan)
    said = (
        [(each, content.unit_quantity if each.per_unit else 1) for each in plan.credits_at(instant_ms)] if plan else []
    )
    for ordered in content.addons:
        addon = packages.addons.get(ordered.addon)
        said += [(each, ordered.quantity) for each in addon.credits_at(instant_ms)] if addon else []
    return [(each, times) for each, times in said if each.currency == currency]
