"""Loading: from a customer, a feature and dimensions to a prepared request, with at most one call where it is new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headgate import entitlements, keys, wire
from headgate.cache import Catalog, Resolution, Shape, State
from headgate.calls import Call, Verb
from headgate.chains import Candidate, Dimensions, candidates, chains
from headgate.entitlements import Holdings
from headgate.errors import ConfigurationKeepsChanging, EnvironmentNotReady
from headgate.keys import CustomerKeys
from headgate.model.base import Strict
from headgate.model.credits import Grants
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.governance import Assignment, Entity
from headgate.model.subscription import Subscription, Subscriptions
from headgate.prepare import PreparedRequest, Purse, prepare, prepare_denial
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, open_environment, read_catalog, refuse_status
from headgate.wallets import live_wallet
from headgate.wire import Loaded, Status


class Assignments(Strict):
    """The document of an entity's budgets for one capability."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What one check, consume or report asks about, without its amount: a feature, or a currency."""

    customer: str
    feature: str | None
    dimensions: Dimensions | None
    currency: str | None = None
    resource: str | None = None

    def shape(self, resolved: Iterable[str]) -> Shape:
        """What its prepared request is kept under."""
        return self.customer, self.feature, self.currency, self.resource, tuple(resolved)

    @property
    def capability(self) -> str:
        """What its counters and budgets are for."""
        if self.feature is not None:
            return keys.feature_capability(self.feature)
        assert self.currency is not None
        return keys.currency_capability(self.currency)


def load(
    state: State,
    customer: str,
    *,
    fields: Sequence[bytes],
    entities: Iterable[str] = (),
    capabilities: Iterable[str] = (),
    shared: bool = False,
    since: int = 0,
) -> Verb[tuple[Catalog, Loaded]]:
    """Read documents of a customer, and those of entities up to their roots, with the catalog of the same stamp."""
    wanted = wire.pack_wanted(list(fields), list(entities), list(capabilities))
    for _ in range(ATTEMPTS_MAX):
        environment = yield from open_environment(state)
        customer_keys = environment.keyspace.customer(customer)
        reply = yield Call(
            "load",
            (customer_keys.catalog, customer_keys.usage, customer_keys.config),
            (b"", wanted),
            timed=0,
            writes=False,
            shared=shared,
            since=since,
        )
        refuse_status(state, reply[0])
        if reply[0] == Status.BLANK:
            yield from mend_partition(state, customer, None)
            continue
        loaded = wire.read_loaded(reply)
        require_token(customer, loaded)
        catalog = yield from read_catalog(state)
        if catalog.token == loaded.stamp.catalog_token:
            state.told.drop(customer)
            return catalog, loaded
        yield from mend_partition(state, customer, loaded.stamp.catalog_token)
    raise ConfigurationKeepsChanging(f"the catalog changed at each of {ATTEMPTS_MAX} attempts to load {customer!r}")


def require_token(customer: str, loaded: Loaded) -> None:
    """Raise where documents are there and the token that belongs to them is not: their counters are gone, too."""
    if loaded.documents and not loaded.stamp.version:
        raise EnvironmentNotReady(
            f"customer {customer!r} has documents and no token: a server lost a part of its data (or evicted it)"
        )


def loaded_entities(loaded: Loaded) -> dict[str, Entity]:
    """The entities that a load brought, by id."""
    prefix = keys.entity_field("")
    return {
        field[len(prefix) :].decode(): wire.unpack_document(Entity, document)
        for field, document in loaded.documents.items()
        if field.startswith(prefix)
    }


def loaded_assignments(loaded: Loaded, entity: str, capability: str) -> tuple[Assignment, ...]:
    """The budgets of an entity for one capability that a load brought."""
    document = loaded.document(Assignments, keys.assignments_field(entity, capability))
    return () if document is None else document.assignments


def prepared_request(state: State, request: Request) -> Verb[PreparedRequest]:
    """Return the prepared request of a shape: the one that is kept if nothing speaks against it, else a new one.

    What a dimension names is kept apart from prepared requests, so that unknown values make no new shapes. Both must
    be of one stamp: an id that was unknown when the shape was made may be a team by now.
    """
    catalog = state.catalog
    if catalog is not None:
        kept = _kept(state, catalog, request)
        if kept is not None:
            state.metrics.prepared_hits += 1
            return kept
    state.metrics.prepared_misses += 1
    return (yield from _make(state, request))


def _kept(state: State, catalog: Catalog, request: Request) -> PreparedRequest | None:
    customer = request.customer
    resolved: list[str] = []
    stamps = []
    for candidate in candidates(request.dimensions, catalog.types_by_key):
        resolution = state.resolutions.get((customer, candidate.id))
        if resolution is None:
            return None
        stamps.append(resolution.stamp)
        if resolution.type in candidate.types:
            resolved.append(candidate.id)
    kept = state.prepared.get(request.shape(resolved))
    if kept is None or kept.stamp.catalog_token != catalog.token or any(stamp != kept.stamp for stamp in stamps):
        return None
    told = state.told.get(customer)
    return kept if told is None or told == kept.stamp.version else None


def account_fields(resource: str | None) -> list[bytes]:
    """The documents that every account-level question needs: the customer, its resource, their subscriptions."""
    fields = [keys.CUSTOMER, keys.subscriptions_field()]
    return fields if resource is None else [*fields, keys.resource_field(resource), keys.subscriptions_field(resource)]


def loaded_subscriptions(loaded: Loaded, resource: str | None) -> tuple[Subscription, ...]:
    """The customer's own subscriptions, or those of one resource, that a load brought."""
    document = loaded.document(Subscriptions, keys.subscriptions_field(resource))
    return () if document is None else document.subscriptions


def loaded_holdings(loaded: Loaded, feature: str | None, resource: str | None) -> Holdings:
    """What the customer holds that may entitle to a feature, from a load of `account_fields` and the promotion."""
    subscriptions = loaded_subscriptions(loaded, None)
    if resource is not None:
        subscriptions = (*subscriptions, *loaded_subscriptions(loaded, resource))
    promotional = None
    if feature is not None:
        promotional = loaded.document(PromotionalEntitlement, keys.entitlement_field(feature))
    return Holdings(
        customer=loaded.document(Customer, keys.CUSTOMER),
        resource=resource,
        resource_exists=resource is not None and keys.resource_field(resource) in loaded.documents,
        subscriptions=subscriptions,
        promotional=promotional,
    )


def loaded_purse(catalog: Catalog, loaded: Loaded, currency: str, resource: str | None, *, rate: float = 1.0) -> Purse:
    """The wallet of a currency, from a load of its document and of the subscriptions."""
    document = loaded.document(Grants, keys.wallet_field(currency, resource))
    live = live_wallet(
        currency,
        () if document is None else document.grants,
        loaded_subscriptions(loaded, resource),
        catalog.packages,
        now_ms=loaded.server_now_ms,
    )
    overdraft_field = keys.account_counter_field(keys.currency_capability(currency), resource)
    return Purse(currency, resource, live, overdraft_field, rate)


def _currencies(catalog: Catalog, request: Request) -> tuple[str, ...]:
    """The currencies that a request may be paid in: which one it is, the customer's entitlement says."""
    if request.feature is None:
        assert request.currency is not None
        return (request.currency,)
    return catalog.currencies_of.get(request.feature, ())


def load_for(state: State, request: Request, *, since: int = 0) -> Verb[tuple[Catalog, Loaded, list[Candidate]]]:
    """Read all that a request may need, in one call, with the catalog of the same stamp."""
    customer, resource = request.customer, request.resource
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from read_catalog(state)
        named = candidates(request.dimensions, catalog.types_by_key)
        paid_in = _currencies(catalog, request)
        fields = [*account_fields(resource), *(keys.wallet_field(currency, resource) for currency in paid_in)]
        capabilities = [keys.currency_capability(currency) for currency in paid_in]
        if request.feature is not None:
            fields.append(keys.entitlement_field(request.feature))
            capabilities.insert(0, request.capability)
        loaded_catalog, loaded = yield from load(
            state,
            customer,
            fields=fields,
            entities=dict.fromkeys(candidate.id for candidate in named),
            capabilities=capabilities,
            shared=True,
            since=since,
        )
        if loaded_catalog.token == catalog.token:
            return catalog, loaded, named
    raise ConfigurationKeepsChanging(f"the catalog changed at each of {ATTEMPTS_MAX} attempts to load {customer!r}")


def _make(state: State, request: Request) -> Verb[PreparedRequest]:
    customer = request.customer
    catalog, loaded, named = yield from load_for(state, request)
    environment = yield from open_environment(state)
    entities = loaded_entities(loaded)
    resolved = []
    for candidate in named:
        entity = entities.get(candidate.id)
        state.resolutions.put((customer, candidate.id), Resolution(loaded.stamp, entity.type if entity else None))
        if entity is not None and entity.type in candidate.types:
            resolved.append(candidate.id)

    shape = request.shape(resolved)
    kept = state.prepared.get(shape)
    if kept is not None and kept.stamp == loaded.stamp and kept.holds_at(loaded.server_now_ms):
        return kept  # made by another caller that was served by the same load
    prepared = _prepare(environment.keyspace.customer(customer), request, catalog, loaded, entities, resolved)
    state.prepared.put(shape, prepared)
    return prepared


def _prepare(
    customer_keys: CustomerKeys,
    request: Request,
    catalog: Catalog,
    loaded: Loaded,
    entities: dict[str, Entity],
    resolved: Sequence[str],
) -> PreparedRequest:
    now_ms, resource = loaded.server_now_ms, request.resource
    holdings = loaded_holdings(loaded, request.feature, resource)
    feature = None if request.feature is None else catalog.features.get(request.feature)
    currency_id, rate = request.currency, 1.0
    if request.feature is None:
        account = entitlements.currency_level(catalog.currencies.get(request.currency or ""), holdings)
    else:
        account = entitlements.account_level(feature, holdings, catalog.packages, now_ms=now_ms)
        currency_id, rate = (account.rate.currency, account.rate.amount) if account.rate else (None, 1.0)
    currency = None if currency_id is None else catalog.currencies.get(currency_id)
    countable = currency if request.feature is None else (feature if feature and feature.is_metered else None)
    if countable is None or holdings.customer is None:
        return prepare_denial(customer_keys, loaded.stamp, account, feature=feature, currency=currency)

    def budgets(capability: str | None) -> dict[str, tuple[Assignment, ...]]:
        return {} if capability is None else {id: loaded_assignments(loaded, id, capability) for id in entities}

    of_currency = None if currency is None else keys.currency_capability(currency.id)
    return prepare(
        customer_keys,
        loaded.stamp,
        account,
        chains(
            entities,
            budgets(None if feature is None else request.capability),
            resolved,
            currency=currency_id,
            of_currency=budgets(of_currency),
        ),
        feature=feature,
        account_field=None if feature is None else keys.account_counter_field(request.capability, resource),
        now_ms=now_ms,
        currency=currency,
        purse=None if currency is None else loaded_purse(catalog, loaded, currency.id, resource, rate=rate),
    )
