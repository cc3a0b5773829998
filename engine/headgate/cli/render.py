"""What people read: decisions and changes. Trees are in `tree_view`; everything else prints JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from rich.text import Text

from headgate.amounts import format_amount
from headgate.cli.summary import make_console
from headgate.cli.tree_view import make_table, wallet_table
from headgate.model.decision import ConstraintState, Decision
from headgate.verbs.apply import Change, ChangeKind
from headgate.verbs.explain import Explanation


def print_json(data: Any) -> None:
    """Print one JSON document, and nothing else."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_decision(decision: Decision) -> None:
    """Say a decision in one sentence, and what it took from which grant in another."""
    verdict, _, rest = str(decision).partition(" ")
    style = "bold green" if decision.granted else "bold red"
    console = make_console()
    console.print(Text.assemble((verdict, style), " ", rest), soft_wrap=True)
    if decision.charges:
        taken = [
            f"{format_amount(charge.amount)} {'as overdraft' if charge.grant is None else f'from {charge.grant}'}"
            for charge in decision.charges
        ]
        console.print(Text(f"Paid with {decision.currency}: {', '.join(taken)}."), soft_wrap=True)


def print_explanation(explanation: Explanation) -> None:
    """Say a decision, how its dimensions were resolved, and every budget that applied or did not."""
    print_decision(explanation.decision)
    console = make_console()
    dimensions = make_table("dimension", "stands for", "")
    for match in explanation.dimensions:
        found = "nothing" if match.entity is None else f"{match.entity_type} {match.entity}"
        dimensions.add_row(*map(Text, (f"{match.key}={match.value}", found, match.note)))
    if explanation.dimensions:
        console.print()
        console.print(dimensions)
    constraints = make_table("constraint", "limit", "used", "held", "left", "fits", "starts again", right=(1, 2, 3, 4))
    for state in explanation.decision.constraints:
        is_binding = state == explanation.decision.binding
        constraints.add_row(*_cells(state), style="bold" if is_binding else "")
    if explanation.decision.constraints:
        console.print()
        console.print(constraints)
    if explanation.decision.wallet is not None:
        console.print()
        console.print(wallet_table(explanation.decision.wallet))
    if explanation.skipped:
        skipped = make_table("does not apply", "because the request does not bring in")
        for budget in explanation.skipped:
            skipped.add_row(*map(Text, (f"{budget.entity}[{','.join(budget.scope)}]", ", ".join(budget.missing))))
        console.print()
        console.print(skipped)


def print_changes(changes: Sequence[Change], *, unchanged: int, dry_run: bool) -> None:
    """Show what a policy creates and changes, one line each, and how much of it is there already."""
    console = make_console()
    for change in changes:
        console.print(_change(change), soft_wrap=True)
    if not changes:
        console.print("Nothing to change: all is as the policy says.")
        return
    created = sum(change.kind is ChangeKind.CREATED for change in changes)
    counts = f"{created:,} created, {len(changes) - created:,} changed, {unchanged:,} unchanged"
    if dry_run:
        counts = (
            f"{created:,} to create, {len(changes) - created:,} to change, {unchanged:,} unchanged; "
            "a dry run: nothing was written"
        )
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


def _cells(state: ConstraintState) -> Iterator[Text]:
    is_budget_for_credits = state.entity is not None and state.currency is not None
    yield Text(f"{state.name} ({state.currency})" if is_budget_for_credits else state.name)
    yield Text("none" if state.limit is None else format_amount(state.limit) + (" soft" if state.is_soft else ""))
    yield Text(format_amount(state.used))
    yield Text(format_amount(state.held))
    yield Text("" if state.left is None else format_amount(state.left))
    yield Text("yes", style="green") if state.granted else Text("no", style="bold red")
    yield Text("never" if state.resets_at is None else f"{state.resets_at:%Y-%m-%d %H:%M:%S} UTC")
