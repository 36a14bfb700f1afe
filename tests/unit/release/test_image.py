import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.image_layout import store_image, verify_layout, write_layout
from mlg.core.errors import BackendError, NotFoundError
from mlg.release.image import (
    BaseImage,
    LayerFile,
    LayerSpec,
    OciImage,
    build_image,
    digest_of,
    layer_tar,
)
from mlg.release.image_check import LayoutError, check_layout

LABELS = {"mlg.model_version": "mlg://model_version/mlg/movies/ranker@3f2a"}
MODEL = LayerSpec(
    name="model",
    files=(
        LayerFile(path="model/model.json", content=b"{}"),
        LayerFile(path="model/arrays/w.npy", content=b"\x93NUMPY" * 99),
        LayerFile(path="bin/serve", content=b"#!/bin/sh\n", executable=True),
    ),
)
CODE = LayerSpec(name="code", files=(LayerFile(path="code/" + "f" * 200, content=b"x = 1"),))


def image(*layers: LayerSpec, **more: object) -> OciImage:
    return build_image(layers or (MODEL, CODE), LABELS, name="movies:1", **more)  # type: ignore[arg-type]


def layer_of(folder: Path) -> LayerSpec:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return LayerSpec(
        name="folder",
        files=tuple(
            LayerFile(path=f.relative_to(folder).as_posix(), content=f.read_bytes())
            for f in files
        ),
    )


def test_the_same_files_written_at_another_time_give_the_same_digest(tmp_path: Path) -> None:
    digests: set[str] = set()
    for n, names in enumerate((("a.txt", "b/c.txt"), ("b/c.txt", "a.txt"))):
        for name in names:
            file = tmp_path / str(n) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
            os.utime(file, (1_000_000 * (n + 1), 1_000_000 * (n + 1)))
        built = image(layer_of(tmp_path / str(n)))
        digests.add(built.digest)
        write_layout(built, tmp_path / f"layout{n}")
    assert len(digests) == 1
    first, second = (
        {p.relative_to(tmp_path / f): p.read_bytes() for p in (tmp_path / f).rglob("*.*")}
        for f in ("layout0", "layout1")
    )
    assert first == second


def test_what_goes_in_changes_the_digest() -> None:
    other = LayerSpec(name="code", files=(LayerFile(path="a", content=b"y = 1"),))
    base = BaseImage(name="example.com/python:3.11", digest=digest_of(b"base"))
    images = [
        image(),
        image(MODEL, other),
        image(CODE, MODEL),
        image(entrypoint=("serve",)),
        image(env={"A": "1"}),
        image(architecture="arm64"),
        image(base=base),
    ]
    assert len({one.digest for one in images}) == len(images)
    manifest = json.loads(dict(images[-1])[f"blobs/sha256/{images[-1].digest}"])
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == base.name
    assert manifest["annotations"]["org.opencontainers.image.base.digest"].endswith(
        str(base.digest)
    )


def test_a_layer_is_a_tar_without_times_owners_or_order() -> None:
    shuffled = LayerSpec(name="model", files=MODEL.files[::-1])
    assert layer_tar(shuffled) == layer_tar(MODEL)
    with tarfile.open(fileobj=io.BytesIO(layer_tar(MODEL))) as tar:
        members = tar.getmembers()
        found = {m.name: (m.mode, m.isdir()) for m in members}
        assert [m.name for m in members] == sorted(m.name for m in members)
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {
            (0, 0, 0, "", "")
        }
    assert found == {
        "bin": (0o755, True),
        "bin/serve": (0o755, False),
        "model": (0o755, True),
        "model/arrays": (0o755, True),
        "model/arrays/w.npy": (0o644, False),
        "model/model.json": (0o644, False),
    }


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "", ".", "a//b", "./a"])
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no plain relative path"):
        layer_tar(LayerSpec(name="x", files=(LayerFile(path=path, content=b""),)))


def test_a_path_is_there_once_and_an_image_has_layers() -> None:
    twice = (LayerFile(path="a", content=b""), LayerFile(path="a", content=b"1"))
    with pytest.raises(ValueError, match="twice"):
        layer_tar(LayerSpec(name="x", files=twice))
    both = (LayerFile(path="a", content=b""), LayerFile(path="a/b", content=b"1"))
    with pytest.raises(ValueError, match="file and folder"):
        layer_tar(LayerSpec(name="x", files=both))
    with pytest.raises(ValueError, match="at least one layer"):
        build_image((), LABELS, name="x")


def test_the_layout_has_what_the_specification_requires(tmp_path: Path) -> None:
    built = image(base=BaseImage(name="example.com/python:3.11"))
    write_layout(built, tmp_path / "layout")
    root = tmp_path / "layout"
    assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((root / "index.json").read_text())
    assert index["schemaVersion"] == 2
    (entry,) = index["manifests"]
    assert entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    manifest = json.loads((root / "blobs/sha256" / entry["digest"][7:]).read_text())
    assert manifest["schemaVersion"] == 2
    for one in (manifest["config"], *manifest["layers"]):
        content = (root / "blobs" / one["digest"].replace(":", "/")).read_bytes()
        assert (len(content), digest_of(content)) == (one["size"], one["digest"][7:])
    config = json.loads((root / "blobs/sha256" / manifest["config"]["digest"][7:]).read_text())
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    # uncompressed layers: the diff ids are the layers' digests
    assert config["rootfs"] == {
        "type": "layers",
        "diff_ids": [layer["digest"] for layer in manifest["layers"]],
    }
    assert config["config"]["Labels"] == LABELS
    checked = verify_layout(root)
    assert (checked.digest, checked.labels, checked.name) == (built.digest, LABELS, "movies:1")


def test_every_blob_that_is_damaged_cut_or_missing_is_named(tmp_path: Path) -> None:
    root = tmp_path / "layout"
    write_layout(image(), root)
    for name, content in image():
        file = root / name
        for broken in (bytes([content[0] ^ 1]) + content[1:], content[:-1], None):
            if broken is None:
                file.unlink()
            else:
                file.write_bytes(broken)
            with pytest.raises(BackendError) as caught:
                verify_layout(root)
            assert Path(caught.value.where).name == file.name
        file.write_bytes(content)
    verify_layout(root)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("oci-layout", {"imageLayoutVersion": "2"}, "imageLayoutVersion"),
        ("index.json", {"schemaVersion": 1}, "schemaVersion"),
        ("index.json", {"manifests": []}, "one manifest"),
        ("index.json", {"manifests": {}}, "list"),
        ("index.json", {"manifests": [1]}, "object"),
        ("index.json", {"manifests": [{"mediaType": "text/plain"}]}, "mediaType"),
        (
            "index.json",
            {
                "manifests": [
                    {
                        "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "digest": "sha256:../../etc/passwd",
                        "size": 1,
                    }
                ]
            },
            "digest",
        ),
    ],
)
def test_a_document_that_says_something_else_is_refused(
    name: str, change: dict[str, object], words: str
) -> None:
    files = dict(image())
    files[name] = json.dumps({**json.loads(files[name]), **change}).encode()
    with pytest.raises(LayoutError, match=words):
        check_layout(lambda path: [files[path]] if path in files else None)


def test_writing_twice_is_one_image_and_another_one_is_refused(tmp_path: Path) -> None:
    write_layout(image(), tmp_path / "a")
    write_layout(image(), tmp_path / "a")
    with pytest.raises(BackendError, match="another image"):
        write_layout(image(CODE), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError):
        write_layout(image(), tmp_path / "file" / "b")
    with pytest.raises(NotFoundError):
        verify_layout(tmp_path / "nothing")


def test_an_image_is_an_artifact(tmp_path: Path) -> None:
    store = LocalArtifacts(tmp_path / "store")
    digest = store_image(image(), store, tmp_path / "scratch")
    assert store_image(image(), store, tmp_path / "scratch") == digest
    assert verify_layout(store.open(digest)).digest == image().digest
    assert not list((tmp_path / "scratch").iterdir())
