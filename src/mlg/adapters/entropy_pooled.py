"""The system's randomness, fetched by the page: an answer needs three pieces of it."""

import os
import random
import threading
from typing import Final

_PAGE: Final = 4096


class PooledRandom(random.SystemRandom):
    """`SystemRandom` with one system call a page; safe between threads and over forks.

    No byte is given twice: a page is cut from its front, and a forked child begins a new one.

    Examples:
        >>> len(PooledRandom().randbytes(16))
        16
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._page, self._at = threading.Lock(), b"", 0
        os.register_at_fork(after_in_child=self._forget)

    def randbytes(self, n: int) -> bytes:
        """Return n bytes."""
        with self._lock:
            end = self._at + n
            if end > len(self._page):
                self._page, self._at, end = os.urandom(max(_PAGE, n)), 0, n
            piece, self._at = self._page[self._at : end], end
        return piece

    def getrandbits(self, k: int) -> int:
        """Return a number of k bits, k >= 0."""
        count = (k + 7) // 8
        return int.from_bytes(self.randbytes(count), "big") >> (8 * count - k)

    def _forget(self) -> None:
        self._lock, self._page, self._at = threading.Lock(), b"", 0


ENTROPY: Final = PooledRandom()
"""The process' own."""
