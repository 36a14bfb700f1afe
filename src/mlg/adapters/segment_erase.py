"""Taking one viewer's records out of segment files that a replica may be writing to.

A record's bytes are overwritten in place by a frame of the same size that holds nothing, so
offsets, cursors and the writer's end of the file stay what they are.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from mlg.adapters.segment_frames import erased_frame, frames
from mlg.adapters.stream_segments import segment_paths
from mlg.core.errors import BackendError, LifecycleError
from mlg.serving.log import decode_prediction

_HEADER_BYTES: Final = 64 * 1024


class Place(msgspec.Struct, frozen=True, array_like=True):
    """One frame: name of its file, and the bytes that it takes there."""

    file: str
    start: int
    end: int


def viewer_places(
    folder: Path, viewer: str, prediction_ids: Iterable[str]
) -> tuple[list[Place], set[str]]:
    """Return where a viewer's answers and the feedback to them lie, and the answers' ids.

    Args:
        folder: `<home>/segments/<service>`.
        viewer: The keyed hash under which the log knows him.
        prediction_ids: Answers of his that are known from elsewhere.

    Raises:
        BackendError: A file cannot be read.
    """
    found: list[Place] = []
    ids = set(prediction_ids)
    paths = segment_paths(folder)
    for path in paths:
        data = _read(path)
        if viewer.encode() not in data:
            continue
        for start, end, record in frames(data, _first(data)):
            if record.kind == "prediction" and _viewer_of(record.payload) == viewer:
                found.append(Place(file=path.name, start=start, end=end))
                ids.add(record.key)
    if not ids:
        return found, ids
    for path in paths:
        data = _read(path)
        found += [
            Place(file=path.name, start=start, end=end)
            for start, end, record in frames(data, _first(data))
            if record.kind == "feedback" and _answer_of(record.key) in ids
        ]
    return found, ids


def erase_places(folder: Path, places: Sequence[Place], viewer: str) -> None:
    """Overwrite these frames, and the viewer's hash wherever else it stands (torn frames).

    Doing it again changes nothing. A file that is gone is passed over.

    Raises:
        BackendError: A file cannot be written.
    """
    by_file: dict[str, list[Place]] = {}
    for place in places:
        by_file.setdefault(place.file, []).append(place)
    for path in segment_paths(folder):
        try:
            with path.open("rb+", buffering=0) as file:
                before, size = os.fstat(file.fileno()), len(viewer)
                for place in by_file.get(path.name, ()):
                    os.pwrite(file.fileno(), erased_frame(place.end - place.start), place.start)
                data = file.read() or b""
                at = data.find(viewer.encode())
                while at != -1:
                    os.pwrite(file.fileno(), b"0" * size, at)
                    at = data.find(viewer.encode(), at + size)
                # the youngest file of a writer is the one that it writes to: keep the order
                os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fsync(file.fileno())
        except FileNotFoundError:
            continue
        except OSError as error:
            _fail(path, error)


def _first(data: bytes) -> int:
    return data.find(b"\n", 0, _HEADER_BYTES) + 1


def _viewer_of(payload: bytes) -> str:
    try:
        return str(decode_prediction(payload).get("viewer"))
    except LifecycleError:
        return ""


def _answer_of(key: str) -> str:
    try:
        parts = msgspec.json.decode(key, type=list[str | int | float | None])
    except msgspec.MsgspecError:
        return ""
    return str(parts[0]) if parts else ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        _fail(path, error)


def _fail(path: Path, error: OSError) -> NoReturn:
    raise BackendError(
        f"the segment log could not be changed: {error.strerror or error}",
        where=f"segments/{path.parent.name}",
        hint="make the folder writable; the erasure goes on where it stopped.",
    ) from error
