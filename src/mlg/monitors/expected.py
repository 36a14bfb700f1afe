"""What the calendar expects at a time, so that it is not taken for a fault."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mlg.manifest.specs_watch import CalendarEntry

_DAY = len("2026-07-01")


def expected_at(
    entries: Sequence[CalendarEntry], service: str, at: datetime
) -> tuple[str, ...]:
    """Return the names of the entries that cover a time, as `promotion summer-launch`.

    The first day and the last are covered whole; an entry with a time of day begins or ends
    at it. Entries from iCalendar files are not read here.

    Args:
        entries: From the manifest.
        service: Entries of other services do not count.
        at: Event time, aware.

    Examples:
        >>> day = CalendarEntry(promotion="launch", start="2026-07-01", end="2026-07-02")
        >>> expected_at([day], "home", datetime(2026, 7, 2, 23, tzinfo=UTC))
        ('promotion launch',)
    """
    found: list[str] = []
    for entry in entries:
        if entry.ical is not None or (entry.services and service not in entry.services):
            continue
        begun = entry.start is None or at >= _moment(entry.start)
        over = entry.end is not None and at >= _moment(entry.end) + (
            timedelta(days=1) if len(entry.end) == _DAY else timedelta(0)
        )
        if begun and not over:
            found.append(_name(entry))
    return tuple(found)


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _name(entry: CalendarEntry) -> str:
    kinds = {
        "promotion": entry.promotion,
        "season": entry.season,
        "holiday": entry.holiday,
        "maintenance": entry.maintenance,
    }
    return next(f"{kind} {name}" for kind, name in kinds.items() if name is not None)
