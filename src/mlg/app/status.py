"""What runs, as the API reads it."""

import json
from typing import Any

from mlg.app.freezing import frozen_document
from mlg.app.parts import Parts
from mlg.core.errors import NotFoundError
from mlg.core.processes import ProcessState
from mlg.core.traffic import FULL_BP
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
    shares = {s.version: s.bp for s in split.everything} if split else {}
    replicas = [
        p for p in parts.supervisor.processes() if p.service == service and p.kind == "replica"
    ]
    stable = [v for v, bp in shares.items() if bp == FULL_BP]
    live = bool(stable) and parts.supervisor.live(service, stable[0])
    requests = [r for r in parts.router.requests() if r.service == service]
    total = sum(r.total for r in requests)
    failed = sum(r.total for r in requests if r.code >= 500)
    count = spec.services[service].replicas
    health, reason = _health(replicas, count, live), ""
    if health == "healthy":
        reason = _behind(parts, [p for p in replicas if shares.get(p.version)])
        health = "degraded" if reason else health
    refused = {
        g.version: why
        for g, why in parts.supervisor.refusals()
        if (g.kind, g.service) == ("replica", service)
    }
    return {
        "service": service,
        "live": live,
        "health": health,
        "reason": reason,
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


def _health(replicas: list[ProcessState], wanted: int, live: bool) -> str:
    ready = sum(p.ready for p in replicas)
    if not replicas:
        return "no_version"
    if live and ready >= wanted:
        return "healthy"
    return "degraded" if ready else "down"


def _behind(parts: Parts, replicas: list[ProcessState]) -> str:
    """Return what is wrong with the adopted recommender behind them; empty: nothing."""
    seen = ((p.id, parts.replicas.watched(p)) for p in replicas)
    told = [(name, one.problem) for name, one in seen if one is not None and one.problem]
    if not told:
        return ""
    return f"{told[0][1]}, say {len(told)} of {len(replicas)} replicas"


def _own_pid(control: bytes | None) -> int:
    return int(json.loads(control)["pid"]) if control else 0
