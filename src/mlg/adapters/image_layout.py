"""OCI image layouts in directories: written whole or not at all, and verified byte by byte."""

import os
import shutil
import tarfile
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import ArtifactStore
from mlg.core.uris import Digest
from mlg.release.image import OciImage, blob_path
from mlg.release.image_check import CheckedImage, LayoutError, check_layout

_CHUNK_BYTES: Final = 1 << 20


def write_layout(image: OciImage, target: Path) -> None:
    """Write an image as an OCI image layout; the same image there already is left alone.

    It is written beside, synced and renamed, so `target` is whole or not there.

    Raises:
        BackendError: It could not be written, or something else is at `target`.
    """
    if target.exists():
        if verify_layout(target).digest == image.digest:
            return
        raise BackendError(
            "another image is there already",
            where=str(target),
            hint="choose another folder, or remove this one.",
        )
    with _guarded(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            _write(image, staging)
            staging.chmod(0o755)
            os.rename(staging, target)
            _sync(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def store_image(image: OciImage, store: ArtifactStore, scratch: Path) -> Digest:
    """Put an image's layout into an artifact store; return the artifact's digest.

    Args:
        image: The image.
        store: Where it is kept.
        scratch: A folder for the time of writing.

    Raises:
        BackendError: It could not be written or stored; nothing partial is visible.
    """
    with _guarded(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="image-", dir=scratch))
        try:
            _write(image, folder)
            return store.put(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def verify_layout(path: Path, *, ref: str = "", architecture: str = "") -> CheckedImage:
    """Return the image of a layout after hashing every blob.

    Args:
        path: Folder of the layout.
        ref: Which one of several, by its reference name.
        architecture: Which one of an image for several systems.

    Raises:
        NotFoundError: There is no such folder.
        BackendError: It is damaged, or no OCI image layout.
    """
    if not path.is_dir():
        raise NotFoundError("no image layout", where=str(path), hint="build the image first.")
    with _guarded(path):
        try:
            return check_layout(
                lambda name: _chunks(path / name), ref=ref, architecture=architecture
            )
        except LayoutError as error:
            raise BackendError(
                error.what, where=str(path / error.path), hint="build the image again."
            ) from error


def read_from_layout(path: Path, layers: Sequence[str], name: str) -> bytes:
    """Return the content of a file of an image; the topmost layer that has it counts.

    Args:
        path: A layout that was verified.
        layers: Its layers' digests, lowest first, as verifying it returned them.
        name: Path of the file from the image's root.

    Raises:
        NotFoundError: No layer has the file.
        BackendError: A layer cannot be read.
    """
    with _guarded(path):
        for layer in reversed(layers):
            try:
                with tarfile.open(path / blob_path(layer)) as tar:
                    member = tar.extractfile(name)
                    if member is not None:
                        return member.read()
            except (KeyError, tarfile.TarError):
                continue
    raise NotFoundError(f"no file {name!r} in the image", where=str(path))


def _write(image: OciImage, folder: Path) -> None:
    folders = {folder}
    for name, content in image:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        folders |= {file.parent, file.parent.parent} if file.parent != folder else set[Path]()
        with file.open("wb") as writer:
            writer.write(content)
            writer.flush()
            os.fsync(writer.fileno())
    for one in sorted(folders):
        _sync(one)


def _chunks(file: Path) -> Iterator[bytes] | None:
    return _read(file) if file.is_file() and not file.is_symlink() else None


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as reader:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _guarded(path: Path) -> Generator[None, None, None]:
    """Say what the system refused, and where.

    Raises:
        BackendError: An `OSError` in the block.
    """
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"could not be read or written: {error.strerror or error}",
            where=str(path),
            hint="check the free space and the rights of this folder.",
        ) from error
