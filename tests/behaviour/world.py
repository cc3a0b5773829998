"""The customer that the behaviours are about: an organisation, its teams, their users, and the models that they use.

cus-acme   account
org-acme
├── team-eng
│   ├── user-ann
│   └── user-bob
└── team-ops
model-large, model-small        (of their own: named by `modelId` beside a user or a team)
"""

from __future__ import annotations

from typing import Any, Final

from headgate import AsyncHeadgate, Decision, Receipt

ACME: Final = "cus-acme"
TOKENS: Final = "feature-ai-tokens"
SEATS: Final = "feature-seats"
SSO: Final = "feature-sso"
RETENTION: Final = "feature-retention-days"
REGIONS: Final = "feature-regions"

FEATURES: Final[list[dict[str, Any]]] = [
    {"id": TOKENS, "display_name": "AI Tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL"},
    {"id": SEATS, "feature_type": "NUMBER", "meter_type": "FLUCTUATING"},
    {"id": SSO, "feature_type": "BOOLEAN"},
    {"id": RETENTION, "feature_type": "NUMBER"},
    {"id": REGIONS, "feature_type": "ENUM", "enum_values": ["eu", "us", "asia"]},
]
ENTITY_TYPES: Final[list[dict[str, Any]]] = [
    {"id": "org", "attribution_keys": ["orgId"]},
    {"id": "team", "attribution_keys": ["teamId", "squadId"]},
    {"id": "user", "attribution_keys": ["userId"]},
    {"id": "model", "attribution_keys": ["modelId"]},
]
ENTITIES: Final = [
    {"id": "org-acme", "type": "org"},
    {"id": "team-eng", "type": "team"},
    {"id": "team-ops", "type": "team"},
    {"id": "user-ann", "type": "user"},
    {"id": "user-bob", "type": "user"},
    {"id": "model-large", "type": "model"},
    {"id": "model-small", "type": "model"},
]


async def found_acme(engine: AsyncHeadgate, *, account: float | None = 100_000, **entitlement: Any) -> None:
    """Write the catalog, the customer with an account-level limit (None: unlimited), and entities without budgets."""
    await engine.catalog.put_features(FEATURES)
    await engine.catalog.put_entity_types(ENTITY_TYPES)
    await engine.customers.put(ACME)
    await entitle(engine, account, **entitlement)
    await engine.governance.put_entities(ACME, ENTITIES)


async def entitle(engine: AsyncHeadgate, limit: float | None, **entitlement: Any) -> None:
    """Give the customer an account-level limit of tokens a month, or none."""
    given = {"reset_period": "MONTH", "reset_according_to": "StartOfTheMonth", **entitlement}
    how_much = {"has_unlimited_usage": True} if limit is None else {"usage_limit": limit}
    await engine.customers.grant_entitlement(ACME, {"feature": TOKENS, **how_much, **given})


async def budget(engine: AsyncHeadgate, entity: str, limit: float | None, **given: Any) -> None:
    """Give an entity a budget of tokens a month; `scope`, `cadence`, `parent` and `feature` as they are given."""
    upsert = {"entity": entity, "feature": TOKENS, "usage_limit": limit, "cadence": "P1M", **given}
    await engine.governance.put_assignments(ACME, [upsert])


async def found_chain(
    engine: AsyncHeadgate,
    *,
    user: float | None = 1_000,
    team: float | None = 1_000,
    org: float | None = 1_000,
    account: float | None = 1_000,
) -> None:
    """Write user-ann below team-eng below org-acme below the account, each with a limit."""
    await found_acme(engine, account=account)
    await budget(engine, "org-acme", org)
    await budget(engine, "team-eng", team, parent="org-acme")
    await budget(engine, "user-ann", user, parent="team-eng")


async def ask(engine: AsyncHeadgate, amount: float = 1, **dimensions: Any) -> Decision:
    """Check an amount of tokens; dimensions by their names."""
    return await engine.check(ACME, feature=TOKENS, requested_usage=amount, dimensions=dimensions)


async def spend(engine: AsyncHeadgate, amount: float = 1, **dimensions: Any) -> Decision:
    """Consume an amount of tokens."""
    return await engine.consume(ACME, feature=TOKENS, amount=amount, dimensions=dimensions)


async def count(engine: AsyncHeadgate, value: float = 1, behavior: str = "DELTA", **dimensions: Any) -> Receipt:
    """Report a number of tokens."""
    return await engine.report(ACME, feature=TOKENS, value=value, behavior=behavior, dimensions=dimensions)


async def used(engine: AsyncHeadgate) -> dict[str, float]:
    """What every counter of tokens stands at, by its name; the account's first."""
    tree = await engine.governance.tree(ACME, feature=TOKENS)
    states = [tree.account, *(state for node in tree.walk() for state in node.states)]
    return {state.name: state.used for state in states}


def names(decision: Decision) -> list[list[str]] | None:
    """The names of the nodes of each chain."""
    return None if decision.chains is None else [[node.name for node in chain] for chain in decision.chains]
