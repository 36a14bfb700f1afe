"""One monitor as one value: records in, a new value and what to do out.

`observe` joins the parts of this room: windows, charts, slices, diagnosis, incidents. The
caller keeps the value beside its reading positions, so both are of one moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlg.core.clock import parse_time
from mlg.manifest.specs_watch import MonitorSpec
from mlg.monitors.alert import AlertFacts, AlertState, Command, step
from mlg.monitors.answers import Answers
from mlg.monitors.baseline import WINDOWS
from mlg.monitors.baseline_versions import BaselineVersion, versions_to_keep
from mlg.monitors.budget import Budget, windows_between
from mlg.monitors.charts import begun
from mlg.monitors.diagnose import Cause, Known, classify, facts_from
from mlg.monitors.evaluate import (
    QUALITY,
    MonitorState,
    Signal,
    evaluate,
    relearned,
)
from mlg.monitors.expected import expected_at
from mlg.monitors.fold import FoldState, WindowPlan, fold
from mlg.monitors.severity import PolicyChange, policy_change
from mlg.monitors.slices import Slice, find_slices, members
from mlg.monitors.windows import REQUESTS, Layout, Quality, Window, sample_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a monitor of the manifest comes to."""

    window: WindowPlan
    false_alarm_every_s: float = 2_592_000.0
    events_per_s: float = 1.0
    """Rate at which a window of events is taken to fill."""
    features: tuple[str, ...] = ("all",)
    """`all`, or the logged features whose signals count."""
    baseline: int = WINDOWS
    """Windows of phase I; they should cover a whole cycle of the traffic."""

    @property
    def budget(self) -> Budget:
        """Return how often the whole monitor may be wrong."""
        windows = windows_between(
            false_alarm_every_s=self.false_alarm_every_s,
            seconds=self.window.seconds,
            events=self.window.events,
            events_per_s=self.events_per_s,
        )
        return Budget(windows=windows)


def plan_of(spec: MonitorSpec, *, events_per_s: float = 1.0) -> Plan:
    """Return the plan of a monitor of the manifest; windows of 1,000 events by default.

    Args:
        spec: The monitor; its service is what it watches.
        events_per_s: Rate at which answers come, where it is known.
    """
    given = spec.window
    seconds = None if given is None else given.seconds
    events = None if given is None else given.events
    window = WindowPlan(
        service=spec.watch,
        events=events or (None if seconds else 1_000),
        seconds=seconds,
        groups=spec.groups,
    )
    every = 2_592_000.0 if spec.limits is None else spec.limits.false_alarm_every_s
    return Plan(
        window=window,
        false_alarm_every_s=every,
        events_per_s=events_per_s,
        features=spec.features,
        baseline=spec.baseline_windows,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """Everything that a monitor remembers; goes through msgspec both ways, and is bounded."""

    fold: FoldState
    charts: MonitorState
    alerts: AlertState
    newest: dict[str, Window] = field(default_factory=dict[str, Window])
    """Newest window of each stream, without its rows."""
    signals: dict[str, tuple[Signal, ...]] = field(
        default_factory=dict[str, tuple[Signal, ...]]
    )
    """What signalled in the newest window of each stream, and of its quality."""
    usual_top_actor_share: float = 0.0
    maintained: tuple[str, ...] = ()
    """Streams, and their quality, whose newest window lay in a maintenance window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a call returned."""

    monitor: Monitor
    windows: tuple[Window, ...] = ()
    quality: tuple[Quality, ...] = ()
    signals: tuple[Signal, ...] = ()
    """All signals of these windows, to draw and to record."""
    commands: tuple[Command, ...] = ()
    """What to do about incidents, in order; each with its idempotency key."""
    baselines: tuple[BaselineVersion, ...] = ()
    """What is usual where it is worth keeping, in order."""


def new_monitor(plan: Plan) -> Monitor:
    """Return a monitor that has seen nothing."""
    return Monitor(
        fold=FoldState(),
        charts=MonitorState(wanted=plan.baseline),
        alerts=AlertState(service=plan.window.service),
    )


def observe(
    monitor: Monitor,
    predictions: Sequence[Mapping[str, Any]] | Sequence[Answers],
    feedback: Sequence[Mapping[str, Any]],
    *,
    plan: Plan,
    layouts: Mapping[str, Layout],
    known: Known | None = None,
) -> Observed:
    """Return the monitor after these records, the windows they closed, and what to do.

    Args:
        monitor: What is remembered; not changed.
        predictions: Rows as `decode_prediction` gives them, or answers as columns.
        feedback: Rows as `decode_feedback` gives them.
        plan: From the manifest.
        layouts: Layout of each model version that may answer, from `layout_of`.
        known: What others know: calendar, sources, contracts, parity.
    """
    known = known or Known()
    folded = fold(monitor.fold, predictions, feedback, plan=plan.window, layouts=layouts)
    monitor = replace(monitor, fold=folded.state)
    signals: list[Signal] = []
    commands: list[Command] = []
    baselines: list[BaselineVersion] = []
    for window in (*folded.windows, *folded.quality):
        before = monitor.charts
        monitor, new, done = _one(monitor, window, plan, known)
        signals += new
        commands += done
        baselines += versions_to_keep(before, monitor.charts, done)
    return Observed(
        monitor=monitor,
        windows=folded.windows,
        quality=folded.quality,
        signals=tuple(signals),
        commands=tuple(commands),
        baselines=tuple(baselines),
    )


def _one(
    monitor: Monitor, window: Window | Quality, plan: Plan, known: Known
) -> tuple[Monitor, tuple[Signal, ...], tuple[Command, ...]]:
    known = _known_at(known, monitor.alerts.service, window)
    monitor = _maintained(monitor, window, inside=bool(known.maintenance))
    charts, found = evaluate(
        monitor.charts,
        window,
        budget=plan.budget,
        frozen=monitor.alerts.incident is not None or bool(known.maintenance),
    )
    if "all" not in plan.features:
        groups = plan.window.groups if isinstance(window, Quality) else ()
        wanted = {*plan.features, *groups}
        found = tuple(signal for signal in found if signal.feature in wanted)
    stream = window.version if isinstance(window, Quality) else window.stream
    place = f"{QUALITY}{stream}" if isinstance(window, Quality) else stream
    monitor = replace(monitor, charts=charts, signals={**monitor.signals, place: found})
    if isinstance(window, Window):
        monitor = _remembered(monitor, window)
    cause, one, sample = None, None, ()
    if found:
        cause = _cause(monitor, known)
        incident = monitor.alerts.incident
        if incident is None or incident.slice is None:
            one, sample = _slice(monitor, found)
    alerts, commands = step(
        monitor.alerts,
        AlertFacts(
            at=window.end, stream=place, signals=found, cause=cause, slice=one, sample=sample
        ),
    )
    return replace(monitor, alerts=alerts), found, commands


def _known_at(known: Known, service: str, window: Window | Quality) -> Known:
    """Return what is known as of one window: the calendar at its end, maintenance within it."""
    if not known.calendar and not known.maintenance:
        return known
    start, end = parse_time(window.start), parse_time(window.end)
    expected = (*known.expected, *expected_at(known.calendar, service, end))
    within = tuple(one for one in known.maintenance if start < one[1] and end >= one[0])
    return replace(known, expected=tuple(dict.fromkeys(expected)), maintenance=within)


def _maintained(monitor: Monitor, window: Window | Quality, *, inside: bool) -> Monitor:
    """Remember whether a stream is in maintenance; its charts begin at zero after it.

    Charts remember: what maintenance moved would go on signalling when it is over.
    """
    quality = isinstance(window, Quality)
    name = window.version if quality else window.stream
    place = f"{QUALITY}{name}" if quality else name
    if inside:
        return replace(monitor, maintained=tuple(sorted({*monitor.maintained, place})))
    stream = monitor.charts.streams.get(name)
    if place not in monitor.maintained or stream is None:
        return monitor
    if quality:
        stream = replace(stream, quality_running=begun(stream.quality_running.metrics))
    else:
        stream = replace(stream, running=begun(stream.running.metrics))
    streams = {**monitor.charts.streams, name: stream}
    return replace(
        monitor,
        maintained=tuple(one for one in monitor.maintained if one != place),
        charts=replace(monitor.charts, streams=streams),
    )


def _remembered(monitor: Monitor, window: Window) -> Monitor:
    newest = {**monitor.newest, window.stream: replace(window, rows=())}
    newest = {name: one for name, one in newest.items() if name in monitor.charts.streams}
    usual = monitor.usual_top_actor_share
    learning = not monitor.charts.streams[window.stream].baseline.ready
    if learning and window.stream == REQUESTS and window.top_actors:
        usual = max(usual, window.top_actors[0][1] / window.n)
    return replace(monitor, newest=newest, usual_top_actor_share=usual)


def _open_signals(monitor: Monitor) -> tuple[Signal, ...]:
    return tuple(signal for found in monitor.signals.values() for signal in found)


def _cause(monitor: Monitor, known: Known) -> Cause:
    streams = monitor.charts.streams
    signals = _open_signals(monitor)
    return classify(
        facts_from(
            [
                (window, streams[name].baseline)
                for name, window in monitor.newest.items()
                if streams[name].baseline.ready
            ],
            signals,
            known,
            labels_known=any(one.quality_base.ready for one in streams.values()),
            calibrated=all(signal.metric != "calibration.mean" for signal in signals),
            usual_top_actor_share=monitor.usual_top_actor_share,
        )
    )


def _slice(monitor: Monitor, signals: Sequence[Signal]) -> tuple[Slice | None, tuple[str, ...]]:
    """Return the viewers whose share changed, or else those in whom a feature moved."""
    for name in dict.fromkeys((REQUESTS, *(signal.stream for signal in signals))):
        stream = monitor.charts.streams.get(name.removeprefix(QUALITY))
        if stream is None or not stream.baseline.ready:
            continue
        columns = stream.baseline.columns
        rows = tuple(row for window in stream.recent for row in window)
        usual = sample_matrix(columns, stream.baseline.rows)
        live = sample_matrix(columns, rows)
        moved = [None] if name == REQUESTS else _numbers(signals, columns)
        for feature in moved:
            found = find_slices(columns, usual, live, feature=feature, top=1)
            if found:
                inside = members(found[0], columns, live)
                ids = [row.prediction_id for row, own in zip(rows, inside, strict=True) if own]
                return found[0], tuple(ids)
    return None, ()


def _numbers(signals: Sequence[Signal], columns: Sequence[Any]) -> list[str | None]:
    texts = {column.name: column.levels for column in columns}
    return [
        signal.feature
        for signal in signals
        if signal.kind == "location" and texts.get(signal.feature, ()) is None
    ]


def settled(monitor: Monitor, at: str) -> tuple[Monitor, tuple[Command, ...]]:
    """Return the monitor after its incident was dealt with: closed, its streams learned anew.

    Called when a healed version serves, when a shift without loss was recorded, or when an
    operator says that this is the new usual. Streams that did not signal keep their baselines.

    Args:
        monitor: With or without an open incident.
        at: Event time, RFC 3339.
    """
    incident = monitor.alerts.incident
    if incident is None:
        return monitor, ()
    streams = {signal.stream.removeprefix(QUALITY) for signal in incident.signals.values()}
    alerts, commands = step(
        monitor.alerts, AlertFacts(at=at, stream="", signals=(), handled=True)
    )
    monitor = replace(
        monitor,
        alerts=alerts,
        charts=relearned(monitor.charts, tuple(streams)),
        newest={k: v for k, v in monitor.newest.items() if k not in streams},
        signals={},
    )
    return monitor, commands


def ready_streams(monitor: Monitor) -> frozenset[str]:
    """Return the streams of which it is known what is usual, so that they may signal."""
    streams = monitor.charts.streams
    return frozenset(name for name, one in streams.items() if one.baseline.ready)


def policy_now(monitor: Monitor) -> PolicyChange:
    """Return what the service's live policy should be now; zeros while all is usual."""
    incident = monitor.alerts.incident
    if incident is None:
        return policy_change(monitor.alerts.service, (), "quiet")
    return incident.policy
