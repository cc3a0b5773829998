"""The tree query: a customer's entities with what is used of their budgets, sorted, filtered and paged. It never gates.

With featureIds or currencyIds there is a node for each budget for one of these; with neither (tree mode) there is one
for each entity, and what is about usage is null. Archived entities are left out: `parentId` is then the nearest
ancestor that is not archived, whose budgets are the next to apply.

A page begins after the place of the node that the last one ended with: its number then, and where that is equal its
entity and its budget. So nothing is shown twice for a write elsewhere; a node whose own number passes the cursor
between two pages is shown twice, or not at all. Nodes that have no such number come last in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

from fastapi import APIRouter, Path, Request, Response

from headgate.chains import walk
from headgate.errors import InvalidInput
from headgate.model.decision import ConstraintState, instant
from headgate.model.governance import Entity
from headgate.rest.access import READ
from headgate.rest.answers.governance import GovernanceNode, GovernancePage, NextPage, capability_of, named_capability
from headgate.rest.answers.ids import entitlement_id
from headgate.rest.engine import Engine
from headgate.rest.pages import LIMIT_DEFAULT, LIMIT_MAX, cursor, read_cursor
from headgate.rest.queries import Parameter, choice, documented, identifiers, integer, known_only, number, text
from headgate.rest.shapes import IdText, respond
from headgate.service.numbers import standing
from headgate.service.wire_names import wire_names

router = APIRouter()

CAPABILITIES_MAX: Final = 20
"""How many features and currencies one query may ask about: each is a reading of all the customer's entities."""

SortBy = Literal["utilization", "currentUsage", "usageLimit", "scopeSize", "id", "createdAt"]
Shown = Literal["all", "nodeWide", "scoped"]
Direction = Literal["asc", "desc"]
Place = Any
"""What a node is sorted by: a number, a text, or None where it has no such number."""

_PARAMETERS: Final = (
    Parameter("featureIds", "features whose budgets are shown", is_list=True),
    Parameter("currencyIds", "currencies whose budgets are shown", is_list=True),
    Parameter("entityTypeIds", "only entities of these types", is_list=True),
    Parameter("entityIdSearch", "only entities with this text in their id or their name, in whatever case"),
    Parameter("minUtilization", "only budgets of which at least this part is used: 0.8 is 80 %", "number"),
    Parameter("scope", f"which budgets: {', '.join(get_args(Shown))}; default all"),
    Parameter("sortBy", f"one of {', '.join(get_args(SortBy))}; default utilization"),
    Parameter("order", "asc or desc; default desc"),
    Parameter("after", "the `next` of a page: what comes after it"),
    Parameter("limit", f"how many nodes a page has at most, 1 to {LIMIT_MAX}; default {LIMIT_DEFAULT}", "integer"),
)


@dataclass(frozen=True, slots=True)
class Node:
    """An entity in the tree, with one of its budgets, or none."""

    entity: Entity
    parent: str | None
    feature: str | None = None
    currency: str | None = None
    state: ConstraintState | None = None
    budget_id: str = ""

    @property
    def usage(self) -> float | None:
        """What counts towards the limit."""
        return None if self.state is None else standing(self.state.used, self.state.held)

    @property
    def utilization(self) -> float | None:
        """Which part of the limit is used; all of it where the limit is 0."""
        if self.state is None or self.state.limit is None or self.usage is None:
            return None
        return self.usage / self.state.limit if self.state.limit else 1.0

    @property
    def scope(self) -> tuple[str, ...]:
        """The scope of its budget."""
        return self.state.scope if self.state else ()

    @property
    def name(self) -> tuple[str, str]:
        """What no other node has, and what never changes: it orders nodes whose numbers are equal."""
        return self.entity.id, self.budget_id

    def place(self, sort_by: SortBy) -> Place:
        """What it is sorted by."""
        match sort_by:
            case "id":
                return self.entity.id
            case "createdAt":
                return self.entity.created_at_ms
            case "scopeSize":
                return len(self.scope)
            case "currentUsage":
                return self.usage
            case "usageLimit":
                return self.state.limit if self.state else None
        return self.utilization

    def answer(self) -> GovernanceNode:
        """Show it."""
        state = self.state
        return GovernanceNode(
            entity_id=self.entity.id,
            entity_type_id=self.entity.type,
            display_name=self.entity.display_name or None,
            parent_id=self.parent,
            scope_entity_ids=list(self.scope),
            usage_limit=state and state.limit,
            current_usage=self.usage,
            cadence=state and state.cadence,
            utilization=self.utilization,
            usage_period_start=state and instant(state.period.start_ms),
            usage_period_end=state and instant(state.period.end_ms),
            **named_capability(self.feature, self.currency),
            **({"held": state.held} if state and state.held else {}),
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks to see of the tree, and in which order."""

    features: tuple[str, ...]
    currencies: tuple[str, ...]
    types: frozenset[str]
    search: str
    least: float | None
    scope: Shown
    sort_by: SortBy
    order: Direction
    after: tuple[Place, tuple[str, str]] | None
    limit: int

    def shows(self, node: Node) -> bool:
        """Whether a node passes every filter."""
        if self.types and node.entity.type not in self.types:
            return False
        names = (node.entity.id, node.entity.display_name)
        if not any(self.search in name.casefold() for name in names):
            return False
        if self.scope != "all" and bool(node.scope) != (self.scope == "scoped"):
            return False
        return self.least is None or (node.utilization is not None and node.utilization >= self.least)

    def page(self, nodes: Iterable[Node]) -> tuple[list[Node], str | None]:
        """The nodes of the page that is asked for, and the cursor of the next one."""
        shown = sorted(filter(self.shows, nodes), key=lambda node: node.name)
        placed = [node for node in shown if node.place(self.sort_by) is not None]
        placed.sort(key=lambda node: node.place(self.sort_by), reverse=self.order == "desc")
        ordered = placed + [node for node in shown if node.place(self.sort_by) is None]
        rest = [node for node in ordered if self._is_to_come(node)]
        page = rest[: self.limit]
        return page, self._cursor(page[-1]) if len(rest) > len(page) else None

    def _is_to_come(self, node: Node) -> bool:
        if self.after is None:
            return True
        (last, last_name), place = self.after, node.place(self.sort_by)
        if place == last:
            return node.name > last_name
        if place is None or last is None:
            return place is None
        return bool(place < last) == (self.order == "desc")

    def _cursor(self, node: Node) -> str:
        place = node.place(self.sort_by)
        shown = "" if place is None else place if isinstance(place, str) else repr(float(place))
        return cursor((self.sort_by, self.order, shown, *node.name))


def _question(request: Request) -> Question:
    known_only(request, [parameter.name for parameter in _PARAMETERS])
    features, currencies = (tuple(dict.fromkeys(identifiers(request, name))) for name in ("featureIds", "currencyIds"))
    if len(features) + len(currencies) > CAPABILITIES_MAX:
        given = len(features) + len(currencies)
        raise InvalidInput.of("featureIds", given, f"featureIds and currencyIds name up to {CAPABILITIES_MAX} together")
    least = number(request, "minUtilization")
    sort_by: Any = choice(request, "sortBy", get_args(SortBy)) or "utilization"
    order: Any = choice(request, "order", get_args(Direction)) or "desc"
    scope: Any = choice(request, "scope", get_args(Shown)) or "all"
    return Question(
        features=features,
        currencies=currencies,
        types=frozenset(identifiers(request, "entityTypeIds")),
        search=(text(request, "entityIdSearch") or "").casefold(),
        least=None if least is None else float(least),
        scope=scope,
        sort_by=sort_by,
        order=order,
        after=_after(text(request, "after"), sort_by, order),
        limit=integer(request, "limit", least=1, most=LIMIT_MAX) or LIMIT_DEFAULT,
    )


def _after(given: str | None, sort_by: SortBy, order: Direction) -> tuple[Place, tuple[str, str]] | None:
    key = read_cursor("after", given)
    if key is None:
        return None
    if len(key) != 5 or not all(isinstance(part, str) for part in key) or key[:2] != (sort_by, order):
        raise InvalidInput.of("after", given, "is the cursor of another list, or of another order")
    place, entity, budget_id = (str(part) for part in key[2:])
    if sort_by == "id" or not place:
        return place or None, (entity, budget_id)
    try:
        value = float(place)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput.of("after", given, "is no cursor: take the one that a page brought")
    return value, (entity, budget_id)


async def _nodes(engine: Engine, customer: str, question: Question) -> list[Node]:
    if not question.features and not question.currencies:
        entities = {each.id: each for each in await engine.governance.entities(customer, include_archived=True)}
        return [Node(each, _parent(entities, each)) for each in entities.values() if each.archived_at_ms is None]
    nodes: list[Node] = []
    asked = [(feature, None) for feature in question.features] + [(None, each) for each in question.currencies]
    for feature, currency in asked:
        with wire_names({"feature": "featureIds", "currency": "currencyIds"}):
            tree = await engine.governance.tree(customer, feature=feature, currency=currency)
        entities = {each.entity.id: each.entity for each in tree.walk()}
        for each in tree.walk():
            if each.entity.archived_at_ms is None:
                parent = _parent(entities, each.entity)
                for state in each.states:
                    if state.currency == currency:  # a feature's tree has the budgets of what it is paid in, too
                        key = each.entity.id, capability_of(feature, currency), state.scope
                        budget_id = entitlement_id(engine.environment, customer, *key)
                        nodes.append(Node(each.entity, parent, feature, currency, state, budget_id))
    return nodes


def _parent(entities: dict[str, Entity], entity: Entity) -> str | None:
    """The nearest ancestor that is not archived."""
    return next((each.id for each in walk(entities, entity.id)[1:] if each.archived_at_ms is None), None)


_DOCUMENTED: Final[dict[str, Any]] = {
    "dependencies": [READ],
    "response_model": None,
    "responses": {200: {"model": GovernancePage}},
    "tags": ["governance"],
    "openapi_extra": documented(*_PARAMETERS),
}


@router.get("/api/v1-beta/customers/{id}/governance", operation_id="query_governance_beta", **_DOCUMENTED)
@router.get("/api/v1/customers/{id}/governance", operation_id="query_governance", **_DOCUMENTED)
async def query_governance(request: Request, engine: Engine, customer: Annotated[IdText, Path(alias="id")]) -> Response:
    """Show the tree of a customer's entities, with what is used of their budgets for some features and currencies."""
    question = _question(request)
    page, following = question.page(await _nodes(engine, customer, question))
    shown = GovernancePage(data=[node.answer() for node in page], pagination=NextPage(next=following))
    return respond(shown, only_set=True)
