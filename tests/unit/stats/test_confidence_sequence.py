"""Confidence sequences against closed forms and a simulation of many looks."""

from math import inf, sqrt

import numpy as np
import pytest

from mlg.stats.confidence_sequence import (
    ArmMean,
    difference_interval,
    half_width,
    units_needed,
)


def test_at_the_border_the_mixture_likelihood_ratio_is_one_over_alpha() -> None:
    v, tau, alpha = 0.002, 0.05, 0.03
    r = half_width(v, alpha, tau)
    # mixture over N(0, tau²) of normal likelihood ratios, integrated numerically
    theta = np.linspace(-12 * tau, 12 * tau, 200_001)
    density = np.exp(-(theta**2) / (2 * tau**2)) / (tau * sqrt(2 * np.pi))
    ratio = np.exp((theta * r - theta**2 / 2) / v)
    assert np.sum(density * ratio) * (theta[1] - theta[0]) == pytest.approx(1 / alpha, rel=1e-6)


def test_few_units_or_no_variance_say_nothing() -> None:
    many = ArmMean(units=500, mean=0.5, variance=0.0)
    few = ArmMean(units=99, mean=0.5, variance=0.2)
    assert difference_interval(few, many, alpha=0.05, tuned_for=0.1) == (-inf, inf)
    assert difference_interval(many, many, alpha=0.05, tuned_for=0.1) == (-inf, inf)


def test_over_all_looks_a_true_difference_is_missed_no_more_often_than_alpha() -> None:
    rng, alpha, runs = np.random.default_rng(6), 0.1, 1_000
    looks = np.arange(100, 5_001, 50)
    a = np.cumsum(rng.random((runs, 5_000)) < 0.30, axis=1)[:, looks - 1] / looks
    b = np.cumsum(rng.random((runs, 5_000)) < 0.25, axis=1)[:, looks - 1] / looks
    v = (a * (1 - a) + b * (1 - b)) / looks
    half = np.vectorize(half_width)(v, alpha, 0.05)
    missed = np.any(np.abs(a - b - 0.05) > half, axis=1).mean()
    # three standard errors of a share of `alpha` in so many runs
    assert missed <= alpha + 3 * sqrt(alpha * (1 - alpha) / runs)
    fixed = 1.645 * np.sqrt(v)  # an interval for one look misses far more often
    assert np.any(np.abs(a - b - 0.05) > fixed, axis=1).mean() > 2 * alpha


def test_the_planned_units_have_the_planned_power() -> None:
    n = units_needed(0.05, 0.2, alpha=0.05, power=0.8)
    rng = np.random.default_rng(7)
    seen = rng.normal(0.05, sqrt(0.4 / n), 20_000)
    shown = np.mean(seen > half_width(0.4 / n, 0.05, 0.05))
    assert shown == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("alpha", [0.0, 1.0, float("nan")])
def test_a_wrong_alpha_is_refused(alpha: float) -> None:
    arm = ArmMean(units=200, mean=0.5, variance=0.2)
    with pytest.raises(ValueError, match="alpha"):
        difference_interval(arm, arm, alpha=alpha, tuned_for=0.1)
