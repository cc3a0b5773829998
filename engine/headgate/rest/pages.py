"""Paging by cursor: a page begins after the last item that the client has seen, whatever was written meanwhile.

Lists stand in the order of a key that an item keeps for ever; a cursor is that key, and says nothing of positions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgpack
from fastapi import Depends, Query

from headgate.errors import InvalidInput
from headgate.rest.shapes import Pagination

T = TypeVar("T")
Key = tuple[str | int, ...]

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Window:
    """Which page a client asks for."""

    after: Key | None
    before: Key | None
    limit: int


def _window(
    after: Annotated[str | None, Query(description="the `next` of a page: what comes after it")] = None,
    before: Annotated[str | None, Query(description="the `prev` of a page: what comes before it")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="how many items a page has at most")] = LIMIT_DEFAULT,
) -> Window:
    if after is not None and before is not None:
        raise InvalidInput.of("before", before, "give after or before, not both")
    return Window(read_cursor("after", after), read_cursor("before", before), limit)


Paged = Annotated[Window, Depends(_window)]
"""A route's argument: the page that is asked for."""


def paged(items: Iterable[T], window: Window, key: Callable[[T], Key]) -> tuple[list[T], Pagination]:
    """Cut one page out of all items. `key` is distinct for each item, and never changes."""
    ordered = sorted(items, key=key)
    try:
        return _cut(ordered, window, key)
    except TypeError:  # a text was compared with a number
        field, given = ("after", window.after) if window.before is None else ("before", window.before)
        raise InvalidInput.of(field, given, "is the cursor of another list") from None


def _cut(ordered: list[T], window: Window, key: Callable[[T], Key]) -> tuple[list[T], Pagination]:
    if window.before is not None:
        earlier = [item for item in ordered if key(item) < window.before]
        page = earlier[-window.limit :]
        has_more_before, has_more_after = len(earlier) > len(page), len(earlier) < len(ordered)
    else:
        later = ordered if window.after is None else [item for item in ordered if key(item) > window.after]
        page = later[: window.limit]
        has_more_before, has_more_after = len(later) < len(ordered), len(later) > len(page)
    return page, Pagination(
        next=cursor(key(page[-1])) if page and has_more_after else None,
        prev=cursor(key(page[0])) if page and has_more_before else None,
    )


def cursor(key: Key) -> str:
    """Write a key as a cursor."""
    return base64.urlsafe_b64encode(msgpack.packb(key)).decode().rstrip("=")


def read_cursor(field: str, text: str | None) -> Key | None:
    """Read a cursor that a client sent back; raise `InvalidInput` for what was never one."""
    if text is None:
        return None
    try:
        read: Any = msgpack.unpackb(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, msgpack.UnpackException):
        read = None
    if not isinstance(read, list) or not all(isinstance(part, str | int) for part in read):
        raise InvalidInput.of(field, text, "is no cursor: take the one that a page brought")
    return tuple(read)
