"""`headgate serve` as a process: it starts, answers, goes through what happens to Redis, and stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from headgate.cli import main
from headgate.cli import serve as serve_module
from headgate.client.async_client import AsyncHeadgate
from headgate.client.readiness import trouble_of
from headgate.client.sync_client import Headgate
from headgate.settings import Settings
from serve.serving import ANSWER_S, Served
from servers import RedisServer, available_binaries, is_alive, wait_until

BINARIES = available_binaries()
NEWEST = BINARIES[max(BINARIES)]
SETTINGS = Settings(partitions=4, listen=False, deadline_ms=10_000, setup_deadline_ms=60_000)
KEY = "a-key-that-is-hard-to-guess"
CHECK = "/api/v1/customers/cus-acme/entitlements/check?featureId=tokens"
DEADLINE_MS = 1_000
DEADLINES_MAX = 4
PATIENCE_MS = 10_000
WAIT_S = 120.0


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(NEWEST, appendonly="yes", appendfsync="always") as server:
        set_up(server)
        yield server


def set_up(server: RedisServer) -> None:
    with Headgate.connect(server.url, settings=SETTINGS) as engine:
        engine.catalog.put_features([{"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
        engine.customers.put("cus-acme")
        engine.customers.grant_entitlements("cus-acme", [{"feature": "tokens", "usage_limit": 1_000_000}])


def used(served: Served) -> int:
    answer = served.client.get(CHECK + "&requestedUsage=0").json()
    return int(answer["data"]["currentUsage"])


def test_it_answers_with_many_workers_on_one_port_and_stops_when_it_is_told(redis_server: RedisServer) -> None:
    with Served(redis_server.url, "--workers", "2", "--deadline-ms", "30000").started() as served:
        wait_until(lambda: len(served.events("worker ready")) == 2, within_s=WAIT_S, what="both workers are ready")
        assert served.client.get("/readyz").json() == {"status": "ok", "reasons": []}

        def ask(number: int) -> int:
            url = f"http://127.0.0.1:{served.port}{CHECK}"
            return httpx.get(url, timeout=ANSWER_S, headers={"x-request-id": f"r-{number}"}).status_code

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(40))) == {200}

        def figure(name: str) -> float:
            found = re.search(rf"^{re.escape(name)} (\S+)$", served.client.get("/metrics").text, re.MULTILINE)
            return float(found[1]) if found else 0.0

        check = 'method="GET",route="/api/v1/customers/{id}/entitlements/check",status="200"'
        assert figure(f"headgate_http_requests_total{{{check}}}") == 40
        decisions = 'headgate_decisions_total{outcome="granted",reason=""}'
        wait_until(lambda: figure(decisions) == 40, within_s=WAIT_S, what="both workers have told their figures")
        assert served.stop() == 0
        (warning,) = served.events("no API key")
        assert "everybody on this machine" in warning["meaning"]
        assert {f"r-{number}" for number in range(40)} <= {line["request_id"] for line in served.events("request")}
        assert len(served.events("worker stopped")) == 2
        with pytest.raises(httpx.ConnectError):
            served.client.get("/livez")


def test_an_embedded_server_is_started_and_what_it_was_told_is_kept(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/data"
    types = {"types": [{"id": "team", "displayName": "Team", "attributionKeys": ["teamId"]}]}
    with Served(url, "--partitions", "4").started() as served:
        assert served.client.put("/api/v1/entity-types", json=types).status_code == 200
        assert served.stop(signal.SIGINT) == 0
    with Headgate.connect(url, settings=SETTINGS) as engine:
        assert list(engine.catalog.entity_types()) == ["team"]


def test_what_is_under_way_is_finished_before_it_stops(redis_server: RedisServer) -> None:
    with Served(redis_server.url, "--deadline-ms", "30000").started() as served:
        assert served.client.get(CHECK).status_code == 200
        redis_server.pause()
        try:
            with ThreadPoolExecutor(1) as pool, redis_server_listens(redis_server) as seen:
                answer = pool.submit(served.client.get, CHECK)
                wait_until(seen.is_set, within_s=WAIT_S, what="the check is under way")
                served.process.send_signal(signal.SIGTERM)
                wait_until(lambda: not accepts(served.port), within_s=WAIT_S, what="it takes no more requests")
                redis_server.resume()
                assert answer.result(WAIT_S).status_code == 200
        finally:
            redis_server.resume()
        assert served.process.wait(WAIT_S) == 0


def test_while_redis_is_away_it_says_so_in_time_and_then_all_is_well_again(redis_server: RedisServer) -> None:
    with Served(redis_server.url, "--deadline-ms", str(DEADLINE_MS)).started() as served:
        acknowledged = Reports(served.port)
        with ThreadPoolExecutor(4) as pool:
            reporting = [pool.submit(acknowledged.run, worker) for worker in range(4)]
            acknowledged.wait_for(20)
            for trouble, end in ((redis_server.pause, redis_server.resume), (redis_server.kill, redis_server.restart)):
                trouble()
                assert_unavailable_in_time(served)
                end()
                wait_until(lambda: served.client.get("/readyz").status_code == 200, within_s=WAIT_S, what="it is ready")
                acknowledged.wait_for(acknowledged.count + 20)
            acknowledged.stop.set()
            for each in reporting:
                each.result(WAIT_S)
        assert used(served) == acknowledged.count
        assert acknowledged.refused > 0


def assert_unavailable_in_time(served: Served) -> None:
    """A check, and whether it is ready: 503 within four deadlines, and a client is told not to ask again."""
    for path, retries in ((CHECK, "false"), ("/readyz", None)):
        began_s = time.monotonic()
        answer = served.client.get(path)
        assert time.monotonic() - began_s < DEADLINES_MAX * DEADLINE_MS / 1000
        assert answer.status_code == 503
        assert answer.headers.get("x-should-retry") == retries
    assert served.client.get("/livez").status_code == 200


class Reports:
    """Clients that report one unit after the other under keys, each again until it is acknowledged."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self.stop = threading.Event()
        self.count = 0
        self.refused = 0

    def run(self, worker: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=ANSWER_S) as client:
            number = 0
            while not self.stop.is_set():
                number += 1
                record = {"customerId": "cus-acme", "featureId": "tokens", "value": 1}
                body = {"usages": [{**record, "idempotencyKey": f"{worker}-{number}"}]}
                while (answer := client.post("/api/v1/usage", json=body)).status_code != 201:
                    assert answer.status_code in (500, 503), answer.text
                    assert answer.headers.get("x-should-retry") is None, "under a key it may be sent again"
                    with self._lock:
                        self.refused += 1
                with self._lock:
                    self.count += 1

    def wait_for(self, count: int) -> None:
        wait_until(lambda: self.count >= count, within_s=WAIT_S, what=f"{count} reports are acknowledged")


class redis_server_listens:
    """Tells when something new waits to be read by a server that is paused."""

    def __init__(self, server: RedisServer) -> None:
        self._port = f"{server.port:04X}"
        self._before = self._waiting()

    def _waiting(self) -> int:
        """Bytes that wait in the server's sockets."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{self._port}"))

    def is_set(self) -> bool:
        return self._waiting() > self._before

    def __enter__(self) -> redis_server_listens:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(BINARIES))
async def test_a_server_that_takes_no_writes_is_not_ready_and_the_reason_is_told(name: str) -> None:
    with RedisServer(BINARIES[name]) as server, server.client() as client:
        async with AsyncHeadgate.connect(server.url, settings=SETTINGS) as engine:
            assert await trouble_of(engine, PATIENCE_MS) == []
            client.replicaof("127.0.0.1", "1")
            assert "the server is a replica: verdicts are the primary's alone" in await trouble_of(engine, PATIENCE_MS)
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", "1")
            assert await trouble_of(engine, PATIENCE_MS) == ["the server's memory is full, and it refuses writes"]
            client.config_set("maxmemory", "0")
            assert await trouble_of(engine, PATIENCE_MS) == []


def test_without_a_key_it_listens_on_no_address_that_others_reach(redis_server: RedisServer) -> None:
    with Served(redis_server.url, "--host", "0.0.0.0") as served:
        code, said = served.ended()
    assert code == 2
    assert "headgate api-keys create NAME --scope full" in said
    assert "HEADGATE_API_KEY" in said


def test_it_starts_while_redis_is_away_and_answers_once_it_is_there(redis_server: RedisServer) -> None:
    redis_server.kill()
    with Served(redis_server.url, "--deadline-ms", str(DEADLINE_MS), HEADGATE_API_KEY=KEY).started() as served:
        assert served.client.get(CHECK, headers={"X-API-KEY": KEY}).status_code == 503
        redis_server.restart()

        def status(key: str) -> int:
            return served.client.get(CHECK, headers={"X-API-KEY": key}).status_code

        wait_until(lambda: status(KEY) == 200, within_s=WAIT_S, what="it answers")
        wait_until(lambda: status(KEY + "x") == 401, within_s=WAIT_S, what="it knows that there is no other key")
        assert served.events("no API key") == []
        assert KEY not in served.stderr


def test_a_port_that_is_taken_is_said_in_one_sentence(redis_server: RedisServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Served(redis_server.url, "--port", str(port)) as served:
            code, said = served.ended()
    assert code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in said


def test_workers_whose_parent_was_killed_stop_by_themselves(redis_server: RedisServer) -> None:
    with Served(redis_server.url).started() as served:
        wait_until(lambda: bool(served.events("worker ready")), within_s=WAIT_S, what="the worker has said its number")
        worker = served.events("worker ready")[0]["process"]
        os.kill(served.process.pid, signal.SIGKILL)
        served.process.wait()
        wait_until(lambda: not is_alive(worker), within_s=WAIT_S, what="the worker has ended")


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve_module, "find_spec", lambda name: None if name == "granian" else object())
    for name in [each for each in os.environ if each.startswith("HEADGATE_")]:
        monkeypatch.delenv(name)
    assert main(["serve"]) == 2
    assert "serve needs granian: install it with pip install 'headgate[rest]'" in capsys.readouterr().err
