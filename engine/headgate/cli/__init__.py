"""The terminal: `headgate apply`, `check`, `consume`, `report`, `serve`, …; it needs the extra `cli`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_EXTRA = frozenset({"typer", "rich", "ruamel"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code."""
    try:
        from headgate.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        message = f"headgate: the terminal commands need {error.name}: install them with pip install 'headgate[cli]'"
        print(message, file=sys.stderr)
        return 2
    return run(arguments)
