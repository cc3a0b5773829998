"""The application: the routes, the errors, and what stands in front of them."""

from __future__ import annotations

import functools
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.routing import BaseRoute
from starlette.types import Lifespan
from structlog.typing import FilteringBoundLogger

from headgate.client.async_client import AsyncHeadgate
from headgate.rest import description, health
from headgate.rest.doorkeeper import Doorkeeper
from headgate.rest.guards import Guards
from headgate.rest.problems import DOCUMENTED, handle_problems
from headgate.rest.routes import (
    checks,
    credits,
    currencies,
    customers,
    entities,
    features,
    governance,
    grants,
    packages,
    products,
    promotions,
    subscriptions,
    unsupported,
    usage,
)
from headgate.rest.shortcuts import Shortcuts
from headgate.service.logs import make_logger
from headgate.service.metrics import Metrics

ROUTERS: tuple[APIRouter, ...] = (
    checks.router,
    usage.router,
    credits.router,
    entities.router,
    governance.router,
    customers.router,
    promotions.router,
    features.router,
    currencies.router,
    grants.router,
    packages.router,
    products.router,
    subscriptions.router,
    unsupported.router,  # the last: what nobody serves
)

API_VERSION: Final = "1"
SHORTCUT: Final = checks.check_entitlement.__name__


def create_app(
    engine: AsyncHeadgate,
    *,
    api_key: SecretStr | None = None,
    open_without_keys: bool = False,
    deadline_ms: int = 250,
    metrics: Metrics | None = None,
    log: FilteringBoundLogger | None = None,
    lifespan: Lifespan[FastAPI] | None = None,
) -> FastAPI:
    """Make the application over an engine, which stays its maker's to close.

    Callers need one of the environment's API keys, or `api_key`. With `open_without_keys`, everybody is let in as long
    as there is no key: only for what nobody else can reach. `deadline_ms` is for reading keys, and for `/readyz`.
    """
    app = FastAPI(
        title="Headgate",
        version=API_VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.engine = engine
    app.state.deadline_ms = deadline_ms
    app.state.metrics = metrics or Metrics()
    doorkeeper = app.state.doorkeeper = Doorkeeper(
        engine.api_keys.list,
        api_key=api_key,
        is_open_without_keys=open_without_keys,
        deadline_ms=deadline_ms,
    )
    handle_problems(app)
    app.router.routes.extend(_routes())
    checking = [each for each in checks.router.routes if isinstance(each, APIRoute) and each.name == SHORTCUT]
    app.add_middleware(Shortcuts, engine=engine, routes=checking)
    app.add_middleware(Guards, doorkeeper=doorkeeper, metrics=app.state.metrics, log=log or make_logger())
    return app


@functools.cache
def _routes() -> tuple[BaseRoute, ...]:
    """The routes, which know nothing of an application: a second one need not make of them what the first has made."""
    together = APIRouter(redirect_slashes=False)
    for router in ROUTERS:
        together.include_router(router, responses=DOCUMENTED)
    together.include_router(description.router)
    together.include_router(health.router)  # after those that are asked a thousand times as often
    return tuple(together.routes)


def put_together(app: FastAPI) -> None:
    """Make what the framework makes of the routes when it first looks for one: the first requests would wait for it."""
    for route in app.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "headers": [], "root_path": ""})
