"""The engine and the reference model never disagree; and a model that is wrong about one rule is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest

from headgate.periods import Period
from model.limits import Constraint
from model.records import Counter, CustomerRecord, EntityRecord, Slot
from model.reference import Reference
from model.running import notices, run
from model.targets import ASYNC, CLUSTERS, IN_PROCESS, SYNC, Target

STEPS = 30


@pytest.mark.parametrize("target", SYNC, indirect=True)
def test_the_sync_client_and_the_model_never_disagree(target: Target) -> None:
    run(target, examples=60, steps=STEPS)


@pytest.mark.parametrize("target", ASYNC, indirect=True)
def test_the_async_client_and_the_model_never_disagree(target: Target) -> None:
    run(target, examples=15, steps=STEPS)


@pytest.mark.parametrize("target", CLUSTERS, indirect=True)
def test_a_cluster_and_the_model_never_disagree(target: Target) -> None:
    run(target, examples=10, steps=STEPS)


@pytest.mark.parametrize("target", IN_PROCESS, indirect=True)
def test_the_in_process_engine_and_the_model_never_disagree(target: Target) -> None:
    run(target, examples=4, steps=STEPS)


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


@pytest.mark.parametrize("model_type", WRONG_MODELS)
@pytest.mark.parametrize("target", SYNC[:1], indirect=True)
def test_a_model_that_is_wrong_about_one_rule_is_noticed(target: Target, model_type: type[Reference]) -> None:
    """With a seed that stays the same: the test shows that the machine can fail, not that luck is on its side."""
    assert notices(target, model_type, examples=60, steps=STEPS, number=1)
