"""The sequential test of votes: valid under peeking, and as strong as its growth says."""

from math import comb, exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.client.replay_plan import wilson
from mlg.stats.interleaving import (
    FAULTY,
    LOSING,
    log_e_fails,
    log_e_loses,
    log_e_not_losing,
)

ALPHA = 0.05


def mixture(
    wins: np.ndarray, votes: np.ndarray, null: float, others: list[float]
) -> np.ndarray:
    """The same e-value, written anew for arrays: the mean of Bernoulli likelihood ratios."""
    terms = [wins * log(p / null) + (votes - wins) * log((1 - p) / (1 - null)) for p in others]
    return np.logaddexp.reduce(terms, axis=0) - log(len(others))


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_evidence_is_the_mean_of_likelihood_ratios(wins: int, losses: int) -> None:
    others = [0.5 * part for part in LOSING]
    own = mixture(np.array(wins), np.array(wins + losses), 0.5, others)
    assert log_e_loses(wins, losses) == pytest.approx(float(own), abs=1e-9)


def test_the_expected_e_value_of_fair_votes_is_one_at_any_number() -> None:
    for n in (1, 2, 7, 30):
        chances = [comb(n, wins) / 2**n for wins in range(n + 1)]
        mean = sum(p * exp(log_e_loses(w, n - w)) for w, p in enumerate(chances))
        assert mean == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.55])
def test_equal_rankers_cross_with_a_chance_of_at_most_alpha(share: float) -> None:
    runs, most = 1_000, 500
    rng = np.random.default_rng(7)
    wins = np.cumsum(rng.random((runs, most)) < share, axis=1)
    votes = np.arange(1, most + 1)
    others = [0.5 * part for part in LOSING]
    crossed = int((mixture(wins, votes, 0.5, others).max(axis=1) >= log(1 / ALPHA)).sum())
    assert wilson(crossed, runs)[0] < ALPHA
    assert crossed / runs <= ALPHA


def test_a_loser_is_found_in_most_runs_once_the_best_single_bet_has_paid_for_the_mixture() -> (
    None
):
    runs, share = 300, 0.4
    growth = share * log(share / 0.5) + (1 - share) * log((1 - share) / 0.5)
    enough = int((log(1 / ALPHA) + log(len(LOSING))) / growth)  # 252 votes
    wins = np.cumsum(np.random.default_rng(3).random((runs, enough)) < share, axis=1)
    others = [0.5 * part for part in LOSING]
    above = mixture(wins, np.arange(1, enough + 1), 0.5, others) >= log(1 / ALPHA)
    assert above.any(axis=1).mean() > 0.5


def test_a_version_just_outside_the_margin_seldom_passes() -> None:
    runs, most, margin = 300, 400, 0.1
    rng = np.random.default_rng(11)
    passed = 0
    for losses in np.cumsum(rng.random((runs, most)) < 0.5 + margin, axis=1):
        looks = range(25, most, 25)
        passed += any(
            log_e_not_losing(n - int(losses[n - 1]), int(losses[n - 1]), margin)
            >= log(1 / ALPHA)
            for n in looks
        )
    assert passed / runs <= ALPHA


def test_an_equal_version_passes_and_a_better_one_sooner() -> None:
    equal = log_e_not_losing(120, 120, 0.1)
    assert equal >= log(1 / ALPHA)
    assert log_e_not_losing(150, 90, 0.1) > equal > log_e_not_losing(90, 150, 0.1)


def test_faults_within_the_bound_cross_with_a_chance_of_at_most_alpha() -> None:
    runs, most, bound = 800, 1_000, 0.005
    rng = np.random.default_rng(5)
    faults = np.cumsum(rng.random((runs, most)) < bound, axis=1)
    asked = np.arange(1, most + 1)
    rates = [bound * times for times in FAULTY]
    crossed = (mixture(faults, asked, bound, rates).max(axis=1) >= log(1 / ALPHA)).sum()
    assert crossed / runs <= ALPHA
    others = mixture(np.array(9), np.array(300), bound, rates)
    assert log_e_fails(9, 300, bound) == pytest.approx(float(others), abs=1e-9)


def test_a_version_that_always_fails_is_found_within_four_requests() -> None:
    assert log_e_fails(4, 4, 0.005) >= log(800)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: log_e_loses(-1, 0),
        lambda: log_e_not_losing(1, 1, 0.5),
        lambda: log_e_not_losing(1, 1, 0.0),
        lambda: log_e_fails(2, 1, 0.1),
        lambda: log_e_fails(1, 2, 0.0),
    ],
)
def test_what_makes_no_sense_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        bad()  # type: ignore[operator]
