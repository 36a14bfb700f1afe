"""What the calendar expects at a time, so that it is not taken for a fault."""

from collections.abc import Sequence
from datetime import datetime

from mlg.manifest.specs_watch import CalendarEntry
from mlg.monitors.hold import ends


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
        >>> expected_at([day], "home", datetime.fromisoformat("2026-07-02T23:00Z"))
        ('promotion launch',)
    """
    found: list[str] = []
    for entry in entries:
        if entry.ical is not None or (entry.services and service not in entry.services):
            continue
        start, end = ends(entry)
        if start <= at < end:
            found.append(_name(entry))
    return tuple(found)


def _name(entry: CalendarEntry) -> str:
    kinds = {
        "promotion": entry.promotion,
        "season": entry.season,
        "holiday": entry.holiday,
        "maintenance": entry.maintenance,
    }
    return next(f"{kind} {name}" for kind, name in kinds.items() if name is not None)
