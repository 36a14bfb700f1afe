"""An image of a layout as one archive, piece by piece, in the form that engines load."""

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from mlg.core.errors import BackendError
from mlg.release.image import (
    INDEX_FILE,
    LAYOUT_FILE,
    LAYOUT_MARKER,
    MANIFEST_TYPE,
    blob_path,
    index_of,
)

_CHUNK_BYTES: Final = 1 << 20


def image_archive(layout: Path) -> Iterator[bytes]:
    """Return the tar of a layout's image alone: what is attached to it is left out.

    An engine that loads an archive wants one image in it. The blobs are not hashed: the
    engine does that as it loads.

    Args:
        layout: Folder of an OCI image layout with one image.

    Raises:
        BackendError: It has no image, or more than one, or cannot be read.
    """
    entry = _image_of(layout)
    manifest = str(entry["digest"]).removeprefix("sha256:")
    described = _read(layout, layout / blob_path(manifest))
    parts: list[dict[str, Any]] = [described["config"], *described["layers"]]
    blobs = [manifest, *(str(part["digest"]).removeprefix("sha256:") for part in parts)]
    return _archive(layout, index_of([entry]), tuple(dict.fromkeys(blobs)))


def _image_of(layout: Path) -> Mapping[str, Any]:
    found = [
        one
        for one in _read(layout, layout / INDEX_FILE)["manifests"]
        if one.get("mediaType") == MANIFEST_TYPE
    ]
    if len(found) != 1:
        raise BackendError(f"expected one image, found {len(found)}", where=str(layout))
    return found[0]


def _read(layout: Path, path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise BackendError(
            f"no image layout: {error}", where=str(layout), hint="build the image again."
        ) from error


def _archive(layout: Path, index: bytes, blobs: tuple[str, ...]) -> Iterator[bytes]:
    for name, content in ((LAYOUT_FILE, LAYOUT_MARKER), (INDEX_FILE, index)):
        yield _head(name, len(content)) + content + _padding(len(content))
    for blob in blobs:
        path = layout / blob_path(blob)
        try:
            with path.open("rb") as reader:
                size = path.stat().st_size
                yield _head(blob_path(blob), size)
                while chunk := reader.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise BackendError(
                f"could not be read: {error.strerror or error}", where=str(path)
            ) from error
        yield _padding(size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _head(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf()


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
