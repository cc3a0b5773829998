"""The catalog of an environment: features, currencies, entity types, plans and add-ons. Idempotent upserts.

Every write names the token of the catalog that it was validated against, and is done when all partitions stand at the
new one. No customer is looked at: what a plan says is put together with a customer's subscriptions when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from headgate import fitting, keys, wire
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.errors import ConfigurationKeepsChanging, EnvironmentNotReady, InvalidInput, Problem
from headgate.model.base import Strict
from headgate.model.catalog import Currency, EntityType, Feature
from headgate.model.packages import EARLIER_MAX, Addon, EarlierCredits, Packages, Plan, repeated
from headgate.verbs.environment import (
    ATTEMPTS_MAX,
    accept_loss,
    open_environment,
    read_catalog,
    spread_catalog,
    write_catalog,
)

__all__ = [
    "UPSERTS_MAX",
    "accept_all",
    "accept_loss",
    "addons",
    "currencies",
    "entity_types",
    "features",
    "package_after",
    "plans",
    "put_addons",
    "put_currencies",
    "put_entity_types",
    "put_features",
    "put_plans",
]

Model = TypeVar("Model", bound=Strict)
AnyPackage = TypeVar("AnyPackage", Plan, Addon)

UPSERTS_MAX: Final = 100
"""How many currencies, plans or add-ons one call may write."""


def accept_all(kind: type[Model], values: object, field: str) -> list[Model]:
    """Validate a list that a user gave; every problem names its place in it."""
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise InvalidInput.of(field, values, f"must be a list of {kind.__name__} values or of mappings of their fields")
    accepted: list[Model] = []
    problems: list[Problem] = []
    for index, value in enumerate(values):
        try:
            accepted.append(kind.accept(value, f"{field}[{index}]"))
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(problems)
    return accepted


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


def put_currencies(state: State, currencies: Sequence[Currency]) -> Verb[list[Currency]]:
    """Create or replace 1 to 100 currencies."""
    _require_batch("currencies", currencies)
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from _present(state)
        documents = {keys.catalog_field("currency", each.id): wire.pack_document(each) for each in currencies}
        same = catalog is not None and all(catalog.currencies.get(each.id) == each for each in currencies)
        if (yield from _put(state, catalog, documents, same=same)):
            return list(currencies)
    raise ConfigurationKeepsChanging("other writers changed the catalog at every attempt")


def put_plans(state: State, plans: Sequence[Plan]) -> Verb[list[Plan]]:
    """Create or replace 1 to 100 plans. They are live at once, for every customer; a change counts the version up."""
    return (yield from _put_packages(state, "plan", plans, lambda packages: packages.plans))


def put_addons(state: State, addons: Sequence[Addon]) -> Verb[list[Addon]]:
    """Create or replace 1 to 100 add-ons. They are live at once; a change counts the version up."""
    return (yield from _put_packages(state, "addon", addons, lambda packages: packages.addons))


def _put_packages(
    state: State,
    kind: str,
    packages: Sequence[AnyPackage],
    known_of: Callable[[Packages], Mapping[str, AnyPackage]],
) -> Verb[list[AnyPackage]]:
    field = f"{kind}s"
    _require_batch(field, packages)
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from _present(state)
        features = catalog.features if catalog else {}
        currencies = catalog.currencies if catalog else {}
        problems: list[Problem] = []
        for index, package in enumerate(packages):
            problems += fitting.package_problems(features, currencies, package, field=f"{field}[{index}]")
        if problems:
            raise InvalidInput(problems)
        known = known_of(catalog.packages) if catalog else {}
        now_ms = catalog.read_at_ms if catalog else 0
        after = [package_after(known.get(package.id), package, now_ms) for package in packages]
        documents = {keys.catalog_field(kind, each.id): wire.pack_document(each) for each in after}
        same = catalog is not None and all(known.get(each.id) == each for each in after)
        if (yield from _put(state, catalog, documents, same=same)):
            return after
    raise ConfigurationKeepsChanging("other writers changed the catalog at every attempt")


def package_after(known: AnyPackage | None, given: AnyPackage, now_ms: int) -> AnyPackage:
    """What is stored: the version counts up on a change, and what it gave until now is remembered."""
    if known is None:
        return given.model_copy(update={"version": 1, "earlier_credits": ()})
    kept = {"version": known.version, "earlier_credits": known.earlier_credits}
    if given.model_copy(update=kept) == known:
        return known
    earlier: tuple[EarlierCredits, ...] = known.earlier_credits
    if given.credits != known.credits:
        # A clock that stepped back may have left changes that are to come: from now on it gives what is written now.
        past: list[EarlierCredits] = [each for each in earlier if each.until_ms < now_ms]
        until_now = EarlierCredits(until_ms=now_ms, credits=known.credits_at(now_ms - 1))
        earlier = (*past, until_now)[-EARLIER_MAX:]
    return given.model_copy(update={"version": known.version + 1, "earlier_credits": earlier})


def features(state: State) -> Verb[dict[str, Feature]]:
    """Read all features, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.features)


def currencies(state: State) -> Verb[dict[str, Currency]]:
    """Read all currencies, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.currencies)


def plans(state: State) -> Verb[dict[str, Plan]]:
    """Read all plans, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.packages.plans)


def addons(state: State) -> Verb[dict[str, Addon]]:
    """Read all add-ons, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.packages.addons)


def entity_types(state: State) -> Verb[dict[str, EntityType]]:
    """Read all entity types, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.entity_types)


def _require_batch(field: str, values: Sequence[Currency | Plan | Addon]) -> None:
    if not 1 <= len(values) <= UPSERTS_MAX:
        raise InvalidInput.of(field, len(values), f"one call takes 1 to {UPSERTS_MAX}")
    twice = repeated(each.id for each in values)
    problems = [
        Problem(f"{field}[{index}].id", each.id, "is in the list more than once")
        for index, each in enumerate(values)
        if each.id in twice
    ]
    if problems:
        raise InvalidInput(problems)


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
