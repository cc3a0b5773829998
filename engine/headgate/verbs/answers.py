"""Answers: from a script's reply to what a decision, a receipt and a wallet say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headgate import wire
from headgate.amounts import multiply
from headgate.entitlements import AccountLevel
from headgate.model.credits import Charge, GrantState, Wallet
from headgate.model.decision import ConstraintState, Decision, DeniedReason
from headgate.periods import ALWAYS, FOREVER_END_MS
from headgate.prepare import Constraint, PreparedRequest
from headgate.verbs.loading import Request
from headgate.wallets import WalletGrant
from headgate.wire import Counter, Status


@dataclass(frozen=True, slots=True)
class Read:
    """What a reply says: the constraints' counters, the wallet with what was taken from it, and wild starts."""

    counters: list[Counter]
    overdraft: float
    grants: list[Counter]
    taken: tuple[float, ...]
    wild: list[int]


def read_reply(prepared: PreparedRequest, reply: Any, *, first: int, general: bool = False) -> Read:
    """Take a verdict's reply apart; `first` is the place of the first constraint's counter.

    A `general` script answers of a wallet also where there is none.
    """
    after = first + len(prepared.constraints)
    counters = [wire.unpack_counter(packed) for packed in reply[first:after]]
    wallet = prepared.wallet
    if wallet is None:
        return Read(counters, 0.0, [], (), reply[after + 2 if general else after :])
    last = after + 2 + len(wallet.fields)
    overdraft, *by_place = (wire.unpack_counter(packed) for packed in reply[after + 1 : last])
    of_overdraft, *taken_by_place = wire.unpack_doubles(reply[after])
    grants = [by_place[place - 1] for place in wallet.places]
    taken = (*(taken_by_place[place - 1] for place in wallet.places), of_overdraft)
    return Read(counters, overdraft.used, grants, taken, reply[last:])


def wallet_of(request: Request, prepared: PreparedRequest, read: Read, read_at_ms: int) -> Wallet | None:
    """The wallet as a call left it, or None where nothing is paid in credits."""
    wallet = prepared.wallet
    if wallet is None:
        return None
    grants = [
        grant_state(grant, wallet.currency, wallet.resource, counter, read_at_ms)
        for grant, counter in zip(wallet.live.grants, read.grants, strict=True)
    ]
    return Wallet(
        customer=request.customer,
        currency=wallet.currency,
        resource=wallet.resource,
        grants=tuple(grants),
        overdraft=read.overdraft,
        is_soft=wallet.live.is_soft,
        read_at_ms=read_at_ms,
    )


def grant_state(grant: WalletGrant, currency: str, resource: str | None, counter: Counter, now_ms: int) -> GrantState:
    """Put a grant and what its counter said together. What was used of it was there, whatever is said of it now."""
    return GrantState(
        id=grant.id,
        currency=currency,
        resource=resource,
        kind=grant.kind,
        status=grant.status_at(now_ms),
        priority=grant.priority,
        amount=max(grant.amount, wire.total(counter, 0.0)),
        consumed=counter.used,
        held=counter.held,
        effective_at_ms=grant.effective_at_ms,
        expires_at_ms=grant.expires_at_ms,
        subscription=grant.subscription,
        display_name=grant.display_name,
        created_at_ms=grant.created_at_ms,
        voided_at_ms=grant.voided_at_ms,
    )


def charges_of(prepared: PreparedRequest, read: Read) -> tuple[Charge, ...]:
    """What a call took from each grant, in burn order, then from overdraft; what it left alone is not named."""
    wallet = prepared.wallet
    if wallet is None:
        return ()
    names = (*(grant.id for grant in wallet.live.grants), None)
    return tuple(Charge(name, taken) for name, taken in zip(names, read.taken, strict=True) if taken)


def decision_of(
    request: Request,
    requested: float,
    prepared: PreparedRequest,
    reply: Any,
    read: Read,
    denial: DeniedReason | None,
    *,
    counted: bool,
    values: tuple[str, ...] = (),
) -> Decision:
    """Turn a verdict into a decision that explains itself."""
    account, feature = prepared.account, prepared.feature
    repeated = denial is None and reply[0] == Status.REPEATED
    granted = denial is None and reply[0] in (Status.GRANTED, Status.REPEATED)
    amount = 0.0 if denial is not None or (granted and counted) else requested
    cost = 0.0 if prepared.wallet is None else multiply(amount, prepared.wallet.rate)
    states = [
        state_of(constraint, counter, amount if feature is None or constraint.currency is None else cost)
        for constraint, counter in zip(prepared.constraints, read.counters, strict=True)
    ]
    wallet = wallet_of(request, prepared, read, int(reply[1]))
    credit = None if wallet is None else wallet_constraint(wallet, cost)
    of_account = states[0] if states and feature is not None else None
    binding = _binding(prepared, states, credit, granted=granted) if denial is None else None
    reason = denial
    if not granted and reason is None:
        # The account level comes first, whichever constraint has least left.
        if of_account is not None and not of_account.granted:
            reason = DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
        elif credit is not None and not credit.granted:
            reason = DeniedReason.INSUFFICIENT_CREDITS
        else:
            reason = DeniedReason.BUDGET_EXCEEDED
    given = account if account.denial is None else AccountLevel(account.denial)
    chains: tuple[tuple[ConstraintState, ...], ...] | None = None
    if request.dimensions:
        chains = (
            () if denial is not None else tuple(tuple(states[index] for index in chain) for chain in prepared.chains)
        )
    return Decision(
        customer=request.customer,
        feature=request.feature,
        requested=requested,
        granted=granted,
        reason=reason,
        account=of_account if account.denial is None else None,
        chains=chains,
        binding=binding,
        decided_at_ms=int(reply[1]),
        details=feature,
        enum_values=given.enum_values,
        numeric_value=given.numeric_value,
        has_unlimited_usage=given.has_unlimited_usage,
        currency=request.currency if prepared.currency is None else prepared.currency.id,
        resource=request.resource,
        credit=credit if account.denial is None else None,
        wallet=wallet if account.denial is None else None,
        charges=charges_of(prepared, read) if granted and counted else (),
        repeated=repeated,
        cost=0.0 if prepared.wallet is None or account.denial else multiply(requested, prepared.wallet.rate),
        requested_values=values,
        anchor_ms=account.anchor_ms if account.denial is None else None,
        valid_until_ms=None if prepared.until_ms >= FOREVER_END_MS else prepared.until_ms,
        currency_details=prepared.currency,
    )


def done_before(request: Request, requested: float, prepared: PreparedRequest, now_ms: int) -> Decision:
    """The decision of a request that was granted before, under its key, and would be denied now."""
    return Decision(
        customer=request.customer,
        feature=request.feature,
        requested=requested,
        granted=True,
        reason=None,
        account=None,
        chains=() if request.dimensions else None,
        binding=None,
        decided_at_ms=now_ms,
        details=prepared.feature,
        currency=None if prepared.currency is None else prepared.currency.id,
        resource=request.resource,
        repeated=True,
        currency_details=prepared.currency,
    )


def wallet_constraint(wallet: Wallet, requested: float) -> ConstraintState:
    """The wallet as one more limit: what its live grants were given; `requested` is what is still to fit."""
    return ConstraintState(
        entity=None,
        entity_type=None,
        scope=(),
        limit=wallet.granted,
        is_soft=wallet.is_soft,
        used=wallet.used,
        held=wallet.held,
        granted=wallet.is_soft or requested <= wallet.balance,
        period=ALWAYS,
        cadence=None,
        currency=wallet.currency,
    )


def state_of(constraint: Constraint, counter: Counter, requested: float) -> ConstraintState:
    """Put a constraint and what its counter said together; `requested` is what is still to fit."""
    granted = fits(counter.used, counter.held, constraint.refusing_limit, requested)
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
        currency=constraint.currency,
    )


def fits(used: float, held: float, limit: float | None, requested: float) -> bool:
    """Whether a limit that may refuse has room for what is requested, as the scripts decide it."""
    return limit is None or wire.total(Counter(0, used, held), requested) <= limit


def _binding(
    prepared: PreparedRequest, states: list[ConstraintState], credit: ConstraintState | None, *, granted: bool
) -> ConstraintState | None:
    """The constraint with least left; on a tie the nearest to its leaf, then the account, then the wallet."""
    if credit is not None:
        states = [*states, credit]
    distances = {len(states) - 1: (2, 0, 0)} if credit is not None else {}
    for order, chain in enumerate(prepared.chains):
        for depth, index in enumerate(chain):
            distances[index] = min(distances.get(index, (1, 0, 0)), (0, depth, order))
    hard = [
        (left, distances.get(index, (1, 0, 0)), index)
        for index, state in enumerate(states)
        if not state.is_soft and (granted or not state.granted) and (left := state.left) is not None
    ]
    return states[min(hard)[2]] if hard else None
