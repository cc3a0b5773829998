"""One process of the demo's storm, `python -m headgate.cli.demo_worker`: `headgate demo` starts and orders it.

It reads one JSON line of orders, connects, says `ready`, and waits for `go`. Then its tasks consume as fast as they are
answered, for the seconds it was told, or until its input ends: so it never outlives the demo. About four times a second
it prints how many calls were granted, refused and in error. What it was told in full, it writes at the end into a file:
its own records, from which the demo computes what every counter has to be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from headgate.cli.tally import Tally
from headgate.client.async_client import AsyncHeadgate
from headgate.errors import HeadgateError
from headgate.settings import Settings

AMOUNT_MAX = 1_000
TELL_S = 0.25
DEADLINE_MS = 20_000
"""A storm queues far more than a service would; whoever waits is not given up on."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What one process has to do. `shapes` are the (customer, dimensions) pairs that its calls are drawn from."""

    url: str
    environment: str
    feature: str
    shapes: tuple[tuple[str, dict[str, str]], ...]
    seconds: float
    tasks: int
    seed: int
    records: str

    def to_json(self) -> str:
        """Write them as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Read what `to_json` wrote."""
        told = json.loads(text)
        shapes = tuple((customer, dimensions) for customer, dimensions in told.pop("shapes"))
        return cls(shapes=shapes, **told)


async def main() -> None:
    """Do what the orders on the standard input say."""
    orders_in = asyncio.StreamReader(limit=2**24)
    protocol = asyncio.StreamReaderProtocol(orders_in)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    line = await orders_in.readline()
    if not line:
        return
    orders = Orders.from_json(line.decode())
    settings = Settings(deadline_ms=DEADLINE_MS, connections_max=32)
    tally = Tally()
    async with AsyncHeadgate.connect(orders.url, environment=orders.environment, settings=settings) as engine:
        customer, dimensions = orders.shapes[0]
        await engine.check(customer, feature=orders.feature, requested_usage=0, dimensions=dimensions)
        print("ready", flush=True)
        if not await orders_in.readline():
            return
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(_stop_after(orders.seconds, stop)),
                group.create_task(_stop_at_the_end_of(orders_in, stop)),
                group.create_task(_tell(tally)),
            ]
            spenders = [
                group.create_task(_spend(engine, orders, number, tally, stop)) for number in range(orders.tasks)
            ]
            await asyncio.wait(spenders)
            for watcher in watchers:
                watcher.cancel()
    await asyncio.to_thread(Path(orders.records).write_text, tally.to_json(), encoding="utf-8")
    _print_counts(tally)


async def _spend(engine: AsyncHeadgate, orders: Orders, number: int, tally: Tally, stop: asyncio.Event) -> None:
    """Make one call after the other, and put down what each was told."""
    draws = random.Random(f"{orders.seed}/{number}")
    while not stop.is_set():
        customer, dimensions = draws.choice(orders.shapes)
        amount = draws.randint(1, AMOUNT_MAX)
        began_s = time.perf_counter()
        try:
            decision = await engine.consume(customer, feature=orders.feature, amount=amount, dimensions=dimensions)
        except HeadgateError as error:
            tally.add_error(error, customer=customer, feature=orders.feature, amount=amount)
        else:
            tally.add(decision, amount, (time.perf_counter() - began_s) * 1000)


async def _stop_after(seconds: float, stop: asyncio.Event) -> None:
    await asyncio.sleep(seconds)
    stop.set()


async def _stop_at_the_end_of(orders_in: asyncio.StreamReader, stop: asyncio.Event) -> None:
    await orders_in.read()
    stop.set()


async def _tell(tally: Tally) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        _print_counts(tally)


def _print_counts(tally: Tally) -> None:
    # Nobody may be reading any more; then the input has ended too, and this process is about to stop.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps([tally.granted, tally.refused, tally.errors.total()]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
