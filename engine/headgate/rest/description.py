"""`GET /openapi.json` and `/docs`: what the API is, for machines and for people; neither needs a key.

Making it takes the better part of a second, so it is made when it is first asked for, in a thread, and then kept: no
check waits for it.
"""

from __future__ import annotations

import asyncio

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
    page = app.openapi_schema or await asyncio.to_thread(app.openapi)
    return Response(to_json(page), media_type="application/json")


@router.get(DOCS_PATH, response_model=None)
async def show_docs(request: Request) -> Response:
    """Show the same to people."""
    return get_swagger_ui_html(openapi_url=OPENAPI_PATH, title=request.app.title)
