"""Set-up: upserts that say nothing new write nothing, and what would break the rules is refused whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from behaviour.targets import Target
from behaviour.world import (
    ACME,
    ENTITIES,
    ENTITY_TYPES,
    FEATURES,
    TOKENS,
    ask,
    budget,
    count,
    entitle,
    found_acme,
    found_chain,
    names,
    spend,
    used,
)
from headgate import AsyncHeadgate, Conflict, Entity, InvalidInput, ManualClock, Policy


async def refused(target: Target, upserts: list[dict[str, Any]]) -> tuple[str, object, str]:
    """Try to write budgets, and return the one problem that was named, after a look that nothing was written."""
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await target.engine.governance.put_assignments(ACME, upserts)
    assert target.dump() == before
    (problem,) = caught.value.problems
    return problem.field, problem.value, problem.rule


async def parents(engine: AsyncHeadgate) -> dict[str, str | None]:
    return {entity.id: entity.parent for entity in await engine.governance.entities(ACME)}


async def test_set_up_that_says_nothing_new_writes_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await engine.customers.put(ACME, name="Acme", email="ops@acme.example", metadata={"tier": "1"})
    await engine.governance.archive(ACME, ["user-bob"])
    before = target.dump()
    target.clock.advance(5)

    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.customers.put(ACME, name="Acme")
    await engine.customers.put(ACME, name="Acme", email="ops@acme.example", metadata={"tier": "1"})
    await engine.customers.unarchive(ACME)
    await entitle(engine, 1_000)
    await engine.governance.put_entities(ACME, [each for each in ENTITIES if each["id"] != "user-bob"])
    await budget(engine, "org-acme", 1_000)
    await budget(engine, "team-eng", 1_000, parent="org-acme")
    await budget(engine, "user-ann", 1_000)
    await engine.governance.archive(ACME, ["user-bob"])
    await engine.governance.unarchive(ACME, ["user-ann"])

    assert target.dump() == before


async def test_a_policy_that_is_applied_again_changes_and_writes_nothing(target: Target, engine: AsyncHeadgate) -> None:
    policy = Policy.parse(
        {
            "features": {TOKENS: {"type": "NUMBER", "meter": "INCREMENTAL"}},
            "entity_types": {"org": {"keys": ["orgId"]}, "team": {"keys": ["teamId"]}},
            "customers": {
                ACME: {
                    "entitlements": {TOKENS: {"limit": 1_000, "reset": "MONTH"}},
                    "entities": {
                        "org-acme": {
                            "type": "org",
                            "budgets": [{"feature": TOKENS, "limit": 500, "every": "P1M"}],
                            "children": {
                                "team-eng": {
                                    "type": "team",
                                    "budgets": [{"feature": TOKENS, "limit": 100, "every": "P1D"}],
                                }
                            },
                        }
                    },
                }
            },
        }
    )
    assert await engine.apply(policy)
    before = target.dump()
    assert await engine.apply(policy) == []
    assert target.dump() == before
    assert names(await ask(engine, teamId="team-eng")) == [["team-eng", "org-acme"]]


async def test_a_dry_run_tells_what_would_change_and_writes_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    before = target.dump()
    changes = await engine.apply(Policy.parse({"customers": {"cus-new": {"name": "New"}}}), dry_run=True)
    assert [str(change) for change in changes] == ["customers.cus-new is created: {'name': 'New'}"]
    assert target.dump() == before


async def test_what_an_upsert_leaves_out_stays_as_it_is(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.customers.put(ACME, name="Acme", email="a@acme.example", metadata={"tier": "1"})
    changed = await engine.customers.put(ACME, email="b@acme.example")
    assert (changed.name, changed.email, changed.metadata) == ("Acme", "b@acme.example", {"tier": "1"})

    await engine.governance.put_entities(ACME, [{"id": "team-eng", "display_name": "Eng", "metadata": {"a": "1"}}])
    (entity,) = await engine.governance.put_entities(ACME, [{"id": "team-eng", "metadata": {"b": "2"}}])
    assert (entity.type, entity.display_name, entity.metadata) == ("team", "Eng", {"a": "1", "b": "2"})
    (entity,) = await engine.governance.put_entities(ACME, [{"id": "team-eng", "metadata": {"a": ""}}])
    assert entity.metadata == {"b": "2"}

    await budget(engine, "team-eng", 10, cadence="P1D")
    (assignment,) = await engine.governance.put_assignments(
        ACME, [{"entity": "team-eng", "feature": TOKENS, "usage_limit": 20}]
    )
    assert (assignment.usage_limit, assignment.cadence) == (20, "P1D")
    (assignment,) = await engine.governance.put_assignments(
        ACME, [{"entity": "team-eng", "feature": TOKENS, "cadence": "P1W"}]
    )
    assert (assignment.usage_limit, assignment.cadence) == (20, "P1W")
    (assignment,) = await engine.governance.put_assignments(
        ACME, [{"entity": "team-eng", "feature": TOKENS, "usage_limit": None}]
    )
    assert assignment.usage_limit is None


async def test_a_parent_that_is_left_out_stays_none_detaches_and_an_id_sets_it(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "org-acme", 10)
    await budget(engine, "team-eng", 10)
    assert (await parents(engine))["team-eng"] is None
    await budget(engine, "team-eng", 10, parent="org-acme")
    assert (await parents(engine))["team-eng"] == "org-acme"
    await budget(engine, "team-eng", 11)
    assert (await parents(engine))["team-eng"] == "org-acme"
    assert names(await ask(engine, teamId="team-eng")) == [["team-eng", "org-acme"]]
    await budget(engine, "team-eng", 11, parent=None)
    assert (await parents(engine))["team-eng"] is None
    assert names(await ask(engine, teamId="team-eng")) == [["team-eng"]]


async def test_the_parent_is_the_entitys_and_not_one_for_each_budget(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "org-acme", 10)
    await budget(engine, "team-eng", 10, feature="feature-seats", parent="org-acme")
    await budget(engine, "team-eng", 10, scope=["model-large"])
    assert names(await ask(engine, teamId="team-eng")) == [["org-acme"]]


async def test_a_scope_is_a_set_and_part_of_a_budgets_key(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10, scope=["model-large", "user-ann"])
    await budget(engine, "team-eng", 20, scope=["user-ann", "model-large", "user-ann"])
    await budget(engine, "team-eng", 30)
    budgets = await engine.governance.assignments(ACME)
    assert [(each.entity, each.assignment.scope, each.assignment.usage_limit) for each in budgets] == [
        ("team-eng", (), 30),
        ("team-eng", ("model-large", "user-ann"), 20),
    ]
    assert {each.feature for each in budgets} == {TOKENS}


async def test_a_moved_team_counts_on_its_new_organisation_from_the_next_call(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await engine.governance.put_entities(ACME, [{"id": "org-beta", "type": "org"}])
    await budget(engine, "org-beta", 1_000)
    await count(engine, 7, userId="user-ann")
    await budget(engine, "team-eng", 1_000, parent="org-beta")

    await count(engine, 5, userId="user-ann")

    assert await used(engine) == {"account": 12, "org-acme": 7, "org-beta": 5, "team-eng": 12, "user-ann": 12}


async def test_a_changed_cadence_keeps_what_was_used_and_gives_no_budget_twice(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10, cadence="P1D")
    clock.advance(3 * 86_400_000 + 3_600_000)
    await spend(engine, 9, teamId="team-eng")
    for cadence in ("P1M", "P1D", "P1Y", "P1D"):
        await budget(engine, "team-eng", 10, cadence=cadence)
        assert not (await spend(engine, 2, teamId="team-eng")).granted
        assert (await used(engine))["team-eng"] == 9


async def test_a_cadence_whose_period_began_later_starts_at_zero_once(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10, cadence="P1M")
    await spend(engine, 9, teamId="team-eng")
    clock.advance(3 * 86_400_000)
    await budget(engine, "team-eng", 10, cadence="P1D")
    assert (await spend(engine, 8, teamId="team-eng")).granted
    for cadence in ("P1M", "P1D"):
        await budget(engine, "team-eng", 10, cadence=cadence)
        assert not (await spend(engine, 3, teamId="team-eng")).granted


async def test_an_archived_team_does_not_lift_its_organisations_budget(engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=5, org=100)
    await spend(engine, 5, teamId="team-eng")
    await engine.governance.archive(ACME, ["team-eng"])

    decision = await spend(engine, 95, userId="user-ann")
    assert decision.granted
    assert names(decision) == [["user-ann", "org-acme"]]
    refused = await spend(engine, 1, teamId="team-eng")
    assert names(refused) == [["org-acme"]]
    assert refused.binding is not None
    assert refused.binding.name == "org-acme"
    assert [each.id for each in await engine.governance.entities(ACME)] == [
        "model-large",
        "model-small",
        "org-acme",
        "team-ops",
        "user-ann",
        "user-bob",
    ]
    assert "team-eng" in {each.id for each in await engine.governance.entities(ACME, include_archived=True)}


async def test_an_archived_entity_comes_back_with_its_usage_and_its_parent(engine: AsyncHeadgate) -> None:
    await found_chain(engine, team=5)
    await spend(engine, 5, teamId="team-eng")
    back: list[Callable[[], Awaitable[list[Entity]]]] = [
        lambda: engine.governance.unarchive(ACME, ["team-eng"]),
        lambda: engine.governance.put_entities(ACME, [{"id": "team-eng"}]),
    ]
    for bring_back in back:
        await engine.governance.archive(ACME, ["team-eng"])
        assert (await ask(engine, 1, teamId="team-eng")).granted
        (entity,) = await bring_back()
        assert entity.archived_at_ms is None
        decision = await ask(engine, 1, teamId="team-eng")
        assert names(decision) == [["team-eng", "org-acme"]]
        assert not decision.granted


async def test_an_archived_entity_still_counts_as_present_for_a_scope(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10, scope=["model-large"])
    await engine.governance.archive(ACME, ["model-large"])
    assert names(await ask(engine, teamId="team-eng", modelId="model-large")) == [["team-eng[model-large]"]]


async def test_a_cycle_is_refused_with_its_path(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    field, value, rule = await refused(
        target, [{"entity": "org-acme", "feature": TOKENS, "parent": "user-ann", "usage_limit": 5}]
    )
    assert (field, value) == ("assignments[0].parent", "user-ann")
    assert rule == "makes a cycle: org-acme → user-ann → team-eng → org-acme"


async def test_an_entity_is_not_its_own_parent(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    field, _, rule = await refused(target, [{"entity": "org-acme", "feature": TOKENS, "parent": "org-acme"}])
    assert field == "assignments[0].parent"
    assert "cycle" in rule


async def test_a_cycle_within_one_call_is_refused_whole(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    new = {"feature": TOKENS, "usage_limit": 1, "cadence": "P1D"}
    field, _, rule = await refused(
        target,
        [
            {"entity": "team-eng", "parent": "team-ops", **new},
            {"entity": "team-ops", "parent": "team-eng", **new},
        ],
    )
    assert field == "assignments[1].parent"
    assert rule == "makes a cycle: team-ops → team-eng → team-ops"


async def test_a_fifth_level_is_refused(target: Target, engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "user-bob", 1, parent="user-ann")
    field, value, rule = await refused(
        target,
        [{"entity": "model-large", "feature": TOKENS, "parent": "user-bob", "usage_limit": 1, "cadence": "P1D"}],
    )
    assert (field, value, rule) == ("assignments[0].parent", "user-bob", "makes 5 levels: at most 4")


async def test_a_subtree_that_no_longer_fits_below_its_new_parent_is_refused(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    await budget(engine, "team-ops", 1)
    await budget(engine, "user-bob", 1, parent="team-ops")
    _, _, rule = await refused(target, [{"entity": "org-acme", "feature": TOKENS, "parent": "user-bob"}])
    assert rule == "makes 5 levels: at most 4"
    await budget(engine, "org-acme", 1_000, parent="team-ops")  # one level higher, it fits
    assert names(await ask(engine, userId="user-ann")) == [["user-ann", "team-eng", "org-acme", "team-ops"]]


async def test_what_left_a_subtree_makes_room_for_others(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "user-bob", 1, parent="user-ann")
    await budget(engine, "user-bob", 1, parent=None)
    await budget(engine, "team-ops", 1)
    await budget(engine, "org-acme", 1_000, parent="team-ops")
    assert names(await ask(engine, userId="user-ann")) == [["user-ann", "team-eng", "org-acme", "team-ops"]]


@pytest.mark.parametrize("first_move_stays", [True, False])
async def test_of_two_moves_that_make_a_cycle_only_together_one_is_refused(
    target: Target, engine: AsyncHeadgate, first_move_stays: bool
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10)
    await budget(engine, "team-ops", 10)
    other = target.open_blocking()
    parent = "team-eng" if first_move_stays else None

    def meanwhile() -> None:
        other.governance.put_assignments(ACME, [{"entity": "team-ops", "feature": TOKENS, "parent": parent}])

    target.before("configure", meanwhile)
    if first_move_stays:
        with pytest.raises(InvalidInput, match="makes a cycle: team-eng → team-ops → team-eng"):
            await budget(engine, "team-eng", 10, parent="team-ops")
        assert await parents(engine) | {"team-ops": "team-eng", "team-eng": None} == await parents(engine)
    else:
        await budget(engine, "team-eng", 10, parent="team-ops")
        assert (await parents(engine))["team-eng"] == "team-ops"


async def test_two_writers_of_one_customer_both_get_their_change(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    other = target.open_blocking()

    def meanwhile() -> None:
        other.governance.put_assignments(
            ACME, [{"entity": "team-ops", "feature": TOKENS, "usage_limit": 7, "cadence": "P1D"}]
        )

    target.before("configure", meanwhile)
    await budget(engine, "team-eng", 5)
    await count(engine, 1, teamId="team-eng")
    await count(engine, 2, teamId="team-ops")
    assert await used(engine) == {"account": 3, "team-eng": 1, "team-ops": 2}


async def test_two_writers_of_the_catalog_both_get_their_change(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    other = target.open_blocking()
    target.before("write_catalog", lambda: other.catalog.put_features([{"id": "mine", "feature_type": "BOOLEAN"}]))
    await engine.catalog.put_features([{"id": "yours", "feature_type": "BOOLEAN"}])
    assert {"mine", "yours"} <= set(await engine.catalog.features())


async def test_256_constraints_stand_in_the_way_and_the_257th_is_refused(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    scopes = [f"scope-{number}" for number in range(300)]
    for first in range(0, len(scopes), 100):
        await engine.governance.put_entities(ACME, [{"id": id, "type": "model"} for id in scopes[first : first + 100]])
    new = {"entity": "team-eng", "feature": TOKENS, "usage_limit": 1_000, "cadence": "P1M"}
    upserts = [{**new, "scope": [id]} for id in scopes[:254]] + [new]
    for first in range(0, len(upserts), 100):
        await engine.governance.put_assignments(ACME, upserts[first : first + 100])

    field, value, rule = await refused(target, [{**new, "scope": [scopes[254]]}])

    assert (field, value) == ("assignments[0].scope", ["scope-254"])
    assert rule == "its chain would bring 257 constraints to a request: at most 256"
    _, _, rule = await refused(target, [{**new, "entity": "user-ann", "parent": "team-eng"}])
    assert rule == "its chain would bring 257 constraints to a request: at most 256"
    decision = await spend(engine, 10, teamId="team-eng")
    assert decision.granted
    assert names(decision) == [["team-eng"]]


async def test_a_request_in_whose_way_stand_256_constraints_counts_on_all_of_them(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    keys = [f"key{number}" for number in range(255)]
    types = [{"id": f"type-{key}", "attribution_keys": [key]} for key in keys]
    await engine.catalog.put_entity_types(types)
    for first in range(0, len(keys), 100):
        part = keys[first : first + 100]
        await engine.governance.put_entities(ACME, [{"id": f"the-{key}", "type": f"type-{key}"} for key in part])
        await engine.governance.put_assignments(
            ACME,
            [{"entity": f"the-{key}", "feature": TOKENS, "usage_limit": 10, "cadence": "P1D"} for key in part],
        )
    dimensions = {key: f"the-{key}" for key in keys}
    decision = await spend(engine, 10, **dimensions)
    assert decision.granted
    assert len(decision.constraints) == 256
    assert not (await spend(engine, 1, key254="the-key254")).granted
    assert (await count(engine, 1, **dimensions)).account.state.used == 11
    await budget(engine, "team-eng", 10)
    before = await used(engine)
    with pytest.raises(Conflict, match="257 constraints stand in the way of this request: at most 256 may"):
        await spend(engine, 1, teamId="team-eng", **dimensions)
    assert await used(engine) == before


@pytest.mark.parametrize(
    ("upsert", "field", "rule"),
    [
        ({"entity": "team-none"}, "entity", "there is no such entity"),
        ({"parent": "team-none"}, "parent", "there is no such entity"),
        ({"scope": ["team-none"]}, "scope", "there is no such entity"),
        ({"feature": "feature-none"}, "feature", "there is no such feature"),
        ({"feature": "feature-sso"}, "feature", "is not metered"),
        ({"feature": None, "currency": "currency-x"}, "currency", "there is no such currency"),
        ({"entity": "user-bob"}, "entity", "is archived"),
    ],
    ids=str,
)
async def test_a_budget_of_what_is_not_there_is_refused(
    target: Target, engine: AsyncHeadgate, upsert: dict[str, Any], field: str, rule: str
) -> None:
    await found_acme(engine)
    await engine.governance.archive(ACME, ["user-bob"])
    new = {"entity": "team-eng", "feature": TOKENS, "usage_limit": 1, "cadence": "P1D"}
    good = {**new, "entity": "team-ops"}
    named, _, said = await refused(target, [good, {**new, **upsert}])
    assert named == f"assignments[1].{field}"
    assert rule in said


@pytest.mark.parametrize("missing", ["usage_limit", "cadence"])
async def test_a_new_budget_needs_its_limit_and_its_cadence(
    target: Target, engine: AsyncHeadgate, missing: str
) -> None:
    await found_acme(engine)
    new = {"entity": "team-eng", "feature": TOKENS, "usage_limit": None, "cadence": "P1D"}
    del new[missing]
    assert await refused(target, [new]) == (
        f"assignments[0].{missing}",
        None,
        "is required to give 'team-eng' a budget",
    )


async def test_an_entity_and_a_feature_keep_their_type(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    before = target.dump()
    with pytest.raises(InvalidInput, match=r"entities\[0\]\.type: 'org': 'team-eng' is a 'team': an entity keeps its"):
        await engine.governance.put_entities(ACME, [{"id": "team-eng", "type": "org"}])
    with pytest.raises(InvalidInput, match=r"entities\[0\]\.type: None: is required to create 'team-new'"):
        await engine.governance.put_entities(ACME, [{"id": "team-new"}])
    with pytest.raises(InvalidInput, match=r"entities\[0\]\.type: 'planet': there is no such entity type"):
        await engine.governance.put_entities(ACME, [{"id": "team-new", "type": "planet"}])
    with pytest.raises(InvalidInput, match=r"features\[0\]\.feature_type: .*: a feature keeps its type"):
        await engine.catalog.put_features([{"id": TOKENS, "feature_type": "BOOLEAN"}])
    with pytest.raises(InvalidInput, match=r"features\[0\]\.feature_type: .*: a feature keeps its type"):
        await engine.catalog.put_features(
            [{"id": TOKENS, "feature_type": "NUMBER", "meter_type": "FLUCTUATING"}],
        )
    assert target.dump() == before


async def test_a_tree_shows_every_entity_with_its_numbers(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "team-eng", 5, scope=["model-large"])
    await engine.governance.archive(ACME, ["user-ann"])
    await count(engine, 3, teamId="team-eng", modelId="model-large")
    tree = await engine.governance.tree(ACME, feature=TOKENS)
    assert [root.entity.id for root in tree.roots] == ["model-large", "model-small", "org-acme", "team-ops", "user-bob"]
    assert [node.entity.id for node in tree.roots[2].walk()] == ["org-acme", "team-eng", "user-ann"]
    (team,) = tree.roots[2].children
    assert [(state.name, state.used, state.limit) for state in team.states] == [
        ("team-eng", 3, 1_000),
        ("team-eng[model-large]", 3, 5),
    ]
    data = tree.as_dict()
    assert data["account"]["used"] == 3
    assert data["roots"][2]["children"][0]["children"][0]["archived"] is True
