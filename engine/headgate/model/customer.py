"""Customers, their resources, and what they were given directly."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import EntitlementTerms, InstantMs
from headgate.periods import reset_schedule


class Customer(Strict):
    """Who is billed."""

    id: Id
    name: str = ""
    email: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at_ms: InstantMs
    updated_at_ms: InstantMs
    archived_at_ms: InstantMs | None = None


class Resource(Strict):
    """A sub-account of a customer, such as a site: with subscriptions, account-level counters and wallets of its own.

    Entity budgets are the customer's, and shared by all resources.
    """

    id: Id
    display_name: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at_ms: InstantMs
    updated_at_ms: InstantMs


class PromotionalEntitlement(EntitlementTerms):
    """What a customer was given directly: access to one feature, for the customer and each of its resources.

    `reset_anchor_ms` stands for the subscription's start; it defaults to the instant of the first write. It ends at
    `expires_at_ms` (exclusive), or never. `created_at_ms` and `updated_at_ms` are kept by the engine, whatever is given
    there: when it was first given, and since when it stands as it does. One from before there were such says 0.
    """

    reset_anchor_ms: InstantMs | None = None
    expires_at_ms: InstantMs | None = None
    revoked_at_ms: InstantMs | None = None
    created_at_ms: InstantMs = 0
    updated_at_ms: InstantMs = 0

    @model_validator(mode="after")
    def _anchor_fits(self) -> Self:
        if self.reset_period is not None and self.reset_anchor_ms is not None:
            reset_schedule(
                self.reset_period,
                anchor_ms=self.reset_anchor_ms,
                according_to=self.reset_according_to,
                zone=self.zone,
            )
        return self
