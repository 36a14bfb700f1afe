"""Processes from the layers of an image: what lies there, and what is done when it changed."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.unit.app.test_images import ARTIFACT, CALL, model

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_memory import MemoryFiles
from mlg.adapters.image_layout import store_image
from mlg.app.images import image_of, serving_lock
from mlg.app.launch_images import ImageLaunch
from mlg.app.settings import read_settings
from mlg.app.specs import Specs
from mlg.app.startable import IMAGES, UNPACKED, forget_images
from mlg.core.errors import BackendError, ManifestError
from mlg.core.uris import Digest
from mlg.manifest.specs import ManifestSpec
from mlg.manifest.specs_services import ServiceSpec
from mlg.workflows.packaged import Packaged, write_packaged
from mlg.workflows.state import Wanted, WantedVersion, write_wanted

VERSION = ARTIFACT[:12]


class Home:
    """One service with one version, packaged with an image."""

    def __init__(self, folder: Path, lock: str) -> None:
        self.folder, self.files = folder, MemoryFiles()
        self.artifacts = LocalArtifacts(folder / "artifacts")
        image = image_of(CALL, ARTIFACT, model(folder / "m"), lock)
        self.image = image.digest
        self.stored = store_image(image, self.artifacts, folder / "work")
        packaged = Packaged(
            artifact=ARTIFACT,
            image="radio",
            image_digest=image.digest,
            image_artifact=self.stored,
            signature=Digest("5" * 64),
        )
        write_packaged(self.files, packaged)
        version = WantedVersion(version=VERSION, artifact=ARTIFACT, bp=10_000, deployment="d")
        write_wanted(self.files, Wanted(service="front", versions=(version,)))
        spec = msgspec.convert(
            {"version": 1, "project": "radio", "services": {"front": {"model": "ranker"}}},
            ManifestSpec,
        )
        self.specs = Specs(folder, self.files, self.artifacts, 0, lambda: spec)
        assert isinstance(spec.services["front"], ServiceSpec)

    def launch(self, pythonpath: str = "") -> ImageLaunch:
        env = {"PYTHONPATH": pythonpath} if pythonpath else {}
        return ImageLaunch(self.specs, env)

    @property
    def unpacked(self) -> Path:
        return self.folder / UNPACKED / f"{VERSION}-{self.image[:12]}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, serving_lock())


def test_a_replica_runs_from_its_image(home: Home) -> None:
    plain = home.specs("replica", "front", VERSION, 1)
    spec = home.launch("/more")("replica", "front", VERSION, 1)
    lib = home.unpacked / "opt/mlg/lib"
    assert spec.argv[spec.argv.index("--artifact") + 1] == str(home.unpacked / "opt/mlg/model")
    assert dict(spec.env)["PYTHONPATH"] == f"{lib}{os.pathsep}/more"
    assert dict(plain.env).items() <= dict(spec.env).items()
    assert spec.digest != plain.digest
    assert home.launch()("replica", "front", VERSION, 1).digest == spec.digest
    # the image's own runtime is what a process imports, not the one that is installed
    done = subprocess.run(
        [sys.executable, "-c", "import mlg.app.replica as r; print(r.__file__, r.__cached__)"],
        env={**os.environ, **dict(spec.env)},
        capture_output=True,
        text=True,
        check=True,
    )
    file, cached = done.stdout.split()
    assert Path(file) == lib / "mlg/app/replica.py"
    assert Path(cached).is_file()
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            [sys.executable, "-S", "-c", "import mlg.app.control"],
            env={"PYTHONPATH": str(lib)},
            capture_output=True,
            check=True,
        )


@pytest.mark.parametrize("harm", ["alter", "add", "remove", "link"])
def test_what_is_not_what_the_layers_say_is_unpacked_again(home: Home, harm: str) -> None:
    launch = home.launch()
    launch("replica", "front", VERSION, 1)
    file = home.unpacked / "opt/mlg/lib/mlg/app/replica.py"
    whole = file.read_bytes()
    stray = file.with_name("stray.py")
    if harm == "alter":
        file.chmod(0o644)
        file.write_bytes(whole.replace(b"return", b"RETURN"))
    elif harm == "add":
        stray.write_text("x = 1")
    elif harm == "remove":
        file.unlink()
    else:
        file.unlink()
        file.symlink_to("/etc/hostname")
    for each in (launch, home.launch()):  # in this process' life, and after a restart
        each("replica", "front", VERSION, 1)
        assert file.read_bytes() == whole
        assert not file.is_symlink()
        assert not stray.exists()


def test_nothing_starts_from_an_image_that_is_damaged_or_for_other_packages(
    home: Home, tmp_path: Path
) -> None:
    layout = home.artifacts.locate(home.stored)
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.chmod(0o644)
    content = bytearray(blob.read_bytes())
    content[1_000] ^= 1
    blob.write_bytes(content)
    with pytest.raises(BackendError, match="damaged"):
        home.launch()("replica", "front", VERSION, 1)
    assert not home.unpacked.exists()
    other = Home(tmp_path / "other", serving_lock().replace("msgspec==", "msgspec==9."))
    with pytest.raises(BackendError, match="is not what is installed"):
        other.launch()("replica", "front", VERSION, 1)


def test_a_version_without_an_image_starts_from_its_artifact(home: Home) -> None:
    write_packaged(home.files, Packaged(artifact=ARTIFACT))
    assert home.launch()("replica", "front", VERSION, 1) == home.specs(
        "replica", "front", VERSION, 1
    )


def test_forgetting_a_version_removes_what_was_unpacked_and_built_of_it(home: Home) -> None:
    home.launch()("replica", "front", VERSION, 1)
    root = home.folder / IMAGES
    shared, own = root / "blobs/sha256/aa", root / "blobs/sha256/bb"
    for blob in (shared, own):
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(blob.name)
    for folder in (root / f"{VERSION}-1", root / "cdcdcdcdcdcd-1"):
        folder.mkdir()
        (folder / "aa").hardlink_to(shared)
    (root / f"{VERSION}-1" / "bb").hardlink_to(own)
    forget_images(home.folder, VERSION)
    assert not home.unpacked.exists()
    assert not (root / f"{VERSION}-1").exists()
    assert (shared.exists(), own.exists()) == (True, False)
    assert (root / "cdcdcdcdcdcd-1").is_dir()


def test_the_setting_has_two_values(tmp_path: Path) -> None:
    assert read_settings({}, tmp_path).launch == "artifact"
    assert read_settings({"MLG_LAUNCH": "image"}, tmp_path).launch == "image"
    (tmp_path / "mlg.env.yaml").write_text("launch: image\n")
    assert read_settings({}, tmp_path).launch == "image"
    assert read_settings({"MLG_LAUNCH": "artifact"}, tmp_path).launch == "artifact"
    with pytest.raises(ManifestError, match="artifact or image"):
        read_settings({"MLG_LAUNCH": "podman"}, tmp_path)
