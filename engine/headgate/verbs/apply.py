"""Apply a policy: make what it names as it says. What it leaves out is left alone, and nothing is ever deleted.

Rules are exactly as the policy has them: types, meters, keys, limits, resets, cadences, scopes, parents. Names, texts,
metadata and anchors that it leaves out stay as they are. An archived entity that it names comes back. Applied a second
time, it changes nothing.

All reading and all judging comes before the first write. Then every write is valid where it stands: features and
types, customers, entitlements, entities, budgets with parents root first, at most 100 in a call. A policy that was cut
half-way (a server that went away) is simply applied again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Final, TypeVar

from headgate.amounts import as_number
from headgate.cache import State
from headgate.calls import Verb
from headgate.errors import Conflict, EnvironmentNotReady, InvalidInput, NotFound
from headgate.hierarchy import Hierarchy
from headgate.model.base import Strict
from headgate.model.catalog import EntityType, Feature
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import instant
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.policy import (
    BUDGET_WORDS,
    ENTITLEMENT_WORDS,
    ENTITY_TYPE_WORDS,
    FEATURE_WORDS,
    UNLIMITED,
    Budget,
    Policy,
    PolicyCustomer,
    PolicyEntity,
    path_to,
)
from headgate.verbs import catalog, customers, governance
from headgate.verbs.governance import UPSERTS_MAX

_Item = TypeVar("_Item")
_Described = TypeVar("_Described", Feature, EntityType)
_BudgetKey = tuple[str, str, tuple[str, ...]]

_DEFAULTS: Final = {"meter": "NONE", "status": "ACTIVE", "zone": "UTC"}
# What is only told to people: left out of a policy, it stays as it is.
_TEXTS: Final = ("display_name", "description", "units", "units_plural", "status", "metadata")


class ChangeKind(StrEnum):
    """What becomes of a thing: it is new, or one of its fields changes."""

    CREATED = "created"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a policy creates, or one field that it changes, in the words of the policy file."""

    kind: ChangeKind
    path: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"kind": self.kind.value, "path": self.path, "before": self.before, "after": self.after}

    def __str__(self) -> str:
        if self.kind is ChangeKind.CREATED:
            return f"{self.path} is created: {self.after}"
        return f"{self.path} was {self.before} and becomes {self.after}"


@dataclass(frozen=True, slots=True)
class _Present:
    """What is stored of a customer; `customer` is None where there is none."""

    customer: Customer | None = None
    entitlements: Mapping[str, PromotionalEntitlement] = field(default_factory=dict)
    entities: Mapping[str, Entity] = field(default_factory=dict)
    budgets: Mapping[_BudgetKey, Assignment] = field(default_factory=dict)


@dataclass(slots=True)
class _Writes:
    """What is to be written of one customer, in this order."""

    customer: str
    fields: dict[str, Any] | None = None
    entitlements: list[PromotionalEntitlement] = field(default_factory=list)
    entities: list[EntityUpsert] = field(default_factory=list)
    assignments: list[AssignmentUpsert] = field(default_factory=list)
    moves: list[AssignmentUpsert] = field(default_factory=list)
    moves_at_once: list[AssignmentUpsert] = field(default_factory=list)


@dataclass(slots=True)
class _Plan:
    """What is to be written, what that changes, and what is in the way of it.

    `features` and `entity_types` are all that the policy names, `new_…` those that are new or different.
    """

    features: list[Feature] = field(default_factory=list)
    entity_types: list[EntityType] = field(default_factory=list)
    new_features: list[Feature] = field(default_factory=list)
    new_entity_types: list[EntityType] = field(default_factory=list)
    customers: list[_Writes] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def differs(self, path: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
        """Note what is new, or which fields change; whether anything does."""
        if before is None:
            told = {word: value for word, value in after.items() if not _says_nothing(word, value)}
            self.changes.append(Change(ChangeKind.CREATED, path, None, told))
            return True
        different = [word for word, value in after.items() if before.get(word) != value]
        for word in different:
            self.changes.append(Change(ChangeKind.CHANGED, path_to(path, word), before.get(word), after[word]))
        return bool(different)


def apply(state: State, policy: Policy, *, dry_run: bool = False) -> Verb[list[Change]]:
    """Make what the policy names as it says, and return what that changed; a dry run tells it, and writes nothing.

    Raises `Conflict`, before the first write, for what can't be changed: the type of a feature or of an entity, an
    archived customer, or a fifth level below an entity that the policy moves.
    """
    if not isinstance(policy, Policy):
        raise InvalidInput.of("policy", policy, "must be a Policy: make one with Policy.parse")
    plan = yield from _plan(state, policy)
    if plan.conflicts:
        raise Conflict("; ".join(plan.conflicts))
    if not dry_run:
        yield from _write(state, plan)
    return plan.changes


def _write(state: State, plan: _Plan) -> Verb[None]:
    # A catalog that says nothing new is written too: that mends one that did not reach every partition.
    if plan.features:
        yield from catalog.put_features(state, plan.new_features or plan.features)
    if plan.new_entity_types or (plan.entity_types and not plan.features):
        yield from catalog.put_entity_types(state, plan.new_entity_types or plan.entity_types)
    for writes in plan.customers:
        if writes.fields is not None:
            yield from customers.put(state, writes.customer, writes.fields)
        for entitlement in writes.entitlements:
            yield from customers.grant_entitlement(state, writes.customer, entitlement)
        for entities in _batches(writes.entities):
            yield from governance.put_entities(state, writes.customer, entities)
        for assignments in _batches(writes.assignments):
            yield from governance.put_assignments(state, writes.customer, assignments)
        for moves in (*_batches(writes.moves), *_batches(writes.moves_at_once)):
            yield from governance.put_assignments(state, writes.customer, moves)


def _plan(state: State, policy: Policy) -> Verb[_Plan]:
    plan = _Plan()
    features: Mapping[str, Feature] = {}
    entity_types: Mapping[str, EntityType] = {}
    try:
        features = yield from catalog.features(state)
        entity_types = yield from catalog.entity_types(state)
        is_new = False
    except EnvironmentNotReady:
        is_new = True
    for feature in policy.features:
        _plan_feature(plan, features.get(feature.id), feature)
    for entity_type in policy.entity_types:
        known = entity_types.get(entity_type.id)
        wanted = _with_texts_of(known, entity_type)
        before, after = _before(known, ENTITY_TYPE_WORDS), _words(wanted, ENTITY_TYPE_WORDS)
        plan.entity_types.append(wanted)
        if plan.differs(path_to("entity_types", entity_type.id), before, after):
            plan.new_entity_types.append(wanted)
    for customer in policy.customers:
        present = _Present() if is_new else (yield from _read(state, customer.id))
        _plan_customer(plan, present, customer)
    return plan


def _read(state: State, customer: str) -> Verb[_Present]:
    try:
        found = yield from customers.get(state, customer)
    except NotFound:
        return _Present()
    entitlements = yield from customers.entitlements(state, customer)
    entities = yield from governance.entities(state, customer, include_archived=True)
    budgets = yield from governance.assignments(state, customer)
    return _Present(
        found,
        entitlements,
        {entity.id: entity for entity in entities},
        {(budget.entity, budget.feature, budget.assignment.scope): budget.assignment for budget in budgets},
    )


def _plan_feature(plan: _Plan, present: Feature | None, feature: Feature) -> None:
    path = path_to("features", feature.id)
    wanted = _with_texts_of(present, feature)
    if present is not None and (present.feature_type, present.meter_type) != (wanted.feature_type, wanted.meter_type):
        is_now = f"{present.feature_type.value} {present.meter_type.value}"
        plan.conflicts.append(f"{path}: the feature is {is_now}, and keeps its type: use another id")
    plan.features.append(wanted)
    if plan.differs(path, _before(present, FEATURE_WORDS), _words(wanted, FEATURE_WORDS)):
        plan.new_features.append(wanted)


def _plan_customer(plan: _Plan, present: _Present, customer: PolicyCustomer) -> None:
    path = path_to("customers", customer.id)
    writes = _Writes(customer.id)
    plan.customers.append(writes)
    known = present.customer
    if known is not None and known.archived_at_ms is not None:
        plan.conflicts.append(f"{path}: the customer is archived: bring it back, or take it out of the policy")
    given = {name: value for name in ("name", "email", "metadata") if (value := getattr(customer, name)) is not None}
    if plan.differs(path, None if known is None else {name: getattr(known, name) for name in given}, given):
        writes.fields = given
    for entitlement in customer.entitlements:
        _plan_entitlement(plan, writes, path, present.entitlements.get(entitlement.feature), entitlement)
    for entity in customer.entities:
        _plan_entity(plan, writes, path, present.entities.get(entity.id), entity)
    _plan_budgets(plan, writes, path, present, customer)
    _plan_moves(plan, writes, path, present, customer)


def _plan_entitlement(
    plan: _Plan,
    writes: _Writes,
    path: str,
    present: PromotionalEntitlement | None,
    entitlement: PromotionalEntitlement,
) -> None:
    wanted = entitlement
    if present is not None and wanted.reset_anchor_ms is None:
        wanted = wanted.model_copy(update={"reset_anchor_ms": present.reset_anchor_ms})
    path = path_to(path_to(path, "entitlements"), entitlement.feature)
    if plan.differs(path, _before(present, ENTITLEMENT_WORDS), _words(wanted, ENTITLEMENT_WORDS)):
        writes.entitlements.append(wanted)


def _plan_entity(plan: _Plan, writes: _Writes, path: str, present: Entity | None, entity: PolicyEntity) -> None:
    path = _entity_path(path, entity.id)
    wanted: dict[str, Any] = {"type": entity.type}
    if entity.display_name is not None:
        wanted["name"] = entity.display_name
    if entity.metadata is not None:
        patched = {**(present.metadata if present else {}), **entity.metadata}
        wanted["metadata"] = {key: value for key, value in patched.items() if value != ""}
    before: dict[str, Any] | None = None
    if present is None:
        wanted["parent"] = entity.parent
    else:
        before = {"type": present.type, "name": present.display_name, "metadata": present.metadata}
        if present.type != entity.type:
            plan.conflicts.append(f"{path}: the entity is of type {present.type}, and keeps it: use another id")
        if present.archived_at_ms is not None:
            before["archived"], wanted["archived"] = True, False
    if plan.differs(path, before, wanted):
        writes.entities.append(
            EntityUpsert(id=entity.id, type=entity.type, display_name=entity.display_name, metadata=entity.metadata)
        )


def _plan_moves(plan: _Plan, writes: _Writes, path: str, present: _Present, customer: PolicyCustomer) -> None:
    """The entities that get another parent, in an order in which each is below its old root or its new one all along.

    So an entity moves once everything has left it that leaves it, and once its new parent is where it will be.
    Entities that wait for each other move in one call: in between, one of them would be below a root that was never
    its own. With four levels, there is an order in which each of them fits.
    """
    before = dict(present.entities)
    for entity in customer.entities:
        if entity.id not in before:
            before[entity.id] = Entity(id=entity.id, type=entity.type, created_at_ms=0, updated_at_ms=0)
    left = {entity.id: entity.parent for entity in customer.entities if before[entity.id].parent != entity.parent}
    for id, parent in left.items():
        if id in present.entities:
            was = before[id].parent
            plan.changes.append(Change(ChangeKind.CHANGED, path_to(_entity_path(path, id), "parent"), was, parent))

    hierarchy = Hierarchy(before)
    names = _budget_names(present, customer)
    waiting = Counter(above for id in left for above in _lineage(hierarchy, before[id].parent))
    while left:
        chosen = next((id for id, parent in left.items() if _is_free(hierarchy, id, parent, left, waiting)), None)
        moves = writes.moves
        if chosen is None or writes.moves_at_once:
            chosen = next((id for id, parent in left.items() if hierarchy.fits(id, parent)), None)
            moves = writes.moves_at_once
        if chosen is None:
            id, parent = next(iter(left.items()))
            plan.conflicts.append(hierarchy.trouble(id, parent, field=path_to(_entity_path(path, id), "parent")))
            return
        waiting.subtract(_lineage(hierarchy, hierarchy.entities[chosen].parent))
        parent = left.pop(chosen)
        hierarchy.move(chosen, parent, field=path, now_ms=0)
        moves.append(_named(chosen, names[chosen], parent))
    if len(writes.moves_at_once) > UPSERTS_MAX:
        plan.conflicts.append(
            f"{path}.entities: {len(writes.moves_at_once)} moves wait for each other, and one call takes "
            f"{UPSERTS_MAX}: move fewer entities at once"
        )


def _is_free(
    hierarchy: Hierarchy, id: str, parent: str | None, left: Mapping[str, str | None], waiting: Counter[str]
) -> bool:
    if waiting[id] or any(above in left for above in _lineage(hierarchy, parent)):
        return False
    return hierarchy.fits(id, parent)


def _lineage(hierarchy: Hierarchy, id: str | None) -> Iterator[str]:
    """An entity and all that is above it."""
    while id is not None:
        yield id
        id = hierarchy.entities[id].parent


_BudgetName = tuple[str, tuple[str, ...]]


def _budget_names(present: _Present, customer: PolicyCustomer) -> dict[str, _BudgetName]:
    """A budget of each entity that will be there when it is moved: a parent is given through one."""
    names: dict[str, _BudgetName] = {entity: (feature, scope) for entity, feature, scope in present.budgets}
    names.update(
        {each.id: (each.budgets[0].feature, each.budgets[0].scope) for each in customer.entities if each.budgets}
    )
    return names


def _named(entity: str, name: _BudgetName, parent: str | None) -> AssignmentUpsert:
    return AssignmentUpsert(entity=entity, feature=name[0], scope=name[1], parent=parent)


def _plan_budgets(plan: _Plan, writes: _Writes, path: str, present: _Present, customer: PolicyCustomer) -> None:
    """The budgets that are new or different."""
    for entity in customer.entities:
        for budget in entity.budgets:
            known = present.budgets.get((entity.id, budget.feature, budget.scope))
            name = ", ".join((budget.feature, *budget.scope))
            budget_path = f"{_entity_path(path, entity.id)}.budgets[{name}]"
            if plan.differs(budget_path, _before(known, _BUDGET_RULES), _words(budget, _BUDGET_RULES)):
                writes.assignments.append(_upsert(entity.id, budget))


_BUDGET_RULES: Final = {word: BUDGET_WORDS[word] for word in ("limit", "every", "zone")}


def _upsert(entity: str, budget: Budget) -> AssignmentUpsert:
    return AssignmentUpsert(
        entity=entity,
        feature=budget.feature,
        scope=budget.scope,
        usage_limit=budget.usage_limit,
        cadence=budget.cadence,
        zone=budget.zone,
    )


def _with_texts_of(present: _Described | None, wanted: _Described) -> _Described:
    if present is None:
        return wanted
    kept = {name: getattr(present, name) for name in _TEXTS if name in type(wanted).model_fields}
    return wanted.model_copy(update={name: kept[name] for name in kept.keys() - wanted.model_fields_set})


def _words(model: Strict, words: Mapping[str, str]) -> dict[str, Any]:
    """A model as plain data in the words of the policy file."""
    data: dict[str, Any] = {}
    for word, name in words.items():
        value = getattr(model, name)
        if isinstance(value, Enum):
            value = value.value
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, float):
            value = as_number(value)
        elif name == "reset_anchor_ms" and value is not None:
            value = instant(value).isoformat()
        data[word] = value
    if "limit" in data and data["limit"] is None and getattr(model, "has_unlimited_usage", True):
        data["limit"] = UNLIMITED
    return data


def _says_nothing(word: str, value: object) -> bool:
    """Whether a field of something new is only its default. A limit of 0 is none."""
    return value is None or value is False or value in ("", [], {}) or _DEFAULTS.get(word) == value


def _before(model: Strict | None, words: Mapping[str, str]) -> dict[str, Any] | None:
    return None if model is None else _words(model, words)


def _entity_path(customer_path: str, id: str) -> str:
    return path_to(path_to(customer_path, "entities"), id)


def _batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for first in range(0, len(items), UPSERTS_MAX):
        yield items[first : first + UPSERTS_MAX]
