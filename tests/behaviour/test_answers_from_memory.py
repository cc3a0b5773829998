"""What is answered without asking Redis, how long, and what takes it away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from behaviour.commerce import CREDITS, PRO, buy, give
from behaviour.readings import FULL, PAID, metered, put_plan, verdict
from behaviour.remembering import SETTINGS_READ, remember
from behaviour.targets import Target
from behaviour.world import ACME, REGIONS, RETENTION, SSO, TOKENS
from headgate import AsyncHeadgate, DeniedReason, EnumEntitlement, InvalidInput, NumericEntitlement, UpdateKind
from headgate.entitlement_cache import ASKED_AGAIN_MS

GRANTED: Final = (True, None)


async def test_features_that_nothing_is_counted_of_are_asked_for_once(target: Target) -> None:
    world = await remember(target)
    first, sent = await world.asked(world.each())
    assert sent[-3:] == SETTINGS_READ * 3
    again, sent = await world.asked(world.each())
    assert (again, sent) == (first, [])
    assert [verdict(each) for each in again] == [GRANTED] * 3
    assert isinstance(again[1], NumericEntitlement)
    assert again[1].value == 30
    metrics = world.engine.metrics
    assert (metrics["entitlements_misses"], metrics["entitlements_hits"]) == (3, 3)


async def test_callers_that_ask_at_once_are_served_by_one_load(target: Target) -> None:
    world = await remember(target)
    reads = [world.engine.boolean_entitlement(ACME, SSO) for _ in range(50)]
    target.scripts_sent()
    assert all(found.has_access for found in await asyncio.gather(*reads))
    assert target.scripts_sent() in (SETTINGS_READ, [])  # an engine for threads has read when it was asked


async def test_what_is_kept_answers_other_questions_about_the_feature_too(target: Target) -> None:
    world = await remember(target)
    await world.each()
    other, sent = await world.asked(world.engine.enum_entitlement(ACME, REGIONS, requested_values=["asia"]))
    assert isinstance(other, EnumEntitlement)
    assert (verdict(other), sent) == ((False, DeniedReason.REQUESTED_VALUES_MISMATCH), [])
    assert other.enum_values == ("eu", "us")
    mismatch, sent = await world.asked(world.engine.boolean_entitlement(ACME, RETENTION))
    assert (verdict(mismatch), sent) == ((False, DeniedReason.FEATURE_TYPE_MISMATCH), [])


async def test_that_there_is_nothing_is_kept_too(target: Target) -> None:
    world = await remember(target)
    for customer, feature, reason in (
        ("nobody", SSO, DeniedReason.CUSTOMER_NOT_FOUND),
        (ACME, "feature-unknown", DeniedReason.FEATURE_NOT_FOUND),
    ):
        for scripts in (SETTINGS_READ, []):
            found, sent = await world.asked(world.engine.boolean_entitlement(customer, feature))
            assert (verdict(found), sent) == ((False, reason), scripts)
    await world.writer.customers.put("nobody")
    await world.hears()
    assert (await world.engine.boolean_entitlement("nobody", SSO)).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION


async def test_numbers_that_are_counted_are_read_each_time(target: Target) -> None:
    world = await remember(target)
    for used in (0, 7, 14):
        found, sent = await world.asked(metered(world.engine, usage=0))
        assert (found.current_usage, sent[-1:]) == (used, ["check"])
        await world.writer.report(ACME, feature=TOKENS, value=7)


Change = Callable[[AsyncHeadgate], Awaitable[object]]

# What is changed, and what is said of single sign-on afterwards.
CHANGES: Final[dict[str, tuple[Change, DeniedReason]]] = {
    "the plan": (lambda engine: put_plan_without(engine), DeniedReason.NO_FEATURE_ENTITLEMENT),
    "the customer": (lambda engine: engine.customers.archive(ACME), DeniedReason.CUSTOMER_IS_ARCHIVED),
}


async def put_plan_without(engine: AsyncHeadgate) -> None:
    await engine.catalog.put_plans([{"id": FULL, "entitlements": [{"feature": TOKENS, "usage_limit": 5}]}])


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_was_heard_of_is_in_the_next_answer(target: Target, change: str) -> None:
    world = await remember(target)
    await world.each()
    act, reason = CHANGES[change]
    await act(world.writer)
    await world.hears()
    assert (await world.engine.boolean_entitlement(ACME, SSO)).reason is reason


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_ones_own_is_in_the_next_answer_whether_or_not_it_was_heard_of(
    target: Target, change: str
) -> None:
    world = await remember(target)
    await world.each()
    act, reason = CHANGES[change]
    await act(world.engine)
    assert (await world.engine.boolean_entitlement(ACME, SSO)).reason is reason


async def test_what_was_loaded_before_a_change_is_not_kept_after_it(target: Target) -> None:
    """The change and its message come after the load was read, and before it is kept: nothing was there to drop."""
    world = await remember(target)
    blocking = target.open_blocking()
    told = world.engine._state.told
    world.after("load", lambda: blocking.customers.archive(ACME), lambda: told.get(ACME) is not None)
    assert (await world.engine.boolean_entitlement(ACME, SSO)).has_access  # as it was when it was asked
    assert (await world.engine.boolean_entitlement(ACME, SSO)).reason is DeniedReason.CUSTOMER_IS_ARCHIVED


async def test_what_was_loaded_before_a_change_of_the_catalog_is_not_kept_after_it(target: Target) -> None:
    world = await remember(target)
    await world.engine.boolean_entitlement(ACME, REGIONS)  # so that the catalog is at hand
    blocking = target.open_blocking()
    plan = {"id": FULL, "entitlements": [{"feature": TOKENS, "usage_limit": 5}]}
    state = world.engine._state
    world.after("load", lambda: blocking.catalog.put_plans([plan]), lambda: state.catalog is None)
    await world.engine.boolean_entitlement(ACME, SSO)
    assert (await world.engine.boolean_entitlement(ACME, SSO)).reason is DeniedReason.NO_FEATURE_ENTITLEMENT


async def test_nothing_is_answered_from_memory_by_an_engine_that_does_not_listen(target: Target) -> None:
    world = await remember(target)
    deaf = target.open(cache_max_bytes=1_000_000)
    for _ in range(2):
        found, sent = await world.asked(deaf.boolean_entitlement(ACME, SSO))
        assert (found.has_access, sent[-1:]) == (True, SETTINGS_READ)
    assert (deaf.metrics["entitlements_hits"], deaf.metrics["entitlements_last_known"]) == (0, 0)


async def test_an_answer_ends_when_what_it_says_ends(target: Target) -> None:
    world = await remember(target)
    await world.writer.customers.put("cus-trial")
    await world.writer.customers.grant_entitlement(
        "cus-trial", {"feature": SSO, "expires_at_ms": target.clock.now_ms + 5_000}
    )
    await world.hears()
    assert (await world.engine.boolean_entitlement("cus-trial", SSO)).has_access
    target.clock.advance(4_999)
    found, sent = await world.asked(world.engine.boolean_entitlement("cus-trial", SSO))
    assert (found.has_access, sent) == (True, [])
    target.clock.advance(1)
    found, sent = await world.asked(world.engine.boolean_entitlement("cus-trial", SSO))
    assert (found.has_access, sent) == (False, SETTINGS_READ)


async def test_an_answer_is_asked_for_again_after_a_minute(target: Target) -> None:
    world = await remember(target)
    await world.each()
    target.clock.advance(ASKED_AGAIN_MS - 1)
    assert (await world.asked(world.each()))[1] == []
    target.clock.advance(1)
    assert (await world.asked(world.each()))[1] == SETTINGS_READ * 3


async def test_a_clock_that_steps_back_takes_answers_away(target: Target) -> None:
    world = await remember(target)
    await world.each()
    target.clock.advance(-1)
    assert (await world.asked(world.each()))[1] == SETTINGS_READ * 3


async def test_reloading_reads_what_is_there_now(target: Target) -> None:
    world = await remember(target)
    await world.each()
    assert SSO in {each.id for each in await world.engine.reload(ACME)}
    assert (await world.asked(world.each()))[1] == SETTINGS_READ * 3


async def test_each_resource_has_answers_of_its_own(target: Target) -> None:
    world = await remember(target)
    await world.writer.customers.put_resource(ACME, "site-01")
    await world.hears()
    assert (await world.engine.boolean_entitlement(ACME, SSO, resource="site-01")).has_access
    missing = await world.engine.boolean_entitlement(ACME, SSO, resource="site-02")
    assert missing.reason is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
    for resource, granted in (("site-01", True), ("site-02", False), (None, True)):
        found = await world.engine.boolean_entitlement(ACME, SSO, resource=resource)
        assert found.has_access is granted


async def test_what_is_kept_is_bounded_in_bytes_and_the_least_recently_asked_about_goes_first(target: Target) -> None:
    world = await remember(target, cache_max_bytes=20_000)
    customers = [f"cus-{number:04}" for number in range(40)]
    for customer in customers:
        await world.engine.boolean_entitlement(customer, SSO)
        await world.engine.boolean_entitlement(customers[0], SSO)
    metrics = world.engine.metrics
    assert 10_000 < metrics["entitlements_bytes"] <= 20_000
    assert metrics["entitlements_evicted"] == 40 - len(world.engine._state.entitlements) > 20
    assert (await world.asked(world.engine.boolean_entitlement(customers[0], SSO)))[1] == []
    assert (await world.asked(world.engine.boolean_entitlement(customers[1], SSO)))[1] == SETTINGS_READ


# Numbers of an age.


async def test_numbers_may_be_as_old_as_is_allowed_and_no_older(target: Target) -> None:
    world = await remember(target, freshness=500)
    assert (await metered(world.engine, usage=0)).current_usage == 0
    await target.engine.report(ACME, feature=TOKENS, value=600)
    target.clock.advance(499)
    found, sent = await world.asked(metered(world.engine, usage=1_000))
    assert (found.current_usage, verdict(found), sent) == (0, GRANTED, [])
    target.clock.advance(1)
    found, sent = await world.asked(metered(world.engine, usage=1_000))
    assert (found.current_usage, sent) == (600, ["check"])
    assert verdict(found) == (False, DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT)
    assert (world.engine.metrics["numbers_read_again"], world.engine.metrics["numbers_were_off"]) == (1, 1)


async def test_what_the_process_counts_itself_is_in_its_next_answer(target: Target) -> None:
    world = await remember(target, freshness=60_000)
    await metered(world.engine)
    await world.engine.report(ACME, feature=TOKENS, value=600)
    assert (await world.engine.consume(ACME, feature=TOKENS, amount=300)).granted
    found, sent = await world.asked(metered(world.engine, usage=100))
    assert (found.current_usage, verdict(found), sent) == (900, GRANTED, [])
    found, sent = await world.asked(metered(world.engine, usage=101))
    assert (verdict(found)[0], sent) == (False, [])
    async with world.engine.reserve(ACME, feature=TOKENS, amount=50) as hold:
        assert (await metered(world.engine, usage=50)).held == 50
        await hold.settle(40)
    await world.engine.report(ACME, feature=TOKENS, value=-900)
    await world.engine.report(ACME, feature=TOKENS, value=900)  # of the same millisecond, by this clock
    assert (await metered(world.engine, usage=0)).current_usage == 940


async def test_what_is_held_is_asked_for_before_it_refuses(target: Target) -> None:
    """It may have expired, and then it is freed by who asks."""
    world = await remember(target, freshness=60_000)
    await world.engine.reserve(ACME, feature=TOKENS, amount=1_000, expires_in=10)
    await metered(world.engine, usage=0)
    target.clock.advance(10_000)
    found, _ = await world.asked(metered(world.engine, usage=1_000))
    assert (verdict(found), found.held) == (GRANTED, 0)


async def test_numbers_of_a_period_that_has_ended_are_not_answered(target: Target) -> None:
    world = await remember(target, freshness=60_000)
    await world.engine.report(ACME, feature=TOKENS, value=600)
    end = (await metered(world.engine)).usage_period_end
    assert end is not None
    target.clock.set(int(end.timestamp() * 1000) - 1)
    assert (await metered(world.engine)).current_usage == 600
    target.clock.advance(1)
    assert (await metered(world.engine)).current_usage == 0


async def test_what_is_paid_in_credits_is_read_again_once_the_wallet_was_used(target: Target) -> None:
    world = await remember(target, freshness=60_000)
    await give(world.writer, 10)
    await world.hears()
    assert (await metered(world.engine, PAID, usage=4)).has_access
    await world.engine.report(ACME, currency=CREDITS, value=5)
    assert verdict(await metered(world.engine, PAID, usage=4)) == (False, DeniedReason.INSUFFICIENT_CREDITS)


async def test_a_changed_limit_is_in_the_next_answer_however_old_numbers_may_be(target: Target) -> None:
    world = await remember(target, freshness=60_000)
    assert (await metered(world.engine)).usage_limit == 1_000
    await put_plan(world.writer, tokens={"usage_limit": 7})
    await world.hears()
    assert (await metered(world.engine)).usage_limit == 7


# Updates.


async def test_updates_are_those_of_the_customer_and_of_what_is_about_all(target: Target) -> None:
    world = await remember(target)
    updates = world.engine.updates(customer=ACME)
    await world.writer.customers.put("cus-other")
    await buy(world.writer, PRO)
    await put_plan(world.writer, seats={"usage_limit": 9})
    told = [await anext(updates) for _ in range(2)]
    assert [(each.kind, each.customer) for each in told] == [(UpdateKind.CUSTOMER, ACME), (UpdateKind.CATALOG, None)]


@pytest.mark.parametrize("customer", ["", "not an id", 5])
async def test_updates_of_what_is_no_id_are_refused(target: Target, customer: Any) -> None:
    world = await remember(target)
    with pytest.raises(InvalidInput, match="customer"):
        world.engine.updates(customer=customer)
