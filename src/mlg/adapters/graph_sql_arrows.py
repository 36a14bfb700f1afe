"""Writes the arrows that events tell of, and when each holds; the writer's connection only."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mlg.adapters.graph_sql_rows import (
    PROVENANCES,
    Connection,
    insert_rows,
    matching,
    micros,
    moment,
)
from mlg.core.events import Event
from mlg.core.uris import Uri
from mlg.graph.project import Order, intervals

_MOST_REMEMBERED: Final = 100_000
_PROVENANCE: Final = {name: number for number, name in enumerate(PROVENANCES)}

Numbered = Sequence[tuple[int, Event, tuple[Uri, ...]]]
"""Events with their seq and every URI that they name, sorted."""
Triple = tuple[int, int, int]
"""An arrow: dst, role, src."""


@dataclass(slots=True)
class _Arrow:
    """How the newest of its facts left an arrow."""

    last: Order
    opened: tuple[int, int] | None = None
    """Seq and place of the row that holds since `since_us`, if one does."""
    since_us: int = 0


class _Told(NamedTuple):
    """One new row of an arrow."""

    order: Order
    row: tuple[int, int]
    """Seq and place."""
    at_us: int
    ended: bool


class Arrows:
    """Folds arrows into the table `edge`, inside the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        roles = connection.execute("SELECT name, id FROM role").fetchall()
        self._roles: dict[str, int] = dict(roles)
        self._again: dict[Triple, _Arrow] = {}
        """How its newest fact left an arrow that was told of again."""

    def forget(self) -> None:
        """Drop what is remembered of rows; needed after each rollback."""
        self._again.clear()

    def draw(self, events: Numbered, ids: Mapping[str, int], made: int) -> None:
        """Write the arrows, and when those hold that were told of more than once.

        Args:
            events: Just written.
            ids: Of every node that they name.
            made: Nodes with a greater id are new, and so are their arrows.
        """
        roles = self._roles
        if len(self._again) > _MOST_REMEMBERED:
            self._again.clear()
        rows: list[tuple[Any, ...]] = []
        seen: set[Triple] = set()
        again: set[Triple] = set()
        old: set[Triple] = set()
        for seq, event, _ in events:
            if not event.edges:
                continue
            at_us = micros(event.at)
            drawn = [(ids[f.dst], roles[f.role], ids[f.src]) for f in event.edges]
            ended = {place for place, fact in enumerate(event.edges) if fact.ended}
            if ended or len(set(drawn)) < len(drawn) or not seen.isdisjoint(drawn):
                counted = Counter(drawn)
                again.update(ends for ends, n in counted.items() if n > 1 or ends in seen)
                again.update(drawn[place] for place in ended)
            seen.update(drawn)
            old.update([ends for ends in drawn if ends[0] <= made and ends[2] <= made])
            rows += [
                (
                    *ends, seq, place, _PROVENANCE[fact.provenance], int(fact.ended), at_us,
                    None if fact.ended else at_us, None,
                )
                for place, (ends, fact) in enumerate(zip(drawn, event.edges, strict=True))
            ]  # fmt: skip
        if old - again:
            again.update(self._drawn(old - again))
        rows.sort()  # neighbours in the table are written together
        insert_rows(self._connection, "edge", rows)
        for ends, told in _told_of(again, events, ids, roles).items():
            self._continue(ends, told)

    def _continue(self, ends: Triple, told: Sequence["_Told"]) -> None:
        """Say when these new rows of one arrow hold; of all its rows, where they come late."""
        arrow = self._again.get(ends)
        if arrow is None or told[0].order <= arrow.last:
            self._set_intervals(ends)
            return
        for one in told:
            arrow.last = one.order
            if one.ended:
                if arrow.opened:
                    self._hold(ends, arrow.opened, arrow.since_us, one.at_us)
                    arrow.opened = None
            elif arrow.opened:
                self._hold(ends, one.row, None, None)
            else:
                arrow.opened, arrow.since_us = one.row, one.at_us

    def _hold(
        self, ends: Triple, row: tuple[int, int], since_us: int | None, until_us: int | None
    ) -> None:
        """Say when one row of an arrow holds."""
        self._connection.execute(
            "UPDATE edge SET valid_from = ?, valid_to = ?"
            " WHERE dst_id = ? AND role = ? AND src_id = ? AND seq = ? AND place = ?",
            (since_us, until_us, *ends, *row),
        )

    def _drawn(self, ends: Iterable[Triple]) -> list[Triple]:
        """Return those of the arrows that are in the graph."""
        return matching(
            self._connection,
            "SELECT DISTINCT e.dst_id, e.role, e.src_id FROM json_each(?) j JOIN edge e"
            " ON e.dst_id = CAST(json_extract(j.value, '$[0]') AS BIGINT)"
            " AND e.role = CAST(json_extract(j.value, '$[1]') AS BIGINT)"
            " AND e.src_id = CAST(json_extract(j.value, '$[2]') AS BIGINT)",
            ends,
        )

    def _set_intervals(self, ends: Triple) -> None:
        """Say of each row of one arrow when it holds, if ever."""
        rows = self._connection.execute(
            "SELECT edge.seq, edge.at, event.key, edge.place, edge.ended, valid_from, valid_to"
            " FROM edge JOIN event USING (seq) WHERE dst_id = ? AND role = ? AND src_id = ?",
            ends,
        ).fetchall()
        facts = [(moment(row[1]), str(row[2]), int(row[3])) for row in rows]
        ended = [bool(row[4]) for row in rows]
        spans = {span.opened_by: span for span in intervals(zip(facts, ended, strict=True))}
        arrow = self._again[ends] = _Arrow(last=max(facts))
        for order, row in zip(facts, rows, strict=True):
            span = spans.get(order)
            since = micros(span.valid_from) if span else None
            until = micros(span.valid_to) if span and span.valid_to else None
            if span and until is None:
                arrow.opened, arrow.since_us = (row[0], row[3]), row[1]
            if (since, until) != tuple(row[5:7]):
                self._hold(ends, (row[0], row[3]), since, until)


def _told_of(
    arrows: Collection[Triple],
    events: Numbered,
    ids: Mapping[str, int],
    roles: Mapping[str, int],
) -> dict[Triple, list[_Told]]:
    """Return what the events tell of some arrows, each in the order of its facts."""
    found: dict[Triple, list[_Told]] = {ends: [] for ends in sorted(arrows)}
    for seq, event, _ in events if found else ():
        for place, fact in enumerate(event.edges):
            told = found.get((ids[fact.dst], roles[fact.role], ids[fact.src]))
            if told is not None:
                order = (event.at, event.key, place)
                told.append(_Told(order, (seq, place), micros(event.at), fact.ended))
    for told in found.values():
        told.sort()
    return found
