"""The API keys of the REST face, for threads."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from headgate.model.api_key import ApiKey, KeyScope
from headgate.verbs import api_keys

if TYPE_CHECKING:
    from headgate.client.sync_client import Headgate


class ApiKeyMethods:
    """Who may use the REST face of this environment. Keys may be made before anything else is written."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def create(self, name: str, scope: KeyScope | str) -> tuple[ApiKey, str]:
        """Make a key, and return it with its text: note that down, as it is told only once."""
        return self._engine._set_up(api_keys.create(self._engine._state, name, scope))

    def rotate(self, id: str, grace_seconds: float | timedelta = 0) -> tuple[ApiKey, str]:
        """Give a key a new secret, and return it with its new text; the old one still works for `grace_seconds`."""
        return self._engine._set_up(api_keys.rotate(self._engine._state, id, grace_seconds))

    def revoke(self, id: str) -> ApiKey:
        """Let a key let nobody in any more; it stays listed."""
        return self._engine._set_up(api_keys.revoke(self._engine._state, id))

    def list(self) -> list[ApiKey]:
        """Read all keys, revoked ones too, the earliest first. None of them says its secret."""
        return self._engine._set_up(api_keys.all_of(self._engine._state))
