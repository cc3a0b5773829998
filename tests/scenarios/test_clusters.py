"""Clusters whose slots are gone, on another node, or half-way there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from scenarios.setting import CUSTOMER, FEATURE, GAVE_UP, HASTY, Place, check, consume, entitle, furnish, report
from servers import RedisServer, available_binaries, start_one_node_cluster, wait_until

NEWEST = list(available_binaries().values())[-1]


@dataclass
class TwoNodes:
    """A cluster of two nodes, of which the first has every slot, and a place on it."""

    place: Place
    first: RedisServer
    second: RedisServer
    raw_first: Any
    raw_second: Any

    def begin_to_move(self, slot: int) -> None:
        self.raw_second.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", node_id(self.raw_first))
        self.raw_first.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", node_id(self.raw_second))

    def move_keys(self, *keys: bytes) -> None:
        for key in keys:
            self.raw_first.execute_command("MIGRATE", "127.0.0.1", self.second.port, key, 0, 10_000)

    def finish_to_move(self, slot: int) -> None:
        for raw in (self.raw_second, self.raw_first):
            raw.execute_command("CLUSTER SETSLOT", slot, "NODE", node_id(self.raw_second))


def node_id(raw: Any) -> str:
    return str(raw.execute_command("CLUSTER MYID").decode())


def start_node(binary: Path) -> RedisServer:
    return RedisServer(binary, cluster_enabled="yes", cluster_config_file="nodes.conf", cluster_announce_ip="127.0.0.1")


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[RedisServer, RedisServer]]:
    with start_one_node_cluster(NEWEST) as first, start_node(NEWEST) as second:
        raw_first, raw_second = first.client(), second.client()
        raw_second.execute_command("CLUSTER MEET", "127.0.0.1", first.port)

        def know_each_other() -> bool:
            known = [raw.execute_command("CLUSTER INFO")["cluster_known_nodes"] for raw in (raw_first, raw_second)]
            states = [raw.execute_command("CLUSTER INFO")["cluster_state"] for raw in (raw_first, raw_second)]
            return known == ["2", "2"] and states == ["ok", "ok"]

        wait_until(know_each_other, within_s=20, what="the nodes know each other")
        yield first, second


@pytest.fixture
def two(nodes: tuple[RedisServer, RedisServer], runner: asyncio.Runner) -> Iterator[TwoNodes]:
    first, second = nodes
    with ExitStack() as stack:
        place = Place(first, first.client(), runner, stack)
        yield TwoNodes(place, first, second, first.client(), second.client())


def slot_of(place: Place) -> int:
    return int(key_slot(place.keys.usage))


def keys_of_slot(raw: Any, slot: int) -> list[bytes]:
    return list(raw.execute_command("CLUSTER GETKEYSINSLOT", slot, 100))


def test_a_slot_that_is_moved_away_is_followed(two: TwoNodes, edge: str) -> None:
    place = two.place
    engine = place.open(edge=edge)
    furnish(engine)
    assert consume(engine, 1).granted
    slot = slot_of(place)
    two.begin_to_move(slot)
    two.move_keys(*keys_of_slot(two.raw_first, slot))
    assert consume(engine, 1).account.used == 2  # all keys are there, the slot is not yet: ASK
    two.finish_to_move(slot)
    assert consume(engine, 1).account.used == 3  # MOVED
    assert check(engine, 97).granted
    assert report(engine, 1).account.state.used == 4
    entitle(engine, limit=4)
    assert not consume(engine, 1).granted
    newcomer = place.open(edge=edge)
    assert not consume(newcomer, 1).granted


def test_a_call_with_keys_on_both_sides_is_tried_again_and_then_unavailable(two: TwoNodes, edge: str) -> None:
    place = two.place
    patient, hasty = place.open(edge=edge), place.open(edge=edge, settings=HASTY)
    furnish(patient)
    for engine in (patient, hasty):
        assert consume(engine, 1).granted
    slot = slot_of(place)
    two.begin_to_move(slot)
    two.move_keys(place.keys.catalog)
    with pytest.raises(GAVE_UP):
        consume(hasty, 1)
    two.move_keys(*keys_of_slot(two.raw_first, slot))
    assert consume(patient, 1).account.used == 3
    two.finish_to_move(slot)
    assert consume(patient, 1).account.used == 4


def test_a_slot_that_nobody_serves_is_unavailable_and_nothing_is_counted(two: TwoNodes, edge: str) -> None:
    place = two.place
    engine = place.open(edge=edge, settings=HASTY)
    furnish(place.open(edge=edge))
    assert consume(engine, 1).granted
    slot = slot_of(place)
    two.raw_first.config_set("cluster-require-full-coverage", "no")
    two.raw_first.execute_command("CLUSTER DELSLOTS", slot)
    try:
        for verb in (consume, check, report):
            with pytest.raises(GAVE_UP):
                verb(engine, 1)
    finally:
        two.raw_first.execute_command("CLUSTER ADDSLOTS", slot)
        two.raw_first.config_set("cluster-require-full-coverage", "yes")
    served = place.open(edge=edge)
    assert served.check(CUSTOMER, feature=FEATURE).account.used == 1
