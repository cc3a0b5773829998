"""Idempotency keys on real servers: what is written under one, when it goes, and that it is never half-written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from headgate.clock import ManualClock
from headgate.errors import (
    BatchIncomplete,
    Conflict,
    EnvironmentMismatch,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    Unavailable,
)
from headgate.keys import CustomerKeys, Keyspace
from headgate.model.decision import DeniedReason
from headgate.once import once
from headgate.verbs import decide, report
from headgate.wire import NEVER, Status
from scenarios.setting import (
    CUSTOMER,
    DAY_MS,
    FEATURE,
    HASTY,
    HOUR_MS,
    MIDNIGHT_MS,
    Between,
    ByHand,
    Engine,
    Place,
    budget,
    entitle,
    furnish,
    metrics,
    send,
)

KEY = "order-7"
CREDITS = "credits"
HOURS = 168
RETENTION_MS = HOURS * HOUR_MS
GENERATION = MIDNIGHT_MS // RETENTION_MS + 1
BEGINS_MS = GENERATION * RETENTION_MS
"""Where a generation of keys begins, after the instant that the tests begin at."""
CALLERS = 8

Do = Callable[..., Any]


def consume(engine: Engine, key: str | None = KEY, amount: float = 5, **more: Any) -> Any:
    return engine.consume(CUSTOMER, **{"feature": FEATURE, **more}, amount=amount, idempotency_key=key)


def count(engine: Engine, key: str | None = KEY, amount: float = 5, **more: Any) -> Any:
    return engine.report(CUSTOMER, **{"feature": FEATURE, **more}, value=amount, idempotency_key=key)


def spend(engine: Engine, key: str | None = KEY, amount: float = 5) -> Any:
    return consume(engine, key, amount, feature=None, currency=CREDITS)


def record(engine: Engine, key: str | None = KEY, amount: float = 5) -> Any:
    return count(engine, key, amount, feature=None, currency=CREDITS)


WAYS: dict[str, Do] = {"consume": consume, "report": count, "consume credits": spend, "report credits": record}
SCRIPTS = {"consume": "consume_credits", "report": "report_credits"}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Do:
    return WAYS[request.param]


@pytest.fixture(params=["consume", "report"])
def verb(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def found(engine: Engine, *, limit: float | None = 100) -> int:
    """A customer with a limit and 100 credits; return the number of the grant's counter."""
    furnish(engine, limit=limit)
    engine.catalog.put_currencies([{"id": CREDITS}])
    return int(engine.credits.grant(CUSTOMER, {"id": "grant-1", "currency": CREDITS, "amount": 100}).number)


def content(place: Place) -> dict[bytes, Any]:
    """What all keys of the environment hold, those of reservations included."""
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": place.raw.hgetall,
        b"zset": lambda name: place.raw.zrange(name, 0, -1, withscores=True),
        b"string": place.raw.get,
    }
    return {name: read[place.raw.type(name)](name) for name in place.names()}


def seen(place: Place, generation: int, *, hours: int = HOURS) -> dict[bytes, bytes]:
    """What is remembered of a generation in the customer's partition."""
    found: dict[bytes, bytes] = place.raw.hgetall(place.keys.seen(hours, generation))
    return found


def all_seen(place: Place) -> list[bytes]:
    return [name for name in place.names() if b":seen:" in name]


def identity(kind: str, key: str = KEY) -> bytes:
    made = once(kind, CUSTOMER, key, hours=HOURS, exactly_once=False, request=())
    assert made is not None
    return made.identity


def numbers(answer: Any) -> list[tuple[float, float]]:
    account = getattr(answer.account, "state", answer.account)
    grants = () if answer.wallet is None else answer.wallet.grants
    return [*([(account.used, account.held)] if account else ()), *((each.consumed, each.held) for each in grants)]


# What is written.


def test_a_key_is_twelve_bytes_that_name_it_and_eight_that_say_what_was_asked(
    place: Place, clock: ManualClock, way: Do
) -> None:
    engine = place.open(clock)
    found(engine)
    generation = clock.now_ms // RETENTION_MS
    way(engine)
    way(engine, "other", 6)
    remembered = seen(place, generation)
    kind = "consume" if way in (consume, spend) else "report"
    assert set(remembered) == {identity(kind), identity(kind, "other")}
    assert [len(value) for value in remembered.values()] == [8, 8]
    assert len(set(remembered.values())) == 2
    assert all_seen(place) == [place.keys.seen(HOURS, generation)]


def test_in_a_simulated_environment_no_key_goes_by_itself(place: Place, clock: ManualClock, way: Do) -> None:
    engine = place.open(clock)
    found(engine)
    way(engine)
    way(engine, "other")
    (name,) = all_seen(place)
    assert place.raw.pttl(name) == -1


def test_on_the_servers_clock_a_generation_goes_when_it_is_over_twice(place: Place, way: Do) -> None:
    engine = place.open()
    found(engine)
    before_ms = place.server_now_ms()
    way(engine)
    way(engine, "other")
    (name,) = all_seen(place)
    generation = before_ms // RETENTION_MS
    assert name == place.keys.seen(HOURS, generation)
    earliest_ms = place.server_now_ms() + place.raw.pttl(name)
    latest_ms = place.server_now_ms() + place.raw.pttl(name)
    assert earliest_ms - 100 <= (generation + 2) * RETENTION_MS <= latest_ms + 100


@pytest.mark.parametrize(("distance", "is_known"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_on_the_servers_clock_a_key_is_found_in_its_generation_and_those_beside_it(
    place: Place, way: Do, distance: int, is_known: bool
) -> None:
    engine = place.open()
    found(engine)
    way(engine)
    (name,) = all_seen(place)
    generation = int(name.rpartition(b":")[2])
    place.raw.rename(name, place.keys.seen(HOURS, generation + distance))
    before = content(place)
    answer = way(place.open())
    assert answer.repeated == is_known
    assert (content(place) == before) == is_known
    with pytest.raises(Conflict):
        way(place.open(), amount=6)


@pytest.mark.parametrize(("distance", "is_known"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_key_is_found_likewise_where_the_request_would_be_denied_now(
    place: Place, distance: int, is_known: bool
) -> None:
    engine = place.open()
    found(engine)
    assert consume(engine).granted
    (name,) = all_seen(place)
    generation = int(name.rpartition(b":")[2])
    place.raw.rename(name, place.keys.seen(HOURS, generation + distance))
    engine.customers.archive(CUSTOMER)
    answer = consume(place.open())
    assert (answer.granted, answer.repeated) == (is_known, is_known)
    assert answer.reason == (None if is_known else DeniedReason.CUSTOMER_IS_ARCHIVED)
    if is_known:
        with pytest.raises(Conflict):
            consume(engine, amount=6)


def test_a_client_guesses_the_generation_once_and_again_when_it_is_over(
    place: Place, clock: ManualClock, verb: str
) -> None:
    script = SCRIPTS[verb]
    between = Between(place.transport(clock), lambda call, send_on: send_on())
    engine = place.engine_over(between, clock)
    found(engine)

    def times_sent(key: str) -> int:
        between.calls.clear()
        assert not WAYS[verb](engine, key).repeated
        return between.calls.count(script)

    clock.set(BEGINS_MS - 1)
    WAYS[verb](engine, None, feature=None, currency=CREDITS)  # loaded, and prepared without a key
    WAYS[verb](engine, "warm")
    assert times_sent("before") == 1
    clock.set(BEGINS_MS)
    WAYS[verb](engine, None)
    assert times_sent("after") == 2
    assert times_sent("later") == 1
    assert [len(seen(place, generation)) for generation in (GENERATION - 1, GENERATION)] == [2, 2]
    assert seen(place, 0) == {}


# Once.


def test_a_repeat_writes_nothing_at_all(place: Place, clock: ManualClock, way: Do) -> None:
    engine = place.open(clock)
    number = found(engine)
    first = way(engine)
    before = content(place)
    for again in (way(engine), way(place.open(clock))):
        assert again.repeated
        assert numbers(again) == numbers(first)
        assert again.charges == ()
        assert content(place) == before
    assert (place.used(), place.used(number)) == ((5, 0) if way in (consume, count) else (0, 5))


def test_a_repeat_in_another_period_reads_0_and_opens_no_period(place: Place, clock: ManualClock, verb: str) -> None:
    engine = place.open(clock)
    found(engine)
    number = budget(engine, "team-eng", 100, cadence="PT1H")
    team: dict[str, Any] = {"dimensions": {"teamId": "team-eng"}}
    WAYS[verb](engine, **team)
    clock.advance(HOUR_MS)
    before = content(place)
    again = WAYS[verb](engine, **team)
    assert again.repeated
    states = [each.state for each in again.entities] if verb == "report" else again.chains[0]
    assert [state.used for state in states] == [0]
    assert content(place) == before
    counter = place.counter(number)
    assert counter is not None
    assert (counter.start_ms, counter.used) == (states[0].period.start_ms - HOUR_MS, 5)


def test_a_set_that_is_repeated_reads_the_number_of_now(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    found(engine)
    number = budget(engine, "team-eng", 100)
    team: dict[str, Any] = {"dimensions": {"teamId": "team-eng"}}
    count(engine, amount=30, behavior="SET", **team)
    count(engine, None, 12, **team)
    before = content(place)
    again = count(engine, amount=30, behavior="SET", **team)
    assert again.repeated
    assert [(each.state.used, each.applied) for each in (again.account, *again.entities)] == [(42, 0), (42, 0)]
    assert content(place) == before
    assert (place.used(), place.used(number)) == (42, 42)


@pytest.mark.parametrize("way", [spend, record], ids=["consume", "report"])
def test_a_repeat_pays_no_overdraft(place: Place, clock: ManualClock, way: Do) -> None:
    engine = place.open(clock)
    found(engine)
    assert not way(engine).repeated
    record(engine, None, 120)
    engine.credits.grant(CUSTOMER, {"id": "grant-2", "currency": CREDITS, "amount": 50})
    before = content(place)
    again = way(engine)
    assert (again.repeated, again.charges) == (True, ())
    assert (again.wallet.overdraft, again.wallet.balance) == (25, 25)
    assert content(place) == before
    assert spend(engine, "more", 25).granted


def test_a_repeat_of_what_would_not_fit_any_more_is_granted(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    found(engine)
    assert consume(engine, amount=100).granted
    assert spend(engine, "credits", 100).granted
    assert not consume(engine, None, 1).granted
    assert not spend(engine, None, 1).granted
    assert consume(engine, amount=100).repeated
    assert spend(engine, "credits", 100).repeated


def test_another_request_under_a_key_is_a_conflict_and_writes_nothing(
    place: Place, clock: ManualClock, way: Do
) -> None:
    engine = place.open(clock)
    found(engine)
    way(engine)
    before = content(place)
    for amount in (0, 6, 5_000):
        with pytest.raises(Conflict):
            way(engine, amount=amount)
    assert content(place) == before


def test_one_of_many_that_ask_at_once_is_carried_out(place: Place, edge: str, way: Do) -> None:
    """Each thread has an engine of its own, as if it were another process."""
    engine = place.open(edge=edge)
    number = found(engine, limit=None)
    rounds = 5
    engines = [place.open() for _ in range(CALLERS)]
    start = threading.Barrier(CALLERS)
    repeated: list[list[bool]] = [[] for _ in range(rounds)]
    troubles: list[BaseException] = []

    def ask(own: Engine) -> None:
        try:
            for index in range(rounds):
                start.wait(30)
                repeated[index].append(way(own, f"round-{index}").repeated)
        except BaseException as trouble:
            troubles.append(trouble)
            start.abort()

    threads = [threading.Thread(target=ask, args=[each]) for each in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert [sorted(each) for each in repeated] == [[False] + [True] * (CALLERS - 1)] * rounds
    assert place.used() + place.used(number) == 5 * rounds
    assert way(engine, "round-0").repeated


# What burns no key.


def by_hand(place: Place, clock: ManualClock | None, verb: str) -> ByHand:
    """A keyed request whose calls are sent one by one."""
    state = place.state(clock)
    if verb == "consume":
        question = decide.asked(CUSTOMER, FEATURE, 5, None, amount_field="amount", key=KEY)
        return ByHand(decide.consume(state, question), place.transport(clock))
    usage = report.usage_of(report.UsageRecord(CUSTOMER, FEATURE, 5, idempotency_key=KEY))
    return ByHand(report.report(state, usage), place.transport(clock))


def test_a_stale_attempt_burns_no_key_and_a_stale_repeat_is_one(place: Place, verb: str) -> None:
    engine = place.open()
    found(engine)
    asking = by_hand(place, None, verb)
    asking.run_until(SCRIPTS[verb])
    asking.send()  # of another generation
    asking.run_until(SCRIPTS[verb])
    call = asking.next_call
    entitle(engine, limit=90)
    before = content(place)
    transport = place.transport()
    assert send(transport, call)[0] == Status.STALE
    assert content(place) == before
    answer = asking.finish()
    assert not answer.repeated
    assert asking.sent.count(SCRIPTS[verb]) == 3
    before = content(place)
    assert send(transport, call)[0] == Status.STALE
    assert content(place) == before
    assert place.used() == 5


@pytest.mark.parametrize("is_known", [False, True])
def test_a_call_that_runs_too_late_or_by_another_generation_changes_nothing(
    place: Place, verb: str, is_known: bool
) -> None:
    found(place.open())
    asking = by_hand(place, None, verb)
    asking.run_until(SCRIPTS[verb])
    guessed_wrong = asking.next_call
    asking.send()
    asking.run_until(SCRIPTS[verb])
    if is_known:
        WAYS[verb](place.open())
    before = content(place)
    transport = place.transport()
    assert send(transport, asking.next_call, not_after_ms=place.server_now_ms() - 1_000)[0] == Status.LATE
    assert send(transport, guessed_wrong)[0] == Status.OTHER_GENERATION
    assert content(place) == before
    reply = send(transport, asking.next_call, not_after_ms=NEVER)
    assert reply[0] == (Status.REPEATED if is_known else Status.GRANTED if verb == "consume" else Status.DONE)
    assert place.used() == 5


def test_a_period_that_ends_before_the_call_burns_no_key(place: Place, clock: ManualClock, verb: str) -> None:
    engine = place.open(clock)
    found(engine)
    budget(engine, "team-eng", 100, cadence="PT1H")
    team: dict[str, Any] = {"dimensions": {"teamId": "team-eng"}}
    WAYS[verb](engine, "warm", **team)
    clock.advance(HOUR_MS)
    answer = WAYS[verb](engine, **team)
    assert not answer.repeated
    assert metrics(engine)["moved_on"] == 1
    assert place.used() == 10
    assert WAYS[verb](engine, **team).repeated


@pytest.mark.parametrize("way", [consume, spend], ids=["feature", "credits"])
def test_a_refused_request_burns_no_key(place: Place, way: Do) -> None:
    engine = place.open()
    number = found(engine)
    way(engine, "warm")
    before = content(place)
    assert not way(engine, amount=96).granted
    assert not way(engine, amount=97).granted  # and is not held against another request
    assert content(place) == before
    (count if way is consume else record)(engine, None, -1)
    assert way(engine, amount=96).repeated is False
    assert way(engine, amount=96).repeated is True
    assert place.used() + place.used(number) == 100


def test_what_waits_for_a_sweep_is_carried_out_once(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    found(engine)
    assert engine.reserve(CUSTOMER, feature=FEATURE, amount=100, id="hold-1", expires_in=60).granted
    before = content(place)
    assert not consume(engine).granted
    assert content(place) == before
    clock.advance(60_000)
    answer = consume(engine)
    assert (answer.granted, answer.repeated) == (True, False)
    assert (answer.account.used, answer.account.held) == (5, 0)
    assert consume(engine).repeated
    assert place.used() == 5


@pytest.mark.parametrize("way", [consume, count, record], ids=["consume", "report", "report credits"])
def test_a_sum_out_of_range_burns_no_key(place: Place, way: Do) -> None:
    engine = place.open()
    found(engine, limit=None)
    way(engine, None, 2**53 - 200)
    before = content(place)
    with pytest.raises(OutOfRange):
        way(engine, amount=2**53 - 200)
    assert content(place) == before
    assert not way(engine, amount=1).repeated


def test_bad_input_and_what_is_not_there_burn_no_key(place: Place, verb: str) -> None:
    engine = place.open()
    found(engine)
    before = content(place)
    with pytest.raises(InvalidInput):
        WAYS[verb](engine, amount=float("nan"))
    if verb == "report":
        with pytest.raises(NotFound):
            count(engine, feature="feature-none")
    else:
        assert consume(engine, feature="feature-none").reason is DeniedReason.FEATURE_NOT_FOUND
    assert content(place) == before
    assert not WAYS[verb](engine).repeated


@pytest.mark.parametrize("refused", ["hset", "hlen", "pexpireat"])
def test_what_an_acl_refuses_leaves_nothing_half_written(own_place: Place, way: Do, refused: str) -> None:
    own_place.raw.execute_command("ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all", f"-{refused}")
    found(own_place.open())
    before = content(own_place)
    url = f"redis://app:right@127.0.0.1:{own_place.server.port}/0"
    for _ in range(2):
        with pytest.raises(Unavailable):
            way(own_place.open(url=url))
        assert content(own_place) == before
    own_place.raw.execute_command("ACL", "SETUSER", "app", f"+{refused}")
    assert not way(own_place.open(url=url)).repeated
    assert way(own_place.open(url=url)).repeated
    (name,) = all_seen(own_place)
    assert own_place.raw.pttl(name) > 0


@pytest.mark.parametrize("broken", ["usage", "bucket", "seen"])
def test_an_error_of_the_server_leaves_nothing_half_written(place: Place, verb: str, broken: str) -> None:
    """A key of another type stands where counters or keys are to be written."""
    engine = place.open()
    found(engine)
    number = budget(engine, "team-eng", 100)
    team: dict[str, Any] = {"dimensions": {"teamId": "team-eng"}}
    WAYS[verb](engine, "warm", **team)
    names: dict[str, bytes] = {
        "usage": place.keys.usage,
        "bucket": place.keys.bucket(number // 64),
        "seen": all_seen(place)[0],
    }
    saved = place.save(*[names[broken]])
    place.raw.delete(names[broken])
    place.raw.set(names[broken], "of another type")
    before = content(place)
    with pytest.raises(Unavailable):
        WAYS[verb](engine, **team)
    assert content(place) == before
    place.put_back(saved)
    assert not WAYS[verb](engine, **team).repeated
    assert (place.used(), place.used(number)) == (10, 10)


def test_a_full_server_leaves_nothing_half_written(own_place: Place, edge: str, way: Do) -> None:
    number = found(own_place.open())
    engine = own_place.open(settings=HASTY, edge=edge)
    way(engine, "warm")
    before = content(own_place)
    own_place.raw.config_set("maxmemory", 1)
    try:
        with pytest.raises((Unavailable, OutcomeUnknown)):
            way(engine)
    finally:
        own_place.raw.config_set("maxmemory", 0)
    assert content(own_place) == before
    assert not way(own_place.open(edge=edge)).repeated
    assert own_place.used() + own_place.used(number) == 10


def test_a_server_that_stands_still_is_an_unknown_outcome_and_the_key_settles_it(
    own_place: Place, edge: str, way: Do
) -> None:
    number = found(own_place.open())
    engine, other = (own_place.open(settings=HASTY, edge=edge) for _ in range(2))
    way(engine, "warm")
    count(other, "warm too", 0)
    batch = [{"customer": CUSTOMER, "feature": FEATURE, "value": 1, "idempotency_key": "of a batch"}]
    own_place.server.pause()
    try:
        with pytest.raises(OutcomeUnknown):
            way(engine)
        with pytest.raises(BatchIncomplete) as caught:
            other.report_many(batch)
    finally:
        own_place.server.resume()
    assert caught.value.outcomes == ("unknown",)
    assert metrics(engine)["outcomes_unknown"] == 1
    way(own_place.open(edge=edge))
    assert way(own_place.open(edge=edge)).repeated
    assert own_place.used() + own_place.used(number) == 10


# Whose they are.


def test_customers_of_one_partition_share_the_hash_and_not_the_keys(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock)
    found(engine)
    keyspace = Keyspace(place.environment, 4)
    ids = (f"cus-{number}" for number in range(100))
    other = next(id for id in ids if keyspace.partition_of(id) == keyspace.partition_of(CUSTOMER))
    engine.customers.put(other)
    entitle(engine, limit=100, customer=other)
    own: CustomerKeys = keyspace.customer(other)
    generation = clock.now_ms // RETENTION_MS
    assert own.seen(HOURS, generation) == place.keys.seen(HOURS, generation)
    for customer in (CUSTOMER, other):
        assert not engine.consume(customer, feature=FEATURE, amount=5, idempotency_key=KEY).repeated
        assert engine.consume(customer, feature=FEATURE, amount=5, idempotency_key=KEY).repeated
    assert len(seen(place, generation)) == 2
    assert [place.used(customer=customer) for customer in (CUSTOMER, other)] == [5, 5]


def test_a_retention_of_its_own_has_generations_of_its_own(place: Place, clock: ManualClock) -> None:
    engine = place.open(clock, settings=HASTY.model_copy(update={"deadline_ms": 30_000, "key_retention_hours": 24}))
    found(engine)
    assert not consume(engine).repeated
    assert seen(place, clock.now_ms // DAY_MS, hours=24).keys() == {identity("consume")}
    assert seen(place, clock.now_ms // RETENTION_MS) == {}


def test_a_script_of_another_clock_is_told_so_and_not_of_a_generation(place: Place, clock: ManualClock) -> None:
    found(place.open(clock))
    before = content(place)
    with pytest.raises(EnvironmentMismatch, match="clock"):
        consume(place.open())
    assert content(place) == before
