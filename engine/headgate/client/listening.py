"""Listeners: they hear of changes on the channels of an environment.

No verdict depends on a message arriving. A listener that loses its connection makes another, and until then every
stale prepared request costs one more round trip, which the script asks for, and nothing is answered from memory that
Redis can be asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from redis.asyncio.connection import Connection as AsyncConnection
from redis.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from headgate.client import hearing
from headgate.client.hearing import PENDING_MAX, Ears
from headgate.updates import Update

WAIT_S: Final = 0.1
"""How long a read waits before the listener looks whether it shall stop."""

RECONNECT_FIRST_S: Final = 0.05
RECONNECT_MAX_S: Final = 2.0


class Listener(Ears):
    """Hears of changes in a thread of its own."""

    def __init__(self, connect: Callable[[], Connection], channel: bytes, usage_channel: bytes | None = None) -> None:
        super().__init__(channel, usage_channel)
        self._connect = connect
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._readers: list[queue.Queue[Update | None]] = []
        self.subscribed = threading.Event()
        self.usage_subscribed = threading.Event()

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

    def updates(self, customer: str | None = None) -> Iterator[Update]:
        """Yield updates from now on, of one customer or of all, until the listener stops."""
        self._wants_usage = True
        reader: queue.Queue[Update | None] = queue.Queue(PENDING_MAX)
        with self._lock:
            self._readers.append(reader)
            if self._stopped.is_set():
                _put(reader, None)
        return self._read(reader, customer)

    def _read(self, reader: queue.Queue[Update | None], customer: str | None) -> Iterator[Update]:
        try:
            while not (self._stopped.is_set() and reader.empty()):
                update = reader.get()
                if update is None:
                    return
                if update.concerns(customer):
                    yield update
        finally:
            with self._lock:
                self._readers.remove(reader)

    def _run(self) -> None:
        pause_s = RECONNECT_FIRST_S
        self._lose()
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
                self.usage_subscribed.clear()
                self._lose()
                connection.disconnect()
            self._stopped.wait(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    def _follow(self, connection: Connection) -> None:
        self._connected()
        asked_for_usage = False
        while not self._stopped.is_set():
            if self._wants_usage and self._usage_channel and self.subscribed.is_set() and not asked_for_usage:
                connection.send_command("SUBSCRIBE", self._usage_channel)
                asked_for_usage = True
            if not connection.can_read(timeout=WAIT_S):
                if self._is_silent():
                    raise RedisConnectionError("the connection is silent")
                if self._has_to_ping():
                    connection.send_command("PING")
                continue
            self._take(connection)

    def _take(self, connection: Connection) -> None:
        try:
            message = connection.read_response()
        except ResponseError:
            if not self.subscribed.is_set():
                raise
            message = None  # it may not listen to usage, or not ping; what it may, it does
        self._note_life()
        updates = self._learn(message)
        if self._hears:
            self.subscribed.set()
        if isinstance(message, list) and message[:2] == [b"subscribe", self._usage_channel]:
            self.usage_subscribed.set()
        self._tell(updates)

    def _tell(self, updates: list[Update]) -> None:
        if updates:
            with self._lock:
                for reader in self._readers:
                    for update in updates:
                        _put(reader, update)


def _put(reader: queue.Queue[Update | None], update: Update | None) -> None:
    with contextlib.suppress(queue.Empty):
        while reader.full():
            reader.get_nowait()
    reader.put_nowait(update)


class AsyncListener(Ears):
    """Hears of changes in a task of its own."""

    def __init__(
        self, connect: Callable[[], AsyncConnection], channel: bytes, usage_channel: bytes | None = None
    ) -> None:
        super().__init__(channel, usage_channel)
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._readers: list[asyncio.Queue[Update | None]] = []
        self._asking: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None
        self.subscribed = asyncio.Event()
        self.usage_subscribed = asyncio.Event()

    def start(self) -> None:
        """Begin to listen, if that has not begun. Needs a running event loop."""
        if self._task is None and not self._stopped:
            self._lose()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="headgate-updates")

    async def stop(self) -> None:
        """Stop listening, and end every iteration over updates."""
        self._stopped = True
        for task in (self._asking, self._task):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        for reader in self._readers:
            reader.put_nowait(None)

    def updates(self, customer: str | None = None) -> AsyncIterator[Update]:
        """Yield updates from now on, of one customer or of all, until the listener stops."""
        if not self._wants_usage:
            self._wants_usage = True
            if self._hears:
                self._asking = asyncio.get_running_loop().create_task(self._ask_for_usage())
        reader: asyncio.Queue[Update | None] = asyncio.Queue()
        self._readers.append(reader)
        if self._stopped:
            reader.put_nowait(None)
        return self._read(reader, customer)

    async def _read(self, reader: asyncio.Queue[Update | None], customer: str | None) -> AsyncIterator[Update]:
        try:
            while (update := await reader.get()) is not None:
                if update.concerns(customer):
                    yield update
        finally:
            self._readers.remove(reader)

    async def _run(self) -> None:
        pause_s = RECONNECT_FIRST_S
        while True:
            connection = self._connect()
            try:
                self._connected()
                async with asyncio.timeout(hearing.SILENCE_MAX_S):
                    await connection.connect()
                    await connection.send_command("SUBSCRIBE", self._channel)
                self._connection = connection
                while True:
                    await self._take(connection)
                    if self._hears:
                        pause_s = RECONNECT_FIRST_S
            except (RedisError, OSError, TimeoutError):
                pass  # made again below
            finally:
                self._connection = None
                self.subscribed.clear()
                self.usage_subscribed.clear()
                self._lose()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    async def _take(self, connection: AsyncConnection) -> None:
        try:
            async with asyncio.timeout(hearing.PING_EVERY_S):
                message = await connection.read_response(disconnect_on_error=False)
        except TimeoutError:
            if self._is_silent():
                raise
            if self._has_to_ping():
                await connection.send_command("PING")
            return
        except ResponseError:
            if not self._hears:
                raise
            message = None  # it may not listen to usage, or not ping; what it may, it does
        self._note_life()
        was_deaf = not self._hears
        self._tell(self._learn(message))
        if was_deaf and self._hears:
            self.subscribed.set()
            if self._wants_usage:
                await self._ask_for_usage()
        if isinstance(message, list) and message[:2] == [b"subscribe", self._usage_channel]:
            self.usage_subscribed.set()

    async def _ask_for_usage(self) -> None:
        if self._connection is not None and self._usage_channel:
            with contextlib.suppress(RedisError, OSError):  # who reads the connection finds out, too
                await self._connection.send_command("SUBSCRIBE", self._usage_channel)

    def _tell(self, updates: list[Update]) -> None:
        for update in updates:
            for reader in self._readers:
                if reader.qsize() >= PENDING_MAX:
                    reader.get_nowait()
                reader.put_nowait(update)
