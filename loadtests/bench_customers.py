"""The customers that the bench measures with: real ones, each with as many entities as its size says.

Each entity is a team, a user or an agent, with one monthly budget and a counter in use. A request names one of each,
so it has to satisfy four constraints: the account's and three entities'.

Customers of up to 1,000 entities are written through the library. A larger one is written in bulk, in the layout of
docs/design.md, by the library's own functions for documents, keys and counters. Either way the library is then asked
about some of the entities, and has to answer with what was counted on them.
"""

from __future__ import annotations

import functools
import os
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from headgate import Headgate, keys, wire
from headgate.keys import Keyspace
from headgate.model.governance import Assignment, Entity
from headgate.prepare import PreparedRequest
from headgate.settings import PARTITIONS_DEFAULT
from headgate.verbs.loading import Assignments, Request, prepared_request

FEATURE = "feature-ai-tokens"
TYPES = ("team", "user", "agent")
CADENCE = "P1M"
LIMIT = 2.0**50
USED = 7.0
"""What every counter of a customer that was written in bulk stands at."""

ENVIRONMENT = "bench"
THROUGH_THE_LIBRARY_MAX = 1_000
UPSERTS = 100
COMMANDS = 2_000


@dataclass(frozen=True, slots=True)
class BenchCustomer:
    """A customer of so many entities; each of them has one budget, and so one counter."""

    id: str
    size: int

    @property
    def counters(self) -> int:
        """How many counters it has: one an entity, and the account's."""
        return self.size + 1

    def dimensions(self, chance: random.Random) -> dict[str, str]:
        """Name a team, a user and an agent, any of them."""
        return {
            f"{kind}Id": entity_id(chance.randrange(offset, self.size, len(TYPES))) for offset, kind in enumerate(TYPES)
        }

    def usage_keys(self) -> list[bytes]:
        """Name every hash that holds counters of this customer."""
        own = _keyspace().customer(self.id)
        return [own.usage, *(own.bucket(number) for number in range(keys.counter_place(self.size - 1)[0] + 1))]


def entity_id(index: int) -> str:
    """Name an entity; its place says its type."""
    return f"{TYPES[index % len(TYPES)]}-{index:06}"


def write_catalog(engine: Headgate) -> None:
    """Make the environment: the feature that is budgeted, and the three types of entities."""
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    engine.catalog.put_entity_types([{"id": kind, "attribution_keys": (f"{kind}Id",)} for kind in TYPES])


def write_customer(engine: Headgate, client: redis.Redis, size: int) -> BenchCustomer:
    """Write a customer with entities, budgets and counters in use."""
    customer = BenchCustomer(f"cus-{size}", size)
    engine.customers.put(customer.id, name=f"{size} entities")
    engine.customers.grant_entitlement(
        customer.id, {"feature": FEATURE, "usage_limit": LIMIT, "reset_period": "MONTH", "reset_anchor_ms": 0}
    )
    if size > THROUGH_THE_LIBRARY_MAX:
        _write_in_bulk(client, customer)
        engine.consume(customer.id, feature=FEATURE).require()
        expected = USED
    else:
        write_entities(engine, customer)
        expected = 1.0
    chance = random.Random(size)
    for _ in range(16):
        _require_counted(engine, customer, customer.dimensions(chance), expected)
    return customer


def write_entities(engine: Headgate, customer: BenchCustomer) -> None:
    """Write entities with a budget each through the library, and consume of every one."""
    for first in range(0, customer.size, UPSERTS):
        places = range(first, min(first + UPSERTS, customer.size))
        engine.governance.put_entities(
            customer.id, [{"id": entity_id(index), "type": TYPES[index % len(TYPES)]} for index in places]
        )
        engine.governance.put_assignments(
            customer.id,
            [
                {"entity": entity_id(index), "feature": FEATURE, "usage_limit": LIMIT, "cadence": CADENCE}
                for index in places
            ],
        )
    for index in range(customer.size):
        kind = TYPES[index % len(TYPES)]
        engine.consume(customer.id, feature=FEATURE, dimensions={f"{kind}Id": entity_id(index)}).require()


def _write_in_bulk(client: redis.Redis, customer: BenchCustomer) -> None:
    own = _keyspace().customer(customer.id)
    seconds, microseconds = client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    counter = struct.pack("<dd", now_ms, USED)
    pipeline = client.pipeline(transaction=False)
    for index in range(customer.size):
        bucket, field = keys.counter_place(index)
        pipeline.hset(own.config, mapping=dict(_documents(index, now_ms)))
        pipeline.hset(own.bucket(bucket), field, counter)
        if (index + 1) % COMMANDS == 0 or index + 1 == customer.size:
            pipeline.execute()
    client.hset(own.usage, mapping={"@v": os.urandom(8), "@n": customer.size})


def _documents(index: int, now_ms: int) -> Iterator[tuple[bytes, bytes]]:
    id = entity_id(index)
    entity = Entity(id=id, type=TYPES[index % len(TYPES)], created_at_ms=now_ms, updated_at_ms=now_ms)
    assignment = Assignment(
        number=index, usage_limit=LIMIT, cadence=CADENCE, created_at_ms=now_ms, updated_at_ms=now_ms
    )
    yield keys.entity_field(id), wire.pack_document(entity)
    capability = keys.feature_capability(FEATURE)
    yield keys.assignments_field(id, capability), wire.pack_document(Assignments(assignments=(assignment,)))


def _require_counted(engine: Headgate, customer: BenchCustomer, dimensions: dict[str, str], expected: float) -> None:
    decision = engine.check(customer.id, feature=FEATURE, dimensions=dimensions)
    found = [(state.entity, state.used, state.limit) for chain in decision.chains or () for state in chain]
    wanted = [(id, expected, LIMIT) for id in dimensions.values()]
    assert found == wanted, f"{customer.id} reads back as {found}, and {wanted} was written"


def load_request(engine: Headgate, customer: BenchCustomer, dimensions: dict[str, str]) -> PreparedRequest:
    """Load a prepared request with the library's own verb, through the engine's own connection."""
    return engine._set_up(prepared_request(engine._state, Request(customer.id, FEATURE, dimensions)))


@functools.cache
def _keyspace() -> Keyspace:
    return Keyspace(ENVIRONMENT, PARTITIONS_DEFAULT)
