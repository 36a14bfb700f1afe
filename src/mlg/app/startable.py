"""Images that a container engine starts: a packaged version over a base, with its packages.

Layers: the base (this machine's Python, or a local OCI layout), the packages of
`serving.lock`, and those of the packaged image, by their digests: runtime, lock, code, model.
What is built is kept under `<home>/images`, a cache.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_host import (
    LIBRARIES,
    PACKAGES,
    USER,
    base_entries,
    base_key,
    package_entries,
    packages_key,
)
from mlg.adapters.image_layout import read_from_layout, verify_layout
from mlg.adapters.layer_pool import LayerPool
from mlg.app.images import ARTIFACT, LOCK, architecture
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.core.uris import Digest
from mlg.release.image import (
    INDEX_FILE,
    LAYOUT_FILE,
    LAYOUT_MARKER,
    ContainerConfig,
    LayerBlob,
    blob_path,
    documents_of,
    index_of,
)
from mlg.release.image_check import CheckedImage
from mlg.workflows.packaged import Packaged, read_packaged

HOST: Final = "host"
"""The base that is made of this machine's Python and C library."""
IMAGES: Final = "images"
"""Folder of the home that has built images and their layers; a cache."""
PORT: Final = 8080

_LAYERS: Final = ("runtime", "lock", "code", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartableImage:
    """An image layout that a container engine starts."""

    path: Path
    """Folder of the OCI layout: `podman pull oci:PATH:NAME`."""
    name: str
    """Its reference in the layout, `<image>:<version>`."""
    digest: Digest
    """sha256 of its manifest."""
    artifact: Digest
    """The model that it serves."""
    built: bool
    """False: it was there already."""


def startable_image(home: Path, version: str, *, base: str = HOST) -> StartableImage:
    """Return the image of a packaged version that an engine starts; built once, then kept.

    Args:
        home: The instance's folder.
        version: The model version: the first 12 characters of its artifact's digest.
        base: `host`.

    Raises:
        NotFoundError: The version was not packaged here, or its packages are not installed.
        ManifestError: There is no such base.
        BackendError: The packaged image is damaged, or the new one could not be written.
    """
    if base != HOST:
        raise ManifestError(f"no base {base!r}", where="--base", hint="host.")
    packaged, layout, checked = _packaged(home, version)
    pool = LayerPool(home / IMAGES)
    lock = read_from_layout(layout, checked.layers, LOCK).decode()
    layers = [
        pool.layer("base", base_key(), base_entries()),
        pool.layer("packages", packages_key(lock), package_entries(lock)),
        *_own_layers(pool, layout, checked),
    ]
    made = documents_of(
        layers,
        checked.labels,
        ContainerConfig(
            entrypoint=("python", "-m", "mlg.app.replica", "--artifact", "/opt/mlg/model"),
            env=_environment(),
            working_dir="/opt/mlg",
            user=f"{USER}:{USER}",
        ),
        architecture=architecture(),
    )
    for content in (made.config, made.manifest):
        pool.put(content)
    blobs = [made.digest, Digest(_digest_of_config(made.manifest)), *(o.digest for o in layers)]
    target = home / IMAGES / f"{version}-{made.digest[:12]}"
    built = not target.is_dir()
    if built:
        _publish(pool, blobs, index_of([made.entry(checked.name)]), target)
    return StartableImage(
        path=target,
        name=checked.name,
        digest=made.digest,
        artifact=packaged.artifact,
        built=built,
    )


def _packaged(home: Path, version: str) -> tuple[Packaged, Path, CheckedImage]:
    """Return what a version was packaged as, its layout, and what the layout says.

    Raises:
        NotFoundError: It was not packaged here, or without an image.
        BackendError: Its image is damaged or another one.
    """
    packaged = read_packaged(LocalFiles(home), version)
    if packaged is None or packaged.image_artifact is None:
        raise NotFoundError(
            f"no image of version {version!r} was packaged here",
            where=str(home),
            hint="run the pipeline: mlg run PIPELINE --follow.",
        )
    layout = LocalArtifacts(home / "artifacts").open(packaged.image_artifact)
    checked = verify_layout(layout)
    if (checked.digest, checked.labels.get(ARTIFACT)) != (
        packaged.image_digest,
        packaged.artifact,
    ):
        raise BackendError(
            f"expected image {str(packaged.image_digest)[:12]}…, found {checked.digest[:12]}…",
            where=str(layout),
            hint="run the pipeline again.",
        )
    return packaged, layout, checked


def _own_layers(pool: LayerPool, layout: Path, checked: CheckedImage) -> list[LayerBlob]:
    found: list[LayerBlob] = []
    for number, digest in enumerate(checked.layers):
        source = layout / blob_path(digest)
        pool.take(source, digest)
        found.append(
            LayerBlob(name=_LAYERS[number], digest=Digest(digest), size=source.stat().st_size)
        )
    return found


def _environment() -> tuple[tuple[str, str], ...]:
    return (
        ("LD_LIBRARY_PATH", f"/{LIBRARIES}"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("PYTHONPATH", f"/opt/mlg/lib:/{PACKAGES}:/opt/mlg/model/code"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    )


def _digest_of_config(manifest: bytes) -> str:
    told: dict[str, Any] = msgspec.json.decode(manifest)
    return str(told["config"]["digest"]).removeprefix("sha256:")


def _publish(pool: LayerPool, blobs: list[Digest], index: bytes, target: Path) -> None:
    """Write a layout whose blobs are links to the pool's, whole or not at all.

    Raises:
        BackendError: It could not be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".layout-", dir=target.parent))
        try:
            (staging / "blobs" / "sha256").mkdir(parents=True)
            for digest in blobs:
                os.link(pool.path(digest), staging / blob_path(digest))
            (staging / LAYOUT_FILE).write_bytes(LAYOUT_MARKER)
            (staging / INDEX_FILE).write_bytes(index)
            staging.chmod(0o755)
            os.rename(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise BackendError(
            f"could not be written: {error.strerror or error}",
            where=str(target),
            hint="check the free space and the rights of this folder.",
        ) from error
