"""Checks and entitlements: what a customer may do now. Denials are answers, with status 200.

A check that is given `reserveAmount` decides and holds in one step, for features and chains as well as for credits, and
needs the scope of a write. Both spellings of the route have one handler.

Ignored, as it has no effect on a decision: the headers X-ACCOUNT-ID and X-ENVIRONMENT-ID.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import InvalidInput
from headgate.model.decision import Decision
from headgate.model.reservation import LASTS_MAX_MS, Reservation
from headgate.rest import queries
from headgate.rest.access import READ, RUNTIME
from headgate.rest.answers.checks import CheckAnswer, EntitlementsAnswer, check_answer, entitlements_answer
from headgate.rest.engine import Engine
from headgate.rest.queries import Parameter
from headgate.rest.shapes import Data, respond
from headgate.service.wire_names import wire_names

router = APIRouter()

TTL_MAX_S: Final = LASTS_MAX_MS // 1000

ASKED: Final = (
    Parameter("featureId", "the feature to ask about; give this or currencyId"),
    Parameter("currencyId", "the currency to ask about"),
    Parameter("requestedUsage", "the amount that is to fit; 1 if it is not given", "number"),
    Parameter("requestedValues", "the values of an enum feature that are to be granted", is_list=True),
    Parameter("resourceId", "the customer's resource whose own limits decide"),
    Parameter("dimensions", "dimensions[key]=value: who or what the request is for", "object"),
)
HELD: Final = (
    Parameter("reserveAmount", "hold this amount if it fits; requestedUsage is then ignored", "number"),
    Parameter("reservationId", "your own id of the reservation: repeated, it is the same one"),
    Parameter("reservationTtlSeconds", f"how long it is held: 1 to {TTL_MAX_S}, 3600 if it is not given", "integer"),
    Parameter("reservationExpiresAt", "until when it is held, 24 hours ahead at most", "date-time"),
    Parameter("reservationMetadata", "an object of texts in JSON, kept with the reservation"),
)
RESERVING: Final = tuple(parameter.name for parameter in HELD if parameter.name != "reserveAmount")
NAMES: Final = tuple(parameter.name for parameter in (*ASKED, *HELD) if parameter.name != "dimensions")

WIRE_NAMES: Final = {
    "customer": "id",
    "feature": "featureId",
    "currency": "currencyId",
    "resource": "resourceId",
    "requested_usage": "requestedUsage",
    "requested_values": "requestedValues",
    "amount": "reserveAmount",
    "id": "reservationId",
    "expires_in": "reservationTtlSeconds",
    "expires_at": "reservationExpiresAt",
    "metadata": "reservationMetadata",
}
"""What the engine's arguments are called on the wire."""


async def _needs_more_to_reserve(request: Request) -> None:
    """A check reads; one that holds something needs the scope of a write."""
    if "reserveAmount" in request.query_params:
        await RUNTIME.dependency(request)


_SHOWN: Final[dict[str, Any]] = {
    "tags": ["checks"],
    "dependencies": [READ, Depends(_needs_more_to_reserve)],
    "response_model": None,
    "responses": {200: {"model": Data[CheckAnswer], "description": "the decision; a denial is one, too"}},
    "openapi_extra": queries.documented(*ASKED, *HELD),
}


@router.get("/api/v1/customers/{id}/entitlements/check", operation_id="check_entitlement", **_SHOWN)
@router.get("/api/v1-beta/customers/{id}/entitlements/check", operation_id="check_entitlement_beta", **_SHOWN)
async def check_entitlement(request: Request, engine: Engine, id: str) -> Response:
    """Say whether an amount of a feature or of credits would fit every limit in its way, and hold it if asked to."""
    queries.known_only(request, NAMES, prefixes=(queries.DIMENSIONS,))
    _require_one_capability(request)
    about: dict[str, Any] = {
        "feature": queries.identifier(request, "featureId"),
        "currency": queries.identifier(request, "currencyId"),
        "resource": queries.identifier(request, "resourceId"),
        "dimensions": queries.dimensions(request),
    }
    requested_usage = queries.number(request, "requestedUsage")
    requested_values = queries.strings(request, "requestedValues")
    amount = queries.number(request, "reserveAmount")
    with wire_names(WIRE_NAMES):
        if amount is not None:
            decision, reservation = await _reserve(engine, id, amount, about, _hold(request))
            return respond(Data[CheckAnswer](data=check_answer(decision, reservation)), only_set=True)
        _require_no_reservation(request)
        decision = await engine.check(
            id,
            requested_usage=Decimal(1) if requested_usage is None else requested_usage,
            requested_values=requested_values,
            **about,
        )
    return respond(Data[CheckAnswer](data=check_answer(decision)), only_set=True)


@router.get(
    "/api/v1/customers/{id}/entitlements",
    operation_id="retrieve_entitlements",
    tags=["checks"],
    dependencies=[READ],
    response_model=None,
    responses={200: {"model": Data[EntitlementsAnswer]}},
    openapi_extra=queries.documented(Parameter("resourceId", "the customer's resource to read them for")),
)
async def retrieve_entitlements(request: Request, engine: Engine, id: str) -> Response:
    """Read everything that a customer, or one of its resources, is entitled to now."""
    queries.known_only(request, ["resourceId"])
    with wire_names(WIRE_NAMES):
        found = await engine.entitlements(id, resource=queries.identifier(request, "resourceId"))
    return respond(Data[EntitlementsAnswer](data=entitlements_answer(found)), only_set=True)


async def _reserve(
    engine: AsyncHeadgate, customer: str, amount: Decimal, about: dict[str, Any], hold: dict[str, Any]
) -> tuple[Decision, Reservation | None]:
    """Hold an amount, or find it held: a repeat has the first outcome, with the numbers of now, as long as it is held.

    What has ended is no grant: else an id would be one for a day after its end.
    """
    made = await engine.reserve(customer, amount=amount, **about, **hold)
    if made.decision is not None:
        return made.decision, made.reservation if made.granted else None
    now = await engine.check(customer, requested_usage=0, **about)
    return replace(now, granted=made.granted, reason=None, requested=made.reservation.amount), made.reservation


def _require_one_capability(request: Request) -> None:
    named = [name for name in ("featureId", "currencyId") if name in request.query_params]
    if len(named) != 1:
        shown = " and ".join(named) or None
        raise InvalidInput.of("featureId", shown, "a check is about a featureId or a currencyId: give one of the two")


def _require_no_reservation(request: Request) -> None:
    for name in RESERVING:
        if name in request.query_params:
            raise InvalidInput.of(name, request.query_params[name], "needs reserveAmount: nothing is held without it")


def _hold(request: Request) -> dict[str, Any]:
    """How the amount is to be held."""
    id = queries.identifier(request, "reservationId")
    if id is None:
        raise InvalidInput.of("reservationId", None, "is needed with reserveAmount: make an id, to repeat it by")
    lasts_s = queries.integer(request, "reservationTtlSeconds", least=1, most=TTL_MAX_S)
    expires_at: datetime | None = queries.moment(request, "reservationExpiresAt")
    if lasts_s is not None and expires_at is not None:
        raise InvalidInput.of(
            "reservationExpiresAt", expires_at.isoformat(), "give reservationTtlSeconds or reservationExpiresAt"
        )
    return {"id": id, "expires_in": lasts_s, "expires_at": expires_at, "metadata": _metadata(request)}


def _metadata(request: Request) -> dict[str, str] | None:
    given = queries.text(request, "reservationMetadata")
    if given is None:
        return None
    try:
        read = json.loads(given)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
        raise InvalidInput.of("reservationMetadata", given, "must be an object of texts, in JSON")
    return read
