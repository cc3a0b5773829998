"""Grants over REST: given once under a key, listed with what became of them, voided by an id that says whose it is."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from behaviour.commerce import COINS, CREDITS, PRO, SITE, buy, found_shop
from behaviour.world import ACME
from headgate.rest.names import pack_name
from rest.conftest import Api
from rest.failing import losing_the_reply, unchanged
from rest.governed import START, every_page

PATH = "/api/v1/credits/grants"
LATER = "2026-03-10T12:01:00Z"
TOMORROW = "2026-03-11T12:00:00Z"
MINUTE_MS, DAY_MS = 60_000, 86_400_000
GIFT = {
    "customerId": ACME,
    "currencyId": CREDITS,
    "displayName": "A gift",
    "grantType": "PROMOTIONAL",
    "amount": 100,
}
SHOWN = {
    **GIFT,
    "resourceId": None,
    "comment": None,
    "metadata": {},
    "status": "ACTIVE",
    "consumedAmount": 0,
    "priority": 50,
    "effectiveAt": START,
    "expireAt": None,
    "voidedAt": None,
    "cost": {"amount": 0, "currency": "usd"},
    "paymentCollection": "NOT_REQUIRED",
    "sourceType": None,
    "invoiceId": None,
    "latestInvoice": None,
    "syncStates": None,
    "createdAt": START,
    "updatedAt": START,
}


@pytest.fixture(autouse=True)
async def shop(api: Api) -> None:
    """A customer without credits, and a resource of it."""
    await found_shop(api.engine)
    await api.engine.customers.put_resource(ACME, SITE)


async def give(api: Api, **fields: Any) -> Any:
    return (await api.send("POST", PATH, {**GIFT, **fields}, status=201))["data"]


async def give_once(api: Api, key: str, **fields: Any) -> httpx.Response:
    return await api.client.post(PATH, json={**GIFT, **fields}, headers={"Idempotency-Key": key})


async def listed(api: Api, **query: Any) -> list[Any]:
    return await every_page(api, PATH, **{"customerId": ACME, **query})


async def balance(api: Api, resource: str | None = None) -> float:
    return (await api.engine.credits.wallet(ACME, currency=CREDITS, resource=resource)).balance


async def test_a_grant_is_shown_as_it_was_given_and_can_be_used_at_once(api: Api) -> None:
    given = await give(api)
    assert given == {**SHOWN, "id": given["id"]}
    assert given["id"].startswith("grant_")
    assert await listed(api) == [given]
    assert await balance(api) == 100


async def test_a_grant_keeps_what_is_said_of_it(api: Api) -> None:
    said = {
        "grantType": "PAID",
        "amount": 2.5,
        "priority": 0,
        "comment": "for patience",
        "metadata": {"ticket": "7"},
        "effectiveAt": TOMORROW,
        "expireAt": "2026-04-01T00:00:00+00:00",
        "resourceId": SITE,
        "cost": {"amount": 0, "currency": "eur"},
        "paymentCollectionMethod": "NONE",
        "billingInformation": None,
        "awaitPaymentConfirmation": None,
    }
    given = await give(api, **said)
    kept = {name: said[name] for name in ("grantType", "amount", "priority", "comment", "metadata", "resourceId")}
    when = {"effectiveAt": TOMORROW, "expireAt": "2026-04-01T00:00:00Z", "status": "SCHEDULED"}
    assert given == {**SHOWN, **kept, **when, "id": given["id"]}
    assert await listed(api, resourceId=SITE) == [given]
    assert await listed(api) == []
    api.clock.advance(DAY_MS)
    assert [each["status"] for each in await listed(api, resourceId=SITE)] == ["ACTIVE"]
    assert await balance(api, SITE) == 2.5


async def test_without_a_key_each_request_gives_credits(api: Api) -> None:
    first, second = await give(api), await give(api)
    assert first["id"] != second["id"]
    assert await balance(api) == 200


async def test_with_a_key_the_same_grant_is_given_once_and_another_one_is_a_conflict(api: Api) -> None:
    first = await give_once(api, "order 7/a", comment="x")
    assert first.status_code == 201
    await api.engine.consume(ACME, currency=CREDITS, amount=30)
    api.clock.advance(MINUTE_MS)
    again = await give_once(api, "order 7/a", comment="x")
    assert (again.status_code, again.json()) == (201, {"data": {**first.json()["data"], "consumedAmount": 30}})
    assert await balance(api) == 70
    other = await unchanged(api, lambda: give_once(api, "order 7/a", amount=5, comment="x"))
    assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")
    assert (await give_once(api, "order 8")).json()["data"]["id"] != first.json()["data"]["id"]


async def test_a_grant_whose_reply_is_lost_is_not_sent_again_by_itself(api: Api) -> None:
    api.target.before("configure", losing_the_reply)
    answer = await api.client.post(PATH, json=GIFT)
    assert (answer.status_code, answer.json()["code"]) == (500, "OutcomeUnknown")
    assert answer.headers["x-should-retry"] == "false"


async def test_what_was_used_of_a_grant_is_told(api: Api) -> None:
    await give(api, priority=1)
    api.clock.advance(1)
    await give(api, priority=2, amount=10)
    await api.engine.consume(ACME, currency=CREDITS, amount=104.5)
    assert [(each["amount"], each["consumedAmount"]) for each in await listed(api)] == [(100, 100), (10, 4.5)]


async def test_a_voided_grant_keeps_what_was_used_and_voiding_it_again_changes_nothing(api: Api) -> None:
    given = await give(api)
    await api.engine.consume(ACME, currency=CREDITS, amount=30)
    api.clock.advance(MINUTE_MS)
    voided = await api.send("POST", f"{PATH}/{given['id']}/void")
    over = {"status": "VOIDED", "voidedAt": LATER, "updatedAt": LATER, "consumedAmount": 30}
    assert voided == {"data": {**given, **over}}
    assert await balance(api) == 0
    api.clock.advance(MINUTE_MS)
    assert await unchanged(api, lambda: api.send("POST", f"{PATH}/{given['id']}/void")) == voided


async def test_a_grant_of_a_resource_is_voided_by_its_id_alone(api: Api) -> None:
    given = await give(api, resourceId=SITE)
    assert (await api.send("POST", f"{PATH}/{given['id']}/void"))["data"]["status"] == "VOIDED"


async def test_grants_that_expired_are_listed_as_such(api: Api) -> None:
    await give(api, expireAt=LATER)
    api.clock.advance(MINUTE_MS)
    assert [(each["status"], each["expireAt"]) for each in await listed(api)] == [("EXPIRED", LATER)]


async def test_recurring_grants_are_listed_and_end_with_their_subscription_alone(api: Api) -> None:
    await buy(api.engine, PRO, id="sub-1")
    (recurring,) = await listed(api)
    facts = (recurring["grantType"], recurring["amount"], recurring["effectiveAt"], recurring["expireAt"])
    assert facts == ("RECURRING", 100, START, "2026-04-10T12:00:00Z")
    answer = await unchanged(api, lambda: api.send("POST", f"{PATH}/{recurring['id']}/void", status=400))
    assert "recurs with the subscription 'sub-1'" in answer["message"]


async def test_grants_of_all_currencies_are_listed_in_the_order_in_which_they_were_given(api: Api) -> None:
    first = await give(api, currencyId=COINS)
    api.clock.advance(MINUTE_MS)
    second = await give(api)
    api.clock.advance(MINUTE_MS)
    third = await give(api, currencyId=COINS)
    assert await listed(api) == await listed(api, limit=1) == [first, second, third]
    assert await listed(api, currencyId=COINS) == [first, third]
    assert await listed(api, **{"createdAt[gt]": START, "createdAt[lte]": LATER}) == [second]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no amount": ({"amount": None}, "amount"),
    "an amount of 0": ({"amount": 0}, "grant.amount: 0"),
    "a negative amount": ({"amount": -5}, "grant.amount: -5"),
    "an amount in text": ({"amount": "100"}, "amount: '100'"),
    "an amount that is true": ({"amount": True}, "amount: True"),
    "an amount out of range": ({"amount": 2**53}, "grant.amount"),
    "no name": ({"displayName": None}, "displayName"),
    "a kind that recurs": ({"grantType": "RECURRING"}, "grantType: 'RECURRING'"),
    "a priority of 101": ({"priority": 101}, "grant.priority: 101"),
    "half a priority": ({"priority": 0.5}, "priority: 0.5"),
    "an end in the past": ({"expireAt": START}, "grant.expireAt"),
    "an end before its start": ({"effectiveAt": TOMORROW, "expireAt": LATER}, "must be after"),
    "an instant that is none": ({"expireAt": "soon"}, "expireAt: 'soon'"),
    "metadata of numbers": ({"metadata": {"a": 1}}, "metadata.a: 1"),
    "a currency that is none": ({"currencyId": "a b"}, "currencyId: 'a b'"),
    "an unknown field": ({"color": "red"}, "color: 'red': unknown field"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=list(BAD))
async def test_bad_input_gives_nothing(api: Api, case: tuple[dict[str, Any], str]) -> None:
    fields, told = case
    answer = await unchanged(api, lambda: api.send("POST", PATH, {**GIFT, **fields}, status=400))
    assert answer["code"] == "BadUserInput"
    assert told in answer["message"]


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_1_to_255_characters(api: Api, key: str) -> None:
    answer = await unchanged(api, lambda: give_once(api, key))
    assert (answer.status_code, answer.json()["code"]) == (400, "BadUserInput")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cost", {"amount": 5, "currency": "usd"}),
        ("paymentCollectionMethod", "INVOICE"),
        ("paymentCollectionMethod", "CHARGE"),
        ("billingInformation", {"isInvoicePaid": True}),
        ("awaitPaymentConfirmation", False),
    ],
)
async def test_what_belongs_to_billing_is_refused_by_name(api: Api, name: str, value: Any) -> None:
    answer = await unchanged(api, lambda: api.send("POST", PATH, {**GIFT, name: value}, status=400))
    assert (answer["code"], answer["message"].startswith(name)) == ("NotSupported", True)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"customerId": "nobody"}, "CustomerNotFound"),
        ({"currencyId": "nothing"}, "CurrencyNotFound"),
        ({"resourceId": "nowhere"}, "CustomerResourceNotFound"),
    ],
)
async def test_what_is_unknown_is_404(api: Api, fields: dict[str, str], code: str) -> None:
    answer = await unchanged(api, lambda: api.send("POST", PATH, {**GIFT, **fields}, status=404))
    assert answer["code"] == code
    assert (await api.get(PATH, status=404, **{"customerId": ACME, **fields}))["code"] == code


@pytest.mark.parametrize(
    "name",
    [
        "grant_nonsense",
        "gift",
        pack_name("grant", ACME, CREDITS, None, "never"),
        pack_name("grant", ACME, CREDITS, None, None),
        pack_name("grant", ACME, CREDITS, "never"),
        pack_name("hold", ACME, CREDITS, None, "never"),
    ],
)
async def test_an_unknown_grant_is_404(api: Api, name: str) -> None:
    answer = await unchanged(api, lambda: api.send("POST", f"{PATH}/{name}/void", status=404))
    assert answer["code"] == "GrantNotFound"


@pytest.mark.parametrize(
    "query", ["", "customerId=a%20b", "customerId=cus-acme&status=ACTIVE", "customerId=cus-acme&createdAt[gt]=x"]
)
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    answer = await api.get(f"{PATH}?{query}", status=400)
    named = (query.rpartition("&")[2] or "customerId").partition("=")[0]
    assert (answer["code"], named in answer["message"]) == ("BadUserInput", True)
