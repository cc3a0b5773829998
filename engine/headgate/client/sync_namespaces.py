"""What the engine offers by noun, for threads: catalog, customers, subscriptions, credits, governance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from headgate.client.arguments import optional_id
from headgate.model.catalog import Currency, EntityType, Feature
from headgate.model.credits import Grant, GrantRequest, GrantState, Wallet
from headgate.model.customer import Customer, PromotionalEntitlement, Resource
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.model.ids import require_id
from headgate.model.ledger import LedgerEntry
from headgate.model.packages import Addon, Plan
from headgate.model.subscription import Subscription, SubscriptionUpsert
from headgate.model.tree import Tree
from headgate.verbs import catalog, credits, customers, governance, ledgers, subscriptions, tree, wallets
from headgate.verbs.governance import EntityBudget

if TYPE_CHECKING:
    from headgate.client.sync_client import Headgate


class CatalogMethods:
    """Features, currencies, entity types, plans and add-ons. A change is done when every partition stands at it."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def put_features(self, features: Sequence[Feature | Mapping[str, Any]]) -> list[Feature]:
        """Create or replace features; a feature keeps its type. Makes the environment, if there is none."""
        accepted = catalog.accept_all(Feature, features, "features")
        return self._engine._set_up(catalog.put_features(self._engine._state, accepted))

    def features(self) -> dict[str, Feature]:
        """Read all features, by id."""
        return self._engine._set_up(catalog.features(self._engine._state))

    def put_currencies(self, currencies: Sequence[Currency | Mapping[str, Any]]) -> list[Currency]:
        """Create or replace 1 to 100 currencies. Makes the environment, if there is none."""
        accepted = catalog.accept_all(Currency, currencies, "currencies")
        return self._engine._set_up(catalog.put_currencies(self._engine._state, accepted))

    def currencies(self) -> dict[str, Currency]:
        """Read all currencies, by id."""
        return self._engine._set_up(catalog.currencies(self._engine._state))

    def put_entity_types(self, entity_types: Sequence[EntityType | Mapping[str, Any]]) -> list[EntityType]:
        """Create or replace entity types. Makes the environment, if there is none."""
        accepted = catalog.accept_all(EntityType, entity_types, "entity_types")
        return self._engine._set_up(catalog.put_entity_types(self._engine._state, accepted))

    def entity_types(self) -> dict[str, EntityType]:
        """Read all entity types, by id."""
        return self._engine._set_up(catalog.entity_types(self._engine._state))

    def put_plans(self, plans: Sequence[Plan | Mapping[str, Any]]) -> list[Plan]:
        """Create or replace 1 to 100 plans. They are live at once for everybody; a change counts the version up."""
        accepted = catalog.accept_all(Plan, plans, "plans")
        return self._engine._set_up(catalog.put_plans(self._engine._state, accepted))

    def plans(self) -> dict[str, Plan]:
        """Read all plans, by id."""
        return self._engine._set_up(catalog.plans(self._engine._state))

    def put_addons(self, addons: Sequence[Addon | Mapping[str, Any]]) -> list[Addon]:
        """Create or replace 1 to 100 add-ons. They are live at once; a change counts the version up."""
        accepted = catalog.accept_all(Addon, addons, "addons")
        return self._engine._set_up(catalog.put_addons(self._engine._state, accepted))

    def addons(self) -> dict[str, Addon]:
        """Read all add-ons, by id."""
        return self._engine._set_up(catalog.addons(self._engine._state))

    def accept_loss(self) -> None:
        """Write partitions that lost their data again, as empty ones: their customers are "not found" from then on."""
        self._engine._set_up(catalog.accept_loss(self._engine._state))


class CustomerMethods:
    """Customers, their resources, and what they were given directly."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def put(
        self,
        customer: str,
        *,
        name: str | None = None,
        email: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Customer:
        """Create a customer, or change the fields that are given."""
        fields = customers.given(name=name, email=email, metadata=metadata)
        return self._engine._set_up(customers.put(self._engine._state, require_id(customer, "customer"), fields))

    def get(self, customer: str) -> Customer:
        """Read a customer; raise `NotFound` if there is none."""
        return self._engine._set_up(customers.get(self._engine._state, require_id(customer, "customer")))

    def archive(self, customer: str) -> Customer:
        """Archive a customer: its checks are denied from the next call on. Usage stays."""
        verb = customers.set_archived(self._engine._state, require_id(customer, "customer"), archived=True)
        return self._engine._set_up(verb)

    def unarchive(self, customer: str) -> Customer:
        """Bring an archived customer back."""
        verb = customers.set_archived(self._engine._state, require_id(customer, "customer"), archived=False)
        return self._engine._set_up(verb)

    def put_resource(
        self,
        customer: str,
        resource: str,
        *,
        display_name: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Resource:
        """Create a resource of a customer, such as a site, or change the fields that are given."""
        ids = require_id(customer, "customer"), require_id(resource, "resource")
        fields = customers.given(display_name=display_name, metadata=metadata)
        return self._engine._set_up(customers.put_resource(self._engine._state, *ids, fields))

    def resources(self, customer: str) -> list[Resource]:
        """Read all resources of a customer, by id."""
        return self._engine._set_up(customers.resources(self._engine._state, require_id(customer, "customer")))

    def grant_entitlement(
        self, customer: str, entitlement: PromotionalEntitlement | Mapping[str, Any]
    ) -> PromotionalEntitlement:
        """Give a customer access to a feature, for ever or until it expires, or change that. There is one a feature."""
        accepted = PromotionalEntitlement.accept(entitlement, "entitlement")
        verb = customers.grant_entitlement(self._engine._state, require_id(customer, "customer"), accepted)
        return self._engine._set_up(verb)

    def revoke_entitlement(self, customer: str, *, feature: str) -> None:
        """Take an entitlement back: checks are denied as Revoked from the next call on. Usage stays."""
        ids = require_id(customer, "customer"), require_id(feature, "feature")
        self._engine._set_up(customers.revoke_entitlement(self._engine._state, *ids))

    def entitlements(self, customer: str) -> dict[str, PromotionalEntitlement]:
        """Read what a customer was given directly and still has, by feature."""
        return self._engine._set_up(customers.entitlements(self._engine._state, require_id(customer, "customer")))


class SubscriptionMethods:
    """What makes plans apply to customers, or to one of their resources."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def provision(self, customer: str, subscription: SubscriptionUpsert | Mapping[str, Any]) -> Subscription:
        """Create a subscription, or change what is given of one. It counts from the next call on."""
        accepted = SubscriptionUpsert.accept(subscription, "subscription")
        verb = subscriptions.provision(self._engine._state, require_id(customer, "customer"), accepted)
        return self._engine._set_up(verb)

    def cancel(
        self,
        customer: str,
        subscription_id: str,
        *,
        at: Literal["now", "period_end"] | datetime = "now",
        resource: str | None = None,
    ) -> Subscription:
        """End a subscription now, at the end of its billing period, or at an instant. Usage stays."""
        ids = require_id(customer, "customer"), require_id(subscription_id, "subscription_id")
        verb = subscriptions.cancel(self._engine._state, *ids, at, optional_id(resource, "resource"))
        return self._engine._set_up(verb)

    def get(self, customer: str, subscription_id: str, *, resource: str | None = None) -> Subscription:
        """Read a subscription; raise `NotFound` if there is none."""
        ids = require_id(customer, "customer"), require_id(subscription_id, "subscription_id")
        verb = subscriptions.get(self._engine._state, *ids, optional_id(resource, "resource"))
        return self._engine._set_up(verb)

    def list(self, customer: str, *, resource: str | None = None, include_ended: bool = False) -> list[Subscription]:
        """Read the subscriptions of a customer itself, or of one of its resources, by their start."""
        ids = require_id(customer, "customer"), optional_id(resource, "resource")
        verb = subscriptions.all_of(self._engine._state, *ids, include_ended=include_ended)
        return self._engine._set_up(verb)


class CreditMethods:
    """Credits: grants of a currency, and the wallets that they make up."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def grant(self, customer: str, grant: GrantRequest | Mapping[str, Any]) -> Grant:
        """Give credits to a customer, or to one of its resources. An id that is given again is the same grant."""
        accepted = GrantRequest.accept(grant, "grant")
        verb = credits.grant(self._engine._state, require_id(customer, "customer"), accepted)
        return self._engine._set_up(verb)

    def void(self, customer: str, grant_id: str, *, currency: str, resource: str | None = None) -> Grant:
        """Take back what a grant has left. Voiding it again changes nothing."""
        place = require_id(currency, "currency"), optional_id(resource, "resource")
        verb = credits.void(self._engine._state, require_id(customer, "customer"), grant_id, *place)
        return self._engine._set_up(verb)

    def wallet(self, customer: str, *, currency: str, resource: str | None = None) -> Wallet:
        """Read what a customer, or one of its resources, may use of a currency now: live grants, in burn order."""
        place = require_id(currency, "currency"), optional_id(resource, "resource")
        verb = wallets.wallet(self._engine._state, require_id(customer, "customer"), *place)
        return self._engine._run(verb)

    def grants(self, customer: str, *, currency: str, resource: str | None = None) -> list[GrantState]:
        """Read every grant that ever was, from the earliest on, and what became of each."""
        place = require_id(currency, "currency"), optional_id(resource, "resource")
        verb = wallets.grants(self._engine._state, require_id(customer, "customer"), *place)
        return self._engine._set_up(verb)

    def ledger(self, customer: str, *, currency: str, resource: str | None = None) -> list[LedgerEntry]:
        """Read what happened to the grants of a wallet, and to what was reserved of it, the earliest first."""
        place = require_id(currency, "currency"), optional_id(resource, "resource")
        verb = ledgers.credit_ledger(self._engine._state, require_id(customer, "customer"), *place)
        return self._engine._set_up(verb)


class GovernanceMethods:
    """Entities of a customer, their budgets, and the hierarchy between them."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def put_entities(self, customer: str, entities: Sequence[EntityUpsert | Mapping[str, Any]]) -> list[Entity]:
        """Create 1 to 100 entities, or change what is given of them. Naming an archived one brings it back."""
        accepted = catalog.accept_all(EntityUpsert, entities, "entities")
        verb = governance.put_entities(self._engine._state, require_id(customer, "customer"), accepted)
        return self._engine._set_up(verb)

    def put_assignments(
        self, customer: str, assignments: Sequence[AssignmentUpsert | Mapping[str, Any]]
    ) -> list[Assignment]:
        """Create 1 to 100 budgets, or change what is given of them, and move their entities under other parents."""
        accepted = catalog.accept_all(AssignmentUpsert, assignments, "assignments")
        verb = governance.put_assignments(self._engine._state, require_id(customer, "customer"), accepted)
        return self._engine._set_up(verb)

    def archive(self, customer: str, ids: Sequence[str]) -> list[Entity]:
        """Archive entities: their own budgets no longer apply, those above them still do."""
        verb = governance.set_archived(
            self._engine._state, require_id(customer, "customer"), governance.require_ids(ids), archived=True
        )
        return self._engine._set_up(verb)

    def unarchive(self, customer: str, ids: Sequence[str]) -> list[Entity]:
        """Bring archived entities back."""
        verb = governance.set_archived(
            self._engine._state, require_id(customer, "customer"), governance.require_ids(ids), archived=False
        )
        return self._engine._set_up(verb)

    def entities(self, customer: str, *, include_archived: bool = False) -> list[Entity]:
        """Read all entities of a customer, by id."""
        verb = governance.entities(
            self._engine._state, require_id(customer, "customer"), include_archived=include_archived
        )
        return self._engine._set_up(verb)

    def assignments(self, customer: str) -> list[EntityBudget]:
        """Read all budgets of a customer, by entity, feature and scope."""
        return self._engine._set_up(governance.assignments(self._engine._state, require_id(customer, "customer")))

    def tree(
        self, customer: str, *, feature: str | None = None, currency: str | None = None, resource: str | None = None
    ) -> Tree:
        """Read the customer's entities as a forest, with what every budget for a feature or a currency has used."""
        feature = optional_id(feature, "feature")
        place = optional_id(currency, "currency"), optional_id(resource, "resource")
        verb = tree.tree(self._engine._state, require_id(customer, "customer"), feature, *place)
        return self._engine._set_up(verb)
