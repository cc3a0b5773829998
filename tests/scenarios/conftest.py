"""The servers of the scenarios, each started once; every test has an environment of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from behaviour.targets import EDGES, EVERY_PAIR_VARIABLE, chosen
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


@pytest.fixture
def server(request: pytest.FixtureRequest, started_servers: dict[str, RedisServer]) -> RedisServer:
    """A server that tests share: each of them writes to an environment of its own, and stops or empties nothing."""
    name: str = request.param
    if name not in started_servers:
        newest = list(BINARIES.values())[-1]
        started_servers[name] = start_one_node_cluster(newest) if name == CLUSTER else RedisServer(BINARIES[name])
    return started_servers[name]


@pytest.fixture
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of the test's own, to pause, empty and stop."""
    with RedisServer(BINARIES[request.param]) as started:
        yield started


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try a scenario on every server; what both clients do, by one of them there and by the other elsewhere."""
    wanted = set(metafunc.fixturenames)
    where = "server" if "server" in wanted else "own_server"
    names = [*BINARIES, CLUSTER] if where == "server" else [*BINARIES]
    if not {"edge", where} <= wanted or os.environ.get(EVERY_PAIR_VARIABLE):
        if where in wanted:
            metafunc.parametrize(where, names, indirect=True)
        if "edge" in wanted:
            metafunc.parametrize("edge", EDGES)
    else:
        edges = itertools.cycle(chosen(metafunc.definition.nodeid, (EDGES, EDGES[::-1])))
        metafunc.parametrize((where, "edge"), list(zip(names, edges, strict=False)), indirect=[where])


@pytest.fixture
def place(server: RedisServer, runner: asyncio.Runner) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(server, stack.enter_context(server.client()), runner, stack)


@pytest.fixture
def own_place(own_server: RedisServer, runner: asyncio.Runner) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(own_server, own_server.client(), runner, stack)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MIDNIGHT_MS + 1_000)
