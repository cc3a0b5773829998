"""Locks between processes that the kernel lets go of when their holder ends, whatever ended it.

Promise: a lock belongs to one object of one process. It is not passed on to programs that the process starts, and a
forked child does not hold it: either the child gets one of its own, or it has none. Nothing here ever waits.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType

_guard = threading.RLock()
_open_locks: set[FileLock] = set()


class FileLock:
    """One `flock`, held from when it is taken until `close`; another object on the same file is another holder."""

    def __init__(self, path: Path, *, make: bool = True, children_hold_it_too: bool = False) -> None:
        self._path = path
        self._children_hold_it_too = children_hold_it_too
        with _guard:  # No fork may see the descriptor before it is in the list.
            self.descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
            _open_locks.add(self)

    def take_with_others(self) -> bool:
        """Hold it together with others who do so; False if somebody holds it alone."""
        return self._take(fcntl.LOCK_SH)

    def take_alone(self) -> bool:
        """Hold it alone; False if anybody else holds it, and then what was held before may be lost."""
        return self._take(fcntl.LOCK_EX)

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        with _guard:
            if self in _open_locks:
                _open_locks.discard(self)
                os.close(self.descriptor)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, operation: int) -> bool:
        if self not in _open_locks:
            return False
        try:
            fcntl.flock(self.descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _after_fork_in_child(self) -> None:
        """Leave the parent's lock alone: an inherited descriptor is the same lock, and changing it changes both."""
        inherited = self.descriptor
        if self._children_hold_it_too:
            try:
                self.descriptor = os.open(self._path, os.O_RDWR)
                self.take_with_others()
            except OSError:
                _open_locks.discard(self)
        else:
            _open_locks.discard(self)
        os.close(inherited)


def _after_fork_in_child() -> None:
    for lock in tuple(_open_locks):
        lock._after_fork_in_child()
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_after_fork_in_child)
