"""What the reference model reads: the entitlement to one feature, and everything that a customer is entitled to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from headgate.model.catalog import Feature, FeatureType
from headgate.model.decision import DeniedReason
from headgate.model.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Entitlement,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.periods import ALWAYS, ResetPeriod, reset_schedule
from model.commerce import Access
from model.exact import exact
from model.holding import Holding
from model.wallets import LiveWallet

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


class Reading(Holding):
    """The state of `Limits`, as it is read. Budgets of entities are not looked at."""

    def entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float = 1,
        requested_values: Sequence[str] = (),
    ) -> Entitlement:
        """Say what may be done with one feature, and with which numbers."""
        access, known = self.access(customer, feature, resource), self.features.get(feature)
        values, amount = tuple(requested_values), exact(requested_usage)
        blank = Entitlement(
            customer=customer,
            resource=resource,
            id=feature,
            has_access=access.denial is None,
            reason=access.denial,
            read_at_ms=self.now_ms,
            requested_usage=float(amount),
            requested_values=values,
            feature=known if access.denial is None else None,
        )
        if known is None:
            return blank
        if known.is_metered:
            return self._metered(blank, known, access, amount)
        if known.feature_type is FeatureType.ENUM:
            return self._enum(blank, access, values)
        if known.feature_type is FeatureType.NUMBER and access.denial is None:
            value = None if access.limit is None else float(access.limit)
            return NumericEntitlement(**shared(blank), value=value, is_unlimited=access.is_unlimited)
        return (BooleanEntitlement if known.feature_type is FeatureType.BOOLEAN else NumericEntitlement)(
            **shared(blank)
        )

    def _enum(self, blank: Entitlement, access: Access, values: Iterable[str]) -> EnumEntitlement:
        if access.denial is not None:
            return EnumEntitlement(**shared(blank))
        given = set(values) <= set(access.enum_values)
        reason = None if given else DeniedReason.REQUESTED_VALUES_MISMATCH
        return EnumEntitlement(
            **{**shared(blank), "has_access": given, "reason": reason}, enum_values=access.enum_values
        )

    def _metered(self, blank: Entitlement, feature: Feature, access: Access, amount: Fraction) -> MeteredEntitlement:
        if access.denial is not None or access.best is None:
            return MeteredEntitlement(**shared(blank))
        account = self.of_account(self.customers[blank.customer], feature.id, blank.resource, access)
        terms, wallet, reason = access.best.terms, None, None
        if access.rate is not None:
            wallet = self.live_wallet(blank.customer, access.rate.currency, blank.resource)
            if not self.has_credit(wallet) or not self.satisfied(wallet, self.credits_for(amount, access.rate)):
                reason = DeniedReason.INSUFFICIENT_CREDITS
        if not self.allows(account, amount):
            reason = DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
        if reason is not None and self.free_due(blank.customer):
            return self._metered(blank, feature, access, amount)
        schedule = None
        if terms.reset_period is not None:
            schedule = reset_schedule(
                terms.reset_period, anchor_ms=access.best.anchor_ms, according_to=terms.according_to, zone=terms.zone
            )
        period = None if account.period == ALWAYS else account.period
        return MeteredEntitlement(
            **{**shared(blank), "has_access": reason is None, "reason": reason},
            usage_limit=None if access.limit is None else float(access.limit),
            is_unlimited=access.is_unlimited,
            has_soft_limit=access.is_soft,
            current_usage=float(self.used(account)),
            held=float(account.slot.held),
            reset_period=None if terms.reset_period is None else ResetPeriod(terms.reset_period),
            usage_period_anchor=None if schedule is None else moment(schedule.anchor_ms),
            usage_period_start=None if period is None else moment(period.start_ms),
            usage_period_end=None if period is None else moment(period.end_ms),
            currency=None if access.rate is None else self.currencies[access.rate.currency],
            credit_rate=None if access.rate is None else float(access.rate.amount),
            wallet=None if wallet is None else self.wallet_state(wallet),
        )

    def has_credit(self, wallet: LiveWallet) -> bool:
        """Whether there is anything to pay with: access is read as lost before the first credit is asked for."""
        return wallet.is_soft or wallet.balance > 0

    def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Say everything that something entitles to, with nothing requested: features, then currencies."""
        reason = self.customer_denial(customer, resource)
        if reason is not None:
            return Entitlements(customer, resource, reason, (), self.now_ms)
        features = [self.entitlement(customer, each, resource=resource, requested_usage=0) for each in self.features]
        found: list[Entitlement] = [each for each in features if each.feature is not None]
        found.sort(key=lambda each: each.id)
        for currency in sorted(self.currencies):
            credit = self._credit(customer, currency, resource)
            if credit is not None:
                found.append(credit)
        in_question = self.in_question(self.customers[customer], resource)
        if not found and not any(self.applies_at(each, self.now_ms) for each in in_question):
            reason = DeniedReason.NO_ACTIVE_SUBSCRIPTION
        return Entitlements(customer, resource, reason, tuple(found), self.now_ms)

    def _credit(self, customer: str, currency: str, resource: str | None) -> CreditEntitlement | None:
        """What there is of a currency, where anything was given or is owed."""
        wallet = self.live_wallet(customer, currency, resource)
        if not wallet.grants and not wallet.overdraft.total:
            return None
        has_access = self.has_credit(wallet)
        return CreditEntitlement(
            customer=customer,
            resource=resource,
            id=currency,
            has_access=has_access,
            reason=None if has_access else DeniedReason.INSUFFICIENT_CREDITS,
            read_at_ms=self.now_ms,
            currency=self.currencies[currency],
            wallet=self.wallet_state(wallet),
        )


def shared(entitlement: Entitlement) -> dict[str, Any]:
    """What every kind of entitlement says."""
    names = ("customer", "resource", "id", "has_access", "reason", "read_at_ms", "feature")
    return {name: getattr(entitlement, name) for name in (*names, "requested_usage", "requested_values")}
