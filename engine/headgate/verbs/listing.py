"""Reading the customers of an environment, a page at a time, in an order that no write disturbs.

The order is that of partitions, and of ids within one; both are of the id alone, so any id says where a page begins,
whether there is a customer of it or not. Partitions are asked in growing batches, until the page is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headgate import keys, wire
from headgate.cache import State
from headgate.calls import Call, Failed, Reply, Verb
from headgate.errors import EnvironmentNotReady, InvalidInput
from headgate.keys import Keyspace
from headgate.model.customer import Customer
from headgate.verbs.environment import open_environment, refuse_status
from headgate.verbs.loading import require_token
from headgate.wire import Status

LIMIT_MAX: Final = 1_000
"""How many customers a page may have."""

_WIDTH_MAX: Final = 256
"""How many partitions are asked at once."""


def require_page(after: str | None, before: str | None, limit: object) -> int:
    """Accept what page a caller asks for; return its limit."""
    if after is not None and before is not None:
        raise InvalidInput.of("before", before, "give after or before, not both")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= LIMIT_MAX:
        raise InvalidInput.of("limit", limit, f"must be a whole number from 1 to {LIMIT_MAX}")
    return limit


def customers(
    state: State, *, after: str | None, before: str | None, limit: int, include_archived: bool
) -> Verb[list[Customer]]:
    """Read the customers next to an id, in their order: those after it, or with `before` the last ones before it."""
    environment = yield from open_environment(state)
    keyspace = environment.keyspace
    beyond, is_backwards = (after, False) if before is None else (before, True)
    found: list[Customer] = []
    partitions = _partitions(keyspace, beyond, is_backwards)
    width = 1
    while partitions and len(found) < limit:
        most = limit - len(found)
        asked = partitions[:width]
        ids = yield from _ids(state, keyspace, asked, beyond, most, is_backwards)
        read = yield from _read(state, keyspace, ids)
        found += (each for each in read if include_archived or each.archived_at_ms is None)
        if len(ids) == most:  # there may be more in the partition of the last one
            beyond = ids[-1]
            partitions = _partitions(keyspace, beyond, is_backwards)
        else:
            beyond, partitions, width = None, partitions[width:], min(2 * width, _WIDTH_MAX)
    return found[::-1] if is_backwards else found


def _partitions(keyspace: Keyspace, beyond: str | None, is_backwards: bool) -> Sequence[int]:
    """The partitions that a page may have customers of, in order: from the one of the id that it begins at."""
    if is_backwards:
        return range(keyspace.partitions - 1 if beyond is None else keyspace.partition_of(beyond), -1, -1)
    return range(0 if beyond is None else keyspace.partition_of(beyond), keyspace.partitions)


def _ids(
    state: State, keyspace: Keyspace, partitions: Sequence[int], beyond: str | None, most: int, is_backwards: bool
) -> Verb[list[str]]:
    """The first ids of partitions, in order, at most so many."""
    begin, end = (b"+", b"-") if is_backwards else (b"-", b"+")
    calls = []
    for index, partition in enumerate(partitions):
        first = begin if index or beyond is None else b"(" + beyond.encode()
        places = (keyspace.partition_catalog(partition), keyspace.partition_customers(partition))
        arguments = (b"", first, end, b"%d" % most)
        calls.append(Call("find_customers", places, arguments, timed=0, writes=False))
    replies = yield calls
    ids: list[str] = []
    for partition, reply in zip(partitions, replies, strict=True):
        page = _answered(state, reply)
        if page[0] == Status.BLANK:
            yield from _require_never_written(state, partition)
        ids += (id.decode() for id in page[2:])
    return ids[:most]


def _require_never_written(state: State, partition: int) -> Verb[None]:
    """Raise where a partition has lost its data: which customers it had can't be said."""
    state.environment = None  # it may have been made anew since this client looked
    environment = yield from open_environment(state)
    if environment.spread:
        raise EnvironmentNotReady(
            f"partition {partition} of environment {state.environment_name!r} lost its data: "
            "which customers it has cannot be said"
        )


def _read(state: State, keyspace: Keyspace, ids: Sequence[str]) -> Verb[list[Customer]]:
    """The customers of ids that were found, all at once."""
    asked = [keyspace.customer(id) for id in ids]
    wanted = wire.pack_wanted([keys.CUSTOMER], [], [])
    replies = yield [
        Call("load", (each.catalog, each.usage, each.config), (b"", wanted), timed=0, writes=False) for each in asked
    ]
    found = []
    for id, reply in zip(ids, replies, strict=True):
        answered = _answered(state, reply)
        if answered[0] == Status.BLANK:
            yield from _require_never_written(state, keyspace.partition_of(id))
            continue
        loaded = wire.read_loaded(answered)
        require_token(id, loaded)
        customer = loaded.document(Customer, keys.CUSTOMER)
        if customer is not None:
            found.append(customer)
    return found


def _answered(state: State, reply: Reply) -> Any:
    if isinstance(reply, Failed):
        raise reply.error
    refuse_status(state, reply[0])
    return reply
