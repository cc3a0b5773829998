"""`engine.apply` and trees with plans, subscriptions, resources, promotions and credits, on a real server."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate import ManualClock
from headgate.cli.policy_file import parse_policy
from headgate.client.sync_client import Headgate
from headgate.errors import Conflict
from headgate.policy import Policy
from headgate.verbs.apply import Changes
from integration.terminals import SMALL, everything
from servers import RedisServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "saas.yaml"
CUSTOMER = "customer-demo-01"

POLICY = """\
features:
  calls: {type: NUMBER, meter: INCREMENTAL}
  seats: {type: NUMBER, meter: FLUCTUATING}
  sso: {type: BOOLEAN}
  regions: {type: ENUM, values: [eu, us]}
currencies:
  credits: {name: Credits}
entity_types:
  team: {keys: [teamId]}
plans:
  pro:
    name: Pro
    entitlements:
      calls: {limit: 1_000, reset: MONTH, credit_rate: {currency: credits, amount: 2}}
      seats: {limit: 5, per_unit: true}
      regions: {values: [eu]}
    credits: [{currency: credits, amount: 100, cadence: MONTH, soft: false}]
  basic:
    entitlements: {seats: {limit: 2}}
addons:
  more: {entitlements: {seats: {limit: 10}}}
customers:
  acme:
    name: Acme
    resources: {site: {name: Site}}
    subscriptions:
      main: {plan: pro, unit_quantity: 2, addons: {more: 1}, start: 2026-01-01T00:00:00Z}
      of-site: {plan: basic, resource: site, start: 2026-01-01T00:00:00Z, entitlements: {seats: {limit: 50}}}
    entitlements:
      sso: {expires: 2026-12-01T00:00:00Z}
    grants:
      gift: {currency: credits, amount: 10, kind: PROMOTIONAL, priority: 9, expires: 2026-03-01T00:00:00Z}
    entities:
      team-a: {type: team, budgets: [{currency: credits, limit: 60, every: P1D}]}
"""

FEBRUARY_MS = 1_769_904_000_000
DAY_MS = 86_400_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(FEBRUARY_MS)


@pytest.fixture
def engine(server: RedisServer, environment: str, clock: ManualClock) -> Iterator[Headgate]:
    """An engine at the start of February 2026."""
    with Headgate.connect(server.unix_url, environment=environment, settings=SMALL, clock=clock) as opened:
        yield opened


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text, "policy.yaml")


def edited(before: str, after: str) -> Policy:
    assert POLICY.count(before) == 1, before
    return policy(POLICY.replace(before, after))


def apply(engine: Headgate, wanted: Policy, *, dry_run: bool = False) -> Changes:
    changes = engine.apply(wanted, dry_run=dry_run)
    assert isinstance(changes, Changes)
    return changes


def test_what_a_policy_sells_holds(engine: Headgate) -> None:
    apply(engine, policy())
    seats = engine.consume("acme", feature="seats", amount=20)
    assert (seats.granted, seats.account and seats.account.limit) == (True, 20)
    of_site = engine.check("acme", feature="seats", resource="site")
    assert of_site.account is not None
    assert (of_site.account.limit, of_site.account.used) == (50, 0)
    calls = engine.consume("acme", feature="calls", amount=30, dimensions={"teamId": "team-a"})
    assert [(charge.grant, charge.amount) for charge in calls.charges] == [
        ("gift", 10),
        ("main:credits:MONTH:1", 50),
    ]
    refused = engine.consume("acme", feature="calls", amount=1, dimensions={"teamId": "team-a"})
    assert refused.binding is not None
    assert (refused.granted, refused.binding.name, refused.binding.currency) == (False, "team-a", "credits")
    assert engine.check("acme", feature="regions", requested_values=["eu"])
    assert not engine.check("acme", feature="regions", requested_values=["us"])
    assert engine.check("acme", feature="sso")


def test_applied_twice_it_gives_once_and_says_that_all_is_unchanged(
    engine: Headgate, server: RedisServer, environment: str
) -> None:
    first = apply(engine, policy())
    assert first.unchanged == ()
    before = everything(server, environment)
    second = apply(engine, policy())
    assert list(second) == []
    assert set(second.unchanged) == {change.path for change in first}
    assert everything(server, environment) == before
    assert [grant.id for grant in engine.credits.grants("acme", currency="credits")].count("gift") == 1


def test_a_dry_run_says_the_same_and_writes_nothing(engine: Headgate, server: RedisServer, environment: str) -> None:
    told = apply(engine, policy(), dry_run=True)
    assert everything(server, environment) == {}
    assert list(apply(engine, policy())) == list(told)
    before = everything(server, environment)
    more = policy(POLICY.replace("plan: basic", "plan: pro").replace("limit: 5,", "limit: 6,"))
    assert len(apply(engine, more, dry_run=True)) == 2
    assert everything(server, environment) == before


@pytest.mark.parametrize(
    ("before", "after", "path", "was", "becomes"),
    [
        ("name: Credits", "name: Coins", "currencies.credits.name", "Credits", "Coins"),
        ("limit: 5, per_unit: true", "limit: 6, per_unit: true", "plans.pro.entitlements.seats.limit", 5, 6),
        ("limit: 5, per_unit: true", "limit: 5", "plans.pro.entitlements.seats.per_unit", True, False),
        (
            "amount: 2}",
            "amount: 3}",
            "plans.pro.entitlements.calls.credit_rate",
            {"currency": "credits", "amount": 2},
            {"currency": "credits", "amount": 3},
        ),
        ("soft: false", "soft: true", "plans.pro.credits[credits, MONTH].soft", False, True),
        ("amount: 100", "amount: 200", "plans.pro.credits[credits, MONTH].amount", 100, 200),
        ("seats: {limit: 10}", "seats: {limit: 11}", "addons.more.entitlements.seats.limit", 10, 11),
        ("{more: 1}", "{more: 2}", "customers.acme.subscriptions.main.addons", {"more": 1}, {"more": 2}),
        ("unit_quantity: 2", "unit_quantity: 3", "customers.acme.subscriptions.main.unit_quantity", 2, 3),
        ("plan: basic", "plan: pro", "customers.acme.subscriptions.of-site.plan", "basic", "pro"),
        ("{limit: 50}", "{limit: 49}", "customers.acme.subscriptions.of-site.entitlements.seats.limit", 50, 49),
        (
            "{more: 1}, ",
            "{more: 1}, end: 2026-09-01T00:00:00Z, ",
            "customers.acme.subscriptions.main.end",
            "never",
            "2026-09-01T00:00:00+00:00",
        ),
        (
            "{expires: 2026-12-01T00:00:00Z}",
            "{}",
            "customers.acme.entitlements.sso.expires",
            "2026-12-01T00:00:00+00:00",
            "never",
        ),
        ("name: Site", "name: First site", "customers.acme.resources.site.name", "Site", "First site"),
        ("limit: 60", "limit: 61", "customers.acme.entities.team-a.budgets[credits].limit", 60, 61),
    ],
)
def test_a_word_that_changes_is_one_change(
    engine: Headgate, before: str, after: str, path: str, was: object, becomes: object
) -> None:
    apply(engine, policy())
    (change,) = apply(engine, edited(before, after))
    assert (change.kind.value, change.path, change.before, change.after) == ("changed", path, was, becomes)
    assert list(apply(engine, edited(before, after))) == []


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ("      regions: {values: [eu]}\n", "", "plans.pro.entitlements.regions"),
        ("[{currency: credits, amount: 100, cadence: MONTH, soft: false}]", "[]", "plans.pro.credits[credits, MONTH]"),
        (", entitlements: {seats: {limit: 50}}", "", "customers.acme.subscriptions.of-site.entitlements.seats"),
    ],
)
def test_what_a_plan_or_a_subscription_no_longer_says_is_taken_out_of_it(
    engine: Headgate, before: str, after: str, path: str
) -> None:
    apply(engine, policy())
    (change,) = apply(engine, edited(before, after))
    assert (change.path, change.after) == (path, None)
    assert change.before
    assert list(apply(engine, edited(before, after))) == []


def test_texts_and_products_that_a_policy_leaves_out_stay(engine: Headgate) -> None:
    apply(engine, edited("name: Pro\n", "name: Pro\n    product: suite\n    description: All of it\n"))
    version = engine.catalog.plans()["pro"].version
    assert list(apply(engine, edited("    name: Pro\n", ""))) == []
    plan = engine.catalog.plans()["pro"]
    assert (plan.display_name, plan.product, plan.description) == ("Pro", "suite", "All of it")
    assert plan.version == version


def test_a_subscription_that_was_cancelled_does_not_come_back(engine: Headgate, clock: ManualClock) -> None:
    apply(engine, policy())
    engine.subscriptions.cancel("acme", "main")
    assert list(apply(engine, policy())) == []
    clock.advance(1)
    assert list(apply(engine, policy())) == []
    assert not engine.check("acme", feature="calls")
    with pytest.raises(Conflict, match=r"subscriptions\.main: ended at 2026-02-01T00:00:00\+00:00, and does not"):
        apply(engine, edited("unit_quantity: 2", "unit_quantity: 3"))


def test_an_end_is_taken_away_where_the_policy_says_never(engine: Headgate) -> None:
    apply(engine, edited("{more: 1}, ", "{more: 1}, end: 2026-09-01T00:00:00Z, "))
    assert list(apply(engine, policy())) == []
    (change,) = apply(engine, edited("{more: 1}, ", "{more: 1}, end: never, "))
    assert (change.before, change.after) == ("2026-09-01T00:00:00+00:00", "never")
    assert engine.subscriptions.get("acme", "main").end_ms is None


def test_a_revoked_promotion_comes_back_and_a_voided_grant_does_not(engine: Headgate) -> None:
    apply(engine, policy())
    engine.customers.revoke_entitlement("acme", feature="sso")
    engine.credits.void("acme", "gift", currency="credits")
    (change,) = apply(engine, policy())
    assert change.path == "customers.acme.entitlements.sso"
    assert engine.check("acme", feature="sso")
    assert engine.credits.wallet("acme", currency="credits").granted == 100


def test_what_has_expired_stays_unchanged_in_a_policy_that_still_names_it(engine: Headgate, clock: ManualClock) -> None:
    apply(engine, policy())
    clock.advance(400 * DAY_MS)
    assert list(apply(engine, policy())) == []


@pytest.mark.parametrize(
    ("before", "after", "conflict"),
    [
        ("amount: 10,", "amount: 11,", "grants.gift.amount: it was given with 10, and stays as it was given"),
        ("priority: 9, ", "", "grants.gift.priority: it was given with 9, and stays as it was given"),
        ("expires: 2026-03-01", "expires: 2026-04-01", "grants.gift.expires: it was given with 2026-03-01T00:00"),
        (
            "gift: {currency: credits,",
            "gift: {currency: credits, resource: site,",
            "grants.gift: a grant of this id is",
        ),
        (
            "{more: 1}, start: 2026-01",
            "{more: 1}, start: 2026-03",
            "'main' started at 2026-01-01T00:00:00+00:00: a start",
        ),
        ("{more: 1}, ", "{more: 1}, billing_anchor: 2026-01-02T00:00:00Z, ", "'main' is billed from 2026-01-01"),
        ("{more: 1}, ", "{more: 1}, end: 2026-01-15T00:00:00Z, ", "main.end: 2026-01-15T00:00:00+00:00: must be after"),
        ("pro, unit_quantity", "pro, resource: site, unit_quantity", "main.resource: the subscription is of another"),
        (
            "      main: {",
            "      late: {plan: pro, end: 2026-01-09T00:00:00Z}\n      main: {",
            "subscriptions.late.end: 2026-01-09T00:00:00+00:00: must be after the start, 2026-02-01T00:00:00+00:00",
        ),
        (
            "sso: {expires: 2026-12",
            "sso: {expires: 2026-01",
            "entitlements.sso.expires: 2026-01-01T00:00:00+00:00: must be",
        ),
        (
            "    grants:\n",
            "    grants:\n      old: {currency: credits, amount: 1, expires: 2026-01-02T00:00:00Z}\n",
            "grants.old.expires: 2026-01-02T00:00:00+00:00: must be after the server's present time, 2026-02-01",
        ),
    ],
)
def test_what_can_not_be_is_told_before_anything_is_written(
    engine: Headgate, server: RedisServer, environment: str, before: str, after: str, conflict: str
) -> None:
    apply(engine, policy())
    kept = everything(server, environment)
    assert POLICY.count(before) == 1
    text = POLICY.replace(before, after).replace("name: Acme", "name: Other")
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=re.escape(conflict)):
            apply(engine, policy(text), dry_run=dry_run)
    assert everything(server, environment) == kept


def test_a_server_that_holds_nothing_yet_says_its_own_time(server: RedisServer, environment: str) -> None:
    wanted = edited("sso: {expires: 2026-12", "sso: {expires: 2020-12")
    with Headgate.connect(server.unix_url, environment=environment, settings=SMALL) as engine:
        for dry_run in (True, False):
            with pytest.raises(
                Conflict, match=r"entitlements\.sso\.expires: 2020-12-01T00:00:00\+00:00: must be after"
            ):
                apply(engine, wanted, dry_run=dry_run)
    assert everything(server, environment) == {}


def test_a_65th_live_grant_is_told_before_anything_is_written(
    engine: Headgate, server: RedisServer, environment: str
) -> None:
    apply(engine, policy())
    kept = everything(server, environment)

    def grants(number: int) -> Policy:
        lines = "".join(f"      g-{index}: {{currency: credits, amount: 1}}\n" for index in range(number))
        return edited("    grants:\n", "    grants:\n" + lines)

    with pytest.raises(
        Conflict, match=r"grants\.g-62\.currency: credits: the wallet has 64 grants that are live, scheduled"
    ):
        apply(engine, grants(63))
    assert everything(server, environment) == kept
    assert len(apply(engine, grants(62))) == 62


def test_an_entity_is_moved_by_a_budget_for_credits(engine: Headgate) -> None:
    apply(engine, edited("{type: team, budgets", "{type: team}\n      team-b: {type: team, budgets"))
    nested = (
        "      team-a:\n        type: team\n        children:\n"
        "          team-b: {type: team, budgets: [{currency: credits, limit: 60, every: P1D}]}\n"
    )
    start = POLICY.index("      team-a:")
    (change,) = apply(engine, policy(POLICY[:start] + nested))
    assert (change.path, change.after) == ("customers.acme.entities.team-b.parent", "team-a")
    assert {each.id: each.parent for each in engine.governance.entities("acme")} == {"team-a": None, "team-b": "team-a"}


def test_the_example_is_applied_once_and_says_what_the_vendors_pages_say(engine: Headgate, clock: ManualClock) -> None:
    example = parse_policy(EXAMPLE.read_text(), EXAMPLE.name)
    assert len(apply(engine, example)) == 41
    assert list(apply(engine, example)) == []
    limits = {
        feature: decision.account.limit
        for feature in ("requests", "active-users", "campaigns", "templates", "seats")
        if (decision := engine.check(CUSTOMER, feature=f"feature-{feature}")).account
    }
    assert limits == {"requests": 1_000, "active-users": 25_000, "campaigns": 42, "templates": 6, "seats": 50}
    assert engine.check(CUSTOMER, feature="feature-requests-per-minute").numeric_value == 100
    assert engine.check(CUSTOMER, feature="feature-regions").enum_values == ("eu", "us")
    assert engine.check(CUSTOMER, feature="feature-audit-log").granted
    assert engine.check(CUSTOMER, feature="feature-templates", resource="site-01").granted
    wallet = engine.credits.wallet(CUSTOMER, currency="currency-api-credits")
    assert [(grant.kind.value, grant.amount) for grant in wallet.grants] == [
        ("PROMOTIONAL", 500),
        ("RECURRING", 50_000),
    ]


def test_a_tree_of_a_feature_that_is_paid_in_credits_has_all_that_is_above(
    engine: Headgate, clock: ManualClock
) -> None:
    apply(engine, policy())
    engine.consume("acme", feature="calls", amount=10, dimensions={"teamId": "team-a"})
    tree = engine.governance.tree("acme", feature="calls")
    assert (tree.feature, tree.currency, tree.account.used, tree.account.limit) == ("calls", "credits", 10, 1_000)
    assert tree.wallet is not None
    assert (tree.wallet.balance, tree.wallet.overdraft) == (90, 0)
    ((team,),) = [node.states for node in tree.roots]
    assert (team.currency, team.used, team.limit) == ("credits", 20, 60)
    assert [(each.id, tree.status_of(each).value) for each in tree.subscriptions] == [("main", "ACTIVE")]
    plain = tree.as_dict()
    assert plain["subscriptions"][0] == {
        "id": "main",
        "resource": None,
        "plan": "pro",
        "status": "ACTIVE",
        "billing_period": None,
        "unit_quantity": 2,
        "addons": {"more": 1},
        "start": "2026-01-01T00:00:00+00:00",
        "trial_end": None,
        "end": None,
    }
    assert [grant["id"] for grant in plain["wallet"]["grants"]] == ["gift", "main:credits:MONTH:1"]
    assert (plain["denied"], plain["read_at"]) == (None, "2026-02-01T00:00:00+00:00")


def test_a_tree_of_a_resource_has_its_own_counters_and_wallet(engine: Headgate) -> None:
    apply(engine, policy())
    engine.report("acme", feature="seats", value=3, resource="site")
    engine.credits.grant("acme", {"currency": "credits", "amount": 5, "resource": "site"})
    tree = engine.governance.tree("acme", feature="seats", resource="site")
    assert (tree.account.used, tree.account.limit) == (3, 50)
    assert [each.id for each in tree.subscriptions] == ["main", "of-site"]
    assert engine.governance.tree("acme", feature="seats").account.used == 0
    of_credits = engine.governance.tree("acme", currency="credits", resource="site")
    assert of_credits.wallet is not None
    assert (of_credits.account.name, of_credits.wallet.granted) == ("wallet credits", 5)


def test_a_tree_says_why_the_account_denies(engine: Headgate, clock: ManualClock) -> None:
    apply(engine, policy())
    engine.consume("acme", feature="seats", amount=4)
    engine.subscriptions.cancel("acme", "main")
    tree = engine.governance.tree("acme", feature="seats")
    assert (tree.denial, tree.account.used) == ("NoActiveSubscription", 4)
    assert [tree.status_of(each).value for each in tree.subscriptions] == ["CANCELED"]
    assert tree.as_dict()["denied"] == "NoActiveSubscription"
