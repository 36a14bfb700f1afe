"""Building, looking at and verifying images from a home, without any engine."""

import json
from pathlib import Path

import pytest
from tests.unit.app.test_images import ARTIFACT, CALL, model

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_layout import store_image
from mlg.adapters.keys_signing import keep_signing_key, new_signing_key, write_trusted
from mlg.app.container_run import container_run, podman_words
from mlg.app.image_acts import build_document, inspect_document, push_document
from mlg.app.images import image_of, serving_lock
from mlg.app.startable import startable_image
from mlg.app.verifying import verify_document
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.core.uris import Digest
from mlg.release.image import blob_path
from mlg.workflows.packaged import Packaged, write_packaged

VERSION = ARTIFACT[:12]
BASE = "registry.example.com/python:3.11"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / ".mlg"
    files, artifacts = LocalFiles(home), LocalArtifacts(home / "artifacts")
    key = new_signing_key()
    keep_signing_key(files, key)
    write_trusted(files, key.public_key())
    image = image_of(CALL, ARTIFACT, model(tmp_path / "m"), serving_lock())
    write_packaged(
        files,
        Packaged(
            artifact=ARTIFACT,
            image="radio",
            image_digest=image.digest,
            image_artifact=store_image(image, artifacts, tmp_path / "work"),
            signature=Digest("5" * 64),
        ),
    )
    return home


def test_an_image_over_a_named_base_is_built_once_and_signed(
    home: Path, tmp_path: Path
) -> None:
    done = build_document(VERSION, home, base=BASE)
    assert (done["built"], done["signed"], done["starts"]) == (True, True, False)
    assert not build_document(VERSION, home, base=BASE)["built"]
    found = inspect_document(VERSION, home)
    assert (found["base"], found["digest"]) == (BASE, done["digest"])
    assert [one["artifact_type"].rpartition(".")[2] for one in found["referrers"]]
    assert verify_document(done["path"], home)["ok"]
    copy = build_document(VERSION, home, base=BASE, output=tmp_path / "copy")
    assert verify_document(copy["path"], home)["ok"]
    assert copy["digest"] == done["digest"]
    with pytest.raises(BackendError, match="something else is there"):
        build_document(VERSION, home, base=f"{BASE}-slim", output=tmp_path / "copy")
    with pytest.raises(BackendError, match="something else is there"):
        build_document(VERSION, home, base=BASE, output=tmp_path / "m")


def test_a_signature_that_is_gone_or_of_another_key_is_no_signature(home: Path) -> None:
    path = Path(build_document(VERSION, home, base=BASE)["path"])
    index = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**index, "manifests": index["manifests"][:1]}))
    told = verify_document(str(path), home)
    assert (told["ok"], told["reason"]) == (False, "the signature is missing")
    (path / "index.json").write_text(json.dumps(index))
    assert verify_document(str(path), home)["ok"]
    write_trusted(LocalFiles(home), new_signing_key().public_key())
    told = verify_document(str(path), home)
    assert not told["ok"]
    assert "unknown key" in told["reason"]


def test_a_damaged_image_is_said_and_built_again(home: Path) -> None:
    done = build_document(VERSION, home, base=BASE)
    layer = Path(done["path"]) / blob_path(done["layers"][-1]["digest"])
    layer.chmod(0o644)
    content = layer.read_bytes()
    layer.write_bytes(content[:-1] + b"!")
    told = verify_document(done["path"], home)
    assert (told["ok"], Path(told["file"]).name) == (False, layer.name)
    assert "damaged" in told["reason"]
    with pytest.raises(BackendError, match="damaged"):
        inspect_document(VERSION, home)
    again = build_document(VERSION, home, base=BASE)
    assert (again["built"], again["digest"]) == (True, done["digest"])
    assert layer.read_bytes() == content


def test_what_cannot_be_meant_is_refused_with_what_to_do(home: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no instance"):
        build_document("ranker", home)
    with pytest.raises(NotFoundError, match="no image of version"):
        startable_image(home, "0" * 12)
    with pytest.raises(NotFoundError, match="was built here") as caught:
        inspect_document(VERSION, home)
    assert caught.value.hint == f"mlg image build {VERSION}"
    with pytest.raises(ManifestError, match="expected mlg://model_version"):
        build_document("mlg://image/mlg/a/b@1", home)
    with pytest.raises(NotFoundError, match="no image layout"):
        build_document(VERSION, home, base=f"oci:{tmp_path / 'none'}")
    with pytest.raises(ManifestError, match="expected host, oci:"):
        build_document(VERSION, home, base="")
    with pytest.raises(ManifestError, match="secret://") as refused:
        push_document(VERSION, "x.y/a", home, password="hunter2", base=BASE)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"
    with pytest.raises(ManifestError, match="expected HOST"):
        push_document(VERSION, "nowhere", home, base=BASE)


def test_a_container_is_told_its_keys_its_limits_and_its_version(home: Path) -> None:
    image = startable_image(home, VERSION, base=BASE)
    with pytest.raises(NotFoundError, match=r"has no viewer\.key"):
        container_run(home, image, service="front", model="ranker")
    (home / "keys" / "viewer.key").write_bytes(b"k" * 32)
    stored = LocalArtifacts(home / "artifacts").locate(Digest("5" * 64))
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_text("signature")
    told = container_run(home, image, service="front", model="ranker")
    words = podman_words(told, "id", port=1, memory="64m", cpus="0.5")
    assert words[words.index("--memory") + 1] == "64m"
    assert words[words.index("--cpus") + 1] == "0.5"
    assert words[words.index("-p") + 1] == "127.0.0.1:1:8080"
    assert f"{stored}:/etc/mlg/model.sig:ro" in words
    after = words[words.index("id") + 1 :]
    assert after[after.index("--digest") + 1] == ARTIFACT
