"""Who knocks: API keys from the header `X-API-KEY`, held against the environment's keys.

The keys are kept in memory, and read again where they are older than 5 seconds: so long a new key may still be
unknown, and a revoked one still work. While Redis is away the last known keys go on, so that the answer is 503 by
whatever was asked, and not 401; where no keys were ever read, that is said with a 503, too.

`HEADGATE_API_KEY` is one more key, with full scope, which no Redis needs to know.

Without any key everybody is let in, with full scope, where that was allowed: `headgate serve` allows it on loopback.
Keys that appear later count from then on, and from then on the door stays shut, also when the last key is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from pydantic import SecretStr

from headgate.client.opening import COLD_DEADLINES
from headgate.clock import monotonic_ms, wall_ms
from headgate.errors import HeadgateError, Unavailable
from headgate.model.api_key import ApiKey, KeyScope
from headgate.rest.access import Caller
from headgate.rest.problems import Refused
from headgate.verbs.api_keys import verify

KNOWN_FOR_MS: Final = 5_000
"""How old keys in memory may be."""
AGAIN_AFTER_MS: Final = 1_000
"""How long to wait before keys are asked for again that could not be read."""
KEY_BYTES_MAX: Final = 512

FROM_ENVIRONMENT: Final = "environment"
"""The id by which the key of `HEADGATE_API_KEY` is logged."""

EVERYBODY: Final = Caller(None, KeyScope.FULL)


class Doorkeeper:
    """Finds out who calls. One for a process; `identify` may be called by many tasks at once."""

    def __init__(
        self,
        load: Callable[[], Awaitable[Sequence[ApiKey]]],
        *,
        api_key: SecretStr | None = None,
        is_open_without_keys: bool = False,
        deadline_ms: int = 250,
        now_ms: Callable[[], int] = wall_ms,
        elapsed_ms: Callable[[], float] = monotonic_ms,
    ) -> None:
        self._load = load
        self._own = None if api_key is None else _digest(api_key.get_secret_value().encode())
        self._is_open = is_open_without_keys and api_key is None
        self._deadline_ms = deadline_ms
        self._now_ms, self._elapsed_ms = now_ms, elapsed_ms
        self._keys: Mapping[str, ApiKey] | None = None
        self._again_ms = elapsed_ms()
        self._loading: asyncio.Task[None] | None = None

    async def identify(self, text: bytes | None) -> Caller:
        """Say whose key this is; raise `Refused` where it is nobody's, `Unavailable` where no keys could be read."""
        if self._own is not None and text is not None and hmac.compare_digest(_digest(text), self._own):
            return Caller(FROM_ENVIRONMENT, KeyScope.FULL)
        if self._elapsed_ms() >= self._again_ms:
            await self._refresh()
        if self._keys is None:
            raise Unavailable("the API keys could not be read: who calls cannot be said")
        if self._is_open:
            return EVERYBODY
        if text is None:
            raise _refused("give an API key in the header X-API-KEY")
        shown = text[:KEY_BYTES_MAX].decode("latin-1")
        meant = self._keys.get(shown.removeprefix("hg_").partition("_")[0])  # a key's id is no secret
        found = None if meant is None else verify([meant], shown, self._now_ms())
        if found is not None:
            return Caller(found.id, found.scope)
        raise _refused("this API key is not known, or is revoked")

    @property
    def knows_keys(self) -> bool:
        """Whether the keys could be read at all: there may be none."""
        return self._keys is not None

    async def look_first(self) -> None:
        """Read the keys before anybody knocks: that also connects, and may take as long as a first call may."""
        await self._refresh(COLD_DEADLINES)

    async def _refresh(self, deadlines: int = 1) -> None:
        """Read the keys again; who comes meanwhile waits for the same reading."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._read(deadlines * self._deadline_ms / 1000))
        await asyncio.shield(self._loading)

    async def _read(self, seconds: float) -> None:
        try:
            self._again_ms = self._elapsed_ms() + AGAIN_AFTER_MS
            with contextlib.suppress(HeadgateError, TimeoutError):
                async with asyncio.timeout(seconds):
                    began_ms = self._elapsed_ms()
                    self._keys = {key.id: key for key in await self._load()}
                self._again_ms = began_ms + KNOWN_FOR_MS
                self._is_open = self._is_open and not self._keys
        finally:
            self._loading = None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _refused(message: str) -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, "Unauthenticated", message)
