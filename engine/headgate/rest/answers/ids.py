"""Ids of answers for what the engine names by several parts. They are computed, so that they never change."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Final

_ENTITLEMENTS: Final = uuid.UUID("8c0f6f0e-6c55-4d0b-9a3e-5a0b1c6c2f47")
"""The namespace of the ids of budgets. Another one would give every budget another id."""


def entitlement_id(environment: str, customer: str, entity: str, capability: str, scope: Iterable[str]) -> str:
    """Name a budget by its key: the same UUID wherever it is shown, whatever was changed of it.

    `capability` is spelled as in the keyspace, such as `feature:seats`. The scope is a set. No id has a `/` or a `,`.
    """
    parts = (environment, customer, entity, capability, ",".join(sorted(set(scope))))
    return str(uuid.uuid5(_ENTITLEMENTS, "/".join(parts)))


_RECORDS: Final = uuid.UUID("5f2b7f0a-0d63-4c37-9a0f-7b8a6a1f9d1e")
"""The namespace of the ids of usage records that were given a key."""


def record_id(environment: str, customer: str, capability: str, key: str | None) -> str:
    """Name a usage record: one that is repeated under its key has the same UUID again, one without a key is new."""
    if key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(_RECORDS, "/".join((environment, customer, capability, key))))
