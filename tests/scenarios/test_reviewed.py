"""Wrong answers that reviews found, each asked again: policies in mid-write, lost keys, cold clients, odd numbers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import AsyncHeadgate
from headgate.calls import Call, Reply
from headgate.client import async_transport, sync_transport
from headgate.clock import ManualClock, monotonic_ms
from headgate.errors import BatchIncomplete, Conflict, EnvironmentNotReady, Unavailable
from headgate.hierarchy import Hierarchy
from headgate.keys import Keyspace
from headgate.model.decision import DeniedReason
from headgate.model.governance import LEVELS_MAX, Entity
from headgate.policy import Policy
from headgate.prepare import CONSTRAINTS_MAX
from headgate.verbs.governance import UPSERTS_MAX
from scenarios.setting import (
    CALM,
    CUSTOMER,
    FEATURE,
    PARTITIONS,
    Between,
    Engine,
    Place,
    budget,
    check,
    consume,
    entitle,
    furnish,
    report,
)

WAIT_S = 20
MONTHLY = {"reset_period": "MONTH", "reset_according_to": "StartOfTheMonth"}
PLENTY = 9_000


# A policy whose moves belong together, looked at between any two of its calls.


def node(limit: int, children: Mapping[str, Any] | None = None) -> dict[str, Any]:
    budgets = [{"feature": FEATURE, "limit": limit, "every": "P1M"}]
    return {"type": "team", "budgets": budgets, **({"children": children} if children else {})}


def others(count: int, *, limit: int) -> dict[str, Any]:
    """Entities that stay where they are; with another limit, each of them is a budget to be written."""
    return {f"other-{number}": node(limit) for number in range(count)}


def policy(entities: Mapping[str, Any]) -> Policy:
    return Policy.parse(
        {
            "features": {FEATURE: {"type": "NUMBER", "meter": "INCREMENTAL"}},
            "entity_types": {"team": {"keys": ["teamId"]}},
            "customers": {CUSTOMER: {"entitlements": {FEATURE: {"limit": "unlimited"}}, "entities": entities}},
        }
    )


def apply_while(place: Place, wanted: Policy, look: Callable[[], object]) -> None:
    """Apply a policy, and look before each of its writes."""

    def step(call: Call, send_on: Callable[[], Reply]) -> Reply:
        if call.script == "configure":
            look()
        return send_on()

    place.engine_over(Between(place.transport(), step)).apply(wanted)


def parents(engine: Engine) -> dict[str, str | None]:
    return {entity.id: entity.parent for entity in engine.governance.entities(CUSTOMER)}


BEFORE = {"r": node(5, {"u": node(PLENTY), "p": node(PLENTY, {"q": node(PLENTY, {"s": node(PLENTY)})})})}
AFTER = {"r": node(5, {"u": node(PLENTY, {"p": node(PLENTY)})})}


def test_moves_that_have_to_wait_for_each_other_open_no_gap_between_two_calls(place: Place) -> None:
    """`p` fits below `u` only when `q` has left it: neither of them may stand without a root in the meantime."""
    engine = place.open()
    engine.apply(policy({**BEFORE, **others(UPSERTS_MAX + 20, limit=1), "r2": node(5)}))
    granted, seen = [], []

    def look() -> None:
        granted.extend(consume(engine, 6, teamId=entity).granted for entity in ("p", "q", "s"))
        seen.append(tuple(parents(engine)[entity] for entity in ("p", "q", "s")))

    r2 = node(5, {"q": node(PLENTY, {"s": node(PLENTY)})})
    apply_while(place, policy({**AFTER, **others(UPSERTS_MAX + 20, limit=2), "r2": r2}), look)
    look()
    assert len(seen) >= 4
    assert not any(granted)
    assert set(seen) == {("r", "p", "q"), ("u", "r2", "q")}


def test_two_nodes_that_change_places_between_roots_do_it_in_one_call(place: Place) -> None:
    """Each child stays with its own root, and only the teams between them change places."""
    engine = place.open()
    spare = others(UPSERTS_MAX + 20, limit=1)
    first = {"r": node(5, {"n": node(PLENTY, {"m": node(PLENTY)})})}
    last = {"r2": node(50, {"n2": node(PLENTY, {"m2": node(PLENTY)})})}
    engine.apply(policy({**first, **spare, **last}))
    granted, seen = [], []

    def look() -> None:
        granted.append(consume(engine, 6, teamId="m").granted)
        seen.append(tuple(parents(engine)[entity] for entity in ("n", "m", "n2", "m2")))

    first = {"r": node(5, {"n2": node(PLENTY, {"m": node(PLENTY)})})}
    last = {"r2": node(50, {"n": node(PLENTY, {"m2": node(PLENTY)})})}
    apply_while(place, policy({**first, **others(UPSERTS_MAX + 20, limit=2), **last}), look)
    look()
    assert not any(granted)
    assert set(seen) == {("r", "n", "r2", "n2"), ("r2", "n2", "r", "n")}


def swapped(count: int, *, is_done: bool) -> dict[str, Any]:
    """Many teams below two roots that change places, while the users below them stay with their roots."""
    here, there = ("n", "k")[is_done], ("k", "n")[is_done]
    return {
        "r": node(5, {f"{here}{number}": node(PLENTY, {f"m{number}": node(PLENTY)}) for number in range(count)}),
        "r2": node(PLENTY, {f"{there}{number}": node(PLENTY, {f"w{number}": node(PLENTY)}) for number in range(count)}),
    }


def test_more_moves_that_belong_together_than_one_call_takes_are_refused_whole(place: Place) -> None:
    """Any one of them alone would bring a user below the other root."""
    engine = place.open()
    count = UPSERTS_MAX // 4 + 1
    engine.apply(policy(swapped(count, is_done=False)))
    assert not consume(engine, 6, teamId="m0").granted
    before = place.content()
    with pytest.raises(Conflict, match=str(UPSERTS_MAX)):
        engine.apply(policy(swapped(count, is_done=True)))
    assert place.content() == before
    engine.apply(policy(swapped(UPSERTS_MAX // 4, is_done=True)))
    assert not consume(engine, 6, teamId="m0").granted


def test_a_team_that_leaves_its_root_leaves_its_users_to_their_new_one_first(place: Place) -> None:
    """More moves than one call takes, and each of them fits at once, in whichever order they are written."""
    engine = place.open()
    many = others(UPSERTS_MAX + 20, limit=1)
    many_roots: dict[str, Any] = {"r3": node(1, many), "r4": node(1)}
    engine.apply(policy({"r": node(5, {"x": node(PLENTY, {"e": node(PLENTY)})}), "r2": node(5), **many_roots}))
    granted = []

    def look() -> None:
        granted.append(consume(engine, 6, teamId="e").granted)

    many_roots = {"r3": node(1), "r4": node(1, many)}
    wanted = {"x": node(PLENTY), **many_roots, "r2": node(5, {"e": node(PLENTY)}), "r": node(5)}
    apply_while(place, policy(wanted), look)
    look()
    assert len(granted) >= 3
    assert not any(granted)


@st.composite
def forests(draw: st.DrawFn, size: int) -> dict[int, int | None]:
    """Any forest of so many nodes, none deeper than the levels there may be."""
    parent: dict[int, int | None] = {}
    level: dict[int, int] = {}
    for each in draw(st.permutations(range(size))):
        places = [None, *(known for known in parent if level[known] < LEVELS_MAX)]
        parent[each] = draw(st.sampled_from(places))
        above = parent[each]
        level[each] = 1 if above is None else level[above] + 1
    return parent


@given(data=st.data(), size=st.integers(2, 9))
def test_from_any_forest_to_any_other_there_is_an_order_in_which_every_move_fits(
    data: st.DataObject, size: int
) -> None:
    """So nothing is ever taken off its root to make room, as long as there are four levels."""
    present, wanted = data.draw(forests(size)), data.draw(forests(size))
    hierarchy = Hierarchy(
        {f"e{each}": Entity(id=f"e{each}", type="team", created_at_ms=0, updated_at_ms=0) for each in range(size)}
    )
    for each in sorted(present, key=lambda each: len(list(ancestors(present, each)))):
        hierarchy.move(f"e{each}", name(present[each]), field="parent", now_ms=0)
    left = [each for each in range(size) if present[each] != wanted[each]]
    while left:
        fitting = [each for each in left if hierarchy.fits(f"e{each}", name(wanted[each]))]
        assert fitting, (present, wanted)
        chosen = data.draw(st.sampled_from(fitting))
        hierarchy.move(f"e{chosen}", name(wanted[chosen]), field="parent", now_ms=0)
        left.remove(chosen)
    assert {id: each.parent for id, each in hierarchy.entities.items()} == {
        f"e{each}": name(parent) for each, parent in wanted.items()
    }


def name(node: int | None) -> str | None:
    return None if node is None else f"e{node}"


def ancestors(parent: Mapping[int, int | None], node: int) -> Iterator[int]:
    above = parent[node]
    while above is not None:
        yield above
        above = parent[above]


# Keys that are gone, one at a time.


POLICY = policy({"team-eng": node(10)})
CATALOG_WRITES: dict[str, Callable[[Engine], object]] = {
    "put_features": lambda engine: engine.catalog.put_features([{"id": "feature-more", "feature_type": "BOOLEAN"}]),
    "put_entity_types": lambda engine: engine.catalog.put_entity_types(
        [{"id": "model", "attribution_keys": ["modelId"]}]
    ),
    "apply": lambda engine: engine.apply(POLICY),
}


def refuse_every_catalog_write(place: Place, engine: Engine) -> None:
    before = place.content()
    for called, write in CATALOG_WRITES.items():
        with pytest.raises(EnvironmentNotReady):
            write(engine)
        assert place.content() == before, called


def test_a_part_of_a_lost_catalog_is_not_written_in_its_place(place: Place) -> None:
    """Features without entity types would match no team, and so lift the limit of every one of them."""
    knows, new = place.open(), place.open()
    furnish(knows, limit=None)
    budget(knows, "team-eng", 10)
    assert not check(knows, 11, teamId="team-eng").granted
    place.raw.delete(place.keyspace.catalog)
    for engine in (knows, new):
        refuse_every_catalog_write(place, engine)
        with pytest.raises(EnvironmentNotReady):
            check(place.open(), 11, teamId="team-eng")


def test_an_accepted_loss_of_the_catalog_leaves_an_empty_one_to_be_written_again(place: Place) -> None:
    knows, new = place.open(), place.open()
    furnish(knows, limit=None)
    number = budget(knows, "team-eng", 10)
    consume(knows, 4, teamId="team-eng")
    place.raw.delete(place.keyspace.catalog)

    new.catalog.accept_loss()
    assert (new.catalog.features(), new.catalog.entity_types()) == ({}, {})
    assert place.partition_tokens() == [place.catalog_token()] * PARTITIONS
    for engine in (knows, new):
        assert check(engine, 1, teamId="team-eng").reason is DeniedReason.FEATURE_NOT_FOUND
    furnish(new, limit=None)
    for engine in (knows, new):
        refused = consume(engine, 7, teamId="team-eng")
        assert (refused.granted, refused.binding.used) == (False, 4)
    assert place.used(number) == 4


@pytest.mark.parametrize(
    ("is_new", "partitions"),
    [(True, PARTITIONS), (True, PARTITIONS * 2), (True, None), (False, PARTITIONS), (False, None)],
)
def test_an_environment_that_lost_what_it_says_of_itself_is_not_made_anew(
    place: Place, is_new: bool, partitions: int | None
) -> None:
    """Another number of partitions would hide every customer, and "not found" would be the answer."""
    furnish(place.open())
    engine = place.open(settings=CALM.model_copy(update={"partitions": partitions}))
    if not is_new:
        assert check(engine, 1).granted
    place.raw.delete(Keyspace.meta(place.environment))
    refuse_every_catalog_write(place, engine)


def test_a_customer_that_lost_its_usage_is_not_ready_and_gives_no_number_twice(place: Place) -> None:
    knows, new = place.open(), place.open()
    furnish(knows, limit=None)
    first = budget(knows, "team-eng", 10)
    assert consume(knows, 10, teamId="team-eng").granted
    place.raw.delete(place.keys.usage)
    before = place.content()

    assert first == 0
    upsert = {"entity": "team-eng", "feature": FEATURE, "scope": ["team-eng"], "usage_limit": 1_000, "cadence": "P1M"}
    asks: list[Callable[[Engine], object]] = [
        lambda engine: check(engine, 1, teamId="team-eng"),
        lambda engine: consume(engine, 1, teamId="team-eng"),
        lambda engine: report(engine, 1),
        lambda engine: engine.customers.get(CUSTOMER),
        lambda engine: engine.customers.put(CUSTOMER, name="Acme"),
        lambda engine: entitle(engine, limit=7),
        lambda engine: engine.governance.put_entities(CUSTOMER, [{"id": "team-ops", "type": "team"}]),
        lambda engine: engine.governance.put_assignments(CUSTOMER, [upsert]),
        lambda engine: engine.governance.archive(CUSTOMER, ["team-eng"]),
        lambda engine: engine.governance.assignments(CUSTOMER),
        lambda engine: engine.governance.tree(CUSTOMER, feature=FEATURE),
        lambda engine: engine.apply(POLICY),
    ]
    for engine, ask in itertools.product((knows, new), asks):
        with pytest.raises(EnvironmentNotReady, match="no token"):
            ask(engine)
    assert place.content() == before


# A server that stands still, and clients that have not said anything to it yet.


COLD = CALM.model_copy(update={"deadline_ms": 100})


def cold_calls(engine: Engine) -> dict[str, Callable[[], Any]]:
    record = {"customer": CUSTOMER, "feature": FEATURE, "value": 1}
    return {
        "check": lambda: engine.check(CUSTOMER, feature=FEATURE),
        "consume": lambda: engine.consume(CUSTOMER, feature=FEATURE),
        "report": lambda: engine.report(CUSTOMER, feature=FEATURE, value=1),
        "report_many": lambda: engine.report_many([record, record]),
    }


def require_nothing_was_sent(outcomes: Mapping[tuple[str, str], BaseException]) -> None:
    assert len(outcomes) == 12
    for (stage, called), error in outcomes.items():
        if called == "report_many":
            assert isinstance(error, BatchIncomplete), (stage, called, error)
            assert error.outcomes == ("not applied", "not applied")
            error = error.cause
        assert type(error) is Unavailable, (stage, called, error)


STAGES = ("connected", "knows the scripts", "looks again")


def test_what_a_cold_client_never_wrote_to_a_paused_server_is_certainly_not_counted(own_place: Place) -> None:
    """It has connected, or asked for the scripts, and only has yet to ask what the environment is."""
    furnish(own_place.open())
    calls: dict[tuple[str, str], Callable[[], Any]] = {}
    for stage, called in itertools.product(STAGES, cold_calls(None)):
        engine = own_place.open(settings=COLD)
        deadline_ms = monotonic_ms() + CALM.deadline_ms
        if stage == "connected":
            engine._transport.command("PING", deadline_ms=deadline_ms)
        elif stage == "knows the scripts":
            engine._transport._load_scripts(deadline_ms)
        else:
            engine.customers.get(CUSTOMER)
            engine._state.environment = None
        calls[stage, called] = cold_calls(engine)[called]
    own_place.server.pause()
    try:
        with ThreadPoolExecutor(len(calls)) as callers:
            answers = {each: callers.submit(call) for each, call in calls.items()}
            outcomes = {each: answer.exception() for each, answer in answers.items()}
    finally:
        own_place.server.resume()
    require_nothing_was_sent(outcomes)
    assert own_place.used() == 0


def test_what_a_cold_task_never_wrote_to_a_paused_server_is_certainly_not_counted(own_place: Place) -> None:
    furnish(own_place.open())

    async def opened(stage: str) -> AsyncHeadgate:
        engine = AsyncHeadgate.connect(own_place.server.url, environment=own_place.environment, settings=COLD)
        transport: Any = engine._transport
        deadline_ms = monotonic_ms() + CALM.deadline_ms
        if stage == "connected":
            await transport.command("PING", deadline_ms=deadline_ms)
        elif stage == "knows the scripts":
            await transport._load_scripts(deadline_ms)
        else:
            await engine.customers.get(CUSTOMER)
            engine._state.environment = None
        return engine

    async def ask() -> dict[tuple[str, str], BaseException]:
        named = list(itertools.product(STAGES, cold_calls(None)))
        engines = [await opened(stage) for stage, _ in named]
        own_place.server.pause()
        try:
            calls = [cold_calls(engine)[called]() for engine, (_, called) in zip(engines, named, strict=True)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            own_place.server.resume()
        for engine in engines:
            await engine.close()
        return dict(zip(named, outcomes, strict=True))

    require_nothing_was_sent(own_place.runner.run(ask()))
    assert own_place.used() == 0


# Usage and periods.


def utc_ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize("how", ["revoked", "archived"])
def test_usage_of_a_denied_customer_counts_in_the_period_of_its_entitlement(
    place: Place, clock: ManualClock, how: str
) -> None:
    engine = place.open(clock)
    clock.set(utc_ms(2026, 1, 10))
    furnish(engine, limit=100, **MONTHLY)
    report(engine, 50)
    clock.set(utc_ms(2026, 2, 10))
    if how == "revoked":
        engine.customers.revoke_entitlement(CUSTOMER, feature=FEATURE)
    else:
        engine.customers.archive(CUSTOMER)
    reason = DeniedReason.REVOKED if how == "revoked" else DeniedReason.CUSTOMER_IS_ARCHIVED
    assert check(engine, 1).reason is reason

    receipt = report(engine, 90)
    assert (receipt.account.applied, receipt.account.state.used) == (90, 90)
    assert receipt.account.state.period.start_ms == utc_ms(2026, 2, 1)
    if how == "revoked":
        entitle(engine, limit=100, **MONTHLY)
    else:
        engine.customers.unarchive(CUSTOMER)
    refused = consume(engine, 11)
    assert (refused.granted, refused.account.used) == (False, 90)
    assert consume(engine, 10).granted
    assert place.used() == 100


@pytest.mark.parametrize("value", [0, 2, 90])
def test_a_number_to_stand_at_that_is_dated_before_the_period_is_not_applied(
    place: Place, clock: ManualClock, value: int
) -> None:
    engine = place.open(clock)
    clock.set(utc_ms(2026, 1, 10))
    furnish(engine, limit=None, **MONTHLY)
    number = budget(engine, "team-eng", 100)
    team = {"dimensions": {"teamId": "team-eng"}}
    report(engine, 50, **team)
    clock.set(utc_ms(2026, 2, 20))
    report(engine, 5, **team)

    receipt = report(engine, value, behavior="SET", timestamp=datetime(2026, 1, 31, tzinfo=UTC), **team)
    assert (receipt.account.applied, receipt.account.state.used) == (0, 5)
    assert [(each.applied, each.state.used) for each in receipt.entities] == [(0, 5)]
    assert (place.used(), place.used(number)) == (5, 5)
    receipt = report(engine, 8, behavior="SET", timestamp=datetime(2026, 2, 19, tzinfo=UTC), **team)
    assert (receipt.account.applied, receipt.entities[0].applied) == (3, 3)


# Numbers at the edge.


def test_more_constraints_than_a_request_may_have_are_named_and_still_counted_by_a_report(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    keys = [f"key{number}" for number in range(8)]
    engine.catalog.put_entity_types([{"id": key, "attribution_keys": [key]} for key in keys])
    budgets = {"org-acme": CONSTRAINTS_MAX // 2, "team-eng": CONSTRAINTS_MAX - CONSTRAINTS_MAX // 2 - 1}
    ids = [f"id-{key}" for key in keys]
    engine.governance.put_entities(CUSTOMER, [{"id": id, "type": key} for id, key in zip(ids, keys, strict=True)])
    budget(engine, "org-acme", None)
    budget(engine, "team-eng", None, parent="org-acme")
    scopes = [scope for size in range(1, 9) for scope in itertools.combinations(ids, size)]

    def write(entity: str, some: list[tuple[str, ...]]) -> None:
        given = {"entity": entity, "feature": FEATURE, "usage_limit": None, "cadence": "P1M"}
        for first in range(0, len(some), UPSERTS_MAX):
            upserts = [{**given, "scope": scope} for scope in some[first : first + UPSERTS_MAX]]
            engine.governance.put_assignments(CUSTOMER, upserts)

    for entity, count in budgets.items():
        write(entity, scopes[: count - 1])
    dimensions = {"teamId": "team-eng", **dict(zip(keys, ids, strict=True))}
    assert len(consume(engine, 1, **dimensions).constraints) == CONSTRAINTS_MAX

    write("org-acme", scopes[budgets["org-acme"] - 1 : budgets["org-acme"]])
    before = place.content()
    for ask in (check, consume):
        with pytest.raises(Conflict, match=f"{CONSTRAINTS_MAX + 1} constraints"):
            ask(engine, 1, **dimensions)
    assert place.content() == before
    receipt = report(engine, 1, dimensions=dimensions)
    assert len(receipt.entities) == CONSTRAINTS_MAX
    assert sorted(each.state.used for each in receipt.entities) == [1] + [2] * (CONSTRAINTS_MAX - 1)
    assert place.used() == 2


def test_a_whole_number_too_large_for_a_double_names_what_javascript_prints(place: Place) -> None:
    engine = place.open()
    furnish(engine, limit=None)
    engine.governance.put_entities(CUSTOMER, [{"id": "Infinity", "type": "team"}])
    upsert = {"entity": "Infinity", "feature": FEATURE, "usage_limit": 10, "cadence": "P1M"}
    engine.governance.put_assignments(CUSTOMER, [upsert])
    for ask in (check, consume):
        refused = ask(engine, 11, teamId=10**400)
        assert (refused.granted, refused.binding.entity) == (False, "Infinity")
        assert ask(engine, 11, teamId=-(10**400)).chains == ()
    assert [each.state.used for each in report(engine, 3, dimensions={"teamId": 10**400}).entities] == [3]


# Connections that cannot be made.


def test_a_pool_is_not_used_up_by_connections_that_cannot_be_made() -> None:
    made = object()
    answers: list[Any] = [ValueError("no such option")] * 3 + [made]

    def make() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = sync_transport._Pool(make, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="no such option"):
            pool.take(monotonic_ms())
    assert pool.take(monotonic_ms()) is made


async def test_a_pool_for_tasks_is_not_used_up_by_connections_that_cannot_be_made() -> None:
    made = object()
    answers: list[Any] = [ValueError("no such option")] * 3 + [made]

    def make() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    pool = async_transport._Pool(make, 1)
    async with asyncio.timeout(WAIT_S):
        for _ in range(3):
            with pytest.raises(ValueError, match="no such option"):
                await pool.take()
        assert await pool.take() is made
