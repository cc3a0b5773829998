"""Explain: a check that also says how its request was resolved. For people, not for the hot path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate import keys
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.chains import Dimensions, DimensionValue, dimension_text, present, walk
from headgate.errors import ConfigurationKeepsChanging
from headgate.model.decision import Decision
from headgate.model.governance import Entity
from headgate.model.ids import is_id
from headgate.verbs import decide
from headgate.verbs.decide import Asked
from headgate.verbs.environment import ATTEMPTS_MAX, read_catalog
from headgate.verbs.loading import load, loaded_assignments, loaded_entities
from headgate.wire import Loaded


@dataclass(frozen=True, slots=True)
class DimensionMatch:
    """What became of one dimension: the entity that it named, or why it named none."""

    key: str
    value: DimensionValue
    entity: str | None
    entity_type: str | None
    note: str


@dataclass(frozen=True, slots=True)
class SkippedBudget:
    """A budget on the way that did not apply, and the entities of its scope that were missing."""

    entity: str
    scope: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with the way that led to it."""

    decision: Decision
    dimensions: tuple[DimensionMatch, ...]
    skipped: tuple[SkippedBudget, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "decision": self.decision.as_dict(),
            "dimensions": [
                {
                    "key": each.key,
                    "value": each.value,
                    "entity": each.entity,
                    "type": each.entity_type,
                    "note": each.note,
                }
                for each in self.dimensions
            ],
            "skipped": [
                {"entity": each.entity, "scope": list(each.scope), "missing": list(each.missing)}
                for each in self.skipped
            ],
        }


def explain(state: State, question: Asked) -> Verb[Explanation]:
    """Check, and explain with documents of the same configuration."""
    request = question.request
    for _ in range(ATTEMPTS_MAX):
        before = yield from _documents(state, request.customer, request.dimensions, [])
        decision = yield from decide.check(state, question)
        capabilities = [] if request.feature is None else [request.capability]
        if decision.currency is not None:
            capabilities.append(keys.currency_capability(decision.currency))
        catalog, loaded = yield from _documents(state, request.customer, request.dimensions, capabilities)
        if before[1].stamp == loaded.stamp:
            entities = loaded_entities(loaded)
            matches = tuple(_match(key, value, catalog, entities) for key, value in (request.dimensions or {}).items())
            return Explanation(decision, matches, tuple(_skipped(matches, loaded, entities, capabilities)))
    raise ConfigurationKeepsChanging(
        f"the configuration of {request.customer!r} changed at each of {ATTEMPTS_MAX} attempts"
    )


def _documents(
    state: State, customer: str, dimensions: Dimensions | None, capabilities: Sequence[str]
) -> Verb[tuple[Catalog, Loaded]]:
    yield from read_catalog(state)
    named = [text for text in map(dimension_text, (dimensions or {}).values()) if is_id(text)]
    return (yield from load(state, customer, fields=[keys.CUSTOMER], entities=named, capabilities=capabilities))


def _match(key: str, value: DimensionValue, catalog: Catalog, entities: Mapping[str, Entity]) -> DimensionMatch:
    types = catalog.types_by_key.get(key)
    text = dimension_text(value)
    entity = entities.get(text)
    if types is None:
        return DimensionMatch(key, value, None, None, "no entity type has this attribution key: ignored")
    if entity is None:
        return DimensionMatch(key, value, None, None, f"there is no entity {text!r}: ignored")
    if entity.type not in types:
        return DimensionMatch(
            key, value, None, entity.type, f"{text!r} is a {entity.type!r}, this key names {', '.join(types)}"
        )
    note = "archived: its own budgets do not apply" if entity.archived_at_ms is not None else "matched"
    return DimensionMatch(key, value, entity.id, entity.type, note)


def _skipped(
    matches: tuple[DimensionMatch, ...], loaded: Loaded, entities: Mapping[str, Entity], capabilities: Sequence[str]
) -> list[SkippedBudget]:
    leaves = [match.entity for match in matches if match.entity is not None]
    here = present(entities, leaves)
    nodes = dict.fromkeys(node.id for leaf in leaves for node in walk(entities, leaf) if node.archived_at_ms is None)
    return [
        SkippedBudget(id, assignment.scope, tuple(sorted(set(assignment.scope) - here)))
        for id in nodes
        for capability in capabilities
        for assignment in loaded_assignments(loaded, id, capability)
        if not here.issuperset(assignment.scope)
    ]
