"""What is sent again, what is not, and what the caller is told: the rules of DESIGN's "when something fails", pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.cache import Metrics
from headgate.calls import Call
from headgate.client import delivery
from headgate.client.delivery import (
    PAUSE_MAX_MS,
    Dispatcher,
    NotRun,
    Pause,
    ReplyLost,
    ScriptFailed,
    Send,
    ServerClock,
    error_of,
)
from headgate.clock import ManualClock
from headgate.errors import HeadgateError, OutcomeUnknown, OutOfRange, Unavailable
from headgate.wire import MOMENT, NEVER, Status

WRITE = Call("consume", (b"catalog", b"usage"), (b"token", b"version", b"request"), timed=2)
READ = Call("check", (b"catalog", b"usage"), (b"token", b"version", b"request"), timed=2, writes=False)
DEADLINE_MS = 1_000.0


class Steady:
    """The monotonic clock of a test: it moves when it is told to."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def __call__(self) -> float:
        return self.now_ms


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Steady:
    clock = Steady()
    monkeypatch.setattr(delivery, "monotonic_ms", clock)
    return clock


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def dispatcher(monotonic: Steady, metrics: Metrics) -> Dispatcher:
    return Dispatcher(metrics, None)


def deliver(
    dispatcher: Dispatcher, monotonic: Steady, call: Call, transport: Callable[[Call], Any], *, takes_ms: float = 1.0
) -> tuple[Any, list[Send | Pause]]:
    """Run a delivery against a transport that returns a reply or an exception; pauses pass at once."""
    steps: list[Send | Pause] = []
    running = dispatcher.deliver(call, DEADLINE_MS)
    outcome = None
    try:
        while True:
            step = running.send(outcome)
            steps.append(step)
            if isinstance(step, Pause):
                monotonic.now_ms += step.milliseconds
                outcome = None
            else:
                outcome = transport(step.call)
                monotonic.now_ms += takes_ms
    except StopIteration as stop:
        return stop.value, steps
    except HeadgateError as error:
        return error, steps


def answers(*outcomes: Any) -> Callable[[Call], Any]:
    remaining = iter(outcomes)
    return lambda call: next(remaining)


def sends(steps: list[Send | Pause]) -> int:
    return sum(isinstance(step, Send) for step in steps)


GRANTED = [Status.GRANTED, 5_000]


@pytest.mark.parametrize("call", [WRITE, READ])
def test_a_reply_is_handed_back_after_one_send(dispatcher: Dispatcher, monotonic: Steady, call: Call) -> None:
    reply, steps = deliver(dispatcher, monotonic, call, answers(GRANTED))
    assert reply is GRANTED
    assert sends(steps) == len(steps) == 1


@pytest.mark.parametrize("call", [WRITE, READ])
def test_what_certainly_did_not_run_is_sent_again(
    dispatcher: Dispatcher, monotonic: Steady, metrics: Metrics, call: Call
) -> None:
    reply, steps = deliver(dispatcher, monotonic, call, answers(NotRun("refused"), NotRun("loading"), GRANTED))
    assert reply is GRANTED
    assert [type(step) for step in steps] == [Send, Pause, Send, Pause, Send]
    assert metrics.resent == 2


def test_a_write_whose_reply_was_lost_is_unknown_and_never_sent_again(
    dispatcher: Dispatcher, monotonic: Steady, metrics: Metrics
) -> None:
    error, steps = deliver(dispatcher, monotonic, WRITE, answers(ReplyLost("connection reset")))
    assert isinstance(error, OutcomeUnknown)
    assert "consume was sent and its reply never came (connection reset)" in str(error)
    assert len(steps) == 1
    assert (metrics.outcomes_unknown, metrics.resent) == (1, 0)


def test_a_reading_whose_reply_was_lost_is_sent_again(dispatcher: Dispatcher, monotonic: Steady) -> None:
    reply, steps = deliver(dispatcher, monotonic, READ, answers(ReplyLost("connection reset"), GRANTED))
    assert reply is GRANTED
    assert sends(steps) == 2


def test_a_call_that_the_server_ran_too_late_is_sent_again(
    dispatcher: Dispatcher, monotonic: Steady, metrics: Metrics
) -> None:
    reply, steps = deliver(dispatcher, monotonic, WRITE, answers([Status.LATE, 9_000], GRANTED))
    assert reply is GRANTED
    assert sends(steps) == 2
    assert metrics.late == 1


@pytest.mark.parametrize("call", [WRITE, READ])
def test_at_the_deadline_it_is_unavailable_with_the_last_reason(
    dispatcher: Dispatcher, monotonic: Steady, metrics: Metrics, call: Call
) -> None:
    error, steps = deliver(dispatcher, monotonic, call, lambda _: NotRun("connection refused"))
    assert metrics.resent == sends(steps) - 1
    assert isinstance(error, Unavailable)
    assert str(error) == f"{call.script} had no answer within its deadline: connection refused"
    pauses = [step.milliseconds for step in steps if isinstance(step, Pause)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == PAUSE_MAX_MS
    assert DEADLINE_MS <= monotonic.now_ms <= DEADLINE_MS + 2
    assert isinstance(steps[-1], Pause)


def test_a_deadline_that_passed_before_the_first_send_sends_nothing(dispatcher: Dispatcher, monotonic: Steady) -> None:
    monotonic.now_ms = DEADLINE_MS
    error, steps = deliver(dispatcher, monotonic, WRITE, answers())
    assert isinstance(error, Unavailable)
    assert steps == []


def test_every_send_names_the_callers_own_deadline(dispatcher: Dispatcher, monotonic: Steady) -> None:
    _, steps = deliver(dispatcher, monotonic, WRITE, answers(NotRun("x"), GRANTED))
    assert {step.deadline_ms for step in steps if isinstance(step, Send)} == {DEADLINE_MS}


@pytest.mark.parametrize("failure", [ScriptFailed("NOPERM no permissions"), ScriptFailed("OUT_OF_RANGE a sum")])
def test_an_error_that_a_new_attempt_will_not_change_is_told_at_once(
    dispatcher: Dispatcher, monotonic: Steady, failure: ScriptFailed
) -> None:
    error, steps = deliver(dispatcher, monotonic, WRITE, answers(failure))
    assert type(error) is type(error_of(failure))
    assert len(steps) == 1


def test_a_servers_words_become_our_errors() -> None:
    assert isinstance(error_of(ScriptFailed("OUT_OF_RANGE a sum would leave the range")), OutOfRange)
    assert isinstance(error_of(ScriptFailed("ERR Error running script: OUT_OF_RANGE a sum")), OutOfRange)
    other = error_of(ScriptFailed("NOPERM this user has no permissions"))
    assert isinstance(other, Unavailable)
    assert "NOPERM" in str(other)


def test_an_error_that_nobody_foresaw_is_not_hidden(dispatcher: Dispatcher, monotonic: Steady) -> None:
    with pytest.raises(ZeroDivisionError):
        deliver(dispatcher, monotonic, WRITE, answers(ZeroDivisionError()))


def moment_of(step: Send | Pause, call: Call) -> tuple[float, float]:
    assert isinstance(step, Send)
    assert call.timed is not None
    before, stamped = call.args[call.timed], step.call.args[call.timed]
    assert stamped.endswith(before)
    not_after_ms, given_now_ms = MOMENT.unpack(stamped[: -len(before)])
    return not_after_ms, given_now_ms


def test_a_call_carries_the_server_instant_after_which_nobody_waits_for_it(
    dispatcher: Dispatcher, monotonic: Steady
) -> None:
    monotonic.now_ms = 100
    _, (first,) = deliver(dispatcher, monotonic, WRITE, answers([Status.GRANTED, 50_000]), takes_ms=0)
    assert moment_of(first, WRITE) == (NEVER, 0)
    monotonic.now_ms = 300
    _, (second,) = deliver(dispatcher, monotonic, WRITE, answers(GRANTED))
    assert moment_of(second, WRITE) == (50_000 + DEADLINE_MS - 100, 0)


def test_the_instant_is_never_later_than_the_callers_deadline_on_the_servers_clock() -> None:
    clock = ServerClock()
    # The server said 50,000 at some instant before 140 on our clock, so at 140 it shows at least 50,000.
    clock.observe(b"catalog", 50_000, 140)
    assert clock.not_after(b"catalog", 140) == 50_000
    assert clock.not_after(b"another node's catalog", 140) == NEVER


def test_a_call_that_is_not_patient_is_sent_once_where_it_is_refused(dispatcher: Dispatcher, monotonic: Steady) -> None:
    hasty = replace(WRITE, patient=False)
    error, steps = deliver(dispatcher, monotonic, hasty, answers(NotRun("the server is full"), GRANTED))
    assert isinstance(error, Unavailable)
    assert "the server is full" in str(error)
    assert len(steps) == 1
    reply, steps = deliver(dispatcher, monotonic, hasty, answers(GRANTED))
    assert (reply, len(steps)) == (GRANTED, 1)


def test_what_is_known_of_a_clock_is_known_of_a_whole_partition() -> None:
    clock = ServerClock()
    clock.observe(b"hg:{production/7}:catalog", 50_000, 100)
    for customer in range(100):
        clock.observe(b"hg:{production/7}:cus-%d:usage" % customer, 50_000, 100)
    assert clock.not_after(b"hg:{production/7}:cus-new:usage", 140) == 50_040
    assert clock.not_after(b"hg:{production/8}:cus-new:usage", 140) == NEVER
    assert len(clock._seen) == 1


def test_a_simulated_environment_is_told_the_manual_clocks_instant_and_waits_for_ever(
    monotonic: Steady, metrics: Metrics
) -> None:
    clock = ManualClock(77_000)
    dispatcher = Dispatcher(metrics, clock)
    for now_ms in (77_000, 60_000):
        clock.set(now_ms)
        _, (step,) = deliver(dispatcher, monotonic, WRITE, answers(GRANTED))
        assert moment_of(step, WRITE) == (NEVER, now_ms)


def test_a_call_without_a_timed_argument_is_sent_as_it_is(dispatcher: Dispatcher, monotonic: Steady) -> None:
    call = Call("read_catalog", (b"catalog",), (), writes=False)
    _, (step,) = deliver(dispatcher, monotonic, call, answers([Status.DONE]))
    assert isinstance(step, Send)
    assert step.call == call
