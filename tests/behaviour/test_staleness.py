"""Strong by construction: what changed holds on the next call of every engine, whether or not it heard of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from behaviour.targets import EVERY_TARGET, NOW_MS, WAIT_S, Target
from behaviour.world import ACME, TOKENS, ask, budget, count, entitle, found_acme, found_chain, names, spend, used
from headgate import AsyncHeadgate, EnvironmentMismatch, EnvironmentNotReady, ManualClock, Update, UpdateKind

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("listen", [True, False])
async def test_a_changed_limit_holds_on_the_next_call_of_every_engine(target: Target, listen: bool) -> None:
    one, two, writer = target.open(listen=listen), target.open(listen=False), target.open()
    await found_chain(writer)
    for engine in (one, two):
        assert (await spend(engine, 10, teamId="team-eng")).granted

    await budget(writer, "team-eng", 25)

    for engine in (one, two):
        assert not (await ask(engine, 6, teamId="team-eng")).granted
        refused = await spend(engine, 6, teamId="team-eng")
        assert refused.binding is not None
        assert (refused.binding.name, refused.binding.limit) == ("team-eng", 25)
    assert (await used(one))["team-eng"] == 20


CHANGES: dict[str, Any] = {
    "the account's limit": lambda writer: entitle(writer, 3),
    "an entitlement revoked": lambda writer: writer.customers.revoke_entitlement(ACME, feature=TOKENS),
    "the customer archived": lambda writer: writer.customers.archive(ACME),
    "a new budget": lambda writer: budget(writer, "user-bob", 3),
    "a new scoped budget": lambda writer: budget(writer, "user-bob", 3, scope=["model-large"]),
    "a parent": lambda writer: budget(writer, "user-bob", 1_000, parent="team-ops"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_every_kind_of_change_holds_on_the_next_call_with_the_listener_dead(target: Target, change: str) -> None:
    engine, writer = target.open(listen=False), target.open()
    await found_chain(writer, account=100_000)
    await budget(writer, "team-ops", 3)
    dimensions = {"userId": "user-bob", "modelId": "model-large"}
    for _ in range(2):
        assert (await spend(engine, 1, **dimensions)).granted
    await CHANGES[change](writer)
    before = await used(writer)
    assert not (await spend(engine, 4, **dimensions)).granted
    assert await used(writer) == before


async def test_an_archived_team_is_let_go_on_the_next_call_with_the_listener_dead(target: Target) -> None:
    engine, writer = target.open(listen=False), target.open()
    await found_chain(writer, team=5)
    assert not (await spend(engine, 6, teamId="team-eng")).granted
    await writer.governance.archive(ACME, ["team-eng"])
    assert (await spend(engine, 6, teamId="team-eng")).granted


PROCESS_THAT_NEVER_LISTENS = """
import json, sys
from headgate import Headgate, ManualClock, Settings

url, environment, now_ms = sys.argv[1:]
settings = Settings(listen=False, deadline_ms=30_000)
with Headgate.connect(url, environment=environment, settings=settings, clock=ManualClock(int(now_ms))) as engine:
    for line in sys.stdin:
        decision = engine.consume(
            "cus-acme", feature="feature-ai-tokens", amount=json.loads(line), dimensions={"teamId": "team-eng"}
        )
        print(json.dumps({"granted": decision.granted, **engine.metrics}), flush=True)
"""


@contextmanager
def process_that_never_listened(target: Target) -> Iterator[Callable[[int], dict[str, Any]]]:
    """Start another process on the target's environment, and give a function that makes it consume an amount."""
    path = os.pathsep.join([str(ROOT / "engine"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PROCESS_THAT_NEVER_LISTENS, target.url, target.environment, str(NOW_MS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_it, from_it = process.stdin, process.stdout

        def consume(amount: int) -> dict[str, Any]:
            to_it.write(f"{amount}\n")
            to_it.flush()
            answer: dict[str, Any] = json.loads(from_it.readline())
            return answer

        yield consume
        to_it.close()
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize(
    "target", [name for name in EVERY_TARGET if name.startswith("sync") and "process" not in name], indirect=True
)
async def test_a_changed_limit_holds_on_the_next_call_of_another_process_that_never_listened(target: Target) -> None:
    await found_chain(target.engine)
    with process_that_never_listened(target) as consume_there:
        first, second = consume_there(5), consume_there(5)
        assert second["prepared_hits"] > first["prepared_hits"]
        await budget(target.engine, "team-eng", 12)
        refused = consume_there(5)
    assert (refused["granted"], refused["stale"]) == (False, 1)
    assert (await used(target.engine))["team-eng"] == 10


async def test_a_catalog_change_holds_on_the_next_call_with_the_listener_dead(target: Target) -> None:
    engine, writer = target.open(listen=False), target.open()
    await found_acme(writer)
    await budget(writer, "model-large", 0)
    assert (await spend(engine, 1, tier="model-large")).chains == ()
    await writer.catalog.put_entity_types([{"id": "model", "attribution_keys": ["modelId", "tier"]}])
    assert names(await ask(engine, 1, tier="model-large")) == [["model-large"]]


async def test_metrics_count_what_happened(target: Target, clock: ManualClock) -> None:
    engine, writer = target.open(), target.open()
    await found_acme(writer)
    await budget(writer, "team-eng", 100, cadence="PT10M")
    assert set(engine.metrics.values()) == {0}

    for _ in range(3):
        await spend(engine, 1, teamId="team-eng")
    assert (engine.metrics["prepared_misses"], engine.metrics["prepared_hits"]) == (1, 2)
    await budget(writer, "team-eng", 50, cadence="PT10M")
    await spend(engine, 1, teamId="team-eng")
    assert (engine.metrics["stale"], engine.metrics["moved_on"]) == (1, 0)
    clock.advance(600_000)
    await spend(engine, 1, teamId="team-eng")
    assert (engine.metrics["stale"], engine.metrics["moved_on"]) == (1, 1)
    assert engine.metrics["outcomes_unknown"] == 0


async def test_a_prepared_request_is_one_call_and_unknown_dimension_values_make_no_new_one(
    target: Target, engine: AsyncHeadgate
) -> None:
    await found_chain(engine)
    await spend(engine, 1, teamId="team-eng")
    target.scripts_sent()
    await spend(engine, 1, teamId="team-eng", requestId="a")
    await ask(engine, 1, teamId="team-eng", requestId="b", tenantId="c")
    await count(engine, 1, teamId="team-eng", requestId="d")
    assert target.scripts_sent() == ["consume", "check", "report"]


async def test_prepared_requests_are_bounded_in_entries(target: Target) -> None:
    engine = target.open(prepared_max=16)
    await found_acme(target.engine)
    for number in range(40):
        await ask(engine, 1, userId=f"user-{number}", teamId="team-eng")
        await engine.check(f"cus-{number}", feature=TOKENS)
    state = engine._state
    assert (len(state.prepared), len(state.resolutions)) == (16, 16)
    assert len(state.told) <= 16
    assert (await spend(engine, 1, teamId="team-eng")).granted


async def test_updates_tell_what_changed_as_it_changes(target: Target) -> None:
    engine, writer = target.open(listen=True), target.open()
    await found_acme(writer)
    updates = engine.updates()
    await target.subscribed(engine)

    await writer.customers.put("cus-first")
    await writer.customers.put(ACME, name="Acme")
    await writer.catalog.put_features([{"id": "feature-new", "feature_type": "BOOLEAN"}])
    await writer.customers.put("cus-other")

    with anyio.fail_after(WAIT_S):
        while (await anext(updates)).customer != "cus-first":
            pass  # of the set-up, which the engine may still be hearing of
        told: list[Update] = [await anext(updates) for _ in range(3)]
    assert [(update.kind, update.customer) for update in told] == [
        (UpdateKind.CUSTOMER, ACME),
        (UpdateKind.CATALOG, None),
        (UpdateKind.CUSTOMER, "cus-other"),
    ]
    assert len({update.token for update in told}) == 3


async def test_updates_end_when_the_engine_is_closed(target: Target) -> None:
    engine = target.open(listen=True)
    await found_acme(engine)
    updates = engine.updates()
    await target.subscribed(engine)
    await engine.customers.put("cus-last")
    with anyio.fail_after(WAIT_S):
        while (await anext(updates)).customer != "cus-last":
            pass
        await engine.close()
        assert [update async for update in updates] == []


async def test_updates_of_an_engine_that_is_closed_end_at_once(target: Target) -> None:
    engine = target.open(listen=True, setup_deadline_ms=8_000)
    await found_acme(engine)
    await engine.close()
    with anyio.fail_after(5):
        assert [update async for update in engine.updates()] == []


async def test_an_engine_that_hears_of_a_change_prepares_again_without_being_told_by_the_script(
    target: Target,
) -> None:
    engine, writer = target.open(listen=True), target.open()
    await found_acme(writer)
    updates = engine.updates()
    await target.subscribed(engine)
    await spend(engine, 1)
    await entitle(writer, 5)
    await writer.customers.put("cus-last")
    with anyio.fail_after(WAIT_S):
        while (await anext(updates)).customer != "cus-last":
            pass
    assert not (await spend(engine, 5)).granted
    assert engine.metrics["stale"] == 0


async def test_an_environment_that_was_never_written_is_unavailable_and_not_a_denial(engine: AsyncHeadgate) -> None:
    for call in (engine.check, engine.consume):
        with pytest.raises(EnvironmentNotReady, match="its catalog was never written"):
            await call(ACME, feature=TOKENS)
    with pytest.raises(EnvironmentNotReady):
        await engine.report(ACME, feature=TOKENS, value=1)


async def test_another_number_of_partitions_is_a_mismatch(target: Target, engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    with pytest.raises(EnvironmentMismatch, match="has 4 partitions, this client wants 5"):
        await target.open(partitions=5).check(ACME, feature=TOKENS)
    assert (await target.open(partitions=None).check(ACME, feature=TOKENS)).granted
