"""Golden names of what is found without knowing a customer: API keys, the list of customers, and claimed ids."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from headgate import keys
from headgate.keys import Keyspace
from headgate.model.ids import is_id

KEYSPACE = Keyspace("production", 1024)
KEYS = {
    "API keys": (KEYSPACE.api_keys, b"hg:production:api-keys", 15396),
    "a partition's customers": (KEYSPACE.partition_customers(7), b"hg:{production/7}:customers", 6768),
    "those beside a customer": (
        KEYSPACE.customer("cus-acme").partition_customers,
        b"hg:{production/581}:customers",
        85,
    ),
    "the token beside a name": (KEYSPACE.names("sub-1")[0], b"hg:{production/55}:catalog", 6819),
    "names": (KEYSPACE.names("sub-1")[1], b"hg:{production/55}:names", 6819),
}
IDS = st.sampled_from(["customers", "names", "due", "seen", "catalog"]) | st.text(
    string.ascii_letters + string.digits + "_|.@-", min_size=1, max_size=60
).filter(is_id)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_keeps_its_bytes_and_its_slot(name: str) -> None:
    key, spelled, slot = KEYS[name]
    assert (key, key_slot(key)) == (spelled, slot)


def test_a_field_keeps_its_bytes() -> None:
    assert keys.claimed_subscription_field("sub-1") == b"subscription:sub-1"


@given(environment=IDS, partitions=st.integers(1, 16_384), id=IDS)
def test_what_one_call_touches_is_in_one_slot_and_no_customer_takes_its_place(
    environment: str, partitions: int, id: str
) -> None:
    keyspace = Keyspace(environment, partitions)
    partition = keyspace.partition_of(id)
    own = keyspace.customer(id)
    assert own.partition_customers == keyspace.partition_customers(partition)
    catalog, names = keyspace.names(id)
    assert catalog == own.catalog == keyspace.partition_catalog(partition)
    shared = [names, own.partition_customers, catalog, own.partition_due, own.seen(168, 7)]
    private = [own.usage, own.config, own.holds, own.due, own.ended, own.bucket(0)]
    assert len({*shared, *private}) == len(shared) + len(private)
    assert len({key_slot(key) for key in (*shared, *private)}) == 1
    assert keyspace.api_keys not in (keyspace.catalog, keyspace.updates, Keyspace.meta(environment))
