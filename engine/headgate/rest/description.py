"""`GET /openapi.json` and `/docs`: what the API is, for machines and for people; neither needs a key.

Making it takes the better part of a second, so it is made when it is first asked for, in a thread, and then kept: no
check waits for it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from pydantic_core import to_json

OPENAPI_PATH = "/openapi.json"
DOCS_PATH = "/docs"

router = APIRouter(include_in_schema=False)


@router.get(OPENAPI_PATH, response_model=None)
async def show_description(request: Request) -> Response:
    """Describe every route in OpenAPI's form."""
    app: FastAPI = request.app
    page = app.openapi_schema or await asyncio.to_thread(describe, app)
    return Response(to_json(page), media_type="application/json")


def describe(app: FastAPI) -> dict[str, Any]:
    """Make the page of an application: as the framework makes it, with the key, and without what is never answered."""
    page = app.openapi()
    page["components"]["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}}
    page["security"] = [{"key": []}]
    for operations in page["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # what breaks a rule is a 400
    return page


@router.get(DOCS_PATH, response_model=None)
async def show_docs(request: Request) -> Response:
    """Show the same to people."""
    return get_swagger_ui_html(openapi_url=OPENAPI_PATH, title=request.app.title)
