"""Add up what calls were told, and say whether counters stand at exactly that.

What it promises: everything in a `Tally` comes from the replies of calls, never from a counter that was read. Sums are
of whole hundred-thousandths, so they are exact. A tally goes through JSON unchanged, and two of them can be added: so
several processes can each keep their own.

How exactness is told: each grant is put down under each constraint of its reply, and under the period that the reply
names. At the end, a counter that was read must equal the sum of its period; and within every period, also those that
are over, the highest number that any reply named must equal the sum, else something was counted that nobody was
granted. A call whose outcome is unknown may have been counted on any constraint of its customer and feature, or on
none: the sums are then the lower end of a range. Credits, and budgets for them, are not added up: what they count is
not what the calls asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from headgate.amounts import STEPS_PER_UNIT, as_number
from headgate.errors import OutcomeUnknown
from headgate.model.decision import ConstraintState, Decision


@dataclass(frozen=True, slots=True, order=True)
class BudgetKey:
    """Which constraint: `entity` is empty for the account level, so that keys have an order."""

    customer: str
    feature: str
    entity: str
    scope: tuple[str, ...]

    @classmethod
    def of(cls, customer: str, feature: str | None, state: ConstraintState) -> BudgetKey:
        """Name the constraint whose state it is."""
        return cls(customer, feature or "", state.entity or "", state.scope)

    @property
    def name(self) -> str:
        """The name that people know it by."""
        if not self.entity:
            return "account"
        return self.entity + (f"[{','.join(self.scope)}]" if self.scope else "")


@dataclass(slots=True)
class PeriodTally:
    """One period of one constraint: what was granted in it, and the highest number that a reply named (in steps)."""

    granted_steps: int = 0
    highest_steps: int = 0


@dataclass(slots=True)
class BudgetTally:
    """One constraint: how many calls it refused as the binding one, when first, and its periods by their start."""

    refused: int = 0
    first_refused_ms: int | None = None
    periods: dict[int, PeriodTally] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What calls were told, added up."""

    granted: int = 0
    refused: int = 0
    refused_by_nobody: Counter[str] = field(default_factory=Counter)
    """Refusals that no limit of the feature made, by reason."""
    errors: Counter[str] = field(default_factory=Counter)
    """By code."""
    unknown_steps: dict[tuple[str, str], int] = field(default_factory=dict)
    """By customer and feature: what calls asked for whose outcome is unknown."""
    latencies_ms: list[float] = field(default_factory=list)
    budgets: dict[BudgetKey, BudgetTally] = field(default_factory=dict)

    @property
    def decisions(self) -> int:
        """How many calls were granted or refused."""
        return self.granted + self.refused

    def add(self, decision: Decision, amount: float, latency_ms: float) -> None:
        """Put down one answer."""
        self.latencies_ms.append(latency_ms)
        amount_steps = steps(amount)
        for state in decision.constraints:
            if state.currency is not None:
                continue
            budget = self._budget(BudgetKey.of(decision.customer, decision.feature, state))
            period = budget.periods.get(state.period.start_ms)
            if period is None:
                period = budget.periods[state.period.start_ms] = PeriodTally()
            period.highest_steps = max(period.highest_steps, steps(state.used))
            if decision.granted:
                period.granted_steps += amount_steps
        if decision.granted:
            self.granted += 1
            return
        self.refused += 1
        if decision.binding is None or decision.binding.currency is not None:
            self.refused_by_nobody[str(decision.reason)] += 1
            return
        binding = self._budget(BudgetKey.of(decision.customer, decision.feature, decision.binding))
        binding.refused += 1
        if binding.first_refused_ms is None or decision.decided_at_ms < binding.first_refused_ms:
            binding.first_refused_ms = decision.decided_at_ms

    def add_error(self, error: Exception, *, customer: str, feature: str, amount: float) -> None:
        """Put down a call that had no answer."""
        self.errors[getattr(error, "code", type(error).__name__)] += 1
        if isinstance(error, OutcomeUnknown):
            place = (customer, feature)
            self.unknown_steps[place] = self.unknown_steps.get(place, 0) + steps(amount)

    def add_all(self, other: Tally) -> None:
        """Add what another process or task put down."""
        self.granted += other.granted
        self.refused += other.refused
        self.refused_by_nobody += other.refused_by_nobody
        self.errors += other.errors
        for place, unknown in other.unknown_steps.items():
            self.unknown_steps[place] = self.unknown_steps.get(place, 0) + unknown
        self.latencies_ms += other.latencies_ms
        for key, theirs in other.budgets.items():
            ours = self._budget(key)
            ours.refused += theirs.refused
            firsts = [first for first in (ours.first_refused_ms, theirs.first_refused_ms) if first is not None]
            ours.first_refused_ms = min(firsts, default=None)
            for start_ms, period in theirs.periods.items():
                mine = ours.periods.setdefault(start_ms, PeriodTally())
                mine.granted_steps += period.granted_steps
                mine.highest_steps = max(mine.highest_steps, period.highest_steps)

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the answers did not exceed; 0 where there was no answer."""
        if not self.latencies_ms:
            return 0.0
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def to_json(self) -> str:
        """Write it for another process."""
        budgets = [
            [
                *(key.customer, key.feature, key.entity, key.scope, budget.refused, budget.first_refused_ms),
                [[start, period.granted_steps, period.highest_steps] for start, period in budget.periods.items()],
            ]
            for key, budget in self.budgets.items()
        ]
        return json.dumps(
            {
                "granted": self.granted,
                "refused": self.refused,
                "refused_by_nobody": self.refused_by_nobody,
                "errors": self.errors,
                "unknown_steps": [[*place, unknown] for place, unknown in self.unknown_steps.items()],
                "latencies_ms": [round(latency, 3) for latency in self.latencies_ms],
                "budgets": budgets,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        told: dict[str, Any] = json.loads(text)
        budgets = {
            BudgetKey(customer, feature, entity, tuple(scope)): BudgetTally(
                refused, first_ms, {start: PeriodTally(granted, highest) for start, granted, highest in periods}
            )
            for customer, feature, entity, scope, refused, first_ms, periods in told["budgets"]
        }
        return cls(
            granted=told["granted"],
            refused=told["refused"],
            refused_by_nobody=Counter(told["refused_by_nobody"]),
            errors=Counter(told["errors"]),
            unknown_steps={(customer, feature): unknown for customer, feature, unknown in told["unknown_steps"]},
            latencies_ms=told["latencies_ms"],
            budgets=budgets,
        )

    def _budget(self, key: BudgetKey) -> BudgetTally:
        budget = self.budgets.get(key)
        if budget is None:
            budget = self.budgets[key] = BudgetTally()
        return budget


def steps(amount: float) -> int:
    """An amount in whole hundred-thousandths, exactly; a counter that holds no number is none of them: -1."""
    if isinstance(amount, int) or amount.is_integer():
        return int(amount) * STEPS_PER_UNIT
    if amount != amount or amount in (float("inf"), float("-inf")):
        return -1
    return int((Decimal(repr(amount)) * STEPS_PER_UNIT).to_integral_value())


def amount_of(whole_steps: int) -> float | int:
    """Turn hundred-thousandths back into an amount."""
    return as_number(whole_steps / STEPS_PER_UNIT) if whole_steps % STEPS_PER_UNIT else whole_steps // STEPS_PER_UNIT


@dataclass(frozen=True, slots=True)
class Audit:
    """Whether counters stand at what was granted. `differences` says each that does not, as a sentence."""

    counters: int
    differing: int
    differences: tuple[str, ...]
    unknown: float | int
    within_unknown: bool

    @property
    def exact(self) -> bool:
        """Whether every counter equals exactly what was granted."""
        return not self.differences

    def __str__(self) -> str:
        if self.exact:
            return f"Exact: every one of {self.counters} counters equals what was granted, to the unit."
        if self.within_unknown:
            return (
                f"Within a range: calls that asked for {self.unknown:,} have an unknown outcome, and every one of "
                f"{self.counters} counters lies between what was granted and that much more."
            )
        return f"NOT EXACT: {self.differing} of {self.counters} counters differ from what was granted."


def audit(tally: Tally, standing: Mapping[BudgetKey, ConstraintState]) -> Audit:
    """Hold counters as they were read at the end, after the last call, against the sums of the tally."""
    differences: list[str] = []
    differing: set[BudgetKey] = set()
    within_unknown = True
    for key, surplus, sentence in _differences(tally, standing):
        if surplus == 0:
            continue
        differences.append(sentence)
        differing.add(key)
        within_unknown &= 0 < surplus <= tally.unknown_steps.get((key.customer, key.feature), 0)
    unknown = amount_of(sum(tally.unknown_steps.values()))
    return Audit(
        len(standing), len(differing), tuple(differences), unknown, bool(tally.unknown_steps) and within_unknown
    )


def _differences(tally: Tally, standing: Mapping[BudgetKey, ConstraintState]) -> Iterator[tuple[BudgetKey, int, str]]:
    """Give every comparison: the constraint, by how much the counter is above what was granted, and a sentence."""
    for key, state in standing.items():
        budget = tally.budgets.get(key, BudgetTally())
        granted = budget.periods.get(state.period.start_ms, PeriodTally()).granted_steps
        counted = steps(state.used)
        sentence = f"{key.customer}, {key.name}: counted {amount_of(counted):,}, granted {amount_of(granted):,}"
        yield key, counted - granted, sentence
    for key, budget in tally.budgets.items():
        if key not in standing:
            yield key, -1, f"{key.customer}, {key.name}: decided about calls, and is not there any more"
        for start_ms, period in budget.periods.items():
            highest, granted = period.highest_steps, period.granted_steps
            sentence = (
                f"{key.customer}, {key.name}, period of {start_ms}: "
                f"replies went up to {amount_of(highest):,}, granted {amount_of(granted):,}"
            )
            yield key, highest - granted, sentence
