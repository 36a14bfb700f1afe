"""How many windows until a shift of half a standard deviation is seen, and how surely designed."""  # noqa: INP001 - a script, no package

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from monitors_river import REQUIRES
from monitors_rows import HERE, Report, ours, python_of, reason, run, say
from monitors_shipped import Charted

from mlg.monitors.baseline import MEMORY, WINDOWS
from mlg.monitors.budget import ChartLimits, limits_for
from mlg.monitors.charts import CLIP, LAMBDA, SLACK, SUMMED
from mlg.monitors.usual import ewma_spread, expected, fitted, long_run
from mlg.stats import arl as engine

ARL0, SHIFT, MOST_WINDOWS, LEAST_SHARE = 500.0, 0.5, 32.0, 0.9
FEATURES, WINDOWS_A_DAY = 300, 1_440.0
BASELINES = (WINDOWS, 5 * WINDOWS)
TOGETHER = (1, 40)
LIMIT_S = 1_800.0

Array = np.ndarray[Any, Any]


def delay(asked: argparse.Namespace) -> Report:
    """Return delays of the shipped charts beside river's, and the share of baselines that hold."""
    report = Report()
    _delays(report, asked.runs)
    _held(report, asked.runs)
    _held_following(report, asked.runs)
    if not asked.no_peers:
        _river(report, min(asked.runs, 400))
    return report


def _row(report: Report, work: str, subject: str, delays: list[int]) -> float:
    half, most = np.percentile(delays, [50, 90])
    report.row(f"delay, {work}: median", subject, float(half), "windows", len(delays))
    report.row(f"delay, {work}: 90 of 100", subject, float(most), "windows", len(delays))
    report.row(f"delay, {work}: mean", subject, float(np.mean(delays)), "windows", len(delays))
    return float(half)


def _delays(report: Report, runs: int) -> None:
    at = f"{SHIFT} sd at ARL0 {ARL0:.0f}"
    limits = {
        "ewma": engine.design("ewma", ARL0, lam=LAMBDA, two_sided=True),
        "cusum": engine.design("cusum", ARL0, k=SLACK, two_sided=True),
    }
    halves = []
    for chart, limit in limits.items():
        rng = np.random.default_rng([11, len(chart)])
        delays = [Charted.one(chart, limit).run_length(rng, SHIFT) for _ in range(runs)]
        # `mlg` alone: river's rows are of the same work, so that ratios speak of it
        subject = "mlg" if chart == "ewma" else f"mlg {chart}"
        halves.append(_row(report, at, subject, delays))
    report.bar(
        f"median delay of {at} at most {MOST_WINDOWS:.0f} windows", max(halves) <= MOST_WINDOWS,
        f"{halves[0]:.0f} by EWMA, {halves[1]:.0f} by CUSUM",
    )  # fmt: skip
    # a page a day over 300 features, two statistics each, two charts a statistic
    budget = limits_for(WINDOWS_A_DAY, 4 * FEATURES)
    say(f"delay: the budget's charts have ARL0 {budget.arl:.3g}")
    rng = np.random.default_rng(12)
    delays = [Charted.of(budget).delay(rng, SHIFT) for _ in range(runs)]
    _row(report, f"{SHIFT} sd, a page a day over {FEATURES} features", "mlg", delays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What baselines came to, of one statistic each; arrays of shape (baselines,)."""

    centre: Array
    doubt: Array
    sigma: Array
    spread: Array
    """Of the EWMA, in sigmas."""
    unit: Array
    """Of the CUSUM, in sigmas."""


def learned(history: Array, together: int) -> Known:
    """Return what the shipped phase I makes of windows, shape (windows, baselines).

    Args:
        history: N(0, 1) in the long run, each column a statistic.
        together: So many columns are the statistics of one stream.
    """
    windows, baselines = history.shape
    found: list[tuple[Array, ...]] = []
    for first in range(0, baselines, together):
        names = [f"f{n}.location" for n in range(together)]
        one = fitted(
            history[:, first : first + together], np.zeros(windows), metrics=names,
            kinds=["location"] * together, shown=[0.0] * together,
            noise=np.full(together, 1e-3), memory=MEMORY * windows,
        )  # fmt: skip
        centre, doubt = expected(one, 0.0)
        found.append(
            (centre, doubt, one.sds, ewma_spread(one, LAMBDA), np.sqrt(long_run(one)))
        )
    names = ("centre", "doubt", "sigma", "spread", "unit")
    whole = [np.concatenate(one) for one in zip(*found, strict=True)]
    return Known(**dict(zip(names, whole, strict=True)))


def true_arls(known: Known, limits: ChartLimits) -> Array:
    """Return the true ARL0 of the EWMA and of the CUSUM of each baseline, shape (2, baselines).

    Windows are independent N(0, 1) and the chart sees (x - centre) / sigma. In units of x that
    is a chart without estimates whose windows have their mean at -centre, and whose limits are
    sigma times as wide; so its run length is the engine's, without simulation.
    """
    bound = (limits.ewma * known.spread * known.sigma + known.doubt) / sqrt(
        LAMBDA / (2 - LAMBDA)
    )
    unit = known.unit * known.sigma
    slack = SLACK * unit + SUMMED * known.doubt
    return np.array([
        (
            engine.ewma_arl(LAMBDA, limit, shift=-centre, two_sided=True),
            engine.cusum_arl(k, h, shift=-centre, two_sided=True),
        )
        for limit, centre, k, h in zip(
            bound.tolist(), known.centre.tolist(), slack.tolist(),
            (limits.cusum * unit).tolist(), strict=True,
        )
    ]).T  # fmt: skip


def _held(report: Report, runs: int) -> None:
    budget = limits_for(WINDOWS_A_DAY, 4 * FEATURES)
    for limits in (_designed(), budget):
        for windows in BASELINES:
            for together in TOGETHER:
                rng = np.random.default_rng([13, windows])
                baselines = _baselines(runs, together)
                known = learned(rng.standard_normal((windows, baselines)), together)
                _shares(
                    report,
                    f"true ARL0 at least {limits.arl:.4g} after {windows} windows",
                    together,
                    true_arls(known, limits) >= limits.arl,
                )


def _held_following(report: Report, runs: int) -> None:
    """The same where windows resemble their neighbours, by simulation of the charts' formulas.

    All baselines and runs step at once, so the two recursions are written out here; with
    independent windows they agree with `true_arls`.
    """
    repeats, limits = 100, _designed()
    for phi in (0.3, 0.6):
        for windows in BASELINES:
            for together in TOGETHER:
                rng = np.random.default_rng([14, windows, int(10 * phi)])
                baselines = _baselines(runs, together)
                found = simulated_arls(
                    rng, phi, windows, baselines, repeats, limits, together=together
                )
                of = f"true ARL0 at least {ARL0:.0f} after {windows} windows, autocorrelation {phi}"
                _shares(report, of, together, found >= ARL0)


def _baselines(runs: int, together: int) -> int:
    """Return how many statistics are learned: whole streams of them."""
    return max(80, runs // 2) // together * together


def _shares(report: Report, of: str, together: int, held: Array) -> None:
    of += " of one statistic alone" if together == 1 else f" of streams of {together}"
    shares, n = held.mean(axis=1), held.shape[1]
    for chart, share in zip(("ewma", "cusum"), shares, strict=True):
        subject = "mlg" if chart == "ewma" else f"mlg {chart}"
        report.row(of, subject, 100 * float(share), "%", n)
    report.bar(
        f"{of} for {100 * LEAST_SHARE:.0f} % of baselines", bool(shares.min() >= LEAST_SHARE),
        f"{100 * shares[0]:.1f} % EWMA, {100 * shares[1]:.1f} % CUSUM of {n}",
    )  # fmt: skip


def simulated_arls(
    rng: np.random.Generator, phi: float, windows: int, baselines: int, repeats: int,
    limits: ChartLimits, *, together: int = 1,
) -> Array:  # fmt: skip
    """Return mean run lengths, shape (2, baselines): EWMA and CUSUM; cut at 8 times ARL0."""
    fresh = (1 - phi * phi) ** 0.5
    x = rng.standard_normal(baselines)
    history = np.empty((windows, baselines))
    for at in range(windows):
        x = phi * x + fresh * rng.standard_normal(baselines)
        history[at] = x
    known = learned(history, together)
    centre, sigma, unit = (
        one[:, None] for one in (known.centre, known.sigma, known.unit)
    )
    doubt = known.doubt[:, None] / sigma
    bound = limits.ewma * known.spread[:, None] + doubt
    slack = SLACK + SUMMED * doubt / unit
    shape = (baselines, repeats)
    x = rng.standard_normal(shape)
    ewma, up, down = (np.zeros(shape) for _ in range(3))
    lengths = np.zeros((2, *shape))
    running = np.ones((2, *shape), bool)
    for _ in range(int(8 * ARL0)):
        x = phi * x + fresh * rng.standard_normal(shape)
        z = np.clip((x - centre) / sigma, -CLIP, CLIP)
        ewma = (1 - LAMBDA) * ewma + LAMBDA * z
        up = np.maximum(0.0, up + z / unit - slack)
        down = np.maximum(0.0, down - z / unit - slack)
        lengths += running
        running[0] &= np.abs(ewma) <= bound
        running[1] &= np.maximum(up, down) <= limits.cusum
        if not running.any():
            break
    return lengths.mean(axis=2)


def _designed() -> ChartLimits:
    return ChartLimits(
        ewma=engine.design("ewma", ARL0, lam=LAMBDA, two_sided=True),
        cusum=engine.design("cusum", ARL0, k=SLACK, two_sided=True), arl=ARL0,
    )  # fmt: skip


def _river(report: Report, runs: int) -> None:
    try:
        python = python_of("river", REQUIRES)
        with tempfile.TemporaryDirectory() as place:
            command = [
                str(python),
                str(HERE / "monitors_river.py"),
                "delay",
                str(ARL0),
                str(SHIFT),
                str(runs),
            ]
            env = {**ours(), "PYTHONPATH": ""}
            found = run(command, env=env, folder=Path(place), limit_s=LIMIT_S).document()
    except (OSError, subprocess.SubprocessError, ValueError, TimeoutError) as error:
        report.bar("delay, river", None, f"left out: {reason(error)}")
        return
    at = f"{SHIFT} sd at ARL0 {ARL0:.0f}"
    for name, one in found.items():
        if one["delays"]:
            _row(report, at, f"river {name}", one["delays"])
        report.row(
            f"delay, ARL0 matched of {ARL0:.0f}", f"river {name}", one["arl0"], "windows", runs
        )
