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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("lua", "engine", "tests", "examples", "loadtests", "pyproject.toml")
# What only compares lines of the Lua with a list (headers, this list) is left out: it would fail for every mutant.
TESTS = ("tests/scenarios",)
# Most mutants are found quickly, on one server, by these; those that are not are tried on all.
FIRST = (
    *("-k", "redis-7.0"),
    *(f"tests/scenarios/test_{name}.py" for name in ("tokens", "time", "rules", "amounts_on_servers", "environments")),
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


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line of one file, what to put in its place, and what would go wrong with it."""

    name: str
    file: str
    old: str
    new: str
    why: str


class BrokenMutant(Exception):
    """A mutant that does not fit the code, or tests that did not run: mend the list."""


GUARD, DECISION, CARE = "lua/lib/guard.lua", "lua/lib/decision.lua", "lua/lib/with_care.lua"
COUNTERS, AMOUNTS, CONSUME, REPORT = "lua/lib/counters.lua", "lua/lib/amounts.lua", "lua/consume.lua", "lua/report.lua"
CONFIGURE, RAISE, CATALOG = "lua/configure.lua", "lua/raise_partition.lua", "lua/write_catalog.lua"

STAMP = "if catalog_token ~= argv[1] or (values[1] or '') ~= argv[2] then return STALE, now_ms end"
WINDOW = "if now_ms < from_ms or now_ms >= until_ms then return MOVED_ON, now_ms end"
ROLL = "if start < start_ms then return start_ms, 0, held, 0 end"
WILD = "if start > now_ms + length_ms then return start_ms, used, held, 1 end"
SATISFIED = "elseif not (total <= limit) then"
CONFIGURED = (
    "if current ~= catalog_token or (call('HGET', usage, '@v') or '') ~= version then return { STALE, now_ms } end"
)
VERSION_WRITTEN = "call('HSET', usage, '@v', new_version, '@n', next_number)"
NEWER = "if current_high > high or (current_high == high and current_low >= low) then return { STALE, current } end"
STEPS = "local sum = (math.floor(a * 100000 + 0.5) + math.floor(b * 100000 + 0.5)) / 100000"
NOTHING = "do end -- left out"

MUTANTS = (
    Mutant("no stamp", GUARD, STAMP, NOTHING, "a changed limit is served until somebody says so"),
    Mutant(
        "stamp without version",
        GUARD,
        STAMP,
        "if catalog_token ~= argv[1] then return STALE, now_ms end",
        "a customer who was erased and made again keeps the limit of the first life",
    ),
    Mutant(
        "stamp without catalog",
        GUARD,
        STAMP,
        "if (values[1] or '') ~= argv[2] then return STALE, now_ms end",
        "instances decide by different catalogs",
    ),
    Mutant(
        "window without end",
        GUARD,
        WINDOW,
        "if now_ms < from_ms then return MOVED_ON, now_ms end",
        "usage of today is counted in yesterday's period",
    ),
    Mutant(
        "window without start",
        GUARD,
        WINDOW,
        "if now_ms >= until_ms then return MOVED_ON, now_ms end",
        "a client whose clock is an hour fast opens the next hour's budget",
    ),
    Mutant(
        "window with its end inside",
        GUARD,
        WINDOW,
        "if now_ms < from_ms or now_ms > until_ms then return MOVED_ON, now_ms end",
        "the first millisecond of a period belongs to the one before",
    ),
    Mutant(
        "late calls run",
        GUARD,
        "if now_ms > not_after_ms then return LATE, now_ms end",
        NOTHING,
        "a paused server counts what its callers gave up",
    ),
    Mutant(
        "any clock",
        GUARD,
        "if catalog_token:byte(-1) ~= CLOCK then return OTHER_CLOCK, now_ms end",
        NOTHING,
        "a client that brings its own time decides in an environment of the server's clock",
    ),
    Mutant("limit is out of reach", DECISION, SATISFIED, "elseif not (total < limit) then", "the last unit is refused"),
    Mutant(
        "not a number fits", DECISION, SATISFIED, "elseif total > limit then", "a damaged counter grants everything"
    ),
    Mutant(
        "last constraints only watch",
        DECISION,
        "satisfied = false",
        "satisfied = index == #counts and satisfied",
        "the budgets in the last hash do not refuse",
    ),
    Mutant(
        "last constraint is skipped",
        DECISION,
        "for place = skip + 1, skip + count do",
        "for place = skip + 1, skip + count - (index == #counts and index > 1 and 1 or 0) do",
        "one budget is neither asked nor counted",
    ),
    Mutant(
        "sums out of range are written",
        DECISION,
        "elseif total > whole_max then",
        "elseif false then",
        "a counter beyond 2^53 loses units",
    ),
    Mutant(
        "held is not decided over",
        CARE,
        "if sum and held ~= 0 then total = add(sum, held) end",
        NOTHING,
        "what is held is given away a second time",
    ),
    Mutant(
        "period goes back",
        COUNTERS,
        ROLL,
        "if start ~= start_ms then return start_ms, 0, held, 0 end",
        "a clock that steps back gives every budget twice",
    ),
    Mutant(
        "roll drops held", COUNTERS, ROLL, "if start < start_ms then return start_ms, 0, 0, 0 end", "a hold is lost"
    ),
    Mutant(
        "roll keeps used",
        COUNTERS,
        ROLL,
        "if start < start_ms then return start_ms, used, held, 0 end",
        "a budget is never given again",
    ),
    Mutant("wild starts stay", COUNTERS, WILD, NOTHING, "a counter of a wild clock stays in the far future for years"),
    Mutant(
        "wild starts forget",
        COUNTERS,
        WILD,
        "if start > now_ms + length_ms then return start_ms, 0, held, 1 end",
        "a wild clock gives a budget twice",
    ),
    Mutant(
        "fractions are rounded after adding",
        AMOUNTS,
        STEPS,
        "local sum = math.floor((a + b) * 100000 + 0.5) / 100000",
        "4 % of the sums near 2^34 are wrong",
    ),
    Mutant(
        "whole numbers are rounded",
        AMOUNTS,
        "if a % 1 == 0 and b % 1 == 0 then return a + b end",
        NOTHING,
        "whole numbers end at 2^35 instead of 2^53",
    ),
    Mutant(
        "fractions without end",
        AMOUNTS,
        "if sum >= FRACTION_BELOW or sum <= -FRACTION_BELOW then return nil end",
        NOTHING,
        "a sum of fractions leaves the range in which it is exact",
    ),
    Mutant(
        "refused and counted",
        CONSUME,
        "if not satisfied then",
        "if not satisfied then call('HSET', KEYS[2], ARGV[fields], reply[3])",
        "a refusal uses up the account",
    ),
    Mutant(
        "one of two is written",
        CONSUME,
        "call('HSET', key, ARGV[field], reply[element], ARGV[field + 1], reply[element + 1])",
        "call('HSET', key, ARGV[field], reply[element])",
        "a budget is asked and not counted",
    ),
    Mutant(
        "corrections go below 0",
        REPORT,
        "if amount < 0 and -amount >= used then return 0, add(0, -used) end",
        NOTHING,
        "a correction gives away more than was used",
    ),
    Mutant(
        "set counts all on entities",
        REPORT,
        "amounts[section] = change",
        NOTHING,
        "the entities count what the account had already",
    ),
    Mutant(
        "old corrections count today",
        REPORT,
        "if amount < 0 and dated_ms < start_ms then return used, 0 end",
        NOTHING,
        "a correction of yesterday gives 500 extra today",
    ),
    Mutant(
        "reports out of range are written",
        REPORT,
        "if not (after and change and after <= WHOLE_MAX and change == change) then",
        "if not (after and change) then",
        "a counter beyond 2^53 loses units",
    ),
    Mutant(
        "changes do not name a version",
        CONFIGURE,
        CONFIGURED,
        "if current ~= catalog_token then return { STALE, now_ms } end",
        "two valid changes make a cycle",
    ),
    Mutant(
        "changes do not name a catalog",
        CONFIGURE,
        CONFIGURED,
        "if (call('HGET', usage, '@v') or '') ~= version then return { STALE, now_ms } end",
        "a budget is written for what the catalog no longer has",
    ),
    Mutant(
        "late changes are written",
        CONFIGURE,
        "if now_ms > not_after_ms then return { LATE, now_ms } end",
        NOTHING,
        "a change that was given up comes about",
    ),
    Mutant(
        "told after the first write",
        CONFIGURE,
        "call('PUBLISH', channel, message)",
        "call('HSET', usage, '@v', new_version) call('PUBLISH', channel, message)",
        "an ACL that refuses the channel leaves half a change behind",
    ),
    Mutant(
        "numbers are given twice",
        CONFIGURE,
        VERSION_WRITTEN,
        "call('HSET', usage, '@v', new_version)",
        "two budgets share a counter",
    ),
    Mutant(
        "the version stays", CONFIGURE, VERSION_WRITTEN, "call('HSET', usage, '@n', next_number)", "no call is stale"
    ),
    Mutant("partitions are lowered", RAISE, NEWER, NOTHING, "two clients move a partition to and fro"),
    Mutant(
        "partitions compare low bytes",
        RAISE,
        NEWER,
        "if current_low >= low then return { STALE, current } end",
        "once in 49 days no catalog can be written",
    ),
    Mutant(
        "lost partitions come back empty",
        RAISE,
        "if not current and blank ~= '1' then return { BLANK } end",
        NOTHING,
        "a lost customer is a clean 'not found'",
    ),
    Mutant(
        "catalogs overwrite each other",
        CATALOG,
        "if current ~= token then return { STALE, current } end",
        NOTHING,
        "a catalog that was made from another one wins",
    ),
    Mutant(
        "catalogs go by the clock",
        CATALOG,
        "number = math.max(number, high * 4294967296 + low + 1)",
        NOTHING,
        "after a clock stepped back, no partition takes the new catalog",
    ),
    Mutant(
        "ancestors are not loaded",
        "lua/load.lua",
        "level = parents",
        "level = {}",
        "the budgets of the organisation do not decide",
    ),
)


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
