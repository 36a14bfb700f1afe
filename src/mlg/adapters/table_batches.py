"""Any table as Arrow batches, read again as often as asked: files, data frames, expressions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from mlg.core.errors import ManifestError, NotFoundError

ROWS: Final = 1 << 15
"""Rows of a batch: a column of it fits the processor's cache."""

_CSV_BLOCK: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be read from its beginning, any number of times."""

    name: str
    """As errors name it."""
    schema: Any
    """An Arrow schema."""
    rows: int
    read: Callable[[Sequence[str]], Iterator[Any]]
    """Given the columns, yields Arrow batches in order."""
    pilot: Callable[[Sequence[str], int], Any]
    """Given the columns, returns an Arrow table of about so many rows from different places."""
    expression: Any = None
    """The Ibis table, where it lies in a database and not in memory."""


def open_table(source: Any, name: str = "table") -> Table:
    """Return a table to be read in batches.

    Args:
        source: Path of a Parquet or CSV file or of a folder of Parquet files; a pandas or
            polars frame, Arrow table, batch reader or dataset; an Ibis expression. Pandas,
            polars and Ibis are not imported: they are known by the methods of what is given.
        name: How errors call it, where it is no file.

    Raises:
        NotFoundError: There is no such file.
        ManifestError: It is no table that can be read, or it has no row or no column.
    """
    try:
        table = _opened(source, name)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
        raise ManifestError(
            f"the table cannot be read: {_first_line(error)}",
            where=str(source) if isinstance(source, str | Path) else name,
            hint="give a Parquet or CSV file, or a pandas, polars, Arrow or Ibis table.",
        ) from error
    if not table.schema.names:
        raise ManifestError("the table has no column", where=table.name)
    twice = sorted({n for n in table.schema.names if table.schema.names.count(n) > 1})
    if twice:
        raise ManifestError(
            f"columns come twice: {', '.join(twice)}", where=table.name, hint="rename them."
        )
    return table


def _opened(source: Any, name: str) -> Table:
    if isinstance(source, str | Path):
        return _of_path(Path(source))
    if isinstance(source, pa.RecordBatchReader):
        return _of_arrow(source.read_all(), name)
    if isinstance(source, pa.RecordBatch):
        return _of_arrow(pa.Table.from_batches([source]), name)
    if isinstance(source, pa.Table):
        return _of_arrow(source, name)
    for method in ("to_pyarrow", "to_arrow", "to_table", "collect"):
        if hasattr(source, method):  # Ibis, polars, an Arrow dataset, a lazy polars frame
            return _opened(getattr(source, method)(), name)
    if hasattr(source, "columns") and hasattr(source, "dtypes"):
        return _of_arrow(_of_pandas(source), name)
    raise ManifestError(
        f"expected a table, got {type(source).__name__}",
        where=name,
        hint="a path, or a pandas, polars, Arrow or Ibis table.",
    )


def _of_pandas(frame: Any) -> Any:
    columns = [str(column) for column in frame.columns]
    return pa.Table.from_pandas(frame.set_axis(columns, axis=1), preserve_index=False)


def _of_arrow(table: Any, name: str) -> Table:
    def read(columns: Sequence[str]) -> Iterator[Any]:
        return iter(table.select(list(columns)).to_batches(max_chunksize=ROWS))

    def pilot(columns: Sequence[str], rows: int) -> Any:
        chosen = table.select(list(columns))
        size, places = max(rows // 16, 1), _places(table.num_rows, rows)
        return pa.concat_tables([chosen.slice(at, size) for at in places])

    return Table(name, table.schema, table.num_rows, read, pilot)


def _places(total: int, rows: int) -> list[int]:
    """Return where sixteen pieces begin, evenly spread; one piece where all are wanted."""
    if total <= rows:
        return [0] if total <= rows // 16 else [at * (rows // 16) for at in range(16)]
    return [at * (total - rows // 16) // 15 for at in range(16)]


def _of_path(path: Path) -> Table:
    if not path.exists():
        raise NotFoundError("no such file", where=str(path), hint="is the path right?")
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        if not files:
            raise ManifestError("no Parquet file in the folder", where=str(path))
        return _of_parquet(files, str(path))
    if path.suffix.lower() in {".csv", ".tsv", ".txt"} or path.name.lower().endswith(".csv.gz"):
        return _of_csv(path)
    return _of_parquet([path], str(path))


def _of_parquet(paths: Sequence[Path], name: str) -> Table:
    schema: Any = pq.read_schema(paths[0])
    texts = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    counts = [pq.read_metadata(path).num_rows for path in paths]

    def opened(path: Path) -> pq.ParquetFile:
        # texts stay codes as they are stored; a buffer beforehand holds all row groups at once
        return pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)

    def read(columns: Sequence[str]) -> Iterator[Any]:
        for path in paths:
            with opened(path) as file:
                yield from file.iter_batches(batch_size=ROWS, columns=list(columns))

    def pilot(columns: Sequence[str], rows: int) -> Any:
        pieces: list[Any] = []
        groups = [
            (path, group)
            for path, count in zip(paths, counts, strict=True)
            if count
            for group in range(pq.read_metadata(path).num_row_groups)
        ]
        chosen = sorted({at * (len(groups) - 1) // 7 for at in range(8)}) if groups else []
        for at in chosen:
            path, group = groups[at]
            with opened(path) as file:
                batches = file.iter_batches(
                    batch_size=max(rows // len(chosen), 1),
                    row_groups=[group],
                    columns=list(columns),
                )
                pieces += [pa.Table.from_batches([next(batches)])]
        if not pieces:
            return schema.empty_table().select(list(columns))
        return pa.concat_tables(pieces, promote_options="permissive")

    return Table(name, schema, sum(counts), read, pilot)


def _of_csv(path: Path) -> Table:
    options = pc.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    reading = pc.ReadOptions(block_size=_CSV_BLOCK)

    def opened(convert: Any = None) -> Any:
        return pc.open_csv(
            path, read_options=reading, parse_options=options, convert_options=convert
        )

    schema = opened().schema
    try:
        rows = sum(batch.num_rows for batch in opened())
    except pa.ArrowInvalid:
        # what looked like a number at first is text further on: all such columns are text
        types = {f.name: pa.string() for f in schema if not pa.types.is_floating(f.type)}
        schema = opened(pc.ConvertOptions(column_types=types)).schema
        try:
            rows = sum(b.num_rows for b in opened(pc.ConvertOptions(column_types=types)))
        except pa.ArrowInvalid:
            types = {f.name: pa.string() for f in schema}
            rows = sum(b.num_rows for b in opened(pc.ConvertOptions(column_types=types)))
            schema = opened(pc.ConvertOptions(column_types=types)).schema
    types = {field.name: field.type for field in schema}

    def read(columns: Sequence[str]) -> Iterator[Any]:
        convert = pc.ConvertOptions(column_types=types, include_columns=list(columns))
        for batch in opened(convert):
            for at in range(0, batch.num_rows, ROWS):
                yield batch.slice(at, ROWS)

    def pilot(columns: Sequence[str], rows: int) -> Any:
        pieces = [batch.slice(0, max(rows // 8, 1)) for batch in read(columns)]
        whole = pa.Table.from_batches(
            pieces, schema=pa.schema([schema.field(c) for c in columns])
        )
        return (
            whole
            if whole.num_rows <= rows
            else whole.take(list(range(0, whole.num_rows, whole.num_rows // rows)))
        )

    return Table(str(path), schema, rows, read, pilot)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
