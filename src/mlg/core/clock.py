"""Time is handed in: event time from the clock, wall time only for latency."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the event time, aware UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never run back, for latency and deadlines only."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after about so many seconds, or at once in a simulator."""
        ...


class ManualClock:
    """A clock that stands still until it is moved; the simulator's and the tests'."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._elapsed_s

    def wait(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._elapsed_s += seconds


def rfc3339(at: datetime) -> str:
    """Return the time as RFC 3339 UTC text with microseconds.

    Raises:
        ValueError: The time has no zone.

    Examples:
        >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        '2026-01-02T03:04:05.000000Z'
    """
    if at.tzinfo is None:
        raise ValueError(f"time without a zone: {at!r}")
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_time(text: str) -> datetime:
    """Return the time that an RFC 3339 text names, as aware UTC.

    Raises:
        ValueError: The text is no time, or has no zone.

    Examples:
        >>> parse_time("2026-01-02T03:04:05Z").hour
        3
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(
            f"expected a time with a zone, for example 2026-01-02T03:04:05Z, got {text!r}"
        )
    return at.astimezone(UTC)
