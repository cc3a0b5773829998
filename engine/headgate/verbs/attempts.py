"""The attempts of one request: what they may cost, and what is known of it if none of them brings an answer."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from headgate import holds
from headgate.calls import Resent
from headgate.errors import ConfigurationKeepsChanging, OutcomeUnknown, Unavailable
from headgate.verbs.environment import ATTEMPTS_MAX


@dataclass(slots=True)
class Attempts:
    """Counts the attempts of a request, and remembers whether one may have been carried out unseen.

    Use it in a `with` block around all of them: where an attempt may have run whose reply was lost, and no later one
    could say so, the outcome is unknown, whatever stood in the way of the last. Attempts that had to free holds first
    are not counted: each of them brings it forward, and the deadline ends them.
    """

    customer: str
    failed: int = 0
    sweeps: int = 0
    may_have_run: bool = False

    def remain(self) -> bool:
        """Whether to try once more."""
        return self.failed < ATTEMPTS_MAX

    def note(self, reply: Any) -> None:
        """Learn from a reply to a call that may write."""
        self.may_have_run = self.may_have_run or isinstance(reply, Resent)

    def freed_at_most(self) -> int:
        """How many holds to free before the next attempt, more each time.

        Most requests fit once a few are freed, and none has to wait for thousands.
        """
        self.sweeps += 1
        return holds.FREED_MAX << 2 * min(self.sweeps - 1, ATTEMPTS_MAX)

    def exhausted(self) -> ConfigurationKeepsChanging:
        """The error of a request that had no attempt left."""
        return ConfigurationKeepsChanging(
            f"the configuration of {self.customer!r} changed at each of {ATTEMPTS_MAX} attempts"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.may_have_run and isinstance(error, Unavailable | ConfigurationKeepsChanging):
            raise OutcomeUnknown(
                f"a reply was lost, and what came of it could not be asked ({error}): it was carried out once or not "
                "at all, and repeating it is safe"
            ) from error
