"""What a client keeps of entitlements, to answer without asking Redis. No I/O, no clock: it is told the time.

Nothing but these rules makes an answer from memory right (docs/concepts/answers-from-memory.md):

- An answer is kept only if it was loaded while updates were heard all along, and none arrived about its customer or
  the catalog since the load began: what was read before a change is never kept after it.
- It ends where the server's clock reaches the next instant at which something begins or ends. The load's beginning
  stands for the instant of its reading, which came later: it ends early by a round trip, never late.
- It is asked for again after 60 seconds: so old it may be where a message was lost and nobody noticed.
- While no updates are heard, everything is asked for. Only where Redis gives no answer does what was last known go on:
  of features that nothing is counted of, for as long as told, and to its own end. Once updates are heard again, all of
  it is forgotten.
- Numbers that are counted are answered from memory only where an age was allowed, and no older than that.

All instants are of one clock that never steps (of the simulated clock, where that is the environment's). What is kept
is bounded in bytes, by customers: the least recently asked about goes first, whole.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final

from headgate import wire
from headgate.entitlements import AccountLevel
from headgate.keys import currency_capability, feature_capability
from headgate.model.catalog import Currency, Feature
from headgate.model.credits import Wallet
from headgate.model.decision import ConstraintState
from headgate.periods import FOREVER_END_MS
from headgate.usage_notes import UsageNote
from headgate.wire import Stamp

ASKED_AGAIN_MS: Final = 60_000
"""How old an answer may be that nothing is counted of."""

AWAY_MS: Final = 1_000
"""For how long Redis is not asked again, after it gave no answer, about what is known."""

CUSTOMER_BYTES: Final = 700
ENTRY_BYTES: Final = 900
COUNTED_BYTES: Final = 1_300
GRANT_BYTES: Final = 400
"""What a customer, an answer, the numbers of one and a grant of a wallet take in memory, measured, and rounded up."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a feature stands at one instant: what the account level says, what was used, and what usage is paid from."""

    feature: Feature | None
    level: AccountLevel
    read_at_ms: int
    account: ConstraintState | None = None
    currency: Currency | None = None
    wallet: Wallet | None = None


Name = tuple[str, str | None]
"""A feature, and the resource that it was asked about for."""


@dataclass(slots=True, eq=False)
class Loading:
    """A load under way; callers that ask the same at once share it, until something is said that it may have missed.

    It can be joined until the first of its callers has its answer, and spoiled until the last of them has.
    """

    customer: str
    name: Name
    began_ms: float
    number: int
    callers: int = 0
    is_spoiled: bool = False
    told: list[UsageNote] = field(default_factory=list)


@dataclass(slots=True)
class _Kept:
    standing: Standing
    version: bytes
    began_ms: float
    until_ms: float
    bytes: int
    rises: bool = True


@dataclass(slots=True)
class _Customer:
    entries: dict[Name, _Kept] = field(default_factory=dict)
    bytes: int = 0


class EntitlementCache:
    """Answers of one client. Safe to share between threads, with a lock that its maker gives it."""

    def __init__(
        self,
        lock: AbstractContextManager[object],
        *,
        bytes_max: int = 0,
        freshness_ms: int = 0,
        last_known_ms: int = 0,
    ) -> None:
        self._lock = lock
        self._bytes_max, self._freshness_ms, self._last_known_ms = bytes_max, freshness_ms, last_known_ms
        self._customers: OrderedDict[str, _Customer] = OrderedDict()
        self._joinable: dict[tuple[str, Name], Loading] = {}
        self._loading: dict[str, set[Loading]] = {}
        self._numbers = itertools.count(1)
        self._hears = False
        self._heard_ms = self._away_until_ms = float("-inf")
        self._catalog_number = 0
        self.bytes = 0
        self.evicted = 0

    @property
    def is_on(self) -> bool:
        """Whether anything is kept at all."""
        return self._bytes_max > 0

    @property
    def keeps_numbers(self) -> bool:
        """Whether numbers that are counted may be answered from memory."""
        return self._bytes_max > 0 and self._freshness_ms > 0

    @property
    def hears(self) -> bool:
        """Whether updates are heard, so that what is kept is known to be so still."""
        return self._hears

    def __len__(self) -> int:
        return sum(len(each.entries) for each in list(self._customers.values()))

    # Asking.

    def find(self, customer: str, name: Name, now_ms: float) -> Standing | None:
        """Return what may be answered now without asking Redis, or None."""
        hears = self._hears  # looked at first: what is found afterwards is not from before it
        kept = self._kept(customer, name, now_ms)
        if kept is None:
            return None
        if not hears:
            return self.last_known(customer, name, now_ms) if now_ms < self._away_until_ms else None
        allowed_ms = ASKED_AGAIN_MS if kept.standing.account is None else self._freshness_ms
        if now_ms - kept.began_ms >= allowed_ms:
            return None
        with contextlib.suppress(KeyError):  # another thread may have dropped it in between
            self._customers.move_to_end(customer)
        return kept.standing

    def last_known(self, customer: str, name: Name, now_ms: float) -> Standing | None:
        """Return what was last known, for a caller that Redis gave no answer; never a number that is counted."""
        kept = self._kept(customer, name, now_ms)
        if kept is None or kept.standing.account is not None:
            return None
        known_ms = max(kept.began_ms, self._heard_ms)
        return kept.standing if now_ms - known_ms < self._last_known_ms else None

    def note_away(self, now_ms: float) -> None:
        """Learn that Redis gave no answer."""
        self._away_until_ms = now_ms + AWAY_MS

    def known_number(self, customer: str, name: Name, now_ms: float) -> Standing | None:
        """What is known of a number, however old it is: to be held against what Redis says."""
        kept = self._kept(customer, name, now_ms)
        return None if kept is None or kept.standing.account is None else kept.standing

    def _kept(self, customer: str, name: Name, now_ms: float) -> _Kept | None:
        kept = self._known(customer, name)
        return kept if kept is not None and kept.began_ms <= now_ms < kept.until_ms else None

    # Loading and keeping.

    def begin(self, customer: str, name: Name, now_ms: float) -> Loading:
        """Begin to load, or join who loads the very same; call `end` whatever comes of it."""
        with self._lock:
            loading = self._joinable.get((customer, name))
            if loading is None:
                loading = self._joinable[customer, name] = Loading(customer, name, now_ms, next(self._numbers))
                self._loading.setdefault(customer, set()).add(loading)
            loading.callers += 1
            return loading

    def end(self, loading: Loading) -> None:
        """End a load for one of its callers: who comes now begins another."""
        with self._lock:
            loading.callers -= 1
            self._close(loading)
            if not loading.callers:
                self._forget(loading)

    def keep(self, loading: Loading, standing: Standing, *, stamp: Stamp, until_ms: int) -> None:
        """Keep what a load brought, which holds until an instant of the server's, unless a rule speaks against it.

        While nothing is heard, it is only what was last known.
        """
        with self._lock:
            self._away_until_ms = float("-inf")
            if not self.is_on or (standing.account is not None and not self._freshness_ms):
                return
            is_old = wire.token_number(stamp.catalog_token) < self._catalog_number
            known = self._known(loading.customer, loading.name)
            if loading.is_spoiled or is_old or (not self._hears and standing.account is not None):
                self._drop(loading.customer, loading.name)  # this was read later, and may say otherwise
                return
            if not self._hears and known is not None and known.standing.read_at_ms > standing.read_at_ms:
                return
            lasts_ms = float("inf") if until_ms >= FOREVER_END_MS else until_ms - standing.read_at_ms
            size = _size_of(loading.name, standing)
            until = loading.began_ms + lasts_ms
            kept = _Kept(standing, stamp.version, loading.began_ms, until, size)
            self._put(loading.customer, loading.name, kept)
            for note in loading.told:
                self._take_note(note)

    def _put(self, customer: str, name: Name, kept: _Kept) -> None:
        of_customer = self._customers.get(customer)
        if of_customer is None:
            of_customer = self._customers[customer] = _Customer(bytes=CUSTOMER_BYTES + len(customer))
            self.bytes += of_customer.bytes
        else:
            self._customers.move_to_end(customer)
        known = of_customer.entries.get(name)
        more = kept.bytes - (0 if known is None else known.bytes)
        of_customer.entries[name] = kept
        of_customer.bytes += more
        self.bytes += more
        while self.bytes > self._bytes_max and self._customers:
            _, dropped = self._customers.popitem(last=False)
            self.bytes -= dropped.bytes
            self.evicted += len(dropped.entries)

    # What is heard.

    def hear(self, now_ms: float) -> None:
        """Updates are heard from now on. Of what was said before, nothing is known: all is forgotten."""
        with self._lock:
            self._clear()
            self._hears, self._heard_ms = True, now_ms
            self._catalog_number = 0  # of the one that is there now: what was told before may have been lost
            self._away_until_ms = float("-inf")

    def heard(self, now_ms: float) -> None:
        """Something was heard: up to now, no update was missed."""
        self._heard_ms = now_ms

    def lose(self) -> None:
        """No updates are heard any more."""
        with self._lock:
            self._hears = False
            self._spoil_all()

    def outdate(self, customer: str) -> None:
        """Let no load keep what it reads of a customer that has begun already; what is kept stays for now."""
        with self._lock:
            self._spoil(self._loading.get(customer, ()))

    def begin_anew(self, lock: AbstractContextManager[object]) -> None:
        """Go on in a forked child, where nothing is heard yet, and the lock may be held by nobody who is left."""
        self._lock = lock
        self._hears = False
        self._customers.clear()
        self._loading.clear()
        self._joinable.clear()
        self.bytes = 0

    def drop_customer(self, customer: str, version: bytes | None = None) -> None:
        """Forget a customer, whose configuration has changed; what was loaded at that version already stays."""
        with self._lock:
            self._spoil(self._loading.get(customer, ()))
            of_customer = self._customers.get(customer)
            if of_customer is not None and any(each.version != version for each in of_customer.entries.values()):
                del self._customers[customer]
                self.bytes -= of_customer.bytes

    def drop_all(self, catalog_token: bytes | None = None) -> None:
        """Forget everything: the catalog has changed, and stands at this token now, where that is known."""
        with self._lock:
            if catalog_token:
                self._catalog_number = max(self._catalog_number, wire.token_number(catalog_token))
            self._clear()

    def _clear(self) -> None:
        self._spoil_all()
        self._customers.clear()
        self.bytes = 0

    def _spoil(self, loads: Iterable[Loading]) -> None:
        for loading in list(loads):
            loading.is_spoiled = True
            self._close(loading)
            self._forget(loading)

    def _spoil_all(self) -> None:
        self._spoil(each for loads in list(self._loading.values()) for each in list(loads))

    def _close(self, loading: Loading) -> None:
        """Let nobody join it any more."""
        place = loading.customer, loading.name
        if self._joinable.get(place) is loading:
            del self._joinable[place]

    def _forget(self, loading: Loading) -> None:
        of_customer = self._loading.get(loading.customer)
        if of_customer is not None:
            of_customer.discard(loading)
            if not of_customer:
                del self._loading[loading.customer]

    # What was counted.

    def note_usage(self, note: UsageNote) -> None:
        """Take over what a counter stands at, by this process's own report or another's message."""
        if not self.keeps_numbers:
            return
        with self._lock:
            for loading in self._loading.get(note.customer, ()):
                loading.told.append(note)
            self._take_note(note)

    def _take_note(self, note: UsageNote) -> None:
        of_customer = self._customers.get(note.customer)
        if of_customer is None:
            return
        for name, kept in list(of_customer.entries.items()):
            standing = kept.standing
            feature, resource = name
            if standing.account is None or resource != note.resource or note.at_ms < standing.read_at_ms:
                continue
            if standing.wallet is not None and note.capability == currency_capability(standing.wallet.currency):
                self._drop(note.customer, name)
            elif note.capability == feature_capability(feature):
                after = note.after(_note_of(kept, note))
                if after.used is None or standing.wallet is not None or after.start_ms != _start_ms_of(standing):
                    self._drop(note.customer, name)
                else:
                    kept.standing, kept.rises = _counted(standing, after), after.rises

    def _known(self, customer: str, name: Name) -> _Kept | None:
        of_customer = self._customers.get(customer)
        return None if of_customer is None else of_customer.entries.get(name)

    def _drop(self, customer: str, name: Name) -> None:
        of_customer = self._customers.get(customer)
        gone = None if of_customer is None else of_customer.entries.pop(name, None)
        if of_customer is None or gone is None:
            return
        of_customer.bytes -= gone.bytes
        self.bytes -= gone.bytes
        if not of_customer.entries:
            del self._customers[customer]
            self.bytes -= of_customer.bytes


def _start_ms_of(standing: Standing) -> int:
    assert standing.account is not None
    return standing.account.period.start_ms


def _note_of(kept: _Kept, about: UsageNote) -> UsageNote:
    """What is kept of a number, as a note of its counter."""
    account = kept.standing.account
    assert account is not None
    return replace(
        about,
        at_ms=kept.standing.read_at_ms,
        start_ms=account.period.start_ms,
        used=account.used,
        held=account.held,
        rises=kept.rises,
    )


def _counted(standing: Standing, note: UsageNote) -> Standing:
    """A standing with the numbers of a note."""
    assert standing.account is not None
    assert note.used is not None
    return replace(standing, read_at_ms=note.at_ms, account=replace(standing.account, used=note.used, held=note.held))


def _size_of(name: Name, standing: Standing) -> int:
    feature, resource = name
    size = ENTRY_BYTES + len(feature) + len(resource or "") + sum(map(len, standing.level.enum_values))
    if standing.account is not None:
        size += COUNTED_BYTES
    if standing.wallet is not None:
        size += GRANT_BYTES * (1 + len(standing.wallet.grants))
    return size
