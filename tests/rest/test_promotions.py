"""Promotional entitlements over REST: given for a span of the calendar, listed with the expired ones, and revoked."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.targets import NOW_MS
from behaviour.world import ACME, FEATURES, REGIONS, SEATS, SSO, TOKENS
from rest.conftest import Api
from rest.failing import unchanged
from rest.governed import START, every_page

PATH = f"/api/v1/customers/{ACME}/promotional-entitlements"
MINUTE_MS, DAY_MS = 60_000, 86_400_000
LATER = "2026-03-10T12:01:00Z"
ACCESS = {"featureId": SSO, "period": "lifetime"}
AS_THE_CLIENT_SENDS = {
    "customEndDate": None,
    "enumValues": None,
    "featureId": TOKENS,
    "hasSoftLimit": None,
    "hasUnlimitedUsage": False,
    "isVisible": None,
    "monthlyResetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
    "period": "1 month",
    "resetPeriod": "MONTH",
    "usageLimit": 500,
    "weeklyResetPeriodConfiguration": None,
    "yearlyResetPeriodConfiguration": None,
}
TOKENS_SHOWN = {
    "id": TOKENS,
    "featureId": TOKENS,
    "description": None,
    "featureGroupIds": None,
    "status": "Active",
    "period": "1 month",
    "startDate": START,
    "endDate": "2026-04-10T12:00:00Z",
    "usageLimit": 500,
    "hasUnlimitedUsage": False,
    "hasSoftLimit": False,
    "enumValues": None,
    "isVisible": True,
    "resetPeriod": "MONTH",
    "resetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
    "createdAt": START,
    "updatedAt": START,
}


@pytest.fixture(autouse=True)
async def customer(api: Api) -> None:
    """A customer that was given nothing."""
    await api.engine.catalog.put_features(FEATURES)
    await api.engine.customers.put(ACME)


async def grant(api: Api, *entitlements: dict[str, Any]) -> list[Any]:
    answer = await api.send("POST", PATH, {"promotionalEntitlements": entitlements})
    found: list[Any] = answer["data"]
    return found


async def test_an_entitlement_is_shown_as_it_was_granted_and_counts_from_the_next_call_on(api: Api) -> None:
    shown = {**TOKENS_SHOWN, "environmentId": api.engine.environment}
    assert await grant(api, AS_THE_CLIENT_SENDS) == [shown]
    assert await api.get(PATH) == {"data": [shown], "pagination": {"next": None, "prev": None}}
    decision = await api.engine.check(ACME, feature=TOKENS, requested_usage=501)
    assert (decision.granted, decision.binding and decision.binding.limit) == (False, 500)


@pytest.mark.parametrize(
    ("period", "end"),
    [
        ("1 week", "2026-03-17T12:00:00Z"),
        ("1 month", "2026-04-10T12:00:00Z"),
        ("6 month", "2026-09-10T12:00:00Z"),
        ("1 year", "2027-03-10T12:00:00Z"),
        ("lifetime", None),
    ],
)
async def test_a_period_ends_on_the_calendar_counted_from_the_server_s_time(
    api: Api, period: str, end: str | None
) -> None:
    (given,) = await grant(api, {"featureId": SSO, "period": period})
    assert (given["period"], given["startDate"], given["endDate"]) == (period, START, end)
    (listed,) = (await api.get(PATH))["data"]
    assert listed == given


async def test_a_month_from_the_end_of_january_ends_with_february(api: Api) -> None:
    api.clock.set(1_769_860_800_000)  # 2026-01-31 12:00 UTC
    (given,) = await grant(api, {"featureId": SSO, "period": "1 month"})
    assert (given["endDate"], given["period"]) == ("2026-02-28T12:00:00Z", "1 month")


async def test_a_custom_period_says_when_it_ends(api: Api) -> None:
    (given,) = await grant(api, {"featureId": SSO, "period": "custom", "customEndDate": "2026-03-20T02:00:00+02:00"})
    assert (given["period"], given["endDate"]) == ("custom", "2026-03-20T00:00:00Z")
    api.clock.set(NOW_MS + 10 * DAY_MS)
    assert not (await api.engine.check(ACME, feature=SSO)).granted


async def test_granting_a_feature_again_takes_the_place_of_what_was_given_and_keeps_what_was_used(api: Api) -> None:
    await grant(api, {**AS_THE_CLIENT_SENDS, "monthlyResetPeriodConfiguration": None})
    await api.engine.report(ACME, feature=TOKENS, value=40)
    api.clock.advance(MINUTE_MS)
    (again,) = await grant(
        api, {**AS_THE_CLIENT_SENDS, "monthlyResetPeriodConfiguration": None, "usageLimit": 50, "period": "1 week"}
    )
    assert (again["createdAt"], again["updatedAt"], again["startDate"]) == (START, LATER, LATER)
    assert (again["period"], again["endDate"]) == ("1 week", "2026-03-17T12:01:00Z")
    decision = await api.engine.check(ACME, feature=TOKENS, requested_usage=11)
    assert (decision.granted, decision.binding and decision.binding.used) == (False, 40)
    assert len((await api.get(PATH))["data"]) == 1


async def test_granting_the_same_for_ever_again_changes_nothing(api: Api) -> None:
    (given,) = await grant(api, ACCESS)
    api.clock.advance(MINUTE_MS)
    assert await unchanged(api, lambda: grant(api, ACCESS)) == [given]


async def test_soft_unlimited_and_enum_entitlements_are_shown_as_such(api: Api) -> None:
    soft, unlimited, regions = await grant(
        api,
        {**ACCESS, "featureId": SEATS, "usageLimit": 2.5, "hasSoftLimit": True, "isVisible": False},
        {**ACCESS, "featureId": TOKENS, "hasUnlimitedUsage": True, "resetPeriod": "HOUR"},
        {**ACCESS, "featureId": REGIONS, "enumValues": ["eu", "us"]},
    )
    assert (soft["usageLimit"], soft["hasSoftLimit"], soft["isVisible"]) == (2.5, True, True)
    assert (unlimited["usageLimit"], unlimited["hasUnlimitedUsage"]) == (None, True)
    assert (unlimited["resetPeriod"], unlimited["resetPeriodConfiguration"]) == ("HOUR", None)
    assert (regions["enumValues"], regions["period"]) == (["eu", "us"], "lifetime")


async def test_one_that_expired_stays_in_the_list_and_one_that_was_revoked_does_not(api: Api) -> None:
    await grant(api, {"featureId": SSO, "period": "1 week"}, {**ACCESS, "featureId": SEATS, "usageLimit": 5})
    await grant(api, {**ACCESS, "featureId": REGIONS, "enumValues": ["eu"]})
    await api.send("DELETE", f"{PATH}/{REGIONS}")
    api.clock.advance(7 * DAY_MS)

    async def found(query: str = "") -> dict[str, str]:
        return {each["featureId"]: each["status"] for each in (await api.get(f"{PATH}{query}"))["data"]}

    assert await found() == {SEATS: "Active", SSO: "Expired"}
    assert await found("?status=Active") == {SEATS: "Active"}
    assert await found("?status=Expired") == {SSO: "Expired"}
    assert await found("?status=Active,Expired") == {SEATS: "Active", SSO: "Expired"}
    assert await found("?status=Paused") == {}


async def test_entitlements_are_paged_by_feature_and_found_by_creation(api: Api) -> None:
    await grant(api, ACCESS)
    api.clock.advance(MINUTE_MS)
    await grant(api, {**ACCESS, "featureId": SEATS, "usageLimit": 5})
    assert [each["featureId"] for each in await every_page(api, PATH, limit=1)] == [SEATS, SSO]
    assert [each["featureId"] for each in await every_page(api, PATH, **{"createdAt[gt]": START})] == [SEATS]
    assert [each["featureId"] for each in await every_page(api, PATH, **{"createdAt[lte]": START})] == [SSO]


async def test_a_revoked_entitlement_ended_then_and_revoking_it_again_changes_nothing(api: Api) -> None:
    (given,) = await grant(api, AS_THE_CLIENT_SENDS)
    api.clock.advance(MINUTE_MS)
    revoked = await api.send("DELETE", f"{PATH}/{TOKENS}")
    assert revoked == {"data": {**given, "status": "Expired", "endDate": LATER, "updatedAt": LATER}}
    assert (await api.engine.check(ACME, feature=TOKENS)).reason == "Revoked"
    api.clock.advance(MINUTE_MS)
    assert await unchanged(api, lambda: api.send("DELETE", f"{PATH}/{TOKENS}")) == revoked
    (again,) = await grant(api, AS_THE_CLIENT_SENDS)
    assert (again["status"], again["createdAt"]) == ("Active", START)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no feature": ({"period": "lifetime"}, "promotionalEntitlements[1].featureId: is required"),
    "no period": ({"featureId": SEATS}, "promotionalEntitlements[1].period: is required"),
    "an unknown period": ({"period": "2 weeks"}, "promotionalEntitlements[1].period: '2 weeks'"),
    "a custom period without an end": ({"period": "custom"}, "customEndDate: goes with the period custom"),
    "an end beside a period": ({"period": "1 week", "customEndDate": "2027-01-01"}, "only with that"),
    "an end that is none": ({"period": "custom", "customEndDate": "soon"}, "customEndDate: 'soon'"),
    "an end in the past": (
        {"period": "custom", "customEndDate": START, "usageLimit": 5},
        "promotionalEntitlements[1].customEndDate",
    ),
    "a limit below 0": ({"usageLimit": -1}, "promotionalEntitlements[1].usageLimit"),
    "a limit that is text": ({"usageLimit": "5"}, "promotionalEntitlements[1].usageLimit"),
    "a limit beside none": ({"usageLimit": 5, "hasUnlimitedUsage": True}, "an unlimited entitlement has none"),
    "an unknown reset": ({"resetPeriod": "MINUTE"}, "promotionalEntitlements[1].resetPeriod"),
    "a week of a month": (
        {"resetPeriod": "MONTH", "weeklyResetPeriodConfiguration": {"accordingTo": "EveryMonday"}},
        "weeklyResetPeriodConfiguration: goes with the resetPeriod WEEK",
    ),
    "a month by weekdays": (
        {"resetPeriod": "MONTH", "monthlyResetPeriodConfiguration": {"accordingTo": "EveryMonday"}},
        "accordingTo",
    ),
    "values of a number": ({"enumValues": ["eu"]}, "promotionalEntitlements[1].enumValues"),
    "an unknown value": (
        {"featureId": REGIONS, "enumValues": ["mars"]},
        "promotionalEntitlements[1].enumValues",
    ),
    "the same feature twice": ({"featureId": SSO}, f"{SSO} is there more often"),
    "an unknown field": ({"color": "red"}, "promotionalEntitlements[1].color: 'red': unknown field"),
    "an id that is none": ({"featureId": "a b"}, "promotionalEntitlements[1].featureId"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=list(BAD))
async def test_where_one_is_bad_none_is_granted(api: Api, case: tuple[dict[str, Any], str]) -> None:
    fields, told = case
    bare = {} if "is required" in told else {"featureId": SEATS, "period": "lifetime", "usageLimit": None}
    body = {"promotionalEntitlements": [ACCESS, {**bare, **fields}]}
    answer = await unchanged(api, lambda: api.send("POST", PATH, body, status=400))
    assert answer["code"] == "BadUserInput"
    assert told in answer["message"]


@pytest.mark.parametrize("entitlements", [[], [{**ACCESS, "featureId": f"f-{index}"} for index in range(101)], None])
async def test_a_call_grants_1_to_100(api: Api, entitlements: Any) -> None:
    body = {"promotionalEntitlements": entitlements}
    answer = await unchanged(api, lambda: api.send("POST", PATH, body, status=400))
    assert "promotionalEntitlements" in answer["message"]


async def test_where_a_feature_is_unknown_none_is_granted(api: Api) -> None:
    body = {"promotionalEntitlements": [ACCESS, {**ACCESS, "featureId": "nothing"}]}
    answer = await unchanged(api, lambda: api.send("POST", PATH, body, status=404))
    assert answer["code"] == "FeatureNotFound"


async def test_what_was_never_granted_is_not_revoked(api: Api) -> None:
    answer = await unchanged(api, lambda: api.send("DELETE", f"{PATH}/{SSO}", status=404))
    assert answer["code"] == "EntitlementNotFound"


@pytest.mark.parametrize("query", ["status=Late", "status=active", "feature=x", "createdAt[gt]=soon", "limit=101"])
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    answer = await api.get(f"{PATH}?{query}", status=400)
    assert (answer["code"], query.partition("=")[0] in answer["message"]) == ("BadUserInput", True)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("POST", "", {"promotionalEntitlements": [ACCESS]}), ("DELETE", f"/{SSO}", None)],
)
async def test_an_unknown_customer_is_404(api: Api, method: str, path: str, body: Any) -> None:
    nobody = f"/api/v1/customers/nobody/promotional-entitlements{path}"
    answer = await unchanged(api, lambda: api.send(method, nobody, body, status=404))
    assert answer["code"] == "CustomerNotFound"
