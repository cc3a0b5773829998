"""The state machine for as long as HEADGATE_FUZZ_SECONDS says, a new seed each round, every target in turn."""

from __future__ import annotations

import itertools
import os
import time

import pytest

from model.agreeing import Agreeing
from model.commerce_machine import Credits
from model.hold_machine import Holds
from model.machine import Agreement
from model.running import new_seed, run
from model.targets import EVERY_TARGET, Targets

SECONDS_VARIABLE = "HEADGATE_FUZZ_SECONDS"
MACHINES_VARIABLE = "HEADGATE_FUZZ_MACHINES"
MACHINES = {machine.__name__: machine for machine in (Agreement, Credits, Holds)}


@pytest.mark.slow
def test_the_engine_and_the_model_agree_for_as_long_as_told(
    targets: Targets, capsys: pytest.CaptureFixture[str]
) -> None:
    end_s = time.monotonic() + float(os.environ.get(SECONDS_VARIABLE, "60"))
    named = os.environ.get(MACHINES_VARIABLE, "Agreement Credits Holds").split()
    rounds = itertools.cycle(itertools.product(EVERY_TARGET, [MACHINES[name] for name in named]))
    for round_number, (name, machine) in enumerate(rounds, start=1):
        if time.monotonic() >= end_s:
            break
        with capsys.disabled():
            number = new_seed()
            print(f"\nround {round_number}: {name}, {machine.__name__}, seed {number}", end="", flush=True)
        run(targets.start(name), machine, examples=20, steps=60, shrink=True, number=number)
        with capsys.disabled():
            print(f": {Agreeing.steps_of_all:,} steps in all", end="", flush=True)
