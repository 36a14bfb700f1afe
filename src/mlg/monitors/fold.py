"""Records of the log -> closed windows: one value in, a new value and what closed out.

The same record may come again: an answer is known by its `prediction_id`, a feedback changes
nothing the second time. Order does not matter inside `late_s` (windows of seconds) or at all
(windows of events, which are filled in the order of arrival).

Answers are folded as columns: a hundred thousand a second leave no time for an object each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from mlg.monitors.answers import Answers, Ints, Singles, answers_of, micros, time_text
from mlg.monitors.fold_parts import (
    Way,
    binned,
    groups_of,
    inside,
    of_known_layout,
    of_service,
    with_edges,
    with_lengths,
)
from mlg.monitors.fold_state import FoldState, Open, Stream, Waiting, WindowPlan
from mlg.monitors.live_window import LiveWindow
from mlg.monitors.memory import Memory, Reaction
from mlg.monitors.windows import (
    REQUESTS,
    TOP_ACTORS,
    Layout,
    Quality,
    Window,
    numbers,
)

_REMEMBER: Final = 5_000
"""Answers remembered at least; four windows of events where these are more."""
_PENDING: Final = 2_000
_MAX_STREAMS: Final = 8
_AGREE: Final = 3
"""Answers that must lie after a time before it is believed to have passed: a single answer
with a clock far ahead closes nothing."""
_WENT_BACK: Final = 200
"""Answers in a row, all too late, after which their clock is believed."""
_MOST_ODD: Final = 100
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a call returned."""

    state: FoldState
    windows: tuple[Window, ...] = ()
    quality: tuple[Quality, ...] = ()


def fold(
    state: FoldState,
    predictions: Sequence[Mapping[str, Any]] | Sequence[Answers],
    feedback: Sequence[Mapping[str, Any]],
    *,
    plan: WindowPlan,
    layouts: Mapping[str, Layout],
) -> Folded:
    """Return the state after these records, and the windows that they closed.

    Args:
        state: What was folded before; not changed.
        predictions: Rows as `decode_prediction` gives them, or answers as columns, in parts;
            of this plan's service (others are passed over).
        feedback: Rows as `decode_feedback` gives them.
        plan: How windows are cut.
        layouts: By model version; a version without one is counted in `unknown_layout`, and
            only its shares and confidence are watched.

    Returns:
        New state; windows in the order in which they closed; quality of older windows whose
        labels are complete. Records without id or time only raise `malformed`.
    """
    work = _Work(state, plan, layouts)
    rows = [row for row in predictions if not isinstance(row, Answers)]
    if rows:
        work.add(answers_of(rows, plan.service))
    for part in predictions:
        if isinstance(part, Answers):
            work.add(part)
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
        self.memory = Memory(state.remembered, state.answered, plan.groups)
        self.pending = dict(state.pending)
        self.waiting = list(state.waiting)
        self.late_run, self.odd = state.late_run, dict(state.odd)
        self.newest_us = [micros(text) for text in state.newest]
        self.windows: list[Window] = []
        self.live: dict[tuple[str, int], LiveWindow] = {}
        self.ways: dict[tuple[str, str], Way] = {}
        self.counts = {
            name: getattr(state, name)
            for name in ("read", "duplicates", "late", "orphans", "malformed", "unknown_layout")
        }

    def add(self, answers: Answers) -> None:
        """Count new answers in the stream of all requests and in their versions'."""
        self.counts["malformed"] += answers.malformed
        answers = of_service(answers, self.plan.service)
        base = len(self.memory)
        new = self.memory.new(answers)
        if new is not None:
            self.counts["duplicates"] += len(answers) - len(new)
            answers = answers.take(new)
        if not len(answers):
            return
        answers, unknown = of_known_layout(answers, self.layouts)
        self.counts["unknown_layout"] += unknown
        for what, count in self.memory.remember(answers, self.layouts).items():
            self._odd(what, count)
        self.counts["read"] += len(answers)
        latest = np.sort(answers.at_us)[-_AGREE:].tolist()
        self.newest_us = sorted((*self.newest_us, *latest))[-_AGREE:]
        if self.pending:
            for identifier in self.pending.keys() & set(answers.ids):
                for reaction in self.pending.pop(identifier):
                    self.memory.count(identifier, reaction)
        for name, rows in groups_of(answers):
            self._ensure(name, answers, rows)
            for bucket, chunk in self._chunks(name, answers, rows):
                self._add(name, bucket, answers, chunk, base)
        self._close_passed()
        for live in self.live.values():
            live.settle()

    def _ensure(self, name: str, answers: Answers, rows: Ints) -> None:
        """Make a stream on its first answer, or once the layout of its version is known."""
        known = self.streams.get(name)
        if known is not None and known.columns:
            return
        version = answers.version
        laid = np.array([text in self.layouts for text in version.texts] + [False])
        first = rows[laid[version.codes[rows]]][:1]
        if known is not None and not len(first):
            return
        features = self.layouts[version.text(int(first[0]))].features if len(first) else ()
        own = "request" if name == REQUESTS else "model"
        if name == REQUESTS:
            features = tuple(feature for feature in features if feature.of == own)
        features = with_lengths(features)
        if known is not None and not features:  # still nothing to watch but shares
            return
        charted = tuple(i for i, f in enumerate(features) if f.of == own and not f.group)
        self.streams[name] = Stream(
            columns=features,
            charted=charted,
            grouped=tuple(dict.fromkeys(f.group for f in features if f.of == own and f.group)),
            edges=tuple(features[i].edges for i in charted),
            closed=0 if known is None else known.closed + len(known.open),
        )
        self._forget(name)
        while len(self.streams) > _MAX_STREAMS:  # the oldest version goes
            oldest = next(key for key in self.streams if key != REQUESTS)
            del self.streams[oldest]
            self._forget(oldest)

    def _forget(self, name: str) -> None:
        """Leave out what was made for a stream that is another one now."""
        self.live = {key: live for key, live in self.live.items() if key[0] != name}
        self.ways = {key: way for key, way in self.ways.items() if key[0] != name}

    def _chunks(self, name: str, answers: Answers, rows: Ints) -> list[tuple[int, Ints]]:
        stream = self.streams[name]
        if self.plan.seconds is not None:
            places = self._buckets(answers.at_us[rows])
            late = places < stream.done_before
            if name == REQUESTS:
                self.late_run = self.late_run + len(late) if late.all() else 0
                if self.late_run >= _WENT_BACK:
                    self._clock_went_back(answers.at_us[rows], int(places.min()))
                    late[:] = False
            if late.any():
                self.counts["late"] += int(late.sum())
                rows, places = rows[~late], places[~late]
            if places.size and (places == places[0]).all():
                return [(int(places[0]), rows)]
            return [(bucket, rows[places == bucket]) for bucket in np.unique(places).tolist()]
        size = self.plan.events or 1
        room = size - self._live(name, stream.open[0]).n if stream.open else size
        cuts = [0, *range(min(room, len(rows)), len(rows), size), len(rows)]
        pairs = pairwise(cuts)
        return [(0, rows[low:high]) for low, high in pairs if high > low]

    def _clock_went_back(self, at_us: Ints, bucket: int) -> None:
        """Begin to count at an earlier time: the later one was no time that had passed."""
        self._odd("the clock of the answers went back", 1)
        self.late_run, self.newest_us = 0, np.sort(at_us)[-_AGREE:].tolist()
        for name in list(self.streams):
            for opened in self.streams[name].open:
                self._close(name, opened.number)
            stream = replace(self.streams[name], done_before=bucket, last=None)
            self.streams[name] = stream

    def _odd(self, what: str, count: int) -> None:
        if what in self.odd or len(self.odd) < _MOST_ODD:
            self.odd[what] = self.odd.get(what, 0) + count

    def _buckets(self, at_us: Ints) -> Ints:
        size_us = (self.plan.seconds or 1.0) * _SECOND_US
        if size_us.is_integer():
            return at_us // int(size_us)
        return np.floor(at_us / size_us).astype(np.int64)

    def _live(self, name: str, opened: Open) -> LiveWindow:
        key = (name, opened.number)
        if key not in self.live:
            self.live[key] = LiveWindow(self.streams[name], opened)
        return self.live[key]

    def _matrix(self, name: str, answers: Answers, due: Ints) -> Singles:
        """Return the stream's columns of the answers; by name, as versions may differ."""
        codes = answers.version.codes[due]
        if len(due) and (codes == codes[0]).all():
            return self._way(name, answers.version.text(int(due[0]))).of(answers, due)
        result = np.full((len(due), len(self.streams[name].columns)), np.nan, np.float32)
        for code in np.unique(codes).tolist():
            rows = np.flatnonzero(codes == code)
            way = self._way(name, answers.version.texts[int(code)])
            result[rows] = way.of(answers, due[rows])
        return result

    def _way(self, name: str, version: str) -> Way:
        key = (name, version)
        if key not in self.ways:
            way = self.ways[key] = Way(self.layouts[version], self.streams[name])
            for one in way.retyped:
                self._odd(f"{one} is a text in one version and a number in another", 1)
            for one in way.new if name == REQUESTS else ():
                self._odd(f"{one} is new in {version} and not watched yet", 1)
        return self.ways[key]

    def _add(self, name: str, bucket: int, answers: Answers, rows: Ints, base: int) -> None:
        stream = self.streams[name]
        opened = next((item for item in stream.open if item.bucket == bucket), None)
        if opened is None:
            start = time_text(int(answers.at_us[rows[0]]))
            opened = Open(bucket=bucket, number=stream.closed, start=start, end=start)
            stream = replace(stream, closed=stream.closed + 1, open=(*stream.open, opened))
            self.streams[name] = stream
        live = self._live(name, opened)
        # rows without features (a rescue by the list) say nothing of the features
        full = answers.width[rows] > 0
        due = rows if full.all() else rows[full]
        matrix = self._matrix(name, answers, due)
        firsts = live.came(answers.viewer, rows)
        first = firsts if len(due) == len(rows) else inside(firsts, full)
        live.add(answers, rows, matrix, np.array(stream.charted, dtype=np.int64), first)
        if name == REQUESTS:  # slices of viewers are compared: one row each
            due, matrix = due[first], matrix[first]
        else:
            self.memory.number[base + rows] = opened.number
        live.sample(answers, due, matrix)
        if self.plan.events is not None and live.n >= self.plan.events:
            self._close(name, opened.number)

    def _close_passed(self) -> None:
        if self.plan.seconds is None or len(self.newest_us) < _AGREE:
            return
        mark = self.newest_us[0] - int(self.plan.late_s * _SECOND_US)
        upto = int(self._buckets(np.array([mark]))[0])  # buckets before this one have ended
        for name in list(self.streams):
            for opened in sorted(self.streams[name].open, key=lambda item: item.bucket):
                if opened.bucket < upto:
                    self._empty(name, opened.bucket)
                    self._close(name, opened.number)
            done = max(self.streams[name].done_before, upto)
            self.streams[name] = replace(self.streams[name], done_before=done)

    def _empty(self, name: str, bucket: int) -> None:
        """Count the windows before this one in which nothing came."""
        stream = self.streams[name]
        if name == REQUESTS and stream.last is not None and bucket > stream.last + 1:
            self._odd("windows without an answer", bucket - stream.last - 1)
        self.streams[name] = replace(stream, last=bucket)

    def _stored(self, name: str, opened: Open) -> Open:
        live = self.live.pop((name, opened.number), None)
        return opened if live is None else live.stored()

    def _close(self, name: str, number: int) -> None:
        stream = self.streams[name]
        live = self._live(name, next(w for w in stream.open if w.number == number))
        del self.live[name, number]
        opened, (actors, top) = live.stored(actors=False), live.busiest(TOP_ACTORS)
        rest = tuple(item for item in stream.open if item.number != number)
        if any(not edges and stream.columns[at].levels is None
               for at, edges in zip(stream.charted, stream.edges, strict=True)):  # fmt: skip
            rest = tuple(self._stored(name, item) for item in rest)
            stream, opened = with_edges(replace(stream, open=rest), opened)
            rest = stream.open
        elif opened.unbinned:
            opened = binned(stream, opened)
        self.streams[name] = replace(stream, open=rest)
        self.windows.append(
            Window(
                service=self.plan.service,
                stream=name,
                number=opened.number,
                start=opened.start,
                end=opened.end,
                n=opened.n,
                features=opened.features,
                groups=opened.groups,
                shares=opened.shares,
                confidence=opened.confidence,
                columns=stream.columns,
                rows=opened.rows,
                actors=actors,
                top_actors=top,
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
        reaction: Reaction = (str(item), event, watched if 0 <= watched <= 1 else None)
        if identifier in self.memory.places:
            self.memory.count(identifier, reaction)
        elif reaction not in self.pending.get(identifier, ()):
            self.pending[identifier] = (*self.pending.get(identifier, ()), reaction)

    def done(self) -> Folded:
        """Return what was counted; labels that had their time become quality."""
        quality: list[Quality] = []
        remember = max(_REMEMBER, 4 * (self.plan.events or 0))
        over = len(self.memory) - remember
        rest: list[Waiting] = []
        for waiting in self.waiting:
            if self._mature(waiting) or self.memory.forgets(waiting, over):
                quality.append(self.memory.quality(waiting, self.plan.service))
            else:
                rest.append(waiting)
        while len(self.pending) > _PENDING:
            self.counts["orphans"] += len(self.pending.pop(next(iter(self.pending))))
        streams = {
            name: replace(stream, open=tuple(self._stored(name, item) for item in stream.open))
            for name, stream in self.streams.items()
        }
        state = FoldState(
            streams=streams,
            remembered=self.memory.kept(remember),
            waiting=tuple(rest),
            pending=self.pending,
            late_run=self.late_run,
            odd=self.odd,
            newest=tuple(time_text(at_us) for at_us in self.newest_us),
            **self.counts,
        )
        return Folded(state=state, windows=tuple(self.windows), quality=tuple(quality))

    def _mature(self, waiting: Waiting) -> bool:
        if (
            len(self.newest_us) < _AGREE
            or self.counts["read"] - waiting.read < self.plan.label_lag
        ):
            return False
        due_us = micros(waiting.end) + int(self.plan.label_wait_s * _SECOND_US)
        return self.newest_us[0] >= due_us
