"""What every test may ask for: real servers, and a fresh environment on each kind of engine and server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from behaviour.targets import Servers, Target, targets_of
from headgate import AsyncHeadgate, ManualClock

# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try a behaviour everywhere, unless it says itself where."""
    says = [marker.args[0] for marker in metafunc.definition.iter_markers("parametrize")]
    if "target" in metafunc.fixturenames and not any("target" in names for names in says):
        metafunc.parametrize("target", targets_of(metafunc.definition.nodeid), indirect=True)


@pytest.fixture
async def target(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Target]:
    """A fresh environment, where the test is tried."""
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
