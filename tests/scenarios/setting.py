"""What the scenarios share: an environment of a test's own on a real server, a small policy, and ways to get between.

A scenario reads and writes raw keys where it plays what no client does: a restored copy, a lost write, a wild clock.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from behaviour.targets import read_key
from headgate import AsyncHeadgate, Headgate
from headgate.cache import State
from headgate.calls import Call, Reply, Verb
from headgate.client import opening
from headgate.client.delivery import Transport
from headgate.client.sync_transport import RedisTransport
from headgate.client.urls import read_url
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import OutcomeUnknown, Unavailable
from headgate.keys import CustomerKeys, Keyspace, account_counter_field, counter_place, feature_capability
from headgate.settings import Settings
from headgate.wire import MOMENT, NEVER, Counter, unpack_counter
from model.targets import Awaited
from servers import RedisServer

PARTITIONS = 4
# The deadline is that of a busy machine. Nobody listens or tells: no verdict may depend on a message.
CALM = Settings(
    partitions=PARTITIONS, listen=False, deadline_ms=30_000, setup_deadline_ms=60_000, usage_updates_every_ms=0
)
HASTY = CALM.model_copy(update={"deadline_ms": 300, "setup_deadline_ms": 300})
"""For what has to fail: the test takes as long as the deadline."""

GAVE_UP = (Unavailable, OutcomeUnknown)
"""What a caller is told at the deadline: the last attempt may have been refused, or may have had no reply."""

CUSTOMER = "cus-acme"
FEATURE = "feature-tokens"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MIDNIGHT_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""

Engine = Any
"""A `Headgate`, or an `AsyncHeadgate` inside `Awaited`: both have the same methods."""


@dataclass
class Place:
    """An environment of a test's own on a server, and plain access to its keys."""

    server: RedisServer
    raw: Any
    runner: asyncio.Runner
    stack: ExitStack
    environment: str = field(default_factory=lambda: f"scenario-{uuid.uuid4().hex}")

    @property
    def keyspace(self) -> Keyspace:
        return Keyspace(self.environment, PARTITIONS)

    @property
    def keys(self) -> CustomerKeys:
        return self.keyspace.customer(CUSTOMER)

    def open(
        self,
        clock: ManualClock | None = None,
        *,
        settings: Settings = CALM,
        url: str | None = None,
        edge: str = "sync",
    ) -> Engine:
        """Open an engine with caches of its own; it is closed after the test."""
        kind = Headgate if edge == "sync" else AsyncHeadgate
        engine: Engine = kind.connect(
            url or self.server.url, environment=self.environment, settings=settings, clock=clock
        )
        if edge == "async":
            engine = Awaited(engine, self.runner)
        self.stack.callback(engine.close)
        return engine

    def transport(self, clock: ManualClock | None = None) -> RedisTransport:
        """Make a transport; it is closed after the test."""
        made = RedisTransport(
            read_url(self.server.url),
            clock="given" if clock else "server",
            connections_max=8,
            connect_timeout_ms=CALM.deadline_ms,
        )
        self.stack.callback(made.close)
        return made

    def engine_over(
        self, transport: Transport, clock: ManualClock | None = None, *, settings: Settings = CALM
    ) -> Headgate:
        """Make an engine that sends through a given transport."""
        return Headgate(transport, environment=self.environment, settings=settings, clock=clock)

    def state(self, clock: ManualClock | None = None) -> State:
        """Make the state of a client, to drive verbs by hand."""
        return opening.new_state(self.environment, CALM, clock)

    def counter(self, number: int | None = None, *, customer: str = CUSTOMER) -> Counter | None:
        """Read a counter: the account's, or that of an assignment's number."""
        value: Any = self.raw.hget(*self._place_of(number, customer))
        return None if value is None else unpack_counter(value)

    def used(self, number: int | None = None, *, customer: str = CUSTOMER) -> float:
        """What a counter says was used; 0 where there is none."""
        counter = self.counter(number, customer=customer)
        return 0.0 if counter is None else counter.used

    def plant(self, start_ms: float, used: float, held: float | None = None, *, number: int | None = None) -> None:
        """Write a counter as if it had come about."""
        value = struct.pack("<dd", start_ms, used) if held is None else struct.pack("<ddd", start_ms, used, held)
        key, name = self._place_of(number, CUSTOMER)
        self.raw.hset(key, name, value)

    def _place_of(self, number: int | None, customer: str) -> tuple[Any, Any]:
        keys = self.keyspace.customer(customer)
        if number is None:
            return keys.usage, account_counter_field(feature_capability(FEATURE))
        bucket, name = counter_place(number)
        return keys.bucket(bucket), name

    def names(self) -> list[bytes]:
        """All keys of the environment."""
        found: Any = self.raw.keys(f"hg:*{self.environment}*")
        return sorted(found)

    def erase(self, names: Iterable[bytes]) -> None:
        """Delete keys, wherever their slots are."""
        for name in names:
            self.raw.delete(name)

    def save(self, *names: bytes) -> dict[bytes, bytes | None]:
        """Copy keys as they are now."""
        return {name: self.raw.dump(name) for name in names}

    def content(self) -> dict[bytes, Any]:
        """What all keys of the environment hold, to be compared."""
        return {name: read_key(self.raw, name) for name in self.names()}

    def put_back(self, saved: dict[bytes, bytes | None]) -> None:
        """Make keys what they were when they were saved, as a restored copy or a failover to a late replica does."""
        for name, content in saved.items():
            self.raw.delete(name)
            if content is not None:
                self.raw.restore(name, 0, content)

    def partition_tokens(self) -> list[bytes | None]:
        """The catalog token that each partition stands at."""
        return [self.raw.get(self.keyspace.partition_catalog(each)) for each in range(PARTITIONS)]

    def catalog_token(self) -> bytes:
        """The catalog's own token."""
        token: Any = self.raw.hget(self.keyspace.catalog, "@token")
        assert token is not None
        return bytes(token)

    def server_now_ms(self) -> int:
        """The server's clock."""
        seconds, microseconds = self.raw.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def furnish(engine: Engine, *, limit: float | None = 100, customer: str = CUSTOMER, **entitlement: Any) -> None:
    """Write a catalog, and a customer with one entitlement; no limit is an unlimited one."""
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    engine.catalog.put_entity_types(
        [
            {"id": "org", "attribution_keys": ["orgId"]},
            {"id": "team", "attribution_keys": ["teamId"]},
            {"id": "user", "attribution_keys": ["userId"]},
        ]
    )
    engine.customers.put(customer)
    entitle(engine, limit=limit, customer=customer, **entitlement)


def entitle(engine: Engine, *, limit: float | None, customer: str = CUSTOMER, **entitlement: Any) -> None:
    """Give the customer another limit."""
    given = {"feature": FEATURE, "usage_limit": limit, "has_unlimited_usage": limit is None, **entitlement}
    engine.customers.grant_entitlement(customer, given)


def budget(engine: Engine, entity: str, limit: float | None, **more: Any) -> int:
    """Give an entity, whose type is what its id begins with, a budget; return the number of its counter."""
    engine.governance.put_entities(CUSTOMER, [{"id": entity, "type": entity.partition("-")[0]}])
    upsert = {"entity": entity, "feature": FEATURE, "usage_limit": limit, "cadence": "P1M", **more}
    (assignment,) = engine.governance.put_assignments(CUSTOMER, [upsert])
    return int(assignment.number)


def consume(engine: Engine, amount: float, *, customer: str = CUSTOMER, **dimensions: Any) -> Any:
    return engine.consume(customer, feature=FEATURE, amount=amount, dimensions=dimensions or None)


def check(engine: Engine, amount: float, *, customer: str = CUSTOMER, **dimensions: Any) -> Any:
    return engine.check(customer, feature=FEATURE, requested_usage=amount, dimensions=dimensions or None)


def report(engine: Engine, value: float, **more: Any) -> Any:
    return engine.report(CUSTOMER, feature=FEATURE, value=value, **more)


def metrics(engine: Engine) -> dict[str, int]:
    """What the engine counted."""
    counted: dict[str, int] = getattr(engine, "_wrapped", engine).metrics
    return counted


def customers_of_every_partition() -> list[str]:
    """One customer of each partition, by partition."""
    keyspace = Keyspace("any", PARTITIONS)
    found: dict[int, str] = {}
    for number in range(1_000):
        found.setdefault(keyspace.partition_of(f"cus-{number}"), f"cus-{number}")
    return [found[partition] for partition in range(PARTITIONS)]


Step = Callable[[Call, Callable[[], Reply]], Reply]


class Between:
    """A transport that lets a test get between: `step` is given each call and the way to send it on."""

    def __init__(self, transport: Transport, step: Step) -> None:
        self._transport = transport
        self._step = step
        self.calls: list[str] = []

    def send(self, call: Call, deadline_ms: float) -> Reply:
        self.calls.append(call.script)
        return self._step(call, lambda: self._transport.send(call, deadline_ms))

    def close(self) -> None:
        self._transport.close()


class ByHand:
    """A verb in progress, whose calls are sent one by one."""

    def __init__(self, verb: Verb[Any], transport: Transport) -> None:
        self._verb = verb
        self._transport = transport
        self._next: Call | Sequence[Call] | None = next(verb)
        self.sent: list[str] = []
        self.answer: Any = None

    def run_until(self, script: str) -> None:
        """Send calls until the next one is of this script, which is not sent yet."""
        while self._next is not None and not (isinstance(self._next, Call) and self._next.script == script):
            self.send()
        assert self._next is not None, f"the verb ended without {script}"

    @property
    def next_call(self) -> Call:
        """The call that comes next."""
        assert isinstance(self._next, Call), self._next
        return self._next

    def send(self) -> None:
        """Send the next call."""
        step = self._next
        assert step is not None
        reply = self._reply(step) if isinstance(step, Call) else [self._reply(call) for call in step]
        try:
            self._next = self._verb.send(reply)
        except StopIteration as stop:
            self._next, self.answer = None, stop.value

    def finish(self) -> Any:
        """Send all that is left, and return the answer."""
        while self._next is not None:
            self.send()
        return self.answer

    def _reply(self, call: Call) -> Reply:
        self.sent.append(call.script)
        return send(self._transport, call)


def send(transport: Transport, call: Call, *, not_after_ms: float = NEVER, now_ms: float = 0.0) -> Reply:
    """Send a call as a driver does, with its moment in front of the argument that begins with it."""
    args = list(call.args)
    if call.timed is not None:
        args[call.timed] = MOMENT.pack(not_after_ms, now_ms) + args[call.timed]
    timed = Call(call.script, call.keys, tuple(args), writes=call.writes)
    return transport.send(timed, monotonic_ms() + CALM.deadline_ms)
