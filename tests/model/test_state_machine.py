"""The engine and the reference model never disagree; and a model that is wrong about one rule is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import pytest

from headgate.periods import Period
from model.agreeing import Agreeing
from model.commerce_machine import Credits
from model.hold_machine import Holds
from model.limits import Constraint
from model.machine import Agreement
from model.records import (
    Counter,
    CustomerRecord,
    EntityRecord,
    GrantRecord,
    HoldRecord,
    Package,
    PackageTerms,
    Part,
    Slot,
    Terms,
)
from model.reference import Reference
from model.running import SEED_OF_THE_SUITE, notices, run
from model.targets import ASYNC, CLUSTERS, IN_PROCESS, SYNC, Target
from model.wallets import Purse

STEPS = 30
NOTICED_WITHIN = 20


MACHINES: tuple[type[Agreeing], ...] = (Agreement, Credits, Holds)
every_machine = pytest.mark.parametrize("machine", MACHINES)


def runs(machine: type[Agreeing], *, of_the_others: int) -> int:
    """How often a machine runs: a step of reservations asks for more than one of the others."""
    return max(1, of_the_others // 3) if machine is Holds else of_the_others


@every_machine
@pytest.mark.parametrize("target", SYNC, indirect=True)
def test_the_sync_client_and_the_model_never_disagree(target: Target, machine: type[Agreeing]) -> None:
    run(target, machine, examples=runs(machine, of_the_others=25), steps=STEPS, number=SEED_OF_THE_SUITE)


@every_machine
@pytest.mark.parametrize("target", ASYNC, indirect=True)
def test_the_async_client_and_the_model_never_disagree(target: Target, machine: type[Agreeing]) -> None:
    run(target, machine, examples=runs(machine, of_the_others=6), steps=STEPS, number=SEED_OF_THE_SUITE)


@every_machine
@pytest.mark.parametrize("target", CLUSTERS, indirect=True)
def test_a_cluster_and_the_model_never_disagree(target: Target, machine: type[Agreeing]) -> None:
    run(target, machine, examples=runs(machine, of_the_others=4), steps=STEPS, number=SEED_OF_THE_SUITE)


@every_machine
@pytest.mark.parametrize("target", IN_PROCESS, indirect=True)
def test_the_in_process_engine_and_the_model_never_disagree(target: Target, machine: type[Agreeing]) -> None:
    run(target, machine, examples=runs(machine, of_the_others=2), steps=STEPS, number=SEED_OF_THE_SUITE)


class RefusesTheLastUnit(Reference):
    def fits(self, after: Fraction, limit: Fraction) -> bool:
        return after < limit


class LetsAPeriodGoBack(Reference):
    def stands_at(self, slot: Slot, period: Period) -> Counter:
        stands = super().stands_at(slot, period)
        return stands if stands.start_ms == period.start_ms else Counter(period.start_ms, Fraction(0))


class TrustsAWildClock(Reference):
    def stands_at(self, slot: Slot, period: Period) -> Counter:
        stored = slot.counter
        return stored if stored and stored.start_ms > period.start_ms else super().stands_at(slot, period)


class CountsSharedAncestorsTwice(Reference):
    def counted_once(self, constraints: Iterable[Constraint]) -> list[Constraint]:
        return list(constraints)


class AppliesAScopeInPart(Reference):
    def applies(self, scope: tuple[str, ...], present: frozenset[str]) -> bool:
        return not scope or not present.isdisjoint(scope)


class LiftsWhatIsAboveAnArchivedTeam(Reference):
    def walk(self, customer: CustomerRecord, leaf: EntityRecord) -> list[EntityRecord]:
        nodes = super().walk(customer, leaf)
        return nodes[: next((index for index, node in enumerate(nodes) if node.is_archived), len(nodes))]


class IgnoresTheDateOfACorrection(Reference):
    def is_too_old(self, dated_ms: int | None, start_ms: int) -> bool:
        return False


class AllowsAFifthLevel(Reference):
    def height(self, customer: CustomerRecord, entity: EntityRecord) -> int:
        return super().height(customer, entity) - 1


class PaysOverdraftLast(Reference):
    def pay_overdraft(self, purse: Purse) -> None:
        pass


class BurnsTheLastGrantFirst(Reference):
    def burn_order(self, grants: Iterable[GrantRecord]) -> list[GrantRecord]:
        return super().burn_order(grants)[::-1]


class AddsWhatOverrides(Reference):
    def overridden(self, plan: PackageTerms | None, override: Terms) -> Terms:
        return override if plan is None else self.added([plan.terms, override])


class IsThereAtTheInstantThatItExpires(Reference):
    def lasts(self, expires_ms: int | None) -> bool:
        return expires_ms is None or self.now_ms <= expires_ms


class DoesNotSeeAPlansEdit(Reference):
    def edited(self, known: Package | None, written: Package) -> Package:
        edited = super().edited(known, written)
        return edited if known is None else replace(edited, entitlements=known.entitlements)


class GivesLessAtOnce(Reference):
    def recurring_amount(self, amounts: Iterable[Fraction]) -> Fraction:
        return list(amounts)[-1]


class GivesCreditsBackToTheFirstGrant(Reference):
    def give_back(self, purse: Purse, amount: Fraction, dated_ms: int | None = None) -> None:
        purse.wallet = replace(purse.wallet, grants=purse.wallet.grants[::-1])
        super().give_back(purse, amount, dated_ms)
        purse.wallet = replace(purse.wallet, grants=purse.wallet.grants[::-1])


class DoesNotCountWhatIsHeld(Reference):
    def weighs(self, slot: Slot) -> Fraction:
        return Fraction(0)


class KeepsWhatWasSettled(Reference):
    def take_back(self, record: HoldRecord) -> None:
        if not self.is_due(record):
            record.is_held = False
        else:
            super().take_back(record)


class CountsInTheNewPeriod(Reference):
    def belongs(self, part: Part, counter: Counter) -> bool:
        return True


class FreesAHoldTwice(Reference):
    def is_due(self, record: HoldRecord) -> bool:
        return record.status in ("OPEN", "EXPIRED") and record.expires_ms <= self.now_ms


class FreesForWhomItGrants(Reference):
    def frees_first(self, *, granted: bool) -> bool:
        return True


class ForgetsALateSettle(Reference):
    def count_settled(self, record: HoldRecord, amount: Fraction, credits: Fraction, *, was_held: bool) -> None:
        if was_held:
            super().count_settled(record, amount, credits, was_held=was_held)


class LeavesWhatASettleOwesUnpaid(Reference):
    def let_grants_pay(self, customer: str, record: HoldRecord) -> None:
        """Leave it to the next call that writes."""


class BurnsAKeyWithARefusal(Reference):
    def burns_when_refused(self) -> bool:
        return True


WRONG_MODELS = (
    RefusesTheLastUnit,
    LetsAPeriodGoBack,
    TrustsAWildClock,
    CountsSharedAncestorsTwice,
    AppliesAScopeInPart,
    LiftsWhatIsAboveAnArchivedTeam,
    IgnoresTheDateOfACorrection,
    AllowsAFifthLevel,
)


WRONG_ABOUT_CREDITS = (
    PaysOverdraftLast,
    BurnsTheLastGrantFirst,
    AddsWhatOverrides,
    IsThereAtTheInstantThatItExpires,
    DoesNotSeeAPlansEdit,
    GivesLessAtOnce,
    GivesCreditsBackToTheFirstGrant,
)

WRONG_ABOUT_HOLDS = (
    DoesNotCountWhatIsHeld,
    KeepsWhatWasSettled,
    CountsInTheNewPeriod,
    FreesAHoldTwice,
    FreesForWhomItGrants,
    ForgetsALateSettle,
    LeavesWhatASettleOwesUnpaid,
    BurnsAKeyWithARefusal,
)


@pytest.mark.parametrize(
    ("model_type", "machine"),
    [
        *((each, Agreement) for each in WRONG_MODELS),
        *((each, Credits) for each in WRONG_ABOUT_CREDITS),
        *((each, Holds) for each in WRONG_ABOUT_HOLDS),
    ],
)
@pytest.mark.parametrize("target", SYNC[:1], indirect=True)
def test_a_model_that_is_wrong_about_one_rule_is_noticed(
    target: Target, model_type: type[Reference], machine: type[Agreeing]
) -> None:
    """With a seed that stays the same: the test shows that the machine can fail, not that luck is on its side."""
    assert notices(target, model_type, machine, examples=NOTICED_WITHIN, steps=STEPS, number=1)


@every_machine
@pytest.mark.parametrize("target", SYNC[:1], indirect=True)
def test_a_right_model_passes_with_the_seed_that_the_wrong_ones_are_noticed_with(
    target: Target, machine: type[Agreeing]
) -> None:
    assert not notices(target, Reference, machine, examples=NOTICED_WITHIN, steps=STEPS, number=1)
