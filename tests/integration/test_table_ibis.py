"""Windows counted in a database are those of the numpy pass over the same rows."""

import sqlite3
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.adapters import table_ibis
from mlg.adapters.table_batches import open_table
from mlg.adapters.table_frame import frame_of, reading_of
from mlg.adapters.table_ibis import counted_there, frame_there, open_ibis, stays, thresholds
from mlg.app.drift_check import check
from mlg.core.errors import BackendError, ManifestError
from mlg.monitors.frame import Frame, Grid, grid_of
from mlg.monitors.frame_pass import bins_of

ROWS = 20_000


def table(seed: int = 1, shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    plain = rng.normal(10 + shift, 3, ROWS)
    broken = rng.normal(size=ROWS)
    broken[::7] = np.nan
    broken[::11] = np.inf
    broken[::13] = -np.inf
    words = rng.choice(["a", "b", "c", "rare"], ROWS, p=[0.5, 0.3, 0.199, 0.001]).tolist()
    words[-3000:] = ["new" if n % 40 == 0 else w for n, w in enumerate(words[-3000:])]
    return pa.table(
        {
            "plain": plain,
            "single": plain.astype(np.float32),
            "wide": np.exp(rng.normal(0, 4, ROWS)).astype(np.float32),
            "count": rng.integers(0, 6, ROWS),
            "broken": pa.array(broken, mask=rng.random(ROWS) < 0.05),
            "flag": rng.random(ROWS) < 0.2,
            "word": pa.array(words, mask=rng.random(ROWS) < 0.02),
            "alike": np.ones(ROWS),
            "at": pa.array(
                np.datetime64("2026-01-01T00:00:00", "us")
                + np.arange(ROWS) * np.timedelta64(1_234_567, "us")
            ),
        }
    )


def stored(tmp_path: Path, rows: pa.Table, name: str = "t") -> ibis.Table:
    path = tmp_path / f"{name}.parquet"
    pq.write_table(rows, path, row_group_size=3_000)
    return ibis.duckdb.connect().read_parquet(path)


def same(found: Frame, wanted: Frame) -> None:
    assert found.rows == wanted.rows
    assert list(found.windows) == list(wanted.windows)
    for name, one in found.windows.items():
        other = wanted.windows[name]
        for word in ("n", "missing", "infinite", "counts"):
            np.testing.assert_array_equal(
                getattr(one, word), getattr(other, word), err_msg=name
            )
        np.testing.assert_allclose(one.total, other.total, rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(one.squares, other.squares, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("windows", [1, 7, 100])
def test_windows_in_the_order_of_rows_are_equal(tmp_path: Path, windows: int) -> None:
    rows = table()
    readings = [reading_of(open_table(rows)) for _ in range(2)]
    there = open_ibis(stored(tmp_path, rows), "t")
    assert counted_there(there, readings[0])
    found = frame_there(there, readings[0], windows=windows, learn=True)
    same(found, frame_of(open_table(rows), readings[1], windows=windows, learn=True))
    assert found.windows["word"].counts[:, -1].sum() > 0  # texts of the second half only


def test_windows_in_the_order_of_a_time_are_equal_however_rows_lie(tmp_path: Path) -> None:
    rows = table()
    shuffled = rows.take(np.random.default_rng(3).permutation(ROWS))
    readings = [reading_of(open_table(rows), "at") for _ in range(2)]
    there = open_ibis(stored(tmp_path, shuffled), "t")
    found = frame_there(there, readings[0], windows=73, learn=True)
    same(found, frame_of(open_table(rows), readings[1], windows=73, learn=True))


def test_rows_of_one_time_share_a_window_and_those_without_one_are_last(tmp_path: Path) -> None:
    at = [1.0] * 300 + [2.0] * 500 + [3.0] * 100 + [None] * 100
    rows = pa.table({"at": pa.array(at), "x": np.arange(1000.0)})
    reading = reading_of(open_table(rows), "at")
    found = frame_there(open_ibis(stored(tmp_path, rows), "t"), reading, windows=4, learn=True)
    assert found.windows["x"].n.sum() == 1000
    # rows 250, 500 and 750 by time are of times 1, 2 and 2
    assert found.windows["x"].n.tolist() == [0, 300, 0, 700]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1),
    kind=st.sampled_from(["found", "search"]),
)
def test_thresholds_are_the_least_values_of_their_bins(values: list[float], kind: str) -> None:
    given_values = np.array(values, dtype=np.float64)
    grid = grid_of(given_values)
    if kind == "search":
        grid = Grid(kind="search", edges=tuple(np.unique(given_values).tolist()))
    starts = thresholds(grid)
    assert starts.shape == (grid.bins - 1,)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(bins_of(grid, starts), np.arange(1, grid.bins))
        before = bins_of(grid, np.nextafter(starts, -np.inf))
        np.testing.assert_array_equal(before, np.arange(grid.bins - 1))


def test_a_check_of_tables_in_a_database_says_what_one_of_arrow_tables_says(
    tmp_path: Path,
) -> None:
    usual, live = table(1), table(2, shift=1.0)
    there = [stored(tmp_path, one, name) for one, name in ((usual, "a"), (live, "b"))]
    assert all(stays(one) for one in there)
    found, wanted = check(*there), check(usual, live)
    assert found.verdict == wanted.verdict == "drift"
    assert {f.feature for f in found.features if f.verdict == "drift"} == {
        f.feature for f in wanted.features if f.verdict == "drift"
    }
    for one, other in zip(found.features, wanted.features, strict=True):
        assert [(c.metric, c.statistic) for c in one.charts] == [
            (c.metric, pytest.approx(c.statistic)) for c in other.charts
        ]


def test_an_expression_in_a_database_is_counted_there_and_one_in_memory_is_not(
    tmp_path: Path,
) -> None:
    one = stored(tmp_path, table())
    assert stays(one.filter(one["count"] > 2).mutate(twice=one.plain * 2))
    assert not stays(ibis.memtable({"a": [1, 2]}).filter(ibis._.a > 1))
    assert not stays(table())


def test_columns_of_lists_are_read_in_batches(tmp_path: Path) -> None:
    rows = pa.table({"tags": [["a"], ["a", "b"]] * 400, "x": np.arange(800.0)})
    there = open_ibis(stored(tmp_path, rows), "t")
    reading = reading_of(there)
    assert not counted_there(there, reading)
    assert check(stored(tmp_path, rows), stored(tmp_path, rows)).verdict == "ok"


def test_an_engine_that_fails_is_told_with_the_table(tmp_path: Path) -> None:
    one = stored(tmp_path, table())
    (tmp_path / "t.parquet").unlink()
    with pytest.raises(BackendError, match="engine failed") as caught:
        open_ibis(one, "live")
    assert caught.value.where == "live"


def test_an_engine_without_an_order_of_rows_asks_for_the_time(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "t.sqlite3") as made_by:
        made_by.execute("create table t (x real, at real)")
        made_by.executemany("insert into t values (?, ?)", [(n, n) for n in range(500)])
    made_by.close()
    connection = ibis.sqlite.connect(tmp_path / "t.sqlite3")
    made = connection.table("t")
    with pytest.raises(ManifestError, match="no order") as caught:
        check(made, made)
    assert "--time" in caught.value.hint
    connection.disconnect()


def test_an_engine_that_takes_no_seed_gives_a_sample_all_the_same(tmp_path: Path) -> None:
    rows, wanted = 12_000, 9_000
    with sqlite3.connect(tmp_path / "t.sqlite3") as made_by:
        made_by.execute("create table t (x real)")
        made_by.executemany("insert into t values (?)", ((n,) for n in range(rows)))
    made_by.close()
    connection = ibis.sqlite.connect(tmp_path / "t.sqlite3")
    found = table_ibis._sampled(connection.table("t"), rows, wanted, seed=7).to_pyarrow()
    apart = 6 * (rows * 0.75 * 0.25) ** 0.5  # binomial
    assert found.num_rows == pytest.approx(wanted, abs=apart)
    assert len(found["x"].unique()) == found.num_rows
    connection.disconnect()
