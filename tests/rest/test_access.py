"""Who may call what: keys, scopes, and what becomes of them while Redis is away."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr

from headgate.errors import Unavailable
from headgate.model.api_key import ApiKey, KeyScope
from headgate.rest import create_app
from headgate.rest.access import FULL, READ, RUNTIME, Caller
from headgate.rest.app import ROUTERS
from headgate.rest.doorkeeper import AGAIN_AFTER_MS, EVERYBODY, KNOWN_FOR_MS, Doorkeeper
from headgate.rest.problems import Refused
from headgate.rest.routes import unsupported
from headgate.service.logs import make_logger
from headgate.verbs.api_keys import verify
from rest.conftest import Api

CHECK = "/api/v1/customers/cus-acme/entitlements/check?featureId=tokens"
USAGE = {"usages": [{"customerId": "cus-acme", "featureId": "tokens", "value": 1}]}
TYPES = {"types": [{"id": "team", "displayName": "Team", "attributionKeys": ["teamId"]}]}
OWN_KEY = "a-key-from-the-environment"


def behind_keys(api: Api, *, open_without_keys: bool = False, own: str | None = None) -> httpx.AsyncClient:
    """A face of the same environment that asks for keys."""
    app = create_app(
        api.engine,
        api_key=None if own is None else SecretStr(own),
        open_without_keys=open_without_keys,
        deadline_ms=10_000,
        log=make_logger(file=io.StringIO()),
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost")


async def ask(client: httpx.AsyncClient, kind: str, key: str | None) -> tuple[int, str | None]:
    """Read, report or configure with a key; the status and the code of what was answered."""
    headers = {} if key is None else {"X-API-KEY": key}
    if kind == "read":
        response = await client.get(CHECK, headers=headers)
    elif kind == "runtime":
        response = await client.post("/api/v1/usage", json=USAGE, headers=headers)
    else:
        response = await client.put("/api/v1/entity-types", json=TYPES, headers=headers)
    return response.status_code, response.json().get("code")


@pytest.mark.parametrize("scope", KeyScope)
async def test_a_scope_allows_what_is_said_of_it_and_no_more(api: Api, scope: KeyScope) -> None:
    await api.engine.catalog.put_features([{"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    await api.engine.customers.put("cus-acme")
    _, key = await api.engine.api_keys.create("gateway", scope)
    allowed = {"read": {"read"}, "runtime": {"read", "runtime"}, "full": {"read", "runtime", "full"}}[scope]
    async with behind_keys(api) as client:
        for kind in ("read", "runtime", "full"):
            status, code = await ask(client, kind, key)
            assert (status in (200, 201)) is (kind in allowed), (kind, status)
            if kind not in allowed:
                assert (status, code) == (403, "AccessDenied")
    assert ("team" in await api.engine.catalog.entity_types()) is (scope is KeyScope.FULL)


@pytest.mark.parametrize("kind", ["read", "runtime", "full"])
@pytest.mark.parametrize("key", [None, "", "wrong", "hg_0123456789abcdef_" + "A" * 43, "x" * 5_000])
async def test_no_key_and_a_wrong_one_are_refused(api: Api, kind: str, key: str | None) -> None:
    await api.engine.api_keys.create("gateway", "full")
    async with behind_keys(api) as client:
        assert await ask(client, kind, key) == (401, "Unauthenticated")


async def test_a_key_with_another_secret_is_refused(api: Api) -> None:
    _, key = await api.engine.api_keys.create("gateway", "full")
    other = key[:-2] + ("AA" if not key.endswith("AA") else "BB")
    async with behind_keys(api) as client:
        assert await ask(client, "read", other) == (401, "Unauthenticated")
        assert (await ask(client, "full", key))[0] == 200


async def test_what_nobody_serves_is_not_told_to_strangers(api: Api) -> None:
    async with behind_keys(api) as client:
        assert (await client.get("/api/v1/nowhere")).status_code == 401


async def test_without_keys_the_door_is_shut_unless_it_was_allowed_to_be_open(api: Api) -> None:
    async with behind_keys(api) as shut, behind_keys(api, open_without_keys=True) as unlocked:
        assert await ask(shut, "full", None) == (401, "Unauthenticated")
        assert (await ask(unlocked, "full", None))[0] == 200


async def test_the_key_of_the_environment_may_do_everything_and_shuts_an_open_door(api: Api) -> None:
    async with behind_keys(api, open_without_keys=True, own=OWN_KEY) as client:
        assert (await ask(client, "full", OWN_KEY))[0] == 200
        for wrong in (None, OWN_KEY[:-1], OWN_KEY + "x"):
            assert await ask(client, "read", wrong) == (401, "Unauthenticated")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_pages_of_other_sites_are_not_let_in_by_a_door_without_keys(api: Api, headers: dict[str, str]) -> None:
    async with behind_keys(api, open_without_keys=True) as client:
        response = await client.post("/api/v1/customers/cus-acme/archive", headers=headers)
        assert (response.status_code, response.json()["code"]) == (403, "AccessDenied")
        local = {"Host": "127.0.0.1:8080", "Origin": "http://localhost:3000"}
        assert (await client.get(CHECK, headers=local)).json()["code"] == "EnvironmentNotReady", "it was let in"


async def test_a_check_that_holds_something_needs_the_scope_of_a_write(api: Api) -> None:
    _, key = await api.engine.api_keys.create("reader", "read")
    async with behind_keys(api) as client:
        response = await client.get(CHECK + "&reserveAmount=1&reservationId=r-1", headers={"X-API-KEY": key})
    assert (response.status_code, response.json()["code"]) == (403, "AccessDenied")


async def test_log_lines_tell_whose_key_it_was_and_never_the_key(api: Api) -> None:
    made, key = await api.engine.api_keys.create("gateway", "read")
    lines = io.StringIO()
    app = create_app(api.engine, api_key=SecretStr(OWN_KEY), deadline_ms=10_000, log=make_logger(file=lines))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        for shown in (key, OWN_KEY, "wrong-one"):
            await client.get(CHECK, headers={"X-API-KEY": shown})
    assert [json.loads(line)["key"] for line in lines.getvalue().splitlines()] == [made.id, "environment", None]
    for secret in (key, key.rpartition("_")[2], OWN_KEY, "wrong-one"):
        assert secret not in lines.getvalue()


def routes() -> Iterator[APIRoute]:
    for router in ROUTERS:
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def test_every_route_says_which_scope_it_needs() -> None:
    known = {each.dependency for each in (READ, RUNTIME, FULL)}
    found = list(routes())
    open_to_all = [route.path for route in found if not known & {each.dependency for each in route.dependencies}]
    assert open_to_all == []
    assert len(found) > 100


def test_what_writes_needs_more_than_the_scope_of_a_reader() -> None:
    for route in routes():
        needed = {each.dependency for each in route.dependencies}
        is_served = route not in unsupported.router.routes
        if is_served and route.methods != {"GET"}:
            assert READ.dependency not in needed, route.path
            assert needed & {RUNTIME.dependency, FULL.dependency}, route.path


class Keys:
    """Keys as they are stored, and how often they were read."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = list(keys)
        self.readings = 0
        self.is_away = False
        self.now_ms = 0.0

    async def read(self) -> list[ApiKey]:
        self.readings += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable("Redis is away")
        return list(self.keys)

    def doorkeeper(self, *, is_open_without_keys: bool = False) -> Doorkeeper:
        return Doorkeeper(
            self.read, is_open_without_keys=is_open_without_keys, now_ms=lambda: 0, elapsed_ms=lambda: self.now_ms
        )


async def made_key(api: Api, scope: str = "read") -> tuple[ApiKey, bytes]:
    key, text = await api.engine.api_keys.create("gateway", scope)
    return key, text.encode()


async def test_keys_are_read_every_5_seconds_at_most_and_a_revoked_one_works_no_longer(api: Api) -> None:
    key, text = await made_key(api)
    keys = Keys(key)
    door = keys.doorkeeper()
    assert await door.identify(text) == Caller(key.id, KeyScope.READ)
    keys.keys = [key.model_copy(update={"revoked_at_ms": 1})]
    keys.now_ms = KNOWN_FOR_MS - 1
    assert await door.identify(text) == Caller(key.id, KeyScope.READ)
    assert keys.readings == 1
    keys.now_ms = KNOWN_FOR_MS
    with pytest.raises(Refused, match="not known, or is revoked"):
        await door.identify(text)
    assert keys.readings == 2


async def test_many_who_knock_at_once_wait_for_one_reading(api: Api) -> None:
    key, text = await made_key(api)
    keys = Keys(key)
    door = keys.doorkeeper()
    assert len({await each for each in asyncio.as_completed([door.identify(text) for _ in range(50)])}) == 1
    assert keys.readings == 1


async def test_while_redis_is_away_the_last_known_keys_go_on(api: Api) -> None:
    key, text = await made_key(api)
    keys = Keys(key)
    door = keys.doorkeeper()
    await door.identify(text)
    keys.is_away = True
    keys.now_ms = KNOWN_FOR_MS * 100
    assert (await door.identify(text)).key == key.id
    assert (await door.identify(text)).key == key.id
    assert keys.readings == 2, "it asks again only after a while"
    keys.is_away = False
    keys.keys = []
    keys.now_ms += AGAIN_AFTER_MS
    with pytest.raises(Refused):
        await door.identify(text)


async def test_where_no_keys_were_ever_read_nobody_is_let_in_nor_called_unknown() -> None:
    keys = Keys()
    keys.is_away = True
    for door in (keys.doorkeeper(), keys.doorkeeper(is_open_without_keys=True)):
        with pytest.raises(Unavailable):
            await door.identify(b"any")


async def test_an_open_door_is_shut_by_the_first_key_and_stays_shut(api: Api) -> None:
    key, text = await made_key(api)
    keys = Keys()
    door = keys.doorkeeper(is_open_without_keys=True)
    assert await door.identify(None) is EVERYBODY
    keys.keys = [key]
    keys.now_ms = KNOWN_FOR_MS
    assert (await door.identify(text)).key == key.id
    with pytest.raises(Refused, match="X-API-KEY"):
        await door.identify(None)
    keys.keys = []
    keys.now_ms = KNOWN_FOR_MS * 2
    with pytest.raises(Refused):
        await door.identify(None)


async def test_a_former_secret_goes_on_for_its_grace_and_not_longer(api: Api) -> None:
    key, text = await made_key(api)
    after, new = await api.engine.api_keys.rotate(key.id, 60)
    until_ms = after.former_until_ms
    assert until_ms is not None
    assert verify([after], text.decode(), until_ms - 1) == after
    assert verify([after], text.decode(), until_ms) is None
    assert verify([after], new, until_ms) == after
