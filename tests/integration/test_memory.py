"""What answers take in memory: a small run of `make memory`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BOUND = 6 << 20


def test_a_process_grows_by_less_than_twice_the_bound_and_reads_again_what_it_evicted() -> None:
    command = [sys.executable, "loadtests/memory.py", "--customers", "6000", "--bound", str(BOUND)]
    path = f"{ROOT / 'engine'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found["grown_bytes"] < 2 * BOUND
    assert (found["read_again"], found["wrong"]) == (1_000, [])
    assert found["kept_bytes"] <= BOUND < found["kept_bytes"] + 10_000
