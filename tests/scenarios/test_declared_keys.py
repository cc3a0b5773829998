"""Every script touches declared keys only: all verbs run behind a `redis` that refuses any other."""

from __future__ import annotations

import hashlib
import re

import pytest
import redis

from guarded import GUARD, UNDECLARED, guarded_transport, load_guarded
from headgate import Headgate
from headgate.client.sync_transport import RedisTransport, knows_flags
from headgate.clock import ManualClock
from headgate.errors import Unavailable
from headgate.scripts import Script, ScriptSet, load_scripts
from scenarios.setting import CUSTOMER, FEATURE, Between, Place, budget, check, consume, entitle, furnish, report

ALL_SCRIPTS = {script.name for script in load_scripts()}


def flags_known(place: Place) -> bool:
    return knows_flags(b"redis_version:" + place.raw.info("server")["redis_version"].encode())


@pytest.fixture(params=["server", "given"])
def guarded(request: pytest.FixtureRequest, place: Place) -> RedisTransport:
    transport = guarded_transport(place.server.url, clock=request.param, server_supports_flags=flags_known(place))
    place.stack.callback(transport.close)
    return transport


def test_every_script_touches_declared_keys_only(place: Place, guarded: RedisTransport) -> None:
    clock = ManualClock() if guarded._scripts and guarded._scripts.clock == "given" else None
    between = Between(guarded, lambda call, send_on: send_on())
    engine = place.engine_over(between, clock)
    team = {"dimensions": {"teamId": "team-eng"}}
    furnish(engine, limit=1_000)
    for number in range(70):  # counters of more than one hash
        budget(engine, f"user-{number}", 1_000, parent="team-eng" if number else None)
        if number == 0:
            budget(engine, "team-eng", 1_000)
    user = {"userId": "user-69", "teamId": "team-eng"}
    assert check(engine, 1, **user).granted
    assert consume(engine, 1, **user).granted
    assert not consume(engine, 5_000, **user).granted
    report(engine, 5, **team)
    report(engine, 3, behavior="SET", **team)
    engine.catalog.put_currencies([{"id": "credits"}])
    for number in range(2):
        engine.credits.grant(CUSTOMER, {"currency": "credits", "amount": 100, "priority": number})
        budget(engine, f"user-{70 + number}", 1_000)
    engine.governance.put_assignments(
        CUSTOMER, [{"entity": "team-eng", "currency": "credits", "usage_limit": 500, "cadence": "P1D"}]
    )
    assert engine.check(CUSTOMER, currency="credits", **team).granted
    assert engine.consume(CUSTOMER, currency="credits", amount=150, **team).granted
    engine.report(CUSTOMER, currency="credits", value=100, **team)
    hold_and_end(place, engine, user)
    assert engine.reservations.list(CUSTOMER)
    engine.consume(CUSTOMER, feature=FEATURE, dimensions=user, idempotency_key="first")
    engine.report(CUSTOMER, currency="credits", value=1, idempotency_key="second")
    engine.consume("cus-none", feature=FEATURE, idempotency_key="third")
    engine.governance.archive(CUSTOMER, ["user-1"])
    engine.customers.revoke_entitlement(CUSTOMER, feature=FEATURE)
    entitle(engine, limit=10)
    engine.governance.tree(CUSTOMER, feature=FEATURE)
    engine.customers.entitlements(CUSTOMER)
    engine.catalog.put_features([{"id": FEATURE, "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}])
    name_and_list(engine)
    place.raw.delete(place.keyspace.partition_catalog(0))
    engine.catalog.accept_loss()
    assert set(between.calls) == ALL_SCRIPTS


def name_and_list(engine: Headgate) -> None:
    """Ask for lists, and for what is found without knowing a customer: a claimed id, the API keys."""
    assert "swept" in [each.id for each in engine.reservations.list(CUSTOMER)]
    assert CUSTOMER in [each.id for each in engine.customers.list()]
    engine.subscriptions.claim("sub-1", CUSTOMER)
    assert engine.subscriptions.owner("sub-1") == (CUSTOMER, None)
    key, _ = engine.api_keys.create("deploy", "full")
    engine.api_keys.rotate(key.id)
    assert [each.id for each in engine.api_keys.list()] == [key.id]


def hold_and_end(place: Place, engine: Headgate, user: dict[str, str]) -> None:
    """Make holds in counters of many hashes, and end them in each way there is."""
    engine.credits.grant(CUSTOMER, {"currency": "credits", "amount": 100, "id": "for-holds"})
    for ask in (
        {"feature": FEATURE, "dimensions": user},
        {"currency": "credits", "dimensions": {"teamId": "team-eng"}},
        {"feature": FEATURE, "dimensions": {"userId": "user-2"}},
    ):
        settled, released, due = [engine.reserve(CUSTOMER, amount=5, **ask) for _ in range(3)]
        assert settled.settle(7).settled == 7
        assert settled.settle(7).settled == 7
        released.extend(1)
        released.release()
        assert engine.reservations.get(CUSTOMER, due.id).granted
        expire(place, due.id)
    assert not engine.reserve(CUSTOMER, feature=FEATURE, amount=5_000)
    assert engine.metrics["holds_freed"] == 3
    assert engine.reserve(CUSTOMER, feature=FEATURE, amount=5, id="swept")
    expire(place, "swept")
    assert engine.reservations.sweep() == 1


def expire(place: Place, hold: str) -> None:
    """Let a hold be due, whatever the clock is: as if it had been made long ago."""
    keys = place.keys
    names = (keys.holds, keys.due, keys.usage, keys.partition_due)
    place.raw.execute_command("EVAL", EXPIRE, len(names), *names, hold, CUSTOMER)


EXPIRE = """
local record = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
record[2] = 1
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(record))
redis.call('ZADD', KEYS[2], 1, ARGV[1])
redis.call('HSET', KEYS[3], '@x', struct.pack('<d', 1))
redis.call('ZADD', KEYS[4], 1, ARGV[2])
"""


@pytest.mark.parametrize(
    ("touch", "refused"),
    [
        ("redis.call('GET', KEYS[1])", None),
        ("redis.call('HSET', KEYS[1], 'field', KEYS[2])", None),
        ("redis.call('EXISTS', KEYS[1], KEYS[2])", None),
        ("redis.call('TIME')", None),
        ("redis.call('GET', KEYS[1] .. '-other')", "key {tag}-1-other"),
        ("redis.call('HSET', '{tag}-3', 'field', 'value')", "key {tag}-3"),
        ("redis.call('EXISTS', KEYS[1], '{tag}-3')", "key {tag}-3"),
        ("redis.call('HGET', nil)", "key nil"),
        ("redis.call('INCR', KEYS[1])", "command INCR"),
        ("redis.pcall('GET', '{tag}-3')", "pcall"),
    ],
)
def test_a_key_that_was_not_declared_is_refused(place: Place, touch: str, refused: str | None) -> None:
    keys = ["{tag}-1", "{tag}-2"]
    place.erase(key.encode() for key in keys)
    source = f"{GUARD}{touch} return 'touched'"
    if refused is None:
        assert place.raw.execute_command("EVAL", source, 2, *keys) == b"touched"
    else:
        with pytest.raises(redis.ResponseError, match=re.escape(refused)):
            place.raw.execute_command("EVAL", source, 2, *keys)
    place.erase(key.encode() for key in keys)


def test_a_script_that_touches_another_key_of_its_partition_is_refused_by_an_engine(place: Place) -> None:
    transport = guarded_transport(place.server.url, server_supports_flags=flags_known(place))
    place.stack.callback(transport.close)
    engine = place.engine_over(transport)
    furnish(engine)
    assert consume(engine, 1).granted
    honest = transport._scripts
    assert honest is not None
    source = honest.consume.source.replace(
        b"local request, layout", b"redis.call('GET', KEYS[2] .. ':other')\nlocal request, layout"
    )
    assert source != honest.consume.source
    broken = Script("consume", source, hashlib.sha1(source).hexdigest(), honest.consume.header)
    transport._scripts = ScriptSet(
        {script.name: script for script in honest} | {"consume": broken},
        clock=honest.clock,
        server_supports_flags=honest.server_supports_flags,
    )
    with pytest.raises(Unavailable, match=f"{UNDECLARED} key {re.escape(place.keys.usage.decode())}:other"):
        consume(engine, 1)
    assert place.used() == 1


def test_the_test_build_holds_every_script() -> None:
    assert {script.name for script in load_guarded()} == ALL_SCRIPTS
    assert all(GUARD.encode() in script.source for script in load_guarded(clock="given", server_supports_flags=True))
