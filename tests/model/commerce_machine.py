"""The state machine of credits: plans, subscriptions, promotions, grants and what is paid from them, at any instant.

Like the machine of governance it drives two engines, each with its own caches, on one environment. Every few steps all
wallets and ledgers are read, and their sums are made again from their parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from model import commerce_words as words
from model.agreeing import Agreeing, instant
from model.comparing import wrong_credits
from model.vocabulary import (
    CUSTOMER,
    CUSTOMERS,
    ENTITY_TYPES,
    FEATURES,
    HOUR_MS,
    PROBE,
    STARTS_MS,
    TOKENS,
    TYPE_OF,
    any_feature,
    near,
    seconds,
    seldom,
    steps_forward_ms,
)

STEPS_BETWEEN_READINGS = 5
PLACES = tuple((customer, resource) for customer in CUSTOMERS for resource in (None, words.SITE))
customers = st.sampled_from((CUSTOMER,) * 6 + (CUSTOMERS[1],) + ("cus-nobody",))
mostly_tokens = st.sampled_from((TOKENS,) * 7 + ("",)).flatmap(lambda id: st.just(id) if id else any_feature)


class Credits(Agreeing):
    """The rules of commerce: where entitlements and credits come from, and what is paid from wallets."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    # --- agreement --------------------------------------------------------------------------------------------------

    @invariant()
    def the_other_engine_agrees(self) -> None:
        """Ask the engine that did not act for shapes that it has in its cache, and now and then for everything."""
        if CUSTOMER not in self.model.customers:
            return
        self.steps += 1
        other = not self.acted
        shape: dict[str, Any] = {"feature": TOKENS} if self.steps % 2 else {"currency": words.CREDITS}
        self.same(other, "check", CUSTOMER, **shape, requested_usage=1, dimensions=PROBE)
        if self.steps % STEPS_BETWEEN_READINGS == 0:
            self.every_wallet_agrees()

    def every_wallet_agrees(self) -> None:
        for customer, resource in PLACES:
            for currency in (words.CREDITS, words.COINS):
                self.read(customer, currency, resource, bool(self.acted))
            self.same(bool(self.acted), "entitlements", customer, resource=resource)

    def same(self, second: bool, verb: str, customer: str, **asked: Any) -> None:
        """Ask an engine and the model for the same."""
        self.agree(
            second,
            lambda engine: getattr(engine, verb)(customer, **asked),
            lambda model: getattr(model, verb)(customer, **asked),
        )

    def read(self, customer: str, currency: str, resource: str | None, second: bool) -> None:
        """Read a wallet and its ledger: what the model says, and sums that are made of their parts."""
        where: dict[str, Any] = {"currency": currency, "resource": resource}
        seen: list[Any] = []

        def keep(answer: object) -> object:
            seen.append(answer)
            return answer

        self.agree(
            second,
            lambda engine: keep(engine.credits.wallet(customer, **where)),
            lambda model: model.wallet(customer, **where),
        )
        self.agree(
            second,
            lambda engine: keep(engine.credits.grants(customer, **where)),
            lambda model: model.grants(customer, **where),
        )
        wrong = list(wrong_credits(*seen)) if len(seen) == 2 else []
        assert not wrong, "\n".join(wrong)

    def edges_ms(self, *, ahead: bool) -> list[int]:
        now_ms = self.clock.now_ms
        found = sorted(each for each in self.model.instants_ms() if (each > now_ms) == ahead)
        return found if ahead else found[::-1]

    def from_now(self, given: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """Turn what is a distance from now into an instant; what is None stays away, unless it says something."""
        moved = {name: given[name] + self.clock.now_ms for name in names if given.get(name) is not None}
        return {name: value for name, value in {**given, **moved}.items() if value is not None or name == "end_ms"}

    # --- set-up -----------------------------------------------------------------------------------------------------

    @initialize(
        start_ms=st.sampled_from(STARTS_MS),
        plans=st.tuples(words.plans, words.plans),
        addon=words.addons,
        subscription=words.subscriptions,
        grant=words.grants,
        limit=st.sampled_from((None, 5, 20, 50)),
        second=seconds,
    )
    def begin(
        self,
        start_ms: int,
        plans: tuple[dict[str, Any], ...],
        addon: dict[str, Any],
        subscription: dict[str, Any],
        grant: dict[str, Any],
        limit: int | None,
        second: bool,
    ) -> None:
        """A catalog in which every plan and add-on exists, a customer with a site, a subscription and a grant."""
        self.go_to(start_ms)
        self.set_up(
            second,
            lambda engine: engine.catalog.put_entity_types(list(ENTITY_TYPES)),
            lambda model: model.put_entity_types(ENTITY_TYPES),
        )
        self.set_up(
            second,
            lambda engine: engine.catalog.put_features(list(FEATURES)),
            lambda model: model.put_features(FEATURES),
        )
        self.set_up(
            second,
            lambda engine: engine.catalog.put_currencies(list(words.CURRENCIES)),
            lambda model: model.put_currencies(words.CURRENCIES),
        )
        credit = {"currency": words.CREDITS, "amount": 20, "cadence": "MONTH"}
        tokens = {"feature": TOKENS, "usage_limit": 50, "reset_period": "DAY"}
        paid = {**tokens, "credit_rate": {"currency": words.CREDITS, "amount": 1}}
        for entitlement, id in zip((paid, tokens, tokens), words.PLANS, strict=True):
            self.put_plan({"id": id, "entitlements": [entitlement], "credits": [credit]}, second)
        for id in words.ADDONS:
            self.put_addon({"id": id, "entitlements": [tokens]}, second)
        for plan in plans:
            self.put_plan(plan, second)
        self.put_addon(addon, second)
        for customer in CUSTOMERS:
            self.put_customer(customer, second)
        entities = [{"id": id, "type": TYPE_OF[id]} for id in ("org-1", "team-1", "user-1", "model-1")]
        self.set_up(
            second,
            lambda engine: engine.governance.put_entities(CUSTOMER, entities),
            lambda model: model.put_entities(CUSTOMER, entities),
        )
        chain: list[dict[str, Any]] = [
            {"entity": "org-1", "currency": words.CREDITS, "usage_limit": None, "cadence": "P1M"},
            {"entity": "team-1", "currency": words.CREDITS, "usage_limit": limit, "cadence": "P1D", "parent": "org-1"},
            {"entity": "user-1", "feature": TOKENS, "usage_limit": 20, "cadence": "PT1H", "parent": "team-1"},
        ]
        for budget in chain:
            self.put_budget(budget, second)
        self.subscribe(CUSTOMER, subscription, second)
        self.give(CUSTOMER, grant, second)

    def put_customer(self, customer: str, second: bool) -> None:
        self.set_up(second, lambda engine: engine.customers.put(customer), lambda model: model.put_customer(customer))
        self.set_up(
            second,
            lambda engine: engine.customers.put_resource(customer, words.SITE),
            lambda model: model.put_resource(customer, words.SITE),
        )

    @rule(plan=words.plans, second=seconds)
    def put_plan(self, plan: Mapping[str, Any], second: bool) -> None:
        self.agree(second, lambda engine: engine.catalog.put_plans([plan]), lambda model: model.put_plans([plan]))

    @rule(addon=words.addons, second=seconds)
    def put_addon(self, addon: Mapping[str, Any], second: bool) -> None:
        self.agree(second, lambda engine: engine.catalog.put_addons([addon]), lambda model: model.put_addons([addon]))

    @rule(plan=words.plans, unfit=words.unfit_packages, second=seconds)
    def put_an_unfit_plan(self, plan: Mapping[str, Any], unfit: Mapping[str, Any], second: bool) -> None:
        """With one that is fit: neither of them is written."""
        self.agree(
            second,
            lambda engine: engine.catalog.put_plans([plan, unfit]),
            lambda model: model.put_plans([plan, unfit]),
        )

    @rule(amounts=st.permutations((5, 20, 60)), second=seconds)
    def change_what_a_plan_gives(self, amounts: list[float], second: bool) -> None:
        """Edit the credits of a plan that is subscribed to, an hour apart: more at once, less from the next period."""
        self.provision(CUSTOMER, {"plan": words.PLANS[0], "id": "sub-4"}, second)
        tokens = {"feature": TOKENS, "usage_limit": 50, "credit_rate": {"currency": words.CREDITS, "amount": 1}}
        for amount in amounts:
            self.go_to(self.clock.now_ms + HOUR_MS)
            credit = {"currency": words.CREDITS, "amount": amount, "cadence": "MONTH"}
            self.put_plan({"id": words.PLANS[0], "entitlements": [tokens], "credits": [credit]}, second)
        self.read(CUSTOMER, words.CREDITS, None, not second)

    @rule(limit=st.sampled_from((3, 8)), quantity=st.sampled_from((1, 2)), second=seconds)
    def override_a_limit(self, limit: float, quantity: int, second: bool) -> None:
        """Buy an add-on that says less than any plan does."""
        tokens = {"feature": TOKENS, "usage_limit": limit, "behavior": "OVERRIDE"}
        self.put_addon({"id": words.ADDONS[1], "entitlements": [tokens]}, second)
        bought = {"addon": words.ADDONS[1], "quantity": quantity}
        self.provision(CUSTOMER, {"plan": words.PLANS[1], "id": "sub-3", "addons": [bought]}, not second)

    @rule(customer=customers, given=words.subscriptions, second=seconds)
    def subscribe(self, customer: str, given: Mapping[str, Any], second: bool) -> None:
        moved = self.from_now(given, "start_ms", "end_ms", "trial_end_ms", "billing_anchor_ms")
        self.provision(customer, moved, second)

    def provision(self, customer: str, given: Mapping[str, Any], second: bool) -> None:
        self.agree(
            second,
            lambda engine: engine.subscriptions.provision(customer, given),
            lambda model: model.provision(customer, given),
        )

    @rule(place=st.integers(0, 5), given=words.changes, second=seconds)
    def change_a_subscription(self, place: int, given: Mapping[str, Any], second: bool) -> None:
        known = sorted(
            self.model.customers[CUSTOMER].subscriptions.values(), key=lambda each: (each.resource or "", each.id)
        )
        if known:
            which = known[place % len(known)]
            named = {"id": which.id, "resource": which.resource}
            self.provision(CUSTOMER, self.from_now({**named, **given}, "end_ms"), second)

    @rule(unfit=words.unfit_subscriptions, second=seconds)
    def provision_nonsense(self, unfit: Mapping[str, Any], second: bool) -> None:
        self.subscribe(CUSTOMER, unfit, second)

    @rule(place=st.integers(0, 5), at=words.moments, second=seconds)
    def cancel(self, place: int, at: str | int, second: bool) -> None:
        known = sorted(
            self.model.customers[CUSTOMER].subscriptions.values(), key=lambda each: (each.resource or "", each.id)
        )
        if not known:
            return
        which = known[place % len(known)]
        moment = at if isinstance(at, str) else at + self.clock.now_ms
        self.agree(
            second,
            lambda engine: engine.subscriptions.cancel(
                CUSTOMER, which.id, at=moment if isinstance(moment, str) else instant(moment), resource=which.resource
            ),
            lambda model: model.cancel(CUSTOMER, which.id, at=moment, resource=which.resource),
        )

    @rule(customer=customers, given=words.grants, second=seconds)
    def give(self, customer: str, given: Mapping[str, Any], second: bool) -> None:
        self.given += 1
        moved = {"id": f"grant-{self.given}", **self.from_now(given, "effective_at_ms", "expires_at_ms")}
        self.give_as(customer, moved, second)

    def give_as(self, customer: str, given: Mapping[str, Any], second: bool) -> None:
        self.agree(
            second,
            lambda engine: engine.credits.grant(customer, given),
            lambda model: model.give(customer, given),
        )

    @rule(amount=st.sampled_from((10, 10, 11)), at=st.booleans(), second=seconds)
    def give_the_same_grant(self, amount: float, at: bool, second: bool) -> None:
        """Once, and then again: as it was, or as another one."""
        given: dict[str, Any] = {"id": "grant-once", "currency": words.CREDITS, "amount": amount}
        self.give_as(CUSTOMER, {**given, "effective_at_ms": self.clock.now_ms} if at else given, second)

    @rule(place=st.integers(0, 9), currency=words.currencies, resource=words.resources, second=seconds)
    def void(self, place: int, currency: str, resource: str | None, second: bool) -> None:
        known = sorted(self.model.customers[CUSTOMER].grants.get((currency, resource), {})) or ["grant-none"]
        where: dict[str, Any] = {"currency": currency, "resource": resource}
        grant = known[place % len(known)]
        self.agree(
            second,
            lambda engine: engine.credits.void(CUSTOMER, grant, **where),
            lambda model: model.void(CUSTOMER, grant, **where),
        )

    @rule(customer=customers, given=words.promotions, second=seconds)
    def promote(self, customer: str, given: Mapping[str, Any], second: bool) -> None:
        moved = self.from_now(given, "expires_at_ms")
        self.set_up(
            second,
            lambda engine: engine.customers.grant_entitlement(customer, moved),
            lambda model: model.grant(customer, moved),
        )

    @rule(second=seconds)
    def revoke(self, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.customers.revoke_entitlement(CUSTOMER, feature=TOKENS),
            lambda model: model.revoke(CUSTOMER, TOKENS),
        )

    @rule(archived=seldom, second=seconds)
    def archive_customer(self, archived: bool, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: (engine.customers.archive if archived else engine.customers.unarchive)(CUSTOMER),
            lambda model: model.set_customer_archived(CUSTOMER, archived=archived),
        )

    @rule(budget=words.budgets, second=seconds)
    def put_budget(self, budget: Mapping[str, Any], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.governance.put_assignments(CUSTOMER, [budget]),
            lambda model: model.put_assignments(CUSTOMER, [budget]),
        )

    # --- usage ------------------------------------------------------------------------------------------------------

    @rule(
        customer=customers,
        feature=any_feature,
        resource=words.any_resource,
        amount=words.amounts,
        values=st.sampled_from(((), ("eu",), ("us", "in"))),
        second=seconds,
    )
    def check(
        self, customer: str, feature: str, resource: str | None, amount: float, values: tuple[str, ...], second: bool
    ) -> None:
        asked: dict[str, Any] = {"feature": feature, "resource": resource, "requested_usage": amount}
        self.same(second, "check", customer, **asked, requested_values=values)
        self.agree(
            not second,
            lambda engine: engine.entitlement(
                customer, feature, resource=resource, requested_usage=amount, requested_values=values
            ),
            lambda model: model.entitlement(
                customer, feature, resource=resource, requested_usage=amount, requested_values=values
            ),
        )

    @rule(
        customer=customers,
        currency=words.any_currency,
        resource=words.any_resource,
        amount=words.amounts,
        dimensions=words.dimensions,
        second=seconds,
    )
    def consume_credits(
        self,
        customer: str,
        currency: str,
        resource: str | None,
        amount: float,
        dimensions: dict[str, Any] | None,
        second: bool,
    ) -> None:
        asked: dict[str, Any] = {"currency": currency, "resource": resource, "dimensions": dimensions}
        self.same(second, "check", customer, **asked, requested_usage=amount)
        self.same(not second, "consume", customer, **asked, amount=amount)

    @rule(
        feature=mostly_tokens,
        resource=words.any_resource,
        amount=words.amounts,
        dimensions=words.dimensions,
        second=seconds,
    )
    def consume(
        self, feature: str, resource: str | None, amount: float, dimensions: dict[str, Any] | None, second: bool
    ) -> None:
        asked: dict[str, Any] = {"feature": feature, "resource": resource, "dimensions": dimensions}
        self.same(second, "consume", CUSTOMER, **asked, amount=amount)

    @rule(resource=words.resources, more=st.sampled_from((0, 0, 0.00001, -1)), second=seconds)
    def consume_what_is_there(self, resource: str | None, more: float, second: bool) -> None:
        """All of the balance, or hardly more than it has."""
        balance = self.model.live_wallet(CUSTOMER, words.CREDITS, resource).balance
        amount = max(0.0, round(float(balance) + more, 5))
        self.same(second, "consume", CUSTOMER, currency=words.CREDITS, resource=resource, amount=amount)

    @rule(
        customer=customers,
        currency=words.any_currency,
        resource=words.any_resource,
        value=words.amounts | words.corrections | words.corrections,
        behavior=st.sampled_from(("DELTA",) * 7 + ("SET",)),
        dimensions=words.dimensions,
        second=seconds,
    )
    def report_credits(
        self,
        customer: str,
        currency: str,
        resource: str | None,
        value: float,
        behavior: str,
        dimensions: dict[str, Any] | None,
        second: bool,
    ) -> None:
        asked: dict[str, Any] = {"currency": currency, "resource": resource, "dimensions": dimensions}
        self.same(second, "report", customer, **asked, value=value, behavior=behavior)

    @rule(
        feature=mostly_tokens,
        resource=words.any_resource,
        value=words.amounts | words.corrections,
        behavior=st.sampled_from(("DELTA",) * 5 + ("SET",)),
        dimensions=words.dimensions,
        dated=st.none() | st.none() | st.tuples(st.integers(0, 12), near),
        second=seconds,
    )
    def report(
        self,
        feature: str,
        resource: str | None,
        value: float,
        behavior: str,
        dimensions: dict[str, Any] | None,
        dated: tuple[int, int] | None,
        second: bool,
    ) -> None:
        asked: dict[str, Any] = {"feature": feature, "resource": resource, "dimensions": dimensions}
        asked |= {"value": value, "behavior": behavior}
        dated_ms = None if dated is None else self.boundary_ms(*dated, ahead=False)
        timestamp = None if dated_ms is None else instant(dated_ms)
        self.agree(
            second,
            lambda engine: engine.report(CUSTOMER, timestamp=timestamp, **asked),
            lambda model: model.report(CUSTOMER, dated_ms=dated_ms, **asked),
        )

    @rule(
        records=st.lists(
            st.one_of(
                st.fixed_dictionaries({"customer": customers, "currency": words.any_currency, "value": words.amounts}),
                st.fixed_dictionaries({"customer": customers, "feature": any_feature, "value": words.amounts}),
            ),
            min_size=2,
            max_size=4,
        ),
        second=seconds,
    )
    def report_many(self, records: list[dict[str, Any]], second: bool) -> None:
        self.agree(second, lambda engine: engine.report_many(records), lambda model: model.report_many(records))

    @rule(amount=st.sampled_from((1, 7, 30)), resource=words.resources, second=seconds)
    def overdraw(self, amount: float, resource: str | None, second: bool) -> None:
        """Report more than there is, buy, and use: what is owed is paid before anything else."""
        balance = max(0.0, float(self.model.live_wallet(CUSTOMER, words.CREDITS, resource).balance))
        asked: dict[str, Any] = {"currency": words.CREDITS, "resource": resource}
        self.same(second, "report", CUSTOMER, **asked, value=round(balance + amount, 5))
        self.read(CUSTOMER, words.CREDITS, resource, not second)
        self.give(CUSTOMER, {**asked, "amount": 10}, second)
        self.same(not second, "consume", CUSTOMER, **asked, amount=1)
        self.read(CUSTOMER, words.CREDITS, resource, second)

    @rule(value=st.sampled_from((1, 4, 30)), resource=words.resources, second=seconds)
    def refund(self, value: float, resource: str | None, second: bool) -> None:
        """Use some of two grants, and give credits back: to the one that is burnt last, as far as it was used."""
        asked: dict[str, Any] = {"currency": words.CREDITS, "resource": resource}
        for priority in (0, 90):
            self.give(CUSTOMER, {**asked, "amount": 5, "priority": priority}, second)
        balance = float(self.model.live_wallet(CUSTOMER, words.CREDITS, resource).balance)
        self.same(second, "consume", CUSTOMER, **asked, amount=max(0.0, round(balance - 2, 5)))
        self.same(not second, "report", CUSTOMER, **asked, value=-value)

    @rule(customer=customers, resource=words.any_resource, second=seconds)
    def reload(self, customer: str, resource: str | None, second: bool) -> None:
        self.agree(
            second,
            lambda engine: engine.reload(customer, resource=resource),
            lambda model: model.entitlements(customer, resource=resource),
        )

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(ahead_ms=steps_forward_ms, amount=st.sampled_from((1, 30)), second=seconds)
    def a_clock_runs_ahead(self, ahead_ms: int, amount: float, second: bool) -> None:
        """Pay for something far ahead, come back and pay again."""
        now_ms = self.clock.now_ms
        self.go_to(now_ms + ahead_ms)
        self.same(second, "report", CUSTOMER, currency=words.CREDITS, value=amount)
        self.read(CUSTOMER, words.CREDITS, None, second)
        self.go_to(now_ms)
        self.same(not second, "report", CUSTOMER, currency=words.CREDITS, value=amount)
