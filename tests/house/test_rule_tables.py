"""Every numbered rule of the concept pages is shown by exactly one test, and no test claims a rule that is not there.

A rule is a row of a table in docs/concepts whose first cell is a letter and a number: `| E12 | … |`. What shows it is a
test function named `test_e12_…`, or cases of a table with the id `E12 …`; all cases of a rule stand in one table.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "concepts").glob("*.md"))}
TESTS = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for file in sorted((ROOT / "tests").rglob("test_*.py"))
    if file != Path(__file__)
}

ROW = re.compile(r"^\| ([A-Z][0-9]+) \|", flags=re.MULTILINE)
TEST_NAME = re.compile(r"test_([a-z][0-9]+)_")
CASE_NAME = re.compile(r"([A-Z][0-9]+) \S")


def rules_of(page: str) -> list[str]:
    """The rules of a page, in its order."""
    return ROW.findall(page)


def _claims(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (named := TEST_NAME.match(node.name)):
        yield named[1].upper()
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and (named := CASE_NAME.match(node.value)):
        yield named[1]


def rules_shown(source: str) -> list[str]:
    """The rules that a file of tests shows: each once for every statement of the file that names it."""
    return [
        rule
        for statement in ast.parse(source).body
        for rule in sorted({rule for node in ast.walk(statement) for rule in _claims(node)})
    ]


def numbering_problems(rules: list[str]) -> list[str]:
    """What is wrong with the numbers of a page: each letter counts from 1, in order, without a gap."""
    by_letter: dict[str, list[int]] = {}
    for rule in rules:
        by_letter.setdefault(rule[0], []).append(int(rule[1:]))
    return [
        f"{letter}: {numbers}: number the rows from 1 on, each once"
        for letter, numbers in by_letter.items()
        if numbers != list(range(1, len(numbers) + 1))
    ]


def problems(pages: Mapping[str, str], tests: Mapping[str, str]) -> list[str]:
    rules = [rule for page in pages.values() for rule in rules_of(page)]
    letters = {rule[0] for rule in rules}
    shown = [(rule, name) for name, source in tests.items() for rule in rules_shown(source) if rule[0] in letters]
    times = Counter(rule for rule, _ in shown)
    return [
        *(f"{rule} is on two pages: take another letter" for rule, seen in Counter(rules).items() if seen > 1),
        *(f"{rule} has no test: write test_{rule.lower()}_…" for rule in rules if not times[rule]),
        *(f"{rule} is shown in {name}, and elsewhere: bring it together" for rule, name in shown if times[rule] > 1),
        *(f"{rule}, which {name} shows, is on no page: write the row" for rule, name in shown if rule not in rules),
    ]


def test_every_rule_of_the_pages_has_exactly_one_test() -> None:
    assert problems(PAGES, TESTS) == []


@pytest.mark.parametrize("page", PAGES)
def test_the_rules_of_a_page_are_numbered_without_a_gap(page: str) -> None:
    assert numbering_problems(rules_of(PAGES[page])) == []


def test_the_pages_have_rules() -> None:
    letters = Counter(rule[0] for page in PAGES.values() for rule in rules_of(page))
    assert letters.keys() >= {"E", "U", "C"}
    assert min(letters["E"], letters["U"], letters["C"]) > 20


PAGE = "| rule | |\n|---|---|\n| A1 | one |\n| A2 | two, like A1 |\n\nA3 is no row.\n"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def test_a1_one(): ...\n", "A2 has no test"),
        ("CASES = ['A1 x', 'A2 x']\ndef test_a1_again(): ...\n", "A1 is shown in test_x.py, and elsewhere"),
        ("CASES = ['A1 x', 'A2 x', 'A3 x']\n", "A3, which test_x.py shows, is on no page"),
    ],
)
def test_a_rule_without_its_one_test_is_found(source: str, problem: str) -> None:
    (found,) = set(problems({"page.md": PAGE}, {"test_x.py": source}))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "source",
    [
        "def test_a1_one(): ...\nCASES = [case(1, id='A2 two'), case(2, id='A2 other')]\n",
        "async def test_a1_one(): ...\nclass All:\n    def test_a2_two(self): ...\n",
        "@parametrize('x', [case(id='A1 x'), case(id='A2 x')])\ndef test_all(): 'B7 is no rule'\n",
    ],
)
def test_a_rule_is_shown_by_a_name_or_by_the_cases_of_one_table(source: str) -> None:
    assert problems({"page.md": PAGE}, {"test_x.py": source}) == []


def test_a_rule_on_two_pages_and_a_gap_are_found() -> None:
    sources = {"test_x.py": "CASES = ['A1 x', 'A2 x']"}
    assert problems({"one.md": PAGE, "two.md": PAGE}, sources)[0] == "A1 is on two pages: take another letter"
    assert numbering_problems(["A1", "A2", "B1"]) == []
    assert numbering_problems(["A1", "A3"]) == ["A: [1, 3]: number the rows from 1 on, each once"]
