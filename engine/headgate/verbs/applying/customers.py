"""A customer of a policy: resources, subscriptions, promotional entitlements and grants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headgate import keys
from headgate.model.credits import LIVE_GRANTS_MAX, Grant, GrantRequest, Grants
from headgate.model.customer import Customer, PromotionalEntitlement, Resource
from headgate.model.decision import instant
from headgate.model.packages import Packages, RecurringCredit
from headgate.model.subscription import Subscription, Subscriptions, SubscriptionUpsert
from headgate.model.terms import EntitlementTerms
from headgate.policy import (
    CREDIT_WORDS,
    ENTITLEMENT_WORDS,
    GRANT_WORDS,
    RESOURCE_WORDS,
    SUBSCRIPTION_WORDS,
    TERMS_WORDS,
    PolicyCustomer,
    path_to,
)
from headgate.verbs.applying.catalog import judge_credits, judge_entitlements
from headgate.verbs.applying.changes import Told, in_words, words_before
from headgate.verbs.credits import not_ended
from headgate.verbs.customers import documents_of
from headgate.verbs.subscriptions import SUBSCRIPTIONS_MAX
from headgate.wire import Loaded

_SubscriptionKey = tuple[str | None, str]
"""The resource, and the id."""
_GrantKey = tuple[str, str | None, str]
"""The currency, the resource, and the id."""


@dataclass(frozen=True, slots=True)
class PresentCustomer:
    """What is stored of a customer and what it holds. `now_ms` is the server's time, if it is known."""

    customer: Customer | None = None
    resources: Mapping[str, Resource] = field(default_factory=dict)
    subscriptions: Mapping[_SubscriptionKey, Subscription] = field(default_factory=dict)
    entitlements: Mapping[str, PromotionalEntitlement] = field(default_factory=dict)
    grants: Mapping[_GrantKey, Grant] = field(default_factory=dict)
    now_ms: int | None = None

    @classmethod
    def of(cls, scanned: Loaded) -> PresentCustomer:
        """Take it from all documents of a customer."""
        own = [
            each
            for document in documents_of(scanned, Subscriptions, keys.subscriptions_field())
            for each in document.subscriptions
        ]
        own += documents_of(scanned, Subscription, keys.ended_subscription_field(""))
        given = [each for document in documents_of(scanned, Grants, keys.wallet_field("")) for each in document.grants]
        given += documents_of(scanned, Grant, keys.ended_grant_field(""))
        entitlements = documents_of(scanned, PromotionalEntitlement, keys.entitlement_field(""))
        return cls(
            customer=scanned.document(Customer, keys.CUSTOMER),
            resources={each.id: each for each in documents_of(scanned, Resource, keys.resource_field(""))},
            subscriptions={(each.resource, each.id): each for each in own},
            entitlements={each.feature: each for each in entitlements},
            grants={(each.currency, each.resource, each.id): each for each in given},
            now_ms=scanned.server_now_ms,
        )

    def has_passed(self, at_ms: int | None) -> bool:
        """Whether an instant is not to come any more."""
        return at_ms is not None and self.now_ms is not None and at_ms <= self.now_ms


@dataclass(slots=True)
class CustomerWrites:
    """What is to be written of one customer, in this order."""

    customer: str
    fields: dict[str, Any] | None = None
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    subscriptions: list[SubscriptionUpsert] = field(default_factory=list)
    entitlements: list[PromotionalEntitlement] = field(default_factory=list)
    grants: list[GrantRequest] = field(default_factory=list)


def judge_customer(
    told: Told, present: PresentCustomer, customer: PolicyCustomer, packages: Packages
) -> CustomerWrites:
    """Find out what of a customer, and of what it holds, is new or different."""
    path = path_to("customers", customer.id)
    writes = CustomerWrites(customer.id)
    known = present.customer
    if known is not None and known.archived_at_ms is not None:
        told.conflicts.append(f"{path}: the customer is archived: bring it back, or take it out of the policy")
    given = {name: value for name in ("name", "email", "metadata") if (value := getattr(customer, name)) is not None}
    if told.differs(path, None if known is None else {name: getattr(known, name) for name in given}, given):
        writes.fields = given
    for resource in customer.resources:
        fields = {
            word: value for word, name in RESOURCE_WORDS.items() if (value := getattr(resource, name)) is not None
        }
        stored = present.resources.get(resource.id)
        before = None if stored is None else {word: getattr(stored, RESOURCE_WORDS[word]) for word in fields}
        if told.differs(path_to(path_to(path, "resources"), resource.id), before, fields):
            writes.resources[resource.id] = {RESOURCE_WORDS[word]: value for word, value in fields.items()}
    for subscription in customer.subscriptions:
        _judge_subscription(told, writes, path_to(path, "subscriptions"), present, subscription)
    for entitlement in customer.entitlements:
        _judge_entitlement(told, writes, path_to(path, "entitlements"), present, entitlement)
    for grant in customer.grants:
        _judge_grant(told, writes, path_to(path, "grants"), present, grant)
    _require_room(told, path, present, writes, packages)
    return writes


# What of a subscription is exactly as the policy has it, beside its entitlements and credits; what else the policy
# leaves out stays as it is: so one that was cancelled does not come back.
_EXACTLY: Final = ("plan", "unit_quantity")
_PARTS: Final = ("resource", "addons", "entitlements", "credits")


def _judge_subscription(
    told: Told, writes: CustomerWrites, section: str, present: PresentCustomer, wanted: SubscriptionUpsert
) -> None:
    assert wanted.id is not None
    path = path_to(section, wanted.id)
    known = present.subscriptions.get((wanted.resource, wanted.id))
    words = {
        word: name
        for word, name in SUBSCRIPTION_WORDS.items()
        if word not in _PARTS and (word in _EXACTLY or wanted.gives(name))
    }
    before = None if known is None else {**in_words(known, words), "addons": _addons(known)}
    after = {**in_words(wanted, words), "addons": _addons(wanted)}
    if known is None and wanted.resource is not None:
        after["resource"] = wanted.resource
    differs = told.differs(path, before, after)
    differs |= judge_entitlements(told, path, _own_terms(known), _own_terms(wanted), TERMS_WORDS)
    differs |= judge_credits(told, path, _own_credits(known), _own_credits(wanted), CREDIT_WORDS)
    if not differs:
        return
    writes.subscriptions.append(wanted)
    told.conflicts += (
        _in_a_new_ones_way(path, present, wanted) if known is None else _in_the_way(path, present, known, wanted)
    )


def _in_a_new_ones_way(path: str, present: PresentCustomer, wanted: SubscriptionUpsert) -> list[str]:
    """What speaks against a subscription that is not there yet."""
    elsewhere = [each for each in present.subscriptions.values() if each.id == wanted.id]
    if any(not present.has_passed(each.ends_at_ms) for each in elsewhere):
        return [f"{path}.resource: the subscription is of another one, and stays there: use another id"]
    return [] if present.now_ms is None else _before_its_start(path, _new(wanted, present.now_ms))


def _before_its_start(path: str, after: Subscription) -> list[str]:
    return [
        f"{path}.{name}: must be after the start, {_shown(after.start_ms)}"
        for name, end_ms in (("end", after.end_ms), ("trial_end", after.trial_end_ms))
        if end_ms is not None and end_ms <= after.start_ms
    ]


def _in_the_way(path: str, present: PresentCustomer, known: Subscription, wanted: SubscriptionUpsert) -> list[str]:
    """What does not change any more of a subscription that is there."""
    if present.has_passed(known.ends_at_ms):
        assert known.ends_at_ms is not None
        return [f"{path}: it ended at {_shown(known.ends_at_ms)}, and does not come back: use another id"]
    found = []
    has_started = present.has_passed(known.start_ms)
    if has_started and wanted.start_ms not in (None, known.start_ms):
        found.append(f"{path}.start: it started at {_shown(known.start_ms)}, and that does not change")
    if wanted.billing_anchor_ms not in (None, known.billing_anchor_ms):
        found.append(f"{path}.billing_anchor: it is {_shown(known.billing_anchor_ms)}, and does not change")
    after = _after(known, wanted)
    if has_started and present.has_passed(after.ends_at_ms):
        found.append(f"{path}: it would have ended before now, but what it gave stays true: write an end to come")
    return found + _before_its_start(path, after)


def _after(known: Subscription, wanted: SubscriptionUpsert) -> Subscription:
    given = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    return known.model_copy(update=given)


def _new(wanted: SubscriptionUpsert, now_ms: int) -> Subscription:
    """A subscription as it will be, as far as it matters to what it holds."""
    assert wanted.id is not None, "a policy says it"
    assert wanted.plan is not None, "a policy says it"
    start_ms = now_ms if wanted.start_ms is None else wanted.start_ms
    made = Subscription(
        id=wanted.id,
        plan=wanted.plan,
        start_ms=start_ms,
        billing_anchor_ms=start_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    return _after(made, wanted).model_copy(update={"start_ms": start_ms, "billing_anchor_ms": start_ms})


def _shown(at_ms: int) -> str:
    return instant(at_ms).isoformat()


def _addons(subscription: Subscription | SubscriptionUpsert) -> dict[str, int]:
    return {each.addon: each.quantity for each in subscription.addons or ()}


def _own_terms(subscription: Subscription | SubscriptionUpsert | None) -> dict[str, EntitlementTerms]:
    return {each.feature: each for each in (subscription.entitlements if subscription else None) or ()}


def _own_credits(subscription: Subscription | SubscriptionUpsert | None) -> dict[tuple[str, ...], RecurringCredit]:
    return {(each.currency,): each for each in (subscription.credits if subscription else None) or ()}


def _judge_entitlement(
    told: Told, writes: CustomerWrites, section: str, present: PresentCustomer, wanted: PromotionalEntitlement
) -> None:
    path = path_to(section, wanted.feature)
    known = present.entitlements.get(wanted.feature)
    if known is not None and wanted.reset_anchor_ms is None:
        wanted = wanted.model_copy(update={"reset_anchor_ms": known.reset_anchor_ms})
    has_expired = present.has_passed(wanted.expires_at_ms)
    before = known
    if known is not None and known.revoked_at_ms is not None and not has_expired:
        before = None  # A policy that names it brings it back.
    if not told.differs(path, words_before(before, ENTITLEMENT_WORDS), in_words(wanted, ENTITLEMENT_WORDS)):
        return
    writes.entitlements.append(wanted)
    if has_expired:
        told.conflicts.append(f"{path}.expires: has passed already: write another, or take it out of the policy")


# What a grant is, and what is only told to people.
_GRANT_FACTS: Final = {word: GRANT_WORDS[word] for word in ("amount", "kind", "priority", "effective", "expires")}
_GRANT_TEXTS: Final = {word: GRANT_WORDS[word] for word in ("name", "comment", "metadata")}


def _judge_grant(
    told: Told, writes: CustomerWrites, section: str, present: PresentCustomer, wanted: GrantRequest
) -> None:
    assert wanted.id is not None
    path = path_to(section, wanted.id)
    known = present.grants.get((wanted.currency, wanted.resource, wanted.id))
    if known is None:
        told.differs(path, None, in_words(wanted, GRANT_WORDS))
        writes.grants.append(wanted)
        if present.has_passed(wanted.expires_at_ms):
            told.conflicts.append(f"{path}.expires: has passed already: write another, or take it out of the policy")
        if any(id == wanted.id for _, _, id in present.grants):
            told.conflicts.append(f"{path}: a grant of this id is in another wallet: use another id")
        return
    words = _GRANT_FACTS | {word: name for word, name in _GRANT_TEXTS.items() if name in wanted.model_fields_set}
    if wanted.effective_at_ms is None:
        words = {word: name for word, name in words.items() if word != "effective"}
    before, after = in_words(known, words), in_words(wanted, words)
    different = [word for word in words if before[word] != after[word]]
    told.conflicts += [
        f"{path}.{word}: it was given with {before[word]}, and stays as it was given: use another id"
        for word in different
    ]
    if not different:
        told.unchanged.append(path)


def _require_room(told: Told, path: str, present: PresentCustomer, writes: CustomerWrites, packages: Packages) -> None:
    """Tell where more subscriptions, or more grants of a wallet, would not have ended than may be."""
    now_ms = present.now_ms or 0
    subscriptions = dict(present.subscriptions)
    for wanted in writes.subscriptions:
        known = present.subscriptions.get((wanted.resource, wanted.id or ""))
        after = _new(wanted, now_ms) if known is None else _after(known, wanted)
        subscriptions[wanted.resource, after.id] = after
    grants = dict(present.grants)
    for request in writes.grants:
        grants[request.currency, request.resource, request.id or ""] = _given(request, now_ms)
    touched = {each.resource for each in writes.subscriptions} | {each.resource for each in writes.grants}
    for resource in touched:
        holds = [each for (where, _), each in subscriptions.items() if where == resource]
        count = sum(not present.has_passed(each.ends_at_ms) for each in holds)
        if count > SUBSCRIPTIONS_MAX:
            rule = f"{count} would not have ended: at most {SUBSCRIPTIONS_MAX} may"
            told.conflicts.append(f"{path_to(path, 'subscriptions')}: {rule}")
        for currency in sorted(_currencies(holds, packages) | {what for what, where, _ in grants if where == resource}):
            given = [each for (what, where, _), each in grants.items() if (what, where) == (currency, resource)]
            count = not_ended(currency, given, holds, packages, now_ms=now_ms)
            if count > LIVE_GRANTS_MAX:
                rule = f"the wallet of {currency} would have {count} that are live, scheduled or recurring"
                told.conflicts.append(f"{path_to(path, 'grants')}: {rule}: at most {LIVE_GRANTS_MAX} may")


def _currencies(subscriptions: Sequence[Subscription], packages: Packages) -> set[str]:
    """Of what credits may recur: a few more than do."""
    said = [each for subscription in subscriptions for each in subscription.credits]
    said += [each for package in (*packages.plans.values(), *packages.addons.values()) for each in package.credits]
    return {each.currency for each in said}


def _given(request: GrantRequest, now_ms: int) -> Grant:
    fields = {"number": 0, "created_at_ms": now_ms, "effective_at_ms": request.effective_at_ms or now_ms}
    return Grant(**{**request.model_dump(), **fields})
