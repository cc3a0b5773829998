"""Check and consume: ask whether a request fits every limit in its way; consume counts it in the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headgate import wire
from headgate.amounts import parse_amount
from headgate.cache import State
from headgate.calls import Verb
from headgate.chains import require_dimensions
from headgate.entitlements import AccountLevel
from headgate.errors import ConfigurationKeepsChanging, Conflict, InvalidInput
from headgate.model.catalog import FeatureType
from headgate.model.decision import ConstraintState, Decision, DeniedReason
from headgate.model.ids import require_id
from headgate.prepare import CONSTRAINTS_MAX, Constraint, PreparedRequest
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, refuse_status
from headgate.verbs.loading import Request, prepared_request
from headgate.wire import Counter, Status


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with its amount, validated: what check and consume are given."""

    request: Request
    amount: float
    values: tuple[str, ...] = ()


def asked(
    customer: object, feature: object, amount: object, dimensions: object, *, amount_field: str, values: object = ()
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
    request = Request(require_id(customer, "customer"), require_id(feature, "feature"), require_dimensions(dimensions))
    return Asked(request, float(number), tuple(values))


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
            note_wild_starts(state, reply[2 + len(prepared.constraints) :])
            return decision_of(question, prepared, reply, denial, counted=script == "consume")
    raise ConfigurationKeepsChanging(
        f"the configuration of {request.customer!r} changed at each of {ATTEMPTS_MAX} attempts"
    )


def denial_without_counters(prepared: PreparedRequest, question: Asked, script: str) -> DeniedReason | None:
    """Say what denies the request whatever its counters are, or None."""
    account, feature = prepared.account, prepared.feature
    if account.denial is not None:
        return account.denial
    assert feature is not None
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


def decision_of(
    question: Asked, prepared: PreparedRequest, reply: Any, denial: DeniedReason | None, *, counted: bool
) -> Decision:
    """Turn a verdict into a decision that explains itself."""
    request, account, feature = question.request, prepared.account, prepared.feature
    granted = denial is None and reply[0] == Status.GRANTED
    amount = 0.0 if denial is not None else question.amount
    counters = [wire.unpack_counter(packed) for packed in reply[2 : 2 + len(prepared.constraints)]]
    states = [
        state_of(constraint, counter, 0.0 if granted and counted else amount)
        for constraint, counter in zip(prepared.constraints, counters, strict=True)
    ]
    binding = _binding(prepared, states, granted=granted) if denial is None else None
    reason = denial
    if not granted and reason is None:
        # The account level comes first, whichever constraint has least left.
        at_account = not states[0].granted
        reason = DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT if at_account else DeniedReason.BUDGET_EXCEEDED
    given = account if account.denial is None else AccountLevel(account.denial)
    chains: tuple[tuple[ConstraintState, ...], ...] | None = None
    if request.dimensions:
        chains = (
            () if denial is not None else tuple(tuple(states[index] for index in chain) for chain in prepared.chains)
        )
    return Decision(
        customer=request.customer,
        feature=request.feature,
        requested=question.amount,
        granted=granted,
        reason=reason,
        account=states[0] if states and account.denial is None else None,
        chains=chains,
        binding=binding,
        decided_at_ms=int(reply[1]),
        details=feature,
        enum_values=given.enum_values,
        numeric_value=given.numeric_value,
        has_unlimited_usage=given.has_unlimited_usage,
    )


def state_of(constraint: Constraint, counter: Counter, requested: float) -> ConstraintState:
    """Put a constraint and what its counter said together; `requested` is what is still to fit."""
    limit = constraint.refusing_limit
    granted = limit is None or wire.total(counter, requested) <= limit
    return ConstraintState(
        entity=constraint.entity,
        entity_type=constraint.entity_type,
        scope=constraint.scope,
        limit=constraint.limit,
        is_soft=constraint.is_soft,
        used=counter.used,
        held=counter.held,
        granted=granted,
        period=constraint.period,
        cadence=constraint.cadence,
    )


def _binding(prepared: PreparedRequest, states: list[ConstraintState], *, granted: bool) -> ConstraintState | None:
    """The constraint with least left; on a tie the nearest to its leaf, the account being the farthest."""
    if not states:
        return None
    distances = {0: (1, 0, 0)}
    for order, chain in enumerate(prepared.chains):
        for depth, index in enumerate(chain):
            distances[index] = min(distances.get(index, (1, 0, 0)), (0, depth, order))
    hard = [
        (left, distances[index], index)
        for index, state in enumerate(states)
        if not state.is_soft and (granted or not state.granted) and (left := state.left) is not None
    ]
    return states[min(hard)[2]] if hard else None
