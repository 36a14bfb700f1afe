"""Which columns of its inputs each column of a step's table comes from.

Read from the step's SQL alone. The query's columns must come out as the names that the engine
made, else nothing is told: a lineage that is partly wrong looks like one that is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mlg.core.artifacts import Snapshot
from mlg.core.columns import (
    MOST_COLUMNS,
    MOST_SOURCES,
    ROWS,
    ColumnLineage,
    ColumnSource,
)
from mlg.core.steps import StepCall
from mlg.manifest.specs_pipelines import SqlStep
from mlg.pipeline.code import inside
from mlg.pipeline.config import TableConfig, config_of
from mlg.pipeline.relations import (
    HIDDEN,
    HiddenTableError,
    Relation,
    Scope,
    Sources,
    UnreadableQueryError,
    base,
    key,
)
from mlg.pipeline.sql_columns import read_query

MOST_SQL: Final = 1_000_000
"""Longest query that is read, in characters."""


def column_lineage(
    text: str, inputs: Mapping[str, Sequence[str]], made: Sequence[str]
) -> ColumnLineage:
    """Return where each column of a query's table comes from.

    Args:
        text: SQL in DuckDB's words; statements before the last may make tables of their own.
        inputs: Columns of each input, by its name.
        made: Columns of the table, as the engine made them.

    Returns:
        `unknown` with the reason when the query cannot be read or comes to other columns;
        `opaque` when a column comes from a table that is no input.

    Examples:
        >>> told = column_lineage("SELECT a + 1 AS b FROM t", {"t": ["a"]}, ["b"])
        >>> [(name, [one.column for one in sources]) for name, sources in told.columns]
        [('b', ['a'])]
    """
    if len(text) > MOST_SQL:
        size = f"the query has {len(text):,} characters, at most {MOST_SQL:,}"
        return unknown(size, inputs, made)
    if max(len(made), *(len(names) for names in inputs.values()), 0) > MOST_COLUMNS:
        return unknown(f"a table has more than {MOST_COLUMNS:,} columns", inputs, made)
    try:
        relation = _last_table(text, inputs)
        told = _matched(relation, made)
    except HiddenTableError as error:
        return opaque(inputs, made, str(error))
    except (SqlglotError, UnreadableQueryError) as error:
        return unknown(str(error).splitlines()[0][:300], inputs, made)
    except RecursionError:
        return unknown("the query is nested too deeply", inputs, made)
    return _told(told, relation.rows, inputs)


def lineage_of(call: StepCall, made: Snapshot, folder: Path, query: str) -> ColumnLineage:
    """Return where the columns of a `sql` or `python` step's table come from.

    Args:
        call: What was done.
        made: The table.
        folder: The manifest's folder, where SQL files lie.
        query: What a `python` step's expression became in SQL; empty when that is not known.

    Raises:
        ManifestError: The SQL file is not there.
    """
    step = config_of(call, TableConfig).step
    inputs = columns_of(call)
    names = [column.name for column in made.schema]
    if isinstance(step, SqlStep):
        text = inside(step.sql, folder).read_text("utf-8")
        return column_lineage(text, inputs, names)
    if not query:
        return opaque(inputs, names, "the engine does not tell its query")
    return column_lineage(query, inputs, names)


def opaque(inputs: Mapping[str, Sequence[str]], made: Sequence[str], why: str) -> ColumnLineage:
    """Return the lineage of a table of which only the inputs are known.

    Examples:
        >>> opaque({"t": ["a"]}, ["b"], "made outside").opaque
        ('b',)
    """
    return ColumnLineage(
        state="opaque", reason=why, rows=_sorted(_whole(inputs)), opaque=tuple(made)
    )


def unknown(
    reason: str, inputs: Mapping[str, Sequence[str]], made: Sequence[str]
) -> ColumnLineage:
    """Return the lineage of a query that could not be read: that of its table as a whole."""
    return replace(opaque(inputs, made, reason), state="unknown")


def columns_of(call: StepCall) -> dict[str, list[str]]:
    """Return the names of the columns of each table that a step reads."""
    return {
        item.name: [column.name for column in item.snapshot.schema]
        for item in call.inputs
        if item.snapshot is not None
    }


def _whole(inputs: Mapping[str, Sequence[str]]) -> Sources:
    """Return every column of the inputs, as what may decide; of very wide ones the rows."""
    wide = any(len(names) > MOST_COLUMNS for names in inputs.values())
    return frozenset(
        ColumnSource(table=table, column=name, type="INDIRECT", subtype="TRANSFORMATION")
        for table, names in inputs.items()
        for name in ((ROWS,) if wide else (ROWS, *names))
    )


def _told(
    columns: Sequence[tuple[str, Sources]], rows: Sources, inputs: Mapping[str, Sequence[str]]
) -> ColumnLineage:
    hidden = tuple(name for name, told in columns if HIDDEN in told)
    dark = bool(hidden) or HIDDEN in rows
    rows = rows | _whole(inputs) if dark else rows
    size = len(rows) + sum(len(told) for _, told in columns)
    if size > MOST_SOURCES:
        why = f"the columns have {size:,} sources, at most {MOST_SOURCES:,} are kept"
        return unknown(why, inputs, [name for name, _ in columns])
    return ColumnLineage(
        state="opaque" if dark else "exact",
        reason="it comes from a table that is no input of the step" if dark else "",
        columns=tuple((name, _sorted(told)) for name, told in columns),
        rows=_sorted(rows),
        opaque=hidden,
    )


def _sorted(sources: Sources) -> tuple[ColumnSource, ...]:
    return tuple(sorted(sources - {HIDDEN}))


def _matched(relation: Relation, made: Sequence[str]) -> list[tuple[str, Sources]]:
    """Return the columns under the engine's names, by their place.

    Raises:
        UnreadableQueryError: They are not the same columns.
    """
    if len(relation.known) != len(made):
        raise UnreadableQueryError(
            f"the query was read as {len(relation.columns)} columns; it made {len(made)}"
        )
    named = [key(name) for name, _ in relation.columns]
    for at, ((name, _), real) in enumerate(zip(relation.columns, made, strict=True)):
        if name and key(name) != key(real) and key(name) not in named[:at]:
            raise UnreadableQueryError(f"a column was read as {name!r}; it is {real!r}")
    return [(real, told) for (_, told), real in zip(relation.columns, made, strict=True)]


def _last_table(text: str, inputs: Mapping[str, Sequence[str]]) -> Relation:
    tables = {key(name): base(name, columns) for name, columns in inputs.items()}
    statements = [one for one in sqlglot.parse(text, dialect="duckdb") if one is not None]
    if not statements:
        raise UnreadableQueryError("there is no query")
    for statement in statements[:-1]:
        if isinstance(statement, exp.Create) and statement.kind in {"TABLE", "VIEW"}:
            made, query = statement.this, statement.expression
            names = [one.name for one in made.expressions if one.name]
            table = made.this if isinstance(made, exp.Schema) else made
            if query is not None and isinstance(table, exp.Table):
                found = read_query(query, Scope(tables=tables)).renamed(names)
                tables = {**tables, key(table.name): found}
                continue
        if not isinstance(statement, exp.Set | exp.Pragma | exp.Use):
            raise UnreadableQueryError(f"a statement {statement.key.upper()} before the query")
    return read_query(statements[-1], Scope(tables=tables))
