"""Check and consume: ask whether a request fits every limit in its way; consume counts it in the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headgate.amounts import parse_amount
from headgate.cache import State
from headgate.calls import Verb
from headgate.chains import require_dimensions
from headgate.errors import ConfigurationKeepsChanging, Conflict, InvalidInput
from headgate.model.catalog import FeatureType
from headgate.model.decision import Decision, DeniedReason
from headgate.model.ids import require_id
from headgate.prepare import CONSTRAINTS_MAX, PreparedRequest
from headgate.verbs.answers import decision_of, read_reply
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, refuse_status
from headgate.verbs.loading import Request, prepared_request
from headgate.wire import Status


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with its amount, validated: what check and consume are given."""

    request: Request
    amount: float
    values: tuple[str, ...] = ()


def asked(
    customer: object,
    feature: object,
    amount: object,
    dimensions: object,
    *,
    amount_field: str,
    values: object = (),
    currency: object = None,
    resource: object = None,
) -> Asked:
    """Validate what a user gave; raise `InvalidInput` naming field, value and rule."""
    try:
        number = parse_amount(amount, field=amount_field)
    except ValueError as error:
        raise InvalidInput.of(amount_field, amount, str(error).rsplit(": ", 1)[-1]) from None
    if (
        isinstance(values, str)
        or not isinstance(values, Sequence)
        or not all(isinstance(value, str) for value in values)
    ):
        raise InvalidInput.of("requested_values", values, "must be a sequence of strings")
    request = request_of(customer, feature, currency, resource, dimensions)
    return Asked(request, float(number), tuple(values))


def request_of(
    customer: object, feature: object, currency: object, resource: object, dimensions: object, prefix: str = ""
) -> Request:
    """Validate what a request is about: one of a feature and a currency."""
    if (feature is None) == (currency is None):
        given = None if feature is None else f"{feature} and {currency}"
        raise InvalidInput.of(f"{prefix}feature", given, "a request is about a feature or a currency: give one of both")
    return Request(
        require_id(customer, f"{prefix}customer"),
        None if feature is None else require_id(feature, f"{prefix}feature"),
        require_dimensions(dimensions, prefix),
        None if currency is None else require_id(currency, f"{prefix}currency"),
        None if resource is None else require_id(resource, f"{prefix}resource"),
    )


def check(state: State, question: Asked) -> Verb[Decision]:
    """Say whether the amount would fit now. Nothing is written."""
    return (yield from _ask(state, question, "check"))


def consume(state: State, question: Asked) -> Verb[Decision]:
    """Count the amount on every constraint if it fits all of them; else count nothing."""
    return (yield from _ask(state, question, "consume"))


def _ask(state: State, question: Asked, script: str) -> Verb[Decision]:
    request = question.request
    for _ in range(ATTEMPTS_MAX):
        prepared = yield from prepared_request(state, request)
        denial = denial_without_counters(prepared, question, script)
        count = len(prepared.constraints)
        if denial is None and count > CONSTRAINTS_MAX:
            raise Conflict(f"{count} constraints stand in the way of this request: at most {CONSTRAINTS_MAX} may")
        if denial is None:
            reply = yield prepared.ask(script, question.amount, writes=script == "consume")
        else:
            reply = yield prepared.ask("check", 0.0, writes=False)
        if (yield from passed_guard(state, request, reply)):
            read = read_reply(prepared, reply, first=2)
            note_wild_starts(state, read.wild)
            counted = script == "consume"
            return decision_of(
                request, question.amount, prepared, reply, read, denial, counted=counted, values=question.values
            )
    raise ConfigurationKeepsChanging(
        f"the configuration of {request.customer!r} changed at each of {ATTEMPTS_MAX} attempts"
    )


def denial_without_counters(prepared: PreparedRequest, question: Asked, script: str) -> DeniedReason | None:
    """Say what denies the request whatever its counters are, or None."""
    account, feature = prepared.account, prepared.feature
    if account.denial is not None:
        return account.denial
    if feature is None:
        return None
    if script == "consume" and not feature.is_metered:
        return DeniedReason.FEATURE_TYPE_MISMATCH
    if feature.feature_type is FeatureType.ENUM and not set(question.values) <= set(account.enum_values):
        return DeniedReason.REQUESTED_VALUES_MISMATCH
    return None


def passed_guard(state: State, request: Request, reply: Any) -> Verb[bool]:
    """Whether a reply is a verdict. If not, forget what was out of date, so that the next attempt makes it anew."""
    status = reply[0]
    if status in (Status.GRANTED, Status.REFUSED, Status.DONE):
        return True
    refuse_status(state, status)
    if status == Status.BLANK:
        yield from mend_partition(state, request.customer, None)
    elif status == Status.STALE:
        state.metrics.stale += 1
    else:
        state.metrics.moved_on += 1
    forget(state, request)
    return False


def note_wild_starts(state: State, rest: list[int]) -> None:
    """Count the period starts that a wild clock had written, and that the script put right."""
    state.metrics.wild_starts += sum(rest)


def forget(state: State, request: Request) -> None:
    """Make sure that the next attempt loads: whatever is kept of the request's customer is of an old stamp."""
    state.told.put(request.customer, b"stale")
