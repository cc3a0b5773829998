"""Holds that nobody ended: freed once, by their records, in calls of bounded size; and records that go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from headgate import Conflict, Unavailable
from headgate.clock import ManualClock
from headgate.holds import FREED_MAX
from headgate.model.reservation import ReservationStatus
from headgate.verbs import reservations, sweeping
from scenarios.holding import (
    CREDITS,
    NOTHING_KEPT,
    USER,
    AtClock,
    due_holds,
    fill_wallet,
    furnish_chain,
    hold,
    kept,
    overdraft,
    pay_by_use,
    stands,
)
from scenarios.setting import (
    CALM,
    CUSTOMER,
    DAY_MS,
    FEATURE,
    Between,
    ByHand,
    Engine,
    Place,
    check,
    consume,
    furnish,
    send,
)

MANY = 10_000


def test_only_what_is_due_is_freed_and_only_when_somebody_would_be_refused(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine, budgets=100)
    hold(engine, 30, expires_in=60)
    open_one = hold(engine, 30, expires_in=61)
    clock.advance(59_999)
    assert not consume(engine, 41, **USER)
    assert stands(place, *numbers) == [(0, 60)] * 4
    clock.advance(1)
    assert consume(engine, 40, **USER)
    assert stands(place, *numbers) == [(40, 60)] * 4
    assert check(engine, 30, **USER)
    assert stands(place, *numbers) == [(40, 30)] * 4
    assert kept(place) == (2, 1, 1, 1, True)
    assert not consume(engine, 31, **USER)
    open_one.release()
    assert consume(engine, 60, **USER)


@pytest.mark.parametrize("verb", ["check", "consume", "reserve"])
@pytest.mark.parametrize("paid", [False, True])
def test_every_verb_that_would_refuse_looks_for_what_is_due(
    place: Place, clock: ManualClock, verb: str, paid: bool
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100)
    if paid:
        fill_wallet(engine, 100)
        pay_by_use(engine, 1)
    for _ in range(3):
        hold(engine, 30, dimensions=None, expires_in=60)
    clock.advance(60_000)
    asked = {"check": check, "consume": consume, "reserve": hold}[verb]
    assert asked(engine, 100)
    assert engine.metrics["holds_freed"] == 3


def test_ten_thousand_holds_of_killed_clients_are_freed_in_a_bounded_number_of_calls(
    place: Place, clock: ManualClock
) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine, budgets=MANY)
    leave_behind(place, engine, numbers, due_ms=clock.now_ms)
    between = Between(place.transport(clock), lambda call, send_on: send_on())
    other = place.engine_over(between, clock)
    assert consume(other, MANY, **USER)
    rounds = MANY // FREED_MAX + 1
    assert between.calls.count("free") == between.calls.count("find_due") == rounds
    assert between.calls.count("consume") == 5, "asked again after 1, 4, 16 and all other calls that free"
    assert len(between.calls) <= 2 * rounds + 13
    assert stands(place, *numbers) == [(MANY, 0)] * 4
    assert kept(place) == (MANY, 0, MANY, 1, False)
    clock.advance(DAY_MS)
    assert other.reservations.sweep() == 0
    assert kept(place) == NOTHING_KEPT


def test_who_needs_little_waits_for_few_holds_to_be_freed(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine, budgets=MANY)
    leave_behind(place, engine, numbers, due_ms=clock.now_ms)
    between = Between(place.transport(clock), lambda call, send_on: send_on())
    other = place.engine_over(between, clock)
    assert consume(other, FREED_MAX, **USER)
    assert between.calls.count("free") == between.calls.count("find_due") == 1
    assert not consume(other, MANY, **USER), "what was used is used"
    assert consume(other, MANY - FREED_MAX, **USER), "and all the rest is there"
    assert stands(place, *numbers) == [(MANY, 0)] * 4


def test_ten_thousand_holds_of_killed_clients_are_freed_within_the_deadline_of_one_call(
    place: Place, edge: str
) -> None:
    """On the server's own clock, with a deadline that a busy machine keeps too: the default is 250 ms."""
    numbers = furnish_chain(place.open(), budgets=MANY)
    leave_behind(place, place.open(), numbers, due_ms=1)
    engine = place.open(edge=edge, settings=CALM.model_copy(update={"deadline_ms": 5_000}))
    assert consume(engine, MANY, **USER)
    assert stands(place, *numbers) == [(MANY, 0)] * 4


COPY = """
local record = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
record[2] = tonumber(ARGV[3])
for number = 1, ARGV[2] do
  local id = number < tonumber(ARGV[2]) and 'copy-' .. number or ARGV[1]
  redis.call('HSET', KEYS[1], id, cmsgpack.pack(record))
  redis.call('ZADD', KEYS[2], record[2], id)
end
redis.call('HSET', KEYS[3], '@x', struct.pack('<d', record[2]))
"""


def leave_behind(place: Place, engine: Engine, numbers: list[int | None], *, due_ms: int) -> None:
    """Make what is left of many clients that reserved one unit each, and were killed: one hold, and copies of it."""
    assert hold(engine, 1, id="first")
    keys = place.keys
    place.raw.execute_command("EVAL", COPY, 3, keys.holds, keys.due, keys.usage, "first", MANY, due_ms)
    for number in numbers:
        counter = place.counter(number)
        assert counter is not None
        place.plant(counter.start_ms, 0, MANY, number=number)


def test_a_sweep_and_a_lazy_free_at_once_free_none_twice(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    hold(engine, 100, expires_in=600)
    due_holds(engine, clock, 10)
    transport = AtClock(place.transport(clock), clock)
    sweeps = [ByHand(sweeping.sweep_customer(place.state(clock), CUSTOMER), transport) for _ in range(3)]
    for each in sweeps:
        each.run_until("free")  # each has found the same ten
    assert [each.finish() for each in sweeps] == [10, 0, 0]
    assert stands(place, *numbers) == [(0, 100)] * 4
    assert kept(place) == (11, 1, 10, 1, True)


def test_what_is_ended_or_extended_between_finding_and_freeing_is_left_alone(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    for number in range(3):
        hold(engine, 10, id=f"job-{number}", expires_in=60)
    late = place.state(clock)
    clock.advance(60_000)
    sweep = ByHand(sweeping.sweep_customer(late, CUSTOMER), AtClock(place.transport(clock), clock))
    sweep.run_until("free")
    engine.reservations.settle(CUSTOMER, "job-0", 4)
    engine.reservations.release(CUSTOMER, "job-1")
    clock.advance(-30_000)  # a failover to a server whose clock is behind: it is not due there
    engine.reservations.extend(CUSTOMER, "job-2", 600)
    clock.advance(30_000)
    assert sweep.finish() == 0
    assert stands(place, *numbers) == [(4, 10)] * 4
    assert engine.reservations.get(CUSTOMER, "job-2").status is ReservationStatus.OPEN
    assert kept(place)[1] == 1
    clock.advance(600_000)
    assert engine.reservations.sweep() == 1
    assert stands(place, *numbers) == [(4, 0)] * 4


def test_only_what_is_open_and_not_due_is_extended(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    settled, released, due, freed, kept_open = [hold(engine, 1, expires_in=each) for each in (90, 90, 60, 30, 90)]
    settled.settle(1)
    released.release()
    clock.advance(30_000)
    assert engine.reservations.sweep() == 1
    clock.advance(30_000)
    for each in (settled, released, due, freed):
        with pytest.raises(Conflict):
            each.extend(600)
    assert kept_open.extend(600).expires_at_ms == clock.now_ms + 600_000
    clock.advance(599_999)
    assert engine.reservations.sweep() == 1
    assert stands(place, *numbers) == [(1, 1)] * 4
    clock.advance(1)
    assert engine.reservations.sweep() == 1
    assert stands(place, *numbers) == [(1, 0)] * 4


def test_a_settle_and_a_free_at_once_take_back_once(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    hold(engine, 100, expires_in=600)
    due_holds(engine, clock, 1)
    ending = reservations.end(place.state(clock), CUSTOMER, "job-0", 1.0, ReservationStatus.SETTLED)
    settle = ByHand(ending, AtClock(place.transport(clock), clock))
    settle.run_until("settle")
    assert engine.reservations.sweep() == 1
    assert settle.finish().settled == 1
    assert stands(place, *numbers) == [(1, 100)] * 4


def test_many_who_sweep_at_once_free_each_hold_once(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    due_holds(engine, clock, 300)
    engines = [place.open(clock) for _ in range(4)]
    for each in engines:
        check(each, 0)
    with ThreadPoolExecutor(8) as callers:
        swept = [callers.submit(each.reservations.sweep) for each in engines]
        asked = [callers.submit(check, each, 10_000, **USER) for each in engines]
        assert all(each.result() for each in asked)
        freed = sum(each.result() for each in swept) + sum(each.metrics["holds_freed"] for each in engines)
    assert freed == 300
    assert stands(place, *numbers) == [(0, 0)] * 4


def test_a_sweep_finds_every_customer_that_has_something_to_sweep(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=10)
    hold(engine, 5, dimensions=None, expires_in=120)
    hold(engine, 1, dimensions=None, expires_in=60, id="first")
    (score,) = [each for _, each in waiting(place)]
    assert score == clock.now_ms + 60_000
    engine.reservations.extend(CUSTOMER, "first", 240)
    ((_, score),) = waiting(place)
    assert score == clock.now_ms + 120_000
    clock.advance(120_000)
    assert engine.reservations.sweep() == 1
    ((_, score),) = waiting(place)
    assert score == clock.now_ms + 120_000
    engine.reservations.settle(CUSTOMER, "first", 1)
    ((_, score),) = waiting(place)
    assert score == clock.now_ms + DAY_MS  # a record to drop
    assert not place.raw.hexists(place.keys.usage, "@x")


def waiting(place: Place) -> list[tuple[bytes, float]]:
    partition = place.keyspace.partition_of(CUSTOMER)
    return list(place.raw.zrange(place.keyspace.partition_due(partition), 0, -1, withscores=True))


def test_a_record_outlives_its_end_by_a_day_and_goes_with_a_sweep(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine)
    for number in range(FREED_MAX + 10):
        engine.reservations.settle(CUSTOMER, hold(engine, 0, dimensions=None, id=f"job-{number}").id, 0.1)
    clock.advance(DAY_MS - 1)
    engine.reservations.sweep()
    assert engine.reservations.settle(CUSTOMER, "job-0", 0.1)
    clock.advance(1)
    assert engine.reservations.sweep() == 0
    assert kept(place) == NOTHING_KEPT
    assert hold(engine, 1, dimensions=None, id="job-0").decision is not None


def test_an_order_of_expiry_that_was_lost_or_is_wrong_loses_no_hold(place: Place, clock: ManualClock) -> None:
    """`due` only finds; the record decides."""
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    hold(engine, 10, id="lasts", expires_in=600)
    hold(engine, 20, id="ends", expires_in=60)
    place.raw.zadd(place.keys.due, {"lasts": 0, "never-made": 0})
    clock.advance(60_000)
    assert engine.reservations.sweep() == 1
    assert stands(place, *numbers) == [(0, 10)] * 4
    assert place.raw.zrange(place.keys.due, 0, -1, withscores=True) == [(b"lasts", clock.now_ms + 540_000)]
    clock.advance(540_000)
    assert engine.reservations.sweep() == 1
    assert stands(place, *numbers) == [(0, 0)] * 4


# Ends that come late.


def test_a_hold_that_was_freed_is_settled_late_in_full_and_once(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    grants = fill_wallet(engine, 100)
    pay_by_use(engine, 2)
    made, other = hold(engine, 20, expires_in=60), hold(engine, 30)
    clock.advance(60_000)
    assert engine.reservations.sweep() == 1
    for _ in range(2):
        assert made.settle(15).settled == 15
    assert stands(place, *numbers, *grants) == [(15, 30)] * 4 + [(30, 60)]
    assert overdraft(place) == 0
    assert engine.credits.wallet(CUSTOMER, currency=CREDITS).balance == 10
    other.release()
    clock.advance(DAY_MS - 1)
    engine.reservations.sweep()
    assert made.settle(15).settled == 15


def test_a_script_that_runs_after_its_instant_ends_and_frees_nothing(place: Place) -> None:
    engine = place.open()
    numbers = furnish_chain(engine)
    made = hold(engine, 10, id="job")
    transport, state = place.transport(), place.state()
    calls = []
    for verb in (
        reservations.end(state, CUSTOMER, "job", 4.0, ReservationStatus.SETTLED),
        reservations.extend(state, CUSTOMER, "job", 60_000),
        sweeping.sweep_customer(state, CUSTOMER, records=True),
    ):
        by_hand = ByHand(verb, transport)
        by_hand.run_until({0: "settle", 1: "extend", 2: "free"}[len(calls)])
        calls.append(by_hand.next_call)
    before = stands(place, *numbers), kept(place), place.raw.hgetall(place.keys.holds)
    for call in calls:
        assert send(transport, call, not_after_ms=place.server_now_ms() - 1)[0] == 5
    assert (stands(place, *numbers), kept(place), place.raw.hgetall(place.keys.holds)) == before
    assert made.settle(4)


def test_a_deadline_that_passes_while_much_is_freed_leaves_nothing_half_freed(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    numbers = furnish_chain(engine)
    due_holds(engine, clock, FREED_MAX + 50)
    sweep = ByHand(sweeping.sweep_customer(place.state(clock), CUSTOMER), AtClock(place.transport(clock), clock))
    sweep.run_until("free")
    sweep.send()  # and nobody waits for the rest
    assert stands(place, *numbers) == [(0, 50)] * 4
    assert kept(place) == (FREED_MAX + 50, 50, FREED_MAX, 1, True)
    assert engine.reservations.sweep() == 50
    assert stands(place, *numbers) == [(0, 0)] * 4


def test_a_refusal_is_told_though_what_was_due_cannot_be_found(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100)
    hold(engine, 30, dimensions=None, expires_in=60)
    place.erase([place.keys.due])
    clock.advance(60_000)
    assert not consume(engine, 71)
    assert consume(engine, 70)
    assert not place.raw.hexists(place.keys.usage, "@x")


def test_holds_in_more_counters_than_one_call_may_name_are_freed_by_several(place: Place, clock: ManualClock) -> None:
    """Recurring grants of a period share one hash, whatever their definitions are."""
    engine = place.open(clock)
    furnish(engine)
    coins = [f"coin-{number}" for number in range(4)]
    engine.catalog.put_currencies([{"id": coin} for coin in coins])
    credits = [{"currency": coin, "amount": 10, "cadence": "MONTH"} for coin in coins]
    plans = [f"plan-{number}" for number in range(60)]
    engine.catalog.put_plans([{"id": plan, "credits": credits} for plan in plans])
    for plan in plans:
        engine.subscriptions.provision(CUSTOMER, {"plan": plan})
    for coin in coins:
        assert engine.reserve(CUSTOMER, currency=coin, amount=600, expires_in=60)
    between = Between(place.transport(clock), lambda call, send_on: send_on())
    clock.advance(60_000)
    assert place.engine_over(between, clock).reservations.sweep() == 4
    assert between.calls.count("free") == 2
    for coin in coins:
        assert engine.credits.wallet(CUSTOMER, currency=coin).balance == 600


def test_a_customer_whose_data_is_damaged_does_not_stand_in_the_way_of_the_others(
    place: Place, clock: ManualClock
) -> None:
    engine = place.open(clock)
    furnish(engine, limit=100)
    entitled = {"feature": FEATURE, "usage_limit": 100}
    others = [f"cus-{number}" for number in range(5)]
    for customer in others:
        engine.customers.put(customer)
        engine.customers.grant_entitlement(customer, entitled)
    for customer in (CUSTOMER, *others):
        engine.reserve(customer, feature=FEATURE, amount=10, expires_in=60)
        clock.advance(1)
    place.raw.set(place.keys.ended, "damaged")
    clock.advance(60_000)
    with pytest.raises(Unavailable) as told:
        engine.reservations.sweep()
    assert "5 holds of other customers were freed" in told.value.__notes__
    assert [engine.reservations.list(each)[0].status.name for each in others] == ["EXPIRED"] * 5
