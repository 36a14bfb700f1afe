"""What lies in an image, and when it may not start here."""

import shutil
from pathlib import Path

import pytest

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.image_layout import read_from_layout, store_image, verify_layout
from mlg.app.images import LOCK, check_image, image_of, lock_differences, serving_lock
from mlg.core.errors import BackendError, LifecycleError, NotFoundError
from mlg.core.steps import StepCall
from mlg.core.uris import Digest
from mlg.manifest.specs_pipelines import PackageStep
from mlg.pipeline.config import PackageConfig, canonical
from mlg.workflows.packaged import Packaged

ARTIFACT = Digest("ab" * 32)
CALL = StepCall(
    project="radio",
    pipeline="ranker",
    name="package",
    kind="package",
    config=canonical(PackageConfig(step=PackageStep(image="radio"), model_input="train")),
    inputs=(),
    code=Digest("0" * 64),
    folder=Digest("1" * 64),
    out="package",
)


def model(folder: Path, text: str = "{}") -> Path:
    (folder / "code" / "radio").mkdir(parents=True)
    (folder / "code" / "radio" / "past.py").write_text("x = 1\n")
    (folder / "arrays").mkdir()
    (folder / "arrays" / "a.npy").write_bytes(bytes(range(256)))
    (folder / "model.json").write_text(text)
    return folder


def test_equal_inputs_in_other_folders_give_one_digest_and_a_changed_byte_another(
    tmp_path: Path,
) -> None:
    one = image_of(CALL, ARTIFACT, model(tmp_path / "a"), "x==1\n")
    two = image_of(CALL, ARTIFACT, model(tmp_path / "elsewhere" / "b"), "x==1\n")
    assert one.files == two.files
    (tmp_path / "a" / "arrays" / "a.npy").write_bytes(bytes(range(255)) + b"\0")
    digests = {
        one.digest,
        image_of(CALL, ARTIFACT, tmp_path / "a", "x==1\n").digest,
        image_of(CALL, ARTIFACT, tmp_path / "elsewhere" / "b", "x==2\n").digest,
    }
    assert len(digests) == 3


def test_an_image_holds_runtime_lock_code_and_model(tmp_path: Path) -> None:
    store = LocalArtifacts(tmp_path / "store")
    image = image_of(CALL, ARTIFACT, model(tmp_path / "m"), serving_lock())
    folder = store.open(store_image(image, store, tmp_path / "work"))
    found = verify_layout(folder)
    assert found.name == f"radio:{ARTIFACT[:12]}"

    def content(name: str) -> bytes:
        return read_from_layout(folder, found.layers, f"opt/mlg/{name}")

    assert content("model/model.json") == b"{}"
    assert content("model/code/radio/past.py") == b"x = 1\n"
    assert content("serving.lock").decode() == serving_lock()
    assert b"def main" in content("lib/mlg/app/replica.py")
    with pytest.raises(NotFoundError):
        content("lib/mlg/app/control.py")


def stored(
    tmp_path: Path, lock: str, artifact: Digest = ARTIFACT
) -> tuple[LocalArtifacts, Packaged]:
    store = LocalArtifacts(tmp_path / "store")
    image = image_of(CALL, artifact, model(tmp_path / "m"), lock)
    kept = store_image(image, store, tmp_path / "work")
    return store, Packaged(
        artifact=ARTIFACT, image="radio", image_digest=image.digest, image_artifact=kept
    )


def test_a_whole_image_made_for_this_host_may_start(tmp_path: Path) -> None:
    check_image(*stored(tmp_path, serving_lock()))


def test_an_image_for_other_packages_is_refused_with_what_differs(tmp_path: Path) -> None:
    lock = serving_lock().replace("msgspec==", "msgspec==9.") + "zebra==1\n"
    with pytest.raises(BackendError, match=r"msgspec==9\.\S+ is asked for.*zebra==1 is asked"):
        check_image(*stored(tmp_path, lock))


def test_another_versions_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="of cdcdcdcdcdcd"):
        check_image(*stored(tmp_path, serving_lock(), Digest("cd" * 32)))


@pytest.mark.parametrize("harm", ["flip", "remove", "forget"])
def test_a_damaged_or_missing_image_is_refused_with_its_place(
    tmp_path: Path, harm: str
) -> None:
    store, packaged = stored(tmp_path, serving_lock())
    check_image(store, packaged)
    folder = (
        tmp_path / "store" / str(packaged.image_artifact)[:2] / str(packaged.image_artifact)
    )
    blob = max((folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    if harm == "flip":
        content = bytearray(blob.read_bytes())
        content[1_000] ^= 1
        blob.write_bytes(content)
    elif harm == "remove":
        blob.unlink()
    else:
        shutil.rmtree(folder)
    with pytest.raises(
        LifecycleError, match=str(packaged.image_artifact) if harm != "flip" else "damaged"
    ):
        check_image(store, packaged)


def test_nothing_is_checked_where_no_image_was_built(tmp_path: Path) -> None:
    check_image(LocalArtifacts(tmp_path), Packaged(artifact=ARTIFACT))


def test_the_lock_names_python_and_says_what_is_missing() -> None:
    assert serving_lock().startswith("# python 3.")
    assert LOCK.endswith("serving.lock")
    assert lock_differences("# python 3.11\n", "# python 3.12\n") == (
        "python 3.11 is asked for, python 3.12 is here",
    )
    assert lock_differences("a==1\n", "") == ("a==1 is asked for, none is here",)
