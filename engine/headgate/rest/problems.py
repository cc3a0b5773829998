"""Errors on the wire: `{"message", "code"}`, the contract's statuses, and whether a client may send it again."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headgate import errors
from headgate.rest.shapes import Problem, respond

NEVER_AGAIN: Final = {"x-should-retry": "false"}
"""The vendor's clients send 409 and 503 again by themselves, a write that was counted among them."""

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
    errors.OutcomeUnknown: HTTPStatus.INTERNAL_SERVER_ERROR,
}

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 409, 413, 500, 503)
}
"""What every route may answer beside its own."""


class Refused(Exception):
    """A request that is refused before the engine is asked, with its status and code."""

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.status, self.code, self.headers = status, code, headers or {}
        super().__init__(message)


def problem(status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> Response:
    """Write an error."""
    answer = respond(Problem(message=message, code=code), status)
    answer.headers.update(headers or {})
    return answer


def status_of(error: errors.HeadgateError) -> HTTPStatus:
    """Find the status of an error: that of its own class, or of the nearest above it."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _of_engine(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.HeadgateError)
    status = status_of(error)
    is_final = status in (HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.INTERNAL_SERVER_ERROR)
    return problem(status, error.code, str(error), NEVER_AGAIN if is_final else {})


def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = []
    for each in error.errors():
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"][1:])
        rule = "unknown field" if each["type"] == "extra_forbidden" else each["msg"].removeprefix("Value error, ")
        given = None if each["type"] == "missing" else each.get("input")
        found.append(errors.Problem(path.lstrip(".") or str(each["loc"][0]), given, rule))
    return problem(HTTPStatus.BAD_REQUEST, errors.InvalidInput.code, str(errors.InvalidInput(found)))


def _of_routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "RouteNotFound", 405: "MethodNotAllowed"}.get(error.status_code)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return problem(error.status_code, code, message, dict(error.headers or {}))


def _of_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(error.status, error.code, str(error), error.headers)


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


__all__ = ["DOCUMENTED", "NEVER_AGAIN", "Refused", "handle_problems", "problem", "status_of"]
