"""Budgets of entities over REST: `assignments`, and `entities/entitlements`, which is the same."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from headgate.rest.answers.ids import entitlement_id
from rest.conftest import Api
from rest.governed import (
    ASSIGNMENTS,
    CUSTOMER,
    ENTITIES,
    START,
    budget,
    every_page,
    put_assignments,
    put_entities,
    set_up,
)

LATER = "2026-03-10T12:01:00Z"


async def set_up_teams(api: Api) -> None:
    await set_up(api)
    await put_entities(
        api,
        {"id": "org-acme", "entityTypeId": "org"},
        *({"id": id, "entityTypeId": "team"} for id in ("team-eng", "team-ops")),
        *({"id": id, "entityTypeId": "model"} for id in ("large", "small")),
    )


@pytest.mark.parametrize("path", ASSIGNMENTS)
async def test_a_budget_is_shown_as_it_was_written(api: Api, path: str) -> None:
    await set_up_teams(api)
    tokens = budget("team-eng", 200_000, parentId="org-acme", scopeEntityIds=["small", "large", "small"])
    credits = budget("team-eng", None, currencyId="credits", cadence="PT10M")
    written = await api.send("PUT", path, {"assignments": [tokens, credits]})
    first, second = written["data"]
    assert first == {
        "id": entitlement_id(api.engine.environment, CUSTOMER, "team-eng", "feature:tokens", ["large", "small"]),
        "entityId": "team-eng",
        "featureId": "tokens",
        "usageLimit": 200_000,
        "cadence": "P1M",
        "parentId": "org-acme",
        "scopeEntityIds": ["large", "small"],
        "createdAt": START,
        "updatedAt": START,
    }
    assert isinstance(first["usageLimit"], int)
    assert (second["currencyId"], second["usageLimit"]) == ("credits", None)
    assert "featureId" not in second
    assert (second["cadence"], second["parentId"], second["scopeEntityIds"]) == ("PT10M", "org-acme", [])
    assert UUID(second["id"]) != UUID(first["id"])
    assert await api.get(path) == {"data": [first, second], "pagination": {"next": None, "prev": None}}


async def test_the_id_of_a_budget_belongs_to_its_key_alone(api: Api) -> None:
    await set_up_teams(api)
    (before,) = await put_assignments(api, budget("team-eng", 100, scopeEntityIds=["large", "small"]))
    (after,) = await put_assignments(
        api, budget("team-eng", 7.5, cadence="P1D", scopeEntityIds=["small", "large"], parentId="org-acme")
    )
    assert after["id"] == before["id"]
    assert (after["usageLimit"], after["cadence"]) == (7.5, "P1D")
    others = await put_assignments(
        api,
        budget("team-eng", 100),
        budget("team-eng", 100, scopeEntityIds=["large"]),
        budget("team-eng", 100, featureId="calls"),
        budget("team-eng", 100, currencyId="credits"),
        budget("team-ops", 100),
    )
    assert len({before["id"], *(each["id"] for each in others)}) == 6


def test_the_id_of_a_budget_never_changes_between_versions() -> None:
    made = entitlement_id("production", "cus-acme", "team-eng", "feature:tokens", ["small", "large"])
    assert made == "d482bfb6-0ef9-534b-bb02-da23562ff5a2"


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing given, nothing changed": ({}, {}),
    "a limit, and the cadence stays": ({"usageLimit": 5}, {"usageLimit": 5}),
    "a limit of 0": ({"usageLimit": 0}, {"usageLimit": 0}),
    "a limit of null never refuses": ({"usageLimit": None}, {"usageLimit": None}),
    "a cadence, and the limit stays": ({"cadence": "P1D"}, {"cadence": "P1D"}),
    "the parent stays what it is": ({"parentId": "org-acme"}, {}),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("path", ASSIGNMENTS)
async def test_of_a_budget_only_what_is_given_is_changed(api: Api, path: str, case: str) -> None:
    await set_up_teams(api)
    (before,) = await put_assignments(api, budget("team-eng", 100, parentId="org-acme"))
    api.clock.advance(60_000)
    sent, changed = CHANGES[case]
    body = {"assignments": [{"entityId": "team-eng", "featureId": "tokens", **sent}]}
    (after,) = (await api.send("PUT", path, body))["data"]
    assert after == {**before, **changed, "updatedAt": LATER if changed else START}
    assert (await api.get(path))["data"] == [after]


async def test_a_parent_is_kept_set_and_taken_away(api: Api) -> None:
    await set_up_teams(api)
    parents = []
    for sent in ({"parentId": "org-acme"}, {}, {"parentId": "team-ops"}, {"parentId": None}, {}):
        (shown,) = await put_assignments(api, budget("team-eng", 100, **sent))
        parents.append(shown["parentId"])
    assert parents == ["org-acme", "org-acme", "team-ops", None, None]


async def test_the_parent_belongs_to_the_entity_and_is_shown_with_each_of_its_budgets(api: Api) -> None:
    await set_up_teams(api)
    await put_assignments(api, budget("team-eng", 100))
    await put_assignments(api, budget("team-eng", 100, featureId="calls", parentId="org-acme"))
    assert [each["parentId"] for each in (await api.get(ASSIGNMENTS[1]))["data"]] == ["org-acme", "org-acme"]


async def test_a_budget_that_is_twice_in_a_batch_is_shown_as_it_is_in_the_end(api: Api) -> None:
    await set_up_teams(api)
    first, second = await put_assignments(api, budget("team-eng", 100), budget("team-eng", 200))
    assert first == second == (await api.get(ASSIGNMENTS[0]))["data"][0]
    assert first["usageLimit"] == 200


async def test_a_written_budget_refuses_on_the_next_call(api: Api) -> None:
    await set_up_teams(api)
    await put_assignments(api, budget("team-eng", 100))
    asked: dict[str, Any] = {"feature": "tokens", "requested_usage": 50, "dimensions": {"teamId": "team-eng"}}
    assert (await api.engine.check(CUSTOMER, **asked)).granted
    await put_assignments(api, budget("team-eng", 49))
    decision = await api.engine.check(CUSTOMER, **asked)
    assert (decision.granted, decision.reason) == (False, "BudgetExceeded")


BAD_BUDGETS: dict[str, tuple[Any, str]] = {
    "no list": ({}, "assignments: "),
    "none": ({"assignments": []}, "assignments: "),
    "too many": ({"assignments": [budget("team-eng", 1, scopeEntityIds=[]) for _ in range(101)]}, "assignments: "),
    "no entity": ({"assignments": [{"featureId": "tokens", "usageLimit": 1, "cadence": "P1M"}]}, "[0].entityId: "),
    "an entity that is not there": (
        {"assignments": [budget("team-nobody", 1)]},
        "assignments[0].entityId: 'team-nobody': there is no such entity",
    ),
    "an archived entity": ({"assignments": [budget("team-gone", 1)]}, "assignments[0].entityId: 'team-gone'"),
    "a feature and a currency": (
        {"assignments": [budget("team-eng", 1, featureId="tokens", currencyId="credits")]},
        "give one of the two",
    ),
    "neither": ({"assignments": [{"entityId": "team-eng", "usageLimit": 1, "cadence": "P1M"}]}, "give one of the two"),
    "a feature of null": ({"assignments": [budget("team-eng", 1, featureId=None)]}, "assignments[0].featureId: None"),
    "a feature that is not there": (
        {"assignments": [budget("team-eng", 1, featureId="words")]},
        "assignments[0].featureId: 'words'",
    ),
    "a feature that is not metered": (
        {"assignments": [budget("team-eng", 1, featureId="sso")]},
        "assignments[0].featureId: 'sso': is not metered",
    ),
    "a currency that is not there": (
        {"assignments": [budget("team-eng", 1, currencyId="euro")]},
        "assignments[0].currencyId: 'euro'",
    ),
    "no limit for a new one": (
        {"assignments": [{"entityId": "team-ops", "featureId": "tokens", "cadence": "P1M"}]},
        "assignments[0].usageLimit: None: is required",
    ),
    "no cadence for a new one": (
        {"assignments": [{"entityId": "team-ops", "featureId": "tokens", "usageLimit": 1}]},
        "assignments[0].cadence: None: is required",
    ),
    "a cadence of null": ({"assignments": [budget("team-eng", 1, cadence=None)]}, "assignments[0].cadence: None"),
    "a cadence of two units": ({"assignments": [budget("team-eng", 1, cadence="P1M2D")]}, "assignments[0].cadence: "),
    "a cadence of seconds": ({"assignments": [budget("team-eng", 1, cadence="PT30S")]}, "assignments[0].cadence: "),
    "a negative limit": ({"assignments": [budget("team-eng", -1)]}, "assignments[0].usageLimit: -1"),
    "a limit beyond what is exact": ({"assignments": [budget("team-eng", 2**53)]}, "assignments[0].usageLimit: "),
    "a limit beyond all doubles": ({"assignments": [budget("team-eng", 10**400)]}, "assignments[0].usageLimit: "),
    "a limit that is text": (
        {"assignments": [{**budget("team-eng", 1), "usageLimit": "100"}]},
        "assignments[0].usageLimit: '100'",
    ),
    "a limit that is true": ({"assignments": [budget("team-eng", True)]}, "assignments[0].usageLimit: True"),
    "a parent that is not there": (
        {"assignments": [budget("team-eng", 1, parentId="org-nobody")]},
        "assignments[0].parentId: 'org-nobody'",
    ),
    "itself as parent": (
        {"assignments": [budget("team-eng", 1, parentId="team-eng")]},
        "assignments[0].parentId: 'team-eng': makes a cycle",
    ),
    "an empty parent": ({"assignments": [budget("team-eng", 1, parentId="")]}, "assignments[0].parentId: ''"),
    "a scope that is not there": (
        {"assignments": [budget("team-eng", 1, scopeEntityIds=["huge"])]},
        "assignments[0].scopeEntityIds: 'huge'",
    ),
    "a scope of null": ({"assignments": [budget("team-eng", 1, scopeEntityIds=None)]}, "[0].scopeEntityIds: None"),
    "a scope that is text": ({"assignments": [budget("team-eng", 1, scopeEntityIds="large")]}, "[0].scopeEntityIds: "),
    "an unknown field": ({"assignments": [budget("team-eng", 1, zone="UTC")]}, "assignments[0].zone: 'UTC'"),
    "the second one is bad": (
        {"assignments": [budget("team-eng", 7), budget("team-ops", 1, cadence="never")]},
        "assignments[1].cadence: ",
    ),
}


@pytest.mark.parametrize("case", BAD_BUDGETS)
async def test_bad_budgets_change_nothing(api: Api, case: str) -> None:
    await set_up_teams(api)
    await put_entities(api, {"id": "team-gone", "entityTypeId": "team"})
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-gone"]})
    await put_assignments(api, budget("team-eng", 100))
    before = api.target.dump()
    body, message = BAD_BUDGETS[case]
    for path in ASSIGNMENTS:
        answer = await api.send("PUT", path, body, status=400)
        assert answer["code"] == "BadUserInput"
        assert message in answer["message"]
    assert api.target.dump() == before


async def test_a_fifth_level_is_refused(api: Api) -> None:
    await set_up_teams(api)
    await put_assignments(
        api,
        budget("team-eng", 1, parentId="org-acme"),
        budget("team-ops", 1, parentId="team-eng"),
        budget("large", 1, parentId="team-ops"),
    )
    answer = await api.send("PUT", ASSIGNMENTS[0], {"assignments": [budget("small", 1, parentId="large")]}, status=400)
    assert answer["message"] == "assignments[0].parentId: 'large': makes 5 levels: at most 4"


async def test_budgets_are_listed_by_entity_feature_and_currency(api: Api) -> None:
    await set_up_teams(api)
    await put_assignments(
        api,
        budget("team-eng", 1),
        budget("team-ops", 2),
        budget("team-eng", 3, featureId="calls"),
        budget("team-eng", 4, currencyId="credits"),
    )
    queries: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [1, 2, 3, 4]),
        ({"entityId": "team-eng"}, [1, 3, 4]),
        ({"featureId": "tokens"}, [1, 2]),
        ({"currencyId": "credits"}, [4]),
        ({"entityId": "team-eng", "featureId": "calls"}, [3]),
        ({"entityId": "team-nobody"}, []),
        ({"featureId": "words"}, []),
    ]
    for path in ASSIGNMENTS:
        for query, limits in queries:
            assert [each["usageLimit"] for each in (await api.get(path, **query))["data"]] == limits, query


async def test_budgets_of_archived_entities_are_listed(api: Api) -> None:
    await set_up_teams(api)
    await put_assignments(api, budget("team-eng", 1), budget("team-ops", 2))
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-eng"]})
    for path in ASSIGNMENTS:
        assert [each["usageLimit"] for each in (await api.get(path))["data"]] == [1, 2]


async def test_every_budget_is_seen_once_whatever_is_written_between_two_pages(api: Api) -> None:
    await set_up_teams(api)
    scopes: list[list[str]] = [[], ["large"], ["small"], ["large", "small"], ["team-ops"]]
    await put_assignments(api, *(budget("team-eng", limit, scopeEntityIds=ids) for limit, ids in enumerate(scopes)))
    first = await api.get(ASSIGNMENTS[0], limit=2)
    await put_assignments(
        api,
        budget("org-acme", 100),  # sorted by entity it would come before the cursor
        budget("team-eng", 30, scopeEntityIds=["large", "small"]),
        budget("team-eng", 10, scopeEntityIds=["large"]),
    )
    seen = first["data"] + await every_page(api, ASSIGNMENTS[1], limit=2, after=first["pagination"]["next"])
    assert [each["usageLimit"] for each in seen] == [0, 1, 2, 30, 4, 100]
    back = await api.get(ASSIGNMENTS[1], limit=2, before=first["pagination"]["next"])
    assert [each["usageLimit"] for each in back["data"]] == [0]


@pytest.mark.parametrize(
    "query",
    [
        {"featureId": "tokens", "currencyId": "credits"},
        {"entityId": "team eng"},
        {"scope": "all"},
        {"limit": "0"},
        {"after": "kqFhoWI"},  # the cursor of a list that is ordered by two texts
        {"entityId": ["team-eng", "team-ops"]},
    ],
)
async def test_a_list_refuses_a_query_that_it_does_not_know(api: Api, query: dict[str, Any]) -> None:
    await set_up_teams(api)
    await put_assignments(api, budget("team-eng", 1))
    for path in ASSIGNMENTS:
        assert (await api.get(path, status=400, **query))["code"] == "BadUserInput"


async def test_budgets_of_a_customer_that_is_not_there_are_not_found(api: Api) -> None:
    await set_up_teams(api)
    before = api.target.dump()
    for path in ASSIGNMENTS:
        path = path.replace(CUSTOMER, "cus-nobody")
        answers = [
            await api.get(path, status=404),
            await api.send("PUT", path, {"assignments": [budget("team-eng", 1)]}, status=404),
        ]
        assert {answer["code"] for answer in answers} == {"CustomerNotFound"}
    assert api.target.dump() == before
