"""Bad input to the routes of subscriptions: it is named, and changes nothing."""

from __future__ import annotations

from typing import Any

from rest.conftest import Api
from rest.subscribed import BODY, MAIN, PACKED, PATH, provision, set_up

NEW = {**BODY, "id": "new", "resourceId": "new-site"}
FEATURE = {"type": "FEATURE", "id": "tokens", "usageLimit": 5}
CREDIT = {"type": "CREDIT", "id": "credits", "amount": 5, "cadence": "MONTH"}

BILLED: dict[str, Any] = {
    "appliedCoupon": {"couponId": "c"},
    "billingInformation": {"taxPercentage": 5},
    "budget": {"limit": 5, "hasSoftLimit": False},
    "charges": [{"id": "c", "quantity": 1, "type": "FEATURE"}],
    "minimumSpend": {"amount": 5},
    "priceOverrides": [{"amount": 5}],
    "salesforceId": "s",
    "scheduleStrategy": "END_OF_BILLING_PERIOD",
    "billingCycleAnchor": "NOW",
}
PROVISIONED_BILLED: dict[str, Any] = {
    "billingCountryCode": "eu",
    "billingId": "b",
    "checkoutOptions": {"successUrl": "a", "cancelUrl": "b"},
    "payingCustomerId": "other",
    "paymentCollectionMethod": "CHARGE",
}


def trial(**fields: Any) -> dict[str, Any]:
    return {**NEW, "trialOverrideConfiguration": fields}


BAD: list[tuple[str, str, Any, int, str, str]] = [
    *(
        ("POST", PATH, {**NEW, name: value}, 400, "NotSupported", f"{name}: ")
        for name, value in (BILLED | PROVISIONED_BILLED).items()
    ),
    *(("PATCH", MAIN, {name: value}, 400, "NotSupported", f"{name}: ") for name, value in BILLED.items()),
    ("PATCH", MAIN, {"promotionCode": "p"}, 400, "NotSupported", "promotionCode: 'p'"),
    ("POST", PATH, {**NEW, "planId": "none"}, 404, "PlanNotFound", "plan 'none' was not found"),
    ("POST", PATH, {**NEW, "customerId": "none"}, 404, "CustomerNotFound", "customer 'none' was not found"),
    ("POST", PATH, {"customerId": "acme"}, 400, "BadUserInput", "planId"),
    ("POST", PATH, {**NEW, "id": "no id"}, 400, "BadUserInput", "id: 'no id': an id has"),
    ("POST", PATH, {**NEW, "resourceId": "{"}, 400, "BadUserInput", "resourceId: '{': an id has"),
    ("POST", PATH, {**NEW, "plan": "pro"}, 400, "BadUserInput", "plan: 'pro': unknown field"),
    ("POST", PATH, {**NEW, "unitQuantity": 0}, 400, "BadUserInput", "unitQuantity: 0"),
    ("POST", PATH, {**NEW, "unitQuantity": "2"}, 400, "BadUserInput", "unitQuantity: '2'"),
    ("POST", PATH, {**NEW, "billingPeriod": "DAILY"}, 400, "BadUserInput", "billingPeriod: 'DAILY'"),
    ("POST", PATH, {**NEW, "startDate": "soon"}, 400, "BadUserInput", "startDate: 'soon': must be an instant"),
    ("POST", PATH, {**NEW, "cancellationDate": "2026-03-10T12:00:00Z"}, 400, "BadUserInput", "cancellationDate: 17"),
    ("POST", PATH, {**NEW, "metadata": {"a": 1}}, 400, "BadUserInput", "metadata.a: 1"),
    ("POST", PATH, {**NEW, "addons": [{"id": "none", "quantity": 1}]}, 400, "BadUserInput", "addons[0].id: 'none'"),
    ("POST", PATH, {**NEW, "addons": [{"id": "boost"}]}, 400, "BadUserInput", "addons[0].quantity"),
    ("POST", PATH, {**NEW, "addons": [{"id": "boost", "quantity": 0}]}, 400, "BadUserInput", "addons[0].quantity: 0"),
    ("POST", PATH, {**NEW, "addons": [{"id": "boost", "quantity": 1}] * 2}, 400, "BadUserInput", "addons[1].id"),
    (
        "POST",
        PATH,
        {**NEW, "entitlements": [CREDIT, FEATURE, {**FEATURE, "id": "none"}]},
        400,
        "BadUserInput",
        "entitlements[2].id: 'none': there is no such feature",
    ),
    (
        "POST",
        PATH,
        {**NEW, "entitlements": [FEATURE, {**CREDIT, "id": "none"}]},
        400,
        "BadUserInput",
        "entitlements[1].id: 'none': there is no such currency",
    ),
    (
        "POST",
        PATH,
        {**NEW, "entitlements": [CREDIT, {"type": "FEATURE", "id": "tokens"}]},
        400,
        "BadUserInput",
        "entitlements[1].usageLimit: None: 'tokens' is a number",
    ),
    ("POST", PATH, {**NEW, "entitlements": [{**FEATURE, "behavior": "Override"}]}, 400, "BadUserInput", "behavior"),
    ("POST", PATH, {**NEW, "entitlements": [FEATURE, FEATURE]}, 400, "BadUserInput", "entitlements[1].id: 'tokens'"),
    ("POST", PATH, trial(isTrial=True), 400, "BadUserInput", "trialOverrideConfiguration.trialEndDate: None"),
    (
        "POST",
        PATH,
        trial(isTrial=False, trialEndDate="2026-04-01T00:00:00Z"),
        400,
        "BadUserInput",
        "trialOverrideConfiguration.isTrial: False",
    ),
    (
        "POST",
        PATH,
        trial(isTrial=True, trialEndDate="2026-03-01T00:00:00Z"),
        400,
        "BadUserInput",
        "trialOverrideConfiguration.trialEndDate: 17",
    ),
    ("GET", PATH, None, 400, "NotSupported", "customerId: None: is needed"),
    ("GET", f"{PATH}?customerId=none", None, 404, "CustomerNotFound", "customer 'none'"),
    ("GET", f"{PATH}?customerId=acme&status=LIVE", None, 400, "BadUserInput", "status: 'LIVE': must be one of"),
    ("GET", f"{PATH}?customerId=acme&pricingType=CHEAP", None, 400, "BadUserInput", "pricingType: 'CHEAP'"),
    ("GET", f"{PATH}?customerId=acme&productId=a", None, 400, "BadUserInput", "productId: 'a': unknown parameter"),
    ("GET", f"{PATH}/none", None, 404, "SubscriptionNotFound", "subscription 'none' was not found"),
    ("GET", f"{PATH}/%7B", None, 400, "BadUserInput", "id: '{': an id has"),
    ("GET", f"{PATH}/{PACKED}", None, 404, "SubscriptionNotFound", f"subscription '{PACKED}'"),
    ("PATCH", f"{PATH}/none", {"metadata": {}}, 404, "SubscriptionNotFound", "subscription 'none'"),
    ("PATCH", MAIN, {"planId": "free"}, 400, "BadUserInput", "planId: 'free': unknown field"),
    ("PATCH", MAIN, {"addons": [{"id": "none", "quantity": 1}]}, 400, "BadUserInput", "addons[0].id: 'none'"),
    ("PATCH", MAIN, {"trialEndDate": "2026-03-01T00:00:00Z"}, 400, "BadUserInput", "trialEndDate: 17"),
    ("PATCH", MAIN, {"cancellationDate": "2026-03-10T12:00:00Z"}, 400, "BadUserInput", "cancellationDate: 17"),
    ("POST", f"{PATH}/none/cancel", {}, 404, "SubscriptionNotFound", "subscription 'none'"),
    (
        "POST",
        f"{MAIN}/cancel",
        {"cancellationTime": "END_OF_BILLING_PERIOD"},
        400,
        "BadUserInput",
        "cancellationTime: 'period_end': 'main' has no billing period",
    ),
    ("POST", f"{MAIN}/cancel", {"cancellationTime": "SPECIFIC_DATE"}, 400, "BadUserInput", "endDate: None"),
    ("POST", f"{MAIN}/cancel", {"endDate": "2026-04-01T00:00:00Z"}, 400, "BadUserInput", "endDate: "),
    (
        "POST",
        f"{MAIN}/cancel",
        {"cancellationTime": "SPECIFIC_DATE", "endDate": "2026-03-01T00:00:00Z"},
        400,
        "BadUserInput",
        "endDate: ",
    ),
    ("POST", f"{MAIN}/cancel", {"prorate": True}, 400, "NotSupported", "prorate: True"),
    ("POST", f"{MAIN}/cancel", {"cancellationAction": "NONE"}, 400, "BadUserInput", "cancellationAction: 'NONE'"),
    ("POST", f"{PATH}/import", {"subscriptions": []}, 400, "BadUserInput", "subscriptions: "),
    ("POST", f"{PATH}/import", {"subscriptions": [NEW], "integrationId": "i"}, 400, "NotSupported", "integrationId"),
    ("POST", f"{PATH}/import", {"subscriptions": [{**NEW, "billingId": "b"}]}, 400, "NotSupported", "billingId: 'b'"),
    ("POST", f"{PATH}/import", {"subscriptions": [NEW, NEW]}, 400, "BadUserInput", "new is there more often"),
    ("POST", f"{PATH}/import", {"subscriptions": [NEW, BODY]}, 400, "BadUserInput", "subscriptions[1].id"),
    (
        "POST",
        f"{PATH}/import",
        {"subscriptions": [NEW, {**NEW, "id": "second", "planId": "none"}]},
        404,
        "PlanNotFound",
        "plan 'none'",
    ),
    (
        "POST",
        f"{PATH}/import",
        {"subscriptions": [NEW, {**NEW, "id": "second", "customerId": "none"}]},
        404,
        "CustomerNotFound",
        "customer 'none'",
    ),
    (
        "POST",
        f"{PATH}/import",
        {"subscriptions": [NEW, {**NEW, "id": "second", "addons": [{"id": "none", "quantity": 1}]}]},
        400,
        "BadUserInput",
        "subscriptions[1].addons[0].id: 'none'",
    ),
    (
        "POST",
        f"{PATH}/import",
        {"subscriptions": [{**NEW, "startDate": "2025-01-02T00:00:00Z", "endDate": "2025-01-01T00:00:00Z"}]},
        400,
        "BadUserInput",
        "subscriptions[0].endDate: 17",
    ),
]


async def test_bad_input_is_named_and_changes_nothing(api: Api) -> None:
    await set_up(api)
    await provision(api, id="main")

    async def everything() -> Any:
        resources = await api.engine.customers.resources("acme")
        owners = [await api.engine.subscriptions.owner(id) for id in ("new", "second")]
        return await api.engine.subscriptions.states("acme"), resources, owners

    before = await everything()
    for method, path, body, status, code, message in BAD:
        answer = await api.send(method, path, body, status=status)
        assert (answer["code"], message in answer["message"]) == (code, True), (method, path, body, answer)
        assert await everything() == before, (method, path, body)


async def test_a_subscription_that_has_ended_does_not_come_back(api: Api) -> None:
    await set_up(api)
    await provision(api, id="main")
    api.clock.advance(60_000)
    await api.send("POST", f"{MAIN}/cancel", {})
    for method, path, body in (
        ("POST", PATH, {**BODY, "id": "main"}),
        ("PATCH", MAIN, {"metadata": {"a": "b"}}),
        ("PATCH", MAIN, {"cancellationDate": None}),
    ):
        answer = await api.send(method, path, body, status=400)
        assert "id: 'main': ended at" in answer["message"]
    assert (await api.send("POST", f"{MAIN}/cancel", {}))["data"]["status"] == "CANCELED"
