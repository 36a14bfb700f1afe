"""UUIDv7 (RFC 9562): milliseconds first, so that ids sort by time."""

import random
import threading
import uuid
from typing import TYPE_CHECKING, Final

from mlg.adapters.entropy_pooled import ENTROPY
from mlg.core.clock import Clock

if TYPE_CHECKING:
    from mlg.core.ports import Ids

_RANDOM_BITS: Final = 74
_STEP_BITS: Final = 32


class Uuid7Ids:
    """Ids from a clock and a source of randomness; safe between threads.

    Within one millisecond, and when the clock runs back, the random part counts up by
    a random step (RFC 9562, 6.2, method 2), so a later id still sorts after.

    Args:
        clock: Where the milliseconds come from.
        rng: Where the bits come from; the operating system unless given.
    """

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or ENTROPY
        self._lock = threading.Lock()
        self._last = 0

    def new_id(self) -> str:
        ms = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            fresh = (ms << _RANDOM_BITS) | self._rng.getrandbits(_RANDOM_BITS)
            if ms <= self._last >> _RANDOM_BITS:
                fresh = self._last + 1 + self._rng.getrandbits(_STEP_BITS)
            self._last = fresh
        return str(uuid.UUID(int=_laid_out(fresh)))


def _laid_out(value: int) -> int:
    """Put 48 bits of time and 74 of randomness around version 7 and variant 0b10."""
    rand_b = value & ((1 << 62) - 1)
    rand_a = (value >> 62) & 0xFFF
    ms = value >> _RANDOM_BITS
    return (ms << 80) | (7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b


if TYPE_CHECKING:
    from mlg.core.clock import ManualClock

    _: Ids = Uuid7Ids(ManualClock())
