"""Rules of the house that no linter knows. Each one is a function from a file to what is wrong with it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = frozenset({".git", "build", "dist", "__pycache__", "node_modules"})
TEXT_ENDINGS = frozenset(
    {".py", ".lua", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".cfg", ".ini", ".sh", ".svg"}
)
TEXT_NAMES = frozenset({"Makefile", "Dockerfile", "LICENSE", "run"})

FUNCTION_LINES_MAX = 90
FILE_LINES_MAX = 450
TEST_FILE_LINES_MAX = 600  # tables of cases are long, and not hard to read


def project_files(root: Path) -> Iterator[Path]:
    """Every text file of the project; hidden folders are made by tools, except .ci and .github."""
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            is_hidden = entry.name.startswith(".") and entry.name not in {".ci", ".github"}
            if not is_hidden and entry.name not in LEFT_OUT and not entry.name.endswith(".egg-info"):
                yield from project_files(entry)
        elif entry.suffix in TEXT_ENDINGS or entry.name in TEXT_NAMES:
            yield entry


FILES = {file.relative_to(ROOT).as_posix(): file for file in project_files(ROOT)}
PYTHON = sorted(name for name in FILES if name.endswith(".py") and "/protocol/" not in name)  # that part is generated
LUA = sorted(name for name in FILES if name.startswith("lua/") and name.endswith(".lua"))
MARKDOWN = sorted(name for name in FILES if name.endswith(".md"))


# Put together from pieces, so that this file does not hold what it forbids.
BANNED = {
    r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b": "do it now, or write down what is missing where users read it",
    r"(?<![\w.*<>{}/-])/(ho" + r"me|ro" + r"ot|wo" + r"rk|Us" + r"ers)/": "write a path relative to the checkout",
    r"\b(files\.)?py"
    + r"thonhosted\.org|\bpy"
    + r"pi\.org|\bregistry\.npm"
    + r"js": "name the package, not an address",
}


def banned_words(text: str) -> list[str]:
    return [
        f"line {number}: {match[0]!r}: {instead}"
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern, instead in BANNED.items()
        if (match := re.search(pattern, line))
    ]


def size_problems(name: str, source: str) -> list[str]:
    lines_max = TEST_FILE_LINES_MAX if name.startswith("tests/") else FILE_LINES_MAX
    lines = source.count("\n")
    found = []
    if lines > lines_max:
        found.append(f"{lines} lines, more than {lines_max}: look for two things in one, and part them")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                found.append(f"{node.name}: {length} lines, more than {FUNCTION_LINES_MAX}: let one decide, another do")
    return found


def lua_header_problems(name: str, text: str) -> list[str]:
    first = text.partition("\n")[0]
    if name.startswith("lua/lib/"):
        return [] if re.match(r"-- \S.{10,}\.$", first) else ["open with a comment: what the part holds, as a sentence"]
    verb = Path(name).stem
    return [] if first.startswith(f"-- {verb}: ") else [f"open with '-- {verb}: ' and what the script does"]


def broken_links(name: str, text: str, root: Path) -> list[str]:
    """Relative links of a page that lead nowhere; what stands in code is no link."""
    prose = re.sub(r"^(```|~~~).*?^\1[^\n]*$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    found = []
    for target in re.findall(r"\]\(<?([^)\s>]+)>?(?: [^)]*)?\)", prose):
        path = target.partition("#")[0]
        if not path or re.match(r"[a-z][a-z0-9+.-]*:", path):
            continue
        if not (root / name).parent.joinpath(path).exists():
            found.append(f"links to {target}, which is not there: mend the link, or write the page")
    return found


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_holds_what_only_its_author_understands(name: str) -> None:
    assert banned_words(FILES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", PYTHON)
def test_files_and_functions_stay_small_enough_to_read(name: str) -> None:
    assert size_problems(name, FILES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", LUA)
def test_every_lua_file_says_what_it_is(name: str) -> None:
    assert lua_header_problems(name, FILES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", MARKDOWN)
def test_every_link_of_a_page_leads_somewhere(name: str) -> None:
    assert broken_links(name, FILES[name].read_text(encoding="utf-8"), ROOT) == []


def test_the_rules_see_the_whole_project() -> None:
    assert {"Makefile", "pyproject.toml", ".ci/run", "engine/headgate/scripts.py", "lua/lib/statuses.lua"} <= set(FILES)
    assert not [name for name in FILES if name.startswith((".venv", ".git/", "build/"))]


@pytest.mark.parametrize(
    "line",
    [
        "x = 1  # TO" + "DO: later",
        "see /wo" + "rk/shared",
        "open('/ho" + "me/me/x')",
        "https://files.py" + "thonhosted.org/packages",
        "index = https://py" + "pi.org/simple",
    ],
)
def test_a_banned_word_is_found_and_its_line_told(line: str) -> None:
    (problem,) = banned_words(f"first\n{line}\n")
    assert problem.startswith("line 2: ")


@pytest.mark.parametrize("line", ["a method", "leaf/root/of", "https://example.com/home/x", "mastodon", "<dir>/work/x"])
def test_a_word_that_only_looks_like_a_banned_one_is_fine(line: str) -> None:
    assert banned_words(line) == []


def test_a_long_file_and_a_long_function_are_found() -> None:
    body = "    x = 1\n"
    assert size_problems("engine/a.py", "def f():\n" + body * 89) == []
    assert "f: 91 lines" in size_problems("engine/a.py", "def f():\n" + body * 90)[0]
    assert "451 lines" in size_problems("engine/a.py", "x = 1\n" * 451)[0]
    assert size_problems("tests/a.py", "x = 1\n" * 451) == []
    assert "601 lines" in size_problems("tests/a.py", "x = 1\n" * 601)[0]


def test_a_lua_file_without_its_opening_line_is_found() -> None:
    assert lua_header_problems("lua/check.lua", "-- check: decide, and write nothing.\n") == []
    assert lua_header_problems("lua/check.lua", "local x = 1\n") == ["open with '-- check: ' and what the script does"]
    assert lua_header_problems("lua/lib/sum.lua", "-- Sums of two amounts.\n") == []
    assert len(lua_header_problems("lua/lib/sum.lua", "local x = 1\n")) == 1


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "design.md").write_text("# Design\n")
    page = "[a](design.md#words) [b](../docs) [c](https://x.example) [d](#here) `[e](none.md)`\n```\n[f](no.md)\n```\n"
    assert broken_links("docs/index.md", page, tmp_path) == []
    assert "links to gone.md" in broken_links("docs/index.md", page + "[g](gone.md)", tmp_path)[0]
