"""The library on a fake server says what it says on a real one; and what only `headgate.testing` has."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headgate.testing
from headgate.client.sync_client import Headgate
from headgate.clock import ManualClock, wall_ms
from headgate.errors import EnvironmentMismatch, EnvironmentNotReady, HeadgateError, InvalidInput, OutOfRange
from headgate.policy import Policy
from headgate.testing.fake_server import FakeServer
from servers import RedisServer, available_binaries

ROOT = Path(__file__).parents[2]
BINARIES = [pytest.param(path, id=name) for name, path in sorted(available_binaries().items())]


@pytest.fixture(scope="module", params=BINARIES)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as started:
        yield started


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


POLICY: dict[str, Any] = {
    "features": {
        "tokens": {"type": "NUMBER", "meter": "INCREMENTAL"},
        "seats": {"type": "NUMBER", "meter": "FLUCTUATING"},
        "sso": {"type": "BOOLEAN"},
    },
    "entity_types": {"org": {"keys": ["orgId"]}, "team": {"keys": ["teamId"]}, "model": {"keys": ["modelId"]}},
    "customers": {
        "acme": {
            "entitlements": {"tokens": {"limit": 500, "reset": "MONTH"}, "sso": {}},
            "entities": {
                "org": {
                    "type": "org",
                    "budgets": [{"feature": "tokens", "limit": 300, "every": "P1D"}],
                    "children": {
                        "team-a": {
                            "type": "team",
                            "budgets": [
                                {"feature": "tokens", "limit": 100, "every": "PT10M"},
                                {"feature": "tokens", "limit": 40.5, "every": "PT1H", "scope": ["large"]},
                            ],
                        },
                        "team-b": {"type": "team", "budgets": [{"feature": "tokens", "limit": 0.3, "every": "P1W"}]},
                    },
                },
                "large": {"type": "model"},
            },
        },
        "small": {"entitlements": {"seats": {"limit": 3}}},
    },
}
BEGIN_MS = round(headgate.testing.NOW.timestamp() * 1000)
ENVIRONMENT_NUMBERS = itertools.count(1)
CUSTOMERS = st.sampled_from(["acme", "acme", "acme", "small", "nobody"])
FEATURES = st.sampled_from(["tokens", "tokens", "tokens", "seats", "sso", "unknown"])
DIMENSIONS = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "teamId": st.sampled_from(["team-a", "team-a", "team-b", "team-c", 7.0, True]),
        "modelId": st.sampled_from(["large", "small"]),
        "orgId": st.just("org"),
    },
)
ASKED = st.sampled_from([0, 1, 0.1, 0.2, 7, 40, 99.5, 2**53 - 1])
VERBS: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(
        st.sampled_from(["consume", "consume", "check"]),
        st.fixed_dictionaries({"customer": CUSTOMERS, "feature": FEATURES, "amount": ASKED, "dimensions": DIMENSIONS}),
    ),
    st.tuples(
        st.just("report"),
        st.fixed_dictionaries(
            {
                "customer": CUSTOMERS,
                "feature": FEATURES,
                "value": st.one_of(ASKED, ASKED.map(lambda amount: -amount)),
                "dimensions": DIMENSIONS,
                "behavior": st.sampled_from(["DELTA", "DELTA", "SET"]),
            }
        ),
    ),
    st.tuples(
        st.sampled_from(["advance", "archive", "unarchive", "tree", "limit"]),
        st.fixed_dictionaries({"number": st.sampled_from([0, 1, 600_000, 3_600_000, 86_400_000, -5_000])}),
    ),
)


def answer_of(engine: Headgate, clock: ManualClock, verb: str, options: dict[str, Any]) -> Any:
    """What an engine says to one step of a story, or the error that it raises."""
    try:
        match verb:
            case "consume" | "report":
                return getattr(engine, verb)(**options)
            case "check":
                return engine.check(requested_usage=options.pop("amount"), **options)
            case "advance":
                return clock.advance(options["number"])
            case "archive" | "unarchive":
                return getattr(engine.governance, verb)("acme", ["org" if options["number"] else "team-a"])
            case "tree":
                return engine.governance.tree("acme", feature="tokens")
            case "limit":
                budget = {
                    "entity": "org",
                    "feature": "tokens",
                    "usage_limit": options["number"] % 1000,
                    "cadence": "P1D",
                }
                return engine.governance.put_assignments("acme", [budget])
            case _:
                raise AssertionError(verb)
    except HeadgateError as error:
        return type(error), str(error)


QUIET = headgate.testing.SETTINGS.model_copy(update={"listen": False})


@settings(max_examples=15)
@given(story=st.lists(VERBS, min_size=1, max_size=15))
def test_an_engine_says_the_same_on_a_fake_server_as_on_a_real_one(
    server: RedisServer, story: list[tuple[str, dict[str, Any]]]
) -> None:
    environment, clock = f"story-{next(ENVIRONMENT_NUMBERS)}", ManualClock(BEGIN_MS)
    with (
        Headgate.connect(server.url, environment=environment, clock=clock, settings=QUIET) as real,
        headgate.testing.engine(POLICY) as fake,
    ):
        assert real.apply(Policy.parse(POLICY))
        for verb, options in story:
            expected = answer_of(real, clock, verb, dict(options))
            assert answer_of(fake, fake.clock, verb, dict(options)) == expected


def test_an_engine_begins_at_the_instant_it_is_told_and_stands_there() -> None:
    with headgate.testing.engine() as engine:
        assert engine.clock.now_ms == BEGIN_MS
        with pytest.raises(EnvironmentNotReady):
            engine.check("acme", feature="tokens")
        engine.apply(Policy.parse(POLICY))
        assert engine.check("acme", feature="tokens").granted
    begin = datetime(2030, 2, 28, 23, 59, tzinfo=UTC)
    with headgate.testing.engine(Policy.parse(POLICY), now=begin) as engine:
        assert engine.check("acme", feature="tokens").decided_at_ms == begin.timestamp() * 1000
        assert engine.customers.get("acme").created_at_ms == begin.timestamp() * 1000


def test_a_beginning_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"now: .*time zone"), headgate.testing.engine(now=datetime(2030, 1, 1)):  # noqa: DTZ001
        pass


def test_each_engine_has_data_of_its_own() -> None:
    with headgate.testing.engine(POLICY) as one, headgate.testing.engine(POLICY) as other:
        one.consume("acme", feature="tokens", amount=400)
        assert not one.check("acme", feature="tokens", requested_usage=200).granted
        assert other.check("acme", feature="tokens", requested_usage=200).granted


def test_engines_on_one_server_share_its_data_as_processes_share_a_redis() -> None:
    with headgate.testing.engine(POLICY) as one:
        other = headgate.testing.FakeHeadgate(one.server, clock=one.clock)
        with other:
            updates = other.updates()
            one.consume("acme", feature="tokens", amount=400)
            assert not other.check("acme", feature="tokens", requested_usage=101).granted
            one.governance.archive("acme", ["team-b"])
            assert next(updates).customer == "acme"
        assert list(updates) == []


def test_an_environment_keeps_the_clock_that_it_was_first_written_with() -> None:
    with headgate.testing.engine(POLICY) as engine, headgate.testing.FakeHeadgate(engine.server) as by_the_machine:
        with pytest.raises(EnvironmentMismatch):
            by_the_machine.check("acme", feature="tokens")
        with pytest.raises(AttributeError, match="make it with a ManualClock"):
            _ = by_the_machine.clock


def test_without_a_manual_clock_the_machine_s_own_decides() -> None:
    server = headgate.testing.FakeServer()
    before_ms = wall_ms()
    with headgate.testing.FakeHeadgate(server, environment="wall") as engine:
        engine.apply(Policy.parse(POLICY))
        assert before_ms <= engine.consume("acme", feature="tokens").decided_at_ms <= wall_ms()
    server.close()


def test_threads_share_one_limit() -> None:
    with headgate.testing.engine(POLICY) as engine, ThreadPoolExecutor(8) as threads:
        team = {"teamId": "team-a"}
        asked = [threads.submit(engine.consume, "acme", feature="tokens", amount=3, dimensions=team) for _ in range(40)]
        assert sum(each.result().granted for each in asked) == 33


async def test_tasks_share_one_limit_and_hear_of_changes() -> None:
    async with headgate.testing.async_engine(POLICY) as engine:
        updates = engine.updates()
        team = {"teamId": "team-a"}
        asked = [engine.consume("acme", feature="tokens", amount=3, dimensions=team) for _ in range(40)]
        assert sum(decision.granted for decision in await asyncio.gather(*asked)) == 33
        engine.clock.advance(600_000)
        assert (await engine.consume("acme", feature="tokens", amount=3, dimensions=team)).granted
        await engine.governance.archive("acme", ["team-a"])
        assert (await anext(updates)).customer == "acme"
        assert (await engine.check("acme", feature="tokens", dimensions=team)).chains != ()


def test_a_sum_out_of_range_is_refused_before_anything_is_written() -> None:
    with headgate.testing.engine(POLICY) as engine:
        engine.report("acme", feature="tokens", value=2**53 - 1)
        before = engine.server.redis.keys(), engine.check("acme", feature="tokens", requested_usage=0).account
        with pytest.raises(OutOfRange):
            engine.report("acme", feature="tokens", value=1)
        assert (engine.server.redis.keys(), engine.check("acme", feature="tokens", requested_usage=0).account) == before


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("missing", ["fakeredis", "lupa"])
def test_without_the_extra_one_sentence_says_what_to_install(missing: str, tmp_path: Path) -> None:
    done = run_python(tmp_path, "-c", f"import sys; sys.modules[{missing!r}] = None; import headgate.testing")
    *_, last = done.stderr.splitlines()
    assert last == (
        f"ImportError: headgate.testing needs fakeredis and lupa, and {missing} is not there: "
        "pip install 'headgate[testing]'"
    )


def test_a_fakeredis_that_forgets_its_modules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.testing.fake_server.INSTALL", "return 1")
    with pytest.raises(ImportError, match=r"needs fakeredis 2\.34 or newer"):
        FakeServer()


def test_the_example_for_users_passes_where_users_run_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "test_your_code.py", tmp_path)
    done = run_python(tmp_path, "-m", "pytest", "-q", "-W", "error", "-p", "no:asyncio", "test_your_code.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
