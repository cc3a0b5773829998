"""The terminal with plans, subscriptions, resources and credits, on a real server: what it prints, and how it ends."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from headgate.amounts import STEPS_PER_UNIT
from headgate.cli.replay import make_plan, stretches
from headgate.cli.summary import Line, Summary
from headgate.cli.tally import Audit, BudgetKey, BudgetTally, PeriodTally, Tally
from headgate.client.sync_client import Headgate
from headgate.model.decision import ConstraintState
from headgate.periods import ALWAYS
from headgate.policy import Policy
from integration.terminals import SMALL, Terminal
from servers import RedisServer

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "saas.yaml"
CUSTOMER = "customer-demo-01"


@pytest.fixture
def terminal(terminal: Terminal, server: RedisServer, environment: str) -> Terminal:
    """Run a command of the terminal here, on a small environment with the server's own clock."""
    with Headgate.connect(server.unix_url, environment=environment, settings=SMALL) as opened:
        opened.apply(Policy.parse({"entity_types": {"team": {"keys": ["teamId"]}}}))
    return terminal


@pytest.fixture
def applied(terminal: Terminal) -> Terminal:
    """The terminal, with the example applied."""
    assert terminal("apply", str(EXAMPLE))[0] == 0
    return terminal


def test_the_commands_that_the_example_names_work(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^# .*?\bheadgate (.+)$", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert len(commands) == 5
    monkeypatch.chdir(EXAMPLES.parent)
    for command in commands:
        assert terminal(*command.split())[0] == 0, command


def test_consume_says_what_it_took_from_which_grant(applied: Terminal) -> None:
    code, output, errors = applied(
        "consume", CUSTOMER, "-f", "feature-assistant", "-n", "50", "-d", "teamId=team-support"
    )
    assert (code, errors) == (0, "")
    assert re.search(
        r"\nPaid with currency-api-credits: 500 from grant-welcome, 100 from subscription-ess\S+\.\n", output
    )
    code, output, _ = applied("consume", CUSTOMER, "--currency", "currency-api-credits", "-n", "49900")
    assert code == 0
    assert output.startswith(f"Granted: {CUSTOMER} asked for 49,900 of currency-api-credits")
    code, output, _ = applied("consume", CUSTOMER, "--currency", "currency-api-credits", "-n", "0.5")
    assert code == 1
    assert output.startswith("Refused (InsufficientCredits)")
    code, output, _ = applied("report", CUSTOMER, "-c", "currency-api-credits", "--value", "7", "--json")
    receipt = json.loads(output)
    assert (code, receipt["account"], receipt["wallet"]["overdraft"]) == (0, None, 7)


def test_a_resource_and_values_are_asked_about(applied: Terminal) -> None:
    assert applied("report", CUSTOMER, "-f", "feature-templates", "--value", "6", "--resource", "site-01")[0] == 0
    assert applied("check", CUSTOMER, "-f", "feature-templates", "--resource", "site-01")[0] == 1
    assert applied("check", CUSTOMER, "-f", "feature-templates")[0] == 0
    assert applied("check", CUSTOMER, "-f", "feature-templates", "-r", "site-99")[:2] == (
        1,
        f"Refused (CustomerResourceNotFound): {CUSTOMER} (site-99) asked for 1 of feature-templates.\n",
    )
    assert applied("check", CUSTOMER, "-f", "feature-regions", "--value", "eu", "--value", "us")[0] == 0
    assert applied("check", CUSTOMER, "-f", "feature-regions", "--value", "eu", "--value", "asia")[0] == 1


def test_explain_shows_the_wallet_and_budgets_for_credits(applied: Terminal) -> None:
    question = ("check", CUSTOMER, "-c", "currency-api-credits", "-n", "60000", "-d", "teamId=team-support")
    code, output, errors = applied(*question, "--explain")
    assert (code, errors) == (1, "")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "wallet currency-api-credits 50,500 0 0 50,500 no never" in lines
    assert any(line.startswith("team-support (currency-api-credits) 20,000 0 0 20,000 no") for line in lines)
    assert any(line.startswith("grant-welcome PROMOTIONAL 10 500 0 500 2099-01-01") for line in lines)
    assert any(re.match(r"subscription-essentials:MONTH:\d+ RECURRING 50 50,000 0 50,000 ", line) for line in lines)


def test_the_tree_shows_subscriptions_once_and_each_wallet_above_the_entities(applied: Terminal) -> None:
    applied("consume", CUSTOMER, "-f", "feature-assistant", "-n", "100", "-d", "teamId=team-support")
    code, output, errors = applied("tree", CUSTOMER)
    assert (code, errors) == (0, "")
    lines = [re.sub(r"MONTH:\d+", "MONTH:N", re.sub(r", until .*", "", line)) for line in output.splitlines()]
    lines = [" ".join(line.split()) for line in lines]
    assert lines[1] == (
        "subscription-essentials plan-revvenu-essentials + addon-more-campaigns ACTIVE 2023-07-21 no end"
    )
    start = lines.index("feature-assistant")
    assert lines[start + 1 : start + 7] == [
        "wallet currency-api-credits ░░░░░░░░░░░░░░░░░░░░ 1,200 of 50,500, balance 49,300",
        "├── grant-welcome ████████████████████ 500 of 500, PROMOTIONAL 10",
        "└── subscription-essentials:MONTH:N ░░░░░░░░░░░░░░░░░░░░ 700 of 50,000, RECURRING 50",
        "customer-demo-01 (account) 100, no limit",
        "└── team-support ██████████░░░░░░░░░░ 100 of 200, P1D",
        "team-support (currency-api-credits) █░░░░░░░░░░░░░░░░░░░ 1,200 of 20,000, P1M",
    ]
    titles = [line for line in lines if line.startswith(("feature-", "currency-"))]
    assert titles == [
        f"feature-{name}" for name in ("active-users", "assistant", "campaigns", "requests", "seats", "templates")
    ]


def test_the_tree_of_a_currency_is_its_wallet_and_its_budgets(applied: Terminal) -> None:
    applied("report", CUSTOMER, "-c", "currency-api-credits", "--value", "50600")
    code, output, _ = applied("tree", CUSTOMER, "--currency", "currency-api-credits")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert code == 0
    assert lines[3:5] == [
        "currency-api-credits",
        "wallet currency-api-credits ████████████████████ 50,600 of 50,500, balance -100, overdraft 100",
    ]
    assert lines[7] == CUSTOMER
    assert lines[8].startswith("└── team-support ░░░░░░░░░░░░░░░░░░░░ 0 of 20,000, P1M")
    (tree,) = json.loads(applied("tree", CUSTOMER, "-c", "currency-api-credits", "--json")[1])
    assert (tree["feature"], tree["currency"], tree["wallet"]["overdraft"]) == (None, "currency-api-credits", 100)


def test_a_denial_and_a_resource_stand_in_the_tree(applied: Terminal, tmp_path: Path) -> None:
    output = applied("tree", CUSTOMER, "-f", "feature-templates", "-r", "site-01")[1]
    assert "subscription-site-01 (site-01)  plan-revvenu-site" in output
    assert f"{CUSTOMER}, site-01 (account)  ░░░░░░░░░░░░░░░░░░░░  0 of 6\n" in output
    (tmp_path / "more.yaml").write_text(
        "features: {feature-calls: {type: NUMBER, meter: INCREMENTAL}}\ncustomers: {customer-demo-01: {}}\n"
    )
    assert applied("apply", str(tmp_path / "more.yaml"))[0] == 0
    output = applied("tree", CUSTOMER, "-f", "feature-calls")[1]
    assert f"{CUSTOMER} (account)                        denied: NoFeatureEntitlementInSubscription, 0 used\n" in output


def test_wrong_questions_about_trees_end_with_one_message(applied: Terminal) -> None:
    for arguments, message in (
        (("-f", "feature-seats", "-c", "currency-api-credits"), "a tree is of a feature or of a currency"),
        (("-c", "coins"), "currency 'coins' was not found"),
        (("-f", "feature-seats", "-r", "site-99"), "resource 'site-99' of customer 'customer-demo-01' was not found"),
    ):
        code, output, errors = applied("tree", CUSTOMER, *arguments)
        assert (code, output) == (2, "")
        assert message in errors


def shown_at(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int, *arguments: str) -> list[str]:
    """The lines that a terminal of some columns would show, without colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    code, output, _ = terminal(*arguments)
    assert code == 0
    return [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in output.splitlines()]


def test_at_100_columns_the_tree_keeps_every_cadence_on_its_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert terminal("apply", str(EXAMPLES / "ai-gateway.yaml"))[0] == 0
    amount = ("-n", "1234567", "-d", "userId=user-ada", "-d", "modelId=model-large")
    assert terminal("consume", "cus-acme", "-f", "feature-ai-tokens", *amount)[0] == 0
    lines = shown_at(terminal, monkeypatch, 100, "tree", "cus-acme")
    assert max(map(len, lines)) <= 100
    budgets = [line for line in lines if " of " in line or "no limit" in line]
    assert len(budgets) == 18
    assert all(re.search(r", (MONTH|P1M|P1D|PT10M)$", line) for line in budgets)
    assert any(line.endswith("█░░  1,234,567 of 1,300,000, PT10M") for line in lines)
    assert any("UTC" in line for line in shown_at(terminal, monkeypatch, 140, "tree", "cus-acme"))


def test_at_80_columns_bars_are_shorter_and_nothing_is_wrapped(
    applied: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown_at(applied, monkeypatch, 80, "tree", CUSTOMER, "-f", "feature-assistant")
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"░+  0 of 20,000, P1M$", line) for line in lines)


def test_the_leading_url_is_where_a_replay_runs(
    server: RedisServer, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HEADGATE_URL")
    trace = tmp_path / "trace.csv"
    rows = [f"2023-08-{day:02} 12:00:00,300" for day in (1, 15, 19, 20, 21, 22)]
    trace.write_text("TIMESTAMP,amount\n" + "\n".join(rows) + "\n")
    told = tmp_path / "told.json"
    question = (str(trace), "--policy", str(EXAMPLE), "--feature", "feature-requests", "--json", str(told))
    before = len(server.client().keys("hg:replay-*:meta"))
    code, output, _ = terminal("--url", server.unix_url, "replay", *question)
    assert (code, len(server.client().keys("hg:replay-*:meta"))) == (0, before + 1)
    result = json.loads(told.read_text())
    assert (result["granted"], result["refused"], result["exact"]) == (5, 1, True)
    assert "Exact: " in output


def test_a_replay_of_what_is_paid_in_credits_is_exact_too(
    server: RedisServer, terminal: Terminal, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    rows = ["2023-08-01 12:00:00,10", "2023-08-01 12:00:01,4300", "2023-08-22 12:00:00,50"]
    trace.write_text("TIMESTAMP,amount\n" + "\n".join(rows) + "\n")
    question = (str(trace), "--policy", str(EXAMPLE), "--feature", "feature-assistant")
    code, output, _ = terminal("--url", server.unix_url, "replay", *question)
    assert code == 0
    assert "2 granted, 1 refused, 0 errors" in output
    assert "Exact: " in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--url", "embedded://", "demo"), "the demo starts a server of its own: leave it out"),
        (("--environment", "prod", "demo"), "demo makes an environment of its own: leave it out"),
        (("--environment", "prod", "replay", "t.csv", "--policy", "p.yaml"), "replay makes an environment of its own"),
    ],
)
def test_what_a_command_would_not_hear_is_refused(terminal: Terminal, arguments: tuple[str, ...], message: str) -> None:
    code, output, errors = terminal(*arguments)
    assert (code, output) == (2, "")
    assert message in errors


def test_a_replay_is_cut_where_the_period_of_a_subscription_ends(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    # Budgets count their days from the first call, so only the subscription and the expiry cut between these.
    rows = ["2023-08-20 23:59:59.999,1", "2023-08-21 00:00:00,1", "2023-08-21 12:00:00,1"]
    rows += ["2098-12-31 23:59:59.999,1", "2099-01-01 00:00:00,1"]
    trace.write_text("TIMESTAMP,amount\n" + "\n".join(rows) + "\n")
    plan = make_plan(trace, EXAMPLE, feature="feature-requests", in_flight=8, seed=1, rows_max=None)
    assert [[call.row for call, _ in stretch] for stretch in stretches(plan)] == [[1], [2, 3], [4], [5]]


def test_the_demos_table_fits_in_100_columns() -> None:
    def line(level: int, entity: str | None, scope: tuple[str, ...] = ()) -> Line:
        state = ConstraintState(entity, entity, scope, 13_500_000, False, 13_499_999, 0, True, ALWAYS, "PT10M")
        return Line(BudgetKey.of("cus-acme", "tokens", state), level, state)

    tally = Tally()
    for each in (longest := line(3, "agent-answerer", ("model-large",)), line(0, None)):
        tally.budgets[each.key] = BudgetTally(1_234_567, 1, {0: PeriodTally(13_499_999 * STEPS_PER_UNIT, 0)})
    summary = Summary(tally, 10.0, (line(0, None), longest), Audit(2, 0, (), 0, False), tells_days=False)
    console = Console(width=100, file=io.StringIO())
    with console.capture() as captured:
        console.print(summary.rendering())
    shown = captured.get().splitlines()
    assert max(map(len, shown)) <= 100
    (row,) = [each for each in shown if "agent-answerer" in each]
    assert row.split() == [
        "agent-answerer[model-large]",
        "PT10M",
        "13,500,000",
        *["13,499,999"] * 2,
        "1,234,567",
        "00:00:00",
    ]
