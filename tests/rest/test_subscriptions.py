"""Subscriptions over REST: provisioning, finding, changing, cancelling and importing them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headgate import Conflict
from headgate.rest.names import pack_name
from rest.conftest import Api
from rest.subscribed import BODY, DAY_MS, MAIN, PACKED, PATH, SHOWN, START, provision, set_up

ENDS = ("cancellationDate", "endDate", "effectiveEndDate")


async def listed(api: Api, query: str = "customerId=acme") -> list[str]:
    return [each["id"] for each in (await api.get(f"{PATH}?{query}"))["data"]]


async def limit_of(api: Api, resource: str | None = None) -> float | None:
    decision = await api.engine.check("acme", feature="tokens", resource=resource)
    return decision.account.limit if decision.account else None


async def test_a_provision_is_a_success_and_brings_the_subscription(api: Api) -> None:
    await set_up(api)
    answer = (await provision(api, id="main"))["data"]
    entitled = await api.get("/api/v1/customers/acme/entitlements")
    assert answer.pop("entitlements") == entitled["data"]["entitlements"]
    nothing_to_pay = {"checkoutUrl": None, "checkoutBillingId": None}
    assert answer == {
        "id": "main",
        "status": "SUCCESS",
        "subscription": SHOWN,
        "isScheduled": False,
        **nothing_to_pay,
    }
    (tokens,) = entitled["data"]["entitlements"]
    assert (tokens["feature"]["id"], tokens["usageLimit"]) == ("tokens", 100)
    assert await api.get(MAIN) == {"data": SHOWN}
    assert await limit_of(api) == 100


async def test_everything_that_is_given_is_kept_and_counts(api: Api) -> None:
    await set_up(api)
    fields: dict[str, Any] = {
        "addons": [{"id": "boost", "quantity": 2}],
        "unitQuantity": 3,
        "billingPeriod": "MONTHLY",
        "metadata": {"deal": "7"},
        "cancellationDate": "2027-01-01T00:00:00+00:00",
        "trialOverrideConfiguration": {
            "isTrial": True,
            "trialEndDate": "2026-03-20T00:00:00Z",
            "trialEndBehavior": "CANCEL_SUBSCRIPTION",
        },
        "paymentCollectionMethod": "NONE",
        "scheduleStrategy": "IMMEDIATE",
        "awaitPaymentConfirmation": True,
        "budget": None,
        "payingCustomerId": None,
    }
    answer = await provision(api, id="main", **fields)
    expected = {
        **SHOWN,
        "status": "IN_TRIAL",
        "billingPeriod": "MONTHLY",
        "unitQuantity": 3,
        "addons": [{"id": "boost", "quantity": 2}],
        "endDate": "2027-01-01T00:00:00Z",
        "effectiveEndDate": "2026-03-20T00:00:00Z",
        "cancellationDate": "2027-01-01T00:00:00Z",
        "trial": {"trialEndBehavior": "CANCEL_SUBSCRIPTION"},
        "trialEndDate": "2026-03-20T00:00:00Z",
        "currentBillingPeriodStart": START,
        "currentBillingPeriodEnd": "2026-04-10T12:00:00Z",
        "metadata": {"deal": "7"},
    }
    assert answer["data"]["subscription"] == expected
    assert await limit_of(api) == 400
    api.clock.advance(10 * DAY_MS)
    ended = (await api.get(MAIN))["data"]
    assert (ended["status"], ended["cancelReason"]) == ("CANCELED", "TRIAL_ENDED")
    assert (ended["currentBillingPeriodStart"], ended["currentBillingPeriodEnd"]) == (None, None)


async def test_a_subscription_that_starts_later_is_scheduled(api: Api) -> None:
    await set_up(api)
    answer = await provision(api, id="main", startDate="2026-04-01T00:00:00Z")
    subscription = answer["data"]["subscription"]
    assert (answer["data"]["isScheduled"], subscription["status"]) == (True, "NOT_STARTED")
    assert (subscription["startDate"], subscription["billingCycleAnchor"]) == ("2026-04-01T00:00:00Z",) * 2


async def test_entitlements_of_a_subscription_stand_in_the_place_of_the_plans(api: Api) -> None:
    await set_up(api)
    tokens = {
        "type": "FEATURE",
        "id": "tokens",
        "usageLimit": 7,
        "hasSoftLimit": True,
        "resetPeriod": "WEEK",
        "weeklyResetPeriodConfiguration": {"accordingTo": "EveryMonday"},
    }
    credits = {"type": "CREDIT", "id": "credits", "amount": 5, "cadence": "MONTH"}
    answer = await provision(api, id="main", entitlements=[credits, tokens])
    references = [{"id": "tokens", "type": "FEATURE"}, {"id": "credits", "type": "CREDIT"}]
    assert answer["data"]["subscription"]["subscriptionEntitlements"] == references
    account = (await api.engine.check("acme", feature="tokens")).account
    assert account is not None
    week_start_ms = int(datetime(2026, 3, 9, tzinfo=UTC).timestamp() * 1000)
    assert (account.limit, account.period.start_ms) == (7, week_start_ms)
    assert (await api.engine.credits.wallet("acme", currency="credits")).balance == 5


async def test_without_an_id_a_repeat_is_the_same_subscription_under_an_id_that_finds_it(api: Api) -> None:
    await set_up(api)
    first = (await provision(api))["data"]
    api.clock.advance(60_000)
    again = (await provision(api, unitQuantity=2))["data"]
    assert first["id"] == again["id"] == PACKED
    assert again["subscription"] == {**SHOWN, "id": PACKED, "unitQuantity": 2}
    assert await api.get(f"{PATH}/{PACKED}") == {"data": again["subscription"]}
    assert (await provision(api, id=PACKED, planId="free"))["data"]["subscription"]["planId"] == "free"
    assert [each.id for each in await api.engine.subscriptions.list("acme")] == ["pro"]


async def test_an_id_is_one_customers_alone(api: Api) -> None:
    await set_up(api)
    await provision(api, id="main")
    for fields in ({"customerId": "other", "id": "main"}, {"id": "main", "resourceId": "site"}):
        answer = await provision(api, 409, **fields)
        assert (answer["code"], "subscription 'main' belongs to another" in answer["message"]) == ("Conflict", True)
    assert (await provision(api, 409, customerId="other", id=PACKED))["code"] == "Conflict"
    assert await api.engine.subscriptions.list("other", include_ended=True) == []
    assert await api.engine.customers.resources("acme") == []


async def test_the_librarys_subscriptions_are_found_by_ids_that_say_where_they_are(api: Api) -> None:
    await set_up(api)
    await api.engine.subscriptions.provision("acme", {"id": "main", "plan": "pro"})
    await api.get(MAIN, status=404)
    (packed,) = await listed(api)
    assert (await api.get(f"{PATH}/{packed}"))["data"]["id"] == packed
    await provision(api, id="main", customerId="other")
    assert (await api.get(MAIN))["data"]["customerId"] == "other"
    assert await listed(api) == [packed]
    with pytest.raises(Conflict):
        await api.engine.subscriptions.claim("main", "acme")


async def test_a_resource_that_is_not_there_is_made_with_its_subscription(api: Api) -> None:
    await set_up(api)
    answer = await provision(api, resourceId="site")
    assert answer["data"]["id"] == pack_name("subscription", "acme", "site", "pro@site")
    assert answer["data"]["subscription"]["resourceId"] == "site"
    assert [each.id for each in await api.engine.customers.resources("acme")] == ["site"]
    assert (await limit_of(api, "site"), await limit_of(api)) == (100, None)
    await provision(api, id="second", resourceId="site", planId="free")
    assert (await api.get(f"{PATH}/second"))["data"]["resourceId"] == "site"


async def test_subscriptions_are_listed_as_created_with_those_of_resources_and_filtered(api: Api) -> None:
    await set_up(api)
    await provision(api, id="c")
    api.clock.advance(60_000)
    await provision(api, id="a", planId="free", resourceId="site")
    await provision(api, id="b", planId="free")
    await api.send("POST", f"{PATH}/c/cancel", {})
    for query, ids in (
        ("", ["c", "b", "a"]),
        ("&resourceId=site", ["a"]),
        ("&resourceId=none", []),
        ("&planId=free", ["b", "a"]),
        ("&status=ACTIVE,IN_TRIAL", ["b", "a"]),
        ("&status=CANCELED&status=PAYMENT_PENDING", ["c"]),
        ("&pricingType=PAID", []),
        ("&pricingType=FREE,PAID", ["c", "b", "a"]),
        (f"&createdAt[gt]={START}", ["b", "a"]),
    ):
        assert await listed(api, f"customerId=acme{query}") == ids, query
    first = await api.get(PATH, customerId="acme", limit=2)
    assert [each["id"] for each in first["data"]] == ["c", "b"]
    second = await api.get(PATH, customerId="acme", limit=2, after=first["pagination"]["next"])
    assert ([each["id"] for each in second["data"]], second["pagination"]["next"]) == (["a"], None)
    assert await listed(api, "customerId=other") == []


async def test_what_is_given_of_a_subscription_is_changed_and_the_rest_stays(api: Api) -> None:
    await set_up(api)
    await provision(api, id="main", unitQuantity=3, metadata={"a": "1", "b": "2"}, billingPeriod="MONTHLY")
    monthly = {"currentBillingPeriodStart": START, "currentBillingPeriodEnd": "2026-04-10T12:00:00Z"}
    before = {**SHOWN, "unitQuantity": 3, "metadata": {"a": "1", "b": "2"}, "billingPeriod": "MONTHLY", **monthly}
    assert await api.send("PATCH", MAIN, {}) == {"data": before}
    for sent, changed in (
        ({"metadata": {"b": "3"}, "billingCycleAnchor": "UNCHANGED"}, {"metadata": {"b": "3"}}),
        ({"addons": [{"id": "boost", "quantity": 1}]}, {"addons": [{"id": "boost", "quantity": 1}]}),
        ({"addons": []}, {"addons": []}),
        (
            {"billingPeriod": "ANNUALLY"},
            {"billingPeriod": "ANNUALLY", "currentBillingPeriodEnd": "2027-03-10T12:00:00Z"},
        ),
        (
            {"trialEndDate": "2026-03-11T00:00:00Z"},
            {
                "status": "IN_TRIAL",
                "trialEndDate": "2026-03-11T00:00:00Z",
                "trial": {"trialEndBehavior": "CONVERT_TO_PAID"},
            },
        ),
        ({"cancellationDate": "2026-05-01T00:00:00Z"}, dict.fromkeys(ENDS, "2026-05-01T00:00:00Z")),
        ({"cancellationDate": None}, dict.fromkeys(ENDS, None)),
    ):
        before |= changed
        assert await api.send("PATCH", MAIN, sent) == {"data": before}, sent
    assert await api.get(MAIN) == {"data": before}


async def test_entitlements_are_changed_as_a_whole_and_keep_what_only_the_library_can_say(api: Api) -> None:
    await set_up(api)
    terms = {"feature": "tokens", "usage_limit": 7, "reset_period": "MONTH", "zone": "Europe/Berlin"}
    credits = {"currency": "credits", "amount": 5, "cadence": "MONTH"}
    region = {"feature": "region", "enum_values": ("us",)}
    await provision(api, id="main")
    upsert = {"id": "main", "entitlements": [terms, region], "credits": [credits]}
    await api.engine.subscriptions.provision("acme", upsert)
    limits = [{"type": "FEATURE", "id": "tokens", "usageLimit": 8, "resetPeriod": "MONTH"}]
    sent = [*limits, {"type": "FEATURE", "id": "region"}]
    changed = await api.send("PATCH", MAIN, {"entitlements": sent})
    assert [each["id"] for each in changed["data"]["subscriptionEntitlements"]] == ["tokens", "region"]
    of_tokens, of_region = (await api.engine.subscriptions.get("acme", "main")).entitlements
    assert (of_tokens.usage_limit, of_tokens.zone, of_region.enum_values) == (8, "Europe/Berlin", ("us",))
    again = await provision(api, id="main", entitlements=limits)
    assert [each["id"] for each in again["data"]["subscription"]["subscriptionEntitlements"]] == ["tokens"]
    assert [each.zone for each in (await api.engine.subscriptions.get("acme", "main")).entitlements] == [
        "Europe/Berlin"
    ]


@pytest.mark.parametrize(
    ("body", "end", "status", "reason"),
    [
        (None, "2026-03-11T12:00:00Z", "CANCELED", "Immediate"),
        ({}, "2026-03-11T12:00:00Z", "CANCELED", "Immediate"),
        (
            {"cancellationTime": "IMMEDIATE", "cancellationAction": "REVOKE_ENTITLEMENTS", "prorate": False},
            "2026-03-11T12:00:00Z",
            "CANCELED",
            "Immediate",
        ),
        ({"cancellationTime": "END_OF_BILLING_PERIOD"}, "2026-04-10T12:00:00Z", "ACTIVE", "ScheduledCancellation"),
        (
            {"cancellationTime": "SPECIFIC_DATE", "endDate": "2026-03-20T00:00:00Z"},
            "2026-03-20T00:00:00Z",
            "ACTIVE",
            "ScheduledCancellation",
        ),
    ],
)
async def test_a_cancelled_subscription_ends_when_it_is_told(
    api: Api, body: Any, end: str, status: str, reason: str
) -> None:
    await set_up(api)
    await provision(api, id="main", billingPeriod="MONTHLY")
    api.clock.advance(DAY_MS)
    cancelled = await api.send("POST", f"{MAIN}/cancel", body)
    shown = cancelled["data"]
    assert (shown["status"], shown["cancelReason"]) == (status, reason)
    assert [shown[name] for name in ENDS] == [end] * 3
    assert await api.get(MAIN) == cancelled
    end_ms = int(datetime.fromisoformat(end).timestamp() * 1000)
    api.clock.set(end_ms)
    assert await limit_of(api) is None
    assert (await api.get(MAIN))["data"]["status"] == "CANCELED"


async def test_imported_subscriptions_keep_their_ids_and_their_past(api: Api) -> None:
    await set_up(api)
    items = [
        {
            **BODY,
            "id": "main",
            "startDate": "2025-01-01T00:00:00Z",
            "billingPeriod": "ANNUALLY",
            "metadata": {"a": "b"},
        },
        {**BODY, "id": "old", "customerId": "other", "startDate": "2025-01-01T00:00:00Z", "endDate": "2026-01-01"},
        {**BODY, "id": "site", "resourceId": "site", "addons": [{"id": "boost", "quantity": 2}], "endDate": None},
    ]
    for _ in range(2):  # importing again is safe
        answer = await api.send("POST", f"{PATH}/import", {"subscriptions": items, "integrationId": None})
        assert answer["data"]["taskId"].startswith("import_")
    main, old, site = [(await api.get(f"{PATH}/{id}"))["data"] for id in ("main", "old", "site")]
    assert (main["startDate"], main["metadata"], main["status"]) == ("2025-01-01T00:00:00Z", {"a": "b"}, "ACTIVE")
    assert (main["currentBillingPeriodStart"], main["billingPeriod"]) == ("2026-01-01T00:00:00Z", "ANNUALLY")
    assert (old["customerId"], old["status"], old["endDate"]) == ("other", "EXPIRED", "2026-01-01T00:00:00Z")
    assert (old["cancelReason"], site["resourceId"]) == ("EXPIRED", "site")
    assert site["addons"] == [{"id": "boost", "quantity": 2}]


async def test_an_import_goes_by_an_id_that_says_whose_it_is_as_a_provision_does(api: Api) -> None:
    await set_up(api)
    shown = (await provision(api))["data"]["id"]
    item = {"id": shown, "customerId": BODY["customerId"], "planId": BODY["planId"]}
    await api.send("POST", f"{PATH}/import", {"subscriptions": [item]})
    listed = (await api.get(PATH, customerId=BODY["customerId"]))["data"]
    assert [each["id"] for each in listed] == [shown]

    other = {**item, "customerId": "other"}
    before = api.target.dump()
    answer = await api.send("POST", f"{PATH}/import", {"subscriptions": [other]}, status=409)
    assert answer["code"] == "Conflict"
    assert api.target.dump() == before
