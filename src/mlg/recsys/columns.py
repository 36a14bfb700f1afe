"""Arrow columns as numpy arrays, and identifiers as whole numbers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlg.core.errors import ContractError
from mlg.core.predict import Key

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Codes = NDArray[np.int32]
Micros = NDArray[np.int64]


class Column(Protocol):
    """What this room asks of an Arrow column (pyarrow ships no types)."""

    @property
    def type(self) -> Any:
        """Arrow's type of the values."""
        ...

    @property
    def null_count(self) -> int:
        """How many values are null."""
        ...

    def cast(self, target_type: Any, safe: bool = True) -> "Column":
        """Return the column as another type."""
        ...

    def to_numpy(self) -> NDArray[Any]:
        """Return the values as an array."""
        ...

    def to_pylist(self) -> list[Any]:
        """Return the values as Python objects."""
        ...

    def unique(self) -> "Column":
        """Return the distinct values."""
        ...


class Table(Protocol):
    """What this room asks of an Arrow table (pyarrow ships no types)."""

    @property
    def num_rows(self) -> int:
        """How many rows."""
        ...

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, in order."""
        ...

    def column(self, name: str) -> Column:
        """Return one column."""
        ...


Tables = Mapping[str, Table]
"""Arrow tables by the name that the roles use."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
DAY_US = 86_400_000_000
"""One day in microseconds, the unit of time of every array in this room."""


def to_us(at: datetime) -> int:
    """Return the time as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _US


def from_us(at_us: int) -> datetime:
    """Return the aware UTC time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=int(at_us))


def column(table: Table, name: str, dataset: str) -> Column:
    """Return one column.

    Raises:
        ContractError: The table has no such column.
    """
    if name not in table.column_names:
        raise ContractError(
            f"expected a column {name!r}, found {', '.join(table.column_names)}",
            where=dataset,
            hint="correct the step's roles, or the step that makes this table.",
        )
    return table.column(name)


def table_of(tables: Tables, name: str) -> Table:
    """Return one table.

    Raises:
        ContractError: No table of that name was handed in.
    """
    if name not in tables:
        raise ContractError(
            f"expected a table {name!r}, got {', '.join(sorted(tables)) or 'none'}",
            where=name,
            hint="add it to the step's `in:`.",
        )
    return tables[name]


def times_us(values: Column, where: str) -> Micros:
    """Return times as microseconds since 1970, shape ``(n,)``; whole numbers are Unix seconds.

    Raises:
        ContractError: The column is no time, or has nulls.
    """
    if values.null_count:
        raise ContractError(
            f"expected a time in every row, found {values.null_count} nulls",
            where=where,
            hint="drop those rows in a clean step.",
        )
    if pa.types.is_integer(values.type):
        return np.asarray(values.to_numpy(), dtype=np.int64) * 1_000_000
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        micros = values.cast(
            pa.timestamp("us", tz=getattr(values.type, "tz", None)), safe=False
        )
        return np.asarray(micros.cast(pa.int64()).to_numpy(), dtype=np.int64)
    raise ContractError(
        f"expected a timestamp or Unix seconds, got {values.type}",
        where=where,
        hint="cast it in a clean step.",
    )


def is_number(kind: Any) -> bool:
    """Return whether an Arrow type holds numbers or booleans."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
    )


def numbers(values: Column) -> Floats:
    """Return numbers, shape ``(n,)``; null is NaN."""
    return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Identifiers in sorted order; the code of one is its place."""

    ids: tuple[Key, ...]
    codes: dict[Key, int]
    whole: bool
    """True when the identifiers are whole numbers."""

    def code(self, key: object) -> int:
        """Return the code, or -1; text that is a whole number finds a whole number."""
        found = self.codes.get(cast("Key", key), -1)
        if found < 0 and self.whole and isinstance(key, str):
            text = key.removeprefix("-")
            if text.isascii() and text.isdigit():
                return self.codes.get(int(key), -1)
        return found

    def encode(self, values: Column) -> Codes:
        """Return the codes, shape ``(n,)``; -1 for null and unknown."""
        given = values.cast(pa.int64() if self.whole else pa.string()).to_pylist()
        return np.array([self.codes.get(key, -1) for key in given], dtype=np.int32)


def vocabulary(parts: Iterable[Sequence[object]], *, whole: bool) -> Vocabulary:
    """Return the sorted vocabulary of every identifier in the parts, nulls left out."""
    seen = {value for part in parts for value in part if value is not None}
    ids = tuple(sorted(cast("set[Any]", seen)))
    return Vocabulary(ids=ids, codes={key: code for code, key in enumerate(ids)}, whole=whole)


def from_ids(ids: Sequence[Key], *, whole: bool) -> Vocabulary:
    """Return a vocabulary from its identifiers, which are in order already."""
    return Vocabulary(
        ids=tuple(ids), codes={key: code for code, key in enumerate(ids)}, whole=whole
    )


def unique_of(values: Column) -> list[Key]:
    """Return the distinct identifiers of a column as int or str."""
    kind = pa.int64() if pa.types.is_integer(values.type) else pa.string()
    return cast("list[Key]", values.cast(kind).unique().to_pylist())
