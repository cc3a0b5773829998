"""Reading all documents of a customer, for set-up and for people. Nothing on the hot path does this."""

from __future__ import annotations

from typing import Final

from headgate.cache import State
from headgate.calls import Call, Verb
from headgate.errors import ConfigurationKeepsChanging
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, open_environment, refuse_status
from headgate.verbs.loading import load, require_token
from headgate.wire import Loaded, Stamp, Status

PAGE: Final = 500


def scan(state: State, customer: str) -> Verb[Loaded]:
    """Read every document of a customer, all of one stamp; a change in between starts the reading again."""
    for _ in range(ATTEMPTS_MAX):
        _, begun = yield from load(state, customer, fields=[])
        documents = yield from _pages(state, customer, begun.stamp)
        if documents is not None:
            loaded = Loaded(begun.server_now_ms, begun.stamp, begun.next_number, documents)
            require_token(customer, loaded)
            return loaded
    raise ConfigurationKeepsChanging(
        f"customer {customer!r} changed at each of {ATTEMPTS_MAX} attempts to read it whole"
    )


def _pages(state: State, customer: str, stamp: Stamp) -> Verb[dict[bytes, bytes] | None]:
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(customer)
    documents: dict[bytes, bytes] = {}
    cursor = b"0"
    while True:
        reply = yield Call(
            "scan",
            (customer_keys.catalog, customer_keys.usage, customer_keys.config),
            (b"", cursor, b"%d" % PAGE),
            timed=0,
            writes=False,
        )
        refuse_status(state, reply[0])
        if reply[0] == Status.BLANK:
            yield from mend_partition(state, customer, None)
            return None
        if Stamp(reply[2], reply[3]) != stamp:
            return None
        documents.update(zip(reply[5::2], reply[6::2], strict=True))
        cursor = reply[4]
        if cursor == b"0":
            return documents
