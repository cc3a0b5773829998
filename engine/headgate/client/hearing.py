"""What a listener for threads and one for asyncio have in common: everything but waiting.

A connection that only listens may be dead without a sign: somebody has cut it, and nobody says so. So a listener asks
the server for a sign of life each second, and takes a connection for dead that was silent for `SILENCE_MAX_S`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from headgate.cache import State
from headgate.clock import monotonic_ms
from headgate.updates import MISSED, Update, read_updates

PING_EVERY_S: Final = 1.0
"""How long a connection may be silent before it is asked for a sign of life."""

SILENCE_MAX_S: Final = 3.0
"""How long a connection may be silent before it is taken for dead: a half-open one is noticed by then."""

PENDING_MAX: Final = 10_000
"""How many updates wait for a slow reader; older ones are dropped, as each only says that something moved on."""


class Ears:
    """What one listener knows: whether updates are heard, and what the state of its client has to learn of that."""

    def __init__(self, channel: bytes, usage_channel: bytes | None) -> None:
        self._channel = channel
        self._usage_channel = usage_channel
        self._state: State | None = None
        self._now_ms: Callable[[], float] = monotonic_ms
        self._has_heard_before = False
        self._heard_s = 0.0
        self._asked_s = 0.0
        self._wants_usage = False
        self._hears = False

    def watch(self, state: State, now_ms: Callable[[], float] = monotonic_ms) -> None:
        """Let the state of a client learn from updates; `now_ms` is the instant by which it keeps answers."""
        self._state, self._now_ms = state, now_ms
        self._wants_usage = self._wants_usage or state.entitlements.keeps_numbers

    def _connected(self) -> None:
        self._heard_s = self._asked_s = monotonic_ms() / 1000

    def _is_silent(self) -> bool:
        return monotonic_ms() / 1000 - self._heard_s >= SILENCE_MAX_S

    def _has_to_ping(self) -> bool:
        """Whether to ask for a sign of life now; at most once in a while."""
        now_s = monotonic_ms() / 1000
        if now_s - max(self._heard_s, self._asked_s) < PING_EVERY_S:
            return False
        self._asked_s = now_s
        return True

    def _note_life(self) -> None:
        """Something came: also an error is a sign of life."""
        self._heard_s = monotonic_ms() / 1000
        if self._state is not None and self._hears:
            self._state.entitlements.heard(self._now_ms())

    def _learn(self, message: Any) -> list[Update]:
        """What a message of the server's tells; the state has learned from it already."""
        if not isinstance(message, list) or len(message) != 3:
            return []
        kind, channel, content = message
        if kind == b"subscribe" and channel == self._channel:
            return self._begin_to_hear()
        return read_updates(self._state, content) if kind == b"message" else []

    def _begin_to_hear(self) -> list[Update]:
        missed = [MISSED] if self._has_heard_before else []
        self._hears = self._has_heard_before = True
        if self._state is not None:
            self._state.entitlements.hear(self._now_ms())
            self._state.hearing.hear(monotonic_ms())
        return missed

    def _lose(self) -> None:
        """Nothing is heard from now on; also said when the listener begins."""
        self._hears = False
        if self._state is not None:
            self._state.entitlements.lose()
            self._state.hearing.lose(monotonic_ms())
