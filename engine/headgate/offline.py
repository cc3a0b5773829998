"""Answering from a document instead of a Redis: by the same rules, with nothing counted. Pure.

Usage is 0 for ever, and there are no periods: a metered feature is granted as long as what is requested is within its
limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeVar

from headgate.entitlement_cache import Standing
from headgate.entitlements import AccountLevel
from headgate.errors import NotSupported, Unavailable
from headgate.model.catalog import Feature, FeatureType, MeterType
from headgate.model.decision import ConstraintState, Decision, DeniedReason
from headgate.model.entitlement import Entitlement, Entitlements
from headgate.model.offline import OfflineEntitlement, OfflineEntitlements, OfflineType
from headgate.periods import ALWAYS
from headgate.verbs.answers import fits
from headgate.verbs.decide import Asked
from headgate.verbs.loading import Request
from headgate.verbs.reading import Question, entitlement_of

E = TypeVar("E", bound=Entitlement)

WITHOUT_DOCUMENT: Final = "offline, and without a document: there is nothing to answer from"
READS_ALONE: Final = (
    "offline, entitlements are read, and nothing is counted or changed: connect to a Redis with Headgate.connect(url)"
)
_TYPES: Final = {
    OfflineType.BOOLEAN: (FeatureType.BOOLEAN, MeterType.NONE),
    OfflineType.NUMERIC: (FeatureType.NUMBER, MeterType.NONE),
    OfflineType.METERED: (FeatureType.NUMBER, MeterType.INCREMENTAL),
    OfflineType.ENUM: (FeatureType.ENUM, MeterType.NONE),
}


def refuse() -> NotSupported:
    """Make the error of whatever needs a Redis."""
    return NotSupported(READS_ALONE)


class Document:
    """A document, and what it says of what is asked. None is a document that says nothing, not that nobody is there."""

    def __init__(self, entitlements: OfflineEntitlements | None) -> None:
        self._known = entitlements
        self.features: dict[str, Feature] = {}
        values: dict[str, dict[str, None]] = {}
        kinds: dict[str, OfflineType] = {}
        for _, feature, entitlement in () if entitlements is None else entitlements.all():
            kinds[feature] = entitlement.type
            values.setdefault(feature, {}).update(dict.fromkeys(entitlement.enum_values))
        for id, kind in sorted(kinds.items()):
            feature_type, meter = _TYPES[kind]
            self.features[id] = Feature(
                id=id, feature_type=feature_type, meter_type=meter, enum_values=tuple(values[id])
            )

    def entitlement(self, question: Question[E], now_ms: int) -> E:
        """Say what a customer may do with one feature."""
        request = question.asked.request
        assert request.feature is not None
        self._require()
        return entitlement_of(question, self._standing(request, request.feature, now_ms))

    def credit(self, asked: Asked, now_ms: int) -> Entitlement:
        """Say that there are no credits, or no such customer: a document has no wallets."""
        request = asked.request
        self._require()
        return Entitlement(
            customer=request.customer,
            resource=request.resource,
            id=str(request.currency),
            has_access=False,
            reason=self._denial(request) or DeniedReason.ENTITLEMENT_NOT_FOUND,
            read_at_ms=now_ms,
            requested_usage=asked.amount,
        )

    def all(self, customer: str, resource: str | None, now_ms: int) -> Entitlements:
        """List everything that a customer is entitled to, by id."""
        known = self._require()
        request = Request(customer, None, None, None, resource)
        denial = self._denial(request)
        listed: list[Entitlement] = []
        if denial is None:
            for id in sorted(known.customers[customer].entitlements):
                question = Question(Asked(Request(customer, id, None), 0.0), Entitlement)
                listed.append(entitlement_of(question, self._standing(question.asked.request, id, now_ms)))
        if not listed and denial is None:
            denial = DeniedReason.NO_ACTIVE_SUBSCRIPTION
        lacks_resource = denial is DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND
        return Entitlements(customer, resource, denial, tuple(listed), now_ms, lacks_resource)

    def check(self, asked: Asked, now_ms: int) -> Decision:
        """Decide over an amount of a feature or a currency. Dimensions match nothing: a document has no entities."""
        request = asked.request
        if request.feature is None:
            found: Entitlement = self.credit(asked, now_ms)
            return _decision(asked, found, AccountLevel(found.reason), None, now_ms)
        self._require()
        standing = self._standing(request, request.feature, now_ms)
        found = entitlement_of(Question(asked, Entitlement), standing)
        account = standing.account
        if account is not None:
            account = replace(account, granted=fits(account.used, account.held, account.limit, asked.amount))
        return _decision(asked, found, standing.level, account, now_ms)

    def _standing(self, request: Request, id: str, now_ms: int) -> Standing:
        feature = self.features.get(id)
        denial = self._denial(request)
        if denial is None and feature is None:
            denial = DeniedReason.FEATURE_NOT_FOUND
        if denial is not None:
            return Standing(feature, AccountLevel(denial), now_ms)
        held = self._require().customers[request.customer].entitlements.get(id)
        if held is None:
            # As a connected engine says it of a customer whose entitlements are all promotional.
            return Standing(feature, AccountLevel(DeniedReason.NO_ACTIVE_SUBSCRIPTION), now_ms)
        return Standing(feature, _level(held), now_ms, _account(held))

    def _denial(self, request: Request) -> DeniedReason | None:
        if request.customer not in self._require().customers:
            return DeniedReason.CUSTOMER_NOT_FOUND
        return None if request.resource is None else DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND

    def _require(self) -> OfflineEntitlements:
        if self._known is None:
            raise Unavailable(WITHOUT_DOCUMENT)
        return self._known


def _level(held: OfflineEntitlement) -> AccountLevel:
    return AccountLevel(
        None,
        limit=held.usage_limit,
        has_unlimited_usage=held.is_unlimited,
        enum_values=held.enum_values,
        numeric_value=held.value,
    )


def _account(held: OfflineEntitlement) -> ConstraintState | None:
    if held.type is not OfflineType.METERED:
        return None
    return ConstraintState(None, None, (), held.usage_limit, False, 0.0, 0.0, True, ALWAYS, None)


def _decision(
    asked: Asked, found: Entitlement, level: AccountLevel, account: ConstraintState | None, now_ms: int
) -> Decision:
    request = asked.request
    limited = account is not None and account.limit is not None
    shown: dict[str, Any] = {}
    if found.feature is not None:
        shown = {
            "enum_values": level.enum_values,
            "numeric_value": level.numeric_value,
            "has_unlimited_usage": level.has_unlimited_usage,
        }
    return Decision(
        customer=request.customer,
        feature=request.feature,
        requested=asked.amount,
        granted=found.has_access,
        reason=found.reason,
        account=account,
        chains=() if request.dimensions else None,
        binding=account if limited else None,
        decided_at_ms=now_ms,
        details=found.feature,
        currency=request.currency,
        resource=request.resource,
        requested_values=asked.values,
        **shown,
    )
