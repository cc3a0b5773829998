"""`GET /livez`, `/readyz` and `/metrics`: for what starts, routes to and watches the processes; they need no key.

`/livez` says that the process answers, whatever Redis does. `/readyz` says whether a request could be answered now:
Redis is reachable, runs the scripts, and takes writes; if not, 503 with the reasons, within one deadline.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from headgate.client.readiness import trouble_of
from headgate.rest.engine import Engine
from headgate.rest.shapes import Answer, Problem, respond
from headgate.service.metrics import CONTENT_TYPE, Metrics

router = APIRouter(tags=["health"])


class Health(Answer):
    """Whether all is well, and if not, why."""

    status: str
    reasons: list[str]


_DEFECT: Final[dict[int | str, dict[str, Any]]] = {500: {"model": Problem}}
"""The one place that describes what all routes answer where something goes wrong."""
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {503: {"model": Health, "description": "Not ready, and why"}}


@router.get("/livez", operation_id="isAlive", response_model=None, responses={200: {"model": Health}, **_DEFECT})
async def is_alive() -> Response:
    """Say that this process answers, whatever Redis does."""
    return respond(Health(status="ok", reasons=[]))


@router.get(
    "/readyz", operation_id="isReady", response_model=None, responses={200: {"model": Health}, **_NOT_READY}
)  # fmt: skip
async def is_ready(request: Request, engine: Engine) -> Response:
    """Say whether requests can be answered now, and why not."""
    reasons = await trouble_of(engine, request.app.state.deadline_ms)
    if reasons:
        return respond(Health(status="unavailable", reasons=reasons), HTTPStatus.SERVICE_UNAVAILABLE)
    return respond(Health(status="ok", reasons=[]))


@router.get("/metrics", operation_id="showMetrics", response_model=None, include_in_schema=False)
async def show_metrics(request: Request, engine: Engine) -> Response:
    """Show every series in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    metrics.take(engine.metrics)
    return Response(metrics.show(), headers={"content-type": CONTENT_TYPE})
