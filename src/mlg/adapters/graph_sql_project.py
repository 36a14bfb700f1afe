"""Writes what events say into the projection tables; the writer's connection only.

A whole group of events is projected at once: the nodes it names are looked up together,
rows are written together.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from mlg.adapters.graph_sql_arrows import Arrows, Numbered
from mlg.adapters.graph_sql_facts import read_facts
from mlg.adapters.graph_sql_rows import (
    Connection,
    attrs_pairs,
    attrs_text,
    insert_rows,
    matching,
    micros,
    moment,
)
from mlg.core.events import Event, NodeFact
from mlg.core.uris import Uri
from mlg.graph.project import (
    NodeState,
    NodeUpsert,
    default_name,
    fold,
    kind_of,
    resolve,
)

_MOST_REMEMBERED: Final = 300_000
_NODE: Final = (
    "id, uri, kind, name, digest, attrs, valid_from, valid_to, last_at, last_key, last_place,"
    " last_seq, only_fact"
)
_SHARED, _NAMED, _UNNAMED = 0, 1, 2
"""`only_fact`: its facts lie in node_fact, or this row is the one fact, named or not."""

Row = tuple[Any, ...]


class Search(Protocol):
    """The words of nodes; they may be indexed later than the nodes are written."""

    @property
    def behind(self) -> int:
        """How many nodes wait."""
        ...

    def grew(self, newest: int) -> None:
        """Nodes were made, up to this id."""
        ...

    def changed(self, ids: Iterable[int]) -> None:
        """What is said of these nodes changed."""
        ...

    def catch_up(self, most: int = ...) -> None:
        """Index nodes that wait, at most so many, inside the caller's transaction."""
        ...

    def forget(self) -> None:
        """Read anew how far the index is; needed after each rollback."""
        ...


class Projector:
    """Folds events into the projection tables, inside the caller's transaction."""

    def __init__(self, connection: Connection, search: Search) -> None:
        self._connection = connection
        self._ids: dict[str, int] = {}
        self._since_us: dict[int, int] = {}
        """Of a node: it is known to begin at this time or earlier."""
        self._node = 0
        """Newest id given."""
        self._arrows = Arrows(connection)
        self.search = search
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered of rows; needed after each rollback."""
        self._ids.clear()
        self._since_us.clear()
        self._arrows.forget()
        (self._node,) = self._ask("SELECT coalesce(max(id), 0) FROM node")
        self.search.forget()

    def _ask(self, statement: str) -> Row:
        return tuple(self._connection.execute(statement).fetchone())

    def apply(self, events: Numbered) -> None:
        """Project events that were just written."""
        if len(self._ids) > _MOST_REMEMBERED:
            self._ids.clear()
            self._since_us.clear()
        made = self._intern(events)
        self._tell(events, made)
        self._arrows.draw(events, self._ids, made)
        self.search.grew(self._node)

    # --- nodes

    def _intern(self, events: Numbered) -> int:
        """Give every named URI an id, new ones in the order of the log; return the last old."""
        ids, newest = self._ids, self._node
        named = chain.from_iterable(uris for _, _, uris in events)
        unknown = list(dict.fromkeys(uri for uri in named if uri not in ids))
        if unknown:
            for uri, id_, since_us in matching(
                self._connection,
                "SELECT n.uri, n.id, n.valid_from FROM json_each(?) j"
                " JOIN node n ON n.uri = j.value",
                unknown,
            ):
                ids[uri] = id_
                self._since_us[id_] = since_us
            for uri in unknown:
                if uri not in ids:
                    self._node += 1
                    ids[uri] = self._node
        return newest

    def _tell(self, events: Numbered, made: int) -> None:
        """Write the nodes: what is told of them, and those that are only named."""
        ids = self._ids
        told = {fact.uri for _, event, _ in events for fact in event.nodes}
        old = [id_ for uri in told if (id_ := ids[uri]) <= made]
        rows = {row[0]: row for row in self._rows(old)} if old else {}
        facts: list[Row] = []
        late: set[int] = set()
        earlier: list[Row] = []
        for seq, event, uris in events:
            at_us = micros(event.at)
            for place, fact in enumerate(event.nodes):
                id_ = ids[fact.uri]
                row, order = rows.get(id_), (at_us, event.key, place)
                if row is None:
                    rows[id_] = _first(id_, fact, order, seq)
                    continue
                facts += _facts_of(row, fact, order, seq)
                if row[8] is None or order > row[8:11]:
                    rows[id_] = _folded(row, fact, event, order, seq)
                else:
                    late.add(id_)
                    rows[id_] = (*row[:6], min(row[6], at_us), *row[7:12], _SHARED)
            told_of = {fact.uri for fact in event.nodes}
            for uri in uris:
                if uri not in told_of:
                    self._imply(uri, at_us, rows, made, earlier)
        self._write(rows, made, facts, earlier)
        for id_ in sorted(late):
            self._resolve(id_)

    def _imply(
        self, uri: Uri, at_us: int, rows: dict[int, Row], made: int, earlier: list[Row]
    ) -> None:
        """Say of a node that is only named that it was there at this time."""
        id_ = self._ids[uri]
        row = rows.get(id_)
        if row is not None:
            if row[6] > at_us:
                rows[id_] = (*row[:6], at_us, *row[7:])
        elif id_ > made:
            rows[id_] = _implied_row(id_, uri, at_us)
        elif self._since_us.get(id_, at_us + 1) > at_us:
            earlier.append((at_us, id_, at_us))
            self._since_us[id_] = at_us

    def _write(
        self, rows: dict[int, Row], made: int, facts: list[Row], earlier: list[Row]
    ) -> None:
        self._since_us.update((id_, row[6]) for id_, row in rows.items())
        insert_rows(
            self._connection, "node", [rows[id_] for id_ in range(made + 1, self._node + 1)]
        )
        changed = [id_ for id_ in rows if id_ <= made]
        if changed:
            self._update([rows[id_] for id_ in changed])
        insert_rows(self._connection, "node_fact", facts)
        if earlier:
            self._connection.executemany(
                "UPDATE node SET valid_from = ? WHERE id = ? AND valid_from > ?", earlier
            )

    def _update(self, rows: Sequence[Row]) -> None:
        self._connection.executemany(
            "UPDATE node SET name = ?, digest = ?, attrs = ?, valid_from = ?, valid_to = ?,"
            " last_at = ?, last_key = ?, last_place = ?, last_seq = ?, only_fact = ?"
            " WHERE id = ?",
            [(*row[3:], row[0]) for row in rows],
        )
        self.search.changed(row[0] for row in rows)

    def _rows(self, ids: Iterable[int]) -> list[Row]:
        return matching(
            self._connection,
            f"SELECT {_NODE} FROM node"  # noqa: S608 - our own names
            " WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
            ids,
        )

    def _resolve(self, id_: int) -> None:
        """Say anew what a node is, of all its facts: one of them came late."""
        (row,) = self._rows((id_,))
        uri = Uri(row[1])
        state = resolve(read_facts(self._connection, id_, uri))
        if state is not None:
            named = NodeUpsert(
                uri=uri, kind=row[2], order=(moment(row[6]), "", 0), implied=True
            )
            state = fold(state, named)  # `valid_from` also knows the implied facts
            self._update([(*row[:3], *_state_row(state), row[11], _SHARED)])


def _first(id_: int, fact: NodeFact, order: tuple[int, str, int], seq: int) -> Row:
    """Return the row of a node of which one fact is known: `fold(None, fact)`."""
    return (
        id_, fact.uri, kind_of(fact.uri), fact.name or default_name(fact.uri), fact.digest,
        attrs_text(fact.attrs), order[0], order[0] if fact.ended else None, *order, seq,
        _NAMED if fact.name else _UNNAMED,
    )  # fmt: skip


def _implied_row(id_: int, uri: Uri, at_us: int) -> Row:
    name, kind = default_name(uri), kind_of(uri)
    return (id_, uri, kind, name, None, "{}", at_us, None, None, None, None, None, _SHARED)


def _facts_of(row: Row, fact: NodeFact, order: tuple[int, str, int], seq: int) -> Iterator[Row]:
    """Yield the facts that a node's row can hold no longer once there is one more."""
    if row[12]:
        name = row[3] if row[12] == _NAMED else ""
        yield (row[0], *row[8:12], name, row[4], row[5], int(row[7] is not None))
    if row[8] is not None:
        attrs = attrs_text(fact.attrs)
        yield (row[0], *order, seq, fact.name, fact.digest, attrs, int(fact.ended))


def _folded(
    row: Row, fact: NodeFact, event: Event, order: tuple[int, str, int], seq: int
) -> Row:
    """Return the row after one more fact, which is the newest."""
    state = NodeState(
        name=row[3],
        digest=row[4],
        attrs=attrs_pairs(row[5]),
        valid_from=moment(row[6]),
        valid_to=None if row[7] is None else moment(row[7]),
        last=None if row[8] is None else (moment(row[8]), row[9], row[10]),
    )
    told = NodeUpsert(
        uri=fact.uri,
        kind=row[2],
        order=(event.at, event.key, order[2]),
        name=fact.name,
        digest=fact.digest,
        attrs=fact.attrs,
        ended=fact.ended,
    )
    only = (_NAMED if fact.name else _UNNAMED) if row[8] is None else _SHARED
    return (*row[:3], *_state_row(fold(state, told)), seq, only)


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
