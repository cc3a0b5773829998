"""Counting records through the engine, for routes that report: in order, stopping at the first that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import BatchIncomplete, HeadgateError, InvalidInput, OutcomeUnknown, Problem
from headgate.model.decision import Receipt
from headgate.rest.wire_names import renamed
from headgate.verbs.report import RECORDS_MAX, UsageRecord

APPLIED: Final = "applied"
NOT_APPLIED: Final = "not applied"
UNKNOWN: Final = "unknown"


async def count(engine: AsyncHeadgate, records: Sequence[UsageRecord], names: Mapping[str, str]) -> list[Receipt]:
    """Count records in order, as many as there are; `names` are what the engine's fields are called on the wire.

    Raises `BatchIncomplete`, with what became of each, where one of several goes wrong; of one alone, what went wrong.
    """
    receipts: list[Receipt] = []
    for first in range(0, len(records), RECORDS_MAX):
        part = records[first : first + RECORDS_MAX]
        try:
            receipts += await _count(engine, part)
        except HeadgateError as error:
            if len(records) == 1:
                raise _on_the_wire(error, names) from error
            raise _incomplete([*receipts], len(records), error, names) from error
    return receipts


def _incomplete(
    receipts: list[Receipt], count_of_all: int, error: HeadgateError, names: Mapping[str, str]
) -> BatchIncomplete:
    cause = error
    if isinstance(error, BatchIncomplete):
        receipts += error.receipts
        cause = error.cause
    at_fault = UNKNOWN if isinstance(cause, OutcomeUnknown) else NOT_APPLIED
    after = count_of_all - len(receipts) - 1
    outcomes = [*[APPLIED] * len(receipts), at_fault, *[NOT_APPLIED] * after]
    return BatchIncomplete(outcomes, receipts, _on_the_wire(cause, names))


def _on_the_wire(error: HeadgateError, names: Mapping[str, str]) -> HeadgateError:
    if not isinstance(error, InvalidInput):
        return error
    return InvalidInput([Problem(renamed(each.field, names), each.value, each.rule) for each in error.problems])


async def _count(engine: AsyncHeadgate, records: Sequence[UsageRecord]) -> list[Receipt]:
    if len(records) > 1:
        return await engine.report_many(records)
    (record,) = records
    receipt = await engine.report(
        record.customer,
        feature=record.feature,
        currency=record.currency,
        resource=record.resource,
        value=record.value,
        behavior=record.behavior,
        dimensions=record.dimensions,
        timestamp=record.timestamp,
        idempotency_key=record.idempotency_key,
    )
    return [receipt]
