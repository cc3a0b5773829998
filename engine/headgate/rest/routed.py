"""What every route says of itself: the scope that it needs, what it answers, and its parameters."""

from __future__ import annotations

from typing import Any

from headgate.rest.queries import Parameter, documented


def routed(noun: str, scope: Any, answer: Any, status: int = 200, *parameters: Parameter) -> dict[str, Any]:
    """Say it in the words of FastAPI. Routes write their answers themselves: `answer` describes them."""
    return {
        "dependencies": [scope],
        "response_model": None,
        "status_code": int(status),
        "responses": {int(status): {"model": answer}},
        "tags": [noun],
        "openapi_extra": documented(*parameters),
    }
