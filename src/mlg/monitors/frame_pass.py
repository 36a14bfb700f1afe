"""One pass over a table's columns: chunks of rows in, windows of counts out."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mlg.monitors.frame import Column, Counts, Floats, Grid, Windows, bits_of, empty

Numbers = NDArray[np.float32] | NDArray[np.float64]


class Spans:
    """Which rows of a chunk belong to which window.

    Args:
        first: Number of the window of the first span.
        starts: First row of each span, rising from 0; a window each, one after the other.
        rows: Of the chunk.
    """

    def __init__(self, first: int, starts: NDArray[np.intp], rows: int) -> None:
        self.first, self.starts, self.rows = first, starts, rows
        self.lengths: Counts = np.diff(starts, append=rows).astype(np.int64)
        """Rows of each span."""
        self.at = slice(first, first + len(starts))
        """Where the spans' windows are in the whole table's."""
        self.window: NDArray[np.intp] = np.repeat(np.arange(len(starts)), self.lengths)
        """Span of each row, shape ``(rows,)``."""


def spans_of(begin: int, rows: int, total: int, windows: int) -> Spans:
    """Return the spans of rows `begin` to `begin + rows` of a table of `total`.

    Row r lies in window r * windows // total.

    Examples:
        >>> spans_of(2, 5, 10, 5).starts.tolist()  # rows 2 to 6, two a window
        [0, 2, 4]
    """
    first = begin * windows // total
    last = (begin + rows - 1) * windows // total
    # the first row of window w is the least r with r * windows >= w * total
    begins = [-(-w * total // windows) - begin for w in range(first + 1, last + 1)]
    return Spans(first, np.array([0, *begins], dtype=np.intp), rows)


class NumberPass:
    """Sums and bin counts of one numeric column.

    Args:
        column: With its grid.
        windows: Of the whole table.
    """

    def __init__(self, column: Column, windows: int) -> None:
        self.column = column
        self.windows: Windows = empty(windows, column.grid.bins)
        self._starts = np.array([0, *column.grid.borders], dtype=np.intp)

    def add(self, values: Numbers, spans: Spans) -> None:
        """Count a chunk.

        Args:
            values: Shape ``(spans.rows,)``; NaN is missing.
            spans: The chunk's windows.
        """
        if not spans.rows:
            return
        into, grid = self.windows, self.column.grid
        at = spans.at
        into.n[at] += spans.lengths
        with np.errstate(over="ignore", invalid="ignore"):
            gaps = np.subtract(values, grid.centre, dtype=np.float64)
            sums = np.add.reduceat(gaps, spans.starts)
        starts, lengths, window = spans.starts, spans.lengths, spans.window
        if not np.isfinite(sums).all():
            values, starts, lengths = self._without(values, spans, at)
            window = np.repeat(np.arange(len(starts)), lengths)
            gaps = np.subtract(values, grid.centre, dtype=np.float64)
            sums = _reduce(gaps, starts, lengths)
        into.total[at] += sums
        with np.errstate(over="ignore"):
            np.multiply(gaps, gaps, out=gaps)
            into.squares[at] += _reduce(gaps, starts, lengths)
        into.counts[at] += self._binned(values, window, lengths)

    def _without(
        self, values: Numbers, spans: Spans, at: slice
    ) -> tuple[Numbers, NDArray[np.intp], Counts]:
        """Count what is no finite number, and return the rest with its spans."""
        finite = np.isfinite(values)
        infinite = np.add.reduceat(np.isinf(values), spans.starts, dtype=np.int64)
        kept = np.add.reduceat(finite, spans.starts, dtype=np.int64)
        self.windows.infinite[at] += infinite
        self.windows.missing[at] += spans.lengths - kept - infinite
        starts = np.concatenate(([0], np.cumsum(kept)[:-1])).astype(np.intp)
        return values[finite], starts, kept

    def _binned(self, values: Numbers, window: NDArray[np.intp], lengths: Counts) -> Counts:
        grid = self.column.grid
        bins = grid.bins
        if bins == 1:
            return lengths[:, None]
        cells = cells_of(grid, values)
        size = bins if grid.kind == "search" else grid.cells
        cells += window * size
        counts = np.bincount(cells, minlength=size * len(lengths)).reshape(len(lengths), size)
        if grid.kind == "search":
            return counts
        return np.add.reduceat(counts, self._starts, axis=1)


def cells_of(grid: Grid, values: Numbers) -> NDArray[np.intp]:
    """Return the cell of each finite value; of a `search` grid its bin."""
    if grid.kind == "search":
        return np.searchsorted(np.asarray(grid.edges), values, side="right")
    if grid.kind == "bits":
        with np.errstate(over="ignore"):
            cells = bits_of(values.astype(np.float32, copy=False)).astype(np.intp)
        cells -= int(grid.offset)
        return np.clip(cells, 0, grid.cells - 1, out=cells)
    place = np.subtract(values, grid.offset, dtype=np.float64)
    np.multiply(place, grid.scale, out=place)
    np.clip(place, 0, grid.cells - 1, out=place)
    return place.astype(np.intp)


def bins_of(grid: Grid, values: Numbers) -> NDArray[np.intp]:
    """Return the bin of each finite value, shape as given."""
    cells = cells_of(grid, values)
    if grid.kind == "search":
        return cells
    return np.repeat(np.arange(grid.bins), np.diff([0, *grid.borders, grid.cells]))[cells]


def _reduce(values: Floats, starts: NDArray[np.intp], lengths: Counts) -> Floats:
    """Return the sums of spans of which some may be empty."""
    sums = np.zeros(len(starts))
    some = lengths > 0
    if some.any():
        sums[some] = np.add.reduceat(values, starts[some])
    return sums


class TextPass:
    """Counts of one column of texts, or of tags, by level.

    Args:
        column: With its levels.
        windows: Of the whole table.
    """

    def __init__(self, column: Column, windows: int) -> None:
        self.column = column
        self.windows: Windows = empty(windows, len(column.levels) + 2)

    def add(self, places: NDArray[np.intp], spans: Spans) -> None:
        """Count a chunk of one text a row.

        Args:
            places: Shape ``(spans.rows,)``: the level's own place, then other, unseen and
                missing, as `len(levels)` and the two numbers after it.
            spans: The chunk's windows.
        """
        if not spans.rows:
            return
        counts = self._counted(places, spans.window)
        self._count(counts[: len(spans.starts)], spans, counts[:, -1])

    def add_tags(
        self, places: NDArray[np.intp], rows: NDArray[np.intp], missing: NDArray[np.bool_],
        spans: Spans,
    ) -> None:  # fmt: skip
        """Count a chunk of any number of tags a row.

        Args:
            places: Of each tag, as in `add`.
            rows: Row of each tag in the chunk.
            missing: Whether a row has no list at all, shape ``(spans.rows,)``.
            spans: The chunk's windows.
        """
        if not spans.rows:
            return
        counts = self._counted(places, spans.window[rows])
        none = np.bincount(spans.window[missing], minlength=len(spans.starts))
        self._count(counts, spans, none)

    def _counted(self, places: NDArray[np.intp], window: NDArray[np.intp]) -> Counts:
        bins = self.windows.counts.shape[1] + 1
        spans = int(window[-1]) + 1 if window.size else 1
        counts = np.bincount(places + window * bins, minlength=bins * spans)
        return counts.reshape(-1, bins)

    def _count(self, counts: Counts, spans: Spans, missing: Counts) -> None:
        into = self.windows
        at = spans.at
        into.n[at] += spans.lengths
        into.missing[spans.at] += missing
        into.counts[spans.first : spans.first + len(counts)] += counts[:, :-1]


Pass = NumberPass | TextPass


def passes(columns: Mapping[str, Column], windows: int) -> dict[str, Pass]:
    """Return an empty pass for each column."""
    return {
        name: (NumberPass if column.kind == "number" else TextPass)(column, windows)
        for name, column in columns.items()
    }
