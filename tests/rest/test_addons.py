"""Add-ons over REST: what differs from plans, and that both are one implementation."""

from __future__ import annotations

from typing import Any

from rest.conftest import Api

START = "2026-03-10T12:00:00Z"
ADDONS = "/api/v1/addons"
BOOST = f"{ADDONS}/boost"
ENTITLEMENTS = f"{BOOST}/entitlements"

BODY = {"id": "boost", "displayName": "Boost", "productId": "suite", "description": "More", "metadata": {"kind": "x"}}
SHOWN: dict[str, Any] = {
    **BODY,
    "status": "PUBLISHED",
    "versionNumber": 1,
    "isLatest": True,
    "pricingType": "FREE",
    "billingId": None,
    "entitlements": [],
    "createdAt": START,
    "updatedAt": START,
    "maxQuantity": None,
    "dependencies": None,
}
TOKENS = {"type": "FEATURE", "id": "tokens", "usageLimit": 50}
SEATS = {"type": "FEATURE", "id": "seats", "usageLimit": 9, "behavior": "Override"}
CREDITS = {"type": "CREDIT", "id": "credits", "amount": 3, "cadence": "MONTH", "behavior": "Increment"}


async def set_up(api: Api, *entitlements: dict[str, Any]) -> None:
    """A customer with a plan, and an add-on that nobody has yet."""
    await api.engine.catalog.put_features(
        [
            {"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            {"id": "seats", "feature_type": "NUMBER", "meter_type": "FLUCTUATING"},
            {"id": "sso", "feature_type": "BOOLEAN"},
        ]
    )
    await api.engine.catalog.put_currencies([{"id": "credits"}])
    terms = [{"feature": "tokens", "usage_limit": 100}, {"feature": "seats", "usage_limit": 20}]
    await api.engine.catalog.put_plans([{"id": "pro", "entitlements": terms}])
    await api.send("POST", ADDONS, BODY, status=201)
    if entitlements:
        await api.send("POST", ENTITLEMENTS, {"entitlements": list(entitlements)}, status=201)
    await api.engine.customers.put("acme")


async def limit_of(api: Api, feature: str) -> float | None:
    decision = await api.engine.check("acme", feature=feature)
    return decision.account.limit if decision.account else None


async def test_an_addon_is_shown_as_it_was_created(api: Api) -> None:
    await set_up(api)
    assert await api.get(BOOST) == {"data": SHOWN}
    assert await api.send("POST", ADDONS, BODY, status=201) == {"data": SHOWN}
    assert await api.get(ADDONS) == {"data": [SHOWN], "pagination": {"next": None, "prev": None}}
    assert (await api.get(ADDONS, productId="other"))["data"] == []


async def test_what_is_given_of_an_addon_is_changed_and_the_rest_stays(api: Api) -> None:
    await set_up(api)
    changed = await api.send("PATCH", BOOST, {"displayName": "Booster", "status": "PUBLISHED"})
    assert changed == {"data": {**SHOWN, "displayName": "Booster", "versionNumber": 2}}
    assert await api.send("POST", f"{BOOST}/publish", {"migrationType": "ALL_CUSTOMERS"}) == {"data": {"taskId": None}}
    assert await api.get(BOOST) == changed


async def test_limits_of_addons_add_to_those_of_the_plan_or_stand_in_their_place(api: Api) -> None:
    await set_up(api)
    await api.engine.subscriptions.provision("acme", {"plan": "pro", "addons": [{"addon": "boost", "quantity": 2}]})
    created = await api.send("POST", ENTITLEMENTS, {"entitlements": [TOKENS, SEATS, CREDITS]}, status=201)
    assert [each["behavior"] for each in created["data"]] == ["Increment", "Override", "Increment"]
    assert (await limit_of(api, "tokens"), await limit_of(api, "seats")) == (200, 18)
    assert (await api.engine.credits.wallet("acme", currency="credits")).balance == 6
    changed = await api.send("PATCH", f"{ENTITLEMENTS}/tokens", {"type": "FEATURE", "behavior": "Override"})
    assert (changed["data"]["behavior"], changed["data"]["usageLimit"]) == ("Override", 50)
    assert await limit_of(api, "tokens") == 100
    await api.send("DELETE", f"{ENTITLEMENTS}/seats")
    assert await limit_of(api, "seats") == 20
    assert [each["id"] for each in (await api.get(ENTITLEMENTS))["data"]] == ["tokens", "credits"]


async def test_two_writers_do_not_lose_each_others_changes(api: Api) -> None:
    await set_up(api, TOKENS)
    other = api.target.open_blocking()
    theirs = {"id": "boost", "display_name": "Theirs", "entitlements": [{"feature": "sso"}]}
    api.target.before("write_catalog", lambda: other.catalog.put_addons([theirs]))
    changed = await api.send("PATCH", BOOST, {"description": "Mine"})
    assert (changed["data"]["displayName"], changed["data"]["description"]) == ("Theirs", "Mine")
    assert changed["data"]["entitlements"] == [{"id": "sso", "type": "FEATURE"}]


BAD: list[tuple[tuple[str, str], Any, int, str, str]] = [
    (("POST", ADDONS), {**BODY, "displayName": "Other"}, 409, "DuplicatedEntityNotAllowed", "addon 'boost'"),
    (("POST", ADDONS), {**BODY, "id": "new", "maxQuantity": 3}, 400, "NotSupported", "maxQuantity: 3: is not built"),
    (("POST", ADDONS), {**BODY, "id": "new", "parentPlanId": "pro"}, 400, "BadUserInput", "parentPlanId"),
    (("POST", ADDONS), {**BODY, "id": "new", "status": "DRAFT"}, 400, "NotSupported", "status: 'DRAFT'"),
    (("POST", ADDONS), [BODY], 400, "BadUserInput", "body: "),
    (("PATCH", BOOST), {"maxQuantity": 3}, 400, "NotSupported", "maxQuantity: 3"),
    (("PATCH", BOOST), {"dependencies": ["a"]}, 400, "NotSupported", "dependencies: ['a']"),
    (("PATCH", BOOST), {"status": "ARCHIVED"}, 400, "NotSupported", "status: 'ARCHIVED'"),
    (("PATCH", BOOST), {"compatibleAddonIds": None}, 400, "BadUserInput", "compatibleAddonIds: None: unknown field"),
    (("PATCH", f"{ADDONS}/none"), {"displayName": "x"}, 404, "AddonNotFound", "addon 'none' was not found"),
    (("GET", f"{ADDONS}/none"), None, 404, "AddonNotFound", "addon 'none'"),
    (("GET", f"{ADDONS}/none/entitlements"), None, 404, "AddonNotFound", "addon 'none'"),
    (("GET", f"{ADDONS}?customerId=acme"), None, 400, "BadUserInput", "customerId: 'acme': unknown parameter"),
    (("POST", f"{ADDONS}/none/publish"), {"migrationType": "ALL_CUSTOMERS"}, 404, "AddonNotFound", "addon 'none'"),
    (("POST", f"{BOOST}/publish"), {}, 400, "BadUserInput", "migrationType"),
    (("POST", f"{ADDONS}/none/entitlements"), {"entitlements": [TOKENS]}, 404, "AddonNotFound", "addon 'none'"),
    (
        ("POST", ENTITLEMENTS),
        {"entitlements": [SEATS, {**TOKENS, "id": "none"}]},
        400,
        "BadUserInput",
        "entitlements[1].id: 'none': there is no such feature",
    ),
    (
        ("PATCH", f"{ENTITLEMENTS}/tokens"),
        {"type": "FEATURE", "usageLimit": None},
        400,
        "BadUserInput",
        "usageLimit: None: 'tokens' is a number: give a limit",
    ),
    (("PATCH", f"{ENTITLEMENTS}/seats"), {"type": "FEATURE"}, 404, "EntitlementNotFound", "of addon 'boost'"),
    (("DELETE", f"{ENTITLEMENTS}/seats"), None, 404, "EntitlementNotFound", "entitlement 'seats' of addon 'boost'"),
]


async def test_bad_input_is_named_and_changes_nothing(api: Api) -> None:
    await set_up(api, TOKENS)
    before = await api.engine.catalog.addons()
    for (method, path), body, status, code, message in BAD:
        answer = await api.send(method, path, body, status=status)
        assert (answer["code"], message in answer["message"]) == (code, True), (method, path, body, answer)
        assert await api.engine.catalog.addons() == before, (method, path, body)
