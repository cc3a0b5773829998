"""Loading: from a customer, a feature and dimensions to a prepared request, with at most one call where it is new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headgate import entitlements, keys, wire
from headgate.cache import Catalog, Resolution, State
from headgate.calls import Call, Verb
from headgate.chains import Dimensions, candidates, chains
from headgate.errors import ConfigurationKeepsChanging, EnvironmentNotReady
from headgate.model.base import Strict
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.governance import Assignment, Entity
from headgate.prepare import PreparedRequest, prepare, prepare_denial
from headgate.verbs.environment import ATTEMPTS_MAX, mend_partition, open_environment, read_catalog, refuse_status
from headgate.wire import Loaded, Status


class Assignments(Strict):
    """The document of an entity's budgets for one capability."""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What one check, consume or report asks about, without its amount."""

    customer: str
    feature: str
    dimensions: Dimensions | None


def load(
    state: State,
    customer: str,
    *,
    fields: Sequence[bytes],
    entities: Iterable[str] = (),
    capabilities: Iterable[str] = (),
    shared: bool = False,
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
    kept = state.prepared.get((customer, request.feature, tuple(resolved)))
    if kept is None or kept.stamp.catalog_token != catalog.token or any(stamp != kept.stamp for stamp in stamps):
        return None
    told = state.told.get(customer)
    return kept if told is None or told == kept.stamp.version else None


def _make(state: State, request: Request) -> Verb[PreparedRequest]:
    customer, capability = request.customer, keys.feature_capability(request.feature)
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from read_catalog(state)
        named = candidates(request.dimensions, catalog.types_by_key)
        loaded_catalog, loaded = yield from load(
            state,
            customer,
            fields=[keys.CUSTOMER, keys.entitlement_field(request.feature)],
            entities=dict.fromkeys(candidate.id for candidate in named),
            capabilities=[capability],
            shared=True,
        )
        if loaded_catalog.token == catalog.token:
            break
    else:
        raise ConfigurationKeepsChanging(f"the catalog changed at each of {ATTEMPTS_MAX} attempts to load {customer!r}")
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(customer)
    feature = catalog.features.get(request.feature)
    account = entitlements.account_level(
        loaded.document(Customer, keys.CUSTOMER),
        feature,
        loaded.document(PromotionalEntitlement, keys.entitlement_field(request.feature)),
        now_ms=loaded.server_now_ms,
    )
    entities = loaded_entities(loaded)
    resolved = []
    for candidate in named:
        entity = entities.get(candidate.id)
        state.resolutions.put((customer, candidate.id), Resolution(loaded.stamp, entity.type if entity else None))
        if entity is not None and entity.type in candidate.types:
            resolved.append(candidate.id)

    shape = (customer, request.feature, tuple(resolved))
    kept = state.prepared.get(shape)
    if kept is not None and kept.stamp == loaded.stamp and kept.holds_at(loaded.server_now_ms):
        return kept  # made by another caller that was served by the same load
    if feature is None or not feature.is_metered or loaded.documents.get(keys.CUSTOMER) is None:
        prepared = prepare_denial(customer_keys, loaded.stamp, account, feature=feature)
    else:
        prepared = prepare(
            customer_keys,
            loaded.stamp,
            account,
            chains(entities, {id: loaded_assignments(loaded, id, capability) for id in entities}, resolved),
            feature=feature,
            account_field=keys.account_counter_field(capability),
            now_ms=loaded.server_now_ms,
        )
    state.prepared.put(shape, prepared)
    return prepared
