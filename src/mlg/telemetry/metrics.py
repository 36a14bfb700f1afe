"""Names of the metrics that mlg exposes: one table, from which the docs page is made."""

from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0,
)  # fmt: skip
_UNIT: Final = tuple(i / 20 for i in range(1, 21))


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """One metric: its name and labels never change, fields may be added."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    exposed_by: tuple[Literal["replica", "control"], ...] = ("replica",)


METRICS: Final = (
    MetricSpec(
        name="mlg_requests_total",
        kind="counter",
        help="Viewer requests, counted once, at the gateway, by assigned version.",
        labels=("service", "version", "code"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_answers_total",
        kind="counter",
        help="Recommendations given, counted once, from the log, by who gave them.",
        labels=("service", "version", "served_by"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_rollout_share_bp",
        kind="gauge",
        help="Share of the service's traffic in force, bp.",
        labels=("service", "version"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_availability_ratio",
        kind="gauge",
        help="Viewer requests that were not answered by a 5xx, 0..1, since the gateways count.",
        labels=("service",),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_error_budget_left_ratio",
        kind="gauge",
        help="Error budget of the availability objective that is left, 1 is all; below 0 it is "
        "overdrawn. Only of services with an objective.",
        labels=("service",),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_watch_through",
        kind="histogram",
        help="Watch-through of an answer's items, 0..1, as first told, by band of raw "
        "confidence; the sum follows later, larger reports.",
        labels=("service", "version", "band"),
        buckets=tuple(i / 10 for i in range(1, 11)),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_cpu_ratio",
        kind="gauge",
        help="Part of one core that a replica uses, over the last minute.",
        labels=("service", "version", "process"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_memory_bytes",
        kind="gauge",
        help="Resident memory of a replica.",
        labels=("service", "version", "process"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_replica_difference",
        kind="gauge",
        help="Natural logarithm of the evidence that a replica's confidence fell against its "
        "siblings'; only of replicas with siblings.",
        labels=("service", "version", "process"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_drift_statistic",
        kind="gauge",
        help="Value of a monitor's chart, in standard deviations between windows.",
        labels=("service", "monitor", "stream", "feature", "chart"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_alerts_total",
        kind="counter",
        help="Incidents that a monitor opened; begins anew with a monitor of other windows. "
        "Monitor `mlg.log` is lost log records.",
        labels=("service", "monitor"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_run_metric",
        kind="gauge",
        help="What the evaluation of a version that serves or is kept warm measured.",
        labels=("model", "version", "metric"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_feature_importance",
        kind="gauge",
        help="Part of a model's gain by feature, of versions that serve or are kept warm.",
        labels=("model", "version", "feature"),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_log_gaps_seen",
        kind="gauge",
        help="Log records known to be lost, as the control plane read them.",
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_openlineage_emitted_total",
        kind="counter",
        help="OpenLineage events of our runs that the configured target took.",
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_openlineage_failed_total",
        kind="counter",
        help="OpenLineage events not taken: `unreachable`, sent again; `refused`, left out.",
        labels=("reason",),
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_openlineage_waiting",
        kind="gauge",
        help="Events of the log that the OpenLineage target was not told of yet.",
        exposed_by=("control",),
    ),
    MetricSpec(
        name="mlg_attempts_total",
        kind="counter",
        help="Recommend attempts that reached a replica or fallback server, with retries.",
        labels=("service", "version", "served_by", "code"),
    ),
    MetricSpec(
        name="mlg_request_seconds",
        kind="histogram",
        help="Seconds from a whole request body to its answer, the log write included.",
        labels=("service", "version"),
        buckets=_SECONDS,
    ),
    MetricSpec(
        name="mlg_confidence",
        kind="histogram",
        help="Confidence that viewers were shown, after the shrink by drift severity.",
        labels=("service", "version"),
        buckets=_UNIT,
    ),
    MetricSpec(
        name="mlg_raw_confidence",
        kind="histogram",
        help="The model's own calibrated confidence; what monitors and restarts read.",
        labels=("service", "version"),
        buckets=_UNIT,
    ),
    MetricSpec(
        name="mlg_abstentions_total",
        kind="counter",
        help="Answers that the replica took from the popularity list for lack of confidence.",
        labels=("service", "version"),
    ),
    MetricSpec(
        name="mlg_faults_total",
        kind="counter",
        help="Answers withheld by the replica (500 with mlg-fault), by what was wrong.",
        labels=("service", "version", "fault"),
    ),
    MetricSpec(
        name="mlg_feedback_total",
        kind="counter",
        help="Feedback events taken, repeated ones included.",
        labels=("service", "version", "event"),
    ),
    MetricSpec(
        name="mlg_log_gaps_total",
        kind="counter",
        help="Log records lost because they could not be written; the answers were given.",
        labels=("service", "version"),
    ),
    MetricSpec(
        name="mlg_policy_errors_total",
        kind="counter",
        help="Policy files that were refused; the last valid policy stayed in force.",
        labels=("service", "version"),
    ),
    MetricSpec(
        name="mlg_cache_hits_total",
        kind="counter",
        help="Requests whose ranking the cache had; each was decided and logged anew.",
        labels=("service", "version"),
    ),
    MetricSpec(
        name="mlg_cache_misses_total",
        kind="counter",
        help="Requests that the cache did not have and the model ranked; 0 without a cache.",
        labels=("service", "version"),
    ),
    MetricSpec(
        name="mlg_adopted_down",
        kind="gauge",
        help="1 while the adopted recommender does not answer; only of adopted ones.",
        labels=("service", "version", "problem"),
    ),
    MetricSpec(
        name="mlg_ready",
        kind="gauge",
        help="1 when warmed up and not draining.",
        labels=("service", "version"),
    ),
)
"""Every metric that exists now."""

_BY_NAME: Final = {spec.name: spec for spec in METRICS}


def spec(name: str, kind: str) -> MetricSpec:
    """Return the table's row of a metric.

    Raises:
        ValueError: There is no metric of this name and kind.
    """
    found = _BY_NAME.get(name)
    if found is None or found.kind != kind:
        raise ValueError(f"no {kind} {name!r} in the table of metrics")
    return found


def counter(name: str, registry: CollectorRegistry) -> Counter:
    """Return a new counter of the table in the registry; raises as `spec` does."""
    row = spec(name, "counter")
    return Counter(row.name, row.help, row.labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry) -> Gauge:
    """Return a new gauge of the table in the registry; raises as `spec` does."""
    row = spec(name, "gauge")
    return Gauge(row.name, row.help, row.labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry) -> Histogram:
    """Return a new histogram of the table in the registry; raises as `spec` does."""
    row = spec(name, "histogram")
    return Histogram(row.name, row.help, row.labels, registry=registry, buckets=row.buckets)
