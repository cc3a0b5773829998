"""What the settings of the gRPC face mean before anything starts: what is missing, what is wrong, what is warned of."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from headgate.cli import sidecar
from headgate.cli.sidecar import require_installed, require_sensible
from headgate.errors import InvalidInput
from headgate.service.logs import make_logger
from headgate.service.settings import ServeSettings, read_settings

ENGINE = Path(__file__).parents[2] / "engine"


class Log:
    """A log that is read back."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.logger = make_logger("info", self._file)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.getvalue().splitlines()]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar, "find_spec", lambda name: None)


@pytest.mark.usefixtures("nothing_installed")
def test_without_grpcio_it_is_said_once_that_grpc_is_not_served_and_what_to_install(log: Log) -> None:
    settings = require_installed(read_settings({}, {}), log.logger)
    assert settings.grpc_address is None
    (line,) = log.lines
    assert line["event"] == "gRPC is not served"
    assert "grpc" in line["reason"]
    assert "headgate[sidecar]" in line["install"]


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        ({"grpc": "127.0.0.1:50051"}, {}),
        ({}, {"HEADGATE_GRPC": "0.0.0.0:80"}),
        ({}, {"PORT": "8090"}),
    ],
)
def test_who_asks_for_grpc_without_grpcio_is_told_what_to_install(
    flags: dict[str, str], variables: dict[str, str], log: Log
) -> None:
    with pytest.raises(InvalidInput, match=r"grpc: .* are missing: pip install 'headgate\[sidecar\]'"):
        require_installed(read_settings(flags, variables), log.logger)
    assert log.lines == []


@pytest.mark.usefixtures("nothing_installed")
def test_who_wants_no_grpc_misses_nothing(log: Log) -> None:
    settings = read_settings({"grpc": "off"}, {})
    assert require_installed(settings, log.logger) == settings
    assert log.lines == []


def test_with_grpcio_nothing_changes(log: Log) -> None:
    settings = read_settings({}, {})
    assert require_installed(settings, log.logger) == settings
    assert log.lines == []


@pytest.mark.parametrize(
    ("address", "is_read_only", "meaning"),
    [
        ("127.0.0.1:1", False, None),
        ("[::1]:1", False, None),
        ("off", False, None),
        ("0.0.0.0:1", False, "whoever reaches this address reads entitlements, and reports usage"),
        ("[::]:1", True, "whoever reaches this address reads entitlements"),
    ],
)
def test_an_open_door_is_warned_of(address: str, is_read_only: bool, meaning: str | None, log: Log) -> None:
    require_sensible(ServeSettings(grpc=address, grpc_read_only=is_read_only), log.logger)
    assert [line["meaning"] for line in log.lines] == ([] if meaning is None else [meaning])


class Files:
    """Certificates and keys, in files."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        one, other = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
        self.certificate, self.key, self.key_of_another, self.text, self.nothing = (
            folder / name for name in ("one.pem", "one.key", "other.key", "text.pem", "nothing.pem")
        )
        one.cert_chain_pems[0].write_to_path(self.certificate)
        one.private_key_pem.write_to_path(self.key)
        other.private_key_pem.write_to_path(self.key_of_another)
        self.text.write_text("not PEM\n")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_certificate_and_its_key_are_taken(files: Files, log: Log) -> None:
    require_sensible(ServeSettings(grpc_tls_certificate=files.certificate, grpc_tls_key=files.key), log.logger)


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("nothing", "key", r"grpc_tls_certificate: .*: cannot be read: No such file"),
        ("certificate", "nothing", r"grpc_tls_key: .*: cannot be read: No such file"),
        ("text", "key", r"grpc_tls_certificate: .*: must be certificates in PEM"),
        ("certificate", "text", r"grpc_tls_certificate: .*: must be certificates in PEM.*text\.pem the key"),
        ("certificate", "key_of_another", r"grpc_tls_certificate: .*: must be .*other\.key the key of that one"),
    ],
)
def test_files_that_are_no_certificate_and_its_key_are_refused(
    certificate: str, key: str, said: str, files: Files, log: Log
) -> None:
    settings = ServeSettings(grpc_tls_certificate=getattr(files, certificate), grpc_tls_key=getattr(files, key))
    with pytest.raises(InvalidInput, match=said):
        require_sensible(settings, log.logger)


def test_the_process_that_starts_the_workers_imports_nothing_that_must_not_be_there_before_them() -> None:
    names = "grpc", "prometheus_client", "fastapi"
    program = f"import headgate.cli.serve, headgate.cli.serving, sys; print([*filter(sys.modules.get, {names})])"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ENGINE)}, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
