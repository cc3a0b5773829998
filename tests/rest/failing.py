"""Servers that answer badly: what a route makes of a lost reply, and of a server that is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from behaviour.targets import SETTINGS
from headgate import AsyncHeadgate
from headgate.client.delivery import ReplyLost, ScriptFailed
from headgate.rest import create_app


def losing_the_reply() -> None:
    """What a transport raises when a call was sent and its reply never came."""
    raise ReplyLost("the connection was closed")


def refusing() -> None:
    """What a transport raises when the server says that it will not run a call."""
    raise ScriptFailed("MISCONF it does not persist to disk")


@asynccontextmanager
async def nobody_there() -> AsyncIterator[httpx.AsyncClient]:
    """The REST face over a server that can't be reached."""
    settings = SETTINGS.model_copy(update={"deadline_ms": 20, "setup_deadline_ms": 20})
    engine = AsyncHeadgate.connect("unix:///nowhere/headgate.sock", environment="test", settings=settings)
    transport = httpx.ASGITransport(app=create_app(engine, open_without_keys=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    await engine.close()


async def unchanged(api: Any, doing: Callable[[], Any]) -> Any:
    """Do something, and look that nothing was written by it."""
    before = api.target.dump()
    answer = await doing()
    assert api.target.dump() == before
    return answer
