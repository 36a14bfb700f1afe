"""A window while it is open: what answers add to, and the stored value it comes from."""

from dataclasses import replace
from heapq import nsmallest
from typing import Final

import numpy as np

from mlg.monitors.answers import Answers, Coded, Ints, Ranks, Singles, micros, time_text
from mlg.monitors.fold_state import Open, Stream
from mlg.monitors.groups import grouped, merged, parts_of
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
        self.n = opened.n
        self._rank = np.array([int(row.rank, 16) for row in opened.rows], dtype=np.uint64)
        self._ids = [row.prediction_id for row in opened.rows]
        packed = b"".join(row.values for row in opened.rows)
        width = len(stream.columns)
        self._values: Singles = np.frombuffer(packed, "<f4").astype(np.float32)
        self._values = self._values.reshape(len(self._ids), width)
        self._actors = dict(opened.actors)
        self._viewer: Coded | None = None
        self._counts: Ints | None = None
        self._added = 0
        self._start, self._end = micros(opened.start), micros(opened.end)
        self._shares, self._confidence = dict(opened.shares), opened.confidence
        places = range(len(stream.charted))
        by_viewer = [stream.columns[at].per_viewer for at in stream.charted]
        groups = parts_of([column.name for column in stream.columns])
        kept = {one.name: one for one in opened.groups}
        no_rows = np.zeros((0, len(stream.columns)), np.float32)
        self._groups = [groups[name] for name in stream.grouped]
        self._grouped = [
            kept.get(group.name) or grouped(group, no_rows[:, : len(group.columns)])
            for group in self._groups
        ]
        self._of_viewer = [column.per_viewer for column in stream.columns]
        self._parts: list[tuple[list[int], bool, Sums]] = []
        for viewers in (False, True):
            own = [place for place in places if by_viewer[place] is viewers]
            bins = bins_of(
                tuple(stream.columns[stream.charted[place]] for place in own),
                tuple(stream.edges[place] for place in own),
            )
            before = [opened.features[place] for place in own] if opened.features else []
            self._parts.append((own, viewers, Sums(bins, before)))

    def came(self, viewer: Coded, rows: Ints) -> Ints:
        """Count whose answers these are; return the places of rows that are a viewer's first.

        A row without a viewer is one of its own; of viewers beyond those counted, none is.

        Args:
            viewer: Of all answers of this part; another part's must be `settle`d first.
            rows: Those added to the window.
        """
        codes = viewer.codes[rows]
        first = np.full(len(viewer.texts) + 1, -1, dtype=np.int64)
        first[codes[::-1]] = np.arange(len(rows))[::-1]  # the last one written is the first
        first = first[:-1]
        counts = np.bincount(codes + 1, minlength=len(first) + 1)[1:]
        if self._counts is None:
            self._viewer, self._counts = viewer, np.zeros(len(first), dtype=np.int64)
        new = np.flatnonzero((first >= 0) & (self._counts == 0))
        if self._actors:
            known = np.array([*map(self._actors.__contains__, viewer.pick(new))], np.bool_)
            new = new[~known]
        room = MAX_ACTORS - len(self._actors) - self._added
        if new.size > room:
            late = new[np.argsort(first[new], kind="stable")]
            new, late = late[: max(room, 0)], late[max(room, 0) :]
            counts[late] = 0
        self._added += new.size
        self._counts += counts
        keep = codes < 0
        keep[first[new]] = True
        return np.flatnonzero(keep)

    def settle(self) -> None:
        """Know the viewers by name, before other answers are added."""
        if self._counts is None or self._viewer is None:
            return
        codes = np.flatnonzero(self._counts)
        names, counts = self._viewer.pick(codes), self._counts[codes].tolist()
        if self._actors:
            actors = self._actors
            for who, count in zip(names, counts, strict=True):
                actors[who] = actors.get(who, 0) + count
        else:
            self._actors = dict(zip(names, counts, strict=True))
        self._viewer, self._counts, self._added = None, None, 0

    def busiest(self, most: int) -> tuple[int, tuple[tuple[str, int], ...]]:
        """Return how many viewers came, and who came most often."""
        if self._actors or self._counts is None or self._viewer is None:
            self.settle()
            top = nsmallest(most, self._actors.items(), key=lambda pair: (-pair[1], pair[0]))
            return len(self._actors), tuple(top)
        codes = np.flatnonzero(self._counts)
        counts, few = self._counts[codes], codes
        if codes.size > most:
            least = np.partition(counts, codes.size - most)[codes.size - most]
            sure = codes[counts > least]
            tied = self._viewer.smallest(codes[counts == least], most - sure.size)
            few = np.concatenate((sure, tied))
        pairs = zip(self._viewer.pick(few), self._counts[few].tolist(), strict=True)
        ranked = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
        return codes.size, tuple(ranked[:most])

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
        for place, group in enumerate(self._groups):
            part = matrix[first] if self._of_viewer[group.columns[0]] else matrix
            found = grouped(group, part[:, list(group.columns)])
            self._grouped[place] = merged(self._grouped[place], found)
        self._add_shares(answers.served_by, rows)
        rescue = np.array([text == "rescue" for text in answers.served_by.texts] + [False])
        raw = answers.raw[rows]
        raw = raw[~rescue[answers.served_by.codes[rows]]]
        self._confidence = merge(self._confidence, summarise(_CONFIDENCE, raw, ()))

    def sample(self, answers: Answers, due: Ints, matrix: Singles) -> None:
        """Keep the rows of smallest rank among the old and these."""
        rank: Ranks = answers.rank[due]
        chosen: Ints = np.arange(len(due))
        if len(self._ids) >= SAMPLE:
            chosen = np.flatnonzero(rank < self._rank.max())
        if len(chosen) > SAMPLE:
            chosen = chosen[np.argpartition(rank[chosen], SAMPLE - 1)[:SAMPLE]]
        if not len(chosen):
            return
        ranks = np.concatenate((self._rank, rank[chosen]))
        ids = [*self._ids, *(answers.ids[row] for row in due[chosen].tolist())]
        values = np.concatenate((self._values, matrix[chosen]))
        if len(ids) > SAMPLE:
            keep = np.argpartition(ranks, SAMPLE - 1)[:SAMPLE]
            ranks, values = ranks[keep], values[keep]
            ids = [ids[place] for place in keep.tolist()]
        self._rank, self._ids, self._values = ranks, ids, values

    def _rows(self) -> tuple[Row, ...]:
        packed = self._values.astype("<f4").tobytes()
        size, order = 4 * self._values.shape[1], np.argsort(self._rank, kind="stable")
        ranks = self._rank[order].astype(">u8").tobytes().hex()
        return tuple(
            Row(
                rank=ranks[16 * at : 16 * at + 16],
                prediction_id=self._ids[place],
                values=packed[place * size : place * size + size],
            )
            for at, place in enumerate(order.tolist())
        )

    def _add_shares(self, served: Coded, rows: Ints) -> None:
        counts = np.bincount(served.codes[rows] + 1, minlength=len(served.texts) + 1)
        for text, count in zip(served.texts, counts[1:].tolist(), strict=True):
            if count:
                key = f"served_by={text}"
                self._shares[key] = self._shares.get(key, 0) + count

    def stored(self, *, actors: bool = True) -> Open:
        """Return the window as a plain value; without its viewers if they are not asked for."""
        if actors:
            self.settle()
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
            groups=tuple(self._grouped),
            shares=self._shares,
            confidence=self._confidence,
            rows=self._rows(),
            actors=self._actors if actors else {},
        )
