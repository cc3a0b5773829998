"""The tree query over REST: its nodes and their numbers, its filters, its orders, and paging while usage goes on."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from rest.conftest import Api
from rest.governed import (
    ASSIGNMENTS,
    CUSTOMER,
    ENTITIES,
    TREES,
    budget,
    every_page,
    put_assignments,
    put_entities,
    set_up,
)

MODES: list[dict[str, Any]] = [{"featureIds": "tokens"}, {}]
"""Usage, and tree mode."""


async def set_up_tree(api: Api) -> None:
    """org-acme (1000) over team-eng (200, and 50 with large) and team-ops (no limit); org-bare has no budget.

    Used: 60 by team-eng with large, 100 by team-ops, and 5 credits by team-eng.
    """
    await set_up(api)
    await put_entities(
        api,
        {"id": "org-acme", "entityTypeId": "org", "displayName": "Acme Inc"},
        {"id": "team-eng", "entityTypeId": "team", "displayName": "Engineering"},
        {"id": "team-ops", "entityTypeId": "team"},
    )
    api.clock.advance(1_000)
    await put_entities(api, {"id": "large", "entityTypeId": "model"}, {"id": "org-bare", "entityTypeId": "org"})
    await put_assignments(
        api,
        budget("org-acme", 1_000),
        budget("team-eng", 200, parentId="org-acme"),
        budget("team-eng", 50, scopeEntityIds=["large"], cadence="P1D"),
        budget("team-ops", None, parentId="org-acme"),
        budget("team-eng", 20, currencyId="credits"),
    )
    await api.engine.credits.grant(CUSTOMER, {"id": "gift", "currency": "credits", "amount": 1_000})
    await api.engine.report(CUSTOMER, feature="tokens", value=60, dimensions={"teamId": "team-eng", "modelId": "large"})
    await api.engine.report(CUSTOMER, feature="tokens", value=100, dimensions={"teamId": "team-ops"})
    await api.engine.report(CUSTOMER, currency="credits", value=5, dimensions={"teamId": "team-eng"})


def names(answer: Any) -> list[str]:
    """Nodes as `team-eng[large]`."""
    nodes = answer["data"] if isinstance(answer, dict) else answer
    return [node["entityId"] + (f"[{','.join(ids)}]" if (ids := node["scopeEntityIds"]) else "") for node in nodes]


@pytest.mark.parametrize("path", TREES)
async def test_a_node_shows_a_budget_and_what_is_used_of_it(api: Api, path: str) -> None:
    await set_up_tree(api)
    answer = await api.get(path, featureIds="tokens")
    assert answer["pagination"] == {"next": None}
    scoped, whole, root, unlimited = answer["data"]
    assert scoped == {
        "entityId": "team-eng",
        "entityTypeId": "team",
        "displayName": "Engineering",
        "parentId": "org-acme",
        "scopeEntityIds": ["large"],
        "featureId": "tokens",
        "usageLimit": 50,
        "currentUsage": 60,
        "cadence": "P1D",
        "utilization": 1.2,
        "usagePeriodStart": "2026-03-10T12:00:01Z",
        "usagePeriodEnd": "2026-03-11T12:00:01Z",
    }
    same = ("entityTypeId", "displayName", "parentId", "featureId")
    month = {"cadence": "P1M", "usagePeriodStart": "2026-03-10T12:00:01Z", "usagePeriodEnd": "2026-04-10T12:00:01Z"}
    numbers = {"usageLimit": 200, "currentUsage": 60, "utilization": 0.3}
    kept = {name: scoped[name] for name in same}
    assert whole == {"entityId": "team-eng", "scopeEntityIds": [], **kept, **numbers, **month}
    assert (root["entityId"], root["parentId"], root["displayName"]) == ("org-acme", None, "Acme Inc")
    assert (root["usageLimit"], root["currentUsage"], root["utilization"]) == (1_000, 160, 0.16)
    assert (unlimited["entityId"], unlimited["parentId"], unlimited["displayName"]) == ("team-ops", "org-acme", None)
    assert (unlimited["usageLimit"], unlimited["currentUsage"], unlimited["utilization"]) == (None, 100, None)


async def test_a_budget_of_credits_is_shown_for_its_currency(api: Api) -> None:
    await set_up_tree(api)
    (node,) = (await api.get(TREES[0], currencyIds="credits"))["data"]
    assert (node["currencyId"], node["entityId"]) == ("credits", "team-eng")
    assert "featureId" not in node
    assert (node["usageLimit"], node["currentUsage"], node["utilization"]) == (20, 5, 0.25)


@pytest.mark.parametrize(
    "query",
    [
        {"featureIds": ["calls", "tokens"], "currencyIds": "credits"},
        {"featureIds": "tokens,calls,tokens", "currencyIds": ["credits", "credits"]},
    ],
)
async def test_several_capabilities_are_sorted_together(api: Api, query: dict[str, Any]) -> None:
    await set_up_tree(api)
    await put_assignments(api, budget("org-acme", 10, featureId="calls"))
    nodes = (await api.get(TREES[0], **query))["data"]
    assert [(node["entityId"], node.get("featureId") or node["currencyId"], node["utilization"]) for node in nodes] == [
        ("team-eng", "tokens", 1.2),
        ("team-eng", "tokens", 0.3),
        ("team-eng", "credits", 0.25),
        ("org-acme", "tokens", 0.16),
        ("org-acme", "calls", 0),
        ("team-ops", "tokens", None),
    ]


async def test_a_feature_that_is_paid_in_credits_shows_its_own_budgets_alone(api: Api) -> None:
    await set_up_tree(api)
    paid = {"feature": "calls", "has_unlimited_usage": True, "credit_rate": {"currency": "credits", "amount": 2}}
    await api.engine.catalog.put_plans([{"id": "plan-paid", "entitlements": [paid]}])
    await api.engine.subscriptions.provision(CUSTOMER, {"id": "sub-1", "plan": "plan-paid"})
    await put_assignments(api, budget("team-ops", 10, featureId="calls"))
    await api.engine.report(CUSTOMER, feature="calls", value=3, dimensions={"teamId": "team-ops"})
    nodes = (await api.get(TREES[0], featureIds="calls"))["data"]
    assert [(node["entityId"], node["featureId"], node["currentUsage"]) for node in nodes] == [("team-ops", "calls", 3)]


@pytest.mark.parametrize("path", TREES)
async def test_tree_mode_shows_every_entity_and_no_usage(api: Api, path: str) -> None:
    await set_up_tree(api)
    nodes = (await api.get(path, sortBy="id", order="asc"))["data"]
    assert [(node["entityId"], node["parentId"]) for node in nodes] == [
        ("large", None),
        ("org-acme", None),
        ("org-bare", None),
        ("team-eng", "org-acme"),
        ("team-ops", "org-acme"),
    ]
    empty = ("usageLimit", "currentUsage", "cadence", "utilization", "usagePeriodStart", "usagePeriodEnd")
    for node in nodes:
        assert [node[name] for name in empty] == [None] * 6
        assert not node.keys() & {"featureId", "currencyId", "held"}
        assert node["scopeEntityIds"] == []


async def test_a_limit_of_zero_is_always_at_its_limit(api: Api) -> None:
    await set_up_tree(api)
    await put_assignments(api, budget("team-ops", 0))
    nodes = (await api.get(TREES[0], featureIds="tokens", entityIdSearch="ops"))["data"]
    assert [(node["currentUsage"], node["utilization"]) for node in nodes] == [(100, 1)]
    api.clock.advance(40 * 86_400_000)
    nodes = (await api.get(TREES[0], featureIds="tokens", entityIdSearch="ops"))["data"]
    assert [(node["currentUsage"], node["utilization"]) for node in nodes] == [(0, 1)]


async def test_what_is_held_counts_and_is_named(api: Api) -> None:
    await set_up_tree(api)
    await api.engine.reserve(CUSTOMER, feature="tokens", amount=40, id="hold-1", dimensions={"teamId": "team-eng"})
    nodes = (await api.get(TREES[0], featureIds="tokens", scope="nodeWide", sortBy="currentUsage"))["data"]
    numbers = [(node["entityId"], node["currentUsage"], node.get("held"), node["utilization"]) for node in nodes]
    assert numbers == [
        ("org-acme", 200, 40, 0.2),
        ("team-eng", 100, 40, 0.5),
        ("team-ops", 100, None, None),
    ]


async def test_usage_is_that_of_the_period_in_progress(api: Api) -> None:
    await set_up_tree(api)
    api.clock.advance(86_400_000)
    nodes = (await api.get(TREES[0], featureIds="tokens", scope="scoped"))["data"]
    assert [(node["currentUsage"], node["usagePeriodStart"]) for node in nodes] == [(0, "2026-03-11T12:00:01Z")]


async def test_an_archived_entity_is_left_out_and_its_children_hang_below_the_next_one(api: Api) -> None:
    await set_up_tree(api)
    await put_assignments(api, budget("large", 10, parentId="team-eng"))
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-eng"]})
    for query in MODES:
        nodes = (await api.get(TREES[0], sortBy="id", order="asc", **query))["data"]
        parents = {node["entityId"]: node["parentId"] for node in nodes}
        assert parents.pop("org-bare", None) is None
        assert parents == {"large": "org-acme", "org-acme": None, "team-ops": "org-acme"}
    assert [each["parentId"] for each in (await api.get(ASSIGNMENTS[0], entityId="large"))["data"]] == ["team-eng"]


FILTERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "none": ({}, ["team-eng[large]", "team-eng", "org-acme", "team-ops"]),
    "a type": ({"entityTypeIds": "org"}, ["org-acme"]),
    "two types, repeated": (
        {"entityTypeIds": ["org", "team"]},
        ["team-eng[large]", "team-eng", "org-acme", "team-ops"],
    ),
    "two types, joined": ({"entityTypeIds": "org,model"}, ["org-acme"]),
    "a type that is not there": ({"entityTypeIds": "squad"}, []),
    "a part of an id": ({"entityIdSearch": "ENG"}, ["team-eng[large]", "team-eng"]),
    "a part of a name": ({"entityIdSearch": "acme inc"}, ["org-acme"]),
    "signs of a search are signs": ({"entityIdSearch": "team_"}, []),
    "a percent sign, too": ({"entityIdSearch": "%"}, []),
    "at least a part": ({"minUtilization": "0.3"}, ["team-eng[large]", "team-eng"]),
    "over the limit": ({"minUtilization": "1"}, ["team-eng[large]"]),
    "no limit is no part, not even of nothing": (
        {"minUtilization": "0"},
        ["team-eng[large]", "team-eng", "org-acme"],
    ),
    "all": ({"scope": "all"}, ["team-eng[large]", "team-eng", "org-acme", "team-ops"]),
    "node-wide": ({"scope": "nodeWide"}, ["team-eng", "org-acme", "team-ops"]),
    "scoped": ({"scope": "scoped"}, ["team-eng[large]"]),
    "together": ({"scope": "nodeWide", "entityTypeIds": "team", "minUtilization": "0.1"}, ["team-eng"]),
}


async def test_a_filter_leaves_out_the_rest(api: Api) -> None:
    await set_up_tree(api)
    for case, (query, shown) in FILTERS.items():
        assert names(await api.get(TREES[0], featureIds="tokens", **query)) == shown, case


async def test_filters_hold_in_tree_mode(api: Api) -> None:
    await set_up_tree(api)
    assert names(await api.get(TREES[0], entityIdSearch="org", sortBy="id")) == ["org-bare", "org-acme"]
    assert names(await api.get(TREES[0], minUtilization="0")) == []
    assert names(await api.get(TREES[0], scope="scoped")) == []
    assert names(await api.get(TREES[0], scope="nodeWide", entityTypeIds="model")) == ["large"]


ORDERS: dict[str, tuple[list[str], list[str]]] = {
    "utilization": (
        ["team-eng[large]", "team-eng", "org-acme", "team-ops"],
        ["org-acme", "team-eng", "team-eng[large]", "team-ops"],
    ),
    "currentUsage": (
        ["org-acme", "team-ops", *["team-eng"] * 2],
        [*["team-eng"] * 2, "team-ops", "org-acme"],
    ),
    "usageLimit": (
        ["org-acme", "team-eng", "team-eng[large]", "team-ops"],
        ["team-eng[large]", "team-eng", "org-acme", "team-ops"],
    ),
    "scopeSize": (
        ["team-eng[large]", "org-acme", "team-eng", "team-ops"],
        ["org-acme", "team-eng", "team-ops", "team-eng[large]"],
    ),
    "id": (["team-ops", *["team-eng"] * 2, "org-acme"], ["org-acme", *["team-eng"] * 2, "team-ops"]),
}


async def test_nodes_are_sorted_and_those_without_a_number_come_last(api: Api) -> None:
    await set_up_tree(api)
    for sort_by, order in product(ORDERS, ("desc", "asc")):
        found = names(await api.get(TREES[0], featureIds="tokens", sortBy=sort_by, order=order))
        assert sorted(found) == ["org-acme", "team-eng", "team-eng[large]", "team-ops"]
        if sort_by in ("currentUsage", "id"):  # of equal numbers and one entity, the budget's id decides
            found = [each.partition("[")[0] for each in found]
        assert found == ORDERS[sort_by][order == "asc"], (sort_by, order)


async def test_nodes_are_sorted_by_when_their_entity_was_created(api: Api) -> None:
    await set_up_tree(api)
    older, newer = ["org-acme", "team-eng", "team-ops"], ["large", "org-bare"]
    assert names(await api.get(TREES[0], sortBy="createdAt")) == newer + older
    assert names(await api.get(TREES[0], sortBy="createdAt", order="asc")) == older + newer


@pytest.mark.parametrize("sort_by", [*ORDERS, "createdAt"])
async def test_pages_follow_each_other_in_every_order(api: Api, sort_by: str) -> None:
    await set_up_tree(api)
    await put_entities(api, *({"id": f"team-{index}", "entityTypeId": "team"} for index in range(3)))
    await put_assignments(api, *(budget(f"team-{index}", 7) for index in range(3)))  # with equal numbers
    for order, (query, size) in product(("asc", "desc"), zip(MODES, (7, 8), strict=True)):
        whole = (await api.get(TREES[0], sortBy=sort_by, order=order, **query))["data"]
        assert len(whole) == size
        assert await every_page(api, TREES[1], sortBy=sort_by, order=order, limit=1, **query) == whole


async def test_a_page_goes_on_after_its_last_node_whatever_is_used_meanwhile(api: Api) -> None:
    await set_up_tree(api)
    await put_entities(api, *({"id": f"team-{index}", "entityTypeId": "team"} for index in range(4)))
    await put_assignments(api, *(budget(f"team-{index}", 10) for index in range(4)))
    for index in range(4):
        await api.engine.report(CUSTOMER, feature="tokens", value=8 - index, dimensions={"teamId": f"team-{index}"})
    query: dict[str, Any] = {"featureIds": "tokens", "entityTypeIds": "team", "scope": "nodeWide", "limit": "2"}
    first = await api.get(TREES[0], **query)
    assert names(first) == ["team-0", "team-1"]
    await api.engine.report(CUSTOMER, feature="tokens", value=5, dimensions={"teamId": "team-1"})  # the last one seen
    await put_entities(api, {"id": "team-new", "entityTypeId": "team"})
    await put_assignments(api, budget("team-new", 0))  # comes before the cursor
    await api.send("POST", f"{ENTITIES[0]}/archive", {"ids": ["team-0"]})
    rest = await every_page(api, TREES[1], after=first["pagination"]["next"], **query)
    assert names(rest) == ["team-2", "team-3", "team-eng", "team-ops"]


async def test_a_cursor_works_where_the_last_node_has_no_number(api: Api) -> None:
    await set_up_tree(api)
    await put_assignments(api, budget("large", None), budget("org-bare", None))
    paged = await every_page(api, TREES[0], featureIds="tokens", limit=1)
    assert names(paged) == ["team-eng[large]", "team-eng", "org-acme", "large", "org-bare", "team-ops"]


BAD_QUERIES: dict[str, dict[str, Any]] = {
    "an unknown parameter": {"featureId": "tokens"},
    "a page backwards": {"before": "kqFhoWI"},
    "a feature id that is none": {"featureIds": "a:b"},
    "an empty item": {"featureIds": "tokens,,calls"},
    "a type id that is none": {"entityTypeIds": "a b"},
    "a part that is no number": {"minUtilization": "most"},
    "a part that is not finite": {"minUtilization": "NaN"},
    "another scope": {"scope": "nodewide"},
    "another sort key": {"sortBy": "name"},
    "another order": {"order": "descending"},
    "an order twice": {"order": ["asc", "desc"]},
    "no limit": {"limit": "0"},
    "a limit beyond the most": {"limit": "101"},
    "a limit that is no number": {"limit": "all"},
    "a cursor that is none": {"after": "no cursor"},
    "the cursor of another list": {"after": "kqFhoWI"},
    "a number that is none in a cursor": {"after": "lat1dGlsaXphdGlvbqRkZXNjo25hbqFhoWI"},
    "a feature that is not metered": {"featureIds": "sso"},
    "too many capabilities": {"featureIds": [f"feature-{index}" for index in range(21)]},
}


async def test_a_query_that_is_not_understood_is_refused(api: Api) -> None:
    await set_up_tree(api)
    for (case, query), path in product(BAD_QUERIES.items(), TREES):
        answer = await api.get(path, status=400, **query)
        assert answer["code"] == "BadUserInput", case
        assert answer["message"].startswith(f"{next(iter(query))}: "), case


async def test_a_cursor_of_another_order_is_refused(api: Api) -> None:
    await set_up_tree(api)
    after = (await api.get(TREES[0], limit=1))["pagination"]["next"]
    assert names(await api.get(TREES[0], after=after, limit=1))
    for other in ({"sortBy": "id"}, {"order": "asc"}):
        answer = await api.get(TREES[0], status=400, after=after, **other)
        assert "is the cursor of another list, or of another order" in answer["message"]


@pytest.mark.parametrize(
    ("customer", "query", "code"),
    [
        ("cus-nobody", {}, "CustomerNotFound"),
        ("cus-nobody", {"featureIds": "tokens"}, "CustomerNotFound"),
        (CUSTOMER, {"featureIds": "words"}, "FeatureNotFound"),
        (CUSTOMER, {"featureIds": "tokens,words"}, "FeatureNotFound"),
        (CUSTOMER, {"currencyIds": "euro"}, "CurrencyNotFound"),
    ],
)
async def test_what_is_not_there_is_not_found(api: Api, customer: str, query: dict[str, Any], code: str) -> None:
    await set_up_tree(api)
    for path in TREES:
        answer = await api.get(path.replace(CUSTOMER, customer), status=404, **query)
        assert answer["code"] == code


async def test_asking_writes_nothing(api: Api) -> None:
    await set_up_tree(api)
    before = api.target.dump()
    for query in MODES:
        await api.get(TREES[0], **query, entityTypeIds="team")
    assert api.target.dump() == before
