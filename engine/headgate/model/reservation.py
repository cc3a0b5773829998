"""Reservations: an amount that is held until it is settled, released, or expires."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

from headgate.amounts import as_number, format_amount
from headgate.model.decision import Decision, instant

LASTS_MIN_MS: Final = 1_000
LASTS_MAX_MS: Final = 86_400_000
LASTS_DEFAULT_MS: Final = 3_600_000
METADATA_MAX: Final = 4_096
"""How many bytes the metadata of a reservation may have, packed."""


class ReservationStatus(IntEnum):
    """Where a reservation stands; the numbers are those of lua/lib/holds.lua. REFUSED ones are not stored."""

    REFUSED = 0
    OPEN = 1
    SETTLED = 2
    RELEASED = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True)
class Reservation:
    """An amount of a feature or a currency that was asked for, and what became of it.

    `credits` is what it costs; a soft wallet holds no more than it has. `settled` is what was used of the amount, and
    `settled_credits` what that cost. It ended when it was settled or released, or else when it expired. `decision` is
    there when it was just made: why it was refused, or every number that it saw.
    """

    id: str
    customer: str
    feature: str | None
    currency: str | None
    resource: str | None
    amount: float
    credits: float
    status: ReservationStatus
    reserved_at_ms: int
    expires_at_ms: int
    ended_at_ms: int | None = None
    settled: float = 0.0
    settled_credits: float = 0.0
    metadata: dict[str, str] = field(default_factory=dict)
    decision: Decision | None = None

    @property
    def granted(self) -> bool:
        """Whether it was made."""
        return self.status is not ReservationStatus.REFUSED

    @property
    def expires_at(self) -> datetime:
        """When an open one is freed."""
        return instant(self.expires_at_ms)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "id": self.id,
            "customer": self.customer,
            "resource": self.resource,
            "feature": self.feature,
            "currency": self.currency,
            "amount": as_number(self.amount),
            "credits": as_number(self.credits),
            "status": self.status.name,
            "reserved_at_ms": self.reserved_at_ms,
            "expires_at_ms": self.expires_at_ms,
            "ended_at_ms": self.ended_at_ms,
            "settled": as_number(self.settled),
            "settled_credits": as_number(self.settled_credits),
            "metadata": self.metadata,
            "decision": self.decision and self.decision.as_dict(),
        }

    def __str__(self) -> str:
        what = f"{format_amount(self.amount)} of {self.feature or self.currency} for {self.customer}"
        if self.status is ReservationStatus.REFUSED:
            return f"Not reserved: {self.decision}"
        if self.status is ReservationStatus.SETTLED:
            return f"{self.id}: {format_amount(self.settled)} settled of {what}."
        return f"{self.id}: {what}, {self.status.name.lower()}."
