"""Walks over the graph's SQLite tables, and rows as nodes and edges."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlg.adapters.graph_sql_facts import read_facts
from mlg.adapters.graph_sql_rows import PROVENANCES, Connection, attrs_pairs, micros, moment
from mlg.adapters.graph_sql_values import edge_value, node_value, reached_value
from mlg.core.errors import NotFoundError
from mlg.core.nodes import ROLE_CLASS, Edge, Node
from mlg.core.reading import Direction, Walk, WalkOptions
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.project import default_name, resolve

_MOST: Final = 100_000
_DEEP: Final = 32
"""Up to this depth limit the walk counts hops in SQL; beyond it, in Python."""
COLUMNS: Final = "id, uri, kind, name, digest, attrs, valid_from, valid_to"
"""What `node_of` reads, in order."""


def node_of(row: Sequence[Any]) -> Node:
    """Return the node of a row of `COLUMNS`."""
    _, uri, kind, name, digest, attrs, since, until = row
    ended = None if until is None else moment(until)
    return node_value(uri, kind, name, digest, attrs_pairs(attrs), moment(since), ended)


def node_as_of(connection: Connection, row: Sequence[Any], as_of_us: int) -> Node:
    """Return the node as the facts up to the time make it; it must have begun by then."""
    now = node_of(row)
    state = resolve(read_facts(connection, row[0], now.uri, as_of_us))
    return Node(
        uri=now.uri,
        kind=now.kind,
        name=default_name(now.uri) if state is None else state.name,
        digest=None if state is None or state.digest is None else Digest(state.digest),
        attrs=() if state is None else state.attrs,
        valid_from=now.valid_from,
        valid_to=None if state is None else state.valid_to,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hop:
    """One step of a walk as SQL: which end is joined, which edges count."""

    up: bool
    roles: Mapping[int, str]
    as_of_us: int | None

    @property
    def near(self) -> str:
        """Return the column of the end that the walk comes from."""
        return "dst_id" if self.up else "src_id"

    @property
    def far(self) -> str:
        """Return the column of the end that it goes to."""
        return "src_id" if self.up else "dst_id"

    @property
    def holds(self) -> str:
        """Return the condition for an edge `e` that stands, or stood at the time.

        The plus keeps the index from being searched once a role: a node has few edges.
        """
        when = "e.valid_from IS NOT NULL AND e.valid_to IS NULL"
        if self.as_of_us is not None:
            when = (
                f"e.valid_from <= {self.as_of_us}"
                f" AND (e.valid_to IS NULL OR e.valid_to > {self.as_of_us})"
            )
        return f"+e.role IN ({', '.join(map(str, self.roles)) or -1}) AND {when}"


def _hop(connection: Connection, direction: Direction, options: WalkOptions) -> _Hop:
    wanted = {
        name
        for name, edge_class in ROLE_CLASS.items()
        if (name in options.roles if options.roles else edge_class in options.classes)
        and name not in options.stop_at
    }
    rows = connection.execute("SELECT id, name FROM role ORDER BY id").fetchall()
    return _Hop(
        up=direction == "up",
        roles={int(id_): name for id_, name in rows if name in wanted},
        as_of_us=None if options.as_of is None else micros(options.as_of),
    )


def walk(connection: Connection, root: Uri, direction: Direction, options: WalkOptions) -> Walk:
    """Return the walk from a root.

    Raises:
        NotFoundError: The root is not in the graph, or was not at that time.
    """
    start = connection.execute(
        "SELECT id, valid_from FROM node WHERE uri = ?", (root,)
    ).fetchone()
    hop = _hop(connection, direction, options)
    if start is None or (hop.as_of_us is not None and start[1] > hop.as_of_us):
        raise NotFoundError(
            "no such node in the graph" + ("" if start is None else " at that time"),
            where=root,
            hint="mlg search finds nodes by any word of their name",
        )
    limit = max(1, min(options.limit, _MOST))
    near = options.depth is not None and options.depth <= _DEEP
    depths, rows, total = (_near if near else _far)(connection, int(start[0]), hop, options)
    if len(depths) > limit:
        depths = dict(list(depths.items())[:limit])
        rows = [row for row in rows if row[0] in depths and row[1] in depths]
    nodes = _by_id(connection, list(depths), hop.as_of_us)
    return Walk(
        root=root,
        direction=direction,
        total=total,
        truncated=total > len(depths),
        nodes=tuple([reached_value(nodes[id_], depth) for id_, depth in depths.items()]),
        edges=tuple(_edges(connection, rows, nodes, hop)),
    )


_EDGE: Final = "e.src_id, e.dst_id, e.role, e.provenance, e.seq, e.valid_from, e.valid_to"
Found = tuple[dict[int, int], list[Any], int]
"""Depth by node id, nearest first; the edges among them; how many nodes in all."""


def _near(connection: Connection, start: int, hop: _Hop, options: WalkOptions) -> Found:
    """Return what is within a few hops; only that is read."""
    rows = connection.execute(
        "WITH RECURSIVE reach(id, depth) AS"  # noqa: S608 - our own names
        " (VALUES (CAST(? AS BIGINT), 0) UNION"
        f" SELECT e.{hop.far}, reach.depth + 1 FROM reach JOIN edge e"
        f" ON e.{hop.near} = reach.id WHERE {hop.holds} AND reach.depth < ?)"
        " SELECT id, min(depth) FROM reach GROUP BY id ORDER BY 2, 1",
        (start, options.depth),
    ).fetchall()
    depths = dict(rows)
    edges = connection.execute(
        f"SELECT {_EDGE} FROM json_each(?) j CROSS JOIN edge e"  # noqa: S608 - our own names
        f" WHERE e.{hop.near} = CAST(j.value AS BIGINT) AND {hop.holds}",
        (json.dumps(list(depths)),),
    ).fetchall()
    kept = [row for row in edges if row[0] in depths and row[1] in depths]
    return depths, kept, len(depths)


def _far(connection: Connection, start: int, hop: _Hop, options: WalkOptions) -> Found:
    """Return all that can be reached, by one pass over its edges."""
    rows = connection.execute(
        "WITH RECURSIVE reach(id) AS (VALUES (CAST(? AS BIGINT)) UNION"  # noqa: S608 - our own names
        f" SELECT e.{hop.far} FROM reach CROSS JOIN edge e"
        f" WHERE e.{hop.near} = reach.id AND {hop.holds})"
        f" SELECT {_EDGE} FROM reach CROSS JOIN edge e"
        f" WHERE e.{hop.near} = reach.id AND {hop.holds}",
        (start,),
    ).fetchall()
    depths = _depths(start, rows, up=hop.up)
    total = len(depths)
    most = options.depth
    if most is not None:
        depths = {id_: depth for id_, depth in depths.items() if depth <= most}
        total = len(depths)
        rows = [row for row in rows if row[0] in depths and row[1] in depths]
    ordered = sorted(depths, key=lambda id_: (depths[id_], id_))
    return {id_: depths[id_] for id_ in ordered}, rows, total


def _depths(start: int, rows: Sequence[Any], *, up: bool) -> dict[int, int]:
    """Return the fewest hops to each node over the edges given."""
    near, far = (1, 0) if up else (0, 1)
    depths, last = {start: 0}, 0
    for row in rows:
        depth = depths.get(row[near], -1)
        if depth < last:
            break
        last = depth
        if row[far] not in depths:
            depths[row[far]] = depth + 1
    else:
        return depths  # they came nearest first, as SQLite gives them
    ahead: dict[int, list[int]] = {}
    for row in rows:
        ahead.setdefault(row[near], []).append(row[far])
    depths, front = {start: 0}, [start]
    while front:
        depth = depths[front[0]] + 1
        found = (id_ for from_ in front for id_ in ahead.get(from_, ()))
        front = list(dict.fromkeys(id_ for id_ in found if id_ not in depths))
        depths.update(dict.fromkeys(front, depth))
    return depths


def _edges(
    connection: Connection, rows: list[Any], nodes: Mapping[int, Node], hop: _Hop
) -> list[Edge]:
    """Return the rows as arrows, in the order in which the log named their ends."""
    rows.sort()
    seqs = {row[4] for row in rows}
    events: dict[int, EventId] = dict(
        connection.execute(
            "SELECT seq, id FROM event"
            " WHERE seq IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
            (json.dumps(list(seqs)),),
        ).fetchall()
    )
    roles = hop.roles
    return [
        edge_value(
            nodes[src].uri,
            nodes[dst].uri,
            roles[role],
            PROVENANCES[provenance],
            events[seq],
            moment(since),
            None if until is None else moment(until),
        )
        for src, dst, role, provenance, seq, since, until in rows
    ]


def _by_id(connection: Connection, ids: list[int], as_of_us: int | None) -> dict[int, Node]:
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM node"  # noqa: S608 - our own names
        " WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
        (json.dumps(ids),),
    ).fetchall()
    return {
        row[0]: node_of(row) if as_of_us is None else node_as_of(connection, row, as_of_us)
        for row in rows
    }
