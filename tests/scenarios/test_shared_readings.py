"""One reading serves all that ask for the same thing at once, and yet each caller has its own deadline and its own end.

The first caller leads: its call is held back until a follower waits for it. What becomes of the one is then no
business of the other: a deadline, an interruption, a cancelled task, a fork.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from headgate import AsyncHeadgate, Headgate, Settings
from headgate.calls import Call, Reply
from headgate.client.delivery import NotRun
from headgate.clock import monotonic_ms
from headgate.errors import Unavailable
from scenarios.setting import CALM, CUSTOMER, FEATURE, Place, check, consume, furnish

WAIT_S = 10
HELD = "open_environment"
"""What every verb of a cold engine asks first, whatever its deadline."""

HURRIED = CALM.model_copy(update={"deadline_ms": 100})
"""A check has little time, and an explanation a minute."""


class Joined(dict[Call, Any]):
    """The readings that are under way in an engine; it notes when somebody finds one that another has begun."""

    def __init__(self, event: Any) -> None:
        super().__init__()
        self._event = event

    def get(self, key: Call, default: Any = None) -> Any:
        if key in self:
            self._event.set()
        return super().get(key, default)

    def setdefault(self, key: Call, default: Any = None) -> Any:
        if key in self:
            self._event.set()
        return super().setdefault(key, default)


class Held:
    """A transport that keeps the first reading back, and then does with it as it is told."""

    def __init__(self, engine: Headgate, then: Callable[[Held, float], object]) -> None:
        self._transport = engine._transport
        self._then = then
        self._leader_deadline_ms: float | None = None
        self.readings = 0
        self.was_told = False
        self.is_held, self.has_follower, self.may_go = threading.Event(), threading.Event(), threading.Event()
        engine._transport = self
        engine._shared = Joined(self.has_follower)

    def send(self, call: Call, deadline_ms: float) -> Reply:
        if call.script == HELD:
            self.readings += 1
            if self._leader_deadline_ms is None:
                self._leader_deadline_ms = deadline_ms
                self.is_held.set()
            if self._leader_deadline_ms == deadline_ms:
                self._then(self, deadline_ms)
        return self._transport.send(call, deadline_ms)

    def close(self) -> None:
        self._transport.close()


def wait_until_told(held: Held, deadline_ms: float) -> None:
    held.was_told = held.may_go.wait(WAIT_S)


def find_no_connection(held: Held, deadline_ms: float) -> None:
    held.has_follower.wait(WAIT_S)
    raise NotRun("no connection")


def be_interrupted(held: Held, deadline_ms: float) -> None:
    held.has_follower.wait(WAIT_S)
    raise KeyboardInterrupt


def explain(engine: Any) -> Any:
    return engine.explain(CUSTOMER, feature=FEATURE)


@contextmanager
def cold(place: Place, settings: Settings) -> Iterator[Headgate]:
    """An engine that has read nothing yet."""
    furnish(place.open())
    with Headgate.connect(place.server.url, environment=place.environment, settings=settings) as engine:
        yield engine


@contextmanager
def callers(held: Held) -> Iterator[ThreadPoolExecutor]:
    """Threads that are let go at the end, whatever has failed by then."""
    with ThreadPoolExecutor(2) as pool:
        try:
            yield pool
        finally:
            held.may_go.set()


def test_a_follower_of_a_slow_reading_gives_up_at_its_own_deadline(place: Place) -> None:
    with cold(place, HURRIED) as engine:
        held = Held(engine, wait_until_told)
        with callers(held) as pool:
            leader = pool.submit(explain, engine)
            assert held.is_held.wait(WAIT_S)
            with pytest.raises(Unavailable, match="deadline"):
                check(engine, 1)
            assert held.has_follower.is_set()
            assert not leader.done()
            held.may_go.set()
            assert leader.result(WAIT_S).decision.granted
        assert held.was_told, "the follower waited as long as the first caller"
        assert held.readings == 1


def test_a_follower_with_time_left_goes_on_when_the_deadline_of_the_first_has_passed(place: Place) -> None:
    with cold(place, HURRIED) as engine:
        held = Held(engine, find_no_connection)
        with callers(held) as pool:
            leader = pool.submit(check, engine, 1)
            assert held.is_held.wait(WAIT_S)
            follower = pool.submit(explain, engine)
            assert follower.result(WAIT_S).decision.granted
            assert held.has_follower.is_set()
            assert type(leader.exception(WAIT_S)) is Unavailable


def test_an_interruption_of_the_first_caller_is_not_raised_in_another_thread(place: Place) -> None:
    with cold(place, CALM) as engine:
        held = Held(engine, be_interrupted)
        with callers(held) as pool:
            leader = pool.submit(consume, engine, 1)
            assert held.is_held.wait(WAIT_S)
            follower = pool.submit(consume, engine, 2)
            assert isinstance(leader.exception(WAIT_S), KeyboardInterrupt)
            assert follower.exception(WAIT_S) is None
            assert follower.result().granted
        assert engine._shared == {}
    assert place.used() == 2


def test_callers_that_ask_at_once_are_served_by_one_reading(place: Place) -> None:
    with cold(place, CALM) as engine:
        held = Held(engine, lambda held, deadline_ms: held.has_follower.wait(WAIT_S))
        with callers(held) as pool:
            answers = [pool.submit(consume, engine, 1) for _ in range(2)]
            assert all(answer.result(WAIT_S).granted for answer in answers)
        assert held.readings == 1
    assert place.used() == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_is_forked_while_a_reading_is_under_way_does_not_wait_for_it(place: Place) -> None:
    """The thread that would complete the reading is not there in the child."""
    with cold(place, CALM) as engine:
        held = Held(engine, wait_until_told)
        with callers(held) as pool:
            leader = pool.submit(consume, engine, 1)
            assert held.is_held.wait(WAIT_S)
            child = os.fork()
            if child == 0:
                ask_in_a_child(engine)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert not leader.done()
            held.may_go.set()
            assert leader.result(WAIT_S).granted
    assert place.used() == 3


def ask_in_a_child(engine: Headgate) -> None:
    """Consume, and end the process: with 0 if that was granted, by the alarm if it never ends."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WAIT_S)
    granted = False
    try:
        granted = consume(engine, 2).granted
    finally:
        os._exit(0 if granted else 1)


# Tasks.


class HeldTask:
    """The same for asyncio."""

    def __init__(self, engine: AsyncHeadgate, *, fails: bool = False) -> None:
        self._transport = engine._transport
        self._fails = fails
        self._leader_deadline_ms: float | None = None
        self.readings = 0
        self.is_held, self.has_follower, self.may_go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        engine._transport = self
        engine._shared = Joined(self.has_follower)

    async def send(self, call: Call, deadline_ms: float) -> Reply:
        if call.script == HELD:
            self.readings += 1
            if self._leader_deadline_ms is None:
                self._leader_deadline_ms = deadline_ms
                self.is_held.set()
            if self._leader_deadline_ms == deadline_ms:
                await self.may_go.wait()
                if self._fails:
                    raise NotRun("no connection")
        return await self._transport.send(call, deadline_ms)

    async def close(self) -> None:
        await self._transport.close()


def in_tasks(place: Place, settings: Settings, act: Callable[[AsyncHeadgate], Any]) -> None:
    """Run on an engine that has read nothing yet; nothing may come to the event loop as an error of nobody's."""
    furnish(place.open())
    told: list[Any] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        url, environment = place.server.url, place.environment
        async with (
            asyncio.timeout(2 * WAIT_S),
            AsyncHeadgate.connect(url, environment=environment, settings=settings) as engine,
        ):
            await act(engine)

    asyncio.run(run())
    assert told == [], "an error that nobody waits for is told to the event loop"


def test_a_task_that_follows_a_slow_reading_gives_up_at_its_own_deadline(place: Place) -> None:
    async def act(engine: AsyncHeadgate) -> None:
        held = HeldTask(engine)
        leader = asyncio.ensure_future(explain(engine))
        await held.is_held.wait()
        begun_ms = monotonic_ms()
        with pytest.raises(Unavailable, match="deadline"):
            await asyncio.wait_for(check(engine, 1), WAIT_S)
        assert monotonic_ms() - begun_ms < WAIT_S * 1_000
        assert held.has_follower.is_set()
        held.may_go.set()
        assert (await leader).decision.granted
        assert held.readings == 1

    in_tasks(place, HURRIED, act)


def test_a_task_with_time_left_goes_on_when_the_deadline_of_the_first_has_passed(place: Place) -> None:
    async def act(engine: AsyncHeadgate) -> None:
        held = HeldTask(engine, fails=True)
        leader = asyncio.ensure_future(check(engine, 1))
        await held.is_held.wait()
        follower = asyncio.ensure_future(explain(engine))
        await held.has_follower.wait()
        held.may_go.set()
        with pytest.raises(Unavailable):
            await leader
        assert (await follower).decision.granted

    in_tasks(place, HURRIED, act)


@pytest.mark.parametrize("cancelled", ["the first", "a follower", "both"])
def test_a_cancelled_task_leaves_the_others_served(place: Place, cancelled: str) -> None:
    async def act(engine: AsyncHeadgate) -> None:
        held = HeldTask(engine)
        leader = asyncio.ensure_future(consume(engine, 1))
        await held.is_held.wait()
        follower = asyncio.ensure_future(consume(engine, 2))
        await held.has_follower.wait()
        last = asyncio.ensure_future(consume(engine, 4))
        ended = {"the first": [leader], "a follower": [follower], "both": [leader, follower]}[cancelled]
        for _ in range(3):
            await asyncio.sleep(0)
        for task in ended:
            task.cancel()
        held.may_go.set()
        answers = await asyncio.gather(leader, follower, last, return_exceptions=True)
        for task, answer in zip((leader, follower, last), answers, strict=True):
            if task in ended:
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert not isinstance(answer, BaseException)
                assert answer.granted
        assert held.readings == 1
        assert engine._shared == {}

    in_tasks(place, CALM, act)
    assert place.used() == {"the first": 6, "a follower": 5, "both": 4}[cancelled]


def test_a_reading_that_fails_when_nobody_waits_for_it_any_more_troubles_nobody(place: Place) -> None:
    async def act(engine: AsyncHeadgate) -> None:
        held = HeldTask(engine, fails=True)
        leader = asyncio.ensure_future(check(engine, 1))
        await held.is_held.wait()
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        (reading,) = engine._shared.values()
        held.may_go.set()
        await asyncio.wait([reading])
        assert engine._shared == {}
        assert (await explain(engine)).decision.granted

    in_tasks(place, HURRIED, act)
