"""Sticky units, each told apart so that it counts once whatever it repeats.

A unit is what the gateway's split sends to an arm as a whole: the holder of a sticky key, or
a single request without one. Units that are counted once make the arms comparable by chance
alone; a client that repeats a failing request is one event, not a hundred.
"""

from collections import Counter
from hashlib import blake2b
from typing import Final

MOST: Final = 50_000
"""Units that are told apart in one arm; of more, every other one is kept, again and again."""
MOST_FIRSTS: Final = 500_000
"""Units whose first event is remembered; the first events of further ones do not count."""
_SPAN: Final = 2.0**64


def unit_of(name: str) -> int:
    """Return a unit's number, uniform over 64 bits and the same in every process.

    Examples:
        >>> unit_of("s1") == unit_of("s1"), unit_of("s1") == unit_of("s2")
        (True, False)
    """
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


def within(unit: int, part: float) -> bool:
    """Return whether a unit belongs to a part of all units that is chosen by its number.

    Args:
        unit: Its number.
        part: Which part of all units, 0..1; 1 is everyone.
    """
    # the low bits thin out samples, so the part is of the high ones
    return unit / _SPAN < part


class Units:
    """The distinct units of one arm, with the marks of their first sight; a sample of many.

    Examples:
        >>> units = Units(most=2)
        >>> [units.see(unit, ("slow",)) for unit in (2, 2, 4, 5)]
        [True, False, True, False]
        >>> units.sample, units.seen, units.total, units.having("slow")
        (2, 2, 4, 2)
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._marks: dict[int, tuple[str, ...]] = {}
        self._having: Counter[str] = Counter()
        self.sample = 1
        """One unit of so many is kept: 1, 2, 4, …"""

    def see(self, unit: int, marks: tuple[str, ...] = ()) -> bool:
        """Take a unit with what was so at its first sight; return whether it is new.

        A unit that the sample leaves out counts as known.
        """
        if unit % self.sample or unit in self._marks:
            return False
        self._marks[unit] = marks
        self._having.update(marks)
        while len(self._marks) > self._most:
            self.sample *= 2
            self._marks = {u: m for u, m in self._marks.items() if not u % self.sample}
            self._having = Counter(mark for marks in self._marks.values() for mark in marks)
        return unit in self._marks

    @property
    def seen(self) -> int:
        """Units of the sample."""
        return len(self._marks)

    @property
    def total(self) -> int:
        """About how many units there were; exact while the sample is everyone."""
        return len(self._marks) * self.sample

    def having(self, mark: str) -> int:
        """Return how many units of the sample had a mark at first sight."""
        return self._having[mark]


class Firsts:
    """Which units have had an event already, over a whole rollout."""

    def __init__(self, most: int = MOST_FIRSTS) -> None:
        self._most = most
        self._had: set[int] = set()

    def first(self, unit: int) -> bool:
        """Return whether this event is the unit's first one, and remember it."""
        if unit in self._had or len(self._had) >= self._most:
            return False
        self._had.add(unit)
        return True

    def __contains__(self, unit: int) -> bool:
        return unit in self._had
