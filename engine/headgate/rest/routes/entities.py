"""Entity types, a customer's entities, and their budgets (assignments; the newer name is entity entitlements).

Each route has two spellings, `/api/v1-beta` and `/api/v1`, with one handler. A budget is found by its entity, its
capability and the set of its scope: writing these again changes it, whatever its cadence was.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; an environment is that of the server.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response

from headgate.errors import InvalidInput, NotFound
from headgate.model.governance import Entity
from headgate.rest.access import FULL, READ
from headgate.rest.answers.governance import (
    AssignmentAnswer,
    AssignmentsBody,
    EntitiesBody,
    EntityAnswer,
    EntityIdsAnswer,
    EntityIdsBody,
    EntityTypeAnswer,
    EntityTypesBody,
)
from headgate.rest.engine import Engine
from headgate.rest.pages import Paged, paged
from headgate.rest.queries import PAGING, Parameter, flag, identifier, known_only
from headgate.rest.routed import routed
from headgate.rest.shapes import Data, IdText, Page, respond
from headgate.service.wire_names import wire_names
from headgate.verbs.governance import EntityBudget

router = APIRouter()

CustomerId = Annotated[IdText, Path(alias="id", description="the customer")]
EntityId = Annotated[IdText, Path(alias="entityId", description="the entity")]

_TYPES: Final = "/entity-types"
_ENTITIES: Final = "/customers/{id}/entities"
_ASSIGNMENTS_BETA: Final = "/api/v1-beta/customers/{id}/assignments"
_ASSIGNMENTS: Final = "/api/v1/customers/{id}/entities/entitlements"

_TYPE_NAMES: Final = {
    "entity_types": "types",
    "display_name": "displayName",
    "attribution_keys": "attributionKeys",
}
_ENTITY_NAMES: Final = {"type": "entityTypeId", "display_name": "displayName"}
_ASSIGNMENT_NAMES: Final = {
    "entity": "entityId",
    "feature": "featureId",
    "currency": "currencyId",
    "usage_limit": "usageLimit",
    "parent": "parentId",
    "scope": "scopeEntityIds",
}


def _reads(answer: Any, *parameters: Parameter) -> dict[str, Any]:
    return routed("governance", READ, answer, 200, *parameters)


def _writes(answer: Any) -> dict[str, Any]:
    return routed("governance", FULL, answer)


@router.get(f"/api/v1-beta{_TYPES}", operation_id="list_entity_types_beta", **_reads(Page[EntityTypeAnswer]))
@router.get(f"/api/v1{_TYPES}", operation_id="list_entity_types", **_reads(Page[EntityTypeAnswer]))
async def list_entity_types(request: Request, engine: Engine, window: Paged) -> Response:
    """List the entity types, by id."""
    known_only(request, PAGING)
    types = await engine.catalog.entity_types()
    page, pagination = paged(types.values(), window, lambda each: (each.id,))
    return respond(Page[EntityTypeAnswer](data=[EntityTypeAnswer.of(each) for each in page], pagination=pagination))


@router.put(f"/api/v1-beta{_TYPES}", operation_id="put_entity_types_beta", **_writes(Data[list[EntityTypeAnswer]]))
@router.put(f"/api/v1{_TYPES}", operation_id="put_entity_types", **_writes(Data[list[EntityTypeAnswer]]))
async def put_entity_types(request: Request, engine: Engine, body: EntityTypesBody) -> Response:
    """Create 1 to 100 entity types, or replace them. A description that is left out stays; "" or null clears it."""
    known_only(request, ())
    with wire_names(_TYPE_NAMES):
        written = await engine.catalog.put_entity_types([each.as_upsert() for each in body.types], keep_omitted=True)
    return respond(Data[list[EntityTypeAnswer]](data=[EntityTypeAnswer.of(each) for each in written]))


_ENTITY_LIST: Final = _reads(
    Page[EntityAnswer],
    Parameter("entityTypeId", "only entities of this type"),
    Parameter("includeArchived", "`true` lists archived entities, too"),
)


@router.get(f"/api/v1-beta{_ENTITIES}", operation_id="list_entities_beta", **_ENTITY_LIST)
@router.get(f"/api/v1{_ENTITIES}", operation_id="list_entities", **_ENTITY_LIST)
async def list_entities(request: Request, engine: Engine, customer: CustomerId, window: Paged) -> Response:
    """List the entities of a customer, in the order in which they were created."""
    known_only(request, ("entityTypeId", "includeArchived", *PAGING))
    type_id = identifier(request, "entityTypeId")
    entities = await engine.governance.entities(customer, include_archived=bool(flag(request, "includeArchived")))
    wanted = [each for each in entities if type_id is None or each.type == type_id]
    page, pagination = paged(wanted, window, lambda each: (each.created_at_ms, each.id))
    return respond(Page[EntityAnswer](data=[EntityAnswer.of(each) for each in page], pagination=pagination))


@router.put(f"/api/v1-beta{_ENTITIES}", operation_id="put_entities_beta", **_writes(Data[list[EntityAnswer]]))
@router.put(f"/api/v1{_ENTITIES}", operation_id="put_entities", **_writes(Data[list[EntityAnswer]]))
async def put_entities(request: Request, engine: Engine, customer: CustomerId, body: EntitiesBody) -> Response:
    """Create 1 to 100 entities, or change what is given of them. Naming an archived one brings it back."""
    known_only(request, ())
    with wire_names(_ENTITY_NAMES):
        written = await engine.governance.put_entities(customer, [each.as_upsert() for each in body.entities])
    return respond(Data[list[EntityAnswer]](data=[EntityAnswer.of(each) for each in written]))


@router.post(f"/api/v1-beta{_ENTITIES}/archive", operation_id="archive_beta", **_writes(Data[EntityIdsAnswer]))
@router.post(f"/api/v1{_ENTITIES}/archive", operation_id="archive_entities", **_writes(Data[EntityIdsAnswer]))
async def archive_entities(request: Request, engine: Engine, customer: CustomerId, body: EntityIdsBody) -> Response:
    """Archive entities: their own budgets no longer apply, those above them still do."""
    known_only(request, ())
    return _ids(await engine.governance.archive(customer, body.ids))


@router.post(f"/api/v1-beta{_ENTITIES}/unarchive", operation_id="unarchive_beta", **_writes(Data[EntityIdsAnswer]))
@router.post(f"/api/v1{_ENTITIES}/unarchive", operation_id="unarchive_entities", **_writes(Data[EntityIdsAnswer]))
async def unarchive_entities(request: Request, engine: Engine, customer: CustomerId, body: EntityIdsBody) -> Response:
    """Bring archived entities back, with their budgets."""
    known_only(request, ())
    return _ids(await engine.governance.unarchive(customer, body.ids))


def _ids(entities: list[Entity]) -> Response:
    return respond(Data[EntityIdsAnswer](data=EntityIdsAnswer(ids=[each.id for each in entities])))


_ASSIGNMENT_LIST: Final = _reads(
    Page[AssignmentAnswer],
    Parameter("entityId", "only budgets of this entity"),
    Parameter("featureId", "only budgets for this feature"),
    Parameter("currencyId", "only budgets for this currency; not together with featureId"),
)


@router.get(_ASSIGNMENTS_BETA, operation_id="list_assignments", **_ASSIGNMENT_LIST)
@router.get(_ASSIGNMENTS, operation_id="list_entity_entitlements", **_ASSIGNMENT_LIST)
async def list_assignments(request: Request, engine: Engine, customer: CustomerId, window: Paged) -> Response:
    """List the budgets of a customer's entities, also of archived ones, in the order in which they were created."""
    known_only(request, ("entityId", "featureId", "currencyId", *PAGING))
    entity, feature, currency = (identifier(request, name) for name in ("entityId", "featureId", "currencyId"))
    if feature is not None and currency is not None:
        raise InvalidInput.of("currencyId", currency, "give featureId or currencyId, not both")
    wanted = [
        each
        for each in await engine.governance.assignments(customer)
        if entity in (None, each.entity) and feature in (None, each.feature) and currency in (None, each.currency)
    ]
    page, pagination = paged(wanted, window, lambda each: (each.assignment.number,))
    shown = await _shown(engine, customer, page)
    return respond(Page[AssignmentAnswer](data=shown, pagination=pagination), only_set=True)


@router.put(_ASSIGNMENTS_BETA, operation_id="put_assignments", **_writes(Data[list[AssignmentAnswer]]))
@router.put(_ASSIGNMENTS, operation_id="put_entity_entitlements", **_writes(Data[list[AssignmentAnswer]]))
async def put_assignments(request: Request, engine: Engine, customer: CustomerId, body: AssignmentsBody) -> Response:
    """Create 1 to 100 budgets, or change what is given of them, and move their entities under other parents."""
    known_only(request, ())
    upserts = [each.as_upsert() for each in body.assignments]
    with wire_names(_ASSIGNMENT_NAMES):
        written = await engine.governance.put_assignments(customer, upserts)
    last = {each.key: assignment for each, assignment in zip(body.assignments, written, strict=True)}
    budgets = [EntityBudget(each.entity_id, each.feature, last[each.key], each.currency) for each in body.assignments]
    return respond(Data[list[AssignmentAnswer]](data=await _shown(engine, customer, budgets)), only_set=True)


async def _shown(engine: Engine, customer: str, budgets: list[EntityBudget]) -> list[AssignmentAnswer]:
    entities = await engine.governance.find(customer, list(dict.fromkeys(each.entity for each in budgets)))
    environment = engine.environment
    return [AssignmentAnswer.of(environment, customer, each, entities[each.entity].parent) for each in budgets]


# After the routes above: `entitlements` is no entity there.
@router.get(f"/api/v1-beta{_ENTITIES}/{{entityId}}", operation_id="get_entity_beta", **_reads(Data[EntityAnswer]))
@router.get(f"/api/v1{_ENTITIES}/{{entityId}}", operation_id="get_entity", **_reads(Data[EntityAnswer]))
async def get_entity(request: Request, engine: Engine, customer: CustomerId, entity: EntityId) -> Response:
    """Read one entity, also an archived one."""
    known_only(request, ())
    found = await engine.governance.find(customer, [entity])
    if entity not in found:
        raise NotFound("entity", entity, within=f"of customer {customer!r}")
    return respond(Data[EntityAnswer](data=EntityAnswer.of(found[entity])))
