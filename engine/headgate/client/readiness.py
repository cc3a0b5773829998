"""Whether an engine's Redis can be reached, runs the scripts, and takes writes: for those who route requests."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from headgate.calls import Verb
from headgate.client.async_client import AsyncHeadgate
from headgate.client.async_transport import AsyncRedisTransport
from headgate.client.delivery import NotRun, ReplyLost, ScriptFailed
from headgate.clock import monotonic_ms
from headgate.errors import EnvironmentNotReady, HeadgateError
from headgate.verbs.environment import open_environment

_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "role": ("master", "the server is a replica: verdicts are the primary's alone"),
    "loading": ("0", "the server is loading its data"),
    "aof_last_write_status": ("ok", "the server cannot write its append-only file, and refuses writes"),
    "rdb_last_bgsave_status": ("ok", "the server could not save its data, and may refuse writes"),
}


async def trouble_of(engine: AsyncHeadgate, deadline_ms: int) -> list[str]:
    """Say why requests could not be answered now, as sentences; none where all is well. Takes no longer than told.

    An environment that nothing was ever written to is no trouble: whoever sets it up needs to be let through.
    """
    end_ms = monotonic_ms() + deadline_ms
    try:
        found = await _refusals(engine, end_ms)
        if not found:  # what the server says of itself is clearer than what a script is refused with
            await engine._drive(_look(engine), end_ms)
        return found
    except (HeadgateError, NotRun, ReplyLost, ScriptFailed) as error:
        return [str(error)]


def _look(engine: AsyncHeadgate) -> Verb[None]:
    """Run a script that reads what the environment is, also where this engine knows it already: it stays known."""
    with contextlib.suppress(EnvironmentNotReady):
        yield from open_environment(replace(engine._state, environment=None))


async def _refusals(engine: AsyncHeadgate, end_ms: float) -> list[str]:
    """What the server says of itself that keeps it from writing; of a cluster, its first node."""
    transport = engine._transport
    if not isinstance(transport, AsyncRedisTransport):
        return []
    info: bytes = await transport.command("INFO", deadline_ms=end_ms)
    told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    found = [reason for name, (good, reason) in _REASONS.items() if told.get(name, good) != good]
    most = int(told.get("maxmemory", 0))
    if most and int(told.get("used_memory", 0)) >= most and told.get("maxmemory_policy") == "noeviction":
        found.append("the server's memory is full, and it refuses writes")
    return found
