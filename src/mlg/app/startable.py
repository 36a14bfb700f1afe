"""Images that a container engine starts: a packaged version over a base, with its packages.

Layers: the base (this machine's Python, or a local OCI layout), the packages of
`serving.lock`, and those of the packaged image, by their digests: runtime, lock, code, model.
What is built is kept under `<home>/images`, a cache.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from mlg.adapters.artifacts_local import LocalArtifacts
from mlg.adapters.files_local import LocalFiles
from mlg.adapters.image_base import SCHEME, take_base
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
from mlg.adapters.keys_signing import sign_statement, signing_key
from mlg.adapters.layer_pool import LayerPool, guarded
from mlg.app.image_facts import labels_of
from mlg.app.images import ARTIFACT, LOCK, architecture
from mlg.core.errors import BackendError, ManifestError, NotFoundError
from mlg.core.uris import Digest
from mlg.release.image import (
    INDEX_FILE,
    INDEX_TYPE,
    LAYOUT_FILE,
    LAYOUT_MARKER,
    BaseImage,
    ContainerConfig,
    LayerBlob,
    blob_path,
    descriptor,
    digest_of,
    documents_of,
    index_of,
)
from mlg.release.image_bom import image_bom
from mlg.release.image_check import CheckedImage
from mlg.release.image_referrers import (
    BOM_TYPE,
    SIGNATURE_TYPE,
    referrer_of,
    referrers_index,
    referrers_tag,
    tagged_entry,
)
from mlg.serving.integrity import IMAGE_PREDICATE, image_statement
from mlg.workflows.packaged import Packaged, read_packaged

HOST: Final = "host"
"""The base that is made of this machine's Python and C library."""
IMAGES: Final = "images"
"""Folder of the home that has built images and their layers; a cache."""
UNPACKED: Final = "images/unpacked"
"""Folder of the home that has the layers of images from which replicas run; a cache."""
PORT: Final = 8080

SIGNED: Final = {
    "dev.sigstore.bundle.content": "dsse-envelope",
    "dev.sigstore.bundle.predicateType": IMAGE_PREDICATE,
}
"""Annotations of a signature, as cosign writes them."""
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
    signed: bool
    """False: the home has no key."""
    starts: bool
    """False: its base is only named."""
    built: bool
    """False: it was there already."""


def startable_image(home: Path, version: str, *, base: str = HOST) -> StartableImage:
    """Return the image of a packaged version that an engine starts; built once, then kept.

    Args:
        home: The instance's folder.
        version: The model version: the first 12 characters of its artifact's digest.
        base: `host`: this machine's Python. `oci:PATH[:REF]`: an image of a local layout.
            Another text is a reference that is only named: no engine starts that one.

    Raises:
        NotFoundError: The version was not packaged here, its packages are not installed, or
            there is no such layout.
        ManifestError: The layout does not say which image is meant, or it is for another
            architecture or another Python.
        BackendError: The packaged image or the base is damaged, or the new one could not be
            written.
    """
    packaged, layout, checked = _packaged(home, version)
    pool = LayerPool(home / IMAGES)
    lock = read_from_layout(layout, checked.layers, LOCK).decode()
    own = _own_layers(pool, layout, checked)
    layers, env, under = _under(base, pool, lock)
    layers = [*layers, *own]
    facts, beside = labels_of(home, packaged.artifact)
    labels = {**checked.labels, **facts}
    made = documents_of(
        layers,
        labels,
        ContainerConfig(
            entrypoint=("python", "-m", "mlg.app.replica", "--artifact", "/opt/mlg/model"),
            env=env,
            working_dir="/opt/mlg",
            user=f"{USER}:{USER}",
        ),
        architecture=architecture(),
        base=under,
    )
    bom = image_bom(checked.name, made.digest, layers, lock, {**labels, **beside})
    referrers = [referrer_of(made.manifest, BOM_TYPE, bom, beside)]
    if (signature := _signature(home, packaged.image, made.digest)) is not None:
        referrers.append(
            referrer_of(made.manifest, SIGNATURE_TYPE, signature, {**beside, **SIGNED})
        )
    listed = referrers_index(referrers)
    small = [made.config, made.manifest, *(b for one in referrers for b in one.blobs), listed]
    blobs = [*dict.fromkeys([*map(pool.put, small), *(layer.digest for layer in layers)])]
    index = index_of(
        [
            made.entry(checked.name),
            tagged_entry(descriptor(INDEX_TYPE, listed), referrers_tag(made.digest)),
        ]
    )
    target = home / IMAGES / f"{version}-{digest_of(index)[:12]}"
    built = not target.is_dir()
    if built:
        _publish(pool, blobs, index, target)
    else:
        try:
            verify_layout(target)
        except BackendError:
            # its blobs are those of every image here: what is damaged in one is in all
            forget_images(home)
            return startable_image(home, version, base=base)
    return StartableImage(
        path=target,
        name=checked.name,
        digest=made.digest,
        artifact=packaged.artifact,
        signed=signature is not None,
        starts=len(layers) > len(own),
        built=built,
    )


def copy_layout(image: StartableImage, target: Path) -> Path:
    """Write an image's layout into a folder of the caller's; return the folder.

    Raises:
        BackendError: Something else is there, or it could not be written.
    """
    if target.exists():
        if (target / LAYOUT_FILE).is_file() and verify_layout(target).digest == image.digest:
            return target
        raise BackendError(
            "something else is there already",
            where=str(target),
            hint="choose another folder, or remove this one.",
        )
    with guarded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            shutil.copytree(image.path, staging, dirs_exist_ok=True)
            _renamed(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return target


def forget_images(home: Path, version: str = "") -> None:
    """Remove what was built of a version, and the layers that no other image has.

    Args:
        home: The instance.
        version: The version; empty: every one.

    Raises:
        BackendError: Something could not be removed.
    """
    root = home / IMAGES
    with guarded(root):
        unpacked = (home / UNPACKED).glob(f"{version}-*") if version else ()
        for folder in (*root.glob(f"{version}*-*"), *unpacked):
            if not folder.name.startswith("."):  # else it is being written
                shutil.rmtree(folder)
        for blob in (root / "blobs" / "sha256").glob("*"):
            if blob.stat().st_nlink == 1 and not blob.name.startswith("."):
                blob.unlink()


def _under(
    base: str, pool: LayerPool, lock: str
) -> tuple[list[LayerBlob], tuple[tuple[str, str], ...], BaseImage | None]:
    """Return the layers under those of the packaged image, the environment, and the base.

    Raises:
        ManifestError: There can be no such base.
    """
    if base != HOST and not base.startswith(SCHEME):
        name, _, digest = base.partition("@sha256:")
        if not name or (digest and not set(digest) <= set("0123456789abcdef")):
            raise ManifestError(
                f"expected host, oci:PATH[:REF] or a reference, got {base!r}", where="--base"
            )
        named = BaseImage(name=name, digest=Digest(digest) if digest else None)
        return [], (("PYTHONPATH", "/opt/mlg/lib:/opt/mlg/model/code"),), named
    ours = {
        "LD_LIBRARY_PATH": f"/{LIBRARIES}",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"/opt/mlg/lib:/{PACKAGES}:/opt/mlg/model/code",
    }
    packages = partial(
        pool.layer, "packages", packages_key(lock), partial(package_entries, lock)
    )
    if base == HOST:
        found = [pool.layer("base", base_key(), base_entries), packages()]
        return found, tuple(sorted(ours.items())), None
    under = take_base(base, pool, architecture())
    env = {**ours, **dict(under.env), **{k: v for k, v in ours.items() if k != "PATH"}}
    return [*under.layers, packages()], tuple(sorted(env.items())), under.image


def _signature(home: Path, name: str, digest: Digest) -> bytes | None:
    """Return the signature of an image by the home's key; None without a key."""
    key = signing_key(LocalFiles(home))
    return None if key is None else sign_statement(key, image_statement(name, digest))


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


def _publish(pool: LayerPool, blobs: list[Digest], index: bytes, target: Path) -> None:
    """Write a layout whose blobs are links to the pool's, whole or not at all.

    Raises:
        BackendError: It could not be written.
    """
    with guarded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".layout-", dir=target.parent))
        try:
            (staging / "blobs" / "sha256").mkdir(parents=True)
            for digest in blobs:
                os.link(pool.path(digest), staging / blob_path(digest))
            (staging / LAYOUT_FILE).write_bytes(LAYOUT_MARKER)
            (staging / INDEX_FILE).write_bytes(index)
            _renamed(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _renamed(staging: Path, target: Path) -> None:
    """Put a layout in its place; where another process was first, that one stays.

    Raises:
        OSError: There is none afterwards.
    """
    staging.chmod(0o755)
    try:
        os.rename(staging, target)
    except OSError:
        if not target.is_dir():
            raise
