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
    blob_path,
)

Chunks = Callable[[str], Iterable[bytes] | None]
"""Reads a file of the layout piece by piece; None when it is not there."""

_DIGEST: Final = re.compile(r"^sha256:([0-9a-f]{64})$")
_JSON_LIMIT: Final = 4 << 20
"""Manifests and configurations are refused above this size, as registries do."""


class LayoutError(ValueError):
    """What is wrong with a layout, and in which of its files."""

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path, self.what = path, what


class CheckedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose every byte was hashed."""

    digest: str
    """sha256 hex of the manifest."""
    name: str
    labels: dict[str, str]
    layers: tuple[str, ...]
    size_bytes: int


def check_layout(read: Chunks) -> CheckedImage:
    """Return the one image of a layout, after hashing every blob that it names.

    Args:
        read: Reads a file by its path in the layout.

    Raises:
        LayoutError: A file is missing, damaged, or lacks what the specification requires.

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
    if len(entries) != 1:
        raise LayoutError(INDEX_FILE, f"expected one manifest, found {len(entries)}")
    entry = entries[0]
    digest, size = _blob(read, entry, (MANIFEST_TYPE,), INDEX_FILE)
    path = blob_path(digest)
    manifest = _json(read, path)
    _versioned(manifest, path, MANIFEST_TYPE)
    config_entry = _object(manifest.get("config"), path, "config")
    config_digest, config_size = _blob(read, config_entry, (CONFIG_TYPE,), path)
    types = (LAYER_TYPE, f"{LAYER_TYPE}+gzip", f"{LAYER_TYPE}+zstd")
    layers = [_blob(read, one, types, path) for one in _descriptors(manifest, "layers", path)]
    if not layers:
        raise LayoutError(path, "layers must not be empty")
    where = blob_path(config_digest)
    config = _json(read, where)
    _config(config, where, len(layers))
    inner = _object(config.get("config", {}), where, "config")
    annotations = _object(entry.get("annotations", {}), INDEX_FILE, "annotations")
    labels = _object(inner.get("Labels") or {}, where, "Labels")
    return CheckedImage(
        digest=digest,
        name=str(annotations.get("org.opencontainers.image.ref.name", "")),
        labels={key: str(value) for key, value in labels.items()},
        layers=tuple(layer for layer, _ in layers),
        size_bytes=size + config_size + sum(one for _, one in layers),
    )


def _config(config: dict[str, Any], path: str, layers: int) -> None:
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
