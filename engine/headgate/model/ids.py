"""Ids: what may be one, and a type for each kind, so that one can't stand where another is wanted.

The rule is the contract's (contract B.1). It keeps `{`, `}` and `:` out, so no id can leave its place in a key.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, NewType

from pydantic import AfterValidator

from headgate.errors import InvalidInput

CustomerId = NewType("CustomerId", str)
FeatureId = NewType("FeatureId", str)
EntityId = NewType("EntityId", str)
EntityTypeId = NewType("EntityTypeId", str)
EnvironmentName = NewType("EnvironmentName", str)

ID_PATTERN: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_|.@-]{0,254}", re.ASCII)
ID_RULE: Final = "an id has 1 to 255 of the characters a-z A-Z 0-9 _ | . @ - and begins with a letter or a digit"


def is_id(value: object) -> bool:
    """Whether a value may be an id."""
    return isinstance(value, str) and ID_PATTERN.fullmatch(value) is not None


def require_id(value: object, field: str) -> str:
    """Return the value if it may be an id, else raise `InvalidInput` naming the field, the value and the rule."""
    if isinstance(value, str) and ID_PATTERN.fullmatch(value) is not None:
        return value
    raise InvalidInput.of(field, value, ID_RULE)


def _validated(value: str) -> str:
    if not is_id(value):
        raise ValueError(ID_RULE)
    return value


Id = Annotated[str, AfterValidator(_validated)]
"""A field of a document or an input that holds an id."""
