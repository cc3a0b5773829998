"""A customer's entities as a forest, with every budget's numbers for one feature or one currency, and what is above."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headgate.model.credits import Wallet
from headgate.model.decision import ConstraintState, DeniedReason, instant
from headgate.model.governance import Entity
from headgate.model.subscription import Subscription, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An entity, what its budgets stand at (node-wide first, then by scope ids), and the entities below it."""

    entity: Entity
    states: tuple[ConstraintState, ...]
    children: tuple[TreeNode, ...]

    def walk(self) -> Iterator[TreeNode]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "entity": self.entity.id,
            "type": self.entity.type,
            "display_name": self.entity.display_name,
            "archived": self.entity.archived_at_ms is not None,
            "budgets": [state.as_dict() for state in self.states],
            "children": [child.as_dict() for child in self.children],
        }


@dataclass(frozen=True, slots=True)
class Tree:
    """All entities of a customer, roots first, with what is above them.

    It is of a `feature`, or of a `currency`; a feature that is paid in credits has both, and its budgets for these
    credits are among the others. `account` is the feature's account level, or the wallet as a constraint. `denial` says
    why the account level denies whatever its counter says. `subscriptions` are the customer's own and the resource's,
    by start and id; those that ended are among them. `wallet` is what is paid from.
    """

    customer: str
    feature: str | None
    account: ConstraintState
    roots: tuple[TreeNode, ...]
    currency: str | None = None
    resource: str | None = None
    denial: DeniedReason | None = None
    subscriptions: tuple[Subscription, ...] = ()
    wallet: Wallet | None = None
    read_at_ms: int = 0

    def walk(self) -> Iterator[TreeNode]:
        """All nodes, parents first."""
        for root in self.roots:
            yield from root.walk()

    def status_of(self, subscription: Subscription) -> SubscriptionStatus:
        """Where a subscription stood when the tree was read."""
        return subscription.status_at(self.read_at_ms)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "customer": self.customer,
            "resource": self.resource,
            "feature": self.feature,
            "currency": self.currency,
            "account": self.account.as_dict(),
            "denied": self.denial and self.denial.value,
            "subscriptions": [self._subscription(each) for each in self.subscriptions],
            "wallet": self.wallet and self.wallet.as_dict(),
            "roots": [root.as_dict() for root in self.roots],
            "read_at": instant(self.read_at_ms).isoformat(),
        }

    def _subscription(self, subscription: Subscription) -> dict[str, Any]:
        return {
            "id": subscription.id,
            "resource": subscription.resource,
            "plan": subscription.plan,
            "status": self.status_of(subscription).value,
            "billing_period": subscription.billing_period and subscription.billing_period.value,
            "unit_quantity": subscription.unit_quantity,
            "addons": {each.addon: each.quantity for each in subscription.addons},
            "start": _moment(subscription.start_ms),
            "trial_end": _moment(subscription.trial_end_ms),
            "end": _moment(subscription.ends_at_ms),
        }


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else instant(at_ms).isoformat()
