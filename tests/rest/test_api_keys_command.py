"""`headgate api-keys`: what it makes works, what it revokes does not, and a secret is shown once."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from behaviour.targets import SERVERS, Servers
from headgate.cli import main
from headgate.client.sync_client import Headgate
from headgate.verbs.api_keys import verify

Terminal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(servers: Servers) -> str:
    server = servers.start(SERVERS[-1])
    server.client().flushall()
    return server.url


@pytest.fixture
def terminal(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Run one command; its exit code, and what it said on both."""
    monkeypatch.setenv("HEADGATE_URL", url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["api-keys", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def whose(url: str, text: str) -> str | None:
    """The id of the key that a text is of, for whoever guards the API."""
    with Headgate.connect(url) as engine:
        found = verify(engine.api_keys.list(), text, 0)
    return None if found is None else found.id


def test_a_key_is_shown_once_and_lets_its_owner_in(terminal: Terminal, url: str) -> None:
    code, out, err = terminal("create", "gateway", "--scope", "runtime")
    text = out.strip()
    id = whose(url, text)
    assert (code, len(out.splitlines())) == (0, 1)
    assert id is not None
    assert f"gateway: scope runtime, id {id}." in err
    code, listed, _ = terminal("list")
    assert code == 0
    assert "gateway" in listed
    assert "runtime" in listed
    assert id in listed
    assert text.rpartition("_")[2] not in listed + terminal("list", "--json")[1]


def test_what_scripts_read_is_one_document(terminal: Terminal, url: str) -> None:
    made = json.loads(terminal("create", "gateway", "--scope", "read", "--json")[1])
    assert whose(url, made["api_key"]) == made["id"]
    assert (made["name"], made["scope"], made["revoked_at_ms"]) == ("gateway", "read", None)
    (listed,) = json.loads(terminal("list", "--json")[1])["api_keys"]
    assert listed == {name: value for name, value in made.items() if name != "api_key"}
    assert not [name for name in listed if "digest" in name]


def test_a_rotated_key_has_a_new_secret_and_the_former_goes_on_for_its_grace(terminal: Terminal, url: str) -> None:
    made = json.loads(terminal("create", "gateway", "--scope", "full", "--json")[1])
    code, out, _ = terminal("rotate", made["id"], "--grace", "3600")
    assert code == 0
    assert whose(url, out.strip()) == whose(url, made["api_key"]) == made["id"]
    assert "the former secret until" in terminal("list")[1]
    terminal("rotate", made["id"])
    assert whose(url, out.strip()) is None


def test_a_revoked_key_lets_nobody_in_and_stays_listed(terminal: Terminal, url: str) -> None:
    made = json.loads(terminal("create", "gateway", "--scope", "full", "--json")[1])
    code, out, _ = terminal("revoke", made["id"])
    assert (code, out.split()[:2]) == (0, ["revoked", made["id"]])
    assert whose(url, made["api_key"]) is None
    assert "revoked 2" in terminal("list")[1]
    code, _, err = terminal("rotate", made["id"])
    assert (code, "was revoked" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "gateway"], "--scope"),
        (["create", "gateway", "--scope", "everything"], "everything"),
        (["create", "", "--scope", "full"], "name: '': must be"),
        (["rotate", "0123456789abcdef"], "was not found"),
        (["rotate", "0123456789abcdef", "--grace", "-1"], "--grace: '-1'"),
        (["rotate", "0123456789abcdef", "--grace", "soon"], "--grace: 'soon'"),
        (["revoke", "0123456789abcdef"], "was not found"),
        (["revoke", "no id"], "id: 'no id'"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(terminal: Terminal, arguments: list[str], said: str) -> None:
    code, out, err = terminal(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert json.loads(terminal("list", "--json")[1]) == {"api_keys": []}
