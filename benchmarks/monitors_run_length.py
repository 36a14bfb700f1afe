"""Run lengths of the shipped detector by simulation, beside the engine's.

`mlg.monitors.charts` steps the same charts that `mlg.stats.arl` designs, with three things
more: a window counts at most four standard deviations, a signal waits until a statistic was out
in two of three windows, and beyond twelve it is out at once. `simulated` steps the shipped
function itself over independent normal windows and records when each chart first goes out and
when it signals. Read by `mlg bench monitors` and tests/unit/monitors/test_run_length.py.

    PYTHONPATH=src python benchmarks/monitors_run_length.py
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlg.monitors import charts as shipped
from mlg.monitors.budget import ChartLimits, limits_for
from mlg.monitors.charts import advanced, begun
from mlg.monitors.points import Points
from mlg.monitors.usual import known
from mlg.stats.arl import Spec, law

Part = Literal["ewma", "cusum", "both"]


@dataclass(frozen=True)
class Simulated:
    """Run lengths of the shipped detector, in windows."""

    out: np.ndarray
    """First window in which it was beyond a limit: what the engine computes."""
    signal: np.ndarray
    """First window in which it signals: out in two of three."""

    @property
    def mean(self) -> float:
        return float(self.out.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.out.std(ddof=1) / len(self.out) ** 0.5)


def limits_of(part: Part, limits: ChartLimits) -> ChartLimits:
    """Return the limits with all but one chart's out of reach."""
    return ChartLimits(
        ewma=limits.ewma if part != "cusum" else 1e9,
        cusum=limits.cusum if part != "ewma" else 1e9,
        arl=limits.arl,
    )


def simulated(
    limits: ChartLimits, shift: float, *, runs: int, seed: int, longest: int = 100_000
) -> Simulated:
    """Return run lengths of the shipped step from its zero state, the shift there at once.

    Args:
        limits: Of the monitor.
        shift: Of every window, in standard deviations between windows.
        runs: Number of runs.
        seed: Of the windows.
        longest: A run is given up after so many windows, with an error.
    """
    rng = np.random.default_rng(seed)
    names = tuple(f"x{n}.location" for n in range(runs))
    kinds = ("location",) * runs
    usual, charts = known(names, kinds), begun(names)
    out, signal = np.zeros(runs), np.zeros(runs)
    rows = np.full(runs, 1_000.0)
    for n in range(1, longest + 1):
        z = rng.normal(shift, 1.0, runs)
        points = Points(
            metrics=names, kinds=kinds, value=z, shown=z, n=rows, noise=np.full(runs, 1e-9)
        )
        charts, step = advanced(charts, usual, points, 0.0, limits, limits)
        beyond = np.frombuffer(charts.out, dtype=np.uint8) & 1 > 0
        out[beyond & (out == 0)] = n
        signal[step.signals & (signal == 0)] = n
        if signal.all():
            return Simulated(out, signal)
    raise RuntimeError(f"a run is longer than {longest} windows")


def engine(part: Part, limits: ChartLimits, shift: float) -> Any:
    """Return the engine's law of the same chart, both sides; `both` has none."""
    if part == "ewma":
        spec = Spec(chart="ewma", lam=shipped.LAMBDA, limit=limits.ewma, two_sided=True)
    else:
        spec = Spec(chart="cusum", k=shipped.SLACK, h=limits.cusum, two_sided=True)
    return law(spec, shift=shift)


def rows(*, runs: int = 2_000, seed: int = 1) -> list[dict[str, Any]]:
    """Return simulated and computed run lengths of the charts designed at ARL0 500.

    And, beside them, what the shipped detector of both charts does at that limit and at the
    limit of a budget of one alarm a day over 300 features.
    """
    told = []
    base = limits_for(500, 1)
    for part in ("ewma", "cusum"):
        for shift in (0.0, 0.5, 1.0):
            some = simulated(
                limits_of(part, base), shift, runs=runs, seed=seed
            )
            computed = engine(part, base, shift)
            told.append(
                {
                    "chart": part,
                    "shift": shift,
                    "simulated": some.mean,
                    "standard_error": some.error,
                    "computed": computed.mean,
                    "apart_in_errors": (some.mean - computed.mean) / some.error,
                    "median_simulated": float(np.median(some.out)),
                    "median_computed": computed.median,
                    "median_signal": float(np.median(some.signal)),
                }
            )
    day = limits_for(86_400 / 2, 600)
    for name, limits in (("ARL0 500", base), ("one a day, 300 features, 2 s windows", day)):
        some = simulated(limits, 0.5, runs=runs, seed=seed)
        told.append(
            {
                "chart": f"shipped, both: {name}",
                "shift": 0.5,
                "simulated": some.mean,
                "standard_error": some.error,
                "median_simulated": float(np.median(some.out)),
                "median_signal": float(np.median(some.signal)),
            }
        )
    return told


if __name__ == "__main__":
    for row in rows():
        print(row)  # noqa: T201
