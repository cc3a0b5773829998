"""A whole policy, and how it is read."""

from __future__ import annotations

from typing import Self

from headgate.errors import InvalidInput
from headgate.model.base import Strict
from headgate.model.catalog import Currency, EntityType, Feature
from headgate.model.packages import Addon, Plan
from headgate.policy.catalog import CatalogReader
from headgate.policy.customers import CustomerReader
from headgate.policy.fields import Fields
from headgate.policy.items import PolicyCustomer
from headgate.policy.words import POLICY_WORDS


class Policy(Strict):
    """A whole policy: make one with `Policy.parse`, and write it with `engine.apply`."""

    features: tuple[Feature, ...] = ()
    currencies: tuple[Currency, ...] = ()
    entity_types: tuple[EntityType, ...] = ()
    plans: tuple[Plan, ...] = ()
    addons: tuple[Addon, ...] = ()
    customers: tuple[PolicyCustomer, ...] = ()

    @classmethod
    def parse(cls, data: object) -> Self:
        """Read a policy from plain data; raise `InvalidInput` with every problem, each at a path into the data."""
        fields = Fields()
        catalog = CatalogReader(fields)
        customers = CustomerReader(fields, catalog)
        parts = fields.take("", data, POLICY_WORDS) or {}
        policy = cls(
            features=fields.each("features", parts.get("features"), catalog.feature),
            currencies=fields.each("currencies", parts.get("currencies"), catalog.currency),
            entity_types=fields.each("entity_types", parts.get("entity_types"), catalog.entity_type),
            plans=fields.each("plans", parts.get("plans"), catalog.plan),
            addons=fields.each("addons", parts.get("addons"), catalog.addon),
            customers=fields.each("customers", parts.get("customers"), customers.customer),
        )
        if fields.problems:
            raise InvalidInput(fields.problems)
        return policy
