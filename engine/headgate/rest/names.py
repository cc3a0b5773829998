"""Ids for paths that name no customer: `grant_<…>` says itself where the thing is, so nothing has to be looked up.

    pack_name("grant", "cus-acme", "credits", None, "grant-1")     -> "grant_lKhjdXMt…"
    unpack_name("grant_lKhjdXMt…", "grant", parts=4)               -> ("cus-acme", "credits", "", "grant-1")

What stands behind the prefix is base64url (without padding) of the msgpack array of the parts. A part is an id, or
nothing: given as None, read back as "". It is written in characters that ids have, and may be longer than one may be.
Such an id is no secret and no proof: whoever makes one up names a thing that is there, or one that is not.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import msgpack

from headgate.model.ids import is_id

TEXT_MAX: Final = 4096
"""How long a packed name may be: more than four ids of 255 characters need."""


def pack_name(prefix: str, *parts: str | None) -> str:
    """Write the parts as one id, such as `grant_…`. None stands for a part that is not there, such as no resource."""
    named = [part or "" for part in parts]
    return f"{prefix}_{base64.urlsafe_b64encode(msgpack.packb(named)).decode().rstrip('=')}"


def unpack_name(text: str, prefix: str, *, parts: int) -> tuple[str, ...] | None:
    """Read the parts of an id that `pack_name` wrote; None for every other text: there is no such thing.

    A part that was None is "". A text is read only if it is the one that its parts are written as: a thing has one id.
    """
    if not text.startswith(f"{prefix}_") or len(text) > TEXT_MAX:
        return None
    body = text[len(prefix) + 1 :]
    try:
        read: Any = msgpack.unpackb(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgpack.UnpackException):
        return None
    if not isinstance(read, list) or len(read) != parts or not all(part == "" or is_id(part) for part in read):
        return None
    named = tuple(read)
    return named if pack_name(prefix, *named) == text else None
