"""What a change of plan, reset or source does to usage: the second table of docs/concepts/entitlements.md.

A counter begins at 0 where the period that it is asked about starts later than the stored one, and stays otherwise.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from behaviour.targets import NOW_MS
from behaviour.world import ACME, ENTITY_TYPES, FEATURES, TOKENS, count, spend
from headgate import AsyncHeadgate, ManualClock

MAIN: Final = "main"
DAY_MS: Final = 86_400_000
START_OF_THE_MONTH: Final = {"reset_period": "MONTH", "reset_according_to": "StartOfTheMonth"}
SUBSCRIPTION_START: Final = {"reset_period": "MONTH", "reset_according_to": "SubscriptionStart"}
DAILY: Final = {"reset_period": "DAY"}
NEVER: Final[dict[str, str]] = {}


def ms(month: int, day: int, hour: int = 0) -> int:
    return round(datetime(2026, month, day, hour, tzinfo=UTC).timestamp() * 1000)


def tokens(limit: float | None, reset: dict[str, str], **given: Any) -> dict[str, Any]:
    how_much = {"has_unlimited_usage": True} if limit is None else {"usage_limit": limit}
    return {"feature": TOKENS, **how_much, **reset, **given}


async def put_plan(engine: AsyncHeadgate, id: str, limit: float | None, reset: dict[str, str], **given: Any) -> None:
    await engine.catalog.put_plans([{"id": id, "entitlements": [tokens(limit, reset, **given)]}])


async def put_addon(engine: AsyncHeadgate, id: str, limit: float, reset: dict[str, str], **given: Any) -> None:
    await engine.catalog.put_addons([{"id": id, "entitlements": [tokens(limit, reset, **given)]}])


async def provision(engine: AsyncHeadgate, **given: Any) -> None:
    await engine.subscriptions.provision(ACME, {"id": MAIN, **given})


async def found(engine: AsyncHeadgate, limit: float | None, reset: dict[str, str], **given: Any) -> None:
    """Write a customer with the subscription `main` to the plan `old`, which gives tokens."""
    await engine.catalog.put_features(FEATURES)
    await put_plan(engine, "old", limit, reset, **given)
    await engine.customers.put(ACME)
    await provision(engine, plan="old")


async def used(engine: AsyncHeadgate) -> float:
    """What the account-level counter stands at."""
    decision = await engine.check(ACME, feature=TOKENS, requested_usage=0)
    assert decision.account is not None
    return decision.account.used


async def test_u1_a_plan_that_is_changed_in_place_keeps_usage(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found(engine, 100, SUBSCRIPTION_START)
    await spend(engine, 80)
    clock.advance(10 * DAY_MS)
    await put_plan(engine, "new", 90, SUBSCRIPTION_START)
    await provision(engine, plan="new")
    assert await used(engine) == 80
    assert not await spend(engine, 11)
    assert await spend(engine, 10)
    clock.set(ms(4, 10, 12))
    assert await used(engine) == 0


async def test_u2_another_subscription_that_resets_by_its_start_begins_at_zero(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, SUBSCRIPTION_START)
    await spend(engine, 80)
    clock.advance(DAY_MS)
    await engine.subscriptions.cancel(ACME, MAIN)
    await engine.subscriptions.provision(ACME, {"id": "second", "plan": "old"})
    assert await used(engine) == 0
    assert await spend(engine, 100)
    clock.set(ms(4, 11, 12) - 1)
    assert await used(engine) == 100
    clock.set(ms(4, 11, 12))
    assert await used(engine) == 0


async def test_u3_another_subscription_that_resets_on_the_first_keeps_usage(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    clock.advance(DAY_MS)
    await engine.subscriptions.cancel(ACME, MAIN)
    await engine.subscriptions.provision(ACME, {"id": "second", "plan": "old"})
    assert await used(engine) == 80
    assert not await spend(engine, 21)
    clock.set(ms(4, 1))
    assert await used(engine) == 0


@pytest.mark.parametrize("limit", [150, None])
async def test_u4_a_limit_that_is_raised_makes_room_at_once(engine: AsyncHeadgate, limit: float | None) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 100)
    assert not await spend(engine, 50)
    await put_plan(engine, "old", limit, START_OF_THE_MONTH)
    assert await used(engine) == 100
    decision = await spend(engine, 50)
    assert decision.granted
    assert decision.account is not None
    assert (decision.account.used, decision.account.limit) == (150, limit)


async def test_u5_a_limit_below_what_was_used_refuses_until_the_period_ends(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await put_plan(engine, "old", 50, START_OF_THE_MONTH)
    refused = await spend(engine, 1)
    assert not refused.granted
    assert refused.account is not None
    assert (refused.account.used, refused.account.left) == (80, -30)
    clock.set(ms(4, 1) - 1)
    assert not await spend(engine, 1)
    clock.set(ms(4, 1))
    assert await spend(engine, 50)


async def test_u6_from_months_to_days_usage_begins_at_zero(engine: AsyncHeadgate) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, DAILY)
    assert await used(engine) == 0
    assert await spend(engine, 100)


async def test_from_months_to_days_on_the_month_s_first_day_nothing_changes(engine: AsyncHeadgate) -> None:
    await found(engine, 100, SUBSCRIPTION_START)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, DAILY)
    assert await used(engine) == 80


async def test_u7_from_days_to_months_the_day_counts_on_until_the_month_ends(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, DAILY)
    await spend(engine, 90)
    clock.advance(DAY_MS)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, START_OF_THE_MONTH)
    assert await used(engine) == 80
    clock.advance(DAY_MS)
    assert await used(engine) == 80
    assert await spend(engine, 20)
    clock.set(ms(4, 1) - 1)
    assert await used(engine) == 100
    clock.set(ms(4, 1))
    assert await used(engine) == 0


async def test_u8_looking_at_another_reset_changes_nothing(engine: AsyncHeadgate) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await put_plan(engine, "old", 50, DAILY)
    assert await used(engine) == 0
    assert not await spend(engine, 51)  # Refused: nothing is written.
    await put_plan(engine, "old", 100, START_OF_THE_MONTH)
    assert await used(engine) == 80


async def test_u9_counting_in_another_reset_forgets_what_was_there(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, DAILY)
    await spend(engine, 30)
    await put_plan(engine, "old", 100, START_OF_THE_MONTH)
    clock.advance(DAY_MS)
    assert await used(engine) == 30
    await put_plan(engine, "old", 100, DAILY)
    assert await used(engine) == 0


async def test_u10_usage_of_a_limit_that_lost_its_reset_stays_for_ever(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, DAILY)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, NEVER)
    clock.advance(400 * DAY_MS)
    assert await used(engine) == 80
    assert await spend(engine, 20)
    clock.advance(400 * DAY_MS)
    assert not await spend(engine, 1)


async def test_u11_usage_of_a_limit_that_got_a_reset_begins_at_zero(engine: AsyncHeadgate) -> None:
    await found(engine, 100, NEVER)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, START_OF_THE_MONTH)
    assert await used(engine) == 0


async def test_u12_an_edited_plan_does_the_same_to_each_of_its_customers(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    for number in range(9):
        await engine.customers.put(f"cus-{number}")
        await engine.subscriptions.provision(f"cus-{number}", {"plan": "old"})
        await engine.consume(f"cus-{number}", feature=TOKENS, amount=number)

    async def numbers() -> list[tuple[float, float | None]]:
        found = []
        for number in range(9):
            account = (await engine.check(f"cus-{number}", feature=TOKENS)).account
            assert account is not None
            found.append((account.used, account.limit))
        return found

    clock.advance(DAY_MS)
    await put_plan(engine, "old", 7, START_OF_THE_MONTH)
    assert await numbers() == [(number, 7) for number in range(9)]
    await put_plan(engine, "old", 7, DAILY)
    assert await numbers() == [(0, 7)] * 9


async def test_u13_another_quantity_of_units_keeps_usage(engine: AsyncHeadgate) -> None:
    await found(engine, 100, SUBSCRIPTION_START, per_unit=True)
    await spend(engine, 80)
    await provision(engine, unit_quantity=2)
    assert await used(engine) == 80
    assert await spend(engine, 120)
    await provision(engine, unit_quantity=1)
    assert await used(engine) == 200
    assert not await spend(engine, 1)


async def test_u14_an_add_on_that_comes_changes_or_goes_keeps_usage_unless_it_brings_another_reset(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await put_addon(engine, "more", 50, DAILY)
    await put_addon(engine, "daily", 500, DAILY, behavior="OVERRIDE")
    await spend(engine, 100)
    for quantity, limit in ((1, 150), (3, 250)):
        await provision(engine, addons=[{"addon": "more", "quantity": quantity}])
        decision = await spend(engine, 50)
        assert decision.granted
        assert decision.account is not None
        assert decision.account.limit == limit
    await provision(engine, addons=[])
    assert await used(engine) == 200
    clock.advance(DAY_MS)
    await provision(engine, addons=[{"addon": "daily"}])
    assert await used(engine) == 0
    await spend(engine, 5)
    await provision(engine, addons=[])
    assert await used(engine) == 5


async def test_u15_an_entitlement_of_its_own_keeps_usage_unless_it_brings_another_reset(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    clock.advance(DAY_MS)
    await provision(engine, entitlements=[tokens(90, START_OF_THE_MONTH)])
    assert await used(engine) == 80
    assert not await spend(engine, 11)
    await provision(engine, entitlements=[])
    assert await used(engine) == 80
    assert await spend(engine, 11)
    await provision(engine, entitlements=[tokens(90, DAILY)])
    assert await used(engine) == 0


async def test_u16_the_end_of_a_trial_keeps_usage(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found(engine, 100, SUBSCRIPTION_START)
    await provision(engine, trial_end_ms=NOW_MS + 14 * DAY_MS)
    await spend(engine, 80)
    clock.advance(14 * DAY_MS)
    assert await used(engine) == 80
    clock.set(ms(4, 10, 12))
    assert await used(engine) == 0


async def test_u17_usage_waits_for_another_subscription_of_the_same_month(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await engine.subscriptions.cancel(ACME, MAIN)
    clock.advance(5 * DAY_MS)
    assert (await spend(engine, 1)).reason == "NoActiveSubscription"
    await engine.subscriptions.provision(ACME, {"id": "second", "plan": "old"})
    assert await used(engine) == 80


async def test_u18_what_is_reported_while_nothing_entitles_is_added_to_what_stood(engine: AsyncHeadgate) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await engine.subscriptions.cancel(ACME, MAIN)
    receipt = await count(engine, 7)
    assert receipt.account is not None
    assert (receipt.account.state.used, receipt.account.applied) == (87, 7)
    await engine.subscriptions.provision(ACME, {"id": "second", "plan": "old"})
    assert await used(engine) == 87


async def test_u19_a_promotion_in_the_place_of_a_subscription_begins_at_zero(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, SUBSCRIPTION_START)
    await spend(engine, 80)
    await engine.subscriptions.cancel(ACME, MAIN)
    clock.advance(DAY_MS)
    await engine.customers.grant_entitlement(ACME, tokens(50, SUBSCRIPTION_START))
    assert await used(engine) == 0
    assert not await spend(engine, 51)


async def test_u20_a_more_generous_source_that_comes_and_goes_leaves_its_number(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, SUBSCRIPTION_START)
    await spend(engine, 80)
    clock.advance(DAY_MS)
    await engine.customers.grant_entitlement(ACME, tokens(500, SUBSCRIPTION_START, expires_at_ms=clock.now_ms + DAY_MS))
    assert await used(engine) == 0
    await spend(engine, 60)
    clock.advance(DAY_MS)
    decision = await spend(engine, 40)
    assert decision.granted
    assert decision.account is not None
    assert (decision.account.used, decision.account.limit) == (100, 100)
    clock.set(ms(4, 10, 12))
    assert await used(engine) == 0


async def test_u21_a_zone_in_which_the_month_starts_later_begins_at_zero(engine: AsyncHeadgate) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, START_OF_THE_MONTH, zone="America/New_York")
    assert await used(engine) == 0


async def test_u22_a_zone_in_which_the_month_starts_earlier_keeps_usage(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await spend(engine, 80)
    await put_plan(engine, "old", 100, START_OF_THE_MONTH, zone="Asia/Tokyo")
    assert await used(engine) == 80
    clock.set(ms(3, 31, 15) - 1)
    assert await used(engine) == 80
    clock.set(ms(3, 31, 15))
    assert await used(engine) == 0


async def test_u23_no_change_of_the_account_level_touches_the_numbers_of_budgets(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found(engine, 100, START_OF_THE_MONTH)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.governance.put_entities(ACME, [{"id": "team-eng", "type": "team"}])
    budget = {"entity": "team-eng", "feature": TOKENS, "usage_limit": 1_000, "cadence": "P1M"}
    await engine.governance.put_assignments(ACME, [budget])
    await spend(engine, 80, teamId="team-eng")
    clock.advance(DAY_MS)

    async def of_the_team() -> float:
        decision = await engine.check(ACME, feature=TOKENS, dimensions={"teamId": "team-eng"})
        assert decision.chains is not None
        return decision.chains[0][0].used

    for reset in (DAILY, NEVER, SUBSCRIPTION_START, START_OF_THE_MONTH):
        await put_plan(engine, "old", 200, reset)
        assert await of_the_team() == 80
    await engine.subscriptions.cancel(ACME, MAIN)
    await engine.customers.grant_entitlement(ACME, tokens(500, SUBSCRIPTION_START))
    assert (await used(engine), await of_the_team()) == (0, 80)
