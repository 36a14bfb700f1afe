"""The shipped detector's own run length, by simulation, against the engine's."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mlg.monitors.budget import MOST_ARL, limits_for
from mlg.stats.arl import Spec, law

PATH = Path(__file__).resolve().parents[3] / "benchmarks" / "monitors_run_length.py"
_spec = importlib.util.spec_from_file_location("monitors_run_length", PATH)
assert _spec is not None
assert _spec.loader is not None
run_length = importlib.util.module_from_spec(_spec)
sys.modules["monitors_run_length"] = run_length
_spec.loader.exec_module(run_length)


@pytest.mark.parametrize("part", ["ewma", "cusum"])
@pytest.mark.parametrize(("shift", "runs"), [(0.0, 600), (0.5, 4_000), (1.0, 4_000)])
def test_the_shipped_step_runs_as_long_as_the_engine_says(
    part, shift: float, runs: int
) -> None:
    limits = limits_for(500, 1)
    some = run_length.simulated(run_length.limits_of(part, limits), shift, runs=runs, seed=11)
    computed = run_length.engine(part, limits, shift)
    assert abs(some.mean - computed.mean) < 3 * some.error
    assert (some.signal >= some.out).all()  # persistence only makes it wait


def test_a_limit_that_is_off_would_be_seen() -> None:
    limits = limits_for(500, 1)
    other = run_length.limits_of("cusum", limits_for(700, 1))
    some = run_length.simulated(other, 0.5, runs=2_500, seed=11)
    assert abs(some.mean - run_length.engine("cusum", limits, 0.5).mean) > 3 * some.error


@pytest.mark.parametrize("windows", [500.0, 1e5, MOST_ARL])
def test_each_chart_of_a_budget_keeps_its_part_of_it(windows: float) -> None:
    limits = limits_for(windows, 1)
    assert limits.arl == windows
    for spec in (
        Spec(chart="ewma", limit=limits.ewma, two_sided=True),
        Spec(chart="cusum", h=limits.cusum, two_sided=True),
    ):
        assert law(spec).mean == pytest.approx(limits.arl, rel=2e-3)
