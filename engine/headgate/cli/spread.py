"""Say who makes each call of a trace that does not say it itself: a stated, seeded rule, which anyone can repeat.

For a row without a customer, a feature's customer is drawn; for a row without any dimension, or without that of a
standing-alone type, entities of the customer are drawn:

- one *leaf*: an entity that has a parent and no children. It brings in its whole chain. A row that names any entity of
  the hierarchy in a column of its own gets none.
- one entity of each *standing-alone* type, such as a model: those with neither parent nor children. A row that has a
  column of such a type's keys filled in keeps what it says.

A drawn entity is given under the first attribution key of its type. Row n (counted from 1) draws from a list, sorted by
id, the item at `SHA-256("<seed>/<n>/<what>")`, its first 8 bytes as a big-endian number, modulo the list's length;
<what> is `customer`, `leaf`, or the id of the standing-alone type. So a row draws the same whatever other rows say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headgate.cli.traces import TracedCall
from headgate.errors import InvalidInput
from headgate.policy import Policy, PolicyCustomer

_Item = TypeVar("_Item")

CUSTOMER = "customer"
LEAF = "leaf"


@dataclass(frozen=True, slots=True)
class Attributed:
    """Who makes a call: the customer, and the dimensions of the request."""

    customer: str
    dimensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Targets:
    """What can be drawn for one customer: (attribution key, entity id) pairs, each list sorted by entity id."""

    leaves: tuple[tuple[str, str], ...]
    alone_by_type: Mapping[str, tuple[tuple[str, str], ...]]
    hierarchy_keys: frozenset[str]
    keys_by_type: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Spread:
    """The rule, for one policy, one feature and one seed."""

    feature: str
    seed: int
    customers: tuple[str, ...]
    targets: Mapping[str, Targets]

    @classmethod
    def of(cls, policy: Policy, *, feature: str, seed: int) -> Spread:
        """Find out what can be drawn; raise `InvalidInput` where no customer has the feature."""
        customers = sorted(
            customer.id for customer in policy.customers if feature in entitled_features(policy, customer)
        )
        if not customers:
            raise InvalidInput.of("policy", feature, "no customer is entitled to this feature: nobody can make a call")
        keys_by_type = {each.id: each.attribution_keys for each in policy.entity_types}
        targets = {customer.id: _targets(customer, keys_by_type) for customer in policy.customers}
        return cls(feature, seed, tuple(customers), targets)

    def attribute(self, call: TracedCall) -> Attributed:
        """Say who makes this call: what its row says, and what is drawn for the rest."""
        customer = call.customer or self._draw(call.row, CUSTOMER, self.customers)
        targets = self.targets.get(customer)
        dimensions = dict(call.dimensions)
        if targets is None:
            return Attributed(customer, dimensions)
        if targets.leaves and targets.hierarchy_keys.isdisjoint(call.dimensions):
            key, entity = self._draw(call.row, LEAF, targets.leaves)
            dimensions[key] = entity
        for kind, alone in targets.alone_by_type.items():
            if not any(key in call.dimensions for key in targets.keys_by_type[kind]):
                key, entity = self._draw(call.row, kind, alone)
                dimensions[key] = entity
        return Attributed(customer, dimensions)

    def every_shape(self) -> Iterator[Attributed]:
        """Give each leaf of each customer with the feature, once with every entity that stands alone."""
        for customer in self.customers:
            targets = self.targets[customer]
            kinds = [alone for _, alone in sorted(targets.alone_by_type.items())]
            for leaf in targets.leaves or (None,):
                for index in range(max(map(len, kinds), default=1)):
                    chosen = [alone[index % len(alone)] for alone in kinds]
                    yield Attributed(customer, dict(([leaf] if leaf else []) + chosen))

    def _draw(self, row: int, what: str, items: Sequence[_Item]) -> _Item:
        digest = hashlib.sha256(f"{self.seed}/{row}/{what}".encode()).digest()
        return items[int.from_bytes(digest[:8], "big") % len(items)]


def entitled_features(policy: Policy, customer: PolicyCustomer) -> frozenset[str]:
    """What a customer was given, or subscribes to: the features of its subscriptions, their plans and add-ons."""
    plans = {plan.id: plan.entitlements for plan in policy.plans}
    addons = {addon.id: addon.entitlements for addon in policy.addons}
    found = {entitlement.feature for entitlement in customer.entitlements}
    for subscription in customer.subscriptions:
        found |= {each.feature for each in subscription.entitlements or ()}
        found |= {each.feature for each in plans[subscription.plan or ""]}
        found |= {each.feature for ordered in subscription.addons or () for each in addons[ordered.addon]}
    return frozenset(found)


def metered_feature(policy: Policy, named: str | None) -> str:
    """Return the feature to consume: the one that is named, else the policy's only metered one."""
    metered = [feature.id for feature in policy.features if feature.is_metered]
    if named is not None:
        if named not in metered:
            raise InvalidInput.of("feature", named, f"the policy meters no such feature; it meters {_listed(metered)}")
        return named
    if len(metered) != 1:
        rule = f"name one of the policy's metered features with --feature; it has {_listed(metered)}"
        raise InvalidInput.of("feature", named, rule)
    return metered[0]


def dimension_keys(policy: Policy) -> frozenset[str]:
    """Every dimension name that the policy gives a meaning."""
    return frozenset(key for kind in policy.entity_types for key in kind.attribution_keys)


def _targets(customer: PolicyCustomer, keys_by_type: Mapping[str, tuple[str, ...]]) -> Targets:
    parents = {entity.parent for entity in customer.entities}
    leaves: list[tuple[str, str]] = []
    alone: dict[str, list[tuple[str, str]]] = {}
    hierarchy_keys: set[str] = set()
    for entity in sorted(customer.entities, key=lambda each: each.id):
        keys = keys_by_type[entity.type]
        has_children = entity.id in parents
        if entity.parent is not None or has_children:
            hierarchy_keys |= set(keys)
        if not keys or has_children:
            continue  # Nothing can name it, or its leaves bring it in.
        if entity.parent is not None:
            leaves.append((keys[0], entity.id))
        else:
            alone.setdefault(entity.type, []).append((keys[0], entity.id))
    ordered = {kind: tuple(alone[kind]) for kind in sorted(alone)}
    return Targets(tuple(leaves), ordered, frozenset(hierarchy_keys), dict(keys_by_type))


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids) if ids else "none"
