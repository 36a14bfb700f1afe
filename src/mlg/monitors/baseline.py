"""Phase I: what is usual, learned from live windows of what is deployed.

What is charted of a stream is chosen from its first windows, and what is usual for each of
these statistics is learned from them (`usual`). Limits come from the variation *between*
windows, never from the number of rows inside them, and are widened for what is not known yet:
few windows estimate neither the middle nor the spread well.

What survives what. The stream of all requests keeps its baseline through a swap of the model;
each model version's stream (its own features, raw confidence, hit rate) begins anew, because
another model's numbers are another quantity. A baseline learns from quiet windows only, and
late (`HOLD` windows behind), so that a beginning shift does not teach it; it learns nothing
while an incident is open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import log, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlg.core.clock import parse_time
from mlg.monitors.group_points import GroupBase, group_bases, group_points
from mlg.monitors.groups import UNSEEN
from mlg.monitors.packed import array, packed
from mlg.monitors.points import Collected, Kind, Point, Points
from mlg.monitors.usual import Usual, fitted, learn
from mlg.monitors.windows import REQUESTS, Feature, Row, Summary, Window, merge
from mlg.stats import components

WINDOWS: Final = 20
"""Windows of phase I, if the manifest says nothing else."""

HOLD: Final = 10
"""Windows that wait before a baseline learns from them."""

MEMORY: Final = 5
"""A baseline remembers so many times its first number of windows."""

LEAST: Final = 3
"""Windows of phase I that must have a statistic, for it to be charted, and a quarter of all."""

LEAST_SHARE: Final = 0.02
"""A level is charted on its own from this share on; the rarer ones are one chart together."""

ROWS: Final = 1_000
"""Rows of phase I kept to compare slices with."""

_SAMPLED: Final = 4_000
_LEAST_ROWS: Final = 5
"""Rows that phase I holds of all its windows together, and at least of each."""
_EXTREME: Final = 3.0
_KINDS: Final[dict[str, Kind]] = {"location": "location", "log_sd": "spread", "mean": "mean"}

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The statistics of a quiet window that is not yet learned from."""

    at_s: float
    values: bytes
    """Little-endian float64 in the order of the baseline's statistics; NaN: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was learned of one stream; goes through msgspec both ways, and is bounded."""

    wanted: int = WINDOWS
    seen: tuple[Window, ...] = ()
    """Windows of phase I while it lasts."""
    scores: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """Normal score of each bin of a number, from all bins of phase I together."""
    kept: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Levels of a text with a chart of their own, as codes."""
    usual: Usual | None = None
    """What is usual for each statistic; None during phase I."""
    held: tuple[Held, ...] = ()
    """The newest quiet windows, not yet learned from."""
    summaries: dict[str, Summary] = field(default_factory=dict[str, Summary])
    """Phase I as one summary a feature."""
    modal: frozenset[str] = frozenset()
    """Numbers of which half of all values are alike: their spread is not charted."""
    groups: dict[str, GroupBase] = field(default_factory=dict[str, GroupBase])
    """Phase I of features of several columns."""
    columns: tuple[Feature, ...] = ()
    rows: tuple[Row, ...] = ()
    """Sample of phase I, of equal chance for every row, to compare slices with."""
    values: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    shown: dict[str, float] = field(default_factory=dict[str, float])
    noise: dict[str, float] = field(default_factory=dict[str, float])
    """Histories as they were stored before there were sums; empty once they are fitted."""

    @property
    def ready(self) -> bool:
        """Whether phase I is over."""
        return self.usual is not None or bool(self.values)


def normal_scores(counts: Sequence[int]) -> tuple[float, ...]:
    """Return the mean standard normal score of each bin, given how many values fell into it.

    A feature charted on these scores has mean 0 and spread near 1 in the reference whatever
    its distribution, so one wild value moves a window's mean no further than any other.

    Args:
        counts: Values per bin in rising order; bins without any get the score of their place,
            outer ones at most 3 in size.

    Examples:
        >>> [round(s, 3) for s in normal_scores([50, 50])]
        [-0.798, 0.798]
    """
    scores = components.normal_scores(np.asarray(counts, dtype=np.float64))
    return tuple(np.clip(scores, -_EXTREME, _EXTREME).tolist())


def points_of(baseline: Baseline, window: Window) -> Points:
    """Return every statistic of a window that the baseline knows how to chart."""
    points = Collected()
    numbers: list[Summary] = []
    levels = {feature.name: feature.levels for feature in window.columns}
    usual = baseline.usual
    for summary in window.features:
        if not summary.n:
            continue
        name, own = summary.name, levels.get(summary.name)
        points.share(f"{name}.missing", summary.missing, summary.n)
        if own is None:
            points.share(f"{name}.infinite", summary.infinite, summary.n)
        known = sum(summary.counts)
        if known and own is not None:
            kept = baseline.kept.get(name, ())
            # what was learned before they were told apart has both in one
            apart = usual is None or f"{name}={UNSEEN}.share" in usual.metrics
            _add_levels(points, summary, own, kept, known, apart=apart)
        elif known and name in baseline.scores:
            numbers.append(summary)
    if window.n:
        # how often a version abstains is its own: another version is no drift of the requests
        way = "rescue" if window.stream == REQUESTS else "fallback"
        count = window.shares.get(f"served_by={way}", 0)
        points.share(f"served_by={way}.share", count, window.n)
    points.block(_number_points(baseline, numbers))
    points.add(group_points(baseline.groups, window))
    raw = window.confidence
    known = raw.n - raw.missing
    if known > 1 and window.stream != REQUESTS:
        noise = max(raw.sd, 1e-3) / sqrt(known)
        mean = Point(
            metric="raw_confidence.mean", kind="mean", value=raw.mean, shown=raw.mean, n=known,
            noise=noise,
        )  # fmt: skip
        points.add((mean, _spread_point("raw_confidence", max(raw.sd, 1e-4), known, raw.sd)))
    return points.done()


def learned(baseline: Baseline, window: Window) -> Baseline:
    """Return phase I with one more window; with the last one it ends and limits appear."""
    if baseline.ready:
        return baseline
    most = max(_SAMPLED // baseline.wanted, _LEAST_ROWS)
    seen = (*baseline.seen, replace(window, rows=_smallest(window.rows, most)))
    if len(seen) < max(baseline.wanted, LEAST):
        return replace(baseline, seen=seen)
    pooled = _pooled(seen)
    scores: dict[str, tuple[float, ...]] = {}
    kept: dict[str, tuple[int, ...]] = {}
    by_name = {feature.name: feature for feature in window.columns}
    for name, summary in pooled.items():
        if by_name[name].levels is None:
            scores[name] = normal_scores(summary.counts)
        else:
            kept[name] = _own_levels(by_name[name], summary)
    rows = _smallest([row for one in seen for row in one.rows], ROWS)
    ready = Baseline(
        wanted=baseline.wanted,
        scores=scores,
        kept=kept,
        summaries=pooled,
        modal=frozenset(name for name in scores if pooled[name].modal > 0.5),
        groups=group_bases(seen),
        columns=window.columns,
        rows=rows,
    )
    history = [points_of(ready, one) for one in seen]
    at_s = [parse_time(one.end).timestamp() for one in seen]
    return replace(ready, usual=usual_of(history, at_s, memory=MEMORY * baseline.wanted))


def usual_of(history: Sequence[Points], at_s: Sequence[float], *, memory: float) -> Usual:
    """Return what is usual from windows' statistics: of those that a quarter of them have.

    Args:
        history: Of each window in time order, at least `LEAST`.
        at_s: Event time of each, seconds since 1970.
        memory: Windows that are remembered.

    Raises:
        ValueError: There are fewer windows.
    """
    kinds: dict[str, Kind] = {
        m: k for one in history for m, k in zip(one.metrics, one.kinds, strict=True)
    }
    metrics = tuple(kinds)
    ordered = [one.in_order(metrics) for one in history]
    values = np.stack([one.value for one in ordered])
    often = (~np.isnan(values)).sum(axis=0) >= max(LEAST, len(values) // 4)
    values = values[:, often]
    shown = np.nanmedian(np.stack([one.shown for one in ordered])[:, often], axis=0)
    noise = np.nanmean(np.stack([one.noise for one in ordered])[:, often], axis=0)
    metrics = tuple(m for m, there in zip(metrics, often.tolist(), strict=True) if there)
    return fitted(
        values, np.array(at_s), metrics=metrics, kinds=[kinds[m] for m in metrics],
        shown=shown.tolist(), noise=noise, memory=memory,
    )  # fmt: skip


def refitted(baseline: Baseline) -> Baseline:
    """Return the baseline with its sums, where it was stored before there were any."""
    if baseline.usual is not None or not baseline.values:
        return baseline
    metrics = tuple(baseline.values)
    kinds: list[Kind] = [_kind_of(metric) for metric in metrics]
    n = max(len(one) for one in baseline.values.values())
    values = np.full((n, len(metrics)), np.nan)
    for place, metric in enumerate(metrics):
        own = baseline.values[metric]
        values[n - len(own) :, place] = own
    usual = fitted(
        values, np.zeros(n), metrics=metrics, kinds=kinds,
        shown=[baseline.shown[metric] for metric in metrics],
        noise=np.array([baseline.noise[metric] for metric in metrics]),
        memory=MEMORY * baseline.wanted,
    )  # fmt: skip
    return replace(baseline, usual=usual, values={}, shown={}, noise={})


def _kind_of(metric: str) -> Kind:
    last = metric.rpartition(".")[2]
    return _KINDS.get(last, "share")


def learn_on(baseline: Baseline, values: Floats, at_s: float, calm: Bools) -> Baseline:
    """Return the baseline after one more quiet window of phase II.

    The window waits; the one that has waited longest is learned from.

    Args:
        baseline: Past phase I.
        values: The window's statistics in the baseline's order; NaN: it has none.
        at_s: Event time of the window.
        calm: Statistics that are far from their limits now; the others learn nothing.
    """
    held = (*baseline.held, Held(at_s=at_s, values=packed(values)))
    if len(held) <= HOLD or baseline.usual is None:
        return replace(baseline, held=held)
    oldest = array(held[0].values)
    usual = learn(baseline.usual, oldest, held[0].at_s, calm)
    return replace(baseline, held=held[1:], usual=usual)


def _smallest(rows: Sequence[Row], most: int) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: row.rank)[:most])


def _pooled(windows: Sequence[Window]) -> dict[str, Summary]:
    pooled: dict[str, Summary] = {}
    for window in windows:
        for summary in window.features:
            before = pooled.get(summary.name)
            pooled[summary.name] = summary if before is None else merge(before, summary)
    return pooled


def _own_levels(feature: Feature, summary: Summary) -> tuple[int, ...]:
    total = max(sum(summary.counts), 1)
    size = len(feature.levels or ())
    return tuple(code for code in range(size) if summary.counts[code] / total >= LEAST_SHARE)


def _add_levels(
    points: Collected, summary: Summary, levels: tuple[str, ...], kept: tuple[int, ...],
    known: int, *, apart: bool,
) -> None:  # fmt: skip
    name, counts = summary.name, summary.counts
    for code in kept:
        points.share(f"{name}={levels[code]}.share", counts[code], known)
    unseen = counts[-1] if apart else 0
    rare = known - unseen - sum(counts[code] for code in kept)
    points.share(f"{name}=(others).share", rare, known)
    if apart:
        points.share(f"{name}={UNSEEN}.share", unseen, known)


def _number_points(baseline: Baseline, summaries: Sequence[Summary]) -> Points:
    """Return where numbers lie and how wide they are, by the normal scores of their bins."""
    if not summaries:
        return Points.of(())
    names = [summary.name for summary in summaries]
    scores = _rows([baseline.scores[name] for name in names])
    counts = _rows([summary.counts for summary in summaries])
    known = counts.sum(axis=1)
    mean = (counts * scores).sum(axis=1) / known
    sd = np.sqrt((counts * (scores - mean[:, None]) ** 2).sum(axis=1) / known)
    # all in one bin: a real spread inside a bin is about a tenth, a constant has none
    least = np.where(np.array([summary.m2 for summary in summaries]) > 0, 0.1, 0.01)
    # where half of all values are alike, a window of equal ones is no news
    wide = [place for place, name in enumerate(names) if name not in baseline.modal]
    log_sd = np.log(np.maximum(sd, least))[wide]
    spread = np.array([summary.sd for summary in summaries])[wide]
    return Points(
        metrics=(
            *(f"{name}.location" for name in names),
            *(f"{names[place]}.log_sd" for place in wide),
        ),
        kinds=("location",) * len(names) + ("spread",) * len(wide),
        value=np.append(mean, log_sd),
        shown=np.append([summary.mean for summary in summaries], spread),
        n=np.append(known, known[wide]),
        noise=np.append(1 / np.sqrt(known), 1 / np.sqrt(2 * known[wide])),
    )


def _rows(rows: Sequence[Sequence[float]]) -> Floats:
    """Return rows as a matrix; shorter ones end with zeros."""
    width = max(map(len, rows))
    if all(len(row) == width for row in rows):
        return np.array(rows, dtype=np.float64)
    return np.array([[*row, *(0.0,) * (width - len(row))] for row in rows])


def _spread_point(name: str, sd: float, known: int, shown: float) -> Point:
    return Point(
        metric=f"{name}.log_sd", kind="spread", value=log(sd), shown=shown, n=known,
        noise=1.0 / sqrt(2.0 * known),
    )  # fmt: skip
