"""Chains: which budgets a request's dimensions bring in. Pure.

Dimension values are free: they only look things up. Unknown keys, unknown ids and ids of another type are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headgate.errors import InvalidInput
from headgate.model.governance import Assignment, Entity
from headgate.model.ids import is_id

DimensionValue = str | int | float | bool
Dimensions = Mapping[str, DimensionValue]


def dimension_text(value: DimensionValue) -> str:
    """Write a dimension's value as JavaScript prints it: 42.0 is `42`, true is `true`.

    gRPC sends every number as a double, so anything else would let `42` miss the team of that name.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        if abs(value) < 2**53:
            return str(value)
        try:
            value = float(value)
        except OverflowError:
            return "Infinity" if value > 0 else "-Infinity"
    return _javascript_number(value)


def _javascript_number(value: float) -> str:
    if value == 0:
        return "0"
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS × 10^point.
    point = len(whole) + int(exponent_text or 0) - (len(whole + fraction) - len((whole + fraction).lstrip("0")))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    exponent = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + digits[0] + (f".{digits[1:]}" if count > 1 else "") + exponent


def require_dimensions(dimensions: object, prefix: str = "") -> Dimensions | None:
    """Accept a mapping of names to strings, numbers and booleans, or None; raise `InvalidInput` otherwise."""
    if dimensions is None:
        return None
    if not isinstance(dimensions, Mapping):
        raise InvalidInput.of(f"{prefix}dimensions", dimensions, "must be a mapping of names to values")
    for key, value in dimensions.items():
        if not isinstance(key, str):
            raise InvalidInput.of(f"{prefix}dimensions", key, "a dimension's name is a string")
        if not isinstance(value, str | int | float):
            raise InvalidInput.of(
                f"{prefix}dimensions.{key}", value, "a dimension's value is a string, a number or a boolean"
            )
    return dimensions


@dataclass(frozen=True, slots=True)
class Candidate:
    """An id that a dimension names, and the entity types that it may be of."""

    dimension: str
    id: str
    types: tuple[str, ...]


def candidates(dimensions: Dimensions | None, types_by_key: Mapping[str, tuple[str, ...]]) -> list[Candidate]:
    """Find what the dimensions may name, in their order. What cannot be an id is left out: it matches nothing."""
    found = []
    for key, value in (dimensions or {}).items():
        types = types_by_key.get(key)
        if types is not None:
            text = dimension_text(value)
            if is_id(text):
                found.append(Candidate(key, text, types))
    return found


@dataclass(frozen=True, slots=True)
class Budget:
    """An assignment as it applies to a request, with the entity that it sits on. It is for a feature or a currency."""

    entity: Entity
    assignment: Assignment
    currency: str | None = None


def walk(entities: Mapping[str, Entity], leaf: str) -> list[Entity]:
    """The nodes from an entity to its root. Bounded, whatever the documents say."""
    nodes: list[Entity] = []
    current: str | None = leaf
    while current is not None and len(nodes) <= len(entities):
        node = entities.get(current)
        if node is None:
            break
        nodes.append(node)
        current = node.parent
    return nodes


def present(entities: Mapping[str, Entity], leaves: Iterable[str]) -> frozenset[str]:
    """All entities that a scope may name: the resolved ones and their ancestors."""
    return frozenset(node.id for leaf in leaves for node in walk(entities, leaf))


def chains(
    entities: Mapping[str, Entity],
    assignments: Mapping[str, Iterable[Assignment]],
    leaves: Iterable[str],
    *,
    currency: str | None = None,
    of_currency: Mapping[str, Iterable[Assignment]] = MappingProxyType({}),
) -> list[list[Budget]]:
    """One chain for each resolved entity, leaf to root.

    An archived node is left out and the walk goes on. A node appears once for each of its budgets whose scope is
    present, node-wide first, then by scope ids; those for the feature come before those for the currency that it is
    paid in. Nodes with none, and chains with no node, are left out.
    """
    leaves = list(leaves)
    here = present(entities, leaves)
    found = []
    for leaf in leaves:
        chain = [
            Budget(node, assignment, paid_in)
            for node in walk(entities, leaf)
            if node.archived_at_ms is None
            for paid_in, budgets in ((None, assignments), (currency, of_currency))
            for assignment in sorted(budgets.get(node.id, ()), key=lambda each: each.scope)
            if here.issuperset(assignment.scope)
        ]
        if chain:
            found.append(chain)
    return found
