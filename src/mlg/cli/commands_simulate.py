"""`mlg simulate`: what a rollout will take and find, before it begins."""

from pathlib import Path
from typing import Any

import typer

from mlg.cli.instance import (
    FileOption,
    HomeOption,
    JsonOption,
    connect,
    control_of,
    err,
    home_of,
    out,
    reported,
    show,
    table,
)
from mlg.core.errors import LifecycleError, ManifestError, NotFoundError

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3_600.0, 86_400.0


def rollout(  # noqa: PLR0917 - options, given by name
    service: str = typer.Argument(help="Name of the service."),
    rate: float = typer.Option(
        100.0, "--rate", min=0.001, help="Requests a second that are expected."
    ),
    per_unit: float = typer.Option(
        1.0,
        "--requests-per-unit",
        min=1.0,
        help="Requests of one viewer or session within a step.",
    ),
    errors: float | None = typer.Option(
        None,
        "--errors",
        min=0.0,
        max=1.0,
        help="Share of requests that fail already; default: what health says.",
    ),
    abstention: float = typer.Option(
        0.0,
        "--abstention",
        min=0.0,
        max=1.0,
        help="Share of answers for which the model steps back already.",
    ),
    latency: str = typer.Option(
        "lognormal", "--latency", help="Shape of it: lognormal, gamma or pareto."
    ),
    ctr: float = typer.Option(
        0.05, "--ctr", min=0.0001, max=0.9999, help="Share of what is shown that viewers take."
    ),
    runs: int = typer.Option(
        1_000, "--runs", min=20, max=100_000, help="Simulated rollouts behind each figure."
    ),
    file: Path = FileOption,
    home: Path | None = HomeOption,
    as_json: bool = JsonOption,
) -> None:
    """Tell how long each step of a service's rollout takes, and when it would find a fault.

    Simulated with the gates' own tests, for requests that come independently of each other.

    Example: mlg simulate rollout home --rate 1000

    Example: mlg simulate rollout home --rate 50 --requests-per-unit 6 --errors 0.001 --json
    """
    with reported(as_json):
        with err.status(f"simulating {runs:,} rollouts a figure"):
            document = _document(
                service,
                file,
                home_of(home, file),
                {
                    "rate_hz": rate,
                    "requests_per_unit": per_unit,
                    "error_rate": errors,
                    "abstention_rate": abstention,
                    "latency": latency,
                    "ctr": ctr,
                },
                runs,
            )
        show(document, as_json, _print)


def _document(
    service: str, file: Path, home: Path, given: dict[str, Any], runs: int
) -> dict[str, Any]:
    import msgspec

    from mlg.manifest.load import load_manifest
    from mlg.release.forecast import Traffic, forecast, seconds_of
    from mlg.release.rollout_plan import plan_of

    spec = load_manifest(file).spec
    if service not in spec.services:
        raise NotFoundError(
            f"no service {service!r}",
            where=str(file),
            hint=f"there is: {', '.join(sorted(spec.services)) or 'none'}.",
        )
    plan = plan_of(spec.services[service].rollout)
    known = _health(home, service)
    if given["error_rate"] is None:
        given["error_rate"] = known.get("error_ratio") or 0.0
    p50, p99 = known.get("latency_p50_ms"), known.get("latency_p99_ms")
    if p50 and p99:
        given["tail"] = max(1.01, p99 / p50)
    try:
        traffic = msgspec.convert(given, Traffic)
    except msgspec.ValidationError as error:
        raise ManifestError(
            str(error), where="mlg simulate rollout", hint="mlg simulate rollout --help."
        ) from error
    steps = forecast(plan, traffic, runs=runs)
    return {
        "service": service,
        "traffic": msgspec.to_builtins(traffic),
        "measured": sorted(name for name in known if known[name] is not None),
        "healthy_s": seconds_of(steps),
        "steps": [msgspec.to_builtins(step) for step in steps],
    }


def _health(home: Path, service: str) -> dict[str, Any]:
    """Return what a running instance measures of the service; nothing when there is none."""
    if control_of(home) is None:
        return {}
    try:
        found = connect(home).service_health(service)
    except LifecycleError:
        return {}
    names = ("error_ratio", "latency_p50_ms", "latency_p99_ms")
    return {name: found.get(name) for name in names}


def duration(seconds: float | None) -> str:
    """Return a span of time in words.

    Examples:
        >>> duration(0.4), duration(90.0), duration(7_200.0), duration(None)
        ('0.4 s', '1.5 min', '2 h', 'never')
    """
    if seconds is None:
        return "never"
    for unit, name in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit:
            return (
                f"{seconds / unit:.2g} {name}"
                if seconds < 10 * unit
                else f"{seconds / unit:.0f} {name}"
            )
    return f"{seconds:.2g} s"


def _print(found: dict[str, Any]) -> None:
    traffic = found["traffic"]
    if not found["steps"]:
        out.print(
            f"{found['service']}: no canary, so the swap comes at once and nothing is judged"
        )
        return
    total = found["healthy_s"]
    ends = f"about {duration(total)}" if total is not None else "no end: a step never passes"
    at = f"{found['service']} at {traffic['rate_hz']:g} requests/s"
    out.print(f"{at}: a healthy version takes {ends}")
    rows: list[list[object]] = [
        [
            f"{step['share_bp'] / 100:g} %",
            f"{step['candidate_hz']:.3g}",
            _when(step["healthy"]),
            f"{step['smallest']:.2%}",
            ", ".join(step["unsupported"]) or "-",
        ]
        for step in found["steps"]
    ]
    table(
        "steps",
        ["share", "requests/s", "passes: median, 95 %", "rules out", "too few viewers for"],
        rows,
    )
    names = list(dict.fromkeys(name for s in found["steps"] for name, _ in s["faults"]))
    table(
        "found after: median, 95 %",
        ["fault", *(f"at {s['share_bp'] / 100:g} %" for s in found["steps"])],
        [
            [name, *(_when(dict(s["faults"]).get(name)) for s in found["steps"])]
            for name in names
        ],
    )


def _when(one: dict[str, Any] | None) -> str:
    if one is None:
        return "not read"
    if one["median_requests"] is None:
        return f"{one['share']:.0%} within max_hold"
    return f"{duration(one['median_s'])}, {duration(one['p95_s'])}"
