"""Tokens are never used twice: whatever is erased, restored or lost, no instance goes on with what was true before."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from headgate.calls import Call, Reply
from headgate.clock import ManualClock
from headgate.errors import InvalidInput
from headgate.model.decision import DeniedReason
from headgate.model.governance import AssignmentUpsert
from headgate.verbs import governance
from headgate.wire import Status, token_number
from scenarios.setting import (
    CUSTOMER,
    DAY_MS,
    FEATURE,
    PARTITIONS,
    Between,
    ByHand,
    Place,
    budget,
    check,
    consume,
    entitle,
    furnish,
    report,
    send,
)

HUGE = 1_000_000


def own_keys(place: Place) -> list[bytes]:
    return [name for name in place.names() if f":{CUSTOMER}:".encode() in name]


def test_a_changed_limit_holds_on_the_next_call_of_an_instance_that_never_listened(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(engine, limit=HUGE)
    assert consume(engine, 1).granted
    entitle(other, limit=10)
    assert not check(engine, 5_000).granted
    assert not consume(engine, 5_000).granted
    assert place.used() == 1


def test_a_changed_budget_holds_on_the_next_call_too(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(engine, limit=None)
    budget(engine, "team-eng", HUGE)
    assert consume(engine, 1, teamId="team-eng").granted
    budget(other, "team-eng", 10)
    assert consume(engine, 5_000, teamId="team-eng").reason is DeniedReason.BUDGET_EXCEEDED
    assert place.used() == 1


def test_a_customer_that_was_erased_and_made_again_is_another_one(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(engine, limit=HUGE)
    assert consume(engine, 1).granted

    place.erase(own_keys(place))
    furnish(other, limit=10)
    assert not consume(engine, 5_000).granted
    assert consume(engine, 10).granted
    assert place.used() == 10


def test_an_erased_customer_is_not_found_by_an_instance_that_knew_it(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=HUGE)
    assert consume(engine, 1).granted
    place.erase(own_keys(place))
    assert consume(engine, 1).reason is DeniedReason.CUSTOMER_NOT_FOUND
    assert own_keys(place) == []


def test_a_restored_customer_has_its_restored_limit(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(other, limit=10)
    saved = place.save(*own_keys(place))
    entitle(other, limit=HUGE)
    assert consume(engine, 1).granted

    place.put_back(saved)
    assert not consume(engine, 5_000).granted
    assert place.used() == 0


def test_an_instance_that_knew_a_lost_write_does_not_go_on_with_it(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(other, limit=100)
    replica = place.save(*own_keys(place))
    entitle(other, limit=HUGE)  # the second change, which no replica gets
    assert consume(engine, 1).granted

    place.put_back(replica)
    entitle(other, limit=10)  # another second change, on the promoted replica
    assert not consume(engine, 5_000).granted
    assert consume(engine, 10).granted
    assert place.used() == 10


def test_a_denial_that_needs_no_counter_is_stale_too(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(other)
    other.customers.put("cus-new")
    assert check(engine, 1, customer="cus-none").reason is DeniedReason.CUSTOMER_NOT_FOUND
    assert check(engine, 1, customer="cus-new").reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    unknown = engine.check(CUSTOMER, feature="feature-seats")
    assert unknown.reason is DeniedReason.FEATURE_NOT_FOUND

    furnish(other, customer="cus-none")
    entitle(other, limit=5, customer="cus-new")
    other.catalog.put_features([{"id": "feature-seats", "feature_type": "BOOLEAN"}])
    other.customers.grant_entitlement(CUSTOMER, {"feature": "feature-seats"})
    assert check(engine, 1, customer="cus-none").granted
    assert check(engine, 5, customer="cus-new").granted
    assert engine.check(CUSTOMER, feature="feature-seats").granted

    other.customers.revoke_entitlement(CUSTOMER, feature="feature-seats")
    assert engine.check(CUSTOMER, feature="feature-seats").reason is DeniedReason.REVOKED


def test_a_changed_catalog_holds_on_the_next_call_of_an_instance_that_never_listened(place: Place) -> None:
    engine, other = place.open(), place.open()
    furnish(other, limit=None)
    budget(other, "team-eng", 10)
    assert consume(engine, 50, squadId="team-eng").granted  # the dimension means nothing yet

    other.catalog.put_entity_types([{"id": "team", "attribution_keys": ["teamId", "squadId"]}])
    assert consume(engine, 50, squadId="team-eng").reason is DeniedReason.BUDGET_EXCEEDED
    assert place.used() == 50


# Writers that get in between.


def breaking_in(place: Place, moment: int, change: Callable[[], None]) -> Between:
    """A transport on which a writer gets in right before the call of that number, from 0."""

    def step(call: Call, send_on: Callable[[], Reply]) -> Reply:
        if len(between.calls) == moment + 1:
            change()
        return send_on()

    between = Between(place.transport(), step)
    return between


@pytest.mark.parametrize("moment", range(4))
def test_a_writer_who_gets_in_at_any_moment_of_a_cold_consume_is_noticed(place: Place, moment: int) -> None:
    other = place.open()
    furnish(other, limit=HUGE)
    between = breaking_in(place, moment, lambda: entitle(other, limit=10))
    engine = place.engine_over(between)
    assert not consume(engine, 5_000).granted
    assert not consume(engine, 5_000).granted
    assert place.used() == 0
    again = ["load", "consume"] if moment == 3 else []
    assert between.calls == ["open_environment", "read_catalog", "load", "consume", *again, "consume"]


@pytest.mark.parametrize("moment", range(4))
def test_a_catalog_writer_who_gets_in_at_any_moment_is_noticed_too(place: Place, moment: int) -> None:
    other = place.open()
    furnish(other, limit=None)
    budget(other, "team-eng", 10)
    types = [{"id": "team", "attribution_keys": ["squadId"]}]
    between = breaking_in(place, moment, lambda: other.catalog.put_entity_types(types))
    refused = consume(place.engine_over(between), 50, squadId="team-eng")
    assert (refused.granted, refused.reason) == (False, DeniedReason.BUDGET_EXCEEDED)
    assert place.used() == 0


def test_documents_and_both_tokens_come_with_one_script(place: Place) -> None:
    other = place.open()
    furnish(other, limit=HUGE)
    budget(other, "team-eng", HUGE)
    between = Between(place.transport(), lambda call, send_on: send_on())
    engine = place.engine_over(between)
    consume(engine, 1)
    between.calls.clear()
    consume(engine, 1, teamId="team-eng")
    assert between.calls == ["load", "consume"]


def parent_change(entity: str, parent: str) -> list[AssignmentUpsert]:
    return [AssignmentUpsert(entity=entity, feature=FEATURE, parent=parent)]


def test_two_writers_who_together_make_a_cycle_are_not_both_let_in(place: Place) -> None:
    engine, transport = place.open(), place.transport()
    furnish(engine)
    for entity in ("team-x", "team-y"):
        budget(engine, entity, 10)
    first = ByHand(governance.put_assignments(place.state(), CUSTOMER, parent_change("team-x", "team-y")), transport)
    second = ByHand(governance.put_assignments(place.state(), CUSTOMER, parent_change("team-y", "team-x")), transport)
    for writer in (first, second):  # each looks, and finds its change valid
        writer.run_until("configure")
    first.finish()
    with pytest.raises(InvalidInput, match="cycle"):
        second.finish()
    parents = {entity.id: entity.parent for entity in engine.governance.entities(CUSTOMER)}
    assert parents == {"team-x": "team-y", "team-y": None}


def test_two_writers_who_together_make_a_fifth_level_are_not_both_let_in(place: Place) -> None:
    engine, transport = place.open(), place.transport()
    furnish(engine)
    for entity, parent in (("org-1", None), ("team-1", "org-1"), ("team-2", None), ("user-1", "team-2")):
        budget(engine, entity, 10, parent=parent)
    budget(engine, "user-2", 10)
    writers = [
        ByHand(governance.put_assignments(place.state(), CUSTOMER, change), transport)
        for change in (parent_change("user-2", "user-1"), parent_change("team-2", "team-1"))
    ]
    for writer in writers:
        writer.run_until("configure")
    writers[0].finish()
    with pytest.raises(InvalidInput, match="5 levels"):
        writers[1].finish()


def test_two_writers_at_once_never_give_one_counter_twice(place: Place) -> None:
    engine, transport = place.open(), place.transport()
    furnish(engine, limit=None)
    engine.governance.put_entities(CUSTOMER, [{"id": id, "type": "team"} for id in ("team-1", "team-2")])
    writers = [
        ByHand(
            governance.put_assignments(
                place.state(),
                CUSTOMER,
                [AssignmentUpsert(entity=entity, feature=FEATURE, usage_limit=100, cadence="P1M")],
            ),
            transport,
        )
        for entity in ("team-1", "team-2")
    ]
    for writer in writers:
        writer.run_until("configure")
    numbers = [writer.finish()[0].number for writer in writers]
    numbers += [budget(engine, f"team-{each}", 100) for each in (3, 4)]
    assert len(set(numbers)) == 4
    assert consume(engine, 100, teamId="team-1").granted
    assert consume(engine, 100, teamId="team-2").granted


def test_a_write_that_was_validated_against_another_catalog_is_made_again(place: Place) -> None:
    engine, transport = place.open(), place.transport()
    furnish(engine)
    budget(engine, "team-eng", 10)
    writer = ByHand(
        governance.put_assignments(
            place.state(), CUSTOMER, [AssignmentUpsert(entity="team-eng", feature=FEATURE, usage_limit=20)]
        ),
        transport,
    )
    writer.run_until("configure")
    engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])
    writer.finish()
    assert writer.sent.count("configure") == 2
    assert engine.governance.assignments(CUSTOMER)[0].assignment.usage_limit == 20


# The catalog and its partitions.


def raise_call(place: Place, partition: int, token: bytes, blank: bytes = b"0") -> Call:
    return Call("raise_partition", (place.keyspace.partition_catalog(partition),), (token, blank))


def token_at(number: int) -> bytes:
    return number.to_bytes(8, "big") + os.urandom(8) + b"s"


def test_a_partition_is_raised_and_never_lowered(place: Place) -> None:
    engine, transport = place.open(), place.transport()
    furnish(engine)
    token = place.catalog_token()
    number = token_number(token)
    older, rival, carry = token_at(number - 1), token_at(number), token_at((number >> 32) + 1 << 32)
    assert send(transport, raise_call(place, 0, older)) == [Status.STALE, token]
    assert send(transport, raise_call(place, 0, rival)) == [Status.STALE, token]
    assert place.partition_tokens() == [token] * PARTITIONS
    assert send(transport, raise_call(place, 0, token)) == [Status.DONE, token]
    assert send(transport, raise_call(place, 0, carry)) == [Status.DONE, carry]
    assert send(transport, raise_call(place, 0, token_at(number + 5))) == [Status.STALE, carry]
    place.raw.delete(place.keyspace.partition_catalog(1))
    assert send(transport, raise_call(place, 1, token)) == [Status.BLANK]
    assert place.partition_tokens() == [carry, None, token, token]


def test_a_new_catalog_comes_after_the_last_one_whatever_the_clock_says(place: Place) -> None:
    engine = place.open()
    furnish(engine)
    ahead = token_at(place.server_now_ms() + 365 * DAY_MS)
    place.raw.hset(place.keyspace.catalog, "@token", ahead)
    engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])
    assert token_number(place.catalog_token()) == token_number(ahead) + 1
    assert place.partition_tokens() == [place.catalog_token()] * PARTITIONS


@pytest.mark.parametrize("ahead_ms", [0, 365 * DAY_MS], ids=["clock-went-on", "clock-stepped-back"])
def test_an_instance_on_a_lost_catalog_does_not_go_on_with_it(place: Place, ahead_ms: int) -> None:
    stale, writer = place.open(), place.open()
    furnish(writer, limit=None)
    budget(writer, "team-eng", 10)
    older = place.save(place.keyspace.catalog)
    writer.catalog.put_entity_types([{"id": "team", "attribution_keys": []}])
    if ahead_ms:  # the lost catalog was written by a master whose clock was ahead
        lost = token_at(place.server_now_ms() + ahead_ms)
        place.raw.hset(place.keyspace.catalog, "@token", lost)
        for partition in range(PARTITIONS):
            place.raw.set(place.keyspace.partition_catalog(partition), lost)
    lost = place.catalog_token()
    assert consume(stale, 50, teamId="team-eng").granted  # on the lost catalog, teamId means nothing

    place.put_back(older)
    writer.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])
    writer.catalog.put_features([{"id": "feature-most", "feature_type": "BOOLEAN"}])
    token = place.catalog_token()
    assert place.partition_tokens() == [token] * PARTITIONS
    assert token_number(token) > token_number(lost)
    assert not consume(stale, 50, teamId="team-eng").granted
    assert set(writer.catalog.features()) == {FEATURE, "feature-more", "feature-most"}


@pytest.mark.parametrize("rival", [False, True], ids=["older", "same-number"])
def test_a_lost_catalog_is_written_again_under_a_new_token_by_whoever_finds_out(place: Place, rival: bool) -> None:
    writer = place.open()
    furnish(writer, limit=None)
    budget(writer, "team-eng", 10)
    before = place.catalog_token()
    lost = token_at(token_number(before) + (0 if rival else 1_000_000_000))
    for partition in range(PARTITIONS):
        place.raw.set(place.keyspace.partition_catalog(partition), lost)

    assert not consume(place.open(), 50, teamId="team-eng").granted
    token = place.catalog_token()
    assert token not in (before, lost)
    assert token_number(token) > token_number(lost)
    assert place.partition_tokens() == [token] * PARTITIONS


def test_a_catalog_write_is_refused_if_another_came_first(place: Place) -> None:
    engine, transport = place.open(), place.transport()
    furnish(engine)
    token = place.catalog_token()
    engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])
    keyspace = place.keyspace
    call = Call(
        "write_catalog",
        (keyspace.catalog,),
        (token, b"0", os.urandom(8) + b"s", keyspace.updates, b"", b"feature:x", b"x"),
    )
    assert send(transport, call) == [Status.STALE, place.catalog_token()]
    assert not place.raw.hexists(keyspace.catalog, "feature:x")


def test_a_simulated_environment_orders_its_catalogs_by_the_same_rule(place: Place, clock: ManualClock) -> None:
    engine, other = place.open(clock), place.open(clock)
    furnish(engine)
    consume(other, 1)
    clock.advance(-DAY_MS)
    engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])
    assert place.partition_tokens() == [place.catalog_token()] * PARTITIONS
    assert other.check(CUSTOMER, feature="feature-more").reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION


def test_every_verb_compares_the_stamp(place: Place) -> None:
    """A report too: a re-parented team's usage has to reach its new organisation."""
    engine, other = place.open(), place.open()
    furnish(other, limit=None)
    first, second = budget(other, "org-1", None), budget(other, "org-2", None)
    budget(other, "team-eng", None, parent="org-1")
    team = {"dimensions": {"teamId": "team-eng"}}
    report(engine, 5, **team)
    budget(other, "team-eng", None, parent="org-2")
    report(engine, 7, **team)
    assert (place.used(first), place.used(second)) == (5, 7)
