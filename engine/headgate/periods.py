"""Say which period of a limit an instant lies in: the only calendar arithmetic there is.

What it promises, for every cadence, anchor, zone and instant within the years 1 to 9999:

- the periods of a schedule follow each other without gap or overlap, and none is empty;
- a period contains its instant, and the same instant always gives the same period;
- boundary n is the anchor and n steps, for any whole n, computed from the anchor and never from the boundary before:
  a monthly anchor on the 31st gives 28 February and then 31 March.

Minutes and hours are elapsed time. Days, weeks, months and years are steps on the calendar of the schedule's zone that
keep the anchor's wall clock time, so they go right across changes of the clocks:

- a wall time that a day does not have (clocks go forward) moves forward by as much as the clocks did;
- a wall time that a day has twice (clocks go back) is the first of the two; the anchor itself is always a boundary,
  also where it is the second;
- a boundary on a day that a zone left out (Samoa had no 30 December 2011) falls together with the next day's, and the
  period between the two is skipped.

Everything here is a whole number of milliseconds since 1970-01-01T00:00:00Z, and pure: no clock is read. Every wrong
value is a ValueError that names the value and the rule. All instances that share a store need the same zone rules.
"""

import re
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

_Choice = TypeVar("_Choice", bound=StrEnum)

FOREVER_START_MS = 0
FOREVER_END_MS = 2**53 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_WALL = _EPOCH.replace(tzinfo=None)
_MILLISECOND = timedelta(milliseconds=1)
_INSTANT_MIN_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_INSTANT_MAX_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND

# A guess made on wall clock time is at most one boundary off, since no zone ever moved its clocks by more than a day.
_CORRECTIONS_MAX = 3
# A midnight that clocks skip comes at most once a year, so one of a few in a row exists.
_MIDNIGHTS_TRIED_MAX = 8


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open span of time in epoch milliseconds: the start is inside, the end is not."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        assert self.start_ms < self.end_ms, self

    @property
    def length_ms(self) -> int:
        """How long the period lasts, in elapsed milliseconds."""
        return self.end_ms - self.start_ms

    def contains(self, instant_ms: int) -> bool:
        """Whether the instant lies in the period."""
        return self.start_ms <= instant_ms < self.end_ms


ALWAYS = Period(FOREVER_START_MS, FOREVER_END_MS)
"""The one period of a limit that is never reset."""


class CadenceUnit(StrEnum):
    """The units that a cadence can be counted in."""

    MINUTE = "MINUTE"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


_ELAPSED_MS = {CadenceUnit.MINUTE: 60_000, CadenceUnit.HOUR: 3_600_000}
_UTC_DAY_MS = 86_400_000
_CALENDAR_DAYS = {CadenceUnit.DAY: 1, CadenceUnit.WEEK: 7}
_CALENDAR_MONTHS = {CadenceUnit.MONTH: 1, CadenceUnit.YEAR: 12}

# What fits in 100 years of 365 days, or 5,200 weeks.
_COUNT_MAX = {
    CadenceUnit.MINUTE: 52_560_000,
    CadenceUnit.HOUR: 876_000,
    CadenceUnit.DAY: 36_500,
    CadenceUnit.WEEK: 5_200,
    CadenceUnit.MONTH: 1_200,
    CadenceUnit.YEAR: 100,
}
_SPELLINGS = {
    CadenceUnit.MINUTE: ("PT", "M"),
    CadenceUnit.HOUR: ("PT", "H"),
    CadenceUnit.DAY: ("P", "D"),
    CadenceUnit.WEEK: ("P", "W"),
    CadenceUnit.MONTH: ("P", "M"),
    CadenceUnit.YEAR: ("P", "Y"),
}
_UNITS = {spelling: unit for unit, spelling in _SPELLINGS.items()}
_DURATION = re.compile(r"(PT?)([0-9]+)([A-Z])")
_CADENCE_RULE = "write P or PT, one whole number and one unit, such as PT10M, PT1H, P1D, P1W, P1M or P1Y"


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often a budget starts again: a count of one unit, written as an ISO-8601 duration such as `PT10M` or `P1M`.

    `P7D` and `P1W` are two cadences, as are `PT60M` and `PT1H`. Raises ValueError for a count below 1 or beyond 100
    years.
    """

    count: int
    unit: CadenceUnit

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"cadence: {self} is too short: the count is at least 1")
        if self.count > _COUNT_MAX[self.unit]:
            longest = Cadence(_COUNT_MAX[self.unit], self.unit)
            raise ValueError(f"cadence: {self} is too long: the longest in this unit is {longest}, a hundred years")

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read an ISO-8601 duration of one unit: minutes, hours, days, weeks, months or years."""
        written = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if written is None:
            raise ValueError(f"cadence: {_shown(text)} is not a cadence: {_CADENCE_RULE}")
        prefix, digits, letter = written.groups()
        if (prefix, letter) == ("PT", "S"):
            raise ValueError(f"cadence: {_shown(text)} counts seconds, which are not offered: {_CADENCE_RULE}")
        unit = _UNITS.get((prefix, letter))
        if unit is None:
            raise ValueError(f"cadence: {_shown(text)} is not a cadence: {_CADENCE_RULE}")
        significant = digits.lstrip("0")
        if len(significant) > len(str(_COUNT_MAX[unit])):
            raise ValueError(f"cadence: {_shown(text)} is too long: no cadence is longer than a hundred years")
        return cls(int(significant or "0"), unit)

    def __str__(self) -> str:
        prefix, letter = _SPELLINGS[self.unit]
        return f"{prefix}{self.count}{letter}"


class ResetPeriod(StrEnum):
    """How often an account-level limit starts again."""

    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"


class WeeklyReset(StrEnum):
    """Where the weeks of an account-level limit begin."""

    SUBSCRIPTION_START = "SubscriptionStart"
    EVERY_SUNDAY = "EverySunday"
    EVERY_MONDAY = "EveryMonday"
    EVERY_TUESDAY = "EveryTuesday"
    EVERY_WEDNESDAY = "EveryWednesday"
    EVERY_THURSDAY = "EveryThursday"
    EVERY_FRIDAY = "EveryFriday"
    EVERY_SATURDAY = "EverySaturday"


class MonthlyReset(StrEnum):
    """Where the months of an account-level limit begin."""

    SUBSCRIPTION_START = "SubscriptionStart"
    START_OF_THE_MONTH = "StartOfTheMonth"


class YearlyReset(StrEnum):
    """Where the years of an account-level limit begin."""

    SUBSCRIPTION_START = "SubscriptionStart"


@dataclass(frozen=True, slots=True)
class Schedule:
    """All periods of one limit: a cadence, counted from an anchor, on the calendar of a zone.

    `anchor_ms` is a boundary. `zone` is an IANA name; it decides about days and longer units only. Raises ValueError
    for an anchor outside the years 1 to 9999 and for a zone that this machine does not know.
    """

    cadence: Cadence
    anchor_ms: int
    zone: str = "UTC"
    _tzinfo: tzinfo = field(init=False, repr=False, compare=False)
    _anchor_wall: datetime = field(init=False, repr=False, compare=False)
    _step_ms: int = field(init=False, repr=False, compare=False)
    _step_days: int = field(init=False, repr=False, compare=False)
    _step_months: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count, unit = self.cadence.count, self.cadence.unit
        zone_rules = _zone_rules(self.zone)
        object.__setattr__(self, "_tzinfo", zone_rules)
        object.__setattr__(self, "_anchor_wall", _wall_at(self.anchor_ms, zone_rules, name="anchor"))
        days = _CALENDAR_DAYS.get(unit, 0)
        # Clocks in UTC never change, so its days are elapsed time too, which is quicker to divide.
        elapsed_ms = days * _UTC_DAY_MS if zone_rules is UTC else 0
        object.__setattr__(self, "_step_ms", count * _ELAPSED_MS.get(unit, elapsed_ms))
        object.__setattr__(self, "_step_days", count * days)
        object.__setattr__(self, "_step_months", count * _CALENDAR_MONTHS.get(unit, 0))

    def period_at(self, instant_ms: int) -> Period:
        """Give the period that contains the instant; ValueError where it does not lie within the years 1 to 9999."""
        return self._locate(instant_ms)[1]

    def ordinal_at(self, instant_ms: int) -> int:
        """Give the number of the period that contains the instant: 0 starts at the anchor, -1 ends there."""
        return self._locate(instant_ms)[0]

    def boundary_ms(self, ordinal: int) -> int:
        """Give the instant of the anchor and `ordinal` steps, where period `ordinal` starts if the zone has that day.

        Boundaries never go back as ordinals go up; two are equal only around a day that the zone left out.
        """
        if ordinal == 0:
            return self.anchor_ms
        if self._step_ms:
            boundary_ms = self.anchor_ms + ordinal * self._step_ms
            if not _INSTANT_MIN_MS <= boundary_ms <= _INSTANT_MAX_MS:
                raise self._beyond_the_calendar(ordinal)
            return boundary_ms
        try:
            if self._step_days:
                wall = self._anchor_wall + timedelta(days=ordinal * self._step_days)
            else:
                wall = _months_later(self._anchor_wall, ordinal * self._step_months)
        except (OverflowError, ValueError):
            raise self._beyond_the_calendar(ordinal) from None
        return _instant_ms(wall, self._tzinfo)

    def _locate(self, instant_ms: int) -> tuple[int, Period]:
        ordinal = self._guess(instant_ms)
        start_ms = self.boundary_ms(ordinal)
        end_ms = start_ms
        for _ in range(_CORRECTIONS_MAX):
            if start_ms <= instant_ms:
                break
            ordinal, end_ms = ordinal - 1, start_ms
            start_ms = self.boundary_ms(ordinal)
        for _ in range(_CORRECTIONS_MAX):
            if end_ms > instant_ms:
                break
            next_ms = self.boundary_ms(ordinal + 1)
            if next_ms > instant_ms:
                end_ms = next_ms
            else:
                ordinal, start_ms = ordinal + 1, next_ms
        assert start_ms <= instant_ms < end_ms, (self, instant_ms)
        return ordinal, Period(start_ms, end_ms)

    def _guess(self, instant_ms: int) -> int:
        """Divide, as if clocks never changed; the caller corrects."""
        if self._step_ms:
            return (instant_ms - self.anchor_ms) // self._step_ms
        wall = _wall_at(instant_ms, self._tzinfo, name="instant")
        if self._step_days:
            return (wall - self._anchor_wall) // timedelta(days=self._step_days)
        months = (wall.year - self._anchor_wall.year) * 12 + wall.month - self._anchor_wall.month
        return months // self._step_months

    def _beyond_the_calendar(self, ordinal: int) -> ValueError:
        return ValueError(
            f"period: number {ordinal} of {self.cadence} from {self.anchor_ms} ms in {self.zone} begins outside the "
            "years 1 to 9999, and no calendar goes further"
        )


def reset_schedule(
    reset_period: ResetPeriod | str,
    *,
    anchor_ms: int,
    according_to: WeeklyReset | MonthlyReset | YearlyReset | str | None = None,
    zone: str = "UTC",
) -> Schedule:
    """Turn the reset of an account-level limit into its schedule; `anchor_ms` is when the subscription started.

    `according_to` says where weeks and months begin, and is the subscription's start if it is not given. For a named
    weekday and for the start of the month, periods begin at midnight in the zone (where clocks skip that midnight: when
    the day begins), and the schedule's anchor is the last such midnight that is not after the subscription's start.
    Raises ValueError for a reset period, an `according_to` that does not go with it, or a zone that is not known.
    """
    period = _member(ResetPeriod, reset_period, name="reset_period", rule="")
    cadence = Cadence(1, CadenceUnit[period.name])
    if period in (ResetPeriod.HOUR, ResetPeriod.DAY):
        if according_to is not None:
            raise ValueError(f"according_to: {_shown(according_to)} does not go with {period}, which takes none")
        return Schedule(cadence, anchor_ms, zone)
    choices = {ResetPeriod.WEEK: WeeklyReset, ResetPeriod.MONTH: MonthlyReset, ResetPeriod.YEAR: YearlyReset}[period]
    start = "SubscriptionStart" if according_to is None else according_to
    chosen = _member(choices, start, name="according_to", rule=f" with {period}")
    if chosen == "SubscriptionStart":
        return Schedule(cadence, anchor_ms, zone)
    return Schedule(cadence, _last_midnight_ms(chosen, anchor_ms, _zone_rules(zone)), zone)


def _last_midnight_ms(chosen: StrEnum, anchor_ms: int, zone_rules: tzinfo) -> int:
    """Find the last midnight of the weekday or of a month's first day that exists and is not after the anchor."""
    anchor = _wall_at(anchor_ms, zone_rules, name="anchor")
    today = anchor.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        for steps_back in range(_MIDNIGHTS_TRIED_MAX):
            if isinstance(chosen, WeeklyReset):
                sunday_first = list(WeeklyReset).index(chosen) - 1
                days_since = (today.isoweekday() - sunday_first) % 7
                midnight = today - timedelta(days=days_since + 7 * steps_back)
            else:
                midnight = _months_later(today.replace(day=1), -steps_back)
            midnight_ms = _instant_ms(midnight, zone_rules)
            if midnight_ms <= anchor_ms and _wall_at(midnight_ms, zone_rules, name="anchor") == midnight:
                return midnight_ms
    except (OverflowError, ValueError):
        pass
    raise ValueError(f"anchor: {anchor_ms} ms is too early: no midnight for {chosen} lies before it on the calendar")


def _zone_rules(zone: str) -> tzinfo:
    """Look the zone up; UTC needs no database."""
    if zone == "UTC":
        return UTC
    # These differ from machine to machine, or count leap seconds, or are no zones of IANA's at all.
    if isinstance(zone, str) and zone not in ("", "localtime") and not zone.startswith(("posix", "right/")):
        try:
            return ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            if not available_timezones():
                raise ValueError(
                    f"zone: {_shown(zone)} can't be looked up: this machine has no time zone database; "
                    "install the package tzdata"
                ) from None
    raise ValueError(f"zone: {_shown(zone)} is not a time zone known here: name one of IANA's, such as Europe/Berlin")


def _wall_at(instant_ms: int, zone_rules: tzinfo, *, name: str) -> datetime:
    """Read the clocks of the zone at the instant; the result carries no zone."""
    if _INSTANT_MIN_MS <= instant_ms <= _INSTANT_MAX_MS:
        try:
            return (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone_rules).replace(tzinfo=None, fold=0)
        except OverflowError:
            pass
    raise ValueError(f"{name}: {instant_ms} ms is outside the years 1 to 9999, and no calendar goes further")


def _instant_ms(wall: datetime, zone_rules: tzinfo) -> int:
    """Say when the clocks of the zone show this: the first time if twice, and as much later as they skip if never."""
    offset = wall.replace(tzinfo=zone_rules).utcoffset()
    assert offset is not None, zone_rules
    return (wall - _EPOCH_WALL - offset) // _MILLISECOND


def _months_later(wall: datetime, months: int) -> datetime:
    """Step by months, or back; a day that the month does not have becomes its last. Raises as datetime does."""
    year, month_before = divmod(wall.year * 12 + wall.month - 1 + months, 12)
    day = wall.day if wall.day <= 28 else min(wall.day, monthrange(year, month_before + 1)[1])
    return wall.replace(year=year, month=month_before + 1, day=day)


def _member(choices: type[_Choice], value: object, *, name: str, rule: str) -> _Choice:
    for choice in choices:
        if value == choice.value:
            return choice
    known = ", ".join(choices)
    raise ValueError(f"{name}: {_shown(value)} is not known{rule}: it is one of {known}")


def _shown(value: object) -> str:
    """Quote a value in an error: text as it was written, cut where it is long; of anything else the type."""
    if not isinstance(value, str):
        return f"a value of type {type(value).__name__}"
    return repr(str(value)) if len(value) <= 80 else f"{value[:76]!r}…"
