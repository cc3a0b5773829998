"""A fake Redis server in this process, which runs Headgate's scripts as a real one does.

It is fakeredis, used by its public commands alone: each server has an interpreter of its own, in which `struct` and
`cmsgpack` are installed as modules by the first EVAL. Nothing is patched, so other users of fakeredis see nothing of
it. It answers as Redis 6.2 does. It is one node, without persistence, ACL or memory limit, and it does not refuse keys
that a script did not declare: what depends on these is tested on real servers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Final, cast

from headgate.scripts import Clock, ScriptSet, load_scripts
from headgate.testing.lua_modules import INSTALL, PRELUDE

try:
    import fakeredis
    import lupa  # noqa: F401  (fakeredis looks for it only when a script runs, and then says less)
except ImportError as error:
    raise ImportError(
        f"headgate.testing needs fakeredis and lupa, and {error.name} is not there: pip install 'headgate[testing]'",
        name=error.name,
    ) from error

VERSION: Final = (6, 2)

KEEPS_MODULES: Final = "return package.loaded.struct and 1 or 0"

Hear = Callable[[bytes], None]
"""What is called with each message of a channel."""


class FakeServer:
    """A server with no data yet. Engines that are given the same one share its data, as processes share a Redis.

    `redis` is a plain client of it, to look at keys with. It is safe to share between threads.
    """

    def __init__(self) -> None:
        self.redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=VERSION))
        self._client = cast(Any, self.redis)  # the driver has no types for what is asked of it here
        self._messages = self._client.pubsub(ignore_subscribe_messages=True)
        self._one_at_a_time = Lock()
        self._loaded: set[str] = set()
        self._hearers: dict[bytes, list[Hear]] = {}
        self._client.execute_command("EVAL", INSTALL, 0)
        if not self._client.execute_command("EVAL", KEEPS_MODULES, 0):
            raise ImportError(
                "headgate.testing needs fakeredis 2.34 or newer: an older one forgets what its Lua loaded"
            )

    def run(self, scripts: ScriptSet, name: str, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        """Run one script of a set that `load_fake_scripts` made, and return its reply as redis-py gives it.

        Those who hear a channel are told what the script published before this returns: nobody has to wait for it.
        """
        script = scripts[name]
        with self._one_at_a_time:
            if script.sha1 not in self._loaded:
                self._client.script_load(script.source)
                self._loaded.add(script.sha1)
            reply = self._client.execute_command("EVALSHA", script.sha1, len(keys), *keys, *args)
            told = [(hear, message) for channel, message in self._published() for hear in self._hearers[channel]]
        for hear, message in told:
            hear(message)
        return reply

    def hear(self, channel: bytes, hear: Hear) -> None:
        """Call `hear` with every message that a script publishes on a channel from now on."""
        with self._one_at_a_time:
            if channel not in self._hearers:
                self._messages.subscribe(channel)
            self._hearers.setdefault(channel, []).append(hear)

    def stop_hearing(self, channel: bytes, hear: Hear) -> None:
        """Call it no more."""
        with self._one_at_a_time:
            if hear in self._hearers.get(channel, []):
                self._hearers[channel].remove(hear)

    def close(self) -> None:
        """Let go of the data."""
        self._messages.close()
        self.redis.close()

    def _published(self) -> list[tuple[bytes, bytes]]:
        published: list[tuple[bytes, bytes]] = []
        while self._hearers and self._messages.connection is not None and self._messages.connection.can_read():
            message = self._messages.get_message()
            if message is not None:
                published.append((message["channel"], message["data"]))
        return published


def load_fake_scripts(clock: Clock) -> ScriptSet:
    """Load the scripts as a fake server needs them: with a line in front that brings `struct` and `cmsgpack`."""
    return load_scripts(clock=clock, prelude=PRELUDE)
