"""The client of the gRPC bench: a process of its own, which calls one method as fast as it is answered.

`python bench_grpc_client.py` reads one JSON line of orders after the other from its standard input, and answers each
with a line of what it found. Requests are bytes that are ready to send, and answers are not looked into. `GrpcClient`
is its other end.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What to call, with which message, how many calls at a time, and for how long."""

    port: int
    method: str
    message: str
    in_flight: int
    warm_up_s: float
    timed_s: float

    @classmethod
    def of(cls, method: str, message: bytes, *, in_flight: int, warm_up_s: float, timed_s: float) -> Self:
        """Make orders; the port is filled in by whoever knows it."""
        return cls(0, method, base64.b64encode(message).decode(), in_flight, warm_up_s, timed_s)


@dataclass(frozen=True, slots=True)
class Load:
    """What the client found: the rate and two percentiles of the time it timed, and how many were answered at all."""

    per_second: float
    p50_ms: float
    p99_ms: float
    answered: int


@dataclass(slots=True)
class _Tally:
    answered: int = 0
    took_s: list[float] = field(default_factory=list)


async def call(orders: Orders) -> Load:
    """Do what the orders say. Raises where a call fails."""
    import grpc.aio

    message = base64.b64decode(orders.message)
    tally = _Tally()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{orders.port}") as channel:
        ask = channel.unary_unary(orders.method)
        await ask(message, timeout=ANSWER_S)
        from_s = time.perf_counter() + orders.warm_up_s
        until_s = from_s + orders.timed_s

        async def work() -> None:
            ended_s = time.perf_counter()
            while ended_s < until_s:
                began_s = ended_s
                await ask(message, timeout=ANSWER_S)
                ended_s = time.perf_counter()
                tally.answered += 1
                if from_s <= ended_s < until_s:
                    tally.took_s.append(ended_s - began_s)

        await asyncio.gather(*(work() for _ in range(orders.in_flight)))
    percentiles = statistics.quantiles(tally.took_s, n=100)
    return Load(len(tally.took_s) / orders.timed_s, percentiles[49] * 1e3, percentiles[98] * 1e3, tally.answered + 1)


class GrpcClient:
    """The client's process, for as long as the block."""

    def run(self, orders: Orders) -> Load:
        """Have the orders done, and wait for what was found."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(orders)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the client of the gRPC bench ended; what it said stands above"
        return Load(**json.loads(line))

    def __enter__(self) -> GrpcClient:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()


def main() -> None:
    """Do the orders of the standard input, one after the other."""
    for line in sys.stdin:
        print(json.dumps(asdict(asyncio.run(call(Orders(**json.loads(line)))))), flush=True)


if __name__ == "__main__":
    main()
