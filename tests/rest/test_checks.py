"""Checks and entitlements over HTTP: every field of an answer, every denial, and what is no question."""

from __future__ import annotations

from typing import Any, Final

import pytest

from behaviour.world import ACME, REGIONS, RETENTION, SEATS, SSO, TOKENS, budget, count, found_acme, found_chain
from rest.conftest import Api
from rest.failing import nobody_there, unchanged

CHECK: Final = "/api/v1/customers/cus-acme/entitlements/check"
ENTITLEMENTS: Final = "/api/v1/customers/cus-acme/entitlements"
CREDITS: Final = "currency-credits"
SITE: Final = "site-01"
HELD: Final = {"reserveAmount": 1, "reservationId": "job-1"}


async def check(api: Api, **query: Any) -> dict[str, Any]:
    """What a check of tokens answers, unless something else is asked about."""
    about = {} if "featureId" in query or "currencyId" in query else {"featureId": TOKENS}
    data: dict[str, Any] = (await api.get(CHECK, **about, **query))["data"]
    return data


async def found_credits(api: Api, amount: float = 100) -> None:
    await api.engine.catalog.put_currencies([{"id": CREDITS}])
    await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": amount})


# Denials are answers.


async def test_an_unknown_customer_is_a_denial_and_no_error(api: Api) -> None:
    await found_acme(api.engine)
    data = (await api.get("/api/v1/customers/cus-none/entitlements/check", featureId=TOKENS))["data"]
    assert (data["isGranted"], data["type"], data["accessDeniedReason"]) == (False, "FEATURE", "CustomerNotFound")
    assert data["feature"]["id"] == TOKENS
    assert (data["currentUsage"], data["usageLimit"], data["resetPeriod"]) == (None, None, None)
    data = (await api.get("/api/v1/customers/cus-none/entitlements/check", currencyId=CREDITS))["data"]
    assert (data["isGranted"], data["type"], data["accessDeniedReason"]) == (False, "CREDIT", "CustomerNotFound")
    assert (data["currentUsage"], data["usageLimit"], data["reserved"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"featureId": "feature-none"}, "FeatureNotFound"),
        ({"featureId": SSO}, "NoActiveSubscription"),
        ({"featureId": TOKENS, "requestedUsage": 101}, "RequestedUsageExceedingLimit"),
        ({"featureId": TOKENS, "resourceId": "site-none"}, "CustomerResourceNotFound"),
        ({"featureId": REGIONS, "requestedValues": "us"}, "RequestedValuesMismatch"),
        ({"featureId": TOKENS, "requestedUsage": 11, "dimensions[userId]": "user-ann"}, "BudgetExceeded"),
        ({"currencyId": "currency-none"}, "EntitlementNotFound"),
        ({"currencyId": CREDITS, "requestedUsage": 100.5}, "InsufficientCredits"),
    ],
)
async def test_each_denial_says_why_and_is_answered_with_200(api: Api, query: dict[str, Any], reason: str) -> None:
    await found_acme(api.engine, account=100)
    await budget(api.engine, "user-ann", 10)
    await api.engine.customers.grant_entitlement(ACME, {"feature": REGIONS, "enum_values": ["eu"]})
    await found_credits(api)
    data = await unchanged(api, lambda: check(api, **query))
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, reason)
    assert data["type"] == ("CREDIT" if "currencyId" in query else "FEATURE")


async def test_an_archived_customer_and_a_revoked_entitlement_are_denied(api: Api) -> None:
    await found_acme(api.engine)
    await api.engine.customers.revoke_entitlement(ACME, feature=TOKENS)
    assert (await check(api))["accessDeniedReason"] == "Revoked"
    await api.engine.customers.archive(ACME)
    assert (await check(api))["accessDeniedReason"] == "CustomerIsArchived"


async def test_an_unknown_feature_is_shown_as_none_and_an_unknown_currency_by_its_id(api: Api) -> None:
    await found_acme(api.engine)
    assert (await check(api, featureId="feature-none"))["feature"] is None
    assert (await check(api, currencyId="currency-none"))["currency"] == {
        "currencyId": "currency-none",
        "displayName": "currency-none",
        "description": None,
        "unitSingular": None,
        "unitPlural": None,
        "metadata": {},
    }


# What is granted, by the kind of the feature.


async def test_a_refusal_names_the_limit_that_refused_and_when_it_starts_again(api: Api) -> None:
    await found_acme(api.engine, account=100)
    await count(api.engine, 60)
    data = await check(api, requestedUsage=41)
    assert (data["usageLimit"], data["currentUsage"], data["requestedUsage"]) == (100, 60, 41)
    assert data["bindingConstraint"] == {
        "entityId": None,
        "scopeEntityIds": [],
        "usageLimit": 100,
        "currentUsage": 60,
        "held": 0,
        "resetsAt": "2026-04-01T00:00:00Z",
    }
    assert "chains" not in data


async def test_a_boolean_a_number_and_an_enum_have_what_they_have(api: Api) -> None:
    await found_acme(api.engine)
    for given in ({"feature": SSO}, {"feature": RETENTION, "usage_limit": 90}):
        await api.engine.customers.grant_entitlement(ACME, given)
    await api.engine.customers.grant_entitlement(ACME, {"feature": REGIONS, "enum_values": ["us", "eu"]})
    boolean = await check(api, featureId=SSO)
    assert (boolean["isGranted"], boolean["feature"]["featureType"]) == (True, "BOOLEAN")
    assert (boolean["usageLimit"], boolean["currentUsage"], boolean["hasUnlimitedUsage"]) == (None, None, False)
    number = await check(api, featureId=RETENTION)
    assert (number["isGranted"], number["usageLimit"], number["currentUsage"]) == (True, 90, None)
    enum = await check(api, featureId=REGIONS, requestedValues="eu,us")
    assert (enum["isGranted"], enum["enumValues"]) == (True, ["eu", "us"])


@pytest.mark.parametrize("spelling", ["requestedValues=eu,us", "requestedValues=eu&requestedValues=us"])
async def test_a_list_is_read_repeated_and_joined_by_commas(api: Api, spelling: str) -> None:
    await found_acme(api.engine)
    await api.engine.customers.grant_entitlement(ACME, {"feature": REGIONS, "enum_values": ["eu"]})
    data = (await api.get(f"{CHECK}?featureId={REGIONS}&{spelling}"))["data"]
    assert data["accessDeniedReason"] == "RequestedValuesMismatch"
    await api.engine.customers.grant_entitlement(ACME, {"feature": REGIONS, "enum_values": ["eu", "us"]})
    assert (await api.get(f"{CHECK}?featureId={REGIONS}&{spelling}"))["data"]["isGranted"] is True


async def test_an_unlimited_and_a_soft_entitlement_do_not_refuse(api: Api) -> None:
    await found_acme(api.engine, account=None)
    await api.engine.customers.grant_entitlement(ACME, {"feature": SEATS, "usage_limit": 5, "has_soft_limit": True})
    unlimited = await check(api, requestedUsage=10**12)
    assert (unlimited["isGranted"], unlimited["usageLimit"], unlimited["hasUnlimitedUsage"]) == (True, None, True)
    soft = await check(api, featureId=SEATS, requestedUsage=6)
    assert (soft["isGranted"], soft["usageLimit"], soft["hasSoftLimit"], soft["resetPeriod"]) == (True, 5, True, None)
    assert (soft["usagePeriodAnchor"], soft["usagePeriodStart"], soft["usagePeriodEnd"]) == (None, None, None)


async def test_a_fraction_is_asked_for_exactly(api: Api) -> None:
    await found_acme(api.engine, account=0.3)
    for _ in range(2):
        await count(api.engine, 0.1)
    assert (await check(api, requestedUsage="0.1"))["isGranted"] is True
    data = await check(api, requestedUsage="0.10001")
    assert (data["isGranted"], data["currentUsage"], data["requestedUsage"]) == (False, 0.2, 0.10001)


async def test_what_is_held_counts_and_is_told_beside(api: Api) -> None:
    await found_chain(api.engine, team=100)
    await count(api.engine, 10, userId="user-ann")
    await api.engine.reserve(ACME, feature=TOKENS, amount=60, dimensions={"userId": "user-ann"})
    data = await check(api, requestedUsage=31, **{"dimensions[userId]": "user-ann"})
    assert (data["isGranted"], data["currentUsage"], data["held"]) == (False, 70, 60)
    (team,) = [node for node in data["chains"][0] if node["entityId"] == "team-eng"]
    assert team == {
        "entityId": "team-eng",
        "scopeEntityIds": [],
        "usageLimit": 100,
        "currentUsage": 70,
        "isGranted": False,
        "held": 60,
    }
    assert data["bindingConstraint"]["held"] == 60
    assert (await check(api, requestedUsage=30, **{"dimensions[userId]": "user-ann"}))["isGranted"] is True


async def test_a_scoped_budget_is_a_node_of_its_own(api: Api) -> None:
    await found_acme(api.engine)
    await budget(api.engine, "user-ann", 1_000)
    await budget(api.engine, "user-ann", 10, scope=["model-large"])
    data = await check(api, **{"dimensions[userId]": "user-ann", "dimensions[modelId]": "model-large"})
    assert [(node["scopeEntityIds"], node["usageLimit"]) for node in data["chains"][0]] == [
        ([], 1_000),
        (["model-large"], 10),
    ]
    assert data["bindingConstraint"]["scopeEntityIds"] == ["model-large"]


async def test_a_feature_that_is_paid_in_credits_shows_its_wallet_and_what_it_costs(api: Api) -> None:
    await found_acme(api.engine)
    await found_credits(api, 100)
    plan = {"feature": SEATS, "usage_limit": 1_000, "credit_rate": {"currency": CREDITS, "amount": 2.5}}
    await api.engine.catalog.put_plans([{"id": "plan", "entitlements": [plan]}])
    await api.engine.subscriptions.provision(ACME, {"plan": "plan"})
    data = await check(api, featureId=SEATS, requestedUsage=41)
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, "InsufficientCredits")
    assert (data["usageLimit"], data["currentUsage"], data["cost"]) == (1_000, 0, 102.5)
    assert data["credit"] == {
        "currencyId": CREDITS,
        "currentUsage": 0,
        "usageLimit": 100,
        "timestamp": "2026-03-10T12:00:00Z",
        "usagePeriodEnd": None,
    }
    assert (data["bindingConstraint"]["entityId"], data["bindingConstraint"]["currencyId"]) == (None, CREDITS)


async def test_a_resource_has_limits_and_wallets_of_its_own(api: Api) -> None:
    await found_acme(api.engine, account=100)
    await found_credits(api)
    await api.engine.customers.put_resource(ACME, SITE)
    await count(api.engine, 60)
    await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": 7, "resource": SITE})
    assert (await check(api))["currentUsage"] == 60
    assert (await check(api, resourceId=SITE))["currentUsage"] == 0
    assert (await check(api, currencyId=CREDITS))["usageLimit"] == 100
    assert (await check(api, currencyId=CREDITS, resourceId=SITE))["usageLimit"] == 7


async def test_a_recurring_grant_says_when_the_next_one_takes_over(api: Api) -> None:
    await found_acme(api.engine)
    await api.engine.catalog.put_currencies([{"id": CREDITS}])
    credit = {"currency": CREDITS, "amount": 100, "cadence": "MONTH"}
    await api.engine.catalog.put_plans([{"id": "plan", "credits": [credit]}])
    await api.engine.subscriptions.provision(ACME, {"plan": "plan"})
    await api.engine.report(ACME, currency=CREDITS, value=130)
    data = await check(api, currencyId=CREDITS)
    assert (data["usageLimit"], data["currentUsage"]) == (100, 130)
    assert (data["usagePeriodEnd"], data["validUntil"]) == ("2026-04-10T12:00:00Z", "2026-04-10T12:00:00Z")


async def test_dimensions_that_name_nothing_lift_nothing_and_bring_no_chain(api: Api) -> None:
    await found_chain(api.engine)
    for query in ({"dimensions[nobody]": "team-eng"}, {"dimensions[teamId]": "team-none"}, {"dimensions[teamId]": ""}):
        data = await check(api, **query)
        assert (data["isGranted"], data["chains"]) == (True, [])


# What is no question.

PROBLEMS: Final[list[tuple[str, str]]] = [
    ("", "featureId: None: a check is about a featureId or a currencyId: give one of the two"),
    (f"featureId={TOKENS}&currencyId={CREDITS}", "give one of the two"),
    ("featureId=", "featureId: '': an id has"),
    ("featureId=a/b", "featureId: 'a/b': an id has"),
    ("currencyId=-a", "currencyId: '-a': an id has"),
    (f"featureId={TOKENS}&featureId={SEATS}", "featureId: 'feature-ai-tokens, feature-seats': is given more than once"),
    (f"featureId={TOKENS}&requestedUsage=", "requestedUsage: '': must be a number"),
    (f"featureId={TOKENS}&requestedUsage=much", "requestedUsage: 'much': must be a number"),
    (f"featureId={TOKENS}&requestedUsage=NaN", "requestedUsage: 'NaN': must be a number"),
    (f"featureId={TOKENS}&requestedUsage=1_000", "requestedUsage: '1_000': must be a number"),
    (f"featureId={TOKENS}&requestedUsage=-1", "requestedUsage: Decimal('-1'): the least is 0"),
    (f"featureId={TOKENS}&requestedUsage=9007199254740992", "whole numbers go to 9007199254740991"),
    (f"featureId={TOKENS}&requestedUsage=1&requestedUsage=2", "requestedUsage: '1, 2': is given more than once"),
    (f"featureId={TOKENS}&requestedValues=a,,b", "requestedValues: 'a,,b': has an empty item"),
    (f"featureId={TOKENS}&resourceId=", "resourceId: '': an id has"),
    (f"featureId={TOKENS}&dimension[teamId]=team-eng", "dimension[teamId]: 'team-eng': unknown parameter"),
    (f"featureId={TOKENS}&dimensions=team-eng", "dimensions: 'team-eng': unknown parameter"),
    (f"featureId={TOKENS}&dimensions[]=team-eng", "dimensions[]: 'team-eng': a dimension is written"),
    (f"featureId={TOKENS}&dimensions[teamId=team-eng", "dimensions[teamId: 'team-eng': a dimension is written"),
    (f"featureId={TOKENS}&dimensions[teamId][x]=team-eng", "dimensions[teamId][x]: 'team-eng': a dimension is written"),
    (f"featureId={TOKENS}&dimensions[teamId]=a&dimensions[teamId]=b", "dimensions[teamId]: 'b': is given more than"),
    (f"featureId={TOKENS}&teamId=team-eng", "teamId: 'team-eng': unknown parameter"),
    (f"featureId={TOKENS}&reservationId=job-1", "reservationId: 'job-1': needs reserveAmount"),
    (f"featureId={TOKENS}&reservationTtlSeconds=60", "reservationTtlSeconds: '60': needs reserveAmount"),
]


@pytest.mark.parametrize("version", ["v1-beta", "v1"])
@pytest.mark.parametrize(("query", "message"), PROBLEMS)
async def test_what_is_no_question_is_refused_by_name_and_changes_nothing(
    api: Api, version: str, query: str, message: str
) -> None:
    await found_chain(api.engine)
    path = f"/api/{version}/customers/{ACME}/entitlements/check?{query}"
    answer = await unchanged(api, lambda: api.get(path, status=400))
    assert answer["code"] == "BadUserInput"
    assert message in answer["message"]


async def test_a_customer_that_can_not_be_one_is_refused(api: Api) -> None:
    await found_acme(api.engine)
    answer = await api.get(f"/api/v1/customers/cus%20acme/entitlements/check?featureId={TOKENS}", status=400)
    assert answer["message"].startswith("id: 'cus acme': an id has")
    answer = await api.get("/api/v1/customers/cus%20acme/entitlements", status=400)
    assert answer["code"] == "BadUserInput"


@pytest.mark.parametrize("query", [{"featureId": TOKENS}, {"currencyId": CREDITS}, {"featureId": TOKENS, **HELD}])
async def test_a_check_that_can_not_be_answered_fails_closed_and_is_not_sent_again(query: Any) -> None:
    async with nobody_there() as client:
        response = await client.get(CHECK, params=query)
    assert (response.status_code, response.json()["code"]) == (503, "Unavailable")
    assert response.headers["x-should-retry"] == "false"


# Everything that a customer is entitled to.


async def test_entitlements_are_features_then_credits_each_in_the_shape_of_its_check(api: Api) -> None:
    await found_acme(api.engine, account=100)
    await found_credits(api)
    await api.engine.customers.grant_entitlement(ACME, {"feature": SSO})
    await api.engine.customers.grant_entitlement(ACME, {"feature": RETENTION, "usage_limit": 90})
    await api.engine.customers.grant_entitlement(ACME, {"feature": REGIONS, "enum_values": ["eu"]})
    await count(api.engine, 60)
    await api.engine.report(ACME, currency=CREDITS, value=30)
    await api.engine.reserve(ACME, currency=CREDITS, amount=20)
    data = (await api.get(ENTITLEMENTS))["data"]
    assert data["accessDeniedReason"] is None
    by_id = {(each.get("feature") or {"id": CREDITS})["id"]: each for each in data["entitlements"]}
    assert list(by_id) == [TOKENS, REGIONS, RETENTION, SSO, CREDITS]
    assert by_id[TOKENS] == {
        "isGranted": True,
        "type": "FEATURE",
        "accessDeniedReason": None,
        "feature": {
            "id": TOKENS,
            "displayName": "AI Tokens",
            "featureType": "NUMBER",
            "featureStatus": "ACTIVE",
        },
        "usageLimit": 100,
        "hasUnlimitedUsage": False,
        "resetPeriod": "MONTH",
        "currentUsage": 60,
        "usagePeriodAnchor": "2026-03-01T00:00:00Z",
        "usagePeriodStart": "2026-03-01T00:00:00Z",
        "usagePeriodEnd": "2026-04-01T00:00:00Z",
        "entitlementUpdatedAt": None,
        "validUntil": None,
        "hasSoftLimit": False,
    }
    assert (by_id[RETENTION]["usageLimit"], by_id[REGIONS]["enumValues"]) == (90, ["eu"])
    credit = by_id[CREDITS]
    assert (credit["type"], credit["usageLimit"], credit["currentUsage"], credit["reserved"]) == ("CREDIT", 100, 50, 20)
    assert credit["usageUpdatedAt"] == "2026-03-10T12:00:00Z"


async def test_entitlements_of_nobody_say_why_there_are_none(api: Api) -> None:
    await found_acme(api.engine)
    await api.engine.customers.put("cus-new")
    await api.engine.customers.put("cus-gone")
    await api.engine.customers.archive("cus-gone")
    for customer, reason in (
        ("cus-none", "CustomerNotFound"),
        ("cus-new", "NoActiveSubscription"),
        ("cus-gone", "CustomerIsArchived"),
    ):
        data = (await api.get(f"/api/v1/customers/{customer}/entitlements"))["data"]
        assert data == {"accessDeniedReason": reason, "entitlements": []}


async def test_entitlements_of_a_resource_are_its_own(api: Api) -> None:
    await found_acme(api.engine, account=100)
    await api.engine.customers.put_resource(ACME, SITE)
    await count(api.engine, 60)
    (of_site,) = (await api.get(ENTITLEMENTS, resourceId=SITE))["data"]["entitlements"]
    assert (of_site["feature"]["id"], of_site["currentUsage"]) == (TOKENS, 0)
    for query in ({"resourceId": ""}, {"resourceID": SITE}, {"featureId": TOKENS}):
        assert (await api.get(ENTITLEMENTS, status=400, **query))["code"] == "BadUserInput"
