"""Where the reference model says that entitlements come from: plans, add-ons, subscriptions, resources, promotions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeVar

from headgate.errors import NotFound
from headgate.model.decision import DeniedReason
from headgate.periods import Cadence, Schedule
from model.configuration import Configuration, refused
from model.exact import WHOLE_MAX, can_be_kept, exact
from model.records import (
    Content,
    Credit,
    CustomerRecord,
    Package,
    PackageTerms,
    Rate,
    SubscriptionRecord,
    Terms,
)

T = TypeVar("T")

BILLING = {"MONTHLY": "P1M", "ANNUALLY": "P1Y"}


@dataclass(frozen=True, slots=True)
class Source:
    """What one subscription, or the promotion, gives of one feature."""

    terms: Terms
    anchor_ms: int
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What all sources give together, or why there is nothing; `best` then is what usage is still counted by."""

    denial: DeniedReason | None
    best: Source | None = None
    is_soft: bool = False
    enum_values: tuple[str, ...] = ()

    @property
    def limit(self) -> Fraction | None:
        return None if self.best is None or self.best.terms.is_unlimited else self.best.terms.limit

    @property
    def is_unlimited(self) -> bool:
        return self.best is not None and self.best.terms.is_unlimited

    @property
    def rate(self) -> Rate | None:
        return None if self.best is None else self.best.rate


class Commerce(Configuration):
    """The state of `Configuration`, with packages and subscriptions, and what they entitle to at an instant."""

    def __init__(self, now_ms: int) -> None:
        super().__init__(now_ms)
        self.plans: dict[str, Package] = {}
        self.addons: dict[str, Package] = {}

    # --- plans and add-ons ------------------------------------------------------------------------------------------

    def put_plans(self, upserts: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
        """Write plans, which are live at once; tell the version of each."""
        return self._put_packages(self.plans, upserts)

    def put_addons(self, upserts: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
        """Write add-ons, which are live at once; tell the version of each."""
        return self._put_packages(self.addons, upserts)

    def _put_packages(
        self, packages: dict[str, Package], upserts: Sequence[Mapping[str, Any]]
    ) -> tuple[tuple[str, int], ...]:
        changed = dict(packages)
        for upsert in upserts:
            changed[upsert["id"]] = self.edited(changed.get(upsert["id"]), self._package(upsert))
        packages.update(changed)
        return tuple((upsert["id"], packages[upsert["id"]].version) for upsert in upserts)

    def edited(self, known: Package | None, written: Package) -> Package:
        """What a package is after an edit: it remembers what it gave until now."""
        if known is None:
            return written
        if known.written == written.written:
            return known
        earlier = known.earlier
        if known.credits != written.credits:
            earlier = self.remembered(earlier, known.credits)
        return replace(written, version=known.version + 1, earlier=earlier)

    def remembered(self, earlier: tuple[tuple[int, T], ...], present: T) -> tuple[tuple[int, T], ...]:
        """What was until now, and before: a change counts from now on, also where a clock that ran ahead wrote more."""
        past = [each for each in earlier if each[0] < self.now_ms]
        return (*past, (self.now_ms, at(earlier, present, self.now_ms - 1)))

    def _package(self, upsert: Mapping[str, Any]) -> Package:
        self._own_terms(upsert.get("entitlements", ()))
        entitlements = {each["feature"]: self._package_terms(each) for each in upsert.get("entitlements", ())}
        credits = tuple(self.credit(each) for each in upsert.get("credits", ()))
        written = entitlements, credits, upsert.get("display_name", "")
        return Package(upsert["id"], 1, written, entitlements, credits)

    def _own_terms(self, given: Sequence[Mapping[str, Any]]) -> dict[str, Terms]:
        """Read a list of entitlements; that a feature is not there is a fault of the list."""
        for each in given:
            if each["feature"] not in self.features:
                raise refused("feature", each["feature"])
        return {each["feature"]: self.terms(each) for each in given}

    def _package_terms(self, given: Mapping[str, Any]) -> PackageTerms:
        rate = given.get("credit_rate")
        terms = self.terms(given)
        if rate is not None and (rate["currency"] not in self.currencies or not self._is_metered(given["feature"])):
            raise refused("credit_rate", rate)
        return PackageTerms(
            terms=terms,
            per_unit=given.get("per_unit", False),
            overrides=given.get("behavior") == "OVERRIDE",
            rate=None if rate is None else Rate(rate["currency"], exact(rate["amount"])),
        )

    def _is_metered(self, feature: str) -> bool:
        return self.features[feature].is_metered

    def credit(self, given: Mapping[str, Any]) -> Credit:
        """Read a recurring credit."""
        if given["currency"] not in self.currencies:
            raise refused("currency", given["currency"])
        return Credit(
            currency=given["currency"],
            amount=exact(given["amount"]),
            cadence=given["cadence"],
            per_unit=given.get("per_unit", False),
            is_soft=given.get("has_soft_limit", False),
        )

    # --- resources and subscriptions --------------------------------------------------------------------------------

    def put_resource(self, customer: str, resource: str) -> None:
        with self._change(customer) as changed:
            changed.resources.add(resource)

    def of_resource(self, customer: str, resource: str | None) -> CustomerRecord:
        """Give the customer, who has the resource if there is one."""
        if customer not in self.customers:
            raise NotFound("customer", customer)
        record = self.customers[customer]
        if resource is not None and resource not in record.resources:
            raise NotFound("resource", resource)
        return record

    def provision(self, customer: str, given: Mapping[str, Any]) -> SubscriptionRecord:
        """Create a subscription, or change what is given of it; the anchor and a start that has passed stay."""
        resource, id = given.get("resource"), self._subscription_id(given)
        self.of_resource(customer, resource)
        with self._change(customer) as changed:
            known = changed.subscriptions.get((resource, id))
            changed.subscriptions[resource, id] = (
                self._created(id, given) if known is None else self._changed(known, given)
            )
        return changed.subscriptions[resource, id]

    def _subscription_id(self, given: Mapping[str, Any]) -> str:
        id, plan, resource = given.get("id"), given.get("plan"), given.get("resource")
        if id is None and plan is None:
            raise refused("plan", None)
        return str(id or (plan if resource is None else f"{plan}@{resource}"))

    def _created(self, id: str, given: Mapping[str, Any]) -> SubscriptionRecord:
        if given.get("plan") is None:
            raise refused("plan", None)
        start_ms = self.now_ms if given.get("start_ms") is None else given["start_ms"]
        anchor_ms = start_ms if given.get("billing_anchor_ms") is None else given["billing_anchor_ms"]
        record = SubscriptionRecord(id, given.get("resource"), Content(given["plan"]), start_ms, anchor_ms)
        self._write(record, given)
        self._require_ends(record)
        return record

    def _changed(self, known: SubscriptionRecord, given: Mapping[str, Any]) -> SubscriptionRecord:
        """What a subscription is after a change. One that has ended does not come back, and none ends in the past."""
        record, has_started = deepcopy(known), known.start_ms <= self.now_ms
        if has_started and given.get("start_ms") not in (None, known.start_ms):
            raise refused("start_ms", given["start_ms"])
        if given.get("billing_anchor_ms") not in (None, known.anchor_ms):
            raise refused("billing_anchor_ms", given["billing_anchor_ms"])
        record.start_ms = known.start_ms if given.get("start_ms") is None else given["start_ms"]
        self._write(record, given)
        if self.has_ended(known):
            if record != known or (given.get("end_ms") is None and given.get("trial_end_ms") is None):
                raise refused("id", known.id)
            return known
        if record != known:
            if has_started and self.has_ended(record):
                raise refused("end_ms", given)
            self._require_ends(record)
        if has_started and record.content != known.content:
            record.earlier = self.remembered(known.earlier, known.content)
        return record

    def _write(self, record: SubscriptionRecord, given: Mapping[str, Any]) -> None:
        record.content = self._content(record.content, given)
        if given.get("entitlements") is not None:
            record.entitlements = self._own_terms(given["entitlements"])
        record.billing_period = given.get("billing_period", record.billing_period)
        if given.get("end_ms", record.end_ms) != record.end_ms:
            record.end_ms, record.is_canceled = given["end_ms"], False
        record.trial_end_ms = given.get("trial_end_ms", record.trial_end_ms)
        if given.get("trial_end_behavior") is not None:
            record.ends_with_trial = given["trial_end_behavior"] == "CANCEL_SUBSCRIPTION"

    def _require_ends(self, record: SubscriptionRecord) -> None:
        """It starts before its trial ends, and that is not after its end; one that was cancelled may end anywhere."""
        end_ms = None if record.is_canceled else record.end_ms
        if end_ms is not None and end_ms <= record.start_ms:
            raise refused("end_ms", end_ms)
        if record.trial_end_ms is None:
            if record.ends_with_trial:
                raise refused("trial_end_behavior", record.ends_with_trial)
        elif record.trial_end_ms <= record.start_ms or (end_ms is not None and record.trial_end_ms > end_ms):
            raise refused("trial_end_ms", record.trial_end_ms)

    def _content(self, known: Content, given: Mapping[str, Any]) -> Content:
        plan, addons, credits = given.get("plan") or known.plan, given.get("addons"), given.get("credits")
        if plan not in self.plans:
            raise NotFound("plan", plan)
        for each in addons or ():
            if each["addon"] not in self.addons:
                raise refused("addon", each["addon"])
        ordered = [(each["addon"], each.get("quantity", 1)) for each in addons or ()]
        return Content(
            plan=plan,
            quantity=given.get("unit_quantity") or known.quantity,
            addons=known.addons if addons is None else tuple(sorted(ordered)),
            credits=known.credits if credits is None else tuple(self.credit(each) for each in credits),
        )

    def cancel(self, customer: str, id: str, *, at: str | int, resource: str | None) -> SubscriptionRecord:
        """End a subscription now, at the end of its billing period, or at an instant: never later than it would."""
        self.of_resource(customer, resource)
        with self._change(customer) as changed:
            record = changed.subscriptions.get((resource, id))
            if record is None:
                raise NotFound("subscription", id)
            if not self.has_ended(record):
                record.end_ms, record.is_canceled = self.canceled_ms(record, at), True
        return record

    def canceled_ms(self, record: SubscriptionRecord, at: str | int) -> int:
        """The instant at which a cancellation ends a subscription."""
        ends_ms = self.ends_ms(record)
        if at == "now":
            return self.now_ms
        if isinstance(at, int):
            if at <= self.now_ms or (ends_ms is not None and at > ends_ms):
                raise refused("at", at)
            return at
        if record.billing_period is None:
            raise refused("at", at)
        schedule = Schedule(Cadence.parse(BILLING[record.billing_period]), record.anchor_ms)
        end_ms = schedule.period_at(max(self.now_ms, record.start_ms)).end_ms
        return end_ms if ends_ms is None else min(end_ms, ends_ms)

    # --- what applies at an instant ---------------------------------------------------------------------------------

    def ends_ms(self, record: SubscriptionRecord) -> int | None:
        """From when a subscription does not apply any more: its end, or the end of a trial that cancels it."""
        ends = [record.end_ms, record.trial_end_ms if record.ends_with_trial else None]
        return min((each for each in ends if each is not None), default=None)

    def applies_at(self, record: SubscriptionRecord, instant_ms: int) -> bool:
        end_ms = self.ends_ms(record)
        return record.start_ms <= instant_ms and (end_ms is None or instant_ms < end_ms)

    def has_ended(self, record: SubscriptionRecord) -> bool:
        return not self.lasts(self.ends_ms(record))

    def lasts(self, expires_ms: int | None) -> bool:
        """Whether what expires at an instant is still there."""
        return expires_ms is None or self.now_ms < expires_ms

    def in_question(self, customer: CustomerRecord, resource: str | None) -> list[SubscriptionRecord]:
        """The subscriptions that a request is entitled by: the customer's own, and those of the resource it names."""
        found = [each for (of, _), each in customer.subscriptions.items() if of is None or of == resource]
        return sorted(found, key=lambda each: (each.start_ms, each.id))

    def access(self, customer_id: str, feature: str, resource: str | None) -> Access:
        """Say what may be done with a feature, before any number is looked at; denials in the contract's order."""
        denial = self.customer_denial(customer_id, resource)
        if denial is None and feature not in self.features:
            denial = DeniedReason.FEATURE_NOT_FOUND
        if denial not in (None, DeniedReason.CUSTOMER_IS_ARCHIVED) or feature not in self.features:
            return Access(denial)
        customer = self.customers[customer_id]
        sources = self.sources(customer, feature, resource)
        if not sources:
            return self._nothing(customer, feature, resource, denial)
        ordered = self.features[feature].enum_values
        united = {value for each in sources for value in each.terms.enum_values}
        return Access(
            denial,
            self.most_generous(sources),
            any(each.terms.is_soft for each in sources),
            tuple(value for value in ordered if value in united),
        )

    def customer_denial(self, customer_id: str, resource: str | None) -> DeniedReason | None:
        customer = self.customers.get(customer_id)
        if customer is None:
            return DeniedReason.CUSTOMER_NOT_FOUND
        if customer.is_archived:
            return DeniedReason.CUSTOMER_IS_ARCHIVED
        if resource is not None and resource not in customer.resources:
            return DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
        return None

    def _nothing(
        self, customer: CustomerRecord, feature: str, resource: str | None, denial: DeniedReason | None
    ) -> Access:
        """Why no source entitles. What is reported after a revocation still counts in the promotion's period."""
        given = customer.entitlements.get(feature)
        if given is not None and given.is_revoked and self.lasts(given.expires_ms):
            source = Source(given.terms, given.anchor_ms or 0)
            return Access(denial or DeniedReason.REVOKED, source, given.terms.is_soft, given.terms.enum_values)
        if any(self.applies_at(each, self.now_ms) for each in self.in_question(customer, resource)):
            return Access(denial or DeniedReason.NO_FEATURE_ENTITLEMENT)
        return Access(denial or DeniedReason.NO_ACTIVE_SUBSCRIPTION)

    def sources(self, customer: CustomerRecord, feature: str, resource: str | None) -> list[Source]:
        """Everything that entitles now, in the order that decides ties: subscriptions, then the promotion."""
        subscriptions = [
            self.of_subscription(each, feature)
            for each in self.in_question(customer, resource)
            if self.applies_at(each, self.now_ms)
        ]
        found = [each for each in subscriptions if each is not None]
        given = customer.entitlements.get(feature)
        if given is not None and not given.is_revoked and self.lasts(given.expires_ms):
            found.append(Source(given.terms, given.anchor_ms or 0))
        return found

    def most_generous(self, sources: Iterable[Source]) -> Source:
        """Unlimited before any limit, a high limit before a low one, and the first of equals."""
        return min(sources, key=lambda each: (not each.terms.is_unlimited, -(each.terms.limit or 0)))

    # --- within one subscription ------------------------------------------------------------------------------------

    def of_subscription(self, record: SubscriptionRecord, feature: str) -> Source | None:
        """What one subscription says: its own terms as they stand, else its plan's with what add-ons do to them."""
        plan = self.plans[record.content.plan].entitlements.get(feature)
        addons = [
            (self.addons[id].entitlements[feature], quantity)
            for id, quantity in sorted(record.content.addons)
            if feature in self.addons[id].entitlements
        ]
        own = record.entitlements.get(feature)
        if own is None:
            return self.of_packages(record, plan, addons)
        rates = [plan.rate if plan else None, *(each.rate for each, _ in addons)]
        return Source(own, record.anchor_ms, next((each for each in rates if each is not None), None))

    def of_packages(
        self, record: SubscriptionRecord, plan: PackageTerms | None, addons: Sequence[tuple[PackageTerms, int]]
    ) -> Source | None:
        """What a plan says with what add-ons do to it; the rate is that of the terms that give the reset."""
        overrides = [(each, times(each.terms, quantity)) for each, quantity in addons if each.overrides]
        if overrides:
            package, terms = min(overrides, key=lambda each: (not each[1].is_unlimited, -(each[1].limit or 0)))
            return Source(self.overridden(plan, terms), record.anchor_ms, package.rate or (plan.rate if plan else None))
        parts = [times(each.terms, quantity) for each, quantity in addons]
        if plan is not None:
            parts.insert(0, times(plan.terms, record.content.quantity if plan.per_unit else 1))
        rate = plan.rate if plan is not None else next((each.rate for each, _ in addons), None)
        return Source(self.added(parts), record.anchor_ms, rate) if parts else None

    def overridden(self, plan: PackageTerms | None, override: Terms) -> Terms:
        """What a limit becomes that an add-on overrides: the add-on's, whatever the plan says."""
        return override

    def added(self, parts: Sequence[Terms]) -> Terms:
        """The first terms, with what the others add."""
        unlimited = any(each.is_unlimited for each in parts)
        limits = [each.limit for each in parts if each.limit is not None]
        return replace(
            parts[0],
            is_unlimited=unlimited,
            limit=capped(sum(limits, Fraction(0))) if limits and not unlimited else None,
            is_soft=any(each.is_soft for each in parts),
            enum_values=tuple(value for each in parts for value in each.enum_values),
        )

    # --- the credits of a subscription ------------------------------------------------------------------------------

    def content_at(self, record: SubscriptionRecord, instant_ms: int) -> Content:
        return at(record.earlier, record.content, instant_ms)

    def credits_at(self, package: Package, instant_ms: int) -> tuple[Credit, ...]:
        return at(package.earlier, package.credits, instant_ms)

    def in_force(self, record: SubscriptionRecord, currency: str, instant_ms: int) -> list[tuple[Credit, int]]:
        """The credits of a currency that a subscription gave at an instant, and how many times each."""
        content = self.content_at(record, instant_ms)
        own = [each for each in content.credits if each.currency == currency]
        if own:
            return [(each, 1) for each in own]
        found = [
            (each, content.quantity if each.per_unit else 1)
            for each in self.credits_at(self.plans[content.plan], instant_ms)
        ]
        for id, quantity in content.addons:
            found += [(each, quantity) for each in self.credits_at(self.addons[id], instant_ms)]
        return [(each, quantity) for each, quantity in found if each.currency == currency]

    def changes_ms(self, record: SubscriptionRecord) -> set[int]:
        """Every instant at which the credits of a subscription may have changed."""
        contents = [record.content, *(content for _, content in record.earlier)]
        plans = {content.plan for content in contents}
        addons = {id for content in contents for id, _ in content.addons}
        packages = [*(self.plans[id] for id in plans), *(self.addons[id] for id in addons)]
        return {until_ms for until_ms, _ in record.earlier} | {
            until_ms for each in packages for until_ms, _ in each.earlier
        }


def at(earlier: Sequence[tuple[int, T]], present: T, instant_ms: int) -> T:
    """What was at an instant, of a thing that remembers until when it was something else."""
    return next((each for until_ms, each in earlier if instant_ms < until_ms), present)


def times(terms: Terms, quantity: int) -> Terms:
    return terms if terms.limit is None else replace(terms, limit=capped(terms.limit * quantity))


def capped(limit: Fraction) -> Fraction:
    """A limit that can be kept: the greatest number there is, where it is no exact amount."""
    return limit if can_be_kept(limit) else Fraction(WHOLE_MAX)
