"""What the tests of subscriptions over REST share: a catalog, two customers, and how a subscription is shown."""

from __future__ import annotations

from typing import Any

from headgate.rest.names import pack_name
from rest.conftest import Api

START = "2026-03-10T12:00:00Z"
DAY_MS = 86_400_000
PATH = "/api/v1/subscriptions"
MAIN = f"{PATH}/main"
BODY = {"customerId": "acme", "planId": "pro"}
PACKED = pack_name("subscription", "acme", None, "pro")

SHOWN: dict[str, Any] = {
    "id": "main",
    "customerId": "acme",
    "planId": "pro",
    "resourceId": None,
    "status": "ACTIVE",
    "pricingType": "FREE",
    "paymentCollection": "NOT_REQUIRED",
    "paymentCollectionMethod": "NONE",
    "billingPeriod": None,
    "unitQuantity": 1,
    "addons": [],
    "subscriptionEntitlements": [],
    "startDate": START,
    "endDate": None,
    "effectiveEndDate": None,
    "cancellationDate": None,
    "cancelReason": None,
    "trial": None,
    "trialEndDate": None,
    "billingCycleAnchor": START,
    "currentBillingPeriodStart": None,
    "currentBillingPeriodEnd": None,
    "metadata": {},
    "createdAt": START,
    "billingId": None,
    "budget": None,
    "contractId": None,
    "coupons": [],
    "futureUpdates": [],
    "latestInvoice": None,
    "minimumSpend": None,
    "payingCustomerId": None,
    "prices": [],
}


async def set_up(api: Api) -> None:
    """A catalog, and two customers without subscriptions."""
    await api.engine.catalog.put_features(
        [
            {"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
            {"id": "region", "feature_type": "ENUM", "enum_values": ("eu", "us")},
        ]
    )
    await api.engine.catalog.put_currencies([{"id": "credits"}])
    tokens = {"feature": "tokens", "usage_limit": 100, "per_unit": True}
    await api.engine.catalog.put_plans([{"id": "pro", "entitlements": [tokens]}, {"id": "free"}])
    await api.engine.catalog.put_addons([{"id": "boost", "entitlements": [{"feature": "tokens", "usage_limit": 50}]}])
    for customer in ("acme", "other"):
        await api.engine.customers.put(customer)


async def provision(api: Api, status: int = 201, **fields: Any) -> Any:
    return await api.send("POST", PATH, {**BODY, **fields}, status=status)
