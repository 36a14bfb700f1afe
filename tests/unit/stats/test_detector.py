"""The e-detector against closed forms and simulations with fixed seeds."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.stats.detector import (
    TILTS,
    Detector,
    leaning,
    limit_for,
    looked,
    shape_of,
    two_sample_log_e,
)


@settings(max_examples=50, deadline=None)
@given(
    p=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2),
    a=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2),
    b=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2),
    n=st.integers(1, 4),
    m=st.integers(1, 4),
)
def test_the_mean_e_value_of_two_like_samples_is_at_most_one(
    p: list[float], a: list[float], b: list[float], n: int, m: int
) -> None:
    """All outcomes of n and m draws from two bins, weighed by their binomial probabilities."""
    from scipy.stats import binom

    truth, own, others = (np.array(v) / sum(v) for v in (p, a, b))
    total = 0.0
    for i in range(n + 1):
        for j in range(m + 1):
            chance = binom.pmf(i, n, truth[0]) * binom.pmf(j, m, truth[0])
            total += chance * exp(two_sample_log_e([i, n - i], [j, m - j], own, others))
    assert total <= 1 + 1e-9


def test_a_look_adds_one_and_multiplies() -> None:
    usual = (30.0, 30.0)
    shape = shape_of(usual)
    once = looked(Detector(), (1, 0), (0, 1), usual)
    twice = looked(once, (1, 0), (0, 1), usual)
    for tilt, first, second in zip(TILTS, once.sums, twice.sums, strict=True):
        e = exp(two_sample_log_e([1, 0], [0, 1], leaning(shape, tilt), shape))
        assert exp(first) == pytest.approx(e)  # (1 + 0) e
        assert exp(second) == pytest.approx((1 + e) * e)


def test_who_did_not_answer_is_no_evidence() -> None:
    before = looked(Detector(), (1, 0), (0, 1), (9.0, 9.0))
    assert looked(before, (0, 0), (5, 5), (9.0, 9.0)) == before
    assert looked(before, (5, 5), (0, 0), (9.0, 9.0)) == before


def test_the_limit_is_the_logarithm_of_looks_times_members() -> None:
    assert limit_for(1_000, 3) == pytest.approx(log(3_000))


def test_alike_replicas_alarm_less_often_than_stated() -> None:
    """Looks to the first alarm are at least the design's on average: here 100, of one replica.

    The mean of 100 runs of min(first alarm, 500) has a standard error below
    500 / (2 sqrt(100)) = 25; runs that are cut off count as 500, so the mean is too small.
    """
    rng = np.random.default_rng(11)
    limit = limit_for(100, 1)
    firsts: list[int] = []
    for _ in range(100):
        detector, usual = Detector(), np.zeros(20)
        truth, first = rng.dirichlet(np.full(20, 0.5)), 500
        for look in range(1, 501):
            if look % 100 == 0:  # a promotion: another distribution for everyone
                truth = rng.dirichlet(np.full(20, 0.5))
            own, others = rng.multinomial(3, truth), rng.multinomial(3, truth)
            detector = looked(detector, own.tolist(), others.tolist(), usual.tolist())
            usual += others
            if detector.statistic >= limit:
                first = look
                break
        firsts.append(first)
    assert np.mean(firsts) >= 100 - 2 * 25
    assert min(firsts) > 1


@pytest.mark.parametrize(("factor", "answers"), [(0.0, 40), (0.5, 120)])
def test_a_fall_is_found_within_few_answers(factor: float, answers: int) -> None:
    """At the product's limit, with confidences as a beta distribution around 0.3."""
    rng = np.random.default_rng(5)
    needed: list[int] = []
    for _ in range(50):
        usual = np.histogram(rng.beta(6, 14, 500), bins=20, range=(0, 1))[0]
        detector, given_ = Detector(), 0
        while detector.statistic < limit_for(90 * 86_400, 2):
            own = np.histogram(factor * rng.beta(6, 14, 2), bins=20, range=(0, 1))[0]
            others = np.histogram(rng.beta(6, 14, 2), bins=20, range=(0, 1))[0]
            detector = looked(detector, own, others, usual)
            given_ += 2
            assert given_ < 1_000
        needed.append(given_)
    assert np.median(needed) <= answers
