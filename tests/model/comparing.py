"""Where an answer of the engine and one of the reference model differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction

from headgate.client.async_holds import AsyncHold
from headgate.client.sync_holds import Hold
from headgate.model.credits import Grant, GrantState, GrantStatus, Wallet
from headgate.model.decision import Decision, Receipt
from headgate.model.packages import Addon, Plan
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.model.subscription import Subscription
from headgate.model.tree import Tree as EngineTree
from headgate.model.tree import TreeNode
from model.exact import FRACTION_BELOW, exact
from model.records import GrantRecord, SubscriptionRecord
from model.reference import Node, Tree


@dataclass(frozen=True, slots=True)
class Subscribed:
    """What engine and model both know of a subscription."""

    id: str
    resource: str | None
    plan: str
    quantity: int
    start_ms: int
    anchor_ms: int
    end_ms: int | None
    trial_end_ms: int | None
    is_canceled: bool


@dataclass(frozen=True, slots=True)
class Given:
    """What engine and model both know of a grant that was given."""

    id: str
    kind: str
    priority: int
    amount: float
    effective_at_ms: int
    expires_at_ms: int | None
    created_at_ms: int
    voided_at_ms: int | None


def differences(answer: object, expected: object, path: str = "") -> Iterator[str]:
    """Name each field that differs, with what the engine says and what the model says."""
    if answer == expected:
        return
    if is_dataclass(answer) and not isinstance(answer, type) and type(answer) is type(expected):
        for field in filter(lambda each: each.compare, fields(answer)):
            yield from differences(getattr(answer, field.name), getattr(expected, field.name), f"{path}.{field.name}")
    elif isinstance(answer, tuple) and isinstance(expected, tuple) and len(answer) == len(expected):
        for index, (left, right) in enumerate(zip(answer, expected, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    else:
        yield f"{path or 'answer'}: the engine says {answer!r}, the model {expected!r}"


def wrong_rests(answer: object) -> Iterator[str]:
    """Name each constraint of a decision whose rest is not its limit less what was used and is held, as decimals."""
    decision = answer.decision if isinstance(answer, Reservation) else answer
    for state in decision.constraints if isinstance(decision, Decision) else ():
        if state.limit is not None and max(state.limit, state.used + state.held) < FRACTION_BELOW:
            rest = float(exact(state.limit) - exact(state.used) - exact(state.held))
            if state.left != rest:
                yield f"{state.name}.left: the engine says {state.left!r}, decimals say {rest!r}"


def wrong_credits(wallet: Wallet, ledger: Sequence[GrantState]) -> Iterator[str]:
    """Name each grant whose parts are not its amount, and a balance that is not what live grants have left."""
    for each in ledger:
        parts = each.left, each.held, each.consumed, each.expired, each.voided
        if sum(map(exact, parts)) != exact(each.amount):
            yield f"{each.id}: {each.amount} is not the sum of {parts}"
        if not (each.consumed >= 0 and each.held >= 0):
            yield f"{each.id}: {each.consumed} consumed, {each.held} held"
    live = [each for each in ledger if each.status is GrantStatus.ACTIVE]
    if sorted(live, key=lambda each: each.id) != sorted(wallet.grants, key=lambda each: each.id):
        yield f"the wallet has {wallet.grants}, the ledger {live}"
    if sum((exact(each.left) for each in live), Fraction(0)) - exact(wallet.overdraft) != exact(wallet.balance):
        yield f"{wallet.balance} is not what {live} have left, less {wallet.overdraft}"


def comparable(answer: object) -> object:
    """Put an answer into the form that the model gives: the order of a receipt's entities means nothing."""
    if isinstance(answer, Receipt):
        ordered = sorted(
            answer.entities, key=lambda each: (each.state.entity or "", each.state.scope, each.state.currency or "")
        )
        return replace(answer, entities=tuple(ordered))
    if isinstance(answer, EngineTree):
        return Tree(answer.account, tuple(map(_node, answer.roots)))
    if isinstance(answer, Hold | AsyncHold):
        return comparable(answer.reservation)
    if isinstance(answer, Reservation) and answer.status is ReservationStatus.REFUSED:
        return replace(answer, currency=None, credits=0.0, expires_at_ms=0, metadata={})  # nothing of it was made
    if isinstance(answer, Plan | Addon):
        return answer.id, answer.version
    if isinstance(answer, Subscription):
        return Subscribed(
            id=answer.id,
            resource=answer.resource,
            plan=answer.plan,
            quantity=answer.unit_quantity,
            start_ms=answer.start_ms,
            anchor_ms=answer.billing_anchor_ms,
            end_ms=answer.end_ms,
            trial_end_ms=answer.trial_end_ms,
            is_canceled=answer.canceled_at_ms is not None,
        )
    if isinstance(answer, SubscriptionRecord):
        return Subscribed(
            id=answer.id,
            resource=answer.resource,
            plan=answer.content.plan,
            quantity=answer.content.quantity,
            start_ms=answer.start_ms,
            anchor_ms=answer.anchor_ms,
            end_ms=answer.end_ms,
            trial_end_ms=answer.trial_end_ms,
            is_canceled=answer.is_canceled,
        )
    if isinstance(answer, Grant):
        times = answer.effective_at_ms, answer.expires_at_ms, answer.created_at_ms
        return Given(answer.id, answer.kind.value, answer.priority, answer.amount, *times, answer.voided_at_ms)
    if isinstance(answer, GrantRecord):
        times = answer.effective_ms, answer.expires_ms, answer.created_ms
        return Given(answer.id, answer.kind, answer.priority, float(answer.amount), *times, answer.voided_ms)
    if isinstance(answer, list):
        return tuple(map(comparable, answer))
    return answer


def _node(node: TreeNode) -> Node:
    entity = node.entity
    return Node(entity.id, entity.archived_at_ms is not None, node.states, tuple(map(_node, node.children)))
