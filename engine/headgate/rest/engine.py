"""How a route reaches the engine."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from headgate.client.async_client import AsyncHeadgate


async def _engine(request: Request) -> AsyncHeadgate:  # async, though it never waits: others are run in a thread
    engine: AsyncHeadgate = request.app.state.engine
    return engine


Engine = Annotated[AsyncHeadgate, Depends(_engine)]
"""A route's argument: the engine of this process."""
