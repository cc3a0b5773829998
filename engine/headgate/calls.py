"""A call of one script, and the protocol in which verbs ask for it.

A verb is a generator: it yields calls, is sent their replies, and returns its answer. It does no I/O and reads no
clock; drivers in `headgate.client` do, one for threads and one for asyncio.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

Reply = Any
"""What a script answers: a list whose first element is its status."""


class Resent(list[Any]):
    """A reply to a call whose first reply was lost: what was carried out may have been so by an earlier sending."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script. All keys are of one partition, so it is one slot of a cluster.

    `timed` is the place of the argument that begins with the call's moment (two doubles: the server instant after
    which nobody waits for it, and the instant to take in environments with a simulated clock). The driver puts the
    moment in front when it sends, as only it knows the time. A `shared` call is a reading for the hot path, whose reply
    is checked by its stamp later on: callers that ask for the very same thing at once are served by one, unless they
    ask `since` different updates, as what is under way may have been read before. `writes` is false where running twice
    changes nothing: such a call may be sent again when its reply was lost. A call that is not `patient` is not sent
    again where it was refused for now.
    """

    script: str
    keys: tuple[bytes, ...]
    args: tuple[bytes, ...]
    timed: int | None = None
    writes: bool = True
    shared: bool = False
    since: int = 0
    patient: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """A call of a batch that had no reply, and why."""

    error: Exception


Verb = Generator[Call | Sequence[Call], Reply, T]
"""A verb in progress. It yields a call, or a batch of independent calls whose failures come back as `Failed`."""
