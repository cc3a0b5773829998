"""Cut connections, paused, full, busy, loading and read-only servers: never counted twice, never a silent grant."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from headgate import AsyncHeadgate
from headgate.client import async_transport, sync_transport
from headgate.errors import BatchIncomplete, HeadgateError, OutcomeUnknown, Unavailable
from headgate.model.customer import PromotionalEntitlement
from headgate.verbs import customers
from headgate.wire import Status
from proxy import Cut, CuttingProxy
from scenarios.setting import (
    CALM,
    CUSTOMER,
    FEATURE,
    GAVE_UP,
    HASTY,
    ByHand,
    Engine,
    Place,
    budget,
    check,
    consume,
    entitle,
    furnish,
    metrics,
    report,
    send,
)
from servers import RedisServer, wait_until

CALLERS = 20
VERBS: dict[str, Callable[[Engine, float], Any]] = {"check": check, "consume": consume, "report": report}
WRITES = ("consume", "report")
WAITING = CALM.model_copy(update={"deadline_ms": 1_000})


@pytest.fixture
def proxy(own_place: Place) -> Iterator[CuttingProxy]:
    with CuttingProxy(own_place.server.port) as started:
        yield started


# Cut connections.


@pytest.mark.parametrize("where", [Cut.BEFORE_REPLY, Cut.IN_REPLY])
@pytest.mark.parametrize("verb", WRITES)
def test_a_write_whose_reply_is_cut_is_told_as_unknown_and_counted_once(
    own_place: Place, proxy: CuttingProxy, edge: str, verb: str, where: Cut
) -> None:
    engine = own_place.open(url=proxy.url, edge=edge)
    furnish(engine)
    VERBS[verb](engine, 1)
    proxy.cut_next(3, containing=b"EVALSHA", where=where)
    with pytest.raises(OutcomeUnknown):
        VERBS[verb](engine, 1)
    assert (proxy.cuts, own_place.used()) == (1, 2)
    assert metrics(engine)["outcomes_unknown"] == 1


@pytest.mark.parametrize("verb", WRITES)
def test_a_write_whose_request_is_lost_on_its_way_is_told_as_unknown_and_not_sent_again(
    own_place: Place, proxy: CuttingProxy, edge: str, verb: str
) -> None:
    engine = own_place.open(url=proxy.url, edge=edge)
    furnish(engine)
    VERBS[verb](engine, 1)
    proxy.cut_next(containing=b"EVALSHA", where=Cut.BEFORE_REQUEST)
    with pytest.raises(OutcomeUnknown):
        VERBS[verb](engine, 1)
    assert own_place.used() == 1
    VERBS[verb](engine, 1)
    assert own_place.used() == 2


@pytest.mark.parametrize("where", [Cut.BEFORE_REQUEST, Cut.BEFORE_REPLY, Cut.IN_REPLY])
def test_a_check_whose_reply_is_cut_is_asked_again(
    own_place: Place, proxy: CuttingProxy, edge: str, where: Cut
) -> None:
    engine = own_place.open(url=proxy.url, edge=edge)
    furnish(engine)
    check(engine, 1)
    proxy.cut_next(3, containing=b"EVALSHA", where=where)
    assert check(engine, 1).granted
    assert proxy.cuts == 3
    assert metrics(engine)["outcomes_unknown"] == 0


def test_a_load_whose_reply_is_cut_is_asked_again_and_the_write_counted_once(
    own_place: Place, proxy: CuttingProxy, edge: str
) -> None:
    furnish(own_place.open())
    engine = own_place.open(url=proxy.url, edge=edge)
    check(engine, 1, customer="cus-none")
    proxy.cut_next(2, containing=own_place.keys.config, where=Cut.BEFORE_REPLY)  # only a load names these keys
    assert consume(engine, 1).granted
    assert (proxy.cuts, own_place.used()) == (2, 1)


def test_a_write_that_found_no_connection_is_sent_again_and_counted_once(
    own_place: Place, proxy: CuttingProxy, edge: str
) -> None:
    """The connection breaks while it is made: the request was never written."""
    furnish(own_place.open())
    engine = own_place.open(url=proxy.url, edge=edge)
    consume(engine, 1)
    own_place.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_until(lambda: not proxy._sockets, within_s=10, what="the connections are closed")
    notice_what_was_closed(own_place)
    with look_at_every_idle_connection():
        before = proxy.requests
        proxy.cut_next(3, containing=b"SETINFO", where=Cut.BEFORE_REQUEST)
        proxy.cut_next(3, containing=b"SELECT", where=Cut.BEFORE_REQUEST)
        assert consume(engine, 1).granted
    assert proxy.requests > before + 1
    assert own_place.used() == 2
    assert metrics(engine)["outcomes_unknown"] == 0


def notice_what_was_closed(place: Place) -> None:
    """Let the event loop, which stands still between calls, look at its sockets as a running one does."""

    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    place.runner.run(turns())


@contextlib.contextmanager
def look_at_every_idle_connection() -> Iterator[None]:
    """As if every connection had been idle for long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_transport, "IDLE_UNTESTED_MS", -1)
        patch.setattr(async_transport, "IDLE_UNTESTED_MS", -1)
        yield


def test_connections_that_the_server_closed_are_replaced_before_they_are_written_to(
    own_place: Place, edge: str
) -> None:
    engine = own_place.open(edge=edge)
    furnish(engine)
    for count in range(1, 4):
        own_place.raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        notice_what_was_closed(own_place)
        with look_at_every_idle_connection():
            assert consume(engine, 1).account.used == count


def test_a_batch_says_which_record_is_unknown(own_place: Place, proxy: CuttingProxy, edge: str) -> None:
    engine = own_place.open(url=proxy.url, edge=edge)
    furnish(engine)
    report(engine, 1)
    third: list[Any] = [{"customer": CUSTOMER, "feature": FEATURE, "value": value} for value in (2, 4, 800.5, 16)]
    proxy.cut_next(containing=b"EVALSHA", where=Cut.BEFORE_REQUEST)
    with pytest.raises(BatchIncomplete) as caught:
        engine.report_many(third)
    assert caught.value.outcomes == ("unknown", "not applied", "not applied", "not applied")
    assert own_place.used() == 1


def test_a_script_flush_in_mid_run_is_not_noticed(place: Place, edge: str) -> None:
    engine = place.open(edge=edge)
    furnish(engine)
    place.raw.script_flush()
    assert consume(engine, 1).account.used == 1
    place.raw.script_flush()
    assert check(engine, 1).granted
    place.raw.script_flush()
    assert report(engine, 1).account.state.used == 2
    place.raw.script_flush()
    entitle(engine, limit=2)
    place.raw.script_flush()
    assert not consume(engine, 1).granted


# Servers that do not answer.


def test_nothing_that_a_paused_server_runs_too_late_is_counted(own_place: Place) -> None:
    server = own_place.server
    furnish(own_place.open())
    engine = own_place.open(settings=WAITING)
    check(engine, 1)

    def outcome(verb: Callable[[Engine, float], Any]) -> Any:
        try:
            return verb(engine, 1)
        except HeadgateError as error:
            return type(error)

    with ThreadPoolExecutor(CALLERS) as callers:
        with paused(server):  # so that each caller makes a connection of its own
            warm = [callers.submit(outcome, check) for _ in range(CALLERS)]
            wait_until(lambda: connections_in_use(engine) == CALLERS, within_s=10, what="every caller waits")
        assert all(each.result() for each in warm)
        ran_before = scripts_ran(own_place)
        with paused(server):
            outcomes = list(callers.map(outcome, [consume] * CALLERS))
    assert set(outcomes) <= set(GAVE_UP)
    wait_until(lambda: scripts_ran(own_place) >= ran_before + CALLERS, within_s=10, what="the server ran them all")
    assert own_place.used() == 0
    assert consume(own_place.open(), 1).account.used == 1


def test_nothing_that_a_paused_server_runs_too_late_is_counted_for_tasks_either(own_place: Place) -> None:
    server = own_place.server
    furnish(own_place.open())

    async def attempts(engine: AsyncHeadgate, verb: str) -> list[Any]:
        calls = [getattr(engine, verb)(CUSTOMER, feature=FEATURE) for _ in range(CALLERS)]
        return await asyncio.gather(*calls, return_exceptions=True)

    async def storm() -> tuple[int, list[Any]]:
        url, environment = server.url, own_place.environment
        async with AsyncHeadgate.connect(url, environment=environment, settings=WAITING) as engine:
            await engine.check(CUSTOMER, feature=FEATURE)
            assert all(await attempts(engine, "check"))  # all at once: each has a connection of its own
            ran_before = scripts_ran(own_place)
            with paused(server):
                return ran_before, await attempts(engine, "consume")

    ran_before, outcomes = own_place.runner.run(storm())
    assert {type(outcome) for outcome in outcomes} <= set(GAVE_UP)
    wait_until(lambda: scripts_ran(own_place) >= ran_before + CALLERS, within_s=10, what="the server ran them all")
    assert own_place.used() == 0


@contextlib.contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def connections_in_use(engine: Engine) -> int:
    return sum(WAITING.connections_max - pool._free._value for pool in engine._transport._pools.values())


def scripts_ran(place: Place) -> int:
    """How many scripts the server ran since it was started."""
    return int(place.raw.info("commandstats")["cmdstat_evalsha"]["calls"])


@pytest.mark.parametrize("verb", ["consume", "report"])
def test_a_script_that_runs_after_its_instant_changes_nothing(place: Place, verb: str) -> None:
    engine = place.open()
    furnish(engine)
    number = budget(engine, "team-eng", 100)
    consume(engine, 1, teamId="team-eng")
    (prepared,) = engine._state.prepared._entries.values()
    call = prepared.ask("consume", 1.0, writes=True) if verb == "consume" else prepared.report(1.0, "DELTA", 0.0)
    transport, now_ms = place.transport(), place.server_now_ms()
    assert send(transport, call, not_after_ms=now_ms - 1)[0] == Status.LATE
    assert (place.used(), place.used(number)) == (1, 1)
    assert send(transport, call, not_after_ms=now_ms + 60_000)[0] != Status.LATE
    assert (place.used(), place.used(number)) == (2, 2)


def test_a_change_that_runs_after_its_instant_changes_nothing(place: Place) -> None:
    engine = place.open()
    furnish(engine)
    transport = place.transport()
    wanted = PromotionalEntitlement(feature=FEATURE, usage_limit=7)
    writer = ByHand(customers.grant_entitlement(place.state(), CUSTOMER, wanted), transport)
    writer.run_until("configure")
    before = place.content()
    late = send(transport, writer.next_call, not_after_ms=place.server_now_ms() - 1)
    assert late[0] == Status.LATE
    assert place.content() == before
    writer.finish()
    assert not consume(engine, 8).granted


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_is_gone_is_unavailable_within_the_deadline(own_place: Place, edge: str, verb: str) -> None:
    engine = own_place.open(settings=HASTY, edge=edge)
    furnish(own_place.open())
    consume(engine, 1)
    own_place.server.kill()
    with pytest.raises(GAVE_UP):
        VERBS[verb](engine, 1)
    with pytest.raises(Unavailable):
        VERBS[verb](engine, 1)


@pytest.mark.parametrize("verb", VERBS)
def test_a_busy_server_is_unavailable_within_the_deadline(own_place: Place, edge: str, verb: str) -> None:
    engine = own_place.open(settings=HASTY, edge=edge)
    furnish(own_place.open())
    consume(engine, 1)
    own_place.raw.config_set("lua-time-limit", 1)
    endless = threading.Thread(target=run_until_killed, args=[own_place.server])
    endless.start()
    try:
        wait_until(lambda: is_busy(own_place.raw), within_s=10, what="the server is busy")
        with pytest.raises(GAVE_UP):
            VERBS[verb](engine, 1)
    finally:
        own_place.raw.execute_command("SCRIPT", "KILL")
        endless.join()
    assert check(own_place.open(edge=edge), 1).granted
    assert own_place.used() == 1


def run_until_killed(server: RedisServer) -> None:
    with redis.Redis(port=server.port) as client, pytest.raises(redis.ResponseError):
        client.execute_command("EVAL", "while true do end", 0)


def is_busy(raw: Any) -> bool:
    try:
        raw.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def test_a_full_server_is_unavailable_and_counts_nothing(own_place: Place, edge: str) -> None:
    engine = own_place.open(settings=HASTY, edge=edge)
    furnish(own_place.open())
    number = budget(own_place.open(), "team-eng", 100)
    consume(engine, 1, teamId="team-eng")
    patient = own_place.open(edge=edge)
    assert check(patient, 99, teamId="team-eng").granted
    own_place.raw.config_set("maxmemory", 1)
    try:
        assert check(patient, 99, teamId="team-eng").granted
        with pytest.raises(GAVE_UP):
            consume(engine, 1, teamId="team-eng")
        with pytest.raises(GAVE_UP):
            report(engine, 1, dimensions={"teamId": "team-eng"})
        with pytest.raises(GAVE_UP):
            entitle(engine, limit=7)
    finally:
        own_place.raw.config_set("maxmemory", 0)
    assert (own_place.used(), own_place.used(number)) == (1, 1)
    assert check(patient, 99, teamId="team-eng").granted


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_became_a_replica_is_unavailable_and_counts_nothing(
    own_place: Place, edge: str, verb: str
) -> None:
    engine = own_place.open(settings=HASTY, edge=edge)
    furnish(own_place.open())
    consume(engine, 1)
    own_place.raw.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(Unavailable if verb == "check" else GAVE_UP):
            VERBS[verb](engine, 1)
    finally:
        own_place.raw.replicaof("NO", "ONE")
    assert own_place.used() == 1
    assert VERBS[verb](own_place.open(edge=edge), 1)


def test_a_server_that_loads_its_data_is_waited_for_and_unavailable_after_the_deadline(
    own_server: RedisServer, own_place: Place, edge: str
) -> None:
    furnish(own_place.open())
    patient, hasty = own_place.open(edge=edge), own_place.open(edge=edge, settings=HASTY)
    for engine in (patient, hasty):
        consume(engine, 1)
    fill(own_place.raw)
    own_place.raw.execute_command("SAVE")
    own_server.options |= {"key-load-delay": "8000"}
    own_server.kill()
    started = threading.Thread(target=own_server.restart)
    started.start()
    try:
        wait_until(lambda: is_loading(own_server), within_s=10, what="the server loads")
        with pytest.raises(GAVE_UP):
            consume(hasty, 1)
        outcome = consume(patient, 1)
    finally:
        started.join()
    assert outcome.account.used == 3
    assert own_place.used() == 3


def fill(raw: Any) -> None:
    """Write so much that loading takes about a second, in which the server looks at its sockets every 2 MB."""
    raw.config_set("rdbcompression", "no")
    for number in range(160):
        raw.setrange(f"filler:{number}", 131_071, b"x")


def is_loading(server: RedisServer) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"-LOADING")
    return False


# Servers that do not let us.


def test_a_wrong_password_is_unavailable(own_place: Place, edge: str) -> None:
    own_place.raw.execute_command("ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all")
    furnish(own_place.open())
    port = own_place.server.port
    right = own_place.open(url=f"redis://app:right@127.0.0.1:{port}/0", edge=edge)
    wrong = own_place.open(url=f"redis://app:wrong@127.0.0.1:{port}/0", edge=edge, settings=HASTY)
    assert consume(right, 1).granted
    with pytest.raises(Unavailable):
        consume(wrong, 1)
    assert own_place.used() == 1


def test_a_change_that_may_not_be_told_is_not_written_at_all(own_place: Place, edge: str) -> None:
    own_place.raw.execute_command("ACL", "SETUSER", "app", "on", ">right", "~*", "resetchannels", "+@all")
    furnish(own_place.open())
    engine = own_place.open(url=f"redis://app:right@127.0.0.1:{own_place.server.port}/0", edge=edge)
    assert consume(engine, 1).granted
    before = own_place.content()
    with pytest.raises(Unavailable):
        entitle(engine, limit=7)
    with pytest.raises(Unavailable):
        engine.customers.put("cus-other")
    with pytest.raises(Unavailable):
        engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}])
    assert own_place.content() == before
    assert consume(engine, 99).granted


def test_keys_that_may_not_be_touched_are_unavailable_and_nothing_is_counted(own_place: Place, edge: str) -> None:
    furnish(own_place.open())
    number = budget(own_place.open(), "team-eng", 100)
    account = own_place.keys.usage.decode()
    own_place.raw.execute_command(
        "ACL", "SETUSER", "app", "on", ">right", "&*", "+@all", f"~hg:{own_place.environment}:*",
        f"~{account}", f"~{own_place.keys.config.decode()}", f"~{own_place.keys.catalog.decode()}",
    )  # fmt: skip
    engine = own_place.open(url=f"redis://app:right@127.0.0.1:{own_place.server.port}/0", edge=edge)
    assert consume(engine, 1).granted
    with pytest.raises(Unavailable):
        consume(engine, 1, teamId="team-eng")
    assert (own_place.used(), own_place.used(number)) == (1, 0)
