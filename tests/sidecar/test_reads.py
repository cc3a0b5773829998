"""What a read is answered: every reason, the kinds of features, credits, and what is malformed."""

from __future__ import annotations

from typing import Any, Final

import grpc
import pytest

from behaviour.commerce import COINS, CREDITS, SITE, give
from behaviour.readings import PAID, found_full_shop, put_plan
from behaviour.world import ACME, REGIONS, RETENTION, SEATS, SSO, TOKENS
from headgate import DeniedReason
from headgate.sidecar import messages
from headgate.sidecar.protocol import sidecar_pb2 as wire
from sidecar.conftest import Sidecar, fields_of

MISMATCH: Final = wire.ACCESS_DENIED_REASON_FEATURE_TYPE_MISMATCH
EXCEEDED: Final = wire.ACCESS_DENIED_REASON_REQUESTED_USAGE_EXCEEDING_LIMIT


def boolean(feature: str = SSO, customer: str = ACME, **more: Any) -> wire.GetBooleanEntitlementRequest:
    return wire.GetBooleanEntitlementRequest(customer_id=customer, feature_id=feature, **more)


def metered(feature: str = TOKENS, usage: float | None = None, **more: Any) -> wire.GetMeteredEntitlementRequest:
    options = None if usage is None else wire.MeteredEntitlementOptions(requested_usage=usage)
    return wire.GetMeteredEntitlementRequest(customer_id=ACME, feature_id=feature, options=options, **more)


async def test_each_kind_is_answered_by_its_own_call_and_by_the_generic_ones(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    for feature, call, request, kind in (
        (SSO, "GetBooleanEntitlement", wire.GetBooleanEntitlementRequest, "boolean"),
        (RETENTION, "GetNumericEntitlement", wire.GetNumericEntitlementRequest, "numeric"),
        (SEATS, "GetMeteredEntitlement", wire.GetMeteredEntitlementRequest, "metered"),
        (REGIONS, "GetEnumEntitlement", wire.GetEnumEntitlementRequest, "enum"),
    ):
        typed = await getattr(sidecar.stub, call)(request(customer_id=ACME, feature_id=feature))
        generic = await sidecar.stub.GetEntitlement(wire.GetEntitlementRequest(customer_id=ACME, feature_id=feature))
        second = await sidecar.stub.GetEntitlementV2(wire.GetEntitlementV2Request(customer_id=ACME, feature_id=feature))
        assert (typed.has_access, typed.is_fallback, typed.HasField("access_denied_reason")) == (True, False, False)
        assert typed.entitlement.feature.id == feature
        assert generic.WhichOneof("entitlement") == second.entitlement.WhichOneof("entitlement") == kind
        assert getattr(generic, kind) == typed.entitlement == getattr(second.entitlement, kind)


async def test_an_enum_grants_what_it_has_and_echoes_what_was_asked_for(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    for values, granted in (([], True), (["eu"], True), (["us", "eu"], True), (["eu", "asia"], False)):
        options = wire.EnumEntitlementOptions(requested_values=values)
        request = wire.GetEnumEntitlementRequest(customer_id=ACME, feature_id=REGIONS, options=options)
        found = await sidecar.stub.GetEnumEntitlement(request)
        assert (found.has_access, list(found.requested_values)) == (granted, values)
        assert list(found.entitlement.enum_values) == ["eu", "us"]
        if not granted:
            assert found.access_denied_reason == wire.ACCESS_DENIED_REASON_REQUESTED_VALUES_MISMATCH


async def test_what_exactly_fits_is_granted_and_a_little_more_is_not(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.report(ACME, feature=TOKENS, value=400.5)
    for usage, granted in ((None, True), (599.5, True), (599.50001, False)):
        found = await sidecar.stub.GetMeteredEntitlement(metered(usage=usage))
        assert (found.has_access, found.requested_usage) == (granted, usage or 0)
        assert (found.entitlement.usage_limit, found.entitlement.current_usage) == (1_000, 400.5)
        assert found.HasField("access_denied_reason") is not granted
        assert granted or found.access_denied_reason == EXCEEDED


async def test_what_is_held_counts_as_usage_as_on_every_face(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.report(ACME, feature=TOKENS, value=400)
    await sidecar.engine.reserve(ACME, feature=TOKENS, amount=100)
    assert (await sidecar.stub.GetMeteredEntitlement(metered(usage=500))).has_access
    found = await sidecar.stub.GetMeteredEntitlement(metered(usage=501))
    assert (found.has_access, found.entitlement.current_usage) == (False, 500)


async def test_soft_and_unlimited_limits_do_not_refuse(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await put_plan(sidecar.engine, tokens={"has_soft_limit": True})
    soft = await sidecar.stub.GetMeteredEntitlement(metered(usage=5_000))
    assert (soft.has_access, soft.entitlement.has_soft_limit, soft.entitlement.usage_limit) == (True, True, 1_000)
    await put_plan(sidecar.engine, tokens={"usage_limit": None, "has_unlimited_usage": True})
    unlimited = await sidecar.stub.GetMeteredEntitlement(metered(usage=5_000))
    assert (unlimited.has_access, unlimited.entitlement.is_unlimited) == (True, True)
    assert not unlimited.entitlement.HasField("usage_limit")


async def denied(sidecar: Sidecar, **request: Any) -> wire.AccessDeniedReason:
    found = await sidecar.stub.GetBooleanEntitlement(boolean(**request))
    assert (found.has_access, found.is_fallback) == (False, False)
    assert found.HasField("entitlement")
    assert not found.entitlement.HasField("feature")
    reason: wire.AccessDeniedReason = found.access_denied_reason
    return reason


async def test_every_reason_has_its_number(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.customers.put("cus-new")
    assert await denied(sidecar, customer="nobody") == 3
    assert await denied(sidecar, resource_id="site-99") == 4
    assert await denied(sidecar, feature="feature-none") == 5
    assert await denied(sidecar, customer="cus-new") == 6
    assert await denied(sidecar, feature=RETENTION) == 11
    await sidecar.engine.customers.grant_entitlement("cus-new", {"feature": SSO})
    await sidecar.engine.customers.revoke_entitlement("cus-new", feature=SSO)
    assert await denied(sidecar, customer="cus-new") == 13
    await sidecar.engine.catalog.put_features([{"id": "feature-beta", "feature_type": "BOOLEAN"}])
    assert await denied(sidecar, feature="feature-beta") == 7
    await sidecar.engine.customers.archive(ACME)
    assert await denied(sidecar) == 2
    credits = wire.GetEntitlementV2Request(customer_id="cus-new", currency_id="currency-none")
    assert (await sidecar.stub.GetEntitlementV2(credits)).entitlement.access_denied_reason == 14


def test_no_reason_is_left_out() -> None:
    assert messages.REASONS.keys() == set(DeniedReason)
    assert sorted(messages.REASONS.values()) == list(range(1, 15))


async def test_a_typed_call_on_another_type_never_grants_and_shows_the_values_of_its_fallback(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    generous = wire.MeteredEntitlementFallback(has_access=True, usage_limit=7)
    found = await sidecar.stub.GetMeteredEntitlement(
        wire.GetMeteredEntitlementRequest(
            customer_id=ACME, feature_id=SSO, options=wire.MeteredEntitlementOptions(fallback=generous)
        )
    )
    assert (found.has_access, found.is_fallback, found.access_denied_reason) == (False, False, MISMATCH)
    assert (found.entitlement.usage_limit, found.entitlement.HasField("feature")) == (7, False)
    for call, request in (
        ("GetNumericEntitlement", wire.GetNumericEntitlementRequest(customer_id=ACME, feature_id=TOKENS)),
        ("GetEnumEntitlement", wire.GetEnumEntitlementRequest(customer_id=ACME, feature_id=TOKENS)),
        ("GetMeteredEntitlement", metered(RETENTION)),
    ):
        found = await getattr(sidecar.stub, call)(request)
        assert (found.has_access, found.access_denied_reason) == (False, MISMATCH)
        assert not found.entitlement.HasField("feature")


@pytest.mark.parametrize("value", [2**31, 0.5])
async def test_a_number_that_the_wire_cannot_tell_is_an_error_and_no_other_number(
    sidecar: Sidecar, value: float
) -> None:
    await found_full_shop(sidecar.engine)
    await put_plan(sidecar.engine, days={"usage_limit": value})
    for call, request in (
        ("GetNumericEntitlement", wire.GetNumericEntitlementRequest(customer_id=ACME, feature_id=RETENTION)),
        ("GetEntitlement", wire.GetEntitlementRequest(customer_id=ACME, feature_id=RETENTION)),
    ):
        status, message, _ = await sidecar.refused(call, request)
        assert status is grpc.StatusCode.OUT_OF_RANGE
        assert RETENTION in message
        assert "REST API" in message
    listed = await sidecar.stub.GetEntitlements(wire.GetEntitlementsRequest(customer_id=ACME))
    (untold,) = [each.numeric for each in listed.entitlements if each.numeric.feature.id == RETENTION]
    assert (untold.HasField("value"), untold.is_unlimited) == (False, False)  # and the others are there
    await put_plan(sidecar.engine, days={"usage_limit": 2**31 - 1})
    found = await sidecar.stub.GetNumericEntitlement(
        wire.GetNumericEntitlementRequest(customer_id=ACME, feature_id=RETENTION)
    )
    assert found.entitlement.value == 2**31 - 1


async def test_credits_are_read_by_the_currency_with_every_number(sidecar: Sidecar) -> None:
    engine = sidecar.engine
    await found_full_shop(engine)
    await engine.catalog.put_currencies(
        [{"id": CREDITS, "display_name": "AI credits", "unit_singular": "credit", "metadata": {"tier": "gold"}}]
    )
    await give(engine, 100)
    await engine.report(ACME, currency=CREDITS, value=30)
    request = wire.GetEntitlementV2Request(
        customer_id=ACME, currency_id=CREDITS, options=wire.GetEntitlementOptions(requested_usage=70)
    )
    found = (await sidecar.stub.GetEntitlementV2(request)).entitlement
    assert dict(found.credit.currency.additional_meta_data) == {"tier": "gold"}
    found.credit.currency.ClearField("additional_meta_data")
    assert fields_of(found) == {
        "has_access": True,
        "credit": {
            "currency": {"currency_id": CREDITS, "display_name": "AI credits", "unit_singular": "credit"},
            "usage_limit": 100,
            "current_usage": 30,
            "remaining": 70,
        },
    }
    request.options.requested_usage = 71
    found = (await sidecar.stub.GetEntitlementV2(request)).entitlement
    assert (found.has_access, found.access_denied_reason) == (False, wire.ACCESS_DENIED_REASON_INSUFFICIENT_CREDITS)
    state = await sidecar.stub.GetEntitlementsStateV2(wire.GetEntitlementsStateV2Request(customer_id=ACME))
    assert [each.credit.remaining for each in state.entitlements if each.HasField("credit")] == [70]
    listed = await sidecar.stub.GetEntitlements(wire.GetEntitlementsRequest(customer_id=ACME))
    assert len(listed.entitlements) == len(state.entitlements) - 1
    assert all(each.WhichOneof("entitlement") for each in listed.entitlements)


async def test_a_feature_that_is_paid_in_credits_is_refused_without_them(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    found = await sidecar.stub.GetMeteredEntitlement(metered(PAID, 1))
    assert (found.has_access, found.access_denied_reason) == (False, wire.ACCESS_DENIED_REASON_INSUFFICIENT_CREDITS)
    assert found.entitlement.feature.id == PAID
    await give(sidecar.engine, 10)
    assert (await sidecar.stub.GetMeteredEntitlement(metered(PAID, 4))).has_access
    assert not (await sidecar.stub.GetMeteredEntitlement(metered(PAID, 5))).has_access


async def test_lists_say_why_there_is_nothing(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.customers.put("cus-new")
    for customer, reason in (("nobody", 3), ("cus-new", 6)):
        listed = await sidecar.stub.GetEntitlements(wire.GetEntitlementsRequest(customer_id=customer))
        state = await sidecar.stub.GetEntitlementsStateV2(wire.GetEntitlementsStateV2Request(customer_id=customer))
        for found in (listed, state):
            assert (list(found.entitlements), found.access_denied_reason) == ([], reason)


async def test_reloading_says_whether_there_is_such_a_customer_and_such_a_resource(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.customers.put_resource(ACME, SITE)
    for named, exists in (
        ({"customer_id": ACME}, True),
        ({"customer_id": ACME, "resource_id": SITE}, True),
        ({"customer_id": ACME, "resource_id": "site-99"}, False),
        ({"customer_id": "nobody"}, False),
    ):
        found = await sidecar.stub.ReloadEntitlements(wire.ReloadEntitlementsRequest(**named))
        assert found.entitled_entity_exists is exists
    await sidecar.engine.customers.archive(ACME)
    assert (
        await sidecar.stub.ReloadEntitlements(wire.ReloadEntitlementsRequest(customer_id=ACME))
    ).entitled_entity_exists


async def test_a_resource_is_read_for_itself_and_an_empty_one_is_none(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    await sidecar.engine.customers.put_resource(ACME, SITE)
    await sidecar.engine.report(ACME, feature=TOKENS, resource=SITE, value=7)
    used = [
        (await sidecar.stub.GetMeteredEntitlement(metered(resource_id=resource))).entitlement.current_usage
        for resource in (SITE, "", None)
    ]
    assert used == [7, 0, 0]


@pytest.mark.parametrize(
    ("call", "request_", "field"),
    [
        ("GetBooleanEntitlement", boolean(customer=""), "customer_id: ''"),
        ("GetBooleanEntitlement", boolean(feature="no id"), "feature_id: 'no id'"),
        ("GetBooleanEntitlement", boolean(resource_id="{x}"), "resource_id: '{x}'"),
        ("GetMeteredEntitlement", metered(usage=-1), "options.requested_usage: -1.0"),
        ("GetMeteredEntitlement", metered(usage=float("nan")), "options.requested_usage: nan"),
        ("GetEntitlementV2", wire.GetEntitlementV2Request(customer_id=ACME), "feature_id: None"),
        (
            "GetEntitlementV2",
            wire.GetEntitlementV2Request(customer_id=ACME, feature_id=SSO, currency_id=COINS),
            "give one of both",
        ),
        ("GetEntitlements", wire.GetEntitlementsRequest(), "customer_id: ''"),
        ("ReloadEntitlements", wire.ReloadEntitlementsRequest(customer_id="a b"), "customer_id: 'a b'"),
    ],
)
async def test_what_breaks_a_rule_is_an_error_that_names_the_field_of_the_wire(
    sidecar: Sidecar, call: str, request_: Any, field: str
) -> None:
    await found_full_shop(sidecar.engine)
    status, message, _ = await sidecar.refused(call, request_)
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert field in message


async def test_calls_are_counted_by_method_and_status(sidecar: Sidecar) -> None:
    await found_full_shop(sidecar.engine)
    for _ in range(3):
        await sidecar.stub.GetBooleanEntitlement(boolean())
    await sidecar.refused("GetBooleanEntitlement", boolean(customer=""))
    name = 'headgate_grpc_requests_total{code="%s",method="GetBooleanEntitlement"}'
    assert [sidecar.series(name % code) for code in ("OK", "INVALID_ARGUMENT")] == [3, 1]
