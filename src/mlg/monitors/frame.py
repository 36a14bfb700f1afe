"""A whole table in windows of equal counts: dense arrays a column, which merge by addition."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Kind = Literal["number", "text", "tags"]

BINS: Final = 20
"""Bins of a number: 19 inner edges at the quantiles of the baseline's pilot rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How numbers become bins: cells of one width, by value or by the float's own bits.

    A cell is found by arithmetic, without a search; each inner edge lies on a border of cells.
    """

    kind: Literal["linear", "bits", "search"]
    edges: tuple[float, ...] = ()
    """Of `search`: inner edges, rising; a value equal to one lies above it."""
    offset: float = 0.0
    """Where the first cell begins: of `linear` as a value, of `bits` as a number."""
    scale: float = 1.0
    """Of `linear`: cells a unit of value."""
    cells: int = 1
    borders: tuple[int, ...] = ()
    """Number of the first cell of each bin but the first, rising."""
    centre: float = 0.0
    """Subtracted from values before they are squared, so that a far zero costs no digits."""

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return 1 + len(self.edges if self.kind == "search" else self.borders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column as both tables are read."""

    name: str
    kind: Kind
    grid: Grid = Grid(kind="search")
    levels: tuple[str, ...] = ()
    """Of texts and tags: those counted apart, most frequent first; then other and unseen."""
    axes: tuple[tuple[float, ...], ...] = ()
    """Of a part of a vector: what its numbers are multiplied with; empty: its length."""
    of: str = ""
    """Of a part of a vector: the column that holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """One column, window by window; every array has a row a window."""

    n: Counts
    """Rows, shape ``(W,)``."""
    missing: Counts
    """Of them null or NaN."""
    infinite: Counts
    """Of them infinite; neither missing nor counted below."""
    total: Floats
    """Sum of (value - centre) over finite values."""
    squares: Floats
    """Sum of (value - centre)^2 over finite values."""
    counts: Counts
    """Shape ``(W, bins)``; of a text ``(W, levels + 2)`` with other and unseen last."""


def empty(windows: int, bins: int) -> Windows:
    """Return the summary of no rows."""
    whole = [np.zeros(windows, dtype=np.int64) for _ in range(3)]
    sums = [np.zeros(windows) for _ in range(2)]
    return Windows(
        n=whole[0],
        missing=whole[1],
        infinite=whole[2],
        total=sums[0],
        squares=sums[1],
        counts=np.zeros((windows, bins), dtype=np.int64),
    )


def merged(a: Windows, b: Windows) -> Windows:
    """Return the summary of the rows of both, window by window.

    Raises:
        ValueError: The two have other windows or bins.

    Examples:
        >>> merged(empty(2, 3), empty(2, 3)).counts.shape
        (2, 3)
    """
    if a.counts.shape != b.counts.shape:
        raise ValueError(f"windows of shape {a.counts.shape} and {b.counts.shape} do not merge")
    return Windows(
        n=a.n + b.n,
        missing=a.missing + b.missing,
        infinite=a.infinite + b.infinite,
        total=a.total + b.total,
        squares=a.squares + b.squares,
        counts=a.counts + b.counts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows drawn from a table with equal chance, in its order."""

    numbers: dict[str, NDArray[np.float32]] = field(
        default_factory=dict[str, NDArray[np.float32]]
    )
    """By column, shape ``(rows,)``; NaN is missing."""
    codes: dict[str, NDArray[np.int16]] = field(default_factory=dict[str, NDArray[np.int16]])
    """Texts as the place of their level; other is -1, missing -2."""
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A table as the check knows it."""

    rows: int
    columns: dict[str, Column]
    windows: dict[str, Windows]
    sample: Sample = Sample()
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """What is to be said of a column."""


def grid_of(pilot: Floats, *, bins: int = BINS, cells: int = 1024) -> Grid:
    """Return the grid whose bins hold about as many pilot values each.

    Args:
        pilot: Values, shape ``(n,)``; NaN and infinities are passed over.
        bins: Bins wanted; fewer where values repeat.
        cells: Cells of the grid.

    Returns:
        A linear grid, or one over the bits of a float32 where the values reach over many
        powers of two, or the edges alone where neither tells them apart; one bin for values
        that are all alike, or none.

    Examples:
        >>> grid_of(np.array([1.0, 2.0, 3.0, 4.0]), bins=4).bins
        4
        >>> grid_of(np.array([])).bins
        1
    """
    values = np.sort(pilot[np.isfinite(pilot)])
    if not values.size:
        return Grid(kind="search")
    centre = float(values[values.size // 2])
    edges = _edges(values, bins)
    if not edges.size:
        return Grid(kind="search", centre=centre)
    for grid in (_linear(values, edges, cells), _bits(values, edges)):
        if grid is not None:
            return replace(grid, centre=centre)
    return Grid(kind="search", edges=tuple(edges.tolist()), centre=centre)


def _edges(values: Floats, bins: int) -> Floats:
    """Return inner edges at quantiles, between values that differ."""
    different = np.unique(values)
    if different.size == 1:
        return np.zeros(0)
    if different.size <= bins:
        return (different[1:] + different[:-1]) / 2
    at = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="higher"))
    place = np.searchsorted(different, at)
    place = np.unique(place[place > 0])
    # half way to the value before, so that no rounding moves a value over its edge
    return (different[place] + different[place - 1]) / 2


def _linear(values: Floats, edges: Floats, cells: int) -> Grid | None:
    low = min(float(np.quantile(values, 0.002)), float(edges[0]))
    high = max(float(np.quantile(values, 0.998)), float(edges[-1]))
    step = (high - low) / (cells - 2)
    if not step > 0 or not np.isfinite(step):
        return None
    if edges.size > 1 and float(np.diff(edges).min()) < 4 * step:
        return None
    if max(abs(low), abs(high)) / step > 1e9:  # the cells are finer than the arithmetic
        return None
    borders = np.unique(np.rint((edges - low) / step).astype(np.int64) + 1)
    different = np.unique(values)
    if different.size <= 64 and not _apart(different, edges, low, step, borders):
        return None
    return Grid(
        kind="linear",
        offset=low - step,
        scale=1 / step,
        cells=cells,
        borders=tuple(borders.tolist()),
    )


def _apart(different: Floats, edges: Floats, low: float, step: float, borders: Counts) -> bool:
    """Return whether few different values fall on the sides of the borders that edges give."""
    cell = np.floor((different - low) / step + 1)
    mine = np.searchsorted(borders, cell, side="right")
    return bool(np.array_equal(mine, np.searchsorted(edges, different, side="right")))


SHIFT: Final = 15
"""Bits of a float32 that a cell of the `bits` grid leaves out: 256 cells a power of two."""


def bits_of(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return integers in the order of the values, 256 for each power of two.

    Examples:
        >>> bits_of(np.array([-1.0, 0.0, 1.0, 2.0], dtype=np.float32)).tolist()
        [-32513, 0, 32512, 32768]
    """
    raw = values.view(np.int32)
    # the bits of a negative number grow with its size
    return (raw ^ ((raw >> 31) & 0x7FFFFFFF)) >> SHIFT


def _bits(values: Floats, edges: Floats) -> Grid | None:
    places = bits_of(edges.astype(np.float32)).astype(np.int64)
    if edges.size > 1 and int(np.diff(places).min()) < 3:
        return None
    low, high = int(places[0]) - 1, int(places[-1]) + 2
    if high - low > 1 << 15 or float(np.abs(values).max()) > 3e38:
        return None
    return Grid(
        kind="bits",
        offset=float(low),
        cells=high - low,
        borders=tuple((places - low).tolist()),
    )
