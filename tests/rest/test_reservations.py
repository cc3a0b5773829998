"""Reservations over HTTP: a check that decides and holds in one step, and the release that settles it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx
import pytest

from behaviour.targets import NOW_MS
from behaviour.world import ACME, SSO, TOKENS, found_acme, found_chain
from headgate.rest import create_app
from rest.conftest import Api
from rest.failing import refusing, unchanged

CHECK: Final = "/api/v1/customers/cus-acme/entitlements/check"
CREDITS: Final = "currency-credits"
COINS: Final = "currency-coins"
SITE: Final = "site-01"
ANN: Final = {"dimensions[userId]": "user-ann"}


async def found_wallet(api: Api, amount: float = 500) -> None:
    await found_acme(api.engine)
    await api.engine.catalog.put_currencies([{"id": CREDITS}, {"id": COINS}])
    await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": amount})


async def reserve(api: Api, amount: object = 75, id: str = "job-1", **query: Any) -> dict[str, Any]:
    """Hold credits, unless something else is asked about."""
    about = {} if "featureId" in query else {"currencyId": CREDITS}
    answer = await api.get(CHECK, **about, reserveAmount=amount, reservationId=id, **query)
    data: dict[str, Any] = answer["data"]
    return data


async def release(api: Api, amount: object, id: str = "job-1", *, status: int = 200, **given: Any) -> Any:
    about = {} if "featureId" in given else {"currencyId": CREDITS}
    body = {"consumedAmount": amount, "customerId": ACME, **about, **given}
    return await api.send("POST", f"/api/v1/credits/reservations/{id}/release", body, status=status)


async def wallet(api: Api) -> tuple[float, float]:
    """What is left of the wallet, and what is held of it."""
    found = await api.engine.credits.wallet(ACME, currency=CREDITS)
    return found.balance, found.held


# To reserve.


async def test_a_reservation_of_credits_is_decided_and_held_in_one_step(api: Api) -> None:
    await found_wallet(api)
    await api.engine.report(ACME, currency=CREDITS, value=100)
    data = await reserve(api, 75, requestedUsage=1_000_000)  # which is ignored
    assert (data["isGranted"], data["accessDeniedReason"], data["type"]) == (True, None, "CREDIT")
    assert (data["usageLimit"], data["currentUsage"], data["reserved"]) == (500, 175, 75)
    assert data["reservation"] == {
        "id": "job-1",
        "amount": 75,
        "expiresAt": "2026-03-10T13:00:00Z",
        "status": "ACTIVE",
    }
    assert data["requestedUsage"] == 75
    assert await wallet(api) == (325, 75)


async def test_of_twenty_reservations_at_once_of_75_against_500_exactly_six_are_granted(api: Api) -> None:
    await found_wallet(api, 500)
    made = await asyncio.gather(*(reserve(api, 75, f"job-{index}") for index in range(20)))
    granted = [data for data in made if data["isGranted"]]
    denied = [data for data in made if not data["isGranted"]]
    assert (len(granted), len(denied)) == (6, 14)
    assert {data["accessDeniedReason"] for data in denied} == {"InsufficientCredits"}
    assert [data["reservation"] for data in denied] == [None] * 14
    assert sorted(data["currentUsage"] for data in granted) == [75, 150, 225, 300, 375, 450]
    assert await wallet(api) == (50, 450)


async def test_of_twenty_at_once_on_a_budget_above_the_one_who_asks_exactly_six_are_granted(api: Api) -> None:
    await found_chain(api.engine, team=500)
    made = await asyncio.gather(*(reserve(api, 75, f"job-{index}", featureId=TOKENS, **ANN) for index in range(20)))
    denied = [data for data in made if not data["isGranted"]]
    assert len(denied) == 14
    assert {(data["accessDeniedReason"], data["bindingConstraint"]["entityId"]) for data in denied} == {
        ("BudgetExceeded", "team-eng")
    }
    tree = await api.engine.governance.tree(ACME, feature=TOKENS)
    states = [tree.account, *(state for node in tree.walk() for state in node.states)]
    assert {state.name: (state.used, state.held) for state in states} == dict.fromkeys(
        ("account", "org-acme", "team-eng", "user-ann"), (0, 450)
    )


async def test_a_reservation_of_a_feature_shows_what_it_holds_on_every_node(api: Api) -> None:
    await found_chain(api.engine)
    data = await reserve(api, 75, featureId=TOKENS, reservationTtlSeconds=60, **ANN)
    assert (data["type"], data["isGranted"], data["currentUsage"], data["held"]) == ("FEATURE", True, 75, 75)
    assert [(node["entityId"], node["currentUsage"], node["held"]) for node in data["chains"][0]] == [
        ("user-ann", 75, 75),
        ("team-eng", 75, 75),
        ("org-acme", 75, 75),
    ]
    assert data["reservation"]["expiresAt"] == "2026-03-10T12:01:00Z"


async def test_a_refusal_holds_nothing_and_takes_no_id(api: Api) -> None:
    await found_wallet(api, 50)
    data = await unchanged(api, lambda: reserve(api, 75))
    assert (data["isGranted"], data["reservation"], data["reserved"]) == (False, None, 0)
    await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": 100})
    assert (await reserve(api, 75))["isGranted"] is True


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"featureId": SSO}, "FeatureTypeMismatch"),
        ({"featureId": "feature-none"}, "FeatureNotFound"),
    ],
)
async def test_what_can_not_be_held_is_denied(api: Api, query: dict[str, str], reason: str) -> None:
    await found_wallet(api)
    await api.engine.customers.grant_entitlement(ACME, {"feature": SSO})
    data = await unchanged(api, lambda: reserve(api, 1, **query))
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, reason)
    assert "reservation" not in data


# To repeat it.


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"reservationTtlSeconds": 60},
        {"reservationExpiresAt": "2026-03-10T12:01:00Z"},
        {"reservationMetadata": '{"trace":"a1"}'},
        {"dimensions[teamId]": "team-eng"},
    ],
)
async def test_the_same_request_has_the_same_answer_and_holds_nothing_more(api: Api, query: dict[str, Any]) -> None:
    await found_wallet(api)
    first = await reserve(api, **query)
    api.clock.advance(5_000)
    again = await unchanged(api, lambda: reserve(api, **query))
    for name in ("isGranted", "accessDeniedReason", "reservation", "currentUsage", "reserved", "requestedUsage"):
        assert again[name] == first[name], name
    assert await wallet(api) == (425, 75)


@pytest.mark.parametrize(
    "other",
    [
        {"reserveAmount": 76},
        {"currencyId": COINS},
        {"reservationTtlSeconds": 61},
        {"reservationExpiresAt": "2026-03-10T13:00:00Z"},
        {"reservationMetadata": '{"trace":"a2"}'},
        {"dimensions[teamId]": "team-eng"},
        {"resourceId": SITE},
    ],
)
async def test_another_request_with_the_id_is_a_conflict_that_is_not_sent_again(
    api: Api, other: dict[str, Any]
) -> None:
    await found_wallet(api)
    await api.engine.customers.put_resource(ACME, SITE)
    await reserve(api)
    query = {"currencyId": CREDITS, "reserveAmount": 75, "reservationId": "job-1", **other}
    before = api.target.dump()
    response = await api.client.get(CHECK, params=query)
    assert (response.status_code, response.json()["code"]) == (409, "Conflict")
    assert response.headers["x-should-retry"] == "false"
    assert api.target.dump() == before


async def test_a_repeat_after_the_end_says_that_nothing_is_held_any_more(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    await release(api, 10)
    again = await reserve(api)
    assert (again["isGranted"], again["reservation"]["status"]) == (False, "RELEASED")
    assert (again["currentUsage"], again["reserved"]) == (10, 0)


async def test_a_repeat_is_answered_even_if_the_customer_would_be_denied_by_now(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    await api.engine.customers.archive(ACME)
    again = await reserve(api)
    assert (again["isGranted"], again["accessDeniedReason"]) == (True, None)
    assert again["reservation"]["status"] == "ACTIVE"


async def test_what_has_expired_is_free_for_others(api: Api) -> None:
    await found_wallet(api, 100)
    await reserve(api, reservationExpiresAt="2026-03-10T12:01:00.250Z")
    api.clock.advance(60_249)
    assert (await reserve(api, id="job-2"))["isGranted"] is False
    api.clock.advance(1)
    assert (await reserve(api, id="job-2"))["isGranted"] is True
    assert api.clock.now_ms == NOW_MS + 60_250


# To release it.


async def test_a_release_counts_what_was_used_and_gives_back_the_rest(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    answer = await release(api, 30.5)
    assert answer == {
        "data": {
            "credit": {
                "currencyId": CREDITS,
                "currentUsage": 30.5,
                "usageLimit": 500,
                "timestamp": "2026-03-10T12:00:00Z",
                "usagePeriodEnd": None,
            },
            "reservation": {
                "id": "job-1",
                "amount": 75,
                "consumedAmount": 30.5,
                "expiresAt": "2026-03-10T13:00:00Z",
                "status": "RELEASED",
            },
        }
    }
    assert await wallet(api) == (469.5, 0)
    assert await unchanged(api, lambda: release(api, 30.5)) == answer


@pytest.mark.parametrize(("amount", "left"), [(0, 500), (75, 425), (100, 400), (600, -100)])
async def test_a_release_is_applied_whatever_was_used(api: Api, amount: float, left: float) -> None:
    await found_wallet(api)
    await reserve(api)
    data = (await release(api, amount))["data"]
    assert (data["reservation"]["consumedAmount"], data["credit"]["currentUsage"]) == (amount, amount)
    assert await wallet(api) == (left, 0)


async def test_another_amount_for_a_reservation_that_has_ended_is_a_conflict(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    await release(api, 30)
    answer = await unchanged(api, lambda: release(api, 31, status=409))
    assert answer["code"] == "Conflict"


async def test_a_reservation_that_has_expired_is_settled_late(api: Api) -> None:
    await found_wallet(api)
    await reserve(api, reservationTtlSeconds=1)
    api.clock.advance(1_000)
    data = (await release(api, 30))["data"]
    assert (data["reservation"]["status"], data["credit"]["currentUsage"]) == ("RELEASED", 30)


async def test_a_reservation_of_a_feature_is_released_by_its_feature(api: Api) -> None:
    await found_chain(api.engine)
    await reserve(api, featureId=TOKENS, **ANN)
    data = (await release(api, 40, featureId=TOKENS))["data"]
    assert data == {
        "credit": None,
        "reservation": {
            "id": "job-1",
            "amount": 75,
            "consumedAmount": 40,
            "expiresAt": "2026-03-10T13:00:00Z",
            "status": "RELEASED",
        },
    }
    tree = await api.engine.governance.tree(ACME, feature=TOKENS)
    assert {(state.used, state.held) for node in tree.walk() for state in node.states} >= {(40, 0)}


@pytest.mark.parametrize(
    ("id", "given"),
    [
        ("job-2", {}),
        ("job-1", {"currencyId": COINS}),
        ("job-1", {"featureId": TOKENS}),
        ("job-1", {"resourceId": SITE}),
    ],
)
async def test_a_reservation_that_is_not_there_is_not_found(api: Api, id: str, given: dict[str, str]) -> None:
    await found_wallet(api)
    await reserve(api)
    answer = await unchanged(api, lambda: release(api, 1, id, status=404, **given))
    assert answer["code"] == "ReservationNotFound"


async def test_a_release_for_an_unknown_customer_is_not_found(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    answer = await unchanged(api, lambda: release(api, 1, status=404, customerId="cus-none"))
    assert answer["code"] == "ReservationNotFound"


async def test_a_release_is_done_even_if_the_wallet_can_not_be_read_afterwards(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    api.target.before("check_credits", refusing)
    data = (await release(api, 30))["data"]
    assert (data["credit"], data["reservation"]["consumedAmount"]) == (None, 30)
    assert await wallet(api) == (470, 0)


async def test_a_release_that_could_not_be_carried_out_may_be_sent_again(api: Api) -> None:
    await found_wallet(api)
    await reserve(api)
    api.target.before("settle", refusing)
    body = {"consumedAmount": 30, "customerId": ACME, "currencyId": CREDITS}
    path = "/api/v1/credits/reservations/job-1/release"
    response = await api.client.post(path, json=body)
    assert (response.status_code, response.json()["code"]) == (503, "Unavailable")
    assert "x-should-retry" not in response.headers
    assert (await api.client.post(path, json=body)).status_code == 200
    assert await wallet(api) == (470, 0)


# What can't be.


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"reservationId": None}, "reservationId: None: is needed with reserveAmount"),
        ({"reservationId": "job 1"}, "reservationId: 'job 1': an id has"),
        ({"reserveAmount": -1}, "reserveAmount: Decimal('-1'): the least is 0"),
        ({"reserveAmount": "much"}, "reserveAmount: 'much': must be a number"),
        ({"reserveAmount": ""}, "reserveAmount: '': must be a number"),
        ({"reservationTtlSeconds": 0}, "reservationTtlSeconds: 0: must be 1 to 86400"),
        ({"reservationTtlSeconds": 86_401}, "reservationTtlSeconds: 86401: must be 1 to 86400"),
        ({"reservationTtlSeconds": 1.5}, "reservationTtlSeconds: '1.5': must be a whole number"),
        ({"reservationExpiresAt": "tomorrow"}, "reservationExpiresAt: 'tomorrow': must be an instant"),
        ({"reservationExpiresAt": "2026-03-10T12:00:00Z"}, "must be 1 second to 24 hours ahead"),
        ({"reservationExpiresAt": "2026-03-11T12:00:00.001Z"}, "must be 1 second to 24 hours ahead"),
        ({"reservationExpiresAt": "0001-01-01T00:00:00+14:00"}, "must be an instant"),
        (
            {"reservationExpiresAt": "2026-03-10T13:00:00Z", "reservationTtlSeconds": 60},
            "give reservationTtlSeconds or reservationExpiresAt",
        ),
        ({"reservationMetadata": "trace"}, "reservationMetadata: 'trace': must be an object of texts"),
        ({"reservationMetadata": "[1]"}, "must be an object of texts"),
        ({"reservationMetadata": '{"a":1}'}, "must be an object of texts"),
        (
            {"reservationMetadata": '{"a":"' + "b" * 5_000 + '"}'},
            "reservationMetadata: '1 entries': may have 4096 bytes",
        ),
        ({"reservationMetadata": '{"a":"\\ud800"}'}, "half of a surrogate pair"),
        ({"reservationTTL": 60}, "reservationTTL: '60': unknown parameter"),
    ],
)
async def test_a_reservation_that_can_not_be_is_refused_by_name_and_holds_nothing(
    api: Api, query: dict[str, Any], message: str
) -> None:
    await found_wallet(api)
    given = {"currencyId": CREDITS, "reserveAmount": 75, "reservationId": "job-1", **query}
    asked = {name: value for name, value in given.items() if value is not None}
    answer = await unchanged(api, lambda: api.get(CHECK, status=400, **asked))
    assert answer["code"] == "BadUserInput"
    assert message in answer["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"consumedAmount": None}, "consumedAmount: None"),
        ({"consumedAmount": -1}, "consumedAmount: -1: the least is 0"),
        ({"consumedAmount": "30"}, "consumedAmount: '30'"),
        ({"consumedAmount": True}, "consumedAmount: True"),
        ({"currencyId": None}, "a reservation is of a currencyId or of a featureId"),
        ({"featureId": TOKENS}, "a reservation is of a currencyId or of a featureId"),
        ({"currencyId": "a/b"}, "currencyId: 'a/b': an id has"),
        ({"customerId": ""}, "customerId: '': an id has"),
        ({"amount": 30}, "amount: 30: unknown field"),
    ],
)
async def test_a_release_that_can_not_be_is_refused_by_name_and_ends_nothing(
    api: Api, body: dict[str, Any], message: str
) -> None:
    await found_wallet(api)
    await reserve(api)
    given = {"consumedAmount": 30, "customerId": ACME, "currencyId": CREDITS, **body}
    path = "/api/v1/credits/reservations/job-1/release"
    answer = await unchanged(api, lambda: api.send("POST", path, given, status=400))
    assert answer["code"] == "BadUserInput"
    assert message in answer["message"]


async def test_to_check_a_key_has_to_read_and_to_reserve_it_has_to_write(api: Api) -> None:
    await found_wallet(api)
    _, secret = await api.engine.api_keys.create("reader", "read")
    transport = httpx.ASGITransport(app=create_app(api.engine))
    headers = {"x-api-key": secret}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        query = {"currencyId": CREDITS}
        assert (await client.get(CHECK, params=query)).status_code == 200
        before = api.target.dump()
        response = await client.get(CHECK, params={**query, "reserveAmount": 1, "reservationId": "job-1"})
        assert response.status_code == 403
        assert api.target.dump() == before
