"""Bytes: how documents, tokens, requests and replies look between this package and the scripts.

The layouts are those of the headers in `lua/`; a test holds the two against each other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeVar

import msgpack

from headgate.amounts import AmountOutOfRange, add
from headgate.model.base import Strict
from headgate.usage_notes import UsageNote

Document = TypeVar("Document", bound=Strict)

MOMENT: Final = struct.Struct("<dd")
"""Not after, given now: what the driver puts in front of a call's timed argument."""

_AMOUNTS: Final = struct.Struct("<dd")
_WINDOW: Final = struct.Struct("<dd")
_CONSTRAINT: Final = struct.Struct("<dddB")
_GRANT: Final = struct.Struct("<dd")
_COUNTER: Final = struct.Struct("<dd")
_COUNTER_HELD: Final = struct.Struct("<ddd")
_DOUBLE: Final = struct.Struct("<d")

NEVER: Final = float("inf")
"""An instant that does not come, and a limit that does not refuse."""


class Status(IntEnum):
    """The first element of a reply; the numbers are those of lua/lib/statuses.lua."""

    STALE = 0
    GRANTED = 1
    REFUSED = 2
    MOVED_ON = 3
    SWEEP_FIRST = 4
    LATE = 5
    BLANK = 6
    OTHER_CLOCK = 7
    DONE = 8
    REPEATED = 9
    CONFLICT = 10
    ABSENT = 11
    OTHER_GENERATION = 12


@dataclass(frozen=True, slots=True)
class Stamp:
    """The two tokens that something was made from; `version` is empty where there was no customer."""

    catalog_token: bytes
    version: bytes


def token_number(token: bytes) -> int:
    """Read the number in front of a catalog token: it only puts two tokens in order."""
    return int.from_bytes(token[:8], "big")


def pack_document(document: Strict) -> bytes:
    """Turn a document into the bytes of its field; what has its default of None is left out."""
    packed: bytes = msgpack.packb(document.model_dump(mode="json", exclude_none=True))
    return packed


def unpack_document(kind: type[Document], packed: bytes) -> Document:
    """Turn the bytes of a field back into its document."""
    return kind.model_validate(msgpack.unpackb(packed), strict=False)


def pack_wanted(fields: list[bytes], entities: list[str], capabilities: list[str]) -> bytes:
    """Say what a load shall bring. In strings: the scripts' msgpack is older than the type for bytes."""
    names = [field.decode() for field in fields]
    packed: bytes = msgpack.packb({"fields": names, "entities": entities, "capabilities": capabilities})
    return packed


def pack_update(kind: str, customer: str, token: bytes) -> bytes:
    """Make the message that tells of a change; the token comes last, as a script may have to append it."""
    packed: bytes = msgpack.packb({"kind": kind, "customer": customer, "token": token})
    return packed


CATALOG_TOKEN_SIZE: Final = 17


def pack_catalog_update_head() -> bytes:
    """Make the message of a catalog change without the token's own bytes, which the script knows first."""
    return pack_update("catalog", "", b"\0" * CATALOG_TOKEN_SIZE)[:-CATALOG_TOKEN_SIZE]


def pack_usage_update(notes: Iterable[UsageNote]) -> bytes:
    """Make the message that tells what counters stand at."""
    told = [
        [note.customer, note.capability, note.resource, note.at_ms, note.start_ms, note.used, note.held, note.rises]
        for note in notes
    ]
    packed: bytes = msgpack.packb({"kind": "usage", "notes": told})
    return packed


def unpack_usage_update(fields: dict[str, Any]) -> list[UsageNote]:
    """Read what counters stand at; raises ValueError or TypeError where the message is of another form."""
    return [UsageNote(*note) for note in fields["notes"]]


def unpack_update(message: bytes) -> dict[str, Any]:
    """Read a message of a change."""
    unpacked: dict[str, Any] = msgpack.unpackb(message)
    return unpacked


def pack_window(from_ms: float, until_ms: float) -> bytes:
    """The span of time in which a prepared request holds; the end is exclusive."""
    return _WINDOW.pack(from_ms, until_ms)


def pack_constraint(limit: float | None, start_ms: int, length_ms: int, section: int) -> bytes:
    """One constraint as the scripts read it; no limit (or a soft one) is infinity."""
    return _CONSTRAINT.pack(NEVER if limit is None else limit, start_ms, length_ms, section)


def pack_grants(section: int, is_soft: bool, grants: Iterable[tuple[float, int]]) -> bytes:
    """A wallet as the scripts read it: of each grant, by place, its amount and the instant it is effective from."""
    return bytes([section, is_soft]) + b"".join(_GRANT.pack(amount, start_ms) for amount, start_ms in grants)


def pack_amounts(first: float, second: float = 0.0) -> bytes:
    """The amounts of the two sections."""
    return _AMOUNTS.pack(first, second)


def pack_double(value: float) -> bytes:
    """A single number."""
    return _DOUBLE.pack(value)


def unpack_doubles(packed: bytes) -> tuple[float, ...]:
    """As many numbers as there are."""
    return struct.unpack(f"<{len(packed) // 8}d", packed)


@dataclass(frozen=True, slots=True)
class Counter:
    """What a counter says: the start of the period that it counts, what was used in it, and what is held."""

    start_ms: int
    used: float
    held: float


def unpack_counter(packed: bytes) -> Counter:
    """Read a counter's value."""
    if len(packed) == _COUNTER.size:
        start_ms, used = _COUNTER.unpack(packed)
        return Counter(int(start_ms), used, 0.0)
    start_ms, used, held = _COUNTER_HELD.unpack(packed)
    return Counter(int(start_ms), used, held)


def total(counter: Counter, requested: float) -> float:
    """What a counter would stand at, held included: the number that the scripts compare with the limit."""
    try:
        after = add(counter.used, requested)
        return add(after, counter.held) if counter.held else after
    except AmountOutOfRange:
        return NEVER


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brought: documents by field, all of one instant and one stamp."""

    server_now_ms: int
    stamp: Stamp
    next_number: int
    documents: dict[bytes, bytes]

    def document(self, kind: type[Document], field: bytes) -> Document | None:
        """The document of a field, or None where there is none."""
        packed = self.documents.get(field)
        return None if packed is None else unpack_document(kind, packed)


def read_loaded(reply: list[Any]) -> Loaded:
    """Read the reply of a load whose status is DONE."""
    _, now_ms, catalog_token, version, next_number, *pairs = reply
    return Loaded(
        int(now_ms), Stamp(catalog_token, version), int(next_number), dict(zip(pairs[::2], pairs[1::2], strict=True))
    )
