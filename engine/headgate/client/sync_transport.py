"""The transport for threads, on redis-py's connections: one connection a call, a bounded pool for each node.

Only connections are taken from redis-py, not its client: so no retry of the driver's can send a write again, waiting
for a free connection is part of the deadline, and it is known whether a call was written when something goes wrong.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from headgate.calls import Call, Reply
from headgate.client.delivery import NotRun, ReplyLost, ScriptFailed
from headgate.client.nodes import Address, Redirect, SlotMap, meaning_of
from headgate.client.urls import Kind, Target
from headgate.clock import monotonic_ms
from headgate.scripts import Clock, ScriptSet, load_scripts

IDLE_UNTESTED_MS: Final = 100
"""A connection that was idle for longer is looked at before it is used: the server may have closed it."""

REDIRECTS_MAX: Final = 4


class _Pool:
    """Connections to one node: at most so many, the last one used first; callers wait for a free one."""

    def __init__(self, make: Callable[[], Connection], size: int) -> None:
        self._make = make
        self._size = size
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._free = threading.Semaphore(self._size)
        self._idle: deque[tuple[Connection, float]] = deque()

    def take(self, deadline_ms: float) -> Connection:
        if os.getpid() != self._pid:  # a forked child must not share its parent's sockets
            self._reset()
        if not self._free.acquire(timeout=max(0.0, deadline_ms - monotonic_ms()) / 1000):
            raise NotRun(f"all {self._size} connections were busy until the deadline")
        try:
            connection, since_ms = self._idle.pop()
        except IndexError:
            return self._made()
        if monotonic_ms() - since_ms > IDLE_UNTESTED_MS and _is_dead(connection):
            connection.disconnect()
        return connection

    def _made(self) -> Connection:
        try:
            return self._make()
        except BaseException:
            self._free.release()
            raise

    def give_back(self, connection: Connection) -> None:
        self._idle.append((connection, monotonic_ms()))
        self._free.release()

    def close(self) -> None:
        if os.getpid() != self._pid:
            return
        while self._idle:
            self._idle.pop()[0].disconnect()


def _is_dead(connection: Connection) -> bool:
    try:
        return bool(connection.can_read(timeout=0))
    except (RedisConnectionError, RedisTimeoutError, OSError):
        return True


class RedisTransport:
    """Sends calls to one server, or to the nodes of a cluster."""

    def __init__(self, target: Target, *, clock: Clock, connections_max: int, connect_timeout_ms: int) -> None:
        options = parse_url(target.url)
        self._connection_class: type[Connection] = options.pop("connection_class", Connection)
        self._options = {
            "socket_connect_timeout": connect_timeout_ms / 1000,
            "socket_timeout": connect_timeout_ms / 1000,
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
        self._lock = threading.Lock()
        self._pools: dict[Address, _Pool] = {}
        self._scripts: ScriptSet | None = None
        self._listened = -1

    def send(self, call: Call, deadline_ms: float) -> Reply:
        """Send a call to the node that has its keys, and follow where a cluster says that they are."""
        scripts = self._scripts or self._load_scripts(deadline_ms)
        script = scripts[call.script]
        count = b"%d" % len(call.keys)
        command: tuple[bytes | str, ...] = ("EVALSHA", script.sha1, count, *call.keys, *call.args)
        address, asks = self._address_of(call, deadline_ms), False
        for _ in range(REDIRECTS_MAX):
            try:
                return self._exchange(address, command, deadline_ms, asks=asks)
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

    def command(self, *parts: str | bytes, deadline_ms: float, address: Address | None = None) -> Any:
        """Send a plain command: for set-up, never for a verdict."""
        try:
            return self._exchange(address or self._here, parts, deadline_ms)
        except ResponseError as error:
            meaning = meaning_of(error)
            raise (NotRun(str(error)) if isinstance(meaning, Redirect) else meaning) from None

    def connection(self) -> Connection:
        """Make a connection of the caller's own, for a listener; of a cluster, to one node after the other."""
        nodes = self._slots.everyone() if self._is_cluster else [self._here]
        self._listened += 1
        return self._make(nodes[self._listened % len(nodes)])

    def close(self) -> None:
        """Close every connection that is not in use."""
        for pool in list(self._pools.values()):
            pool.close()

    def _exchange(
        self, address: Address, command: tuple[bytes | str, ...], deadline_ms: float, *, asks: bool = False
    ) -> Any:
        pool = self._pool(address)
        connection = pool.take(deadline_ms)
        try:
            _connect(connection, deadline_ms)
            if asks:
                _ask(connection, deadline_ms)
            _write(connection, command)
            return _read(connection, deadline_ms)
        except BaseException as error:
            if not isinstance(error, ResponseError):
                connection.disconnect()
            raise
        finally:
            pool.give_back(connection)

    def _pool(self, address: Address) -> _Pool:
        pool = self._pools.get(address)
        if pool is None:
            with self._lock:
                pool = self._pools.setdefault(address, _Pool(lambda: self._make(address), self._connections_max))
        return pool

    def _make(self, address: Address) -> Connection:
        options = dict(self._options)
        if "path" not in options:
            options["host"], options["port"] = address
        return self._connection_class(**options)

    def _address_of(self, call: Call, deadline_ms: float) -> Address:
        if not self._is_cluster:
            return self._here
        if not self._slots.is_known:
            self._learn_slots(deadline_ms)
        return self._slots.owner(call.keys[0])

    def _learn_slots(self, deadline_ms: float) -> None:
        trouble: Exception = NotRun("no node of the cluster is known")
        for address in self._slots.everyone():
            try:
                reply = self.command("CLUSTER", "SLOTS", deadline_ms=deadline_ms, address=address)
            except (NotRun, ReplyLost) as error:
                trouble = error
            else:
                self._slots.learn(reply, address)
                return
        raise NotRun(f"no node of the cluster answers: {trouble}")

    def _load_scripts(self, deadline_ms: float) -> ScriptSet:
        try:
            supports_flags = knows_flags(self.command("INFO", "server", deadline_ms=deadline_ms))
        except ReplyLost as error:
            raise NotRun(str(error)) from None  # the call itself was not written yet
        self._scripts = load_scripts(clock=self._clock, server_supports_flags=supports_flags)
        return self._scripts


def knows_flags(info: bytes) -> bool:
    """Whether a server knows the first line `#!lua`: Redis 7 on, and Valkey."""
    for line in info.splitlines():
        name, _, version = line.partition(b":")
        if name == b"redis_version":
            return int(version.split(b".")[0]) >= 7
    return False


def _connect(connection: Connection, deadline_ms: float) -> None:
    remaining_s = max(0.001, (deadline_ms - monotonic_ms()) / 1000)
    connection.socket_connect_timeout = connection.socket_timeout = remaining_s
    try:
        connection.connect()
    except AuthenticationError as error:
        raise ScriptFailed(str(error)) from None
    except BusyLoadingError as error:
        raise NotRun(str(error)) from None
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise NotRun(f"no connection: {error}") from None
    except RedisError as error:
        raise ScriptFailed(str(error)) from None


def _ask(connection: Connection, deadline_ms: float) -> None:
    _write(connection, ("ASKING",))
    try:
        _read(connection, deadline_ms)
    except ReplyLost as error:
        raise NotRun(str(error)) from None  # the call itself was not written yet


def _write(connection: Connection, command: tuple[bytes | str, ...]) -> None:
    try:
        connection.send_packed_command(connection.pack_command(*command), check_health=False)
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        # A command of which the socket did not take every byte cannot have run.
        raise NotRun(f"the connection broke while the call was written: {error}") from None


def _read(connection: Connection, deadline_ms: float) -> Any:
    try:
        return connection.read_response(timeout=max(0.001, (deadline_ms - monotonic_ms()) / 1000))
    except BusyLoadingError as error:
        raise NotRun(str(error)) from None
    except RedisTimeoutError:
        raise ReplyLost("no reply before the deadline") from None
    except (RedisConnectionError, OSError) as error:
        raise ReplyLost(str(error)) from None
