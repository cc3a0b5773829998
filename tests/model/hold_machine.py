"""The state machine of what is done exactly once: reservations, from making one to sweeping it, and idempotency keys.

Like the other machines it drives two engines, each with its own caches, on one environment: what the one reserves, the
other settles, and what is asked for again is asked of either. Every few steps the sums are made again from their parts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from headgate.errors import BatchIncomplete
from headgate.model.decision import Decision, Receipt
from headgate.model.reservation import Reservation, ReservationStatus
from model import hold_words as words
from model.agreeing import Agreeing, Engine, instant
from model.commerce_words import ADDONS, CREDITS, CURRENCIES, SITE
from model.comparing import comparable, wrong_credits
from model.exact import exact, rounded
from model.records import HoldRecord, Slot
from model.reference import RETENTION_MS, Reference, lasts
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
    near_places,
    seconds,
    seldom,
)

STEPS_BETWEEN_READINGS = 4
OTHER = CUSTOMERS[1]
ENTITIES = ("org-1", "team-1", "team-2", "user-1", "model-1")
PROBE = {"userId": "user-1", "modelId": "model-1"}

Keyed = tuple[str, str, dict[str, Any], str]


class Holds(Agreeing):
    """The rules of reservations and keys, while everything around them changes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0
        self.asked: dict[tuple[str, str], dict[str, Any]] = {}
        self.made: dict[tuple[str, str], tuple[bool, Any]] = {}
        self.keyed: list[Keyed] = []
        self.unsure: set[tuple[str, str]] = set()
        self.paid: dict[tuple[str, str | None], Fraction] = {}
        self.latest_ms = 0

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
            self.agree(
                second,
                lambda engine, feature=feature: engine.governance.tree(CUSTOMER, feature=feature),
                lambda model, feature=feature: model.tree(CUSTOMER, feature=feature),
            )
        for resource in (None, SITE):
            self.wallet_agrees(resource, second)
        for place in range(3):
            self.get(place, second)

    def wallet_agrees(self, resource: str | None, second: bool) -> None:
        """The wallet and its ledger; no credit is lost or made: what was paid is in the grants, or is owed."""
        where: dict[str, Any] = {"currency": CREDITS, "resource": resource}
        wallet, ledger = (
            self.ask(
                second,
                lambda engine, verb=verb: getattr(engine.credits, verb)(CUSTOMER, **where),
                lambda model, verb=verb: getattr(model, verb)(CUSTOMER, **where),
            )
            for verb in ("wallet", "grants")
        )
        wrong = list(wrong_credits(wallet, ledger))
        assert not wrong, "\n".join(wrong)
        if self.clock.now_ms >= self.latest_ms:
            paid = sum((exact(each.consumed) for each in ledger), exact(wallet.overdraft))
            assert paid == self.paid.get((CREDITS, resource), 0), f"{paid} of {ledger} and {wallet.overdraft}"

    def every_sum_is_right(self) -> None:
        """Held is what holds hold that were not freed; used is what was counted in the period that a counter is at."""
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

    # --- time -------------------------------------------------------------------------------------------------------

    def go_to(self, now_ms: int) -> None:
        """What ended a day ago may be forgotten by any call that frees; only a sweep says that it is."""
        super().go_to(now_ms)
        self.latest_ms = max(self.latest_ms, self.clock.now_ms)
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
            self.set_up(
                second,
                lambda engine, customer=customer: engine.customers.put(customer),
                lambda model, customer=customer: model.put_customer(customer),
            )
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

    # --- reservations -----------------------------------------------------------------------------------------------

    @rule(
        what=words.what,
        amount=words.amounts,
        dimensions=words.dimensions,
        expires_in=words.lasts_s,
        metadata=words.metadata,
        second=seconds,
    )
    def reserve(
        self,
        what: Mapping[str, Any],
        amount: float,
        dimensions: Mapping[str, Any] | None,
        expires_in: float | None,
        metadata: Mapping[str, str] | None,
        second: bool,
    ) -> None:
        asked = {**what, "amount": amount, "dimensions": dimensions, "expires_in": expires_in, "metadata": metadata}
        self.reserve_new(CUSTOMER, asked, second)

    def reserve_new(self, customer: str, asked: Mapping[str, Any], second: bool) -> Reservation | None:
        self.numbers += 1
        return self.reserve_as(customer, f"hold-{self.numbers}", dict(asked), second)

    def reserve_as(self, customer: str, id: str, asked: dict[str, Any], second: bool) -> Reservation | None:
        """Ask for it by an id, and keep what came back: an answer that another engine gave is as good."""
        found: list[Any] = []

        def keep(hold: Any) -> Any:
            found.append(hold)
            return hold

        answer: Reservation | None = self.ask(
            second,
            lambda engine: keep(engine.reserve(customer, id=id, **asked)),
            lambda model: model.reserve(customer, id=id, **asked),
        )
        if answer is not None:
            self.asked.setdefault((customer, id), asked)
            self.pay(answer.decision)
            if answer.granted:
                self.made[customer, id] = second, found[0]
        return answer

    @rule(what=words.what_is_none, second=seconds)
    def reserve_what_is_not_there(self, what: Mapping[str, Any], second: bool) -> None:
        self.reserve_new(CUSTOMER, what, second)

    @rule(amount=words.amounts, expires_in=words.lasts_s, second=seconds)
    def reserve_for_another(self, amount: float, expires_in: float | None, second: bool) -> None:
        """The second customer, whom hardly anybody calls: only a sweep finds what they left."""
        self.reserve_new(OTHER, {"feature": TOKENS, "amount": amount, "expires_in": expires_in}, second)

    @rule(more=st.sampled_from((0, 0, 0.00001, -1)), what=words.what, expires_in=words.lasts_s, second=seconds)
    def reserve_what_is_left(
        self, more: float, what: Mapping[str, Any], expires_in: float | None, second: bool
    ) -> None:
        """All that the tightest limit has left, or hardly more."""
        binding = self.same(second, "check", CUSTOMER, **what, requested_usage=0, dimensions=PROBE).binding
        left = 5.0 if binding is None else binding.left
        asked = {**what, "amount": max(0.0, round(left + more, 5)), "dimensions": PROBE, "expires_in": expires_in}
        self.reserve_new(CUSTOMER, asked, not second)

    @rule(expires_in=st.sampled_from((1, 60, 600)), near_ms=near, how=st.integers(0, 3), second=seconds)
    def ask_for_what_expires(self, expires_in: float, near_ms: int, how: int, second: bool) -> None:
        """Hold everything, wait for its end, and ask for it again: whoever would be refused frees it first."""
        asked: dict[str, Any] = {"feature": TOKENS, "dimensions": PROBE}
        binding = self.same(second, "check", CUSTOMER, **asked, requested_usage=0).binding
        if binding is None or binding.left < 1:
            return
        self.reserve_new(CUSTOMER, {**asked, "amount": binding.left, "expires_in": expires_in}, second)
        self.go_to(self.clock.now_ms + lasts(expires_in) + near_ms)
        if how == 0:
            self.same(not second, "check", CUSTOMER, **asked, requested_usage=binding.left)
        elif how == 1:
            self.reserve_new(CUSTOMER, {**asked, "amount": binding.left}, not second)
        elif how == 2:
            self.same(not second, "entitlement", CUSTOMER, feature=TOKENS, requested_usage=binding.left)
        else:
            self.use(not second, "consume", CUSTOMER, **asked, amount=1)

    def known(self, place: int) -> tuple[str, str]:
        """One of the reservations that are certainly remembered, or were never made; the last first."""
        found = [(customer, each.id) for customer, each in self.records() if (customer, each.id) not in self.unsure]
        return found[::-1][place % len(found)] if found else (CUSTOMER, words.UNKNOWN)

    @rule(place=words.places, second=seconds)
    def reserve_again(self, place: int, second: bool) -> None:
        """A repeat, from either engine: it is the same reservation, however it ended."""
        customer, id = self.known(place)
        if id != words.UNKNOWN:
            self.reserve_as(customer, id, self.asked[customer, id], second)

    @rule(place=words.places, other=words.others, second=seconds)
    def reserve_another_under_its_id(self, place: int, other: Mapping[str, Any], second: bool) -> None:
        customer, id = self.known(place)
        if id != words.UNKNOWN:
            asked = {**self.asked[customer, id], **other}
            if "feature" in other:
                asked = {**asked, "currency": None, "resource": None}
            self.reserve_as(customer, id, asked, second)

    @rule(place=words.places, share=words.shares, by_hold=st.booleans(), times=st.integers(1, 2), second=seconds)
    def settle(self, place: int, share: float, by_hold: bool, times: int, second: bool) -> None:
        """Say what was used: by the hold itself, or by its id from anywhere, once or over again."""
        customer, id = self.known(place)
        for time in range(times):
            amount = 3.0 if id == words.UNKNOWN else self.settled_by(customer, id, share)
            self.end(customer, id, "settle", (amount,), by_hold=by_hold and time == 0, second=second ^ (time == 1))

    def settled_by(self, customer: str, id: str, share: float) -> float:
        """A share of what is held; of what has been settled, as much as then, unless it is another share."""
        record = self.model.customers[customer].holds[id]
        if record.status == "SETTLED" and share != 2:
            return float(record.settled)
        return round(float(record.amount) * share, 5)

    @rule(place=words.places, by_hold=st.booleans(), second=seconds)
    def release(self, place: int, by_hold: bool, second: bool) -> None:
        self.end(*self.known(place), "release", (), by_hold=by_hold, second=second)

    def end(self, customer: str, id: str, verb: str, given: tuple[float, ...], *, by_hold: bool, second: bool) -> None:
        before = self.model.customers[customer].holds.get(id)
        status = None if before is None else before.status
        expect = getattr(self.model, verb)
        exactly = tuple(map(exact, given))
        kept = self.made.get((customer, id)) if by_hold else None
        if kept is not None:
            second, hold = kept
            self.ask(second, lambda _: getattr(hold, verb)(*given), lambda _: expect(customer, id, *exactly))
        else:
            self.ask(
                second,
                lambda engine: getattr(engine.reservations, verb)(customer, id, *given),
                lambda _: expect(customer, id, *exactly),
            )
        after = self.model.customers[customer].holds.get(id)
        if after is not None and after.overdraft is not None and after.status != status and customer == CUSTOMER:
            cost = after.settled if after.rate is None else rounded(after.settled * after.rate)
            wallet = str(after.currency), after.resource
            self.paid[wallet] = self.paid.get(wallet, Fraction(0)) + cost

    @rule(place=words.places, expires_in=st.sampled_from((1, 60, 3_600, 86_400)), second=seconds)
    def extend(self, place: int, expires_in: float, second: bool) -> None:
        customer, id = self.known(place)
        self.ask(
            second,
            lambda engine: engine.reservations.extend(customer, id, expires_in),
            lambda model: model.extend(customer, id, lasts(expires_in)),
        )

    @rule(place=words.places, second=seconds)
    def get(self, place: int, second: bool) -> None:
        customer, id = self.known(place)
        self.ask(second, lambda engine: engine.reservations.get(customer, id), lambda model: model.get(customer, id))

    @rule(second=seconds)
    def sweep(self, second: bool) -> None:
        """Nothing is held then but what is open and has not expired; and what ended a day ago is not known."""
        over = [(customer, each.id) for customer, each in self.records()]
        self.ask(second, lambda engine: engine.reservations.sweep(), lambda model: model.sweep())
        left = {(customer, each.id) for customer, each in self.records()}
        self.everything_agrees()
        held: dict[Slot, Fraction] = {}
        for _, each in self.records():
            for part in each.parts if each.status == "OPEN" and each.expires_ms > self.clock.now_ms else ():
                held[part.slot] = held.get(part.slot, Fraction(0)) + part.held
        assert all(slot.held == held.get(slot, 0) for slot in self.slots())
        self.open_ones_are_what_is_held(not second)
        for customer, id in [each for each in over if each not in left][:3]:
            self.unsure.discard((customer, id))
            self.made.pop((customer, id), None)
            self.ask(
                not second, lambda engine: engine.reservations.get(customer, id), lambda model: model.get(customer, id)
            )

    def open_ones_are_what_is_held(self, second: bool) -> None:
        """What the account says is held, beside the reservations as they are read one by one: without the model."""
        engine = self.engines[int(second)]
        held = Fraction(0)
        for customer, each in self.records():
            if customer == CUSTOMER and each.resource is None and (customer, each.id) not in self.unsure:
                read = engine.reservations.get(customer, each.id)
                if read.feature == TOKENS and read.status is ReservationStatus.OPEN:
                    held += exact(read.amount)
        account = engine.governance.tree(CUSTOMER, feature=TOKENS).account
        assert exact(account.held) == held, f"{account} beside {held}"

    @rule(place=words.places, share=words.shares, near_ms=near, amount=st.sampled_from((0, 1)), second=seconds)
    def settle_when_its_period_is_over(
        self, place: int, share: float, near_ms: int, amount: float, second: bool
    ) -> None:
        """Reserve, wait until a period ends, perhaps count in the new one, and settle: it belongs to the old one."""
        asked = {"feature": TOKENS, "dimensions": PROBE, "amount": 2, "expires_in": 86_400}
        made = self.reserve_new(CUSTOMER, asked, second)
        self.go_to(self.boundary_ms(place, near_ms, ahead=True))
        if amount:
            self.use(not second, "report", CUSTOMER, feature=TOKENS, dimensions=PROBE, value=amount)
        if made is not None and made.granted and (CUSTOMER, made.id) not in self.unsure:
            self.end(CUSTOMER, made.id, "settle", (2 * share,), by_hold=True, second=second)

    # --- usage, and keys --------------------------------------------------------------------------------------------

    @rule(what=words.what, amount=words.amounts, dimensions=words.dimensions, keyed=st.booleans(), second=seconds)
    def consume(
        self, what: Mapping[str, Any], amount: float, dimensions: Mapping[str, Any] | None, keyed: bool, second: bool
    ) -> None:
        asked = {**what, "amount": amount, "dimensions": dimensions}
        self.use(second, "consume", CUSTOMER, self.new_key("consume", asked) if keyed else None, **asked)

    @rule(
        what=words.what,
        value=words.amounts | words.corrections,
        dimensions=words.dimensions,
        behavior=st.sampled_from(("DELTA",) * 5 + ("SET",)),
        keyed=st.booleans(),
        second=seconds,
    )
    def report(
        self,
        what: Mapping[str, Any],
        value: float,
        dimensions: Mapping[str, Any] | None,
        behavior: str,
        keyed: bool,
        second: bool,
    ) -> None:
        asked = {**what, "value": value, "dimensions": dimensions, "behavior": behavior}
        self.use(second, "report", CUSTOMER, self.new_key("report", asked) if keyed else None, **asked)

    def new_key(self, verb: str, asked: dict[str, Any], name: str = "") -> str:
        self.numbers += 1
        key = name or f"key-{self.numbers}"
        self.keyed.append((verb, CUSTOMER, asked, key))
        return key

    @rule(place=words.places, second=seconds)
    def use_again(self, place: int, second: bool) -> None:
        """The same under the same key: it is carried out once, however often and wherever it is asked for."""
        if self.keyed:
            verb, customer, asked, key = self.keyed[::-1][place % len(self.keyed)]
            self.use(second, verb, customer, key, **asked)

    @rule(
        place=words.places, amount=st.sampled_from((1, 4)), verb=st.sampled_from(("consume", "report")), second=seconds
    )
    def use_a_key_for_another(self, place: int, amount: float, verb: str, second: bool) -> None:
        """Another request, or another verb, which has keys of its own."""
        if self.keyed:
            name = "amount" if verb == "consume" else "value"
            asked = {"feature": TOKENS, name: amount, "dimensions": None}
            _, customer, _, key = self.keyed[::-1][place % len(self.keyed)]
            self.use(second, verb, customer, key, **asked)

    @rule(amount=st.sampled_from((30, 100)), second=seconds)
    def a_refusal_burns_no_key(self, amount: float, second: bool) -> None:
        """Ask for more than there is, make room, and ask again."""
        asked = {"feature": SEATS, "amount": amount, "dimensions": None}
        key = self.new_key("consume", asked)
        self.use(second, "consume", CUSTOMER, key, **asked)
        self.promote({"feature": SEATS, "usage_limit": 200, "reset_period": "HOUR"}, CUSTOMER, second)
        self.use(not second, "consume", CUSTOMER, key, **asked)
        self.promote({"feature": SEATS, "usage_limit": 20, "reset_period": "HOUR"}, CUSTOMER, second)

    @rule(place=near_places, weeks=st.integers(0, 2), near_ms=near, second=seconds)
    def ask_again_in_another_generation(self, place: int, weeks: int, near_ms: int, second: bool) -> None:
        """A key is known in the generation that it was given in, and in the next; after that it is a new one."""
        asked = {"currency": CREDITS, "value": 1, "dimensions": None}
        key = self.new_key("report", asked)
        self.use(second, "report", CUSTOMER, key, **asked)
        start_ms = self.clock.now_ms // RETENTION_MS * RETENTION_MS
        self.go_to(start_ms + weeks * RETENTION_MS + near_ms if weeks else self.clock.now_ms - 2 * MINUTE_MS)
        self.use(not second, "report", CUSTOMER, key, **asked)

    @rule(
        values=st.lists(
            st.tuples(words.what, words.amounts, st.sampled_from((None, "batch-1", "batch-2"))), max_size=3, min_size=2
        ),
        second=seconds,
    )
    def report_many(self, values: list[tuple[dict[str, Any], float, str | None]], second: bool) -> None:
        """Records with keys, some of which they share."""
        records = [{"customer": CUSTOMER, **what, "value": value} for what, value, _ in values]
        keys = [key for _, _, key in values]

        def report(engine: Engine) -> Any:
            given = [{**each, "idempotency_key": key} for each, key in zip(records, keys, strict=True)]
            try:
                receipts = engine.report_many(given)
            except BatchIncomplete as error:
                self.pay_all(error.receipts)
                raise
            self.pay_all(receipts)
            return receipts

        self.agree(
            second,
            report,
            lambda model: model.report_many([{**each, "key": key} for each, key in zip(records, keys, strict=True)]),
        )
