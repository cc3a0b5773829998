"""Every key and field name in Redis, spelled here and nowhere else. Golden tests pin the bytes and the cluster slot.

All keys of a partition share a hash tag, `{<environment>/<partition>}`, so that one call is one slot. Ids hold no
`:`, `{` or `}` (headgate.model.ids), so no id can leave its place.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

COUNTERS_A_BUCKET: Final = 64
"""Hashes of at most 64 counters stay packed on every server, and a counter is found in them in little time."""

CUSTOMER: Final = b"customer"
"""The field of a customer's own document."""

TOKEN: Final = b"@token"
"""The field of the catalog's token."""


def feature_capability(feature: str) -> str:
    """Name a feature as the thing that a budget or a counter is for."""
    return f"feature:{feature}"


def currency_capability(currency: str) -> str:
    """Name a currency as the thing that a budget or a counter is for: its account-level counter is overdraft."""
    return f"currency:{currency}"


def resource_field(resource: str) -> bytes:
    """Name the document of a resource."""
    return f"resource:{resource}".encode()


def subscriptions_field(resource: str | None = None) -> bytes:
    """Name the document of a customer's own subscriptions, or of those of one of its resources."""
    return b"subscriptions" if resource is None else f"subscriptions:{resource}".encode()


def claimed_subscription_field(subscription: str) -> bytes:
    """Name who an id of a subscription was given to, among the names of its partition."""
    return f"subscription:{subscription}".encode()


ENDED_SUBSCRIPTION: Final = b"ended-subscription:"
"""How the document of a subscription that ended long ago begins."""

ENDED_GRANT: Final = b"ended-grant:"
"""How the document of a grant that ended long ago begins."""


def ended_subscription_field(subscription: str, resource: str | None = None) -> bytes:
    """Name the document of a subscription that ended long ago: ids are a customer's own, or a resource's."""
    return ENDED_SUBSCRIPTION + _within(resource, subscription)


def wallet_field(currency: str, resource: str | None = None) -> bytes:
    """Name the document of the grants of a wallet."""
    return f"wallet:{currency}{'' if resource is None else f':{resource}'}".encode()


def ended_grant_field(currency: str, grant: str, resource: str | None = None) -> bytes:
    """Name the document of a grant that ended long ago: ids are a wallet's own."""
    return ENDED_GRANT + f"{currency}:".encode() + _within(resource, grant)


def _within(resource: str | None, id: str) -> bytes:
    return id.encode() if resource is None else f"{resource}:{id}".encode()


def entitlement_field(feature: str) -> bytes:
    """Name the document of a promotional entitlement."""
    return f"entitlement:{feature}".encode()


def entity_field(entity: str) -> bytes:
    """Name the document of an entity."""
    return f"entity:{entity}".encode()


def assignments_field(entity: str, capability: str) -> bytes:
    """Name the document that holds an entity's budgets for one capability."""
    return f"assignments:{entity}:{capability}".encode()


def catalog_field(kind: str, id: str) -> bytes:
    """Name a document of the catalog: kind is `feature`, `currency`, `plan`, `addon` or `entity-type`."""
    return f"{kind}:{id}".encode()


@lru_cache(maxsize=65_536)
def account_counter_field(capability: str, resource: str | None = None) -> bytes:
    """Name an account-level counter: six bytes of a hash of what is counted."""
    return hashlib.blake2b(f"{capability}\0{resource or ''}".encode(), digest_size=6).digest()


def counter_place(number: int) -> tuple[int, bytes]:
    """Find the bucket of an entity's or a grant's counter, and its field in there."""
    return number // COUNTERS_A_BUCKET, bytes([number % COUNTERS_A_BUCKET])


PERIODS_A_BUCKET: Final = 16
"""How many periods of recurring grants share a hash."""


def recurring_counter_place(definition: str, ordinal: int, resource: str | None = None) -> tuple[str, bytes]:
    """Find the bucket of a recurring grant's counter, and its field in there: there is one for each period.

    Ids of subscriptions are unique within a customer, or within one of its resources.
    """
    field = hashlib.blake2b(f"{definition}\0{resource or ''}\0{ordinal}".encode(), digest_size=6).digest()
    return f"r{ordinal // PERIODS_A_BUCKET}", field


@dataclass(frozen=True, slots=True)
class CustomerKeys:
    """The keys of one customer."""

    catalog: bytes
    usage: bytes
    config: bytes
    holds: bytes
    due: bytes
    ended: bytes
    partition_due: bytes
    partition_customers: bytes
    partition: bytes

    def seen(self, hours: int, generation: int) -> bytes:
        """Name the idempotency keys of the customer's partition that were given in one generation of so many hours."""
        return b"%bseen:%dh:%d" % (self.partition, hours, generation)

    def bucket(self, name: int | str) -> bytes:
        """Name the hash of the counters with numbers 64 × name and on, or of some periods of recurring grants."""
        return f"{self.usage.decode()}:{name}".encode()


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The names of one environment, whose number of partitions is fixed when it is first written."""

    environment: str
    partitions: int

    @staticmethod
    def meta(environment: str) -> bytes:
        """Name the hash that says what the environment is: needed before its partitions are known."""
        return f"hg:{environment}:meta".encode()

    @property
    def catalog(self) -> bytes:
        """Name the hash of the catalog's documents."""
        return f"hg:{self.environment}:catalog".encode()

    @property
    def updates(self) -> bytes:
        """Name the channel on which changes are told."""
        return f"hg:{self.environment}:updates".encode()

    @property
    def usage_updates(self) -> bytes:
        """Name the channel on which processes tell what they have counted."""
        return f"hg:{self.environment}:usage".encode()

    @property
    def api_keys(self) -> bytes:
        """Name the hash of the API keys: they need no partitions, and may be there before anything else."""
        return f"hg:{self.environment}:api-keys".encode()

    def partition_of(self, id: str) -> int:
        """Find the partition that a customer, or another id that is looked up without one, belongs to, for ever."""
        return zlib.crc32(id.encode()) % self.partitions

    def partition_catalog(self, partition: int) -> bytes:
        """Name the catalog token that a partition stands at."""
        return b"hg:{%b/%d}:catalog" % (self.environment.encode(), partition)

    def partition_due(self, partition: int) -> bytes:
        """Name the customers of a partition that have holds, by their earliest expiry."""
        return b"hg:{%b/%d}:due" % (self.environment.encode(), partition)

    def partition_customers(self, partition: int) -> bytes:
        """Name the ids of a partition's customers, in their order."""
        return b"hg:{%b/%d}:customers" % (self.environment.encode(), partition)

    def names(self, id: str) -> tuple[bytes, bytes]:
        """Name the catalog token and the names of the partition that an id belongs to, whoever it is given to."""
        tag = b"hg:{%b/%d}:" % (self.environment.encode(), self.partition_of(id))
        return tag + b"catalog", tag + b"names"

    def customer(self, customer: str) -> CustomerKeys:
        """Name the keys of one customer."""
        tag = b"hg:{%b/%d}:" % (self.environment.encode(), self.partition_of(customer))
        own = tag + customer.encode()
        return CustomerKeys(
            catalog=tag + b"catalog",
            usage=own + b":usage",
            config=own + b":config",
            holds=own + b":holds",
            due=own + b":due",
            ended=own + b":ended",
            partition_due=tag + b"due",
            partition_customers=tag + b"customers",
            partition=tag,
        )
