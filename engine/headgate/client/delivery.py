"""Delivering a call: what is sent again, what is not, and what the caller is told. Written once, for both drivers.

A delivery is a generator that yields what to do (send these bytes, or pause) and is sent the outcome, so that threads
and asyncio share every rule. Retries are ours alone: the transport makes none.

- What certainly did not run is sent again within the deadline: never written, refused, or run too late to count.
- What only reads is sent again too; running it twice changes nothing.
- A write that is carried out once, by its idempotency key or its reservation, is sent again when its reply was lost. If
  no reply comes before the deadline, it is `OutcomeUnknown`.
- Any other write whose reply was lost is `OutcomeUnknown`, and is never sent again.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Protocol

from headgate.cache import Metrics
from headgate.calls import Call, Reply, Resent
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import HeadgateError, OutcomeUnknown, OutOfRange, Unavailable
from headgate.wire import MOMENT, NEVER, Status

PAUSE_FIRST_MS: Final = 1.0
PAUSE_MAX_MS: Final = 50.0

CARRIED_OUT_ONCE: Final = frozenset({"consume_credits", "report_credits", "reserve", "settle", "extend"})
"""Scripts that write, and whose calls may be sent again where `writes` is false: what was done is not done again."""


class NotRun(Exception):
    """The call certainly did not run: it was never written to the socket, or the server refused it for now."""


class ReplyLost(Exception):
    """The call was written, and its reply did not come: it may have run."""


class ScriptFailed(Exception):
    """The server answered with an error that a new attempt will not change. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this call and give back its reply, or the exception that came instead."""

    call: Call
    deadline_ms: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait a little before the next attempt."""

    milliseconds: float


Delivery = Generator[Send | Pause, Reply | Exception | None, Reply]


class Transport(Protocol):
    """Sends one call over Redis and returns its reply. Makes no retries. Raises NotRun, ReplyLost or ScriptFailed."""

    def send(self, call: Call, deadline_ms: float) -> Reply:
        """Send a call; `deadline_ms` is an instant of the monotonic clock."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class AsyncTransport(Protocol):
    """The same for asyncio."""

    async def send(self, call: Call, deadline_ms: float) -> Reply:
        """Send a call; `deadline_ms` is an instant of the monotonic clock."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class ServerClock:
    """What this client knows of the server's clock: enough to say after which instant nobody waits any more.

    When a reply arrives, the server's clock shows at least the instant in it. So `not_after` never lies beyond the
    caller's own deadline, and a script that runs late changes nothing. Kept by partition, which is the hash tag of a
    call's first key: the nodes of a cluster have clocks of their own.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[float, float]] = {}

    def observe(self, key: bytes, server_ms: float, received_ms: float) -> None:
        """Learn from a reply."""
        self._seen[_partition_of(key)] = (server_ms, received_ms)

    def not_after(self, key: bytes, deadline_ms: float) -> float:
        """The server's instant at which a deadline of this client's monotonic clock has certainly not passed yet."""
        seen = self._seen.get(_partition_of(key))
        if seen is None:
            return NEVER
        server_ms, received_ms = seen
        return server_ms + deadline_ms - received_ms


def _partition_of(key: bytes) -> bytes:
    return key.partition(b"}")[0]


class Dispatcher:
    """What deliveries of one client share: its clocks and its counts."""

    def __init__(self, metrics: Metrics, manual_clock: ManualClock | None) -> None:
        self._metrics = metrics
        self._manual_clock = manual_clock
        self._server_clock = ServerClock()

    def deliver(self, call: Call, deadline_ms: float) -> Delivery:
        """Deliver one call, and return its reply or raise an error of ours."""
        pause_ms, reason = PAUSE_FIRST_MS, "the deadline passed before it was sent"
        was_sent = may_have_run = False
        while monotonic_ms() < deadline_ms:
            self._metrics.resent += was_sent
            was_sent = True
            outcome = yield Send(self._stamped(call, deadline_ms), deadline_ms)
            if isinstance(outcome, Exception):
                self._metrics.redis_errors += 1
            if isinstance(outcome, ScriptFailed):
                raise self._unknown(call, str(outcome)) if may_have_run else error_of(outcome)
            if isinstance(outcome, ReplyLost) and call.writes:
                raise self._unknown(call, str(outcome))
            if isinstance(outcome, ReplyLost) and call.script in CARRIED_OUT_ONCE:
                may_have_run = True
            if isinstance(outcome, Exception):
                if not isinstance(outcome, NotRun | ReplyLost):
                    raise outcome
                reason = str(outcome)
                if not call.patient:
                    break
            else:
                assert outcome is not None
                self._observe(call, outcome)
                if outcome[0] != Status.LATE:
                    return Resent(outcome) if may_have_run else outcome
                self._metrics.late += 1
                reason = "the server ran it after its deadline, and counted nothing"
            remaining_ms = deadline_ms - monotonic_ms()
            if remaining_ms > 0:
                yield Pause(min(pause_ms, remaining_ms))
            pause_ms = min(pause_ms * 2, PAUSE_MAX_MS)
        if may_have_run:
            raise self._unknown(call, reason)
        raise Unavailable(f"{call.script} had no answer within its deadline: {reason}")

    def _unknown(self, call: Call, reason: str) -> OutcomeUnknown:
        self._metrics.outcomes_unknown += 1
        return OutcomeUnknown(f"{call.script} was sent and its reply never came ({reason}): it ran once or not at all")

    def _stamped(self, call: Call, deadline_ms: float) -> Call:
        if call.timed is None:
            return call
        manual, args, timed = self._manual_clock, call.args, call.timed
        if manual is None:
            moment = MOMENT.pack(self._server_clock.not_after(call.keys[0], deadline_ms), 0.0)
        else:
            moment = MOMENT.pack(NEVER, manual.now_ms)
        stamped = (*args[:timed], moment + args[timed], *args[timed + 1 :])
        return Call(call.script, call.keys, stamped, timed, call.writes)

    def _observe(self, call: Call, reply: Reply) -> None:
        if self._manual_clock is None and len(reply) > 1 and isinstance(reply[1], int):
            self._server_clock.observe(call.keys[0], reply[1], monotonic_ms())


def error_of(failure: ScriptFailed) -> HeadgateError:
    """The error that a user is told for what a server answered."""
    text = str(failure)
    if "OUT_OF_RANGE" in text:
        return OutOfRange(
            "a sum would leave the range of exact numbers (whole ones to 2^53 − 1, fractions below 2^35): "
            "nothing was written"
        )
    return Unavailable(f"the server refused: {text}")
