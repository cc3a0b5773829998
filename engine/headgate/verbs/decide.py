"""Check and consume: ask whether a request fits every limit in its way; consume counts it in the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headgate.amounts import parse_amount
from headgate.cache import State
from headgate.calls import Verb
from headgate.chains import dimension_text, require_dimensions
from headgate.errors import ConfigurationKeepsChanging, Conflict, InvalidInput
from headgate.model.catalog import FeatureType
from headgate.model.decision import Decision, DeniedReason
from headgate.model.ids import require_id
from headgate.once import Once, once, require_key
from headgate.prepare import CONSTRAINTS_MAX, PreparedOnce, PreparedRequest
from headgate.verbs.answers import decision_of, done_before, read_reply
from headgate.verbs.attempts import Attempts
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, open_environment, refuse_status
from headgate.verbs.loading import Request, prepared_request
from headgate.verbs.noting import note_decision
from headgate.verbs.sweeping import sweep_customer
from headgate.wire import Status


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with its amount, validated: what check and consume are given."""

    request: Request
    amount: float
    values: tuple[str, ...] = ()
    key: str | None = None


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
    key: object = None,
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
    return Asked(request, float(number), tuple(values), require_key(key))


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
    return (yield from _ask(state, question, "check", None))


def consume(state: State, question: Asked) -> Verb[Decision]:
    """Count the amount on every constraint if it fits all of them; else count nothing. Under a key, once."""
    request = question.request
    once = once_of(state, "consume", request, question.key, question.amount)
    return (yield from _ask(state, question, "consume", once))


def _ask(state: State, question: Asked, script: str, once: Once | None) -> Verb[Decision]:
    request = question.request
    with Attempts(request.customer) as attempts:
        while attempts.remain():
            prepared = yield from prepared_request(state, request)
            denial = denial_without_counters(prepared, question, script)
            if denial is not None:
                reply = yield prepared.ask("check", 0.0, writes=False)
                if once is not None and reply[0] in (Status.GRANTED, Status.REFUSED):  # the denial is one of now
                    done_at_ms = yield from found_done(state, request, once)
                    if done_at_ms is not None:
                        state.metrics.decided(None)
                        return done_before(request, question.amount, prepared, done_at_ms)
            else:
                require_bound(prepared)
                named = yield from prepared_once(state, request, once)
                reply = yield prepared.ask(script, question.amount, writes=script == "consume", once=named)
                attempts.note(reply)
            if (yield from passed_guard(state, request, reply, once, attempts)):
                read = read_reply(prepared, reply, first=2, general=denial is None and once is not None)
                note_wild_starts(state, read.wild)
                counted = script == "consume"
                decision = decision_of(
                    request, question.amount, prepared, reply, read, denial, counted=counted, values=question.values
                )
                state.metrics.decided(decision.reason)
                if counted and decision.granted:
                    note_decision(state, decision)
                return decision
        raise attempts.exhausted()


def once_of(state: State, kind: str, request: Request, key: str | None, *what: object) -> Once | None:
    """What is to be carried out once, where a key is given, or the client makes keys of its own."""
    dimensions = sorted((name, dimension_text(value)) for name, value in (request.dimensions or {}).items())
    return once(
        kind,
        request.customer,
        key,
        hours=state.key_retention_hours_of.get(kind, state.key_retention_hours),
        exactly_once=state.exactly_once,
        request=(request.feature, request.currency, request.resource, dimensions, what),
    )


def prepared_once(state: State, request: Request, once: Once | None) -> Verb[PreparedOnce | None]:
    """A key as the scripts read it, in the generation that this client knows of."""
    if once is None:
        return None
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(request.customer)
    places, generation = once.place(customer_keys, state.generations.get(once.hours, 0))
    return PreparedOnce(places, once.identity, once.fingerprint, generation)


def found_done(state: State, request: Request, once: Once) -> Verb[int | None]:
    """The server's instant, if a request was carried out before, under its key: also where it would be denied now."""
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(request.customer)
    for _ in range(ATTEMPTS_MAX):
        reply = yield once.find_call(customer_keys, state.generations.get(once.hours, 0))
        if reply[0] != Status.OTHER_GENERATION:
            if reply[2] and reply[2] != once.fingerprint:
                raise _other_request()
            return int(reply[1]) if reply[2] else None
        state.generations[once.hours] = once.generation_at(reply[1])
    raise ConfigurationKeepsChanging("the server's clock was in another generation at every attempt")


def _other_request() -> Conflict:
    return Conflict("the idempotency key was given for another request: give another key")


def require_bound(prepared: PreparedRequest) -> None:
    """Raise where more constraints stand in the way than a request may have."""
    count = len(prepared.constraints)
    if count > CONSTRAINTS_MAX:
        raise Conflict(f"{count} constraints stand in the way of this request: at most {CONSTRAINTS_MAX} may")


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


def passed_guard(
    state: State, request: Request, reply: Any, once: Once | None = None, attempts: Attempts | None = None
) -> Verb[bool]:
    """Whether a reply is a verdict. If not, forget what was out of date, so that the next attempt makes it anew.

    Where holds are due that a refusal would wait for, free them: all, or so many as may be enough.
    """
    status = reply[0]
    if status in (Status.GRANTED, Status.REFUSED, Status.DONE, Status.REPEATED):
        return True
    refuse_status(state, status)
    if status == Status.CONFLICT:
        raise _other_request()
    if status == Status.SWEEP_FIRST:
        at_most = None if attempts is None else attempts.freed_at_most()
        state.metrics.holds_freed += yield from sweep_customer(state, request.customer, at_most=at_most)
        return False
    if attempts is not None:
        attempts.failed += 1
    if status == Status.OTHER_GENERATION and once is not None:
        state.generations[once.hours] = once.generation_at(reply[1])
        return False
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
