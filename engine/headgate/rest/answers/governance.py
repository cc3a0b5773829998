"""Entity types, entities, budgets and the nodes of the tree, as clients send them and as they are shown."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from headgate import keys
from headgate.model.catalog import EntityType
from headgate.model.decision import instant
from headgate.model.governance import Entity
from headgate.rest.answers.ids import entitlement_id
from headgate.rest.shapes import Answer, Body, IdText, Number
from headgate.verbs.governance import UPSERTS_MAX, EntityBudget

LeftOut = Field(default_factory=str)
"""For a text that may be left out and may not be null."""

_ENGINE_NAMES: Final = {
    "entity_id": "entity",
    "feature_id": "feature",
    "currency_id": "currency",
    "usage_limit": "usage_limit",
    "cadence": "cadence",
    "parent_id": "parent",
    "scope_entity_ids": "scope",
}
"""What the engine calls the fields of a budget."""


def _never(value: object) -> None:
    raise ValueError('Unrecognized key(s) in request: "parentId": the parent of an entity is set by its assignments')


class EntityTypeBody(Body):
    """A kind of governed thing to create or replace; a description that is left out stays as it is."""

    id: IdText
    display_name: str
    attribution_keys: Annotated[list[str], Field(max_length=2)]
    description: str | None = None

    def as_upsert(self) -> dict[str, Any]:
        """What the engine is given."""
        described = {"description": self.description or ""} if self.gives("description") else {}
        return {
            "id": self.id,
            "display_name": self.display_name,
            "attribution_keys": self.attribution_keys,
            **described,
        }


class EntityTypesBody(Body):
    """Entity types to write, each once."""

    types: Annotated[list[EntityTypeBody], Field(min_length=1, max_length=UPSERTS_MAX)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = [id for id, count in Counter(each.id for each in self.types).items() if count > 1]
        if twice:
            raise ValueError(f"types: each may be in the list once, and {', '.join(twice)} is there more often")
        return self


class EntityTypeAnswer(Answer):
    """A kind of governed thing."""

    id: str
    display_name: str
    attribution_keys: list[str]
    description: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, entity_type: EntityType) -> Self:
        """Show an entity type."""
        return cls(
            id=entity_type.id,
            display_name=entity_type.display_name,
            attribution_keys=list(entity_type.attribution_keys),
            description=entity_type.description or None,
            created_at=instant(entity_type.created_at_ms),
            updated_at=instant(entity_type.updated_at_ms),
        )


class EntityBody(Body):
    """An entity to create or change: what is left out stays; a metadata key is removed by an empty text."""

    id: IdText
    entity_type_id: IdText = LeftOut
    display_name: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    parent_id: SkipJsonSchema[Annotated[None, BeforeValidator(_never)]] = None

    def as_upsert(self) -> dict[str, Any]:
        """What the engine is given."""
        given: dict[str, Any] = {"id": self.id}
        if self.gives("entity_type_id"):
            given["type"] = self.entity_type_id
        if self.gives("display_name"):
            given["display_name"] = self.display_name or ""
        if self.gives("metadata"):
            given["metadata"] = self.metadata
        return given


class EntitiesBody(Body):
    """Entities to write, in order."""

    entities: Annotated[list[EntityBody], Field(min_length=1, max_length=UPSERTS_MAX)]


class EntityAnswer(Answer):
    """A governed thing of a customer."""

    id: str
    entity_type_id: str
    display_name: str | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, entity: Entity) -> Self:
        """Show an entity."""
        return cls(
            id=entity.id,
            entity_type_id=entity.type,
            display_name=entity.display_name or None,
            metadata=entity.metadata,
            created_at=instant(entity.created_at_ms),
            updated_at=instant(entity.updated_at_ms),
            archived_at=None if entity.archived_at_ms is None else instant(entity.archived_at_ms),
        )


class EntityIdsBody(Body):
    """Entities to archive, or to bring back."""

    ids: Annotated[list[IdText], Field(min_length=1, max_length=UPSERTS_MAX)]


class EntityIdsAnswer(Answer):
    """The entities that were named."""

    ids: list[str]


class AssignmentBody(Body):
    """A budget to create or change: limit and cadence are needed to create one, what is left out stays as it is.

    A limit of null tracks and never refuses. `parentId` is the entity's parent: null detaches it.
    """

    entity_id: IdText
    feature_id: IdText = LeftOut
    currency_id: IdText = LeftOut
    usage_limit: float | None = None
    cadence: str = LeftOut
    parent_id: IdText | None = None
    scope_entity_ids: list[IdText] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_capability(self) -> Self:
        if self.gives("feature_id") == self.gives("currency_id"):
            raise ValueError("a budget is for a featureId or for a currencyId: give one of the two")
        return self

    @property
    def feature(self) -> str | None:
        """The feature that it is for, if it is for one."""
        return self.feature_id or None

    @property
    def currency(self) -> str | None:
        """The currency that it is for, if it is for one."""
        return self.currency_id or None

    @property
    def key(self) -> tuple[Any, ...]:
        """What two bodies of one budget have in common."""
        return self.entity_id, self.feature, self.currency, frozenset(self.scope_entity_ids)

    def as_upsert(self) -> dict[str, Any]:
        """What the engine is given."""
        return {name: getattr(self, field) for field, name in _ENGINE_NAMES.items() if self.gives(field)}


class AssignmentsBody(Body):
    """Budgets to write, in order."""

    assignments: Annotated[list[AssignmentBody], Field(min_length=1, max_length=UPSERTS_MAX)]


class AssignmentAnswer(Answer):
    """A budget of an entity, for a feature or for a currency. The id belongs to its key, and says nothing else."""

    id: str
    entity_id: str
    feature_id: str | None = None
    currency_id: str | None = None
    usage_limit: Number | None
    cadence: str
    parent_id: str | None
    scope_entity_ids: list[str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, environment: str, customer: str, budget: EntityBudget, parent: str | None) -> Self:
        """Show a budget, with the parent of its entity."""
        assignment = budget.assignment
        capability = capability_of(budget.feature, budget.currency)
        return cls(
            id=entitlement_id(environment, customer, budget.entity, capability, assignment.scope),
            entity_id=budget.entity,
            **named_capability(budget.feature, budget.currency),
            usage_limit=assignment.usage_limit,
            cadence=assignment.cadence,
            parent_id=parent,
            scope_entity_ids=list(assignment.scope),
            created_at=instant(assignment.created_at_ms),
            updated_at=instant(assignment.updated_at_ms),
        )


def capability_of(feature: str | None, currency: str | None) -> str:
    """What a budget is for, as the keyspace spells it."""
    if feature is not None:
        return keys.feature_capability(feature)
    assert currency is not None
    return keys.currency_capability(currency)


def named_capability(feature: str | None, currency: str | None) -> dict[str, Any]:
    """The field of an answer that says what a budget is for; the other one is left out."""
    return {name: id for name, id in (("feature_id", feature), ("currency_id", currency)) if id is not None}


class GovernanceNode(Answer):
    """An entity in the tree, with one of its budgets and what is used of it, or with none in tree mode.

    What is held by open reservations is in `currentUsage`, and is named beside it as `held` where there is some.
    """

    entity_id: str
    entity_type_id: str
    display_name: str | None
    parent_id: str | None
    scope_entity_ids: list[str]
    feature_id: str | None = None
    currency_id: str | None = None
    usage_limit: Number | None
    current_usage: Number | None
    held: Number = 0
    cadence: str | None
    utilization: Number | None
    usage_period_start: datetime | None
    usage_period_end: datetime | None


class NextPage(Answer):
    """Where the list goes on."""

    next: str | None


class GovernancePage(Answer):
    """One page of the tree."""

    data: list[GovernanceNode]
    pagination: NextPage
