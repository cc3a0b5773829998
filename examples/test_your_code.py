"""How you test your own code against Headgate: no server, no port, no waiting.

    pip install 'headgate[testing]'
    pytest test_your_code.py

The first half stands for your program, the second half is its test.
"""

import asyncio
from collections.abc import Iterator

import pytest

import headgate.testing
from headgate import AsyncHeadgate, Headgate

# ── your program ─────────────────────────────────────────────────────────────────────────────────────────────────────


class ComeBackLater(Exception):
    """Tells a caller which budget is used up."""


def complete(engine: Headgate, prompt: str, *, team: str) -> str:
    """Answer a prompt, if the team's budget allows for its words."""
    decision = engine.consume(
        "cus-acme", feature="feature-ai-tokens", amount=len(prompt.split()), dimensions={"teamId": team}
    )
    if not decision.granted:
        raise ComeBackLater(str(decision))
    return prompt.upper()


async def complete_all(engine: AsyncHeadgate, prompts: list[str], *, team: str) -> int:
    """Count how many prompts the team's budget allows for, all asked at once."""
    decisions = await asyncio.gather(
        *(
            engine.consume(
                "cus-acme", feature="feature-ai-tokens", amount=len(each.split()), dimensions={"teamId": team}
            )
            for each in prompts
        )
    )
    return sum(decision.granted for decision in decisions)


# ── its tests ────────────────────────────────────────────────────────────────────────────────────────────────────────

POLICY = {
    "features": {"feature-ai-tokens": {"type": "NUMBER", "meter": "INCREMENTAL"}},
    "entity_types": {"team": {"keys": ["teamId"]}},
    "customers": {
        "cus-acme": {
            "entitlements": {"feature-ai-tokens": {"limit": 1000, "reset": "MONTH"}},
            "entities": {
                "team-eng": {
                    "type": "team",
                    "budgets": [{"feature": "feature-ai-tokens", "limit": 10, "every": "PT10M"}],
                },
            },
        },
    },
}


@pytest.fixture
def engine() -> Iterator[headgate.testing.FakeHeadgate]:
    with headgate.testing.engine(POLICY) as engine:
        yield engine


def test_a_prompt_within_the_budget_is_answered(engine: headgate.testing.FakeHeadgate) -> None:
    assert complete(engine, "how deep is the canal", team="team-eng") == "HOW DEEP IS THE CANAL"


def test_a_team_that_used_its_budget_has_to_wait_for_the_next_ten_minutes(
    engine: headgate.testing.FakeHeadgate,
) -> None:
    complete(engine, "one two three four five six seven", team="team-eng")
    with pytest.raises(ComeBackLater, match="team-eng has used 7 of 10"):
        complete(engine, "one two three four", team="team-eng")

    engine.clock.advance(10 * 60 * 1000)
    assert complete(engine, "one two three four", team="team-eng")


def test_usage_from_elsewhere_counts_too(engine: headgate.testing.FakeHeadgate) -> None:
    engine.report("cus-acme", feature="feature-ai-tokens", value=9, dimensions={"teamId": "team-eng"})
    with pytest.raises(ComeBackLater):
        complete(engine, "two words", team="team-eng")


def test_prompts_asked_at_once_share_one_budget() -> None:
    async def scenario() -> int:
        async with headgate.testing.async_engine(POLICY) as engine:
            return await complete_all(engine, ["three short words"] * 5, team="team-eng")

    assert asyncio.run(scenario()) == 3
