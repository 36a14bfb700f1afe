"""Of which group each remembered answer is: levels of text features, read when it is folded.

Labels come later than answers, so the level is kept with the answer until then: four bytes a
feature. What became of a window's answers is then counted once for all levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.answers import Answers, Ints, Singles
from mlg.monitors.fold_state import GroupColumn, Remembered
from mlg.monitors.levels import KEPT
from mlg.monitors.windows import GroupQuality, Layout

MOST_LEVELS: Final = 20
"""Levels of a feature that are told apart; the others are one group."""

OTHERS: Final = "(others)"
"""The group of all further levels."""
UNSEEN: Final = "(unseen)"
"""The group of texts that training never saw."""
MISSING: Final = "(missing)"
"""The group of answers without a value."""
NO_LEVELS: Final = (OTHERS, UNSEEN, MISSING)

_MOST_VERSIONS: Final = 16
"""Versions whose levels are remembered, the newest."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Which remembered answers are counted, one place an answer."""

    own: Bools
    """Given by the model itself in the window."""
    known: Bools
    """Of them those with any feedback."""
    hit: Bools
    watched: Bools
    """Of the known ones those with a watch-through."""
    raw: Floats
    watch: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How one version's packed column becomes codes."""

    column: int
    levels: int
    """Levels with a name."""
    beyond: int
    """Levels behind them, without one."""
    codes: Ints
    """Of each named level, then of `NO_LEVELS`."""


class GroupMemory:
    """A copy of what is remembered of groups that can be added to.

    Args:
        kept: As it was stored; answers from before a feature was asked for have no group.
        features: Names of logged text features.
        size: Remembered answers.
    """

    def __init__(self, kept: Remembered, features: Sequence[str], size: int) -> None:
        columns = {column.feature: column for column in kept.groups}
        self._texts: dict[str, dict[str, int]] = {}
        self._codes: dict[str, Ints] = {}
        for name in features:
            column = columns.get(name) or GroupColumn(feature=name)
            codes = np.frombuffer(column.codes, "<i4").astype(np.int64)
            older = np.full(size - len(codes), -1, dtype=np.int64)
            self._codes[name] = np.concatenate((older, codes))
            self._texts[name] = {text: code for code, text in enumerate(column.texts)}
        self._levels = dict(kept.levels)
        self._ways: dict[tuple[str, str], _Way | str] = {}

    def add(self, answers: Answers, layouts: Mapping[str, Layout]) -> dict[str, int]:
        """Remember the groups of answers; return what is not grouped, and of how many answers.

        Args:
            answers: In the order in which they are remembered.
            layouts: By model version; answers of others, or without features, have no group.
        """
        told: dict[str, int] = {}
        if not self._codes:
            return told
        version = answers.version
        counts = np.bincount(version.codes + 1, minlength=len(version.texts) + 1)[1:]
        with_features = answers.width > 0
        starts = np.cumsum(answers.width) - answers.width
        parts = [
            (version.texts[code], np.flatnonzero((version.codes == code) & with_features))
            for code in np.flatnonzero(counts).tolist()
        ]
        for name in self._codes:
            found = np.full(len(answers), -1, dtype=np.int64)
            for text, rows in parts:
                if text not in layouts or not rows.size:
                    continue
                way = self._way(name, layouts[text])
                if isinstance(way, str):
                    told[way] = told.get(way, 0) + len(rows)
                else:
                    found[rows] = _coded(answers.values[starts[rows] + way.column], way)
            self._codes[name] = np.concatenate((self._codes[name], found))
        return told

    def _way(self, name: str, layout: Layout) -> _Way | str:
        key = (name, layout.version)
        if key not in self._ways:
            self._ways[key] = self._made(name, layout)
        return self._ways[key]

    def _made(self, name: str, layout: Layout) -> _Way | str:
        at = {feature.name: place for place, feature in enumerate(layout.features)}
        version = layout.version
        if name not in at:
            if any(feature.group == name for feature in layout.features):
                return f"{name} is several columns in {version}: answers are grouped by texts"
            return f"{name} is not logged by {version}: no answers are grouped by it"
        feature = layout.features[at[name]]
        if feature.levels is None:
            return f"{name} is a number in {version}: answers are grouped by texts"
        names = feature.levels[:KEPT] if feature.beyond else feature.levels
        texts = self._texts[name]
        codes = [texts.setdefault(text, len(texts)) for text in (*names, *NO_LEVELS)]
        return _Way(
            column=at[name],
            levels=len(names),
            beyond=feature.beyond,
            codes=np.array(codes, dtype=np.int64),
        )

    def quality(self, version: str, marks: Marks) -> tuple[GroupQuality, ...]:
        """Return what became of a window's answers, group by group.

        The first `MOST_LEVELS` levels of a version are told apart in all its windows: in the
        order of its windows, and in a window the one with most answers first.
        """
        found: list[GroupQuality] = []
        for name, codes in self._codes.items():
            counted = self._counted(name, codes, marks)
            levels = self._told_apart(version, name, counted)
            groups: dict[str, GroupQuality] = {}
            for text, one in counted.items():
                level = text if text in NO_LEVELS or text in levels else OTHERS
                before = groups.get(level) or GroupQuality(feature=name, level=level)
                groups[level] = added(before, one)
            found += [groups[level] for level in (*levels, *NO_LEVELS) if level in groups]
        return tuple(found)

    def _counted(self, name: str, codes: Ints, marks: Marks) -> dict[str, GroupQuality]:
        size = len(self._texts[name])

        def count(rows: Bools, weights: Floats | None = None) -> list[float]:
            rows = rows & (codes >= 0)
            own = None if weights is None else weights[rows]
            return np.bincount(codes[rows], own, minlength=size).tolist()

        columns = zip(
            self._texts[name], count(marks.own), count(marks.known),
            count(marks.known & marks.hit), count(marks.known, marks.raw),
            count(marks.watched), count(marks.watched, marks.watch), strict=True,
        )  # fmt: skip
        return {
            text: GroupQuality(
                feature=name, level=text, n=int(n), labelled=int(labelled), hits=int(hits),
                expected=expected, watch_n=int(watch_n), watch_sum=watch_sum,
            )
            for text, n, labelled, hits, expected, watch_n, watch_sum in columns
            if n
        }  # fmt: skip

    def _told_apart(
        self, version: str, name: str, counted: Mapping[str, GroupQuality]
    ) -> tuple[str, ...]:
        of_version = dict(self._levels.pop(version, {}))
        known = of_version.get(name, ())
        new = sorted(counted.keys() - {*known, *NO_LEVELS}, key=lambda t: (-counted[t].n, t))
        levels = of_version[name] = (*known, *new)[:MOST_LEVELS]
        self._levels[version] = of_version  # the newest is the last one
        return levels

    def kept(self, low: int) -> tuple[GroupColumn, ...]:
        """Return the columns of the answers from this place on, to be stored."""
        columns: list[GroupColumn] = []
        for name, codes in self._codes.items():
            used, places = np.unique(codes[low:], return_inverse=True)
            texts = list(self._texts[name])
            none = int((used < 0).any())  # that code is first, and becomes -1
            columns.append(
                GroupColumn(
                    feature=name,
                    texts=tuple(texts[code] for code in used[none:].tolist()),
                    codes=(places - none).astype("<i4").tobytes(),
                )
            )
        return tuple(columns)

    @property
    def levels(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Levels that are told apart, by version and feature; of the newest versions."""
        return dict(list(self._levels.items())[-_MOST_VERSIONS:])


def _coded(values: Singles, way: _Way) -> Ints:
    finite = np.isfinite(values)
    others, unseen, missing = (way.levels + place for place in range(len(NO_LEVELS)))
    inside = finite & (values >= 0) & (values < way.levels)
    if inside.all():
        return way.codes[values.astype(np.int64)]
    beyond = finite & (values >= way.levels) & (values < way.levels + way.beyond)
    places = np.where(finite, unseen, missing)
    places[beyond] = others
    places[inside] = values[inside].astype(np.int64)
    return way.codes[places]


def added(a: GroupQuality, b: GroupQuality) -> GroupQuality:
    """Return what became of the answers of both, under the name of the first.

    Examples:
        >>> one = GroupQuality(feature="plan", level="free", n=3, labelled=2, hits=1)
        >>> added(one, one).labelled
        4
    """
    return GroupQuality(
        feature=a.feature,
        level=a.level,
        n=a.n + b.n,
        labelled=a.labelled + b.labelled,
        hits=a.hits + b.hits,
        expected=a.expected + b.expected,
        watch_n=a.watch_n + b.watch_n,
        watch_sum=a.watch_sum + b.watch_sum,
    )
