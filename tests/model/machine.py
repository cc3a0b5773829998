"""The state machine of governance: two engines on one environment, and a model; whatever is done, they never disagree.

The engines have caches of their own and hear of nothing: what the one changes, the other finds out by asking. After
each step the one that did not act answers a request that it has in its cache; every few steps all counters are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from headgate.errors import InvalidInput
from headgate.model.catalog import EntityType, Feature
from model import vocabulary as words
from model.agreeing import Agreeing, instant
from model.exact import FRACTION_BELOW

STEPS_BETWEEN_TREES = 6


class Agreement(Agreeing):
    """The rules of governance: budgets of entities, and an account level above them."""

    @invariant()
    def the_other_engine_agrees(self) -> None:
        """Ask the engine that did not act for a shape that it has in its cache, and now and then for everything."""
        if words.CUSTOMER not in self.model.customers:
            return
        self.steps += 1
        asked: dict[str, Any] = {"feature": words.TOKENS, "requested_usage": 1, "dimensions": words.PROBE}
        self.agree(
            not self.acted,
            lambda engine: engine.check(words.CUSTOMER, **asked),
            lambda model: model.check(words.CUSTOMER, **asked),
        )
        if self.steps % STEPS_BETWEEN_TREES == 0:
            self.every_counter_agrees()

    def every_counter_agrees(self) -> None:
        for customer in sorted(self.model.customers):
            for feature in words.METERED:
                self.tree_agrees(customer, feature)

    def tree_agrees(self, customer: str, feature: str) -> None:
        self.agree(
            bool(self.acted),
            lambda engine: engine.governance.tree(customer, feature=feature),
            lambda model: model.tree(customer, feature=feature),
        )

    # --- set-up -----------------------------------------------------------------------------------------------------

    @initialize(
        start_ms=st.sampled_from(words.STARTS_MS),
        limit=st.sampled_from((5, 10, 20, 50)),
        unit=st.sampled_from((1, 1, 1, 0.1)),
        budgets=st.lists(words.whole_assignments, min_size=2, max_size=5),
        second=words.seconds,
    )
    def begin(self, start_ms: int, limit: int, unit: float, budgets: list[dict[str, Any]], second: bool) -> None:
        """A customer with a chain of four and models: most of what follows has something to count on."""
        self.clock.set(start_ms)
        self.model.now_ms = start_ms
        entities = [{"id": id, "type": type} for id, type in words.TYPE_OF.items()]
        chain: list[dict[str, Any]] = [
            {"entity": "org-1", "usage_limit": None, "cadence": "P1M"},
            {"entity": "team-1", "usage_limit": limit, "cadence": "P1D", "parent": "org-1"},
            {"entity": "user-1", "usage_limit": 7, "cadence": "PT1H", "parent": "team-1"},
            {"entity": "user-1", "usage_limit": 3, "cadence": "PT10M", "scope": ["model-1"]},
            {"entity": "true", "usage_limit": None, "cadence": "PT1M", "parent": "user-1"},
            {"entity": "team-1", "usage_limit": 4, "cadence": "P1W", "scope": ["model-1", "team-2"]},
        ]
        for budget in chain:
            budget["feature"] = words.TOKENS
            if budget["usage_limit"] is not None:
                budget["usage_limit"] = round(budget["usage_limit"] * unit, 5)
        self.put_entity_types(words.ENTITY_TYPES, second)
        self.put_features(words.FEATURES, second)
        self.put_customer(words.CUSTOMER, second)
        self.grant(
            words.CUSTOMER,
            {"feature": words.TOKENS, "usage_limit": round(4 * limit * unit, 5), "reset_period": "DAY"},
            second,
        )
        self.put_entities(words.CUSTOMER, entities, second)
        self.put_assignments(words.CUSTOMER, chain, second)
        for budget in budgets:
            self.put_assignments(words.CUSTOMER, [budget], not second)

    def put_entity_types(self, types: Sequence[EntityType], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.catalog.put_entity_types(list(types)),
            lambda model: model.put_entity_types(types),
        )

    def put_features(self, features: Sequence[Feature], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.catalog.put_features(list(features)),
            lambda model: model.put_features(features),
        )

    @rule(each=st.sampled_from(words.OTHER_TYPES), second=words.seconds)
    def change_entity_type(self, each: EntityType, second: bool) -> None:
        self.put_entity_types([each], second)

    @rule(each=st.sampled_from(words.OTHER_FEATURES), second=words.seconds)
    def change_feature(self, each: Feature, second: bool) -> None:
        self.put_features([each], second)

    @rule(customer=st.sampled_from(words.CUSTOMERS), second=words.seconds)
    def put_customer(self, customer: str, second: bool) -> None:
        self.set_up(second, lambda engine: engine.customers.put(customer), lambda model: model.put_customer(customer))

    @rule(customer=words.mostly_the_customer, archived=words.seldom, second=words.seconds)
    def archive_customer(self, customer: str, archived: bool, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: (engine.customers.archive if archived else engine.customers.unarchive)(customer),
            lambda model: model.set_customer_archived(customer, archived=archived),
        )

    @rule(customer=words.mostly_the_customer, given=words.grants, second=words.seconds)
    def grant(self, customer: str, given: Mapping[str, Any], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.customers.grant_entitlement(customer, given),
            lambda model: model.grant(customer, given),
        )

    @rule(customer=words.mostly_the_customer, feature=words.revocable, second=words.seconds)
    def revoke(self, customer: str, feature: str, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.customers.revoke_entitlement(customer, feature=feature),
            lambda model: model.revoke(customer, feature),
        )

    @rule(
        customer=words.mostly_the_customer,
        upserts=st.lists(words.entity_upserts, min_size=1, max_size=3),
        second=words.seconds,
    )
    def put_entities(self, customer: str, upserts: Sequence[Mapping[str, Any]], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.governance.put_entities(customer, upserts),
            lambda model: model.put_entities(customer, upserts),
        )

    @rule(
        customer=words.mostly_the_customer,
        upserts=st.lists(words.assignments, min_size=1, max_size=3),
        second=words.seconds,
    )
    def put_assignments(self, customer: str, upserts: Sequence[Mapping[str, Any]], second: bool) -> None:
        self.set_up(
            second,
            lambda engine: engine.governance.put_assignments(customer, upserts),
            lambda model: model.put_assignments(customer, upserts),
        )

    @rule(entity=words.entity_ids, parent=words.parents, second=words.seconds)
    def move_entity(self, entity: str, parent: str | None, second: bool) -> None:
        """Re-parent through a budget that the entity has already, or try to without one."""
        budget = {"entity": entity, "feature": words.TOKENS, "parent": parent, "usage_limit": 10, "cadence": "P1D"}
        self.put_assignments(words.CUSTOMER, [budget], second)

    @rule(place=st.integers(0, 20), second=words.seconds)
    def make_a_tie(self, place: int, second: bool) -> None:
        """Change a limit so that its budget has as little left as the tightest one, to the last decimal."""
        budgets = self.model.limited_budgets(words.CUSTOMER, feature=words.TOKENS, dimensions=words.PROBE)
        if budgets:
            entity, scope, used, _ = budgets[place % len(budgets)]
            limit = used + min(left for _, _, _, left in budgets)
            if 0 <= limit < FRACTION_BELOW:
                upsert = {"entity": entity, "feature": words.TOKENS, "scope": scope, "usage_limit": float(limit)}
                self.put_assignments(words.CUSTOMER, [upsert], second)

    @rule(
        ids=st.lists(words.archivable, min_size=1, max_size=2),
        archived=st.booleans(),
        second=words.seconds,
    )
    def archive_entities(self, ids: list[str], archived: bool, second: bool) -> None:
        self.set_up(
            second,
            lambda engine: (engine.governance.archive if archived else engine.governance.unarchive)(
                words.CUSTOMER, ids
            ),
            lambda model: model.set_archived(words.CUSTOMER, ids, archived=archived),
        )

    # --- usage ------------------------------------------------------------------------------------------------------

    @rule(
        customer=words.mostly_the_customer,
        feature=words.any_feature,
        amount=words.amounts,
        dimensions=words.dimensions,
        values=st.sampled_from(((), (), ("eu",), ("eu", "in"))),
        second=words.seconds,
    )
    def check(
        self,
        customer: str,
        feature: str,
        amount: float,
        dimensions: dict[str, Any] | None,
        values: tuple[str, ...],
        second: bool,
    ) -> None:
        asked: dict[str, Any] = {"feature": feature, "requested_usage": amount, "dimensions": dimensions}
        asked["requested_values"] = values
        self.agree(second, lambda engine: engine.check(customer, **asked), lambda model: model.check(customer, **asked))

    @rule(
        customer=words.mostly_the_customer,
        feature=words.any_feature,
        amount=words.amounts,
        dimensions=words.dimensions,
        second=words.seconds,
    )
    def consume(
        self, customer: str, feature: str, amount: float, dimensions: dict[str, Any] | None, second: bool
    ) -> None:
        asked: dict[str, Any] = {"feature": feature, "amount": amount, "dimensions": dimensions}
        self.agree(
            second, lambda engine: engine.consume(customer, **asked), lambda model: model.consume(customer, **asked)
        )

    @rule(amount=words.amounts, dimensions=words.dimensions, second=words.seconds)
    def consume_tokens(self, amount: float, dimensions: dict[str, Any] | None, second: bool) -> None:
        self.consume(words.CUSTOMER, words.TOKENS, amount, dimensions, second)

    @rule(times=st.integers(2, 6), amount=st.sampled_from((0.1, 0.3, 1, 3)))
    def consume_in_turn(self, times: int, amount: float) -> None:
        """Until somebody refuses: each engine counts what the other one has not seen."""
        for time in range(times):
            self.consume(words.CUSTOMER, words.TOKENS, amount, words.PROBE, second=time % 2 == 1)

    @rule(
        customer=words.mostly_the_customer,
        feature=words.any_feature,
        value=words.amounts | words.corrections,
        behavior=st.sampled_from(("DELTA", "DELTA", "SET")),
        dimensions=words.dimensions,
        dated=st.none() | st.tuples(st.integers(0, 30), words.near),
        second=words.seconds,
    )
    def report(
        self,
        customer: str,
        feature: str,
        value: float,
        behavior: str,
        dimensions: dict[str, Any] | None,
        dated: tuple[int, int] | None,
        second: bool,
    ) -> None:
        """`dated` is a place among the boundaries of periods around now, and a millisecond beside it."""
        dated_ms = None if dated is None else self.boundary_ms(*dated, ahead=False)
        reported: dict[str, Any] = {"value": value, "behavior": behavior, "dimensions": dimensions}
        timestamp = None if dated_ms is None else instant(dated_ms)
        self.agree(
            second,
            lambda engine: engine.report(customer, feature=feature, timestamp=timestamp, **reported),
            lambda model: model.report(customer, feature=feature, dated_ms=dated_ms, **reported),
        )

    @rule(
        amount=st.sampled_from((1, 2, 0.1)),
        dimensions=words.dimensions,
        place=st.integers(0, 30),
        near_ms=st.sampled_from((-1, -1, 0, 1)),
        second=words.seconds,
    )
    def correct(self, amount: float, dimensions: dict[str, Any] | None, place: int, near_ms: int, second: bool) -> None:
        """Take back what was counted around the start of some period, a millisecond before it or after it."""
        self.report(words.CUSTOMER, words.TOKENS, amount, "DELTA", dimensions, None, second)
        self.report(words.CUSTOMER, words.TOKENS, -amount, "DELTA", dimensions, (place, near_ms), not second)

    @rule(
        records=st.lists(
            st.fixed_dictionaries(
                {"customer": words.mostly_the_customer, "feature": words.any_feature, "value": words.amounts},
                optional={"behavior": st.sampled_from(("DELTA", "SET")), "dimensions": words.dimensions},
            ),
            min_size=1,
            max_size=4,
        ),
        second=words.seconds,
    )
    def report_many(self, records: list[dict[str, Any]], second: bool) -> None:
        self.agree(second, lambda engine: engine.report_many(records), lambda model: model.report_many(records))

    @rule(value=words.amounts, dimensions=st.just(words.PROBE) | words.dimensions, second=words.seconds)
    def set_usage(self, value: float, dimensions: dict[str, Any] | None, second: bool) -> None:
        """The account stands at the value then, and its entities get the difference."""
        self.report(words.CUSTOMER, words.TOKENS, value, "SET", dimensions, None, second)

    @rule(start=words.last_amounts, amount=st.sampled_from((1, 2, 0.1, 0.5)), second=words.seconds)
    def count_to_the_end_of_the_range(self, start: float, amount: float, second: bool) -> None:
        """Nothing limits the second customer's seats but the numbers that can be kept."""
        customer = words.CUSTOMERS[1]
        self.put_customer(customer, second)
        self.grant(customer, {"feature": words.SEATS, "has_unlimited_usage": True}, second)
        self.report(customer, words.SEATS, start, "SET", None, None, second)
        self.check(customer, words.SEATS, amount, None, (), not second)
        self.consume(customer, words.SEATS, amount, None, second)
        self.report(customer, words.SEATS, amount, "DELTA", None, None, not second)

    @rule(nonsense=st.sampled_from(words.NONSENSE), second=words.seconds)
    def ask_nonsense(self, nonsense: tuple[str, dict[str, Any]], second: bool) -> None:
        verb, wrong = nonsense
        self.acted = int(second)
        with pytest.raises(InvalidInput) as raised:
            getattr(self.engines[self.acted], verb)(words.CUSTOMER, **{"feature": words.TOKENS, **wrong})
        assert raised.value.problems

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(
        ahead_ms=words.steps_forward_ms,
        amount=st.sampled_from((1, 3)),
        place=st.none() | words.near_places,
        second=words.seconds,
    )
    def a_clock_runs_wild(self, ahead_ms: int, amount: float, place: int | None, second: bool) -> None:
        """Count something far ahead, come back and count again, and perhaps wait until some period ends."""
        now_ms = self.clock.now_ms
        self.go_to(now_ms + 2 * ahead_ms)
        self.report(words.CUSTOMER, words.TOKENS, amount, "DELTA", words.PROBE, None, second)
        self.go_to(now_ms)
        self.report(words.CUSTOMER, words.TOKENS, amount, "DELTA", words.PROBE, None, not second)
        if place is not None:
            self.wait_for_a_boundary(place, 0)
