"""A table in a database as windows of counts, computed there: only counts travel.

The same Ibis expressions run on DuckDB and on Spark. Rows are placed in windows by cuts of
the time column, found from counts a cell of time, so that no engine has to sort or number all
rows; DuckDB, which keeps rows in order, also numbers them where no time is named.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import numpy as np
import pyarrow as pa
from ibis.common.exceptions import IbisError
from numpy.typing import NDArray

from mlg.adapters.table_batches import ROWS, Table
from mlg.adapters.table_frame import KNOWN, SAMPLE, Known, Reading, kind_of, numbers_of
from mlg.core.errors import BackendError, ManifestError
from mlg.monitors.frame import Column, Floats, Frame, Grid, Sample, Windows, empty
from mlg.monitors.frame_pass import bins_of

CELLS: Final = 20_000
"""Cells of time in which rows are counted to find the cuts between windows."""
_MOST_TIMES: Final = 5_000_000
"""Times that are fetched to place cuts inside of cells; of more, cuts fall between cells."""
_ORDERED: Final = frozenset({"duckdb"})
"""Engines that give rows in the table's own order."""
_SEEDED: Final = frozenset({"duckdb"})
"""Engines that draw the same rows of any expression again, given a seed."""
_MISSING, _INFINITE = -1, -2
_GREATEST: Final = float(np.finfo(np.float64).max)


def stays(source: Any) -> bool:
    """Return whether an Ibis table lies in a database, and not in this process's memory."""
    if not isinstance(source, ibis.Table):
        return False
    tables = source.op().find(ops.PhysicalTable)
    return any(not isinstance(one, ops.InMemoryTable) for one in tables)


def open_ibis(source: Any, name: str) -> Table:
    """Return an Ibis table: its columns are read in batches, unless they are counted there.

    Args:
        source: The expression.
        name: As errors name it.

    Raises:
        BackendError: The engine failed.
    """
    with _engine(name):
        rows = int(source.count().execute())

    def read(columns: Sequence[str]) -> Iterator[Any]:
        yield from source.select(list(columns)).to_pyarrow_batches(chunk_size=ROWS)

    def pilot(columns: Sequence[str], wanted: int) -> Any:
        return _sampled(source.select(list(columns)), rows, wanted).to_pyarrow()

    return Table(name, source.schema().to_pyarrow(), rows, read, pilot, source)


@contextmanager
def _engine(name: str) -> Generator[None]:
    """Give the engine's errors words and a place.

    Raises:
        BackendError: The engine failed.
    """
    spark = import_module("pyspark.errors") if "pyspark" in sys.modules else None
    kinds: tuple[Any, ...] = () if spark is None else (spark.PySparkException,)
    try:
        yield
    except (IbisError, duckdb.Error, pa.ArrowException, *kinds) as error:
        said = str(error).strip().splitlines() or [repr(error)]
        raise BackendError(
            f"the table's engine failed: {said[0][:200]}",
            where=name,
            hint="does the expression run by itself: table.head().execute()?",
        ) from error


def counted_there(table: Table, reading: Reading) -> bool:
    """Return whether every column of the reading can be counted where the table lies."""
    if table.expression is None:
        return False
    names = [*reading.columns, *([reading.time] if reading.time else [])]
    types = [table.schema.field(n).type for n in names if n in table.schema.names]
    odd = any(pa.types.is_time(one) or pa.types.is_duration(one) for one in types)
    plain = all(c.kind in {"number", "text"} and not c.of for c in reading.columns.values())
    return plain and not odd


def frame_there(
    table: Table,
    reading: Reading,
    *,
    windows: int,
    learn: bool,
    seed: int = 7,
    told: Callable[[int], None] = lambda _: None,
) -> Frame:
    """Return the table in windows of equal counts, counted where it lies.

    Rows whose times are equal fall into one window, rows without a time into the last.

    Args:
        table: From `open_ibis`.
        reading: How; columns that the table lacks are left out.
        windows: Wanted, at most its rows.
        learn: Whether texts of its first half become known: for the baseline.
        seed: Of the sample, where the engine takes one.
        told: Told about how many rows' worth is done.

    Raises:
        ManifestError: The engine has no order of rows, and no time is named.
        BackendError: The engine failed.
    """
    with _engine(table.name):
        return _frame(table, reading, windows, learn, seed, told)


def _frame(
    table: Table,
    reading: Reading,
    windows: int,
    learn: bool,
    seed: int,
    told: Callable[[int], None],
) -> Frame:
    placed = _placed(table, reading.time, windows)
    columns = {
        name: column
        for name, column in reading.columns.items()
        if name in table.schema.names and kind_of(table.schema.field(name).type) == column.kind
    }
    found: dict[str, Windows] = {}
    for at, (name, column) in enumerate(columns.items(), 1):
        if column.kind == "number":
            found[name] = _numbers(placed, column, windows)
        else:
            if learn:
                _learn(placed, name, reading.known[name])
            found[name] = _texts(placed, column, reading.known[name], windows)
        told(table.rows * at // len(columns))
    return Frame(
        rows=table.rows,
        columns=columns,
        windows=found,
        sample=_sample(placed, columns, reading, table.rows, seed),
        notes={
            name: f"more than {KNOWN:,} texts: none counts as unseen"
            for name, known in reading.known.items()
            if known.many
        },
    )


def thresholds(grid: Grid) -> Floats:
    """Return the smallest float of each bin but the first, shape ``(bins - 1,)``.

    Whatever the grid's kind, a value lies in bin b where it is at or above the b-th of these:
    they are found by bisection over the floats themselves, with the grid's own arithmetic.

    Examples:
        >>> thresholds(Grid(kind="search", edges=(1.0, 2.5))).tolist()
        [1.0, 2.5]
    """
    wanted = np.arange(1, grid.bins)
    low = np.full(wanted.shape, _ordered(np.array([-_GREATEST]))[0])
    high = -low - 1
    with np.errstate(all="ignore"):
        for _ in range(64):
            middle = (low & high) + ((low ^ high) >> 1)  # without overflow
            above = bins_of(grid, _floats(middle)) >= wanted
            low, high = np.where(above, low, middle), np.where(above, middle, high)
    return _floats(high)


def _ordered(values: Floats) -> NDArray[np.int64]:
    """Return integers in the order of the floats, one for each."""
    raw = values.view(np.int64)
    return raw ^ ((raw >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))


def _floats(ordered: NDArray[np.int64]) -> Floats:
    return (ordered ^ ((ordered >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))).view(np.float64)


def _placed(table: Table, time: str | None, windows: int) -> Any:
    """Return the table with the window of each row, and whether it is in the first half.

    Raises:
        ManifestError: The engine has no order of rows, and no time is named.
    """
    source, total = table.expression, table.rows
    if time is None:
        engine = source.get_backend().name
        if engine not in _ORDERED:
            raise ManifestError(
                f"rows of a table in {engine} have no order",
                where=table.name,
                hint="name the column that orders them: --time COLUMN, or time=.",
            )
        numbered = source.mutate(mlg_row=ibis.row_number())
        return numbered.mutate(
            mlg_window=(numbered.mlg_row * windows // total).cast("int64"),
            mlg_first=numbered.mlg_row * 2 < total,
        )
    timed = source.mutate(mlg_time=_float(source[time]))
    begins = sorted({-(-w * total // windows) for w in range(1, windows)} | {-(-total // 2)})
    cuts = dict(zip(begins, _cuts(timed, begins), strict=True))
    starts = [cuts[-(-w * total // windows)] for w in range(1, windows)]
    late = timed.mlg_time.isnull() | timed.mlg_time.isnan()
    return timed.mutate(
        mlg_window=ibis.ifelse(late, windows - 1, _place(timed.mlg_time, starts)).cast("int64"),
        mlg_first=(~late & (timed.mlg_time < cuts[-(-total // 2)])).fill_null(False),
    )


def _cuts(timed: Any, begins: Sequence[int]) -> list[float]:
    """Return for each place the time at which the row there begins, by order of time."""
    known = timed.filter(~(timed.mlg_time.isnull() | timed.mlg_time.isnan()))
    span = known.aggregate(low=known.mlg_time.min(), high=known.mlg_time.max()).to_pyarrow()
    low, high = span["low"][0].as_py(), span["high"][0].as_py()
    if low is None or not high > low:
        return [float("inf") if low is None else low] * len(begins)
    width = (high - low) / CELLS
    cell = ((known.mlg_time - low) / width).floor().cast("int64").clip(0, CELLS - 1)
    known = known.mutate(mlg_cell=cell)
    counted = known.group_by("mlg_cell").aggregate(n=known.count()).to_pyarrow()
    counts = np.zeros(CELLS, dtype=np.int64)
    counts[counted["mlg_cell"].to_numpy()] = counted["n"].to_numpy()
    ends = np.cumsum(counts)
    cells = np.searchsorted(ends, begins, side="right")
    inside = sorted({int(c) for c in cells if c < CELLS})
    if counts[inside].sum() > _MOST_TIMES:
        return [low + float(c) * width for c in cells]
    chosen = known.filter(known.mlg_cell.isin(inside)).mlg_time.to_pyarrow().to_numpy()
    times = np.sort(chosen)
    before = np.concatenate(([0], np.cumsum(counts[inside])))
    found: list[float] = []
    for begin, c in zip(begins, cells.tolist(), strict=True):
        if c >= CELLS:
            found.append(float("inf"))
            continue
        at = begin - (ends[c] - counts[c]) + before[inside.index(c)]
        found.append(float(times[at]))
    return found


def _place(value: Any, starts: Sequence[float]) -> Any:
    """Return how many of the rising starts a value has reached, by halving them."""
    if not starts:
        return ibis.literal(0)

    def tree(low: int, high: int) -> Any:
        if low == high:
            return ibis.literal(low)
        middle = (low + high) // 2
        above = value >= ibis.literal(starts[middle], "float64")
        return ibis.ifelse(above, tree(middle + 1, high), tree(low, middle))

    return tree(0, len(starts))


def _float(value: Any) -> Any:
    """Return a column as floats; times as seconds."""
    kind = value.type()
    if kind.is_date():
        value, kind = value.cast("timestamp"), ibis.dtype("timestamp")
    if kind.is_timestamp():
        return _micros(value).cast("float64") / 1e6
    if kind.is_null():
        return value.cast("float64")
    return value if kind.is_float64() else value.cast("float64")


@ibis.udf.scalar.builtin(name="unix_micros", signature=((dt.timestamp,), dt.int64))
def _unix_micros(_value: Any) -> Any: ...


def _micros(value: Any) -> Any:
    if value.get_backend().name == "pyspark":  # which has no microsecond of a time
        return _unix_micros(value.cast("timestamp('UTC')"))
    whole = value.truncate("s").epoch_seconds()  # engines round what is cast to an integer
    return whole * 1_000_000 + value.microsecond()


def _numbers(placed: Any, column: Column, windows: int) -> Windows:
    rows = placed.select(w=placed.mlg_window, v=_float(placed[column.name]))
    missing = rows.v.isnull() | rows.v.isnan()
    places = _place(rows.v, thresholds(column.grid).tolist())
    infinite = rows.v.abs() > _GREATEST  # Ibis' own question finds none on Spark
    place = ibis.cases((missing, _MISSING), (infinite, _INFINITE), else_=places)
    rows = rows.mutate(p=place.cast("int64"), gap=rows.v - column.grid.centre)
    told = rows.group_by("w", "p").aggregate(
        n=rows.count(), total=rows.gap.sum(), squares=(rows.gap * rows.gap).sum()
    )
    w, p, n, total, squares = _arrays(told.to_pyarrow(), "w", "p", "n", "total", "squares")
    into = empty(windows, column.grid.bins)
    np.add.at(into.n, w, n)
    for code, where in ((_MISSING, into.missing), (_INFINITE, into.infinite)):
        where[w[p == code]] = n[p == code]
    real = p >= 0
    into.counts[w[real], p[real]] = n[real]
    np.add.at(into.total, w[real], total[real])
    np.add.at(into.squares, w[real], squares[real])
    return into


def _arrays(table: Any, *names: str) -> tuple[NDArray[Any], ...]:
    return tuple(table[name].to_numpy() for name in names)


def _learn(placed: Any, name: str, known: Known) -> None:
    first = placed.filter(placed.mlg_first)
    texts = first.select(v=first[name].cast("string")).distinct().limit(KNOWN + 1)
    found = texts.to_pyarrow()["v"].combine_chunks()
    known.learn(found.cast(pa.string()).drop_null())


def _texts(placed: Any, column: Column, known: Known, windows: int) -> Windows:
    size = len(column.levels)
    rows = placed.select(w=placed.mlg_window, v=placed[column.name].cast("string"))
    cases = [(rows.v == level, at) for at, level in enumerate(column.levels)]
    place = ibis.cases((rows.v.isnull(), _MISSING), *cases, else_=size)
    rows = rows.mutate(p=place.cast("int64"))
    told = rows.group_by("w", "p").aggregate(n=rows.count()).to_pyarrow()
    w, p, n = _arrays(told, "w", "p", "n")
    into = empty(windows, size + 2)
    np.add.at(into.n, w, n)
    into.missing[w[p == _MISSING]] = n[p == _MISSING]
    into.counts[w[p >= 0], p[p >= 0]] = n[p >= 0]
    if not known.many:
        others = rows.filter(rows.p == size)
        texts = known.texts if known.texts is not None else pa.array([], pa.string())
        if len(texts):
            names = ibis.memtable(pa.table({"known": texts}))
            others = others.anti_join(names, others.v == names.known)
        told = others.group_by("w").aggregate(n=others.count()).to_pyarrow()
        w, n = _arrays(told, "w", "n")
        into.counts[w, size] -= n
        into.counts[w, size + 1] += n
    return into


def _sampled(source: Any, total: int, wanted: int, seed: int | None = None) -> Any:
    """Return about so many rows, each with the same chance; others each time without a seed."""
    if total <= wanted:
        return source
    if source.get_backend().name not in _SEEDED:
        seed = None
    return source.sample(wanted / total, method="row", seed=seed)


def _sample(
    placed: Any, columns: dict[str, Column], reading: Reading, total: int, seed: int
) -> Sample:
    chosen = placed.select("mlg_window", *columns)
    rows = _sampled(chosen, total, SAMPLE, seed).order_by("mlg_window").to_pyarrow()
    return Sample(
        numbers={
            name: numbers_of(rows[name]).astype(np.float32)
            for name, column in columns.items()
            if column.kind == "number"
        },
        codes={
            name: _codes(rows[name], column, reading.known[name])
            for name, column in columns.items()
            if column.kind == "text"
        },
        rows=rows.num_rows,
    )


def _codes(values: Any, column: Column, known: Known) -> NDArray[np.int16]:
    """Return the place of each text: its level's, then other, unseen, missing."""
    size = len(column.levels)
    places = {level: at for at, level in enumerate(column.levels)}
    texts = values.combine_chunks().cast(pa.string())
    held = known.holds(texts).to_pylist() if len(texts) else []
    return np.array(
        [
            size + 2 if text is None else places.get(text, size if one else size + 1)
            for text, one in zip(texts.to_pylist(), held, strict=True)
        ],
        dtype=np.int16,
    )
