"""Products: labels that plans and add-ons carry. They are listed as they are found there, and made by being given.

A product is as old as the oldest plan or add-on that carries it, and was updated with the last. A customer may have
several subscriptions at once, of one product or of many.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, Self

from fastapi import APIRouter, Request, Response

from headgate.errors import InvalidInput
from headgate.model.decision import instant
from headgate.model.packages import Package
from headgate.rest.access import READ
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED, CREATED_PARAMETERS, created_within
from headgate.rest.pages import Paged, paged
from headgate.rest.queries import PAGING, Parameter, documented, identifier, known_only, strings
from headgate.rest.shapes import Answer, Page, respond

router = APIRouter()

STATUSES: Final = ("PUBLISHED", "ARCHIVED")


class ProductAnswer(Answer):
    """A product."""

    id: str
    display_name: str
    description: None = None
    metadata: dict[str, str]
    multiple_subscriptions: bool = True
    product_settings: None = None
    status: Literal["PUBLISHED"] = "PUBLISHED"
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, product: str, packages: Iterable[Package]) -> Self:
        """Show a product by what carries it."""
        carriers = list(packages)
        return cls(
            id=product,
            display_name=product,
            metadata={},
            created_at=instant(min(each.created_at_ms for each in carriers)),
            updated_at=instant(max(each.updated_at_ms for each in carriers)),
        )


@router.get(
    "/api/v1/products",
    operation_id="list_products",
    dependencies=[READ],
    response_model=None,
    responses={200: {"model": Page[ProductAnswer]}},
    tags=["products"],
    openapi_extra=documented(
        Parameter("id", "only the product with this id"),
        Parameter("status", "only those with one of these statuses: PUBLISHED, ARCHIVED", is_list=True),
        *CREATED_PARAMETERS,
    ),
)
async def list_products(request: Request, engine: Engine, window: Paged) -> Response:
    """List the products of all plans and add-ons, by id."""
    known_only(request, ("id", "status", *CREATED, *PAGING))
    id, statuses, is_within = identifier(request, "id"), strings(request, "status"), created_within(request)
    for status in statuses:
        if status not in STATUSES:
            raise InvalidInput.of("status", status, f"must be one of {', '.join(STATUSES)}")
    carriers: dict[str, list[Package]] = {}
    plans, addons = await engine.catalog.plans(), await engine.catalog.addons()
    for each in (*plans.values(), *addons.values()):
        if each.product is not None:
            carriers.setdefault(each.product, []).append(each)
    products = [
        ProductAnswer.of(product, packages)
        for product, packages in carriers.items()
        if id in (None, product)
        and (not statuses or "PUBLISHED" in statuses)
        and is_within(min(each.created_at_ms for each in packages))
    ]
    page, pagination = paged(products, window, lambda each: (each.id,))
    return respond(Page[ProductAnswer](data=page, pagination=pagination))
