"""What a client can be told: typed, bounded, frozen; unknown names are errors."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from headgate.model.base import Strict

PARTITIONS_DEFAULT: Final = 1024
SCHEMA: Final = "1"
"""The version of the layout in Redis that this package reads and writes."""


class Settings(Strict):
    """How a client behaves. Every field has a default that suits a service on the same network as its Redis."""

    deadline_ms: int = Field(default=250, ge=1, le=60_000, description="for a check, report or consume, all in all")
    setup_deadline_ms: int = Field(default=10_000, ge=100, le=600_000, description="for a change of configuration")
    connections_max: int = Field(default=32, ge=1, le=10_000, description="to each server; callers wait for a free one")
    prepared_max: int = Field(default=50_000, ge=16, le=10_000_000, description="prepared requests kept, in entries")
    partitions: int | None = Field(default=None, ge=1, le=16_384, description="of a new environment; else checked")
    listen: bool = Field(default=True, description="whether to hear of changes, which only makes staleness rarer")
    cache_max_bytes: int = Field(
        default=0,
        ge=0,
        le=1 << 40,
        description="memory for entitlements that are answered without asking Redis; 0: each answer asks",
    )
    freshness: Literal["strict"] | Annotated[int, Field(ge=1, le=60_000)] = Field(
        default="strict",
        description="of metered entitlements: strict, or how many milliseconds old their numbers may be",
    )
    last_known_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="how long boolean, numeric and enum answers go on while Redis gives none",
    )
    usage_updates_every_ms: int = Field(
        default=250, ge=0, le=60_000, description="how often others are told what was counted; 0: never"
    )
    key_retention_hours: int = Field(
        default=168, ge=1, le=8_760, description="for which an idempotency key is known; the same for all instances"
    )
    consume_key_retention_hours: int | None = Field(
        default=None, ge=1, le=8_760, description="the same for the keys of consumes alone, where it differs"
    )
    report_key_retention_hours: int | None = Field(
        default=None, ge=1, le=8_760, description="the same for the keys of reports alone, where it differs"
    )
    exactly_once: bool = Field(
        default=False, description="whether consume and report make a key of their own where none is given"
    )
