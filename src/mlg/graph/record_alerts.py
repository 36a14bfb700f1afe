"""Events of monitors: alerts opened, grown and closed; incidents and what became of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from mlg.core.clock import rfc3339
from mlg.core.events import Event
from mlg.core.measure import Alert
from mlg.core.nodes import Attr
from mlg.core.uris import EventId, Uri, parse_uri
from mlg.graph.record import Recorder, edge, feature_uri, node

INCIDENT_STEPS: Final = frozenset(("opened", "grown", "closed"))
ALERT_WORDS: Final = INCIDENT_STEPS | {"held", "released"}
INCIDENT_WORDS: Final = frozenset(
    (
        "recorded", "annotated", "excluded", "quarantined", "retraining_begun", "healed",
        "backed_off", "called", "rolled_back", "settled",
    )
)  # fmt: skip


def alert_uri(recorder: Recorder, incident: str, kind: str) -> Uri:
    """Return `alert home-features:1/confidence_drop@<birth of the monitor>`."""
    name, _, version = incident.partition("@")
    return recorder.uri("alert", f"{name}/{kind}", version or None)


def incident_uri(recorder: Recorder, incident: str) -> Uri:
    """Return `incident home-features:1@<birth of the monitor>`."""
    name, _, version = incident.partition("@")
    return recorder.uri("incident", name, version or None)


def drift_signal_uri(recorder: Recorder, alert: Uri, statistic: str) -> Uri:
    """Return `drift_signal home-features:1/request/age.location@<birth of the monitor>`."""
    parts = parse_uri(alert)
    name = f"{parts.name.rpartition('/')[0]}/{statistic}"
    return recorder.uri("drift_signal", name, parts.version)


def alert_changed(
    recorder: Recorder,
    *,
    key: str,
    word: str,
    alert: Alert,
    kind: str,
    monitor: str,
    service: str,
    incident: Uri,
    feature: str,
    severity: float,
    cause_named: str,
    model: str = "",
    signals: Mapping[str, Mapping[str, Attr]] | None = None,
    facts: Mapping[str, Attr] | None = None,
    baselines: Sequence[Uri] = (),
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that an alert opened, grew or closed, is held or is released.

    Args:
        recorder: Whose event.
        key: Idempotency key; the monitor's command with the kind.
        word: One of `ALERT_WORDS`; a held alert starts nothing until it is released.
        alert: Its measurement, slice, sample and remedy; the subject of the measurement is
            the service or the model version on which it was detected.
        kind: `input_drift`, `confidence_drop`, …: what automations name.
        monitor: The monitor of the manifest.
        service: The service that it watches.
        incident: The incident that the alert is a part of.
        feature: The logged feature behind it.
        severity: 0..1.
        cause_named: What it is taken for, from the published table.
        model: The model that logs the features; empty: no feature is named.
        signals: Facts of each statistic behind it, by `stream/metric`; `feature` among them.
        facts: More attributes of the alert.
        baselines: The versions of what is usual that it was found against.
        at: When; None is now.
        cause: The event that led to it.

    Raises:
        ValueError: Unknown word.
    """
    if word not in ALERT_WORDS:
        raise ValueError(f"unknown word of an alert {word!r}")
    measured = alert.measurement
    owner = recorder.uri("service", service)
    attrs: dict[str, Attr] = {
        **(facts or {}),
        "kind": kind,
        "service": service,
        "monitor": monitor,
        "feature": feature,
        "metric": measured.metric,
        "statistic": measured.value,
        "limit": measured.limits[1],
        "unit": measured.unit,
        "n": measured.n,
        "window": f"{rfc3339(measured.start)}/{rfc3339(measured.end)}",
        "severity": severity,
        "slice": alert.slice,
        "remediation": alert.remediation,
        "cause": cause_named,
        "opened_event_time": rfc3339(alert.opened_at),
        "sample": alert.sample,
        "suspects": " ".join(alert.suspects),
    }
    if alert.sample is None:
        del attrs["sample"]  # a growth without a sample keeps the one before
    edges = [
        edge(owner, "detected_on", alert.uri, provenance="observed"),
        edge(alert.uri, "caused", incident, provenance="inferred"),
    ]
    edges += [edge(uri, "detected_on", alert.uri, provenance="observed") for uri in baselines]
    if measured.subject != owner:
        edges.append(edge(measured.subject, "detected_on", alert.uri, provenance="observed"))
    nodes = [node(owner, {}, name=service), node(alert.uri, attrs, ended=word == "closed")]
    for name, told in sorted((signals or {}).items()):
        signal = drift_signal_uri(recorder, alert.uri, name)
        nodes.append(node(signal, told, name=name, ended=word == "closed"))
        edges.append(edge(signal, "caused", alert.uri, provenance="observed"))
        edges.append(edge(measured.subject, "detected_on", signal, provenance="observed"))
        if model and told.get("feature"):
            logged = feature_uri(recorder, model, str(told["feature"]))
            nodes.append(node(logged, {"model": model}, name=str(told["feature"])))
            edges.append(edge(logged, "detected_on", signal, provenance="observed"))
    return recorder.event(
        f"mlg.alert.{word}",
        key=key,
        subject=alert.uri,
        nodes=nodes,
        edges=edges,
        at=at,
        cause=cause,
    )


def monitor_learned(
    recorder: Recorder,
    *,
    key: str,
    monitor: str,
    service: str,
    stream: str,
    windows: int,
) -> Event:
    """Return the event that a monitor has learned what is usual, so that it may alert.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        monitor: The monitor of the manifest.
        service: The service that it watches.
        stream: What it knows now: the requests, or the answers of a version.
        windows: Windows that it has seen so far.
    """
    return recorder.event(
        "mlg.monitor.learned",
        key=key,
        subject=recorder.uri("service", service),
        facts={
            "monitor": monitor,
            "service": service,
            "stream": stream,
            "windows": windows,
        },
    )


def incident_changed(
    recorder: Recorder,
    *,
    key: str,
    word: str,
    incident: Uri,
    facts: Mapping[str, Attr],
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event that an incident opened, grew or closed, with what is known of it.

    Raises:
        ValueError: Unknown word.
    """
    if word not in INCIDENT_STEPS:
        raise ValueError(f"unknown word of an incident {word!r}")
    attrs: dict[str, Attr] = {**facts, "state": "closed" if word == "closed" else "open"}
    return recorder.event(
        f"mlg.incident.{word}",
        key=key,
        subject=incident,
        nodes=[node(incident, attrs, ended=word == "closed")],
        at=at,
        cause=cause,
    )


def incident_handled(
    recorder: Recorder,
    *,
    key: str,
    word: str,
    incident: Uri,
    service: str,
    reason: str,
    triggered: Uri | None = None,
    healed_by: Sequence[Uri] = (),
    facts: Mapping[str, Attr] | None = None,
    at: datetime | None = None,
    cause: EventId | None = None,
) -> Event:
    """Return the event of what healing did with an incident.

    Args:
        recorder: Whose event.
        key: Idempotency key.
        word: One of `INCIDENT_WORDS`.
        incident: Which incident.
        service: Of which service.
        reason: Why, in words.
        triggered: The run that was started for it.
        healed_by: The run and the deployment that healed it.
        facts: More data of the event.
        at: When; None is now.
        cause: The event that led to it.

    Raises:
        ValueError: Unknown word.
    """
    if word not in INCIDENT_WORDS:
        raise ValueError(f"unknown word of an incident {word!r}")
    edges = [edge(incident, "healed_by", uri, provenance="observed") for uri in healed_by]
    if triggered is not None:
        edges.append(edge(incident, "triggered", triggered, provenance="observed"))
    latest: dict[str, Attr] = {"handled": word, "handled_reason": reason}
    return recorder.event(
        f"mlg.incident.{word}",
        key=key,
        subject=incident,
        nodes=[node(incident, latest)],
        edges=edges,
        facts={**(facts or {}), "service": service, "reason": reason},
        at=at,
        cause=cause,
    )
