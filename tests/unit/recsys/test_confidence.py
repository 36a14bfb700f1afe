"""Calibration against independent solutions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from mlg.recsys import confidence


def test_newton_finds_the_minimum_of_the_penalised_likelihood() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3))
    y = (rng.random(300) < expit(rows @ [1.0, -0.5, 0.0] - 1)).astype(float)

    def loss(theta: np.ndarray) -> float:
        eta = rows @ theta[:3] + theta[3]
        return float((np.logaddexp(0, eta) - y * eta).sum() + theta[:3] @ theta[:3])

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    weights, intercept = confidence.logistic(rows, y, ridge=2.0)
    np.testing.assert_allclose([*weights, intercept], best, atol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=60))
def test_isotonic_levels_rise_and_keep_the_mean(pairs: list[tuple[int, bool]]) -> None:
    x = np.array([float(a) for a, _ in pairs])
    y = np.array([float(b) for _, b in pairs])
    knots, levels = confidence.isotonic_knots(x, y)
    assert list(knots) == sorted(knots)
    assert list(levels) == sorted(levels)
    assert min(levels) >= y.min() - 1e-12
    assert max(levels) <= y.max() + 1e-12


def test_pooling_adjacent_violators_by_hand() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    knots, levels = confidence.isotonic_knots(x, np.array([0.0, 1.0, 0.0, 1.0]))
    assert levels == pytest.approx((0.0, 0.5, 1.0))
    assert knots == pytest.approx((1.0, 2.5, 4.0))


def test_a_fitted_model_is_calibrated_and_ranks() -> None:
    rng = np.random.default_rng(3)
    seen = rng.normal(size=(4000, len(confidence.NAMES)))
    hit = (rng.random(4000) < expit(2 * seen[:, 0] - 1)).astype(float)
    model = confidence.fit_confidence(seen, hit)
    p = model.calibrated(seen)
    high = p > np.quantile(p, 0.8)
    assert p.mean() == pytest.approx(hit.mean(), abs=0.01)
    assert hit[high].mean() == pytest.approx(p[high].mean(), abs=0.04)
    assert confidence.confidence_from(model.as_dict()).of(seen[0]) == model.of(seen[0])


def test_short_histories_have_a_calibration_of_their_own() -> None:
    rng = np.random.default_rng(4)
    seen = rng.normal(size=(6000, len(confidence.NAMES)))
    short = rng.random(6000) < 0.1
    seen[:, confidence.NAMES.index("short")] = short
    # the same score is worth more where the history is short, and there its slope is reversed
    p = np.where(short, expit(1 - seen[:, 0]), expit(2 * seen[:, 0] - 2))
    hit = (rng.random(6000) < p).astype(float)
    found = confidence.fit_confidence(seen, hit).calibrated(seen)
    for part in (short, ~short):
        assert found[part].mean() == pytest.approx(hit[part].mean(), abs=0.01)


def test_an_answer_that_stands_for_several_counts_as_often() -> None:
    rng = np.random.default_rng(5)
    seen = rng.normal(size=(50, len(confidence.NAMES)))
    hit = (rng.random(50) < 0.4).astype(float)
    weighted = confidence.fit_confidence(seen, hit, np.full(50, 2.0))
    twice = confidence.fit_confidence(np.tile(seen, (2, 1)), np.tile(hit, 2))
    np.testing.assert_allclose(weighted.logit(seen), twice.logit(seen), atol=1e-8)


def test_certainty_is_never_claimed() -> None:
    seen = np.zeros((10, len(confidence.NAMES)))
    for outcome in (0.0, 1.0):
        found = confidence.fit_confidence(seen, np.full(10, outcome)).of(seen[0])
        assert confidence.LEAST <= found <= confidence.MOST


def test_an_empty_answer_is_seen_as_zeros() -> None:
    seen = confidence.observe(np.zeros(0), 10, 0, 0.0)
    assert dict(zip(confidence.NAMES, seen.tolist(), strict=True)) == {
        **dict.fromkeys(confidence.NAMES, 0.0),
        "cold": 1.0,
        "short": 1.0,
    }


def test_equal_scores_have_the_entropy_of_a_uniform_choice() -> None:
    seen = confidence.observe(np.full(8, 3.0), 10, 5, 0.0)
    assert seen[2] == pytest.approx(np.log(8))


@pytest.mark.parametrize("short", [0.0, 1.0])
def test_one_answer_alone_has_the_confidence_that_it_has_among_others(short: float) -> None:
    rng = np.random.default_rng(6)
    seen = rng.normal(scale=4.0, size=(3000, len(confidence.NAMES)))  # beyond both ends, too
    seen[:, confidence.NAMES.index("short")] = short
    hit = (rng.random(3000) < expit(seen[:, 0])).astype(float)
    model = confidence.fit_confidence(seen / 4, hit)
    alone = [model.of(row) for row in seen]
    np.testing.assert_allclose(alone, model.calibrated(seen), rtol=0, atol=1e-12)
    seen[0, 0] = np.nan
    assert np.isnan(model.of(seen[0]))
