"""Did a table drift from another one: each column's verdict, with the figures behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from mlg.monitors.check_defaults import ALPHA
from mlg.monitors.check_level import Levels, levels
from mlg.monitors.check_slices import Part, parts_of
from mlg.monitors.frame import Floats, Frame
from mlg.monitors.frame_series import Kind, Series, by_kind, series_of, variation
from mlg.stats.long_run import season_cycles

FLOOR: Final[Mapping[Kind, float]] = {
    "location": 0.05,
    "spread": 0.07,
    "shape": 0.05,
    "share": 0.01,
    "missing": 0.01,
}
"""Least change worth a verdict: 0.05 sd of a mean, 5 % of a spread, 0.05 of a component of
shape, a share by 0.01."""

Verdict = Literal["drift", "ok"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartFound:
    """One chart of one statistic."""

    chart: Literal["mean", "ewma", "slice", "schema"]
    metric: str
    """`age.location`, `country=BR.share`; the part in words of a `slice`."""
    statistic: float
    """In standard errors of what is charted."""
    limit: float
    effect: float
    """Standard deviations of the column, or a share."""
    window: int | None = None
    """Of `ewma`: the live window in which it was farthest out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFound:
    """One column."""

    feature: str
    verdict: Verdict
    charts: tuple[ChartFound, ...] = ()
    """Those beyond their limits, or else the one nearest to it; farthest first."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFound:
    """A part of the traffic within which a column moved."""

    where: str
    share: float
    feature: str
    effect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One statistic as a control chart draws it."""

    metric: str
    base: Floats
    """Each window of the baseline, as charted, ``(W,)``."""
    live: Floats
    ewma: Floats
    """Of the live windows, ``(V,)``."""
    centre: float
    limit: float
    """The EWMA's distance from the centre at which it is out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found."""

    verdict: Verdict
    rows: dict[str, int]
    windows: dict[str, int]
    features: tuple[FeatureFound, ...]
    slices: tuple[SliceFound, ...] = ()
    notes: tuple[str, ...] = ()
    alpha: float = ALPHA
    drawn: tuple[Drawn, ...] = field(default=(), repr=False)
    """Every statistic, for a drawing."""


def check_frames(
    base: Frame,
    live: Frame,
    *,
    alpha: float = ALPHA,
    changed: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> CheckReport:
    """Return what moved between two tables.

    A column drifts when a chart of one of its statistics is beyond its limit by a change that
    is worth a verdict, or when a part of at least 1 % of the rows is named in which it moved
    by 0.3 standard deviations more than the whole did.

    Args:
        base: The usual.
        live: Read with the base's bins and levels.
        alpha: Chance that a check of two tables that do not differ names any column; shared
            out over all charts.
        changed: Columns that are gone or of another type now, with the words for it.
        notes: What else is to be said.
    """
    series = series_of(base, live)
    seasons = _seasons(series)
    each = alpha / max(2 * len(series), 1)
    charts: dict[str, list[ChartFound]] = {}
    drawn: list[Drawn] = []
    for (kind, _), group in by_kind(series).items():
        for one, found, drawing in _judged(kind, group, each, seasons, base, live):
            charts.setdefault(one.column, []).extend(found)
            drawn.append(drawing)
    numbers = [name for name in live.columns if base.columns[name].kind == "number"]
    parts = {part.column: part for part in parts_of(base, live, numbers)}
    features: list[FeatureFound] = []
    changed = changed or {}
    for name in dict.fromkeys((*base.columns, *changed)):
        if name in changed:
            features.append(_schema(name, changed[name]))
        elif name in live.columns:
            note = base.notes.get(name, "") or live.notes.get(name, "")
            features.append(_feature(name, charts.get(name, []), parts.get(name), note))
    drifted = {one.feature for one in features if one.verdict == "drift"}
    return CheckReport(
        verdict="drift" if drifted else "ok",
        rows={"baseline": base.rows, "live": live.rows},
        windows={"baseline": _windows(base), "live": _windows(live)},
        features=tuple(features),
        slices=tuple(
            SliceFound(where=p.where, share=p.share, feature=p.column, effect=p.effect)
            for p in parts.values()
            if p.column in drifted
        ),
        notes=tuple(notes),
        alpha=alpha,
        drawn=tuple(drawn),
    )


def _windows(frame: Frame) -> int:
    return max((len(one.n) for one in frame.windows.values()), default=0)


def _schema(name: str, words: str) -> FeatureFound:
    chart = ChartFound(chart="schema", metric=f"{name}.schema", statistic=1.0, limit=0.0,
                       effect=1.0)  # fmt: skip
    return FeatureFound(feature=name, verdict="drift", charts=(chart,), note=words)


def _seasons(series: Sequence[Series]) -> tuple[float, float]:
    """Return the cycles of a season that the means of many columns share, in each table."""
    group = [one for one in series if one.kind == "location"]
    if not group:
        return 0.0, 0.0
    longest = max(len(one.base) for one in group)
    same = [one for one in group if len(one.base) == longest]
    base = season_cycles(_matrix([one.base for one in same]))
    if not base:
        return 0.0, 0.0
    live = season_cycles(_matrix([one.live for one in same]))
    return base, live


def _matrix(rows: Sequence[Floats]) -> Floats:
    """Return series as a matrix; a window without a value has the mean of the others."""
    matrix = np.array(rows, dtype=np.float64)
    known = np.isfinite(matrix)
    means = np.where(known, matrix, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, matrix, means[:, None])


def _judged(
    kind: Kind,
    group: Sequence[Series],
    alpha: float,
    seasons: tuple[float, float],
    base: Frame,
    live: Frame,
) -> list[tuple[Series, list[ChartFound], Drawn]]:
    usable = [
        one for one in group if np.isfinite(one.base).any() and np.isfinite(one.live).any()
    ]
    if not usable:
        return []
    found = levels(
        _matrix([one.base for one in usable]),
        _matrix([one.live for one in usable]),
        np.array([max(one.noise, 1e-9) for one in usable]),
        np.array([max(one.live_noise, 1e-9) for one in usable]),
        alpha=alpha,
        seasons=seasons,
    )
    return [
        (one, _charts(kind, one, at, found, base, live), _drawn(one, at, found))
        for at, one in enumerate(usable)
    ]


def _drawn(one: Series, at: int, found: Levels) -> Drawn:
    centre = float(found.centre[at])
    return Drawn(
        metric=one.metric,
        base=one.base,
        live=one.live,
        ewma=centre + found.ewma_track[at],
        centre=centre,
        limit=found.ewma_limit * float(found.ewma_unit[at]),
    )


def _charts(
    kind: Kind, one: Series, at: int, found: Levels, base: Frame, live: Frame
) -> list[ChartFound]:
    shifts = [float(found.mean_shift[at]), float(found.ewma_shift[at])]
    if kind in {"share", "missing"}:
        centre = float(found.centre[at])
        shifts = [_share(centre + shift) - _share(centre) for shift in shifts]
        if kind == "share":  # small moves of many levels are one change
            moved = variation(base.windows[one.column], live.windows[one.column])
            shifts[0] = max(abs(shifts[0]), moved) * (1 if shifts[0] >= 0 else -1)
    return [
        ChartFound(chart="mean", metric=one.metric, statistic=float(found.mean[at]),
                   limit=found.mean_limit, effect=shifts[0]),
        ChartFound(chart="ewma", metric=one.metric, statistic=float(found.ewma[at]),
                   limit=found.ewma_limit, effect=shifts[1], window=int(found.ewma_at[at])),
    ]  # fmt: skip


def _share(angle: float) -> float:
    return float(np.sin(min(max(angle, 0.0), np.pi / 2)) ** 2)


def _feature(
    name: str, charts: Sequence[ChartFound], part: Part | None, note: str
) -> FeatureFound:
    ordered = sorted(charts, key=lambda one: -abs(one.statistic) / one.limit)
    beyond = [one for one in ordered if _beyond(one)]
    if part is not None:
        beyond.append(
            ChartFound(chart="slice", metric=part.where, statistic=part.z, limit=6.5,
                       effect=part.effect)
        )  # fmt: skip
    if beyond:
        return FeatureFound(feature=name, verdict="drift", charts=tuple(beyond), note=note)
    if not ordered and not note:
        note = "constant: nothing to chart"
    return FeatureFound(feature=name, verdict="ok", charts=tuple(ordered[:1]), note=note)


def _beyond(one: ChartFound) -> bool:
    return abs(one.statistic) > one.limit and abs(one.effect) >= FLOOR[_kind(one.metric)]


def _kind(metric: str) -> Kind:
    word = metric.rpartition(".")[2]
    if word in {"skew", "tails"}:
        return "shape"
    return {"infinite": "missing"}.get(word, word)  # type: ignore[return-value]
