"""Answers by minute, and the busiest of a day."""

from datetime import UTC, datetime, timedelta

from mlg.core.clock import rfc3339
from mlg.monitors.minutes import KEPT, busiest_hz, counted

NOW = datetime(2026, 7, 2, 6, tzinfo=UTC)


def row(at: datetime) -> dict[str, str]:
    return {"received_at": rfc3339(at)}


def test_the_busiest_minute_of_the_last_day_counts() -> None:
    minutes = counted({}, [row(NOW - timedelta(hours=25))] * 600)
    minutes = counted(minutes, [row(NOW - timedelta(hours=2))] * 120)
    minutes = counted(minutes, [row(NOW - timedelta(hours=1))] * 60)
    assert busiest_hz(minutes, NOW) == 2.0
    assert busiest_hz(minutes, NOW - timedelta(hours=20)) == 10.0
    assert busiest_hz(minutes, NOW + timedelta(days=3)) is None
    assert busiest_hz({}, NOW) is None


def test_a_days_minutes_are_kept_and_rows_without_a_time_do_not_count() -> None:
    minutes = counted({}, [row(NOW + timedelta(minutes=n)) for n in range(KEPT + 5)])
    assert len(minutes) == KEPT
    assert min(minutes) == "2026-07-02T06:05"
    assert counted(minutes, [{}]) == minutes
