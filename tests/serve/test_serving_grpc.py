"""`headgate serve` with its gRPC face: beside HTTP, by several processes, with several sidecars, and without Redis."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from headgate import Headgate
from headgate.settings import Settings
from headgate.sidecar.protocol import sidecar_pb2 as wire
from headgate.sidecar.protocol.sidecar_pb2_grpc import SidecarServiceStub
from serve.serving import Served
from servers import RedisServer, available_binaries, find_free_port, wait_until

WAIT_S = 60
CALL_S = 30
SSO, DAYS, REGIONS, TOKENS = "feature-sso", "feature-days", "feature-regions", "feature-tokens"
ACME = "cus-acme"
SETTINGS = Settings(partitions=4, deadline_ms=30_000, setup_deadline_ms=60_000, listen=False)
PATIENT = ("--deadline-ms", "30000")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(list(available_binaries().values())[-1]) as server:
        yield server


@pytest.fixture
def writer(redis_server: RedisServer) -> Iterator[Headgate]:
    """An engine that has written a plan with an entitlement of each kind, and a customer that bought it."""
    with Headgate.connect(redis_server.url, settings=SETTINGS) as engine:
        engine.catalog.put_features(
            [
                {"id": SSO, "feature_type": "BOOLEAN"},
                {"id": DAYS, "feature_type": "NUMBER"},
                {"id": REGIONS, "feature_type": "ENUM", "enum_values": ["eu", "us"]},
                {"id": TOKENS, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            ]
        )
        put_plan(engine)
        engine.customers.put(ACME)
        engine.subscriptions.provision(ACME, {"plan": "plan"})
        yield engine


def put_plan(engine: Headgate, *, limit: float = 100, features: tuple[str, ...] = (SSO, DAYS, REGIONS, TOKENS)) -> None:
    said: dict[str, dict[str, Any]] = {
        SSO: {},
        DAYS: {"usage_limit": 30},
        REGIONS: {"enum_values": ["eu"]},
        TOKENS: {"usage_limit": limit},
    }
    entitlements: list[dict[str, Any]] = [{"feature": feature, **said[feature]} for feature in features]
    engine.catalog.put_plans([{"id": "plan", "entitlements": entitlements}])


class Client:
    """A client of the gRPC face of a server, which waits for its answers."""

    def __init__(self, served: Served) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}")
        self._stub: Any = SidecarServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        return lambda request: getattr(self._stub, name)(request, timeout=CALL_S, wait_for_ready=True)

    def future(self, call: str, request: Any) -> Any:
        """Call without waiting for the answer."""
        return getattr(self._stub, call).future(request, timeout=CALL_S)

    def boolean(self, feature: str = SSO) -> Any:
        return self.GetBooleanEntitlement(wire.GetBooleanEntitlementRequest(customer_id=ACME, feature_id=feature))

    def numeric(self) -> Any:
        return self.GetNumericEntitlement(wire.GetNumericEntitlementRequest(customer_id=ACME, feature_id=DAYS))

    def enum(self) -> Any:
        options = wire.EnumEntitlementOptions(requested_values=["eu"])
        return self.GetEnumEntitlement(
            wire.GetEnumEntitlementRequest(customer_id=ACME, feature_id=REGIONS, options=options)
        )

    def metered(self, usage: float = 0) -> Any:
        options = wire.MeteredEntitlementOptions(requested_usage=usage)
        return self.GetMeteredEntitlement(
            wire.GetMeteredEntitlementRequest(customer_id=ACME, feature_id=TOKENS, options=options)
        )

    def report(self, value: float = 1) -> Any:
        return self.ReportUsage(wire.ReportUsageRequest(customer_id=ACME, feature_id=TOKENS, value=value))

    def status_of(self, call: Callable[[], Any]) -> grpc.StatusCode:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        status: grpc.StatusCode = caught.value.code()  # type: ignore[attr-defined]
        return status

    def close(self) -> None:
        self.channel.close()


def client_of(stack: ExitStack, served: Served) -> Client:
    return stack.enter_context(closing(Client(served)))


def figure(served: Served, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", served.client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_both_faces_are_of_one_engine_and_the_vendors_figures_stand_beside_ours(
    redis_server: RedisServer, writer: Headgate
) -> None:
    with ExitStack() as stack:
        served = stack.enter_context(Served(redis_server.url, *PATIENT).started())
        client = client_of(stack, served)
        assert client.report(40).current_usage == 40
        checked = served.client.get(f"/api/v1/customers/{ACME}/entitlements/check?featureId={TOKENS}").json()["data"]
        assert checked["currentUsage"] == 40
        for _ in range(3):
            assert client.boolean().has_access
        wait_until(
            lambda: client.boolean().has_access and figure(served, "sidecar_cache_hits_total") > 0,
            within_s=WAIT_S,
            what="an answer comes from memory",
        )
        assert figure(served, "sidecar_cache_misses_total") >= 1
        assert figure(served, 'headgate_entitlements_total{source="memory"}') == figure(
            served, "sidecar_cache_hits_total"
        )
        assert figure(served, 'headgate_grpc_requests_total{code="OK",method="ReportUsage"}') == 1
        assert figure(served, "headgate_entitlements_bytes") > 0
        served.client.get("/api/v1/features", headers={"x-api-key": "hg_nobody"})
        names = {
            *("initialization_errors", "invalid_api_key_errors", "network_request_errors", "redis_client_errors"),
            *("cache_hits", "cache_misses"),
        }
        text = served.client.get("/metrics").text
        assert names <= set(re.findall(r"^sidecar_(\w+)_total ", text, re.MULTILINE))
        assert served.stop() == 0
        (line,) = served.events("serving")
        assert line["grpc"] == f"127.0.0.1:{served.grpc_port}"


def test_workers_share_the_grpc_port_and_count_to_the_unit(redis_server: RedisServer, writer: Headgate) -> None:
    with ExitStack() as stack:
        served = stack.enter_context(Served(redis_server.url, "--workers", "2", *PATIENT).started())
        wait_until(lambda: len(served.events("worker ready")) == 2, within_s=WAIT_S, what="both workers are ready")
        clients = [client_of(stack, served) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: clients[number % 8].report(), range(200)))
        assert writer.metered_entitlement(ACME, TOKENS).current_usage == 200
        assert served.stop() == 0
        assert len(served.events("worker stopped")) == 2


def test_two_sidecars_see_what_changes_through_the_other_or_anywhere(
    redis_server: RedisServer, writer: Headgate
) -> None:
    """Metered answers at once; the others once the message has arrived: the bound is measured, and is shown with -s."""
    with ExitStack() as stack:
        one, two = (stack.enter_context(Served(redis_server.url, *PATIENT)) for _ in range(2))
        first, second = (client_of(stack, each.started()) for each in (one, two))
        assert [first.boolean().has_access, second.boolean().has_access] == [True, True]
        took_ms = []

        def within_bound(what: str, condition: Callable[[], bool]) -> None:
            began_s = time.monotonic()
            wait_until(condition, within_s=WAIT_S, what=what)
            took_ms.append((what, round((time.monotonic() - began_s) * 1000, 1)))

        for used in (30, 60):
            first.report(30)
            assert second.metered().entitlement.current_usage == used  # at once: the counters are read
        put_plan(writer, limit=61)
        for client in (first, second):
            assert client.metered(1).has_access
            assert not client.metered(2).has_access
            assert client.metered().entitlement.usage_limit == 61
        put_plan(writer, limit=61, features=(DAYS, REGIONS, TOKENS))
        for client in (first, second):
            within_bound("a changed plan", lambda client=client: not client.boolean().has_access)  # type: ignore[misc]
        put_plan(writer, limit=61)
        for client in (first, second):
            within_bound("a changed plan, back", lambda client=client: client.boolean().has_access)  # type: ignore[misc]
            assert client.numeric().has_access
        writer.customers.archive(ACME)
        for client in (first, second):
            assert client.metered().access_denied_reason == wire.ACCESS_DENIED_REASON_CUSTOMER_IS_ARCHIVED
            within_bound("an archived customer", lambda client=client: not client.numeric().has_access)  # type: ignore[misc]
        print("seen by both sidecars within, in ms:", took_ms)


def test_while_redis_stands_still_what_is_known_goes_on_and_the_rest_falls_back(
    redis_server: RedisServer, writer: Headgate
) -> None:
    with ExitStack() as stack:
        served = stack.enter_context(Served(redis_server.url, "--deadline-ms", "300").started())
        client = client_of(stack, served)
        wait_until(lambda: client.boolean().has_access, within_s=WAIT_S, what="it answers")
        for _ in range(2):
            assert [each.is_fallback for each in (client.boolean(), client.numeric(), client.enum())] == [False] * 3
        assert client.metered().has_access
        redis_server.pause()
        stack.callback(redis_server.resume)
        began_s = time.monotonic()
        while time.monotonic() - began_s < 5:  # longer than it takes to notice the silence
            for found in (client.boolean(), client.numeric(), client.enum()):
                assert (found.has_access, found.is_fallback) == (True, False)
            metered = client.metered()
            assert (metered.has_access, metered.is_fallback) == (False, True)
            assert metered.access_denied_reason == wire.ACCESS_DENIED_REASON_UNKNOWN
            unknown = client.boolean("feature-never-asked-about")
            assert (unknown.has_access, unknown.is_fallback) == (False, True)
            assert client.status_of(client.report) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)
        redis_server.resume()
        wait_until(lambda: client.metered().has_access, within_s=WAIT_S, what="it answers again")
        assert writer.metered_entitlement(ACME, TOKENS).current_usage == 0


def test_without_a_redis_from_the_start_everything_falls_back_as_the_vendors_variables_say() -> None:
    nobody = find_free_port()
    variables = {
        "REDIS_ENVIRONMENT_PREFIX": "development",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(nobody),
        "ENTITLEMENTS_FALLBACK": json.dumps({SSO: {"hasAccess": True}, TOKENS: {"hasAccess": True, "usageLimit": 9}}),
        "SERVER_API_KEY": "a-key-that-is-hard-to-guess",
        "EDGE_ENABLED": "true",
        "REDIS_KEYS_TTL_IN_SECS": "604800",
    }
    with ExitStack() as stack:
        served = stack.enter_context(Served(None, "--deadline-ms", "200", **variables).started())
        client = client_of(stack, served)
        granted = client.boolean()
        assert (granted.has_access, granted.is_fallback, granted.entitlement.feature.id) == (True, True, SSO)
        assert [client.metered(usage).has_access for usage in (9, 10)] == [True, False]
        assert (client.numeric().has_access, client.numeric().is_fallback) == (False, True)
        assert client.status_of(client.report) is grpc.StatusCode.UNAVAILABLE
        listed = wire.GetEntitlementsRequest(customer_id=ACME)
        assert client.status_of(lambda: client.GetEntitlements(listed)) is grpc.StatusCode.UNAVAILABLE
        assert served.client.get("/readyz").status_code == 503
        wait_until(
            lambda: figure(served, "sidecar_initialization_errors_total") == 1, within_s=WAIT_S, what="it is counted"
        )
        (ignored,) = served.events("ignored")
        assert ignored["variables"] == ["EDGE_ENABLED", "REDIS_KEYS_TTL_IN_SECS"]
        (serving,) = served.events("serving")
        assert (serving["environment"], serving["counters"]) == ("development", f"redis://127.0.0.1:{nobody}/0")


def test_offline_it_answers_from_the_document_and_contacts_nobody(tmp_path: Path) -> None:
    document = tmp_path / "entitlements.json"
    entitlements = {
        SSO: {"type": "BOOLEAN"},
        DAYS: {"type": "NUMERIC", "value": 30},
        TOKENS: {"type": "METERED", "usageLimit": 5},
        REGIONS: {"type": "ENUM", "enumValues": ["eu"]},
    }
    document.write_text(json.dumps({"customers": {ACME: {"entitlements": entitlements}}}))
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        served = stack.enter_context(Served(url, "--offline", str(document)).started())
        client = client_of(stack, served)
        assert [each.has_access for each in (client.boolean(), client.numeric(), client.enum())] == [True] * 3
        assert client.numeric().entitlement.value == 30
        assert [client.metered(usage).has_access for usage in (5, 6)] == [True, False]
        assert not client.boolean().is_fallback
        assert len(client.GetEntitlements(wire.GetEntitlementsRequest(customer_id=ACME)).entitlements) == 4
        assert client.ReloadEntitlements(wire.ReloadEntitlementsRequest(customer_id=ACME)).entitled_entity_exists
        assert client.status_of(client.report) is grpc.StatusCode.UNIMPLEMENTED
        assert [served.client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")] == [200] * 3
        refused = served.client.get(f"/api/v1/customers/{ACME}")
        assert (refused.status_code, "--offline" in refused.json()["message"]) == (501, True)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert served.client.request(method, "/api/v1/usage").status_code == 501
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert served.stop() == 0


def test_offline_without_a_document_every_answer_is_its_fallback() -> None:
    with ExitStack() as stack:
        variables = {"OFFLINE": "true", "ENTITLEMENTS_FALLBACK": f'{{"{SSO}": {{"hasAccess": true}}}}'}
        served = stack.enter_context(Served(None, **variables).started())
        client = client_of(stack, served)
        assert [(each.has_access, each.is_fallback) for each in (client.boolean(), client.numeric())] == [
            (True, True),
            (False, True),
        ]


def test_what_is_under_way_is_answered_before_it_stops(redis_server: RedisServer, writer: Headgate) -> None:
    with ExitStack() as stack:
        served = stack.enter_context(Served(redis_server.url, *PATIENT).started())
        client = client_of(stack, served)
        assert client.report().current_usage == 1
        wait_until(
            lambda: client.boolean().has_access and figure(served, "sidecar_cache_hits_total") > 0,
            within_s=WAIT_S,
            what="an answer comes from memory",
        )
        redis_server.pause()
        stack.callback(redis_server.resume)
        asked = wire.GetMeteredEntitlementRequest(customer_id=ACME, feature_id=TOKENS)
        under_way = client.future("GetMeteredEntitlement", asked)
        assert client.boolean().has_access  # it came later by the same connection: so the other is under way
        served.process.send_signal(signal.SIGTERM)
        redis_server.resume()
        assert under_way.result(WAIT_S).entitlement.current_usage == 1
        assert served.process.wait(WAIT_S) == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--grpc", "127.0.0.1"), "--grpc"),
        (("--grpc", "127.0.0.1:{taken}"), "cannot listen on 127.0.0.1:{taken}"),
        (("--grpc", "127.0.0.1:{port}"), "the REST API has port {port}"),
        (("--grpc-tls-certificate", "no.pem"), "both, or neither"),
        (("--grpc-tls-certificate", "no.pem", "--grpc-tls-key", "no.pem"), "cannot be read"),
        (("--entitlements-fallback", "{{"), "--entitlements-fallback"),
        (("--entitlements-fallback", '{{"a b": {{}}}}'), "entitlements_fallback"),
        (("--offline", "no-such-file.json"), "cannot be read"),
        (("--without-data", "guess"), "--without-data"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_starts(flags: tuple[str, ...], said: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = find_free_port()
        known = {"taken": taken.getsockname()[1], "port": port}
        given = [flag.format(**known) for flag in flags]
        with Served("redis://127.0.0.1:1/0", *given, port=port) as served:
            code, text = served.ended()
    assert (code, said.format(**known) in text) == (2, True), text


def test_an_address_that_others_reach_is_warned_of(redis_server: RedisServer, writer: Headgate) -> None:
    port = find_free_port()
    with Served(redis_server.url, "--grpc", f"0.0.0.0:{port}", "--grpc-read-only", *PATIENT) as served:
        served.grpc_port = port
        served.started()
        (warning,) = served.events("gRPC has no credentials")
        assert warning["meaning"] == "whoever reaches this address reads entitlements"
        with closing(Client(served)) as client:
            assert client.boolean().has_access
            assert client.status_of(client.report) is grpc.StatusCode.PERMISSION_DENIED
