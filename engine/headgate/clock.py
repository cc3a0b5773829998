"""The only place where time is read. Everything else is told the time."""

from __future__ import annotations

import time


def monotonic_ms() -> float:
    """Milliseconds of a clock that never steps: for deadlines."""
    return time.monotonic() * 1000


def wall_ms() -> int:
    """Epoch milliseconds by this machine's clock: the start of a `ManualClock`, never of a verdict."""
    return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands until it is moved, for tests and replays.

    An environment that is first written with one has a simulated clock for ever: its scripts take the instant from
    the client. It can be moved backwards, to try what a failover to a server with a slow clock does.
    """

    def __init__(self, now_ms: int | None = None) -> None:
        self._now_ms = wall_ms() if now_ms is None else now_ms

    @property
    def now_ms(self) -> int:
        """The instant that this clock shows, in epoch milliseconds."""
        return self._now_ms

    def set(self, now_ms: int) -> None:
        """Show another instant."""
        self._now_ms = now_ms

    def advance(self, milliseconds: int) -> None:
        """Move on by some milliseconds, or back by a negative number of them."""
        self._now_ms += milliseconds

    def __repr__(self) -> str:
        return f"ManualClock({self._now_ms})"
