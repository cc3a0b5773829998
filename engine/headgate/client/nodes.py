"""What threads and asyncio share about servers: which node has a slot, and what an error of a server means. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import BusyLoadingError as LoadingError

from headgate.client.delivery import NotRun, ScriptFailed

Address = tuple[str, int]

_NOT_RUN: Final = (ClusterDownError, LoadingError, MasterDownError, ReadOnlyError, TryAgainError, OutOfMemoryError)
_NOT_RUN_CODE: Final = re.compile(
    r"(?:^|-)(?:TRYAGAIN|CLUSTERDOWN|LOADING|READONLY|MASTERDOWN|BUSY|OOM|NOREPLICAS|MISCONF)\b"
)
"""Redis 6.2 quotes what a script's first write was refused for: `Error running script …: -READONLY …`."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The server says that another node has the slot; for one call only, if it asks."""

    address: Address
    asks: bool
    slot: int


def meaning_of(error: ResponseError) -> Redirect | NotRun | ScriptFailed:
    """Say what an error reply means for the call that got it. A script's own error comes before its first write."""
    if isinstance(error, AskError):
        return Redirect((error.host, error.port), True, error.slot_id)
    if isinstance(error, MovedError):
        return Redirect((error.host, error.port), False, error.slot_id)
    text = str(error)
    if isinstance(error, AuthenticationError | NoPermissionError):
        return ScriptFailed(text)
    if isinstance(error, _NOT_RUN) or _NOT_RUN_CODE.search(text):
        return NotRun(text)
    return ScriptFailed(text)


class SlotMap:
    """Which node of a cluster has which slot, as far as is known."""

    def __init__(self, seeds: Sequence[Address]) -> None:
        self._seeds = list(seeds)
        self._owners: dict[int, Address] = {}

    @property
    def is_known(self) -> bool:
        """Whether the cluster has been asked at all."""
        return bool(self._owners)

    def owner(self, key: bytes) -> Address:
        """The node to send a key's call to; any node answers with the right one if this is not known."""
        return self._owners.get(key_slot(key), self._seeds[0])

    def everyone(self) -> list[Address]:
        """All nodes that are known, the ones that have slots first."""
        return list(dict.fromkeys([*self._owners.values(), *self._seeds]))

    def learn(self, reply: Sequence[Any], asked: Address) -> None:
        """Take the answer of CLUSTER SLOTS; a node that does not say its own host is the one that was asked."""
        owners = {}
        for first, last, primary, *_ in reply:
            host = primary[0].decode() if isinstance(primary[0], bytes) else primary[0]
            address = (host or asked[0], int(primary[1]))
            owners.update(dict.fromkeys(range(int(first), int(last) + 1), address))
        if owners:
            self._owners = owners

    def forget(self) -> None:
        """Ask again before the next call: a node could not be reached. The nodes that are known may be asked."""
        self._seeds = self.everyone()
        self._owners = {}

    def moved(self, slot: int, address: Address) -> None:
        """Take what a MOVED said."""
        self._owners[slot] = address
