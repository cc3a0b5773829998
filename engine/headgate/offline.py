"""Answering from a document instead of a Redis: by the same rules, with nothing counted. Pure.

What the document says of a customer stands as a subscription that always applies and entitles to just that, so that
the rules of headgate.entitlements say what it means, and which denial comes first. A request is prepared as it is for a
server, and kept, as nothing about it changes with time; every counter is 0 for ever, and nobody is asked.
"""

from __future__ import annotations

from typing import Final, TypeVar

from headgate.cache import Recent, Shape
from headgate.entitlement_cache import Standing
from headgate.entitlements import Holdings, account_level, currency_level
from headgate.errors import NotSupported, Unavailable
from headgate.keys import Keyspace
from headgate.model.catalog import Feature, FeatureType, MeterType
from headgate.model.customer import Customer
from headgate.model.decision import Decision, DeniedReason
from headgate.model.entitlement import Entitlement, Entitlements
from headgate.model.offline import OfflineEntitlement, OfflineEntitlements, OfflineType
from headgate.model.packages import Packages
from headgate.model.subscription import Subscription
from headgate.model.terms import EntitlementTerms
from headgate.prepare import PreparedRequest, prepare, prepare_denial
from headgate.verbs.answers import Read, decision_of, state_of
from headgate.verbs.decide import Asked, denial_without_counters
from headgate.verbs.loading import Request
from headgate.verbs.reading import Question, entitlement_of
from headgate.wire import Counter, Stamp, Status

E = TypeVar("E", bound=Entitlement)

WITHOUT_DOCUMENT: Final = "offline, and without a document: there is nothing to answer from"
READS_ALONE: Final = (
    "offline, entitlements are read, and nothing is counted or changed: connect to a Redis with Headgate.connect(url)"
)

PREPARED_MAX: Final = 10_000
"""How many prepared requests are kept; asked about again, the others are prepared again."""

_TYPES: Final = {
    OfflineType.BOOLEAN: (FeatureType.BOOLEAN, MeterType.NONE),
    OfflineType.NUMERIC: (FeatureType.NUMBER, MeterType.NONE),
    OfflineType.METERED: (FeatureType.NUMBER, MeterType.INCREMENTAL),
    OfflineType.ENUM: (FeatureType.ENUM, MeterType.NONE),
}
_ALWAYS_MS: Final = 0
"""An instant that stands for all: nothing of a document begins or ends."""
_SUBSCRIPTION: Final = Subscription(
    id="offline",
    plan="offline",
    start_ms=_ALWAYS_MS,
    billing_anchor_ms=_ALWAYS_MS,
    created_at_ms=_ALWAYS_MS,
    updated_at_ms=_ALWAYS_MS,
)
_SOMEBODY: Final = Customer(id="offline", created_at_ms=_ALWAYS_MS, updated_at_ms=_ALWAYS_MS)
_NO_PACKAGES: Final = Packages({}, {})
_NOTHING_COUNTED: Final = Counter(0, 0.0, 0.0)
_KEYS: Final = Keyspace("offline", 1).customer("offline")
_STAMP: Final = Stamp(b"", b"")


def refuse() -> NotSupported:
    """Make the error of whatever needs a Redis."""
    return NotSupported(READS_ALONE)


class Document:
    """A document, and what it says of what is asked. None is a document that says nothing, not that nobody is there."""

    def __init__(self, entitlements: OfflineEntitlements | None) -> None:
        self._known = entitlements
        self._features: dict[str, Feature] = {}
        self._kept: Recent[Shape, PreparedRequest] = Recent(PREPARED_MAX)
        values: dict[str, dict[str, None]] = {}
        kinds: dict[str, OfflineType] = {}
        for _, feature, entitlement in () if entitlements is None else entitlements.all():
            kinds[feature] = entitlement.type
            values.setdefault(feature, {}).update(dict.fromkeys(entitlement.enum_values))
        for id, kind in sorted(kinds.items()):
            feature_type, meter = _TYPES[kind]
            self._features[id] = Feature(
                id=id, feature_type=feature_type, meter_type=meter, enum_values=tuple(values[id])
            )

    def features(self) -> dict[str, Feature]:
        """Every feature that some customer is entitled to, by id; an enum feature offers what any of them has."""
        self._require()
        return dict(self._features)

    def entitlement(self, question: Question[E], now_ms: int) -> E:
        """Say what a customer may do with one feature."""
        asked = question.asked
        prepared = self._prepared(asked.request)
        states = [state_of(each, _NOTHING_COUNTED, asked.amount) for each in prepared.constraints]
        account = states[0] if states else None
        return entitlement_of(question, Standing(prepared.feature, prepared.account, now_ms, account))

    def credit(self, asked: Asked, now_ms: int) -> Entitlement:
        """Say that there are no credits, or no such customer: a document has no wallets."""
        request, denial = asked.request, self._prepared(asked.request).account.denial
        assert request.currency is not None
        return Entitlement(
            customer=request.customer,
            resource=request.resource,
            id=request.currency,
            has_access=False,
            reason=denial,
            read_at_ms=now_ms,
            requested_usage=asked.amount,
        )

    def all(self, customer: str, resource: str | None, now_ms: int) -> Entitlements:
        """List everything that a customer is entitled to, by id; nothing is, of a resource."""
        known = self._require().customers.get(customer)
        holdings = self._holdings(Request(customer, None, None, None, resource))
        level = currency_level(None, holdings)  # the denials of the customer come first in it
        listed: list[Entitlement] = []
        reason = level.denial
        if known is not None and resource is None:
            for id in sorted(known.entitlements):
                asked = Asked(Request(customer, id, None), 0.0)
                listed.append(self.entitlement(Question(asked, Entitlement), now_ms))
            reason = None if listed else DeniedReason.NO_ACTIVE_SUBSCRIPTION
        return Entitlements(customer, resource, reason, tuple(listed), now_ms, level.lacks_resource)

    def check(self, asked: Asked, now_ms: int) -> Decision:
        """Decide over an amount of a feature or a currency. Dimensions match nothing: a document has no entities."""
        prepared = self._prepared(asked.request)
        denial = denial_without_counters(prepared, asked, "check")
        granted = denial is None and all(
            state_of(each, _NOTHING_COUNTED, asked.amount).granted for each in prepared.constraints
        )
        reply = [Status.GRANTED if granted else Status.REFUSED, now_ms]
        read = Read([_NOTHING_COUNTED] * len(prepared.constraints), 0.0, [], (), [])
        return decision_of(
            asked.request, asked.amount, prepared, reply, read, denial, counted=False, values=asked.values
        )

    def _prepared(self, request: Request) -> PreparedRequest:
        shape = request.shape(())
        prepared = self._kept.get(shape)
        if prepared is None:
            prepared = self._prepare(request)
            self._kept.put(shape, prepared)
        return prepared

    def _prepare(self, request: Request) -> PreparedRequest:
        holdings = self._holdings(request)
        if request.feature is None:
            return prepare_denial(_KEYS, _STAMP, currency_level(None, holdings), feature=None)
        feature = self._features.get(request.feature)
        account = account_level(feature, holdings, _NO_PACKAGES, now_ms=_ALWAYS_MS)
        if feature is None or not feature.is_metered or holdings.customer is None:
            return prepare_denial(_KEYS, _STAMP, account, feature=feature)
        return prepare(_KEYS, _STAMP, account, [], feature=feature, account_field=b"", now_ms=_ALWAYS_MS)

    def _holdings(self, request: Request) -> Holdings:
        known = self._require().customers.get(request.customer)
        if known is None:
            return Holdings(None)
        if not known.entitlements:
            return Holdings(_SOMEBODY, request.resource)
        held = None if request.feature is None else known.entitlements.get(request.feature)
        own = () if request.feature is None or held is None else (_terms_of(request.feature, held),)
        subscription = _SUBSCRIPTION.model_copy(update={"entitlements": own})
        return Holdings(_SOMEBODY, request.resource, subscriptions=(subscription,))

    def _require(self) -> OfflineEntitlements:
        if self._known is None:
            raise Unavailable(WITHOUT_DOCUMENT)
        return self._known


def _terms_of(feature: str, held: OfflineEntitlement) -> EntitlementTerms:
    """The same in the words of a plan: a value is the limit of a feature that nothing is counted of."""
    return EntitlementTerms(
        feature=feature,
        usage_limit=held.value if held.type is OfflineType.NUMERIC else held.usage_limit,
        has_unlimited_usage=held.is_unlimited,
        enum_values=held.enum_values,
    )
