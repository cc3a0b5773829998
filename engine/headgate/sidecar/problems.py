"""Errors on the wire: gRPC's statuses, and whether a client may send the call again.

gRPC's own retry, and proxies, send a call again that was UNAVAILABLE. So that is said only where certainly nothing was
counted; what is unknown or partial is UNKNOWN, and carries `grpc-retry-pushback-ms: -1`, which forbids it.
"""

from __future__ import annotations

from typing import Final

import grpc

from headgate import errors

Metadata = tuple[tuple[str, str], ...]

NEVER_AGAIN: Final[Metadata] = (("grpc-retry-pushback-ms", "-1"),)
UNCLEAR: Final = frozenset({grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL})
"""After these nobody knows what was counted."""

OUTCOMES: Final = "headgate-outcomes"
"""Where a bulk that went wrong says what became of each of its reports."""

NAMES: Final = {
    "customer": "customer_id",
    "feature": "feature_id",
    "currency": "currency_id",
    "resource": "resource_id",
    "requested_usage": "options.requested_usage",
    "requested_values": "options.requested_values",
}
"""What the engine's fields of a read are called on the wire."""

REPORT_NAMES: Final = {
    "records": "usages",
    "customer": "customer_id",
    "feature": "feature_id",
    "currency": "feature_id",
    "resource": "resource_id",
    "behavior": "update_behavior",
}
"""The same of a report."""

STATUSES: Final[dict[type[errors.HeadgateError], grpc.StatusCode]] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.NotSupported: grpc.StatusCode.UNIMPLEMENTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.LimitReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ConfigurationKeepsChanging: grpc.StatusCode.ABORTED,
    errors.CatalogNotEverywhere: grpc.StatusCode.UNKNOWN,
    errors.EnvironmentMismatch: grpc.StatusCode.UNAVAILABLE,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.EmbeddedServerFailed: grpc.StatusCode.UNAVAILABLE,
    errors.OutcomeUnknown: grpc.StatusCode.UNKNOWN,
}

NO_DATA: Final = (
    errors.Unavailable,
    errors.EnvironmentMismatch,
    errors.ConfigurationKeepsChanging,
    errors.EmbeddedServerFailed,
    errors.OutcomeUnknown,
    errors.CatalogNotEverywhere,
)
"""Errors of a read for which no data could be had: a fallback answers. Of any other, the caller is told.

The last two are of what a read does beside: it mends a catalog write that was cut.
"""

MESSAGE_BYTES_MAX: Final = 1_500
"""How long a message may be: it travels in a header, of which clients take some thousand bytes."""


class Refused(Exception):
    """A call that is refused before the engine is asked."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        self.status = status
        super().__init__(message)


def status_of(error: errors.HeadgateError) -> grpc.StatusCode:
    """Find the status of an error: that of its own class, or of the nearest above it."""
    if isinstance(error, errors.BatchIncomplete):
        return status_of(error.cause) if _nothing_was_applied(error) else grpc.StatusCode.UNKNOWN
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return grpc.StatusCode.INTERNAL


def metadata_of(error: errors.HeadgateError) -> Metadata:
    """What goes with a status: the outcomes of a bulk, and that what is unknown or partial must not be sent again."""
    found: Metadata = ()
    if isinstance(error, errors.BatchIncomplete):
        found = ((OUTCOMES, ", ".join(error.outcomes)),)
    return found if status_of(error) not in UNCLEAR else (*found, *NEVER_AGAIN)


def message_of(error: errors.HeadgateError) -> str:
    """What a caller is told."""
    return cut(str(error))


def cut(message: str) -> str:
    """A message that no header is too short for."""
    written = message.encode(errors="backslashreplace")
    if len(written) <= MESSAGE_BYTES_MAX:
        return message
    return written[:MESSAGE_BYTES_MAX].decode(errors="ignore") + "…"


def _nothing_was_applied(error: errors.BatchIncomplete) -> bool:
    return set(error.outcomes) == {"not applied"}
