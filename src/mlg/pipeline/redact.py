"""Stored tables without one viewer's rows."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from mlg.core.errors import BackendError
from mlg.pipeline.snapshot import ArrowBatch, write_parquet

_HINT: Final = "restore the file from a backup, or remove it and run its pipeline again."


def key_text(value: object) -> str | None:
    """Return a key's text as people write it: the same for an integer and a whole float.

    Examples:
        >>> key_text(7), key_text(7.0), key_text("7"), key_text(None)
        ('7', '7', '7', None)
    """
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    return str(value)


def columns_there(path: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """Return those of the columns that the table has.

    Raises:
        BackendError: The file cannot be read.
    """
    with _opened(path) as file:
        names: list[str] = file.schema_arrow.names
    return tuple(name for name in columns if name in names)


def rows_of_viewer(path: Path, columns: Sequence[str], viewer: str) -> int:
    """Return how many rows name the viewer in any of the columns.

    Raises:
        BackendError: The file cannot be read.
    """
    with _opened(path) as file:
        batches: Any = file.iter_batches(columns=list(columns))
        return sum(sum(_named(batch, columns, viewer)) for batch in batches)


def write_without(path: Path, columns: Sequence[str], viewer: str, target: Path) -> int:
    """Write the table without the rows that name the viewer; return the rows that are left.

    Order, types and format stay, so the same table gives the same bytes.

    Raises:
        BackendError: The file cannot be read or written.
    """

    def kept(batches: Any) -> Iterator[ArrowBatch]:
        for batch in batches:
            named = _named(batch, columns, viewer)
            yield batch.filter(pa.array([not one for one in named], pa.bool_()))

    with _opened(path) as file:
        try:
            return write_parquet(kept(file.iter_batches()), file.schema_arrow, target)
        except (OSError, pa.ArrowException) as error:
            raise BackendError(
                f"the table could not be written: {error}",
                where=target.name,
                hint="free some space; the erasure goes on where it stopped.",
            ) from error


def _named(batch: Any, columns: Sequence[str], viewer: str) -> list[bool]:
    found = [False] * batch.num_rows
    for name in columns:
        for place, value in enumerate(batch.column(name).to_pylist()):
            found[place] = found[place] or key_text(value) == viewer
    return found


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise BackendError(
            f"a stored table cannot be read: {error}", where=path.name, hint=_HINT
        ) from error
