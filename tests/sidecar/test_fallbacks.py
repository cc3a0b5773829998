"""What is answered where no data can be had: the request's own fallback, that of the feature, or no access."""

from __future__ import annotations

from typing import Any, Final

import grpc
import pytest

from behaviour.readings import found_full_shop
from behaviour.world import ACME, REGIONS, RETENTION, SSO, TOKENS
from headgate import EnvironmentNotReady, InvalidInput, NotFound, Unavailable
from headgate.errors import ConfigurationKeepsChanging, EnvironmentMismatch
from headgate.sidecar.fallback import Fallback, WithoutData, read_fallbacks
from headgate.sidecar.protocol import sidecar_pb2 as wire
from sidecar.conftest import Opening, fields_of

UNKNOWN: Final = wire.ACCESS_DENIED_REASON_UNKNOWN
NO_DATA: Final = (
    Unavailable("away"),
    EnvironmentNotReady("blank"),
    EnvironmentMismatch("another clock"),
    ConfigurationKeepsChanging("all the time"),
)

# Call, request, what it carries of values: what is answered without any fallback.
READS: Final[dict[str, tuple[Any, Any]]] = {
    "GetBooleanEntitlement": (wire.GetBooleanEntitlementRequest(customer_id=ACME, feature_id=SSO), {}),
    "GetNumericEntitlement": (wire.GetNumericEntitlementRequest(customer_id=ACME, feature_id=RETENTION), {}),
    "GetMeteredEntitlement": (
        wire.GetMeteredEntitlementRequest(
            customer_id=ACME, feature_id=TOKENS, options=wire.MeteredEntitlementOptions(requested_usage=5)
        ),
        {"requested_usage": 5, "entitlement": {"reset_period": 0}},
    ),
    "GetEnumEntitlement": (
        wire.GetEnumEntitlementRequest(
            customer_id=ACME, feature_id=REGIONS, options=wire.EnumEntitlementOptions(requested_values=["eu"])
        ),
        {"requested_values": ["eu"]},
    ),
    "GetEntitlement": (wire.GetEntitlementRequest(customer_id=ACME, feature_id=SSO), {"boolean": {}}),
}


class Away:
    """An engine that has no data."""

    def __init__(self, error: Exception = NO_DATA[0]) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def read(*args: Any, **named: Any) -> Any:
            raise self._error

        return read


@pytest.mark.parametrize("error", NO_DATA, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", READS)
async def test_without_a_fallback_there_is_no_access(opening: Opening, call: str, error: Exception) -> None:
    sidecar = await opening(engine=Away(error))
    request, echoed = READS[call]
    found = fields_of(await getattr(sidecar.stub, call)(request))
    assert found == {"is_fallback": True, "access_denied_reason": UNKNOWN, "entitlement": {}, **echoed} or (
        found == {"is_fallback": True, "access_denied_reason": UNKNOWN, **echoed}
    )
    assert sidecar.series("headgate_grpc_fallbacks_total") == 1


@pytest.mark.parametrize("call", READS)
async def test_where_errors_are_wanted_it_is_one_unless_a_fallback_was_set(opening: Opening, call: str) -> None:
    request, _ = READS[call]
    sidecar = await opening(engine=Away(), without_data=WithoutData.ERROR)
    assert (await sidecar.refused(call, request))[0] is grpc.StatusCode.UNAVAILABLE
    told = await opening(
        engine=Away(), without_data=WithoutData.ERROR, fallbacks={request.feature_id: Fallback(has_access=True)}
    )
    found = await getattr(told.stub, call)(request)
    assert (found.has_access, found.is_fallback, found.HasField("access_denied_reason")) == (True, True, False)


async def test_the_fallback_of_a_request_goes_before_that_of_its_feature(opening: Opening) -> None:
    sidecar = await opening(engine=Away(), fallbacks={SSO: Fallback(has_access=True)})
    request = wire.GetBooleanEntitlementRequest(customer_id=ACME, feature_id=SSO)
    found = await sidecar.stub.GetBooleanEntitlement(request)
    assert (found.has_access, found.entitlement.feature.id) == (True, SSO)  # an empty message is falsy in one client
    request.options.fallback.has_access = False
    found = await sidecar.stub.GetBooleanEntitlement(request)
    assert (found.has_access, found.access_denied_reason) == (False, UNKNOWN)


async def test_values_of_a_fallback_are_answered_and_what_is_asked_for_has_to_fit_them(opening: Opening) -> None:
    fallbacks = read_fallbacks(
        {
            RETENTION: {"hasAccess": True, "value": 30},
            TOKENS: {"hasAccess": True, "usageLimit": 100},
            REGIONS: {"hasAccess": True, "enumValues": ["eu"]},
        }
    )
    sidecar = await opening(engine=Away(), fallbacks=fallbacks)
    numeric = await sidecar.stub.GetNumericEntitlement(
        wire.GetNumericEntitlementRequest(customer_id=ACME, feature_id=RETENTION)
    )
    assert (numeric.has_access, numeric.is_fallback, numeric.entitlement.value) == (True, True, 30)
    for usage, granted in ((100, True), (100.5, False)):
        options = wire.MeteredEntitlementOptions(requested_usage=usage)
        found = await sidecar.stub.GetMeteredEntitlement(
            wire.GetMeteredEntitlementRequest(customer_id=ACME, feature_id=TOKENS, options=options)
        )
        assert (found.has_access, found.is_fallback, found.requested_usage) == (granted, True, usage)
        assert found.entitlement.usage_limit == 100
    for values, granted in ((["eu"], True), (["us"], False), ([], True)):
        enum_options = wire.EnumEntitlementOptions(requested_values=values)
        enum = await sidecar.stub.GetEnumEntitlement(
            wire.GetEnumEntitlementRequest(customer_id=ACME, feature_id=REGIONS, options=enum_options)
        )
        assert (enum.has_access, list(enum.entitlement.enum_values)) == (granted, ["eu"])
    for feature, kind in ((RETENTION, "numeric"), (TOKENS, "metered"), (REGIONS, "enum"), (SSO, "boolean")):
        generic = await sidecar.stub.GetEntitlement(wire.GetEntitlementRequest(customer_id=ACME, feature_id=feature))
        second = await sidecar.stub.GetEntitlementV2(wire.GetEntitlementV2Request(customer_id=ACME, feature_id=feature))
        assert generic.WhichOneof("entitlement") == second.entitlement.WhichOneof("entitlement") == kind
        assert generic.is_fallback
        assert second.entitlement.is_fallback
    credits = await sidecar.stub.GetEntitlementV2(wire.GetEntitlementV2Request(customer_id=ACME, currency_id="c"))
    assert (credits.entitlement.has_access, credits.entitlement.is_fallback) == (False, True)


@pytest.mark.parametrize("call", ["GetEntitlements", "GetEntitlementsStateV2", "ReloadEntitlements"])
async def test_what_cannot_say_that_it_is_a_fallback_is_an_error(opening: Opening, call: str) -> None:
    sidecar = await opening(engine=Away())
    request = {
        "GetEntitlements": wire.GetEntitlementsRequest(customer_id=ACME),
        "GetEntitlementsStateV2": wire.GetEntitlementsStateV2Request(customer_id=ACME),
        "ReloadEntitlements": wire.ReloadEntitlementsRequest(customer_id=ACME),
    }[call]
    assert (await sidecar.refused(call, request))[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("error", [NotFound("customer", "x"), InvalidInput.of("customer", "x", "is bad")])
async def test_no_other_error_becomes_a_fallback(opening: Opening, error: Exception) -> None:
    sidecar = await opening(engine=Away(error), fallbacks={SSO: Fallback(has_access=True)})
    for call, (request, _) in READS.items():
        status, _, _ = await sidecar.refused(call, request)
        assert status in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


async def test_where_data_can_be_had_no_fallback_is_used(opening: Opening) -> None:
    await found_full_shop(opening.target.engine)
    sidecar = await opening(fallbacks={"feature-none": Fallback(has_access=True), SSO: Fallback()})
    for feature, granted in (("feature-none", False), (SSO, True)):
        found = await sidecar.stub.GetBooleanEntitlement(
            wire.GetBooleanEntitlementRequest(customer_id=ACME, feature_id=feature)
        )
        assert (found.has_access, found.is_fallback) == (granted, False)


def test_fallbacks_are_read_from_the_vendors_json() -> None:
    text = '{"sso": {"hasAccess": true}, "tokens": {"hasAccess": true, "usageLimit": 5.5, "isUnlimited": false}}'
    assert read_fallbacks(text) == {
        "sso": Fallback(has_access=True),
        "tokens": Fallback(has_access=True, usage_limit=5.5),
    }
    assert read_fallbacks(None) == read_fallbacks("") == read_fallbacks("{}") == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "must be an object"),
        ('{"a b": {}}', "'a b'"),
        ('{"sso": true}', "entitlements_fallback.sso"),
        ('{"sso": {"access": true}}', "entitlements_fallback.sso.access"),
        ('{"sso": {"hasAccess": "yes"}}', "entitlements_fallback.sso.hasAccess"),
        ('{"sso": {"usageLimit": -1}}', "entitlements_fallback.sso.usageLimit"),
        ('{"sso": {"value": 3000000000}}', "entitlements_fallback.sso.value"),
    ],
)
def test_what_is_no_fallback_is_refused_by_its_place(given: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_fallbacks(given)
    assert said in str(caught.value)
