"""What a check answers, for features and for credits: the vendor's fields, and a few of ours beside them.

Ours, which clients that do not know them pass over:

| field | what it says |
|---|---|
| `requestedUsage` | the amount that was decided over |
| `bindingConstraint` | the limit that refuses, or the nearest to it; without `entityId` the account, or its wallet |
| `hasSoftLimit` | the account-level limit is shown, and does not refuse |
| `enumValues` | the values that are granted of an enum feature |
| `held` | how much of a `currentUsage` is held by open reservations; left out where nothing is |
| `repeated` | a consume that was carried out before, under its idempotencyKey; left out where it was not |
| `credit`, `cost` | of a feature that is paid in credits: its wallet, and what the request costs |
| `currencyId` of a node | that its numbers are credits: a budget for the currency that the feature is paid in |

Not known to the engine, and null: `entitlementUpdatedAt`, `reservedOnExpiredGrants`. `usageUpdatedAt` is the server's
instant at which the numbers stood so. `validUntil` is the next instant at which a period, a grant or an entitlement in
the request's way begins or ends.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from headgate.model.catalog import Currency, Feature, FeatureType
from headgate.model.credits import Wallet
from headgate.model.decision import ConstraintState, Decision, DeniedReason, instant
from headgate.model.entitlement import (
    CreditEntitlement,
    Entitlement,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.periods import ResetPeriod
from headgate.rest.answers.numbers import CreditBalance
from headgate.rest.shapes import Answer, Number
from headgate.service.numbers import period_span, renewal, standing


class ChainNode(Answer):
    """A budget in the way of the request, and what it says of it alone."""

    entity_id: str
    scope_entity_ids: list[str]
    usage_limit: Number | None
    current_usage: Number
    is_granted: bool
    held: Number = 0
    currency_id: str | None = None


class BindingConstraint(Answer):
    """The limit that refuses, or that has least left."""

    entity_id: str | None
    scope_entity_ids: list[str]
    usage_limit: Number | None
    current_usage: Number
    held: Number
    resets_at: datetime | None
    currency_id: str | None = None


class CheckedFeature(Answer):
    """The feature that was asked about."""

    id: str
    display_name: str
    feature_type: Literal["BOOLEAN", "NUMBER", "ENUM"]
    feature_status: Literal["NEW", "SUSPENDED", "ACTIVE"]


class CheckedCurrency(Answer):
    """The currency that was asked about."""

    currency_id: str
    display_name: str
    description: str | None
    unit_singular: str | None
    unit_plural: str | None
    metadata: dict[str, str]


class HeldReservation(Answer):
    """What this request holds; RELEASED once it was settled, released, or has expired."""

    id: str
    amount: Number
    expires_at: datetime
    status: Literal["ACTIVE", "RELEASED"]


class FeatureCheck(Answer):
    """What may be done with a feature."""

    is_granted: bool
    type: Literal["FEATURE"]
    access_denied_reason: DeniedReason | None
    feature: CheckedFeature | None
    usage_limit: Number | None
    has_unlimited_usage: bool
    reset_period: ResetPeriod | None
    current_usage: Number | None
    usage_period_anchor: datetime | None
    usage_period_start: datetime | None
    usage_period_end: datetime | None
    entitlement_updated_at: datetime | None
    valid_until: datetime | None
    chains: list[list[ChainNode]] | None = None
    reservation: HeldReservation | None = None
    requested_usage: Number = 0
    binding_constraint: BindingConstraint | None = None
    has_soft_limit: bool = False
    held: Number = 0
    enum_values: list[str] = Field(default_factory=list)
    credit: CreditBalance | None = None
    cost: Number = 0
    repeated: bool = False


class CreditCheck(Answer):
    """What may be used of a currency."""

    is_granted: bool
    type: Literal["CREDIT"]
    access_denied_reason: DeniedReason | None
    currency: CheckedCurrency
    usage_limit: Number
    current_usage: Number
    usage_updated_at: datetime
    usage_period_end: datetime | None
    entitlement_updated_at: datetime | None
    valid_until: datetime | None
    reserved: Number
    reserved_on_expired_grants: Number | None
    reservation: HeldReservation | None
    chains: list[list[ChainNode]] | None = None
    requested_usage: Number = 0
    binding_constraint: BindingConstraint | None = None
    has_soft_limit: bool = False
    repeated: bool = False


CheckAnswer = FeatureCheck | CreditCheck


class EntitlementsAnswer(Answer):
    """Everything that a customer is entitled to."""

    access_denied_reason: DeniedReason | None
    entitlements: list[CheckAnswer]


def check_answer(decision: Decision, reservation: Reservation | None = None) -> CheckAnswer:
    """Show a decision, with what it holds if it was a reservation."""
    if decision.feature is None:
        return _credit_check(decision, reservation)
    return _feature_check(decision, reservation)


def _feature_check(decision: Decision, reservation: Reservation | None) -> FeatureCheck:
    account, feature = decision.account, decision.details
    span = None if account is None else period_span(account.period)
    beside: dict[str, Any] = _beside(decision)
    if reservation is not None:
        beside["reservation"] = held_reservation(reservation)
    if account is not None:
        beside |= {"has_soft_limit": account.is_soft, **_held(account)}
    if feature is not None and feature.feature_type is FeatureType.ENUM:
        beside["enum_values"] = list(decision.enum_values)
    if decision.wallet is not None:
        beside |= {"credit": CreditBalance.of(decision.wallet), "cost": decision.cost}
    return FeatureCheck(
        is_granted=decision.granted,
        type="FEATURE",
        access_denied_reason=decision.reason,
        feature=_feature(feature),
        usage_limit=decision.numeric_value if account is None else account.limit,
        has_unlimited_usage=decision.has_unlimited_usage,
        reset_period=None if account is None or account.cadence is None else ResetPeriod(account.cadence),
        current_usage=None if account is None else standing(account.used, account.held),
        usage_period_anchor=None if decision.anchor_ms is None else instant(decision.anchor_ms),
        usage_period_start=span and span[0],
        usage_period_end=span and span[1],
        entitlement_updated_at=None,
        valid_until=None if decision.valid_until_ms is None else instant(decision.valid_until_ms),
        **beside,
    )


def _credit_check(decision: Decision, reservation: Reservation | None) -> CreditCheck:
    assert decision.currency is not None
    return CreditCheck(
        is_granted=decision.granted,
        type="CREDIT",
        access_denied_reason=decision.reason,
        currency=_currency(decision.currency, decision.currency_details),
        **_wallet(decision.wallet, decision.decided_at_ms),
        valid_until=None if decision.valid_until_ms is None else instant(decision.valid_until_ms),
        reservation=None if reservation is None else held_reservation(reservation),
        **_beside(decision),
    )


def _beside(decision: Decision) -> dict[str, Any]:
    """What both kinds have beside their own fields. Without dimensions there are no chains at all."""
    shown: dict[str, Any] = {
        "requested_usage": decision.requested,
        "binding_constraint": None if decision.binding is None else _binding(decision.binding),
    }
    if decision.repeated:
        shown["repeated"] = True
    if decision.chains is not None:
        shown["chains"] = [[_node(state) for state in chain] for chain in decision.chains]
    return shown


def _node(state: ConstraintState) -> ChainNode:
    assert state.entity is not None
    return ChainNode(
        entity_id=state.entity,
        scope_entity_ids=list(state.scope),
        usage_limit=state.limit,
        current_usage=standing(state.used, state.held),
        is_granted=state.granted,
        **_held(state),
        **_paid_in(state),
    )


def _binding(state: ConstraintState) -> BindingConstraint:
    return BindingConstraint(
        entity_id=state.entity,
        scope_entity_ids=list(state.scope),
        usage_limit=state.limit,
        current_usage=standing(state.used, state.held),
        held=state.held,
        resets_at=state.resets_at,
        **_paid_in(state),
    )


def _held(state: ConstraintState) -> dict[str, Any]:
    return {"held": state.held} if state.held else {}


def _paid_in(state: ConstraintState) -> dict[str, Any]:
    return {} if state.currency is None else {"currency_id": state.currency}


def _feature(feature: Feature | None) -> CheckedFeature | None:
    if feature is None:
        return None
    return CheckedFeature(
        id=feature.id,
        display_name=feature.display_name or feature.id,
        feature_type=feature.feature_type.value,
        feature_status=feature.status.value,
    )


def _currency(id: str, currency: Currency | None) -> CheckedCurrency:
    """Show a currency; one that is not in the catalog has its id alone."""
    return CheckedCurrency(
        currency_id=id,
        display_name=(currency and currency.display_name) or id,
        description=(currency and currency.description) or None,
        unit_singular=(currency and currency.unit_singular) or None,
        unit_plural=(currency and currency.unit_plural) or None,
        metadata={} if currency is None else currency.metadata,
    )


def _wallet(wallet: Wallet | None, read_at_ms: int) -> dict[str, Any]:
    """The numbers of a wallet; where there is none, nothing was given and nothing is used."""
    return {
        "usage_limit": 0 if wallet is None else wallet.granted,
        "current_usage": 0 if wallet is None else standing(wallet.used, wallet.held),
        "usage_updated_at": instant(read_at_ms),
        "usage_period_end": None if wallet is None else renewal(wallet),
        "entitlement_updated_at": None,
        "reserved": 0 if wallet is None else wallet.held,
        "reserved_on_expired_grants": None,
        "has_soft_limit": wallet is not None and wallet.is_soft,
    }


def held_reservation(reservation: Reservation) -> HeldReservation:
    """Show what a reservation holds, or held."""
    return HeldReservation(
        id=reservation.id,
        amount=reservation.amount,
        expires_at=reservation.expires_at,
        status="ACTIVE" if reservation.status is ReservationStatus.OPEN else "RELEASED",
    )


# Everything that a customer is entitled to.


def entitlements_answer(found: Entitlements) -> EntitlementsAnswer:
    """Show what was read of a customer."""
    return EntitlementsAnswer(
        access_denied_reason=found.reason, entitlements=[_entitlement(each) for each in found.entitlements]
    )


def _entitlement(entitlement: Entitlement) -> CheckAnswer:
    if isinstance(entitlement, CreditEntitlement):
        return CreditCheck(
            is_granted=entitlement.has_access,
            type="CREDIT",
            access_denied_reason=entitlement.reason,
            currency=_currency(entitlement.id, entitlement.currency),
            **_wallet(entitlement.wallet, entitlement.read_at_ms),
            valid_until=None,
            reservation=None,
        )
    beside: dict[str, Any] = {}
    if isinstance(entitlement, EnumEntitlement):
        beside["enum_values"] = list(entitlement.enum_values)
    if isinstance(entitlement, MeteredEntitlement):
        beside["has_soft_limit"] = entitlement.has_soft_limit
        if entitlement.held:
            beside["held"] = entitlement.held
        if entitlement.wallet is not None:
            beside["credit"] = CreditBalance.of(entitlement.wallet)
    return FeatureCheck(
        is_granted=entitlement.has_access,
        type="FEATURE",
        access_denied_reason=entitlement.reason,
        feature=_feature(entitlement.feature),
        **_limits(entitlement),
        entitlement_updated_at=None,
        valid_until=None,
        **beside,
    )


def _limits(entitlement: Entitlement) -> dict[str, Any]:
    match entitlement:
        case MeteredEntitlement():
            return {
                "usage_limit": entitlement.usage_limit,
                "has_unlimited_usage": entitlement.is_unlimited,
                "reset_period": entitlement.reset_period,
                "current_usage": standing(entitlement.current_usage, entitlement.held),
                "usage_period_anchor": entitlement.usage_period_anchor,
                "usage_period_start": entitlement.usage_period_start,
                "usage_period_end": entitlement.usage_period_end,
            }
        case NumericEntitlement():
            limit, is_unlimited = entitlement.value, entitlement.is_unlimited
        case _:
            limit, is_unlimited = None, False
    return {
        "usage_limit": limit,
        "has_unlimited_usage": is_unlimited,
        "reset_period": None,
        "current_usage": None,
        "usage_period_anchor": None,
        "usage_period_start": None,
        "usage_period_end": None,
    }
