"""Headgate for your own unit tests: the real rules and the real scripts, without a server, a port or a wait.

    with headgate.testing.engine(policy) as engine:
        assert engine.consume("cus-acme", feature="feature-ai-tokens", amount=1000).granted
        engine.clock.advance(600_000)

Each engine has data of its own, and a clock that stands until you move it. What it grants and refuses, and the numbers
that it names, are those of a real server: the same scripts decide, and a test runs the same calls on both. It is for
tests of your code, not for load: it decides some hundred times a second.

Needs fakeredis and lupa: `pip install 'headgate[testing]'`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from headgate.client.async_client import AsyncHeadgate
from headgate.client.sync_client import Headgate
from headgate.clock import ManualClock
from headgate.errors import InvalidInput
from headgate.keys import Keyspace
from headgate.model.ids import require_id
from headgate.policy import Policy
from headgate.scripts import Clock
from headgate.settings import Settings
from headgate.testing.fake_server import FakeServer
from headgate.testing.transports import FakeAsyncListener, FakeAsyncTransport, FakeListener, FakeTransport

__all__ = [
    "NOW",
    "SETTINGS",
    "AsyncFakeHeadgate",
    "FakeHeadgate",
    "FakeServer",
    "ManualClock",
    "async_engine",
    "engine",
]

NOW: Final = datetime(2025, 1, 15, 12, tzinfo=UTC)
"""When a test begins, if it does not say: a fixed noon in mid-month, so that it goes the same way every day."""

SETTINGS: Final = Settings(deadline_ms=60_000, setup_deadline_ms=600_000, partitions=8)
"""Few partitions, so that writing the catalog takes no time; deadlines that no slow machine misses."""


class FakeHeadgate(Headgate):
    """A `Headgate` on a fake server. Move `clock` to let time pass; look at keys through `server.redis`.

    Without a clock, it goes by the machine's own.
    """

    def __init__(
        self,
        server: FakeServer,
        *,
        environment: str = "default",
        settings: Settings = SETTINGS,
        clock: ManualClock | None = None,
    ) -> None:
        super().__init__(
            FakeTransport(server, _build(clock)),
            environment=require_id(environment, "environment"),
            settings=settings,
            clock=clock,
            listener=FakeListener(server, Keyspace(environment, 1).updates),
        )
        self._manual_clock = clock
        self.server = server

    @property
    def clock(self) -> ManualClock:
        """The clock that all periods go by: `advance` it by milliseconds, or `set` it."""
        return _require_clock(self._manual_clock)


class AsyncFakeHeadgate(AsyncHeadgate):
    """An `AsyncHeadgate` on a fake server. Move `clock` to let time pass; look at keys through `server.redis`.

    Without a clock, it goes by the machine's own.
    """

    def __init__(
        self,
        server: FakeServer,
        *,
        environment: str = "default",
        settings: Settings = SETTINGS,
        clock: ManualClock | None = None,
    ) -> None:
        super().__init__(
            FakeAsyncTransport(server, _build(clock)),
            environment=require_id(environment, "environment"),
            settings=settings,
            clock=clock,
            listener=FakeAsyncListener(server, Keyspace(environment, 1).updates),
        )
        self._manual_clock = clock
        self.server = server

    @property
    def clock(self) -> ManualClock:
        """The clock that all periods go by: `advance` it by milliseconds, or `set` it."""
        return _require_clock(self._manual_clock)


@contextmanager
def engine(policy: Policy | Mapping[str, Any] | None = None, *, now: datetime = NOW) -> Iterator[FakeHeadgate]:
    """Make an engine with a server of its own that stands at a policy; gone when the block ends.

    The policy is a `Policy`, or what a policy file holds as plain data. `now` is where its clock begins.
    """
    clock, parsed, server = _clock_at(now), _parse(policy), FakeServer()
    try:
        with FakeHeadgate(server, clock=clock) as made:
            made.apply(parsed)
            yield made
    finally:
        server.close()


@asynccontextmanager
async def async_engine(
    policy: Policy | Mapping[str, Any] | None = None, *, now: datetime = NOW
) -> AsyncIterator[AsyncFakeHeadgate]:
    """Make an asyncio engine with a server of its own that stands at a policy; gone when the block ends.

    The policy is a `Policy`, or what a policy file holds as plain data. `now` is where its clock begins.
    """
    clock, parsed, server = _clock_at(now), _parse(policy), FakeServer()
    try:
        async with AsyncFakeHeadgate(server, clock=clock) as made:
            await made.apply(parsed)
            yield made
    finally:
        server.close()


def _build(clock: ManualClock | None) -> Clock:
    return "given" if clock else "server"


def _clock_at(now: datetime) -> ManualClock:
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise InvalidInput.of("now", now, "must be a datetime with a time zone")
    return ManualClock(round(now.timestamp() * 1000))


def _parse(policy: Policy | Mapping[str, Any] | None) -> Policy:
    if isinstance(policy, Policy):
        return policy
    return Policy.parse({} if policy is None else policy)


def _require_clock(clock: ManualClock | None) -> ManualClock:
    if clock is None:
        raise AttributeError("this engine goes by the machine's clock; make it with a ManualClock to move it")
    return clock
