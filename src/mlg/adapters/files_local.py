"""Small files in a folder, replaced atomically."""

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlg.core.errors import BackendError

if TYPE_CHECKING:
    from mlg.core.ports import Files


class LocalFiles:
    """Files below one folder; a reader sees the old content or the new, never a part.

    Args:
        home: The folder; made at the first write.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def read(self, path: str) -> bytes | None:
        try:
            return self._at(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _failed("read", path, error) from error

    def write(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        target = self._at(path)
        beside = ""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(prefix=".", suffix=".new", dir=target.parent)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            if beside:
                Path(beside).unlink(missing_ok=True)
            raise _failed("written", path, error) from error

    def list(self, folder: str) -> tuple[str, ...]:
        try:
            entries = sorted(
                entry.name
                for entry in os.scandir(self._at(folder))
                if entry.is_file() and not entry.name.startswith(".")
            )
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise _failed("listed", folder, error) from error
        return tuple(str(PurePosixPath(folder) / name) for name in entries)

    def remove(self, path: str) -> None:
        try:
            self._at(path).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise _failed("removed", path, error) from error

    def _at(self, path: str) -> Path:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or "\0" in path:
            raise ValueError(f"expected a path below the home, got {path!r}")
        return self._home / pure


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(what: str, path: str, error: OSError) -> BackendError:
    return BackendError(
        f"file could not be {what}: {error.strerror or error}",
        where=path,
        hint="check free space and permissions of the home folder",
    )


if TYPE_CHECKING:
    _: Files = LocalFiles(Path())
