"""The HTTP application of a process that is offline: health and figures; what needs Redis is answered by 501."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.types import Lifespan

from headgate.service.metrics import CONTENT_TYPE, Metrics

MESSAGE: Final = (
    "this process is offline: it answers gRPC reads from its document and fallbacks. Start it without --offline for "
    "the REST API"
)
METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def make_offline_app(metrics: Metrics, lifespan: Lifespan[FastAPI]) -> FastAPI:
    """Make the application; it is always ready, as it waits for nobody."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)

    async def is_well(request: Request) -> Response:
        return JSONResponse({"status": "ok", "reasons": []})

    async def show_metrics(request: Request) -> Response:
        return PlainTextResponse(metrics.show(), headers={"content-type": CONTENT_TYPE})

    async def refuse(request: Request) -> Response:
        return JSONResponse({"message": MESSAGE, "code": "NotSupported"}, HTTPStatus.NOT_IMPLEMENTED)

    for path in ("/livez", "/readyz"):
        app.add_route(path, is_well, methods=["GET"])
    app.add_route("/metrics", show_metrics, methods=["GET"])
    app.add_route("/{path:path}", refuse, methods=METHODS)
    return app
