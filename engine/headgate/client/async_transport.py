"""The transport for asyncio, on redis-py's connections: one connection a call, a bounded pool for each node.

The rules are those of the transport for threads; only waiting is another. A caller that is cancelled while its reply
is under way gives up its connection: the next one would read a reply that is not its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from headgate.calls import Call, Reply
from headgate.client.delivery import NotRun, ReplyLost, ScriptFailed
from headgate.client.nodes import Address, Redirect, SlotMap, meaning_of
from headgate.client.sync_transport import IDLE_UNTESTED_MS, REDIRECTS_MAX, knows_flags
from headgate.client.urls import Kind, Target
from headgate.clock import monotonic_ms
from headgate.scripts import Clock, ScriptSet, load_scripts


class _Pool:
    """Connections to one node: at most so many, the last one used first; tasks wait for a free one."""

    def __init__(self, make: Callable[[], Connection], size: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._idle: deque[tuple[Connection, float]] = deque()

    async def take(self) -> Connection:
        await self._free.acquire()
        if not self._idle:
            try:
                return self._make()
            except BaseException:
                self._free.release()
                raise
        connection, since_ms = self._idle.pop()
        try:
            if monotonic_ms() - since_ms > IDLE_UNTESTED_MS and await _is_dead(connection):
                await connection.disconnect(nowait=True)
        except BaseException:  # cancelled while looking: what it read is not known
            await connection.disconnect(nowait=True)
            self.give_back(connection)
            raise
        return connection

    def give_back(self, connection: Connection) -> None:
        self._idle.append((connection, monotonic_ms()))
        self._free.release()

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop()[0].disconnect()


async def _is_dead(connection: Connection) -> bool:
    try:
        return bool(await connection.can_read())
    except (RedisConnectionError, RedisTimeoutError, OSError):
        return True


class AsyncRedisTransport:
    """Sends calls to one server, or to the nodes of a cluster. Belongs to one event loop."""

    def __init__(self, target: Target, *, clock: Clock, connections_max: int, connect_timeout_ms: int) -> None:
        options = parse_url(target.url)
        self._connection_class: Any = options.pop("connection_class", Connection)
        self._options: dict[str, Any] = {
            "socket_connect_timeout": connect_timeout_ms / 1000,
            "socket_timeout": None,
            **options,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_error": [],
            "health_check_interval": 0,
            "protocol": 2,
            "decode_responses": False,
        }
        self._clock: Clock = clock
        self._connections_max = connections_max
        self._is_cluster = target.kind is Kind.CLUSTER
        self._here: Address = (options.get("host", "localhost"), options.get("port", 6379))
        self._slots = SlotMap([self._here])
        self._pools: dict[Address, _Pool] = {}
        self._scripts: ScriptSet | None = None
        self._listened = -1

    async def send(self, call: Call, deadline_ms: float) -> Reply:
        """Send a call to the node that has its keys, and follow where a cluster says that they are."""
        scripts = self._scripts or await self._load_scripts(deadline_ms)
        script = scripts[call.script]
        count = b"%d" % len(call.keys)
        command: tuple[bytes | str, ...] = ("EVALSHA", script.sha1, count, *call.keys, *call.args)
        address, asks = await self._address_of(call, deadline_ms), False
        for _ in range(REDIRECTS_MAX):
            try:
                return await self._exchange(address, command, deadline_ms, asks=asks)
            except NoScriptError:
                command = ("EVAL", script.source, count, *call.keys, *call.args)
            except ResponseError as error:
                meaning = meaning_of(error)
                if not isinstance(meaning, Redirect):
                    raise meaning from None
                address, asks = meaning.address, meaning.asks
                if not asks:
                    self._slots.moved(meaning.slot, address)
            except NotRun:
                self._slots.forget()
                raise
        raise NotRun("the cluster sent the call from node to node")

    async def command(self, *parts: str | bytes, deadline_ms: float, address: Address | None = None) -> Any:
        """Send a plain command: for set-up, never for a verdict."""
        try:
            return await self._exchange(address or self._here, parts, deadline_ms)
        except ResponseError as error:
            meaning = meaning_of(error)
            raise (NotRun(str(error)) if isinstance(meaning, Redirect) else meaning) from None

    def connection(self) -> Connection:
        """Make a connection of the caller's own, for a listener; of a cluster, to one node after the other."""
        nodes = self._slots.everyone() if self._is_cluster else [self._here]
        self._listened += 1
        return self._make(nodes[self._listened % len(nodes)])

    async def close(self) -> None:
        """Close every connection that is not in use."""
        for pool in list(self._pools.values()):
            await pool.close()

    async def _exchange(
        self, address: Address, command: tuple[bytes | str, ...], deadline_ms: float, *, asks: bool = False
    ) -> Any:
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = _Pool(lambda: self._make(address), self._connections_max)
        written = False
        try:
            async with asyncio.timeout(max(0.0, deadline_ms - monotonic_ms()) / 1000):
                connection = await pool.take()
                try:
                    await _connect(connection)
                    if asks:
                        await _ask(connection)
                    written = True
                    await _write(connection, command)
                    return await _read(connection)
                except BaseException as error:
                    if not isinstance(error, ResponseError):
                        await connection.disconnect(nowait=True)
                    raise
                finally:
                    pool.give_back(connection)
        except TimeoutError:
            if written:
                raise ReplyLost("no reply before the deadline") from None
            raise NotRun("no connection before the deadline") from None

    def _make(self, address: Address) -> Connection:
        options = dict(self._options)
        if "path" not in options:
            options["host"], options["port"] = address
        connection: Connection = self._connection_class(**options)
        return connection

    async def _address_of(self, call: Call, deadline_ms: float) -> Address:
        if not self._is_cluster:
            return self._here
        if not self._slots.is_known:
            await self._learn_slots(deadline_ms)
        return self._slots.owner(call.keys[0])

    async def _learn_slots(self, deadline_ms: float) -> None:
        trouble: Exception = NotRun("no node of the cluster is known")
        for address in self._slots.everyone():
            try:
                reply = await self.command("CLUSTER", "SLOTS", deadline_ms=deadline_ms, address=address)
            except (NotRun, ReplyLost) as error:
                trouble = error
            else:
                self._slots.learn(reply, address)
                return
        raise NotRun(f"no node of the cluster answers: {trouble}")

    async def _load_scripts(self, deadline_ms: float) -> ScriptSet:
        try:
            supports_flags = knows_flags(await self.command("INFO", "server", deadline_ms=deadline_ms))
        except ReplyLost as error:
            raise NotRun(str(error)) from None  # the call itself was not written yet
        self._scripts = load_scripts(clock=self._clock, server_supports_flags=supports_flags)
        return self._scripts


async def _connect(connection: Connection) -> None:
    try:
        await connection.connect()
    except AuthenticationError as error:
        raise ScriptFailed(str(error)) from None
    except BusyLoadingError as error:
        raise NotRun(str(error)) from None
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise NotRun(f"no connection: {error}") from None
    except RedisError as error:
        raise ScriptFailed(str(error)) from None


async def _ask(connection: Connection) -> None:
    try:
        await _write(connection, ("ASKING",))
        await _read(connection)
    except ReplyLost as error:
        raise NotRun(str(error)) from None  # the call itself was not written yet


async def _write(connection: Connection, command: tuple[bytes | str, ...]) -> None:
    try:
        await connection.send_packed_command(connection.pack_command(*command), check_health=False)
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        # asyncio takes bytes at once and writes them later: some of them may have gone.
        raise ReplyLost(f"the connection broke while the call was written: {error}") from None


async def _read(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except BusyLoadingError as error:
        raise NotRun(str(error)) from None
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise ReplyLost(str(error)) from None
