"""What every test may ask for: real servers, and a fresh environment on each kind of engine and server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from behaviour.targets import EVERY_TARGET, Servers, Target
from headgate import AsyncHeadgate, ManualClock


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of async tests: redis-py speaks asyncio only."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Servers that are started when a test first asks for one, and stopped at the end. A worker has its own."""
    servers = Servers()
    yield servers
    servers.stop()


@pytest.fixture(params=EVERY_TARGET)
async def target(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Target]:
    """A fresh environment: sync and async, on each server, on a cluster of one node, and in process."""
    target = Target(request.param, servers)
    yield target
    await target.close()


@pytest.fixture
def engine(target: Target) -> AsyncHeadgate:
    """The first engine on the fresh environment."""
    return target.engine


@pytest.fixture
def clock(target: Target) -> ManualClock:
    """The clock that the fresh environment goes by."""
    return target.clock
