"""Records of the log -> closed windows: one value in, a new value and what closed out.

The same record may come again: an answer is known by its `prediction_id`, a feedback changes
nothing the second time. Order does not matter inside `late_s` (windows of seconds) or at all
(windows of events, which are filled in the order of arrival).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import numpy as np

from mlg.core.clock import parse_time
from mlg.monitors.fold_parts import actors, as_coded, first_rows, sampled, shares, with_edges
from mlg.monitors.fold_state import (
    Answer,
    Answered,
    FoldState,
    Open,
    Stream,
    Waiting,
    WindowPlan,
)
from mlg.monitors.windows import (
    REQUESTS,
    TOP_ACTORS,
    Feature,
    Floats,
    Layout,
    Quality,
    Window,
    merge,
    numbers,
    summarise,
)

_REMEMBER: Final = 5_000
"""Answers remembered at least; four windows of events where these are more."""
_PENDING: Final = 2_000
_MAX_STREAMS: Final = 8
_CONFIDENCE: Final = Feature(name="raw_confidence")
_ENGAGED: Final = frozenset(("play", "complete"))
_AGREE: Final = 3
"""Answers that must lie after a time before it is believed to have passed: a single answer
with a clock far ahead closes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a call returned."""

    state: FoldState
    windows: tuple[Window, ...] = ()
    quality: tuple[Quality, ...] = ()


def fold(
    state: FoldState,
    predictions: Sequence[Mapping[str, Any]],
    feedback: Sequence[Mapping[str, Any]],
    *,
    plan: WindowPlan,
    layouts: Mapping[str, Layout],
) -> Folded:
    """Return the state after these records, and the windows that they closed.

    Args:
        state: What was folded before; not changed.
        predictions: Rows as `decode_prediction` gives them, of this plan's service (others are
            passed over).
        feedback: Rows as `decode_feedback` gives them.
        plan: How windows are cut.
        layouts: By model version; a version without one is counted in `unknown_layout`, and
            only its shares and confidence are watched.

    Returns:
        New state; windows in the order in which they closed; quality of older windows whose
        labels are complete. Records without id or time only raise `malformed`.
    """
    work = _Work(state, plan, layouts)
    work.answers(predictions)
    for row in feedback:
        work.react(row)
    return work.done()


class _Work:
    """A copy of the state that can be counted into."""

    def __init__(
        self, state: FoldState, plan: WindowPlan, layouts: Mapping[str, Layout]
    ) -> None:
        self.plan, self.layouts = plan, layouts
        self.streams = dict(state.streams)
        self.answered, self.pending = dict(state.answered), dict(state.pending)
        self.waiting = list(state.waiting)
        self.newest = list(state.newest)
        self.windows: list[Window] = []
        self.counts = {
            name: getattr(state, name)
            for name in ("read", "duplicates", "late", "orphans", "malformed", "unknown_layout")
        }

    def answers(self, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Count new answers in the stream of all requests and in their versions'."""
        groups: dict[str, list[Answer]] = {}
        for row in predictions:
            if row.get("service", self.plan.service) != self.plan.service:
                continue
            answer = self._read(row)
            if answer is None:
                continue
            groups.setdefault(REQUESTS, []).append(answer)
            if not answer.rescue and answer.version:
                groups.setdefault(answer.version, []).append(answer)
        for stream, answers in groups.items():
            known = [a for a in answers if a.version in self.layouts]
            self._ensure(stream, (known or answers)[0])
            for bucket, chunk in self._chunks(stream, answers):
                self._add(stream, bucket, chunk)
        self._close_passed()

    def _read(self, row: Mapping[str, Any]) -> Answer | None:
        identifier, at = str(row.get("prediction_id") or ""), str(row.get("at") or "")
        try:
            parse_time(at)
        except ValueError:
            at = ""
        if not identifier or not at:
            self.counts["malformed"] += 1
            return None
        if identifier in self.answered:
            self.counts["duplicates"] += 1
            return None
        version = str(row.get("model_version") or "")
        raw = numbers(row, "raw_confidence")
        features = tuple(float(value) for value in row.get("features") or ())
        layout = self.layouts.get(version)
        if features and (layout is None or len(layout.features) != len(features)):
            self.counts["unknown_layout"] += 1
            features = ()
        items = "".join(f"{item}\n" for item in row.get("items") or ())
        self.counts["read"] += 1
        self.newest = sorted([*self.newest, at])[-_AGREE:]
        answer = Answer(
            id=identifier,
            version=version,
            at=at,
            served_by=str(row.get("served_by") or "model"),
            rescue=row.get("reason") == "rescue",
            raw=raw,
            viewer=str(row.get("viewer") or ""),
            items=f"\n{items}",
            features=features,
        )
        self.answered[identifier] = Answered(
            version=version,
            number=-1,
            items=answer.items,
            raw=raw if 0 <= raw <= 1 else None,
            by_model=answer.served_by == "model" and not answer.rescue,
        )
        for reaction in self.pending.pop(identifier, ()):
            self._count(identifier, *reaction)
        return answer

    def _ensure(self, name: str, answer: Answer) -> None:
        """Make a stream on its first answer, or once the layout of its version is known."""
        known = self.streams.get(name)
        layout = self.layouts.get(answer.version)
        if known is not None and (known.columns or layout is None):
            return
        features = () if layout is None else layout.features
        if name == REQUESTS:
            features = tuple(feature for feature in features if feature.of == "request")
            charted = tuple(range(len(features)))
        else:
            charted = tuple(i for i, feature in enumerate(features) if feature.of == "model")
        self.streams[name] = Stream(
            columns=features,
            charted=charted,
            edges=tuple(features[i].edges for i in charted),
            closed=0 if known is None else known.closed + len(known.open),
        )
        while len(self.streams) > _MAX_STREAMS:  # the oldest version goes
            del self.streams[next(key for key in self.streams if key != REQUESTS)]

    def _chunks(self, name: str, answers: list[Answer]) -> list[tuple[int, list[Answer]]]:
        if self.plan.seconds is not None:
            buckets: dict[int, list[Answer]] = {}
            for answer in answers:
                bucket = int(parse_time(answer.at).timestamp() // self.plan.seconds)
                if bucket < self.streams[name].done_before:
                    self.counts["late"] += 1
                    continue
                buckets.setdefault(bucket, []).append(answer)
            return sorted(buckets.items())
        size = self.plan.events or 1
        opened = self.streams[name].open
        room = size - opened[0].n if opened else size
        cuts = [0, *range(min(room, len(answers)), len(answers), size), len(answers)]
        pairs = pairwise(cuts)
        return [(0, answers[low:high]) for low, high in pairs if high > low]

    def _matrix(self, stream: Stream, answers: list[Answer]) -> Floats:
        """Return the stream's columns of the answers; by name, as versions may differ."""
        result = np.full((len(answers), len(stream.columns)), np.nan)
        if not answers:
            return result
        versions = np.array([answer.version for answer in answers])
        for version in dict.fromkeys(answer.version for answer in answers):
            rows = np.flatnonzero(versions == version)
            given = np.array([answers[row].features for row in rows.tolist()])
            places = {f.name: at for at, f in enumerate(self.layouts[version].features)}
            for column, feature in enumerate(stream.columns):
                at = places.get(feature.name)
                if at is not None:
                    other = self.layouts[version].features[at]
                    result[rows, column] = as_coded(given[:, at], other, feature)
        return result

    def _add(self, name: str, bucket: int, answers: list[Answer]) -> None:
        stream = self.streams[name]
        opened = next((item for item in stream.open if item.bucket == bucket), None)
        if opened is None:
            start = answers[0].at
            opened = Open(bucket=bucket, number=stream.closed, start=start, end=start)
            stream = replace(stream, closed=stream.closed + 1)
        # rows without features (a rescue by the list) say nothing of the features
        due = [answer for answer in answers if answer.features]
        matrix = self._matrix(stream, due)
        first = first_rows(opened.actors, due)
        features = tuple(
            summarise(
                stream.columns[column],
                matrix[first, column]
                if stream.columns[column].per_viewer
                else matrix[:, column],
                edges,
            )
            for column, edges in zip(stream.charted, stream.edges, strict=True)
        )
        if name == REQUESTS:  # slices of viewers are compared: one row each
            due, matrix = [due[row] for row in first], matrix[first]
        raw = np.array([answer.raw for answer in answers if not answer.rescue])
        opened = replace(
            opened,
            start=min(opened.start, *(answer.at for answer in answers)),
            end=max(opened.end, *(answer.at for answer in answers)),
            n=opened.n + len(answers),
            features=tuple(map(merge, opened.features, features)) or features,
            shares=shares(opened.shares, answers),
            confidence=merge(opened.confidence, summarise(_CONFIDENCE, raw, ())),
            rows=sampled(opened.rows, due, matrix),
            actors=actors(opened.actors, answers),
        )
        if name != REQUESTS:
            for answer in answers:
                known = self.answered[answer.id]
                self.answered[answer.id] = replace(known, number=opened.number)
        rest = tuple(item for item in stream.open if item.bucket != bucket)
        self.streams[name] = replace(stream, open=(*rest, opened))
        if self.plan.events is not None and opened.n >= self.plan.events:
            self._close(name, opened)

    def _close_passed(self) -> None:
        if self.plan.seconds is None or len(self.newest) < _AGREE:
            return
        mark = parse_time(self.newest[0]).timestamp() - self.plan.late_s
        upto = int(mark // self.plan.seconds)  # buckets before this one have ended
        for name in list(self.streams):
            for opened in sorted(self.streams[name].open, key=lambda item: item.bucket):
                if opened.bucket < upto:
                    self._close(name, opened)
            done = max(self.streams[name].done_before, upto)
            self.streams[name] = replace(self.streams[name], done_before=done)

    def _close(self, name: str, opened: Open) -> None:
        stream = self.streams[name]
        if any(not edges and stream.columns[at].levels is None
               for at, edges in zip(stream.charted, stream.edges, strict=True)):  # fmt: skip
            stream, opened = with_edges(stream, opened)
        rest = tuple(item for item in stream.open if item.bucket != opened.bucket)
        self.streams[name] = replace(stream, open=rest)
        busiest = sorted(opened.actors.items(), key=lambda pair: (-pair[1], pair[0]))
        self.windows.append(
            Window(
                service=self.plan.service,
                stream=name,
                number=opened.number,
                start=opened.start,
                end=opened.end,
                n=opened.n,
                features=opened.features,
                shares=opened.shares,
                confidence=opened.confidence,
                columns=stream.columns,
                rows=opened.rows,
                actors=len(opened.actors),
                top_actors=tuple(busiest[:TOP_ACTORS]),
            )
        )
        if name != REQUESTS:
            self.waiting.append(
                Waiting(
                    version=name,
                    number=opened.number,
                    start=opened.start,
                    end=opened.end,
                    read=self.counts["read"],
                )
            )

    def react(self, row: Mapping[str, Any]) -> None:
        """Count one feedback."""
        identifier, item = str(row.get("prediction_id") or ""), row.get("item_id")
        event = str(row.get("event") or "")
        if row.get("service", self.plan.service) != self.plan.service:
            return
        if not identifier or item is None or not event:
            self.counts["malformed"] += 1
            return
        watched = numbers(row, "watch_through")
        reaction = (str(item), event, watched if 0 <= watched <= 1 else None)
        if identifier in self.answered:
            self._count(identifier, *reaction)
        elif reaction not in self.pending.get(identifier, ()):
            self.pending[identifier] = (*self.pending.get(identifier, ()), reaction)

    def _count(self, identifier: str, item: str, event: str, watched: float | None) -> None:
        known = self.answered[identifier]
        shown = f"\n{item}\n" in known.items
        watch = known.watch
        if shown and watched is not None:
            watch = watched if watch is None else max(watch, watched)
        hit = known.hit or (shown and event in _ENGAGED)
        self.answered[identifier] = replace(known, labelled=True, hit=hit, watch=watch)

    def done(self) -> Folded:
        """Return what was counted; labels that had their time become quality."""
        quality: list[Quality] = []
        remember = max(_REMEMBER, 4 * (self.plan.events or 0))
        over = len(self.answered) - remember
        rest: list[Waiting] = []
        for place, waiting in enumerate(self.waiting):
            if self._mature(waiting) or (over > 0 and place == 0):
                quality.append(self._quality(waiting))
            else:
                rest.append(waiting)
        while len(self.answered) > remember:
            del self.answered[next(iter(self.answered))]
        while len(self.pending) > _PENDING:
            self.counts["orphans"] += len(self.pending.pop(next(iter(self.pending))))
        state = FoldState(
            streams=self.streams,
            answered=self.answered,
            waiting=tuple(rest),
            pending=self.pending,
            newest=tuple(self.newest),
            **self.counts,
        )
        return Folded(state=state, windows=tuple(self.windows), quality=tuple(quality))

    def _mature(self, waiting: Waiting) -> bool:
        if (
            len(self.newest) < _AGREE
            or self.counts["read"] - waiting.read < self.plan.label_lag
        ):
            return False
        due = parse_time(waiting.end) + timedelta(seconds=self.plan.label_wait_s)
        return parse_time(self.newest[0]) >= due

    def _quality(self, waiting: Waiting) -> Quality:
        own = [
            answer
            for answer in self.answered.values()
            if answer.number == waiting.number
            and answer.version == waiting.version
            and answer.by_model
        ]
        known = [answer for answer in own if answer.labelled and answer.raw is not None]
        watched = [answer.watch for answer in known if answer.watch is not None]
        return Quality(
            service=self.plan.service,
            version=waiting.version,
            number=waiting.number,
            start=waiting.start,
            end=waiting.end,
            n=len(own),
            labelled=len(known),
            hits=sum(answer.hit for answer in known),
            expected=sum(answer.raw or 0.0 for answer in known),
            watch_n=len(watched),
            watch_sum=float(sum(watched)),
        )
