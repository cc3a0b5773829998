"""Plans, add-ons and their entitlements, as clients send them and as they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Field

from headgate.model.decision import instant
from headgate.model.packages import Behavior, Package, PackageEntitlement, RecurringCredit
from headgate.periods import ResetPeriod
from headgate.rest.answers.terms import BehaviorText, CadenceText, FeatureTermsBody, ResetPeriodText
from headgate.rest.shapes import Answer, Body, IdText, Number
from headgate.rest.unbuilt import Unbuilt, not_supported

BEHAVIORS: Final[dict[Behavior, BehaviorText]] = {Behavior.INCREMENT: "Increment", Behavior.OVERRIDE: "Override"}

ENTITLEMENTS_MAX: Final = 100
"""How many entitlements one call may create."""

Metadata: TypeAlias = dict[str, str]
Widgets: TypeAlias = list[Literal["PAYWALL", "CUSTOMER_PORTAL", "CHECKOUT"]]


class PackageBody(Body):
    """What creates a plan or an add-on. It is live when it is written."""

    id: IdText
    display_name: str
    product_id: IdText
    description: str | None = None
    metadata: Metadata | None = None
    status: Literal["DRAFT", "PUBLISHED", "ARCHIVED"] | None = None
    pricing_type: Literal["FREE", "PAID", "CUSTOM"] | None = None
    billing_id: Unbuilt = None

    def as_package(self) -> dict[str, Any]:
        """What the engine is given."""
        if self.status not in (None, "PUBLISHED"):
            raise not_supported("status", self.status, "what is written is live, and stays: there are only PUBLISHED")
        if self.pricing_type not in (None, "FREE"):
            raise not_supported("pricingType", self.pricing_type, "Headgate knows no prices: there are only FREE")
        return {
            "id": self.id,
            "display_name": self.display_name,
            "product": self.product_id,
            "description": self.description or "",
            "metadata": self.metadata or {},
        }


class PlanBody(PackageBody):
    """What creates a plan."""

    parent_plan_id: Unbuilt = None
    default_trial_config: Unbuilt = None


class AddonBody(PackageBody):
    """What creates an add-on."""

    max_quantity: Unbuilt = None


class PackageChangesBody(Body):
    """What changes a plan or an add-on; what is left out stays."""

    display_name: str | None = None
    description: str | None = None
    metadata: Metadata | None = None
    billing_id: Unbuilt = None
    charges: Unbuilt = None

    def over(self, present: Package) -> dict[str, Any]:
        """What the engine is given: what was sent, over what is there. A description of null is taken away."""
        changes: dict[str, Any] = {"description": self.description or ""} if self.gives("description") else {}
        if self.display_name is not None:
            changes |= {"display_name": self.display_name}
        if self.metadata is not None:
            changes |= {"metadata": self.metadata}
        return present.model_dump() | changes


class PlanChangesBody(PackageChangesBody):
    """What changes a plan; what is left out stays."""

    parent_plan_id: Unbuilt = None
    default_trial_config: Unbuilt = None
    compatible_addon_ids: Unbuilt = None


class AddonChangesBody(PackageChangesBody):
    """What changes an add-on; what is left out stays."""

    max_quantity: Unbuilt = None
    dependencies: Unbuilt = None
    status: Literal["DRAFT", "PUBLISHED", "ARCHIVED"] | None = None

    def over(self, present: Package) -> dict[str, Any]:
        """What the engine is given: what was sent, over what is there."""
        if self.status not in (None, "PUBLISHED"):
            raise not_supported("status", self.status, "what is written is live, and stays: there are only PUBLISHED")
        return super().over(present)


class PublishBody(Body):
    """Whom a new version is for: there is one, for all, so `NEW_CUSTOMERS` is refused."""

    migration_type: Literal["NEW_CUSTOMERS", "ALL_CUSTOMERS"]


class Decoration(Body):
    """What of an entitlement is for people only: accepted, and not kept."""

    description: str | None = None
    display_name_override: str | None = None
    hidden_from_widgets: Widgets | None = None
    is_custom: bool | None = None
    is_granted: bool | None = None
    order: float | None = None

    def require_granted(self) -> None:
        """Refuse an entitlement that would take something away."""
        if self.is_granted is False:
            raise not_supported("isGranted", False, "an entitlement grants: delete it, or leave it out")


class FeatureChangesBody(FeatureTermsBody, Decoration):
    """What changes what a plan or an add-on says of a feature; what is left out stays."""

    type: Literal["FEATURE"]
    behavior: BehaviorText | None = None
    enum_values: list[str] | None = None

    def over(self, present: Mapping[str, Any]) -> dict[str, Any]:
        """What the engine is given: what was sent, over what is there."""
        self.require_granted()
        terms = super().over(present)
        if self.behavior is not None:
            terms |= {"behavior": self.behavior.upper()}
        if self.enum_values is not None:
            terms |= {"enum_values": tuple(self.enum_values)}
        return terms


class FeatureEntitlementBody(FeatureChangesBody):
    """What a plan or an add-on says of a feature: its id is that of the feature."""

    id: IdText


class CreditChangesBody(Decoration):
    """What changes the credits of a plan or an add-on; what is left out stays."""

    type: Literal["CREDIT"]
    amount: float | None = None
    cadence: CadenceText | None = None
    has_soft_limit: bool | None = None
    behavior: BehaviorText | None = None
    dependency_feature_id: Unbuilt = None

    def over(self, present: Mapping[str, Any]) -> dict[str, Any]:
        """What the engine is given: what was sent, over what is there."""
        self.require_granted()
        if self.behavior == "Override":
            raise not_supported(
                "behavior", self.behavior, "credits of plans and add-ons add up: there are only Increment"
            )
        given = {"amount": self.amount, "cadence": self.cadence, "has_soft_limit": self.has_soft_limit}
        return {**present, **{name: value for name, value in given.items() if value is not None}}


class CreditEntitlementBody(CreditChangesBody):
    """What a plan or an add-on gives of a currency in each month or year: its id is that of the currency."""

    id: IdText
    amount: float
    cadence: CadenceText


EntitlementBody: TypeAlias = Annotated[FeatureEntitlementBody | CreditEntitlementBody, Field(discriminator="type")]
EntitlementChangesBody: TypeAlias = Annotated[FeatureChangesBody | CreditChangesBody, Field(discriminator="type")]


class EntitlementsBody(Body):
    """Entitlements to create, all or none."""

    entitlements: Annotated[list[EntitlementBody], Field(min_length=1, max_length=ENTITLEMENTS_MAX)]


class Reference(Answer):
    """What a plan or a subscription entitles to: the id of a feature, or of a currency."""

    id: str
    type: Literal["FEATURE", "CREDIT"]


class PackageAnswer(Answer):
    """What plans and add-ons have in common. There is one version, which is live; `versionNumber` counts changes."""

    id: str
    display_name: str
    description: str | None
    product_id: str
    status: Literal["PUBLISHED"] = "PUBLISHED"
    version_number: int
    is_latest: bool = True
    pricing_type: Literal["FREE"] = "FREE"
    billing_id: None = None
    entitlements: list[Reference]
    metadata: Metadata
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, package: Package) -> Self:
        """Show a plan or an add-on. One without a product, as the library may make it, shows an empty one."""
        references = [Reference(id=each.feature, type="FEATURE") for each in package.entitlements]
        currencies = dict.fromkeys(each.currency for each in package.credits)
        return cls(
            id=package.id,
            display_name=package.display_name,
            description=package.description or None,
            product_id=package.product or "",
            version_number=package.version,
            entitlements=[*references, *(Reference(id=each, type="CREDIT") for each in currencies)],
            metadata=package.metadata,
            created_at=instant(package.created_at_ms),
            updated_at=instant(package.updated_at_ms),
        )


class PlanAnswer(PackageAnswer):
    """A plan."""

    parent_plan_id: None = None
    default_trial_config: None = None
    compatible_addon_ids: None = None


class AddonAnswer(PackageAnswer):
    """An add-on."""

    max_quantity: None = None
    dependencies: None = None


class PublishAnswer(Answer):
    """Publishing is nothing that has to be waited for."""

    task_id: None = None


class ResetAnswer(Answer):
    """What a reset goes by."""

    according_to: str


class EntitlementAnswer(Answer):
    """What the entitlements of a feature and of credits have in common; the instants are of the plan or add-on."""

    id: str
    behavior: BehaviorText
    description: None = None
    display_name_override: None = None
    has_soft_limit: bool
    hidden_from_widgets: tuple[str, ...] = ()
    is_custom: bool = False
    is_granted: bool = True
    order: None = None
    created_at: datetime
    updated_at: datetime


class FeatureEntitlementAnswer(EntitlementAnswer):
    """What a plan or an add-on says of a feature."""

    type: Literal["FEATURE"] = "FEATURE"
    usage_limit: Number | None
    has_unlimited_usage: bool
    enum_values: list[str] | None
    reset_period: ResetPeriodText | None
    reset_period_configuration: ResetAnswer | None

    @classmethod
    def of(cls, package: Package, terms: PackageEntitlement) -> Self:
        """Show what a plan or an add-on says of a feature."""
        period = terms.reset_period
        goes_by_something = period in (ResetPeriod.WEEK, ResetPeriod.MONTH, ResetPeriod.YEAR)
        according_to = terms.reset_according_to.value if terms.reset_according_to else "SubscriptionStart"
        return cls(
            id=terms.feature,
            behavior=BEHAVIORS[terms.behavior],
            has_soft_limit=terms.has_soft_limit,
            created_at=instant(package.created_at_ms),
            updated_at=instant(package.updated_at_ms),
            usage_limit=terms.usage_limit,
            has_unlimited_usage=terms.has_unlimited_usage,
            enum_values=list(terms.enum_values) or None,
            reset_period=period.value if period else None,
            reset_period_configuration=ResetAnswer(according_to=according_to) if goes_by_something else None,
        )


class CreditEntitlementAnswer(EntitlementAnswer):
    """What a plan or an add-on gives of a currency."""

    type: Literal["CREDIT"] = "CREDIT"
    amount: Number
    cadence: CadenceText
    dependency_feature_id: None = None

    @classmethod
    def of(cls, package: Package, credit: RecurringCredit) -> Self:
        """Show what a plan or an add-on gives of a currency."""
        return cls(
            id=credit.currency,
            behavior="Increment",
            has_soft_limit=credit.has_soft_limit,
            created_at=instant(package.created_at_ms),
            updated_at=instant(package.updated_at_ms),
            amount=credit.amount,
            cadence=credit.cadence.value,
        )


AnyEntitlement: TypeAlias = Annotated[FeatureEntitlementAnswer | CreditEntitlementAnswer, Field(discriminator="type")]
