"""Item similarity against direct solutions of the same problem."""

import numpy as np
import pytest

from mlg.recsys import ease
from mlg.recsys.events import Histories, Log


def log_of(rows: list[tuple[int, int, int]]) -> Log:
    """Rows of (viewer, item, time)."""
    viewer, item, at = (np.array(part) for part in zip(*rows, strict=True))
    order = np.lexsort((item, viewer, at))
    return Log(
        viewer=viewer[order].astype(np.int32),
        item=item[order].astype(np.int32),
        at=at[order].astype(np.int64),
        value=np.full(len(rows), np.nan),
        row=order.astype(np.int64),
    )


def test_ease_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    rng = np.random.default_rng(0)
    x = (rng.random((30, 6)) < 0.4).astype(float)
    found = ease.ease(x.T @ x, 2.0)
    for item in range(6):
        others = [i for i in range(6) if i != item]
        a = x[:, others]
        direct = np.linalg.solve(a.T @ a + 2.0 * np.eye(5), a.T @ x[:, item])
        np.testing.assert_allclose(found[others, item], direct, rtol=1e-4, atol=1e-5)
        assert found[item, item] == 0.0


def test_a_floor_of_one_counts_plain_cooccurrence() -> None:
    log = log_of([(0, 0, 1), (0, 1, 2), (1, 1, 1), (1, 2, 5), (1, 0, 9)])
    x = np.array([[1, 1, 0], [1, 1, 1]], dtype=float)
    found = ease.gram(Histories(log, 2), 2, 3, reach=3.0, floor=1.0)
    np.testing.assert_allclose(found, x.T @ x)


def test_distance_weakens_cooccurrence_by_the_exponential_law() -> None:
    log = log_of([(0, 0, 1), (0, 1, 2), (0, 2, 3)])
    found = ease.gram(Histories(log, 1), 1, 3, reach=2.0, floor=0.0)
    assert found[0, 1] == pytest.approx(np.exp(-0.5))
    assert found[0, 2] == pytest.approx(np.exp(-1.0))


def test_the_gram_matrix_is_positive_semidefinite_with_repeats() -> None:
    rng = np.random.default_rng(1)
    rows = [(int(v), int(i), int(t)) for v, i, t in rng.integers(0, 8, (200, 3))]
    found = ease.gram(Histories(log_of(rows), 8), 8, 8, reach=4.0, floor=0.1)
    np.testing.assert_allclose(found, found.T)


def test_onward_is_the_ridge_regression_of_what_came_next_on_what_came_before() -> None:
    rows = [(0, 0, 1), (0, 1, 1), (0, 2, 2), (0, 3, 5), (1, 2, 3), (1, 0, 4), (1, 1, 9)]
    found = ease.onward(Histories(log_of(rows), 2), 2, 4, past=2.0, ahead=3.0, ridge=0.5)
    regressors: list[list[float]] = []
    targets: list[list[float]] = []
    for viewer in range(2):
        own = [(item, at) for who, item, at in rows if who == viewer]
        times = [at for _, at in own]
        place = [np.mean([n for n, t in enumerate(times) if t == at]) for at in times]
        for moment in sorted(set(times))[1:]:
            before = [n for n, t in enumerate(times) if t < moment]
            after = [n for n, t in enumerate(times) if t >= moment]
            source, target = [0.0] * 4, [0.0] * 4
            for n in before:
                source[own[n][0]] = np.exp(-(len(before) - 1 - place[n]) / 2.0)
            for n in after:
                target[own[n][0]] = np.exp(-(place[n] - place[after[0]]) / 3.0)
            regressors.append(source)
            targets.append(target)
    s, t = np.array(regressors), np.array(targets)
    direct = np.linalg.solve(s.T @ s + 0.5 * np.eye(4), s.T @ t)
    np.testing.assert_allclose(found, direct, rtol=1e-5, atol=1e-6)


def test_events_of_one_time_do_not_follow_each_other() -> None:
    log = log_of([(0, 0, 1), (0, 1, 1)])
    found = ease.onward(Histories(log, 1), 1, 2, past=2.0, ahead=2.0, ridge=1.0)
    assert found.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_recency_does_not_depend_on_the_order_inside_a_tie() -> None:
    found = ease.recency(ease.ages(np.array([1, 4, 4, 9])), 2.0)
    np.testing.assert_allclose(found, np.exp(-np.array([3, 1.5, 1.5, 0]) / 2), rtol=1e-6)


def test_trailing_counts_leave_out_the_moment_itself() -> None:
    item, at = np.array([0, 1, 1], dtype=np.int32), np.array([10, 20, 30])
    assert ease.trailing_counts(item, at, 30, 10, 2).tolist() == [0.0, 1.0]
