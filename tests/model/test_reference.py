"""The reference model on its own: examples with numbers that can be followed on paper."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from headgate.errors import InvalidInput, NotFound, OutOfRange
from headgate.model.catalog import EntityType, Feature, FeatureType, MeterType
from headgate.model.decision import ConstraintState, Decision, DeniedReason, Receipt
from model.exact import dimension_text, exact, total
from model.reference import Reference

NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00Z
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TOKENS = "feature-ai-tokens"
ACME = "cus-acme"
TEAM = {"teamId": "team-eng"}


def acme(*, limit: float | None = 2_000_000, **given: Any) -> Reference:
    """The customer of the governance documentation: an organisation, a team and a user, with room on the account."""
    model = Reference(NOON_MS)
    model.put_entity_types(
        [EntityType(id=name, attribution_keys=(f"{name}Id",)) for name in ("organization", "team", "user", "model")]
    )
    model.put_features(
        [
            Feature(id=TOKENS, feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL),
            Feature(id="sso", feature_type=FeatureType.BOOLEAN),
            Feature(id="region", feature_type=FeatureType.ENUM, enum_values=("eu", "us")),
        ]
    )
    model.put_customer(ACME)
    model.grant(ACME, {"feature": TOKENS, "usage_limit": limit, **given})
    entities = {"org-acme": "organization", "team-eng": "team", "user-ann": "user", "model-large": "model"}
    model.put_entities(ACME, [{"id": id, "type": type} for id, type in entities.items()])
    budget(model, "org-acme", 1_000_000, "P1M")
    budget(model, "team-eng", 200_000, "P1M", parent="org-acme")
    return model


def budget(model: Reference, entity: str, limit: float | None, cadence: str = "P1D", **more: Any) -> None:
    upsert = {"entity": entity, "feature": TOKENS, "usage_limit": limit, "cadence": cadence, **more}
    model.put_assignments(ACME, [upsert])


def check(model: Reference, amount: float = 1, dimensions: Any = None) -> Decision:
    return model.check(ACME, feature=TOKENS, requested_usage=amount, dimensions=dimensions)


def consume(model: Reference, amount: float = 1, dimensions: Any = None) -> Decision:
    return model.consume(ACME, feature=TOKENS, amount=amount, dimensions=dimensions)


def report(model: Reference, value: float, dimensions: Any = None, **more: Any) -> Receipt:
    return model.report(ACME, feature=TOKENS, value=value, dimensions=dimensions, **more)


def on_account(receipt: Receipt) -> tuple[float, float]:
    assert receipt.account is not None
    return receipt.account.state.used, receipt.account.applied


def numbers(states: tuple[ConstraintState, ...]) -> list[tuple[str | None, float | None, float, bool]]:
    return [(state.entity, state.limit, state.used, state.granted) for state in states]


# --- the documentation's example ------------------------------------------------------------------------------------


def test_the_documented_chain_has_the_documented_numbers() -> None:
    model = acme()
    report(model, 87_450 - 42_311, {"organizationId": "org-acme"})
    report(model, 42_311, TEAM)

    decision = check(model, 1_000, TEAM)

    assert decision.granted
    assert decision.reason is None
    assert decision.chains is not None
    assert list(map(numbers, decision.chains)) == [
        [("team-eng", 200_000, 42_311, True), ("org-acme", 1_000_000, 87_450, True)]
    ]
    assert decision.binding is not None
    assert decision.binding.name == "team-eng"


def test_a_refused_consume_counts_nowhere_and_a_granted_one_everywhere() -> None:
    model = acme()
    assert not consume(model, 200_001, TEAM)
    assert check(model, 0, TEAM).account is not None
    assert [state.used for state in check(model, 0, TEAM).constraints] == [0, 0, 0]

    decision = consume(model, 200_000, TEAM)

    assert decision.granted
    assert [state.used for state in decision.constraints] == [200_000, 200_000, 200_000]
    refused = consume(model, 1, TEAM)
    assert (refused.reason, refused.binding and refused.binding.name) == (DeniedReason.BUDGET_EXCEEDED, "team-eng")


# --- chains ---------------------------------------------------------------------------------------------------------


def test_two_dimensions_that_share_an_ancestor_count_it_once() -> None:
    model = acme()
    model.put_entities(ACME, [{"id": "team-ops", "type": "team"}])
    budget(model, "team-ops", 50, parent="org-acme")
    budget(model, "user-ann", 50, parent="team-ops")

    decision = consume(model, 10, {"teamId": "team-eng", "userId": "user-ann"})

    assert decision.chains is not None
    assert [[node.name for node in chain] for chain in decision.chains] == [
        ["team-eng", "org-acme"],
        ["user-ann", "team-ops", "org-acme"],
    ]
    assert {state.name: state.used for state in decision.constraints} == {
        "account": 10,
        "team-eng": 10,
        "user-ann": 10,
        "team-ops": 10,
        "org-acme": 10,
    }


def test_a_scoped_budget_applies_beside_the_node_wide_one_where_its_scope_is_present() -> None:
    model = acme()
    budget(model, "team-eng", 5, scope=["model-large"])

    assert [state.name for state in check(model, 1, TEAM).constraints] == ["account", "team-eng", "org-acme"]
    both = check(model, 6, {**TEAM, "modelId": "model-large"})
    assert [state.name for state in both.constraints] == ["account", "team-eng", "team-eng[model-large]", "org-acme"]
    assert (both.granted, both.binding and both.binding.name) == (False, "team-eng[model-large]")


def test_an_archived_team_does_not_lift_its_organisation() -> None:
    model = acme()
    model.set_archived(ACME, ["team-eng"], archived=True)

    decision = check(model, 1_000_001, TEAM)

    assert (decision.granted, decision.binding and decision.binding.name) == (False, "org-acme")
    assert decision.chains is not None
    assert [[node.name for node in chain] for chain in decision.chains] == [["org-acme"]]


def test_dimensions_that_match_nothing_give_no_chains_and_none_at_all_give_none() -> None:
    model = acme()
    assert check(model, 1, {"teamId": "org-acme", "colour": "red"}).chains == ()
    assert check(model, 1, {}).chains is None
    assert check(model, 1, None).chains is None


def test_the_tightest_limit_binds_and_on_a_tie_the_nearest_to_the_leaf() -> None:
    model = acme(limit=200_000)
    budget(model, "user-ann", 200_000, parent="team-eng")
    assert consume(model, 0, {"userId": "user-ann"}).binding == check(model, 0, {"userId": "user-ann"}).binding
    binding = check(model, 0, {"userId": "user-ann"}).binding
    assert binding is not None
    assert binding.name == "user-ann"
    report(model, 1)
    binding = check(model, 0, {"userId": "user-ann"}).binding
    assert binding is not None
    assert binding.name == "account"


def test_a_tie_is_a_tie_of_decimals() -> None:
    model = acme()
    budget(model, "team-eng", 0.2)
    budget(model, "org-acme", 0.3)
    report(model, 0.1, {"organizationId": "org-acme"})
    binding = check(model, 0, TEAM).binding
    assert binding is not None
    assert binding.name == "team-eng"


# --- the account level ----------------------------------------------------------------------------------------------


def test_denials_come_in_the_order_of_the_contract() -> None:
    model = acme()
    assert model.check("cus-nobody", feature="feature-none").reason is DeniedReason.CUSTOMER_NOT_FOUND
    assert model.check(ACME, feature="feature-none").reason is DeniedReason.FEATURE_NOT_FOUND
    assert model.check(ACME, feature="sso").reason is DeniedReason.NO_ACTIVE_SUBSCRIPTION
    model.revoke(ACME, TOKENS)
    assert check(model).reason is DeniedReason.REVOKED
    model.set_customer_archived(ACME, archived=True)
    assert model.check(ACME, feature="feature-none").reason is DeniedReason.CUSTOMER_IS_ARCHIVED


def test_a_soft_and_an_unlimited_entitlement_do_not_refuse_and_do_not_bind() -> None:
    soft = consume(acme(limit=5, has_soft_limit=True), 10)
    assert (soft.granted, soft.binding, soft.account and soft.account.limit) == (True, None, 5)
    unlimited = consume(acme(limit=None, has_unlimited_usage=True), 10)
    assert (unlimited.granted, unlimited.account and unlimited.account.limit) == (True, None)


def test_a_choice_is_granted_where_every_value_was_given() -> None:
    model = acme()
    model.grant(ACME, {"feature": "region", "enum_values": ("eu",)})
    assert model.check(ACME, feature="region", requested_values=("eu",)).granted
    refused = model.check(ACME, feature="region", requested_values=("eu", "us"))
    assert refused.reason is DeniedReason.REQUESTED_VALUES_MISMATCH
    assert model.consume(ACME, feature="region").reason is DeniedReason.FEATURE_TYPE_MISMATCH


# --- reports --------------------------------------------------------------------------------------------------------


def test_a_correction_stops_at_zero_and_says_what_was_applied() -> None:
    model = acme()
    report(model, 5)
    report(model, 3, TEAM)

    receipt = report(model, -4, TEAM)

    assert on_account(receipt) == (4, -4)
    assert [(each.state.used, each.applied) for each in receipt.entities] == [(0, -3), (0, -3)]


def test_a_correction_is_not_applied_to_a_period_that_began_after_its_date() -> None:
    model = acme(reset_period="DAY")
    model.now_ms += 2 * DAY_MS
    report(model, 500, TEAM)

    receipt = report(model, -500, TEAM, dated_ms=NOON_MS + DAY_MS)

    assert on_account(receipt) == (500, 0)
    assert [each.applied for each in receipt.entities] == [-500, -500]


def test_set_makes_the_account_absolute_and_gives_the_difference_to_the_entities() -> None:
    model = acme()
    report(model, 100)
    report(model, 20, TEAM)

    up = report(model, 150, TEAM, behavior="SET")
    down = report(model, 90, TEAM, behavior="SET")

    assert on_account(up) == (150, 30)
    assert [each.state.used for each in up.entities] == [50, 50]
    assert on_account(down) == (90, -60)
    assert [(each.state.used, each.applied) for each in down.entities] == [(0, -50), (0, -50)]


def test_usage_counts_without_an_entitlement_and_of_an_archived_customer_in_its_period() -> None:
    model = acme(reset_period="DAY")
    model.set_customer_archived(ACME, archived=True)
    model.now_ms += DAY_MS
    report(model, 7)
    model.set_customer_archived(ACME, archived=False)
    account = check(model, 0).account
    assert account is not None
    assert account.used == 7
    with pytest.raises(NotFound):
        model.report("cus-nobody", feature=TOKENS, value=1)


# --- periods --------------------------------------------------------------------------------------------------------


def test_a_clock_that_steps_back_over_midnight_gives_no_budget_twice() -> None:
    model = acme(limit=100, reset_period="DAY")
    assert consume(model, 100)
    model.now_ms += DAY_MS
    assert consume(model, 100)
    model.now_ms -= 5_000
    assert not consume(model, 1)
    model.now_ms += 5_000
    assert not consume(model, 1)
    model.now_ms += DAY_MS
    assert consume(model, 100)


def test_a_start_more_than_a_period_ahead_is_taken_back_and_its_number_stands() -> None:
    model = acme(limit=100, reset_period="DAY")
    model.now_ms += 30 * DAY_MS
    assert consume(model, 60)
    model.now_ms -= 30 * DAY_MS
    assert not consume(model, 41)
    assert consume(model, 40)
    model.now_ms += DAY_MS
    assert consume(model, 100)


def test_a_changed_cadence_keeps_the_number_until_its_own_next_period() -> None:
    model = acme()
    budget(model, "user-ann", 10, "PT1H")
    dimensions = {"userId": "user-ann"}
    assert consume(model, 10, dimensions)
    budget(model, "user-ann", 10, "P1D")
    model.now_ms += 23 * HOUR_MS
    assert not consume(model, 1, dimensions)
    model.now_ms += HOUR_MS
    assert consume(model, 10, dimensions)
    budget(model, "user-ann", 10, "PT1H")
    assert not consume(model, 1, dimensions)


# --- configuration --------------------------------------------------------------------------------------------------


def test_a_hierarchy_has_four_levels_and_no_cycles_and_a_whole_subtree_may_move() -> None:
    model = acme()
    model.put_entities(ACME, [{"id": f"team-{number}", "type": "team"} for number in range(1, 5)])
    for child, parent in (("team-1", None), ("team-2", "team-1"), ("team-3", "team-2")):
        budget(model, child, None, parent=parent)

    with pytest.raises(InvalidInput):
        budget(model, "team-1", None, parent="team-3")
    with pytest.raises(InvalidInput):
        budget(model, "team-1", None, parent="team-1")
    with pytest.raises(InvalidInput):
        budget(model, "team-1", None, parent="team-eng")  # a fifth level
    with pytest.raises(InvalidInput):
        budget(model, "team-1", None, parent="team-none")
    budget(model, "team-1", None, parent="org-acme")
    with pytest.raises(InvalidInput):
        budget(model, "team-4", None, parent="team-3")
    budget(model, "team-2", None, parent=None)
    budget(model, "team-4", None, parent="team-3")


def test_a_refused_change_leaves_nothing_behind() -> None:
    model = acme()
    good = {"entity": "user-ann", "feature": TOKENS, "usage_limit": 1, "cadence": "P1D"}
    with pytest.raises(InvalidInput):
        model.put_assignments(ACME, [good, {**good, "entity": "user-none"}])
    assert model.customers[ACME].entities["user-ann"].assignments == {}


def test_a_budget_is_known_by_its_set_of_scope_ids_and_keeps_what_is_not_given() -> None:
    model = acme()
    budget(model, "team-eng", 5, scope=["model-large", "user-ann"])
    model.now_ms += DAY_MS
    model.put_assignments(
        ACME, [{"entity": "team-eng", "feature": TOKENS, "scope": ["user-ann", "model-large"], "usage_limit": None}]
    )
    (scoped,) = (each for (_, scope), each in model.customers[ACME].entities["team-eng"].assignments.items() if scope)
    assert (scoped.limit, scoped.cadence, scoped.created_at_ms) == (None, "P1D", NOON_MS)


# --- amounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "amount"),
    [(0.1, Fraction(1, 10)), (1.000005, Fraction(100_001, 100_000)), (-2.675005, Fraction(-267_501, 100_000)), (3, 3)],
)
def test_an_amount_is_what_was_written_to_five_decimals(written: float, amount: Fraction) -> None:
    assert exact(written) == amount


def test_sums_are_those_of_decimals_and_never_leave_the_range() -> None:
    model = acme(limit=0.3)
    assert [consume(model, 0.1).granted for _ in range(4)] == [True, True, True, False]
    assert total(exact(2**35), exact(0.5)) is None
    assert total(exact(2**35 - 0.5), exact(0.5)) is None
    assert total(exact(2**35 - 1), exact(1)) == 2**35
    unlimited = acme(limit=None, has_unlimited_usage=True)
    report(unlimited, 2**53 - 1)
    with pytest.raises(OutOfRange):
        report(unlimited, 1)
    with pytest.raises(OutOfRange):
        consume(unlimited, 1)


@pytest.mark.parametrize(("value", "text"), [(42.0, "42"), (42, "42"), (True, "true"), (0.5, "0.5"), ("42.0", "42.0")])
def test_dimension_values_are_read_as_javascript_prints_them(value: Any, text: str) -> None:
    assert dimension_text(value) == text
