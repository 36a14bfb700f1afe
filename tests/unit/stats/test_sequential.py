"""E-processes: 1 in the mean under the null, rarely large, and fast when it matters."""

from math import comb, exp, inf, log

import numpy as np
import pytest

from mlg.stats.sequential import (
    ArmCounts,
    Randomised,
    control_quantile,
    log_e_above,
    log_e_below,
    log_e_drop,
    log_e_mismatch,
    log_e_not_above,
    log_e_rise,
)


def binomial(n: int, k: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def stage(k: int, happened: int, units: int, control: int) -> ArmCounts:
    return ArmCounts(events=k, units=units, control_events=happened - k, control_units=control)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 1.3])
def test_the_test_of_a_rise_is_one_in_the_mean_at_its_null(ratio: float) -> None:
    """Exact: given the number of events, the candidate's part of them is binomial."""
    units, control = 30, 170
    w = ratio * units / (ratio * units + control)
    mean = sum(
        binomial(12, k, w) * exp(log_e_rise((stage(k, 12, units, control),), null_ratio=ratio))
        for k in range(13)
    )
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_a_smaller_ratio_than_the_null_gives_less_than_one_in_the_mean() -> None:
    w = 0.8 * 30 / (0.8 * 30 + 170)
    mean = sum(
        binomial(12, k, w) * exp(log_e_rise((stage(k, 12, 30, 170),))) for k in range(13)
    )
    assert mean < 1


def test_non_inferiority_is_one_in_the_mean_at_the_margin() -> None:
    w = 1.2 * 50 / (1.2 * 50 + 150)
    mean = sum(
        binomial(12, k, w) * exp(log_e_not_above((stage(k, 12, 50, 150),), margin=0.2))
        for k in range(13)
    )
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_the_test_above_a_bound_is_one_in_the_mean_at_the_bound() -> None:
    mean = sum(binomial(40, k, 0.1) * exp(log_e_above(k, 40, 0.1)) for k in range(41))
    assert mean == pytest.approx(1.0, abs=1e-12)
    assert log_e_above(0, 0, 0.1) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="bound"):
        log_e_above(1, 2, 1.0)


def test_events_that_chance_sent_are_one_in_the_mean_at_the_split() -> None:
    """Whatever the units are like: only the split counts, as each was sent by chance."""
    mean = sum(
        binomial(9, k, 0.005)
        * exp(log_e_rise((Randomised(events=k, control_events=9 - k, share=0.005),)))
        for k in range(10)
    )
    assert mean == pytest.approx(1.0, abs=1e-12)
    assert log_e_rise((Randomised(events=3, control_events=0, share=0.0),)) == 0.0
    with pytest.raises(ValueError, match="share"):
        Randomised(events=1, control_events=0, share=1.5)


def test_the_test_below_a_bound_is_one_in_the_mean_at_the_bound() -> None:
    mean = sum(binomial(40, k, 0.1) * exp(log_e_below(k, 40, 0.1)) for k in range(41))
    assert mean == pytest.approx(1.0, abs=1e-12)


def test_the_test_of_the_split_is_one_in_the_mean_under_it() -> None:
    mean = sum(
        binomial(25, k, 0.2) * exp(log_e_mismatch((k, 25 - k), (0.2, 0.8))) for k in range(26)
    )
    assert mean == pytest.approx(1.0, abs=1e-10)


def test_stages_multiply() -> None:
    a, b = stage(2, 5, 10, 90), stage(1, 4, 25, 75)
    both = log_e_rise((a, b), ratios=(3.0,))
    apart = log_e_rise((a,), ratios=(3.0,)) + log_e_rise((b,), ratios=(3.0,))
    assert both == pytest.approx(apart)


def test_nothing_seen_is_no_evidence() -> None:
    assert log_e_rise(()) == 0
    assert log_e_rise((stage(0, 0, 10, 0),)) == 0
    assert log_e_below(0, 0, 0.1) == pytest.approx(0)
    assert log_e_drop(0, 0, 5, 10) == 0
    assert log_e_drop(0, 10, 0, 10) == 0


def test_looking_again_and_again_raises_few_false_alarms() -> None:
    """Ville: at most alpha, here over 120 looks; the bound is alpha + 3 standard errors."""
    rng = np.random.default_rng(5)
    runs, alpha, alarms = 150, 0.05, 0
    for _ in range(runs):
        k = np.cumsum(rng.binomial(25, 0.01, 120))
        other = np.cumsum(rng.binomial(475, 0.01, 120))
        looks = range(4, 120, 5)
        alarms += any(
            log_e_rise((stage(int(k[i]), int(k[i] + other[i]), 25 * (i + 1), 475 * (i + 1)),))
            >= log(1 / alpha)
            for i in looks
        )
    assert alarms / runs <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5


def test_a_tenfold_error_rate_is_found_in_the_published_number_of_requests() -> None:
    """At 0.5 % of 1,000 requests/s, 0.1 -> 1 % takes about 300 canary requests at alpha .05."""
    rng = np.random.default_rng(11)
    needed: list[int] = []
    for _ in range(60):
        k = np.cumsum(rng.binomial(300, 0.01, 10))
        other = np.cumsum(rng.binomial(59_700, 0.001, 10))
        found = [
            300 * (i + 1)
            for i in range(10)
            if log_e_rise(
                (stage(int(k[i]), int(k[i] + other[i]), 300 * (i + 1), 59_700 * (i + 1)),)
            )
            >= log(20)
        ]
        needed.append(found[0] if found else 10_000)
    assert np.median(needed) <= 600
    assert np.mean(np.array(needed) <= 1_500) >= 0.95


def test_a_drop_of_half_is_found_and_equal_arms_are_not() -> None:
    assert log_e_drop(250, 10_000, 500, 10_000) > log(100)
    assert log_e_drop(500, 10_000, 500, 10_000) < 0
    assert log_e_drop(600, 10_000, 500, 10_000) < 0


def test_a_wrong_split_is_found() -> None:
    assert log_e_mismatch((600, 9_400), (0.05, 0.95)) > log(100)
    assert log_e_mismatch((500, 9_500), (0.05, 0.95)) < 0


def test_a_quantile_is_an_edge_of_its_bin() -> None:
    assert control_quantile([50, 45, 4, 1], [1.0, 2.0, 4.0], 0.99) == 4.0
    assert control_quantile([50, 45, 4, 1], [1.0, 2.0, 4.0], 0.5) == 1.0
    assert control_quantile([0, 0, 0, 1], [1.0, 2.0, 4.0], 0.5) == inf
    assert np.isnan(control_quantile([0, 0], [1.0], 0.5))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="events <= units"):
        ArmCounts(events=2, units=1, control_events=0, control_units=1)
    with pytest.raises(ValueError, match="bound"):
        log_e_below(0, 1, 1.0)
    with pytest.raises(ValueError, match="shares"):
        log_e_mismatch((1, 2), (0.5, 0.6))
    with pytest.raises(ValueError, match="positive"):
        log_e_not_above((), margin=-1.0)
