"""The catalog: features and entity types of an environment. Idempotent upserts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from headgate import keys, wire
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.errors import ConfigurationKeepsChanging, EnvironmentNotReady, InvalidInput
from headgate.model.base import Strict
from headgate.model.catalog import EntityType, Feature
from headgate.verbs.environment import (
    ATTEMPTS_MAX,
    accept_loss,
    open_environment,
    read_catalog,
    spread_catalog,
    write_catalog,
)

__all__ = ["accept_all", "accept_loss", "entity_types", "features", "put_entity_types", "put_features"]

Model = TypeVar("Model", bound=Strict)


def accept_all(kind: type[Model], values: object, field: str) -> list[Model]:
    """Validate a list that a user gave; every problem names its place in it."""
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise InvalidInput.of(field, values, f"must be a list of {kind.__name__} values or of mappings of their fields")
    return [kind.accept(value, f"{field}[{index}]") for index, value in enumerate(values)]


def put_features(state: State, features: Sequence[Feature]) -> Verb[list[Feature]]:
    """Create or replace features. A feature that has usage keeps its type: its counters mean something."""
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from _present(state)
        for index, feature in enumerate(features):
            known = catalog.features.get(feature.id) if catalog else None
            if known and (known.feature_type, known.meter_type) != (feature.feature_type, feature.meter_type):
                raise InvalidInput.of(
                    f"features[{index}].feature_type",
                    f"{feature.feature_type.value} {feature.meter_type.value}",
                    f"{feature.id!r} is {known.feature_type.value} {known.meter_type.value}: a feature keeps its type",
                )
        documents = {keys.catalog_field("feature", feature.id): wire.pack_document(feature) for feature in features}
        same = catalog is not None and all(catalog.features.get(feature.id) == feature for feature in features)
        if (yield from _put(state, catalog, documents, same=same)):
            return list(features)
    raise ConfigurationKeepsChanging("other writers changed the catalog at every attempt")


def put_entity_types(state: State, entity_types: Sequence[EntityType]) -> Verb[list[EntityType]]:
    """Create or replace entity types."""
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from _present(state)
        documents = {keys.catalog_field("entity-type", each.id): wire.pack_document(each) for each in entity_types}
        same = catalog is not None and all(catalog.entity_types.get(each.id) == each for each in entity_types)
        if (yield from _put(state, catalog, documents, same=same)):
            return list(entity_types)
    raise ConfigurationKeepsChanging("other writers changed the catalog at every attempt")


def features(state: State) -> Verb[dict[str, Feature]]:
    """Read all features, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.features)


def entity_types(state: State) -> Verb[dict[str, EntityType]]:
    """Read all entity types, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.entity_types)


def _present(state: State) -> Verb[Catalog | None]:
    try:
        yield from open_environment(state)
    except EnvironmentNotReady:
        return None
    catalog = yield from read_catalog(state, fresh=True)
    if state.environment is not None and state.environment.spread and not catalog.token:
        raise EnvironmentNotReady(
            f"environment {state.environment_name!r} has lost its catalog: a part of it, written now, would lift every "
            "limit that the rest of it holds; restore it, or engine.catalog.accept_loss()"
        )
    return catalog


def _put(state: State, catalog: Catalog | None, documents: Mapping[bytes, bytes], *, same: bool) -> Verb[bool]:
    token = catalog.token if catalog else b""
    if same and token:
        yield from spread_catalog(state, token)  # says nothing new, and mends a fan-out that was cut
        return True
    return (yield from write_catalog(state, documents, expected=token))
