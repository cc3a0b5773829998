"""Where a behaviour is tried: the sync and the async engine, on every server, on a cluster of one, and in process.

A behaviour is written once, as an async function. The sync engine is put behind `Awaited`, whose methods run at once
and hand back what they returned when they are awaited: a test may do what the library must not.
"""

from __future__ import annotations

import itertools
import os
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, TypeVar, cast

import anyio
import anyio.to_thread
import pytest
import redis

from headgate import AsyncHeadgate, Headgate, Hold, ManualClock, Settings
from headgate.calls import Call
from headgate.testing import AsyncFakeHeadgate, FakeHeadgate, FakeServer
from servers import REQUIRED_VARIABLE, RedisServer, available_binaries, start_one_node_cluster

T = TypeVar("T")

NOW_MS: Final = 1_773_144_000_000
"""Where the clock of every target begins: 2026-03-10 12:00 UTC."""

WAIT_S: Final = 30
"""How long a test waits for something that another thread or process does before it fails."""

# Few partitions make a new environment cheap. The deadlines are those of a busy machine: no rule here is about them.
SETTINGS: Final = Settings(partitions=4, deadline_ms=10_000, setup_deadline_ms=60_000, listen=False)

SERVERS: Final = tuple(sorted({"redis-6.2", "redis-7.0", *available_binaries()}))
EDGES: Final = ("sync", "async")
EVERYWHERE: Final = (*SERVERS, "cluster", "in-process")
EVERY_TARGET: Final = tuple(f"{edge}-{where}" for edge in EDGES for where in EVERYWHERE)
BOTH_EDGES: Final = tuple(f"{edge}-{SERVERS[0]}" for edge in EDGES)
"""For rules of the edges alone, which are the same on every server."""

EVERY_PAIR_VARIABLE: Final = "HEADGATE_TEST_EVERY_PAIR"
CHOICES: Final = tuple(itertools.product(SERVERS, ("cluster", "in-process"), (EDGES, EDGES[::-1])))


def chosen(test: str, choices: Sequence[T]) -> T:
    """One of the choices, for ever the same for a test: by its name alone."""
    return choices[zlib.crc32(test.encode()) % len(choices)]


def targets_of(test: str) -> tuple[str, ...]:
    """Where a behaviour is tried: by one edge on a server of its own, by the other on a cluster or in process.

    Each of these pairs has its share of all behaviours. `make test-everywhere` tries every behaviour everywhere.
    """
    if os.environ.get(EVERY_PAIR_VARIABLE):
        return EVERY_TARGET
    server, other, (first, second) = chosen(test, CHOICES)
    return f"{first}-{server}", f"{second}-{other}"


class Servers:
    """The servers of one run of the tests: each is started when a test first asks for it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: dict[str, RedisServer] = {}
        self._fake: FakeServer | None = None

    def start(self, where: str) -> RedisServer:
        """The server of a name such as `redis-6.2`, or `cluster`; without its binary, the test skips or fails."""
        if where not in self._started:
            binaries = available_binaries()
            binary = binaries.get(max(binaries, default="") if where == "cluster" else where)
            if binary is None:
                missing = f"there is no {where} on this machine"
                if where in os.environ.get(REQUIRED_VARIABLE, ""):
                    pytest.fail(f"{missing}, and {REQUIRED_VARIABLE} names it")
                pytest.skip(missing)
            server = start_one_node_cluster(binary) if where == "cluster" else RedisServer(binary)
            self._started[where] = self._stack.enter_context(server)
        return self._started[where]

    def fake(self) -> FakeServer:
        if self._fake is None:
            self._fake = FakeServer()
            self._stack.callback(self._fake.close)
        return self._fake

    def stop(self) -> None:
        self._stack.close()


class Watched:
    """A transport that notes each call before it is sent, and lets a test step in between two of them."""

    def __init__(self, transport: Any, target: Target) -> None:
        self._transport = transport
        self._target = target

    def send(self, call: Call, deadline_ms: float) -> Any:
        """Hand the call on; the answer is that of the transport behind it, awaitable or not."""
        self._target.note(call)
        return self._transport.send(call, deadline_ms)

    def close(self) -> Any:
        return self._transport.close()


class Awaited:
    """A sync engine, or a namespace of one, whose methods are awaited."""

    def __init__(self, wrapped: object) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._wrapped, name)
        if name in ("catalog", "customers", "subscriptions", "credits", "governance", "reservations", "api_keys"):
            return Awaited(attribute)
        if name == "reserve":
            return lambda *args, **named: AwaitedReserving(lambda: attribute(*args, **named))
        if name == "updates":
            return lambda **named: _in_threads(attribute(**named))
        if name.startswith("_") or not callable(attribute):
            return attribute

        async def call(*args: Any, **named: Any) -> Any:
            return attribute(*args, **named)

        return call


class AwaitedHold:
    """A sync hold that is used as an async one: what sends something is awaited."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold

    def __getattr__(self, name: str) -> Any:
        return getattr(Awaited(self._hold) if name in ("settle", "release", "extend") else self._hold, name)

    def __bool__(self) -> bool:
        return bool(self._hold)

    def require(self) -> AwaitedHold:
        self._hold.require()
        return self

    async def __aenter__(self) -> AwaitedHold:
        self._hold.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hold.__exit__(kind, error, trace)


class AwaitedReserving:
    """What a sync engine's `reserve` would be if it was that of an async one: awaited, or used with `async with`."""

    def __init__(self, make: Callable[[], Hold]) -> None:
        self._make = make

    async def _made(self) -> AwaitedHold:
        return AwaitedHold(self._make())

    def __await__(self) -> Generator[Any, None, AwaitedHold]:
        return self._made().__await__()

    async def __aenter__(self) -> AwaitedHold:
        self._hold = await self._made()
        return await self._hold.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hold.__aexit__(kind, error, trace)


async def _in_threads(values: Iterator[Any]) -> AsyncIterator[Any]:
    end = object()
    while (value := await anyio.to_thread.run_sync(next, values, end, abandon_on_cancel=True)) is not end:
        yield value


class Target:
    """One fresh environment on one server, the clock that it goes by, and the engines that are open on it."""

    def __init__(self, name: str, servers: Servers) -> None:
        self.name = name
        self.edge, _, self.where = name.partition("-")
        self.environment = f"test-{uuid.uuid4().hex}"
        self.clock = ManualClock(NOW_MS)
        self.sent: list[Call] = []
        self._fake = servers.fake() if self.where == "in-process" else None
        self._server = None if self._fake else servers.start(self.where)
        self._interruptions: list[tuple[str, Callable[[], object]]] = []
        self._engines: list[AsyncHeadgate] = []
        self.engine = self.open()

    @property
    def url(self) -> str:
        assert self._server is not None, "an in-process server has no URL"
        return self._server.url

    @property
    def redis(self) -> redis.Redis:
        """A plain client, to look at what was written."""
        return self._fake.redis if self._fake else cast(RedisServer, self._server).client()

    def open(self, clock: ManualClock | None = None, **settings: Any) -> AsyncHeadgate:
        """Another engine on the environment, with caches of its own; the sync one is put behind `Awaited`."""
        made = self._make(self.edge == "async", clock, settings)
        engine = cast(AsyncHeadgate, made if isinstance(made, AsyncHeadgate) else Awaited(made))
        self._engines.append(engine)
        return engine

    def open_blocking(self) -> Headgate:
        """A sync engine on the environment, whatever the target's edge: for what another process does meanwhile."""
        engine = cast(Headgate, self._make(False, None, {}))
        self._engines.append(cast(AsyncHeadgate, Awaited(engine)))
        return engine

    def _make(self, is_async: bool, clock: ManualClock | None, settings: dict[str, Any]) -> Headgate | AsyncHeadgate:
        options: dict[str, Any] = {
            "environment": self.environment,
            "settings": SETTINGS.model_copy(update=settings),
            "clock": clock or self.clock,
        }
        engine: Any
        if self._fake is not None:
            engine = (AsyncFakeHeadgate if is_async else FakeHeadgate)(self._fake, **options)
        else:
            engine = (AsyncHeadgate if is_async else Headgate).connect(self.url, **options)
        engine._transport = Watched(engine._transport, self)
        return cast(Headgate | AsyncHeadgate, engine)

    def note(self, call: Call) -> None:
        """Keep a call that an engine is about to send, and do first what a test wants done before it."""
        for index, (script, act) in enumerate(self._interruptions):
            if script == call.script:
                del self._interruptions[index]
                act()
                break
        self.sent.append(call)

    def before(self, script: str, act: Callable[[], object]) -> None:
        """Do something, once, right before the next call of a script is sent."""
        self._interruptions.append((script, act))

    def scripts_sent(self) -> list[str]:
        """The scripts that were called since this was last asked."""
        scripts = [call.script for call in self.sent]
        self.sent.clear()
        return scripts

    def dump(self) -> dict[bytes, object]:
        """Everything that is written in the environment, by key."""
        client = cast(Any, self.redis)
        found: dict[bytes, object] = {}
        for pattern in (f"hg:{self.environment}:*", f"hg:{{{self.environment}/*"):
            for key in client.scan_iter(match=pattern, count=1_000):
                found[key] = read_key(client, key)
        return found

    async def subscribed(self, engine: AsyncHeadgate) -> None:
        """Wait until an engine hears of changes."""
        listener: Any = engine._listener
        with anyio.fail_after(WAIT_S):
            if self.edge == "async":
                await listener.subscribed.wait()
            else:
                assert await anyio.to_thread.run_sync(listener.subscribed.wait, WAIT_S)

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()
        if self._fake is not None:
            self._fake.redis.flushall()
        elif self._server is not None:
            self._server.client().flushall()


def read_key(client: Any, key: bytes) -> object:
    """What is written at a key, to be compared."""
    kind = client.type(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1, withscores=True)
    return client.get(key) if kind == b"string" else client.hgetall(key)
