"""Reserve, settle, release, extend: hold an amount first, and say later what was used of it.

Who makes a hold makes its id first, so a call may be repeated. What has expired is freed by whoever would be refused
because of it, or by a sweep, and never twice: the record decides.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgpack

from headgate import holds, wire
from headgate.amounts import AmountOutOfRange, add, multiply, parse_amount
from headgate.cache import State
from headgate.calls import Resent, Verb
from headgate.chains import dimension_text
from headgate.errors import Conflict, HeadgateError, InvalidInput, NotFound, OutOfRange
from headgate.holds import Details, Record
from headgate.keys import CUSTOMER, CustomerKeys
from headgate.model.decision import Decision, instant
from headgate.model.ids import require_id
from headgate.model.reservation import (
    LASTS_DEFAULT_MS,
    LASTS_MAX_MS,
    LASTS_MIN_MS,
    METADATA_MAX,
    Reservation,
    ReservationStatus,
)
from headgate.prepare import PreparedRequest
from headgate.verbs.answers import decision_of, read_reply
from headgate.verbs.attempts import Attempts
from headgate.verbs.decide import Asked, denial_without_counters, note_wild_starts, passed_guard, require_bound
from headgate.verbs.environment import open_environment
from headgate.verbs.loading import load, prepared_request
from headgate.verbs.noting import note_counted, note_decision
from headgate.verbs.report import UsageRecord, report, usage_of
from headgate.wire import Status


@dataclass(frozen=True, slots=True)
class Hold:
    """How a request is to be held, validated. With `until_ms`, an instant of the server's, it lasts until then."""

    id: str
    lasts_ms: int
    metadata: dict[str, str]
    has_own_id: bool
    until_ms: int | None = None


def hold_of(id: object, lasts: object, metadata: object, until: object = None) -> Hold:
    """Validate what a user gave; an id that is not given is made here, before anything is sent."""
    if lasts is not None and until is not None:
        raise InvalidInput.of("expires_at", until, "give expires_in or expires_at, not both")
    return Hold(
        f"hold-{os.urandom(12).hex()}" if id is None else require_id(id, "id"),
        LASTS_DEFAULT_MS if lasts is None else lasts_of(lasts),
        _metadata(metadata),
        id is None,
        None if until is None else _until_of(until),
    )


def _until_of(until: object) -> int:
    if not isinstance(until, datetime) or until.tzinfo is None:
        raise InvalidInput.of("expires_at", until, "must be a datetime with a time zone")
    return round(until.timestamp() * 1000)


def lasts_of(lasts: object) -> int:
    """Accept how long a hold is to last: seconds, or a timedelta; 1 second to 24 hours."""
    seconds = lasts.total_seconds() if isinstance(lasts, timedelta) else lasts
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInput.of("expires_in", lasts, "must be seconds, or a timedelta")
    if not LASTS_MIN_MS <= seconds * 1000 <= LASTS_MAX_MS:
        raise InvalidInput.of("expires_in", lasts, "must be 1 second to 24 hours")
    return int(seconds * 1000)


def _metadata(metadata: object) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in metadata.items()
    ):
        raise InvalidInput.of("metadata", metadata, "must be a mapping of strings to strings")
    try:
        size = len(msgpack.packb(dict(metadata)))
    except UnicodeEncodeError:
        raise InvalidInput.of("metadata", metadata, "must be Unicode text: half of a surrogate pair is none") from None
    if size > METADATA_MAX:
        raise InvalidInput.of("metadata", f"{len(metadata)} entries", f"may have {METADATA_MAX} bytes")
    return dict(metadata)


def used_of(amount: object) -> float:
    """Validate what was used of a hold."""
    try:
        return float(parse_amount(amount, field="amount"))
    except ValueError as error:
        raise InvalidInput.of("amount", amount, str(error).rsplit(": ", 1)[-1]) from None


def counted(before: float | None, amount: object) -> float:
    """Add to what was used so far of a hold."""
    try:
        return add(before or 0.0, used_of(amount))
    except AmountOutOfRange as error:
        raise OutOfRange(f"{error}: nothing was counted") from None


@dataclass(frozen=True, slots=True)
class Made:
    """A reservation, with what it takes to end it in one call.

    It is ours unless the id was given and there already, with no reply of ours lost on the way: then somebody else made
    it, or this caller did in another life.
    """

    reservation: Reservation
    details: Details
    lasts_ms: int
    is_ours: bool


def reserve(state: State, question: Asked, hold: Hold) -> Verb[Made]:
    """Hold the amount on every constraint and in the wallet if all of them have it; else hold nothing."""
    request = question.request
    asked = holds.fingerprint(
        request.feature,
        request.currency,
        request.resource,
        question.amount,
        sorted((key, dimension_text(value)) for key, value in (request.dimensions or {}).items()),
        hold.lasts_ms if hold.until_ms is None else ("until", hold.until_ms),
        sorted(hold.metadata.items()),
    )
    yield from _require_ahead(state, request.customer, hold)
    is_ours = hold.has_own_id
    attempts = Attempts(request.customer)
    while attempts.remain():
        prepared = yield from prepared_request(state, request)
        keys = yield from _keys(state, request.customer)
        denial = denial_without_counters(prepared, question, "consume")
        if denial is not None:
            known, read_at_ms = yield from _known(keys, request.customer, hold.id)
            if known is not None:
                if known.fingerprint != asked:
                    raise Conflict(f"reservation {hold.id!r} was made for another request: give another id")
                found = known.reservation(hold.id, request.customer, read_at_ms)
                return Made(found, known.details, hold.lasts_ms, is_ours)
            reply = yield prepared.ask("check", 0.0, writes=False)
        else:
            require_bound(prepared)
            details = holds.details_of(
                prepared, feature=request.feature, resource=request.resource, metadata=hold.metadata
            )
            reply = yield holds.reserve_call(
                keys,
                prepared,
                amount=question.amount,
                customer=request.customer,
                hold=hold.id,
                print_of_request=asked,
                lasts_ms=hold.lasts_ms if hold.until_ms is None else LASTS_MAX_MS,
                details=details,
                until_ms=wire.NEVER if hold.until_ms is None else hold.until_ms,
            )
        if reply[0] == Status.CONFLICT:
            raise Conflict(f"reservation {hold.id!r} was made for another request: give another id")
        if reply[0] == Status.REPEATED:
            record = Record.unpack(reply[2])
            found = record.reservation(hold.id, request.customer, int(reply[1]))
            return Made(found, record.details, hold.lasts_ms, is_ours or isinstance(reply, Resent))
        if (yield from passed_guard(state, request, reply, attempts=attempts)):
            if prepared.wallet is None and denial is None:
                first = 2 + len(prepared.constraints)
                reply = [*reply[:first], *reply[first + 2 :]]
            read = read_reply(prepared, reply, first=2)
            note_wild_starts(state, read.wild)
            decision = decision_of(request, question.amount, prepared, reply, read, denial, counted=True)
            state.metrics.decided(decision.reason)
            if decision.granted:
                note_decision(state, decision)
            made = _reservation(hold, decision, prepared)
            return Made(made, holds.NOTHING if denial is not None else details, hold.lasts_ms, is_ours=True)
    raise attempts.exhausted()


def _require_ahead(state: State, customer: str, hold: Hold) -> Verb[None]:
    """Raise where the instant that a hold is to last until is not ahead of the server's clock, or too far.

    A hold that is there already is not looked at: whoever repeats its request gets the first answer, however late.
    """
    if hold.until_ms is None:
        return
    keys = yield from _keys(state, customer)
    known, now_ms = yield from _known(keys, customer, hold.id)
    if known is None and not LASTS_MIN_MS <= hold.until_ms - now_ms <= LASTS_MAX_MS:
        raise InvalidInput.of("expires_at", instant(hold.until_ms).isoformat(), "must be 1 second to 24 hours ahead")


def _reservation(hold: Hold, decision: Decision, prepared: PreparedRequest) -> Reservation:
    granted = decision.granted
    return Reservation(
        id=hold.id,
        customer=decision.customer,
        feature=decision.feature,
        currency=decision.currency,
        resource=decision.resource,
        amount=decision.requested,
        credits=0.0 if prepared.wallet is None else multiply(decision.requested, prepared.wallet.rate),
        status=ReservationStatus.OPEN if granted else ReservationStatus.REFUSED,
        reserved_at_ms=decision.decided_at_ms,
        expires_at_ms=decision.decided_at_ms + hold.lasts_ms if hold.until_ms is None else hold.until_ms,
        metadata=hold.metadata,
        decision=decision,
    )


def end(state: State, customer: str, id: str, amount: float, outcome: ReservationStatus) -> Verb[Reservation]:
    """Settle or release a hold by its record. Repeating it changes nothing; another end is a Conflict."""
    keys = yield from _keys(state, customer)
    record, _ = yield from _known(keys, customer, id)
    if record is None:
        raise (yield from _not_found(state, customer, id))
    return (yield from end_known(state, customer, id, record.details, amount, outcome))


def end_known(
    state: State, customer: str, id: str, details: Details, amount: float, outcome: ReservationStatus
) -> Verb[Reservation]:
    """Settle or release a hold whose details are at hand: one call."""
    keys = yield from _keys(state, customer)
    reply = yield holds.settle_call(keys, details, customer=customer, hold=id, amount=amount, outcome=outcome)
    if reply[0] == Status.ABSENT:
        raise (yield from _not_found(state, customer, id))
    reservation = Record.unpack(reply[2]).reservation(id, customer, int(reply[1]))
    if reply[0] == Status.CONFLICT:
        raise Conflict(f"reservation {id!r} has ended in another way: {reservation}")
    if reply[0] == Status.DONE:
        note_counted(
            state,
            customer=customer,
            feature=reservation.feature,
            currency=reservation.currency,
            resource=reservation.resource,
            at_ms=int(reply[1]),
        )
    if reply[0] == Status.DONE and reply[3]:
        yield from _pay(state, reservation)
    return reservation


def _pay(state: State, reservation: Reservation) -> Verb[None]:
    """Let the live grants pay what a settle owes, while they live: every call that writes begins with that.

    It is settled whatever comes of this; where nothing does, the next call pays.
    """
    nothing = UsageRecord(reservation.customer, None, 0, currency=reservation.currency, resource=reservation.resource)
    with contextlib.suppress(HeadgateError):
        yield from report(state, usage_of(nothing), patient=False)


def extend(state: State, customer: str, id: str, lasts_ms: int) -> Verb[Reservation]:
    """Let an open hold last for so long from now on."""
    keys = yield from _keys(state, customer)
    reply = yield holds.extend_call(keys, customer=customer, hold=id, lasts_ms=lasts_ms)
    if reply[0] == Status.ABSENT:
        raise (yield from _not_found(state, customer, id))
    reservation = Record.unpack(reply[2]).reservation(id, customer, int(reply[1]))
    if reply[0] == Status.CONFLICT:
        raise Conflict(f"reservation {id!r} is not open any more: {reservation}")
    return reservation


def get(state: State, customer: str, id: str) -> Verb[Reservation]:
    """Read a reservation; `NotFound` if there is none, or it ended more than 24 hours ago."""
    keys = yield from _keys(state, customer)
    record, read_at_ms = yield from _known(keys, customer, id)
    if record is None:
        raise (yield from _not_found(state, customer, id))
    return record.reservation(id, customer, read_at_ms)


def _keys(state: State, customer: str) -> Verb[CustomerKeys]:
    environment = yield from open_environment(state)
    return environment.keyspace.customer(customer)


def _known(keys: CustomerKeys, customer: str, id: str) -> Verb[tuple[Record | None, int]]:
    reply = yield holds.find_call(keys, id)
    return holds.unpack_record(reply), int(reply[1])


def _not_found(state: State, customer: str, id: str) -> Verb[NotFound]:
    """The error of an id that is not there; raises `EnvironmentNotReady` where what is there was lost."""
    yield from load(state, customer, fields=[CUSTOMER])
    return NotFound("reservation", id, within=f"of customer {customer!r}")
