"""The terminal and `engine.apply`, on a real server: what they write, what they print, and how they end."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.policy_file import parse_policy
from headgate.client.sync_client import Headgate
from headgate.errors import Conflict, InvalidInput, Unavailable
from headgate.policy import Policy
from integration.terminals import SMALL, Terminal, everything
from servers import RedisServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "ai-gateway.yaml"

POLICY = """\
features:
  tokens: {type: NUMBER, meter: INCREMENTAL, name: Tokens}
  sso: {type: BOOLEAN}
entity_types:
  org: {keys: [orgId]}
  team: {keys: [teamId]}
  model: {keys: [modelId]}
customers:
  acme:
    name: Acme
    entitlements:
      tokens: {limit: 1_000, reset: MONTH}
      sso: {}
    entities:
      org-acme:
        type: org
        budgets:
          - {feature: tokens, limit: 900, every: P1M}
        children:
          team-eng:
            type: team
            name: Engineering
            budgets:
              - {feature: tokens, limit: 100, every: PT10M}
              - {feature: tokens, limit: 50.5, every: P1D, scope: [model-large]}
          team-ops: {type: team, budgets: [{feature: tokens, limit: unlimited, every: P1D}]}
      model-large: {type: model}
"""


@pytest.fixture
def engine(server: RedisServer, environment: str) -> Iterator[Headgate]:
    """An engine on an environment of its own, which does not exist yet."""
    with Headgate.connect(server.unix_url, environment=environment, settings=SMALL) as opened:
        yield opened


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text, "policy.yaml")


def spent(engine: Headgate, amount: float = 10, **dimensions: str) -> str:
    """Consume, and say which constraint was the binding one if it was refused."""
    decision = engine.consume("acme", feature="tokens", amount=amount, dimensions=dimensions)
    return "granted" if decision.granted else str(decision.binding and decision.binding.name)


def test_a_policy_that_is_applied_holds(engine: Headgate) -> None:
    changes = engine.apply(policy())
    assert {change.kind.value for change in changes} == {"created"}
    assert len(changes) == 2 + 3 + 1 + 2 + 4 + 4
    assert spent(engine, 100, teamId="team-eng") == "granted"
    assert spent(engine, 1, teamId="team-eng") == "team-eng"
    assert spent(engine, 800, teamId="team-ops") == "granted"
    assert spent(engine, 1, teamId="team-ops") == "org-acme"
    assert spent(engine, 101) == "account"


def test_applied_a_second_time_it_changes_nothing(engine: Headgate, server: RedisServer, environment: str) -> None:
    engine.apply(policy())
    before = everything(server, environment)
    assert len(before) > 3
    assert engine.apply(policy()) == []
    assert everything(server, environment) == before


def test_the_example_is_applied_once_and_then_there_is_nothing_to_change(engine: Headgate) -> None:
    example = parse_policy(EXAMPLE.read_text(), EXAMPLE.name)
    assert len(engine.apply(example)) == 42
    assert engine.apply(example) == []


def test_a_dry_run_tells_the_same_and_writes_nothing(engine: Headgate, server: RedisServer, environment: str) -> None:
    told = engine.apply(policy(), dry_run=True)
    assert everything(server, environment) == {}
    with pytest.raises(Unavailable):
        engine.check("acme", feature="tokens")
    assert engine.apply(policy()) == told
    before = everything(server, environment)
    more = policy(POLICY.replace("limit: 100,", "limit: 7,").replace("name: Acme", "name: Acme Inc"))
    assert len(engine.apply(more, dry_run=True)) == 2
    assert everything(server, environment) == before


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("limit: 100,", "limit: 0,", ("budgets[tokens].limit", 100, 0)),
        ("limit: 100,", "limit: unlimited,", ("budgets[tokens].limit", 100, "unlimited")),
        ("every: PT10M", "every: PT1H", ("budgets[tokens].every", "PT10M", "PT1H")),
        ("limit: 50.5,", "limit: 50.25,", ("budgets[tokens, model-large].limit", 50.5, 50.25)),
        ("name: Engineering", "name: Builders", ("entities.team-eng.name", "Engineering", "Builders")),
        ("name: Acme", "name: Acme Inc", ("customers.acme.name", "Acme", "Acme Inc")),
        ("limit: 1_000, ", "limit: 1_000, soft: true, ", ("entitlements.tokens.soft", False, True)),
        ("limit: 1_000", "limit: unlimited", ("entitlements.tokens.limit", 1000, "unlimited")),
        (", reset: MONTH", "", ("entitlements.tokens.reset", "MONTH", None)),
        ("name: Tokens", "name: AI tokens", ("features.tokens.name", "Tokens", "AI tokens")),
        ("keys: [teamId]", "keys: [teamId, squadId]", ("entity_types.team.keys", ["teamId"], ["teamId", "squadId"])),
    ],
)
def test_a_line_that_changes_is_one_change_with_what_was_and_what_is(
    engine: Headgate, before: str, after: str, changed: tuple[str, object, object]
) -> None:
    engine.apply(policy())
    (change,) = engine.apply(policy(POLICY.replace(before, after)))
    assert change.kind.value == "changed"
    assert change.path.endswith(changed[0])
    assert (change.before, change.after) == changed[1:]
    assert engine.apply(policy(POLICY.replace(before, after))) == []
    (back,) = engine.apply(policy())
    assert (back.path, back.before, back.after) == (change.path, change.after, change.before)


def test_usage_stays_when_a_limit_changes(engine: Headgate) -> None:
    engine.apply(policy())
    assert spent(engine, 60, teamId="team-eng") == "granted"
    engine.apply(policy(POLICY.replace("limit: 100,", "limit: 60,")))
    assert spent(engine, 1, teamId="team-eng") == "team-eng"


def test_what_a_policy_leaves_out_is_left_alone(engine: Headgate) -> None:
    engine.apply(policy())
    engine.customers.put("acme", email="ops@acme.example", metadata={"tier": "gold"})
    engine.governance.put_entities("acme", [{"id": "team-new", "type": "team"}])
    part = policy(
        POLICY[: POLICY.index("          team-ops:")]
        .replace("[model-large]", "[]")
        .replace("              - {feature: tokens, limit: 50.5, every: P1D, scope: []}\n", "")
        .replace("            name: Engineering\n", "")
        .replace("      sso: {}\n", "")
    )
    assert engine.apply(part) == []
    customer = engine.customers.get("acme")
    assert (customer.email, customer.metadata) == ("ops@acme.example", {"tier": "gold"})
    entities = {entity.id: entity for entity in engine.governance.entities("acme")}
    assert set(entities) == {"org-acme", "team-eng", "team-ops", "team-new", "model-large"}
    assert entities["team-eng"].display_name == "Engineering"
    assert len(engine.governance.assignments("acme")) == 4
    assert set(engine.customers.entitlements("acme")) == {"tokens", "sso"}


def test_texts_of_the_catalog_that_a_policy_leaves_out_stay(engine: Headgate) -> None:
    engine.apply(policy())
    described = {"id": "tokens", "feature_type": "NUMBER", "meter_type": "INCREMENTAL", "description": "of any model"}
    engine.catalog.put_features([described | {"display_name": "Tokens"}])
    engine.catalog.put_entity_types([{"id": "team", "attribution_keys": ["teamId"], "display_name": "Team"}])
    assert engine.apply(policy()) == []
    types_alone = Policy.parse({"entity_types": {"team": {"keys": ["teamId"]}}})
    assert engine.apply(types_alone) == []
    engine.apply(policy(POLICY.replace("name: Tokens", "name: AI tokens")))
    tokens = engine.catalog.features()["tokens"]
    assert (tokens.display_name, tokens.description) == ("AI tokens", "of any model")
    assert engine.catalog.entity_types()["team"].display_name == "Team"


def test_an_archived_entity_that_a_policy_names_comes_back(engine: Headgate) -> None:
    engine.apply(policy())
    engine.governance.archive("acme", ["team-eng"])
    assert spent(engine, 500, teamId="team-eng") == "granted"
    (change,) = engine.apply(policy())
    assert (change.path, change.before, change.after) == ("customers.acme.entities.team-eng.archived", True, False)
    assert spent(engine, 101, teamId="team-eng") == "team-eng"


def entities(*lines: str) -> Policy:
    """A policy with a tree of teams, one a line, indented by four; each may use 1."""
    text = POLICY[: POLICY.index("      org-acme:")]
    for index, line in enumerate(lines):
        name, depth = line.strip(), 6 + len(line) - len(line.lstrip())
        text += f"{' ' * depth}{name}:\n{' ' * depth}  type: team\n"
        text += f"{' ' * depth}  budgets: [{{feature: tokens, limit: 1, every: P1D}}]\n"
        if index + 1 < len(lines) and lines[index + 1].startswith(" " * (depth - 6 + 4)):
            text += f"{' ' * depth}  children:\n"
    return policy(text)


def parents(engine: Headgate) -> dict[str, str | None]:
    return {entity.id: entity.parent for entity in engine.governance.entities("acme")}


def test_nesting_moves_entities_also_where_they_trade_places(engine: Headgate) -> None:
    engine.apply(entities("a", "    b", "c"))
    changes = engine.apply(entities("b", "    a", "        c"))
    assert [(change.path.split(".")[-2], change.before, change.after) for change in changes] == [
        ("b", "a", None),
        ("a", None, "b"),
        ("c", None, "a"),
    ]
    assert parents(engine) == {"b": None, "a": "b", "c": "a"}
    assert engine.apply(entities("b", "    a", "        c")) == []


def test_moves_that_fit_only_all_together_are_written_in_an_order_that_is_valid(engine: Headgate) -> None:
    engine.apply(entities("p", "    q", "n", "    a", "        b", "            c"))
    after = entities("p", "    q", "        n", "            c", "a", "    b")
    engine.apply(after)
    assert parents(engine) == {"p": None, "q": "p", "n": "q", "c": "n", "a": None, "b": "a"}
    assert engine.apply(after) == []


def test_a_root_without_budgets_is_taken_from_under_its_parent(engine: Headgate) -> None:
    engine.apply(entities("a", "    b"))
    text = POLICY[: POLICY.index("      org-acme:")] + "      b: {type: team}\n"
    engine.apply(policy(text))
    assert parents(engine) == {"a": None, "b": None}


def test_more_entities_than_one_call_may_write_are_written_in_several(engine: Headgate) -> None:
    many = entities("root", *(f"    team-{number}" for number in range(230)))
    assert len(engine.apply(many)) == 2 + 3 + 1 + 2 + 2 * 231
    assert list(parents(engine).values()).count("root") == 230
    assert engine.apply(many) == []


@pytest.mark.parametrize(
    ("before", "after", "conflict"),
    [
        ("meter: INCREMENTAL", "meter: FLUCTUATING", "features.tokens: the feature is NUMBER INCREMENTAL, and keeps"),
        (
            "model-large: {type: model}",
            "model-large: {type: team}",
            "entities.model-large: the entity is of type model",
        ),
    ],
)
def test_what_can_not_be_changed_is_told_before_anything_is_written(
    engine: Headgate, server: RedisServer, environment: str, before: str, after: str, conflict: str
) -> None:
    engine.apply(policy())
    kept = everything(server, environment)
    text = POLICY.replace(before, after).replace("name: Acme", "name: Other")
    for dry_run in (True, False):
        with pytest.raises(Conflict, match=re.escape(conflict)):
            engine.apply(policy(text), dry_run=dry_run)
    assert everything(server, environment) == kept


def test_a_fifth_level_below_an_entity_that_moves_is_told_before_anything_is_written(
    engine: Headgate, server: RedisServer, environment: str
) -> None:
    engine.apply(entities("a", "    b", "        c", "x", "    y", "        z"))
    kept = everything(server, environment)
    with pytest.raises(Conflict, match=r"customers\.acme\.entities\.b\.parent: 'z': makes 5 levels: at most 4"):
        engine.apply(entities("x", "    y", "        z", "            b"))
    assert everything(server, environment) == kept


def test_an_archived_customer_is_not_brought_back_by_a_policy(engine: Headgate) -> None:
    engine.apply(policy())
    engine.customers.archive("acme")
    with pytest.raises(Conflict, match=r"customers\.acme: the customer is archived: bring it back"):
        engine.apply(policy())


def test_what_is_no_policy_is_refused(engine: Headgate) -> None:
    not_a_policy: Any = {"features": {}}
    with pytest.raises(InvalidInput, match=r"make one with Policy\.parse"):
        engine.apply(not_a_policy)


def test_apply_says_what_it_creates_then_that_there_is_nothing_to_change(
    engine: Headgate, terminal: Terminal, policy_file: Path
) -> None:
    code, output, errors = terminal("apply", str(policy_file), "--dry-run")
    assert (code, errors) == (0, "")
    assert output.endswith("16 to create, 0 to change, 0 unchanged; a dry run: nothing was written.\n")
    engine.apply(Policy.parse({"entity_types": {"org": {"keys": ["orgId"]}}}))  # makes the environment a small one
    code, output, _ = terminal("apply", str(policy_file))
    assert code == 0
    assert "+ customers.acme.entities.team-eng.budgets[tokens]  {limit: 100, every: PT10M}\n" in output
    assert output.endswith("15 created, 0 changed, 1 unchanged.\n")
    assert terminal("apply", str(policy_file)) == (0, "Nothing to change: all is as the policy says.\n", "")
    policy_file.write_text(POLICY.replace("limit: 100,", "limit: 2_000,"))
    assert terminal("apply", str(policy_file)) == (
        0,
        "~ customers.acme.entities.team-eng.budgets[tokens].limit  100 → 2_000\n0 created, 1 changed, 15 unchanged.\n",
        "",
    )


def test_a_wrong_policy_file_ends_with_every_line_and_nothing_is_written(
    server: RedisServer, environment: str, terminal: Terminal, policy_file: Path
) -> None:
    policy_file.write_text(POLICY.replace("limit: 900", "limit: -5").replace("[orgId]", "[a, a]"))
    code, output, errors = terminal("apply", str(policy_file))
    assert (code, output) == (2, "")
    assert errors.splitlines() == [
        f"{policy_file}:5: entity_types.org.keys: ['a', 'a']: attribution keys are distinct names, none empty",
        f"{policy_file}:18: customers.acme.entities.org-acme.budgets[0].limit: -5: is negative: the least is 0",
    ]
    assert everything(server, environment) == {}


def test_consume_counts_until_it_refuses_and_the_exit_code_says_which(engine: Headgate, terminal: Terminal) -> None:
    engine.apply(policy())
    consume = ("consume", "acme", "--feature", "tokens", "--amount", "60.5", "-d", "teamId=team-eng")
    assert terminal("check", *consume[1:])[0] == 0
    code, output, errors = terminal(*consume)
    assert (code, errors) == (0, "")
    assert output.startswith("Granted: acme asked for 60.5 of tokens; nearest limit: team-eng has used 60.5 of 100 ")
    for command in ("check", "consume"):
        code, output, errors = terminal(command, *consume[1:])
        assert (code, errors) == (1, "")
        assert output.startswith(
            "Refused (BudgetExceeded): acme asked for 60.5 of tokens, but team-eng has used 60.5 of"
        )
    tree = engine.governance.tree("acme", feature="tokens")
    assert tree.account.used == 60.5


def test_explain_shows_what_matched_what_did_not_and_every_number(engine: Headgate, terminal: Terminal) -> None:
    engine.apply(policy())
    arguments = (
        "check",
        "acme",
        "-f",
        "tokens",
        "-n",
        "101",
        "-d",
        "teamId=team-eng",
        "-d",
        "modelId=small",
        "-d",
        "x=y",
    )
    code, output, errors = terminal(*arguments, "--explain")
    assert (code, errors) == (1, "")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[0].startswith("Refused (BudgetExceeded): acme asked for 101 of tokens, but team-eng has used 0 of 100")
    assert any(line.startswith("teamId=team-eng team team-eng") for line in lines)
    assert any(line.startswith("modelId=small nothing") and "'small'" in line for line in lines)
    assert any(line.startswith("x=y nothing") for line in lines)
    assert any(line.startswith("account 1,000 0 0 1,000 yes") for line in lines)
    assert any(line.startswith("team-eng 100 0 0 100 no") for line in lines)
    assert any(line.startswith("org-acme 900 0 0 900 yes") for line in lines)
    assert "team-eng[model-large] model-large" in lines
    code, output, _ = terminal(*arguments, "--explain", "--json")
    explained = json.loads(output)
    assert code == 1
    assert explained["decision"]["binding"]["entity"] == "team-eng"
    assert [each["entity"] for each in explained["dimensions"]] == ["team-eng", None, None]
    assert explained["skipped"] == [{"entity": "team-eng", "scope": ["model-large"], "missing": ["model-large"]}]


def test_report_adds_corrects_and_sets(engine: Headgate, terminal: Terminal) -> None:
    engine.apply(policy())
    report = ("report", "acme", "--feature", "tokens", "-d", "teamId=team-eng")
    code, output, errors = terminal(*report, "--value", "150")
    assert (code, errors) == (0, "")
    assert output.startswith("acme, tokens: reported 150; account stands at 150 (+150)")
    assert terminal(*report, "--value", "-170")[0] == 0
    code, output, _ = terminal(*report, "--value", "40", "--set", "--json")
    receipt = json.loads(output)
    assert (code, receipt["behavior"], receipt["account"]["used"]) == (0, "SET", 40)
    assert {each["entity"]: each["used"] for each in receipt["entities"]} == {"team-eng": 40, "org-acme": 40}


def test_the_tree_shows_every_budget_with_a_bar(engine: Headgate, terminal: Terminal) -> None:
    engine.apply(policy())
    engine.report("acme", feature="tokens", value=50, dimensions={"teamId": "team-eng"})
    code, output, errors = terminal("tree", "acme")
    assert (code, errors) == (0, "")
    numbers = [re.sub(r", until .*", "", line).rstrip() for line in output.splitlines()]
    assert numbers == [
        "tokens",
        "acme (account)                 █░░░░░░░░░░░░░░░░░░░  50 of 1,000, MONTH",
        "├── model-large",
        "└── org-acme                   █░░░░░░░░░░░░░░░░░░░  50 of 900, P1M",
        "    ├── team-eng               ██████████░░░░░░░░░░  50 of 100, PT10M",
        "    │   team-eng[model-large]  ░░░░░░░░░░░░░░░░░░░░  0 of 50.5, P1D",
        "    └── team-ops                                     0, no limit, P1D",
    ]
    (tree,) = json.loads(terminal("tree", "acme", "--feature", "tokens", "--json")[1])
    assert tree["account"]["used"] == 50


def test_an_archived_entity_stands_in_the_tree_as_such(engine: Headgate, terminal: Terminal) -> None:
    engine.apply(policy())
    engine.governance.archive("acme", ["team-eng"])
    assert "team-eng  archived: its own budgets do not apply" in terminal("tree", "acme")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "FILE"),
        ("apply", "FILE", "--dry-run"),
        ("check", "acme", "-f", "tokens"),
        ("check", "acme", "-f", "tokens", "--explain"),
        ("consume", "acme", "-f", "tokens", "-n", "2"),
        ("report", "acme", "-f", "tokens", "--value", "2"),
        ("tree", "acme"),
    ],
)
def test_json_is_one_document_and_nothing_else(
    engine: Headgate, terminal: Terminal, policy_file: Path, arguments: tuple[str, ...]
) -> None:
    engine.apply(policy())
    code, output, errors = terminal(*(str(policy_file) if each == "FILE" else each for each in arguments), "--json")
    assert (code, errors) == (0, "")
    assert json.loads(output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("consume", "acme", "-f", "tokens", "-n", "lots"), "--amount: 'lots': write a whole number or a decimal"),
        (("consume", "acme", "-f", "tokens", "-n", "nan"), "--amount: 'nan': write a whole number or a decimal"),
        (("consume", "acme", "-f", "tokens", "-n", "-1"), "--amount: '-1': -1 is negative: the least is 0"),
        (("check", "acme", "-f", "tokens", "-n", "9007199254740990.9"), "is out of range: fractions stay below"),
        (("report", "acme", "-f", "tokens", "--value", "1e3"), "--value: '1e3': write a whole number or a decimal"),
        (("check", "acme", "-f", "tokens", "-d", "teamId"), "--dimension: 'teamId': write KEY=ID, such as teamId="),
        (("check", "acme", "-f", "tokens", "-d", "a=1", "-d", "a=2"), "--dimension: 'a=2': a is given already, as '1'"),
        (("check", "a:b", "-f", "tokens"), "customer: 'a:b': an id has 1 to 255"),
        (("check", "acme", "-f", ""), "feature: '': an id has 1 to 255"),
        (("report", "nobody", "-f", "tokens", "--value", "1"), "customer 'nobody' was not found"),
        (("report", "acme", "-f", "nothing", "--value", "1"), "feature 'nothing' was not found"),
        (("report", "acme", "-f", "sso", "--value", "1"), "is not metered (BOOLEAN)"),
        (("tree", "nobody"), "customer 'nobody' was not found"),
        (("tree", "acme", "-f", "nothing"), "feature 'nothing' was not found"),
        (("apply", "no-such-file.yaml"), "no-such-file.yaml: No such file or directory"),
        (("--environment", "a:b", "check", "acme", "-f", "tokens"), "environment: 'a:b': an id has 1 to 255"),
        (("--url", "http://x", "check", "acme", "-f", "tokens"), "url: 'http://x': begins with redis://"),
        (("check", "acme"), "--feature: None: name a feature with --feature, or a currency with --currency"),
        (("check", "acme", "-f", "tokens", "-c", "x"), "--currency: 'x': give a feature or a currency: one of the two"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
)
def test_a_wrong_command_ends_with_one_clear_message(
    engine: Headgate, terminal: Terminal, arguments: tuple[str, ...], message: str
) -> None:
    engine.apply(policy())
    code, output, errors = terminal(*arguments)
    assert (code, output) == (2, "")
    assert message in errors
    assert "Traceback" not in errors


def test_a_server_that_is_not_there_and_an_environment_that_is_not_are_no_refusals(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.cli.session.DEADLINE_MS", 100)
    code, output, errors = terminal("--url", "unix:///nowhere/redis.sock", "check", "acme", "-f", "tokens")
    assert (code, output) == (3, "")
    assert errors.startswith("headgate: ")
    assert errors.count("\n") == 1
    code, output, errors = terminal("check", "acme", "-f", "tokens")
    assert (code, output) == (3, "")
    assert "holds no data on this server" in errors


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (RuntimeError("boom"), 3, "headgate: this is a defect of headgate: RuntimeError in test_cli.py, line "),
        (KeyboardInterrupt(), 130, "headgate: interrupted"),
    ],
)
def test_nothing_ends_in_a_traceback(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, message: str
) -> None:
    def fail(path: Path) -> Policy:
        raise raised

    monkeypatch.setattr("headgate.cli.commands.read_policy", fail)
    ended, output, errors = terminal("apply", "policy.yaml")
    assert (ended, output) == (code, "")
    assert errors.startswith(message)
    assert "Traceback" not in errors


def test_no_color_is_heard(engine: Headgate, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.apply(policy())
    colour = re.compile(r"\x1b\[[\d;]*3\d")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert colour.search(terminal("check", "acme", "-f", "tokens")[1])
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(terminal("check", "acme", "-f", "tokens")[1])


def test_help_teaches_with_an_example_and_names_the_exit_codes(terminal: Terminal) -> None:
    code, output, _ = terminal("--help")
    assert code == 0
    assert "~/.local/share/headgate" in output
    assert "1  check and consume: refused" in output
    assert all(f"\n  {name} " in output for name in ("apply", "check", "consume", "report", "tree", "replay", "demo"))
    for name in ("apply", "check", "consume", "report", "tree"):
        output = terminal(name, "--help")[1]
        assert f"Example:\n      headgate {name} " in output, name
        assert "Exit codes: 0" in output


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    source = str(Path(__file__).parents[2] / "engine")
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": source, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_a_url_all_commands_share_one_directory(tmp_path: Path, policy_file: Path) -> None:
    headgate = ("-m", "headgate.cli")
    applied = run_python(*headgate, "apply", str(policy_file), XDG_DATA_HOME=str(tmp_path))
    assert (applied.returncode, applied.stderr) == (0, "")
    consume = ("consume", "acme", "-f", "tokens", "-n", "60", "-d", "teamId=team-eng")
    codes = [run_python(*headgate, *consume, XDG_DATA_HOME=str(tmp_path)).returncode for _ in range(2)]
    assert codes == [0, 1]
    assert (tmp_path / "headgate").stat().st_mode & 0o777 == 0o700


def test_without_the_extra_one_message_says_what_to_install() -> None:
    program = "import sys; sys.modules['typer'] = None; from headgate.cli import main; sys.exit(main(['--version']))"
    ended = run_python("-c", program)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "headgate: the terminal commands need typer: install them with pip install 'headgate[cli]'\n"
