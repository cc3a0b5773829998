"""Governance: entities of a customer, and their budgets. The rules are the contract's (C.1)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import InstantMs, Limit, Zone
from headgate.periods import Cadence

LEVELS_MAX = 4


def _cadence(text: str) -> str:
    return str(Cadence.parse(text))


CadenceText = Annotated[str, AfterValidator(_cadence)]
"""An ISO-8601 duration of one unit, such as `P1M` or `PT10M`."""


def _scope(ids: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(ids)))


Scope = Annotated[tuple[Id, ...], Field(max_length=16, strict=False), AfterValidator(_scope)]
"""The entities that must all be present for a budget to apply, sorted: it is a set. Empty is node-wide."""


class Entity(Strict):
    """One governed thing of a customer, as it is stored.

    `children_by_height` counts the children whose own subtrees are 0, 1 and 2 levels deep: so the height of a node is
    known without reading its descendants, and moving one is checked at the cost of its chain.
    """

    id: Id
    type: Id
    display_name: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    parent: Id | None = None
    children_by_height: tuple[int, int, int] = Field(default=(0, 0, 0), strict=False)
    created_at_ms: InstantMs
    updated_at_ms: InstantMs
    archived_at_ms: InstantMs | None = None

    @property
    def height(self) -> int:
        """How many levels hang below this node."""
        return max((height + 1 for height, count in enumerate(self.children_by_height) if count), default=0)


class Assignment(Strict):
    """An entity's budget for one capability, as it is stored. `number` is its counter's; it is never given twice."""

    number: int
    scope: Scope = ()
    usage_limit: Limit = None
    cadence: CadenceText
    zone: Zone = "UTC"
    created_at_ms: InstantMs
    updated_at_ms: InstantMs


class EntityUpsert(Strict):
    """An entity to create or change. The type is needed to create one; what is left out stays as it is."""

    id: Id
    type: Id | None = None
    display_name: str | None = None
    metadata: dict[str, str] | None = None


class AssignmentUpsert(Strict):
    """A budget to create or change; its key is entity, capability and the set of scope ids.

    Limit and cadence are needed to create one; what is left out stays as it is. A limit of None tracks and never
    refuses. `parent` is the entity's single parent: left out it stays, None detaches, an id sets it.
    """

    entity: Id
    feature: Id | None = None
    currency: Id | None = None
    scope: Scope = ()
    usage_limit: Limit = None
    cadence: CadenceText | None = None
    zone: Zone = "UTC"
    parent: Id | None = None

    @model_validator(mode="after")
    def _one_capability(self) -> Self:
        if (self.feature is None) == (self.currency is None):
            raise ValueError("a budget is for a feature or for a currency: give one of the two")
        return self

    def gives(self, field: str) -> bool:
        """Whether the field was given at all: a limit or a parent of None says something."""
        return field in self.model_fields_set
