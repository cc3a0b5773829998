"""Credits: giving a customer, or a resource of one, an amount of a currency, and taking it back.

A grant that is given again under its id is the same grant, so giving one can be tried again. What was used of it is
kept beside other counters, and nothing here touches that: a voided grant keeps what it was used for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from headgate import keys, wire
from headgate.amounts import AmountOutOfRange, add
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.errors import Conflict, InvalidInput, NotFound
from headgate.model.credits import LIVE_GRANTS_MAX, Grant, GrantRequest, Grants
from headgate.model.ids import require_id
from headgate.model.packages import Packages
from headgate.model.subscription import Subscription, Subscriptions
from headgate.verbs.customers import configure, keeps_changing, load_customer
from headgate.verbs.environment import ATTEMPTS_MAX
from headgate.wallets import recurring_definitions
from headgate.wire import Loaded

KEPT_MAX: Final = 128
"""How many grants the document of a wallet holds: beyond that, those that ended first have documents of their own."""


def grant(state: State, customer: str, request: GrantRequest) -> Verb[Grant]:
    """Give credits. An id that was given before is the same grant: it is returned, or `Conflict` if it differs."""
    id = request.id or f"grant-{os.urandom(8).hex()}"
    wallet = keys.wallet_field(request.currency, request.resource)
    subscriptions = keys.subscriptions_field(request.resource)
    for _ in range(ATTEMPTS_MAX):
        catalog, loaded = yield from _load(state, customer, request.currency, request.resource, id, [subscriptions])
        given = _given(loaded, wallet)
        known = _find(loaded, given, request.currency, request.resource, id)
        if known is not None:
            return _same(known, request)
        now_ms, document = loaded.server_now_ms, loaded.document(Subscriptions, subscriptions)
        made = grant_made(id, request, loaded.next_number, now_ms=now_ms)
        entitling = document.subscriptions if document else ()
        require_room(request, given, entitling, catalog.packages, now_ms=now_ms)
        documents = _documents(wallet, [*given, made], now_ms)
        if (yield from configure(state, customer, loaded, documents, next_number=loaded.next_number + 1)):
            return made
    raise keeps_changing(customer)


def void(state: State, customer: str, grant: str, currency: str, resource: str | None) -> Verb[Grant]:
    """Take a grant back: what is left of it can't be used any more. What was used of it stays used."""
    if isinstance(grant, str) and ":" in grant:
        subscription = grant.partition(":")[0]
        rule = f"recurs with the subscription {subscription!r}: change or cancel that"
        raise InvalidInput.of("grant_id", grant, rule)
    id = require_id(grant, "grant_id")
    wallet = keys.wallet_field(currency, resource)
    for _ in range(ATTEMPTS_MAX):
        _, loaded = yield from _load(state, customer, currency, resource, id, [])
        given = _given(loaded, wallet)
        known = _find(loaded, given, currency, resource, id)
        if known is None:
            place = "" if resource is None else f", resource {resource!r}"
            raise NotFound("grant", id, within=f"of {currency!r} of customer {customer!r}{place}")
        if known.voided_at_ms is not None:
            return known
        voided = known.model_copy(update={"voided_at_ms": loaded.server_now_ms})
        if known in given:
            after = Grants(grants=tuple(voided if each.id == id else each for each in given))
            documents = {wallet: wire.pack_document(after)}
        else:
            documents = {_ended_field(known): wire.pack_document(voided)}
        if (yield from configure(state, customer, loaded, documents)):
            return voided
    raise keeps_changing(customer)


def not_ended(
    currency: str,
    given: Iterable[Grant],
    subscriptions: Iterable[Subscription],
    packages: Packages,
    *,
    now_ms: int,
) -> int:
    """Count the grants of a wallet that are live or still to come; what recurs counts once."""
    entitling = (each for each in subscriptions if each.ends_at_ms is None or now_ms < each.ends_at_ms)
    recurring = recurring_definitions(currency, entitling, packages)
    return sum(not _has_ended(each, now_ms) for each in given) + len(recurring)


def _load(
    state: State, customer: str, currency: str, resource: str | None, id: str, fields: Sequence[bytes]
) -> Verb[tuple[Catalog, Loaded]]:
    wanted = [keys.wallet_field(currency, resource), keys.ended_grant_field(currency, id, resource), *fields]
    catalog, loaded = yield from load_customer(state, customer, wanted, resource=resource)
    if currency not in catalog.currencies:
        raise NotFound("currency", currency)
    return catalog, loaded


def _given(loaded: Loaded, wallet: bytes) -> tuple[Grant, ...]:
    document = loaded.document(Grants, wallet)
    return () if document is None else document.grants


def _find(loaded: Loaded, given: Iterable[Grant], currency: str, resource: str | None, id: str) -> Grant | None:
    kept = next((each for each in given if each.id == id), None)
    return kept or loaded.document(Grant, keys.ended_grant_field(currency, id, resource))


def grant_made(id: str, request: GrantRequest, number: int, *, now_ms: int) -> Grant:
    """The new grant that a request asks for; one that would have expired already is refused."""
    expires_at_ms = request.expires_at_ms
    effective_at_ms = now_ms if request.effective_at_ms is None else request.effective_at_ms
    if expires_at_ms is not None and expires_at_ms <= now_ms:
        rule = f"must be after the server's present time, {now_ms}"
        raise InvalidInput.of("grant.expires_at_ms", expires_at_ms, rule)
    return Grant(
        **request.model_dump(exclude={"id", "effective_at_ms"}),
        id=id,
        number=number,
        effective_at_ms=effective_at_ms,
        created_at_ms=now_ms,
    )


def _same(known: Grant, request: GrantRequest) -> Grant:
    """The grant that an id stands for already, if the request asks for the same."""
    asked = request.model_dump(exclude={"id"})
    if request.effective_at_ms is None:
        asked["effective_at_ms"] = known.created_at_ms
    differing = [name for name, value in asked.items() if getattr(known, name) != value]
    if differing:
        name = differing[0]
        raise Conflict(
            f"grant {known.id!r} was given with another {name}: {getattr(known, name)!r}, not {asked[name]!r}; "
            "a grant stays as it was given: give another one, under another id"
        )
    return known


def require_room(
    request: GrantRequest,
    given: Sequence[Grant],
    subscriptions: Sequence[Subscription],
    packages: Packages,
    *,
    now_ms: int,
) -> None:
    """Refuse a grant for which its wallet, with these grants and subscriptions, has no room."""
    count = not_ended(request.currency, given, subscriptions, packages, now_ms=now_ms)
    if count >= LIVE_GRANTS_MAX:
        rule = (
            f"the wallet has {count} grants that are live, scheduled or recurring: at most {LIVE_GRANTS_MAX}; "
            "void one, or let one expire"
        )
        raise InvalidInput.of("grant.currency", request.currency, rule)
    total = request.amount
    for each in given:
        if not _has_ended(each, now_ms):
            try:
                total = add(total, each.amount)
            except AmountOutOfRange as error:
                rule = f"together with the wallet's other grants it can't be counted exactly: {error}"
                raise InvalidInput.of("grant.amount", request.amount, rule) from None


def _documents(wallet: bytes, given: Sequence[Grant], now_ms: int) -> dict[bytes, bytes]:
    """The documents of a wallet's grants: beyond `KEPT_MAX`, those that ended first get one each."""
    ended = sorted((each for each in given if _has_ended(each, now_ms)), key=lambda each: (_end_ms(each), each.number))
    moved = ended[: max(0, len(given) - KEPT_MAX)]
    kept = Grants(grants=tuple(each for each in given if each not in moved))
    return {wallet: wire.pack_document(kept), **{_ended_field(each): wire.pack_document(each) for each in moved}}


def _end_ms(grant: Grant) -> float:
    ends = (each for each in (grant.voided_at_ms, grant.expires_at_ms) if each is not None)
    return min(ends, default=wire.NEVER)


def _has_ended(grant: Grant, now_ms: int) -> bool:
    return grant.voided_at_ms is not None or (grant.expires_at_ms is not None and grant.expires_at_ms <= now_ms)


def _ended_field(grant: Grant) -> bytes:
    return keys.ended_grant_field(grant.currency, grant.id, grant.resource)
