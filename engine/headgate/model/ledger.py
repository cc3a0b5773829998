"""The ledger: what happened to grants and reservations, an entry each, in the order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from headgate.amounts import as_number
from headgate.model.credits import Charge
from headgate.model.decision import instant


class LedgerEvent(StrEnum):
    """What happened. Of one instant, entries stand in this order."""

    GRANTED = "GRANTED"
    RESERVED = "RESERVED"
    RESERVATION_EXPIRED = "RESERVATION_EXPIRED"
    SETTLED = "SETTLED"
    RELEASED = "RELEASED"
    GRANT_EXPIRED = "GRANT_EXPIRED"
    GRANT_VOIDED = "GRANT_VOIDED"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One thing that happened to a grant or to a reservation.

    `amount` is what was granted, reserved, settled, released, or left when it expired or was voided: credits, or units
    of the feature for a reservation that costs none. `returned` is what the end of a reservation gave back, and
    `set_aside` what of each grant was reserved, in burn order.
    """

    event: LedgerEvent
    at_ms: int
    amount: float
    customer: str
    currency: str | None = None
    feature: str | None = None
    resource: str | None = None
    grant: str | None = None
    reservation: str | None = None
    returned: float = 0.0
    metadata: dict[str, str] = field(default_factory=dict)
    set_aside: tuple[Charge, ...] = ()

    @property
    def at(self) -> datetime:
        """When it happened."""
        return instant(self.at_ms)

    @property
    def id(self) -> str:
        """What tells this entry from every other of the customer's."""
        subject = f"grant:{self.grant}" if self.grant is not None else f"reservation:{self.reservation}"
        return f"{self.at_ms}:{subject}:{self.event}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; instants in epoch milliseconds."""
        return {
            "event": self.event.value,
            "at_ms": self.at_ms,
            "amount": as_number(self.amount),
            "returned": as_number(self.returned),
            "customer": self.customer,
            "currency": self.currency,
            "feature": self.feature,
            "resource": self.resource,
            "grant": self.grant,
            "reservation": self.reservation,
            "metadata": self.metadata,
            "set_aside": [charge.as_dict() for charge in self.set_aside],
        }
