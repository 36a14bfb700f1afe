"""The health document of one service, from what the parts know."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mlg.api.health import (
    HealthAnswer,
    LogAlert,
    ReplicaHealth,
    Restarts,
    VersionHealth,
    availability_of,
)
from mlg.app.drift import drift_health
from mlg.app.parts import Parts
from mlg.app.replicas import Watched, cpu_of, grown_by
from mlg.app.status import service_document
from mlg.core.clock import rfc3339
from mlg.core.processes import ProcessState
from mlg.core.traffic import FULL_BP, version_of
from mlg.manifest.specs_services import ServiceSpec
from mlg.monitors.live import EDGES_MS, Series
from mlg.monitors.live_summary import quantile_ms
from mlg.telemetry.reading import quantile_ms as reading_quantile_ms

_NO_ANSWER: Final = "no answer was read from the log yet"
_NOT_SEEN: Final = "it was not looked at yet"
_NOT_READ: Final = "its metrics could not be read twice within a minute"
_QUIET: Final = "nobody asked it in the last minute"
_QUANTILES: Final = (
    ("latency_p50_ms", 0.5),
    ("latency_p95_ms", 0.95),
    ("latency_p99_ms", 0.99),
)


def health_document(parts: Parts, service: str) -> HealthAnswer:
    """Return how a service is.

    Raises:
        NotFoundError: No such service.
    """
    known = service_document(parts, service)
    spec = parts.manifests.spec()
    declared = spec.services[service] if spec else ServiceSpec()
    series = [s for s in parts.tail.state.series if s.service == service]
    processes = [
        p for p in parts.supervisor.processes() if p.service == service and p.kind == "replica"
    ]
    replicas = [_replica(parts, p) for p in processes]
    seen = [w for p in processes if (w := parts.replicas.watched(p)) is not None]
    attempts = {a["version"]: (a["total"], a["errors"]) for a in known["attempts"]}
    total = sum(n for n, _ in attempts.values())
    unknown: dict[str, str] = {}
    figures = _figures(series, unknown)
    cache_hits, lookups = _cache(seen)
    if cache_hits is None:
        unknown["cache_hit_ratio"] = "no replica keeps a cache of answers"
    policy = parts.manifests.policies.read(service)
    if policy is None:
        unknown["drift_severity"] = "the service has no serving policy yet"
    if not total:
        unknown["error_ratio"] = "the gateways have counted no attempt yet"
    cpu = _sum([r.cpu_ratio for r in replicas])
    memory = _sum([r.memory_bytes for r in replicas])
    lost = _sum([r.log_records_lost_total for r in replicas])
    for name, value in (
        ("cpu_ratio", cpu),
        ("memory_bytes", memory),
        ("log_records_lost_total", lost),
    ):
        if value is None:
            unknown[name] = "not every replica is known yet" if replicas else "no replica runs"
    return HealthAnswer(
        service=service,
        at=rfc3339(parts.clock.now()),
        live=known["live"],
        health=known["health"],
        reason=known["reason"],
        versions=[_version(v, attempts, series) for v in known["versions"]],
        replicas=replicas,
        availability=availability_of(
            known["requests"]["total"], known["requests"]["failed"], _objective(declared)
        ),
        error_ratio=sum(bad for _, bad in attempts.values()) / total if total else None,
        **figures,
        cache_hit_ratio=cache_hits / lookups if cache_hits is not None and lookups else None,
        cpu_ratio=cpu,
        memory_bytes=None if memory is None else int(memory),
        drift=drift_health(parts.monitoring.standings(), service),
        drift_severity=None if policy is None else policy.drift_severity,
        restarts=Restarts(
            recent=[
                rfc3339(datetime.fromtimestamp(at_s, tz=UTC))
                for at_s in parts.replicas.restarts(service)
            ],
            held=list(parts.replicas.held(service)),
        ),
        log_records_lost_total=None if lost is None else int(lost),
        log_alert=_log_alert(parts, service),
        unknown=unknown,
    )


def _log_alert(parts: Parts, service: str) -> LogAlert | None:
    found = parts.replicas.losses(service)
    if found is None:
        return None
    uri, alert = found
    return LogAlert(
        alert=uri,
        opened_at=rfc3339(datetime.fromtimestamp(alert.opened_s, tz=UTC)),
        records=alert.records,
        processes=list(alert.processes),
    )


def _objective(declared: ServiceSpec) -> float | None:
    rollback = declared.rollback
    if rollback is None or rollback.availability is None:
        return None
    return rollback.availability.min_bp / FULL_BP


def _version(
    known: Mapping[str, Any], attempts: Mapping[str, tuple[int, int]], series: Sequence[Series]
) -> VersionHealth:
    version = str(known["version"])
    total, errors = attempts.get(version, (0, 0))
    mine = [s for s in series if s.version == version_of(version)]
    unknown: dict[str, str] = {}
    figures = _figures(mine, unknown)
    answers = sum(s.requests for s in mine)
    fell = sum(s.requests for s in mine if s.served_by == "fallback")
    counted = version in attempts
    why = "the gateways have counted no attempt of it yet"
    if not counted:
        unknown |= dict.fromkeys(("attempts_total", "attempt_errors_total"), why)
    if not total:
        unknown["error_ratio"] = why
    if not answers:
        unknown["fallback_ratio"] = _NO_ANSWER
    return VersionHealth(
        version=version,
        share_bp=known["share_bp"],
        deployment=known["deployment"],
        ready=known["ready"],
        replicas=known["replicas"],
        refused=known["refused"],
        attempts_total=total if counted else None,
        attempt_errors_total=errors if counted else None,
        error_ratio=errors / total if total else None,
        answers_total=answers,
        fallback_ratio=fell / answers if answers else None,
        **figures,
        unknown=unknown,
    )


def _figures(series: Sequence[Series], unknown: dict[str, str]) -> dict[str, float | None]:
    """Return latencies and confidence of the log, and say what of it is not known."""
    latency = [0] * (len(EDGES_MS) + 1)
    for one in series:
        latency = [a + b for a, b in zip(latency, one.latency, strict=True)]
    scored = sum(sum(s.confidence) for s in series)
    found: dict[str, float | None] = {name: quantile_ms(latency, q) for name, q in _QUANTILES}
    found["raw_confidence_mean"] = sum(s.raw_sum for s in series) / scored if scored else None
    unknown |= {name: _NO_ANSWER for name, value in found.items() if value is None}
    return found


def _replica(parts: Parts, process: ProcessState) -> ReplicaHealth:
    watched = parts.replicas.watched(process)
    compared = parts.replicas.compared(process)
    last = watched.last if watched else None
    figures: dict[str, Any] = {
        "cpu_ratio": cpu_of(watched) if watched else None,
        "memory_bytes": last.memory_bytes if last else None,
        "raw_confidence_mean": compared.mean if compared else None,
        "siblings_raw_confidence_mean": compared.siblings_mean if compared else None,
        "difference_log_e": _finite(compared.statistic) if compared else None,
        "difference_limit_log_e": compared.limit if compared and compared.siblings else None,
        "log_records_lost_total": last.reading.log_records_lost
        if last and last.reading
        else None,
        **_recent(watched),
    }
    unknown = {
        name: _why(name, watched, siblings=compared.siblings if compared else 0)
        for name, value in figures.items()
        if value is None
    }
    return ReplicaHealth(
        id=process.id,
        version=process.version,
        pid=process.pid,
        port=process.port,
        ready=process.ready,
        alive=process.alive,
        up_s=max(0.0, (parts.clock.now() - process.started_at).total_seconds()),
        **figures,
        unknown=unknown,
    )


def _recent(watched: Watched | None) -> dict[str, Any]:
    names = (
        "recent_attempts", "recent_errors", "recent_error_ratio", "recent_latency_p50_ms",
        "recent_latency_p99_ms",
    )  # fmt: skip
    if watched is None:
        return dict.fromkeys(names)
    attempts, errors = grown_by(watched, "attempts"), grown_by(watched, "errors")
    first, last = watched.recent()
    if first is None or last is None or first is last or attempts is None or errors is None:
        return dict.fromkeys(names)
    grown = [b - a for a, b in zip(first.seconds, last.seconds, strict=True)]
    return dict(
        zip(
            names,
            (
                attempts,
                errors,
                errors / attempts if attempts else None,
                reading_quantile_ms(last.seconds_edges, grown, 0.5),
                reading_quantile_ms(last.seconds_edges, grown, 0.99),
            ),
            strict=True,
        )
    )


def _why(name: str, watched: Watched | None, *, siblings: int) -> str:
    """Return why a figure of a replica is not known."""
    if watched is None:
        return _NOT_SEEN
    if name in {"cpu_ratio", "memory_bytes"}:
        return "the system does not tell of it" if len(watched.sights) > 1 else _NOT_SEEN
    if name == "log_records_lost_total":
        return _NOT_READ
    if name == "raw_confidence_mean":
        return "it gave too few answers"
    if "difference" in name or "confidence" in name:
        return "too few answers to compare" if siblings else "it has no siblings"
    first, last = watched.recent()
    return _QUIET if first is not None and first is not last else _NOT_READ


def _cache(seen: Sequence[Watched]) -> tuple[int | None, int]:
    """Return hits and lookups of the replicas that keep a cache, since they started."""
    read = [w.recent()[1] for w in seen]
    kept = [r for r in read if r is not None and r.cache_hits is not None]
    if not kept:
        return None, 0
    return sum(r.cache_hits or 0 for r in kept), sum(r.cache_lookups for r in kept)


def _sum(values: Sequence[float | int | None]) -> float | None:
    """Return the sum, or None when one is not known or there are none."""
    known = [v for v in values if v is not None]
    return sum(known) if known and len(known) == len(values) else None


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
