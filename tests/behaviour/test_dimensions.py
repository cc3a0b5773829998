"""Dimensions only look things up: what they do not find is ignored, and never an error."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.targets import Target
from behaviour.world import ACME, TOKENS, ask, budget, count, found_acme, found_chain, names, spend, used
from headgate import AsyncHeadgate


async def test_no_dimensions_give_no_chains(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    assert (await engine.check(ACME, feature=TOKENS)).chains is None
    assert (await engine.check(ACME, feature=TOKENS, dimensions=None)).chains is None
    assert (await engine.check(ACME, feature=TOKENS, dimensions={})).chains is None
    assert (await engine.consume(ACME, feature=TOKENS, dimensions={})).chains is None


@pytest.mark.parametrize(
    "dimensions",
    [
        {"teamId": "team-none"},
        {"tenantId": "team-eng"},
        {"userId": "team-eng"},
        {"teamId": "Team-Eng"},
        {"teamId": ""},
        {"teamId": "not an id: {*}"},
        {"teamId": "équipe"},
        {"teamId": "x" * 300},
        {"teamId": True},
        {"teamId": float("nan")},
        {"": "team-eng"},
    ],
    ids=str,
)
async def test_dimensions_that_match_nothing_give_empty_chains_and_no_denial(
    engine: AsyncHeadgate, dimensions: dict[str, Any]
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 0)
    decision = await spend(engine, 5, **dimensions)
    assert decision.granted
    assert decision.chains == ()
    assert await used(engine) == {"account": 5, "team-eng": 0}


async def test_an_entity_without_a_budget_gives_empty_chains(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    assert (await ask(engine, teamId="team-eng")).chains == ()


async def test_nodes_without_a_budget_are_left_out_of_their_chain(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "team-ops", 10, parent="org-acme", feature="feature-seats")
    await budget(engine, "user-bob", 10, parent="team-ops")
    assert names(await ask(engine, userId="user-bob", modelId="model-large")) == [["user-bob", "org-acme"]]


async def test_what_is_unknown_beside_what_is_known_changes_nothing(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    decision = await spend(engine, 3, unknownKey="x", teamId="team-eng", userId="user-none")
    assert names(decision) == [["team-eng", "org-acme"]]
    assert await used(engine) == {"account": 3, "org-acme": 3, "team-eng": 3, "user-ann": 0}


@pytest.mark.parametrize(
    ("value", "id"),
    [
        (42.0, "42"),
        (42, "42"),
        ("42", "42"),
        (True, "true"),
        (False, "false"),
        (0.5, "0.5"),
        (1e-7, "1e-7"),
        (-0.0, "0"),
    ],
)
async def test_numbers_and_booleans_match_as_javascript_prints_them(
    engine: AsyncHeadgate, value: str | float | bool, id: str
) -> None:
    await found_acme(engine)
    await engine.governance.put_entities(ACME, [{"id": id, "type": "team"}])
    await budget(engine, id, 10)
    assert names(await ask(engine, teamId=value)) == [[id]]


async def test_a_number_does_not_match_the_way_python_prints_it(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.governance.put_entities(ACME, [{"id": "42.0", "type": "team"}, {"id": "True", "type": "team"}])
    await budget(engine, "42.0", 10)
    await budget(engine, "True", 10)
    assert (await ask(engine, teamId=42.0)).chains == ()
    assert (await ask(engine, teamId=True)).chains == ()


async def test_both_attribution_keys_of_a_type_name_its_entities(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10)
    await budget(engine, "team-ops", 10)
    assert names(await ask(engine, squadId="team-eng")) == [["team-eng"]]
    assert names(await ask(engine, teamId="team-eng", squadId="team-ops")) == [["team-eng"], ["team-ops"]]


async def test_a_key_of_several_types_finds_entities_of_each(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.catalog.put_entity_types([{"id": "guild", "attribution_keys": ["teamId"]}])
    await engine.governance.put_entities(ACME, [{"id": "guild-perf", "type": "guild"}])
    await budget(engine, "guild-perf", 10)
    await budget(engine, "team-eng", 10)
    assert names(await ask(engine, teamId="guild-perf")) == [["guild-perf"]]
    assert names(await ask(engine, teamId="team-eng")) == [["team-eng"]]


async def test_entities_of_another_customer_are_not_found(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 0)
    await engine.customers.put("cus-other")
    await engine.customers.grant_entitlement("cus-other", {"feature": TOKENS, "usage_limit": 10})
    decision = await engine.consume("cus-other", feature=TOKENS, amount=10, dimensions={"teamId": "team-eng"})
    assert decision.granted
    assert decision.chains == ()


async def test_an_id_that_was_unknown_counts_from_the_call_after_it_became_a_team(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_acme(engine)
    for _ in range(3):
        assert (await spend(engine, 1, teamId="team-new")).chains == ()
    writer = target.open()
    await writer.governance.put_entities(ACME, [{"id": "team-new", "type": "team"}])
    await budget(writer, "team-new", 5)

    decision = await spend(engine, 5, teamId="team-new")

    assert names(decision) == [["team-new"]]
    assert decision.granted
    assert not (await spend(engine, 1, teamId="team-new")).granted
    assert await used(engine) == {"account": 8, "team-new": 5}


async def test_an_unknown_id_beside_a_known_shape_is_looked_up_again_when_the_configuration_moved(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 100)
    await count(engine, 1, teamId="team-eng")
    await count(engine, 1, teamId="team-eng", userId="user-new")
    writer = target.open()
    await writer.governance.put_entities(ACME, [{"id": "user-new", "type": "user"}])
    await budget(writer, "user-new", 100)
    await count(engine, 1, teamId="team-eng")  # brings the shape without the user to the new configuration

    await count(engine, 1, teamId="team-eng", userId="user-new")

    assert (await used(engine))["user-new"] == 1


async def test_an_attribution_key_that_is_added_counts_on_the_next_call(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "model-large", 0)
    assert (await spend(engine, 1, llm="model-large")).chains == ()
    await target.open().catalog.put_entity_types([{"id": "model", "attribution_keys": ["modelId", "llm"]}])
    assert not (await spend(engine, 1, llm="model-large")).granted


async def test_explain_says_what_each_dimension_matched_and_which_budgets_did_not_apply(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "team-eng", 5, scope=["model-large", "user-bob"])
    await engine.governance.archive(ACME, ["user-ann"])
    explained = await engine.explain(
        ACME,
        feature=TOKENS,
        requested_usage=2_000,
        dimensions={"userId": "user-ann", "modelId": "model-large", "teamId": "team-x", "orgId": "team-eng", "no": 1},
    )
    assert not explained.decision.granted
    assert {match.key: (match.entity, match.note) for match in explained.dimensions} == {
        "userId": ("user-ann", "archived: its own budgets do not apply"),
        "modelId": ("model-large", "matched"),
        "teamId": (None, "there is no entity 'team-x': ignored"),
        "orgId": (None, "'team-eng' is a 'team', this key names org"),
        "no": (None, "no entity type has this attribution key: ignored"),
    }
    assert [(each.entity, each.scope, each.missing) for each in explained.skipped] == [
        ("team-eng", ("model-large", "user-bob"), ("user-bob",))
    ]
