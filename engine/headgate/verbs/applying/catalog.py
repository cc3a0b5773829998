"""The catalog of a policy: features, currencies, entity types, plans and add-ons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.model.base import Strict
from headgate.model.catalog import Currency, EntityType, Feature
from headgate.model.packages import Addon, Package, PackageEntitlement, Plan, RecurringCredit
from headgate.policy import (
    ADDON_TERMS_WORDS,
    ADDON_WORDS,
    CREDIT_WORDS,
    CURRENCY_WORDS,
    ENTITY_TYPE_WORDS,
    FEATURE_WORDS,
    PLAN_CREDIT_WORDS,
    PLAN_TERMS_WORDS,
    PLAN_WORDS,
    Policy,
    path_to,
)
from headgate.verbs import catalog
from headgate.verbs.applying.changes import Told, in_batches, in_words, words_before

_Described = TypeVar("_Described", Feature, Currency, EntityType, Plan, Addon)
_AnyPackage = TypeVar("_AnyPackage", Plan, Addon)
_Put = Callable[[State, Sequence[Any]], Verb[Any]]

# What is only told to people: left out of a policy, it stays as it is.
_TEXTS: Final = (
    *("display_name", "description", "metadata"),
    *("units", "units_plural", "status", "enum_display_names"),
    *("symbol", "unit_singular", "unit_plural", "product"),
)
_PARTS: Final = ("entitlements", "credits")


@dataclass(frozen=True, slots=True)
class PresentCatalog:
    """The catalog as it is stored, at an instant of the server's; empty where there is no environment yet."""

    now_ms: int
    features: Mapping[str, Feature] = field(default_factory=dict)
    currencies: Mapping[str, Currency] = field(default_factory=dict)
    entity_types: Mapping[str, EntityType] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    addons: Mapping[str, Addon] = field(default_factory=dict)


@dataclass(slots=True)
class CatalogWrites:
    """What is new or different, and, of each kind, one that the policy names and that is stored already."""

    features: list[Feature] = field(default_factory=list)
    currencies: list[Currency] = field(default_factory=list)
    entity_types: list[EntityType] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    addons: list[Addon] = field(default_factory=list)
    present: list[tuple[_Put, Sequence[Any]]] = field(default_factory=list)

    def write(self, state: State) -> Verb[None]:
        """Write it. What says nothing new is written too: that mends a catalog that did not reach every partition."""
        writes: list[tuple[_Put, Sequence[Any]]] = [
            (catalog.put_features, self.features),
            (catalog.put_currencies, self.currencies),
            (catalog.put_entity_types, self.entity_types),
            (catalog.put_plans, self.plans),
            (catalog.put_addons, self.addons),
        ]
        if not any(items for _, items in writes):
            writes = [each for each in self.present if each[1]][:1]
        for put, items in writes:
            for batch in in_batches(items):
                yield from put(state, batch)


def judge_catalog(told: Told, present: PresentCatalog, policy: Policy) -> CatalogWrites:
    """Find out what of the catalog is new or different."""
    writes = CatalogWrites()
    for feature in policy.features:
        _require_type(told, present.features.get(feature.id), feature)
        _judge(told, "features", present.features, feature, FEATURE_WORDS, writes.features)
    for currency in policy.currencies:
        _judge(told, "currencies", present.currencies, currency, CURRENCY_WORDS, writes.currencies)
    for entity_type in policy.entity_types:
        _judge(told, "entity_types", present.entity_types, entity_type, ENTITY_TYPE_WORDS, writes.entity_types)
    for plan in policy.plans:
        words = (PLAN_WORDS, PLAN_TERMS_WORDS, PLAN_CREDIT_WORDS)
        _judge_package(told, "plans", present.plans, plan, words, writes.plans)
    for addon in policy.addons:
        words = (ADDON_WORDS, ADDON_TERMS_WORDS, CREDIT_WORDS)
        _judge_package(told, "addons", present.addons, addon, words, writes.addons)
    writes.present = [
        (catalog.put_features, _any_of(policy.features, present.features)),
        (catalog.put_currencies, _any_of(policy.currencies, present.currencies)),
        (catalog.put_entity_types, _any_of(policy.entity_types, present.entity_types)),
        (catalog.put_plans, _any_of(policy.plans, present.plans)),
        (catalog.put_addons, _any_of(policy.addons, present.addons)),
    ]
    return writes


def catalog_after(present: PresentCatalog, writes: CatalogWrites) -> Catalog:
    """The catalog as it will be. What plans and add-ons gave until now is remembered, as it will be then."""
    now_ms = present.now_ms
    plans = [catalog.package_after(present.plans.get(each.id), each, now_ms) for each in writes.plans]
    addons = [catalog.package_after(present.addons.get(each.id), each, now_ms) for each in writes.addons]
    return Catalog.of(
        b"",
        read_at_ms=now_ms,
        features=_all_after(present.features, writes.features),
        currencies=_all_after(present.currencies, writes.currencies),
        entity_types=_all_after(present.entity_types, writes.entity_types),
        plans=_all_after(present.plans, plans),
        addons=_all_after(present.addons, addons),
    )


def _all_after(present: Mapping[str, _Described], written: Sequence[_Described]) -> Iterable[_Described]:
    return {**present, **{each.id: each for each in written}}.values()


def _any_of(wanted: Sequence[_Described], present: Mapping[str, _Described]) -> list[_Described]:
    return [present[each.id] for each in wanted if each.id in present][:1]


def _require_type(told: Told, present: Feature | None, feature: Feature) -> None:
    if present is not None and (present.feature_type, present.meter_type) != (feature.feature_type, feature.meter_type):
        is_now = f"{present.feature_type.value} {present.meter_type.value}"
        path = path_to("features", feature.id)
        told.conflicts.append(f"{path}: the feature is {is_now}, and keeps its type: use another id")


def _judge(
    told: Told,
    section: str,
    present: Mapping[str, _Described],
    wanted: _Described,
    words: Mapping[str, str],
    new: list[_Described],
) -> None:
    known = present.get(wanted.id)
    wanted = _with_texts_of(known, wanted)
    if told.differs(path_to(section, wanted.id), words_before(known, words), in_words(wanted, words)):
        new.append(wanted)


def _judge_package(
    told: Told,
    section: str,
    present: Mapping[str, _AnyPackage],
    wanted: _AnyPackage,
    words: tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]],
    new: list[_AnyPackage],
) -> None:
    known = present.get(wanted.id)
    wanted = _with_texts_of(known, wanted)
    own_words = {word: name for word, name in words[0].items() if word not in _PARTS}
    path = path_to(section, wanted.id)
    differs = told.differs(path, words_before(known, own_words), in_words(wanted, own_words))
    differs |= judge_entitlements(told, path, _entitlements(known), _entitlements(wanted), words[1])
    differs |= judge_credits(told, path, _credits(known), _credits(wanted), words[2])
    if differs:
        new.append(wanted)


def judge_entitlements(
    told: Told, path: str, before: Mapping[str, Strict], after: Mapping[str, Strict], words: Mapping[str, str]
) -> bool:
    """Whether what something says of features changes, by feature."""
    return told.all_differ(lambda id: path_to(path_to(path, "entitlements"), id), before, after, words)


def judge_credits(
    told: Told,
    path: str,
    before: Mapping[tuple[str, ...], RecurringCredit],
    after: Mapping[tuple[str, ...], RecurringCredit],
    words: Mapping[str, str],
) -> bool:
    """Whether the credits that something gives change, by what names them."""
    named = {word: name for word, name in words.items() if word != "currency"}
    return told.all_differ(lambda key: f"{path}.credits[{', '.join(key)}]", before, after, named)


def _entitlements(package: Package | None) -> dict[str, PackageEntitlement]:
    return {each.feature: each for each in package.entitlements} if package else {}


def _credits(package: Package | None) -> dict[tuple[str, ...], RecurringCredit]:
    return {(each.currency, each.cadence.value): each for each in package.credits} if package else {}


def _with_texts_of(present: _Described | None, wanted: _Described) -> _Described:
    if present is None:
        return wanted
    kept = {name: getattr(present, name) for name in _TEXTS if name in type(wanted).model_fields}
    return wanted.model_copy(update={name: kept[name] for name in kept.keys() - wanted.model_fields_set})
