"""Tables without one viewer's rows, whatever type his key has."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlg.pipeline.redact import columns_there, rows_of_viewer, write_without
from mlg.pipeline.snapshot import content_digest, write_parquet


def stored(path: Path, table: Any) -> Path:
    write_parquet(table.to_batches(), table.schema, path)
    return path


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([7, 8, None, 7, 77], pa.int64()),
        pa.array([7, 8, None, 7, 77], pa.uint8()),
        pa.array([7.0, 8.0, None, 7.0, 77.0], pa.float64()),
        pa.array(["7", "8", None, "7", "77"], pa.string()),
    ],
    ids=lambda keys: str(keys.type),
)
def test_his_rows_go_and_the_others_stay_in_order(tmp_path: Path, keys: Any) -> None:
    path = stored(tmp_path / "t.parquet", pa.table({"who": keys, "n": range(5)}))
    assert rows_of_viewer(path, ("who",), "7") == 2
    assert write_without(path, ("who",), "7", tmp_path / "new.parquet") == 3
    table = pq.read_table(tmp_path / "new.parquet")
    assert table.column("n").to_pylist() == [1, 2, 4]
    assert table.schema.equals(pq.read_schema(path))


def test_the_new_table_is_the_one_that_never_had_him(tmp_path: Path) -> None:
    times = pa.array(range(4), pa.timestamp("us"))
    whole = pa.table({"who": ["a", "b", "a", "c"], "at": times, "tags": [["x"], [], None, []]})
    path = stored(tmp_path / "t.parquet", whole)
    write_without(path, ("who",), "a", tmp_path / "new.parquet")
    never = stored(tmp_path / "never.parquet", whole.take([1, 3]))
    assert (tmp_path / "new.parquet").read_bytes() == never.read_bytes()
    assert content_digest(tmp_path / "new.parquet") == content_digest(never)


def test_any_of_several_columns_may_name_him(tmp_path: Path) -> None:
    table = pa.table({"who": [1, 2, 3], "friend": [2, 3, 4]})
    path = stored(tmp_path / "t.parquet", table)
    assert columns_there(path, ("friend", "who", "gone")) == ("friend", "who")
    assert rows_of_viewer(path, ("who", "friend"), "2") == 2
    assert write_without(path, ("who", "friend"), "2", tmp_path / "new.parquet") == 1
