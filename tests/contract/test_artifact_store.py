"""What every artifact store must keep, whatever it stores on."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import ArtifactStore
from mlg.core.uris import Digest


@pytest.fixture(params=["local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return LocalArtifacts(tmp_path / "store")


def write(path: Path, text: str = "hello") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def visible(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_file_is_stored_under_the_sha256_of_its_bytes(
    store: ArtifactStore, tmp_path: Path
) -> None:
    digest = store.put(write(tmp_path / "a.txt"))
    assert digest == hashlib.sha256(b"hello").hexdigest()
    assert store.open(digest).read_bytes() == b"hello"


def test_a_folder_is_stored_under_what_sha256sum_prints(
    store: ArtifactStore, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    write(folder / "b" / "x.txt", "two")
    write(folder / "a.txt", "one")
    digest = store.put(folder)
    listing = subprocess.run(
        ["sha256sum", "a.txt", "b/x.txt"], cwd=folder, capture_output=True, check=True
    ).stdout
    assert digest == hashlib.sha256(listing).hexdigest()
    assert (store.open(digest) / "b" / "x.txt").read_text() == "two"


def test_the_same_content_twice_is_one_artifact(store: ArtifactStore, tmp_path: Path) -> None:
    first = store.put(write(tmp_path / "a.txt"))
    second = store.put(write(tmp_path / "elsewhere" / "b.txt"))
    assert first == second
    assert len(visible(tmp_path / "store")) == 1


def test_what_is_removed_is_gone_and_can_be_stored_again(
    store: ArtifactStore, tmp_path: Path
) -> None:
    folder = write(tmp_path / "folder" / "deep" / "a.txt").parent.parent
    digest = store.put(folder)
    store.remove(digest)
    assert not store.has(digest)
    with pytest.raises(NotFoundError):
        store.open(digest)
    assert visible(tmp_path / "store") == []
    store.remove(digest)
    assert store.put(folder) == digest
    assert (store.open(digest) / "deep" / "a.txt").read_text() == "hello"


def test_other_content_has_another_digest(store: ArtifactStore, tmp_path: Path) -> None:
    first = store.put(write(tmp_path / "f" / "a.txt", "1").parent)
    moved = store.put(write(tmp_path / "g" / "b.txt", "1").parent)
    assert first != moved


def test_later_changes_of_the_source_do_not_reach_the_store(
    store: ArtifactStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.txt", "before")
    digest = store.put(path)
    path.write_text("after", encoding="utf-8")
    assert store.open(digest).read_text() == "before"


def test_stored_files_are_read_only(store: ArtifactStore, tmp_path: Path) -> None:
    digest = store.put(write(tmp_path / "f" / "a.txt").parent)
    assert (store.open(digest) / "a.txt").stat().st_mode & 0o222 == 0


def test_an_unknown_digest_is_not_found(store: ArtifactStore) -> None:
    assert not store.has(Digest("0" * 64))
    with pytest.raises(NotFoundError, match="no artifact"):
        store.open(Digest("0" * 64))


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "Z" * 64, "0" * 63])
def test_what_is_no_digest_never_names_a_path(store: ArtifactStore, bad: str) -> None:
    with pytest.raises(NotFoundError, match="not a digest"):
        store.open(Digest(bad))


def test_a_missing_source_is_one_clear_error(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="nothing there") as caught:
        store.put(tmp_path / "nowhere")
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_damaged_bytes_are_refused_with_the_place_and_a_remedy(
    store: ArtifactStore, tmp_path: Path, kind: str
) -> None:
    path = write(tmp_path / "f" / "a.txt")
    digest = store.put(path if kind == "file" else path.parent)
    assert store.open(digest).exists()
    (stored,) = visible(tmp_path / "store")
    stored.chmod(0o644)
    stored.write_text("hellO", encoding="utf-8")
    with pytest.raises(BackendError, match="damaged") as caught:
        store.open(digest)
    assert digest in caught.value.where
    assert "run the step again" in caught.value.hint


def test_putting_the_content_again_heals_a_damaged_copy(
    store: ArtifactStore, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.txt")
    digest = store.put(path)
    stored = store.open(digest)
    stored.chmod(0o644)
    stored.write_text("broken", encoding="utf-8")
    assert store.put(path) == digest
    assert store.open(digest).read_text() == "hello"


def test_a_file_added_to_a_stored_folder_is_damage(
    store: ArtifactStore, tmp_path: Path
) -> None:
    digest = store.put(write(tmp_path / "f" / "a.txt").parent)
    write(store.open(digest) / "__pycache__" / "x.pyc")
    with pytest.raises(BackendError, match="damaged"):
        LocalArtifacts(tmp_path / "store").open(digest)


def test_a_link_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    folder = write(tmp_path / "f" / "a.txt").parent
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(BackendError, match="link"):
        store.put(folder)
    assert not visible(tmp_path / "store")


_CHILD = """
import resource
import sys
from pathlib import Path
from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.core.errors import BackendError
store = LocalArtifacts(Path(sys.argv[1]))
if sys.argv[3]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    store.put(Path(sys.argv[2]))
except BackendError as error:
    print(error.what, "|", error.hint)
    sys.exit(5)
"""


def put_in_child(root: Path, source: Path, limit: int | None = None) -> tuple[int, str]:
    # the child lowers its own limit: code before an exec forks this process with its threads
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(root), str(source), str(limit or "")],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_file_size_limit_leaves_nothing_partial(tmp_path: Path) -> None:
    folder = write(tmp_path / "f" / "a.txt", "x" * 1_000).parent
    write(folder / "b.txt", "y" * 300_000)
    code, said = put_in_child(tmp_path / "store", folder, limit=100_000)
    assert (code, "no space left" in said, "free some space" in said) == (5, True, True), said
    assert not visible(tmp_path / "store")


def test_a_full_disk_leaves_nothing_partial_and_the_former_content_intact(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root; the file size limit test covers it")
    try:
        store = LocalArtifacts(disk / "store")
        kept = store.put(write(tmp_path / "small.txt"))
        folder = write(tmp_path / "f" / "a.bin", "x" * 400_000).parent
        write(folder / "b.bin", "y" * 900_000)
        with pytest.raises(BackendError, match="no space left") as caught:
            store.put(folder)
        assert "free some space" in caught.value.hint
        assert store.open(kept).read_text() == "hello"
        assert len(visible(disk / "store")) == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_a_dead_process_left_half_done_is_swept(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    half = write(tmp_path / "store" / "tmp" / f"{dead}-abc" / "content")
    mine = write(tmp_path / "store" / "tmp" / f"{os.getpid()}-abc" / "content")
    LocalArtifacts(tmp_path / "store")
    assert not half.exists()
    assert mine.exists()
