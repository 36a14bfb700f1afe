"""When staging may run, beside clocks that are read minute by minute."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.manifest.specs_services import StagingSpec
from mlg.manifest.specs_watch import CalendarEntry
from mlg.release.staging_window import (
    AHEAD_DAYS,
    Closed,
    StagingWindow,
    closed_by,
    opening_at,
    window_of,
)

MINUTE = timedelta(minutes=1)
BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of(start: str, end: str, zone: str = "UTC") -> StagingWindow:
    return StagingWindow(start=start, end=end, timezone=zone)


def span(window: StagingWindow, now: str) -> tuple[str, str]:
    found = opening_at(window, (), utc(now))
    assert found.opens
    assert found.closes
    return found.opens.strftime("%d %H:%M"), found.closes.strftime("%d %H:%M")


def test_a_night_opens_and_closes() -> None:
    night = of("01:00", "05:00")
    assert span(night, "2026-06-10T00:59") == ("10 01:00", "10 05:00")
    assert span(night, "2026-06-10T04:59") == ("10 01:00", "10 05:00")
    assert span(night, "2026-06-10T05:00") == ("11 01:00", "11 05:00")
    for now, is_open in (("00:59", False), ("01:00", True), ("04:59", True), ("05:00", False)):
        assert opening_at(night, (), utc(f"2026-06-10T{now}")).is_open == is_open


def test_a_span_goes_over_midnight() -> None:
    late = of("22:00", "02:00")
    assert span(late, "2026-06-10T01:59") == ("09 22:00", "10 02:00")
    assert span(late, "2026-06-10T02:00") == ("10 22:00", "11 02:00")
    assert opening_at(late, (), utc("2026-06-10T23:00")).is_open


def test_tests_that_begin_may_run_to_the_close_and_not_at_all_while_it_is_shut() -> None:
    night, closes = of("01:00", "05:00"), utc("2026-06-10T05:00")
    assert opening_at(night, (), utc("2026-06-10T03:00")).ends == closes
    # begun in it, and again by the next control plane after it closed
    for now in (closes, utc("2026-06-10T12:00")):
        assert opening_at(night, (), now).ends == now


def test_clocks_of_a_place_count_in_summer_and_in_winter() -> None:
    # Berlin is at UTC+1 in winter and at UTC+2 in summer
    night = of("01:00", "05:00", BERLIN)
    assert span(night, "2026-01-10T12:00") == ("11 00:00", "11 04:00")
    assert span(night, "2026-06-10T12:00") == ("10 23:00", "11 03:00")
    told = opening_at(night, (), utc("2026-01-10T12:00")).why
    assert told == "it opens at 2026-01-11T00:00Z (Sun 11 Jan 01:00 Europe/Berlin)"


def test_hours_that_clocks_skip_and_show_twice() -> None:
    # on 2026-03-29 at 01:00 UTC Berlin skips from 02:00 to 03:00; on 2026-10-25 at 01:00 UTC
    # it goes back from 03:00 to 02:00
    assert span(of("01:00", "05:00", BERLIN), "2026-03-28T20:00") == ("29 00:00", "29 03:00")
    assert span(of("02:30", "05:00", BERLIN), "2026-03-28T20:00") == ("29 01:00", "29 03:00")
    assert span(of("01:30", "02:30", BERLIN), "2026-03-28T20:00") == ("29 00:30", "29 01:00")
    # skipped whole: the next day has it
    assert span(of("02:15", "02:45", BERLIN), "2026-03-28T20:00") == ("30 00:15", "30 00:45")
    assert span(of("01:00", "05:00", BERLIN), "2026-10-24T20:00") == ("24 23:00", "25 04:00")
    # the first of the two half past two
    assert span(of("02:30", "05:00", BERLIN), "2026-10-24T20:00") == ("25 00:30", "25 04:00")
    assert span(of("01:00", "02:30", BERLIN), "2026-10-24T20:00") == ("24 23:00", "25 00:30")


@given(
    zone=st.sampled_from(
        (BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia")
    ),
    day=st.integers(0, 365),
    start=st.integers(0, 95),
    length=st.integers(1, 94),
)
def test_open_is_what_a_clock_on_the_wall_says(
    zone: str, day: int, start: int, length: int
) -> None:
    """Read the clock at each quarter of two days; where it shows an hour twice, not at all."""
    begun = datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=day)
    end = (start + length) % 96
    times = [f"{q // 4:02}:{q % 4 * 15:02}" for q in (start, end)]
    window = of(times[0], times[1], zone)
    looks = [begun + quarter * 15 * MINUTE for quarter in range(192)]
    shown = [at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for at in looks]
    if any(after <= before for before, after in pairwise(shown)):
        return
    for at, local in zip(looks, shown, strict=True):
        clock = local.strftime("%H:%M")
        a, b = times
        inside = a <= clock < b if a < b else clock >= a or clock < b
        found = opening_at(window, (), at)
        assert found.is_open == inside, (at, local, window, found)
        assert found.closes is not None
        assert found.closes > at


def test_the_calendar_keeps_it_shut_by_days_of_the_place() -> None:
    entry = CalendarEntry(holiday="x", start="2026-12-25", end="2026-12-25", staging=False)
    (closed,) = closed_by([entry], "home", "Pacific/Auckland")
    # UTC+13 in December
    assert (closed.start, closed.end) == (utc("2026-12-24T11:00"), utc("2026-12-25T11:00"))
    night = of("01:00", "05:00", "Pacific/Auckland")
    found = opening_at(night, [closed], utc("2026-12-24T12:30"))
    assert not found.is_open
    assert found.opens == utc("2026-12-25T12:00")
    assert found.why.startswith("the calendar has holiday x; it opens at 2026-12-25T12:00Z")


def test_only_entries_that_say_so_close_it_and_only_for_their_services() -> None:
    days = {"start": "2026-06-10", "end": "2026-06-11"}
    entries = [
        CalendarEntry(promotion="sale", **days),
        CalendarEntry(holiday="other", services=("search",), staging=False, **days),
        CalendarEntry(ical="days.ics", staging=False),
    ]
    assert closed_by(entries, "home", "UTC") == ()
    (mine,) = closed_by(entries, "search", "UTC")
    assert (mine.start, mine.end) == (utc("2026-06-10T00:00"), utc("2026-06-12T00:00"))
    at = CalendarEntry(
        maintenance="disk", start="2026-06-10T02:00Z", end="2026-06-10T03:00Z", staging=False
    )
    (timed,) = closed_by([at], "home", BERLIN)
    assert (timed.start, timed.end) == (utc("2026-06-10T02:00"), utc("2026-06-10T03:00"))


def test_a_closed_hour_ends_what_is_open_and_opens_it_again() -> None:
    hour = Closed(start=utc("2026-06-10T02:00"), end=utc("2026-06-10T03:00"), why="m")
    night = of("01:00", "05:00")
    before = opening_at(night, [hour], utc("2026-06-10T01:30"))
    assert (before.is_open, before.closes) == (True, hour.start)
    within = opening_at(night, [hour], utc("2026-06-10T02:30"))
    assert (within.is_open, within.opens, within.closes) == (
        False,
        hour.end,
        utc("2026-06-10T05:00"),
    )
    assert opening_at(night, [hour], utc("2026-06-10T03:00")).is_open
    always = opening_at(StagingWindow(), [hour], utc("2026-06-10T02:30"))
    assert (always.is_open, always.opens) == (False, hour.end)
    assert opening_at(StagingWindow(), [hour], utc("2026-06-10T03:30")).is_open


def test_what_never_opens_says_why() -> None:
    now = utc("2026-06-10T12:00")
    ever = Closed(
        start=utc("2026-01-01T00:00"), end=now + timedelta(days=AHEAD_DAYS + 9), why="season s"
    )
    for window in (of("01:00", "05:00"), StagingWindow()):
        found = opening_at(window, [ever], now)
        assert (found.is_open, found.opens) == (False, None)
        assert "does not open within 400 days: season s" in found.why
    lost = opening_at(of("01:00", "05:00", "Mars/Olympus"), (), now)
    assert (lost.opens, "'Mars/Olympus' is not known" in lost.why) == (None, True)


@pytest.mark.parametrize(
    ("told", "words"),
    [("always", "always"), ("01:00-05:00", "01:00-05:00 UTC")],
)
def test_a_window_is_read_from_the_manifest(told: str, words: str) -> None:
    window = window_of(StagingSpec(window=told))
    assert window
    assert window.words == words
    assert window_of(None) is None
