"""`headgate demo`: several processes storm one tree of budgets, and every counter is held against what they were told.

A private embedded server, the example policy, and processes with many tasks each that spend on the same chains. At the
end the processes' own records are added up, and compared with the counters: the demo says whether they are equal, to
the unit. Nothing is left behind, also where it is stopped with Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.demo_view import Standing, View
from headgate.cli.demo_worker import Orders
from headgate.cli.policy_file import read_policy
from headgate.cli.spread import Spread, metered_feature
from headgate.cli.summary import Line, Summary, lines_of, make_console, require_writable, states_by_key
from headgate.cli.tally import Tally, audit
from headgate.client.async_client import AsyncHeadgate
from headgate.client.embedded import EmbeddedServer
from headgate.errors import HeadgateError
from headgate.policy import Policy
from headgate.settings import Settings

ENVIRONMENT = "demo"
EXAMPLE = "ai-gateway.yaml"
REFRESH_S = 0.2
START_S = 60.0
STOP_S = 30.0


class DemoFailed(HeadgateError):
    """A process of the demo did not come up, or ended before its time; the message says which, and what it printed."""

    code = "DemoFailed"


@dataclass(slots=True)
class Worker:
    """One process of the storm, and what it last said."""

    number: int
    process: asyncio.subprocess.Process
    records: Path
    counts: tuple[int, int, int] = (0, 0, 0)

    async def line(self) -> str:
        """The next line that it prints; empty when it has ended."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def tell(self, text: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")

    async def listen(self) -> None:
        """Keep what it says, until it has ended."""
        while line := await self.line():
            granted, refused, errors = json.loads(line)
            self.counts = (granted, refused, errors)
        code = await self.process.wait()
        if code != 0:
            raise DemoFailed(f"process {self.number} of the demo ended with {code}; what it said stands above")

    async def stop(self) -> None:
        """End its input, which stops it; kill it where that does not help."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@dataclass(frozen=True, slots=True)
class Storm:
    """What is run: on which server, with how many processes and tasks, for how long."""

    url: str
    policy: Policy
    feature: str
    seconds: float
    processes: int
    tasks: int
    folder: Path
    seed: int = 1
    spread: Spread = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spread", Spread.of(self.policy, feature=self.feature, seed=self.seed))

    def orders(self, number: int) -> Orders:
        """What the process of this number has to do."""
        shapes = tuple((each.customer, dict(each.dimensions)) for each in self.spread.every_shape())
        return Orders(
            url=self.url,
            environment=ENVIRONMENT,
            feature=self.feature,
            shapes=shapes,
            seconds=self.seconds,
            tasks=self.tasks,
            seed=self.seed * 1_000 + number,
            records=str(self.folder / f"records-{number}.json"),
        )


def example_policy() -> Traversable:
    """Return the example policy: the checkout's where this package lies in a checkout, else the package's own copy."""
    package_folder = Path(__file__).parent.parent
    checkout_copy = package_folder.parent.parent / "examples" / EXAMPLE
    if package_folder.parent.name == "engine" and checkout_copy.is_file():
        return checkout_copy
    return files("headgate").joinpath("examples", EXAMPLE)


async def run(storm: Storm, view: View) -> Summary:
    """Write the policy, let the storm loose, show it, and add up what came of it."""
    settings = Settings(deadline_ms=20_000, setup_deadline_ms=60_000)
    async with AsyncHeadgate.connect(storm.url, environment=ENVIRONMENT, settings=settings) as engine:
        await engine.apply(storm.policy)
        async with started(storm) as workers:
            began_s = time.perf_counter()
            for worker in workers:
                worker.tell("go")
            listeners = [asyncio.create_task(worker.listen()) for worker in workers]
            while not all(listener.done() for listener in listeners):
                view.show(_standing(time.perf_counter() - began_s, workers, await _lines(engine, storm)))
                await asyncio.wait(listeners, timeout=REFRESH_S)
            for listener in listeners:
                listener.result()
            seconds = time.perf_counter() - began_s
        tally = Tally()
        for worker in workers:
            tally.add_all(Tally.from_json(worker.records.read_text(encoding="utf-8")))
        lines = await _lines(engine, storm)
    return Summary(tally, seconds, lines, audit(tally, states_by_key(lines)), tells_days=False)


@contextlib.asynccontextmanager
async def started(storm: Storm) -> AsyncIterator[Sequence[Worker]]:
    """Start the processes, and give them when all are connected; none of them is left afterwards."""
    workers: list[Worker] = []
    # The same package as this process has, wherever that was found, and whatever lies in the current folder.
    package_root = str(Path(__file__).parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    try:
        for number in range(1, storm.processes + 1):
            orders = storm.orders(number)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "headgate.cli.demo_worker"),
                env=surroundings,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops its workers.
            )
            workers.append(Worker(number, process, Path(orders.records)))
            workers[-1].tell(orders.to_json())
        for worker in workers:
            try:
                async with asyncio.timeout(START_S):
                    said = await worker.line()
            except TimeoutError:
                said = ""
            if said != "ready":
                raise DemoFailed(f"process {worker.number} of the demo did not come up; what it said stands above")
        yield workers
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


async def _lines(engine: AsyncHeadgate, storm: Storm) -> tuple[Line, ...]:
    customers = storm.spread.customers
    return tuple(lines_of([await engine.governance.tree(each, feature=storm.feature) for each in customers]))


def _standing(seconds: float, workers: Sequence[Worker], lines: Sequence[Line]) -> Standing:
    granted, refused, errors = (sum(worker.counts[index] for worker in workers) for index in range(3))
    return Standing(seconds, granted, refused, errors, lines)


def demo_command(
    seconds: Annotated[float, typer.Option(min=0.1, max=3_600, help="How long the storm lasts.")] = 10.0,
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many processes spend.")] = 4,
    tasks: Annotated[int, typer.Option(min=1, max=10_000, help="How many tasks each process has.")] = 100,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what came of it as JSON.")] = None,
) -> None:
    """Let a storm of processes loose on a tree of budgets, and show that every counter stays exact.

    It starts an embedded server, writes the example policy, and starts processes with many tasks each that spend on the
    same chains. The tree is shown as it fills. At the end, what every process was told is added up and compared with
    the counters.

    Exit codes: 0 every call had an answer and every counter equals exactly what was granted, 1 not so, 2 the command is
    wrong, 3 no server.
    """
    require_writable(json_file)
    console = make_console()
    with as_file(example_policy()) as path:
        policy = read_policy(path)
    feature = metered_feature(policy, None)
    folder = Path(tempfile.mkdtemp(prefix="headgate-demo-"))
    try:
        with EmbeddedServer.private() as server, View(console) as view:
            storm = Storm(server.url, policy, feature, seconds, processes, tasks, folder)
            who = f"{processes} process{'es' if processes > 1 else ''} × {tasks} tasks"
            console.print(f"{who} spend for {seconds:g} s on the budgets of {EXAMPLE}")
            summary = asyncio.run(run(storm, view))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(summary.rendering())
    if json_file is not None:
        summary.write_json(json_file)
    if not summary.succeeded:
        raise typer.Exit(1)
