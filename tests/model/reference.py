"""The reference model: what Headgate means, in plain Python over dictionaries, with no store, cache, bytes or scripts.

It shares the public value types, the errors and `headgate.periods` with the engine, and nothing else: amounts are
fractions, chains are walked by hand, and a decision looks at every constraint every time. So where the two disagree,
one of them is wrong. Each rule is a small method, for a broken model to override: a test shows that this is noticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from headgate.errors import BatchIncomplete, HeadgateError, InvalidInput, NotFound, OutOfRange
from headgate.model.catalog import FeatureType
from headgate.model.decision import ConstraintState, Counted, Decision, DeniedReason, Receipt, UpdateBehavior
from headgate.periods import ALWAYS, Cadence, Period, Schedule, reset_schedule
from model.configuration import Assignment, Configuration, Counter, CustomerRecord, EntityRecord, Slot
from model.exact import WHOLE_MAX, dimension_text, exact, total

Dimensions = Mapping[str, str | float | bool]


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
    place: tuple[int, int] = (1_000, 0)

    @property
    def hard_limit(self) -> Fraction | None:
        return None if self.is_soft else self.limit


@dataclass(frozen=True, slots=True)
class Node:
    """An entity with its budgets for one feature, as people see it."""

    entity: str
    is_archived: bool
    states: tuple[ConstraintState, ...]
    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """All entities of a customer, and the account level above them."""

    account: ConstraintState
    roots: tuple[Node, ...]


class Reference(Configuration):
    """Every verb on the state that `Configuration` keeps. `now_ms` is set from outside, forward and back."""

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
        after = total(self.used(constraint), amount)
        if after is None:
            return None
        if constraint.hard_limit is not None and not self.fits(after, constraint.hard_limit):
            return False
        return True if after <= WHOLE_MAX else None

    def reason(self, refusing: Sequence[Constraint], binding: Constraint) -> DeniedReason:
        """Name what refuses: the account level first, whichever constraint has least left."""
        account_refuses = any(each.entity is None for each in refusing)
        return DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT if account_refuses else DeniedReason.BUDGET_EXCEEDED

    def binding(self, constraints: Sequence[Constraint]) -> Constraint | None:
        """Pick the hard limit with the least left; the nearest to its leaf on a tie, and the account last."""

        def rank(each: Constraint) -> tuple[Fraction, tuple[int, int]]:
            assert each.limit is not None
            return each.limit - self.used(each), each.place

        return min((each for each in constraints if each.hard_limit is not None), key=rank, default=None)

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

    def chains(self, customer: CustomerRecord, feature: str, dimensions: Dimensions | None) -> list[list[Constraint]]:
        leaves = self.resolve(customer, dimensions)
        present = frozenset(node.id for leaf in leaves for node in self.walk(customer, leaf))
        found: list[list[Constraint]] = []
        for leaf in leaves:
            chain: list[Constraint] = []
            for node in filter(self.shows, self.walk(customer, leaf)):
                for scope, assignment in sorted(node.budgets(feature).items(), key=lambda each: each[0]):
                    if self.applies(scope, present):
                        chain.append(self.of_entity(node, scope, assignment, place=(len(chain), len(found))))
            if chain:
                found.append(chain)
        return found

    def of_entity(
        self, entity: EntityRecord, scope: tuple[str, ...], assignment: Assignment, *, place: tuple[int, int] = (0, 0)
    ) -> Constraint:
        schedule = Schedule(Cadence.parse(assignment.cadence), assignment.created_at_ms, assignment.zone)
        period = schedule.period_at(self.now_ms)
        return Constraint(assignment.slot, period, assignment.limit, False, assignment.cadence, entity, scope, place)

    def of_account(self, customer: CustomerRecord, feature: str) -> Constraint:
        """The account level. Without an entitlement it counts for ever, and has no limit."""
        slot = customer.account.setdefault(feature, Slot())
        given = customer.entitlements.get(feature)
        if given is None:
            return Constraint(slot, ALWAYS)
        if given.reset_period is None or given.anchor_ms is None:
            return Constraint(slot, ALWAYS, given.limit, given.is_soft)
        schedule = reset_schedule(
            given.reset_period, anchor_ms=given.anchor_ms, according_to=given.according_to, zone=given.zone
        )
        return Constraint(slot, schedule.period_at(self.now_ms), given.limit, given.is_soft, given.reset_period)

    # --- verbs ------------------------------------------------------------------------------------------------------

    def check(
        self,
        customer: str,
        *,
        feature: str,
        requested_usage: float = 1,
        requested_values: Sequence[str] = (),
        dimensions: Dimensions | None = None,
    ) -> Decision:
        """Answer without counting."""
        denial = self.denial(customer, feature) or self.mismatch(customer, feature, requested_values)
        return self._decide(customer, feature, exact(requested_usage), dimensions, denial, counts=False)

    def consume(
        self, customer: str, *, feature: str, amount: float = 1, dimensions: Dimensions | None = None
    ) -> Decision:
        """Answer, and count the amount on every constraint if all of them allow it."""
        denial = self.denial(customer, feature)
        if denial is None and not self.features[feature].is_metered:
            denial = DeniedReason.FEATURE_TYPE_MISMATCH
        return self._decide(customer, feature, exact(amount), dimensions, denial, counts=True)

    def denial(self, customer_id: str, feature: str) -> DeniedReason | None:
        """What the account level says before any number is looked at, in the order of the contract."""
        customer = self.customers.get(customer_id)
        if customer is None:
            return DeniedReason.CUSTOMER_NOT_FOUND
        if customer.is_archived:
            return DeniedReason.CUSTOMER_IS_ARCHIVED
        if feature not in self.features:
            return DeniedReason.FEATURE_NOT_FOUND
        given = customer.entitlements.get(feature)
        if given is None:
            return DeniedReason.NO_ACTIVE_SUBSCRIPTION
        return DeniedReason.REVOKED if given.is_revoked else None

    def mismatch(self, customer: str, feature: str, values: Sequence[str]) -> DeniedReason | None:
        """Whether a choice of values asks for one that was not given."""
        given = self.customers[customer].entitlements[feature].enum_values
        is_choice = self.features[feature].feature_type is FeatureType.ENUM
        return DeniedReason.REQUESTED_VALUES_MISMATCH if is_choice and not set(values) <= set(given) else None

    def _decide(
        self,
        customer_id: str,
        feature_id: str,
        amount: Fraction,
        dimensions: Dimensions | None,
        denial: DeniedReason | None,
        *,
        counts: bool,
    ) -> Decision:
        decision = self._without_numbers(customer_id, feature_id, amount, dimensions, denial)
        if denial is not None or not self.features[feature_id].is_metered:
            return decision
        customer = self.customers[customer_id]
        account, chains = self.of_account(customer, feature_id), self.chains(customer, feature_id, dimensions)
        everything = [account, *self.counted_once(each for chain in chains for each in chain)]
        verdicts = [self.judge(each, amount) for each in everything]
        granted = False not in verdicts
        if granted and None in verdicts:
            raise OutOfRange(f"{feature_id}: {amount}")

        refusing = [each for each in everything if not self.allows(each, amount)]
        if granted and counts:
            for each in everything:
                self.count(each, amount)
            amount = Fraction(0)
        binding = self.binding(everything if granted else refusing)
        return replace(
            decision,
            granted=granted,
            reason=None if granted or binding is None else self.reason(refusing, binding),
            account=self.state(account, amount),
            chains=tuple(tuple(self.state(each, amount) for each in chain) for chain in chains) if dimensions else None,
            binding=self.state(binding, amount) if binding else None,
        )

    def _without_numbers(
        self,
        customer_id: str,
        feature_id: str,
        amount: Fraction,
        dimensions: Dimensions | None,
        denial: DeniedReason | None,
    ) -> Decision:
        """What a decision says where no counter is looked at."""
        feature = self.features.get(feature_id)
        decision = Decision(
            customer=customer_id,
            feature=feature_id,
            requested=float(amount),
            granted=denial is None,
            reason=denial,
            account=None,
            chains=() if dimensions else None,
            binding=None,
            decided_at_ms=self.now_ms,
            details=feature,
        )
        if feature is None or self.denial(customer_id, feature_id) is not None:
            return decision
        given = self.customers[customer_id].entitlements[feature_id]
        return replace(
            decision,
            enum_values=given.enum_values,
            numeric_value=None if feature.is_metered or given.limit is None else float(given.limit),
            has_unlimited_usage=given.is_unlimited,
        )

    def report(
        self,
        customer: str,
        *,
        feature: str,
        value: float,
        behavior: str = "DELTA",
        dimensions: Dimensions | None = None,
        dated_ms: int | None = None,
    ) -> Receipt:
        """Count on the account and once on every budget, or set the account and count the difference on the budgets."""
        amount = exact(value)
        if behavior == "SET" and amount < 0:
            raise InvalidInput.of("value", value, "is refused by the reference model")
        if customer not in self.customers:
            raise NotFound("customer", customer)
        if feature not in self.features:
            raise NotFound("feature", feature)
        if not self.features[feature].is_metered:
            raise InvalidInput.of("feature", feature, "is refused by the reference model")
        record = self.customers[customer]
        account = self.of_account(record, feature)
        chains = self.chains(record, feature, dimensions)
        entities = self.counted_once(each for chain in chains for each in chain)

        change = (
            self.change(account, amount, dated_ms)
            if behavior == "DELTA"
            else self.set_change(account, amount, dated_ms)
        )
        for_entities = change if behavior == "SET" else amount
        changes = [(account, change), *((each, self.change(each, for_entities, dated_ms)) for each in entities)]
        for each, applied in changes:
            self.count(each, applied)
        counted = [Counted(self.state(each, Fraction(0)), float(applied)) for each, applied in changes]
        return Receipt(
            customer=customer,
            feature=feature,
            value=float(amount),
            behavior=UpdateBehavior(behavior),
            account=counted[0],
            entities=tuple(counted[1:]),
            counted_at_ms=self.now_ms,
        )

    def report_many(self, records: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """Count records in order; the first that goes wrong ends the batch, and what was counted before it stays."""
        receipts: list[Receipt] = []
        for record in records:
            try:
                receipts.append(self.report(**record))
            except HeadgateError as error:
                left = len(records) - len(receipts)
                raise BatchIncomplete(["applied"] * len(receipts) + ["not applied"] * left, receipts, error) from error
        return receipts

    def periods(self) -> list[Period]:
        """The periods that are running now, of every budget and every account level that has any."""
        found = [
            self.of_entity(entity, scope, assignment).period
            for customer in self.customers.values()
            for entity in customer.entities.values()
            for (_, scope), assignment in entity.assignments.items()
        ]
        for customer in self.customers.values():
            found += [self.of_account(customer, feature).period for feature in customer.entitlements]
        return [period for period in found if period != ALWAYS]

    def limited_budgets(
        self, customer: str, *, feature: str, dimensions: Dimensions
    ) -> list[tuple[str, tuple[str, ...], Fraction, Fraction]]:
        """Entity, scope, used and left of each budget in the way of a request that has a limit."""
        chains = self.chains(self.customers[customer], feature, dimensions)
        return [
            (each.entity.id, each.scope, self.used(each), each.limit - self.used(each))
            for each in self.counted_once(each for chain in chains for each in chain)
            if each.entity and each.limit is not None
        ]

    def tree(self, customer_id: str, *, feature: str) -> Tree:
        """Every entity with its budgets for a feature, roots first, and the account level."""
        if feature not in self.features:
            raise NotFound("feature", feature)
        if customer_id not in self.customers:
            raise NotFound("customer", customer_id)
        customer = self.customers[customer_id]

        def node(entity: EntityRecord) -> Node:
            budgets = sorted(entity.budgets(feature).items(), key=lambda each: each[0])
            states = tuple(self.state(self.of_entity(entity, scope, each), Fraction(0)) for scope, each in budgets)
            return Node(entity.id, entity.is_archived, states, below(entity.id))

        def below(parent: str | None) -> tuple[Node, ...]:
            children = [each for each in customer.entities.values() if each.parent == parent]
            return tuple(node(each) for each in sorted(children, key=lambda each: each.id))

        return Tree(self.state(self.of_account(customer, feature), Fraction(0)), below(None))

    # --- counters and what is said of them --------------------------------------------------------------------------

    def used(self, constraint: Constraint) -> Fraction:
        return self.stands_at(constraint.slot, constraint.period).used

    def count(self, constraint: Constraint, amount: Fraction) -> None:
        stands = self.stands_at(constraint.slot, constraint.period)
        constraint.slot.counter = Counter(stands.start_ms, stands.used + amount)

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
            held=0.0,
            granted=self.allows(constraint, amount),
            period=constraint.period,
            cadence=constraint.cadence,
        )
