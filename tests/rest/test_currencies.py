"""Currencies over REST: created once, changed by what is given, and which plans and add-ons name one."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import BASIC, COINS, CREDITS, MORE_CREDITS, PRO, found_shop
from behaviour.world import TOKENS
from rest.conftest import Api
from rest.failing import unchanged
from rest.governed import START, every_page

PATH = "/api/v1/credits/custom-currencies"
LATER = "2026-03-10T12:01:00Z"
STARS = {
    "id": "currency-stars",
    "displayName": "Stars",
    "description": "What shines",
    "symbol": "*",
    "units": {"singular": "star", "plural": "stars"},
    "metadata": {"a": "b"},
}
SHOWN = {**STARS, "createdAt": START, "updatedAt": START, "archivedAt": None}


@pytest.fixture(autouse=True)
async def shop(api: Api) -> None:
    """An environment with two currencies, and with plans and add-ons that give credits."""
    await found_shop(api.engine)


async def create(api: Api, **fields: Any) -> Any:
    return (await api.send("POST", PATH, {**STARS, **fields}, status=201))["data"]


async def test_a_currency_is_shown_as_it_was_created(api: Api) -> None:
    assert await create(api) == SHOWN
    assert SHOWN in (await api.get(PATH))["data"]
    stored = (await api.engine.catalog.currencies())["currency-stars"]
    assert (stored.symbol, stored.unit_singular, stored.unit_plural) == ("*", "star", "stars")


async def test_what_is_not_said_of_a_currency_is_nothing(api: Api) -> None:
    bare = await api.send("POST", PATH, {"id": "bare", "displayName": "Bare"}, status=201)
    nothing = {"description": None, "symbol": None, "units": None, "metadata": {}}
    assert bare["data"] == {**SHOWN, "id": "bare", "displayName": "Bare", **nothing}


async def test_creating_a_currency_again_answers_the_same_and_another_under_its_id_is_a_conflict(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    assert await create(api) == SHOWN
    for other in ({"displayName": "Suns"}, {"units": {"singular": "sun", "plural": "suns"}}):
        answer = await unchanged(api, lambda other=other: api.send("POST", PATH, {**STARS, **other}, status=409))
        assert answer["code"] == "DuplicatedEntityNotAllowed"


@pytest.mark.parametrize(
    ("sent", "after"),
    [
        ({"displayName": "Suns"}, {"displayName": "Suns"}),
        ({"description": None, "symbol": ""}, {"description": None, "symbol": None}),
        ({"units": {"singular": "sun", "plural": "suns"}}, {"units": {"singular": "sun", "plural": "suns"}}),
        ({"metadata": {"c": "d"}}, {"metadata": {"c": "d"}}),
        ({"metadata": None}, {"metadata": {}}),
    ],
)
async def test_what_is_given_of_a_currency_is_changed_and_the_rest_stays(
    api: Api, sent: dict[str, Any], after: dict[str, Any]
) -> None:
    await create(api)
    api.clock.advance(60_000)
    answer = await api.send("PATCH", f"{PATH}/currency-stars", sent)
    assert answer == {"data": {**SHOWN, **after, "updatedAt": LATER}}


async def test_a_change_keeps_what_another_writer_changed_meanwhile(api: Api) -> None:
    await create(api)
    other = api.target.open_blocking()
    theirs = {"id": "currency-stars", "display_name": "Stars", "description": "theirs"}
    api.target.before("write_catalog", lambda: other.catalog.put_currencies([theirs]))
    changed = (await api.send("PATCH", f"{PATH}/currency-stars", {"symbol": "+"}))["data"]
    assert (changed["symbol"], changed["description"]) == ("+", "theirs")


async def test_currencies_are_paged_by_their_ids_and_none_is_archived(api: Api) -> None:
    assert [each["id"] for each in await every_page(api, PATH, limit=1)] == [COINS, CREDITS]
    for query, count in (("ACTIVE", 2), ("ACTIVE,ARCHIVED", 2), ("ARCHIVED", 0)):
        assert len((await api.get(f"{PATH}?status={query}"))["data"]) == count


async def test_plans_and_add_ons_that_give_a_currency_or_cost_it_are_associated_with_it(api: Api) -> None:
    path = f"{PATH}/{CREDITS}/associated-entities"
    pro = {"id": PRO, "displayName": "", "type": "Plan"}
    more = {"id": MORE_CREDITS, "displayName": "", "type": "Addon"}
    assert await api.get(path) == {"data": [pro, more]}
    assert await api.get(f"{PATH}/{COINS}/associated-entities") == {"data": []}
    paid = {"feature": TOKENS, "has_unlimited_usage": True, "credit_rate": {"currency": COINS, "amount": 0.5}}
    await api.engine.catalog.put_plans([{"id": BASIC, "display_name": "Basic", "entitlements": [paid]}])
    basic = {"id": BASIC, "displayName": "Basic", "type": "Plan"}
    assert await api.get(f"{PATH}/{COINS}/associated-entities") == {"data": [basic]}


BAD_BODIES: dict[str, tuple[str, str, Any, str]] = {
    "no id": ("POST", PATH, {"displayName": "x"}, "id: is required"),
    "no name": ("POST", PATH, {"id": "x"}, "displayName: is required"),
    "a name that is null": ("POST", PATH, {"id": "x", "displayName": None}, "displayName"),
    "half of the units": ("POST", PATH, {**STARS, "units": {"singular": "star"}}, "units.plural: is required"),
    "an unknown field": ("POST", PATH, {**STARS, "rate": 1}, "rate: 1: unknown field"),
    "metadata of numbers": ("POST", PATH, {**STARS, "metadata": {"a": 1}}, "metadata.a"),
    "an id that is none": ("POST", PATH, {**STARS, "id": "a:b"}, "id: 'a:b'"),
    "a change of the id": ("PATCH", f"{PATH}/{CREDITS}", {"id": "x"}, "id: 'x': unknown field"),
    "a name that is a number": ("PATCH", f"{PATH}/{CREDITS}", {"displayName": 7}, "displayName: 7"),
    "a bad id": ("PATCH", f"{PATH}/a%20b", {}, "a b"),
}


@pytest.mark.parametrize("case", BAD_BODIES.values(), ids=list(BAD_BODIES))
async def test_bad_input_changes_nothing(api: Api, case: tuple[str, str, Any, str]) -> None:
    method, path, body, told = case
    answer = await unchanged(api, lambda: api.send(method, path, body, status=400))
    assert answer["code"] == "BadUserInput"
    assert told in answer["message"]


@pytest.mark.parametrize("query", ["status=OLD", "name=x", "limit=none"])
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    answer = await api.get(f"{PATH}?{query}", status=400)
    assert (answer["code"], query.partition("=")[0] in answer["message"]) == ("BadUserInput", True)


@pytest.mark.parametrize(("method", "path"), [("PATCH", ""), ("GET", "/associated-entities")])
async def test_an_unknown_currency_is_404(api: Api, method: str, path: str) -> None:
    body = {"displayName": "x"} if method == "PATCH" else None
    answer = await unchanged(api, lambda: api.send(method, f"{PATH}/nothing{path}", body, status=404))
    assert answer["code"] == "CurrencyNotFound"
