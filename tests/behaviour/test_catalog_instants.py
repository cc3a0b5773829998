"""When each thing of the catalog was created and last changed: the engine says it, by the server's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack
import pytest

from behaviour.targets import NOW_MS, Target
from headgate import AsyncHeadgate, InvalidInput
from headgate.keys import Keyspace, catalog_field
from headgate.policy import Policy

KINDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "features": ("feature", {"id": "feature-tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}),
    "currencies": ("currency", {"id": "currency-credits"}),
    "entity_types": ("entity-type", {"id": "team", "attribution_keys": ["teamId"]}),
    "plans": ("plan", {"id": "plan-pro"}),
    "addons": ("addon", {"id": "addon-seats"}),
}
GIVEN_MS: Final = 5_000
POLICY: Final = Policy.parse(
    {
        "features": {"feature-tokens": {"type": "NUMBER", "meter": "INCREMENTAL"}},
        "currencies": {"currency-credits": {}},
        "entity_types": {"team": {"keys": ["teamId"]}},
        "plans": {"plan-pro": {}},
        "addons": {"addon-seats": {}},
    }
)

every_kind = pytest.mark.parametrize("kind", KINDS)


async def put(engine: AsyncHeadgate, kind: str, **changes: Any) -> Any:
    """Write the one of a kind, and return what is said to be stored."""
    method: Any = getattr(engine.catalog, f"put_{kind}")
    (stored,) = await method([{**KINDS[kind][1], **changes}])
    return stored


async def read(engine: AsyncHeadgate, kind: str) -> Any:
    method: Any = getattr(engine.catalog, kind)
    (stored,) = (await method()).values()
    return stored


def instants(stored: Any) -> tuple[int, int]:
    return stored.created_at_ms - NOW_MS, stored.updated_at_ms - NOW_MS


@every_kind
async def test_the_first_write_is_when_it_was_created_and_a_change_is_when_it_was_updated(
    target: Target, engine: AsyncHeadgate, kind: str
) -> None:
    first = await put(engine, kind)
    assert instants(first) == (0, 0)
    target.clock.advance(1_000)
    assert await put(engine, kind) == first
    changed = await put(engine, kind, description="Another one")
    assert instants(changed) == (0, 1_000)
    target.clock.advance(1_000)
    assert await put(target.open(), kind, description="Another one") == changed
    assert await read(engine, kind) == await read(target.open(), kind) == changed


@every_kind
async def test_what_a_user_says_of_these_instants_counts_for_nothing(
    target: Target, engine: AsyncHeadgate, kind: str
) -> None:
    said = {"created_at_ms": GIVEN_MS, "updated_at_ms": GIVEN_MS}
    first = await put(engine, kind, **said)
    assert instants(first) == (0, 0)
    before = target.dump()
    target.clock.advance(1_000)
    assert await put(engine, kind, **said) == first
    assert target.dump() == before
    assert instants(await put(engine, kind, description="Another one", **said)) == (0, 1_000)


@every_kind
async def test_a_document_without_instants_says_0_and_gets_the_instant_of_its_next_change(
    target: Target, engine: AsyncHeadgate, kind: str
) -> None:
    await put(engine, kind)
    key, field = Keyspace(target.environment, 1).catalog, catalog_field(*_named(kind))
    document = msgpack.unpackb(target.redis.hget(key, field))
    del document["created_at_ms"], document["updated_at_ms"]
    target.redis.hset(key, field, msgpack.packb(document))  # as one that was written before there were instants

    old = await read(engine, kind)
    assert (old.created_at_ms, old.updated_at_ms) == (0, 0)
    before = target.dump()
    assert await put(engine, kind) == old
    assert target.dump() == before
    changed = await put(engine, kind, description="Another one")
    assert (changed.created_at_ms, changed.updated_at_ms) == (0, NOW_MS)


def _named(kind: str) -> tuple[str, str]:
    name, given = KINDS[kind]
    return name, given["id"]


async def test_of_a_list_only_what_changes_is_updated(target: Target, engine: AsyncHeadgate) -> None:
    await engine.catalog.put_currencies([{"id": "one"}, {"id": "two"}])
    target.clock.advance(1_000)
    stored = await engine.catalog.put_currencies([{"id": "one"}, {"id": "two", "symbol": "2"}, {"id": "three"}])
    assert [instants(each) for each in stored] == [(0, 0), (0, 1_000), (1_000, 1_000)]
    assert list((await target.open().catalog.currencies()).values()) == sorted(stored, key=lambda each: each.id)


async def test_a_policy_that_is_applied_again_later_sees_no_change_and_writes_nothing(
    target: Target, engine: AsyncHeadgate
) -> None:
    assert len(await engine.apply(POLICY, dry_run=True)) == len(KINDS)
    await engine.apply(POLICY)
    before, stored = target.dump(), await everything(engine)
    target.clock.advance(1_000)
    assert list(await engine.apply(POLICY, dry_run=True)) == []
    assert list(await engine.apply(POLICY)) == []
    assert target.dump() == before
    assert await everything(engine) == stored
    assert {instants(each) for each in stored.values()} == {(0, 0)}


async def everything(engine: AsyncHeadgate) -> Mapping[str, Any]:
    return {kind: await read(engine, kind) for kind in KINDS}


@pytest.mark.parametrize("target", ["sync-in-process"], indirect=True)
@pytest.mark.parametrize("instant", [-1, 253_402_300_800_000, 1.5, "2026-01-01", None])
@every_kind
async def test_what_is_no_instant_is_refused(target: Target, engine: AsyncHeadgate, kind: str, instant: object) -> None:
    for name in ("created_at_ms", "updated_at_ms"):
        with pytest.raises(InvalidInput, match=f"{kind}\\[0\\].{name}"):
            await put(engine, kind, **{name: instant})
    assert target.dump() == {}
