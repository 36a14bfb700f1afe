"""Whether an OCI image layout is whole and well formed, whoever wrote it."""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import msgspec

from mlg.release.image import (
    CONFIG_TYPE,
    INDEX_FILE,
    INDEX_TYPE,
    LAYER_TYPE,
    LAYOUT_FILE,
    MANIFEST_TYPE,
    REF_NAME,
    blob_path,
)
from mlg.release.image_referrers import referrers_tag

Chunks = Callable[[str], Iterable[bytes] | None]
"""Reads a file of the layout piece by piece; None when it is not there."""

_DIGEST: Final = re.compile(r"^sha256:([0-9a-f]{64})$")
_TAG: Final = re.compile(r"^sha256-[0-9a-f]{64}$")
_JSON_LIMIT: Final = 4 << 20
"""Manifests and configurations are refused above this size, as registries do."""


class LayoutError(ValueError):
    """What is wrong with a layout, and in which of its files."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path, self.what = path, what


class CheckedLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer whose blob was hashed."""

    digest: str
    size: int
    media_type: str
    diff_id: str
    """sha256 hex of its plain tar, as the configuration says."""


class CheckedReferrer(msgspec.Struct, frozen=True, kw_only=True):
    """A document about the image, whose every byte was hashed."""

    digest: str
    """sha256 hex of its manifest."""
    artifact_type: str
    content: str
    """sha256 hex of the document."""
    size: int
    """Bytes of the document."""
    blobs: tuple[str, ...]
    """sha256 hex of all its blobs, the manifest last."""
    annotations: dict[str, str] = {}


class CheckedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose every byte was hashed."""

    digest: str
    """sha256 hex of the manifest."""
    name: str
    labels: dict[str, str]
    layers: tuple[str, ...]
    size_bytes: int
    """Without its referrers."""
    architecture: str = ""
    env: tuple[str, ...] = ()
    """`NAME=value`, as the configuration has it."""
    details: tuple[CheckedLayer, ...] = ()
    """Each layer, lowest first."""
    annotations: dict[str, str] = {}
    """Of the manifest; they name the base."""
    manifest_size: int = 0
    config: str = ""
    """sha256 hex of the configuration."""
    referrers: tuple[CheckedReferrer, ...] = ()
    """What the layout has about the image, in the order of its index."""
    referrers_index: str = ""
    """sha256 hex of that index; empty without referrers."""


def check_layout(read: Chunks, *, ref: str = "", architecture: str = "") -> CheckedImage:
    """Return an image of a layout, after hashing every blob that it names.

    Args:
        read: Reads a file by its path in the layout.
        ref: Its reference name; empty: there must be one image only.
        architecture: Which one of an image for several; empty: there must be one only.

    Raises:
        LayoutError: A file is missing, damaged, or lacks what the specification requires;
            the image is not there, or it is not clear which one is meant.

    Source:
        OCI Image Format Specification 1.1: the properties marked REQUIRED of the layout,
        index, manifest, descriptor and config.
    """
    marker = _json(read, LAYOUT_FILE)
    if marker.get("imageLayoutVersion") != "1.0.0":
        raise LayoutError(LAYOUT_FILE, "imageLayoutVersion must be 1.0.0")
    index = _json(read, INDEX_FILE)
    _versioned(index, INDEX_FILE, INDEX_TYPE)
    entries = _descriptors(index, "manifests", INDEX_FILE)
    images = [entry for entry in entries if not _of_referrers(entry)]
    entry = _chosen(read, images, ref, architecture)
    image = _image(read, entry)
    tag = referrers_tag(image.digest)
    listed = [one for one in entries if _of_referrers(one) and _name_of(one) == tag]
    if not listed:
        return image
    digest, _ = _blob(read, listed[0], (INDEX_TYPE,), INDEX_FILE)
    where = blob_path(digest)
    told = _descriptors(_json(read, where), "manifests", where)
    return msgspec.structs.replace(
        image,
        referrers=tuple(_referrer(read, one, where, image.digest) for one in told),
        referrers_index=digest,
    )


def _chosen(
    read: Chunks, entries: list[dict[str, Any]], ref: str, architecture: str
) -> dict[str, Any]:
    """Return the one entry that is meant; that of an image for several systems is opened.

    Raises:
        LayoutError: None is, or more than one.
    """
    named = [entry for entry in entries if not ref or _name_of(entry) == ref]
    if len(named) == 1 and named[0].get("mediaType") == INDEX_TYPE:
        digest, _ = _blob(read, named[0], (INDEX_TYPE,), INDEX_FILE)
        where = blob_path(digest)
        named = _descriptors(_json(read, where), "manifests", where)
    if len(named) > 1 and architecture:
        platforms = [_object(e.get("platform", {}), INDEX_FILE, "platform") for e in named]
        named = [
            entry
            for entry, platform in zip(named, platforms, strict=True)
            if (platform.get("os"), platform.get("architecture")) == ("linux", architecture)
        ]
    if len(named) == 1:
        return named[0]
    there = sorted({_name_of(e) for e in entries if _name_of(e)})
    wanted = f"{ref} " if ref else ""
    known = f"; there are {', '.join(there)}" if there else ""
    raise LayoutError(
        INDEX_FILE, f"expected one manifest {wanted}to choose, found {len(named)}{known}"
    )


def _image(read: Chunks, entry: dict[str, Any]) -> CheckedImage:
    """Return an image after hashing its blobs.

    Raises:
        LayoutError: It is damaged or not well formed.
    """
    digest, size = _blob(read, entry, (MANIFEST_TYPE,), INDEX_FILE)
    path = blob_path(digest)
    manifest = _json(read, path)
    _versioned(manifest, path, MANIFEST_TYPE)
    config_entry = _object(manifest.get("config"), path, "config")
    config_digest, config_size = _blob(read, config_entry, (CONFIG_TYPE,), path)
    types = (LAYER_TYPE, f"{LAYER_TYPE}+gzip", f"{LAYER_TYPE}+zstd")
    told = _descriptors(manifest, "layers", path)
    layers = [_blob(read, one, types, path) for one in told]
    if not layers:
        raise LayoutError(path, "layers must not be empty")
    where = blob_path(config_digest)
    config = _json(read, where)
    ids = _config(config, where, len(layers))
    inner = _object(config.get("config") or {}, where, "config")
    annotations = _object(manifest.get("annotations") or {}, path, "annotations")
    labels = _object(inner.get("Labels") or {}, where, "Labels")
    env: Any = inner.get("Env") or []
    if not isinstance(env, list):
        raise LayoutError(where, "Env must be a list")
    return CheckedImage(
        digest=digest,
        name=_name_of(entry),
        labels={key: str(value) for key, value in labels.items()},
        layers=tuple(layer for layer, _ in layers),
        size_bytes=size + config_size + sum(one for _, one in layers),
        architecture=str(config["architecture"]),
        env=tuple(str(one) for one in cast("list[Any]", env)),
        details=tuple(
            CheckedLayer(
                digest=layer, size=bytes_, media_type=str(one["mediaType"]), diff_id=diff
            )
            for (layer, bytes_), one, diff in zip(layers, told, ids, strict=True)
        ),
        annotations={key: str(value) for key, value in annotations.items()},
        manifest_size=size,
        config=config_digest,
    )


def _referrer(read: Chunks, entry: dict[str, Any], where: str, subject: str) -> CheckedReferrer:
    """Return a document about the image after hashing it.

    Raises:
        LayoutError: It is damaged, or about another image.
    """
    digest, _ = _blob(read, entry, (MANIFEST_TYPE,), where)
    path = blob_path(digest)
    manifest = _json(read, path)
    _versioned(manifest, path, MANIFEST_TYPE)
    of = _object(manifest.get("subject"), path, "subject").get("digest")
    if of != f"sha256:{subject}":
        raise LayoutError(path, f"its subject is {str(of)[:19]}…, not sha256:{subject[:12]}…")
    config = _object(manifest.get("config"), path, "config")
    empty, _ = _blob(read, config, (str(config.get("mediaType")),), path)
    layers = _descriptors(manifest, "layers", path)
    if len(layers) != 1:
        raise LayoutError(path, f"expected one document, found {len(layers)}")
    content, size = _blob(read, layers[0], (str(layers[0].get("mediaType")),), path)
    annotations = _object(manifest.get("annotations") or {}, path, "annotations")
    return CheckedReferrer(
        digest=digest,
        artifact_type=str(manifest.get("artifactType") or config.get("mediaType")),
        content=content,
        size=size,
        blobs=(empty, content, digest),
        annotations={key: str(value) for key, value in annotations.items()},
    )


def _of_referrers(entry: dict[str, Any]) -> bool:
    return entry.get("mediaType") == INDEX_TYPE and bool(_TAG.match(_name_of(entry)))


def _name_of(entry: dict[str, Any]) -> str:
    annotations = _object(entry.get("annotations") or {}, INDEX_FILE, "annotations")
    return str(annotations.get(REF_NAME, ""))


def _config(config: dict[str, Any], path: str, layers: int) -> list[str]:
    """Return the diff ids, without `sha256:`.

    Raises:
        LayoutError: Something that is required is not there.
    """
    for key in ("architecture", "os"):
        if not isinstance(config.get(key), str) or not config[key]:
            raise LayoutError(path, f"{key} is required")
    rootfs = _object(config.get("rootfs"), path, "rootfs")
    ids: Any = rootfs.get("diff_ids")
    if rootfs.get("type") != "layers" or not isinstance(ids, list):
        raise LayoutError(path, "rootfs needs type layers and a list of diff_ids")
    found = cast("list[Any]", ids)
    if len(found) != layers or not all(_DIGEST.match(str(one)) for one in found):
        raise LayoutError(path, f"expected {layers} diff_ids, one a layer")
    return [str(one).removeprefix("sha256:") for one in found]


def _versioned(document: dict[str, Any], path: str, media_type: str) -> None:
    if document.get("schemaVersion") != 2:
        raise LayoutError(path, "schemaVersion must be 2")
    if document.get("mediaType", media_type) != media_type:
        raise LayoutError(path, f"mediaType must be {media_type}")


def _descriptors(document: dict[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    entries: Any = document.get(key)
    if not isinstance(entries, list):
        raise LayoutError(path, f"{key} must be a list")
    return [_object(entry, path, key) for entry in cast("list[Any]", entries)]


def _blob(
    read: Chunks, entry: dict[str, Any], types: tuple[str, ...], where: str
) -> tuple[str, int]:
    """Return digest and size of what a descriptor names, after hashing it.

    Raises:
        LayoutError: The descriptor is incomplete, or its blob missing or damaged.
    """
    if entry.get("mediaType") not in types:
        raise LayoutError(where, f"mediaType {entry.get('mediaType')!r} is none of {types}")
    match = _DIGEST.match(str(entry.get("digest")))
    size = entry.get("size")
    if match is None or not isinstance(size, int) or size < 0:
        raise LayoutError(where, "a descriptor needs a sha256 digest and a size")
    path = blob_path(match[1])
    chunks = read(path)
    if chunks is None:
        raise LayoutError(path, "is missing")
    sha, found = hashlib.sha256(), 0
    for chunk in chunks:
        sha.update(chunk)
        found += len(chunk)
    if found != size:
        raise LayoutError(path, f"expected {size} bytes, found {found}")
    if sha.hexdigest() != match[1]:
        raise LayoutError(path, f"is damaged: its sha256 is {sha.hexdigest()[:12]}…")
    return match[1], size


def _json(read: Chunks, path: str) -> dict[str, Any]:
    chunks = read(path)
    if chunks is None:
        raise LayoutError(path, "is missing")
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > _JSON_LIMIT:
            raise LayoutError(path, f"is larger than {_JSON_LIMIT} bytes")
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise LayoutError(path, f"is no JSON: {error}") from error
    return _object(document, path, "the document")


def _object(value: Any, path: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LayoutError(path, f"{what} must be an object")
    return cast("dict[str, Any]", value)
