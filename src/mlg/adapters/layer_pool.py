"""Layers in a folder by their digest: written as streams, kept once, linked into layouts."""

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from mlg.core.errors import BackendError
from mlg.core.uris import Digest
from mlg.release.image import LayerBlob, blob_path

_CHUNK_BYTES: Final = 1 << 20
_FOLDER_MODE: Final = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """One file, link or folder of a layer that is written as a stream."""

    path: str
    """Relative POSIX path from the image's root."""
    content: bytes | None = field(default=None, repr=False)
    source: Path | None = None
    """File whose bytes it has, where `content` is None."""
    link: str = ""
    """Target, if it is a symbolic link."""
    folder: bool = False
    mode: int = 0o644


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    size: int


class LayerPool:
    """Keeps blobs under `blobs/sha256`, and which of them was made for which key.

    Args:
        root: Its folder; it is a cache: whatever is missing is made again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def layer(
        self, name: str, key: str, entries: Callable[[], Iterable[TreeEntry]]
    ) -> LayerBlob:
        """Return the layer of a key, made from the entries where it is not there yet.

        Args:
            name: Name of the layer.
            key: Digest of all that the entries depend on.
            entries: What lies in it; called only where the layer is made.

        Raises:
            BackendError: It could not be written.
        """
        note = self._root / "made" / f"{key}.json"
        with guarded(self._root):
            kept = self._noted(note)
            if kept is None:
                digest, size = self._write(entries())
                kept = _Kept(digest=digest, size=size)
                replace_file(note, msgspec.json.encode(kept))
        return LayerBlob(name=name, digest=Digest(kept.digest), size=kept.size)

    def put(self, content: bytes) -> Digest:
        """Keep some bytes; return their digest.

        Raises:
            BackendError: They could not be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        with guarded(self._root):
            path = self.path(digest)
            if not path.is_file() or path.stat().st_size != len(content):
                replace_file(path, content)
        return Digest(digest)

    def take(self, source: Path, digest: str) -> None:
        """Keep the blob of another layout, hashed as it is copied.

        Raises:
            BackendError: It is not there, is another one, or could not be written.
        """
        with guarded(source):
            path = self.path(digest)
            if path.is_file() and path.stat().st_size == source.stat().st_size:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as reader, _beside(path) as (writer, _):
                sha = hashlib.sha256()
                while chunk := reader.read(_CHUNK_BYTES):
                    sha.update(chunk)
                    writer.write(chunk)
                if sha.hexdigest() != digest:
                    raise BackendError(
                        f"is damaged: its sha256 is {sha.hexdigest()[:12]}…",
                        where=str(source),
                        hint="fetch or build that layout again.",
                    )

    def path(self, digest: str) -> Path:
        """Return where a blob is kept, whether or not it is there."""
        return self._root / blob_path(digest)

    def _noted(self, note: Path) -> _Kept | None:
        """Return what was made for a key, if its blob is there and has its size."""
        try:
            kept = msgspec.json.decode(note.read_bytes(), type=_Kept)
            whole = self.path(kept.digest).stat().st_size == kept.size
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return kept if whole else None

    def _write(self, entries: Iterable[TreeEntry]) -> tuple[str, int]:
        folder = self._root / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".layer-", dir=folder)
        staging = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                writer = _Hashing(file)
                write_tree(entries, writer)
                file.flush()
                os.fsync(file.fileno())
            staging.chmod(0o644)
            digest = writer.sha.hexdigest()
            os.replace(staging, self.path(digest))
        finally:
            staging.unlink(missing_ok=True)
        return digest, writer.size


class _Hashing(io.RawIOBase):
    """Passes bytes on, and hashes them."""

    def __init__(self, file: io.BufferedWriter) -> None:
        super().__init__()
        self._file, self.sha, self.size = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.sha.update(content)
        self.size += len(content)
        return self._file.write(content)


def write_tree(entries: Iterable[TreeEntry], writer: io.RawIOBase) -> None:
    """Write entries as tar: sorted, parents first, root-owned, time 0, the entries' modes.

    Raises:
        ValueError: A path is absolute, escapes, or is there twice.
        OSError: A source cannot be read.
    """
    by_path: dict[str, TreeEntry] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or path.as_posix() != entry.path:
            raise ValueError(f"no plain relative path: {entry.path!r}")
        if entry.path in by_path:
            raise ValueError(f"{entry.path!r} is there twice")
        by_path[entry.path] = entry
    parents = {p.as_posix() for path in by_path for p in PurePosixPath(path).parents if p.name}
    for path in parents - by_path.keys():
        by_path[path] = TreeEntry(path=path, folder=True, mode=_FOLDER_MODE)
    with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[arg-type]
        for path in sorted(by_path):
            _add(tar, by_path[path])


def _add(tar: tarfile.TarFile, entry: TreeEntry) -> None:
    member = tarfile.TarInfo(entry.path)  # its time, owner and names are 0 and empty
    member.mode = entry.mode
    if entry.folder:
        member.type = tarfile.DIRTYPE
        tar.addfile(member)
    elif entry.link:
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(member)
    elif entry.source is not None:
        with entry.source.open("rb") as reader:
            member.size = os.fstat(reader.fileno()).st_size
            tar.addfile(member, reader)
    else:
        content = entry.content or b""
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by all.

    Raises:
        OSError: It could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as (writer, _):
        writer.write(content)


@contextmanager
def _beside(path: Path) -> Generator[tuple[io.BufferedWriter, Path], None, None]:
    """Open a file beside, which takes its place when the block ends well."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}-", dir=path.parent)
    staging = Path(name)
    try:
        with os.fdopen(handle, "wb") as writer:
            yield writer, staging
            writer.flush()
            os.fsync(writer.fileno())
        staging.chmod(0o644)
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def guarded(path: Path) -> Generator[None, None, None]:
    """Say what the system refused, and where.

    Raises:
        BackendError: An `OSError` in the block.
    """
    try:
        yield
    except OSError as error:
        raise BackendError(
            f"could not be read or written: {error.strerror or error}",
            where=str(error.filename or path),
            hint="check the free space and the rights of this folder.",
        ) from error
