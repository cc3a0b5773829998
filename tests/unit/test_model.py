"""Values check themselves where they are born, and answers say what they mean."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import headgate
from headgate import errors
from headgate.errors import BatchIncomplete, CatalogNotEverywhere, HeadgateError, InvalidInput, NotFound, Problem
from headgate.model.base import Strict
from headgate.model.catalog import EntityType, Feature, FeatureType, MeterType
from headgate.model.customer import Customer, PromotionalEntitlement
from headgate.model.decision import ConstraintState, Counted, Decision, DeniedReason, Receipt, UpdateBehavior
from headgate.model.governance import Assignment, AssignmentUpsert, Entity, EntityUpsert
from headgate.model.ids import ID_RULE, is_id, require_id
from headgate.periods import ALWAYS, Period
from headgate.settings import Settings

START_MS = 1_773_144_000_000  # 2026-03-10 12:00 UTC
MODELS: list[type[Strict]] = [
    Feature,
    EntityType,
    Customer,
    PromotionalEntitlement,
    Entity,
    EntityUpsert,
    Assignment,
    AssignmentUpsert,
    Settings,
]
STATE = ConstraintState(
    entity="team-eng",
    entity_type="team",
    scope=(),
    limit=100,
    is_soft=False,
    used=40,
    held=0,
    granted=True,
    period=Period(START_MS, START_MS + 600_000),
    cadence="PT10M",
)
ACCOUNT = replace(STATE, entity=None, entity_type=None, period=ALWAYS, cadence=None)
DECISION = Decision(
    customer="c",
    feature="f",
    requested=1,
    granted=True,
    reason=None,
    account=ACCOUNT,
    chains=((STATE,), (STATE,)),
    binding=STATE,
    decided_at_ms=START_MS,
)


@pytest.mark.parametrize("value", ["a", "A9", "0", "cus-1", "a|b.c@d_e-f", "x" * 255])
def test_what_may_be_an_id(value: str) -> None:
    assert is_id(value)
    assert require_id(value, "customer") == value


@pytest.mark.parametrize(
    "value", ["", "-a", "_a", ".a", "a b", "a:b", "a{", "a}", "a*", "a/b", "é", "a\n", "a\0", "x" * 256, 5, None, b"a"]
)
def test_what_may_not_be_an_id(value: object) -> None:
    assert not is_id(value)
    with pytest.raises(InvalidInput) as caught:
        require_id(value, "customer")
    assert caught.value.problems == (Problem("customer", value, ID_RULE),)


@given(st.text())
def test_no_id_can_leave_its_place_in_a_key(value: str) -> None:
    if is_id(value):
        assert value.isascii()
        assert not set(value) & set("{}:*?[] \n\0/")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_frozen_strict_and_refuses_unknown_fields(model: type[Strict]) -> None:
    assert model.model_config.get("frozen")
    assert model.model_config.get("strict")
    with pytest.raises(InvalidInput) as caught:
        model.accept({"no_such_field": 1}, "it")
    assert Problem("it.no_such_field", 1, "unknown field") in caught.value.problems


def test_a_value_that_is_already_one_is_accepted_as_it_is() -> None:
    feature = Feature(id="f", feature_type=FeatureType.BOOLEAN)
    assert Feature.accept(feature) is feature
    with pytest.raises(ValidationError):
        feature.id = "g"  # type: ignore[misc]


def test_every_problem_of_a_value_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        AssignmentUpsert.accept({"entity": "", "usage_limit": -1, "cadence": "x", "no": 1}, "assignments[3]")
    assert [problem.field for problem in caught.value.problems] == [
        "assignments[3].entity",
        "assignments[3].usage_limit",
        "assignments[3].cadence",
        "assignments[3].no",
    ]


@pytest.mark.parametrize(
    ("given", "kept"), [(1, 1.0), (0.1, 0.1), (1.000005, 1.00001), (2**53 - 1, float(2**53 - 1)), (None, None)]
)
def test_a_limit_is_kept_as_an_amount_is(given: float | None, kept: float | None) -> None:
    limit = PromotionalEntitlement(feature="f", usage_limit=given).usage_limit
    assert limit == kept
    assert limit is None or isinstance(limit, float)


@pytest.mark.parametrize(("given", "kept"), [("P1M", "P1M"), ("P01D", "P1D"), ("PT10M", "PT10M"), ("P1W", "P1W")])
def test_a_cadence_is_kept_in_its_shortest_spelling(given: str, kept: str) -> None:
    assert AssignmentUpsert(entity="e", feature="f", cadence=given).cadence == kept


def test_a_scope_is_a_sorted_set() -> None:
    assert AssignmentUpsert(entity="e", feature="f", scope=("b", "a", "b")).scope == ("a", "b")


def test_an_upsert_knows_what_was_given_from_what_was_left_out() -> None:
    upsert = AssignmentUpsert(entity="e", feature="f", parent=None)
    assert upsert.gives("parent")
    assert not upsert.gives("usage_limit")


@pytest.mark.parametrize(
    ("counts", "height"), [((0, 0, 0), 0), ((3, 0, 0), 1), ((0, 1, 0), 2), ((5, 0, 1), 3), ((0, 0, 2), 3)]
)
def test_an_entitys_height_comes_from_its_children(counts: tuple[int, int, int], height: int) -> None:
    entity = Entity(id="e", type="t", children_by_height=counts, created_at_ms=0, updated_at_ms=0)
    assert entity.height == height


@pytest.mark.parametrize(
    ("kind", "meter", "is_metered"),
    [
        (FeatureType.NUMBER, MeterType.INCREMENTAL, True),
        (FeatureType.NUMBER, MeterType.FLUCTUATING, True),
        (FeatureType.NUMBER, MeterType.NONE, False),
        (FeatureType.BOOLEAN, MeterType.NONE, False),
        (FeatureType.ENUM, MeterType.NONE, False),
    ],
)
def test_only_numbers_with_a_meter_are_metered(kind: FeatureType, meter: MeterType, is_metered: bool) -> None:
    assert Feature(id="f", feature_type=kind, meter_type=meter).is_metered is is_metered


@pytest.mark.parametrize(
    "fields", [{"deadline_ms": 0}, {"deadline_ms": "250"}, {"partitions": 0}, {"partitions": 20_000}, {"listens": True}]
)
def test_settings_are_typed_and_bounded_and_know_their_names(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Settings.accept(fields)
    assert Settings.accept({}) == Settings()


def test_a_constraint_says_its_name_what_is_left_and_when_it_resets() -> None:
    assert (STATE.name, STATE.left) == ("team-eng", 60)
    assert STATE.resets_at == datetime(2026, 3, 10, 12, 10, tzinfo=UTC)
    assert replace(STATE, scope=("a", "b")).name == "team-eng[a,b]"
    assert replace(STATE, used=120, held=5).left == -25
    assert replace(STATE, limit=None).left is None
    assert (ACCOUNT.name, ACCOUNT.resets_at) == ("account", None)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (STATE, "team-eng has used 40 of 100 until 2026-03-10 12:10:00 UTC"),
        (ACCOUNT, "account has used 40 of 100"),
        (replace(ACCOUNT, limit=None), "account has used 40 and has no limit"),
        (replace(ACCOUNT, is_soft=True), "account has used 40 of 100 (soft)"),
        (replace(ACCOUNT, held=2.5), "account has used 40 and 2.5 held of 100"),
    ],
)
def test_a_constraint_reads_as_words(state: ConstraintState, text: str) -> None:
    assert str(state) == text


def test_a_constraint_that_several_chains_share_is_there_once() -> None:
    assert DECISION.constraints == (ACCOUNT, STATE)
    assert replace(DECISION, account=None, chains=None).constraints == ()


def test_a_decision_is_its_verdict() -> None:
    assert DECISION
    assert DECISION.require() is DECISION
    refused = replace(DECISION, granted=False, reason=DeniedReason.BUDGET_EXCEEDED)
    assert not refused
    with pytest.raises(headgate.LimitReached, match="team-eng has used 40 of 100"):
        refused.require()
    with pytest.raises(FrozenInstanceError):
        DECISION.granted = False  # type: ignore[misc]


def test_no_dimensions_and_no_match_are_told_apart_in_json() -> None:
    assert replace(DECISION, chains=None).as_dict()["chains"] is None
    assert replace(DECISION, chains=()).as_dict()["chains"] == []


def test_a_receipt_reads_as_one_sentence() -> None:
    receipt = Receipt("c", "f", 5, UpdateBehavior.SET, Counted(ACCOUNT, 5), (Counted(STATE, 0.5),), START_MS)
    assert str(receipt) == "c, f: set to 5; account stands at 40 (+5), team-eng stands at 40 (+0.5)."


def test_a_receipt_names_what_was_applied_in_full() -> None:
    receipt = Receipt("c", "f", 12_345_678, UpdateBehavior.DELTA, Counted(ACCOUNT, 12_345_678), (), START_MS)
    assert str(receipt) == "c, f: reported 12,345,678; account stands at 40 (+12,345,678)."


def test_every_error_has_a_code_and_is_in_the_tree_at_the_top_of_its_module() -> None:
    assert errors.__doc__ is not None
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HeadgateError)]
    for kind in kinds:
        assert kind.__name__ in errors.__doc__
        assert kind.__doc__
        assert kind.__name__ in headgate.__all__
        assert isinstance(kind.code, str | property)


def test_errors_carry_their_data() -> None:
    missing = NotFound("entity type", "team", within="of the catalog")
    assert (missing.code, missing.kind, missing.id) == ("EntityTypeNotFound", "entity type", "team")
    behind = CatalogNotEverywhere(range(20), "the server went away")
    assert behind.partitions == tuple(range(20))
    assert str(behind) == (
        "20 partitions do not stand at the new catalog yet (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …): the server went away"
    )
    batch = BatchIncomplete(["applied", "unknown"], [], missing)
    assert (batch.outcomes, batch.receipts, batch.cause) == (("applied", "unknown"), (), missing)


def test_public_names_are_sorted_and_there() -> None:
    assert sorted(headgate.__all__, key=str.lower) == sorted(set(headgate.__all__), key=str.lower)
    assert all(hasattr(headgate, name) for name in headgate.__all__)
