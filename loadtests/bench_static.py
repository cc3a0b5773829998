"""What the REST bench compares with: FastAPI routes that answer always the same JSON.

`python bench_static.py ANSWERS PORT` serves on the server program of `headgate serve`, with its options, in one worker.
Answers are JSON: for each method and path, such as `GET /customers/{id}`, a status and a body.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import FastAPI, Response
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from headgate.cli.serving import HEADER_BYTES_MAX, HEADERS_WITHIN_MS

Answers = dict[str, tuple[int, str]]


def make_app(answers: Answers) -> FastAPI:
    """Make the application: a route for each answer."""
    app = FastAPI()
    for named, (status, body) in answers.items():
        method, _, path = named.partition(" ")
        app.add_api_route(path, _always(status, body.encode()), methods=[method])
    return app


def _always(status: int, body: bytes) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(body, status, media_type="application/json")

    return answer


def main() -> None:
    """Serve until a signal comes."""
    answers, port = json.loads(sys.argv[1]), int(sys.argv[2])
    server = Server(
        "static",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=HEADER_BYTES_MAX),
        websockets=False,
        log_level=LogLevels.warning,
    )
    server.serve(target_loader=partial(make_app, answers), wrap_loader=False)


if __name__ == "__main__":
    main()
