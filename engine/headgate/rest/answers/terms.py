"""What an entitlement says of a feature or gives of a currency, as clients send it: the same wherever it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import model_validator

from headgate.errors import InvalidInput
from headgate.rest.shapes import Body

ResetPeriodText: TypeAlias = Literal["YEAR", "MONTH", "WEEK", "DAY", "HOUR"]
CadenceText: TypeAlias = Literal["MONTH", "YEAR"]
BehaviorText: TypeAlias = Literal["Increment", "Override"]

Yearly: TypeAlias = Literal["SubscriptionStart"]
Monthly: TypeAlias = Literal["SubscriptionStart", "StartOfTheMonth"]
Weekly: TypeAlias = Literal[
    "SubscriptionStart",
    "EverySunday",
    "EveryMonday",
    "EveryTuesday",
    "EveryWednesday",
    "EveryThursday",
    "EveryFriday",
    "EverySaturday",
]


class YearlyResetBody(Body):
    """What a yearly reset goes by."""

    according_to: Yearly


class MonthlyResetBody(Body):
    """What a monthly reset goes by."""

    according_to: Monthly


class WeeklyResetBody(Body):
    """What a weekly reset goes by."""

    according_to: Weekly


class FeatureTermsBody(Body):
    """The limit of a feature and its reset. What is left out stays as it is; without a reset period nothing resets."""

    usage_limit: float | None = None
    has_unlimited_usage: bool | None = None
    has_soft_limit: bool | None = None
    reset_period: ResetPeriodText | None = None
    yearly_reset_period_configuration: YearlyResetBody | None = None
    monthly_reset_period_configuration: MonthlyResetBody | None = None
    weekly_reset_period_configuration: WeeklyResetBody | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.has_unlimited_usage and self.usage_limit is not None:
            raise ValueError("usageLimit: an unlimited entitlement has none")
        return self

    def over(self, present: Mapping[str, Any]) -> dict[str, Any]:
        """What the engine is given: what was sent, over what is there. A limit and no limit exclude each other."""
        terms = dict(present)
        if self.gives("usage_limit"):
            terms |= {"usage_limit": self.usage_limit}
            if self.usage_limit is not None and self.has_unlimited_usage is None:
                terms |= {"has_unlimited_usage": False}
        if self.has_unlimited_usage is not None:
            terms |= {"has_unlimited_usage": self.has_unlimited_usage}
            if self.has_unlimited_usage and not self.gives("usage_limit"):
                terms |= {"usage_limit": None}
        if self.has_soft_limit is not None:
            terms |= {"has_soft_limit": self.has_soft_limit}
        return terms | self._reset(present)

    def _reset(self, present: Mapping[str, Any]) -> dict[str, Any]:
        before = present.get("reset_period")
        period = self.reset_period if self.gives("reset_period") else before
        configurations = {
            "YEAR": ("yearlyResetPeriodConfiguration", self.yearly_reset_period_configuration),
            "MONTH": ("monthlyResetPeriodConfiguration", self.monthly_reset_period_configuration),
            "WEEK": ("weeklyResetPeriodConfiguration", self.weekly_reset_period_configuration),
        }
        for of_period, (name, given) in configurations.items():
            if given is not None and of_period != period:
                raise InvalidInput.of(name, given.according_to, f"goes with the resetPeriod {of_period}")
        _, configuration = configurations.get(str(period), ("", None))
        reset: dict[str, Any] = {"reset_period": period}
        if configuration is not None:
            reset |= {"reset_according_to": configuration.according_to}
        elif period != before:
            reset |= {"reset_according_to": None}
        return reset


TERMS_NAMES: Final = {
    "feature": "id",
    "currency": "id",
    "usage_limit": "usageLimit",
    "has_unlimited_usage": "hasUnlimitedUsage",
    "has_soft_limit": "hasSoftLimit",
    "enum_values": "enumValues",
    "reset_period": "resetPeriod",
    "reset_according_to": "accordingTo",
    "display_name": "displayName",
    "product": "productId",
}
"""The engine's names of fields, and what they are called on the wire."""
