"""Promotional entitlements: access to a feature that a customer was given directly, beside its subscriptions.

A customer has one for a feature: granting it again takes the place of the one before, and its period of time is counted
from then on. What was used stays used, and its usage resets when it did. One that has expired stays in the list; one
that was revoked does not.

What differs from the vendor's:

- `id` is the feature's: there is one a feature.
- `startDate` is since when it stands as it does, and `period` is what lies between that and `endDate`: `lifetime`
  without an end, `custom` where it is no span of the calendar. It was not kept how it was asked for.
- `isVisible` is accepted and ignored, and true in answers: there is no portal to show it in.
- No entitlement is ever `Paused`.

accepted and ignored: the headers `X-ACCOUNT-ID` and `X-ENVIRONMENT-ID`; an environment is that of the server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field, model_validator

from headgate.errors import InvalidInput
from headgate.model.customer import PromotionalEntitlement
from headgate.model.decision import instant
from headgate.periods import Cadence, MonthlyReset, ResetPeriod, Schedule, WeeklyReset, YearlyReset
from headgate.rest.access import FULL, READ
from headgate.rest.engine import Engine
from headgate.rest.filters import CREATED, CREATED_PARAMETERS, created_within
from headgate.rest.pages import Paged, paged
from headgate.rest.queries import PAGING, Parameter, known_only, strings
from headgate.rest.routed import routed
from headgate.rest.shapes import Answer, Body, Data, IdText, Moment, Number, Page, instant_ms, respond
from headgate.service.wire_names import wire_names
from headgate.verbs.customers import ENTITLEMENTS_MAX

router = APIRouter()

CustomerId = Annotated[IdText, Path(alias="id", description="the customer")]
FeatureId = Annotated[IdText, Path(alias="feature_id", description="the feature")]

_PATH: Final = "/api/v1/customers/{id}/promotional-entitlements"
_NAMES: Final = {
    "entitlements": "promotionalEntitlements",
    "feature": "featureId",
    "usage_limit": "usageLimit",
    "has_unlimited_usage": "hasUnlimitedUsage",
    "has_soft_limit": "hasSoftLimit",
    "enum_values": "enumValues",
    "reset_period": "resetPeriod",
    "expires_at_ms": "customEndDate",
}


class PromotionPeriod(StrEnum):
    """How long an entitlement lasts."""

    WEEK = "1 week"
    MONTH = "1 month"
    HALF_YEAR = "6 month"
    YEAR = "1 year"
    LIFETIME = "lifetime"
    CUSTOM = "custom"


class PromotionStatus(StrEnum):
    """Where an entitlement stands."""

    ACTIVE = "Active"
    EXPIRED = "Expired"
    PAUSED = "Paused"


_LASTING: Final = {
    PromotionPeriod.WEEK: "P1W",
    PromotionPeriod.MONTH: "P1M",
    PromotionPeriod.HALF_YEAR: "P6M",
    PromotionPeriod.YEAR: "P1Y",
}


class WeeklyConfiguration(Body):
    """What weeks go by."""

    according_to: Annotated[WeeklyReset, Field(strict=False)]


class MonthlyConfiguration(Body):
    """What months go by."""

    according_to: Annotated[MonthlyReset, Field(strict=False)]


class YearlyConfiguration(Body):
    """What years go by."""

    according_to: Annotated[YearlyReset, Field(strict=False)]


class PromotionBody(Body):
    """Access to a feature for a while, or for ever. A custom period says itself when it ends."""

    feature_id: IdText
    period: Annotated[PromotionPeriod, Field(strict=False)]
    custom_end_date: Moment | None = None
    usage_limit: float | None = None
    has_unlimited_usage: bool | None = None
    has_soft_limit: bool | None = None
    enum_values: list[str] | None = None
    is_visible: bool | None = None
    reset_period: Annotated[ResetPeriod | None, Field(strict=False)] = None
    weekly_reset_period_configuration: WeeklyConfiguration | None = None
    monthly_reset_period_configuration: MonthlyConfiguration | None = None
    yearly_reset_period_configuration: YearlyConfiguration | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.period is PromotionPeriod.CUSTOM) != (self.custom_end_date is not None):
            raise ValueError("customEndDate: goes with the period custom, and only with that")
        for period in (ResetPeriod.WEEK, ResetPeriod.MONTH, ResetPeriod.YEAR):
            if self._configuration(period) is not None and self.reset_period is not period:
                raise ValueError(f"{period.lower()}lyResetPeriodConfiguration: goes with the resetPeriod {period}")
        return self

    def _configuration(
        self, period: ResetPeriod | None
    ) -> WeeklyConfiguration | MonthlyConfiguration | YearlyConfiguration | None:
        match period:
            case ResetPeriod.WEEK:
                return self.weekly_reset_period_configuration
            case ResetPeriod.MONTH:
                return self.monthly_reset_period_configuration
            case ResetPeriod.YEAR:
                return self.yearly_reset_period_configuration
        return None

    @property
    def lasts(self) -> bool:
        """Whether it ends a span of the calendar from now on."""
        return self.period in _LASTING

    def as_given(self) -> dict[str, Any]:
        """What the engine is given."""
        configuration, end = self._configuration(self.reset_period), self.custom_end_date
        return {
            "feature": self.feature_id,
            "usage_limit": self.usage_limit,
            "has_unlimited_usage": bool(self.has_unlimited_usage),
            "has_soft_limit": bool(self.has_soft_limit),
            "enum_values": tuple(self.enum_values or ()),
            "reset_period": self.reset_period,
            "reset_according_to": None if configuration is None else configuration.according_to,
            "expires_at_ms": None if end is None else instant_ms(end),
        }


class PromotionsBody(Body):
    """Entitlements to grant, each feature once."""

    promotional_entitlements: Annotated[list[PromotionBody], Field(min_length=1, max_length=ENTITLEMENTS_MAX)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        counts = Counter(each.feature_id for each in self.promotional_entitlements)
        twice = [feature for feature, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"each feature may be in the list once, and {', '.join(twice)} is there more often")
        return self


class ResetConfigurationAnswer(Answer):
    """What a reset goes by."""

    according_to: str


class PromotionAnswer(Answer):
    """An entitlement that was given directly."""

    id: str
    feature_id: str
    environment_id: str
    description: None = None
    feature_group_ids: None = None
    status: PromotionStatus
    period: PromotionPeriod
    start_date: datetime
    end_date: datetime | None
    usage_limit: Number | None
    has_unlimited_usage: bool
    has_soft_limit: bool
    enum_values: list[str] | None
    is_visible: bool = True
    reset_period: ResetPeriod | None
    reset_period_configuration: ResetConfigurationAnswer | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, environment: str, entitlement: PromotionalEntitlement, *, is_active: bool) -> Self:
        """Show an entitlement; one that was revoked ended then."""
        revoked_at_ms, according_to = entitlement.revoked_at_ms, entitlement.reset_according_to
        end_ms = entitlement.expires_at_ms if revoked_at_ms is None else revoked_at_ms
        return cls(
            id=entitlement.feature,
            feature_id=entitlement.feature,
            environment_id=environment,
            status=PromotionStatus.ACTIVE if is_active else PromotionStatus.EXPIRED,
            period=_period_of(entitlement),
            start_date=instant(entitlement.updated_at_ms),
            end_date=None if end_ms is None else instant(end_ms),
            usage_limit=entitlement.usage_limit,
            has_unlimited_usage=entitlement.has_unlimited_usage,
            has_soft_limit=entitlement.has_soft_limit,
            enum_values=list(entitlement.enum_values) or None,
            reset_period=entitlement.reset_period,
            reset_period_configuration=None
            if according_to is None
            else ResetConfigurationAnswer(according_to=according_to),
            created_at=instant(entitlement.created_at_ms),
            updated_at=instant(entitlement.updated_at_ms if revoked_at_ms is None else revoked_at_ms),
        )


def _period_of(entitlement: PromotionalEntitlement) -> PromotionPeriod:
    """How long it lasts from when it was given as it is."""
    if entitlement.expires_at_ms is None:
        return PromotionPeriod.LIFETIME
    for period, cadence in _LASTING.items():
        if Schedule(Cadence.parse(cadence), entitlement.updated_at_ms).boundary_ms(1) == entitlement.expires_at_ms:
            return period
    return PromotionPeriod.CUSTOM


_routed: Final = partial(routed, "promotional entitlements")

_LIST: Final = _routed(
    READ,
    Page[PromotionAnswer],
    200,
    Parameter("status", "only those that are Active, or Expired", is_list=True),
    *CREATED_PARAMETERS,
)


@router.get(_PATH, operation_id="list_promotional_entitlements", **_LIST)
async def list_promotional_entitlements(
    request: Request, engine: Engine, customer: CustomerId, window: Paged
) -> Response:
    """List what a customer was given directly, expired ones too, by feature."""
    known_only(request, ("status", *CREATED, *PAGING))
    statuses, is_within = strings(request, "status"), created_within(request)
    for each in statuses:
        if each not in list(PromotionStatus):
            raise InvalidInput.of("status", each, f"must be one of {', '.join(PromotionStatus)}")
    active = await engine.customers.entitlements(customer)
    given: Mapping[str, PromotionalEntitlement] = active
    if statuses != [PromotionStatus.ACTIVE]:
        given = await engine.customers.entitlements(customer, include_expired=True)
    wanted = [
        each
        for feature, each in given.items()
        if is_within(each.created_at_ms)
        and (not statuses or (PromotionStatus.ACTIVE if feature in active else PromotionStatus.EXPIRED) in statuses)
    ]
    page, pagination = paged(wanted, window, lambda each: (each.feature,))
    shown = [PromotionAnswer.of(engine.environment, each, is_active=each.feature in active) for each in page]
    return respond(Page[PromotionAnswer](data=shown, pagination=pagination))


@router.post(
    _PATH,
    operation_id="grant_promotional_entitlements",
    **_routed(FULL, Data[list[PromotionAnswer]]),
)
async def grant_promotional_entitlements(
    request: Request, engine: Engine, customer: CustomerId, body: PromotionsBody
) -> Response:
    """Give a customer access to 1 to 100 features, to all or none. What was given before for one is replaced."""
    known_only(request, ())
    wanted = [each.as_given() for each in body.promotional_entitlements]
    lasting = {each.feature_id: _LASTING[each.period] for each in body.promotional_entitlements if each.lasts}
    with wire_names(_NAMES):
        given = await engine.customers.grant_entitlements(customer, wanted, lasting=lasting)
    shown = [PromotionAnswer.of(engine.environment, each, is_active=True) for each in given]
    return respond(Data[list[PromotionAnswer]](data=shown))


@router.delete(
    f"{_PATH}/{{feature_id}}",
    operation_id="revoke_promotional_entitlement",
    **_routed(FULL, Data[PromotionAnswer]),
)
async def revoke_promotional_entitlement(
    request: Request, engine: Engine, customer: CustomerId, feature: FeatureId
) -> Response:
    """Take a promotional entitlement back, from the next call on. Revoking it again changes nothing."""
    known_only(request, ())
    revoked = await engine.customers.revoke_entitlement(customer, feature=feature)
    return respond(Data[PromotionAnswer](data=PromotionAnswer.of(engine.environment, revoked, is_active=False)))
