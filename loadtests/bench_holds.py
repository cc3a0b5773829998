"""Holds and idempotency keys: what a reserve, a settle and a key cost the server, and how many bytes each keeps.

All calls go through the library, in rounds that take turns: consume, consume under a key, reserve, and the settle of
what was reserved. The server's own statistics say how long the scripts of a round took. Bytes are MEMORY USAGE of the
hashes and sorted sets that keep them; the million keys are written in bulk, in the layout of docs/design.md.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from bench_customers import ENVIRONMENT, FEATURE, BenchCustomer

from headgate import Headgate, Hold
from headgate.keys import Keyspace
from headgate.settings import PARTITIONS_DEFAULT

CALLS = 30
HOLDS = 1_000
KEYS = 1_000_000
KEYS_A_COMMAND = 500
HOURS, GENERATION = 168, 1


@dataclass(frozen=True, slots=True)
class HoldTimes:
    """Microseconds of script time a call, one figure a round; the rounds of the lists belong together."""

    consume_us: list[float]
    keyed_us: list[float]
    reserve_us: list[float]
    settle_us: list[float]

    def against_consume(self, times: list[float]) -> float:
        """The median of the ratios of rounds that were measured one after the other."""
        return statistics.median(this / that for this, that in zip(times, self.consume_us, strict=True))


def measure_times(
    engine: Headgate, client: redis.Redis, customer: BenchCustomer, *, rounds: int, advance: Callable[[], None]
) -> HoldTimes:
    """Measure the four in turn, on a request over the account and three entities."""
    chance = random.Random(rounds)
    times = HoldTimes([], [], [], [])
    for number in range(rounds + 1):
        asked: dict[str, Any] = {"feature": FEATURE, "dimensions": customer.dimensions(chance)}
        holds: list[Hold] = []
        consume_us = _timed(client, lambda asked=asked: engine.consume(customer.id, **asked).require())
        keyed_us = _timed(
            client,
            lambda asked=asked: engine.consume(customer.id, idempotency_key=os.urandom(12).hex(), **asked).require(),
        )
        reserve_us = _timed(
            client, lambda asked=asked, holds=holds: holds.append(engine.reserve(customer.id, **asked).require())
        )
        settle_us = _timed(client, lambda holds=holds: holds.pop().settle(1))
        if number:  # the first round loads scripts and prepares requests
            times.consume_us.append(consume_us)
            times.keyed_us.append(keyed_us)
            times.reserve_us.append(reserve_us)
            times.settle_us.append(settle_us)
            advance()
    return times


def _timed(client: redis.Redis, act: Callable[[], object]) -> float:
    act()  # what is prepared anew for these dimensions is not part of it
    client.config_resetstat()
    for _ in range(CALLS - 1):
        act()
    spent = client.info("commandstats")["cmdstat_evalsha"]
    assert int(spent["calls"]) == CALLS - 1, spent
    return float(spent["usec"]) / (CALLS - 1)


def bytes_a_hold(engine: Headgate, client: redis.Redis, customer: BenchCustomer, *, holds: int) -> float:
    """Make open holds over the account and three entities, and say what one keeps."""
    chance = random.Random(holds)
    own = Keyspace(ENVIRONMENT, PARTITIONS_DEFAULT).customer(customer.id)
    made = [
        engine.reserve(customer.id, feature=FEATURE, amount=4_000, dimensions=customer.dimensions(chance)).require()
        for _ in range(holds)
    ]
    total = sum(client.memory_usage(key, samples=0) or 0 for key in (own.holds, own.due))
    for hold in made:
        hold.release()
    return total / holds


def bytes_a_key(client: redis.Redis) -> float:
    """Write a million keys over all partitions, and say what one keeps."""
    keyspace = Keyspace(ENVIRONMENT, PARTITIONS_DEFAULT)
    customers: dict[int, str] = {}
    number = 0
    while len(customers) < PARTITIONS_DEFAULT:
        customers.setdefault(keyspace.partition_of(f"cus-{number}"), f"cus-{number}")
        number += 1
    places = [keyspace.customer(customer).seen(HOURS, GENERATION) for customer in customers.values()]
    pipeline = client.pipeline(transaction=False)
    for written in range(0, KEYS, KEYS_A_COMMAND):
        pairs = {os.urandom(12): os.urandom(8) for _ in range(KEYS_A_COMMAND)}
        pipeline.hset(places[written // KEYS_A_COMMAND % len(places)], mapping=pairs)
        if written // KEYS_A_COMMAND % 100 == 99:
            pipeline.execute()
    pipeline.execute()
    total = sum(client.memory_usage(place, samples=0) or 0 for place in places)
    client.delete(*places)
    return total / KEYS
