"""What the routes of plans and those of add-ons have in common: one implementation, two nouns.

What is written goes over what is there at that very moment, so two writers never lose each other's entitlements, and
what only the library can say (limits per unit, rates in credits, zones) stays.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, TypeAlias, TypeVar

from fastapi import Request, Response

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import Conflict, DuplicateId, InvalidInput, NotFound
from headgate.model.packages import Addon, Package, PackageEntitlement, Plan, RecurringCredit
from headgate.rest.answers.packages import (
    AddonAnswer,
    AnyEntitlement,
    CreditChangesBody,
    CreditEntitlementAnswer,
    EntitlementChangesBody,
    EntitlementsBody,
    FeatureEntitlementAnswer,
    PackageAnswer,
    PackageBody,
    PackageChangesBody,
    PlanAnswer,
    PublishAnswer,
    PublishBody,
)
from headgate.rest.answers.terms import TERMS_NAMES
from headgate.rest.filters import CREATED, created_within
from headgate.rest.pages import Window, paged
from headgate.rest.places import Places, as_sent
from headgate.rest.queries import PAGING, identifier, known_only, strings
from headgate.rest.shapes import Data, Page, Pagination, respond
from headgate.rest.unbuilt import not_supported

P = TypeVar("P", Plan, Addon)

STATUSES: Final = ("DRAFT", "PUBLISHED", "ARCHIVED")
Entitlement: TypeAlias = FeatureEntitlementAnswer | CreditEntitlementAnswer


@dataclass(frozen=True, slots=True)
class Noun(Generic[P]):
    """What makes plans of packages, or add-ons."""

    name: str
    read: Callable[[AsyncHeadgate], Awaitable[dict[str, P]]]
    change: Callable[[AsyncHeadgate, str, Callable[[P | None], dict[str, Any]]], Awaitable[P]]
    answer: type[PackageAnswer]


PLANS: Final[Noun[Plan]] = Noun(
    "plan",
    lambda engine: engine.catalog.plans(),
    lambda engine, id, change: engine.catalog.change_plan(id, change),
    PlanAnswer,
)
ADDONS: Final[Noun[Addon]] = Noun(
    "addon",
    lambda engine: engine.catalog.addons(),
    lambda engine, id, change: engine.catalog.change_addon(id, change),
    AddonAnswer,
)


_KINDS: Final[dict[str, tuple[type[PackageEntitlement] | type[RecurringCredit], str, str]]] = {
    "FEATURE": (PackageEntitlement, "entitlements", "feature"),
    "CREDIT": (RecurringCredit, "credits", "currency"),
}


async def create(noun: Noun[Any], engine: AsyncHeadgate, body: PackageBody) -> Response:
    """Create a plan or an add-on. One that is there already and says the same is answered as it is."""
    given = body.as_package()

    def created(present: Package | None) -> dict[str, Any]:
        if present is None:
            return given
        document = present.model_dump()
        if any(document[name] != value for name, value in given.items()):
            raise DuplicateId(noun.name, body.id)
        return document

    return await _write(noun, engine, body.id, created, status=HTTPStatus.CREATED)


async def update(noun: Noun[Any], engine: AsyncHeadgate, id: str, body: PackageChangesBody) -> Response:
    """Change what is given of a plan or an add-on."""
    return await _write(noun, engine, id, lambda present: body.over(_there(noun, id, present)))


async def _write(
    noun: Noun[Any],
    engine: AsyncHeadgate,
    id: str,
    change: Callable[[Package | None], dict[str, Any]],
    *,
    status: int = 200,
) -> Response:
    with as_sent(f"{noun.name}.", {}, TERMS_NAMES):
        written = await noun.change(engine, id, change)
    return respond(Data[Any](data=noun.answer.of(written)), status)


def _there(noun: Noun[Any], id: str, present: Package | None) -> Package:
    if present is None:
        raise NotFound(noun.name, id)
    return present


async def _read(noun: Noun[Any], engine: AsyncHeadgate, id: str) -> Package:
    return _there(noun, id, (await noun.read(engine)).get(id))


async def retrieve(noun: Noun[Any], request: Request, engine: AsyncHeadgate, id: str) -> Response:
    """Read a plan or an add-on."""
    known_only(request, ())
    return respond(Data[Any](data=noun.answer.of(await _read(noun, engine, id))))


async def list_all(noun: Noun[Any], request: Request, engine: AsyncHeadgate, window: Window) -> Response:
    """List plans or add-ons by id, filtered."""
    known_only(request, ("productId", "status", *CREATED, *PAGING))
    product, statuses = identifier(request, "productId"), strings(request, "status")
    is_created = created_within(request)
    for status in statuses:
        if status not in STATUSES:
            raise InvalidInput.of("status", status, f"must be one of {', '.join(STATUSES)}")
    found = [
        each
        for each in (await noun.read(engine)).values()
        if product in (None, each.product) and is_created(each.created_at_ms)
    ]
    shown = found if not statuses or "PUBLISHED" in statuses else []
    page, pagination = paged(shown, window, lambda each: (each.id,))
    return respond(Page[Any](data=[noun.answer.of(each) for each in page], pagination=pagination))


async def publish(noun: Noun[Any], request: Request, engine: AsyncHeadgate, id: str, body: PublishBody) -> Response:
    """Answer that a plan or an add-on is live, as it has been since it was written."""
    known_only(request, ())
    if body.migration_type != "ALL_CUSTOMERS":
        rule = "there is one version, which holds for all subscribers since it was written: give ALL_CUSTOMERS"
        raise not_supported("migrationType", body.migration_type, rule)
    await _read(noun, engine, id)
    return respond(Data[PublishAnswer](data=PublishAnswer()))


async def list_entitlements(noun: Noun[Any], request: Request, engine: AsyncHeadgate, id: str) -> Response:
    """List all that a plan or an add-on entitles to, in its order; there are no pages."""
    known_only(request, ())
    shown = _entitlements(await _read(noun, engine, id))
    return respond(Page[AnyEntitlement](data=shown, pagination=Pagination(next=None, prev=None)))


async def create_entitlements(noun: Noun[Any], engine: AsyncHeadgate, id: str, body: EntitlementsBody) -> Response:
    """Add entitlements to a plan or an add-on, all or none. What is there already and says the same stays as it is."""
    places: Places = {}

    def added(present: Package | None) -> dict[str, Any]:
        document = _there(noun, id, present).model_dump()
        places.clear()
        for index, each in enumerate(body.entitlements):
            kind, field, key = _KINDS[each.type]
            terms = each.over({key: each.id})
            known = [item for item in document[field] if item[key] == each.id]
            if known and kind.accept(terms).model_dump() not in known:
                raise DuplicateId("entitlement", each.id)
            if not known:
                places[field, len(document[field])] = f"entitlements[{index}]."
                document[field] = (*document[field], terms)
        return document

    with as_sent(f"{noun.name}.", places, TERMS_NAMES):
        written = await noun.change(engine, id, added)
    asked = {(each.id, each.type) for each in body.entitlements}
    shown = [each for each in _entitlements(written) if (each.id, each.type) in asked]
    return respond(Data[list[AnyEntitlement]](data=shown), HTTPStatus.CREATED)


async def update_entitlement(
    noun: Noun[Any], engine: AsyncHeadgate, id: str, entitlement: str, body: EntitlementChangesBody
) -> Response:
    """Change what is given of an entitlement; what only the library can say of it stays."""
    places: Places = {}

    def changed(present: Package | None) -> dict[str, Any]:
        package = _there(noun, id, present)
        if isinstance(body, CreditChangesBody):
            field, index = _only(noun, package, entitlement, _credits(package, entitlement, body.cadence))
        else:
            field, index = _only(noun, package, entitlement, _features(package, entitlement))
        places.clear()
        places[field, index] = ""
        document = package.model_dump()
        items = list(document[field])
        items[index] = body.over(items[index])
        return document | {field: tuple(items)}

    with as_sent(f"{noun.name}.", places, TERMS_NAMES):
        written = await noun.change(engine, id, changed)
    ((field, index),) = places
    return respond(Data[AnyEntitlement](data=_shown(written, getattr(written, field)[index])))


async def delete_entitlement(
    noun: Noun[Any], request: Request, engine: AsyncHeadgate, id: str, entitlement: str
) -> Response:
    """Take an entitlement away, and answer what it was."""
    known_only(request, ())
    taken: list[Entitlement] = []

    def without(present: Package | None) -> dict[str, Any]:
        package = _there(noun, id, present)
        places = [*_features(package, entitlement), *_credits(package, entitlement, None)]
        field, index = _only(noun, package, entitlement, places)
        taken[:] = [_shown(package, getattr(package, field)[index])]
        document = package.model_dump()
        return document | {field: (*document[field][:index], *document[field][index + 1 :])}

    await noun.change(engine, id, without)
    return respond(Data[AnyEntitlement](data=taken[0]))


def _features(package: Package, id: str) -> list[tuple[str, int]]:
    return [("entitlements", index) for index, each in enumerate(package.entitlements) if each.feature == id]


def _credits(package: Package, id: str, cadence: str | None) -> list[tuple[str, int]]:
    """Where the credits of a currency stand; of several, those of a cadence."""
    found = [index for index, each in enumerate(package.credits) if each.currency == id]
    if len(found) > 1 and cadence is not None:
        found = [index for index in found if package.credits[index].cadence == cadence]
    return [("credits", index) for index in found]


def _only(noun: Noun[Any], package: Package, id: str, places: Sequence[tuple[str, int]]) -> tuple[str, int]:
    whose = f"of {noun.name} {package.id!r}"
    if not places:
        raise NotFound("entitlement", id, within=whose)
    if len(places) > 1:
        raise Conflict(f"{id!r} names {len(places)} entitlements {whose}, which the library made: change them there")
    return places[0]


def _entitlements(package: Package) -> list[Entitlement]:
    features = [_shown(package, each) for each in package.entitlements]
    return features + [_shown(package, each) for each in package.credits]


def _shown(package: Package, entitlement: PackageEntitlement | RecurringCredit) -> Entitlement:
    if isinstance(entitlement, RecurringCredit):
        return CreditEntitlementAnswer.of(package, entitlement)
    return FeatureEntitlementAnswer.of(package, entitlement)
