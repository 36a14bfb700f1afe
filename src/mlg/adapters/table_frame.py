"""Arrow batches -> windows of counts: the kinds of columns, levels of texts, sampled rows."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlg.adapters.table_batches import Table
from mlg.monitors.frame import Column, Floats, Frame, Sample, grid_of
from mlg.monitors.frame_pass import NumberPass, Spans, TextPass, passes, spans_of

pc: Any = import_module("pyarrow.compute")
"""Its functions are made when it is imported, so that no checker knows them."""

PILOT: Final = 20_000
"""Rows that a baseline's bins and levels come from."""
SAMPLE: Final = 100_000
"""Rows kept whole, to look into parts of the traffic."""
LEVELS: Final = 50
"""Texts counted apart at most; those of less than `LEAST_SHARE` are counted together."""
LEAST_SHARE: Final = 0.005
KNOWN: Final = 100_000
"""Different texts remembered; a column with more names things and is watched as a whole."""
AXES: Final = 5
"""Principal components of a vector."""

_MISSING: Final = 2


@dataclass(slots=True)
class Known:
    """Texts of one column met while the baseline was learned."""

    texts: Any = None
    """An Arrow array of different texts."""
    many: bool = False
    """There were too many to remember: none counts as unseen."""

    def learn(self, texts: Any) -> None:
        """Remember these too."""
        if self.many:
            return
        new = texts if self.texts is None else texts.filter(pc.invert(self.holds(texts)))
        if len(new):
            old = [] if self.texts is None else [self.texts]
            self.texts = pa.concat_arrays([*old, new.drop_null()])
        if self.texts is not None and len(self.texts) > KNOWN:
            self.texts, self.many = None, True

    def holds(self, texts: Any) -> Any:
        """Return whether each text is known."""
        if self.many:
            return pc.is_valid(texts)
        return pc.is_in(texts, value_set=self.texts if self.texts is not None else texts[:0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How both tables are read: made from the baseline."""

    columns: dict[str, Column]
    known: dict[str, Known]
    time: str | None
    types: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Of every column of the baseline: its kind, and its type in words."""
    notes: dict[str, str] = field(default_factory=dict[str, str])


def reading_of(table: Table, time: str | None = None) -> Reading:
    """Return how a baseline, and whatever is compared with it, is read.

    Args:
        table: The baseline.
        time: Column that orders the rows and is no feature.
    """
    columns: dict[str, Column] = {}
    notes: dict[str, str] = {}
    names = [name for name in table.schema.names if name != time]
    pilot = table.pilot(names, PILOT)
    for name in names:
        kind = kind_of(table.schema.field(name).type)
        values = pilot.column(name)
        if kind == "":
            notes[name] = f"not checked: no chart for {table.schema.field(name).type}"
        elif kind == "vector":
            columns |= _vector(name, values)
        elif kind == "number":
            columns[name] = Column(
                name=name, kind="number", grid=grid_of(numbers_of(values).astype(np.float64))
            )
        else:
            columns[name] = _texts(name, kind, values)
    known = {name: Known() for name, column in columns.items() if column.kind != "number"}
    types = {one.name: (kind_of(one.type), str(one.type)) for one in table.schema}
    return Reading(columns=columns, known=known, time=time, types=types, notes=notes)


def kind_of(kind: Any) -> str:
    """Return `number`, `text`, `tags` or `vector` for an Arrow type; empty for others.

    Examples:
        >>> kind_of(pa.int8()), kind_of(pa.list_(pa.string())), kind_of(pa.binary())
        ('number', 'tags', '')
    """
    types = pa.types
    if types.is_dictionary(kind):
        return kind_of(kind.value_type) and "text"
    if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if types.is_string_view(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_temporal(kind) or types.is_null(kind):
        return "number"
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return {"number": "vector", "text": "tags"}.get(kind_of(kind.value_type), "")
    return ""


def numbers_of(values: Any) -> NDArray[np.float64] | NDArray[np.float32]:
    """Return an Arrow array as floats; times as seconds, nulls as NaN, shape ``(n,)``."""
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if pa.types.is_temporal(kind):
        whole = (
            values.to_numpy(zero_copy_only=False)
            if isinstance(values, pa.Array)
            else (values.to_numpy())
        )
        if whole.dtype.kind in "mM":
            seconds = whole.astype(f"{whole.dtype.kind}8[us]").astype(np.float64) / 1e6
            return np.where(np.isnat(whole), np.nan, seconds)
        return np.array([_seconds(one) for one in whole])
    if pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    if isinstance(values, pa.ChunkedArray):
        found = values.to_numpy()
    else:
        found = values.to_numpy(zero_copy_only=False)
    return found if found.dtype in (np.float32, np.float64) else found.astype(np.float64)


def _seconds(value: Any) -> float:
    if value is None:
        return float("nan")
    if hasattr(value, "hour"):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    return float(value.toordinal()) * 86_400.0


def _texts(name: str, kind: str, values: Any) -> Column:
    rows = max(len(values), 1)
    if kind == "tags":
        values = pc.list_flatten(values)
    counted = pc.value_counts(_as_text(values).drop_null())
    found = sorted(
        ((row["counts"], row["values"]) for row in counted.to_pylist()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    kept = [text for count, text in found[:LEVELS] if count / rows >= LEAST_SHARE]
    return Column(name=name, kind="tags" if kind == "tags" else "text", levels=tuple(kept))


def _as_text(values: Any) -> Any:
    """Return texts, however they are stored, as strings."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values if values.type == pa.string() else values.cast(pa.string())


def _vector(name: str, values: Any) -> dict[str, Column]:
    """Return a vector's length and its principal components as columns of numbers."""
    rows = _rows_of(values)
    parts = {f"{name}.norm": Column(name=f"{name}.norm", kind="number", of=name,
                                    grid=grid_of(np.linalg.norm(rows, axis=1)))}  # fmt: skip
    whole = rows[np.isfinite(rows).all(axis=1)]
    if len(whole) < 10 or not rows.shape[1]:
        return parts
    _, _, axes = np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)
    for at, axis in enumerate(axes[:AXES], 1):
        part = f"{name}.pc{at}"
        parts[part] = Column(
            name=part,
            kind="number",
            of=name,
            axes=(tuple(axis.tolist()),),
            grid=grid_of(whole @ axis),
        )
    return parts


def _rows_of(values: Any) -> Floats:
    """Return lists of numbers as a matrix; rows of another length than the usual are NaN."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
    usual = int(np.bincount(lengths).argmax()) if len(lengths) else 0
    flat = numbers_of(pc.list_flatten(values))
    matrix = np.full((len(values), usual), np.nan)
    right = lengths == usual
    if usual:
        parents = np.repeat(right, lengths)
        matrix[right] = flat[parents].reshape(-1, usual)
    return matrix


def frame_of(
    table: Table,
    reading: Reading,
    *,
    windows: int,
    learn: bool,
    seed: int = 7,
    told: Callable[[int], None] = lambda _: None,
) -> Frame:
    """Return the table in windows of equal counts.

    Args:
        table: To read, once; twice where a time orders it anew.
        reading: How; columns that the table lacks are left out.
        windows: Wanted, at most its rows.
        learn: Whether texts of its first half become known: for the baseline.
        seed: Of the sample.
        told: Told the rows read so far.
    """
    present = _present(table, reading)
    work = passes({name: reading.columns[name] for name in present}, windows)
    order = _ranks(table, reading.time)
    chosen = np.sort(
        np.random.default_rng(seed).choice(
            table.rows, min(SAMPLE, table.rows), replace=False, shuffle=False
        )
    )
    kinds = {name: reading.columns[name].kind for name in present}
    numbers = {n: np.empty(len(chosen), np.float32) for n in present if kinds[n] == "number"}
    codes = {n: np.empty(len(chosen), np.int16) for n in present if kinds[n] == "text"}
    needed = list(dict.fromkeys(reading.columns[name].of or name for name in present))
    begin = 0
    for batch in table.read(needed):
        if not batch.num_rows:
            continue
        rows, spans = _placed(order, begin, batch.num_rows, table.rows, windows)
        low, high = np.searchsorted(chosen, (begin, begin + batch.num_rows))
        sampled = chosen[low:high] - begin
        for name in present:
            column = reading.columns[name]
            values = batch.column(batch.schema.get_field_index(column.of or name))
            one = work[name]
            if isinstance(one, NumberPass):
                found = _part(column, values) if column.of else numbers_of(values)
                one.add(found if rows is None else found[rows], spans)
                with np.errstate(over="ignore"):
                    numbers[name][low:high] = found[sampled]
                continue
            teaching = _first_half(order, begin, batch.num_rows, table.rows) if learn else None
            found = _counted(one, column, reading.known[name], values, rows, spans, teaching)
            if found is not None:
                codes[name][low:high] = found[sampled]
        begin += batch.num_rows
        told(begin)
    return Frame(
        rows=table.rows,
        columns={name: reading.columns[name] for name in present},
        windows={name: one.windows for name, one in work.items()},
        sample=Sample(
            numbers=numbers,
            codes=codes,
            rows=len(chosen),
        ),
        notes={
            name: f"more than {KNOWN:,} texts: none counts as unseen"
            for name, known in reading.known.items()
            if known.many
        },
    )


def _present(table: Table, reading: Reading) -> list[str]:
    """Return the columns that the table has, of a type that is read as the baseline's."""
    found: list[str] = []
    for name, column in reading.columns.items():
        at = table.schema.get_field_index(column.of or name)
        if at >= 0 and kind_of(table.schema.field(at).type) == (
            "vector" if column.of else column.kind
        ):
            found.append(name)
    return found


def _ranks(table: Table, time: str | None) -> NDArray[np.intp] | None:
    """Return each row's place by time; None where rows already lie in its order."""
    if time is None:
        return None
    parts = [numbers_of(batch.column(0)) for batch in table.read([time])]
    at = np.concatenate(parts) if parts else np.zeros(0)
    if np.all(at[1:] >= at[:-1]):
        return None
    ranks = np.empty(len(at), dtype=np.intp)
    ranks[np.argsort(at, kind="stable")] = np.arange(len(at))
    return ranks


def _placed(
    order: NDArray[np.intp] | None, begin: int, rows: int, total: int, windows: int
) -> tuple[NDArray[np.intp] | None, Spans]:
    """Return the rows of a batch in order of their windows, and the windows."""
    if order is None:
        return None, spans_of(begin, rows, total, windows)
    window = order[begin : begin + rows] * windows // total
    by = np.argsort(window, kind="stable")
    first, last = int(window[by[0]]), int(window[by[-1]])
    starts = np.searchsorted(window[by], np.arange(first, last + 1))
    return by, Spans(first, starts.astype(np.intp), rows)


def _first_half(
    order: NDArray[np.intp] | None, begin: int, rows: int, total: int
) -> NDArray[np.bool_] | None:
    """Return which rows of a batch teach what texts there are; None where none does."""
    place = np.arange(begin, begin + rows) if order is None else order[begin : begin + rows]
    first = place < total / 2
    return first if first.any() else None


def _part(column: Column, values: Any) -> Floats:
    rows = _rows_of(values)
    if not column.axes:
        return np.linalg.norm(rows, axis=1)
    axis = np.asarray(column.axes[0])
    if rows.shape[1] != len(axis):
        return np.full(len(rows), np.nan)
    return rows @ axis


def _counted(
    one: TextPass,
    column: Column,
    known: Known,
    values: Any,
    rows: NDArray[np.intp] | None,
    spans: Spans,
    teaching: NDArray[np.bool_] | None,
) -> NDArray[np.intp] | None:
    """Count a batch's texts or tags; return the place of each row's text."""
    missing = len(column.levels) + _MISSING
    if column.kind == "tags":
        parents = pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
        taught = None if teaching is None else teaching[parents]
        places = _places(pc.list_flatten(values), column, known, taught)
        full = places < missing
        parents, places = parents[full].astype(np.intp), places[full]
        if rows is not None:
            back = np.empty(len(rows), dtype=np.intp)
            back[rows] = np.arange(len(rows))
            by = np.argsort(back[parents], kind="stable")
            parents, places = back[parents][by], places[by]
        none = pc.is_null(values).to_numpy(zero_copy_only=False)
        one.add_tags(places, parents, none if rows is None else none[rows], spans)
        return None
    places = _places(values, column, known, teaching)
    one.add(places if rows is None else places[rows], spans)
    return places


def _places(
    values: Any, column: Column, known: Known, teaching: NDArray[np.bool_] | None
) -> NDArray[np.intp]:
    """Return the place of each text: its level's, then other, unseen, missing."""
    if not pa.types.is_dictionary(values.type):
        values = _as_text(values).dictionary_encode()
    texts = values.dictionary
    if texts.type != pa.string():
        texts = texts.cast(pa.string())
    codes = values.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    if teaching is not None:
        met = np.bincount(codes[teaching], minlength=len(texts) + 1)[:-1] > 0
        known.learn(texts.filter(pa.array(met)))
    size = len(column.levels)
    own = pc.index_in(texts, value_set=pa.array(column.levels, pa.string()))
    other = pc.if_else(known.holds(texts), size, size + 1)
    of_text = pc.coalesce(own.cast(pa.int64()), other.cast(pa.int64())).to_numpy(
        zero_copy_only=False
    )
    places = np.append(of_text, size + _MISSING).astype(np.intp)
    return places[codes]
