"""A customer of a policy: resources, subscriptions, promotional entitlements and grants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from headgate.cache import Catalog
from headgate.model.credits import GrantRequest
from headgate.model.customer import PromotionalEntitlement
from headgate.model.packages import RecurringCredit
from headgate.model.subscription import Subscription, SubscriptionUpsert
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
from headgate.verbs.applying.foreseen import ForeseenCustomer, PresentCustomer, told_in_file_words


@dataclass(slots=True)
class CustomerWrites:
    """What is to be written of one customer, in this order."""

    customer: str
    fields: dict[str, Any] | None = None
    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    subscriptions: list[SubscriptionUpsert] = field(default_factory=list)
    entitlements: list[PromotionalEntitlement] = field(default_factory=list)
    grants: list[GrantRequest] = field(default_factory=list)


def judge_customer(told: Told, present: PresentCustomer, customer: PolicyCustomer, catalog: Catalog) -> CustomerWrites:
    """Find out what of a customer, and of what it holds, is new or different. `catalog` is the one that will be."""
    foreseen = ForeseenCustomer(present, catalog)
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
        _judge_subscription(told, writes, path_to(path, "subscriptions"), present, foreseen, subscription)
    for entitlement in customer.entitlements:
        _judge_entitlement(told, writes, path_to(path, "entitlements"), present, foreseen, entitlement)
    for grant in customer.grants:
        _judge_grant(told, writes, path_to(path, "grants"), present, foreseen, grant)
    return writes


# What of a subscription is exactly as the policy has it, beside its entitlements and credits; what else the policy
# leaves out stays as it is: so one that was cancelled does not come back.
_EXACTLY: Final = ("plan", "unit_quantity")
_PARTS: Final = ("resource", "addons", "entitlements", "credits")


def _judge_subscription(
    told: Told,
    writes: CustomerWrites,
    section: str,
    present: PresentCustomer,
    foreseen: ForeseenCustomer,
    wanted: SubscriptionUpsert,
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
    if known is None and any(
        each.id == wanted.id and not present.has_passed(each.ends_at_ms) for each in present.subscriptions.values()
    ):
        told.conflicts.append(f"{path}.resource: the subscription is of another one, and stays there: use another id")
        return
    with told_in_file_words(told, path, SUBSCRIPTION_WORDS, present, known, wanted):
        foreseen.provision(wanted)


def _addons(subscription: Subscription | SubscriptionUpsert) -> dict[str, int]:
    return {each.addon: each.quantity for each in subscription.addons or ()}


def _own_terms(subscription: Subscription | SubscriptionUpsert | None) -> dict[str, EntitlementTerms]:
    return {each.feature: each for each in (subscription.entitlements if subscription else None) or ()}


def _own_credits(subscription: Subscription | SubscriptionUpsert | None) -> dict[tuple[str, ...], RecurringCredit]:
    return {(each.currency,): each for each in (subscription.credits if subscription else None) or ()}


def _judge_entitlement(
    told: Told,
    writes: CustomerWrites,
    section: str,
    present: PresentCustomer,
    foreseen: ForeseenCustomer,
    wanted: PromotionalEntitlement,
) -> None:
    path = path_to(section, wanted.feature)
    known = present.entitlements.get(wanted.feature)
    if known is not None and wanted.reset_anchor_ms is None:
        wanted = wanted.model_copy(update={"reset_anchor_ms": known.reset_anchor_ms})
    before = known
    if known is not None and known.revoked_at_ms is not None and not present.has_passed(wanted.expires_at_ms):
        before = None  # A policy that names it brings it back.
    if not told.differs(path, words_before(before, ENTITLEMENT_WORDS), in_words(wanted, ENTITLEMENT_WORDS)):
        return
    writes.entitlements.append(wanted)
    with told_in_file_words(told, path, ENTITLEMENT_WORDS, present, wanted):
        foreseen.grant_entitlement(wanted)


# What a grant is, and what is only told to people.
_GRANT_FACTS: Final = {word: GRANT_WORDS[word] for word in ("amount", "kind", "priority", "effective", "expires")}
_GRANT_TEXTS: Final = {word: GRANT_WORDS[word] for word in ("name", "comment", "metadata")}


def _judge_grant(
    told: Told,
    writes: CustomerWrites,
    section: str,
    present: PresentCustomer,
    foreseen: ForeseenCustomer,
    wanted: GrantRequest,
) -> None:
    assert wanted.id is not None
    path = path_to(section, wanted.id)
    known = present.grants.get((wanted.currency, wanted.resource, wanted.id))
    if known is None:
        told.differs(path, None, in_words(wanted, GRANT_WORDS))
        writes.grants.append(wanted)
        with told_in_file_words(told, path, GRANT_WORDS, present, wanted):
            foreseen.grant(wanted)
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
