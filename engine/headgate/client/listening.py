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
from headgate.updates import MISSED, Update

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
        self._lock = threading.RLock()  # a reader that is collected takes it, wherever that happens
        self._readers: list[_Reader] = []
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
            for reader in tuple(self._readers):
                reader.put(None)

    def begin_anew(self) -> None:
        """Be ready to start in a forked child, where the thread that listened is not."""
        self._lock, self._thread = threading.RLock(), None
        self.subscribed, self.usage_subscribed = threading.Event(), threading.Event()
        self._readers = []
        self._lose()

    def updates(self, customer: str | None = None) -> Updates:
        """Yield updates from now on, of one customer or of all, until the listener stops."""
        self._wants_usage = True
        reader = _Reader(customer)
        with self._lock:
            self._readers.append(reader)
            if self._stopped.is_set():
                reader.put(None)
        return Updates(reader, self._forget)

    def _forget(self, reader: _Reader) -> None:
        with self._lock, contextlib.suppress(ValueError):
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
                for reader in tuple(self._readers):
                    for update in updates:
                        reader.tell(update)


class _Reader:
    """What waits for one who reads updates; where too much does, all of it goes, and that some were missed is said."""

    def __init__(self, customer: str | None) -> None:
        self._customer = customer
        self._waiting: queue.SimpleQueue[Update | None] = queue.SimpleQueue()

    def tell(self, update: Update) -> None:
        """Let it be read, if it concerns who reads."""
        if update.concerns(self._customer):
            if self._waiting.qsize() >= PENDING_MAX:
                with contextlib.suppress(queue.Empty):
                    while True:
                        self._waiting.get_nowait()
                self._waiting.put(MISSED)
            self._waiting.put(update)

    def put(self, update: Update | None) -> None:
        """Let it be read, whomever it concerns; None is the end."""
        self._waiting.put(update)

    def take(self) -> Update | None:
        """Wait for the next."""
        return self._waiting.get()


class Updates(Iterator[Update]):
    """Updates as they come; nothing is kept for them any more once nobody has this, or it was closed."""

    def __init__(self, reader: _Reader, forget: Callable[[_Reader], None]) -> None:
        self._reader, self._forget = reader, forget
        self._has_ended = False

    def __next__(self) -> Update:
        update = None if self._has_ended else self._reader.take()
        if update is None:
            self.close()
            raise StopIteration
        return update

    def close(self) -> None:
        """Read no more."""
        self._has_ended = True
        self._forget(self._reader)

    def __del__(self) -> None:
        self._forget(self._reader)


class AsyncListener(Ears):
    """Hears of changes in a task of its own."""

    def __init__(
        self, connect: Callable[[], AsyncConnection], channel: bytes, usage_channel: bytes | None = None
    ) -> None:
        super().__init__(channel, usage_channel)
        self._connect = connect
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._readers: list[_AsyncReader] = []
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
        for reader in tuple(self._readers):
            reader.put(None)

    def updates(self, customer: str | None = None) -> AsyncUpdates:
        """Yield updates from now on, of one customer or of all, until the listener stops."""
        if not self._wants_usage:
            self._wants_usage = True
            if self._hears:
                self._asking = asyncio.get_running_loop().create_task(self._ask_for_usage())
        reader = _AsyncReader(customer)
        self._readers.append(reader)
        if self._stopped:
            reader.put(None)
        return AsyncUpdates(reader, self._forget)

    def _forget(self, reader: _AsyncReader) -> None:
        with contextlib.suppress(ValueError):
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
            for reader in tuple(self._readers):
                reader.tell(update)


class _AsyncReader:
    """The same for asyncio."""

    def __init__(self, customer: str | None) -> None:
        self._customer = customer
        self._waiting: asyncio.Queue[Update | None] = asyncio.Queue()

    def tell(self, update: Update) -> None:
        """Let it be read, if it concerns who reads."""
        if update.concerns(self._customer):
            if self._waiting.qsize() >= PENDING_MAX:
                while not self._waiting.empty():
                    self._waiting.get_nowait()
                self._waiting.put_nowait(MISSED)
            self._waiting.put_nowait(update)

    def put(self, update: Update | None) -> None:
        """Let it be read, whomever it concerns; None is the end."""
        self._waiting.put_nowait(update)

    async def take(self) -> Update | None:
        """Wait for the next."""
        return await self._waiting.get()


class AsyncUpdates(AsyncIterator[Update]):
    """Updates as they come; nothing is kept for them any more once nobody has this, or it was closed."""

    def __init__(self, reader: _AsyncReader, forget: Callable[[_AsyncReader], None]) -> None:
        self._reader, self._forget = reader, forget
        self._has_ended = False

    async def __anext__(self) -> Update:
        update = None if self._has_ended else await self._reader.take()
        if update is None:
            await self.aclose()
            raise StopAsyncIteration
        return update

    async def aclose(self) -> None:
        """Read no more."""
        self._has_ended = True
        self._forget(self._reader)

    def __del__(self) -> None:
        self._forget(self._reader)
