"""The document that is answered from offline: what each customer is entitled to.

    {"customers": {"acme": {"entitlements": {
        "sso": {"type": "BOOLEAN"},
        "seats": {"type": "METERED", "usageLimit": 5}
    }}}}

In JSON fields are in camelCase; made as objects, they are named as here. A field that is null is as one that is left
out. Whatever is wrong is an `InvalidInput` that names the path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AliasGenerator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from headgate.errors import InvalidInput
from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import Limit

_IN_CAMEL_CASE: Final = ConfigDict(alias_generator=AliasGenerator(to_camel), populate_by_name=True)


class OfflineType(StrEnum):
    """What kind a feature is of."""

    BOOLEAN = "BOOLEAN"
    NUMERIC = "NUMERIC"
    METERED = "METERED"
    ENUM = "ENUM"


_FIELDS: Final[Mapping[OfflineType, frozenset[str]]] = {
    OfflineType.BOOLEAN: frozenset(),
    OfflineType.NUMERIC: frozenset({"value", "is_unlimited"}),
    OfflineType.METERED: frozenset({"usage_limit", "is_unlimited"}),
    OfflineType.ENUM: frozenset({"enum_values"}),
}
"""The fields that an entitlement of each type may have."""


class OfflineEntitlement(Strict):
    """What a customer may do with one feature: its type, and the value, the limit or the values that belong to it."""

    model_config = _IN_CAMEL_CASE

    type: OfflineType = Field(strict=False)
    value: Limit = None
    usage_limit: Limit = None
    is_unlimited: Annotated[bool, BeforeValidator(lambda given: False if given is None else given)] = False
    enum_values: Annotated[tuple[str, ...], BeforeValidator(lambda given: () if given is None else given)] = Field(
        default=(), strict=False
    )

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        given = {name for name in ("value", "usage_limit") if getattr(self, name) is not None}
        given |= {name for name in ("is_unlimited", "enum_values") if getattr(self, name)}
        for name in sorted(given - _FIELDS[self.type]):
            raise ValueError(f"{to_camel(name)}: an entitlement of type {self.type} has none")
        needed = {OfflineType.NUMERIC: "value", OfflineType.METERED: "usage_limit"}.get(self.type)
        if needed is not None and (getattr(self, needed) is None) != self.is_unlimited:
            raise ValueError(f"{to_camel(needed)}: is needed, or isUnlimited, and not both")
        if self.type is OfflineType.ENUM and not self.enum_values:
            raise ValueError("enumValues: is needed: one value or more")
        return self


class OfflineCustomer(Strict):
    """Everything that one customer is entitled to, by the ids of the features."""

    model_config = _IN_CAMEL_CASE

    entitlements: dict[Id, OfflineEntitlement] = Field(default_factory=dict)


class OfflineEntitlements(Strict):
    """Everything that is known: customers by their ids. A feature has one type in all of it."""

    model_config = _IN_CAMEL_CASE

    customers: dict[Id, OfflineCustomer] = Field(default_factory=dict)

    def all(self) -> Iterator[tuple[str, str, OfflineEntitlement]]:
        """Every entitlement, with its path and its feature."""
        for customer, held in self.customers.items():
            for feature, entitlement in held.entitlements.items():
                yield f"customers.{customer}.entitlements.{feature}", feature, entitlement


def read_offline(document: OfflineEntitlements | Mapping[str, Any] | str | Path) -> OfflineEntitlements:
    """Read a document: the object, a mapping of it, JSON text, or the path of a file with JSON in it."""
    given: Any = document
    if isinstance(given, Path):
        try:
            given = given.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput.of("offline", str(document), f"cannot be read: {error}") from None
    if isinstance(given, str):
        try:
            given = json.loads(given, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            hint = "" if isinstance(document, Path) else " (the path of a file is given as a pathlib.Path)"
            raise InvalidInput.of("offline", str(document), f"is not JSON: {error}{hint}") from None
    if not isinstance(given, OfflineEntitlements | Mapping):
        raise InvalidInput.of("offline", given, 'must be an object, such as {"customers": {}}')
    read = OfflineEntitlements.accept(given)
    seen: dict[str, tuple[str, OfflineType]] = {}
    for path, feature, entitlement in read.all():
        first, kind = seen.setdefault(feature, (path, entitlement.type))
        if kind is not entitlement.type:
            rule = f"a feature has one type, and at {first} it is {kind}"
            raise InvalidInput.of(f"{path}.type", entitlement.type.value, rule)
    return read


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Take an object of JSON, unless a name is there twice: which of the two would entitle is for nobody to guess."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput.of("offline", name, "is there more than once in one object")
        found[name] = value
    return found
