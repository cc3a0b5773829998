"""A child that was forked: it hears for itself, and answers nothing by what its parent had heard."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from headgate import Headgate, Settings
from servers import RedisServer, available_binaries, wait_until

SETTINGS = Settings(partitions=4, deadline_ms=10_000, setup_deadline_ms=60_000, cache_max_bytes=1_000_000)
WAIT_S = 30


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_answers_what_is_there_now_and_hears_of_later_changes() -> None:
    with (
        RedisServer(list(available_binaries().values())[-1]) as server,
        Headgate.connect(server.url, settings=SETTINGS) as engine,
        Headgate.connect(server.url, settings=SETTINGS) as writer,
    ):
        writer.catalog.put_features([{"id": "sso", "feature_type": "BOOLEAN"}])
        writer.customers.put("acme")
        writer.customers.grant_entitlement("acme", {"feature": "sso"})
        listener: Any = engine._listener
        wait_until(listener.subscribed.is_set, within_s=WAIT_S, what="it listens")
        assert engine.boolean_entitlement("acme", "sso").has_access
        told, tell = os.pipe()
        asked, ask = os.pipe()
        child = os.fork()
        if child == 0:
            os._exit(_as_child(engine, asked, tell))
        os.close(tell)
        os.close(asked)
        try:
            assert os.read(told, 1) == b"y"  # the child hears for itself, and has read the grant
            writer.customers.revoke_entitlement("acme", feature="sso")
            os.write(ask, b"?")
            assert os.read(told, 1) == b"y"  # and hears that it was taken back
        finally:
            os.close(told)
            os.close(ask)
            _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def _as_child(engine: Headgate, asked: int, tell: int) -> int:
    try:
        assert engine.boolean_entitlement("acme", "sso").has_access
        listener: Any = engine._listener
        wait_until(listener.subscribed.is_set, within_s=WAIT_S, what="the child listens")
        assert engine.boolean_entitlement("acme", "sso").has_access
        os.write(tell, b"y")
        os.read(asked, 1)
        wait_until(
            lambda: not engine.boolean_entitlement("acme", "sso").has_access, within_s=WAIT_S, what="the child hears"
        )
        os.write(tell, b"y")
    except BaseException as error:
        print(f"in the child: {error!r}", file=sys.stderr)
        return 1
    return 0
