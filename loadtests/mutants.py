"""Mutants: change one line of the Lua, and see that a test fails. A mutant that survives is a rule that nothing tests.

    make mutants                              all of them, 2 at a time
    make mutants ARGS="--only window"         those whose name holds "window"
    make mutants ARGS="--list"                what there is to change, and why it would be wrong

Each mutant is applied to a temporary copy of the checkout, and the copy's own tests/scenarios run on it until the
first test fails. First they run on a copy without a change, where they have to pass: otherwise every mutant would seem
to be found. Ends with 1 if a mutant survives, and with 2 if something else went wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutations import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("lua", "engine", "tests", "examples", "loadtests", "pyproject.toml")
# What only compares lines of the Lua with a list (headers, this list) is left out: it would fail for every mutant.
TESTS = ("tests/scenarios",)
# Most mutants are found quickly, on one server, by these; those that are not are tried on all.
FIRST = (
    *("-k", "redis-7.0"),
    *(
        f"tests/scenarios/test_{name}.py"
        for name in (
            "tokens",
            "time",
            "rules",
            "amounts_on_servers",
            "environments",
            "wallets_on_servers",
            "holds",
            "holds_due",
            "keys",
        )
    ),
)
LEFT_OUT = "tests/scenarios/test_mutants.py"
WITNESS = "mutants_witness"
WITNESS_SOURCE = '''\
"""Fails the run if other scripts than those of the copy are tested."""

import os
from pathlib import Path

from headgate.scripts import load_scripts, lua_root


def pytest_sessionstart() -> None:
    assert lua_root() == Path(os.environ["MUTANTS_COPY"], "lua"), lua_root()
    changed = os.environ["MUTANTS_LINE"].encode()
    sources = [script.source for clock in ("server", "given") for script in load_scripts(clock=clock)]
    assert any(changed in source for source in sources), changed
'''
TESTS_FAILED, ALL_PASSED, NONE_CHOSEN = 1, 0, 5


class BrokenMutant(Exception):
    """A mutant that does not fit the code, or tests that did not run: mend the list."""


def apply(mutant: Mutant, root: Path) -> None:
    """Change the line in a copy; raise if it is not there exactly once."""
    file = root / mutant.file
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = [index for index, line in enumerate(lines) if line.strip() == mutant.old]
    if len(found) != 1:
        raise BrokenMutant(f"{mutant.name}: {mutant.file} has the line {len(found)} times: {mutant.old}")
    lines[found[0]] = mutant.new
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_copy(checkout: Path, folder: Path) -> Path:
    """Copy what the tests need; caches stay behind."""
    root = folder / "checkout"
    root.mkdir()
    for name in COPIED:
        source = checkout / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        elif source.exists():
            shutil.copy2(source, root / name)
    (root / f"{WITNESS}.py").write_text(WITNESS_SOURCE, encoding="utf-8")
    return root


def run_tests(root: Path, line: str, tests: Sequence[str]) -> tuple[int, str]:
    """Run the copy's tests on the copy until the first failure; return pytest's code, and what it said last."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    command += ["-p", WITNESS, "--rootdir", str(root), "-o", f"pythonpath={root}/engine {root}/tests"]
    command += [f"--ignore={LEFT_OUT}", *tests]
    paths = os.pathsep.join(str(root / name) for name in ("", "engine", "tests"))
    environment = os.environ | {"PYTHONPATH": paths, "MUTANTS_COPY": str(root), "MUTANTS_LINE": line}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


def try_one(mutant: Mutant | None, checkout: Path) -> str | None:
    """Run the tests with a mutant, or without one; return the test that failed first, or None if all passed."""
    with tempfile.TemporaryDirectory(prefix="headgate-mutants-") as folder:
        root = make_copy(checkout, Path(folder))
        if mutant is None:
            code, said = run_tests(root, "", TESTS)
        else:
            apply(mutant, root)
            code, said = run_tests(root, mutant.new, FIRST)
            if code in (ALL_PASSED, NONE_CHOSEN):
                code, said = run_tests(root, mutant.new, TESTS)
    if code == ALL_PASSED:
        return None
    failed = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if code != TESTS_FAILED or not failed:
        raise BrokenMutant(f"{mutant.name if mutant else 'no change'}: the tests did not run (code {code}):\n{said}")
    return failed[0].split(" ", 1)[1].partition(" - ")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants, show a table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="those whose name holds this")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="show them and change nothing")
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    if not chosen:
        parser.error(f"no mutant has {options.only!r} in its name")
    if options.list:
        for mutant in chosen:
            print(f"{mutant.name}: {mutant.why}\n  {mutant.file}\n  - {mutant.old}\n  + {mutant.new}")
        return 0
    try:
        # One copy at the start: whoever edits the checkout meanwhile changes nothing here.
        with tempfile.TemporaryDirectory(prefix="headgate-mutants-") as folder:
            return try_all(chosen, make_copy(ROOT, Path(folder)), jobs=options.jobs)
    except BrokenMutant as error:
        print(error, file=sys.stderr)
        return 2


def try_all(chosen: Sequence[Mutant], checkout: Path, *, jobs: int) -> int:
    """Try the tests without a change, then each mutant."""
    print(f"without a change, {TESTS[0]} has to pass …", flush=True)
    if (failed := try_one(None, checkout)) is not None:
        raise BrokenMutant(f"without a change, {failed} fails: mend that first")
    begun_s = time.monotonic()

    def tried(numbered: tuple[int, Mutant]) -> tuple[Mutant, str | None]:
        number, mutant = numbered
        found_by = try_one(mutant, checkout)
        seconds = time.monotonic() - begun_s
        print(f"{number:3} of {len(chosen)}, {seconds:4.0f} s: {mutant.name}: {found_by or 'SURVIVED'}", flush=True)
        return mutant, found_by

    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(tried, enumerate(chosen, start=1)))
    width = max(len(mutant.name) for mutant in chosen)
    print()
    for mutant, found_by in outcomes:
        print(f"{mutant.name:{width}}  {'found by ' + found_by if found_by else 'SURVIVED: ' + mutant.why}")
    survivors = sum(found_by is None for _, found_by in outcomes)
    print(f"\n{len(chosen)} mutants, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
