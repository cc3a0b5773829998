"""Idempotency keys: what is asked for under a key is carried out once. Pure.

A key is known for at least its retention: keys are kept in generations as long as that, named by the server's time. One
is looked for in the present generation, in the one before, and in the one after, in which it was given if the server's
clock has stepped back since. It is written with the effect, in the same step: a refusal and an error burn no key.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final

import msgpack

from headgate import wire
from headgate.calls import Call
from headgate.errors import InvalidInput
from headgate.keys import CustomerKeys

KEY_MAX: Final = 255
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Once:
    """What is to be carried out once: a hash of the key, and one of the request that has it."""

    identity: bytes
    fingerprint: bytes
    hours: int

    def place(self, keys: CustomerKeys, generation: int) -> tuple[tuple[bytes, ...], bytes]:
        """The keys to look in, and the generation as the scripts read it."""
        places = tuple(keys.seen(self.hours, each) for each in (generation, generation - 1, generation + 1))
        return places, wire.pack_amounts(generation, self.hours * HOUR_MS)

    def generation_at(self, now_ms: float) -> int:
        """The number of the generation at an instant of the server's."""
        return int(now_ms // (self.hours * HOUR_MS))

    def find_call(self, keys: CustomerKeys, generation: int) -> Call:
        """Ask what was carried out under the key."""
        places, packed = self.place(keys, generation)
        return Call("find_seen", places, (b"", self.identity, packed), timed=0, writes=False)


def require_key(key: object, field: str = "idempotency_key") -> str | None:
    """Accept an idempotency key, or None; raise `InvalidInput` otherwise."""
    if key is None:
        return None
    if not isinstance(key, str) or not 1 <= len(key) <= KEY_MAX:
        raise InvalidInput.of(field, key, f"must be a string of 1 to {KEY_MAX} characters")
    if any("\ud800" <= character <= "\udfff" for character in key):
        raise InvalidInput.of(field, key, "must be text: it has half of a surrogate pair")
    return key


def once(kind: str, customer: str, key: str | None, *, hours: int, exactly_once: bool, request: object) -> Once | None:
    """What a key makes of a request; None where there is none, and none is to be made."""
    if key is None and not exactly_once:
        return None
    key = os.urandom(16).hex() if key is None else key
    return Once(_digest((kind, customer, key), 12), _digest(request, 8), hours)


def _digest(value: object, size: int) -> bytes:
    # What a dimension says need not be text that can be encoded: it only looks things up.
    packed = msgpack.packb(value, unicode_errors="surrogatepass")
    return hashlib.blake2b(packed, digest_size=size).digest()
