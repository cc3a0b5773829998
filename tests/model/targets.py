"""What the state machine drives: the sync and the async client, on each server, on a cluster of one, or in process."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from headgate import AsyncHeadgate, Headgate
from headgate.clock import ManualClock
from headgate.settings import Settings
from headgate.testing import FakeHeadgate, FakeServer
from servers import RedisServer, available_binaries, start_one_node_cluster

# Few partitions make a new environment cheap. The deadline is that of a busy machine: no rule here is about time-outs.
SETTINGS = Settings(partitions=4, listen=False, deadline_ms=30_000, setup_deadline_ms=60_000)

SERVERS = tuple(available_binaries())
SYNC = tuple(f"sync-{server}" for server in SERVERS)
ASYNC = tuple(f"async-{server}" for server in SERVERS)
CLUSTERS = tuple(f"{edge}-cluster" for edge in ("sync", "async") if SERVERS)
IN_PROCESS = ("sync-in-process",)
EVERY_TARGET = (*SYNC, *ASYNC, *CLUSTERS, *IN_PROCESS)

Engine = Any
"""A `Headgate`, or an `AsyncHeadgate` inside `Awaited`: both have the same methods."""


@dataclass(frozen=True, slots=True)
class Target:
    """How to open an engine on an environment, and to forget everything that was written."""

    name: str
    open_engine: Callable[[str, ManualClock], Engine]
    forget: Callable[[], object]

    def open_two(self, clock: ManualClock) -> Sequence[Engine]:
        """Open two engines, each with its own caches, on one fresh environment."""
        environment = f"model-{uuid.uuid4().hex}"
        return [self.open_engine(environment, clock) for _ in range(2)]


class Targets:
    """Starts servers when they are first asked for, and stops them all at its end."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._stack = ExitStack()
        self._servers: dict[str, RedisServer] = {}

    def __enter__(self) -> Targets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, name: str) -> Target:
        """Make a target ready by its name: an edge (sync or async), then a server, `cluster` or `in-process`."""
        edge, _, where = name.partition("-")
        if where == "in-process":
            return self._in_process(name)
        server = self._server(where)
        open_engine = {"sync": self._open_sync, "async": self._open_async}[edge]
        return Target(name, lambda environment, clock: open_engine(server.url, environment, clock), _flush(server))

    def _server(self, where: str) -> RedisServer:
        if where not in self._servers:
            binaries = available_binaries()
            newest = binaries[SERVERS[-1]]
            server = start_one_node_cluster(newest) if where == "cluster" else RedisServer(binaries[where])
            self._servers[where] = self._stack.enter_context(server)
        return self._servers[where]

    def _open_sync(self, url: str, environment: str, clock: ManualClock) -> Engine:
        return Headgate.connect(url, environment=environment, settings=SETTINGS, clock=clock)

    def _open_async(self, url: str, environment: str, clock: ManualClock) -> Engine:
        engine = AsyncHeadgate.connect(url, environment=environment, settings=SETTINGS, clock=clock)
        return Awaited(engine, self._runner)

    def _in_process(self, name: str) -> Target:
        servers: list[FakeServer] = []

        def open_engine(environment: str, clock: ManualClock) -> Engine:
            if not servers:
                servers.append(FakeServer())
            return FakeHeadgate(servers[0], environment=environment, settings=SETTINGS, clock=clock)

        return Target(name, open_engine, servers.clear)


def _flush(server: RedisServer) -> Callable[[], object]:
    client = server.client()
    return lambda: client.flushall()


class Awaited:
    """An async object whose methods wait for their answer, on one loop that stays the same."""

    def __init__(self, wrapped: object, runner: asyncio.Runner) -> None:
        self._wrapped = wrapped
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        if not callable(attribute):
            return Awaited(attribute, self._runner)

        def call(*args: Any, **named: Any) -> Any:
            async def wait() -> Any:
                answer = attribute(*args, **named)
                return await answer if inspect.isawaitable(answer) else answer

            return self._runner.run(wait())

        return call

    def wait_for(self, answer: Any) -> Any:
        """Wait for what a method of something gave that is not inside an `Awaited`."""

        async def wait() -> Any:
            return await answer

        return self._runner.run(wait())
