"""Reading entitlements: what a customer may do with one feature, or has of one currency, and the numbers behind it.

Nothing is written. Every answer is of one stamp and one window, like a verdict's: it was true at the instant that it
names. Whether it may come from memory, and how old it may be then, says headgate.entitlement_cache. All entitlements
at once are read by headgate.verbs.surveying.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from headgate.amounts import multiply
from headgate.cache import State
from headgate.calls import Verb
from headgate.entitlement_cache import Name, Standing
from headgate.entitlements import AccountLevel, account_level
from headgate.errors import ConfigurationKeepsChanging, EnvironmentNotReady, Unavailable
from headgate.model.catalog import Currency, Feature, FeatureType
from headgate.model.credits import Wallet
from headgate.model.decision import DeniedReason, instant
from headgate.model.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Entitlement,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.model.ids import require_id
from headgate.periods import ResetPeriod
from headgate.prepare import PreparedRequest
from headgate.verbs import decide
from headgate.verbs.answers import fits, read_reply, state_of, wallet_constraint, wallet_of
from headgate.verbs.decide import Asked, note_wild_starts, passed_guard
from headgate.verbs.environment import ATTEMPTS_MAX, read_catalog
from headgate.verbs.loading import Request, load_for, loaded_holdings, prepared_request

E = TypeVar("E", bound=Entitlement)


@dataclass(frozen=True, slots=True)
class Question(Generic[E]):
    """What an entitlement is read for, and of which kind it has to be; `Entitlement` stands for any."""

    asked: Asked
    kind: type[E]


def asked(
    customer: object,
    feature: object,
    resource: object,
    requested_usage: object,
    requested_values: object,
    kind: type[E],
) -> Question[E]:
    """Validate what a user gave; raise `InvalidInput` naming field, value and rule."""
    question = decide.asked(
        customer,
        require_id(feature, "feature"),
        requested_usage,
        None,
        amount_field="requested_usage",
        values=requested_values,
        resource=resource,
    )
    return Question(question, kind)


def asked_of_currency(customer: object, currency: object, resource: object, requested_usage: object) -> Asked:
    """Validate what a user gave of a reading of credits; raise `InvalidInput` naming field, value and rule."""
    currency = require_id(currency, "currency")
    return decide.asked(
        customer, None, requested_usage, None, amount_field="requested_usage", currency=currency, resource=resource
    )


def entitlement(state: State, question: Question[E], *, now_ms: float) -> Verb[E]:
    """Read what a customer may do with one feature now: from memory where headgate.entitlement_cache allows it.

    `now_ms` is the client's own instant, of the clock by which it keeps answers.
    """
    cache, request = state.entitlements, question.asked.request
    if not cache.is_on:
        return entitlement_of(question, (yield from _ask(state, question))[0])
    assert request.feature is not None
    name = (request.feature, request.resource)
    kept = cache.find(request.customer, name, now_ms)
    if kept is not None and not _has_to_ask(question, kept):
        state.metrics.entitlements_hits += cache.hears
        state.metrics.entitlements_last_known += not cache.hears
        return entitlement_of(question, kept)
    try:
        return entitlement_of(question, (yield from _read_and_keep(state, question, name, now_ms)))
    except EnvironmentNotReady:
        cache.drop_customer(request.customer)  # Redis did answer: what was known of what is gone is no answer
        raise
    except Unavailable:
        cache.note_away(now_ms)
        known = cache.last_known(request.customer, name, now_ms)
        if known is None:
            raise
        state.metrics.entitlements_last_known += 1
        return entitlement_of(question, known)


def _has_to_ask(question: Question[E], kept: Standing) -> bool:
    """Whether what is held may be in the way: it may have expired, and only asking frees it."""
    is_held = kept.account is not None and (kept.account.held > 0 or (kept.wallet is not None and kept.wallet.held > 0))
    return is_held and not entitlement_of(question, kept).has_access


def _read_and_keep(state: State, question: Question[E], name: Name, now_ms: float) -> Verb[Standing]:
    catalog = yield from read_catalog(state)
    feature = catalog.features.get(name[0])
    if feature is None or not feature.is_metered:
        standing = yield from _read_setting(state, question.asked.request, name, now_ms)
        if standing is not None:
            return standing
    if state.entitlements.keeps_numbers:
        return (yield from _read_numbers(state, question, name, now_ms))
    return (yield from _ask(state, question))[0]


def _read_setting(state: State, request: Request, name: Name, now_ms: float) -> Verb[Standing | None]:
    """Read a feature that nothing is counted of: one load says it all. None where something is, by now."""
    cache, loading = state.entitlements, state.entitlements.begin(request.customer, name, now_ms)
    try:
        catalog, loaded, _ = yield from load_for(state, request, since=loading.number)
        feature = catalog.features.get(name[0])
        if feature is not None and feature.is_metered:
            return None
        holdings = loaded_holdings(loaded, request.feature, request.resource)
        level = account_level(feature, holdings, catalog.packages, now_ms=loaded.server_now_ms)
        standing = Standing(feature, level, loaded.server_now_ms)
        cache.keep(loading, standing, stamp=loaded.stamp, until_ms=level.until_ms)
        state.metrics.entitlements_misses += 1
        return standing
    finally:
        cache.end(loading)


def _read_numbers(state: State, question: Question[E], name: Name, now_ms: float) -> Verb[Standing]:
    """Read the numbers of a metered feature, to answer from memory for as long as they are allowed to age."""
    cache, customer = state.entitlements, question.asked.request.customer
    before = cache.known_number(customer, name, now_ms)
    loading = cache.begin(customer, name, now_ms)
    try:
        standing, prepared = yield from _ask(state, question, since=loading.number)
        state.metrics.entitlements_misses += 1
        if standing.account is not None:
            cache.keep(loading, standing, stamp=prepared.stamp, until_ms=prepared.until_ms)
            if before is not None and before.account is not None:
                state.metrics.numbers_read_again += 1
                state.metrics.numbers_were_off += before.account.used != standing.account.used
        return standing
    finally:
        cache.end(loading)


def _ask(state: State, question: Question[E], *, since: int | None = None) -> Verb[tuple[Standing, PreparedRequest]]:
    """Read how a feature stands now; `since` lets those share the reading who may be told numbers of some age."""
    request, usage = question.asked.request, question.asked.amount
    for _ in range(ATTEMPTS_MAX):
        prepared = yield from prepared_request(state, request)
        is_counted = _denial(question, prepared.feature, prepared.account) is None and bool(prepared.constraints)
        call = prepared.ask("check", usage if is_counted else 0.0, writes=False)
        reply = yield call if since is None else replace(call, shared=True, since=since)
        if (yield from passed_guard(state, request, reply)):
            return _standing(state, question.asked, prepared, reply), prepared
    raise keeps_changing(request.customer)


def credit_entitlement(state: State, question: Asked) -> Verb[Entitlement]:
    """Read what a customer has of one currency now; plain, and without numbers, where it has no wallet of it."""
    request = question.request
    assert request.currency is not None
    for _ in range(ATTEMPTS_MAX):
        prepared = yield from prepared_request(state, request)
        # Held up by no hold that is due, and refused by no limit: the balance itself says whether there is access.
        reply = yield prepared.ask("check", 0.0, writes=False)
        if (yield from passed_guard(state, request, reply)):
            read_at_ms, denial = int(reply[1]), prepared.account.denial
            if denial is not None:
                return Entitlement(
                    customer=request.customer,
                    resource=request.resource,
                    id=request.currency,
                    has_access=False,
                    reason=denial,
                    read_at_ms=read_at_ms,
                    requested_usage=question.amount,
                )
            read = read_reply(prepared, reply, first=2)
            note_wild_starts(state, read.wild)
            wallet = wallet_of(request, prepared, read, read_at_ms)
            assert wallet is not None
            assert prepared.currency is not None
            return credit_of(request.customer, request.resource, prepared.currency, wallet, question.amount)
    raise keeps_changing(request.customer)


# From the account level and the counters to an answer. Pure.


def entitlement_of(question: Question[E], standing: Standing) -> E:
    """Say what a feature's standing means for what was asked: with all its numbers, also where the limit refuses."""
    kind, request, level = question.kind, question.asked.request, standing.level
    assert request.feature is not None
    common: dict[str, Any] = {
        "customer": request.customer,
        "resource": request.resource,
        "id": request.feature,
        "read_at_ms": standing.read_at_ms,
        "requested_usage": question.asked.amount,
        "requested_values": question.asked.values,
    }
    found: Entitlement
    denial = _denial(question, standing.feature, level)
    actual = _class_of(standing.feature)
    if denial is not None:
        found = (actual if issubclass(actual, kind) else kind)(**common, has_access=False, reason=denial)
    else:
        common["feature"] = standing.feature
        if actual is MeteredEntitlement:
            found = _metered(common, question.asked.amount, standing)
        elif actual is EnumEntitlement:
            fits = set(question.asked.values) <= set(level.enum_values)
            reason = None if fits else DeniedReason.REQUESTED_VALUES_MISMATCH
            found = EnumEntitlement(**common, has_access=fits, reason=reason, enum_values=level.enum_values)
        elif actual is NumericEntitlement:
            common |= {"value": level.numeric_value, "is_unlimited": level.has_unlimited_usage}
            found = NumericEntitlement(**common, has_access=True, reason=None)
        else:
            found = BooleanEntitlement(**common, has_access=True, reason=None)
    assert isinstance(found, kind)
    return found


def _class_of(feature: Feature | None) -> type[Entitlement]:
    if feature is None:
        return Entitlement
    if feature.feature_type is FeatureType.NUMBER:
        return MeteredEntitlement if feature.is_metered else NumericEntitlement
    return EnumEntitlement if feature.feature_type is FeatureType.ENUM else BooleanEntitlement


def _denial(question: Question[E], feature: Feature | None, level: AccountLevel) -> DeniedReason | None:
    """What denies whatever the counters are: nothing entitles, or the feature is of another kind than was asked for."""
    if level.denial is None and not issubclass(_class_of(feature), question.kind):
        return DeniedReason.FEATURE_TYPE_MISMATCH
    return level.denial


def _metered(common: dict[str, Any], usage: float, standing: Standing) -> MeteredEntitlement:
    level, account, wallet = standing.level, standing.account, standing.wallet
    assert account is not None
    rate = None if wallet is None or level.rate is None else level.rate.amount
    reason = None
    if not fits(account.used, account.held, None if account.is_soft else account.limit, usage):
        reason = DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
    elif wallet is not None and rate is not None and not _pays(wallet, multiply(usage, rate)):
        reason = DeniedReason.INSUFFICIENT_CREDITS
    resets = level.cadence is not None
    return MeteredEntitlement(
        **common,
        has_access=reason is None,
        reason=reason,
        usage_limit=level.limit,
        is_unlimited=level.has_unlimited_usage,
        has_soft_limit=level.is_soft,
        current_usage=account.used,
        held=account.held,
        reset_period=None if level.cadence is None else ResetPeriod(level.cadence),
        usage_period_anchor=None if level.anchor_ms is None else instant(level.anchor_ms),
        usage_period_start=instant(level.period.start_ms) if resets else None,
        usage_period_end=instant(level.period.end_ms) if resets else None,
        currency=standing.currency,
        credit_rate=rate,
        wallet=wallet,
    )


def credit_of(
    customer: str, resource: str | None, currency: Currency, wallet: Wallet, requested: float = 0.0
) -> CreditEntitlement:
    """Say what a wallet means for what is asked of it."""
    has_access = _pays(wallet, requested)
    return CreditEntitlement(
        customer=customer,
        resource=resource,
        id=currency.id,
        requested_usage=requested,
        has_access=has_access,
        reason=None if has_access else DeniedReason.INSUFFICIENT_CREDITS,
        read_at_ms=wallet.read_at_ms,
        currency=currency,
        wallet=wallet,
    )


def _pays(wallet: Wallet, cost: float) -> bool:
    """Whether a wallet has what is asked for. One that has nothing gives no access, even if nothing is asked for."""
    return wallet.is_soft or (wallet.balance > 0 and wallet_constraint(wallet, cost).granted)


def _standing(state: State, asked: Asked, prepared: PreparedRequest, reply: Any) -> Standing:
    read, read_at_ms = read_reply(prepared, reply, first=2), int(reply[1])
    note_wild_starts(state, read.wild)
    account = state_of(prepared.constraints[0], read.counters[0], asked.amount) if prepared.constraints else None
    wallet = wallet_of(asked.request, prepared, read, read_at_ms)
    return Standing(prepared.feature, prepared.account, read_at_ms, account, prepared.currency, wallet)


def keeps_changing(customer: str) -> ConfigurationKeepsChanging:
    """Make the error for a customer that was changed by others at every attempt to read it."""
    return ConfigurationKeepsChanging(f"customer {customer!r} changed at each of {ATTEMPTS_MAX} attempts to read it")
