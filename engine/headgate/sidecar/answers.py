"""From entitlements, or the fallback in their place, to the responses of the reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headgate.model.entitlement import (
    BooleanEntitlement,
    Entitlement,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.sidecar import messages
from headgate.sidecar.fallback import Fallback
from headgate.sidecar.messages import Shown, of_any_kind, reason_of
from headgate.sidecar.protocol import sidecar_pb2 as wire

_UNKNOWN: Final = wire.ACCESS_DENIED_REASON_UNKNOWN


def boolean_answer(found: BooleanEntitlement) -> wire.GetBooleanEntitlementResponse:
    """Answer a read of a boolean feature."""
    return wire.GetBooleanEntitlementResponse(
        has_access=found.has_access, access_denied_reason=reason_of(found), entitlement=messages.boolean(found)
    )


def numeric_answer(found: NumericEntitlement, fallback: Fallback | None) -> wire.GetNumericEntitlementResponse:
    """Answer a read of a numeric feature."""
    shown = messages.numeric(found) if fallback is None else _numeric_fallback(fallback)
    return wire.GetNumericEntitlementResponse(
        has_access=found.has_access, access_denied_reason=reason_of(found), entitlement=shown
    )


def metered_answer(found: MeteredEntitlement, fallback: Fallback | None) -> wire.GetMeteredEntitlementResponse:
    """Answer a read of a metered feature."""
    shown = messages.metered(found) if fallback is None else _metered_fallback(fallback)
    return wire.GetMeteredEntitlementResponse(
        has_access=found.has_access,
        access_denied_reason=reason_of(found),
        requested_usage=found.requested_usage,
        entitlement=shown,
    )


def enum_answer(found: EnumEntitlement, fallback: Fallback | None) -> wire.GetEnumEntitlementResponse:
    """Answer a read of an enum feature."""
    shown = messages.enum(found) if fallback is None else _enum_fallback(fallback)
    return wire.GetEnumEntitlementResponse(
        has_access=found.has_access,
        access_denied_reason=reason_of(found),
        requested_values=found.requested_values,
        entitlement=shown,
    )


def answer(found: Entitlement) -> wire.GetEntitlementResponse:
    """Answer a read of a feature of any kind."""
    shown: Any = of_any_kind(found)
    return wire.GetEntitlementResponse(has_access=found.has_access, access_denied_reason=reason_of(found), **shown)


def answer_v2(found: Entitlement, *, in_list: bool = False) -> wire.EntitlementV2:
    """Show an entitlement to a feature or a currency."""
    shown: Any = of_any_kind(found, in_list=in_list)
    return wire.EntitlementV2(has_access=found.has_access, access_denied_reason=reason_of(found), **shown)


def list_answer(found: Entitlements) -> wire.GetEntitlementsResponse:
    """Answer a read of everything, as far as this message has it: features."""
    listed = []
    for each in found:
        shown: Any = of_any_kind(each, in_list=True)
        if "credit" not in shown:
            listed.append(wire.Entitlement(**shown))
    return wire.GetEntitlementsResponse(entitlements=listed, access_denied_reason=_reason_of_list(found))


def state_answer(found: Entitlements) -> wire.GetEntitlementsStateV2Response:
    """Answer a read of everything: features and credits."""
    return wire.GetEntitlementsStateV2Response(
        entitlements=[answer_v2(each, in_list=True) for each in found], access_denied_reason=_reason_of_list(found)
    )


def _reason_of_list(found: Entitlements) -> wire.AccessDeniedReason | None:
    return None if found.reason is None else messages.REASONS[found.reason]


# Where no data can be had.


def boolean_fallback(feature: str, fallback: Fallback) -> wire.GetBooleanEntitlementResponse:
    """Answer a read of a boolean feature by a fallback."""
    has_access = fallback.grants()
    return wire.GetBooleanEntitlementResponse(
        **_fallen_back(has_access), entitlement=_boolean_fallback(feature, has_access=has_access)
    )


def numeric_fallback(feature: str, fallback: Fallback) -> wire.GetNumericEntitlementResponse:
    """Answer a read of a numeric feature by a fallback."""
    return wire.GetNumericEntitlementResponse(
        **_fallen_back(fallback.grants()), entitlement=_numeric_fallback(fallback, feature)
    )


def metered_fallback(feature: str, fallback: Fallback, usage: float) -> wire.GetMeteredEntitlementResponse:
    """Answer a read of a metered feature by a fallback."""
    return wire.GetMeteredEntitlementResponse(
        **_fallen_back(fallback.grants(usage)), requested_usage=usage, entitlement=_metered_fallback(fallback, feature)
    )


def enum_fallback(feature: str, fallback: Fallback, values: Sequence[str]) -> wire.GetEnumEntitlementResponse:
    """Answer a read of an enum feature by a fallback."""
    return wire.GetEnumEntitlementResponse(
        **_fallen_back(fallback.grants(0.0, values)),
        requested_values=values,
        entitlement=_enum_fallback(fallback, feature),
    )


def fallback_answer(
    feature: str, fallback: Fallback, usage: float, values: Sequence[str]
) -> wire.GetEntitlementResponse:
    """Answer a read of a feature of any kind by a fallback, as the kind whose values it has."""
    has_access = fallback.grants(usage, values)
    shown: Any = _fallback_of_any_kind(feature, fallback, has_access=has_access)
    return wire.GetEntitlementResponse(**_fallen_back(has_access), **shown)


def fallback_answer_v2(
    feature: str | None, fallback: Fallback, usage: float, values: Sequence[str]
) -> wire.EntitlementV2:
    """The same in the message of the second version."""
    has_access = fallback.grants(usage, values)
    shown: Any = _fallback_of_any_kind(feature, fallback, has_access=has_access)
    return wire.EntitlementV2(**_fallen_back(has_access), **shown)


def _fallen_back(has_access: bool) -> dict[str, Any]:
    reason = None if has_access else _UNKNOWN
    return {"has_access": has_access, "is_fallback": True, "access_denied_reason": reason}


def _fallback_of_any_kind(feature: str | None, fallback: Fallback, *, has_access: bool) -> dict[str, Shown]:
    """The message of the kind whose values a fallback has; a currency has none that could be told."""
    if feature is None:
        return {}
    if fallback.value is not None:
        return {"numeric": _numeric_fallback(fallback, feature)}
    if fallback.usage_limit is not None or fallback.is_unlimited:
        return {"metered": _metered_fallback(fallback, feature)}
    if fallback.enum_values:
        return {"enum": _enum_fallback(fallback, feature)}
    return {"boolean": _boolean_fallback(feature, has_access=has_access)}


def _boolean_fallback(feature: str, *, has_access: bool) -> wire.BooleanEntitlement:
    return wire.BooleanEntitlement(feature=_feature(feature, wire.FEATURE_TYPE_BOOLEAN) if has_access else None)


def _numeric_fallback(fallback: Fallback, feature: str | None = None) -> wire.NumericEntitlement:
    return wire.NumericEntitlement(
        feature=_feature(feature, wire.FEATURE_TYPE_NUMBER) if fallback.has_access else None,
        value=None if fallback.is_unlimited else fallback.value,
        is_unlimited=fallback.is_unlimited,
    )


def _metered_fallback(fallback: Fallback, feature: str | None = None) -> wire.MeteredEntitlement:
    return wire.MeteredEntitlement(
        feature=_feature(feature, wire.FEATURE_TYPE_NUMBER, is_metered=True) if fallback.has_access else None,
        usage_limit=None if fallback.is_unlimited else fallback.usage_limit,
        is_unlimited=fallback.is_unlimited,
        reset_period=wire.ENTITLEMENT_RESET_PERIOD_UNSPECIFIED,
    )


def _enum_fallback(fallback: Fallback, feature: str | None = None) -> wire.EnumEntitlement:
    shown = _feature(feature, wire.FEATURE_TYPE_ENUM) if fallback.has_access else None
    return wire.EnumEntitlement(feature=shown, enum_values=fallback.enum_values)


def _feature(
    feature: str | None, kind: wire.FeatureType, *, is_metered: bool = False
) -> wire.EntitlementFeature | None:
    """As much as is known of a feature: to the vendor's client in Python, a message without it may be as good as none.

    None where the feature is known to be of another type.
    """
    if feature is None:
        return None
    meter = wire.METER_TYPE_UNSPECIFIED if is_metered else wire.METER_TYPE_NONE
    return wire.EntitlementFeature(
        id=feature, feature_type=kind, units="", units_plural="", meter_type=meter, is_metered=is_metered
    )
