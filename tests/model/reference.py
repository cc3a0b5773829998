"""The reference model: what Headgate means, in plain Python over dictionaries, with no store, cache, bytes or scripts.

It shares the public value types, the errors and `headgate.periods` with the engine, and nothing else: amounts are
fractions, chains are walked by hand, and a decision looks at every constraint every time. So where the two disagree,
one of them is wrong. Each rule is a small method, for a broken model to override: a test shows that this is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from headgate.errors import BatchIncomplete, Conflict, HeadgateError, NotFound, OutOfRange
from headgate.model.catalog import FeatureType
from headgate.model.credits import Charge
from headgate.model.decision import ConstraintState, Counted, Decision, DeniedReason, Receipt, UpdateBehavior
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.periods import ALWAYS, Period
from model.commerce import Access
from model.configuration import refused
from model.exact import dimension_text, exact, rounded
from model.limits import Constraint, Demand, Dimensions
from model.reading import Reading
from model.records import CustomerRecord, EntityRecord, HoldRecord, of_currency
from model.wallets import Purse

RETENTION_MS = 168 * 3_600_000
LASTS_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request names: a customer, perhaps a resource of theirs, and a feature or a currency."""

    customer: str
    feature: str | None
    currency: str | None
    resource: str | None

    @classmethod
    def one(cls, customer: str, feature: str | None, currency: str | None, resource: str | None) -> Asked:
        if (feature is None) == (currency is None):
            raise refused("feature", feature)
        return cls(customer, feature, currency, resource)


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

    account: ConstraintState | None
    roots: tuple[Node, ...]


Writes = Callable[[Demand, Purse | None], tuple[Charge, ...]]
"""What a verdict that grants writes; what it charges."""


class Reference(Reading):
    """Every verb on the state that `Limits` keeps. `now_ms` is set from outside, forward and back."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.seen: dict[tuple[str, str, str | None, int], tuple[Any, ...]] = {}

    def demand(self, asked: Asked, amount: Fraction, access: Access, dimensions: Dimensions | None) -> Demand:
        """What a request is counted on: the feature, and what it is paid in; or a currency alone."""
        record, currency, credits = self.customers[asked.customer], asked.currency, amount
        account, capabilities = None, list[str]()
        if asked.feature is not None:
            account = self.of_account(record, asked.feature, asked.resource, access)
            capabilities.append(asked.feature)
            if access.rate is not None:
                currency, credits = access.rate.currency, self.credits_for(amount, access.rate)
        wallet = None
        if currency is not None:
            wallet = self.live_wallet(asked.customer, currency, asked.resource)
            capabilities.append(of_currency(currency))
        return Demand(amount, credits, account, self.chains(record, capabilities, dimensions), wallet)

    def check(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        requested_usage: float = 1,
        requested_values: Sequence[str] = (),
        dimensions: Dimensions | None = None,
    ) -> Decision:
        """Answer without counting."""
        asked = Asked.one(customer, feature, currency, resource)
        access = self.access_to(asked)
        mismatch = self.mismatch(asked, access, requested_values)
        decision = self._decide(asked, exact(requested_usage), access, dimensions, mismatch)
        return replace(decision, requested_values=tuple(requested_values))

    def consume(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        amount: float = 1,
        dimensions: Dimensions | None = None,
        key: str | None = None,
    ) -> Decision:
        """Answer, and count the amount on every constraint if all of them allow it. Under a key, once."""
        asked = Asked.one(customer, feature, currency, resource)
        access, request = self.access_to(asked), (feature, currency, resource, exact(amount), same_named(dimensions))
        mismatch = self._metered_only(asked, access)
        if self.is_known("consume", customer, key, request):
            return self._repeated(asked, exact(amount), access, dimensions, mismatch)
        decision = self._decide(asked, exact(amount), access, dimensions, mismatch, self._consume)
        if decision.granted or self.burns_when_refused():
            self.remember("consume", customer, key, request)
        return decision

    def _metered_only(self, asked: Asked, access: Access) -> DeniedReason | None:
        if asked.feature is None or access.denial is not None or self.features[asked.feature].is_metered:
            return None
        return DeniedReason.FEATURE_TYPE_MISMATCH

    def _consume(self, demand: Demand, purse: Purse | None) -> tuple[Charge, ...]:
        charges = purse.charges() if purse else ()
        for each in self.constraints(demand):
            self.count(each, demand.of(each))
        if purse:
            purse.write()
        return charges

    def reserve(
        self,
        customer: str,
        *,
        id: str,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        amount: float = 1,
        dimensions: Dimensions | None = None,
        expires_in: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Reservation:
        """Answer, and hold the amount on every constraint if all of them allow it. An id that is known is a repeat."""
        asked, lasts_ms = Asked.one(customer, feature, currency, resource), lasts(expires_in)
        told = feature, currency, resource, exact(amount), same_named(dimensions), lasts_ms, dict(metadata or {})
        known = self.customers[customer].holds.get(id) if customer in self.customers else None
        if known is not None:
            if known.request != told:
                raise Conflict(f"reservation {id!r}")
            return self.reservation(customer, known)
        access = self.access_to(asked)
        rate = None if access.rate is None or feature is None else access.rate.amount
        paid_in = currency if access.rate is None else access.rate.currency
        expires_ms = self.now_ms + lasts_ms
        record = HoldRecord(
            *(id, told, feature, paid_in, resource, exact(amount), rate),
            *(self.now_ms, expires_ms, dict(metadata or {})),
        )

        mismatch = self._metered_only(asked, access)
        decision = self._decide(
            asked, exact(amount), access, dimensions, mismatch, lambda demand, _: self.hold(record, demand)
        )
        if decision.granted:
            self.customers[customer].holds[id] = record
        made = replace(self.reservation(customer, record), decision=decision)
        return made if decision.granted else replace(made, status=ReservationStatus.REFUSED)

    # --- idempotency keys -------------------------------------------------------------------------------------------

    def is_known(self, kind: str, customer: str, key: str | None, request: tuple[Any, ...]) -> bool:
        """Whether a request was carried out under its key; raises Conflict where another one was.

        Keys are kept in generations: the present one, the one before, and, where the clock stepped back, the next.
        """
        generation = self.now_ms // RETENTION_MS
        for each in (generation, generation - 1, generation + 1):
            known = self.seen.get((kind, customer, key, each))
            if known is not None and known != request:
                raise Conflict(f"key {key!r}")
            if known is not None:
                return True
        return False

    def remember(self, kind: str, customer: str, key: str | None, request: tuple[Any, ...]) -> None:
        if key is not None:
            self.seen[kind, customer, key, self.now_ms // RETENTION_MS] = request

    def burns_when_refused(self) -> bool:
        return False

    def _repeated(
        self,
        asked: Asked,
        amount: Fraction,
        access: Access,
        dimensions: Dimensions | None,
        mismatch: DeniedReason | None,
    ) -> Decision:
        """The first outcome, which was a grant, with the numbers of now."""
        decision = self._without_numbers(asked, amount, access, dimensions, mismatch)
        if decision.granted:
            demand = self.demand(asked, amount, access, dimensions)
            decision = replace(decision, cost=0.0 if demand.wallet is None else float(demand.credits))
            demand = replace(demand, units=Fraction(0), credits=Fraction(0))
            decision = self._with_numbers(decision, demand, dimensions)
        return replace(decision, granted=True, reason=None, repeated=True)

    def access_to(self, asked: Asked) -> Access:
        """What the account level says before any number is looked at. Credits need no subscription."""
        if asked.feature is not None:
            return self.access(asked.customer, asked.feature, asked.resource)
        denial = self.customer_denial(asked.customer, asked.resource)
        if denial is None and asked.currency not in self.currencies:
            denial = DeniedReason.ENTITLEMENT_NOT_FOUND
        return Access(denial)

    def mismatch(self, asked: Asked, access: Access, values: Sequence[str]) -> DeniedReason | None:
        """Whether a choice of values asks for one that was not given."""
        if asked.feature is None or access.denial is not None:
            return None
        is_choice = self.features[asked.feature].feature_type is FeatureType.ENUM
        is_given = not is_choice or set(values) <= set(access.enum_values)
        return None if is_given else DeniedReason.REQUESTED_VALUES_MISMATCH

    def _decide(
        self,
        asked: Asked,
        amount: Fraction,
        access: Access,
        dimensions: Dimensions | None,
        mismatch: DeniedReason | None,
        write: Writes | None = None,
    ) -> Decision:
        """Decide, and write what is granted. Who would be refused has first freed for them what has expired."""
        decision = self._without_numbers(asked, amount, access, dimensions, mismatch)
        if not decision.granted or (asked.feature is not None and not self.features[asked.feature].is_metered):
            return decision
        demand = self.demand(asked, amount, access, dimensions)
        if demand.wallet is not None:
            decision = replace(decision, cost=float(demand.credits))
        verdicts = [self.judge(each, demand.of(each)) for each in self.constraints(demand)]
        granted = False not in verdicts and (demand.wallet is None or self.satisfied(demand.wallet, demand.credits))
        if self.frees_first(granted=granted) and self.free_due(asked.customer):
            return self._decide(asked, amount, access, dimensions, mismatch, write)
        if granted and None in verdicts:
            raise OutOfRange(f"{asked}: {amount}")

        refusing = [each for each in self.limits(demand) if not each.state.granted]
        purse = self.after(demand.wallet, demand.credits) if demand.wallet is not None and granted else None
        if granted and write is not None:
            charges = write(demand, purse)
            demand = replace(demand, units=Fraction(0), credits=Fraction(0))
            decision = replace(decision, charges=charges)
        decision = self._with_numbers(decision, demand, dimensions)
        if granted:
            return decision
        return replace(decision, granted=False, reason=self.reason(refusing), binding=self.binding(refusing))

    def _with_numbers(self, decision: Decision, demand: Demand, dimensions: Dimensions | None) -> Decision:
        wallet, account = demand.wallet, demand.account
        shown = [tuple(self.state(each, demand.of(each)) for each in chain) for chain in demand.chains]
        return replace(
            decision,
            account=None if account is None else self.state(account, demand.units),
            chains=tuple(shown) if dimensions else None,
            binding=self.binding(self.limits(demand)),
            currency=None if wallet is None else wallet.currency,
            credit=None if wallet is None else self.credit_state(wallet, demand.credits),
            wallet=None if wallet is None else self.wallet_state(wallet),
        )

    def _without_numbers(
        self,
        asked: Asked,
        amount: Fraction,
        access: Access,
        dimensions: Dimensions | None,
        mismatch: DeniedReason | None,
    ) -> Decision:
        """What a decision says where no counter is looked at."""
        reason = access.denial or mismatch
        feature = None if asked.feature is None else self.features.get(asked.feature)
        currency = asked.currency if access.rate is None else access.rate.currency
        decision = Decision(
            customer=asked.customer,
            feature=asked.feature,
            requested=float(amount),
            granted=reason is None,
            reason=reason,
            account=None,
            chains=() if dimensions else None,
            binding=None,
            decided_at_ms=self.now_ms,
            details=feature,
            currency=currency,
            resource=asked.resource,
            currency_details=None if currency is None else self.currencies.get(currency),
        )
        if feature is None or access.denial is not None:
            return decision
        return replace(
            decision,
            enum_values=access.enum_values,
            numeric_value=None if feature.is_metered or access.limit is None else float(access.limit),
            has_unlimited_usage=access.is_unlimited,
            anchor_ms=self.anchor_ms(access) if feature.is_metered else None,
        )

    def report(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        value: float,
        behavior: str = "DELTA",
        dimensions: Dimensions | None = None,
        dated_ms: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Count on the account, once on every budget, and on the wallet; or set the account, and count the change."""
        amount, asked = exact(value), Asked.one(customer, feature, currency, resource)
        if behavior == "SET" and amount < 0:
            raise refused("value", value)
        self.of_resource(customer, resource)
        if currency is not None and currency not in self.currencies:
            raise NotFound("currency", currency)
        if feature is not None and feature not in self.features:
            raise NotFound("feature", feature)
        if feature is not None and not self.features[feature].is_metered:
            raise refused("feature", feature)
        demand = self.demand(asked, amount, self.access_to(asked), dimensions)
        wallet = demand.wallet
        request = feature, currency, resource, amount, behavior, same_named(dimensions), dated_ms
        repeated = self.is_known("report", customer, key, request)
        if behavior == "SET" and wallet is not None:
            if not repeated:
                raise refused("behavior", behavior)
            paid_in, how = wallet.currency, UpdateBehavior(behavior)
            return Receipt(
                customer, feature, float(amount), how, None, (), self.now_ms, paid_in, resource, repeated=True
            )

        if repeated:
            changes, purse = [(each, Fraction(0)) for each in self.constraints(demand)], None
        else:
            demand = self.paid_here(demand, dated_ms)
            changes = self._changes(demand, behavior, dated_ms)
            purse = None if wallet is None else self.after(wallet, demand.credits, dated_ms)
            self.remember("report", customer, key, request)
        charges = purse.charges() if purse else ()
        for each, applied in [] if repeated else changes:
            self.count(each, applied)
        if purse:
            purse.write()
        counted = [Counted(self.state(each, Fraction(0)), float(applied)) for each, applied in changes]
        return Receipt(
            customer=customer,
            feature=feature,
            value=float(amount),
            behavior=UpdateBehavior(behavior),
            account=counted.pop(0) if feature is not None else None,
            entities=tuple(counted),
            counted_at_ms=self.now_ms,
            currency=None if wallet is None else wallet.currency,
            resource=resource,
            wallet=None if wallet is None else self.wallet_state(wallet),
            charges=charges,
            repeated=repeated,
        )

    def paid_here(self, demand: Demand, dated_ms: int | None) -> Demand:
        """A correction gives back as much of the credits as the account takes of the units: the rest was not paid."""
        if demand.account is None or demand.units >= 0:
            return demand
        applied = self.change(demand.account, demand.units, dated_ms)
        return replace(demand, credits=rounded(demand.credits * applied / demand.units))

    def _changes(self, demand: Demand, behavior: str, dated_ms: int | None) -> list[tuple[Constraint, Fraction]]:
        """What of a report reaches each counter. An account that is set gives its budgets the difference."""
        found: list[tuple[Constraint, Fraction]] = []
        for each in self.constraints(demand):
            if each is demand.account and behavior == "SET":
                change = self.set_change(each, demand.units, dated_ms)
                demand = replace(demand, units=change)
                found.append((each, change))
            else:
                found.append((each, self.change(each, demand.of(each), dated_ms)))
        return found

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
            self.of_entity(entity, scope, assignment, capability).period
            for customer in self.customers.values()
            for entity in customer.entities.values()
            for (capability, scope), assignment in entity.assignments.items()
        ]
        for id, customer in self.customers.items():
            found += [
                self.of_account(customer, feature, resource, self.access(id, feature, resource)).period
                for feature in self.features
                for resource in (None, *sorted(customer.resources))
            ]
        return [period for period in found if period != ALWAYS]

    def instants_ms(self) -> set[int]:
        """Every instant at which a subscription, a promotion or a grant begins or ends, and some of periods."""
        found: set[int | None] = set()
        for customer in self.customers.values():
            found |= {each.expires_ms for each in customer.entitlements.values()}
            for record in customer.subscriptions.values():
                found |= {record.start_ms, record.trial_end_ms, record.end_ms}
            wallets = {(currency, resource) for currency in self.currencies for resource in (None, *customer.resources)}
            for currency, resource in wallets:
                for grant in self.every_grant(customer, currency, resource):
                    found |= {grant.effective_ms, grant.expires_ms}
        return {each for each in found if each is not None} | {
            instant_ms for period in self.periods() for instant_ms in (period.start_ms, period.end_ms)
        }

    def limited_budgets(
        self, customer: str, *, feature: str, dimensions: Dimensions
    ) -> list[tuple[str, tuple[str, ...], Fraction, Fraction]]:
        """Entity, scope, used and left of each budget in the way of a request that has a limit."""
        chains = self.chains(self.customers[customer], [feature], dimensions)
        return [
            (each.entity.id, each.scope, self.used(each), each.limit - self.used(each) - each.slot.held)
            for each in self.counted_once(each for chain in chains for each in chain)
            if each.entity and each.limit is not None
        ]

    def tree(self, customer_id: str, *, feature: str) -> Tree:
        """Every entity with its budgets for a feature and what it is paid in, roots first, and the account level."""
        if feature not in self.features:
            raise NotFound("feature", feature)
        if customer_id not in self.customers:
            raise NotFound("customer", customer_id)
        customer = self.customers[customer_id]
        access = self.access(customer_id, feature, None)
        capabilities = [feature] if access.rate is None else [feature, of_currency(access.rate.currency)]
        account = self.of_account(customer, feature, None, access)
        budgets = (
            self.of_entity(entity, scope, each, capability)
            for entity in customer.entities.values()
            for capability in capabilities
            for scope, each in entity.budgets(capability).items()
        )
        self.free_for_reading(customer_id, [account, *budgets])
        if access.rate is not None:
            self.wallet(customer_id, currency=access.rate.currency)
        return Tree(self.state(account, Fraction(0)), self._nodes(customer, capabilities, None))

    def _nodes(self, customer: CustomerRecord, capabilities: Sequence[str], parent: str | None) -> tuple[Node, ...]:
        def node(entity: EntityRecord) -> Node:
            constraints = [
                self.of_entity(entity, scope, each, capability)
                for capability in capabilities
                for scope, each in sorted(entity.budgets(capability).items(), key=lambda each: each[0])
            ]
            states = tuple(self.state(each, Fraction(0)) for each in constraints)
            return Node(entity.id, entity.is_archived, states, self._nodes(customer, capabilities, entity.id))

        children = [each for each in customer.entities.values() if each.parent == parent]
        return tuple(node(each) for each in sorted(children, key=lambda each: each.id))


def same_named(dimensions: Dimensions | None) -> dict[str, str]:
    """What of dimensions makes two requests the same: the text of each, in any order."""
    return {name: dimension_text(value) for name, value in (dimensions or {}).items()}


def lasts(expires_in: float | None) -> int:
    return LASTS_MS if expires_in is None else int(expires_in * 1_000)
