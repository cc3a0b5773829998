"""Where a client connects to: the forms of a URL, and what each means."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

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
    url = url or os.environ.get(URL_VARIABLE)
    if not url:
        raise InvalidInput.of(
            "url",
            url,
            f"say where the counters are: give a URL, or set {URL_VARIABLE}, such as redis://localhost:6379/0 "
            "for a Redis that all processes share, or embedded:// for a private server of this process's own",
        )
    parts = urlsplit(url)
    match parts.scheme:
        case "redis" | "rediss" | "unix":
            return Target(Kind.SERVER, url)
        case "redis+cluster" | "rediss+cluster":
            return Target(Kind.CLUSTER, url.replace("+cluster", "", 1))
        case "embedded" if parts.netloc:
            raise InvalidInput.of("url", url, "a directory needs a third slash: embedded:///directory")
        case "embedded" if parts.path in ("", "/"):
            return Target(Kind.PRIVATE)
        case "embedded":
            return Target(Kind.SHARED, directory=Path(unquote(parts.path)))
        case _:
            raise InvalidInput.of("url", hide_password(url), f"begins with {_SCHEMES}")


def hide_password(url: str) -> str:
    """A URL that can be shown: its password is left out."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user_and_host = f"{parts.username or ''}:***@{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    return parts._replace(netloc=user_and_host).geturl()
