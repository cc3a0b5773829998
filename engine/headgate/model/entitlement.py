"""Entitlements as they are read: what a customer may do with one feature, or has of one currency, at one instant.

There is a class for each kind, so that a type checker knows what each of them has:

    match engine.entitlement("cus-acme", "feature-seats"):
        case MeteredEntitlement(has_access=True, usage_limit=limit, current_usage=used): …

`Entitlement` itself is what they share, and what is said of a feature that is not in the catalog. Where nothing
entitles, `feature` is None, there is no limit and no period, and usage is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from headgate.amounts import as_number, format_amount
from headgate.model.catalog import Currency, Feature
from headgate.model.credits import GrantKind, Wallet
from headgate.model.decision import DeniedReason, instant
from headgate.periods import ResetPeriod


class EntitlementKind(StrEnum):
    """What an entitlement is of: access, a configured number, a number that is counted, a choice of values, credits."""

    BOOLEAN = "BOOLEAN"
    NUMERIC = "NUMERIC"
    METERED = "METERED"
    ENUM = "ENUM"
    CREDIT = "CREDIT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """What a customer, or one resource of it, may do with one feature; true exactly where there is access.

    `id` is what was asked about. `feature` is set where something entitles to it, also where its limit refuses.
    `requested_usage` and `requested_values` are what was asked for: only metered features look at the one, only enum
    features at the other. `is_fallback` says that nothing could be read, and that the caller's own fallback answers.
    """

    kind: ClassVar[EntitlementKind | None] = None

    customer: str
    resource: str | None
    id: str
    has_access: bool
    reason: DeniedReason | None
    read_at_ms: int
    requested_usage: float = 0.0
    requested_values: tuple[str, ...] = ()
    is_fallback: bool = False
    feature: Feature | None = None

    def __bool__(self) -> bool:
        return self.has_access

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "resource": self.resource,
            "id": self.id,
            "kind": self.kind and self.kind.value,
            "has_access": self.has_access,
            "reason": self.reason and self.reason.value,
            "is_fallback": self.is_fallback,
            "requested_usage": as_number(self.requested_usage),
            "requested_values": list(self.requested_values),
            "feature": None if self.feature is None else _feature_dict(self.feature),
            **self._own_dict(),
            "read_at": instant(self.read_at_ms).isoformat(),
        }

    def _own_dict(self) -> dict[str, Any]:
        return {}

    def _numbers(self) -> str:
        return ""

    def __str__(self) -> str:
        verb = "has access to" if self.has_access else "has no access to"
        why = "" if self.reason is None else f" ({self.reason})"
        numbers = self._numbers()
        return f"{self.customer} {verb} {self.id}{why}{': ' if numbers else ''}{numbers}."


@dataclass(frozen=True, slots=True, kw_only=True)
class BooleanEntitlement(Entitlement):
    """Access to a feature, or none."""

    kind = EntitlementKind.BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericEntitlement(Entitlement):
    """A configured number: `value`, or None where it is unlimited or nothing entitles."""

    kind = EntitlementKind.NUMERIC

    value: float | None = None
    is_unlimited: bool = False

    def _own_dict(self) -> dict[str, Any]:
        return {"value": _number(self.value), "is_unlimited": self.is_unlimited}

    def _numbers(self) -> str:
        if self.is_unlimited:
            return "unlimited"
        return "" if self.value is None else format_amount(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredEntitlement(Entitlement):
    """A number that is counted, and the limit that it counts towards. A soft limit is shown and does not refuse.

    Without a reset period usage never starts at 0 again, and there is no period. `held` is what open reservations hold;
    it counts towards the limit. Where usage is paid in credits, a unit costs `credit_rate` of the currency, and the
    wallet is what it is paid from.
    """

    kind = EntitlementKind.METERED

    usage_limit: float | None = None
    is_unlimited: bool = False
    has_soft_limit: bool = False
    current_usage: float = 0.0
    held: float = 0.0
    reset_period: ResetPeriod | None = None
    usage_period_anchor: datetime | None = None
    usage_period_start: datetime | None = None
    usage_period_end: datetime | None = None
    currency: Currency | None = None
    credit_rate: float | None = None
    wallet: Wallet | None = None

    def _own_dict(self) -> dict[str, Any]:
        return {
            "usage_limit": _number(self.usage_limit),
            "is_unlimited": self.is_unlimited,
            "has_soft_limit": self.has_soft_limit,
            "current_usage": as_number(self.current_usage),
            "held": as_number(self.held),
            "reset_period": self.reset_period and self.reset_period.value,
            "usage_period_anchor": _moment(self.usage_period_anchor),
            "usage_period_start": _moment(self.usage_period_start),
            "usage_period_end": _moment(self.usage_period_end),
            "currency": self.currency and self.currency.id,
            "credit_rate": _number(self.credit_rate),
            "wallet": self.wallet and self.wallet.as_dict(),
        }

    def _numbers(self) -> str:
        if self.feature is None:
            return ""
        limit = "" if self.usage_limit is None else f" of {format_amount(self.usage_limit)}"
        soft = " (soft)" if self.has_soft_limit else ""
        paid = "" if self.wallet is None else f", and {_balance(self.wallet)}"
        return f"{format_amount(self.current_usage)}{limit}{soft} used{paid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumEntitlement(Entitlement):
    """A choice of values: those that are granted, in the feature's order."""

    kind = EntitlementKind.ENUM

    enum_values: tuple[str, ...] = ()

    def _own_dict(self) -> dict[str, Any]:
        return {"enum_values": list(self.enum_values)}

    def _numbers(self) -> str:
        return ", ".join(self.enum_values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditEntitlement(Entitlement):
    """What there is of one currency: `id` is the currency's. There is access while the balance is above 0, or soft."""

    kind = EntitlementKind.CREDIT

    currency: Currency
    wallet: Wallet

    @property
    def usage_limit(self) -> float:
        """What the live grants were given."""
        return self.wallet.granted

    @property
    def current_usage(self) -> float:
        """What was used of the live grants, and beyond them."""
        return self.wallet.used

    @property
    def remaining(self) -> float:
        """What may be used now; below 0 where there is overdraft."""
        return self.wallet.balance

    @property
    def has_soft_limit(self) -> bool:
        """Whether more may be used than there is."""
        return self.wallet.is_soft

    @property
    def usage_period_end(self) -> datetime | None:
        """When the next recurring grant takes the place of one that is live now, or None where none recurs."""
        recurring = [grant for grant in self.wallet.grants if grant.kind is GrantKind.RECURRING]
        ends_ms = [grant.expires_at_ms for grant in recurring if grant.expires_at_ms is not None]
        return instant(min(ends_ms)) if ends_ms else None

    def _own_dict(self) -> dict[str, Any]:
        return {
            "currency": self.currency.id,
            "usage_limit": as_number(self.usage_limit),
            "current_usage": as_number(self.current_usage),
            "remaining": as_number(self.remaining),
            "has_soft_limit": self.has_soft_limit,
            "usage_period_end": _moment(self.usage_period_end),
            "wallet": self.wallet.as_dict(),
        }

    def _numbers(self) -> str:
        return _balance(self.wallet)


@dataclass(frozen=True, slots=True)
class Entitlements:
    """Everything that a customer, or one resource of it, is entitled to, read with nothing requested.

    First the features, by id: each that some source entitles to, also where its limit is used up. Then the currencies,
    by id: each that has a live grant, or overdraft. `reason` says why there is nothing: the customer (or the resource)
    is not there, or is archived, or no subscription applies and nothing was given.
    """

    customer: str
    resource: str | None
    reason: DeniedReason | None
    entitlements: tuple[Entitlement, ...]
    read_at_ms: int
    lacks_resource: bool = field(default=False, compare=False)

    @property
    def entity_exists(self) -> bool:
        """Whether there is what was asked about: the customer and, where one was named, the resource of it."""
        return self.customer_exists and not self.lacks_resource

    @property
    def customer_exists(self) -> bool:
        """Whether there is such a customer, archived or not."""
        return self.reason is not DeniedReason.CUSTOMER_NOT_FOUND

    def get(self, id: str) -> Entitlement | None:
        """The entitlement to a feature or a currency, or None where there is none."""
        return next((each for each in self.entitlements if each.id == id), None)

    def __iter__(self) -> Iterator[Entitlement]:
        return iter(self.entitlements)

    def __len__(self) -> int:
        return len(self.entitlements)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "resource": self.resource,
            "reason": self.reason and self.reason.value,
            "customer_exists": self.customer_exists,
            "entitlements": [entitlement.as_dict() for entitlement in self.entitlements],
            "read_at": instant(self.read_at_ms).isoformat(),
        }


def _feature_dict(feature: Feature) -> dict[str, Any]:
    return {
        "id": feature.id,
        "display_name": feature.display_name,
        "feature_type": feature.feature_type.value,
        "meter_type": feature.meter_type.value,
        "is_metered": feature.is_metered,
        "units": feature.units,
        "units_plural": feature.units_plural,
        "status": feature.status.value,
    }


def _number(amount: float | None) -> float | int | None:
    return None if amount is None else as_number(amount)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _balance(wallet: Wallet) -> str:
    return f"wallet {wallet.currency} has {format_amount(wallet.balance)}"
