"""Records of holds and the calls that end them: what is packed comes back, and each counter is named in its place."""

from __future__ import annotations

import functools
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa import lua51

from headgate import holds
from headgate.amounts import WHOLE_MAX
from headgate.calls import Call
from headgate.errors import InvalidInput, OutOfRange
from headgate.holds import NOTHING, NOWHERE, Details, Record
from headgate.keys import CustomerKeys, Keyspace
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.testing.lua_modules import INSTALL, PRELUDE
from headgate.verbs import reservations
from headgate.wire import pack_double, unpack_doubles

KEYS: CustomerKeys = Keyspace("test", 4).customer("cus-acme")
ACCOUNT, ORG, TEAM, USER = (None, b"accnt1"), (0, b"\x01"), (0, b"\x02"), (3, b"\x05")
GIVEN, RECURRING = (3, b"\x07"), ("r1", b"grant6")
DETAILS = Details(
    constraints=((ACCOUNT, 1), (ORG, 1), (TEAM, 2), (USER, 1)),
    grants=((RECURRING, "plan:credits:MONTH:16"), (GIVEN, "g1")),
    wallet_section=2,
    overdraft_field=b"overdr",
    rate=2.5,
    feature="feature-tokens",
    currency="credits",
    resource=None,
    metadata={"trace": "ä-1"},
)


def record(state: ReservationStatus, details: Details = DETAILS, **more: Any) -> bytes:
    """A record as the scripts write it."""
    fields = {"expires_ms": 5_000, "ended_ms": 0, "held": (10.0, 25.0), "settled": (0.0, 0.0), **more}
    parts = pack_double(20.0) + pack_double(4.5)
    packed: bytes = msgpack.packb(
        [
            *(int(state), fields["expires_ms"], fields["ended_ms"], b"8 bytes!"),
            *(*fields["held"], *fields["settled"], b"starts", parts, 1_000, details.pack()),
        ],
        use_bin_type=False,
    )
    return packed


def due(*details: Details) -> list[tuple[bytes, bytes]]:
    """What a find brings of due holds, one of each."""
    reply: list[Any] = [8, 5_000]
    for number, each in enumerate(details):
        reply += [b"job-%d" % number, record(ReservationStatus.OPEN, each)]
    return holds.unpack_due(reply)


# Records.


def test_details_come_back_as_they_were_packed() -> None:
    assert Details.unpack(DETAILS.pack()) == DETAILS
    assert Details.unpack(NOTHING.pack()) == NOTHING


def test_a_record_says_what_became_of_a_reservation() -> None:
    settled = record(ReservationStatus.SETTLED, settled=(4.0, 10.0), ended_ms=4_500)
    assert Record.unpack(settled).reservation("job", "cus-acme", 4_999) == Reservation(
        id="job",
        customer="cus-acme",
        feature="feature-tokens",
        currency="credits",
        resource=None,
        amount=10.0,
        credits=25.0,
        status=ReservationStatus.SETTLED,
        reserved_at_ms=1_000,
        expires_at_ms=5_000,
        ended_at_ms=4_500,
        settled=4.0,
        settled_credits=10.0,
        metadata={"trace": "ä-1"},
    )


@pytest.mark.parametrize(
    ("state", "now_ms", "shown"),
    [
        (ReservationStatus.OPEN, 4_999, ReservationStatus.OPEN),
        (ReservationStatus.OPEN, 5_000, ReservationStatus.EXPIRED),
        (ReservationStatus.EXPIRED, 4_999, ReservationStatus.EXPIRED),
        (ReservationStatus.SETTLED, 5_000, ReservationStatus.SETTLED),
        (ReservationStatus.RELEASED, 5_000, ReservationStatus.RELEASED),
    ],
)
def test_what_is_open_and_due_has_expired_though_nobody_freed_it_yet(
    state: ReservationStatus, now_ms: int, shown: ReservationStatus
) -> None:
    assert Record.unpack(record(state)).reservation("job", "cus-acme", now_ms).status is shown


def test_a_hold_that_takes_no_credits_holds_none() -> None:
    plain = Details(((ACCOUNT, 1),), (), holds.NO_WALLET, b"", 1.0, "feature-tokens", None, None, {})
    assert Record.unpack(record(ReservationStatus.OPEN, plain)).reservation("job", "c", 0).credits == 0.0


def test_what_a_find_brings_is_read_and_a_record_that_was_lost_is_nothing() -> None:
    assert holds.unpack_record([8, 5_000, b"job", b""]) is None
    found = holds.unpack_record([8, 5_000, b"job", record(ReservationStatus.OPEN)])
    assert found is not None
    assert found.details == DETAILS
    lost = holds.unpack_due([8, 5_000, b"job-0", record(ReservationStatus.OPEN), b"job-1", b""])
    assert [(id, where == NOWHERE) for id, where in lost] == [(b"job-0", False), (b"job-1", True)]


def test_the_lua_of_a_fake_server_packs_and_reads_a_record_as_redis_does() -> None:
    packed = record(ReservationStatus.OPEN, expires_ms=1_773_144_000_000, held=(0.1, float(WHOLE_MAX)))
    assert lua("return cmsgpack.unpack(...)[4]")(packed) == b"8 bytes!"
    again = lua("local record = cmsgpack.unpack(...) record[1] = 4 return cmsgpack.pack(record)")(packed)
    expired = Record.unpack(again)
    assert (expired.status, expired.expires_at_ms) == (ReservationStatus.EXPIRED, 1_773_144_000_000)
    assert (expired.held, expired.details) == ((0.1, WHOLE_MAX), DETAILS)
    groups = msgpack.unpackb(free(due(DETAILS, DETAILS)).args[2])
    assert lua("return #cmsgpack.unpack(...)[1]")(msgpack.packb(groups)) == 5


@functools.cache
def lua(body: str) -> Any:
    runtime = lua51.LuaRuntime(encoding=None)
    runtime.execute(INSTALL.encode())
    return runtime.eval(f"function(...) {PRELUDE} {body} end".encode())


# Fingerprints.


def test_requests_that_differ_have_other_fingerprints() -> None:
    requests = [("f", None, 1.0, [], 5), ("f", None, 1.0, [], 6), (None, "f", 1.0, [], 5), ("f", None, 1.5, [], 5)]
    requests += [("f", None, 1.0, [("a", "b")], 5), ("f", None, 1.0, [("a", "\ud800")], 5)]
    prints = [holds.fingerprint(*each) for each in requests]
    assert len(set(prints)) == len(requests)
    assert {len(each) for each in prints} == {8}
    assert holds.fingerprint(*requests[0]) == prints[0]


# Settling.


def settle(details: Details, amount: float = 4.0) -> Call:
    outcome = ReservationStatus.SETTLED
    return holds.settle_call(KEYS, details, customer="cus-acme", hold="job", amount=amount, outcome=outcome)


def test_a_settle_names_every_counter_of_the_record_by_bucket() -> None:
    call = settle(DETAILS)
    assert call.keys[:5] == (KEYS.usage, KEYS.holds, KEYS.due, KEYS.partition_due, KEYS.ended)
    assert call.keys[5:] == tuple(KEYS.bucket(name) for name in (0, 3, "r1"))
    _, customer, hold, outcome, amounts, layout, sections, places, overdraft, ranks, *fields = call.args
    assert (customer, hold, outcome, overdraft) == (b"cus-acme", b"job", b"2", b"overdr")
    assert unpack_doubles(amounts) == (4.0, 10.0)
    assert (list(layout), list(sections)) == ([1, 2, 1, 0], [1, 1, 2, 1, 2])
    assert (list(places), list(ranks)) == ([0, 1, 1], [2, 1])
    assert fields == [ACCOUNT[1], ORG[1], TEAM[1], USER[1], GIVEN[1], RECURRING[1]]
    assert not call.writes  # it may be sent again when its reply was lost


def test_a_settle_that_costs_more_credits_than_there_can_be_is_not_sent() -> None:
    with pytest.raises(OutOfRange):
        settle(DETAILS, float(WHOLE_MAX))


# Freeing.


def free(found: list[tuple[bytes, bytes]]) -> Call:
    call, chosen = holds.free_call(KEYS, "cus-acme", found)
    assert chosen == len(found)
    return call


def test_holds_that_stand_in_the_same_counters_are_named_together() -> None:
    alone = Details(((ACCOUNT, 1),), (), holds.NO_WALLET, b"", 1.0, "feature-tokens", None, None, {"another": "one"})
    other = Details(((ACCOUNT, 1), (USER, 1)), ((GIVEN, "g1"),), 2, b"overdr", 1.0, "feature-tokens", None, None, {})
    call = free(due(DETAILS, alone, other, DETAILS, alone))
    _, customer, freed, layout, *fields = call.args
    assert (customer, list(layout)) == (b"cus-acme", [1, 2, 2, 1])
    assert call.keys[5:] == tuple(KEYS.bucket(name) for name in (0, 3, "r1"))
    by_place = dict(enumerate(fields, start=1))
    named = [
        ([by_place[each] for each in places], sections, [by_place[each] for each in grants], ids)
        for places, sections, grants, *ids in msgpack.unpackb(freed)
    ]
    assert named == [
        ([ACCOUNT[1], ORG[1], TEAM[1], USER[1]], [1, 1, 2, 1], [RECURRING[1], GIVEN[1]], ["job-0", "job-3"]),
        ([ACCOUNT[1]], [1], [], ["job-1", "job-4"]),
        ([ACCOUNT[1], USER[1]], [1, 1], [GIVEN[1]], ["job-2"]),
    ]


def test_nothing_that_is_due_is_a_call_that_drops_records() -> None:
    call = free([])
    assert (call.keys, msgpack.unpackb(call.args[2]), call.args[3:]) == (
        *((KEYS.usage, KEYS.holds, KEYS.due, KEYS.partition_due, KEYS.ended), []),
        (b"\0",),
    )


def test_a_hold_whose_record_was_lost_is_named_and_stands_nowhere() -> None:
    call = free([(b"job", NOWHERE)])
    assert (msgpack.unpackb(call.args[2]), call.args[3:]) == ([[[], [], [], "job"]], (b"\0",))


@given(st.lists(st.integers(1, 64), min_size=1, max_size=12))
def test_a_call_names_at_most_two_hundred_counters_of_a_hash_and_at_least_one_hold(sizes: list[int]) -> None:
    different = []
    for number, size in enumerate(sizes):
        grants = tuple((("r0", b"%03d%03d" % (number, each)), "g") for each in range(size))
        different.append(Details((), grants, 1, b"overdr", 1.0, None, "credits", None, {}))
    found, calls = due(*different), 0
    while found:
        call, chosen = holds.free_call(KEYS, "cus-acme", found)
        assert chosen >= 1
        assert list(call.args[3]) == [0, sum(sizes[len(sizes) - len(found) :][:chosen])]
        assert max(call.args[3]) <= 200
        found, calls = found[chosen:], calls + 1
    assert calls <= -(-sum(sizes) // (200 - 63))


# What is given from outside.


@pytest.mark.parametrize(("lasts", "lasts_ms"), [(1, 1_000), (1.5, 1_500), (86_400, 86_400_000)])
def test_a_span_is_taken_in_seconds(lasts: float, lasts_ms: int) -> None:
    assert reservations.lasts_of(lasts) == lasts_ms


def test_ids_are_made_of_their_own_and_never_twice() -> None:
    made = {reservations.hold_of(None, None, None).id for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(each.startswith("hold-") for each in made)


def test_a_mapping_of_texts_is_kept_as_it_was_when_it_was_given() -> None:
    metadata = {"a": "b"}
    hold = reservations.hold_of("job", None, metadata)
    metadata["a"] = "c"
    assert hold.metadata == {"a": "b"}
    with pytest.raises(InvalidInput, match="4096"):
        reservations.hold_of("job", None, {"a": "ä" * 2_046})
