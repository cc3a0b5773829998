"""What the reference model knows of features, currencies, customers, entities and budgets, and what it refuses.

A change is tried on a copy and takes its place whole: a refused one leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, TypeVar

from headgate.errors import InvalidInput, NotFound
from headgate.model.catalog import Currency, EntityType, Feature
from model.exact import exact
from model.records import Assignment, CustomerRecord, Entitlement, EntityRecord, Terms, of_currency

Described = TypeVar("Described", Feature, Currency, EntityType)

LEVELS_MAX = 4


class Configuration:
    """Everything that is set up, and the clock. Ids and single values are valid; what they mean together may not be."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.features: dict[str, Feature] = {}
        self.currencies: dict[str, Currency] = {}
        self.entity_types: dict[str, EntityType] = {}
        self.customers: dict[str, CustomerRecord] = {}

    @contextmanager
    def _change(self, customer: str) -> Iterator[CustomerRecord]:
        if customer not in self.customers:
            raise NotFound("customer", customer)
        changed = deepcopy(self.customers[customer])
        yield changed
        self.customers[customer] = changed

    # --- the catalog and customers ----------------------------------------------------------------------------------

    def put_features(self, features: Sequence[Feature]) -> None:
        for feature in features:
            known = self.features.get(feature.id, feature)
            if (known.feature_type, known.meter_type) != (feature.feature_type, feature.meter_type):
                raise refused("feature_type", feature.feature_type)
        self._put(self.features, features)

    def put_entity_types(self, entity_types: Sequence[EntityType]) -> None:
        self._put(self.entity_types, entity_types)

    def put_currencies(self, currencies: Sequence[Currency]) -> None:
        self._put(self.currencies, currencies)

    def _put(self, known: dict[str, Described], given: Sequence[Described]) -> None:
        """Note when each was created, and when it was last changed: writing it again as it is changes nothing."""
        for each in given:
            before = known.get(each.id)
            if before is not None and _said(before) == _said(each):
                continue
            created_ms = self.now_ms if before is None else before.created_at_ms
            after = _said(each) | {"created_at_ms": created_ms, "updated_at_ms": self.now_ms}
            known[each.id] = type(each).model_validate(after)

    def put_customer(self, customer: str) -> None:
        self.customers.setdefault(customer, CustomerRecord())

    def set_customer_archived(self, customer: str, *, archived: bool) -> None:
        with self._change(customer) as changed:
            changed.is_archived = archived

    def grant(self, customer: str, given: Mapping[str, Any]) -> None:
        """Give what `given` says; an anchor that is not given stays, or is this instant."""
        with self._change(customer) as changed:
            terms, feature = self.terms(given), given["feature"]
            known, expires_ms = changed.entitlements.get(feature), given.get("expires_at_ms")
            if expires_ms is not None and expires_ms <= self.now_ms:
                raise refused("expires_at_ms", expires_ms)
            anchor_ms = given.get("reset_anchor_ms")
            if anchor_ms is None and terms.reset_period is not None:
                kept_ms = known.anchor_ms if known else None
                anchor_ms = self.now_ms if kept_ms is None else kept_ms
            changed.entitlements[feature] = Entitlement(terms, anchor_ms, expires_ms)

    def terms(self, given: Mapping[str, Any]) -> Terms:
        """Read what a source says of a feature, if the parts fit the feature's type."""
        feature = self.features.get(given["feature"])
        if feature is None:
            raise NotFound("feature", given["feature"])
        limit, reset_period = given.get("usage_limit"), given.get("reset_period")
        unlimited, soft = given.get("has_unlimited_usage", False), given.get("has_soft_limit", False)
        values = tuple(given.get("enum_values", ()))
        kind = feature.feature_type.value
        misfits = [
            kind == "NUMBER" and limit is None and not unlimited,
            kind != "NUMBER" and (limit is not None or unlimited),
            not feature.is_metered and (reset_period is not None or soft),
            kind == "ENUM" and (not values or not set(values) <= set(feature.enum_values)),
            kind != "ENUM" and bool(values),
        ]
        if any(misfits):
            raise refused("entitlement", given)
        return Terms(
            limit=None if limit is None else exact(limit),
            is_soft=soft,
            is_unlimited=unlimited,
            enum_values=values,
            reset_period=reset_period,
            according_to=given.get("reset_according_to"),
            zone=given.get("zone", "UTC"),
        )

    def revoke(self, customer: str, feature: str) -> None:
        with self._change(customer) as changed:
            if feature not in changed.entitlements:
                raise NotFound("entitlement", feature)
            changed.entitlements[feature].is_revoked = True

    # --- entities and budgets ---------------------------------------------------------------------------------------

    def put_entities(self, customer: str, upserts: Sequence[Mapping[str, Any]]) -> None:
        """Create entities, or name them again, which brings archived ones back."""
        with self._change(customer) as changed:
            for upsert in upserts:
                known = changed.entities.get(upsert["id"])
                type_id = upsert.get("type") or (known and known.type)
                if type_id not in self.entity_types or (known and known.type != type_id):
                    raise refused("type", type_id)
                if known is None:
                    changed.entities[upsert["id"]] = EntityRecord(upsert["id"], type_id)
                else:
                    known.is_archived = False

    def set_archived(self, customer: str, ids: Sequence[str], *, archived: bool) -> None:
        with self._change(customer) as changed:
            for id in ids:
                if id not in changed.entities:
                    raise NotFound("entity", id)
                changed.entities[id].is_archived = archived

    def put_assignments(self, customer: str, upserts: Sequence[Mapping[str, Any]]) -> None:
        """Create budgets or change what is given of them, and move their entities, one after the other."""
        with self._change(customer) as changed:
            for upsert in upserts:
                self._put_assignment(changed, upsert)

    def _put_assignment(self, customer: CustomerRecord, upsert: Mapping[str, Any]) -> None:
        capability, scope = self.capability(upsert), tuple(sorted(set(upsert.get("scope", ()))))
        for id in (upsert["entity"], *scope):
            if id not in customer.entities:
                raise refused("entity", id)
        entity = customer.entities[upsert["entity"]]
        if entity.is_archived:
            raise refused("entity", entity.id)
        if "parent" in upsert:
            self.move(customer, entity, upsert["parent"])
        known = entity.assignments.get((capability, scope))
        if known is None:
            if "usage_limit" not in upsert or upsert.get("cadence") is None:
                raise refused("usage_limit", None)
            known = Assignment(None, "", "UTC", self.now_ms)
            entity.assignments[capability, scope] = known
        if "usage_limit" in upsert:
            known.limit = None if upsert["usage_limit"] is None else exact(upsert["usage_limit"])
        known.cadence = upsert.get("cadence") or known.cadence
        known.zone = upsert.get("zone", known.zone)

    def capability(self, upsert: Mapping[str, Any]) -> str:
        """What a budget is for: a metered feature, or a currency."""
        if "currency" in upsert:
            if upsert["currency"] not in self.currencies:
                raise refused("currency", upsert["currency"])
            return of_currency(upsert["currency"])
        feature = self.features.get(upsert["feature"])
        if feature is None or not feature.is_metered:
            raise refused("feature", upsert["feature"])
        return feature.id

    def move(self, customer: CustomerRecord, entity: EntityRecord, parent: str | None) -> None:
        """Set, or with None cut, an entity's parent: no cycles, and at most 4 levels in the whole subtree."""
        if parent is not None:
            if parent not in customer.entities:
                raise refused("parent", parent)
            chain = self.walk(customer, customer.entities[parent])
            if entity in chain or len(chain) + self.height(customer, entity) > LEVELS_MAX:
                raise refused("parent", parent)
        entity.parent = parent

    def walk(self, customer: CustomerRecord, leaf: EntityRecord) -> list[EntityRecord]:
        """The nodes from an entity to its root."""
        nodes = [leaf]
        while nodes[-1].parent is not None:
            nodes.append(customer.entities[nodes[-1].parent])
        return nodes

    def height(self, customer: CustomerRecord, entity: EntityRecord) -> int:
        """How many levels the subtree of an entity has, itself included."""
        below = [self.height(customer, each) for each in customer.entities.values() if each.parent == entity.id]
        return 1 + max(below, default=0)


def refused(field: str, value: object) -> InvalidInput:
    return InvalidInput.of(field, value, "is refused by the reference model")


def _said(each: Feature | Currency | EntityType) -> dict[str, Any]:
    return each.model_dump(exclude={"created_at_ms", "updated_at_ms"})
