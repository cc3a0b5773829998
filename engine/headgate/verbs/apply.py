"""Apply a policy: make what it names as it says. What it leaves out is left alone, and nothing is ever deleted.

Rules are exactly as the policy has them: types, meters, keys, what plans, add-ons and subscriptions say, limits,
resets, cadences, scopes, parents. Names, texts, metadata, anchors, and the instants of a subscription that it leaves
out stay as they are. An archived entity that it names comes back, and so does a revoked promotional entitlement; a
subscription that was cancelled does not. A grant is given once. Applied a second time, a policy changes nothing.

All reading and all judging comes before the first write. Then every write is valid where it stands: the catalog,
customers, resources, subscriptions, entitlements, grants, entities, budgets with parents root first, at most 100 in a
call. A policy that was cut half-way (a server that went away) is simply applied again.
"""

from __future__ import annotations

from headgate.cache import State
from headgate.calls import Verb
from headgate.errors import Conflict, EnvironmentNotReady, InvalidInput
from headgate.policy import Policy
from headgate.verbs import credits, customers, governance, subscriptions
from headgate.verbs.applying.catalog import PresentCatalog, catalog_after, judge_catalog
from headgate.verbs.applying.changes import Change, ChangeKind, Changes, Told, in_batches
from headgate.verbs.applying.customers import CustomerWrites, judge_customer
from headgate.verbs.applying.entities import EntityWrites, PresentEntities, judge_entities
from headgate.verbs.applying.foreseen import PresentCustomer
from headgate.verbs.environment import read_catalog, require_nothing_lost
from headgate.verbs.scanning import scan

__all__ = ["Change", "ChangeKind", "Changes", "apply"]


def apply(state: State, policy: Policy, *, dry_run: bool = False) -> Verb[Changes]:
    """Make what the policy names as it says, and return what that changed; a dry run tells it, and writes nothing.

    Raises `Conflict`, before the first write, for what can't be changed: the type of a feature or of an entity, an
    archived customer, a subscription that has ended, a grant that was given, an end that has passed, a wallet that is
    full, or a fifth level below an entity that the policy moves.
    """
    if not isinstance(policy, Policy):
        raise InvalidInput.of("policy", policy, "must be a Policy: make one with Policy.parse")
    told = Told()
    present, is_new = yield from _present_catalog(state)
    catalog_writes = judge_catalog(told, present, policy)
    catalog = catalog_after(present, catalog_writes)
    writes: list[tuple[CustomerWrites, EntityWrites]] = []
    for customer in policy.customers:
        holds, entities = PresentCustomer(present.now_ms), PresentEntities()
        if not is_new:
            scanned = yield from scan(state, customer.id)
            holds, entities = PresentCustomer.of(scanned), PresentEntities.of(scanned)
        customer_writes = judge_customer(told, holds, customer, catalog)
        writes.append((customer_writes, judge_entities(told, entities, customer)))
    if told.conflicts:
        raise Conflict("; ".join(told.conflicts))
    if not dry_run:
        yield from catalog_writes.write(state)
        for customer_writes, entity_writes in writes:
            yield from _write_customer(state, customer_writes)
            yield from _write_entities(state, entity_writes)
    return Changes(told.changes, told.unchanged)


def _present_catalog(state: State) -> Verb[tuple[PresentCatalog, bool]]:
    """The catalog as it is stored, and whether nothing was ever written: then it is empty, and has the time alone."""
    try:
        stored = yield from read_catalog(state, fresh=True)
    except EnvironmentNotReady:
        now_ms = yield from require_nothing_lost(state)
        return PresentCatalog(now_ms), True
    packages = stored.packages
    return (
        PresentCatalog(
            now_ms=stored.read_at_ms,
            features=stored.features,
            currencies=stored.currencies,
            entity_types=stored.entity_types,
            plans=packages.plans,
            addons=packages.addons,
        ),
        False,
    )


def _write_customer(state: State, writes: CustomerWrites) -> Verb[None]:
    if writes.fields is not None:
        yield from customers.put(state, writes.customer, writes.fields)
    for resource, fields in writes.resources.items():
        yield from customers.put_resource(state, writes.customer, resource, fields)
    for subscription in writes.subscriptions:
        yield from subscriptions.provision(state, writes.customer, subscription)
    for entitlement in writes.entitlements:
        yield from customers.grant_entitlement(state, writes.customer, entitlement)
    for request in writes.grants:
        yield from credits.grant(state, writes.customer, request)


def _write_entities(state: State, writes: EntityWrites) -> Verb[None]:
    for entities in in_batches(writes.entities):
        yield from governance.put_entities(state, writes.customer, entities)
    for assignments in in_batches(writes.assignments):
        yield from governance.put_assignments(state, writes.customer, assignments)
    for moves in (*in_batches(writes.moves), *in_batches(writes.moves_at_once)):
        yield from governance.put_assignments(state, writes.customer, moves)
