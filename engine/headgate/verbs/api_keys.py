"""API keys of the REST face: made, rotated, revoked, and held against what a caller shows.

They belong to the name of an environment, and are there before anything else of it, so that a face can be guarded
before its catalog is written. The text of a key is told once; what is stored can't be turned back into it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from headgate import wire
from headgate.cache import State
from headgate.calls import Call, Verb
from headgate.errors import ConfigurationKeepsChanging, Conflict, EnvironmentNotReady, InvalidInput, NotFound
from headgate.keys import Keyspace
from headgate.model.api_key import NAME_MAX, ApiKey, KeyScope
from headgate.model.ids import require_id
from headgate.verbs.environment import ATTEMPTS_MAX, open_environment, refuse_status
from headgate.wire import Status

GRACE_MAX_S: Final = 30 * 86_400
"""How long a former secret may go on, in seconds."""

_TEXT: Final = re.compile(r"hg_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
_NOBODY: Final = "0" * 64
_ENDED: Final[dict[str, Any]] = {"former_digest": None, "former_until_ms": None}


def create(state: State, name: object, scope: object) -> Verb[tuple[ApiKey, str]]:
    """Make a key, and return it with its text, which nothing tells again."""
    accepted, wide = _require_name(name), _require_scope(scope)
    id, secret = os.urandom(8).hex(), _new_secret()
    stored = yield from _read(state)
    made = ApiKey(id=id, name=accepted, scope=wide, created_at_ms=stored.read_at_ms, digest=_digest(secret))
    if not (yield from _write(state, b"", made)):
        raise ConfigurationKeepsChanging(f"there is an API key {id!r} already")
    return made, f"hg_{id}_{secret}"


def rotate(state: State, id: object, grace: object) -> Verb[tuple[ApiKey, str]]:
    """Give a key a new secret, and return it with its new text; the old one goes on for as long as is given."""
    key, grace_ms = require_id(id, "id"), _require_grace(grace)
    secret = _new_secret()
    for _ in range(ATTEMPTS_MAX):
        stored = yield from _read(state)
        present = stored.key(key)
        if present.revoked_at_ms is not None:
            raise Conflict(f"API key {key!r} was revoked, and does not come back: make another one")
        changes = {"digest": _digest(secret), "rotated_at_ms": stored.read_at_ms, **_ENDED}
        if grace_ms:
            changes |= {"former_digest": present.digest, "former_until_ms": stored.read_at_ms + grace_ms}
        after = present.model_copy(update=changes)
        if (yield from _write(state, stored.documents[key], after)):
            return after, f"hg_{key}_{secret}"
    raise ConfigurationKeepsChanging(f"others changed API key {key!r} at every attempt")


def revoke(state: State, id: object) -> Verb[ApiKey]:
    """Let a key let nobody in any more, a former secret included. Revoking it again changes nothing."""
    key = require_id(id, "id")
    for _ in range(ATTEMPTS_MAX):
        stored = yield from _read(state)
        present = stored.key(key)
        if present.revoked_at_ms is not None:
            return present
        after = present.model_copy(update={"revoked_at_ms": stored.read_at_ms, **_ENDED})
        if (yield from _write(state, stored.documents[key], after)):
            return after
    raise ConfigurationKeepsChanging(f"others changed API key {key!r} at every attempt")


def all_of(state: State) -> Verb[list[ApiKey]]:
    """Read all keys, revoked ones too, the earliest first."""
    stored = yield from _read(state)
    return sorted(map(stored.key, stored.documents), key=lambda each: (each.created_at_ms, each.id))


def verify(keys: Iterable[ApiKey], text: str, now_ms: int) -> ApiKey | None:
    """Find the key that a text is of; None where it is of none, or of one that was revoked.

    Every key is looked at, and each as long as any other: how long it takes says nothing of what is nearly right.
    """
    match = _TEXT.fullmatch(text)
    id, secret = (match[1], match[2]) if match else ("", "")
    given = _digest(secret)
    found: ApiKey | None = None
    for key in keys:
        is_former = key.former_until_ms is not None and now_ms < key.former_until_ms
        former = (is_former and key.former_digest) or _NOBODY
        fits = [
            hmac.compare_digest(key.id.encode(), id.encode()),
            hmac.compare_digest(key.digest, given) | hmac.compare_digest(former, given),
            key.revoked_at_ms is None,
        ]
        found = key if all(fits) else found
    return found if match else None


def _new_secret() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _require_name(name: object) -> str:
    if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name.strip()) <= NAME_MAX:
        raise InvalidInput.of("name", name, f"must be 1 to {NAME_MAX} characters that can be printed")
    return name.strip()


def _require_scope(scope: object) -> KeyScope:
    known = next((each for each in KeyScope if each == scope), None)
    if known is None:
        raise InvalidInput.of("scope", scope, f"must be one of {', '.join(KeyScope)}")
    return known


def _require_grace(grace: object) -> int:
    seconds = grace.total_seconds() if isinstance(grace, timedelta) else grace
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= GRACE_MAX_S:
        raise InvalidInput.of("grace_seconds", grace, f"must be 0 to {GRACE_MAX_S} seconds")
    return int(seconds * 1000)


@dataclass(frozen=True, slots=True)
class _Stored:
    """All keys as they are stored, by id, at an instant of the server's."""

    documents: dict[str, bytes]
    read_at_ms: int

    def key(self, id: str) -> ApiKey:
        if id not in self.documents:
            raise NotFound("API key", id)
        return wire.unpack_document(ApiKey, self.documents[id])


def _read(state: State) -> Verb[_Stored]:
    """Read all keys. Where there is an environment, its clock has to be this client's."""
    with contextlib.suppress(EnvironmentNotReady):  # keys may be there before anything else
        yield from open_environment(state)
    reply = yield Call("read_api_keys", (_key(state),), (b"",), timed=0, writes=False)
    ids = [id.decode() for id in reply[2::2]]
    return _Stored(dict(zip(ids, reply[3::2], strict=True)), int(reply[1]))


def _write(state: State, former: bytes, after: ApiKey) -> Verb[bool]:
    """Write a key, if it still is what it was read as. Sent twice it is written once, as its secret is a new one."""
    arguments = (b"", after.id.encode(), former, wire.pack_document(after))
    reply = yield Call("write_api_key", (_key(state),), arguments, timed=0, writes=False)
    refuse_status(state, reply[0])
    return bool(reply[0] == Status.DONE)


def _key(state: State) -> bytes:
    return Keyspace(state.environment_name, 1).api_keys
