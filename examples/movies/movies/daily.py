"""Running daily statistics of items, and the join that looks only backwards."""

from collections.abc import Iterable

import ibis
import ibis.expr.types as ir


def running_stats(
    events: ir.Table, *, item: str, at: str, value: str, windows: Iterable[int]
) -> ir.Table:
    """Return one row an item and day, from its first event to the day after the last of all.

    `available_at` is the day's midnight, and every number counts events strictly before it.
    Days without events have rows too, so a window is a difference of two running counts.
    """
    events = events.select(
        item_id=events[item],
        day=events[at].epoch_seconds() // 86_400,
        value=events[value].cast("float64"),
    )
    per_day = events.group_by("item_id", "day").aggregate(
        n=lambda t: t.count(), total=lambda t: t.value.sum()
    )
    ends = events.aggregate(first=events.day.min(), last=events.day.max())
    days = ends.select(day=ibis.range(ends.first, ends.last + 2).unnest())
    firsts = events.group_by("item_id").aggregate(first_day=lambda t: t.day.min())
    grid = firsts.join(days, days.day >= firsts.first_day).select("item_id", "day")
    dense = grid.left_join(per_day, ["item_id", "day"]).select(
        "item_id", "day", n=per_day.n.fill_null(0), total=per_day.total.fill_null(0.0)
    )
    order = ibis.window(group_by="item_id", order_by="day")
    running = ibis.cumulative_window(group_by="item_id", order_by="day")
    counted = dense.mutate(
        n_sum=dense.n.sum().over(running), value_sum=dense.total.sum().over(running)
    )
    before = counted.n_sum.lag(1).over(order).fill_null(0)
    columns = {
        f"plays_{days}d": before - counted.n_sum.lag(days + 1).over(order).fill_null(0)
        for days in windows
    }
    return counted.select(
        "item_id",
        available_at=(counted.day * 86_400).as_timestamp("s").cast("timestamp"),
        **columns,
        plays_all=before,
        mean_value=counted.value_sum.lag(1).over(order) / before.nullif(0),
    )


def as_of(rows: ir.Table, stats: ir.Table, *, item: str, at: str) -> ir.Table:
    """Return the rows with the newest statistics that were available strictly before each."""
    joined = rows.asof_join(stats, rows[at] > stats.available_at, predicates=[item])
    return joined.drop(f"{item}_right", "available_at")
