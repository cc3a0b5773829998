"""The hierarchy of a customer's entities: who may be whose parent. Pure.

A node's height is kept as counts of its children by height, so a move is checked and carried out on the chains of the
node, its old parent and its new one; nothing below the node is read (contract C.1: 4 levels, no cycles, one parent).
"""

from __future__ import annotations

from collections.abc import Mapping

from headgate.chains import walk
from headgate.errors import InvalidInput
from headgate.model.governance import LEVELS_MAX, Entity


class Hierarchy:
    """Entities being changed. Must hold every node that is moved, the new parents, and all their chains."""

    def __init__(self, entities: Mapping[str, Entity]) -> None:
        self._before = dict(entities)
        self._entities = dict(entities)

    @property
    def entities(self) -> Mapping[str, Entity]:
        """The entities as they are now."""
        return self._entities

    def changed(self) -> list[Entity]:
        """The entities that are no longer what they were."""
        return [entity for id, entity in self._entities.items() if self._before.get(id) != entity]

    def move(self, id: str, parent: str | None, *, field: str, now_ms: int) -> None:
        """Give an entity another parent, or none; raise `InvalidInput` for a cycle or a fifth level."""
        entity = self._entities[id]
        if entity.parent == parent:
            return
        if parent is not None:
            self._require_room(entity, parent, field)
        if entity.parent is not None:
            self._recount(entity.parent, entity.height, None)
        self._entities[id] = self._entities[id].model_copy(update={"parent": parent, "updated_at_ms": now_ms})
        if parent is not None:
            self._recount(parent, None, entity.height)

    def fits(self, id: str, parent: str | None) -> bool:
        """Whether a move would be accepted now."""
        return self.trouble(id, parent, field="parent") == ""

    def trouble(self, id: str, parent: str | None, *, field: str) -> str:
        """What is in the way of a move, or nothing."""
        if parent is None or self._entities[id].parent == parent:
            return ""
        try:
            self._require_room(self._entities[id], parent, field)
        except InvalidInput as error:
            return str(error)
        return ""

    def _require_room(self, entity: Entity, parent: str, field: str) -> None:
        if parent not in self._entities:
            raise InvalidInput.of(field, parent, "there is no such entity")
        chain = walk(self._entities, parent)
        if any(node.id == entity.id for node in chain):
            path = " → ".join([entity.id, *(node.id for node in chain)])
            raise InvalidInput.of(field, parent, f"makes a cycle: {path}")
        levels = len(chain) + 1 + entity.height
        if levels > LEVELS_MAX:
            raise InvalidInput.of(field, parent, f"makes {levels} levels: at most {LEVELS_MAX}")

    def _recount(self, id: str, gone: int | None, come: int | None) -> None:
        """A child's height is gone from, or has come to, a node; its own height may change its parent's counts."""
        current: str | None = id
        while current is not None and gone != come:
            node = self._entities[current]
            counts = list(node.children_by_height)
            if gone is not None:
                counts[gone] -= 1
            if come is not None:
                counts[come] += 1
            after = node.model_copy(update={"children_by_height": tuple(counts)})
            self._entities[current] = after
            gone, come, current = node.height, after.height, node.parent
