"""The REST API as its clients see it: checks and reports a second, how long they take, and the server's processor time.

`headgate serve` runs with one worker and its defaults; beside it, on the same server program, FastAPI routes that
always answer what a check and a report answered (bench_static). A process of its own asks them in turn (bench_http).

The customer was written through the library: one organisation, its teams, their users, each with a monthly budget. A
request names a user, so what stands in its way is a chain of three budgets, and the account.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench_http import Load, LoadClient, Orders
from bench_library import PATIENT
from bench_scripts import median_ratio

from headgate import Headgate
from headgate.clock import monotonic_ms

REST_ENVIRONMENT = "bench-rest"
CONNECTIONS = 32
WARM_UP_S = 0.25

CUSTOMER, FEATURE, ORGANISATION = "cus-acme", "feature-ai-tokens", "org-acme"
TEAMS, USERS_OF_TEAM = 4, 8
CHAIN = 3
LIMIT = 2.0**50

CHECK_PATH = "/api/v1-beta/customers/{id}/entitlements/check"
USAGE_PATH = "/api/v1/usage"
STATIC = Path(__file__).with_name("bench_static.py")
ENGINE = Path(__file__).parents[1] / "engine"

START_MS = 120_000
LOOK_EVERY_S = 0.05
ANSWER_S = 60.0
STOP_S = 60.0


def write_rest_customer(engine: Headgate) -> list[str]:
    """Write the customer, and return its users."""
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    engine.catalog.put_entity_types([{"id": kind, "attribution_keys": (f"{kind}Id",)} for kind in _TYPES])
    engine.customers.put(CUSTOMER, name="Acme")
    engine.customers.grant_entitlement(CUSTOMER, {"feature": FEATURE, "usage_limit": LIMIT, "reset_period": "MONTH"})
    teams = [f"team-{number}" for number in range(TEAMS)]
    parents = dict.fromkeys(teams, ORGANISATION)
    parents |= {f"user-{number:02}": teams[number % TEAMS] for number in range(TEAMS * USERS_OF_TEAM)}
    ids = [ORGANISATION, *parents]
    engine.governance.put_entities(CUSTOMER, [{"id": id, "type": id.partition("-")[0]} for id in ids])
    budget = {"feature": FEATURE, "usage_limit": LIMIT, "cadence": "P1M"}
    engine.governance.put_assignments(
        CUSTOMER, [{**budget, "entity": id, **({"parent": parents[id]} if id in parents else {})} for id in ids]
    )
    return [id for id in parents if id.startswith("user-")]


_TYPES = ("org", "team", "user")


@dataclass(frozen=True, slots=True)
class RestLoad:
    """What one run of the client found, and what the server took of the processor a request, where that is told."""

    load: Load
    processor_us: float | None


@dataclass(slots=True)
class RestTimes:
    """Runs against a route of Headgate and against the static one; those at the same place belong together."""

    ours: list[RestLoad] = field(default_factory=list)
    static: list[RestLoad] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Requests a second of the static route for each of ours."""
        return median_ratio(*([run.load.per_second for run in runs] for runs in (self.static, self.ours)))


def measure_rest(
    url: str, *, rounds: int, timed_s: float, advance: Callable[[], None]
) -> tuple[RestTimes, RestTimes]:
    """Measure checks, and reports of usage, each in turn with its static route; what was acknowledged is counted."""
    with Headgate.connect(url, environment=REST_ENVIRONMENT, settings=PATIENT) as engine:
        users = write_rest_customer(engine)
    flags = ("--url", url, "--environment", REST_ENVIRONMENT, "--deadline-ms", str(PATIENT.deadline_ms))
    with _serving("-m", "headgate.cli", "serve", *flags, "--port") as ours:
        checks = [_check(ours.port, user) for user in users]
        reports = [_report(ours.port, user) for user in users]
        answers = {f"GET {CHECK_PATH}": _answer(ours, checks[0]), f"POST {USAGE_PATH}": _answer(ours, reports[0])}
        _require_chain(answers[f"GET {CHECK_PATH}"][1])
        reported = 1
        times = RestTimes(), RestTimes()
        with _serving(str(STATIC), last=json.dumps(answers)) as static, LoadClient() as client:
            advance()
            for number in range(rounds):
                for found, requests, status in ((times[0], checks, 200), (times[1], reports, 201)):
                    orders = Orders(ours.port, tuple(requests), status, CONNECTIONS, WARM_UP_S, timed_s)
                    pair = [(ours, found.ours), (static, found.static)]
                    for server, runs in pair if number % 2 else reversed(pair):
                        runs.append(_run(client, server, orders))
                reported += times[1].ours[-1].load.answered
                advance()
        used = json.loads(_answer(ours, checks[0])[1])["data"]["currentUsage"]
    assert used == reported, f"{reported:,} reports were acknowledged, and {used:,} are counted"
    return times


def _run(client: LoadClient, server: _Served, orders: Orders) -> RestLoad:
    before_s = server.processor_s()
    load = client.run(replace(orders, port=server.port))
    after_s = server.processor_s()
    took_s = None if before_s is None or after_s is None else after_s - before_s
    return RestLoad(load, None if took_s is None else took_s * 1e6 / load.answered)
