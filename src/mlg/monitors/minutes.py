"""How many answers a service gave in each minute of late, by wall time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Minutes = dict[str, int]
"""Answers by minute in which they were received, `2026-07-01T06:00`."""

KEPT: Final = 1_440
"""Minutes that are kept: those of a day on which each had an answer."""
_MINUTE: Final = len("2026-07-01T06:00")


def counted(minutes: Minutes, predictions: Sequence[Mapping[str, Any]]) -> Minutes:
    """Return the minutes with these answers added; the newest `KEPT` stay.

    Args:
        minutes: What was counted before; it is not changed.
        predictions: Decoded rows with `received_at`, RFC 3339 in UTC.

    Examples:
        >>> row = {"received_at": "2026-07-01T06:00:30.000000Z"}
        >>> counted({"2026-07-01T06:00": 1}, [row, row])
        {'2026-07-01T06:00': 3}
    """
    found = dict(minutes)
    for row in predictions:
        minute = str(row.get("received_at", ""))[:_MINUTE]
        if minute:
            found[minute] = found.get(minute, 0) + 1
    if len(found) <= KEPT:
        return found
    return {minute: found[minute] for minute in sorted(found)[-KEPT:]}


def busiest_hz(minutes: Minutes, now: datetime) -> float | None:
    """Return answers a second in the busiest minute of the last 24 hours; None without any.

    Examples:
        >>> busiest_hz({"2026-07-01T06:00": 90}, datetime(2026, 7, 1, 7, tzinfo=UTC))
        1.5
    """
    day = (now.astimezone(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    most = max((n for minute, n in minutes.items() if minute >= day), default=0)
    return most / 60.0 if most else None
