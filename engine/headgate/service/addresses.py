"""Addresses with a port, as settings write them: `127.0.0.1:50051`, `localhost:50051`, `[::1]:50051`."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

ADDRESS_RULE: Final = (
    "must be an IP address or localhost with a port from 1 to 65535, such as 127.0.0.1:50051 or [::1]:50051, or off"
)
OFF: Final = "off"
LOOPBACK: Final = "127.0.0.1"
PORT_MAX: Final = 65_535

_PARTS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|localhost)):([0-9]{1,5})", re.ASCII)


def parse_port(text: str) -> int | None:
    """Read a port from 1 to 65535; None where the text is none."""
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    return port if 1 <= port <= PORT_MAX else None


def parse_address(text: str) -> tuple[str, int]:
    """Read an address into host and port; `localhost` is 127.0.0.1. Raise `ValueError` with the rule it breaks."""
    parts = _PARTS.fullmatch(text)
    port = None if parts is None else parse_port(parts[3])
    if parts is None or port is None:
        raise ValueError(ADDRESS_RULE)
    try:
        if parts[1] is not None:
            return str(ipaddress.IPv6Address(parts[1])), port
        return str(ipaddress.IPv4Address(LOOPBACK if parts[2] == "localhost" else parts[2])), port
    except ValueError:
        raise ValueError(ADDRESS_RULE) from None


def write_address(host: str, port: int) -> str:
    """Write an address; IPv6 stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
