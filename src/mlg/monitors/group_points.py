"""What is usual for tags and vectors, and a window's statistics of them.

A vector is watched by its length, by its first principal components, learned in phase I, and
by the maximum mean discrepancy between the window's sample and phase I's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final
from zlib import crc32

import numpy as np

from mlg.monitors.groups import UNSEEN, Group, Grouped, merged, parts_of
from mlg.monitors.points import Point, share_point
from mlg.monitors.vectors import TOGETHER
from mlg.monitors.windows import Floats, Window, sample_matrix

COMPONENTS: Final = 5
FOURIER: Final = 128
"""Random Fourier features of the kernel."""
LEAST_TAG: Final = 0.02
"""A tag that so many rows carry has a chart of its own; the rarer ones are one together."""
_LEAST_ROWS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBase:
    """What phase I says of one feature; goes through msgspec both ways, and is bounded."""

    pooled: Grouped
    kept: tuple[int, ...] = ()
    """Tags with a chart of their own."""
    components: tuple[tuple[float, ...], ...] = ()
    """Directions, each of length 1."""
    spread: tuple[float, ...] = ()
    """Standard deviation along each."""
    width: float = 0.0
    """Of the kernel: the median distance between rows; 0: no kernel, rows are all alike."""
    embedded: tuple[float, ...] = ()
    """Mean random features of phase I's sample."""


def group_bases(windows: Sequence[Window]) -> dict[str, GroupBase]:
    """Return what the windows of phase I say of each group."""
    pooled: dict[str, Grouped] = {}
    for window in windows:
        for one in window.groups:
            before = pooled.get(one.name)
            pooled[one.name] = one if before is None else merged(before, one)
    if not pooled:
        return {}
    columns = windows[-1].columns
    rows = np.concatenate([sample_matrix(columns, window.rows) for window in windows])
    groups = parts_of([column.name for column in columns])
    return {name: _base(one, groups[name], rows) for name, one in pooled.items()}


def _base(pooled: Grouped, group: Group, rows: Floats) -> GroupBase:
    known = pooled.n - pooled.missing
    if pooled.shape == "tags":
        kept = [
            code
            for code, count in enumerate(pooled.counts)
            if pooled.parts[code] != UNSEEN and known and count / known >= LEAST_TAG
        ]
        return GroupBase(pooled=pooled, kept=tuple(kept))
    x = _whole(group, rows)
    if len(x) < _LEAST_ROWS:
        return GroupBase(pooled=pooled)
    centred = x - x.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    spread = sizes / sqrt(len(x) - 1)
    real = spread > 1e-9 * max(float(np.abs(x).max()), 1e-9)
    directions, spread = directions[real][:COMPONENTS], spread[real][:COMPONENTS]
    gaps = np.linalg.norm(x[: len(x) // 2] - x[-(len(x) // 2) :], axis=1)
    width = float(np.median(gaps))
    embedded = _embedded(group.name, x, width).mean(axis=0) if width > 0 else np.zeros(0)
    return GroupBase(
        pooled=pooled,
        components=tuple(tuple(one) for one in directions.tolist()),
        spread=tuple(spread.tolist()),
        width=width,
        embedded=tuple(embedded.tolist()),
    )


def _whole(group: Group, rows: Floats) -> Floats:
    x = rows[:, list(group.columns)]
    return x[np.isfinite(x).all(axis=1)]


def _embedded(name: str, x: Floats, width: float) -> Floats:
    r"""Return random features whose products are about :math:`\exp(-|x-y|^2/(2 h^2))`.

    Source:
        A. Rahimi, B. Recht (2007), Random features for large-scale kernel machines, NIPS.
    """
    rng = np.random.default_rng(crc32(name.encode()))
    directions = rng.normal(size=(x.shape[1], FOURIER))
    phases = rng.uniform(0, 2 * np.pi, FOURIER)
    return sqrt(2 / FOURIER) * np.cos(x @ directions / width + phases)


def discrepancy(name: str, base: GroupBase, x: Floats) -> float:
    """Return the squared maximum mean discrepancy of rows from phase I's, unbiased in the rows.

    Args:
        name: The feature, from which its random directions come.
        base: Of phase I, with a kernel.
        x: At least two finite rows, shape ``(n, parts)``.

    Source:
        A. Gretton et al. (2012), A kernel two-sample test, JMLR 13:723-773.
    """
    own = _embedded(name, x, base.width)
    mean, usual, n = own.mean(axis=0), np.array(base.embedded), len(x)
    inside = (n * n * float(mean @ mean) - float((own * own).sum())) / (n * (n - 1))
    return inside + float(usual @ usual) - 2 * float(mean @ usual)


def group_points(bases: Mapping[str, GroupBase], window: Window) -> list[Point]:
    """Return the statistics of a window's groups that phase I knows."""
    points: list[Point] = []
    groups = parts_of([column.name for column in window.columns])
    sample: Floats | None = None
    for one in window.groups:
        base = bases.get(one.name)
        if base is None or not one.n or one.parts != base.pooled.parts:
            continue
        known = one.n - one.missing
        points.append(share_point(f"{one.name}.missing", one.missing, one.n))
        points.append(share_point(f"{one.name}.infinite", one.infinite, one.n))
        if not known:
            continue
        if one.shape == "tags":
            points += _tag_points(one, base, known)
            continue
        points += _component_points(one, base, known)
        if sample is None:
            sample = sample_matrix(window.columns, window.rows)
        x = _whole(groups[one.name], sample)
        if base.width > 0 and len(x) >= _LEAST_ROWS:
            value = discrepancy(one.name, base, x)
            points.append(
                Point(
                    metric=f"{one.name}=discrepancy.mean", kind="mean", value=value,
                    shown=value, n=len(x), noise=0.5 / len(x),
                )
            )  # fmt: skip
    return points


def _tag_points(one: Grouped, base: GroupBase, known: int) -> list[Point]:
    points = [
        share_point(f"{one.name}={one.parts[code]}.share", one.counts[code], known)
        for code in base.kept
    ]
    rare = 0
    for code, part in enumerate(one.parts):
        if part == UNSEEN:
            points.append(share_point(f"{one.name}={UNSEEN}.share", one.counts[code], known))
        elif code not in base.kept:
            rare += one.counts[code]
    # a row may carry several: at most one a row counts here
    return [*points, share_point(f"{one.name}=(others).share", min(rare, known), known)]


def _component_points(one: Grouped, base: GroupBase, known: int) -> list[Point]:
    usual = base.pooled
    had = usual.n - usual.missing
    if not had or not base.components:
        return []
    gap = np.array(one.sums) / known - np.array(usual.sums) / had
    values = (np.array(base.components) @ gap) / np.array(base.spread)
    away = float(np.linalg.norm(values))
    together = Point(
        metric=f"{one.name}{TOGETHER}", kind="location", value=away, shown=away, n=known,
        noise=1 / sqrt(known),
    )  # fmt: skip
    return [
        together,
        *(
            Point(
                metric=f"{one.name}=component {place}.location", kind="location", value=value,
                shown=value, n=known, noise=1 / sqrt(known),
            )
            for place, value in enumerate(values.tolist(), start=1)
        ),
    ]  # fmt: skip
