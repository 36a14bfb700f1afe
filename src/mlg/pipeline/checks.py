"""The value half of a contract: Ibis expressions over the rows, one message a breach."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import ibis
import ibis.expr.types as ir

from mlg.core.clock import rfc3339
from mlg.core.errors import ContractError
from mlg.manifest.specs_data import (
    CheckSpec,
    ColumnSpec,
    DatasetSpec,
    ReferencesCheck,
    RowsCheck,
)
from mlg.pipeline.contracts import in_one_text

_SAMPLES: Final = 3


def value_breaches(
    table: ir.Table,
    spec: DatasetSpec,
    *,
    others: Mapping[str, ir.Table] | None = None,
    now: datetime,
) -> tuple[str, ...]:
    """Return one message for each way in which the rows break the contract; empty when none.

    Args:
        table: The dataset's rows, with the declared columns.
        spec: The contract.
        others: Tables that `references` checks name.
        now: Time of the run, for `freshness`.
    """
    rows = _count(table)
    allows_empty = any(check.rows and check.rows.min == 0 for check in spec.checks)
    if rows == 0:
        return () if allows_empty else ("the dataset has no rows",)
    messages = _column_breaches(table, spec.columns)
    for check in spec.checks:
        messages += _check_breaches(table, check, rows=rows, others=others or {}, now=now)
    return tuple(messages)


def value_error(dataset: str, breaches: tuple[str, ...]) -> ContractError:
    """Return one error that names every breach."""
    return ContractError(
        in_one_text(breaches),
        where=f"dataset {dataset}",
        hint=f"correct the source's rows, or the contract under datasets.{dataset}.",
    )


def _column_breaches(table: ir.Table, columns: Mapping[str, ColumnSpec]) -> list[str]:
    bad: list[tuple[str, str, Any]] = []
    for name, spec in columns.items():
        bad.extend((name, what, wrong) for what, wrong in _column_rules(table[name], spec))
    if not bad:
        return []
    counts = table.aggregate(
        **{f"b{i}": wrong.sum() for i, (_, _, wrong) in enumerate(bad)}
    ).to_pyarrow()
    messages: list[str] = []
    for i, (name, what, wrong) in enumerate(bad):
        count = counts.column(f"b{i}")[0].as_py() or 0
        if count:
            sample = _sample(table.filter(wrong), (name,))
            messages.append(f"column {name!r}: expected {what}, {_rows(count)} not: {sample}")
    return messages


def _column_rules(column: Any, spec: ColumnSpec) -> list[tuple[str, Any]]:
    rules: list[tuple[str, Any]] = []
    missing = column.isnull()
    if column.type().is_floating():
        missing |= column.isnan()
    if not spec.nullable:
        rules.append(("a value in each row", missing))
    if spec.range is not None:
        low, high = spec.range
        outside = ibis.literal(value=False)
        if low is not None:
            outside |= column < low
        if high is not None:
            outside |= column > high
        rules.append((f"{_bound(low)} to {_bound(high)}", ~missing & outside))
    if spec.values is not None:
        allowed = ", ".join(map(repr, spec.values))
        rules.append((f"one of {allowed}", ~missing & ~column.isin(list(spec.values))))
    return rules


def _check_breaches(
    table: ir.Table,
    check: CheckSpec,
    *,
    rows: int,
    others: Mapping[str, ir.Table],
    now: datetime,
) -> list[str]:
    if check.unique is not None:
        return _not_unique(table, check.unique)
    if check.rows is not None:
        return _too_few_or_many(check.rows, rows)
    if check.values is not None:
        name, allowed = check.values.column, check.values.allowed
        return _column_breaches(table, {name: ColumnSpec(type="string", values=allowed)})
    if check.references is not None:
        return _lost(table, check.references, others[check.references.dataset])
    if check.freshness is not None:
        return _stale(table, check.freshness.column, check.freshness.max_age_s, now)
    return []


def _too_few_or_many(check: RowsCheck, rows: int) -> list[str]:
    if rows < check.min:
        return [f"expected at least {check.min:,} rows, found {rows:,}"]
    if check.max is not None and rows > check.max:
        return [f"expected at most {check.max:,} rows, found {rows:,}"]
    return []


def _lost(table: ir.Table, check: ReferencesCheck, other: ir.Table) -> list[str]:
    pairs = list(zip(check.columns, check.keys, strict=True))
    lost = table.anti_join(other, pairs)
    count = _count(lost)
    if not count:
        return []
    keys = ", ".join(f"{check.dataset}.{key}" for key in check.keys)
    sample = _sample(lost, check.columns)
    return [f"expected {_names(check.columns)} in {keys}, {_rows(count)} not: {sample}"]


def _not_unique(table: ir.Table, columns: tuple[str, ...]) -> list[str]:
    groups: Any = table.group_by(list(columns)).aggregate(mlg_n=ibis._.count())
    double: Any = groups.filter(groups["mlg_n"] > 1)
    count = _count(double)
    if not count:
        return []
    times = "value occurs" if count == 1 else "values occur"
    sample = _sample(double, columns)
    return [f"expected unique {_names(columns)}, {count:,} {times} more than once: {sample}"]


def _stale(table: ir.Table, column: str, max_age_s: float, now: datetime) -> list[str]:
    newest = table[column].max().to_pyarrow().as_py()
    if newest is None:
        return [f"column {column!r}: expected a recent time, found none"]
    newest = newest if newest.tzinfo else newest.replace(tzinfo=now.tzinfo)
    age = now - newest
    if age <= timedelta(seconds=max_age_s):
        return []
    return [
        f"column {column!r}: expected a row of the last {timedelta(seconds=max_age_s)}, "
        f"the newest is of {rfc3339(newest)} ({age} old)"
    ]


def _sample(bad: ir.Table, columns: tuple[str, ...]) -> str:
    """Return a few of the bad values as text, smallest first: the same each time."""
    names = list(columns)
    found = (
        bad.select(names).distinct().order_by(names).limit(_SAMPLES).to_pyarrow().to_pylist()
    )
    shown = [row[names[0]] if len(names) == 1 else tuple(row.values()) for row in found]
    return "for example " + ", ".join(map(repr, shown))


def _count(table: Any) -> int:
    return int(table.count().to_pyarrow().as_py())


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count:,} rows are"


def _names(columns: tuple[str, ...]) -> str:
    return repr(columns[0]) if len(columns) == 1 else "(" + ", ".join(columns) + ")"


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
