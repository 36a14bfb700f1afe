"""`mlg health`: how one service is."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    HomeOption,
    JsonOption,
    connect,
    home_of,
    out,
    reported,
    show,
    table,
)


def health(
    service: str = typer.Argument(help="Name of the service."),
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Show a service's replicas, versions, errors, latency, confidence, drift and error budget.

    Example: mlg health home --json
    """
    with reported(as_json):
        document = connect(home_of(home)).service_health(service)
        show(document, as_json, _print_health)


def _print_health(found: dict[str, Any]) -> None:
    kept = found["availability"]
    out.print(
        f"{found['service']}: {found['health']}, {'live' if found['live'] else 'not live'}; "
        f"availability {_share(kept['availability_ratio'])} of {kept['requests_total']} "
        f"requests, objective {_share(kept['objective_ratio'])}, "
        f"error budget left {_share(kept['budget_left_ratio'])}"
    )
    if found["reason"]:
        out.print(f"degraded: {found['reason']}", style="yellow", markup=False)
    if alert := found["log_alert"]:
        out.print(
            f"log: {alert['records']} records lost since {alert['opened_at']}; "
            f"mlg why {alert['alert']}",
            style="red",
            markup=False,
        )
    out.print(
        f"errors {_share(found['error_ratio'])}  p50 {_figure(found['latency_p50_ms'])} ms  "
        f"p99 {_figure(found['latency_p99_ms'])} ms  "
        f"confidence {_figure(found['raw_confidence_mean'])}  "
        f"cpu {_figure(found['cpu_ratio'])} cores  drift {_figure(found['drift_severity'])}"
    )
    table(
        "versions",
        ["version", "share", "ready", "errors", "p99 ms", "confidence", "fallback"],
        [
            [
                v["version"],
                f"{v['share_bp'] / 100:g} %",
                f"{v['ready']}/{v['replicas']}",
                _share(v["error_ratio"]),
                _figure(v["latency_p99_ms"]),
                _figure(v["raw_confidence_mean"]),
                _share(v["fallback_ratio"]),
            ]
            for v in found["versions"]
        ],
    )
    table(
        "replicas",
        ["id", "ready", "cpu", "MiB", "errors", "p99 ms", "confidence", "siblings"],
        [
            [
                r["id"],
                "yes" if r["ready"] else "no",
                _figure(r["cpu_ratio"]),
                _figure(r["memory_bytes"] and r["memory_bytes"] / 2**20),
                _share(r["recent_error_ratio"]),
                _figure(r["recent_latency_p99_ms"]),
                _figure(r["raw_confidence_mean"]),
                _figure(r["siblings_raw_confidence_mean"]),
            ]
            for r in found["replicas"]
        ],
    )
    for monitor in found["drift"]:
        if monitor["drifting"]:
            out.print(
                f"{monitor['monitor']}: {', '.join(monitor['kinds'])}, taken for "
                f"{monitor['cause']}, since {monitor['opened_at']}",
                markup=False,
            )
    for held in found["restarts"]["held"]:
        out.print(f"no replica is restarted: {held}", markup=False)
    for name, why in sorted(found["unknown"].items()):
        out.print(f"{name} is not known: {why}", style="dim", markup=False)


def _share(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.4g} %"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
