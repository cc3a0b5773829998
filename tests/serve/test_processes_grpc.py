"""The processes behind the gRPC face: whom they let share its port, how one is replaced, and how they stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from serve.serving import Served
from servers import RedisServer, available_binaries, wait_until

WAIT_S = 60
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(list(available_binaries().values())[-1]) as server:
        yield server


def health_by(channel: grpc.Channel) -> int:
    """What the standard health service says of the server."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S, wait_for_ready=True).status)


@contextmanager
def channel_to(served: Served, *, certificate: bytes | None = None) -> Iterator[grpc.Channel]:
    address = f"127.0.0.1:{served.grpc_port}"
    if certificate is None:
        channel = grpc.insecure_channel(address)
    else:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(certificate))
    with closing(channel):
        yield channel


def test_with_a_certificate_it_is_encrypted(redis_server: RedisServer, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(certificate, append=number > 0)
    issued.private_key_pem.write_to_path(key)
    flags = ("--grpc-tls-certificate", str(certificate), "--grpc-tls-key", str(key))
    with Served(redis_server.url, *flags).started() as served:
        with channel_to(served, certificate=authority.cert_pem.bytes()) as channel:
            assert health_by(channel) == SERVING
        with channel_to(served) as channel, pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=WAIT_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]


def test_switched_off_there_is_http_alone(redis_server: RedisServer) -> None:
    with Served(redis_server.url, "--grpc", "off").started() as served:
        (line,) = served.events("serving")
        assert line["grpc"] == "off"
        assert served.client.get("/readyz").status_code == 200
        assert "headgate_grpc_requests_total{" not in served.client.get("/metrics").text
        assert served.stop() == 0


def test_another_server_shares_no_port_of_ours(redis_server: RedisServer) -> None:
    with Served(redis_server.url).started() as served:
        address = f"127.0.0.1:{served.grpc_port}"
        with Served(redis_server.url, "--grpc", address) as other:
            code, said = other.ended()
        assert code == 2
        assert f"grpc: '{address}': cannot listen on {address}: Address already in use" in said
        with channel_to(served) as channel:
            assert health_by(channel) == SERVING


def test_a_worker_that_is_killed_is_replaced_and_what_it_used_counts_no_more(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with Served(redis_server.url, "--workers", "2", TMPDIR=str(tmp_path)).started() as served:
        wait_until(lambda: len(served.events("worker ready")) == 2, within_s=WAIT_S, what="both workers are ready")

        def gauges() -> int:
            """How many processes tell of what they use."""
            return len(list(tmp_path.glob("headgate-metrics-*/gauge_live*.db")))

        assert gauges() == 2
        os.kill(served.events("worker ready")[0]["process"], signal.SIGKILL)
        wait_until(lambda: len(served.events("worker ready")) == 3, within_s=WAIT_S, what="there is another worker")
        assert gauges() == 2
        for _ in range(8):
            with channel_to(served) as channel:
                assert health_by(channel) == SERVING
        assert served.stop() == 0


def test_a_client_that_asks_without_end_holds_nobody_up(redis_server: RedisServer) -> None:
    over = threading.Event()

    def questions() -> Iterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        over.wait(WAIT_S)

    with Served(redis_server.url, "--stop-within-seconds", "3").started() as served, channel_to(served) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = stub.ServerReflectionInfo(questions(), wait_for_ready=True)
        names = [service.name for service in next(answers).list_services_response.service]
        assert "stigg.sidecar.v1.SidecarService" in names
        try:
            assert served.stop() == 0
        finally:
            over.set()
        assert len(served.events("worker stopped")) == 1
        assert "Killing" not in served.stderr
