"""A window while it is open: what answers add to, and the stored value it comes from."""

from dataclasses import replace
from typing import Final

import numpy as np

from mlg.monitors.answers import Answers, Coded, Ints, Ranks, Singles, micros, time_text
from mlg.monitors.fold_state import Open, Stream
from mlg.monitors.sums import Sums, bins_of
from mlg.monitors.windows import SAMPLE, Feature, Row, merge, summarise

MAX_ACTORS: Final = 20_000
"""Viewers whose answers a window counts; later ones are counted as answers only."""
_CONFIDENCE: Final = Feature(name="raw_confidence")


class LiveWindow:
    """One open window of a stream.

    Args:
        stream: The stream that it is of.
        opened: As it was stored.
    """

    def __init__(self, stream: Stream, opened: Open) -> None:
        self.opened = opened
        self.n, self.rows, self.actors = opened.n, opened.rows, dict(opened.actors)
        self._start, self._end = micros(opened.start), micros(opened.end)
        self._shares, self._confidence = dict(opened.shares), opened.confidence
        places = range(len(stream.charted))
        by_viewer = [stream.columns[at].per_viewer for at in stream.charted]
        self._parts: list[tuple[list[int], bool, Sums]] = []
        for viewers in (False, True):
            own = [place for place in places if by_viewer[place] is viewers]
            bins = bins_of(
                tuple(stream.columns[stream.charted[place]] for place in own),
                tuple(stream.edges[place] for place in own),
            )
            before = [opened.features[place] for place in own] if opened.features else []
            self._parts.append((own, viewers, Sums(bins, before)))

    def firsts(self, viewer: Coded, rows: Ints) -> Ints:
        """Return which of the rows are the first of their viewer in the window, as places.

        A row without a viewer is one of its own; of viewers beyond those counted, none is.
        """
        codes = viewer.codes[rows]
        named = codes >= 0
        first = np.full(len(viewer.texts) + 1, -1, dtype=np.int64)
        backwards = np.arange(len(rows))[::-1]
        first[codes[::-1]] = backwards  # the last one written is the first row
        mine = first[:-1]
        came = np.flatnonzero(mine >= 0)
        if self.actors:
            new = [code for code in came.tolist() if viewer.texts[code] not in self.actors]
            came = np.array(new, dtype=np.int64)
        room = MAX_ACTORS - len(self.actors)
        if came.size > room:
            came = came[np.argsort(mine[came], kind="stable")[:room]]
        keep = ~named
        keep[mine[came]] = True
        return np.flatnonzero(keep)

    def add(
        self, answers: Answers, rows: Ints, matrix: Singles, charted: Ints, first: Ints
    ) -> None:
        """Add answers.

        Args:
            answers: All of this call.
            rows: Those to be added.
            matrix: Features of those that have any, one row each, in the stream's columns.
            charted: The charted columns.
            first: Rows of `matrix` that are the first of their viewer.
        """
        at_us = answers.at_us[rows]
        self._start = min(self._start, int(at_us.min()))
        self._end = max(self._end, int(at_us.max()))
        self.n += len(rows)
        for columns, viewers, sums in self._parts:
            if columns:
                part = matrix[first] if viewers else matrix
                sums.add(np.ascontiguousarray(part.T[charted[columns]]))
        self._add_shares(answers.served_by, rows)
        rescue = np.array([text == "rescue" for text in answers.served_by.texts] + [False])
        raw = answers.raw[rows]
        raw = raw[~rescue[answers.served_by.codes[rows]]]
        self._confidence = merge(self._confidence, summarise(_CONFIDENCE, raw, ()))
        self._add_actors(answers.viewer, rows)

    def sample(self, answers: Answers, due: Ints, matrix: Singles) -> None:
        """Keep the rows of smallest rank among the old and these."""
        rank: Ranks = answers.rank[due]
        chosen: Ints = np.arange(len(due))
        if len(self.rows) >= SAMPLE:
            last = np.uint64(int(self.rows[-1].rank, 16))
            chosen = np.flatnonzero(rank <= last)
        if len(chosen) > SAMPLE:
            chosen = chosen[np.argpartition(rank[chosen], SAMPLE)[: SAMPLE + 1]]
        packed = matrix[chosen].astype("<f4").tobytes()
        size = 4 * matrix.shape[1]
        new = [
            Row(
                rank=f"{of:016x}",
                prediction_id=answers.ids[row],
                values=packed[place * size : (place + 1) * size],
            )
            for place, (of, row) in enumerate(
                zip(rank[chosen].tolist(), due[chosen].tolist(), strict=True)
            )
        ]
        both = sorted((*self.rows, *new), key=lambda row: (row.rank, row.prediction_id))
        self.rows = tuple(both[:SAMPLE])

    def _add_shares(self, served: Coded, rows: Ints) -> None:
        counts = np.bincount(served.codes[rows] + 1, minlength=len(served.texts) + 1)
        for text, count in zip(served.texts, counts[1:].tolist(), strict=True):
            if count:
                key = f"served_by={text}"
                self._shares[key] = self._shares.get(key, 0) + count

    def _add_actors(self, viewer: Coded, rows: Ints) -> None:
        codes = viewer.codes[rows]
        counts = np.bincount(codes + 1, minlength=len(viewer.texts) + 1)[1:]
        came = np.flatnonzero(counts)
        actors, room = self.actors, MAX_ACTORS - len(self.actors)
        if came.size > room:  # the first to come are those that are known
            first = np.full(len(viewer.texts) + 1, 0, dtype=np.int64)
            first[codes[::-1]] = np.arange(len(rows))[::-1]
            came = came[np.argsort(first[came], kind="stable")]
        names = [viewer.texts[code] for code in came.tolist()]
        if not actors and came.size <= room:
            self.actors = dict(zip(names, counts[came].tolist(), strict=True))
            return
        for who, count in zip(names, counts[came].tolist(), strict=True):
            if who in actors or len(actors) < MAX_ACTORS:
                actors[who] = actors.get(who, 0) + count

    def stored(self) -> Open:
        """Return the window as a plain value."""
        features = [
            (place, summary)
            for columns, _, sums in self._parts
            for place, summary in zip(columns, sums.summaries(), strict=True)
        ]
        return replace(
            self.opened,
            start=time_text(self._start),
            end=time_text(self._end),
            n=self.n,
            features=tuple(summary for _, summary in sorted(features, key=lambda one: one[0])),
            shares=self._shares,
            confidence=self._confidence,
            rows=self.rows,
            actors=self.actors,
        )
