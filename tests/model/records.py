"""What the reference model remembers: plain records, with no rule in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Counter:
    """A stored counter: the start of the period that it counts, and what was used in it."""

    start_ms: int
    used: Fraction


class Slot:
    """The place of one counter, and what is held there. It is itself under every copy of a configuration.

    `into` has what was ever counted, by the start of the period that it was counted in, since that last began.
    """

    __slots__ = ("counter", "held", "into")

    def __init__(self) -> None:
        self.counter: Counter | None = None
        self.held = Fraction(0)
        self.into: dict[int, Fraction] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Slot:
        return self

    @property
    def total(self) -> Fraction:
        """What a counter that is never reset stands at."""
        return self.counter.used if self.counter else Fraction(0)

    @total.setter
    def total(self, used: Fraction) -> None:
        self.counter = Counter(0, used)


def of_currency(currency: str) -> str:
    """What a currency is called where features stand beside it: no feature can have such an id."""
    return f"currency:{currency}"


# --- packages -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Terms:
    """What one source says of a feature. `limit` is the value of a feature that is not metered."""

    limit: Fraction | None
    is_soft: bool
    is_unlimited: bool
    enum_values: tuple[str, ...]
    reset_period: str | None
    according_to: str | None
    zone: str


@dataclass(frozen=True, slots=True)
class Rate:
    """What a unit of a feature costs."""

    currency: str
    amount: Fraction


@dataclass(frozen=True, slots=True)
class PackageTerms:
    """What a plan or an add-on says of a feature."""

    terms: Terms
    per_unit: bool
    overrides: bool
    rate: Rate | None


@dataclass(frozen=True, slots=True)
class Credit:
    """Credits that appear at the start of each month or year."""

    currency: str
    amount: Fraction
    cadence: str
    per_unit: bool
    is_soft: bool


@dataclass(frozen=True, slots=True)
class Package:
    """A plan or an add-on; `earlier` is what it gave until each of some instants."""

    id: str
    version: int
    written: Any
    entitlements: dict[str, PackageTerms]
    credits: tuple[Credit, ...]
    earlier: tuple[tuple[int, tuple[Credit, ...]], ...] = ()


# --- customers ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Entitlement:
    """What a customer was given of one feature directly."""

    terms: Terms
    anchor_ms: int | None
    expires_ms: int | None = None
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What of a subscription decides which credits it gives."""

    plan: str
    quantity: int = 1
    addons: tuple[tuple[str, int], ...] = ()
    credits: tuple[Credit, ...] = ()


@dataclass(slots=True)
class SubscriptionRecord:
    """A plan that applies for a time; `earlier` is what it was until each of some instants."""

    id: str
    resource: str | None
    content: Content
    start_ms: int
    anchor_ms: int
    billing_period: str | None = None
    entitlements: dict[str, Terms] = field(default_factory=dict)
    end_ms: int | None = None
    trial_end_ms: int | None = None
    ends_with_trial: bool = False
    is_canceled: bool = False
    earlier: tuple[tuple[int, Content], ...] = ()


@dataclass(slots=True)
class GrantRecord:
    """An amount of a currency: given, or one period of a recurring credit."""

    id: str
    kind: str
    priority: int
    amount: Fraction
    effective_ms: int
    expires_ms: int | None
    created_ms: int
    slot: Slot = field(default_factory=Slot)
    voided_ms: int | None = None
    said: Fraction | None = None
    subscription: str | None = None
    display_name: str = ""

    @property
    def left(self) -> Fraction:
        return self.amount - self.slot.total - self.slot.held


@dataclass(frozen=True, slots=True)
class Part:
    """What one reservation holds in one place, and the period that the counter was at; None where it has none."""

    slot: Slot
    held: Fraction
    start_ms: int | None = None
    is_paid_in: bool = False


@dataclass(slots=True)
class HoldRecord:
    """A reservation: what was asked for, where it is held, and what became of it. `rate` is what a unit cost then.

    `from_ms` is when its record may be dropped at the earliest, `gone_ms` when the next sweep drops it.
    """

    id: str
    request: tuple[Any, ...]
    feature: str | None
    currency: str | None
    resource: str | None
    amount: Fraction
    rate: Fraction | None
    reserved_ms: int
    expires_ms: int
    metadata: dict[str, str]
    counters: list[Part] = field(default_factory=list)
    grants: list[Part] = field(default_factory=list)
    overdraft: Slot | None = None
    is_held: bool = True
    status: str = "OPEN"
    settled: Fraction = Fraction(0)
    ended_ms: int | None = None
    from_ms: int | None = None
    gone_ms: int | None = None

    @property
    def parts(self) -> list[Part]:
        return [*self.counters, *self.grants]


@dataclass(slots=True)
class Assignment:
    """A budget; its key is in `EntityRecord.assignments`. The anchor of its periods never changes."""

    limit: Fraction | None
    cadence: str
    zone: str
    created_at_ms: int
    slot: Slot = field(default_factory=Slot)


@dataclass(slots=True)
class EntityRecord:
    """One governed thing, its single parent, and its budgets by (capability, scope)."""

    id: str
    type: str
    parent: str | None = None
    is_archived: bool = False
    assignments: dict[tuple[str, tuple[str, ...]], Assignment] = field(default_factory=dict)

    def budgets(self, capability: str) -> dict[tuple[str, ...], Assignment]:
        return {scope: each for (of, scope), each in self.assignments.items() if of == capability}


@dataclass(slots=True)
class CustomerRecord:
    """One customer with everything that is theirs. What is kept for a resource has its id in the key, or None."""

    is_archived: bool = False
    resources: set[str] = field(default_factory=set)
    entitlements: dict[str, Entitlement] = field(default_factory=dict)
    subscriptions: dict[tuple[str | None, str], SubscriptionRecord] = field(default_factory=dict)
    grants: dict[tuple[str, str | None], dict[str, GrantRecord]] = field(default_factory=dict)
    entities: dict[str, EntityRecord] = field(default_factory=dict)
    account: dict[tuple[str, str | None], Slot] = field(default_factory=dict)
    overdrafts: dict[tuple[str, str | None], Slot] = field(default_factory=dict)
    recurring: dict[tuple[str | None, str, str, str, int], Slot] = field(default_factory=dict)
    holds: dict[str, HoldRecord] = field(default_factory=dict)
