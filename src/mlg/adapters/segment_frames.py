"""Frames of segment files: records as bytes and back, and frames without a record.

A frame is `u32 length, u32 crc32, msgpack` (little-endian); the msgpack is the array
`[kind, key, microseconds since 1970, payload]`.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from mlg.core.errors import BackendError
from mlg.core.ports import Batch, Cursor, Record

HEAD_BYTES: Final = 8
MAX_FRAME: Final = 1 << 20
ERASED: Final = "erased"
"""Kind of a frame whose record was erased; readers pass over kinds that they do not know."""

_HEAD: Final = struct.Struct("<II")
_ARRAY_OF_4: Final = b"\x94"
"""First byte of every frame's msgpack; finding the next frame after damage starts at it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class _Frame(msgspec.Struct, array_like=True):
    kind: str
    key: str
    at_us: int
    payload: bytes


class Found(NamedTuple):
    """What the start of some bytes holds."""

    records: list[Record]
    end: int
    """Where the next reading begins."""
    gaps: int
    """Damaged places passed over."""
    stopped: bool = False
    """Whether a record that the caller did not want comes next."""


class Bounds(NamedTuple):
    """Where the frames at the start of some bytes begin; what is in them was not read."""

    starts: list[int]
    end: int
    """Where the next reading begins."""
    gaps: int


class Taken(NamedTuple):
    """What was taken from some bytes of a file."""

    taken: int
    end: int
    """Where the next reading begins."""
    gaps: int
    stopped: bool
    """Whether a record that the caller did not want comes next."""


class FrameBlock(NamedTuple):
    """Valid frames in some bytes of one file."""

    data: bytes
    starts: list[int]


class FrameBatch(NamedTuple):
    """What was read, and where that ended."""

    blocks: tuple[FrameBlock, ...]
    cursor: Cursor
    gaps: int

    @property
    def size(self) -> int:
        """Frames."""
        return sum(len(block.starts) for block in self.blocks)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Frame)


def framed(record: Record) -> bytes:
    """Return the record as a frame.

    Raises:
        BackendError: It is too large.
    """
    at_us = (record.at - _EPOCH) // _MICROSECOND
    body = _ENCODER.encode(
        _Frame(kind=record.kind, key=record.key, at_us=at_us, payload=record.payload)
    )
    if len(body) > MAX_FRAME:
        raise BackendError(f"a record of {len(body)} bytes is over {MAX_FRAME}", where="log")
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def batch_of(batch: Batch) -> FrameBatch:
    """Return records that came otherwise as the frames that they would be in a file.

    Raises:
        BackendError: A record is too large for a frame.
    """
    frames = [framed(record) for record in batch.records]
    starts = [0, *accumulate(map(len, frames))][:-1]
    blocks = (FrameBlock(b"".join(frames), starts),) if frames else ()
    return FrameBatch(blocks, batch.cursor, batch.gaps)


def record_at(data: bytes, at: int) -> tuple[Record, int] | None:
    """Return the valid frame at an offset and where it ends, or None."""
    if at + HEAD_BYTES > len(data):
        return None
    length, crc = _HEAD.unpack_from(data, at)
    start, end = at + HEAD_BYTES, at + HEAD_BYTES + length
    if not 0 < length <= MAX_FRAME or end > len(data):
        return None
    body = data[start:end]
    if zlib.crc32(body) != crc:
        return None
    try:
        frame = _DECODER.decode(body)
        at_time = _EPOCH + frame.at_us * _MICROSECOND
    except (msgspec.MsgspecError, OverflowError):
        return None
    return Record(kind=frame.kind, key=frame.key, at=at_time, payload=frame.payload), end


def opened(data: bytes, at: int) -> tuple[str, bytes] | None:
    """Return kind and payload of a frame whose checksum was found right, or None."""
    length, _ = _HEAD.unpack_from(data, at)
    try:
        frame = _DECODER.decode(data[at + HEAD_BYTES : at + HEAD_BYTES + length])
    except msgspec.MsgspecError:
        return None
    return frame.kind, frame.payload


def next_frame(data: bytes, at: int) -> int | None:
    """Return the offset of the first valid frame after damage, or None."""
    body = data.find(_ARRAY_OF_4, at + HEAD_BYTES)
    while body != -1:
        if record_at(data, body - HEAD_BYTES) is not None:
            return body - HEAD_BYTES
        body = data.find(_ARRAY_OF_4, body + 1)
    return None


def scan(
    data: bytes,
    limit: int,
    *,
    final: bool,
    until: Callable[[Record], bool] | None = None,
) -> Found:
    """Return the records at the start of the bytes, and how many bytes they took.

    Damaged frames are skipped and counted; a torn tail is left for the next read, unless
    `final`: then it is cut, that is, counted and passed over. The first record that `until`
    names is left for the next read too.
    """
    records: list[Record] = []
    at, gaps, stopped = 0, 0, False
    while len(records) < limit and at < len(data):
        found = record_at(data, at)
        if found is not None:
            stopped = until is not None and until(found[0])
            if stopped:
                break
            records.append(found[0])
            at = found[1]
            continue
        further = next_frame(data, at + 1)
        if further is not None:
            gaps, at = gaps + 1, further
            continue
        if final:
            gaps, at = gaps + 1, len(data)
        break
    return Found(records, at, gaps, stopped)


def bounds(data: bytes, limit: int, *, final: bool) -> Bounds:
    """Return where the frames at the start of the bytes lie, as `scan` finds them.

    Of each frame only length and checksum are looked at.
    """
    starts: list[int] = []
    at, gaps, size = 0, 0, len(data)
    head, crc32, view, found = _HEAD.unpack_from, zlib.crc32, memoryview(data), starts.append
    while len(starts) < limit and at < size:
        for _ in range(limit - len(starts)):  # short: it runs once a frame
            begin = at + HEAD_BYTES
            if begin > size:
                break
            length, crc = head(data, at)
            end = begin + length
            if end > size or not length or length > MAX_FRAME or crc32(view[begin:end]) != crc:
                break
            found(at)
            at = end
        if at >= size or len(starts) >= limit:
            break
        further = next_frame(data, at + 1)
        if further is not None:
            gaps, at = gaps + 1, further
            continue
        if final:
            gaps, at = gaps + 1, size
        break
    return Bounds(starts, at, gaps)


def frames(data: bytes, at: int) -> Iterator[tuple[int, int, Record]]:
    """Yield start, end and record of each valid frame from an offset on; damage is skipped."""
    while at < len(data):
        found = record_at(data, at)
        if found is None:
            further = next_frame(data, at + 1)
            if further is None:
                return
            at = further
            continue
        yield at, found[1], found[0]
        at = found[1]


def find_record(data: bytes, at: int, kind: str, key: str) -> Record | None:
    """Return the record with this kind and key from an offset on, or None."""
    begin = _ENCODER.encode([kind, key])[1:]
    place = data.find(begin, at)
    while place != -1:
        found = record_at(data, place - 1 - HEAD_BYTES)
        if found is not None and (found[0].kind, found[0].key) == (kind, key):
            return found[0]
        place = data.find(begin, place + 1)
    return None


def erased_frame(size: int) -> bytes:
    """Return a valid frame of exactly so many bytes that holds no record.

    Positions in the file stay what they were, for readers and cursors alike.

    Raises:
        ValueError: No frame is so small.
    """
    body_bytes = size - HEAD_BYTES
    for pad in range(8):  # lengths that one key cannot reach, where msgpack's own head grows
        bare = len(_erased(pad, 0))
        for grown in (0, 1, 3):
            body = _erased(pad, max(0, body_bytes - bare - grown))
            if len(body) == body_bytes:
                return _HEAD.pack(len(body), zlib.crc32(body)) + body
    raise ValueError(f"no frame has {size} bytes")


def _erased(pad: int, zeros: int) -> bytes:
    return _ENCODER.encode(_Frame(kind=ERASED, key="-" * pad, at_us=0, payload=bytes(zeros)))
