"""What people read: decisions, changes and trees. Everything else prints JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as RichTree

from headgate.amounts import format_amount
from headgate.cli.summary import make_console
from headgate.model.decision import ConstraintState, Decision
from headgate.model.tree import Tree, TreeNode
from headgate.verbs.apply import Change, ChangeKind
from headgate.verbs.explain import Explanation

BAR_WIDTH = 20
BAR_WIDTH_WHERE_NARROW = 6
GUIDE = 4
ROOM_FOR_DETAILS = 90
WIDTH_MAX = 10_000
NEARLY_USED = 0.8


def print_json(data: Any) -> None:
    """Print one JSON document, and nothing else."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_decision(decision: Decision) -> None:
    """Say a decision in one sentence."""
    verdict, _, rest = str(decision).partition(" ")
    style = "bold green" if decision.granted else "bold red"
    make_console().print(Text.assemble((verdict, style), " ", rest), soft_wrap=True)


def print_explanation(explanation: Explanation) -> None:
    """Say a decision, how its dimensions were resolved, and every budget that applied or did not."""
    print_decision(explanation.decision)
    console = make_console()
    dimensions = _table("dimension", "stands for", "")
    for match in explanation.dimensions:
        found = "nothing" if match.entity is None else f"{match.entity_type} {match.entity}"
        dimensions.add_row(*map(Text, (f"{match.key}={match.value}", found, match.note)))
    if explanation.dimensions:
        console.print()
        console.print(dimensions)
    constraints = _table("constraint", "limit", "used", "held", "left", "fits", "starts again", right=(1, 2, 3, 4))
    for state in explanation.decision.constraints:
        is_binding = state == explanation.decision.binding
        constraints.add_row(*_cells(state), style="bold" if is_binding else "")
    if explanation.decision.constraints:
        console.print()
        console.print(constraints)
    if explanation.skipped:
        skipped = _table("does not apply", "because the request does not bring in")
        for budget in explanation.skipped:
            skipped.add_row(*map(Text, (f"{budget.entity}[{','.join(budget.scope)}]", ", ".join(budget.missing))))
        console.print()
        console.print(skipped)


def print_changes(changes: Sequence[Change], *, dry_run: bool) -> None:
    """Show what a policy creates and changes, one line each."""
    console = make_console()
    for change in changes:
        console.print(_change(change), soft_wrap=True)
    if not changes:
        console.print("Nothing to change: all is as the policy says.")
        return
    created = sum(change.kind is ChangeKind.CREATED for change in changes)
    counts = f"{created:,} created, {len(changes) - created:,} changed"
    if dry_run:
        counts = f"{created:,} to create, {len(changes) - created:,} to change; a dry run: nothing was written"
    console.print(f"{counts}.")


def _change(change: Change) -> Text:
    if change.kind is ChangeKind.CREATED:
        fields = ", ".join(f"{word}: {_shown(value)}" for word, value in change.after.items())
        return Text.assemble(("+ ", "bold green"), (change.path, "bold"), f"  {{{fields}}}")
    before, after = _shown(change.before), _shown(change.after)
    return Text.assemble(("~ ", "bold yellow"), (change.path, "bold"), "  ", (before, "red"), " → ", (after, "green"))


def _shown(value: Any) -> str:
    """A value as a policy file would have it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return format_amount(value).replace(",", "_")
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def print_tree(tree: Tree) -> None:
    """Show a customer's entities with a bar for each budget of one feature."""
    console = make_console()
    if not console.is_terminal:
        console.width = WIDTH_MAX
    account = f"{tree.customer} (account)"
    # The guides take 4 columns a level; names are padded, so that all bars stand under each other.
    widths = [len(name) + GUIDE * level for name, level in _names(tree)]
    lines = _Lines(max(len(account), *widths) if widths else len(account), console)
    root = RichTree(lines.line(account, tree.account, 0), guide_style="dim")
    for node in tree.roots:
        lines.grow(root, node, 1)
    console.print(Text(tree.feature, style="bold"))
    console.print(root)


def _names(tree: Tree) -> Iterator[tuple[str, int]]:
    """What stands in the tree, and at which level; the account is level 0."""
    nodes = [(node, 1) for node in tree.roots]
    while nodes:
        node, level = nodes.pop()
        yield node.entity.id, level
        yield from ((state.name, level) for state in node.states)
        nodes += [(child, level + 1) for child in node.children]


class _Lines:
    """The lines of one tree, as wide as its console has room for."""

    def __init__(self, width: int, console: Console) -> None:
        self._width = width
        self._full, self._empty = ("#", ".") if console.options.ascii_only else ("█", "░")
        self._has_room = console.width >= width + ROOM_FOR_DETAILS
        self._bar_width = BAR_WIDTH if self._has_room else BAR_WIDTH_WHERE_NARROW

    def grow(self, parent: RichTree, node: TreeNode, level: int) -> None:
        """Add a node and all below it; its budgets stand under each other in one branch."""
        lines = [self.line(state.name, state, level) for state in node.states] or [Text(node.entity.id)]
        if node.entity.archived_at_ms is not None:
            lines = [Text(f"{node.entity.id}  archived: its own budgets do not apply", style="dim")]
        branch = parent.add(Text("\n").join(lines))
        for child in node.children:
            self.grow(branch, child, level + 1)

    def line(self, name: str, state: ConstraintState, level: int) -> Text:
        """One budget: its name, a bar, its numbers, and, where there is room, when it starts again."""
        numbers = format_amount(state.used) + (f" and {format_amount(state.held)} held" if state.held else "")
        if state.limit is None:
            limit = ", no limit"
        else:
            limit = f" of {format_amount(state.limit)}" + (", soft" if state.is_soft else "")
        cadence = f", {state.cadence}" if state.cadence else ""
        when = f", until {state.resets_at:%Y-%m-%d %H:%M:%S} UTC" if state.resets_at else ""
        label = name.ljust(self._width - GUIDE * level)
        details = (cadence + when if self._has_room else "", "dim")
        return Text.assemble(label, "  ", *self._bar(state), f"  {numbers}{limit}", details)

    def _bar(self, state: ConstraintState) -> Iterator[tuple[str, str]]:
        if state.limit is None:
            yield " " * self._bar_width, ""
            return
        used = state.used + state.held
        share = min(max(used / state.limit, 0.0), 1.0) if state.limit > 0 else 1.0
        filled = int(share * self._bar_width)
        yield self._full * filled, "red" if share >= 1 else "yellow" if share >= NEARLY_USED else "green"
        yield self._empty * (self._bar_width - filled), "dim"


def _cells(state: ConstraintState) -> Iterator[Text]:
    yield Text(state.name)
    yield Text("none" if state.limit is None else format_amount(state.limit) + (" soft" if state.is_soft else ""))
    yield Text(format_amount(state.used))
    yield Text(format_amount(state.held))
    yield Text("" if state.left is None else format_amount(state.left))
    yield Text("yes", style="green") if state.granted else Text("no", style="bold red")
    yield Text("never" if state.resets_at is None else f"{state.resets_at:%Y-%m-%d %H:%M:%S} UTC")


def _table(*names: str, right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index in right else "left", overflow="fold")
    return table
