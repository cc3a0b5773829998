"""The state machine of what is done exactly once: reservations, from making one to sweeping it, and idempotency keys.

Like the other machines it drives two engines, each with its own caches, on one environment: what the one reserves, the
other settles, and what is asked for again is asked of either. Every few steps the sums are made again from their parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from headgate.errors import BatchIncomplete
from headgate.model.reservation import Reservation, ReservationStatus
from model import hold_words as words
from model.agreeing import Engine
from model.commerce_words import CREDITS
from model.exact import exact, rounded
from model.hold_setting import OTHER, PROBE, AroundHolds
from model.records import Slot
from model.reference import RETENTION_MS, lasts
from model.vocabulary import CUSTOMER, MINUTE_MS, SEATS, TOKENS, near, near_places, seconds


class Holds(AroundHolds):
    """The rules of reservations and keys, while everything around them changes."""

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
        self.read(*self.known(place), second)

    @rule(second=seconds)
    def sweep(self, second: bool) -> None:
        """Nothing is held then but what is open and has not expired."""
        self.ask(second, lambda engine: engine.reservations.sweep(), lambda model: model.sweep())
        self.everything_agrees()
        held: dict[Slot, Fraction] = {}
        for _, each in self.records():
            for part in each.parts if each.status == "OPEN" and each.expires_ms > self.clock.now_ms else ():
                held[part.slot] = held.get(part.slot, Fraction(0)) + part.held
        assert all(slot.held == held.get(slot, 0) for slot in self.slots())
        self.open_ones_are_what_is_held(not second)

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

    @rule(
        what=st.sampled_from(({"feature": TOKENS}, {"currency": CREDITS})),
        share=words.shares,
        swept=st.booleans(),
        second=seconds,
    )
    def settle_late(self, what: Mapping[str, Any], share: float, swept: bool, second: bool) -> None:
        """What has expired is counted all the same, whether it was freed or not; what is freed is freed once."""
        made = self.reserve_new(CUSTOMER, {**what, "amount": 2, "dimensions": PROBE, "expires_in": 60}, second)
        if made is None or not made.granted:
            return
        self.go_to(made.expires_at_ms)
        for _ in range(2 if swept else 0):
            self.ask(not second, lambda engine: engine.reservations.sweep(), lambda model: model.sweep())
        self.end(CUSTOMER, made.id, "settle", (2 * share,), by_hold=False, second=not second)
        self.wallet_agrees(None, second)

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
