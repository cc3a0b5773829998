"""Golden names: a changed byte, or a changed slot, loses what people have stored. New names may be added here."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from headgate import keys
from headgate.keys import COUNTERS_A_BUCKET, CustomerKeys, Keyspace
from headgate.model.ids import is_id

KEYSPACE = Keyspace("production", 1024)
ACME = KEYSPACE.customer("cus-acme")

# What it is called here, its bytes, and its slot in a cluster.
KEYS = {
    "meta": (Keyspace.meta("production"), b"hg:production:meta", 9573),
    "catalog": (KEYSPACE.catalog, b"hg:production:catalog", 16325),
    "updates": (KEYSPACE.updates, b"hg:production:updates", 9561),
    "a partition's catalog token": (KEYSPACE.partition_catalog(7), b"hg:{production/7}:catalog", 6768),
    "the token beside a customer": (ACME.catalog, b"hg:{production/581}:catalog", 85),
    "usage": (ACME.usage, b"hg:{production/581}:cus-acme:usage", 85),
    "config": (ACME.config, b"hg:{production/581}:cus-acme:config", 85),
    "a bucket": (ACME.bucket(3), b"hg:{production/581}:cus-acme:usage:3", 85),
    "a bucket of recurring grants": (ACME.bucket("r1"), b"hg:{production/581}:cus-acme:usage:r1", 85),
    "a bucket of those before the anchor": (ACME.bucket("r-1"), b"hg:{production/581}:cus-acme:usage:r-1", 85),
    "holds": (ACME.holds, b"hg:{production/581}:cus-acme:holds", 85),
    "open holds by expiry": (ACME.due, b"hg:{production/581}:cus-acme:due", 85),
    "ended holds": (ACME.ended, b"hg:{production/581}:cus-acme:ended", 85),
    "customers that have holds": (KEYSPACE.partition_due(7), b"hg:{production/7}:due", 6768),
    "those beside a customer": (ACME.partition_due, b"hg:{production/581}:due", 85),
    "idempotency keys": (ACME.seen(168, 2931), b"hg:{production/581}:seen:168h:2931", 85),
    "idempotency keys of an hour": (ACME.seen(1, 492_540), b"hg:{production/581}:seen:1h:492540", 85),
}
FIELDS = {
    "customer": (keys.CUSTOMER, b"customer"),
    "token": (keys.TOKEN, b"@token"),
    "resource": (keys.resource_field("site-01"), b"resource:site-01"),
    "subscriptions": (keys.subscriptions_field(), b"subscriptions"),
    "subscriptions of a resource": (keys.subscriptions_field("site-01"), b"subscriptions:site-01"),
    "ended subscriptions": (keys.ENDED_SUBSCRIPTION, b"ended-subscription:"),
    "ended subscription": (keys.ended_subscription_field("main"), b"ended-subscription:main"),
    "ended subscription of a resource": (
        keys.ended_subscription_field("main", "site-01"),
        b"ended-subscription:site-01:main",
    ),
    "wallet": (keys.wallet_field("credits"), b"wallet:credits"),
    "wallet of a resource": (keys.wallet_field("credits", "site-01"), b"wallet:credits:site-01"),
    "ended grants": (keys.ENDED_GRANT, b"ended-grant:"),
    "ended grant": (keys.ended_grant_field("credits", "gift"), b"ended-grant:credits:gift"),
    "ended grant of a resource": (
        keys.ended_grant_field("credits", "gift", "site-01"),
        b"ended-grant:credits:site-01:gift",
    ),
    "entitlement": (keys.entitlement_field("feature-seats"), b"entitlement:feature-seats"),
    "entity": (keys.entity_field("team-eng"), b"entity:team-eng"),
    "assignments": (
        keys.assignments_field("team-eng", keys.feature_capability("feature-seats")),
        b"assignments:team-eng:feature:feature-seats",
    ),
    "assignments for credits": (
        keys.assignments_field("team-eng", keys.currency_capability("credits")),
        b"assignments:team-eng:currency:credits",
    ),
    "feature": (keys.catalog_field("feature", "feature-seats"), b"feature:feature-seats"),
    "currency": (keys.catalog_field("currency", "credits"), b"currency:credits"),
    "plan": (keys.catalog_field("plan", "pro"), b"plan:pro"),
    "add-on": (keys.catalog_field("addon", "more"), b"addon:more"),
    "entity type": (keys.catalog_field("entity-type", "team"), b"entity-type:team"),
}
# What the names of a partition's own keys begin with is an id, too.
IDS = st.sampled_from(["seen", "due", "catalog", "usage"]) | st.text(
    string.ascii_letters + string.digits + "_|.@-", min_size=1, max_size=60
).filter(is_id)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_keeps_its_bytes_and_its_slot(name: str) -> None:
    key, spelled, slot = KEYS[name]
    assert (key, key_slot(key)) == (spelled, slot)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_keeps_its_bytes(name: str) -> None:
    field, spelled = FIELDS[name]
    assert field == spelled


@pytest.mark.parametrize(
    ("customer", "of_4", "of_1024"),
    [("cus-acme", 1, 581), ("a", 3, 579), ("cus-1|eu.x@y", 3, 731), ("Z" * 255, 2, 654)],
)
def test_a_customer_keeps_its_partition(customer: str, of_4: int, of_1024: int) -> None:
    assert Keyspace("any", 4).partition_of(customer) == of_4
    assert Keyspace("other", 1024).partition_of(customer) == of_1024


@pytest.mark.parametrize(
    ("capability", "resource", "field"),
    [
        (keys.feature_capability("feature-ai-tokens"), None, "557e80c267a0"),
        (keys.feature_capability("feature-seats"), None, "93dce495c6ca"),
        (keys.feature_capability("feature-seats"), "site-01", "806838ef8fc4"),
        (keys.currency_capability("credits"), None, "d125276c82e5"),
        (keys.currency_capability("credits"), "site-01", "20b9992dc14b"),
    ],
)
def test_an_account_level_counter_keeps_its_six_bytes(capability: str, resource: str | None, field: str) -> None:
    assert keys.account_counter_field(capability, resource).hex() == field


@pytest.mark.parametrize(
    ("ordinal", "resource", "bucket", "field"),
    [
        (17, None, "r1", b"1}\xc9\xa5\xd1\xac"),
        (17, "site-01", "r1", b"Z\xf2\xe6\x1d\xd92"),
        (-1, None, "r-1", b"$\xa2\xcb\xc1\xa6Q"),
        (-1, "site-01", "r-1", b"O\xe4\x0c\x1d\x00l"),
    ],
)
def test_a_recurring_grants_counter_keeps_its_place(
    ordinal: int, resource: str | None, bucket: str, field: bytes
) -> None:
    assert keys.recurring_counter_place("p:credits:MONTH", ordinal, resource) == (bucket, field)


@pytest.mark.parametrize(("ordinal", "bucket"), [(-17, "r-2"), (-16, "r-1"), (0, "r0"), (15, "r0"), (16, "r1")])
def test_16_periods_of_recurring_grants_share_a_bucket(ordinal: int, bucket: str) -> None:
    assert keys.recurring_counter_place("p:credits:MONTH", ordinal)[0] == bucket


@pytest.mark.parametrize(
    ("number", "bucket", "field"), [(0, 0, b"\x00"), (63, 0, b"\x3f"), (64, 1, b"\x00"), (100_000, 1562, b"\x20")]
)
def test_a_counter_keeps_its_place(number: int, bucket: int, field: bytes) -> None:
    assert keys.counter_place(number) == (bucket, field)


def test_no_two_counters_share_a_place_and_a_bucket_has_at_most_64() -> None:
    places = [keys.counter_place(number) for number in range(1_000)]
    assert len(set(places)) == 1_000
    assert max([bucket for bucket, _ in places].count(bucket) for bucket in range(15)) == COUNTERS_A_BUCKET == 64


@given(environment=IDS, partitions=st.integers(1, 16_384), customer=IDS, other=IDS, bucket=st.integers(0, 10_000))
def test_every_key_of_a_partition_is_in_one_slot_and_no_id_leaves_its_place(
    environment: str, partitions: int, customer: str, other: str, bucket: int
) -> None:
    keyspace = Keyspace(environment, partitions)
    partition = keyspace.partition_of(customer)
    assert 0 <= partition < partitions

    def all_of(own: CustomerKeys) -> list[bytes]:
        shared = [own.catalog, own.partition_due, own.seen(168, bucket)]
        return [*shared, own.usage, own.config, own.bucket(bucket), own.holds, own.due, own.ended]

    found = all_of(keyspace.customer(customer))
    assert len(set(found)) == len(found)
    assert {key_slot(key) for key in found} == {key_slot(keyspace.partition_catalog(partition))}
    for key in found:
        tag = re.match(rb"hg:\{([^{}]+)\}:", key)
        assert tag is not None
        assert tag[1] == f"{environment}/{partition}".encode()
    if other != customer:
        of_other = all_of(keyspace.customer(other))
        assert not set(found[3:]) & set(of_other)
        assert not set(found[:3]) & set(of_other[3:])
