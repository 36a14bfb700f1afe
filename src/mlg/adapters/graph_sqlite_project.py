"""Writes what an event says into the projection tables; the writer's connection only."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from mlg.adapters.graph_sqlite_schema import (
    CLASSES,
    PROVENANCES,
    attrs_pairs,
    attrs_text,
    micros,
    moment,
    search_text,
)
from mlg.core.events import Event
from mlg.core.uris import Uri, parse_uri
from mlg.graph.project import (
    EdgeUpsert,
    NodeState,
    NodeUpsert,
    fold,
    intervals,
    project_event,
    resolve,
)

_MOST_REMEMBERED: Final = 200_000

Row = tuple[object, ...]


class Projector:
    """Folds events into the projection tables, inside the caller's transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._ids: dict[Uri, int] = {}
        self._since_us: dict[int, int] = {}
        """Of a node: it is known to begin at this time or earlier."""
        self._fresh: set[int] = set()
        """Nodes that the event in hand made: nothing points to or from them yet."""
        self._drawn: set[tuple[int, int, int]] = set()
        """Arrows that the event in hand drew."""
        self._roles: dict[str, int] = dict(connection.execute("SELECT name, id FROM role"))

    def forget(self) -> None:
        """Drop what is remembered of rows; needed after each rollback."""
        self._ids.clear()
        self._since_us.clear()

    def apply(self, event: Event, seq: int) -> None:
        """Project one event that was just written under this seq."""
        nodes, edges = project_event(event)
        self._connection.execute(
            "INSERT INTO event_name VALUES (?, ?, ?)", (seq, event.id, event.key)
        )
        if len(self._ids) > _MOST_REMEMBERED:
            self.forget()
        self._fresh.clear()
        self._drawn.clear()
        for node in nodes:
            if node.implied:
                self._imply(node)
            else:
                self._tell(node, seq)
        for edge in edges:
            self._draw(edge, seq)

    def _id(self, uri: Uri) -> int | None:
        found = self._ids.get(uri)
        if found is None:
            row = self._connection.execute(
                "SELECT id FROM node WHERE uri = ?", (uri,)
            ).fetchone()
            if row is not None:
                found = self._ids[uri] = int(row[0])
        return found

    def _imply(self, fact: NodeUpsert) -> None:
        node_id = self._id(fact.uri)
        at_us = micros(fact.order[0])
        if node_id is None:
            self._insert(fact, fold(None, fact))
        elif self._since_us.get(node_id, at_us + 1) > at_us:
            self._connection.execute(
                "UPDATE node SET valid_from = ? WHERE id = ? AND valid_from > ?",
                (at_us, node_id, at_us),
            )
            self._since_us[node_id] = at_us

    def _tell(self, fact: NodeUpsert, seq: int) -> None:
        node_id = self._id(fact.uri)
        if node_id is None:
            node_id = self._insert(fact, fold(None, fact))
            self._remember(node_id, fact, seq)
            return
        self._remember(node_id, fact, seq)
        state = self._state(node_id)
        if state.last is None or fact.order > state.last:
            state = fold(state, fact)
        else:
            state = self._resolved(node_id, fact.uri, state)
        self._connection.execute(
            "UPDATE node SET name = ?, digest = ?, attrs = ?, valid_from = ?, valid_to = ?,"
            " last_at = ?, last_key = ?, last_place = ? WHERE id = ?",
            (*_state_row(state), node_id),
        )
        self._connection.execute("DELETE FROM search WHERE rowid = ?", (node_id,))
        self._index(node_id, fact.uri, state)

    def _insert(self, fact: NodeUpsert, state: NodeState) -> int:
        cursor = self._connection.execute(
            "INSERT INTO node (uri, kind, name, digest, attrs, valid_from, valid_to,"
            " last_at, last_key, last_place) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (fact.uri, fact.kind, *_state_row(state)),
        )
        node_id = int(cursor.lastrowid or 0)
        self._ids[fact.uri] = node_id
        self._fresh.add(node_id)
        self._index(node_id, fact.uri, state)
        return node_id

    def _index(self, node_id: int, uri: Uri, state: NodeState) -> None:
        words = " ".join(f"{name} {value}" for name, value in state.attrs)
        self._connection.execute(
            "INSERT INTO search (rowid, name, uri, attrs) VALUES (?, ?, ?, ?)",
            (node_id, state.name, search_text(uri), f"{words} {state.digest or ''}".strip()),
        )

    def _remember(self, node_id: int, fact: NodeUpsert, seq: int) -> None:
        at, key, place = fact.order
        self._connection.execute(
            "INSERT INTO node_fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                node_id,
                micros(at),
                key,
                place,
                seq,
                fact.name,
                fact.digest,
                attrs_text(fact.attrs),
                int(fact.ended),
            ),
        )

    def _state(self, node_id: int) -> NodeState:
        name, digest, attrs, since, until, at, key, place = self._connection.execute(
            "SELECT name, digest, attrs, valid_from, valid_to, last_at, last_key, last_place"
            " FROM node WHERE id = ?",
            (node_id,),
        ).fetchone()
        return NodeState(
            name=name,
            digest=digest,
            attrs=attrs_pairs(attrs),
            valid_from=moment(since),
            valid_to=None if until is None else moment(until),
            last=None if at is None else (moment(at), key, place),
        )

    def _resolved(self, node_id: int, uri: Uri, state: NodeState) -> NodeState:
        """Return the state from all facts; `valid_from` also knows the implied ones."""
        facts = read_facts(self._connection, node_id, uri)
        found = resolve(facts)
        if found is None:
            return state
        implied = NodeUpsert(
            uri=uri,
            kind=parse_uri(uri).kind,
            order=(min(state.valid_from, found.valid_from), "", 0),
            implied=True,
        )
        return fold(found, implied)

    def _draw(self, fact: EdgeUpsert, seq: int) -> None:
        ends = (self._ids[fact.src], self._roles[fact.role], self._ids[fact.dst])
        at, key, place = fact.order
        known = ends in self._drawn or not {ends[0], ends[2]} & self._fresh
        self._drawn.add(ends)
        rows = (
            []
            if not known
            else self._connection.execute(
                "SELECT edge.id, edge.at, event_name.key, edge.place, edge.ended FROM edge"
                " JOIN event_name USING (seq) WHERE src_id = ? AND role = ? AND dst_id = ?",
                ends,
            ).fetchall()
        )
        alone = not rows and not fact.ended
        cursor = self._connection.execute(
            "INSERT INTO edge (src_id, role, dst_id, class, at, seq, place, provenance, ended,"
            " valid_from, valid_to) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                *ends,
                CLASSES.index(fact.edge_class),
                micros(at),
                seq,
                place,
                PROVENANCES.index(fact.provenance),
                int(fact.ended),
                micros(at) if alone else None,
            ),
        )
        if not alone:
            self._set_intervals([*rows, (cursor.lastrowid, micros(at), key, place, fact.ended)])

    def _set_intervals(self, rows: Sequence[Sequence[Any]]) -> None:
        """Say of each row (id, at, key, place, ended) of one arrow when it holds, if ever."""
        facts = [(moment(row[1]), str(row[2]), int(row[3])) for row in rows]
        ends = [bool(row[4]) for row in rows]
        spans = {span.opened_by: span for span in intervals(zip(facts, ends, strict=True))}
        for order, row in zip(facts, rows, strict=True):
            span = spans.get(order)
            since = micros(span.valid_from) if span else None
            until = micros(span.valid_to) if span and span.valid_to else None
            self._connection.execute(
                "UPDATE edge SET valid_from = ?, valid_to = ? WHERE id = ?"
                " AND (valid_from IS NOT ? OR valid_to IS NOT ?)",
                (since, until, row[0], since, until),
            )


def read_facts(
    connection: sqlite3.Connection, node_id: int, uri: Uri, until_us: int | None = None
) -> list[NodeUpsert]:
    """Return every told fact about a node, up to an event time where one is given."""
    rows = connection.execute(
        "SELECT at, key, place, name, digest, attrs, ended FROM node_fact"
        " WHERE node_id = ? AND (? IS NULL OR at <= ?) ORDER BY at, key, place",
        (node_id, until_us, until_us),
    )
    kind = parse_uri(uri).kind
    return [
        NodeUpsert(
            uri=uri,
            kind=kind,
            order=(moment(at), key, place),
            name=name,
            digest=digest,
            attrs=attrs_pairs(attrs),
            ended=bool(ended),
        )
        for at, key, place, name, digest, attrs, ended in rows
    ]


def _state_row(state: NodeState) -> Row:
    last = state.last
    return (
        state.name,
        state.digest,
        attrs_text(state.attrs),
        micros(state.valid_from),
        None if state.valid_to is None else micros(state.valid_to),
        None if last is None else micros(last[0]),
        None if last is None else last[1],
        None if last is None else last[2],
    )
