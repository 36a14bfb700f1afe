"""What incidents do to the live policies of services."""

from collections.abc import Iterable, Sequence

from mlg.app.alert_holding import all_held
from mlg.app.monitoring_events import Told, incident_id
from mlg.app.monitoring_state import Stored, drifted
from mlg.core.uris import Uri
from mlg.graph.record import Recorder
from mlg.graph.record_alerts import incident_uri
from mlg.monitors.monitor import policy_now
from mlg.monitors.severity import PolicyChange
from mlg.workflows.policies import Policies


def adjust_policies(
    policies: Policies,
    recorder: Recorder,
    services: Iterable[str],
    monitors: Sequence[tuple[Told, Stored]],
) -> None:
    """Let each service's live policy say how severe its monitors' worst incident is.

    Only monitors that heal act on what viewers see.

    Args:
        policies: Written where they change.
        recorder: Makes the events.
        services: By name.
        monitors: All that run here.

    Raises:
        BackendError: A policy or its event could not be written.
    """
    for service in sorted(services):
        policy = policies.read(service)
        change, incident = _change(recorder, service, monitors)
        if policy is None or change.drift_severity == policy.drift_severity:
            continue
        policies.change(
            recorder,
            service,
            lambda old, change=change: drifted(old, change),
            reason=change.reason,
            caused_by=incident,
        )


def _change(
    recorder: Recorder, service: str, monitors: Sequence[tuple[Told, Stored]]
) -> tuple[PolicyChange, Uri | None]:
    quiet = PolicyChange(service=service, drift_severity=0.0, diversity=0.0, reason="quiet")
    found: tuple[PolicyChange, Uri | None] = (quiet, None)
    for told, stored in monitors:
        if stored.spec.watch != service or stored.spec.on_alert != "heal":
            continue
        incident, change = stored.monitor.alerts.incident, policy_now(stored.monitor)
        if all_held(stored.kinds, stored.held):
            continue
        if incident is not None and change.drift_severity > found[0].drift_severity:
            found = (change, incident_uri(recorder, incident_id(told, incident)))
    return found
