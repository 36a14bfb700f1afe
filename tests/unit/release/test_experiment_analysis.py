"""Verdicts of an experiment's figures."""

import pytest

from mlg.release.experiment_analysis import judge_metric, judge_ratio
from mlg.stats.confidence_sequence import ArmMean


def arm(mean: float, units: int) -> ArmMean:
    return ArmMean(units=units, mean=mean, variance=mean * (1 - mean))


@pytest.mark.parametrize(
    ("mean", "units", "verdict", "word"),
    [
        (0.40, 10_000, "PASS", "better"),
        (0.20, 10_000, "FAIL", "worse"),
        (0.30, 1_000_000, "PASS", "no difference of 0.02"),
        (0.30, 200, "INCONCLUSIVE", "undecided"),
        (0.99, 99, "INCONCLUSIVE", "undecided"),
    ],
)
def test_a_metric_is_better_worse_alike_or_open(
    mean: float, units: int, verdict: str, word: str
) -> None:
    result = judge_metric("ctr", arm(mean, units), arm(0.3, units), alpha=0.01, min_effect=0.02)
    assert result.verdict == verdict
    assert result.reason.startswith(f"{word}:")


def test_a_split_that_loses_viewers_is_an_error_and_a_sound_one_is_not() -> None:
    assert judge_ratio([1_000, 2_000], [500, 1_000]).verdict == "PASS"
    assert judge_ratio([800, 2_200], [500, 1_000]).verdict == "ERROR"
    assert judge_ratio([0, 0], [500, 1_000]).verdict == "PASS"
    with pytest.raises(ValueError, match="shares"):
        judge_ratio([1], [500, 1_000])
