"""A replay answers, call by call, what an independent reference computes from the trace and the policy alone."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer

from headgate.cli.replay import make_plan, replay_command, stretches
from headgate.client.embedded import EmbeddedServer
from headgate.errors import InvalidInput
from reference_replay import Answer, Asked, Reference, calls_of, replayed

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ai-gateway.yaml"
FEATURE = "feature-ai-tokens"
TRACE_NAME = "azure-llm-inference-2023-code.csv"

# Everything at once that a policy can say: several customers, resets and cadences that end within the trace, zones,
# scopes, two models, entities that stand alone with budgets of their own, fractions, soft and missing limits.
BUSY_POLICY = """
features:
  feature-credits: {type: NUMBER, meter: INCREMENTAL}
entity_types:
  org: {keys: [orgId]}
  team: {keys: [teamId, squadId]}
  user: {keys: [userId]}
  model: {keys: [modelId]}
  region: {keys: [regionId]}
customers:
  cus-a:
    entitlements:
      feature-credits: {limit: 4500.5, reset: WEEK, according_to: EveryWednesday, zone: America/New_York}
    entities:
      org-a:
        type: org
        budgets:
          - {feature: feature-credits, limit: 900, every: P1D, zone: Europe/Berlin}
          - {feature: feature-credits, limit: 700, every: P1D, scope: [model-x]}
        children:
          team-a:
            type: team
            budgets:
              - {feature: feature-credits, limit: 120.25, every: PT6H}
            children:
              user-a: {type: user, budgets: [{feature: feature-credits, limit: 45, every: PT4H}]}
              user-b:
                type: user
                budgets:
                  - {feature: feature-credits, limit: 20, every: PT90M, scope: [model-x, region-eu]}
                  - {feature: feature-credits, limit: 300, every: P3D}
          team-b: {type: team, budgets: [{feature: feature-credits, limit: unlimited, every: P1M}]}
      model-x: {type: model, budgets: [{feature: feature-credits, limit: 800, every: P1W}]}
      model-y: {type: model}
      region-eu: {type: region}
      region-us: {type: region, budgets: [{feature: feature-credits, limit: 55.5, every: PT2H}]}
  cus-b:
    entitlements:
      feature-credits: {limit: 20, reset: HOUR, soft: true}
    entities:
      team-z: {type: team, budgets: [{feature: feature-credits, limit: 100, every: P1D}]}
  cus-c:
    entitlements:
      feature-credits: {limit: 200, reset: DAY}
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedServer.private() as server:
        yield server.url


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public trace where it is at hand, else one of the same shape."""
    folders = [os.environ.get("HEADGATE_TRACES"), ROOT.parent / "shared" / "data"]
    for folder in filter(None, folders):
        if Path(folder, TRACE_NAME).is_file():
            return Path(folder, TRACE_NAME)
    path = tmp_path_factory.mktemp("traces") / TRACE_NAME
    draws = random.Random(TRACE_NAME)
    at, lines = datetime(2023, 11, 16, 18, 17, 3, tzinfo=UTC), ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for _ in range(8_819):
        at += timedelta(seconds=draws.expovariate(2.57))
        context, generated = min(7_437, int(draws.lognormvariate(7.3, 0.9))), draws.randint(1, 60)
        lines.append(f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond:06}0,{context},{generated}")
    path.write_text("\r\n".join(lines))
    return path


@pytest.fixture(scope="module")
def busy_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days across a change of Berlin's and New York's clocks; some rows say who calls, some times are equal."""
    path = tmp_path_factory.mktemp("traces") / "busy.csv"
    draws = random.Random("busy")
    at, lines = datetime(2024, 10, 25, 21, 59, 58, 500_000, UTC), ["amount,TIMESTAMP,customer,squadId,modelId,comment"]
    for _ in range(1_500):
        at += timedelta(seconds=draws.choice([0, draws.expovariate(1 / 500)]))
        amount = draws.choice([draws.randint(1, 40), round(draws.uniform(1, 40), 2)])
        customer = draws.choice(["", "cus-a", "cus-a", "cus-b", "cus-c"])
        squad = draws.choice(["", "", "team-a", "team-b", "team-none", "user-a"])
        lines.append(f"{amount},{at.isoformat()},{customer},{squad},{draws.choice(['', 'model-y'])},said")
    path.write_text("\n".join(lines) + "\n")
    return path


def replay(url: str, trace: Path, policy: Path, folder: Path, **options: Any) -> tuple[dict[str, Any], list[Any]]:
    """Run the command; return what it wrote as JSON, and the lines of its calls file."""
    arguments: dict[str, Any] = {
        "in_flight": 1, "seed": 1, "feature": None, "limit_rows": None,
        "json_file": folder / "result.json", "calls_file": folder / "calls.jsonl",
    }  # fmt: skip
    replay_command(trace, policy, url, **(arguments | options))
    calls = (folder / "calls.jsonl").read_text().splitlines()
    return json.loads((folder / "result.json").read_text()), [json.loads(line) for line in calls]


def asked(call: dict[str, Any]) -> Asked:
    """A line of the calls file as a question to the reference."""
    at = datetime.fromisoformat(call["instant"])
    assert at == datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=call["instant_ms"])
    return Asked(call["row"], at, call["customer"], call["dimensions"], Decimal(str(call["amount"])))


def answer(call: dict[str, Any]) -> Answer:
    """A line of the calls file as an answer, in the reference's words; a reply says its period where it has one."""
    names = [(state["entity"], tuple(state["scope"])) for state in call["constraints"]]
    binding = call["binding"] and (call["binding"]["entity"], tuple(call["binding"]["scope"]))
    starts = [state["period_start"] or "1970-01-01T00:00:00+00:00" for state in call["constraints"]]
    return Answer(
        call["granted"],
        binding,
        {name: Decimal(str(state["used"])) for name, state in zip(names, call["constraints"], strict=True)},
        {name: datetime.fromisoformat(start) for name, start in zip(names, starts, strict=True)},
    )


def assert_same(calls: Sequence[dict[str, Any]], expected: Sequence[tuple[Asked, Answer]]) -> None:
    assert len(calls) == len(expected)
    for call, (question, right) in zip(calls, expected, strict=True):
        assert asked(call) == question
        assert answer(call) == right, f"row {question.row}"


def by_the_number_of(entity: str | None, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls in the order in which they were decided: by a counter that all of them count on.

    A grant comes before the refusals that saw its number; those changed nothing, so their order says nothing.
    """

    def place(call: dict[str, Any]) -> tuple[str, Decimal, bool]:
        (state,) = [each for each in call["constraints"] if each["entity"] == entity and not each["scope"]]
        return state["period_start"] or "", Decimal(str(state["used"])), not call["granted"]

    return sorted(calls, key=place)


def test_a_replay_in_order_is_call_by_call_what_the_reference_computes(url: str, trace: Path, tmp_path: Path) -> None:
    result, calls = replay(url, trace, EXAMPLE, tmp_path)

    questions = calls_of(trace, EXAMPLE, feature=FEATURE, seed=1)
    expected = replayed(questions, Reference(EXAMPLE, feature=FEATURE, created=questions[0].at))
    assert_same(calls, expected)
    assert (result["exact"], result["errors"]) == (True, 0)
    assert result["granted"] == sum(right.granted for _, right in expected)
    assert result["granted"] + result["refused"] == len(calls) == 8_819
    refusals = Counter(right.binding for _, right in expected if not right.granted)
    assert {
        (each["entity"], tuple(each["scope"])): each["refused"] for each in result["budgets"] if each["refused"]
    } == (refusals)
    assert len(refusals) > 1, "a policy in which one budget alone bites shows little"
    last = {name: used for _, right in expected for name, used in right.used.items()}
    monthly = {"org-acme", "team-support", "agent-triager", "agent-router", None}
    for each in result["budgets"]:
        if each["entity"] in monthly:
            assert each["used"] == last[each["entity"], tuple(each["scope"])]


def test_64_in_flight_agree_with_the_reference_in_the_order_of_the_roots_number(
    url: str, trace: Path, tmp_path: Path
) -> None:
    result, calls = replay(url, trace, EXAMPLE, tmp_path, in_flight=64)

    assert (result["exact"], result["errors"]) == (True, 0)
    drawn = calls_of(trace, EXAMPLE, feature=FEATURE, seed=1)
    assert [asked(call) for call in calls] == drawn, "each call has its own instant, also with others in flight"
    ordered = by_the_number_of("org-acme", calls)
    assert ordered != calls, "64 in flight that are decided in the order of the trace were hardly in flight together"
    reference = Reference(EXAMPLE, feature=FEATURE, created=drawn[0].at)
    assert_same(ordered, replayed([asked(call) for call in ordered], reference))


@pytest.mark.parametrize("in_flight", [1, 8])
def test_every_kind_of_limit_agrees_with_the_reference(
    url: str, busy_trace: Path, tmp_path: Path, in_flight: int
) -> None:
    policy = tmp_path / "busy.yaml"
    policy.write_text(BUSY_POLICY)
    result, calls = replay(url, busy_trace, policy, tmp_path, in_flight=in_flight, seed=7)

    assert (result["exact"], result["errors"]) == (True, 0)
    questions = calls_of(busy_trace, policy, feature="feature-credits", seed=7)
    assert [asked(call) for call in calls] == questions
    reference = Reference(policy, feature="feature-credits", created=questions[0].at)
    for customer in ("cus-a", "cus-b", "cus-c"):
        theirs = [call for call in calls if call["customer"] == customer]
        ordered = theirs if in_flight == 1 else by_the_number_of(None, theirs)
        assert_same(ordered, replayed([asked(call) for call in ordered], reference))
    binding = {(call["binding"] or {}).get("entity") for call in calls if not call["granted"]}
    assert {None, "org-a", "team-a", "user-a", "user-b", "region-us", "team-z"} <= binding


def test_calls_on_two_sides_of_a_periods_end_are_never_in_flight_together(trace: Path) -> None:
    plan = make_plan(trace, EXAMPLE, feature=None, in_flight=64, seed=1, rows_max=None)
    cut = list(stretches(plan))
    assert [pair for stretch in cut for pair in stretch] == list(plan.calls)
    first_ms, ten_minutes_ms = plan.first_ms, 600_000
    for stretch in cut:
        assert len({(call.at_ms - first_ms) // ten_minutes_ms for call, _ in stretch}) == 1
    assert len(cut) == 1 + (plan.calls[-1][0].at_ms - first_ms) // ten_minutes_ms


def test_the_same_seed_draws_the_same_and_another_one_does_not(trace: Path) -> None:
    def drawn(seed: int, rows_max: int) -> list[Any]:
        return list(make_plan(trace, EXAMPLE, feature=None, in_flight=1, seed=seed, rows_max=rows_max).calls)

    assert drawn(1, 200) == drawn(1, 200)
    assert drawn(1, 300)[:200] == drawn(1, 200), "a row draws the same however many rows there are"
    assert drawn(2, 200) != drawn(1, 200)


def test_calls_are_made_in_the_order_of_their_instants_whatever_the_order_of_the_file(url: str, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text(
        "TIMESTAMP,amount,agentId\n"
        "2024-03-01 00:10:00,300000,agent-answerer\n"
        "2024-03-01 00:00:00,200000,agent-answerer\n"
        "2024-03-01 00:09:59.999,200001,agent-answerer\n"
    )
    result, calls = replay(url, shuffled, EXAMPLE, tmp_path)
    assert [(call["row"], call["granted"]) for call in calls] == [(2, True), (3, False), (1, True)]
    assert (result["granted"], result["refused"], result["exact"]) == (2, 1, True)


def test_the_calls_file_has_all_that_a_recomputation_needs(url: str, trace: Path, tmp_path: Path) -> None:
    _, calls = replay(url, trace, EXAMPLE, tmp_path, limit_rows=3)
    assert [call["row"] for call in calls] == [1, 2, 3]
    expected = {"instant", "customer", "dimensions", "amount", "granted", "binding", "constraints", "error"}
    assert expected <= calls[0].keys()
    assert calls[0]["constraints"][0].keys() >= {"entity", "scope", "limit", "used", "cadence", "period_start"}


def test_a_call_that_no_budget_decides_is_refused_and_told_apart(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = tmp_path / "stranger.csv"
    stranger.write_text("TIMESTAMP,amount,customer\n2024-03-01 00:00:00,5,cus-acme\n2024-03-01 00:00:01,5,cus-unknown")
    result, calls = replay(url, stranger, EXAMPLE, tmp_path)
    assert (result["granted"], result["refused"], result["exact"]) == (1, 1, True)
    assert (calls[1]["reason"], calls[1]["binding"]) == ("CustomerNotFound", None)
    assert "1 of the refused by no budget: CustomerNotFound" in capsys.readouterr().out


def test_the_table_names_every_budget_and_when_it_first_ran_out(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.csv"
    short.write_text(
        "TIMESTAMP,amount,agentId,modelId\n2024-03-01 00:00:00,399999,agent-answerer,model-small\n"
        "2024-03-01 00:00:07.25,2,agent-answerer,model-small\n2024-03-01 00:00:09,2,agent-answerer,model-small"
    )
    result, _ = replay(url, short, EXAMPLE, tmp_path)
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "agent-answerer " in line]
    assert line.split() == ["agent-answerer", "PT10M", "400,000", *["399,999"] * 2, "2", "2024-03-01", "00:00:07"]
    assert "Exact: every one of" in shown
    names = [(each["entity"], tuple(each["scope"])) for each in result["budgets"]]
    assert names[0] == (None, ())
    assert len(set(names)) == len(names) == shown.count("P1M") + shown.count("P1D") + shown.count("PT10M") + 1


def test_a_bad_row_is_told_with_its_line_and_nothing_runs(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-03-01 00:00:00,5,1\n2024-03-01 00:00:01,five,1\n")
    with pytest.raises(InvalidInput, match=r"bad\.csv, line 3, ContextTokens: 'five': write a whole number"):
        replay("unix:///nobody/listens/here", bad, EXAMPLE, tmp_path)


def test_a_file_that_cannot_be_written_is_told_before_the_run(trace: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="name a file in a folder that exists"):
        replay("unix:///nobody/listens/here", trace, EXAMPLE, tmp_path, calls_file=tmp_path / "none" / "calls.jsonl")


def test_a_policy_with_two_metered_features_needs_one_to_be_named(trace: Path, tmp_path: Path) -> None:
    policy = tmp_path / "two.yaml"
    policy.write_text(
        EXAMPLE.read_text().replace("features:\n", "features:\n  other: {type: NUMBER, meter: INCREMENTAL}\n")
    )
    with pytest.raises(InvalidInput, match="--feature; it has other, feature-ai-tokens"):
        make_plan(trace, policy, feature=None, in_flight=1, seed=1, rows_max=None)
    assert make_plan(trace, policy, feature=FEATURE, in_flight=1, seed=1, rows_max=1).feature == FEATURE


def test_a_call_without_an_answer_makes_the_replay_fail(url: str, tmp_path: Path) -> None:
    policy, huge = tmp_path / "unlimited.yaml", tmp_path / "huge.csv"
    policy.write_text(
        "features: {calls: {type: NUMBER, meter: INCREMENTAL}}\n"
        "customers: {cus-a: {entitlements: {calls: {limit: unlimited}}}}\n"
    )
    huge.write_text(f"TIMESTAMP,amount\n2024-03-01 00:00:00,{2**53 - 1}\n2024-03-01 00:00:01,1\n")
    with pytest.raises(typer.Exit) as ended:
        replay(url, huge, policy, tmp_path)
    assert ended.value.exit_code == 1
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["granted"], result["refused"], result["errors"], result["exact"]) == (1, 0, 1, True)
    last = json.loads((tmp_path / "calls.jsonl").read_text().splitlines()[-1])
    assert (last["granted"], last["error"]["code"]) == (None, "OutOfRange")
