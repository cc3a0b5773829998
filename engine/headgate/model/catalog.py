"""The catalog: what can be entitled, limited and governed in one environment.

`created_at_ms` and `updated_at_ms` are kept by the engine, whatever is given there: a document that is written again
as it is keeps both, and one from before there were such instants says 0.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import InstantMs


class FeatureType(StrEnum):
    """What a feature's entitlement is: access, a number, or a choice of values."""

    BOOLEAN = "BOOLEAN"
    NUMBER = "NUMBER"
    ENUM = "ENUM"


class MeterType(StrEnum):
    """How a number feature is metered: not at all (configuration), only upwards, or up and down."""

    NONE = "NONE"
    INCREMENTAL = "INCREMENTAL"
    FLUCTUATING = "FLUCTUATING"


class FeatureStatus(StrEnum):
    """Shown to clients; it does not decide."""

    NEW = "NEW"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


class Feature(Strict):
    """A capability: boolean, numeric (configuration), enum, or metered (incremental or fluctuating).

    `enum_display_names` is what people read for a value, where that is not the value itself.
    """

    id: Id
    display_name: str = ""
    description: str = ""
    feature_type: FeatureType = Field(strict=False)
    meter_type: MeterType = Field(default=MeterType.NONE, strict=False)
    units: str = ""
    units_plural: str = ""
    status: FeatureStatus = Field(default=FeatureStatus.ACTIVE, strict=False)
    enum_values: tuple[str, ...] = Field(default=(), strict=False)
    enum_display_names: dict[str, str] = Field(default_factory=dict)
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at_ms: InstantMs = 0
    updated_at_ms: InstantMs = 0

    @model_validator(mode="after")
    def _parts_fit_the_type(self) -> Self:
        if self.meter_type is not MeterType.NONE and self.feature_type is not FeatureType.NUMBER:
            raise ValueError(f"meter_type {self.meter_type}: only a feature of type NUMBER is metered")
        if self.enum_values and self.feature_type is not FeatureType.ENUM:
            raise ValueError("enum_values: only a feature of type ENUM has values")
        if self.enum_display_names and self.feature_type is not FeatureType.ENUM:
            raise ValueError("enum_display_names: only a feature of type ENUM has values")
        return self

    @property
    def is_metered(self) -> bool:
        """Whether usage of the feature is counted."""
        return self.meter_type is not MeterType.NONE


def _distinct(keys: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(keys)) != len(keys) or not all(keys):
        raise ValueError("attribution keys are distinct names, none empty")
    return keys


class Currency(Strict):
    """A currency of credits."""

    id: Id
    display_name: str = ""
    description: str = ""
    symbol: str = ""
    unit_singular: str = ""
    unit_plural: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at_ms: InstantMs = 0
    updated_at_ms: InstantMs = 0


class EntityType(Strict):
    """A kind of governed thing, and the dimension names that carry its ids (at most two, contract C.1)."""

    id: Id
    display_name: str = ""
    description: str = ""
    attribution_keys: Annotated[tuple[str, ...], Field(max_length=2, strict=False), AfterValidator(_distinct)] = ()
    created_at_ms: InstantMs = 0
    updated_at_ms: InstantMs = 0
