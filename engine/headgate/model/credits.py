"""Credits: grants of a currency, the wallet that they make up, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from headgate.amounts import AmountOutOfRange, add, as_number
from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import CreditAmount, InstantMs

LIVE_GRANTS_MAX: Final = 64
"""How many grants of a wallet may be live, or still to come, at once."""

PRIORITY_DEFAULT: Final = 50


class GrantKind(StrEnum):
    """Where a grant comes from, in the order in which equals are burnt."""

    PROMOTIONAL = "PROMOTIONAL"
    RECURRING = "RECURRING"
    PAID = "PAID"


class GrantStatus(StrEnum):
    """Where a grant stands at an instant. Only ACTIVE ones are burnt."""

    SCHEDULED = "SCHEDULED"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"


class Grant(Strict):
    """An amount of a currency that was given to a customer, or to one of its resources, as it is stored.

    It can be used from `effective_at_ms` until `expires_at_ms` (exclusive), or for ever; low priorities are burnt
    first. `number` is its counter's; it is never given twice.
    """

    id: Id
    number: int
    currency: Id
    resource: Id | None = None
    kind: GrantKind = Field(strict=False)
    amount: CreditAmount
    priority: Annotated[int, Field(ge=0, le=100)] = PRIORITY_DEFAULT
    effective_at_ms: InstantMs
    expires_at_ms: InstantMs | None = None
    display_name: str = ""
    comment: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at_ms: InstantMs
    voided_at_ms: InstantMs | None = None


class GrantRequest(Strict):
    """A grant to give. It can be used at once, unless an instant is given; an id that is given again is the same grant.

    Recurring grants are not given: plans, add-ons and subscriptions bring them.
    """

    id: Id | None = None
    currency: Id
    resource: Id | None = None
    kind: GrantKind = Field(default=GrantKind.PAID, strict=False)
    amount: CreditAmount
    priority: Annotated[int, Field(ge=0, le=100)] = PRIORITY_DEFAULT
    effective_at_ms: InstantMs | None = None
    expires_at_ms: InstantMs | None = None
    display_name: str = ""
    comment: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.kind is GrantKind.RECURRING:
            raise ValueError("kind: give PAID or PROMOTIONAL; recurring grants come from plans and subscriptions")
        if (
            self.effective_at_ms is not None
            and self.expires_at_ms is not None
            and self.expires_at_ms <= self.effective_at_ms
        ):
            raise ValueError("expires_at_ms: must be after effective_at_ms")
        return self


class Grants(Strict):
    """The document of a wallet: the grants that were given to it."""

    grants: tuple[Grant, ...] = Field(default=(), strict=False)


def _sum(left: float, right: float) -> float:
    """An exact sum where there is one; what a damaged counter holds is shown as it is, and grants nothing."""
    try:
        return add(left, right)
    except AmountOutOfRange:
        return left + right


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant and what became of it: amount = left + held + consumed + expired + voided."""

    id: str
    currency: str
    resource: str | None
    kind: GrantKind
    status: GrantStatus
    priority: int
    amount: float
    consumed: float
    held: float
    effective_at_ms: int
    expires_at_ms: int | None
    subscription: str | None = None
    display_name: str = ""
    created_at_ms: int = 0
    voided_at_ms: int | None = None
    comment: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def _rest(self) -> float:
        return _sum(_sum(self.amount, -self.consumed), -self.held)

    @property
    def left(self) -> float:
        """What can be used of it, now or from when it is effective."""
        return self._rest if self.status in (GrantStatus.ACTIVE, GrantStatus.SCHEDULED) else 0.0

    @property
    def expired(self) -> float:
        """What was not used when it expired."""
        return self._rest if self.status is GrantStatus.EXPIRED else 0.0

    @property
    def voided(self) -> float:
        """What was not used when it was voided."""
        return self._rest if self.status is GrantStatus.VOIDED else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; instants in epoch milliseconds."""
        return {
            "id": self.id,
            "currency": self.currency,
            "resource": self.resource,
            "kind": self.kind.value,
            "status": self.status.value,
            "priority": self.priority,
            "subscription": self.subscription,
            "display_name": self.display_name,
            "comment": self.comment,
            "metadata": self.metadata,
            "effective_at_ms": self.effective_at_ms,
            "expires_at_ms": self.expires_at_ms,
            "created_at_ms": self.created_at_ms,
            "voided_at_ms": self.voided_at_ms,
            **{
                name: as_number(getattr(self, name))
                for name in ("amount", "left", "held", "consumed", "expired", "voided")
            },
        }


@dataclass(frozen=True, slots=True)
class Wallet:
    """A customer's live grants of a currency, in burn order, and what was used beyond them.

    balance = what the live grants have left − overdraft. A soft wallet does not refuse: what it has not is overdraft.
    """

    customer: str
    currency: str
    resource: str | None
    grants: tuple[GrantState, ...]
    overdraft: float
    is_soft: bool
    read_at_ms: int

    def _total(self, name: str) -> float:
        total = 0.0
        for grant in self.grants:
            total = _sum(total, getattr(grant, name))
        return total

    @property
    def granted(self) -> float:
        """What the live grants were given."""
        return self._total("amount")

    @property
    def used(self) -> float:
        """What was used of the live grants, and beyond them."""
        return _sum(self._total("consumed"), self.overdraft)

    @property
    def held(self) -> float:
        """What is held of the live grants."""
        return self._total("held")

    @property
    def balance(self) -> float:
        """What may be used now; below 0 where there is overdraft."""
        return _sum(self._total("left"), -self.overdraft)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "currency": self.currency,
            "resource": self.resource,
            "balance": as_number(self.balance),
            "granted": as_number(self.granted),
            "used": as_number(self.used),
            "held": as_number(self.held),
            "overdraft": as_number(self.overdraft),
            "is_soft": self.is_soft,
            "grants": [grant.as_dict() for grant in self.grants],
        }


@dataclass(frozen=True, slots=True)
class Charge:
    """What a call took from one grant (below 0: gave back to it), or from overdraft, where `grant` is None."""

    grant: str | None
    amount: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"grant": self.grant, "amount": as_number(self.amount)}
