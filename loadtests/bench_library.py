"""The library as its users call it: how long a new prepared request takes, and how many consumes a second it makes.

Throughput is told as a ratio to redis-py's bare `EVALSHA` of `return 1` in the same process, over the same socket, in
the same manner: one thread, or asyncio with as many tasks at once. The two run in turn.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import redis
import redis.asyncio
import storm
from bench_customers import ENVIRONMENT, FEATURE, BenchCustomer, load_request
from bench_scripts import median_ratio

from headgate import AsyncHeadgate, Headgate
from headgate.settings import Settings

PATIENT = Settings(deadline_ms=20_000, setup_deadline_ms=60_000)
"""Settings of the bench: on a machine that is busy with other things, no call shall give up."""

SHAPES = 32
"""How many different requests of a customer take turns."""


@dataclass(frozen=True, slots=True)
class LoadTimes:
    """Microseconds a load: for the caller, all in all, and in the server's script; rounds of both customers pair up."""

    large_us: list[float]
    small_us: list[float]
    large_script_us: list[float]
    small_script_us: list[float]

    @property
    def ratio(self) -> float:
        """The large customer against the small one, as the caller sees it."""
        return median_ratio(self.large_us, self.small_us)

    @property
    def script_ratio(self) -> float:
        """The same in the server alone."""
        return median_ratio(self.large_script_us, self.small_script_us)


def measure_loading(
    engine: Headgate,
    client: redis.Redis,
    large: BenchCustomer,
    small: BenchCustomer,
    *,
    rounds: int,
    calls: int,
    advance: Callable[[], None],
) -> LoadTimes:
    """Load prepared requests that the client has nothing of, of a large customer and a small one in turn."""
    chance = random.Random(calls)
    times = LoadTimes([], [], [], [])
    for _ in range(rounds):
        for customer, whole_us, script_us in (
            (large, times.large_us, times.large_script_us),
            (small, times.small_us, times.small_script_us),
        ):
            requests = [customer.dimensions(chance) for _ in range(calls)]
            client.config_resetstat()
            began_s = time.perf_counter()
            for dimensions in requests:
                engine._state.prepared.clear()
                engine._state.resolutions.clear()
                load_request(engine, customer, dimensions)
            whole_us.append((time.perf_counter() - began_s) * 1e6 / calls)
            spent = client.info("commandstats")["cmdstat_evalsha"]
            assert int(spent["calls"]) == calls, f"{spent['calls']} calls for {calls} loads"
            script_us.append(float(spent["usec"]) / calls)
        advance()
    return times


@dataclass(frozen=True, slots=True)
class Throughput:
    """Calls a second, one figure a round; the rounds of the two lists belong together."""

    ours: list[float]
    bare: list[float]

    @property
    def ratio(self) -> float:
        """Consumes of ours for each bare call of redis-py."""
        return median_ratio(self.ours, self.bare)


def measure_threads(
    engine: Headgate,
    client: redis.Redis,
    customer: BenchCustomer,
    *,
    rounds: int,
    calls: int,
    advance: Callable[[], None],
) -> Throughput:
    """Consume in one thread, and run `return 1` in one thread."""
    requests = _requests(customer)
    nothing = client.script_load("return 1")

    def consume(number: int) -> None:
        engine.consume(customer.id, feature=FEATURE, amount=1, dimensions=requests[number % SHAPES]).require()

    def bare(_: int) -> None:
        client.evalsha(nothing, 0)

    result = Throughput([], [])
    for number in range(SHAPES):
        consume(number)
    for _ in range(rounds):
        for one, rates in ((consume, result.ours), (bare, result.bare)):
            began_s = time.perf_counter()
            for number in range(calls):
                one(number)
            rates.append(calls / (time.perf_counter() - began_s))
        advance()
    return result


def measure_tasks(
    url: str, customer: BenchCustomer, *, in_flight: int, rounds: int, calls: int, advance: Callable[[], None]
) -> Throughput:
    """Consume in asyncio tasks, and run `return 1` in as many."""
    return asyncio.run(_measure_tasks(url, _requests(customer), customer.id, in_flight, rounds, calls, advance))


async def _measure_tasks(
    url: str,
    requests: Sequence[dict[str, str]],
    customer: str,
    in_flight: int,
    rounds: int,
    calls: int,
    advance: Callable[[], None],
) -> Throughput:
    client = redis.asyncio.Redis.from_url(url, max_connections=in_flight)
    result = Throughput([], [])
    async with client, AsyncHeadgate.connect(url, environment=ENVIRONMENT, settings=PATIENT) as engine:
        nothing = await client.script_load("return 1")

        async def consume(number: int) -> None:
            dimensions = requests[number % SHAPES]
            (await engine.consume(customer, feature=FEATURE, amount=1, dimensions=dimensions)).require()

        async def bare(_: int) -> None:
            await client.evalsha(nothing, 0)

        for one in (consume, bare):
            await _rate(one, in_flight, max(in_flight, SHAPES))
        for _ in range(rounds):
            for one, rates in ((consume, result.ours), (bare, result.bare)):
                rates.append(await _rate(one, in_flight, calls))
            advance()
    return result


async def _rate(one: Callable[[int], Awaitable[None]], in_flight: int, calls: int) -> float:
    """Calls a second, with so many tasks that each make one call after the other."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await one(number)

    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return calls / (time.perf_counter() - began_s)


def _requests(customer: BenchCustomer) -> list[dict[str, str]]:
    chance = random.Random(customer.size)
    return [customer.dimensions(chance) for _ in range(SHAPES)]


@dataclass(frozen=True, slots=True)
class StormSeen:
    """What the attempts of a storm were told, and what was wrong with it, as sentences."""

    attempts: int
    limit: int
    granted: int
    refused: int
    errors: int
    problems: list[str]


def run_storm(url: str) -> StormSeen:
    """1,000 tasks at once on a limit of 100 that sits on the organisation above 8 leaves."""
    tried = storm.Storm("top", "tasks")
    with Headgate.connect(url, environment="bench-storm", settings=storm.CALM) as engine:
        storm.prepare(engine, tried)
        seen = asyncio.run(storm.one_client(url, "bench-storm", storm.leaves_of(tried.attempts)))
        problems = list(storm.wrong(tried, seen, storm.counters(engine)))
    named = sum(count for (leaf, _, name), count in seen.refused.items() if name == tried.refusing(leaf))
    return StormSeen(tried.attempts, tried.limit, seen.granted.total(), named, seen.errors.total(), problems)
