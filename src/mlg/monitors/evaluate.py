"""Phase II: a window against its limits, one step of every chart.

Each statistic has an EWMA (weight 0.1) and a two-sided CUSUM (reference 0.25) on the same
between-window spread. A statistic is *out* when either is beyond its limit, and *signals*
when it was out in two of its last three windows and the change is worth a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Final, Literal

from mlg.monitors.baseline import (
    Baseline,
    Reference,
    learn_on,
    learned,
    points_of,
    reference_of,
)
from mlg.monitors.budget import ChartLimits
from mlg.monitors.group_quality import GAP, figures, group_points
from mlg.monitors.points import Kind, Point
from mlg.monitors.windows import Quality, Row, Window

LAMBDA: Final = 0.1
SLACK: Final = 0.25
CLIP: Final = 4.0
"""A window counts as at most so many standard deviations: one wild one is no shift."""

GROSS: Final = 12.0
"""Beyond so many standard deviations a statistic is out at once: something is broken."""

CALM: Final = 0.5
"""A statistic teaches its baseline only while its EWMA is within this part of its limit."""

FLOOR: Final[dict[Kind, float]] = {
    "location": 0.05,
    "spread": 0.05,
    "share": 0.01,
    "mean": 0.01,
}
"""Least change worth a page: 0.05 sd of a feature, 5 % of its spread, a share by 0.01, a mean
of a probability by 0.01."""

PERSIST: Final = (2, 3)
"""A statistic signals when it was out in so many of its so many last windows."""

RECENT: Final = 5
"""Windows whose sampled rows are kept, to find the slice that changed."""

QUALITY: Final = "quality:"
"""Before the version in the stream of signals about what became of its answers."""

LEAST_LABELLED: Final = 0.5
"""A window with a smaller share of known labels is not charted for quality."""

Chart = Literal["ewma", "cusum", "gross"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartState:
    """One statistic's charts between two windows."""

    ewma: float = 0.0
    """In standard deviations of one window, from the centre."""
    up: float = 0.0
    down: float = 0.0
    steps: int = 0
    out: tuple[bool, ...] = ()
    """Of the last three windows, newest last."""
    recent: tuple[float, ...] = ()
    """Values of the last three windows, newest last."""
    shown: tuple[float, ...] = ()


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
    charts: dict[str, ChartState] = field(default_factory=dict[str, ChartState])
    quality: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """History of quality statistics over quiet windows."""
    quality_shown: dict[str, float] = field(default_factory=dict[str, float])
    quality_noise: dict[str, float] = field(default_factory=dict[str, float])
    quality_references: dict[str, Reference] = field(default_factory=dict[str, Reference])
    recent: tuple[tuple[Row, ...], ...] = ()
    """Sampled rows of the newest windows, newest last."""
    immature: int = 0
    """Windows whose labels were too few to be charted."""

    @property
    def alarmed(self) -> bool:
        """Whether any chart was out in its newest window."""
        return any(chart.out and chart.out[-1] for chart in self.charts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """All streams of one monitor."""

    streams: dict[str, StreamState] = field(default_factory=dict[str, StreamState])
    wanted: int = 20
    """Windows of phase I of each stream."""


def evaluate(
    state: MonitorState,
    window: Window | Quality,
    *,
    limits: ChartLimits,
    frozen: bool = False,
) -> tuple[MonitorState, tuple[Signal, ...]]:
    """Return the state after one window, and what signals in it.

    Args:
        state: Baselines and charts so far; not changed.
        window: A closed window, or the quality of an earlier one. Of one stream in order.
        limits: From `budget.limits_for`.
        frozen: An incident is open: charts go on, baselines learn nothing.

    Returns:
        New state; signals, empty during phase I and while all is usual. A statistic that a
        window lacks (a feature without one finite value) keeps its chart as it was.
    """
    name = window.version if isinstance(window, Quality) else window.stream
    stream = state.streams.get(name) or StreamState(baseline=Baseline(wanted=state.wanted))
    if isinstance(window, Quality):
        stream, signals = _quality(stream, window, limits, frozen=frozen, wanted=state.wanted)
    else:
        stream, signals = _window(stream, window, limits, frozen=frozen)
    return replace(state, streams={**state.streams, name: stream}), signals


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
    """Return how many charts the streams that are past phase I have, two a statistic."""
    return 2 * sum(
        len(one.baseline.references) + len(one.quality_references)
        for one in state.streams.values()
    )


def _window(
    stream: StreamState, window: Window, limits: ChartLimits, *, frozen: bool
) -> tuple[StreamState, tuple[Signal, ...]]:
    baseline = stream.baseline
    if not baseline.ready:
        if frozen:
            return stream, ()
        return replace(stream, baseline=learned(baseline, window)), ()
    points = points_of(baseline, window)
    stream = replace(stream, recent=(*stream.recent[1 - RECENT :], window.rows))
    stream, signals = _step(stream, points, baseline.references, limits, window, window.stream)
    if not frozen and not stream.alarmed:
        values = {point.metric: point.value for point in points}
        calm = [
            name
            for name, reference in baseline.references.items()
            if abs(stream.charts.get(name, ChartState()).ewma)
            <= CALM * ewma_limit(reference, limits)
        ]
        stream = replace(stream, baseline=learn_on(baseline, values, calm))
    elif baseline.waiting:
        stream = replace(stream, baseline=replace(baseline, waiting=()))
    return stream, signals


def _step(
    stream: StreamState,
    points: Sequence[Point],
    references: Mapping[str, Reference],
    limits: ChartLimits,
    window: Window | Quality,
    name: str,
) -> tuple[StreamState, tuple[Signal, ...]]:
    charts = dict(stream.charts)
    signals: list[Signal] = []
    for point in points:
        reference = references.get(point.metric)
        if reference is None:
            continue
        chart, signal = _advanced(
            charts.get(point.metric, ChartState()), point, reference, limits, window, name
        )
        charts[point.metric] = chart
        if signal is not None:
            signals.append(signal)
    return replace(stream, charts=charts), tuple(signals)


def ewma_limit(reference: Reference, limits: ChartLimits) -> float:
    r"""Return the limit of the EWMA, in standard deviations of one window.

    :math:`L \sqrt{\frac{\lambda}{2-\lambda}\,\frac{1+\varphi(1-\lambda)}{1-\varphi(1-\lambda)}}
    + d`: the spread of an EWMA of windows with lag-1 autocorrelation :math:`\varphi`, and the
    doubt :math:`d` about the centre.

    Source:
        W. Schmid (1997), Frontiers in Statistical Quality Control 5:115-137 (EWMA charts of
        autocorrelated series).
    """
    carry = reference.ar * (1 - LAMBDA)
    spread = sqrt(LAMBDA / (2 - LAMBDA) * (1 + carry) / (1 - carry))
    return limits.ewma * spread + reference.doubt / reference.sigma


def _advanced(
    chart: ChartState,
    point: Point,
    reference: Reference,
    limits: ChartLimits,
    window: Window | Quality,
    stream: str,
) -> tuple[ChartState, Signal | None]:
    z = (point.value - reference.centre) / reference.sigma
    raw, gross = z, abs(z) > GROSS
    z = min(max(z, -CLIP), CLIP)
    ewma = (1 - LAMBDA) * chart.ewma + LAMBDA * z
    # the cumulated sum's own unit: the long-run spread, and a centre that may be off
    long_run = sqrt((1 + reference.ar) / (1 - reference.ar))
    slack = SLACK + reference.doubt / reference.sigma / long_run
    up = max(0.0, chart.up + z / long_run - slack)
    down = max(0.0, chart.down - z / long_run - slack)
    bound = ewma_limit(reference, limits)
    beyond_ewma, beyond_cusum = abs(ewma) > bound, max(up, down) > limits.cusum
    keep = PERSIST[1] - 1
    chart = ChartState(
        ewma=ewma,
        up=min(up, 2 * limits.cusum),  # so that it comes down again
        down=min(down, 2 * limits.cusum),
        steps=chart.steps + 1,
        out=(*chart.out[-keep:], gross or beyond_ewma or beyond_cusum),
        recent=(*chart.recent[-keep:], point.value),
        shown=(*chart.shown[-keep:], point.shown),
    )
    if sum(chart.out) < PERSIST[0] or not chart.out[-1]:
        return chart, None
    now = sum(chart.shown) / len(chart.shown)
    effect = sum(chart.recent) / len(chart.recent) - reference.centre
    if point.kind == "share":
        effect = now - reference.shown
    kind, statistic, limit = _furthest(gross=gross, z=raw, ewma=ewma, bound=bound,
                                       sums=(up, down), cusum=limits.cusum)  # fmt: skip
    return chart, Signal(
        stream=stream,
        metric=point.metric,
        feature=feature_of(point.metric),
        chart=kind,
        kind=point.kind,
        statistic=statistic,
        limit=limit if statistic >= 0 else -limit,
        effect=effect,
        usual=reference.shown,
        now=now,
        small=abs(effect) < FLOOR[point.kind],
        window=window.number,
        start=window.start,
        end=window.end,
        n=point.n,
    )


def _furthest(
    *,
    gross: bool,
    z: float,
    ewma: float,
    bound: float,
    sums: tuple[float, float],
    cusum: float,
) -> tuple[Chart, float, float]:
    """Return the chart that says it most plainly, its statistic, and its limit (> 0)."""
    if gross:
        return "gross", z, GROSS
    if abs(ewma) > bound:
        return "ewma", ewma, bound
    up, down = sums
    return "cusum", up if up >= down else -down, cusum


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
    stream: StreamState, quality: Quality, limits: ChartLimits, *, frozen: bool, wanted: int
) -> tuple[StreamState, tuple[Signal, ...]]:
    """Chart the quality of a window; one with too few labels says nothing."""
    if quality.label_completeness < LEAST_LABELLED or not quality.labelled:
        return replace(stream, immature=stream.immature + 1), ()
    points = quality_points(quality)
    if stream.quality_references:
        return _step(
            stream,
            points,
            stream.quality_references,
            limits,
            quality,
            f"{QUALITY}{quality.version}",
        )
    if frozen:
        return stream, ()
    history = {
        point.metric: (*stream.quality.get(point.metric, ()), point.value) for point in points
    }
    history = {**stream.quality, **history}
    shown = {**stream.quality_shown}
    noise = {**stream.quality_noise}
    for point in points:
        n = len(history[point.metric])
        shown[point.metric] = _mean_on(shown.get(point.metric, 0.0), point.shown, n)
        noise[point.metric] = _mean_on(noise.get(point.metric, 0.0), point.noise, n)
    stream = replace(stream, quality=history, quality_shown=shown, quality_noise=noise)
    if len(history["hit_rate.share"]) < wanted:
        return stream, ()
    references = {
        name: reference_of(values, shown=shown[name], noise=noise[name])
        for name, values in history.items()
        if len(values) >= min(wanted, 10)
    }
    return replace(stream, quality_references=references, quality={}), ()


def _mean_on(mean: float, value: float, n: int) -> float:
    return mean + (value - mean) / n
