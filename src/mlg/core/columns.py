"""Where the columns of a table come from, as one step made it."""

from dataclasses import dataclass
from typing import Final, Literal

LineageType = Literal["DIRECT", "INDIRECT"]
LineageSubtype = Literal[
    "IDENTITY",
    "TRANSFORMATION",
    "AGGREGATION",
    "JOIN",
    "FILTER",
    "GROUP_BY",
    "SORT",
    "WINDOW",
    "CONDITIONAL",
]
LineageState = Literal["exact", "opaque", "unknown"]

ROWS: Final = ""
"""In the place of a column's name: which rows the table has, not what they hold."""
MOST_COLUMNS: Final = 1_000
"""Of a table with more columns no lineage of columns is kept."""
MOST_SOURCES: Final = 10_000
"""Of a step whose columns have more sources in all, none is kept."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ColumnSource:
    """One column that another one comes from, in OpenLineage's words."""

    table: str
    """An input of the step."""
    column: str
    """`ROWS` is the set of rows of the input."""
    type: LineageType
    """`DIRECT`: its values are in the result; `INDIRECT`: it decides about them."""
    subtype: LineageSubtype


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnLineage:
    """Where each column of a step's table comes from."""

    state: LineageState
    """`opaque`: the step's code hides it (the input is known as a whole only); `unknown`: the
    query could not be read. Both leave `columns` empty or without those of `opaque`."""
    reason: str = ""
    """Why it is not exact."""
    columns: tuple[tuple[str, tuple[ColumnSource, ...]], ...] = ()
    """Sources of each column of the table, in the table's order; sources sorted."""
    rows: tuple[ColumnSource, ...] = ()
    """What decides which rows there are: joins, filters, groups; sorted."""
    opaque: tuple[str, ...] = ()
    """Columns that may come from anything in the inputs."""
