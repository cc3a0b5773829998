"""What a policy that was read is made of. Catalog, subscriptions and grants are values of the models."""

from __future__ import annotations

from headgate.model.base import Strict
from headgate.model.credits import GrantRequest
from headgate.model.customer import PromotionalEntitlement
from headgate.model.governance import CadenceText, Scope
from headgate.model.ids import Id
from headgate.model.subscription import SubscriptionUpsert
from headgate.model.terms import Limit, Zone


class Budget(Strict):
    """What an entity may use of one feature, or spend of one currency, in each period. A limit of None never refuses.

    A budget with a scope applies only where all entities of the scope take part in the request.
    """

    feature: Id | None = None
    currency: Id | None = None
    usage_limit: Limit
    cadence: CadenceText
    scope: Scope = ()
    zone: Zone = "UTC"

    @property
    def capability(self) -> str:
        """The id of the feature or the currency."""
        return self.feature or self.currency or ""


class PolicyEntity(Strict):
    """One governed thing of a customer, its single parent, and its budgets. A name of None leaves the present one."""

    id: Id
    type: Id
    display_name: str | None = None
    metadata: dict[str, str] | None = None
    parent: Id | None = None
    budgets: tuple[Budget, ...] = ()


class PolicyResource(Strict):
    """A sub-account of a customer, such as a site. A name of None leaves the present one."""

    id: Id
    display_name: str | None = None
    metadata: dict[str, str] | None = None


class PolicyCustomer(Strict):
    """One customer with all that hangs on it; entities stand after their parents.

    Subscriptions and grants have their ids. Of a subscription, what is not in `model_fields_set` stays as it is.
    """

    id: Id
    name: str | None = None
    email: str | None = None
    metadata: dict[str, str] | None = None
    resources: tuple[PolicyResource, ...] = ()
    subscriptions: tuple[SubscriptionUpsert, ...] = ()
    entitlements: tuple[PromotionalEntitlement, ...] = ()
    grants: tuple[GrantRequest, ...] = ()
    entities: tuple[PolicyEntity, ...] = ()
