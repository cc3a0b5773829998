"""Query parameters: read strictly. What is not known, not understood or given twice is an error, and names itself.

A parameter that was quietly passed over could lift a budget: `dimension[teamId]` is no misprint to forgive. Lists are
accepted in both spellings that clients send: the parameter repeated, or its items joined by commas.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from headgate.errors import InvalidInput, Problem
from headgate.model.ids import require_id
from headgate.rest.shapes import Moment

DIMENSIONS: Final = "dimensions["
"""The prefix of dimensions, for `known_only`."""

PAGING: Final = ("after", "before", "limit")
"""The parameters of a route that takes `Paged`, for `known_only`."""

_DIMENSION: Final = re.compile(r"dimensions\[([^\[\]]+)\]")
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_MOMENT: Final = TypeAdapter[datetime](Moment)


def known_only(request: Request, names: Collection[str], *, prefixes: Collection[str] = ()) -> None:
    """Refuse a request with parameters that are not among the names, and do not begin with one of the prefixes."""
    unknown = [
        Problem(name, value, "unknown parameter")
        for name, value in request.query_params.multi_items()
        if name not in names and not name.startswith(tuple(prefixes))
    ]
    if unknown:
        raise InvalidInput(unknown)


def text(request: Request, name: str) -> str | None:
    """Read a parameter that may be given once; None where it is not."""
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise InvalidInput.of(name, ", ".join(given), "is given more than once")
    return given[0] if given else None


def identifier(request: Request, name: str) -> str | None:
    """Read a parameter that holds an id."""
    given = text(request, name)
    return None if given is None else require_id(given, name)


def strings(request: Request, name: str) -> list[str]:
    """Read a list: the parameter repeated, or its items joined by commas. Empty where it is not given."""
    items = [item for given in request.query_params.getlist(name) if given for item in given.split(",")]
    if not all(items):
        raise InvalidInput.of(name, ",".join(items), "has an empty item")
    return items


def identifiers(request: Request, name: str) -> list[str]:
    """Read a list of ids."""
    return [require_id(item, name) for item in strings(request, name)]


def integer(request: Request, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
    """Read a whole number, within bounds where there are any."""
    given = text(request, name)
    if given is None:
        return None
    if _INTEGER.fullmatch(given) is None:
        raise InvalidInput.of(name, given, "must be a whole number")
    value = int(given)
    if (least is not None and value < least) or (most is not None and value > most):
        raise InvalidInput.of(name, value, f"must be {_bounds(least, most)}")
    return value


def number(request: Request, name: str) -> Decimal | None:
    """Read a number, exactly as it is written."""
    given = text(request, name)
    if given is None:
        return None
    if _NUMBER.fullmatch(given) is None:
        raise InvalidInput.of(name, given, "must be a number")
    return Decimal(given)


def flag(request: Request, name: str) -> bool | None:
    """Read `true` or `false`."""
    given = text(request, name)
    if given is None:
        return None
    if given not in ("true", "false"):
        raise InvalidInput.of(name, given, "must be true or false")
    return given == "true"


def moment(request: Request, name: str) -> datetime | None:
    """Read an instant; without an offset it is UTC."""
    given = text(request, name)
    if given is None:
        return None
    try:
        return _MOMENT.validate_python(given, strict=True)
    except ValidationError:
        rule = "must be an instant in ISO 8601, such as 2026-01-02T03:04:05Z (a + is written %2B in a query)"
        raise InvalidInput.of(name, given, rule) from None


def choice(request: Request, name: str, among: Collection[str]) -> str | None:
    """Read one of a few words."""
    given = text(request, name)
    if given is not None and given not in among:
        raise InvalidInput.of(name, given, f"must be one of {', '.join(among)}")
    return given


def dimensions(request: Request) -> dict[str, str] | None:
    """Read `dimensions[key]=value`; None where no dimension is given."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if not name.startswith(DIMENSIONS.rstrip("[")):
            continue
        match = _DIMENSION.fullmatch(name)
        if match is None:
            raise InvalidInput.of(name, value, "a dimension is written dimensions[key]=value, and its key is not empty")
        key = match.group(1)
        if key in found:
            raise InvalidInput.of(name, value, "is given more than once")
        found[key] = value
    return found or None


def _bounds(least: int | None, most: int | None) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"{least} to {most}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter as the OpenAPI page shows it, for routes that read it with the functions above."""

    name: str
    description: str
    schema: str = "string"
    is_list: bool = False

    def as_openapi(self) -> dict[str, Any]:
        """The parameter in OpenAPI's words."""
        one: dict[str, Any] = {"type": self.schema}
        shown: dict[str, Any] = {"name": self.name, "in": "query", "required": False, "description": self.description}
        if self.schema == "date-time":
            one = {"type": "string", "format": "date-time"}
        if self.schema == "object":
            one = {"type": "object", "additionalProperties": {"type": "string"}}
            shown |= {"style": "deepObject", "explode": True}
        if self.is_list:
            one = {"type": "array", "items": one}
        return {**shown, "schema": one}


def documented(*parameters: Parameter) -> dict[str, Any]:
    """Show parameters on the OpenAPI page: the `openapi_extra` of a route."""
    return {"parameters": [parameter.as_openapi() for parameter in parameters]}
