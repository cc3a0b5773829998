"""The tree of a customer's entities with every budget's numbers, for people. It never gates."""

from __future__ import annotations

from collections.abc import Sequence

from headgate import entitlements, keys, wire
from headgate.cache import State
from headgate.calls import Verb
from headgate.chains import Budget
from headgate.errors import ConfigurationKeepsChanging, InvalidInput, NotFound
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import ConstraintState
from headgate.model.governance import Entity
from headgate.model.tree import Tree, TreeNode
from headgate.prepare import CONSTRAINTS_MAX, prepare, prepare_readings
from headgate.verbs.decide import state_of
from headgate.verbs.environment import ATTEMPTS_MAX, open_environment, read_catalog
from headgate.verbs.governance import scanned_budgets
from headgate.verbs.loading import loaded_entities
from headgate.verbs.scanning import scan
from headgate.wire import Loaded, Status


def tree(state: State, customer: str, feature: str) -> Verb[Tree]:
    """Read the customer's entities as a forest, with what every budget for a feature has used."""
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from read_catalog(state, fresh=True)
        if feature not in catalog.features:
            raise NotFound("feature", feature)
        if not catalog.features[feature].is_metered:
            raise InvalidInput.of("feature", feature, "is not metered: there is nothing that it has used")
        scanned = yield from scan(state, customer)
        if keys.CUSTOMER not in scanned.documents:
            raise NotFound("customer", customer)
        if scanned.stamp.catalog_token != catalog.token:
            continue
        entities = loaded_entities(scanned)
        budgets = [
            Budget(entities[each.entity], each.assignment)
            for each in sorted(scanned_budgets(scanned), key=lambda each: each.assignment.number)
            if each.feature == feature and each.entity in entities
        ]
        states = yield from _read_budgets(state, customer, scanned, budgets)
        account = yield from _read_account(state, customer, scanned, feature)
        if states is not None and account is not None:
            return _forest(customer, feature, account, entities, list(zip(budgets, states, strict=True)))
    raise ConfigurationKeepsChanging(
        f"customer {customer!r} changed at each of {ATTEMPTS_MAX} attempts to read it whole"
    )


def _read_budgets(
    state: State, customer: str, scanned: Loaded, budgets: Sequence[Budget]
) -> Verb[list[ConstraintState] | None]:
    environment = yield from open_environment(state)
    customer_keys = environment.keyspace.customer(customer)
    states: list[ConstraintState] = []
    for first in range(0, len(budgets), CONSTRAINTS_MAX - 1):
        part = budgets[first : first + CONSTRAINTS_MAX - 1]
        prepared = prepare_readings(customer_keys, scanned.stamp, part, now_ms=scanned.server_now_ms)
        reply = yield prepared.ask("check", 0.0, writes=False)
        if reply[0] not in (Status.GRANTED, Status.REFUSED):
            return None
        for constraint, packed in zip(prepared.constraints, reply[2:], strict=False):
            states.append(state_of(constraint, wire.unpack_counter(packed), 0.0))
    return states


def _read_account(state: State, customer: str, scanned: Loaded, feature: str) -> Verb[ConstraintState | None]:
    catalog = yield from read_catalog(state)
    environment = yield from open_environment(state)
    account = entitlements.account_level(
        scanned.document(Customer, keys.CUSTOMER),
        catalog.features.get(feature),
        scanned.document(PromotionalEntitlement, keys.entitlement_field(feature)),
        now_ms=scanned.server_now_ms,
    )
    prepared = prepare(
        environment.keyspace.customer(customer),
        scanned.stamp,
        account,
        [],
        feature=catalog.features.get(feature),
        account_field=keys.account_counter_field(keys.feature_capability(feature)),
        now_ms=scanned.server_now_ms,
    )
    reply = yield prepared.ask("check", 0.0, writes=False)
    if reply[0] not in (Status.GRANTED, Status.REFUSED):
        return None
    return state_of(prepared.constraints[0], wire.unpack_counter(reply[2]), 0.0)


def _forest(
    customer: str,
    feature: str,
    account: ConstraintState,
    entities: dict[str, Entity],
    budgets: list[tuple[Budget, ConstraintState]],
) -> Tree:
    children: dict[str | None, list[str]] = {}
    for id in sorted(entities):
        parent = entities[id].parent
        children.setdefault(parent if parent in entities else None, []).append(id)
    states: dict[str, list[ConstraintState]] = {}
    for budget, state in sorted(budgets, key=lambda pair: pair[0].assignment.scope):
        states.setdefault(budget.entity.id, []).append(state)

    def node(id: str) -> TreeNode:
        below = tuple(node(child) for child in children.get(id, ()))
        return TreeNode(entities[id], tuple(states.get(id, ())), below)

    return Tree(customer, feature, account, tuple(node(id) for id in children.get(None, ())))
