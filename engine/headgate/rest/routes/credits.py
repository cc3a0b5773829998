"""Credits: taking them from a wallet directly, and settling what was reserved of it.

A consumption is a report: it is counted whatever the wallet has, and what it has not is overdraft. The second route of
it carries the consumptions out before it answers, too: nothing is put off.

Ignored, as it has no effect on what is counted: the headers X-ACCOUNT-ID and X-ENVIRONMENT-ID.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import model_validator

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import ConfigurationKeepsChanging, NotFound, Unavailable
from headgate.model.catalog import Currency
from headgate.model.credits import Wallet
from headgate.model.ids import require_id
from headgate.model.reservation import Reservation
from headgate.rest import queries
from headgate.rest.access import RUNTIME
from headgate.rest.answers.checks import held_reservation
from headgate.rest.answers.numbers import CreditBalance
from headgate.rest.answers.usage import (
    Amount,
    ConsumptionAnswer,
    ConsumptionBody,
    ConsumptionsBody,
    consumption_answer,
)
from headgate.rest.engine import Engine
from headgate.rest.problems import BatchProblem
from headgate.rest.shapes import Answer, Body, Data, IdText, Number, Problem, respond
from headgate.service.reporting import count
from headgate.service.wire_names import wire_names

router = APIRouter()

WIRE_NAMES: Final = {
    "customer": "customerId",
    "currency": "currencyId",
    "feature": "featureId",
    "resource": "resourceId",
    "value": "amount",
    "timestamp": "createdAt",
    "idempotency_key": "idempotencyKey",
    "id": "reservationId",
    "amount": "consumedAmount",
}
"""What the engine's fields are called on the wire. Reports have a value, reservations an amount."""

_WENT_WRONG: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": BatchProblem | Problem, "description": f"{HTTPStatus(status).phrase}: what became of each record"}
    for status in (400, 404, 409, 500, 503)
}


class ReleaseBody(Body):
    """What was used of a reservation; the rest is given back. Of a feature's, give `featureId` for `currencyId`."""

    consumed_amount: Amount
    customer_id: IdText
    currency_id: IdText | None = None
    feature_id: IdText | None = None
    resource_id: IdText | None = None

    @model_validator(mode="after")
    def _one_capability(self) -> Self:
        if (self.currency_id is None) == (self.feature_id is None):
            raise ValueError("a reservation is of a currencyId or of a featureId: give one of the two")
        return self

    @property
    def about(self) -> tuple[str | None, str | None, str | None]:
        """What the reservation has to be of."""
        return self.feature_id, self.currency_id, self.resource_id


class SettledReservation(Answer):
    """A reservation that has ended."""

    id: str
    amount: Number
    consumed_amount: Number
    expires_at: datetime
    status: Literal["ACTIVE", "RELEASED"]


class ReleaseAnswer(Answer):
    """A reservation that was settled, and the wallet afterwards."""

    credit: CreditBalance | None
    reservation: SettledReservation


class Accepted(Answer):
    """Nothing more to say: all of it was carried out."""


@router.post(
    "/api/v1/credits/consumption",
    operation_id="consume_credits",
    tags=["credits"],
    dependencies=[RUNTIME],
    response_model=None,
    responses={200: {"model": Data[ConsumptionAnswer]}, **_WENT_WRONG},
)
async def consume_credits(request: Request, engine: Engine, body: ConsumptionBody) -> Response:
    """Take credits from a wallet directly, whatever it has, and show it afterwards."""
    queries.known_only(request, ())
    (receipt,) = await count(engine, [body.as_record()], WIRE_NAMES)
    shown = consumption_answer(engine.environment, body, receipt)
    return respond(Data[ConsumptionAnswer](data=shown), only_set=True)


@router.post(
    "/api/v1/credits/consumption/async",
    operation_id="consume_credits_async",
    tags=["credits"],
    dependencies=[RUNTIME],
    response_model=None,
    responses={200: {"model": Data[Accepted]}, **_WENT_WRONG},
)
async def consume_credits_async(request: Request, engine: Engine, body: ConsumptionsBody) -> Response:
    """Take credits from wallets, up to 1,000 times in order; it is done when this answers."""
    queries.known_only(request, ())
    found = await engine.catalog.find(list(dict.fromkeys(each.currency_id for each in body.consumptions)))
    for index, each in enumerate(body.consumptions):
        if not isinstance(found.get(each.currency_id), Currency):
            within = f"(consumptions[{index}].currencyId): nothing was counted, it"
            raise NotFound("currency", each.currency_id, within=within)
    await count(engine, [each.as_record() for each in body.consumptions], WIRE_NAMES)
    return respond(Data[Accepted](data=Accepted()))


@router.post(
    "/api/v1/credits/reservations/{reservation_id}/release",
    operation_id="release_reservation",
    tags=["credits"],
    dependencies=[RUNTIME],
    response_model=None,
    responses={200: {"model": Data[ReleaseAnswer]}},
)
async def release_reservation(request: Request, engine: Engine, reservation_id: str, body: ReleaseBody) -> Response:
    """Settle a reservation: count what was used, give the rest back. Repeating it changes nothing."""
    queries.known_only(request, ())
    require_id(reservation_id, "reservationId")
    with wire_names(WIRE_NAMES):
        held = await engine.reservations.get(body.customer_id, reservation_id)
        if not _is_about(held, body):
            within = f"of {body.currency_id or body.feature_id!r} of customer {body.customer_id!r}"
            raise NotFound("reservation", reservation_id, within=within)
        settled = await engine.reservations.settle(body.customer_id, reservation_id, body.consumed_amount)
    shown = ReleaseAnswer(credit=await _balance(engine, settled), reservation=_settled(settled))
    return respond(Data[ReleaseAnswer](data=shown))


def _is_about(held: Reservation, body: ReleaseBody) -> bool:
    """Whether a reservation is what the body says; one of a feature is not one of the currency that it costs."""
    of_currency = held.currency if held.feature is None else None
    return (held.feature, of_currency, held.resource) == body.about


async def _balance(engine: AsyncHeadgate, settled: Reservation) -> CreditBalance | None:
    """The wallet after a settle. The settle is done, whether the wallet can be read or not."""
    if settled.currency is None:
        return None
    try:
        wallet: Wallet = await engine.credits.wallet(
            settled.customer, currency=settled.currency, resource=settled.resource
        )
    except (Unavailable, ConfigurationKeepsChanging, NotFound):
        return None
    return CreditBalance.of(wallet)


def _settled(reservation: Reservation) -> SettledReservation:
    return SettledReservation(**dict(held_reservation(reservation)), consumed_amount=reservation.settled)
