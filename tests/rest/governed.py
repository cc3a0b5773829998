"""A governed customer behind the REST face: an organisation, two teams, a user, and budgets for tokens and credits."""

from __future__ import annotations

from typing import Any

from rest.conftest import Api

CUSTOMER = "cus-acme"
BETA = f"/api/v1-beta/customers/{CUSTOMER}"
STABLE = f"/api/v1/customers/{CUSTOMER}"
ENTITIES = (f"{BETA}/entities", f"{STABLE}/entities")
ASSIGNMENTS = (f"{BETA}/assignments", f"{STABLE}/entities/entitlements")
TREES = (f"{BETA}/governance", f"{STABLE}/governance")
TYPES = ("/api/v1-beta/entity-types", "/api/v1/entity-types")
START = "2026-03-10T12:00:00Z"
PAGES_MAX = 50


async def set_up(api: Api) -> None:
    """A catalog and a customer without entities."""
    await api.engine.catalog.put_features(
        [
            {"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            {"id": "calls", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            {"id": "sso", "feature_type": "BOOLEAN"},
        ]
    )
    await api.engine.catalog.put_currencies([{"id": "credits", "display_name": "Credits"}])
    await api.engine.catalog.put_entity_types(
        [
            {"id": "org", "display_name": "Organisation"},
            {"id": "team", "display_name": "Team", "attribution_keys": ["teamId"]},
            {"id": "model", "display_name": "Model", "attribution_keys": ["modelId"]},
        ]
    )
    await api.engine.customers.put(CUSTOMER)
    await api.engine.customers.grant_entitlement(CUSTOMER, {"feature": "tokens", "has_unlimited_usage": True})


async def put_entities(api: Api, *entities: dict[str, Any]) -> Any:
    """Write entities through the API, and return them."""
    return (await api.send("PUT", ENTITIES[0], {"entities": entities}))["data"]


async def put_assignments(api: Api, *assignments: dict[str, Any]) -> Any:
    """Write budgets through the API, and return them."""
    return (await api.send("PUT", ASSIGNMENTS[0], {"assignments": assignments}))["data"]


def budget(entity: str, limit: float | None, **fields: Any) -> dict[str, Any]:
    """A monthly budget of tokens."""
    capability = {} if "currencyId" in fields else {"featureId": "tokens"}
    return {"entityId": entity, "usageLimit": limit, "cadence": "P1M", **capability, **fields}


async def every_page(api: Api, path: str, **query: Any) -> list[Any]:
    """All items of a list, by its cursors."""
    items: list[Any] = []
    for _ in range(PAGES_MAX):
        answer = await api.get(path, **query)
        items += answer["data"]
        query["after"] = answer["pagination"]["next"]
        if query["after"] is None:
            return items
    raise AssertionError(f"{path} has still another page after {PAGES_MAX}")
