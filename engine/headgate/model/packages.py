"""Plans and add-ons: what a subscription to them entitles to. They are live when they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, TypeVar

from pydantic import Field, model_validator

from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.terms import CreditAmount, EntitlementTerms, InstantMs

T = TypeVar("T")

EARLIER_MAX: Final = 64
"""How many changes of credits are remembered; older ones read as the oldest that is."""


class Behavior(StrEnum):
    """What an add-on does with the plan's limit: adds to it, or stands in its place."""

    INCREMENT = "INCREMENT"
    OVERRIDE = "OVERRIDE"


class CreditCadence(StrEnum):
    """How often a recurring grant appears."""

    MONTH = "MONTH"
    YEAR = "YEAR"


class CreditRate(Strict):
    """What a unit of a feature costs: a feature with a rate is paid in credits."""

    currency: Id
    amount: CreditAmount


class PackageEntitlement(EntitlementTerms):
    """What a plan or an add-on says of one feature.

    `per_unit`: the limit is multiplied by the subscription's unit quantity (plans only). `behavior`: what it does with
    the plan's limit (add-ons only, whose limits are multiplied by their quantity). `credit_rate`: usage is paid in
    credits, whatever the limit.
    """

    per_unit: bool = False
    behavior: Behavior = Field(default=Behavior.INCREMENT, strict=False)
    credit_rate: CreditRate | None = None


class RecurringCredit(Strict):
    """Credits that appear at the start of each period of the subscription, and expire at its end.

    `per_unit`: multiplied by the subscription's unit quantity (plans only). With a soft limit, credits may be used
    beyond what is there: the rest is overdraft.
    """

    currency: Id
    amount: CreditAmount
    cadence: CreditCadence = Field(strict=False)
    per_unit: bool = False
    has_soft_limit: bool = False


class EarlierCredits(Strict):
    """What a plan or an add-on gave until an instant (exclusive)."""

    until_ms: InstantMs
    credits: tuple[RecurringCredit, ...] = Field(default=(), strict=False)


class Package(Strict):
    """What plans and add-ons have in common. `version`, `earlier_credits` and both instants are kept by the engine.

    One entitlement for a feature, one credit for a currency and cadence. The product only groups plans and add-ons.
    """

    id: Id
    display_name: str = ""
    description: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    product: Id | None = None
    entitlements: tuple[PackageEntitlement, ...] = Field(default=(), strict=False)
    credits: tuple[RecurringCredit, ...] = Field(default=(), strict=False)
    version: int = 0
    earlier_credits: tuple[EarlierCredits, ...] = Field(default=(), strict=False)
    created_at_ms: InstantMs = 0
    updated_at_ms: InstantMs = 0

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for twice in repeated(each.feature for each in self.entitlements):
            raise ValueError(f"entitlements: {twice!r} is there more than once")
        for currency, cadence in repeated((each.currency, each.cadence) for each in self.credits):
            raise ValueError(f"credits: {currency!r} is there more than once with the cadence {cadence}")
        return self

    def entitlement(self, feature: str) -> PackageEntitlement | None:
        """What it says of a feature, or None."""
        return next((each for each in self.entitlements if each.feature == feature), None)

    def credits_at(self, instant_ms: int) -> tuple[RecurringCredit, ...]:
        """What it gave at an instant."""
        return next((each.credits for each in self.earlier_credits if instant_ms < each.until_ms), self.credits)


class Plan(Package):
    """What a customer subscribes to."""


class Addon(Package):
    """What extends a subscription's plan, a number of times."""

    @model_validator(mode="after")
    def _per_quantity(self) -> Self:
        if any(each.per_unit for each in self.entitlements) or any(each.per_unit for each in self.credits):
            raise ValueError("per_unit: what an add-on gives is multiplied by its own quantity")
        return self


@dataclass(frozen=True, slots=True)
class Packages:
    """All plans and add-ons of a catalog, by id."""

    plans: Mapping[str, Plan]
    addons: Mapping[str, Addon]


def repeated(values: Iterable[T]) -> list[T]:
    """The values that are there more than once."""
    return [value for value, times in Counter(values).items() if times > 1]
