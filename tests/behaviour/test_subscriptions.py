"""Subscriptions: what provisioning and cancelling them says, and from when to when they entitle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from behaviour.commerce import (
    BASIC,
    COINS,
    CREDITS,
    MORE_CREDITS,
    MORE_SEATS,
    PRO,
    SITE,
    buy,
    fields_written,
    found_shop,
    in_days,
    limit_of,
    refused,
)
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, SEATS, SSO, TOKENS
from headgate import AsyncHeadgate, DeniedReason, InvalidInput, NotFound, SubscriptionStatus


def instant_ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return round(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


def at(instant: int) -> datetime:
    return datetime.fromtimestamp(instant / 1000, UTC)


async def test_a_subscription_entitles_from_the_next_call_on(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    assert await limit_of(engine) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    await buy(engine)
    assert await limit_of(engine) == 1_000
    assert await limit_of(engine, SSO) is DeniedReason.NO_FEATURE_ENTITLEMENT


async def test_a_subscription_is_named_after_its_plan_and_starts_now(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    own, of_site, named = await buy(engine), await buy(engine, resource=SITE), await buy(engine, id="second")
    assert [each.id for each in (own, of_site, named)] == [BASIC, f"{BASIC}@{SITE}", "second"]
    assert [each.resource for each in (own, of_site, named)] == [None, SITE, None]
    assert (own.start_ms, own.billing_anchor_ms, own.created_at_ms, own.updated_at_ms) == (NOW_MS,) * 4
    assert (own.end_ms, own.trial_end_ms, own.canceled_at_ms, own.unit_quantity) == (None, None, None, 1)
    assert own.status_at(NOW_MS) is SubscriptionStatus.ACTIVE


async def test_the_billing_anchor_is_the_start_unless_it_is_given(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    assert (await buy(engine, start_ms=in_days(-3))).billing_anchor_ms == in_days(-3)
    given = await buy(engine, id="second", start_ms=in_days(-3), billing_anchor_ms=in_days(-30))
    assert (given.start_ms, given.billing_anchor_ms) == (in_days(-3), in_days(-30))


async def test_what_says_nothing_new_writes_nothing(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    whole: dict[str, Any] = {
        "billing_period": "MONTHLY",
        "unit_quantity": 2,
        "addons": [{"addon": MORE_SEATS, "quantity": 3}],
        "entitlements": [{"feature": TOKENS, "usage_limit": 7}],
        "credits": [{"currency": COINS, "amount": 5, "cadence": "YEAR"}],
        "start_ms": in_days(-1),
        "end_ms": in_days(300),
        "trial_end_ms": in_days(10),
        "trial_end_behavior": "CANCEL_SUBSCRIPTION",
        "billing_anchor_ms": in_days(-2),
        "metadata": {"deal": "7"},
    }
    first = await buy(engine, **whole)
    before = target.dump()
    target.clock.advance(5)
    assert await buy(engine, **whole) == first
    assert await buy(engine) == first
    assert await buy(engine, None, id=BASIC) == first
    for field, value in whole.items():
        assert await buy(engine, None, id=BASIC, **{field: value}) == first
    assert target.dump() == before


async def test_what_is_left_out_stays_and_what_is_given_changes(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    first = await buy(engine, unit_quantity=2, billing_period="MONTHLY", metadata={"deal": "7"})
    assert await limit_of(engine, SEATS) == 10
    target.clock.advance(5)
    changed = await buy(engine, None, id=BASIC, addons=[{"addon": MORE_SEATS, "quantity": 3}])
    assert await limit_of(engine, SEATS) == 40
    assert changed.model_copy(update={"addons": (), "earlier": (), "updated_at_ms": NOW_MS}) == first
    assert changed.updated_at_ms == NOW_MS + 5
    without = await buy(engine, None, id=BASIC, addons=[], billing_period=None, metadata={})
    assert (without.addons, without.billing_period, without.metadata) == ((), None, {})
    await buy(engine, PRO, id=BASIC)
    assert [await limit_of(engine, each) for each in (TOKENS, SEATS)] == [5_000, DeniedReason.NO_FEATURE_ENTITLEMENT]


async def test_a_subscriptions_own_terms_stand_in_the_place_of_its_plans(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await buy(engine, unit_quantity=9, entitlements=[{"feature": SEATS, "usage_limit": 7}])
    assert [await limit_of(engine, each) for each in (TOKENS, SEATS)] == [1_000, 7]
    await buy(engine, entitlements=[{"feature": TOKENS, "has_unlimited_usage": True}])
    assert [await limit_of(engine, each) for each in (TOKENS, SEATS)] == [None, 45]


async def test_it_entitles_from_its_start_until_its_end(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    subscription = await buy(engine, start_ms=in_days(1), end_ms=in_days(2))
    inactive = DeniedReason.NO_ACTIVE_SUBSCRIPTION
    for moment, limit, status in (
        (NOW_MS, inactive, "NOT_STARTED"),
        (in_days(1) - 1, inactive, "NOT_STARTED"),
        (in_days(1), 1_000, "ACTIVE"),
        (in_days(2) - 1, 1_000, "ACTIVE"),
        (in_days(2), inactive, "EXPIRED"),
    ):
        target.clock.set(moment)
        assert (await limit_of(engine), subscription.status_at(moment)) == (limit, status)


@pytest.mark.parametrize(
    ("behavior", "limit", "status"),
    [
        ("CONVERT_TO_PAID", 1_000, "ACTIVE"),
        ("CANCEL_SUBSCRIPTION", DeniedReason.NO_ACTIVE_SUBSCRIPTION, "CANCELED"),
    ],
)
async def test_when_its_trial_ends_it_goes_on_or_ends(
    target: Target, behavior: str, limit: object, status: str
) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, trial_end_ms=in_days(14), trial_end_behavior=behavior)
    target.clock.set(in_days(14) - 1)
    (subscription,) = await engine.subscriptions.list(ACME)
    assert (await limit_of(engine), subscription.status_at(target.clock.now_ms)) == (1_000, "IN_TRIAL")
    target.clock.set(in_days(14))
    assert (await limit_of(engine), subscription.status_at(target.clock.now_ms)) == (limit, status)
    assert len(await engine.subscriptions.list(ACME)) == (1 if status == "ACTIVE" else 0)


async def test_a_start_that_has_not_come_may_move_and_its_anchor_stays(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, start_ms=in_days(5))
    moved = await buy(engine, start_ms=in_days(1))
    assert (moved.start_ms, moved.billing_anchor_ms) == (in_days(1), in_days(5))
    target.clock.set(in_days(1))
    assert await limit_of(engine) == 1_000
    for start_ms in (in_days(0), in_days(2)):
        field, value, rule = await refused(target, buy(engine, start_ms=start_ms))
        assert (field, value) == ("subscription.start_ms", start_ms)
        assert "a start that has passed does not change" in rule
    assert (await buy(engine, start_ms=in_days(1))) == moved


async def test_a_change_remembers_what_decided_about_credits_until_then(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine)
    target.clock.set(in_days(1))
    await buy(engine, metadata={"deal": "7"}, entitlements=[{"feature": TOKENS, "usage_limit": 7}])
    assert (await engine.subscriptions.get(ACME, BASIC)).earlier == ()
    await buy(engine, unit_quantity=2)
    await buy(engine, unit_quantity=3)
    target.clock.set(in_days(2))
    await buy(engine, PRO, id=BASIC, addons=[{"addon": MORE_CREDITS}])
    target.clock.set(in_days(3))
    last = await buy(engine, None, id=BASIC, credits=[{"currency": COINS, "amount": 5, "cadence": "MONTH"}])

    assert [(each.until_ms, each.plan, each.unit_quantity) for each in last.earlier] == [
        (in_days(1), BASIC, 1),
        (in_days(2), BASIC, 3),
        (in_days(3), PRO, 3),
    ]
    assert [len(each.addons) for each in last.earlier] == [0, 0, 1]
    assert all(each.credits == () for each in last.earlier)
    contents = [last.content_at(in_days(days)) for days in (0, 1, 2, 3)]
    assert [(each.unit_quantity, each.plan, len(each.credits)) for each in contents] == [
        (1, BASIC, 0),
        (3, BASIC, 0),
        (3, PRO, 0),
        (3, PRO, 1),
    ]


async def test_a_change_before_the_start_leaves_nothing_to_remember(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await buy(engine, start_ms=in_days(1))
    assert (await buy(engine, unit_quantity=2)).earlier == ()


async def test_what_was_remembered_stays_in_order_when_the_clock_goes_back(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, start_ms=in_days(-9))
    await buy(engine, unit_quantity=2)
    target.clock.set(in_days(-1))
    changed = await buy(engine, unit_quantity=3)
    # What was written last holds from its own instant on, though a clock that is ahead had written a later one.
    assert [(each.until_ms, each.unit_quantity) for each in changed.earlier] == [(in_days(-1), 1)]
    assert [changed.content_at(in_days(days)).unit_quantity for days in (-2, -1, 0)] == [1, 3, 3]


async def test_the_last_64_changes_are_remembered(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine)
    for quantity in range(2, 68):
        target.clock.advance(1)
        await buy(engine, unit_quantity=quantity)
    subscription = await engine.subscriptions.get(ACME, BASIC)
    assert [each.unit_quantity for each in subscription.earlier] == list(range(3, 67))
    assert subscription.content_at(NOW_MS).unit_quantity == 3


async def test_cancelled_now_it_entitles_no_more_and_stays_cancelled(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine)
    assert await limit_of(engine) == 1_000
    target.clock.set(in_days(1))
    cancelled = await engine.subscriptions.cancel(ACME, BASIC)
    assert (cancelled.end_ms, cancelled.canceled_at_ms) == (in_days(1), in_days(1))
    assert cancelled.status_at(in_days(1)) is SubscriptionStatus.CANCELED
    assert await limit_of(engine) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    before = target.dump()
    target.clock.set(in_days(2))
    for moment in ("now", "period_end", at(in_days(3))):
        assert await engine.subscriptions.cancel(ACME, BASIC, at=moment) == cancelled
    assert target.dump() == before


@pytest.mark.parametrize("at_days", [0.0, 0.5])
async def test_cancelled_before_it_starts_it_never_entitles(target: Target, at_days: float) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, start_ms=in_days(1))
    await engine.subscriptions.cancel(ACME, BASIC, at="now" if at_days == 0 else at(in_days(at_days)))
    for days in (0.75, 1, 2):
        target.clock.set(in_days(days))
        assert await limit_of(engine) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
        assert await engine.subscriptions.list(ACME) == []
        (subscription,) = await engine.subscriptions.list(ACME, include_ended=True)
        assert subscription.status_at(target.clock.now_ms) is SubscriptionStatus.CANCELED


@pytest.mark.parametrize(
    ("given", "end_ms"),
    [
        ({"billing_period": "MONTHLY"}, instant_ms(2026, 4, 10, 12)),
        ({"billing_period": "ANNUALLY"}, instant_ms(2027, 3, 10, 12)),
        ({"billing_period": "MONTHLY", "billing_anchor_ms": instant_ms(2026, 1, 31)}, instant_ms(2026, 3, 31)),
        ({"billing_period": "MONTHLY", "start_ms": instant_ms(2025, 11, 30)}, instant_ms(2026, 3, 30)),
        ({"billing_period": "ANNUALLY", "start_ms": instant_ms(2024, 2, 29)}, instant_ms(2027, 2, 28)),
        ({"billing_period": "MONTHLY", "start_ms": instant_ms(2026, 5, 1)}, instant_ms(2026, 6, 1)),
        ({"billing_period": "MONTHLY", "end_ms": instant_ms(2026, 3, 20)}, instant_ms(2026, 3, 20)),
        (
            {
                "billing_period": "MONTHLY",
                "trial_end_ms": instant_ms(2026, 3, 20),
                "trial_end_behavior": "CANCEL_SUBSCRIPTION",
            },
            instant_ms(2026, 3, 20),
        ),
    ],
    ids=["month", "year", "from the 31st", "since a start", "from a 29 February", "to come", "ends", "trial ends"],
)
async def test_cancelled_at_the_end_of_its_period_it_entitles_until_then(
    target: Target, given: dict[str, Any], end_ms: int
) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, **given)
    cancelled = await engine.subscriptions.cancel(ACME, BASIC, at="period_end")
    assert (cancelled.end_ms, cancelled.canceled_at_ms) == (end_ms, NOW_MS)
    before = target.dump()
    target.clock.advance(5)
    assert await engine.subscriptions.cancel(ACME, BASIC, at="period_end") == cancelled
    assert target.dump() == before
    target.clock.set(end_ms - 1)
    assert await limit_of(engine) == 1_000
    target.clock.set(end_ms)
    assert await limit_of(engine) is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    assert cancelled.status_at(end_ms) is SubscriptionStatus.CANCELED


async def test_cancelled_at_an_instant_it_may_be_cancelled_earlier_and_not_later(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine)
    assert (await engine.subscriptions.cancel(ACME, BASIC, at=at(in_days(9)))).end_ms == in_days(9)
    assert (await engine.subscriptions.cancel(ACME, BASIC, at=at(in_days(5)))).end_ms == in_days(5)
    field, value, rule = await refused(target, engine.subscriptions.cancel(ACME, BASIC, at=at(in_days(6))))
    assert (field, value) == ("at", at(in_days(6)))
    assert "provision it with another end to let it run longer" in rule


async def test_a_cancellation_to_come_is_taken_back_by_an_end_of_none(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, billing_period="MONTHLY")
    cancelled = await engine.subscriptions.cancel(ACME, BASIC, at="period_end")
    changed = await buy(engine, unit_quantity=2)
    assert (changed.end_ms, changed.canceled_at_ms) == (cancelled.end_ms, NOW_MS)
    restored = await buy(engine, end_ms=None)
    assert (restored.end_ms, restored.canceled_at_ms) == (None, None)
    assert restored.billing_period == "MONTHLY"
    target.clock.set(in_days(40))
    assert await limit_of(engine) == 1_000


async def test_one_that_was_cancelled_before_it_starts_can_still_be_changed(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await buy(engine, start_ms=in_days(2))
    await engine.subscriptions.cancel(ACME, BASIC, at=at(in_days(1)))
    changed = await buy(engine, unit_quantity=3)
    assert (changed.unit_quantity, changed.end_ms, changed.canceled_at_ms) == (3, in_days(1), NOW_MS)


async def test_another_end_takes_a_cancellations_place(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await buy(engine)
    await engine.subscriptions.cancel(ACME, BASIC, at=at(in_days(5)))
    longer = await buy(engine, end_ms=in_days(8))
    assert (longer.end_ms, longer.canceled_at_ms) == (in_days(8), None)
    assert longer.status_at(in_days(8)) is SubscriptionStatus.EXPIRED


@pytest.mark.parametrize("how", ["its end", "a cancellation", "the end of its trial"])
async def test_an_ended_subscription_does_not_come_back_and_another_one_does(target: Target, how: str) -> None:
    engine = target.engine
    await found_shop(engine)
    if how == "its end":
        await buy(engine, end_ms=in_days(1))
    elif how == "a cancellation":
        await buy(engine)
        await engine.subscriptions.cancel(ACME, BASIC)
    else:
        await buy(engine, trial_end_ms=in_days(1), trial_end_behavior="CANCEL_SUBSCRIPTION")
    target.clock.set(in_days(1))
    ended = await engine.subscriptions.get(ACME, BASIC)
    for upsert in ({}, {"end_ms": None}, {"end_ms": in_days(9)}, {"unit_quantity": 2, "end_ms": ended.end_ms}):
        field, value, rule = await refused(target, buy(engine, **upsert))
        assert (field, value) == ("subscription.id", BASIC)
        assert "give the new subscription another id" in rule
    await buy(engine, id="again")
    assert await limit_of(engine) == 1_000
    assert await engine.subscriptions.get(ACME, BASIC) == ended


async def test_an_ended_subscription_that_is_written_again_with_its_end_is_the_same(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    ended = await buy(engine, start_ms=in_days(-9), end_ms=in_days(-1))
    before = target.dump()
    assert await buy(engine, start_ms=in_days(-9), end_ms=in_days(-1)) == ended
    assert target.dump() == before
    assert await limit_of(engine) is DeniedReason.NO_ACTIVE_SUBSCRIPTION


async def test_subscriptions_are_read_one_by_one_and_listed_by_start(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    for id, start in (("late", 2), ("b-now", 0), ("a-now", 0), ("early", -2)):
        await buy(engine, id=id, start_ms=in_days(start))
    of_site = await buy(engine, PRO, resource=SITE)
    await engine.subscriptions.cancel(ACME, "b-now")
    assert [each.id for each in await engine.subscriptions.list(ACME)] == ["early", "a-now", "late"]
    everything = await engine.subscriptions.list(ACME, include_ended=True)
    assert [each.id for each in everything] == ["early", "a-now", "b-now", "late"]
    assert await engine.subscriptions.list(ACME, resource=SITE) == [of_site]
    assert await engine.subscriptions.list(ACME, resource=SITE, include_ended=True) == [of_site]
    assert await engine.subscriptions.get(ACME, of_site.id, resource=SITE) == of_site
    assert (await engine.subscriptions.get(ACME, "b-now")).canceled_at_ms == NOW_MS


async def test_one_id_is_two_subscriptions_of_a_customer_and_of_its_resource(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    own = await buy(engine, id="main")
    of_site = await buy(engine, PRO, id="main", resource=SITE)
    assert await engine.subscriptions.get(ACME, "main") == own
    assert await engine.subscriptions.get(ACME, "main", resource=SITE) == of_site
    await engine.subscriptions.cancel(ACME, "main", resource=SITE)
    assert [await limit_of(engine), await limit_of(engine, resource=SITE)] == [1_000, 1_000]


async def test_what_is_not_there_is_not_found(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    before = target.dump()
    for doing, message in (
        (engine.subscriptions.provision("cus-nobody", {"plan": BASIC}), "customer 'cus-nobody' was not found"),
        (engine.subscriptions.get("cus-nobody", BASIC), "customer 'cus-nobody' was not found"),
        (engine.subscriptions.list("cus-nobody"), "customer 'cus-nobody' was not found"),
        (engine.subscriptions.cancel("cus-nobody", BASIC), "customer 'cus-nobody' was not found"),
        (engine.subscriptions.get(ACME, BASIC), "subscription 'plan-basic' of customer 'cus-acme' was not found"),
        (engine.subscriptions.cancel(ACME, BASIC), "subscription 'plan-basic' of customer 'cus-acme' was not found"),
        (buy(engine, "plan-none"), "plan 'plan-none' was not found"),
    ):
        with pytest.raises(NotFound, match=message):
            await doing
    assert target.dump() == before


async def test_the_65th_subscription_that_has_not_ended_is_refused(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    for index in range(64):
        await buy(engine, id=f"s-{index:02}", start_ms=in_days(index % 2))
    field, value, rule = await refused(target, buy(engine, id="s-64"))
    assert (field, value) == ("subscription.id", "s-64")
    assert "64 subscriptions that have not ended" in rule
    await buy(engine, id="s-63", unit_quantity=2)
    await buy(engine, id="s-64", resource=SITE)
    await engine.subscriptions.cancel(ACME, "s-07")
    await buy(engine, id="s-64")
    assert len(await engine.subscriptions.list(ACME)) == 64


async def test_ended_ones_beyond_64_are_kept_apart_and_still_stand_for_their_ids(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    for resource in (None, SITE):
        for index in range(66):
            await buy(engine, id=f"s-{index:02}", resource=resource)
            target.clock.advance(1)
            await engine.subscriptions.cancel(ACME, f"s-{index:02}", resource=resource)
    apart = {field for field in fields_written(target) if field.startswith("ended-subscription:")}
    assert apart == {
        f"ended-subscription:{resource}s-{index}" for resource in ("", f"{SITE}:") for index in ("00", "01")
    }
    for resource in (None, SITE):
        everything = await engine.subscriptions.list(ACME, resource=resource, include_ended=True)
        assert [each.id for each in everything] == [f"s-{index:02}" for index in range(66)]
        assert {each.resource for each in everything} == {resource}
        first = await engine.subscriptions.get(ACME, "s-00", resource=resource)
        assert first == everything[0]
        assert await engine.subscriptions.cancel(ACME, "s-00", resource=resource) == first
        field, value, _ = await refused(target, buy(engine, id="s-00", resource=resource))
        assert (field, value) == ("subscription.id", "s-00")


async def test_two_subscriptions_that_are_provisioned_at_once_are_both_there(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    other = target.open_blocking()
    target.before("configure", lambda: other.subscriptions.provision(ACME, {"plan": PRO}))
    await buy(engine)
    assert [each.id for each in await engine.subscriptions.list(ACME)] == [BASIC, PRO]


async def test_a_cancellation_is_not_undone_by_a_change_that_was_made_at_once(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine)
    other = target.open_blocking()
    target.before("configure", lambda: other.subscriptions.cancel(ACME, BASIC, at=at(in_days(3))))
    changed = await buy(engine, unit_quantity=4)
    assert (changed.unit_quantity, changed.end_ms, changed.canceled_at_ms) == (4, in_days(3), NOW_MS)


async def test_what_recurs_counts_as_grants_of_the_wallet_when_it_is_provisioned(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    for index in range(63):
        await engine.credits.grant(ACME, {"id": f"g-{index}", "currency": CREDITS, "amount": 1})
    both = [{"addon": MORE_CREDITS}]
    field, value, rule = await refused(target, buy(engine, PRO, addons=both))
    assert (field, value) == ("subscription.id", PRO)
    assert f"the wallet of '{CREDITS}' would have 65 grants" in rule
    await buy(engine, PRO)
    await refused(target, buy(engine, PRO, addons=both))
    await engine.credits.void(ACME, "g-7", currency=CREDITS)
    await buy(engine, PRO, addons=both)


async def test_what_others_do_meanwhile_decides_whether_what_recurs_has_a_place(target: Target) -> None:
    engine, other = target.engine, target.open_blocking()
    await found_shop(engine)
    await buy(engine, PRO, id="first")
    for index in range(63):
        await engine.credits.grant(ACME, {"id": f"g-{index}", "currency": CREDITS, "amount": 1})
    await refused(target, buy(engine, PRO))

    def between_the_loads(act: Callable[[], object]) -> None:
        target.before("load", lambda: target.before("load", act))

    between_the_loads(lambda: other.subscriptions.cancel(ACME, "first"))
    await buy(engine, PRO)
    await engine.subscriptions.cancel(ACME, PRO)
    between_the_loads(lambda: other.credits.grant(ACME, {"id": "g-63", "currency": CREDITS, "amount": 1}))
    with pytest.raises(InvalidInput, match="would have 65 grants"):
        await buy(engine, PRO, id="last")
    assert await engine.subscriptions.list(ACME) == []
