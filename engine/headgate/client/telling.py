"""Tellers: they tell other processes what this one has counted, some times a second, outside the scripts that count.

A message each consume would cost Redis more than the consume where many listen. So what a counter stands at waits for
a moment, and whatever was counted on it meanwhile goes with one message. A message that is lost is lost: what others
keep of usage is read again when it is as old as they allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from headgate import wire
from headgate.client.delivery import NotRun, ReplyLost, ScriptFailed
from headgate.clock import monotonic_ms
from headgate.usage_notes import UsageNotes

PUBLISH_WITHIN_MS: Final = 250
REFUSED_FOR_S: Final = 60.0
"""How long nothing is told after the server has refused to publish: it may be that this user never may."""

_LOST: Final = (NotRun, ReplyLost)


class Teller:
    """Tells in a thread of its own, which begins with the first note."""

    def __init__(self, notes: UsageNotes, publish: Callable[[bytes, float], object], every_s: float) -> None:
        self._notes, self._publish, self._every_s = notes, publish, every_s
        self._noted, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        notes.is_on, notes.wake = True, self._wake

    def _wake(self) -> None:
        self._noted.set()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # in a forked child, the parent's thread is none
                self._thread = threading.Thread(target=self._run, name="headgate-usage", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._noted.wait()
            if self._stopped.wait(self._every_s):
                return
            self._noted.clear()
            if not self._tell():
                self._stopped.wait(REFUSED_FOR_S)

    def _tell(self) -> bool:
        for notes in self._notes.take():
            try:
                self._publish(wire.pack_usage_update(notes), monotonic_ms() + PUBLISH_WITHIN_MS)
            except ScriptFailed:
                return False
            except _LOST:
                pass
        return True

    def stop(self) -> None:
        """Tell what was noted last, and stop."""
        self._notes.is_on = False
        self._stopped.set()
        self._noted.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._every_s + 1)
            self._tell()


class AsyncTeller:
    """Tells in a task, which begins with the first note, and ends when there is nothing to tell."""

    def __init__(self, notes: UsageNotes, publish: Callable[[bytes, float], Awaitable[object]], every_s: float) -> None:
        self._notes, self._publish, self._every_s = notes, publish, every_s
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._quiet_until_ms = 0.0
        notes.is_on, notes.wake = True, self._wake

    def _wake(self) -> None:
        pause_s = max(self._every_s, (self._quiet_until_ms - monotonic_ms()) / 1000)
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._tell(), name="headgate-usage")

    async def _tell(self) -> None:
        for notes in self._notes.take():
            try:
                await self._publish(wire.pack_usage_update(notes), monotonic_ms() + PUBLISH_WITHIN_MS)
            except ScriptFailed:
                self._quiet_until_ms = monotonic_ms() + REFUSED_FOR_S * 1000
                return
            except _LOST:
                pass

    async def stop(self) -> None:
        """Tell what was noted last, and stop."""
        self._notes.is_on = False
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._timer is not None:
            await self._tell()
