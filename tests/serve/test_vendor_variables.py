"""The variables of the vendor's sidecar: what each does, what wins over it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from headgate.client.urls import Kind, read_url
from headgate.errors import InvalidInput
from headgate.service.settings import read_settings
from headgate.service.vendor import IGNORED_VARIABLES, VENDOR_VARIABLES, ignored_variables, read_vendor_variables

ROOT = Path(__file__).parents[2]
KEY = "server-a-key-that-is-hard-to-guess"
FALLBACK = '{"sso": {"hasAccess": true}}'

# Variables, and what they make of one setting.
EFFECTS: list[tuple[dict[str, str], str, Any]] = [
    ({"REDIS_HOST": "redis.internal"}, "url", "redis://redis.internal:6379/0"),
    ({"REDIS_HOST": "10.0.0.1"}, "url", "redis://10.0.0.1:6379/0"),
    ({"REDIS_HOST": "::1"}, "url", "redis://[::1]:6379/0"),
    ({"REDIS_HOST": "[fd00::2]"}, "url", "redis://[fd00::2]:6379/0"),
    ({"REDIS_PORT": "6380"}, "url", "redis://localhost:6380/0"),
    ({"REDIS_DB": "3"}, "url", "redis://localhost:6379/3"),
    ({"REDIS_USERNAME": "sidecar"}, "url", "redis://sidecar@localhost:6379/0"),
    ({"REDIS_PASSWORD": "p@ss/w:rd %?#"}, "url", "redis://:p%40ss%2Fw%3Ard%20%25%3F%23@localhost:6379/0"),
    ({"REDIS_USERNAME": "a:b", "REDIS_PASSWORD": "ü"}, "url", "redis://a%3Ab:%C3%BC@localhost:6379/0"),
    ({"REDIS_TLS": "1"}, "url", "rediss://localhost:6379/0"),
    ({"REDIS_TLS": "True"}, "url", "rediss://localhost:6379/0"),
    ({"REDIS_TLS": "0"}, "url", "redis://localhost:6379/0"),
    ({"REDIS_TLS": "false"}, "url", "redis://localhost:6379/0"),
    ({"REDIS_ENVIRONMENT_PREFIX": "production"}, "url", "redis://localhost:6379/0"),
    ({"REDIS_ENVIRONMENT_PREFIX": "production"}, "environment", "production"),
    ({"REDIS_HOST": "redis"}, "environment", "default"),
    ({"ENTITLEMENTS_FALLBACK": FALLBACK}, "entitlements_fallback", FALLBACK),
    ({"CACHE_MAX_SIZE_BYTES": "1048576"}, "cache_max_bytes", 1_048_576),
    ({"OFFLINE": "true"}, "offline", "yes"),
    ({"OFFLINE": "1"}, "offline", "yes"),
    ({"OFFLINE": "false"}, "offline", None),
    ({"OFFLINE": "entitlements.json"}, "offline", "entitlements.json"),
    ({"PORT": "8090"}, "grpc", "127.0.0.1:8090"),
    ({"LOG_LEVEL": "info"}, "log_level", "info"),
    ({"LOG_LEVEL": "DEBUG"}, "log_level", "debug"),
    ({"LOG_LEVEL": "Warn"}, "log_level", "warning"),
    ({"LOG_LEVEL": "warning"}, "log_level", "warning"),
    ({"LOG_LEVEL": "trace"}, "log_level", "debug"),
    ({"LOG_LEVEL": "verbose"}, "log_level", "debug"),
    ({"LOG_LEVEL": "error"}, "log_level", "error"),
    ({"LOG_LEVEL": "fatal"}, "log_level", "error"),
    ({"LOG_LEVEL": "critical"}, "log_level", "error"),
    ({"LOG_LEVEL": "silent"}, "log_level", "error"),
    ({"SERVER_API_KEY": KEY}, "api_key", SecretStr(KEY)),
]

# A setting: the vendor's variable, and what a field of the file, the vendor, a variable of ours and a flag make of it.
PRECEDENCE = {
    "url": ("REDIS_HOST", 'url = "redis://file"', "vendor", "redis://vendor:6379/0", "redis://ours", "redis://flag"),
    "environment": ("REDIS_ENVIRONMENT_PREFIX", 'environment = "file"', "vendor", "vendor", "ours", "flag"),
    "entitlements_fallback": ("ENTITLEMENTS_FALLBACK", "entitlements_fallback = {}", FALLBACK, FALLBACK, "{}", "{ }"),
    "cache_max_bytes": ("CACHE_MAX_SIZE_BYTES", "cache_max_bytes = 1", "2", 2, 3, 4),
    "offline": ("OFFLINE", "offline = true", "false", None, "ours.json", "flag.json"),
    "grpc": ("PORT", 'grpc = "0.0.0.0:80"', "2", "0.0.0.0:2", "127.0.0.1:3", "127.0.0.1:4"),
    "log_level": ("LOG_LEVEL", 'log_level = "info"', "warn", "warning", "error", "debug"),
}

# Variables, and what is said of them.
WRONG = [
    ({"REDIS_HOST": "redis:6379"}, "REDIS_HOST: 'redis:6379': must be a host name or an IP address, without a port"),
    ({"REDIS_HOST": "redis://redis"}, "REDIS_HOST: 'redis://redis': must be a host name"),
    ({"REDIS_PORT": "0"}, "REDIS_PORT: '0': must be a port from 1 to 65535"),
    ({"REDIS_PORT": "65536"}, "REDIS_PORT: '65536': must be a port from 1 to 65535"),
    ({"REDIS_PORT": "٣"}, "REDIS_PORT: '٣': must be a port from 1 to 65535"),
    ({"REDIS_PORT": "tcp://10.0.0.1:6379"}, "Kubernetes sets it to an address for a Service named redis"),
    ({"REDIS_DB": "-1"}, "REDIS_DB: '-1': must be the number of a database"),
    ({"REDIS_TLS": "yes"}, "REDIS_TLS: 'yes': must be 1, true, 0 or false"),
    ({"REDIS_ENVIRONMENT_PREFIX": "no id"}, "REDIS_ENVIRONMENT_PREFIX: 'no id': an id has 1 to 255"),
    ({"ENTITLEMENTS_FALLBACK": "[]"}, "ENTITLEMENTS_FALLBACK: '[]': must be a JSON object"),
    ({"CACHE_MAX_SIZE_BYTES": "64MB"}, "CACHE_MAX_SIZE_BYTES: '64MB': Input should be a valid integer"),
    ({"CACHE_MAX_SIZE_BYTES": "-1"}, "CACHE_MAX_SIZE_BYTES: '-1': Input should be greater than or equal to 0"),
    ({"PORT": "http"}, "PORT: 'http': must be a port from 1 to 65535"),
    ({"LOG_LEVEL": "loud"}, "LOG_LEVEL: 'loud': must be one of trace, verbose, debug"),
    ({"SERVER_API_KEY": "short-secret"}, "SERVER_API_KEY: '***': must have 16 printable ASCII characters or more"),
]


def complaint(variables: dict[str, str]) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_settings({}, variables)
    return str(caught.value)


@pytest.mark.parametrize(("variables", "setting", "value"), EFFECTS)
def test_a_variable_is_a_setting(variables: dict[str, str], setting: str, value: object) -> None:
    assert getattr(read_settings({}, variables), setting) == value


def test_the_tables_have_every_variable() -> None:
    assert {name for variables, _, _ in EFFECTS for name in variables} == set(VENDOR_VARIABLES)
    assert {*PRECEDENCE, "api_key"} == set(VENDOR_VARIABLES.values())


@pytest.mark.parametrize("setting", PRECEDENCE)
def test_a_variable_wins_over_the_file_and_gives_way_to_ours_and_to_flags(tmp_path: Path, setting: str) -> None:
    name, line, given, made, ours, flag = PRECEDENCE[setting]
    file = tmp_path / "headgate.toml"
    file.write_text(line + "\n")
    own = {f"HEADGATE_{setting.upper()}": str(ours)}
    assert getattr(read_settings({}, {name: given}, file), setting) == made
    assert getattr(read_settings({}, {name: given, **own}, file), setting) == ours
    assert getattr(read_settings({setting: str(flag)}, {name: given, **own}, file), setting) == flag


def test_the_key_wins_over_the_file_and_gives_way_to_ours(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text('api_key = "the-key-of-the-file"\n')
    own = {"HEADGATE_API_KEY": "a-key-of-our-own-variable"}
    assert read_settings({}, {"SERVER_API_KEY": KEY}, file).api_key == SecretStr(KEY)
    assert read_settings({}, {"SERVER_API_KEY": KEY, **own}, file).api_key == SecretStr("a-key-of-our-own-variable")


@pytest.mark.parametrize(("variables", "said"), WRONG)
def test_a_wrong_value_is_named_by_the_variable_that_holds_it(variables: dict[str, str], said: str) -> None:
    assert said in complaint(variables)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = complaint({"REDIS_PORT": "x", "REDIS_DB": "y", "PORT": "z", "LOG_LEVEL": "loud", "HEADGATE_PORT": "w"})
    for name in ("REDIS_PORT: 'x'", "REDIS_DB: 'y'", "PORT: 'z'", "LOG_LEVEL: 'loud'", "HEADGATE_PORT: 'w'"):
        assert name in text


def test_a_wrong_value_that_gives_way_is_not_looked_at() -> None:
    wrong = {"REDIS_PORT": "tcp://10.0.0.1:6379", "PORT": "http", "LOG_LEVEL": "loud", "SERVER_API_KEY": "short"}
    ours = {"HEADGATE_URL": "redis://ours", "HEADGATE_LOG_LEVEL": "error", "HEADGATE_API_KEY": KEY}
    settings = read_settings({"grpc": "off"}, {**wrong, **ours})
    assert (settings.url, settings.grpc, settings.log_level) == ("redis://ours", "off", "error")


def test_the_environment_counts_also_where_another_url_wins() -> None:
    settings = read_settings({}, {"REDIS_ENVIRONMENT_PREFIX": "production", "HEADGATE_URL": "redis://ours"})
    assert (settings.url, settings.environment) == ("redis://ours", "production")


@pytest.mark.parametrize(
    "variables", [{"SERVER_API_KEY": "short-secret"}, {"REDIS_PASSWORD": "short-secret", "REDIS_PORT": "x"}]
)
def test_a_secret_is_in_no_complaint(variables: dict[str, str]) -> None:
    assert "short-secret" not in complaint(variables)
    assert "hidden-there" not in complaint({**variables, "REDIS_HOST": "redis://:hidden-there@redis"})


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read_settings({}, dict.fromkeys([*VENDOR_VARIABLES, *IGNORED_VARIABLES], "")) == read_settings({}, {})


@pytest.mark.parametrize(
    ("of_file", "made"),
    [
        ('"[::]:80"', "[::]:8090"),
        ('"localhost:80"', "127.0.0.1:8090"),
        ('"off"', "off"),
    ],
)
def test_the_port_is_of_the_host_that_the_file_says(tmp_path: Path, of_file: str, made: str) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(f"grpc = {of_file}\n")
    assert read_settings({}, {"PORT": "8090"}, file).grpc == made


def test_a_wrong_address_of_the_file_is_told_as_such(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text('grpc = "here"\n')
    with pytest.raises(InvalidInput, match=r"headgate\.toml: grpc: 'here': must be an IP address"):
        read_settings({}, {"PORT": "8090"}, file)


@pytest.mark.parametrize("variables", [each for each, setting, _ in EFFECTS if setting == "url"])
def test_a_client_takes_every_url_that_is_made(variables: dict[str, str]) -> None:
    target = read_url(read_vendor_variables(variables).values["url"])
    assert target.kind is Kind.SERVER


def test_variables_without_effect_are_taken_and_named() -> None:
    variables = {**dict.fromkeys(IGNORED_VARIABLES, "1"), "PATH": "/bin"}
    assert read_settings({}, variables) == read_settings({}, {})
    assert ignored_variables(variables) == sorted(IGNORED_VARIABLES)
    assert ignored_variables({"WS_RECONNECT_MS": "5", "EDGE_TIMEOUT": "9", "EDGE": "x"}) == [
        "EDGE_TIMEOUT",
        "WS_RECONNECT_MS",
    ]
    assert ignored_variables({"WS_URL": "", "API_URL": "https://api.example", "REDIS_HOST": "redis"}) == ["API_URL"]


def test_the_page_has_every_variable() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    for name in {*VENDOR_VARIABLES, *IGNORED_VARIABLES}:
        assert f"`{name}`" in page
