"""Phase II: a window of each stream against its limits, and what signals in it.

Of the numbers behind a signal see `charts`; of what they are compared with, `usual`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from mlg.core.clock import parse_time
from mlg.monitors.baseline import (
    LEAST,
    MEMORY,
    Baseline,
    learn_on,
    learned,
    points_of,
    refitted,
    usual_of,
)
from mlg.monitors.budget import Budget, ChartLimits
from mlg.monitors.calibrate import Calibration, counted
from mlg.monitors.charts import CHARTS, Chart, Charts, Step, advanced, begun
from mlg.monitors.group_quality import GAP, figures, group_points
from mlg.monitors.points import Kind, Point, Points
from mlg.monitors.usual import Usual
from mlg.monitors.windows import Quality, Row, Window

CALM: Final = 0.5
"""A statistic teaches its baseline only while its EWMA is within this part of its limit."""

RECENT: Final = 5
"""Windows whose sampled rows are kept, to find the slice that changed."""

QUALITY: Final = "quality:"
"""Before the version in the stream of signals about what became of its answers."""

LEAST_LABELLED: Final = 0.5
"""A window with a smaller share of known labels is not charted for quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A statistic that left its limits and stayed out."""

    stream: str
    metric: str
    feature: str
    """The logged feature behind it; `raw_confidence`, `hit_rate`, … where there is none."""
    chart: Chart
    kind: Kind
    statistic: float
    """The chart's own value, in standard deviations between windows."""
    limit: float
    """The limit that it passed; same unit, same sign."""
    effect: float
    """Change of the statistic: sd of the feature, log of the sd, share, or mean."""
    usual: float
    """As a person reads it."""
    now: float
    small: bool
    """Below the floor over the whole feature: a page only if a slice of it is not."""
    window: int
    start: str
    end: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """Baseline and charts of one stream; goes through msgspec both ways."""

    baseline: Baseline = field(default_factory=Baseline)
    running: Charts = field(default_factory=Charts)
    quality_seen: tuple[Quality, ...] = ()
    """Windows' quality during its phase I."""
    quality_base: Baseline = field(default_factory=Baseline)
    quality_running: Charts = field(default_factory=Charts)
    recent: tuple[tuple[Row, ...], ...] = ()
    """Sampled rows of the newest windows, newest last."""
    immature: int = 0
    """Windows whose labels were too few to be charted."""

    @property
    def alarmed(self) -> bool:
        """Whether any chart was out in its newest window."""
        return self.running.alarmed or self.quality_running.alarmed

    @property
    def charts(self) -> int:
        """How many charts it has of what moves: two a statistic, one a vector."""
        return _charts(self.baseline.usual) + _charts(self.quality_base.usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """All streams of one monitor."""

    streams: dict[str, StreamState] = field(default_factory=dict[str, StreamState])
    wanted: int = 20
    """Windows of phase I of each stream."""
    calibration: Calibration = field(default_factory=Calibration)


def evaluate(
    state: MonitorState,
    window: Window | Quality,
    *,
    budget: Budget | ChartLimits,
    frozen: bool = False,
) -> tuple[MonitorState, tuple[Signal, ...]]:
    """Return the state after one window, and what signals in it.

    Args:
        state: Baselines and charts so far; not changed.
        window: A closed window, or the quality of an earlier one. Of one stream in order.
        budget: How often the monitor may be wrong; or limits as they are, to try them.
        frozen: An incident is open: charts go on, baselines learn nothing.

    Returns:
        New state; signals, empty during phase I and while all is usual. A statistic that a
        window lacks (a feature without one finite value) keeps its chart as it was.
    """
    name = window.version if isinstance(window, Quality) else window.stream
    stream = state.streams.get(name) or StreamState(baseline=Baseline(wanted=state.wanted))
    before = replace(stream, baseline=refitted(stream.baseline))
    limits, near = _limits(budget, charts_of(state), state.calibration)
    if isinstance(window, Quality):
        stream, points, step = _quality(before, window, limits, near, frozen=frozen)
    else:
        stream, points, step = _window(before, window, limits, near, frozen=frozen)
    calibration = state.calibration
    if step is not None and isinstance(budget, Budget) and not frozen:
        calibration = _counted(calibration, window, stream, step, near)
    state = replace(state, streams={**state.streams, name: stream}, calibration=calibration)
    if step is None or points is None or not step.signals.any():
        return state, ()
    place = f"{QUALITY}{name}" if isinstance(window, Quality) else name
    return state, _signals(step, points, window, place)


def _limits(
    budget: Budget | ChartLimits, charts: int, calibration: Calibration
) -> tuple[ChartLimits, ChartLimits]:
    if isinstance(budget, ChartLimits):
        return budget, budget
    return budget.limits(charts, calibration.rate), budget.near(charts, calibration.rate)


def relearned(state: MonitorState, streams: Sequence[str]) -> MonitorState:
    """Return the state with phase I begun anew for these streams: what is usual has changed."""
    return replace(
        state,
        streams={
            name: StreamState(baseline=Baseline(wanted=state.wanted))
            if name in streams
            else one
            for name, one in state.streams.items()
        },
    )


def charts_of(state: MonitorState) -> int:
    """Return how many charts the streams that are past phase I have."""
    return sum(one.charts for one in state.streams.values())


def _charts(usual: Usual | None) -> int:
    if usual is None:
        return 0
    together = sum(2 * len(one.parts) + 1 for one in usual.vectors)
    return max(2 * usual.moving - together, 1)


def _window(
    stream: StreamState, window: Window, limits: ChartLimits, near: ChartLimits, *, frozen: bool
) -> tuple[StreamState, Points | None, Step | None]:
    baseline = stream.baseline
    if baseline.usual is None:
        if frozen:
            return stream, None, None
        return replace(stream, baseline=learned(baseline, window)), None, None
    points = points_of(baseline, window).in_order(baseline.usual.metrics)
    stream = replace(stream, recent=(*stream.recent[1 - RECENT :], window.rows))
    running, step = _step(stream.running, baseline.usual, points, window, limits, near)
    stream = replace(stream, running=running)
    may_learn = not frozen and not stream.alarmed
    return (
        replace(stream, baseline=_taught(baseline, points, window, step, may_learn=may_learn)),
        points,
        step,
    )


def _step(
    running: Charts, usual: Usual, points: Points, window: Window | Quality,
    limits: ChartLimits, near: ChartLimits,
) -> tuple[Charts, Step]:  # fmt: skip
    if running.metrics != usual.metrics:
        running = begun(usual.metrics)
    return advanced(running, usual, points, _at_s(window), limits, near)


def _taught(
    baseline: Baseline, points: Points, window: Window | Quality, step: Step, *, may_learn: bool
) -> Baseline:
    if may_learn:
        return learn_on(baseline, points.value, _at_s(window), step.calm <= CALM)
    return replace(baseline, held=()) if baseline.held else baseline


def _at_s(window: Window | Quality) -> float:
    return parse_time(window.end).timestamp()


def _counted(
    calibration: Calibration, window: Window | Quality, stream: StreamState, step: Step,
    near: ChartLimits,
) -> Calibration:  # fmt: skip
    quality = isinstance(window, Quality)
    usual = (stream.quality_base if quality else stream.baseline).usual
    if usual is None:
        return calibration
    place = f"{QUALITY}{window.version}" if quality else window.stream
    close = [usual.metrics[one] for one in np.flatnonzero(step.close & ~step.small).tolist()]
    return counted(calibration, place, close, _charts(usual) / near.arl)


def _signals(
    step: Step, points: Points, window: Window | Quality, place: str
) -> tuple[Signal, ...]:
    found: list[Signal] = []
    for one in np.flatnonzero(step.signals).tolist():
        metric, statistic = points.metrics[one], float(step.statistic[one])
        limit = float(step.limit[one])
        found.append(
            Signal(
                stream=place,
                metric=metric,
                feature=feature_of(metric),
                chart=CHARTS[int(step.chart[one])],
                kind=points.kinds[one],
                statistic=statistic,
                limit=limit if statistic >= 0 else -limit,
                effect=float(step.effect[one]),
                usual=float(step.usual[one]),
                now=float(step.now[one]),
                small=bool(step.small[one]),
                window=window.number,
                start=window.start,
                end=window.end,
                n=int(points.n[one]),
            )
        )
    return tuple(found)


def feature_of(metric: str) -> str:
    """Return the feature that a statistic is of.

    Examples:
        >>> feature_of("viewer:occupation=student.share"), feature_of("hit_rate.share")
        ('viewer:occupation', 'hit_rate')
        >>> feature_of("plan=free.hit_rate.share"), feature_of("plan.hit_rate_gap.mean")
        ('plan', 'plan')
    """
    return metric.rpartition(".")[0].partition("=")[0].removesuffix(f".{GAP}")


def quality_points(quality: Quality) -> tuple[Point, ...]:
    """Return hit rate, calibration (hits less those expected) and watch-through of a window.

    First those of all answers, then those of each group, and how far groups lie apart.
    """
    return (*figures(quality), *group_points(quality.groups))


def _quality(
    stream: StreamState,
    quality: Quality,
    limits: ChartLimits,
    near: ChartLimits,
    *,
    frozen: bool,
) -> tuple[StreamState, Points | None, Step | None]:  # fmt: skip
    """Chart the quality of a window; one with too few labels says nothing."""
    if quality.label_completeness < LEAST_LABELLED or not quality.labelled:
        return replace(stream, immature=stream.immature + 1), None, None
    points = Points.of(quality_points(quality))
    base, wanted = stream.quality_base, stream.baseline.wanted
    if base.usual is not None:
        points = points.in_order(base.usual.metrics)
        running, step = _step(stream.quality_running, base.usual, points, quality, limits, near)
        stream = replace(stream, quality_running=running)
        # a model that slowly gets worse is no new usual: quality is learned to its first end
        may_learn = not frozen and not stream.alarmed and base.usual.learned < base.usual.memory
        base = _taught(base, points, quality, step, may_learn=may_learn)
        return replace(stream, quality_base=base), points, step
    if frozen:
        return stream, None, None
    seen = (*stream.quality_seen, quality)
    if len(seen) < max(wanted, LEAST):
        return replace(stream, quality_seen=seen), None, None
    usual = usual_of(
        [Points.of(quality_points(one)) for one in seen], [_at_s(one) for one in seen],
        memory=MEMORY * wanted,
    )  # fmt: skip
    return replace(stream, quality_seen=(), quality_base=replace(base, usual=usual)), None, None
