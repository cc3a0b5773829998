"""1,000 attempts at once on a limit of 100: exactly 100 are granted, and 900 refused by the constraint that is full."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from servers import RedisServer, available_binaries

STORM_FILE = Path(__file__).parents[2] / "loadtests" / "storm.py"


def load_storm() -> ModuleType:
    """`loadtests/storm.py` as a module; it is a program, and not on the path."""
    specification = importlib.util.spec_from_file_location("headgate_storm", STORM_FILE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


storm = load_storm()
BINARIES = available_binaries()
SERVERS = sorted(BINARIES)
# Every kind from every place, and the servers take turns.
CASES = [
    (SERVERS[(row + column) % len(SERVERS)], kind, place)
    for row, kind in enumerate(storm.KINDS)
    for column, place in enumerate(storm.PLACES)
]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(BINARIES[request.param]) as server:
        yield server


@pytest.fixture(scope="module")
def crew(server: RedisServer) -> Iterator[object]:
    with storm.Crew(server.unix_url) as crew:
        yield crew


@pytest.mark.parametrize(("server", "kind", "place"), CASES, indirect=["server"])
def test_a_storm_grants_what_fits_refuses_the_rest_by_name_and_counts_nothing_of_it(
    server: RedisServer, crew: object, kind: str, place: str
) -> None:
    assert storm.run(server.unix_url, storm.Storm(place, kind), crew) == []


def test_what_a_storm_gets_wrong_is_said() -> None:
    tried = storm.Storm("middle", "tasks", attempts=3, limit=1)
    seen = storm.Seen()
    seen.granted.update({"agent-1": 1, "agent-2": 1})
    seen.refused[("agent-1", "BudgetExceeded", "org")] += 1
    seen.errors["Unavailable: no connection"] += 1
    counted = {"account": 2, "org": 2, "team": 3} | dict.fromkeys(storm.LEAVES, 0)
    problems = list(storm.wrong(tried, storm.Seen.from_json(seen.to_json()), counted))
    assert [problem.split(",")[0].split(":")[0] for problem in problems] == [
        "2 were granted",
        "1 were refused",
        "1 refusals of agent-1 name org (BudgetExceeded)",
        "1 times an error",
        "the counters stand at {'account'",
    ]
