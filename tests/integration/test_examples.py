"""What the pages show works: the examples run, the README shows them, and its commands and code blocks are tried."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate import Headgate, HeadgateError, Settings, Unavailable
from headgate.cli.app import run as run_headgate
from servers import RedisServer, available_binaries, start_one_node_cluster, wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A file of tests is no script; tests/integration/test_testing.py runs it.
SCRIPTS = sorted(file.name for file in (ROOT / "examples").glob("*.py") if not file.name.startswith("test_"))
PAGES = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md"))

QUICKSTART_PRINTS = (
    r"Granted: acme asked for 1,250 of tokens; nearest limit: "
    r"team-eng has used 1,250 of 2,000 until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.",
    r"Refused \(BudgetExceeded\): acme asked for 1,250 of tokens, but "
    r"team-eng has used 1,250 of 2,000 until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.",
)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language; "" for those that name none."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in fences if name == language]


def headgate_commands(page: str) -> list[str]:
    """The lines of shell blocks that begin with `headgate`."""
    lines = [line for language in ("", "sh") for block in blocks(page, language) for line in block.splitlines()]
    return [line for line in lines if line.startswith("headgate ")]


def pages_with(language: str) -> list[str]:
    return [page for page in PAGES if blocks((ROOT / page).read_text(encoding="utf-8"), language)]


def commands_of_all_pages() -> list[str]:
    texts = [README, *((ROOT / page).read_text(encoding="utf-8") for page in PAGES)]
    return sorted({command for text in texts for command in headgate_commands(text)})


def parses(command: str) -> bool:
    """Whether the command exists with these options; with --help it says so without running."""
    words = shlex.split(command, comments=True)[1:]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return run_headgate([*words, "--help"]) == 0


def run_script(name: str) -> str:
    """Run an example as a reader would: a Python of its own, and nothing set that would help it."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("HEADGATE_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name)],
        env=variables | {"PYTHONPATH": str(ROOT / "engine")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_shows_the_quickstart_exactly_as_it_is() -> None:
    assert blocks(README, "python") == [(ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")]


def test_the_quickstart_prints_what_the_readme_says() -> None:
    printed = run_script("quickstart.py").splitlines()
    shown = next(block for block in blocks(README, "") if block.startswith("Granted: ")).splitlines()
    for lines in (printed, shown):
        assert [bool(re.fullmatch(*pair)) for pair in zip(QUICKSTART_PRINTS, lines, strict=True)] == [True, True], lines


def test_every_example_runs() -> None:
    for name in SCRIPTS:
        assert run_script(name), f"{name} shows nothing"


@pytest.mark.parametrize("command", commands_of_all_pages())
def test_every_headgate_command_of_the_pages_exists_with_its_options(command: str) -> None:
    assert parses(command)


@pytest.mark.parametrize("command", ["headgate guess", "headgate tree cus-acme --no-such-option", "headgate --bogus"])
def test_a_command_that_does_not_exist_would_be_found(command: str) -> None:
    assert not parses(command)


def test_the_commands_of_the_readme_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = headgate_commands(README)
    assert [command.split()[1] for command in commands] == ["apply", "consume", "check", "tree"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HEADGATE_URL", f"embedded://{tmp_path}")
    monkeypatch.setenv("COLUMNS", "200")
    for command in commands:
        assert run_headgate(shlex.split(command)[1:]) == 0, command
    printed = capfd.readouterr().out
    assert "Granted: cus-acme asked for 1,250 of feature-ai-tokens" in printed
    assert "1,250 of 1,300,000, PT10M" in printed


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_code_of_a_page_does_what_the_page_says(page: str) -> None:
    code = "\n".join(blocks((ROOT / page).read_text(encoding="utf-8"), "python"))
    exec(compile(code, page, "exec"), {"__name__": "page"})


def test_the_pages_show_code() -> None:
    assert {"docs/concepts/decisions.md", "docs/concepts/periods.md", "docs/operations.md"} <= set(pages_with("python"))


OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PATIENT = Settings(partitions=16, deadline_ms=5_000)
TOKENS = {"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"}
TEAM = {"teamId": "team-eng"}


def acl_rules(user: str) -> list[str]:
    """The rules of a user as docs/operations.md writes them, joined where a line ends in a backslash."""
    text = "\n".join(blocks(OPERATIONS, "")).replace("\\\n", " ")
    (line,) = re.findall(rf"^ACL SETUSER {user} (.*)$", text, flags=re.MULTILINE)
    return shlex.split(line)


def url_of(server: RedisServer, user: str) -> str:
    return server.url.replace("://", f"://{user}:secret@")


@pytest.fixture(params=[f"{kind} on {name}" for name in sorted(available_binaries()) for kind in ("server", "cluster")])
def guarded_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    kind, _, name = request.param.partition(" on ")
    binary = available_binaries()[name]
    with RedisServer(binary) if kind == "server" else start_one_node_cluster(binary) as server:
        for user in ("headgate", "headgate-runtime"):
            server.client().execute_command("ACL", "SETUSER", user, *acl_rules(user))
        yield server


def test_the_acl_users_of_the_docs_can_do_their_work_and_nothing_else(guarded_server: RedisServer) -> None:
    server = guarded_server
    with Headgate.connect(url_of(server, "headgate"), environment="prod", settings=PATIENT) as engine:
        engine.catalog.put_features([TOKENS])
        engine.catalog.put_entity_types([{"id": "team", "attribution_keys": ["teamId"]}])
        engine.customers.put("acme")
        engine.customers.grant_entitlement("acme", {"feature": "tokens", "usage_limit": 100})
        engine.governance.put_entities("acme", [{"id": "team-eng", "type": "team"}])
        budget = {"entity": "team-eng", "feature": "tokens", "usage_limit": 50, "cadence": "P1D"}
        engine.governance.put_assignments("acme", [budget])
        engine.governance.archive("acme", ["team-eng"])
        engine.governance.unarchive("acme", ["team-eng"])
        require_hears_of_changes(engine)
    with Headgate.connect(url_of(server, "headgate-runtime"), environment="prod", settings=PATIENT) as engine:
        assert engine.check("acme", feature="tokens", dimensions=TEAM)
        assert engine.consume("acme", feature="tokens", amount=10, dimensions=TEAM)
        assert engine.report("acme", feature="tokens", value=10, dimensions=TEAM).account.state.used == 20
        assert engine.governance.tree("acme", feature="tokens").account.used == 20
        require_hears_of_changes(engine)
        with pytest.raises(Unavailable):
            engine.customers.put("other")
    engine = Headgate.connect(url_of(server, "headgate"), environment="prod-2", settings=PATIENT)
    with engine, pytest.raises(HeadgateError, match="permission"):
        engine.catalog.put_features([TOKENS])
    assert server.client().keys("hg:*prod-2*") == []


def require_hears_of_changes(engine: Headgate) -> None:
    """The listener got the right to subscribe: it stays subscribed, to changes and to usage."""
    listener = engine._listener
    assert listener is not None
    wait_until(listener.subscribed.is_set, within_s=10, what="the listener is subscribed")
    engine.updates()
    wait_until(listener.usage_subscribed.is_set, within_s=10, what="the listener is subscribed to usage")
