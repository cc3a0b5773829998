"""What a policy says: the catalog, and customers with what they subscribe to, were given, and may spend where.

    features:
      feature-ai-tokens: {type: NUMBER, meter: INCREMENTAL, name: AI tokens, units: token}
    currencies:
      currency-credits: {name: Credits}
    entity_types:
      org: {keys: [orgId]}
      team: {keys: [teamId]}
    plans:
      plan-pro:
        entitlements:
          feature-ai-tokens: {limit: 20_000_000, reset: MONTH}
        credits:
          - {currency: currency-credits, amount: 50_000, cadence: MONTH}
    customers:
      cus-acme:
        name: Acme
        subscriptions:
          sub-acme: {plan: plan-pro, start: 2026-01-01T00:00:00Z}
        grants:
          grant-welcome: {currency: currency-credits, amount: 500, kind: PROMOTIONAL}
        entities:
          org-acme:
            type: org
            budgets:
              - {feature: feature-ai-tokens, limit: unlimited, every: P1M}
            children:
              team-eng:
                type: team
                budgets:
                  - {feature: feature-ai-tokens, limit: 200_000, every: PT10M}

What it promises: `Policy.parse` takes that as plain data and finds everything that is wrong with it at once. A policy
stands on its own: every feature, currency, type, plan, add-on, resource and entity that it names is described in it. A
limit is a number or the word `unlimited`; it is never left out, so that nothing is unlimited by accident. Nesting says
who is whose parent.

Pure: where the data came from, and how it is written to a store, is not known here.
"""

from headgate.policy.document import Policy
from headgate.policy.fields import in_file_words
from headgate.policy.items import Budget, PolicyCustomer, PolicyEntity, PolicyResource
from headgate.policy.words import (
    ADDON_TERMS_WORDS,
    ADDON_WORDS,
    BUDGET_WORDS,
    CREDIT_WORDS,
    CURRENCY_WORDS,
    CUSTOMER_WORDS,
    ENTITLEMENT_WORDS,
    ENTITY_TYPE_WORDS,
    ENTITY_WORDS,
    FEATURE_WORDS,
    GRANT_WORDS,
    NEVER,
    PLAN_CREDIT_WORDS,
    PLAN_TERMS_WORDS,
    PLAN_WORDS,
    POLICY_WORDS,
    RATE_WORDS,
    RESOURCE_WORDS,
    SUBSCRIPTION_WORDS,
    TERMS_WORDS,
    UNLIMITED,
    path_to,
)

__all__ = [
    "ADDON_TERMS_WORDS",
    "ADDON_WORDS",
    "BUDGET_WORDS",
    "CREDIT_WORDS",
    "CURRENCY_WORDS",
    "CUSTOMER_WORDS",
    "ENTITLEMENT_WORDS",
    "ENTITY_TYPE_WORDS",
    "ENTITY_WORDS",
    "FEATURE_WORDS",
    "GRANT_WORDS",
    "NEVER",
    "PLAN_CREDIT_WORDS",
    "PLAN_TERMS_WORDS",
    "PLAN_WORDS",
    "POLICY_WORDS",
    "RATE_WORDS",
    "RESOURCE_WORDS",
    "SUBSCRIPTION_WORDS",
    "TERMS_WORDS",
    "UNLIMITED",
    "Budget",
    "Policy",
    "PolicyCustomer",
    "PolicyEntity",
    "PolicyResource",
    "in_file_words",
    "path_to",
]
