"""What an entitlement says, wherever it comes from: a plan, an add-on, a subscription of its own, or a promotion."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from headgate.amounts import parse_amount
from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.periods import MonthlyReset, ResetPeriod, WeeklyReset, YearlyReset, reset_schedule

INSTANT_MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""


def _amount(value: object) -> float:
    try:
        return float(parse_amount(value))
    except ValueError as error:
        raise ValueError(str(error).rsplit(": ", 1)[-1]) from None


def _limit(value: object) -> float | None:
    return None if value is None else _amount(value)


def _above_zero(value: float) -> float:
    if not value > 0:
        raise ValueError("must be more than 0")
    return value


Limit = Annotated[float | None, BeforeValidator(_limit)]
"""A limit: an amount of at least 0 in the exact range, or None for none."""

CreditAmount = Annotated[float, BeforeValidator(_amount), AfterValidator(_above_zero)]
"""An amount of credits: more than 0, in the exact range."""

InstantMs = Annotated[int, Field(ge=0, le=INSTANT_MAX_MS)]
"""An instant in epoch milliseconds."""


def _zone(name: str) -> str:
    reset_schedule(ResetPeriod.DAY, anchor_ms=0, zone=name)
    return name


Zone = Annotated[str, AfterValidator(_zone)]
"""An IANA zone name."""


def _according_to(value: object) -> object:
    for choices in (WeeklyReset, MonthlyReset, YearlyReset):
        if isinstance(value, str) and value in [choice.value for choice in choices]:
            return choices(value)
    names = dict.fromkeys(choice.value for choices in (WeeklyReset, MonthlyReset, YearlyReset) for choice in choices)
    raise ValueError(f"must be one of {', '.join(names)}")


AccordingTo = Annotated[WeeklyReset | MonthlyReset | YearlyReset, BeforeValidator(_according_to)]
"""What a weekly, monthly or yearly reset goes by."""


class EntitlementTerms(Strict):
    """Access to one feature, with its limit and its reset.

    `usage_limit` is the limit of a metered feature and the value of a numeric one. A soft limit is shown and does not
    refuse. Without a reset period usage never starts at 0 again.
    """

    feature: Id
    usage_limit: Limit = None
    has_unlimited_usage: bool = False
    has_soft_limit: bool = False
    enum_values: tuple[str, ...] = Field(default=(), strict=False)
    reset_period: ResetPeriod | None = Field(default=None, strict=False)
    reset_according_to: AccordingTo | None = None
    zone: Zone = "UTC"

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.has_unlimited_usage and self.usage_limit is not None:
            raise ValueError("usage_limit: an unlimited entitlement has none")
        if self.reset_according_to is not None and self.reset_period is None:
            raise ValueError("reset_according_to: goes with a reset_period of WEEK, MONTH or YEAR")
        if self.reset_period is not None:
            reset_schedule(self.reset_period, anchor_ms=0, according_to=self.reset_according_to, zone=self.zone)
        return self
