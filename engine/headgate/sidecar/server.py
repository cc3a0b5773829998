"""The server: the service with standard health and reflection, on grpcio's asyncio server.

It runs in the event loop of whoever starts it. Several processes may share one port; the kernel then hands each
connection to one of them. There are no credentials: who reaches the address may call. Clients send no deadline, so
every call ends within the engine's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from structlog.typing import FilteringBoundLogger

from headgate.errors import InvalidInput
from headgate.service.logs import make_logger
from headgate.service.metrics import Metrics
from headgate.sidecar.calls import SERVICE, Calls
from headgate.sidecar.engine import SidecarEngine
from headgate.sidecar.fallback import Fallback, WithoutData
from headgate.sidecar.health import Health
from headgate.sidecar.service import Service

HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
MESSAGE_BYTES_MAX: Final = 1 << 20
"""How long a request may be: a bulk of 100 reports with dimensions is a tenth of it."""

CALLS_MAX: Final = 10_000
"""How many calls may be under way at once; one more is refused as RESOURCE_EXHAUSTED."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 1),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its key, as PEM."""

    certificate: bytes
    key: bytes


class SidecarServer:
    """A server that is listening once it was made; it answers from `start` on."""

    def __init__(self, server: grpc.aio.Server, health: Health, port: int) -> None:
        self._server, self._health, self.port = server, health, port

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more calls, and let those that are under way end; after so long they are cancelled."""
        self._health.stop()
        await self._server.stop(grace_seconds)


def make_server(
    engine: SidecarEngine,
    *,
    address: str,
    fallbacks: Mapping[str, Fallback] | None = None,
    without_data: WithoutData = WithoutData.FALLBACK,
    read_only: bool = False,
    is_offline: bool = False,
    tls: Tls | None = None,
    metrics: Metrics | None = None,
    log: FilteringBoundLogger | None = None,
) -> SidecarServer:
    """Make a server for an engine, which stays its maker's to close. Needs a running event loop.

    An engine that is offline counts nothing, so that every report is refused before what it names is looked up.

    The address is `host:port`; port 0 is any free one. Raises `InvalidInput` where it cannot listen there, or where the
    certificate and the key are none.
    """
    metrics = metrics or Metrics()
    service = Service(
        engine,
        fallbacks=fallbacks or {},
        without_data=without_data,
        is_read_only=read_only,
        is_offline=is_offline,
        fell_back=metrics.fell_back,
    )
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
    server.add_generic_rpc_handlers((Calls(service, metrics, log or make_logger()).handlers(),))
    health = Health([SERVICE.full_name])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (SERVICE.full_name, HEALTH, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return SidecarServer(server, health, _listen(server, address, tls))


def _listen(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    try:
        if tls is None:
            port = server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
            port = server.add_secure_port(address, credentials)
    except (RuntimeError, ValueError) as error:
        raise InvalidInput.of("grpc", address, f"cannot listen there: {error}") from None
    if not port:
        raise InvalidInput.of("grpc", address, "cannot listen there")
    return port
