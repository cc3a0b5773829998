"""`headgate replay`: run the calls of a trace against a policy, at the trace's own times.

The policy is written into an environment of its own, with a simulated clock that stands at the trace's first instant.
Then every call goes through consume, in the order of the instants. With more than one in flight, each call still has
exactly its own instant, and calls on two sides of the end of any budget's period are never in flight together: so the
calls, sorted by the account's number in their replies, are a run that anyone can recompute one by one.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headgate.cli.policy_file import read_policy
from headgate.cli.spread import Attributed, Spread, dimension_keys, metered_feature
from headgate.cli.summary import Summary, lines_of, make_console, require_writable, states_by_key, write_text
from headgate.cli.tally import Tally, audit
from headgate.cli.traces import Trace, TracedCall, find_trace, read_trace
from headgate.client.async_client import AsyncHeadgate
from headgate.clock import ManualClock
from headgate.entitlements import entitlement_schedule
from headgate.errors import HeadgateError
from headgate.model.decision import Decision, instant
from headgate.periods import Cadence, Schedule
from headgate.policy import Policy
from headgate.settings import Settings

IN_FLIGHT_MAX = 10_000

_own_ms: ContextVar[int | None] = ContextVar("the instant of the call that this task makes", default=None)


class TraceClock(ManualClock):
    """A clock that shows each task the instant of its own call, and all others the instant that it was set to."""

    @property
    def now_ms(self) -> int:
        """The instant of this task's call, in epoch milliseconds."""
        own_ms = _own_ms.get()
        return super().now_ms if own_ms is None else own_ms


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay that is ready to run: nothing of it can be wrong any more."""

    trace: Trace
    policy: Policy
    feature: str
    calls: tuple[tuple[TracedCall, Attributed], ...]
    """In the order of their instants, and of the file where these are equal."""
    in_flight: int

    @property
    def first_ms(self) -> int:
        """The earliest instant of the trace, at which the policy is written."""
        return self.calls[0][0].at_ms


@dataclass(frozen=True, slots=True)
class Done:
    """A call with what it was told."""

    call: TracedCall
    attributed: Attributed
    outcome: Decision | HeadgateError
    latency_ms: float

    def as_dict(self, feature: str) -> dict[str, Any]:
        """Plain data for one line of the calls file."""
        told: dict[str, Any]
        if isinstance(self.outcome, Decision):
            decision, at_ms = self.outcome, self.outcome.decided_at_ms
            told = {
                "granted": decision.granted,
                "reason": decision.reason and decision.reason.value,
                "binding": decision.binding and decision.binding.as_dict(),
                "constraints": [state.as_dict() for state in decision.constraints],
                "error": None,
            }
        else:
            at_ms = self.call.at_ms
            error = {"code": self.outcome.code, "message": str(self.outcome)}
            told = {"granted": None, "reason": None, "binding": None, "constraints": [], "error": error}
        return {
            "row": self.call.row,
            "instant": instant(at_ms).isoformat(timespec="milliseconds"),
            "instant_ms": at_ms,
            "customer": self.attributed.customer,
            "feature": feature,
            "dimensions": dict(self.attributed.dimensions),
            "amount": self.call.amount,
            **told,
        }


def make_plan(
    trace: Path, policy: Path, *, feature: str | None, in_flight: int, seed: int, rows_max: int | None
) -> Plan:
    """Read both files and say who makes each call; raise an error that names what is wrong, and where."""
    read = read_policy(policy)
    chosen = metered_feature(read, feature)
    spread = Spread.of(read, feature=chosen, seed=seed)
    found = read_trace(find_trace(trace), dimension_keys=dimension_keys(read), rows_max=rows_max)
    ordered = sorted(found.calls, key=lambda call: call.at_ms)
    return Plan(found, read, chosen, tuple((call, spread.attribute(call)) for call in ordered), in_flight)


def stretches(plan: Plan) -> Iterator[Sequence[tuple[TracedCall, Attributed]]]:
    """Cut the calls where a period of any limit ends: all calls of a stretch lie in one period of every limit."""
    schedules, instants_ms = list(_schedules(plan)), sorted(_instants_ms(plan.policy))
    stretch: list[tuple[TracedCall, Attributed]] = []
    until_ms = plan.first_ms
    for call, attributed in plan.calls:
        if call.at_ms >= until_ms:
            if stretch:
                yield stretch
            stretch = []
            ends_ms = [each.period_at(call.at_ms).end_ms for each in schedules]
            ends_ms += [at_ms for at_ms in instants_ms if at_ms > call.at_ms][:1]
            until_ms = min(ends_ms, default=call.at_ms + 2**40)
        stretch.append((call, attributed))
    yield stretch


def _schedules(plan: Plan) -> Iterable[Schedule]:
    """Every schedule by which a limit starts again, or credits recur."""
    policy = plan.policy
    budgets = {
        (budget.cadence, budget.zone)
        for customer in policy.customers
        for entity in customer.entities
        for budget in entity.budgets
    }
    for cadence, zone in sorted(budgets):
        yield Schedule(Cadence.parse(cadence), plan.first_ms, zone)
    of_packages = [each for package in (*policy.plans, *policy.addons) for each in package.entitlements]
    found: set[Schedule | None] = set()
    for customer in policy.customers:
        for entitlement in customer.entitlements:
            anchor_ms = plan.first_ms if entitlement.reset_anchor_ms is None else entitlement.reset_anchor_ms
            found.add(entitlement_schedule(entitlement, anchor_ms))
        for subscription in customer.subscriptions:
            given = (subscription.billing_anchor_ms, subscription.start_ms, plan.first_ms)
            anchor_ms = next(each for each in given if each is not None)
            found |= {
                entitlement_schedule(each, anchor_ms) for each in (*of_packages, *(subscription.entitlements or ()))
            }
            found |= {Schedule(Cadence.parse(cadence), anchor_ms) for cadence in ("P1M", "P1Y")}
    yield from (schedule for schedule in found if schedule is not None)


def _instants_ms(policy: Policy) -> set[int]:
    """Every instant at which something begins or ends for good."""
    found = {each.expires_at_ms for customer in policy.customers for each in customer.entitlements}
    for customer in policy.customers:
        for subscription in customer.subscriptions:
            found |= {subscription.start_ms, subscription.trial_end_ms, subscription.end_ms}
        for grant in customer.grants:
            found |= {grant.effective_at_ms, grant.expires_at_ms}
    return {each for each in found if each is not None}


async def run(plan: Plan, url: str, on_answer: Callable[[], object]) -> tuple[list[Done], Summary]:
    """Write the policy and make every call; return them in the plan's order, and what came of it all."""
    clock = TraceClock(plan.first_ms)
    settings = Settings(
        deadline_ms=60_000, setup_deadline_ms=60_000, connections_max=max(4, min(plan.in_flight, 256)), partitions=1
    )
    environment = f"replay-{secrets.token_hex(8)}"
    async with AsyncHeadgate.connect(url, environment=environment, settings=settings, clock=clock) as engine:
        await engine.apply(plan.policy)
        done: list[Done] = []
        began_s = time.perf_counter()
        for stretch in stretches(plan):
            waiting = iter(stretch)
            workers = min(plan.in_flight, len(stretch))
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(_work(engine, plan.feature, waiting, done, on_answer))
        seconds = time.perf_counter() - began_s
        clock.set(plan.calls[-1][0].at_ms)
        tally = tally_of(done, plan.feature)
        customers = sorted(customer.id for customer in plan.policy.customers)
        trees = [await engine.governance.tree(customer, feature=plan.feature) for customer in customers]
    lines = tuple(lines_of(trees))
    order = {call.row: index for index, (call, _) in enumerate(plan.calls)}
    done.sort(key=lambda each: order[each.call.row])
    return done, Summary(tally, seconds, lines, audit(tally, states_by_key(lines)))


async def _work(
    engine: AsyncHeadgate,
    feature: str,
    waiting: Iterator[tuple[TracedCall, Attributed]],
    done: list[Done],
    on_answer: Callable[[], object],
) -> None:
    """Make one call after the other, until none is waiting."""
    for call, attributed in waiting:
        _own_ms.set(call.at_ms)
        outcome: Decision | HeadgateError
        began_s = time.perf_counter()
        try:
            outcome = await engine.consume(
                attributed.customer, feature=feature, amount=call.amount, dimensions=attributed.dimensions
            )
        except HeadgateError as error:
            outcome = error
        done.append(Done(call, attributed, outcome, (time.perf_counter() - began_s) * 1000))
        on_answer()


def tally_of(done: Iterable[Done], feature: str) -> Tally:
    """Add up what the calls were told."""
    tally = Tally()
    for each in done:
        if isinstance(each.outcome, Decision):
            tally.add(each.outcome, each.call.amount, each.latency_ms)
        else:
            tally.add_error(each.outcome, customer=each.attributed.customer, feature=feature, amount=each.call.amount)
    return tally


def replay_command(
    trace: Annotated[
        Path, typer.Argument(metavar="TRACE.csv", help="The trace; also looked for in the folder $HEADGATE_TRACES.")
    ],
    policy: Annotated[Path, typer.Option(help="The policy whose budgets stand in the way.")],
    url: Annotated[
        str,
        typer.Option(
            help="The server to run on; `headgate --url URL replay` says the same. Its environment is left there."
        ),
    ] = "embedded://",
    in_flight: Annotated[int, typer.Option(min=1, max=IN_FLIGHT_MAX, help="How many calls to make at once.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draws for rows that do not say who calls.")] = 1,
    feature: Annotated[str | None, typer.Option(help="What to consume, where the policy meters several.")] = None,
    limit_rows: Annotated[int | None, typer.Option(min=1, help="Replay the first rows only.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what came of it as JSON.")] = None,
    calls_file: Annotated[
        Path | None, typer.Option("--calls", help="Write one JSON line a call, so that anyone can recompute it.")
    ] = None,
) -> None:
    """Replay a trace of calls against a policy, at the trace's own times, and say which budgets ran out.

    The policy is written into a throw-away environment with a simulated clock. Every row is one consume, in the order
    of the instants.

    TRACE.csv has the columns TIMESTAMP, ContextTokens and GeneratedTokens (their sum is the amount), or TIMESTAMP and
    amount; and, where it knows them, customer and any dimension of the policy, such as teamId or modelId.

    Rows without them are spread by a fixed rule: row n (from 1) draws the item number
    (first 8 bytes of SHA-256("SEED/n/WHAT"), big-endian) modulo the length of a list sorted by id. WHAT is "customer"
    among the customers with the feature; "leaf" among the entities with a parent and no children, unless the row
    names an entity of the hierarchy; and the type's id among the entities of each type that stand alone (a model),
    unless the row names one. A drawn entity goes under its type's first key.

    Exit codes: 0 every call had an answer and every counter equals exactly what was granted, 1 not so, 2 the command or
    a file is wrong and nothing ran, 3 no server.
    """
    require_writable(json_file)
    require_writable(calls_file)
    plan = make_plan(trace, policy, feature=feature, in_flight=in_flight, seed=seed, rows_max=limit_rows)
    notes = make_console(stderr=True)
    if plan.trace.ignored:
        notes.print(f"Columns that say nothing to this policy: {', '.join(plan.trace.ignored)}", markup=False)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as progress:
        bar = progress.add_task("replaying", total=len(plan.calls))
        done, summary = asyncio.run(run(plan, url, lambda: progress.advance(bar)))
    make_console().print(summary.rendering())
    if json_file is not None:
        summary.write_json(json_file)
    if calls_file is not None:
        write_text(calls_file, "".join(json.dumps(each.as_dict(plan.feature)) + "\n" for each in done))
    if not summary.succeeded:
        raise typer.Exit(1)
