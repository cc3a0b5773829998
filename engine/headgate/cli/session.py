"""What every command shares: where the counters are, how input is read, and what an error becomes."""

from __future__ import annotations

import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from urllib.parse import quote

import typer

from headgate.amounts import parse_amount
from headgate.cli.policy_file import InvalidPolicyFile
from headgate.client.sync_client import Headgate
from headgate.errors import (
    Conflict,
    EnvironmentMismatch,
    HeadgateError,
    InvalidInput,
    LimitReached,
    NotFound,
    NotSupported,
    OutOfRange,
    Problem,
)
from headgate.settings import Settings

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# A person waits, but not for long. Writing a whole policy to a distant server takes many round trips.
DEADLINE_MS: Final = 1_000
READING_DEADLINE_MS: Final = 10_000
WRITING_DEADLINE_MS: Final = 30_000

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?", re.ASCII)


class ExitCode(IntEnum):
    """How a command ends; `headgate --help` says so too."""

    DONE = 0
    REFUSED = 1
    BAD_INPUT = 2
    NO_ANSWER = 3
    INTERRUPTED = 130


_BAD_INPUT = (
    InvalidInput,
    InvalidPolicyFile,
    NotFound,
    Conflict,
    NotSupported,
    OutOfRange,
    EnvironmentMismatch,
)


@dataclass(frozen=True, slots=True)
class Session:
    """Where this run of the command finds its counters."""

    url: str
    environment: str

    def connect(self, *, setup_deadline_ms: int = READING_DEADLINE_MS) -> Headgate:
        """Connect for the calls of one command, which hears of no updates."""
        settings = Settings(deadline_ms=DEADLINE_MS, setup_deadline_ms=setup_deadline_ms, listen=False)
        return Headgate.connect(self.url, environment=self.environment, settings=settings)


def default_directory(variables: Mapping[str, str]) -> Path:
    """The directory of the terminal's own server: headgate in XDG_DATA_HOME, or in ~/.local/share."""
    named = variables.get("XDG_DATA_HOME", "")
    # The standard for these folders has relative ones ignored.
    base = Path(named) if os.path.isabs(named) else Path.home() / ".local" / "share"
    return base / "headgate"


def default_url(variables: Mapping[str, str]) -> str:
    """The URL of the terminal's own server."""
    return "embedded://" + quote(str(default_directory(variables)))


def parse_number(text: str, option: str, *, negative: bool = False) -> float:
    """Read an amount from the command line: a whole number or a decimal, exactly."""
    if not _NUMBER.fullmatch(text):
        raise InvalidInput.of(option, text, "write a whole number or a decimal, such as 1250 or 0.5")
    try:
        return parse_amount(Decimal(text), field=option, negative=negative)
    except ValueError as error:
        raise InvalidInput.of(option, text, str(error).removeprefix(f"{option}: ")) from None


def parse_dimensions(texts: Sequence[str] | None) -> dict[str, str] | None:
    """Read `teamId=team-eng` options; None where there are none."""
    found: dict[str, str] = {}
    problems = []
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not separator or not key:
            problems.append(Problem("--dimension", text, "write KEY=ID, such as teamId=team-eng"))
        elif key in found:
            problems.append(Problem("--dimension", text, f"{key} is given already, as {found[key]!r}"))
        else:
            found[key] = value
    if problems:
        raise InvalidInput(problems)
    return found or None


def guarded(command: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Let a command end in one clear message and an exit code, whatever happens to it."""

    @functools.wraps(command)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return command(*args, **kwargs)
        except HeadgateError as error:
            complain(str(error))
            raise typer.Exit(exit_code_of(error)) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read the output has gone. Nothing more can be said there, not even at the interpreter's end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(ExitCode.DONE) from None
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}, line {place.lineno}"
            complain(f"this is a defect of headgate: {type(error).__name__} in {where}: {error}")
            raise typer.Exit(ExitCode.NO_ANSWER) from error

    return run


def exit_code_of(error: HeadgateError) -> ExitCode:
    """Which exit code an error has."""
    if isinstance(error, LimitReached):
        return ExitCode.REFUSED
    return ExitCode.BAD_INPUT if isinstance(error, _BAD_INPUT) else ExitCode.NO_ANSWER


def complain(message: str) -> None:
    """Say on stderr what is wrong; a message of one line is introduced by the program's name."""
    typer.echo(message if "\n" in message else f"headgate: {message}", err=True)
