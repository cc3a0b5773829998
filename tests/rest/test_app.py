"""The application as a whole: errors in one form, what may be sent again, health, and shortcuts."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from openapi_spec_validator import validate

from headgate import AsyncHeadgate, errors
from headgate.errors import BatchIncomplete, CatalogNotEverywhere, Conflict, OutcomeUnknown, Unavailable
from headgate.rest import create_app
from headgate.rest.access import READ
from headgate.rest.engine import Engine
from headgate.rest.problems import BODY, STATUSES, of_engine, status_of
from headgate.rest.routes import checks
from headgate.rest.shortcuts import Shortcut
from rest.conftest import Api

CHECK = "/api/v1/customers/cus-acme/entitlements/check"
UNKNOWN = OutcomeUnknown("report was sent and its reply never came")
AWAY = Unavailable("no answer within the deadline")
KEYED = {"usages": [{"idempotencyKey": "k-1"}, {"idempotencyKey": "k-2"}]}
HALF_KEYED = {"usages": [{"idempotencyKey": "k-1"}, {"value": 1}]}


async def test_what_nobody_serves_is_an_error_in_the_form_of_all_errors(api: Api) -> None:
    answer = await api.get("/api/v1/nowhere", status=404)
    assert answer == {"message": "GET /api/v1/nowhere: Not Found", "code": "RouteNotFound"}


async def test_a_method_that_a_path_does_not_have_is_one_too(api: Api) -> None:
    response = await api.client.request("DELETE", CHECK)
    assert (response.status_code, response.json()["code"]) == (405, "MethodNotAllowed")


@pytest.mark.parametrize("path", ["/api/v1/usage", "/api/v1/entity-types"])
@pytest.mark.parametrize("body", [b"{", b"[", b"nonsense", b"\xff\xfe", b'{"a": 01}', b"1" * 5_000, b'{"a": }'])
async def test_what_is_no_json_is_refused_and_the_place_told(api: Api, path: str, body: bytes) -> None:
    method = "POST" if path.endswith("usage") else "PUT"
    response = await api.client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["code"] == "BadUserInput"


async def test_json_that_breaks_off_is_told_where(api: Api) -> None:
    headers = {"content-type": "application/json"}
    response = await api.client.post("/api/v1/usage", content=b'{"usages": [', headers=headers)
    assert response.json()["message"] == "body: is not JSON: Expecting value at character 12"


async def test_every_field_that_is_wrong_is_named_with_its_value_and_rule(api: Api) -> None:
    body = {"types": [{"id": "no id", "attributionKeys": [], "color": "red"}]}
    answer = await api.send("PUT", "/api/v1/entity-types", body, status=400)
    problems = answer["message"].split("; ")
    assert any(each.startswith("types[0].id: 'no id': ") for each in problems)
    assert "types[0].displayName: is required" in problems
    assert "types[0].color: 'red': unknown field" in problems
    assert await api.get("/api/v1/entity-types", status=503) is not None, "nothing was made of it"


@pytest.mark.parametrize("kind", STATUSES)
def test_every_error_of_the_engine_has_a_status_of_the_contract(kind: type[errors.HeadgateError]) -> None:
    assert STATUSES[kind] in (400, 404, 409, 500, 503)


def answered(error: errors.HeadgateError, *, path: str = "/api/v1/usage", query: bytes = b"", body: Any = None) -> Any:
    """The status of an error, and whether it may be sent again."""
    scope = {"path": path, "query_string": query} | ({} if body is None else {BODY: json.dumps(body).encode()})
    response = of_engine(error, scope)
    retry = response.headers.get("x-should-retry")
    assert retry in (None, "false")
    return response.status_code, retry is None


@pytest.mark.parametrize(
    ("error", "request_", "expected"),
    [
        (AWAY, {"path": CHECK}, (503, False)),
        (AWAY, {"path": CHECK.replace("v1", "v1-beta")}, (503, False)),
        (AWAY, {"path": CHECK, "query": b"reserveAmount=1&reservationId=r-1"}, (503, False)),
        (AWAY, {"body": HALF_KEYED}, (503, True)),  # certainly nothing was counted
        (AWAY, {"path": "/api/v1/features"}, (503, True)),
        (Conflict("it is archived"), {"body": KEYED}, (409, False)),
        (errors.ConfigurationKeepsChanging("others"), {"path": CHECK}, (409, False)),
        (errors.NotFound("feature", "f"), {}, (404, True)),
        (errors.InvalidInput.of("a", 1, "no"), {}, (400, True)),
        (UNKNOWN, {"body": KEYED}, (500, True)),
        (UNKNOWN, {"body": HALF_KEYED}, (500, False)),
        (UNKNOWN, {"body": {"usages": []}}, (500, False)),
        (UNKNOWN, {"body": {"usages": [{"idempotencyKey": None}]}}, (500, False)),
        (UNKNOWN, {"body": {"usages": "text"}}, (500, False)),
        (UNKNOWN, {"body": [1]}, (500, False)),
        (UNKNOWN, {}, (500, False)),
        (UNKNOWN, {"body": {"idempotencyKey": "k", "amount": 1}}, (500, True)),
        (UNKNOWN, {"body": {"consumptions": [{"idempotencyKey": "k"}]}}, (500, True)),
        (UNKNOWN, {"path": CHECK, "query": b"reserveAmount=1&reservationId=r-1"}, (500, True)),
        (UNKNOWN, {"path": CHECK, "query": b"reserveAmount=1"}, (500, False)),
        (UNKNOWN, {"path": "/api/v1/credits/reservations/r-1/release", "body": {"consumedAmount": 1}}, (500, True)),
        (CatalogNotEverywhere([3], "away"), {"path": "/api/v1/features", "body": {"id": "f"}}, (503, False)),
        (BatchIncomplete(["applied", "unknown"], [], UNKNOWN), {"body": HALF_KEYED}, (500, False)),
        (BatchIncomplete(["applied", "unknown"], [], UNKNOWN), {"body": KEYED}, (500, True)),
        (BatchIncomplete(["applied", "not applied"], [], AWAY), {"body": HALF_KEYED}, (503, False)),
        (BatchIncomplete(["applied", "not applied"], [], AWAY), {"body": KEYED}, (503, True)),
        (BatchIncomplete(["applied", "not applied"], [], errors.OutOfRange("sum")), {"body": HALF_KEYED}, (400, False)),
        (errors.HeadgateError("some other"), {}, (500, False)),
    ],
)
def test_what_may_be_sent_again_is_what_does_no_harm(error: Any, request_: Any, expected: tuple[int, bool]) -> None:
    assert answered(error, **request_) == expected


def test_a_batch_that_went_wrong_says_what_became_of_each_record() -> None:
    error = BatchIncomplete(["applied", "not applied"], [], AWAY)
    answer = json.loads(bytes(of_engine(error, {"path": "/api/v1/usage", "query_string": b""}).body))
    assert answer["outcomes"] == ["applied", "not applied"]
    assert (answer["code"], answer["cause"]) == ("BatchIncomplete", "Unavailable")
    assert status_of(error) == 503


async def test_a_process_is_alive_whatever_redis_does(api: Api) -> None:
    assert await api.get("/livez") == {"status": "ok", "reasons": []}


async def test_a_fresh_environment_is_ready_so_that_it_can_be_set_up(api: Api) -> None:
    assert await api.get("/readyz") == {"status": "ok", "reasons": []}


async def test_an_environment_of_another_clock_is_not_ready_and_says_why(api: Api) -> None:
    await api.engine.catalog.put_features([{"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    async with AsyncHeadgate.connect(api.target.url, environment=api.target.environment) as other:
        app = create_app(other, open_without_keys=True, deadline_ms=10_000)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
            response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert "clock" in response.json()["reasons"][0]


async def test_the_openapi_page_is_valid_and_names_each_operation_once(api: Api) -> None:
    page = await api.get("/openapi.json")
    validate(page)
    names = [operation["operationId"] for path in page["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
    problem = page["components"]["schemas"]["Problem"]
    assert set(problem["properties"]) == {"message", "code"}
    refused = page["paths"][CHECK.replace("cus-acme", "{id}")]["get"]["responses"]["503"]["content"]
    assert refused["application/json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


async def test_a_shortcut_answers_as_the_route_does(api: Api) -> None:
    await api.engine.catalog.put_features([{"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    await api.engine.customers.put("cus-acme")
    whole = create_app(api.engine, open_without_keys=True, deadline_ms=10_000)
    plain = create_app(api.engine, open_without_keys=True, deadline_ms=10_000)
    plain.user_middleware = [each for each in plain.user_middleware if each.kwargs.get("routes") is None]
    assert len(plain.user_middleware) == len(whole.user_middleware) - 1
    seen = []
    for app in (whole, plain):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
            for path in (CHECK, CHECK.replace("v1", "v1-beta"), CHECK.replace("cus-acme", "cus-%C3%A4")):
                for query in ("featureId=tokens", "featureId=none", "", "featureId=tokens&unknown=1"):
                    response = await client.get(f"{path}?{query}")
                    seen.append((response.status_code, response.json()))
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
    assert {status for status, _ in seen} == {200, 400}


def test_a_route_that_needs_more_than_a_shortcut_gives_cannot_have_one() -> None:
    router = APIRouter()

    @router.get("/things/{id}", dependencies=[READ])
    async def read_thing(request: Any, engine: Engine, id: str, limit: int = 1) -> None:
        """Read a thing."""

    with pytest.raises(AssertionError, match="takes"):
        Shortcut.of(router.routes[0])  # type: ignore[arg-type]


def test_both_spellings_of_the_check_have_one() -> None:
    found = [each.path for each in checks.router.routes if getattr(each, "name", "") == "check_entitlement"]
    assert sorted(found) == [
        "/api/v1-beta/customers/{id}/entitlements/check",
        "/api/v1/customers/{id}/entitlements/check",
    ]


async def test_what_has_to_be_written_first_is_not_asked_for_again(api: Api) -> None:
    response = await api.client.get("/api/v1/features")
    assert (response.status_code, response.json()["code"]) == (503, "EnvironmentNotReady")
    assert "POST /api/v1/features" in response.json()["message"]
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "record",
    [
        '{"customerId": "cus-acme", "featureId": "tokens", "value": 5, "value": 0}',
        '{"customerId": "cus-acme", "featureId": "tokens", "value": 5, "dimensions": {"teamId": "a", "teamId": "b"}}',
    ],
)
async def test_a_name_that_is_there_twice_is_refused_and_not_guessed(api: Api, record: str) -> None:
    headers = {"content-type": "application/json"}
    response = await api.client.post("/api/v1/usage", content=f'{{"usages": [{record}]}}', headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "BadUserInput")
    assert "more than once" in response.json()["message"]
