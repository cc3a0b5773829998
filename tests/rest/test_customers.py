"""Customers and resources over REST: created once, changed by what is given, listed in an order that stays."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from behaviour.commerce import found_shop
from behaviour.world import ACME
from headgate.rest.access import FULL, READ
from headgate.rest.routes import currencies, customers, features, grants, promotions
from rest.conftest import Api
from rest.failing import unchanged
from rest.governed import START, every_page

PATH = "/api/v1/customers"
LATER = "2026-03-10T12:01:00Z"
BOND = {"id": "cus-bond", "name": "Bond", "email": "bond@example.com", "metadata": {"tier": "gold"}}
SHOWN = {**BOND, "createdAt": START, "updatedAt": START, "archivedAt": None}
UNBUILT = {
    "billingCurrency": "usd",
    "billingId": "b-1",
    "couponId": "c-1",
    "integrations": [{"id": "i", "syncedEntityId": None, "vendorIdentifier": "STRIPE"}],
    "language": "en",
    "passthrough": {"stripe": {}},
    "timezone": "Europe/Berlin",
}


@pytest.fixture(autouse=True)
async def shop(api: Api) -> None:
    """An environment with one customer."""
    await found_shop(api.engine)


async def create(api: Api, **fields: Any) -> Any:
    return (await api.send("POST", PATH, {**BOND, **fields}, status=201))["data"]


async def test_a_customer_is_shown_as_it_was_created(api: Api) -> None:
    assert await create(api) == SHOWN
    assert await api.get(f"{PATH}/cus-bond") == {"data": SHOWN}
    assert (await api.engine.customers.get("cus-bond")).name == "Bond"


async def test_a_customer_needs_only_an_id(api: Api) -> None:
    nothing = dict.fromkeys(UNBUILT) | {"defaultPaymentMethod": None, "name": None, "email": None}
    for id, body in (("bare", {}), ("empty", {**nothing, "couponId": "", "integrations": [], "passthrough": {}})):
        answer = await api.send("POST", PATH, {"id": id, **body}, status=201)
        bare = {"id": id, "name": None, "email": None, "metadata": {}}
        assert answer["data"] == {**bare, "createdAt": START, "updatedAt": START, "archivedAt": None}


async def test_creating_a_customer_again_answers_the_same_and_another_under_its_id_is_a_conflict(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    assert await create(api) == SHOWN
    for other in ({"name": "Blofeld"}, {"metadata": {}}, {"email": None}):
        answer = await unchanged(api, lambda other=other: api.send("POST", PATH, {**BOND, **other}, status=409))
        assert answer["code"] == "DuplicatedEntityNotAllowed"
        assert "'cus-bond'" in answer["message"]
    await api.send("POST", f"{PATH}/cus-bond/archive")
    answer = await api.client.post(PATH, json=BOND)
    assert answer.status_code == 409
    assert answer.headers["x-should-retry"] == "false"


async def test_of_two_that_create_different_customers_at_once_one_is_refused(api: Api) -> None:
    other = api.target.open_blocking()
    api.target.before("configure", lambda: other.customers.put("cus-bond", name="Blofeld"))
    await api.send("POST", PATH, BOND, status=409)
    assert (await api.engine.customers.get("cus-bond")).name == "Blofeld"


@pytest.mark.parametrize(
    ("sent", "after"),
    [
        ({"name": "James"}, {"name": "James"}),
        ({"name": None}, {"name": None}),
        ({"email": ""}, {"email": None}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"metadata": {}}, {"metadata": {}}),
    ],
)
async def test_what_is_given_of_a_customer_is_changed_and_the_rest_stays(
    api: Api, sent: dict[str, Any], after: dict[str, Any]
) -> None:
    await create(api)
    api.clock.advance(60_000)
    answer = await api.send("PATCH", f"{PATH}/cus-bond", sent)
    assert answer == {"data": {**SHOWN, **after, "updatedAt": LATER}}
    assert await api.get(f"{PATH}/cus-bond") == answer


async def test_a_change_that_says_nothing_changes_nothing(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    assert await unchanged(api, lambda: api.send("PATCH", f"{PATH}/cus-bond", {})) == {"data": SHOWN}


async def test_an_archived_customer_is_denied_until_it_is_brought_back(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    archived = await api.send("POST", f"{PATH}/cus-bond/archive")
    assert archived == {"data": {**SHOWN, "archivedAt": LATER, "updatedAt": LATER}}
    decision = await api.engine.check("cus-bond", feature="feature-sso")
    assert decision.reason == "CustomerIsArchived"
    back = await api.send("POST", f"{PATH}/cus-bond/unarchive")
    assert back == {"data": {**SHOWN, "updatedAt": LATER}}


async def test_customers_are_paged_both_ways_and_none_is_lost_or_shown_twice(api: Api) -> None:
    ids = [f"cus-{index:02}" for index in range(9)]
    for id in ids:
        await api.engine.customers.put(id)
    listed = [each["id"] for each in await every_page(api, PATH, limit=4)]
    assert sorted(listed) == sorted([ACME, *ids])
    first = await api.get(PATH, limit=4)
    assert first["pagination"]["prev"] is None
    second = await api.get(PATH, limit=4, after=first["pagination"]["next"])
    await api.engine.customers.put("cus-new")
    assert (await api.get(PATH, limit=4, before=second["pagination"]["prev"]))["data"][-1] == first["data"][-1]
    whole = await api.get(PATH, limit=100)
    assert whole["pagination"] == {"next": None, "prev": None}
    assert len(whole["data"]) == 11


async def test_customers_are_found_by_name_email_and_creation(api: Api) -> None:
    await create(api)
    api.clock.advance(60_000)
    await create(api, id="cus-twin", email="twin@example.com")
    await api.send("POST", f"{PATH}/cus-twin/archive")

    async def found(**query: Any) -> set[str]:
        return {each["id"] for each in await every_page(api, PATH, limit=1, **query)}

    assert await found(name="Bond") == {"cus-bond", "cus-twin"}
    assert await found(email="twin@example.com") == {"cus-twin"}
    assert await found(name="Bond", email="nobody@example.com") == set()
    assert await found(**{"createdAt[gt]": START}) == {"cus-twin"}
    assert await found(**{"createdAt[lte]": START, "name": "Bond"}) == {"cus-bond"}
    assert await found(**{"createdAt[gte]": START, "createdAt[lt]": LATER}) == {ACME, "cus-bond"}


async def test_an_import_creates_and_changes_and_says_which_are_new(api: Api) -> None:
    await create(api)
    body = {
        "customers": [
            {"id": "cus-new", "name": "New", "email": None, "metadata": {"a": "b"}, "updatedAt": START},
            {"id": "cus-bond", "name": None, "email": "other@example.com"},
        ],
        "integrationId": None,
    }
    assert await api.send("POST", f"{PATH}/import", body) == {"data": {"newCustomers": ["cus-new"]}}
    bond = await api.engine.customers.get("cus-bond")
    assert (bond.name, bond.email, bond.metadata) == ("", "other@example.com", {"tier": "gold"})
    new = await api.engine.customers.get("cus-new")
    assert (new.name, new.email, new.metadata) == ("New", "", {"a": "b"})
    assert await api.send("POST", f"{PATH}/import", body) == {"data": {"newCustomers": []}}


async def test_resources_are_made_changed_and_listed(api: Api) -> None:
    path = f"{PATH}/{ACME}/resources"
    site = {"id": "site-01", "displayName": "Site", "metadata": {"a": "b"}, "createdAt": START, "updatedAt": START}
    made = await api.send("PUT", f"{path}/site-01", {"displayName": "Site", "metadata": {"a": "b"}})
    assert made == {"data": site}
    api.clock.advance(60_000)
    changed = await api.send("PUT", f"{path}/site-01", {"displayName": None})
    assert changed == {"data": {**site, "displayName": None, "updatedAt": LATER}}
    await api.send("PUT", f"{path}/site-00", {})
    assert [each["id"] for each in (await api.get(path))["data"]] == ["site-00", "site-01"]
    assert [each["id"] for each in await every_page(api, path, limit=1)] == ["site-00", "site-01"]


PERSON = {"id": "cus-new", "name": None, "email": None}
BAD_BODIES: dict[str, tuple[str, str, Any, str]] = {
    "no id": ("POST", PATH, {"name": "x"}, "id: is required"),
    "an id that is none": ("POST", PATH, {"id": "a b"}, "an id has 1 to 255"),
    "an unknown field": ("POST", PATH, {"id": "x", "nickname": "y"}, "nickname: 'y': unknown field"),
    "a name that is a number": ("POST", PATH, {"id": "x", "name": 7}, "name: 7"),
    "metadata of numbers": ("POST", PATH, {"id": "x", "metadata": {"a": 1}}, "metadata.a: 1"),
    "metadata that is null": ("PATCH", f"{PATH}/{ACME}", {"metadata": None}, "metadata"),
    "a change of the id": ("PATCH", f"{PATH}/{ACME}", {"id": "other"}, "id: 'other': unknown field"),
    "no customers": ("POST", f"{PATH}/import", {"customers": []}, "customers"),
    "too many": ("POST", f"{PATH}/import", {"customers": [{**PERSON, "id": f"c{i}"} for i in range(101)]}, "100"),
    "one twice": ("POST", f"{PATH}/import", {"customers": [PERSON, PERSON]}, "cus-new is there more often"),
    "one of two is bad": ("POST", f"{PATH}/import", {"customers": [PERSON, {"id": "x"}]}, "customers[1].name"),
    "a bad resource": ("PUT", f"{PATH}/{ACME}/resources/a%20b", {}, "resourceId: 'a b'"),
    "a resource of a bad customer": ("PUT", f"{PATH}/a%20b/resources/x", {}, "id: 'a b'"),
    "an unknown parameter": ("POST", f"{PATH}?dryRun=true", BOND, "dryRun: 'true': unknown parameter"),
}


@pytest.mark.parametrize("case", BAD_BODIES.values(), ids=list(BAD_BODIES))
async def test_bad_input_changes_nothing(api: Api, case: tuple[str, str, Any, str]) -> None:
    method, path, body, told = case
    answer = await unchanged(api, lambda: api.send(method, path, body, status=400))
    assert answer["code"] == "BadUserInput"
    assert told in answer["message"]


async def test_text_that_is_none_changes_nothing(api: Api) -> None:
    content = b'{"name": "\\ud800"}'
    answer = await unchanged(api, lambda: api.client.patch(f"{PATH}/{ACME}", content=content))
    assert (answer.status_code, answer.json()["code"]) == (400, "BadUserInput")


@pytest.mark.parametrize("name", [*UNBUILT, "defaultPaymentMethod"])
async def test_what_belongs_to_billing_is_refused_by_name(api: Api, name: str) -> None:
    value = UNBUILT.get(name, {"type": "CARD"})
    created = await unchanged(api, lambda: api.send("POST", PATH, {**BOND, name: value}, status=400))
    assert (created["code"], created["message"].partition(":")[0]) == ("NotSupported", name)
    if name in UNBUILT:
        changed = await unchanged(api, lambda: api.send("PATCH", f"{PATH}/{ACME}", {name: value}, status=400))
        assert (changed["code"], changed["message"].partition(":")[0]) == ("NotSupported", name)


@pytest.mark.parametrize("name", ["billingId", "paymentMethodId", "salesforceId"])
async def test_an_import_refuses_what_belongs_to_billing(api: Api, name: str) -> None:
    body = {"customers": [PERSON, {**PERSON, "id": "cus-two", name: "x"}]}
    answer = await unchanged(api, lambda: api.send("POST", f"{PATH}/import", body, status=400))
    assert (answer["code"], name in answer["message"]) == ("NotSupported", True)
    whole = {"customers": [PERSON], "integrationId": "i-1"}
    answer = await unchanged(api, lambda: api.send("POST", f"{PATH}/import", whole, status=400))
    assert (answer["code"], "integrationId" in answer["message"]) == ("NotSupported", True)


@pytest.mark.parametrize(
    "query",
    [
        {"createdAt": START},
        {"createdAt[eq]": START},
        {"createdAt[gt]": "yesterday"},
        {"name": ["a", "b"]},
        {"tier": "gold"},
        {"limit": 0},
        {"after": "nonsense"},
        {"after": "kgEC"},
    ],
    ids=str,
)
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: dict[str, Any]) -> None:
    answer = await api.get(PATH, status=400, **query)
    assert answer["code"] == "BadUserInput"
    assert next(iter(query)) in answer["message"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("POST", "/archive", None),
        ("POST", "/unarchive", None),
        ("GET", "/resources", None),
        ("PUT", "/resources/site", {}),
    ],
)
async def test_an_unknown_customer_is_404(api: Api, method: str, path: str, body: Any) -> None:
    answer = await unchanged(api, lambda: api.send(method, f"{PATH}/nobody{path}", body, status=404))
    assert answer["code"] == "CustomerNotFound"


@pytest.mark.parametrize(
    "router", [customers.router, promotions.router, features.router, currencies.router, grants.router]
)
async def test_reading_the_control_plane_needs_the_least_scope_and_changing_it_the_whole(router: APIRouter) -> None:
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    assert routes
    for route in routes:
        needed = READ if route.methods == {"GET"} else FULL
        assert [each.dependency for each in route.dependencies] == [needed.dependency], route.path
