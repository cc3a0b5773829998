"""Many consumers at once on one wallet: what it has is spent once and to the unit, never after its end.

The server's own clock decides in the first half. What a consumer was told and what the ledger says are held against
each other, so a charge that came twice, late or from nowhere shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from headgate import AsyncHeadgate, Headgate
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import InvalidInput
from headgate.model.credits import Charge, GrantKind, GrantState, GrantStatus
from headgate.model.decision import Decision, DeniedReason
from programs import load_program
from servers import RedisServer, available_binaries, wait_until

storm = load_program("storm")
SERVERS = sorted(available_binaries())
PATIENCE_S = 50.0
LIFE_MS = 400
"""How long a grant lives in a storm; twice as long where the machine was too busy to spend of it."""
SMALL = 10
"""What several consumers use up, the last of them in part."""
PLENTY = 10**6
STOP = "stop"
MIDNIGHT_MS = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""
MONTH_MS = 31 * 24 * 3_600_000


KINDS_IN_TURN = [(SERVERS[place % len(SERVERS)], kind) for place, kind in enumerate(storm.KINDS)]


@pytest.mark.parametrize(("server", "kind"), KINDS_IN_TURN, indirect=["server"])
def test_a_thousand_consumers_get_exactly_what_the_small_grants_of_a_wallet_pay_for(
    server: RedisServer, crew: Any, kind: str
) -> None:
    tried = storm.Storm(storm.WALLET, kind)
    assert sum(tried.grants()) == tried.limit * storm.RATE
    assert storm.run(server.unix_url, tried, crew) == []


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_grant_that_expires_in_a_storm_is_spent_before_its_end_alone_and_once(server: RedisServer, crew: Any) -> None:
    environment = f"expiry-{secrets.token_hex(6)}"
    with Headgate.connect(server.unix_url, environment=environment, settings=storm.CALM) as engine:
        storm.prepare(engine, storm.Storm(storm.WALLET, "all at once", limit=PLENTY))
        with consumers(server.unix_url, environment, crew) as told:
            try:
                wait_until(lambda: all_have_begun(engine), within_s=PATIENCE_S, what="every leaf has consumed")
                lives = give_until_spent(engine)
                since = used(engine)
                wait_until(lambda: used(engine) > since, within_s=PATIENCE_S, what="the storm goes on after the end")
            finally:
                give(engine, STOP, 1)
        seen = storm.Seen()
        for one in told:
            seen.add_all(one.result())
        ledger = engine.credits.grants(storm.CUSTOMER, currency=storm.CURRENCY)
        assert seen.errors == {}
        assert list(storm.wrong_counters(seen, storm.counters(engine))) == []
    assert list(storm.wrong_ledger(seen, ledger)) == []
    states = {grant.id: grant for grant in ledger}
    (small, large), rest = (states[name] for name in lives), states["grant-6"]
    assert small.expires_at_ms == large.expires_at_ms
    assert (small.status, large.status) == (GrantStatus.EXPIRED, GrantStatus.EXPIRED)
    assert small.consumed == small.amount  # it is burnt first, and shared by many
    assert 0 < large.consumed < large.amount
    assert (large.left, large.expired) == (0, large.amount - large.consumed)
    assert seen.last_charged_ms[rest.id] >= large.expires_at_ms  # the other side of its end was seen, too


@contextlib.contextmanager
def consumers(url: str, environment: str, crew: Any) -> Iterator[list[Future[Any]]]:
    """Consume in threads, in tasks and in processes at once, each with leaves of their own, until STOP is given."""
    in_threads, in_tasks, in_processes = storm.LEAVES[:2], storm.LEAVES[2:4], storm.LEAVES[4:]
    with ThreadPoolExecutor(3) as pool:
        yield [
            pool.submit(storm.by_threads, url, environment, in_threads * 2, STOP),
            pool.submit(lambda: asyncio.run(storm.one_client(url, environment, in_tasks * 4, STOP))),
            pool.submit(crew.attempt, environment, in_processes * 2, STOP),
        ]


def all_have_begun(engine: Headgate) -> bool:
    return all(storm.counters(engine)[leaf] > 0 for leaf in storm.LEAVES)


def used(engine: Headgate) -> float:
    """What was used of the grants that do not expire."""
    return sum(grant.consumed for grant in wallet(engine).grants if grant.expires_at_ms is None)


def wallet(engine: Headgate) -> Any:
    return engine.credits.wallet(storm.CUSTOMER, currency=storm.CURRENCY)


def give(engine: Headgate, id: str, amount: float, **more: Any) -> None:
    engine.credits.grant(storm.CUSTOMER, {"id": id, "currency": storm.CURRENCY, "amount": amount, **more})


def give_until_spent(engine: Headgate) -> tuple[str, str]:
    """Give a small and a large grant with a short life until somebody spends of the large one, and see them end."""
    end_ms, life_ms = monotonic_ms() + PATIENCE_S * 1000, LIFE_MS
    while monotonic_ms() < end_ms:
        expires_at_ms = wallet(engine).read_at_ms + life_ms
        names = f"small-{life_ms}", f"large-{life_ms}"
        with contextlib.suppress(InvalidInput):  # giving them took longer than they live
            for priority, (name, amount) in enumerate(zip(names, (SMALL, PLENTY), strict=True)):
                give(engine, name, amount, priority=priority, expires_at_ms=expires_at_ms)
        over = functools.partial(has_passed, engine, expires_at_ms)
        wait_until(over, within_s=PATIENCE_S, what="the server's clock goes on")
        ledger = {grant.id: grant for grant in engine.credits.grants(storm.CUSTOMER, currency=storm.CURRENCY)}
        if names[1] in ledger and ledger[names[1]].consumed > 0:
            return names
        life_ms *= 2
    raise AssertionError(f"nobody spent of a grant that lived {life_ms // 2} ms")


def has_passed(engine: Headgate, instant_ms: int) -> bool:
    return bool(wallet(engine).read_at_ms > instant_ms)


MONTHLY, OWED = 100, 30
TRIED = 40
"""How many attempts at once each engine makes."""


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_what_is_owed_is_paid_by_the_next_recurring_grant_before_anyone_buys_with_it(server: RedisServer) -> None:
    environment, next_month_ms = f"owed-{secrets.token_hex(6)}", MIDNIGHT_MS + MONTH_MS

    def options(clock: ManualClock) -> dict[str, Any]:
        return {"url": server.unix_url, "environment": environment, "settings": storm.CALM, "clock": clock}

    on_time, behind = ManualClock(MIDNIGHT_MS), ManualClock(next_month_ms - 1)
    with contextlib.ExitStack() as stack:
        owing, late, *others = (
            stack.enter_context(Headgate.connect(**options(clock))) for clock in (on_time, behind, on_time, on_time)
        )
        owe(owing)
        on_time.set(next_month_ms - 1)
        assert {ask(engine).reason for engine in (owing, late, *others)} == {DeniedReason.INSUFFICIENT_CREDITS}
        on_time.set(next_month_ms)
        # Among them are an engine whose clock is behind, as after a failover, and wishes for more than there will be.
        asked = [(owing, 1.0), *((engine, 1.0) for engine in others), (late, 1.0), (others[0], MONTHLY - OWED + 1.0)]
        with ThreadPoolExecutor(1) as pool:
            in_tasks = pool.submit(lambda: asyncio.run(ask_in_tasks(options(on_time))))
            *in_threads, too_late, too_much = ask_in_threads(asked)
        bought = [*(decision for decisions in in_threads for decision in decisions), *in_tasks.result()]
        overdraft = wallet(owing).overdraft
        ledger = owing.credits.grants(storm.CUSTOMER, currency=storm.CURRENCY)
    assert not any(decision.granted for decision in (*too_late, *too_much))
    assert {decision.reason for decision in bought if not decision.granted} == {DeniedReason.INSUFFICIENT_CREDITS}
    granted = [decision for decision in bought if decision.granted]
    assert len(granted) == MONTHLY - OWED
    assert [(grant.kind, grant.consumed, grant.left) for grant in ledger] == [(GrantKind.RECURRING, MONTHLY, 0)] * 2
    month = ledger[1].id
    first, *rest = sorted((decision.charges for decision in granted), key=len, reverse=True)
    assert first == (Charge(month, OWED + 1), Charge(None, -OWED))
    assert set(rest) == {(Charge(month, 1),)}
    # Whoever was granted something saw a wallet that owes nothing.
    assert {overdraft, *(decision.wallet.overdraft for decision in granted if decision.wallet)} == {0}


def owe(engine: Headgate) -> None:
    """A customer who gets credits every month, and has used more of them."""
    engine.catalog.put_currencies([{"id": storm.CURRENCY}])
    credit = {"currency": storm.CURRENCY, "amount": MONTHLY, "cadence": "MONTH"}
    engine.catalog.put_plans([{"id": "plan", "credits": [credit]}])
    engine.customers.put(storm.CUSTOMER, name="Storm")
    engine.subscriptions.provision(storm.CUSTOMER, {"plan": "plan"})
    engine.report(storm.CUSTOMER, currency=storm.CURRENCY, value=MONTHLY + OWED)
    assert wallet(engine).balance == -OWED


def ask(engine: Headgate, amount: float = 1) -> Decision:
    return engine.consume(storm.CUSTOMER, currency=storm.CURRENCY, amount=amount)


def ask_in_threads(asked: Sequence[tuple[Headgate, float]]) -> list[list[Decision]]:
    """Make all attempts at the same instant, each in a thread; return what each engine was told."""
    start = Barrier(len(asked) * TRIED)

    def attempt(engine: Headgate, amount: float) -> Decision:
        start.wait()
        return ask(engine, amount)

    with ThreadPoolExecutor(len(asked) * TRIED) as pool:
        futures = [[pool.submit(attempt, *each) for _ in range(TRIED)] for each in asked]
    return [[future.result() for future in each] for each in futures]


async def ask_in_tasks(options: dict[str, Any]) -> list[Decision]:
    async with AsyncHeadgate.connect(**options) as engine:
        attempts = (engine.consume(storm.CUSTOMER, currency=storm.CURRENCY) for _ in range(TRIED))
        return await asyncio.gather(*attempts)


def test_what_a_credit_storm_gets_wrong_is_said() -> None:
    seen = storm.Seen()
    seen.granted["agent-1"] += 2
    seen.charged.update({"right": 3, "twice": 8, "late": 2})
    seen.last_charged_ms.update({"right": 999, "twice": 999, "late": 1_000})
    ledger = [a_grant("right", 3), a_grant("twice", 9), a_grant("late", 2)]
    told = storm.Seen.from_json(seen.to_json())
    assert list(storm.wrong_ledger(told, ledger)) == [
        "9 of twice are used, and 8 were charged",
        "9 of twice are used, and it had 5",
        "late was charged at 1000, and expired at 1000",
        "14 credits are used, and 6 were granted",
    ]
    told.add_all(told)
    assert (told.charged["late"], told.last_charged_ms["late"]) == (4, 1_000)


def a_grant(id: str, consumed: float) -> GrantState:
    return GrantState(
        id=id,
        currency=storm.CURRENCY,
        resource=None,
        kind=GrantKind.PAID,
        status=GrantStatus.EXPIRED,
        priority=50,
        amount=5,
        consumed=consumed,
        held=0,
        effective_at_ms=0,
        expires_at_ms=1_000,
    )
