"""Listeners that are cut off: they listen again soon, and never say that they listen while they do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from behaviour.targets import BOTH_EDGES, NOW_MS, WAIT_S, Target
from headgate import ManualClock
from headgate.client import listening
from headgate.client.listening import RECONNECT_FIRST_S, RECONNECT_MAX_S, AsyncListener, Listener
from servers import wait_until

CHANNEL = b"hg:test:updates"
SUBSCRIBED = [b"subscribe", CHANNEL, 1]

# What becomes of each connection that a listener makes.
REFUSED = "refused"
CUT = "subscribed, then cut"
CUT_EARLY = "cut before the server said that it listens"

Pauses = list[tuple[float, bool]]
"""How long a listener waits each time before it makes another connection, and whether it said meanwhile it listens."""


class Script:
    """The connections that a listener will have, one after the other."""

    def __init__(self, *fates: str) -> None:
        self._fates = list(fates)
        self.disconnected = 0

    @property
    def is_over(self) -> bool:
        return not self._fates

    def next(self) -> str:
        return self._fates.pop(0)


class Stub:
    """A connection of a listener for threads, whose fate is known."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._fate = script.next()
        self._messages: list[Any] = [SUBSCRIBED] if self._fate == CUT else []

    def connect(self) -> None:
        if self._fate == REFUSED:
            raise RedisConnectionError("refused")

    def send_command(self, *parts: object) -> None:
        assert parts == ("SUBSCRIBE", CHANNEL)

    def can_read(self, timeout: float) -> bool:
        return True

    def read_response(self) -> Any:
        if not self._messages:
            raise RedisConnectionError("cut")
        return self._messages.pop(0)

    def disconnect(self) -> None:
        self._script.disconnected += 1


class AsyncStub:
    """The same for asyncio."""

    def __init__(self, script: Script) -> None:
        self._stub = Stub(script)

    async def connect(self) -> None:
        self._stub.connect()

    async def send_command(self, *parts: object) -> None:
        self._stub.send_command(*parts)

    async def read_response(self, *, disconnect_on_error: bool) -> Any:
        return self._stub.read_response()

    async def disconnect(self, *, nowait: bool) -> None:
        self._stub.disconnect()


def pauses_of_threads(script: Script, monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses: Pauses = []

    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            pauses.append((timeout, listener.subscribed.is_set()))
            if script.is_over:
                self.set()
            return self.is_set()

    def connect() -> Any:
        return Stub(script)

    listener = Listener(connect, CHANNEL)
    monkeypatch.setattr(listener, "_stopped", Stopped())
    listener._run()
    return pauses


def pauses_of_tasks(script: Script, monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses: Pauses = []

    async def sleep(delay: float) -> None:
        pauses.append((delay, listener.subscribed.is_set()))
        if script.is_over:
            raise asyncio.CancelledError

    async def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(listening.asyncio, "sleep", sleep)
            with pytest.raises(asyncio.CancelledError):
                await listener._run()

    def connect() -> Any:
        return AsyncStub(script)

    listener = AsyncListener(connect, CHANNEL)
    asyncio.run(run())
    return pauses


PausesOf = Callable[[Script, pytest.MonkeyPatch], Pauses]
both_edges = pytest.mark.parametrize("pauses_of", [pauses_of_threads, pauses_of_tasks])


@both_edges
def test_a_server_that_refuses_is_asked_more_and_more_rarely(
    pauses_of: PausesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(*[REFUSED] * 9)
    waited = [pause_s for pause_s, _ in pauses_of(script, monkeypatch)]
    assert waited == [min(RECONNECT_FIRST_S * 2**number, RECONNECT_MAX_S) for number in range(9)]
    assert script.disconnected == 9


@both_edges
def test_after_each_good_subscription_the_pause_begins_anew(
    pauses_of: PausesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One cut a day would otherwise make it deaf for seconds, days later."""
    script = Script(REFUSED, REFUSED, CUT, REFUSED, CUT, CUT, CUT)
    waited = [pause_s / RECONNECT_FIRST_S for pause_s, _ in pauses_of(script, monkeypatch)]
    assert waited == [1, 2, 1, 2, 1, 1, 1]


@both_edges
def test_a_connection_that_never_listened_does_not_shorten_the_pause(
    pauses_of: PausesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = [pause_s / RECONNECT_FIRST_S for pause_s, _ in pauses_of(Script(*[CUT_EARLY] * 4), monkeypatch)]
    assert waited == [1, 2, 4, 8]


@both_edges
def test_a_listener_does_not_say_that_it_listens_while_it_is_cut_off(
    pauses_of: PausesOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fates in ([CUT], [CUT, CUT], [CUT, REFUSED, CUT_EARLY, CUT]):
        assert [told for _, told in pauses_of(Script(*fates), monkeypatch)] == [False] * len(fates)


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
async def test_a_listener_whose_connection_is_killed_again_and_again_listens_again_each_time(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    await target.engine.catalog.put_features([{"id": "feature-tokens", "feature_type": "BOOLEAN"}])
    engine = target.open(ManualClock(NOW_MS), listen=True)
    await engine.catalog.features()
    updates = engine.updates()
    listener: Any = engine._listener
    await target.subscribed(engine)
    pauses: list[float] = []
    note_pauses(listener, pauses, monkeypatch)

    for count in range(1, 6):
        kill_listeners(target)
        await anyio.to_thread.run_sync(wait_for_pauses, pauses, count)
        await target.subscribed(engine)
    assert pauses == [RECONNECT_FIRST_S] * 5

    target.open_blocking().customers.put("cus-new")
    async with asyncio.timeout(WAIT_S):
        async for update in updates:
            if update.customer == "cus-new":
                break


def wait_for_pauses(pauses: list[float], count: int) -> None:
    wait_until(lambda: len(pauses) >= count, within_s=WAIT_S, what="the listener notices that it was cut")


def kill_listeners(target: Target) -> None:
    client: Any = target.redis
    assert client.client_kill_filter(_type="pubsub") >= 1


def note_pauses(listener: Any, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note how long the listener waits, and let it wait."""
    if isinstance(listener, Listener):
        wait = listener._stopped.wait

        def noted(timeout: float | None = None) -> bool:
            assert timeout is not None
            pauses.append(timeout)
            return wait(timeout)

        monkeypatch.setattr(listener._stopped, "wait", noted)
        return
    pause = asyncio.sleep

    async def noted_pause(delay: float, result: Any = None) -> Any:
        if delay:
            pauses.append(delay)
        return await pause(delay, result)

    monkeypatch.setattr(listening.asyncio, "sleep", noted_pause)
