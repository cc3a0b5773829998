"""Environments whose catalog reached only some partitions, whose data is gone, or which are of another kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headgate import Headgate
from headgate.calls import Call, Reply
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import CatalogNotEverywhere, EnvironmentMismatch, EnvironmentNotReady, NotFound, Unavailable
from headgate.model.decision import DeniedReason
from headgate.wire import Status
from scenarios.setting import (
    CALM,
    CUSTOMER,
    FEATURE,
    PARTITIONS,
    Between,
    Place,
    budget,
    check,
    consume,
    customers_of_every_partition,
    furnish,
    report,
)

MORE = [{"id": "feature-more", "feature_type": "BOOLEAN"}]


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def cut_after(place: Place, raised: int, failure: BaseException) -> Headgate:
    """An engine whose fan-out ends after so many partitions."""

    def step(call: Call, send_on: Callable[[], Reply]) -> Reply:
        if call.script == "raise_partition" and between.calls.count("raise_partition") > raised:
            raise failure
        return send_on()

    between = Between(place.transport(), step)
    return place.engine_over(between)


def stand_at(place: Place) -> list[int]:
    token = place.catalog_token()
    return [partition for partition, each in enumerate(place.partition_tokens()) if each == token]


@pytest.mark.parametrize("raised", range(PARTITIONS))
def test_a_catalog_write_names_the_partitions_that_do_not_stand_at_it(place: Place, raised: int) -> None:
    furnish(place.open())
    engine = cut_after(place, raised, Unavailable("cut off"))
    with pytest.raises(CatalogNotEverywhere) as caught:
        engine.catalog.put_features(MORE)
    assert caught.value.partitions == tuple(range(raised, PARTITIONS))
    assert stand_at(place) == list(range(raised))


@pytest.mark.parametrize("raised", range(PARTITIONS))
def test_a_fan_out_that_was_cut_mends_itself_by_the_next_calls(place: Place, raised: int) -> None:
    knows_old, knows_new = place.open(), place.open()
    customers = customers_of_every_partition()
    for customer in customers:
        furnish(knows_old, customer=customer)
        consume(knows_old, 1, customer=customer)
    with pytest.raises(Died):
        cut_after(place, raised, Died()).catalog.put_features(MORE)
    assert stand_at(place) == list(range(raised))

    for partition, customer in enumerate(customers):
        assert consume(knows_new, 1, customer=customer).granted
        assert partition in stand_at(place)
    assert stand_at(place) == list(range(PARTITIONS))
    for customer in customers:
        assert consume(knows_old, 1, customer=customer).granted
        assert place.used(customer=customer) == 3
    assert knows_old._state.catalog.token == place.catalog_token()


def test_writing_the_same_catalog_again_mends_a_fan_out_that_was_cut(place: Place) -> None:
    furnish(place.open())
    with pytest.raises(Died):
        cut_after(place, 2, Died()).catalog.put_features(MORE)
    token = place.catalog_token()
    place.open().catalog.put_features(MORE)
    assert place.catalog_token() == token
    assert stand_at(place) == list(range(PARTITIONS))


def test_an_environment_whose_first_fan_out_was_cut_is_no_lost_one(place: Place) -> None:
    with pytest.raises(Died):
        cut_after(place, 2, Died()).catalog.put_features(MORE)
    engine = place.open()
    for customer in customers_of_every_partition():
        assert check(engine, 1, customer=customer).reason is DeniedReason.CUSTOMER_NOT_FOUND
    assert stand_at(place) == list(range(PARTITIONS))


# A server without its data.


def asked_of(engine: Headgate) -> list[Callable[[], object]]:
    return [
        lambda: check(engine, 1),
        lambda: consume(engine, 1),
        lambda: report(engine, 1),
        lambda: engine.consume(CUSTOMER, feature=FEATURE, idempotency_key="order-7"),
        lambda: report(engine, 1, idempotency_key="order-7"),
        lambda: engine.customers.get(CUSTOMER),
        lambda: engine.customers.put(CUSTOMER),
        lambda: engine.governance.tree(CUSTOMER, feature=FEATURE),
    ]


def test_an_empty_server_is_not_ready_and_never_says_not_found(own_place: Place, edge: str) -> None:
    knows, new = own_place.open(edge=edge), own_place.open(edge=edge)
    furnish(knows)
    assert consume(knows, 1).granted
    own_place.raw.flushall()
    for engine in (knows, new):
        for ask in asked_of(engine):
            with pytest.raises(EnvironmentNotReady):
                ask()
    assert own_place.names() == []


def test_an_environment_that_was_never_written_is_not_ready(place: Place) -> None:
    for ask in asked_of(place.open()):
        with pytest.raises(EnvironmentNotReady):
            ask()
    assert place.names() == []


def test_a_partition_that_lost_its_data_is_not_ready_until_the_loss_is_accepted(place: Place) -> None:
    knows, new = place.open(), place.open()
    furnish(knows)
    assert consume(knows, 1).granted
    lost = place.keyspace.partition_of(CUSTOMER)
    others = [each for each in customers_of_every_partition() if place.keyspace.partition_of(each) != lost]
    place.erase(name for name in place.names() if f"/{lost}}}".encode() in name)

    for engine in (knows, new):
        for ask in asked_of(engine):
            with pytest.raises(EnvironmentNotReady, match="lost its data"):
                ask()
        assert check(engine, 1, customer=others[0]).reason is DeniedReason.CUSTOMER_NOT_FOUND
    with pytest.raises(CatalogNotEverywhere) as caught:
        new.catalog.put_features(MORE)
    assert caught.value.partitions == (lost,)
    assert place.partition_tokens()[lost] is None

    new.catalog.accept_loss()
    assert stand_at(place) == list(range(PARTITIONS))
    for engine in (knows, new):
        assert check(engine, 1).reason is DeniedReason.CUSTOMER_NOT_FOUND
        with pytest.raises(NotFound):
            report(engine, 1)


def test_after_an_accepted_loss_the_next_one_is_noticed_again(place: Place) -> None:
    engine = place.open()
    furnish(engine)
    token = place.keyspace.partition_catalog(place.keyspace.partition_of(CUSTOMER))
    place.raw.delete(token)
    engine.catalog.accept_loss()
    assert check(engine, 1).granted
    place.raw.delete(token)
    with pytest.raises(EnvironmentNotReady):
        check(engine, 1)


def test_partitions_without_a_catalog_are_not_ready(place: Place) -> None:
    engine = place.open()
    furnish(engine)
    place.raw.delete(place.keyspace.catalog)
    with pytest.raises(EnvironmentNotReady, match="no catalog"):
        check(place.open(), 1)


# Environments of another kind.


def test_an_environment_keeps_the_clock_that_it_was_first_written_with(place: Place, clock: ManualClock) -> None:
    furnish(place.open(clock))
    for ask in asked_of(place.open()):
        with pytest.raises(EnvironmentMismatch, match="simulated"):
            ask()
    with pytest.raises(EnvironmentMismatch):
        furnish(place.open())


def test_an_environment_of_the_servers_clock_takes_no_given_time(place: Place, clock: ManualClock) -> None:
    furnish(place.open())
    for ask in asked_of(place.open(clock)):
        with pytest.raises(EnvironmentMismatch, match="server"):
            ask()


@pytest.mark.parametrize("made_with_a_clock", [False, True])
def test_a_script_of_the_other_clock_is_refused_where_the_environment_was_made_again(
    place: Place, clock: ManualClock, made_with_a_clock: bool
) -> None:
    """An instance that knows the environment from before asks no more what it is: the scripts have to see it."""
    first, second = (clock, None) if made_with_a_clock else (None, clock)
    engine, writer, other = place.open(first), place.open(first), place.open(second)
    furnish(engine)
    budget(engine, "team-eng", 10)
    consume(engine, 1)
    writer.customers.get(CUSTOMER)
    place.erase(place.names())
    furnish(other)
    for ask in (*asked_of(engine), *asked_of(writer)):
        with pytest.raises(EnvironmentMismatch):
            ask()
    assert place.used() == 0


@pytest.mark.parametrize("is_simulated", [False, True])
def test_no_script_runs_with_the_clock_of_the_other_build(place: Place, clock: ManualClock, is_simulated: bool) -> None:
    """The very calls of a right client, stamp and all, sent to the scripts of the other clock."""
    sent: dict[str, Call] = {}

    def remember(call: Call, send_on: Callable[[], Reply]) -> Reply:
        if call.timed is not None and call.script != "read_catalog":  # which says what is there, and decides nothing
            sent[call.script] = call
        return send_on()

    right, wrong = (clock, None) if is_simulated else (None, clock)
    engine = place.engine_over(Between(place.transport(right), remember), right)
    furnish(engine)
    budget(engine, "team-eng", 10)
    for ask in asked_of(engine):
        ask()
    keyed = {"consume_credits", "report_credits"}
    assert set(sent) == {"check", "consume", "report", *keyed, "load", "scan", "configure"}
    before, transport = place.content(), place.transport(wrong)
    for call in sent.values():
        told = {Status.OTHER_CLOCK} | ({Status.OTHER_GENERATION} if call.script in keyed else set())
        assert transport.send(call, monotonic_ms() + CALM.deadline_ms)[0] in told, call.script
    assert place.content() == before


def test_the_number_of_partitions_is_that_of_the_first_writer(place: Place) -> None:
    furnish(place.open())
    wants_more = place.open(settings=CALM.model_copy(update={"partitions": PARTITIONS * 2}))
    for ask in asked_of(wants_more):
        with pytest.raises(EnvironmentMismatch, match="partitions"):
            ask()
    takes_what_is_there = place.open(settings=CALM.model_copy(update={"partitions": None}))
    assert consume(takes_what_is_there, 1).granted
    assert place.used() == 1
