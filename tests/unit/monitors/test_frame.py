"""Tables in windows: any way of cutting the rows gives the same, and it is what numpy says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlg.monitors.frame import Column, Grid, grid_of, merged
from mlg.monitors.frame_pass import NumberPass, TextPass, bins_of, spans_of

ODD = (np.nan, np.inf, -np.inf)


def made(kind: str, n: int = 5_000) -> np.ndarray:
    rng = np.random.default_rng(3)
    return {
        "normal": rng.standard_normal(n),
        "lognormal": rng.lognormal(0, 3, n),
        "times": 1.7e9 + rng.random(n),
        "stars": rng.integers(1, 6, n).astype(float),
        "one": np.full(n, 4.0),
        "two scales": np.where(rng.random(n) < 0.5, rng.random(n) * 1e-9, 1e9 * rng.random(n)),
        "odd": np.where(rng.random(n) < 0.2, rng.choice(ODD, n), rng.standard_normal(n)),
    }[kind]


KINDS = ("normal", "lognormal", "times", "stars", "one", "two scales", "odd")


@pytest.mark.parametrize("kind", KINDS)
def test_sums_and_bins_are_what_numpy_says(kind: str) -> None:
    values, windows = made(kind), 7
    column = Column(name="x", kind="number", grid=grid_of(values))
    work = NumberPass(column, windows)
    for begin in range(0, len(values), 999):
        chunk = values[begin : begin + 999]
        work.add(chunk, spans_of(begin, len(chunk), len(values), windows))
    window = np.arange(len(values)) * windows // len(values)
    found = work.windows
    for at in range(windows):
        mine = values[window == at]
        known = mine[np.isfinite(mine)]
        gaps = known - column.grid.centre
        assert found.n[at] == len(mine)
        assert found.missing[at] == np.isnan(mine).sum()
        assert found.infinite[at] == np.isinf(mine).sum()
        assert found.total[at] == pytest.approx(gaps.sum(), rel=1e-9, abs=1e-6)
        assert found.squares[at] == pytest.approx((gaps**2).sum(), rel=1e-9)
        bins = np.bincount(bins_of(column.grid, known), minlength=column.grid.bins)
        assert found.counts[at].tolist() == bins.tolist()


@pytest.mark.parametrize("kind", ["normal", "lognormal", "times"])
def test_bins_hold_about_as_many_values_each(kind: str) -> None:
    values = made(kind)
    grid = grid_of(values)
    assert grid.bins == 20
    share = np.bincount(bins_of(grid, values), minlength=20) / len(values)
    assert share.min() > 0.03
    assert share.max() < 0.07


def test_values_that_repeat_have_a_bin_each_and_stay_in_it() -> None:
    values = made("stars")
    grid = grid_of(values)
    assert grid.bins == 5
    for star in range(1, 6):
        assert set(bins_of(grid, np.full(3, float(star))).tolist()) == {star - 1}
    assert grid_of(made("one")).bins == 1
    assert grid_of(np.full(4, np.nan)).bins == 1


@pytest.mark.parametrize("kind", ["linear", "bits", "search"])
def test_a_larger_value_is_never_in_a_lower_bin(kind: str) -> None:
    values = {"linear": made("normal"), "bits": made("lognormal"), "search": made("times")}
    rising = np.sort(np.concatenate([values[kind], [-1e30, 1e30, 0.0]]))
    grid = grid_of(values[kind])
    assert grid.kind == kind
    assert np.all(np.diff(bins_of(grid, rising)) >= 0)


@given(st.lists(st.integers(1, 400), max_size=8), st.integers(1, 9))
def test_any_split_of_the_rows_merges_to_the_same(cuts: list[int], windows: int) -> None:
    values = made("odd", 800)
    column = Column(name="x", kind="number", grid=grid_of(values))
    whole = NumberPass(column, windows)
    whole.add(values, spans_of(0, 800, 800, windows))
    parts = [NumberPass(column, windows), NumberPass(column, windows)]
    begin = 0
    for at, size in enumerate([*cuts, 800]):
        chunk = values[begin : begin + size]
        if len(chunk):
            parts[at % 2].add(chunk, spans_of(begin, len(chunk), 800, windows))
        begin += len(chunk)
    found = merged(parts[0].windows, parts[1].windows)
    for name in ("n", "missing", "infinite", "counts"):
        assert np.array_equal(getattr(found, name), getattr(whole.windows, name)), name
    assert np.allclose(found.total, whole.windows.total)
    assert np.allclose(found.squares, whole.windows.squares)


def test_windows_of_another_shape_do_not_merge() -> None:
    column = Column(name="x", kind="number", grid=Grid(kind="search", edges=(0.0,)))
    with pytest.raises(ValueError, match="do not merge"):
        merged(NumberPass(column, 2).windows, NumberPass(column, 3).windows)


def test_texts_are_counted_as_own_other_unseen_and_missing() -> None:
    work = TextPass(Column(name="t", kind="text", levels=("a", "b")), 2)
    work.add(np.array([0, 0, 1, 2, 3, 4]), spans_of(0, 6, 6, 2))
    assert work.windows.counts.tolist() == [[2, 1, 0, 0], [0, 0, 1, 1]]
    assert work.windows.missing.tolist() == [0, 1]


def test_a_row_may_carry_many_tags_or_none() -> None:
    work = TextPass(Column(name="t", kind="tags", levels=("a", "b")), 2)
    # rows: [a b], [], null, [b]
    work.add_tags(
        np.array([0, 1, 1]), np.array([0, 0, 3]), np.array([False, False, True, False]),
        spans_of(0, 4, 4, 2),
    )  # fmt: skip
    assert work.windows.counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0]]
    assert work.windows.n.tolist() == [2, 2]
    assert work.windows.missing.tolist() == [0, 1]


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 120), st.integers(1, 40))
def test_spans_are_the_windows_of_their_rows(
    begin: int, rows: int, more: int, windows: int
) -> None:
    total = begin + rows + more
    windows = min(windows, total)
    spans = spans_of(begin, rows, total, windows)
    expected = np.arange(begin, begin + rows) * windows // total
    found = np.repeat(np.arange(len(spans.starts)) + spans.first, spans.lengths)
    assert found.tolist() == expected.tolist()
