"""Reports count what has happened: they are never refused, and say what became of every unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from behaviour.targets import Target
from behaviour.world import ACME, SEATS, SSO, TOKENS, budget, count, entitle, found_acme, found_chain, spend, used
from headgate import (
    AsyncHeadgate,
    BatchIncomplete,
    InvalidInput,
    ManualClock,
    NotFound,
    OutOfRange,
    Receipt,
    UpdateBehavior,
    UsageRecord,
)


def applied(receipt: Receipt) -> dict[str, float]:
    return {counted.state.name: counted.applied for counted in (receipt.account, *receipt.entities)}


async def test_a_report_counts_on_the_account_and_on_every_budget_of_the_chain(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    receipt = await count(engine, 40, userId="user-ann")
    assert applied(receipt) == {"account": 40, "org-acme": 40, "team-eng": 40, "user-ann": 40}
    assert {counted.state.used for counted in (receipt.account, *receipt.entities)} == {40}
    assert await used(engine) == {"account": 40, "org-acme": 40, "team-eng": 40, "user-ann": 40}


async def test_a_report_goes_past_every_limit(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    receipt = await count(engine, 5_000, userId="user-ann")
    assert receipt.account.state.used == 5_000
    assert receipt.account.state.left == -4_000
    assert not (await spend(engine, 1, userId="user-ann")).granted


async def test_a_report_counts_a_shared_ancestor_once(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "user-bob", 10, parent="org-acme")
    receipt = await count(engine, 7, userId="user-bob", teamId="team-eng")
    assert applied(receipt) == {"account": 7, "org-acme": 7, "team-eng": 7, "user-bob": 7}


async def test_set_makes_the_account_absolute_and_sends_its_difference_to_the_entities(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 1_000)
    await budget(engine, "team-ops", 1_000)
    await count(engine, 100, teamId="team-eng")
    await count(engine, 50, teamId="team-ops")

    up = await count(engine, 170, "SET", teamId="team-eng")
    assert applied(up) == {"account": 20, "team-eng": 20}
    assert await used(engine) == {"account": 170, "team-eng": 120, "team-ops": 50}

    down = await count(engine, 140, "SET", teamId="team-ops")
    assert applied(down) == {"account": -30, "team-ops": -30}
    assert await used(engine) == {"account": 140, "team-eng": 120, "team-ops": 20}

    same = await count(engine, 140, "SET", teamId="team-ops")
    assert applied(same) == {"account": 0, "team-ops": 0}


async def test_a_difference_below_zero_stops_at_zero_on_an_entity_that_has_less(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-ops", 1_000)
    await count(engine, 100)
    await count(engine, 10, teamId="team-ops")
    receipt = await count(engine, 0, "SET", teamId="team-ops")
    assert applied(receipt) == {"account": -110, "team-ops": -10}
    assert await used(engine) == {"account": 0, "team-ops": 0}


async def test_a_correction_stops_at_zero_and_says_so(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 1_000)
    await count(engine, 30)
    await count(engine, 12.5, teamId="team-eng")

    receipt = await count(engine, -20, teamId="team-eng")

    assert applied(receipt) == {"account": -20, "team-eng": -12.5}
    assert receipt.value == -20
    assert await used(engine) == {"account": 22.5, "team-eng": 0}
    assert str(receipt) == (
        "cus-acme, feature-ai-tokens: reported -20; account stands at 22.5 (-20), team-eng stands at 0 (-12.5)."
    )


async def test_a_correction_from_before_a_counters_period_is_not_applied_there(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 1_000, cadence="PT1H")
    last_hour = datetime.fromtimestamp(clock.now_ms / 1000, UTC) + timedelta(minutes=30)
    await count(engine, 80, teamId="team-eng")
    clock.advance(3_600_000)
    await count(engine, 50, teamId="team-eng")

    receipt = await engine.report(
        ACME, feature=TOKENS, value=-10, dimensions={"teamId": "team-eng"}, timestamp=last_hour
    )

    assert applied(receipt) == {"account": -10, "team-eng": 0}
    assert await used(engine) == {"account": 120, "team-eng": 50}


async def test_usage_from_before_a_counters_period_is_counted_in_the_present_one(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 1_000, cadence="PT1H")
    then = datetime.fromtimestamp(clock.now_ms / 1000, UTC)
    clock.advance(3_600_000)
    receipt = await engine.report(ACME, feature=TOKENS, value=10, dimensions={"teamId": "team-eng"}, timestamp=then)
    assert applied(receipt) == {"account": 10, "team-eng": 10}


async def test_what_is_counted_without_an_entitlement_is_there_when_one_is_given(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    receipt = await engine.report(ACME, feature=SEATS, value=7)
    assert receipt.account.state.used == 7
    await engine.customers.grant_entitlement(ACME, {"feature": SEATS, "usage_limit": 8})
    decision = await engine.check(ACME, feature=SEATS, requested_usage=2)
    assert not decision.granted
    assert decision.account is not None
    assert decision.account.used == 7


async def test_a_revoked_entitlement_and_an_archived_customer_still_count(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 1_000)
    await engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    assert applied(await count(engine, 3, teamId="team-eng")) == {"account": 3, "team-eng": 3}
    await engine.customers.archive(ACME)
    assert applied(await count(engine, 4, teamId="team-eng")) == {"account": 4, "team-eng": 4}


async def test_a_fluctuating_feature_goes_up_and_down(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await engine.customers.grant_entitlement(ACME, {"feature": SEATS, "usage_limit": 3})
    assert (await engine.consume(ACME, feature=SEATS, amount=3)).granted
    assert not (await engine.consume(ACME, feature=SEATS)).granted
    await engine.report(ACME, feature=SEATS, value=-1)
    assert (await engine.consume(ACME, feature=SEATS)).granted


@pytest.mark.parametrize(
    ("customer", "feature", "code"),
    [("cus-nobody", TOKENS, "CustomerNotFound"), (ACME, "feature-none", "FeatureNotFound")],
)
async def test_a_report_of_what_is_not_there_is_not_found_and_counts_nothing(
    target: Target, engine: AsyncHeadgate, customer: str, feature: str, code: str
) -> None:
    await found_acme(engine)
    before = target.dump()
    with pytest.raises(NotFound) as caught:
        await engine.report(customer, feature=feature, value=1)
    assert caught.value.code == code
    assert target.dump() == before


async def test_what_is_not_metered_cannot_be_reported(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    before = target.dump()
    with pytest.raises(InvalidInput) as caught:
        await engine.report(ACME, feature=SSO, value=1)
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("feature", SSO)
    assert "is not metered" in problem.rule
    assert target.dump() == before


@pytest.mark.parametrize(
    ("start", "value"), [(2**53 - 10, 10), (2**34, 2**34 + 0.5)], ids=["whole numbers", "fractions"]
)
async def test_a_sum_out_of_the_exact_range_is_an_error_before_the_first_write(
    target: Target, engine: AsyncHeadgate, start: float, value: float
) -> None:
    await found_acme(engine, account=None)
    await budget(engine, "team-eng", None)
    await count(engine, start, teamId="team-eng")
    before = target.dump()
    with pytest.raises(OutOfRange):
        await count(engine, value, teamId="team-eng")
    with pytest.raises(OutOfRange):
        await spend(engine, value, teamId="team-eng")
    assert target.dump() == before


async def test_a_batch_is_counted_in_order(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 1_000)
    records: list[Any] = [
        UsageRecord(ACME, TOKENS, 10, dimensions={"teamId": "team-eng"}),
        {"customer": ACME, "feature": TOKENS, "value": 4, "behavior": "SET"},
        UsageRecord(ACME, TOKENS, 1, UpdateBehavior.DELTA),
    ]
    receipts = await engine.report_many(records)
    assert [receipt.account.state.used for receipt in receipts] == [10, 4, 5]
    assert [applied(receipt) for receipt in receipts] == [
        {"account": 10, "team-eng": 10},
        {"account": -6},
        {"account": 1},
    ]


async def test_a_batch_of_a_hundred_is_counted(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    receipts = await engine.report_many([UsageRecord(ACME, TOKENS, 1)] * 100)
    assert [receipt.account.state.used for receipt in receipts] == list(range(1, 101))


async def test_a_batch_with_one_bad_record_sends_nothing_and_names_it(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    target.sent.clear()
    records = [UsageRecord(ACME, TOKENS, 1), UsageRecord(ACME, TOKENS, float("nan"))]
    with pytest.raises(InvalidInput) as caught:
        await engine.report_many(records)
    assert [problem.field for problem in caught.value.problems] == ["records[1].value"]
    assert target.sent == []
    assert await used(engine) == {"account": 0}


async def test_trouble_in_a_batch_says_what_became_of_each_record(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    records = [
        UsageRecord(ACME, TOKENS, 1),
        UsageRecord(ACME, TOKENS, 2),
        UsageRecord("cus-nobody", TOKENS, 4),
        UsageRecord(ACME, TOKENS, 8),
    ]
    with pytest.raises(BatchIncomplete) as caught:
        await engine.report_many(records)
    assert caught.value.outcomes == ("applied", "applied", "not applied", "not applied")
    assert [receipt.value for receipt in caught.value.receipts] == [1, 2]
    assert isinstance(caught.value.cause, NotFound)
    assert str(caught.value) == "2 of 4 records were applied; record 2: customer 'cus-nobody' was not found"
    assert await used(engine) == {"account": 3}


async def test_a_receipt_is_plain_data_for_json(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=None)
    await budget(engine, "team-eng", None)
    data = (await count(engine, 2.5, teamId="team-eng")).as_dict()
    assert {name: data[name] for name in ("customer", "feature", "value", "behavior", "counted_at")} == {
        "customer": ACME,
        "feature": TOKENS,
        "value": 2.5,
        "behavior": "DELTA",
        "counted_at": "2026-03-10T12:00:00+00:00",
    }
    assert [(each["entity"], each["used"], each["applied"]) for each in (data["account"], *data["entities"])] == [
        (None, 2.5, 2.5),
        ("team-eng", 2.5, 2.5),
    ]


async def test_a_new_limit_sees_all_that_was_reported_before_it(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=None)
    await count(engine, 90)
    await entitle(engine, 100)
    assert not (await spend(engine, 11)).granted
    assert (await spend(engine, 10)).granted
