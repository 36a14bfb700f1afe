"""Artifacts in a directory: `<root>/<2 characters>/<digest>`, a file or a folder each."""

import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlg.core.errors import BackendError, NotFoundError
from mlg.core.ports import ArtifactStore
from mlg.core.uris import Digest

_CHUNK_BYTES: Final = 1 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_Signature = tuple[tuple[str, int, int, int], ...]


def folder_digest(files: dict[str, str]) -> Digest:
    """Return the digest of a folder from the sha256 of each file, by relative POSIX path.

    It is the sha256 of the lines that `sha256sum` prints for the files in path order, so
    it can be checked without this package.

    Examples:
        >>> folder_digest({})[:8]
        'e3b0c442'
    """
    lines = "".join(f"{files[path]}  {path}\n" for path in sorted(files))
    return Digest(hashlib.sha256(lines.encode()).hexdigest())


class LocalArtifacts:
    """Keeps content under its digest in one directory; a crash leaves nothing half visible.

    Content is copied to `<root>/tmp`, synced, made read-only and renamed into place. `open`
    hashes what it returns; what was verified once by this process is trusted while size,
    inode and modification time stand.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._verified: dict[str, _Signature] = {}
        try:
            (root / "tmp").mkdir(parents=True, exist_ok=True)
            _sweep(root / "tmp")
        except OSError as error:
            raise _backend(error, root) from error

    def put(self, path: Path) -> Digest:
        if not path.exists():
            raise BackendError(
                "nothing there to store",
                where=str(path),
                hint="check the path of the file or folder.",
            )
        try:
            staging = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._root / "tmp"))
        except OSError as error:
            raise _backend(error, self._root) from error
        try:
            copy = staging / "content"
            digest = _copy_folder(path, copy) if path.is_dir() else _copy_file(path, copy)
            self._publish(copy, digest)
        except OSError as error:
            raise _backend(error, path) from error
        finally:
            _discard(staging)
        return digest

    def open(self, digest: Digest) -> Path:
        path = self._path(digest)
        if not path.exists():
            raise NotFoundError(
                f"no artifact {digest!r}",
                where=str(self._root),
                hint="run the step that makes it again, or copy the artifact into the store.",
            )
        try:
            signature = _signature(path)
            if self._verified.get(digest) != signature:
                self._verify(path, digest)
                self._verified[digest] = signature
        except OSError as error:
            raise _backend(error, path) from error
        return path

    def has(self, digest: Digest) -> bool:
        return self._path(digest).exists()

    def remove(self, digest: Digest) -> None:
        path = self._path(digest)
        try:
            staging = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._root / "tmp"))
            try:
                os.rename(path, staging / "content")
                _sync_folder(path.parent)
            except FileNotFoundError:
                pass
            finally:
                shutil.rmtree(staging)
        except OSError as error:
            raise _backend(error, path) from error
        self._verified.pop(digest, None)

    def locate(self, digest: Digest) -> Path:
        return self._path(digest)

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise NotFoundError(
                f"{digest!r} is not a digest", hint="a digest is 64 lower-case hex characters."
            )
        return self._root / digest[:2] / digest

    def _publish(self, copy: Path, digest: Digest) -> None:
        final = self._path(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            try:
                self.open(digest)
            except BackendError:  # the stored copy was damaged: the good one takes its place
                os.rename(final, copy.parent / "damaged")
            else:
                return
        try:
            os.rename(copy, final)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        _sync_folder(final.parent)
        _sync_folder(self._root)

    def _verify(self, path: Path, digest: str) -> None:
        if path.is_dir():
            found = folder_digest({name: _sha256(path / name) for name in _names(path)})
        else:
            found = Digest(_sha256(path))
        if found != digest:
            raise BackendError(
                f"stored bytes are damaged: expected {digest[:12]}…, found {found[:12]}…",
                where=str(path),
                hint="restore this file from a backup, or remove it and run the step again.",
            )


def _copy_folder(source: Path, target: Path) -> Digest:
    target.mkdir()
    files: dict[str, str] = {}
    for name in _names(source):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        files[name] = _copy_file(source / name, copy)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        _sync_folder(folder)
    return folder_digest(files)


def _copy_file(source: Path, target: Path) -> Digest:
    """Copy the bytes, durably and read-only, and return their sha256."""
    sha = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            sha.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(0o444)
    return Digest(sha.hexdigest())


def _names(folder: Path) -> list[str]:
    """Return the relative POSIX paths of a folder's files, sorted.

    Raises:
        BackendError: It holds a link or a special file.
    """
    names: list[str] = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BackendError(
                "only plain files can be stored, this is a link or a special file",
                where=str(path),
                hint="replace it by a copy of what it points to.",
            )
        if path.is_file():
            names.append(path.relative_to(folder).as_posix())
    return sorted(names)


def _signature(path: Path) -> _Signature:
    names = _names(path) if path.is_dir() else [""]
    stats = ((name, (path / name if name else path).stat()) for name in names)
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what processes left that died in the middle of a `put`."""
    for path in folder.iterdir():
        pid = path.name.partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _discard(path)


def _backend(error: OSError, path: Path) -> BackendError:
    full = error.errno in _FULL
    return BackendError(
        "no space left to store this" if full else f"could not be read or stored: {error}",
        where=str(path),
        hint="free some space where the home folder lies, then run again."
        if full
        else "check that the file exists and that this user may read and write it.",
    )


if TYPE_CHECKING:
    _: ArtifactStore = LocalArtifacts(Path())
