"""Credits over HTTP: consumptions that are counted whatever the wallet has, one by one and by the thousand."""

from __future__ import annotations

from typing import Any, Final

import pytest

from behaviour.world import ACME, budget, found_acme
from rest.conftest import Api
from rest.failing import losing_the_reply, refusing, unchanged

PATH: Final = "/api/v1/credits/consumption"
ASYNC: Final = "/api/v1/credits/consumption/async"
CREDITS: Final = "currency-credits"
SITE: Final = "site-01"


async def found_wallet(api: Api, amount: float = 500) -> None:
    await found_acme(api.engine)
    await api.engine.catalog.put_currencies([{"id": CREDITS}])
    await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": amount})


def consumption(amount: float = 30, key: str = "key-1", **given: Any) -> dict[str, Any]:
    return {"amount": amount, "currencyId": CREDITS, "customerId": ACME, "idempotencyKey": key, **given}


async def consume(api: Api, amount: float = 30, key: str = "key-1", **given: Any) -> dict[str, Any]:
    data: dict[str, Any] = (await api.send("POST", PATH, consumption(amount, key, **given)))["data"]
    return data


async def balance(api: Api, resource: str | None = None) -> float:
    return (await api.engine.credits.wallet(ACME, currency=CREDITS, resource=resource)).balance


async def test_a_consumption_takes_credits_and_shows_the_wallet_afterwards(api: Api) -> None:
    await found_wallet(api)
    await budget(api.engine, "team-eng", 20, feature=None, currency=CREDITS)
    data = await consume(api, 30.5, dimensions={"teamId": "team-eng"})
    (entity,) = data.pop("entities")
    assert data == {
        "amount": 30.5,
        "currencyId": CREDITS,
        "customerId": ACME,
        "timestamp": "2026-03-10T12:00:00Z",
        "credit": {
            "currencyId": CREDITS,
            "currentUsage": 30.5,
            "usageLimit": 500,
            "timestamp": "2026-03-10T12:00:00Z",
            "usagePeriodEnd": None,
        },
        "resourceId": None,
    }
    assert (entity["entityId"], entity["currencyId"], entity["currentUsage"]) == ("team-eng", CREDITS, 30.5)
    assert await balance(api) == 469.5


async def test_a_consumption_is_never_refused_what_there_is_not_is_overdraft(api: Api) -> None:
    await found_wallet(api, 20)
    data = await consume(api, 30)
    assert (data["credit"]["currentUsage"], data["credit"]["usageLimit"]) == (30, 20)
    assert await balance(api) == -10


async def test_a_consumption_is_counted_once_under_its_key(api: Api) -> None:
    await found_wallet(api)
    await budget(api.engine, "team-eng", 20, feature=None, currency=CREDITS)
    first = await consume(api, dimensions={"teamId": "team-eng"})
    again = await unchanged(api, lambda: consume(api, dimensions={"teamId": "team-eng"}))
    assert again == {**first, "entities": []}
    before = api.target.dump()
    response = await api.client.post(PATH, json=consumption(31))
    assert (response.status_code, response.json()["code"]) == (409, "Conflict")
    assert response.headers["x-should-retry"] == "false"
    assert api.target.dump() == before


async def test_a_consumption_of_a_resource_is_its_wallets_own(api: Api) -> None:
    await found_wallet(api)
    await api.engine.customers.put_resource(ACME, SITE)
    data = await consume(api, 30, resourceId=SITE, createdAt="2026-03-10T11:00:00+01:00")
    assert (data["resourceId"], data["timestamp"]) == (SITE, "2026-03-10T10:00:00Z")
    assert (data["credit"]["currentUsage"], data["credit"]["usageLimit"]) == (30, 0)
    assert (await balance(api), await balance(api, SITE)) == (500, -30)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"customerId": "cus-none"}, "CustomerNotFound"),
        ({"currencyId": "currency-none"}, "CurrencyNotFound"),
        ({"resourceId": SITE}, "CustomerResourceNotFound"),
    ],
)
async def test_what_is_not_there_is_not_found(api: Api, given: dict[str, Any], code: str) -> None:
    await found_wallet(api)
    answer = await unchanged(api, lambda: api.send("POST", PATH, consumption(**given), status=404))
    assert answer["code"] == code


@pytest.mark.parametrize("fails", [refusing, losing_the_reply])
async def test_a_consumption_has_a_key_so_it_may_be_sent_again(api: Api, fails: Any) -> None:
    await found_wallet(api)
    await consume(api, 1, "key-0")
    api.target.before("report_credits", fails)
    response = await api.client.post(PATH, json=consumption())
    if fails is refusing:
        assert (response.status_code, "x-should-retry" in response.headers) == (503, False)
        response = await api.client.post(PATH, json=consumption())
    assert (response.status_code, response.json()["data"]["credit"]["currentUsage"]) == (200, 31)


# Many at once.


async def test_a_thousand_consumptions_are_done_when_they_are_answered(api: Api) -> None:
    await found_wallet(api, 5_000)
    many = [consumption(1, f"key-{index}") for index in range(1_000)]
    assert await api.send("POST", ASYNC, {"consumptions": many}) == {"data": {}}
    assert await balance(api) == 4_000
    assert await api.send("POST", ASYNC, {"consumptions": many[:150]}) == {"data": {}}
    assert await balance(api) == 4_000


async def test_of_many_consumptions_each_is_told_of_where_one_goes_wrong(api: Api) -> None:
    await found_wallet(api)
    many = [consumption(1, f"key-{index}") for index in range(130)]
    many[120]["customerId"] = "cus-none"
    response = await api.client.post(ASYNC, json={"consumptions": many})
    answer = response.json()
    assert (response.status_code, answer["code"], answer["cause"]) == (404, "BatchIncomplete", "CustomerNotFound")
    assert answer["outcomes"] == ["applied"] * 120 + ["not applied"] * 10
    assert "x-should-retry" not in response.headers  # each has a key
    assert await balance(api) == 380
    many[120]["customerId"] = ACME
    await api.send("POST", ASYNC, {"consumptions": many})
    assert await balance(api) == 370


async def test_all_of_many_are_looked_at_before_one_is_counted(api: Api) -> None:
    await found_wallet(api)
    many = [consumption(1, f"key-{index}") for index in range(130)]
    many[129]["amount"] = 2**53
    answer = await unchanged(api, lambda: api.send("POST", ASYNC, {"consumptions": many}, status=400))
    assert "consumptions[129].amount" in answer["message"]


@pytest.mark.parametrize(
    "body", [None, {}, {"consumptions": []}, {"consumptions": [consumption()] * 1_001}, {"usages": [consumption()]}]
)
async def test_a_body_that_is_no_list_of_consumptions_is_refused(api: Api, body: Any) -> None:
    await found_wallet(api)
    answer = await unchanged(api, lambda: api.send("POST", ASYNC, body, status=400))
    assert answer["code"] == "BadUserInput"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"amount": None}, "amount: None"),
        ({"amount": -1}, "amount: -1: the least is 0"),
        ({"amount": "30"}, "amount: '30'"),
        ({"amount": 2**53}, "whole numbers go to 9007199254740991"),
        ({"currencyId": ""}, "currencyId: '': an id has"),
        ({"customerId": "a b"}, "customerId: 'a b': an id has"),
        ({"idempotencyKey": None}, "idempotencyKey: None"),
        ({"idempotencyKey": ""}, "idempotencyKey: ''"),
        ({"createdAt": "0001-01-01T00:00:00+14:00"}, "createdAt"),
        ({"dimensions": None}, "dimensions: None: must not be null"),
        ({"featureId": "feature"}, "featureId: 'feature': unknown field"),
        ({"updateBehavior": "DELTA"}, "updateBehavior: 'DELTA': unknown field"),
    ],
)
async def test_a_consumption_that_can_not_be_is_refused_by_name_and_takes_nothing(
    api: Api, given: dict[str, Any], message: str
) -> None:
    await found_wallet(api)
    answer = await unchanged(api, lambda: api.send("POST", PATH, consumption(**given), status=400))
    assert (answer["code"], message in answer["message"]) == ("BadUserInput", True), answer


@pytest.mark.parametrize("field", ["amount", "currencyId", "customerId", "idempotencyKey"])
async def test_what_a_consumption_needs_is_named(api: Api, field: str) -> None:
    await found_wallet(api)
    body = {name: value for name, value in consumption().items() if name != field}
    answer = await unchanged(api, lambda: api.send("POST", PATH, body, status=400))
    assert answer["message"].startswith(f"{field}: is required")
