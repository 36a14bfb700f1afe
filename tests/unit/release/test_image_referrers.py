"""What is attached to an image, in a layout, and what is damaged of it."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from mlg.adapters.image_layout import verify_layout
from mlg.core.errors import BackendError
from mlg.core.uris import Digest
from mlg.release.image import (
    INDEX_TYPE,
    ContainerConfig,
    LayerBlob,
    LayerFile,
    LayerSpec,
    blob_path,
    descriptor,
    digest_of,
    documents_of,
    index_of,
    layer_tar,
)
from mlg.release.image_bom import image_bom
from mlg.release.image_referrers import (
    BOM_TYPE,
    SIGNATURE_TYPE,
    Referrer,
    referrer_of,
    referrers_index,
    referrers_tag,
    tagged_entry,
)

TAR = layer_tar(LayerSpec(name="model", files=(LayerFile(path="a", content=b"x"),)))
LAYER = LayerBlob(name="model", digest=digest_of(TAR), size=len(TAR))
LOCK = "# python 3.11\nmsgspec==0.20.0\nnumpy==2.2.0\n"
LABELS = {"mlg.artifact": "ab" * 32, "mlg.model": "ranker"}
MADE = documents_of([LAYER], LABELS, ContainerConfig(entrypoint=("x",), user="1:1"))


def layout(folder: Path, referrers: list[Referrer]) -> Path:
    listed = referrers_index(referrers)
    blobs = [TAR, MADE.config, MADE.manifest, listed]
    blobs += [blob for one in referrers for blob in one.blobs]
    tag = referrers_tag(MADE.digest)
    index = index_of([MADE.entry("a:1"), tagged_entry(descriptor(INDEX_TYPE, listed), tag)])
    (folder / "blobs" / "sha256").mkdir(parents=True)
    for blob in blobs:
        (folder / blob_path(digest_of(blob))).write_bytes(blob)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_bytes(index)
    return folder


def attached() -> list[Referrer]:
    return [
        referrer_of(MADE.manifest, BOM_TYPE, b'{"a":1}'),
        referrer_of(
            MADE.manifest, SIGNATURE_TYPE, b'{"b":2}', {"mlg.run": "mlg://run/x/y/z@1"}
        ),
    ]


def test_what_is_attached_is_found_with_its_type(tmp_path: Path) -> None:
    found = verify_layout(layout(tmp_path / "a", attached()))
    assert (found.digest, found.name) == (MADE.digest, "a:1")
    by_type = {one.artifact_type: one for one in found.referrers}
    assert by_type.keys() == {BOM_TYPE, SIGNATURE_TYPE}
    bundle = tmp_path / "a" / blob_path(by_type[SIGNATURE_TYPE].content)
    assert bundle.read_bytes() == b'{"b":2}'
    assert by_type[SIGNATURE_TYPE].annotations == {"mlg.run": "mlg://run/x/y/z@1"}


def test_a_referrer_is_as_the_specification_says() -> None:
    manifest = json.loads(attached()[0].manifest)
    subject = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{MADE.digest}",
        "size": len(MADE.manifest),
    }
    assert manifest["subject"] == subject
    assert manifest["artifactType"] == "application/vnd.cyclonedx+json"
    # image-spec 1.1, manifest.md: the empty descriptor
    assert manifest["config"] == {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
    }


def test_a_damaged_attachment_is_named(tmp_path: Path) -> None:
    folder = layout(tmp_path / "a", attached())
    for referrer in attached():
        for blob in referrer.blobs[1:]:
            file = folder / blob_path(digest_of(blob))
            file.write_bytes(bytes([blob[0] ^ 1]) + blob[1:])
            with pytest.raises(BackendError) as caught:
                verify_layout(folder)
            assert Path(caught.value.where).name == file.name
            file.write_bytes(blob)
    verify_layout(folder)


def test_what_is_about_another_image_is_refused(tmp_path: Path) -> None:
    other = documents_of([LAYER], {"a": "b"}, ContainerConfig())
    stray = referrer_of(other.manifest, BOM_TYPE, b"{}")
    with pytest.raises(BackendError, match="subject"):
        verify_layout(layout(tmp_path / "a", [stray]))


def test_another_image_in_the_index_is_not_chosen_silently(tmp_path: Path) -> None:
    folder = layout(tmp_path / "a", attached())
    other = documents_of([LAYER], {"a": "b"}, ContainerConfig())
    for content in (other.config, other.manifest):
        (folder / blob_path(digest_of(content))).write_bytes(content)
    (folder / "index.json").write_bytes(index_of([MADE.entry("a:1"), other.entry("a:2")]))
    with pytest.raises(BackendError, match="found 2; there are a:1, a:2"):
        verify_layout(folder)
    assert verify_layout(folder, ref="a:2").digest == other.digest
    with pytest.raises(BackendError, match="found 0"):
        verify_layout(folder, ref="a:3")


def test_the_bill_of_materials_is_valid_and_the_same_twice() -> None:
    bom = image_bom("recs/a:1", Digest("0" * 64), [LAYER], LOCK, LABELS)
    assert bom == image_bom("recs/a:1", Digest("0" * 64), [LAYER], LOCK, LABELS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom.decode()) is None
    found = {(one["type"], one["name"]) for one in json.loads(bom)["components"]}
    assert found == {
        ("library", "msgspec"),
        ("library", "numpy"),
        ("platform", "python"),
        ("file", "layer model"),
        ("machine-learning-model", "ranker"),
    }
