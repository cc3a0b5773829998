"""All customers of an environment, page by page, in an order that no write disturbs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pytest

from behaviour.targets import NOW_MS, SETTINGS, Target
from behaviour.world import FEATURES
from headgate import AsyncHeadgate, Customer, EnvironmentMismatch, EnvironmentNotReady, InvalidInput, ManualClock
from headgate.keys import Keyspace

PARTITIONS: Final = SETTINGS.partitions or 0
IDS: Final = [f"cus-{number:02}" for number in range(20)] + ["A", "a", "a-1", "a|1", "Z", "0", "customers", "names"]
IN_PROCESS: Final = pytest.mark.parametrize("target", ["sync-in-process", "async-in-process"], indirect=True)
"""For rules that no server knows of, where a test writes often."""


def in_order(ids: Iterable[str], partitions: int = PARTITIONS) -> list[str]:
    """The order of a list: by partition, and by id within one."""
    keyspace = Keyspace("any", partitions)
    return sorted(ids, key=lambda id: (keyspace.partition_of(id), id))


async def found(engine: AsyncHeadgate, ids: Sequence[str] = IDS) -> None:
    """Write the catalog and customers, in an order that is neither that of ids nor that of partitions."""
    await engine.catalog.put_features(FEATURES)
    for id in [*ids[1::2], *ids[::2]]:
        await engine.customers.put(id, name=f"Customer {id}")


async def pages(engine: AsyncHeadgate, limit: int, **asked: Any) -> list[list[str]]:
    """Every page from the first on, each begun after the last customer of the one before."""
    read: list[list[str]] = []
    after: str | None = None
    while page := await engine.customers.list(after=after, limit=limit, **asked):
        read.append(ids_of(page))
        after = page[-1].id
    return read


def ids_of(page: Iterable[Customer]) -> list[str]:
    return [each.id for each in page]


def index_of(target: Target) -> dict[str, list[str]]:
    """The ids that each partition notes, by its key, as they are stored."""
    prefix = f"hg:{{{target.environment}/"
    return {
        key.decode().removeprefix(prefix): [member.decode() for member, score in entries if score == 0]
        for key, entries in sorted(target.dump().items())
        if key.endswith(b":customers") and isinstance(entries, list)
    }


async def test_all_customers_are_listed_with_what_is_written_of_them(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine)
    target.clock.advance(1_000)
    await engine.customers.put("A", email="a@example.com")
    await engine.customers.archive("Z")
    for reader in (engine, target.open()):
        listed = await reader.customers.list()
        assert ids_of(listed) == in_order(IDS)
        assert listed == [await reader.customers.get(id) for id in in_order(IDS)]
    by_id = {each.id: each for each in listed}
    assert (by_id["A"].email, by_id["A"].updated_at_ms) == ("a@example.com", NOW_MS + 1_000)
    assert by_id["Z"].archived_at_ms == NOW_MS + 1_000


@pytest.mark.parametrize("limit", [1, 3, 7, len(IDS) - 1, len(IDS), len(IDS) + 1, 1_000])
@IN_PROCESS
async def test_pages_of_any_size_bring_each_customer_once(engine: AsyncHeadgate, limit: int) -> None:
    await found(engine)
    read = await pages(engine, limit)
    assert [id for page in read for id in page] == in_order(IDS)
    assert {len(page) for page in read[:-1]} <= {limit}
    for place, id in enumerate(in_order(IDS)):
        before = await engine.customers.list(before=id, limit=limit)
        assert ids_of(before) == in_order(IDS)[max(0, place - limit) : place]


async def test_a_page_before_an_id_ends_right_before_it(engine: AsyncHeadgate) -> None:
    await found(engine)
    ordered = in_order(IDS)
    for place, id in enumerate(ordered):
        assert ids_of(await engine.customers.list(before=id, limit=5)) == ordered[max(0, place - 5) : place]


async def test_what_is_written_between_two_pages_moves_no_other_customer(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine)
    ordered, later = in_order(IDS), [f"late-{number}" for number in range(12)]
    first = ids_of(await engine.customers.list(limit=9))
    for id in later:
        await engine.customers.put(id)
    for id in first[:4]:
        await engine.customers.archive(id)
    await engine.customers.put(ordered[20], name="Another name")
    rest = ids_of(await engine.customers.list(after=first[-1]))
    everything = in_order([*IDS, *later])
    assert first == ordered[:9]
    assert rest == everything[everything.index(first[-1]) + 1 :]
    assert [id for id in rest if id in IDS] == ordered[9:]
    assert ids_of(await target.open().customers.list()) == everything


async def test_a_page_may_begin_at_an_id_that_no_customer_has(engine: AsyncHeadgate) -> None:
    await found(engine)
    for id in ("nobody", "0", "zz", "A-"):
        ordered = in_order({*IDS, id})
        place = ordered.index(id)
        before, after = ordered[:place], ordered[place + 1 :]
        assert ids_of(await engine.customers.list(after=id)) == after
        assert ids_of(await engine.customers.list(before=id)) == before


@IN_PROCESS
async def test_archived_customers_are_left_out_where_that_is_asked_and_pages_stay_full(engine: AsyncHeadgate) -> None:
    await found(engine)
    archived = in_order(IDS)[2:14]
    for id in archived:
        await engine.customers.archive(id)
    live = [id for id in in_order(IDS) if id not in archived]
    for limit in (1, 3, len(IDS)):
        read = await pages(engine, limit, include_archived=False)
        assert [id for page in read for id in page] == live
        assert {len(page) for page in read[:-1]} <= {limit}
    assert ids_of(await engine.customers.list(after=archived[3], limit=2, include_archived=False)) == live[2:4]
    last_before = await engine.customers.list(before=archived[3], limit=5, include_archived=False)
    assert ids_of(last_before) == live[:2]
    await engine.customers.unarchive(archived[0])
    listed = await engine.customers.list(include_archived=False)
    assert ids_of(listed) == in_order([*live, archived[0]])


async def test_a_customer_is_noted_in_the_step_that_first_writes_it_and_never_again(
    target: Target, engine: AsyncHeadgate
) -> None:
    await engine.catalog.put_features(FEATURES)
    assert index_of(target) == {}
    other = target.open_blocking()
    target.before("configure", lambda: other.customers.put("a", name="Theirs"))
    await engine.customers.put("a", email="ours@example.com")
    partition = Keyspace("any", PARTITIONS).partition_of("a")
    assert index_of(target) == {f"{partition}}}:customers": ["a"]}
    target.redis.delete(f"hg:{{{target.environment}/{partition}}}:customers")
    await engine.customers.put("a", name="Again")
    await engine.customers.put_resource("a", "site-01")
    assert index_of(target) == {}


async def test_a_customer_that_could_not_be_written_is_not_listed(target: Target, engine: AsyncHeadgate) -> None:
    await engine.catalog.put_features(FEATURES)
    with pytest.raises(InvalidInput):
        await engine.customers.put("a", name=7)  # type: ignore[arg-type]
    assert await engine.customers.list() == []
    partition = Keyspace("any", PARTITIONS).partition_of("ghost")
    target.redis.zadd(f"hg:{{{target.environment}/{partition}}}:customers", {"ghost": 0})  # half of what was lost
    await engine.customers.put("a")
    assert ids_of(await engine.customers.list()) == ["a"]


async def test_listing_writes_nothing_and_a_new_environment_has_no_customers(
    target: Target, engine: AsyncHeadgate
) -> None:
    with pytest.raises(EnvironmentNotReady):
        await engine.customers.list()
    assert target.dump() == {}
    await engine.catalog.put_features(FEATURES)
    before = target.dump()
    assert await engine.customers.list() == []
    await engine.customers.put("a")
    after = target.dump()
    await engine.customers.list()
    assert target.dump() == after != before


async def test_a_partition_that_lost_its_data_is_told_and_not_left_out(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine)
    lost = Keyspace(target.environment, PARTITIONS).partition_of("Z")
    for key in target.dump():
        if key.startswith(f"hg:{{{target.environment}/{lost}}}:".encode()):
            target.redis.delete(key)
    for reader in (engine, target.open()):
        with pytest.raises(EnvironmentNotReady, match=f"partition {lost} .*lost its data"):
            await reader.customers.list()
    await engine.catalog.accept_loss()
    keyspace = Keyspace("any", PARTITIONS)
    assert ids_of(await engine.customers.list()) == in_order(id for id in IDS if keyspace.partition_of(id) != lost)


async def test_documents_whose_tokens_were_lost_are_not_shown(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine, ["a", "Z"])
    target.redis.delete(Keyspace(target.environment, PARTITIONS).customer("a").usage)
    with pytest.raises(EnvironmentNotReady, match="'a'"):
        await engine.customers.list()


@pytest.mark.parametrize("target", ["async-in-process"], indirect=True)
async def test_an_environment_of_the_other_clock_is_not_listed(target: Target, engine: AsyncHeadgate) -> None:
    await found(engine, ["a"])
    keyspace = Keyspace(target.environment, PARTITIONS)
    for partition in range(PARTITIONS):
        token: Any = target.redis.get(keyspace.partition_catalog(partition))
        target.redis.set(keyspace.partition_catalog(partition), token[:-1] + b"s")
    with pytest.raises(EnvironmentMismatch, match="another clock"):
        await engine.customers.list()


@pytest.mark.parametrize(
    ("count", "limit", "calls_max"),
    [
        (0, 10, 300),  # every partition has to be asked
        (3, 10, 303),
        (900, 1, 8),  # three customers a partition: one or two partitions are enough
        (900, 10, 30),
        (900, 100, 200),
    ],
)
@pytest.mark.parametrize("target", ["sync-in-process"], indirect=True)
async def test_a_page_asks_as_many_partitions_as_it_needs(
    target: Target, count: int, limit: int, calls_max: int
) -> None:
    engine = target.open(ManualClock(NOW_MS), partitions=300)
    ids = [f"cus-{number}" for number in range(count)]
    await engine.catalog.put_features(FEATURES)
    for id in ids:
        await engine.customers.put(id)
    target.scripts_sent()
    listed = await engine.customers.list(limit=limit)
    assert ids_of(listed) == in_order(ids, 300)[:limit]
    assert len(target.scripts_sent()) <= calls_max


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"limit": -1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": "10"}, "limit"),
        ({"limit": None}, "limit"),
        ({"after": ""}, "after"),
        ({"after": "a:b"}, "after"),
        ({"before": "{a}"}, "before"),
        ({"after": 7}, "after"),
        ({"after": "a", "before": "b"}, "before"),
    ],
)
@pytest.mark.parametrize("target", ["sync-in-process"], indirect=True)
async def test_a_page_that_makes_no_sense_is_refused_before_anything_is_sent(
    target: Target, engine: AsyncHeadgate, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput, match=f"{field}: "):
        await engine.customers.list(**asked)
    assert target.scripts_sent() == []
