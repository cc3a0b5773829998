"""Reading plain data field by field: every problem is kept with its path, and reading goes on behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from headgate.amounts import parse_amount
from headgate.errors import Problem
from headgate.model.base import Strict, invalid_input
from headgate.model.ids import ID_RULE, is_id
from headgate.policy.words import NEVER, UNLIMITED, path_to

_Built = TypeVar("_Built", bound=Strict)
_Read = TypeVar("_Read")

_LIMIT_RULE: Final = f"write a number of at least 0, or {UNLIMITED} to count and never refuse"
_AMOUNT_RULE: Final = "write a number of more than 0"
_INSTANT_RULE: Final = "write an instant with its offset from UTC, such as 2026-01-31T00:00:00Z"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Fields:
    """Takes mappings and lists apart, and keeps every problem; `None` stands for what is wrong and was told."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def note(self, path: str, value: object, rule: str) -> None:
        """Keep one problem."""
        self.problems.append(Problem(path or "policy", value, rule))

    def take(self, path: str, value: object, words: Mapping[str, str]) -> dict[str, Any] | None:
        """The fields of one mapping that the file may write; what else is there is a problem."""
        if not isinstance(value, Mapping):
            self.note(path, value, f"must be a mapping; its fields are {', '.join(words)}")
            return None
        for word in value:
            if word not in words:
                self.note(path_to(path, str(word)), value[word], f"unknown field; here are known: {', '.join(words)}")
        return {word: value[word] for word in words if word in value}

    def each(self, path: str, value: object, read: Callable[[str, str, object], _Read | None]) -> tuple[_Read, ...]:
        """Read every entry of a mapping from ids; what is not there has none."""
        if value is None:
            return ()
        if not isinstance(value, Mapping):
            self.note(path, value, "must be a mapping from ids")
            return ()
        found = []
        for id, item in value.items():
            inner = path_to(path, str(id))
            if not is_id(id):
                self.note(inner, id, ID_RULE)
            found.append(read(inner, id, item))
        return tuple(item for item in found if item is not None)

    def list_of(
        self, path: str, value: object, things: str, read: Callable[[str, object], _Read | None]
    ) -> tuple[_Read, ...]:
        """Read every item of a list; what is not there has none."""
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.note(path, value, f"must be a list of {things}")
            return ()
        found = [read(path_to(path, index), item) for index, item in enumerate(value)]
        return tuple(item for item in found if item is not None)

    def build(
        self, model: type[_Built], path: str, given: Mapping[str, Any], words: Mapping[str, str], **known: Any
    ) -> _Built | None:
        """Make the model of the file's fields; its errors come back in the file's words, at the file's paths.

        `known` are fields of the model that were read already, and whose problems were told.
        """
        rest = {words[word]: value for word, value in given.items() if words[word] not in known}
        try:
            return model(**known, **rest)
        except ValidationError as error:
            names = {name: word for word, name in words.items()}
            for problem in invalid_input(error).problems:
                name, below, value = *_name_and_rest(problem.field), problem.value
                if name not in names and name not in known:
                    # Two fields that do not go together: the message begins with one of them.
                    name, below = _name_and_rest(problem.rule)[0], ""
                    value = given.get(names.get(name, name), dict(given))
                if name in known:
                    continue
                word = names.get(name, name)
                field = path_to(path, word) + below if word in words else path
                self.note(field, value, _rule(problem.rule, value, names))
            return None

    def limit(self, path: str, given: Mapping[str, Any]) -> float | str | None:
        """The limit among the fields: a number, `unlimited`, or None where it is wrong."""
        field, value = path_to(path, "limit"), given.get("limit")
        if value is None:
            self.note(field, value, f"is required: {_LIMIT_RULE}")
            return None
        return UNLIMITED if value == UNLIMITED else self._number(field, value, _LIMIT_RULE)

    def amount(self, path: str, given: Mapping[str, Any]) -> float | None:
        """The amount of credits among the fields, which is more than 0; None where it is wrong."""
        field, value = path_to(path, "amount"), given.get("amount")
        if value is None:
            self.note(field, value, f"is required: {_AMOUNT_RULE}")
            return None
        number = self._number(field, value, _AMOUNT_RULE)
        if number == 0:
            self.note(field, value, _AMOUNT_RULE)
            return None
        return number

    def _number(self, path: str, value: object, rule: str) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.note(path, value, rule)
            return None
        try:
            return parse_amount(value, field="value")
        except ValueError as error:
            self.note(path, value, _rule(str(error), value, {}))
            return None

    def instants(
        self, path: str, given: dict[str, Any], words: Mapping[str, str], *, never: Sequence[str] = ()
    ) -> dict[str, int | None]:
        """The instants among the fields, in epoch milliseconds by the models' names; those in `never` may be `never`.

        What is wrong is told, and taken out of `given`.
        """
        found: dict[str, int | None] = {}
        for word, name in words.items():
            if not name.endswith("_ms") or word not in given:
                continue
            value = given[word]
            if value == NEVER and word in never:
                found[name] = None
                continue
            instant_ms = self._instant_ms(path_to(path, word), value, word in never)
            if instant_ms is None:
                del given[word]
            else:
                found[name] = instant_ms
        return found

    def _instant_ms(self, path: str, value: object, may_be_never: bool) -> int | None:
        try:
            instant = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            self.note(path, value, f"{_INSTANT_RULE}{f', or {NEVER}' if may_be_never else ''}")
            return None
        if instant < _EPOCH:
            self.note(path, value, "is before the year 1970")
            return None
        return (instant - _EPOCH) // timedelta(milliseconds=1)

    def require_order(
        self, path: str, given: Mapping[str, Any], found: dict[str, int | None], words: Mapping[str, str], *order: str
    ) -> None:
        """Tell where one of the instants is not after one that stands before it, and forget it."""
        for place, then in enumerate(order):
            for first in order[:place]:
                earlier, later = found.get(words[first]), found.get(words[then])
                if earlier is not None and later is not None and later <= earlier:
                    self.note(path_to(path, then), given[then], f"must be after {first}, which is {given[first]}")
                    found[words[then]] = None


def _name_and_rest(path: str) -> tuple[str, str]:
    name = re.match(r"\w*", path)
    return (name[0], path[name.end() :]) if name else ("", path)


def _rule(message: str, value: object, names: Mapping[str, str]) -> str:
    """A model's message in the file's words, without the name and the value in front: a problem shows these already."""
    text = re.sub(r"^[a-z_]+: ", "", message)
    for shown in (repr(value), str(value)):
        text = text.removeprefix(shown + " ")
    return in_file_words(text, names)


def in_file_words(text: str, names: Mapping[str, str]) -> str:
    """A text in the file's words: what models call a field becomes the word for it."""
    return re.sub(r"\b[a-z]+_[a-z_]+\b", lambda found: names.get(found[0], found[0]), text)
