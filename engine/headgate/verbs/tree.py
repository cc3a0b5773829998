"""The tree of a customer's entities with every budget's numbers, and what is above it, for people. It never gates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headgate import entitlements, keys, wire
from headgate.cache import Catalog, State
from headgate.calls import Verb
from headgate.chains import Budget
from headgate.entitlements import AccountLevel
from headgate.errors import ConfigurationKeepsChanging, InvalidInput, NotFound
from headgate.model.decision import ConstraintState
from headgate.model.governance import Entity
from headgate.model.tree import Tree, TreeNode
from headgate.prepare import CONSTRAINTS_MAX, prepare_account_readings, prepare_readings
from headgate.verbs.answers import state_of, wallet_constraint
from headgate.verbs.environment import ATTEMPTS_MAX, open_environment, read_catalog
from headgate.verbs.governance import scanned_budgets
from headgate.verbs.loading import loaded_entities, loaded_holdings
from headgate.verbs.scanning import scan
from headgate.verbs.sweeping import sweep_customer
from headgate.verbs.wallets import wallet as read_wallet
from headgate.wire import Loaded, Status


def tree(
    state: State, customer: str, feature: str | None, currency: str | None = None, resource: str | None = None
) -> Verb[Tree]:
    """Read the customer's entities as a forest, with what every budget for a feature or a currency has used."""
    if (feature is None) == (currency is None):
        raise InvalidInput.of("feature", feature, "a tree is of a feature or of a currency: give one of the two")
    for _ in range(ATTEMPTS_MAX):
        catalog = yield from read_catalog(state, fresh=True)
        _require_known(catalog, feature, currency)
        scanned = yield from scan(state, customer)
        _require_holder(scanned, customer, resource)
        if scanned.stamp.catalog_token != catalog.token:
            continue
        level = _account_level(catalog, scanned, feature, currency, resource)
        paid_in = level.rate.currency if level.rate is not None else currency
        entities = loaded_entities(scanned)
        budgets = _budgets(scanned, entities, feature, paid_in)
        states = yield from _read_budgets(state, customer, scanned, budgets)
        account = (
            None if feature is None else (yield from _read_account(state, customer, scanned, level, feature, resource))
        )
        if states is None or (account is None and feature is not None):
            continue
        wallet = None
        if paid_in is not None:
            wallet = yield from read_wallet(state, customer, paid_in, resource)
        if account is None:
            assert wallet is not None
            account = wallet_constraint(wallet, 0.0)
        subscriptions = loaded_holdings(scanned, feature, resource).subscriptions
        return Tree(
            customer=customer,
            feature=feature,
            account=account,
            roots=_forest(entities, zip(budgets, states, strict=True)),
            currency=paid_in,
            resource=resource,
            denial=level.denial,
            subscriptions=tuple(sorted(subscriptions, key=lambda each: (each.start_ms, each.id))),
            wallet=wallet,
            read_at_ms=scanned.server_now_ms,
        )
    raise ConfigurationKeepsChanging(
        f"customer {customer!r} changed at each of {ATTEMPTS_MAX} attempts to read it whole"
    )


def _require_known(catalog: Catalog, feature: str | None, currency: str | None) -> None:
    if feature is not None:
        if feature not in catalog.features:
            raise NotFound("feature", feature)
        if not catalog.features[feature].is_metered:
            raise InvalidInput.of("feature", feature, "is not metered: there is nothing that it has used")
    elif currency not in catalog.currencies:
        raise NotFound("currency", str(currency))


def _require_holder(scanned: Loaded, customer: str, resource: str | None) -> None:
    if keys.CUSTOMER not in scanned.documents:
        raise NotFound("customer", customer)
    if resource is not None and keys.resource_field(resource) not in scanned.documents:
        raise NotFound("customer resource", resource, within=f"of customer {customer!r}")


def _account_level(
    catalog: Catalog, scanned: Loaded, feature: str | None, currency: str | None, resource: str | None
) -> AccountLevel:
    holdings = loaded_holdings(scanned, feature, resource)
    if feature is None:
        return entitlements.currency_level(catalog.currencies.get(currency or ""), holdings)
    known = catalog.features.get(feature)
    return entitlements.account_level(known, holdings, catalog.packages, now_ms=scanned.server_now_ms)


def _budgets(scanned: Loaded, entities: dict[str, Entity], feature: str | None, currency: str | None) -> list[Budget]:
    """The budgets for the feature, and for the currency that it is paid in, in the order of their counters."""
    return [
        Budget(entities[each.entity], each.assignment, each.currency)
        for each in sorted(scanned_budgets(scanned), key=lambda each: each.assignment.number)
        if each.entity in entities and (each.currency == currency if each.feature is None else each.feature == feature)
    ]


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
            if reply[0] == Status.SWEEP_FIRST:
                state.metrics.holds_freed += yield from sweep_customer(state, customer)
            return None
        for constraint, packed in zip(prepared.constraints, reply[2:], strict=False):
            states.append(state_of(constraint, wire.unpack_counter(packed), 0.0))
    return states


def _read_account(
    state: State, customer: str, scanned: Loaded, level: AccountLevel, feature: str, resource: str | None
) -> Verb[ConstraintState | None]:
    environment = yield from open_environment(state)
    prepared = prepare_account_readings(
        environment.keyspace.customer(customer),
        scanned.stamp,
        [(level, keys.account_counter_field(keys.feature_capability(feature), resource))],
    )
    reply = yield prepared.ask("check", 0.0, writes=False)
    if reply[0] not in (Status.GRANTED, Status.REFUSED):
        if reply[0] == Status.SWEEP_FIRST:
            state.metrics.holds_freed += yield from sweep_customer(state, customer)
        return None
    return state_of(prepared.constraints[0], wire.unpack_counter(reply[2]), 0.0)


def _forest(entities: dict[str, Entity], budgets: Iterable[tuple[Budget, ConstraintState]]) -> tuple[TreeNode, ...]:
    children: dict[str | None, list[str]] = {}
    for id in sorted(entities):
        parent = entities[id].parent
        children.setdefault(parent if parent in entities else None, []).append(id)
    states: dict[str, list[ConstraintState]] = {}
    for budget, state in sorted(budgets, key=lambda pair: (pair[0].currency or "", pair[0].assignment.scope)):
        states.setdefault(budget.entity.id, []).append(state)

    def node(id: str) -> TreeNode:
        below = tuple(node(child) for child in children.get(id, ()))
        return TreeNode(entities[id], tuple(states.get(id, ())), below)

    return tuple(node(id) for id in children.get(None, ()))
