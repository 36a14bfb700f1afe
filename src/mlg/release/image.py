"""An OCI image as values: the same files and labels give the same bytes, and so one digest.

Layers are plain tar, not gzip: what a compressor makes differs from one zlib to the next,
and a layer's digest is then also its diff id. There is no `created`, no owner, no time.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import rfc8785

from mlg.core.uris import Digest

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
LAYOUT_FILE: Final = "oci-layout"
INDEX_FILE: Final = "index.json"
REF_NAME: Final = "org.opencontainers.image.ref.name"
BASE_NAME: Final = "org.opencontainers.image.base.name"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"

LAYOUT_MARKER: Final = b'{"imageLayoutVersion":"1.0.0"}'

_FILE_MODE: Final = 0o644
_RUN_MODE: Final = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFile:
    """One file of a layer."""

    path: str
    """Relative POSIX path from the image's root."""
    content: bytes = field(repr=False)
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """Files that change together: runtime, dependencies, code, model."""

    name: str
    files: tuple[LayerFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """The image to put under the layers; named, not copied."""

    name: str
    """Reference such as `registry.example.com/python:3.11-slim`."""
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OciImage:
    """An image in memory."""

    digest: Digest
    """sha256 of the manifest: the image's identity."""
    config: Digest
    layers: tuple[Digest, ...]
    files: tuple[tuple[str, bytes], ...] = field(repr=False)
    """Path and content of every file of its layout, sorted by path."""

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return iter(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBlob:
    """A layer that lies somewhere already."""

    name: str
    digest: Digest
    size: int
    """Bytes of the blob."""
    media_type: str = LAYER_TYPE
    diff_id: Digest | None = None
    """sha256 of its plain tar; None: it is plain, and the digest is that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """What a container of an image runs, unless it is told otherwise."""

    entrypoint: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    """In the order in which it is written."""
    working_dir: str = "/"
    user: str = ""
    """`uid:gid`; empty: root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDocuments:
    """The two documents of an image; its layers lie elsewhere."""

    config: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    architecture: str

    @property
    def digest(self) -> Digest:
        """sha256 of the manifest: the image's identity."""
        return digest_of(self.manifest)

    def entry(self, name: str) -> dict[str, Any]:
        """Return its entry of a layout's index, under this reference name."""
        return {
            **descriptor(MANIFEST_TYPE, self.manifest),
            "platform": {"architecture": self.architecture, "os": "linux"},
            "annotations": {REF_NAME: name},
        }


def build_image(
    layers: Sequence[LayerSpec],
    labels: Mapping[str, str],
    *,
    name: str,
    entrypoint: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    working_dir: str = "/",
    architecture: str = "amd64",
    base: BaseImage | None = None,
) -> OciImage:
    """Return the image of some layers, as the files of an OCI image layout.

    Args:
        layers: Lowest first; within a layer the order of files does not matter.
        labels: Labels of the image; the graph's URIs of what it was made from.
        name: Its `org.opencontainers.image.ref.name` in the layout's index.
        entrypoint: Command of a container.
        env: Environment of a container.
        working_dir: Where it starts.
        architecture: As Go calls it; the system is always `linux`.
        base: What the layers are meant to lie on.

    Raises:
        ValueError: No layer, a path that is absolute, escapes or is there twice, or an
            empty name.

    Source:
        OCI Image Format Specification 1.1: image-layout.md, manifest.md, config.md.

    Examples:
        >>> layer = LayerSpec(name="model", files=(LayerFile(path="a", content=b"x"),))
        >>> image = build_image([layer], {"mlg.model": "m"}, name="movies:1")
        >>> image.digest == build_image([layer], {"mlg.model": "m"}, name="movies:1").digest
        True
    """
    if not layers or not name:
        raise ValueError("an image needs a name and at least one layer")
    tars = [layer_tar(layer) for layer in layers]
    blobs: dict[Digest, bytes] = {digest_of(tar): tar for tar in tars}
    made = documents_of(
        [
            LayerBlob(name=layer.name, digest=digest_of(tar), size=len(tar))
            for layer, tar in zip(layers, tars, strict=True)
        ],
        labels,
        ContainerConfig(
            entrypoint=tuple(entrypoint),
            env=tuple(sorted((env or {}).items())),
            working_dir=working_dir,
        ),
        architecture=architecture,
        base=base,
    )
    blobs |= {digest_of(made.config): made.config, made.digest: made.manifest}
    files = {blob_path(digest): content for digest, content in blobs.items()}
    files[LAYOUT_FILE] = LAYOUT_MARKER
    files[INDEX_FILE] = index_of([made.entry(name)])
    return OciImage(
        digest=made.digest,
        config=digest_of(made.config),
        layers=tuple(digest_of(tar) for tar in tars),
        files=tuple(sorted(files.items())),
    )


def documents_of(
    layers: Sequence[LayerBlob],
    labels: Mapping[str, str],
    container: ContainerConfig,
    *,
    architecture: str = "amd64",
    base: BaseImage | None = None,
) -> ImageDocuments:
    """Return configuration and manifest of an image whose layers are known by their digests.

    Args:
        layers: Lowest first.
        labels: Labels of the configuration, annotations of the manifest.
        container: What a container of it runs.
        architecture: As Go calls it.
        base: What the layers lie on, where it is named only.
    """
    told: dict[str, Any] = {
        "Entrypoint": list(container.entrypoint),
        "Env": [f"{key}={value}" for key, value in container.env],
        "WorkingDir": container.working_dir,
        "Labels": dict(labels),
    }
    if container.user:
        told["User"] = container.user
    config = rfc8785.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": told,
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{one.diff_id or one.digest}" for one in layers],
            },
            "history": [{"created_by": f"mlg layer {layer.name}"} for layer in layers],
        }
    )
    manifest = rfc8785.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config),
            "layers": [
                {"mediaType": o.media_type, "digest": f"sha256:{o.digest}", "size": o.size}
                for o in layers
            ],
            "annotations": {**labels, **_base(base)},
        }
    )
    return ImageDocuments(config=config, manifest=manifest, architecture=architecture)


def index_of(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the index of a layout, or of referrers, as canonical JSON."""
    return rfc8785.dumps(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [dict(e) for e in entries]}
    )


def layer_tar(layer: LayerSpec) -> bytes:
    """Return a layer as tar: sorted paths, parents first, root-owned, time 0, fixed modes.

    Raises:
        ValueError: A path is absolute, empty, escapes, or is there twice.
    """
    by_path: dict[str, LayerFile] = {}
    folders: set[str] = set()
    for file in layer.files:
        path = PurePosixPath(file.path)
        plain = path.as_posix() == file.path and not path.is_absolute()
        if not plain or file.path == "." or ".." in path.parts or "\0" in file.path:
            raise ValueError(f"layer {layer.name!r}: no plain relative path: {file.path!r}")
        if file.path in by_path:
            raise ValueError(f"layer {layer.name!r}: {file.path!r} is there twice")
        by_path[file.path] = file
        folders.update(parent.as_posix() for parent in path.parents if parent.name)
    clash = folders & by_path.keys()
    if clash:
        raise ValueError(f"layer {layer.name!r}: file and folder at once: {sorted(clash)}")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folders | by_path.keys()):
            member = tarfile.TarInfo(path)  # its time, owner and names are 0 and empty
            file = by_path.get(path)
            if file is None:
                member.type, member.mode = tarfile.DIRTYPE, _RUN_MODE
                tar.addfile(member)
            else:
                member.size = len(file.content)
                member.mode = _RUN_MODE if file.executable else _FILE_MODE
                tar.addfile(member, io.BytesIO(file.content))
    return buffer.getvalue()


def digest_of(content: bytes) -> Digest:
    """Return the sha256 of bytes.

    Examples:
        >>> digest_of(b"")[:8]
        'e3b0c442'
    """
    return Digest(hashlib.sha256(content).hexdigest())


def blob_path(digest: str) -> str:
    """Return where a layout keeps a blob.

    Examples:
        >>> blob_path("e3b0")
        'blobs/sha256/e3b0'
    """
    return f"blobs/sha256/{digest}"


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    """Return how a document refers to some bytes."""
    digest = f"sha256:{digest_of(content)}"
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _base(base: BaseImage | None) -> dict[str, str]:
    if base is None:
        return {}
    named = {BASE_NAME: base.name}
    return {**named, BASE_DIGEST: f"sha256:{base.digest}"} if base.digest else named
