"""Policies that sell: currencies, plans, add-ons, resources, subscriptions, promotions and grants."""

from pathlib import Path

import pytest

from headgate.cli.policy_file import InvalidPolicyFile, parse_policy, read_policy
from headgate.errors import InvalidInput
from headgate.model.credits import GrantKind
from headgate.model.packages import Behavior, CreditCadence, CreditRate
from headgate.model.subscription import BillingPeriod, SubscriptionAddon, TrialEndBehavior
from headgate.policy import Policy, PolicyCustomer

EXAMPLE = Path(__file__).parents[2] / "examples" / "saas.yaml"

# The tables below name lines of this text.
POLICY = """\
features:
  calls: {type: NUMBER, meter: INCREMENTAL}
  seats: {type: NUMBER, meter: FLUCTUATING}
  size: {type: NUMBER}
  sso: {type: BOOLEAN}
  regions: {type: ENUM, values: [eu, us]}
currencies:
  credits: {name: Credits, symbol: C, unit: credit, units: credits}
entity_types:
  team: {keys: [teamId]}
plans:
  pro:
    name: Pro
    product: suite
    entitlements:
      calls: {limit: 1_000, reset: MONTH, soft: true, credit_rate: {currency: credits, amount: 0.5}}
      seats: {limit: 5, per_unit: true}
      size: {limit: unlimited}
      regions: {values: [eu]}
    credits:
      - {currency: credits, amount: 100, cadence: MONTH, per_unit: true, soft: true}
      - {currency: credits, amount: 900, cadence: YEAR}
addons:
  more:
    entitlements:
      seats: {limit: 10, behavior: OVERRIDE}
    credits: [{currency: credits, amount: 7.5, cadence: MONTH}]
customers:
  acme:
    resources: {site: {name: Site}}
    subscriptions:
      main:
        plan: pro
        resource: site
        billing_period: ANNUALLY
        unit_quantity: 3
        addons: {more: 2}
        start: 2026-01-01T00:00:00Z
        trial_end: 2026-02-01T00:00:00Z
        trial_end_behavior: CANCEL_SUBSCRIPTION
        end: 2027-01-01T00:00:00Z
        billing_anchor: 2026-01-15T00:00:00Z
        entitlements: {seats: {limit: 50}}
        credits: [{currency: credits, amount: 50_000, cadence: MONTH}]
      plain: {plan: pro, end: never}
    entitlements:
      sso: {expires: 2026-06-01T00:00:00+02:00}
      calls: {limit: 5, reset: DAY, expires: never}
    grants:
      gift: {currency: credits, amount: 10, kind: PROMOTIONAL, priority: 9, resource: site}
      paid: {currency: credits, amount: 5, effective: 2026-01-01T00:00:00Z, expires: 2026-02-01T00:00:00Z}
    entities:
      team-a: {type: team, budgets: [{currency: credits, limit: 5, every: P1D}, {feature: calls, limit: 1, every: P1D}]}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidPolicyFile) as caught:
        parse_policy(text, "policy.yaml")
    return caught.value.lines


def policy() -> Policy:
    return parse_policy(POLICY, "policy.yaml")


def acme() -> PolicyCustomer:
    (customer,) = policy().customers
    return customer


def test_a_plan_says_what_it_entitles_to_what_that_costs_and_which_credits_it_gives() -> None:
    (plan,) = policy().plans
    assert (plan.id, plan.display_name, plan.product) == ("pro", "Pro", "suite")
    calls, seats, size, regions = plan.entitlements
    assert calls.credit_rate == CreditRate(currency="credits", amount=0.5)
    assert (calls.usage_limit, calls.has_soft_limit, calls.per_unit) == (1_000, True, False)
    assert (seats.usage_limit, seats.per_unit) == (5, True)
    assert (size.usage_limit, size.has_unlimited_usage) == (None, True)
    assert regions.enum_values == ("eu",)
    monthly, yearly = plan.credits
    assert (monthly.amount, monthly.cadence, monthly.per_unit, monthly.has_soft_limit) == (
        100,
        CreditCadence.MONTH,
        True,
        True,
    )
    assert (yearly.amount, yearly.cadence) == (900, CreditCadence.YEAR)


def test_an_addon_may_stand_in_the_place_of_the_plan() -> None:
    (addon,) = policy().addons
    assert addon.entitlements[0].behavior is Behavior.OVERRIDE
    assert addon.credits[0].amount == 7.5


def test_a_currency_has_names_for_one_and_for_many() -> None:
    (currency,) = policy().currencies
    assert (currency.display_name, currency.symbol, currency.unit_singular, currency.unit_plural) == (
        "Credits",
        "C",
        "credit",
        "credits",
    )


def test_a_subscription_says_everything_in_the_file_s_words() -> None:
    main, _ = acme().subscriptions
    assert (main.id, main.plan, main.resource, main.unit_quantity) == ("main", "pro", "site", 3)
    assert main.billing_period is BillingPeriod.ANNUALLY
    assert main.addons == (SubscriptionAddon(addon="more", quantity=2),)
    assert (main.start_ms, main.trial_end_ms) == (1_767_225_600_000, 1_769_904_000_000)
    assert (main.end_ms, main.billing_anchor_ms) == (1_798_761_600_000, 1_768_435_200_000)
    assert main.trial_end_behavior is TrialEndBehavior.CANCEL_SUBSCRIPTION
    assert [(each.feature, each.usage_limit) for each in main.entitlements or ()] == [("seats", 50)]
    assert [(each.currency, each.amount) for each in main.credits or ()] == [("credits", 50_000)]


def test_of_a_subscription_only_what_is_given_says_something_but_for_its_content() -> None:
    _, plain = acme().subscriptions
    exact = {"id", "plan", "unit_quantity", "addons", "entitlements", "credits"}
    assert plain.model_fields_set == exact | {"end_ms"}
    assert (plain.unit_quantity, plain.addons, plain.entitlements, plain.credits) == (1, (), (), ())
    assert plain.end_ms is None


def test_a_promotion_may_expire_and_a_grant_has_an_id() -> None:
    sso, calls = acme().entitlements
    assert (sso.expires_at_ms, calls.expires_at_ms) == (1_780_264_800_000, None)
    gift, paid = acme().grants
    assert (gift.id, gift.kind, gift.priority, gift.resource) == ("gift", GrantKind.PROMOTIONAL, 9, "site")
    assert (paid.kind, paid.priority, paid.effective_at_ms) == (GrantKind.PAID, 50, 1_767_225_600_000)


def test_a_budget_is_for_a_feature_or_for_a_currency() -> None:
    of_credits, of_calls = acme().entities[0].budgets
    assert (of_credits.feature, of_credits.currency, of_credits.capability) == (None, "credits", "credits")
    assert (of_calls.feature, of_calls.currency, of_calls.capability) == ("calls", None, "calls")


def test_the_example_sells_a_plan_with_a_subscription_s_own_terms() -> None:
    example = read_policy(EXAMPLE)
    assert {plan.id for plan in example.plans} >= {"plan-revvenu-essentials"}
    (customer,) = example.customers
    essentials = customer.subscriptions[0]
    assert essentials.plan == "plan-revvenu-essentials"
    assert [(each.feature, each.usage_limit) for each in essentials.entitlements or ()] == [("feature-seats", 50)]
    assert [(each.currency, each.amount, each.cadence.value) for each in essentials.credits or ()] == [
        ("currency-api-credits", 50_000, "MONTH")
    ]
    assert [resource.id for resource in customer.resources] == ["site-01"]


PRO, MORE, ACME = "plans.pro", "addons.more", "customers.acme"
MAIN, GRANTS = f"{ACME}.subscriptions.main", f"{ACME}.grants"


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ("symbol: C", "symbol: 5", 8, "currencies.credits.symbol: 5: Input should be a valid string"),
        ("product: suite", "product: '{'", 14, f"{PRO}.product: '{{': an id has 1 to 255"),
        ("limit: 1_000,", "", 16, f"{PRO}.entitlements.calls.limit: None: is required"),
        (
            "rate: {currency: credits,",
            "rate: {currency: coins,",
            16,
            f"{PRO}.entitlements.calls.credit_rate.currency: 'coins': is no currency",
        ),
        ("amount: 0.5}", "amount: 0}", 16, f"{PRO}.entitlements.calls.credit_rate.amount: 0: write a number of more"),
        ("amount: 0.5}", "amount: half}", 16, f"{PRO}.entitlements.calls.credit_rate.amount: 'half': write a number"),
        (", amount: 0.5}", "}", 16, f"{PRO}.entitlements.calls.credit_rate.amount: None: is required"),
        ("{currency: credits, amount: 0.5}", "5", 16, f"{PRO}.entitlements.calls.credit_rate: 5: must be a mapping"),
        ("per_unit: true}", "per_unit: 2}", 17, f"{PRO}.entitlements.seats.per_unit: 2: Input should be a valid bool"),
        (
            "per_unit: true}",
            "behavior: OVERRIDE}",
            17,
            f"{PRO}.entitlements.seats.behavior: 'OVERRIDE': unknown field",
        ),
        (
            "size: {limit: unlimited}",
            "size: {limit: 1, soft: true}",
            18,
            f"{PRO}.entitlements.size.soft: True: has no meaning here: feature size is a number that is not metered",
        ),
        ("{values: [eu]}", "{values: []}", 19, f"{PRO}.entitlements.regions.values: None: is required"),
        ("{values: [eu]}", "{}", 19, f"{PRO}.entitlements.regions.values: None: is required"),
        ("{values: [eu]}", "{values: [mars]}", 19, f"{PRO}.entitlements.regions.values: ['mars']: must be among"),
        ("{values: [eu]}", "{values: 5}", 19, f"{PRO}.entitlements.regions.values: 5: "),
        ("amount: 100, cadence: MONTH", "amount: -1, cadence: MONTH", 21, f"{PRO}.credits[0].amount: -1: is negative"),
        ("amount: 100, cadence: MONTH", "cadence: MONTH", 21, f"{PRO}.credits[0].amount: None: is required"),
        ("cadence: YEAR", "cadence: DAY", 22, f"{PRO}.credits[1].cadence: 'DAY': Input should be 'MONTH' or 'YEAR'"),
        ("cadence: YEAR", "cadence: MONTH", 22, f"{PRO}.credits[1]: {{'currency': 'credits', 'amount': 900"),
        ("{currency: credits, amount: 900,", "{amount: 900,", 22, f"{PRO}.credits[1].currency: None: is required"),
        (", behavior: OVERRIDE}", ", per_unit: true}", 26, f"{MORE}.entitlements.seats.per_unit: True: unknown field"),
        ("behavior: OVERRIDE", "behavior: REPLACE", 26, f"{MORE}.entitlements.seats.behavior: 'REPLACE': Input should"),
        ("plan: pro\n", "plan: con\n", 33, f"{MAIN}.plan: 'con': is no plan of this policy"),
        ("        plan: pro\n", "", 32, f"{MAIN}.plan: None: is required"),
        ("resource: site\n", "resource: sight\n", 34, f"{MAIN}.resource: 'sight': is no resource of this customer"),
        ("ANNUALLY", "WEEKLY", 35, f"{MAIN}.billing_period: 'WEEKLY': Input should be 'MONTHLY' or 'ANNUALLY'"),
        ("unit_quantity: 3", "unit_quantity: 0", 36, f"{MAIN}.unit_quantity: 0: Input should be greater than or"),
        ("{more: 2}", "{more: 0}", 37, f"{MAIN}.addons.more: 0: write how many: a whole number from 1 to 1,000,000"),
        ("{more: 2}", "{more: true}", 37, f"{MAIN}.addons.more: True: write how many"),
        ("{more: 2}", "{less: 2}", 37, f"{MAIN}.addons.less: 'less': is no add-on of this policy"),
        ("{more: 2}", "[more]", 37, f"{MAIN}.addons: ['more']: must be a mapping from ids"),
        (
            "start: 2026-01-01T00:00:00Z",
            "start: 2026-01-01",
            38,
            f"{MAIN}.start: '2026-01-01': write an instant with its offset from UTC",
        ),
        (
            "trial_end: 2026-02-01T00:00:00Z",
            "trial_end: 2026-01-01T00:00:00Z",
            39,
            f"{MAIN}.trial_end: '2026-01-01T00:00:00Z': must be after start, which is 2026-01-01T00:00:00Z",
        ),
        (
            "end: 2027-01-01T00:00:00Z",
            "end: 2026-01-31T23:59:59Z",
            39,
            f"{MAIN}.trial_end: '2026-02-01T00:00:00Z': must not be after end, which is 2026-01-31T23:59:59Z",
        ),
        (
            "        trial_end: 2026-02-01T00:00:00Z\n",
            "",
            39,
            f"{MAIN}.trial_end_behavior: 'CANCEL_SUBSCRIPTION': goes with a trial_end: without a trial there is none",
        ),
        (
            "trial_end: 2026-02-01T00:00:00Z",
            "trial_end: never",
            40,
            f"{MAIN}.trial_end_behavior: 'CANCEL_SUBSCRIPTION': goes with a trial_end: without a trial there is none",
        ),
        ("trial_end: 2026-02-01T00:00:00Z", "trial_end: soon", 39, f"{MAIN}.trial_end: 'soon': write an instant with"),
        ("end: 2027", "end: 2025", 41, f"{MAIN}.end: '2025-01-01T00:00:00Z': must be after start, which is 2026"),
        ("end: 2027", "end: 1927", 41, f"{MAIN}.end: '1927-01-01T00:00:00Z': is before the year 1970"),
        ("end: never", "end: forever", 45, f"{ACME}.subscriptions.plain.end: 'forever': write an instant with its"),
        (
            "{seats: {limit: 50}}",
            "{seats: {limit: 50, anchor: x}}",
            43,
            f"{MAIN}.entitlements.seats.anchor: 'x': unknown field",
        ),
        ("{seats: {limit: 50}}", "{seats: {}}", 43, f"{MAIN}.entitlements.seats.limit: None: is required"),
        ("amount: 50_000", "per_unit: true, amount: 5", 44, f"{MAIN}.credits[0].per_unit: True: unknown field"),
        (
            "50_000, cadence: MONTH}",
            "5, cadence: MONTH}, {currency: credits, amount: 5, cadence: YEAR}",
            44,
            f"{MAIN}.credits[1]: {{'currency': 'credits', 'amount': 5, 'cadence': 'YEAR'}}: there is one for a",
        ),
        ("expires: 2026-06-01T00:00:00+02:00", "expires: soon", 47, f"{ACME}.entitlements.sso.expires: 'soon': write"),
        ("amount: 10,", "amount: 0,", 50, f"{GRANTS}.gift.amount: 0: write a number of more than 0"),
        ("amount: 10,", "amount: true,", 50, f"{GRANTS}.gift.amount: True: write a number of more than 0"),
        ("kind: PROMOTIONAL", "kind: RECURRING", 50, f"{GRANTS}.gift.kind: 'RECURRING': give PAID or PROMOTIONAL"),
        ("priority: 9", "priority: 101", 50, f"{GRANTS}.gift.priority: 101: Input should be less than or equal"),
        ("priority: 9, resource: site", "resource: shop", 50, f"{GRANTS}.gift.resource: 'shop': is no resource"),
        ("gift: {currency: credits", "gift: {currency: coins", 50, f"{GRANTS}.gift.currency: 'coins': is no currency"),
        ("gift: {currency: credits, ", "gift: {", 50, f"{GRANTS}.gift.currency: None: is required"),
        ("  gift: {", "  'a:b': {", 50, f"{GRANTS}[\"a:b\"]: 'a:b': an id has 1 to 255"),
        (
            "expires: 2026-02-01T00:00:00Z}",
            "expires: 2026-01-01T00:00:00Z}",
            51,
            f"{GRANTS}.paid.expires: '2026-01-01T00:00:00Z': must be after effective, which is 2026-01-01T00:00:00Z",
        ),
        (
            "[{currency: credits, limit: 5",
            "[{currency: coins, limit: 5",
            53,
            f"{ACME}.entities.team-a.budgets[0].currency: 'coins': is no currency of this policy",
        ),
        (
            "[{currency: credits, limit: 5",
            "[{currency: credits, feature: calls, limit: 5",
            53,
            f"{ACME}.entities.team-a.budgets[0].currency: 'credits': a budget is for a feature or for a currency",
        ),
        (
            "{feature: calls, limit: 1",
            "{currency: credits, limit: 1",
            53,
            f"{ACME}.entities.team-a.budgets[1]: {{'currency': 'credits', 'limit': 1, 'every': 'P1D'}}: "
            "budgets[0] has the same currency",
        ),
    ],
)
def test_each_wrong_line_is_one_problem_with_its_number(before: str, after: str, line: int, problem: str) -> None:
    assert POLICY.count(before) == 1, before
    told = problems_of(POLICY.replace(before, after))
    assert len(told) == 1, told
    assert told[0].startswith(f"policy.yaml:{line}: {problem}"), told


def test_what_is_wrong_in_every_section_is_told_at_once() -> None:
    text = POLICY.replace("symbol: C", "symbol: 5").replace("amount: 0.5}", "amount: 0}").replace("{more: 2}", "{x: 2}")
    text = text.replace("amount: 10,", "amount: 0,").replace("limit: 5, every: P1D", "limit: -5, every: P1D")
    assert [line.split(":")[1] for line in problems_of(text)] == ["8", "16", "37", "50", "53"]


def test_resources_are_each_customers_own() -> None:
    text = POLICY + "  other:\n    subscriptions: {x: {plan: pro, resource: site}}\n"
    (line,) = problems_of(text)
    assert line.startswith("policy.yaml:55: customers.other.subscriptions.x.resource: 'site': is no resource of this")


@pytest.mark.parametrize(
    "customer",
    [
        {"resources": ["site"]},
        {"subscriptions": {"x": {"plan": 5}}},
        {"subscriptions": {"x": {"plan": "p", "start": 5, "addons": {"y": None}, "credits": {"z": 1}}}},
        {"subscriptions": {"x": "p"}},
        {"grants": [{"currency": "c"}]},
        {"grants": {"g": {"currency": ["c"], "amount": [], "expires": {}}}},
        {"entities": {"e": {"type": "t", "budgets": [{"currency": 5, "limit": 1, "every": "P1D"}]}}},
    ],
)
def test_data_of_another_shape_is_told_and_breaks_nothing(customer: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Policy.parse({"customers": {"acme": customer}})
    assert all(problem.field.startswith("customers.acme.") for problem in caught.value.problems)
