"""Listeners: they hear of changes on the updates channel, so that staleness is rare.

No verdict depends on a message arriving. A listener that loses its connection makes another, and until then every
stale prepared request costs one more round trip, which the script asks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from redis.asyncio.connection import Connection as AsyncConnection
from redis.connection import Connection
from redis.exceptions import RedisError

from headgate.cache import State
from headgate.updates import Update, apply_update, read_update

WAIT_S: Final = 0.1
"""How long a read waits before the listener looks whether it shall stop."""

RECONNECT_FIRST_S: Final = 0.05
RECONNECT_MAX_S: Final = 2.0
PENDING_MAX: Final = 10_000
"""How many updates wait for a slow reader; older ones are dropped, as each only says that something moved on."""


def _update_in(message: Any) -> Update | None:
    if isinstance(message, list) and len(message) == 3 and message[0] == b"message":
        return read_update(message[2])
    return None


class Listener:
    """Hears of changes in a thread of its own."""

    def __init__(self, connect: Callable[[], Connection], channel: bytes) -> None:
        self._connect = connect
        self._channel = channel
        self._state: State | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._readers: list[queue.Queue[Update | None]] = []
        self.subscribed = threading.Event()

    def watch(self, state: State) -> None:
        """Apply updates to the state of a client."""
        self._state = state

    def start(self, *, wait_s: float = 0.0) -> None:
        """Begin to listen, if that has not begun; wait a while until the server says that it listens."""
        with self._lock:
            if self._stopped.is_set():
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="headgate-updates", daemon=True)
                self._thread.start()
        if wait_s:
            self.subscribed.wait(wait_s)

    def stop(self) -> None:
        """Stop listening, and end every iteration over updates."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(WAIT_S * 4)
        with self._lock:
            for reader in self._readers:
                _put(reader, None)

    def updates(self) -> Iterator[Update]:
        """Yield updates from now on, until the listener stops."""
        reader: queue.Queue[Update | None] = queue.Queue(PENDING_MAX)
        with self._lock:
            self._readers.append(reader)
            if self._stopped.is_set():
                _put(reader, None)
        return self._read(reader)

    def _read(self, reader: queue.Queue[Update | None]) -> Iterator[Update]:
        try:
            while not (self._stopped.is_set() and reader.empty()):
                update = reader.get()
                if update is None:
                    return
                yield update
        finally:
            with self._lock:
                self._readers.remove(reader)

    def _run(self) -> None:
        pause_s = RECONNECT_FIRST_S
        while not self._stopped.is_set():
            connection = self._connect()
            try:
                connection.connect()
                connection.send_command("SUBSCRIBE", self._channel)
                self._follow(connection)
            except (RedisError, OSError):
                pass  # made again below
            finally:
                if self.subscribed.is_set():
                    pause_s = RECONNECT_FIRST_S
                self.subscribed.clear()
                connection.disconnect()
            self._stopped.wait(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    def _follow(self, connection: Connection) -> None:
        while not self._stopped.is_set():
            if not connection.can_read(timeout=WAIT_S):
                continue
            message = connection.read_response()
            if isinstance(message, list) and message[0] == b"subscribe":
                self.subscribed.set()
            update = _update_in(message)
            if update is not None:
                self._tell(update)

    def _tell(self, update: Update) -> None:
        if self._state is not None:
            apply_update(self._state, update)
        with self._lock:
            for reader in self._readers:
                _put(reader, update)


def _put(reader: queue.Queue[Update | None], update: Update | None) -> None:
    with contextlib.suppress(queue.Empty):
        while reader.full():
            reader.get_nowait()
    reader.put_nowait(update)


class AsyncListener:
    """Hears of changes in a task of its own."""

    def __init__(self, connect: Callable[[], AsyncConnection], channel: bytes) -> None:
        self._connect = connect
        self._channel = channel
        self._state: State | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._readers: list[asyncio.Queue[Update | None]] = []
        self.subscribed = asyncio.Event()

    def watch(self, state: State) -> None:
        """Apply updates to the state of a client."""
        self._state = state

    def start(self) -> None:
        """Begin to listen, if that has not begun. Needs a running event loop."""
        if self._task is None and not self._stopped:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="headgate-updates")

    async def stop(self) -> None:
        """Stop listening, and end every iteration over updates."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for reader in self._readers:
            reader.put_nowait(None)

    def updates(self) -> AsyncIterator[Update]:
        """Yield updates from now on, until the listener stops."""
        reader: asyncio.Queue[Update | None] = asyncio.Queue()
        self._readers.append(reader)
        if self._stopped:
            reader.put_nowait(None)
        return self._read(reader)

    async def _read(self, reader: asyncio.Queue[Update | None]) -> AsyncIterator[Update]:
        try:
            while (update := await reader.get()) is not None:
                yield update
        finally:
            self._readers.remove(reader)

    async def _run(self) -> None:
        pause_s = RECONNECT_FIRST_S
        while True:
            connection = self._connect()
            try:
                await connection.connect()
                await connection.send_command("SUBSCRIBE", self._channel)
                while True:
                    message = await connection.read_response()
                    pause_s = RECONNECT_FIRST_S
                    if isinstance(message, list) and message[0] == b"subscribe":
                        self.subscribed.set()
                    update = _update_in(message)
                    if update is not None:
                        self._tell(update)
            except (RedisError, OSError):
                pass  # made again below
            finally:
                self.subscribed.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    def _tell(self, update: Update) -> None:
        if self._state is not None:
            apply_update(self._state, update)
        for reader in self._readers:
            if reader.qsize() >= PENDING_MAX:
                reader.get_nowait()
            reader.put_nowait(update)
