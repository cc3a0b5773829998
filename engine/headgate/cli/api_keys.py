"""`headgate api-keys create | list | rotate | revoke`: who may call the REST API, and what each may do there."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from headgate.cli.render import print_json
from headgate.cli.session import Session, guarded, parse_number
from headgate.cli.summary import make_console
from headgate.cli.tree_view import make_table
from headgate.model.api_key import ApiKey, KeyScope
from headgate.model.decision import instant

_Id = Annotated[str, typer.Argument(help="The key's id, as `list` shows it.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]


def create_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for, for people to know.", show_default=False)],
    scope: Annotated[
        KeyScope,
        typer.Option(
            "--scope",
            help="read: look; runtime: also report, consume and reserve; full: everything.",
            show_default=False,
        ),
    ],
    as_json: _Json = False,
) -> None:
    """Make an API key, and show it: this once, as only its hash is kept.

    \b
    Example:
        headgate api-keys create gateway --scope runtime

    Exit codes: 0 done, 2 the command is wrong, 3 no answer.
    """
    with _session(context).connect() as engine:
        key, text = engine.api_keys.create(name, scope=scope)
    _show_secret(key, text, as_json)


def list_command(context: typer.Context, as_json: _Json = False) -> None:
    """Show all API keys, the earliest first, revoked ones too. What they are is not shown: it is not known.

    Exit codes: 0 done, 3 no answer.
    """
    with _session(context).connect() as engine:
        keys = engine.api_keys.list()
    if as_json:
        print_json({"api_keys": [_plain(key) for key in keys]})
        return
    table = make_table("id", "name", "scope", "made", "state")
    for key in keys:
        table.add_row(*map(Text, (key.id, key.name, key.scope.value, _moment(key.created_at_ms), _state(key))))
    make_console().print(table)


def rotate_command(
    context: typer.Context,
    id: _Id,
    grace: Annotated[
        str, typer.Option("--grace", metavar="SECONDS", help="How long the former one goes on; at most 30 days.")
    ] = "0",
    as_json: _Json = False,
) -> None:
    """Give an API key a new secret, and show it, this once. The former one goes on for --grace SECONDS.

    \b
    Example:
        headgate api-keys rotate 5f0c2a9d1b7e4386 --grace 3600

    Exit codes: 0 done, 2 the command is wrong, 3 no answer.
    """
    seconds = parse_number(grace, "--grace")
    with _session(context).connect() as engine:
        key, text = engine.api_keys.rotate(id, grace_seconds=seconds)
    _show_secret(key, text, as_json)


def revoke_command(context: typer.Context, id: _Id, as_json: _Json = False) -> None:
    """Let an API key let nobody in any more, everywhere within 5 seconds. It does not come back.

    Exit codes: 0 done, 2 the command is wrong, 3 no answer.
    """
    with _session(context).connect() as engine:
        key = engine.api_keys.revoke(id)
    if as_json:
        print_json(_plain(key))
    else:
        typer.echo(f"revoked {key.id} ({key.name}); it lets nobody in from 5 seconds on")


def make_api_keys_app() -> typer.Typer:
    """Put the commands of `headgate api-keys` together."""
    app = typer.Typer(name="api-keys", help="API keys of the REST API.", no_args_is_help=True, rich_markup_mode=None)
    for name, command in (
        ("create", create_command),
        ("list", list_command),
        ("rotate", rotate_command),
        ("revoke", revoke_command),
    ):
        app.command(name)(guarded(command))
    return app


def _session(context: typer.Context) -> Session:
    session = context.obj
    assert isinstance(session, Session)
    return session


def _show_secret(key: ApiKey, text: str, as_json: bool) -> None:
    if as_json:
        print_json({**_plain(key), "api_key": text})
        return
    typer.echo(text)
    note = f"{key.name}: scope {key.scope.value}, id {key.id}. It is shown this once: keep it. Send it as X-API-KEY."
    typer.echo(note, err=True)


def _plain(key: ApiKey) -> dict[str, Any]:
    """What may be told of a key: everything but its digests."""
    return key.model_dump(mode="json", exclude={"digest", "former_digest"})


def _state(key: ApiKey) -> str:
    if key.revoked_at_ms is not None:
        return f"revoked {_moment(key.revoked_at_ms)}"
    if key.former_until_ms is not None:
        return f"active; the former secret until {_moment(key.former_until_ms)}"
    return "active"


def _moment(at_ms: int) -> str:
    return f"{instant(at_ms):%Y-%m-%d %H:%M:%S} UTC"
