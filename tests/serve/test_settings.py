"""Settings of `headgate serve`: where they come from, what wins, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from typer.testing import CliRunner

from headgate.cli.app import make_app
from headgate.errors import InvalidInput
from headgate.rest.app import ROUTERS
from headgate.service.settings import OTHER_VARIABLES, SECRETS, ServeSettings, flag_of, read_settings, variable_of
from headgate.settings import Settings

ROOT = Path(__file__).parents[2]
KEY = "a-key-that-is-hard-to-guess"


def written(folder: Path, text: str) -> Path:
    file = folder / "headgate.toml"
    file.write_text(text)
    return file


def complaint(flags: dict[str, object], variables: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_settings(flags, variables, file)
    return str(caught.value)


def test_flags_win_over_variables_and_these_over_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'port = 1\nworkers = 1\nhost = "127.0.0.2"\nlisten = false\n')
    settings = read_settings({"port": "3", "workers": None}, {"HEADGATE_PORT": "2", "HEADGATE_WORKERS": "2"}, file)
    assert (settings.port, settings.workers, settings.host, settings.listen) == (3, 2, "127.0.0.2", False)
    assert settings.deadline_ms == 250


def test_the_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    file = written(tmp_path, 'api_key = "a-key-that-is-hard-to-guess"\n')
    settings = read_settings({}, {"HEADGATE_CONFIG": str(file)})
    assert settings.api_key == SecretStr(KEY)


def test_what_a_client_can_be_told_a_server_can_be_told_too() -> None:
    settings = read_settings(
        {"deadline_ms": "400"}, {"HEADGATE_KEY_RETENTION_HOURS": "24", "HEADGATE_EXACTLY_ONCE": "yes"}
    )
    assert settings.of_client() == Settings(
        deadline_ms=400, key_retention_hours=24, exactly_once=True, cache_max_bytes=64 << 20
    )


def test_a_variable_that_is_nearly_a_setting_is_an_error_that_names_it_and_hides_its_value() -> None:
    text = complaint({}, {"HEADGATE_API_KEYS": KEY, "HEADGATE_PROT": "80", "PATH": "/bin"})
    assert "HEADGATE_API_KEYS: '***': is no setting; the nearest is HEADGATE_API_KEY" in text
    assert "HEADGATE_PROT: '***': is no setting; the nearest is HEADGATE_PORT" in text
    assert KEY not in text


def test_a_field_that_is_nearly_a_setting_is_an_error_too(tmp_path: Path) -> None:
    file = written(tmp_path, "deadline = 5\nport = 1\n[workers]\nmany = 2\n")
    text = complaint({}, {}, file)
    assert f"{file}: deadline: '***': is no setting; the nearest is deadline_ms" in text
    assert f"{file}: workers: " in text


@pytest.mark.parametrize(
    ("flags", "variables", "said"),
    [
        ({"port": "0"}, {}, "--port: '0': Input should be greater than or equal to 1"),
        ({"port": "many"}, {}, "--port: 'many': Input should be a valid integer"),
        ({}, {"HEADGATE_WORKERS": "1.5"}, "HEADGATE_WORKERS: '1.5': Input should be a valid integer"),
        ({}, {"HEADGATE_HOST": "example.com"}, "HEADGATE_HOST: 'example.com': must be an IP address"),
        ({"environment": "no id"}, {}, "--environment: 'no id': an id has 1 to 255"),
        ({"log_level": "loud"}, {}, "--log-level: 'loud': Input should be 'debug', 'info', 'warning' or 'error'"),
        ({"grpc": "50051"}, {}, "--grpc: '50051': must be an IP address or localhost with a port from 1 to 65535"),
        ({"grpc": "127.0.0.1:0"}, {}, "--grpc: '127.0.0.1:0': must be an IP address"),
        ({"grpc": "[127.0.0.1]:80"}, {}, "--grpc: '[127.0.0.1]:80': must be an IP address"),
        ({}, {"HEADGATE_GRPC": "::1:50051"}, "HEADGATE_GRPC: '::1:50051': must be an IP address"),
        ({}, {"HEADGATE_GRPC": "example.com:80"}, "HEADGATE_GRPC: 'example.com:80': must be an IP address"),
        ({"grpc_tls_key": "key.pem"}, {}, "--grpc-tls-key: 'key.pem': grpc_tls_certificate and grpc_tls_key are given"),
        ({"grpc_tls_certificate": "a.pem"}, {}, "grpc_tls_key: None: grpc_tls_certificate and grpc_tls_key are given"),
        ({"entitlements_fallback": "{"}, {}, "--entitlements-fallback: '{': must be a JSON object of objects"),
        ({"entitlements_fallback": '{"sso": true}'}, {}, "must be a JSON object of objects by feature"),
        (
            {"entitlements_fallback": '{"a": {}, "b": {}, "a": {}}'},
            {},
            'by feature, such as {"sso": {"hasAccess": true}}; \'a\'',
        ),
        (
            {},
            {"ENTITLEMENTS_FALLBACK": '{"a": {"hasAccess": true, "hasAccess": false}}'},
            "; 'hasAccess' is there twice",
        ),
        ({"without_data": "grant"}, {}, "--without-data: 'grant': Input should be 'fallback' or 'error'"),
        (
            {},
            {"HEADGATE_GRPC_READ_ONLY": "perhaps"},
            "HEADGATE_GRPC_READ_ONLY: 'perhaps': Input should be a valid bool",
        ),
        ({}, {"HEADGATE_API_KEY": "short"}, "HEADGATE_API_KEY: '***': must have 16 printable ASCII characters or more"),
        ({}, {"HEADGATE_API_KEY": "with a line\nbreak in it"}, "HEADGATE_API_KEY: '***': must have 16"),
    ],
)
def test_a_value_that_breaks_its_rule_is_named_with_where_it_stands(
    flags: dict[str, object], variables: dict[str, str], said: str
) -> None:
    assert said in complaint(flags, variables)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = complaint({"port": "0"}, {"HEADGATE_WORKERS": "x", "HEADGATE_WORKER": "1"})
    assert len(text.split("; H")) + len(text.split("; -")) == 4


@pytest.mark.parametrize(("text", "said"), [("port = ", "is not TOML"), (None, "cannot be read: No such file")])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "none.toml" if text is None else written(tmp_path, text)
    assert said in complaint({}, {}, file)


def test_an_empty_variable_is_as_good_as_none() -> None:
    settings = read_settings({}, {"HEADGATE_API_KEY": "", "HEADGATE_PORT": ""})
    assert (settings.api_key, settings.port) == (None, 8080)


def test_the_key_is_shown_nowhere() -> None:
    settings = read_settings({}, {"HEADGATE_API_KEY": KEY})
    assert KEY not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize(
    ("host", "shown", "is_private"),
    [
        ("localhost", "127.0.0.1", True),
        ("127.0.0.5", "127.0.0.5", True),
        ("::1", "::1", True),
        ("0.0.0.0", "0.0.0.0", False),
        ("::", "::", False),
        ("10.1.2.3", "10.1.2.3", False),
    ],
)
def test_only_loopback_is_private(host: str, shown: str, is_private: bool) -> None:
    settings = read_settings({"host": host}, {})
    assert (settings.host, settings.is_private) == (shown, is_private)


@pytest.mark.parametrize(
    ("given", "shown", "address", "is_private"),
    [
        (None, "127.0.0.1:50051", ("127.0.0.1", 50051), True),
        ("localhost:1", "127.0.0.1:1", ("127.0.0.1", 1), True),
        ("0.0.0.0:80", "0.0.0.0:80", ("0.0.0.0", 80), False),
        ("[::1]:65535", "[::1]:65535", ("::1", 65535), True),
        ("[0:0::0]:80", "[::]:80", ("::", 80), False),
        ("off", "off", None, True),
    ],
)
def test_the_grpc_api_has_an_address_or_is_off(
    given: str | None, shown: str, address: tuple[str, int] | None, is_private: bool
) -> None:
    settings = read_settings({"grpc": given}, {})
    assert (settings.grpc, settings.grpc_address, settings.grpc_is_private) == (shown, address, is_private)


def test_a_fallback_is_json_text_or_a_table_of_the_file(tmp_path: Path) -> None:
    text = '{"sso": {"hasAccess": true}}'
    assert read_settings({}, {"HEADGATE_ENTITLEMENTS_FALLBACK": text}).entitlements_fallback == text
    file = written(tmp_path, "[entitlements_fallback.sso]\nhasAccess = true\n")
    assert read_settings({}, {}, file).entitlements_fallback == {"sso": {"hasAccess": True}}


@pytest.mark.parametrize(
    ("given", "value"),
    [("yes", "yes"), ("TRUE", "yes"), ("1", "yes"), ("no", None), ("0", None), ("entitlements.json",) * 2],
)
def test_offline_is_a_path_or_yes(given: str, value: str | None) -> None:
    assert read_settings({"offline": given}, {}).offline == value


def test_offline_may_be_a_switch_of_the_file_that_a_variable_turns_off(tmp_path: Path) -> None:
    file = written(tmp_path, "offline = true\n")
    assert read_settings({}, {}, file).offline == "yes"
    assert read_settings({}, {"HEADGATE_OFFLINE": "no"}, file).offline is None


def test_a_certificate_comes_with_its_key() -> None:
    settings = read_settings({"grpc_tls_certificate": "a.pem"}, {"HEADGATE_GRPC_TLS_KEY": "b.pem"})
    assert (settings.grpc_tls_certificate, settings.grpc_tls_key) == (Path("a.pem"), Path("b.pem"))


def test_help_lists_every_setting_with_its_default_and_its_variable() -> None:
    shown = CliRunner().invoke(make_app(), ["serve", "--help"], env={"COLUMNS": "200"}).output
    text = re.sub(r"\s+", " ", shown)
    for name, field in ServeSettings.model_fields.items():
        assert variable_of(name) in text
        if name not in SECRETS:
            assert flag_of(name) in text
            default = "yes" if field.default is True else "no" if field.default is False else field.default
            assert f"default: {default}; variable: {variable_of(name)}]" in text or name in ("url", "partitions")


def test_no_flag_takes_a_secret() -> None:
    result = CliRunner().invoke(make_app(), ["serve", "--api-key", KEY])
    assert result.exit_code == 2
    assert "No such option" in result.output


def test_the_page_lists_every_setting_with_its_variable() -> None:
    page = (ROOT / "docs" / "rest.md").read_text()
    for name in ServeSettings.model_fields:
        assert f"`{variable_of(name)}`" in page


def test_the_page_lists_every_route_that_is_served_and_every_one_that_is_not() -> None:
    page = (ROOT / "docs" / "rest.md").read_text()
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            (method,) = route.methods
            assert f"| `{method} {route.path}` |" in page


def variables_named(folders: Iterable[str]) -> set[str]:
    """Every variable of ours that the project's code and tests name."""
    found = set()
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            if file.name != Path(__file__).name:
                found |= set(re.findall(r"\bHEADGATE_[A-Z_]*[A-Z]\b", file.read_text()))
    return found


def test_variables_that_mean_something_elsewhere_are_no_errors_and_there_is_none_too_many() -> None:
    known = {variable_of(name) for name in ServeSettings.model_fields}
    assert variables_named(["engine", "tests", "loadtests"]) - known == OTHER_VARIABLES
    read_settings({}, dict.fromkeys(OTHER_VARIABLES - {"HEADGATE_CONFIG"}, "1"))
