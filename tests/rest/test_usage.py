"""Reports of usage over HTTP: what each record counted, what is counted once, what becomes of a batch in trouble."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest

from behaviour.world import ACME, SEATS, SSO, TOKENS, budget, count, found_acme, found_chain, used
from rest.conftest import Api
from rest.failing import losing_the_reply, nobody_there, refusing, unchanged

V1: Final = "/api/v1/usage"
V2: Final = "/api/v2/usage"
CONSUME: Final = "/api/v1/usage/consume"
CREDITS: Final = "currency-credits"
SITE: Final = "site-01"
ANN: Final = {"userId": "user-ann"}


def usage(value: float = 10, **given: Any) -> dict[str, Any]:
    return {"customerId": ACME, "featureId": TOKENS, "value": value, **given}


async def report(api: Api, *usages: dict[str, Any], path: str = V2, status: int = 201) -> Any:
    return (await api.send("POST", path, {"usages": list(usages)}, status=status))["data"]


async def post(api: Api, *usages: dict[str, Any], path: str = V2) -> httpx.Response:
    return await api.client.post(path, json={"usages": list(usages)})


async def consume(api: Api, value: float = 10, **given: Any) -> dict[str, Any]:
    data: dict[str, Any] = await report(api, usage(value, **given), path=CONSUME, status=200)
    return data


async def found_paid(api: Api, *, credits: float = 1_000) -> None:
    """Tokens cost 2.5 credits each, of a wallet that has some."""
    await found_acme(api.engine)
    await api.engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    await api.engine.catalog.put_currencies([{"id": CREDITS}])
    paid = {"feature": TOKENS, "usage_limit": 10_000, "credit_rate": {"currency": CREDITS, "amount": 2.5}}
    await api.engine.catalog.put_plans([{"id": "plan", "entitlements": [paid]}])
    await api.engine.subscriptions.provision(ACME, {"plan": "plan"})
    await api.engine.customers.grant_entitlement(ACME, {"feature": SEATS, "usage_limit": 5})
    if credits:
        await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": credits})


# What is counted, and shown.


async def test_a_record_is_counted_on_the_account_and_once_on_each_budget(api: Api) -> None:
    await found_chain(api.engine)
    data = await report(api, usage(10, dimensions={"userId": "user-ann", "teamId": "team-eng"}))
    assert "credits" not in data
    (record,) = data["usages"]
    assert (record["currentUsage"], record["value"], record["credit"], record["resourceId"]) == (10, 10, None, None)
    assert (record["usagePeriodStart"], record["usagePeriodEnd"]) == ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
    assert record["nextResetDate"] == record["usagePeriodEnd"]
    shown = {each["entityId"]: each for each in data["entities"]}
    assert list(shown) == ["org-acme", "team-eng", "user-ann"]
    assert {name: value for name, value in shown["team-eng"].items() if name != "entitlementId"} == {
        "entityId": "team-eng",
        "scopeEntityIds": [],
        "customerId": ACME,
        "resourceId": None,
        "currentUsage": 10,
        "usageUpdatedAt": "2026-03-10T12:00:00Z",
        "featureId": TOKENS,
    }


async def test_the_id_of_a_budget_is_the_one_that_it_has_where_budgets_are_listed(api: Api) -> None:
    await found_chain(api.engine)
    await budget(api.engine, "user-ann", 5, scope=["team-eng"])
    listed = (await api.get(f"/api/v1/customers/{ACME}/entities/entitlements"))["data"]
    counted = (await report(api, usage(dimensions=ANN)))["entities"]
    assert {each["entitlementId"] for each in counted} == {each["id"] for each in listed}
    assert len(counted) == 4


async def test_a_budget_that_two_records_counted_on_is_shown_once_as_the_last_left_it(api: Api) -> None:
    await found_chain(api.engine)
    data = await report(api, usage(10, dimensions=ANN), usage(5, dimensions=ANN), usage(1))
    assert [record["currentUsage"] for record in data["usages"]] == [10, 15, 16]
    assert {each["entityId"]: each["currentUsage"] for each in data["entities"]} == {
        "org-acme": 15,
        "team-eng": 15,
        "user-ann": 15,
    }


async def test_numbers_and_booleans_match_as_they_are_printed(api: Api) -> None:
    await found_acme(api.engine)
    await api.engine.governance.put_entities(ACME, [{"id": "42", "type": "team"}, {"id": "true", "type": "user"}])
    await budget(api.engine, "42", 100)
    await budget(api.engine, "true", 100)
    data = await report(api, usage(dimensions={"teamId": 42.0, "userId": True, "note": "free"}))
    assert {each["entityId"] for each in data["entities"]} == {"42", "true"}


async def test_values_are_rounded_to_five_decimals_away_from_zero(api: Api) -> None:
    await found_acme(api.engine)
    (first,) = (await report(api, usage(1.000005)))["usages"]
    assert (first["value"], first["currentUsage"]) == (1.00001, 1.00001)
    (second,) = (await report(api, usage(-0.000005)))["usages"]
    assert (second["value"], second["currentUsage"]) == (-0.00001, 1)


@pytest.mark.parametrize("value", [2**53 - 1, 2**35 - 0.5])
async def test_the_greatest_values_are_counted_exactly(api: Api, value: float) -> None:
    await found_acme(api.engine)
    (record,) = (await report(api, usage(value)))["usages"]
    assert (record["value"], record["currentUsage"]) == (value, value)


async def test_set_makes_the_counter_stand_at_a_number_and_entities_get_the_difference(api: Api) -> None:
    await found_chain(api.engine)
    await count(api.engine, 30, userId="user-ann")
    data = await report(api, usage(100, updateBehavior="SET", dimensions=ANN))
    assert data["usages"][0]["currentUsage"] == 100
    assert {each["currentUsage"] for each in data["entities"]} == {100}
    await report(api, usage(40, updateBehavior="SET", dimensions={}))
    assert await used(api.engine) == {"account": 40, "org-acme": 100, "team-eng": 100, "user-ann": 100}


async def test_a_correction_stops_at_zero_and_an_old_one_is_not_applied(api: Api) -> None:
    await found_acme(api.engine)
    await count(api.engine, 30)
    (old,) = (await report(api, usage(-10, createdAt="2026-02-10T12:00:00Z")))["usages"]
    assert (old["currentUsage"], old["createdAt"]) == (30, "2026-02-10T12:00:00Z")
    (now,) = (await report(api, usage(-50)))["usages"]
    assert (now["currentUsage"], now["createdAt"]) == (0, "2026-03-10T12:00:00Z")


async def test_what_is_held_counts_and_is_told_beside(api: Api) -> None:
    await found_chain(api.engine)
    await api.engine.reserve(ACME, feature=TOKENS, amount=60, dimensions=ANN)
    data = await report(api, usage(10, dimensions=ANN))
    assert (data["usages"][0]["currentUsage"], data["usages"][0]["held"]) == (70, 60)
    assert {(each["currentUsage"], each["held"]) for each in data["entities"]} == {(70, 60)}


async def test_usage_of_a_resource_counts_on_its_own_counter(api: Api) -> None:
    await found_chain(api.engine)
    await api.engine.customers.put_resource(ACME, SITE)
    data = await report(api, usage(10, resourceId=SITE, dimensions=ANN), usage(1, resourceId=None))
    assert [(each["resourceId"], each["currentUsage"]) for each in data["usages"]] == [(SITE, 10), (None, 1)]
    assert {each["resourceId"] for each in data["entities"]} == {SITE}


async def test_a_feature_without_an_entitlement_is_counted_without_a_period(api: Api) -> None:
    await found_acme(api.engine)
    (record,) = (await report(api, usage(3, featureId=SEATS)))["usages"]
    assert (record["currentUsage"], record["nextResetDate"], record["usagePeriodStart"]) == (3, None, None)


# Credits.


async def test_usage_that_is_paid_in_credits_shows_what_it_took_and_each_wallet_once(api: Api) -> None:
    await found_paid(api)
    await budget(api.engine, "team-eng", 100, feature=None, currency=CREDITS)
    data = await report(api, usage(10, dimensions={"teamId": "team-eng"}), usage(2), usage(1, featureId=SEATS))
    assert [record["credit"] for record in data["usages"]] == [
        {"currencyId": CREDITS, "consumed": 25},
        {"currencyId": CREDITS, "consumed": 5},
        None,
    ]
    assert data["credits"] == [
        {
            "currencyId": CREDITS,
            "customerId": ACME,
            "resourceId": None,
            "currentUsage": 30,
            "usageLimit": 1_000,
            "timestamp": "2026-03-10T12:00:00Z",
            "usagePeriodEnd": None,
        }
    ]
    (entity,) = data["entities"]
    assert (entity["entityId"], entity["currentUsage"], entity["currencyId"]) == ("team-eng", 25, CREDITS)
    assert "featureId" not in entity


async def test_the_first_version_shows_the_balance_in_each_record(api: Api) -> None:
    await found_paid(api, credits=20)
    first, second = await report(api, usage(4), usage(6), path=V1)
    assert first["credit"] == {
        "currencyId": CREDITS,
        "consumed": 10,
        "currentUsage": 10,
        "usageLimit": 20,
        "timestamp": "2026-03-10T12:00:00Z",
        "usagePeriodEnd": None,
    }
    assert (second["credit"]["consumed"], second["credit"]["currentUsage"]) == (15, 25)


async def test_a_currency_is_reported_by_its_id_and_a_feature_of_that_id_goes_first(api: Api) -> None:
    await found_paid(api)
    await budget(api.engine, "team-eng", 100, feature=None, currency=CREDITS)
    data = await report(api, usage(30, featureId=CREDITS, dimensions={"teamId": "team-eng"}))
    (record,) = data["usages"]
    assert (record["featureId"], record["currentUsage"], record["credit"]["consumed"]) == (CREDITS, 30, 30)
    assert [(each["currencyId"], each["currentUsage"]) for each in data["entities"]] == [(CREDITS, 30)]
    await api.engine.catalog.put_features([{"id": CREDITS, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    (record,) = (await report(api, usage(7, featureId=CREDITS)))["usages"]
    assert (record["currentUsage"], record["credit"]) == (7, None)


async def test_a_currency_that_another_process_has_just_made_is_known(api: Api) -> None:
    await found_acme(api.engine)
    await report(api, usage(1))
    await api.target.open().catalog.put_currencies([{"id": CREDITS}])
    (record,) = (await report(api, usage(30, featureId=CREDITS)))["usages"]
    assert record["credit"] == {"currencyId": CREDITS, "consumed": 30}


# Counted once.


async def test_a_key_is_counted_once_and_its_repeat_counts_on_nothing(api: Api) -> None:
    await found_paid(api)
    await budget(api.engine, "team-eng", 1_000)
    keyed = usage(10, idempotencyKey="key-1", dimensions={"teamId": "team-eng"})
    first = await report(api, keyed)
    assert (first["usages"][0]["credit"]["consumed"], len(first["entities"])) == (25, 1)
    again = await unchanged(api, lambda: report(api, keyed))
    told = {"credit": {"currencyId": CREDITS, "consumed": 0}, "repeated": True}
    assert again["usages"][0] == {**first["usages"][0], **told}
    assert again["entities"] == []
    assert again["credits"] == first["credits"]


async def test_records_without_a_key_are_each_their_own(api: Api) -> None:
    await found_acme(api.engine)
    first, second = (await report(api, usage(), usage()))["usages"]
    assert first["id"] != second["id"]
    assert second["currentUsage"] == 20


async def test_a_key_for_another_record_is_a_conflict_that_is_not_sent_again(api: Api) -> None:
    await found_acme(api.engine)
    await report(api, usage(10, idempotencyKey="key-1"))
    before = api.target.dump()
    response = await post(api, usage(11, idempotencyKey="key-1"))
    assert (response.status_code, response.json()["code"]) == (409, "Conflict")
    assert response.headers["x-should-retry"] == "false"
    assert api.target.dump() == before


async def test_a_repeat_is_told_so_even_if_the_customer_is_gone_by_now(api: Api) -> None:
    await found_acme(api.engine)
    await api.engine.customers.put_resource(ACME, SITE)
    keyed = usage(10, idempotencyKey="key-1", resourceId=SITE)
    first = (await report(api, keyed))["usages"][0]
    await api.engine.customers.archive(ACME)
    again = (await report(api, keyed))["usages"][0]
    assert (again["id"], again["value"]) == (first["id"], 10)


# Trouble.


@pytest.mark.parametrize("path", [V1, V2])
async def test_what_is_not_there_is_not_found_before_anything_is_counted(api: Api, path: str) -> None:
    await found_acme(api.engine)
    response = await unchanged(api, lambda: post(api, usage(1), usage(1, featureId="feature-none"), path=path))
    assert (response.status_code, response.json()["code"]) == (404, "FeatureNotFound")
    assert "usages[1].featureId" in response.json()["message"]
    response = await unchanged(api, lambda: post(api, usage(1, customerId="cus-none"), path=path))
    assert (response.status_code, response.json()["code"]) == (404, "CustomerNotFound")
    response = await unchanged(api, lambda: post(api, usage(1, resourceId=SITE), path=path))
    assert (response.status_code, response.json()["code"]) == (404, "CustomerResourceNotFound")


async def test_a_batch_says_what_became_of_each_record(api: Api) -> None:
    await found_acme(api.engine)
    response = await post(api, usage(1), usage(2, customerId="cus-none"), usage(4))
    answer = response.json()
    assert (response.status_code, answer["code"], answer["cause"]) == (404, "BatchIncomplete", "CustomerNotFound")
    assert answer["outcomes"] == ["applied", "not applied", "not applied"]
    assert response.headers["x-should-retry"] == "false"
    assert (await used(api.engine))["account"] == 1


KEYED: Final = [usage(value, idempotencyKey=f"key-{value}") for value in (1, 2, 4)]
HALF_KEYED: Final = [*KEYED[:2], usage(4)]


@pytest.mark.parametrize(("usages", "is_final"), [(HALF_KEYED, True), (KEYED, False)])
async def test_a_batch_that_was_cut_is_sent_again_only_if_every_record_has_a_key(
    api: Api, usages: list[dict[str, Any]], is_final: bool
) -> None:
    await found_acme(api.engine)
    await report(api, usage(8, idempotencyKey="key-8"))
    api.target.before("report_credits", lambda: api.target.before("report_credits", refusing))
    response = await post(api, *usages)
    answer = response.json()
    assert (response.status_code, answer["cause"]) == (503, "Unavailable")
    assert answer["outcomes"] == ["applied", "not applied", "not applied"]
    assert response.headers.get("x-should-retry") == ("false" if is_final else None)
    assert (await used(api.engine))["account"] == 9
    if not is_final:
        assert [each["currentUsage"] for each in (await report(api, *usages))["usages"]] == [9, 11, 15]


async def test_a_record_whose_reply_was_lost_is_unknown_and_not_sent_again(api: Api) -> None:
    await found_acme(api.engine)
    api.target.before("report", losing_the_reply)
    response = await post(api, usage(1))
    assert (response.status_code, response.json()["code"]) == (500, "OutcomeUnknown")
    assert response.headers["x-should-retry"] == "false"
    api.target.before("report", losing_the_reply)
    response = await post(api, usage(1), usage(2))
    assert (response.status_code, response.json()["outcomes"]) == (500, ["unknown", "not applied"])
    assert response.headers["x-should-retry"] == "false"


async def test_a_record_under_a_key_whose_reply_was_lost_is_asked_for_again_and_counted_once(api: Api) -> None:
    await found_acme(api.engine)
    api.target.before("report_credits", losing_the_reply)
    (record,) = (await report(api, usage(10, idempotencyKey="key-1")))["usages"]
    assert record["currentUsage"] == 10


async def test_a_report_that_certainly_was_not_counted_may_be_sent_again(api: Api) -> None:
    await found_acme(api.engine)
    api.target.before("report", refusing)
    response = await unchanged(api, lambda: post(api, usage(1)))
    assert (response.status_code, response.json()["code"]) == (503, "Unavailable")
    assert "x-should-retry" not in response.headers
    api.target.before("report", refusing)
    response = await unchanged(api, lambda: post(api, usage(1), usage(2)))
    assert (response.status_code, response.json()["outcomes"]) == (503, ["not applied", "not applied"])
    assert "x-should-retry" not in response.headers
    async with nobody_there() as client:
        response = await client.post(V2, json={"usages": [usage(1)]})
    assert (response.status_code, "x-should-retry" in response.headers) == (503, False)


async def test_credits_can_not_be_set_and_the_fields_of_the_error_are_those_of_the_wire(api: Api) -> None:
    await found_paid(api)
    for feature in (TOKENS, CREDITS):
        record = usage(10, featureId=feature, updateBehavior="SET")
        response = await unchanged(api, lambda record=record: post(api, record))  # type: ignore[misc]
        assert (response.status_code, response.json()["code"]) == (400, "BadUserInput")
        assert "updateBehavior: 'SET': " in response.json()["message"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"value": None}, "value: None"),
        ({"value": "10"}, "value: '10'"),
        ({"value": True}, "value: True"),
        ({"value": 2**53}, "whole numbers go to 9007199254740991"),
        ({"value": 2**35 + 0.5}, "fractions stay below 34359738368"),
        ({"value": -1, "updateBehavior": "SET"}, "a counter can't be SET below 0"),
        ({"updateBehavior": "ADD"}, "updateBehavior: 'ADD'"),
        ({"updateBehavior": None}, "updateBehavior: None"),
        ({"customerId": "cus acme"}, "customerId: 'cus acme': an id has"),
        ({"featureId": ""}, "featureId: '': an id has"),
        ({"featureId": SSO}, "featureId: 'feature-sso': is not metered (BOOLEAN)"),
        ({"resourceId": "a/b"}, "resourceId"),
        ({"createdAt": "yesterday"}, "createdAt"),
        ({"createdAt": None}, "createdAt: None: must not be null"),
        ({"createdAt": 1_773_144_000}, "createdAt"),
        ({"dimensions": None}, "dimensions: None: must not be null"),
        ({"dimensions": {"teamId": None}}, "dimensions"),
        ({"dimensions": {"teamId": ["team-eng"]}}, "dimensions"),
        ({"dimensions": {"": "team-eng"}}, "dimensions"),
        ({"dimensions": ["teamId"]}, "dimensions"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
        ({"idempotencyKey": None}, "idempotencyKey: None: must not be null"),
        ({"idempotencyKey": "k" * 256}, "idempotencyKey"),
        ({"teamId": "team-eng"}, "teamId: 'team-eng': unknown field"),
    ],
)
@pytest.mark.parametrize("path", [V1, V2, CONSUME])
async def test_a_record_that_can_not_be_is_refused_by_name_and_nothing_is_counted(
    api: Api, path: str, record: dict[str, Any], message: str
) -> None:
    await found_chain(api.engine)
    is_denial = path == CONSUME and record == {"featureId": SSO}
    good = [] if path == CONSUME else [usage(1)]
    response = await unchanged(api, lambda: post(api, *good, {**usage(), **record}, path=path))
    if is_denial:
        assert response.json()["data"]["accessDeniedReason"] == "NoActiveSubscription"
        return
    assert (response.status_code, response.json()["code"]) == (400, "BadUserInput"), response.text
    assert message in response.json()["message"]
    assert f"usages[{len(good)}]" in response.json()["message"]


@pytest.mark.parametrize("path", [V1, V2])
@pytest.mark.parametrize(
    "body", [None, [], {}, {"usages": []}, {"usages": [usage()] * 101}, {"usages": usage()}, {"records": [usage()]}]
)
async def test_a_body_that_is_no_batch_is_refused(api: Api, path: str, body: Any) -> None:
    await found_acme(api.engine)
    answer = await unchanged(api, lambda: api.send("POST", path, body, status=400))
    assert answer["code"] == "BadUserInput"


async def test_a_batch_has_up_to_a_hundred_records(api: Api) -> None:
    await found_acme(api.engine)
    assert (await report(api, *[usage(1)] * 100))["usages"][-1]["currentUsage"] == 100


# To consume.


async def test_to_consume_is_to_count_what_fits_and_the_answer_is_that_of_a_check(api: Api) -> None:
    await found_chain(api.engine, team=100)
    data = await consume(api, 75, dimensions=ANN)
    assert (data["isGranted"], data["type"], data["currentUsage"], data["requestedUsage"]) == (True, "FEATURE", 75, 75)
    assert [node["currentUsage"] for node in data["chains"][0]] == [75, 75, 75]
    data = await unchanged(api, lambda: consume(api, 26, dimensions=ANN))
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, "BudgetExceeded")
    assert (data["bindingConstraint"]["entityId"], data["bindingConstraint"]["currentUsage"]) == ("team-eng", 75)


async def test_to_consume_credits_or_what_is_paid_in_them_takes_them_from_the_wallet(api: Api) -> None:
    await found_paid(api, credits=100)
    data = await consume(api, 10)
    assert (data["type"], data["cost"], data["credit"]["currentUsage"]) == ("FEATURE", 25, 25)
    data = await consume(api, 70, featureId=CREDITS)
    assert (data["type"], data["isGranted"], data["currentUsage"]) == ("CREDIT", True, 95)
    data = await unchanged(api, lambda: consume(api, 6, featureId=CREDITS))
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, "InsufficientCredits")


async def test_to_consume_under_a_key_counts_once(api: Api) -> None:
    await found_acme(api.engine)
    for _ in range(2):
        data = await consume(api, 10, idempotencyKey="key-1")
        assert (data["isGranted"], data["currentUsage"]) == (True, 10)


async def test_who_or_what_is_unknown_is_refused_and_not_an_error(api: Api) -> None:
    await found_acme(api.engine)
    assert (await consume(api, customerId="cus-none"))["accessDeniedReason"] == "CustomerNotFound"
    assert (await consume(api, featureId="feature-none"))["accessDeniedReason"] == "FeatureNotFound"


@pytest.mark.parametrize("given", [{"updateBehavior": "SET"}, {"value": -1}, {"createdAt": "2026-03-10T12:00:00Z"}])
async def test_what_can_only_be_reported_can_not_be_consumed(api: Api, given: dict[str, Any]) -> None:
    await found_acme(api.engine)
    response = await unchanged(api, lambda: post(api, {**usage(), **given}, path=CONSUME))
    assert (response.status_code, response.json()["code"]) == (400, "BadUserInput")
    assert f"usages[0].{next(iter(given))}" in response.json()["message"]


async def test_exactly_one_record_is_consumed(api: Api) -> None:
    await found_acme(api.engine)
    for usages in ([], [usage(), usage()]):
        response = await unchanged(api, lambda usages=usages: post(api, *usages, path=CONSUME))  # type: ignore[misc]
        assert response.status_code == 400


@pytest.mark.parametrize(("fails", "status"), [(refusing, 503), (losing_the_reply, 500)])
async def test_a_gate_that_can_not_be_asked_is_not_asked_again(api: Api, fails: Any, status: int) -> None:
    await found_acme(api.engine)
    api.target.before("consume", fails)
    response = await unchanged(api, lambda: post(api, usage(1), path=CONSUME))
    assert (response.status_code, response.headers["x-should-retry"]) == (status, "false")


async def test_a_query_on_a_report_is_refused(api: Api) -> None:
    await found_acme(api.engine)
    for path in (V1, V2, CONSUME):
        response = await unchanged(api, lambda path=path: post(api, usage(1), path=f"{path}?dryRun=true"))  # type: ignore[misc]
        assert (response.status_code, "dryRun" in response.text) == (400, True)


async def test_what_can_be_told_of_a_batch_before_it_begins_is_told_then(api: Api) -> None:
    await found_paid(api)
    before = api.target.dump()
    records = [usage(1), usage(1, featureId=CREDITS, updateBehavior="SET")]
    answer = await api.send("POST", "/api/v1/usage", {"usages": records}, status=400)
    assert "usages[1].updateBehavior" in answer["message"]
    item = {"customerId": "cus-acme", "amount": 1, "idempotencyKey": "key-1", "currencyId": CREDITS}
    body = {"consumptions": [item, {**item, "idempotencyKey": "key-2", "currencyId": "currency-none"}]}
    answer = await api.send("POST", "/api/v1/credits/consumption/async", body, status=404)
    assert "consumptions[1].currencyId" in answer["message"]
    assert api.target.dump() == before
