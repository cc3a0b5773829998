"""What a replay must answer, computed from the CSV and the policy file alone: plain Python, one call after the other.

Nothing of the package is used here. Amounts are Decimal, time is datetime, a counter is an entry of a dict. It knows
what the policies of these tests use: metered features, account-level limits with their resets, trees of budgets with
scopes, cadences and zones. Instants may come in any order: a counter's period only moves forward.
"""

from __future__ import annotations

import calendar
import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ruamel.yaml import YAML

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LENGTHS = {"PTM": timedelta(minutes=1), "PTH": timedelta(hours=1), "PD": timedelta(days=1), "PW": timedelta(weeks=1)}
MONTHS = {"PM": 1, "PY": 12}
RESETS = {"HOUR": "PT1H", "DAY": "P1D", "WEEK": "P1W", "MONTH": "P1M", "YEAR": "P1Y"}

Name = tuple[str | None, tuple[str, ...]]
"""Entity and scope; (None, ()) is the account level."""


@dataclass(frozen=True)
class Asked:
    """One call: who asks for how much, and when."""

    row: int
    at: datetime
    customer: str
    dimensions: dict[str, str]
    amount: Decimal


@dataclass(frozen=True)
class Answer:
    """One verdict: every number after a grant, or as it stood at a refusal."""

    granted: bool
    binding: Name | None
    used: dict[Name, Decimal]
    starts: dict[Name, datetime]


@dataclass(frozen=True)
class Limit:
    """One limit as the file has it."""

    name: Name
    limit: Decimal | None
    is_soft: bool
    cadence: str | None
    anchor: datetime
    zone: str


class Reference:
    """A store of counters for one policy and one feature, set up at one instant."""

    def __init__(self, policy: Path | str, *, feature: str, created: datetime) -> None:
        text = policy.read_text(encoding="utf-8") if isinstance(policy, Path) else policy
        self.policy: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
        self.feature = feature
        self.created = created
        self.counters: dict[tuple[str, Name], tuple[datetime, Decimal]] = {}
        self.entities: dict[str, dict[str, dict[str, Any]]] = {}
        for customer, described in self.policy["customers"].items():
            self.entities[customer] = {}
            self._flatten(described.get("entities") or {}, None, self.entities[customer])

    def decide(self, asked: Asked) -> Answer:
        """Consume: all or nothing."""
        chains = [self._chain(asked.customer, leaf, asked) for leaf in self._resolve(asked)]
        account = self._account(asked.customer)
        distances: dict[Name, tuple[int, int, int]] = {account.name: (1, 0, 0)}
        limits: dict[Name, Limit] = {account.name: account}
        for order, chain in enumerate(chain for chain in chains if chain):
            for depth, limit in enumerate(chain):
                limits[limit.name] = limit
                distances[limit.name] = min(distances.get(limit.name, (1, 0, 0)), (0, depth, order))

        starts: dict[Name, datetime] = {}
        used: dict[Name, Decimal] = {}
        for name, limit in limits.items():
            starts[name], used[name] = self._standing(asked, limit)
        hard = {name: limit.limit for name, limit in limits.items() if limit.limit is not None and not limit.is_soft}
        granted = all(used[name] + asked.amount <= most for name, most in hard.items())
        if granted:
            used = {name: number + asked.amount for name, number in used.items()}
            for name in limits:
                self.counters[asked.customer, name] = (starts[name], used[name])
        binding = min(hard, key=lambda name: (hard[name] - used[name], distances[name]), default=None)
        return Answer(granted, binding, used, starts)

    def _standing(self, asked: Asked, limit: Limit) -> tuple[datetime, Decimal]:
        start = period_start(limit, asked.at)
        stored = self.counters.get((asked.customer, limit.name))
        if stored is None or stored[0] < start:
            return start, Decimal(0)
        return stored

    def _flatten(self, level: Mapping[str, Any], parent: str | None, found: dict[str, dict[str, Any]]) -> None:
        for id, described in level.items():
            found[str(id)] = {"parent": parent, **described}
            self._flatten(described.get("children") or {}, str(id), found)

    def _resolve(self, asked: Asked) -> list[str]:
        """The entities that the dimensions name, in the order of the dimensions."""
        found = []
        for key, value in asked.dimensions.items():
            kinds = [kind for kind, of in self.policy["entity_types"].items() if key in (of.get("keys") or ())]
            entity = self.entities[asked.customer].get(value)
            if entity is not None and entity["type"] in kinds:
                found.append(value)
        return found

    def _ancestors(self, customer: str, leaf: str) -> Iterator[str]:
        node: str | None = leaf
        while node is not None:
            yield node
            node = self.entities[customer][node]["parent"]

    def _chain(self, customer: str, leaf: str, asked: Asked) -> list[Limit]:
        present = {node for each in self._resolve(asked) for node in self._ancestors(customer, each)}
        chain = []
        for node in self._ancestors(customer, leaf):
            budgets = [
                (tuple(sorted(set(budget.get("scope") or ()))), budget)
                for budget in self.entities[customer][node].get("budgets") or ()
                if budget["feature"] == self.feature
            ]
            for scope, budget in sorted(budgets, key=lambda pair: pair[0]):
                if present.issuperset(scope):
                    zone = budget.get("zone", "UTC")
                    most = amount_or_none(budget["limit"])
                    chain.append(Limit((node, scope), most, False, budget["every"], self.created, zone))
        return chain

    def _account(self, customer: str) -> Limit:
        given = self.policy["customers"][customer]["entitlements"][self.feature]
        most, zone = amount_or_none(given["limit"]), given.get("zone", "UTC")
        anchor, according_to = self.created, given.get("according_to", "SubscriptionStart")
        midnight = anchor.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
        if according_to == "StartOfTheMonth":
            anchor = midnight.replace(day=1).astimezone(UTC)
        elif according_to != "SubscriptionStart":
            back = (midnight.weekday() - WEEKDAYS.index(according_to.removeprefix("Every"))) % 7
            anchor = (midnight - timedelta(days=back)).astimezone(UTC)
        cadence = RESETS[given["reset"]] if given.get("reset") else None
        return Limit((None, ()), most, bool(given.get("soft")), cadence, anchor, zone)


def period_start(limit: Limit, at: datetime) -> datetime:
    """The last boundary that is not after the instant."""
    if limit.cadence is None:
        return ALWAYS
    unit = "".join(letter for letter in limit.cadence if letter.isalpha())
    count = int("".join(letter for letter in limit.cadence if letter.isdigit()))
    if unit.startswith("PT"):
        length = LENGTHS[unit] * count
        return limit.anchor + (at - limit.anchor) // length * length
    number = 0
    while boundary(limit, unit, count * (number + 1)) <= at:
        number += 1
    while boundary(limit, unit, count * number) > at:
        number -= 1
    return boundary(limit, unit, count * number)


def boundary(limit: Limit, unit: str, steps: int) -> datetime:
    """The anchor and some days, weeks, months or years, on the zone's calendar, at the anchor's wall clock time."""
    anchor = limit.anchor.astimezone(ZoneInfo(limit.zone))
    if unit in LENGTHS:
        return (anchor + LENGTHS[unit] * steps).astimezone(UTC)
    month = anchor.year * 12 + anchor.month - 1 + MONTHS[unit] * steps
    year, month = month // 12, month % 12 + 1
    day = min(anchor.day, calendar.monthrange(year, month)[1])
    return anchor.replace(year=year, month=month, day=day).astimezone(UTC)


def amount_or_none(limit: object) -> Decimal | None:
    return None if limit == "unlimited" else Decimal(str(limit))


def instant_of(text: str) -> datetime:
    """A timestamp of a trace, cut to milliseconds; one without an offset is UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def draw(seed: int, row: int, what: str, items: list[Any]) -> Any:
    """The item of a list that a row draws."""
    number = int(hashlib.sha256(f"{seed}/{row}/{what}".encode()).hexdigest()[:16], 16)
    return items[number % len(items)]


def calls_of(trace: Path, policy: Path | str, *, feature: str, seed: int) -> list[Asked]:
    """Every row of a trace as a call, in the order of their instants: what a row does not say is drawn."""
    with trace.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = min(instant_of(row["TIMESTAMP"]) for row in rows)
    reference = Reference(policy, feature=feature, created=first)
    kinds = reference.policy["entity_types"]
    calls = []
    for number, row in enumerate(rows, start=1):
        entitled = sorted(
            customer
            for customer, described in reference.policy["customers"].items()
            if feature in (described.get("entitlements") or {})
        )
        customer = row.get("customer") or draw(seed, number, "customer", entitled)
        entities = reference.entities[customer]
        parents = {entity["parent"] for entity in entities.values()} - {None}
        in_tree = {id for id, entity in entities.items() if entity["parent"] or id in parents}
        known_keys = {key for kind in kinds.values() for key in kind.get("keys") or ()}
        said = {key: value for key, value in row.items() if key in known_keys and value}
        dimensions = dict(said)
        leaves = sorted(in_tree - parents)
        if leaves and not said.keys() & {key for id in in_tree for key in kinds[entities[id]["type"]]["keys"]}:
            leaf = draw(seed, number, "leaf", leaves)
            dimensions[kinds[entities[leaf]["type"]]["keys"][0]] = leaf
        for kind in sorted({entities[id]["type"] for id in entities.keys() - in_tree}):
            if not said.keys() & set(kinds[kind]["keys"]):
                alone = sorted(id for id in entities.keys() - in_tree if entities[id]["type"] == kind)
                dimensions[kinds[kind]["keys"][0]] = draw(seed, number, kind, alone)
        tokens = row.get("amount") or str(int(row["ContextTokens"]) + int(row["GeneratedTokens"]))
        calls.append(Asked(number, instant_of(row["TIMESTAMP"]), customer, dimensions, Decimal(tokens)))
    return sorted(calls, key=lambda call: call.at)


def replayed(calls: Iterable[Asked], reference: Reference) -> list[tuple[Asked, Answer]]:
    """Every call with its answer, in the order given."""
    return [(call, reference.decide(call)) for call in calls]
