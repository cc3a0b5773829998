"""From entitlements, or the fallback in their place, to the responses of the reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headgate.model.decision import DeniedReason
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
    shown = _numeric_fallback(fallback) if _mismatches(found) and fallback else messages.numeric(found)
    return wire.GetNumericEntitlementResponse(
        has_access=found.has_access, access_denied_reason=reason_of(found), entitlement=shown
    )


def metered_answer(found: MeteredEntitlement, fallback: Fallback | None) -> wire.GetMeteredEntitlementResponse:
    """Answer a read of a metered feature."""
    shown = _metered_fallback(fallback) if _mismatches(found) and fallback else messages.metered(found)
    return wire.GetMeteredEntitlementResponse(
        has_access=found.has_access,
        access_denied_reason=reason_of(found),
        requested_usage=found.requested_usage,
        entitlement=shown,
    )


def enum_answer(found: EnumEntitlement, fallback: Fallback | None) -> wire.GetEnumEntitlementResponse:
    """Answer a read of an enum feature."""
    shown = wire.EnumEntitlement(enum_values=fallback.enum_values) if _mismatches(found) and fallback else None
    return wire.GetEnumEntitlementResponse(
        has_access=found.has_access,
        access_denied_reason=reason_of(found),
        requested_values=found.requested_values,
        entitlement=messages.enum(found) if shown is None else shown,
    )


def answer(found: Entitlement) -> wire.GetEntitlementResponse:
    """Answer a read of a feature of any kind."""
    shown: Any = of_any_kind(found)
    return wire.GetEntitlementResponse(has_access=found.has_access, access_denied_reason=reason_of(found), **shown)


def answer_v2(found: Entitlement) -> wire.EntitlementV2:
    """Show an entitlement to a feature or a currency."""
    shown: Any = of_any_kind(found)
    return wire.EntitlementV2(has_access=found.has_access, access_denied_reason=reason_of(found), **shown)


def list_answer(found: Entitlements) -> wire.GetEntitlementsResponse:
    """Answer a read of everything, as far as this message has it: features."""
    listed = []
    for each in found:
        shown: Any = of_any_kind(each)
        if "credit" not in shown:
            listed.append(wire.Entitlement(**shown))
    return wire.GetEntitlementsResponse(entitlements=listed, access_denied_reason=_reason_of_list(found))


def state_answer(found: Entitlements) -> wire.GetEntitlementsStateV2Response:
    """Answer a read of everything: features and credits."""
    return wire.GetEntitlementsStateV2Response(
        entitlements=[answer_v2(each) for each in found], access_denied_reason=_reason_of_list(found)
    )


def _reason_of_list(found: Entitlements) -> wire.AccessDeniedReason | None:
    return None if found.reason is None else messages.REASONS[found.reason]


def _mismatches(found: Entitlement) -> bool:
    """Whether the feature is of another type: then the values are the fallback's, and there is no access."""
    return found.reason is DeniedReason.FEATURE_TYPE_MISMATCH


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
        **_fallen_back(fallback.grants()), entitlement=_numeric_fallback(fallback)
    )


def metered_fallback(feature: str, fallback: Fallback, usage: float) -> wire.GetMeteredEntitlementResponse:
    """Answer a read of a metered feature by a fallback."""
    return wire.GetMeteredEntitlementResponse(
        **_fallen_back(fallback.grants(usage)), requested_usage=usage, entitlement=_metered_fallback(fallback)
    )


def enum_fallback(feature: str, fallback: Fallback, values: Sequence[str]) -> wire.GetEnumEntitlementResponse:
    """Answer a read of an enum feature by a fallback."""
    return wire.GetEnumEntitlementResponse(
        **_fallen_back(fallback.grants(0.0, values)),
        requested_values=values,
        entitlement=wire.EnumEntitlement(enum_values=fallback.enum_values),
    )


def fallback_answer(
    feature: str, fallback: Fallback, usage: float, values: Sequence[str]
) -> wire.GetEntitlementResponse:
    """Answer a read of a feature of any kind by a fallback, as the kind whose values it has."""
    has_access = fallback.grants(usage, values)
    shown: Any = _fallback_of_any_kind(feature, fallback, has_access=has_access)
    return wire.GetEntitlementResponse(**_fallen_back(has_access), **shown)


def fallback_answer_v2(feature: str, fallback: Fallback, usage: float, values: Sequence[str]) -> wire.EntitlementV2:
    """The same in the message of the second version."""
    has_access = fallback.grants(usage, values)
    shown: Any = _fallback_of_any_kind(feature, fallback, has_access=has_access)
    return wire.EntitlementV2(**_fallen_back(has_access), **shown)


def _fallen_back(has_access: bool) -> dict[str, Any]:
    reason = None if has_access else _UNKNOWN
    return {"has_access": has_access, "is_fallback": True, "access_denied_reason": reason}


def _fallback_of_any_kind(feature: str, fallback: Fallback, *, has_access: bool) -> dict[str, Shown]:
    if fallback.value is not None:
        return {"numeric": _numeric_fallback(fallback)}
    if fallback.usage_limit is not None or fallback.is_unlimited:
        return {"metered": _metered_fallback(fallback)}
    if fallback.enum_values:
        return {"enum": wire.EnumEntitlement(enum_values=fallback.enum_values)}
    return {"boolean": _boolean_fallback(feature, has_access=has_access)}


def _boolean_fallback(feature: str, *, has_access: bool) -> wire.BooleanEntitlement:
    """With the feature where there is access: to the vendor's client in Python, an empty message is none."""
    if not has_access:
        return wire.BooleanEntitlement()
    shown = wire.EntitlementFeature(
        id=feature,
        feature_type=wire.FEATURE_TYPE_BOOLEAN,
        units="",
        units_plural="",
        meter_type=wire.METER_TYPE_NONE,
        is_metered=False,
    )
    return wire.BooleanEntitlement(feature=shown)


def _numeric_fallback(fallback: Fallback) -> wire.NumericEntitlement:
    return wire.NumericEntitlement(value=fallback.value, is_unlimited=fallback.is_unlimited)


def _metered_fallback(fallback: Fallback) -> wire.MeteredEntitlement:
    return wire.MeteredEntitlement(
        usage_limit=fallback.usage_limit,
        is_unlimited=fallback.is_unlimited,
        reset_period=wire.ENTITLEMENT_RESET_PERIOD_UNSPECIFIED,
    )
