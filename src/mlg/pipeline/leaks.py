"""The leak test: what is known only later must not reach rows about earlier times.

A step is run again on inputs that differ only in the future of a cut time T: once with
other labels at or after T, once without the rows after T. Its rows about times up to T
must stay what they were, label columns excepted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import duckdb
import ibis
import ibis.expr.types as ir

from mlg.core.errors import ContractError
from mlg.manifest.specs_pipelines import PointInTimeSpec
from mlg.pipeline.snapshot import quote

ArrowTable = Any
"""A `pyarrow.Table`; pyarrow ships no types."""

CUTS: Final = 3
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One way to change the inputs after a time that earlier rows may not notice."""

    kind: Literal["labels", "future"]
    """Other labels at or after the cut; or no rows after it."""
    cut: datetime

    def words(self) -> str:
        """Return the change as part of a sentence."""
        if self.kind == "labels":
            return f"labels at or after {self.cut} are changed"
        return f"rows after {self.cut} are taken away"


def changed(table: ir.Table, point: PointInTimeSpec, change: Change) -> ir.Table:
    """Return an input with its future changed; one that has no such columns as it is.

    A changed label is another value that occurs in the table, so it stays in range.
    """
    if point.source_at not in table.columns:
        return table
    at: Any = table[point.source_at]
    time: Any = ibis.literal(change.cut)
    cut = time.cast(at.type())
    if change.kind == "future":
        return table.filter(at <= cut)
    labels = [name for name in point.label if name in table.columns]
    return table.mutate(
        **{name: ibis.ifelse(at >= cut, _other(table, name), table[name]) for name in labels}
    )


def _other(table: ir.Table, name: str) -> Any:
    """Return an expression that differs from the column in every row."""
    column: Any = table[name]
    bounds = table.aggregate(low=column.min(), high=column.max()).to_pyarrow().to_pylist()[0]
    low, high = bounds["low"], bounds["high"]
    if low is not None and low != high:
        literal_low = ibis.literal(low).cast(column.type())
        literal_high = ibis.literal(high).cast(column.type())
        return ibis.ifelse(column == literal_low, literal_high, literal_low)
    if column.type().is_numeric():
        return (column.fill_null(0) + 1).cast(column.type())
    return ibis.null(column.type()) if low is not None else column


def latest(
    tables: Iterable[ir.Table], point: PointInTimeSpec, cut: datetime
) -> datetime | None:
    """Return the time of the last row of any input up to the cut; None when there is none."""
    found: list[datetime] = []
    for table in tables:
        if point.source_at in table.columns:
            at: Any = table[point.source_at]
            until: Any = ibis.literal(cut)
            value = at.max(where=at <= until.cast(at.type())).to_pyarrow().as_py()
            found += [value] if value is not None else []
    return max(found, default=None)


def check_leaks(
    step: str,
    point: PointInTimeSpec,
    run: Callable[[Change | None], ArrowTable],
    newest: Callable[[datetime], datetime | None],
) -> tuple[datetime, ...]:
    """Run the test at `CUTS` times and return them.

    The times are taken from the rows: the busiest of each third, because ties are where
    a `<=` in place of a `<` shows.

    Args:
        step: Name for messages.
        point: What the manifest declares.
        run: Runs the step on changed inputs; None: as they are. Stateless.
        newest: Gives the time of the last input row up to a time, see `latest`.

    Raises:
        ContractError: A row about a time up to the cut noticed what happens later; or the
            step's table lacks the declared time column.
    """
    before = run(None)
    if point.at not in before.column_names:
        raise ContractError(
            f"expected a time column {point.at!r}, found {', '.join(before.column_names)}",
            where=f"step {step}",
            hint="correct point_in_time.at, or let the step return the column.",
        )
    with duckdb.connect(config={"threads": 1}) as con:
        con.register("before", before)
        cuts = _cuts(con, point.at)
        columns = [
            (name, kind)
            for name, kind, *_ in con.execute("DESCRIBE before").fetchall()
            if name not in point.label
        ]
        for cut in cuts:
            last = newest(cut)
            for change in (
                Change(kind="labels", cut=cut),
                *([Change(kind="future", cut=last)] if last else []),
            ):
                con.register("after", run(change))
                _compare(con, step, point, columns, change)
                con.unregister("after")
    return tuple(cuts)


def _cuts(con: duckdb.DuckDBPyConnection, at: str) -> list[datetime]:
    """Return the time with the most rows in each part of the table, earliest first.

    The very last time is left out where there are others: nothing happens after it.
    """
    name = quote(at)
    rows = con.execute(
        f"WITH times AS (SELECT {name} AS t FROM before WHERE {name} IS NOT NULL), "  # noqa: S608
        "early AS (SELECT t FROM times WHERE t < (SELECT max(t) FROM times) "
        "OR (SELECT min(t) = max(t) FROM times)), "
        f"parts AS (SELECT t, ntile({CUTS}) OVER (ORDER BY t) AS part FROM early), "
        "sizes AS (SELECT part, t, count(*) AS n FROM parts GROUP BY part, t) "
        "SELECT max_by(t, (n, t)) FROM sizes GROUP BY part ORDER BY 1"
    ).fetchall()
    return list(dict.fromkeys(row[0] for row in rows))


def _compare(
    con: duckdb.DuckDBPyConnection,
    step: str,
    point: PointInTimeSpec,
    columns: list[tuple[str, str]],
    change: Change,
) -> None:
    at, cut = quote(point.at), change.cut
    values = {name: _value(name, kind) for name, kind in columns}
    sums = ", ".join(f"sum(hash({at}, {value}))" for value in values.values())
    select = f"SELECT sum(hash({', '.join(values.values())})), count(*), {sums} FROM "  # noqa: S608
    was = con.execute(f"{select} before WHERE {at} <= ?", [cut]).fetchone()
    now = con.execute(f"{select} after WHERE {at} <= ?", [cut]).fetchone()
    assert was is not None  # noqa: S101  # an aggregate has one row
    assert now is not None  # noqa: S101
    if was[0] == now[0] and was[1] == now[1]:
        return
    if was[1] != now[1]:
        raise ContractError(
            f"{was[1]:,} rows up to {cut} become {now[1]:,} when {change.words()}: which "
            "rows there are depends on the future",
            where=f"step {step}",
            hint="select rows by what was known at their own time.",
        )
    differ = [name for i, name in enumerate(values) if was[i + 2] != now[i + 2]]
    many = len(differ) > 1
    named = ", ".join(map(repr, differ)) if differ else "the combination of columns"
    raise ContractError(
        f"column{'s' if many else ''} {named} of rows up to {cut} "
        f"change{'' if many else 's'} when {change.words()}, so "
        f"{'they know' if many else 'it knows'} the future. "
        f"{_example(con, values, at, differ, change)}",
        where=f"step {step}",
        hint="use only rows that were available strictly before (`<`, not `<=`) the row's "
        "own time; a column made from the label belongs under point_in_time.label.",
    )


def _value(name: str, kind: str) -> str:
    """Return the SQL of a value as it is compared: floats to seven digits."""
    return f"{quote(name)}::FLOAT" if kind.upper() in {"DOUBLE", "FLOAT"} else quote(name)


def _example(
    con: duckdb.DuckDBPyConnection,
    values: dict[str, str],
    at: str,
    differ: list[str],
    change: Change,
) -> str:
    """Return one changed row in words."""
    cut = change.cut
    key = ", ".join(values[name] for name in (differ or values))
    rest = [name for name in values if name not in differ]
    for copy, table in (("mlg_was", "before"), ("mlg_now", "after")):
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {copy} AS "  # noqa: S608
            f"SELECT *, hash({key}) AS mlg_k FROM {table} WHERE {at} <= ?",
            [cut],
        )
    same = " AND ".join(
        f"n.{quote(name)} IS NOT DISTINCT FROM w.{quote(name)}" for name in rest
    )
    shown = [*rest[:_SHOWN], *differ[:_SHOWN]]
    fields = ", ".join(f"w.{quote(name)}" for name in shown)
    became = ", ".join(f"n.{quote(name)}" for name in differ[:_SHOWN]) or "NULL"
    row = con.execute(
        f"SELECT {fields}, {became} FROM mlg_was w LEFT JOIN mlg_now n "  # noqa: S608
        f"ON {same or 'false'} WHERE n.mlg_k IS NULL OR n.mlg_k <> w.mlg_k "
        f"ORDER BY w.{at} DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return "Example: a row that is there only with the later rows."
    was = ", ".join(f"{name}={value!r}" for name, value in zip(shown, row, strict=False))
    now = ", ".join(
        f"{name}={value!r}"
        for name, value in zip(differ[:_SHOWN], row[len(shown) :], strict=False)
    )
    return f"Example row: {was}" + (f"; then {now}." if now else ".")
