"""`headgate serve`: both faces. Its options are the settings of headgate.service.settings, one flag each."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic.fields import FieldInfo

from headgate.cli.session import ExitCode, complain, default_url
from headgate.service.settings import SECRETS, ServeSettings, flag_of, read_settings, variable_of
from headgate.service.vendor import ignored_variables
from headgate.settings import Settings

HELP: Final = """\
Serve the REST API and the sidecar's gRPC API, until SIGTERM or Ctrl-C: requests under way are finished.

Settings are flags, then HEADGATE_* variables, then those of the vendor's sidecar (REDIS_HOST, PORT, …), then the file
of --config, then defaults. A name that is not known is an error.

{secrets}

Without any API key the REST API listens on loopback only, and lets in everybody on this machine, with full scope. The
gRPC API has no credentials, as the vendor's clients send none: it listens on loopback unless --grpc says otherwise.

\b
Example:
    export HEADGATE_URL=redis://localhost:6379/0 HEADGATE_ENVIRONMENT=production
    headgate api-keys create gateway --scope runtime
    headgate serve --host 0.0.0.0 --workers 2

Exit codes: 0 stopped by a signal, 1 the workers ended again and again, 2 a setting is wrong, 3 no answer.
"""
_DEFAULTS: Final = {"url": "the terminal's own server, as for all commands", "partitions": "1024, or as they are"}
_NEEDED: Final = ("fastapi", "granian", "prometheus_client", "structlog")


def make_serve_command() -> Callable[..., None]:
    """Make the command, with a flag for each setting that is no secret."""

    def serve_command(context: typer.Context, config: Path | None = None, **flags: Any) -> None:
        settings = read_settings(flags, os.environ, config)
        serve(settings, settings.url or default_url(os.environ), ignored_variables(os.environ))

    def serve(settings: ServeSettings, url: str, ignored: list[str]) -> None:
        missing = [name for name in _NEEDED if find_spec(name) is None]
        if missing:
            complain(f"serve needs {' and '.join(missing)}: install it with pip install 'headgate[rest]'")
            raise typer.Exit(ExitCode.BAD_INPUT)
        from headgate.cli import serving  # not before: other commands need none of it

        serving.serve(settings, url, ignored=ignored)

    parameters = list(_parameters())
    serve_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    serve_command.__annotations__ = {each.name: each.annotation for each in parameters}
    serve_command.__doc__ = HELP.format(secrets="\n".join(_secrets()))
    return serve_command


def _parameters() -> Iterator[inspect.Parameter]:
    yield _parameter("context", typer.Context, inspect.Parameter.empty)
    of_config = typer.Option("--config", metavar="FILE", help="A TOML file of settings. [variable: HEADGATE_CONFIG]")
    yield _parameter("config", Annotated[Path | None, of_config], None)
    own_first = sorted(ServeSettings.model_fields, key=Settings.model_fields.__contains__)
    for name in own_first:
        if name not in SECRETS:
            yield _option(name, ServeSettings.model_fields[name])


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    is_switch = field.annotation is bool
    flag = f"{flag_of(name)}/--no-{name.replace('_', '-')}" if is_switch else flag_of(name)
    option = typer.Option(flag, metavar=None if is_switch else "VALUE", help=_help(name, field), show_default=False)
    return _parameter(name, Annotated[(bool if is_switch else str) | None, option], None)


def _help(name: str, field: FieldInfo) -> str:
    text = field.description or ""
    default = _DEFAULTS.get(name, field.default)
    shown = {True: "yes", False: "no"}.get(default, default) if isinstance(default, bool) else default
    return f"{text[:1].upper()}{text[1:]}. [default: {shown}; variable: {variable_of(name)}]"


def _secrets() -> Iterator[str]:
    for name in sorted(SECRETS):
        yield f"{variable_of(name)} (or {name} in the file) is {ServeSettings.model_fields[name].description}."
