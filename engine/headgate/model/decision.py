"""Answers: what a check, a consume and a report say, with the numbers that every constraint had."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from headgate.amounts import AmountOutOfRange, add, as_number, format_amount
from headgate.errors import LimitReached
from headgate.model.catalog import Currency, Feature, FeatureType
from headgate.model.credits import Charge, Wallet
from headgate.periods import FOREVER_END_MS, Period


class DeniedReason(StrEnum):
    """Why a decision is a refusal: the contract's names."""

    FEATURE_NOT_FOUND = "FeatureNotFound"
    CUSTOMER_NOT_FOUND = "CustomerNotFound"
    CUSTOMER_IS_ARCHIVED = "CustomerIsArchived"
    CUSTOMER_RESOURCE_NOT_FOUND = "CustomerResourceNotFound"
    NO_ACTIVE_SUBSCRIPTION = "NoActiveSubscription"
    NO_FEATURE_ENTITLEMENT = "NoFeatureEntitlementInSubscription"
    REQUESTED_USAGE_EXCEEDING_LIMIT = "RequestedUsageExceedingLimit"
    REQUESTED_VALUES_MISMATCH = "RequestedValuesMismatch"
    BUDGET_EXCEEDED = "BudgetExceeded"
    FEATURE_TYPE_MISMATCH = "FeatureTypeMismatch"
    REVOKED = "Revoked"
    INSUFFICIENT_CREDITS = "InsufficientCredits"
    ENTITLEMENT_NOT_FOUND = "EntitlementNotFound"
    UNKNOWN = "Unknown"


class UpdateBehavior(StrEnum):
    """What a reported value means: a change, or the number to stand at."""

    DELTA = "DELTA"
    SET = "SET"


def instant(at_ms: int) -> datetime:
    """Turn epoch milliseconds into an aware datetime in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _signed(amount: float) -> str:
    return ("" if amount < 0 else "+") + format_amount(amount)


def _moment(at_ms: int) -> str:
    return instant(at_ms).strftime("%Y-%m-%d %H:%M:%S UTC")


@dataclass(frozen=True, slots=True)
class ConstraintState:
    """One limit as it stood in the way of one request: its counter, its period, and whether it was satisfied.

    `entity` is None for the account level: the feature's counter, or the wallet, whose limit is what its live grants
    were given. `currency` is set where credits are counted. After a granted consume and after a report, `used` includes
    the amount.
    """

    entity: str | None
    entity_type: str | None
    scope: tuple[str, ...]
    limit: float | None
    is_soft: bool
    used: float
    held: float
    granted: bool
    period: Period
    cadence: str | None
    currency: str | None = None

    @property
    def name(self) -> str:
        """The name that people know it by, such as `team-eng`, `team-eng[model-large]` or `wallet credits`."""
        if self.entity is None:
            return "account" if self.currency is None else f"wallet {self.currency}"
        return self.entity + (f"[{','.join(self.scope)}]" if self.scope else "")

    @property
    def left(self) -> float | None:
        """What is left of the limit (it may be below 0), or None where there is no limit."""
        if self.limit is None:
            return None
        try:
            return add(add(self.limit, -self.used), -self.held)
        except AmountOutOfRange:
            return self.limit - self.used - self.held

    @property
    def resets_at(self) -> datetime | None:
        """When its counter starts at 0 again, or None where it never does."""
        return None if self.period.end_ms >= FOREVER_END_MS else instant(self.period.end_ms)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        forever = self.period.end_ms >= FOREVER_END_MS
        return {
            "entity": self.entity,
            "entity_type": self.entity_type,
            "scope": list(self.scope),
            "currency": self.currency,
            "limit": None if self.limit is None else as_number(self.limit),
            "is_soft": self.is_soft,
            "used": as_number(self.used),
            "held": as_number(self.held),
            "granted": self.granted,
            "cadence": self.cadence,
            "period_start": None if forever else instant(self.period.start_ms).isoformat(),
            "period_end": None if forever else instant(self.period.end_ms).isoformat(),
        }

    def __str__(self) -> str:
        held = f" and {format_amount(self.held)} held" if self.held else ""
        unit = f" {self.currency}" if self.currency and self.entity else ""
        if self.limit is None:
            text = f"{self.name} has used {format_amount(self.used)}{unit}{held} and has no limit"
        else:
            soft = " (soft)" if self.is_soft else ""
            text = f"{self.name} has used {format_amount(self.used)}{held} of {format_amount(self.limit)}{unit}{soft}"
        return text if self.resets_at is None else f"{text} until {_moment(self.period.end_ms)}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request fits every limit in its way; which constraint is nearest to refusing, and every number seen.

    What was asked of is a `feature`, or a `currency`; a feature that is paid in credits has both. `account` is the
    feature's account-level constraint, or None where it is not metered or the account denies. `cost` is what the
    request costs in credits, `wallet` what it is paid from, `credit` the same as a constraint, `charges` what a
    consume took from its grants. `chains` is None where no dimensions were given, and else has a chain (leaf to
    root) for each dimension that brings in a budget.
    `repeated` says that it was carried out before, under the same idempotency key: the numbers are those of now.
    `anchor_ms` is what the account's periods are counted from. `valid_until_ms` is the next instant at which a period,
    a grant or an entitlement in its way begins or ends: when to ask again, and no part of what was decided. Each is
    None where there is none.
    """

    customer: str
    feature: str | None
    requested: float
    granted: bool
    reason: DeniedReason | None
    account: ConstraintState | None
    chains: tuple[tuple[ConstraintState, ...], ...] | None
    binding: ConstraintState | None
    decided_at_ms: int
    details: Feature | None = None
    enum_values: tuple[str, ...] = ()
    numeric_value: float | None = None
    has_unlimited_usage: bool = False
    currency: str | None = None
    resource: str | None = None
    credit: ConstraintState | None = None
    wallet: Wallet | None = None
    charges: tuple[Charge, ...] = ()
    repeated: bool = False
    cost: float = 0.0
    requested_values: tuple[str, ...] = ()
    anchor_ms: int | None = None
    valid_until_ms: int | None = field(default=None, compare=False)
    currency_details: Currency | None = None

    def __bool__(self) -> bool:
        return self.granted

    @property
    def constraints(self) -> tuple[ConstraintState, ...]:
        """Every constraint once: the account level, the wallet, then the chains' nodes without repeats."""
        seen: dict[tuple[str | None, tuple[str, ...], str | None], ConstraintState] = {}
        for state in (
            *([self.account] if self.account else ()),
            *([self.credit] if self.credit else ()),
            *(node for chain in self.chains or () for node in chain),
        ):
            seen.setdefault((state.entity, state.scope, state.currency), state)
        return tuple(seen.values())

    @property
    def resets_at(self) -> datetime | None:
        """When the binding constraint starts at 0 again, or None."""
        return self.binding.resets_at if self.binding else None

    def require(self) -> Decision:
        """Return the decision if it grants, else raise `LimitReached`."""
        if not self.granted:
            raise LimitReached(self)
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "resource": self.resource,
            "feature": self.feature,
            "currency": self.currency,
            "requested": as_number(self.requested),
            "granted": self.granted,
            "reason": self.reason and self.reason.value,
            "account": self.account and self.account.as_dict(),
            "chains": None if self.chains is None else [[node.as_dict() for node in chain] for chain in self.chains],
            "binding": self.binding and self.binding.as_dict(),
            "resets_at": self.resets_at.isoformat() if self.resets_at else None,
            "numeric_value": None if self.numeric_value is None else as_number(self.numeric_value),
            "enum_values": list(self.enum_values),
            "has_unlimited_usage": self.has_unlimited_usage,
            "wallet": self.wallet and self.wallet.as_dict(),
            "cost": as_number(self.cost),
            "charges": [charge.as_dict() for charge in self.charges],
            "repeated": self.repeated,
            "decided_at": instant(self.decided_at_ms).isoformat(),
        }

    def _asked(self) -> str:
        who = self.customer if self.resource is None else f"{self.customer} ({self.resource})"
        if self.details is not None and self.details.feature_type is FeatureType.ENUM:
            values = ", ".join(map(repr, self.requested_values)) or "nothing more than access"
            offered = ", ".join(self.enum_values) or "none"
            missed = self.reason is DeniedReason.REQUESTED_VALUES_MISMATCH
            return f"{who} asked for {values} of {self.feature}" + (f", and has {offered}" if missed else "")
        if self.details is not None and not self.details.is_metered:
            return f"{who} asked for {self.feature}"
        paid = self.feature is not None and self.wallet is not None
        price = f", which cost {format_amount(self.cost)} {self.currency}" if paid else ""
        return f"{who} asked for {format_amount(self.requested)} of {self.feature or self.currency}{price}"

    def __str__(self) -> str:
        asked = self._asked()
        if self.granted:
            nearest = f"; nearest limit: {self.binding}" if self.binding else ""
            return f"Granted: {asked}{nearest}."
        if self.binding is None:
            return f"Refused ({self.reason}): {asked}."
        others = [state for state in self.constraints if not state.granted and state != self.binding]
        also = "".join(f", and {state}" for state in others)
        return f"Refused ({self.reason}): {asked}, but {self.binding}{also}."


def _with_unit(state: ConstraintState) -> str:
    return f"{state.name} in {state.currency}" if state.entity and state.currency else state.name


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter after a report, and what of the report was applied to it (a correction stops at 0)."""

    state: ConstraintState
    applied: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.state.as_dict(), "applied": as_number(self.applied)}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a report counted: on the account, once on each matched budget, and what it took from the wallet's grants.

    `account` is None where a currency was reported: the wallet stands in its place.
    """

    customer: str
    feature: str | None
    value: float
    behavior: UpdateBehavior
    account: Counted | None
    entities: tuple[Counted, ...]
    counted_at_ms: int
    currency: str | None = None
    resource: str | None = None
    wallet: Wallet | None = None
    charges: tuple[Charge, ...] = ()
    repeated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "resource": self.resource,
            "feature": self.feature,
            "currency": self.currency,
            "value": as_number(self.value),
            "behavior": self.behavior.value,
            "account": self.account and self.account.as_dict(),
            "entities": [entity.as_dict() for entity in self.entities],
            "wallet": self.wallet and self.wallet.as_dict(),
            "charges": [charge.as_dict() for charge in self.charges],
            "repeated": self.repeated,
            "counted_at": instant(self.counted_at_ms).isoformat(),
        }

    def __str__(self) -> str:
        parts = [
            f"{_with_unit(counted.state)} stands at {format_amount(counted.state.used)} ({_signed(counted.applied)})"
            for counted in (*([self.account] if self.account else ()), *self.entities)
        ]
        if self.wallet is not None:
            parts.append(f"wallet {self.wallet.currency} has {format_amount(self.wallet.balance)}")
        verb = "set to" if self.behavior is UpdateBehavior.SET else "reported"
        return (
            f"{self.customer}, {self.feature or self.currency}: {verb} {format_amount(self.value)}; {', '.join(parts)}."
        )
