"""Usage: reports are counted whatever the limits say; to consume is to count only what fits.

Ignored, as it has no effect on what is counted: the headers X-ACCOUNT-ID and X-ENVIRONMENT-ID.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import Unavailable
from headgate.model.catalog import Feature
from headgate.model.decision import Receipt
from headgate.rest import queries
from headgate.rest.access import RUNTIME
from headgate.rest.answers.checks import CheckAnswer, check_answer
from headgate.rest.answers.usage import (
    OneUsageBody,
    UsageBody,
    UsagesAnswer,
    UsagesBody,
    UsageWithBalance,
    entities_of,
    usage_answer,
    usage_with_balance,
    wallets_of,
)
from headgate.rest.engine import Engine
from headgate.rest.problems import NEVER_AGAIN, BatchProblem, problem
from headgate.rest.shapes import Data, Problem, respond
from headgate.service.reporting import count, find_counted
from headgate.service.wire_names import wire_names

router = APIRouter()

WIRE_NAMES: Final = {
    "customer": "customerId",
    "feature": "featureId",
    "currency": "featureId",
    "resource": "resourceId",
    "behavior": "updateBehavior",
    "timestamp": "createdAt",
    "idempotency_key": "idempotencyKey",
    "amount": "value",
}
"""What the engine's fields of a record are called on the wire."""

_WENT_WRONG: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": BatchProblem | Problem, "description": f"{HTTPStatus(status).phrase}: what became of each record"}
    for status in (400, 404, 409, 500, 503)
}


@router.post(
    "/api/v1/usage",
    operation_id="report_usage",
    tags=["usage"],
    status_code=201,
    dependencies=[RUNTIME],
    response_model=None,
    responses={201: {"model": Data[list[UsageWithBalance]]}, **_WENT_WRONG},
)
async def report_usage(request: Request, engine: Engine, body: UsagesBody) -> Response:
    """Count 1 to 100 records of usage, in order, and show the counter and the wallet of each."""
    counted = await _report(request, engine, body.usages)
    shown = [usage_with_balance(engine.environment, *each) for each in zip(body.usages, counted, strict=True)]
    return respond(Data[list[UsageWithBalance]](data=shown), 201, only_set=True)


@router.post(
    "/api/v2/usage",
    operation_id="report_usage_v2",
    tags=["usage"],
    status_code=201,
    dependencies=[RUNTIME],
    response_model=None,
    responses={201: {"model": Data[UsagesAnswer]}, **_WENT_WRONG},
)
async def report_usage_v2(request: Request, engine: Engine, body: UsagesBody) -> Response:
    """Count 1 to 100 records of usage, in order, and show each counter, wallet and budget once."""
    counted = await _report(request, engine, body.usages)
    paid_from = wallets_of(counted)
    shown = UsagesAnswer(
        usages=[usage_answer(engine.environment, *each) for each in zip(body.usages, counted, strict=True)],
        entities=entities_of(engine.environment, counted),
        **({"credits": paid_from} if paid_from else {}),
    )
    return respond(Data[UsagesAnswer](data=shown), 201, only_set=True)


@router.post(
    "/api/v1/usage/consume",
    operation_id="consume_usage",
    tags=["usage"],
    dependencies=[RUNTIME],
    response_model=None,
    responses={200: {"model": Data[CheckAnswer], "description": "the decision; a refusal is one, and counts nothing"}},
)
async def consume_usage(request: Request, engine: Engine, body: OneUsageBody) -> Response:
    """Count one record if it fits every limit in its way, in one step; else count nothing, and say what refused."""
    queries.known_only(request, ())
    record = body.usages[0].as_record(of_currency=await _is_currency(engine, body.usages[0].feature_id))
    try:
        with wire_names(WIRE_NAMES):
            decision = await engine.consume(
                record.customer,
                feature=record.feature,
                currency=record.currency,
                resource=record.resource,
                amount=record.value,
                dimensions=record.dimensions,
                idempotency_key=record.idempotency_key,
            )
    except Unavailable as error:  # it is a gate: whoever asks wants to know now
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, error.code, str(error), NEVER_AGAIN)
    return respond(Data[CheckAnswer](data=check_answer(decision)), only_set=True)


async def _is_currency(engine: AsyncHeadgate, id: str) -> bool:
    """Whether an id is a currency's. What is unknown is taken for a feature, and denied as one."""
    found = (await engine.catalog.find([id])).get(id)
    return found is not None and not isinstance(found, Feature)


async def _report(request: Request, engine: AsyncHeadgate, usages: Sequence[UsageBody]) -> list[Receipt]:
    """Count records, after a look that each is of something that is counted."""
    queries.known_only(request, ())
    wanted = [(usage.feature_id, usage.update_behavior) for usage in usages]
    counted = zip(usages, await find_counted(engine, wanted, WIRE_NAMES), strict=True)
    records = [usage.as_record(of_currency=not isinstance(named, Feature)) for usage, named in counted]
    return await count(engine, records, WIRE_NAMES)
