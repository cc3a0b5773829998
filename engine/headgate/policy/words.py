"""The words of a policy file, and what the models call them. A word that is not here is a problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

UNLIMITED: Final = "unlimited"
"""Stands for a limit: counted, and never refused."""

NEVER: Final = "never"
"""Stands for an instant at which something ends."""


def path_to(parent: str, part: str | int) -> str:
    """The path of one item of a mapping or a list: `customers.cus-acme`, `budgets[0]`, `customers["a@b.example"]`."""
    if isinstance(part, int):
        return f"{parent}[{part}]"
    if re.fullmatch(r"[\w-]+", part):
        return f"{parent}.{part}" if parent else part
    return f"{parent}[{json.dumps(part, ensure_ascii=False)}]"


def _same(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


_TEXTS = {"name": "display_name", "description": "description", "metadata": "metadata"}

POLICY_WORDS: Final = _same(("features", "currencies", "entity_types", "plans", "addons", "customers"))

FEATURE_WORDS: Final = {"type": "feature_type", "meter": "meter_type", "values": "enum_values"} | (
    _TEXTS | _same(("units", "units_plural", "status"))
)
CURRENCY_WORDS: Final = _TEXTS | {"symbol": "symbol", "unit": "unit_singular", "units": "unit_plural"}
ENTITY_TYPE_WORDS: Final = {"keys": "attribution_keys", "name": "display_name", "description": "description"}

TERMS_WORDS: Final = {
    "limit": "usage_limit",
    "soft": "has_soft_limit",
    "values": "enum_values",
    "reset": "reset_period",
    "according_to": "reset_according_to",
    "zone": "zone",
}
ENTITLEMENT_WORDS: Final = TERMS_WORDS | {"anchor": "reset_anchor_ms", "expires": "expires_at_ms"}
PLAN_TERMS_WORDS: Final = TERMS_WORDS | {"per_unit": "per_unit", "credit_rate": "credit_rate"}
ADDON_TERMS_WORDS: Final = TERMS_WORDS | {"behavior": "behavior", "credit_rate": "credit_rate"}
RATE_WORDS: Final = {"currency": "currency", "amount": "amount"}
CREDIT_WORDS: Final = _same(("currency", "amount", "cadence")) | {"soft": "has_soft_limit"}
PLAN_CREDIT_WORDS: Final = CREDIT_WORDS | {"per_unit": "per_unit"}

ADDON_WORDS: Final = _TEXTS | _same(("entitlements", "credits"))
PLAN_WORDS: Final = {"product": "product"} | ADDON_WORDS

CUSTOMER_WORDS: Final = _same(
    ("name", "email", "metadata", "resources", "subscriptions", "entitlements", "grants", "entities")
)
RESOURCE_WORDS: Final = {"name": "display_name", "metadata": "metadata"}
SUBSCRIPTION_WORDS: Final = {
    **_same(("plan", "resource", "billing_period", "unit_quantity", "addons", "entitlements", "credits")),
    "start": "start_ms",
    "end": "end_ms",
    "trial_end": "trial_end_ms",
    "trial_end_behavior": "trial_end_behavior",
    "billing_anchor": "billing_anchor_ms",
    "metadata": "metadata",
}
GRANT_WORDS: Final = {
    **_same(("currency", "amount", "resource", "kind", "priority")),
    "effective": "effective_at_ms",
    "expires": "expires_at_ms",
    "name": "display_name",
    "comment": "comment",
    "metadata": "metadata",
}
ENTITY_WORDS: Final = {"name": "display_name"} | _same(("type", "metadata", "budgets", "children"))
BUDGET_WORDS: Final = {
    **_same(("feature", "currency")),
    "limit": "usage_limit",
    "every": "cadence",
    "scope": "scope",
    "zone": "zone",
}
