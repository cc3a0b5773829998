"""Nothing sleeps to wait for something, except where it is written down here, with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("engine", "tests", "loadtests", "examples")
MODULES = frozenset({"time", "asyncio", "anyio", "trio"})
SLEEPS = frozenset({"sleep", "sleep_until"})

INSTEAD = (
    "wait for the event, the reply or the end of a process itself; let a ManualClock go on; or, where another process "
    "does something and tells nobody, poll it with servers.wait_until"
)

# The function that sleeps, and why nothing better can be waited for.
ALLOWED = {
    ("engine/headgate/cli/demo_worker.py", "_stop_after"): "a demo lasts for as long as it is told",
    ("engine/headgate/cli/demo_worker.py", "_tell"): "counts are shown some times a second",
    ("engine/headgate/client/async_client.py", "AsyncHeadgate._deliver_alone"): "the pause before a call is sent again",
    ("engine/headgate/client/sync_client.py", "Headgate._deliver_alone"): "the pause before a call is sent again",
    ("engine/headgate/client/listening.py", "AsyncListener._run"): "the pause before a connection is made again",
    ("engine/headgate/client/embedded.py", "_wait"): "a bounded poll of a lock, a socket and a process of others",
    ("engine/headgate/cli/worker.py", "sweep_for_ever"): "sweeps are made some seconds apart",
    ("engine/headgate/cli/worker.py", "_take_figures"): "the figures of /metrics are taken at intervals",
    ("engine/headgate/cli/worker.py", "_stop_without"): "a parent that is killed tells nobody",
    ("tests/servers.py", "wait_until"): "a bounded poll of what another process does",
    ("tests/integration/test_listening.py", "note_pauses"): "notes the listener's pause, and hands it on",
}


def sleeps(source: str) -> Iterator[tuple[int, str, str]]:
    """Where a file sleeps: the line, the function it is in, and the code. `sleep(0)` only lets others run."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in MODULES
    }
    yield from _sleeps(tree, (), modules.keys() | MODULES)


def _sleeps(node: ast.AST, within: tuple[str, ...], modules: AbstractSet[str]) -> Iterator[tuple[int, str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        within = (*within, node.name)
    if isinstance(node, ast.Call) and _is_sleep(node.func, modules) and _is_zero(node):
        return
    if isinstance(node, ast.expr) and _is_sleep(node, modules):
        yield node.lineno, ".".join(within), ast.unparse(node)
    if isinstance(node, ast.ImportFrom) and node.module in MODULES and SLEEPS & {each.name for each in node.names}:
        yield node.lineno, ".".join(within), ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from _sleeps(child, within, modules)


def _is_sleep(node: ast.expr, modules: AbstractSet[str]) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr not in SLEEPS:
        return False
    owner = node.value
    return (isinstance(owner, ast.Name) and owner.id in modules) or (
        isinstance(owner, ast.Attribute) and owner.attr in MODULES
    )


def _is_zero(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


FILES = {
    file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
    for folder in FOLDERS
    for file in sorted((ROOT / folder).rglob("*.py"))
}


@pytest.mark.parametrize("name", FILES)
def test_nothing_sleeps_but_where_it_is_allowed(name: str) -> None:
    found = [
        f"line {line}: {code} in {function or 'no function'}: {INSTEAD}"
        for line, function, code in sleeps(FILES[name])
        if (name, function) not in ALLOWED
    ]
    assert found == []


def test_what_is_allowed_is_still_there() -> None:
    there = {(name, function) for name, source in FILES.items() for _, function, _ in sleeps(source)}
    assert ALLOWED.keys() - there == set(), "nothing sleeps there any more: take the line out of ALLOWED"


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef f():\n    time.sleep(0.1)\n",
        "import asyncio\nasync def f():\n    await asyncio.sleep(delay)\n",
        "import anyio\nasync def f():\n    await anyio.sleep(1)\n",
        "import time as clock\ndef f():\n    clock.sleep(1)\n",
        "import asyncio\ndef f():\n    pause = asyncio.sleep\n",
        "import module\ndef f():\n    module.asyncio.sleep(1)\n",
        "\ndef f():\n    from time import sleep\n",
        "import anyio\nasync def f():\n    await anyio.sleep_until(7)\n",
    ],
)
def test_a_sleep_is_found_and_its_function_named(source: str) -> None:
    ((line, function, _),) = sleeps(source)
    assert (line, function) == (3, "f")


def test_a_sleep_of_a_method_is_named_with_its_class_and_one_outside_of_all_with_nothing() -> None:
    source = "import time\nclass A:\n    def f(self):\n        time.sleep(1)\ntime.sleep(2)\n"
    assert [function for _, function, _ in sleeps(source)] == ["A.f", ""]


@pytest.mark.parametrize(
    "line",
    [
        "await asyncio.sleep(0)",
        "await anyio.sleep(0)",
        "await anyio.sleep_forever()",
        "watched.sleep(3)",
        "patch.setattr(asyncio, 'sleep', noted)",
    ],
)
def test_what_takes_no_time_or_is_another_thing_is_fine(line: str) -> None:
    assert list(sleeps(f"import asyncio, anyio\nasync def f():\n    {line}\n")) == []
