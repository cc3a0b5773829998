"""Engines that answer from a document and contact no Redis: for air-gapped places, and for tests.

    with OfflineHeadgate('{"customers": {"acme": {"entitlements": {"sso": {"type": "BOOLEAN"}}}}}') as engine:
        engine.boolean_entitlement("acme", "sso")

They are a `Headgate` and an `AsyncHeadgate` whose readings of entitlements, and whose `check`, are answered here.
Whatever else would ask a server comes to `_drive`, and is `NotSupported`: also what a later version adds. Without a
document there is no data, so that every reading is `Unavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from headgate.calls import Call, Reply, Verb
from headgate.chains import DimensionValue
from headgate.client.arguments import optional_id
from headgate.client.async_client import AsyncHeadgate
from headgate.client.async_namespaces import AsyncCatalogMethods
from headgate.client.sync_client import Headgate
from headgate.client.sync_namespaces import CatalogMethods
from headgate.clock import ManualClock, wall_ms
from headgate.errors import HeadgateError, NotSupported
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
from headgate.settings import Settings
from headgate.updates import Update
from headgate.verbs import decide, reading

T = TypeVar("T")

Source = OfflineEntitlements | Mapping[str, Any] | str | Path | None
"""What is answered from: the objects, a mapping like them, JSON text, the path of a file, or no data at all."""

_ENVIRONMENT: Final = "offline"
_NO_URL: Final = "an offline engine is made of a document, and has no server: use Headgate.connect(url) to have one"


def _open(document: Source, clock: ManualClock | None) -> tuple[Document, Callable[[], int]]:
    """Read a document, and say what tells the time: the clock, or else the machine's."""
    read = Document(None if document is None else read_offline(document))
    return read, wall_ms if clock is None else lambda: clock.now_ms


class _Nobody:
    """Stands where a connected engine has its server."""

    def send(self, call: Call, deadline_ms: float) -> Reply:
        """Refuse."""
        raise refuse()

    def close(self) -> None:
        """Do nothing: there is no connection."""


class _NobodyAsync:
    """The same for asyncio."""

    async def send(self, call: Call, deadline_ms: float) -> Reply:
        """Refuse."""
        raise refuse()

    async def close(self) -> None:
        """Do nothing: there is no connection."""


class OfflineCatalogMethods(CatalogMethods):
    """The features of a document. Nothing else of a catalog is known, and nothing can be written."""

    def __init__(self, engine: OfflineHeadgate) -> None:
        super().__init__(engine)
        self._offline = engine

    def features(self) -> dict[str, Feature]:
        """Read all features, by id."""
        return self._offline._document().features()

    def find(self, ids: Sequence[str]) -> dict[str, Feature | Currency]:
        """Find what ids name: features, or else currencies. Unknown ones are left out."""
        accepted = [require_id(id, f"ids[{index}]") for index, id in enumerate(ids)]
        features = self._offline._document().features()
        return {id: features[id] for id in accepted if id in features}


class OfflineHeadgate(Headgate):
    """An engine for threads that answers from a document: JSON text, a file's path, a mapping, or the objects.

    It reads entitlements as a connected one does, and never has any usage; what would count or change something is
    `NotSupported`. With None for a document, every reading is `Unavailable`. A clock, if given, says when it is.
    """

    def __init__(self, document: Source, *, clock: ManualClock | None = None) -> None:
        super().__init__(_Nobody(), environment=_ENVIRONMENT, settings=Settings(listen=False), clock=clock)
        self._read, self._instant_ms = _open(document, clock)
        self.catalog = OfflineCatalogMethods(self)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        environment: str = "default",
        settings: Settings | Mapping[str, Any] | None = None,
        clock: ManualClock | None = None,
    ) -> Self:
        """Refuse: an offline engine is made of a document."""
        raise NotSupported(_NO_URL)

    def entitlement(
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
        return self._document().entitlement(question, self._instant_ms())

    def boolean_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> BooleanEntitlement:
        """Read access to a boolean feature; one of another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), BooleanEntitlement)
        return self._document().entitlement(question, self._instant_ms())

    def numeric_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> NumericEntitlement:
        """Read the number of a feature without a meter; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), NumericEntitlement)
        return self._document().entitlement(question, self._instant_ms())

    def metered_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
        requested_usage: float | Decimal = 1,
    ) -> MeteredEntitlement:
        """Read limit, usage and period of a metered feature; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, requested_usage, (), MeteredEntitlement)
        return self._document().entitlement(question, self._instant_ms())

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
        return self._document().entitlement(question, self._instant_ms())

    def credit_entitlement(
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
        return self._document().credit(question, self._instant_ms())

    def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer, or one of its resources, is entitled to now: features, then credits."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return self._document().all(*ids, self._instant_ms())

    def reload(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Forget what is kept of a customer and the catalog, and read its entitlements: what was written is there."""
        return self.entitlements(customer, resource=resource)

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
        """Say whether an amount of a feature or a currency would fit every limit in its way now. Nothing is written.

        With a resource, its own account-level counters and wallets decide; entity budgets are the customer's.
        """
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
        decision = self._document().check(question, self._instant_ms())
        self._state.metrics.decided(decision.reason)
        return decision

    def updates(self, *, customer: str | None = None) -> Iterator[Update]:
        """Refuse: a document does not change."""
        raise refuse()

    def _document(self) -> Document:
        if self._closed:
            raise HeadgateError("this engine is closed: make another one")
        return self._read

    def _drive(self, verb: Verb[T], deadline_ms: float) -> T:
        verb.close()
        raise refuse()


class AsyncOfflineCatalogMethods(AsyncCatalogMethods):
    """The features of a document. Nothing else of a catalog is known, and nothing can be written."""

    def __init__(self, engine: AsyncOfflineHeadgate) -> None:
        super().__init__(engine)
        self._offline = engine

    async def features(self) -> dict[str, Feature]:
        """Read all features, by id."""
        return self._offline._document().features()

    async def find(self, ids: Sequence[str]) -> dict[str, Feature | Currency]:
        """Find what ids name: features, or else currencies. Unknown ones are left out."""
        accepted = [require_id(id, f"ids[{index}]") for index, id in enumerate(ids)]
        features = self._offline._document().features()
        return {id: features[id] for id in accepted if id in features}


class AsyncOfflineHeadgate(AsyncHeadgate):
    """An engine for asyncio that answers from a document: JSON text, a file's path, a mapping, or the objects.

    It reads entitlements as a connected one does, and never has any usage; what would count or change something is
    `NotSupported`. With None for a document, every reading is `Unavailable`. A clock, if given, says when it is.
    """

    def __init__(self, document: Source, *, clock: ManualClock | None = None) -> None:
        super().__init__(_NobodyAsync(), environment=_ENVIRONMENT, settings=Settings(listen=False), clock=clock)
        self._read, self._instant_ms = _open(document, clock)
        self.catalog = AsyncOfflineCatalogMethods(self)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        environment: str = "default",
        settings: Settings | Mapping[str, Any] | None = None,
        clock: ManualClock | None = None,
    ) -> Self:
        """Refuse: an offline engine is made of a document."""
        raise NotSupported(_NO_URL)

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
        return self._document().entitlement(question, self._instant_ms())

    async def boolean_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> BooleanEntitlement:
        """Read access to a boolean feature; one of another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), BooleanEntitlement)
        return self._document().entitlement(question, self._instant_ms())

    async def numeric_entitlement(
        self,
        customer: str,
        feature: str,
        *,
        resource: str | None = None,
    ) -> NumericEntitlement:
        """Read the number of a feature without a meter; another type is denied as FeatureTypeMismatch."""
        question = reading.asked(customer, feature, resource, 0, (), NumericEntitlement)
        return self._document().entitlement(question, self._instant_ms())

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
        return self._document().entitlement(question, self._instant_ms())

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
        return self._document().entitlement(question, self._instant_ms())

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
        return self._document().credit(question, self._instant_ms())

    async def entitlements(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Read everything that a customer, or one of its resources, is entitled to now: features, then credits."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        return self._document().all(*ids, self._instant_ms())

    async def reload(self, customer: str, *, resource: str | None = None) -> Entitlements:
        """Forget what is kept of a customer and the catalog, and read its entitlements: what was written is there."""
        return await self.entitlements(customer, resource=resource)

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
        """Say whether an amount of a feature or a currency would fit every limit in its way now. Nothing is written.

        With a resource, its own account-level counters and wallets decide; entity budgets are the customer's.
        """
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
        decision = self._document().check(question, self._instant_ms())
        self._state.metrics.decided(decision.reason)
        return decision

    def updates(self, *, customer: str | None = None) -> AsyncIterator[Update]:
        """Refuse: a document does not change."""
        raise refuse()

    def _document(self) -> Document:
        if self._closed:
            raise HeadgateError("this engine is closed: make another one")
        return self._read

    async def _drive(self, verb: Verb[T], deadline_ms: float) -> T:
        verb.close()
        raise refuse()
