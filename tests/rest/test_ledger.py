"""The ledger over REST: the events of the contract, with what each did to the balance."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.commerce import COINS, CREDITS, SITE, found_shop, give
from behaviour.world import ACME
from headgate.rest.names import pack_name
from rest.conftest import Api
from rest.governed import START, every_page

PATH = "/api/v1/credits/ledger"
GRANTED, EXPIRED, VOIDED = "CREDITS_GRANTED", "CREDITS_EXPIRED", "CREDITS_VOIDED"
RESERVED, RELEASED = "CREDITS_RESERVED", "CREDITS_RESERVATION_RELEASED"
LAPSED = "CREDITS_RESERVATION_EXPIRED"
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
async def shop(api: Api) -> None:
    """A customer without credits, and a resource of it."""
    await found_shop(api.engine)
    await api.engine.customers.put_resource(ACME, SITE)


async def entries(api: Api, **query: Any) -> list[Any]:
    return await every_page(api, PATH, **{"customerId": ACME, **query})


async def told(api: Api, **query: Any) -> list[tuple[str, float]]:
    return [(each["eventType"], each["amount"]) for each in await entries(api, **query)]


async def test_a_grant_is_told_with_its_id(api: Api) -> None:
    await give(api.engine, 100, id="gift", metadata={"a": "b"})
    (entry,) = await entries(api)
    assert entry == {
        "eventId": entry["eventId"],
        "eventType": GRANTED,
        "timestamp": START,
        "amount": 100,
        "holdReturnedAmount": None,
        "customerId": ACME,
        "resourceId": None,
        "creditCurrencyId": CREDITS,
        "creditGrantId": pack_name("grant", ACME, CREDITS, None, "gift"),
        "featureId": None,
        "reservationId": None,
        "metadata": None,
        "breakdown": None,
    }


async def test_reservations_are_told_with_what_they_did_to_the_balance(api: Api) -> None:
    engine, clock = api.engine, api.clock
    await give(engine, 10, id="small", priority=0)
    await give(engine, 90, id="large")
    await engine.reserve(ACME, currency=CREDITS, amount=30, id="settled", metadata={"trace": "a1"})
    await engine.reserve(ACME, currency=CREDITS, amount=20, id="released")
    await engine.reserve(ACME, currency=CREDITS, amount=5, id="more")
    await engine.reserve(ACME, currency=CREDITS, amount=7, id="forgotten", expires_in=60)
    clock.advance(10)
    await engine.reservations.settle(ACME, "settled", 12)
    await engine.reservations.release(ACME, "released")
    await engine.reservations.settle(ACME, "more", 9)
    clock.advance(70_000)
    await engine.reservations.settle(ACME, "forgotten", 3)

    async def of(reservation: str) -> list[tuple[str, float, float | None]]:
        found = await entries(api, reservationId=reservation)
        assert {each["reservationId"] for each in found} == {reservation}
        return [(each["eventType"], each["amount"], each["holdReturnedAmount"]) for each in found]

    assert await of("settled") == [(RESERVED, -30, None), (RELEASED, 18, 30)]
    assert await of("released") == [(RESERVED, -20, None), (RELEASED, 20, 20)]
    assert await of("more") == [(RESERVED, -5, None), (RELEASED, -4, 5)]
    assert await of("forgotten") == [(RESERVED, -7, None), (LAPSED, 7, 7), (RELEASED, -3, 0)]
    assert await entries(api, reservationId="never") == []
    reserved, released = await entries(api, reservationId="settled")
    assert reserved["metadata"] == released["metadata"] == {"trace": "a1"}
    small, large = (pack_name("grant", ACME, CREDITS, None, id) for id in ("small", "large"))
    assert {each["reservationId"]: each["creditGrantId"] for each in await entries(api, eventType=RESERVED)} == {
        "settled": small,
        "released": large,
        "more": large,
        "forgotten": large,
    }


async def test_what_reservations_did_adds_up_to_what_the_wallet_lost(api: Api) -> None:
    engine = api.engine
    await give(engine, 100, id="gift")
    await engine.reserve(ACME, currency=CREDITS, amount=30, id="settled")
    await engine.reserve(ACME, currency=CREDITS, amount=20, id="open")
    await engine.reservations.settle(ACME, "settled", 12.5)
    wallet = await engine.credits.wallet(ACME, currency=CREDITS)
    assert sum(amount for _, amount in await told(api)) == wallet.balance == 67.5


async def test_the_ends_of_grants_say_what_was_left(api: Api) -> None:
    engine = api.engine
    await give(engine, 10, id="short", priority=0, expires_at_ms=api.clock.now_ms + HOUR_MS)
    await give(engine, 20, id="taken-back", priority=1)
    await engine.consume(ACME, currency=CREDITS, amount=4)
    await engine.credits.void(ACME, "taken-back", currency=CREDITS)
    api.clock.advance(HOUR_MS)
    assert await told(api) == [(GRANTED, 10), (GRANTED, 20), (VOIDED, 20), (EXPIRED, 6)]
    assert await told(api, eventType=f"{VOIDED},{EXPIRED}") == [(VOIDED, 20), (EXPIRED, 6)]
    assert await told(api, eventType=[EXPIRED, VOIDED], limit=1) == [(VOIDED, 20), (EXPIRED, 6)]
    assert await told(api, eventType="CREDITS_CONSUMED") == []


async def test_wallets_are_told_together_or_one_by_one(api: Api) -> None:
    engine = api.engine
    await give(engine, 10, id="gift")
    await give(engine, 20, id="gift", currency=COINS)
    await give(engine, 30, id="gift", resource=SITE)
    await engine.reserve(ACME, currency=CREDITS, amount=4, id="hold", resource=SITE)
    assert sorted(await told(api, limit=1)) == [(GRANTED, 10), (GRANTED, 20)]
    assert await told(api, currencyId=COINS) == [(GRANTED, 20)]
    assert await told(api, resourceId=SITE) == [(GRANTED, 30), (RESERVED, -4)]
    assert await told(api, currencyId=COINS, resourceId=SITE) == []
    (held,) = await entries(api, reservationId="hold")
    assert (held["resourceId"], held["creditGrantId"]) == (SITE, pack_name("grant", ACME, CREDITS, SITE, "gift"))


async def test_what_a_soft_wallet_has_not_is_held_of_no_grant(api: Api) -> None:
    plan = {"id": "plan-soft", "credits": []}
    soft = {"currency": COINS, "amount": 1, "cadence": "MONTH", "has_soft_limit": True}
    await api.engine.catalog.put_plans([{**plan, "credits": [soft]}])
    await api.engine.subscriptions.provision(ACME, {"id": "sub-soft", "plan": "plan-soft"})
    await api.engine.consume(ACME, currency=COINS, amount=1)
    await api.engine.reserve(ACME, currency=COINS, amount=5, id="hold")
    (held,) = await entries(api, eventType=RESERVED)
    assert (held["amount"], held["creditGrantId"]) == (0, "")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "customerId=cus-acme&eventType=CREDITS_LOST",
        "customerId=cus-acme&reservationId=a%20b",
        "customerId=cus-acme&createdAt[gt]=2026-01-01",
        "customerId=cus-acme&limit=0",
    ],
)
async def test_the_ledger_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    answer = await api.get(f"{PATH}?{query}", status=400)
    named = (query.rpartition("&")[2] or "customerId").partition("=")[0]
    assert (answer["code"], named in answer["message"]) == ("BadUserInput", True)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"customerId": "nobody"}, "CustomerNotFound"),
        ({"customerId": "nobody", "reservationId": "hold"}, "CustomerNotFound"),
        ({"currencyId": "nothing"}, "CurrencyNotFound"),
        ({"resourceId": "nowhere"}, "CustomerResourceNotFound"),
    ],
)
async def test_what_is_unknown_is_404(api: Api, query: dict[str, str], code: str) -> None:
    assert (await api.get(PATH, status=404, **{"customerId": ACME, **query}))["code"] == code
