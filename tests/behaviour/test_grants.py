"""Grants: giving credits and taking them back. What became of each stays readable."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import (
    COINS,
    CREDITS,
    MORE_CREDITS,
    PRO,
    SITE,
    buy,
    fields_written,
    found_shop,
    give,
    in_days,
    refused,
)
from behaviour.targets import BOTH_EDGES, NOW_MS, Target
from behaviour.world import ACME
from headgate import AsyncHeadgate, Conflict, Grant, GrantKind, NotFound

WHOLE: dict[str, Any] = {
    "id": "g-1",
    "kind": "PROMOTIONAL",
    "amount": 12.5,
    "priority": 7,
    "effective_at_ms": in_days(-1),
    "expires_at_ms": in_days(30),
    "display_name": "Welcome",
    "comment": "as agreed",
    "metadata": {"deal": "7"},
}


async def balance(engine: AsyncHeadgate, currency: str = CREDITS, resource: str | None = None) -> float:
    return (await engine.credits.wallet(ACME, currency=currency, resource=resource)).balance


async def ledger(engine: AsyncHeadgate) -> dict[str, tuple[str, float, float]]:
    """The status of each grant, what is left of it, and what was consumed."""
    grants = await engine.credits.grants(ACME, currency=CREDITS)
    return {each.id: (each.status.value, each.left, each.consumed) for each in grants}


async def spend(engine: AsyncHeadgate, amount: float, **named: Any) -> bool:
    return (await engine.consume(ACME, currency=CREDITS, amount=amount, **named)).granted


async def test_a_grant_says_what_was_given_and_when(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    given = await give(engine, **WHOLE)
    assert given == Grant.accept({**WHOLE, "currency": CREDITS, "number": given.number, "created_at_ms": NOW_MS})
    plain = await give(engine, 5)
    assert (plain.kind, plain.priority, plain.amount) == (GrantKind.PAID, 50, 5)
    assert (plain.effective_at_ms, plain.created_at_ms, plain.expires_at_ms) == (NOW_MS, NOW_MS, None)
    assert plain.number != given.number
    assert await balance(engine) == 17.5


async def test_a_grant_without_an_id_gets_one_of_its_own(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    ids = [(await give(engine)).id for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(len(id) == len("grant-") + 16 and id.startswith("grant-") for id in ids)
    assert await balance(engine) == 30


async def test_a_grant_that_is_given_again_is_the_same_grant(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    first = await give(engine, **WHOLE)
    second = await give(engine, id="g-2")
    before = target.dump()
    target.clock.set(in_days(1))
    assert await give(engine, **WHOLE) == first
    assert await give(engine, id="g-2") == second
    target.clock.set(in_days(60))
    assert await give(engine, **WHOLE) == first
    assert target.dump() == before


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "PAID"},
        {"amount": 13},
        {"priority": 8},
        {"effective_at_ms": in_days(-2)},
        {"effective_at_ms": None},
        {"expires_at_ms": None},
        {"display_name": ""},
        {"comment": ""},
        {"metadata": {}},
    ],
    ids=str,
)
async def test_an_id_that_stands_for_another_grant_is_a_conflict(target: Target, changed: dict[str, Any]) -> None:
    await found_shop(target.engine)
    await give(target.engine, **WHOLE)
    before = target.dump()
    with pytest.raises(Conflict, match=f"grant 'g-1' was given with another {next(iter(changed))}"):
        await give(target.engine, **{**WHOLE, **changed})
    assert target.dump() == before


async def test_one_id_is_a_grant_of_each_wallet(engine: AsyncHeadgate) -> None:
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    grants = [
        await give(engine, 1, id="g-1"),
        await give(engine, 2, id="g-1", currency=COINS),
        await give(engine, 4, id="g-1", resource=SITE),
    ]
    assert len({each.number for each in grants}) == 3
    assert [await balance(engine), await balance(engine, COINS), await balance(engine, resource=SITE)] == [1, 2, 4]
    await engine.credits.void(ACME, "g-1", currency=CREDITS, resource=SITE)
    assert [await balance(engine), await balance(engine, COINS), await balance(engine, resource=SITE)] == [1, 2, 0]


async def test_a_grant_can_be_used_from_when_it_is_effective_until_it_expires(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, 10, id="g-1", effective_at_ms=in_days(1), expires_at_ms=in_days(2))
    for moment, can_be_used, status in (
        (NOW_MS, False, "SCHEDULED"),
        (in_days(1) - 1, False, "SCHEDULED"),
        (in_days(1), True, "ACTIVE"),
        (in_days(2) - 1, True, "ACTIVE"),
        (in_days(2), False, "EXPIRED"),
    ):
        target.clock.set(moment)
        assert await spend(engine, 1) is can_be_used
        assert (await ledger(engine))["g-1"][0] == status
    assert (await ledger(engine))["g-1"] == ("EXPIRED", 0, 2)
    assert await balance(engine) == 0


async def test_a_voided_grant_is_used_no_more_and_what_was_used_stays_used(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, 10, id="g-1")
    await give(engine, 3, id="g-2")
    assert await spend(engine, 4)
    target.clock.set(in_days(1))
    voided = await engine.credits.void(ACME, "g-1", currency=CREDITS)
    assert voided.voided_at_ms == in_days(1)
    assert not await spend(engine, 4)
    assert await spend(engine, 3)
    assert await ledger(engine) == {"g-1": ("VOIDED", 0, 4), "g-2": ("ACTIVE", 0, 3)}
    (first, _) = await engine.credits.grants(ACME, currency=CREDITS)
    assert first.voided == 6


async def test_a_grant_that_is_voided_again_stays_as_it_is(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    given = await give(engine, **WHOLE)
    voided = await engine.credits.void(ACME, "g-1", currency=CREDITS)
    assert voided == given.model_copy(update={"voided_at_ms": NOW_MS})
    before = target.dump()
    target.clock.set(in_days(1))
    assert await engine.credits.void(ACME, "g-1", currency=CREDITS) == voided
    assert await give(engine, **WHOLE) == voided
    assert target.dump() == before


async def test_a_voided_grant_is_voided_at_every_instant(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, id="g-1")
    target.clock.set(in_days(1))
    await engine.credits.void(ACME, "g-1", currency=CREDITS)
    target.clock.set(in_days(0.5))
    assert not await spend(engine, 1)
    assert await balance(engine) == 0


async def test_what_recurs_is_not_voided(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, PRO)
    (recurring,) = await engine.credits.grants(ACME, currency=CREDITS)
    assert recurring.id == f"{PRO}:{CREDITS}:MONTH:0"
    field, value, rule = await refused(target, engine.credits.void(ACME, recurring.id, currency=CREDITS))
    assert (field, value) == ("grant_id", recurring.id)
    assert f"recurs with the subscription '{PRO}'" in rule


async def test_what_is_not_there_is_not_found(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await give(engine, id="g-1")
    before = target.dump()
    for doing, kind in (
        (engine.credits.grant("cus-nobody", {"currency": CREDITS, "amount": 1}), "customer"),
        (engine.credits.void("cus-nobody", "g-1", currency=CREDITS), "customer"),
        (give(engine, currency="currency-none"), "currency"),
        (engine.credits.void(ACME, "g-1", currency="currency-none"), "currency"),
        (engine.credits.void(ACME, "g-1", currency=COINS), "grant"),
        (engine.credits.void(ACME, "g-2", currency=CREDITS), "grant"),
    ):
        with pytest.raises(NotFound) as caught:
            await doing
        assert caught.value.kind == kind
    assert target.dump() == before


async def test_the_65th_grant_that_has_not_ended_is_refused(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    await give(engine, id="old", expires_at_ms=in_days(1))
    await give(engine, id="void")
    await engine.credits.void(ACME, "void", currency=CREDITS)
    target.clock.set(in_days(1))
    for index in range(64):
        await give(engine, id=f"g-{index}", effective_at_ms=in_days(1 + index % 2))
    field, value, rule = await refused(target, give(engine, id="g-64"))
    assert (field, value) == ("grant.currency", CREDITS)
    assert "64 grants that are live, scheduled or recurring: at most 64" in rule
    await give(engine, id="g-64", currency=COINS)
    await give(engine, id="g-64", resource=SITE)
    await give(engine, id="g-3", effective_at_ms=in_days(2))
    await engine.credits.void(ACME, "g-3", currency=CREDITS)
    await give(engine, id="g-64")
    assert await balance(engine) == 10 * 33


async def test_what_recurs_counts_as_one_grant_for_each_cadence(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    await buy(engine, PRO, addons=[{"addon": MORE_CREDITS}])
    for index in range(62):
        await give(engine, id=f"g-{index}")
    assert (await refused(target, give(engine)))[0] == "grant.currency"
    assert len((await engine.credits.wallet(ACME, currency=CREDITS)).grants) == 64
    await engine.subscriptions.cancel(ACME, PRO)
    await give(engine)
    await give(engine)
    assert (await refused(target, give(engine)))[0] == "grant.currency"


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
async def test_ended_grants_beyond_128_are_kept_apart_and_stay_in_the_ledger(target: Target) -> None:
    engine, clock = target.engine, target.clock
    await found_shop(engine)
    await engine.customers.put_resource(ACME, SITE)
    for resource in (None, SITE):
        await give(engine, 2, id="g-0", resource=resource)
        await spend(engine, 1, resource=resource)
        clock.advance(1)
        await engine.credits.void(ACME, "g-0", currency=CREDITS, resource=resource)
        for index in range(1, 128):
            await give(engine, 2, id=f"g-{index}", resource=resource, expires_at_ms=clock.now_ms + 1)
            await spend(engine, 1, resource=resource)
            clock.advance(1)
        assert not any(field.startswith(f"ended-grant:{CREDITS}:{resource or 'g'}") for field in fields_written(target))
        await give(engine, 2, id="last", resource=resource)
    apart = {field for field in fields_written(target) if field.startswith("ended-grant:")}
    assert apart == {f"ended-grant:{CREDITS}:{resource}g-0" for resource in ("", f"{SITE}:")}

    before = target.dump()
    for resource in (None, SITE):
        grants = await engine.credits.grants(ACME, currency=CREDITS, resource=resource)
        assert [each.id for each in grants] == [*(f"g-{index}" for index in range(128)), "last"]
        became = [(each.consumed, each.voided, each.expired) for each in grants]
        assert became == [(1, 1, 0), *[(1, 0, 1)] * 127, (0, 0, 0)]
        assert (await give(engine, 2, id="g-0", resource=resource)).voided_at_ms is not None
        await engine.credits.void(ACME, "g-0", currency=CREDITS, resource=resource)
        with pytest.raises(Conflict):
            await give(engine, 3, id="g-0", resource=resource)
    assert target.dump() == before


@pytest.mark.parametrize("target", BOTH_EDGES, indirect=True)
async def test_an_expired_grant_that_is_kept_apart_can_still_be_voided(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    for index in range(129):
        await give(engine, id=f"g-{index:03}", expires_at_ms=target.clock.now_ms + 1)
        target.clock.advance(1)
    assert {field for field in fields_written(target) if "ended" in field} == {f"ended-grant:{CREDITS}:g-000"}
    voided = await engine.credits.void(ACME, "g-000", currency=CREDITS)
    assert voided.voided_at_ms == target.clock.now_ms
    assert list((await ledger(engine)).items())[:2] == [("g-000", ("VOIDED", 0, 0)), ("g-001", ("EXPIRED", 0, 0))]


async def test_two_grants_that_are_given_at_once_have_counters_of_their_own(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    other = target.open_blocking()
    target.before("configure", lambda: other.credits.grant(ACME, {"id": "g-1", "currency": CREDITS, "amount": 5}))
    await give(engine, 7, id="g-2")
    assert await balance(engine) == 12
    assert await spend(engine, 6)
    assert await ledger(engine) == {"g-1": ("ACTIVE", 0, 5), "g-2": ("ACTIVE", 6, 1)}


async def test_a_grant_that_two_give_at_once_is_given_once(target: Target) -> None:
    engine = target.engine
    await found_shop(engine)
    other = target.open_blocking()
    target.before("configure", lambda: other.credits.grant(ACME, {"id": "g-1", "currency": CREDITS, "amount": 5}))
    await give(engine, 5, id="g-1")
    assert await balance(engine) == 5
