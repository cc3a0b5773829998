"""A customer's entities as a forest, with every budget's numbers for one feature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headgate.model.decision import ConstraintState
from headgate.model.governance import Entity


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An entity, what its budgets stand at (node-wide first, then by scope ids), and the entities below it."""

    entity: Entity
    states: tuple[ConstraintState, ...]
    children: tuple[TreeNode, ...]

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "entity": self.entity.id,
            "type": self.entity.type,
            "display_name": self.entity.display_name,
            "archived": self.entity.archived_at_ms is not None,
            "budgets": [state.as_dict() for state in self.states],
            "children": [child.as_dict() for child in self.children],
        }


@dataclass(frozen=True, slots=True)
class Tree:
    """All entities of a customer, roots first, with the account level above them."""

    customer: str
    feature: str
    account: ConstraintState
    roots: tuple[TreeNode, ...]

    def walk(self) -> Iterator[TreeNode]:
        """All nodes, parents first."""
        for root in self.roots:
            yield from root.walk()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "feature": self.feature,
            "account": self.account.as_dict(),
            "roots": [root.as_dict() for root in self.roots],
        }
