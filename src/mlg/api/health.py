"""The health of one service as one document; fields may be added, never renamed.

Units are in the names: `_ratio` is a part of 1, `_ms` and `_s` are times, `_total` counts
since its source began. What is not known is null, and `unknown` of the same object says why.
"""

import msgspec


class ReplicaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One replica; `recent_` is over the last minute."""

    id: str
    version: str
    """Version or label of its group."""
    pid: int
    port: int
    ready: bool
    alive: bool
    up_s: float
    cpu_ratio: float | None = None
    """Part of one core, over the last minute."""
    memory_bytes: int | None = None
    """Resident."""
    recent_attempts: int | None = None
    recent_errors: int | None = None
    """Attempts that were answered with a 5xx."""
    recent_error_ratio: float | None = None
    recent_latency_p50_ms: float | None = None
    recent_latency_p99_ms: float | None = None
    raw_confidence_mean: float | None = None
    """Of about the newest 30 answers."""
    siblings_raw_confidence_mean: float | None = None
    difference_log_e: float | None = None
    """Natural logarithm of the evidence that its confidence fell against its siblings'."""
    difference_limit_log_e: float | None = None
    """Where it is replaced."""
    log_records_lost_total: int | None = None
    unknown: dict[str, str] = {}


class VersionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One version that serves or is kept warm."""

    version: str
    share_bp: int
    deployment: str
    ready: int
    """Replicas that are ready."""
    replicas: int
    """Replicas that are wanted."""
    refused: str = ""
    """Why its replicas refuse to load it; empty: they do not."""
    attempts_total: int | None = None
    attempt_errors_total: int | None = None
    error_ratio: float | None = None
    """Failed attempts of all, as the gateways count; viewers may have been rescued."""
    answers_total: int = 0
    """In the log."""
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    raw_confidence_mean: float | None = None
    fallback_ratio: float | None = None
    """Answers of its requests that the popularity list gave."""
    unknown: dict[str, str] = {}


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Viewer requests against the objective, since the gateways count.

    `burned_ratio` is errors / ((1 - objective) * requests): 1 is the whole budget.
    """

    requests_total: int
    errors_total: int
    """Requests that ended with a 5xx."""
    availability_ratio: float | None = None
    objective_ratio: float | None = None
    budget_ratio: float | None = None
    """1 - objective."""
    burned_ratio: float | None = None
    budget_left_ratio: float | None = None
    """1 - burned; negative when more failed than may."""
    unknown: dict[str, str] = {}


class DriftHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One monitor of the service."""

    monitor: str
    drifting: bool | None
    """Whether an incident is open."""
    windows: int
    incidents: int
    """So far."""
    kinds: list[str] = []
    cause: str = ""
    severity: float = 0.0
    """0..1."""
    opened_at: str | None = None
    """Event time, RFC 3339."""
    unknown: dict[str, str] = {}


class Restarts(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas that were replaced because they differed."""

    recent: list[str]
    """When, of those that still count, RFC 3339."""
    held: list[str]
    """What keeps a replica from being replaced now; mostly nothing."""


class LogAlert(msgspec.Struct, frozen=True, kw_only=True):
    """The open alert of log records that the service loses."""

    alert: str
    """Its URI, for `mlg why`."""
    opened_at: str
    """RFC 3339."""
    records: int
    """Lost since it opened."""
    processes: list[str]
    """Which lost some."""


class HealthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How one service is."""

    service: str
    at: str
    live: bool
    health: str
    """`healthy`, `degraded`, `down` or `no_version`."""
    reason: str = ""
    """Why it is degraded though its replicas are ready: what it adopted does not answer."""
    versions: list[VersionHealth]
    replicas: list[ReplicaHealth]
    availability: Availability
    error_ratio: float | None = None
    """Attempts that failed, of all, over all versions."""
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    raw_confidence_mean: float | None = None
    cache_hit_ratio: float | None = None
    cpu_ratio: float | None = None
    """Cores that all replicas use together, over the last minute."""
    memory_bytes: int | None = None
    """Of all replicas together."""
    drift: list[DriftHealth]
    drift_severity: float | None = None
    """0..1: what the serving policy in force shrinks confidence by."""
    restarts: Restarts
    log_records_lost_total: int | None = None
    """Of the replicas that run, since each started."""
    log_alert: LogAlert | None = None
    """Null: nothing was lost for five minutes."""
    unknown: dict[str, str] = {}


def availability_of(requests: int, errors: int, objective_ratio: float | None) -> Availability:
    """Return requests against an objective.

    Args:
        requests: Viewer requests that ended.
        errors: Of them those with a 5xx, 0..requests.
        objective_ratio: Least share of good ones, 0..1; None: the manifest names none.

    Examples:
        >>> told = availability_of(1_000, 2, 0.99)
        >>> round(told.burned_ratio, 9), round(told.budget_left_ratio, 9)
        (0.2, 0.8)
        >>> availability_of(0, 0, 0.99).unknown["availability_ratio"]
        'no viewer has asked yet'
    """
    unknown: dict[str, str] = {}
    budget = None if objective_ratio is None else 1.0 - objective_ratio
    burned = None
    if not requests:
        unknown["availability_ratio"] = "no viewer has asked yet"
    if budget is None:
        why = "the manifest names no `rollback.availability`"
        unknown |= dict.fromkeys(("objective_ratio", "budget_ratio", "burned_ratio"), why)
    elif budget <= 0:
        unknown["burned_ratio"] = "an objective of 100% leaves no budget to burn"
    elif not requests:
        unknown["burned_ratio"] = "no viewer has asked yet"
    else:
        burned = errors / (budget * requests)
    if burned is None:
        unknown["budget_left_ratio"] = unknown["burned_ratio"]
    return Availability(
        requests_total=requests,
        errors_total=errors,
        availability_ratio=1.0 - errors / requests if requests else None,
        objective_ratio=objective_ratio,
        budget_ratio=budget,
        burned_ratio=burned,
        budget_left_ratio=None if burned is None else 1.0 - burned,
        unknown=unknown,
    )
