"""What the engine offers by noun, for threads: catalog, customers, subscriptions, credits, governance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from headgate.model.subscription import Subscription, SubscriptionState, SubscriptionUpsert
from headgate.model.tree import Tree
from headgate.verbs import (
    catalog,
    claims,
    credits,
    customers,
    governance,
    ledgers,
    listing,
    subscriptions,
    tree,
    wallets,
)
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

    def change_feature(self, feature: str, change: Callable[[Feature | None], Feature | Mapping[str, Any]]) -> Feature:
        """Read a feature, change it, and write it in one step, so that nothing that others wrote meanwhile is lost.

        `change` is given None where there is none yet, and is called again if others wrote meanwhile.
        """

        def changed(present: Feature | None) -> Feature:
            return Feature.accept(change(present), "feature")

        verb = catalog.change_feature(self._engine._state, require_id(feature, "feature"), changed)
        return self._engine._set_up(verb)

    def features(self) -> dict[str, Feature]:
        """Read all features, by id."""
        return self._engine._set_up(catalog.features(self._engine._state))

    def find(self, ids: Sequence[str]) -> dict[str, Feature | Currency]:
        """Find what ids name: features, or else currencies. Unknown ones are left out."""
        accepted = [require_id(id, f"ids[{index}]") for index, id in enumerate(ids)]
        return self._engine._run(catalog.find(self._engine._state, accepted))

    def put_currencies(self, currencies: Sequence[Currency | Mapping[str, Any]]) -> list[Currency]:
        """Create or replace 1 to 100 currencies. Makes the environment, if there is none."""
        accepted = catalog.accept_all(Currency, currencies, "currencies")
        return self._engine._set_up(catalog.put_currencies(self._engine._state, accepted))

    def change_currency(
        self, currency: str, change: Callable[[Currency | None], Currency | Mapping[str, Any]]
    ) -> Currency:
        """Read a currency, change it, and write it in one step, so that nothing that others wrote meanwhile is lost.

        `change` is given None where there is none yet, and is called again if others wrote meanwhile.
        """

        def changed(present: Currency | None) -> Currency:
            return Currency.accept(change(present), "currency")

        verb = catalog.change_currency(self._engine._state, require_id(currency, "currency"), changed)
        return self._engine._set_up(verb)

    def currencies(self) -> dict[str, Currency]:
        """Read all currencies, by id."""
        return self._engine._set_up(catalog.currencies(self._engine._state))

    def put_entity_types(
        self, entity_types: Sequence[EntityType | Mapping[str, Any]], *, keep_omitted: bool = False
    ) -> list[EntityType]:
        """Create or replace entity types. Makes the environment, if there is none.

        With `keep_omitted`, what is left out of a type that is there stays as it is.
        """
        accepted = catalog.accept_all(EntityType, entity_types, "entity_types")
        verb = catalog.put_entity_types(self._engine._state, accepted, keep_omitted=keep_omitted)
        return self._engine._set_up(verb)

    def entity_types(self) -> dict[str, EntityType]:
        """Read all entity types, by id."""
        return self._engine._set_up(catalog.entity_types(self._engine._state))

    def put_plans(self, plans: Sequence[Plan | Mapping[str, Any]]) -> list[Plan]:
        """Create or replace 1 to 100 plans. They are live at once for everybody; a change counts the version up."""
        accepted = catalog.accept_all(Plan, plans, "plans")
        return self._engine._set_up(catalog.put_plans(self._engine._state, accepted))

    def change_plan(self, plan: str, change: Callable[[Plan | None], Plan | Mapping[str, Any]]) -> Plan:
        """Read a plan, change it, and write it in one step, so that nothing that others wrote meanwhile is lost.

        `change` is given None where there is none yet, and is called again if others wrote meanwhile.
        """

        def changed(present: Plan | None) -> Plan:
            return Plan.accept(change(present), "plan")

        verb = catalog.change_plan(self._engine._state, require_id(plan, "plan"), changed)
        return self._engine._set_up(verb)

    def plans(self) -> dict[str, Plan]:
        """Read all plans, by id."""
        return self._engine._set_up(catalog.plans(self._engine._state))

    def put_addons(self, addons: Sequence[Addon | Mapping[str, Any]]) -> list[Addon]:
        """Create or replace 1 to 100 add-ons. They are live at once; a change counts the version up."""
        accepted = catalog.accept_all(Addon, addons, "addons")
        return self._engine._set_up(catalog.put_addons(self._engine._state, accepted))

    def change_addon(self, addon: str, change: Callable[[Addon | None], Addon | Mapping[str, Any]]) -> Addon:
        """Read an add-on, change it, and write it in one step, so that nothing that others wrote meanwhile is lost.

        `change` is given None where there is none yet, and is called again if others wrote meanwhile.
        """

        def changed(present: Addon | None) -> Addon:
            return Addon.accept(change(present), "addon")

        verb = catalog.change_addon(self._engine._state, require_id(addon, "addon"), changed)
        return self._engine._set_up(verb)

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
        only_new: bool = False,
    ) -> Customer:
        """Create a customer, or change the fields that are given.

        With `only_new`, none is changed: one that is there and says something else is `DuplicateId`.
        """
        fields = customers.given(name=name, email=email, metadata=metadata)
        verb = customers.put(self._engine._state, require_id(customer, "customer"), fields, only_new=only_new)
        return self._engine._set_up(verb)

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
        self, customer: str, entitlement: PromotionalEntitlement | Mapping[str, Any], *, lasting: str | None = None
    ) -> PromotionalEntitlement:
        """Give a customer access to a feature, for ever or until it expires, or change that. There is one a feature.

        `lasting` says for how long from now on, such as `P1M`, where the entitlement does not say when it expires.
        """
        accepted = PromotionalEntitlement.accept(entitlement, "entitlement")
        span = customers.lasting_of(accepted, lasting)
        verb = customers.grant_entitlement(self._engine._state, require_id(customer, "customer"), accepted, span)
        return self._engine._set_up(verb)

    def grant_entitlements(
        self,
        customer: str,
        entitlements: Sequence[PromotionalEntitlement | Mapping[str, Any]],
        *,
        lasting: Mapping[str, str] | None = None,
    ) -> list[PromotionalEntitlement]:
        """Give a customer access to 1 to 100 features in one step: all of them, or none.

        `lasting` says by feature for how long from now on, such as `P1M`, of those that do not say when they expire.
        """
        accepted = catalog.accept_all(PromotionalEntitlement, entitlements, "entitlements")
        spans = customers.lastings_of(accepted, lasting)
        verb = customers.grant_entitlements(self._engine._state, require_id(customer, "customer"), accepted, spans)
        return self._engine._set_up(verb)

    def revoke_entitlement(self, customer: str, *, feature: str) -> PromotionalEntitlement:
        """Take an entitlement back: checks are denied as Revoked from the next call on. Usage stays."""
        ids = require_id(customer, "customer"), require_id(feature, "feature")
        return self._engine._set_up(customers.revoke_entitlement(self._engine._state, *ids))

    def entitlements(self, customer: str, *, include_expired: bool = False) -> dict[str, PromotionalEntitlement]:
        """Read what a customer was given directly and still has, by feature; what has expired too, where asked."""
        verb = customers.entitlements(
            self._engine._state, require_id(customer, "customer"), include_expired=include_expired
        )
        return self._engine._set_up(verb)

    def list(
        self,
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int = 100,
        include_archived: bool = True,
    ) -> list[Customer]:
        """Read a page of all customers, in an order that no write disturbs: those after an id, or before one.

        The order is for paging: it is neither that of ids nor that of creation. A page has 1 to 1000 customers.
        """
        page = optional_id(after, "after"), optional_id(before, "before")
        limit = listing.require_page(*page, limit)
        verb = listing.customers(
            self._engine._state, after=page[0], before=page[1], limit=limit, include_archived=include_archived
        )
        return self._engine._set_up(verb)


class SubscriptionMethods:
    """What makes plans apply to customers, or to one of their resources."""

    def __init__(self, engine: Headgate) -> None:
        self._engine = engine

    def provision(
        self,
        customer: str,
        subscription: SubscriptionUpsert | Mapping[str, Any],
        *,
        claimed: bool = False,
        make_resource: bool = False,
    ) -> Subscription:
        """Create a subscription, or change what is given of one. It counts from the next call on.

        `make_resource` makes the resource that it is for where there is none yet. `claimed` claims its id, as `claim`
        does. Neither happens where something is wrong with the subscription.
        """
        accepted = SubscriptionUpsert.accept(subscription, "subscription")
        id = require_id(customer, "customer")
        verb = subscriptions.provision(self._engine._state, id, accepted, claimed=claimed, make_resource=make_resource)
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

    def state(self, customer: str, subscription_id: str, *, resource: str | None = None) -> SubscriptionState:
        """Read a subscription and how it stands now: its status, and its billing period."""
        ids = require_id(customer, "customer"), require_id(subscription_id, "subscription_id")
        verb = subscriptions.state_of(self._engine._state, *ids, optional_id(resource, "resource"))
        return self._engine._set_up(verb)

    def states(self, customer: str) -> Sequence[SubscriptionState]:
        """Read how all subscriptions of a customer and of its resources stand now, ended ones too, as created."""
        verb = subscriptions.states(self._engine._state, require_id(customer, "customer"))
        return self._engine._set_up(verb)

    def claim(self, subscription_id: str, customer: str, resource: str | None = None) -> None:
        """Let an id stand for a subscription of this customer alone, for `owner`; `Conflict` if it is another's."""
        ids = require_id(subscription_id, "subscription_id"), require_id(customer, "customer")
        self._engine._set_up(claims.claim(self._engine._state, *ids, optional_id(resource, "resource")))

    def owner(self, subscription_id: str) -> tuple[str, str | None] | None:
        """Find the customer, and the resource or None, that claimed the id of a subscription; None if nobody has."""
        id = require_id(subscription_id, "subscription_id")
        return self._engine._set_up(claims.owner(self._engine._state, id))

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

    def grants(self, customer: str, *, currency: str | None = None, resource: str | None = None) -> list[GrantState]:
        """Read every grant that ever was, from the earliest on, and what became of each.

        Without a currency: of the wallets of all currencies.
        """
        place = optional_id(currency, "currency"), optional_id(resource, "resource")
        verb = wallets.grants(self._engine._state, require_id(customer, "customer"), *place)
        return self._engine._set_up(verb)

    def ledger(self, customer: str, *, currency: str | None = None, resource: str | None = None) -> list[LedgerEntry]:
        """Read what happened to the grants of a wallet, and to what was reserved of it, the earliest first.

        Without a currency: of the wallets of all currencies.
        """
        place = optional_id(currency, "currency"), optional_id(resource, "resource")
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

    def find(self, customer: str, ids: Sequence[str]) -> dict[str, Entity]:
        """Read up to 100 entities by their ids, archived ones too; an id that is none is left out."""
        verb = governance.find(self._engine._state, require_id(customer, "customer"), governance.require_ids(ids))
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
