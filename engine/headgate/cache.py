"""What a client keeps: the catalog, which ids are entities, and prepared requests. No I/O, no clock.

Nothing here is trusted: whatever comes out is sent with its stamp, and the script compares that with the tokens
stored beside the counters. A wrong entry costs a round trip, never a wrong verdict. What is kept is bounded in
entries; the least recently used goes first.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from headgate.entitlement_cache import EntitlementCache
from headgate.keys import Keyspace
from headgate.model.catalog import Currency, EntityType, Feature
from headgate.model.packages import Addon, Packages, Plan
from headgate.prepare import PreparedRequest
from headgate.usage_notes import UsageNotes
from headgate.wire import Stamp

K = TypeVar("K")
V = TypeVar("V")
Item = TypeVar("Item", Feature, Currency, EntityType, Plan, Addon)


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
    """The catalog at one token, as it was read at an instant of the server's.

    `types_by_key` says which entity types a dimension name carries ids of, and `currencies_of` which currencies a
    feature's usage may be paid in, whatever plan or add-on says so.
    """

    token: bytes
    read_at_ms: int
    features: MappingProxyType[str, Feature]
    currencies: MappingProxyType[str, Currency]
    entity_types: MappingProxyType[str, EntityType]
    packages: Packages
    types_by_key: MappingProxyType[str, tuple[str, ...]]
    currencies_of: MappingProxyType[str, tuple[str, ...]]

    @classmethod
    def of(
        cls,
        token: bytes,
        *,
        read_at_ms: int = 0,
        features: Iterable[Feature] = (),
        currencies: Iterable[Currency] = (),
        entity_types: Iterable[EntityType] = (),
        plans: Iterable[Plan] = (),
        addons: Iterable[Addon] = (),
    ) -> Catalog:
        """Put documents in order, and index them by what requests name."""
        types = _by_id(entity_types)
        by_key: dict[str, tuple[str, ...]] = {}
        for each in types.values():
            for key in each.attribution_keys:
                by_key[key] = (*by_key.get(key, ()), each.id)
        packages = Packages(_by_id(plans), _by_id(addons))
        return cls(
            token,
            read_at_ms,
            _by_id(features),
            _by_id(currencies),
            types,
            packages,
            MappingProxyType(by_key),
            MappingProxyType(_currencies_of(packages)),
        )


def _by_id(documents: Iterable[Item]) -> MappingProxyType[str, Item]:
    return MappingProxyType({each.id: each for each in sorted(documents, key=lambda each: each.id)})


def _currencies_of(packages: Packages) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for package in (*packages.plans.values(), *packages.addons.values()):
        for entitlement in package.entitlements:
            if entitlement.credit_rate is not None:
                found.setdefault(entitlement.feature, set()).add(entitlement.credit_rate.currency)
    return {feature: tuple(sorted(currencies)) for feature, currencies in found.items()}


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


Shape = tuple[str, str | None, str | None, str | None, tuple[str, ...]]
"""Customer, feature, currency, resource and resolved entities: what makes two requests the same prepared request."""


REFUSED: Final = "decisions_refused_"
"""How the name of a count of refusals begins; the reason follows."""


@dataclass(slots=True)
class Metrics:
    """Counts of what happened, for whoever watches."""

    prepared_hits: int = 0
    prepared_misses: int = 0
    stale: int = 0
    moved_on: int = 0
    late: int = 0
    wild_starts: int = 0
    holds_freed: int = 0
    holds_swept: int = 0
    resent: int = 0
    redis_errors: int = 0
    outcomes_unknown: int = 0
    entitlements_hits: int = 0
    entitlements_misses: int = 0
    entitlements_last_known: int = 0
    numbers_read_again: int = 0
    numbers_were_off: int = 0
    decisions_granted: int = 0
    decisions_refused: dict[str, int] = field(default_factory=dict)

    def decided(self, reason: str | None) -> None:
        """Count a verdict: granted where it has no reason, else refused for it."""
        if reason is None:
            self.decisions_granted += 1
        else:
            self.decisions_refused[reason] = self.decisions_refused.get(reason, 0) + 1

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for name in self.__slots__:
            if name != "decisions_refused":
                yield name, getattr(self, name)
        for reason, count in list(self.decisions_refused.items()):
            yield f"{REFUSED}{reason}", count


class Hearing:
    """For how long a client that is to hear of changes did not hear of them. It is told the time."""

    def __init__(self) -> None:
        self._deaf_since_ms: float | None = None
        self._deaf_ms = 0.0

    def lose(self, now_ms: float) -> None:
        """Nothing is heard from now on; also said once at the beginning."""
        if self._deaf_since_ms is None:
            self._deaf_since_ms = now_ms

    def hear(self, now_ms: float) -> None:
        """Everything is heard from now on."""
        self._deaf_ms, self._deaf_since_ms = self.deaf_ms(now_ms), None

    def deaf_ms(self, now_ms: float) -> float:
        """For how long nothing was heard, all in all, up to now."""
        since_ms = self._deaf_since_ms
        return self._deaf_ms + (0.0 if since_ms is None else max(0.0, now_ms - since_ms))


@dataclass(slots=True)
class State:
    """Everything that the verbs of one client share.

    `told` is the token that an update said a customer stands at, `generations` the number of the present generation of
    idempotency keys, by its length in hours. `key_retention_hours_of` has the kinds of keys that have one of their own.
    """

    environment_name: str
    clock: str
    partitions: int | None
    entries_max: int
    entitlements: EntitlementCache
    usage_notes: UsageNotes
    key_retention_hours: int = 168
    key_retention_hours_of: Mapping[str, int] = field(default_factory=dict)
    exactly_once: bool = False
    environment: Environment | None = None
    catalog: Catalog | None = None
    generations: dict[int, int] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    hearing: Hearing = field(default_factory=Hearing)
    prepared: Recent[Shape, PreparedRequest] = field(init=False)
    resolutions: Recent[tuple[str, str], Resolution] = field(init=False)
    told: Recent[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.prepared = Recent(self.entries_max)
        self.resolutions = Recent(self.entries_max)
        self.told = Recent(self.entries_max)
