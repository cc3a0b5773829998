"""A claim or an API key that nobody waits for any more is not written by a server that gets to it late."""

from __future__ import annotations

from typing import Any

import pytest

from behaviour.targets import NOW_MS, SETTINGS, Target
from behaviour.world import ACME, FEATURES
from headgate.calls import Call
from headgate.clock import monotonic_ms
from headgate.keys import Keyspace
from headgate.wire import MOMENT, Status

HERE = pytest.mark.parametrize("target", ["sync-redis-6.2", "sync-in-process"], indirect=True)


def send(target: Target, script: str, keys: tuple[bytes, ...], not_after_ms: float, *arguments: bytes) -> Any:
    """Send a call whose caller waits until an instant; return its status."""
    engine: Any = target.engine
    call = Call(script, keys, (MOMENT.pack(not_after_ms, NOW_MS), *arguments))
    return engine._transport.send(call, monotonic_ms() + SETTINGS.deadline_ms)[0]


@HERE
async def test_a_claim_that_is_late_is_not_written(target: Target) -> None:
    await target.engine.catalog.put_features(FEATURES)
    places = Keyspace(target.environment, SETTINGS.partitions or 0).names("sub-1")
    before = target.dump()
    arguments = (b"subscription:sub-1", ACME.encode())
    assert send(target, "claim", places, NOW_MS - 1, *arguments) == Status.LATE
    assert target.dump() == before
    assert send(target, "claim", places, NOW_MS, *arguments) == Status.DONE
    assert await target.engine.subscriptions.owner("sub-1") == (ACME, None)


@HERE
async def test_an_api_key_that_is_late_is_not_written(target: Target) -> None:
    places = (Keyspace(target.environment, 1).api_keys,)
    assert send(target, "write_api_key", places, NOW_MS - 1, b"one", b"", b"document") == Status.LATE
    assert target.dump() == {}
    for _ in range(2):  # what is written already is done
        assert send(target, "write_api_key", places, NOW_MS, b"one", b"", b"document") == Status.DONE
    assert send(target, "write_api_key", places, NOW_MS, b"one", b"", b"another") == Status.STALE
    assert target.dump() == {places[0]: {b"one": b"document"}}
