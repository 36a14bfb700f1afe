"""What an experiment's watch counts: one value a viewer; slow moments; viewers by split."""

from statistics import mean, variance

import pytest

from mlg.app.experiment_counts import mean_of
from mlg.monitors.arms import Arm, Viewer

SEEN = [(4, 1, 0.5, 1), (2, 2, 0.0, 0), (5, 0, 1.5, 2), (1, 1, 0.9, 1)]
"""Answers, hits, watched, and of how many, by viewer."""


def arm() -> Arm:
    one = Arm()
    for n, (answers, hits, watch_sum, watch_n) in enumerate(SEEN):
        one.viewers[str(n)] = Viewer(
            answers=answers, hits=hits, watch_sum=watch_sum, watch_n=watch_n
        )
    return one


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("ctr", [hits / answers for answers, hits, _, _ in SEEN]),
        ("watch_through", [total / n for _, _, total, n in SEEN if n]),
    ],
)
def test_the_mean_and_variance_are_over_viewers_who_have_a_value(
    metric: str, values: list[float]
) -> None:
    found = mean_of(arm(), metric)
    assert found.units == len(values)
    assert found.mean == pytest.approx(mean(values))
    assert found.variance == pytest.approx(variance(values))
    assert (mean_of(Arm(), metric).units, mean_of(Arm(), metric).variance) == (0, 0.0)
    assert mean_of(arm(), metric, without={"0", "1", "2"}).mean == values[-1]
