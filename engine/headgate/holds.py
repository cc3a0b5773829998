"""Holds: the record of a reservation, and the calls that end it. Pure.

A hold is ended by its record, not by what is configured now: the record's details say which counters it stands in, so
nothing has to be resolved. The layout of the record is that of lua/lib/holds.lua.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from headgate import wire
from headgate.amounts import AmountOutOfRange, multiply
from headgate.calls import Call
from headgate.errors import OutOfRange
from headgate.keys import CustomerKeys, Keyspace
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.prepare import NO_PURSE, Place, PreparedRequest

NO_WALLET: Final = 0
FREED_MAX: Final = 256
"""How many holds one call frees: so few that no other caller of the server waits for long."""

_FIELDS_MAX: Final = 200
"""How many counters of one hash, and so a byte says how many, a call may name."""


@dataclass(frozen=True, slots=True)
class Details:
    """What the client keeps in a record: where the hold stands, and what it is for.

    `constraints` are the places of the constraints' counters with their sections, `grants` those of the wallet's
    grants in burn order.
    """

    constraints: tuple[tuple[Place, int], ...]
    grants: tuple[tuple[Place, str], ...]
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
                [[bucket, field, section] for (bucket, field), section in self.constraints],
                [[bucket, field, id] for (bucket, field), id in self.grants],
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
        constraints, grants, *rest = msgpack.unpackb(packed)
        return cls(
            tuple(((bucket, field), section) for bucket, field, section in constraints),
            tuple(((bucket, field), id) for bucket, field, id in grants),
            *rest,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A hold as it is stored."""

    status: ReservationStatus
    expires_at_ms: int
    held: tuple[float, float]
    settled: tuple[float, float]
    details: Details

    @classmethod
    def unpack(cls, packed: bytes) -> Record:
        """Read a record."""
        state, expires_ms, _, _, first, second, first_settled, second_settled, _, _, details = msgpack.unpackb(
            packed, raw=True
        )
        return cls(
            ReservationStatus(int(state)),
            int(expires_ms),
            (float(first), float(second)),
            (float(first_settled), float(second_settled)),
            Details.unpack(details),
        )

    def reservation(self, id: str, customer: str) -> Reservation:
        """What people know of it."""
        details = self.details
        section = details.wallet_section
        return Reservation(
            id=id,
            customer=customer,
            feature=details.feature,
            currency=details.currency,
            resource=details.resource,
            amount=self.held[0],
            credits=0.0 if section == NO_WALLET else self.held[section - 1],
            status=self.status,
            expires_at_ms=self.expires_at_ms,
            settled=self.settled[0],
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
    return hashlib.blake2b(msgpack.packb(parts, default=str), digest_size=8).digest()


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
) -> Call:
    """Bind an amount that is to be held."""
    ask = prepared.ask("check", amount, writes=False)
    catalog, usage, *buckets = prepared.keys
    wallet = prepared.wallet
    fields = prepared.fields if wallet is None else (*prepared.fields, *wallet.fields)
    purse = NO_PURSE if wallet is None else wallet.args
    order = b"" if wallet is None else bytes(wallet.places)
    how = (customer.encode(), hold.encode(), print_of_request, wire.pack_double(lasts_ms), details.pack())
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
    return Call("extend", (keys.usage, keys.holds, keys.due, keys.partition_due), args, timed=0, writes=False)


def find_call(keys: CustomerKeys, hold: str = "") -> Call:
    """Read the record of a hold, or those of holds that are due."""
    return Call("find_due", (keys.holds, keys.due), (b"", hold.encode(), b"%d" % FREED_MAX), timed=0, writes=False)


def waiting_call(keyspace: Keyspace, partition: int, most: int) -> Call:
    """Find customers of a partition that have holds which are due."""
    return Call("find_waiting", (keyspace.partition_due(partition),), (b"", b"%d" % most), timed=0, writes=False)


def free_call(keys: CustomerKeys, customer: str, due: Sequence[tuple[bytes, Details]]) -> Call:
    """Free holds that are due: all of these, but where they stand in more counters than a call may name."""
    chosen: list[tuple[bytes, Details]] = []
    counters: dict[Place, None] = {}
    for id, details in due:
        more = dict.fromkeys(place for place, _ in (*details.constraints, *details.grants))
        if chosen and any(
            sum(place[0] == bucket for place in {**counters, **more}) > _FIELDS_MAX for bucket, _ in more
        ):
            break
        chosen.append((id, details))
        counters.update(more)
    buckets = _buckets(counters)
    ordered = sorted(counters, key=lambda place: -1 if place[0] is None else buckets.index(place[0]))
    number = {place: index for index, place in enumerate(ordered, start=1)}
    freed = [
        [
            id.decode(),
            [number[place] for place, _ in details.constraints],
            [section for _, section in details.constraints],
            [number[place] for place, _ in details.grants],
        ]
        for id, details in chosen
    ]
    layout = bytes(sum(place[0] == name for place in ordered) for name in (None, *buckets))
    args = (b"", customer.encode(), msgpack.packb(freed), layout, *(field for _, field in ordered))
    return Call("free", _keys(keys, buckets), args, timed=0, writes=False)


def _buckets(places: Iterable[Place]) -> list[int | str]:
    return list(dict.fromkeys(bucket for bucket, _ in places if bucket is not None))


def _keys(keys: CustomerKeys, buckets: Iterable[int | str]) -> tuple[bytes, ...]:
    named = (keys.bucket(name) for name in buckets)
    return (keys.usage, keys.holds, keys.due, keys.partition_due, keys.ended, *named)


NOTHING: Final = Details((), (), NO_WALLET, b"", 1.0, None, None, None, {})
"""The details of a record that was lost: there is nothing to give back."""


def unpack_found(reply: Sequence[Any]) -> list[tuple[bytes, Record | None]]:
    """The holds that a find brought, by id; a record that was lost is None."""
    return [
        (id, Record.unpack(packed) if packed else None) for id, packed in zip(reply[2::2], reply[3::2], strict=True)
    ]
