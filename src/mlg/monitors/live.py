"""Live counters of answers and feedback: one value in, a new value out.

The log is read at least once, so the same record may come again. Answers are known by
`prediction_id` and feedback by (prediction_id, item_id, event) within a window of the
newest answers, so a batch that comes twice counts once. What comes again after it left the
window is counted again (an answer) or as `orphans` (feedback): these are counters for the
eye, and the figures that decide anything are made from the sealed log.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, isfinite
from typing import Any, Final

WINDOW: Final = 50_000
"""Newest answers that feedback is joined to and that repeats are recognised in."""

PENDING: Final = 10_000
"""Answers whose feedback came first and is kept until they arrive."""

BINS: Final = 20
"""Equal bins of raw confidence over 0..1; the last one holds 1."""

EDGES_MS: Final = tuple(10.0 ** (-1 + step / 16) for step in range(81))
"""Latency bin edges, 0.1 ms to 10 s, 16 a decade: a quantile is off by at most 15.5 %."""

BANDS: Final = 4
"""Equal bands of raw confidence by which watch-through is told."""

WATCH_BINS: Final = 10
"""Equal bins of watch-through over 0..1 in each band."""

_MAX_REASONS: Final = 64
_MAX_RECENT: Final = 12
_ENGAGED: Final = frozenset(("play", "complete"))

SeriesKey = tuple[str, str, str]
"""Service, version, and who answered: `model` or `fallback`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Counters of one version of one service, as answered by the model or by its fallback."""

    service: str
    version: str
    served_by: str
    requests: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    confidence: tuple[int, ...] = (0,) * BINS
    """Answers per bin of raw confidence."""
    raw_sum: float = 0.0
    hits: tuple[int, ...] = (0,) * BINS
    """Answers with at least one hit, per bin of raw confidence."""
    hits_unscored: int = 0
    """Hits of answers that carry no usable raw confidence."""
    watch_sum: tuple[float, ...] = (0.0,) * BINS
    watch_n: tuple[int, ...] = (0,) * BINS
    """(answer, item) pairs with a watch-through, per bin of raw confidence."""
    watched: tuple[int, ...] = (0,) * (BANDS * WATCH_BINS)
    """The same pairs by band of raw confidence and bin of watch-through as first told."""
    events: dict[str, int] = field(default_factory=dict[str, int])
    latency: tuple[int, ...] = (0,) * (len(EDGES_MS) + 1)
    """Answers per latency bin: below the first edge, between edges, above the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """One feedback record, as far as it is counted."""

    item: str
    event: str
    watch_through: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One answer of the window, and what was already counted for it."""

    series: SeriesKey
    bin: int | None
    items: str
    """Item ids, each between line feeds, so that membership is one text search."""
    hit: bool = False
    events: tuple[tuple[str, str], ...] = ()
    watch: dict[str, float] = field(default_factory=dict[str, float])
    """Largest watch-through of each item, so the order of arrival does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """One of the newest answers, to be shown and traced."""

    prediction_id: str
    service: str
    version: str
    served_by: str
    reason: str
    confidence: float | None
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """All counters and the window behind them; goes through msgspec both ways."""

    series: tuple[Series, ...] = ()
    """Sorted by service, version and who answered."""
    window: dict[str, Seen] = field(default_factory=dict[str, Seen])
    pending: dict[str, tuple[Reaction, ...]] = field(
        default_factory=dict[str, tuple[Reaction, ...]]
    )
    recent: tuple[Recent, ...] = ()
    """Newest first."""
    duplicates: int = 0
    orphans: int = 0
    """Feedback whose answer was never seen, or left the window before it came."""
    malformed: int = 0


def update(
    state: LiveState,
    predictions: Sequence[Mapping[str, Any]],
    feedback: Sequence[Mapping[str, Any]],
    *,
    window: int = WINDOW,
    pending: int = PENDING,
) -> LiveState:
    """Return the state after these records; the given state is not changed.

    Args:
        state: What was counted before.
        predictions: Decoded records with `prediction_id`, `service`, `model_version` (or
            `version`), `served_by`, and where known `reason`, `raw_confidence` (0..1),
            `confidence`, `latency_ms`, `items`, `at`.
        feedback: Decoded records with `prediction_id`, `item_id`, `event`, and where known
            `watch_through` (0..1). May come before its answer.
        window: Answers to remember.
        pending: Answers to keep early feedback for.

    Returns:
        The new state. A record without its required fields only raises `malformed`.

    Examples:
        >>> answer = {"prediction_id": "p1", "service": "home", "model_version": "v1",
        ...           "served_by": "model", "raw_confidence": 0.3, "items": [7, 8]}
        >>> played = {"prediction_id": "p1", "item_id": 8, "event": "play"}
        >>> once = update(LiveState(), [answer], [played])
        >>> twice = update(once, [answer], [played])
        >>> (once.series[0].requests, sum(once.series[0].hits), twice.series == once.series)
        (1, 1, True)
    """
    work = _Work(state)
    for record in predictions:
        work.answer(record)
    for record in feedback:
        work.react(record)
    return work.done(window, pending)


class _Tally:
    """A series while it is being counted."""

    def __init__(self, series: Series) -> None:
        self.series = series
        self.requests, self.raw_sum = series.requests, series.raw_sum
        self.hits_unscored = series.hits_unscored
        self.reasons, self.events = dict(series.reasons), dict(series.events)
        self.confidence, self.hits = list(series.confidence), list(series.hits)
        self.watch_sum, self.watch_n = list(series.watch_sum), list(series.watch_n)
        self.latency, self.watched = list(series.latency), list(series.watched)

    def done(self) -> Series:
        return replace(
            self.series,
            requests=self.requests,
            raw_sum=self.raw_sum,
            hits_unscored=self.hits_unscored,
            reasons=dict(sorted(self.reasons.items())),
            events=dict(sorted(self.events.items())),
            confidence=tuple(self.confidence),
            hits=tuple(self.hits),
            watch_sum=tuple(self.watch_sum),
            watch_n=tuple(self.watch_n),
            latency=tuple(self.latency),
            watched=tuple(self.watched),
        )


class _Work:
    """A copy of the state that can be counted into."""

    def __init__(self, state: LiveState) -> None:
        self.tallies = {(s.service, s.version, s.served_by): _Tally(s) for s in state.series}
        self.window, self.pending = dict(state.window), dict(state.pending)
        self.recent = list(reversed(state.recent))
        self.duplicates, self.orphans = state.duplicates, state.orphans
        self.malformed = state.malformed

    def answer(self, record: Mapping[str, Any]) -> None:
        prediction, service = _text(record, "prediction_id"), _text(record, "service")
        if not prediction or not service:
            self.malformed += 1
            return
        if prediction in self.window:
            self.duplicates += 1
            return
        version = _text(record, "model_version") or _text(record, "version")
        key = (service, version, _text(record, "served_by") or "model")
        tally = self._tally(key)
        raw = _number(record.get("raw_confidence"))
        place = None if raw is None or not 0 <= raw <= 1 else min(int(raw * BINS), BINS - 1)
        tally.requests += 1
        if place is not None and raw is not None:
            tally.confidence[place] += 1
            tally.raw_sum += raw
        reason = _text(record, "reason")
        if reason:
            known = reason in tally.reasons or len(tally.reasons) < _MAX_REASONS
            reason = reason if known else "other"
            tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
        latency = _number(record.get("latency_ms"))
        if latency is not None:
            tally.latency[bisect_right(EDGES_MS, latency)] += 1
        items = "".join(f"{item}\n" for item in record.get("items") or ())
        self.window[prediction] = Seen(
            series=key, bin=place, items=f"\n{items}" if items else ""
        )
        self.recent.append(
            Recent(
                prediction_id=prediction,
                service=service,
                version=key[1],
                served_by=key[2],
                reason=reason,
                confidence=_number(record.get("confidence")),
                at=_text(record, "at"),
            )
        )
        for reaction in self.pending.pop(prediction, ()):
            self._count(prediction, reaction)

    def react(self, record: Mapping[str, Any]) -> None:
        prediction, item = _text(record, "prediction_id"), _text(record, "item_id")
        event = _text(record, "event")
        if not prediction or not item or not event:
            self.malformed += 1
            return
        watched = _number(record.get("watch_through"))
        if watched is not None and not 0 <= watched <= 1:
            watched = None
        reaction = Reaction(item=item, event=event, watch_through=watched)
        if prediction in self.window:
            self._count(prediction, reaction)
        elif reaction in self.pending.get(prediction, ()):
            self.duplicates += 1
        else:
            self.pending[prediction] = (*self.pending.get(prediction, ()), reaction)

    def done(self, window: int, pending: int) -> LiveState:
        while len(self.window) > window:
            del self.window[next(iter(self.window))]
        while len(self.pending) > pending:
            self.orphans += len(self.pending.pop(next(iter(self.pending))))
        return LiveState(
            series=tuple(self.tallies[key].done() for key in sorted(self.tallies)),
            window=self.window,
            pending=self.pending,
            recent=tuple(reversed(self.recent[-_MAX_RECENT:])),
            duplicates=self.duplicates,
            orphans=self.orphans,
            malformed=self.malformed,
        )

    def _tally(self, key: SeriesKey) -> _Tally:
        if key not in self.tallies:
            service, version, served_by = key
            self.tallies[key] = _Tally(
                Series(service=service, version=version, served_by=served_by)
            )
        return self.tallies[key]

    def _count(self, prediction: str, reaction: Reaction) -> None:
        seen = self.window[prediction]
        tally = self._tally(seen.series)
        known = (reaction.item, reaction.event)
        if known in seen.events:
            self.duplicates += 1
        else:
            tally.events[reaction.event] = tally.events.get(reaction.event, 0) + 1
            seen = replace(seen, events=(*seen.events, known))
        shown = not seen.items or f"\n{reaction.item}\n" in seen.items
        if shown and not seen.hit and reaction.event in _ENGAGED:
            if seen.bin is None:
                tally.hits_unscored += 1
            else:
                tally.hits[seen.bin] += 1
            seen = replace(seen, hit=True)
        if shown and reaction.watch_through is not None and seen.bin is not None:
            before = seen.watch.get(reaction.item)
            if before is None or reaction.watch_through > before:
                tally.watch_n[seen.bin] += before is None
                if before is None:
                    tally.watched[_place(seen.bin, reaction.watch_through)] += 1
                tally.watch_sum[seen.bin] += reaction.watch_through - (before or 0.0)
                watch = {**seen.watch, reaction.item: reaction.watch_through}
                seen = replace(seen, watch=watch)
        self.window[prediction] = seen


def _place(confidence_bin: int, watched: float) -> int:
    """Return the place of one watch-through: its band, and the bin that it is at most."""
    band = confidence_bin * BANDS // BINS
    return band * WATCH_BINS + max(0, ceil(watched * WATCH_BINS - 1e-9) - 1)


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
