"""Texts with very many levels, kept small: the first levels by name, the rest in shares."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

MOST_LEVELS: Final = 1_000
"""A text with more levels is counted by its first ones and in shares of all others."""
KEPT: Final = 200
SHARES: Final = 32

Codes = NDArray[np.int64]


class LongText:
    """The levels of a text, as four bytes each.

    Args:
        levels: In code order.
    """

    def __init__(self, levels: Sequence[str]) -> None:
        self.kept = (
            *levels[:KEPT],
            *(f"(share {share} of the others)" for share in range(SHARES)),
        )
        self.beyond = len(levels) - KEPT
        self._hashes = np.fromiter(
            (crc32(level.encode()) for level in levels), np.uint32, len(levels)
        )

    def codes_in(self, wanted: tuple[str, ...], *, shares: bool) -> Codes:
        """Return the code of each level among wanted ones, and last that of another text: -1.

        Args:
            wanted: Levels in code order.
            shares: Whether the last of them are shares: a level that is not there by name
                falls into one by its own text, so that it is the same one in every version.
                Without them it is another text.
        """
        return _codes_in(self, wanted, shares)

    @property
    def hashes(self) -> "NDArray[np.uint32]":
        """Hash of each level."""
        return self._hashes


@lru_cache(maxsize=256)
def _codes_in(text: LongText, wanted: tuple[str, ...], shares: bool) -> Codes:
    names, hashes = wanted[: len(wanted) - SHARES] if shares else wanted, text.hashes
    others = len(names) + (hashes % SHARES).astype(np.int64)
    codes = others if shares else np.full(len(hashes), -1, dtype=np.int64)
    if names:
        known = np.array([crc32(name.encode()) for name in names], dtype=np.uint32)
        order = np.argsort(known, kind="stable")
        places = np.minimum(np.searchsorted(known[order], hashes), len(names) - 1)
        same = known[order][places] == hashes
        codes[same] = order[places[same]]
    return np.append(codes, -1)


@lru_cache(maxsize=256)
def long_text(levels: tuple[str, ...]) -> LongText:
    """Return levels that are all kept as if they were many."""
    return LongText(levels)
