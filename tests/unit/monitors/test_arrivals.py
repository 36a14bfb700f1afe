"""When so many viewers will have come, for publics of known habits."""

from datetime import UTC, datetime, timedelta

import pytest

from mlg.monitors.arrivals import DAY_S, Arrivals

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def rows(days: int, each: int, *, new: bool) -> list[dict[str, str]]:
    """Return so many viewers an hour, all new ones or always the same."""
    return [
        {"viewer": f"{hour if new else 0}-{n}", "at": (T0 + timedelta(hours=hour)).isoformat()}
        for hour in range(24 * days)
        for n in range(each)
    ]


def test_newcomers_go_on_as_in_the_newer_half_and_a_closed_public_is_used_up() -> None:
    fresh, closed = Arrivals(), Arrivals()
    fresh.add(rows(10, 10, new=True))
    closed.add(rows(10, 10, new=False))
    assert fresh.per_day == pytest.approx(240, rel=0.05)
    assert fresh.seconds_until(1_200) == pytest.approx(5 * DAY_S, rel=0.05)
    assert fresh.seconds_until(4_800) == pytest.approx(20 * DAY_S, rel=0.05)
    assert (closed.viewers, closed.per_day) == (10, 0.0)
    assert closed.seconds_until(10) == 0.0
    assert closed.seconds_until(11) == float("inf")


def test_too_few_answers_say_nothing_and_a_clock_far_ahead_changes_little() -> None:
    few = Arrivals()
    assert (few.per_day, few.seconds_until(1), few.span_s) == (None, None, 0.0)
    few.add(rows(1, 4, new=True))
    assert few.per_day is None
    ahead = Arrivals()
    ahead.add([*rows(10, 10, new=True), {"viewer": "x", "at": "2099-01-01T00:00:00Z"}])
    ahead.add([{"viewer": "y", "at": "?"}, {}])
    assert ahead.seconds_until(4_800) == pytest.approx(20 * DAY_S, rel=0.05)
