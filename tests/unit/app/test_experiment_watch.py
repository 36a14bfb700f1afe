"""What an experiment's watch counts: one value a viewer, and whether a cell fails more."""

from statistics import mean, variance

import pytest

from mlg.app.experiment_watch import errors_guard, mean_of
from mlg.monitors.arms import Arm, Stage, Viewer

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


def stage(failed: int, of: int = 200) -> Arm:
    """Return an arm of which the first so many viewers were answered by the list."""
    tally = Stage()
    for n in range(of):
        rescue = {"served_by": "fallback", "reason": "error"} if n < failed else {}
        row = {"prediction_id": f"p{n}", "arm": "v1", "model_version": "v1", "viewer": f"{n}"}
        tally.add([{**row, **rescue, "session": f"s{n}"}], [])
    return tally.arms["v1"]


@pytest.mark.parametrize(
    ("cell", "control", "verdict"),
    [(0, 0, "PASS"), (200, 0, "FAIL"), (40, 0, "FAIL"), (2, 2, "PASS")],
)
def test_a_cell_fails_only_where_more_of_its_units_do(
    cell: int, control: int, verdict: str
) -> None:
    found = errors_guard(stage(cell), stage(control), 0.001)
    assert found.verdict == verdict, found
    if verdict == "FAIL":
        assert found.reason == f"{cell} of 200 units failed, {control} of 200"


def test_a_control_that_fails_is_no_harm_of_the_cell() -> None:
    assert errors_guard(stage(0), stage(100), 0.001).verdict == "PASS"
    assert errors_guard(stage(50, of=60), stage(0), 0.001).verdict == "INCONCLUSIVE"
