"""What both clients do with arguments that many methods share."""

from __future__ import annotations

from headgate.model.ids import require_id


def optional_id(value: object, field: str) -> str | None:
    """Accept an id, or None where nothing is named; raise `InvalidInput` otherwise."""
    return None if value is None else require_id(value, field)
