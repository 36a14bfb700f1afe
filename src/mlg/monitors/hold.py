"""What keeps an alert from paging: silences, maintenance windows, and the calendar.

Values only. `hold_of` says whether an alert is held and by what; the others are steps of the
desk, the one small document that remembers what people asked for.

Two clocks: a silence ends by the wall clock, because a person says "for two hours". A
maintenance window covers an alert whose windows lie in it by event time, and one that comes
while the wall clock is in it. The calendar goes by event time alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

import msgspec

from mlg.core.errors import ConflictError, ManifestError, NotFoundError
from mlg.manifest.specs_watch import CalendarEntry
from mlg.manifest.units import seconds

Standing = Literal["silenced", "maintenance", "annotated"]

MOST: Final = 500
"""Silences, and maintenance windows, that may be in force or to come."""
MOST_ACKNOWLEDGED: Final = 1_000
"""Newest acknowledgements that are remembered; the graph keeps all."""
KEPT: Final = timedelta(days=30)
"""How long one that is over is still listed."""
LONGEST: Final = timedelta(days=366)
MOST_TEXT: Final = 500
"""Characters of a reason, a note or a name."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts that page nobody until a time; None matches everything."""

    id: str
    service: str | None = None
    monitor: str | None = None
    kind: str | None = None
    feature: str | None = None
    until: datetime
    """Aware UTC, wall clock; the first moment at which alerts page again."""
    reason: str
    by: str
    at: datetime
    lifted_by: str = ""

    @property
    def words(self) -> str:
        """Return what it matches, as `service home, kind input_drift`."""
        named = [(name, getattr(self, name)) for name in MATCHED]
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


MATCHED: Final = ("service", "monitor", "kind", "feature")


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """Planned work: alerts in it page nobody, and baselines learn nothing."""

    id: str
    service: str | None = None
    """None: every service."""
    start: datetime
    end: datetime
    """Aware UTC; the first moment after it."""
    reason: str
    by: str
    at: datetime
    lifted_by: str = ""


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """A person knows of an alert."""

    by: str
    at: datetime
    note: str = ""


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What people asked for; one small document."""

    silences: tuple[Silence, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    acknowledged: dict[str, Acknowledged] = {}
    """By alert, `<monitor>:<number>/<kind>@<birth>`, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Why an alert pages nobody."""

    standing: Standing
    words: str
    """One sentence, with what holds it and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An alert, as far as it matters for holding it."""

    service: str
    monitor: str
    kind: str
    features: tuple[str, ...] = ()
    """All features that signal in it."""
    start: datetime
    end: datetime
    """Event time of the windows behind it."""
    expected: tuple[str, ...] = ()
    """Calendar entries that its cause is taken for; empty when it is another cause."""


def hold_of(
    desk: Desk, calendar: Sequence[CalendarEntry], subject: Subject, now: datetime
) -> Held | None:
    """Return what holds an alert; None: it pages.

    Maintenance comes before silences, and these before the calendar. A silence of a feature
    holds an alert only when nothing but that feature signals in it.

    Args:
        desk: What people asked for.
        calendar: Of the manifest; its `maintenance:` entries count as maintenance windows.
        subject: The alert.
        now: Wall clock, aware UTC.
    """
    for words, start, end in spans(desk, calendar, subject.service):
        if (subject.start < end and subject.end >= start) or start <= now < end:
            return Held(standing="maintenance", words=words)
    for one in desk.silences:
        if in_force(one, now) and _matches(one, subject):
            words = f"silence {one.id} of {one.words} by {one.by}: {one.reason}"
            return Held(standing="silenced", words=words)
    if subject.expected:
        words = f"the calendar has {', '.join(subject.expected)}"
        return Held(standing="annotated", words=words)
    return None


def spans(
    desk: Desk, calendar: Iterable[CalendarEntry], service: str
) -> tuple[tuple[str, datetime, datetime], ...]:
    """Return the maintenance windows of a service, as words, start and end."""
    found = [
        (f"maintenance {one.id} by {one.by}: {one.reason}", one.start, one.end)
        for one in desk.maintenance
        if one.service in {None, service} and one.start < one.end  # else it never began
    ]
    for entry in calendar:
        dated = entry.start is not None and entry.end is not None  # others would never end
        if entry.maintenance and dated and service in (entry.services or (service,)):
            found.append((f"the calendar has maintenance {entry.maintenance}", *ends(entry)))
    return tuple(found)


def ends(entry: CalendarEntry) -> tuple[datetime, datetime]:
    """Return the first moment of a calendar entry and the first one after it, aware UTC."""
    start = _moment(entry.start) if entry.start else datetime.min.replace(tzinfo=UTC)
    if entry.end is None:
        return start, datetime.max.replace(tzinfo=UTC)
    whole_day = timedelta(days=1) if len(entry.end) == len("2026-07-01") else timedelta(0)
    return start, _moment(entry.end) + whole_day


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def in_force(one: Silence, now: datetime) -> bool:
    """Return whether a silence holds alerts now."""
    return now < one.until


def _matches(one: Silence, subject: Subject) -> bool:
    named = (
        (one.service, subject.service),
        (one.monitor, subject.monitor),
        (one.kind, subject.kind),
    )
    if any(wanted not in {None, found} for wanted, found in named):
        return False
    return one.feature is None or set(subject.features) == {one.feature}


def moment(text: str, *, now: datetime, what: str) -> datetime:
    """Return the time that a person gave: RFC 3339, a day, or a duration from now.

    Args:
        text: `2026-07-01T06:00:00Z`, `2026-07-01` or `2h`.
        now: Where durations begin.
        what: Name of the field, for the message.

    Raises:
        ManifestError: It is none of these.

    Examples:
        >>> moment("2h", now=datetime(2026, 7, 1, tzinfo=UTC), what="until").hour
        2
    """
    after_s = seconds(text)
    try:
        found = now + timedelta(seconds=after_s) if after_s is not None else _moment(text)
        return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ManifestError(
            f"expected a time like 2026-07-01T06:00:00Z or a duration like 2h, "
            f"got {text[:60]!r}",
            where=what,
        ) from error


def silenced(
    desk: Desk, wanted: Silence, *, now: datetime
) -> tuple[Desk, Silence, Literal["new", "changed", "same"]]:
    """Return the desk with a silence; one of the same matcher in force gets the new end.

    Raises:
        ManifestError: It matches everything, ends in the past or too far ahead, or has no
            reason.
        ConflictError: There are too many.
    """
    if not wanted.words:
        raise ManifestError(
            "a silence must name a service, a monitor, a kind or a feature",
            where="silence",
            hint="for everything: mlg alerts maintenance --all, or mlg freeze.",
        )
    _check_text(**{name: getattr(wanted, name) or "-" for name in (*MATCHED, "reason")})
    _check_reason(wanted.reason)
    _check_end("until", wanted.until, now, now)
    desk = _pruned(desk, now)
    for one in desk.silences:
        if in_force(one, now) and _matcher(one) == _matcher(wanted):
            after = msgspec.structs.replace(one, until=wanted.until, reason=wanted.reason)
            if after == one:
                return desk, one, "same"
            return _put(desk, after), after, "changed"
    _check_count([one for one in desk.silences if in_force(one, now)])
    made = msgspec.structs.replace(
        wanted, id=_id("s", *map(str, _matcher(wanted)), wanted.at.isoformat())
    )
    return _put(desk, made), made, "new"


def maintained(
    desk: Desk, wanted: Maintenance, *, now: datetime
) -> tuple[Desk, Maintenance, Literal["new", "changed", "same"]]:
    """Return the desk with a maintenance window.

    One of the same service and reason that is not over and holds its start gets the new end.

    Raises:
        ManifestError: It ends before it begins, in the past or after a year, or has no reason.
        ConflictError: There are too many.
    """
    _check_text(service=wanted.service or "-", reason=wanted.reason)
    _check_reason(wanted.reason)
    _check_end("to", wanted.end, wanted.start, wanted.start)
    desk = _pruned(desk, now)
    for one in desk.maintenance:
        same = (one.service, one.reason) == (wanted.service, wanted.reason)
        if same and not one.lifted_by and one.start <= wanted.start < one.end:
            after = msgspec.structs.replace(one, end=wanted.end)
            if after == one:
                return desk, one, "same"
            return _put(desk, after), after, "changed"
    _check_count([one for one in desk.maintenance if now < one.end])
    when = (wanted.start.isoformat(), wanted.at.isoformat())
    name = _id("m", str(wanted.service), wanted.reason, *when)
    made = msgspec.structs.replace(wanted, id=name)
    return _put(desk, made), made, "new"


def lifted(
    desk: Desk, name: str, *, by: str, now: datetime
) -> tuple[Desk, Silence | Maintenance]:
    """Return the desk after a silence or a maintenance window was ended, and what ended.

    What is over already stays as it is.

    Raises:
        NotFoundError: There is none of this id.
    """
    among = (*desk.silences, *desk.maintenance)
    found = next((one for one in among if one.id == name), None)
    if found is None:
        raise NotFoundError(
            f"no silence or maintenance window {name[:60]!r}",
            where="alerts",
            hint="mlg alerts list shows their ids.",
        )
    if isinstance(found, Silence):
        if found.lifted_by or found.until <= now:
            return desk, found
        after = msgspec.structs.replace(found, until=now, lifted_by=by)
    else:
        if found.lifted_by or found.end <= now:
            return desk, found
        end = max(found.start, now)  # one that has not begun never does
        after = msgspec.structs.replace(found, end=end, lifted_by=by)
    return _put(desk, after), after


def acknowledged(desk: Desk, alert: str, told: Acknowledged) -> tuple[Desk, Acknowledged, bool]:
    """Return the desk with an acknowledgement, the one that stands, and whether it is new.

    The same person with the same note is the same one.
    """
    known = desk.acknowledged.get(alert)
    if known is not None and (known.by, known.note) == (told.by, told.note):
        return desk, known, False
    _check_text(note=told.note)
    rest = {name: one for name, one in desk.acknowledged.items() if name != alert}
    newest = dict(list(rest.items())[1 - MOST_ACKNOWLEDGED :])
    return msgspec.structs.replace(desk, acknowledged={**newest, alert: told}), told, True


def _put(desk: Desk, one: Silence | Maintenance) -> Desk:
    if isinstance(one, Silence):
        rest = tuple(other for other in desk.silences if other.id != one.id)
        return msgspec.structs.replace(desk, silences=(*rest, one))
    kept = tuple(other for other in desk.maintenance if other.id != one.id)
    return msgspec.structs.replace(desk, maintenance=(*kept, one))


def _pruned(desk: Desk, now: datetime) -> Desk:
    return msgspec.structs.replace(
        desk,
        silences=tuple(one for one in desk.silences if now < one.until + KEPT)[-2 * MOST :],
        maintenance=tuple(one for one in desk.maintenance if now < max(one.end, one.at) + KEPT)[
            -2 * MOST :
        ],
    )


def _matcher(one: Silence) -> tuple[str | None, ...]:
    return one.service, one.monitor, one.kind, one.feature


def _id(letter: str, *parts: str) -> str:
    text = "\n".join(parts)
    return f"{letter}-{sha256(text.encode()).hexdigest()[:8]}"


def _check_text(**texts: str) -> None:
    for name, text in texts.items():
        if len(text) > MOST_TEXT:
            raise ManifestError(
                f"{len(text)} characters, of which {MOST_TEXT} are allowed", where=name
            )


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise ManifestError(
            "a reason is needed: it is kept on the graph", where="reason", hint="--reason TEXT"
        )


def _check_end(what: str, end: datetime, start: datetime, after: datetime) -> None:
    if end <= after:
        raise ManifestError(
            f"expected a time after {after.isoformat()}, got {end.isoformat()}", where=what
        )
    if end - start > LONGEST:
        raise ManifestError("more than a year ahead", where=what, hint="renew it later.")


def _check_count(those: Sequence[object]) -> None:
    if len(those) >= MOST:
        raise ConflictError(
            f"{len(those)} are in force, of which {MOST} are allowed",
            where="alerts",
            hint="end some: mlg alerts list, mlg alerts unsilence ID.",
        )
