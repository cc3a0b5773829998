"""The storm: many attempts at once on one limit, to the exact unit.

    make load                                 20 rounds of every storm on an embedded server
    make load ARGS="--rounds 100"             more of them
    make load ARGS="--url redis://host:6379"  on a server of yours, in an environment of its own

A storm is 1,000 attempts for one unit each, all at once, over 8 leaves of one team of one organisation. 100 fit. The
limit sits on the leaves (13 or 12 each), on the team (middle) or on the organisation (top); every other node only
counts. The attempts come from threads, from asyncio tasks, or from 4 processes of 250 tasks. Right is: 100 granted,
900 refused by the constraint that has the limit, no errors, and nothing of the refused on any counter.
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
from headgate.model.decision import Decision
from headgate.settings import Settings

CUSTOMER = "cus-storm"
FEATURE = "feature-calls"
LEAVES = tuple(f"agent-{number}" for number in range(1, 9))
PLACES = ("leaf", "middle", "top")
KINDS = ("threads", "tasks", "processes")
PROCESSES = 4
CALM = Settings(deadline_ms=60_000, setup_deadline_ms=60_000, connections_max=32, partitions=4)
"""Nobody in a storm gives up waiting: an attempt that times out would say nothing about the limit. All attempts are for
one customer, so they meet in one partition, however many there are."""


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

    def refusing(self, leaf: str) -> str:
        """The name of the constraint that has to refuse an attempt of a leaf."""
        return {"leaf": leaf, "middle": "team", "top": "org"}[self.place]


@dataclass(slots=True)
class Seen:
    """What the attempts were told."""

    granted: Counter[str] = field(default_factory=Counter)
    """Of each leaf."""
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By leaf, reason, and the name of the binding constraint."""
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, leaf: str, outcome: Decision | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self.errors[f"{type(outcome).__name__}: {outcome}"] += 1
        elif outcome.granted:
            self.granted[leaf] += 1
        else:
            self.refused[leaf, str(outcome.reason), outcome.binding.name if outcome.binding else "nobody"] += 1

    def add_all(self, other: Seen) -> None:
        self.granted += other.granted
        self.refused += other.refused
        self.errors += other.errors

    def to_json(self) -> str:
        refused = [[*key, count] for key, count in self.refused.items()]
        return json.dumps({"granted": self.granted, "refused": refused, "errors": self.errors})

    @classmethod
    def from_json(cls, text: str) -> Seen:
        told = json.loads(text)
        refused = Counter({(leaf, reason, name): count for leaf, reason, name, count in told["refused"]})
        return cls(Counter(told["granted"]), refused, Counter(told["errors"]))


def prepare(engine: Headgate, storm: Storm) -> None:
    """Write the customer, the organisation, its team and the 8 leaves, with the limits of this storm."""
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    types = {"org": "orgId", "team": "teamId", "agent": "agentId"}
    engine.catalog.put_entity_types([{"id": kind, "attribution_keys": (key,)} for kind, key in types.items()])
    engine.customers.put(CUSTOMER, name="Storm")
    engine.customers.grant_entitlement(CUSTOMER, {"feature": FEATURE, "has_unlimited_usage": True})
    nodes = {"org": ("org", None), "team": ("team", "org")} | dict.fromkeys(LEAVES, ("agent", "team"))
    engine.governance.put_entities(CUSTOMER, [{"id": node, "type": kind} for node, (kind, _) in nodes.items()])
    limits = storm.limits()
    assignments: list[dict[str, Any]] = [
        {"entity": node, "feature": FEATURE, "usage_limit": limits[node], "cadence": "P1Y", "parent": parent}
        for node, (_, parent) in nodes.items()
    ]
    engine.governance.put_assignments(CUSTOMER, assignments)


def leaves_of(attempts: int) -> list[str]:
    return [LEAVES[number % len(LEAVES)] for number in range(attempts)]


def by_threads(url: str, environment: str, leaves: Sequence[str]) -> Seen:
    """One thread an attempt, all let go at the same instant, on one client."""
    seen = Seen()
    start = threading.Barrier(len(leaves))
    with Headgate.connect(url, environment=environment, settings=CALM) as engine:

        def attempt(leaf: str) -> Decision | BaseException:
            start.wait()
            try:
                return engine.consume(CUSTOMER, feature=FEATURE, amount=1, dimensions={"agentId": leaf})
            except Exception as error:
                return error

        with ThreadPoolExecutor(max_workers=len(leaves)) as pool:
            for leaf, outcome in zip(leaves, pool.map(attempt, leaves), strict=True):
                seen.add(leaf, outcome)
    return seen


async def by_tasks(engine: AsyncHeadgate, leaves: Sequence[str]) -> Seen:
    """One asyncio task an attempt, all on one client."""
    attempts = (engine.consume(CUSTOMER, feature=FEATURE, amount=1, dimensions={"agentId": leaf}) for leaf in leaves)
    seen = Seen()
    for leaf, outcome in zip(leaves, await asyncio.gather(*attempts, return_exceptions=True), strict=True):
        seen.add(leaf, outcome)
    return seen


async def one_client(url: str, environment: str, leaves: Sequence[str]) -> Seen:
    async with AsyncHeadgate.connect(url, environment=environment, settings=CALM) as engine:
        return await by_tasks(engine, leaves)


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

    def attempt(self, environment: str, leaves: Sequence[str]) -> Seen:
        """Make all attempts, and return what they were told."""
        seen = Seen()
        for number, worker in enumerate(self._workers):
            self._tell(worker, json.dumps({"environment": environment, "leaves": leaves[number::PROCESSES]}))
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
            print((await by_tasks(engine, orders["leaves"])).to_json(), flush=True)


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
        return list(wrong(storm, seen, counters(engine)))


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
        if (reason, name) != ("BudgetExceeded", storm.refusing(leaf)):
            yield f"{count} refusals of {leaf} name {name} ({reason}), not {storm.refusing(leaf)}"
    for error, count in seen.errors.items():
        yield f"{count} times an error: {error}"
    expected = {"account": granted, "org": granted, "team": granted} | {leaf: seen.granted[leaf] for leaf in LEAVES}
    if used != expected:
        yield f"the counters stand at {used}, and {expected} were granted"


def storms(url: str, rounds: int, attempts: int, limit: int) -> Iterator[bool]:
    """Run every storm in every round, print how it went, and say of each whether it was wrong."""
    with Crew(url) as crew:
        for number, kind, place in itertools.product(range(1, rounds + 1), KINDS, PLACES):
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
