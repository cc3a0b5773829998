"""Bodies and answers: what all of them share. Names on the wire are camelCase; bodies are strict, answers are exact."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from headgate.amounts import as_number
from headgate.model.ids import ID_PATTERN, ID_RULE

T = TypeVar("T")


class Body(BaseModel):
    """What a client sends: an unknown field is an error, and no type is turned into another."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    def gives(self, field: str) -> bool:
        """Whether the field was sent at all: null says something."""
        return field in self.model_fields_set


class Answer(BaseModel):
    """What a client is sent, as it is documented in the OpenAPI page."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Data(Answer, Generic[T]):
    """What most answers are wrapped in."""

    data: T


class Pagination(Answer):
    """Cursors of the pages around this one: hand them over as `after` and `before`."""

    next: str | None
    prev: str | None


class Page(Answer, Generic[T]):
    """One page of a list."""

    data: list[T]
    pagination: Pagination


class Problem(Answer):
    """What went wrong: a sentence for people, and a stable code."""

    message: str
    code: str | None


def _id(value: object) -> object:
    if isinstance(value, str) and ID_PATTERN.fullmatch(value) is None:
        raise ValueError(ID_RULE)
    return value


def _moment(value: object) -> object:
    """JSON has no instants: text is read here, because strict bodies read no text as anything else."""
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
            return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # an offset can lead out of the years that there are
            raise ValueError("must be an instant in ISO 8601, such as 2026-01-02T03:04:05Z") from None
    return value


def _shown(value: float | Decimal | None) -> Any:
    return None if value is None else as_number(float(value))


IdText = Annotated[str, BeforeValidator(_id)]
"""An id in a body or a query."""

Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""An instant in a body or a query; without an offset it is UTC."""

Number = Annotated[float, PlainSerializer(_shown, return_type=float | int)]
"""A number in an answer: whole ones are written without a decimal point."""


def respond(answer: BaseModel, status: int = 200, *, only_set: bool = False) -> Response:
    """Write an answer once, as JSON; if `only_set`, without the fields that its maker left alone."""
    packed = answer.model_dump_json(by_alias=True, exclude_unset=only_set)
    return Response(packed, status, media_type="application/json")


def instant_ms(moment: datetime) -> int:
    """Turn an instant of a client's into epoch milliseconds."""
    return round(moment.timestamp() * 1000)
