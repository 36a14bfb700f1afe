"""What people asked of alerts, kept in one file; and what holds an alert now.

The file is written by rename. Whoever decides reads it anew, so an act holds from the next
window on, and what a killed process left is whole.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from mlg.core.clock import Clock, parse_time
from mlg.core.ports import Files
from mlg.manifest.specs_watch import CalendarEntry
from mlg.monitors.alert import Incident
from mlg.monitors.evaluate import Signal
from mlg.monitors.hold import Desk, Held, Subject, hold_of, spans
from mlg.monitors.kinds import by_kind, kind_of

PATH: Final = "alert-desk.json"

logger = logging.getLogger("mlg.alerts")


class AlertDesk:
    """Reads and writes what people asked for, and says what holds an alert.

    Args:
        files: Keeps `alert-desk.json`.
        clock: Wall clock of silences.
    """

    def __init__(self, files: Files, clock: Clock) -> None:
        self._files, self._clock = files, clock
        self.changing = threading.Lock()
        """Whoever changes the file has it from reading to writing."""

    def read(self) -> Desk:
        """Return what people asked for; a damaged file holds nothing, so alerts page."""
        content = self._files.read(PATH)
        if content is None:
            return Desk()
        try:
            return msgspec.json.decode(content, type=Desk)
        except msgspec.MsgspecError:
            logger.warning("%s is damaged: no silence is in force", PATH)
            return Desk()

    def write(self, desk: Desk) -> None:
        """Keep it.

        Raises:
            BackendError: It cannot be written; the file is as it was.
        """
        self._files.write(PATH, msgspec.json.encode(desk))

    def hold(self, subject: Subject, calendar: Sequence[CalendarEntry] = ()) -> Held | None:
        """Return what holds an alert now; None: it pages."""
        return hold_of(self.read(), calendar, subject, self._clock.now())

    def maintenance(
        self, service: str, calendar: Iterable[CalendarEntry]
    ) -> tuple[tuple[datetime, datetime], ...]:
        """Return the event times of a service in which its monitors learn nothing.

        All of time while the wall clock is in a maintenance window.
        """
        now, found = self._clock.now(), list[tuple[datetime, datetime]]()
        for _, start, end in spans(self.read(), calendar, service):
            inside = start <= now < end
            found.append((_EVER if inside else start, _NEVER if inside else end))
        return tuple(found)

    def acknowledged_by(self, alert: str) -> str:
        """Return who acknowledged an alert, by its name; empty: nobody."""
        known = self.read().acknowledged.get(alert)
        return known.by if known else ""


def subject_of(service: str, monitor: str, kind: str, incident: Incident) -> Subject:
    """Return one kind of alert of an incident, as far as it matters for holding it.

    Args:
        service: The service.
        monitor: The monitor of the manifest.
        kind: Of the alert.
        incident: With the signals of that kind, and the cause of the whole.
    """
    signals = tuple(incident.signals.values())
    cause = incident.cause
    return Subject(
        service=service,
        monitor=monitor,
        kind=kind,
        features=tuple(sorted({signal.feature for signal in signals})),
        start=min(parse_time(signal.start) for signal in signals),
        end=max(parse_time(signal.end) for signal in signals),
        expected=_entries(cause.reasons) if cause.action == "annotate" else (),
    )


def now_signalling(incident: Incident, signals: Iterable[Signal]) -> dict[str, Incident]:
    """Return the incident once for each kind, with what signals of it in the newest windows."""
    now = {f"{one.stream}/{one.metric}": one for one in signals}
    kinds = {kind_of(one) for one in incident.signals.values()}
    found = by_kind(replace(incident, signals=now)) if now else {}
    return {kind: part for kind, part in found.items() if kind in kinds}


def _entries(reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(reason.removeprefix("the calendar has ") for reason in reasons)


_EVER: Final = datetime.min.replace(tzinfo=UTC)
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
