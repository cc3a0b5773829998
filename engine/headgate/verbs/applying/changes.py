"""What a policy changes, told item by item, and how values are told in the words of the policy file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Final, TypeVar

from headgate.amounts import as_number
from headgate.model.base import Strict
from headgate.model.decision import instant
from headgate.policy import NEVER, UNLIMITED, path_to

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")
_Model = TypeVar("_Model", bound=Strict)

BATCH_MAX: Final = 100
"""How many things one call of any verb may write."""

_DEFAULTS: Final = {
    "meter": "NONE",
    "status": "ACTIVE",
    "zone": "UTC",
    "behavior": "INCREMENT",
    "unit_quantity": 1,
    "trial_end_behavior": "CONVERT_TO_PAID",
    "kind": "PAID",
    "priority": 50,
    "end": NEVER,
    "trial_end": NEVER,
    "expires": NEVER,
}
_ENDS: Final = ("end_ms", "trial_end_ms", "expires_at_ms")


class ChangeKind(StrEnum):
    """What becomes of a thing: it is new, or one of its fields changes."""

    CREATED = "created"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a policy creates, or one field that it changes, in the words of the policy file.

    `after` is None where a plan, an add-on or a subscription no longer says what it said.
    """

    kind: ChangeKind
    path: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": self.kind.value, "path": self.path, "before": self.before, "after": self.after}

    def __str__(self) -> str:
        if self.kind is ChangeKind.CREATED:
            return f"{self.path} is created: {self.after}"
        return f"{self.path} was {self.before} and becomes {self.after}"


class Changes(list[Change]):
    """What a policy changes, in its order; `unchanged` are the paths of all that is as it says already."""

    def __init__(self, changes: Iterable[Change], unchanged: Iterable[str]) -> None:
        super().__init__(changes)
        self.unchanged = tuple(unchanged)


@dataclass(slots=True)
class Told:
    """What was found out about a policy so far: what it changes, what it does not, and what is in its way."""

    changes: list[Change] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def differs(self, path: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
        """Note what is new, or which fields change, or that nothing does; whether anything does."""
        if before is None:
            told = {word: value for word, value in after.items() if not _says_nothing(word, value)}
            self.changes.append(Change(ChangeKind.CREATED, path, None, told))
            return True
        different = [word for word, value in after.items() if before.get(word) != value]
        for word in different:
            self.changes.append(Change(ChangeKind.CHANGED, path_to(path, word), before.get(word), after[word]))
        if not different:
            self.unchanged.append(path)
        return bool(different)

    def all_differ(
        self,
        path_of: Callable[[_Key], str],
        before: Mapping[_Key, _Model],
        after: Mapping[_Key, _Model],
        words: Mapping[str, str],
    ) -> bool:
        """The same for all parts of a thing, which has no others: what it had and has no more is a change."""
        differ = False
        for key, part in after.items():
            differ |= self.differs(path_of(key), words_before(before.get(key), words), in_words(part, words))
        for key, part in before.items():
            if key not in after:
                told = {word: value for word, value in in_words(part, words).items() if not _says_nothing(word, value)}
                self.changes.append(Change(ChangeKind.CHANGED, path_of(key), told, None))
                differ = True
        return differ


def in_words(model: Strict, words: Mapping[str, str]) -> dict[str, Any]:
    """A model as plain data in the words of the policy file."""
    data = {word: _plain(getattr(model, name), name) for word, name in words.items()}
    if "limit" in data and data["limit"] is None and getattr(model, "has_unlimited_usage", True):
        data["limit"] = UNLIMITED
    return data


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return as_number(value)
    if isinstance(value, Strict):
        return {field: _plain(getattr(value, field), field) for field in type(value).model_fields}
    if name in _ENDS and value is None:
        return NEVER
    if name.endswith("_ms") and value is not None:
        return instant(value).isoformat()
    return value


def words_before(model: Strict | None, words: Mapping[str, str]) -> dict[str, Any] | None:
    """The same of what is stored; None where there is nothing."""
    return None if model is None else in_words(model, words)


def _says_nothing(word: str, value: object) -> bool:
    """Whether a field of something new is only its default. A limit of 0 is none."""
    return value is None or value is False or value in ("", [], {}) or _DEFAULTS.get(word) == value


def in_batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """The items in parts that one call may write."""
    for first in range(0, len(items), BATCH_MAX):
        yield items[first : first + BATCH_MAX]
