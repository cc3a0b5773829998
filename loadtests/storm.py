"""The storm: many attempts at once on one limit, to the exact unit.

    make load                                 20 rounds of every storm on an embedded server
    make load ARGS="--rounds 100"             more of them
    make load ARGS="--url redis://host:6379"  on a server of yours, in an environment of its own

A storm is 1,000 attempts for one unit each, all at once, over 8 leaves of one team of one organisation. 100 fit. The
limit sits on the leaves (13 or 12 each), on the team (middle) or on the organisation (top), or is what 7 small grants
of a wallet pay for (wallet), at 3 credits a unit; every other node only counts. The attempts come from threads, from
asyncio tasks, or from 4 processes of 250 tasks. Right is: 100 granted, 900 refused by the constraint that has the
limit, no errors, nothing of the refused on any counter, and of each grant as much used as the attempts were told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headgate
from headgate import AsyncHeadgate, Headgate
from headgate.client.embedded import EmbeddedServer
from headgate.clock import monotonic_ms
from headgate.model.credits import GrantState
from headgate.model.decision import Decision
from headgate.settings import Settings

CUSTOMER = "cus-storm"
FEATURE = "feature-calls"
CURRENCY = "credits"
RATE = 3.0
"""What a unit costs where it is paid in credits: grants that do not divide by it are used up across attempts."""
GRANTS = 7
LEAVES = tuple(f"agent-{number}" for number in range(1, 9))
PLACES = ("leaf", "middle", "top")
WALLET = "wallet"
KINDS = ("threads", "tasks", "processes")
PROCESSES = 4
CALM = Settings(deadline_ms=60_000, setup_deadline_ms=60_000, connections_max=32, partitions=4)
"""Nobody in a storm gives up waiting: an attempt that times out would say nothing about the limit. All attempts are for
one customer, so they meet in one partition, however many there are."""
TOGETHER_MAX_MS = 60_000
"""How long attempts are repeated at most where nobody tells them to stop: a test has failed by then."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What is tried: how many attempts, how many of them fit, and where the limit sits."""

    place: str
    kind: str
    attempts: int = 1_000
    limit: int = 100

    def limits(self) -> dict[str, int | None]:
        """The limit of every node; None only counts. Those of the leaves add up to the limit."""
        parts = [self.limit // len(LEAVES) + (index < self.limit % len(LEAVES)) for index in range(len(LEAVES))]
        return {
            "org": self.limit if self.place == "top" else None,
            "team": self.limit if self.place == "middle" else None,
            **{leaf: part if self.place == "leaf" else None for leaf, part in zip(LEAVES, parts, strict=True)},
        }

    def grants(self) -> list[int]:
        """What each grant of the wallet has; all of them pay for the limit."""
        credits = int(self.limit * RATE)
        return [credits // GRANTS + (index < credits % GRANTS) for index in range(GRANTS)]

    def refusing(self, leaf: str) -> str:
        """The name of the constraint that has to refuse an attempt of a leaf."""
        return {"leaf": leaf, "middle": "team", "top": "org", WALLET: f"wallet {CURRENCY}"}[self.place]

    @property
    def reason(self) -> str:
        """Why an attempt has to be refused."""
        return "InsufficientCredits" if self.place == WALLET else "BudgetExceeded"


@dataclass(slots=True)
class Seen:
    """What the attempts were told."""

    granted: Counter[str] = field(default_factory=Counter)
    """Of each leaf."""
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By leaf, reason, and the name of the binding constraint."""
    errors: Counter[str] = field(default_factory=Counter)
    charged: dict[str, float] = field(default_factory=dict)
    """Credits, by grant; what was taken beyond the grants is `overdraft`."""
    last_charged_ms: dict[str, int] = field(default_factory=dict)
    """The latest instant at which a call was decided that took from a grant."""

    def add(self, leaf: str, outcome: Decision | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self.errors[f"{type(outcome).__name__}: {outcome}"] += 1
        elif outcome.granted:
            self.granted[leaf] += 1
            self._add_charges(outcome)
        else:
            self.refused[leaf, str(outcome.reason), outcome.binding.name if outcome.binding else "nobody"] += 1

    def _add_charges(self, decision: Decision) -> None:
        taken = sum(charge.amount for charge in decision.charges)
        if taken != (RATE if decision.wallet else 0):
            self.errors[f"a consume of {RATE:g} credits took {taken:g}"] += 1
        for charge in decision.charges:
            name = charge.grant or "overdraft"
            self.charged[name] = self.charged.get(name, 0) + charge.amount
            self.last_charged_ms[name] = max(decision.decided_at_ms, self.last_charged_ms.get(name, 0))

    def add_all(self, other: Seen) -> None:
        self.granted += other.granted
        self.refused += other.refused
        self.errors += other.errors
        for name, amount in other.charged.items():
            self.charged[name] = self.charged.get(name, 0) + amount
        for name, at_ms in other.last_charged_ms.items():
            self.last_charged_ms[name] = max(at_ms, self.last_charged_ms.get(name, 0))

    def to_json(self) -> str:
        refused = [[*key, count] for key, count in self.refused.items()]
        return json.dumps(
            {
                "granted": self.granted,
                "refused": refused,
                "errors": self.errors,
                "charged": self.charged,
                "last_charged_ms": self.last_charged_ms,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Seen:
        told = json.loads(text)
        refused = Counter({(leaf, reason, name): count for leaf, reason, name, count in told["refused"]})
        granted, errors = Counter(told["granted"]), Counter(told["errors"])
        return cls(granted, refused, errors, told["charged"], told["last_charged_ms"])


def prepare(engine: Headgate, storm: Storm) -> None:
    """Write the customer, the organisation, its team and the 8 leaves, with the limits of this storm."""
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    types = {"org": "orgId", "team": "teamId", "agent": "agentId"}
    engine.catalog.put_entity_types([{"id": kind, "attribution_keys": (key,)} for kind, key in types.items()])
    engine.customers.put(CUSTOMER, name="Storm")
    entitle(engine, storm)
    nodes = {"org": ("org", None), "team": ("team", "org")} | dict.fromkeys(LEAVES, ("agent", "team"))
    engine.governance.put_entities(CUSTOMER, [{"id": node, "type": kind} for node, (kind, _) in nodes.items()])
    limits = storm.limits()
    assignments: list[dict[str, Any]] = [
        {"entity": node, "feature": FEATURE, "usage_limit": limits[node], "cadence": "P1Y", "parent": parent}
        for node, (_, parent) in nodes.items()
    ]
    engine.governance.put_assignments(CUSTOMER, assignments)


def entitle(engine: Headgate, storm: Storm) -> None:
    """Entitle to the feature without a limit; where the wallet is the limit, let a plan say what a unit costs."""
    terms: dict[str, Any] = {"feature": FEATURE, "has_unlimited_usage": True}
    if storm.place != WALLET:
        engine.customers.grant_entitlement(CUSTOMER, terms)
        return
    terms["credit_rate"] = {"currency": CURRENCY, "amount": RATE}
    engine.catalog.put_currencies([{"id": CURRENCY}])
    engine.catalog.put_plans([{"id": "plan-storm", "entitlements": [terms]}])
    engine.subscriptions.provision(CUSTOMER, {"plan": "plan-storm"})
    for place, amount in enumerate(storm.grants()):
        grant = {"id": f"grant-{place}", "currency": CURRENCY, "amount": amount, "priority": 10 * (GRANTS - place)}
        engine.credits.grant(CUSTOMER, grant)


def leaves_of(attempts: int) -> list[str]:
    return [LEAVES[number % len(LEAVES)] for number in range(attempts)]


def by_threads(url: str, environment: str, leaves: Sequence[str], until: str | None = None) -> Seen:
    """One thread an attempt, all let go at the same instant, on one client; repeated until a grant is in the wallet."""
    seen = Seen()
    start, stop_ms = threading.Barrier(len(leaves)), monotonic_ms() + TOGETHER_MAX_MS
    with Headgate.connect(url, environment=environment, settings=CALM) as engine:

        def attempt(leaf: str) -> Decision | BaseException:
            try:
                return engine.consume(CUSTOMER, feature=FEATURE, amount=1, dimensions={"agentId": leaf})
            except Exception as error:
                return error

        def attempts(leaf: str) -> list[Decision | BaseException]:
            start.wait()
            outcomes = [attempt(leaf)]
            while not is_over(outcomes[-1], until, stop_ms):
                outcomes.append(attempt(leaf))
            return outcomes

        with ThreadPoolExecutor(max_workers=len(leaves)) as pool:
            for leaf, outcomes in zip(leaves, pool.map(attempts, leaves), strict=True):
                for outcome in outcomes:
                    seen.add(leaf, outcome)
    return seen


async def by_tasks(engine: AsyncHeadgate, leaves: Sequence[str], until: str | None = None) -> Seen:
    """One asyncio task an attempt, all on one client; repeated until a grant is in the wallet."""
    seen, stop_ms = Seen(), monotonic_ms() + TOGETHER_MAX_MS

    async def attempts(leaf: str) -> None:
        outcome: Decision | BaseException | None = None
        while outcome is None or not is_over(outcome, until, stop_ms):
            try:
                outcome = await engine.consume(CUSTOMER, feature=FEATURE, amount=1, dimensions={"agentId": leaf})
            except Exception as error:
                outcome = error
            seen.add(leaf, outcome)

    await asyncio.gather(*map(attempts, leaves))
    return seen


def is_over(outcome: Decision | BaseException, until: str | None, stop_ms: float) -> bool:
    """Whether this was the last attempt of its thread or task: at once, or when a grant of a name is in the wallet."""
    if until is None or isinstance(outcome, BaseException) or monotonic_ms() > stop_ms:
        return True
    return outcome.wallet is not None and any(grant.id == until for grant in outcome.wallet.grants)


async def one_client(url: str, environment: str, leaves: Sequence[str], until: str | None = None) -> Seen:
    async with AsyncHeadgate.connect(url, environment=environment, settings=CALM) as engine:
        return await by_tasks(engine, leaves, until)


class Crew:
    """Several processes, each with its own client for its share of the attempts, made as tasks; let go together."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", url]
        # The same package as this process has, wherever that was found.
        surroundings = os.environ | {"PYTHONPATH": str(Path(headgate.__file__).parents[1])}
        self._workers = [
            subprocess.Popen(command, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.communicate()

    def attempt(self, environment: str, leaves: Sequence[str], until: str | None = None) -> Seen:
        """Make all attempts, and return what they were told."""
        seen = Seen()
        for number, worker in enumerate(self._workers):
            orders = {"environment": environment, "leaves": leaves[number::PROCESSES], "until": until}
            self._tell(worker, json.dumps(orders))
        for worker in self._workers:
            assert self._hear(worker) == "ready", "a worker did not come up; what it said stands above"
        for worker in self._workers:
            self._tell(worker, "go")
        for worker in self._workers:
            seen.add_all(Seen.from_json(self._hear(worker)))
        return seen

    def _tell(self, worker: subprocess.Popen[str], line: str) -> None:
        assert worker.stdin is not None
        worker.stdin.write(line + "\n")
        worker.stdin.flush()

    def _hear(self, worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        return worker.stdout.readline().strip()


async def work(url: str) -> None:
    """A worker: for each storm connect, say so, wait for the start, try, and tell what was seen."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        orders = json.loads(line)
        async with AsyncHeadgate.connect(url, environment=orders["environment"], settings=CALM) as engine:
            await engine.check(CUSTOMER, feature=FEATURE, requested_usage=0)
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            print((await by_tasks(engine, orders["leaves"], orders["until"])).to_json(), flush=True)


def run(url: str, storm: Storm, crew: Crew) -> list[str]:
    """Run a storm in an environment of its own, and return what was wrong with it, as sentences."""
    environment = f"storm-{secrets.token_hex(6)}"
    with Headgate.connect(url, environment=environment, settings=CALM) as engine:
        prepare(engine, storm)
        leaves = leaves_of(storm.attempts)
        match storm.kind:
            case "threads":
                seen = by_threads(url, environment, leaves)
            case "tasks":
                seen = asyncio.run(one_client(url, environment, leaves))
            case _:
                seen = crew.attempt(environment, leaves)
        ledger = engine.credits.grants(CUSTOMER, currency=CURRENCY) if storm.place == WALLET else []
        return [*wrong(storm, seen, counters(engine)), *wrong_ledger(seen, ledger)]


def counters(engine: Headgate) -> dict[str, float]:
    """Every counter by the name of its constraint, as the server has it now."""
    tree = engine.governance.tree(CUSTOMER, feature=FEATURE)
    states = [tree.account, *(state for node in tree.walk() for state in node.states)]
    return {state.name: state.used for state in states}


def wrong(storm: Storm, seen: Seen, used: dict[str, float]) -> Iterator[str]:
    """Say each thing that is not as it must be."""
    granted, refused = seen.granted.total(), seen.refused.total()
    if granted != storm.limit:
        yield f"{granted} were granted, and {storm.limit} fit"
    if refused != storm.attempts - storm.limit:
        yield f"{refused} were refused, not {storm.attempts - storm.limit}"
    for (leaf, reason, name), count in seen.refused.items():
        if (reason, name) != (storm.reason, storm.refusing(leaf)):
            yield f"{count} refusals of {leaf} name {name} ({reason}), not {storm.refusing(leaf)}"
    for error, count in seen.errors.items():
        yield f"{count} times an error: {error}"
    yield from wrong_counters(seen, used)


def wrong_counters(seen: Seen, used: dict[str, float]) -> Iterator[str]:
    """Say where the counters are not what was granted."""
    granted = seen.granted.total()
    expected = {"account": granted, "org": granted, "team": granted} | {leaf: seen.granted[leaf] for leaf in LEAVES}
    if used != expected:
        yield f"the counters stand at {used}, and {expected} were granted"


def wrong_ledger(seen: Seen, ledger: Sequence[GrantState]) -> Iterator[str]:
    """Say where what became of the grants is not what the attempts were told."""
    for grant in ledger:
        charged = seen.charged.get(grant.id, 0)
        if grant.consumed != charged:
            yield f"{grant.consumed:g} of {grant.id} are used, and {charged:g} were charged"
        if not 0 <= grant.consumed <= grant.amount:
            yield f"{grant.consumed:g} of {grant.id} are used, and it had {grant.amount:g}"
        parts = (grant.left, grant.held, grant.consumed, grant.expired, grant.voided)
        if sum(parts) != grant.amount:
            yield f"of {grant.amount:g} of {grant.id}, {parts} are left, held, used, expired and voided"
        last_ms = seen.last_charged_ms.get(grant.id, 0)
        if grant.expires_at_ms is not None and last_ms >= grant.expires_at_ms:
            yield f"{grant.id} was charged at {last_ms}, and expired at {grant.expires_at_ms}"
    paid, cost = sum(grant.consumed for grant in ledger), seen.granted.total() * RATE
    if ledger and paid != cost:
        yield f"{paid:g} credits are used, and {cost:g} were granted"


def storms(url: str, rounds: int, attempts: int, limit: int) -> Iterator[bool]:
    """Run every storm in every round, print how it went, and say of each whether it was wrong."""
    with Crew(url) as crew:
        for number, kind, place in itertools.product(range(1, rounds + 1), KINDS, (*PLACES, WALLET)):
            began_s = time.perf_counter()
            problems = run(url, Storm(place, kind, attempts, limit), crew)
            took_s = time.perf_counter() - began_s
            verdict = "exact" if not problems else "WRONG"
            print(f"round {number:>3}  {kind:<9}  limit at {place:<6}  {took_s:6.2f} s  {verdict}", flush=True)
            for problem in problems:
                print(f"           {problem}")
            yield bool(problems)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--url", help="of a server; else one is started, and stopped at the end")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--attempts", type=int, default=1_000)
    parser.add_argument("--limit", type=int, default=100)
    options = parser.parse_args()
    if options.worker:
        asyncio.run(work(options.worker))
        return 0
    with contextlib.ExitStack() as stack:
        url = options.url or stack.enter_context(EmbeddedServer.private()).url
        failed = sum(storms(url, options.rounds, options.attempts, options.limit))
    print("every storm was exact" if not failed else f"{failed} storms were not exact")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
