"""The environment and its catalog: opening it, spreading the catalog over all partitions, mending what was cut.

The catalog is one hash; every partition holds the token that it stands at, beside the counters. A catalog write is
done when all partitions stand at it. A client that finds a partition behind raises it, so a fan-out that was cut
mends itself; a catalog behind a partition was lost, and is written again under a new token.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from headgate import keys, wire
from headgate.cache import Catalog, Environment, State
from headgate.calls import Call, Failed, Verb
from headgate.errors import (
    CatalogNotEverywhere,
    ConfigurationKeepsChanging,
    EnvironmentMismatch,
    EnvironmentNotReady,
    Unavailable,
)
from headgate.keys import Keyspace
from headgate.model.catalog import Currency, EntityType, Feature
from headgate.model.packages import Addon, Plan
from headgate.settings import PARTITIONS_DEFAULT, SCHEMA
from headgate.wire import Document, Status

ATTEMPTS_MAX: Final = 8
"""How often a verb starts again because the configuration moved under it."""

_LETTER: Final = {"server": b"s", "simulated": b"g"}


def open_environment(state: State, *, create: bool = False) -> Verb[Environment]:
    """Read what the environment is, and hold it against what this client was told; create it first if asked to."""
    known = state.environment
    if known is not None and not create:
        return known
    if create:
        yield from require_nothing_lost(state)
    reply = yield Call(
        "open_environment",
        (Keyspace.meta(state.environment_name),),
        (
            b"1" if create else b"0",
            b"%d" % (state.partitions or PARTITIONS_DEFAULT),
            SCHEMA.encode(),
            state.clock.encode(),
        ),
        writes=create,
        shared=not create,
    )
    if reply[0] == Status.BLANK:
        raise EnvironmentNotReady(
            f"environment {state.environment_name!r} holds no data on this server: its catalog was never written "
            "(engine.catalog, `headgate apply`, POST /api/v1/features), or the server lost it"
        )
    partitions, schema, clock, spread = int(reply[2]), reply[3].decode(), reply[4].decode(), reply[5]
    name = state.environment_name
    if schema != SCHEMA:
        raise EnvironmentMismatch(f"environment {name!r} has layout {schema}; this version reads layout {SCHEMA}")
    if clock != state.clock:
        raise EnvironmentMismatch(
            f"environment {name!r} has the clock {clock!r}, and this client was told {state.clock!r}: "
            "an environment keeps the clock that it was first written with"
        )
    if state.partitions is not None and state.partitions != partitions:
        raise EnvironmentMismatch(
            f"environment {name!r} has {partitions} partitions, this client wants {state.partitions}"
        )
    opened = Environment(Keyspace(name, partitions), clock, spread == b"1")
    state.environment = opened
    return opened


def require_nothing_lost(state: State) -> Verb[int]:
    """Refuse to make an environment anew where its catalog says that there is one: other partitions would hide it.

    Returns the server's time.
    """
    name = state.environment_name
    reply = yield Call("read_catalog", (Keyspace(name, 1).catalog,), (b"",), timed=0, writes=False)
    if keys.TOKEN not in reply[2::2]:
        return int(reply[1])
    state.environment = None  # what this client knows of it may be all that is left
    try:
        yield from open_environment(state)
    except EnvironmentNotReady:
        raise EnvironmentNotReady(f"environment {name!r} has a catalog, and lost what it says of itself") from None
    return int(reply[1])


def read_catalog(state: State, *, fresh: bool = False) -> Verb[Catalog]:
    """Return the catalog that this client keeps, or read it."""
    known = state.catalog
    if known is not None and not fresh:
        return known
    environment = yield from open_environment(state)
    reply = yield Call("read_catalog", (environment.keyspace.catalog,), (b"",), timed=0, writes=False, shared=not fresh)
    _, read_at_ms, *pairs = reply
    documents = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def all_of(kind: str, model: type[Document]) -> list[Document]:
        prefix = keys.catalog_field(kind, "")
        return [wire.unpack_document(model, documents[field]) for field in documents if field.startswith(prefix)]

    catalog = Catalog.of(
        documents.get(keys.TOKEN, b""),
        read_at_ms=int(read_at_ms),
        features=all_of("feature", Feature),
        currencies=all_of("currency", Currency),
        entity_types=all_of("entity-type", EntityType),
        plans=all_of("plan", Plan),
        addons=all_of("addon", Addon),
    )
    state.catalog = catalog
    return catalog


def _write(
    state: State, environment: Environment, expected: bytes, least: int, documents: Mapping[bytes, bytes]
) -> Verb[bytes | None]:
    keyspace = environment.keyspace
    pairs = [part for pair in documents.items() for part in pair]
    reply = yield Call(
        "write_catalog",
        (keyspace.catalog,),
        (
            expected,
            b"%d" % least,
            os.urandom(8) + _LETTER[environment.clock],
            keyspace.updates,
            wire.pack_catalog_update_head(),
            *pairs,
        ),
    )
    state.catalog = None
    state.entitlements.drop_all(reply[1])
    return reply[1] if reply[0] == Status.DONE else None


def write_catalog(state: State, documents: Mapping[bytes, bytes], *, expected: bytes) -> Verb[bool]:
    """Write documents made from the catalog of one token, and let every partition stand at it.

    False if the catalog has moved since. Raises `CatalogNotEverywhere` if some partitions could not be reached.
    """
    environment = yield from open_environment(state, create=True)
    token = yield from _write(state, environment, expected, 0, documents)
    if token is None:
        return False
    yield from spread_catalog(state, token)
    return True


def spread_catalog(state: State, token: bytes) -> Verb[None]:
    """Let every partition stand at a catalog. A partition that lost its data is reported, and stays as it is."""
    for _ in range(ATTEMPTS_MAX):
        environment = yield from open_environment(state)
        keyspace = environment.keyspace
        blank = b"0" if environment.spread else b"1"
        replies = yield [
            Call("raise_partition", (keyspace.partition_catalog(partition),), (token, blank), writes=False)
            for partition in range(keyspace.partitions)
        ]
        behind = [partition for partition, reply in enumerate(replies) if isinstance(reply, Failed)]
        lost = [
            partition
            for partition, reply in enumerate(replies)
            if not isinstance(reply, Failed) and reply[0] == Status.BLANK
        ]
        newer = [reply[1] for reply in replies if not isinstance(reply, Failed) and reply[0] == Status.STALE]
        if behind:
            first = replies[behind[0]]
            raise CatalogNotEverywhere(behind, str(first.error))
        if lost:
            raise CatalogNotEverywhere(lost, "they lost their data; engine.catalog.accept_loss() writes them again")
        if newer:
            catalog = yield from read_catalog(state, fresh=True)
            if catalog.token == token:
                rewritten = yield from _write(state, environment, token, max(map(wire.token_number, newer)) + 1, {})
                if rewritten is None:
                    return  # somebody else wrote the catalog, and spreads it
                token = rewritten
                continue
            return
        if not environment.spread:
            yield Call("mark_spread", (Keyspace.meta(state.environment_name),), (b"1",), writes=False)
            state.environment = Environment(keyspace, environment.clock, True)
        return
    raise ConfigurationKeepsChanging("other writers changed the catalog at every attempt")


def accept_loss(state: State) -> Verb[None]:
    """Write what was lost again, as empty: the catalog, and partitions, whose customers are "not found" then."""
    environment = yield from open_environment(state)
    yield Call("mark_spread", (Keyspace.meta(state.environment_name),), (b"0",), writes=False)
    state.environment = Environment(environment.keyspace, environment.clock, False)
    catalog = yield from read_catalog(state, fresh=True)
    token: bytes | None = catalog.token
    if not token:
        token = yield from _write(state, environment, b"", 0, {})
    if token is not None:
        yield from spread_catalog(state, token)


def mend_partition(state: State, customer: str, token: bytes | None) -> Verb[None]:
    """Bring the catalog that this client keeps and the one a customer's partition stands at together."""
    state.environment = None  # it may have been made anew, with other partitions, since this client looked
    environment = yield from open_environment(state)
    keyspace = environment.keyspace
    catalog = yield from read_catalog(state, fresh=True)
    if not catalog.token:
        raise EnvironmentNotReady(f"environment {state.environment_name!r} has partitions, and no catalog: it was lost")
    if catalog.token == token:
        return
    if token is None:
        if environment.spread:
            raise EnvironmentNotReady(
                f"partition {keyspace.partition_of(customer)} of environment {state.environment_name!r} lost its data: "
                f"whether {customer!r} exists cannot be said"
            )
    elif wire.token_number(catalog.token) <= wire.token_number(token):
        rewritten = yield from _write(state, environment, catalog.token, wire.token_number(token) + 1, {})
        if rewritten is not None:
            yield from spread_catalog(state, rewritten)
        return
    blank = b"0" if environment.spread else b"1"
    key = keyspace.partition_catalog(keyspace.partition_of(customer))
    yield Call("raise_partition", (key,), (catalog.token, blank), writes=False)


def refuse_status(state: State, status: int) -> None:
    """Raise for the statuses that no new attempt can change."""
    if status == Status.OTHER_CLOCK:
        raise EnvironmentMismatch(
            f"environment {state.environment_name!r} was written with another clock than {state.clock!r}"
        )
    if status == Status.LATE:
        raise Unavailable("the server ran the call after its deadline, and counted nothing")
