"""What the reference model knows of features, customers, entities and budgets, and which changes it refuses.

A change is tried on a copy and takes its place whole: a refused one leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from headgate.errors import InvalidInput, NotFound
from headgate.model.catalog import EntityType, Feature
from model.exact import exact

LEVELS_MAX = 4


@dataclass(frozen=True, slots=True)
class Counter:
    """A stored counter: the start of the period that it counts, and what was used in it."""

    start_ms: int
    used: Fraction


class Slot:
    """The place of one counter. It is itself under every copy of a configuration."""

    __slots__ = ("counter",)

    def __init__(self) -> None:
        self.counter: Counter | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Slot:
        return self


@dataclass(slots=True)
class Entitlement:
    """What a customer was given of one feature. `limit` is the value of a feature that is not metered."""

    limit: Fraction | None
    is_soft: bool
    is_unlimited: bool
    enum_values: tuple[str, ...]
    reset_period: str | None
    according_to: str | None
    anchor_ms: int | None
    zone: str
    is_revoked: bool = False


@dataclass(slots=True)
class Assignment:
    """A budget; its key is in `EntityRecord.assignments`. The anchor of its periods never changes."""

    limit: Fraction | None
    cadence: str
    zone: str
    created_at_ms: int
    slot: Slot = field(default_factory=Slot)


@dataclass(slots=True)
class EntityRecord:
    """One governed thing, its single parent, and its budgets by (feature, scope)."""

    id: str
    type: str
    parent: str | None = None
    is_archived: bool = False
    assignments: dict[tuple[str, tuple[str, ...]], Assignment] = field(default_factory=dict)

    def budgets(self, feature: str) -> dict[tuple[str, ...], Assignment]:
        return {scope: each for (of, scope), each in self.assignments.items() if of == feature}


@dataclass(slots=True)
class CustomerRecord:
    """One customer with everything that is theirs."""

    is_archived: bool = False
    entitlements: dict[str, Entitlement] = field(default_factory=dict)
    entities: dict[str, EntityRecord] = field(default_factory=dict)
    account: dict[str, Slot] = field(default_factory=dict)


class Configuration:
    """Everything that is set up, and the clock. Ids and single values are valid; what they mean together may not be."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.features: dict[str, Feature] = {}
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
        self.features.update({feature.id: feature for feature in features})

    def put_entity_types(self, entity_types: Sequence[EntityType]) -> None:
        self.entity_types.update({each.id: each for each in entity_types})

    def put_customer(self, customer: str) -> None:
        self.customers.setdefault(customer, CustomerRecord())

    def set_customer_archived(self, customer: str, *, archived: bool) -> None:
        with self._change(customer) as changed:
            changed.is_archived = archived

    def grant(self, customer: str, given: Mapping[str, Any]) -> None:
        """Give what `given` says; an anchor that is not given stays, or is this instant."""
        with self._change(customer) as changed:
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
            known = changed.entitlements.get(feature.id)
            anchor_ms = given.get("reset_anchor_ms")
            if anchor_ms is None and reset_period is not None:
                kept_ms = known.anchor_ms if known else None
                anchor_ms = self.now_ms if kept_ms is None else kept_ms
            changed.entitlements[feature.id] = Entitlement(
                limit=None if limit is None else exact(limit),
                is_soft=soft,
                is_unlimited=unlimited,
                enum_values=values,
                reset_period=reset_period,
                according_to=given.get("reset_according_to"),
                anchor_ms=anchor_ms,
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
        feature, scope = self.features.get(upsert["feature"]), tuple(sorted(set(upsert.get("scope", ()))))
        if feature is None or not feature.is_metered:
            raise refused("feature", upsert["feature"])
        for id in (upsert["entity"], *scope):
            if id not in customer.entities:
                raise refused("entity", id)
        entity = customer.entities[upsert["entity"]]
        if entity.is_archived:
            raise refused("entity", entity.id)
        if "parent" in upsert:
            self.move(customer, entity, upsert["parent"])
        known = entity.assignments.get((feature.id, scope))
        if known is None:
            if "usage_limit" not in upsert or upsert.get("cadence") is None:
                raise refused("usage_limit", None)
            known = Assignment(None, "", "UTC", self.now_ms)
            entity.assignments[feature.id, scope] = known
        if "usage_limit" in upsert:
            known.limit = None if upsert["usage_limit"] is None else exact(upsert["usage_limit"])
        known.cadence = upsert.get("cadence") or known.cadence
        known.zone = upsert.get("zone", known.zone)

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
