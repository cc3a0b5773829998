"""The vendor's own clients against `headgate serve`: `make test-compat` runs each in an environment of its own.

Two of the vendor's packages install a module called `stigg`, so neither may be where the other is, or the other tests.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND_VARIABLE = "HEADGATE_TEST_COMMAND"
KEY = "compat-key-of-this-run"

if importlib.util.find_spec("stigg_sidecar_sdk"):
    collect_ignore_glob = ["test_vendor_client.py"]
elif importlib.util.find_spec("stigg"):
    collect_ignore_glob = ["test_sidecar_client.py"]
else:
    collect_ignore_glob = ["test_*.py"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def grpc_port() -> int:
    """Where the gRPC face listens."""
    return free_port()


@pytest.fixture(scope="session")
def base_url(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[str]:
    """`headgate serve` on an embedded server, in a process of its own, for the whole run."""
    import httpx

    port, folder = free_port(), tmp_path_factory.mktemp("serve")
    grpc = f"127.0.0.1:{grpc_port}"
    command = os.environ.get(COMMAND_VARIABLE, str(Path(__file__).parents[2] / ".venv" / "bin" / "headgate"))
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    with (folder / "log").open("wb") as log:
        serving = subprocess.Popen(
            [command, "--url", f"embedded://{folder}/data", "serve", "--port", str(port), "--grpc", grpc],
            env={**surroundings, "HEADGATE_API_KEY": KEY},
            stdout=log,
            stderr=log,
        )
        try:
            # A connection that is refused is tried again, at growing intervals.
            with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=30) as client:
                ready = client.get(f"http://127.0.0.1:{port}/livez")
            assert ready.status_code == 200, (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            serving.send_signal(signal.SIGTERM)
            try:
                serving.wait(20)
            except subprocess.TimeoutExpired:
                serving.kill()
                serving.wait()
    assert serving.returncode == 0, (folder / "log").read_text()
