"""Listeners that are cut, silent or refused something, and servers that stand still: what is answered meanwhile."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from headgate import Unavailable
from headgate.client import hearing
from headgate.updates import UpdateKind
from model.targets import Awaited
from scenarios.setting import CALM, CUSTOMER, FEATURE, Place
from servers import wait_until

WAIT_S = 20
SSO, RETENTION, REGIONS = "feature-sso", "feature-retention-days", "feature-regions"
KEEPING = CALM.model_copy(update={"listen": True, "cache_max_bytes": 1_000_000})


def found(place: Place) -> Any:
    """Write a customer with an entitlement of each kind; the engine that wrote it."""
    writer = place.open()
    writer.catalog.put_features(
        [
            {"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            {"id": SSO, "feature_type": "BOOLEAN"},
            {"id": RETENTION, "feature_type": "NUMBER"},
            {"id": REGIONS, "feature_type": "ENUM", "enum_values": ["eu", "us"]},
        ]
    )
    writer.customers.put(CUSTOMER)
    for entitlement in (
        {"feature": FEATURE, "usage_limit": 100},
        {"feature": SSO},
        {"feature": RETENTION, "usage_limit": 30},
        {"feature": REGIONS, "enum_values": ["eu"]},
    ):
        writer.customers.grant_entitlement(CUSTOMER, entitlement)
    return writer


def listening(place: Place, edge: str, **options: Any) -> Any:
    """An engine that keeps answers, and hears of changes."""
    settings = options.pop("settings", KEEPING)
    engine = place.open(settings=settings, edge=edge, **options)
    engine.catalog.features()
    until(place, lambda: bare(engine)._listener.subscribed.is_set(), "it listens")
    return engine


def bare(engine: Any) -> Any:
    """The engine itself, to look into it."""
    return engine._wrapped if isinstance(engine, Awaited) else engine


def until(place: Place, condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and let the tasks of this test go on meanwhile."""

    def has_come() -> bool:
        place.runner.run(_a_turn())
        return condition()

    wait_until(has_come, within_s=WAIT_S, what=what)


async def _a_turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def answers(engine: Any) -> list[bool]:
    return [
        engine.boolean_entitlement(CUSTOMER, SSO).has_access,
        engine.numeric_entitlement(CUSTOMER, RETENTION).value == 30,
        engine.enum_entitlement(CUSTOMER, REGIONS, requested_values=["eu"]).has_access,
    ]


def test_a_change_while_the_listener_is_cut_off_is_in_the_next_answer(place: Place, edge: str) -> None:
    writer = found(place)
    engine = listening(place, edge)
    assert answers(engine) == [True] * 3
    for _ in range(5):
        heard_before = bare(engine)._listener._heard_s
        assert place.raw.client_kill_filter(_type="pubsub") >= 1
        writer.customers.revoke_entitlement(CUSTOMER, feature=SSO)
        until(
            place,
            lambda before=heard_before: not bare(engine)._listener._hears or bare(engine)._listener._heard_s > before,  # type: ignore[misc]
            "it notices that it is cut off",
        )
        assert not engine.boolean_entitlement(CUSTOMER, SSO).has_access
        writer.customers.grant_entitlement(CUSTOMER, {"feature": SSO})
        until(place, lambda: bare(engine)._listener.subscribed.is_set(), "it listens again")
        until(place, lambda: engine.boolean_entitlement(CUSTOMER, SSO).has_access, "it hears of the change")
    assert bare(engine).metrics["listener_deaf_ms"] > 0


class Stalling:
    """A proxy whose connections can be stalled: they stay open, and nothing comes through any more."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._stalled: list[socket.socket] = []
        self._wake, self._woken = socket.socketpair()
        self._closed = False
        self._stalls = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stall(self) -> None:
        """Let nothing through any more on what is open by now; new connections go through."""
        self._stalls = True
        self._wake.send(b"x")
        wait_until(lambda: not self._stalls, within_s=WAIT_S, what="the connections are stalled")

    def close(self) -> None:
        self._closed = True
        self._wake.send(b"x")
        self._thread.join()
        for each in (*self._pairs, *self._stalled, self._listener, self._wake, self._woken):
            each.close()

    def _run(self) -> None:
        while not self._closed:
            for each in self._ready():
                if each is self._listener:
                    client, _ = self._listener.accept()
                    server = socket.create_connection(("127.0.0.1", self._target))
                    self._pairs |= {client: server, server: client}
                elif each is self._woken:
                    each.recv(1)
                elif each in self._pairs and not self._stalls:
                    self._forward(each)
            if self._stalls:
                self._stalled += self._pairs
                self._pairs, self._stalls = {}, False

    def _ready(self) -> list[socket.socket]:
        """Wait until something has come."""
        with selectors.DefaultSelector() as selector:
            for each in (self._listener, self._woken, *self._pairs):
                selector.register(each, selectors.EVENT_READ)
            return [key.fileobj for key, _ in selector.select() if isinstance(key.fileobj, socket.socket)]

    def _forward(self, source: socket.socket) -> None:
        target = self._pairs[source]
        try:
            data = source.recv(65_536)
            target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                del self._pairs[each]
                each.close()


@pytest.fixture
def proxy(place: Place) -> Iterator[Stalling]:
    made = Stalling(place.server.client().connection_pool.connection_kwargs["port"])
    yield made
    made.close()


def test_a_connection_that_is_dead_without_a_sign_is_noticed_within_the_stated_time(
    place: Place, proxy: Stalling, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(hearing, "SILENCE_MAX_S", 0.4)
    writer = found(place)
    settings = KEEPING.model_copy(update={"deadline_ms": 300})
    engine = listening(place, edge, settings=settings, url=f"redis://127.0.0.1:{proxy.port}/0")
    assert answers(engine) == [True] * 3
    deaf_before_ms = bare(engine).metrics["listener_deaf_ms"]
    proxy.stall()
    writer.customers.revoke_entitlement(CUSTOMER, feature=SSO)
    until(place, lambda: bare(engine).metrics["listener_deaf_ms"] > deaf_before_ms, "it notices that it is deaf")
    until(place, lambda: bare(engine)._listener._hears, "it listens anew")
    assert not patiently(place, lambda: engine.boolean_entitlement(CUSTOMER, SSO)).has_access


def patiently(place: Place, read: Callable[[], Any]) -> Any:
    """Read, after those connections have run into their deadlines that are stalled."""
    got: list[Any] = []

    def has_answered() -> bool:
        try:
            got.append(read())
        except Unavailable:
            return False
        return True

    until(place, has_answered, "a new connection answers")
    return got[-1]


def test_while_the_server_stands_still_only_what_nothing_is_counted_of_is_answered(
    own_place: Place, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(hearing, "SILENCE_MAX_S", 0.3)
    writer = found(own_place)
    settings = KEEPING.model_copy(update={"deadline_ms": 300})
    engine = listening(own_place, edge, settings=settings)
    assert answers(engine) == [True] * 3
    assert engine.metered_entitlement(CUSTOMER, FEATURE).has_access
    with ExitStack() as stack:
        own_place.server.pause()
        stack.callback(own_place.server.resume)
        assert answers(engine) == [True] * 3
        with pytest.raises(Unavailable):
            engine.metered_entitlement(CUSTOMER, FEATURE)
        until(own_place, lambda: not bare(engine)._listener._hears, "it notices the silence")
        for _ in range(3):
            assert answers(engine) == [True] * 3
        assert bare(engine).metrics["entitlements_last_known"] > 0
        assert not [each for each in (engine.boolean_entitlement(CUSTOMER, SSO),) if each.is_fallback]
        with pytest.raises(Unavailable):
            engine.boolean_entitlement(CUSTOMER, "feature-never-asked-about")
    writer.customers.revoke_entitlement(CUSTOMER, feature=SSO)
    until(own_place, lambda: bare(engine)._listener._hears, "it listens again")
    assert not patiently(own_place, lambda: engine.boolean_entitlement(CUSTOMER, SSO)).has_access


def test_what_redis_said_last_goes_on_also_where_nothing_was_heard(own_place: Place, edge: str) -> None:
    """A grant that Redis itself has said is revoked does not come back when it stands still."""
    writer = found(own_place)
    settings = KEEPING.model_copy(update={"deadline_ms": 300, "listen": False})
    engine = own_place.open(settings=settings, edge=edge)
    assert patiently(own_place, lambda: engine.boolean_entitlement(CUSTOMER, SSO)).has_access
    writer.customers.revoke_entitlement(CUSTOMER, feature=SSO)
    assert not patiently(own_place, lambda: engine.boolean_entitlement(CUSTOMER, SSO)).has_access
    assert patiently(own_place, lambda: engine.numeric_entitlement(CUSTOMER, RETENTION)).value == 30
    own_place.server.pause()
    try:
        assert not engine.boolean_entitlement(CUSTOMER, SSO).has_access
        assert engine.numeric_entitlement(CUSTOMER, RETENTION).value == 30
        assert bare(engine).metrics["entitlements_last_known"] == 2
    finally:
        own_place.server.resume()


def test_nothing_goes_on_where_none_of_it_is_wanted(own_place: Place, edge: str) -> None:
    found(own_place)
    engine = listening(
        own_place, edge, settings=KEEPING.model_copy(update={"deadline_ms": 300, "last_known_seconds": 0})
    )
    assert answers(engine) == [True] * 3
    bare(engine)._listener._lose()
    own_place.server.pause()
    try:
        with pytest.raises(Unavailable):
            engine.boolean_entitlement(CUSTOMER, SSO)
    finally:
        own_place.server.resume()


def test_a_thousand_reports_are_a_few_messages_with_the_last_number(place: Place, edge: str) -> None:
    found(place)
    settings = KEEPING.model_copy(update={"freshness": 60_000})
    other = listening(place, "sync", settings=settings)
    until(place, other._listener.usage_subscribed.is_set, "it listens to usage")
    assert other.metered_entitlement(CUSTOMER, FEATURE).current_usage == 0
    updates = other.updates(customer=CUSTOMER)
    published = published_so_far(place)
    engine = listening(place, edge, settings=CALM.model_copy(update={"usage_updates_every_ms": 50, "listen": True}))
    for _ in range(1_000):
        engine.report(CUSTOMER, feature=FEATURE, value=1)
    until(place, lambda: other.metered_entitlement(CUSTOMER, FEATURE).current_usage == 1_000, "it hears the number")
    assert 1 <= published_so_far(place) - published <= 250
    for update in updates:
        assert (update.kind, update.customer, update.feature) == (UpdateKind.USAGE, CUSTOMER, FEATURE)
        if update.used == 1_000:
            break


def published_so_far(place: Place) -> int:
    told = place.raw.info("commandstats")
    return int(told.get("cmdstat_publish", {}).get("calls", 0))


def test_who_may_neither_ping_nor_publish_nor_hear_of_usage_is_told_of_changes_all_the_same(
    own_place: Place, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(hearing, "SILENCE_MAX_S", 0.5)
    writer = found(own_place)
    own_place.raw.execute_command(
        "ACL", "SETUSER", "app", "reset", "on", ">right", "~*", "resetchannels", f"&hg:{own_place.environment}:updates",
        "+@all", "-ping", "-publish",
    )  # fmt: skip
    port = own_place.server.client().connection_pool.connection_kwargs["port"]
    settings = KEEPING.model_copy(update={"freshness": 60_000, "usage_updates_every_ms": 20})
    engine = listening(own_place, edge, settings=settings, url=f"redis://app:right@127.0.0.1:{port}/0")
    heard = bare(engine)._listener._heard_s
    until(own_place, lambda: bare(engine)._listener._heard_s > heard + 0.6, "signs of life come, if only as refusals")
    assert engine.report(CUSTOMER, feature=FEATURE, value=1).account.state.used == 1
    assert answers(engine) == [True] * 3
    writer.customers.revoke_entitlement(CUSTOMER, feature=SSO)
    until(own_place, lambda: not engine.boolean_entitlement(CUSTOMER, SSO).has_access, "it hears of the change")
    assert bare(engine)._listener._hears
