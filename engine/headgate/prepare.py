"""Prepared requests: every constraint that a request must satisfy, as bytes ready to send. Pure.

A prepared request is like a prepared statement: made once from one load, bound to an amount per call, and made again
when the configuration has moved. It carries its stamp, and one window `[from, until)` in which all of it holds; the
script checks both, so a prepared request that is out of date can only ever be answered "stale" or "moved on".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headgate import keys, wire
from headgate.calls import Call
from headgate.chains import Budget
from headgate.entitlements import AccountLevel
from headgate.keys import CustomerKeys
from headgate.model.catalog import Feature
from headgate.periods import FOREVER_END_MS, Cadence, Period, Schedule
from headgate.wire import Stamp

CONSTRAINTS_MAX: Final = 256
"""How many constraints a request may have to satisfy."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One limit with its counter and its period, as it stands in the way of one request. Entity None: the account."""

    entity: str | None
    entity_type: str | None
    scope: tuple[str, ...]
    limit: float | None
    is_soft: bool
    period: Period
    cadence: str | None

    @property
    def refusing_limit(self) -> float | None:
        """The limit that may refuse: none, where it is soft."""
        return None if self.is_soft else self.limit


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """Everything of a request but its amount. Constraints are in the order of the script's reply, account first."""

    keys: tuple[bytes, ...]
    stamp: Stamp
    body: bytes
    layout: bytes
    fields: tuple[bytes, ...]
    constraints: tuple[Constraint, ...]
    chains: tuple[tuple[int, ...], ...]
    account: AccountLevel
    feature: Feature | None
    from_ms: int
    until_ms: int

    def holds_at(self, now_ms: int) -> bool:
        """Whether an instant lies in the window in which all of it holds."""
        return self.from_ms <= now_ms < self.until_ms

    def ask(self, script: str, amount: float, *, writes: bool) -> Call:
        """Bind an amount for check or consume."""
        request = wire.pack_amounts(amount) + self.body
        args = (self.stamp.catalog_token, self.stamp.version, request, self.layout, *self.fields)
        return Call(script, self.keys, args, timed=2, writes=writes)

    def report(self, amount: float, behavior: str, dated_ms: float) -> Call:
        """Bind an amount that is counted without asking."""
        request = wire.pack_amounts(amount) + self.body
        how = (behavior.encode(), wire.pack_double(dated_ms))
        args = (self.stamp.catalog_token, self.stamp.version, request, self.layout, *how, *self.fields)
        return Call("report", self.keys, args, timed=2)


def budget_period(budget: Budget, now_ms: int) -> Period:
    """The period of a budget's cadence, anchored at the assignment's creation, that contains an instant."""
    assignment = budget.assignment
    schedule = Schedule(Cadence.parse(assignment.cadence), assignment.created_at_ms, assignment.zone)
    return schedule.period_at(now_ms)


def prepare(
    customer_keys: CustomerKeys,
    stamp: Stamp,
    account: AccountLevel,
    chains: Sequence[Sequence[Budget]],
    *,
    feature: Feature | None,
    account_field: bytes,
    now_ms: int,
) -> PreparedRequest:
    """Compile what applies to a request at one instant. A budget that several chains share is one constraint."""
    account_constraint = Constraint(None, None, (), account.limit, account.is_soft, account.period, account.cadence)
    by_number: dict[int, Budget] = {budget.assignment.number: budget for chain in chains for budget in chain}
    numbers = sorted(by_number)
    constraints = [account_constraint, *(_constraint(by_number[number], now_ms) for number in numbers)]
    index_of = {number: index for index, number in enumerate(numbers, start=1)}
    return _compile(
        customer_keys,
        stamp,
        constraints,
        [(None, account_field), *(keys.counter_place(number) for number in numbers)],
        chains=tuple(tuple(index_of[budget.assignment.number] for budget in chain) for chain in chains),
        account=account,
        feature=feature,
    )


def prepare_denial(
    customer_keys: CustomerKeys, stamp: Stamp, account: AccountLevel, *, feature: Feature | None
) -> PreparedRequest:
    """Compile an answer that needs no counter: the script still has to say that the stamp holds."""
    return _compile(customer_keys, stamp, [], [], chains=(), account=account, feature=feature)


def prepare_readings(
    customer_keys: CustomerKeys, stamp: Stamp, budgets: Sequence[Budget], *, now_ms: int
) -> PreparedRequest:
    """Compile a reading of many entity counters, which is a check that asks for nothing. Numbers must be in order."""
    constraints = [_constraint(budget, now_ms) for budget in budgets]
    places = [keys.counter_place(budget.assignment.number) for budget in budgets]
    return _compile(customer_keys, stamp, constraints, places, chains=(), account=AccountLevel(None), feature=None)


def _constraint(budget: Budget, now_ms: int) -> Constraint:
    entity, assignment = budget.entity, budget.assignment
    return Constraint(
        entity.id,
        entity.type,
        assignment.scope,
        assignment.usage_limit,
        False,
        budget_period(budget, now_ms),
        assignment.cadence,
    )


def _compile(
    customer_keys: CustomerKeys,
    stamp: Stamp,
    constraints: Sequence[Constraint],
    places: Iterable[tuple[int | None, bytes]],
    *,
    chains: tuple[tuple[int, ...], ...],
    account: AccountLevel,
    feature: Feature | None,
) -> PreparedRequest:
    buckets: dict[int, list[bytes]] = {}
    account_fields: list[bytes] = []
    for bucket, field in places:
        (account_fields if bucket is None else buckets.setdefault(bucket, [])).append(field)
    ordered = sorted(buckets)
    layout = bytes([len(account_fields), *(len(buckets[bucket]) for bucket in ordered)])
    fields = (*account_fields, *(field for bucket in ordered for field in buckets[bucket]))
    from_ms = max((each.period.start_ms for each in constraints), default=0)
    until_ms = min((each.period.end_ms for each in constraints), default=FOREVER_END_MS)
    body = wire.pack_window(from_ms, until_ms) + b"".join(
        wire.pack_constraint(each.refusing_limit, each.period.start_ms, each.period.length_ms, 1)
        for each in constraints
    )
    return PreparedRequest(
        keys=(customer_keys.catalog, customer_keys.usage, *(customer_keys.bucket(bucket) for bucket in ordered)),
        stamp=stamp,
        body=body,
        layout=layout,
        fields=fields,
        constraints=tuple(constraints),
        chains=chains,
        account=account,
        feature=feature,
        from_ms=from_ms,
        until_ms=until_ms,
    )
