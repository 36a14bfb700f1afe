"""An image of a layout as one archive, read by the standard library."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from mlg.adapters.image_archive import image_archive
from mlg.adapters.image_layout import verify_layout, write_layout
from mlg.core.errors import BackendError
from mlg.release.image import LayerFile, LayerSpec, OciImage, build_image, index_of
from mlg.release.image_referrers import BOM_TYPE, referrer_of, referrers_index, referrers_tag


def image(name: str = "radio:1") -> OciImage:
    files = (LayerFile(path="a", content=b"x" * 3_000_000), LayerFile(path="b", content=b""))
    return build_image([LayerSpec(name="model", files=files)], {"mlg.model": "m"}, name=name)


def layout(folder: Path) -> Path:
    """Write an image with a bill of materials attached, as `mlg image build` does."""
    made = image()
    write_layout(made, folder)
    (manifest,) = [c for n, c in made if n.endswith(made.digest)]
    attached = referrer_of(manifest, BOM_TYPE, b"{}", {})
    listed = referrers_index([attached])
    for content in (*attached.blobs, listed):
        name = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / "sha256" / name).write_bytes(content)
    index = json.loads((folder / "index.json").read_bytes())
    entry = {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": f"sha256:{hashlib.sha256(listed).hexdigest()}",
        "size": len(listed),
        "annotations": {"org.opencontainers.image.ref.name": referrers_tag(made.digest)},
    }
    (folder / "index.json").write_bytes(index_of([*index["manifests"], entry]))
    return folder


def test_the_archive_has_the_image_and_nothing_that_is_attached_to_it(tmp_path: Path) -> None:
    source = layout(tmp_path / "layout")
    pieces = list(image_archive(source))
    assert max(map(len, pieces)) <= 1 << 20, "never a whole layer at once"
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    found = verify_layout(tmp_path / "out")
    assert (found.digest, found.name) == (image().digest, "radio:1")
    blobs = {path.name for path in (tmp_path / "out/blobs/sha256").iterdir()}
    assert blobs == {image().digest, image().config, *image().layers}
    assert len(blobs) < len(list((source / "blobs/sha256").iterdir()))


def test_a_layout_without_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no image layout"):
        list(image_archive(tmp_path))
    source = layout(tmp_path / "layout")
    index = json.loads((source / "index.json").read_bytes())
    (source / "index.json").write_bytes(index_of([*index["manifests"], index["manifests"][0]]))
    with pytest.raises(BackendError, match="expected one image, found 2"):
        list(image_archive(source))
    (source / "index.json").write_bytes(index_of(index["manifests"]))
    (source / "blobs/sha256" / image().layers[0]).unlink()
    with pytest.raises(BackendError, match="could not be read"):
        list(image_archive(source))
