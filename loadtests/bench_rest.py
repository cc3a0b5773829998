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
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from bench_http import Load, LoadClient, Orders
from bench_library import PATIENT
from bench_scripts import median_ratio

import headgate
from headgate import Headgate
from headgate.clock import monotonic_ms

REST_ENVIRONMENT = "bench-rest"
CONNECTIONS = 32
WARM_UP_S = 0.25

CUSTOMER, FEATURE, ORGANISATION = "cus-acme", "feature-ai-tokens", "org-acme"
TYPES = ("org", "team", "user")
TEAMS, USERS = 4, 32
LIMIT = 2.0**50

CHECK_PATH = "/api/v1-beta/customers/{id}/entitlements/check"
USAGE_PATH = "/api/v1/usage"
STATIC = Path(__file__).with_name("bench_static.py")
PROCESSES = Path("/proc")

START_MS = 120_000
LOOK_EVERY_S = 0.05
ANSWER_S = 60.0
STOP_S = 60.0
TAIL_BYTES = 2_000


def write_rest_customer(engine: Headgate) -> list[str]:
    """Write the customer, and return its users."""
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    engine.catalog.put_entity_types([{"id": kind, "attribution_keys": (f"{kind}Id",)} for kind in TYPES])
    engine.customers.put(CUSTOMER, name="Acme")
    engine.customers.grant_entitlement(CUSTOMER, {"feature": FEATURE, "usage_limit": LIMIT, "reset_period": "MONTH"})
    teams = [f"team-{number}" for number in range(TEAMS)]
    parents = dict.fromkeys(teams, ORGANISATION)
    parents |= {f"user-{number:02}": teams[number % TEAMS] for number in range(USERS)}
    ids = [ORGANISATION, *parents]
    engine.governance.put_entities(CUSTOMER, [{"id": id, "type": id.partition("-")[0]} for id in ids])
    budget = {"feature": FEATURE, "usage_limit": LIMIT, "cadence": "P1M"}
    engine.governance.put_assignments(
        CUSTOMER, [{**budget, "entity": id, **({"parent": parents[id]} if id in parents else {})} for id in ids]
    )
    return [id for id in parents if id.startswith("user-")]


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


def measure_rest(url: str, *, rounds: int, timed_s: float, advance: Callable[[], None]) -> tuple[RestTimes, RestTimes]:
    """Measure checks, and reports of usage, each in turn with its static route. What was acknowledged is counted."""
    with Headgate.connect(url, environment=REST_ENVIRONMENT, settings=PATIENT) as engine:
        users = write_rest_customer(engine)
    checks, reports = [_check(user) for user in users], [_report(user) for user in users]
    of_checks, of_reports = RestTimes(), RestTimes()
    kinds = (
        (of_checks, Orders(0, tuple(checks), 200, CONNECTIONS, WARM_UP_S, timed_s)),
        (of_reports, Orders(0, tuple(reports), 201, CONNECTIONS, WARM_UP_S, timed_s)),
    )
    flags = (
        "--url",
        url,
        "--environment",
        REST_ENVIRONMENT,
        "--deadline-ms",
        str(PATIENT.deadline_ms),
        "--grpc",
        "off",
    )
    with Served("-m", "headgate.cli", "serve", *flags, "--port") as ours:
        checked, reported = ours.ask(checks[0], 200), ours.ask(reports[0], 201)
        _require_chain(checked, users[0])
        answers = {f"GET {CHECK_PATH}": (200, checked), f"POST {USAGE_PATH}": (201, reported)}
        with Served(str(STATIC), json.dumps(answers)) as static, LoadClient() as client:
            for number in range(rounds):
                for times, orders in kinds:
                    turns = [(ours, times.ours), (static, times.static)]
                    for server, runs in turns if number % 2 else reversed(turns):
                        runs.append(server.measure(client, orders))
                advance()
        acknowledged = 1 + sum(run.load.answered for run in of_reports.ours)
        used = json.loads(ours.ask(checks[0], 200))["data"]["currentUsage"]
    assert used == acknowledged, f"{acknowledged:,} reports were acknowledged, and {used:,} are counted"
    return of_checks, of_reports


def _check(user: str) -> str:
    asked = f"featureId={FEATURE}&requestedUsage=1000&dimensions%5BuserId%5D={user}"
    return _request("GET", f"{CHECK_PATH.format(id=CUSTOMER)}?{asked}")


def _report(user: str) -> str:
    record = {"customerId": CUSTOMER, "featureId": FEATURE, "value": 1, "dimensions": {"userId": user}}
    return _request("POST", USAGE_PATH, json.dumps({"usages": [record]}))


def _request(method: str, target: str, body: str = "") -> str:
    head = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1", "accept: application/json", "user-agent: bench"]
    if body:
        head += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*head, "", body])


def _require_chain(answer: str, user: str) -> None:
    """The check has to see the user, its team and the organisation, or it is not what is to be measured."""
    (chain,) = json.loads(answer)["data"]["chains"]
    found = [(node["entityId"].partition("-")[0], node["usageLimit"], node["isGranted"]) for node in chain]
    assert found == [(kind, LIMIT, True) for kind in reversed(TYPES)], f"{user}: {answer}"


class Served:
    """An HTTP server of this command, which gets a free port as its last argument, for as long as the block."""

    def __init__(self, *command: str) -> None:
        self.port = _free_port()
        self._command = (sys.executable, *command, str(self.port))

    def __enter__(self) -> Served:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
        source = str(Path(headgate.__file__).parents[1])
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            env={**plain, "PYTHONPATH": source},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def ask(self, request: str, status: int) -> str:
        """Send one request, and return the body of its answer, which has to have this status."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S) as connection:
            connection.sendall(request.encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            body = response.read().decode()
        assert response.status == status, f"{response.status} {body}"
        return body

    def measure(self, client: LoadClient, orders: Orders) -> RestLoad:
        """Have the client ask this server, and look at what it takes of the processor meanwhile."""
        before_s = _processor_s(self._process.pid)
        load = client.run(replace(orders, port=self.port))
        after_s = _processor_s(self._process.pid)
        if before_s is None or after_s is None:
            return RestLoad(load, None)
        return RestLoad(load, (after_s - before_s) * 1e6 / load.answered)

    def _wait_until_it_answers(self) -> None:
        """Ask again and again; what is waited for in between is its end, which would be the answer too."""
        until_ms = monotonic_ms() + START_MS
        while not self._answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_EVERY_S)
            assert self._process.poll() is None, f"{self._command} ended: {self._tail()}"
            assert monotonic_ms() < until_ms, f"{self._command} does not answer: {self._tail()}"

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status > 0
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        self._said.seek(0)
        return self._said.read()[-TAIL_BYTES:].decode(errors="replace")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _processor_s(process: int) -> float | None:
    """Processor time that a process and all below it have had; None where there is no /proc."""
    if not (PROCESSES / "self" / "stat").exists():
        return None
    had: dict[int, int] = {}
    below: defaultdict[int, list[int]] = defaultdict(list)
    for file in PROCESSES.glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            # After the command's name, which may hold anything: state, parent, and as 12th and 13th user and system.
            fields = file.read_text(errors="replace").rpartition(")")[2].split()
            number = int(file.parent.name)
            below[int(fields[1])].append(number)
            had[number] = int(fields[11]) + int(fields[12])
    family, ticks = [process], 0
    while family:
        each = family.pop()
        ticks += had.get(each, 0)
        family += below[each]
    return ticks / os.sysconf("SC_CLK_TCK")
