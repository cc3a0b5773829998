"""What people see of a tree: subscriptions, wallets and entities, with a bar for each limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as RichTree

from headgate.amounts import format_amount
from headgate.cli.summary import make_console
from headgate.model.credits import GrantKind, GrantState, Wallet
from headgate.model.decision import ConstraintState, instant
from headgate.model.subscription import Subscription
from headgate.model.tree import Tree, TreeNode

BAR_WIDTH = 20
BAR_WIDTH_MIN = 3
GUIDE = 4
WIDTH_MAX = 10_000
NEARLY_USED = 0.8


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a name, how much is used of what (None: there is no limit), and what is said where there is room."""

    name: str
    share: float | None
    numbers: str
    short: str = ""
    long: str = ""
    note: str = ""


@dataclass(slots=True)
class Branch:
    """Lines that stand under each other, and what hangs below them."""

    rows: list[Row]
    children: list[Branch] = field(default_factory=list)

    def walk(self, level: int = 0) -> Iterator[tuple[int, Row]]:
        """Every line with its level."""
        for row in self.rows:
            yield level, row
        for child in self.children:
            yield from child.walk(level + 1)


def print_trees(trees: Sequence[Tree]) -> None:
    """Show the customer's subscriptions once, then each tree below the wallet that it is paid from."""
    console = make_console()
    if not console.is_terminal:
        console.width = WIDTH_MAX
    _print_subscriptions(console, trees[0])
    shown: set[str] = set()
    for index, tree in enumerate(trees):
        if index:
            console.print()
        branches = []
        if tree.wallet is not None and tree.wallet.currency not in shown:
            shown.add(tree.wallet.currency)
            branches.append(_wallet_branch(tree.wallet))
        has_budgets = any(node.states for node in tree.walk())
        # Entities that nothing limits are shown once somebody asks for one tree; in many they only take room.
        branches.append(_entity_branch(tree, with_entities=has_budgets or len(trees) == 1))
        console.print(Text(str(tree.feature or tree.currency), style="bold"))
        for drawn in _drawn(branches, console):
            console.print(drawn)


def wallet_table(wallet: Wallet) -> Table:
    """The grants of a wallet in burn order."""
    table = make_table("grant", "kind", "priority", "amount", "used", "left", "until", right=(2, 3, 4, 5))
    for grant in wallet.grants:
        numbers = (grant.priority, grant.amount, grant.consumed, grant.left)
        cells = (
            _grant_name(grant),
            grant.kind.value,
            *map(format_amount, numbers),
            _until(grant.expires_at_ms) or "for ever",
        )
        table.add_row(*map(Text, cells))
    return table


def _print_subscriptions(console: Console, tree: Tree) -> None:
    """Those that have not ended; where all have, the one that was the last to."""
    last = sorted(tree.subscriptions, key=lambda each: each.ends_at_ms or 0)[-1:]
    going = [each for each in tree.subscriptions if each.ends_at_ms is None or each.ends_at_ms > tree.read_at_ms]
    if not tree.subscriptions:
        return
    table = make_table("subscription", "plan", "status", "since", "until")
    for each in going or last:
        status = tree.status_of(each).value
        cells = (_subscription_name(each), _content(each), status, _day(each.start_ms), _end(each))
        table.add_row(*map(Text, cells))
    console.print(table)
    console.print()


def _subscription_name(subscription: Subscription) -> str:
    return subscription.id if subscription.resource is None else f"{subscription.id} ({subscription.resource})"


def _content(subscription: Subscription) -> str:
    plan = f"{subscription.unit_quantity:,} × " if subscription.unit_quantity > 1 else ""
    addons = [f"{each.quantity:,} × {each.addon}" if each.quantity > 1 else each.addon for each in subscription.addons]
    return " + ".join((plan + subscription.plan, *addons))


def _end(subscription: Subscription) -> str:
    end = "no end" if subscription.ends_at_ms is None else _day(subscription.ends_at_ms)
    trial_end_ms = subscription.trial_end_ms
    is_trial = trial_end_ms is not None and trial_end_ms != subscription.ends_at_ms
    return f"{end}, trial until {_day(trial_end_ms)}" if is_trial and trial_end_ms is not None else end


def _day(at_ms: int) -> str:
    """The day; with the time of it, where that is not midnight."""
    moment = instant(at_ms)
    return f"{moment:%Y-%m-%d}" if at_ms % 86_400_000 == 0 else f"{moment:%Y-%m-%d %H:%M}"


def _until(at_ms: int | None) -> str:
    return "" if at_ms is None else f"{instant(at_ms):%Y-%m-%d %H:%M:%S} UTC"


def _wallet_branch(wallet: Wallet) -> Branch:
    numbers = (
        f"{_of(wallet.used, wallet.held, wallet.granted, wallet.is_soft)}, balance {format_amount(wallet.balance)}"
    )
    if wallet.overdraft:
        numbers += f", overdraft {format_amount(wallet.overdraft)}"
    holder = "" if wallet.resource is None else f" of {wallet.resource}"
    row = Row(f"wallet {wallet.currency}{holder}", _share(wallet.used + wallet.held, wallet.granted), numbers)
    return Branch([row], [Branch([_grant_row(grant)]) for grant in wallet.grants])


def _grant_row(grant: GrantState) -> Row:
    used = grant.consumed + grant.held
    numbers = _of(grant.consumed, grant.held, grant.amount, False)
    until = "" if grant.expires_at_ms is None else f", until {_until(grant.expires_at_ms)}"
    kind = f", {grant.kind.value} {grant.priority}"
    return Row(_grant_name(grant), _share(used, grant.amount), numbers, kind, until)


def _grant_name(grant: GrantState) -> str:
    """Its id; of a recurring grant without the currency, which stands above."""
    return grant.id.replace(f":{grant.currency}:", ":") if grant.kind is GrantKind.RECURRING else grant.id


def _entity_branch(tree: Tree, *, with_entities: bool) -> Branch:
    who = tree.customer if tree.resource is None else f"{tree.customer}, {tree.resource}"
    if tree.feature is None:
        note = "" if tree.denial is None else f"denied: {tree.denial}"
        top = Row(who, None, "", note=note)
    elif tree.denial is None:
        top = _row(f"{who} (account)", tree.account)
    else:
        used = f"{format_amount(tree.account.used)} used"
        top = Row(f"{who} (account)", None, used, note=f"denied: {tree.denial}, ")
    return Branch([top], [_node_branch(node, tree) for node in tree.roots] if with_entities else [])


def _node_branch(node: TreeNode, tree: Tree) -> Branch:
    children = [_node_branch(child, tree) for child in node.children]
    if node.entity.archived_at_ms is not None:
        return Branch([Row(node.entity.id, None, "", note="archived: its own budgets do not apply")], children)
    rows = [_row(_budget_name(state, tree), state) for state in node.states]
    return Branch(rows or [Row(node.entity.id, None, "")], children)


def _budget_name(state: ConstraintState, tree: Tree) -> str:
    is_other = state.currency is not None and tree.feature is not None
    return f"{state.name} ({state.currency})" if is_other else state.name


def _row(name: str, state: ConstraintState) -> Row:
    numbers = _of(state.used, state.held, state.limit, state.is_soft)
    share = None if state.limit is None else _share(state.used + state.held, state.limit)
    when = f", until {state.resets_at:%Y-%m-%d %H:%M:%S} UTC" if state.resets_at else ""
    return Row(name, share, numbers, f", {state.cadence}" if state.cadence else "", when)


def _of(used: float, held: float, limit: float | None, is_soft: bool) -> str:
    numbers = format_amount(used) + (f" and {format_amount(held)} held" if held else "")
    return f"{numbers}, no limit" if limit is None else f"{numbers} of {format_amount(limit)}{', soft' * is_soft}"


def _share(used: float, limit: float) -> float:
    return min(max(used / limit, 0.0), 1.0) if limit > 0 else 1.0


def _drawn(branches: Iterable[Branch], console: Console) -> Iterator[RichTree]:
    """The branches as trees whose names are padded, so that all bars stand under each other."""
    branches = list(branches)
    rows = [found for branch in branches for found in branch.walk()]
    # The guides take 4 columns a level.
    width = max(len(row.name) + GUIDE * level for level, row in rows)
    bar_width, has_room = _fitting(width, [row for _, row in rows], console.width)
    full, empty = ("#", ".") if console.options.ascii_only else ("█", "░")

    def line(level: int, row: Row) -> Text:
        if not row.numbers:
            return Text.assemble(row.name, ("  " + row.note if row.note else "", "dim"))
        filled = int((row.share or 0.0) * bar_width)
        colour = "red" if (row.share or 0.0) >= 1 else "yellow" if (row.share or 0.0) >= NEARLY_USED else "green"
        bar = [(" " * bar_width, "")]
        if row.share is not None:
            bar = [(full * filled, colour), (empty * (bar_width - filled), "dim")]
        details = (row.short + (row.long if has_room else ""), "dim")
        name = row.name.ljust(width - GUIDE * level)
        return Text.assemble(name, "  ", *bar, "  ", (row.note, "red"), row.numbers, details)

    def grow(parent: RichTree, branch: Branch, level: int) -> None:
        for child in branch.children:
            grow(parent.add(Text("\n").join(line(level, row) for row in child.rows)), child, level + 1)

    for branch in branches:
        root = RichTree(Text("\n").join(line(0, row) for row in branch.rows), guide_style="dim")
        grow(root, branch, 1)
        yield root


def _fitting(width: int, rows: Iterable[Row], room: int) -> tuple[int, bool]:
    """How wide bars may be, and whether there is room for when each limit starts again."""
    said = [row for row in rows if row.numbers]
    short = max((len(row.note + row.numbers + row.short) for row in said), default=0)
    long = max((len(row.note + row.numbers + row.short + row.long) for row in said), default=0)
    around = width + 2 + 2
    if around + BAR_WIDTH + long <= room:
        return BAR_WIDTH, True
    return max(BAR_WIDTH_MIN, min(BAR_WIDTH, room - around - short)), False


def make_table(*names: str, right: Sequence[int] = ()) -> Table:
    """A table without lines; the columns in `right` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, name in enumerate(names):
        table.add_column(name, justify="right" if index in right else "left", overflow="fold")
    return table
