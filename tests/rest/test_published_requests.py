"""Every request of the published page "Check and ingest", word for word, but for that of event reporting.

The world is the page's: team-eng below org-acme, 200,000 and 1,000,000 tokens a month; `cus-acme` has what it shows.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from behaviour.test_published_example import PUBLISHED, use_as_published
from behaviour.world import ACME, TOKENS, budget, count, used
from rest.conftest import Api

CHECK: Final = "/api/v1-beta/customers/cus-acme/entitlements/check"
CALLS: Final = "feature-api-calls"
CREDITS: Final = "currency-ai-tokens"


async def found_page(api: Api) -> None:
    """Bring about what the page's answer shows: the account was set to its number."""
    await use_as_published(api.engine)
    await count(api.engine, 42_311, "SET")


@pytest.mark.parametrize("version", ["v1-beta", "v1"])
async def test_the_check_by_feature_has_the_published_answer(api: Api, version: str) -> None:
    await found_page(api)
    before = api.target.dump()
    query = "featureId=feature-ai-tokens&requestedUsage=1000&dimensions[teamId]=team-eng"
    answer = await api.get(f"/api/{version}/customers/cus-acme/entitlements/check?{query}")
    assert answer.keys() == {"data"}
    assert {name: answer["data"][name] for name in PUBLISHED} == PUBLISHED
    assert api.target.dump() == before


async def test_the_answer_has_what_the_schema_says_beside_the_published_fields(api: Api) -> None:
    await found_page(api)
    data = (await api.get(f"{CHECK}?featureId=feature-ai-tokens&dimensions[teamId]=team-eng"))["data"]
    assert {name: value for name, value in data.items() if name not in PUBLISHED} == {
        "usagePeriodAnchor": "2026-03-01T00:00:00Z",
        "usagePeriodStart": "2026-03-01T00:00:00Z",
        "usagePeriodEnd": "2026-04-01T00:00:00Z",
        "entitlementUpdatedAt": None,
        "validUntil": "2026-04-01T00:00:00Z",
        "requestedUsage": 1,
        "hasSoftLimit": False,
        "bindingConstraint": {
            "entityId": "team-eng",
            "scopeEntityIds": [],
            "usageLimit": 200_000,
            "currentUsage": 42_311,
            "held": 0,
            "resetsAt": "2026-04-10T12:00:00Z",
        },
    }


async def test_without_an_assignment_the_check_grants_with_an_empty_array_of_chains(api: Api) -> None:
    await found_page(api)
    await api.engine.governance.put_entities(ACME, [{"id": "team-new", "type": "team"}])
    data = (await api.get(f"{CHECK}?featureId=feature-ai-tokens&requestedUsage=1000&dimensions[teamId]=team-new"))[
        "data"
    ]
    assert (data["isGranted"], data["chains"]) == (True, [])


async def test_the_check_by_credit_has_the_numbers_of_the_wallet_and_of_each_budget(api: Api) -> None:
    await found_page(api)
    await api.engine.catalog.put_currencies([{"id": CREDITS, "display_name": "AI credits", "unit_plural": "credits"}])
    await api.engine.credits.grant(ACME, {"currency": CREDITS, "amount": 5_000})
    await budget(api.engine, "team-eng", 2_000, feature=None, currency=CREDITS)
    query = "currencyId=currency-ai-tokens&requestedUsage=1000&dimensions[teamId]=team-eng"
    data = (await api.get(f"{CHECK}?{query}"))["data"]
    assert data == {
        "isGranted": True,
        "type": "CREDIT",
        "accessDeniedReason": None,
        "currency": {
            "currencyId": CREDITS,
            "displayName": "AI credits",
            "description": None,
            "unitSingular": None,
            "unitPlural": "credits",
            "metadata": {},
        },
        "usageLimit": 5_000,
        "currentUsage": 0,
        "usageUpdatedAt": "2026-03-10T12:00:00Z",
        "usagePeriodEnd": None,
        "entitlementUpdatedAt": None,
        "validUntil": "2026-04-10T12:00:00Z",
        "reserved": 0,
        "reservedOnExpiredGrants": None,
        "reservation": None,
        "chains": [
            [
                {
                    "entityId": "team-eng",
                    "scopeEntityIds": [],
                    "usageLimit": 2_000,
                    "currentUsage": 0,
                    "isGranted": True,
                    "currencyId": CREDITS,
                }
            ]
        ],
        "requestedUsage": 1_000,
        "hasSoftLimit": False,
        "bindingConstraint": {
            "entityId": "team-eng",
            "scopeEntityIds": [],
            "usageLimit": 2_000,
            "currentUsage": 0,
            "held": 0,
            "resetsAt": "2026-04-10T12:00:00Z",
            "currencyId": CREDITS,
        },
    }


async def test_the_binding_constraint_is_found_as_the_page_finds_it(api: Api) -> None:
    await found_page(api)
    await count(api.engine, 157_500, teamId="team-eng")
    await count(api.engine, 0, "SET")  # the account has room
    data = (await api.get(f"{CHECK}?featureId=feature-ai-tokens&requestedUsage=500&dimensions[teamId]=team-eng"))[
        "data"
    ]
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, "BudgetExceeded")
    denied = next(node for chain in data["chains"] for node in chain if not node["isGranted"])
    assert (denied["entityId"], denied["usageLimit"] - denied["currentUsage"]) == ("team-eng", 189)
    assert data["bindingConstraint"]["entityId"] == "team-eng"


async def test_the_report_of_usage_is_counted_on_the_account_the_team_and_its_organisation(api: Api) -> None:
    await found_page(api)
    body = {
        "usages": [
            {
                "customerId": "cus-acme",
                "featureId": "feature-ai-tokens",
                "value": 1250,
                "dimensions": {"teamId": "team-eng"},
            }
        ]
    }
    (record,) = (await api.send("POST", "/api/v1/usage", body, status=201))["data"]
    assert record.pop("id")
    assert record == {
        "createdAt": "2026-03-10T12:00:00Z",
        "customerId": "cus-acme",
        "featureId": "feature-ai-tokens",
        "timestamp": "2026-03-10T12:00:00Z",
        "value": 1250,
        "currentUsage": 43_561,
        "nextResetDate": "2026-04-01T00:00:00Z",
        "usagePeriodStart": "2026-03-01T00:00:00Z",
        "usagePeriodEnd": "2026-04-01T00:00:00Z",
        "resourceId": None,
        "credit": None,
    }
    numbers = await used(api.engine)
    assert numbers == {"account": 43_561, "org-acme": 88_700, "team-eng": 43_561, "team-ops": 45_139}


async def test_the_batch_of_reports_is_counted_record_by_record(api: Api) -> None:
    await found_page(api)
    feature = {"id": CALLS, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}
    await api.engine.catalog.put_features([feature])
    dimensions = {"teamId": "team-eng"}
    usages: list[dict[str, Any]] = [
        {"customerId": "cus-acme", "featureId": "feature-api-calls", "value": 1, "dimensions": dimensions},
        {"customerId": "cus-acme", "featureId": "feature-ai-tokens", "value": 2500, "dimensions": dimensions},
    ]
    records = (await api.send("POST", "/api/v1/usage", {"usages": usages}, status=201))["data"]
    assert [(each["featureId"], each["value"], each["currentUsage"]) for each in records] == [
        (CALLS, 1, 1),
        (TOKENS, 2500, 44_811),
    ]
    assert (await used(api.engine))["team-eng"] == 44_811


async def test_a_report_is_not_gated(api: Api) -> None:
    await found_page(api)
    usage = {"customerId": ACME, "featureId": TOKENS, "value": 500_000, "dimensions": {"teamId": "team-eng"}}
    (record,) = (await api.send("POST", "/api/v1/usage", {"usages": [usage]}, status=201))["data"]
    assert record["currentUsage"] == 542_311
    data = (await api.get(f"{CHECK}?featureId=feature-ai-tokens&dimensions[teamId]=team-eng"))["data"]
    assert (data["isGranted"], data["accessDeniedReason"]) == (False, "RequestedUsageExceedingLimit")


async def consume_tokens(api: Api, token_count: int) -> dict[str, Any]:
    """The page's whole pattern: check, then report only what was allowed."""
    query = {"featureId": TOKENS, "requestedUsage": token_count, "dimensions[teamId]": "team-eng"}
    data = (await api.get(CHECK, **query))["data"]
    if not data["isGranted"]:
        denied = next((node for chain in data.get("chains", []) for node in chain if not node["isGranted"]), None)
        return {"allowed": False, "remaining": denied["usageLimit"] - denied["currentUsage"] if denied else 0}
    usage = {"customerId": ACME, "featureId": TOKENS, "value": token_count, "dimensions": {"teamId": "team-eng"}}
    await api.send("POST", "/api/v1/usage", {"usages": [usage]}, status=201)
    return {"allowed": True}


async def test_the_full_pattern_allows_until_the_limit_is_reached_and_says_what_is_left(api: Api) -> None:
    await found_page(api)
    assert await consume_tokens(api, 157_000) == {"allowed": True}
    assert await consume_tokens(api, 690) == {"allowed": False, "remaining": 689}
    assert await consume_tokens(api, 689) == {"allowed": True}
    assert await consume_tokens(api, 1) == {"allowed": False, "remaining": 0}
    assert (await used(api.engine))["team-eng"] == 200_000
