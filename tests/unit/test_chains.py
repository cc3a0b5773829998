"""Which budgets a request brings in: the pure part, with its laws."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.chains import Candidate, candidates, chains, dimension_text, present, require_dimensions, walk
from headgate.errors import InvalidInput
from headgate.model.governance import Assignment, Entity

TYPES_BY_KEY = {"teamId": ("guild", "team"), "userId": ("user",)}


def entity(id: str, parent: str | None = None, *, archived: bool = False) -> Entity:
    return Entity(
        id=id, type="team", parent=parent, created_at_ms=0, updated_at_ms=0, archived_at_ms=1 if archived else None
    )


def assignment(number: int, *scope: str) -> Assignment:
    return Assignment(number=number, scope=scope, usage_limit=1, cadence="P1D", created_at_ms=0, updated_at_ms=0)


def forest(*entities: Entity) -> dict[str, Entity]:
    return {each.id: each for each in entities}


FOREST = forest(entity("org"), entity("team", "org"), entity("user", "team"), entity("model"))


def numbers(assignments: dict[str, list[Assignment]], *leaves: str, **changed: Entity) -> list[list[int]]:
    found = chains({**FOREST, **changed}, assignments, leaves)
    return [[budget.assignment.number for budget in chain] for chain in found]


# What JavaScript's String() gives for a number, from the rules of ECMA-262, Number::toString.
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (42.0, "42"),
        (-42.0, "-42"),
        (42, "42"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (100.0, "100"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (0.000001, "0.000001"),
        (0.0000015, "0.0000015"),
        (1e-7, "1e-7"),
        (1.25e-9, "1.25e-9"),
        (-1e-7, "-1e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (2**53, "9007199254740992"),
        (2**53 + 1, "9007199254740992"),
        (10**25, "1e+25"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (True, "true"),
        (False, "false"),
        ("42.0", "42.0"),
        ("", ""),
    ],
)
def test_a_value_reads_as_javascript_prints_it(value: str | float | bool, text: str) -> None:
    assert dimension_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_as_the_same_number_in_its_shortest_digits(value: float) -> None:
    text = dimension_text(value)
    assert float(text) == value
    digits = text.partition("e")[0].replace(".", "").replace("-", "").strip("0")
    assert len(digits) <= len(repr(value).partition("e")[0].replace(".", "").replace("-", "").strip("0"))
    assert float(json.loads(text)) == value


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_reads_the_same_as_an_int_and_as_a_double(value: int) -> None:
    assert dimension_text(value) == dimension_text(float(value)) == str(value)


def test_dimensions_are_a_mapping_of_names_to_plain_values() -> None:
    given: dict[str, Any] = {"teamId": "a", "n": 1, "x": 1.5, "b": True}
    assert require_dimensions(given) is given
    assert require_dimensions(None) is None
    refused: list[object] = [["a"], "teamId", 5, {1: "a"}, {"a": None}, {"a": b"bytes"}, {"a": {}}]
    for wrong in refused:
        with pytest.raises(InvalidInput):
            require_dimensions(wrong)


def test_candidates_are_what_the_dimensions_may_name_in_their_order() -> None:
    found = candidates({"userId": "ann", "other": "x", "teamId": 42.0}, TYPES_BY_KEY)
    assert found == [Candidate("userId", "ann", ("user",)), Candidate("teamId", "42", ("guild", "team"))]
    assert candidates(None, TYPES_BY_KEY) == candidates({}, TYPES_BY_KEY) == []


@pytest.mark.parametrize("value", ["", "a:b", "{x}", "é", "x" * 256, -1, -0.5, "*"])
def test_what_cannot_be_an_id_is_no_candidate(value: str | float) -> None:
    assert candidates({"teamId": value}, TYPES_BY_KEY) == []


def test_a_walk_goes_from_an_entity_to_its_root() -> None:
    assert [node.id for node in walk(FOREST, "user")] == ["user", "team", "org"]
    assert walk(FOREST, "nobody") == []
    assert [node.id for node in walk(forest(entity("a", "gone")), "a")] == ["a"]


def test_a_walk_ends_even_where_documents_make_a_cycle() -> None:
    assert len(walk(forest(entity("a", "b"), entity("b", "a")), "a")) <= 3


def test_present_are_the_named_entities_and_their_ancestors() -> None:
    assert present(FOREST, ["team", "model"]) == {"team", "org", "model"}


def test_a_chain_goes_from_leaf_to_root_and_leaves_out_nodes_without_a_budget() -> None:
    assert numbers({"user": [assignment(1)], "org": [assignment(2)]}, "user") == [[1, 2]]
    assert numbers({}, "user", "model") == []
    assert numbers({"model": [assignment(3)]}, "user", "model") == [[3]]


def test_a_nodes_budgets_come_node_wide_first_then_by_scope() -> None:
    budgets = [assignment(1, "user"), assignment(2, "model"), assignment(3), assignment(4, "model", "user")]
    assert numbers({"team": budgets}, "user", "model") == [[3, 2, 4, 1]]


def test_a_scope_needs_all_its_entities_and_counts_ancestors_and_other_dimensions() -> None:
    budgets = {"team": [assignment(1, "org"), assignment(2, "model"), assignment(3, "user")]}
    assert numbers(budgets, "team") == [[1]]
    assert numbers(budgets, "team", "model") == [[2, 1]]
    assert numbers(budgets, "user", "model") == [[2, 1, 3]]


def test_an_archived_node_is_left_out_and_the_walk_goes_on() -> None:
    budgets = {"user": [assignment(1)], "team": [assignment(2)], "org": [assignment(3)]}
    assert numbers(budgets, "user", team=entity("team", "org", archived=True)) == [[1, 3]]
    assert numbers(budgets, "user", user=entity("user", "team", archived=True)) == [[2, 3]]


def test_a_shared_ancestor_is_in_each_chain() -> None:
    budgets = {"user": [assignment(1)], "team": [assignment(2)], "org": [assignment(3)]}
    assert numbers(budgets, "user", "team") == [[1, 2, 3], [2, 3]]
