"""Tables as immutable Parquet files, with a digest of the bytes and one of the rows."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mlg.core.uris import Digest
from mlg.pipeline.config import sha256

ArrowBatch = Any
"""A `pyarrow.RecordBatch`; pyarrow ships no types."""
ArrowSchema = Any
"""A `pyarrow.Schema`."""

_GROUP_ROWS: Final = 122_880


def write_parquet(batches: Iterable[ArrowBatch], schema: ArrowSchema, path: Path) -> int:
    """Write the rows in the order given and return their number.

    The same rows give the same bytes with the same pyarrow: fixed row groups, compression
    and page layout, no schema of the writer, no time of writing. Times are stored as UTC
    microseconds without a zone.
    """
    stored = pa.schema([_stored(field) for field in schema])
    rows = 0
    with pq.ParquetWriter(
        path,
        stored,
        version="2.6",
        compression="zstd",
        compression_level=3,
        store_schema=False,
        write_statistics=True,
    ) as writer:
        held = stored.empty_table()
        for batch in batches:
            held = pa.concat_tables([held, pa.Table.from_batches([batch]).cast(stored)])
            if held.num_rows >= _GROUP_ROWS:
                whole = held.num_rows - held.num_rows % _GROUP_ROWS
                writer.write_table(held.slice(0, whole), row_group_size=_GROUP_ROWS)
                held = held.slice(whole)
                rows += whole
        writer.write_table(held, row_group_size=_GROUP_ROWS)
    return rows + held.num_rows


def _stored(field: Any) -> Any:
    if pa.types.is_timestamp(field.type):
        return pa.field(field.name, pa.timestamp("us"))
    return pa.field(field.name, field.type)


def row_text(name: str, type_name: str) -> str:
    """Return the SQL of a value's canonical text: what two engines must agree on.

    Floats have ten significant digits, times are microseconds; each text carries its
    length, so that neighbours cannot run into each other.
    """
    quoted = quote(name)
    kind = type_name.upper()
    if kind in {"DOUBLE", "FLOAT"}:
        text = f"format('{{:.9e}}', {quoted}::DOUBLE + 0.0)"
    elif kind.startswith("TIMESTAMP"):
        text = f"epoch_us({quoted})::VARCHAR"
    else:
        text = f"{quoted}::VARCHAR"
    return f"coalesce(strlen({text})::VARCHAR || ':' || {text}, 'n')"


def quote(name: str) -> str:
    """Return a name quoted for SQL.

    Examples:
        >>> quote('Children"s')
        '"Children""s"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text quoted for SQL.

    Examples:
        >>> literal("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def content_digest(path: Path) -> Digest:
    """Return the hash of a Parquet file's rows as a multiset, with column names and types.

    One implementation for every engine: it reads what the engine stored. The row hashes are
    added up, so it shows equality and is no defence against somebody who builds collisions;
    the digest of the bytes is.
    """
    with duckdb.connect(config={"threads": 1}) as con:
        source = f"read_parquet({literal(str(path))})"
        columns = con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
        row = " || ".join(row_text(name, kind) for name, kind, *_ in columns)
        totals = con.execute(
            f"SELECT count(*), sum(md5_number_lower(r)), sum(md5_number_upper(r)) "  # noqa: S608
            f"FROM (SELECT {row} AS r FROM {source})"
        ).fetchone()
    assert totals is not None  # noqa: S101  # an aggregate has one row
    return sha256(
        {
            "columns": [[name, kind] for name, kind, *_ in columns],
            "totals": [str(total) for total in totals],
        }
    )
