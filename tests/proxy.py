"""A loopback proxy in front of a server that cuts the connection at a chosen point of a chosen request.

    with CuttingProxy(server.port) as proxy:
        proxy.cut_next(2, containing=b"EVALSHA", where=Cut.BEFORE_REPLY)
        proxy.cut_by(lambda request: Cut.IN_REPLY if random.random() < 0.3 else None)
        ...
        proxy.lost[0].reply

It reads requests and replies whole (RESP2 and RESP3), so pipelined ones are told apart, and a cut "before the reply"
comes only once the server has answered: the request certainly ran.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


class Cut(enum.Enum):
    """Where the connection ends."""

    BEFORE_REQUEST = "before the request is forwarded: it does not run"
    BEFORE_REPLY = "after the request was forwarded and ran, before its reply"
    IN_REPLY = "in the middle of the reply"


@dataclass(slots=True)
class _Order:
    containing: bytes
    where: Cut
    left: int


@dataclass(frozen=True, slots=True)
class Lost:
    """An exchange that was cut: the request, and the reply that the client did not get; None where nothing ran."""

    where: Cut
    request: bytes
    reply: bytes | None


class CuttingProxy:
    """Forwards to a port, and cuts what it was told to.

    `cuts` counts the cuts, `requests` all requests seen, and `lost` has every exchange that was cut, in order.
    """

    def __init__(self, target_port: int, *, target_host: str = "127.0.0.1") -> None:
        self._target = (target_host, target_port)
        self._lock = threading.Lock()
        self._orders: list[_Order] = []
        self._choose: Callable[[bytes], Cut | None] = lambda request: None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self.lost: list[Lost] = []
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def cuts(self) -> int:
        with self._lock:
            return len(self.lost)

    def cut_by(self, choose: Callable[[bytes], Cut | None]) -> None:
        """Ask of every request that no order is about whether to cut it, and where; one request is asked at a time."""
        with self._lock:
            self._choose = choose

    def cut_next(self, count: int = 1, *, containing: bytes = b"", where: Cut) -> None:
        """Cut the next so many requests whose bytes contain these; several orders stand in the order given."""
        with self._lock:
            self._orders.append(_Order(containing, where, count))

    def close(self) -> None:
        """End all connections and threads. Safe to repeat."""
        with self._lock:
            self._closed = True
            for each in (self._listener, *self._sockets):
                _end(each)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
                if self._closed:
                    _end(client)
                    _end(server)
            connection = _Connection(self, client, server)
            self._run(connection.forward_requests)
            self._run(connection.forward_replies)

    def _decide(self, request: bytes) -> Cut | None:
        with self._lock:
            self.requests += 1
            for order in self._orders:
                if order.left and order.containing in request:
                    order.left -= 1
                    return order.where
            return self._choose(request)

    def _note(self, lost: Lost) -> None:
        with self._lock:
            self.lost.append(lost)

    def _forget(self, *ended: socket.socket) -> None:
        with self._lock:
            self._sockets.difference_update(ended)


class _Connection:
    """One client's connection and ours to the server, each read by a thread; the one that ends last closes both."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._cuts_due: deque[tuple[Cut | None, bytes]] = deque()
        self._lock = threading.Lock()
        self._threads_left = 2

    def forward_requests(self) -> None:
        requests = _Reader(self._client)
        try:
            while (request := requests.read()) is not None:
                cut = self._proxy._decide(request)
                if cut is Cut.BEFORE_REQUEST:
                    self._proxy._note(Lost(cut, request, None))
                    return
                self._cuts_due.append((cut, request))
                self._server.sendall(request)
        except OSError:
            pass
        finally:
            self._end(requests)

    def forward_replies(self) -> None:
        replies = _Reader(self._server)
        try:
            while (reply := replies.read()) is not None:
                is_pushed = reply.startswith(b">")
                cut, request = self._cuts_due.popleft() if self._cuts_due and not is_pushed else (None, b"")
                if cut is None:
                    self._client.sendall(reply)
                    continue
                if cut is Cut.IN_REPLY:
                    self._client.sendall(reply[: len(reply) // 2])
                self._proxy._note(Lost(cut, request, reply))
                return
        except OSError:
            pass
        finally:
            self._end(replies)

    def _end(self, reader: _Reader) -> None:
        _end(self._client)
        _end(self._server)
        reader.close()
        with self._lock:
            self._threads_left -= 1
            is_last = self._threads_left == 0
        if is_last:
            self._proxy._forget(self._client, self._server)
            self._client.close()
            self._server.close()


class _Reader:
    """Takes whole RESP values, requests or replies, off a socket, as the bytes that they came as."""

    def __init__(self, source: socket.socket) -> None:
        self._file = source.makefile("rb")

    def read(self) -> bytes | None:
        """The next value's bytes; None when the connection ended."""
        parts: list[bytes] = []
        with contextlib.suppress(OSError):
            if self._read_value(parts):
                return b"".join(parts)
        return None

    def close(self) -> None:
        self._file.close()

    def _read_value(self, parts: list[bytes]) -> bool:
        values_left = 1
        while values_left:
            line = self._file.readline()
            if not line.endswith(b"\n"):
                return False
            parts.append(line)
            kind, values_left = line[:1], values_left - 1
            if kind in b"$=!" and (length := int(line[1:])) >= 0:
                body = self._file.read(length + 2)
                if len(body) < length + 2:
                    return False
                parts.append(body)
            elif kind in b"*~>":
                values_left += max(0, int(line[1:]))
            elif kind == b"%":
                values_left += 2 * int(line[1:])
            elif kind == b"|":
                values_left += 2 * int(line[1:]) + 1
        return True


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
