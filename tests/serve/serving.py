"""A real `headgate serve` of a test's own: started on a free loopback port, waited for, and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from servers import find_free_port, wait_until

ENGINE = Path(__file__).parents[2] / "engine"
START_S = 180.0
STOP_S = 180.0
ANSWER_S = 60.0


class Served:
    """`headgate serve` with these flags, on free ports, and a client of it."""

    def __init__(self, url: str | None, *flags: str, port: int | None = None, **variables: str) -> None:
        self.port, self.grpc_port = port or find_free_port(), find_free_port()
        grpc = () if "--grpc" in flags else ("--grpc", f"127.0.0.1:{self.grpc_port}")
        self._lines = tempfile.TemporaryFile()  # noqa: SIM115
        place = () if url is None else ("--url", url)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headgate.cli", "serve", *place, "--port", str(self.port), *grpc, *flags],
            env={**plain, "PYTHONPATH": str(ENGINE), **variables},
            stderr=self._lines,
            stdout=subprocess.PIPE,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=ANSWER_S)

    def started(self) -> Served:
        """Wait until it answers."""
        wait_until(self.answers, within_s=START_S, what="headgate serve answers")
        return self

    def answers(self) -> bool:
        """Whether it answers at all."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.stderr}"
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def ended(self) -> tuple[int, str]:
        """Wait for it to end by itself; its exit code and what it said."""
        code = self.process.wait(STOP_S)
        return code, self.stderr

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, and wait until it has; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOP_S)

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        # Read in place: to seek would move where the process writes, as both share one offset.
        size = os.fstat(self._lines.fileno()).st_size
        return os.pread(self._lines.fileno(), size, 0).decode()

    @property
    def logged(self) -> list[dict[str, Any]]:
        """Its log lines so far, of which each is JSON."""
        return [json.loads(line) for line in self.stderr.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Those of its log lines that tell of one kind of event."""
        return [line for line in self.logged if line["event"] == name]

    def close(self) -> None:
        """End it, however it is."""
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._lines.close()

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
