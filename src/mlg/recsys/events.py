"""Interactions as arrays in time order, and each viewer's history at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mlg.core.clock import parse_time
from mlg.core.errors import ContractError, ManifestError
from mlg.core.predict import Key
from mlg.recsys.columns import (
    Codes,
    Column,
    Floats,
    Micros,
    Table,
    Tables,
    Vocabulary,
    column,
    numbers,
    table_of,
    times_us,
    to_us,
    unique_of,
    vocabulary,
)
from mlg.recsys.roles import Roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Events in order of (time, viewer, item); arrays of shape ``(n,)``."""

    viewer: Codes
    """-1 where the table has no viewer."""
    item: Codes
    at: Micros
    value: Floats
    """NaN where there is no label."""
    row: Micros
    """Row of the event in its table."""

    def __len__(self) -> int:
        return int(self.at.size)

    def span(self, start: int, end: int) -> "Log":
        """Return the events at places start..end-1."""
        part = slice(start, end)
        return Log(
            viewer=self.viewer[part],
            item=self.item[part],
            at=self.at[part],
            value=self.value[part],
            row=self.row[part],
        )

    def first_at_or_after(self, at_us: int) -> int:
        """Return the place of the first event that is not before the time."""
        return int(np.searchsorted(self.at, at_us, side="left"))


def vocabularies(
    tables: Tables, roles: Roles, more_items: Iterable[Key] = ()
) -> tuple[Vocabulary, Vocabulary]:
    """Return the vocabularies of viewers and items: their own tables, and every event's.

    Args:
        tables: Tables by name.
        roles: Their parts; where an own table is named it must be there.
        more_items: Identifiers of further items.

    Raises:
        ContractError: A table or column is missing.
    """
    inter = roles.interactions
    events = table_of(tables, inter.table)
    item_parts = [column(events, inter.item, inter.table)]
    if roles.items:
        own = table_of(tables, roles.items.table)
        item_parts.append(column(own, roles.items.key, roles.items.table))
    viewer_parts: list[Column] = []
    if inter.viewer:
        viewer_parts.append(column(events, inter.viewer, inter.table))
    if roles.viewers and inter.viewer:
        own = table_of(tables, roles.viewers.table)
        viewer_parts.append(column(own, roles.viewers.key, roles.viewers.table))
    return _vocabulary(viewer_parts), _vocabulary(item_parts, more_items)


def _vocabulary(parts: list[Column], more: Iterable[Key] = ()) -> Vocabulary:
    whole = all(pa.types.is_integer(part.type) for part in parts)
    if not whole:
        parts = [part.cast(pa.string()) for part in parts]
    keys = [key if whole else str(key) for key in more]
    return vocabulary([*(unique_of(part) for part in parts), keys], whole=whole)


def log_of(table: Table, roles: Roles, viewers: Vocabulary, items: Vocabulary) -> Log:
    """Return the events of a table in order; rows without a known viewer or item are left out.

    Raises:
        ContractError: A column is missing or of the wrong kind.
    """
    inter = roles.interactions
    item = items.encode(column(table, inter.item, inter.table))
    at = times_us(column(table, inter.at, inter.table), f"{inter.table}.{inter.at}")
    keep = item >= 0
    viewer = np.full(item.size, -1, dtype=np.int32)
    if inter.viewer:
        viewer = viewers.encode(column(table, inter.viewer, inter.table))
        keep &= viewer >= 0
    value = np.full(item.size, np.nan)
    if inter.value:
        value = numbers(column(table, inter.value, inter.table))
    place = np.lexsort((item, viewer, at))
    place = place[keep[place]].astype(np.int64)
    return Log(
        viewer=viewer[place], item=item[place], at=at[place], value=value[place], row=place
    )


def cut_us(at: Micros, train_until: object, where: str) -> int:
    """Return the time, in microseconds, from which events are held out.

    Args:
        at: Times of all events, in any order; those that share the cut's time are all
            held out.
        train_until: Share of the events to train on, 0 < share <= 1, or a time as text, or
            `{after, share}`: a time, and the share of the events from it on to train on.
        where: The model's name, for errors.

    Raises:
        ManifestError: `train_until` is none of these.
        ContractError: Fewer than 20 events lie before the cut, or fewer than 20 from `after`
            on: there is nothing new to learn from and to judge by.
    """
    times = np.sort(at)
    if isinstance(train_until, Mapping):
        cut = _cut_after(times, train_until, where)
    elif isinstance(train_until, str):
        try:
            cut = to_us(parse_time(train_until))
        except ValueError as error:
            raise ManifestError(f"train_until: {error}", where=where) from error
    elif isinstance(train_until, int | float) and 0.0 < train_until <= 1.0:
        place = int(times.size * float(train_until))
        last = int(times[-1]) + 1 if times.size else 0
        cut = int(times[place]) if place < times.size else last
    else:
        raise ManifestError(
            f"expected train_until as a share (0..1] or a time, got {train_until!r}",
            where=where,
            hint="0.8 trains on the first four fifths.",
        )
    before = int(np.searchsorted(times, cut, side="left"))
    if before < 20:
        raise ContractError(
            f"expected at least 20 events before the cut, found {before}",
            where=where,
            hint="check the interactions table and train_until.",
        )
    return cut


def _cut_after(times: Micros, given: Mapping[str, Any], where: str) -> int:
    """Return the time of the event that parts what came from `after` on by `share`.

    Raises:
        ManifestError: It is not so written.
        ContractError: Fewer than 20 events came.
    """
    share = given.get("share")
    if set(given) != {"after", "share"} or not isinstance(share, float) or not 0 < share < 1:
        raise ManifestError(
            f"expected {{after: a time, share: between 0 and 1}}, got {dict(given)!r}",
            where=where,
        )
    try:
        start = int(np.searchsorted(times, to_us(parse_time(str(given["after"]))), side="left"))
    except ValueError as error:
        raise ManifestError(f"train_until.after: {error}", where=where) from error
    new = times.size - start
    if new < 20:
        raise ContractError(
            f"expected at least 20 events from {given['after']} on, found {new}",
            where=where,
            hint="nothing new has come since the model that serves was trained.",
        )
    return int(times[start + int(new * share)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A viewer's earlier events, oldest first; arrays of shape ``(h,)``."""

    items: Codes
    at: Micros
    value: Floats


NO_PAST = Past(
    items=np.zeros(0, dtype=np.int32), at=np.zeros(0, dtype=np.int64), value=np.zeros(0)
)


NO_LOG = Log(
    viewer=np.zeros(0, dtype=np.int32),
    item=np.zeros(0, dtype=np.int32),
    at=np.zeros(0, dtype=np.int64),
    value=np.zeros(0),
    row=np.zeros(0, dtype=np.int64),
)


class Histories:
    """Every viewer's events, ready to be cut at any time."""

    def __init__(self, log: Log, viewers: int) -> None:
        order = np.argsort(log.viewer, kind="stable")
        self.items = log.item[order]
        self.at = log.at[order]
        self.value = log.value[order]
        known = np.bincount(log.viewer[log.viewer >= 0], minlength=viewers)
        skipped = int(np.sum(log.viewer < 0))
        self.offsets: Micros = skipped + np.concatenate(([0], np.cumsum(known))).astype(
            np.int64
        )

    @classmethod
    def of(cls, *, items: Codes, at: Micros, value: Floats, offsets: Micros) -> "Histories":
        """Return histories in order already: viewer v is offsets[v]..offsets[v + 1]."""
        made = cls(NO_LOG, 0)
        made.items, made.at, made.value, made.offsets = items, at, value, offsets
        return made

    def before(self, viewer: int, at_us: int | None = None) -> Past:
        """Return the viewer's events with a strictly smaller time; all when it is None."""
        if viewer < 0:
            return NO_PAST
        start, end = int(self.offsets[viewer]), int(self.offsets[viewer + 1])
        if at_us is not None:
            end = start + int(np.searchsorted(self.at[start:end], at_us, side="left"))
        part = slice(start, end)
        return Past(items=self.items[part], at=self.at[part], value=self.value[part])


def require_viewer(roles: Roles, kind: str) -> None:
    """Check that the model has what it needs to know a viewer's history.

    Raises:
        ContractError: The interactions have no viewer.
    """
    if not roles.interactions.viewer:
        raise ContractError(
            f"model {kind!r} needs a viewer column, the interactions have none",
            where=roles.interactions.table,
            hint="name it in roles.interactions.viewer, or use model: context_ranker.",
        )
