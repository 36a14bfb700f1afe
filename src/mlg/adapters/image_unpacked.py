"""An image's layers as files in a folder, each of them what the verified layers say."""

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mlg.adapters.bytecode import bytecode_of
from mlg.adapters.layer_pool import guarded
from mlg.core.errors import BackendError
from mlg.release.image import blob_path

RUNTIME: Final = "opt/mlg/lib/"
"""Whose byte code is laid beside, so that no process has to make it."""

_Seen = tuple[tuple[str, int, int, int], ...]


class UnpackedImages:
    """Keeps one folder an image; what is there is hashed once a process and when it changes.

    Args:
        root: Holds the folders; a cache.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, _Seen] = {}

    def folder(self, name: str, layout: Path, layers: Sequence[str]) -> Path:
        """Return the folder of an image, unpacked anew where it is not what it should be.

        Args:
            name: Name of the folder.
            layout: The image's layout, verified.
            layers: Its layers' digests, lowest first; plain tar.

        Raises:
            BackendError: A layer cannot be read, or the folder not be written.
        """
        folder = self._root / name
        with guarded(folder):
            seen = _look(folder) if folder.is_dir() else None
            if seen is not None and self._seen.get(name) == seen:
                return folder
            files = _expected(layout, layers)
            if seen is None or not _same(folder, files, seen):
                self._unpack(folder, files)
                seen = _look(folder)
            self._seen[name] = seen
        return folder

    def is_seen(self, name: str) -> bool:
        """Return whether the folder is as it was when this process looked into it last."""
        folder = self._root / name
        with guarded(folder):
            return folder.is_dir() and self._seen.get(name) == _look(folder)

    def _unpack(self, folder: Path, files: dict[str, bytes]) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=self._root))
        try:
            for path, content in files.items():
                file = staging / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                file.chmod(0o444)
            staging.chmod(0o755)
            if folder.exists():
                os.rename(folder, staging / ".former")
            os.rename(staging, folder)
            shutil.rmtree(folder / ".former", ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _expected(layout: Path, layers: Sequence[str]) -> dict[str, bytes]:
    """Return the files of an image by path, with the byte code of its runtime.

    Raises:
        BackendError: A layer is no tar, or has something else than files and folders.
    """
    found: dict[str, bytes] = {}
    for layer in layers:
        try:
            with tarfile.open(layout / blob_path(layer), "r:") as tar:
                for member in tar:
                    if member.isdir():
                        continue
                    reader = tar.extractfile(member) if member.isfile() else None
                    unsafe = member.name.startswith("/") or ".." in Path(member.name).parts
                    if reader is None or unsafe:
                        raise BackendError(
                            f"expected plain files, found {member.name!r}",
                            where=f"layer {layer[:12]}",
                            hint="run the pipeline again.",
                        )
                    found[member.name] = reader.read()
        except tarfile.TarError as error:
            raise BackendError(f"is no tar: {error}", where=f"layer {layer[:12]}") from error
    made = (bytecode_of(p, c) for p, c in list(found.items()) if p.startswith(RUNTIME))
    return found | dict(one for one in made if one is not None)


def _look(folder: Path) -> _Seen:
    """Return every file and link of a folder with its size, inode and time of change."""
    found: list[tuple[str, int, int, int]] = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(root) / name
            told = path.lstat()
            at = path.relative_to(folder).as_posix()
            found.append((at, told.st_size, told.st_ino, told.st_mtime_ns))
    return tuple(found)


def _same(folder: Path, files: dict[str, bytes], seen: _Seen) -> bool:
    if {name for name, *_ in seen} != files.keys():
        return False
    for name, content in files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
            return False
        with path.open("rb") as reader:
            found = hashlib.file_digest(reader, "sha256").digest()
        if found != hashlib.sha256(content).digest():
            return False
    return True
