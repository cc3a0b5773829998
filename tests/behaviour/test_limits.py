"""Who refuses, with which reason, and at what number."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from behaviour.targets import Target
from behaviour.world import ACME, TOKENS, ask, budget, found_acme, found_chain, names, spend, used
from headgate import AsyncHeadgate, ConstraintState, DeniedReason, LimitReached, ManualClock

LEVELS = {"user": "user-ann", "team": "team-eng", "org": "org-acme", "account": "account"}


async def test_what_fits_every_limit_is_granted_and_counted_on_all_of_them(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    decision = await spend(engine, 1_000, userId="user-ann")
    assert decision.granted
    assert decision
    assert decision.reason is None
    assert await used(engine) == {"account": 1_000, "org-acme": 1_000, "team-eng": 1_000, "user-ann": 1_000}


@pytest.mark.parametrize("level", LEVELS)
async def test_one_more_than_a_single_limit_is_refused_by_that_one_and_counted_nowhere(
    engine: AsyncHeadgate, level: str
) -> None:
    await found_chain(engine, **{level: 100})
    assert (await spend(engine, 100, userId="user-ann")).granted
    before = await used(engine)

    decision = await spend(engine, 1, userId="user-ann")

    assert not decision.granted
    assert not decision
    at_account = level == "account"
    expected = DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT if at_account else DeniedReason.BUDGET_EXCEEDED
    assert decision.reason is expected
    assert decision.binding is not None
    assert (decision.binding.name, decision.binding.used, decision.binding.limit) == (LEVELS[level], 100, 100)
    assert [state.name for state in decision.constraints if not state.granted] == [LEVELS[level]]
    assert await used(engine) == before


@pytest.mark.parametrize("level", LEVELS)
async def test_a_check_says_what_a_consume_would_and_writes_nothing(
    target: Target, engine: AsyncHeadgate, level: str
) -> None:
    await found_chain(engine, **{level: 100})
    before = target.dump()
    granted, refused = await ask(engine, 100, userId="user-ann"), await ask(engine, 101, userId="user-ann")
    assert granted.granted
    assert not refused.granted
    assert refused.binding is not None
    assert refused.binding.name == LEVELS[level]
    assert target.dump() == before


async def test_every_number_of_a_decision_is_there(engine: AsyncHeadgate, clock: ManualClock) -> None:
    await found_chain(engine, user=100, team=200, org=300, account=400)
    await spend(engine, 10, teamId="team-eng")
    decision = await spend(engine, 5.5, userId="user-ann")

    assert (decision.customer, decision.feature, decision.requested) == (ACME, TOKENS, 5.5)
    assert decision.decided_at_ms == clock.now_ms
    assert decision.chains is not None
    assert [[(node.name, node.entity_type, node.limit, node.used) for node in chain] for chain in decision.chains] == [
        [("user-ann", "user", 100, 5.5), ("team-eng", "team", 200, 15.5), ("org-acme", "org", 300, 15.5)]
    ]
    assert decision.account is not None
    assert (decision.account.limit, decision.account.used, decision.account.cadence) == (400, 15.5, "MONTH")
    assert decision.account.period.contains(clock.now_ms)
    assert [state.name for state in decision.constraints] == ["account", "user-ann", "team-eng", "org-acme"]
    assert {state.cadence for state in decision.chains[0]} == {"P1M"}
    assert decision.details is not None
    assert decision.details.display_name == "AI Tokens"


async def test_two_dimensions_that_share_an_ancestor_count_it_once(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "org-acme", 100)
    await budget(engine, "team-eng", 100, parent="org-acme")
    await budget(engine, "user-bob", 100, parent="org-acme")

    decision = await spend(engine, 60, teamId="team-eng", userId="user-bob")

    assert decision.granted
    assert names(decision) == [["team-eng", "org-acme"], ["user-bob", "org-acme"]]
    assert await used(engine) == {"account": 60, "org-acme": 60, "team-eng": 60, "user-bob": 60}
    refused = await spend(engine, 41, teamId="team-eng", userId="user-bob")
    assert [state.name for state in refused.constraints] == ["account", "team-eng", "org-acme", "user-bob"]


async def test_two_keys_of_one_type_that_name_one_entity_count_it_once(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 100)
    decision = await spend(engine, 60, teamId="team-eng", squadId="team-eng")
    assert decision.granted
    assert await used(engine) == {"account": 60, "team-eng": 60}


@pytest.mark.parametrize(
    ("scoped", "node_wide", "refusing"), [(50, 100, "team-eng[model-large]"), (100, 50, "team-eng")]
)
async def test_a_scoped_and_a_node_wide_budget_of_one_entity_both_decide(
    engine: AsyncHeadgate, scoped: float, node_wide: float, refusing: str
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", scoped, scope=["model-large"])
    await budget(engine, "team-eng", node_wide)

    decision = await spend(engine, 60, teamId="team-eng", modelId="model-large")

    assert decision.reason is DeniedReason.BUDGET_EXCEEDED
    assert decision.binding is not None
    assert decision.binding.name == refusing


async def test_a_scoped_budget_applies_only_where_all_of_its_scope_is_present(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "org-acme", 1_000)
    await budget(engine, "team-eng", 10, scope=["org-acme", "model-large"], parent="org-acme")

    assert names(await ask(engine, teamId="team-eng")) == [["org-acme"]]
    assert names(await ask(engine, teamId="team-eng", modelId="model-small")) == [["org-acme"]]
    with_model = await ask(engine, 11, teamId="team-eng", modelId="model-large")
    assert names(with_model) == [["team-eng[model-large,org-acme]", "org-acme"]]
    assert not with_model.granted


async def test_a_scope_may_name_an_ancestor_that_no_dimension_names(engine: AsyncHeadgate) -> None:
    await found_chain(engine)
    await budget(engine, "user-ann", 10, scope=["org-acme"])
    assert not (await ask(engine, 11, userId="user-ann")).granted


async def test_nodes_of_a_chain_are_in_order_node_wide_first_then_by_scope(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10, scope=["model-small"])
    await budget(engine, "team-eng", 10, scope=["model-large"])
    await budget(engine, "team-eng", 10)
    await budget(engine, "team-eng", 10, scope=["user-ann", "model-large"])
    await budget(engine, "org-acme", 10)
    await budget(engine, "team-eng", 10, parent="org-acme")
    chains = names(await ask(engine, teamId="team-eng", modelId="model-large", userId="user-ann"))
    assert chains == [["team-eng", "team-eng[model-large]", "team-eng[model-large,user-ann]", "org-acme"]]


async def test_chains_come_in_the_order_of_the_dimensions(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10)
    await budget(engine, "model-large", 10)
    assert names(await ask(engine, teamId="team-eng", modelId="model-large")) == [["team-eng"], ["model-large"]]
    assert names(await ask(engine, modelId="model-large", teamId="team-eng")) == [["model-large"], ["team-eng"]]


async def test_a_limit_of_none_tracks_and_never_refuses(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=None)
    await budget(engine, "team-eng", None)
    decision = await spend(engine, 2**40, teamId="team-eng")
    assert decision.granted
    assert decision.binding is None
    assert decision.resets_at is None
    assert await used(engine) == {"account": 2**40, "team-eng": 2**40}


async def test_a_limit_of_zero_refuses_everything_but_nothing(engine: AsyncHeadgate) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 0)
    assert not (await spend(engine, 0.00001, teamId="team-eng")).granted
    assert (await spend(engine, 0, teamId="team-eng")).granted
    assert (await spend(engine, 1, teamId="team-ops")).granted


async def test_a_soft_limit_is_shown_and_does_not_refuse(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=100, has_soft_limit=True)
    decision = await spend(engine, 150)
    assert decision.granted
    assert decision.account is not None
    assert (decision.account.limit, decision.account.is_soft, decision.account.used) == (100, True, 150)
    assert decision.account.left == -50
    assert decision.binding is None


async def test_behind_a_soft_account_limit_a_budget_still_refuses(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=100, has_soft_limit=True)
    await budget(engine, "team-eng", 120)
    decision = await spend(engine, 121, teamId="team-eng")
    assert decision.reason is DeniedReason.BUDGET_EXCEEDED


async def test_an_unlimited_entitlement_says_so_and_does_not_refuse(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=None)
    decision = await spend(engine, 10**12)
    assert decision.granted
    assert decision.has_unlimited_usage
    assert decision.account is not None
    assert (decision.account.limit, decision.account.left) == (None, None)


async def test_both_levels_over_their_limit_name_the_one_with_least_left_and_the_account_s_reason(
    engine: AsyncHeadgate,
) -> None:
    await found_chain(engine, user=50, team=30, org=70, account=60)
    decision = await ask(engine, 100, userId="user-ann")
    assert decision.binding is not None
    assert decision.binding.name == "team-eng"
    assert decision.reason is DeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT
    assert not any(state.granted for state in decision.constraints)


async def test_only_a_constraint_that_refuses_can_be_the_binding_one_of_a_refusal(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=100)
    await budget(engine, "team-eng", 40)
    await budget(engine, "model-large", 50)
    decision = await ask(engine, 45, teamId="team-eng", modelId="model-large")
    assert decision.binding is not None
    assert decision.binding.name == "team-eng"


async def test_a_granted_decision_names_the_limit_that_is_nearest(engine: AsyncHeadgate) -> None:
    await found_chain(engine, user=500, team=100, org=300, account=400)
    decision = await spend(engine, 40, userId="user-ann")
    assert decision.binding is not None
    assert (decision.binding.name, decision.binding.left) == ("team-eng", 60)


@pytest.mark.parametrize(
    ("limits", "nearest"),
    [
        ({"user": 10, "team": 10, "org": 10, "account": 10}, "user-ann"),
        ({"team": 10, "org": 10, "account": 10}, "team-eng"),
        ({"org": 10, "account": 10}, "org-acme"),
        ({"account": 10}, "account"),
    ],
)
async def test_of_equally_near_limits_the_binding_one_is_nearest_to_the_leaf(
    engine: AsyncHeadgate, limits: dict[str, float], nearest: str
) -> None:
    await found_chain(engine, **limits)
    for amount in (5, 11):
        decision = await ask(engine, amount, userId="user-ann")
        assert decision.binding is not None
        assert decision.binding.name == nearest


async def test_resets_at_is_the_end_of_the_binding_constraints_period(
    engine: AsyncHeadgate, clock: ManualClock
) -> None:
    await found_acme(engine)
    await budget(engine, "team-eng", 10, cadence="PT10M")
    decision = await ask(engine, 11, teamId="team-eng")
    assert decision.resets_at == datetime(2026, 3, 10, 12, 10, tzinfo=UTC)

    clock.advance(9 * 60_000)
    assert (await spend(engine, 10, teamId="team-eng")).granted
    clock.advance(59_999)
    assert not (await spend(engine, 1, teamId="team-eng")).granted
    clock.advance(1)
    assert (await spend(engine, 10, teamId="team-eng")).granted
    assert await used(engine) == {"account": 20, "team-eng": 10}


async def test_a_counter_that_never_resets_has_no_instant_to_reset_at(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=10, reset_period=None, reset_according_to=None)
    decision = await ask(engine, 11)
    assert decision.binding is not None
    assert decision.resets_at is None
    assert decision.as_dict()["binding"]["period_end"] is None


async def test_require_gives_back_what_is_granted_and_raises_what_is_refused(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=10)
    decision = await spend(engine, 10)
    assert decision.require() is decision
    refused = await spend(engine, 1)
    with pytest.raises(LimitReached) as caught:
        refused.require()
    assert caught.value.decision is refused
    assert caught.value.code == "LimitReached"
    assert str(caught.value) == str(refused)


async def test_a_decision_reads_as_one_sentence(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=5_000)
    await budget(engine, "team-eng", 2_000)
    await budget(engine, "team-eng", 1_500, scope=["model-large"])
    assert str(await spend(engine, 1_250.5, teamId="team-eng")) == (
        "Granted: cus-acme asked for 1,250.5 of feature-ai-tokens; nearest limit: "
        "team-eng has used 1,250.5 of 2,000 until 2026-04-10 12:00:00 UTC."
    )
    assert str(await spend(engine, 1_000, teamId="team-eng")) == (
        "Refused (BudgetExceeded): cus-acme asked for 1,000 of feature-ai-tokens, but "
        "team-eng has used 1,250.5 of 2,000 until 2026-04-10 12:00:00 UTC."
    )
    assert str(await ask(engine, 1_501, teamId="team-eng", modelId="model-large")).startswith(
        "Refused (BudgetExceeded): cus-acme asked for 1,501 of feature-ai-tokens, but team-eng has used 1,250.5 of "
    )
    assert str(await ask(engine, 6_000)) == (
        "Refused (RequestedUsageExceedingLimit): cus-acme asked for 6,000 of feature-ai-tokens, but "
        "account has used 1,250.5 of 5,000 until 2026-04-01 00:00:00 UTC."
    )
    unknown = await engine.check("cus-nobody", feature=TOKENS)
    assert str(unknown) == "Refused (CustomerNotFound): cus-nobody asked for 1 of feature-ai-tokens."


async def test_a_decision_is_plain_data_for_json(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=100)
    await budget(engine, "team-eng", 50)
    data = (await spend(engine, 20, teamId="team-eng")).as_dict()
    assert data["granted"] is True
    assert data["requested"] == 20
    assert isinstance(data["requested"], int)
    (node,) = data["chains"][0]
    assert node == {
        "entity": "team-eng",
        "entity_type": "team",
        "scope": [],
        "currency": None,
        "limit": 50,
        "is_soft": False,
        "used": 20,
        "held": 0,
        "granted": True,
        "cadence": "P1M",
        "period_start": "2026-03-10T12:00:00+00:00",
        "period_end": "2026-04-10T12:00:00+00:00",
    }
    assert data["binding"] == node
    assert data["resets_at"] == "2026-04-10T12:00:00+00:00"
    assert data["decided_at"] == "2026-03-10T12:00:00+00:00"


async def test_fractions_add_up_to_the_limit_exactly(engine: AsyncHeadgate) -> None:
    await found_acme(engine, account=0.3)
    decisions = [await spend(engine, 0.1) for _ in range(4)]
    assert [decision.granted for decision in decisions] == [True, True, True, False]
    assert [state.used for state in [d.account for d in decisions] if isinstance(state, ConstraintState)] == [
        0.1,
        0.2,
        0.3,
        0.3,
    ]
