"""Prepared requests: every constraint that a request must satisfy, as bytes ready to send. Pure.

A prepared request is like a prepared statement: made once from one load, bound to an amount per call, and made again
when the configuration has moved. It carries its stamp, and one window `[from, until)` in which all of it holds; the
script checks both, so a prepared request that is out of date can only ever be answered "stale" or "moved on".

It has one section or two, each with an amount of its own: the feature's units, and the credits that these cost. What is
asked of a currency alone is one section. A wallet belongs to the section of its currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headgate import keys, wire
from headgate.amounts import AmountOutOfRange, multiply
from headgate.calls import Call
from headgate.chains import Budget
from headgate.entitlements import AccountLevel
from headgate.errors import OutOfRange
from headgate.keys import CustomerKeys
from headgate.model.catalog import Currency, Feature
from headgate.periods import ALWAYS, Cadence, Period, Schedule
from headgate.wallets import LiveWallet, WalletGrant
from headgate.wire import Stamp

CONSTRAINTS_MAX: Final = 256
"""How many constraints a request may have to satisfy."""

Place = tuple[int | str | None, bytes]
"""Where a counter is: its bucket (None: the account's hash), and its field."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One limit with its counter and its period, as it stands in the way of one request. Entity None: the account.

    A budget for credits names the currency.
    """

    entity: str | None
    entity_type: str | None
    scope: tuple[str, ...]
    limit: float | None
    is_soft: bool
    period: Period
    cadence: str | None
    currency: str | None = None

    @property
    def refusing_limit(self) -> float | None:
        """The limit that may refuse: none, where it is soft."""
        return None if self.is_soft else self.limit


@dataclass(frozen=True, slots=True)
class PreparedWallet:
    """The wallet that a request is paid from. `places` says where each grant, in burn order, has its counter, from 1.

    `rate` is what a unit of the request costs: 1 for a request by currency. `args` and `fields` are the scripts'.
    """

    currency: str
    resource: str | None
    live: LiveWallet
    rate: float
    places: tuple[int, ...]
    args: tuple[bytes, ...]
    fields: tuple[bytes, ...]


NO_PURSE: Final = (b"\0\0", b"", b"")
"""The wallet of a request that is not paid in credits."""


@dataclass(frozen=True, slots=True)
class PreparedOnce:
    """An idempotency key as the scripts read it; what carries one may be sent again when its reply was lost."""

    places: tuple[bytes, ...] | None
    identity: bytes
    fingerprint: bytes
    generation: bytes


NOT_ONCE: Final = PreparedOnce(None, b"", b"", b"")


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
    currency: Currency | None = None
    wallet: PreparedWallet | None = None
    buckets: tuple[int | str, ...] = ()

    def holds_at(self, now_ms: int) -> bool:
        """Whether an instant lies in the window in which all of it holds."""
        return self.from_ms <= now_ms < self.until_ms

    def ask(self, script: str, amount: float, *, writes: bool, once: PreparedOnce | None = None) -> Call:
        """Bind an amount for check or consume. Raises OutOfRange where it costs more credits than there can be."""
        if script == "check":
            return self._call(script, amount, (), (), writes=writes)
        return self._call(script, amount, self._burn_order, (), writes=writes, once=once)

    def report(self, amount: float, behavior: str, dated_ms: float, *, once: PreparedOnce | None = None) -> Call:
        """Bind an amount that is counted without asking. Raises OutOfRange like `ask`."""
        how = (behavior.encode(), wire.pack_double(dated_ms))
        return self._call("report", amount, self._burn_order, how, once=once)

    @property
    def _burn_order(self) -> tuple[bytes]:
        return (b"" if self.wallet is None else bytes(self.wallet.places),)

    def _call(
        self,
        script: str,
        amount: float,
        burn_order: tuple[bytes, ...],
        how: tuple[bytes, ...],
        *,
        writes: bool = True,
        once: PreparedOnce | None = None,
    ) -> Call:
        wallet, stamp = self.wallet, self.stamp
        if wallet is None and once is None:
            request = wire.pack_amounts(amount) + self.body
            args = (stamp.catalog_token, stamp.version, request, self.layout, *how, *self.fields)
            return Call(script, self.keys, args, timed=2, writes=writes)
        try:
            request = wire.pack_amounts(amount, multiply(amount, wallet.rate) if wallet else 0.0) + self.body
        except AmountOutOfRange as error:
            raise OutOfRange(f"{error}: nothing was written") from None
        head = (stamp.catalog_token, stamp.version, request, self.layout)
        purse = NO_PURSE if wallet is None else wallet.args
        fields = self.fields if wallet is None else (*self.fields, *wallet.fields)
        if script == "check":
            return Call("check_credits", self.keys, (*head, *purse, *fields), timed=2, writes=writes)
        catalog, usage, *buckets = self.keys
        named = NOT_ONCE if once is None else once
        keys = (catalog, usage, *(named.places or (catalog, catalog, catalog)), *buckets)
        args = (*head, *purse, *burn_order, named.identity, named.fingerprint, named.generation, *how, *fields)
        return Call(f"{script}_credits", keys, args, timed=2, writes=writes and once is None)


@dataclass(frozen=True, slots=True)
class Purse:
    """What a request is paid from: the wallet of a currency, the field of its overdraft, and what a unit costs."""

    currency: str
    resource: str | None
    live: LiveWallet
    overdraft_field: bytes
    rate: float = 1.0


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
    account_field: bytes | None,
    now_ms: int,
    currency: Currency | None = None,
    purse: Purse | None = None,
) -> PreparedRequest:
    """Compile what applies to a request at one instant. A budget that several chains share is one constraint.

    Without an account field (a request by currency), the wallet stands in the place of the account's counter.
    """
    constraints: list[Constraint] = []
    places: list[Place] = []
    if account_field is not None:
        limit = Constraint(None, None, (), account.limit, account.is_soft, account.period, account.cadence)
        constraints.append(limit)
        places.append((None, account_field))
    by_number: dict[int, Budget] = {budget.assignment.number: budget for chain in chains for budget in chain}
    numbers = sorted(by_number)
    index_of = {number: index for index, number in enumerate(numbers, start=len(constraints))}
    constraints += [_constraint(by_number[number], now_ms) for number in numbers]
    places += [keys.counter_place(number) for number in numbers]
    return _compile(
        customer_keys,
        stamp,
        constraints,
        places,
        chains=tuple(tuple(index_of[budget.assignment.number] for budget in chain) for chain in chains),
        account=account,
        feature=feature,
        currency=currency,
        purse=purse,
    )


def prepare_denial(
    customer_keys: CustomerKeys,
    stamp: Stamp,
    account: AccountLevel,
    *,
    feature: Feature | None,
    currency: Currency | None = None,
) -> PreparedRequest:
    """Compile an answer that needs no counter: the script still has to say that the stamp and the window hold."""
    return _compile(customer_keys, stamp, [], [], account=account, feature=feature, currency=currency)


def prepare_readings(
    customer_keys: CustomerKeys, stamp: Stamp, budgets: Sequence[Budget], *, now_ms: int
) -> PreparedRequest:
    """Compile a reading of many entity counters, which is a check that asks for nothing. Numbers must be in order."""
    constraints = [_constraint(budget, now_ms) for budget in budgets]
    places = [keys.counter_place(budget.assignment.number) for budget in budgets]
    return _compile(customer_keys, stamp, constraints, places, account=AccountLevel(None), feature=None)


def prepare_account_readings(
    customer_keys: CustomerKeys, stamp: Stamp, levels: Sequence[tuple[AccountLevel, bytes]]
) -> PreparedRequest:
    """Compile a reading of account-level counters, each with its field: a check that asks for nothing."""
    constraints = [
        Constraint(None, None, (), level.limit, level.is_soft, level.period, level.cadence) for level, _ in levels
    ]
    places = [(None, field) for _, field in levels]
    return _compile(customer_keys, stamp, constraints, places, account=AccountLevel(None), feature=None)


def prepare_grant_readings(
    customer_keys: CustomerKeys, stamp: Stamp, grants: Sequence[WalletGrant]
) -> tuple[PreparedRequest, list[WalletGrant]]:
    """Compile a reading of grants' counters, whether they are live or not, and say in which order they are read."""
    ordered = sorted(grants, key=lambda grant: (isinstance(grant.place[0], str), grant.place))
    constraints = [Constraint(None, None, (), grant.amount, False, ALWAYS, None) for grant in ordered]
    places = [grant.place for grant in ordered]
    prepared = _compile(customer_keys, stamp, constraints, places, account=AccountLevel(None), feature=None)
    return prepared, ordered


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
        budget.currency,
    )


def _compile(
    customer_keys: CustomerKeys,
    stamp: Stamp,
    constraints: Sequence[Constraint],
    places: Sequence[Place],
    *,
    account: AccountLevel,
    feature: Feature | None,
    chains: tuple[tuple[int, ...], ...] = (),
    currency: Currency | None = None,
    purse: Purse | None = None,
) -> PreparedRequest:
    account_fields = [field for bucket, field in places if bucket is None]
    buckets = _by_bucket(place for place in places if place[0] is not None)
    layout = bytes([len(account_fields), *(len(fields) for fields in buckets.values())])
    fields = (*account_fields, *(field for fields in buckets.values() for field in fields))
    windows = [(account.from_ms, account.until_ms)]
    windows += [(each.period.start_ms, each.period.end_ms) for each in constraints]
    wallet = None
    if purse is not None:
        windows.append((purse.live.from_ms, purse.live.until_ms))
        wallet = _wallet(purse, list(buckets), section=1 if feature is None else 2)
        grant_buckets = _by_bucket(grant.place for grant in purse.live.grants)
        buckets = {**buckets, **{name: [] for name in grant_buckets if name not in buckets}}
    from_ms, until_ms = max(start for start, _ in windows), min(end for _, end in windows)
    body = wire.pack_window(from_ms, until_ms) + b"".join(
        wire.pack_constraint(
            each.refusing_limit,
            each.period.start_ms,
            each.period.length_ms,
            2 if feature is not None and each.currency is not None else 1,
        )
        for each in constraints
    )
    return PreparedRequest(
        keys=(customer_keys.catalog, customer_keys.usage, *(customer_keys.bucket(name) for name in buckets)),
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
        currency=currency,
        wallet=wallet,
        buckets=tuple(buckets),
    )


def _by_bucket(places: Iterable[Place]) -> dict[int | str, list[bytes]]:
    """The fields of each bucket: those of budgets and given grants by number, then those of recurring grants."""
    buckets: dict[int | str, list[bytes]] = {}
    for bucket, field in places:
        assert bucket is not None
        buckets.setdefault(bucket, []).append(field)
    return dict(sorted(buckets.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _wallet(purse: Purse, budget_buckets: Sequence[int | str], *, section: int) -> PreparedWallet:
    """Put the grants in the order of their buckets, those of the budgets first, as the scripts read them."""
    live = purse.live
    of_grants = _by_bucket(grant.place for grant in live.grants)
    ordered = [*budget_buckets, *(name for name in of_grants if name not in budget_buckets)]
    at_place: list[WalletGrant] = sorted(live.grants, key=lambda grant: ordered.index(grant.place[0]))
    place_of = {grant.id: place for place, grant in enumerate(at_place, start=1)}
    places = tuple(place_of[grant.id] for grant in live.grants)
    blob = wire.pack_grants(section, live.is_soft, [(grant.amount, grant.effective_at_ms) for grant in at_place])
    counts = bytes(len(of_grants.get(name, ())) for name in ordered)
    return PreparedWallet(
        currency=purse.currency,
        resource=purse.resource,
        live=live,
        rate=purse.rate,
        places=places,
        args=(blob, counts, purse.overdraft_field),
        fields=tuple(grant.place[1] for grant in at_place),
    )
