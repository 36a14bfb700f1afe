"""The pieces of folding: codes, shares, viewers, the sample, the bins of a first window."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import numpy as np

from mlg.monitors.fold_state import Answer, Open, Stream
from mlg.monitors.windows import (
    BINS,
    SAMPLE,
    Feature,
    Floats,
    Row,
    Summary,
    quantile_edges,
    sample_matrix,
    summarise,
)

_MAX_ACTORS: Final = 20_000


def as_coded(values: Floats, given: Feature, wanted: Feature) -> Floats:
    """Return level codes of one layout in the codes of another; numbers as they are."""
    if given.levels == wanted.levels or given.levels is None or wanted.levels is None:
        return values
    places = {level: float(code) for code, level in enumerate(wanted.levels)}
    codes = np.array([*(places.get(level, -1.0) for level in given.levels), -1.0])
    known = np.isfinite(values)
    at = np.where(known & (values >= 0) & (values < len(given.levels)), values, -1.0)
    return np.where(known, codes[at.astype(np.int64)], np.nan)


def shares(before: dict[str, int], answers: Sequence[Answer]) -> dict[str, int]:
    """Return answers by who served them, the window's before included."""
    counts = dict(before)
    for answer in answers:
        key = "served_by=rescue" if answer.rescue else f"served_by={answer.served_by}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def first_rows(before: Mapping[str, int], answers: Sequence[Answer]) -> list[int]:
    """Return the rows of viewers not met in the window before; without a viewer, every row."""
    met: set[str] = set()
    rows: list[int] = []
    for row, answer in enumerate(answers):
        who = answer.viewer
        if not who or (who not in before and who not in met):
            met.add(who)
            rows.append(row)
    return rows


def actors(before: dict[str, int], answers: Sequence[Answer]) -> dict[str, int]:
    """Return answers by viewer, the window's before included."""
    counts = dict(before)
    for answer in answers:
        who = answer.viewer
        if who and (who in counts or len(counts) < _MAX_ACTORS):
            counts[who] = counts.get(who, 0) + 1
    return counts


def sampled(
    rows: tuple[Row, ...], answers: Sequence[Answer], matrix: Floats
) -> tuple[Row, ...]:
    """Return the rows of smallest hash among the old and the new."""
    packed = matrix.astype("<f4")
    new = [
        Row(
            rank=blake2b(answer.id.encode(), digest_size=8).hexdigest(),
            prediction_id=answer.id,
            values=packed[place].tobytes(),
        )
        for place, answer in enumerate(answers)
    ]
    return tuple(sorted((*rows, *new), key=lambda row: row.rank)[:SAMPLE])


def with_edges(stream: Stream, opened: Open) -> tuple[Stream, Open]:
    """Return the stream with edges from its first closed window, and that window binned.

    The window's bins then count its sample; later windows count every row.
    """
    matrix = sample_matrix(stream.columns, opened.rows)
    edges: list[tuple[float, ...]] = []
    features: list[Summary] = []
    for place, column in enumerate(stream.charted):
        feature, own = stream.columns[column], stream.edges[place]
        summary = opened.features[place]
        if feature.levels is None and not own:
            own = quantile_edges(matrix[:, column], BINS)
            binned = summarise(feature, matrix[:, column], own)
            summary = replace(summary, counts=binned.counts)
        edges.append(own)
        features.append(summary)
    others = tuple(
        replace(
            item,
            features=tuple(
                replace(summary, counts=())
                if stream.columns[column].levels is None
                else summary
                for column, summary in zip(stream.charted, item.features, strict=True)
            ),
        )
        for item in stream.open
        if item.bucket != opened.bucket
    )
    stream = replace(stream, edges=tuple(edges), open=others)
    return stream, replace(opened, features=tuple(features))
