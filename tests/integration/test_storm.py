"""1,000 attempts at once on a limit of 100: exactly 100 are granted, and 900 refused by the constraint that is full."""

from __future__ import annotations

import pytest

from programs import load_program
from servers import RedisServer, available_binaries

storm = load_program("storm")
SERVERS = sorted(available_binaries())
# Every kind from every place, and the servers take turns.
CASES = [
    (SERVERS[(row + column) % len(SERVERS)], kind, place)
    for row, kind in enumerate(storm.KINDS)
    for column, place in enumerate(storm.PLACES)
]


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
