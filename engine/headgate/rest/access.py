"""Who may call what: each route says which scope it needs.

`read` may read; `runtime` may also report, consume and reserve; `full` may do everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import Depends, Request

from headgate.model.api_key import KeyScope
from headgate.rest.problems import Refused

RANKS: Final = {scope: rank for rank, scope in enumerate(KeyScope)}

CALLER: Final = "headgate.caller"
"""Where the doorkeeper's finding stands in a request's scope."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is: the id of its key, or None where nobody needs one, and what it may do."""

    key: str | None
    scope: KeyScope


def needs(scope: KeyScope) -> Any:
    """Let a route be called with a key of this scope, or of one that allows more."""
    least = RANKS[scope]

    async def allowed(request: Request) -> None:  # async, though it never waits: others are run in a thread
        caller: Caller = request.scope[CALLER]
        if RANKS[caller.scope] < least:
            raise Refused(
                HTTPStatus.FORBIDDEN,
                "AccessDenied",
                f"this needs a key with the scope {scope}, and the scope of {caller.key} is {caller.scope}",
            )

    return Depends(allowed)


READ: Final = needs(KeyScope.READ)
RUNTIME: Final = needs(KeyScope.RUNTIME)
FULL: Final = needs(KeyScope.FULL)
