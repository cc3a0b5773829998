"""A fresh environment behind the gRPC face, on a real server, with a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest

from behaviour.targets import NOW_MS, SERVERS, Servers, Target
from headgate import AsyncHeadgate, ManualClock
from headgate.service.metrics import Metrics
from headgate.sidecar.protocol.sidecar_pb2_grpc import SidecarServiceStub
from headgate.sidecar.server import SidecarServer, make_server


@dataclass(slots=True)
class Sidecar:
    """The gRPC face of a fresh environment, a client of it, and the engine behind it."""

    stub: Any
    channel: grpc.aio.Channel
    server: SidecarServer
    engine: AsyncHeadgate
    clock: ManualClock
    target: Target
    metrics: Metrics

    async def refused(self, method: str, request: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """The status, the message and the metadata that a call ends with."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(self.stub, method)(request)
        trailing = {str(key): str(value) for key, value in caught.value.trailing_metadata() or ()}
        return caught.value.code(), caught.value.details() or "", trailing

    def series(self, name: str) -> float:
        """What a series of the metrics stands at."""
        lines = self.metrics.show().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), 0.0)


class Opening:
    """Opens gRPC faces in one test, and closes them after it."""

    def __init__(self, servers: Servers) -> None:
        self.target = Target(f"async-{SERVERS[-1]}", servers)
        self._opened: list[Sidecar] = []

    async def __call__(
        self, *, engine: Any = None, credentials: grpc.ChannelCredentials | None = None, **options: Any
    ) -> Sidecar:
        engine = engine or self.target.engine
        metrics = Metrics()
        server = make_server(engine, address="127.0.0.1:0", metrics=metrics, **options)
        await server.start()
        place = f"localhost:{server.port}"
        channel = (
            grpc.aio.insecure_channel(place) if credentials is None else grpc.aio.secure_channel(place, credentials)
        )
        stub: Any = SidecarServiceStub(channel)  # type: ignore[no-untyped-call]
        opened = Sidecar(stub, channel, server, engine, self.target.clock, self.target, metrics)
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        for each in self._opened:
            await each.channel.close()
            await each.server.stop(0)
        await self.target.close()


@pytest.fixture
async def opening(servers: Servers) -> AsyncIterator[Opening]:
    """What opens gRPC faces on one fresh environment."""
    made = Opening(servers)
    yield made
    await made.close()


@pytest.fixture
async def sidecar(opening: Opening) -> Sidecar:
    """The gRPC face of a fresh environment."""
    return await opening()


def fields_of(message: Any) -> dict[str, Any]:
    """The fields of a message that are there, the messages in it alike."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.full_name == "google.protobuf.Timestamp":
            found[field.name] = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        elif hasattr(value, "ListFields"):
            found[field.name] = fields_of(value)
        else:
            found[field.name] = [fields_of(each) for each in value]
    return found


__all__ = ["NOW_MS", "Opening", "Sidecar", "fields_of"]
