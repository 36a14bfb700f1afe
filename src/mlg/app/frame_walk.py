"""Many msgpack values of the same layout, walked at once.

Each step checks what it expects at every place and moves all places on. Where something else
is found the row is no longer `ok`; it goes on walking over whatever bytes are there, inside
the buffer, and nothing of it is used.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.answers import Ints, Singles

Bools = NDArray[np.bool_]

_GUARD: Final = 1_024
"""Bytes before the buffer's end in which no step begins: the last frame leaves the walk."""
_SMALL: Final = 1 << 20
_MOST_ITEMS: Final = 64
_WORD: Final = 8


def _sizes() -> Ints:
    """Return bytes of a scalar value by its first byte; 0: its length follows; -1: other."""
    sizes = np.full(256, -1, dtype=np.int64)
    sizes[0x00:0x80] = sizes[0xE0:] = 1
    sizes[0xA0:0xC0] = 1 + np.arange(32)
    sizes[[0xC0, 0xC2, 0xC3]] = 1
    sizes[[0xCC, 0xD0]], sizes[[0xCD, 0xD1]] = 2, 3
    sizes[[0xCA, 0xCE, 0xD2]], sizes[[0xCB, 0xCF, 0xD3]] = 5, 9
    sizes[[0xC4, 0xD9]] = 0
    return sizes


_SIZES: Final = _sizes()


class Walk:
    """Places in a buffer that move together.

    Args:
        data: The buffer.
        at: Where each row begins, shape ``(n,)``.
    """

    def __init__(self, data: bytes, at: Ints) -> None:
        # a small buffer is made longer, so that its last frames stay in the walk
        self.data = data + bytes(2 * _GUARD) if len(data) < _SMALL else data
        self._last = len(self.data) - _GUARD
        self._bytes = np.frombuffer(self.data, np.uint8)
        self._words = self._strided("<u8")
        self._at = at.copy()
        self.ok: Bools = np.ones(len(at), dtype=np.bool_)

    def _strided(self, dtype: str) -> "NDArray[Any]":
        """Return the value of a type at every byte of the buffer."""
        size = np.dtype(dtype).itemsize
        return np.ndarray((len(self.data) - size + 1,), dtype, self.data, strides=(1,))

    def require(self, ok: Bools) -> None:
        """Leave out the rows where something does not hold."""
        self.ok &= ok

    def _moved(self, by: "Ints | int") -> None:
        self._at += by
        if self._at.size and self._at.max() > self._last:
            self.ok &= self._at <= self._last
            np.minimum(self._at, self._last, out=self._at)

    def literal(self, wanted: bytes) -> None:
        """Expect these bytes; of a long text the first eight decide, and its length."""
        first = wanted[:_WORD]
        found = self._words[self._at]
        if len(first) < _WORD:
            found &= np.uint64((1 << (8 * len(first))) - 1)
        self.ok &= found == np.uint64(int.from_bytes(first, "little"))
        self._at += len(wanted)  # inside the guard: no text is longer than that

    def _key(self, name: bytes) -> None:
        self.literal(bytes([0xA0 | len(name)]) + name)

    def fields(self, counts: tuple[int, ...]) -> None:
        """Expect a map of so many fields, at least sixteen."""
        word = self._words[self._at]
        self.ok &= (word & np.uint64(0xFFFF)) == np.uint64(0x00DE)
        self.ok &= np.isin((word >> np.uint64(16)) & np.uint64(0xFF), counts)
        self._moved(3)

    def value(self) -> None:
        """Pass over a scalar, text or bytes of less than 256."""
        tag = self._bytes[self._at]
        size = _SIZES[tag]
        if size.size and size.min() <= 0:
            size = np.where(size == 0, 2 + self._bytes[self._at + 1].astype(np.int64), size)
            self.ok &= size > 0
            size = np.maximum(size, 1)
        self._moved(size)

    def skip(self, name: bytes) -> None:
        """Pass over a field."""
        self._key(name)
        self.value()

    def micros(self) -> Ints:
        """Return an integer of eight bytes."""
        tag = self._bytes[self._at]
        self.ok &= (tag == 0xCF) | (tag == 0xD3)
        found = self._words[self._at + 1].byteswap().astype(np.int64)
        self.ok &= (found >= 0) & (found < 4_000_000_000_000_000)  # times of this century
        self._moved(9)
        return found

    def into_bytes(self) -> None:
        """Step into a value that is bytes."""
        word = self._words[self._at]
        tag = word & np.uint64(0xFF)
        self.ok &= (tag >= 0xC4) & (tag <= 0xC6)
        self._moved(np.where(tag == 0xC4, 2, np.where(tag == 0xC5, 3, 5)))

    def text(self, name: bytes) -> tuple[Ints, Ints]:
        """Return where a field's text begins and its bytes; -1: it is null."""
        self._key(name)
        tag = self._bytes[self._at].astype(np.int64)
        short = (tag & 0xE0) == 0xA0
        length = np.where(short, tag & 0x1F, -1)
        start = self._at + 1
        if not short.all():
            long = tag == 0xD9
            self.ok &= short | long | (tag == 0xC0)
            length = np.where(long, self._bytes[self._at + 1], length)
            start = start + long
        self._at = start.copy()
        self._moved(np.maximum(length, 0))
        return start, length

    def packed_bytes(self, name: bytes) -> tuple[Ints, Ints]:
        """Return where a field's bytes begin, and how many they are."""
        self._key(name)
        word = self._words[self._at].astype(np.uint64)
        tag = (word & np.uint64(0xFF)).astype(np.int64)
        one = ((word >> np.uint64(8)) & np.uint64(0xFF)).astype(np.int64)
        two = ((word >> np.uint64(16)) & np.uint64(0xFF)).astype(np.int64)
        wide = tag == 0xC5
        self.ok &= wide | (tag == 0xC4)
        length = np.where(wide, 256 * one + two, one)
        start = self._at + np.where(wide, 3, 2)
        self._at = start.copy()
        self._moved(length)
        return start, np.where(self.ok, length, 0)

    def _count(self) -> Ints:
        tag = self._bytes[self._at].astype(np.int64)
        long = tag == 0xDC
        count = tag & 0x0F
        if long.any():
            two = 256 * self._bytes[self._at + 1].astype(np.int64) + self._bytes[self._at + 2]
            count = np.where(long, two, count)
        self.ok &= long | ((tag & 0xF0) == 0x90)
        self.ok &= count <= _MOST_ITEMS
        self._moved(np.where(long, 3, 1))
        return np.where(self.ok, count, 0)

    def array(self, name: bytes) -> tuple[Ints, Ints]:
        """Return where a field's array of scalars begins and ends."""
        self._key(name)
        start = self._at.copy()
        count = self._count()
        most = int(count.max(initial=0))
        least = int(count.min(initial=most))
        for _ in range(least):
            self.value()
        for place in range(least, most):
            before, ok = self._at.copy(), self.ok.copy()
            self.value()
            inside = count > place
            self._at = np.where(inside, self._at, before)
            self.ok = np.where(inside, self.ok, ok)
        return start, self._at.copy()

    def floats(self, name: bytes) -> None:
        """Pass over a field that is an array of floats: what follows shows that it was."""
        self._key(name)
        self._moved(9 * self._count())

    def float(self, name: bytes) -> "NDArray[np.float64]":
        """Return a field's float; NaN where it is null."""
        self._key(name)
        tag = self._bytes[self._at]
        number, null = tag == 0xCB, tag == 0xC0
        self.ok &= number | null
        found = self._words[self._at + 1].byteswap().view(np.float64)
        self._moved(np.where(null, 1, 9))
        return np.where(null, np.nan, found)

    def flag(self, name: bytes) -> Bools:
        """Return a field's true or false."""
        self._key(name)
        tag = self._bytes[self._at]
        self.ok &= (tag == 0xC2) | (tag == 0xC3)
        self._moved(1)
        return tag == 0xC3

    def ascii(self, start: Ints, length: Ints) -> Bools:
        """Return where a text is ASCII without zero bytes."""
        fine = np.ones(len(start), dtype=np.bool_)
        for size in np.unique(length[length > 0]).tolist():
            rows = np.flatnonzero(length == size)
            bad = self.table(start[rows], size).view(np.int8).reshape(-1, size) <= 0
            if bad.any():
                fine[rows[bad.any(axis=1)]] = False
        return fine

    def same(self, start: Ints, text: bytes) -> Bools:
        """Return where these bytes lie."""
        same = np.ones(len(start), dtype=np.bool_)
        for place in range(0, len(text), _WORD):
            part = text[place : place + _WORD]
            mask = np.uint64((1 << (8 * len(part))) - 1)
            wanted = np.uint64(int.from_bytes(part, "little"))
            same &= (self._words[start + place] & mask) == wanted
        return same

    def table(self, start: Ints, size: int) -> "NDArray[np.bytes_]":
        """Return texts that all have so many bytes."""
        if not size:
            return np.zeros(len(start), dtype="S1")
        return self._strided(f"S{size}")[start]

    def slices(self, start: Ints, length: Ints) -> list[bytes]:
        """Return texts of any length."""
        data = self.data
        ends = (start + length).tolist()
        return [data[a:b] for a, b in zip(start.tolist(), ends, strict=True)]

    def packed(self, start: Ints, length: Ints) -> Singles:
        """Return little-endian float32 of all rows, one after another."""
        if length.size and (length == length[0]).all() and length[0] > 0:
            whole = self._strided(f"V{int(length[0])}")[start]
            return whole.view("<f4").astype(np.float32, copy=False)
        flat = b"".join(self.slices(start, length))
        return np.frombuffer(flat, "<f4").astype(np.float32, copy=False)
