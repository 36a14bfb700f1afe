"""Parts of the traffic within which a number moved although the whole hardly did.

Every pair of values of two text columns is a part. Sums by part are products of sparse
matrices over sampled rows, so all parts of all numbers are looked at, not those that a search
happens upon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mlg.monitors.frame import Column, Floats, Frame
from mlg.monitors.frame_pass import bins_of
from mlg.stats.components import components_of

Scores = NDArray[np.float32]

LEAST_SHARE: Final = 0.01
LEAST_EFFECT: Final = 0.3
"""A part matters from this shift on, in standard deviations of the column."""
LEAST_Z: Final = 6.5
"""Standard errors by which it must stand out: a hundred thousand parts are looked at."""
MOST_PAIRS: Final = 400
MOST_LEVELS: Final = 50
"""A text column with more levels describes no parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the traffic in which one column moved."""

    where: str
    """`country = BR and device = tv`."""
    share: float
    """Of the live rows."""
    column: str
    effect: float
    """Shift of the column's mean inside, less that of the whole, in standard deviations."""
    z: float


def parts_of(base: Frame, live: Frame, columns: Sequence[str]) -> list[Part]:
    """Return the parts in which a column moved, the strongest of each column, strongest first.

    Args:
        base: With its sampled rows.
        live: The same.
        columns: Numeric columns to look at.

    Returns:
        At most one part a column; none where no text column is there.
    """
    texts = [
        name
        for name, column in base.columns.items()
        if column.kind == "text" and name in live.columns
        if 1 < len(column.levels) <= MOST_LEVELS
    ]
    numbers = [n for n in columns if base.columns[n].kind == "number"]
    if not texts or not numbers:
        return []
    before = _scores(base, base, numbers)
    now = _scores(base, live, numbers)
    best: dict[str, Part] = {}
    whole = _nan_mean(now) - _nan_mean(before)
    groups: list[tuple[str, ...]] = [(name,) for name in texts]
    groups += list(combinations(texts, 2))[:MOST_PAIRS]
    for group in groups:
        levels = [base.columns[name] for name in group]
        for part in _group(levels, base, live, before, now, whole, numbers):
            known = best.get(part.column)
            if known is None or _rank(part) > _rank(known):
                best[part.column] = part
    return sorted(best.values(), key=lambda part: -abs(part.z))


def _rank(part: Part) -> float:
    """Return how well a part tells what happened: strong inside, and no wider than it is."""
    return abs(part.effect) * part.share**0.5


def _scores(base: Frame, frame: Frame, numbers: Sequence[str]) -> Scores:
    """Return the normal score of each sampled value, shape ``(rows, columns)``; NaN missing."""
    found = np.full((frame.sample.rows, len(numbers)), np.nan, dtype=np.float32)
    for at, name in enumerate(numbers):
        scores = components_of(base.windows[name].counts.sum(axis=0), 1)
        values = frame.sample.numbers[name]
        known = np.isfinite(values)
        if scores.shape[1]:
            found[known, at] = scores[bins_of(base.columns[name].grid, values[known]), 0]
    return found


def _nan_mean(values: Scores) -> Floats:
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(axis=0, dtype=np.float64) / np.maximum(
        known.sum(axis=0), 1
    )


def _group(
    columns: Sequence[Column],
    base: Frame,
    live: Frame,
    before: Scores,
    now: Scores,
    whole: Floats,
    numbers: Sequence[str],
) -> list[Part]:
    cells = 1
    codes = [np.zeros(len(before), dtype=np.int64), np.zeros(len(now), dtype=np.int64)]
    for column in columns:
        width = len(column.levels)
        for at, frame in enumerate((base, live)):
            own = frame.sample.codes[column.name]
            # rows of other texts belong to no part
            codes[at] = np.where(
                (own < width) & (codes[at] >= 0), codes[at] * width + own, -(1 << 40)
            )
        cells *= width
    (n, total), (m, now_total) = (
        _sums(code, rows, cells) for code, rows in zip(codes, (before, now), strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = now_total / m - total / n - whole
        # scores have spread 1, and the wobble that all windows share is in `whole`
        z = shift / np.sqrt(1 / n + 1 / m)
    live_rows, base_rows = max(len(now), 1), max(len(before), 1)
    wide = (m / live_rows >= LEAST_SHARE) & (n / base_rows >= LEAST_SHARE / 4)
    hits = np.argwhere(wide & (np.abs(z) >= LEAST_Z) & (np.abs(shift) >= LEAST_EFFECT))
    return [
        Part(
            where=_words(columns, int(cell)),
            share=float(m[cell, at] / live_rows),
            column=numbers[int(at)],
            effect=float(shift[cell, at]),
            z=float(z[cell, at]),
        )
        for cell, at in hits.tolist()
    ]


def _sums(codes: NDArray[np.int64], rows: Scores, cells: int) -> tuple[Floats, Floats]:
    """Return count and sum by cell, each of shape ``(cells, columns)``."""
    inside = np.flatnonzero(codes >= 0)
    one = sparse.csr_matrix(
        (np.ones(len(inside), dtype=np.float32), (codes[inside], inside)),
        shape=(cells, len(codes)),
    )
    known = np.isfinite(rows)
    if known.all():
        count = np.bincount(codes[inside], minlength=cells).astype(np.float64)[:, None]
        return np.broadcast_to(count, (cells, rows.shape[1])), np.asarray(one @ rows)
    values = np.where(known, rows, np.float32(0))
    return np.asarray(one @ known.astype(np.float32)), np.asarray(one @ values)


def _words(columns: Sequence[Column], cell: int) -> str:
    found: list[str] = []
    for column in reversed(columns):
        cell, at = divmod(cell, len(column.levels))
        found.append(f"{column.name} = {column.levels[at]}")
    return " and ".join(reversed(found))
