"""Grants of credits, and the ledger of what became of them.

The id of a grant says itself whose it is. Granting carries the header `Idempotency-Key`, or does not: with a key, the
same grant is given once, however often it is asked for, and another one under the key is 409; without one, each request
gives credits.

What differs from the vendor's:

- Nobody is billed: `cost` may be 0, `paymentCollectionMethod` NONE; anything else of that kind is not built.
- Without a `resourceId`, grants and ledger are those of the customer's own wallets, of no resource. With a
  `reservationId`, the ledger is that of the wallet which it was held of.
- Grants that recur are listed, one for each period until now, and end with their subscription: they can't be voided.
- The ledger does not tell what was used, one by one: the grants say how much that is.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; an environment is that of the server.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, Self

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import Field, model_validator

from headgate.errors import InvalidInput, NotFound
from headgate.model.credits import Grant, GrantKind, GrantState, GrantStatus
from headgate.model.decision import instant
from headgate.model.ledger import LedgerEntry, LedgerEvent
from headgate.rest.access import FULL, READ
from headgate.rest.answers.ledger import CREDIT_EVENTS, CreditEvent, LedgerAnswer, held_until
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED, CREATED_PARAMETERS, created_within
from headgate.rest.names import pack_name, unpack_name
from headgate.rest.pages import Paged, paged
from headgate.rest.queries import PAGING, Parameter, identifier, known_only, strings
from headgate.rest.routed import routed
from headgate.rest.shapes import Answer, Body, Data, IdText, Moment, Number, Page, instant_ms, respond
from headgate.rest.unbuilt import Unbuilt, not_supported
from headgate.service.wire_names import wire_names

router = APIRouter()

KEY_MAX: Final = 255

GrantName = Annotated[str, Path(alias="id", description="the grant")]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=KEY_MAX, description="names this grant: it is given once"),
]

_GRANT: Final = "grant"
_NAMES: Final = {
    "grant_id": "id",
    "currency": "currencyId",
    "resource": "resourceId",
    "kind": "grantType",
    "effective_at_ms": "effectiveAt",
    "expires_at_ms": "expireAt",
    "display_name": "displayName",
}


class Cost(Body):
    """What a grant costs: nothing, since nobody is billed."""

    amount: float
    currency: str


class GrantBody(Body):
    """Credits to give."""

    customer_id: IdText
    currency_id: IdText
    resource_id: IdText | None = None
    amount: float
    display_name: str
    grant_type: Literal["PAID", "PROMOTIONAL"]
    effective_at: Moment | None = None
    expire_at: Moment | None = None
    priority: int | None = None
    comment: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    cost: Cost | None = None
    payment_collection_method: Literal["NONE", "CHARGE", "INVOICE"] | None = None
    billing_information: Unbuilt = None
    await_payment_confirmation: Unbuilt = None

    @model_validator(mode="after")
    def _is_free(self) -> Self:
        if self.cost is not None and self.cost.amount != 0:
            raise not_supported("cost.amount", self.cost.amount, "nobody is billed: a grant costs 0")
        method = self.payment_collection_method
        if method not in (None, "NONE"):
            raise not_supported("paymentCollectionMethod", method, "no payment is collected: give NONE")
        return self

    def as_given(self, id: str | None) -> dict[str, Any]:
        """What the engine is given."""
        optional = {
            "id": id,
            "priority": self.priority,
            "effective_at_ms": None if self.effective_at is None else instant_ms(self.effective_at),
            "expires_at_ms": None if self.expire_at is None else instant_ms(self.expire_at),
            "comment": self.comment,
        }
        return {
            "currency": self.currency_id,
            "resource": self.resource_id,
            "kind": self.grant_type,
            "amount": self.amount,
            "display_name": self.display_name,
            "metadata": self.metadata,
            **{name: value for name, value in optional.items() if value is not None},
        }


class CostAnswer(Answer):
    """What a grant cost."""

    amount: Number = 0
    currency: str = "usd"


class GrantAnswer(Answer):
    """Credits that were given, or that recur, and what became of them. Voiding is the only change there is."""

    id: str
    customer_id: str
    currency_id: str
    resource_id: str | None
    display_name: str
    comment: str | None
    metadata: dict[str, str]
    grant_type: GrantKind
    status: GrantStatus
    amount: Number
    consumed_amount: Number
    priority: Number
    effective_at: datetime
    expire_at: datetime | None
    voided_at: datetime | None
    cost: CostAnswer = CostAnswer()
    payment_collection: Literal["NOT_REQUIRED"] = "NOT_REQUIRED"
    source_type: None = None
    invoice_id: None = None
    latest_invoice: None = None
    sync_states: None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, customer: str, grant: GrantState) -> Self:
        """Show a grant."""
        voided_at_ms = grant.voided_at_ms
        return cls(
            id=_name(customer, grant.currency, grant.resource, grant.id),
            customer_id=customer,
            currency_id=grant.currency,
            resource_id=grant.resource,
            display_name=grant.display_name,
            comment=grant.comment or None,
            metadata=grant.metadata,
            grant_type=grant.kind,
            status=grant.status,
            amount=grant.amount,
            consumed_amount=grant.consumed,
            priority=grant.priority,
            effective_at=instant(grant.effective_at_ms),
            expire_at=None if grant.expires_at_ms is None else instant(grant.expires_at_ms),
            voided_at=None if voided_at_ms is None else instant(voided_at_ms),
            created_at=instant(grant.created_at_ms),
            updated_at=instant(grant.created_at_ms if voided_at_ms is None else voided_at_ms),
        )


def _name(customer: str, currency: str, resource: str | None, id: str) -> str:
    """The id of a grant on the wire. That of a recurring one has parts: no id has a `:`."""
    return pack_name(_GRANT, customer, currency, resource, *id.split(":"))


_routed: Final = partial(routed, "credits")


@router.post("/api/v1/credits/grants", operation_id="create_grant", **_routed(FULL, Data[GrantAnswer], 201))
async def create_grant(request: Request, engine: Engine, body: GrantBody, key: IdempotencyKey = None) -> Response:
    """Give credits to a customer, or to one of its resources. With an Idempotency-Key, once."""
    known_only(request, ())
    id = None if key is None else f"key-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    with wire_names(_NAMES):
        grant = await engine.credits.grant(body.customer_id, body.as_given(id))
    # Without a key nothing may fail once it is given: a client that sent it again would give it twice.
    state = _untouched(grant) if key is None else await _read(engine, body.customer_id, grant)
    return respond(Data[GrantAnswer](data=GrantAnswer.of(body.customer_id, state)), 201)


def _untouched(grant: Grant) -> GrantState:
    """What a grant is at the instant at which it is given."""
    is_to_come = grant.effective_at_ms > grant.created_at_ms
    return GrantState(
        **grant.model_dump(exclude={"number"}),
        status=GrantStatus.SCHEDULED if is_to_come else GrantStatus.ACTIVE,
        consumed=0.0,
        held=0.0,
    )


async def _read(engine: Engine, customer: str, grant: Grant) -> GrantState:
    """Read what became of a grant."""
    states = await engine.credits.grants(customer, currency=grant.currency, resource=grant.resource)
    return next(each for each in states if each.id == grant.id)


_WALLET: Final = (
    Parameter("customerId", "whose credits; required"),
    Parameter("currencyId", "only those of this currency"),
    Parameter("resourceId", "those of this resource; without it, those of no resource"),
)
_LIST: Final = _routed(READ, Page[GrantAnswer], 200, *_WALLET, *CREATED_PARAMETERS)


@router.get("/api/v1/credits/grants", operation_id="list_grants", **_LIST)
async def list_grants(request: Request, engine: Engine, window: Paged) -> Response:
    """List the grants of a customer, or of one of its resources, in the order in which they were given."""
    known_only(request, ("customerId", "currencyId", "resourceId", *CREATED, *PAGING))
    customer, currency, resource = _wallet(request)
    is_within = created_within(request)
    grants = await engine.credits.grants(customer, currency=currency, resource=resource)
    wanted = [each for each in grants if is_within(each.created_at_ms)]
    page, pagination = paged(wanted, window, lambda each: (each.created_at_ms, each.currency, each.id))
    return respond(Page[GrantAnswer](data=[GrantAnswer.of(customer, each) for each in page], pagination=pagination))


def _wallet(request: Request) -> tuple[str, str | None, str | None]:
    customer = identifier(request, "customerId")
    if customer is None:
        raise InvalidInput.of("customerId", None, "is required")
    return customer, identifier(request, "currencyId"), identifier(request, "resourceId")


@router.post("/api/v1/credits/grants/{id}/void", operation_id="void_grant", **_routed(FULL, Data[GrantAnswer]))
async def void_grant(request: Request, engine: Engine, name: GrantName) -> Response:
    """Take back what a grant has left. What was used of it stays used. Voiding it again changes nothing."""
    known_only(request, ())
    parts = unpack_name(name, _GRANT, parts=4) or unpack_name(name, _GRANT, parts=7)
    if parts is None or not all((parts[0], parts[1], *parts[3:])):
        raise NotFound(_GRANT, name)
    customer, currency, resource, *id = parts
    with wire_names(_NAMES):
        grant = await engine.credits.void(customer, ":".join(id), currency=currency, resource=resource or None)
    return respond(Data[GrantAnswer](data=GrantAnswer.of(customer, await _read(engine, customer, grant))))


_LEDGER: Final = _routed(
    READ,
    Page[LedgerAnswer],
    200,
    *_WALLET,
    Parameter("eventType", "only these events", is_list=True),
    Parameter("reservationId", "only what happened to this reservation"),
)


@router.get("/api/v1/credits/ledger", operation_id="list_ledger", **_LEDGER)
async def list_ledger(request: Request, engine: Engine, window: Paged) -> Response:
    """Tell what happened to a customer's grants, and to what was reserved of them, the earliest first."""
    known_only(request, ("customerId", "currencyId", "resourceId", "eventType", "reservationId", *PAGING))
    customer, currency, resource = _wallet(request)
    reservation, events = identifier(request, "reservationId"), strings(request, "eventType")
    for event in events:
        if event not in list(CreditEvent):
            raise InvalidInput.of("eventType", event, f"must be one of {', '.join(CreditEvent)}")
    if reservation is not None and resource is None:
        resource = await _resource_of(engine, customer, reservation)
    entries = await engine.credits.ledger(customer, currency=currency, resource=resource)
    held = held_until(entries)
    wanted = [
        each
        for each in entries
        if (not events or CREDIT_EVENTS[each.event] in events) and reservation in (None, each.reservation)
    ]
    page, pagination = paged(wanted, window, _place)
    shown = []
    for each in page:
        grant = each.grant or next((charge.grant for charge in each.set_aside), None)
        name = "" if grant is None or each.currency is None else _name(customer, each.currency, each.resource, grant)
        shown.append(LedgerAnswer.of(each, held, name))
    return respond(Page[LedgerAnswer](data=shown, pagination=pagination))


def _place(entry: LedgerEntry) -> tuple[int, int, str, str]:
    """Where an entry stands: in the order of time, then in that in which things happen at one instant."""
    return entry.at_ms, list(LedgerEvent).index(entry.event), entry.currency or "", entry.id


async def _resource_of(engine: Engine, customer: str, reservation: str) -> str | None:
    """Which resource a reservation was made for; None also where there is no such reservation."""
    try:
        return (await engine.reservations.get(customer, reservation)).resource
    except NotFound:
        return None
