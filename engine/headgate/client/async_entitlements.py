"""Reading entitlements: the methods of the engine for asyncio that only read them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar

from headgate.cache import State
from headgate.calls import Verb
from headgate.client.arguments import optional_id
from headgate.model.entitlement import (
    BooleanEntitlement,
    Entitlement,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.model.ids import require_id
from headgate.verbs import reading, surveying

T = TypeVar("T")


class AsyncEntitlementMethods:
    """What may a customer do, and what has it of credits? A part of `AsyncHeadgate`."""

    _state: State

    async def _run(self, verb: Verb[T], *, deadlines: int = 1) -> T:
        raise AssertionError("the engine runs its verbs")

    def _now_ms(self) -> float:
        raise AssertionError("the engine knows the time")

    async def entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
    ) -> Entitlement:
        """Read what a customer, or one of its resources, may do with a feature now, with every number behind it.

        Nothing is written, and entity budgets are not asked: `check` asks them too.
        """
        question = reading.asked(customer, feature, resource, requested_usage, requested_values, Entitlement)
        return await self._run(reading.entitlement(self._state, question, now_ms=self._now_ms()))

    async def boolean_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> BooleanEntitlement:
        """Read access to a boolean feature; one of another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), BooleanEntitlement)
        return await self._run(reading.entitlement(self._state, question, now_ms=self._now_ms()))

    async def numeric_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> NumericEntitlement:
        """Read the number of a feature without a meter; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), NumericEntitlement)
        return await self._run(reading.entitlement(self._state, question, now_ms=self._now_ms()))

    async def metered_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
    ) -> MeteredEntitlement:
        """Read limit, usage and period of a metered feature; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, requested_usage, (), MeteredEntitlement)
        return await self._run(reading.entitlement(self._state, question, now_ms=self._now_ms()))

    async def enum_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_values: Sequence[str] = (),
    ) -> EnumEntitlement:
        """Read the values that are granted of an enum feature; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, requested_values, EnumEntitlement)
        return await self._run(reading.entitlement(self._state, question, now_ms=self._now_ms()))

    async def credit_entitlement(
        self,
        customer: str,
        currency: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 0,
    ) -> Entitlement:
        """Read what a customer has of a currency: a `CreditEntitlement`, or a plain one that says why there is none.

        There is access where the balance is above 0 and has what is requested, or where the wallet is soft.
        """
        question = reading.asked_of_currency(customer, currency, resource, requested_usage)
        return await self._run(reading.credit_entitlement(self._state, question))

    async def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer, or one of its resources, is entitled to now: features, then credits."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return await self._run(surveying.entitlements(self._state, *ids))

    async def reload(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Forget what is kept of a customer and the catalog, and read its entitlements: what was written is there."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return await self._run(surveying.reload(self._state, *ids))
