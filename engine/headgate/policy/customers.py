"""Reading one customer of a policy: resources, subscriptions, promotional entitlements and grants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headgate.model.credits import GrantRequest
from headgate.model.customer import PromotionalEntitlement
from headgate.model.ids import is_id
from headgate.model.subscription import QUANTITY_MAX, SubscriptionAddon, SubscriptionUpsert, TrialEndBehavior
from headgate.model.terms import EntitlementTerms
from headgate.policy.catalog import CatalogReader
from headgate.policy.entities import EntityReader
from headgate.policy.fields import Fields
from headgate.policy.items import PolicyCustomer, PolicyResource
from headgate.policy.words import (
    CREDIT_WORDS,
    CUSTOMER_WORDS,
    ENTITLEMENT_WORDS,
    GRANT_WORDS,
    NEVER,
    RESOURCE_WORDS,
    SUBSCRIPTION_WORDS,
    TERMS_WORDS,
    path_to,
)

_QUANTITY_RULE: Final = f"write how many: a whole number from 1 to {QUANTITY_MAX:,}"


class CustomerReader:
    """Reads customers, each on its own: resources first, which the rest of a customer may name."""

    def __init__(self, fields: Fields, catalog: CatalogReader) -> None:
        self._fields = fields
        self._catalog = catalog
        self._resources: frozenset[str] = frozenset()
        self._resources_path = ""

    def customer(self, path: str, id: str, value: object) -> PolicyCustomer | None:
        """Read one customer with all that hangs on it."""
        given = self._fields.take(path, value, CUSTOMER_WORDS)
        if given is None:
            return None
        resources = given.pop("resources", None)
        self._resources_path = path_to(path, "resources")
        self._resources = frozenset(map(str, resources)) if isinstance(resources, Mapping) else frozenset()
        known = {
            "resources": self._fields.each(self._resources_path, resources, self._resource),
            "subscriptions": self._fields.each(
                path_to(path, "subscriptions"), given.pop("subscriptions", None), self._subscription
            ),
            "entitlements": self._catalog.entitlements(
                PromotionalEntitlement, path, given.pop("entitlements", None), ENTITLEMENT_WORDS
            ),
            "grants": self._fields.each(path_to(path, "grants"), given.pop("grants", None), self._grant),
            "entities": EntityReader(self._fields, self._catalog, path).entities(given.pop("entities", None)),
        }
        return self._fields.build(PolicyCustomer, path, given, CUSTOMER_WORDS, id=id, **known)

    def _resource(self, path: str, id: str, value: object) -> PolicyResource | None:
        given = self._fields.take(path, value, RESOURCE_WORDS)
        return None if given is None else self._fields.build(PolicyResource, path, given, RESOURCE_WORDS, id=id)

    def _require_resource(self, path: str, given: dict[str, Any]) -> None:
        id = given.get("resource")
        if is_id(id) and id not in self._resources:
            rule = f"is no resource of this customer: describe it under {self._resources_path}"
            self._fields.note(path_to(path, "resource"), id, rule)

    def _subscription(self, path: str, id: str, value: object) -> SubscriptionUpsert | None:
        taken = self._fields.take(path, value, SUBSCRIPTION_WORDS)
        if taken is None:
            return None
        given = {word: item for word, item in taken.items() if item is not None}
        if "plan" not in given:
            self._fields.note(path_to(path, "plan"), None, "is required")
        elif isinstance(given["plan"], str):
            self._catalog.is_known(path_to(path, "plan"), given["plan"], "plan")
        self._require_resource(path, given)
        addons = self._fields.each(path_to(path, "addons"), given.pop("addons", None), self._addon)
        entitlements = self._catalog.entitlements(EntitlementTerms, path, given.pop("entitlements", None), TERMS_WORDS)
        credits = self._catalog.credits(path, given.pop("credits", None), CREDIT_WORDS, one_a_currency=True)
        instants = self._fields.instants(path, given, SUBSCRIPTION_WORDS, never=("end", "trial_end"))
        for end in ("end", "trial_end"):
            self._fields.require_order(path, given, instants, SUBSCRIPTION_WORDS, "start", end)
        self._require_trial(path, taken, instants)
        known: dict[str, Any] = {"id": id, "addons": addons, "entitlements": entitlements, "credits": credits}
        if "unit_quantity" not in given:
            known["unit_quantity"] = 1
        return self._fields.build(SubscriptionUpsert, path, given, SUBSCRIPTION_WORDS, **known, **instants)

    def _require_trial(self, path: str, given: Mapping[str, Any], instants: Mapping[str, int | None]) -> None:
        """Tell where a trial goes on after the end, or where there is none that could end the subscription."""
        trial_end_ms, end_ms = instants.get("trial_end_ms"), instants.get("end_ms")
        if trial_end_ms is not None and end_ms is not None and trial_end_ms > end_ms:
            rule = f"must not be after end, which is {given['end']}"
            self._fields.note(path_to(path, "trial_end"), given["trial_end"], rule)
        behavior = given.get("trial_end_behavior")
        if behavior == TrialEndBehavior.CANCEL_SUBSCRIPTION and given.get("trial_end") in (None, NEVER):
            rule = "goes with a trial_end: without a trial there is none that could end"
            self._fields.note(path_to(path, "trial_end_behavior"), behavior, rule)

    def _addon(self, path: str, id: str, quantity: object) -> SubscriptionAddon | None:
        is_known = self._catalog.is_known(path, id, "add-on")
        if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= QUANTITY_MAX:
            self._fields.note(path, quantity, _QUANTITY_RULE)
            return None
        return SubscriptionAddon(addon=id, quantity=quantity) if is_known else None

    def _grant(self, path: str, id: str, value: object) -> GrantRequest | None:
        given = self._fields.take(path, value, GRANT_WORDS)
        if given is None:
            return None
        if isinstance(given.get("currency"), str):
            self._catalog.is_known(path_to(path, "currency"), given["currency"], "currency")
        self._require_resource(path, given)
        amount = self._fields.amount(path, given)
        instants = self._fields.instants(path, given, GRANT_WORDS, never=("expires",))
        self._fields.require_order(path, given, instants, GRANT_WORDS, "effective", "expires")
        return self._fields.build(GrantRequest, path, given, GRANT_WORDS, id=id, amount=amount, **instants)
