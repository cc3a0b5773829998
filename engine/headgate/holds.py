"""Holds: the record of a reservation, and the calls that end it. Pure.

A hold is ended by its record, not by what is configured now: the record's details say which counters it stands in, so
nothing has to be resolved. The layout of the record is that of lua/lib/holds.lua.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, Final

import msgpack

from headgate import wire
from headgate.amounts import AmountOutOfRange, add, multiply
from headgate.calls import Call
from headgate.errors import OutOfRange
from headgate.keys import CustomerKeys, Keyspace
from headgate.model.credits import Charge
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.prepare import NO_PURSE, Place, PreparedRequest

NO_WALLET: Final = 0
FREED_MAX: Final = 256
"""How many holds one call frees, and records one drops: so few that no other caller of the server waits for long."""

LISTED_MAX: Final = 500
"""About how many records one page of a list has."""

Constraints = tuple[tuple[Place, int], ...]
Grants = tuple[tuple[Place, str], ...]

_FIELDS_MAX: Final = 200
"""How many counters of one hash, and so a byte says how many, a call may name."""


@dataclass(frozen=True, slots=True)
class Details:
    """What the client keeps in a record: where the hold stands, and what it is for.

    `constraints` are the places of the constraints' counters with their sections, `grants` those of the wallet's
    grants in burn order.
    """

    constraints: Constraints
    grants: Grants
    wallet_section: int
    overdraft_field: bytes
    rate: float
    feature: str | None
    currency: str | None
    resource: str | None
    metadata: dict[str, str]

    def pack(self) -> bytes:
        """Turn it into bytes."""
        packed: bytes = msgpack.packb(
            [
                _pack_places(self.constraints, self.grants),
                self.wallet_section,
                self.overdraft_field,
                self.rate,
                self.feature,
                self.currency,
                self.resource,
                self.metadata,
            ]
        )
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Details:
        """Read it back."""
        places, *rest = msgpack.unpackb(packed)
        return cls(*_unpack_places(places), *rest)


def _pack_places(constraints: Constraints, grants: Grants) -> bytes:
    packed: bytes = msgpack.packb(
        [
            [[bucket, field, section] for (bucket, field), section in constraints],
            [[bucket, field, id] for (bucket, field), id in grants],
        ]
    )
    return packed


@lru_cache(maxsize=4_096)
def _unpack_places(packed: bytes) -> tuple[Constraints, Grants]:
    """Where a hold stands. Most holds of a customer stand in the same few places."""
    constraints, grants = msgpack.unpackb(packed)
    return (
        tuple(((bucket, field), section) for bucket, field, section in constraints),
        tuple(((bucket, field), id) for bucket, field, id in grants),
    )


@dataclass(frozen=True, slots=True)
class Record:
    """A hold as it is stored. `held` is what was asked for of each section, `parts` what each grant holds."""

    status: ReservationStatus
    expires_at_ms: int
    fingerprint: bytes
    held: tuple[float, float]
    settled: tuple[float, float]
    reserved_at_ms: int
    ended_at_ms: int
    parts: tuple[float, ...]
    details: Details

    @classmethod
    def unpack(cls, packed: bytes) -> Record:
        """Read a record."""
        state, expires_ms, ended_ms, print_of_request, *amounts, _, parts, reserved_ms, details = msgpack.unpackb(
            packed, raw=True
        )
        held, settled = amounts[:2], amounts[2:]
        return cls(
            ReservationStatus(int(state)),
            int(expires_ms),
            print_of_request,
            (float(held[0]), float(held[1])),
            (float(settled[0]), float(settled[1])),
            int(reserved_ms),
            int(ended_ms),
            wire.unpack_doubles(parts),
            Details.unpack(details),
        )

    @property
    def set_aside(self) -> float:
        """What was taken out of reach of everybody else: credits where it costs any, else units of the feature.

        A soft wallet sets aside what its grants have.
        """
        return self.held[0] if self.details.wallet_section == NO_WALLET else reduce(add, self.parts, 0.0)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What of which grant that is, in burn order; nothing where it costs no credits."""
        if self.details.wallet_section == NO_WALLET:
            return ()
        return tuple(Charge(id, part) for (_, id), part in zip(self.details.grants, self.parts, strict=True) if part)

    def reservation(self, id: str, customer: str, now_ms: int) -> Reservation:
        """What people know of it. One that is due has expired, whether somebody has freed it yet or not."""
        details = self.details
        is_due = self.status is ReservationStatus.OPEN and self.expires_at_ms <= now_ms
        status = ReservationStatus.EXPIRED if is_due else self.status
        ended_at_ms = self.expires_at_ms if status is ReservationStatus.EXPIRED else self.ended_at_ms
        section = details.wallet_section
        return Reservation(
            id=id,
            customer=customer,
            feature=details.feature,
            currency=details.currency,
            resource=details.resource,
            amount=self.held[0],
            credits=0.0 if section == NO_WALLET else self.held[section - 1],
            status=status,
            reserved_at_ms=self.reserved_at_ms,
            expires_at_ms=self.expires_at_ms,
            ended_at_ms=None if status is ReservationStatus.OPEN else ended_at_ms,
            settled=self.settled[0],
            settled_credits=0.0 if section == NO_WALLET else self.settled[section - 1],
            metadata=details.metadata,
        )


def details_of(
    prepared: PreparedRequest, *, feature: str | None, resource: str | None, metadata: dict[str, str]
) -> Details:
    """What the record of a hold on this request keeps."""
    wallet = prepared.wallet
    buckets = [None, *prepared.buckets]
    at = iter(prepared.fields)
    places: list[Place] = [
        (bucket, next(at)) for bucket, count in zip(buckets, prepared.layout, strict=False) for _ in range(count)
    ]
    sections = [2 if feature is not None and each.currency is not None else 1 for each in prepared.constraints]
    return Details(
        constraints=tuple(zip(places, sections, strict=True)),
        grants=() if wallet is None else tuple((grant.place, grant.id) for grant in wallet.live.grants),
        wallet_section=NO_WALLET if wallet is None else (1 if feature is None else 2),
        overdraft_field=b"" if wallet is None else wallet.args[2],
        rate=1.0 if wallet is None else wallet.rate,
        feature=feature,
        currency=None if prepared.currency is None else prepared.currency.id,
        resource=resource,
        metadata=metadata,
    )


def fingerprint(*parts: object) -> bytes:
    """Eight bytes that tell one request from another."""
    return hashlib.blake2b(msgpack.packb(parts, unicode_errors="surrogatepass"), digest_size=8).digest()


def reserve_call(
    keys: CustomerKeys,
    prepared: PreparedRequest,
    *,
    amount: float,
    customer: str,
    hold: str,
    print_of_request: bytes,
    lasts_ms: int,
    details: Details,
    until_ms: float = wire.NEVER,
) -> Call:
    """Bind an amount that is to be held, for so long at most, and until an instant at most."""
    ask = prepared.ask("check", amount, writes=False)
    catalog, usage, *buckets = prepared.keys
    wallet = prepared.wallet
    fields = prepared.fields if wallet is None else (*prepared.fields, *wallet.fields)
    purse = NO_PURSE if wallet is None else wallet.args
    order = b"" if wallet is None else bytes(wallet.places)
    span = wire.pack_amounts(lasts_ms, until_ms)
    how = (customer.encode(), hold.encode(), print_of_request, span, details.pack())
    # The same id is the same hold: it may be sent again when its reply was lost.
    return Call(
        "reserve",
        (catalog, usage, keys.holds, keys.due, keys.partition_due, *buckets),
        (*ask.args[:4], *purse, order, *how, *fields),
        timed=2,
        writes=False,
    )


def settle_call(
    keys: CustomerKeys, details: Details, *, customer: str, hold: str, amount: float, outcome: ReservationStatus
) -> Call:
    """End a hold by its record. Raises OutOfRange where what was used costs more credits than there can be."""
    try:
        cost = multiply(amount, details.rate)
    except AmountOutOfRange as error:
        raise OutOfRange(f"{error}: nothing was written") from None
    buckets = _buckets(place for place, _ in (*details.constraints, *details.grants))
    layout = [sum(bucket == name for (bucket, _), _ in details.constraints) for name in (None, *buckets)]
    by_place = sorted(range(len(details.grants)), key=lambda rank: buckets.index(details.grants[rank][0][0] or 0))
    places = [sum(bucket == name for (bucket, _), _ in details.grants) for name in buckets]
    ordered = sorted(details.constraints, key=lambda each: -1 if each[0][0] is None else buckets.index(each[0][0]))
    assert tuple(ordered) == details.constraints, "a record lists its counters by bucket"
    args = (
        b"",
        customer.encode(),
        hold.encode(),
        b"%d" % outcome,
        wire.pack_amounts(amount, cost),
        bytes(layout),
        bytes([*(section for _, section in details.constraints), details.wallet_section]),
        bytes(places),
        details.overdraft_field,
        bytes(rank + 1 for rank in by_place),
        *(field for (_, field), _ in details.constraints),
        *(details.grants[rank][0][1] for rank in by_place),
    )
    # By the record, so it may be sent again when its reply was lost: what was done already is not done twice.
    return Call("settle", _keys(keys, buckets), args, timed=0, writes=False)


def extend_call(keys: CustomerKeys, *, customer: str, hold: str, lasts_ms: int) -> Call:
    """Let an open hold last from now on for so long."""
    args = (b"", customer.encode(), hold.encode(), wire.pack_double(lasts_ms))
    return Call("extend", _keys(keys, ()), args, timed=0, writes=False)


def find_call(keys: CustomerKeys, hold: str = "") -> Call:
    """Read the record of a hold, or those of holds that are due."""
    return Call("find_due", (keys.holds, keys.due), (b"", hold.encode(), b"%d" % FREED_MAX), timed=0, writes=False)


def list_call(keys: CustomerKeys, cursor: bytes) -> Call:
    """Read one page of all records of a customer."""
    return Call("find_holds", (keys.holds,), (b"", cursor, b"%d" % LISTED_MAX), timed=0, writes=False)


def waiting_call(keyspace: Keyspace, partition: int, most: int) -> Call:
    """Find customers of a partition that have something to sweep: holds that are due, or records that go."""
    return Call("find_waiting", (keyspace.partition_due(partition),), (b"", b"%d" % most), timed=0, writes=False)


def free_call(keys: CustomerKeys, customer: str, due: Sequence[tuple[bytes, bytes]]) -> tuple[Call, int]:
    """Free holds that are due, and say how many of them: all, or as many as stand in what counters a call may name.

    Each is an id and where it stands, as `unpack_due` says it.
    """
    groups: dict[bytes, list[bytes]] = {}
    counters: dict[Place, None] = {}
    chosen = 0
    for id, where in due:
        if where not in groups:
            constraints, grants = _unpack_places(where)
            more = dict.fromkeys(place for place, _ in (*constraints, *grants))
            buckets_of_more = {bucket for bucket, _ in more}
            together = {**counters, **more}
            if chosen and any(sum(place[0] == each for place in together) > _FIELDS_MAX for each in buckets_of_more):
                break
            counters = together
        groups.setdefault(where, []).append(id)
        chosen += 1
    buckets = _buckets(counters)
    ordered = sorted(counters, key=lambda place: -1 if place[0] is None else buckets.index(place[0]))
    number = {place: index for index, place in enumerate(ordered, start=1)}
    freed = []
    for where, ids in groups.items():
        constraints, grants = _unpack_places(where)
        freed.append(
            [
                [number[place] for place, _ in constraints],
                [section for _, section in constraints],
                [number[place] for place, _ in grants],
                *(id.decode() for id in ids),
            ]
        )
    layout = bytes(sum(place[0] == name for place in ordered) for name in (None, *buckets))
    args = (b"", customer.encode(), msgpack.packb(freed), layout, *(field for _, field in ordered))
    return Call("free", _keys(keys, buckets), args, timed=0, writes=False), chosen


def _buckets(places: Iterable[Place]) -> list[int | str]:
    return list(dict.fromkeys(bucket for bucket, _ in places if bucket is not None))


def _keys(keys: CustomerKeys, buckets: Iterable[int | str]) -> tuple[bytes, ...]:
    named = (keys.bucket(name) for name in buckets)
    return (keys.usage, keys.holds, keys.due, keys.partition_due, keys.ended, *named)


NOWHERE: Final = _pack_places((), ())
"""Where a hold stands whose record was lost: there is nothing to give back."""

NOTHING: Final = Details((), (), NO_WALLET, b"", 1.0, None, None, None, {})
"""The details of a reservation that was refused."""


def unpack_record(reply: Sequence[Any]) -> Record | None:
    """The record that a find of one hold brought, or None where there is none."""
    return Record.unpack(reply[3]) if reply[3] else None


def unpack_due(reply: Sequence[Any]) -> list[tuple[bytes, bytes]]:
    """The holds that a find of those due brought: the id of each, and where it stands."""
    return [
        (id, msgpack.unpackb(msgpack.unpackb(packed, raw=True)[-1])[0] if packed else NOWHERE)
        for id, packed in zip(reply[2::2], reply[3::2], strict=True)
    ]
