"""Errors on the wire: `{"message", "code"}`, the contract's statuses, and whether a client may send it again.

The vendor's clients send 408, 409, 429 and everything from 500 on again by themselves, twice. `x-should-retry: false`
keeps them from it, and stands on:

- a check's 503: whoever asks wants to know now;
- every 409: what is stored speaks against it, and will in half a second, too;
- every answer whose effect is unknown or partial, unless repeating is safe: each record has an idempotency key, or the
  request goes by a reservation's id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from headgate import errors
from headgate.rest.shapes import Problem, respond

NEVER_AGAIN: Final = {"x-should-retry": "false"}

BODY: Final = "headgate.body"
"""Where the bytes of a request's body stand in its scope, once they were read."""

STATUSES: Final[dict[type[errors.HeadgateError], HTTPStatus]] = {
    errors.InvalidInput: HTTPStatus.BAD_REQUEST,
    errors.NotSupported: HTTPStatus.BAD_REQUEST,
    errors.OutOfRange: HTTPStatus.BAD_REQUEST,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.ConfigurationKeepsChanging: HTTPStatus.CONFLICT,
    errors.CatalogNotEverywhere: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EnvironmentMismatch: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.EmbeddedServerFailed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OutcomeUnknown: HTTPStatus.INTERNAL_SERVER_ERROR,
}

_IN_COMPONENTS: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    status: {"content": _IN_COMPONENTS, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 408, 409, 413, 500, 503)
}
"""What every route may answer beside its own. A model each would be built again for each route: seconds."""


class BatchProblem(Problem):
    """What went wrong with a batch, and what became of each of its records, in order."""

    outcomes: list[str]
    cause: str


class Refused(Exception):
    """A request that is refused before the engine is asked, with its status and code."""

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.code, self.headers = status, code, headers or {}
        super().__init__(message)


def problem(status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> Response:
    """Write an error."""
    return _written(Problem(message=message, code=code), status, headers or {})


def _written(answer: BaseModel, status: int, headers: dict[str, str]) -> Response:
    response = respond(answer, status)
    response.headers.update(headers)
    return response


def status_of(error: errors.HeadgateError) -> HTTPStatus:
    """Find the status of an error: that of its own class, or of the nearest above it."""
    if isinstance(error, errors.BatchIncomplete):
        return status_of(error.cause)
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def may_come_again(error: errors.HeadgateError, scope: Mapping[str, Any]) -> bool:
    """Whether a client that sends the request again by itself does no harm, and may get another answer."""
    status = status_of(error)
    if status is HTTPStatus.CONFLICT or (status is HTTPStatus.SERVICE_UNAVAILABLE and _is_check(scope)):
        return False
    if isinstance(error, errors.EnvironmentNotReady):
        return False  # it says what has to be written first
    is_clear = not isinstance(error, errors.OutcomeUnknown | errors.CatalogNotEverywhere)
    if isinstance(error, errors.BatchIncomplete):
        is_clear = set(error.outcomes) == {"not applied"}
    return (is_clear and status is not HTTPStatus.INTERNAL_SERVER_ERROR) or is_repeatable(scope)


def is_repeatable(scope: Mapping[str, Any]) -> bool:
    """Whether a request is carried out once, however often it comes: each of its records says by which key."""
    path: str = scope["path"]
    if _is_check(scope):
        return b"reservationId=" in scope["query_string"]
    if "/credits/reservations/" in path:
        return True
    try:
        body = json.loads(scope.get(BODY, b""))
    except ValueError:
        return False
    if not isinstance(body, dict):
        return False
    records = next((body[name] for name in ("usages", "consumptions", "events") if name in body), [body])
    if not isinstance(records, list) or not records:
        return False
    return all(isinstance(record, dict) and record.get("idempotencyKey") is not None for record in records)


def _is_check(scope: Mapping[str, Any]) -> bool:
    path: str = scope["path"]
    return path.endswith("/entitlements/check")


def of_engine(error: errors.HeadgateError, scope: Mapping[str, Any]) -> Response:
    """Write what the engine says went wrong with a request."""
    status = status_of(error)
    headers = {} if status < HTTPStatus.CONFLICT or may_come_again(error, scope) else NEVER_AGAIN
    if isinstance(error, errors.BatchIncomplete):
        answer = BatchProblem(
            message=str(error), code=error.code, outcomes=list(error.outcomes), cause=error.cause.code
        )
        return _written(answer, status, headers if may_come_again(error, scope) else NEVER_AGAIN)
    return problem(status, error.code, str(error), headers)


def _of_engine(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.HeadgateError)
    return of_engine(error, request.scope)


def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(HTTPStatus.BAD_REQUEST, errors.InvalidInput.code, "; ".join(map(_sentence, error.errors())))


def _sentence(detail: Mapping[str, Any]) -> str:
    """One thing that is wrong with a request: where, what was given, and the rule."""
    first, *rest = detail["loc"]
    kind = detail["type"]
    if kind == "json_invalid":
        return f"body: is not JSON: {detail['ctx']['error']} at character {rest[0] if rest else 0}"
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest).lstrip(".") or str(first)
    if kind == "missing":
        return f"{path}: is required"
    rule = "unknown field" if kind == "extra_forbidden" else detail["msg"].removeprefix("Value error, ")
    return str(errors.Problem(path, detail.get("input"), rule))


def _of_routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {400: errors.InvalidInput.code, 404: "RouteNotFound", 405: "MethodNotAllowed"}
    message = f"{request.method} {request.url.path}: {error.detail}"
    return problem(error.status_code, codes.get(error.status_code), message, dict(error.headers or {}))


def of_refusal(error: Refused) -> Response:
    """Write why a request was refused."""
    return problem(error.status, error.code, str(error), error.headers)


def _of_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return of_refusal(error)


def of_defect() -> Response:
    """Write that something went wrong that nobody foresaw: what it was stands in the log alone."""
    message = "something went wrong that was not foreseen; the log says what, under this request's x-request-id"
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message, NEVER_AGAIN)


HANDLERS: Final[dict[type[Exception], Callable[[Request, Exception], Response]]] = {
    errors.HeadgateError: _of_engine,
    RequestValidationError: _of_parameters,
    HTTPException: _of_routing,
    Refused: _of_refusal,
}


def handle_problems(app: FastAPI) -> None:
    """Let the application answer every error in one form."""
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)


__all__ = [
    "BODY",
    "DOCUMENTED",
    "NEVER_AGAIN",
    "Refused",
    "handle_problems",
    "of_defect",
    "of_engine",
    "of_refusal",
    "problem",
    "status_of",
]
