"""What both clients do when they are made: find the server, and make the state that their verbs share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from headgate.cache import State
from headgate.client.embedded import EmbeddedServer
from headgate.client.urls import Kind, Target, read_url
from headgate.clock import ManualClock, monotonic_ms
from headgate.entitlement_cache import EntitlementCache
from headgate.errors import InvalidInput
from headgate.model.ids import require_id
from headgate.settings import Settings
from headgate.usage_notes import UsageNotes

COLD_DEADLINES: Final = 4
"""How many deadlines the first call may take: it also connects, and reads the environment and its catalog."""

BATCH_DEADLINES: Final = 4
"""How many deadlines a batch of reports may take."""

BATCH_WIDTH: Final = 64
"""How many independent calls of a batch are under way at once."""


PREPARED_MIN: Final = 16
PREPARED_BYTES: Final = 2_500
"""What a prepared request of a few constraints takes in memory, measured, and rounded up."""


def open_target(url: str | None) -> tuple[Target, EmbeddedServer | None]:
    """Understand a URL, and start the embedded server that it asks for."""
    target = read_url(url)
    if target.kind is Kind.PRIVATE:
        server = EmbeddedServer.private()
    elif target.kind is Kind.SHARED:
        assert target.directory is not None
        server = EmbeddedServer.shared(target.directory)
    else:
        return target, None
    return Target(Kind.SERVER, server.url), server


def accept_options(environment: object, settings: object, clock: object) -> Settings:
    """Validate what `connect` is given; raise `InvalidInput` naming field, value and rule."""
    require_id(environment, "environment")
    if clock is not None and not isinstance(clock, ManualClock):
        raise InvalidInput.of("clock", clock, "must be a ManualClock, or left out for the server's own clock")
    if settings is None:
        return Settings()
    if not isinstance(settings, Settings | Mapping):
        raise InvalidInput.of("settings", settings, "must be Settings, or a mapping of its fields")
    return Settings.accept(settings, "settings")


def _prepared_max(settings: Settings) -> int:
    """How many prepared requests are kept: where memory is bounded in bytes, no more than half as much again."""
    if not settings.cache_max_bytes:
        return settings.prepared_max
    return max(PREPARED_MIN, min(settings.prepared_max, settings.cache_max_bytes // (2 * PREPARED_BYTES)))


def new_state(
    environment: str,
    settings: Settings,
    clock: ManualClock | None,
    lock: AbstractContextManager[object] | None = None,
) -> State:
    """Make the state that the verbs of one client share; the lock is for what its threads change together."""
    lock = nullcontext() if lock is None else lock
    own_hours = {"consume": settings.consume_key_retention_hours, "report": settings.report_key_retention_hours}
    return State(
        environment_name=environment,
        clock="simulated" if clock else "server",
        partitions=settings.partitions,
        entries_max=_prepared_max(settings),
        entitlements=EntitlementCache(
            lock,
            bytes_max=settings.cache_max_bytes,
            freshness_ms=0 if settings.freshness == "strict" else settings.freshness,
            last_known_ms=settings.last_known_seconds * 1000,
        ),
        usage_notes=UsageNotes(lock),
        key_retention_hours=settings.key_retention_hours,
        key_retention_hours_of={kind: hours for kind, hours in own_hours.items() if hours is not None},
        exactly_once=settings.exactly_once,
    )


def metrics_of(state: State) -> dict[str, int]:
    """What a client has counted so far, and what it keeps."""
    return {
        **dict(state.metrics),
        "entitlements_evicted": state.entitlements.evicted,
        "entitlements_bytes": state.entitlements.bytes,
        "usage_untold": state.usage_notes.untold,
        "listener_deaf_ms": int(state.hearing.deaf_ms(monotonic_ms())),
    }
