"""Memory and moderation, against closed forms and simulation."""

import numpy as np
import pytest
from scipy.signal import lfilter

from mlg.stats.charts import ewma
from mlg.stats.components import components_of, normal_scores
from mlg.stats.long_run import (
    batch_means,
    ewma_factor,
    line_frequency,
    mean_factor,
    pooled_acf,
    season_cycles,
    without_season,
)
from mlg.stats.moderated import moderated

RNG = np.random.default_rng(11)


def ar(phi: float, rows: int, n: int, rng: np.random.Generator = RNG) -> np.ndarray:
    noise = rng.standard_normal((rows, n + 200)) * np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=1)[:, 200:]


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_many_short_series_together_know_their_memory(phi: float) -> None:
    found = pooled_acf(ar(phi, 400, 100), 30)[:6]
    assert found == pytest.approx(phi ** np.arange(6), abs=0.05)


def test_factors_are_those_of_an_ar_1() -> None:
    phi, n, lam = 0.6, 50, 0.1
    acf = phi ** np.arange(200)
    k = np.arange(1, n)
    assert mean_factor(acf, n) == pytest.approx(1 + 2 * ((1 - k / n) * phi**k).sum())
    carry = phi * (1 - lam)  # Schmid 1997
    assert ewma_factor(acf, lam) == pytest.approx(lam / (2 - lam) * (1 + carry) / (1 - carry))


def test_the_simulated_mean_and_ewma_vary_as_the_factors_say() -> None:
    series, acf = ar(0.7, 4_000, 120), 0.7 ** np.arange(100)
    assert series.mean(axis=1).var() == pytest.approx(mean_factor(acf, 120) / 120, rel=0.08)
    assert ewma(series, lam=0.1)[:, -1].var() == pytest.approx(ewma_factor(acf, 0.1), rel=0.08)


def test_batch_means_leave_out_what_fills_no_batch() -> None:
    assert batch_means(np.arange(7.0)[None, :], 3).tolist() == [[0.5, 2.5, 4.5]]
    with pytest.raises(ValueError, match="make no"):
        batch_means(np.zeros((1, 2)), 3)


def test_a_shared_season_is_found_and_taken_out() -> None:
    n, cycles = 200, 8
    wave = np.sin(2 * np.pi * np.arange(n) / n * cycles + 1.0)
    series = 0.5 * wave + RNG.standard_normal((30, n))
    assert line_frequency(series) == cycles
    rest = without_season(series, cycles)
    assert np.abs(rest @ wave / n).max() < 1e-9
    assert rest.mean(axis=1) == pytest.approx(series.mean(axis=1))


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_memory_alone_is_no_season(phi: float) -> None:
    found = [line_frequency(ar(phi, 40, 200)) for _ in range(40)]
    assert sum(cycles > 0 for cycles in found) <= 1


def test_moderated_variances_make_an_exact_t() -> None:
    """Where the prior is a scaled inverse chi-square, p-values of nulls are uniform."""
    from scipy.stats import kstest
    from scipy.stats import t as student

    rng = np.random.default_rng(5)
    m, d, d0, s0 = 20_000, 6, 8, 2.0
    sigma2 = d0 * s0 / rng.chisquare(d0, m)
    s2 = sigma2 * rng.chisquare(d, m) / d
    found = moderated(s2, d)
    assert found.df == pytest.approx(d + d0, rel=0.15)
    assert found.common == pytest.approx(s0, rel=0.05)
    z = rng.standard_normal(m) * np.sqrt(sigma2) / np.sqrt(found.variance)
    assert kstest(student.cdf(z, found.df), "uniform").pvalue > 0.001


def test_moderation_of_few_or_wrong_variances() -> None:
    assert moderated(np.array([1.0, 2.0]), 5.0).df == 5.0
    assert moderated(np.zeros(5), 5.0).variance == pytest.approx(np.zeros(5))
    with pytest.raises(ValueError, match="df > 0"):
        moderated(np.ones(3), 0.0)
    with pytest.raises(ValueError, match=">= 0"):
        moderated(np.array([1.0, -1.0, np.nan]), 2.0)


def test_components_answer_to_shift_spread_skew_and_tails() -> None:
    rng = np.random.default_rng(2)
    usual = rng.standard_normal(400_000)
    edges = np.quantile(usual, np.arange(1, 40) / 40)

    def means(values: np.ndarray) -> np.ndarray:
        counts = np.bincount(np.searchsorted(edges, values), minlength=40)
        return counts @ scores / counts.sum()

    scores = components_of(np.bincount(np.searchsorted(edges, usual), minlength=40))
    assert means(usual) == pytest.approx(np.zeros(4), abs=1e-9)
    shifted, wider = means(usual + 0.1), means(usual * 1.1)
    assert shifted[0] == pytest.approx(0.1, abs=0.01)
    assert abs(shifted[1:]).max() < 0.02
    # (v - 1) / sqrt(2) of a normal whose variance is v, less what 40 bins lose in the tails
    assert wider[1] == pytest.approx(0.21 / np.sqrt(2), abs=0.02)
    assert abs(wider[0]) < 0.005
    skewed = (rng.standard_gamma(4.0, 400_000) - 4) / 2
    assert abs(means(skewed)[2]) > 0.1


def test_scores_of_few_bins_and_none() -> None:
    assert components_of(np.array([5, 5])).shape == (2, 1)
    assert components_of(np.array([5, 0])).shape == (2, 0)
    assert normal_scores(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("cycles", [3.3, 5.5, 7.8])
def test_a_season_that_comes_round_in_fractions_is_taken_out_whole(cycles: float) -> None:
    """A day that ends in the middle must not leave its wave, nor move the mean."""
    rng = np.random.default_rng(4)
    turn = 2 * np.pi * cycles * np.arange(200) / 200
    waves = np.array([0.3 * np.sin(turn + phase) for phase in rng.uniform(0, 2 * np.pi, 40)])
    noise = 0.1 * rng.standard_normal((40, 200))
    found = season_cycles(waves + noise)
    assert found == pytest.approx(cycles, abs=0.06)
    left = without_season(waves + noise, found)
    assert left.std(axis=1).mean() == pytest.approx(0.1, rel=0.05)
    # five columns are fitted: the error of a mean of 200 is a little above 0.1 / sqrt(200)
    assert np.abs(left.mean(axis=1)).max() < 5 * 0.1 / 200**0.5
    assert season_cycles(noise) == 0.0
