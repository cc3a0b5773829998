"""What the state machine draws from: few ids, so that changes collide, and the numbers and instants that go wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from headgate.model.catalog import EntityType, Feature, FeatureStatus, FeatureType, MeterType

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
YEAR_MS = 365 * DAY_MS

# The last day of a month, a leap day, an hour before the clocks change in Berlin, and an odd millisecond.
STARTS_MS = (1_769_900_399_123, 1_709_208_000_000, 1_774_742_400_001, 1_767_225_600_000)

TOKENS, SEATS, SINGLE_SIGN_ON, RETENTION, REGION = "tokens", "seats", "single-sign-on", "retention", "region"
METERED = (TOKENS, SEATS)
FEATURES = (
    Feature(id=TOKENS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL, units="token"),
    Feature(id=SEATS, feature_type=FeatureType.NUMBER, meter_type=MeterType.FLUCTUATING),
    Feature(id=SINGLE_SIGN_ON, feature_type=FeatureType.BOOLEAN),
    Feature(id=RETENTION, feature_type=FeatureType.NUMBER),
    Feature(id=REGION, feature_type=FeatureType.ENUM, enum_values=("eu", "us", "in")),
)
ENTITY_TYPES = (
    EntityType(id="organization", attribution_keys=("organizationId",)),
    EntityType(id="team", attribution_keys=("teamId", "ownerId")),
    EntityType(id="user", attribution_keys=("userId", "ownerId")),
    EntityType(id="model", attribution_keys=("modelId",)),
)
# What the catalog may be changed into while requests that were prepared from another one are in the clients' caches.
OTHER_TYPES = (
    *ENTITY_TYPES,
    EntityType(id="organization", attribution_keys=("organizationId", "ownerId")),
    EntityType(id="team", attribution_keys=("teamId",)),
    EntityType(id="team", attribution_keys=()),
    EntityType(id="model", attribution_keys=("modelId", "engineId")),
)
OTHER_FEATURES = (
    *FEATURES,
    Feature(
        id=TOKENS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL, status=FeatureStatus.SUSPENDED
    ),
    Feature(id=SINGLE_SIGN_ON, feature_type=FeatureType.BOOLEAN, display_name="SSO"),
    Feature(id=SEATS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL),  # a feature keeps its type
)

CUSTOMER = "cus-acme"
CUSTOMERS = (CUSTOMER, "cus-birch")
TYPE_OF = {
    "org-1": "organization",
    "team-1": "team",
    "team-2": "team",
    "42": "team",
    "user-1": "user",
    "true": "user",
    "model-1": "model",
    "model-2": "model",
}
ENTITIES = tuple(TYPE_OF)

seconds = st.booleans()
"""Whether the second engine is asked, which has not seen what the first one wrote."""

mostly_the_customer = st.sampled_from((CUSTOMER,) * 6 + (CUSTOMERS[1],) * 2 + ("cus-nobody",))
metered = st.sampled_from((TOKENS,) * 4 + (SEATS,))
any_feature = st.sampled_from((TOKENS,) * 8 + (SEATS,) * 3 + (SINGLE_SIGN_ON, RETENTION, REGION, "feature-none"))
revocable = st.sampled_from((TOKENS, SEATS, SEATS, RETENTION, REGION, "feature-none"))
seldom = st.sampled_from((False, False, False, False, True))
archivable = st.sampled_from(("team-1", "user-1", *TYPE_OF, "entity-none"))
entity_ids = st.sampled_from(ENTITIES)
entity_ids_or_none_such = st.sampled_from(ENTITIES * 3 + ("entity-none",))

_SMALL: tuple[float, ...] = (*range(8), 10, 12, 1, 1, 1, 2, 3, 5, 0.1, 0.1, 0.2, 0.3, 0.7, 2.5, 0.00001, 1.23456)
_HUGE: tuple[float, ...] = (2**53 - 1, 2**53 - 2, 2**35 - 0.5, 2**35 - 0.00001, 2**35)
last_amounts = st.sampled_from((*_HUGE, 2**53 - 3))
amounts = st.sampled_from(_SMALL * 10 + _HUGE)
corrections = st.sampled_from(tuple(-amount for amount in _SMALL * 10 + _HUGE))
limits = st.sampled_from((None, 0, 0.2, 0.3, 0.7, 1, 2.5, 5, 7, 10, 10, 20, 50, 2**53 - 1, 2**36))
cadences = st.sampled_from(("PT1M", "PT10M", "PT1H", "P1D", "P1D", "P1W", "P1M", "P30D", "P1Y"))
zones = st.sampled_from(("UTC", "UTC", "Europe/Berlin", "America/New_York"))
scopes: st.SearchStrategy[list[str]] = st.lists(
    st.sampled_from(("model-1", "model-1", "model-2", "user-1", "team-2")), max_size=2
) | st.just([])

dimensions = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "organizationId": st.sampled_from(("org-1", "team-1")),
        "teamId": st.sampled_from(("team-1", "team-2", 42, 42.0, "42", "team-none")),
        "userId": st.sampled_from(("user-1", True, "true", "")),
        "modelId": st.sampled_from(("model-1", "model-1", "model-2")),
        "ownerId": st.sampled_from(("team-1", "user-1", "org-1", 0.5)),
        "colour": st.sampled_from(("red", "org-1")),
    },
)
# Every entity that there may be, over and over: a shape that is always in the caches.
PROBE: dict[str, str | float | bool] = {
    "userId": "user-1",
    "modelId": "model-1",
    "teamId": 42.0,
    "organizationId": "org-1",
    "ownerId": "team-1",
}

_numeric = st.sampled_from((0, 1, 5, 10, 20, 20, 50, 100, 0.3, 2**36))
_limit = st.fixed_dictionaries({"usage_limit": _numeric}) | st.just({"has_unlimited_usage": True})
_reset = st.one_of(
    st.just({}),
    st.just({"reset_period": "HOUR"}),
    st.just({"reset_period": "DAY"}),
    st.just({"reset_period": "DAY", "zone": "Europe/Berlin"}),
    st.just({"reset_period": "WEEK", "reset_according_to": "EveryMonday"}),
    st.just({"reset_period": "MONTH"}),
    st.just({"reset_period": "MONTH", "reset_according_to": "StartOfTheMonth"}),
    st.just({"reset_period": "DAY", "reset_anchor_ms": STARTS_MS[0] - 7 * HOUR_MS}),
)
_soft = st.sampled_from(({}, {}, {"has_soft_limit": True}))


def _together(*parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


metered_grants = st.builds(_together, st.builds(lambda id: {"feature": id}, metered), _limit, _reset, _soft)
other_grants = st.sampled_from(
    (
        {"feature": SINGLE_SIGN_ON},
        {"feature": RETENTION, "usage_limit": 30},
        {"feature": RETENTION, "has_unlimited_usage": True},
        {"feature": REGION, "enum_values": ("eu", "us")},
        {"feature": REGION, "enum_values": ("mars",)},
        {"feature": SINGLE_SIGN_ON, "usage_limit": 1},
        {"feature": RETENTION, "usage_limit": 1, "reset_period": "DAY"},
        {"feature": TOKENS},
        {"feature": "feature-none"},
    )
)
grants = st.one_of(metered_grants, metered_grants, metered_grants, other_grants)

entity_upserts = st.one_of(
    *(st.builds(lambda id: {"id": id, "type": TYPE_OF[id]}, entity_ids),) * 4,
    st.builds(lambda id: {"id": id}, entity_ids),
    st.builds(lambda id, type: {"id": id, "type": type}, entity_ids, st.sampled_from(("team", "type-none"))),
)
parents = st.none() | entity_ids | entity_ids | entity_ids_or_none_such
assignment_upserts = st.fixed_dictionaries(
    {"entity": entity_ids_or_none_such, "feature": metered},
    optional={"usage_limit": limits, "cadence": cadences, "scope": scopes, "parent": parents, "zone": zones},
)
whole_assignments = st.fixed_dictionaries(
    {"entity": entity_ids, "feature": metered, "usage_limit": limits, "cadence": cadences},
    optional={"scope": scopes, "parent": parents},
)
unfit_assignments = st.builds(
    lambda entity, feature: {"entity": entity, "feature": feature, "usage_limit": 1, "cadence": "P1D"},
    entity_ids_or_none_such,
    st.sampled_from((SINGLE_SIGN_ON, "feature-none")),
)
assignments = st.one_of(*(assignment_upserts,) * 4, *(whole_assignments,) * 4, unfit_assignments)

steps_forward_ms = st.sampled_from((1, 999, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, DAY_MS, 3 * DAY_MS, 31 * DAY_MS))
steps_back_ms = st.sampled_from((1, 5_000, 61_000, HOUR_MS, DAY_MS, 31 * DAY_MS))
near = st.sampled_from((0, 0, -1, 1))

near_places = st.sampled_from((0, 0, 0, 0, 1, 2, 3, 5, 8, 13))
"""Places among sorted boundaries: mostly the next one, where the window of what is prepared ends."""

# Each breaks one rule about a single value: the engine has to say so, and nothing may change.
NONSENSE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("consume", {"amount": float("nan")}),
    ("consume", {"amount": -1}),
    ("consume", {"amount": 2**53}),
    ("consume", {"amount": True}),
    ("consume", {"amount": 2.0**35 + 0.5}),
    ("consume", {"feature": "tokens:1"}),
    ("consume", {"dimensions": "team-1"}),
    ("consume", {"dimensions": {"teamId": None}}),
    ("check", {"requested_usage": "1"}),
    ("check", {"feature": ""}),
    ("report", {"value": float("inf")}),
    ("report", {"value": 1, "behavior": "ADD"}),
)
