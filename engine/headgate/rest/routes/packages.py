"""Plans and add-ons, and what they entitle to.

Both are live when they are written, for every subscriber on the next call: there are no drafts, and publishing changes
nothing. An entitlement is named by its feature or its currency; its instants are those of the plan or add-on.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; of entitlements, what is only shown to people:
`description`, `displayNameOverride`, `hiddenFromWidgets`, `isCustom`, `order`.

A version for new customers alone is 400 `NotSupported`: there is one version, and it holds for all.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from headgate.rest import packages
from headgate.rest.access import FULL, READ
from headgate.rest.answers.packages import (
    AddonAnswer,
    AddonBody,
    AddonChangesBody,
    AnyEntitlement,
    EntitlementChangesBody,
    EntitlementsBody,
    PlanAnswer,
    PlanBody,
    PlanChangesBody,
    PublishAnswer,
    PublishBody,
)
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED_PARAMETERS
from headgate.rest.packages import ADDONS, PLANS
from headgate.rest.pages import Paged
from headgate.rest.queries import Parameter, known_only
from headgate.rest.routed import routed
from headgate.rest.shapes import Data, IdText, Page

router = APIRouter()

EntitlementId = Annotated[IdText, Path(alias="id", description="the feature or the currency")]

_LISTS: Final = (
    Parameter("productId", "only those of this product"),
    Parameter("status", "only those with one of these statuses: DRAFT, PUBLISHED, ARCHIVED", is_list=True),
    *CREATED_PARAMETERS,
)


PlanId = Annotated[IdText, Path(alias="id", description="the plan")]
PlanOfEntitlement = Annotated[IdText, Path(alias="plan_id", description="the plan")]


@router.get("/api/v1/plans", operation_id="list_plans", **routed("plans", READ, Page[PlanAnswer], 200, *_LISTS))
async def list_plans(request: Request, engine: Engine, window: Paged) -> Response:
    """List the plans, by id."""
    return await packages.list_all(PLANS, request, engine, window)


@router.post("/api/v1/plans", operation_id="create_plan", **routed("plans", FULL, Data[PlanAnswer], HTTPStatus.CREATED))
async def create_plan(request: Request, engine: Engine, body: PlanBody) -> Response:
    """Create a plan. It is live at once."""
    known_only(request, ())
    return await packages.create(PLANS, engine, body)


@router.get("/api/v1/plans/{id}", operation_id="get_plan", **routed("plans", READ, Data[PlanAnswer]))
async def get_plan(request: Request, engine: Engine, plan: PlanId) -> Response:
    """Read a plan."""
    return await packages.retrieve(PLANS, request, engine, plan)


@router.patch("/api/v1/plans/{id}", operation_id="update_plan", **routed("plans", FULL, Data[PlanAnswer]))
async def update_plan(request: Request, engine: Engine, plan: PlanId, body: PlanChangesBody) -> Response:
    """Change what is given of a plan. It counts for every subscriber from the next call on."""
    known_only(request, ())
    return await packages.update(PLANS, engine, plan, body)


@router.post("/api/v1/plans/{id}/publish", operation_id="publish_plan", **routed("plans", FULL, Data[PublishAnswer]))
async def publish_plan(request: Request, engine: Engine, plan: PlanId, body: PublishBody) -> Response:
    """Change nothing: a plan is live, for all subscribers, when it is written."""
    return await packages.publish(PLANS, request, engine, plan, body)


@router.get(
    "/api/v1/plans/{plan_id}/entitlements",
    operation_id="list_plan_entitlements",
    **routed("plans", READ, Page[AnyEntitlement]),
)
async def list_plan_entitlements(request: Request, engine: Engine, plan: PlanOfEntitlement) -> Response:
    """List all that a plan entitles to, on one page."""
    return await packages.list_entitlements(PLANS, request, engine, plan)


@router.post(
    "/api/v1/plans/{plan_id}/entitlements",
    operation_id="create_plan_entitlements",
    **routed("plans", FULL, Data[list[AnyEntitlement]], HTTPStatus.CREATED),
)
async def create_plan_entitlements(
    request: Request, engine: Engine, plan: PlanOfEntitlement, body: EntitlementsBody
) -> Response:
    """Add entitlements to a plan, all or none. They count from the next call on."""
    known_only(request, ())
    return await packages.create_entitlements(PLANS, engine, plan, body)


@router.patch(
    "/api/v1/plans/{plan_id}/entitlements/{id}",
    operation_id="update_plan_entitlement",
    **routed("plans", FULL, Data[AnyEntitlement]),
)
async def update_plan_entitlement(
    request: Request, engine: Engine, plan: PlanOfEntitlement, id: EntitlementId, body: EntitlementChangesBody
) -> Response:
    """Change what is given of an entitlement of a plan."""
    known_only(request, ())
    return await packages.update_entitlement(PLANS, engine, plan, id, body)


@router.delete(
    "/api/v1/plans/{plan_id}/entitlements/{id}",
    operation_id="delete_plan_entitlement",
    **routed("plans", FULL, Data[AnyEntitlement]),
)
async def delete_plan_entitlement(
    request: Request, engine: Engine, plan: PlanOfEntitlement, id: EntitlementId
) -> Response:
    """Take an entitlement of a plan away, and answer what it was."""
    return await packages.delete_entitlement(PLANS, request, engine, plan, id)


AddonId = Annotated[IdText, Path(alias="id", description="the add-on")]
AddonOfEntitlement = Annotated[IdText, Path(alias="addon_id", description="the add-on")]


@router.get(
    "/api/v1/addons",
    operation_id="list_addons",
    **routed("add-ons", READ, Page[AddonAnswer], 200, *_LISTS),
)
async def list_addons(request: Request, engine: Engine, window: Paged) -> Response:
    """List the add-ons, by id."""
    return await packages.list_all(ADDONS, request, engine, window)


@router.post(
    "/api/v1/addons", operation_id="create_addon", **routed("add-ons", FULL, Data[AddonAnswer], HTTPStatus.CREATED)
)
async def create_addon(request: Request, engine: Engine, body: AddonBody) -> Response:
    """Create an add-on. It is live at once."""
    known_only(request, ())
    return await packages.create(ADDONS, engine, body)


@router.get("/api/v1/addons/{id}", operation_id="get_addon", **routed("add-ons", READ, Data[AddonAnswer]))
async def get_addon(request: Request, engine: Engine, addon: AddonId) -> Response:
    """Read an add-on."""
    return await packages.retrieve(ADDONS, request, engine, addon)


@router.patch("/api/v1/addons/{id}", operation_id="update_addon", **routed("add-ons", FULL, Data[AddonAnswer]))
async def update_addon(request: Request, engine: Engine, addon: AddonId, body: AddonChangesBody) -> Response:
    """Change what is given of an add-on. It counts for every subscriber from the next call on."""
    known_only(request, ())
    return await packages.update(ADDONS, engine, addon, body)


@router.post(
    "/api/v1/addons/{id}/publish", operation_id="publish_addon", **routed("add-ons", FULL, Data[PublishAnswer])
)
async def publish_addon(request: Request, engine: Engine, addon: AddonId, body: PublishBody) -> Response:
    """Change nothing: an add-on is live, for all subscribers, when it is written."""
    return await packages.publish(ADDONS, request, engine, addon, body)


@router.get(
    "/api/v1/addons/{addon_id}/entitlements",
    operation_id="list_addon_entitlements",
    **routed("add-ons", READ, Page[AnyEntitlement]),
)
async def list_addon_entitlements(request: Request, engine: Engine, addon: AddonOfEntitlement) -> Response:
    """List all that an add-on entitles to, on one page."""
    return await packages.list_entitlements(ADDONS, request, engine, addon)


@router.post(
    "/api/v1/addons/{addon_id}/entitlements",
    operation_id="create_addon_entitlements",
    **routed("add-ons", FULL, Data[list[AnyEntitlement]], HTTPStatus.CREATED),
)
async def create_addon_entitlements(
    request: Request, engine: Engine, addon: AddonOfEntitlement, body: EntitlementsBody
) -> Response:
    """Add entitlements to an add-on, all or none. They count from the next call on."""
    known_only(request, ())
    return await packages.create_entitlements(ADDONS, engine, addon, body)


@router.patch(
    "/api/v1/addons/{addon_id}/entitlements/{id}",
    operation_id="update_addon_entitlement",
    **routed("add-ons", FULL, Data[AnyEntitlement]),
)
async def update_addon_entitlement(
    request: Request, engine: Engine, addon: AddonOfEntitlement, id: EntitlementId, body: EntitlementChangesBody
) -> Response:
    """Change what is given of an entitlement of an add-on."""
    known_only(request, ())
    return await packages.update_entitlement(ADDONS, engine, addon, id, body)


@router.delete(
    "/api/v1/addons/{addon_id}/entitlements/{id}",
    operation_id="delete_addon_entitlement",
    **routed("add-ons", FULL, Data[AnyEntitlement]),
)
async def delete_addon_entitlement(
    request: Request, engine: Engine, addon: AddonOfEntitlement, id: EntitlementId
) -> Response:
    """Take an entitlement of an add-on away, and answer what it was."""
    return await packages.delete_entitlement(ADDONS, request, engine, addon, id)
