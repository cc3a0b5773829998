"""What every constraint in the way of a request decides and counts, whatever its place: leaf, middle, top, last."""

from __future__ import annotations

import pytest

from headgate.clock import ManualClock
from headgate.model.decision import DeniedReason
from scenarios.setting import CUSTOMER, FEATURE, Place, budget, check, consume, furnish, report


def test_a_dimension_that_comes_as_42_0_names_the_team_42(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    for id in ("42", "true"):
        engine.governance.put_entities(CUSTOMER, [{"id": id, "type": "team"}])
        engine.governance.put_assignments(
            CUSTOMER, [{"entity": id, "feature": FEATURE, "usage_limit": 10, "cadence": "P1M"}]
        )
    for team_id in (42.0, 42, "42", True, "true"):
        refused = consume(engine, 11, teamId=team_id)
        assert (refused.granted, refused.reason) == (False, DeniedReason.BUDGET_EXCEEDED), team_id
    assert consume(engine, 11, teamId=42.5).chains == ()


def test_an_archived_team_does_not_lift_the_budget_of_its_organisation(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    budget(engine, "org-acme", 10)
    team = budget(engine, "team-eng", 5, parent="org-acme")
    engine.governance.archive(CUSTOMER, ["team-eng"])
    assert consume(engine, 10, teamId="team-eng").granted
    refused = consume(engine, 1, teamId="team-eng")
    assert (refused.granted, refused.binding.entity) == (False, "org-acme")
    assert place.used(team) == 0
    engine.governance.unarchive(CUSTOMER, ["team-eng"])
    assert consume(engine, 0, teamId="team-eng").granted is True


CHAIN = ("org-acme", "team-eng", "user-ada")
DIMENSIONS = {"userId": "user-ada", "teamId": "team-eng"}


def make_chain(engine: object, **limits: int) -> list[int]:
    numbers = []
    for parent, entity in zip((None, *CHAIN), CHAIN, strict=False):
        limit = limits.get(entity.partition("-")[0])
        numbers.append(budget(engine, entity, limit, parent=parent))
    return numbers


@pytest.mark.parametrize("where", ["account", "org", "team", "user"])
def test_a_refused_request_leaves_no_trace_wherever_it_was_refused(place: Place, where: str) -> None:
    engine = place.open()
    furnish(engine, limit=100 if where == "account" else None)
    numbers = make_chain(engine, **{where: 100})
    assert consume(engine, 60, **DIMENSIONS).granted
    before = place.content()
    for ask in (check, consume):
        refused = ask(engine, 41, **DIMENSIONS)
        names = {"account": None, "org": "org-acme", "team": "team-eng", "user": "user-ada"}
        assert (refused.granted, refused.binding.entity) == (False, names[where])
        assert refused.binding.used == 60
    assert place.content() == before
    assert [place.used(number) for number in numbers] == [60, 60, 60]
    assert consume(engine, 40, **DIMENSIONS).granted


def test_an_ancestor_that_two_dimensions_share_is_counted_once(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    numbers = make_chain(engine)
    consume(engine, 3, **DIMENSIONS)
    report(engine, 4, dimensions=DIMENSIONS)
    assert [place.used(), *(place.used(number) for number in numbers)] == [7, 7, 7, 7]


def test_every_one_of_many_constraints_decides_and_counts(place: Place) -> None:
    """More than one hash of counters, and more than one of them in each."""
    engine = place.open()
    furnish(engine, limit=None)
    scopes = [f"user-{number}" for number in range(70)]
    engine.governance.put_entities(CUSTOMER, [{"id": "team-eng", "type": "team"}])
    engine.governance.put_entities(CUSTOMER, [{"id": scope, "type": "user"} for scope in scopes])
    upserts = [
        {"entity": entity, "feature": FEATURE, "usage_limit": 100, "cadence": "P1M"} for entity in (*scopes, "team-eng")
    ]
    written = engine.governance.put_assignments(CUSTOMER, upserts)
    number_of = {upsert["entity"]: each.number for upsert, each in zip(upserts, written, strict=True)}
    buckets = {number // 64 for number in number_of.values()}
    assert len(buckets) >= 2
    for user in (scopes[0], scopes[1], scopes[62], scopes[63], scopes[64], scopes[69]):
        dimensions = {"userId": user, "teamId": "team-eng"}
        assert consume(engine, 10, **dimensions).granted
        refused = consume(engine, 91, **dimensions)
        assert (refused.granted, refused.binding.entity) == (
            False,
            "team-eng" if user != scopes[0] else refused.binding.entity,
        )
        assert place.used(number_of[user]) == 10
    assert (place.used(), place.used(number_of["team-eng"])) == (60, 60)
    assert consume(engine, 90, userId=scopes[69]).granted
    assert not consume(engine, 1, userId=scopes[69]).granted
    assert consume(engine, 1, userId=scopes[68]).granted


@pytest.mark.parametrize("width", range(1, 7))
def test_every_number_of_counters_in_a_hash_is_read_and_written(place: Place, width: int) -> None:
    """One to six budgets on one team, all for the same request: node-wide, and for each of its scopes."""
    engine = place.open()
    furnish(engine, limit=None)
    engine.governance.put_entities(
        CUSTOMER, [{"id": "team-eng", "type": "team"}, *({"id": id, "type": "user"} for id in ("user-a", "user-b"))]
    )
    given = [(), ("user-a",), ("user-b",), ("user-a", "user-b"), ("team-eng",), ("team-eng", "user-a")][:width]
    written = engine.governance.put_assignments(
        CUSTOMER,
        [
            {"entity": "team-eng", "feature": FEATURE, "scope": scope, "usage_limit": 100, "cadence": "P1M"}
            for scope in given
        ],
    )
    assert {each.number // 64 for each in written} == {0}
    engine.catalog.put_entity_types([{"id": "user", "attribution_keys": ["userId", "peerId"]}])
    dimensions = {"teamId": "team-eng", "userId": "user-a", "peerId": "user-b"}
    for granted, amount in ((True, 60), (False, 41), (True, 40), (False, 0.5)):
        decision = consume(engine, amount, **dimensions)
        assert (decision.granted, len(decision.constraints)) == (granted, width + 1)
    assert [place.used(), *(place.used(each.number) for each in written)] == [100] * (width + 1)
    report(engine, 1.5, dimensions=dimensions)
    assert [place.used(), *(place.used(each.number) for each in written)] == [101.5] * (width + 1)


def test_a_scoped_and_a_node_wide_budget_on_one_entity_both_decide(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    wide = budget(engine, "team-eng", 100)
    engine.governance.put_entities(CUSTOMER, [{"id": "user-ada", "type": "user"}])
    (scoped,) = engine.governance.put_assignments(
        CUSTOMER,
        [{"entity": "team-eng", "feature": FEATURE, "scope": ["user-ada"], "usage_limit": 10, "cadence": "P1M"}],
    )
    assert consume(engine, 10, **DIMENSIONS).granted
    refused = consume(engine, 1, **DIMENSIONS)
    assert (refused.granted, refused.binding.scope) == (False, ("user-ada",))
    assert consume(engine, 90, teamId="team-eng").granted
    assert (place.used(wide), place.used(scoped.number)) == (100, 10)


def test_a_report_counts_beyond_every_limit(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=10)
    numbers = make_chain(engine, org=10, team=10, user=10)
    report(engine, 1_000, dimensions=DIMENSIONS)
    assert [place.used(), *(place.used(number) for number in numbers)] == [1_000] * 4


def test_a_correction_stops_at_0_and_says_what_was_applied(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", None)
    report(engine, 30)
    report(engine, 20.5, dimensions={"teamId": "team-eng"})
    receipt = report(engine, -45, dimensions={"teamId": "team-eng"})
    assert (receipt.account.applied, receipt.account.state.used) == (-45, 5.5)
    assert [(each.applied, each.state.used) for each in receipt.entities] == [(-20.5, 0)]
    assert (place.used(), place.used(number)) == (5.5, 0)


def test_set_makes_the_account_absolute_and_sends_the_difference_to_the_entities(
    place: Place, clock: ManualClock
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=None)
    number = budget(engine, "team-eng", None)
    team = {"dimensions": {"teamId": "team-eng"}}
    report(engine, 100)
    receipt = report(engine, 130, behavior="SET", **team)
    assert (receipt.account.applied, receipt.account.state.used) == (30, 130)
    assert [(each.applied, each.state.used) for each in receipt.entities] == [(30, 30)]
    receipt = report(engine, 80, behavior="SET", **team)
    assert (receipt.account.applied, receipt.entities[0].applied) == (-50, -30)
    assert (place.used(), place.used(number)) == (80, 0)


def test_a_soft_limit_is_counted_and_does_not_refuse(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=10, has_soft_limit=True)
    assert consume(engine, 1_000).granted
    assert place.used() == 1_000
