"""Measures against closed forms and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import trapezoid

from mlg.recsys import metrics


def test_ndcg_is_one_over_log_of_the_rank() -> None:
    found = metrics.ndcg_at(np.array([1, 2, 3, 7]), 10)
    np.testing.assert_allclose(found, [1.0, 1 / np.log2(3), 0.5, 1 / 3])


def test_recall_counts_the_edge_of_the_list() -> None:
    assert metrics.recall_at(np.array([10, 11, 0]), 10).tolist() == [1.0, 0.0, 0.0]


@given(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 60)))
def test_ndcg_lies_between_nothing_and_recall(ranks: np.ndarray) -> None:
    assert (metrics.ndcg_at(ranks, 10) <= metrics.recall_at(ranks, 10)).all()
    assert (metrics.ndcg_at(ranks, 10) >= 0).all()


def test_coverage_of_an_empty_catalogue_is_zero() -> None:
    assert metrics.coverage(np.full((2, 2), -1, dtype=np.int32), 0) == 0.0


def test_a_perfectly_calibrated_bin_has_no_error() -> None:
    p = np.full(4, 0.25)
    assert metrics.calibration_error(p, np.array([1.0, 0, 0, 0])) == 0.0


def test_calibration_error_of_a_constant_is_its_distance_from_the_rate() -> None:
    y = np.array([1.0, 0, 0, 0, 0])
    assert metrics.calibration_error(np.full(5, 0.7), y) == pytest.approx(0.5)


def test_weights_stand_for_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random(30), (rng.random(30) < 0.4).astype(float)
    times = rng.integers(1, 4, 30)
    repeated_p, repeated_y = np.repeat(p, times), np.repeat(y, times)
    for measure in (metrics.brier, metrics.calibration_error, metrics.aurc):
        assert measure(p, y, times.astype(float)) == pytest.approx(
            measure(repeated_p, repeated_y)
        )


def test_aurc_is_the_mean_of_the_selective_risks() -> None:
    rng = np.random.default_rng(1)
    confidence, hit = rng.permutation(20) / 20.0, (rng.random(20) < 0.5).astype(float)
    order = np.argsort(-confidence)
    risks = [1 - hit[order[: n + 1]].mean() for n in range(20)]
    assert metrics.aurc(confidence, hit) == pytest.approx(np.mean(risks))


def test_aurc_of_a_constant_confidence_is_the_error_rate() -> None:
    assert metrics.aurc(np.full(4, 0.3), np.array([1.0, 0, 0, 0])) == pytest.approx(0.75)


def test_auc_equals_the_area_under_the_curve_by_trapezoids() -> None:
    rng = np.random.default_rng(2)
    score, y = rng.random(200).round(1), (rng.random(200) < 0.3).astype(float)
    levels = np.concatenate(([np.inf], np.unique(score)[::-1]))
    tpr = [(y[score >= level]).sum() / y.sum() for level in levels]
    fpr = [(1 - y[score >= level]).sum() / (1 - y).sum() for level in levels]
    assert metrics.auc(score, y) == pytest.approx(trapezoid(tpr, fpr))


def test_a_score_that_is_missing_makes_no_auc() -> None:
    assert np.isnan(metrics.auc(np.array([0.1, np.nan, 0.2]), np.array([1.0, 0.0, 0.0])))


def test_one_class_has_no_auc() -> None:
    assert np.isnan(metrics.auc(np.array([0.1, 0.2]), np.array([1.0, 1.0])))


def test_log_loss_of_the_rate_is_the_entropy() -> None:
    y = np.array([1.0, 0, 0, 0])
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert metrics.log_loss(np.full(4, 0.25), y) == pytest.approx(entropy)


def test_ips_of_the_logging_policy_itself_is_the_mean_reward() -> None:
    p, reward = np.array([0.5, 0.2, 0.3]), np.array([1.0, 0.0, 1.0])
    assert metrics.ips(p, reward, p) == pytest.approx(2 / 3)
    assert metrics.snips(p, reward, p) == pytest.approx(2 / 3)


def test_ips_is_unbiased_over_a_uniform_policy() -> None:
    match = np.array([0.0, 1.0])  # both arms logged once each, the target shows the second
    assert metrics.ips(match, np.array([0.0, 1.0]), np.array([0.5, 0.5])) == 1.0


def test_equal_weights_count_fully() -> None:
    assert metrics.effective_sample_size(np.full(7, 0.3)) == pytest.approx(7)
    assert metrics.effective_sample_size(np.zeros(3)) == 0.0


@pytest.mark.parametrize("measure", [metrics.brier, metrics.calibration_error, metrics.aurc])
def test_nothing_observed_is_not_a_number(measure: object) -> None:
    assert np.isnan(measure(np.zeros(0), np.zeros(0)))  # type: ignore[operator]
