"""Subscriptions, as clients send them and as they are shown.

What the vendor bills by is not built: such fields are refused by name, unless they are null.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field, field_serializer, model_validator

from headgate.errors import InvalidInput
from headgate.model.decision import instant
from headgate.model.subscription import Subscription, SubscriptionState, SubscriptionStatus
from headgate.rest.answers.checks import CheckAnswer
from headgate.rest.answers.packages import Metadata, Reference
from headgate.rest.answers.terms import CadenceText, FeatureTermsBody
from headgate.rest.places import Places
from headgate.rest.shapes import Answer, Body, IdText, Moment, instant_ms
from headgate.rest.unbuilt import Unbuilt, not_supported

IMPORTED_MAX: Final = 100

StatusText: TypeAlias = Literal["PAYMENT_PENDING", "ACTIVE", "EXPIRED", "IN_TRIAL", "CANCELED", "NOT_STARTED"]
TrialEndText: TypeAlias = Literal["CONVERT_TO_PAID", "CANCEL_SUBSCRIPTION"]
BillingPeriodText: TypeAlias = Literal["MONTHLY", "ANNUALLY"]
ScheduleText: TypeAlias = Literal["END_OF_BILLING_PERIOD", "END_OF_BILLING_MONTH", "IMMEDIATE"]
AnchorText: TypeAlias = Literal["UNCHANGED", "NOW"]


class AddonBody(Body):
    """An add-on of a subscription, a number of times."""

    id: IdText
    quantity: int


class FeatureBody(FeatureTermsBody):
    """What a subscription itself says of a feature, in the place of its plan and add-ons."""

    type: Literal["FEATURE"]
    id: IdText


class CreditBody(Body):
    """What a subscription itself gives of a currency, in the place of its plan and add-ons."""

    type: Literal["CREDIT"]
    id: IdText
    amount: float
    cadence: CadenceText
    has_soft_limit: bool | None = None


def _addons(addons: Iterable[AddonBody] | None) -> dict[str, Any]:
    return {} if addons is None else {"addons": [{"addon": each.id, "quantity": each.quantity} for each in addons]}


class SubscriptionFields(Body):
    """What can be said of a subscription when it is made, and when it is changed. Lists are sent in full."""

    addons: list[AddonBody] | None = None
    entitlements: list[Annotated[FeatureBody | CreditBody, Field(discriminator="type")]] | None = None
    billing_period: BillingPeriodText | None = None
    metadata: Metadata | None = None
    schedule_strategy: ScheduleText | None = None
    billing_cycle_anchor: AnchorText | None = None
    await_payment_confirmation: bool | None = None
    applied_coupon: Unbuilt = None
    billing_information: Unbuilt = None
    budget: Unbuilt = None
    charges: Unbuilt = None
    minimum_spend: Unbuilt = None
    price_overrides: Unbuilt = None
    salesforce_id: Unbuilt = None

    def given(self, present: Subscription | None) -> dict[str, Any]:
        """What the engine is given. What only the library can say of an entitlement that is there stays."""
        if self.schedule_strategy not in (None, "IMMEDIATE"):
            rule = "changes count at once: there is only IMMEDIATE"
            raise not_supported("scheduleStrategy", self.schedule_strategy, rule)
        fields = _addons(self.addons)
        if self.entitlements is not None:
            fields |= {"entitlements": self._features(present), "credits": self._credits()}
        for name in ("billing_period", "metadata"):
            if getattr(self, name) is not None:
                fields |= {name: getattr(self, name)}
        return fields

    def places(self) -> Places:
        """Where the entitlements of a feature, and the credits, stand in the body."""
        counts = {"entitlements": 0, "credits": 0}
        found: Places = {}
        for index, each in enumerate(self.entitlements or ()):
            kind = "entitlements" if isinstance(each, FeatureBody) else "credits"
            found[kind, counts[kind]] = f"entitlements[{index}]."
            counts[kind] += 1
        return found

    def _features(self, present: Subscription | None) -> list[dict[str, Any]]:
        known: Mapping[str, dict[str, Any]] = {
            each.feature: {"zone": each.zone, "enum_values": each.enum_values}
            for each in (present.entitlements if present else ())
        }
        sent = [each for each in self.entitlements or () if isinstance(each, FeatureBody)]
        return [each.over({"feature": each.id, **known.get(each.id, {})}) for each in sent]

    def _credits(self) -> list[dict[str, Any]]:
        return [
            {
                "currency": each.id,
                "amount": each.amount,
                "cadence": each.cadence,
                "has_soft_limit": bool(each.has_soft_limit),
            }
            for each in self.entitlements or ()
            if isinstance(each, CreditBody)
        ]


class TrialBody(Body):
    """Whether it begins with a trial, until when, and what follows."""

    is_trial: bool
    trial_end_date: Moment | None = None
    trial_end_behavior: TrialEndText | None = None

    def given(self) -> dict[str, Any]:
        """What the engine is given."""
        if not self.is_trial:
            if self.trial_end_date is not None or self.trial_end_behavior is not None:
                raise InvalidInput.of("trialOverrideConfiguration.isTrial", False, "without a trial none ends")
            return {"trial_end_ms": None, "trial_end_behavior": "CONVERT_TO_PAID"}
        if self.trial_end_date is None:
            rule = "is required: plans have no default trial"
            raise InvalidInput.of("trialOverrideConfiguration.trialEndDate", None, rule)
        behavior = {} if self.trial_end_behavior is None else {"trial_end_behavior": self.trial_end_behavior}
        return {"trial_end_ms": instant_ms(self.trial_end_date), **behavior}


class ProvisionBody(SubscriptionFields):
    """What provisions a subscription. Without an id it is the plan's one of this customer, or of this resource."""

    customer_id: IdText
    plan_id: IdText
    id: str | None = None
    resource_id: IdText | None = None
    unit_quantity: int | None = None
    start_date: Moment | None = None
    cancellation_date: Moment | None = None
    trial_override_configuration: TrialBody | None = None
    payment_collection_method: Literal["CHARGE", "INVOICE", "NONE"] | None = None
    billing_country_code: Unbuilt = None
    billing_id: Unbuilt = None
    checkout_options: Unbuilt = None
    paying_customer_id: Unbuilt = None

    def given(self, present: Subscription | None) -> dict[str, Any]:
        """What the engine is given."""
        fields = super().given(present) | {"plan": self.plan_id, "resource": self.resource_id}
        if self.billing_cycle_anchor is not None:
            raise not_supported("billingCycleAnchor", self.billing_cycle_anchor, "periods count from the start")
        if self.payment_collection_method not in (None, "NONE"):
            rule = "Headgate bills nobody: there is only NONE"
            raise not_supported("paymentCollectionMethod", self.payment_collection_method, rule)
        if self.unit_quantity is not None:
            fields |= {"unit_quantity": self.unit_quantity}
        if self.start_date is not None:
            fields |= {"start_ms": instant_ms(self.start_date)}
        if self.cancellation_date is not None:
            fields |= {"end_ms": instant_ms(self.cancellation_date)}
        if self.trial_override_configuration is not None:
            fields |= self.trial_override_configuration.given()
        return fields


class ChangesBody(SubscriptionFields):
    """What changes a subscription; what is left out stays. A cancellation date of null takes the end away."""

    cancellation_date: Moment | None = None
    trial_end_date: Moment | None = None
    promotion_code: Unbuilt = None

    def given(self, present: Subscription | None) -> dict[str, Any]:
        """What the engine is given."""
        if self.billing_cycle_anchor not in (None, "UNCHANGED"):
            rule = "a billing anchor does not change: there is only UNCHANGED"
            raise not_supported("billingCycleAnchor", self.billing_cycle_anchor, rule)
        fields = super().given(present)
        if self.gives("cancellation_date"):
            end = self.cancellation_date
            fields |= {"end_ms": None if end is None else instant_ms(end)}
        if self.trial_end_date is not None:
            fields |= {"trial_end_ms": instant_ms(self.trial_end_date)}
        return fields


class CancelBody(Body):
    """When a subscription ends: at once, unless it says otherwise."""

    cancellation_time: Literal["END_OF_BILLING_PERIOD", "IMMEDIATE", "SPECIFIC_DATE"] | None = None
    end_date: Moment | None = None
    cancellation_action: Literal["DEFAULT", "REVOKE_ENTITLEMENTS"] | None = None
    prorate: bool | None = None

    def at(self) -> Literal["now", "period_end"] | datetime:
        """When, as the engine is told."""
        if self.prorate:
            raise not_supported("prorate", True, "credits that were given stay until they expire")
        if (self.cancellation_time == "SPECIFIC_DATE") != (self.end_date is not None):
            raise InvalidInput.of("endDate", self.end_date, "goes with the cancellationTime SPECIFIC_DATE, and only so")
        if self.end_date is not None:
            return self.end_date
        return "period_end" if self.cancellation_time == "END_OF_BILLING_PERIOD" else "now"


class ImportedBody(Body):
    """A subscription that was somebody else's."""

    id: IdText
    customer_id: IdText
    plan_id: IdText
    addons: list[AddonBody] | None = None
    billing_period: BillingPeriodText | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    metadata: Metadata | None = None
    resource_id: IdText | None = None
    billing_id: Unbuilt = None
    charges: Unbuilt = None

    def given(self) -> dict[str, Any]:
        """What the engine is given."""
        fields = _addons(self.addons) | {"id": self.id, "plan": self.plan_id, "resource": self.resource_id}
        for name in ("billing_period", "metadata"):
            if getattr(self, name) is not None:
                fields |= {name: getattr(self, name)}
        if self.start_date is not None:
            fields |= {"start_ms": instant_ms(self.start_date)}
        if self.gives("end_date"):
            fields |= {"end_ms": None if self.end_date is None else instant_ms(self.end_date)}
        return fields


class ImportBody(Body):
    """Subscriptions to import, each once."""

    subscriptions: Annotated[list[ImportedBody], Field(min_length=1, max_length=IMPORTED_MAX)]
    integration_id: Unbuilt = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = [id for id, count in Counter(each.id for each in self.subscriptions).items() if count > 1]
        if twice:
            raise ValueError(f"subscriptions: each may be in the list once: {', '.join(twice)} is there more often")
        return self


class AddonAnswer(Answer):
    """An add-on of a subscription, a number of times."""

    id: str
    quantity: int


class TrialAnswer(Answer):
    """What happens at the end of a trial."""

    trial_end_behavior: TrialEndText


class SubscriptionAnswer(Answer):
    """A subscription, as it stands now. `unitQuantity` and `billingPeriod` are shown beyond the vendor's fields."""

    id: str
    customer_id: str
    plan_id: str
    resource_id: str | None
    status: StatusText
    pricing_type: Literal["FREE"] = "FREE"
    payment_collection: Literal["NOT_REQUIRED"] = "NOT_REQUIRED"
    payment_collection_method: Literal["NONE"] = "NONE"
    billing_period: BillingPeriodText | None
    unit_quantity: int
    addons: list[AddonAnswer]
    subscription_entitlements: list[Reference]
    start_date: datetime
    end_date: datetime | None
    effective_end_date: datetime | None
    cancellation_date: datetime | None
    cancel_reason: Literal["TRIAL_ENDED", "Immediate", "ScheduledCancellation", "EXPIRED"] | None
    trial: TrialAnswer | None
    trial_end_date: datetime | None
    billing_cycle_anchor: datetime
    current_billing_period_start: datetime | None
    current_billing_period_end: datetime | None
    metadata: Metadata
    created_at: datetime
    billing_id: None = None
    budget: None = None
    contract_id: None = None
    coupons: tuple[None, ...] = ()
    future_updates: tuple[None, ...] = ()
    latest_invoice: None = None
    minimum_spend: None = None
    paying_customer_id: None = None
    prices: tuple[None, ...] = ()

    @classmethod
    def of(cls, id: str, customer: str, state: SubscriptionState) -> Self:
        """Show a subscription under an id that names it alone."""
        subscription, period = state.subscription, state.billing_period
        has_trial = subscription.trial_end_ms is not None
        return cls(
            id=id,
            customer_id=customer,
            plan_id=subscription.plan,
            resource_id=subscription.resource,
            status=state.status.value,
            billing_period=subscription.billing_period.value if subscription.billing_period else None,
            unit_quantity=subscription.unit_quantity,
            addons=[AddonAnswer(id=each.addon, quantity=each.quantity) for each in subscription.addons],
            subscription_entitlements=list(_references(subscription)),
            start_date=instant(subscription.start_ms),
            end_date=_instant(subscription.end_ms),
            effective_end_date=_instant(subscription.ends_at_ms),
            cancellation_date=_instant(subscription.end_ms),
            cancel_reason=_reason(state),
            trial=TrialAnswer(trial_end_behavior=subscription.trial_end_behavior.value) if has_trial else None,
            trial_end_date=_instant(subscription.trial_end_ms),
            billing_cycle_anchor=instant(subscription.billing_anchor_ms),
            current_billing_period_start=_instant(period.start_ms if period else None),
            current_billing_period_end=_instant(period.end_ms if period else None),
            metadata=subscription.metadata,
            created_at=instant(subscription.created_at_ms),
        )


class ProvisionAnswer(Answer):
    """What became of a provision: nothing has to be paid, so it is a success.

    `entitlements` is all that the customer, or its resource, is entitled to now: as its entitlements are listed.
    """

    id: str
    status: Literal["SUCCESS"] = "SUCCESS"
    subscription: SubscriptionAnswer
    entitlements: list[CheckAnswer]
    is_scheduled: bool
    checkout_url: None = None
    checkout_billing_id: None = None

    @field_serializer("entitlements")
    def _as_listed(self, entitlements: list[CheckAnswer]) -> list[dict[str, Any]]:
        return [each.model_dump(mode="json", by_alias=True, exclude_unset=True) for each in entitlements]


class ImportAnswer(Answer):
    """An import is done when it is answered; its name is for the client's records alone."""

    task_id: str


def _instant(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else instant(at_ms)


def _references(subscription: Subscription) -> Iterable[Reference]:
    for terms in subscription.entitlements:
        yield Reference(id=terms.feature, type="FEATURE")
    for credit in subscription.credits:
        yield Reference(id=credit.currency, type="CREDIT")


def _reason(state: SubscriptionState) -> Literal["TRIAL_ENDED", "Immediate", "ScheduledCancellation", "EXPIRED"] | None:
    """Why it ends, or has ended; None if nobody has cancelled it yet."""
    subscription = state.subscription
    if state.status is SubscriptionStatus.EXPIRED:
        return "EXPIRED"
    if state.status is SubscriptionStatus.CANCELED and subscription.ends_at_ms != subscription.end_ms:
        return "TRIAL_ENDED"
    if subscription.canceled_at_ms is None or subscription.end_ms is None:
        return None
    return "Immediate" if subscription.end_ms <= subscription.canceled_at_ms else "ScheduledCancellation"
