"""How many windows until a shift of half a standard deviation is seen, and how surely designed."""  # noqa: INP001 - a script, no package

import argparse
import subprocess
import tempfile
from math import sqrt
from pathlib import Path

import numpy as np
from monitors_river import REQUIRES
from monitors_rows import HERE, Report, ours, python_of, reason, run, say
from monitors_shipped import Charted

from mlg.monitors.baseline import WINDOWS, Reference, reference_of
from mlg.monitors.budget import ChartLimits, limits_for
from mlg.monitors.evaluate import LAMBDA, SLACK, ewma_limit
from mlg.stats import arl as engine

ARL0, SHIFT, MOST_WINDOWS, LEAST_SHARE = 500.0, 0.5, 32.0, 0.9
FEATURES, WINDOWS_A_DAY = 300, 1_440.0
BASELINES = (WINDOWS, 5 * WINDOWS)
LIMIT_S = 1_800.0


def delay(asked: argparse.Namespace) -> Report:
    """Return delays of the shipped charts beside river's, and the share of baselines that hold."""
    report = Report()
    _delays(report, asked.runs)
    _held(report, asked.runs)
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


def true_arls(reference: Reference, limits: ChartLimits) -> tuple[float, float]:
    """Return the true ARL0 of the EWMA and of the CUSUM that a baseline led to.

    Windows are N(0, 1) and the chart sees (x - centre) / sigma. In units of x that is a chart
    without estimates whose windows have their mean at -centre, and whose limits are sigma
    times as wide; so its run length is the engine's, without simulation.
    """
    unit = sqrt(LAMBDA / (2 - LAMBDA))
    ewma = engine.ewma_arl(
        LAMBDA, ewma_limit(reference, limits) * reference.sigma / unit,
        shift=-reference.centre, two_sided=True,
    )  # fmt: skip
    long_run = sqrt((1 + reference.ar) / (1 - reference.ar))
    slack = SLACK * long_run * reference.sigma + reference.doubt
    cusum = engine.cusum_arl(
        slack,
        limits.cusum * long_run * reference.sigma,
        shift=-reference.centre,
        two_sided=True,
    )
    return ewma, cusum


def _held(report: Report, runs: int) -> None:
    exact = ChartLimits(
        ewma=engine.design("ewma", ARL0, lam=LAMBDA, two_sided=True),
        cusum=engine.design("cusum", ARL0, k=SLACK, two_sided=True), arl=ARL0,
    )  # fmt: skip
    budget = limits_for(WINDOWS_A_DAY, 4 * FEATURES)
    for limits in (exact, budget):
        for windows in BASELINES:
            rng = np.random.default_rng([13, windows])
            found = np.array([
                true_arls(reference_of(rng.standard_normal(windows).tolist(), shown=0.0, noise=1e-3), limits)
                for _ in range(max(50, runs // 10))
            ])  # fmt: skip
            shares = (found >= limits.arl).mean(axis=0)
            of = f"true ARL0 at least {limits.arl:.4g} after {windows} windows"
            for chart, share in zip(("ewma", "cusum"), shares, strict=True):
                report.row(
                    of,
                    "mlg" if chart == "ewma" else f"mlg {chart}",
                    100 * float(share),
                    "%",
                    len(found),
                )
            report.bar(
                f"{of} for {100 * LEAST_SHARE:.0f} % of baselines", bool(shares.min() >= LEAST_SHARE),
                f"{100 * shares[0]:.1f} % EWMA, {100 * shares[1]:.1f} % CUSUM of {len(found)}",
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
