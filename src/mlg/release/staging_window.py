"""When staging may run: a daily span of some place's clocks, less the days of the calendar.

All of it is wall time, also for services that live by their requests' own time: people
sleep, and machines are idle, by wall clocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlg.manifest.specs_services import StagingSpec
from mlg.manifest.specs_watch import CalendarEntry

AHEAD_DAYS: Final = 400
"""How far an opening is looked for; what does not open within a year never does."""
MISSED_MOST: Final = 3
"""Windows that may go by, or end the tests, until a person is called."""
_DAY: Final = timedelta(days=1)
_BARE: Final = len("2026-07-01")
_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingWindow:
    """A daily span; without its ends it is always open."""

    start: str = ""
    """`HH:MM`; the span goes over midnight when it is after the end."""
    end: str = ""
    timezone: str = "UTC"
    """IANA name."""

    @property
    def words(self) -> str:
        """`01:00-05:00 Europe/Berlin`, or `always`."""
        return f"{self.start}-{self.end} {self.timezone}" if self.start else "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Days, or a span, in which nothing is tested."""

    start: datetime
    end: datetime
    """Not in it any more."""
    why: str
    """`holiday christmas`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The opening that holds at a time, or else the next one."""

    at: datetime
    """The wall time that it was asked for."""
    opens: datetime | None
    """None: not within `AHEAD_DAYS`."""
    closes: datetime | None = None
    """None: never again, within the same span."""
    why: str = ""
    """What keeps it shut or waits, in words."""

    @property
    def is_open(self) -> bool:
        """Whether the time lies in the opening."""
        return (
            self.opens is not None
            and self.opens <= self.at
            and (self.closes is None or self.at < self.closes)
        )

    @property
    def ends(self) -> datetime | None:
        """Until when tests that begin now may run: not at all while it is shut."""
        return self.closes if self.is_open else self.at


def window_of(staging: StagingSpec | None) -> StagingWindow | None:
    """Return the window of a service's staging; None where no staging is asked for.

    Examples:
        >>> window_of(StagingSpec(window="22:00-02:00")).words
        '22:00-02:00 UTC'
    """
    if staging is None:
        return None
    start, _, end = staging.window.partition("-")
    if not end:
        return StagingWindow(timezone=staging.timezone)
    return StagingWindow(start=start, end=end, timezone=staging.timezone)


def closed_by(
    entries: Sequence[CalendarEntry], service: str, timezone: str
) -> tuple[Closed, ...]:
    """Return the entries that say `staging: false`, as spans; whole days are of the zone.

    Args:
        entries: The manifest's calendar; iCalendar files are not read.
        service: Entries of other services do not count.
        timezone: Whose midnights bound a day; an unknown one counts as UTC.
    """
    zone = _zone(timezone) or ZoneInfo("UTC")
    found: list[Closed] = []
    for entry in entries:
        mine = not entry.services or service in entry.services
        if entry.staging or not mine or entry.start is None or entry.end is None:
            continue
        end = _moment(entry.end, zone, _DAY)
        found.append(Closed(start=_moment(entry.start, zone), end=end, why=_name(entry)))
    return tuple(sorted(found, key=lambda one: (one.start, one.end)))


def opening_at(window: StagingWindow, closed: Sequence[Closed], now: datetime) -> Opening:
    """Return the opening that holds now, or the next one.

    A time that clocks skip in spring is the moment of the skip; one that they show twice
    in autumn is the first of the two. A span that is skipped whole does not open that day.

    Args:
        window: The daily span.
        closed: Spans of the calendar, which open nothing and end what is open.
        now: Wall time, aware.
    """
    zone = _zone(window.timezone)
    if zone is None:
        why = f"the time zone {window.timezone!r} is not known on this machine"
        return Opening(at=now, opens=None, why=why)
    for opens, closes in _spans(window, zone, now):
        for part in _parts(opens, closes, closed):
            if part[1] is None or part[1] > now:
                why = _why(now, part[0], window, zone, closed)
                return Opening(at=now, opens=part[0], closes=part[1], why=why)
    names = ", ".join(sorted({one.why for one in closed})) or "no day has it"
    why = f"its window {window.words} does not open within {AHEAD_DAYS} days: {names}"
    return Opening(at=now, opens=None, why=why)


def _spans(
    window: StagingWindow, zone: ZoneInfo, now: datetime
) -> Iterator[tuple[datetime, datetime | None]]:
    """Give the window's spans in order, from the one of the day before on."""
    if not window.start:
        yield now, now + AHEAD_DAYS * _DAY
        return
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    over = _DAY if end <= start else timedelta(0)
    first = now.astimezone(zone).date() - _DAY
    for day in (first + n * _DAY for n in range(AHEAD_DAYS + 1)):
        opens, closes = _instant(day, start, zone), _instant(day + over, end, zone)
        if closes - opens >= _SHORTEST:
            yield opens, closes


def _parts(
    opens: datetime, closes: datetime | None, closed: Sequence[Closed]
) -> Iterator[tuple[datetime, datetime | None]]:
    """Give what is left of a span without the closed ones, which are sorted."""
    at = opens
    for one in closed:
        if one.end <= at or (closes is not None and one.start >= closes):
            continue
        if one.start > at:
            yield at, one.start
        at = max(at, one.end)
    if closes is None or at < closes:
        yield at, closes


def _instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when clocks first show a time, or the moment at which they skip it."""
    local = datetime.combine(day, at, tzinfo=zone)
    late = local.astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return late
    early = local.replace(fold=1).astimezone(UTC)  # by the offset after the skip
    before = early.astimezone(zone).utcoffset()
    while late - early > _SHORTEST:
        middle = early + (late - early) / 2
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)


def _why(
    now: datetime,
    opens: datetime,
    window: StagingWindow,
    zone: ZoneInfo,
    closed: Sequence[Closed],
) -> str:
    if opens <= now:
        return ""
    local = opens.astimezone(zone).strftime("%a %d %b %H:%M")
    when = f"{opens.astimezone(UTC):%Y-%m-%dT%H:%MZ} ({local} {window.timezone})"
    shut = [one.why for one in closed if one.start <= now < one.end]
    if shut:
        return f"the calendar has {shut[0]}; it opens at {when}"
    return f"it opens at {when}"


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _moment(text: str, zone: ZoneInfo, more: timedelta = timedelta(0)) -> datetime:
    """Return a UTC time, or a day's midnight in the zone; `more` days on only of a day."""
    at = datetime.fromisoformat(text)
    if len(text) > _BARE:
        return at.astimezone(UTC)
    return _instant((at + more).date(), time(), zone)


def _name(entry: CalendarEntry) -> str:
    kinds = ("promotion", "season", "holiday", "maintenance")
    named = ((kind, getattr(entry, kind)) for kind in kinds)
    return next((f"{kind} {name}" for kind, name in named if name is not None), "an entry")
