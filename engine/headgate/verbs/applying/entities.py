"""The entities of a customer of a policy, their budgets, and who is moved under whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headgate import keys, wire
from headgate.hierarchy import Hierarchy
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.policy import BUDGET_WORDS, Budget, PolicyCustomer, PolicyEntity, path_to
from headgate.verbs.applying.changes import Change, ChangeKind, Told, in_words, words_before
from headgate.verbs.governance import UPSERTS_MAX
from headgate.verbs.loading import Assignments, loaded_entities
from headgate.wire import Loaded

_BudgetName = tuple[str, tuple[str, ...]]
"""The capability, such as `feature:tokens`, and the scope."""

_BUDGET_RULES: Final = {word: BUDGET_WORDS[word] for word in ("limit", "every", "zone")}


@dataclass(frozen=True, slots=True)
class PresentEntities:
    """What is stored of a customer's entities, archived ones too, and their budgets by entity and name."""

    entities: Mapping[str, Entity] = field(default_factory=dict)
    budgets: Mapping[tuple[str, _BudgetName], Assignment] = field(default_factory=dict)

    @classmethod
    def of(cls, scanned: Loaded) -> PresentEntities:
        """Take it from all documents of a customer."""
        budgets: dict[tuple[str, _BudgetName], Assignment] = {}
        for stored, document in scanned.documents.items():
            kind, _, rest = stored.decode().partition(":")
            if kind == "assignments":
                entity, _, capability = rest.partition(":")
                for each in wire.unpack_document(Assignments, document).assignments:
                    budgets[entity, (capability, each.scope)] = each
        return cls(loaded_entities(scanned), budgets)


@dataclass(slots=True)
class EntityWrites:
    """What is to be written of one customer's entities, in this order."""

    customer: str
    entities: list[EntityUpsert] = field(default_factory=list)
    assignments: list[AssignmentUpsert] = field(default_factory=list)
    moves: list[AssignmentUpsert] = field(default_factory=list)
    moves_at_once: list[AssignmentUpsert] = field(default_factory=list)


def judge_entities(told: Told, present: PresentEntities, customer: PolicyCustomer) -> EntityWrites:
    """Find out what of a customer's entities and budgets is new or different, and who gets another parent."""
    path = path_to(path_to("customers", customer.id), "entities")
    writes = EntityWrites(customer.id)
    for entity in customer.entities:
        _judge_entity(told, writes, path_to(path, entity.id), present.entities.get(entity.id), entity)
    for entity in customer.entities:
        for budget in entity.budgets:
            known = present.budgets.get((entity.id, _name_of(budget)))
            name = ", ".join((budget.capability, *budget.scope))
            budget_path = f"{path_to(path, entity.id)}.budgets[{name}]"
            if told.differs(budget_path, words_before(known, _BUDGET_RULES), in_words(budget, _BUDGET_RULES)):
                writes.assignments.append(_upsert(entity.id, budget))
    _judge_moves(told, writes, path, present, customer)
    return writes


def _judge_entity(told: Told, writes: EntityWrites, path: str, present: Entity | None, entity: PolicyEntity) -> None:
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
            told.conflicts.append(f"{path}: the entity is of type {present.type}, and keeps it: use another id")
        if present.archived_at_ms is not None:
            before["archived"], wanted["archived"] = True, False
    if told.differs(path, before, wanted):
        writes.entities.append(
            EntityUpsert(id=entity.id, type=entity.type, display_name=entity.display_name, metadata=entity.metadata)
        )


def _judge_moves(
    told: Told, writes: EntityWrites, path: str, present: PresentEntities, customer: PolicyCustomer
) -> None:
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
            was, parent_path = before[id].parent, path_to(path_to(path, id), "parent")
            told.changes.append(Change(ChangeKind.CHANGED, parent_path, was, parent))

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
            told.conflicts.append(hierarchy.trouble(id, parent, field=path_to(path_to(path, id), "parent")))
            return
        waiting.subtract(_lineage(hierarchy, hierarchy.entities[chosen].parent))
        parent = left.pop(chosen)
        hierarchy.move(chosen, parent, field=path, now_ms=0)
        moves.append(_named(chosen, names[chosen], parent))
    if len(writes.moves_at_once) > UPSERTS_MAX:
        told.conflicts.append(
            f"{path}: {len(writes.moves_at_once)} moves wait for each other, and one call takes "
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


def _budget_names(present: PresentEntities, customer: PolicyCustomer) -> dict[str, _BudgetName]:
    """A budget of each entity that will be there when it is moved: a parent is given through one."""
    names: dict[str, _BudgetName] = dict(iter(present.budgets))
    names.update({each.id: _name_of(each.budgets[0]) for each in customer.entities if each.budgets})
    return names


def _name_of(budget: Budget) -> _BudgetName:
    if budget.feature is not None:
        return keys.feature_capability(budget.feature), budget.scope
    assert budget.currency is not None, "a policy says one of the two"
    return keys.currency_capability(budget.currency), budget.scope


def _named(entity: str, name: _BudgetName, parent: str | None) -> AssignmentUpsert:
    kind, _, id = name[0].partition(":")
    if kind == "feature":
        return AssignmentUpsert(entity=entity, feature=id, scope=name[1], parent=parent)
    return AssignmentUpsert(entity=entity, currency=id, scope=name[1], parent=parent)


def _upsert(entity: str, budget: Budget) -> AssignmentUpsert:
    return AssignmentUpsert(
        entity=entity,
        feature=budget.feature,
        currency=budget.currency,
        scope=budget.scope,
        usage_limit=budget.usage_limit,
        cadence=budget.cadence,
        zone=budget.zone,
    )
