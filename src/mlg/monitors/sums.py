"""Sums of one window over all of its charted features at once: counts, moments, bins.

What is added is a matrix, never a column: with fifty features a call of numpy a feature would
cost more than the counting. Sums of two parts of a window add up to those of both.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.answers import Ints, Singles
from mlg.monitors.windows import Feature, Floats, Summary

_MOST_COMPARED: Final = 64
"""Edges up to which comparing with each is faster than a search."""


class Bins:
    """Where the values of each feature are counted: in bins of a number, or as level codes.

    Args:
        features: The charted features.
        edges: Inner bin edges of each; empty for texts, and for numbers not binned yet.
    """

    def __init__(
        self, features: tuple[Feature, ...], edges: tuple[tuple[float, ...], ...]
    ) -> None:
        self.features = features
        self.sizes = np.array(
            [
                len(own) + 1 if feature.levels is None and own
                else 0 if feature.levels is None else len(feature.levels) + 1
                for feature, own in zip(features, edges, strict=True)
            ],
            dtype=np.int64,
        )  # fmt: skip
        self.starts: Ints = np.cumsum(self.sizes + 1) - (self.sizes + 1)
        """Of each feature's bins in the row of all; a last one takes what is not finite."""
        texts = np.array([feature.levels is not None for feature in features], dtype=np.bool_)
        self.texts: Ints = np.flatnonzero(texts)
        self.numbers: Ints = np.flatnonzero(~texts & (self.sizes > 0))
        most = max((len(edges[i]) for i in self.numbers.tolist()), default=0)
        self.edges: Singles = np.full((self.numbers.size, most), np.inf, dtype=np.float32)
        for place, column in enumerate(self.numbers.tolist()):
            self.edges[place, : len(edges[column])] = _rounded_up(edges[column])
        self.small = most <= _MOST_COMPARED

    def counts(self, x: Singles, finite: "NDArray[np.bool_] | None") -> Ints:
        """Return how many values fell where, shape ``((sizes + 1).sum(),)``.

        Args:
            x: One row a feature, shape ``(features, rows)``.
            finite: Which of them are; None: all.
        """
        total = int((self.sizes + 1).sum())
        found = np.zeros(total, dtype=np.int64)
        if not x.shape[1]:
            return found
        every = self.numbers.size == len(self.features)
        for columns, binned in (
            (self.numbers, self._binned(x if every else x[self.numbers])),
            (self.texts, self._levels(x[self.texts])),
        ):
            if not columns.size:
                continue
            sizes = self.sizes[columns][:, np.newaxis]
            places = binned if finite is None else np.where(finite[columns], binned, sizes)
            flat = places + self.starts[columns][:, np.newaxis]
            found += np.bincount(flat.ravel(), minlength=total)
        return found

    def _binned(self, x: Singles) -> "NDArray[np.integer[Any]]":
        if not self.small:
            found = np.zeros(x.shape, dtype=np.int64)
            for row, (values, own) in enumerate(zip(x, self.edges, strict=True)):
                found[row] = np.searchsorted(own[np.isfinite(own)], values, side="right")
            return found
        # one comparison of all values an edge: a tenth of the time of a search of each value
        above = np.empty(x.shape, dtype=np.bool_)
        places = np.zeros(x.shape, dtype=np.uint8)
        for place in range(self.edges.shape[1]):
            np.greater_equal(x, self.edges[:, place : place + 1], out=above)
            places += above.view(np.uint8)
        return places

    def _levels(self, x: Singles) -> Ints:
        sizes = self.sizes[self.texts][:, np.newaxis] - 1
        inside = (x >= 0) & (x < sizes)
        return np.where(inside, np.where(inside, x, 0).astype(np.int64), sizes)


def _rounded_up(edges: Sequence[float]) -> Singles:
    """Return the least float32 that is not below each edge: ``x >= edge`` stays as it was."""
    exact = np.asarray(edges, dtype=np.float64)
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
        return np.where(near < exact, np.nextafter(near, np.float32(np.inf)), near)


@lru_cache(maxsize=64)
def bins_of(features: tuple[Feature, ...], edges: tuple[tuple[float, ...], ...]) -> Bins:
    """Return the bins of these features, made once."""
    return Bins(features, edges)


class Sums:
    """What was added so far.

    Args:
        bins: Where values are counted.
        before: Summaries of the same features to go on from; empty: nothing was added.
    """

    def __init__(self, bins: Bins, before: Sequence[Summary] = ()) -> None:
        size = len(bins.features)
        self._bins = bins
        self._n = np.zeros(size, dtype=np.int64)
        self._missing, self._infinite = self._n.copy(), self._n.copy()
        self._mean, self._m2 = np.zeros(size), np.zeros(size)
        self._counts = np.zeros(int((bins.sizes + 1).sum()), dtype=np.int64)
        for place, summary in enumerate(before):
            self._n[place] = summary.n
            self._missing[place], self._infinite[place] = summary.missing, summary.infinite
            self._mean[place], self._m2[place] = summary.mean, summary.m2
            start = int(bins.starts[place])
            if len(summary.counts) == bins.sizes[place]:
                self._counts[start : start + len(summary.counts)] = summary.counts

    def add(self, x: Singles) -> None:
        """Add one row a feature, shape ``(features, rows)``; NaN and infinities are missing.

        Source:
            T. Chan, G. Golub, R. LeVeque (1983), The American Statistician 37(3):242-247.
        """
        rows = x.shape[1]
        if not rows or not x.shape[0]:
            return
        finite: NDArray[np.bool_] | None = np.isfinite(x)
        wide: Floats = x.astype(np.float64)
        if finite.all():
            finite, known = None, np.full(x.shape[0], rows, dtype=np.int64)
        else:
            known = np.count_nonzero(finite, axis=1)
            wide[~finite] = 0.0
        mean: Floats = wide.sum(axis=1) / np.maximum(known, 1)
        wide -= mean[:, np.newaxis]
        if finite is not None:
            wide[~finite] = 0.0
            self._infinite += np.count_nonzero(np.isinf(x), axis=1)
        m2 = np.einsum("ij,ij->i", wide, wide)
        before = self._n - self._missing
        both = np.maximum(before + known, 1)
        gap = np.where(known > 0, mean - self._mean, 0.0)
        self._mean += gap * known / both
        self._m2 += m2 + gap * gap * before * known / both
        self._n += rows
        self._missing += rows - known
        self._counts += self._bins.counts(x, finite)

    def summaries(self) -> tuple[Summary, ...]:
        """Return one summary a feature."""
        counts = self._counts.tolist()
        return tuple(
            Summary(
                name=feature.name,
                n=n,
                missing=missing,
                infinite=infinite,
                mean=mean,
                m2=m2,
                counts=tuple(counts[start : start + size]),
            )
            for feature, n, missing, infinite, mean, m2, start, size in zip(
                self._bins.features,
                self._n.tolist(),
                self._missing.tolist(),
                self._infinite.tolist(),
                self._mean.tolist(),
                self._m2.tolist(),
                self._bins.starts.tolist(),
                self._bins.sizes.tolist(),
                strict=True,
            )
        )
