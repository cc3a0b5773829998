"""The service: what each call does. Counting, logging and errors are headgate.sidecar.calls'."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

import grpc
from google.protobuf.empty_pb2 import Empty

from headgate.amounts import parse_amount
from headgate.errors import HeadgateError, InvalidInput
from headgate.model.catalog import Feature
from headgate.model.decision import DeniedReason, Receipt
from headgate.model.entitlement import Entitlement
from headgate.service.numbers import period_span, renewal, standing
from headgate.service.reporting import count, find_counted
from headgate.service.wire_names import wire_names
from headgate.sidecar import answers
from headgate.sidecar.engine import SidecarEngine
from headgate.sidecar.fallback import NO_ACCESS, Fallback, WithoutData
from headgate.sidecar.messages import moment
from headgate.sidecar.problems import NO_DATA, REPORT_NAMES, Refused
from headgate.sidecar.protocol import sidecar_pb2 as wire
from headgate.sidecar.requests import behavior_of, given, record_of, require_bulk, require_reports

Answer = TypeVar("Answer")
AnyFallback = (
    wire.BooleanEntitlementFallback
    | wire.NumericEntitlementFallback
    | wire.MeteredEntitlementFallback
    | wire.EnumEntitlementFallback
    | wire.GetEntitlementFallback
)

EVENTS_TO_COME: Final = (
    "raw events are not counted yet: nothing was. Count the usage that they stand for with ReportUsage, or with "
    "consume in the library and the REST API"
)
OFFLINE: Final = "this sidecar is offline: it answers reads from its document and fallbacks, and counts nothing"
READ_ONLY: Final = "this sidecar was started with --grpc-read-only: it answers reads, and counts nothing"


class Service:
    """The calls of `SidecarService` over one engine; each takes a request and returns its response."""

    def __init__(
        self,
        engine: SidecarEngine,
        *,
        fallbacks: Mapping[str, Fallback],
        without_data: WithoutData,
        is_read_only: bool,
        is_offline: bool,
        fell_back: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._fallbacks = fallbacks
        self._without_data = without_data
        self._is_read_only = is_read_only
        self._is_offline = is_offline
        self._fell_back = fell_back

    async def boolean(self, request: wire.GetBooleanEntitlementRequest) -> wire.GetBooleanEntitlementResponse:
        """Answer access to a boolean feature."""
        feature = request.feature_id
        try:
            found = await self._engine.boolean_entitlement(
                request.customer_id, feature, resource=given(request.resource_id)
            )
        except NO_DATA as error:
            return answers.boolean_fallback(feature, self._fallback(feature, self._own(request), error))
        return answers.boolean_answer(found)

    async def numeric(self, request: wire.GetNumericEntitlementRequest) -> wire.GetNumericEntitlementResponse:
        """Answer the number that is configured of a feature."""
        feature = request.feature_id
        try:
            found = await self._engine.numeric_entitlement(
                request.customer_id, feature, resource=given(request.resource_id)
            )
        except NO_DATA as error:
            return answers.numeric_fallback(feature, self._fallback(feature, self._own(request), error))
        return answers.numeric_answer(found, self._for_mismatch(found, request))

    async def metered(self, request: wire.GetMeteredEntitlementRequest) -> wire.GetMeteredEntitlementResponse:
        """Answer whether so much more of a metered feature may be used; nothing more, if that is not said."""
        feature, usage = request.feature_id, request.options.requested_usage
        try:
            found = await self._engine.metered_entitlement(
                request.customer_id, feature, resource=given(request.resource_id), requested_usage=usage
            )
        except NO_DATA as error:
            fallback = self._fallback(feature, self._own(request), error)
            return answers.metered_fallback(feature, fallback, float(parse_amount(usage)))
        return answers.metered_answer(found, self._for_mismatch(found, request))

    async def enum(self, request: wire.GetEnumEntitlementRequest) -> wire.GetEnumEntitlementResponse:
        """Answer whether values of an enum feature are granted."""
        feature, values = request.feature_id, list(request.options.requested_values)
        try:
            found = await self._engine.enum_entitlement(
                request.customer_id, feature, resource=given(request.resource_id), requested_values=values
            )
        except NO_DATA as error:
            return answers.enum_fallback(feature, self._fallback(feature, self._own(request), error), values)
        return answers.enum_answer(found, self._for_mismatch(found, request))

    async def entitlement(self, request: wire.GetEntitlementRequest) -> wire.GetEntitlementResponse:
        """Answer access to a feature of any kind."""
        feature, usage = request.feature_id, request.options.requested_usage
        values = list(request.options.requested_values)
        try:
            found = await self._engine.entitlement(
                request.customer_id,
                feature,
                resource=given(request.resource_id),
                requested_usage=usage,
                requested_values=values,
            )
        except NO_DATA as error:
            fallback = self._fallback(feature, self._own(request), error)
            return answers.fallback_answer(feature, fallback, float(parse_amount(usage)), values)
        return answers.answer(found)

    async def entitlement_v2(self, request: wire.GetEntitlementV2Request) -> wire.GetEntitlementV2Response:
        """Answer access to a feature of any kind, or to a currency."""
        feature, currency = given(request.feature_id), given(request.currency_id)
        if (feature is None) == (currency is None):
            both = None if feature is None else f"{feature} and {currency}"
            raise InvalidInput.of("feature_id", both, "a read is of a feature or a currency: give one of both")
        usage, values = request.options.requested_usage, list(request.options.requested_values)
        resource = given(request.resource_id)
        try:
            if feature is not None:
                found = await self._engine.entitlement(
                    request.customer_id,
                    feature,
                    resource=resource,
                    requested_usage=usage,
                    requested_values=values,
                )
            else:
                found = await self._engine.credit_entitlement(
                    request.customer_id, currency or "", resource=resource, requested_usage=usage
                )
        except NO_DATA as error:
            fallback = self._fallback(feature or "", self._own(request), error)
            shown = answers.fallback_answer_v2(feature, fallback, float(parse_amount(usage)), values)
            return wire.GetEntitlementV2Response(entitlement=shown)
        return wire.GetEntitlementV2Response(entitlement=answers.answer_v2(found))

    async def entitlements(self, request: wire.GetEntitlementsRequest) -> wire.GetEntitlementsResponse:
        """Answer every feature that a customer is entitled to."""
        found = await self._engine.entitlements(request.customer_id, resource=given(request.resource_id))
        return answers.list_answer(found)

    async def entitlements_state(
        self, request: wire.GetEntitlementsStateV2Request
    ) -> wire.GetEntitlementsStateV2Response:
        """Answer everything that a customer is entitled to."""
        found = await self._engine.entitlements(request.customer_id, resource=given(request.resource_id))
        return answers.state_answer(found)

    async def reload(self, request: wire.ReloadEntitlementsRequest) -> wire.ReloadEntitlementsResponse:
        """Forget what is kept of a customer, and say whether it is there."""
        found = await self._engine.reload(request.customer_id, resource=given(request.resource_id))
        return wire.ReloadEntitlementsResponse(entitled_entity_exists=found.entity_exists)

    async def report(self, request: wire.ReportUsageRequest) -> wire.ReportUsageResponse:
        """Count usage that has happened."""
        self._require_writing()
        with wire_names(REPORT_NAMES):
            (receipt,) = await self._count([request], prefix="")
        return _receipt(request, receipt)

    async def report_bulk(self, request: wire.ReportUsageBulkRequest) -> wire.ReportUsageBulkResponse:
        """Count 1 to 100 reports, in order."""
        self._require_writing()
        with wire_names(REPORT_NAMES):
            require_bulk(request.usages)
            receipts = await self._count(request.usages, prefix="usages[{}].")
        shown = [_receipt(report, receipt) for report, receipt in zip(request.usages, receipts, strict=True)]
        return wire.ReportUsageBulkResponse(usages=shown)

    async def report_events(self, request: wire.ReportEventsRequest) -> Empty:
        """Refuse raw events: an answer would say that they were counted."""
        self._require_writing()
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, EVENTS_TO_COME)

    def _require_writing(self) -> None:
        if self._is_read_only:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, READ_ONLY)
        if self._is_offline:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, OFFLINE)

    async def _count(self, reports: Sequence[wire.ReportUsageRequest], *, prefix: str) -> list[Receipt]:
        places = [prefix.format(index) for index in range(len(reports))]
        require_reports(reports, places)
        wanted = [
            (report.feature_id, behavior_of(report, place).value) for report, place in zip(reports, places, strict=True)
        ]
        named = await find_counted(self._engine, wanted, REPORT_NAMES, prefix=prefix)
        records = [
            record_of(report, of_currency=not isinstance(each, Feature), place=place)
            for report, each, place in zip(reports, named, places, strict=True)
        ]
        return await count(self._engine, records, REPORT_NAMES)

    def _own(self, request: _Read) -> AnyFallback | None:
        """The fallback of the request itself."""
        options = request.options
        return options.fallback if options.HasField("fallback") else None

    def _for_mismatch(self, found: Entitlement, request: _Read) -> Fallback | None:
        """What is shown where the feature is of another type: the values of a fallback, if there is one."""
        if found.reason is not DeniedReason.FEATURE_TYPE_MISMATCH:
            return None
        return self._known_fallback(found.id, self._own(request))

    def _known_fallback(self, feature: str, own: AnyFallback | None) -> Fallback | None:
        """The fallback of the request, else the one that was set for its feature."""
        if own is not None:
            return _fallback_of(own)
        return self._fallbacks.get(feature)

    def _fallback(self, feature: str, own: AnyFallback | None, error: HeadgateError) -> Fallback:
        """What to answer by where no data could be had; raises the error where that is wanted, and nothing was set."""
        known = self._known_fallback(feature, own)
        if known is None and self._without_data is WithoutData.ERROR:
            _raise(error)
        self._fell_back()
        return NO_ACCESS if known is None else known


_Read = (
    wire.GetBooleanEntitlementRequest
    | wire.GetNumericEntitlementRequest
    | wire.GetMeteredEntitlementRequest
    | wire.GetEnumEntitlementRequest
    | wire.GetEntitlementRequest
    | wire.GetEntitlementV2Request
)


def _raise(error: HeadgateError) -> NoReturn:
    raise error


def _fallback_of(sent: AnyFallback) -> Fallback:
    """A fallback as a request brings it; each kind has some of its fields."""
    told = {field.name: value for field, value in sent.ListFields()}
    if "enum_values" in told:
        told["enum_values"] = tuple(told["enum_values"])
    return Fallback.accept(told, "options.fallback")


def _receipt(report: wire.ReportUsageRequest, receipt: Receipt) -> wire.ReportUsageResponse:
    """Say what was counted: the account's counter and its period, or what was used of the wallet."""
    usage: float | None = None
    start = end = None
    if receipt.account is not None:
        state = receipt.account.state
        usage = standing(state.used, state.held)
        start, end = period_span(state.period) or (None, None)
    elif receipt.wallet is not None:
        usage, end = standing(receipt.wallet.used, receipt.wallet.held), renewal(receipt.wallet)
    return wire.ReportUsageResponse(
        measurement_id=str(uuid.uuid4()),
        customer_id=receipt.customer,
        resource_id=receipt.resource,
        feature_id=report.feature_id,
        current_usage=usage,
        usage_period_start=moment(start),
        usage_period_end=moment(end),
    )
