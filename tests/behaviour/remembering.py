"""An engine that answers entitlements from memory, another that changes things, and what the one has heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import anyio
import anyio.lowlevel

from behaviour.readings import found_full_shop
from behaviour.targets import WAIT_S, Target
from behaviour.world import ACME, REGIONS, RETENTION, SSO
from headgate import AsyncHeadgate, Entitlement, Update
from servers import wait_until

BYTES: Final = 1_000_000
SETTINGS_READ: Final = ["load"]
"""What is sent to read a feature that nothing is counted of."""


class Remembering:
    """An engine that keeps answers, on a shop that another has founded."""

    def __init__(self, target: Target, engine: AsyncHeadgate, updates: AsyncIterator[Update]) -> None:
        self.target, self.engine, self.writer = target, engine, target.engine
        self._updates = updates
        self._marks = 0

    async def hears(self) -> None:
        """Wait until the engine has heard of everything that was written before."""
        self._marks += 1
        mark = f"cus-mark-{self._marks}"
        await self.writer.customers.put(mark)
        with anyio.fail_after(WAIT_S):
            while (await anext(self._updates)).customer != mark:
                pass
        self.target.scripts_sent()

    async def asked(self, reading: Any) -> tuple[Any, list[str]]:
        """What a reading answers, and which scripts it called."""
        self.target.scripts_sent()
        return await reading, self.target.scripts_sent()

    async def each(self) -> list[Entitlement]:
        """One answer of each kind that nothing is counted of."""
        return [
            await self.engine.boolean_entitlement(ACME, SSO),
            await self.engine.numeric_entitlement(ACME, RETENTION),
            await self.engine.enum_entitlement(ACME, REGIONS, requested_values=["eu"]),
        ]

    def after(self, script: str, act: Callable[[], object], heard: Callable[[], bool]) -> None:
        """Once, after a script's reply has come and before the engine sees it: do something, and let it be heard."""
        made: Any = self.engine
        is_async = self.target.edge == "async"
        made = made if is_async else made._wrapped
        made._transport = Late(made._transport, script, act, heard, is_async=is_async)


class Late:
    """A transport between whose replies and the engine something happens, once."""

    def __init__(
        self, transport: Any, script: str, act: Callable[[], object], heard: Callable[[], bool], *, is_async: bool
    ) -> None:
        self._transport, self._script, self._act, self._heard = transport, script, act, heard
        self._is_async = is_async
        self._is_over = False

    def send(self, call: Any, deadline_ms: float) -> Any:
        if call.script != self._script or self._is_over:
            return self._transport.send(call, deadline_ms)
        self._is_over = True
        if self._is_async:
            return self._send(call, deadline_ms)
        reply = self._transport.send(call, deadline_ms)
        self._act()
        wait_until(self._heard, within_s=WAIT_S, what="the engine hears of it")
        return reply

    async def _send(self, call: Any, deadline_ms: float) -> Any:
        reply = await self._transport.send(call, deadline_ms)
        self._act()
        with anyio.fail_after(WAIT_S):
            while not self._heard():
                await anyio.lowlevel.checkpoint()
        return reply

    def close(self) -> Any:
        return self._transport.close()


async def remember(target: Target, **settings: Any) -> Remembering:
    """Found the shop, and let an engine listen that keeps answers."""
    await found_full_shop(target.engine)
    engine = target.open(listen=True, **{"cache_max_bytes": BYTES, **settings})
    updates = engine.updates()
    await target.subscribed(engine)
    found = Remembering(target, engine, updates)
    await found.hears()
    await engine.catalog.features()  # whoever asks first reads the catalog, too
    return found
