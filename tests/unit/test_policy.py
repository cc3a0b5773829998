"""Policies: what a file says, and every way in which it can be wrong, with the line to look at."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cli.policy_file import InvalidPolicyFile, parse_policy, read_policy
from headgate.errors import InvalidInput, Problem
from headgate.model.catalog import FeatureType, MeterType
from headgate.periods import ResetPeriod
from headgate.policy import Policy, path_to

EXAMPLE = Path(__file__).parents[2] / "examples" / "ai-gateway.yaml"

# The tables below name lines of this text.
POLICY = """\
features:
  tokens: {type: NUMBER, meter: INCREMENTAL}
  seats: {type: NUMBER}
  sso: {type: BOOLEAN}
  colour: {type: ENUM, values: [red, blue]}
entity_types:
  org: {keys: [orgId]}
  team: {keys: [teamId]}
customers:
  acme:
    entitlements:
      tokens: {limit: 20_000_000, reset: MONTH}
      seats: {limit: 5}
      sso: {}
      colour: {values: [red]}
    entities:
      org-acme:
        type: org
        budgets:
          - {feature: tokens, limit: 0, every: P1M}
        children:
          team-eng:
            type: team
            budgets:
              - {feature: tokens, limit: unlimited, every: PT10M}
              - {feature: tokens, limit: 10.5, every: P1D, scope: [team-ops, org-acme]}
          team-ops: {type: team, budgets: [{feature: tokens, limit: 1, every: P1W, zone: Europe/Berlin}]}
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidPolicyFile) as caught:
        parse_policy(text, "policy.yaml")
    return caught.value.lines


def budget(line: str) -> str:
    """The policy with another budget in line 20."""
    return POLICY.replace("{feature: tokens, limit: 0, every: P1M}", line)


def test_a_policy_says_features_types_customers_entitlements_and_a_tree_of_budgets() -> None:
    policy = parse_policy(POLICY, "policy.yaml")
    tokens, seats, _, colour = policy.features
    assert (tokens.id, tokens.feature_type, tokens.meter_type) == ("tokens", FeatureType.NUMBER, MeterType.INCREMENTAL)
    assert not seats.is_metered
    assert colour.enum_values == ("red", "blue")
    assert [(each.id, each.attribution_keys) for each in policy.entity_types] == [
        ("org", ("orgId",)),
        ("team", ("teamId",)),
    ]
    (acme,) = policy.customers
    by_feature = {each.feature: each for each in acme.entitlements}
    assert by_feature["tokens"].usage_limit == 20_000_000
    assert by_feature["tokens"].reset_period is ResetPeriod.MONTH
    assert by_feature["seats"].usage_limit == 5
    assert by_feature["colour"].enum_values == ("red",)
    org, eng, ops = acme.entities
    assert [(each.id, each.type, each.parent) for each in (org, eng, ops)] == [
        ("org-acme", "org", None),
        ("team-eng", "team", "org-acme"),
        ("team-ops", "team", "org-acme"),
    ]
    assert (org.budgets[0].usage_limit, org.budgets[0].cadence, org.budgets[0].zone) == (0, "P1M", "UTC")
    assert (eng.budgets[0].usage_limit, eng.budgets[0].scope) == (None, ())
    assert (eng.budgets[1].usage_limit, eng.budgets[1].scope) == (10.5, ("org-acme", "team-ops"))
    assert ops.budgets[0].zone == "Europe/Berlin"


def test_the_example_is_a_policy_of_four_levels_with_budgets_for_a_model() -> None:
    (acme,) = read_policy(EXAMPLE).customers
    parents = {entity.id: entity.parent for entity in acme.entities}
    level = "agent-reviewer"
    chain = [level]
    while (parent := parents[level]) is not None:
        chain.append(level := parent)
    assert chain == ["agent-reviewer", "user-ada", "team-engineering", "org-acme"]
    assert {budget.cadence for entity in acme.entities for budget in entity.budgets} == {"P1M", "P1D", "PT10M"}
    assert {id for entity in acme.entities for budget in entity.budgets for id in budget.scope} == {"model-large"}


def test_an_unlimited_entitlement_says_so_and_keeps_its_reset() -> None:
    policy = parse_policy(POLICY.replace("limit: 20_000_000", "limit: unlimited, soft: true"), "policy.yaml")
    (tokens, *_) = policy.customers[0].entitlements
    assert (tokens.usage_limit, tokens.has_unlimited_usage, tokens.has_soft_limit) == (None, True, True)


def test_an_anchor_is_an_instant_with_its_offset() -> None:
    text = POLICY.replace("reset: MONTH}", "reset: MONTH, anchor: 2026-01-31T01:00:00+01:00}")
    assert parse_policy(text, "policy.yaml").customers[0].entitlements[0].reset_anchor_ms == 1_769_817_600_000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (budget("{feature: tokens, limit: -5, every: P1M}"), "budgets[0].limit: -5: is negative: the least is 0"),
        (budget("{feature: tokens, limit: .nan, every: P1M}"), "budgets[0].limit: nan: is not a finite number"),
        (budget("{feature: tokens, limit: .inf, every: P1M}"), "budgets[0].limit: inf: is not a finite number"),
        (
            budget("{feature: tokens, limit: 9_007_199_254_740_992, every: P1M}"),
            "budgets[0].limit: 9007199254740992: is out of range: whole numbers go to 9007199254740991",
        ),
        (
            budget("{feature: tokens, limit: '5', every: P1M}"),
            "budgets[0].limit: '5': write a number of at least 0, or",
        ),
        (budget("{feature: tokens, limit: true, every: P1M}"), "budgets[0].limit: True: write a number"),
        (budget("{feature: tokens, limit: , every: P1M}"), "budgets[0].limit: None: is required: write a number"),
        (budget("{feature: tokens, every: P1M}"), "budgets[0].limit: None: is required: write a number"),
        (budget("{feature: tokens, limit: 1}"), "budgets[0].every: None: is required"),
        (
            budget("{feature: tokens, limit: 1, every: monthly}"),
            "budgets[0].every: 'monthly': is not a cadence: write P",
        ),
        (budget("{feature: tokens, limit: 1, every: PT10S}"), "budgets[0].every: 'PT10S': counts seconds"),
        (budget("{feature: tokens, limit: 1, every: P0D}"), "budgets[0].every: 'P0D': is too short"),
        (budget("{feature: tokens, limit: 1, every: P1M, zone: Mars}"), "budgets[0].zone: 'Mars': is not a time zone"),
        (
            budget("{feature: nothing, limit: 1, every: P1M}"),
            "budgets[0].feature: 'nothing': is no feature of this policy",
        ),
        (budget("{feature: seats, limit: 1, every: P1M}"), "budgets[0].feature: 'seats': a budget counts usage"),
        (budget("{limit: 1, every: P1M}"), "budgets[0].feature: None: is required"),
        (
            budget("{feature: tokens, limit: 1, every: P1M, scope: [nobody]}"),
            "budgets[0].scope[0]: 'nobody': is no entity of this customer",
        ),
        (
            budget("{feature: tokens, limit: 1, every: P1M, scope: ['{x}']}"),
            "budgets[0].scope[0]: '{x}': an id has 1 to",
        ),
        (
            budget("{feature: tokens, limit: 1, every: P1M, scope: team-eng}"),
            "budgets[0].scope: 'team-eng': Input should",
        ),
        (
            budget("{feature: tokens, limit: 1, every: P1M, soft: true}"),
            "budgets[0].soft: True: unknown field; here are",
        ),
        (budget("tokens"), "budgets[0]: 'tokens': must be a mapping; its fields are feature, currency, limit, every"),
    ],
)
def test_a_wrong_budget_is_told_with_its_line_its_path_its_value_and_the_rule(text: str, problem: str) -> None:
    (line,) = problems_of(text)
    assert line.startswith(f"policy.yaml:20: customers.acme.entities.org-acme.{problem}")


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ("features:", "feature:", 1, "feature: {"),
        (
            "type: BOOLEAN}",
            "type: FLAG}",
            4,
            "features.sso.type: 'FLAG': Input should be 'BOOLEAN', 'NUMBER' or 'ENUM'",
        ),
        ("type: BOOLEAN}", "meter: NONE}", 4, "features.sso.type: None: is required"),
        (
            "type: BOOLEAN}",
            "type: BOOLEAN, meter: FLUCTUATING}",
            4,
            "features.sso.meter: 'FLUCTUATING': meter FLUCTUATING",
        ),
        ("type: BOOLEAN}", "type: BOOLEAN, values: [a]}", 4, "features.sso.values: ['a']: only a feature of type ENUM"),
        ("sso: {type", "s{o: {type", 4, "features[\"s{o\"]: 's{o': an id has 1 to 255"),
        ("  sso: {type", "  '': {type", 4, "features[\"\"]: '': an id has 1 to 255 of the characters"),
        ("  sso: {type", "  'a:b': {type", 4, "features[\"a:b\"]: 'a:b': an id has 1 to 255"),
        ("  sso: {type", "  süß: {type", 4, "features.süß: 'süß': an id has 1 to 255"),
        (
            "[teamId]",
            "[teamId, teamId]",
            8,
            "entity_types.team.keys: ['teamId', 'teamId']: attribution keys are distinct",
        ),
        ("[teamId]", "[a, b, c]", 8, "entity_types.team.keys: ['a', 'b', 'c']: "),
        ("[teamId]", "teamId", 8, "entity_types.team.keys: 'teamId': "),
        (
            "reset: MONTH",
            "reset: FORTNIGHT",
            12,
            "customers.acme.entitlements.tokens.reset: 'FORTNIGHT': Input should be",
        ),
        (
            "reset: MONTH",
            "according_to: StartOfTheMonth",
            12,
            "customers.acme.entitlements.tokens.according_to: 'StartOfTheMonth': goes with a reset of WEEK, MONTH",
        ),
        (
            "reset: MONTH",
            "reset: MONTH, according_to: EverySunday",
            12,
            "customers.acme.entitlements.tokens.according_to: 'EverySunday': is not known with MONTH",
        ),
        ("reset: MONTH", "anchor: 2026-01-31", 12, "customers.acme.entitlements.tokens.anchor: '2026-01-31': write an"),
        ("{limit: 5}", "{}", 13, "customers.acme.entitlements.seats.limit: None: is required"),
        (
            "{limit: 5}",
            "{limit: many}",
            13,
            "customers.acme.entitlements.seats.limit: 'many': write a number of at least 0, or unlimited",
        ),
        (
            "{limit: 5}",
            "{limit: 5, reset: DAY}",
            13,
            "customers.acme.entitlements.seats.reset: 'DAY': has no meaning here",
        ),
        (
            "sso: {}",
            "sso: {limit: 5}",
            14,
            "customers.acme.entitlements.sso.limit: 5: has no meaning here: feature sso is",
        ),
        ("sso: {}", "sso: yes", 14, "customers.acme.entitlements.sso: 'yes': must be a mapping"),
        ("sso: {}", "sos: {}", 14, "customers.acme.entitlements.sos: 'sos': is no feature of this policy"),
        (
            "[red]",
            "[green]",
            15,
            "customers.acme.entitlements.colour.values: ['green']: must be among the values of colour",
        ),
        (
            "type: org\n",
            "type: ogre\n",
            18,
            "customers.acme.entities.org-acme.type: 'ogre': is no entity type of this policy",
        ),
        (
            "type: org\n",
            "name: 5\n        type: org\n",
            18,
            "customers.acme.entities.org-acme.name: 5: Input should be a valid",
        ),
        ("        type: org\n", "", 17, "customers.acme.entities.org-acme.type: None: is required"),
        (
            "team-ops: {type: team, budgets: [{",
            "team-ops: {type: team, note: [{",
            27,
            "customers.acme.entities.org-acme.children.team-ops.note: [",
        ),
    ],
)
def test_a_wrong_line_is_told_with_its_number(before: str, after: str, line: int, problem: str) -> None:
    assert before in POLICY
    told = problems_of(POLICY.replace(before, after))
    assert any(each.startswith(f"policy.yaml:{line}: {problem}") for each in told), told


def test_all_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = (
        budget("{feature: tokens, limit: -5, every: P1S}")
        .replace("[orgId]", "[a, a]")
        .replace("{limit: 5}", "{limit: x}")
    )
    lines = [line.split(":")[1] for line in problems_of(text)]
    assert lines == ["7", "13", "20", "20"]


def test_a_problem_in_one_place_does_not_make_others_out_of_it() -> None:
    told = problems_of(POLICY.replace("tokens: {type: NUMBER, meter", "tokens: {type: NUMBRE, meter"))
    assert len(told) == 1
    assert told[0].startswith("policy.yaml:2: features.tokens.type: 'NUMBRE'")


def test_one_entity_stands_in_one_place() -> None:
    text = POLICY + "      team-ops: {type: team}\n"
    (line,) = problems_of(text)
    assert line == (
        "policy.yaml:28: customers.acme.entities.team-ops: 'team-ops': an entity of this id stands at "
        "customers.acme.entities.org-acme.children.team-ops already"
    )


def test_an_entity_has_one_budget_for_a_feature_and_a_set_of_scope_ids() -> None:
    text = (
        POLICY
        + "      twice:\n        type: team\n        budgets:\n"
        + "".join(
            f"          - {{feature: tokens, limit: {limit}, every: P1D, scope: [{scope}]}}\n"
            for limit, scope in ((1, "team-eng, team-ops"), (2, "team-eng"), (3, "team-ops, team-eng, team-ops"))
        )
    )
    (line,) = problems_of(text)
    assert line.startswith("policy.yaml:33: customers.acme.entities.twice.budgets[2]: {")
    assert line.endswith("budgets[0] has the same feature and scope, for which an entity has one budget")


def test_an_entity_below_another_has_a_budget_since_its_parent_is_set_with_one() -> None:
    for missing in ("", ", budgets: []"):
        (line,) = problems_of(POLICY + f"          team-new: {{type: team{missing}}}\n")
        assert line.startswith("policy.yaml:28: customers.acme.entities.org-acme.children.team-new.budgets: ")
        assert "an entity below another needs a budget" in line


def nested(levels: int) -> str:
    text, indent = "", 6
    for level in range(1, levels + 1):
        text += f"{' ' * indent}level-{level}:\n{' ' * indent}  type: team\n"
        text += f"{' ' * indent}  budgets: [{{feature: tokens, limit: 1, every: P1D}}]\n{' ' * indent}  children:\n"
        indent += 4
    return POLICY + text.removesuffix(" " * (indent - 2) + "children:\n")


def test_a_tree_has_four_levels_and_no_fifth() -> None:
    assert [each.id for each in parse_policy(nested(4), "policy.yaml").customers[0].entities][-1] == "level-4"
    (line,) = problems_of(nested(5))
    assert line.startswith("policy.yaml:43: customers.acme.entities.level-1.children.level-2.children.level-3")
    assert line.endswith("a tree has at most 4 levels, and this would be level 5")


def test_a_request_has_at_most_256_constraints() -> None:
    def policy(count: int) -> dict[str, object]:
        marks = [f"mark-{index}" for index in range(count)]
        budgets = [{"feature": "tokens", "limit": 1, "every": "P1D", "scope": [mark]} for mark in marks]
        entities = {mark: {"type": "team"} for mark in marks} | {"all": {"type": "team", "budgets": budgets}}
        return {
            "features": {"tokens": {"type": "NUMBER", "meter": "INCREMENTAL"}},
            "entity_types": {"team": {"keys": ["teamId"]}},
            "customers": {"acme": {"entities": entities}},
        }

    assert len(Policy.parse(policy(255)).customers[0].entities[-1].budgets) == 255
    with pytest.raises(InvalidInput, match=r"customers\.acme\.entities\.all\.budgets: 257: .*at most 256 constraints"):
        Policy.parse(policy(256))


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        (
            "- a\n",
            1,
            "policy: ['a']: must be a mapping; its fields are features, currencies, entity_types, plans, addons",
        ),
        ("features: {a: {type: NUMBER\n", 2, "expected"),
        ("features:\n  a: b: c\n", 2, "mapping values are not allowed here"),
        ("features: &a\n  a: *a\n", 1, "its aliases repeat this without an end"),
        ("features: *b\n", 1, "found undefined alias"),
        ("features: {}\n---\nfeatures: {}\n", 2, "but found another document"),
        (
            "features: {a: {type: NUMBER, units: !!python/name:os.system x}}\n",
            1,
            "features.a.units: 'x': can't be read as",
        ),
        (
            "features:\n  a: {type: NUMBER}\n  b: {type: NUMBER}\n  a: {type: ENUM}\n",
            4,
            "features.a: 'a': stands twice in",
        ),
        ("features:\n  ? [a]\n  : {}\n", 2, "features: 'a list or a mapping': can't be a key"),
        ("features:\n  a: {type: NUMBER}\n  <<: {b: {}}\n", 3, 'features["<<"]'),
    ],
)
def test_a_file_that_is_no_plain_yaml_is_told_with_its_line(text: str, line: int, problem: str) -> None:
    told = problems_of(text)
    assert told[0].startswith(f"policy.yaml:{line}: {problem}"), told


def test_a_few_lines_of_aliases_can_not_fill_the_memory() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefghi", "bcdefghij", strict=True):
        text += f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n"
    (line,) = problems_of(text)
    assert line.endswith("its aliases repeat this without an end")


def test_values_nested_without_end_are_an_error_like_any_other() -> None:
    for levels in (300, 400, 500):
        (line,) = problems_of("- " * levels + "a")
        assert line.startswith("policy.yaml:1: policy: [[[") or line == "policy.yaml: its values are nested too deeply"
    assert line == "policy.yaml: its values are nested too deeply"


def test_an_alias_stands_for_what_it_names() -> None:
    text = POLICY.replace("{feature: tokens, limit: 0, every: P1M}", "&monthly {feature: tokens, limit: 7, every: P1M}")
    text += "      team-x: {type: team, budgets: [*monthly]}\n"
    (*_, team) = parse_policy(text, "policy.yaml").customers[0].entities
    assert team.budgets[0].usage_limit == 7


def test_words_that_older_yaml_took_for_booleans_are_ids_and_so_are_numbers() -> None:
    text = POLICY + "      on: {type: team}\n      no: {type: team}\n      42: {type: team, name: 'yes'}\n"
    assert [each.id for each in parse_policy(text, "policy.yaml").customers[0].entities][-3:] == ["on", "no", "42"]


def test_a_file_that_can_not_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidPolicyFile, match=r"none\.yaml: No such file or directory"):
        read_policy(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"features:\n  s\xfc\xdf: {}\n")
    with pytest.raises(InvalidPolicyFile, match=r"latin\.yaml:2: the file is not UTF-8"):
        read_policy(tmp_path / "latin.yaml")


def test_a_path_quotes_what_could_be_mistaken() -> None:
    assert path_to("", "customers") == "customers"
    assert path_to("customers", "acme") == "customers.acme"
    assert path_to("budgets", 3) == "budgets[3]"
    assert path_to("customers", "me@acme.example") == 'customers["me@acme.example"]'


def test_plain_data_needs_no_file() -> None:
    with pytest.raises(InvalidInput) as caught:
        Policy.parse({"customers": {"acme": {"entities": {"org": {"type": "org"}}}}, "extra": 1})
    assert [problem.field for problem in caught.value.problems] == ["extra", "customers.acme.entities.org.type"]
    assert Policy.parse({}) == Policy()


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
words = st.sampled_from(
    [
        *("features", "currencies", "entity_types", "plans", "addons", "customers"),
        *("resources", "subscriptions", "entitlements", "grants", "entities", "children", "budgets", "credits"),
        *("type", "limit", "scope", "plan", "resource", "currency", "feature", "amount", "cadence", "credit_rate"),
        *("start", "end", "expires", "values", "x"),
    ]
)
policy_like = st.recursive(
    json_like, lambda inner: st.dictionaries(words, inner, max_size=4) | st.lists(inner, max_size=2), max_leaves=16
)


@given(data=policy_like)
def test_whatever_the_data_is_the_answer_is_a_policy_or_invalid_input(data: object) -> None:
    problems: tuple[Problem, ...] = ()
    policy = None
    try:
        policy = Policy.parse(data)
    except InvalidInput as error:
        problems = error.problems
    assert bool(problems) is (policy is None)
