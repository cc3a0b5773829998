"""A trace is read whole, or refused with the line of everything that is wrong; who calls is drawn by a stated rule."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from headgate.cli.policy_file import parse_policy
from headgate.cli.spread import Spread, dimension_keys, metered_feature
from headgate.cli.traces import PROBLEMS_SHOWN_MAX, Trace, TracedCall, find_trace, read_trace
from headgate.errors import InvalidInput
from headgate.policy import Policy

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
EXAMPLE = Path(__file__).parents[2] / "examples" / "ai-gateway.yaml"


def trace_of(folder: Path, text: str | bytes, *, keys: tuple[str, ...] = (), rows_max: int | None = None) -> Trace:
    path = folder / "trace.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_trace(path, dimension_keys=keys, rows_max=rows_max)


def problems_of(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        trace_of(folder, text)
    return [str(problem) for problem in refused.value.problems]


def example() -> Policy:
    return parse_policy(EXAMPLE.read_text(), "example")


def call(row: int, customer: str | None = None, **dimensions: str) -> TracedCall:
    return TracedCall(row, row + 1, 0, 1, customer, dimensions)


def test_the_public_trace_is_read_as_it_is_without_a_final_newline(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, HEADER + "2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319600,3180,8")
    assert trace.calls == (
        TracedCall(1, 2, 1_700_158_623_979, 4_818, None, {}),
        TracedCall(2, 3, 1_700_158_624_031, 3_188, None, {}),
    )
    assert (trace.first_ms, trace.ignored) == (1_700_158_623_979, ())


@pytest.mark.parametrize(
    ("written", "at_ms"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1970-01-01T00:00:00.5", 500),
        ("1970-01-01 00:00:00.0009999", 0),
        ("1970-01-01T00:00:01.000000+00:00", 1_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 00:00:00.25Z", 250),
        ("2024-02-29 23:59:59.999", 1_709_251_199_999),
    ],
)
def test_a_timestamp_is_utc_where_it_says_nothing_else_and_is_cut_to_milliseconds(
    tmp_path: Path, written: str, at_ms: int
) -> None:
    assert trace_of(tmp_path, f"{HEADER}{written},1,1\n").calls[0].at_ms == at_ms


def test_an_amount_customers_and_dimensions_may_be_columns_and_their_cells_may_be_empty(tmp_path: Path) -> None:
    text = (
        "\ufeffteamId, amount ,TIMESTAMP,customer,modelId,region\n"
        "team-a,0.5,2024-01-01 00:00:00,cus-a,,eu\n"
        '\n"team, b",12,2024-01-01 00:00:01,,large,us\n'
    )
    trace = trace_of(tmp_path, text, keys=("teamId", "modelId"))
    assert [(each.row, each.line, each.amount, each.customer, each.dimensions) for each in trace.calls] == [
        (1, 2, 0.5, "cus-a", {"teamId": "team-a"}),
        (2, 4, 12, None, {"teamId": "team, b", "modelId": "large"}),
    ]
    assert trace.ignored == ("region",)


def test_only_so_many_rows_are_read_as_were_asked_for(tmp_path: Path) -> None:
    text = HEADER + "2024-01-01 00:00:00,1,1\n" * 3 + "what comes after is not looked at\n"
    assert len(trace_of(tmp_path, text, rows_max=2).calls) == 2


def test_every_problem_of_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    text = HEADER + (
        "2024-01-01 00:00:00,1,1\n"
        "yesterday,1,1\n"
        "2024-02-30 00:00:00,1,1\n"
        "2024-01-01 00:00:00,-1,1\n"
        "2024-01-01 00:00:00,1,\n"
        "2024-01-01 00:00:00,1\n"
        "2024-01-01 00:00:00,1.5,1\n"
        "1969-12-31 23:59:59,1,1\n"
    )
    assert [problem.partition(": write")[0] for problem in problems_of(tmp_path, text)] == [
        "trace.csv, line 3, TIMESTAMP: 'yesterday'",
        "trace.csv, line 4, TIMESTAMP: '2024-02-30 00:00:00'",
        "trace.csv, line 5, ContextTokens: '-1'",
        "trace.csv, line 6, GeneratedTokens: ''",
        "trace.csv, line 7: '2024-01-01 00:00:00,1': the row has 2 cells, and the header names 3 columns",
        "trace.csv, line 8, ContextTokens: '1.5'",
        "trace.csv, line 9, TIMESTAMP: '1969-12-31 23:59:59'",
    ]


@pytest.mark.parametrize("amount", ["", "-1", "1e3", "NaN", "inf", "９", "9007199254740992", "34359738368.5"])
def test_an_amount_that_cannot_be_counted_exactly_is_refused(tmp_path: Path, amount: str) -> None:
    (problem,) = problems_of(tmp_path, f"TIMESTAMP,amount\n2024-01-01 00:00:00,{amount}\n")
    assert problem.startswith(f"trace.csv, line 2, amount: {amount!r}: ")


def test_a_customer_that_is_no_id_is_refused(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "TIMESTAMP,amount,customer\n2024-01-01 00:00:00,1,{me}\n")
    assert problem.startswith("trace.csv, line 2, customer: '{me}': an id has")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "trace.csv, line 1: '': the first line names the columns"),
        (HEADER, "holds no row below its header"),
        ("TIMESTAMP,ContextTokens\n2024-01-01 00:00:00,1\n", "are needed; amount may stand for the last two"),
        ("amount\n1\n", "the columns TIMESTAMP and ContextTokens and GeneratedTokens are needed"),
        ("TIMESTAMP,amount,amount\n", "'amount': a column is there once"),
        (b"TIMESTAMP,amount\n\xff,1\n", "is not text in UTF-8"),
        ('TIMESTAMP,amount\n"2024-01-01 00:00:00,1\n', "line 2: None: is not CSV: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str | bytes, problem: str) -> None:
    (told,) = problems_of(tmp_path, text)
    assert problem in told


def test_a_file_with_endless_problems_names_the_first_ones(tmp_path: Path) -> None:
    assert len(problems_of(tmp_path, HEADER + "x,1,1\n" * 10_000)) == PROBLEMS_SHOWN_MAX


def test_a_trace_is_looked_for_where_it_is_named_and_then_in_the_folder_of_traces(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(HEADER)
    folder = {"HEADGATE_TRACES": str(tmp_path)}
    assert find_trace(tmp_path / "trace.csv", {}) == tmp_path / "trace.csv"
    assert find_trace(Path("trace.csv"), folder) == tmp_path / "trace.csv"
    with pytest.raises(InvalidInput, match=r"'none\.csv': there is no such file, and none in HEADGATE_TRACES="):
        find_trace(Path("none.csv"), folder)
    with pytest.raises(InvalidInput, match=r"there is no such file; name one, or the folder"):
        find_trace(Path("none.csv"), {})


def test_a_row_that_says_nothing_draws_a_leaf_and_one_of_each_type_that_stands_alone() -> None:
    spread = Spread.of(example(), feature="feature-ai-tokens", seed=3)
    names = ("answerer", "refactorer", "reviewer", "router", "summariser", "tester", "translator", "triager")
    leaves = [f"agent-{name}" for name in names]

    def draw(row: int, what: str, count: int) -> int:
        return int.from_bytes(hashlib.sha256(f"3/{row}/{what}".encode()).digest()[:8], "big") % count

    for row in range(1, 200):
        attributed = spread.attribute(call(row))
        assert attributed.customer == "cus-acme"
        assert attributed.dimensions == {
            "agentId": leaves[draw(row, "leaf", 8)],
            "modelId": ["model-large", "model-small"][draw(row, "model", 2)],
        }


def test_draws_are_spread_evenly() -> None:
    spread = Spread.of(example(), feature="feature-ai-tokens", seed=1)
    drawn = Counter(spread.attribute(call(row)).dimensions["agentId"] for row in range(1, 8_001))
    assert len(drawn) == 8
    assert all(850 < count < 1_150 for count in drawn.values())


def test_what_a_row_says_is_kept_and_only_the_rest_is_drawn() -> None:
    spread = Spread.of(example(), feature="feature-ai-tokens", seed=1)
    assert spread.attribute(call(1, teamId="team-support")).dimensions.keys() == {"teamId", "modelId"}
    assert spread.attribute(call(1, modelId="none")).dimensions.keys() == {"modelId", "agentId"}
    said = {"userId": "user-ada", "modelId": "model-small"}
    assert spread.attribute(call(1, **said)).dimensions == said
    assert spread.attribute(call(1, customer="cus-unknown")).dimensions == {}


def test_the_storms_shapes_cover_every_leaf_with_every_model() -> None:
    shapes = list(Spread.of(example(), feature="feature-ai-tokens", seed=1).every_shape())
    assert len({tuple(each.dimensions.values()) for each in shapes}) == len(shapes) == 16


def test_a_policy_whose_customers_lack_the_feature_cannot_be_replayed() -> None:
    policy = parse_policy("features: {calls: {type: NUMBER, meter: INCREMENTAL}}\ncustomers: {cus-a: {}}\n", "bare")
    assert metered_feature(policy, None) == "calls"
    with pytest.raises(InvalidInput, match="no customer is entitled to this feature"):
        Spread.of(policy, feature="calls", seed=1)
    with pytest.raises(InvalidInput, match="the policy meters no such feature; it meters calls"):
        metered_feature(policy, "other")
    with pytest.raises(InvalidInput, match="name one of the policy's metered features with --feature; it has none"):
        metered_feature(Policy(), None)


def test_the_dimensions_of_a_trace_are_the_keys_of_the_policys_entity_types() -> None:
    assert dimension_keys(example()) == {"orgId", "teamId", "userId", "agentId", "modelId"}
