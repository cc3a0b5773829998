"""From the service to gRPC's handlers: each call is counted, its errors become statuses, and what failed is logged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
import grpc.aio
from structlog.typing import FilteringBoundLogger

from headgate.clock import monotonic_ms
from headgate.errors import HeadgateError
from headgate.service.metrics import Metrics
from headgate.service.wire_names import wire_names
from headgate.sidecar.problems import NAMES, NEVER_AGAIN, UNCLEAR, Metadata, Refused, message_of, metadata_of, status_of
from headgate.sidecar.protocol import sidecar_pb2
from headgate.sidecar.service import Service

SERVICE: Final = sidecar_pb2.DESCRIPTOR.services_by_name["SidecarService"]
DEFECT: Final = "something went wrong that was not foreseen; the log says what"

Act = Callable[[Any], Awaitable[Any]]


def methods_of(service: Service) -> Mapping[str, Act]:
    """What each call of the API does."""
    return {
        "GetEntitlements": service.entitlements,
        "GetEntitlement": service.entitlement,
        "GetBooleanEntitlement": service.boolean,
        "GetNumericEntitlement": service.numeric,
        "GetMeteredEntitlement": service.metered,
        "GetEnumEntitlement": service.enum,
        "ReportUsage": service.report,
        "ReportEvents": service.report_events,
        "ReloadEntitlements": service.reload,
        "ReportUsageBulk": service.report_bulk,
        "GetEntitlementV2": service.entitlement_v2,
        "GetEntitlementsStateV2": service.entitlements_state,
    }


class Calls:
    """The handlers of one server."""

    def __init__(self, service: Service, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._service, self._metrics, self._log = service, metrics, log

    def handlers(self) -> grpc.GenericRpcHandler:
        """Make the handlers of every method of the API."""
        acts = methods_of(self._service)
        made = {}
        for method in SERVICE.methods:
            request: Any = getattr(sidecar_pb2, method.input_type.name)
            made[method.name] = grpc.unary_unary_rpc_method_handler(
                self._handler(method.name, acts[method.name]),
                request_deserializer=request.FromString,
                response_serializer=_serialized,
            )
        return grpc.method_handlers_generic_handler(SERVICE.full_name, made)

    def _handler(self, name: str, act: Act) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            began_ms = monotonic_ms()
            status, message = grpc.StatusCode.CANCELLED, ""
            metadata: Metadata = ()
            try:
                answer = await act(request)
                status = grpc.StatusCode.OK
                return answer
            except Exception as error:
                status, message, metadata = self._told(name, error)
            finally:
                self._metrics.observe_call(name, status.name, (monotonic_ms() - began_ms) / 1000)
            await context.abort(status, message, metadata)

        return handle

    def _told(self, name: str, error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
        """What a caller is told of an error, after it was logged."""
        if isinstance(error, HeadgateError):
            error = _on_the_wire(error)
            told = status_of(error), message_of(error), metadata_of(error)
        elif isinstance(error, Refused):
            told = error.status, str(error), ()
        else:
            self._log.error("call failed", method=name, status="INTERNAL", exc_info=error)
            return grpc.StatusCode.INTERNAL, DEFECT, NEVER_AGAIN
        log = self._log.error if told[0] in UNCLEAR else self._log.info
        log("call failed", method=name, status=told[0].name, code=getattr(error, "code", None))
        return told


def _on_the_wire(error: HeadgateError) -> HeadgateError:
    """The error with the wire's names of its fields; those of reports are named already."""
    try:
        with wire_names(NAMES):
            raise error
    except HeadgateError as named:
        return named


def _serialized(message: Any) -> bytes:
    packed: bytes = message.SerializeToString()
    return packed
