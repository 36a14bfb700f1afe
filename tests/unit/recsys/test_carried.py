"""Whether an artifact names a viewer."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from mlg.core.errors import BackendError
from mlg.recsys.carried import GOLDEN, USERS, carries


def users(folder: Path, ids: list[int] | list[str]) -> None:
    table = pa.table({"id": ids})
    with pa.ipc.new_file(str(folder / USERS), table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("ids", [[7, 70], ["7", "70"]])
def test_a_viewer_in_the_table_is_found_by_his_whole_id(
    tmp_path: Path, ids: list[int] | list[str]
) -> None:
    users(tmp_path, ids)
    assert carries(tmp_path, "7")
    assert not carries(tmp_path, "0")


def test_a_recorded_request_names_its_viewer(tmp_path: Path) -> None:
    lines = [{"user_id": None, "k": 7}, {"user_id": 12, "k": 5}]
    (tmp_path / GOLDEN).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert carries(tmp_path, "12")
    assert not carries(tmp_path, "7")
    assert not carries(tmp_path, "None")


def test_without_viewers_it_names_none_and_a_damaged_one_is_told(
    tmp_path: Path,
) -> None:
    assert not carries(tmp_path, "7")
    (tmp_path / USERS).write_bytes(b"ARROW1")
    with pytest.raises(BackendError, match="cannot be searched"):
        carries(tmp_path, "7")
