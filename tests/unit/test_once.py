"""Idempotency keys: which request is the same one, by golden bytes; and what is sent again under a key."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache import Metrics
from headgate.calls import Call
from headgate.client import delivery, opening
from headgate.client.delivery import CARRIED_OUT_ONCE, Dispatcher, NotRun, Pause, ReplyLost, ScriptFailed, Send
from headgate.errors import HeadgateError, InvalidInput, OutcomeUnknown, OutOfRange, Unavailable
from headgate.keys import Keyspace
from headgate.once import HOUR_MS, KEY_MAX, Once, once, require_key
from headgate.scripts import load_scripts
from headgate.settings import Settings
from headgate.verbs import decide, report
from headgate.wire import Status

NOW_MS = 1_773_144_000_000
DAY_MS = 24 * HOUR_MS
CUSTOMER, FEATURE, KEY = "cus-acme", "feature-ai-tokens", "order-7"
KEYS = Keyspace("production", 1024).customer(CUSTOMER)


def of_consume(customer: str = CUSTOMER, key: str | None = KEY, **settings: Any) -> Once | None:
    """What a key makes of a consume of 1.5 units by a user of a team."""
    return consumed(1.5, {"teamId": "team-eng", "userId": 42.0}, customer=customer, key=key, **settings)


def consumed(
    amount: Any,
    dimensions: Any = None,
    *,
    customer: str = CUSTOMER,
    key: str | None = KEY,
    feature: str | None = FEATURE,
    currency: str | None = None,
    resource: str | None = None,
    **settings: Any,
) -> Once | None:
    state = opening.new_state("production", Settings(**settings), None)
    question = decide.asked(
        customer, feature, amount, dimensions, amount_field="amount", currency=currency, resource=resource, key=key
    )
    return decide.once_of(state, "consume", question.request, question.key, question.amount)


def reported(value: Any, *, key: str | None = KEY, **given: Any) -> Once | None:
    state = opening.new_state("production", Settings(), None)
    usage = report.usage_of(report.UsageRecord(CUSTOMER, FEATURE, value, idempotency_key=key, **given))
    what = usage.value, usage.behavior.value, usage.dated_ms
    return decide.once_of(state, "report", usage.request, usage.key, *what)


# What is stored: a changed byte would let a repeat be another request, or be carried out again.


def test_a_key_and_its_request_keep_their_bytes() -> None:
    made = of_consume()
    assert made is not None
    assert (made.identity.hex(), made.fingerprint.hex(), made.hours) == (
        "502372f774e901d708aa2ff4",
        "407a62df71690525",
        168,
    )
    made = reported(-3, key="événement-✓")
    assert made is not None
    assert (made.identity.hex(), made.fingerprint.hex()) == ("d1d26aaf5a5a50235125ed83", "67cd3634ccd62dc1")


def test_a_key_is_looked_for_in_the_present_generation_and_in_both_beside_it() -> None:
    made = of_consume()
    assert made is not None
    generation = made.generation_at(NOW_MS)
    assert generation == 2931 == NOW_MS // (168 * HOUR_MS)
    places, packed = made.place(KEYS, generation)
    assert places == (
        b"hg:{production/581}:seen:168h:2931",
        b"hg:{production/581}:seen:168h:2930",
        b"hg:{production/581}:seen:168h:2932",
    )
    assert packed.hex() == "0000000000e6a640000000004206c241"
    assert made.find_call(KEYS, generation) == Call(
        "find_seen", places, (b"", made.identity, packed), timed=0, writes=False
    )


@given(now_ms=st.integers(0, 2**45), hours=st.integers(1, 8_760))
def test_a_generation_holds_its_instants_and_its_key_is_looked_for_for_at_least_the_retention(
    now_ms: int, hours: int
) -> None:
    made = Once(b"", b"", hours)
    generation = made.generation_at(now_ms)
    assert generation * hours * HOUR_MS <= now_ms < (generation + 1) * hours * HOUR_MS
    written, _ = made.place(KEYS, generation)
    for later_ms in (now_ms + hours * HOUR_MS, max(0, now_ms - hours * HOUR_MS)):
        assert written[0] in made.place(KEYS, made.generation_at(later_ms))[0]
    assert written[0] not in made.place(KEYS, made.generation_at(now_ms + 2 * hours * HOUR_MS))[0]


# Which request is the same.

SAME = {
    "an int and a float": (consumed(5), consumed(5.0)),
    "a float and a Decimal": (consumed(1.5), consumed(Decimal("1.50"))),
    "no dimensions and none given": (consumed(1), consumed(1, {})),
    "another order of dimensions": (consumed(1, {"a": "x", "b": "y"}), consumed(1, {"b": "y", "a": "x"})),
    "a number and its text": (consumed(1, {"a": 42}), consumed(1, {"a": "42"})),
    "a whole float": (consumed(1, {"a": 42}), consumed(1, {"a": 42.0})),
    "true and its text": (consumed(1, {"a": True}), consumed(1, {"a": "true"})),
    "DELTA said or not": (reported(5), reported(5, behavior="DELTA")),
    "two zeros": (reported(0.0), reported(-0.0)),
    "an instant in two zones": (
        reported(5, timestamp=datetime(2026, 3, 10, 12, tzinfo=UTC)),
        reported(5, timestamp=datetime.fromisoformat("2026-03-10T14:00:00+02:00")),
    ),
}
OTHER = {
    "amount": (consumed(5), consumed(6)),
    "feature": (consumed(5), consumed(5, feature="feature-seats")),
    "feature or currency": (consumed(5, feature="credits"), consumed(5, feature=None, currency="credits")),
    "resource": (consumed(5), consumed(5, resource="site-01")),
    "dimension": (consumed(5, {"a": "x"}), consumed(5, {"a": "y"})),
    "name of a dimension": (consumed(5, {"a": "x"}), consumed(5, {"b": "x"})),
    "no dimension": (consumed(5, {"a": "x"}), consumed(5)),
    "a dimension that only looks like two": (consumed(5, {"a": "x", "b": "y"}), consumed(5, {"a": "x,b=y"})),
    "value": (reported(5), reported(-5)),
    "behaviour": (reported(5), reported(5, behavior="SET")),
    "timestamp": (reported(5), reported(5, timestamp=datetime(2026, 3, 10, 12, tzinfo=UTC))),
}


@pytest.mark.parametrize("name", SAME)
def test_a_request_that_means_the_same_is_the_same(name: str) -> None:
    first, second = SAME[name]
    assert first is not None
    assert first == second


@pytest.mark.parametrize("name", OTHER)
def test_a_request_that_asks_for_something_else_is_another_under_the_same_key(name: str) -> None:
    first, second = OTHER[name]
    assert first is not None
    assert second is not None
    assert first.identity == second.identity
    assert first.fingerprint != second.fingerprint


def test_a_key_is_a_customers_own_and_one_for_consume_is_none_for_report() -> None:
    made = [of_consume(), of_consume(key="order-8"), of_consume(customer="cus-other"), reported(1.5)]
    assert len({each.identity for each in made if each}) == 4


@given(
    one=st.tuples(st.text(min_size=1), st.text(min_size=1)), other=st.tuples(st.text(min_size=1), st.text(min_size=1))
)
def test_no_customer_and_key_run_into_one_another(one: tuple[str, str], other: tuple[str, str]) -> None:
    made = [once("consume", *each, hours=1, exactly_once=False, request=()) for each in (one, other)]
    assert (made[0] == made[1]) == (one == other)


def test_without_a_key_there_is_none_unless_the_client_makes_keys_of_its_own() -> None:
    assert of_consume(key=None) is None
    made = [of_consume(key=None, exactly_once=True) for _ in range(100)]
    assert len({each.identity for each in made if each}) == 100
    assert of_consume(exactly_once=True) == of_consume()


def test_another_retention_is_another_place() -> None:
    made = of_consume(key_retention_hours=24)
    assert made is not None
    assert made.place(KEYS, made.generation_at(NOW_MS))[0][0] == b"hg:{production/581}:seen:24h:20522"


def test_a_dimension_that_is_no_text_is_no_trouble() -> None:
    assert consumed(1, {"userId": "\ud800"}) == consumed(1, {"userId": "\ud800"}) != consumed(1, {"userId": "\ud801"})


@pytest.mark.parametrize("key", ["a", "k" * KEY_MAX, "é" * KEY_MAX, "\U0001f512" * KEY_MAX, "\0", " ", "{a}:*\r\n"])
def test_any_text_of_1_to_255_characters_is_a_key(key: str) -> None:
    assert require_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * (KEY_MAX + 1), b"key", 7, True, ["key"], "\ud83d", "half \udd12"])
def test_anything_else_is_not(key: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        require_key(key, "records[3].idempotency_key")
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("records[3].idempotency_key", key)


# What is sent again.

ONCE = Call("consume_credits", (b"catalog", b"usage"), (b"token", b"version", b"request"), timed=2, writes=False)
DEADLINE_MS = 1_000.0
LOST, REFUSED, FAILED = ReplyLost("connection reset"), NotRun("loading"), ScriptFailed("NOPERM no")
GRANTED = [Status.GRANTED, 5_000]


def deliver(monkeypatch: pytest.MonkeyPatch, call: Call, *outcomes: Any) -> tuple[Any, int, Metrics]:
    """Deliver a call to a server that answers so, and goes on with the last: the answer, and how often it was sent."""
    now_ms, sends, metrics = 0.0, 0, Metrics()
    monkeypatch.setattr(delivery, "monotonic_ms", lambda: now_ms)
    running = Dispatcher(metrics, None).deliver(call, DEADLINE_MS)
    outcome = None
    try:
        while True:
            step = running.send(outcome)
            if isinstance(step, Pause):
                now_ms, outcome = now_ms + step.milliseconds, None
            else:
                assert isinstance(step, Send)
                now_ms, outcome = now_ms + 1, outcomes[min(sends, len(outcomes) - 1)]
                sends += 1
    except StopIteration as stop:
        return stop.value, sends, metrics
    except HeadgateError as error:
        return error, sends, metrics


@pytest.mark.parametrize("script", sorted(CARRIED_OUT_ONCE))
def test_what_is_carried_out_once_is_sent_again_when_its_reply_was_lost(
    monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    call = Call(script, (b"catalog",), (b"request",), timed=0, writes=False)
    answer, sends, metrics = deliver(monkeypatch, call, LOST, REFUSED, LOST, GRANTED)
    assert (answer, sends) == (GRANTED, 4)
    assert (metrics.resent, metrics.outcomes_unknown) == (3, 0)


@pytest.mark.parametrize("script", sorted(CARRIED_OUT_ONCE))
@pytest.mark.parametrize("last", [LOST, REFUSED, [Status.LATE, 5_000], FAILED, ScriptFailed("OUT_OF_RANGE a sum")])
def test_if_no_reply_comes_at_all_nobody_says_that_nothing_was_counted(
    monkeypatch: pytest.MonkeyPatch, script: str, last: Any
) -> None:
    """Neither does one that was lost, and then refused until the deadline: the first may have been carried out."""
    call = Call(script, (b"catalog",), (b"request",), timed=0, writes=False)
    answer, sends, metrics = deliver(monkeypatch, call, LOST, last)
    assert isinstance(answer, OutcomeUnknown)
    assert sends >= 2
    assert metrics.outcomes_unknown == 1


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (REFUSED, Unavailable),
        ([Status.LATE, 5_000], Unavailable),
        (FAILED, Unavailable),
        (ScriptFailed("OUT_OF_RANGE"), OutOfRange),
    ],
)
def test_what_never_ran_is_told_as_such(monkeypatch: pytest.MonkeyPatch, last: Any, error: type[HeadgateError]) -> None:
    answer, _, metrics = deliver(monkeypatch, ONCE, REFUSED, last)
    assert isinstance(answer, error)
    assert metrics.outcomes_unknown == 0


@pytest.mark.parametrize("script", ["check", "check_credits", "load", "find_seen", "find_due", "free"])
def test_a_reading_or_a_sweep_without_a_reply_is_unavailable(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    call = Call(script, (b"catalog",), (b"request",), timed=0, writes=False)
    answer, sends, _ = deliver(monkeypatch, call, LOST)
    assert isinstance(answer, Unavailable)
    assert sends > 2


def test_what_is_carried_out_once_are_scripts_that_write() -> None:
    scripts = {script.name: script for script in load_scripts()}
    assert all("no-writes" not in scripts[name].header.flags for name in CARRIED_OUT_ONCE)
