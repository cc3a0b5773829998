"""What the tests of the terminal and of `apply` share, beside the fixtures of conftest.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from behaviour.targets import read_key
from headgate.settings import Settings
from servers import RedisServer

Terminal = Callable[..., tuple[int, str, str]]
"""Runs a command of the terminal; returns its exit code, stdout and stderr."""

SMALL = Settings(deadline_ms=10_000, partitions=2, listen=False)
"""Settings of an engine on an environment that is made in little time."""


def everything(server: RedisServer, environment: str) -> dict[bytes, Any]:
    """Every key of an environment with its content. (A dump will not do: a server may lay the same hash out anew.)"""
    client: Any = server.client()
    keys = [key for key in client.keys("hg:*") if environment in re.split(r"[:{}/]", key.decode())]
    return {key: read_key(client, key) for key in keys}
