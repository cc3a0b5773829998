"""What the state machine of reservations stands on: a customer to change meanwhile, and sums that are made again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from headgate.model.decision import Decision, Receipt
from model import hold_words as words
from model.agreeing import Agreeing, Engine, instant
from model.commerce_words import ADDONS, CREDITS, CURRENCIES, SITE
from model.comparing import comparable, wrong_credits
from model.exact import exact
from model.records import HoldRecord, Slot
from model.reference import RETENTION_MS, Reference
from model.vocabulary import (
    CUSTOMER,
    CUSTOMERS,
    ENTITY_TYPES,
    FEATURES,
    MINUTE_MS,
    SEATS,
    SINGLE_SIGN_ON,
    STARTS_MS,
    TOKENS,
    TYPE_OF,
    near,
    seconds,
    seldom,
)

STEPS_BETWEEN_READINGS = 6
OTHER = CUSTOMERS[1]
ENTITIES = ("org-1", "team-1", "team-2", "user-1", "model-1")
PROBE = {"userId": "user-1", "modelId": "model-1"}

Keyed = tuple[str, str, dict[str, Any], str]


class AroundHolds(Agreeing):
    """What is compared, and everything around reservations and keys that changes while they are open."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.asked: dict[tuple[str, str], dict[str, Any]] = {}
        self.made: dict[tuple[str, str], tuple[bool, Any]] = {}
        self.keyed: list[Keyed] = []
        self.unsure: set[tuple[str, str]] = set()
        self.paid: dict[tuple[str, str | None], Fraction] = {}

    # --- agreement --------------------------------------------------------------------------------------------------

    @invariant()
    def the_other_engine_agrees(self) -> None:
        """Ask the engine that did not act for a shape that it has in its cache, and now and then for everything."""
        if not self.numbers:
            return
        self.steps += 1
        asked: dict[str, Any] = {"requested_usage": 0, "dimensions": PROBE}
        asked |= {"feature": TOKENS} if self.steps % 2 else {"currency": CREDITS}
        self.same(not self.acted, "check", CUSTOMER, **asked)
        self.every_sum_is_right()
        if self.steps % STEPS_BETWEEN_READINGS == 0:
            self.everything_agrees()

    def everything_agrees(self) -> None:
        """Every counter, every wallet with its ledger, and a few reservations."""
        second = bool(self.acted)
        for feature in (TOKENS, SEATS):
            self.tree_agrees(feature, second)
        for resource in (None, SITE):
            self.wallet_agrees(resource, second)
        for place in range(3):
            self.read(*self.known(place), second)

    def tree_agrees(self, feature: str, second: bool) -> None:
        self.agree(
            second,
            lambda engine: engine.governance.tree(CUSTOMER, feature=feature),
            lambda model: model.tree(CUSTOMER, feature=feature),
        )

    def wallet_agrees(self, resource: str | None, second: bool) -> None:
        """The wallet and its ledger; no credit is lost or made: what was paid is in the grants, or is owed."""
        where: dict[str, Any] = {"currency": CREDITS, "resource": resource}
        wallet = self.ask(
            second,
            lambda engine: engine.credits.wallet(CUSTOMER, **where),
            lambda model: model.wallet(CUSTOMER, **where),
        )
        ledger = self.ask(
            second,
            lambda engine: engine.credits.grants(CUSTOMER, **where),
            lambda model: model.grants(CUSTOMER, **where),
        )
        wrong = list(wrong_credits(wallet, ledger))
        assert not wrong, "\n".join(wrong)
        shown = {each.id for each in ledger}
        paid = sum((exact(each.consumed) for each in ledger), exact(wallet.overdraft))
        for (of, *names), slot in self.model.customers[CUSTOMER].recurring.items():
            if of == resource and names[1] == CREDITS and ":".join(map(str, names)) not in shown:
                paid += slot.total  # of a period that the clock has left, or of a subscription that had no time
        assert paid == self.paid.get((CREDITS, resource), 0), f"{paid} of {ledger} and {wallet.overdraft}"

    def every_sum_is_right(self) -> None:
        """Held is what holds hold that were not freed; used is what was counted since the period of a counter began."""
        held: dict[Slot, Fraction] = {}
        for _, record in self.records():
            for part in record.parts if record.is_held else ():
                held[part.slot] = held.get(part.slot, Fraction(0)) + part.held
        for slot in self.slots():
            assert slot.held == held.get(slot, 0), f"{slot.held} is not {held.get(slot)}"
        for slot in self.slots(wallets=False):
            if slot.counter is not None:
                assert slot.counter.used == slot.into.get(slot.counter.start_ms, 0), f"{slot.counter} {slot.into}"

    def records(self) -> list[tuple[str, HoldRecord]]:
        return [(id, each) for id, customer in self.model.customers.items() for each in customer.holds.values()]

    def slots(self, *, wallets: bool = True) -> list[Slot]:
        found: list[Slot] = []
        for customer in self.model.customers.values():
            found += customer.account.values()
            found += (each.slot for entity in customer.entities.values() for each in entity.assignments.values())
            if wallets:
                found += customer.recurring.values()
                found += (each.slot for grants in customer.grants.values() for each in grants.values())
        return found

    def ask(self, second: bool, ask: Callable[[Engine], Any], expect: Callable[[Reference], object]) -> Any:
        """Like `agree`; give what the engine answered, or None where it raised an error."""
        seen: list[Any] = []

        def asked(engine: Engine) -> Any:
            answer = ask(engine)
            answer = engine.wait_for(answer) if inspect.isawaitable(answer) else answer
            seen.append(comparable(answer))
            return answer

        self.agree(second, asked, expect)
        return seen[0] if seen else None

    def same(self, second: bool, verb: str, customer: str, **asked: Any) -> Any:
        """Ask an engine and the model for the same."""
        return self.ask(
            second,
            lambda engine: getattr(engine, verb)(customer, **asked),
            lambda model: getattr(model, verb)(customer, **asked),
        )

    def use(self, second: bool, verb: str, customer: str, key: str | None = None, **asked: Any) -> Any:
        """Consume or report, perhaps under a key, and remember what was paid."""
        dated_ms = asked.pop("dated_ms", None)
        timestamp = {} if dated_ms is None else {"timestamp": instant(dated_ms)}
        dated = {} if dated_ms is None else {"dated_ms": dated_ms}
        answer = self.ask(
            second,
            lambda engine: getattr(engine, verb)(customer, **asked, **timestamp, idempotency_key=key),
            lambda model: getattr(model, verb)(customer, **asked, **dated, key=key),
        )
        self.pay(answer)
        return answer

    def pay(self, answer: Decision | Receipt | None) -> None:
        if answer is not None and answer.wallet is not None and answer.customer == CUSTOMER:
            wallet = answer.wallet.currency, answer.resource
            taken = sum((exact(each.amount) for each in answer.charges), Fraction(0))
            self.paid[wallet] = self.paid.get(wallet, Fraction(0)) + taken

    def pay_all(self, receipts: Iterable[Receipt]) -> None:
        for receipt in receipts:
            self.pay(receipt)

    def known(self, place: int) -> tuple[str, str]:
        """One of the reservations that are certainly remembered, or were never made; the last first."""
        found = [(customer, each.id) for customer, each in self.records() if (customer, each.id) not in self.unsure]
        return found[::-1][place % len(found)] if found else (CUSTOMER, words.UNKNOWN)

    def read(self, customer: str, id: str, second: bool) -> None:
        self.ask(second, lambda engine: engine.reservations.get(customer, id), lambda model: model.get(customer, id))

    # --- time -------------------------------------------------------------------------------------------------------

    def go_to(self, now_ms: int) -> None:
        """What ended a day ago may be forgotten by any call that frees; only a sweep says that it is."""
        super().go_to(now_ms)
        for customer, each in self.records():
            if each.from_ms is not None and each.from_ms <= self.clock.now_ms:
                self.unsure.add((customer, each.id))

    def edges_ms(self, *, ahead: bool) -> list[int]:
        """The instants to go to: the ends of periods, expiries, and where keys change their generation."""
        now_ms = self.clock.now_ms
        week_ms = (now_ms // RETENTION_MS + ahead) * RETENTION_MS
        found = {*super().edges_ms(ahead=ahead), week_ms, *(each.expires_ms for _, each in self.records())}
        return sorted((each for each in found if (each > now_ms) == ahead), reverse=not ahead)

    @rule(near_ms=near, place=st.integers(0, 2))
    def wait_until_something_expires(self, near_ms: int, place: int) -> None:
        """Go to the expiry of an open reservation, to the millisecond before it, or to the one after."""
        ends = sorted({each.expires_ms for _, each in self.records() if each.status == "OPEN"})
        ends = [each for each in ends if each > self.clock.now_ms]
        if ends:
            self.go_to(ends[place % len(ends)] + near_ms)

    @rule(step_ms=st.sampled_from((RETENTION_MS, RETENTION_MS, 2 * RETENTION_MS, -RETENTION_MS)), near_ms=near)
    def a_week_passes(self, step_ms: int, near_ms: int) -> None:
        self.go_to(self.clock.now_ms + step_ms + near_ms)

    # --- set-up -----------------------------------------------------------------------------------------------------

    @initialize(
        start_ms=st.sampled_from(STARTS_MS),
        limit=words.limits,
        rate=words.rates,
        soft=st.sampled_from((False, False, False, True)),
        budgets=st.lists(words.budgets, min_size=1, max_size=3),
        second=seconds,
    )
    def begin(
        self,
        start_ms: int,
        limit: int,
        rate: float | None,
        soft: bool,
        budgets: list[dict[str, Any]],
        second: bool,
    ) -> None:
        """A customer with a plan and a site, credits of three grants, and a chain of three with a model beside it."""
        self.go_to(start_ms)
        self.numbers = 1
        self.configure(second, "catalog", "put_entity_types", list(ENTITY_TYPES))
        self.configure(second, "catalog", "put_features", list(FEATURES))
        self.configure(second, "catalog", "put_currencies", list(CURRENCIES))
        credit = {"currency": CREDITS, "amount": 20, "cadence": "MONTH", "has_soft_limit": soft}
        seats = {"feature": SEATS, "usage_limit": 20, "reset_period": "HOUR"}
        self.credits = [credit]
        self.put_plan(limit, rate, "DAY", second)
        self.configure(second, "catalog", "put_addons", [{"id": ADDONS[0], "entitlements": [seats]}])
        for customer in CUSTOMERS:
            self.put_customer(customer, second)
        self.set_up(
            second,
            lambda engine: engine.customers.put_resource(CUSTOMER, SITE),
            lambda model: model.put_resource(CUSTOMER, SITE),
        )
        bought = {"plan": words.PLAN, "addons": [{"addon": ADDONS[0], "quantity": 1}]}
        for given in ({**bought, "id": "sub-1"}, {**bought, "id": "sub-2", "resource": SITE}):
            self.provision(given, second)
        self.promote({"feature": SINGLE_SIGN_ON}, CUSTOMER, second)
        self.promote({"feature": TOKENS, "usage_limit": 10, "reset_period": "DAY"}, OTHER, second)
        self.put_entities([{"id": id, "type": TYPE_OF[id]} for id in ENTITIES], second)
        for budget in (
            {"entity": "org-1", "feature": TOKENS, "usage_limit": None, "cadence": "P1M"},
            {"entity": "team-1", "feature": TOKENS, "usage_limit": limit, "cadence": "P1D", "parent": "org-1"},
            {"entity": "user-1", "feature": TOKENS, "usage_limit": 10, "cadence": "PT1H", "parent": "team-1"},
            {"entity": "user-1", "feature": TOKENS, "usage_limit": 8, "cadence": "PT10M", "scope": ["model-1"]},
            {"entity": "team-1", "currency": CREDITS, "usage_limit": 30, "cadence": "P1D"},
            *budgets,
        ):
            self.put_budget(budget, second)
        self.give(5, 10, None, None, second)
        self.give(10, 90, None, None, not second)

    def put_customer(self, customer: str, second: bool) -> None:
        self.set_up(second, lambda engine: engine.customers.put(customer), lambda model: model.put_customer(customer))

    def configure(self, second: bool, place: str, verb: str, given: list[Any]) -> None:
        self.set_up(
            second,
            lambda engine: getattr(getattr(engine, place), verb)(given),
            lambda model: getattr(model, verb)(given) and None,
        )

    def provision(self, given: Mapping[str, Any], second: bool) -> None:
        self.agree(
            second,
            lambda engine: engine.subscriptions.provision(CUSTOMER, given),
            lambda model: model.provision(CUSTOMER, given),
        )

    def promote(self, given: Mapping[str, Any], customer: str, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.customers.grant_entitlement(customer, given),
            lambda model: model.grant(customer, given),
        )

    @rule(limit=words.limits, rate=words.rates, period=st.sampled_from(("HOUR", "DAY", "DAY", "MONTH")), second=seconds)
    def put_plan(self, limit: int, rate: float | None, period: str, second: bool) -> None:
        """Sell the same credits with other terms: what is held was held by the terms of then."""
        tokens: dict[str, Any] = {"feature": TOKENS, "usage_limit": limit, "reset_period": period}
        if rate is not None:
            tokens["credit_rate"] = {"currency": CREDITS, "amount": rate}
        plan = {"id": words.PLAN, "entitlements": [tokens], "credits": self.credits}
        self.agree(second, lambda engine: engine.catalog.put_plans([plan]), lambda model: model.put_plans([plan]))

    @rule(second=seconds, resource=st.sampled_from((None, SITE)))
    def cancel(self, second: bool, resource: str | None) -> None:
        """End a subscription, and buy the same again: it has a period of credits of its own."""
        which = "sub-1" if resource is None else "sub-2"
        self.agree(
            second,
            lambda engine: engine.subscriptions.cancel(CUSTOMER, which, at="now", resource=resource),
            lambda model: model.cancel(CUSTOMER, which, at="now", resource=resource),
        )
        self.numbers += 1
        bought = {"plan": words.PLAN, "addons": [{"addon": ADDONS[0], "quantity": 1}], "resource": resource}
        self.provision({**bought, "id": f"sub-{self.numbers + 2}"}, not second)

    @rule(
        amount=st.sampled_from((1, 5, 10, 2.5)),
        priority=st.sampled_from((10, 50, 90)),
        lasts_ms=st.sampled_from((None, None, MINUTE_MS, 60 * MINUTE_MS)),
        resource=st.sampled_from((None, None, SITE)),
        second=seconds,
    )
    def give(self, amount: float, priority: int, lasts_ms: int | None, resource: str | None, second: bool) -> None:
        self.numbers += 1
        given: dict[str, Any] = {"id": f"grant-{self.numbers}", "currency": CREDITS, "amount": amount}
        given |= {"priority": priority, "resource": resource}
        if lasts_ms is not None:
            given["expires_at_ms"] = self.clock.now_ms + lasts_ms
        self.agree(
            second,
            lambda engine: engine.credits.grant(CUSTOMER, given),
            lambda model: model.give(CUSTOMER, given),
        )

    @rule(place=words.places, second=seconds)
    def void(self, place: int, second: bool) -> None:
        """Take a grant back, with what is held of it."""
        known = list(self.model.customers[CUSTOMER].grants.get((CREDITS, None), {}))
        where: dict[str, Any] = {"currency": CREDITS, "resource": None}
        grant = known[place % len(known)]
        self.agree(
            second,
            lambda engine: engine.credits.void(CUSTOMER, grant, **where),
            lambda model: model.void(CUSTOMER, grant, **where),
        )

    def put_entities(self, entities: list[dict[str, Any]], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.governance.put_entities(CUSTOMER, entities),
            lambda model: model.put_entities(CUSTOMER, entities),
        )

    @rule(budget=words.budgets, second=seconds)
    def put_budget(self, budget: Mapping[str, Any], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.governance.put_assignments(CUSTOMER, [budget]),
            lambda model: model.put_assignments(CUSTOMER, [budget]),
        )

    @rule(entity=st.sampled_from(("user-1", "team-1")), parent=st.sampled_from((None, *ENTITIES)), second=seconds)
    def move_entity(self, entity: str, parent: str | None, second: bool) -> None:
        self.put_budget(
            {"entity": entity, "feature": TOKENS, "usage_limit": 10, "cadence": "P1D", "parent": parent}, second
        )

    @rule(entity=st.sampled_from(("user-1", "team-1")), archived=st.booleans(), second=seconds)
    def archive_entity(self, entity: str, archived: bool, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: (engine.governance.archive if archived else engine.governance.unarchive)(CUSTOMER, [entity]),
            lambda model: model.set_archived(CUSTOMER, [entity], archived=archived),
        )

    @rule(archived=seldom, second=seconds)
    def archive_customer(self, archived: bool, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: (engine.customers.archive if archived else engine.customers.unarchive)(CUSTOMER),
            lambda model: model.set_customer_archived(CUSTOMER, archived=archived),
        )
