"""The limits in the way of a request, as the reference model finds them, counts on them and shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from headgate.errors import OutOfRange
from headgate.model.decision import ConstraintState, DeniedReason
from headgate.periods import ALWAYS, Cadence, Period, Schedule, reset_schedule
from model.commerce import Access
from model.exact import WHOLE_MAX, can_be_kept, dimension_text, rounded, total
from model.records import Assignment, Counter, CustomerRecord, EntityRecord, Rate, Slot, of_currency
from model.wallets import LiveWallet, Wallets

Dimensions = Mapping[str, str | float | bool]
Place = tuple[int, int]

# Where a limit stands on a tie: budgets by how far they are from their leaf, then the account, then the wallet.
ACCOUNT: Place = (1_000, 0)
WALLET: Place = (1_001, 0)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One limit in the way of one request. `place` is how far from its leaf it is, and in which chain."""

    slot: Slot
    period: Period
    limit: Fraction | None = None
    is_soft: bool = False
    cadence: str | None = None
    entity: EntityRecord | None = None
    scope: tuple[str, ...] = ()
    place: Place = ACCOUNT
    currency: str | None = None

    @property
    def hard_limit(self) -> Fraction | None:
        return None if self.is_soft else self.limit


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request is counted on, all or nothing: units of a feature, and credits of a wallet."""

    units: Fraction
    credits: Fraction
    account: Constraint | None
    chains: list[list[Constraint]]
    wallet: LiveWallet | None

    def of(self, constraint: Constraint) -> Fraction:
        return self.units if constraint.currency is None else self.credits


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit in the way of a request, budget or wallet, as it takes part in what binds."""

    left: Fraction
    place: Place
    state: ConstraintState


class Limits(Wallets):
    """The state of `Wallets`, and every limit that stands in the way of a request."""

    # --- rules ------------------------------------------------------------------------------------------------------

    def fits(self, after: Fraction, limit: Fraction) -> bool:
        return after <= limit

    def stands_at(self, slot: Slot, period: Period) -> Counter:
        """What a stored counter means in a period: it moves forward only, and a wild start is taken back."""
        stored = slot.counter
        if stored is None or stored.start_ms < period.start_ms:
            return Counter(period.start_ms, Fraction(0))
        if stored.start_ms > self.now_ms + period.length_ms:
            return Counter(period.start_ms, stored.used)
        return stored

    def applies(self, scope: tuple[str, ...], present: frozenset[str]) -> bool:
        return present.issuperset(scope)

    def shows(self, entity: EntityRecord) -> bool:
        return not entity.is_archived

    def is_too_old(self, dated_ms: int | None, start_ms: int) -> bool:
        return dated_ms is not None and dated_ms < start_ms

    def judge(self, constraint: Constraint, amount: Fraction) -> bool | None:
        """Whether the amount fits; None where the sum is no number that may be stored."""
        taken = total(self.used(constraint), self.weighs(constraint.slot))
        after = None if taken is None else total(taken, amount)
        if after is None:
            return None
        if constraint.hard_limit is not None and not self.fits(after, constraint.hard_limit):
            return False
        return True if after <= WHOLE_MAX else None

    def weighs(self, slot: Slot) -> Fraction:
        """What of a limit is held for somebody."""
        return slot.held

    def reason(self, refusing: Sequence[Limit]) -> DeniedReason:
        """Name what refuses: the account level first, then the wallet, whichever constraint has least left."""
        places = {each.place for each in refusing}
        if ACCOUNT in places:
            return DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
        return DeniedReason.INSUFFICIENT_CREDITS if WALLET in places else DeniedReason.BUDGET_EXCEEDED

    def binding(self, limits: Sequence[Limit]) -> ConstraintState | None:
        """Pick the hard limit with the least left; the nearest to its leaf on a tie, then the account, the wallet."""
        nearest = min(limits, key=lambda each: (each.left, each.place), default=None)
        return None if nearest is None else nearest.state

    def credits_for(self, amount: Fraction, rate: Rate) -> Fraction:
        """What an amount of a feature costs, to five decimals."""
        cost = rounded(amount * rate.amount)
        if not can_be_kept(cost):
            raise OutOfRange(f"{amount} x {rate.amount}")
        return cost

    def counted_once(self, constraints: Iterable[Constraint]) -> list[Constraint]:
        """Keep, of a constraint that several chains bring in, the one that is nearest to its leaf."""
        by_slot: dict[Slot, Constraint] = {}
        for each in sorted(constraints, key=lambda each: each.place):
            by_slot.setdefault(each.slot, each)
        return list(by_slot.values())

    # --- what is in the way -----------------------------------------------------------------------------------------

    def resolve(self, customer: CustomerRecord, dimensions: Dimensions | None) -> list[EntityRecord]:
        """Find the entities that the dimensions name, one for each that names any, in the order of the dimensions."""
        named = [(name, customer.entities.get(dimension_text(value))) for name, value in (dimensions or {}).items()]
        return [entity for name, entity in named if entity and name in self.entity_types[entity.type].attribution_keys]

    def chains(
        self, customer: CustomerRecord, capabilities: Sequence[str], dimensions: Dimensions | None
    ) -> list[list[Constraint]]:
        """One chain for each entity that brings in budgets, for a feature and what it is paid in, or a currency."""
        leaves = self.resolve(customer, dimensions)
        present = frozenset(node.id for leaf in leaves for node in self.walk(customer, leaf))
        found: list[list[Constraint]] = []
        for leaf in leaves:
            chain: list[Constraint] = []
            for node in filter(self.shows, self.walk(customer, leaf)):
                for capability in capabilities:
                    for scope, assignment in sorted(node.budgets(capability).items(), key=lambda each: each[0]):
                        if self.applies(scope, present):
                            place = len(chain), len(found)
                            chain.append(self.of_entity(node, scope, assignment, capability, place=place))
            if chain:
                found.append(chain)
        return found

    def of_entity(
        self,
        entity: EntityRecord,
        scope: tuple[str, ...],
        assignment: Assignment,
        capability: str,
        *,
        place: Place = (0, 0),
    ) -> Constraint:
        schedule = Schedule(Cadence.parse(assignment.cadence), assignment.created_at_ms, assignment.zone)
        period = schedule.period_at(self.now_ms)
        currency = next((each for each in self.currencies if of_currency(each) == capability), None)
        return Constraint(
            assignment.slot, period, assignment.limit, False, assignment.cadence, entity, scope, place, currency
        )

    def of_account(self, customer: CustomerRecord, feature: str, resource: str | None, access: Access) -> Constraint:
        """The account level. Without an entitlement it counts for ever, and has no limit."""
        slot = customer.account.setdefault((feature, resource), Slot())
        if access.best is None:
            return Constraint(slot, ALWAYS)
        terms = access.best.terms
        if terms.reset_period is None:
            return Constraint(slot, ALWAYS, access.limit, access.is_soft)
        schedule = reset_schedule(
            terms.reset_period, anchor_ms=access.best.anchor_ms, according_to=terms.according_to, zone=terms.zone
        )
        period = schedule.period_at(self.now_ms)
        return Constraint(slot, period, access.limit, access.is_soft, terms.reset_period)

    def anchor_ms(self, access: Access) -> int | None:
        """What the account's periods are counted from, where it has any."""
        if access.best is None or access.best.terms.reset_period is None:
            return None
        terms = access.best.terms
        schedule = reset_schedule(
            terms.reset_period, anchor_ms=access.best.anchor_ms, according_to=terms.according_to, zone=terms.zone
        )
        return schedule.anchor_ms

    # --- counters and what is said of them --------------------------------------------------------------------------

    def used(self, constraint: Constraint) -> Fraction:
        return self.stands_at(constraint.slot, constraint.period).used

    def count(self, constraint: Constraint, amount: Fraction) -> None:
        slot, stands = constraint.slot, self.stands_at(constraint.slot, constraint.period)
        if slot.counter is not None and stands.start_ms < slot.counter.start_ms:  # a wild clock's
            slot.into[stands.start_ms] = slot.into.pop(slot.counter.start_ms, Fraction(0))
        if slot.counter is None or stands.start_ms > slot.counter.start_ms:
            slot.into[stands.start_ms] = Fraction(0)  # begun, or begun again: a schedule was changed and changed back
        slot.into[stands.start_ms] = slot.into.get(stands.start_ms, Fraction(0)) + amount
        slot.counter = Counter(stands.start_ms, stands.used + amount)

    def change(self, constraint: Constraint, amount: Fraction, dated_ms: int | None) -> Fraction:
        """What of a reported amount reaches a counter; raises OutOfRange where the sum is no number."""
        stands = self.stands_at(constraint.slot, constraint.period)
        if amount < 0 and self.is_too_old(dated_ms, stands.start_ms):
            return Fraction(0)
        if -amount >= stands.used and amount < 0:
            return -stands.used
        after = total(stands.used, amount)
        if after is None or after > WHOLE_MAX:
            raise OutOfRange(f"{stands.used} + {amount}")
        return max(amount, -stands.used)

    def set_change(self, account: Constraint, amount: Fraction, dated_ms: int | None) -> Fraction:
        if self.is_too_old(dated_ms, self.stands_at(account.slot, account.period).start_ms):
            return Fraction(0)
        change = total(amount, -self.used(account))
        if change is None:
            raise OutOfRange(f"{amount} - {self.used(account)}")
        return change

    def allows(self, constraint: Constraint, amount: Fraction) -> bool:
        """Whether a constraint, on its own, would let the amount pass."""
        return constraint.hard_limit is None or self.judge(constraint, amount) is True

    def state(self, constraint: Constraint, amount: Fraction) -> ConstraintState:
        """Show a constraint; `amount` is what is still to fit."""
        entity = constraint.entity
        return ConstraintState(
            entity=entity.id if entity else None,
            entity_type=entity.type if entity else None,
            scope=constraint.scope,
            limit=None if constraint.limit is None else float(constraint.limit),
            is_soft=constraint.is_soft,
            used=float(self.used(constraint)),
            held=float(constraint.slot.held),
            granted=self.allows(constraint, amount),
            period=constraint.period,
            cadence=constraint.cadence,
            currency=constraint.currency,
        )

    def credit_state(self, wallet: LiveWallet, amount: Fraction) -> ConstraintState:
        """Show a wallet as a constraint: its limit is what its live grants were given."""
        granted = sum((each.amount for each in wallet.grants), Fraction(0))
        used = sum((each.slot.total for each in wallet.grants), Fraction(0)) + wallet.overdraft.total
        return ConstraintState(
            entity=None,
            entity_type=None,
            scope=(),
            limit=float(granted),
            is_soft=wallet.is_soft,
            used=float(used),
            held=float(sum((each.slot.held for each in wallet.grants), Fraction(0))),
            granted=self.satisfied(wallet, amount),
            period=ALWAYS,
            cadence=None,
            currency=wallet.currency,
        )

    def constraints(self, demand: Demand) -> list[Constraint]:
        """The counters in the way of a request, each once, the account first."""
        account = [] if demand.account is None else [demand.account]
        return [*account, *self.counted_once(each for chain in demand.chains for each in chain)]

    def limits(self, demand: Demand) -> list[Limit]:
        """The hard limits in the way of a request, with what is to fit."""
        found = [
            Limit(each.limit - self.used(each) - each.slot.held, each.place, self.state(each, demand.of(each)))
            for each in self.constraints(demand)
            if each.hard_limit is not None and each.limit is not None
        ]
        wallet = demand.wallet
        if wallet is not None and not wallet.is_soft:
            found.append(Limit(wallet.balance, WALLET, self.credit_state(wallet, demand.credits)))
        return found
