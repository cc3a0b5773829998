"""What a read over gRPC takes of the server's processor, against a handler that does nothing on the same server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Final

from bench_grpc_client import GrpcClient, Load, Orders
from bench_grpc_server import EMPTY
from bench_library import PATIENT
from bench_rest import _processor_s

from headgate import Headgate
from headgate.sidecar.protocol import sidecar_pb2 as wire

GRPC_ENVIRONMENT: Final = "bench-grpc"
IN_FLIGHT: Final = 32
WARM_UP_S: Final = 0.3
CUSTOMER, SSO, TOKENS = "cus-acme", "feature-sso", "feature-tokens"
SERVICE: Final = "/stigg.sidecar.v1.SidecarService"
SERVER: Final = Path(__file__).with_name("bench_grpc_server.py")
STOP_S: Final = 30

CALLS: Final[dict[str, tuple[str, bytes]]] = {
    "boolean": (
        f"{SERVICE}/GetBooleanEntitlement",
        wire.GetBooleanEntitlementRequest(customer_id=CUSTOMER, feature_id=SSO).SerializeToString(),
    ),
    "metered": (
        f"{SERVICE}/GetMeteredEntitlement",
        wire.GetMeteredEntitlementRequest(customer_id=CUSTOMER, feature_id=TOKENS).SerializeToString(),
    ),
    "empty": (EMPTY, b""),
}


@dataclass(frozen=True, slots=True)
class GrpcLoad:
    """What one run of the client found, and what the server took of the processor a call."""

    load: Load
    processor_us: float


@dataclass(slots=True)
class GrpcTimes:
    """The runs of each call; those at the same place belong together."""

    runs: dict[str, list[GrpcLoad]] = field(default_factory=lambda: {name: [] for name in CALLS})

    def ratio(self, name: str) -> float:
        """The processor time of a call for that of an empty one: the median of pairs."""
        pairs = zip(self.runs[name], self.runs["empty"], strict=True)
        ratios = sorted(ours.processor_us / empty.processor_us for ours, empty in pairs)
        return (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2


def measure_grpc(url: str, *, rounds: int, timed_s: float, advance: Callable[[], None]) -> GrpcTimes:
    """Measure a boolean answer from memory, a strict metered one, and an empty call, in turn on one server."""
    with Headgate.connect(url, environment=GRPC_ENVIRONMENT, settings=PATIENT) as engine:
        engine.catalog.put_features(
            [
                {"id": SSO, "feature_type": "BOOLEAN"},
                {"id": TOKENS, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            ]
        )
        engine.customers.put(CUSTOMER)
        engine.customers.grant_entitlement(CUSTOMER, {"feature": SSO})
        limit = {"feature": TOKENS, "usage_limit": 1_000_000, "reset_period": "MONTH"}
        engine.customers.grant_entitlement(CUSTOMER, limit)
    times = GrpcTimes()
    with _Serving(url) as server, GrpcClient() as client:
        for number in range(rounds):
            order = list(CALLS) if number % 2 else list(reversed(CALLS))
            for name in order:
                method, message = CALLS[name]
                orders = Orders.of(method, message, in_flight=IN_FLIGHT, warm_up_s=WARM_UP_S, timed_s=timed_s)
                times.runs[name].append(server.measure(client, orders))
            advance()
    return times


class _Serving:
    """The server's process, for as long as the block."""

    def __init__(self, url: str) -> None:
        self._url = url

    def measure(self, client: GrpcClient, orders: Orders) -> GrpcLoad:
        """Have the client call this server, and look at what it takes of the processor meanwhile."""
        before_s = _processor_s(self._process.pid)
        load = client.run(replace(orders, port=self._port))
        after_s = _processor_s(self._process.pid)
        assert before_s is not None, "the processor time of a process is read from /proc"
        assert after_s is not None
        return GrpcLoad(load, (after_s - before_s) * 1e6 / load.answered)

    def __enter__(self) -> _Serving:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), self._url, GRPC_ENVIRONMENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server of the gRPC bench ended; what it said stands above"
        self._port = int(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate("", timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
