"""Filters that several lists have: `createdAt[gt]`, `[gte]`, `[lt]` and `[lte]`, each with an instant."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from fastapi import Request

from headgate.model.decision import instant
from headgate.rest.queries import Parameter, moment

_COMPARISONS: Final[dict[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "createdAt[gt]": (operator.gt, "after"),
    "createdAt[gte]": (operator.ge, "at or after"),
    "createdAt[lt]": (operator.lt, "before"),
    "createdAt[lte]": (operator.le, "at or before"),
}

CREATED: Final = tuple(_COMPARISONS)
"""The parameters, for `known_only`."""

CREATED_PARAMETERS: Final = tuple(
    Parameter(name, f"only what was created {words} this instant", schema="date-time")
    for name, (_, words) in _COMPARISONS.items()
)
"""The parameters, for `documented`."""


def created_within(request: Request) -> Callable[[int], bool]:
    """Read the filter on the instant of creation: a test of epoch milliseconds."""
    bounds: list[tuple[Callable[[Any, Any], bool], datetime]] = [
        (compare, bound) for name, (compare, _) in _COMPARISONS.items() if (bound := moment(request, name)) is not None
    ]
    return lambda created_at_ms: all(compare(instant(created_at_ms), bound) for compare, bound in bounds)
