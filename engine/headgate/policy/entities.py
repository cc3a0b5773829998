"""Reading the entities of one customer of a policy, and their budgets: nesting says who is whose parent."""

from __future__ import annotations

from collections import Counter

from headgate.model.governance import LEVELS_MAX
from headgate.model.ids import is_id
from headgate.policy.catalog import CatalogReader
from headgate.policy.fields import Fields
from headgate.policy.items import Budget, PolicyEntity
from headgate.policy.words import BUDGET_WORDS, ENTITY_WORDS, UNLIMITED, path_to
from headgate.prepare import CONSTRAINTS_MAX

_Capability = tuple[str | None, str | None]


class EntityReader:
    """Reads one customer's entities."""

    def __init__(self, fields: Fields, catalog: CatalogReader, customer_path: str) -> None:
        self._fields = fields
        self._catalog = catalog
        self._path = path_to(customer_path, "entities")
        self._found: list[PolicyEntity | None] = []
        self._places: dict[str, str] = {}
        self._scope_ids: list[tuple[str, str]] = []
        self._chain_counts: dict[str | None, Counter[_Capability]] = {None: Counter()}

    def entities(self, value: object) -> tuple[PolicyEntity, ...]:
        """Read all of them, each before its children."""
        self._level(self._path, value, None, 1)
        for field, scope_id in self._scope_ids:
            if scope_id not in self._places:
                rule = f"is no entity of this customer: describe it under {self._path}"
                self._fields.note(field, scope_id, rule)
        return tuple(entity for entity in self._found if entity is not None)

    def _level(self, path: str, value: object, parent: str | None, level: int) -> None:
        if value is not None and level > LEVELS_MAX:
            rule = f"a tree has at most {LEVELS_MAX} levels, and this would be level {level}"
            self._fields.note(path, value, rule)
            return

        def read(inner: str, id: str, item: object) -> None:
            self._entity(inner, id, item, parent, level)

        self._fields.each(path, value, read)

    def _entity(self, path: str, id: str, value: object, parent: str | None, level: int) -> None:
        if id in self._places:
            self._fields.note(path, id, f"an entity of this id stands at {self._places[id]} already")
        else:
            self._places[id] = path
        given = self._fields.take(path, value, ENTITY_WORDS)
        if given is None:
            return
        children, budgets = given.pop("children", None), given.pop("budgets", None)
        budgets_path = path_to(path, "budgets")
        if parent is not None and not budgets:
            rule = f"an entity below another needs a budget, which sets its parent; its limit may be {UNLIMITED}"
            self._fields.note(budgets_path, budgets, rule)
        if isinstance(given.get("type"), str):
            self._catalog.is_known(path_to(path, "type"), given["type"], "entity type")
        read_budgets = self._budgets(budgets_path, budgets)
        here = Counter((budget.feature, budget.currency) for budget in read_budgets)
        self._chain_counts[id] = self._chain_counts[parent] + here
        for capability, count in self._chain_counts[id].items():
            if count + 1 > CONSTRAINTS_MAX and capability in here:
                rule = f"with the account and all above it, a request has at most {CONSTRAINTS_MAX} constraints"
                self._fields.note(budgets_path, count + 1, rule)
        known = {"id": id, "parent": parent, "budgets": read_budgets}
        self._found.append(self._fields.build(PolicyEntity, path, given, ENTITY_WORDS, **known))
        self._level(path_to(path, "children"), children, id, level + 1)

    def _budgets(self, path: str, value: object) -> tuple[Budget, ...]:
        """Read the budgets of one entity: at most one for each feature or currency and set of scope ids."""
        seen: dict[tuple[_Capability, tuple[str, ...]], str] = {}

        def read(inner: str, item: object) -> Budget | None:
            budget = self._budget(inner, item)
            if budget is None:
                return None
            first = seen.setdefault(((budget.feature, budget.currency), budget.scope), inner)
            if first != inner:
                what = "feature" if budget.feature is not None else "currency"
                place = first.removeprefix(path)
                rule = f"budgets{place} has the same {what} and scope, for which an entity has one budget"
                self._fields.note(inner, item, rule)
            return budget

        return self._fields.list_of(path, value, "budgets", read)

    def _budget(self, path: str, value: object) -> Budget | None:
        given = self._fields.take(path, value, BUDGET_WORDS)
        if given is None:
            return None
        limit = self._fields.limit(path, given)
        self._require_capability(path, given.get("feature"), given.get("currency"))
        scope = given.get("scope")
        if isinstance(scope, list | tuple):
            scope_path = path_to(path, "scope")
            self._scope_ids += [(path_to(scope_path, index), id) for index, id in enumerate(scope) if is_id(id)]
        return self._fields.build(Budget, path, given, BUDGET_WORDS, usage_limit=None if limit == UNLIMITED else limit)

    def _require_capability(self, path: str, feature: object, currency: object) -> None:
        if feature is None and currency is None:
            self._fields.note(path_to(path, "feature"), None, "is required, or a currency")
        elif feature is not None and currency is not None:
            rule = "a budget is for a feature or for a currency: write one of the two"
            self._fields.note(path_to(path, "currency"), currency, rule)
        if isinstance(feature, str) and self._catalog.is_known(path_to(path, "feature"), feature, "feature"):
            found = self._catalog.features[feature]
            if found is not None and not found.is_metered:
                rule = "a budget counts usage: give the feature a meter"
                self._fields.note(path_to(path, "feature"), feature, rule)
        if isinstance(currency, str):
            self._catalog.is_known(path_to(path, "currency"), currency, "currency")
