"""The servers of the scenarios, each started once; every test has an environment of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headgate.clock import ManualClock
from scenarios.setting import MIDNIGHT_MS, Place
from servers import RedisServer, available_binaries, start_one_node_cluster

BINARIES = available_binaries()
CLUSTER = "one-node-cluster"


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as started:
        yield started


@pytest.fixture(scope="session")
def started_servers() -> Iterator[dict[str, RedisServer]]:
    servers: dict[str, RedisServer] = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(params=[*BINARIES, CLUSTER])
def server(request: pytest.FixtureRequest, started_servers: dict[str, RedisServer]) -> RedisServer:
    """A server that tests share: each of them writes to an environment of its own, and stops or empties nothing."""
    name: str = request.param
    if name not in started_servers:
        newest = list(BINARIES.values())[-1]
        started_servers[name] = start_one_node_cluster(newest) if name == CLUSTER else RedisServer(BINARIES[name])
    return started_servers[name]


@pytest.fixture(params=BINARIES)
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of the test's own, to pause, empty and stop."""
    with RedisServer(BINARIES[request.param]) as started:
        yield started


@pytest.fixture
def place(server: RedisServer, runner: asyncio.Runner) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(server, stack.enter_context(server.client()), runner, stack)


@pytest.fixture
def own_place(own_server: RedisServer, runner: asyncio.Runner) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(own_server, own_server.client(), runner, stack)


@pytest.fixture(params=["sync", "async"])
def edge(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MIDNIGHT_MS + 1_000)
