"""How a service's monitors stand, from their memories: for health, metrics and restarts."""

from collections.abc import Iterable, Mapping

from mlg.api.health import DriftHealth
from mlg.app.monitoring_state import Stored
from mlg.monitors.kinds import INPUT_DRIFT, by_kind

_INPUT = frozenset((INPUT_DRIFT, "feature_drift"))


def drift_health(standings: Mapping[str, Stored], service: str) -> list[DriftHealth]:
    """Return each monitor of a service, by name."""
    return [
        _health(name, stored)
        for name, stored in sorted(standings.items())
        if stored.spec.watch == service
    ]


def moving(standings: Iterable[Stored]) -> dict[str, str]:
    """Return by service that its input is not quiet; a fall of confidence is no input."""
    found: dict[str, str] = {}
    for stored in standings:
        incident = stored.monitor.alerts.incident
        if incident is not None and _INPUT & by_kind(incident).keys():
            found[stored.spec.watch] = "the input drifts"
    return found


def statistics(standings: Mapping[str, Stored]) -> dict[tuple[str, str, str, str, str], float]:
    """Return the charts' values by (service, monitor, stream, statistic, chart), in sd."""
    found: dict[tuple[str, str, str, str, str], float] = {}
    for name, stored in sorted(standings.items()):
        for stream, one in stored.monitor.charts.streams.items():
            drawn = {**one.running.drawn(), **one.quality_running.drawn()}
            for metric, (ewma, cusum) in drawn.items():
                where = (stored.spec.watch, name, stream, metric)
                found[*where, "ewma"], found[*where, "cusum"] = ewma, cusum
    return found


def _health(name: str, stored: Stored) -> DriftHealth:
    streams = stored.monitor.charts.streams
    ready = any(one.baseline.ready for one in streams.values())
    incident = stored.monitor.alerts.incident
    unknown = {} if ready else {"drifting": "the monitor still learns what is usual"}
    if incident is None:
        return DriftHealth(
            monitor=name,
            drifting=False if ready else None,
            windows=stored.windows,
            incidents=stored.monitor.alerts.number,
            unknown=unknown,
        )
    return DriftHealth(
        monitor=name,
        drifting=True,
        windows=stored.windows,
        incidents=stored.monitor.alerts.number,
        kinds=sorted(by_kind(incident)),
        cause=incident.cause.cause,
        severity=incident.policy.drift_severity,
        opened_at=incident.opened_at,
    )
