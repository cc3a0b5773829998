"""What all documents and inputs share: they are strict, frozen, and their errors name field, value and rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from headgate.errors import InvalidInput, Problem


class Strict(BaseModel):
    """A frozen value that refuses unknown fields and never turns one type into another.

    Made directly, it raises pydantic's `ValidationError`, as its users expect of a model. Whatever a method of the
    engine is given goes through `accept`, which raises `InvalidInput`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, revalidate_instances="subclass-instances")

    @classmethod
    def accept(cls, value: Self | Mapping[str, Any], field: str = "") -> Self:
        """Take an instance or a mapping from a user; raise `InvalidInput` naming every field that breaks a rule."""
        if isinstance(value, BaseModel) and type(value) is not cls:
            kind = type(value).__name__
            raise InvalidInput.of(field or cls.__name__, kind, f"must be a {cls.__name__}, or a mapping of its fields")
        try:
            accepted = value if isinstance(value, cls) else cls.model_validate(dict(value))
        except ValidationError as error:
            raise invalid_input(error, field) from None
        except (TypeError, ValueError):
            raise InvalidInput.of(field or cls.__name__, value, f"must be a mapping of {cls.__name__} fields") from None
        problems = list(_not_text(accepted.model_dump(), field))
        if problems:
            raise InvalidInput(problems)
        return accepted


def _not_text(value: object, field: str) -> Iterator[Problem]:
    """Strings that no encoding can store, wherever they are."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            yield Problem(field or "value", ascii(value), "has characters that are no text (lone surrogates)")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{field}.{key}".lstrip(".") if str(key).isprintable() else field
            yield from _not_text(key, field)
            yield from _not_text(item, inner)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_text(item, f"{field}[{index}]")


def invalid_input(error: ValidationError, prefix: str = "") -> InvalidInput:
    """Turn pydantic's error into ours: every problem with its field, value and rule."""
    problems = []
    for detail in error.errors(include_url=False):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
        field = (prefix + path).lstrip(".") or "value"
        kind = detail["type"]
        if kind == "extra_forbidden":
            rule = "unknown field"
        elif kind == "missing":
            problems.append(Problem(field, None, "is required"))
            continue
        else:
            rule = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        problems.append(Problem(field, detail["input"], rule))
    return InvalidInput(problems)
