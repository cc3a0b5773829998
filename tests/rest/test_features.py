"""Features over REST: created once, changed by what is given, with the names that people read for enum values."""

from __future__ import annotations

from typing import Any

import pytest

from headgate import Policy
from rest.conftest import Api
from rest.failing import unchanged
from rest.governed import START, every_page

PATH = "/api/v1/features"
LATER = "2026-03-10T12:01:00Z"
SEATS = {
    "id": "feature-seats",
    "displayName": "Seats",
    "description": "Who may log in",
    "featureType": "NUMBER",
    "meterType": "FLUCTUATING",
    "featureStatus": "NEW",
    "featureUnits": "seat",
    "featureUnitsPlural": "seats",
    "metadata": {"a": "b"},
}
SHOWN = {
    **SEATS,
    "enumConfiguration": None,
    "meter": None,
    "unitTransformation": None,
    "createdAt": START,
    "updatedAt": START,
}
SSO = {"id": "feature-sso", "displayName": "SSO", "featureType": "BOOLEAN"}
VALUES = [{"value": "eu", "displayName": "Europe"}, {"value": "us", "displayName": "us"}]
REGIONS = {"id": "feature-regions", "displayName": "Regions", "featureType": "ENUM", "enumConfiguration": VALUES}
METER = {"aggregation": {"function": "SUM", "field": "tokens"}, "filters": []}
TRANSFORMATION = {"divide": 1000, "round": "UP"}


@pytest.fixture(autouse=True)
async def catalog(api: Api) -> None:
    """An environment with one feature."""
    await api.engine.catalog.put_features([{"id": "feature-first", "feature_type": "BOOLEAN"}])


async def create(api: Api, body: dict[str, Any] = SEATS, **fields: Any) -> Any:
    return (await api.send("POST", PATH, {**body, **fields}, status=201))["data"]


async def test_a_feature_is_shown_as_it_was_created(api: Api) -> None:
    assert await create(api, meter=None, unitTransformation=None) == SHOWN
    assert await api.get(f"{PATH}/feature-seats") == {"data": SHOWN}
    stored = (await api.engine.catalog.features())["feature-seats"]
    assert (stored.meter_type, stored.units, stored.status) == ("FLUCTUATING", "seat", "NEW")


async def test_what_is_not_said_of_a_feature_is_nothing(api: Api) -> None:
    nothing = {"description": None, "featureUnits": None, "featureUnitsPlural": None, "metadata": {}}
    expected = {**SHOWN, **SSO, **nothing, "meterType": "None", "featureStatus": "ACTIVE"}
    assert await create(api, SSO) == expected


async def test_an_enum_feature_keeps_the_names_of_its_values(api: Api) -> None:
    assert (await create(api, REGIONS))["enumConfiguration"] == VALUES
    assert (await api.engine.catalog.features())["feature-regions"].enum_values == ("eu", "us")
    after = [{"value": "us", "displayName": "America"}, {"value": "asia", "displayName": "asia"}]
    changed = await api.send("PATCH", f"{PATH}/feature-regions", {"enumConfiguration": after})
    assert changed["data"]["enumConfiguration"] == after
    assert (await api.engine.catalog.features())["feature-regions"].enum_values == ("us", "asia")


async def test_a_policy_that_does_not_say_the_names_of_values_leaves_them(api: Api) -> None:
    await create(api, REGIONS)
    regions = {"type": "ENUM", "values": ["eu", "us", "asia"]}
    await api.engine.apply(Policy.parse({"features": {"feature-regions": regions}}))
    shown = (await api.get(f"{PATH}/feature-regions"))["data"]["enumConfiguration"]
    assert shown == [*VALUES, {"value": "asia", "displayName": "asia"}]


async def test_creating_a_feature_again_answers_the_same_and_another_under_its_id_is_a_conflict(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    assert await create(api) == SHOWN
    for other in ({"displayName": "Chairs"}, {"metadata": {}}, {"meterType": "INCREMENTAL"}):
        answer = await unchanged(api, lambda other=other: api.send("POST", PATH, {**SEATS, **other}, status=409))
        assert answer["code"] == "DuplicatedEntityNotAllowed"


async def test_of_two_that_create_different_features_at_once_one_is_refused(api: Api) -> None:
    other = api.target.open_blocking()
    theirs = {"id": "feature-sso", "feature_type": "BOOLEAN", "display_name": "theirs"}
    api.target.before("write_catalog", lambda: other.catalog.put_features([theirs]))
    await api.send("POST", PATH, SSO, status=409)
    assert (await api.engine.catalog.features())["feature-sso"].display_name == "theirs"


@pytest.mark.parametrize(
    ("sent", "after"),
    [
        ({"displayName": "Chairs"}, {}),
        ({"description": ""}, {"description": None}),
        ({"featureUnits": "chair", "featureUnitsPlural": "chairs"}, {}),
        ({"metadata": {"c": "d"}}, {}),
        ({"meter": None, "unitTransformation": None, "metadata": {}}, {}),
    ],
)
async def test_what_is_given_of_a_feature_is_changed_and_the_rest_stays(
    api: Api, sent: dict[str, Any], after: dict[str, Any]
) -> None:
    await create(api)
    api.clock.advance(60_000)
    answer = await api.send("PATCH", f"{PATH}/feature-seats", sent)
    assert answer == {"data": {**SHOWN, **sent, **after, "updatedAt": LATER}}
    assert await api.get(f"{PATH}/feature-seats") == answer


async def test_a_change_that_says_nothing_changes_nothing(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    assert await unchanged(api, lambda: api.send("PATCH", f"{PATH}/feature-seats", {})) == {"data": SHOWN}


async def test_a_change_keeps_what_another_writer_changed_meanwhile(api: Api) -> None:
    await create(api)
    other = api.target.open_blocking()
    theirs = {"id": "feature-seats", "feature_type": "NUMBER", "meter_type": "FLUCTUATING", "description": "theirs"}
    api.target.before("write_catalog", lambda: other.catalog.put_features([theirs]))
    changed = (await api.send("PATCH", f"{PATH}/feature-seats", {"displayName": "Chairs"}))["data"]
    assert (changed["displayName"], changed["description"]) == ("Chairs", "theirs")


async def test_features_are_paged_by_their_ids_and_filtered(api: Api) -> None:
    api.clock.advance(60_000)
    for body in (SEATS, SSO, REGIONS):
        await create(api, body)

    async def found(**query: Any) -> list[str]:
        return [each["id"] for each in await every_page(api, PATH, limit=1, **query)]

    assert await found() == ["feature-first", "feature-regions", "feature-seats", "feature-sso"]
    assert await found(id="feature-sso") == ["feature-sso"]
    assert await found(featureType="ENUM,NUMBER") == ["feature-regions", "feature-seats"]
    assert await found(featureType=["ENUM", "NUMBER"], meterType="None") == ["feature-regions"]
    assert [each["id"] for each in (await api.get(f"{PATH}?status=NEW"))["data"]] == ["feature-seats"]
    assert await found(**{"createdAt[gte]": LATER}) == ["feature-regions", "feature-seats", "feature-sso"]
    assert await found(**{"createdAt[lt]": LATER}) == ["feature-first"]


FIRST = f"{PATH}/feature-first"
BAD_BODIES: dict[str, tuple[str, str, Any, str]] = {
    "no id": ("POST", PATH, {"displayName": "x", "featureType": "BOOLEAN"}, "id: is required"),
    "no name": ("POST", PATH, {"id": "x", "featureType": "BOOLEAN"}, "displayName: is required"),
    "no type": ("POST", PATH, {"id": "x", "displayName": "x"}, "featureType: is required"),
    "an unknown type": ("POST", PATH, {**SSO, "featureType": "FLAG"}, "featureType: 'FLAG'"),
    "an unknown status": ("POST", PATH, {**SSO, "featureStatus": "OLD"}, "featureStatus: 'OLD'"),
    "the engine's own word": ("POST", PATH, {**SEATS, "meterType": "NONE"}, "meterType: 'NONE'"),
    "a metered switch": ("POST", PATH, {**SSO, "meterType": "INCREMENTAL"}, "only a feature of type NUMBER"),
    "values of a switch": ("POST", PATH, {**SSO, "enumConfiguration": VALUES}, "only a feature of type ENUM"),
    "a value twice": ("POST", PATH, {**REGIONS, "enumConfiguration": VALUES[:1] * 2}, "enumConfiguration"),
    "a value without a name": ("POST", PATH, {**REGIONS, "enumConfiguration": [{"value": "eu"}]}, "displayName"),
    "an unknown field": ("POST", PATH, {**SSO, "color": "red"}, "color: 'red': unknown field"),
    "a description that is null": ("POST", PATH, {**SSO, "description": None}, "description"),
    "a change of the type": ("PATCH", FIRST, {"featureType": "NUMBER"}, "featureType: 'NUMBER': unknown field"),
    "a name that is a number": ("PATCH", FIRST, {"displayName": 7}, "displayName: 7"),
    "a change to values": ("PATCH", FIRST, {"enumConfiguration": VALUES}, "only a feature of type ENUM"),
    "a bad id": ("PATCH", f"{PATH}/a%20b", {}, "id: 'a b'"),
}


@pytest.mark.parametrize("case", BAD_BODIES.values(), ids=list(BAD_BODIES))
async def test_bad_input_changes_nothing(api: Api, case: tuple[str, str, Any, str]) -> None:
    method, path, body, told = case
    answer = await unchanged(api, lambda: api.send(method, path, body, status=400))
    assert answer["code"] == "BadUserInput"
    assert told in answer["message"]


@pytest.mark.parametrize(("name", "value"), [("meter", METER), ("unitTransformation", TRANSFORMATION)])
async def test_meters_of_events_and_transformations_are_refused_by_name(api: Api, name: str, value: Any) -> None:
    created = await unchanged(api, lambda: api.send("POST", PATH, {**SEATS, name: value}, status=400))
    changed = await unchanged(api, lambda: api.send("PATCH", FIRST, {name: value}, status=400))
    for answer in (created, changed):
        assert (answer["code"], answer["message"].partition(":")[0]) == ("NotSupported", name)


@pytest.mark.parametrize(
    "query", ["featureType=FLAG", "meterType=NONE", "status=OLD", "id=a%20b", "name=x", "createdAt[gt]=soon"]
)
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    answer = await api.get(f"{PATH}?{query}", status=400)
    assert (answer["code"], query.partition("=")[0] in answer["message"]) == ("BadUserInput", True)


@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PATCH", {"displayName": "x"})])
async def test_an_unknown_feature_is_404(api: Api, method: str, body: Any) -> None:
    answer = await unchanged(api, lambda: api.send(method, f"{PATH}/nothing", body, status=404))
    assert answer["code"] == "FeatureNotFound"


@pytest.mark.parametrize("first", ["features", "credits/custom-currencies"])
async def test_a_feature_and_a_currency_share_no_id(api: Api, first: str) -> None:
    bodies = {
        "features": {"id": "same", "displayName": "Same", "featureType": "NUMBER", "meterType": "INCREMENTAL"},
        "credits/custom-currencies": {"id": "same", "displayName": "Same"},
    }
    second = next(each for each in bodies if each != first)
    await api.send("POST", f"/api/v1/{first}", bodies[first], status=201)
    before = api.target.dump()
    answer = await api.send("POST", f"/api/v1/{second}", bodies[second], status=409)
    assert answer["code"] == "DuplicatedEntityNotAllowed"
    assert api.target.dump() == before
