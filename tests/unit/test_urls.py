"""URLs: what each form means, and what is refused by name before anything is sent, its password hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headgate import AsyncHeadgate, Headgate
from headgate.client.urls import URL_VARIABLE, Kind, Target, hide_password, read_url
from headgate.errors import InvalidInput

SECRET = "s3cr3t"
ACCOUNT = f"app:{SECRET}@"

UNDERSTOOD = {
    "redis://localhost:6379/0": Target(Kind.SERVER, "redis://localhost:6379/0"),
    "redis://localhost": Target(Kind.SERVER, "redis://localhost"),
    "redis://[::1]:6379/3": Target(Kind.SERVER, "redis://[::1]:6379/3"),
    f"rediss://{ACCOUNT}cache:6380/1": Target(Kind.SERVER, f"rediss://{ACCOUNT}cache:6380/1"),
    "redis://localhost?db=2&socket_timeout=1.5": Target(Kind.SERVER, "redis://localhost?db=2&socket_timeout=1.5"),
    "unix:///run/redis.sock?db=1": Target(Kind.SERVER, "unix:///run/redis.sock?db=1"),
    "redis+cluster://localhost:7000": Target(Kind.CLUSTER, "redis://localhost:7000"),
    f"rediss+cluster://{ACCOUNT}cache:7000": Target(Kind.CLUSTER, f"rediss://{ACCOUNT}cache:7000"),
    "embedded://": Target(Kind.PRIVATE),
    "embedded:///": Target(Kind.PRIVATE),
    "embedded:///var/lib/my%20app": Target(Kind.SHARED, directory=Path("/var/lib/my app")),
}

# What is wrong, and a word of the rule that says so.
REFUSED = {
    f"redis://{ACCOUNT}localhost:6379/0?foo=bar": "foo",
    f"rediss://{ACCOUNT}localhost:6379/0?foo=bar": "foo",
    f"redis+cluster://{ACCOUNT}localhost:7000?foo=bar": "foo",
    f"unix://{ACCOUNT}localhost/run/redis.sock?foo=bar": "foo",
    f"redis://{ACCOUNT}localhost:6379/0?socket_timeout=soon": "socket_timeout",
    f"redis://{ACCOUNT}localhost:6379/0?max_connections=5": "max_connections",
    f"redis://{ACCOUNT}localhost:abc/0": "port",
    f"redis+cluster://{ACCOUNT}localhost:abc": "port",
    f"redis://{ACCOUNT}localhost:65536/0": "65535",
    f"redis://{ACCOUNT}localhost:6379/main": "database",
    f"redis://{ACCOUNT}localhost:6379/-1": "database",
    f"redis://{ACCOUNT}localhost:6379/0/1": "database",
    f"redis+cluster://{ACCOUNT}localhost:7000/main": "database",
    f"redis://{ACCOUNT}localhost:6379?db=main": "db",
    f"http://{ACCOUNT}localhost:6379/0": "begins with",
    f"{ACCOUNT}localhost:6379": "begins with",
    "localhost:6379": "begins with",
    "embedded://relative": "third slash",
    "redis://[::1/0": "ipv6",
}

# Passwords where they do not belong, or not in that spelling: hidden all the same.
SPILLED = {
    f"redis://app:a/{SECRET}@localhost:6379/0": "redis://app:***@localhost:6379/0",
    f"redis://app:{SECRET}/a@localhost:6379/0": "redis://app:***@localhost:6379/0",
    f"redis://:{SECRET}#a@localhost:6379/0": "redis://:***@localhost:6379/0",
    f"redis://localhost:6379/0?foo=bar&password={SECRET}": "redis://localhost:6379/0?foo=bar&password=***",
    f"redis://localhost:6379/main?password={SECRET}&db=1": "redis://localhost:6379/main?password=***&db=1",
    f"redis://{ACCOUNT}[::1/0": "redis://app:***@[::1/0",
    f"embedded://{ACCOUNT}relative": "embedded://app:***@relative",
    f"{ACCOUNT}localhost:6379": "app:***@localhost:6379",
}


@pytest.mark.parametrize("url", UNDERSTOOD)
def test_every_form_of_a_url_is_understood(url: str) -> None:
    assert read_url(url) == UNDERSTOOD[url]


@pytest.mark.parametrize("connect", [read_url, Headgate.connect, AsyncHeadgate.connect])
@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_be_used_is_refused_by_name_and_rule(url: str, connect: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        connect(url)
    (problem,) = caught.value.problems
    assert problem.field == "url"
    assert REFUSED[url] in problem.rule.lower()


@pytest.mark.parametrize("url", [url for url in REFUSED if url.partition("://")[2].startswith(ACCOUNT)])
def test_the_password_of_a_url_that_is_refused_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_url(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.problems)
    assert caught.value.problems[0].value == url.replace(SECRET, "***")


@pytest.mark.parametrize("url", SPILLED)
def test_a_password_that_is_not_where_it_belongs_is_not_shown_either(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_url(url)
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("url", SPILLED[url])
    assert SECRET not in str(caught.value)


def test_a_url_of_the_environment_is_refused_as_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, f"redis://{ACCOUNT}localhost:abc/0")
    with pytest.raises(InvalidInput, match=r"url: 'redis://app:\*\*\*@localhost:abc/0'"):
        Headgate.connect()
    monkeypatch.delenv(URL_VARIABLE)
    with pytest.raises(InvalidInput, match=URL_VARIABLE):
        Headgate.connect()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://{ACCOUNT}localhost:6379/0?db=1", "redis://app:***@localhost:6379/0?db=1"),
        (f"redis://:{SECRET}@localhost", "redis://:***@localhost"),
        (f"redis://{ACCOUNT}[::1]:6379", "redis://app:***@[::1]:6379"),
        (f"redis://{ACCOUNT}localhost:abc", "redis://app:***@localhost:abc"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown
