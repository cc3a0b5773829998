"""Reading every entitlement of a customer at once, as it stands at one instant.

It costs one load and a few readings beside it; the cost grows with the catalog and the customer's wallets, never with
its entities. Nothing is written, and every number is of the stamp and the window of the load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from headgate import keys
from headgate.cache import Catalog, State
from headgate.calls import Failed, Verb
from headgate.entitlement_cache import Standing
from headgate.entitlements import AccountLevel, account_level
from headgate.keys import CustomerKeys
from headgate.model.credits import Wallet
from headgate.model.customer import PromotionalEntitlement
from headgate.model.decision import ConstraintState, DeniedReason
from headgate.model.entitlement import Entitlement, Entitlements
from headgate.periods import FOREVER_END_MS, FOREVER_START_MS
from headgate.prepare import PreparedRequest, Purse, prepare, prepare_account_readings
from headgate.verbs.answers import read_reply, state_of, wallet_of
from headgate.verbs.decide import Asked, note_wild_starts, passed_guard
from headgate.verbs.environment import ATTEMPTS_MAX, open_environment, read_catalog
from headgate.verbs.loading import Request, account_fields, load, loaded_holdings, loaded_purse
from headgate.verbs.reading import Question, credit_of, entitlement_of, keeps_changing
from headgate.wallets import LiveWallet
from headgate.wire import Loaded, Stamp

COUNTERS_A_CALL: Final = 200

_OF_THE_CUSTOMER: Final = frozenset(
    {
        DeniedReason.CUSTOMER_NOT_FOUND,
        DeniedReason.CUSTOMER_IS_ARCHIVED,
        DeniedReason.CUSTOMER_RESOURCE_NOT_FOUND,
    }
)


def entitlements(state: State, customer: str, resource: str | None) -> Verb[Entitlements]:
    """Read everything that a customer, or one resource of it, is entitled to now."""
    found, _ = yield from _read_all(state, customer, resource)
    return found


def reload(state: State, customer: str, resource: str | None) -> Verb[Entitlements]:
    """Forget what is kept of a customer and of the catalog, and read its entitlements again."""
    state.catalog = None
    state.entitlements.outdate(customer)
    found, stamp = yield from _read_all(state, customer, resource)
    state.entitlements.drop_customer(customer)
    state.told.put(customer, stamp.version)  # what is kept of any other version is not even tried
    return found


@dataclass(frozen=True, slots=True)
class Survey:
    """All that one load says of what a customer is entitled to; only counters are still to be read.

    `levels` are those of the features that some source entitles to, `purses` those of all currencies. It holds from
    `from_ms` until `until_ms` (exclusive).
    """

    request: Request
    catalog: Catalog
    stamp: Stamp
    now_ms: int
    denial: DeniedReason | None
    levels: dict[str, AccountLevel]
    purses: dict[str, Purse]
    has_subscription: bool
    lacks_resource: bool
    from_ms: int
    until_ms: int

    @property
    def counted(self) -> dict[str, AccountLevel]:
        """What to read of the account's counters, by capability: metered features, and overdraft without grants.

        Where there are live grants, overdraft is read with them, in one step: only so do they make up a balance.
        """
        features, purses = self.catalog.features, self.purses.items()
        return {
            **{keys.feature_capability(id): level for id, level in self.levels.items() if features[id].is_metered},
            **{keys.currency_capability(id): AccountLevel(None) for id, purse in purses if not purse.live.grants},
        }


def survey(catalog: Catalog, loaded: Loaded, customer: str, resource: str | None) -> Survey:
    """Find what a customer is entitled to at the instant of a load, but for the counters."""
    now_ms, holdings = loaded.server_now_ms, loaded_holdings(loaded, None, resource)
    of_customer = account_level(None, holdings, catalog.packages, now_ms=now_ms)
    denial = of_customer.denial
    levels: dict[str, AccountLevel] = {}
    purses: dict[str, Purse] = {}
    if denial not in _OF_THE_CUSTOMER:
        denial = None
        for id, feature in catalog.features.items():
            promotional = loaded.document(PromotionalEntitlement, keys.entitlement_field(id))
            held = replace(holdings, promotional=promotional)
            levels[id] = account_level(feature, held, catalog.packages, now_ms=now_ms)
        purses = {id: loaded_purse(catalog, loaded, id, resource) for id in catalog.currencies}
    windows: list[AccountLevel | LiveWallet] = [*levels.values(), *(purse.live for purse in purses.values())]
    return Survey(
        request=Request(customer, None, None, None, resource),
        catalog=catalog,
        stamp=loaded.stamp,
        now_ms=now_ms,
        denial=denial,
        levels={id: level for id, level in levels.items() if level.denial is None},
        purses=purses,
        has_subscription=any(each.applies_at(now_ms) for each in holdings.subscriptions),
        lacks_resource=of_customer.lacks_resource,
        from_ms=max((each.from_ms for each in windows), default=FOREVER_START_MS),
        until_ms=min((each.until_ms for each in windows), default=FOREVER_END_MS),
    )


def readings(customer_keys: CustomerKeys, found: Survey) -> list[PreparedRequest]:
    """Compile the readings of all counters: the account's in parts, each wallet with live grants in a step of its own.

    There is always one, also where nothing is counted: it says that the load still holds.
    """
    resource = found.request.resource
    counted = [(level, keys.account_counter_field(name, resource)) for name, level in found.counted.items()]
    parts = [counted[first : first + COUNTERS_A_CALL] for first in range(0, max(1, len(counted)), COUNTERS_A_CALL)]
    return [
        *(prepare_account_readings(customer_keys, found.stamp, part) for part in parts),
        *(
            prepare(
                customer_keys,
                found.stamp,
                AccountLevel(None),
                [],
                feature=None,
                account_field=None,
                now_ms=found.now_ms,
                currency=found.catalog.currencies[id],
                purse=purse,
            )
            for id, purse in found.purses.items()
            if purse.live.grants
        ),
    ]


def entitlements_of(
    found: Survey, states: Sequence[ConstraintState], wallets: Sequence[Wallet], at_ms: int
) -> Entitlements:
    """Put a survey and its counters together; `states` are in the order of `Survey.counted`."""
    customer, resource, catalog = found.request.customer, found.request.resource, found.catalog
    by_capability = dict(zip(found.counted, states, strict=True))
    by_currency = {wallet.currency: wallet for wallet in wallets}
    for id, purse in found.purses.items():
        if not purse.live.grants:
            overdraft = by_capability[keys.currency_capability(id)].used
            by_currency[id] = Wallet(customer, id, resource, (), overdraft, purse.live.is_soft, at_ms)

    listed: list[Entitlement] = []
    for id, level in found.levels.items():
        paid_in = None if level.rate is None else catalog.currencies.get(level.rate.currency)
        standing = Standing(
            feature=catalog.features[id],
            level=level,
            read_at_ms=at_ms,
            account=by_capability.get(keys.feature_capability(id)),
            currency=paid_in,
            wallet=None if paid_in is None else by_currency[paid_in.id],
        )
        asked = Asked(Request(customer, id, None, None, resource), 0.0)
        listed.append(entitlement_of(Question(asked, Entitlement), standing))
    for id in found.purses:
        wallet = by_currency[id]
        if wallet.grants or wallet.overdraft:
            listed.append(credit_of(customer, resource, catalog.currencies[id], wallet))
    reason = found.denial
    if reason is None and not listed and not found.has_subscription:
        reason = DeniedReason.NO_ACTIVE_SUBSCRIPTION
    return Entitlements(customer, resource, reason, tuple(listed), at_ms, found.lacks_resource)


def _read_all(state: State, customer: str, resource: str | None) -> Verb[tuple[Entitlements, Stamp]]:
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from read_catalog(state)
        fields = account_fields(resource)
        fields += [keys.entitlement_field(feature) for feature in catalog.features]
        fields += [keys.wallet_field(currency, resource) for currency in catalog.currencies]
        of_load, loaded = yield from load(state, customer, fields=fields, shared=True)
        if of_load.token != catalog.token:
            continue
        found = survey(catalog, loaded, customer, resource)
        environment = yield from open_environment(state)
        ready = readings(environment.keyspace.customer(customer), found)
        replies = yield [prepared.ask("check", 0.0, writes=False) for prepared in ready]
        if (yield from _all_hold(state, found, replies)):
            return _put_together(state, found, ready, replies), found.stamp
    raise keeps_changing(customer)


def _all_hold(state: State, found: Survey, replies: Sequence[Any]) -> Verb[bool]:
    """Whether every reading was of the survey's stamp, and at an instant at which the survey holds."""
    for reply in replies:
        if isinstance(reply, Failed):
            raise reply.error
        if not (yield from passed_guard(state, found.request, reply)):
            return False
        if not found.from_ms <= int(reply[1]) < found.until_ms:
            state.metrics.moved_on += 1
            return False
    return True


def _put_together(
    state: State, found: Survey, ready: Sequence[PreparedRequest], replies: Sequence[Any]
) -> Entitlements:
    states: list[ConstraintState] = []
    wallets: list[Wallet] = []
    for prepared, reply in zip(ready, replies, strict=True):
        read = read_reply(prepared, reply, first=2)
        note_wild_starts(state, read.wild)
        wallet = wallet_of(found.request, prepared, read, int(reply[1]))
        if wallet is not None:
            wallets.append(wallet)
        counted = zip(prepared.constraints, read.counters, strict=True)
        states += [state_of(constraint, counter, 0.0) for constraint, counter in counted]
    return entitlements_of(found, states, wallets, min(int(reply[1]) for reply in replies))
