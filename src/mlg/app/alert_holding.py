"""Whether the alerts of a monitor page: asked when one opens, and as long as it is open."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mlg.app.alert_desk import AlertDesk, now_signalling, subject_of
from mlg.app.monitoring_events import Told, incident_id, turned_event
from mlg.app.monitoring_state import Stored
from mlg.core.events import Event
from mlg.graph.record import Recorder
from mlg.graph.record_alerts import alert_uri
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_watch import CalendarEntry
from mlg.monitors.alert import Command, Incident
from mlg.monitors.hold import Held
from mlg.monitors.kinds import by_kind


class Holding:
    """Asks the desk about the alerts of monitors.

    Args:
        desk: What people asked for.
        spec: The manifest in force.
    """

    def __init__(self, desk: AlertDesk, spec: Callable[[], ManifestSpec | None]) -> None:
        self._desk, self._spec = desk, spec

    def calendar(self) -> tuple[CalendarEntry, ...]:
        """Return the entries of the calendar in force."""
        spec = self._spec()
        return spec.calendar if spec else ()

    def maintenance(self, service: str) -> tuple[tuple[datetime, datetime], ...]:
        """Return the event times in which the monitors of a service learn nothing."""
        return self._desk.maintenance(service, self.calendar())

    def after(
        self, command: Command, told: Told, known: tuple[str, ...], held: Mapping[str, Held]
    ) -> dict[str, Held]:
        """Return what holds each alert of an incident after a command.

        Args:
            command: From the monitor.
            told: Whose.
            known: Kinds that were open before; what holds them stays until `turned`.
            held: What held them.
        """
        before = () if command.kind == "open" else known
        found = {kind: one for kind, one in held.items() if kind in before}
        for kind, part in by_kind(command.incident).items():
            if kind in before or command.kind == "close":
                continue
            if one := self._of(told, kind, part):
                found[kind] = one
        return found

    def turned(
        self, stored: Stored, told: Told, recorder: Recorder
    ) -> tuple[list[Event], dict[str, Held]]:
        """Return what is to be told of open alerts that are held now, or no more.

        An alert is judged by the newest windows in which it signals, and by all features that
        ever signalled in it, so that it does not go in and out of a silence with them. One that
        does not signal now stays as it is.
        """
        incident, held = stored.monitor.alerts.incident, dict(stored.held)
        if incident is None:
            return [], held
        signals = [one for found in stored.monitor.signals.values() for one in found]
        whole = by_kind(incident)
        events: list[Event] = []
        for kind, part in now_signalling(incident, signals).items():
            one = self._of(told, kind, part, whole[kind])
            if kind not in stored.kinds or bool(one) == (kind in held):
                continue
            held.pop(kind, None)
            if one:
                held[kind] = one
            name = alert_uri(recorder, incident_id(told, incident), kind)
            known = "" if one else self._desk.acknowledged_by(name)
            turn = stored.turns + len(events)
            events.append(
                turned_event(
                    kind, part, told, recorder, held=one, turn=turn, acknowledged_by=known
                )
            )
        return events, held

    def _of(
        self, told: Told, kind: str, part: Incident, whole: Incident | None = None
    ) -> Held | None:
        subject = subject_of(told.service, told.monitor, kind, part)
        if whole is not None:
            features = {one.feature for one in whole.signals.values()}
            subject = replace(subject, features=tuple(sorted(features)))
        return self._desk.hold(subject, self.calendar())


def may_heal(kinds: Sequence[str], held: Mapping[str, Held]) -> bool:
    """Return whether healing may start: some alert pages, or the calendar expects it.

    What the calendar expects is only told by healing.
    """
    return any(kind not in held or held[kind].standing == "annotated" for kind in kinds)


def all_held(kinds: Sequence[str], held: Mapping[str, Held]) -> bool:
    """Return whether no alert of an incident pages, so that nothing acts on it."""
    return bool(kinds) and all(kind in held for kind in kinds)
