"""The event stream in append-only segment files; the files are the log.

A file is one JSON header line, then frames: `u32 length, u32 crc32, msgpack`
(little-endian; the payload is the array `[kind, key, microseconds since 1970, payload]`).
Each writer has files of its own, so writers never wait for one another; a reader tails
them all. A record is in the page cache when `append` returns, so kill -9 loses nothing,
and on disk within a second, so a power cut loses at most that.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mlg.adapters.segment_frames import (
    HEAD_BYTES,
    MAX_FRAME,
    FrameBatch,
    FrameBlock,
    Taken,
    bounds,
    framed,
    scan,
)
from mlg.core.errors import BackendError
from mlg.core.ports import Batch, Cursor, EventStream, Record

_MAX_HEADER: Final = 64 * 1024
_CHUNK: Final = 4 << 20
_CHUNK_OF_FRAMES: Final = 16 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
SUFFIX: Final = ".seg"


_Take = Callable[[str, bytes, int, bool], Taken]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Writer:
    """One open segment file, its rotation and its fsync thread."""

    def __init__(
        self,
        folder: Path,
        writer_id: str,
        header: dict[str, Any],
        *,
        max_bytes: int,
        max_age_s: float,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._folder, self._id, self._header = folder, writer_id, header
        self._max_bytes, self._max_age_s, self._now_s = max_bytes, max_age_s, monotonic_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._dirty = False
        self._part = 0
        self.sync_errors = 0
        self._open()
        self._thread = threading.Thread(target=self._sync_each_second, daemon=True)
        self._thread.start()

    def _open(self) -> None:
        name = f"{self._id}-{secrets.token_hex(4)}{SUFFIX}"
        head = msgspec.json.encode({**self._header, "writer": self._id, "part": self._part})
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self._folder / name, flags, 0o640)
        try:
            self._size = os.write(fd, head + b"\n")
            if self._size != len(head) + 1:
                raise OSError("the disk is full")
        except OSError:
            os.close(fd)
            (self._folder / name).unlink(missing_ok=True)
            raise
        _sync_folder(self._folder)
        self._fd, self._opened_s, self._part = fd, self._now_s(), self._part + 1

    def write(self, data: bytes) -> None:
        with self._lock:
            old = self._size >= self._max_bytes
            if old or self._now_s() - self._opened_s >= self._max_age_s:
                self._rotate()
            wrote = 0
            try:
                while wrote < len(data):
                    wrote += os.write(self._fd, data[wrote:])
            except OSError:
                os.ftruncate(self._fd, self._size)  # no torn frame before the next one
                raise
            self._size += wrote
            self._dirty = True

    def _rotate(self) -> None:
        former = self._fd
        self._open()
        os.fsync(former)
        os.close(former)

    def _sync_each_second(self) -> None:
        while not self._closing.wait(1.0):
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            if not self._dirty:
                return
            self._dirty = False
            fd = os.dup(self._fd)  # rotation may close the original meanwhile
        try:
            os.fsync(fd)
        except OSError:
            self.sync_errors += 1
        finally:
            os.close(fd)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._sync()
        os.close(self._fd)


class SegmentStream:
    """Predictions and feedback of one service, in the files of one folder.

    Args:
        folder: `<home>/segments/<service>`.
        writer_id: Id of the process that appends; None reads only.
        header: What every row of this writer shares: schema, feature names, versions.
        max_bytes: A file of this size is followed by a new one.
        max_age_s: So is a file of this age.
        monotonic_s: Seconds that never run back, for the age of files.

    Raises:
        BackendError: The folder or its first file cannot be made.
        ValueError: The writer's id is no file name.
    """

    def __init__(
        self,
        folder: Path,
        writer_id: str | None = None,
        *,
        header: dict[str, Any] | None = None,
        max_bytes: int = 64 << 20,
        max_age_s: float = 3_600.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._writer: _Writer | None = None
        if writer_id is None:
            return
        if not _NAME.fullmatch(writer_id):
            raise ValueError(f"expected a file name as writer id, got {writer_id!r}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = _Writer(
                folder,
                writer_id,
                {"format": 1, **(header or {})},
                max_bytes=max_bytes,
                max_age_s=max_age_s,
                monotonic_s=monotonic_s,
            )
        except OSError as error:
            raise self._failed(error) from error

    @property
    def sync_errors(self) -> int:
        """Failed fsyncs so far: rows in memory of the system that a power cut would lose."""
        return self._writer.sync_errors if self._writer else 0

    def append(self, records: Sequence[Record]) -> None:
        if self._writer is None:
            raise BackendError("this stream was opened for reading", where=self._folder.name)
        try:
            self._writer.write(b"".join(map(framed, records)))
        except OSError as error:
            raise self._failed(error) from error

    def read(
        self,
        cursor: Cursor,
        limit: int = 10_000,
        *,
        until: Callable[[str, Record], bool] | None = None,
    ) -> Batch:
        """Return records after the cursor: of each file those before one that `until` names.

        It is asked with the file's name and the record.
        """
        records: list[Record] = []

        def take(name: str, data: bytes, room: int, final: bool) -> Taken:
            stop = None if until is None else partial(until, name)
            found = scan(data, room, final=final, until=stop)
            records.extend(found.records)
            return Taken(len(found.records), found.end, found.gaps, found.stopped)

        end, gaps = self._collect(cursor, limit, take)
        return Batch(records=tuple(records), cursor=end, gaps=gaps)

    def read_frames(self, cursor: Cursor, limit: int = 10_000) -> FrameBatch:
        """Return what `read` would, as bytes: for readers of many records at once."""
        blocks: list[FrameBlock] = []

        def take(_: str, data: bytes, room: int, final: bool) -> Taken:
            found = bounds(data, room, final=final)
            if found.starts:
                blocks.append(FrameBlock(data, found.starts))
            return Taken(len(found.starts), found.end, found.gaps, False)

        end, gaps = self._collect(cursor, limit, take, chunk=_CHUNK_OF_FRAMES)
        return FrameBatch(tuple(blocks), end, gaps)

    def _collect(
        self, cursor: Cursor, limit: int, take: _Take, chunk: int = _CHUNK
    ) -> tuple[Cursor, int]:
        """Hand bytes of the files to `take` until it has so many; return where that ended."""
        count, gaps = 0, 0
        files = self._files()
        positions = {name: at for name, at in cursor.positions if name in files}
        # a writer's files one after another: its records come in their order
        later: dict[str, list[str]] = {}
        for name in reversed(files):
            later.setdefault(_writer_of(name), []).append(name)
        pending = {name: files[name] for name in (names.pop() for names in later.values())}
        while pending and count < limit:
            quota = max(1, (limit - count) // len(pending))
            for name, final in list(pending.items()):
                room = min(quota, limit - count)
                if room == 0:
                    break
                at = positions.get(name, 0)
                found = self._read_file(name, at, room, final=final, take=take, chunk=chunk)
                count += found.taken
                gaps += found.gaps
                # a chunk that is full says nothing of what comes after it
                full = found.end - at >= chunk - MAX_FRAME - HEAD_BYTES
                if found.end == at or (found.taken < room and not full):
                    del pending[name]
                    if rest := later[_writer_of(name)]:
                        name_after = rest.pop()
                        pending[name_after] = files[name_after]
                positions[name] = found.end
        end = Cursor(consumer=cursor.consumer, positions=tuple(sorted(positions.items())))
        return end, gaps

    def committed(self, consumer: str) -> Cursor:
        path = self._cursor_path(consumer)
        try:
            cursor = msgspec.json.decode(path.read_bytes(), type=Cursor)
        except FileNotFoundError:
            return Cursor(consumer=consumer)
        except (OSError, msgspec.MsgspecError) as error:
            raise BackendError(
                f"expected a cursor, got: {error}",
                where=f"cursors/{path.name}",
                hint="remove the file to read from the beginning; effects carry their keys.",
            ) from error
        return cursor

    def commit(self, cursor: Cursor) -> None:
        path = self._cursor_path(cursor.consumer)
        beside = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(msgspec.json.encode(cursor))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise self._failed(error) from error

    def close(self) -> None:
        """Flush to disk and close; a stream that only reads has nothing to close."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _files(self) -> dict[str, bool]:
        """Return the segment files by name, and whether each will never grow again.

        A file is final once its writer has a younger one: its torn tail is cut then.
        """
        try:
            changed = [
                (path.stat().st_mtime_ns, path.name) for path in segment_paths(self._folder)
            ]
        except FileNotFoundError:  # one was removed meanwhile
            return self._files()
        except OSError as error:
            raise self._failed(error) from error
        youngest = {_writer_of(name): name for _, name in sorted(changed)}
        return {name: youngest[_writer_of(name)] != name for _, name in sorted(changed)}

    def _read_file(
        self,
        name: str,
        at: int,
        limit: int,
        *,
        final: bool,
        take: _Take,
        chunk: int,
    ) -> Taken:
        try:
            with (self._folder / name).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if at == 0:
                    head = file.read(_MAX_HEADER) or b""
                    at = head.find(b"\n") + 1
                    if at == 0:  # the writer died in its first write
                        return Taken(0, 0, 0, False)
                if at >= size:
                    return Taken(0, at, 0, False)
                file.seek(at)
                data = file.read(chunk) or b""
        except FileNotFoundError:
            return Taken(0, at, 0, False)
        except OSError as error:
            raise self._failed(error) from error
        whole = at + len(data) >= size
        found = take(name, data, limit, final and whole)
        if (
            found.end == 0 and not whole and not found.stopped
        ):  # no valid frame in all of the chunk
            return Taken(0, at + len(data) - MAX_FRAME - HEAD_BYTES, 1, False)
        return found._replace(end=at + found.end)

    def _cursor_path(self, consumer: str) -> Path:
        if not _NAME.fullmatch(consumer):
            raise ValueError(f"expected a file name as consumer, got {consumer!r}")
        return self._folder / "cursors" / f"{consumer}.json"

    def _failed(self, error: OSError) -> BackendError:
        return BackendError(
            f"the segment log failed: {error.strerror or error}",
            where=f"segments/{self._folder.name}",
            hint="free disk space or make the folder writable.",
        )


def _writer_of(name: str) -> str:
    return name.rpartition("-")[0]


def segment_paths(folder: Path) -> list[Path]:
    """Return the segment files of a service's folder, by name; none when it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if e.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def segment_header(path: Path) -> dict[str, Any]:
    """Return the JSON header of a segment file.

    Raises:
        BackendError: The file cannot be read, or has no header.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.readline(_MAX_HEADER), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise BackendError(f"no segment header: {error}", where=path.name) from error


if TYPE_CHECKING:
    _: EventStream = SegmentStream(Path())
