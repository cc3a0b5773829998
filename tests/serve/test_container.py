"""The files of the container: what can be told of them without an engine that runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headgate.service.settings import OTHER_VARIABLES, ServeSettings, read_settings, variable_of
from headgate.service.vendor import IGNORED_VARIABLES, VENDOR_VARIABLES

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
DOCKERFILE = ROOT / "Dockerfile"
CONFIG = ROOT / "docker" / "headgate.toml"
NEEDED = {"HEADGATE_API_KEY": "a-key-that-is-hard-to-guess"}

KNOWN = {variable_of(name) for name in ServeSettings.model_fields} | set(VENDOR_VARIABLES) | IGNORED_VARIABLES
EXACT_TAG = re.compile(r"[a-z0-9./-]+:[0-9]+\.[0-9]+\.[0-9]+[a-z0-9.-]*")
REFERENCE = re.compile(r"\$\{([A-Z_]+)(?:(:[-?])([^}]*))?\}")


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a compose file against the schema of the compose specification."""
    command = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(COMPOSE)
    return loaded


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each on one line, without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def example() -> dict[str, str]:
    """The variables of .env.example, with their values."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def filled_in(environment: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """What the container is told, as compose fills in `${NAME:-default}` and `${NAME:?message}`."""

    def value(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        if given.get(name):
            return given[name]
        assert operator == ":-", f"{name} is needed: {default}"
        return str(default)

    return {name: REFERENCE.sub(value, text) for name, text in environment.items()}


def test_the_compose_file_fits_the_schema_of_the_compose_specification() -> None:
    done = validated(COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_compose_file_does_not(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:"))
    done = validated(broken)
    assert done.returncode == 1
    assert "healthchek" in done.stdout


def test_images_are_named_by_exact_tags() -> None:
    names = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    names += [service["image"] for service in compose()["services"].values() if "image" in service]
    assert len(names) == 3
    assert [name for name in names if not EXACT_TAG.fullmatch(name)] == []


def test_every_variable_that_is_named_is_a_setting() -> None:
    sidecar = compose()["services"]["sidecar"]["environment"]
    referred = {name for name, _, _ in REFERENCE.findall(COMPOSE.read_text())}
    of_image = {name.partition("=")[0] for _, rest in instructions() for name in re.findall(r"HEADGATE_\w+=", rest)}
    assert {*sidecar, *referred, *example()} <= KNOWN
    assert of_image == {"HEADGATE_CONFIG"} <= OTHER_VARIABLES


def test_the_example_has_every_variable_that_compose_takes_each_with_one_line_of_comment() -> None:
    assert {name for name, _, _ in REFERENCE.findall(COMPOSE.read_text())} == set(example())
    for block in EXAMPLE.read_text().strip().split("\n\n"):
        comment, variable = block.splitlines()
        assert comment.startswith("# ")
        assert re.match("[A-Z_]+=", variable)


def test_the_key_is_needed_and_all_else_has_the_default_of_the_example() -> None:
    environment = compose()["services"]["sidecar"]["environment"]
    with pytest.raises(AssertionError, match="HEADGATE_API_KEY is needed"):
        filled_in(environment, example())
    assert filled_in(environment, NEEDED) == filled_in(environment, {**example(), **NEEDED})


def test_the_settings_take_what_compose_tells_them() -> None:
    environment = filled_in(compose()["services"]["sidecar"]["environment"], NEEDED)
    settings = read_settings({}, environment, CONFIG)
    defaults = read_settings({}, NEEDED, CONFIG)
    assert settings == defaults.model_copy(update={"url": "redis://redis:6379/0"})


def test_redis_keeps_what_it_is_told_and_evicts_nothing() -> None:
    redis = compose()["services"]["redis"]
    command = redis["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options == {"--appendonly": "yes", "--appendfsync": "everysec", "--maxmemory-policy": "noeviction"}
    assert redis["volumes"] == ["counters:/data"]
    assert "counters" in compose()["volumes"]
    assert "ports" not in redis
    assert compose()["services"]["sidecar"]["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_the_sidecar_may_listen_on_port_80_and_is_published_on_loopback_alone() -> None:
    sidecar = compose()["services"]["sidecar"]
    assert sidecar["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": 0}
    assert sidecar["ports"] == ["127.0.0.1:80:80", "127.0.0.1:8080:8080"]


@pytest.mark.parametrize("name", ["redis", "sidecar"])
def test_a_container_may_do_little(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]


def test_the_sidecar_has_the_time_to_finish_what_is_under_way() -> None:
    grace = compose()["services"]["sidecar"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > read_settings({}, {}, CONFIG).stop_within_seconds


def test_the_image_does_not_run_as_root() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users
    assert re.fullmatch("[1-9][0-9]*:[1-9][0-9]*", users[-1])


def test_the_image_starts_the_server_with_its_file() -> None:
    given = instructions()
    assert given[-1] == ("ENTRYPOINT", '["headgate", "serve"]')
    assert ("COPY", "docker/headgate.toml /etc/headgate/headgate.toml") in given
    (environment,) = [rest for name, rest in given if name == "ENV" and "HEADGATE_CONFIG" in rest]
    assert "HEADGATE_CONFIG=/etc/headgate/headgate.toml" in environment.split()


def test_the_file_of_the_image_says_where_to_listen_and_variables_win_over_it() -> None:
    settings = read_settings({}, {"HEADGATE_CONFIG": str(CONFIG)})
    assert (settings.host, settings.port, settings.grpc_address) == ("0.0.0.0", 8080, ("0.0.0.0", 80))
    ((_, exposed),) = [each for each in instructions() if each[0] == "EXPOSE"]
    assert exposed.split() == ["80", "8080"]
    assert read_settings({}, {"PORT": "8090"}, CONFIG).grpc_address == ("0.0.0.0", 8090)
    own = {"PORT": "8090", "HEADGATE_GRPC": "127.0.0.1:50051", "HEADGATE_PORT": "9090", "HEADGATE_HOST": "127.0.0.1"}
    settings = read_settings({}, own, CONFIG)
    assert (settings.host, settings.port, settings.grpc) == ("127.0.0.1", 9090, "127.0.0.1:50051")


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    let_in = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = set()
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from="):
            copied |= set(rest.split()[:-1])
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_a_source_distribution_has_the_files_too() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    assert {"Dockerfile", "docker", "docker-compose.yml", ".dockerignore", ".env.example"} <= set(listed)


class Alive(BaseHTTPRequestHandler):
    """Answers /livez alone."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def looked_at(port: int) -> int:
    """Run the image's own look at the server; its exit code."""
    ((_, rest),) = [each for each in instructions() if each[0] == "HEALTHCHECK"]
    program, *arguments = json.loads(rest.partition("CMD ")[2])
    assert program == "python"
    variables = {**os.environ, "HEADGATE_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    return subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, timeout=30).returncode


def test_the_look_at_the_server_sees_whether_it_answers(port: int) -> None:
    assert looked_at(port) == 0


def test_the_look_at_the_server_sees_that_nothing_answers() -> None:
    assert looked_at(1) != 0
