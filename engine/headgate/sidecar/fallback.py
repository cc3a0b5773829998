"""Fallbacks: what is answered where no data can be had. A request's own goes before the one that is set for a feature.

Nothing is granted that a fallback does not say: no access is the default, and what is asked for has to fit the limit
and the values that it names. One that grants and names none grants whatever is asked for. A fallback is never used
where data could be had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from pydantic import AliasGenerator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from headgate.errors import InvalidInput
from headgate.model.base import Strict
from headgate.model.ids import ID_RULE, is_id
from headgate.model.terms import Limit

INT32_MAX: Final = 2**31 - 1
FIELD: Final = "entitlements_fallback"


class WithoutData(StrEnum):
    """What a read is answered that no data can be had for, and that has no fallback: no access, or an error."""

    FALLBACK = "fallback"
    ERROR = "error"


class Fallback(Strict):
    """What to answer of one feature, of whatever kind it is; in JSON its fields are in camelCase."""

    model_config = ConfigDict(alias_generator=AliasGenerator(to_camel), populate_by_name=True)

    has_access: bool = False
    value: int | None = Field(default=None, ge=-INT32_MAX - 1, le=INT32_MAX)
    usage_limit: Limit = None
    is_unlimited: bool = False
    enum_values: tuple[str, ...] = Field(default=(), strict=False)

    def grants(self, requested_usage: float = 0.0, requested_values: Sequence[str] = ()) -> bool:
        """Whether there is access to what is asked for."""
        if self.usage_limit is not None and not self.is_unlimited and requested_usage > self.usage_limit:
            return False
        if self.enum_values and not set(requested_values) <= set(self.enum_values):
            return False
        return self.has_access


NO_ACCESS: Final = Fallback()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Take an object of JSON, unless a name is there twice: which of the two is meant is for nobody to guess."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput.of(FIELD, name, "is there more than once in one object")
        found[name] = value
    return found


def read_fallbacks(given: str | Mapping[str, Any] | None) -> dict[str, Fallback]:
    """Read fallbacks by feature: JSON text, or the object of it; raise `InvalidInput` naming what is wrong."""
    if given is None or given == "":
        return {}
    if isinstance(given, str):
        try:
            given = json.loads(given, object_pairs_hook=_object)
        except ValueError as error:
            raise InvalidInput.of(FIELD, given, f"is not JSON: {error}") from None
    if not isinstance(given, Mapping):
        raise InvalidInput.of(FIELD, given, "must be an object: the id of a feature, and what to answer of it")
    found = {}
    for feature, fallback in given.items():
        if not is_id(feature):
            raise InvalidInput.of(FIELD, feature, f"names a feature: {ID_RULE}")
        if not isinstance(fallback, Mapping):
            rule = 'must be an object, such as {"hasAccess": true}'
            raise InvalidInput.of(f"{FIELD}.{feature}", fallback, rule)
        found[feature] = Fallback.accept(fallback, f"{FIELD}.{feature}")
    return found
