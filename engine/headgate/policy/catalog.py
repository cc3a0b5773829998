"""Reading the catalog of a policy: features, currencies, entity types, plans and add-ons, and what entitlements say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from headgate.model.catalog import Currency, EntityType, Feature, FeatureType
from headgate.model.ids import is_id
from headgate.model.packages import Addon, CreditRate, PackageEntitlement, Plan, RecurringCredit
from headgate.model.terms import EntitlementTerms
from headgate.policy.fields import Fields
from headgate.policy.words import (
    ADDON_TERMS_WORDS,
    ADDON_WORDS,
    CREDIT_WORDS,
    CURRENCY_WORDS,
    ENTITY_TYPE_WORDS,
    FEATURE_WORDS,
    PLAN_CREDIT_WORDS,
    PLAN_TERMS_WORDS,
    PLAN_WORDS,
    RATE_WORDS,
    UNLIMITED,
    path_to,
)

_Terms = TypeVar("_Terms", bound=EntitlementTerms)
_Package = TypeVar("_Package", Plan, Addon)

_BOOLEAN_WORDS: Final = frozenset({"expires"})
_ENUM_WORDS: Final = _BOOLEAN_WORDS | {"values", "behavior"}
_NUMBER_WORDS: Final = _BOOLEAN_WORDS | {"limit", "per_unit", "behavior"}
_METERED_WORDS: Final = _NUMBER_WORDS | {"soft", "reset", "according_to", "anchor", "zone", "credit_rate"}


class CatalogReader:
    """Reads the catalog, and knows afterwards what the rest of the policy may name; None stands for what is wrong."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.features: dict[str, Feature | None] = {}
        self.currencies: dict[str, Currency | None] = {}
        self.entity_types: dict[str, EntityType | None] = {}
        self.plans: dict[str, Plan | None] = {}
        self.addons: dict[str, Addon | None] = {}

    def feature(self, path: str, id: str, value: object) -> Feature | None:
        """Read one feature."""
        given = self._fields.take(path, value, FEATURE_WORDS)
        built = None if given is None else self._fields.build(Feature, path, given, FEATURE_WORDS, id=id)
        self.features[id] = built
        return built

    def currency(self, path: str, id: str, value: object) -> Currency | None:
        """Read one currency of credits."""
        given = self._fields.take(path, value, CURRENCY_WORDS)
        built = None if given is None else self._fields.build(Currency, path, given, CURRENCY_WORDS, id=id)
        self.currencies[id] = built
        return built

    def entity_type(self, path: str, id: str, value: object) -> EntityType | None:
        """Read one entity type."""
        given = self._fields.take(path, value, ENTITY_TYPE_WORDS)
        built = None if given is None else self._fields.build(EntityType, path, given, ENTITY_TYPE_WORDS, id=id)
        self.entity_types[id] = built
        return built

    def plan(self, path: str, id: str, value: object) -> Plan | None:
        """Read one plan."""
        words = (PLAN_WORDS, PLAN_TERMS_WORDS, PLAN_CREDIT_WORDS)
        self.plans[id] = self._package(Plan, path, id, value, *words)
        return self.plans[id]

    def addon(self, path: str, id: str, value: object) -> Addon | None:
        """Read one add-on."""
        self.addons[id] = self._package(Addon, path, id, value, ADDON_WORDS, ADDON_TERMS_WORDS, CREDIT_WORDS)
        return self.addons[id]

    def _package(
        self,
        model: type[_Package],
        path: str,
        id: str,
        value: object,
        words: Mapping[str, str],
        terms_words: Mapping[str, str],
        credit_words: Mapping[str, str],
    ) -> _Package | None:
        given = self._fields.take(path, value, words)
        if given is None:
            return None
        entitlements = self.entitlements(PackageEntitlement, path, given.pop("entitlements", None), terms_words)
        credits = self.credits(path, given.pop("credits", None), credit_words)
        return self._fields.build(model, path, given, words, id=id, entitlements=entitlements, credits=credits)

    def is_known(self, path: str, id: str, kind: str) -> bool:
        """Whether the policy describes the feature, currency, entity type, plan or add-on; else that is told."""
        sections: dict[str, tuple[str, Mapping[str, object]]] = {
            "feature": ("features", self.features),
            "currency": ("currencies", self.currencies),
            "entity type": ("entity_types", self.entity_types),
            "plan": ("plans", self.plans),
            "add-on": ("addons", self.addons),
        }
        section, known = sections[kind]
        if id in known:
            return True
        if is_id(id):
            self._fields.note(path, id, f"is no {kind} of this policy: describe it under {section}")
        return False

    def entitlements(
        self, model: type[_Terms], path: str, value: object, words: Mapping[str, str]
    ) -> tuple[_Terms, ...]:
        """Read what is said of features, by their ids, under `entitlements`."""

        def read(inner: str, id: str, item: object) -> _Terms | None:
            return self._terms(model, inner, id, item, words)

        return self._fields.each(path_to(path, "entitlements"), value, read)

    def _terms(self, model: type[_Terms], path: str, id: str, value: object, words: Mapping[str, str]) -> _Terms | None:
        given = self._fields.take(path, value, words)
        if not self.is_known(path, id, "feature") or given is None:
            return None
        feature = self.features[id]
        is_number = feature is not None and feature.feature_type is FeatureType.NUMBER
        limit = self._fields.limit(path, given) if is_number or "limit" in given else None
        if feature is not None:
            self._require_fit(path, feature, given)
        is_unlimited = limit == UNLIMITED
        known: dict[str, Any] = {
            "feature": id,
            "usage_limit": None if is_unlimited else limit,
            "has_unlimited_usage": is_unlimited,
            **self._fields.instants(path, given, words, never=("expires",)),
        }
        if "credit_rate" in given:
            known["credit_rate"] = self._rate(path_to(path, "credit_rate"), given["credit_rate"])
        return self._fields.build(model, path, given, words, **known)

    def _rate(self, path: str, value: object) -> CreditRate | None:
        given = self._fields.take(path, value, RATE_WORDS)
        if given is None:
            return None
        if isinstance(given.get("currency"), str):
            self.is_known(path_to(path, "currency"), given["currency"], "currency")
        return self._fields.build(CreditRate, path, given, RATE_WORDS, amount=self._fields.amount(path, given))

    def _require_fit(self, path: str, feature: Feature, given: Mapping[str, Any]) -> None:
        """Tell which of an entitlement's fields have no meaning for its feature."""
        if feature.is_metered:
            words, kind = _METERED_WORDS, "metered"
        elif feature.feature_type is FeatureType.NUMBER:
            words, kind = _NUMBER_WORDS, "a number that is not metered"
        elif feature.feature_type is FeatureType.ENUM:
            words, kind = _ENUM_WORDS, "of type ENUM"
            self._require_values(path, feature, given.get("values", ()))
        else:
            words, kind = _BOOLEAN_WORDS, "of type BOOLEAN"
        for word in given:
            if word not in words:
                rule = f"has no meaning here: feature {feature.id} is {kind}"
                self._fields.note(path_to(path, word), given[word], rule)

    def _require_values(self, path: str, feature: Feature, values: object) -> None:
        if not isinstance(values, list | tuple):
            return  # The model tells it.
        unknown = [value for value in values if value not in feature.enum_values]
        if unknown:
            self._fields.note(path_to(path, "values"), unknown, f"must be among the values of {feature.id}")
        elif not values:
            rule = f"is required: write one or more of the values of {feature.id}"
            self._fields.note(path_to(path, "values"), None, rule)

    def credits(
        self, path: str, value: object, words: Mapping[str, str], *, one_a_currency: bool = False
    ) -> tuple[RecurringCredit, ...]:
        """Read recurring credits, under `credits`: one for a currency and cadence, or for a currency."""
        seen: dict[tuple[str, str], int] = {}
        path = path_to(path, "credits")

        def read(inner: str, item: object) -> RecurringCredit | None:
            given = self._fields.take(inner, item, words)
            if given is None:
                return None
            if isinstance(given.get("currency"), str):
                self.is_known(path_to(inner, "currency"), given["currency"], "currency")
            amount = self._fields.amount(inner, given)
            credit = self._fields.build(RecurringCredit, inner, given, words, amount=amount)
            if credit is None:
                return None
            index = len(seen)
            key = (credit.currency, "" if one_a_currency else credit.cadence.value)
            first = seen.setdefault(key, index)
            if first != index:
                what = "currency" if one_a_currency else "currency and cadence"
                self._fields.note(inner, given, f"there is one for a {what}, and it stands here already")
                return None
            return credit

        return self._fields.list_of(path, value, "credits", read)
