"""Where an answer of the engine and one of the reference model differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

from headgate.model.decision import Decision, Receipt
from headgate.model.tree import Tree as EngineTree
from headgate.model.tree import TreeNode
from model.exact import FRACTION_BELOW, exact
from model.reference import Node, Tree


def differences(answer: object, expected: object, path: str = "") -> Iterator[str]:
    """Name each field that differs, with what the engine says and what the model says."""
    if answer == expected:
        return
    if is_dataclass(answer) and not isinstance(answer, type) and type(answer) is type(expected):
        for field in fields(answer):
            yield from differences(getattr(answer, field.name), getattr(expected, field.name), f"{path}.{field.name}")
    elif isinstance(answer, tuple) and isinstance(expected, tuple) and len(answer) == len(expected):
        for index, (left, right) in enumerate(zip(answer, expected, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    else:
        yield f"{path or 'answer'}: the engine says {answer!r}, the model {expected!r}"


def wrong_rests(answer: object) -> Iterator[str]:
    """Name each constraint of a decision whose rest is not its limit less what was used, as decimals."""
    for state in answer.constraints if isinstance(answer, Decision) else ():
        if state.limit is not None and max(state.limit, state.used) < FRACTION_BELOW:
            rest = float(exact(state.limit) - exact(state.used))
            if state.left != rest:
                yield f"{state.name}.left: the engine says {state.left!r}, decimals say {rest!r}"


def comparable(answer: object) -> object:
    """Put an answer into the form that the model gives: the order of a receipt's entities means nothing."""
    if isinstance(answer, Receipt):
        ordered = sorted(answer.entities, key=lambda each: (each.state.entity or "", each.state.scope))
        return replace(answer, entities=tuple(ordered))
    if isinstance(answer, EngineTree):
        return Tree(answer.account, tuple(map(_node, answer.roots)))
    if isinstance(answer, list):
        return tuple(map(comparable, answer))
    return answer


def _node(node: TreeNode) -> Node:
    entity = node.entity
    return Node(entity.id, entity.archived_at_ms is not None, node.states, tuple(map(_node, node.children)))
