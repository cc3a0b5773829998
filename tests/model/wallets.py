"""What the reference model says of credits: grants, given or recurring, the order they are burnt in, and overdraft."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from headgate.errors import Conflict, NotFound, OutOfRange
from headgate.model.credits import Charge, GrantKind, GrantState, GrantStatus, Wallet
from headgate.periods import Cadence, Period, Schedule
from model.commerce import Commerce
from model.configuration import refused
from model.exact import WHOLE_MAX, exact
from model.records import CustomerRecord, GrantRecord, Slot, SubscriptionRecord

CADENCES = {"MONTH": "P1M", "YEAR": "P1Y"}
KINDS = ("PROMOTIONAL", "RECURRING", "PAID")
GRANTS_MAX = 64


@dataclass(frozen=True, slots=True)
class LiveWallet:
    """The grants that can be used now, in burn order, and what was used beyond them."""

    customer: str
    currency: str
    resource: str | None
    grants: tuple[GrantRecord, ...]
    overdraft: Slot
    is_soft: bool

    @property
    def balance(self) -> Fraction:
        return sum((each.left for each in self.grants), Fraction(0)) - self.overdraft.total


class Purse:
    """What a call would leave in a wallet: tried here, and written once everything else is known to be possible."""

    def __init__(self, wallet: LiveWallet) -> None:
        self.wallet = wallet
        self.used = {each.id: each.slot.total for each in wallet.grants}
        self.overdraft = wallet.overdraft.total

    def left(self, grant: GrantRecord) -> Fraction:
        return max(Fraction(0), grant.amount - self.used[grant.id] - grant.slot.held)

    def charges(self) -> tuple[Charge, ...]:
        """What was taken from each grant, in burn order, and added to overdraft."""
        changes: list[tuple[str | None, Fraction]] = [
            (each.id, self.used[each.id] - each.slot.total) for each in self.wallet.grants
        ]
        changes.append((None, self.overdraft - self.wallet.overdraft.total))
        return tuple(Charge(grant, float(amount)) for grant, amount in changes if amount)

    def write(self) -> None:
        for each in self.wallet.grants:
            each.slot.total = self.used[each.id]
        self.wallet.overdraft.total = self.overdraft


class Wallets(Commerce):
    """The state of `Commerce`, and every grant of a customer at an instant."""

    # --- grants that are given --------------------------------------------------------------------------------------

    def give(self, customer: str, given: Mapping[str, Any]) -> GrantRecord:
        """Give a grant. The same grant twice is one."""
        currency, resource = given["currency"], given.get("resource")
        begins_ms, ends_ms = given.get("effective_at_ms"), given.get("expires_at_ms")
        if begins_ms is not None and ends_ms is not None and ends_ms <= begins_ms:
            raise refused("expires_at_ms", ends_ms)
        self._readable(customer, currency, resource)
        effective_ms = self.now_ms if given.get("effective_at_ms") is None else given["effective_at_ms"]
        record = GrantRecord(
            id=given["id"],
            kind=given.get("kind", "PAID"),
            priority=given.get("priority", 50),
            amount=exact(given["amount"]),
            effective_ms=effective_ms,
            expires_ms=given.get("expires_at_ms"),
            created_ms=self.now_ms,
            display_name=given.get("display_name", ""),
        )
        with self._change(customer) as changed:
            grants = changed.grants.setdefault((currency, resource), {})
            if record.id in grants:
                return self.given_again(grants[record.id], record, given)
            if record.expires_ms is not None and record.expires_ms <= max(record.effective_ms, self.now_ms):
                raise refused("expires_at_ms", record.expires_ms)
            if not self.has_room(changed, currency, resource):
                raise refused("currency", currency)
            grants[record.id] = record
        return record

    def given_again(self, known: GrantRecord, record: GrantRecord, given: Mapping[str, Any]) -> GrantRecord:
        """The grant that is there, if it is what is asked for."""
        effective_ms = known.created_ms if given.get("effective_at_ms") is None else given["effective_at_ms"]
        asked = record.kind, record.priority, record.amount, effective_ms, record.expires_ms
        if asked != (known.kind, known.priority, known.amount, known.effective_ms, known.expires_ms):
            raise Conflict(f"grant {known.id!r}")
        return known

    def has_room(self, customer: CustomerRecord, currency: str, resource: str | None) -> bool:
        given = customer.grants.get((currency, resource), {}).values()
        not_ended = [each for each in given if each.voided_ms is None and self.lasts(each.expires_ms)]
        recurring = {
            (record.id, credit.cadence)
            for record in self.of_wallet(customer, resource)
            if not self.has_ended(record)
            for instant_ms in (record.start_ms, *self.changes_ms(record))
            for credit, _ in self.in_force(record, currency, instant_ms)
        }
        return len(not_ended) + len(recurring) < GRANTS_MAX

    def void(self, customer: str, grant: str, *, currency: str, resource: str | None) -> GrantRecord:
        """Take back what is left of a given grant, whenever it is looked at."""
        self._readable(customer, currency, resource)
        with self._change(customer) as changed:
            grants = changed.grants.get((currency, resource), {})
            if grant not in grants:
                raise NotFound("grant", grant)
            if grants[grant].voided_ms is None:
                grants[grant].voided_ms = self.now_ms
        return grants[grant]

    # --- grants that recur ------------------------------------------------------------------------------------------

    def of_wallet(self, customer: CustomerRecord, resource: str | None) -> list[SubscriptionRecord]:
        """The subscriptions that give to a wallet: those of its resource, or the customer's own."""
        return [each for (of, _), each in customer.subscriptions.items() if of == resource]

    def recurring(self, customer: CustomerRecord, currency: str, resource: str | None) -> Iterator[GrantRecord]:
        """One grant for each period that has begun of each subscription, of months and of years."""
        for record in self.of_wallet(customer, resource):
            for cadence, duration in CADENCES.items():
                schedule = Schedule(Cadence.parse(duration), record.anchor_ms)
                for ordinal in range(schedule.ordinal_at(record.start_ms), schedule.ordinal_at(self.now_ms) + 1):
                    period = Period(schedule.boundary_ms(ordinal), schedule.boundary_ms(ordinal + 1))
                    grant = self.of_period(customer, record, currency, cadence, ordinal, period)
                    if grant is not None:
                        yield grant

    def of_period(
        self,
        customer: CustomerRecord,
        record: SubscriptionRecord,
        currency: str,
        cadence: str,
        ordinal: int,
        period: Period,
    ) -> GrantRecord | None:
        """The grant of one period: it lives as long as both the period and the subscription."""
        start_ms, end_ms = max(period.start_ms, record.start_ms), period.end_ms
        ends_ms = self.ends_ms(record)
        if ends_ms is not None:
            end_ms = min(end_ms, ends_ms)
        if start_ms >= end_ms or start_ms > self.now_ms:
            return None
        inside = [each for each in self.changes_ms(record) if start_ms < each < end_ms]
        amount = self.recurring_amount(
            self.amount_at(record, currency, cadence, instant_ms) for instant_ms in (start_ms, *sorted(inside))
        )
        if not amount:
            return None
        slot = customer.recurring.setdefault((record.resource, record.id, currency, cadence, ordinal), Slot())
        return GrantRecord(
            id=f"{record.id}:{currency}:{cadence}:{ordinal}",
            kind="RECURRING",
            priority=50,
            amount=max(amount, slot.total),
            said=amount,
            effective_ms=start_ms,
            expires_ms=end_ms,
            created_ms=start_ms,
            slot=slot,
            subscription=record.id,
        )

    def recurring_amount(self, amounts: Iterable[Fraction]) -> Fraction:
        """What a period gives: an increase counts at once, a decrease from the next period."""
        return max(amounts)

    def amount_at(self, record: SubscriptionRecord, currency: str, cadence: str, instant_ms: int) -> Fraction:
        in_force = self.in_force(record, currency, instant_ms)
        parts = [credit.amount * quantity for credit, quantity in in_force if credit.cadence == cadence]
        return sum(parts, Fraction(0))

    # --- the wallet -------------------------------------------------------------------------------------------------

    def every_grant(self, customer: CustomerRecord, currency: str, resource: str | None) -> list[GrantRecord]:
        """Every grant that was ever given, and those of each period until now, by the instant it is effective at."""
        given = customer.grants.get((currency, resource), {}).values()
        found = [*given, *self.recurring(customer, currency, resource)]
        return sorted(found, key=lambda each: (each.effective_ms, each.id))

    def status(self, grant: GrantRecord) -> GrantStatus:
        if grant.voided_ms is not None:
            return GrantStatus.VOIDED
        if self.now_ms < grant.effective_ms:
            return GrantStatus.SCHEDULED
        return GrantStatus.ACTIVE if self.is_live(grant) else GrantStatus.EXPIRED

    def is_live(self, grant: GrantRecord) -> bool:
        """Whether a grant can be used now: its expiry is the first instant at which it can't."""
        return grant.voided_ms is None and grant.effective_ms <= self.now_ms and self.lasts(grant.expires_ms)

    def burn_order(self, grants: Iterable[GrantRecord]) -> list[GrantRecord]:
        """Which grant is used first: low priorities, then what expires first, and what was not paid for."""
        return sorted(
            grants,
            key=lambda each: (
                each.priority,
                each.expires_ms is None,
                each.expires_ms or 0,
                KINDS.index(each.kind),
                each.effective_ms,
                each.created_ms,
                each.id,
            ),
        )

    def live_wallet(self, customer: str, currency: str, resource: str | None) -> LiveWallet:
        record = self.customers[customer]
        live = [each for each in self.every_grant(record, currency, resource) if self.is_live(each)]
        is_soft = any(
            credit.is_soft
            for each in self.of_wallet(record, resource)
            if self.applies_at(each, self.now_ms)
            for credit, _ in self.in_force(each, currency, self.now_ms)
        )
        overdraft = record.overdrafts.setdefault((currency, resource), Slot())
        return LiveWallet(customer, currency, resource, tuple(self.burn_order(live)), overdraft, is_soft)

    def satisfied(self, wallet: LiveWallet, amount: Fraction) -> bool:
        return wallet.is_soft or amount <= wallet.balance

    # --- what a call leaves -----------------------------------------------------------------------------------------

    def pay_overdraft(self, purse: Purse) -> None:
        """What every writing call begins with: overdraft is paid out of what the grants have left."""
        for each in purse.wallet.grants:
            part = min(purse.overdraft, purse.left(each))
            purse.used[each.id] += part
            purse.overdraft -= part

    def take(self, purse: Purse, amount: Fraction) -> None:
        """Take an amount out of the grants in burn order; the rest is overdraft."""
        for each in purse.wallet.grants:
            part = min(amount, purse.left(each))
            purse.used[each.id] += part
            amount -= part
        if purse.overdraft + amount > WHOLE_MAX:
            raise OutOfRange(f"{purse.overdraft} + {amount}")
        purse.overdraft += amount

    def give_back(self, purse: Purse, amount: Fraction, dated_ms: int | None = None) -> None:
        """Give an amount back: to overdraft, then to the grants that are burnt last. What is beyond that is dropped.

        A grant that was not there yet, when what is given back was used, gets none of it.
        """
        part = min(amount, purse.overdraft)
        purse.overdraft -= part
        amount -= part
        there = [each for each in purse.wallet.grants if dated_ms is None or each.effective_ms <= dated_ms]
        for each in reversed(there):
            part = min(amount, purse.used[each.id])
            purse.used[each.id] -= part
            amount -= part

    def after(self, wallet: LiveWallet, amount: Fraction, dated_ms: int | None = None) -> Purse:
        """What a wallet is after a call that writes: a negative amount is given back."""
        purse = Purse(wallet)
        self.pay_overdraft(purse)
        if amount < 0:
            self.give_back(purse, -amount, dated_ms)
        else:
            self.take(purse, amount)
        return purse

    # --- reading ----------------------------------------------------------------------------------------------------

    def wallet(self, customer: str, *, currency: str, resource: str | None = None) -> Wallet:
        """Read the live grants in burn order, and what was used beyond them."""
        self._readable(customer, currency, resource)
        return self.wallet_state(self.live_wallet(customer, currency, resource))

    def grants(self, customer: str, *, currency: str, resource: str | None = None) -> tuple[GrantState, ...]:
        """Read the ledger: every grant that ever was, and what became of it."""
        record = self._readable(customer, currency, resource)
        every = self.every_grant(record, currency, resource)
        return tuple(self.grant_state(each, currency, resource) for each in every)

    def _readable(self, customer: str, currency: str, resource: str | None) -> CustomerRecord:
        record = self.of_resource(customer, resource)
        if currency not in self.currencies:
            raise NotFound("currency", currency)
        return record

    def wallet_state(self, wallet: LiveWallet) -> Wallet:
        return Wallet(
            customer=wallet.customer,
            currency=wallet.currency,
            resource=wallet.resource,
            grants=tuple(self.grant_state(each, wallet.currency, wallet.resource) for each in wallet.grants),
            overdraft=float(wallet.overdraft.total),
            is_soft=wallet.is_soft,
            read_at_ms=self.now_ms,
        )

    def grant_state(self, grant: GrantRecord, currency: str, resource: str | None) -> GrantState:
        return GrantState(
            id=grant.id,
            currency=currency,
            resource=resource,
            kind=GrantKind(grant.kind),
            status=self.status(grant),
            priority=grant.priority,
            amount=float(grant.amount if grant.said is None else max(grant.said, grant.slot.total)),
            consumed=float(grant.slot.total),
            held=float(grant.slot.held),
            effective_at_ms=grant.effective_ms,
            expires_at_ms=grant.expires_ms,
            subscription=grant.subscription,
            display_name=grant.display_name,
            created_at_ms=grant.created_ms,
            voided_at_ms=grant.voided_ms,
        )
