"""Engines that answer from a document and contact no Redis: for air-gapped places, and for tests.

    with OfflineHeadgate('{"customers": {"acme": {"entitlements": {"sso": {"type": "BOOLEAN"}}}}}') as engine:
        engine.boolean_entitlement("acme", "sso")

What reads entitlements has the methods of `Headgate` and `AsyncHeadgate`, and the same answers. Whatever would count or
change something is `NotSupported`. Without a document there is no data, so that every reading is `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from headgate.chains import DimensionValue
from headgate.client.arguments import optional_id
from headgate.clock import wall_ms
from headgate.model.catalog import Currency, Feature
from headgate.model.decision import Decision
from headgate.model.entitlement import (
    BooleanEntitlement,
    Entitlement,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.model.ids import require_id
from headgate.model.offline import OfflineEntitlements, read_offline
from headgate.offline import Document, refuse
from headgate.verbs import decide, reading

Source = OfflineEntitlements | Mapping[str, Any] | str | Path | None


class Unwritable:
    """A namespace of an engine that is offline: each of its methods refuses."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args: Any, **named: Any) -> NoReturn:
            raise refuse()

        return method


class _Offline:
    """What both engines have in common."""

    def __init__(self, document: Source) -> None:
        self._document = Document(None if document is None else read_offline(document))
        self.customers = Unwritable()
        self.subscriptions = Unwritable()
        self.credits = Unwritable()
        self.governance = Unwritable()
        self.reservations = Unwritable()
        self.api_keys = Unwritable()

    @property
    def environment(self) -> str:
        """The name that stands for an environment."""
        return "offline"

    @property
    def metrics(self) -> dict[str, int]:
        """Counts of a connected engine: there are none."""
        return {}

    def explain(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: there are no entities to resolve."""
        raise refuse()

    def apply(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: a document does not change."""
        raise refuse()

    def updates(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: a document does not change."""
        raise refuse()


class OfflineCatalog(Unwritable):
    """The features of the document, for threads."""

    def __init__(self, document: Document) -> None:
        self._features = document.features

    def find(self, ids: Sequence[str]) -> dict[str, Feature | Currency]:
        """Find what ids name; unknown ones are left out."""
        return {id: self._features[id] for id in ids if id in self._features}


class AsyncOfflineCatalog(Unwritable):
    """The same for asyncio."""

    def __init__(self, document: Document) -> None:
        self._features = document.features

    async def find(self, ids: Sequence[str]) -> dict[str, Feature | Currency]:
        """Find what ids name; unknown ones are left out."""
        return {id: self._features[id] for id in ids if id in self._features}


class OfflineHeadgate(_Offline):
    """An engine for threads that answers from a document: JSON text, its path, a mapping, or the objects."""

    def __init__(self, document: Source) -> None:
        super().__init__(document)
        self.catalog = OfflineCatalog(self._document)

    def entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
    ) -> Entitlement:
        """Read what a customer may do with one feature."""
        question = reading.asked(customer, feature, resource, requested_usage, requested_values, Entitlement)
        return self._document.entitlement(question, wall_ms())

    def boolean_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> BooleanEntitlement:
        """Read access to a boolean feature; one of another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), BooleanEntitlement)
        return self._document.entitlement(question, wall_ms())

    def numeric_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> NumericEntitlement:
        """Read the number of a feature without a meter; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), NumericEntitlement)
        return self._document.entitlement(question, wall_ms())

    def metered_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
    ) -> MeteredEntitlement:
        """Read the limit of a metered feature, of which nothing is used; another type is FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, requested_usage, (), MeteredEntitlement)
        return self._document.entitlement(question, wall_ms())

    def enum_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_values: Sequence[str] = (),
    ) -> EnumEntitlement:
        """Read the values that are granted of an enum feature; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, requested_values, EnumEntitlement)
        return self._document.entitlement(question, wall_ms())

    def credit_entitlement(
        self,
        customer: str,
        currency: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 0,
    ) -> Entitlement:
        """Say that there are no credits: a document has no wallets."""
        question = reading.asked_of_currency(customer, currency, resource, requested_usage)
        return self._document.credit(question, wall_ms())

    def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer is entitled to, by the ids of the features."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return self._document.all(*ids, wall_ms())

    def reload(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer is entitled to: a document does not change."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return self._document.all(*ids, wall_ms())

    def check(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Decision:
        """Say whether an amount of a feature fits its limit. Dimensions match nothing: a document has no entities."""
        question = decide.asked(
            customer,
            feature,
            requested_usage,
            dimensions,
            amount_field="requested_usage",
            values=requested_values,
            currency=currency,
            resource=resource,
        )
        return self._document.check(question, wall_ms())

    def consume(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is counted."""
        raise refuse()

    def report(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is counted."""
        raise refuse()

    def report_many(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is counted."""
        raise refuse()

    def reserve(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is held."""
        raise refuse()

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncOfflineHeadgate(_Offline):
    """An engine for asyncio that answers from a document: JSON text, its path, a mapping, or the objects."""

    def __init__(self, document: Source) -> None:
        super().__init__(document)
        self.catalog = AsyncOfflineCatalog(self._document)

    async def entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
    ) -> Entitlement:
        """Read what a customer may do with one feature."""
        question = reading.asked(customer, feature, resource, requested_usage, requested_values, Entitlement)
        return self._document.entitlement(question, wall_ms())

    async def boolean_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> BooleanEntitlement:
        """Read access to a boolean feature; one of another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), BooleanEntitlement)
        return self._document.entitlement(question, wall_ms())

    async def numeric_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> NumericEntitlement:
        """Read the number of a feature without a meter; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), NumericEntitlement)
        return self._document.entitlement(question, wall_ms())

    async def metered_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
    ) -> MeteredEntitlement:
        """Read the limit of a metered feature, of which nothing is used; another type is FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, requested_usage, (), MeteredEntitlement)
        return self._document.entitlement(question, wall_ms())

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
        return self._document.entitlement(question, wall_ms())

    async def credit_entitlement(
        self,
        customer: str,
        currency: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 0,
    ) -> Entitlement:
        """Say that there are no credits: a document has no wallets."""
        question = reading.asked_of_currency(customer, currency, resource, requested_usage)
        return self._document.credit(question, wall_ms())

    async def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer is entitled to, by the ids of the features."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return self._document.all(*ids, wall_ms())

    async def reload(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer is entitled to: a document does not change."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return self._document.all(*ids, wall_ms())

    async def check(
        self,
        customer: str,
        *,
        feature: str | None = None,
        currency: str | None = None,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
        requested_values: Sequence[str] = (),
        dimensions: Mapping[str, DimensionValue] | None = None,
    ) -> Decision:
        """Say whether an amount of a feature fits its limit. Dimensions match nothing: a document has no entities."""
        question = decide.asked(
            customer,
            feature,
            requested_usage,
            dimensions,
            amount_field="requested_usage",
            values=requested_values,
            currency=currency,
            resource=resource,
        )
        return self._document.check(question, wall_ms())

    async def consume(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is counted."""
        raise refuse()

    async def report(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is counted."""
        raise refuse()

    async def report_many(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is counted."""
        raise refuse()

    def reserve(self, *args: Any, **named: Any) -> NoReturn:
        """Refuse: offline, nothing is held."""
        raise refuse()

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
