"""Who may be whose parent: at most four levels, no cycle, and heights that are right after any moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import InvalidInput
from headgate.hierarchy import Hierarchy
from headgate.model.governance import LEVELS_MAX, Entity

IDS = [f"e{number}" for number in range(7)]
MOVES = st.lists(st.tuples(st.sampled_from(IDS), st.none() | st.sampled_from(IDS)), max_size=40)


def roots() -> Hierarchy:
    return Hierarchy({id: Entity(id=id, type="t", created_at_ms=0, updated_at_ms=0) for id in IDS})


def move(hierarchy: Hierarchy, id: str, parent: str | None) -> None:
    hierarchy.move(id, parent, field="parent", now_ms=5)


def parents(hierarchy: Hierarchy) -> dict[str, str | None]:
    return {id: entity.parent for id, entity in hierarchy.entities.items()}


def ancestors(parents: dict[str, str | None], id: str) -> list[str]:
    found: list[str] = []
    current = parents[id]
    while current is not None and len(found) <= len(parents):
        found.append(current)
        current = parents[current]
    return found


def height(parents: dict[str, str | None], id: str) -> int:
    return max((1 + height(parents, child) for child, parent in parents.items() if parent == id), default=0)


def is_allowed(parents: dict[str, str | None]) -> bool:
    return all(id not in ancestors(parents, id) and len(ancestors(parents, id)) < LEVELS_MAX for id in parents)


def test_a_chain_of_four_levels_stands_and_a_fifth_is_refused() -> None:
    hierarchy = roots()
    for child, parent in zip(IDS[1:4], IDS[:3], strict=True):
        move(hierarchy, child, parent)
    with pytest.raises(InvalidInput) as caught:
        move(hierarchy, "e4", "e3")
    (problem,) = caught.value.problems
    assert (problem.field, problem.value, problem.rule) == ("parent", "e3", "makes 5 levels: at most 4")


def test_a_cycle_is_refused_with_its_path() -> None:
    hierarchy = roots()
    move(hierarchy, "e1", "e0")
    with pytest.raises(InvalidInput, match="makes a cycle: e0 → e1 → e0"):
        move(hierarchy, "e0", "e1")
    with pytest.raises(InvalidInput, match="makes a cycle: e2 → e2"):
        move(hierarchy, "e2", "e2")


def test_a_parent_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match="there is no such entity"):
        move(roots(), "e0", "nobody")


def test_only_what_changed_is_told_and_the_moved_one_has_a_new_instant() -> None:
    hierarchy = roots()
    move(hierarchy, "e1", "e0")
    move(hierarchy, "e2", "e1")
    move(hierarchy, "e2", None)
    changed = {entity.id: entity for entity in hierarchy.changed()}
    assert changed.keys() == {"e0", "e1", "e2"}
    assert (changed["e1"].parent, changed["e1"].updated_at_ms, changed["e0"].updated_at_ms) == ("e0", 5, 0)
    assert changed["e0"].children_by_height == (1, 0, 0)


def test_a_move_to_where_it_is_changes_nothing() -> None:
    hierarchy = roots()
    move(hierarchy, "e1", None)
    assert hierarchy.changed() == []


@given(MOVES)
def test_whatever_is_tried_exactly_the_allowed_moves_are_made_and_heights_are_right(
    moves: list[tuple[str, str | None]],
) -> None:
    hierarchy = roots()
    for id, parent in moves:
        before = parents(hierarchy)
        wanted = {**before, id: parent}
        try:
            move(hierarchy, id, parent)
        except InvalidInput:
            assert not is_allowed(wanted)
            assert parents(hierarchy) == before
        else:
            assert is_allowed(wanted)
            assert parents(hierarchy) == wanted
        for each, entity in hierarchy.entities.items():
            assert entity.height == height(parents(hierarchy), each)
            children = [child for child, above in parents(hierarchy).items() if above == each]
            heights = [height(parents(hierarchy), child) for child in children]
            assert entity.children_by_height == tuple(heights.count(level) for level in range(3))
