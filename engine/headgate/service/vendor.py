"""The variables of the vendor's sidecar, as settings: what is configured for it need not be written anew.

They give way to flags and to `HEADGATE_*` variables, and win over the file. One that gives way is not looked at, and an
empty one is as good as none. Nothing here reads the environment of the process: variables are an argument.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from headgate.errors import Problem
from headgate.service.addresses import LOOPBACK, parse_address, parse_port, write_address

REDIS_VARIABLES: Final = (
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_DB",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_TLS",
    "REDIS_ENVIRONMENT_PREFIX",
)
"""Any one of them says that there is a Redis; what the others leave out is localhost, 6379 and database 0."""

VENDOR_VARIABLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(REDIS_VARIABLES, "url"),
    "REDIS_ENVIRONMENT_PREFIX": "environment",
    "ENTITLEMENTS_FALLBACK": "entitlements_fallback",
    "CACHE_MAX_SIZE_BYTES": "cache_max_bytes",
    "OFFLINE": "offline",
    "PORT": "grpc",
    "LOG_LEVEL": "log_level",
    "SERVER_API_KEY": "api_key",
}
"""Each variable with the setting that it is for."""

IGNORED_VARIABLES: Final = frozenset(
    {"REDIS_KEYS_TTL_IN_SECS", "API_URL", "EDGE_ENABLED", "EDGE_API_URL", "WS_ENABLED", "WS_URL"}
)
"""Variables that are taken without effect: there is no cache that expires in Redis, and no other service to reach."""

IGNORED_PREFIXES: Final = ("EDGE_", "WS_")
"""What the other variables begin with that are about reaching the vendor's services."""

LOG_LEVELS: Final[Mapping[str, str]] = {
    "trace": "debug",
    "verbose": "debug",
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "fatal": "error",
    "critical": "error",
    "silent": "error",
}
"""The vendor's levels, each with the nearest of ours."""

HIDDEN: Final = "***"

_SWITCH: Final[Mapping[str, bool]] = {"1": True, "true": True, "0": False, "false": False}
_PASSED_ON: Final = ("REDIS_ENVIRONMENT_PREFIX", "ENTITLEMENTS_FALLBACK", "CACHE_MAX_SIZE_BYTES", "OFFLINE")
_HOST_NAME: Final = re.compile("[A-Za-z0-9_]([A-Za-z0-9_.-]{0,253}[A-Za-z0-9_.])?")
_KUBERNETES_LINK: Final = re.compile("[a-z]+://.*", re.DOTALL)


@dataclass(slots=True)
class VendorSettings:
    """What the vendor's variables say: values by setting, the variable that each is from, and what is wrong."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_vendor_variables(
    variables: Mapping[str, str], *, decided: Collection[str] = (), grpc_of_file: object = None
) -> VendorSettings:
    """Read the vendor's variables, but for settings that are decided already.

    `grpc_of_file` is what the file says of the setting `grpc`: `PORT` takes another port of the same host.
    """
    given = {
        name: variables[name]
        for name, setting in VENDOR_VARIABLES.items()
        if variables.get(name) and (setting not in decided or name in REDIS_VARIABLES)
    }
    found = VendorSettings()
    redis = [name for name in REDIS_VARIABLES if name in given]
    if redis and "url" not in decided:
        _put(found, "url", redis[0], _url(given, found.problems))
    for name in _PASSED_ON:
        if name in given and VENDOR_VARIABLES[name] not in decided:
            _put(found, VENDOR_VARIABLES[name], name, given[name])
    if "SERVER_API_KEY" in given:
        _put(found, "api_key", "SERVER_API_KEY", given["SERVER_API_KEY"])
    if "LOG_LEVEL" in given:
        level = LOG_LEVELS.get(given["LOG_LEVEL"].lower())
        if level is None:
            rule = f"must be one of {', '.join(LOG_LEVELS)}"
            found.problems.append(Problem("LOG_LEVEL", given["LOG_LEVEL"], rule))
        else:
            _put(found, "log_level", "LOG_LEVEL", level)
    if "PORT" in given:
        _put(found, "grpc", "PORT", _grpc(given["PORT"], grpc_of_file, found.problems))
    return found


def ignored_variables(variables: Mapping[str, str]) -> list[str]:
    """The names of those that are set and have no effect here, sorted."""
    return sorted(
        name
        for name, value in variables.items()
        if value and (name in IGNORED_VARIABLES or name.startswith(IGNORED_PREFIXES))
    )


def _put(found: VendorSettings, setting: str, name: str, value: object) -> None:
    if value is not None:
        found.values[setting] = value
        found.places[setting] = name


def _url(given: Mapping[str, str], problems: list[Problem]) -> str | None:
    """The URL of the Redis that the variables describe; None where one of them is wrong."""
    before = len(problems)
    scheme = "rediss" if _switch("REDIS_TLS", given, problems) else "redis"
    host = given.get("REDIS_HOST", "localhost")
    port = given.get("REDIS_PORT", "6379")
    database = given.get("REDIS_DB", "0")
    shown_host = _url_host(host)
    if shown_host is None:
        shown = HIDDEN if "@" in host else host  # a URL, and perhaps with a password
        problems.append(Problem("REDIS_HOST", shown, "must be a host name or an IP address, without a port"))
    if parse_port(port) is None:
        rule = "must be a port from 1 to 65535"
        if _KUBERNETES_LINK.fullmatch(port):
            rule += "; Kubernetes sets it to an address for a Service named redis: set enableServiceLinks: false"
        problems.append(Problem("REDIS_PORT", port, rule))
    if not re.fullmatch("[0-9]{1,9}", database):
        problems.append(Problem("REDIS_DB", database, "must be the number of a database, such as 0"))
    if len(problems) > before:
        return None
    user, password = (quote(given.get(name, ""), safe="") for name in ("REDIS_USERNAME", "REDIS_PASSWORD"))
    access = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return f"{scheme}://{access}{shown_host}:{int(port)}/{int(database)}"


def _url_host(host: str) -> str | None:
    """A host as a URL writes it; None where it is none."""
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return host if _HOST_NAME.fullmatch(host) else None
    return f"[{address}]" if address.version == 6 else str(address)


def _switch(name: str, given: Mapping[str, str], problems: list[Problem]) -> bool:
    text = given.get(name, "0")
    if text.lower() not in _SWITCH:
        problems.append(Problem(name, text, "must be 1, true, 0 or false"))
    return _SWITCH.get(text.lower(), False)


def _grpc(text: str, of_file: object, problems: list[Problem]) -> str | None:
    """The setting `grpc` with another port; None where the file says off, or something that is itself wrong."""
    port = parse_port(text)
    if port is None:
        problems.append(Problem("PORT", text, "must be a port from 1 to 65535"))
        return None
    if of_file is None:
        return write_address(LOOPBACK, port)
    try:
        return write_address(parse_address(str(of_file))[0], port)
    except ValueError:
        return None
