"""The edges of a client whose server is in this process: they send no bytes, start no thread, and wait for nothing."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import NoReturn

from redis.exceptions import ResponseError

from headgate.calls import Call, Reply
from headgate.client.delivery import NotRun, ScriptFailed
from headgate.client.listening import AsyncListener, Listener
from headgate.client.nodes import Redirect, meaning_of
from headgate.scripts import Clock, ScriptSet
from headgate.testing.fake_server import FakeServer, load_fake_scripts
from headgate.updates import read_updates


@lru_cache(maxsize=2)
def _scripts(clock: Clock) -> ScriptSet:
    return load_fake_scripts(clock)


class FakeTransport:
    """Runs calls on a fake server, for threads."""

    def __init__(self, server: FakeServer, clock: Clock) -> None:
        self._server = server
        self._scripts = _scripts(clock)

    def send(self, call: Call, deadline_ms: float) -> Reply:
        """Run a call; its deadline is for servers that can be slow."""
        try:
            return self._server.run(self._scripts, call.script, call.keys, call.args)
        except ResponseError as error:
            raise _failure(error) from None

    def close(self) -> None:
        """Do nothing: the server may have other clients."""


class FakeAsyncTransport:
    """Runs calls on a fake server, for asyncio."""

    def __init__(self, server: FakeServer, clock: Clock) -> None:
        self._sync = FakeTransport(server, clock)

    async def send(self, call: Call, deadline_ms: float) -> Reply:
        """Run a call, after every other task that is ready had its turn, as with a server that is far away."""
        await asyncio.sleep(0)
        return self._sync.send(call, deadline_ms)

    async def close(self) -> None:
        """Do nothing: the server may have other clients."""


class FakeListener(Listener):
    """Hears of changes without a thread: an update is there when the call that made it returns."""

    def __init__(self, server: FakeServer, channel: bytes) -> None:
        super().__init__(_no_connection, channel)
        self._server = server
        self._fake_channel = channel

    def start(self, *, wait_s: float = 0.0) -> None:
        """Begin to listen, if that has not begun."""
        if not self.subscribed.is_set():
            self._begin_to_hear()
            self.subscribed.set()
            self._server.hear(self._fake_channel, self._hear)

    def stop(self) -> None:
        """Stop listening, and end every iteration over updates."""
        self._server.stop_hearing(self._fake_channel, self._hear)
        self._lose()
        self.subscribed.clear()
        super().stop()

    def _hear(self, message: bytes) -> None:
        self._tell(read_updates(self._state, message))


class FakeAsyncListener(AsyncListener):
    """The same for asyncio; another thread may make the change."""

    def __init__(self, server: FakeServer, channel: bytes) -> None:
        super().__init__(_no_connection, channel)
        self._server = server
        self._fake_channel = channel
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to listen, if that has not begun. Needs a running event loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._begin_to_hear()
            self.subscribed.set()
            self._server.hear(self._fake_channel, self._hear)

    async def stop(self) -> None:
        """Stop listening, and end every iteration over updates."""
        self._server.stop_hearing(self._fake_channel, self._hear)
        self._lose()
        self.subscribed.clear()
        await super().stop()

    def _hear(self, message: bytes) -> None:
        if self._loop is None:
            return
        if self._loop is _running_loop():
            self._tell_of(message)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell_of, message)

    def _tell_of(self, message: bytes) -> None:
        self._tell(read_updates(self._state, message))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _no_connection() -> NoReturn:
    raise AssertionError("a fake server is not reached by a connection")


def _failure(error: ResponseError) -> NotRun | ScriptFailed:
    meaning = meaning_of(error)
    return NotRun(str(error)) if isinstance(meaning, Redirect) else meaning
