"""A fresh environment behind the REST face, on a real server, with a clock that tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from behaviour.targets import NOW_MS, SERVERS, SETTINGS, Servers, Target
from headgate import AsyncHeadgate, ManualClock
from headgate.rest import create_app


@dataclass(frozen=True, slots=True)
class Api:
    """The REST face of a fresh environment, and the engine behind it."""

    client: httpx.AsyncClient
    engine: AsyncHeadgate
    clock: ManualClock
    target: Target

    async def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        """GET, and return what was answered, after a look at the status."""
        return _answer(await self.client.get(path, params=query or None), status)

    async def send(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Send a body, and return what was answered, after a look at the status."""
        return _answer(await self.client.request(method, path, json=body), status)


def _answer(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json() if response.content else None


@pytest.fixture
async def api(servers: Servers) -> AsyncIterator[Api]:
    """The REST face of a fresh environment."""
    target = Target(f"async-{SERVERS[-1]}", servers)
    app = create_app(target.engine, open_without_keys=True, deadline_ms=SETTINGS.deadline_ms)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield Api(client, target.engine, target.clock, target)
    await target.close()


__all__ = ["NOW_MS", "Api"]
