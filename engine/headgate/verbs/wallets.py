"""Reading credits: the wallet as it stands, and the ledger of what became of each grant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from headgate import keys, wire
from headgate.cache import State
from headgate.calls import Verb
from headgate.errors import ConfigurationKeepsChanging, NotFound
from headgate.model.credits import Grant, Grants, GrantState, Wallet
from headgate.model.decision import DeniedReason
from headgate.model.packages import Packages
from headgate.model.subscription import Subscription
from headgate.prepare import PreparedRequest, prepare_grant_readings
from headgate.verbs.answers import grant_state, read_reply, wallet_of
from headgate.verbs.decide import passed_guard
from headgate.verbs.environment import ATTEMPTS_MAX, open_environment, read_catalog
from headgate.verbs.loading import Request, loaded_subscriptions, prepared_request
from headgate.verbs.scanning import scan
from headgate.verbs.sweeping import sweep_customer
from headgate.wallets import WalletGrant, every_grant
from headgate.wire import Counter, Loaded, Status

GRANTS_A_CALL: Final = 200


def wallet(state: State, customer: str, currency: str, resource: str | None) -> Verb[Wallet]:
    """Read what a customer, or one resource of it, has of a currency now."""
    request = Request(customer, None, None, currency, resource)
    for _ in range(ATTEMPTS_MAX):
        prepared = yield from prepared_request(state, request)
        missing = _missing(prepared, request)
        reply = yield prepared.ask("check", 0.0, writes=False)
        if (yield from passed_guard(state, request, reply)):
            if missing is not None:
                raise missing
            found = wallet_of(request, prepared, read_reply(prepared, reply, first=2), int(reply[1]))
            assert found is not None
            return found
    raise _keeps_changing(customer)


def _missing(prepared: PreparedRequest, request: Request) -> NotFound | None:
    if prepared.account.denial is DeniedReason.CUSTOMER_NOT_FOUND:
        return NotFound("customer", request.customer)
    if prepared.account.lacks_resource:
        return NotFound("customer resource", str(request.resource), within=f"of customer {request.customer!r}")
    return NotFound("currency", str(request.currency)) if prepared.wallet is None else None


def grants(state: State, customer: str, currency: str | None, resource: str | None) -> Verb[list[GrantState]]:
    """Read what became of every grant of a wallet, recurring ones of past periods too, by effective instant.

    Without a currency: of the wallets of all currencies, one after the other, at the cost of one reading.
    """
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from read_catalog(state, fresh=True)
        scanned = yield from scan(state, customer)
        if keys.CUSTOMER not in scanned.documents:
            raise NotFound("customer", customer)
        if resource is not None and keys.resource_field(resource) not in scanned.documents:
            raise NotFound("customer resource", resource, within=f"of customer {customer!r}")
        if currency is not None and currency not in catalog.currencies:
            raise NotFound("currency", currency)
        if scanned.stamp.catalog_token != catalog.token:
            continue
        states: list[GrantState] = []
        for each in catalog.currencies if currency is None else [currency]:
            of_wallet = yield from _grants_of(state, customer, scanned, catalog.packages, each, resource)
            if of_wallet is None:
                break
            states += of_wallet
        else:
            return states
    raise _keeps_changing(customer)


def _grants_of(
    state: State, customer: str, scanned: Loaded, packages: Packages, currency: str, resource: str | None
) -> Verb[list[GrantState] | None]:
    """What became of the grants of one wallet; None if something has changed since the documents were read."""
    given = _every_given(scanned, currency, resource)
    now_ms = scanned.server_now_ms
    found = every_grant(currency, given, _every_subscription(scanned, resource), packages, now_ms=now_ms)
    counters = yield from _read_counters(state, customer, scanned, found)
    if counters is None:
        return None
    as_given = {each.id: each for each in given}
    states = [grant_state(grant, currency, resource, counters[grant.id], now_ms) for grant in found]
    return [
        each
        if (known := as_given.get(each.id)) is None
        else replace(each, comment=known.comment, metadata=known.metadata)
        for each in states
    ]


def _every_given(scanned: Loaded, currency: str, resource: str | None) -> list[Grant]:
    document = scanned.document(Grants, keys.wallet_field(currency, resource))
    given = [] if document is None else list(document.grants)
    prefix = keys.ENDED_GRANT
    ended = (
        wire.unpack_document(Grant, packed) for field, packed in scanned.documents.items() if field.startswith(prefix)
    )
    return given + [each for each in ended if (each.currency, each.resource) == (currency, resource)]


def _every_subscription(scanned: Loaded, resource: str | None) -> list[Subscription]:
    prefix = keys.ENDED_SUBSCRIPTION
    ended = (
        wire.unpack_document(Subscription, packed)
        for field, packed in scanned.documents.items()
        if field.startswith(prefix)
    )
    return [*loaded_subscriptions(scanned, resource), *(each for each in ended if each.resource == resource)]


def _read_counters(
    state: State, customer: str, scanned: Loaded, found: Sequence[WalletGrant]
) -> Verb[dict[str, Counter] | None]:
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(customer)
    counters: dict[str, Counter] = {}
    for first in range(0, len(found), GRANTS_A_CALL):
        part = found[first : first + GRANTS_A_CALL]
        prepared, ordered = prepare_grant_readings(customer_keys, scanned.stamp, part)
        reply = yield prepared.ask("check", 0.0, writes=False)
        if reply[0] not in (Status.GRANTED, Status.REFUSED):
            if reply[0] == Status.SWEEP_FIRST:
                state.metrics.holds_freed += yield from sweep_customer(state, customer)
            return None
        counters.update(
            zip((grant.id for grant in ordered), read_reply(prepared, reply, first=2).counters, strict=True)
        )
    return counters


def _keeps_changing(customer: str) -> ConfigurationKeepsChanging:
    return ConfigurationKeepsChanging(f"customer {customer!r} changed at each of {ATTEMPTS_MAX} attempts to read it")
