"""Entity types and entities over REST: both spellings, paging, patches, archiving, and input that changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rest.conftest import NOW_MS, Api
from rest.governed import (
    ASSIGNMENTS,
    CUSTOMER,
    ENTITIES,
    START,
    TREES,
    TYPES,
    budget,
    every_page,
    put_entities,
    set_up,
)

TYPE = {"id": "team", "displayName": "Team", "attributionKeys": ["teamId"]}
LATER = "2026-03-10T12:01:00Z"


def without(entity: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entity.items() if name not in names}


@pytest.mark.parametrize("path", TYPES)
async def test_an_entity_type_is_shown_as_it_was_written(api: Api, path: str) -> None:
    body = {"types": [{**TYPE, "description": "A team"}, {"id": "org", "displayName": "Org", "attributionKeys": []}]}
    written = await api.send("PUT", path, body)
    team = {**TYPE, "description": "A team", "createdAt": START, "updatedAt": START}
    org: dict[str, Any] = {"id": "org", "displayName": "Org", "attributionKeys": [], "description": None}
    assert written == {"data": [team, {**org, "createdAt": START, "updatedAt": START}]}
    listed = await api.get(path)
    assert listed == {"data": written["data"][::-1], "pagination": {"next": None, "prev": None}}


@pytest.mark.parametrize(
    ("sent", "description"),
    [({}, "A team"), ({"description": ""}, None), ({"description": None}, None), ({"description": "Two"}, "Two")],
)
async def test_a_description_stays_until_it_is_changed_or_cleared(
    api: Api, sent: dict[str, Any], description: str | None
) -> None:
    await api.send("PUT", TYPES[0], {"types": [{**TYPE, "description": "A team"}]})
    api.clock.advance(60_000)
    changed = {**TYPE, "displayName": "Crew", "attributionKeys": ["crewId", "teamId"]}
    written = await api.send("PUT", TYPES[0], {"types": [{**changed, **sent}]})
    assert written["data"] == [{**changed, "description": description, "createdAt": START, "updatedAt": LATER}]
    assert (await api.get(TYPES[1]))["data"] == written["data"]


async def test_a_description_that_is_left_out_stays_what_another_writer_made_it_meanwhile(api: Api) -> None:
    await api.send("PUT", TYPES[0], {"types": [TYPE]})
    other = api.target.open_blocking()
    theirs = {"id": "team", "display_name": "Team", "attribution_keys": ["teamId"], "description": "theirs"}
    api.target.before("write_catalog", lambda: other.catalog.put_entity_types([theirs]))
    written = await api.send("PUT", TYPES[0], {"types": [{**TYPE, "displayName": "Crew"}]})
    assert [(each["displayName"], each["description"]) for each in written["data"]] == [("Crew", "theirs")]


async def test_entity_types_are_paged_by_their_ids(api: Api) -> None:
    types = [{"id": f"type-{index}", "displayName": "", "attributionKeys": []} for index in range(5)]
    await api.send("PUT", TYPES[0], {"types": types})
    first = await api.get(TYPES[1], limit=2)
    assert [each["id"] for each in first["data"]] == ["type-0", "type-1"]
    second = await api.get(TYPES[1], limit=2, after=first["pagination"]["next"])
    assert [each["id"] for each in second["data"]] == ["type-2", "type-3"]
    back = await api.get(TYPES[1], limit=2, before=second["pagination"]["prev"])
    assert back["data"] == first["data"]


BAD_TYPES = {
    "no types": {"types": []},
    "too many": {"types": [{**TYPE, "id": f"type-{index}"} for index in range(101)]},
    "no id": {"types": [without(TYPE, "id")]},
    "an id that is none": {"types": [{**TYPE, "id": "a:b"}]},
    "no name": {"types": [without(TYPE, "displayName")]},
    "no keys": {"types": [without(TYPE, "attributionKeys")]},
    "three keys": {"types": [{**TYPE, "attributionKeys": ["a", "b", "c"]}]},
    "a key twice": {"types": [{**TYPE, "attributionKeys": ["a", "a"]}]},
    "an empty key": {"types": [{**TYPE, "attributionKeys": [""]}]},
    "a number as name": {"types": [{**TYPE, "displayName": 7}]},
    "an unknown field": {"types": [{**TYPE, "parentTypeId": "org"}]},
    "one of two is bad": {"types": [{**TYPE, "id": "fine"}, {**TYPE, "id": ""}]},
    "a type twice": {"types": [TYPE, TYPE]},
    "no list": {"types": TYPE},
    "nothing": {},
    "null": None,
}


@pytest.mark.parametrize("case", BAD_TYPES)
async def test_bad_entity_types_change_nothing(api: Api, case: str) -> None:
    await api.send("PUT", TYPES[0], {"types": [{**TYPE, "displayName": "Before"}]})
    before = api.target.dump()
    for path in TYPES:
        assert (await api.send("PUT", path, BAD_TYPES[case], status=400))["code"] == "BadUserInput"
    assert api.target.dump() == before


async def test_an_error_of_the_engine_names_the_field_of_the_wire(api: Api) -> None:
    body = {"types": [{**TYPE, "attributionKeys": ["a", "a"]}]}
    answer = await api.send("PUT", TYPES[0], body, status=400)
    assert answer["message"].startswith("types[0].attributionKeys: ")
    await set_up(api)
    answer = await api.send("PUT", ENTITIES[0], {"entities": [{"id": "team-eng", "entityTypeId": "squad"}]}, status=400)
    assert answer["message"] == "entities[0].entityTypeId: 'squad': there is no such entity type"


@pytest.mark.parametrize("path", ENTITIES)
async def test_an_entity_is_shown_as_it_was_written(api: Api, path: str) -> None:
    await set_up(api)
    sent = {"id": "team-eng", "entityTypeId": "team", "displayName": "Engineering", "metadata": {"cost": "42"}}
    written = await api.send("PUT", path, {"entities": [sent, {"id": "org-acme", "entityTypeId": "org"}]})
    times = {"createdAt": START, "updatedAt": START, "archivedAt": None}
    bare: dict[str, Any] = {"id": "org-acme", "entityTypeId": "org", "displayName": None, "metadata": {}}
    assert written == {"data": [{**sent, **times}, {**bare, **times}]}
    assert (await api.get(path))["data"] == [{**bare, **times}, {**sent, **times}]
    assert await api.get(f"{path}/team-eng") == {"data": {**sent, **times}}


ENTITY_CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing given, nothing changed": ({}, {}),
    "a new name": ({"displayName": "Crew"}, {"displayName": "Crew"}),
    "null clears the name": ({"displayName": None}, {"displayName": None}),
    "an empty text clears the name": ({"displayName": ""}, {"displayName": None}),
    "metadata is a patch": (
        {"metadata": {"a": "", "b": "3", "c": "4"}},
        {"metadata": {"b": "3", "c": "4"}},
    ),
    "an empty patch changes nothing": ({"metadata": {}}, {}),
    "its own type may be said again": ({"entityTypeId": "team"}, {}),
}


@pytest.mark.parametrize("case", ENTITY_CHANGES)
async def test_of_an_entity_only_what_is_given_is_changed(api: Api, case: str) -> None:
    await set_up(api)
    entity = {"id": "team-eng", "entityTypeId": "team", "displayName": "Team", "metadata": {"a": "1", "b": "2"}}
    (before,) = await put_entities(api, entity)
    api.clock.advance(60_000)
    sent, changed = ENTITY_CHANGES[case]
    (after,) = await put_entities(api, {"id": "team-eng", **sent})
    assert after == {**before, **changed, "updatedAt": LATER if changed else START}
    assert await api.get(f"{ENTITIES[1]}/team-eng") == {"data": after}


async def test_two_writers_of_metadata_lose_none_of_their_keys(api: Api) -> None:
    await set_up(api)
    await put_entities(api, {"id": "team-eng", "entityTypeId": "team", "metadata": {"old": "1"}})
    other = api.target.open_blocking()
    theirs = {"id": "team-eng", "metadata": {"theirs": "2"}}
    api.target.before("configure", lambda: other.governance.put_entities(CUSTOMER, [theirs]))
    (after,) = await put_entities(api, {"id": "team-eng", "metadata": {"old": "", "mine": "3"}})
    assert after["metadata"] == {"theirs": "2", "mine": "3"}


BAD_ENTITIES: dict[str, tuple[Any, str]] = {
    "no entities": ({"entities": []}, "entities: "),
    "too many": ({"entities": [{"id": f"team-{index}", "entityTypeId": "team"} for index in range(101)]}, "entities: "),
    "no type for a new one": ({"entities": [{"id": "team-new"}]}, "entities[0].entityTypeId: None: is required"),
    "a type that is not there": ({"entities": [{"id": "team-new", "entityTypeId": "squad"}]}, "no such entity type"),
    "another type": ({"entities": [{"id": "team-eng", "entityTypeId": "org"}]}, "an entity keeps its type"),
    "null as type": ({"entities": [{"id": "team-eng", "entityTypeId": None}]}, "entities[0].entityTypeId: "),
    "null as metadata": ({"entities": [{"id": "team-eng", "metadata": None}]}, "entities[0].metadata: "),
    "a number in metadata": ({"entities": [{"id": "team-eng", "metadata": {"a": 1}}]}, "entities[0].metadata.a: 1"),
    "an id that is none": ({"entities": [{"id": "team eng"}]}, "entities[0].id: 'team eng'"),
    "a parent": (
        {"entities": [{"id": "team-eng", "parentId": "org-acme"}]},
        'Unrecognized key(s) in request: "parentId"',
    ),
    "a parent of null": (
        {"entities": [{"id": "team-eng", "parentId": None}]},
        'Unrecognized key(s) in request: "parentId"',
    ),
    "an unknown field": ({"entities": [{"id": "team-eng", "colour": "red"}]}, "entities[0].colour: 'red'"),
    "the second one is bad": (
        {"entities": [{"id": "team-eng", "displayName": "New"}, {"id": "team-new"}]},
        "entities[1].entityTypeId: ",
    ),
    "nothing": ({}, "entities: "),
}


@pytest.mark.parametrize("case", BAD_ENTITIES)
async def test_bad_entities_change_nothing(api: Api, case: str) -> None:
    await set_up(api)
    await put_entities(api, {"id": "team-eng", "entityTypeId": "team", "displayName": "Before"})
    before = api.target.dump()
    body, message = BAD_ENTITIES[case]
    for path in ENTITIES:
        answer = await api.send("PUT", path, body, status=400)
        assert answer["code"] == "BadUserInput"
        assert message in answer["message"]
    assert api.target.dump() == before


async def test_text_that_no_encoding_can_store_is_refused(api: Api) -> None:
    await set_up(api)
    body = r'{"entities": [{"id": "team-eng", "entityTypeId": "team", "displayName": "\ud800"}]}'
    answer = await api.client.put(ENTITIES[0], content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "BadUserInput"
    assert answer.json()["message"].startswith("entities[0].displayName: ")


@pytest.mark.parametrize("path", ENTITIES)
async def test_an_archived_entity_is_hidden_from_lists_and_comes_back(api: Api, path: str) -> None:
    await set_up(api)
    await put_entities(api, *({"id": id, "entityTypeId": "team"} for id in ("team-a", "team-b")))
    api.clock.advance(60_000)
    assert await api.send("POST", f"{path}/archive", {"ids": ["team-a"]}) == {"data": {"ids": ["team-a"]}}
    assert [each["id"] for each in (await api.get(path))["data"]] == ["team-b"]
    assert [each["id"] for each in (await api.get(path, includeArchived="false"))["data"]] == ["team-b"]
    listed = (await api.get(path, includeArchived="true"))["data"]
    assert [(each["id"], each["archivedAt"]) for each in listed] == [("team-a", LATER), ("team-b", None)]
    assert (await api.get(f"{path}/team-a"))["data"]["archivedAt"] == LATER

    both = {"ids": ["team-b", "team-a"]}
    assert await api.send("POST", f"{path}/unarchive", both) == {"data": both}
    assert [each["archivedAt"] for each in (await api.get(path))["data"]] == [None, None]


async def test_writing_an_archived_entity_brings_it_back(api: Api) -> None:
    await set_up(api)
    await put_entities(api, {"id": "team-a", "entityTypeId": "team"})
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-a"]})
    (after,) = await put_entities(api, {"id": "team-a"})
    assert after["archivedAt"] is None


@pytest.mark.parametrize("action", ["archive", "unarchive"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"ids": []}, 400, "BadUserInput"),
        ({"ids": [f"team-{index}" for index in range(101)]}, 400, "BadUserInput"),
        ({"ids": "team-a"}, 400, "BadUserInput"),
        ({"ids": ["team a"]}, 400, "BadUserInput"),
        ({"ids": ["team-a"], "force": True}, 400, "BadUserInput"),
        ({}, 400, "BadUserInput"),
        ({"ids": ["team-a", "team-nobody"]}, 404, "EntityNotFound"),
    ],
)
async def test_archiving_what_is_not_there_changes_nothing(
    api: Api, action: str, body: dict[str, Any], status: int, code: str
) -> None:
    await set_up(api)
    await put_entities(api, {"id": "team-a", "entityTypeId": "team"}, {"id": "team-b", "entityTypeId": "team"})
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-b"]})
    before = api.target.dump()
    for path in ENTITIES:
        assert (await api.send("POST", f"{path}/{action}", body, status=status))["code"] == code
    assert api.target.dump() == before


async def test_entities_are_listed_by_type(api: Api) -> None:
    await set_up(api)
    await put_entities(api, {"id": "team-a", "entityTypeId": "team"}, {"id": "org-a", "entityTypeId": "org"})
    for path in ENTITIES:
        assert [each["id"] for each in (await api.get(path, entityTypeId="org"))["data"]] == ["org-a"]
        assert (await api.get(path, entityTypeId="squad"))["data"] == []


async def test_every_entity_is_seen_once_whatever_is_written_between_two_pages(api: Api) -> None:
    await set_up(api)
    await put_entities(api, *({"id": f"team-{index}", "entityTypeId": "team"} for index in range(5)))
    first = await api.get(ENTITIES[0], limit=2)
    api.clock.advance(60_000)
    await put_entities(
        api,
        {"id": "a-team", "entityTypeId": "team"},
        {"id": "team-0", "displayName": "renamed"},
        {"id": "team-3", "displayName": "renamed"},
    )
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-1"]})  # the one that the cursor stands at
    seen = first["data"] + await every_page(api, ENTITIES[1], limit=2, after=first["pagination"]["next"])
    assert [each["id"] for each in seen] == ["team-0", "team-1", "team-2", "team-3", "team-4", "a-team"]
    assert seen[3]["displayName"] == "renamed"


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "many"},
        {"after": "no cursor"},
        {"after": "kqFhoWI"},  # the cursor of a list that is ordered by two texts
        {"before": "kqFhoWI"},
        {"after": "kgEB", "before": "kgEB"},
        {"includeArchived": "yes"},
        {"entityTypeId": "a:b"},
        {"entityType": "team"},
        {"entityTypeId": ["team", "org"]},
    ],
)
async def test_a_list_refuses_a_query_that_it_does_not_know(api: Api, query: dict[str, Any]) -> None:
    await set_up(api)
    await put_entities(api, {"id": "team-a", "entityTypeId": "team"})
    for path in ENTITIES:
        assert (await api.get(path, status=400, **query))["code"] == "BadUserInput"


@pytest.mark.parametrize("customer", ["cus-nobody", "cus%2Dnobody"])
async def test_entities_of_a_customer_that_is_not_there_are_not_found(api: Api, customer: str) -> None:
    await set_up(api)
    before = api.target.dump()
    for version in ("v1", "v1-beta"):
        path = f"/api/{version}/customers/{customer}/entities"
        body = {"entities": [{"id": "team-eng", "entityTypeId": "team"}]}
        answers = [
            await api.get(path, status=404),
            await api.get(f"{path}/team-eng", status=404),
            await api.send("PUT", path, body, status=404),
            await api.send("POST", f"{path}/archive", {"ids": ["team-eng"]}, status=404),
            await api.send("POST", f"{path}/unarchive", {"ids": ["team-eng"]}, status=404),
        ]
        assert {answer["code"] for answer in answers} == {"CustomerNotFound"}
        assert answers[0]["message"] == "customer 'cus-nobody' was not found"
    assert api.target.dump() == before


async def test_an_entity_that_is_not_there_is_not_found(api: Api) -> None:
    await set_up(api)
    for path in ENTITIES:
        answer = await api.get(f"{path}/team-nobody", status=404)
        assert answer["code"] == "EntityNotFound"
        assert answer["message"] == f"entity 'team-nobody' of customer '{CUSTOMER}' was not found"
        assert (await api.get(f"{path}/team%20eng", status=400))["code"] == "BadUserInput"
        assert (await api.get(f"{path}/team-nobody", status=400, expand="all"))["code"] == "BadUserInput"


async def test_reading_one_entity_does_not_read_all_of_them(api: Api) -> None:
    await set_up(api)
    await put_entities(api, *({"id": f"team-{index}", "entityTypeId": "team"} for index in range(3)))
    api.target.scripts_sent()
    await api.get(f"{ENTITIES[0]}/team-1")
    assert "scan" not in api.target.scripts_sent()


async def test_the_instants_of_answers_are_the_servers(api: Api) -> None:
    await set_up(api)
    assert NOW_MS == 1_773_144_000_000  # START
    (entity,) = await put_entities(api, {"id": "team-a", "entityTypeId": "team"})
    assert entity["createdAt"] == START


@pytest.mark.parametrize("scope", ["read", "runtime"])
async def test_governance_is_read_with_every_key_and_written_with_a_full_one(api: Api, scope: str) -> None:
    await set_up(api)
    await api.engine.governance.put_entities(CUSTOMER, [{"id": "team-eng", "type": "team"}])
    full, some = [(await api.engine.api_keys.create(name, name))[1] for name in ("full", scope)]
    before = api.target.dump()
    reads = (*TYPES, *ENTITIES, *ASSIGNMENTS, *TREES, *(f"{path}/team-eng" for path in ENTITIES))
    writes: list[tuple[str, str, dict[str, Any]]] = [
        *(("PUT", path, {"types": [TYPE]}) for path in TYPES),
        *(("PUT", path, {"entities": [{"id": "team-eng", "displayName": "New"}]}) for path in ENTITIES),
        *(("PUT", path, {"assignments": [budget("team-eng", 1)]}) for path in ASSIGNMENTS),
        *(("POST", f"{path}/{verb}", {"ids": ["team-eng"]}) for path in ENTITIES for verb in ("archive", "unarchive")),
    ]
    api.client.headers["X-API-KEY"] = some
    for path in reads:
        await api.get(path)
    for method, path, body in writes:
        await api.send(method, path, body, status=403)
    assert api.target.dump() == before
    api.client.headers["X-API-KEY"] = full
    for method, path, body in writes:
        await api.send(method, path, body)
