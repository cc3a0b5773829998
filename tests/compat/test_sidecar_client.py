"""The vendor's published Sidecar SDK for Python, unmodified: its page's snippets, in the form that it accepts.

The features, units, limits and usage are those of the page. Its periods are of 2023: here they are counted from the
same anchors, to now.
"""

from __future__ import annotations

import asyncio
import datetime as time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import grpclib
import httpx
import pytest
from stigg_sidecar_sdk import (
    AccessDeniedReason,
    ApiConfig,
    BooleanEntitlementFallback,
    BooleanEntitlementOptions,
    EntitlementResetPeriod,
    EnumEntitlementOptions,
    Event,
    EventDimensionValue,
    FeatureType,
    GetBooleanEntitlementRequest,
    GetEntitlementOptions,
    GetEntitlementRequest,
    GetEntitlementsRequest,
    GetEntitlementsStateV2Request,
    GetEntitlementV2Request,
    GetEnumEntitlementRequest,
    GetMeteredEntitlementRequest,
    GetNumericEntitlementRequest,
    MeteredEntitlementOptions,
    MeterType,
    ReloadEntitlementsRequest,
    ReportEventsRequest,
    ReportUsageBulkRequest,
    ReportUsageRequest,
    Stigg,
    UsageUpdateBehavior,
)

from conftest import KEY

T = TypeVar("T")

CUSTOMER, SITE, NOBODY = "customer-demo-01", "site-01", "customer-demo-02"
ANCHOR = time.datetime(2023, 7, 21, tzinfo=time.UTC)
REGIONS, CREDITS, TEAM_FEATURE = "feature-example-10", "currency-credits", "feature-example-9"

# Feature → its type, units, meter, and what the plan says of it.
FEATURES: dict[str, tuple[str, str, str, str, dict[str, Any] | None]] = {
    "feature-example-1": ("BOOLEAN", "", "", "None", {}),
    "feature-example-2": ("NUMBER", "request", "requests", "None", {"usageLimit": 100}),
    "feature-example-3": ("NUMBER", "request", "requests", "INCREMENTAL", {"usageLimit": 1000, "resetPeriod": "MONTH"}),
    "feature-example-4": ("NUMBER", "template", "templates", "FLUCTUATING", {"usageLimit": 6}),
    "feature-example-5": ("NUMBER", "MB", "MB", "None", {"usageLimit": 100}),
    "feature-example-7": ("BOOLEAN", "", "", "None", None),
    "feature-example-8": ("BOOLEAN", "", "", "None", {}),
    TEAM_FEATURE: (
        "NUMBER",
        "active user",
        "active users",
        "INCREMENTAL",
        {"usageLimit": 25000, "resetPeriod": "MONTH"},
    ),
    REGIONS: ("ENUM", "", "", "None", {"enumValues": ["eu", "us"]}),
}


class Sync:
    """The SDK on one event loop, with answers that are waited for."""

    def __init__(self, port: int) -> None:
        self._runner = asyncio.Runner()

        async def make() -> Stigg:
            return Stigg(ApiConfig(api_key=KEY), remote_sidecar_host="localhost", remote_sidecar_port=port)

        self.stigg = self._runner.run(make())

    def run(self, call: Callable[[Stigg], Awaitable[T]]) -> T:
        async def wait() -> T:
            return await call(self.stigg)

        return self._runner.run(wait())

    def close(self) -> None:
        async def end() -> None:
            self.stigg.close()

        self._runner.run(end())
        self._runner.close()


@pytest.fixture(scope="session")
def rest(base_url: str) -> Iterator[httpx.Client]:
    """Set up by the REST API, as the SDK itself has no calls that do."""
    with httpx.Client(base_url=base_url, headers={"X-API-KEY": KEY}, timeout=60) as client:

        def send(method: str, path: str, body: Any) -> None:
            answer = client.request(method, path, json=body)
            assert answer.status_code in (200, 201), answer.text

        for id, (kind, unit, units, meter, _) in FEATURES.items():
            body: dict[str, Any] = {"id": id, "displayName": id, "featureType": kind, "meterType": meter}
            body |= {"featureUnits": unit, "featureUnitsPlural": units} if unit else {}
            if kind == "ENUM":
                body["enumConfiguration"] = [{"value": each, "displayName": each} for each in ("eu", "us", "asia")]
            send("POST", "/api/v1/features", body)
        send("POST", "/api/v1/credits/custom-currencies", {"id": CREDITS, "displayName": "Credits"})
        send("POST", "/api/v1/plans", {"id": "plan", "displayName": "Plan", "productId": "product"})
        said = [{"id": id, "type": "FEATURE", **terms} for id, (*_, terms) in FEATURES.items() if terms is not None]
        send("POST", "/api/v1/plans/plan/entitlements", {"entitlements": said})
        send(
            "PUT",
            "/api/v1/entity-types",
            {"types": [{"id": "team", "displayName": "Team", "attributionKeys": ["teamId"]}]},
        )
        for customer in (CUSTOMER, NOBODY):
            send("POST", "/api/v1/customers", {"id": customer})
        send("PUT", f"/api/v1/customers/{CUSTOMER}/resources/{SITE}", {})
        subscription = {"customerId": CUSTOMER, "planId": "plan", "startDate": "2023-07-21T00:00:00Z"}
        send("POST", "/api/v1/subscriptions", subscription)
        send("PUT", f"/api/v1/customers/{CUSTOMER}/entities", {"entities": [{"id": "42", "entityTypeId": "team"}]})
        budget = {"entityId": "42", "featureId": TEAM_FEATURE, "usageLimit": 100, "cadence": "P1M"}
        send("PUT", f"/api/v1/customers/{CUSTOMER}/entities/entitlements", {"assignments": [budget]})
        grant = {
            "customerId": CUSTOMER,
            "currencyId": CREDITS,
            "amount": 100,
            "displayName": "Trial",
            "grantType": "PROMOTIONAL",
        }
        send("POST", "/api/v1/credits/grants", grant)
        yield client


@pytest.fixture(scope="session")
def sdk(rest: httpx.Client, grpc_port: int) -> Iterator[Sync]:
    made = Sync(grpc_port)
    yield made
    made.close()


def period_of_now() -> tuple[time.datetime, time.datetime]:
    """The month, counted from the 21st, that it is now."""
    now = time.datetime.now(time.UTC)
    year, month = (now.year, now.month) if now.day >= ANCHOR.day else (now.year, now.month - 1)
    start, end = (ANCHOR.replace(year=year + months // 12, month=months % 12 + 1) for months in (month - 1, month))
    return start, end


def same_feature(feature: Any, id: str) -> None:
    kind, unit, units, meter, _ = FEATURES[id]
    assert (feature.id, feature.feature_type) == (id, getattr(FeatureType, f"FEATURE_TYPE_{kind}"))
    assert (feature.units, feature.units_plural) == (unit, units)
    assert feature.meter_type == getattr(MeterType, f"METER_TYPE_{meter.upper()}")
    assert feature.is_metered is (meter != "None")


def granted(answer: Any) -> None:
    assert (answer.has_access, answer.is_fallback, answer.access_denied_reason) == (True, False, None)


def denied(answer: Any, reason: str) -> None:
    assert (answer.has_access, answer.is_fallback) == (False, False)
    assert answer.access_denied_reason == getattr(AccessDeniedReason, f"ACCESS_DENIED_REASON_{reason}")


# Getting the entitlement of a customer to a specific feature.


def test_generic_boolean(sdk: Sync) -> None:
    request = GetEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-1", resource_id=SITE)
    answer = sdk.run(lambda stigg: stigg.get_entitlement(request))
    granted(answer)
    assert answer.boolean  # what the page tells users to ask: an empty message would be falsy
    assert not answer.numeric
    assert not answer.metered
    same_feature(answer.boolean.feature, "feature-example-1")


def test_generic_numeric(sdk: Sync) -> None:
    request = GetEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-2", resource_id=SITE)
    answer = sdk.run(lambda stigg: stigg.get_entitlement(request))
    granted(answer)
    assert not answer.boolean
    assert answer.numeric
    same_feature(answer.numeric.feature, "feature-example-2")
    assert (answer.numeric.value, answer.numeric.is_unlimited) == (100, False)


def test_generic_metered(sdk: Sync) -> None:
    report = ReportUsageRequest(
        customer_id=CUSTOMER,
        feature_id="feature-example-3",
        value=250,
        resource_id=SITE,
        update_behavior=UsageUpdateBehavior.USAGE_UPDATE_BEHAVIOR_SET,
    )
    sdk.run(lambda stigg: stigg.report_usage(report))
    request = GetEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-3", resource_id=SITE)
    answer = sdk.run(lambda stigg: stigg.get_entitlement(request))
    granted(answer)
    assert not answer.boolean
    assert not answer.numeric
    metered = answer.metered
    same_feature(metered.feature, "feature-example-3")
    assert (metered.usage_limit, metered.is_unlimited, metered.current_usage) == (1000, False, 250)
    assert metered.reset_period == EntitlementResetPeriod.ENTITLEMENT_RESET_PERIOD_MONTH
    assert metered.usage_period_anchor == ANCHOR
    assert (metered.usage_period_start, metered.usage_period_end) == period_of_now()
    assert metered.has_soft_limit is False
    asked = GetEntitlementRequest(
        customer_id=CUSTOMER,
        feature_id="feature-example-3",
        resource_id=SITE,
        options=GetEntitlementOptions(requested_usage=751),
    )
    denied(sdk.run(lambda stigg: stigg.get_entitlement(asked)), "REQUESTED_USAGE_EXCEEDING_LIMIT")


# Checking the entitlement of a boolean feature.


def test_boolean(sdk: Sync) -> None:
    request = GetBooleanEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-8", resource_id=SITE)
    answer = sdk.run(lambda stigg: stigg.get_boolean_entitlement(request))
    granted(answer)
    same_feature(answer.entitlement.feature, "feature-example-8")


def test_boolean_without_access(sdk: Sync) -> None:
    request = GetBooleanEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-7", resource_id=SITE)
    answer = sdk.run(lambda stigg: stigg.get_boolean_entitlement(request))
    denied(answer, "NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION")
    assert answer.entitlement.feature is None


def test_a_fallback_of_the_request_is_not_used_while_there_is_data(sdk: Sync) -> None:
    request = GetBooleanEntitlementRequest(
        customer_id=CUSTOMER,
        feature_id="feature-example-7",
        options=BooleanEntitlementOptions(fallback=BooleanEntitlementFallback(has_access=True)),
    )
    denied(sdk.run(lambda stigg: stigg.get_boolean_entitlement(request)), "NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION")


# Checking the entitlement of a numeric configuration feature.


def test_numeric(sdk: Sync) -> None:
    request = GetNumericEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-5", resource_id=SITE)
    answer = sdk.run(lambda stigg: stigg.get_numeric_entitlement(request))
    granted(answer)
    same_feature(answer.entitlement.feature, "feature-example-5")
    assert (answer.entitlement.value, answer.entitlement.is_unlimited) == (100, False)


def test_numeric_without_access(sdk: Sync) -> None:
    request = GetNumericEntitlementRequest(customer_id=NOBODY, feature_id="feature-example-5")
    answer = sdk.run(lambda stigg: stigg.get_numeric_entitlement(request))
    denied(answer, "NO_ACTIVE_SUBSCRIPTION")
    assert (answer.entitlement.feature, answer.entitlement.value, answer.entitlement.is_unlimited) == (
        None,
        None,
        False,
    )


# Checking if a customer has access to a metered feature.


@pytest.fixture
def three_of_six(sdk: Sync) -> Sync:
    """Three templates are used of six, as on the page."""
    report = ReportUsageRequest(
        customer_id=CUSTOMER,
        feature_id="feature-example-4",
        value=3,  # Usage amount
        update_behavior=UsageUpdateBehavior.USAGE_UPDATE_BEHAVIOR_SET,
        resource_id=SITE,
    )
    answer = sdk.run(lambda stigg: stigg.report_usage(report))
    assert uuid.UUID(answer.measurement_id)
    assert (answer.customer_id, answer.resource_id, answer.feature_id) == (CUSTOMER, SITE, "feature-example-4")
    assert (answer.current_usage, answer.usage_period_start, answer.usage_period_end) == (3, None, None)
    return sdk


@pytest.mark.parametrize(
    ("usage", "echoed", "fits"), [(None, 0.0, True), (1, 1.0, True), (3, 3.0, True), (10, 10.0, False)]
)
def test_metered(three_of_six: Sync, usage: float | None, echoed: float, fits: bool) -> None:
    request = GetMeteredEntitlementRequest(customer_id=CUSTOMER, feature_id="feature-example-4", resource_id=SITE)
    if usage is not None:
        request.options = MeteredEntitlementOptions(requested_usage=usage)
    answer = three_of_six.run(lambda stigg: stigg.get_metered_entitlement(request))
    if fits:
        granted(answer)
    else:
        denied(answer, "REQUESTED_USAGE_EXCEEDING_LIMIT")
    assert answer.requested_usage == echoed
    found = answer.entitlement
    same_feature(found.feature, "feature-example-4")
    assert (found.usage_limit, found.is_unlimited, found.current_usage) == (6.0, False, 3.0)
    assert found.reset_period == EntitlementResetPeriod.ENTITLEMENT_RESET_PERIOD_UNSPECIFIED
    assert (found.usage_period_anchor, found.usage_period_start, found.usage_period_end) == (None, None, None)


def test_metered_without_access(sdk: Sync) -> None:
    request = GetMeteredEntitlementRequest(
        customer_id=NOBODY, feature_id="feature-example-4", options=MeteredEntitlementOptions(requested_usage=1)
    )
    answer = sdk.run(lambda stigg: stigg.get_metered_entitlement(request))
    denied(answer, "NO_ACTIVE_SUBSCRIPTION")
    found = answer.entitlement
    assert (answer.requested_usage, found.feature, found.usage_limit) == (1.0, None, None)
    assert (found.is_unlimited, found.current_usage) == (False, 0.0)
    assert found.reset_period == EntitlementResetPeriod.ENTITLEMENT_RESET_PERIOD_UNSPECIFIED
    assert (found.usage_period_anchor, found.usage_period_start, found.usage_period_end) == (None, None, None)


def test_enum(sdk: Sync) -> None:
    for values, fits in (([], True), (["eu"], True), (["asia"], False)):
        request = GetEnumEntitlementRequest(
            customer_id=CUSTOMER, feature_id=REGIONS, options=EnumEntitlementOptions(requested_values=values)
        )
        answer = sdk.run(lambda stigg, request=request: stigg.get_enum_entitlement(request))
        if fits:
            granted(answer)
        else:
            denied(answer, "REQUESTED_VALUES_MISMATCH")
        assert (answer.requested_values, answer.entitlement.enum_values) == (values, ["eu", "us"])
        same_feature(answer.entitlement.feature, REGIONS)


# Getting all of the entitlements, in both versions, and reloading.


def test_all_entitlements(three_of_six: Sync) -> None:
    answer = three_of_six.run(
        lambda stigg: stigg.get_entitlements(GetEntitlementsRequest(customer_id=CUSTOMER, resource_id=SITE))
    )
    assert answer.access_denied_reason is None
    found = {}
    for each in answer.entitlements:
        shown = next(part for part in (each.boolean, each.numeric, each.metered, each.enum) if part)
        same_feature(shown.feature, shown.feature.id)
        found[shown.feature.id] = shown
    assert found.keys() == {id for id, (*_, terms) in FEATURES.items() if terms is not None}
    assert (found["feature-example-4"].usage_limit, found["feature-example-4"].current_usage) == (6, 3)
    assert found["feature-example-9"].usage_limit == 25000
    assert (
        found["feature-example-9"].usage_period_start,
        found["feature-example-9"].usage_period_end,
    ) == period_of_now()
    assert found["feature-example-5"].value == 100
    assert found[REGIONS].enum_values == ["eu", "us"]


def test_all_entitlements_of_nobody(sdk: Sync) -> None:
    answer = sdk.run(lambda stigg: stigg.get_entitlements(GetEntitlementsRequest(customer_id="customer-none")))
    assert answer.entitlements == []
    assert answer.access_denied_reason == AccessDeniedReason.ACCESS_DENIED_REASON_CUSTOMER_NOT_FOUND


def test_state_and_credits_in_the_second_version(sdk: Sync) -> None:
    state = sdk.run(lambda stigg: stigg.get_entitlements_state_v2(GetEntitlementsStateV2Request(customer_id=CUSTOMER)))
    assert state.access_denied_reason is None
    (credit,) = [each for each in state.entitlements if each.credit]
    granted(credit)
    one = sdk.run(
        lambda stigg: stigg.get_entitlement_v2(
            GetEntitlementV2Request(
                customer_id=CUSTOMER, currency_id=CREDITS, options=GetEntitlementOptions(requested_usage=100)
            )
        )
    ).entitlement
    granted(one)
    for shown in (credit.credit, one.credit):
        assert (shown.currency.currency_id, shown.currency.display_name) == (CREDITS, "Credits")
        assert (shown.usage_limit, shown.current_usage, shown.remaining) == (100, 0, 100)
        assert (shown.has_soft_limit, shown.usage_period_end) == (False, None)
    too_much = GetEntitlementV2Request(
        customer_id=CUSTOMER, currency_id=CREDITS, options=GetEntitlementOptions(requested_usage=101)
    )
    denied(sdk.run(lambda stigg: stigg.get_entitlement_v2(too_much)).entitlement, "INSUFFICIENT_CREDITS")
    feature = GetEntitlementV2Request(customer_id=CUSTOMER, feature_id="feature-example-8")
    assert sdk.run(lambda stigg: stigg.get_entitlement_v2(feature)).entitlement.boolean


def test_reloading_is_read_after_write(sdk: Sync, rest: httpx.Client) -> None:
    customer = f"customer-{uuid.uuid4().hex}"
    asked = GetBooleanEntitlementRequest(customer_id=customer, feature_id="feature-example-8")
    reload = ReloadEntitlementsRequest(customer_id=customer)
    assert not sdk.run(lambda stigg: stigg.reload_entitlements(reload)).entitled_entity_exists
    denied(sdk.run(lambda stigg: stigg.get_boolean_entitlement(asked)), "CUSTOMER_NOT_FOUND")
    assert rest.post("/api/v1/customers", json={"id": customer}).status_code == 201
    assert rest.post("/api/v1/subscriptions", json={"customerId": customer, "planId": "plan"}).status_code == 201
    assert sdk.run(lambda stigg: stigg.reload_entitlements(reload)).entitled_entity_exists
    granted(sdk.run(lambda stigg: stigg.get_boolean_entitlement(asked)))


# Reporting usage measurements.


def test_reports_add_set_and_come_in_bulks(three_of_six: Sync) -> None:
    by_two = ReportUsageRequest(customer_id=CUSTOMER, feature_id="feature-example-4", value=2, resource_id=SITE)
    assert three_of_six.run(lambda stigg: stigg.report_usage(by_two)).current_usage == 5
    to_three = ReportUsageRequest(
        customer_id=CUSTOMER,
        feature_id="feature-example-4",
        value=3,
        update_behavior=UsageUpdateBehavior.USAGE_UPDATE_BEHAVIOR_SET,
        resource_id=SITE,
    )
    assert three_of_six.run(lambda stigg: stigg.report_usage(to_three)).current_usage == 3
    bulk = ReportUsageBulkRequest(usages=[by_two, to_three])
    answer = three_of_six.run(lambda stigg: stigg.report_usage_bulk(bulk))
    assert [each.current_usage for each in answer.usages] == [5, 3]
    assert all(uuid.UUID(each.measurement_id) for each in answer.usages)


def test_dimensions_reach_the_budgets_of_entities(sdk: Sync, rest: httpx.Client) -> None:
    report = ReportUsageRequest(
        customer_id=CUSTOMER,
        feature_id=TEAM_FEATURE,
        value=7,
        dimensions={"teamId": EventDimensionValue(number_value=42), "beta": EventDimensionValue(boolean_value=False)},
        timestamp=time.datetime.now(time.UTC),
    )
    answer = sdk.run(lambda stigg: stigg.report_usage(report))
    assert (answer.usage_period_start, answer.usage_period_end) == period_of_now()
    checked = rest.get(
        f"/api/v1/customers/{CUSTOMER}/entitlements/check?featureId={TEAM_FEATURE}&dimensions[teamId]=42"
    ).json()["data"]
    ((budget,),) = checked["chains"]
    assert (budget["entityId"], budget["currentUsage"]) == ("42", 7)


def test_what_cannot_be_counted_is_a_grpc_error(sdk: Sync) -> None:
    for report, status in (
        (ReportUsageRequest(customer_id="customer-none", feature_id="feature-example-4", value=1), "NOT_FOUND"),
        (ReportUsageRequest(customer_id=CUSTOMER, feature_id="feature-example-1", value=1), "INVALID_ARGUMENT"),
    ):
        with pytest.raises(grpclib.exceptions.GRPCError) as caught:
            sdk.run(lambda stigg, report=report: stigg.report_usage(report))
        assert caught.value.status is getattr(grpclib.const.Status, status)
        assert caught.value.message


def test_raw_events_are_refused_and_say_so(sdk: Sync) -> None:
    event = Event(
        customer_id=CUSTOMER,
        resource_id=SITE,
        event_name="user_login",
        idempotency_key="227c1b73-883a-457b-b715-6ba5a2c69ce4",
        dimensions={
            "user_id": EventDimensionValue(string_value="user-01"),
            "user_email": EventDimensionValue(string_value="john@example.com"),
        },
        timestamp=time.datetime.now(time.UTC),
    )
    with pytest.raises(grpclib.exceptions.GRPCError) as caught:
        sdk.run(lambda stigg: stigg.report_events(ReportEventsRequest(events=[event])))
    assert caught.value.status is grpclib.const.Status.UNIMPLEMENTED
    assert "raw events" in str(caught.value.message)
