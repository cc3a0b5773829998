"""The worked example of the published page "Check and ingest", at the level of the library.

1,000 tokens are asked for; team-eng stands at 42,311 of 200,000 and org-acme at 87,450 of 1,000,000.
"""

from __future__ import annotations

from typing import Any

from behaviour.world import ACME, TOKENS, budget, count, found_acme
from headgate import AsyncHeadgate, Decision

PUBLISHED: dict[str, Any] = {
    "isGranted": True,
    "type": "FEATURE",
    "accessDeniedReason": None,
    "feature": {
        "id": "feature-ai-tokens",
        "displayName": "AI Tokens",
        "featureType": "NUMBER",
        "featureStatus": "ACTIVE",
    },
    "usageLimit": 200_000,
    "hasUnlimitedUsage": False,
    "resetPeriod": "MONTH",
    "currentUsage": 42_311,
    "chains": [
        [
            {
                "entityId": "team-eng",
                "scopeEntityIds": [],
                "usageLimit": 200_000,
                "currentUsage": 42_311,
                "isGranted": True,
            },
            {
                "entityId": "org-acme",
                "scopeEntityIds": [],
                "usageLimit": 1_000_000,
                "currentUsage": 87_450,
                "isGranted": True,
            },
        ]
    ],
}

# What usage alone can't bring about: field → (published, what we answer, why).
NOT_BY_USAGE: dict[str, tuple[Any, Any, str]] = {
    "currentUsage": (
        42_311,
        87_450,
        "every unit that reaches the organisation was reported for the customer, so the account has at least as many",
    ),
}


def as_published(decision: Decision) -> dict[str, Any]:
    """A decision in the words of the page."""
    account, feature = decision.account, decision.details
    assert account is not None
    assert feature is not None
    assert decision.chains is not None
    return {
        "isGranted": decision.granted,
        "type": "FEATURE",
        "accessDeniedReason": decision.reason,
        "feature": {
            "id": feature.id,
            "displayName": feature.display_name,
            "featureType": feature.feature_type.value,
            "featureStatus": feature.status.value,
        },
        "usageLimit": account.limit,
        "hasUnlimitedUsage": decision.has_unlimited_usage,
        "resetPeriod": account.cadence,
        "currentUsage": account.used,
        "chains": [
            [
                {
                    "entityId": node.entity,
                    "scopeEntityIds": list(node.scope),
                    "usageLimit": node.limit,
                    "currentUsage": node.used,
                    "isGranted": node.granted,
                }
                for node in chain
            ]
            for chain in decision.chains
        ],
    }


async def use_as_published(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=200_000)
    await budget(engine, "org-acme", 1_000_000)
    await budget(engine, "team-eng", 200_000, parent="org-acme")
    await budget(engine, "team-ops", None, parent="org-acme")
    await count(engine, 42_311, teamId="team-eng")
    await count(engine, 87_450 - 42_311, teamId="team-ops")


async def asked(engine: AsyncHeadgate) -> dict[str, Any]:
    decision = await engine.check(ACME, feature=TOKENS, requested_usage=1_000, dimensions={"teamId": "team-eng"})
    return as_published(decision)


async def test_usage_alone_gives_the_published_answer_but_for_what_it_cannot_bring_about(
    engine: AsyncHeadgate,
) -> None:
    await use_as_published(engine)
    answer = await asked(engine)
    assert {name: value for name, value in answer.items() if value != PUBLISHED[name]} == {
        name: ours for name, (_, ours, _) in NOT_BY_USAGE.items()
    }
    assert {name: PUBLISHED[name] for name in NOT_BY_USAGE} == {
        name: published for name, (published, _, _) in NOT_BY_USAGE.items()
    }


async def test_with_the_account_set_to_its_published_number_the_answer_is_the_published_one(
    engine: AsyncHeadgate,
) -> None:
    await use_as_published(engine)
    await count(engine, 42_311, "SET")  # without dimensions: no entity hears of the difference
    assert await asked(engine) == PUBLISHED


async def test_the_request_of_the_page_that_names_no_default_asks_for_one(engine: AsyncHeadgate) -> None:
    await use_as_published(engine)
    await count(engine, 200_000, "SET")
    decision = await engine.check(ACME, feature=TOKENS, dimensions={"teamId": "team-eng"})
    assert (decision.granted, decision.requested, decision.reason) == (False, 1, "RequestedUsageExceedingLimit")
