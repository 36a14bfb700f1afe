"""Phase I: what is usual, learned from live windows of what is deployed.

A baseline is the history of each charted statistic over quiet windows. Its limits come from
the variation *between* windows, never from the number of rows inside them, and are widened
for what is not known yet: few windows estimate neither the middle nor the spread well.

What survives what. The stream of all requests keeps its baseline through a swap of the model;
each model version's stream (its own features, raw confidence, hit rate) begins anew, because
another model's numbers are another quantity. A baseline learns from quiet windows only, and
late (`HOLD` windows behind), so that a beginning shift does not teach it; it learns nothing
while an incident is open.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import log, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from mlg.monitors.group_points import GroupBase, group_bases, group_points
from mlg.monitors.groups import UNSEEN
from mlg.monitors.points import Point, share_point
from mlg.monitors.windows import REQUESTS, Feature, Row, Summary, Window, merge
from mlg.stats import components

WINDOWS: Final = 20
"""Windows of phase I, if the manifest says nothing else."""

HOLD: Final = 10
"""Windows that wait before a baseline learns from them."""

LEARN: Final = 5
"""A baseline goes on learning until it has so many times its first number of windows."""

CONFIDENCE: Final = 0.9
"""Probability, over repeated baselines, that a limit is wide enough (one per side)."""

DOUBT: Final = 1.0
"""Standard errors by which a centre may be off."""

SURE: Final = 1.0
UNSURE: Final = 0.0
"""Standard errors by which windows may resemble each other more than they seem to: where they
clearly do, and where they may not at all. Simulated over repeated baselines of 100 windows,
over 95 % of the limits were wide enough; of 20 independent ones 92 %, and of 20 with an
autocorrelation of 0.3 or 0.6 83 to 87 %: to cover these too would cost twice the delay."""

MOST_LOST: Final = 0.5
"""Part of the spread that a mean of few windows may have taken along, at most."""

MAX_AR: Final = 0.8
"""Strongest autocorrelation allowed for: beyond, windows are too short to be charted."""

LEAST_SHARE: Final = 0.02
"""A level is charted on its own from this share on; the rarer ones are one chart together."""

ROWS: Final = 1_000
"""Rows of phase I kept to compare slices with."""

_TRIM: Final = 4.0
_EXTREME: Final = 3.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is usual for one statistic."""

    centre: float
    sigma: float
    """Between-window standard deviation, upper confidence bound."""
    ar: float
    """Lag-1 autocorrelation of windows, corrected for bias, 0..MAX_AR."""
    windows: int
    shown: float
    """The usual value as a person reads it."""

    @property
    def doubt(self) -> float:
        """Half-width of the centre's own confidence interval, in units of `value`."""
        spare = (1 + self.ar) / (1 - self.ar) / self.windows
        return DOUBT * self.sigma * sqrt(spare)


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
    values: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """History of each statistic over quiet windows, oldest first."""
    shown: dict[str, float] = field(default_factory=dict[str, float])
    noise: dict[str, float] = field(default_factory=dict[str, float])
    waiting: tuple[dict[str, float], ...] = ()
    """Statistics of the newest quiet windows, not yet learned from."""
    summaries: dict[str, Summary] = field(default_factory=dict[str, Summary])
    """Phase I as one summary a feature."""
    references: dict[str, Reference] = field(default_factory=dict[str, Reference])
    groups: dict[str, GroupBase] = field(default_factory=dict[str, GroupBase])
    """Phase I of features of several columns."""
    columns: tuple[Feature, ...] = ()
    rows: tuple[Row, ...] = ()
    """Sample of phase I, of equal chance for every row, to compare slices with."""

    @property
    def ready(self) -> bool:
        """Whether phase I is over."""
        return bool(self.references)


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


def reference_of(values: Sequence[float], *, shown: float, noise: float) -> Reference:
    """Return what is usual, from the values of quiet windows in time order.

    Values beyond 4 robust standard deviations are pulled back to there. The spread is the upper
    confidence bound of a normal sample's, at least what chance among rows would give. The
    autocorrelation is corrected for its small-sample bias, (1 + 3r)/W.

    Args:
        values: At least three values.
        shown: The usual value as a person reads it.
        noise: Least standard deviation to believe, > 0.

    Raises:
        ValueError: There are fewer than three values.

    Source:
        M. G. Kendall (1954), Biometrika 41:403-404 (bias of r); W. Albers, W. C. M.
        Kallenberg (2004), Journal of Statistical Planning and Inference 124:159-184
        (charts with estimated limits).
    """
    if len(values) < 3:
        raise ValueError(f"expected at least 3 windows, got {len(values)}")
    x = np.asarray(values)
    n = int(x.size)
    middle = float(np.median(x))
    robust = 1.4826 * float(np.median(np.abs(x - middle)))
    reach = _TRIM * max(robust, noise)
    x = np.clip(x, middle - reach, middle + reach)
    centre = float(x.mean())
    spread = float(x.std(ddof=1))
    gaps = x - centre
    scale = float((gaps**2).sum())
    r = float((gaps[1:] * gaps[:-1]).sum()) / scale if spread > noise else 0.0
    r = min(max(r + (1 + 3 * r) / n, 0.0), MAX_AR) if spread > noise else 0.0
    error = sqrt((1 - r * r) / n)
    if spread > noise:
        r = min(r + (SURE if r > error else UNSURE) * error, MAX_AR)
        # their mean took more of the spread along, and they say less of it
        lost = min((1 + r) / (1 - r) / n, MOST_LOST)
        spread *= sqrt((1 - 1 / n) / (1 - lost))
    spread *= _widening(max(3, round(n * (1 - r * r) / (1 + r * r))))
    return Reference(
        centre=centre,
        sigma=max(spread, noise),
        ar=r,
        windows=n,
        shown=shown,
    )


@lru_cache(maxsize=1_024)
def _widening(n: int) -> float:
    """Return the factor from a sample's spread to its upper confidence bound."""
    return sqrt((n - 1) / float(chi2.ppf(1 - CONFIDENCE, n - 1)))


def points_of(baseline: Baseline, window: Window) -> tuple[Point, ...]:
    """Return every statistic of a window that the baseline knows how to chart."""
    points: list[Point] = []
    levels = {feature.name: feature.levels for feature in window.columns}
    for summary in window.features:
        if not summary.n:
            continue
        points.append(share_point(f"{summary.name}.missing", summary.missing, summary.n))
        if levels.get(summary.name) is None:
            points.append(share_point(f"{summary.name}.infinite", summary.infinite, summary.n))
        known = sum(summary.counts)
        if not known:
            continue
        own = levels.get(summary.name)
        if own is not None:
            kept = baseline.kept.get(summary.name, ())
            # what was learned before they were told apart has both in one
            apart = (
                not baseline.ready or f"{summary.name}={UNSEEN}.share" in baseline.references
            )
            points += _level_points(summary, own, kept, known, apart=apart)
        elif summary.name in baseline.scores:
            own_points = _number_points(summary, baseline.scores[summary.name], known)
            # where half of all values are alike, a window of equal ones is no news
            points += own_points[: 1 if baseline.summaries[summary.name].modal > 0.5 else 2]
    points += group_points(baseline.groups, window)
    if window.n:
        # how often a version abstains is its own: another version is no drift of the requests
        way = "rescue" if window.stream == REQUESTS else "fallback"
        count = window.shares.get(f"served_by={way}", 0)
        points.append(share_point(f"served_by={way}.share", count, window.n))
    raw = window.confidence
    known = raw.n - raw.missing
    if known > 1 and window.stream != REQUESTS:
        noise = max(raw.sd, 1e-3) / sqrt(known)
        points.append(
            Point(
                metric="raw_confidence.mean", kind="mean", value=raw.mean, shown=raw.mean,
                n=known, noise=noise,
            )
        )  # fmt: skip
        points.append(_spread_point("raw_confidence", max(raw.sd, 1e-4), known, raw.sd))
    return tuple(points)


def learned(baseline: Baseline, window: Window) -> Baseline:
    """Return phase I with one more window; with the last one it ends and limits appear."""
    if baseline.ready:
        return baseline
    seen = (*baseline.seen, window)
    if len(seen) < baseline.wanted:
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
    rows = sorted((row for one in seen for row in one.rows), key=lambda row: row.rank)
    ready = Baseline(
        wanted=baseline.wanted,
        scores=scores,
        kept=kept,
        summaries=pooled,
        groups=group_bases(seen),
        columns=window.columns,
        rows=tuple(rows[:ROWS]),
    )
    history: dict[str, list[Point]] = {}
    for one in seen:
        for point in points_of(ready, one):
            history.setdefault(point.metric, []).append(point)
    enough = {name: points for name, points in history.items() if len(points) >= 3}
    values = {name: tuple(p.value for p in points) for name, points in enough.items()}
    shown = {
        name: float(np.median([p.shown for p in points])) for name, points in enough.items()
    }
    noise = {name: float(np.mean([p.noise for p in points])) for name, points in enough.items()}
    return replace(
        ready,
        values=values,
        shown=shown,
        noise=noise,
        references={
            name: reference_of(values[name], shown=shown[name], noise=noise[name])
            for name in values
        },
    )


def learn_on(
    baseline: Baseline, points: Mapping[str, float], calm: Collection[str]
) -> Baseline:
    """Return the baseline after one more quiet window of phase II.

    The window waits; the one that has waited longest is learned from, until the baseline has
    `LEARN` times its first number of windows.

    Args:
        baseline: Past phase I.
        points: The window's value of each statistic.
        calm: Statistics that are far from their limits now; the others learn nothing.
    """
    waiting = (*baseline.waiting, dict(points))
    if len(waiting) <= HOLD:
        return replace(baseline, waiting=waiting)
    oldest, waiting = waiting[0], waiting[1:]
    most = LEARN * baseline.wanted
    values, references = dict(baseline.values), dict(baseline.references)
    for name, known in baseline.values.items():
        if name in oldest and name in calm and len(known) < most:
            values[name] = (*known, oldest[name])
            if len(known) % max(1, len(known) // 20):
                continue  # a twentieth more hardly changes it, and costs as much as all
            references[name] = reference_of(
                values[name], shown=baseline.shown[name], noise=baseline.noise[name]
            )
    return replace(baseline, waiting=waiting, values=values, references=references)


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


def _level_points(
    summary: Summary, levels: tuple[str, ...], kept: tuple[int, ...], known: int, *, apart: bool
) -> list[Point]:
    points = [
        share_point(f"{summary.name}={levels[code]}.share", summary.counts[code], known)
        for code in kept
    ]
    unseen = summary.counts[-1] if apart else 0
    rare = known - unseen - sum(summary.counts[code] for code in kept)
    points.append(share_point(f"{summary.name}=(others).share", rare, known))
    if apart:
        points.append(share_point(f"{summary.name}={UNSEEN}.share", unseen, known))
    return points


def _number_points(summary: Summary, scores: Sequence[float], known: int) -> list[Point]:
    counts = np.asarray(summary.counts, dtype=np.float64)
    score = np.asarray(scores)
    mean = float(counts @ score) / known
    variance = float(counts @ (score - mean) ** 2) / known
    location = Point(
        metric=f"{summary.name}.location", kind="location", value=mean, shown=summary.mean,
        n=known, noise=1.0 / sqrt(known),
    )  # fmt: skip
    # all in one bin: a real spread inside a bin is about a tenth, a constant has none
    least = 0.1 if summary.m2 > 0 else 0.01
    return [
        location,
        _spread_point(summary.name, max(sqrt(variance), least), known, summary.sd),
    ]


def _spread_point(name: str, sd: float, known: int, shown: float) -> Point:
    return Point(
        metric=f"{name}.log_sd", kind="spread", value=log(sd), shown=shown, n=known,
        noise=1.0 / sqrt(2.0 * known),
    )  # fmt: skip
