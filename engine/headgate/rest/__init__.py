"""The REST face: the vendor's routes over the engine, so that the vendor's own clients run against it unchanged.

    headgate serve

`create_app` makes the ASGI application for those who serve it themselves. What is served, what is answered by 501, and
where answers differ from the vendor's, is told in docs/rest.md. Needs the extra `headgate[rest]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.rest.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    """Import the application once it is asked for: settings and help need no web framework."""
    if name == "create_app":
        from headgate.rest.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
