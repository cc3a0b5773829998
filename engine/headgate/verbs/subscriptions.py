"""Subscriptions: provisioning them, changing them, cancelling them, reading them.

A subscription belongs to a customer, or to one resource of it, and its id stands for it there. What it gave in the past
stays true: a start that has passed, the billing anchor and an end that has passed do not change, and what decided about
its credits is remembered whenever it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headgate import keys, wire
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.errors import InvalidInput, NotFound, Problem
from headgate.fitting import credit_problems, entitlement_problems
from headgate.model.credits import LIVE_GRANTS_MAX, Grant, Grants
from headgate.model.customer import Resource
from headgate.model.ids import require_id
from headgate.model.packages import EARLIER_MAX, repeated
from headgate.model.subscription import (
    EarlierContent,
    Subscription,
    SubscriptionContent,
    Subscriptions,
    SubscriptionState,
    SubscriptionUpsert,
    TrialEndBehavior,
)
from headgate.model.terms import INSTANT_MAX_MS
from headgate.verbs import claims
from headgate.verbs.credits import not_ended
from headgate.verbs.customers import configure, documents_of, keeps_changing, load_customer, scan_customer
from headgate.verbs.environment import ATTEMPTS_MAX
from headgate.wallets import recurring_definitions
from headgate.wire import Loaded

SUBSCRIPTIONS_MAX: Final = 64
"""How many subscriptions of a customer, or of a resource, may not have ended; the document holds as many in all."""

_CONTENT: Final = tuple(SubscriptionContent.model_fields)
_STAYS_OR_CHANGES: Final = ("plan", "unit_quantity", "addons", "entitlements", "credits", "start_ms", "metadata")
"""What of an upsert counts where it is not None."""
_MAY_BE_TAKEN_AWAY: Final = ("billing_period", "end_ms", "trial_end_ms")
"""What of an upsert counts where it was given, None included."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def provision(
    state: State, customer: str, upsert: SubscriptionUpsert, *, claimed: bool = False, make_resource: bool = False
) -> Verb[Subscription]:
    """Create a subscription, or change what is given of it. An upsert that says nothing new writes nothing.

    A resource that is made comes with it, and an id that is claimed is claimed before it, once all is found right.
    """
    id, resource = _id_of(upsert), upsert.resource
    require_sound(upsert)
    for _ in range(ATTEMPTS_MAX):
        catalog, loaded = yield from _load(state, customer, resource, id, resource_may_miss=make_resource)
        now_ms, kept = loaded.server_now_ms, _kept(loaded, resource)
        present = _find(loaded, resource, id)
        after = provisioned(id, upsert, present, kept, catalog, now_ms=now_ms)
        if after != present:
            yield from _require_room(state, customer, after, kept, catalog, loaded)
        if claimed:
            yield from claims.claim(state, id, customer, resource)
        if after == present:
            return present
        others = [each for each in kept if each.id != id]
        documents = _documents(resource, [*others, after], now_ms) | _missing_resource(loaded, resource)
        if (yield from configure(state, customer, loaded, documents)):
            return after
    raise keeps_changing(customer)


def provisioned(
    id: str,
    upsert: SubscriptionUpsert,
    present: Subscription | None,
    kept: Sequence[Subscription],
    catalog: Catalog,
    *,
    now_ms: int,
) -> Subscription:
    """What an upsert makes of a subscription, or what is wrong with it; whether its wallets have room is not asked.

    `kept` are the subscriptions of the customer, or of the resource; `present` is the one of this id, if there is one.
    """
    _require_known(catalog, upsert)
    after = _created(id, upsert, now_ms) if present is None else _changed(present, upsert, now_ms)
    if after != present:
        _require_instants(after)
        if not _has_ended(after, now_ms):
            _require_place(after, [each for each in kept if each.id != id], now_ms)
    return after


def cancel(state: State, customer: str, subscription: str, at: object, resource: str | None) -> Verb[Subscription]:
    """End a subscription now, at the end of its billing period, or at an instant to come. It never ends later by it."""
    _require_moment(at)
    for _ in range(ATTEMPTS_MAX):
        _, loaded = yield from _load(state, customer, resource, subscription)
        now_ms = loaded.server_now_ms
        present = _require_found(loaded, customer, subscription, resource)
        if _has_ended(present, now_ms):
            return present
        end_ms = _cancelled_at_ms(present, at, now_ms)
        if end_ms == present.end_ms and present.canceled_at_ms is not None:
            return present
        changes = {"end_ms": end_ms, "canceled_at_ms": now_ms, "updated_at_ms": now_ms}
        after = present.model_copy(update=changes)
        others = [each for each in _kept(loaded, resource) if each.id != subscription]
        if (yield from configure(state, customer, loaded, _documents(resource, [*others, after], now_ms))):
            return after
    raise keeps_changing(customer)


def get(state: State, customer: str, subscription: str, resource: str | None) -> Verb[Subscription]:
    """Read a subscription, whether it has ended or not; `NotFound` if there is none."""
    _, loaded = yield from _load(state, customer, resource, subscription)
    return _require_found(loaded, customer, subscription, resource)


def state_of(state: State, customer: str, subscription: str, resource: str | None) -> Verb[SubscriptionState]:
    """Read how a subscription stands at the server's present time; `NotFound` if there is none."""
    _, loaded = yield from _load(state, customer, resource, subscription)
    return SubscriptionState.at(_require_found(loaded, customer, subscription, resource), loaded.server_now_ms)


def states(state: State, customer: str) -> Verb[list[SubscriptionState]]:
    """Read how all subscriptions of a customer and of its resources stand, ended ones too, in order of creation."""
    scanned = yield from scan_customer(state, customer)
    found = documents_of(scanned, Subscription, keys.ENDED_SUBSCRIPTION)
    for document in documents_of(scanned, Subscriptions, keys.subscriptions_field()):
        found += document.subscriptions
    found.sort(key=lambda each: (each.created_at_ms, each.resource or "", each.id))
    return [SubscriptionState.at(each, scanned.server_now_ms) for each in found]


def all_of(
    state: State, customer: str, resource: str | None, *, include_ended: bool = False
) -> Verb[list[Subscription]]:
    """Read the subscriptions of a customer, or of one of its resources, by start and id."""
    if include_ended:
        loaded = yield from scan_customer(state, customer)
        if resource is not None and keys.resource_field(resource) not in loaded.documents:
            raise NotFound("customer resource", resource, within=f"of customer {customer!r}")
        ended = documents_of(loaded, Subscription, keys.ENDED_SUBSCRIPTION)
        found = [*_kept(loaded, resource), *(each for each in ended if each.resource == resource)]
    else:
        field = keys.subscriptions_field(resource)
        _, loaded = yield from load_customer(state, customer, [field], resource=resource)
        found = [each for each in _kept(loaded, resource) if not _has_ended(each, loaded.server_now_ms)]
    return sorted(found, key=lambda each: (each.start_ms, each.id))


def _id_of(upsert: SubscriptionUpsert) -> str:
    if upsert.id is not None:
        return upsert.id
    if upsert.plan is None:
        raise InvalidInput.of("subscription.plan", None, "give a plan, or the id of a subscription that is there")
    if upsert.resource is None:
        return upsert.plan
    return require_id(f"{upsert.plan}@{upsert.resource}", "subscription.id")


def require_sound(upsert: SubscriptionUpsert) -> None:
    """Refuse what contradicts itself, whatever is written."""
    problems = []
    for name, key in (("addons", "addon"), ("entitlements", "feature"), ("credits", "currency")):
        values = [getattr(each, key) for each in getattr(upsert, name) or ()]
        for twice in repeated(values):
            last = len(values) - 1 - values[::-1].index(twice)
            problems.append(Problem(f"subscription.{name}[{last}].{key}", twice, "is there more than once"))
    for index, credit in enumerate(upsert.credits or ()):
        if credit.per_unit:
            rule = "is for plans: what a subscription says itself is not multiplied, so give the whole amount"
            problems.append(Problem(f"subscription.credits[{index}].per_unit", True, rule))
    if problems:
        raise InvalidInput(problems)


def _require_known(catalog: Catalog, upsert: SubscriptionUpsert) -> None:
    if upsert.plan is not None and upsert.plan not in catalog.packages.plans:
        raise NotFound("plan", upsert.plan)
    problems = [
        Problem(f"subscription.addons[{index}].addon", each.addon, "there is no such add-on")
        for index, each in enumerate(upsert.addons or ())
        if each.addon not in catalog.packages.addons
    ]
    problems += entitlement_problems(catalog.features, upsert.entitlements or (), field="subscription.entitlements")
    problems += credit_problems(catalog.currencies, upsert.credits or (), field="subscription.credits")
    if problems:
        raise InvalidInput(problems)


def _given(upsert: SubscriptionUpsert) -> dict[str, Any]:
    """What an upsert says: what is left out, or None where None says nothing, is not in it."""
    names = [name for name in (*_STAYS_OR_CHANGES, "trial_end_behavior") if getattr(upsert, name) is not None]
    names += [name for name in _MAY_BE_TAKEN_AWAY if upsert.gives(name)]
    return {name: getattr(upsert, name) for name in names}


def _created(id: str, upsert: SubscriptionUpsert, now_ms: int) -> Subscription:
    if upsert.plan is None:
        raise InvalidInput.of("subscription.plan", None, f"is required to create {id!r}")
    start_ms = now_ms if upsert.start_ms is None else upsert.start_ms
    anchor_ms = start_ms if upsert.billing_anchor_ms is None else upsert.billing_anchor_ms
    present = Subscription(
        id=id,
        plan=upsert.plan,
        resource=upsert.resource,
        start_ms=start_ms,
        billing_anchor_ms=anchor_ms,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    return present.model_copy(update=_given(upsert))


def _changed(present: Subscription, upsert: SubscriptionUpsert, now_ms: int) -> Subscription:
    given = _given(upsert)
    has_started = present.start_ms <= now_ms
    if has_started and given.get("start_ms", present.start_ms) != present.start_ms:
        rule = f"{present.id!r} started at {present.start_ms}: a start that has passed does not change"
        raise InvalidInput.of("subscription.start_ms", upsert.start_ms, rule)
    if upsert.billing_anchor_ms not in (None, present.billing_anchor_ms):
        rule = f"{present.id!r} is billed from {present.billing_anchor_ms}: a billing anchor does not change"
        raise InvalidInput.of("subscription.billing_anchor_ms", upsert.billing_anchor_ms, rule)
    if given.get("end_ms", present.end_ms) != present.end_ms:
        given["canceled_at_ms"] = None
    after = present.model_copy(update=given)
    if _has_ended(present, now_ms):
        _require_same_life(present, after, upsert)
        return present
    if after == present:
        return present
    if has_started and _has_ended(after, now_ms):
        name = next((name for name in ("end_ms", "trial_end_ms") if name in given), "trial_end_behavior")
        rule = f"must be after the server's present time, {now_ms}: what it gave stays true; cancel it to end it now"
        raise InvalidInput.of(f"subscription.{name}", getattr(upsert, name), rule)
    earlier = _earlier_after(present, after, now_ms) if has_started else present.earlier
    return after.model_copy(update={"earlier": earlier, "updated_at_ms": now_ms})


def _require_same_life(present: Subscription, after: Subscription, upsert: SubscriptionUpsert) -> None:
    """Refuse to wake an ended subscription. One that is written again with its very end is the same one."""
    says_its_end = upsert.end_ms is not None or upsert.trial_end_ms is not None
    if after != present or not says_its_end:
        rule = f"ended at {present.ends_at_ms}, and does not come back: give the new subscription another id"
        raise InvalidInput.of("subscription.id", present.id, rule)


def _earlier_after(present: Subscription, after: Subscription, now_ms: int) -> tuple[EarlierContent, ...]:
    if all(getattr(present, name) == getattr(after, name) for name in _CONTENT):
        return present.earlier
    # A clock that stepped back may have left changes that are to come: from now on it is what it is made now.
    past = [each for each in present.earlier if each.until_ms < now_ms]
    until_now = present.content_at(now_ms - 1)
    content = {name: getattr(until_now, name) for name in _CONTENT}
    return (*past, EarlierContent(until_ms=now_ms, **content))[-EARLIER_MAX:]


def _require_instants(after: Subscription) -> None:
    ends = {"trial_end_ms": after.trial_end_ms}
    if after.canceled_at_ms is None:  # one that was cancelled may end before it starts
        ends["end_ms"] = after.end_ms
    problems = [
        Problem(f"subscription.{name}", value, f"must be after the start, {after.start_ms}")
        for name, value in ends.items()
        if value is not None and value <= after.start_ms
    ]
    trial_end_ms, end_ms = after.trial_end_ms, ends.get("end_ms")
    if trial_end_ms is not None and end_ms is not None and trial_end_ms > end_ms:
        problems.append(Problem("subscription.trial_end_ms", trial_end_ms, f"must not be after the end, {end_ms}"))
    if trial_end_ms is None and after.trial_end_behavior is TrialEndBehavior.CANCEL_SUBSCRIPTION:
        rule = "goes with a trial_end_ms: without a trial there is none that could end"
        problems.append(Problem("subscription.trial_end_behavior", after.trial_end_behavior.value, rule))
    if problems:
        raise InvalidInput(problems)


def _require_place(after: Subscription, others: Sequence[Subscription], now_ms: int) -> None:
    if sum(not _has_ended(each, now_ms) for each in others) >= SUBSCRIPTIONS_MAX:
        whose = "the customer" if after.resource is None else f"the resource {after.resource!r}"
        rule = f"{whose} has {SUBSCRIPTIONS_MAX} subscriptions that have not ended: no more fit; cancel one first"
        raise InvalidInput.of("subscription.id", after.id, rule)


def _require_room(
    state: State, customer: str, after: Subscription, kept: Sequence[Subscription], catalog: Catalog, loaded: Loaded
) -> Verb[None]:
    """Refuse what lets more recur in a wallet than it may hold."""
    now_ms = loaded.server_now_ms
    fields = {
        currency: keys.wallet_field(currency, after.resource)
        for currency in fuller_wallets(after, kept, catalog, now_ms=now_ms)
    }
    if not fields:
        return
    _, wallets = yield from load_customer(state, customer, list(fields.values()))
    if wallets.stamp != loaded.stamp:
        return  # so the write will be refused, and all of this begins again
    for currency, field in fields.items():
        document = wallets.document(Grants, field)
        given = document.grants if document else ()
        require_wallet_room(currency, given, after, kept, catalog, now_ms=now_ms)


def fuller_wallets(after: Subscription, kept: Sequence[Subscription], catalog: Catalog, *, now_ms: int) -> list[str]:
    """The currencies of the wallets in which a subscription lets more recur than it did."""
    if _has_ended(after, now_ms):
        return []
    packages = catalog.packages
    before = [each for each in kept if each.id == after.id and not _has_ended(each, now_ms)]
    return [
        currency
        for currency in catalog.currencies
        if len(recurring_definitions(currency, [after], packages))
        > len(recurring_definitions(currency, before, packages))
    ]


def require_wallet_room(
    currency: str,
    given: Sequence[Grant],
    after: Subscription,
    kept: Sequence[Subscription],
    catalog: Catalog,
    *,
    now_ms: int,
) -> None:
    """Refuse a subscription with which more would recur in a wallet than it may hold."""
    others = [each for each in kept if each.id != after.id]
    count = not_ended(currency, given, [*others, after], catalog.packages, now_ms=now_ms)
    if count > LIVE_GRANTS_MAX:
        rule = (
            f"with it the wallet of {currency!r} would have {count} grants that are live, scheduled or recurring: "
            f"at most {LIVE_GRANTS_MAX}"
        )
        raise InvalidInput.of("subscription.id", after.id, rule)


def _require_moment(at: object) -> None:
    if at in ("now", "period_end") if isinstance(at, str) else isinstance(at, datetime) and at.tzinfo is not None:
        return
    raise InvalidInput.of("at", at, 'must be "now", "period_end" or a datetime with a time zone')


def _cancelled_at_ms(present: Subscription, at: object, now_ms: int) -> int:
    """When a subscription that has not ended ends after this: never later than it would."""
    ends_at_ms = present.ends_at_ms
    if isinstance(at, datetime):
        at_ms = min((at - _EPOCH) // timedelta(milliseconds=1), INSTANT_MAX_MS)
        if at_ms <= now_ms:
            raise InvalidInput.of("at", at, f'must be after the server\'s present time, {now_ms}; or give "now"')
        if ends_at_ms is not None and at_ms > ends_at_ms:
            rule = f"{present.id!r} ends at {ends_at_ms} anyway: provision it with another end to let it run longer"
            raise InvalidInput.of("at", at, rule)
        return at_ms
    if at == "now":
        return now_ms
    schedule = present.billing_schedule()
    if schedule is None:
        raise InvalidInput.of("at", at, f"{present.id!r} has no billing period: it can end now, or at an instant")
    try:
        period_end_ms = schedule.period_at(max(now_ms, present.start_ms)).end_ms
    except ValueError as error:
        raise InvalidInput.of("at", at, str(error)) from None
    return period_end_ms if ends_at_ms is None else min(period_end_ms, ends_at_ms)


def _load(
    state: State, customer: str, resource: str | None, id: str, *, resource_may_miss: bool = False
) -> Verb[tuple[Catalog, Loaded]]:
    fields = [keys.subscriptions_field(resource), keys.ended_subscription_field(id, resource)]
    if resource is not None:
        fields.append(keys.resource_field(resource))
    return (yield from load_customer(state, customer, fields, resource=None if resource_may_miss else resource))


def _missing_resource(loaded: Loaded, resource: str | None) -> dict[bytes, bytes]:
    """The document of a resource that is not there yet."""
    if resource is None or keys.resource_field(resource) in loaded.documents:
        return {}
    now_ms = loaded.server_now_ms
    made = Resource(id=resource, created_at_ms=now_ms, updated_at_ms=now_ms)
    return {keys.resource_field(resource): wire.pack_document(made)}


def _kept(loaded: Loaded, resource: str | None) -> tuple[Subscription, ...]:
    document = loaded.document(Subscriptions, keys.subscriptions_field(resource))
    return () if document is None else document.subscriptions


def _find(loaded: Loaded, resource: str | None, id: str) -> Subscription | None:
    kept = next((each for each in _kept(loaded, resource) if each.id == id), None)
    return kept or loaded.document(Subscription, keys.ended_subscription_field(id, resource))


def _require_found(loaded: Loaded, customer: str, id: str, resource: str | None) -> Subscription:
    found = _find(loaded, resource, id)
    if found is None:
        whose = f"of customer {customer!r}"
        raise NotFound("subscription", id, within=whose if resource is None else f"{whose}, resource {resource!r}")
    return found


def _has_ended(subscription: Subscription, now_ms: int) -> bool:
    return subscription.ends_at_ms is not None and subscription.ends_at_ms <= now_ms


def _documents(resource: str | None, subscriptions: Sequence[Subscription], now_ms: int) -> dict[bytes, bytes]:
    """The documents of subscriptions: beyond `SUBSCRIPTIONS_MAX`, those that ended first get one each."""
    ended = sorted(
        (each for each in subscriptions if _has_ended(each, now_ms)), key=lambda each: (each.ends_at_ms or 0, each.id)
    )
    moved = ended[: max(0, len(subscriptions) - SUBSCRIPTIONS_MAX)]
    kept = Subscriptions(subscriptions=tuple(each for each in subscriptions if each not in moved))
    documents = {keys.subscriptions_field(resource): wire.pack_document(kept)}
    return {
        **documents,
        **{keys.ended_subscription_field(each.id, resource): wire.pack_document(each) for each in moved},
    }
