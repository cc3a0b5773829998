"""Plans and credits: consumes that are paid from a wallet, and edits of a plan that many customers have.

A wallet of so many grants belongs to a customer with 100 entities, like those of bench_customers: a plan says what a
unit of the feature costs, so a request has to satisfy four constraints and the wallet. Every grant was used, the one
that is burnt first has plenty, and nothing is owed.

The customers of a plan are written in bulk, in the layout of docs/design.md, by the library's own functions for
documents and keys. Each has one subscription; the library is then asked about a sample of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
from bench_customers import FEATURE, TYPES, BenchCustomer, write_catalog, write_entities
from bench_library import PATIENT
from bench_scripts import median_ratio

from headgate import Headgate, keys, wire
from headgate.keys import Keyspace
from headgate.model.customer import Customer
from headgate.model.subscription import Subscription, Subscriptions
from headgate.settings import PARTITIONS_DEFAULT

CREDITS_ENVIRONMENT = "bench-credits"
CURRENCY = "credits"
PLAN = "plan-of-all"
RATE = 2
WALLETS = (5, 50)
"""How many grants a wallet has."""

ENTITIES = 100
PLENTY = 2**40
CALLS = 100
SAMPLE = 100
"""How many customers are asked whether they see an edit."""

COMMANDS = 2_000


def write_wallets(engine: Headgate) -> dict[int, BenchCustomer]:
    """Write the environment, and a customer for each size of wallet."""
    write_catalog(engine)
    engine.catalog.put_currencies([{"id": CURRENCY}])
    rate = {"currency": CURRENCY, "amount": RATE}
    terms = {"feature": FEATURE, "has_unlimited_usage": True, "reset_period": "MONTH", "credit_rate": rate}
    engine.catalog.put_plans([{"id": PLAN, "entitlements": [terms]}])
    return {grants: _write_wallet(engine, grants) for grants in WALLETS}


def _write_wallet(engine: Headgate, grants: int) -> BenchCustomer:
    customer = BenchCustomer(f"cus-wallet-{grants}", ENTITIES)
    engine.customers.put(customer.id, name=f"{grants} grants")
    engine.subscriptions.provision(customer.id, {"plan": PLAN})
    for rank in range(grants, 0, -1):  # the last one given is burnt first, so each is used once
        grant = {"id": f"grant-{rank:02}", "currency": CURRENCY, "amount": PLENTY, "priority": rank}
        engine.credits.grant(customer.id, grant)
        engine.consume(customer.id, feature=FEATURE).require()
    write_entities(engine, customer)
    ledger = engine.credits.grants(customer.id, currency=CURRENCY)
    used = sorted(grant.consumed for grant in ledger)
    assert used == [RATE] * (grants - 1) + [RATE * (ENTITIES + 1)], f"the grants of {customer.id} read back as {used}"
    return customer


def calls_a_consume(engine: Headgate, client: redis.Redis, customer: BenchCustomer) -> float:
    """Count the script calls that a consume sends when the client has its prepared request."""
    dimensions = {f"{kind}Id": f"{kind}-{place:06}" for place, kind in enumerate(TYPES)}

    def consume() -> None:
        decision = engine.consume(customer.id, feature=FEATURE, dimensions=dimensions).require()
        assert [charge.amount for charge in decision.charges] == [RATE], decision.charges
        assert len(decision.constraints) == len(TYPES) + 2, decision.constraints

    consume()
    client.config_resetstat()
    for _ in range(CALLS):
        consume()
    spent = client.info("commandstats")
    return sum(int(spent[name]["calls"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in spent) / CALLS


@dataclass(frozen=True, slots=True)
class EditTimes:
    """Milliseconds an edit, one figure a round; the rounds belong together. And who did not see the last edit."""

    large_ms: list[float]
    small_ms: list[float]
    unseen: int

    @property
    def ratio(self) -> float:
        """An edit of a plan that many customers have against one of a plan that few have."""
        return median_ratio(self.large_ms, self.small_ms)


def measure_edits(
    url: str, client: redis.Redis, large: int, small: int, *, rounds: int, advance: Callable[[], None]
) -> EditTimes:
    """Edit the plan of many customers and that of few in turn, each in an environment of its own on one server."""
    environments = {count: f"bench-plan-{count}" for count in (large, small)}
    times: dict[int, list[float]] = {large: [], small: []}
    with (
        Headgate.connect(url, environment=environments[large], settings=PATIENT) as of_many,
        Headgate.connect(url, environment=environments[small], settings=PATIENT) as of_few,
        Headgate.connect(url, environment=environments[large], settings=PATIENT) as asking,
    ):
        editing = {large: of_many, small: of_few}
        for count, engine in editing.items():
            _edit(engine, 0)
            _write_customers(client, environments[count], count)
            advance()
        sample = [_customer_id(place) for place in range(0, large, max(1, large // SAMPLE))]
        _require_limit(asking, sample, 0)
        for number in range(1, rounds + 1):
            for count in (large, small) if number % 2 else (small, large):
                began_s = time.perf_counter()
                _edit(editing[count], number)
                times[count].append((time.perf_counter() - began_s) * 1e3)
            advance()
        return EditTimes(times[large], times[small], len(_without_limit(asking, sample, rounds)))


def _customer_id(place: int) -> str:
    return f"cus-{place:06}"


def _edit(engine: Headgate, number: int) -> None:
    if number == 0:
        engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    terms = {"feature": FEATURE, "usage_limit": _limit(number), "reset_period": "MONTH"}
    engine.catalog.put_plans([{"id": PLAN, "entitlements": [terms]}])


def _limit(number: int) -> float:
    return 1_000.0 + number


def _write_customers(client: redis.Redis, environment: str, count: int) -> None:
    seconds, microseconds = client.time()
    now_ms = seconds * 1000 + microseconds // 1000
    subscription = Subscription(
        id=PLAN, plan=PLAN, start_ms=now_ms, billing_anchor_ms=now_ms, created_at_ms=now_ms, updated_at_ms=now_ms
    )
    subscriptions = wire.pack_document(Subscriptions(subscriptions=(subscription,)))
    blank = Customer(id="cus", created_at_ms=now_ms, updated_at_ms=now_ms)
    keyspace = Keyspace(environment, PARTITIONS_DEFAULT)
    pipeline = client.pipeline(transaction=False)
    for place in range(count):
        id = _customer_id(place)
        own = keyspace.customer(id)
        document = wire.pack_document(blank.model_copy(update={"id": id}))
        pipeline.hset(own.config, mapping={keys.CUSTOMER: document, keys.subscriptions_field(): subscriptions})
        pipeline.hset(own.usage, "@v", os.urandom(8))
        if (place + 1) % COMMANDS == 0 or place + 1 == count:
            pipeline.execute()


def _without_limit(engine: Headgate, customers: Sequence[str], number: int) -> list[str]:
    """Ask each customer's limit once; return those who do not have that of an edit."""
    found = {}
    for customer in customers:
        decision = engine.check(customer, feature=FEATURE)
        found[customer] = decision.account.limit if decision.account else None
    return [customer for customer, limit in found.items() if limit != _limit(number)]


def _require_limit(engine: Headgate, customers: Sequence[str], number: int) -> None:
    wrong = _without_limit(engine, customers, number)
    assert not wrong, f"{wrong} do not have the limit of the plan that was written"
