"""API keys: what is stored of one. The secret is not: its digest is, and that is shown nowhere."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import InstantMs

NAME_MAX = 255

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""The SHA-256 of a secret, in hex. A secret is 32 random bytes, so nothing slower is needed to keep it."""


class KeyScope(StrEnum):
    """What a key allows; each allows what is said before it, too."""

    READ = "read"
    RUNTIME = "runtime"
    FULL = "full"


class ApiKey(Strict):
    """A key to the REST face: `hg_<id>_<secret>`, whose text is told once, when it is made or rotated.

    `rotated_at_ms` is when it last got a new secret; the one before goes on until `former_until_ms` (exclusive). A key
    that was revoked stays listed, and lets nobody in.
    """

    id: Id
    name: Annotated[str, Field(min_length=1, max_length=NAME_MAX)]
    scope: Annotated[KeyScope, Field(strict=False)]
    created_at_ms: InstantMs
    rotated_at_ms: InstantMs | None = None
    revoked_at_ms: InstantMs | None = None
    digest: Digest = Field(repr=False)
    former_digest: Digest | None = Field(default=None, repr=False)
    former_until_ms: InstantMs | None = None
