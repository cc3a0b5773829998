"""Subscriptions: what makes plans apply to customers, or to one of their resources.

An id that a client gives is claimed for its customer: another customer's is a conflict. Without an id a customer has
one subscription of a plan, and a resource one: provisioning it again changes it, and it is shown under an id that says
itself where it is. Changes count at once, and nothing is billed, so a provision is always a success.

What differs from the vendor's:

- Provisioning another plan makes another subscription, unless an id says which one is meant: that one changes its plan.
- Subscriptions are listed for one customer at a time.
- A cancellation without a time is immediate. A subscription that has ended does not come back.
- An import is done when it is answered. It is checked before anything is written, as far as others' writes allow.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; `awaitPaymentConfirmation`, since there is no
payment to wait for; `cancellationAction`, since a cancelled subscription entitles to nothing whatever it says.
"""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import Conflict, InvalidInput, NotFound
from headgate.model.ids import require_id
from headgate.model.subscription import Subscription, SubscriptionState, SubscriptionStatus
from headgate.rest.access import FULL, READ
from headgate.rest.answers.checks import entitlements_answer
from headgate.rest.answers.subscriptions import (
    CancelBody,
    ChangesBody,
    ImportAnswer,
    ImportBody,
    ProvisionAnswer,
    ProvisionBody,
    SubscriptionAnswer,
)
from headgate.rest.answers.terms import TERMS_NAMES
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED, CREATED_PARAMETERS, created_within
from headgate.rest.names import pack_name, unpack_name
from headgate.rest.pages import Paged, paged
from headgate.rest.places import as_sent
from headgate.rest.queries import PAGING, Parameter, identifier, known_only, strings
from headgate.rest.routed import routed
from headgate.rest.shapes import Data, Page, respond
from headgate.rest.unbuilt import not_supported

router = APIRouter()

SubscriptionId = Annotated[str, Path(alias="id", description="the subscription")]

_PATH: Final = "/api/v1/subscriptions"
_KIND: Final = "subscription"
_STATUSES: Final = ("PAYMENT_PENDING", *SubscriptionStatus)
_PRICING_TYPES: Final = ("FREE", "PAID", "CUSTOM")
_NAMES: Final = TERMS_NAMES | {
    "addon": "id",
    "plan": "planId",
    "resource": "resourceId",
    "billing_period": "billingPeriod",
    "unit_quantity": "unitQuantity",
    "start_ms": "startDate",
    "end_ms": "cancellationDate",
}
_TRIAL_NAMES: Final = {
    "trial_end_ms": "trialOverrideConfiguration.trialEndDate",
    "trial_end_behavior": "trialOverrideConfiguration.trialEndBehavior",
}

Place = tuple[str, str | None, str]
"""Where a subscription is: its customer, its resource or None, and its id there."""


_routed: Final = partial(routed, "subscriptions")

_LIST: Final = _routed(
    READ,
    Page[SubscriptionAnswer],
    200,
    Parameter("customerId", "whose subscriptions: needed, since there is no list of all"),
    Parameter("resourceId", "only those of this resource"),
    Parameter("planId", "only those to this plan"),
    Parameter("status", f"only those with one of these statuses: {', '.join(_STATUSES)}", is_list=True),
    Parameter("pricingType", "only those of one of these kinds: all are FREE", is_list=True),
    *CREATED_PARAMETERS,
)


@router.get(_PATH, operation_id="list_subscriptions", **_LIST)
async def list_subscriptions(request: Request, engine: Engine, window: Paged) -> Response:
    """List the subscriptions of a customer and of its resources, ended ones too, in order of creation."""
    known_only(request, ("customerId", "resourceId", "planId", "status", "pricingType", *CREATED, *PAGING))
    customer = identifier(request, "customerId")
    if customer is None:
        raise not_supported("customerId", None, "is needed: subscriptions are listed for one customer at a time")
    resource, plan = identifier(request, "resourceId"), identifier(request, "planId")
    is_within = created_within(request)
    statuses = _words(request, "status", _STATUSES)
    is_asked = "FREE" in _words(request, "pricingType", _PRICING_TYPES)
    wanted = [
        each
        for each in await engine.subscriptions.states(customer)
        if is_asked
        and resource in (None, each.subscription.resource)
        and plan in (None, each.subscription.plan)
        and each.status in statuses
        and is_within(each.subscription.created_at_ms)
    ]
    page, pagination = paged(wanted, window, _key)
    shown = await asyncio.gather(*(_shown(engine, customer, each) for each in page))
    return respond(Page[SubscriptionAnswer](data=shown, pagination=pagination))


@router.post(_PATH, operation_id="provision_subscription", **_routed(FULL, Data[ProvisionAnswer], HTTPStatus.CREATED))
async def provision_subscription(request: Request, engine: Engine, body: ProvisionBody) -> Response:
    """Create a subscription, or change the one of this id. It counts from the next call on."""
    known_only(request, ())
    customer, resource = body.customer_id, body.resource_id
    id, is_claimed = (None, False) if body.id is None else _own_id(body.id, customer, resource)
    present = await _present(engine, customer, resource, id or _default_id(body)) if body.entitlements else None
    upsert = {**({} if id is None else {"id": id}), **body.given(present)}
    with as_sent("subscription.", body.places(), _NAMES | _TRIAL_NAMES):
        made = await engine.subscriptions.provision(customer, upsert, claimed=is_claimed, make_resource=True)
    state = await engine.subscriptions.state(customer, made.id, resource=resource)
    shown = await _shown(engine, customer, state)
    entitled = entitlements_answer(await engine.entitlements(customer, resource=resource))
    answer = ProvisionAnswer(
        id=shown.id,
        subscription=shown,
        entitlements=entitled.entitlements,
        is_scheduled=state.status is SubscriptionStatus.NOT_STARTED,
    )
    return respond(Data[ProvisionAnswer](data=answer), HTTPStatus.CREATED)


@router.post(f"{_PATH}/import", operation_id="import_subscriptions", **_routed(FULL, Data[ImportAnswer]))
async def import_subscriptions(request: Request, engine: Engine, body: ImportBody) -> Response:
    """Create up to 100 subscriptions, or change those of these ids, in order. Importing them again is safe.

    Where one of them can not be, those before it are there.
    """
    known_only(request, ())
    plans, addons = await engine.catalog.plans(), await engine.catalog.addons()
    for index, each in enumerate(body.subscriptions):
        if each.plan_id not in plans:
            raise NotFound("plan", each.plan_id)
        for number, addon in enumerate(each.addons or ()):
            if addon.id not in addons:
                field = f"subscriptions[{index}].addons[{number}].id"
                raise InvalidInput.of(field, addon.id, "there is no such add-on")
    for customer in dict.fromkeys(each.customer_id for each in body.subscriptions):
        await engine.customers.get(customer)
    own_ids = [_own_id(each.id, each.customer_id, each.resource_id) for each in body.subscriptions]
    for index, each in enumerate(body.subscriptions):
        with as_sent("subscription.", {}, _NAMES | {"end_ms": "endDate"}, within=f"subscriptions[{index}]."):
            id, is_claimed = own_ids[index]
            upsert = {**each.given(), "id": id}
            await engine.subscriptions.provision(each.customer_id, upsert, claimed=is_claimed, make_resource=True)
    return respond(Data[ImportAnswer](data=ImportAnswer(task_id=f"import_{uuid.uuid4().hex}")))


@router.get(f"{_PATH}/{{id}}", operation_id="get_subscription", **_routed(READ, Data[SubscriptionAnswer]))
async def get_subscription(request: Request, engine: Engine, id: SubscriptionId) -> Response:
    """Read a subscription, whether it has ended or not."""
    known_only(request, ())
    place, state = await _find(engine, id)
    return respond(Data[SubscriptionAnswer](data=await _shown(engine, place[0], state)))


@router.patch(f"{_PATH}/{{id}}", operation_id="update_subscription", **_routed(FULL, Data[SubscriptionAnswer]))
async def update_subscription(request: Request, engine: Engine, id: SubscriptionId, body: ChangesBody) -> Response:
    """Change what is given of a subscription. It counts from the next call on; usage stays."""
    known_only(request, ())
    (customer, resource, own_id), state = await _find(engine, id)
    given = body.given(state.subscription)
    if given:
        names = _NAMES | {"trial_end_ms": "trialEndDate"}
        with as_sent("subscription.", body.places(), names):
            await engine.subscriptions.provision(customer, {**given, "id": own_id, "resource": resource})
        state = await engine.subscriptions.state(customer, own_id, resource=resource)
    return respond(Data[SubscriptionAnswer](data=await _shown(engine, customer, state)))


@router.post(f"{_PATH}/{{id}}/cancel", operation_id="cancel_subscription", **_routed(FULL, Data[SubscriptionAnswer]))
async def cancel_subscription(
    request: Request, engine: Engine, id: SubscriptionId, body: CancelBody | None = None
) -> Response:
    """End a subscription now, at the end of its billing period, or at an instant. Usage stays."""
    known_only(request, ())
    at = (body or CancelBody()).at()
    (customer, resource, own_id), _ = await _find(engine, id)
    with as_sent("", {}, {"at": "cancellationTime" if isinstance(at, str) else "endDate"}):
        await engine.subscriptions.cancel(customer, own_id, at=at, resource=resource)
    state = await engine.subscriptions.state(customer, own_id, resource=resource)
    return respond(Data[SubscriptionAnswer](data=await _shown(engine, customer, state)))


def _words(request: Request, name: str, among: tuple[str, ...]) -> list[str]:
    """Read a list of known words; all of them where none is given."""
    given = strings(request, name)
    for word in given:
        if word not in among:
            raise InvalidInput.of(name, word, f"must be one of {', '.join(among)}")
    return given or list(among)


def _key(state: SubscriptionState) -> tuple[int, str, str]:
    subscription = state.subscription
    return subscription.created_at_ms, subscription.resource or "", subscription.id


def _default_id(body: ProvisionBody) -> str:
    return body.plan_id if body.resource_id is None else f"{body.plan_id}@{body.resource_id}"


def _own_id(id: str, customer: str, resource: str | None) -> tuple[str, bool]:
    """Find the id among its customer's, and whether it has to be claimed: not one that says itself whose it is."""
    place = _place_in(id)
    if place is None:
        return require_id(id, "id"), True
    if place[:2] != (customer, resource):
        raise Conflict(f"subscription {id!r} belongs to another customer or resource: take another id")
    return place[2], False


def _place_in(id: str) -> Place | None:
    """Where a subscription is, if its id says so itself."""
    named = unpack_name(id, _KIND, parts=3)
    if named is None or not named[0] or not named[2]:
        return None
    return named[0], named[1] or None, named[2]


async def _find(engine: AsyncHeadgate, id: str) -> tuple[Place, SubscriptionState]:
    """Find a subscription by an id that says itself where it is, or that was claimed."""
    place = _place_in(id)
    if place is None:
        owner = await engine.subscriptions.owner(require_id(id, "id"))
        if owner is None:
            raise NotFound(_KIND, id)
        place = *owner, id
    customer, resource, own_id = place
    try:
        return place, await engine.subscriptions.state(customer, own_id, resource=resource)
    except NotFound:
        raise NotFound(_KIND, id) from None


async def _present(engine: AsyncHeadgate, customer: str, resource: str | None, id: str) -> Subscription | None:
    try:
        return await engine.subscriptions.get(customer, id, resource=resource)
    except NotFound:
        return None


async def _shown(engine: AsyncHeadgate, customer: str, state: SubscriptionState) -> SubscriptionAnswer:
    """Show a subscription under its own id where this customer claimed it, else under one that says where it is."""
    subscription = state.subscription
    is_claimed = await engine.subscriptions.owner(subscription.id) == (customer, subscription.resource)
    id = subscription.id if is_claimed else pack_name(_KIND, customer, subscription.resource, subscription.id)
    return SubscriptionAnswer.of(id, customer, state)
