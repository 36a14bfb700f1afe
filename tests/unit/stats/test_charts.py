"""The charts themselves: series against step by step, closed forms, NaN and empty series."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlg.stats.arl import Spec, law
from mlg.stats.arl_rules import WESTERN_ELECTRIC, Rule, rules_arl
from mlg.stats.charts import (
    cusum,
    cusum_step,
    ewma,
    ewma_chart,
    ewma_sigma,
    ewma_step,
    ewma_z,
    runs_flags,
    settles_at,
    shewhart_z,
)
from mlg.stats.charts_counts import c_chart, laney_sigma, np_chart, p_chart, u_chart
from mlg.stats.charts_vector import hotelling_t2, mewma_step, mewma_t2, whitened

SERIES = arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 30)),
                elements=st.floats(-50, 50))  # fmt: skip


@given(SERIES)
def test_lambda_one_is_a_shewhart_chart(x: np.ndarray) -> None:
    np.testing.assert_allclose(ewma_z(x, mean=3.0, sigma=2.0, lam=1.0), (x - 3.0) / 2.0)


def test_a_lasting_shift_settles_at_the_closed_form() -> None:
    z = ewma_z(np.full(200, 1.0), mean=0.0, sigma=1.0, lam=0.2)
    assert z[-1] == pytest.approx(settles_at(1.0, 0.2)) == pytest.approx(3.0)


@settings(max_examples=40)
@given(SERIES, st.floats(0.01, 1.0), st.floats(0.0, 2.0))
def test_series_and_steps_are_one_chart(x: np.ndarray, lam: float, k: float) -> None:
    z, (up, down) = ewma(x, lam=lam, start=0.3), cusum(x, k=k, head_start=0.5)
    state = np.full(len(x), 0.3)
    arms = (np.full(len(x), 0.5), np.full(len(x), 0.5))
    for t in range(x.shape[-1]):
        state, arms = ewma_step(state, x[:, t], lam=lam), cusum_step(arms, x[:, t], k=k)
        np.testing.assert_allclose(z[:, t], state, atol=1e-9)
        np.testing.assert_allclose((up[:, t], down[:, t]), arms, atol=1e-9)


def test_the_exact_spread_of_an_ewma_is_that_of_its_weights() -> None:
    weights = 0.3 * 0.7 ** np.arange(6)
    exact = [np.sqrt((weights[: t + 1] ** 2).sum()) for t in range(6)]
    np.testing.assert_allclose(ewma_sigma(6, lam=0.3), exact)
    np.testing.assert_allclose(ewma_sigma(2, lam=0.3, exact=False), np.sqrt(0.3 / 1.7))


def test_charts_signal_as_often_as_the_engine_says() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(10.4, 2.0, (4_000, 600))  # a shift of 0.2 sd
    chart = ewma_chart(x, mean=10.0, sigma=2.0, lam=0.1, limit=2.0)
    z = shewhart_z(x, mean=10.0, sigma=2.0)
    rules = runs_flags(z, WESTERN_ELECTRIC)
    sums = np.maximum(*cusum(z, k=0.25)) > 5.0
    points = np.stack([z, np.roll(z, 1, axis=0)], axis=-1)
    t2 = mewma_t2(points, mean=[0, 0], covariance=np.eye(2), lam=0.2) > 8.0
    for out, mean in (
        (chart.out, law(Spec(chart="ewma", limit=2.0, two_sided=True), shift=0.2).mean),
        (sums, law(Spec(chart="cusum", h=5.0, two_sided=True), shift=0.2).mean),
        (rules.any(axis=0), rules_arl(WESTERN_ELECTRIC, shift=0.2, two_sided=True)),
        (t2, law(Spec(chart="mewma", lam=0.2, limit=8.0, dims=2), shift=0.08**0.5).mean),
    ):
        assert out.any(axis=1).mean() > 0.97
        first = np.where(out.any(axis=1), out.argmax(axis=1) + 1, 600)
        # neighbours share points where each is charted with the next: allow for that
        assert abs(first.mean() - mean) < 4.5 * first.std() / 4_000**0.5 + 0.01 * mean


def test_missing_points_are_told_and_steps_pass_over_them() -> None:
    x = np.array([1.0, np.nan, 1.0])
    assert np.isnan(ewma_z(x, mean=0, sigma=1)).tolist() == [False, True, True]
    assert np.isnan(cusum(x)[0]).tolist() == [False, True, True]
    assert np.isnan(shewhart_z(x, mean=0, sigma=1)).tolist() == [False, True, False]
    assert not ewma_chart(x, mean=0, sigma=1, lam=0.2, limit=3).out[1]
    assert not runs_flags(x, WESTERN_ELECTRIC).any()
    up, down = cusum_step((1.0, 0.5), np.nan)
    assert (float(up), float(down)) == (1.0, 0.5)
    for empty in (ewma(np.empty((2, 0)), lam=0.2), cusum(np.empty((2, 0)))[0],
                  runs_flags(np.empty((2, 0)), WESTERN_ELECTRIC)[0]):  # fmt: skip
        assert empty.shape == (2, 0)


def test_runs_rules_look_at_one_side_and_one_zone() -> None:
    z = [2.1, -2.1, 0.0, -2.1, 0.5, 2.5, 2.5]
    two_of_three = (Rule(hits=2, span=3, above=2.0),)
    expected = [False, False, False, True, False, False, True]
    assert runs_flags(z, two_of_three).tolist() == [expected]
    upper = runs_flags(z, two_of_three, two_sided=False)
    assert upper.tolist() == [[False] * 6 + [True]]
    zoned = (Rule(hits=2, span=2, above=1.0, below=2.2),)
    assert runs_flags([1.5, 2.5, 1.5, 2.0], zoned).tolist() == [[False, False, False, True]]


def test_limits_of_shares_follow_the_size_of_each_point() -> None:
    chart = p_chart([5.0, 50.0, np.nan, 0.0], [100.0, 1_000.0, 50.0, 0.0], rate=0.05)
    reach = 3 * np.sqrt(0.05 * 0.95 / np.array([100, 1_000]))
    np.testing.assert_allclose(chart.upper[:2], 0.05 + reach)
    assert chart.lower[0] == -np.inf  # below zero there is no limit
    assert chart.lower[1] == pytest.approx(0.05 - reach[1])
    assert not chart.out.any()
    assert np.isnan(chart.statistic[2:]).all()
    pooled = p_chart([[1, 3], [10, 20]], [100, 300])
    assert pooled.centre.ravel().tolist() == [0.01, 0.075]
    assert np_chart([60], 100, rate=0.5).out.tolist() == [False]
    assert c_chart([4, 16]).centre.tolist() == [10.0]


def test_ordinary_wobble_breaks_a_p_chart_and_not_a_laney_chart() -> None:
    rng = np.random.default_rng(3)
    size = 20_000
    shares = rng.normal(0.2, 0.01, (50, 200))
    counts = rng.binomial(size, shares)
    plain = p_chart(counts, size)
    assert plain.out.mean() > 0.3
    sigma = laney_sigma(plain)
    expected = np.sqrt(1 + 0.01**2 / (0.2 * 0.8 / size))
    assert sigma.mean() == pytest.approx(expected, rel=0.02)
    assert p_chart(counts, size, dispersion=float(sigma.mean())).out.mean() < 0.006
    quiet = p_chart(rng.binomial(size, 0.2, (50, 200)), size)
    assert laney_sigma(quiet).mean() == pytest.approx(1.0, abs=0.02)
    events = u_chart(rng.poisson(50 * rng.gamma(100, 0.03, (50, 200))), 50)
    assert laney_sigma(events).mean() == pytest.approx(np.sqrt(1 + 50 * 0.09 / 3), rel=0.03)


def test_t_squared_is_the_mahalanobis_distance() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(size=(4, 4))
    covariance, mean = root @ root.T + np.eye(4), rng.normal(size=4)
    x = rng.normal(size=(3, 7, 4))
    gap = x - mean
    expected = np.einsum("...i,ij,...j->...", gap, np.linalg.inv(covariance), gap)
    np.testing.assert_allclose(hotelling_t2(x, mean=mean, covariance=covariance), expected)
    np.testing.assert_allclose(mewma_t2(x, mean=mean, covariance=covariance, lam=1.0), expected)
    np.testing.assert_allclose(
        hotelling_t2(x, mean=mean, covariance=covariance, size=5), 5 * expected
    )
    white, state = whitened(x, mean=mean, covariance=covariance), np.zeros((3, 4))
    series = mewma_t2(x, mean=mean, covariance=covariance, lam=0.3)
    for t in range(7):
        state, t2 = mewma_step(state, white[:, t], lam=0.3)
        np.testing.assert_allclose(t2, series[:, t])
    exact = mewma_t2(x, mean=mean, covariance=covariance, lam=0.3, exact=True)
    np.testing.assert_allclose(exact[:, 0], expected[:, 0])  # the first point alone
    assert hotelling_t2(np.empty((0, 4)), mean=mean, covariance=covariance).shape == (0,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ewma([1.0], lam=0.0), "lam"),
        (lambda: ewma_z([1.0], mean=0, sigma=0), "sigma"),
        (lambda: cusum([1.0], k=-1), "k >= 0"),
        (lambda: cusum([1.0], head_start=-1), "head_start"),
        (lambda: cusum_step((0.0, 0.0), 1.0, k=-1), "k >= 0"),
        (lambda: runs_flags([1.0], ()), "rule"),
        (lambda: p_chart([11], [10]), "at most"),
        (lambda: p_chart([-1], [10]), ">= 0"),
        (lambda: p_chart([1], [10], rate=2.0), "rate"),
        (lambda: u_chart([1], [10], dispersion=0.0), "dispersion"),
        (lambda: hotelling_t2([[1.0]], mean=[0.0], covariance=[[-1.0]]), "positive definite"),
        (
            lambda: hotelling_t2([[1.0]], mean=[0.0, 1.0], covariance=[[1.0]]),
            "expected 1 means",
        ),
    ],
)
def test_what_cannot_be_charted_is_refused(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
