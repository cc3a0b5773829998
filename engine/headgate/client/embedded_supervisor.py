"""Runs one server for as long as somebody holds a lock on its users file, then stops it.

`embedded.py` hands this text to a Python of its own (`python -I -S - ...`): standard library only, nothing of
headgate.

Promise: the server ends when its last user ends, whatever ended the user, because the kernel lets go of a dead
process's lock; it ends with this process too (Linux: the parent-death signal). The inherited lock on `server.lock` is
held by this process and by the server, so it is free only when both are gone. Error bound: a user's end is noticed
within POLL_S, and a server that does not end when asked is killed after STOP_S.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time

POLL_S = 0.1
STOP_S = 3.0
LINUX_SET_PARENT_DEATH_SIGNAL = 1


def take(descriptor: int) -> bool:
    """Whether the users' lock is now ours alone: nobody uses the server any more."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def start(command: list[str]) -> int:
    """Start the server and return its process id; whatever it prints goes to the log that this process was given."""
    prctl = None
    if sys.platform == "linux":
        try:
            import ctypes

            prctl = ctypes.CDLL(None).prctl
        except (ImportError, OSError, AttributeError):
            pass
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        if prctl is not None:
            prctl(LINUX_SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            os.execv(command[0], command)
    except BaseException as error:
        os.write(2, f"{command[0]} could not be run: {error}\n".encode())
    finally:
        os._exit(127)


def listen_for_signals() -> int:
    """A descriptor that becomes readable when a signal arrives; what is read from it are the signals' numbers."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return reader


def signals_within(reader: int, seconds: float) -> bytes:
    """The signals that arrived, after the first one or after so many seconds."""
    readable, _, _ = select.select([reader], [], [], seconds)
    return os.read(reader, 64) if readable else b""


def has_ended(server: int) -> bool:
    """Whether the server has ended; ask no more once it has."""
    return os.waitpid(server, os.WNOHANG)[0] == server


def stop(server: int, reader: int) -> None:
    """Ask the server to end; one that does not (paused, stuck in a script) is killed."""
    os.kill(server, signal.SIGTERM)
    end_s = time.monotonic() + STOP_S
    while (left_s := end_s - time.monotonic()) > 0:
        if has_ended(server):
            return
        signals_within(reader, min(left_s, POLL_S))
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)


def supervise(users_path: str, command: list[str]) -> None:
    """Run the server until it ends by itself, until nobody uses it, or until this process is asked to end."""
    reader = listen_for_signals()
    users = os.open(users_path, os.O_RDWR)
    server = start(command)
    asked = False
    while not has_ended(server):
        # The lock is kept to the end: whoever comes now waits until the directory is free for the next server.
        if asked or take(users):
            stop(server, reader)
            return
        asked = signal.SIGTERM in signals_within(reader, POLL_S)


def main(users_path: str, folder_to_remove: str, command: list[str]) -> None:
    """Supervise, then remove the temporary folder (empty: none), and only then let go of all locks by ending."""
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        supervise(users_path, command)
    finally:
        if folder_to_remove:
            import shutil

            shutil.rmtree(folder_to_remove, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
