# ruff: noqa: DTZ001  (stored times have no zone: they are UTC)
import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlg.pipeline.snapshot import content_digest, write_parquet

ROW = st.fixed_dictionaries(
    {
        "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        "x": st.one_of(st.none(), st.floats(allow_nan=True)),
        "s": st.one_of(st.none(), st.text(max_size=5)),
        "t": st.one_of(
            st.none(), st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
        ),
    }
)
SCHEMA = pa.schema(
    [("n", pa.int64()), ("x", pa.float64()), ("s", pa.string()), ("t", pa.timestamp("us"))]
)


def stored(rows: list[dict], path: Path, chunk: int = 3) -> Path:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    assert write_parquet(table.to_batches(max_chunksize=chunk), SCHEMA, path) == len(rows)
    return path


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROW, max_size=12), data=st.data())
def test_the_order_of_rows_does_not_change_the_content_digest(
    rows: list[dict], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    shuffled = data.draw(st.permutations(rows))
    one, two = stored(rows, folder / "1"), stored(list(shuffled), folder / "2")
    assert content_digest(one) == content_digest(two)


@pytest.mark.parametrize(
    "other",
    [
        [{"n": 1, "x": 1.0, "s": "a"}],
        [{"n": 1, "x": 1.0, "s": "a"}, {"n": 2, "x": 1.0, "s": "b"}] * 2,
        [{"n": 2, "x": 1.0, "s": "a"}, {"n": 1, "x": 1.0, "s": "b"}],
        [{"n": 1, "x": 1.0, "s": "a"}, {"n": 2, "x": 1.0000001, "s": "b"}],
        [{"n": 1, "x": 1.0, "s": "a"}, {"n": 2, "x": 1.0, "s": None}],
        [{"n": 1, "x": 1.0, "s": "a"}, {"n": None, "x": 1.0, "s": "b"}],
    ],
)
def test_other_rows_have_another_content_digest(other: list[dict], tmp_path: Path) -> None:
    rows = [{"n": 1, "x": 1.0, "s": "a"}, {"n": 2, "x": 1.0, "s": "b"}]
    full = [{"n": None, "x": None, "s": None, "t": None} | row for row in rows]
    changed = [{"n": None, "x": None, "s": None, "t": None} | row for row in other]
    one, two = stored(full, tmp_path / "1"), stored(changed, tmp_path / "2")
    assert content_digest(one) != content_digest(two)


def test_neighbouring_texts_do_not_run_into_each_other(tmp_path: Path) -> None:
    for name, row in (("1", ("ab", "c")), ("2", ("a", "bc")), ("3", ("n", None))):
        pq.write_table(
            pa.table({"p": [row[0]], "q": pa.array([row[1]], pa.string())}), tmp_path / name
        )
    assert len({content_digest(tmp_path / name) for name in "123"}) == 3


def test_column_names_and_types_count(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int64())}), tmp_path / "1")
    pq.write_table(pa.table({"b": pa.array([1], pa.int64())}), tmp_path / "2")
    pq.write_table(pa.table({"a": pa.array([1], pa.int32())}), tmp_path / "3")
    assert len({content_digest(tmp_path / name) for name in "123"}) == 3


def test_a_difference_below_one_in_a_billion_does_not_count(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0]}), tmp_path / "1")
    pq.write_table(pa.table({"a": [1.0 + 1e-13]}), tmp_path / "2")
    assert content_digest(tmp_path / "1") == content_digest(tmp_path / "2")


def test_the_same_rows_in_other_batches_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"n": i, "x": i / 3, "s": str(i), "t": dt.datetime(2026, 1, 1)} for i in range(50)]
    one = stored(rows, tmp_path / "1", chunk=50)
    assert one.read_bytes() == stored(rows, tmp_path / "2", chunk=7).read_bytes()


def test_many_rows_are_written_in_order_across_row_groups(tmp_path: Path) -> None:
    table = pa.table({"n": pa.array(range(300_000))})
    rows = write_parquet(table.to_batches(max_chunksize=50_000), table.schema, tmp_path / "1")
    found = pq.ParquetFile(tmp_path / "1")
    assert rows == 300_000
    assert found.metadata.num_row_groups == 3
    assert found.read()["n"].equals(table["n"])


def test_times_with_a_zone_are_stored_as_utc(tmp_path: Path) -> None:
    at = dt.datetime(2026, 1, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    table = pa.table({"t": pa.array([at], pa.timestamp("us", tz="+02:00"))})
    write_parquet(table.to_batches(), table.schema, tmp_path / "1")
    assert pq.read_table(tmp_path / "1")["t"][0].as_py() == dt.datetime(2026, 1, 1, 10)
