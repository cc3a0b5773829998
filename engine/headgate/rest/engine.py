"""How a route reaches the engine."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from headgate.client.async_client import AsyncHeadgate


def _engine(request: Request) -> AsyncHeadgate:
    engine: AsyncHeadgate = request.app.state.engine
    return engine


Engine = Annotated[AsyncHeadgate, Depends(_engine)]
"""A route's argument: the engine of this process."""
