"""Who may call what: each route says which scope it needs.

`read` may read; `runtime` may also report, consume and reserve; `full` may do everything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from fastapi import Depends, Request


class Scope(StrEnum):
    """What a key allows; each allows what is said before it, too."""

    READ = "read"
    RUNTIME = "runtime"
    FULL = "full"


RANKS: Final = {scope: rank for rank, scope in enumerate(Scope)}


def needs(scope: Scope) -> Any:
    """Let a route be called with a key of this scope, or of one that allows more."""

    def allowed(request: Request) -> None:
        request.app.state.doorkeeper.require(request, scope)

    return Depends(allowed)


class OpenDoor:
    """Lets everybody in: for a face that only this machine can reach, and that has no keys."""

    def require(self, request: Request, scope: Scope) -> None:
        """Let the request through."""


READ: Final = needs(Scope.READ)
RUNTIME: Final = needs(Scope.RUNTIME)
FULL: Final = needs(Scope.FULL)
