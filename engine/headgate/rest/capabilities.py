"""Ids of features and of currencies: a usage record names either as its `featureId`, so no two share one."""

from __future__ import annotations

from headgate.client.async_client import AsyncHeadgate
from headgate.errors import DuplicateId, EnvironmentNotReady
from headgate.model.catalog import Currency, Feature


async def require_no_other(engine: AsyncHeadgate, kind: type[Feature] | type[Currency], id: str) -> None:
    """Raise `DuplicateId` where a currency has the id that a feature is to have, or the other way round."""
    try:
        found = (await engine.catalog.find([id])).get(id)
    except EnvironmentNotReady:
        return  # nothing was ever written, or what is there was lost: writing says which
    if found is not None and not isinstance(found, kind):
        raise DuplicateId("feature" if isinstance(found, Feature) else "currency", id)
