"""Whose an id of a subscription is: the first who claims it has it, and every other is a conflict."""

from __future__ import annotations

from typing import Any, Final

import pytest

from behaviour.targets import SETTINGS, Target
from behaviour.world import ACME, FEATURES
from headgate import AsyncHeadgate, Conflict, EnvironmentMismatch, EnvironmentNotReady, InvalidInput
from headgate.keys import Keyspace

OTHER: Final = "cus-other"
SITE: Final = "site-01"
PARTITIONS: Final = SETTINGS.partitions or 0


@pytest.fixture
async def engine(target: Target) -> AsyncHeadgate:
    """An engine on an environment that has a catalog and nothing else."""
    await target.engine.catalog.put_features(FEATURES)
    return target.engine


def names_of(target: Target) -> dict[bytes, object]:
    return {key: value for key, value in target.dump().items() if key.endswith(b":names")}


@pytest.mark.parametrize("resource", [None, SITE])
async def test_an_id_belongs_to_who_claims_it_first(
    target: Target, engine: AsyncHeadgate, resource: str | None
) -> None:
    assert await engine.subscriptions.owner("sub-1") is None
    await engine.subscriptions.claim("sub-1", ACME, resource)
    for reader in (engine, target.open()):
        assert await reader.subscriptions.owner("sub-1") == (ACME, resource)
        assert await reader.subscriptions.owner("sub-2") is None
    owned = ACME if resource is None else f"{ACME}:{resource}"
    partition = Keyspace("any", PARTITIONS).partition_of("sub-1")
    key = f"hg:{{{target.environment}/{partition}}}:names".encode()
    assert names_of(target) == {key: {b"subscription:sub-1": owned.encode()}}


async def test_a_claim_of_what_one_has_changes_nothing(target: Target, engine: AsyncHeadgate) -> None:
    await engine.subscriptions.claim("sub-1", ACME, SITE)
    before = target.dump()
    await target.open().subscriptions.claim("sub-1", ACME, SITE)
    assert target.dump() == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((ACME, None), (OTHER, None)),
        ((ACME, None), (ACME, SITE)),
        ((ACME, SITE), (ACME, None)),
        ((ACME, SITE), (ACME, "site-02")),
        ((ACME, SITE), (OTHER, SITE)),
        ((f"{ACME}-site-01", None), (ACME, SITE)),
    ],
)
async def test_a_claim_of_what_another_has_is_a_conflict(
    target: Target, engine: AsyncHeadgate, first: tuple[str, str | None], second: tuple[str, str | None]
) -> None:
    await engine.subscriptions.claim("sub-1", *first)
    before = target.dump()
    with pytest.raises(Conflict, match="'sub-1' belongs to another") as caught:
        await engine.subscriptions.claim("sub-1", *second)
    assert first[0] not in str(caught.value)  # whose it is, is not for everybody
    assert target.dump() == before
    assert await engine.subscriptions.owner("sub-1") == first
    await engine.subscriptions.claim("sub-2", *second)
    assert await engine.subscriptions.owner("sub-2") == second


async def test_of_two_that_claim_at_once_one_has_it(target: Target, engine: AsyncHeadgate) -> None:
    other = target.open_blocking()
    target.before("claim", lambda: other.subscriptions.claim("sub-1", OTHER))
    with pytest.raises(Conflict):
        await engine.subscriptions.claim("sub-1", ACME)
    assert await engine.subscriptions.owner("sub-1") == (OTHER, None)


async def test_a_claim_makes_no_customer_and_no_environment(target: Target) -> None:
    for ask in (target.engine.subscriptions.owner("sub-1"), target.engine.subscriptions.claim("sub-1", ACME)):
        with pytest.raises(EnvironmentNotReady):
            await ask
    assert target.dump() == {}
    await target.engine.catalog.put_features(FEATURES)
    await target.engine.subscriptions.claim("sub-1", ACME)
    assert await target.engine.customers.list() == []


async def test_a_name_of_a_partition_that_lost_its_data_is_not_said_to_be_free(
    target: Target, engine: AsyncHeadgate
) -> None:
    await engine.subscriptions.claim("sub-1", ACME)
    keyspace = Keyspace(target.environment, PARTITIONS)
    for key in keyspace.names("sub-1"):
        target.redis.delete(key)
    for reader in (engine, target.open()):
        for ask in (reader.subscriptions.owner("sub-1"), reader.subscriptions.claim("sub-1", OTHER)):
            with pytest.raises(EnvironmentNotReady, match="lost its data"):
                await ask
    assert names_of(target) == {}


async def test_a_partition_that_a_cut_write_left_behind_is_mended_by_a_claim(
    target: Target, engine: AsyncHeadgate
) -> None:
    keyspace = Keyspace(target.environment, PARTITIONS)
    target.redis.hdel(Keyspace.meta(target.environment), "spread")  # as if the first write had not reached it yet
    target.redis.delete(keyspace.names("sub-1")[0])
    other = target.open()
    await other.subscriptions.claim("sub-1", ACME)
    assert await engine.subscriptions.owner("sub-1") == (ACME, None)


@pytest.mark.parametrize("target", ["async-in-process"], indirect=True)
async def test_names_of_an_environment_with_another_clock_are_not_looked_at(
    target: Target, engine: AsyncHeadgate
) -> None:
    catalog, _ = Keyspace(target.environment, PARTITIONS).names("sub-1")
    token: Any = target.redis.get(catalog)
    target.redis.set(catalog, token[:-1] + b"s")
    for ask in (engine.subscriptions.owner("sub-1"), engine.subscriptions.claim("sub-1", ACME)):
        with pytest.raises(EnvironmentMismatch, match="another clock"):
            await ask
    assert names_of(target) == {}


@pytest.mark.parametrize("target", ["sync-in-process"], indirect=True)
@pytest.mark.parametrize("id", ["", "a:b", "{a}", "x" * 256, None, 7])
async def test_what_is_no_id_is_refused_before_anything_is_sent(target: Target, engine: AsyncHeadgate, id: Any) -> None:
    target.scripts_sent()
    asks: list[tuple[str, Any]] = [
        ("subscription_id", lambda: engine.subscriptions.owner(id)),
        ("subscription_id", lambda: engine.subscriptions.claim(id, ACME)),
        ("customer", lambda: engine.subscriptions.claim("sub-1", id)),
    ]
    if id is not None:
        asks.append(("resource", lambda: engine.subscriptions.claim("sub-1", ACME, id)))
    for field, ask in asks:
        with pytest.raises(InvalidInput, match=f"{field}: "):
            await ask()
    assert target.scripts_sent() == []
