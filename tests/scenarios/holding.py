"""What the scenarios of holds share: a chain and a wallet to hold of, and what stands where afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from headgate import AsyncHold
from headgate.calls import Call, Reply
from headgate.client.sync_transport import RedisTransport
from headgate.clock import ManualClock
from headgate.keys import account_counter_field, currency_capability
from headgate.wire import MOMENT, NEVER, unpack_counter
from scenarios.setting import CUSTOMER, FEATURE, PARTITIONS, Engine, Place, budget, furnish

CREDITS = "credits"
USER = {"userId": "user-ann"}


class AwaitedHold:
    """An async hold whose methods wait for their answer."""

    def __init__(self, hold: AsyncHold, runner: asyncio.Runner) -> None:
        self._hold = hold
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._hold, name)
        if name not in ("settle", "release", "extend"):
            return attribute
        return lambda *args: self._runner.run(attribute(*args))

    def __bool__(self) -> bool:
        return bool(self._hold)


def hold(engine: Engine, amount: float = 75, **more: Any) -> Any:
    """Reserve an amount for user-ann."""
    made = engine.reserve(CUSTOMER, **{"feature": FEATURE, "amount": amount, "dimensions": USER, **more})
    return AwaitedHold(made, engine._runner) if isinstance(made, AsyncHold) else made


def furnish_chain(engine: Engine, *, limit: float | None = 10_000, budgets: float = 10_000) -> list[int | None]:
    """The account, and a user below a team below an organisation; return where each has its counter."""
    furnish(engine, limit=limit)
    org = budget(engine, "org-acme", budgets)
    for number in range(63):  # the team's counter is in another hash than its parent's
        budget(engine, f"user-{number}", 5)
    team = budget(engine, "team-eng", budgets, parent="org-acme")
    return [None, org, team, budget(engine, "user-ann", budgets, parent="team-eng")]


def fill_wallet(engine: Engine, *amounts: float) -> list[int]:
    """Grants that are burnt in this order; their counters are in the opposite one."""
    engine.catalog.put_currencies([{"id": CREDITS}])
    numbers = [
        engine.credits.grant(
            CUSTOMER, {"id": f"g{place}", "currency": CREDITS, "amount": amount, "priority": place}
        ).number
        for place, amount in reversed(list(enumerate(amounts)))
    ]
    return numbers[::-1]


def pay_by_use(engine: Engine, rate: float, limit: float = 10_000) -> None:
    terms = {"feature": FEATURE, "usage_limit": limit, "credit_rate": {"currency": CREDITS, "amount": rate}}
    engine.catalog.put_plans([{"id": "plan-paid", "entitlements": [terms]}])
    engine.customers.revoke_entitlement(CUSTOMER, feature=FEATURE)
    engine.subscriptions.provision(CUSTOMER, {"plan": "plan-paid"})


def stands(place: Place, *numbers: int | None) -> list[tuple[float, float]]:
    """What is used and held of counters."""
    counters = [place.counter(number) for number in numbers]
    return [(0.0, 0.0) if each is None else (each.used, each.held) for each in counters]


def overdraft(place: Place) -> float:
    value: Any = place.raw.hget(place.keys.usage, account_counter_field(currency_capability(CREDITS)))
    return 0.0 if value is None else unpack_counter(value).used


def kept(place: Place) -> tuple[int, int, int, int, bool]:
    """How many records, open holds, ended ones and customers to look at there are, and whether anything can be due."""
    raw, keys = place.raw, place.keys
    return (
        raw.hlen(keys.holds),
        raw.zcard(keys.due),
        raw.zcard(keys.ended),
        sum(raw.zcard(place.keyspace.partition_due(each)) for each in range(PARTITIONS)),
        raw.hexists(keys.usage, "@x"),
    )


NOTHING_KEPT = (0, 0, 0, 0, False)


def due_holds(engine: Engine, clock: ManualClock, count: int) -> None:
    for number in range(count):
        assert hold(engine, 1, id=f"job-{number}", expires_in=60)
    clock.advance(60_000)


class AtClock:
    """A transport for what is sent by hand in an environment with a simulated clock: it puts the instant in."""

    def __init__(self, transport: RedisTransport, clock: ManualClock) -> None:
        self._transport = transport
        self._clock = clock

    def send(self, call: Call, deadline_ms: float) -> Reply:
        args = call.args
        if call.script in ("find_due", "free", "settle"):
            args = (MOMENT.pack(NEVER, self._clock.now_ms) + args[0][MOMENT.size :], *args[1:])
        return self._transport.send(Call(call.script, call.keys, args), deadline_ms)

    def close(self) -> None:
        self._transport.close()
