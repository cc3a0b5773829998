"""What the reference model says of reservations: where an amount is held, and how a hold ends."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from headgate.errors import Conflict, NotFound
from headgate.model.credits import Charge, Wallet
from headgate.model.reservation import Reservation, ReservationStatus
from model.exact import rounded
from model.limits import Constraint, Demand, Limits
from model.records import Counter, HoldRecord, Part
from model.wallets import LiveWallet, Purse

RECORD_MS = 86_400_000
"""For how long a record is known after its end."""


class Holding(Limits):
    """The state of `Limits`, and what is held of it. Nothing here asks what applies now: the record says it all."""

    # --- how holds begin --------------------------------------------------------------------------------------------

    def hold(self, record: HoldRecord, demand: Demand) -> tuple[Charge, ...]:
        """Hold an amount on every counter, and of the grants in burn order what they have of it; what is owed first."""
        charges: tuple[Charge, ...] = ()
        for each in self.constraints(demand):
            self.count(each, Fraction(0))
            record.counters.append(self.part(each, demand.of(each)))
        if demand.wallet is not None:
            purse = Purse(demand.wallet)
            self.pay_overdraft(purse)
            charges = purse.charges()
            purse.write()
            record.grants = self.parts_of(demand.wallet, demand.credits)
            record.overdraft = demand.wallet.overdraft
        for part in record.parts:
            part.slot.held += part.held
        return charges

    def part(self, constraint: Constraint, amount: Fraction) -> Part:
        start_ms = self.stands_at(constraint.slot, constraint.period).start_ms
        return Part(constraint.slot, amount, start_ms, constraint.currency is not None)

    def parts_of(self, wallet: LiveWallet, amount: Fraction) -> list[Part]:
        """What is held of each grant. What a soft wallet has not, nobody holds."""
        parts: list[Part] = []
        for grant in wallet.grants:
            held = min(amount, max(Fraction(0), grant.left))
            amount -= held
            if held:
                parts.append(Part(grant.slot, held))
        return parts

    # --- how holds end ----------------------------------------------------------------------------------------------

    def settle(self, customer: str, id: str, amount: Fraction) -> Reservation:
        """Count what was used, and give all that is held back."""
        return self._end(customer, id, amount, "SETTLED")

    def release(self, customer: str, id: str) -> Reservation:
        """Give all that is held back: nothing was used."""
        return self._end(customer, id, Fraction(0), "RELEASED")

    def _end(self, customer: str, id: str, amount: Fraction, status: str) -> Reservation:
        record = self.known(customer, id)
        if record.status in ("SETTLED", "RELEASED"):
            if (record.status, record.settled) != (status, amount):
                raise Conflict(f"reservation {id!r}")
            return self.reservation(customer, record)
        was_held = record.is_held
        if was_held:
            self.take_back(record)
        credits = amount if record.rate is None else rounded(amount * record.rate)
        self.count_settled(record, amount, credits, was_held=was_held)
        if record.overdraft is not None:
            owed = record.overdraft.total
            self.pay_settled(record, credits, was_held=was_held)
            if record.overdraft.total > owed:
                self.let_grants_pay(customer, record)
        record.status, record.settled, record.ended_ms = status, amount, self.now_ms
        self._over(record)
        return self.reservation(customer, record)

    def take_back(self, record: HoldRecord) -> None:
        """Nothing is held any more: not in counters of periods that are over, nor of grants that are."""
        record.is_held = False
        for part in record.parts:
            part.slot.held -= part.held

    def count_settled(self, record: HoldRecord, amount: Fraction, credits: Fraction, *, was_held: bool) -> None:
        """Count in the period that the hold was taken in, where the counter is still at it."""
        for part in record.counters:
            used = credits if part.is_paid_in else amount
            counter = part.slot.counter
            if counter is not None and self.belongs(part, counter):
                part.slot.counter = Counter(counter.start_ms, counter.used + used)
                part.slot.into[counter.start_ms] = part.slot.into.get(counter.start_ms, Fraction(0)) + used

    def belongs(self, part: Part, counter: Counter) -> bool:
        return counter.start_ms == part.start_ms

    def let_grants_pay(self, customer: str, record: HoldRecord) -> None:
        """What a settle owes is paid out of the live grants at once."""
        assert record.currency is not None
        purse = Purse(self.live_wallet(customer, record.currency, record.resource))
        self.pay_overdraft(purse)
        purse.write()

    def pay_settled(self, record: HoldRecord, credits: Fraction, *, was_held: bool) -> None:
        """Pay with what was held, in burn order; what is beyond it, or was given back already, is overdraft."""
        for part in record.grants if was_held else ():
            paid = min(credits, part.held)
            part.slot.total += paid
            credits -= paid
        if record.overdraft is not None and credits:
            record.overdraft.total += credits

    def extend(self, customer: str, id: str, lasts_ms: int) -> Reservation:
        """Let an open one last for so long from now on."""
        record = self.known(customer, id)
        if self.status_of(record) != "OPEN":
            raise Conflict(f"reservation {id!r}")
        record.expires_ms = self.now_ms + lasts_ms
        return self.reservation(customer, record)

    # --- expiry -----------------------------------------------------------------------------------------------------

    def is_due(self, record: HoldRecord) -> bool:
        return record.status == "OPEN" and record.expires_ms <= self.now_ms

    def frees_first(self, *, granted: bool) -> bool:
        """Whether a verdict waits until what has expired is freed: one that grants needs no more room."""
        return not granted

    def free_due(self, customer: str) -> int:
        """Free whatever has expired of a customer, wherever it is held."""
        due = [each for each in self.customers[customer].holds.values() if self.is_due(each)]
        for each in due:
            self.take_back(each)
            each.status = "EXPIRED"
            self._over(each)
        return len(due)

    def sweep(self) -> int:
        """Free what has expired of everybody, and forget what ended a day ago."""
        freed = sum(map(self.free_due, self.customers))
        for customer in self.customers.values():
            over = [id for id, each in customer.holds.items() if each.gone_ms and each.gone_ms <= self.now_ms]
            for id in over:
                del customer.holds[id]
        return freed

    def _over(self, record: HoldRecord) -> None:
        over_ms = self.now_ms + RECORD_MS
        record.gone_ms = max(record.gone_ms or over_ms, over_ms)
        record.from_ms = min(record.from_ms or over_ms, over_ms)

    def free_for_reading(self, customer: str, constraints: Iterable[Constraint]) -> None:
        """Whoever reads a limit that more is used and held of than there is, sees it without what has expired."""
        if not all(self.allows(each, Fraction(0)) for each in constraints):
            self.free_due(customer)

    # --- reading ----------------------------------------------------------------------------------------------------

    def wallet(self, customer: str, *, currency: str, resource: str | None = None) -> Wallet:
        """Read a wallet; one that owes, without what has expired."""
        self._readable(customer, currency, resource)
        if not self.satisfied(self.live_wallet(customer, currency, resource), Fraction(0)):
            self.free_due(customer)
        return super().wallet(customer, currency=currency, resource=resource)

    def known(self, customer: str, id: str) -> HoldRecord:
        if customer not in self.customers or id not in self.customers[customer].holds:
            raise NotFound("reservation", id)
        return self.customers[customer].holds[id]

    def status_of(self, record: HoldRecord) -> str:
        return "EXPIRED" if self.is_due(record) else record.status

    def get(self, customer: str, id: str) -> Reservation:
        return self.reservation(customer, self.known(customer, id))

    def cost(self, record: HoldRecord) -> Fraction:
        """What the amount is in credits, at the rate of then."""
        return self.in_credits(record, record.amount)

    def in_credits(self, record: HoldRecord, amount: Fraction) -> Fraction:
        if record.currency is None:
            return Fraction(0)
        return amount if record.rate is None else rounded(amount * record.rate)

    def reservation(self, customer: str, record: HoldRecord) -> Reservation:
        status = self.status_of(record)
        return Reservation(
            id=record.id,
            customer=customer,
            feature=record.feature,
            currency=record.currency,
            resource=record.resource,
            amount=float(record.amount),
            credits=float(self.cost(record)),
            status=ReservationStatus[status],
            reserved_at_ms=record.reserved_ms,
            expires_at_ms=record.expires_ms,
            ended_at_ms=record.expires_ms if status == "EXPIRED" else record.ended_ms,
            settled=float(record.settled),
            settled_credits=float(self.in_credits(record, record.settled)),
            metadata=record.metadata,
        )
