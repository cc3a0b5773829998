"""What stands in front of every route: limits, the key, a request id, a log line, figures, and the last resort.

Plain ASGI, so that it costs little. In this order:

1. a request id is taken from `x-request-id`, or made, and sent back;
2. who calls is found out, before anything of the body is read: else 401; where no key is needed, a page of another
   site that a browser of this machine shows is refused with 403;
3. a body over 1 MiB is refused with 413, by its length before it is read, or while it is read;
4. what is not JSON, or deeper than 8, is refused with 400 before it is parsed;
5. the route answers; whatever it did not foresee is a 500 that says nothing, and a log line that says everything;
6. one log line a request, and its figures, by the template of the route.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from headgate.clock import monotonic_ms
from headgate.errors import HeadgateError, InvalidInput
from headgate.rest.access import CALLER, Caller
from headgate.rest.description import DOCS_PATH, OPENAPI_PATH
from headgate.rest.doorkeeper import EVERYBODY, Doorkeeper
from headgate.rest.problems import BODY, Refused, of_defect, of_engine, of_refusal
from headgate.service.metrics import UNMATCHED, Metrics

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_TIME_MAX_S: Final = 30.0
"""How long a client may take to send its body."""
DEPTH_MAX: Final = 8
"""How deep lists and objects may lie in each other."""
REQUEST_ID: Final = b"x-request-id"

OPEN_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics", DOCS_PATH, OPENAPI_PATH})
"""What needs no key: nothing of a customer's is told there."""

CLIENT_CLOSED: Final = 499
"""What is logged where the client went away before it was answered."""

_LOCAL_NAME: Final = rb"(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?"
_LOCAL = re.compile(_LOCAL_NAME, re.IGNORECASE)
_LOCAL_ORIGIN = re.compile(rb"https?://" + _LOCAL_NAME, re.IGNORECASE)
_SENDABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_JSON_TYPE = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
# Possessive, and an unclosed string goes to the end: the time is linear, whatever a body holds.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")


class _ClientGone(Exception):
    """The client went away while its body was read: nobody waits for an answer."""


class Guards:
    """The application with everything that stands in front of it."""

    def __init__(self, app: ASGIApp, *, doorkeeper: Doorkeeper, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._app = app
        self._doorkeeper = doorkeeper
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; what is no request, such as the start of the process, is handed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_ms = monotonic_ms()
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(REQUEST_ID))
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id)]
            await send(message)

        try:
            await self._answer(scope, headers, receive, send_with_id)
        except _ClientGone:
            pass
        except Exception:
            self._log.exception("defect", request_id=request_id.decode(), route=_route(scope), method=scope["method"])
            if not status:
                await of_defect()(scope, receive, send_with_id)
        finally:
            self._record(scope, request_id, status or CLIENT_CLOSED, monotonic_ms() - began_ms)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
        """Refuse a request, or let the route answer it."""
        try:
            if scope["path"] not in OPEN_PATHS:
                caller = scope[CALLER] = await self._doorkeeper.identify(headers.get(b"x-api-key"))
                if caller is EVERYBODY:
                    _require_local(headers)
            length = headers.get(b"content-length", b"0")
            if length != b"0" or b"transfer-encoding" in headers:
                body = scope[BODY] = await _read_body(length, receive)
                _require_json(body, headers.get(b"content-type", b""))
                receive = _replayed(body, receive)
        except Refused as error:
            await of_refusal(error)(scope, receive, send)
        except HeadgateError as error:
            await of_engine(error, scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _record(self, scope: Scope, request_id: bytes, status: int, milliseconds: float) -> None:
        route, caller = _route(scope), scope.get(CALLER)
        self._metrics.observe(scope["method"], route, status, milliseconds / 1000)
        self._log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=round(milliseconds, 3),
            request_id=request_id.decode(),
            key=caller.key if isinstance(caller, Caller) else None,
        )


def _require_local(headers: Mapping[bytes, bytes]) -> None:
    """Refuse what a page in a browser sends: where no key is needed, any page that is looked at could send it."""
    origin = headers.get(b"origin")
    if _LOCAL.fullmatch(headers.get(b"host", b"")) and (origin is None or _LOCAL_ORIGIN.fullmatch(origin)):
        return
    message = "without API keys only programs of this machine are let in, by localhost: make a key for all others"
    raise Refused(HTTPStatus.FORBIDDEN, "AccessDenied", message)


def _request_id(given: bytes | None) -> bytes:
    """The client's own, if it can be written as it is; else a new one."""
    if given is not None and _SENDABLE_ID.fullmatch(given):
        return given
    return os.urandom(16).hex().encode()


def _route(scope: Scope) -> str:
    path: str = getattr(scope.get("route"), "path", UNMATCHED)
    return path


async def _read_body(length: bytes, receive: Receive) -> bytes:
    if not length.isdigit():
        raise _bad("content-length: is no number")
    if int(length) > BODY_BYTES_MAX:
        raise _too_large()
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIME_MAX_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise _ClientGone
                chunk: bytes = message.get("body", b"")
                chunks.append(chunk)
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise _too_large()
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT,
            "BadUserInput",
            f"the body did not come within {BODY_TIME_MAX_S:g} seconds",
            {"connection": "close"},
        ) from None


def _too_large() -> Refused:
    # What is still on its way is not waited for, so nothing can follow on this connection.
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "PayloadTooLarge",
        f"the body is over {BODY_BYTES_MAX:,} bytes: send fewer records at once",
        {"connection": "close"},
    )


def _bad(message: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, InvalidInput.code, message)


def _require_json(body: bytes, content_type: bytes) -> None:
    if not body:
        return
    if not _JSON_TYPE.fullmatch(content_type.strip()):
        shown = content_type[:80].decode("latin-1")
        raise InvalidInput.of("content-type", shown, "must be application/json")
    if is_too_deep(body):
        raise _bad(f"body: lists and objects lie deeper than {DEPTH_MAX} in each other, or are not closed")
    # Which of two would count is for nobody to guess: the second could be dimensions that match no budget.
    with contextlib.suppress(ValueError, RecursionError):  # what is no JSON at all is told by whoever reads it
        json.loads(body, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _bad(f"body: {name[:80]!a} is there more than once in one object")
        found[name] = value
    return found


def is_too_deep(body: bytes) -> bool:
    """Whether JSON nests deeper than it may, or its brackets do not match; in linear time, whatever a body holds."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    brackets = _STRINGS.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(DEPTH_MAX):  # each round takes the innermost level away
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that was read, then what comes after it."""
    is_first = True

    async def replay() -> Message:
        nonlocal is_first
        if is_first:
            is_first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
