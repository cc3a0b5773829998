"""`headgate apply`, `check`, `consume`, `report` and `tree`: each a thin face of the method of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.policy_file import read_policy
from headgate.cli.render import print_changes, print_decision, print_explanation, print_json
from headgate.cli.session import WRITING_DEADLINE_MS, ExitCode, Session, parse_dimensions, parse_number
from headgate.cli.tree_view import print_trees
from headgate.client.sync_client import Headgate
from headgate.errors import InvalidInput
from headgate.model.decision import Decision, UpdateBehavior
from headgate.model.tree import Tree
from headgate.verbs.apply import Changes

_Customer = Annotated[str, typer.Argument(help="The customer's id.", show_default=False)]
_Feature = Annotated[
    str | None, typer.Option("--feature", "-f", metavar="FEATURE", help="The feature's id.", show_default=False)
]
_Currency = Annotated[
    str | None,
    typer.Option(
        "--currency", "-c", metavar="CURRENCY", help="A currency's id: credits, and no feature.", show_default=False
    ),
]
_Resource = Annotated[
    str | None,
    typer.Option(
        "--resource",
        "-r",
        metavar="RESOURCE",
        help="A resource's id, whose counters and wallets count.",
        show_default=False,
    ),
]
_Amount = Annotated[str, typer.Option("--amount", "-n", metavar="N", help="How much: a whole number or a decimal.")]
_Values = Annotated[
    list[str] | None,
    typer.Option(
        "--value", metavar="VALUE", help="A value that is asked for of an enum; give one for each.", show_default=False
    ),
]
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
    """Make the catalog, customers and their budgets what a policy file says.

    The whole file is checked first: every problem in it is shown with its line. What speaks against it in what is
    stored is told by its path, before anything is written. What the file leaves out is left alone: nothing is ever
    deleted, and names, texts, anchors and a subscription's end stay. What plans, add-ons and subscriptions say, limits,
    resets, cadences, scopes and parents are exactly as the file has them; an archived entity that it names comes back.
    A grant is given once. Applied a second time, it changes nothing.

    \b
    Example:
        headgate apply examples/ai-gateway.yaml --dry-run

    Exit codes: 0 done, 2 the file or what it asks for is wrong, 3 no answer.
    """
    policy = read_policy(file)
    with _session(context).connect(setup_deadline_ms=WRITING_DEADLINE_MS) as engine:
        changes = engine.apply(policy, dry_run=dry_run)
    unchanged = changes.unchanged if isinstance(changes, Changes) else ()
    if as_json:
        told = [change.as_dict() for change in changes]
        print_json({"dry_run": dry_run, "changes": told, "unchanged": list(unchanged)})
    else:
        print_changes(changes, unchanged=len(unchanged), dry_run=dry_run)


def check_command(
    context: typer.Context,
    customer: _Customer,
    feature: _Feature = None,
    currency: _Currency = None,
    resource: _Resource = None,
    amount: _Amount = "1",
    value: _Values = None,
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
        headgate check cus-acme --currency currency-credits --amount 500 --resource site-01

    Exit codes: 0 granted, 1 refused, 2 the command is wrong, 3 no answer.
    """
    number, dimensions = parse_number(amount, "--amount"), parse_dimensions(dimension)
    _require_one(feature, currency)
    with _session(context).connect() as engine:
        ask = engine.explain if explain else engine.check
        answer = ask(
            customer,
            feature=feature,
            currency=currency,
            resource=resource,
            requested_usage=number,
            requested_values=tuple(value or ()),
            dimensions=dimensions,
        )
    if isinstance(answer, Decision):
        _end_with(answer, as_json=as_json)
        return
    if as_json:
        print_json(answer.as_dict())
    else:
        print_explanation(answer)
    _exit_for(answer.decision)


def consume_command(
    context: typer.Context,
    customer: _Customer,
    feature: _Feature = None,
    currency: _Currency = None,
    resource: _Resource = None,
    amount: _Amount = "1",
    dimension: _Dimensions = None,
    as_json: _Json = False,
) -> None:
    """Count an amount on every limit in its way, or on none.

    It is counted in one step if it fits all of them, and paid from the wallet where it costs credits; a refusal counts
    nothing anywhere, and says which limit it is.

    \b
    Example:
        headgate consume cus-acme --feature feature-ai-tokens --amount 1250 -d agentId=agent-tester

    Exit codes: 0 granted and counted, 1 refused, 2 the command is wrong, 3 no answer, or it is unknown whether it
    was counted.
    """
    number, dimensions = parse_number(amount, "--amount"), parse_dimensions(dimension)
    _require_one(feature, currency)
    with _session(context).connect() as engine:
        decision = engine.consume(
            customer, feature=feature, currency=currency, resource=resource, amount=number, dimensions=dimensions
        )
    _end_with(decision, as_json=as_json)


def report_command(
    context: typer.Context,
    customer: _Customer,
    value: Annotated[
        str,
        typer.Option("--value", "-n", metavar="N", help="What was used; below 0 is a correction.", show_default=False),
    ],
    feature: _Feature = None,
    currency: _Currency = None,
    resource: _Resource = None,
    set_value: Annotated[bool, typer.Option("--set", help="Make N the account's usage, instead of adding it.")] = False,
    dimension: _Dimensions = None,
    as_json: _Json = False,
) -> None:
    """Count usage that has happened, whatever the limits say.

    It is added to the account and once to each matched budget, and paid from the wallet where it costs credits; what
    that does not have is overdraft. A correction stops at 0, and the receipt says what was applied. With --set, the
    account's usage becomes N, and what that changed is added to the budgets; credits can't be set.

    \b
    Example:
        headgate report cus-acme --feature feature-ai-tokens --value 1250 -d teamId=team-eng

    Exit codes: 0 counted, 2 the command is wrong, 3 no answer, or it is unknown whether it was counted.
    """
    number, dimensions = parse_number(value, "--value", negative=True), parse_dimensions(dimension)
    behavior = UpdateBehavior.SET if set_value else UpdateBehavior.DELTA
    _require_one(feature, currency)
    with _session(context).connect() as engine:
        receipt = engine.report(
            customer,
            feature=feature,
            currency=currency,
            resource=resource,
            value=number,
            behavior=behavior,
            dimensions=dimensions,
        )
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
            help="The feature's id; else all that is metered, and that the customer has a limit for or subscribes to.",
            show_default=False,
        ),
    ] = None,
    currency: Annotated[
        str | None,
        typer.Option(
            "--currency",
            "-c",
            metavar="CURRENCY",
            help="A currency's id: its wallet, and the budgets for its credits.",
            show_default=False,
        ),
    ] = None,
    resource: _Resource = None,
    as_json: _Json = False,
) -> None:
    """Show a customer's subscriptions, its wallets, and its entities as a tree, with a bar for each limit.

    \b
    Example:
        headgate tree cus-acme --feature feature-ai-tokens

    Exit codes: 0 done, 2 the command is wrong, 3 no answer.
    """
    if feature is not None and currency is not None:
        raise InvalidInput.of("--currency", currency, "a tree is of a feature or of a currency: give one of the two")
    with _session(context).connect() as engine:
        if feature is None and currency is None:
            trees = list(_every_tree(engine, customer, resource))
        else:
            trees = [engine.governance.tree(customer, feature=feature, currency=currency, resource=resource)]
    if as_json:
        print_json([tree.as_dict() for tree in trees])
    else:
        print_trees(trees)


def _session(context: typer.Context) -> Session:
    assert isinstance(context.obj, Session), "the callback of the app makes it"
    return context.obj


def _require_one(feature: str | None, currency: str | None) -> None:
    if feature is None and currency is None:
        raise InvalidInput.of("--feature", None, "name a feature with --feature, or a currency with --currency")
    if feature is not None and currency is not None:
        raise InvalidInput.of("--currency", currency, "give a feature or a currency: one of the two")


def _every_tree(engine: Headgate, customer: str, resource: str | None) -> Iterator[Tree]:
    """A tree for each metered feature that something limits, and for each currency that these do not show."""
    metered = {id for id, feature in engine.catalog.features().items() if feature.is_metered}
    trees = [
        engine.governance.tree(customer, feature=feature, resource=resource)
        for feature in sorted(_limited_features(engine, customer, resource) & metered)
    ]
    shown = {tree.currency for tree in trees}
    for currency in sorted(engine.catalog.currencies().keys() - shown):
        tree = engine.governance.tree(customer, currency=currency, resource=resource)
        has_credits = tree.wallet is not None and bool(tree.wallet.grants or tree.wallet.overdraft)
        if has_credits or any(node.states for node in tree.walk()):
            trees.append(tree)
    if not trees:
        rule = f"{customer} has no limit for any metered feature, and no credits: name one to see it"
        raise InvalidInput.of("--feature", None, rule)
    yield from trees


def _limited_features(engine: Headgate, customer: str, resource: str | None) -> set[str]:
    """What the customer's budgets, promotions and subscriptions name."""
    found = {each.feature for each in engine.governance.assignments(customer) if each.feature is not None}
    found |= engine.customers.entitlements(customer).keys()
    subscriptions = engine.subscriptions.list(customer)
    if resource is not None:
        subscriptions = [*subscriptions, *engine.subscriptions.list(customer, resource=resource)]
    plans, addons = engine.catalog.plans(), engine.catalog.addons()
    for subscription in subscriptions:
        found |= {each.feature for each in subscription.entitlements}
        packages = [plans.get(subscription.plan), *(addons.get(each.addon) for each in subscription.addons)]
        found |= {each.feature for package in packages if package for each in package.entitlements}
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
