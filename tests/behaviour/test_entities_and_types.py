"""Entities are found by their ids at the cost of their chains; entity types are replaced, or changed where given."""

from __future__ import annotations

import pytest

from behaviour.targets import Target
from behaviour.world import ACME, budget, found_acme
from headgate import AsyncHeadgate, InvalidInput, NotFound

DESCRIBED = {"id": "team", "display_name": "Team", "description": "Who works together", "attribution_keys": ["teamId"]}


async def test_entities_are_found_by_their_ids_and_only_those(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 100, parent="org-acme")
    await engine.governance.archive(ACME, ["team-ops"])
    everything = {each.id: each for each in await engine.governance.entities(ACME, include_archived=True)}
    target.scripts_sent()

    found = await engine.governance.find(ACME, ["team-ops", "team-eng", "team-nobody", "team-eng"])
    assert found == {id: everything[id] for id in ("team-ops", "team-eng")}
    assert (found["team-eng"].parent, found["team-ops"].archived_at_ms) == ("org-acme", target.clock.now_ms)
    assert await engine.governance.find(ACME, []) == {}
    assert "scan" not in target.scripts_sent()


async def test_finding_entities_refuses_what_is_no_list_of_ids(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    for ids in ("team-eng", ["team eng"], [f"team-{index}" for index in range(101)]):
        with pytest.raises(InvalidInput, match="ids"):
            await engine.governance.find(ACME, ids)
    assert await engine.governance.find(ACME, [f"team-{index}" for index in range(100)]) == {}
    with pytest.raises(NotFound, match="customer 'cus-nobody'"):
        await engine.governance.find("cus-nobody", ["team-eng"])


async def test_an_entity_type_is_replaced_unless_what_is_left_out_is_to_be_kept(engine: AsyncHeadgate) -> None:
    await engine.catalog.put_entity_types([DESCRIBED])
    (kept,) = await engine.catalog.put_entity_types([{"id": "team", "display_name": "Crew"}], keep_omitted=True)
    assert (kept.display_name, kept.description, kept.attribution_keys) == (
        "Crew",
        DESCRIBED["description"],
        ("teamId",),
    )
    (cleared,) = await engine.catalog.put_entity_types([{"id": "team", "description": ""}], keep_omitted=True)
    assert (cleared.display_name, cleared.description, cleared.attribution_keys) == ("Crew", "", ("teamId",))
    assert await engine.catalog.entity_types() == {"team": cleared}
    (replaced,) = await engine.catalog.put_entity_types([{"id": "team", "description": "New"}])
    assert (replaced.display_name, replaced.description, replaced.attribution_keys) == ("", "New", ())


async def test_keeping_what_is_left_out_makes_a_type_that_is_not_there(engine: AsyncHeadgate) -> None:
    (made,) = await engine.catalog.put_entity_types([{"id": "team"}], keep_omitted=True)
    assert (made.display_name, made.description, made.attribution_keys) == ("", "", ())
    assert await engine.catalog.entity_types() == {"team": made}


async def test_a_type_that_is_written_again_in_part_is_not_written(target: Target, engine: AsyncHeadgate) -> None:
    await engine.catalog.put_entity_types([DESCRIBED])
    before = target.dump()
    target.clock.advance(1_000)
    await engine.catalog.put_entity_types([{"id": "team", "display_name": "Team"}], keep_omitted=True)
    assert target.dump() == before


async def test_what_another_writer_gave_meanwhile_is_kept(target: Target, engine: AsyncHeadgate) -> None:
    await engine.catalog.put_entity_types([DESCRIBED])
    other = target.open_blocking()
    target.before("write_catalog", lambda: other.catalog.put_entity_types([{**DESCRIBED, "description": "theirs"}]))
    (after,) = await engine.catalog.put_entity_types([{"id": "team", "display_name": "Crew"}], keep_omitted=True)
    assert (after.display_name, after.description) == ("Crew", "theirs")


async def test_an_engine_says_which_environment_it_works_in(target: Target, engine: AsyncHeadgate) -> None:
    assert engine.environment == target.environment
