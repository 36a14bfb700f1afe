"""What runs, as the API and Prometheus read it."""

import json
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from mlg.app.emitter import Emitter
from mlg.app.freezing import frozen_document
from mlg.app.parts import Parts
from mlg.core.errors import NotFoundError
from mlg.core.processes import ProcessState
from mlg.core.traffic import FULL_BP
from mlg.telemetry import metrics
from mlg.workflows.state import read_wanted


def status_document(parts: Parts) -> dict[str, Any]:
    """Return `{"services", "ports", "pids", "frozen"}` of design section 11."""
    spec = parts.manifests.spec()
    processes = parts.supervisor.processes()
    own = parts.files.read("control.json")
    pids = {"control": _own_pid(own)} | {p.id: p.pid for p in processes if p.alive}
    return {
        "services": [
            service_document(parts, name) for name in sorted(spec.services if spec else ())
        ],
        "ports": {"gateway": parts.gateway_port, "control": parts.control_port},
        "pids": pids,
        "frozen": frozen_document(parts.files)["frozen"],
    }


def service_document(parts: Parts, service: str) -> dict[str, Any]:
    """Return one service: live, versions with shares and health, replicas, attempts.

    Raises:
        NotFoundError: No such service.
    """
    spec = parts.manifests.spec()
    if spec is None or service not in spec.services:
        raise NotFoundError(f"no service {service!r}", hint="mlg status lists them.")
    wanted = read_wanted(parts.files, service)
    split = parts.router.observed(service)
    shares = {s.version: s.bp for s in split.shares} if split else {}
    replicas = [
        p for p in parts.supervisor.processes() if p.service == service and p.kind == "replica"
    ]
    stable = [v for v, bp in shares.items() if bp == FULL_BP]
    live = bool(stable) and parts.supervisor.live(service, stable[0])
    requests = [r for r in parts.router.requests() if r.service == service]
    total = sum(r.total for r in requests)
    failed = sum(r.total for r in requests if r.code >= 500)
    count = spec.services[service].replicas
    refused = {
        g.version: why
        for g, why in parts.supervisor.refusals()
        if (g.kind, g.service) == ("replica", service)
    }
    return {
        "service": service,
        "live": live,
        "health": _health(replicas, count, live),
        "waits_for": list(parts.supervisor.waiting(service)),
        "versions": [
            {
                "version": item.version,
                "share_bp": shares.get(item.version, 0),
                "deployment": item.deployment,
                "ready": sum(p.ready for p in replicas if p.version == item.version),
                "replicas": count,
                "refused": refused.get(item.version, ""),
            }
            for item in wanted.versions
        ],
        "replicas": [
            {
                "id": p.id,
                "version": p.version,
                "pid": p.pid,
                "port": p.port,
                "ready": p.ready,
                "alive": p.alive,
            }
            for p in replicas
        ],
        "attempts": [
            {"version": a.version, "total": a.total, "errors": a.errors}
            for a in parts.router.attempts(service)
        ],
        "requests": {
            "total": total,
            "failed": failed,
            "availability": 1.0 - failed / total if total else None,
        },
    }


def targets(parts: Parts) -> list[dict[str, Any]]:
    """Return Prometheus' HTTP discovery: one target for each process that exposes metrics."""
    return [
        {
            "targets": [f"127.0.0.1:{p.port}"],
            "labels": {"service": p.service, "version": p.version, "process": p.id},
        }
        for p in parts.supervisor.processes()
        if p.alive and p.kind in {"replica", "fallback"} and not p.health_path
    ]


class _Counted(Collector):
    """Viewer requests as the gateways counted them, and answers as the log has them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[CounterMetricFamily]:
        row = metrics.spec("mlg_requests_total", "counter")
        family = CounterMetricFamily(row.name, row.help, labels=row.labels)
        for r in self._parts.router.requests():
            family.add_metric([r.service, r.version, str(r.code)], r.total)
        yield family
        row = metrics.spec("mlg_answers_total", "counter")
        family = CounterMetricFamily(row.name, row.help, labels=row.labels)
        for s in self._parts.tail.state.series:
            family.add_metric([s.service, s.version, s.served_by], s.requests)
        yield family
        if self._parts.emitter is not None:
            yield from _emission(self._parts.emitter)


def _emission(emitter: Emitter) -> Iterator[CounterMetricFamily]:
    row = metrics.spec("mlg_openlineage_emitted_total", "counter")
    yield CounterMetricFamily(row.name, row.help, value=emitter.emitted)
    row = metrics.spec("mlg_openlineage_failed_total", "counter")
    family = CounterMetricFamily(row.name, row.help, labels=row.labels)
    family.add_metric(["unreachable"], emitter.unreachable)
    family.add_metric(["refused"], emitter.refused)
    yield family


def exposition(parts: Parts) -> str:
    """Return the control plane's own and the gateway-derived series."""
    registry = CollectorRegistry()
    registry.register(_Counted(parts))
    share = metrics.gauge("mlg_rollout_share_bp", registry)
    availability = metrics.gauge("mlg_availability_ratio", registry)
    metrics.gauge("mlg_log_gaps_seen", registry).set(parts.tail.gaps)
    if parts.emitter is not None:
        metrics.gauge("mlg_openlineage_waiting", registry).set(parts.emitter.waiting())
    spec = parts.manifests.spec()
    for name in sorted(spec.services if spec else ()):
        document = service_document(parts, name)
        for version in document["versions"]:
            share.labels(name, version["version"]).set(version["share_bp"])
        if document["requests"]["availability"] is not None:
            availability.labels(name).set(document["requests"]["availability"])
    return generate_latest(registry).decode()


def _health(replicas: list[ProcessState], wanted: int, live: bool) -> str:
    ready = sum(p.ready for p in replicas)
    if not replicas:
        return "no_version"
    if live and ready >= wanted:
        return "healthy"
    return "degraded" if ready else "down"


def _own_pid(control: bytes | None) -> int:
    return int(json.loads(control)["pid"]) if control else 0
