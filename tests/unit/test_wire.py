"""Bytes: what is packed is read back as it was, and each layout is the one that the scripts read."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import wire
from headgate.amounts import WHOLE_MAX
from headgate.model.catalog import EntityType, Feature, FeatureType, MeterType
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.governance import Assignment, Entity
from headgate.periods import MonthlyReset, ResetPeriod
from headgate.verbs.loading import Assignments
from headgate.wire import Counter, Stamp, Status

DOCUMENTS = [
    Feature(id="f", feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL, units="token"),
    Feature(id="f", feature_type=FeatureType.ENUM, enum_values=("eu", "us"), metadata={"a": "é"}),
    EntityType(id="team", attribution_keys=("teamId", "squadId")),
    Customer(id="c", name="Ünal", created_at_ms=0, updated_at_ms=5, archived_at_ms=7),
    PromotionalEntitlement(
        feature="f",
        usage_limit=2.5,
        reset_period=ResetPeriod.MONTH,
        reset_according_to=MonthlyReset.START_OF_THE_MONTH,
        reset_anchor_ms=9,
        zone="Europe/Berlin",
    ),
    PromotionalEntitlement(feature="f", has_unlimited_usage=True, revoked_at_ms=1),
    Entity(id="e", type="team", parent="o", children_by_height=(1, 0, 2), created_at_ms=0, updated_at_ms=0),
    Assignments(
        assignments=(
            Assignment(number=0, usage_limit=None, cadence="P1M", created_at_ms=1, updated_at_ms=2),
            Assignment(number=64, scope=("a", "b"), usage_limit=0.0, cadence="PT10M", created_at_ms=1, updated_at_ms=2),
        )
    ),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: type(document).__name__)
def test_a_document_is_read_back_as_it_was(document: wire.Document) -> None:
    assert wire.unpack_document(type(document), wire.pack_document(document)) == document


def test_a_document_leaves_out_what_is_none() -> None:
    assert b"archived_at_ms" not in wire.pack_document(Customer(id="c", created_at_ms=0, updated_at_ms=0))


def test_the_moment_the_amounts_the_window_and_a_constraint_are_little_endian_doubles() -> None:
    assert wire.MOMENT.pack(1.0, 2.0) == struct.pack("<dd", 1, 2)
    assert wire.pack_amounts(3.5) == struct.pack("<dd", 3.5, 0)
    assert wire.pack_window(10, 20) == struct.pack("<dd", 10, 20)
    assert wire.pack_constraint(5, 10, 20, 1) == struct.pack("<ddd", 5, 10, 20) + b"\x01"
    assert wire.pack_double(0.1) == struct.pack("<d", 0.1)


@pytest.mark.parametrize("limit", [0.0, 0.1, float(WHOLE_MAX)])
def test_a_limit_is_the_double_that_it_is_and_none_never_refuses(limit: float) -> None:
    assert struct.unpack("<dddB", wire.pack_constraint(limit, 0, 1, 2)) == (limit, 0, 1, 2)
    assert struct.unpack("<dddB", wire.pack_constraint(None, 0, 1, 2))[0] == math.inf


@given(st.integers(0, 2**53 - 1), st.floats(0, 2**53), st.floats(0.00001, 2**35))
def test_a_counter_has_16_bytes_and_24_while_something_is_held(start_ms: int, used: float, held: float) -> None:
    assert wire.unpack_counter(struct.pack("<dd", start_ms, used)) == Counter(start_ms, used, 0)
    assert wire.unpack_counter(struct.pack("<ddd", start_ms, used, held)) == Counter(start_ms, used, held)


def test_a_counter_of_another_size_is_an_error() -> None:
    with pytest.raises(struct.error):
        wire.unpack_counter(b"\0" * 17)


@given(st.lists(st.floats(allow_nan=False)))
def test_as_many_numbers_are_read_as_there_are(numbers: list[float]) -> None:
    assert list(wire.unpack_doubles(b"".join(map(wire.pack_double, numbers)))) == numbers


@pytest.mark.parametrize(
    ("used", "held", "requested", "total"),
    [(1, 0, 2, 3), (0.1, 0, 0.2, 0.3), (1, 4, 2, 7), (0.1, 0.1, 0.1, 0.3), (WHOLE_MAX, 0, 1, math.inf)],
)
def test_the_total_is_the_number_that_a_limit_is_compared_with(
    used: float, held: float, requested: float, total: float
) -> None:
    assert wire.total(Counter(0, used, held), requested) == total


def test_a_load_is_read_with_its_stamp_and_what_is_not_there_is_none() -> None:
    customer = Customer(id="c", created_at_ms=0, updated_at_ms=0)
    reply = [Status.DONE, 1_000, b"catalog", b"version", b"65", b"customer", wire.pack_document(customer)]
    loaded = wire.read_loaded(reply)
    assert (loaded.server_now_ms, loaded.next_number) == (1_000, 65)
    assert loaded.stamp == Stamp(b"catalog", b"version")
    assert loaded.document(Customer, b"customer") == customer
    assert loaded.document(Feature, b"feature:none") is None


def test_a_load_with_half_a_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        wire.read_loaded([Status.DONE, 1, b"c", b"v", b"0", b"field without a document"])


def test_an_update_says_what_changed_and_the_token_of_a_catalog_comes_last() -> None:
    message = wire.pack_update("customer", "cus-acme", b"12345678")
    assert wire.unpack_update(message) == {"kind": "customer", "customer": "cus-acme", "token": b"12345678"}
    token = bytes(range(wire.CATALOG_TOKEN_SIZE))
    assert wire.unpack_update(wire.pack_catalog_update_head() + token) == {
        "kind": "catalog",
        "customer": "",
        "token": token,
    }


def test_what_a_load_wants_is_in_strings_which_the_scripts_can_read() -> None:
    assert wire.unpack_update(wire.pack_wanted([b"customer"], ["team-eng"], ["feature:f"])) == {
        "fields": ["customer"],
        "entities": ["team-eng"],
        "capabilities": ["feature:f"],
    }


def test_the_number_in_front_puts_two_catalog_tokens_in_order() -> None:
    assert wire.token_number((5).to_bytes(8, "big") + b"\xff" * 9) == 5
    assert wire.token_number((2**40).to_bytes(8, "big") + b"\0" * 9) == 2**40
