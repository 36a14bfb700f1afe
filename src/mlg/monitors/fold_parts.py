"""The pieces of folding: one layout's columns as another's, streams, bins of a first window."""

from dataclasses import replace
from typing import Any

import numpy as np

from mlg.monitors.answers import Answers, Ints, Singles
from mlg.monitors.fold_state import Open, Stream
from mlg.monitors.windows import (
    BINS,
    REQUESTS,
    Feature,
    Floats,
    Layout,
    quantile_edges,
    sample_matrix,
    summarise,
)


def as_coded(values: Floats, given: Feature, wanted: Feature) -> Floats:
    """Return level codes of one layout in the codes of another; numbers as they are."""
    if given.levels == wanted.levels or given.levels is None or wanted.levels is None:
        return values
    places = {level: float(code) for code, level in enumerate(wanted.levels)}
    codes = np.array([*(places.get(level, -1.0) for level in given.levels), -1.0])
    known = np.isfinite(values)
    at = np.where(known & (values >= 0) & (values < len(given.levels)), values, -1.0)
    return np.where(known, codes[at.astype(np.int64)], np.nan)


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
    """How the packed features of one version become a stream's columns."""

    def __init__(self, layout: Layout, stream: Stream) -> None:
        places = {feature.name: at for at, feature in enumerate(layout.features)}
        self._width, self._columns = len(layout.features), len(stream.columns)
        found = [places.get(feature.name, -1) for feature in stream.columns]
        self._same = found == list(range(self._width))
        self._into = np.array([to for to, at in enumerate(found) if at >= 0], dtype=np.int64)
        self._at = np.array([at for at in found if at >= 0], dtype=np.int64)
        self._coded = [
            (to, layout.features[at], stream.columns[to])
            for to, at in enumerate(found)
            if at >= 0 and layout.features[at].levels != stream.columns[to].levels
        ]

    def of(self, answers: Answers, rows: Ints) -> Singles:
        """Return columns of rows that all have features; NaN where the version has none."""
        given = answers.matrix(rows, self._width)
        if self._same and not self._coded:
            return given
        if len(self._into) == self._columns:
            result = given[:, self._at]
        else:
            result = np.full((len(rows), self._columns), np.nan, np.float32)
            result[:, self._into] = given[:, self._at]
        for to, own, wanted in self._coded:
            result[:, to] = as_coded(result[:, to].astype(np.float64), own, wanted)
        return result


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
