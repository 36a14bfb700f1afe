"""Records that could not be sent yet, as JSON lines on disk, in the order they were made.

A process writes a file of its own and holds a lock on it while it lives; a line is on disk
when `append` returns. A line without its end, torn by a crash, was never acknowledged and is
cut. Files are read oldest first, and are removed once everything in them was answered.
"""

import fcntl
import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

from mlg.core.clock import Clock, rfc3339
from mlg.core.errors import BackendError, ManifestError

FORMAT: Final = 1
"""Version of the files; the first line of each names it."""
BATCH: Final = 500
BATCH_BYTES: Final = 900_000
MAX_BYTES: Final = 256 * 2**20
"""Largest file of one process."""

Record = dict[str, Any]
Send = Callable[[list[Record]], list[Mapping[str, Any]]]
"""Sends records and returns the result of each: `status`, and `what` of a refused one."""


@dataclass(slots=True)
class Replayed:
    """What became of the records that waited."""

    sent: int = 0
    refused: int = 0
    """Kept beside the file, with the reason, in a file that ends in `.refused`."""
    cut: int = 0
    """Torn last lines: never acknowledged."""
    busy: int = 0
    """Files that a living process still writes; they are left alone."""
    files: list[str] = field(default_factory=list[str])
    """Names of the files that were sent whole and removed."""

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a JSON object."""
        return {
            "sent": self.sent,
            "refused": self.refused,
            "cut": self.cut,
            "busy": self.busy,
            "files": self.files,
        }


def default_folder(env: Mapping[str, str], home: str) -> Path:
    """Return where records wait unless told otherwise.

    Args:
        env: `MLG_SPOOL`, or `XDG_STATE_HOME`.
        home: The user's home; `~` where there is none: then it is the working folder.

    Examples:
        >>> str(default_folder({"XDG_STATE_HOME": "/state"}, "~"))
        '/state/mlg/spool'
    """
    if env.get("MLG_SPOOL"):
        return Path(env["MLG_SPOOL"])
    state = env.get("XDG_STATE_HOME")
    if state is None and home == "~":
        return Path(".mlg-spool").absolute()
    return (Path(state) if state else Path(home, ".local", "state")) / "mlg" / "spool"


class Spool:
    """The folder of one machine's waiting records.

    Args:
        folder: Where; made when something has to wait.
        url: The control plane that they are meant for; None is any.
        clock: Names the files by time.
    """

    def __init__(self, folder: Path, url: str | None, clock: Clock) -> None:
        self.folder, self._url, self._clock = folder, url, clock
        self._file: IO[bytes] | None = None
        self._path = folder

    def append(self, record: Record) -> None:
        """Keep a record; it is on disk when this returns.

        Raises:
            BackendError: It could not be written; nothing of it is kept.
        """
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            file = self._file or self._begin()
            size = file.seek(0, os.SEEK_END)
            if size + len(line) > MAX_BYTES:
                raise self._full(f"a spool file may have {MAX_BYTES} bytes")
            _append(file, line, size)
        except OSError as error:
            raise self._full(error.strerror or type(error).__name__) from error

    def waiting(self, *, anyone: bool = False) -> tuple[Path, ...]:
        """Return the files that wait, oldest first.

        Args:
            anyone: Also those meant for other control planes, for none, or written by a
                newer mlg.
        """
        if not self.folder.is_dir():
            return ()
        found = sorted(self.folder.glob("*.jsonl"))
        return tuple(path for path in found if anyone or self._is_ours(path))

    def replay(self, send: Send, *, anyone: bool = False) -> Replayed:
        """Send what waits, in order; what was sent before is sent again, which changes nothing.

        Args:
            send: Sends up to 500 records.
            anyone: Also files meant for other control planes, or for none.

        Raises:
            ManifestError: A file was written by a newer mlg; it is left as it is.
            LifecycleError: Sending failed; what was not sent stays.
        """
        told = Replayed()
        for path in self.waiting(anyone=anyone):
            own = self._file is not None and path == self._path
            try:
                file = self._file if own and self._file is not None else path.open("rb+")
            except FileNotFoundError:
                continue  # another process sent it
            try:
                if not own and not _locked(file, path):
                    told.busy += path.exists()
                    continue
                self._send_file(path, file, send, told)
            finally:
                if not own:
                    file.close()
            if own:
                self.close()
        return told

    def close(self) -> None:
        """Let go of this process's file, so that others may send it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _send_file(self, path: Path, file: IO[bytes], send: Send, told: Replayed) -> None:
        _header(path, file)
        refused: list[Record] = []
        lines, torn = _lines(file)
        for batch in _batches(path, lines, refused):
            for record, result in zip(batch, send(batch), strict=True):
                if result.get("status") == "accepted":
                    told.sent += 1
                else:
                    refused.append({"record": record, "refused": dict(result)})
        if refused:
            beside = path.with_suffix(".refused")
            text = "".join(json.dumps(one) + "\n" for one in refused)
            with beside.open("wb") as kept:
                _write(kept, text.encode())
        path.unlink()
        _sync_folder(path.parent)
        told.refused += len(refused)
        told.cut += torn
        told.files.append(path.name)

    def _begin(self) -> IO[bytes]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = self._clock.now()
        name = f"{now:%Y%m%dT%H%M%S%f}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"
        header = {"mlg_spool": FORMAT, "url": self._url, "created": rfc3339(now)}
        path = self.folder / name
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(handle, "rb+", buffering=0)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write(file, json.dumps(header).encode() + b"\n")
        _sync_folder(self.folder)
        self._file, self._path = file, path
        weakref.finalize(self, file.close)  # also when nobody closes the client
        return file

    def _is_ours(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                return _header(path, file).get("url") == self._url
        except (FileNotFoundError, ManifestError):
            return False

    def _full(self, why: str) -> BackendError:
        return BackendError(
            f"the record could be neither sent nor kept: {why}",
            where=str(self.folder),
            hint="make room there, or name another folder: MLG_SPOOL.",
        )


def _header(path: Path, file: IO[bytes]) -> dict[str, Any]:
    """Return the first line of a file; a torn one was written by a process that died at once.

    Raises:
        ManifestError: The file is of a newer format, or is no spool.
    """
    file.seek(0)
    line = file.readline()
    if not line.endswith(b"\n"):
        return {"url": None}
    try:
        found: object = json.loads(line)
    except ValueError:
        found = None
    version = found.get("mlg_spool") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(version, int):
        raise ManifestError(
            "this file is no spool of records",
            where=str(path),
            hint="move it out of the folder.",
        )
    if version > FORMAT:
        raise ManifestError(
            f"this spool was written by a newer mlg: format {version}, this one reads {FORMAT}",
            where=str(path),
            hint="replay it with that version; it is left as it is.",
        )
    return found


def _lines(file: IO[bytes]) -> tuple[list[bytes], int]:
    """Return the whole lines after the header, and whether a torn one follows (0 or 1)."""
    file.seek(0)
    whole, _, torn = file.read().rpartition(b"\n")
    return (whole.split(b"\n")[1:], int(bool(torn))) if whole else ([], 0)


def _batches(path: Path, lines: list[bytes], refused: list[Record]) -> Iterator[list[Record]]:
    """Yield the records in parts that one request may carry; damaged lines go to `refused`."""
    part: list[Record] = []
    size = 0
    for number, line in enumerate(lines, start=2):
        try:
            record: object = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            why = {"what": "this line is damaged", "where": f"{path.name}:{number}"}
            refused.append({"line": line.decode(errors="replace"), "refused": why})
            continue
        if part and (len(part) == BATCH or size + len(line) > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(record)
        size += len(line) + 1
    if part:
        yield part


def _locked(file: IO[bytes], path: Path) -> bool:
    """Take the file's lock; False when a living process has it, or it is gone."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return path.exists()


def _append(file: IO[bytes], line: bytes, size: int) -> None:
    """Write a line at the end; a half written one is cut, so that the next is whole."""
    whole = False
    try:
        _write(file, line)
        whole = True
    finally:
        if not whole:
            os.ftruncate(file.fileno(), size)


def _write(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def described(folder: Path) -> list[dict[str, Any]]:
    """Return what waits in a folder, a file each: `file`, `records`, `url`, `note`."""
    told: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            with path.open("rb") as file:
                url, note = _header(path, file).get("url"), ""
                lines, torn = _lines(file)
        except FileNotFoundError:
            continue
        except ManifestError as wrong:
            url, note, lines, torn = None, wrong.what, [], 0
        note = note or ("the last line is torn" if torn else "")
        told.append({"file": path.name, "records": len(lines), "url": url, "note": note})
    return told
