"""Errors of the engine, with the names that the fields have on the wire."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from headgate.errors import InvalidInput, Problem

_NAME: Final = re.compile(r"(?<![^.])[a-z_]+")
_NAMES_MAX: Final = 2
"""How many names of a path are the engine's: the list and its field. What follows, as in metadata, is the client's."""


@contextmanager
def wire_names(names: Mapping[str, str]) -> Iterator[None]:
    """Let a client read of `entities[0].entityTypeId` where the engine says `entities[0].type`."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(
            [Problem(renamed(each.field, names), each.value, each.rule) for each in error.problems]
        ) from None


def renamed(field: str, names: Mapping[str, str]) -> str:
    """The path of a field, with the engine's names in it replaced."""
    return _NAME.sub(lambda match: names.get(match[0], match[0]), field, count=_NAMES_MAX)
