"""Item statistics as they were known at any time, strictly before it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlg.recsys.columns import (
    Floats32,
    Micros,
    Table,
    Vocabulary,
    column,
    is_number,
    numbers,
    times_us,
)
from mlg.recsys.roles import ItemStatsRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Item statistics as of any time; row r may be used strictly after its time."""

    names: tuple[str, ...]
    keys: Micros
    """item * span + (time - origin), sorted, shape ``(S,)``."""
    values: Floats32
    """Shape ``(S, len(names))``."""
    origin: int
    span: int

    def at(self, items: np.ndarray[Any, Any], at_us: int) -> Floats32:
        """Return the newest values strictly before a time, shape ``(n, stats)``; else NaN."""
        offset = min(max(at_us - self.origin, 0), self.span - 1)
        base = items.astype(np.int64) * self.span
        place = np.searchsorted(self.keys, base + offset, side="left") - 1
        result = np.full((items.size, len(self.names)), np.nan, dtype=np.float32)
        valid = place >= 0
        valid[valid] = self.keys[place[valid]] >= base[valid]
        result[valid] = self.values[place[valid]]
        return result


NO_STATS = Stats(
    names=(),
    keys=np.zeros(0, dtype=np.int64),
    values=np.zeros((0, 0), dtype=np.float32),
    origin=0,
    span=1,
)


def stats_of(table: Table, role: ItemStatsRole, items: Vocabulary, frozen_us: int) -> Stats:
    """Return the item statistics available strictly before a time.

    Args:
        table: The statistics' table.
        role: Its columns; every other numeric column is a statistic.
        items: Codes of the items; rows of unknown ones are left out.
        frozen_us: Rows available at this time or later are left out.

    Raises:
        ContractError: A column is missing or of the wrong kind.
    """
    item = items.encode(column(table, role.key, role.table)).astype(np.int64)
    at = times_us(
        column(table, role.available_at, role.table), f"{role.table}.{role.available_at}"
    )
    names = tuple(
        name
        for name in table.column_names
        if name not in {role.key, role.available_at} and is_number(table.column(name).type)
    )
    keep = (item >= 0) & (at < frozen_us)
    if not names or not keep.any():
        return NO_STATS
    item, at = item[keep], at[keep]
    values = np.column_stack([numbers(table.column(name))[keep] for name in names])
    origin = int(at.min())
    span = int(at.max()) - origin + 2
    keys = item * span + (at - origin)
    order = np.argsort(keys, kind="stable")
    return Stats(
        names=names,
        keys=keys[order],
        values=values[order].astype(np.float32),
        origin=origin,
        span=span,
    )
