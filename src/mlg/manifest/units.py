"""Quantities as people write them, turned into one canonical unit each.

Share `0.5%` -> 50 basis points; duration `30m` -> seconds or milliseconds; size
`1GiB` -> bytes; rate `1/30d` -> mean seconds between events; window `2s` or
`1000 events`. A bare number is refused everywhere: it does not say its unit.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_SECONDS: Final[dict[str, Decimal]] = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3_600),
    "d": Decimal(86_400),
    "w": Decimal(604_800),
}
_BYTES: Final[dict[str, int]] = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_LARGEST: Final = 2**53 - 1
"""Largest whole number that JSON carries exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How one kind of quantity is written and read."""

    expected: str
    """What a person should write, for messages."""
    pattern: str
    """Regular expression of the whole text, also used in the JSON Schema."""
    read: Callable[[str], float | int | dict[str, float | int] | None]
    """The canonical value, or None when the text is not one."""


def basis_points(text: str) -> int | None:
    """Return the share in basis points, or None when the text is no whole number of them.

    Examples:
        >>> basis_points("0.5%"), basis_points("99.9%"), basis_points("0.001%")
        (50, 9990, None)
    """
    found = re.fullmatch(rf"({_NUMBER})\s*%", text)
    points = Decimal(found[1]) * 100 if found else None
    if points is None or points != points.to_integral_value() or points > _LARGEST:
        return None
    return int(points)


def _duration(text: str, unit: Decimal) -> float | None:
    found = re.fullmatch(rf"({_NUMBER})\s*(ms|s|m|h|d|w)", text)
    if found is None:
        return None
    value = float(Decimal(found[1]) * _SECONDS[found[2]] / unit)
    return value if math.isfinite(value) else None


def seconds(text: str) -> float | None:
    """Return the duration in seconds, or None when the text is not one.

    Examples:
        >>> seconds("30m"), seconds("150ms"), seconds("soon")
        (1800.0, 0.15, None)
    """
    return _duration(text, Decimal(1))


def milliseconds(text: str) -> float | None:
    """Return the duration in milliseconds, or None when the text is not one.

    Examples:
        >>> milliseconds("150ms"), milliseconds("2s")
        (150.0, 2000.0)
    """
    return _duration(text, Decimal("0.001"))


def size_bytes(text: str) -> int | None:
    """Return the size in bytes, or None when the text is no whole number of them.

    Examples:
        >>> size_bytes("1GiB"), size_bytes("1.5kB"), size_bytes("1G")
        (1073741824, 1500, None)
    """
    found = re.fullmatch(rf"({_NUMBER})\s*([kKMGT]i?B|B)", text)
    if found is None or found[2] not in _BYTES:
        return None
    size = Decimal(found[1]) * _BYTES[found[2]]
    return int(size) if size == size.to_integral_value() and size <= _LARGEST else None


def seconds_between(text: str) -> float | None:
    """Return the mean seconds between events of a rate, or None when the text is not one.

    Examples:
        >>> seconds_between("1/30d"), seconds_between("2/1d"), seconds_between("0/1d")
        (2592000.0, 43200.0, None)
    """
    count, slash, span = text.partition("/")
    length = seconds(span.strip()) if slash else None
    found = re.fullmatch(rf"({_NUMBER})\s*", count)
    if length is None or length == 0 or found is None or float(found[1]) == 0:
        return None
    every_s = length / float(found[1])
    return every_s if math.isfinite(every_s) and every_s > 0 else None


def window(text: str) -> dict[str, float | int] | None:
    """Return a window as `{"seconds": s}` or `{"events": n}`, or None when it is neither.

    Examples:
        >>> window("2s"), window("1000 events")
        ({'seconds': 2.0}, {'events': 1000})
    """
    found = re.fullmatch(r"([0-9]{1,15})\s*events", text)
    if found is not None:
        return {"events": int(found[1])} if int(found[1]) else None
    length = seconds(text)
    return {"seconds": length} if length else None


_DURATION: Final = rf"^{_NUMBER}\s*(ms|s|m|h|d|w)$"

UNITS: Final[dict[str, Unit]] = {
    "bp": Unit(
        expected="a percentage in steps of 0.01%, like 0.5%",
        pattern=rf"^{_NUMBER}\s*%$",
        read=basis_points,
    ),
    "s": Unit(expected="a duration, like 30m", pattern=_DURATION, read=seconds),
    "ms": Unit(expected="a duration, like 150ms", pattern=_DURATION, read=milliseconds),
    "bytes": Unit(
        expected="a size, like 1GiB",
        pattern=rf"^{_NUMBER}\s*(B|[KMGT]iB|[kMGT]B)$",
        read=size_bytes,
    ),
    "rate": Unit(
        expected="a count per duration, like 1/30d",
        pattern=rf"^{_NUMBER}\s*/\s*{_NUMBER}\s*(ms|s|m|h|d|w)$",
        read=seconds_between,
    ),
    "window": Unit(
        expected="a duration or a count, like 2s or 1000 events",
        pattern=rf"^([0-9]+\s*events|{_NUMBER}\s*(ms|s|m|h|d|w))$",
        read=window,
    ),
}
