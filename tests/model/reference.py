"""The reference model: what Headgate means, in plain Python over dictionaries, with no store, cache, bytes or scripts.

It shares the public value types, the errors and `headgate.periods` with the engine, and nothing else: amounts are
fractions, chains are walked by hand, and a decision looks at every constraint every time. So where the two disagree,
one of them is wrong. Each rule is a small method, for a broken model to override: a test shows that this is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from headgate.errors import BatchIncomplete, HeadgateError, NotFound, OutOfRange
from headgate.model.catalog import FeatureType
from headgate.model.decision import ConstraintState, Counted, Decision, DeniedReason, Receipt, UpdateBehavior
from headgate.periods import ALWAYS, Period
from model.commerce import Access
from model.configuration import refused
from model.exact import exact, rounded
from model.limits import Constraint, Demand, Dimensions
from model.reading import Reading
from model.records import CustomerRecord, EntityRecord, of_currency


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


class Reference(Reading):
    """Every verb on the state that `Limits` keeps. `now_ms` is set from outside, forward and back."""

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
        decision = self._decide(asked, exact(requested_usage), access, dimensions, mismatch, counts=False)
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
    ) -> Decision:
        """Answer, and count the amount on every constraint if all of them allow it."""
        asked = Asked.one(customer, feature, currency, resource)
        access, mismatch = self.access_to(asked), None
        if feature is not None and access.denial is None and not self.features[feature].is_metered:
            mismatch = DeniedReason.FEATURE_TYPE_MISMATCH
        return self._decide(asked, exact(amount), access, dimensions, mismatch, counts=True)

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
        *,
        counts: bool,
    ) -> Decision:
        decision = self._without_numbers(asked, amount, access, dimensions, mismatch)
        if not decision.granted or (asked.feature is not None and not self.features[asked.feature].is_metered):
            return decision
        demand = self.demand(asked, amount, access, dimensions)
        wallet, account, cost = demand.wallet, demand.account, demand.credits
        verdicts = [self.judge(each, demand.of(each)) for each in self.constraints(demand)]
        granted = False not in verdicts and (wallet is None or self.satisfied(wallet, demand.credits))
        if granted and None in verdicts:
            raise OutOfRange(f"{asked}: {amount}")

        refusing = [each for each in self.limits(demand) if not each.state.granted]
        purse = self.after(wallet, demand.credits) if wallet is not None and granted else None
        charges = purse.charges() if purse and counts else ()
        if granted and counts:
            for each in self.constraints(demand):
                self.count(each, demand.of(each))
            if purse:
                purse.write()
            demand = replace(demand, units=Fraction(0), credits=Fraction(0))
        shown = [tuple(self.state(each, demand.of(each)) for each in chain) for chain in demand.chains]
        return replace(
            decision,
            granted=granted,
            reason=None if granted else self.reason(refusing),
            account=None if account is None else self.state(account, demand.units),
            chains=tuple(shown) if dimensions else None,
            binding=self.binding(self.limits(demand) if granted else refusing),
            currency=None if wallet is None else wallet.currency,
            credit=None if wallet is None else self.credit_state(wallet, demand.credits),
            wallet=None if wallet is None else self.wallet_state(wallet),
            charges=charges,
            cost=0.0 if wallet is None else float(cost),
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
            currency=asked.currency if access.rate is None else access.rate.currency,
            resource=asked.resource,
        )
        if feature is None or access.denial is not None:
            return decision
        return replace(
            decision,
            enum_values=access.enum_values,
            numeric_value=None if feature.is_metered or access.limit is None else float(access.limit),
            has_unlimited_usage=access.is_unlimited,
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
        if behavior == "SET" and wallet is not None:
            raise refused("behavior", behavior)

        demand = self.paid_here(demand, dated_ms)
        changes = self._changes(demand, behavior, dated_ms)
        purse = None if wallet is None else self.after(wallet, demand.credits, dated_ms)
        charges = purse.charges() if purse else ()
        for each, applied in changes:
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
        account = self.of_account(customer, feature, None, self.access(customer_id, feature, None))
        return Tree(self.state(account, Fraction(0)), self._nodes(customer, feature, None))

    def _nodes(self, customer: CustomerRecord, capability: str, parent: str | None) -> tuple[Node, ...]:
        def node(entity: EntityRecord) -> Node:
            budgets = sorted(entity.budgets(capability).items(), key=lambda each: each[0])
            constraints = [self.of_entity(entity, scope, each, capability) for scope, each in budgets]
            states = tuple(self.state(each, Fraction(0)) for each in constraints)
            return Node(entity.id, entity.is_archived, states, self._nodes(customer, capability, entity.id))

        children = [each for each in customer.entities.values() if each.parent == parent]
        return tuple(node(each) for each in sorted(children, key=lambda each: each.id))
