"""How entitlements are read: in few calls, of one stamp and at one instant, whatever changes meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from behaviour.commerce import COINS, CREDITS, DAY_MS, MARCH_END_MS, PRO, SITE, buy, found_shop, give, in_days
from behaviour.readings import FULL, PAID, found_full_shop, held, metered, put_plan, verdict
from behaviour.targets import NOW_MS, Target
from behaviour.world import ACME, ENTITY_TYPES, REGIONS, RETENTION, SEATS, SSO, TOKENS
from headgate import AsyncHeadgate, ConfigurationKeepsChanging, DeniedReason, Headgate, MeteredEntitlement
from headgate.model.decision import instant
from headgate.verbs import surveying


async def test_reading_writes_nothing(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await give(engine, 10)
    await engine.report(ACME, feature=PAID, value=9)
    target.clock.set(MARCH_END_MS)
    before = target.dump()
    for feature in (TOKENS, SEATS, SSO, RETENTION, REGIONS, PAID, "feature-none"):
        await engine.entitlement(ACME, feature, requested_usage=10_000)
    await engine.entitlements(ACME)
    await engine.reload(ACME)
    assert target.dump() == before


async def test_one_entitlement_is_one_call_and_all_are_one_load_and_a_reading_for_each_wallet(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    for currency in (CREDITS, COINS):
        await give(engine, currency=currency)
    await metered(engine)
    target.scripts_sent()
    await metered(engine, usage=2_000)
    assert target.scripts_sent() == ["check"]

    async def bytes_of_all() -> int:
        await engine.entitlements(ACME)
        size = sum(len(part) for call in target.sent for part in (*call.keys, *call.args))
        assert target.scripts_sent() == ["load", "check", "check_credits", "check_credits"]
        return size

    before = await bytes_of_all()
    users = [{"id": f"user-{number}", "type": "user"} for number in range(100)]
    await engine.governance.put_entities(ACME, users)
    budgets = [{"entity": each["id"], "feature": TOKENS, "usage_limit": 5, "cadence": "P1D"} for each in users]
    await engine.governance.put_assignments(ACME, budgets)
    target.scripts_sent()
    assert await bytes_of_all() == before


async def test_many_counters_are_read_in_parts(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await give(engine, 10)
    for number, feature in enumerate((TOKENS, SEATS, PAID), start=1):
        await engine.report(ACME, feature=feature, value=number)
    whole = await engine.entitlements(ACME)
    monkeypatch.setattr(surveying, "COUNTERS_A_CALL", 2)
    target.scripts_sent()
    assert await engine.entitlements(ACME) == whole
    # Three metered features, and the overdraft of a currency without grants; the other's is read with its grant.
    assert target.scripts_sent() == ["load", "check", "check", "check_credits"]


async def test_what_another_engine_wrote_is_read_at_once(target: Target) -> None:
    engine, writer = target.engine, target.open()
    await found_full_shop(writer)
    assert (await metered(engine)).usage_limit == 1_000
    assert SSO in await held(engine)
    await put_plan(writer, tokens={"usage_limit": 7})
    await writer.report(ACME, feature=TOKENS, value=3)
    found = await metered(engine)
    assert (found.usage_limit, found.current_usage) == (7, 3)
    assert (await held(engine))[TOKENS] == await metered(engine, usage=0)
    await writer.subscriptions.cancel(ACME, FULL)
    assert (await metered(engine)).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    assert await held(engine) == {}


async def test_after_a_reload_nothing_that_was_kept_is_even_tried(target: Target) -> None:
    engine, writer = target.engine, target.open()
    await found_full_shop(writer)
    await metered(engine)
    await put_plan(writer, tokens={"usage_limit": 7})
    await writer.customers.grant_entitlement(ACME, {"feature": SEATS, "usage_limit": 50})
    target.scripts_sent()
    reloaded = {each.id: each for each in (await engine.reload(ACME)).entitlements}
    assert target.scripts_sent()[:2] == ["read_catalog", "load"]
    for feature, limit in ((TOKENS, 7), (SEATS, 50)):
        found = reloaded[feature]
        assert isinstance(found, MeteredEntitlement)
        assert found.usage_limit == limit
        assert (await metered(engine, feature)).usage_limit == limit
    assert engine.metrics["stale"] == 0

    await writer.customers.revoke_entitlement(ACME, feature=SEATS)
    await engine.reload(ACME)
    assert (await metered(engine, SEATS)).usage_limit == 5
    assert engine.metrics["stale"] == 0
    await engine.customers.put_resource(ACME, SITE)
    assert (await engine.reload(ACME, resource=SITE)).resource == SITE
    assert (await engine.reload("cus-nobody")).customer_exists is False


CHANGES: Final[dict[str, tuple[str, Callable[[Headgate], object]]]] = {
    "the plan": (
        "check",
        lambda writer: writer.catalog.put_plans(
            [{"id": FULL, "entitlements": [{"feature": TOKENS, "usage_limit": 9}]}]
        ),
    ),
    "the customer": (
        "check",
        lambda writer: writer.customers.grant_entitlement(
            ACME, {"feature": TOKENS, "usage_limit": 9_999, "reset_period": "DAY"}
        ),
    ),
    "the subscription": ("check", lambda writer: writer.subscriptions.cancel(ACME, FULL)),
    "the wallet": ("check_credits", lambda writer: writer.credits.grant(ACME, {"currency": CREDITS, "amount": 90})),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changes_in_between_is_in_the_answer(target: Target, change: str) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await give(engine, 10)
    writer = target.open_blocking()
    script, act = CHANGES[change]
    target.before(script, lambda: act(writer))
    found = await engine.entitlements(ACME)
    assert engine.metrics["stale"] >= 1
    assert found == await target.open().entitlements(ACME)


async def test_what_changes_between_two_parts_is_in_all_of_the_answer(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = target.engine
    await found_full_shop(engine)
    monkeypatch.setattr(surveying, "COUNTERS_A_CALL", 1)
    writer = target.open_blocking()
    target.before("check", lambda: target.before("check", lambda: writer.subscriptions.cancel(ACME, FULL)))
    assert (await engine.entitlements(ACME)).reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION


@pytest.mark.parametrize("feature", [TOKENS, SSO, PAID])
async def test_one_entitlement_that_changes_in_between_is_read_again(target: Target, feature: str) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await give(engine, 100)
    assert (await engine.entitlement(ACME, feature)).has_access
    writer = target.open_blocking()
    script = "check_credits" if feature == PAID else "check"
    target.before(script, lambda: writer.subscriptions.cancel(ACME, FULL))
    found = await engine.entitlement(ACME, feature)
    assert verdict(found) == (False, DeniedReason.NO_ACTIVE_SUBSCRIPTION)
    assert engine.metrics["stale"] == 1


async def test_a_customer_that_changes_at_every_attempt_is_an_error(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    writer, names = target.open_blocking(), iter(range(1_000))

    def change() -> None:
        writer.customers.put(ACME, name=f"name {next(names)}")
        target.before("check", change)

    target.before("check", change)
    for doing in (engine.entitlements(ACME), engine.reload(ACME), engine.entitlement(ACME, TOKENS)):
        with pytest.raises(ConfigurationKeepsChanging, match="cus-acme"):
            await doing


async def test_usage_reads_as_0_from_the_first_instant_of_the_next_period_on(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await engine.report(ACME, feature=TOKENS, value=1_000)
    end_ms = NOW_MS + 31 * DAY_MS
    for moment, used in ((end_ms - 1, 1_000), (end_ms, 0), (end_ms - 1, 1_000)):
        target.clock.set(moment)
        for found in (await metered(engine, usage=0), (await held(engine))[TOKENS]):
            assert isinstance(found, MeteredEntitlement)
            assert (found.current_usage, found.read_at_ms) == (used, moment)
            assert found.usage_period_start == instant(end_ms if used == 0 else NOW_MS)
        assert (await metered(engine)).has_access is (used == 0)


async def test_a_period_that_begins_in_between_is_the_one_that_is_read(target: Target) -> None:
    await found_full_shop(target.engine)
    await target.engine.report(ACME, feature=TOKENS, value=1_000)
    end_ms = NOW_MS + 31 * DAY_MS
    for read in (held, lambda engine: engine.entitlement(ACME, TOKENS)):
        target.clock.set(end_ms - 1)
        engine = target.open()
        target.before("load", lambda: target.clock.set(end_ms))
        answer = await read(engine)
        found = answer[TOKENS] if isinstance(answer, dict) else answer
        assert isinstance(found, MeteredEntitlement)
        assert (found.current_usage, found.has_access, found.read_at_ms) == (0, True, end_ms)
        assert found.usage_period_start == instant(end_ms)
        assert engine.metrics["moved_on"] == 1


# What is done before a load is sent comes after the load's own moment, and before that of the reading.
ENDINGS: Final[dict[str, Callable[[AsyncHeadgate], Awaitable[object]]]] = {
    "a subscription": lambda engine: buy(engine, PRO, end_ms=in_days(1)),
    "a promotion": lambda engine: engine.customers.grant_entitlement(
        ACME, {"feature": SSO, "expires_at_ms": in_days(1)}
    ),
    "a grant": lambda engine: give(engine, 10, expires_at_ms=in_days(1)),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_what_ends_in_between_is_not_in_the_answer(target: Target, ending: str) -> None:
    engine = target.engine
    await found_shop(engine)
    await ENDINGS[ending](engine)
    assert await held(engine)
    target.before("load", lambda: target.clock.set(in_days(1)))
    found = await engine.entitlements(ACME)
    assert (found.entitlements, found.reason) == ((), DeniedReason.NO_ACTIVE_SUBSCRIPTION)
    assert found.read_at_ms == in_days(1)
    assert engine.metrics["moved_on"] == 1


async def test_what_has_not_begun_where_the_clock_went_back_is_not_in_the_answer(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.catalog.put_plans([{"id": FULL, "entitlements": [{"feature": SSO}]}])
    await buy(engine, FULL, start_ms=in_days(1))
    target.clock.set(in_days(1))
    assert list(await held(engine)) == [SSO]
    target.before("load", lambda: target.clock.set(in_days(1) - 1))
    assert await held(engine) == {}


async def test_the_list_is_of_the_first_instant_at_which_a_part_of_it_was_read(target: Target) -> None:
    engine = target.engine
    await found_full_shop(engine)
    await give(engine, 10)
    target.before("check", lambda: target.clock.advance(60_000))
    found = await engine.entitlements(ACME)
    assert found.read_at_ms == NOW_MS
    assert [each.read_at_ms - NOW_MS for each in found.entitlements] == [0, 0, 0, 0, 0, 0, 60_000]


async def test_what_begins_in_between_is_in_the_answer(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, 10, effective_at_ms=in_days(1))
    target.before("load", lambda: target.clock.set(in_days(1)))
    assert list(await held(engine)) == [CREDITS]
