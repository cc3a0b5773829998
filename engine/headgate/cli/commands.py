"""`headgate apply`, `check`, `consume`, `report` and `tree`: each a thin face of the method of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.policy_file import read_policy
from headgate.cli.render import print_changes, print_decision, print_explanation, print_json, print_tree
from headgate.cli.session import WRITING_DEADLINE_MS, ExitCode, Session, parse_dimensions, parse_number
from headgate.client.sync_client import Headgate
from headgate.errors import InvalidInput
from headgate.model.decision import Decision, UpdateBehavior

_Customer = Annotated[str, typer.Argument(help="The customer's id.", show_default=False)]
_Feature = Annotated[
    str, typer.Option("--feature", "-f", metavar="FEATURE", help="The feature's id.", show_default=False)
]
_Amount = Annotated[str, typer.Option("--amount", "-n", metavar="N", help="How much: a whole number or a decimal.")]
_Dimensions = Annotated[
    list[str] | None,
    typer.Option(
        "--dimension",
        "-d",
        metavar="KEY=ID",
        help="Who or what asks, such as teamId=team-eng; give one for each. What matches no entity is ignored.",
        show_default=False,
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


def apply_command(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The policy, in YAML.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")] = False,
    as_json: _Json = False,
) -> None:
    """Make features, customers and budgets what a policy file says.

    The whole file is checked first: every problem is shown with its line, and then nothing is written. What the file
    leaves out is left alone: nothing is ever deleted, and names, texts and anchors stay. Limits, resets, cadences,
    scopes and parents are exactly as the file has them; an archived entity that it names comes back. Applied a second
    time, it changes nothing.

    \b
    Example:
        headgate apply examples/ai-gateway.yaml --dry-run

    Exit codes: 0 done, 2 the file or what it asks for is wrong, 3 no answer.
    """
    policy = read_policy(file)
    with _session(context).connect(setup_deadline_ms=WRITING_DEADLINE_MS) as engine:
        changes = engine.apply(policy, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "changes": [change.as_dict() for change in changes]})
    else:
        print_changes(changes, dry_run=dry_run)


def check_command(
    context: typer.Context,
    customer: _Customer,
    feature: _Feature,
    amount: _Amount = "1",
    dimension: _Dimensions = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each dimension matched, and every limit with its numbers.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Say whether an amount would fit every limit in its way now. Nothing is counted.

    \b
    Example:
        headgate check cus-acme --feature feature-ai-tokens --amount 1250 -d teamId=team-eng -d modelId=large --explain

    Exit codes: 0 granted, 1 refused, 2 the command is wrong, 3 no answer.
    """
    number, dimensions = parse_number(amount, "--amount"), parse_dimensions(dimension)
    with _session(context).connect() as engine:
        if not explain:
            decision = engine.check(customer, feature=feature, requested_usage=number, dimensions=dimensions)
            _end_with(decision, as_json=as_json)
            return
        explanation = engine.explain(customer, feature=feature, requested_usage=number, dimensions=dimensions)
    if as_json:
        print_json(explanation.as_dict())
    else:
        print_explanation(explanation)
    _exit_for(explanation.decision)


def consume_command(
    context: typer.Context,
    customer: _Customer,
    feature: _Feature,
    amount: _Amount = "1",
    dimension: _Dimensions = None,
    as_json: _Json = False,
) -> None:
    """Count an amount on every limit in its way, or on none.

    It is counted in one step if it fits all of them; a refusal counts nothing anywhere, and says which limit it is.

    \b
    Example:
        headgate consume cus-acme --feature feature-ai-tokens --amount 1250 -d agentId=agent-tester

    Exit codes: 0 granted and counted, 1 refused, 2 the command is wrong, 3 no answer, or it is unknown whether it
    was counted.
    """
    number, dimensions = parse_number(amount, "--amount"), parse_dimensions(dimension)
    with _session(context).connect() as engine:
        decision = engine.consume(customer, feature=feature, amount=number, dimensions=dimensions)
    _end_with(decision, as_json=as_json)


def report_command(
    context: typer.Context,
    customer: _Customer,
    feature: _Feature,
    value: Annotated[
        str,
        typer.Option("--value", "-n", metavar="N", help="What was used; below 0 is a correction.", show_default=False),
    ],
    set_value: Annotated[bool, typer.Option("--set", help="Make N the account's usage, instead of adding it.")] = False,
    dimension: _Dimensions = None,
    as_json: _Json = False,
) -> None:
    """Count usage that has happened, whatever the limits say.

    It is added to the account and once to each matched budget. A correction stops at 0, and the receipt says what was
    applied. With --set, the account's usage becomes N, and what that changed is added to the budgets.

    \b
    Example:
        headgate report cus-acme --feature feature-ai-tokens --value 1250 -d teamId=team-eng

    Exit codes: 0 counted, 2 the command is wrong, 3 no answer, or it is unknown whether it was counted.
    """
    number, dimensions = parse_number(value, "--value", negative=True), parse_dimensions(dimension)
    behavior = UpdateBehavior.SET if set_value else UpdateBehavior.DELTA
    with _session(context).connect() as engine:
        receipt = engine.report(customer, feature=feature, value=number, behavior=behavior, dimensions=dimensions)
    if as_json:
        print_json(receipt.as_dict())
    else:
        typer.echo(str(receipt))


def tree_command(
    context: typer.Context,
    customer: _Customer,
    feature: Annotated[
        str | None,
        typer.Option(
            "--feature",
            "-f",
            metavar="FEATURE",
            help="The feature's id; else all metered features that the customer has a limit for.",
            show_default=False,
        ),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Show a customer's entities as a tree, with a bar for each budget.

    \b
    Example:
        headgate tree cus-acme --feature feature-ai-tokens

    Exit codes: 0 done, 2 the command is wrong, 3 no answer.
    """
    with _session(context).connect() as engine:
        features = [feature] if feature is not None else _limited_features(engine, customer)
        trees = [engine.governance.tree(customer, feature=each) for each in features]
    if as_json:
        print_json([tree.as_dict() for tree in trees])
        return
    for tree in trees:
        print_tree(tree)


def _session(context: typer.Context) -> Session:
    assert isinstance(context.obj, Session), "the callback of the app makes it"
    return context.obj


def _limited_features(engine: Headgate, customer: str) -> list[str]:
    limited = {each.feature for each in engine.governance.assignments(customer)} | set(
        engine.customers.entitlements(customer)
    )
    metered = {id for id, feature in engine.catalog.features().items() if feature.is_metered}
    found = sorted(limited & metered)
    if not found:
        raise InvalidInput.of("--feature", None, f"{customer} has no limit for any metered feature: name one to see it")
    return found


def _end_with(decision: Decision, *, as_json: bool) -> None:
    if as_json:
        print_json(decision.as_dict())
    else:
        print_decision(decision)
    _exit_for(decision)


def _exit_for(decision: Decision) -> None:
    if not decision.granted:
        raise typer.Exit(ExitCode.REFUSED)
