"""What the REST bench compares with: FastAPI routes that answer always the same JSON.

`python bench_static.py PORT ANSWERS` serves on the server program of `headgate serve`, with its options, in one worker.
Answers are JSON: for each method and path, such as `GET /customers/{id}`, a status and a body.
"""

from __future__ import annotations

import json
import sys
from functools import partial

from fastapi import FastAPI, Response
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from headgate.rest.serving import HEADER_BYTES_MAX, HEADERS_WITHIN_MS

Answers = dict[str, tuple[int, str]]


def make_app(answers: Answers) -> FastAPI:
    """Make the application: a route for each answer."""
    app = FastAPI()
    for named, (status, body) in answers.items():
        method, _, path = named.partition(" ")
        _add_route(app, method, path, status, body.encode())
    return app


def _add_route(app: FastAPI, method: str, path: str, status: int, body: bytes) -> None:
    if "{id}" in path:

        @app.api_route(path, methods=[method])
        async def answer_about(id: str) -> Response:
            return Response(body, status, media_type="application/json")

    else:

        @app.api_route(path, methods=[method])
        async def answer() -> Response:
            return Response(body, status, media_type="application/json")


def main() -> None:
    """Serve until a signal comes."""
    port, answers = int(sys.argv[1]), json.loads(sys.argv[2])
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
