"""Log lines: one JSON object a line on stderr, with an event, a level, an instant, and what belongs to it.

What is logged of a request is its method, the template of its route, status, milliseconds, request id and the id of
its API key: never a key, a path, a query, or a body. What happens inside the server software is put in the same form.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog
from pydantic_core import to_json
from structlog.typing import FilteringBoundLogger, Processor

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_SHARED: Final[list[Processor]] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    structlog.processors.format_exc_info,
]


def make_logger(level: str = "info", file: TextIO | None = None) -> FilteringBoundLogger:
    """Make a logger that writes JSON lines; it is nobody else's, and changes no global setting.

    A line is one write, also where Python is told not to buffer: several processes share their stderr.
    """
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr if file is None else file),
        processors=[*_SHARED, _as_json],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    ).bind()
    return logger


def _as_json(logger: object, name: str, line: MutableMapping[str, Any]) -> str:
    first = {key: line.pop(key, None) for key in ("at", "level", "event")}
    return to_json({**first, **line}, fallback=str).decode()


def server_logging(level: str) -> dict[str, Any]:
    """Describe, for `logging.config`, the same lines for what others log: the server software, asyncio, and so on."""
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _as_json],
        "foreign_pre_chain": _SHARED,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": formatter},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"_granian": {"handlers": ["stderr"], "level": level.upper(), "propagate": False}},
    }
