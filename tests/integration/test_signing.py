"""Keys made at the first start, what is signed then, and what an image's signature guards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_layout import store_image
from mlg.adapters.keys_signing import (
    SIGNING_KEY,
    keep_signing_key,
    new_signing_key,
    trusted_keys,
)
from mlg.app.signing import Signing, prepare_signing
from mlg.app.verifying import verify_document
from mlg.core.errors import BackendError, ManifestError, NotFoundError, RefusedError
from mlg.core.uris import Digest
from mlg.release.image import LayerFile, LayerSpec, build_image
from mlg.serving.integrity import key_id, pem_of
from mlg.workflows.packaged import Packaged, read_packaged, write_packaged
from mlg.workflows.state import Wanted, WantedVersion, write_wanted


@dataclass
class Home:
    folder: Path

    def __post_init__(self) -> None:
        self.files, self.store = (
            LocalFiles(self.folder),
            LocalArtifacts(self.folder / "artifacts"),
        )
        self.signing = Signing(self.files, self.store)
        self.older: list[Packaged] = []

    def start(self, *foreign: Path) -> None:
        prepare_signing(self.files, self.store, ["home"], foreign, self.older.append)

    def model(self, text: str) -> Digest:
        folder = self.folder / f"model-{text}"
        (folder / "arrays").mkdir(parents=True)
        (folder / "model.json").write_text(text)
        (folder / "arrays" / "a.npy").write_bytes(b"0123456789")
        return self.store.put(folder)

    def packaged(self, text: str) -> Packaged:
        artifact = self.model(text)
        layer = LayerSpec(name="model", files=(LayerFile(path="m", content=text.encode()),))
        image = build_image([layer], {"mlg.artifact": artifact}, name=f"tiny:{text}")
        stored = store_image(image, self.store, self.folder / "work")
        return Packaged(
            artifact=artifact, image="tiny", image_digest=image.digest, image_artifact=stored
        )

    def verify(self, target: str, **more: Any) -> dict[str, Any]:
        return verify_document(target, self.folder, **more)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_a_home_of_before_signatures_is_signed_once_at_its_first_start(home: Home) -> None:
    write_packaged(home.files, old := home.packaged("old"))
    serving = home.model("older still, known by what serves only")
    version = WantedVersion(version=serving[:12], artifact=serving, bp=10_000, deployment="d")
    write_wanted(home.files, Wanted(service="home", versions=(version,)))
    gone = Packaged(artifact=Digest("ab" * 32))
    write_packaged(home.files, gone)  # its artifact was removed: it stays unsigned
    home.start()
    assert {p.artifact for p in home.older} == {old.artifact, serving}
    for artifact in (old.artifact, serving):
        assert home.verify(f"mlg://model_version/mlg/tiny/list@{artifact[:12]}")["ok"]
    # what comes without a signature later is not signed by starting again
    write_packaged(home.files, late := home.packaged("late"))
    home.older.clear()
    home.start()
    assert home.older == []
    found = home.verify(f"mlg://model_version/mlg/tiny/list@{late.artifact[:12]}")
    assert (found["ok"], found["reason"]) == (False, "the signature is missing")


def test_a_first_start_that_was_cut_short_is_done_again_whole(home: Home) -> None:
    write_packaged(home.files, old := home.packaged("old"))

    def cut(_: Packaged) -> None:
        raise BackendError("the store is down")

    with pytest.raises(BackendError):
        prepare_signing(home.files, home.store, [], (), cut)
    assert home.files.read(SIGNING_KEY) is None
    home.start()
    assert home.verify(f"mlg://model_version/mlg/tiny/list@{old.artifact[:12]}")["ok"]


def test_signing_twice_names_the_same_signatures(home: Home) -> None:
    home.start()
    packaged = home.packaged("one")
    once = home.signing.sign(packaged)
    assert once == home.signing.sign(once)
    assert once.signature is not None
    assert once.signature_key in trusted_keys(home.files)


def test_an_image_needs_its_own_signature_by_a_trusted_key(home: Home) -> None:
    home.start()
    one, two = (home.signing.sign(home.packaged(text)) for text in ("one", "two"))
    home.signing.check_image(one)
    home.signing.check_image(Packaged(artifact=one.artifact))  # no image was built
    with pytest.raises(RefusedError, match="of another image"):
        home.signing.check_image(
            msgspec.structs.replace(one, image_signature=two.image_signature)
        )
    with pytest.raises(RefusedError, match="the signature is missing"):
        home.signing.check_image(msgspec.structs.replace(one, image_signature=None))
    stranger = Home(home.folder / "other")
    stranger.start()
    theirs = stranger.signing.sign(stranger.packaged("one"))
    assert theirs.image_digest == one.image_digest
    foreign = home.store.put(stranger.store.locate(theirs.image_signature or Digest("")))
    with pytest.raises(RefusedError, match="by an unknown key"):
        home.signing.check_image(msgspec.structs.replace(one, image_signature=foreign))
    team = home.folder / "team.pem"
    team.write_bytes(stranger.files.read("keys/signing.pub") or b"")
    home.start(team)
    home.signing.check_image(msgspec.structs.replace(one, image_signature=foreign))


def test_a_file_that_is_no_public_key_stops_the_start_and_is_named(home: Home) -> None:
    for content in (None, b"hello"):
        team = home.folder.parent / "team.pem"
        if content is not None:
            team.write_bytes(content)
        with pytest.raises(ManifestError) as found:
            home.start(team)
        assert found.value.where == str(team)
    home.start()


def test_verify_tells_of_a_version_an_image_and_a_folder(home: Home, tmp_path: Path) -> None:
    home.start()
    one = home.signing.sign(home.packaged("one"))
    write_packaged(home.files, one)
    assert read_packaged(home.files, one.artifact[:12]) == one
    image = f"mlg://image/mlg/tiny/tiny@{(one.image_digest or '')[:12]}"
    found = home.verify(image)
    assert (found["ok"], found["kind"], found["digest"]) == (True, "image", one.image_digest)
    folder = home.store.locate(one.artifact)
    found = home.verify(str(folder))
    assert (found["ok"], found["files"], found["digest"]) == (True, 2, one.artifact)
    layout = home.store.locate(one.image_artifact or Digest(""))
    assert home.verify(str(layout))["ok"]
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size)
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    found = home.verify(image)
    assert (found["ok"], "is damaged" in found["reason"]) == (False, True)

    # a folder from elsewhere, with its signature inside and another's key
    key, away = new_signing_key(), Home(tmp_path / "away")
    keep_signing_key(away.files, key)
    away.start()
    theirs = away.signing.sign(away.packaged("two"))
    away.store.locate(theirs.artifact).chmod(0o755)
    inside = away.store.locate(theirs.artifact) / "model.sig"
    inside.write_bytes(away.store.locate(theirs.signature or Digest("")).read_bytes())
    public = tmp_path / "pub.pem"
    public.write_bytes(pem_of(key.public_key()))
    assert home.verify(str(inside.parent))["reason"].startswith(
        "the signature is by an unknown"
    )
    found = home.verify(str(inside.parent), key=public)
    assert (found["ok"], found["key_id"]) == (True, key_id(key.public_key()))
    with pytest.raises(NotFoundError):
        home.verify(str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError):
        home.verify("mlg://model_version/mlg/tiny/list@000000000000")
    with pytest.raises(ManifestError):
        home.verify("mlg://x")
