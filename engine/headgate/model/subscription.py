"""Subscriptions: what makes a plan apply to a customer, or to one resource of it, for a time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from headgate.model.base import Strict
from headgate.model.ids import Id
from headgate.model.packages import RecurringCredit, repeated
from headgate.model.terms import EntitlementTerms, InstantMs
from headgate.periods import Cadence, Period, Schedule

QUANTITY_MAX: Final = 1_000_000

Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX)]
"""How many units or add-ons: 1 to a million."""


class BillingPeriod(StrEnum):
    """How often a subscription is billed."""

    MONTHLY = "MONTHLY"
    ANNUALLY = "ANNUALLY"


_CADENCES: Final = {BillingPeriod.MONTHLY: Cadence.parse("P1M"), BillingPeriod.ANNUALLY: Cadence.parse("P1Y")}


class TrialEndBehavior(StrEnum):
    """What a subscription does when its trial ends: goes on, or ends."""

    CONVERT_TO_PAID = "CONVERT_TO_PAID"
    CANCEL_SUBSCRIPTION = "CANCEL_SUBSCRIPTION"


class SubscriptionStatus(StrEnum):
    """Where a subscription stands at an instant. ACTIVE and IN_TRIAL entitle."""

    NOT_STARTED = "NOT_STARTED"
    IN_TRIAL = "IN_TRIAL"
    ACTIVE = "ACTIVE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


class SubscriptionAddon(Strict):
    """An add-on of a subscription, a number of times."""

    addon: Id
    quantity: Quantity = 1


class SubscriptionContent(Strict):
    """What of a subscription decides which credits it gives."""

    plan: Id
    unit_quantity: Quantity = 1
    addons: tuple[SubscriptionAddon, ...] = Field(default=(), strict=False)
    credits: tuple[RecurringCredit, ...] = Field(default=(), strict=False)


class EarlierContent(SubscriptionContent):
    """What a subscription was until an instant (exclusive)."""

    until_ms: InstantMs


class Subscription(SubscriptionContent):
    """A plan that applies to a customer from `start_ms` until `end_ms` (exclusive), or for ever.

    `entitlements` and `credits` are the subscription's own, and stand in the place of what plan and add-ons say of the
    same feature or currency. `billing_anchor_ms` is where billing periods, resets by subscription start and recurring
    credits count from; it is the start if it is not given, and does not change any more.
    """

    id: Id
    resource: Id | None = None
    billing_period: BillingPeriod | None = Field(default=None, strict=False)
    entitlements: tuple[EntitlementTerms, ...] = Field(default=(), strict=False)
    start_ms: InstantMs
    end_ms: InstantMs | None = None
    trial_end_ms: InstantMs | None = None
    trial_end_behavior: TrialEndBehavior = Field(default=TrialEndBehavior.CONVERT_TO_PAID, strict=False)
    billing_anchor_ms: InstantMs
    canceled_at_ms: InstantMs | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    created_at_ms: InstantMs
    updated_at_ms: InstantMs
    earlier: tuple[EarlierContent, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.end_ms is not None and self.end_ms <= self.start_ms and self.canceled_at_ms is None:
            raise ValueError("end_ms: must be after the start")
        if self.trial_end_ms is not None and self.trial_end_ms <= self.start_ms:
            raise ValueError("trial_end_ms: must be after the start")
        for twice in repeated(each.addon for each in self.addons):
            raise ValueError(f"addons: {twice!r} is there more than once: give a quantity")
        for twice in repeated(each.feature for each in self.entitlements):
            raise ValueError(f"entitlements: {twice!r} is there more than once")
        for twice in repeated(each.currency for each in self.credits):
            raise ValueError(f"credits: {twice!r} is there more than once")
        return self

    @property
    def ends_at_ms(self) -> int | None:
        """The instant from which it does not apply any more: its end, or that of a trial that cancels it."""
        ends = [self.end_ms]
        if self.trial_end_behavior is TrialEndBehavior.CANCEL_SUBSCRIPTION:
            ends.append(self.trial_end_ms)
        return min((each for each in ends if each is not None), default=None)

    def applies_at(self, instant_ms: int) -> bool:
        """Whether it entitles at an instant."""
        ends_at_ms = self.ends_at_ms
        return self.start_ms <= instant_ms and (ends_at_ms is None or instant_ms < ends_at_ms)

    def status_at(self, instant_ms: int) -> SubscriptionStatus:
        """Where it stands at an instant."""
        ends_at_ms = self.ends_at_ms
        if ends_at_ms is not None and instant_ms >= ends_at_ms:
            was_canceled = self.canceled_at_ms is not None or ends_at_ms != self.end_ms
            return SubscriptionStatus.CANCELED if was_canceled else SubscriptionStatus.EXPIRED
        if instant_ms < self.start_ms:
            return SubscriptionStatus.NOT_STARTED
        if self.trial_end_ms is not None and instant_ms < self.trial_end_ms:
            return SubscriptionStatus.IN_TRIAL
        return SubscriptionStatus.ACTIVE

    def instants_ms(self) -> tuple[int, ...]:
        """The instants at which what it says may change."""
        return tuple(each for each in (self.start_ms, self.trial_end_ms, self.ends_at_ms) if each is not None)

    def billing_schedule(self) -> Schedule | None:
        """Its billing periods; None if it has none."""
        return None if self.billing_period is None else Schedule(_CADENCES[self.billing_period], self.billing_anchor_ms)

    def content_at(self, instant_ms: int) -> SubscriptionContent:
        """What of it decided about credits at an instant."""
        return next((each for each in self.earlier if instant_ms < each.until_ms), self)


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription as it stands at an instant: its status, and its billing period where it has one and applies."""

    subscription: Subscription
    status: SubscriptionStatus
    billing_period: Period | None

    @classmethod
    def at(cls, subscription: Subscription, instant_ms: int) -> Self:
        """Tell how a subscription stands at an instant."""
        schedule = subscription.billing_schedule() if subscription.applies_at(instant_ms) else None
        try:
            period = None if schedule is None else schedule.period_at(instant_ms)
        except ValueError:  # a period that would end beyond the calendar
            period = None
        return cls(subscription, subscription.status_at(instant_ms), period)


class SubscriptionUpsert(Strict):
    """A subscription to create or change.

    The plan and, if it is not the instant of the write, the start are given to create one; what is left out stays as
    it is. The id is the plan's, or `<plan>@<resource>`, unless it is given. The resource, a start that has passed and
    the billing anchor stay.
    """

    id: Id | None = None
    plan: Id | None = None
    resource: Id | None = None
    billing_period: BillingPeriod | None = Field(default=None, strict=False)
    unit_quantity: Quantity | None = None
    addons: tuple[SubscriptionAddon, ...] | None = Field(default=None, strict=False)
    entitlements: tuple[EntitlementTerms, ...] | None = Field(default=None, strict=False)
    credits: tuple[RecurringCredit, ...] | None = Field(default=None, strict=False)
    start_ms: InstantMs | None = None
    end_ms: InstantMs | None = None
    trial_end_ms: InstantMs | None = None
    trial_end_behavior: TrialEndBehavior | None = Field(default=None, strict=False)
    billing_anchor_ms: InstantMs | None = None
    metadata: dict[str, str] | None = None

    def gives(self, field: str) -> bool:
        """Whether the field was given at all: an end of None says something."""
        return field in self.model_fields_set


class Subscriptions(Strict):
    """The document of all subscriptions of a customer, or of one of its resources."""

    subscriptions: tuple[Subscription, ...] = Field(default=(), strict=False)
