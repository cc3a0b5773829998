"""Everything that can go wrong, in one tree. A refusal is not here: it is a `Decision`, until you `require()` it.

HeadgateError                      every error of this package; has a `code`
├── InvalidInput                   a field, its value, and the rule that it breaks; nothing was sent
├── NotFound                       the customer, feature, entity … that a write or a report names is not there
├── Conflict                       the change would break what is already written; nothing was written
│   └── DuplicateId                something that says otherwise has this id already
├── NotSupported                   known to the vendor's API, and not built here
├── OutOfRange                     a sum would leave the range of exact numbers; nothing was written
├── BatchIncomplete                a record of a batch went wrong; says what became of each
├── LimitReached                   `decision.require()` on a refusal; carries the decision
├── ConfigurationKeepsChanging     other writers changed the configuration at every attempt
├── CatalogNotEverywhere           a catalog change is written, but some partitions do not stand at it yet
├── EnvironmentMismatch            the environment is of another layout or clock than this client was told
├── Unavailable                    no answer could be had, and certainly nothing was counted
│   └── EnvironmentNotReady        nothing was ever written there, or a server lost its data
├── OutcomeUnknown                 a write was sent and its reply never came: it was carried out once or not at all
└── EmbeddedServerFailed           the embedded server could not be found, started or reached
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from headgate.model.decision import Decision, Receipt


class HeadgateError(Exception):
    """Something went wrong; `code` is stable and short, the message is for people."""

    code: ClassVar[str] = "HeadgateError"


@dataclass(frozen=True, slots=True)
class Problem:
    """One field that breaks a rule: where it is, what was given, and what is allowed."""

    field: str
    value: object
    rule: str

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 80:
            shown = shown[:77] + "…"
        return f"{self.field}: {shown}: {self.rule}"


class InvalidInput(HeadgateError):
    """The input breaks a rule. Nothing was sent and nothing was written."""

    code = "BadUserInput"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))

    @classmethod
    def of(cls, field: str, value: object, rule: str) -> InvalidInput:
        """Make the error for a single field."""
        return cls([Problem(field, value, rule)])


class NotFound(HeadgateError):
    """What the call names is not there; `kind` and `id` say what."""

    def __init__(self, kind: str, id: str, *, within: str = "") -> None:
        self.kind, self.id = kind, id
        super().__init__(f"{kind} {id!r}{within and ' ' + within} was not found")

    @property
    def code(self) -> str:  # type: ignore[override]
        """The contract's code, such as `CustomerNotFound`."""
        return "".join(word.capitalize() for word in self.kind.split()) + "NotFound"


class Conflict(HeadgateError):
    """The change would break what is already written. Nothing was written."""

    code = "Conflict"


class DuplicateId(Conflict):
    """What is to be made is there already, under this id, and says something else. Nothing was written."""

    code = "DuplicatedEntityNotAllowed"

    def __init__(self, kind: str, id: str) -> None:
        self.kind, self.id = kind, id
        super().__init__(f"{kind} {id!r} is there already, and is another than this: change it, or use another id")


class NotSupported(HeadgateError):
    """The vendor's API knows this, and Headgate does not offer it."""

    code = "NotSupported"


class OutOfRange(HeadgateError):
    """A sum would leave the range of exact numbers (whole ±(2^53 − 1), fractions below 2^35). Nothing was written."""

    code = "OutOfRange"


class LimitReached(HeadgateError):
    """A decision that was required is a refusal; `decision` says which constraint refused, and at what number."""

    code = "LimitReached"

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(str(decision))


class BatchIncomplete(HeadgateError):
    """A record of a batch went wrong. `outcomes` has "applied", "not applied" or "unknown" for each record, in order.

    `receipts` are those of the applied records; `cause` is what went wrong.
    """

    code = "BatchIncomplete"

    def __init__(self, outcomes: Sequence[str], receipts: Sequence[Receipt], cause: HeadgateError) -> None:
        self.outcomes, self.receipts, self.cause = tuple(outcomes), tuple(receipts), cause
        index = len(self.receipts)
        super().__init__(f"{index} of {len(self.outcomes)} records were applied; record {index}: {cause}")


class ConfigurationKeepsChanging(HeadgateError):
    """Other writers changed the configuration at every attempt. Nothing was written; try again."""

    code = "ConfigurationKeepsChanging"


class CatalogNotEverywhere(HeadgateError):
    """The catalog is written, but the named partitions do not stand at it yet; writing it again is safe."""

    code = "CatalogNotEverywhere"

    def __init__(self, partitions: Sequence[int], reason: str) -> None:
        self.partitions = tuple(partitions)
        shown = ", ".join(map(str, self.partitions[:10])) + (", …" if len(self.partitions) > 10 else "")
        super().__init__(f"{len(self.partitions)} partitions do not stand at the new catalog yet ({shown}): {reason}")


class EnvironmentMismatch(HeadgateError):
    """The environment was made with another layout or another clock than this client expects."""

    code = "EnvironmentMismatch"


class Unavailable(HeadgateError):
    """No answer could be had within the deadline, and nothing was counted. Fail closed."""

    code = "Unavailable"


class EnvironmentNotReady(Unavailable):
    """Nothing was ever written to this environment, or a server lost its data: this is never read as "not found"."""

    code = "EnvironmentNotReady"


class OutcomeUnknown(HeadgateError):
    """A write was sent and its reply never came: it was carried out once, or not at all.

    A consume or a report under an idempotency key is sent again until the deadline, and so is what makes, extends or
    ends a reservation: for these it means that the deadline passed without an answer (or that the server then refused).
    Ask again, with the same key or id, and you are told. Any other write is not sent again: not a consume or a report
    without a key, which may count twice if you repeat it, and not a change of configuration, which you may repeat.
    """

    code = "OutcomeUnknown"

    def __init__(self, message: str, **details: Any) -> None:
        self.details = details
        super().__init__(message)


class EmbeddedServerFailed(HeadgateError):
    """The embedded server could not be found, started or reached; the message says what to do."""

    code = "EmbeddedServerFailed"
