"""The pieces of folding: one layout's columns as another's, streams, bins of a first window."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlg.monitors.answers import Answers, Ints, Singles
from mlg.monitors.fold_state import Open, Stream
from mlg.monitors.groups import NORM, norms, parts_of
from mlg.monitors.levels import long_text
from mlg.monitors.windows import (
    BINS,
    REQUESTS,
    Feature,
    Layout,
    quantile_edges,
    sample_matrix,
    summarise,
)


def with_edges(stream: Stream, opened: Open) -> tuple[Stream, Open]:
    """Return the stream with edges from its first closed window, and that window binned.

    Its bins and those of windows that are open meanwhile count their samples; windows that
    begin later count every row.
    """
    matrix = sample_matrix(stream.columns, opened.rows)
    edges = tuple(
        quantile_edges(matrix[:, column], BINS)
        if stream.columns[column].levels is None and not own
        else own
        for column, own in zip(stream.charted, stream.edges, strict=True)
    )
    others = tuple(replace(item, unbinned=True) for item in stream.open)
    stream = replace(stream, edges=edges, open=others)
    return stream, binned(stream, opened)


def binned(stream: Stream, opened: Open) -> Open:
    """Return a window whose numbers are counted in bins by its sample."""
    matrix = sample_matrix(stream.columns, opened.rows)
    features = list(opened.features)
    for place, column in enumerate(stream.charted):
        feature = stream.columns[column]
        if feature.levels is None and features:
            found = summarise(feature, matrix[:, column], stream.edges[place])
            features[place] = replace(features[place], counts=found.counts)
    return replace(opened, features=tuple(features), unbinned=False)


class Way:
    """How the packed features of one version become a stream's columns.

    Args:
        layout: Of the version.
        stream: With columns of the same name, of others, and lengths of vectors.
    """

    def __init__(self, layout: Layout, stream: Stream) -> None:
        places = {feature.name: at for at, feature in enumerate(layout.features)}
        self._width, self._columns = len(layout.features), len(stream.columns)
        found = [places.get(feature.name, -1) for feature in stream.columns]
        pairs = [(to, at) for to, at in enumerate(found) if at >= 0]
        given, wanted = layout.features, stream.columns
        self.retyped = tuple(
            wanted[to].name
            for to, at in pairs
            if (given[at].levels is None) != (wanted[to].levels is None)
        )
        """Columns that are a number in one and a text in the other: missing, and told."""
        self.new = tuple(
            feature.name
            for feature in given
            if feature.of == "request" and feature.name not in {one.name for one in wanted}
        )
        """What came in the request and has no column: not watched, and told."""
        pairs = [(to, at) for to, at in pairs if wanted[to].name not in self.retyped]
        self._into = np.array([to for to, _ in pairs], dtype=np.int64)
        self._at = np.array([at for _, at in pairs], dtype=np.int64)
        self._same = self._at.tolist() == list(range(self._width)) == self._into.tolist()
        self._codes = [
            (to, codes)
            for to, at in pairs
            if (codes := _codes(layout, given[at], wanted[to])) is not None
        ]
        groups = parts_of([feature.name for feature in wanted])
        self._norms = [
            (to, list(groups[name].columns))
            for to, feature in enumerate(wanted)
            if feature.name.endswith(NORM)
            and (name := feature.name.removesuffix(NORM)) in groups
            and groups[name].shape == "vector"
        ]

    def of(self, answers: Answers, rows: Ints) -> Singles:
        """Return columns of rows that all have features; NaN where the version has none."""
        given = answers.matrix(rows, self._width)
        if self._same and self._columns == self._width and not self._codes:
            return given
        result = np.full((len(rows), self._columns), np.nan, np.float32)
        result[:, self._into] = given[:, self._at]
        for to, codes in self._codes:
            own = result[:, to]
            known = np.isfinite(own)
            at = np.where(known & (own >= 0) & (own < len(codes) - 1), own, len(codes) - 1)
            result[:, to] = np.where(known, codes[at.astype(np.int64)], np.nan)
        for to, columns in self._norms:
            result[:, to] = norms(result[:, columns])
        return result


def _codes(layout: Layout, given: Feature, wanted: Feature) -> Ints | None:
    """Return codes of one layout's levels in another's; None where they are the same."""
    if given.levels is None or wanted.levels is None:
        return None
    if given.name in layout.long or wanted.beyond:
        own = layout.long.get(given.name) or long_text(given.levels)
        return own.codes_in(wanted.levels, shares=wanted.beyond > 0)
    if given.levels == wanted.levels:
        return None
    places = {level: code for code, level in enumerate(wanted.levels)}
    return np.array([*(places.get(level, -1) for level in given.levels), -1], dtype=np.int64)


def with_lengths(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Return the features and a column for the length of each vector among them."""
    groups = parts_of([feature.name for feature in features])
    firsts = [
        (name, features[group.columns[0]])
        for name, group in groups.items()
        if group.shape == "vector"
    ]
    lengths = [
        Feature(name=f"{name}{NORM}", of=first.of, per_viewer=first.per_viewer)
        for name, first in firsts
    ]
    return (*features, *lengths)


def groups_of(answers: Answers) -> list[tuple[str, Ints]]:
    """Return the rows of each stream: all requests', then the versions' as they came."""
    every: Ints = np.arange(len(answers))
    groups = [(REQUESTS, every)]
    codes, served = answers.version.codes, answers.served_by
    rescue = np.array([text == "rescue" for text in served.texts] + [False])
    codes = np.where(rescue[served.codes], -1, codes)
    if len(codes) and codes[0] >= 0 and (codes == codes[0]).all():
        return [*groups, (answers.version.texts[int(codes[0])], every)]
    found, first = np.unique(codes, return_index=True)
    came = [int(code) for code in found[np.argsort(first)] if code >= 0]
    texts = answers.version.texts
    return [*groups, *((texts[code], np.flatnonzero(codes == code)) for code in came)]


def inside(places: Ints, full: "np.ndarray[Any, Any]") -> Ints:
    """Return places among all rows as places among the full ones; others are left out."""
    return (np.cumsum(full) - 1)[places[full[places]]]


def of_service(answers: Answers, name: str) -> Answers:
    """Return the answers of one service."""
    service = answers.service
    if all(text == name for text in service.texts):
        return answers
    ours = np.array([text == name for text in service.texts] + [False])
    return answers.take(np.flatnonzero(ours[service.codes]))


def of_known_layout(answers: Answers, layouts: Mapping[str, Layout]) -> tuple[Answers, int]:
    """Return the answers without features that cannot be read, and how many had such."""
    known = [
        len(layouts[text].features) if text in layouts else -1 for text in answers.version.texts
    ]
    wanted = np.array([*known, -1])[answers.version.codes]
    unknown = (answers.width > 0) & (answers.width != wanted)
    if not unknown.any():
        return answers, 0
    readable = replace(
        answers,
        width=np.where(unknown, 0, answers.width),
        values=answers.values[np.repeat(~unknown, answers.width)],
    )
    return readable, int(unknown.sum())
