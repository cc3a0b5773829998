"""From entitlements to messages: what every field of an answer says.

Where something entitles, `feature` is there, also where the limit refuses; where nothing does, it is unset, and usage
is 0. The current usage is what counts towards a limit, what is held by reservations included, as on every face.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from headgate.cache import Recent
from headgate.errors import OutOfRange
from headgate.model.catalog import Currency, Feature, FeatureType, MeterType
from headgate.model.decision import DeniedReason
from headgate.model.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Entitlement,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.periods import ResetPeriod
from headgate.service.numbers import standing
from headgate.sidecar.fallback import INT32_MAX
from headgate.sidecar.protocol import sidecar_pb2 as wire

REASONS: Final[Mapping[DeniedReason, wire.AccessDeniedReason]] = {
    DeniedReason.UNKNOWN: wire.ACCESS_DENIED_REASON_UNKNOWN,
    DeniedReason.CUSTOMER_IS_ARCHIVED: wire.ACCESS_DENIED_REASON_CUSTOMER_IS_ARCHIVED,
    DeniedReason.CUSTOMER_NOT_FOUND: wire.ACCESS_DENIED_REASON_CUSTOMER_NOT_FOUND,
    DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND: wire.ACCESS_DENIED_REASON_CUSTOMER_RESOURCE_NOT_FOUND,
    DeniedReason.FEATURE_NOT_FOUND: wire.ACCESS_DENIED_REASON_FEATURE_NOT_FOUND,
    DeniedReason.NO_ACTIVE_SUBSCRIPTION: wire.ACCESS_DENIED_REASON_NO_ACTIVE_SUBSCRIPTION,
    DeniedReason.NO_FEATURE_ENTITLEMENT: wire.ACCESS_DENIED_REASON_NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION,
    DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT: wire.ACCESS_DENIED_REASON_REQUESTED_USAGE_EXCEEDING_LIMIT,
    DeniedReason.BUDGET_EXCEEDED: wire.ACCESS_DENIED_REASON_BUDGET_EXCEEDED,
    DeniedReason.REQUESTED_VALUES_MISMATCH: wire.ACCESS_DENIED_REASON_REQUESTED_VALUES_MISMATCH,
    DeniedReason.FEATURE_TYPE_MISMATCH: wire.ACCESS_DENIED_REASON_FEATURE_TYPE_MISMATCH,
    DeniedReason.INSUFFICIENT_CREDITS: wire.ACCESS_DENIED_REASON_INSUFFICIENT_CREDITS,
    DeniedReason.REVOKED: wire.ACCESS_DENIED_REASON_REVOKED,
    DeniedReason.ENTITLEMENT_NOT_FOUND: wire.ACCESS_DENIED_REASON_ENTITLEMENT_NOT_FOUND,
}
FEATURE_TYPES: Final[Mapping[FeatureType, wire.FeatureType]] = {
    FeatureType.BOOLEAN: wire.FEATURE_TYPE_BOOLEAN,
    FeatureType.NUMBER: wire.FEATURE_TYPE_NUMBER,
    FeatureType.ENUM: wire.FEATURE_TYPE_ENUM,
}
METER_TYPES: Final[Mapping[MeterType, wire.MeterType]] = {
    MeterType.NONE: wire.METER_TYPE_NONE,
    MeterType.FLUCTUATING: wire.METER_TYPE_FLUCTUATING,
    MeterType.INCREMENTAL: wire.METER_TYPE_INCREMENTAL,
}
RESET_PERIODS: Final[Mapping[ResetPeriod, wire.EntitlementResetPeriod]] = {
    ResetPeriod.DAY: wire.ENTITLEMENT_RESET_PERIOD_DAY,
    ResetPeriod.HOUR: wire.ENTITLEMENT_RESET_PERIOD_HOUR,
    ResetPeriod.MONTH: wire.ENTITLEMENT_RESET_PERIOD_MONTH,
    ResetPeriod.WEEK: wire.ENTITLEMENT_RESET_PERIOD_WEEK,
    ResetPeriod.YEAR: wire.ENTITLEMENT_RESET_PERIOD_YEAR,
}

_known: Recent[int, tuple[Feature, wire.EntitlementFeature]] = Recent(1_000)
"""Messages of features, which are the same in thousands of answers, by where the feature is: a changed one is new."""


def feature_message(feature: Feature | None) -> wire.EntitlementFeature | None:
    """Show a feature; None where nothing entitles to it."""
    if feature is None:
        return None
    known = _known.get(id(feature))
    if known is not None and known[0] is feature:
        return known[1]
    message = wire.EntitlementFeature(
        id=feature.id,
        feature_type=FEATURE_TYPES[feature.feature_type],
        units=feature.units,
        units_plural=feature.units_plural,
        meter_type=METER_TYPES[feature.meter_type],
        is_metered=feature.is_metered,
    )
    _known.put(id(feature), (feature, message))
    return message


def moment(instant: datetime | None) -> Timestamp | None:
    """An instant, or None where there is none."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def reason_of(entitlement: Entitlement) -> wire.AccessDeniedReason | None:
    """Why there is no access; None where there is."""
    return None if entitlement.reason is None else REASONS[entitlement.reason]


def boolean(entitlement: BooleanEntitlement) -> wire.BooleanEntitlement:
    """Show access to a boolean feature."""
    return wire.BooleanEntitlement(feature=feature_message(entitlement.feature))


def numeric(entitlement: NumericEntitlement, *, in_list: bool = False) -> wire.NumericEntitlement:
    """Show a configured number. Raises `OutOfRange` where the wire's whole numbers of 32 bits do not have it.

    In a list it is unset instead: one number must not take away all the others.
    """
    value = entitlement.value
    fits = value is None or (value.is_integer() and -INT32_MAX - 1 <= value <= INT32_MAX)
    if in_list and not fits:
        value = None
    elif value is not None and not fits:
        raise OutOfRange(
            f"feature_id: {entitlement.id!r} has the value {value:g}, and this API has whole numbers of 32 bits: read "
            "it by the REST API, GET /api/v1/customers/{id}/entitlements/check"
        )
    return wire.NumericEntitlement(
        feature=feature_message(entitlement.feature),
        value=None if value is None else int(value),
        is_unlimited=entitlement.is_unlimited,
    )


def metered(entitlement: MeteredEntitlement) -> wire.MeteredEntitlement:
    """Show limit, usage and period of a metered feature."""
    resets = entitlement.reset_period
    return wire.MeteredEntitlement(
        feature=feature_message(entitlement.feature),
        usage_limit=entitlement.usage_limit,
        is_unlimited=entitlement.is_unlimited,
        current_usage=standing(entitlement.current_usage, entitlement.held),
        reset_period=wire.ENTITLEMENT_RESET_PERIOD_UNSPECIFIED if resets is None else RESET_PERIODS[resets],
        usage_period_anchor=moment(entitlement.usage_period_anchor),
        usage_period_start=moment(entitlement.usage_period_start),
        usage_period_end=moment(entitlement.usage_period_end),
        has_soft_limit=None if entitlement.feature is None else entitlement.has_soft_limit,
    )


def enum(entitlement: EnumEntitlement) -> wire.EnumEntitlement:
    """Show the values that are granted."""
    return wire.EnumEntitlement(feature=feature_message(entitlement.feature), enum_values=entitlement.enum_values)


def credit(entitlement: CreditEntitlement) -> wire.CreditEntitlement:
    """Show what there is of a currency."""
    return wire.CreditEntitlement(
        currency=currency_message(entitlement.currency),
        usage_limit=entitlement.usage_limit,
        current_usage=standing(entitlement.current_usage, entitlement.wallet.held),
        remaining=entitlement.remaining,
        usage_period_end=moment(entitlement.usage_period_end),
        has_soft_limit=entitlement.has_soft_limit,
    )


def currency_message(currency: Currency) -> wire.EntitlementCurrency:
    """Show a currency; its name is its id where it was given none, and what it was not given is unset."""
    message = wire.EntitlementCurrency(
        currency_id=currency.id,
        display_name=currency.display_name or currency.id,
        description=currency.description or None,
        unit_singular=currency.unit_singular or None,
        unit_plural=currency.unit_plural or None,
    )
    if currency.metadata:
        message.additional_meta_data.update(currency.metadata)
    return message


Shown = (
    wire.BooleanEntitlement
    | wire.NumericEntitlement
    | wire.MeteredEntitlement
    | wire.EnumEntitlement
    | wire.CreditEntitlement
)


def of_any_kind(entitlement: Entitlement, *, in_list: bool = False) -> dict[str, Shown]:
    """Show an entitlement as the field of its kind; nothing where the kind is not known."""
    if isinstance(entitlement, MeteredEntitlement):
        return {"metered": metered(entitlement)}
    if isinstance(entitlement, BooleanEntitlement):
        return {"boolean": boolean(entitlement)}
    if isinstance(entitlement, NumericEntitlement):
        return {"numeric": numeric(entitlement, in_list=in_list)}
    if isinstance(entitlement, EnumEntitlement):
        return {"enum": enum(entitlement)}
    if isinstance(entitlement, CreditEntitlement):
        return {"credit": credit(entitlement)}
    return {}
