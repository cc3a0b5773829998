"""Shortcuts to the routes that are asked a thousand times as often as all others.

A web framework looks through its routes, resolves dependencies, and opens what a handler might need closed. A check
needs none of it, and would spend half of its time there (docs/decisions/0013-granian-and-shortcuts.md). So a route that
takes the request, the engine and texts of its path, and nothing else, may be called directly. It is the same handler,
with the same scope asked for, the same errors, and the same description in the OpenAPI page.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import HeadgateError
from headgate.rest.problems import Refused, of_engine, of_refusal


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One route: its paths, what has to be let pass first, and its handler, with the name of its engine argument."""

    route: APIRoute
    ending: str
    pattern: re.Pattern[str]
    dependencies: tuple[Callable[[Request], Awaitable[None]], ...]
    handler: Callable[..., Awaitable[Response]]

    @classmethod
    def of(cls, route: APIRoute) -> Shortcut:
        """Make the shortcut of a route that needs no more than one; any other is a mistake in the code."""
        dependant = route.dependant
        taken = [*dependant.query_params, *dependant.header_params, *dependant.cookie_params, *dependant.body_params]
        dependencies = tuple(each.dependency for each in route.dependencies)
        assert route.methods == {"GET"}, route.path
        assert not taken, f"{route.path} takes {taken}"
        assert dependant.request_param_name == "request", route.path
        assert [each.name for each in dependant.dependencies if each.name] == ["engine"], route.path
        ending = route.path.rpartition("}")[2]
        return cls(route, ending, route.path_regex, dependencies, route.endpoint)  # type: ignore[arg-type]


class Shortcuts:
    """The application, with shortcuts to some of its routes."""

    def __init__(self, app: ASGIApp, *, engine: AsyncHeadgate, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._engine = engine
        self._shortcuts = tuple(map(Shortcut.of, routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler of a route that has a shortcut; hand on everything else."""
        if scope["type"] == "http" and scope["method"] == "GET":
            path: str = scope["path"]
            for shortcut in self._shortcuts:
                if path.endswith(shortcut.ending) and (match := shortcut.pattern.match(path)):
                    scope["route"], scope["path_params"] = shortcut.route, match.groupdict()
                    await self._call(shortcut, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _call(self, shortcut: Shortcut, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            for dependency in shortcut.dependencies:
                await dependency(request)
            response = await shortcut.handler(request=request, engine=self._engine, **scope["path_params"])
        except HeadgateError as error:
            response = of_engine(error, scope)
        except Refused as error:
            response = of_refusal(error)
        await response(scope, receive, send)
