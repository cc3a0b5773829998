"""Headgate decides in one atomic round trip to Redis whether a request fits every limit in its way.

It counts the request against all of them or none, and says which one refused. `Headgate` is for threads,
`AsyncHeadgate` for asyncio; both have the same methods.
"""

from headgate.client.async_client import AsyncHeadgate
from headgate.client.sync_client import Headgate
from headgate.clock import ManualClock
from headgate.errors import (
    BatchIncomplete,
    CatalogNotEverywhere,
    ConfigurationKeepsChanging,
    Conflict,
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
from headgate.model.catalog import EntityType, Feature, FeatureStatus, FeatureType, MeterType
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import ConstraintState, Counted, Decision, DeniedReason, Receipt, UpdateBehavior
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
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
    "Assignment",
    "AssignmentUpsert",
    "AsyncHeadgate",
    "BatchIncomplete",
    "CatalogNotEverywhere",
    "Change",
    "ConfigurationKeepsChanging",
    "Conflict",
    "ConstraintState",
    "Counted",
    "Customer",
    "Decision",
    "DeniedReason",
    "EmbeddedServerFailed",
    "Entity",
    "EntityBudget",
    "EntityType",
    "EntityUpsert",
    "EnvironmentMismatch",
    "EnvironmentNotReady",
    "Explanation",
    "Feature",
    "FeatureStatus",
    "FeatureType",
    "Headgate",
    "HeadgateError",
    "InvalidInput",
    "LimitReached",
    "ManualClock",
    "MeterType",
    "NotFound",
    "NotSupported",
    "OutOfRange",
    "OutcomeUnknown",
    "Period",
    "Policy",
    "Problem",
    "PromotionalEntitlement",
    "Receipt",
    "Settings",
    "Tree",
    "TreeNode",
    "Unavailable",
    "Update",
    "UpdateBehavior",
    "UpdateKind",
    "UsageRecord",
]
