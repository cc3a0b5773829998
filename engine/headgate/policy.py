"""What a policy says: features, entity types, and customers with their entitlements and their tree of budgets.

    features:
      feature-ai-tokens: {type: NUMBER, meter: INCREMENTAL, name: AI tokens, units: token}
    entity_types:
      org: {keys: [orgId]}
      team: {keys: [teamId]}
    customers:
      cus-acme:
        name: Acme
        entitlements:
          feature-ai-tokens: {limit: 20_000_000, reset: MONTH}
        entities:
          org-acme:
            type: org
            budgets:
              - {feature: feature-ai-tokens, limit: unlimited, every: P1M}
            children:
              team-eng:
                type: team
                budgets:
                  - {feature: feature-ai-tokens, limit: 200_000, every: PT10M}

What it promises: `Policy.parse` takes that as plain data and finds everything that is wrong with it at once. A policy
stands on its own: every feature, type and entity that it names is described in it. A limit is a number or the word
`unlimited`; it is never left out, so that nothing is unlimited by accident. Nesting says who is whose parent.

Pure: where the data came from, and how it is written to a store, is not known here.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar

from pydantic import ValidationError

from headgate.amounts import parse_amount
from headgate.errors import InvalidInput, Problem
from headgate.model.base import Strict, invalid_input
from headgate.model.catalog import EntityType, Feature, FeatureType
from headgate.model.customer import PromotionalEntitlement
from headgate.model.governance import LEVELS_MAX, CadenceText, Scope
from headgate.model.ids import ID_RULE, Id, is_id
from headgate.model.terms import Limit, Zone
from headgate.prepare import CONSTRAINTS_MAX

UNLIMITED: Final = "unlimited"

_Built = TypeVar("_Built", bound=Strict)
_Read = TypeVar("_Read")


class Budget(Strict):
    """What an entity may use of one feature in each period. A limit of None counts, and never refuses.

    A budget with a scope applies only where all entities of the scope take part in the request.
    """

    feature: Id
    usage_limit: Limit
    cadence: CadenceText
    scope: Scope = ()
    zone: Zone = "UTC"


class PolicyEntity(Strict):
    """One governed thing of a customer, its single parent, and its budgets. A name of None leaves the present one."""

    id: Id
    type: Id
    display_name: str | None = None
    metadata: dict[str, str] | None = None
    parent: Id | None = None
    budgets: tuple[Budget, ...] = ()


class PolicyCustomer(Strict):
    """One customer: what it was given directly, and its entities, each after its parent."""

    id: Id
    name: str | None = None
    email: str | None = None
    metadata: dict[str, str] | None = None
    entitlements: tuple[PromotionalEntitlement, ...] = ()
    entities: tuple[PolicyEntity, ...] = ()


class Policy(Strict):
    """A whole policy: make one with `Policy.parse`, and write it with `engine.apply`."""

    features: tuple[Feature, ...] = ()
    entity_types: tuple[EntityType, ...] = ()
    customers: tuple[PolicyCustomer, ...] = ()

    @classmethod
    def parse(cls, data: object) -> Self:
        """Read a policy from plain data; raise `InvalidInput` with every problem, each at a path into the data."""
        reader = _Reader()
        parts = reader.fields("", data, _POLICY) or {}
        features = tuple(reader.each("features", parts.get("features"), reader.feature))
        entity_types = tuple(reader.each("entity_types", parts.get("entity_types"), reader.entity_type))
        customers = tuple(reader.each("customers", parts.get("customers"), reader.customer))
        if reader.problems:
            raise InvalidInput(reader.problems)
        return cls(features=features, entity_types=entity_types, customers=customers)


def path_to(parent: str, part: str | int) -> str:
    """The path of one item of a mapping or a list: `customers.cus-acme`, `budgets[0]`, `customers["a@b.example"]`."""
    if isinstance(part, int):
        return f"{parent}[{part}]"
    if re.fullmatch(r"[\w-]+", part):
        return f"{parent}.{part}" if parent else part
    return f"{parent}[{json.dumps(part, ensure_ascii=False)}]"


# The words of a policy file, and what the models call them.
_POLICY = {name: name for name in ("features", "entity_types", "customers")}
FEATURE_WORDS = {"type": "feature_type", "meter": "meter_type", "name": "display_name", "values": "enum_values"} | {
    name: name for name in ("description", "units", "units_plural", "status", "metadata")
}
ENTITY_TYPE_WORDS = {"keys": "attribution_keys", "name": "display_name", "description": "description"}
CUSTOMER_WORDS = {name: name for name in ("name", "email", "metadata", "entitlements", "entities")}
ENTITLEMENT_WORDS = {
    "limit": "usage_limit",
    "soft": "has_soft_limit",
    "values": "enum_values",
    "reset": "reset_period",
    "according_to": "reset_according_to",
    "anchor": "reset_anchor_ms",
    "zone": "zone",
}
ENTITY_WORDS = {
    "type": "type",
    "name": "display_name",
    "metadata": "metadata",
    "budgets": "budgets",
    "children": "children",
}
BUDGET_WORDS = {"feature": "feature", "limit": "usage_limit", "every": "cadence", "scope": "scope", "zone": "zone"}

_METERED_WORDS = frozenset({"limit", "soft", "reset", "according_to", "anchor", "zone"})
_LIMIT_RULE = f"write a number of at least 0, or {UNLIMITED} to count and never refuse"


class _Reader:
    """Walks the data, keeps every problem, and goes on behind it: `None` stands for what is wrong and was told."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._features: dict[str, Feature | None] = {}
        self._entity_types: dict[str, EntityType | None] = {}
        self._places: dict[str, str] = {}
        self._scope_ids: list[tuple[str, str]] = []
        self._chain_counts: dict[str | None, Counter[str]] = {None: Counter()}

    def note(self, path: str, value: object, rule: str) -> None:
        """Keep one problem."""
        self.problems.append(Problem(path or "policy", value, rule))

    def fields(self, path: str, value: object, words: Mapping[str, str]) -> dict[str, Any] | None:
        """The fields of one mapping that the file may write; what else is there is a problem."""
        if not isinstance(value, Mapping):
            self.note(path, value, f"must be a mapping; its fields are {', '.join(words)}")
            return None
        for word in value:
            if word not in words:
                self.note(path_to(path, str(word)), value[word], f"unknown field; here are known: {', '.join(words)}")
        return {word: value[word] for word in words if word in value}

    def each(self, path: str, value: object, read: Callable[[str, str, object], _Read | None]) -> list[_Read]:
        """Read every entry of a mapping from ids; what is not there has none."""
        if value is None:
            return []
        if not isinstance(value, Mapping):
            self.note(path, value, "must be a mapping from ids")
            return []
        found = []
        for id, item in value.items():
            inner = path_to(path, str(id))
            if not is_id(id):
                self.note(inner, id, ID_RULE)
            found.append(read(inner, id, item))
        return [item for item in found if item is not None]

    def build(
        self, model: type[_Built], path: str, given: Mapping[str, Any], words: Mapping[str, str], **known: Any
    ) -> _Built | None:
        """Make the model of the file's fields; its errors come back in the file's words, at the file's paths."""
        try:
            return model(**known, **{words[word]: value for word, value in given.items()})
        except ValidationError as error:
            names = {name: word for word, name in words.items()}
            for problem in invalid_input(error).problems:
                name, rest, value = *_name_and_rest(problem.field), problem.value
                if name in known:
                    continue  # An id that is none is told once, where it stands.
                if name not in names:  # Two fields that do not go together: the message begins with one of them.
                    name, rest = _name_and_rest(problem.rule)[0], ""
                    value = given.get(names.get(name, name), dict(given))
                word = names.get(name, name)
                field = path_to(path, word) + rest if word in words else path
                self.note(field, value, _rule(problem.rule, value, names))
            return None

    def feature(self, path: str, id: str, value: object) -> Feature | None:
        """Read one feature."""
        given = self.fields(path, value, FEATURE_WORDS)
        self._features[id] = None if given is None else self.build(Feature, path, given, FEATURE_WORDS, id=id)
        return self._features[id]

    def entity_type(self, path: str, id: str, value: object) -> EntityType | None:
        """Read one entity type."""
        given = self.fields(path, value, ENTITY_TYPE_WORDS)
        self._entity_types[id] = (
            None if given is None else self.build(EntityType, path, given, ENTITY_TYPE_WORDS, id=id)
        )
        return self._entity_types[id]

    def customer(self, path: str, id: str, value: object) -> PolicyCustomer | None:
        """Read one customer with all that hangs on it."""
        given = self.fields(path, value, CUSTOMER_WORDS)
        if given is None:
            return None
        entitlements = self.each(path_to(path, "entitlements"), given.pop("entitlements", None), self.entitlement)
        self._places, self._scope_ids, self._chain_counts = {}, [], {None: Counter()}
        entities: list[PolicyEntity | None] = []
        entities_path = path_to(path, "entities")
        self._level(entities_path, given.pop("entities", None), None, 1, entities)
        for field, scope_id in self._scope_ids:
            if scope_id not in self._places:
                self.note(field, scope_id, f"is no entity of this customer: describe it under {entities_path}")
        told = tuple(entity for entity in entities if entity is not None)
        return self.build(
            PolicyCustomer, path, given, CUSTOMER_WORDS, id=id, entitlements=tuple(entitlements), entities=told
        )

    def entitlement(self, path: str, id: str, value: object) -> PromotionalEntitlement | None:
        """Read what a customer may use of one feature in all."""
        given = self.fields(path, value, ENTITLEMENT_WORDS)
        if not self._is_known(path, id, self._features, "feature") or given is None:
            return None
        feature = self._features[id]
        is_number = feature is not None and feature.feature_type is FeatureType.NUMBER
        limit = self._limit(path, given) if is_number or "limit" in given else None
        if feature is not None:
            self._suits(path, feature, given)
        given.pop("limit", None)
        if "anchor" in given:
            given["anchor"] = self._instant_ms(path_to(path, "anchor"), given["anchor"])
        is_unlimited = limit == UNLIMITED
        known = {"feature": id, "usage_limit": None if is_unlimited else limit, "has_unlimited_usage": is_unlimited}
        return self.build(PromotionalEntitlement, path, given, ENTITLEMENT_WORDS, **known)

    def _instant_ms(self, path: str, value: object) -> int | None:
        """An instant written with its offset from UTC, in epoch milliseconds."""
        try:
            instant = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            self.note(path, value, "write an instant with its offset from UTC, such as 2026-01-31T00:00:00Z")
            return None
        return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    def _suits(self, path: str, feature: Feature, given: Mapping[str, Any]) -> None:
        """Whether the entitlement's fields have a meaning for its feature."""
        if feature.is_metered:
            words, kind = _METERED_WORDS, "metered"
        elif feature.feature_type is FeatureType.NUMBER:
            words, kind = frozenset({"limit"}), "a number that is not metered"
            if given.get("limit") == UNLIMITED:
                self.note(path_to(path, "limit"), UNLIMITED, f"feature {feature.id} is {kind}: write its value")
        elif feature.feature_type is FeatureType.ENUM:
            words, kind = frozenset({"values"}), "of type ENUM"
            unknown = set(map(str, given.get("values") or ())) - set(feature.enum_values)
            if unknown and isinstance(given["values"], Sequence):
                self.note(path_to(path, "values"), sorted(unknown), f"must be among the values of {feature.id}")
        else:
            words, kind = frozenset(), "of type BOOLEAN"
        for word in given:
            if word not in words:
                self.note(path_to(path, word), given[word], f"has no meaning here: feature {feature.id} is {kind}")

    def _limit(self, path: str, given: dict[str, Any]) -> float | str | None:
        """The limit: a number, `unlimited`, or None where it is wrong."""
        field = path_to(path, "limit")
        value = given.get("limit")
        if "limit" not in given or value is None:
            self.note(field, value, f"is required: {_LIMIT_RULE}")
        elif value == UNLIMITED:
            return UNLIMITED
        elif isinstance(value, bool) or not isinstance(value, int | float):
            self.note(field, value, _LIMIT_RULE)
        else:
            try:
                return parse_amount(value, field="limit")
            except ValueError as error:
                self.note(field, value, _rule(str(error), value, {}))
        return None

    def _level(
        self, path: str, value: object, parent: str | None, level: int, found: list[PolicyEntity | None]
    ) -> None:
        """Read the entities of one level, each before its children."""
        if value is not None and level > LEVELS_MAX:
            self.note(path, value, f"a tree has at most {LEVELS_MAX} levels, and this would be level {level}")
            return

        def read(inner: str, id: str, item: object) -> None:
            if id in self._places:
                self.note(inner, id, f"an entity of this id stands at {self._places[id]} already")
            else:
                self._places[id] = inner
            given = self.fields(inner, item, ENTITY_WORDS)
            if given is None:
                return
            children, budgets = given.pop("children", None), given.pop("budgets", None)
            if parent is not None and not budgets:
                rule = f"an entity below another needs a budget, which sets its parent; its limit may be {UNLIMITED}"
                self.note(path_to(inner, "budgets"), budgets, rule)
            if isinstance(given.get("type"), str):
                self._is_known(path_to(inner, "type"), given["type"], self._entity_types, "entity type")
            read_budgets = tuple(self._budgets(path_to(inner, "budgets"), budgets))
            self._chain_counts[id] = self._chain_counts[parent] + Counter(budget.feature for budget in read_budgets)
            for feature, count in self._chain_counts[id].items():
                if count + 1 > CONSTRAINTS_MAX and any(budget.feature == feature for budget in read_budgets):
                    rule = f"with the account and all above it, a request has at most {CONSTRAINTS_MAX} constraints"
                    self.note(path_to(inner, "budgets"), count + 1, rule)
            found.append(
                self.build(PolicyEntity, inner, given, ENTITY_WORDS, id=id, parent=parent, budgets=read_budgets)
            )
            self._level(path_to(inner, "children"), children, id, level + 1, found)

        self.each(path, value, read)

    def _budgets(self, path: str, value: object) -> list[Budget]:
        """Read the budgets of one entity: at most one for each feature and set of scope ids."""
        if value is None:
            return []
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.note(path, value, "must be a list of budgets")
            return []
        found: list[Budget] = []
        seen: dict[tuple[str, tuple[str, ...]], int] = {}
        for index, item in enumerate(value):
            inner = path_to(path, index)
            budget = self._budget(inner, item)
            if budget is None:
                continue
            first = seen.setdefault((budget.feature, budget.scope), index)
            if first != index:
                rule = f"budgets[{first}] has the same feature and scope, for which an entity has one budget"
                self.note(inner, dict(item), rule)
            found.append(budget)
        return found

    def _budget(self, path: str, value: object) -> Budget | None:
        given = self.fields(path, value, BUDGET_WORDS)
        if given is None:
            return None
        limit = self._limit(path, given)
        given["limit"] = None if limit == UNLIMITED else limit
        id, scope = given.get("feature"), given.get("scope")
        if isinstance(id, str) and self._is_known(path_to(path, "feature"), id, self._features, "feature"):
            feature = self._features[id]
            if feature is not None and not feature.is_metered:
                self.note(path_to(path, "feature"), id, "a budget counts usage: give the feature a meter")
        if isinstance(scope, list | tuple):
            scope_path = path_to(path, "scope")
            self._scope_ids += [(path_to(scope_path, index), id) for index, id in enumerate(scope) if is_id(id)]
        return self.build(Budget, path, given, BUDGET_WORDS)

    def _is_known(self, path: str, id: str, known: Mapping[str, object], kind: str) -> bool:
        if id in known:
            return True
        section = "features" if kind == "feature" else "entity_types"
        if is_id(id):
            self.note(path, id, f"is no {kind} of this policy: describe it under {section}")
        return False


def _name_and_rest(path: str) -> tuple[str, str]:
    name = re.match(r"\w*", path)
    return (name[0], path[name.end() :]) if name else ("", path)


def _rule(message: str, value: object, names: Mapping[str, str]) -> str:
    """A model's message in the file's words, without the name and the value in front: a problem shows these already."""
    text = re.sub(r"^[a-z_]+: ", "", message)
    for shown in (repr(value), str(value)):
        text = text.removeprefix(shown + " ")
    return re.sub(r"\b[a-z]+_[a-z_]+\b", lambda found: names.get(found[0], found[0]), text)
