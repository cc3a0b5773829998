"""What stands in front of the routes: limits, ids, log lines, figures, and the last resort."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from headgate.errors import Unavailable
from headgate.model.api_key import KeyScope
from headgate.rest.access import CALLER, Caller
from headgate.rest.guards import BODY_BYTES_MAX, DEPTH_MAX, Guards, is_too_deep
from headgate.rest.problems import BODY
from headgate.service.logs import make_logger, server_logging
from headgate.service.metrics import Metrics
from rest.conftest import Api

JSON = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")
KNOWN = Caller("key-1", KeyScope.FULL)


class Knocking:
    """A doorkeeper that says what it was told to say, and remembers what it was shown."""

    def __init__(self, answer: Caller | Exception = KNOWN) -> None:
        self.answer = answer
        self.shown: list[bytes | None] = []

    async def identify(self, text: bytes | None) -> Caller:
        self.shown.append(text)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Face:
    """Guards before a route that echoes, and everything that came out."""

    def __init__(self, answer: Caller | Exception = KNOWN) -> None:
        self.lines = io.StringIO()
        self.metrics = Metrics()
        self.doorkeeper = Knocking(answer)
        self.reads = 0
        self.scope: Scope = {}
        doorkeeper: Any = self.doorkeeper
        self._guards = Guards(
            self._route, doorkeeper=doorkeeper, metrics=self.metrics, log=make_logger(file=self.lines)
        )

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        if scope["path"] == "/broken":
            raise RuntimeError("the secret of the house")
        if scope["path"] == "/half":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise RuntimeError("too late to say so")
        message = await receive()
        await Response(message["body"])(scope, receive, send)

    async def ask(
        self, method: str = "POST", path: str = "/x", chunks: Sequence[bytes] = (), headers: Sequence[Any] = (JSON,)
    ) -> tuple[int, bytes, dict[bytes, bytes]]:
        """Send a request in chunks; what came back: status, body, headers."""
        messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, start=1)
        ] or [{"type": "http.request", "body": b"", "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            self.reads += 1
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "query_string": b"q=private"}
        await self._guards(scope, receive, send)
        if not sent:
            return 0, b"", {}
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], body, dict(sent[0]["headers"])

    @property
    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.getvalue().splitlines()]


def length(body: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", str(len(body)).encode())


async def test_a_body_in_many_chunks_reaches_the_route_in_one() -> None:
    face = Face()
    headers = (JSON, CHUNKED)
    status, body, _ = await face.ask(chunks=[b'{"a":', b" 1", b"}", b""], headers=headers)
    assert (status, body) == (200, b'{"a": 1}')
    assert face.scope[BODY] == b'{"a": 1}'


async def test_a_body_that_says_it_is_too_large_is_refused_before_anything_of_it_is_read() -> None:
    face = Face()
    headers = (JSON, (b"content-length", str(BODY_BYTES_MAX + 1).encode()))
    status, body, answered = await face.ask(chunks=[b"x"], headers=headers)
    assert status == 413
    assert json.loads(body)["code"] == "PayloadTooLarge"
    assert answered[b"connection"] == b"close"
    assert face.reads == 0


async def test_a_body_that_turns_out_too_large_is_refused_while_it_is_read() -> None:
    face = Face()
    half = b"x" * (BODY_BYTES_MAX // 2)
    status, _, _ = await face.ask(chunks=[half, half, b"x", b"never read"], headers=(JSON, CHUNKED))
    assert status == 413
    assert face.reads == 3


async def test_a_body_of_exactly_the_limit_is_let_through() -> None:
    body = b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"'
    status, echoed, _ = await Face().ask(chunks=[body], headers=(JSON, length(body)))
    assert (status, echoed) == (200, body)


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/merge-patch+json"],
)
async def test_json_by_any_of_its_names_is_let_through(content_type: bytes) -> None:
    status, _, _ = await Face().ask(chunks=[b"{}"], headers=((b"content-type", content_type), length(b"{}")))
    assert status == 200


@pytest.mark.parametrize(
    "content_type", [b"", b"text/plain", b"application/x-www-form-urlencoded", b"application/jsonx"]
)
async def test_a_body_that_does_not_call_itself_json_is_refused(content_type: bytes) -> None:
    face = Face()
    status, body, _ = await face.ask(chunks=[b"{}"], headers=((b"content-type", content_type), length(b"{}")))
    assert status == 400
    assert json.loads(body) == {
        "message": f"content-type: {content_type.decode()!r}: must be application/json",
        "code": "BadUserInput",
    }
    assert face.scope == {}


async def test_no_body_needs_no_content_type() -> None:
    status, _, _ = await Face().ask(headers=[(b"content-length", b"0")])
    assert status == 200


async def test_a_length_that_is_no_number_is_refused() -> None:
    status, _, _ = await Face().ask(chunks=[b"{}"], headers=(JSON, (b"content-length", b"-5")))
    assert status == 400


def nested(depth: int) -> bytes:
    return b'{"a":[' * (depth // 2) + b"[" * (depth % 2) + b"]" * (depth % 2) + b"]}" * (depth // 2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (nested(DEPTH_MAX), False),
        (nested(DEPTH_MAX + 1), True),
        (b"[" * 500_000, True),
        (b"[]" * 500_000, False),
        (b"[" + b"{}," * 300_000 + b"{}]", False),
        (b'{"a":"' + b"[" * 100 + b'"}', False),
        (b'{"a":"' + b'\\"[' * 100 + b'"}', False),
        (b'{"a":"\\\\"' + b"[" * 9, True),
        (b'"' + b'\\"' * 500_000, False),
        (b'"' * 1_000_001, False),
        (b"]" * 100 + b"[" * 9, True),
    ],
)
def test_depth_is_counted_outside_of_texts_and_in_no_time(body: bytes, expected: bool) -> None:
    assert is_too_deep(body) is expected


async def test_what_is_too_deep_is_refused_before_it_is_parsed() -> None:
    face = Face()
    body = nested(DEPTH_MAX + 1)
    status, answered, _ = await face.ask(chunks=[body], headers=(JSON, length(body)))
    assert status == 400
    assert "deeper than 8" in json.loads(answered)["message"]
    assert face.scope == {}


async def test_a_request_id_is_given_back_and_logged() -> None:
    face = Face()
    _, _, headers = await face.ask(headers=[(b"x-request-id", b"mine-42")])
    assert headers[b"x-request-id"] == b"mine-42"
    assert face.logged[-1]["request_id"] == "mine-42"


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"two words", b"line\nbreak", b"caf\xe9", None])
async def test_a_request_id_that_cannot_be_written_is_made_anew(given: bytes | None) -> None:
    face = Face()
    _, _, headers = await face.ask(headers=[] if given is None else [(b"x-request-id", given)])
    made = headers[b"x-request-id"].decode()
    assert len(made) == 32
    assert int(made, 16) >= 0
    assert face.logged[-1]["request_id"] == made


async def test_a_log_line_says_what_happened_and_nothing_that_is_private() -> None:
    face = Face()
    secret = b'{"text": "private"}'
    headers = (JSON, length(secret), (b"x-api-key", b"hg_private"), (b"x-request-id", b"r-1"))
    await face.ask(path="/private", chunks=[secret], headers=headers)
    (line,) = face.logged
    assert "private" not in face.lines.getvalue()
    assert line.pop("at").endswith("Z")
    assert line.pop("milliseconds") >= 0
    assert line == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "route": "unmatched",
        "status": 200,
        "request_id": "r-1",
        "key": "key-1",
    }


async def test_nobody_is_asked_for_a_key_to_see_whether_all_is_well() -> None:
    face = Face(Unavailable("no keys"))
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        assert (await face.ask("GET", path, headers=()))[0] == 200
    assert face.doorkeeper.shown == []


async def test_who_calls_is_found_out_before_the_body_is_read() -> None:
    face = Face(Unavailable("the API keys could not be read"))
    status, _, _ = await face.ask(chunks=[b"{}"], headers=(JSON, length(b"{}"), (b"x-api-key", b"k")))
    assert status == 503
    assert face.reads == 0
    assert face.doorkeeper.shown == [b"k"]
    assert CALLER not in face.scope


async def test_what_nobody_foresaw_is_a_500_that_gives_nothing_away_and_a_line_that_says_all() -> None:
    face = Face()
    status, body, headers = await face.ask(path="/broken", headers=[(b"x-request-id", b"r-2")])
    assert (status, headers[b"x-should-retry"], headers[b"x-request-id"]) == (500, b"false", b"r-2")
    assert json.loads(body)["code"] == "InternalError"
    assert b"secret" not in body
    defect, request = face.logged
    assert (defect["event"], defect["level"], defect["request_id"]) == ("defect", "error", "r-2")
    assert "RuntimeError: the secret of the house" in defect["exception"]
    assert "test_guards.py" in defect["exception"]
    assert request["status"] == 500


async def test_a_route_that_breaks_after_it_began_to_answer_is_logged() -> None:
    face = Face()
    status, _, _ = await face.ask(path="/half")
    assert status == 200
    assert [line["event"] for line in face.logged] == ["defect", "request"]


async def test_a_client_that_goes_away_while_it_sends_is_told_nothing_and_logged() -> None:
    face = Face()
    chunks = [b"{", b""][:1]
    headers = (JSON, CHUNKED)
    messages = [{"type": "http.request", "body": chunks[0], "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": list(headers), "query_string": b""}
    await face._guards(scope, receive, send)
    assert [line["status"] for line in face.logged] == [499]


async def test_requests_are_counted_by_template_and_status(api: Api) -> None:
    for customer in ("cus-1", "cus-2", "cus-3"):
        await api.get(f"/api/v1/customers/{customer}/entitlements/check", status=400)
    await api.get("/api/v1/nowhere", status=404)
    shown = (await api.client.get("/metrics")).text
    check = 'method="GET",route="/api/v1/customers/{id}/entitlements/check"'
    assert f'headgate_http_requests_total{{{check},status="400"}} 3.0' in shown
    assert f"headgate_http_request_duration_seconds_count{{{check}}} 3.0" in shown
    assert 'headgate_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in shown
    assert "cus-1" not in shown


def test_methods_that_nobody_knows_make_no_series_of_their_own() -> None:
    metrics = Metrics()
    for method in ("BREW", "WHEN"):
        metrics.observe(method, "/x", 405, 0.001)
    assert b'headgate_http_requests_total{method="other",route="/x",status="405"} 2.0' in metrics.show()


def test_the_engines_counts_become_series_and_none_is_counted_twice() -> None:
    metrics = Metrics()
    metrics.take({"stale": 2, "decisions_granted": 5, "decisions_refused_BudgetExceeded": 3, "redis_errors": 0})
    metrics.take({"stale": 3, "decisions_granted": 5, "decisions_refused_BudgetExceeded": 4, "redis_errors": 1})
    shown = metrics.show().decode()
    assert 'headgate_retries_total{cause="stale"} 3.0' in shown
    assert 'headgate_decisions_total{outcome="granted",reason=""} 5.0' in shown
    assert 'headgate_decisions_total{outcome="refused",reason="BudgetExceeded"} 4.0' in shown
    assert "headgate_redis_errors_total 1.0" in shown


async def test_every_count_of_the_engine_has_a_series(api: Api) -> None:
    Metrics().take({name: count + 1 for name, count in api.engine.metrics.items()})


def test_what_the_server_software_logs_is_a_json_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logging.config.dictConfig(server_logging("warning"))
        logging.getLogger("_granian").warning("worker %d ended", 3)
        line = json.loads(capsys.readouterr().err)
    finally:
        root.handlers[:], root.level = before
        granian = logging.getLogger("_granian")
        granian.handlers.clear()
        granian.propagate = True
    assert (line["event"], line["level"]) == ("worker 3 ended", "warning")
