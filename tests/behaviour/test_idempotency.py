"""Idempotency keys: what was carried out under a key is carried out once, and a repeat says what came of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

import pytest

from behaviour.commerce import COINS, CREDITS, SITE, give, refused
from behaviour.targets import NOW_MS, Awaited, Target
from behaviour.world import ACME, SEATS, TOKENS, budget, entitle, found_chain, used
from headgate import (
    AsyncHeadgate,
    BatchIncomplete,
    Conflict,
    DeniedReason,
    InvalidInput,
    ManualClock,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    UsageRecord,
)
from headgate.calls import Call
from headgate.client.delivery import ReplyLost
from headgate.keys import Keyspace

HOUR_MS: Final = 3_600_000
RETENTION_MS: Final = 168 * HOUR_MS
GENERATION_MS: Final = (NOW_MS // RETENTION_MS + 1) * RETENTION_MS
"""Where the generation after the clock's first instant begins."""

KEY: Final = "order-7"
ANN: Final = {"userId": "user-ann"}
PAID: Final = {
    "id": "plan-paid",
    "entitlements": [
        {"feature": SEATS, "has_unlimited_usage": True, "credit_rate": {"currency": CREDITS, "amount": 2}}
    ],
}

Do = Callable[..., Awaitable[Any]]


def consuming(**asked: Any) -> Do:
    """A consume; each call of it names its key, and may say something else."""

    async def consume(engine: AsyncHeadgate, key: str | None = KEY, **other: Any) -> Any:
        return await engine.consume(ACME, **{"amount": 5, **asked, **other}, idempotency_key=key)

    return consume


def reporting(**asked: Any) -> Do:
    """A report, likewise."""

    async def report(engine: AsyncHeadgate, key: str | None = KEY, **other: Any) -> Any:
        return await engine.report(ACME, **{"value": 5, **asked, **other}, idempotency_key=key)

    return report


consume, report = consuming(feature=TOKENS, dimensions=ANN), reporting(feature=TOKENS, dimensions=ANN)
VERBS: Final = {"consume": consume, "report": report}
WAYS: Final = {
    **VERBS,
    "consume credits": consuming(currency=CREDITS),
    "consume what is paid in credits": consuming(feature=SEATS, dimensions=ANN),
    "consume nothing": consuming(feature=TOKENS, amount=0),
    "report a correction": reporting(feature=TOKENS, value=-3, dimensions=ANN),
    "set": reporting(feature=TOKENS, behavior="SET", dimensions=ANN),
    "report credits": reporting(currency=CREDITS),
    "report what is paid in credits": reporting(feature=SEATS, dimensions=ANN),
    "give credits back": reporting(currency=CREDITS, value=-3),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Do:
    return WAYS[request.param]


@pytest.fixture(params=VERBS)
def verb(request: pytest.FixtureRequest) -> Do:
    return VERBS[request.param]


async def found(engine: AsyncHeadgate) -> None:
    """Write a chain of budgets, a wallet, and a feature that is paid from it; some of each is used already."""
    await found_chain(engine)
    await engine.catalog.put_currencies([{"id": CREDITS}, {"id": COINS}])
    await engine.catalog.put_plans([PAID])
    await engine.subscriptions.provision(ACME, {"plan": PAID["id"]})
    await give(engine, 1_000)
    await report(engine, None, value=40)
    await engine.report(ACME, currency=CREDITS, value=40)


def numbers(answer: Any) -> list[tuple[str, float, float]]:
    """Every number that an answer names, with the name: of a decision or a receipt."""
    if hasattr(answer, "granted"):
        states = list(answer.constraints)
    else:
        states = [each.state for each in (*([answer.account] if answer.account else ()), *answer.entities)]
    grants = [] if answer.wallet is None else answer.wallet.grants
    found = [(state.name, state.used, state.held) for state in states]
    return [*found, *((each.id, each.consumed, each.held) for each in grants)]


def changed(answer: Any) -> list[float]:
    """What an answer says that the call itself changed."""
    counted = () if hasattr(answer, "granted") else (*([answer.account] if answer.account else ()), *answer.entities)
    return [each.applied for each in counted if each.applied] + [charge.amount for charge in answer.charges]


# What a repeat is told.


async def test_k1_a_repeat_is_told_that_it_was_carried_out_and_writes_nothing(target: Target, way: Do) -> None:
    await found(target.engine)
    before = target.dump()
    first = await way(target.engine)
    written = target.dump()
    assert not first.repeated
    assert written != before

    for _ in range(3):
        again = await way(target.engine)
        assert again.repeated
        assert again.as_dict()["repeated"] is True
        assert getattr(again, "granted", True)
        assert numbers(again) == numbers(first)
        assert changed(again) == []
        assert target.dump() == written


async def test_k2_a_repeat_names_the_numbers_of_now(engine: AsyncHeadgate, verb: Do) -> None:
    await found(engine)
    await verb(engine)
    await report(engine, None, value=100)
    again = await verb(engine)
    assert again.repeated
    assert [used for _, used, _ in numbers(again)] == [145] * 4


async def test_another_key_is_another_request_and_without_one_every_request_is(engine: AsyncHeadgate, verb: Do) -> None:
    await found(engine)
    answers = [await verb(engine, key) for key in ("one", "two", "one", "two", None, None)]
    assert [answer.repeated for answer in answers] == [False, False, True, True, False, False]
    assert (await used(engine))["user-ann"] == 60


async def test_what_is_repeated_has_used_its_limit_and_is_still_granted(engine: AsyncHeadgate) -> None:
    await found(engine)
    assert (await consume(engine, amount=960)).granted
    assert not (await consume(engine, None, amount=1)).granted
    again = await consume(engine, amount=960)
    assert (again.granted, again.repeated, again.reason) == (True, True, None)
    assert str(again).startswith("Granted: cus-acme asked for 960 of feature-ai-tokens")


# What burns no key.


async def test_k3_a_refused_request_burns_no_key(target: Target) -> None:
    engine = target.engine
    await found(engine)
    before = target.dump()
    asked: list[dict[str, Any]] = [{"feature": TOKENS, "dimensions": ANN}, {"currency": CREDITS}]
    for each in asked:
        assert not await engine.consume(ACME, **each, amount=5_000, idempotency_key=KEY)
    assert not (await engine.consume("cus-nobody", feature=TOKENS, idempotency_key=KEY)).granted
    assert target.dump() == before

    assert (await consume(engine, amount=7)).repeated is False


async def test_a_refused_request_is_granted_under_its_key_once_there_is_room(engine: AsyncHeadgate) -> None:
    await found(engine)
    assert not (await consume(engine, amount=961)).granted
    await report(engine, None, value=-1)
    first = await consume(engine, amount=961)
    assert (first.granted, first.repeated) == (True, False)
    assert (await consume(engine, amount=961)).repeated
    assert (await used(engine))["user-ann"] == 1_000


async def test_k4_an_error_burns_no_key(target: Target, verb: Do) -> None:
    engine = target.engine
    await found(engine)
    for entity in ("user-ann", "team-eng", "org-acme"):
        await engine.governance.archive(ACME, [entity])
    await entitle(engine, None)
    before = target.dump()
    amount = "amount" if verb is consume else "value"
    with pytest.raises(OutOfRange):
        await verb(engine, **{amount: 2**53 - 2})
    with pytest.raises(InvalidInput):
        await verb(engine, **{amount: float("nan")})
    if verb is report:
        with pytest.raises(NotFound):
            await engine.report(ACME, feature="feature-none", value=5, idempotency_key=KEY)
    assert target.dump() == before
    assert not (await verb(engine)).repeated


# Whose a key is.

OTHER_REQUESTS: Final[list[tuple[Do, dict[str, Any]]]] = [
    *((consume, {"amount": amount}) for amount in (0, 6, 5.00001, 50_000)),
    (report, {"value": -5}),
    (report, {"behavior": "SET"}),
    (report, {"timestamp": datetime(2026, 3, 10, 12, tzinfo=UTC)}),
    *(
        (do, other)
        for do in VERBS.values()
        for other in (
            {"dimensions": {"userId": "user-bob"}},
            {"dimensions": None},
            {"feature": SEATS},
            {"feature": "feature-none"},
            {"feature": None, "currency": CREDITS},
            {"feature": None, "currency": COINS},
            {"resource": SITE},
        )
    ),
]


async def test_k5_another_request_under_a_key_is_a_conflict_and_writes_nothing(target: Target) -> None:
    """Also one that is refused or denied by itself."""
    engine = target.engine
    await found(engine)
    await consume(engine)
    await report(engine)
    before = target.dump()
    for do, other in OTHER_REQUESTS:
        with pytest.raises(Conflict, match="was given for another request"):
            await do(engine, **other)
    assert target.dump() == before
    assert (await consume(engine)).repeated
    assert (await report(engine)).repeated


async def test_k6_what_means_the_same_is_the_same_request(engine: AsyncHeadgate) -> None:
    await found(engine)
    await engine.consume(ACME, feature=TOKENS, amount=5, dimensions={"userId": "42", "x": True}, idempotency_key=KEY)
    alike: list[dict[str, Any]] = [{"x": "true", "userId": 42.0}, {"userId": 42, "x": True}]
    for dimensions in alike:
        again = await engine.consume(ACME, feature=TOKENS, amount=5.0, dimensions=dimensions, idempotency_key=KEY)
        assert again.repeated


async def test_k7_a_key_is_a_customers_own_and_each_verb_has_keys_of_its_own(engine: AsyncHeadgate) -> None:
    await found(engine)
    keyspace = Keyspace("any", 4)
    others = (f"cus-{number}" for number in range(100))
    other = next(each for each in others if keyspace.partition_of(each) == keyspace.partition_of(ACME))
    await engine.customers.put(other)
    await engine.customers.grant_entitlement(other, {"feature": TOKENS, "usage_limit": 10})

    for customer in (ACME, other):
        assert not (await engine.consume(customer, feature=TOKENS, amount=5, idempotency_key=KEY)).repeated
        assert not (await engine.report(customer, feature=TOKENS, value=5, idempotency_key=KEY)).repeated
    for customer in (ACME, other):
        assert (await engine.consume(customer, feature=TOKENS, amount=5, idempotency_key=KEY)).repeated
        assert (await engine.report(customer, feature=TOKENS, value=5, idempotency_key=KEY)).repeated


UNLIKE: Final = [
    "a", "A", " a", "a ", "\0", "a\0", "\n", "é", "e\u0301", "ﬁ", "fi", "\U0001f512", "\ufeffa", "\u200ba", "İ", "ı",
    "{a}", "hg:*", "@v", "k" * 255, "k" * 254, "\U0001f512" * 255,
]  # fmt: skip


async def test_k8_keys_are_compared_character_by_character(engine: AsyncHeadgate, verb: Do) -> None:
    await found(engine)
    answers = [await verb(engine, key) for key in UNLIKE]
    assert [answer.repeated for answer in answers] == [False] * len(UNLIKE)
    answers = [await verb(engine, key) for key in UNLIKE]
    assert [answer.repeated for answer in answers] == [True] * len(UNLIKE)
    assert (await used(engine))["user-ann"] == 40 + 5 * len(UNLIKE)


async def test_k9_what_is_no_key_is_refused_before_anything_is_sent(target: Target, verb: Do) -> None:
    engine = target.engine
    await found(engine)
    target.sent.clear()
    wrong: list[Any] = ["", "k" * 256, b"key", 7, ["key"], "half \ud83d"]
    for key in wrong:
        assert (await refused(target, verb(engine, key)))[:2] == ("idempotency_key", key)
        records = [UsageRecord(ACME, TOKENS, 1), UsageRecord(ACME, TOKENS, 1, idempotency_key=key)]
        assert (await refused(target, engine.report_many(records)))[:2] == ("records[1].idempotency_key", key)
    assert target.sent == []


# How long, and whatever has changed.


async def lower_limits(target: Target) -> None:
    await entitle(target.engine, 1)
    await budget(target.engine, "user-ann", 1)


async def archive_customer(target: Target) -> None:
    await target.engine.customers.archive(ACME)


async def revoke(target: Target) -> None:
    await target.engine.customers.revoke_entitlement(ACME, feature=TOKENS)


async def archive_entities(target: Target) -> None:
    await target.engine.governance.archive(ACME, ["user-ann", "team-eng", "org-acme"])


async def move(target: Target) -> None:
    await budget(target.engine, "team-ops", 10)
    await budget(target.engine, "user-ann", 1_000, parent="team-ops")


async def change_catalog(target: Target) -> None:
    await target.engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])


async def let_it_be_paid(target: Target) -> None:
    terms = {"feature": TOKENS, "has_unlimited_usage": True, "credit_rate": {"currency": CREDITS, "amount": 2}}
    await revoke(target)
    await target.engine.catalog.put_plans([{**PAID, "entitlements": [terms]}])


CHANGES: Final = [lower_limits, archive_customer, revoke, archive_entities, move, change_catalog, let_it_be_paid]


@pytest.mark.parametrize("change", CHANGES)
async def test_k10_a_repeat_is_one_whatever_was_configured_since(
    target: Target, change: Callable[[Target], Awaitable[None]]
) -> None:
    """Also where the request would be denied now: it was carried out before that."""
    await found(target.engine)
    done = {"one": consume, "two": report, "three": WAYS["set"]}
    for key, do in done.items():
        assert not (await do(target.engine, key)).repeated
    await change(target)
    before = target.dump()
    for engine in (target.engine, target.open()):
        for key, do in done.items():
            again = await do(engine, key)
            assert again.repeated
            assert getattr(again, "granted", True)
            assert getattr(again, "reason", None) is None
            assert changed(again) == []
            assert again.as_dict()["repeated"] is True
            assert str(again).startswith(("Granted: cus-acme", "cus-acme, feature-ai-tokens: "))
            with pytest.raises(Conflict):
                await do(engine, key, dimensions={"userId": "user-bob"})
    assert target.dump() == before


async def test_k11_usage_of_an_ended_period_is_not_counted_in_the_next_one(
    engine: AsyncHeadgate, clock: ManualClock, verb: Do
) -> None:
    await found(engine)
    await budget(engine, "model-large", 100, cadence="PT1H")
    dimensions = {"modelId": "model-large"}
    assert not (await verb(engine, dimensions=dimensions)).repeated
    clock.advance(HOUR_MS)
    again = await verb(engine, dimensions=dimensions)
    assert again.repeated
    assert numbers(again)[-1] == ("model-large", 0, 0)
    assert (await used(engine))["model-large"] == 0


@pytest.mark.parametrize("given_ms", [GENERATION_MS, GENERATION_MS + RETENTION_MS - 1])
async def test_k12_a_key_is_known_for_its_retention_and_at_most_twice_that(
    engine: AsyncHeadgate, clock: ManualClock, verb: Do, given_ms: int
) -> None:
    clock.set(GENERATION_MS)
    await found(engine)
    clock.set(given_ms)
    assert not (await verb(engine)).repeated
    for later_ms in (1, HOUR_MS, RETENTION_MS - 1, RETENTION_MS):
        clock.set(given_ms + later_ms)
        assert (await verb(engine)).repeated
    clock.set(GENERATION_MS + 2 * RETENTION_MS - 1)
    assert (await verb(engine)).repeated
    clock.set(given_ms + 2 * RETENTION_MS)
    assert not (await verb(engine)).repeated
    assert (await verb(engine)).repeated


async def test_k13_a_clock_that_steps_back_forgets_no_key(target: Target, verb: Do) -> None:
    engine, clock = target.engine, target.clock
    await found(engine)
    clock.set(GENERATION_MS - 2)
    assert not (await verb(engine, "before")).repeated
    clock.set(GENERATION_MS)
    assert (await verb(engine, "before")).repeated
    assert not (await verb(engine, "after")).repeated
    for now_ms in (GENERATION_MS - 1, NOW_MS, GENERATION_MS, GENERATION_MS - 2):
        clock.set(now_ms)
        for each in (engine, target.open()):
            assert (await verb(each, "before")).repeated
            assert (await verb(each, "after")).repeated


async def test_a_key_of_every_generation_is_found_where_the_request_would_be_denied(target: Target) -> None:
    await found(target.engine)
    target.clock.set(GENERATION_MS)
    assert not (await consume(target.engine)).repeated
    await archive_customer(target)
    for now_ms in (GENERATION_MS - 1, GENERATION_MS, GENERATION_MS + RETENTION_MS):
        target.clock.set(now_ms)
        assert (await consume(target.engine)).repeated
    target.clock.advance(RETENTION_MS)
    assert (await consume(target.engine)).reason is DeniedReason.CUSTOMER_IS_ARCHIVED


async def test_each_kind_of_key_may_have_a_retention_of_its_own(target: Target) -> None:
    engine = target.open(key_retention_hours=24, consume_key_retention_hours=48)
    await found(engine)
    assert not (await report(engine)).repeated
    assert not (await consume(engine)).repeated
    target.clock.set(NOW_MS // (24 * HOUR_MS) * 24 * HOUR_MS + 48 * HOUR_MS - 1)
    assert (await report(engine)).repeated
    target.clock.advance(1)
    assert not (await report(engine)).repeated
    assert (await consume(engine)).repeated


async def test_k14_instances_with_other_retentions_do_not_know_each_others_keys(target: Target) -> None:
    await found(target.engine)
    assert not (await report(target.engine)).repeated
    assert not (await report(target.open(key_retention_hours=24))).repeated


# Who asks.


async def test_k15_engines_with_cold_caches_know_the_key(target: Target, verb: Do) -> None:
    await found(target.engine)
    assert not (await verb(target.engine)).repeated
    for later_ms in (0, RETENTION_MS):
        target.clock.advance(later_ms)
        assert (await verb(target.open())).repeated
        assert (await verb(cast(AsyncHeadgate, Awaited(target.open_blocking())))).repeated


async def test_a_change_between_two_attempts_counts_once(target: Target, verb: Do) -> None:
    """The first attempt is stale; the key is not burnt by it, and the second one carries the request out."""
    await found(target.engine)
    await verb(target.engine, "warm")
    writer = target.open_blocking()
    script = "consume_credits" if verb is consume else "report_credits"
    target.before(script, lambda: writer.customers.put(ACME, name="Changed"))
    target.sent.clear()
    first = await verb(target.engine)
    assert not first.repeated
    assert target.scripts_sent().count(script) == 2
    again = await verb(target.engine)
    assert again.repeated
    assert numbers(again) == numbers(first)


# Lost replies.


class Losing:
    """A transport that loses replies: of the next calls of the scripts that write."""

    def __init__(self, transport: Any, count: int) -> None:
        self._transport = transport
        self._left = count

    def send(self, call: Call, deadline_ms: float) -> Any:
        answer = self._transport.send(call, deadline_ms)
        if not self._left or call.script not in ("consume", "report", "consume_credits", "report_credits"):
            return answer
        self._left -= 1
        if inspect.isawaitable(answer):
            return self._lose(answer)
        raise ReplyLost("connection reset")

    async def _lose(self, answer: Any) -> Any:
        await answer
        raise ReplyLost("connection reset")

    def close(self) -> Any:
        return self._transport.close()


def lose_replies(engine: AsyncHeadgate, count: int) -> None:
    inner: Any = getattr(engine, "_wrapped", engine)
    inner._transport = Losing(inner._transport, count)


async def test_k16_under_a_key_a_lost_reply_is_asked_for_again(engine: AsyncHeadgate, verb: Do) -> None:
    await found(engine)
    await verb(engine, "warm")
    lose_replies(engine, 3)
    answer = await verb(engine)
    assert answer.repeated  # by the attempt whose reply was lost
    assert numbers(answer)[0] == ("account", 50, 0)
    assert (await verb(engine)).repeated
    assert (await used(engine))["user-ann"] == 50
    assert engine.metrics["outcomes_unknown"] == 0


async def test_without_a_key_a_lost_reply_is_an_unknown_outcome(target: Target, verb: Do) -> None:
    await found(target.engine)
    lose_replies(target.engine, 1)
    with pytest.raises(OutcomeUnknown):
        await verb(target.engine, None)
    assert (await used(target.engine))["user-ann"] == 45


async def test_k17_a_client_can_make_a_key_for_every_call(target: Target, verb: Do) -> None:
    engine = target.open(exactly_once=True)
    await found(engine)
    for _ in range(2):
        assert not (await verb(engine, None)).repeated
    lose_replies(engine, 2)
    assert (await verb(engine, None)).repeated
    lose_replies(engine, 1)
    await engine.report_many([UsageRecord(ACME, TOKENS, 5, dimensions=ANN)])
    assert (await used(engine))["user-ann"] == 60
    assert engine.metrics["outcomes_unknown"] == 0


async def test_a_denial_of_a_client_that_makes_keys_is_a_denial(target: Target) -> None:
    engine = target.open(exactly_once=True)
    await found(engine)
    denied = await engine.consume("cus-nobody", feature=TOKENS)
    assert (denied.granted, denied.reason, denied.repeated) == (False, DeniedReason.CUSTOMER_NOT_FOUND, False)
    with pytest.raises(NotFound):
        await engine.report("cus-nobody", feature=TOKENS, value=1)


# Batches.


async def test_k18_each_record_of_a_batch_has_a_key_of_its_own(target: Target) -> None:
    engine = target.engine
    await found(engine)
    records: list[Any] = [
        UsageRecord(ACME, TOKENS, 1, idempotency_key="one"),
        {"customer": ACME, "feature": TOKENS, "value": 2, "idempotency_key": "two"},
        UsageRecord(ACME, None, 4, currency=CREDITS, idempotency_key="three"),
        UsageRecord(ACME, TOKENS, 1, idempotency_key="one"),
        UsageRecord(ACME, TOKENS, 8),
    ]
    receipts = await engine.report_many(records)
    assert [receipt.repeated for receipt in receipts] == [False, False, False, True, False]
    assert (await used(engine))["account"] == 51
    receipts = await engine.report_many(records)
    assert [receipt.repeated for receipt in receipts] == [True, True, True, True, False]
    assert (await used(engine))["account"] == 59
    assert (await report(engine, "two", value=2, dimensions=None)).repeated


async def test_a_batch_that_was_cut_is_repeated_whole(target: Target) -> None:
    engine = target.engine
    await found(engine)
    records = [UsageRecord(ACME, TOKENS, value, idempotency_key=f"event-{value}") for value in (1, 2, 4)]
    broken = [*records[:2], UsageRecord("cus-nobody", TOKENS, 16, idempotency_key="event-16"), records[2]]
    with pytest.raises(BatchIncomplete) as caught:
        await engine.report_many(broken)
    assert caught.value.outcomes == ("applied", "applied", "not applied", "not applied")
    receipts = await engine.report_many(records)
    assert [receipt.repeated for receipt in receipts] == [True, True, False]
    assert (await used(engine))["account"] == 47


async def test_a_key_that_two_records_share_is_a_conflict_from_the_second_on(engine: AsyncHeadgate) -> None:
    await found(engine)
    records = [UsageRecord(ACME, TOKENS, value, idempotency_key=KEY) for value in (1, 2, 4)]
    with pytest.raises(BatchIncomplete) as caught:
        await engine.report_many(records)
    assert caught.value.outcomes == ("applied", "not applied", "not applied")
    assert isinstance(caught.value.cause, Conflict)
    assert (await used(engine))["account"] == 41


# Natural keys.


async def test_k19_the_id_of_a_grant_and_of_a_reservation_is_its_key(engine: AsyncHeadgate) -> None:
    await found(engine)
    for _ in range(2):
        await give(engine, 10, id="bought-once")
    assert (await engine.credits.wallet(ACME, currency=CREDITS)).balance == 970
    for _ in range(2):
        hold = await engine.reserve(ACME, feature=TOKENS, amount=10, dimensions=ANN, id="hold-once")
        assert hold.granted
    decision = await engine.check(ACME, feature=TOKENS, dimensions=ANN)
    assert decision.account is not None
    assert (decision.account.used, decision.account.held) == (40, 10)
