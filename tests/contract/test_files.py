import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from mlg.adapters.files_local import LocalFiles
from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.files_nats import NatsFiles
from mlg.adapters.nats_connection import NatsConnection
from mlg.core.errors import BackendError
from mlg.core.ports import Files


@pytest.fixture(params=["local", "memory", "nats"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    if request.param == "nats":
        connection = NatsConnection(request.getfixturevalue("nats_url"))
        yield NatsFiles(connection, namespace=f"n{uuid4().hex}")
        connection.close()
        return
    yield LocalFiles(tmp_path / "home") if request.param == "local" else MemoryFiles()


def test_reads_what_was_written_and_none_before(files: Files) -> None:
    assert files.read("a/b.json") is None
    files.write("a/b.json", b"1")
    files.write("a/b.json", b"22")
    assert files.read("a/b.json") == b"22"


def test_lists_the_files_of_one_folder_sorted(files: Files) -> None:
    for path in ("run/b", "run/a", "run/deep/c", "other/d"):
        files.write(path, b"")
    assert files.list("run") == ("run/a", "run/b")
    assert files.list("nowhere") == ()


def test_removing_twice_is_no_error(files: Files) -> None:
    files.write("a", b"1")
    files.remove("a")
    files.remove("a")
    assert files.read("a") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "a\0b"])
def test_no_path_leaves_the_home(files: Files, path: str) -> None:
    with pytest.raises(ValueError, match="below the home"):
        files.read(path)
    with pytest.raises(ValueError, match="below the home"):
        files.write(path, b"")


def test_the_mode_is_in_force_and_nothing_is_left_beside(tmp_path: Path) -> None:
    LocalFiles(tmp_path).write("keys/k", b"secret", mode=0o600)
    assert stat.S_IMODE((tmp_path / "keys/k").stat().st_mode) == 0o600
    assert [p.name for p in (tmp_path / "keys").iterdir()] == ["k"]


def test_a_write_that_fails_leaves_the_old_content_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"a file, not a folder")
    with pytest.raises(BackendError, match="run/x") as caught:
        LocalFiles(tmp_path).write("run/x", b"1")
    assert caught.value.hint
    assert (tmp_path / "run").read_bytes() == b"a file, not a folder"


def test_a_write_that_breaks_off_leaves_the_old_content(tmp_path: Path) -> None:
    import resource

    files = LocalFiles(tmp_path)
    files.write("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(BackendError, match="could not be written"):
            files.write("a", b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files.read("a") == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
