"""What is charted of a table: a handful of statistics a column, one value a window."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from mlg.monitors.frame import Column, Counts, Floats, Frame, Windows
from mlg.monitors.points import angles
from mlg.stats.components import components_of

Kind = Literal["location", "spread", "shape", "share", "missing"]

LEAST_MISSING: Final = 1e-9
_NAMES: Final = ("location", "spread", "skew", "tails")
_KINDS: Final[tuple[Kind, ...]] = ("location", "spread", "shape", "shape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One statistic over the windows of both tables."""

    column: str
    metric: str
    """`age.location`, `country=BR.share`, `age.missing`."""
    kind: Kind
    base: Floats
    """Shape ``(W,)``, as charted; NaN where a window has no value."""
    live: Floats
    noise: float
    """Standard deviation that independent rows alone would give a window of the baseline."""
    live_noise: float


def series_of(base: Frame, live: Frame) -> list[Series]:
    """Return every statistic of the columns that both tables have."""
    found: list[Series] = []
    for name, column in base.columns.items():
        if name in live.columns:
            pair = base.windows[name], live.windows[name]
            found += _missing(name, *pair)
            found += (
                _numbers(column, *pair) if column.kind == "number" else _texts(column, *pair)
            )
    return found


def shares_of(counts: Counts, rows: Counts) -> Floats:
    """Return counts as shares of rows; NaN where there is no row."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rows > 0, counts / rows, np.nan)


def _share(column: str, metric: str, kind: Kind, pairs: tuple[Counts, Counts, Counts, Counts]
) -> Series:  # fmt: skip
    base, base_rows, live, live_rows = pairs
    return Series(
        column=column,
        metric=metric,
        kind=kind,
        base=angles(base, base_rows),
        live=angles(live, live_rows),
        noise=_noise(base_rows, 0.5),
        live_noise=_noise(live_rows, 0.5),
    )


def _noise(rows: Counts, one: float) -> float:
    some = rows[rows > 0]
    return one / float(np.sqrt(some.mean())) if some.size else 0.0


def _missing(name: str, base: Windows, live: Windows) -> list[Series]:
    found: list[Series] = []
    for word in ("missing", "infinite"):
        before, now = getattr(base, word), getattr(live, word)
        if before.any() or now.any():
            pairs = (before, base.n, now, live.n)
            found.append(_share(name, f"{name}.{word}", "missing", pairs))
    return found


def _numbers(column: Column, base: Windows, live: Windows) -> list[Series]:
    known, live_known = base.counts.sum(axis=1), live.counts.sum(axis=1)
    if not known.any() or base.counts.shape[1] < 2:
        return []
    scores = components_of(base.counts.sum(axis=0))
    return [
        Series(
            column=column.name,
            metric=f"{column.name}.{name}",
            kind=kind,
            base=_means(base.counts, scores[:, at], known),
            live=_means(live.counts, scores[:, at], live_known),
            noise=_noise(known, 1.0),
            live_noise=_noise(live_known, 1.0),
        )
        for at, (name, kind) in enumerate(zip(_NAMES, _KINDS, strict=True))
        if at < scores.shape[1]
    ]


def _means(counts: Counts, scores: Floats, known: Counts) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known > 0, counts @ scores / known, np.nan)


def _texts(column: Column, base: Windows, live: Windows) -> list[Series]:
    known, live_known = base.n - base.missing, live.n - live.missing
    found: list[Series] = []
    labels = [*(f"={level}" for level in column.levels), "=(other)", "=(unseen)"]
    for at, label in enumerate(labels):
        before, now = base.counts[:, at], live.counts[:, at]
        if not before.any() and not now.any():
            continue
        pairs = (before, known, now, live_known)
        if label == "=(unseen)":  # what is known was learned from the first half
            half = len(before) - len(before) // 2
            pairs = (before[half:], known[half:], now, live_known)
        found.append(_share(column.name, f"{column.name}{label}.share", "share", pairs))
    return found


def variation(base: Windows, live: Windows) -> float:
    """Return the total variation between the shares of both tables, 0..1; 0 without rows."""
    p, q = base.counts.sum(axis=0), live.counts.sum(axis=0)
    if not p.sum() or not q.sum():
        return 0.0
    return float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)


def by_kind(series: list[Series]) -> Mapping[tuple[Kind, int], list[Series]]:
    """Return the series of one kind and length together: they are judged together."""
    groups: dict[tuple[Kind, int], list[Series]] = {}
    for one in series:
        groups.setdefault((one.kind, len(one.base)), []).append(one)
    return groups
