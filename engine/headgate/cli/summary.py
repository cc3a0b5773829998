"""What a replay and a demo end with: a table of every budget, one line on exactness, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from headgate.amounts import as_number, format_amount
from headgate.cli.tally import Audit, BudgetKey, BudgetTally, Tally, amount_of
from headgate.errors import InvalidInput
from headgate.model.decision import ConstraintState, instant
from headgate.model.tree import Tree

WIDTH_ELSEWHERE = 120
"""How wide lines may get where the output is no terminal, so that nothing is cut."""


@dataclass(frozen=True, slots=True)
class Line:
    """One budget of the table: `level` says how deep below its root it stands, 0 for the account level."""

    key: BudgetKey
    level: int
    state: ConstraintState


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a run: what calls were told, how long it took, and every budget in the order of the tree.

    `tells_days`: whether the table says on which day a budget first ran out.
    """

    tally: Tally
    seconds: float
    lines: tuple[Line, ...]
    audit: Audit
    tells_days: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether all calls had an answer, and every counter equals what was granted."""
        return self.audit.exact and not self.tally.errors

    @property
    def decisions_per_second(self) -> float:
        """Answers a second, over the whole run."""
        return self.tally.decisions / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "granted": self.tally.granted,
            "refused": self.tally.refused,
            "errors": self.tally.errors.total(),
            "exact": self.audit.exact,
            "decisions_per_second": round(self.decisions_per_second, 1),
            "p50_ms": round(self.tally.latency_ms(0.50), 3),
            "p99_ms": round(self.tally.latency_ms(0.99), 3),
            "budgets": [
                {
                    "customer": line.key.customer,
                    "entity": line.state.entity,
                    "scope": list(line.state.scope),
                    "feature": line.key.feature,
                    "limit": None if line.state.limit is None else as_number(line.state.limit),
                    "used": as_number(line.state.used),
                    "refused": self._of(line).refused,
                }
                for line in self.lines
            ],
        }

    def write_json(self, path: Path) -> None:
        """Write it as one JSON document."""
        write_text(path, json.dumps(self.as_dict(), indent=2) + "\n")

    def rendering(self) -> RenderableType:
        """The table and the lines below it."""
        return Group(self._table(), *map(Text, self._sentences()))

    def _of(self, line: Line) -> BudgetTally:
        return self.tally.budgets.get(line.key, BudgetTally())

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        several = len({line.key.customer for line in self.lines}) > 1
        if several:
            table.add_column("customer", overflow="fold")
        table.add_column("budget", no_wrap=True)
        table.add_column("every")
        for name in ("limit", "used", "granted", "refused"):
            table.add_column(name, justify="right")
        table.add_column("ran out")
        for line in self.lines:
            budget, state = self._of(line), line.state
            granted = amount_of(sum(period.granted_steps for period in budget.periods.values()))
            cells: list[RenderableType] = [
                Text("  " * line.level + state.name),
                state.cadence or "ever",
                "no limit" if state.limit is None else format_amount(state.limit),
                format_amount(state.used),
                format_amount(granted),
                f"{budget.refused:,}",
                moment(budget.first_refused_ms, with_day=self.tells_days),
            ]
            style = "bold red" if budget.refused else None
            if several:
                cells.insert(0, Text(line.key.customer))
            table.add_row(*cells, style=style)
        return table

    def _sentences(self) -> Iterator[str]:
        tally = self.tally
        yield ""
        yield (
            f"{tally.granted:,} granted, {tally.refused:,} refused, {tally.errors.total():,} errors "
            f"in {self.seconds:.1f} s: {self.decisions_per_second:,.0f} decisions a second, "
            f"p50 {tally.latency_ms(0.50):.2f} ms, p99 {tally.latency_ms(0.99):.2f} ms"
        )
        for reason, count in sorted(tally.refused_by_nobody.items()):
            yield f"{count:,} of the refused by no budget: {reason}"
        for code, count in sorted(tally.errors.items()):
            yield f"{count:,} errors: {code}"
        yield str(self.audit)
        for difference in self.audit.differences[:20]:
            yield f"  {difference}"


def lines_of(trees: Iterable[Tree]) -> Iterator[Line]:
    """Give every constraint of features' trees: the account level, then each node before its children.

    Budgets for the credits that a feature is paid in are left out.
    """
    for tree in trees:
        yield Line(BudgetKey.of(tree.customer, tree.feature, tree.account), 0, tree.account)
        nodes = [(0, root) for root in reversed(tree.roots)]
        while nodes:
            level, node = nodes.pop()
            for state in node.states:
                if state.currency is None:
                    yield Line(BudgetKey.of(tree.customer, tree.feature, state), level, state)
            nodes += [(level + 1, child) for child in reversed(node.children)]


def states_by_key(lines: Sequence[Line]) -> dict[BudgetKey, ConstraintState]:
    """The constraints by what names them."""
    return {line.key: line.state for line in lines}


def moment(at_ms: int | None, *, with_day: bool) -> str:
    """An instant for a cell; empty where there is none."""
    if at_ms is None:
        return ""
    return instant(at_ms).strftime("%Y-%m-%d %H:%M:%S" if with_day else "%H:%M:%S")


def make_console(*, stderr: bool = False) -> Console:
    """A console that keeps its lines whole where nobody looks at it; NO_COLOR is heard."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=WIDTH_ELSEWHERE)


def write_text(path: Path, text: str) -> None:
    """Write a file that the user named; raise `InvalidInput` where that cannot be done."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput.of("file", str(path), f"cannot be written: {error.strerror}") from None


def require_writable(path: Path | None) -> None:
    """Find out before the run whether a file can be written after it."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise InvalidInput.of("file", str(path), "cannot be written: name a file in a folder that exists")
