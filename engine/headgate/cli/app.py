"""The commands put together: `headgate --help` is what this module says."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Final

import typer

from headgate.cli.api_keys import make_api_keys_app
from headgate.cli.commands import apply_command, check_command, consume_command, report_command, tree_command
from headgate.cli.demo import demo_command
from headgate.cli.replay import replay_command
from headgate.cli.serve import make_serve_command
from headgate.cli.session import Session, default_url, guarded

HELP: Final = """\
Decide whether usage fits every budget in its way, and count it against all of them or none.

\b
    headgate apply policy.yaml
    headgate consume cus-acme --feature feature-ai-tokens --amount 1250 -d teamId=team-eng
    headgate tree cus-acme
    headgate serve

Counters are kept where --url or HEADGATE_URL says: redis://, rediss://, unix://, redis+cluster://, or embedded:// with
a directory. Without either, they are kept by a server of your own in one directory, $XDG_DATA_HOME/headgate, or
~/.local/share/headgate: all your commands share it, and it stops with the last of them.

\b
Exit codes:
    0  done; for check and consume: granted
    1  check and consume: refused; replay and demo: the numbers did not come out right
    2  the command or what it was given is wrong, and nothing was written
    3  no answer could be had, or it is unknown whether a write was counted

NO_COLOR=1 turns colours off.
"""


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"headgate {version('headgate')}")
        except PackageNotFoundError:
            typer.echo("headgate, from a checkout that is not installed")
        raise typer.Exit


def _begin(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Option(
            envvar="HEADGATE_URL",
            metavar="URL",
            help="Where the counters are, such as redis://localhost:6379/0.",
            show_default="embedded:///…/headgate, in your data directory",
        ),
    ] = None,
    environment: Annotated[
        str,
        typer.Option(
            envvar="HEADGATE_ENVIRONMENT", metavar="NAME", help="Which of the environments that are kept there."
        ),
    ] = "default",
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Session(url or default_url(os.environ), environment)
    for_serve = {}
    if _is_typed(context, "environment"):
        for_serve["environment"] = environment
    if _is_typed(context, "url"):
        for_serve["url"] = str(url)
        if context.invoked_subcommand == "demo":
            raise typer.BadParameter("the demo starts a server of its own: leave it out", param_hint="--url")
        context.default_map = {"replay": {"url": url}}
    context.default_map = {**(context.default_map or {}), "serve": for_serve}
    if _is_typed(context, "environment") and context.invoked_subcommand in ("demo", "replay"):
        rule = f"{context.invoked_subcommand} makes an environment of its own: leave it out"
        raise typer.BadParameter(rule, param_hint="--environment")


def _is_typed(context: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line; what the surroundings set is for other commands, too."""
    source = context.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def make_app() -> typer.Typer:
    """Put the commands together."""
    app = typer.Typer(
        name="headgate",
        help=HELP,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback(help=HELP)(_begin)
    for name, command in (
        ("apply", apply_command),
        ("check", check_command),
        ("consume", consume_command),
        ("report", report_command),
        ("tree", tree_command),
        ("replay", replay_command),
        ("demo", demo_command),
        ("serve", make_serve_command()),
    ):
        app.command(name)(guarded(command))
    app.add_typer(make_api_keys_app())
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code."""
    try:
        make_app()(list(sys.argv[1:] if arguments is None else arguments), prog_name="headgate")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
