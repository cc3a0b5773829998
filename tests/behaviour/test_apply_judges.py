"""A policy that the store would refuse is refused before the first write, in a dry run as in the real one."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from behaviour.targets import BOTH_EDGES, NOW_MS, Target
from headgate import Conflict, EnvironmentNotReady, HeadgateError, InvalidInput, Policy
from headgate.keys import Keyspace

Data = dict[str, Any]
Edit = Callable[[Data], object]

DAY_MS: Final = 86_400_000
NOW: Final = datetime.fromtimestamp(NOW_MS / 1000, tz=UTC)

POLICY: Final[Data] = {
    "features": {
        "seats": {"type": "NUMBER", "meter": "FLUCTUATING"},
        "calls": {"type": "NUMBER", "meter": "INCREMENTAL"},
    },
    "currencies": {"credits": {}},
    "plans": {
        "basic": {"entitlements": {"seats": {"limit": 5}}},
        "pro": {"credits": [{"currency": "credits", "amount": 9, "cadence": "MONTH"}]},
    },
    "customers": {"acme": {"subscriptions": {"kept": {"plan": "pro"}}, "grants": {}, "entitlements": {}}},
}


def day(days: int) -> str:
    return (NOW + timedelta(days=days)).isoformat()


def subscribe(id: str = "main", **fields: object) -> Edit:
    return lambda data: data["customers"]["acme"]["subscriptions"].update({id: {"plan": "basic", **fields}})


def give(number: int = 1, **fields: object) -> Edit:
    grants = {f"gift-{index}": {"currency": "credits", "amount": 1, **fields} for index in range(number)}
    return lambda data: data["customers"]["acme"]["grants"].update(grants)


def promote(**fields: object) -> Edit:
    return lambda data: data["customers"]["acme"]["entitlements"].update({"seats": {"limit": 1, **fields}})


def nothing(data: Data) -> None:
    """Leave the policy as it is."""


def take_credits_out_of_the_plan(data: Data) -> None:
    data["plans"]["pro"]["credits"] = []


def all_of(*edits: Edit) -> Edit:
    return lambda data: [edit(data) for edit in edits]


@dataclass(frozen=True)
class Case:
    """A policy that can't be applied, and what of it is told. What goes by what is stored has no new environment."""

    wanted: Edit
    told: str
    stored: Edit = nothing
    days_later: int = 0
    is_for_new: bool = True


def of_stored(stored: Edit, wanted: Edit, told: str, *, days_later: int = 0) -> Case:
    return Case(wanted, told, stored, days_later, is_for_new=False)


MAIN, GIFT = "customers.acme.subscriptions.main", "customers.acme.grants.gift"
PROMOTION = "customers.acme.entitlements.seats"

CASES: Final = {
    "an end in the past": Case(subscribe(end=day(-1)), f"{MAIN}.end: {day(-1)}: must be after the start, {day(0)}"),
    "an end at this instant": Case(subscribe(end=day(0)), f"{MAIN}.end: {day(0)}: must be after the start, {day(0)}"),
    "a trial that is over": Case(
        subscribe(trial_end=day(-1)), f"{MAIN}.trial_end: {day(-1)}: must be after the start, {day(0)}"
    ),
    "a cancelling trial that is over": Case(
        subscribe(trial_end=day(-1), trial_end_behavior="CANCEL_SUBSCRIPTION"),
        f"{MAIN}.trial_end: {day(-1)}: must be after the start, {day(0)}",
    ),
    "a new grant that has expired": Case(
        give(expires=day(-1)), f"{GIFT}-0.expires: {day(-1)}: must be after the server's present time, {day(0)}"
    ),
    "a new grant that expires at this instant": Case(
        give(expires=day(0)), f"{GIFT}-0.expires: {day(0)}: must be after the server's present time, {day(0)}"
    ),
    "a new promotion that has expired": Case(
        promote(expires=day(-1)), f"{PROMOTION}.expires: {day(-1)}: must be after the server's present time, {day(0)}"
    ),
    "more grants than a wallet holds": Case(give(64), f"{GIFT}-63.currency: credits: the wallet has 64 grants"),
    "grants that can't be counted exactly": Case(
        give(2, amount=2**53 - 1), f"{GIFT}-1.amount: {float(2**53 - 1)}: together with the wallet's other grants"
    ),
    "more subscriptions than there may be": Case(
        all_of(*(subscribe(f"more-{index}") for index in range(64))),
        "customers.acme.subscriptions.more-63: the customer has 64 subscriptions that have not ended",
    ),
    "an end before the stored end of a trial": of_stored(
        subscribe(trial_end=day(30)),
        subscribe(end=day(20)),
        f"{MAIN}.trial_end: {day(30)}: must not be after the end, {day(20)}",
    ),
    "a trial beyond the stored end": of_stored(
        subscribe(end=day(20)),
        subscribe(trial_end=day(30)),
        f"{MAIN}.trial_end: {day(30)}: must not be after the end, {day(20)}",
    ),
    "no trial any more for a stored behaviour": of_stored(
        subscribe(trial_end=day(30), trial_end_behavior="CANCEL_SUBSCRIPTION"),
        subscribe(trial_end="never"),
        f"{MAIN}.trial_end_behavior: CANCEL_SUBSCRIPTION: goes with a trial_end: without a trial",
    ),
    "an end that has passed meanwhile": of_stored(
        subscribe(),
        subscribe(end=day(2)),
        f"{MAIN}.end: {day(2)}: must be after the server's present time, {day(3)}: what it gave stays true",
        days_later=3,
    ),
    "a stored trial that would now have ended it": of_stored(
        subscribe(trial_end=day(2)),
        subscribe(trial_end=day(2), trial_end_behavior="CANCEL_SUBSCRIPTION"),
        f"{MAIN}.trial_end: {day(2)}: must be after the server's present time, {day(3)}",
        days_later=3,
    ),
    "a start that has passed": of_stored(
        subscribe(),
        subscribe(start=day(5)),
        f"{MAIN}.start: {day(5)}: 'main' started at {day(0)}: a start that has passed does not change",
    ),
    "another billing anchor": of_stored(
        subscribe(start=day(5)),
        subscribe(start=day(5), billing_anchor=day(7)),
        f"{MAIN}.billing_anchor: {day(7)}: 'main' is billed from {day(5)}: a billing anchor does not change",
    ),
    "a subscription that has ended": of_stored(
        subscribe(end=day(2)),
        subscribe(unit_quantity=4),
        f"{MAIN}: ended at {day(2)}, and does not come back",
        days_later=3,
    ),
    "a promotion that ends earlier than now": of_stored(
        promote(),
        promote(expires=day(2)),
        f"{PROMOTION}.expires: {day(2)}: must be after the server's present time, {day(3)}",
        days_later=3,
    ),
    "credits for a wallet that is full": of_stored(
        give(63), subscribe(plan="pro"), f"{MAIN}: with it the wallet of 'credits' would have 65 grants"
    ),
    "a wallet that a plan gave credits to until now": of_stored(
        nothing, all_of(take_credits_out_of_the_plan, give(64)), f"{GIFT}-63.currency: credits: the wallet has 64"
    ),
}


def policy(*edits: Edit) -> Policy:
    data = copy.deepcopy(POLICY)
    for edit in edits:
        edit(data)
    return Policy.parse(data)


async def refusal(target: Target, wanted: Policy, *, dry_run: bool) -> HeadgateError:
    """How an engine that knows nothing yet refuses a policy."""
    with pytest.raises(HeadgateError) as refused:
        await target.open().apply(wanted, dry_run=dry_run)
    return refused.value


async def require_refused_alike(target: Target, wanted: Policy, told: str) -> None:
    kept = target.dump()
    dry = await refusal(target, wanted, dry_run=True)
    assert target.dump() == kept
    real = await refusal(target, wanted, dry_run=False)
    assert target.dump() == kept
    assert (type(dry), str(dry)) == (type(real), str(real))
    assert isinstance(dry, Conflict)
    assert str(dry).startswith(told)
    assert not re.search(r"_ms\b|\b1[0-9]{12}\b", str(dry)), "it is not told in the words of the file"


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
@pytest.mark.parametrize("name", CASES)
async def test_what_a_write_would_refuse_is_refused_before_the_first_write(target: Target, name: str) -> None:
    case = CASES[name]
    if case.is_for_new:
        await require_refused_alike(target, policy(case.wanted), case.told)
    await target.engine.apply(policy(case.stored))
    target.clock.advance(case.days_later * DAY_MS)
    await require_refused_alike(target, policy(case.stored, case.wanted), case.told)


async def test_a_new_environment_has_a_time_to_judge_by(target: Target) -> None:
    wanted = policy(give(expires=day(-1)), promote(expires=day(-1)), subscribe(end=day(-1)))
    await require_refused_alike(target, wanted, f"{MAIN}.end: ")
    assert target.dump() == {}


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        (nothing, subscribe(start=day(-9), end=day(-1))),
        (nothing, subscribe(trial_end=day(9), end=day(9))),
        (nothing, all_of(give(63, expires=day(1)), promote(expires=day(1)))),
        (nothing, all_of(*(subscribe(f"more-{index}") for index in range(63)))),
        (subscribe(trial_end=day(9)), subscribe(end=day(9))),
        (subscribe(trial_end=day(9)), subscribe(trial_end="never")),
        (subscribe(end=day(9)), all_of(give(62), subscribe(end=day(20)))),
        (give(62), subscribe(plan="pro")),
        (all_of(give(62), take_credits_out_of_the_plan), give(64)),
    ],
)
async def test_what_goes_by_a_hair_is_written(target: Target, stored: Edit, wanted: Edit) -> None:
    await target.engine.apply(policy(stored))
    told = await target.open().apply(policy(stored, wanted), dry_run=True)
    assert told
    assert await target.engine.apply(policy(stored, wanted)) == told
    assert await target.engine.apply(policy(stored, wanted)) == []


async def test_all_that_is_refused_of_a_customer_is_told_at_once(target: Target) -> None:
    wanted = policy(subscribe(end=day(-1)), subscribe("other", trial_end=day(-1)), promote(expires=day(-1)), give(65))
    told = str(await refusal(target, wanted, dry_run=True)).split("; customers.")
    assert [each.removeprefix("customers.").split(": ")[0] for each in told] == [
        "acme.subscriptions.main.end",
        "acme.subscriptions.other.trial_end",
        "acme.entitlements.seats.expires",
        "acme.grants.gift-63.currency",
        "acme.grants.gift-64.currency",
    ]


@pytest.mark.parametrize(
    ("fields", "word", "rule"),
    [
        ({"trial_end": day(30), "end": day(20)}, "trial_end", f"must not be after end, which is {day(20)}"),
        ({"trial_end_behavior": "CANCEL_SUBSCRIPTION"}, "trial_end_behavior", "goes with a trial_end"),
        (
            {"trial_end_behavior": "CANCEL_SUBSCRIPTION", "trial_end": "never"},
            "trial_end_behavior",
            "goes with a trial_end",
        ),
    ],
)
def test_what_contradicts_itself_needs_no_server(fields: Data, word: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        policy(subscribe(**fields))
    (problem,) = refused.value.problems
    assert (problem.field, problem.value) == (f"{MAIN}.{word}", fields[word])
    assert problem.rule.startswith(rule)


async def test_an_environment_that_lost_what_it_says_of_itself_is_not_taken_for_a_new_one(target: Target) -> None:
    await target.engine.apply(policy())
    target.redis.delete(Keyspace.meta(target.environment))
    kept = target.dump()
    for dry_run in (True, False):
        assert isinstance(await refusal(target, policy(), dry_run=dry_run), EnvironmentNotReady)
    assert target.dump() == kept
