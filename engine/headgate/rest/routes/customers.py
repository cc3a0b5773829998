"""Customers and their resources.

Creating a customer again as it is answers it again; creating another one under its id is 409. What is not given of a
change stays; metadata that is given takes the place of all that there was.

What differs from the vendor's:

- A customer is archived with whatever it has: its subscriptions stay, and are worth nothing until it is brought back.
- `PUT /api/v1/customers/{id}/resources/{resourceId}` is ours: what makes a resource.
- The order of the list is for paging alone: no write disturbs it. A filter reads customers until a page is full.

accepted and ignored: `updatedAt` of an imported customer, since instants are the server's; the headers `X-ACCOUNT-ID`
and `X-ENVIRONMENT-ID`, since an environment is that of the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import BeforeValidator, Field, model_validator

from headgate.errors import InvalidInput, NotFound
from headgate.model.customer import Customer, Resource
from headgate.model.decision import instant
from headgate.model.ids import is_id
from headgate.rest.access import FULL, READ
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED, CREATED_PARAMETERS, created_within
from headgate.rest.pages import Key, Paged, Window, cursor, paged
from headgate.rest.queries import PAGING, Parameter, known_only, text
from headgate.rest.routed import routed
from headgate.rest.shapes import Answer, Body, Data, IdText, Moment, Page, Pagination, respond
from headgate.rest.unbuilt import Unbuilt
from headgate.service.wire_names import wire_names
from headgate.verbs.listing import LIMIT_MAX

router = APIRouter()

IMPORTED_MAX: Final = 100

CustomerId = Annotated[IdText, Path(alias="id", description="the customer")]
ResourceId = Annotated[IdText, Path(alias="resourceId", description="the resource")]

_PATH: Final = "/api/v1/customers"
_NAMES: Final = {"display_name": "displayName"}


def _nothing(value: object) -> object:
    return None if value in ("", [], {}) else value


UnbuiltOrEmpty = Annotated[Unbuilt, BeforeValidator(_nothing)]
"""A field that is not built, and that says nothing where it is empty: there are no coupons to take away."""


class CustomerFields(Body):
    """What of a customer can be changed. Null clears a text."""

    name: str | None = None
    email: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    billing_currency: Unbuilt = None
    billing_id: Unbuilt = None
    coupon_id: UnbuiltOrEmpty = None
    integrations: UnbuiltOrEmpty = None
    language: Unbuilt = None
    passthrough: UnbuiltOrEmpty = None
    timezone: Unbuilt = None

    def given(self) -> dict[str, Any]:
        """What the engine is given: the fields that were sent."""
        texts = {name: getattr(self, name) or "" for name in ("name", "email") if self.gives(name)}
        return texts | ({"metadata": self.metadata} if self.gives("metadata") else {})


class CustomerBody(CustomerFields):
    """A customer to create."""

    id: IdText
    default_payment_method: Unbuilt = None


class ImportedBody(Body):
    """A customer to create, or to change. Metadata that is left out stays."""

    id: IdText
    name: str | None
    email: str | None
    metadata: dict[str, str] = Field(default_factory=dict)
    updated_at: Moment | None = None
    billing_id: Unbuilt = None
    payment_method_id: Unbuilt = None
    salesforce_id: Unbuilt = None

    def given(self) -> dict[str, Any]:
        """What the engine is given."""
        texts = {"name": self.name or "", "email": self.email or ""}
        return texts | ({"metadata": self.metadata} if self.gives("metadata") else {})


class ImportBody(Body):
    """Customers to create or to change, each once."""

    customers: Annotated[list[ImportedBody], Field(min_length=1, max_length=IMPORTED_MAX)]
    integration_id: Unbuilt = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = [id for id, count in Counter(each.id for each in self.customers).items() if count > 1]
        if twice:
            raise ValueError(f"customers: each may be in the list once, and {', '.join(twice)} is there more often")
        return self


class ResourceBody(Body):
    """A resource to create, or to change. What is left out stays; null clears a text."""

    display_name: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)

    def given(self) -> dict[str, Any]:
        """What the engine is given: the fields that were sent."""
        texts = {"display_name": self.display_name or ""} if self.gives("display_name") else {}
        return texts | ({"metadata": self.metadata} if self.gives("metadata") else {})


class CustomerAnswer(Answer):
    """Who is billed."""

    id: str
    name: str | None
    email: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, customer: Customer) -> Self:
        """Show a customer."""
        archived_at_ms = customer.archived_at_ms
        return cls(
            id=customer.id,
            name=customer.name or None,
            email=customer.email or None,
            metadata=customer.metadata,
            created_at=instant(customer.created_at_ms),
            updated_at=instant(customer.updated_at_ms),
            archived_at=None if archived_at_ms is None else instant(archived_at_ms),
        )


class ImportAnswer(Answer):
    """Which customers were not there before."""

    new_customers: list[str]


class ResourceAnswer(Answer):
    """A sub-account of a customer, such as a site."""

    id: str
    display_name: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, resource: Resource) -> Self:
        """Show a resource."""
        return cls(
            id=resource.id,
            display_name=resource.display_name or None,
            metadata=resource.metadata,
            created_at=instant(resource.created_at_ms),
            updated_at=instant(resource.updated_at_ms),
        )


_routed: Final = partial(routed, "customers")


@router.post(_PATH, operation_id="create_customer", **_routed(FULL, Data[CustomerAnswer], 201))
async def create_customer(request: Request, engine: Engine, body: CustomerBody) -> Response:
    """Create a customer. Creating it again as it is answers it again; another one under its id is 409."""
    known_only(request, ())
    customer = await engine.customers.put(body.id, **body.given(), only_new=True)
    return respond(Data[CustomerAnswer](data=CustomerAnswer.of(customer)), 201)


_LIST: Final = _routed(
    READ,
    Page[CustomerAnswer],
    200,
    Parameter("name", "only customers of exactly this name"),
    Parameter("email", "only customers of exactly this email address"),
    *CREATED_PARAMETERS,
)


@router.get(_PATH, operation_id="list_customers", **_LIST)
async def list_customers(request: Request, engine: Engine, window: Paged) -> Response:
    """List the customers, archived ones too, in an order that no write disturbs."""
    known_only(request, ("name", "email", *CREATED, *PAGING))
    name, email, is_within = text(request, "name"), text(request, "email"), created_within(request)

    def is_wanted(customer: Customer) -> bool:
        same = name in (None, customer.name) and email in (None, customer.email)
        return same and is_within(customer.created_at_ms)

    is_filtered = any(parameter not in PAGING for parameter in request.query_params)
    found = await _read(engine, window, is_wanted, LIMIT_MAX if is_filtered else window.limit + 1)
    page, pagination = _cut(found, window)
    return respond(Page[CustomerAnswer](data=[CustomerAnswer.of(each) for each in page], pagination=pagination))


async def _read(engine: Engine, window: Window, is_wanted: Callable[[Customer], bool], at_once: int) -> list[Customer]:
    """Read the wanted customers of a page, and one more if there is one."""
    after, before = _customer("after", window.after), _customer("before", window.before)
    is_backwards = before is not None
    found: list[Customer] = []
    while len(found) <= window.limit:
        read = await engine.customers.list(after=after, before=before, limit=at_once)
        wanted = [each for each in read if is_wanted(each)]
        found = [*wanted, *found] if is_backwards else [*found, *wanted]
        if len(read) < at_once:
            break
        after, before = (None, read[0].id) if is_backwards else (read[-1].id, None)
    return found


def _cut(found: list[Customer], window: Window) -> tuple[list[Customer], Pagination]:
    """Cut the page out of what was read. There was something where the cursor came from."""
    is_backwards, has_more = window.before is not None, len(found) > window.limit
    page = found[-window.limit :] if is_backwards else found[: window.limit]
    has_earlier, has_later = (has_more, True) if is_backwards else (window.after is not None, has_more)
    return page, Pagination(
        next=cursor((page[-1].id,)) if page and has_later else None,
        prev=cursor((page[0].id,)) if page and has_earlier else None,
    )


def _customer(field: str, key: Key | None) -> str | None:
    """The customer that a cursor names."""
    match key:
        case None:
            return None
        case (str() as id,) if is_id(id):
            return id
    raise InvalidInput.of(field, key, "is the cursor of another list")


@router.post(f"{_PATH}/import", operation_id="import_customers", **_routed(FULL, Data[ImportAnswer]))
async def import_customers(request: Request, engine: Engine, body: ImportBody) -> Response:
    """Create or change 1 to 100 customers, in order. Each is written by itself; importing them again is safe."""
    known_only(request, ())
    new: list[str] = []
    for each in body.customers:
        if not await _is_there(engine, each.id):
            new.append(each.id)
        await engine.customers.put(each.id, **each.given())
    return respond(Data[ImportAnswer](data=ImportAnswer(new_customers=new)))


async def _is_there(engine: Engine, customer: str) -> bool:
    try:
        await engine.customers.get(customer)
    except NotFound:
        return False
    return True


@router.get(f"{_PATH}/{{id}}", operation_id="get_customer", **_routed(READ, Data[CustomerAnswer]))
async def get_customer(request: Request, engine: Engine, customer: CustomerId) -> Response:
    """Read a customer, also an archived one."""
    known_only(request, ())
    return _shown(await engine.customers.get(customer))


@router.patch(f"{_PATH}/{{id}}", operation_id="update_customer", **_routed(FULL, Data[CustomerAnswer]))
async def update_customer(request: Request, engine: Engine, customer: CustomerId, body: CustomerFields) -> Response:
    """Change what is given of a customer."""
    known_only(request, ())
    await engine.customers.get(customer)  # no customer is ever removed, so it is still there when it is written
    return _shown(await engine.customers.put(customer, **body.given()))


@router.post(f"{_PATH}/{{id}}/archive", operation_id="archive_customer", **_routed(FULL, Data[CustomerAnswer]))
async def archive_customer(request: Request, engine: Engine, customer: CustomerId) -> Response:
    """Archive a customer: its checks are denied from the next call on. Usage stays."""
    known_only(request, ())
    return _shown(await engine.customers.archive(customer))


@router.post(f"{_PATH}/{{id}}/unarchive", operation_id="unarchive_customer", **_routed(FULL, Data[CustomerAnswer]))
async def unarchive_customer(request: Request, engine: Engine, customer: CustomerId) -> Response:
    """Bring an archived customer back, with all that it had."""
    known_only(request, ())
    return _shown(await engine.customers.unarchive(customer))


def _shown(customer: Customer) -> Response:
    return respond(Data[CustomerAnswer](data=CustomerAnswer.of(customer)))


@router.get(f"{_PATH}/{{id}}/resources", operation_id="list_resources", **_routed(READ, Page[ResourceAnswer]))
async def list_resources(request: Request, engine: Engine, customer: CustomerId, window: Paged) -> Response:
    """List the resources of a customer, by id."""
    known_only(request, PAGING)
    page, pagination = paged(await engine.customers.resources(customer), window, lambda each: (each.id,))
    return respond(Page[ResourceAnswer](data=[ResourceAnswer.of(each) for each in page], pagination=pagination))


@router.put(
    f"{_PATH}/{{id}}/resources/{{resourceId}}", operation_id="put_resource", **_routed(FULL, Data[ResourceAnswer])
)
async def put_resource(
    request: Request, engine: Engine, customer: CustomerId, resource: ResourceId, body: ResourceBody
) -> Response:
    """Create a resource of a customer, or change what is given of it."""
    known_only(request, ())
    with wire_names(_NAMES):
        written = await engine.customers.put_resource(customer, resource, **body.given())
    return respond(Data[ResourceAnswer](data=ResourceAnswer.of(written)))
