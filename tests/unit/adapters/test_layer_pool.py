"""Layers that are kept by digest, bases from layouts, byte code that is the same twice."""

import gzip
import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mlg.adapters.bytecode import bytecode_of
from mlg.adapters.image_base import take_base
from mlg.adapters.image_host import libraries_of, package_entries
from mlg.adapters.image_layout import write_layout
from mlg.adapters.layer_pool import LayerPool, TreeEntry
from mlg.app.images import serving_lock
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.release.image import (
    ContainerConfig,
    LayerBlob,
    LayerFile,
    LayerSpec,
    blob_path,
    build_image,
    digest_of,
    documents_of,
    index_of,
    layer_tar,
)

LAYER = LayerSpec(
    name="base", files=(LayerFile(path="bin/python", content=b"#!", executable=True),)
)


def entries(folder: Path) -> list[TreeEntry]:
    folder.mkdir()
    file = folder / "f"
    file.write_bytes(b"text")
    return [
        TreeEntry(path="b/file", source=file, mode=0o755),
        TreeEntry(path="b/link", link="file"),
        TreeEntry(path="a", content=b"x"),
        TreeEntry(path="tmp", folder=True, mode=0o1777),
    ]


def test_a_layer_is_the_same_in_another_folder_and_under_another_umask(tmp_path: Path) -> None:
    one = LayerPool(tmp_path / "one").layer("l", "k", lambda: entries(tmp_path / "x"))
    former = os.umask(0o077)
    try:
        made = entries(tmp_path / "y")
        two = LayerPool(tmp_path / "two").layer("l", "k", lambda: made[::-1])
    finally:
        os.umask(former)
    assert one == two
    path = LayerPool(tmp_path / "one").path(one.digest)
    assert digest_of(path.read_bytes()) == one.digest
    with tarfile.open(path) as tar:
        found = {m.name: (m.mode, m.linkname, m.mtime, m.uid) for m in tar}
    assert found == {
        "a": (0o644, "", 0, 0),
        "b": (0o755, "", 0, 0),
        "b/file": (0o755, "", 0, 0),
        "b/link": (0o777, "file", 0, 0),
        "tmp": (0o1777, "", 0, 0),
    }


def never() -> list[TreeEntry]:
    raise AssertionError("the layer is there, and was made again")


def test_a_layer_that_is_gone_is_made_again_and_one_that_is_there_is_not(
    tmp_path: Path,
) -> None:
    pool = LayerPool(tmp_path / "pool")
    first = pool.layer("l", "k", lambda: [TreeEntry(path="a", content=b"x")])
    assert pool.layer("l", "k", never) == first
    pool.path(first.digest).unlink()
    assert pool.layer("l", "k", lambda: [TreeEntry(path="a", content=b"x")]) == first
    assert not list((tmp_path / "pool" / "blobs" / "sha256").glob(".*"))


def test_a_blob_that_is_not_what_its_name_says_is_not_taken(tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(b"other")
    pool = LayerPool(tmp_path / "pool")
    with pytest.raises(BackendError, match="damaged"):
        pool.take(source, digest_of(b"text"))
    assert not pool.path(digest_of(b"text")).exists()


@pytest.mark.parametrize("path", ["/a", "../a", "a//b"])
def test_a_path_that_escapes_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        LayerPool(tmp_path).layer("l", "k", lambda: [TreeEntry(path=path, content=b"")])


def base(
    folder: Path, *, name: str = "python:3", architecture: str = "amd64", **env: str
) -> Path:
    image = build_image([LAYER], {}, name=name, architecture=architecture, env=env)
    write_layout(image, folder)
    return folder


def test_a_base_gives_its_layers_and_its_environment(tmp_path: Path) -> None:
    folder = base(tmp_path / "base", PATH="/opt/bin")
    pool = LayerPool(tmp_path / "pool")
    for told in (f"oci:{folder}", f"oci:{folder}:python:3"):
        found = take_base(told, pool, "amd64")
        assert found.image.name == "python:3"
        assert found.env == (("PATH", "/opt/bin"),)
        assert pool.path(found.layers[0].digest).read_bytes() == layer_tar(LAYER)


def test_a_compressed_base_keeps_its_diff_ids(tmp_path: Path) -> None:
    tar = layer_tar(LAYER)
    packed = gzip.compress(tar, mtime=0)
    blob = LayerBlob(
        name="base",
        digest=digest_of(packed),
        size=len(packed),
        media_type="application/vnd.oci.image.layer.v1.tar+gzip",
        diff_id=digest_of(tar),
    )
    made = documents_of([blob], {}, ContainerConfig())
    folder = tmp_path / "base"
    (folder / "blobs" / "sha256").mkdir(parents=True)
    for content in (packed, made.config, made.manifest):
        (folder / blob_path(digest_of(content))).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(index_of([made.entry("b:1")]))
    assert take_base(f"oci:{folder}:b:1", LayerPool(tmp_path / "pool"), "amd64").layers == (
        blob,
    )


def test_a_base_that_cannot_be_meant_is_refused_with_what_to_do(tmp_path: Path) -> None:
    pool = LayerPool(tmp_path / "pool")
    with pytest.raises(NotFoundError, match="no image layout"):
        take_base(f"oci:{tmp_path / 'nothing'}", pool, "amd64")
    arm = base(tmp_path / "arm", architecture="arm64")
    with pytest.raises(ManifestError, match="for arm64, this machine is amd64"):
        take_base(f"oci:{arm}", pool, "amd64")
    old = base(tmp_path / "old", PYTHON_VERSION="2.7.18")
    with pytest.raises(ManifestError, match=r"has Python 2\.7\.18"):
        take_base(f"oci:{old}", pool, "amd64")
    with pytest.raises(ManifestError, match="there are python:3"):
        take_base(f"oci:{old}:python:4", pool, "amd64")
    blob = next(p for p in (old / "blobs" / "sha256").iterdir() if p.stat().st_size > 1_500)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(BackendError, match="damaged"):
        take_base(f"oci:{old}", pool, "amd64")
    assert not (tmp_path / "pool" / "blobs").exists()


def test_packages_are_those_of_the_lock_without_what_differs_between_machines() -> None:
    (line,) = [one for one in serving_lock().splitlines() if one.startswith("msgspec==")]
    found = {entry.path: entry for entry in package_entries(line)}
    assert "opt/mlg/packages/msgspec/__init__.py" in found
    assert any(path.endswith("METADATA") for path in found)
    assert not any(path.endswith(("RECORD", "INSTALLER", ".pyi")) for path in found)
    with pytest.raises(NotFoundError, match="none is installed"):
        list(package_entries("surely-not-there==1\n"))
    with pytest.raises(NotFoundError, match=r"msgspec==0\.0\.1 is asked for"):
        list(package_entries("msgspec==0.0.1\n"))


def test_the_libraries_of_python_have_the_c_library_among_them() -> None:
    found = libraries_of([Path(sys.executable).resolve()])
    assert any(name.startswith("libc.") for name in found)
    assert any(name.startswith("ld-") for name in found)
    assert all(path.is_file() for path in found.values())


TEXT = b"""A = {'x', 'y', 'z', 'w'}
B = frozenset(A)

def f(a):
    return a in {'p', 'q', 'r'}
"""


def test_byte_code_is_the_same_under_another_hash_seed_and_is_imported(tmp_path: Path) -> None:
    made = bytecode_of("m.py", TEXT)
    assert made is not None
    program = (
        "import sys; from mlg.adapters.bytecode import bytecode_of; "
        f"sys.stdout.buffer.write(bytecode_of('m.py', {TEXT!r})[1])"
    )
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        told = [sys.executable, "-c", program]
        done = subprocess.run(told, env=env, capture_output=True, check=True)
        assert done.stdout == made[1]
    (tmp_path / "m.pyc").write_bytes(made[1])
    spec = importlib.util.spec_from_file_location("m", tmp_path / "m.pyc")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.f("q")
    assert {"x", "y", "z", "w"} == module.B
    assert bytecode_of("m.py", b"x = (") is None
    assert bytecode_of("m.txt", b"x") is None
