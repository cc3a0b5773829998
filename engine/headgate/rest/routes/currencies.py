"""Custom currencies: what credits are counted in.

Creating a currency again as it is answers it again; creating another one under its id is 409. What is not given of a
change stays, whatever others write meanwhile. Currencies are never archived: a list of archived ones is empty.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; an environment is that of the server.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from headgate.errors import InvalidInput, NotFound
from headgate.model.catalog import Currency
from headgate.model.decision import instant
from headgate.model.packages import Package
from headgate.rest.access import FULL, READ
from headgate.rest.capabilities import created, require_no_other
from headgate.rest.engine import Engine
from headgate.rest.pages import Paged, paged
from headgate.rest.queries import PAGING, Parameter, known_only, strings
from headgate.rest.routed import routed
from headgate.rest.shapes import Answer, Body, Data, IdText, Page, respond
from headgate.service.wire_names import wire_names

router = APIRouter()

CurrencyId = Annotated[IdText, Path(alias="currency_id", description="the currency")]

_PATH: Final = "/api/v1/credits/custom-currencies"
_STATUSES: Final = ("ACTIVE", "ARCHIVED")
_NAMES: Final = {"display_name": "displayName", "unit_singular": "units.singular", "unit_plural": "units.plural"}


class Units(Body):
    """What one credit is called, and what several are."""

    singular: str
    plural: str


class CurrencyFields(Body):
    """What of a currency can be changed; what is left out stays. "" or null clears a text."""

    display_name: str = Field(default_factory=str)
    description: str | None = None
    symbol: str | None = None
    units: Units | None = None
    metadata: dict[str, str] | None = None

    def given(self) -> dict[str, Any]:
        """What the engine is given: the fields that were sent."""
        fields: dict[str, Any] = {}
        for name, nothing in (("display_name", ""), ("description", ""), ("symbol", ""), ("metadata", {})):
            if self.gives(name):
                fields[name] = getattr(self, name) or nothing
        if self.gives("units"):
            fields["unit_singular"] = "" if self.units is None else self.units.singular
            fields["unit_plural"] = "" if self.units is None else self.units.plural
        return fields


class CurrencyBody(CurrencyFields):
    """A currency to create."""

    id: IdText
    display_name: str

    def wanted(self) -> Currency:
        """The currency that is asked for."""
        return Currency.accept({"id": self.id, **self.given()})


class UnitsAnswer(Answer):
    """What one credit is called, and what several are."""

    singular: str | None
    plural: str | None


class CurrencyAnswer(Answer):
    """A currency."""

    id: str
    display_name: str
    description: str | None
    symbol: str | None
    units: UnitsAnswer | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    archived_at: None = None

    @classmethod
    def of(cls, currency: Currency) -> Self:
        """Show a currency."""
        singular, plural = currency.unit_singular or None, currency.unit_plural or None
        return cls(
            id=currency.id,
            display_name=currency.display_name,
            description=currency.description or None,
            symbol=currency.symbol or None,
            units=UnitsAnswer(singular=singular, plural=plural) if singular or plural else None,
            metadata=currency.metadata,
            created_at=instant(currency.created_at_ms),
            updated_at=instant(currency.updated_at_ms),
        )


class AssociatedAnswer(Answer):
    """A plan or an add-on that gives a currency, or that is paid in it."""

    id: str
    display_name: str
    type: str


_routed: Final = partial(routed, "currencies")


@router.post(_PATH, operation_id="create_currency", **_routed(FULL, Data[CurrencyAnswer], 201))
async def create_currency(request: Request, engine: Engine, body: CurrencyBody) -> Response:
    """Create a currency. Creating it again as it is answers it again; another one under its id is 409."""
    known_only(request, ())

    with wire_names(_NAMES):
        wanted = body.wanted()
        await require_no_other(engine, Currency, body.id)
        currency = await engine.catalog.change_currency(body.id, created(wanted))
    return respond(Data[CurrencyAnswer](data=CurrencyAnswer.of(currency)), 201)


_LIST: Final = _routed(
    READ, Page[CurrencyAnswer], 200, Parameter("status", "ACTIVE (the default) or ARCHIVED, or both", is_list=True)
)


@router.get(_PATH, operation_id="list_currencies", **_LIST)
async def list_currencies(request: Request, engine: Engine, window: Paged) -> Response:
    """List the currencies, by id."""
    known_only(request, ("status", *PAGING))
    statuses = strings(request, "status")
    for each in statuses:
        if each not in _STATUSES:
            raise InvalidInput.of("status", each, f"must be one of {', '.join(_STATUSES)}")
    currencies = (await engine.catalog.currencies()).values() if "ACTIVE" in (statuses or _STATUSES) else ()
    page, pagination = paged(currencies, window, lambda each: (each.id,))
    return respond(Page[CurrencyAnswer](data=[CurrencyAnswer.of(each) for each in page], pagination=pagination))


@router.patch(f"{_PATH}/{{currency_id}}", operation_id="update_currency", **_routed(FULL, Data[CurrencyAnswer]))
async def update_currency(request: Request, engine: Engine, currency: CurrencyId, body: CurrencyFields) -> Response:
    """Change what is given of a currency. The metadata that is given takes the place of all that there was."""
    known_only(request, ())
    given = body.given()

    def changed(present: Currency | None) -> dict[str, Any]:
        if present is None:
            raise NotFound("currency", currency)
        return {**present.model_dump(), **given}

    with wire_names(_NAMES):
        updated = await engine.catalog.change_currency(currency, changed)
    return respond(Data[CurrencyAnswer](data=CurrencyAnswer.of(updated)))


@router.get(
    f"{_PATH}/{{currency_id}}/associated-entities",
    operation_id="list_associated_entities",
    **_routed(READ, Data[list[AssociatedAnswer]]),
)
async def list_associated_entities(request: Request, engine: Engine, currency: CurrencyId) -> Response:
    """List the plans and add-ons that give a currency, or whose features are paid in it, by type and id."""
    known_only(request, ())
    if currency not in await engine.catalog.currencies():
        raise NotFound("currency", currency)
    plans, addons = await engine.catalog.plans(), await engine.catalog.addons()
    found = [
        AssociatedAnswer(id=package.id, display_name=package.display_name, type=kind)
        for kind, packages in (("Plan", plans), ("Addon", addons))
        for package in packages.values()
        if _names(package, currency)
    ]
    return respond(Data[list[AssociatedAnswer]](data=found))


def _names(package: Package, currency: str) -> bool:
    gives = any(each.currency == currency for each in package.credits)
    rates = (each.credit_rate for each in package.entitlements)
    return gives or any(rate is not None and rate.currency == currency for rate in rates)
