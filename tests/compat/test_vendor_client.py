"""The vendor's published Python client, unmodified: set-up, check, usage, credits, reservations and the tree."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import stigg
from stigg import Stigg

from conftest import KEY

TOKENS, CALLS, CREDITS = "feature-ai-tokens", "feature-api-calls", "currency-ai-tokens"
NODES = ("org-acme", "team-eng")


@pytest.fixture(scope="session")
def client(base_url: str) -> Iterator[Stigg]:
    with Stigg(api_key=KEY, base_url=base_url) as client:
        yield client


@pytest.fixture(scope="session")
def catalog(client: Stigg) -> Stigg:
    """Everything that is defined once, by the vendor's client."""
    tokens = client.v1.features.create_feature(
        id=TOKENS, display_name="AI Tokens", feature_type="NUMBER", meter_type="INCREMENTAL"
    )
    assert (tokens.data.id, tokens.data.feature_status, tokens.data.meter_type) == (TOKENS, "ACTIVE", "INCREMENTAL")
    client.v1.features.create_feature(
        id=CALLS, display_name="API calls", feature_type="NUMBER", meter_type="INCREMENTAL"
    )
    currency = client.v1.credits.custom_currencies.create(
        id=CREDITS, display_name="AI credits", units={"singular": "credit", "plural": "credits"}
    )
    assert (currency.data.id, currency.data.units and currency.data.units.plural) == (CREDITS, "credits")
    types = client.v1_beta.entity_types.upsert(
        types=[
            {"id": "org", "display_name": "Organisation", "attribution_keys": ["orgId"]},
            {"id": "team", "display_name": "Team", "attribution_keys": ["teamId"]},
        ]
    )
    assert [each.attribution_keys for each in types.data] == [["orgId"], ["teamId"]]
    plan = client.v1.plans.create(id="plan-pro", display_name="Pro", product_id="product-ai")
    assert plan.data.id == "plan-pro"
    entitled = client.v1.plans.entitlements.create(
        "plan-pro",
        entitlements=[
            {"id": TOKENS, "type": "FEATURE", "usage_limit": 200_000, "reset_period": "MONTH"},
            {"id": CALLS, "type": "FEATURE", "usage_limit": 1_000, "reset_period": "DAY"},
        ],
    )
    assert [(each.id, each.type) for each in entitled.data] == [(TOKENS, "FEATURE"), (CALLS, "FEATURE")]
    client.v1.plans.publish("plan-pro", migration_type="ALL_CUSTOMERS")
    return client


@pytest.fixture
def customer(catalog: Stigg) -> str:
    """A customer of its own for each test, with a subscription, an organisation, and a team below it."""
    id = f"cus-{uuid.uuid4().hex}"
    assert catalog.v1.customers.provision(id=id, name="Acme", email="it@acme.test").data.id == id
    subscription = catalog.v1.subscriptions.provision(customer_id=id, plan_id="plan-pro")
    assert subscription.data.status == "SUCCESS"
    assert subscription.data.subscription is not None
    assert subscription.data.subscription.status == "ACTIVE"
    catalog.v1_beta.customers.entities.upsert(
        id, entities=[{"id": "org-acme", "entity_type_id": "org"}, {"id": "team-eng", "entity_type_id": "team"}]
    )
    assigned = catalog.v1_beta.customers.assignments.upsert(
        id,
        assignments=[
            {"entity_id": "org-acme", "feature_id": TOKENS, "usage_limit": 1_000_000, "cadence": "P1M"},
            {
                "entity_id": "team-eng",
                "feature_id": TOKENS,
                "usage_limit": 100_000,
                "cadence": "P1M",
                "parent_id": "org-acme",
            },
        ],
    )
    assert [(each.entity_id, each.usage_limit, each.parent_id) for each in assigned.data] == [
        ("org-acme", 1_000_000, None),
        ("team-eng", 100_000, "org-acme"),
    ]
    return id


# Check and usage.


def test_a_check_tells_the_account_and_each_budget_of_the_chain(catalog: Stigg, customer: str) -> None:
    catalog.v1.usage.report(
        usages=[{"customer_id": customer, "feature_id": TOKENS, "value": 42_311, "dimensions": {"teamId": "team-eng"}}]
    )
    answer = catalog.v1_beta.customers.entitlements.check(
        customer, feature_id=TOKENS, requested_usage=1000, dimensions={"teamId": "team-eng"}
    ).data
    assert answer.type == "FEATURE"
    assert (answer.is_granted, answer.access_denied_reason) == (True, None)
    assert (answer.usage_limit, answer.current_usage, answer.has_unlimited_usage) == (200_000, 42_311, False)
    assert answer.reset_period == "MONTH"
    assert answer.usage_period_start is not None
    assert answer.usage_period_end is not None
    assert answer.usage_period_start < datetime.now(UTC) < answer.usage_period_end
    assert answer.feature is not None
    assert (answer.feature.id, answer.feature.display_name) == (TOKENS, "AI Tokens")
    assert (answer.feature.feature_type, answer.feature.feature_status) == ("NUMBER", "ACTIVE")
    assert answer.chains is not None
    assert [
        [(node.entity_id, node.scope_entity_ids, node.usage_limit, node.current_usage, node.is_granted)]
        for node in answer.chains[0]
    ] == [
        [("team-eng", [], 100_000, 42_311, True)],
        [("org-acme", [], 1_000_000, 42_311, True)],
    ]


def test_a_budget_that_is_short_denies_and_is_told(catalog: Stigg, customer: str) -> None:
    answer = catalog.v1_beta.customers.entitlements.check(
        customer, feature_id=TOKENS, requested_usage=100_001, dimensions={"teamId": "team-eng"}
    ).data
    assert (answer.is_granted, answer.access_denied_reason) == (False, "BudgetExceeded")
    assert answer.chains is not None
    assert [(node.entity_id, node.is_granted) for node in answer.chains[0]] == [("team-eng", False), ("org-acme", True)]


def test_without_dimensions_there_are_no_chains(catalog: Stigg, customer: str) -> None:
    answer = catalog.v1.customers.check_entitlement(customer, feature_id=TOKENS, requested_usage=200_001).data
    assert (answer.is_granted, answer.access_denied_reason) == (False, "RequestedUsageExceedingLimit")
    assert getattr(answer, "chains", None) is None


def test_an_unknown_customer_is_a_denial_and_no_error(catalog: Stigg) -> None:
    answer = catalog.v1.customers.check_entitlement("cus-none", feature_id=TOKENS).data
    assert (answer.is_granted, answer.access_denied_reason) == (False, "CustomerNotFound")


def test_a_batch_is_counted_in_order_and_every_record_is_answered(catalog: Stigg, customer: str) -> None:
    answers = catalog.v1.usage.report(
        usages=[
            {"customer_id": customer, "feature_id": CALLS, "value": 1, "dimensions": {"teamId": "team-eng"}},
            {"customer_id": customer, "feature_id": TOKENS, "value": 2_500, "dimensions": {"teamId": "team-eng"}},
            {"customer_id": customer, "feature_id": CALLS, "value": 40, "update_behavior": "SET"},
        ]
    ).data
    assert [(each.feature_id, each.value, each.current_usage) for each in answers] == [
        (CALLS, 1, 1),
        (TOKENS, 2_500, 2_500),
        (CALLS, 40, 40),
    ]
    assert all(each.customer_id == customer for each in answers)
    assert len({each.id for each in answers}) == 3


def test_the_same_key_counts_once_and_another_request_under_it_is_a_conflict(catalog: Stigg, customer: str) -> None:
    record = {
        "customer_id": customer,
        "feature_id": TOKENS,
        "value": 10,
        "dimensions": {"teamId": "team-eng"},
        "idempotency_key": "once",
    }
    first = catalog.v2.usage.report(usages=[record]).data  # type: ignore[list-item]
    again = catalog.v2.usage.report(usages=[record]).data  # type: ignore[list-item]
    assert [each.current_usage for each in (*first.usages, *again.usages)] == [10, 10]
    assert first.entities is not None
    assert {(each.entity_id, each.current_usage) for each in first.entities} == {("team-eng", 10), ("org-acme", 10)}
    assert not again.entities
    with pytest.raises(stigg.ConflictError) as conflict:
        catalog.v2.usage.report(usages=[{**record, "value": 11}])  # type: ignore[list-item]
    assert isinstance(conflict.value.body, dict)
    assert conflict.value.body["code"] == "Conflict"


def test_what_breaks_a_rule_is_told_by_field_and_nothing_is_counted(catalog: Stigg, customer: str) -> None:
    with pytest.raises(stigg.BadRequestError) as refused:
        catalog.v1.usage.report(
            usages=[
                {"customer_id": customer, "feature_id": CALLS, "value": 1},
                {"customer_id": customer, "feature_id": CALLS, "value": 2.0**60},
            ]
        )
    assert "value" in str(refused.value)
    answer = catalog.v1.customers.check_entitlement(customer, feature_id=CALLS).data
    assert answer.current_usage == 0
    with pytest.raises(stigg.NotFoundError):
        catalog.v1.usage.report(usages=[{"customer_id": "cus-none", "feature_id": CALLS, "value": 1}])


# Credits.


def test_credits_are_granted_checked_consumed_and_told_in_the_ledger(catalog: Stigg, customer: str) -> None:
    grant = catalog.v1.credits.grants.create(
        amount=500, currency_id=CREDITS, customer_id=customer, display_name="Welcome", grant_type="PROMOTIONAL"
    ).data
    assert (grant.amount, grant.consumed_amount, grant.status, grant.grant_type) == (500, 0, "ACTIVE", "PROMOTIONAL")
    consumed = catalog.v1.credits.consumption.consume(
        amount=120, currency_id=CREDITS, customer_id=customer, idempotency_key="call-1"
    ).data
    assert (consumed.amount, consumed.currency_id, consumed.customer_id) == (120, CREDITS, customer)
    assert consumed.credit is not None
    assert (consumed.credit.current_usage, consumed.credit.usage_limit) == (120, 500)
    answer = catalog.v1.customers.check_entitlement(customer, currency_id=CREDITS, requested_usage=381).data
    assert answer.type == "CREDIT"
    assert (answer.is_granted, answer.access_denied_reason) == (False, "InsufficientCredits")
    assert (answer.current_usage, answer.usage_limit, answer.currency.currency_id) == (120, 500, CREDITS)
    granted = list(catalog.v1.credits.list_ledger(customer_id=customer))
    assert ("CREDITS_GRANTED", 500) in {(each.event_type, each.amount) for each in granted}
    voided = catalog.v1.credits.grants.void(grant.id).data
    assert voided.status == "VOIDED"
    assert [each.id for each in catalog.v1.credits.grants.list(customer_id=customer)] == [grant.id]


def test_twenty_at_once_of_75_against_500_are_exactly_six(catalog: Stigg, customer: str) -> None:
    catalog.v1.credits.grants.create(
        amount=500, currency_id=CREDITS, customer_id=customer, display_name="Welcome", grant_type="PAID"
    )
    together = threading.Barrier(20)

    def reserve(number: int) -> tuple[str, bool]:
        together.wait()
        id = f"reservation-{number}"
        answer = catalog.v1.customers.check_entitlement(
            customer, currency_id=CREDITS, reserve_amount=75, reservation_id=id, reservation_ttl_seconds=60
        ).data
        return id, answer.is_granted

    with ThreadPoolExecutor(20) as pool:
        made = dict(pool.map(reserve, range(20)))
    granted = [id for id, is_granted in made.items() if is_granted]
    assert len(granted) == 6
    again = catalog.v1.customers.check_entitlement(
        customer, currency_id=CREDITS, reserve_amount=75, reservation_id=granted[0], reservation_ttl_seconds=60
    ).data
    assert again.is_granted
    assert again.type == "CREDIT"
    assert again.reservation is not None
    assert (again.reservation.id, again.reservation.amount, again.reservation.status) == (granted[0], 75, "ACTIVE")
    for id in granted:
        released = catalog.v1.credits.reservations.release(
            id, consumed_amount=50, currency_id=CREDITS, customer_id=customer
        ).data
        assert (released.reservation.status, released.reservation.consumed_amount) == ("RELEASED", 50)
    answer = catalog.v1.customers.check_entitlement(customer, currency_id=CREDITS, requested_usage=200).data
    assert answer.type == "CREDIT"
    assert (answer.is_granted, answer.current_usage, answer.usage_limit) == (True, 300, 500)


# The control plane.


def test_everything_that_a_customer_is_entitled_to_is_listed(catalog: Stigg, customer: str) -> None:
    found = catalog.v1.customers.retrieve_entitlements(customer).data
    assert found.access_denied_reason is None
    features = [each for each in found.entitlements if each.type == "FEATURE"]
    shown = [(each.feature and each.feature.id, each.usage_limit) for each in features]
    assert shown == [(TOKENS, 200_000), (CALLS, 1_000)]


def test_a_promotional_entitlement_is_given_listed_and_revoked(catalog: Stigg, customer: str) -> None:
    promotion = {
        "feature_id": CALLS,
        "usage_limit": 5_000,
        "period": "custom",
        "custom_end_date": datetime.now(UTC) + timedelta(days=2),
        "reset_period": "MONTH",
        "enum_values": None,
        "has_soft_limit": False,
        "has_unlimited_usage": False,
        "is_visible": True,
        "monthly_reset_period_configuration": None,
        "weekly_reset_period_configuration": None,
        "yearly_reset_period_configuration": None,
    }
    given = catalog.v1.customers.promotional_entitlements.create(
        customer,
        promotional_entitlements=[promotion],  # type: ignore[list-item]
    ).data
    assert [(each.feature_id, each.usage_limit, each.status) for each in given] == [(CALLS, 5_000, "Active")]
    assert catalog.v1.customers.check_entitlement(customer, feature_id=CALLS).data.usage_limit == 5_000
    listed = list(catalog.v1.customers.promotional_entitlements.list(customer))
    assert [each.feature_id for each in listed] == [CALLS]
    catalog.v1.customers.promotional_entitlements.revoke(CALLS, id=customer)
    assert catalog.v1.customers.check_entitlement(customer, feature_id=CALLS).data.usage_limit == 1_000


def test_a_subscription_is_found_by_its_id_changed_and_canceled(catalog: Stigg, customer: str) -> None:
    made = catalog.v1.subscriptions.provision(customer_id=customer, plan_id="plan-pro", id=f"sub-{customer}").data
    assert made.subscription is not None
    assert made.subscription.id == f"sub-{customer}"
    found = catalog.v1.subscriptions.retrieve(f"sub-{customer}").data
    assert (found.customer_id, found.plan_id, found.status) == (customer, "plan-pro", "ACTIVE")
    listed = [each.id for each in catalog.v1.subscriptions.list(customer_id=customer)]
    assert f"sub-{customer}" in listed
    canceled = catalog.v1.subscriptions.cancel(f"sub-{customer}", cancellation_time="IMMEDIATE").data
    assert canceled.status == "CANCELED"
    for id in listed:
        assert catalog.v1.subscriptions.retrieve(id).data.customer_id == customer


def test_customers_are_changed_archived_and_brought_back(catalog: Stigg, customer: str) -> None:
    assert catalog.v1.customers.update(customer, name="Acme Ltd").data.name == "Acme Ltd"
    assert catalog.v1.customers.archive(customer).data.archived_at is not None
    answer = catalog.v1.customers.check_entitlement(customer, feature_id=TOKENS).data
    assert answer.access_denied_reason == "CustomerIsArchived"
    assert catalog.v1.customers.unarchive(customer).data.archived_at is None
    assert catalog.v1.customers.retrieve(customer).data.email == "it@acme.test"
    with pytest.raises(stigg.NotFoundError):
        catalog.v1.customers.retrieve("cus-none")


def test_lists_are_walked_page_by_page(catalog: Stigg, customer: str) -> None:
    ids = [f"team-{number:02}" for number in range(25)]
    catalog.v1_beta.customers.entities.upsert(customer, entities=[{"id": id, "entity_type_id": "team"} for id in ids])
    walked = [each.id for each in catalog.v1_beta.customers.entities.list(customer, entity_type_id="team", limit=10)]
    assert sorted(walked) == sorted([*ids, "team-eng"])
    assert len(walked) == len(set(walked))
    catalog.v1_beta.customers.entities.archive(customer, ids=ids[:5])
    shown = {each.id for each in catalog.v1_beta.customers.entities.list(customer, entity_type_id="team")}
    assert shown == {*ids[5:], "team-eng"}
    everything = catalog.v1_beta.customers.entities.list(customer, entity_type_id="team", include_archived="true")
    assert {each.id for each in everything} == {*ids, "team-eng"}


def test_the_tree_shows_how_far_each_budget_is_used(catalog: Stigg, customer: str) -> None:
    catalog.v2.usage.report(
        usages=[{"customer_id": customer, "feature_id": TOKENS, "value": 25_000, "dimensions": {"teamId": "team-eng"}}]
    )
    nodes = catalog.v1.events.beta.customers.retrieve_governance(
        customer, feature_ids=[TOKENS], sort_by="utilization"
    ).data
    assert [(each.entity_id, each.current_usage, each.usage_limit, each.utilization) for each in nodes] == [
        ("team-eng", 25_000, 100_000, 0.25),
        ("org-acme", 25_000, 1_000_000, 0.025),
    ]
    assert [(each.parent_id, each.feature_id, each.cadence) for each in nodes] == [
        ("org-acme", TOKENS, "P1M"),
        (None, TOKENS, "P1M"),
    ]


# What is not built, and who may not.


def test_what_is_not_built_says_so(catalog: Stigg) -> None:
    with pytest.raises(stigg.InternalServerError) as answer:
        catalog.with_options(max_retries=0).v1.coupons.list().data  # noqa: B018
    assert answer.value.status_code == 501
    assert isinstance(answer.value.body, dict)
    assert answer.value.body["code"] == "NotSupported"


def test_a_wrong_key_is_let_in_nowhere(base_url: str) -> None:
    with Stigg(api_key="wrong", base_url=base_url) as stranger, pytest.raises(stigg.AuthenticationError):
        stranger.v1.customers.check_entitlement("cus-none", feature_id=TOKENS)
