"""`mlg drift arl` and `mlg drift design`: what a control chart's limits mean."""

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any, Final, cast

import typer

from mlg.cli.instance import JsonOption, out, reported, show, table
from mlg.core.errors import ManifestError

SHIFTS: Final = (0.25, 0.5, 1.0, 2.0, 3.0)
"""Shifts of which `design` tells the delay where none is named."""

_COUNTS: Final = {"p", "np", "c", "u"}
_SLOW_LAMBDA: Final = 0.03
"""Below it the steady state of an MEWMA takes long, and is told only when asked for."""
_NEVER: Final = "null is infinite: longer than 1e12 points"

_CHART = typer.Option(
    ..., "--chart", help="ewma, cusum, shewhart, mewma, t2, runs, p, np, c or u."
)
_LAM = typer.Option(None, "--lam", help="EWMA, MEWMA: weight of the newest point; default 0.1.")
_LIMIT = typer.Option(
    None,
    "--limit",
    help="Shewhart, EWMA: in standard deviations of the statistic. MEWMA, T squared: on T "
    "squared. p, np, c, u: in sigmas, default 3. Runs rules: times their bounds.",
)
_K = typer.Option(None, "--k", help="CUSUM: reference value, in sd; default 0.25.")
_H = typer.Option(None, "--h", help="CUSUM: decision interval, in sd.")
_HEAD = typer.Option(
    0.0, "--head-start", help="CUSUM: where the sum starts, in the unit of H; EWMA: of --limit."
)
_TWO = typer.Option(False, "--two-sided", help="Both directions signal; else upwards only.")
_DIMS = typer.Option(None, "--dims", help="MEWMA, T squared: number of variables.")
_REFLECT = typer.Option(
    None, "--reflect", help="One-sided EWMA: border <= 0 that it never falls below."
)
_EXACT = typer.Option(
    False, "--exact-limits", help="Two-sided EWMA: limits by the exact variance of each point."
)
_RULES = typer.Option(
    None, "--rules", help="Runs rules, as 1/1:3,2/3:2 (2 of 3 beyond 2 sd); default the four."
)
_RATE = typer.Option(
    None, "--rate", help="p, np: usual share; c, u: usual mean of a unit, without a shift."
)
_SIZE = typer.Option(None, "--size", help="p, np: items of a point; u: units of a point.")
_LOWER = typer.Option(None, "--lower", help="p, np, c, u: a point below it signals.")
_UPPER = typer.Option(None, "--upper", help="p, np, c, u: a point above it signals.")
_DISPERSION = typer.Option(
    1.0, "--dispersion", help="p, np, c, u: Laney's sigma_z; above 1 the chart is p' or u'."
)
_STATE = typer.Option(
    "zero",
    "--state",
    help="When the shift begins: zero (the chart starts), steady (silent for long), cyclical "
    "(begun anew after each false alarm).",
)


def arl(  # noqa: PLR0917 - options, given by name
    chart: str = _CHART,
    shift: float = typer.Option(
        0.0,
        "--shift",
        help="In sd of a point; MEWMA, T squared: Mahalanobis distance; p, np, c, u: added to "
        "--rate.",
    ),
    lam: float | None = _LAM,
    limit: float | None = _LIMIT,
    k: float | None = _K,
    h: float | None = _H,
    head_start: float = _HEAD,
    two_sided: bool = _TWO,
    dims: int | None = _DIMS,
    reflect: float | None = _REFLECT,
    exact_limits: bool = _EXACT,
    rules: str | None = _RULES,
    rate: float | None = _RATE,
    size: float | None = _SIZE,
    lower: float | None = _LOWER,
    upper: float | None = _UPPER,
    dispersion: float = _DISPERSION,
    state: str = _STATE,
    as_json: bool = JsonOption,
) -> None:
    """Tell the average run length of a control chart: points until it signals.

    Without a shift that is the time between false alarms, with one the delay of detection.

    Example: mlg drift arl --chart ewma --lam 0.1 --limit 2.814 --two-sided --shift 0.5

    mlg drift arl --chart cusum --k 0.5 --h 4 --head-start 2 --two-sided --json

    mlg drift arl --chart mewma --dims 4 --lam 0.25 --limit 16.38 --shift 1

    mlg drift arl --chart runs --rules 1/1:3,2/3:2 --two-sided

    mlg drift arl --chart p --rate 0.02 --size 1000 --shift 0.01
    """
    with reported(as_json):
        spec = _spec(
            chart=chart, lam=lam, limit=limit, k=k, h=h, head_start=head_start,
            two_sided=two_sided, dims=dims, reflect=reflect, exact_limits=exact_limits,
            rules=rules, rate=rate, size=size, lower=lower, upper=upper, dispersion=dispersion,
        )  # fmt: skip
        show(_told(partial(_run, spec, shift, state)), as_json, _print_arl)


def design(  # noqa: PLR0917 - options, given by name
    chart: str = _CHART,
    arl0: float = typer.Option(
        ..., "--arl0", help="Wanted mean number of points between two false alarms."
    ),
    shift: list[float] | None = typer.Option(
        None, "--shift", help="A shift whose delay to tell; may be given often."
    ),
    lam: float | None = _LAM,
    k: float | None = _K,
    head_start: float = _HEAD,
    two_sided: bool = _TWO,
    dims: int | None = _DIMS,
    reflect: float | None = _REFLECT,
    exact_limits: bool = _EXACT,
    rules: str | None = _RULES,
    rate: float | None = _RATE,
    size: float | None = _SIZE,
    dispersion: float = _DISPERSION,
    state: str = _STATE,
    as_json: bool = JsonOption,
) -> None:
    """Find the limit at which a control chart gives one false alarm in so many points.

    Tells as well how long the chart takes to see some shifts.

    Example: mlg drift design --chart ewma --lam 0.1 --two-sided --arl0 500

    mlg drift design --chart cusum --k 0.25 --two-sided --arl0 100000 --shift 0.5 --json

    mlg drift design --chart mewma --dims 10 --arl0 1000

    mlg drift design --chart u --rate 2 --size 50 --dispersion 1.5 --two-sided --arl0 370
    """
    with reported(as_json):
        spec = _spec(
            chart=chart, lam=lam, k=k, head_start=head_start, two_sided=two_sided, dims=dims,
            reflect=reflect, exact_limits=exact_limits, rules=rules, rate=rate, size=size,
            dispersion=dispersion,
        )  # fmt: skip
        show(_told(partial(_designed, spec, arl0, shift, state)), as_json, _print_design)


def _spec(*, exact_limits: bool, rules: str | None, **words: Any) -> Any:
    from mlg.stats.arl import Spec
    from mlg.stats.arl_rules import rules_from

    def made() -> Any:
        named = rules_from(rules) if rules is not None else ()
        return Spec(**words, limits="exact" if exact_limits else "fixed", rules=named)

    return _told(made)


def _told(answer: Callable[[], Any]) -> Any:
    """Return the answer; what the engine refuses is the caller's mistake.

    Raises:
        ManifestError: A parameter is missing, does not fit, or is out of range.
    """
    try:
        return answer()
    except ValueError as error:
        raise ManifestError(
            str(error), hint="mlg drift arl --help lists what each chart takes."
        ) from error


def _run(spec: Any, shift: float, state: str) -> dict[str, Any]:
    from mlg.stats.arl import law

    found = law(spec, shift=shift, state=cast("Any", state))
    document = {
        "arl": _number(found.mean),
        "chart": spec.chart,
        "shift": shift,
        "state": state,
        **_quantiles(found),
        "steady_state": _steady(spec, shift),
        **_named(spec),
    }
    return _noted(document)


def _designed(spec: Any, arl0: float, shifts: list[float] | None, state: str) -> dict[str, Any]:
    from mlg.stats.arl import designed, law

    found = designed(spec, arl0, state=cast("Any", state))
    limit = found.h if found.chart == "cusum" else found.limit
    rows = [
        {
            "shift": shift,
            "arl": _number((one := law(found, shift=shift)).mean),
            **_quantiles(one),
            "steady_state": _steady(found, shift),
        }
        for shift in shifts or _shifts(found)
    ]
    quiet = law(found, state=cast("Any", state))
    document = {
        "limit": found.upper if limit is None else limit,
        "arl0": _number(quiet.mean),
        "chart": found.chart,
        "state": state,
        **_quantiles(quiet),
        "delays": rows,
        **{key: value for key, value in _named(found).items() if key != "limit"},
    }
    return _noted(document)


def _shifts(spec: Any) -> list[float]:
    """Return the usual shifts; of counts as many sd of a point, as far as the rate allows."""
    if spec.chart not in _COUNTS:
        return list(SHIFTS)
    from mlg.stats.arl_counts import Counts

    counts = Counts(
        chart=spec.chart, rate=spec.rate, size=spec.size or 1.0, dispersion=spec.dispersion
    )
    steps = [by * counts.sigma * counts.unit / counts.size for by in SHIFTS]
    return [by for by in steps if not counts.shares or counts.rate + by < 1]


def _steady(spec: Any, shift: float) -> float | None:
    """Return the mean run length after long silence; None where it is not known."""
    from mlg.stats.arl import law

    if spec.chart == "mewma" and (spec.lam or 1.0) < _SLOW_LAMBDA:
        return None
    try:
        return _number(law(spec, shift=shift, state="steady").mean)
    except ValueError:
        return None


def _quantiles(found: Any) -> dict[str, float | None]:
    levels = {"median": 0.5, "p05": 0.05, "p95": 0.95}
    try:
        return {name: _number(found.quantile(level)) for name, level in levels.items()}
    except ValueError:  # too slow a chain to follow: the mean is known all the same
        return dict.fromkeys(levels)


def _named(spec: Any) -> dict[str, Any]:
    """Return the parameters of the chart that were given or found."""
    words = ("lam", "limit", "k", "h", "dims", "reflect", "rate", "size", "lower", "upper")
    named = {word: value for word in words if (value := getattr(spec, word)) is not None}
    if spec.head_start:
        named["head_start"] = spec.head_start
    if spec.dispersion != 1:
        named["dispersion"] = spec.dispersion
    return {**named, "two_sided": spec.two_sided}


def _number(mean: float) -> float | None:
    return mean if isfinite(mean) else None


def _noted(document: dict[str, Any]) -> dict[str, Any]:
    """Add what a missing number means."""
    rows = [document, *document.get("delays", ())]
    if any(row.get(key, 0.0) is None for row in rows for key in ("arl", "arl0")):
        document["note"] = _NEVER
    elif any(row.get(key, 0.0) is None for row in rows for key in ("steady_state", "median")):
        document["note"] = (
            "null takes too long to compute here: ask for the steady state with --state steady"
        )
    return document


def _print_arl(found: dict[str, Any]) -> None:
    out.print(
        f"{found['chart']} ({_words(found)}), shift {found['shift']:g}: average run length "
        f"{_text(found['arl'])} points from {_state(found['state'])}",
        markup=False,
    )
    out.print(
        f"half of the runs end within {_text(found['median'])}, 5 % within "
        f"{_text(found['p05'])}, 95 % within {_text(found['p95'])}; after long silence the "
        f"average is {_text(found['steady_state'])}",
        markup=False,
    )


def _print_design(found: dict[str, Any]) -> None:
    limits = _text(found["limit"])
    if "upper" in found:
        low = found.get("lower")
        limits = f"{limits} above, {'none' if low is None else _text(low)} below"
    out.print(
        f"{found['chart']} ({_words(found)}): limit {limits}; one false alarm in "
        f"{_text(found['arl0'])} points on average",
        markup=False,
    )
    table(
        "delay",
        ["shift", "mean", "median", "95 %", "after long silence"],
        [
            [f"{row['shift']:.4g}", *(_text(row[key]) for key in
             ("arl", "median", "p95", "steady_state"))]
            for row in found["delays"]
        ],
    )  # fmt: skip


def _state(state: str) -> str:
    return {"zero": "its start", "steady": "long silence"}.get(state, "a cycle of false alarms")


def _words(found: dict[str, Any]) -> str:
    named = [
        f"{word} {found[word]:g}"
        for word in ("lam", "k", "h", "dims", "rate", "size", "dispersion", "head_start")
        if word in found
    ]
    if "limit" in found and "arl" in found:
        named.append(f"limit {found['limit']:g}")
    sides = "both sides" if found["two_sided"] else "upper side"
    return ", ".join(named if found["chart"] in {"mewma", "t2"} else [*named, sides])


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1e5 else f"{value:.5g}"
