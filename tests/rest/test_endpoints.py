"""Every operation of the vendor's client is served, or answered by 501: none is unknown to the REST face.

`endpoints.txt` is the list of these operations: method, path, and what the client calls it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from headgate.rest.routes.unsupported import NOT_BUILT
from rest.conftest import Api

OPERATIONS = [
    (method, path)
    for method, path, *_ in (
        line.split() for line in (Path(__file__).parent / "endpoints.txt").read_text().splitlines()
    )
]
NAMELESS = {(each.method, re.sub(r"{\w+}", "{}", each.path)): each for each in NOT_BUILT}


def nameless(method: str, path: str) -> tuple[str, str]:
    """An operation without the names of its parameters, which are nobody's business but the route's."""
    return method, re.sub(r"{\w+}", "{}", path)


def test_the_list_has_every_operation_once() -> None:
    assert len({nameless(*operation) for operation in OPERATIONS}) == len(OPERATIONS) == 123


def test_what_is_not_built_is_in_the_list_and_there_once() -> None:
    assert len(NAMELESS) == len(NOT_BUILT)
    assert NAMELESS.keys() <= {nameless(*operation) for operation in OPERATIONS}
    assert len({each.operation_id for each in NOT_BUILT}) == len(NOT_BUILT)


@pytest.fixture
async def environment(api: Api) -> Api:
    """A face of an environment that is there."""
    await api.engine.catalog.put_features([{"id": "sso", "feature_type": "BOOLEAN"}])
    return api


async def test_every_operation_is_served_or_says_that_it_is_not_built(environment: Api) -> None:
    unknown, wrong = [], []
    for method, path in OPERATIONS:
        url = re.sub(r"{\w+}", "nobody", path)
        answer = await environment.client.request(method, url, json={} if method in ("POST", "PUT", "PATCH") else None)
        code = answer.json()["code"] if answer.status_code >= 400 else None
        if code in ("RouteNotFound", "MethodNotAllowed"):
            unknown.append(f"{method} {path}")
        if (answer.status_code == 501) != (nameless(method, path) in NAMELESS) or answer.status_code in (500, 503):
            wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
    assert (unknown, wrong) == ([], [])


async def test_what_is_not_built_says_so_and_is_not_sent_again(environment: Api) -> None:
    for each in NOT_BUILT:
        url = each.path.replace("{", "").replace("}", "")
        answer = await environment.client.request(each.method, url)
        expected = {"message": f"{each.method} {url} is not built: {each.why}", "code": "NotSupported"}
        assert (answer.status_code, answer.json()) == (501, expected)
        assert answer.headers["x-should-retry"] == "false"


async def test_every_operation_is_documented_with_its_parameters(environment: Api) -> None:
    documented: dict[tuple[str, str], Any] = {}
    for path, methods in (await environment.get("/openapi.json"))["paths"].items():
        for method, operation in methods.items():
            documented[nameless(method.upper(), path)] = operation
            named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), (method, path)
    for operation in OPERATIONS:
        responses = set(documented[nameless(*operation)]["responses"])
        is_built = nameless(*operation) not in NAMELESS
        assert responses & {"200", "201", "501"} == ({"200"} & responses or {"201"} if is_built else {"501"}), operation
