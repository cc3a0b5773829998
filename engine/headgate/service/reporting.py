"""Counting records through the engine, for faces that report: in order, stopping at the first that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from headgate.chains import DimensionValue
from headgate.errors import BatchIncomplete, HeadgateError, InvalidInput, NotFound, OutcomeUnknown, Problem
from headgate.model.catalog import Currency, Feature
from headgate.model.decision import Receipt, UpdateBehavior
from headgate.service.wire_names import renamed
from headgate.verbs.report import RECORDS_MAX, UsageRecord

APPLIED: Final = "applied"
NOT_APPLIED: Final = "not applied"
UNKNOWN: Final = "unknown"


class Finding(Protocol):
    """What is asked of a catalog: whether ids are of features or of currencies."""

    async def find(self, ids: Sequence[str]) -> dict[str, Feature | Currency]:
        """Find what ids name; unknown ones are left out."""
        ...


class ReportingEngine(Protocol):
    """What is asked of an engine to count records."""

    @property
    def catalog(self) -> Finding:
        """The catalog."""
        ...

    async def report(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        value: float | Decimal,
        behavior: UpdateBehavior | str = UpdateBehavior.DELTA,
        dimensions: Mapping[str, DimensionValue] | None = None,
        timestamp: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Count one record."""
        ...

    async def report_many(self, records: Sequence[UsageRecord]) -> list[Receipt]:
        """Count 1 to 100 records in order."""
        ...


async def find_counted(
    engine: ReportingEngine, wanted: Sequence[tuple[str, str]], names: Mapping[str, str], *, prefix: str = "usages[{}]."
) -> list[Feature | Currency]:
    """Find what each record counts, after a look that it is counted, and in this way: ids and update behaviors.

    `prefix` is where a record stands on the wire, with its index left open.
    """
    found = await engine.catalog.find([id for id, _ in wanted])
    counted = []
    for index, (id, behavior) in enumerate(wanted):
        place = prefix.format(index)
        named = found.get(id)
        if named is None:
            raise NotFound("feature", id, within=f"({place}{names['feature']}): nothing was counted, it")
        if isinstance(named, Feature) and not named.is_metered:
            rule = f"is not metered ({named.feature_type.value}): there is nothing to count"
            raise InvalidInput.of(f"{place}{names['feature']}", id, rule)
        if not isinstance(named, Feature) and behavior == UpdateBehavior.SET:
            raise InvalidInput.of(f"{place}{names['behavior']}", "SET", "credits can't be set: report a DELTA")
        counted.append(named)
    return counted


async def count(engine: ReportingEngine, records: Sequence[UsageRecord], names: Mapping[str, str]) -> list[Receipt]:
    """Count records in order, as many as there are; `names` are what the engine's fields are called on the wire.

    Raises `BatchIncomplete`, with what became of each, where one of several goes wrong; of one alone, what went wrong.
    """
    receipts: list[Receipt] = []
    for first in range(0, len(records), RECORDS_MAX):
        part = records[first : first + RECORDS_MAX]
        try:
            receipts += await _count(engine, part)
        except HeadgateError as error:
            if len(records) == 1 or (isinstance(error, InvalidInput) and not receipts):  # nothing was sent
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


async def _count(engine: ReportingEngine, records: Sequence[UsageRecord]) -> list[Receipt]:
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
