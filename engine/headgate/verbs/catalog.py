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
    require_nothing_lost,
    spread_catalog,
    write_catalog,
)

__all__ = [
    "UPSERTS_MAX",
    "accept_all",
    "accept_loss",
    "addons",
    "change_addon",
    "change_currency",
    "change_feature",
    "change_plan",
    "currencies",
    "entity_types",
    "features",
    "find",
    "package_after",
    "plans",
    "put_addons",
    "put_currencies",
    "put_entity_types",
    "put_features",
    "put_plans",
]

Model = TypeVar("Model", bound=Strict)
AnyItem = TypeVar("AnyItem", Feature, Currency, EntityType)
AnyPackage = TypeVar("AnyPackage", Plan, Addon)
AnyDocument = TypeVar("AnyDocument", Feature, Currency, EntityType, Plan, Addon)

UPSERTS_MAX: Final = 100
"""How many currencies, plans or add-ons one call may write."""

_KEPT: Final = ("version", "earlier_credits", "created_at_ms", "updated_at_ms")
"""What of a plan or an add-on is the engine's, whatever was given."""


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

    def require_types(known: Mapping[str, Feature]) -> None:
        for index, feature in enumerate(features):
            _require_type(known.get(feature.id), feature, f"features[{index}]")

    return (yield from _put_items(state, "feature", features, lambda catalog: catalog.features, require_types))


def _require_type(known: Feature | None, given: Feature, field: str) -> None:
    if known is None or (known.feature_type, known.meter_type) == (given.feature_type, given.meter_type):
        return
    raise InvalidInput.of(
        f"{field}.feature_type",
        f"{given.feature_type.value} {given.meter_type.value}",
        f"{given.id!r} is {known.feature_type.value} {known.meter_type.value}: a feature keeps its type",
    )


def put_entity_types(
    state: State, entity_types: Sequence[EntityType], *, keep_omitted: bool = False
) -> Verb[list[EntityType]]:
    """Create or replace entity types, or change what is given of them."""
    change = _completed if keep_omitted else _replaced
    return (
        yield from _put_items(state, "entity-type", entity_types, lambda catalog: catalog.entity_types, change=change)
    )


def _replaced(known: EntityType, given: EntityType) -> EntityType:
    return given


def _completed(known: EntityType, given: EntityType) -> EntityType:
    """What was given, and what is known of what was left out."""
    return known.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def put_currencies(state: State, currencies: Sequence[Currency]) -> Verb[list[Currency]]:
    """Create or replace 1 to 100 currencies."""
    _require_batch("currencies", currencies)
    return (yield from _put_items(state, "currency", currencies, lambda catalog: catalog.currencies))


def _put_items(
    state: State,
    kind: str,
    items: Sequence[AnyItem],
    known_of: Callable[[Catalog], Mapping[str, AnyItem]],
    require: Callable[[Mapping[str, AnyItem]], None] = lambda known: None,
    change: Callable[[AnyItem, AnyItem], AnyItem] = lambda known, given: given,
) -> Verb[list[AnyItem]]:
    def after(catalog: Catalog) -> list[AnyItem]:
        known = known_of(catalog)
        require(known)
        asked = [change(known[each.id], each) if each.id in known else each for each in items]
        return [_item_after(known.get(each.id), each, catalog.read_at_ms) for each in asked]

    return (yield from _write(state, kind, known_of, after))


def _write(
    state: State,
    kind: str,
    known_of: Callable[[Catalog], Mapping[str, AnyDocument]],
    after: Callable[[Catalog], list[AnyDocument]],
) -> Verb[list[AnyDocument]]:
    """Write what is to be after the catalog as it is read, as often as others write in between."""
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from _present(state)
        known, written = known_of(catalog), after(catalog)
        documents = {keys.catalog_field(kind, each.id): wire.pack_document(each) for each in written}
        if (yield from _put(state, catalog, documents, same=all(known.get(each.id) == each for each in written))):
            return written
    raise ConfigurationKeepsChanging("other writers changed the catalog at every attempt")


def _item_after(known: AnyItem | None, given: AnyItem, now_ms: int) -> AnyItem:
    """What is stored: when it was created stays, and when it was updated moves on a change."""
    if known is None:
        return given.model_copy(update={"created_at_ms": now_ms, "updated_at_ms": now_ms})
    kept = {"created_at_ms": known.created_at_ms, "updated_at_ms": known.updated_at_ms}
    if given.model_copy(update=kept) == known:
        return known
    return given.model_copy(update={**kept, "updated_at_ms": now_ms})


def change_feature(state: State, id: str, change: Callable[[Feature | None], Feature]) -> Verb[Feature]:
    """Read a feature, change it and write it in one step: what others wrote meanwhile is changed, not lost."""

    def changed(known: Feature | None) -> Feature:
        given = change(known)
        _require_type(known, given, "feature")
        return given

    return (yield from _change_item(state, "feature", id, changed, lambda catalog: catalog.features))


def change_currency(state: State, id: str, change: Callable[[Currency | None], Currency]) -> Verb[Currency]:
    """Read a currency, change it and write it in one step: what others wrote meanwhile is changed, not lost."""
    return (yield from _change_item(state, "currency", id, change, lambda catalog: catalog.currencies))


def _change_item(
    state: State,
    kind: str,
    id: str,
    change: Callable[[AnyItem | None], AnyItem],
    known_of: Callable[[Catalog], Mapping[str, AnyItem]],
) -> Verb[AnyItem]:
    def after(catalog: Catalog) -> list[AnyItem]:
        known = known_of(catalog).get(id)
        return [_item_after(known, _with_id(kind, id, change(known)), catalog.read_at_ms)]

    (changed,) = yield from _write(state, kind, known_of, after)
    return changed


def _with_id(kind: str, id: str, given: AnyDocument) -> AnyDocument:
    if given.id != id:
        raise InvalidInput.of(f"{kind}.id", given.id, f"must stay {id!r}")
    return given


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

    def after(catalog: Catalog) -> list[AnyPackage]:
        _require_fitting(catalog, {f"{field}[{index}]": each for index, each in enumerate(packages)})
        known = known_of(catalog.packages)
        return [package_after(known.get(each.id), each, catalog.read_at_ms) for each in packages]

    return (yield from _write(state, kind, lambda catalog: known_of(catalog.packages), after))


def _require_fitting(catalog: Catalog, packages: Mapping[str, Plan | Addon]) -> None:
    """Refuse what does not fit the catalog; each stands under the name of its field."""
    problems: list[Problem] = []
    for field, package in packages.items():
        problems += fitting.package_problems(catalog.features, catalog.currencies, package, field=field)
    if problems:
        raise InvalidInput(problems)


def change_plan(state: State, id: str, change: Callable[[Plan | None], Plan]) -> Verb[Plan]:
    """Read a plan, change it and write it in one step: what others wrote meanwhile is changed, not lost."""
    return (yield from _change_package(state, "plan", id, change, lambda packages: packages.plans))


def change_addon(state: State, id: str, change: Callable[[Addon | None], Addon]) -> Verb[Addon]:
    """Read an add-on, change it and write it in one step: what others wrote meanwhile is changed, not lost."""
    return (yield from _change_package(state, "addon", id, change, lambda packages: packages.addons))


def _change_package(
    state: State,
    kind: str,
    id: str,
    change: Callable[[AnyPackage | None], AnyPackage],
    known_of: Callable[[Packages], Mapping[str, AnyPackage]],
) -> Verb[AnyPackage]:
    def after(catalog: Catalog) -> list[AnyPackage]:
        known = known_of(catalog.packages).get(id)
        given = _with_id(kind, id, change(known))
        _require_fitting(catalog, {kind: given})
        return [package_after(known, given, catalog.read_at_ms)]

    (changed,) = yield from _write(state, kind, lambda catalog: known_of(catalog.packages), after)
    return changed


def package_after(known: AnyPackage | None, given: AnyPackage, now_ms: int) -> AnyPackage:
    """What is stored: the version counts up on a change, and what it gave until now is remembered."""
    if known is None:
        instants = {"created_at_ms": now_ms, "updated_at_ms": now_ms}
        return given.model_copy(update={"version": 1, "earlier_credits": (), **instants})
    kept = {name: getattr(known, name) for name in _KEPT}
    if _in_order(given.model_copy(update=kept)) == _in_order(known):
        return known
    earlier: tuple[EarlierCredits, ...] = known.earlier_credits
    if _in_order(given).credits != _in_order(known).credits:
        # A clock that stepped back may have left changes that are to come: from now on it gives what is written now.
        past: list[EarlierCredits] = [each for each in earlier if each.until_ms < now_ms]
        until_now = EarlierCredits(until_ms=now_ms, credits=known.credits_at(now_ms - 1))
        earlier = (*past, until_now)[-EARLIER_MAX:]
    changed = {"version": known.version + 1, "earlier_credits": earlier, "updated_at_ms": now_ms}
    return given.model_copy(update={**kept, **changed})


def _in_order(package: AnyPackage) -> AnyPackage:
    """The same package: in which order it names features and credits means nothing."""
    entitlements = tuple(sorted(package.entitlements, key=lambda each: each.feature))
    credits = tuple(sorted(package.credits, key=lambda each: (each.currency, each.cadence)))
    return package.model_copy(update={"entitlements": entitlements, "credits": credits})


def features(state: State) -> Verb[dict[str, Feature]]:
    """Read all features, by id."""
    catalog = yield from read_catalog(state, fresh=True)
    return dict(catalog.features)


def find(state: State, ids: Sequence[str]) -> Verb[dict[str, Feature | Currency]]:
    """Find what ids name: features, or else currencies. What is unknown to this client is looked for on the server."""
    catalog = yield from read_catalog(state)
    if not all(id in catalog.features or id in catalog.currencies for id in ids):
        catalog = yield from read_catalog(state, fresh=True)
    found = {id: catalog.features.get(id) or catalog.currencies.get(id) for id in ids}
    return {id: each for id, each in found.items() if each is not None}


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


def _present(state: State) -> Verb[Catalog]:
    """The catalog as it is stored; where nothing was ever written it is empty, without a token."""
    try:
        yield from open_environment(state)
    except EnvironmentNotReady:
        return Catalog.of(b"", read_at_ms=(yield from require_nothing_lost(state)))
    catalog = yield from read_catalog(state, fresh=True)
    if state.environment is not None and state.environment.spread and not catalog.token:
        raise EnvironmentNotReady(
            f"environment {state.environment_name!r} has lost its catalog: a part of it, written now, would lift every "
            "limit that the rest of it holds; restore it, or engine.catalog.accept_loss()"
        )
    return catalog


def _put(state: State, catalog: Catalog, documents: Mapping[bytes, bytes], *, same: bool) -> Verb[bool]:
    if same and catalog.token:
        yield from spread_catalog(state, catalog.token)  # says nothing new, and mends a fan-out that was cut
        return True
    return (yield from write_catalog(state, documents, expected=catalog.token))
