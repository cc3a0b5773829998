"""Where a client connects to: the forms of a URL, and what each means."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from redis.connection import Connection, parse_url
from redis.exceptions import RedisError

from headgate.errors import InvalidInput

URL_VARIABLE: Final = "HEADGATE_URL"

_SCHEMES: Final = (
    "redis://, rediss://, unix://, redis+cluster://, rediss+cluster://, embedded:// or embedded:///directory"
)


class Kind(Enum):
    """What stands at the other end."""

    SERVER = "server"
    CLUSTER = "cluster"
    PRIVATE = "private"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, understood. `url` is in redis-py's own form, for a server or a cluster; `directory` is of a shared one."""

    kind: Kind
    url: str = ""
    directory: Path | None = None


def read_url(url: str | None) -> Target:
    """Understand a URL, or the one in `HEADGATE_URL` where none is given.

    There is no default: workers that each got a private store would multiply every limit.
    """
    if url is not None and not isinstance(url, str):
        raise InvalidInput.of("url", url, f"begins with {_SCHEMES}")
    url = url or os.environ.get(URL_VARIABLE)
    if not url:
        raise InvalidInput.of(
            "url",
            url,
            f"say where the counters are: give a URL, or set {URL_VARIABLE}, such as redis://localhost:6379/0 "
            "for a Redis that all processes share, or embedded:// for a private server of this process's own",
        )
    shown = hide_password(url)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidInput.of("url", shown, f"is no URL: {error}") from None
    match parts.scheme:
        case "redis" | "rediss" | "unix":
            return Target(Kind.SERVER, _understood(url, url))
        case "redis+cluster" | "rediss+cluster":
            return Target(Kind.CLUSTER, _understood(url.replace("+cluster", "", 1), url))
        case "embedded" if parts.netloc:
            raise InvalidInput.of("url", shown, "a directory needs a third slash: embedded:///directory")
        case "embedded" if parts.path in ("", "/"):
            return Target(Kind.PRIVATE)
        case "embedded":
            return Target(Kind.SHARED, directory=Path(unquote(parts.path)))
        case _:
            raise InvalidInput.of("url", shown, f"begins with {_SCHEMES}")


def _understood(url: str, given: str) -> str:
    """A URL of redis-py's own form, if its driver takes every part of it."""
    shown = hide_password(given)
    try:
        _ = urlsplit(url).port
    except ValueError:  # its text may quote a part of a password that holds a slash
        raise InvalidInput.of(
            "url", shown, "the port is a number from 0 to 65535; in a password, write / as %2F"
        ) from None
    try:
        options = parse_url(url)
        connection_class = options.pop("connection_class", Connection)
        connection_class(**options)
    except (TypeError, ValueError, RedisError) as error:
        raise InvalidInput.of("url", shown, f"the driver does not take it: {error}") from None
    path = urlsplit(url).path.strip("/")
    if urlsplit(url).scheme != "unix" and path and not re.fullmatch("[0-9]+", path):
        raise InvalidInput.of("url", shown, "what follows the host is a number: the database, such as /0")
    return url


def hide_password(url: str) -> str:
    """A URL that can be shown: its password is left out, also where a mistake hides it from a parser."""
    url = re.sub(r"^((?:[^:/]*://)?[^:@/?#\[]*):.*@", r"\1:***@", url)
    return re.sub(r"(?<=[?&]password=)[^&]*", "***", url)
