"""What was counted lately: notes for other processes, so that what they keep of usage stays close. No I/O, no clock.

Only the last number of a counter is worth telling, so a counter that is counted on a thousand times between two
messages is one note. Nothing depends on a note arriving: it is told outside the script that counted, and may be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

NOTES_MAX: Final = 10_000
"""How many counters may wait to be told; of those that come beyond them nothing is told."""

NOTES_A_MESSAGE: Final = 500


@dataclass(frozen=True, slots=True)
class UsageNote:
    """An account-level counter as it stood at an instant of the server's; `used` is None where it only has changed.

    `capability` names what is counted as headgate.keys does: `feature:…`, or `currency:…` for a wallet. `rises` says
    that what was done only made the counter greater: of two such notes of one millisecond, the greater came later.
    """

    customer: str
    capability: str
    resource: str | None
    at_ms: int
    start_ms: int = 0
    used: float | None = None
    held: float = 0.0
    rises: bool = False

    def after(self, other: UsageNote) -> UsageNote:
        """The later one of two notes of one counter, or one without a number where nobody can say which that is."""
        if self.at_ms != other.at_ms:
            return self if self.at_ms > other.at_ms else other
        if self.used is None or other.used is None:
            return replace(self, used=None)
        if (self.start_ms, self.used, self.held) == (other.start_ms, other.used, other.held):
            return replace(self, rises=self.rises and other.rises)
        if self.rises and other.rises and self.start_ms == other.start_ms:
            return max(self, other, key=lambda note: (note.used or 0.0) + note.held)
        return replace(self, used=None)

    @property
    def key(self) -> tuple[str, str, str | None]:
        """The counter that it is about."""
        return self.customer, self.capability, self.resource


class UsageNotes:
    """The notes that this process has still to tell; `wake` is called when there is something to tell again."""

    def __init__(self, lock: AbstractContextManager[object], *, is_on: bool = False) -> None:
        self.is_on = is_on
        self.wake: Callable[[], None] = lambda: None
        self.untold = 0
        self._lock = lock
        self._waiting: dict[tuple[str, str, str | None], UsageNote] = {}

    def add(self, note: UsageNote) -> None:
        """Tell of a counter with the next message; a later note takes the place of an earlier one."""
        if not self.is_on:
            return
        with self._lock:
            was_empty = not self._waiting
            known = self._waiting.get(note.key)
            if known is None and len(self._waiting) >= NOTES_MAX:
                self.untold += 1
                return
            self._waiting[note.key] = note if known is None else note.after(known)
        if was_empty:
            self.wake()

    def begin_anew(self, lock: AbstractContextManager[object]) -> None:
        """Go on in a forked child, which has counted nothing yet."""
        self._lock, self._waiting = lock, {}

    def take(self) -> list[list[UsageNote]]:
        """Take everything that waits, in messages."""
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        return [waiting[first : first + NOTES_A_MESSAGE] for first in range(0, len(waiting), NOTES_A_MESSAGE)]
