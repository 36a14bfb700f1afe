"""Run lengths of the shipped detector by simulation, beside the engine's.

`mlg.monitors.evaluate` steps the same charts that `mlg.stats.arl` designs, with three things
more: a window counts at most four standard deviations, a signal waits until a statistic was out
in two of three windows, and beyond twelve it is out at once. `simulated` steps the shipped
function itself over independent normal windows and records when each chart first goes out and
when it signals. Read by `mlg bench monitors` and tests/unit/monitors/test_run_length.py.

    PYTHONPATH=src python benchmarks/monitors_run_length.py
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlg.monitors import evaluate
from mlg.monitors.baseline import Point, Reference
from mlg.monitors.budget import ChartLimits, limits_for
from mlg.monitors.windows import Window
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
    reference = _reference()
    window = _window()
    out, signal = np.empty(runs), np.empty(runs)
    for run in range(runs):
        chart, first, n = evaluate.ChartState(), 0, 0
        while True:
            for z in rng.normal(shift, 1.0, 64).tolist():
                n += 1
                point = Point(metric="x.location", kind="location", value=z, shown=z, n=1_000,
                              noise=0.0)  # fmt: skip
                chart, told = evaluate._advanced(  # noqa: SLF001
                    chart, point, reference, limits, window, "requests"
                )
                if chart.out[-1] and not first:
                    first = n
                if told is not None:
                    break
            else:
                if n >= longest:
                    raise RuntimeError(f"a run is longer than {longest} windows")
                continue
            break
        out[run], signal[run] = first, n
    return Simulated(out, signal)


def engine(part: Part, limits: ChartLimits, shift: float) -> Any:
    """Return the engine's law of the same chart, both sides; `both` has none."""
    if part == "ewma":
        spec = Spec(chart="ewma", lam=evaluate.LAMBDA, limit=limits.ewma, two_sided=True)
    else:
        spec = Spec(chart="cusum", k=evaluate.SLACK, h=limits.cusum, two_sided=True)
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
                limits_of(part, base), shift, runs=runs if shift else runs // 5, seed=seed
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


def _reference() -> Reference:
    """Return a baseline that is known as well as the engine assumes."""
    return Reference(centre=0.0, sigma=1.0, ar=0.0, windows=10**15, shown=0.0)


def _window() -> Window:
    return Window(service="home", stream="requests", number=1, start="2026-01-01T00:00:00Z",
                  end="2026-01-01T00:00:02Z")  # fmt: skip


if __name__ == "__main__":
    for row in rows():
        print(row)  # noqa: T201
