"""The client of the REST bench: a process of its own, which asks one HTTP server as fast as it is answered.

`python bench_http.py` reads one JSON line of orders after the other from its standard input, and answers each with a
line of what it found. It keeps so many connections alive, each with one request under way at any time; what is answered
while it warms up is not timed. It knows no more of HTTP than an answer's status line and its content-length, so that it
takes little of the processor that it shares with the server. `LoadClient` is its other end.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.util import find_spec
from types import TracebackType
from typing import Any, cast

HEAD_ENDS = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
STATUS = slice(9, 12)
"""Where the status stands in `HTTP/1.1 200 OK`."""

ANSWER_S = 60.0
"""How long the last answers may take."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What to ask, and for how long. Requests are whole HTTP texts; each connection repeats one of them."""

    port: int
    requests: tuple[str, ...]
    status: int
    connections: int
    warm_up_s: float
    timed_s: float


@dataclass(frozen=True, slots=True)
class Load:
    """What the client found: the rate and two percentiles of the time it timed, and how many were answered at all."""

    per_second: float
    p50_ms: float
    p99_ms: float
    answered: int


@dataclass(slots=True)
class _Tally:
    timed_from_s: float
    timed_until_s: float
    answered: int = 0
    took_s: list[float] = field(default_factory=list)

    def add(self, began_s: float, ended_s: float) -> bool:
        """Put one answer down; True if there is time for more."""
        self.answered += 1
        if self.timed_from_s <= ended_s < self.timed_until_s:
            self.took_s.append(ended_s - began_s)
        return ended_s < self.timed_until_s


class _Connection(asyncio.Protocol):
    """One connection: sends its request, waits for the whole answer, and sends it again."""

    def __init__(self, request: bytes, status: int, tally: _Tally, ended: asyncio.Future[None]) -> None:
        self._request = request
        self._status = b"%d" % status
        self._tally = tally
        self._ended = ended
        self._received = b""
        self._began_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_bytes = self._received.find(HEAD_ENDS)
        if head_bytes < 0:
            return
        head = self._received[:head_bytes].lower()
        _, is_known, rest = head.partition(LENGTH)
        if not is_known or head[STATUS] != self._status:
            self._fail(f"not what was ordered: {self._received.decode(errors='replace')}")
        elif len(self._received) >= head_bytes + len(HEAD_ENDS) + int(rest.partition(b"\r\n")[0]):
            self._received = b""
            if self._tally.add(self._began_s, time.perf_counter()):
                self._send()
            else:
                self._ended.set_result(None)
                self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the server closed a connection: {error}")

    def _send(self) -> None:
        self._began_s = time.perf_counter()
        self._transport.write(self._request)

    def _fail(self, what: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(ConnectionError(what))
            self._transport.close()


async def ask(orders: Orders) -> Load:
    """Do what the orders say. Raises `ConnectionError` at the first answer that is another than was ordered."""
    loop = asyncio.get_running_loop()
    timed_from_s = time.perf_counter() + orders.warm_up_s
    tally = _Tally(timed_from_s, timed_from_s + orders.timed_s)
    async with asyncio.timeout(orders.warm_up_s + orders.timed_s + ANSWER_S):
        ends = [loop.create_future() for _ in range(orders.connections)]
        for number, end in enumerate(ends):
            request = orders.requests[number % len(orders.requests)].encode()
            connection = partial(_Connection, request, orders.status, tally, end)
            await loop.create_connection(connection, "127.0.0.1", orders.port)
        await asyncio.gather(*ends)
    percentiles = statistics.quantiles(tally.took_s, n=100)
    return Load(
        per_second=len(tally.took_s) / orders.timed_s,
        p50_ms=percentiles[49] * 1e3,
        p99_ms=percentiles[98] * 1e3,
        answered=tally.answered,
    )


class LoadClient:
    """The client's process, for as long as the block."""

    def run(self, orders: Orders) -> Load:
        """Have the orders done, and wait for what was found."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(orders)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client of the REST bench ended; what it said stands above"
        return Load(**json.loads(line))

    def __enter__(self) -> LoadClient:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()


def _runner() -> Callable[[Coroutine[Any, Any, Load]], Load]:
    """The faster event loop, where it is installed."""
    if find_spec("uvloop") is None:
        return asyncio.run
    import uvloop

    return uvloop.run


def main() -> None:
    """Do the orders of the standard input, one after the other."""
    run = _runner()
    for line in sys.stdin:
        told = json.loads(line)
        orders = Orders(requests=tuple(told.pop("requests")), **told)
        print(json.dumps(asdict(run(ask(orders)))), flush=True)


if __name__ == "__main__":
    main()
