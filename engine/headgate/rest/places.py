"""Errors of the engine, told with the places that a client knows.

The engine's lists are not the body's: an entitlement stands elsewhere in a plan than in the body that brings it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

from headgate.errors import InvalidInput, Problem
from headgate.service.wire_names import renamed

Places: TypeAlias = dict[tuple[str, int], str]
"""Where an item stands in the engine's list of that name, and the path in the body that brings it."""

_PLACE: Final = re.compile(r"([a-z_]+)\[(\d+)\]\.?")


@contextmanager
def as_sent(prefix: str, places: Places, names: Mapping[str, str], *, within: str = "") -> Iterator[None]:
    """Let errors name what was sent: without the engine's prefix, by the body's places, and by the names on the wire.

    `within` is put in front of all of it.
    """

    def place(match: re.Match[str]) -> str:
        return places.get((match[1], int(match[2])), match[0])

    def told(field: str) -> str:
        return within + renamed(_PLACE.sub(place, field.removeprefix(prefix), count=1), names) or "body"

    try:
        yield
    except InvalidInput as error:
        raise InvalidInput([Problem(told(each.field), each.value, each.rule) for each in error.problems]) from None
