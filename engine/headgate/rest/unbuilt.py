"""Fields of the vendor's API that Headgate knows and does not build: refused by name, never silently passed over."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo
from pydantic.alias_generators import to_camel

from headgate.errors import NotSupported


def _refuse(value: object, info: ValidationInfo) -> None:
    if value is not None:
        raise not_supported(to_camel(info.field_name or "field"), value, "is not built: leave it out, or give null")


def not_supported(field: str, value: object, rule: str) -> NotSupported:
    """Make the error for a field, or for a value of one, that the vendor's API knows and Headgate does not build."""
    shown: Any = repr(value)
    return NotSupported(f"{field}: {shown if len(shown) <= 80 else shown[:77] + '…'}: {rule}")


Unbuilt = Annotated[None, BeforeValidator(_refuse)]
"""A field that may be left out or null: any other value is answered by 400 `NotSupported`."""
