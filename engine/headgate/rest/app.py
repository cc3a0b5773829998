"""The application: the routes, the errors, and what stands in front of them."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from headgate.client.async_client import AsyncHeadgate
from headgate.rest.access import OpenDoor
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


def create_app(engine: AsyncHeadgate) -> FastAPI:
    """Make the application over an engine, which stays its maker's to close."""
    app = FastAPI(title="Headgate", openapi_url="/openapi.json", docs_url="/docs", redoc_url=None)
    app.state.engine = engine
    app.state.doorkeeper = OpenDoor()
    handle_problems(app)
    for router in ROUTERS:
        app.include_router(router, responses=DOCUMENTED)
    return app
