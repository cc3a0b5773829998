"""What the demo shows while its storm runs: the tree of budgets with bars on a terminal, elsewhere a line a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headgate.amounts import format_amount
from headgate.cli.summary import Line

BAR_WIDTH = 24
FULL_SHARE = 0.999
"""From here on a bar is shown as full: a budget rarely ends at its last unit, since whole requests have to fit."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the storm is: seconds, what the processes say they were told, and every budget."""

    seconds: float
    granted: int
    refused: int
    errors: int
    lines: Sequence[Line]

    def __str__(self) -> str:
        return (
            f"{self.seconds:4.1f} s  {self.granted + self.refused:>9,} decisions: "
            f"{self.granted:,} granted, {self.refused:,} refused, {self.errors:,} errors"
        )


class View:
    """Open it as a context manager, and show one standing after the other."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown_s = 0.0

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, standing: Standing) -> None:
        """Show how far it is; where nobody looks, at most a line a second."""
        if self._live is not None:
            self._live.update(rendering(standing), refresh=True)
        elif standing.seconds - self._shown_s >= 1:
            self._shown_s = standing.seconds
            full = sum(share >= FULL_SHARE for line in standing.lines if (share := share_used(line)) is not None)
            self._console.print(f"{standing}; {full} budgets are used up")


def rendering(standing: Standing) -> RenderableType:
    """The line of counts, and the tree with a bar for each budget that has a limit."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("budget", overflow="fold")
    table.add_column("every")
    table.add_column("used of the limit", min_width=BAR_WIDTH)
    table.add_column("used", justify="right")
    table.add_column("limit", justify="right")
    for line in standing.lines:
        state, share = line.state, share_used(line)
        bar: RenderableType = ""
        style = None
        if share is not None:
            style = "red" if share >= FULL_SHARE else "yellow" if share >= 0.8 else "green"
            bar = ProgressBar(total=1.0, completed=share, width=BAR_WIDTH, complete_style=style, finished_style=style)
        table.add_row(
            Text("  " * line.level + state.name, style=style or ""),
            state.cadence or "ever",
            bar,
            format_amount(state.used),
            "no limit" if state.limit is None else format_amount(state.limit),
        )
    return Group(Text(str(standing)), Text(""), table)


def share_used(line: Line) -> float | None:
    """How much of its limit a budget has used, from 0 to 1; None where there is no limit."""
    state = line.state
    if state.limit is None:
        return None
    return 1.0 if state.used >= state.limit else state.used / state.limit
