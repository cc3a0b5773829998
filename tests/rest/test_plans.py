"""Plans over REST: creating, changing and listing them, their entitlements, and input that changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from rest.conftest import Api

START = "2026-03-10T12:00:00Z"
LATER = "2026-03-10T12:01:00Z"
PLANS = "/api/v1/plans"
PRO = f"{PLANS}/pro"
ENTITLEMENTS = f"{PRO}/entitlements"

BODY = {"id": "pro", "displayName": "Pro", "productId": "suite"}
SHOWN: dict[str, Any] = {
    **BODY,
    "description": None,
    "status": "PUBLISHED",
    "versionNumber": 1,
    "isLatest": True,
    "pricingType": "FREE",
    "billingId": None,
    "entitlements": [],
    "metadata": {},
    "createdAt": START,
    "updatedAt": START,
    "parentPlanId": None,
    "defaultTrialConfig": None,
    "compatibleAddonIds": None,
}
TOKENS = {
    "type": "FEATURE",
    "id": "tokens",
    "usageLimit": 100,
    "resetPeriod": "MONTH",
    "monthlyResetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
}
COMMON: dict[str, Any] = {
    "behavior": "Increment",
    "description": None,
    "displayNameOverride": None,
    "hasSoftLimit": False,
    "hiddenFromWidgets": [],
    "isCustom": False,
    "isGranted": True,
    "order": None,
    "createdAt": START,
    "updatedAt": START,
}
TOKENS_SHOWN = {
    **COMMON,
    "type": "FEATURE",
    "id": "tokens",
    "usageLimit": 100,
    "hasUnlimitedUsage": False,
    "enumValues": None,
    "resetPeriod": "MONTH",
    "resetPeriodConfiguration": {"accordingTo": "StartOfTheMonth"},
}
CREDITS = {"type": "CREDIT", "id": "credits", "amount": 2.5, "cadence": "MONTH"}
CREDITS_SHOWN = {**COMMON, **CREDITS, "dependencyFeatureId": None}


async def set_up(api: Api, *entitlements: dict[str, Any]) -> None:
    """A catalog with one plan."""
    await api.engine.catalog.put_features(
        [
            {"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            {"id": "seats", "feature_type": "NUMBER", "meter_type": "FLUCTUATING"},
            {"id": "sso", "feature_type": "BOOLEAN"},
            {"id": "region", "feature_type": "ENUM", "enum_values": ("eu", "us")},
        ]
    )
    await api.engine.catalog.put_currencies([{"id": "credits"}, {"id": "points"}])
    await api.send("POST", PLANS, BODY, status=201)
    if entitlements:
        await api.send("POST", ENTITLEMENTS, {"entitlements": list(entitlements)}, status=201)


async def test_a_plan_is_shown_as_it_was_created_and_is_live(api: Api) -> None:
    created = await api.send("POST", PLANS, BODY, status=201)
    assert created == {"data": SHOWN}
    assert await api.get(PRO) == created
    await api.engine.customers.put("acme")
    await api.engine.subscriptions.provision("acme", {"plan": "pro"})
    assert [each.plan for each in await api.engine.subscriptions.list("acme")] == ["pro"]


async def test_a_plan_that_is_created_again_as_it_is_stays_as_it_is(api: Api) -> None:
    await set_up(api, TOKENS)
    before = await api.engine.catalog.plans()
    again = await api.send("POST", PLANS, {**BODY, "status": "PUBLISHED", "pricingType": "FREE"}, status=201)
    assert (again["data"]["versionNumber"], len(again["data"]["entitlements"])) == (2, 1)
    assert await api.engine.catalog.plans() == before


async def test_another_plan_of_the_same_id_is_a_conflict_that_no_client_sends_again(api: Api) -> None:
    await set_up(api)
    answer = await api.client.post(PLANS, json={**BODY, "displayName": "Other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "DuplicatedEntityNotAllowed")
    assert answer.headers["x-should-retry"] == "false"
    assert (await api.engine.catalog.plans())["pro"].display_name == "Pro"


async def test_what_is_given_of_a_plan_is_changed_and_the_rest_stays(api: Api) -> None:
    await set_up(api, TOKENS)
    api.clock.advance(60_000)
    changes = {"displayName": "Professional", "description": "All of it", "metadata": {"tier": "2"}}
    changed = await api.send("PATCH", PRO, changes)
    references = [{"id": "tokens", "type": "FEATURE"}]
    expected = {**SHOWN, **changes, "entitlements": references, "versionNumber": 3, "updatedAt": LATER}
    assert changed == {"data": expected}
    assert await api.get(PRO) == changed
    cleared = await api.send("PATCH", PRO, {"description": None, "billingId": None})
    assert cleared["data"] == {**expected, "description": None, "versionNumber": 4}


async def test_a_change_of_nothing_counts_no_version(api: Api) -> None:
    await set_up(api)
    assert await api.send("PATCH", PRO, {}) == {"data": SHOWN}


async def test_plans_are_listed_by_id_on_pages_and_filtered(api: Api) -> None:
    for id, product in (("c", "suite"), ("a", "suite"), ("b", "other")):
        await api.send("POST", PLANS, {**BODY, "id": id, "productId": product}, status=201)
        api.clock.advance(60_000)
    first = await api.get(PLANS, limit=2)
    assert [each["id"] for each in first["data"]] == ["a", "b"]
    second = await api.get(PLANS, limit=2, after=first["pagination"]["next"])
    assert ([each["id"] for each in second["data"]], second["pagination"]["next"]) == (["c"], None)
    for query, ids in (
        ("productId=suite", ["a", "c"]),
        ("status=PUBLISHED,DRAFT", ["a", "b", "c"]),
        ("status=DRAFT&status=ARCHIVED", []),
        (f"createdAt[gt]={START}", ["a", "b"]),
        (f"createdAt[lte]={START}", ["c"]),
    ):
        assert [each["id"] for each in (await api.get(f"{PLANS}?{query}"))["data"]] == ids, query


async def test_publishing_answers_that_there_is_nothing_to_wait_for_and_changes_nothing(api: Api) -> None:
    await set_up(api, TOKENS)
    before = await api.engine.catalog.plans()
    published = await api.send("POST", f"{PRO}/publish", {"migrationType": "ALL_CUSTOMERS"})
    assert published == {"data": {"taskId": None}}
    refused = await api.send("POST", f"{PRO}/publish", {"migrationType": "NEW_CUSTOMERS"}, status=400)
    assert (refused["code"], "migrationType" in refused["message"]) == ("NotSupported", True)
    assert await api.engine.catalog.plans() == before


async def test_entitlements_are_shown_as_they_were_created_and_count_at_once(api: Api) -> None:
    await set_up(api)
    await api.engine.customers.put("acme")
    await api.engine.subscriptions.provision("acme", {"plan": "pro"})
    region = {"type": "FEATURE", "id": "region", "enumValues": ["us"], "order": 3, "hiddenFromWidgets": ["PAYWALL"]}
    created = await api.send("POST", ENTITLEMENTS, {"entitlements": [TOKENS, CREDITS, region]}, status=201)
    nothing = {"usageLimit": None, "resetPeriod": None, "resetPeriodConfiguration": None}
    region_shown = {**TOKENS_SHOWN, **nothing, "id": "region", "enumValues": ["us"]}
    assert created == {"data": [TOKENS_SHOWN, region_shown, CREDITS_SHOWN]}
    pagination = {"next": None, "prev": None}
    assert await api.get(ENTITLEMENTS) == {**created, "pagination": pagination}
    references = [("tokens", "FEATURE"), ("region", "FEATURE"), ("credits", "CREDIT")]
    assert [(each["id"], each["type"]) for each in (await api.get(PRO))["data"]["entitlements"]] == references
    decision = await api.engine.check("acme", feature="tokens", requested_usage=101)
    assert (decision.reason, decision.account and decision.account.limit) == ("RequestedUsageExceedingLimit", 100)
    assert (await api.engine.credits.wallet("acme", currency="credits")).balance == 2.5


@pytest.mark.parametrize(
    ("sent", "reset"),
    [
        ({"resetPeriod": "HOUR"}, ("HOUR", None)),
        ({"resetPeriod": "DAY"}, ("DAY", None)),
        ({"resetPeriod": "WEEK"}, ("WEEK", "SubscriptionStart")),
        ({"resetPeriod": "MONTH"}, ("MONTH", "SubscriptionStart")),
        ({"resetPeriod": "YEAR"}, ("YEAR", "SubscriptionStart")),
        (
            {"resetPeriod": "WEEK", "weeklyResetPeriodConfiguration": {"accordingTo": "EveryMonday"}},
            ("WEEK", "EveryMonday"),
        ),
        (
            {"resetPeriod": "YEAR", "yearlyResetPeriodConfiguration": {"accordingTo": "SubscriptionStart"}},
            ("YEAR", "SubscriptionStart"),
        ),
        ({"resetPeriod": "HOUR", "monthlyResetPeriodConfiguration": None}, ("HOUR", None)),
    ],
)
async def test_every_reset_is_shown_as_it_was_given(
    api: Api, sent: dict[str, Any], reset: tuple[str, str | None]
) -> None:
    await set_up(api, {"type": "FEATURE", "id": "tokens", "usageLimit": 1, **sent})
    (shown,) = (await api.get(ENTITLEMENTS))["data"]
    according_to = None if reset[1] is None else {"accordingTo": reset[1]}
    assert (shown["resetPeriod"], shown["resetPeriodConfiguration"]) == (reset[0], according_to)


@pytest.mark.parametrize(
    ("sent", "changed"),
    [
        ({}, {}),
        ({"usageLimit": 7}, {"usageLimit": 7}),
        ({"hasUnlimitedUsage": True}, {"usageLimit": None, "hasUnlimitedUsage": True}),
        ({"hasSoftLimit": True}, {"hasSoftLimit": True}),
        ({"resetPeriod": "DAY"}, {"resetPeriod": "DAY", "resetPeriodConfiguration": None}),
        ({"resetPeriod": "MONTH"}, {}),
        ({"resetPeriod": None}, {"resetPeriod": None, "resetPeriodConfiguration": None}),
        (
            {"monthlyResetPeriodConfiguration": {"accordingTo": "SubscriptionStart"}},
            {"resetPeriodConfiguration": {"accordingTo": "SubscriptionStart"}},
        ),
        ({"description": "ignored", "isCustom": True, "isGranted": True, "order": 1.5}, {}),
    ],
)
async def test_what_is_given_of_an_entitlement_is_changed(
    api: Api, sent: dict[str, Any], changed: dict[str, Any]
) -> None:
    await set_up(api, TOKENS, CREDITS)
    answer = await api.send("PATCH", f"{ENTITLEMENTS}/tokens", {"type": "FEATURE", **sent})
    assert answer == {"data": {**TOKENS_SHOWN, **changed}}
    assert (await api.get(ENTITLEMENTS))["data"] == [{**TOKENS_SHOWN, **changed}, CREDITS_SHOWN]


async def test_a_limit_takes_the_place_of_unlimited_usage(api: Api) -> None:
    await set_up(api, {"type": "FEATURE", "id": "tokens", "hasUnlimitedUsage": True})
    answer = await api.send("PATCH", f"{ENTITLEMENTS}/tokens", {"type": "FEATURE", "usageLimit": 5})
    assert (answer["data"]["usageLimit"], answer["data"]["hasUnlimitedUsage"]) == (5, False)


async def test_what_is_given_of_credits_is_changed(api: Api) -> None:
    await set_up(api, TOKENS, CREDITS)
    changes = {"amount": 10, "cadence": "YEAR", "hasSoftLimit": True}
    answer = await api.send("PATCH", f"{ENTITLEMENTS}/credits", {"type": "CREDIT", **changes})
    assert answer == {"data": {**CREDITS_SHOWN, **changes}}
    assert (await api.get(ENTITLEMENTS))["data"] == [TOKENS_SHOWN, {**CREDITS_SHOWN, **changes}]


async def test_what_only_the_library_can_say_stays_when_something_else_is_changed(api: Api) -> None:
    await set_up(api)
    seats = {"feature": "seats", "usage_limit": 5, "per_unit": True}
    rate = {"currency": "credits", "amount": 2}
    reset = {"reset_period": "MONTH", "zone": "Europe/Berlin"}
    tokens = {"feature": "tokens", "usage_limit": 10, "credit_rate": rate, **reset}
    credit = {"currency": "credits", "amount": 3, "cadence": "MONTH", "per_unit": True}
    await api.engine.catalog.put_plans([{"id": "pro", "entitlements": [seats, tokens], "credits": [credit]}])
    for id, kind, changes in (
        ("seats", "FEATURE", {"usageLimit": 6}),
        ("tokens", "FEATURE", {"usageLimit": 11, "resetPeriod": "DAY"}),
        ("credits", "CREDIT", {"amount": 4}),
    ):
        await api.send("PATCH", f"{ENTITLEMENTS}/{id}", {"type": kind, **changes})
    await api.send("PATCH", PRO, {"displayName": "Pro"})
    plan = (await api.engine.catalog.plans())["pro"]
    of_seats, of_tokens = plan.entitlements
    assert (of_seats.usage_limit, of_seats.per_unit) == (6, True)
    assert (of_tokens.usage_limit, of_tokens.reset_period, of_tokens.zone) == (11, "DAY", "Europe/Berlin")
    assert of_tokens.credit_rate is not None
    assert (of_tokens.credit_rate.currency, of_tokens.credit_rate.amount) == ("credits", 2)
    assert [(each.amount, each.per_unit) for each in plan.credits] == [(4, True)]


async def test_an_entitlement_that_is_taken_away_is_answered_and_counts_no_more(api: Api) -> None:
    await set_up(api, TOKENS, CREDITS)
    await api.engine.customers.put("acme")
    await api.engine.subscriptions.provision("acme", {"plan": "pro"})
    assert await api.send("DELETE", f"{ENTITLEMENTS}/tokens") == {"data": TOKENS_SHOWN}
    assert (await api.get(ENTITLEMENTS))["data"] == [CREDITS_SHOWN]
    assert (await api.engine.check("acme", feature="tokens")).reason == "NoFeatureEntitlementInSubscription"
    assert await api.send("DELETE", f"{ENTITLEMENTS}/credits") == {"data": CREDITS_SHOWN}
    assert (await api.get(ENTITLEMENTS))["data"] == []


async def test_an_entitlement_that_is_created_again_as_it_is_stays_as_it_is(api: Api) -> None:
    await set_up(api, TOKENS)
    again = await api.send("POST", ENTITLEMENTS, {"entitlements": [TOKENS, CREDITS]}, status=201)
    assert again == {"data": [TOKENS_SHOWN, CREDITS_SHOWN]}
    other = {"entitlements": [{**TOKENS, "usageLimit": 7}]}
    answer = await api.send("POST", ENTITLEMENTS, other, status=409)
    assert answer["code"] == "DuplicatedEntityNotAllowed"
    assert (await api.get(ENTITLEMENTS))["data"] == again["data"]


async def test_two_writers_do_not_lose_each_others_entitlements(api: Api) -> None:
    await set_up(api, CREDITS)
    other = api.target.open_blocking()
    theirs = [{"feature": "seats", "usage_limit": 5}, {"feature": "sso"}]
    credit = {"currency": "credits", "amount": 9, "cadence": "MONTH"}
    api.target.before(
        "write_catalog", lambda: other.catalog.put_plans([{"id": "pro", "entitlements": theirs, "credits": [credit]}])
    )
    created = await api.send("POST", ENTITLEMENTS, {"entitlements": [TOKENS]}, status=201)
    assert [each["id"] for each in created["data"]] == ["tokens"]
    plan = (await api.engine.catalog.plans())["pro"]
    assert [each.feature for each in plan.entitlements] == ["seats", "sso", "tokens"]
    assert [each.amount for each in plan.credits] == [9]


async def test_an_id_that_names_two_entitlements_is_a_conflict(api: Api) -> None:
    await set_up(api)
    both = [{"currency": "credits", "amount": 1, "cadence": cadence} for cadence in ("MONTH", "YEAR")]
    await api.engine.catalog.put_plans([{"id": "pro", "credits": both}])
    answer = await api.send("DELETE", f"{ENTITLEMENTS}/credits", status=409)
    assert answer["code"] == "Conflict"
    assert "'credits' names 2 entitlements of plan 'pro'" in answer["message"]
    changed = await api.send("PATCH", f"{ENTITLEMENTS}/credits", {"type": "CREDIT", "cadence": "YEAR", "amount": 5})
    assert (changed["data"]["cadence"], changed["data"]["amount"]) == ("YEAR", 5)
    assert [each.amount for each in (await api.engine.catalog.plans())["pro"].credits] == [1, 5]


CREATE = ("POST", PLANS)
CHANGE = ("PATCH", PRO)
ADD = ("POST", ENTITLEMENTS)
TUNE = ("PATCH", f"{ENTITLEMENTS}/tokens")
FEATURE = {"type": "FEATURE", "id": "seats", "usageLimit": 5}


def added(**changes: Any) -> dict[str, Any]:
    return {"entitlements": [FEATURE, {**FEATURE, "id": "sso", "usageLimit": None, **changes}]}


BAD: list[tuple[tuple[str, str], Any, int, str, str]] = [
    (CREATE, {**BODY, "id": "new", "status": "DRAFT"}, 400, "NotSupported", "status: 'DRAFT': what is written is live"),
    (CREATE, {**BODY, "id": "new", "status": "ARCHIVED"}, 400, "NotSupported", "status: 'ARCHIVED'"),
    (CREATE, {**BODY, "id": "new", "pricingType": "PAID"}, 400, "NotSupported", "pricingType: 'PAID'"),
    (CREATE, {**BODY, "id": "new", "billingId": "b"}, 400, "NotSupported", "billingId: 'b': is not built"),
    (CREATE, {**BODY, "id": "new", "parentPlanId": "pro"}, 400, "NotSupported", "parentPlanId: 'pro'"),
    (
        CREATE,
        {**BODY, "id": "new", "defaultTrialConfig": {"duration": 1, "units": "DAY"}},
        400,
        "NotSupported",
        "defaultTrialConfig",
    ),
    (CREATE, {**BODY, "id": "no id"}, 400, "BadUserInput", "id: 'no id': an id has"),
    (CREATE, {**BODY, "id": "new", "productId": "{"}, 400, "BadUserInput", "productId: '{': an id has"),
    (CREATE, {"id": "new", "displayName": "New"}, 400, "BadUserInput", "productId: "),
    (CREATE, {**BODY, "id": "new", "price": 1}, 400, "BadUserInput", "price: 1: unknown field"),
    (CREATE, {**BODY, "id": "new", "maxQuantity": 1}, 400, "BadUserInput", "maxQuantity: 1: unknown field"),
    (CREATE, {**BODY, "id": "new", "metadata": {"a": 1}}, 400, "BadUserInput", "metadata.a: 1"),
    (CHANGE, {"id": "other"}, 400, "BadUserInput", "id: 'other': unknown field"),
    (CHANGE, {"charges": {}}, 400, "NotSupported", "charges: {}"),
    (CHANGE, {"compatibleAddonIds": ["a"]}, 400, "NotSupported", "compatibleAddonIds: ['a']"),
    (CHANGE, {"displayName": 5}, 400, "BadUserInput", "displayName: 5"),
    (("PATCH", f"{PLANS}/none"), {"displayName": "x"}, 404, "PlanNotFound", "plan 'none' was not found"),
    (("PATCH", f"{PLANS}/%7B"), {"displayName": "x"}, 400, "BadUserInput", "id: '{': an id has"),
    (("GET", f"{PLANS}/none"), None, 404, "PlanNotFound", "plan 'none' was not found"),
    (("GET", f"{PLANS}/none/entitlements"), None, 404, "PlanNotFound", "plan 'none'"),
    (("GET", f"{PLANS}?dimension=a"), None, 400, "BadUserInput", "dimension: 'a': unknown parameter"),
    (("GET", f"{PLANS}?status=LIVE"), None, 400, "BadUserInput", "status: 'LIVE': must be one of"),
    (("GET", f"{PLANS}?createdAt[gt]=soon"), None, 400, "BadUserInput", "createdAt[gt]: 'soon'"),
    (("GET", f"{ENTITLEMENTS}?limit=5"), None, 400, "BadUserInput", "limit: '5': unknown parameter"),
    (("POST", f"{PLANS}/none/publish"), {"migrationType": "ALL_CUSTOMERS"}, 404, "PlanNotFound", "plan 'none'"),
    (("POST", f"{PRO}/publish"), {"migrationType": "ALL"}, 400, "BadUserInput", "migrationType: 'ALL'"),
    (("POST", f"{PLANS}/none/entitlements"), {"entitlements": [FEATURE]}, 404, "PlanNotFound", "plan 'none'"),
    (ADD, {"entitlements": []}, 400, "BadUserInput", "entitlements: "),
    (ADD, added(id="none"), 400, "BadUserInput", "entitlements[1].id: 'none': there is no such feature"),
    (ADD, added(id="region"), 400, "BadUserInput", "entitlements[1].enumValues: "),
    (ADD, added(usageLimit=5), 400, "BadUserInput", "entitlements[1].usageLimit: 5.0: 'sso' is BOOLEAN"),
    (ADD, added(id="tokens"), 409, "DuplicatedEntityNotAllowed", "entitlement 'tokens' is there already"),
    (ADD, added(behavior="Override"), 400, "BadUserInput", "entitlements[1].behavior: 'OVERRIDE': a plan has nothing"),
    (ADD, added(isGranted=False), 400, "NotSupported", "isGranted: False"),
    (ADD, added(type="OTHER"), 400, "BadUserInput", "entitlements[1]"),
    (ADD, added(resetPeriod="DECADE"), 400, "BadUserInput", "entitlements[1].FEATURE.resetPeriod: 'DECADE'"),
    (
        ADD,
        added(monthlyResetPeriodConfiguration={"accordingTo": "SubscriptionStart"}),
        400,
        "BadUserInput",
        "monthlyResetPeriodConfiguration: 'SubscriptionStart': goes with the resetPeriod MONTH",
    ),
    (ADD, {"entitlements": [FEATURE, {**CREDITS, "id": "none"}]}, 400, "BadUserInput", "entitlements[1].id: 'none'"),
    (ADD, {"entitlements": [FEATURE, {**CREDITS, "amount": 0}]}, 400, "BadUserInput", "entitlements[1].amount: 0"),
    (ADD, {"entitlements": [{**CREDITS, "dependencyFeatureId": "seats"}]}, 400, "NotSupported", "dependencyFeatureId"),
    (ADD, {"entitlements": [{**CREDITS, "behavior": "Override"}]}, 400, "NotSupported", "behavior: 'Override'"),
    (TUNE, {"type": "FEATURE", "usageLimit": -1}, 400, "BadUserInput", "usageLimit: -1.0"),
    (TUNE, {"type": "FEATURE", "usageLimit": 5, "hasUnlimitedUsage": True}, 400, "BadUserInput", "usageLimit"),
    (TUNE, {"type": "FEATURE", "enumValues": ["eu"]}, 400, "BadUserInput", "enumValues: ('eu',): 'tokens' is NUMBER"),
    (TUNE, {"type": "CREDIT", "amount": 5}, 404, "EntitlementNotFound", "entitlement 'tokens' of plan 'pro'"),
    (TUNE, {"usageLimit": 5}, 400, "BadUserInput", "type"),
    (
        ("PATCH", f"{ENTITLEMENTS}/seats"),
        {"type": "FEATURE", "usageLimit": 5},
        404,
        "EntitlementNotFound",
        "entitlement 'seats' of plan 'pro' was not found",
    ),
    (("DELETE", f"{ENTITLEMENTS}/seats"), None, 404, "EntitlementNotFound", "entitlement 'seats' of plan 'pro'"),
    (("DELETE", f"{PLANS}/none/entitlements/tokens"), None, 404, "PlanNotFound", "plan 'none'"),
]


async def test_bad_input_is_named_and_changes_nothing(api: Api) -> None:
    await set_up(api, TOKENS)
    before = await api.engine.catalog.plans()
    for (method, path), body, status, code, message in BAD:
        answer = await api.send(method, path, body, status=status)
        assert (answer["code"], message in answer["message"]) == (code, True), (method, path, body, answer)
        assert await api.engine.catalog.plans() == before, (method, path, body)
