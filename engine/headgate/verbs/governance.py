"""Governance: entities, their budgets and their hierarchy. Every write names the token that it was validated against.

Two changes at once that are only together wrong (A under B, and B under A) cannot both be written: the second one
finds another token, is validated again against the first, and refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headgate import keys, wire
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.chains import walk
from headgate.errors import ConfigurationKeepsChanging, InvalidInput, NotFound
from headgate.hierarchy import Hierarchy
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.model.ids import require_id
from headgate.prepare import CONSTRAINTS_MAX
from headgate.verbs.customers import configure
from headgate.verbs.environment import ATTEMPTS_MAX
from headgate.verbs.loading import Assignments, load, loaded_assignments, loaded_entities
from headgate.verbs.scanning import scan
from headgate.wire import Loaded

UPSERTS_MAX = 100
"""How many entities or budgets one call may write."""


@dataclass(frozen=True, slots=True)
class EntityBudget:
    """A budget with the entity that it sits on and what it is for: a feature, or a currency."""

    entity: str
    feature: str | None
    assignment: Assignment
    currency: str | None = None


def require_ids(ids: object) -> list[str]:
    """Accept a list of ids; raise `InvalidInput` otherwise."""
    if isinstance(ids, str) or not isinstance(ids, Sequence):
        raise InvalidInput.of("ids", ids, "must be a list of ids")
    return [require_id(id, f"ids[{index}]") for index, id in enumerate(ids)]


def put_entities(state: State, customer: str, upserts: Sequence[EntityUpsert]) -> Verb[list[Entity]]:
    """Create entities, or change what is given of them. Naming an archived one brings it back."""
    _require_batch("entities", upserts)
    for _ in range(ATTEMPTS_MAX):
        catalog, loaded = yield from _load(state, customer, [upsert.id for upsert in upserts], [])
        present = loaded_entities(loaded)
        changed: dict[str, Entity] = {}
        for index, upsert in enumerate(upserts):
            known = changed.get(upsert.id) or present.get(upsert.id)
            changed[upsert.id] = _entity_after(catalog, known, upsert, f"entities[{index}]", loaded.server_now_ms)
        documents = {
            keys.entity_field(entity.id): wire.pack_document(entity)
            for entity in changed.values()
            if entity != present.get(entity.id)
        }
        if not documents or (yield from configure(state, customer, loaded, documents)):
            return [changed[upsert.id] for upsert in upserts]
    raise _keeps_changing(customer)


def _entity_after(catalog: Catalog, known: Entity | None, upsert: EntityUpsert, field: str, now_ms: int) -> Entity:
    type_id = upsert.type or (known.type if known else None)
    if type_id is None:
        raise InvalidInput.of(f"{field}.type", None, f"is required to create {upsert.id!r}")
    if type_id not in catalog.entity_types:
        raise InvalidInput.of(f"{field}.type", type_id, "there is no such entity type")
    if known is not None and known.type != type_id:
        raise InvalidInput.of(f"{field}.type", type_id, f"{upsert.id!r} is a {known.type!r}: an entity keeps its type")
    if known is None:
        return Entity(
            id=upsert.id,
            type=type_id,
            display_name=upsert.display_name or "",
            metadata=_patched({}, upsert.metadata),
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
    after = known.model_copy(
        update={
            "display_name": known.display_name if upsert.display_name is None else upsert.display_name,
            "metadata": _patched(known.metadata, upsert.metadata),
            "archived_at_ms": None,
        }
    )
    return known if after == known else after.model_copy(update={"updated_at_ms": now_ms})


def _patched(metadata: dict[str, str], patch: dict[str, str] | None) -> dict[str, str]:
    """Metadata after a patch, in which an empty string removes a key."""
    return {key: value for key, value in {**metadata, **(patch or {})}.items() if value != ""}


def put_assignments(state: State, customer: str, upserts: Sequence[AssignmentUpsert]) -> Verb[list[Assignment]]:
    """Create budgets, or change what is given of them, and move their entities under other parents."""
    _require_batch("assignments", upserts)
    named = [id for upsert in upserts for id in (upsert.entity, upsert.parent, *upsert.scope) if id is not None]
    capabilities = list(dict.fromkeys(_capability(upsert) for upsert in upserts))
    for _ in range(ATTEMPTS_MAX):
        catalog, loaded = yield from _load(state, customer, named, capabilities)
        change = _AssignmentsChange(catalog, loaded)
        after = [change.apply(upsert, f"assignments[{index}]") for index, upsert in enumerate(upserts)]
        change.require_bounds(upserts)
        documents = change.documents()
        done = not documents or (
            yield from configure(state, customer, loaded, documents, next_number=change.next_number)
        )
        if done:
            return after
    raise _keeps_changing(customer)


def _capability(upsert: AssignmentUpsert) -> str:
    if upsert.feature is not None:
        return keys.feature_capability(upsert.feature)
    assert upsert.currency is not None
    return keys.currency_capability(upsert.currency)


class _AssignmentsChange:
    """A batch of budgets being applied, in order, to what a load brought."""

    def __init__(self, catalog: Catalog, loaded: Loaded) -> None:
        self._catalog = catalog
        self._loaded = loaded
        self._hierarchy = Hierarchy(loaded_entities(loaded))
        self._changed: dict[tuple[str, str], dict[tuple[str, ...], Assignment]] = {}
        self.next_number = loaded.next_number

    def _budgets(self, entity: str, capability: str) -> dict[tuple[str, ...], Assignment]:
        changed = self._changed.get((entity, capability))
        if changed is not None:
            return changed
        return {each.scope: each for each in loaded_assignments(self._loaded, entity, capability)}

    def apply(self, upsert: AssignmentUpsert, field: str) -> Assignment:
        now_ms, entities = self._loaded.server_now_ms, self._hierarchy.entities
        self._require_capability(upsert, field)
        for name, id in (("entity", upsert.entity), *(("scope", id) for id in upsert.scope)):
            if id not in entities:
                raise InvalidInput.of(f"{field}.{name}", id, "there is no such entity")
        if entities[upsert.entity].archived_at_ms is not None:
            raise InvalidInput.of(f"{field}.entity", upsert.entity, "is archived: bring it back first")
        if upsert.gives("parent"):
            self._hierarchy.move(upsert.entity, upsert.parent, field=f"{field}.parent", now_ms=now_ms)

        capability = _capability(upsert)
        budgets = self._budgets(upsert.entity, capability)
        known = budgets.get(upsert.scope)
        after = self._created(upsert, field) if known is None else _assignment_after(known, upsert, now_ms)
        if after != known:
            self._changed[upsert.entity, capability] = {**budgets, upsert.scope: after}
        return after

    def _require_capability(self, upsert: AssignmentUpsert, field: str) -> None:
        if upsert.feature is None:
            if upsert.currency not in self._catalog.currencies:
                raise InvalidInput.of(f"{field}.currency", upsert.currency, "there is no such currency")
            return
        feature = self._catalog.features.get(upsert.feature)
        if feature is None:
            raise InvalidInput.of(f"{field}.feature", upsert.feature, "there is no such feature")
        if not feature.is_metered:
            raise InvalidInput.of(f"{field}.feature", upsert.feature, "is not metered: there is nothing to budget")

    def _created(self, upsert: AssignmentUpsert, field: str) -> Assignment:
        for name in ("usage_limit", "cadence"):
            if not upsert.gives(name) or (name == "cadence" and upsert.cadence is None):
                raise InvalidInput.of(f"{field}.{name}", None, f"is required to give {upsert.entity!r} a budget")
        assert upsert.cadence is not None
        number, self.next_number = self.next_number, self.next_number + 1
        return Assignment(
            number=number,
            scope=upsert.scope,
            usage_limit=upsert.usage_limit,
            cadence=upsert.cadence,
            zone=upsert.zone,
            created_at_ms=self._loaded.server_now_ms,
            updated_at_ms=self._loaded.server_now_ms,
        )

    def require_bounds(self, upserts: Sequence[AssignmentUpsert]) -> None:
        """Refuse budgets that would let one chain bring in more constraints than a request may have."""
        for index, upsert in enumerate(upserts):
            nodes = walk(self._hierarchy.entities, upsert.entity)
            count = 1 + sum(len(self._budgets(node.id, _capability(upsert))) for node in nodes)
            if count > CONSTRAINTS_MAX:
                rule = f"its chain would bring {count} constraints to a request: at most {CONSTRAINTS_MAX}"
                raise InvalidInput.of(f"assignments[{index}].scope", list(upsert.scope), rule)

    def documents(self) -> dict[bytes, bytes]:
        documents = {
            keys.assignments_field(entity, capability): wire.pack_document(
                Assignments(assignments=tuple(budgets.values()))
            )
            for (entity, capability), budgets in self._changed.items()
        }
        for entity in self._hierarchy.changed():
            documents[keys.entity_field(entity.id)] = wire.pack_document(entity)
        return documents


def _assignment_after(known: Assignment, upsert: AssignmentUpsert, now_ms: int) -> Assignment:
    after = known.model_copy(
        update={
            "usage_limit": upsert.usage_limit if upsert.gives("usage_limit") else known.usage_limit,
            "cadence": upsert.cadence or known.cadence,
            "zone": upsert.zone if upsert.gives("zone") else known.zone,
        }
    )
    return known if after == known else after.model_copy(update={"updated_at_ms": now_ms})


def set_archived(state: State, customer: str, ids: Sequence[str], *, archived: bool) -> Verb[list[Entity]]:
    """Archive entities, whose own budgets then no longer apply, or bring them back. What is above still applies."""
    _require_batch("ids", ids)
    for _ in range(ATTEMPTS_MAX):
        _, loaded = yield from _load(state, customer, ids, [])
        entities = loaded_entities(loaded)
        after = {}
        for id in ids:
            if id not in entities:
                raise NotFound("entity", id, within=f"of customer {customer!r}")
            entity = entities[id]
            if (entity.archived_at_ms is not None) != archived:
                now_ms = loaded.server_now_ms
                entity = entity.model_copy(
                    update={"archived_at_ms": now_ms if archived else None, "updated_at_ms": now_ms}
                )
            after[id] = entity
        documents = {
            keys.entity_field(id): wire.pack_document(each) for id, each in after.items() if each != entities[id]
        }
        if not documents or (yield from configure(state, customer, loaded, documents)):
            return [after[id] for id in ids]
    raise _keeps_changing(customer)


def find(state: State, customer: str, ids: Sequence[str]) -> Verb[dict[str, Entity]]:
    """Read the entities of some ids, archived ones too, at the cost of their chains; ids that are none are left out."""
    if len(ids) > UPSERTS_MAX:
        raise InvalidInput.of("ids", len(ids), f"one call takes up to {UPSERTS_MAX}")
    _, loaded = yield from _load(state, customer, ids, [])
    present = loaded_entities(loaded)
    return {id: present[id] for id in ids if id in present}


def entities(state: State, customer: str, *, include_archived: bool) -> Verb[list[Entity]]:
    """Read all entities of a customer, by id."""
    scanned = yield from _scan(state, customer)
    found = loaded_entities(scanned)
    return [found[id] for id in sorted(found) if include_archived or found[id].archived_at_ms is None]


def assignments(state: State, customer: str) -> Verb[list[EntityBudget]]:
    """Read all budgets of a customer, by entity, feature, currency and scope."""
    scanned = yield from _scan(state, customer)
    return scanned_budgets(scanned)


def scanned_budgets(scanned: Loaded) -> list[EntityBudget]:
    """All budgets among a customer's documents."""
    found: list[EntityBudget] = []
    for field, document in scanned.documents.items():
        kind, _, rest = field.decode().partition(":")
        if kind == "assignments":
            entity, capability, id = rest.split(":")
            feature, currency = (id, None) if capability == "feature" else (None, id)
            budgets = wire.unpack_document(Assignments, document).assignments
            found.extend(EntityBudget(entity, feature, each, currency) for each in budgets)
    return sorted(found, key=_place)


def _place(budget: EntityBudget) -> tuple[str, str, str, tuple[str, ...]]:
    return budget.entity, budget.feature or "", budget.currency or "", budget.assignment.scope


def _load(state: State, customer: str, ids: Sequence[str], capabilities: Sequence[str]) -> Verb[tuple[Catalog, Loaded]]:
    catalog, loaded = yield from load(
        state, customer, fields=[keys.CUSTOMER], entities=dict.fromkeys(ids), capabilities=capabilities
    )
    if keys.CUSTOMER not in loaded.documents:
        raise NotFound("customer", customer)
    return catalog, loaded


def _scan(state: State, customer: str) -> Verb[Loaded]:
    scanned = yield from scan(state, customer)
    if keys.CUSTOMER not in scanned.documents:
        raise NotFound("customer", customer)
    return scanned


def _require_batch(field: str, values: Sequence[object]) -> None:
    if not 1 <= len(values) <= UPSERTS_MAX:
        raise InvalidInput.of(field, len(values), f"one call takes 1 to {UPSERTS_MAX}")


def _keeps_changing(customer: str) -> ConfigurationKeepsChanging:
    return ConfigurationKeepsChanging(f"other writers changed customer {customer!r} at every attempt")
