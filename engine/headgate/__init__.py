"""Headgate decides in one atomic round trip to Redis whether a request fits every limit in its way.

It counts the request against all of them or none, and says which one refused. `Headgate` is for threads,
`AsyncHeadgate` for asyncio; both have the same methods.
"""

from headgate.client.async_client import AsyncHeadgate
from headgate.client.async_holds import AsyncHold
from headgate.client.offline import AsyncOfflineHeadgate, OfflineHeadgate
from headgate.client.sync_client import Headgate
from headgate.client.sync_holds import Hold
from headgate.clock import ManualClock
from headgate.errors import (
    BatchIncomplete,
    CatalogNotEverywhere,
    ConfigurationKeepsChanging,
    Conflict,
    DuplicateId,
    EmbeddedServerFailed,
    EnvironmentMismatch,
    EnvironmentNotReady,
    HeadgateError,
    InvalidInput,
    LimitReached,
    NotFound,
    NotSupported,
    OutcomeUnknown,
    OutOfRange,
    Problem,
    Unavailable,
)
from headgate.model.api_key import ApiKey, KeyScope
from headgate.model.catalog import Currency, EntityType, Feature, FeatureStatus, FeatureType, MeterType
from headgate.model.credits import Charge, Grant, GrantKind, GrantRequest, GrantState, GrantStatus, Wallet
from headgate.model.customer import Customer, PromotionalEntitlement, Resource
from headgate.model.decision import ConstraintState, Counted, Decision, DeniedReason, Receipt, UpdateBehavior
from headgate.model.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    Entitlement,
    EntitlementKind,
    Entitlements,
    EnumEntitlement,
    MeteredEntitlement,
    NumericEntitlement,
)
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.model.ledger import LedgerEntry, LedgerEvent
from headgate.model.offline import OfflineCustomer, OfflineEntitlement, OfflineEntitlements, OfflineType
from headgate.model.packages import (
    Addon,
    Behavior,
    CreditCadence,
    CreditRate,
    EarlierCredits,
    PackageEntitlement,
    Plan,
    RecurringCredit,
)
from headgate.model.reservation import Reservation, ReservationStatus
from headgate.model.subscription import (
    BillingPeriod,
    Subscription,
    SubscriptionAddon,
    SubscriptionState,
    SubscriptionStatus,
    SubscriptionUpsert,
    TrialEndBehavior,
)
from headgate.model.terms import EntitlementTerms
from headgate.model.tree import Tree, TreeNode
from headgate.periods import Period
from headgate.policy import Policy
from headgate.settings import Settings
from headgate.updates import Update, UpdateKind
from headgate.verbs.apply import Change
from headgate.verbs.explain import Explanation
from headgate.verbs.governance import EntityBudget
from headgate.verbs.report import UsageRecord

__all__ = [
    "Addon",
    "ApiKey",
    "Assignment",
    "AssignmentUpsert",
    "AsyncHeadgate",
    "AsyncHold",
    "AsyncOfflineHeadgate",
    "BatchIncomplete",
    "Behavior",
    "BillingPeriod",
    "BooleanEntitlement",
    "CatalogNotEverywhere",
    "Change",
    "Charge",
    "ConfigurationKeepsChanging",
    "Conflict",
    "ConstraintState",
    "Counted",
    "CreditCadence",
    "CreditEntitlement",
    "CreditRate",
    "Currency",
    "Customer",
    "Decision",
    "DeniedReason",
    "DuplicateId",
    "EarlierCredits",
    "EmbeddedServerFailed",
    "Entitlement",
    "EntitlementKind",
    "EntitlementTerms",
    "Entitlements",
    "Entity",
    "EntityBudget",
    "EntityType",
    "EntityUpsert",
    "EnumEntitlement",
    "EnvironmentMismatch",
    "EnvironmentNotReady",
    "Explanation",
    "Feature",
    "FeatureStatus",
    "FeatureType",
    "Grant",
    "GrantKind",
    "GrantRequest",
    "GrantState",
    "GrantStatus",
    "Headgate",
    "HeadgateError",
    "Hold",
    "InvalidInput",
    "KeyScope",
    "LedgerEntry",
    "LedgerEvent",
    "LimitReached",
    "ManualClock",
    "MeterType",
    "MeteredEntitlement",
    "NotFound",
    "NotSupported",
    "NumericEntitlement",
    "OfflineCustomer",
    "OfflineEntitlement",
    "OfflineEntitlements",
    "OfflineHeadgate",
    "OfflineType",
    "OutOfRange",
    "OutcomeUnknown",
    "PackageEntitlement",
    "Period",
    "Plan",
    "Policy",
    "Problem",
    "PromotionalEntitlement",
    "Receipt",
    "RecurringCredit",
    "Reservation",
    "ReservationStatus",
    "Resource",
    "Settings",
    "Subscription",
    "SubscriptionAddon",
    "SubscriptionState",
    "SubscriptionStatus",
    "SubscriptionUpsert",
    "Tree",
    "TreeNode",
    "TrialEndBehavior",
    "Unavailable",
    "Update",
    "UpdateBehavior",
    "UpdateKind",
    "UsageRecord",
    "Wallet",
]
