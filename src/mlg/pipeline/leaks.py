"""The leak test: what is known only later must not reach rows about earlier times.

A step is run again on inputs that differ only in the future of a cut time T: once with
other labels at or after T, once without the rows after T. Its rows about times up to T
must stay what they were, label columns excepted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from mlg.core.errors import ContractError
from mlg.manifest.specs_pipelines import PointInTimeSpec
from mlg.pipeline.snapshot import quote, row_text

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
    at = table[point.source_at]
    cut = ibis.literal(change.cut).cast(at.type())
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


def check_leaks(
    step: str, point: PointInTimeSpec, run: Callable[[Change | None], pa.Table]
) -> tuple[datetime, ...]:
    """Run the test at `CUTS` times and return them.

    The times are taken from the rows: the busiest of each third, because ties are where
    a `<=` in place of a `<` shows.

    Args:
        step: Name for messages.
        point: What the manifest declares.
        run: Runs the step on changed inputs; None: as they are. Stateless.

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
    with duckdb.connect(config={"threads": 1, "TimeZone": "UTC"}) as con:
        con.register("before", before)
        cuts = _cuts(con, point.at)
        columns = [
            (name, kind)
            for name, kind, *_ in con.execute("DESCRIBE before").fetchall()
            if name not in point.label
        ]
        for cut in cuts:
            for kind in ("labels", "future"):
                change = Change(kind=kind, cut=cut)
                con.register("after", run(change))
                _compare(con, step, point, columns, change)
                con.unregister("after")
    return tuple(cuts)


def _cuts(con: duckdb.DuckDBPyConnection, at: str) -> list[datetime]:
    """Return the time with the most rows in each part of the table, earliest first."""
    name = quote(at)
    rows = con.execute(
        f"WITH parts AS (SELECT {name} AS at, ntile({CUTS}) OVER (ORDER BY {name}) AS part "  # noqa: S608
        f"FROM before WHERE {name} IS NOT NULL), "
        "sizes AS (SELECT at, count(*) AS n FROM parts GROUP BY at), "
        "edges AS (SELECT part, min(at) AS low, max(at) AS high FROM parts GROUP BY part) "
        "SELECT arg_max(sizes.at, (sizes.n, sizes.at)) FROM edges "
        "JOIN sizes ON sizes.at BETWEEN edges.low AND edges.high GROUP BY part ORDER BY 1"
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
    texts = {name: row_text(name, kind) for name, kind in columns}
    sums = ", ".join(f"sum(hash({row_text(*_at(point, columns))} || {t}))" for t in texts.values())
    whole = " || ".join(texts.values())
    query = f"SELECT sum(hash({whole})), count(*), {sums} FROM {{}} WHERE {at} <= ?"  # noqa: S608
    was = con.execute(query.format("before"), [cut]).fetchone()
    now = con.execute(query.format("after"), [cut]).fetchone()
    assert was is not None  # noqa: S101  # an aggregate has one row
    assert now is not None  # noqa: S101
    if was[0] == now[0] and was[1] == now[1]:
        return
    differ = [name for i, name in enumerate(texts) if was[i + 2] != now[i + 2]]
    named = ", ".join(map(repr, differ)) if differ else "the combination of columns"
    many = "columns" if len(differ) > 1 else "column"
    raise ContractError(
        f"{many} {named} of rows up to {cut} change when {change.words()}: {many} know "
        f"the future. {_example(con, texts, at, differ, change)}",
        where=f"step {step}",
        hint="use only rows that were available strictly before (`<`, not `<=`) the row's "
        "own time; a column made from the label belongs under point_in_time.label.",
    )


def _at(point: PointInTimeSpec, columns: list[tuple[str, str]]) -> tuple[str, str]:
    kinds = dict(columns)
    return point.at, kinds.get(point.at, "TIMESTAMP")


def _example(
    con: duckdb.DuckDBPyConnection,
    texts: dict[str, str],
    at: str,
    differ: list[str],
    change: Change,
) -> str:
    """Return one changed row in words."""
    cut = change.cut
    key = " || ".join(texts[name] for name in (differ or texts))
    rest = [name for name in texts if name not in differ]
    select = f"SELECT *, {key} AS mlg_k FROM {{}} WHERE {at} <= ?"  # noqa: S608
    con.execute("CREATE OR REPLACE TEMP TABLE mlg_was AS " + select.format("before"), [cut])
    con.execute("CREATE OR REPLACE TEMP TABLE mlg_now AS " + select.format("after"), [cut])
    same = " AND ".join(f"n.{quote(name)} IS NOT DISTINCT FROM w.{quote(name)}" for name in rest)
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
