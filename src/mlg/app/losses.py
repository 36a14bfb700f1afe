"""Log records that processes lost: told to the graph, with an alert while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.measure import Alert, Measurement
from mlg.core.nodes import Attr
from mlg.core.ports import Files
from mlg.core.uris import EventId, Uri
from mlg.graph import record_alerts, record_replicas
from mlg.graph.record import Recorder
from mlg.monitors.hold import Held, Subject
from mlg.monitors.losses import LossAlert, LossCommand, LossFacts, LossState, LossTold, step

KIND: Final = "records_lost"
"""What a rule's `alert:` names."""
MONITOR: Final = "mlg.log"
"""No monitor of a manifest can be called so."""
_PATH: Final = "log-losses.json"
_REMEDY: Final = (
    "look for a full disk or a folder that cannot be written, and at the log of the replica in "
    "the home's run folder; what was lost is not in monitors, audits and training"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    born: str
    """Of this memory: the numbers of alerts begin anew with it."""
    state: LossState


class LogLosses:
    """Remembers what was told of lost records.

    Args:
        files: Keeps it over restarts.
        born: Makes a name for a memory that begins anew.
        hold: Says what keeps an alert from paging.
    """

    def __init__(
        self,
        files: Files,
        born: str,
        hold: Callable[[Subject], Held | None] = lambda _: None,
    ) -> None:
        self._files, self._hold = files, hold
        self._kept = _Kept(born=born, state=LossState())
        try:
            content = files.read(_PATH)
            if content is not None:
                self._kept = msgspec.json.decode(content, type=_Kept)
        except msgspec.MsgspecError:
            pass  # begun anew: losses of processes that still run are told once more
        self._written = self._kept

    def open(self, service: str) -> LossAlert | None:
        """Return the service's alert while it is open."""
        return self._kept.state.open.get(service)

    def numbers(self) -> dict[str, int]:
        """Return how many alerts there were, by service."""
        return dict(self._kept.state.numbers)

    def uri(self, recorder: Recorder, alert: LossAlert) -> Uri:
        """Return the alert's URI."""
        return record_alerts.alert_uri(recorder, self._name(alert), KIND)

    def look(self, recorder: Recorder, facts: LossFacts) -> list[Event]:
        """Return the events of one look, in order; `keep` once they are recorded."""
        state, told, commands = step(self._kept.state, facts)
        self._kept = _Kept(born=self._kept.born, state=state)
        causes: dict[str, EventId] = {}
        events: list[Event] = []
        for one in told:
            events.append(_told(recorder, one))
            causes[one.service] = events[-1].id
        for command in commands:
            events += self._changed(recorder, command, causes.get(command.alert.service))
        return events

    def keep(self) -> None:
        """Write down what was told, if that changed.

        Raises:
            BackendError: It cannot be written; after a restart it is told once more.
        """
        if self._kept != self._written:
            self._files.write(_PATH, msgspec.json.encode(self._kept))
            self._written = self._kept

    def _name(self, alert: LossAlert) -> str:
        return f"{MONITOR}-{alert.service}:{alert.number}@{self._kept.born}"

    def _changed(
        self, recorder: Recorder, command: LossCommand, cause: EventId | None
    ) -> list[Event]:
        alert, name = command.alert, self._name(command.alert)
        incident = record_alerts.incident_uri(recorder, name)
        word = {"open": "opened", "grow": "grown", "close": "closed"}[command.kind]
        key = f"losses:{name}:{word}:{alert.records}"
        service = recorder.uri("service", alert.service)
        opened, last = (
            datetime.fromtimestamp(at_s, tz=UTC) for at_s in (alert.opened_s, alert.last_s)
        )
        text = (
            f"{alert.records} answers or feedback of {alert.service} could not be written to "
            f"its log by {', '.join(alert.processes)}"
        )
        shared: dict[str, Attr] = {"text": text, "action": "record", "on_alert": "notify"}
        held = self._hold(
            Subject(service=alert.service, monitor=MONITOR, kind=KIND, start=opened, end=last)
        )
        standing: dict[str, Attr] = {
            "standing": held.standing if held else "",
            "held": held.words if held else "",
        }
        alerted = record_alerts.alert_changed(
            recorder,
            key=f"{key}:{KIND}",
            word=word,
            alert=Alert(
                uri=record_alerts.alert_uri(recorder, name, KIND),
                measurement=Measurement(
                    subject=service,
                    metric="log_records_lost",
                    value=float(alert.records),
                    unit="records",
                    n=alert.records,
                    start=opened,
                    end=last,
                    limits=(0.0, 0.0),
                    verdict="FAIL",
                ),
                remediation=_REMEDY,
                opened_at=opened,
            ),
            kind=KIND,
            monitor=MONITOR,
            service=alert.service,
            incident=incident,
            feature="",
            severity=0.0,  # nothing is known of the answers themselves
            cause_named="records that could not be written",
            facts={**shared, **standing, "processes": ", ".join(alert.processes)},
            cause=cause,
        )
        facts: dict[str, Attr] = {
            **shared,
            "service": alert.service,
            "monitor": MONITOR,
            "cause": "records that could not be written",
            "reasons": text,
            "remediation": _REMEDY,
            "severity": 0.0,
            "opened_event_time": rfc3339(opened),
            "first": "log_records_lost",
            "kinds": KIND,
            "slice": "",
        }
        changed = record_alerts.incident_changed(
            recorder, key=key, word=word, incident=incident, facts=facts, cause=cause
        )
        return [alerted, changed]


def _told(recorder: Recorder, told: LossTold) -> Event:
    return record_replicas.log_records_lost(
        recorder,
        key=f"lost:{told.process}:{told.life}:{told.total}",
        service=told.service,
        process_id=told.process,
        records=told.records,
        total=told.total,
    )
