"""What a client keeps: the catalog, which ids are entities, and prepared requests. No I/O, no clock.

Nothing here is trusted: whatever comes out is sent with its stamp, and the script compares that with the tokens
stored beside the counters. A wrong entry costs a round trip, never a wrong verdict. What is kept is bounded in
entries; the least recently used goes first.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from headgate.keys import Keyspace
from headgate.model.catalog import EntityType, Feature
from headgate.prepare import PreparedRequest
from headgate.wire import Stamp

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that holds its most recently used entries. Safe to share between threads."""

    def __init__(self, entries_max: int) -> None:
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._entries_max = entries_max

    def get(self, key: K) -> V | None:
        """Return what is kept under a key, or None."""
        value = self._entries.get(key)
        if value is not None:
            with contextlib.suppress(KeyError):  # another thread may have dropped it in between
                self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, and drop the oldest ones if there are too many."""
        self._entries[key] = value
        while len(self._entries) > self._entries_max:
            try:
                self._entries.popitem(last=False)
            except KeyError:
                break

    def drop(self, key: K) -> None:
        """Forget what is kept under a key."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The catalog at one token."""

    token: bytes
    features: MappingProxyType[str, Feature]
    entity_types: MappingProxyType[str, EntityType]
    types_by_key: MappingProxyType[str, tuple[str, ...]]

    @classmethod
    def of(cls, token: bytes, features: Iterable[Feature], entity_types: Iterable[EntityType]) -> Catalog:
        """Put documents in order, and index entity types by the dimension names that carry their ids."""
        types = {each.id: each for each in sorted(entity_types, key=lambda each: each.id)}
        by_key: dict[str, tuple[str, ...]] = {}
        for each in types.values():
            for key in each.attribution_keys:
                by_key[key] = (*by_key.get(key, ()), each.id)
        return cls(
            token,
            MappingProxyType({each.id: each for each in sorted(features, key=lambda each: each.id)}),
            MappingProxyType(types),
            MappingProxyType(by_key),
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """What an environment says of itself."""

    keyspace: Keyspace
    clock: str
    spread: bool


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which type the entity of an id has, or None where there is no such entity: true under its stamp."""

    stamp: Stamp
    type: str | None


Shape = tuple[str, str, tuple[str, ...]]
"""Customer, capability, and the resolved entities: what makes two requests the same prepared request."""


@dataclass(slots=True)
class Metrics:
    """Counts of what happened, for whoever watches."""

    prepared_hits: int = 0
    prepared_misses: int = 0
    stale: int = 0
    moved_on: int = 0
    late: int = 0
    wild_starts: int = 0
    resent: int = 0
    outcomes_unknown: int = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter({name: getattr(self, name) for name in self.__slots__}.items())


@dataclass(slots=True)
class State:
    """Everything that the verbs of one client share. `told` is the token that an update said a customer stands at."""

    environment_name: str
    clock: str
    partitions: int | None
    entries_max: int
    environment: Environment | None = None
    catalog: Catalog | None = None
    metrics: Metrics = field(default_factory=Metrics)
    prepared: Recent[Shape, PreparedRequest] = field(init=False)
    resolutions: Recent[tuple[str, str], Resolution] = field(init=False)
    told: Recent[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.prepared = Recent(self.entries_max)
        self.resolutions = Recent(self.entries_max)
        self.told = Recent(self.entries_max)
