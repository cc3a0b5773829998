"""Thousands of cut connections under load: with keys everything is counted once, without them nothing is twice.

A proxy cuts at random: before the request, after it, and inside the reply. `HEADGATE_LOST_REPLIES=100000` makes the run
as long as that many calls, and `HEADGATE_LOST_REPLIES_SEED` cuts by the seed that a failed run has printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import pytest

from behaviour.targets import Awaited
from headgate import AsyncHeadgate, Headgate, OutcomeUnknown, Settings, UsageRecord
from headgate.scripts import load_scripts
from headgate.wire import Status
from proxy import Cut, CuttingProxy, Lost
from servers import RedisServer, available_binaries

CALLS: Final = int(os.environ.get("HEADGATE_LOST_REPLIES", "3000"))
"""How many calls are made, all tests and servers together."""
SEED: Final = os.environ.get("HEADGATE_LOST_REPLIES_SEED")
SHARE_CUT: Final = 0.3
"""Of the calls of scripts; of what else a connection says when it is made, a tenth of that."""
THREADS: Final = 8
TASKS: Final = 16
WAIT_S: Final = 120.0 + CALLS / 10

BINARIES: Final = available_binaries()
# No deadline may pass: here, an outcome is unknown because a reply was lost, and for no other reason.
SETTINGS: Final = Settings(partitions=4, listen=False, deadline_ms=60_000, setup_deadline_ms=60_000, connections_max=16)

CUSTOMERS: Final = ("cus-0", "cus-1", "cus-2")
OPEN, TIGHT, CREDITS, COINS = "feature-open", "feature-tight", "credits", "coins"
ANN: Final = {"userId": "user-ann"}
LIMIT: Final = 20
"""Of the tight feature, and of the wallet of coins: for less than what is asked."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Order:
    """One thing that is asked for: by one caller, or by two that do not know of each other."""

    kind: str
    customer: str
    key: str | None
    amount: int
    used: int = 0


@dataclass
class Outcomes:
    """What callers were told, filled by all of them. An order is counted once, whoever was told so, and how often."""

    acknowledged: set[Order] = field(default_factory=set)
    unknown: list[Order] = field(default_factory=list)
    troubles: list[BaseException] = field(default_factory=list)
    refused: int = 0
    repeated: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


async def carry_out(engine: AsyncHeadgate, order: Order) -> Any:
    """Ask an engine for what an order says, and return the answer."""
    customer, key, amount = order.customer, order.key, order.amount
    match order.kind:
        case "consume":
            return await engine.consume(customer, feature=OPEN, amount=amount, dimensions=ANN, idempotency_key=key)
        case "consume tight":
            return await engine.consume(customer, feature=TIGHT, amount=amount, idempotency_key=key)
        case "consume coins":
            return await engine.consume(customer, currency=COINS, amount=amount, idempotency_key=key)
        case "report":
            return await engine.report(customer, feature=OPEN, value=amount, dimensions=ANN, idempotency_key=key)
        case "report credits":
            return await engine.report(customer, currency=CREDITS, value=amount, idempotency_key=key)
        case "batch":
            record = UsageRecord(customer, OPEN, amount, dimensions=ANN, idempotency_key=key)
            return (await engine.report_many([record]))[0]
    feature = TIGHT if order.kind == "hold tight" else OPEN
    hold = await engine.reserve(customer, feature=feature, amount=amount, dimensions=ANN, id=key)
    if hold.granted:
        assert key is not None
        await engine.reservations.settle(customer, key, order.used)
    return hold


ONCE: Final = ("consume", "consume tight", "consume coins", "report", "report credits", "batch")
HOLDS: Final = ("hold", "hold tight")


async def ask(engine: AsyncHeadgate, order: Order, outcomes: Outcomes) -> None:
    """Carry out an order, and note what came of it."""
    try:
        answer = await carry_out(engine, order)
    except OutcomeUnknown:
        with outcomes.lock:
            outcomes.unknown.append(order)
        return
    with outcomes.lock:
        outcomes.repeated += bool(getattr(answer, "repeated", False))
        if getattr(answer, "granted", True):
            outcomes.acknowledged.add(order)
        else:
            outcomes.refused += 1


def run_at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what awaits nothing that is not there yet."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits for something")


def run_all(place: Place, by_thread: list[Order], by_task: list[Order]) -> Outcomes:
    """Ask for all orders at once: threads on one engine, and tasks on another in an event loop of their own."""
    outcomes = Outcomes()
    for_threads, for_tasks = iter(by_thread), iter(by_task)

    def work(engine: Headgate) -> None:
        awaited = cast(AsyncHeadgate, Awaited(engine))
        while True:
            with outcomes.lock:
                order = next(for_threads, None)
            if order is None:
                return
            run_at_once(ask(awaited, order, outcomes))

    async def tasks() -> None:
        async def task(engine: AsyncHeadgate) -> None:
            for order in for_tasks:
                await ask(engine, order, outcomes)

        async with (
            AsyncHeadgate.connect(place.proxy.url, environment=place.environment, settings=SETTINGS) as engine,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(TASKS):
                group.create_task(task(engine))

    def guarded(target: Any, *args: Any) -> None:
        try:
            target(*args)
        except BaseException as trouble:
            outcomes.troubles.append(trouble)

    with Headgate.connect(place.proxy.url, environment=place.environment, settings=SETTINGS) as engine:
        threads = [threading.Thread(target=guarded, args=[work, engine], daemon=True) for _ in range(THREADS)]
        threads.append(threading.Thread(target=guarded, args=[lambda: asyncio.run(tasks())], daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert not any(thread.is_alive() for thread in threads)
    assert outcomes.troubles == []
    return outcomes


@dataclass(frozen=True)
class Place:
    """A server with what the orders are about, the proxy in front of it, and the way to read what was counted."""

    server: RedisServer
    proxy: CuttingProxy
    engine: Headgate
    environment: str
    random: random.Random

    def cut_at_random(self) -> None:
        def choose(request: bytes) -> Cut | None:
            share = SHARE_CUT if b"EVAL" in request[:40] else SHARE_CUT / 10
            return self.random.choice(list(Cut)) if self.random.random() < share else None

        self.proxy.cut_by(choose)

    def stop_cutting(self) -> None:
        self.proxy.cut_by(lambda request: None)

    def counted(self) -> Counter[tuple[str, str]]:
        """What the counters say was used, by customer and counter; and what is held, which has to be nothing."""
        totals: Counter[tuple[str, str]] = Counter()
        for customer in CUSTOMERS:
            for feature in (OPEN, TIGHT):
                tree = self.engine.governance.tree(customer, feature=feature)
                assert tree.account is not None
                for state in (tree.account, *(state for node in tree.walk() for state in node.states)):
                    assert state.held == 0
                    totals[customer, f"{feature} {state.name}"] = int(state.used)
            for currency in (CREDITS, COINS):
                wallet = self.engine.credits.wallet(customer, currency=currency)
                totals[customer, currency] = int(LIMIT - wallet.balance)
        return +totals

    def keys_kept(self) -> int:
        client: Any = self.server.client()
        return sum(client.hlen(name) for name in client.keys(f"hg:*{self.environment}*:seen:*"))


def total(orders: set[Order] | list[Order]) -> Counter[tuple[str, str]]:
    """What the counters have to say, if each of the orders was carried out once."""
    totals: Counter[tuple[str, str]] = Counter()
    for order in orders:
        used = order.used if order.kind in HOLDS else order.amount
        if order.kind in ("consume", "report", "batch", "hold"):
            names = [f"{OPEN} account", f"{OPEN} user-ann", f"{OPEN} team-eng"]
        else:
            names = [{"consume coins": COINS, "report credits": CREDITS}.get(order.kind, f"{TIGHT} account")]
        for name in names:
            totals[order.customer, name] += used
    return +totals


def found(engine: Headgate) -> None:
    engine.catalog.put_features(
        [{"id": id, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"} for id in (OPEN, TIGHT)]
    )
    engine.catalog.put_entity_types([{"id": kind, "attribution_keys": [f"{kind}Id"]} for kind in ("team", "user")])
    engine.catalog.put_currencies([{"id": CREDITS}, {"id": COINS}])
    for customer in CUSTOMERS:
        engine.customers.put(customer)
        engine.customers.grant_entitlement(customer, {"feature": OPEN, "has_unlimited_usage": True})
        engine.customers.grant_entitlement(customer, {"feature": TIGHT, "usage_limit": LIMIT})
        for currency in (CREDITS, COINS):
            engine.credits.grant(customer, {"currency": currency, "amount": LIMIT})
        entities = [{"id": "team-eng", "type": "team"}, {"id": "user-ann", "type": "user"}]
        engine.governance.put_entities(customer, entities)
        budget = {"feature": OPEN, "usage_limit": None, "cadence": "P1Y"}
        engine.governance.put_assignments(
            customer, [{"entity": "team-eng", **budget}, {"entity": "user-ann", **budget, "parent": "team-eng"}]
        )


@pytest.fixture(params=BINARIES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    seed = int(SEED) if SEED else secrets.randbits(32)
    print(f"HEADGATE_LOST_REPLIES_SEED={seed}")
    environment = "lost-replies"
    with (
        RedisServer(BINARIES[request.param]) as server,
        CuttingProxy(server.port) as proxy,
        Headgate.connect(server.url, environment=environment, settings=SETTINGS) as engine,
    ):
        found(engine)
        yield Place(server, proxy, engine, environment, random.Random(seed))


def shuffled(place: Place, orders: list[Order]) -> list[Order]:
    return place.random.sample(orders, len(orders))


def test_with_keys_and_ids_the_totals_are_what_was_acknowledged_to_the_unit(place: Place) -> None:
    count = CALLS * 2 // 3 // len(BINARIES)
    orders = []
    for number in range(count * 4 // 5):  # a fourth of them are asked for twice
        kind = place.random.choice((*ONCE, *HOLDS))
        amount = place.random.randint(1, 4)
        used = place.random.randint(0, amount + 1)
        orders.append(Order(kind, place.random.choice(CUSTOMERS), f"order-{number}", amount, used))
    twice = shuffled(place, orders)[: count - len(orders)]
    everything = shuffled(place, orders + twice)
    place.cut_at_random()

    outcomes = run_all(place, everything[::2], everything[1::2])

    place.stop_cutting()
    assert outcomes.unknown == []
    assert place.counted() == total(outcomes.acknowledged)
    assert place.keys_kept() == sum(order.kind in ONCE for order in outcomes.acknowledged)
    ran = [lost for lost in place.proxy.lost if lost.reply is not None]
    assert len(place.proxy.lost) > count / 4  # it was rough,
    assert len(ran) > len(place.proxy.lost) / 3  # and by far not only for what never ran
    assert outcomes.refused > 0
    assert outcomes.repeated > len(ran) / 10


WRITES: Final = ("consume", "report", "consume_credits", "report_credits")
SHA1S: Final = frozenset(
    load_scripts(server_supports_flags=supports)[name].sha1.encode() for supports in (False, True) for name in WRITES
)


def is_write(lost: Lost) -> bool:
    """Whether what was cut was a call of a script that counts."""
    return any(sha1 in lost.request for sha1 in SHA1S)


def status_of(reply: bytes) -> int:
    """The first element of a script's reply."""
    kind, first = reply.split(b"\r\n", 2)[:2]
    assert (kind[:1], first[:1]) == (b"*", b":"), reply
    return int(first[1:])


def test_without_keys_nothing_is_counted_twice_and_each_cut_write_is_unknown(place: Place) -> None:
    count = CALLS // 3 // len(BINARIES)
    kinds = [kind for kind in ONCE if kind != "batch"]
    for kind in kinds:  # so that the server knows every script, and each call has the hash of its own in it
        run_at_once(carry_out(cast(AsyncHeadgate, Awaited(place.engine)), Order(kind, CUSTOMERS[0], None, 0)))
    customers, choice = CUSTOMERS, place.random.choice
    # Of one unit each, and all unlike each other: `used` makes no difference to what is counted.
    orders = [Order(choice(kinds), choice(customers), None, 1, used=number) for number in range(count)]
    place.cut_at_random()

    outcomes = run_all(place, orders[::2], orders[1::2])

    place.stop_cutting()
    cut_writes = [lost for lost in place.proxy.lost if is_write(lost)]
    statuses = Counter(status_of(lost.reply) for lost in cut_writes if lost.reply is not None)
    assert set(statuses) == {Status.GRANTED, Status.REFUSED, Status.DONE}
    assert len(outcomes.unknown) == len(cut_writes) > count / 5
    assert len(outcomes.acknowledged) + outcomes.refused + len(outcomes.unknown) == count

    counted, acknowledged = place.counted(), total(outcomes.acknowledged)
    unknown = total(outcomes.unknown)
    for counter in counted | unknown:
        assert acknowledged[counter] <= counted[counter] <= acknowledged[counter] + unknown[counter], counter
    units = [f"{OPEN} account", f"{TIGHT} account", CREDITS, COINS]

    def units_of(totals: Counter[tuple[str, str]]) -> int:
        return sum(used for (_, name), used in totals.items() if name in units)

    ran_and_counted = statuses[Status.GRANTED] + statuses[Status.DONE]
    assert units_of(counted) == units_of(acknowledged) + ran_and_counted
    assert 0 < ran_and_counted < len(outcomes.unknown)
