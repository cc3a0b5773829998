"""What the vendor's API offers and Headgate does not build: each route says so with 501, and what to use instead.

`NOT_BUILT` is the whole table. A route that is built stands in a module of its own and not in here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from headgate.errors import NotSupported
from headgate.rest.access import READ
from headgate.rest.problems import NEVER_AGAIN, Refused
from headgate.rest.shapes import Problem

router = APIRouter()

BILLING: Final = "Headgate measures and gates usage, and bills nobody"
INTEGRATIONS: Final = "Headgate is connected to no other service: read what it knows with this API, and send it on"
CONTRACTS: Final = "Headgate keeps no contracts: subscriptions say what a customer may use, and until when"
DRAFTS: Final = "there are no drafts: plans and add-ons are live when they are written, so change them directly"
ARCHIVE: Final = "the catalog is never archived: stop using what is not needed any more"
PRODUCTS: Final = "a product is a label that plans and add-ons carry: give it as their productId"
EVENTS: Final = "raw events are not metered: report what they amount to with POST /api/v1/usage"
ESTIMATES: Final = "nothing is estimated: a check says what is left, and counts nothing"
HISTORY: Final = "no history of usage is kept: the entitlements of the customer say what was used in this period"
CREDIT_USAGE: Final = "no history of usage is kept: the grants of the customer say what was consumed of each"
NOTHING_PENDS: Final = "changes count when they are written: no payment or schedule is waited for"
ANOTHER: Final = "a subscription stays with its customer: cancel it, and provision another"
VERSIONS: Final = "a plan has one version, which holds for every subscriber on the next call"
PREVIEWS: Final = "there are no invoices to foresee; what is wrong with a subscription is said when it is provisioned"


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """One operation that is not built, and why; what stands in its place, where something does."""

    method: str
    path: str
    operation_id: str
    why: str


NOT_BUILT: Final = tuple(
    NotBuilt(method, path, operation_id, why)
    for why, operations in (
        (
            BILLING,
            (
                ("GET", "/api/v1/coupons", "list_coupons"),
                ("POST", "/api/v1/coupons", "create_coupon"),
                ("GET", "/api/v1/coupons/{id}", "get_coupon"),
                ("PATCH", "/api/v1/coupons/{id}", "update_coupon"),
                ("POST", "/api/v1/coupons/{id}/archive", "archive_coupon"),
                ("GET", "/api/v1/customers/{id}/invoices", "list_customer_invoices"),
                ("POST", "/api/v1/customers/{id}/payment-method", "attach_payment_method"),
                ("DELETE", "/api/v1/customers/{id}/payment-method", "detach_payment_method"),
                ("GET", "/api/v1/credits/auto-recharge", "get_auto_recharge"),
                ("GET", "/api/v1/plans/{id}/charges", "list_plan_charges"),
                ("GET", "/api/v1/plans/{id}/overage-charges", "list_plan_overage_charges"),
                ("GET", "/api/v1/addons/{id}/charges", "list_addon_charges"),
                ("POST", "/api/v1/subscriptions/{id}/invoice/paid", "mark_invoice_as_paid"),
                ("POST", "/api/v1/subscriptions/{id}/usage/charge", "charge_usage"),
                ("POST", "/api/v1/subscriptions/{id}/usage/sync", "sync_usage"),
            ),
        ),
        (
            INTEGRATIONS,
            (
                ("GET", "/api/v1/customers/{id}/integrations", "list_customer_integrations"),
                ("POST", "/api/v1/customers/{id}/integrations", "link_customer_integration"),
                ("GET", "/api/v1/customers/{id}/integrations/{integration_id}", "get_customer_integration"),
                ("PATCH", "/api/v1/customers/{id}/integrations/{integration_id}", "update_customer_integration"),
                ("DELETE", "/api/v1/customers/{id}/integrations/{integration_id}", "unlink_customer_integration"),
                ("GET", "/api/v1/data-export/models", "list_export_models"),
                ("POST", "/api/v1/data-export/destinations", "create_export_destination"),
                ("PATCH", "/api/v1/data-export/destinations/{destination_id}", "update_export_destination"),
                ("DELETE", "/api/v1/data-export/destinations/{destination_id}", "delete_export_destination"),
                ("POST", "/api/v1/data-export/sync", "trigger_export"),
            ),
        ),
        (
            CONTRACTS,
            (
                ("GET", "/api/v1/contracts", "list_contracts"),
                ("POST", "/api/v1/contracts", "create_contract"),
                ("GET", "/api/v1/contracts/{id}", "get_contract"),
                ("PATCH", "/api/v1/contracts/{id}", "update_contract"),
                ("POST", "/api/v1/contracts/{id}/archive", "archive_contract"),
                ("GET", "/api/v1/customers/{id}/contracts", "list_customer_contracts"),
            ),
        ),
        (
            DRAFTS,
            (
                ("POST", "/api/v1/plans/{id}/draft", "create_plan_draft"),
                ("DELETE", "/api/v1/plans/{id}/draft", "remove_plan_draft"),
                ("POST", "/api/v1/addons/{id}/draft", "create_addon_draft"),
                ("DELETE", "/api/v1/addons/{id}/draft", "remove_addon_draft"),
            ),
        ),
        (
            ARCHIVE,
            (
                ("POST", "/api/v1/plans/{id}/archive", "archive_plan"),
                ("POST", "/api/v1/addons/{id}/archive", "archive_addon"),
                ("POST", "/api/v1/features/{id}/archive", "archive_feature"),
                ("POST", "/api/v1/features/{id}/unarchive", "unarchive_feature"),
                ("POST", "/api/v1/credits/custom-currencies/{currency_id}/archive", "archive_currency"),
                ("POST", "/api/v1/credits/custom-currencies/{currency_id}/unarchive", "unarchive_currency"),
            ),
        ),
        (
            PRODUCTS,
            (
                ("POST", "/api/v1/products", "create_product"),
                ("PATCH", "/api/v1/products/{id}", "update_product"),
                ("POST", "/api/v1/products/{id}/archive", "archive_product"),
                ("POST", "/api/v1/products/{id}/unarchive", "unarchive_product"),
                ("POST", "/api/v1/products/{id}/duplicate", "duplicate_product"),
            ),
        ),
        (EVENTS, (("POST", "/api/v1/events", "report_events"),)),
        (
            ESTIMATES,
            (
                ("POST", "/api/v1/events/estimate", "estimate_events"),
                ("POST", "/api/v1/usage/estimate", "estimate_usage"),
            ),
        ),
        (HISTORY, (("GET", "/api/v1/usage/{customer_id}/history/{feature_id}", "get_usage_history"),)),
        (CREDIT_USAGE, (("GET", "/api/v1/credits/usage", "get_credit_usage"),)),
        (
            NOTHING_PENDS,
            (
                ("DELETE", "/api/v1/subscriptions/{id}/future-update/pending-payment", "cancel_pending_payment"),
                ("DELETE", "/api/v1/subscriptions/{id}/future-update/schedule", "cancel_scheduled_update"),
            ),
        ),
        (
            ANOTHER,
            (
                ("POST", "/api/v1/subscriptions/{id}/delegate", "delegate_subscription"),
                ("POST", "/api/v1/subscriptions/{id}/transfer", "transfer_subscription"),
            ),
        ),
        (VERSIONS, (("POST", "/api/v1/subscriptions/{id}/migrate", "migrate_subscription"),)),
        (PREVIEWS, (("POST", "/api/v1/subscriptions/preview", "preview_subscription"),)),
    )
    for method, path, operation_id in operations
)


def _refusing(operation: NotBuilt) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:
        message = f"{request.method} {request.url.path} is not built: {operation.why}"
        raise Refused(HTTPStatus.NOT_IMPLEMENTED, NotSupported.code, message, NEVER_AGAIN)

    return refuse


def _parameters(path: str) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    shape = {"in": "path", "required": True, "schema": {"type": "string"}}
    return {"parameters": [{"name": name, **shape} for name in names]} if names else {}


for _each in NOT_BUILT:
    router.add_api_route(
        _each.path,
        _refusing(_each),
        methods=[_each.method],
        operation_id=_each.operation_id,
        dependencies=[READ],
        status_code=HTTPStatus.NOT_IMPLEMENTED,
        response_model=Problem,
        response_description="Not built",
        summary=f"Not built: {_each.why}.",
        tags=["not built"],
        openapi_extra=_parameters(_each.path),
    )
