"""Creating features and currencies: once, and under an id that none of the other kind has.

A usage record names either as its `featureId`, so no feature and currency share one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import DuplicateId, EnvironmentNotReady
from headgate.model.catalog import Currency, Feature

Capability = TypeVar("Capability", Feature, Currency)


def created(wanted: Capability) -> Callable[[Capability | None], Capability]:
    """Make it where there is none, and leave it as it is where it is the same; another one is `DuplicateId`."""

    def change(present: Capability | None) -> Capability:
        if present is None:
            return wanted
        instants = {"created_at_ms": present.created_at_ms, "updated_at_ms": present.updated_at_ms}
        if wanted.model_copy(update=instants) != present:
            raise DuplicateId(_noun(present), present.id)
        return present

    return change


async def require_no_other(engine: AsyncHeadgate, kind: type[Feature] | type[Currency], id: str) -> None:
    """Raise `DuplicateId` where a currency has the id that a feature is to have, or the other way round."""
    try:
        found = (await engine.catalog.find([id])).get(id)
    except EnvironmentNotReady:
        return  # nothing was ever written, or what is there was lost: writing says which
    if found is not None and not isinstance(found, kind):
        raise DuplicateId(_noun(found), id)


def _noun(capability: Feature | Currency) -> str:
    return "feature" if isinstance(capability, Feature) else "currency"
