"""API keys: their text is told once, what is stored lets nobody in, and what lets somebody in is exact."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgpack
import pytest

from behaviour.targets import NOW_MS, Target
from behaviour.world import FEATURES
from headgate import (
    ApiKey,
    AsyncHeadgate,
    Conflict,
    EnvironmentMismatch,
    EnvironmentNotReady,
    InvalidInput,
    KeyScope,
    NotFound,
)
from headgate.verbs.api_keys import GRACE_MAX_S, verify

TEXT: Final = re.compile(r"hg_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")
ONE_PLACE: Final = pytest.mark.parametrize("target", ["sync-in-process"], indirect=True)
"""For rules that no server knows of."""


def key_name(target: Target) -> bytes:
    return f"hg:{target.environment}:api-keys".encode()


async def who(engine: AsyncHeadgate, text: str, now_ms: int = NOW_MS) -> str | None:
    """The name of the key that a text is of, as it is stored now."""
    found = verify(await engine.api_keys.list(), text, now_ms)
    return None if found is None else found.name


async def test_a_key_is_told_once_and_lets_its_owner_in(target: Target, engine: AsyncHeadgate) -> None:
    key, text = await engine.api_keys.create("deploy", "full")
    assert TEXT.fullmatch(text)
    assert text.startswith(f"hg_{key.id}_")
    assert (key.name, key.scope, key.created_at_ms) == ("deploy", KeyScope.FULL, NOW_MS)
    assert (key.rotated_at_ms, key.revoked_at_ms, key.former_until_ms) == (None, None, None)
    other = target.open()
    assert await other.api_keys.list() == [key]
    assert verify([key], text, NOW_MS) == key
    assert await who(other, text) == "deploy"


async def test_what_is_stored_does_not_hold_the_text(target: Target, engine: AsyncHeadgate) -> None:
    key, text = await engine.api_keys.create("deploy", KeyScope.READ)
    ((name, documents),) = target.dump().items()
    assert name == key_name(target)
    assert isinstance(documents, dict)
    assert documents.keys() == {key.id.encode()}
    secret = text.split("_", 2)[2]
    stored = documents[key.id.encode()]
    assert msgpack.unpackb(stored)["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret.encode() not in stored
    assert base64.urlsafe_b64decode(secret + "=") not in stored


async def test_keys_may_be_made_before_anything_else_and_make_no_environment(
    target: Target, engine: AsyncHeadgate
) -> None:
    assert await engine.api_keys.list() == []
    key, text = await engine.api_keys.create("first", "runtime")
    with pytest.raises(EnvironmentNotReady):
        await engine.catalog.features()
    await engine.catalog.put_features(FEATURES)
    assert await engine.api_keys.list() == [key]
    assert await who(target.open(), text) == "first"


async def test_keys_are_those_of_one_environment(target: Target, engine: AsyncHeadgate) -> None:
    _, text = await engine.api_keys.create("ours", "full")
    assert list(target.dump()) == [key_name(target)]
    target.environment = f"{target.environment}-other"
    other = target.open()
    assert await other.api_keys.list() == []
    assert await who(other, text) is None


async def test_where_there_is_an_environment_its_clock_is_the_one_of_its_keys(
    target: Target, engine: AsyncHeadgate
) -> None:
    await engine.catalog.put_features(FEATURES)
    target.redis.hset(f"hg:{target.environment}:meta", "clock", "server")
    with pytest.raises(EnvironmentMismatch, match="clock"):
        await target.open().api_keys.create("late", "full")
    assert key_name(target) not in target.dump()


async def test_keys_are_listed_by_age_and_revoked_ones_too(target: Target, engine: AsyncHeadgate) -> None:
    made = []
    for number in range(5):
        made.append((await engine.api_keys.create(f"key {number}", "read"))[0])
        target.clock.advance(1_000)
    revoked = await engine.api_keys.revoke(made[2].id)
    assert await engine.api_keys.list() == [*made[:2], revoked, *made[3:]]


async def test_a_key_that_is_rotated_has_a_new_text_and_the_old_one_ends_at_once(
    target: Target, engine: AsyncHeadgate
) -> None:
    key, first = await engine.api_keys.create("deploy", "full")
    target.clock.advance(1_000)
    rotated, second = await engine.api_keys.rotate(key.id)
    assert (rotated.id, rotated.rotated_at_ms, rotated.created_at_ms) == (key.id, NOW_MS + 1_000, NOW_MS)
    assert second != first
    assert await who(engine, second) == "deploy"
    assert await who(engine, first) is None
    assert rotated.former_digest is None


@pytest.mark.parametrize("grace", [60, 60.0, timedelta(minutes=1)])
async def test_the_old_text_goes_on_for_the_grace_that_is_given(
    target: Target, engine: AsyncHeadgate, grace: Any
) -> None:
    key, first = await engine.api_keys.create("deploy", "full")
    target.clock.advance(1_000)
    rotated, second = await engine.api_keys.rotate(key.id, grace)
    until_ms = NOW_MS + 61_000
    assert rotated.former_until_ms == until_ms
    for text, now_ms, name in ((first, until_ms - 1, "deploy"), (first, until_ms, None), (second, until_ms, "deploy")):
        assert await who(engine, text, now_ms) == name


async def test_of_two_rotations_in_a_row_only_the_last_secret_before_has_grace(engine: AsyncHeadgate) -> None:
    key, first = await engine.api_keys.create("deploy", "full")
    _, second = await engine.api_keys.rotate(key.id, 60)
    _, third = await engine.api_keys.rotate(key.id, 60)
    assert [await who(engine, text) for text in (first, second, third)] == [None, "deploy", "deploy"]
    _, fourth = await engine.api_keys.rotate(key.id)
    assert [await who(engine, text) for text in (second, third, fourth)] == [None, None, "deploy"]


async def test_a_key_that_is_revoked_lets_nobody_in_with_either_text(target: Target, engine: AsyncHeadgate) -> None:
    key, first = await engine.api_keys.create("deploy", "full")
    _, second = await engine.api_keys.rotate(key.id, 600)
    target.clock.advance(1_000)
    revoked = await engine.api_keys.revoke(key.id)
    assert revoked.revoked_at_ms == NOW_MS + 1_000
    assert [await who(engine, text) for text in (first, second)] == [None, None]
    before = target.dump()
    target.clock.advance(1_000)
    assert await engine.api_keys.revoke(key.id) == revoked
    with pytest.raises(Conflict, match="revoked"):
        await engine.api_keys.rotate(key.id)
    assert target.dump() == before


async def test_two_rotations_at_once_both_come_about_one_after_the_other(target: Target, engine: AsyncHeadgate) -> None:
    key, first = await engine.api_keys.create("deploy", "full")
    texts: list[str] = []
    other = target.open_blocking()
    target.before("write_api_key", lambda: texts.append(other.api_keys.rotate(key.id, 60)[1]))
    _, last = await engine.api_keys.rotate(key.id, 60)
    assert [await who(engine, text) for text in (first, *texts, last)] == [None, "deploy", "deploy"]
    assert target.scripts_sent().count("write_api_key") == 4


async def test_a_rotation_never_brings_back_a_key_that_is_revoked_meanwhile(
    target: Target, engine: AsyncHeadgate
) -> None:
    key, first = await engine.api_keys.create("deploy", "full")
    other = target.open_blocking()
    target.before("write_api_key", lambda: other.api_keys.revoke(key.id))
    with pytest.raises(Conflict, match="revoked"):
        await engine.api_keys.rotate(key.id, 60)
    assert await who(engine, first) is None


async def test_a_key_that_is_not_there_is_not_found(target: Target, engine: AsyncHeadgate) -> None:
    for ask in (engine.api_keys.rotate, engine.api_keys.revoke):
        with pytest.raises(NotFound, match="'0123456789abcdef'") as caught:
            await ask("0123456789abcdef")
        assert caught.value.code == "ApiKeyNotFound"
    assert target.dump() == {}


@ONE_PLACE
@pytest.mark.parametrize(
    ("name", "scope", "field"),
    [
        ("", "full", "name"),
        ("  ", "full", "name"),
        ("x" * 256, "full", "name"),
        ("two\nlines", "full", "name"),
        ("half a pair \ud800", "full", "name"),
        (None, "full", "name"),
        (7, "full", "name"),
        ("deploy", "FULL", "scope"),
        ("deploy", "write", "scope"),
        ("deploy", "", "scope"),
        ("deploy", None, "scope"),
        ("deploy", ["full"], "scope"),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(
    target: Target, engine: AsyncHeadgate, name: Any, scope: Any, field: str
) -> None:
    with pytest.raises(InvalidInput, match=f"{field}: "):
        await engine.api_keys.create(name, scope)
    assert target.dump() == {}


@ONE_PLACE
@pytest.mark.parametrize("grace", [-1, GRACE_MAX_S + 1, float("nan"), float("inf"), True, "60", None, timedelta(-1)])
async def test_a_grace_that_makes_no_sense_changes_nothing(target: Target, engine: AsyncHeadgate, grace: Any) -> None:
    key, _ = await engine.api_keys.create("deploy", "full")
    before = target.dump()
    with pytest.raises(InvalidInput, match="grace_seconds: "):
        await engine.api_keys.rotate(key.id, grace)
    for id in ("", "a:b", None, 7):
        for ask in (engine.api_keys.rotate, engine.api_keys.revoke):
            with pytest.raises(InvalidInput, match="id: "):
                await ask(id)  # type: ignore[arg-type]
    assert target.dump() == before


@ONE_PLACE
async def test_only_the_very_text_is_taken(engine: AsyncHeadgate) -> None:
    key, text = await engine.api_keys.create("deploy", "full")
    other, other_text = await engine.api_keys.create("other", "read")
    secret, other_secret = text[20:], other_text[20:]
    keys = [key, other]
    assert [verify(keys, each, NOW_MS) for each in (text, other_text)] == [key, other]
    assert verify([], text, NOW_MS) is None
    wrong: Sequence[str] = [
        "",
        "hg",
        "hg__",
        f"hg_{key.id}_",
        f"hg_{key.id}",
        secret,
        text[:-1],
        text + "A",
        text + "\n",
        " " + text,
        text + "=",
        text.upper(),
        text.replace("hg_", "HG_"),
        f"hg_{key.id}_{other_secret}",
        f"hg_{other.id}_{secret}",
        f"hg_{'0' * 16}_{secret}",
        f"hg_{key.id}_{'A' * 43}",
        f"hg_{key.id}_{'é' * 43}",
        f"hg_{key.id}_{key.digest}",
        f"hg_{key.id}_{'0' * 64}",
        text.encode().decode("utf-16-le", errors="replace"),
    ]
    assert [each for each in wrong if verify(keys, each, NOW_MS)] == []
    last = secret[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert [each for each in alphabet if verify(keys, text[:-1] + each, NOW_MS)] == [last]


@ONE_PLACE
async def test_no_text_and_no_digest_is_shown(engine: AsyncHeadgate) -> None:
    made, first = await engine.api_keys.create("deploy", "full")
    key, second = await engine.api_keys.rotate(made.id, 60)
    assert key.former_digest == made.digest
    shown = [f"{key!r} {key}", f"{[key]}"]
    with pytest.raises(Conflict) as conflict:
        await engine.api_keys.rotate((await engine.api_keys.revoke(key.id)).id)
    with pytest.raises(NotFound) as missing:
        await engine.api_keys.revoke(first.replace("_", "-"))
    shown += [repr(conflict.value)]
    for text in shown:
        for secret in (first, second, first[20:], second[20:], key.digest, made.digest):
            assert secret not in text
    assert "former_until_ms" in shown[0]
    assert isinstance(missing.value, NotFound)


@ONE_PLACE
async def test_every_key_is_compared_whether_one_before_it_fits_or_not(
    engine: AsyncHeadgate, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[ApiKey] = []
    texts: list[str] = []
    for number in range(3):
        key, text = await engine.api_keys.create(f"key {number}", "read")
        keys.append(key)
        texts.append(text)
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counting(one: Any, other: Any) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    costs = []
    for text in (*texts, f"hg_{'0' * 16}_{'A' * 43}", f"hg_{keys[0].id}_{'A' * 43}"):
        compared.clear()
        verify(keys, text, NOW_MS)
        costs.append(tuple(compared))
    assert len(set(costs)) == 1
    assert len(costs[0]) == 3 * len(keys)
