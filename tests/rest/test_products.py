"""Products over REST: the labels of plans and add-ons."""

from __future__ import annotations

from rest.conftest import Api

PRODUCTS = "/api/v1/products"


async def set_up(api: Api) -> None:
    """Two products: one that a plan and an add-on carry, and one of a later plan. One plan has none."""
    await api.engine.catalog.put_plans([{"id": "pro", "product": "suite"}, {"id": "own"}])
    api.clock.advance(60_000)
    await api.engine.catalog.put_addons([{"id": "boost", "product": "suite"}])
    await api.engine.catalog.put_plans([{"id": "solo", "product": "desk"}])


async def test_products_are_what_plans_and_addons_are_labelled_with(api: Api) -> None:
    await set_up(api)
    suite: dict[str, object] = {
        "id": "suite",
        "displayName": "suite",
        "description": None,
        "metadata": {},
        "multipleSubscriptions": True,
        "productSettings": None,
        "status": "PUBLISHED",
        "createdAt": "2026-03-10T12:00:00Z",
        "updatedAt": "2026-03-10T12:01:00Z",
    }
    desk = {**suite, "id": "desk", "displayName": "desk", "createdAt": "2026-03-10T12:01:00Z"}
    assert await api.get(PRODUCTS) == {"data": [desk, suite], "pagination": {"next": None, "prev": None}}


async def test_products_are_filtered_and_on_pages(api: Api) -> None:
    await set_up(api)
    for query, ids in (
        ("id=suite", ["suite"]),
        ("id=none", []),
        ("status=ARCHIVED,PUBLISHED", ["desk", "suite"]),
        ("status=ARCHIVED", []),
        ("createdAt[lt]=2026-03-10T12:01:00Z", ["suite"]),
    ):
        assert [each["id"] for each in (await api.get(f"{PRODUCTS}?{query}"))["data"]] == ids, query
    first = await api.get(PRODUCTS, limit=1)
    second = await api.get(PRODUCTS, limit=1, after=first["pagination"]["next"])
    assert [each["id"] for each in first["data"] + second["data"]] == ["desk", "suite"]
    assert second["pagination"]["next"] is None


async def test_bad_parameters_are_named(api: Api) -> None:
    await set_up(api)
    for query, message in (
        ("id=%7B", "id: '{': an id has"),
        ("status=DRAFT", "status: 'DRAFT': must be one of PUBLISHED, ARCHIVED"),
        ("productId=suite", "productId: 'suite': unknown parameter"),
        ("createdAt[eq]=2026-03-10", "createdAt[eq]: '2026-03-10': unknown parameter"),
    ):
        answer = await api.get(f"{PRODUCTS}?{query}", status=400)
        assert (answer["code"], message in answer["message"]) == ("BadUserInput", True), answer
