"""What the service asks of an engine: a connected one has it, and one that answers offline."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Protocol

from headgate.model.entitlement import (
    BooleanEntitlement,
    Entitlement,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.service.reporting import ReportingEngine


class SidecarEngine(ReportingEngine, Protocol):
    """Reads entitlements and counts reports; each method means what it means of `AsyncHeadgate`."""

    async def entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
    ) -> Entitlement:
        """Read a feature of any kind."""
        ...

    async def boolean_entitlement(
        self, customer: str, feature: str, *, resource: str | None = None
    ) -> BooleanEntitlement:
        """Read a boolean feature."""
        ...

    async def numeric_entitlement(
        self, customer: str, feature: str, *, resource: str | None = None
    ) -> NumericEntitlement:
        """Read a feature with a configured number."""
        ...

    async def metered_entitlement(
        self, customer: str, feature: str, *, resource: str | None = None, requested_usage: float | Decimal = 1
    ) -> MeteredEntitlement:
        """Read a metered feature."""
        ...

    async def enum_entitlement(
        self, customer: str, feature: str, *, resource: str | None = None, requested_values: Sequence[str] = ()
    ) -> EnumEntitlement:
        """Read an enum feature."""
        ...

    async def credit_entitlement(
        self, customer: str, currency: str, *, resource: str | None = None, requested_usage: float | Decimal = 0
    ) -> Entitlement:
        """Read a currency."""
        ...

    async def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything."""
        ...

    async def reload(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Forget what is kept, and read everything."""
        ...
