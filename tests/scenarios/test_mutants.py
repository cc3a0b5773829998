"""The list of mutants fits the Lua as it is: each changes one line that is there exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import load_program

ROOT = Path(__file__).parents[2]


mutants = load_program("mutants")


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_line_that_is_there_exactly_once(mutant: object, tmp_path: Path) -> None:
    root = tmp_path
    file = root / mutant.file
    file.parent.mkdir(parents=True)
    before = (ROOT / mutant.file).read_text()
    file.write_text(before)
    mutants.apply(mutant, root)
    pairs = list(zip(before.splitlines(), file.read_text().splitlines(), strict=True))
    assert [(old.strip(), new) for old, new in pairs if old != new] == [(mutant.old, mutant.new)]


def test_a_mutant_whose_line_is_gone_or_there_twice_is_an_error(tmp_path: Path) -> None:
    mutant = mutants.Mutant("any", "a.lua", "return 1", "return 2", "it is wrong")
    for text in ("return 3\n", "return 1\n  return 1\n", "return 1 + 1\n"):
        (tmp_path / "a.lua").write_text(text)
        with pytest.raises(mutants.BrokenMutant, match="times"):
            mutants.apply(mutant, tmp_path)


def test_mutants_have_names_of_their_own_and_are_at_least_twelve() -> None:
    names = [mutant.name for mutant in mutants.MUTANTS]
    assert len(set(names)) == len(names) >= 12
