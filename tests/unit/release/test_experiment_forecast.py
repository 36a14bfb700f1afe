"""How many viewers an experiment needs, against a simulation of its verdicts."""

from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest

from mlg.release.experiment_analysis import judge_metric
from mlg.release.experiment_forecast import (
    LARGEST_VARIANCE,
    POWER,
    Spread,
    forecast_experiment,
)
from mlg.release.experiment_types import Cell, ExperimentPlan
from mlg.stats.confidence_sequence import ArmMean

DAY_S = 86_400.0
PLAN = ExperimentPlan(
    name="rows",
    service="home",
    control="v1",
    cells=(
        Cell(name="A", version="v2", share_bp=2_000),
        Cell(name="B", version="v3", share_bp=1_000),
    ),
    metrics=("ctr",),
    holdout_bp=1_000,
    min_viewers=100,
    max_run_s=14 * DAY_S,
)
SPREAD = Spread(variance=0.08, part=1.0, viewers=500)


def linear(per_day: float) -> object:
    return lambda viewers: viewers / per_day * DAY_S


@pytest.mark.parametrize(
    ("true", "verdict", "chance"), [(0.05, "PASS", POWER), (-0.05, "FAIL", POWER), (0, "", 0.8)]
)
def test_by_then_a_verdict_is_as_likely_as_it_says(
    true: float, verdict: str, chance: float
) -> None:
    found = forecast_experiment(PLAN, {"ctr": 0.05}, {"ctr": SPREAD}, linear(100))  # type: ignore[arg-type]
    n = found.cells[0].viewers
    m = round(n * 7_000 / 2_000)  # the control's share is what both cells leave
    rng, runs = np.random.default_rng(8), 2_000
    spread = sqrt(SPREAD.variance * (1 / n + 1 / m))
    said = [
        judge_metric(
            "ctr",
            ArmMean(units=n, mean=seen, variance=SPREAD.variance),
            ArmMean(units=m, mean=0.0, variance=SPREAD.variance),
            alpha=PLAN.alpha_each,
            min_effect=0.05,
        ).verdict
        for seen in rng.normal(true, spread, runs)
    ]
    right = np.mean([one == verdict if verdict else one == "PASS" for one in said])
    assert right == pytest.approx(chance, abs=4 * sqrt(chance * (1 - chance) / runs))


def test_the_smaller_cell_takes_longer_and_the_whole_as_long_as_it() -> None:
    found = forecast_experiment(PLAN, {"ctr": 0.05}, {"ctr": SPREAD}, linear(2_000))  # type: ignore[arg-type]
    a, b = found.cells
    assert a.seconds is not None
    assert b.seconds is not None
    assert a.seconds < b.seconds == found.seconds
    # a cell has its share of those who are not held out
    assert b.of_service == pytest.approx(b.viewers / (0.1 * 0.9), abs=1)
    assert found.warnings == ()
    assert b.metrics[0].measured


def test_without_a_log_the_largest_variance_is_taken_and_said() -> None:
    known = forecast_experiment(PLAN, {"ctr": 0.05}, {"ctr": SPREAD}, linear(100))  # type: ignore[arg-type]
    found = forecast_experiment(PLAN, {"ctr": 0.05}, {}, lambda _: None)
    (metric,) = found.cells[0].metrics
    assert (metric.measured, metric.variance) == (False, LARGEST_VARIANCE)
    assert metric.viewers > known.cells[0].metrics[0].viewers
    assert found.seconds is None
    assert found.warnings[0].startswith("how long it takes is not known")


def test_it_warns_of_a_run_too_short_and_of_a_public_too_small() -> None:
    slow = forecast_experiment(PLAN, {"ctr": 0.05}, {"ctr": SPREAD}, linear(100))  # type: ignore[arg-type]
    assert slow.seconds is not None
    assert slow.seconds > PLAN.max_run_s
    assert "will most likely end without a verdict" in slow.warnings[0]
    never = forecast_experiment(
        PLAN, {"ctr": 0.05}, {"ctr": SPREAD}, lambda n: 0.0 if n < 60 else inf
    )
    assert never.seconds is None
    assert "A will not be decided" in never.warnings[0]


def test_viewers_without_a_value_and_the_least_there_must_be_count() -> None:
    half = {"ctr": replace(SPREAD, part=0.5)}
    once, twice = (
        forecast_experiment(PLAN, {"ctr": 0.05}, spreads, lambda _: None).cells[0].viewers
        for spreads in ({"ctr": SPREAD}, half)
    )
    assert twice == pytest.approx(2 * once, abs=1)
    large = replace(PLAN, min_viewers=10**6)
    found = forecast_experiment(large, {"ctr": 0.05}, {"ctr": SPREAD}, lambda _: None)
    assert [cell.viewers for cell in found.cells] == [10**6, 10**6]
    # a control of a tenth needs its hundred viewers too
    only = (Cell(name="A", version="v2", share_bp=9_000),)
    most = replace(PLAN, cells=only, min_viewers=0, holdout_bp=0)
    found = forecast_experiment(most, {"ctr": 0.9}, {"ctr": SPREAD}, lambda _: None)
    assert found.cells[0].viewers == 900
