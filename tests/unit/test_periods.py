"""The laws of periods, tables of calendar days that go wrong elsewhere, and an oracle that walks from the anchor."""

import pickle
import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headgate.periods import (
    ALWAYS,
    FOREVER_END_MS,
    FOREVER_START_MS,
    Cadence,
    CadenceUnit,
    MonthlyReset,
    Period,
    ResetPeriod,
    Schedule,
    WeeklyReset,
    reset_schedule,
)

ZONES = [
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Pacific/Kwajalein",
]
# A busy machine may take its time over one example.
law = settings(deadline=None)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    """Read '2024-03-10 01:30' on the clocks of a zone, as epoch milliseconds."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return (moment - EPOCH) // timedelta(milliseconds=1)


def wall(instant_ms: int, zone: str = "UTC") -> str:
    """Show an instant on the clocks of a zone, to the second."""
    return f"{(EPOCH + timedelta(milliseconds=instant_ms)).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"


def offset_at(instant_ms: int, zone: str) -> timedelta:
    offset = (EPOCH + timedelta(milliseconds=instant_ms)).astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return offset


@cache
def changes_of(zone: str) -> list[int]:
    """Days, as instants, on which the clocks of a zone changed: those of 40 years and the odd ones long ago."""
    days = [instant("1892-07-01") + day * DAY_MS for day in range(10)]
    days += [instant("1990-01-01") + day * DAY_MS for day in range(40 * 365)]
    return [day for day in days if offset_at(day, zone) != offset_at(day + DAY_MS, zone)] or [0]


cadences = st.builds(
    Cadence,
    st.just(1) | st.integers(1, 100),
    st.sampled_from(CadenceUnit),
)
plain_instants = st.integers(instant("1880-01-01"), instant("2120-01-01"))


@st.composite
def schedules_and_instants(draw: st.DrawFn) -> tuple[Schedule, int]:
    zone = draw(st.sampled_from(ZONES))
    near_changes = st.builds(
        lambda change, shift: change + shift,
        st.sampled_from(changes_of(zone)),
        st.integers(-2 * DAY_MS, 3 * DAY_MS) | st.integers(-100, 150).map(lambda halves: halves * HOUR_MS // 2),
    )
    anywhere = near_changes | plain_instants
    return Schedule(draw(cadences), draw(anywhere), zone), draw(anywhere)


def later(anchor: datetime, cadence: Cadence, steps: int) -> datetime:
    """Step a wall time on the calendar, as a person with a calendar would."""
    if cadence.unit in (CadenceUnit.DAY, CadenceUnit.WEEK):
        days_of_unit = 1 if cadence.unit is CadenceUnit.DAY else 7
        return anchor + timedelta(days=cadence.count * days_of_unit * steps)
    months_of_unit = 1 if cadence.unit is CadenceUnit.MONTH else 12
    years, month_before = divmod(anchor.month - 1 + cadence.count * months_of_unit * steps, 12)
    for day in range(anchor.day, anchor.day - 4, -1):
        try:
            return anchor.replace(year=anchor.year + years, month=month_before + 1, day=day)
        except ValueError:
            continue
    raise AssertionError(anchor, cadence, steps)


def when_clocks_show(wall_time: datetime, zone: str) -> int:
    """Try the offsets before and after: the earliest instant that fits, else what clocks not yet changed would say.

    Enough because no zone here changes its clocks twice in four days.
    """
    as_utc = (wall_time.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
    before, after = offset_at(as_utc - 50 * HOUR_MS, zone), offset_at(as_utc + 50 * HOUR_MS, zone)
    tried = {offset: as_utc - offset // timedelta(milliseconds=1) for offset in (before, after)}
    fitting = [guess for offset, guess in tried.items() if offset_at(guess, zone) == offset]
    return min(fitting, default=tried[before])


def walked_boundaries(schedule: Schedule, instant_ms: int) -> list[int]:
    """Walk from the anchor past the instant with datetime's own arithmetic; give the boundaries next to the instant."""
    zone = ZoneInfo(schedule.zone)
    anchor = (EPOCH + timedelta(milliseconds=schedule.anchor_ms)).astimezone(zone).replace(tzinfo=None, fold=0)
    now = (EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone).replace(tzinfo=None, fold=0)
    direction = 1 if now >= anchor else -1
    walls = {step: later(anchor, schedule.cadence, step) for step in range(-3, 4)}
    step = 0
    while abs(walls[step] - anchor) <= abs(now - anchor):
        step += direction
        walls[step + 3 * direction] = later(anchor, schedule.cadence, step + 3 * direction)
    nearest = sorted(walls, key=lambda step: abs(walls[step] - now))[:6]
    return [when_clocks_show(walls[step], schedule.zone) if step else schedule.anchor_ms for step in nearest]


# --- laws -----------------------------------------------------------------------------------------------------------


@law
@given(schedules_and_instants())
def test_a_period_contains_its_instant_and_is_not_empty(case: tuple[Schedule, int]) -> None:
    schedule, instant_ms = case
    period = schedule.period_at(instant_ms)
    assert period.start_ms <= instant_ms < period.end_ms
    assert period.contains(instant_ms)
    assert period.length_ms == period.end_ms - period.start_ms > 0


@law
@given(schedules_and_instants())
def test_periods_follow_each_other_without_gap_or_overlap(case: tuple[Schedule, int]) -> None:
    schedule, instant_ms = case
    period = schedule.period_at(instant_ms)
    following, preceding = schedule.period_at(period.end_ms), schedule.period_at(period.start_ms - 1)
    assert following.start_ms == period.end_ms
    assert preceding.end_ms == period.start_ms


@law
@given(schedules_and_instants(), st.floats(0, 1))
def test_every_instant_of_a_period_gives_that_period(case: tuple[Schedule, int], where: float) -> None:
    schedule, instant_ms = case
    period = schedule.period_at(instant_ms)
    inside_ms = min(period.start_ms + int(period.length_ms * where), period.end_ms - 1)
    twin = Schedule(schedule.cadence, schedule.anchor_ms, schedule.zone)
    for same_ms in (inside_ms, period.start_ms, period.end_ms - 1, instant_ms):
        assert twin.period_at(same_ms) == period
        assert twin.ordinal_at(same_ms) == schedule.ordinal_at(instant_ms)


@law
@given(schedules_and_instants())
def test_the_anchor_begins_period_zero(case: tuple[Schedule, int]) -> None:
    schedule, _ = case
    assert schedule.period_at(schedule.anchor_ms).start_ms == schedule.anchor_ms
    assert schedule.ordinal_at(schedule.anchor_ms) == 0
    assert schedule.period_at(schedule.anchor_ms - 1).end_ms == schedule.anchor_ms
    assert schedule.ordinal_at(schedule.anchor_ms - 1) < 0


@law
@given(schedules_and_instants())
def test_a_period_lies_between_its_own_boundary_and_the_next(case: tuple[Schedule, int]) -> None:
    schedule, instant_ms = case
    ordinal, period = schedule.ordinal_at(instant_ms), schedule.period_at(instant_ms)
    assert (schedule.boundary_ms(ordinal), schedule.boundary_ms(ordinal + 1)) == (period.start_ms, period.end_ms)
    assert schedule.boundary_ms(ordinal - 1) <= period.start_ms
    assert schedule.boundary_ms(ordinal + 2) >= period.end_ms


@law
@given(schedules_and_instants())
def test_minutes_and_hours_are_elapsed_time_in_every_zone(case: tuple[Schedule, int]) -> None:
    schedule, instant_ms = case
    unit_ms = {CadenceUnit.MINUTE: 60_000, CadenceUnit.HOUR: HOUR_MS}.get(schedule.cadence.unit)
    assume(unit_ms is not None)
    period = schedule.period_at(instant_ms)
    assert period.length_ms == schedule.cadence.count * (unit_ms or 0)
    assert (period.start_ms - schedule.anchor_ms) % period.length_ms == 0


@law
@given(schedules_and_instants())
def test_calendar_periods_are_those_of_a_walk_from_the_anchor(case: tuple[Schedule, int]) -> None:
    schedule, instant_ms = case
    assume(schedule.cadence.unit not in (CadenceUnit.MINUTE, CadenceUnit.HOUR))
    boundaries = walked_boundaries(schedule, instant_ms)
    assert schedule.period_at(instant_ms) == Period(
        max(boundary for boundary in boundaries if boundary <= instant_ms),
        min(boundary for boundary in boundaries if boundary > instant_ms),
    )


@law
@given(st.sampled_from(ZONES), plain_instants, plain_instants, st.sampled_from(list(WeeklyReset)[1:]))
@example("Pacific/Apia", instant("2011-12-31"), instant("2011-12-30 09:59:59"), WeeklyReset.EVERY_FRIDAY)
def test_a_named_weekday_begins_its_weeks_whenever_the_subscription_started(
    zone: str, anchor_ms: int, instant_ms: int, weekday: WeeklyReset
) -> None:
    schedule = reset_schedule("WEEK", anchor_ms=anchor_ms, according_to=weekday, zone=zone)
    period = schedule.period_at(instant_ms)
    assert period == reset_schedule("WEEK", anchor_ms=0, according_to=weekday, zone=zone).period_at(instant_ms)
    assert schedule.anchor_ms <= anchor_ms
    today = datetime.fromisoformat(wall(instant_ms, zone)).replace(hour=0, minute=0, second=0)
    days = [today + timedelta(days=shift) for shift in range(-9, 10)]
    midnights = [when_clocks_show(day, zone) for day in days if f"{day:Every%A}" == weekday]
    assert period.start_ms == max(midnight for midnight in midnights if midnight <= instant_ms)
    assert period.end_ms == min(midnight for midnight in midnights if midnight > instant_ms)


@law
@given(st.sampled_from(ZONES), plain_instants, plain_instants)
def test_the_start_of_the_month_begins_months_whenever_the_subscription_started(
    zone: str, anchor_ms: int, instant_ms: int
) -> None:
    schedule = reset_schedule("MONTH", anchor_ms=anchor_ms, according_to="StartOfTheMonth", zone=zone)
    period = schedule.period_at(instant_ms)
    assert period == reset_schedule("MONTH", anchor_ms=0, according_to="StartOfTheMonth", zone=zone).period_at(
        instant_ms
    )
    assert wall(period.start_ms, zone)[8:10] == "01"
    assert wall(period.start_ms, zone)[:7] == wall(instant_ms, zone)[:7] == wall(period.end_ms - 1, zone)[:7]
    assert wall(period.start_ms - 1, zone)[:7] < wall(period.start_ms, zone)[:7]
    assert schedule.anchor_ms <= anchor_ms


# --- tables ---------------------------------------------------------------------------------------------------------

CALENDAR_TABLE = [
    # cadence, zone, anchor, instant, start, end (all on the zone's clocks)
    ("P1M", "UTC", "2024-01-31 08:15", "2024-02-29 08:14", "2024-01-31 08:15", "2024-02-29 08:15"),
    ("P1M", "UTC", "2024-01-31 08:15", "2024-02-29 08:15", "2024-02-29 08:15", "2024-03-31 08:15"),
    ("P1M", "UTC", "2023-01-31", "2023-03-01", "2023-02-28", "2023-03-31"),
    ("P1M", "UTC", "2023-01-31", "2023-04-30", "2023-04-30", "2023-05-31"),
    ("P1M", "UTC", "2023-01-30", "2023-03-29", "2023-02-28", "2023-03-30"),
    ("P1M", "UTC", "2023-01-29", "2023-02-28", "2023-02-28", "2023-03-29"),
    ("P1M", "UTC", "2024-01-29", "2024-02-29", "2024-02-29", "2024-03-29"),
    ("P1M", "UTC", "2024-03-31", "2024-02-29", "2024-02-29", "2024-03-31"),
    ("P1M", "UTC", "2024-03-31", "2023-12-31", "2023-12-31", "2024-01-31"),
    ("P3M", "UTC", "2023-11-30", "2024-02-29", "2024-02-29", "2024-05-30"),
    ("P1Y", "UTC", "2024-02-29", "2025-02-28", "2025-02-28", "2026-02-28"),
    ("P1Y", "UTC", "2024-02-29", "2025-02-27", "2024-02-29", "2025-02-28"),
    ("P1Y", "UTC", "2024-02-29", "2028-02-28", "2027-02-28", "2028-02-29"),
    ("P1Y", "UTC", "2024-02-29", "2028-02-29", "2028-02-29", "2029-02-28"),
    ("P1Y", "UTC", "2024-02-29", "2023-02-28", "2023-02-28", "2024-02-29"),
    ("P1Y", "UTC", "2096-02-29", "2100-12-31", "2100-02-28", "2101-02-28"),
    ("P30D", "UTC", "2024-01-15", "2024-02-29", "2024-02-14", "2024-03-15"),
    ("P1W", "UTC", "2024-01-03", "2023-12-31", "2023-12-27", "2024-01-03"),
    # clocks go forward on 10 March 2024 and back on 3 November in New York
    ("P1D", "America/New_York", "2024-03-01", "2024-03-10 12:00", "2024-03-10", "2024-03-11"),
    ("P1D", "America/New_York", "2024-03-01 02:30", "2024-03-10 03:29", "2024-03-09 02:30", "2024-03-10 03:30"),
    ("P1D", "America/New_York", "2024-03-01 02:30", "2024-03-10 03:30", "2024-03-10 03:30", "2024-03-11 02:30"),
    ("P1D", "America/New_York", "2024-03-01 02:30", "2024-03-11 02:30", "2024-03-11 02:30", "2024-03-12 02:30"),
    ("P1D", "America/New_York", "2024-10-01 01:30", "2024-11-03 01:30", "2024-11-03 01:30", "2024-11-04 01:30"),
    ("P1M", "America/New_York", "2024-01-10 02:30", "2024-03-20", "2024-03-10 03:30", "2024-04-10 02:30"),
    ("P1W", "Europe/Berlin", "2024-03-04 09:00", "2024-04-01 08:59", "2024-03-25 09:00", "2024-04-01 09:00"),
    # half an hour of daylight saving, and a zone a quarter of an hour off
    ("P1D", "Australia/Lord_Howe", "2024-10-01 02:15", "2024-10-06 12:00", "2024-10-06 02:45", "2024-10-07 02:15"),
    ("P1D", "Asia/Kathmandu", "2024-01-01", "2024-06-01 00:00", "2024-06-01", "2024-06-02"),
    # midnight does not exist on the day clocks go forward
    ("P1D", "America/Sao_Paulo", "2018-11-01", "2018-11-04 05:00", "2018-11-04 01:00", "2018-11-05 00:00"),
    # Samoa had no 30 December 2011
    ("P1D", "Pacific/Apia", "2011-12-01 08:00", "2011-12-29 12:00", "2011-12-29 08:00", "2011-12-31 08:00"),
    ("P1D", "Pacific/Apia", "2011-12-01 08:00", "2011-12-31 08:00", "2011-12-31 08:00", "2012-01-01 08:00"),
]


@pytest.mark.parametrize(("cadence", "zone", "anchor", "now", "start", "end"), CALENDAR_TABLE)
def test_calendar_days_come_out_as_a_person_reads_them(
    cadence: str, zone: str, anchor: str, now: str, start: str, end: str
) -> None:
    period = Schedule(Cadence.parse(cadence), instant(anchor, zone), zone).period_at(instant(now, zone))
    assert (wall(period.start_ms, zone), wall(period.end_ms, zone)) == (
        f"{datetime.fromisoformat(start)}",
        f"{datetime.fromisoformat(end)}",
    )


@pytest.mark.parametrize(("day", "hours"), [("2024-03-10", 23), ("2024-11-03", 25), ("2024-06-01", 24)])
def test_a_day_is_as_long_as_its_clocks_make_it(day: str, hours: int) -> None:
    schedule = Schedule(Cadence.parse("P1D"), instant("2024-01-01", "America/New_York"), "America/New_York")
    assert schedule.period_at(instant(f"{day} 12:00", "America/New_York")).length_ms == hours * HOUR_MS


def test_a_wall_time_that_comes_twice_begins_its_period_the_first_time() -> None:
    zone = "America/New_York"
    schedule = Schedule(Cadence.parse("P1D"), instant("2024-10-01 01:30", zone), zone)
    first_ms, second_ms = instant("2024-11-03 01:30", zone), instant("2024-11-03 01:30", zone, fold=1)
    assert second_ms - first_ms == HOUR_MS
    assert schedule.period_at(second_ms).start_ms == first_ms
    assert schedule.period_at(instant("2024-11-03 01:00", zone, fold=1)).start_ms == first_ms


def test_an_anchor_in_the_second_of_two_equal_hours_is_still_a_boundary() -> None:
    zone = "America/New_York"
    anchor_ms = instant("2024-11-03 01:30", zone, fold=1)
    schedule = Schedule(Cadence.parse("P1D"), anchor_ms, zone)
    assert schedule.period_at(anchor_ms) == Period(anchor_ms, instant("2024-11-04 01:30", zone))
    assert schedule.period_at(anchor_ms - 1) == Period(instant("2024-11-02 01:30", zone), anchor_ms)


def test_a_day_that_a_zone_left_out_has_no_period() -> None:
    schedule = Schedule(Cadence.parse("P1D"), instant("2011-12-01 08:00", "Pacific/Apia"), "Pacific/Apia")
    assert schedule.ordinal_at(instant("2011-12-31 07:59", "Pacific/Apia")) == 28
    assert schedule.ordinal_at(instant("2011-12-31 08:00", "Pacific/Apia")) == 30
    assert schedule.boundary_ms(29) == schedule.boundary_ms(30)


def test_milliseconds_of_the_anchor_are_kept() -> None:
    anchor_ms = instant("2024-01-31 10:00:00.123")
    for text in ("PT1M", "PT10M", "PT1H", "P1D", "P1W", "P1M", "P1Y", "P30D"):
        period = Schedule(Cadence.parse(text), anchor_ms, "Europe/Berlin").period_at(instant("2031-07-07 07:07"))
        assert period.start_ms % 1000 == period.end_ms % 1000 == 123, text


def test_ten_minutes_are_counted_from_the_anchor_and_not_from_the_hour() -> None:
    schedule = Schedule(Cadence.parse("PT10M"), instant("2024-01-01 00:03"))
    assert schedule.period_at(instant("2024-01-01 00:12:59.999")) == Period(
        instant("2024-01-01 00:03"), instant("2024-01-01 00:13")
    )
    assert schedule.period_at(instant("2024-01-01 00:02")).start_ms == instant("2023-12-31 23:53")


RESET_TABLE = [
    # 15 May 2024 was a Wednesday; all instants are on UTC's clocks
    ("HOUR", None, "2024-05-15 10:20", "2024-05-15 12:19", "2024-05-15 11:20", "2024-05-15 12:20"),
    ("DAY", None, "2024-05-15 10:20", "2024-05-17 10:19", "2024-05-16 10:20", "2024-05-17 10:20"),
    ("WEEK", None, "2024-05-15 10:20", "2024-05-29 10:19", "2024-05-22 10:20", "2024-05-29 10:20"),
    ("WEEK", "SubscriptionStart", "2024-05-15 10:20", "2024-05-22 10:20", "2024-05-22 10:20", "2024-05-29 10:20"),
    ("WEEK", "EverySunday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-12", "2024-05-19"),
    ("WEEK", "EveryMonday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-13", "2024-05-20"),
    ("WEEK", "EveryTuesday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-14", "2024-05-21"),
    ("WEEK", "EveryWednesday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-15", "2024-05-22"),
    ("WEEK", "EveryThursday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-09", "2024-05-16"),
    ("WEEK", "EveryFriday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-10", "2024-05-17"),
    ("WEEK", "EverySaturday", "2024-05-15 10:20", "2024-05-15 10:20", "2024-05-11", "2024-05-18"),
    ("MONTH", None, "2024-01-31 10:20", "2024-02-29 10:20", "2024-02-29 10:20", "2024-03-31 10:20"),
    ("MONTH", "SubscriptionStart", "2024-01-31", "2024-02-10", "2024-01-31", "2024-02-29"),
    ("MONTH", "StartOfTheMonth", "2024-01-31 10:20", "2024-02-29 23:59:59", "2024-02-01", "2024-03-01"),
    ("YEAR", None, "2024-02-29 10:20", "2025-03-01", "2025-02-28 10:20", "2026-02-28 10:20"),
    ("YEAR", "SubscriptionStart", "2024-02-29 10:20", "2028-02-29 10:19", "2027-02-28 10:20", "2028-02-29 10:20"),
]


@pytest.mark.parametrize(("reset", "according_to", "anchor", "now", "start", "end"), RESET_TABLE)
def test_account_level_resets_begin_where_they_say(
    reset: str, according_to: str | None, anchor: str, now: str, start: str, end: str
) -> None:
    schedule = reset_schedule(reset, anchor_ms=instant(anchor), according_to=according_to)
    assert schedule.period_at(instant(now)) == Period(instant(start), instant(end))


def test_enumerations_and_their_words_mean_the_same() -> None:
    anchor_ms = instant("2024-05-15 10:20")
    assert reset_schedule(
        ResetPeriod.WEEK, anchor_ms=anchor_ms, according_to=WeeklyReset.EVERY_MONDAY
    ) == reset_schedule("WEEK", anchor_ms=anchor_ms, according_to="EveryMonday")
    assert reset_schedule(
        ResetPeriod.MONTH, anchor_ms=anchor_ms, according_to=MonthlyReset.START_OF_THE_MONTH
    ) == reset_schedule("MONTH", anchor_ms=anchor_ms, according_to="StartOfTheMonth")


def test_named_resets_begin_at_midnight_in_their_zone() -> None:
    zone = "America/New_York"
    weeks = reset_schedule("WEEK", anchor_ms=instant("2024-01-20 17:45"), according_to="EverySunday", zone=zone)
    assert weeks.period_at(instant("2024-03-12", zone)) == Period(
        instant("2024-03-10", zone), instant("2024-03-17", zone)
    )
    months = reset_schedule("MONTH", anchor_ms=instant("2024-01-20"), according_to="StartOfTheMonth", zone=zone)
    assert months.period_at(instant("2024-12-01 04:59")) == Period(
        instant("2024-11-01 04:00"), instant("2024-12-01 05:00")
    )


def test_a_subscription_that_starts_on_a_day_without_midnight_does_not_move_later_resets() -> None:
    zone = "America/Sao_Paulo"
    started_ms = instant("2018-11-04 01:00", zone)
    schedule = reset_schedule("WEEK", anchor_ms=started_ms, according_to="EverySunday", zone=zone)
    assert schedule.period_at(started_ms) == Period(started_ms, instant("2018-11-11 00:00", zone))


def test_a_limit_without_reset_has_one_period_that_holds_every_instant() -> None:
    assert ALWAYS == Period(FOREVER_START_MS, FOREVER_END_MS) == Period(0, 9007199254740991)
    assert ALWAYS.contains(0)
    assert not ALWAYS.contains(FOREVER_END_MS)


@pytest.mark.parametrize(("start_ms", "end_ms"), [(5, 5), (6, 5)])
def test_an_empty_or_reversed_period_cannot_be_made(start_ms: int, end_ms: int) -> None:
    with pytest.raises(AssertionError):
        Period(start_ms, end_ms)


# --- cadences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["PT1M", "PT10M", "PT1H", "P1D", "P1W", "P1M", "P1Y", "P30D", "PT52560000M", "P1200M", "P100Y"]
)
def test_a_cadence_is_written_as_it_was_read(text: str) -> None:
    assert str(Cadence.parse(text)) == text
    assert Cadence.parse(text) == Cadence.parse(text)


def test_cadences_are_equal_by_count_and_unit() -> None:
    assert Cadence.parse("PT010M") == Cadence(10, CadenceUnit.MINUTE)
    assert str(Cadence.parse("PT010M")) == "PT10M"
    assert Cadence.parse("P1M") != Cadence.parse("PT1M")
    assert Cadence.parse("P7D") != Cadence.parse("P1W")
    assert len({Cadence.parse("P1D"), Cadence(1, CadenceUnit.DAY), Cadence.parse("PT24H")}) == 2


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("P1M1D", "'P1M1D' is not a cadence"),
        ("P1DT1H", "is not a cadence"),
        ("P0D", "P0D is too short: the count is at least 1"),
        ("PT000H", "PT0H is too short"),
        ("PT", "is not a cadence"),
        ("P", "is not a cadence"),
        ("", "'' is not a cadence"),
        ("P1.5D", "is not a cadence"),
        ("P1,5D", "is not a cadence"),
        ("PT5S", "'PT5S' counts seconds, which are not offered"),
        ("p1d", "is not a cadence"),
        ("P1d", "is not a cadence"),
        ("-P1D", "is not a cadence"),
        ("P-1D", "is not a cadence"),
        ("P+1D", "is not a cadence"),
        ("PT1D", "is not a cadence"),
        ("P1H", "is not a cadence"),
        ("P1S", "is not a cadence"),
        (" P1D", "is not a cadence"),
        ("P1D\n", "is not a cadence"),
        ("P\u0661D", "is not a cadence"),
        pytest.param("P1M" * 100, "is not a cadence", id="many units"),
        ("P101Y", "P101Y is too long: the longest in this unit is P100Y"),
        ("PT52560001M", "the longest in this unit is PT52560000M"),
        pytest.param("P" + "9" * 5000 + "D", "is too long: no cadence is longer than a hundred years", id="long"),
        (None, "a value of type NoneType is not a cadence"),
        pytest.param(10**5000, "a value of type int is not a cadence", id="a huge int"),
    ],
)
def test_what_is_not_a_cadence_is_refused_with_the_rule(text: object, rule: str) -> None:
    with pytest.raises(ValueError, match=r"^cadence: ") as caught:
        Cadence.parse(text)
    assert rule in str(caught.value)
    assert len(str(caught.value)) < 300


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reset_period": "FORTNIGHT"}, "reset_period: 'FORTNIGHT' is not known: it is one of HOUR, DAY, WEEK, MONTH"),
        ({"reset_period": "week"}, "reset_period: 'week' is not known"),
        ({"according_to": "EveryDay"}, "according_to: 'EveryDay' is not known with WEEK: it is one of Subscription"),
        ({"according_to": "StartOfTheMonth"}, "according_to: 'StartOfTheMonth' is not known with WEEK"),
        ({"reset_period": "MONTH", "according_to": "EveryMonday"}, "'EveryMonday' is not known with MONTH"),
        ({"reset_period": "YEAR", "according_to": "StartOfTheMonth"}, "'StartOfTheMonth' is not known with YEAR"),
        ({"reset_period": "DAY", "according_to": "SubscriptionStart"}, "does not go with DAY, which takes none"),
        ({"reset_period": "HOUR", "according_to": "EveryMonday"}, "does not go with HOUR, which takes none"),
        ({"zone": "Mars/Olympus"}, "zone: 'Mars/Olympus' is not a time zone known here"),
        ({"according_to": "EveryMonday", "zone": "Mars/Olympus"}, "zone: 'Mars/Olympus' is not a time zone"),
        ({"anchor_ms": 2**53 - 1}, "anchor: 9007199254740991 ms is outside the years 1 to 9999"),
        ({"anchor_ms": -(2**53)}, "anchor: -9007199254740992 ms is outside the years 1 to 9999"),
        (
            {"anchor_ms": instant("0001-01-01 08:00"), "according_to": "EverySunday"},
            "ms is too early: no midnight for EverySunday",
        ),
    ],
)
def test_a_reset_that_is_not_offered_is_refused_with_the_rule(arguments: dict[str, object], message: str) -> None:
    complete: dict[str, object] = {"reset_period": "WEEK", "anchor_ms": 0} | arguments
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        reset_schedule(**complete)  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "zone",
    [
        *("", "America", "Etc", "../etc/passwd", "/etc/localtime", "localtime", "right/UTC", "posix/UTC", "posixrules"),
        *("zone.tab", "tzdata.zi", "Europe/Berlin\0", "utc+1", "UTC ", 7, None),
        pytest.param("Z" * 5000, id="long"),
        pytest.param("\ud800", id="a lone surrogate"),
    ],
)
def test_a_zone_that_is_none_is_refused_by_name(zone: str) -> None:
    with pytest.raises(ValueError, match=r"^zone: .* is not a time zone known here: name one of IANA's") as caught:
        Schedule(Cadence.parse("P1D"), 0, zone)
    assert len(str(caught.value)) < 300


def test_without_a_zone_database_the_error_names_the_zone_and_the_remedy_and_utc_still_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ["tzdata", *(name for name in sys.modules if name.startswith("tzdata."))]:
        monkeypatch.setitem(sys.modules, name, None)
    paths = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    ZoneInfo.clear_cache()
    try:
        with pytest.raises(
            ValueError, match=r"^zone: 'Europe/Berlin' can't be looked up: .* install the package tzdata"
        ):
            Schedule(Cadence.parse("P1D"), 0, "Europe/Berlin")
        assert Schedule(Cadence.parse("P1D"), 0).period_at(5) == Period(0, DAY_MS)
    finally:
        zoneinfo.reset_tzpath(to=paths)


@pytest.mark.parametrize("text", ["PT1M", "PT1H", "P1D", "P1W", "P1M", "P1Y"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/New_York"])
def test_instants_and_boundaries_beyond_the_calendar_are_refused(text: str, zone: str) -> None:
    schedule = Schedule(Cadence.parse(text), instant("2024-01-31 12:00"), zone)
    for instant_ms in (FOREVER_END_MS, -FOREVER_END_MS, instant("9999-12-31 23:59:59")):
        with pytest.raises(ValueError, match="outside the years 1 to 9999"):
            schedule.period_at(instant_ms)
    for ordinal in (10**10, -(10**10), 10**30):
        with pytest.raises(ValueError, match="outside the years 1 to 9999"):
            schedule.boundary_ms(ordinal)


def test_the_last_whole_period_of_the_calendar_is_still_found() -> None:
    schedule = Schedule(Cadence.parse("P1M"), instant("2024-01-31"))
    assert schedule.period_at(instant("9999-12-10")) == Period(instant("9999-11-30"), instant("9999-12-31"))
    assert schedule.period_at(instant("0001-02-10")).start_ms == instant("0001-01-31")


def test_schedules_are_values() -> None:
    schedule = Schedule(Cadence.parse("P1M"), 123, "Europe/Berlin")
    twin = pickle.loads(pickle.dumps(schedule))
    assert twin == schedule
    assert hash(twin) == hash(schedule)
    assert twin.period_at(10**12) == schedule.period_at(10**12)
    assert schedule != Schedule(Cadence.parse("P1M"), 123)
    with pytest.raises(AttributeError):
        schedule.anchor_ms = 5  # type: ignore[misc]
