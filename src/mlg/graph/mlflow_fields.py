"""Fields of MLflow's JSON, each of the type that is wanted or empty."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from mlg.core.nodes import Attr

MOST: Final = 500
"""Most parameters, metrics and tags of one thing, each; the rest is counted in `left_out`."""

_TEXT: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = 2**53


def pairs(found: Any, key: str = "key", value: str = "value") -> tuple[dict[str, str], int]:
    """Return named texts, sorted, and how many were left out."""
    pairs = {text(one.get(key)): text(one.get(value)) for one in items(found)}
    pairs.pop("", None)
    kept = sorted(pairs)[:MOST]
    return {name: pairs[name] for name in kept}, len(pairs) - len(kept)


def number(value: Any) -> Attr:
    """Return a metric; what JSON cannot hold as a number is text: NaN, Infinity."""
    if isinstance(value, str):
        return clip(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value) if abs(value) < 1e300 or isinstance(value, float) else math.inf
    if not math.isfinite(number):
        return json.dumps(number)
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def time_of(value: Any) -> datetime | None:
    """Return a time in milliseconds since 1970; None for no such number."""
    try:
        milliseconds = int(value or 0)
        return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds > 0 else None
    except (ValueError, TypeError, OverflowError):
        return None


def text(value: Any) -> str:
    """Return a text or an integer as text without NUL; empty for anything else."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def clip(text: str) -> str:
    """Return the first 1,000 characters."""
    return text[:_TEXT]


def fields(found: Any) -> dict[str, Any]:
    """Return an object, or an empty one."""
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def items(found: Any) -> list[dict[str, Any]]:
    """Return the objects of an array; none of anything else."""
    listed = cast("list[Any]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", one) for one in listed if isinstance(one, dict)]
