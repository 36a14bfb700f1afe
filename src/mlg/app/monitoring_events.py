"""What a monitor's commands say to the graph."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlg.app.monitoring_state import Stored
from mlg.core.events import Event
from mlg.core.nodes import Attr
from mlg.core.ports import ArtifactStore
from mlg.core.uris import Digest, Uri
from mlg.graph import record_alerts
from mlg.graph.record import Recorder, model_uri
from mlg.monitors.alert import Command, Incident, alert_of, sentence, worst
from mlg.monitors.evaluate import QUALITY
from mlg.monitors.hold import Held
from mlg.monitors.kinds import by_kind, drop, kind_of
from mlg.monitors.monitor import ready_streams
from mlg.monitors.windows import REQUESTS

_MOST_SIGNALS = 10
"""Statistics of one alert that are told; the rest are counted in the incident's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Whose events these are."""

    monitor: str
    born: str
    """Birth of the monitor's memory: numbers of incidents begin anew with it."""
    service: str
    model: str
    on_alert: str


def incident_id(told: Told, incident: Incident) -> str:
    """Return `<monitor>:<number>@<birth>`, never given twice."""
    return f"{told.monitor}:{incident.key.rpartition(':')[2]}@{told.born}"


def events_of(
    command: Command,
    told: Told,
    kinds: tuple[str, ...],
    *,
    recorder: Recorder,
    sample: Digest | None,
    held: Mapping[str, Held] | None = None,
    baselines: Mapping[str, Uri] | None = None,
) -> tuple[list[Event], tuple[str, ...]]:
    """Return the events of one command, and the kinds of alerts that are open after it.

    An incident is one alert a kind: an alert opens when the first statistic of its kind
    joins. Keys come from the command's, so a command that is read again says nothing new.

    Args:
        command: From the monitor.
        told: Whose command.
        kinds: Kinds that were opened by this incident's earlier commands.
        recorder: Makes events.
        sample: Digest of the stored sample.
        held: What holds the alerts, by kind; of others nothing.
        baselines: What signals are compared with, by stream; of others it is not drawn.
    """
    incident = command.incident
    name = incident_id(told, incident)
    uri = record_alerts.incident_uri(recorder, name)
    key = f"monitor:{name}:{command.kind}:{command.key.rpartition(':')[2]}"
    known = () if command.kind == "open" else kinds
    word = {"open": "opened", "grow": "grown", "close": "closed"}[command.kind]
    events: list[Event] = []
    for kind, part in by_kind(incident).items():
        if command.kind == "close" and kind not in known:
            continue
        new = command.kind != "close" and kind not in known
        events.append(
            _alert_event(
                f"monitor:{name}:opened:{kind}" if new else f"{key}:{kind}",
                "opened" if new else word,
                kind,
                part,
                told,
                recorder,
                sample,
                (held or {}).get(kind),
                baselines=baselines if command.kind != "close" else None,
            )
        )
    facts = incident_facts(incident, told)
    told_event = record_alerts.incident_changed(
        recorder, key=key, word=word, incident=uri, facts=facts
    )
    after = () if command.kind == "close" else tuple(by_kind(incident))
    return [*events, told_event], after


def turned_event(
    kind: str,
    part: Incident,
    told: Told,
    recorder: Recorder,
    *,
    held: Held | None,
    turn: int,
    acknowledged_by: str = "",
) -> Event:
    """Return the event that an open alert is held from now on, or no more.

    Args:
        kind: Of the alert.
        part: The incident with the signals of that kind.
        told: Whose alert.
        recorder: Makes the event.
        held: What holds it; None: it is released, and what an alert starts is started.
        turn: Counts these events of a monitor.
        acknowledged_by: Who knows of it already: then its release starts nothing.
    """
    word = "held" if held else "released"
    key = f"monitor:{incident_id(told, part)}:{word}:{kind}:{turn}"
    more: dict[str, Attr] = {"acknowledged_by": acknowledged_by} if acknowledged_by else {}
    return _alert_event(key, word, kind, part, told, recorder, None, held, more)


def learned_events(recorder: Recorder, name: str, before: Stored, after: Stored) -> list[Event]:
    """Return the event of each stream whose phase I ended between two looks."""
    number = after.monitor.alerts.number
    new = ready_streams(after.monitor) - ready_streams(before.monitor)
    return [
        record_alerts.monitor_learned(
            recorder,
            key=f"monitor:{name}@{after.born}:learned:{number}:{stream}",
            monitor=name,
            service=after.spec.watch,
            stream=stream,
            windows=after.windows,
        )
        for stream in sorted(new)
    ]


def _alert_event(
    key: str,
    word: str,
    kind: str,
    part: Incident,
    told: Told,
    recorder: Recorder,
    sample: Digest | None,
    held: Held | None,
    more: Mapping[str, Attr] | None = None,
    *,
    baselines: Mapping[str, Uri] | None = None,
) -> Event:
    name = incident_id(told, part)
    streams = sorted({one.stream for one in part.signals.values()})
    signal = worst(part)
    alert = alert_of(part, project=recorder.project, sample=sample)
    version = signal.stream.removeprefix(QUALITY)
    subject = (
        recorder.uri("service", told.service)
        if signal.stream == REQUESTS or not version
        else model_uri(recorder, told.model, version)
    )
    alert = replace(
        alert,
        uri=record_alerts.alert_uri(recorder, name, kind),
        measurement=replace(alert.measurement, subject=subject),
    )
    facts: dict[str, Attr] = {
        "usual": signal.usual,
        "now": signal.now,
        "drop": drop(signal),
        "chart": signal.chart,
        "text": sentence(part),
        "action": part.cause.action,
        "on_alert": told.on_alert,
        "standing": held.standing if held else "",
        "held": held.words if held else "",
        **(more or {}),
    }
    return record_alerts.alert_changed(
        recorder,
        key=key,
        word=word,
        alert=alert,
        kind=kind,
        monitor=told.monitor,
        service=told.service,
        incident=record_alerts.incident_uri(recorder, name),
        feature=signal.feature,
        severity=part.policy.drift_severity,
        cause_named=part.cause.cause,
        model=told.model,
        signals=_signals(part),
        facts=facts,
        baselines=[baselines[one] for one in streams if one in baselines] if baselines else (),
    )


def _signals(part: Incident) -> dict[str, dict[str, Attr]]:
    """Return the facts of the statistics that are out, the worst few of them."""
    farthest = sorted(
        part.signals.items(), key=lambda item: -abs(item[1].statistic / (item[1].limit or 1.0))
    )
    return {
        name: {
            "feature": signal.feature,
            "metric": signal.metric,
            "chart": signal.chart,
            "statistic": signal.statistic,
            "limit": signal.limit,
            "usual": signal.usual,
            "now": signal.now,
            "effect": signal.effect,
            "n": signal.n,
        }
        for name, signal in farthest[:_MOST_SIGNALS]
    }


def incident_facts(incident: Incident, told: Told) -> dict[str, Attr]:
    """Return what the graph keeps of an incident."""
    return {
        "service": told.service,
        "monitor": told.monitor,
        "cause": incident.cause.cause,
        "action": incident.cause.action,
        "reasons": "; ".join(incident.cause.reasons),
        "remediation": incident.cause.remediation,
        "severity": incident.policy.drift_severity,
        "opened_event_time": incident.opened_at,
        "first": ", ".join(incident.first),
        "kinds": ", ".join(sorted({kind_of(s) for s in incident.signals.values()})),
        "slice": incident.slice.words if incident.slice else "",
        "on_alert": told.on_alert,
        "text": sentence(incident),
    }


def stored_sample(command: Command, service: str, artifacts: ArtifactStore) -> Digest | None:
    """Store the prediction ids of the offending slice; return their digest, None without any.

    Raises:
        BackendError: They could not be stored.
    """
    if not command.sample:
        return None
    document = {"service": service, "prediction_ids": list(command.sample)}
    with tempfile.TemporaryDirectory(prefix="mlg-sample-") as beside:
        path = Path(beside) / "sample.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return artifacts.put(path)
