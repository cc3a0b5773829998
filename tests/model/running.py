"""Running the state machine with a seed that is said when it fails, so that the run can be had again.

A failure in `make test` is shown as it was found: shrinking takes minutes. Whoever names the seed, or fuzzes, has the
time for it.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.agreeing import Agreeing, machine_for
from model.machine import Agreement
from model.reference import Reference
from model.targets import Target

SEED_VARIABLE = "HEADGATE_SEED"
SEED_OF_THE_SUITE = 20_261_122
"""The runs of `make test` are the same ones each time; `make fuzz` goes where nobody has been."""


def run(
    target: Target,
    machine: type[Agreeing] = Agreement,
    *,
    examples: int,
    steps: int,
    shrink: bool = False,
    number: int | None = None,
) -> None:
    """Try so many runs of so many steps, from the seed that the environment or the caller names, or one nobody saw."""
    given = os.environ.get(SEED_VARIABLE)
    if given:
        number = int(given)
    elif number is None:
        number = new_seed()
    budget = _budget(examples, steps, shrink=shrink or given is not None)
    try:
        run_state_machine_as_test(seed(number)(machine_for(machine, target)), settings=budget)
    except BaseException as error:
        error.add_note(f"{SEED_VARIABLE}={number} has this run again, with {target.name}, and looks for a shorter one")
        raise


def new_seed() -> int:
    """A seed that nobody saw."""
    return random.SystemRandom().getrandbits(32)


def notices(
    target: Target,
    model_type: type[Reference],
    machine: type[Agreeing] = Agreement,
    *,
    examples: int,
    steps: int,
    number: int,
) -> bool:
    """Whether a wrong model is noticed within a budget."""
    budget = settings(_budget(examples, steps, shrink=False), verbosity=Verbosity.quiet)
    try:
        run_state_machine_as_test(seed(number)(machine_for(machine, target, model_type)), settings=budget)
    except AssertionError:
        return True
    return False


def _budget(examples: int, steps: int, *, shrink: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
