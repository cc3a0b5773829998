"""Two engines on one environment, and a model: how they are asked the same, and how time passes for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from headgate.clock import ManualClock
from headgate.errors import BatchIncomplete, HeadgateError
from model import vocabulary as words
from model.comparing import comparable, differences, wrong_rests
from model.reference import Reference
from model.targets import Target

EARLIEST_MS = min(words.STARTS_MS) - 2 * words.YEAR_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Engine = Any
"""`Headgate`, or `AsyncHeadgate` behind a portal that awaits for us: both have the same methods."""


def instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


class Agreeing(RuleBasedStateMachine):
    """What every machine has. Subclasses bring the rules; `machine_for` names a target, and perhaps a wrong model."""

    target: ClassVar[Target]
    model_type: ClassVar[type[Reference]] = Reference
    steps_of_all: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(words.STARTS_MS[0])
        self.model = self.model_type(self.clock.now_ms)
        self.engines: Sequence[Engine] = self.target.open_two(self.clock)
        self.acted = 0
        self.steps = 0

    def teardown(self) -> None:
        Agreeing.steps_of_all += self.steps
        for engine in self.engines:
            engine.close()
        self.target.forget()

    # --- agreement --------------------------------------------------------------------------------------------------

    def agree(self, second: bool, ask: Callable[[Engine], object], expect: Callable[[Reference], object]) -> None:
        """Do the same on an engine and on the model: the answers are equal, or both raise the same error."""
        self.acted = int(second)
        same(lambda: ask(self.engines[self.acted]), lambda: expect(self.model))

    def set_up(self, second: bool, ask: Callable[[Engine], object], expect: Callable[[Reference], None]) -> None:
        """Like `agree`, for calls whose answer is not looked at: what they wrote is read by everything else."""
        self.agree(second, lambda engine: ask(engine) and None, expect)

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(step_ms=words.steps_forward_ms, times=st.integers(1, 3))
    def wait(self, step_ms: int, times: int) -> None:
        self.go_to(self.clock.now_ms + step_ms * times)

    @rule(step_ms=words.steps_back_ms)
    def step_back(self, step_ms: int) -> None:
        self.go_to(self.clock.now_ms - step_ms)

    @rule(place=words.near_places, near_ms=words.near)
    def wait_for_a_boundary(self, place: int, near_ms: int) -> None:
        """Go to the end of some period, to the millisecond before it, or to the one after."""
        self.go_to(self.boundary_ms(place, near_ms, ahead=True))

    @rule(place=st.integers(0, 30), near_ms=words.near)
    def step_back_to_a_boundary(self, place: int, near_ms: int) -> None:
        self.go_to(self.boundary_ms(place, near_ms, ahead=False))

    def go_to(self, now_ms: int) -> None:
        self.clock.set(max(now_ms, EARLIEST_MS))
        self.model.now_ms = self.clock.now_ms

    def boundary_ms(self, place: int, near_ms: int, *, ahead: bool) -> int:
        """Give the start (or, ahead, the end) of one of the periods that are running."""
        edges = self.edges_ms(ahead=ahead) or [self.clock.now_ms]
        return edges[place % len(edges)] + near_ms

    def edges_ms(self, *, ahead: bool) -> list[int]:
        """The instants to go to: those of budgets and account levels."""
        return sorted({period.end_ms if ahead else period.start_ms for period in self.model.periods()})


def same(ask: Callable[[], object], expect: Callable[[], object]) -> None:
    """Hold an answer of an engine, or its error, against the model's."""
    answer, error = _outcome(lambda: comparable(ask()))
    expected, expected_error = _outcome(lambda: comparable(expect()))
    if type(error) is not type(expected_error):
        raise AssertionError(
            f"the engine {_told(error)}, the model {_told(expected_error)}; they answer {answer!r} and {expected!r}"
        ) from error
    found = [*differences(answer, expected), *wrong_rests(answer)]
    if isinstance(error, BatchIncomplete) and isinstance(expected_error, BatchIncomplete):
        receipts = comparable(list(error.receipts)), comparable(list(expected_error.receipts))
        found += [*differences(error.outcomes, expected_error.outcomes, "outcomes"), *differences(*receipts)]
        found += differences(type(error.cause), type(expected_error.cause), "cause")
    assert not found, "\n".join(found)


def _outcome(do: Callable[[], object]) -> tuple[object, HeadgateError | None]:
    try:
        return do(), None
    except HeadgateError as error:
        return None, error


def _told(error: HeadgateError | None) -> str:
    return "answers" if error is None else f"raises {type(error).__name__}: {error}"


def machine_for(machine: type[Agreeing], target: Target, model_type: type[Reference] = Reference) -> type[Agreeing]:
    """Make a machine of one target, held against one model."""
    return type(f"{machine.__name__}_{target.name}", (machine,), {"target": target, "model_type": model_type})
