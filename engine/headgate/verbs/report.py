"""Report: count usage that has happened, whatever the limits say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from headgate import wire
from headgate.amounts import parse_amount
from headgate.cache import State
from headgate.calls import Verb
from headgate.chains import DimensionValue
from headgate.errors import (
    BatchIncomplete,
    HeadgateError,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Problem,
)
from headgate.model.decision import Counted, DeniedReason, Receipt, UpdateBehavior
from headgate.once import require_key
from headgate.prepare import PreparedRequest
from headgate.verbs.answers import Read, charges_of, read_reply, state_of, wallet_of
from headgate.verbs.attempts import Attempts
from headgate.verbs.decide import found_done, note_wild_starts, once_of, passed_guard, prepared_once, request_of
from headgate.verbs.loading import Request, prepared_request
from headgate.verbs.noting import note_counted
from headgate.wire import Status

RECORDS_MAX: Final = 100
"""How many records a batch may have."""


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One record of a batch: what `report` takes, as data. It is about a feature or a currency."""

    customer: str
    feature: str | None
    value: float | Decimal
    behavior: UpdateBehavior | str = UpdateBehavior.DELTA
    dimensions: Mapping[str, DimensionValue] | None = None
    timestamp: datetime | None = None
    currency: str | None = None
    resource: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """A record, validated."""

    request: Request
    value: float
    behavior: UpdateBehavior
    dated_ms: float
    key: str | None = None


def usage_of(record: UsageRecord, prefix: str = "") -> Usage:
    """Validate a record; raise `InvalidInput` naming field, value and rule."""
    try:
        behavior = UpdateBehavior(record.behavior)
    except ValueError:
        raise InvalidInput.of(f"{prefix}behavior", record.behavior, "must be DELTA or SET") from None
    field = f"{prefix}value"
    try:
        value = float(parse_amount(record.value, field=field, negative=behavior is UpdateBehavior.DELTA))
    except ValueError as error:
        raise InvalidInput.of(field, record.value, str(error).rsplit(": ", 1)[-1]) from None
    timestamp = record.timestamp
    if timestamp is not None and (not isinstance(timestamp, datetime) or timestamp.tzinfo is None):
        raise InvalidInput.of(f"{prefix}timestamp", timestamp, "must be a datetime with a time zone")
    request = request_of(record.customer, record.feature, record.currency, record.resource, record.dimensions, prefix)
    dated_ms = wire.NEVER if timestamp is None else timestamp.timestamp() * 1000
    return Usage(request, value, behavior, dated_ms, require_key(record.idempotency_key, f"{prefix}idempotency_key"))


def usages_of(records: object) -> list[Usage]:
    """Validate a whole batch before any of it is sent."""
    if isinstance(records, str) or not isinstance(records, Sequence) or not 1 <= len(records) <= RECORDS_MAX:
        shown = len(records) if isinstance(records, Sequence) else records
        raise InvalidInput.of("records", shown, f"a batch has 1 to {RECORDS_MAX} records")
    usages = []
    for index, record in enumerate(records):
        if isinstance(record, Mapping):
            record = _record_of(record, f"records[{index}].")
        if not isinstance(record, UsageRecord):
            raise InvalidInput.of(f"records[{index}]", record, "must be a UsageRecord or a mapping of its fields")
        usages.append(usage_of(record, f"records[{index}]."))
    return usages


def _record_of(given: Mapping[str, Any], prefix: str) -> UsageRecord:
    names = {each.name: each.default is MISSING and each.name != "feature" for each in fields(UsageRecord)}
    problems = [
        Problem(f"{prefix}{name}", value, "unknown field") for name, value in given.items() if name not in names
    ]
    problems += [
        Problem(f"{prefix}{name}", None, "is required")
        for name, needed in names.items()
        if needed and name not in given
    ]
    if problems:
        raise InvalidInput(problems)
    return UsageRecord(**{"feature": None, **given})


def report(state: State, usage: Usage, *, patient: bool = True) -> Verb[Receipt]:
    """Count a record on the account and once on each matched budget, however many chains share it; once under a key.

    Who is not patient gives up where the server refuses for now, as one that is full does.
    """
    request = usage.request
    once = once_of(state, "report", request, usage.key, usage.value, usage.behavior.value, usage.dated_ms)
    with Attempts(request.customer) as attempts:
        while attempts.remain():
            prepared = yield from prepared_request(state, request)
            error = _not_countable(prepared, usage)
            if error is None:
                named = yield from prepared_once(state, request, once)
                call = prepared.report(usage.value, usage.behavior.value, usage.dated_ms, once=named)
                reply = yield call if patient else replace(call, patient=False)
                attempts.note(reply)
            else:
                done_at_ms = None if once is None else (yield from found_done(state, request, once))
                if done_at_ms is not None:
                    return _counted_before(usage, prepared, done_at_ms)
                reply = yield prepared.ask("check", 0.0, writes=False)
            if (yield from passed_guard(state, request, reply, once, attempts)):
                if error is not None:
                    raise error
                read = read_reply(prepared, reply, first=3, general=once is not None)
                note_wild_starts(state, read.wild)
                receipt = _receipt(usage, prepared, reply, read)
                note_counted(
                    state,
                    customer=receipt.customer,
                    feature=receipt.feature,
                    currency=receipt.currency,
                    resource=receipt.resource,
                    at_ms=receipt.counted_at_ms,
                    account=None if receipt.account is None else receipt.account.state,
                    rises=usage.behavior is UpdateBehavior.DELTA and usage.value >= 0,
                )
                return receipt
        raise attempts.exhausted()


def report_many(state: State, usages: Sequence[Usage]) -> Verb[list[Receipt]]:
    """Count records in order. Each is atomic, the batch is not: on trouble the error says what became of each."""
    receipts: list[Receipt] = []
    for index, usage in enumerate(usages):
        try:
            receipts.append((yield from report(state, usage)))
        except HeadgateError as error:
            unknown = isinstance(error, OutcomeUnknown)
            outcomes = ["applied"] * index + ["unknown" if unknown else "not applied"]
            outcomes += ["not applied"] * (len(usages) - len(outcomes))
            raise BatchIncomplete(outcomes, receipts, error) from error
    return receipts


def _not_countable(prepared: PreparedRequest, usage: Usage) -> HeadgateError | None:
    request, denial = usage.request, prepared.account.denial
    if denial is DeniedReason.CUSTOMER_NOT_FOUND:
        return NotFound("customer", request.customer)
    if prepared.account.lacks_resource:
        return NotFound("customer resource", str(request.resource), within=f"of customer {request.customer!r}")
    if request.feature is None and prepared.currency is None:
        return NotFound("currency", str(request.currency))
    if request.feature is not None and prepared.feature is None:
        return NotFound("feature", request.feature)
    if prepared.feature is not None and not prepared.feature.is_metered:
        kind = prepared.feature.feature_type.value
        return InvalidInput.of("feature", request.feature, f"is not metered ({kind}): there is nothing to count")
    if prepared.wallet is not None and usage.behavior is UpdateBehavior.SET:
        paid = prepared.wallet.currency
        return InvalidInput.of("behavior", "SET", f"is not possible where credits of {paid!r} are used: report a DELTA")
    return None


def _counted_before(usage: Usage, prepared: PreparedRequest, now_ms: int) -> Receipt:
    return Receipt(
        customer=usage.request.customer,
        feature=usage.request.feature,
        value=usage.value,
        behavior=usage.behavior,
        account=None,
        entities=(),
        counted_at_ms=now_ms,
        currency=None if prepared.currency is None else prepared.currency.id,
        resource=usage.request.resource,
        repeated=True,
    )


def _receipt(usage: Usage, prepared: PreparedRequest, reply: Any, read: Read) -> Receipt:
    request = usage.request
    counted = [
        Counted(state_of(constraint, counter, 0.0), change)
        for constraint, counter, change in zip(
            prepared.constraints, read.counters, wire.unpack_doubles(reply[2]), strict=True
        )
    ]
    has_account = request.feature is not None
    return Receipt(
        customer=request.customer,
        feature=request.feature,
        value=usage.value,
        behavior=usage.behavior,
        account=counted[0] if has_account else None,
        entities=tuple(counted[1:] if has_account else counted),
        counted_at_ms=int(reply[1]),
        currency=None if prepared.currency is None else prepared.currency.id,
        resource=request.resource,
        wallet=wallet_of(request, prepared, read, int(reply[1])),
        charges=charges_of(prepared, read),
        repeated=reply[0] == Status.REPEATED,
    )
