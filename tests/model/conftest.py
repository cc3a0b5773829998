"""The targets of the state machine, each started once, when a test first asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from model.targets import Target, Targets


@pytest.fixture(scope="session")
def targets() -> Iterator[Targets]:
    with asyncio.Runner() as runner, Targets(runner) as targets:
        yield targets


@pytest.fixture
def target(request: pytest.FixtureRequest, targets: Targets) -> Target:
    name: str = request.param
    return targets.start(name)
