"""Holds when something fails: full servers, users who may not do everything, wrong keys, and lost replies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from behaviour.targets import read_key
from headgate.clock import ManualClock
from headgate.errors import OutcomeUnknown, Unavailable
from headgate.model.reservation import ReservationStatus
from proxy import Cut, CuttingProxy
from scenarios.holding import (
    NOTHING_KEPT,
    USER,
    fill_wallet,
    furnish_chain,
    hold,
    kept,
    overdraft,
    pay_by_use,
    stands,
)
from scenarios.setting import CUSTOMER, DAY_MS, FEATURE, HASTY, Engine, Place, check, consume, furnish, metrics


def written(place: Place) -> dict[bytes, Any]:
    """Everything that is written in the environment."""
    return {name: read_key(place.raw, name) for name in place.names()}


# A full server [shown].


def test_what_is_held_on_a_full_server_is_settled_released_extended_and_freed(
    own_place: Place, clock: ManualClock, edge: str
) -> None:
    engine = own_place.open(clock, edge=edge)
    numbers = furnish_chain(own_place.open(clock), budgets=100)
    grants = fill_wallet(own_place.open(clock), 5, 1_000)
    pay_by_use(own_place.open(clock), 2)
    settled, released, extended = [hold(engine, 10, expires_in=60) for _ in range(3)]
    more, swept, freed = hold(engine, 10), hold(engine, 10, expires_in=70), hold(engine, 10, expires_in=80)
    own_place.raw.config_set("maxmemory", 1)
    try:
        assert settled.settle(4).settled == 4
        assert released.release().status is ReservationStatus.RELEASED
        assert extended.extend(600).status is ReservationStatus.OPEN
        assert more.settle(700).settled == 700  # more than there was
        clock.advance(70_000)
        assert engine.reservations.sweep() == 1
        clock.advance(10_000)
        assert not check(engine, 1, **USER)  # frees the last one first
        assert metrics(engine)["holds_freed"] == 1
        for each in (swept, freed):
            assert engine.reservations.get(CUSTOMER, each.id).status is ReservationStatus.EXPIRED
        clock.advance(DAY_MS)
        assert engine.reservations.sweep() == 1
    finally:
        own_place.raw.config_set("maxmemory", 0)
    assert stands(own_place, *numbers) == [(704, 0)] * 4
    # Each hold took 20 credits: five of the first grant and the rest of the second, and then of the second alone.
    assert [held for _, held in stands(own_place, *grants)] == [0, 0]
    assert sum(used for used, _ in stands(own_place, *grants)) + overdraft(own_place) == 1_408


def test_nothing_is_held_by_a_full_server(own_place: Place, edge: str) -> None:
    engine = own_place.open(edge=edge, settings=HASTY)
    numbers = furnish_chain(own_place.open())
    check(engine, 1, **USER)
    before = written(own_place)
    own_place.raw.config_set("maxmemory", 1)
    try:
        # Refused again and again until the deadline; who was cut off by it at the last attempt does not know.
        with pytest.raises((Unavailable, OutcomeUnknown)):
            hold(engine, 10)
    finally:
        own_place.raw.config_set("maxmemory", 0)
    assert written(own_place) == before
    assert stands(own_place, *numbers) == [(0, 0)] * 4


# Users who may not do everything [shown].


def open_as(place: Place, *rules: str, clock: ManualClock, edge: str) -> Engine:
    """An engine that is at work when its user loses some rights."""
    place.raw.execute_command("ACL", "SETUSER", "app", "reset", "on", ">right", "~*", "&*", "+@all")
    url = f"redis://app:right@127.0.0.1:{place.server.port}/0"
    engine = place.open(clock, url=url, edge=edge, settings=HASTY)
    engine.check(CUSTOMER, feature=FEATURE, dimensions=USER)
    place.raw.execute_command("ACL", "SETUSER", "app", *rules)
    return engine


def test_a_user_who_may_not_publish_holds_and_ends_as_any_other(
    own_place: Place, clock: ManualClock, edge: str
) -> None:
    numbers = furnish_chain(own_place.open(clock), budgets=100)
    engine = open_as(own_place, "resetchannels", "-publish", clock=clock, edge=edge)
    made, released = [hold(engine, 10, expires_in=60) for _ in range(2)]
    hold(engine, 10, expires_in=60)
    made.settle(4)
    released.release()
    clock.advance(60_000)
    assert consume(engine, 96, **USER)
    assert stands(own_place, *numbers) == [(100, 0)] * 4


@pytest.mark.parametrize("right", ["zadd", "zrem", "zrange", "zrangebyscore", "hset", "hget", "hmget", "hdel"])
def test_what_a_user_may_not_do_is_not_half_done(own_place: Place, clock: ManualClock, right: str, edge: str) -> None:
    full = own_place.open(clock)
    numbers = furnish_chain(full)
    grants = fill_wallet(full, 5, 1_000)
    pay_by_use(full, 2)
    for id in ("settled", "released", "extended"):
        hold(full, 10, id=id)
    hold(full, 10, expires_in=60)
    full.reservations.settle(CUSTOMER, hold(full, 10).id, 1)
    clock.advance(60_000)
    engine = open_as(own_place, f"-{right}", clock=clock, edge=edge)
    calls: dict[str, Callable[[], object]] = {
        "settle": lambda: engine.reservations.settle(CUSTOMER, "settled", 4),
        "release": lambda: engine.reservations.release(CUSTOMER, "released"),
        "extend": lambda: engine.reservations.extend(CUSTOMER, "extended", 60),
        "sweep": lambda: engine.reservations.sweep(),
    }
    before, refused = written(own_place), []
    for name, call in calls.items():
        try:
            call()
        except Unavailable:
            refused.append(name)
            assert written(own_place) == before, name
        else:
            before = written(own_place)
    assert refused == {
        "zrangebyscore": ["sweep"],
        "hget": ["settle", "release", "extend"],
        "hmget": ["settle", "release", "sweep"],
    }.get(right, list(calls))
    counters = stands(own_place, *numbers, *grants)
    try:
        made = hold(engine, 100, id="more", expires_in=60)
    except Unavailable:
        assert stands(own_place, *numbers, *grants) == counters
    else:
        assert made.id == "more"
    own_place.raw.execute_command("ACL", "SETUSER", "app", f"+{right}")
    clock.advance(DAY_MS)
    full.reservations.sweep()
    clock.advance(DAY_MS)
    full.reservations.sweep()
    assert kept(own_place) == NOTHING_KEPT
    assert {held for _, held in stands(own_place, *numbers, *grants)} == {0}


@pytest.mark.parametrize("key", ["due", "ended", "partition_due", "bucket"])
def test_a_key_of_another_kind_stops_a_hold_from_being_ended_and_half_ends_none(
    own_place: Place, clock: ManualClock, key: str
) -> None:
    engine = own_place.open(clock, settings=HASTY)
    numbers = furnish_chain(own_place.open(clock))
    made = hold(own_place.open(clock), 10)
    hold(own_place.open(clock), 10, id="due", expires_in=60)
    keys = own_place.keys
    name = keys.bucket(1) if key == "bucket" else getattr(keys, key)
    lost = own_place.save(name)
    clock.advance(60_000)
    own_place.raw.set(name, "of another kind")
    before = written(own_place)
    for call in (lambda: made.settle(4), made.release, lambda: engine.reservations.sweep()):
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            call()
        assert written(own_place) == before
    own_place.put_back(lost)
    made.settle(4)
    assert engine.reservations.sweep() == 1
    assert stands(own_place, *numbers) == [(4, 0)] * 4


# Lost replies: by the record, so that a call may be sent again.


@pytest.fixture
def proxy(own_place: Place) -> Iterator[CuttingProxy]:
    with CuttingProxy(own_place.server.port) as started:
        yield started


@pytest.mark.parametrize("where", list(Cut))
def test_what_is_sent_again_because_its_reply_was_cut_is_done_once(
    own_place: Place, proxy: CuttingProxy, clock: ManualClock, edge: str, where: Cut
) -> None:
    engine = own_place.open(clock, url=proxy.url, edge=edge)
    numbers = furnish_chain(own_place.open(clock))
    hold(engine, 0).release()

    def cut() -> None:
        proxy.cut_next(2, containing=b"EVALSHA", where=where)

    cut()
    made = hold(engine, 10, expires_in=60)
    assert made.granted
    assert stands(own_place, *numbers) == [(0, 10)] * 4
    cut()
    assert made.extend(120).expires_at_ms == clock.now_ms + 120_000
    cut()
    assert made.settle(4).settled == 4
    assert stands(own_place, *numbers) == [(4, 0)] * 4
    hold(engine, 10, expires_in=60)
    clock.advance(60_000)
    cut()
    engine.reservations.sweep()
    assert stands(own_place, *numbers) == [(4, 0)] * 4
    assert proxy.cuts == 8
    assert metrics(engine)["outcomes_unknown"] == 0


def test_holds_that_a_killed_server_kept_on_disk_end_as_if_nothing_had_been(
    own_place: Place, clock: ManualClock
) -> None:
    engine = own_place.open(clock)
    furnish(engine, limit=100)
    made = hold(engine, 60, dimensions=None)
    hold(engine, 40, dimensions=None, expires_in=60)
    own_place.raw.execute_command("SAVE")
    own_place.server.options |= {"save": "1 1"}
    own_place.server.restart()
    again = own_place.open(clock)
    assert not consume(again, 1)
    made_again = again.reservations.settle(CUSTOMER, made.id, 20)
    assert made_again.settled == 20
    clock.advance(60_000)
    assert consume(again, 80)
    assert stands(own_place, None) == [(100, 0)]
