"""The demo ends with one line on exactness that comes from its processes' own records, and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from rich.console import Console

import headgate
from headgate.cli.demo import demo_command, example_policy
from headgate.cli.demo_view import Standing, View, rendering
from headgate.cli.demo_worker import Orders
from headgate.cli.summary import Line, Summary
from headgate.cli.tally import Audit, BudgetKey, Tally, audit
from headgate.errors import OutcomeUnknown, Unavailable
from headgate.model.decision import ConstraintState, Decision, DeniedReason
from headgate.periods import Period
from servers import is_alive, wait_until

ROOT = Path(__file__).parents[2]
RUN_DEMO = "import sys\nfrom headgate.cli import main\nsys.exit(main(sys.argv[1:]))"

TEN_MINUTES = Period(600_000, 1_200_000)
NEXT_TEN_MINUTES = Period(1_200_000, 1_800_000)


def start_demo(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    paths = {"PYTHONPATH": str(Path(headgate.__file__).parents[1]), "PYTHONWARNINGS": ""}
    return subprocess.Popen(
        [sys.executable, "-c", RUN_DEMO, "demo", *arguments],
        env=surroundings | paths | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell runs in the background is born deaf to Ctrl-C, and so would be all that it starts.
        preexec_fn=hear_ctrl_c,
    )


def hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children_of(pid: int) -> set[int]:
    """All processes below one, at this moment."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: set[int] = set()
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= level
    return found


def state(
    entity: str | None, used: float, *, limit: float | None = 100, period: Period = TEN_MINUTES
) -> ConstraintState:
    return ConstraintState(entity, entity and "team", (), limit, False, used, 0, True, period, "PT10M")


def decision(*states: ConstraintState, granted: bool = True, at_ms: int = 700_000) -> Decision:
    account, *nodes = states
    reason = None if granted else DeniedReason.BUDGET_EXCEEDED
    return Decision("cus-a", "calls", 1, granted, reason, account, (tuple(nodes),), states[-1], at_ms)


def key(entity: str) -> BudgetKey:
    return BudgetKey("cus-a", "calls", entity, ())


def test_a_short_demo_is_exact_and_says_so_from_its_processes_own_records(tmp_path: Path) -> None:
    demo = start_demo("--seconds", "1.2", "--processes", "2", "--tasks", "25", "--json", str(tmp_path / "demo.json"))
    shown, complaints = demo.communicate(timeout=120)
    assert demo.returncode == 0, shown + complaints
    assert complaints == ""
    assert "\x1b" not in shown, "no colours and no moving lines where nobody looks at a terminal"
    assert shown.splitlines()[0] == "2 processes × 25 tasks spend for 1.2 s on the budgets of ai-gateway.yaml"
    assert "Exact: every one of 18 counters equals what was granted, to the unit." in shown.splitlines()[-1]

    result = json.loads((tmp_path / "demo.json").read_text())
    assert (result["exact"], result["errors"]) == (True, 0)
    assert result["granted"] > 100, "a storm of 50 tasks over more than a second makes more calls than that"
    assert result["p50_ms"] <= result["p99_ms"]
    by_name = {(each["entity"], tuple(each["scope"])): each for each in result["budgets"]}
    assert by_name[None, ()]["used"] == by_name["org-acme", ()]["used"] > 0
    assert by_name[None, ()].keys() == {"customer", "entity", "scope", "feature", "limit", "used", "refused"}
    assert sum(each["refused"] for each in result["budgets"]) == result["refused"]


def test_ctrl_c_ends_the_demo_with_its_processes_and_its_server() -> None:
    with tempfile.TemporaryDirectory() as folder:
        demo = start_demo("--seconds", "600", "--processes", "2", "--tasks", "5", TMPDIR=folder)
        try:
            assert demo.stdout is not None
            first = [demo.stdout.readline() for _ in range(2)]
            assert "decisions" in first[1], "".join(first)
            below = children_of(demo.pid)
            assert len(below) >= 3, "two workers and the server's supervisor"
            demo.send_signal(signal.SIGINT)
            _, complaints = demo.communicate(timeout=60)
        finally:
            demo.kill()
        assert (demo.returncode, complaints) == (130, "headgate: interrupted\n")
        wait_until(lambda: not any(map(is_alive, below)), within_s=20, what="everything that the demo started ends")
        assert list(Path(folder).glob("headgate-demo-*")) == []


def test_a_demo_that_is_killed_leaves_no_process_behind() -> None:
    demo = start_demo("--seconds", "600", "--processes", "2", "--tasks", "5")
    try:
        assert demo.stdout is not None
        assert "spend for 600 s on" in demo.stdout.readline()
        assert "decisions" in demo.stdout.readline()
        below = children_of(demo.pid)
    finally:
        demo.kill()
        demo.communicate()
    wait_until(lambda: not any(map(is_alive, below)), within_s=30, what="everything that the demo started ends")


def test_a_file_that_cannot_be_written_is_told_before_the_storm(tmp_path: Path) -> None:
    with pytest.raises(headgate.InvalidInput, match="name a file in a folder that exists"):
        demo_command(json_file=tmp_path / "none" / "demo.json")


def test_a_counter_that_was_counted_on_without_a_grant_makes_the_demo_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage is reported behind the processes' back; no record of theirs has it."""
    from headgate.cli import demo

    run = demo.run

    async def run_with_a_stranger(storm: demo.Storm, view: View) -> Summary:
        engine = headgate.AsyncHeadgate.connect(storm.url, environment=demo.ENVIRONMENT)
        lines = demo._lines

        async def lines_after_a_report(*arguments: object) -> tuple[Line, ...]:
            await engine.report("cus-acme", feature=storm.feature, value=1, dimensions={"orgId": "org-acme"})
            return await lines(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(demo, "_lines", lines_after_a_report)
        async with engine:
            return await run(storm, view)

    monkeypatch.setattr(demo, "run", run_with_a_stranger)
    with pytest.raises(typer.Exit) as ended:
        demo.demo_command(seconds=0.5, processes=1, tasks=5, json_file=tmp_path / "demo.json")
    assert ended.value.exit_code == 1
    assert json.loads((tmp_path / "demo.json").read_text())["exact"] is False
    shown = capsys.readouterr().out
    assert "NOT EXACT: 2 of 18 counters differ" in shown
    assert "cus-acme, org-acme: counted" in shown


def test_the_example_policy_is_the_checkouts_own() -> None:
    assert example_policy() == ROOT / "examples" / "ai-gateway.yaml"


def test_orders_and_records_go_through_json_unchanged() -> None:
    orders = Orders(
        "unix:///x", "demo", "calls", (("cus-a", {"teamId": "t"}), ("cus-b", {})), 2.5, 3, 1, "/tmp/records"
    )
    assert Orders.from_json(orders.to_json()) == orders
    tally = Tally()
    tally.add(decision(state(None, 1.5), state("t", 1)), 1, 0.25)
    tally.add(decision(state(None, 1), state("t", 100), granted=False), 1, 0.5)
    tally.add(Decision("cus-x", "calls", 1, False, DeniedReason.CUSTOMER_NOT_FOUND, None, None, None, 5), 1, 0.5)
    tally.add_error(OutcomeUnknown("gone"), customer="cus-a", feature="calls", amount=7)
    assert Tally.from_json(tally.to_json()) == tally


def test_records_of_two_processes_add_up_by_constraint_and_period() -> None:
    one, two = Tally(), Tally()
    one.add(decision(state(None, 1), state("t", 1)), 1, 1.0)
    two.add(decision(state(None, 4), state("t", 3, period=NEXT_TEN_MINUTES)), 3, 2.0)
    two.add(decision(state(None, 4), state("t", 98), granted=False, at_ms=900_000), 3, 3.0)
    one.add(decision(state(None, 4), state("t", 99), granted=False, at_ms=950_000), 3, 4.0)
    one.add_all(two)
    assert (one.granted, one.refused, one.latencies_ms) == (2, 2, [1.0, 4.0, 2.0, 3.0])
    team = one.budgets[key("t")]
    assert {start: period.granted_steps for start, period in team.periods.items()} == {
        600_000: 100_000,
        1_200_000: 300_000,
    }
    assert (team.refused, team.first_refused_ms) == (2, 900_000)


def granted_four() -> Tally:
    """Two grants, of 1 and of 3, that the account and a team counted within one period."""
    tally = Tally()
    tally.add(decision(state(None, 1), state("t", 1)), 1, 1.0)
    tally.add(decision(state(None, 4), state("t", 4)), 3, 1.0)
    return tally


@pytest.mark.parametrize(
    ("team", "exact"),
    [
        (state("t", 4), True),
        (state("t", 5), False),
        (state("t", 3), False),
        (state("t", float("nan")), False),
        (state("t", 0, period=NEXT_TEN_MINUTES), True),
        (state("t", 4, period=NEXT_TEN_MINUTES), False),
    ],
)
def test_a_counter_is_exact_if_it_equals_the_grants_of_its_own_period(team: ConstraintState, exact: bool) -> None:
    found = audit(granted_four(), {key(""): state(None, 4), key("t"): team})
    assert found.exact is exact
    assert found.within_unknown is False
    assert str(found).startswith("Exact: every one of 2 counters" if exact else "NOT EXACT: 1 of 2 counters")


def test_a_period_that_is_over_is_held_against_the_highest_number_of_its_replies() -> None:
    tally = granted_four()
    tally.add(decision(state(None, 5), state("t", 9)), 1, 1.0)
    now = {key(""): state(None, 5), key("t"): state("t", 0, period=NEXT_TEN_MINUTES)}
    (difference,) = audit(tally, now).differences
    assert difference == "cus-a, t, period of 600000: replies went up to 9, granted 5"


def test_a_constraint_that_decided_and_is_gone_is_a_difference() -> None:
    found = audit(granted_four(), {key(""): state(None, 4)})
    assert found.differences == ("cus-a, t: decided about calls, and is not there any more",)


def test_unknown_outcomes_make_exactness_a_range_that_is_stated() -> None:
    tally = granted_four()
    tally.add_error(OutcomeUnknown("the reply was cut"), customer="cus-a", feature="calls", amount=2)
    tally.add_error(Unavailable("no connection"), customer="cus-a", feature="calls", amount=50)
    tally.add_error(OutcomeUnknown("the reply was cut"), customer="cus-b", feature="calls", amount=1_000)
    assert tally.errors == {"OutcomeUnknown": 2, "Unavailable": 1}

    counted = audit(tally, {key(""): state(None, 6), key("t"): state("t", 6)})
    assert (counted.exact, counted.within_unknown) == (False, True)
    assert str(counted).startswith("Within a range: calls that asked for 1,002 have an unknown outcome")
    not_counted = audit(tally, {key(""): state(None, 4), key("t"): state("t", 4)})
    assert not_counted.exact
    too_much = audit(tally, {key(""): state(None, 6), key("t"): state("t", 7)})
    assert (too_much.exact, too_much.within_unknown) == (False, False)
    too_little = audit(tally, {key(""): state(None, 6), key("t"): state("t", 3)})
    assert not too_little.within_unknown


def test_errors_fail_a_run_whose_counters_are_exact() -> None:
    tally = granted_four()
    assert Summary(tally, 1.0, (), Audit(0, 0, (), 0, False)).succeeded
    tally.add_error(Unavailable("no connection"), customer="cus-a", feature="calls", amount=1)
    assert not Summary(tally, 1.0, (), Audit(0, 0, (), 0, False)).succeeded


def test_sums_of_fractions_are_exact() -> None:
    tally = Tally()
    for used in (0.1, 0.2, 0.3):
        tally.add(decision(state(None, used)), 0.1, 1.0)
    assert audit(tally, {key(""): state(None, 0.3)}).exact
    assert not audit(tally, {key(""): state(None, 0.30001)}).exact


def test_a_terminal_sees_the_tree_with_bars_and_a_full_budget_in_red() -> None:
    lines = [
        Line(key(""), 0, state(None, 50)),
        Line(key("t"), 0, state("t", 100)),
        Line(key("u"), 1, replace(state("u", 7), limit=None)),
    ]
    console = Console(force_terminal=True, width=100, color_system="standard", file=io.StringIO())
    with console.capture() as captured:
        console.print(rendering(Standing(3.2, 10, 5, 0, lines)))
    shown = captured.get()
    assert "3.2 s         15 decisions: 10 granted, 5 refused, 0 errors" in shown
    (full,) = [line for line in shown.splitlines() if line.lstrip("\x1b[0123456789m").startswith("t ")]
    assert "\x1b[31m━" in full
    (unlimited,) = [line for line in shown.splitlines() if "no limit" in line]
    assert "━" not in unlimited
    assert unlimited.lstrip("\x1b[0123456789m").startswith("  u")
