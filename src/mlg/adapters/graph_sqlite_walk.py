"""Walks over the graph's SQLite tables, and rows as nodes and edges."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlg.adapters.graph_sqlite_project import read_facts
from mlg.adapters.graph_sqlite_schema import PROVENANCES, attrs_pairs, micros, moment
from mlg.core.errors import NotFoundError
from mlg.core.nodes import ROLE_CLASS, Edge, Node
from mlg.core.reading import Direction, Reached, Walk, WalkOptions
from mlg.core.uris import Digest, EventId, Uri
from mlg.graph.project import default_name, resolve

_MOST: Final = 100_000
_CHUNK: Final = 500
_DEEP: Final = 32
"""Up to this depth limit the walk counts hops in SQL; beyond it, in Python."""
COLUMNS: Final = "id, uri, kind, name, digest, attrs, valid_from, valid_to"
"""What `node_of` reads, in order."""


def node_of(row: Sequence[Any]) -> Node:
    """Return the node of a row of `COLUMNS`."""
    _, uri, kind, name, digest, attrs, since, until = row
    return Node(
        uri=Uri(uri),
        kind=kind,
        name=name,
        digest=None if digest is None else Digest(digest),
        attrs=attrs_pairs(attrs),
        valid_from=moment(since),
        valid_to=None if until is None else moment(until),
    )


def node_as_of(connection: sqlite3.Connection, row: Sequence[Any], as_of_us: int) -> Node:
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

    near: str
    far: str
    roles: str
    as_of_us: int | None

    @property
    def holds(self) -> str:
        """Return the condition for an edge `e` that stands, or stood at the time."""
        when = "e.valid_from IS NOT NULL AND e.valid_to IS NULL"
        if self.as_of_us is not None:
            when = (
                f"e.valid_from <= {self.as_of_us}"
                f" AND (e.valid_to IS NULL OR e.valid_to > {self.as_of_us})"
            )
        return f"e.role IN ({self.roles}) AND {when}"


def _hop(connection: sqlite3.Connection, direction: Direction, options: WalkOptions) -> _Hop:
    wanted = [
        name
        for name, edge_class in ROLE_CLASS.items()
        if (name in options.roles if options.roles else edge_class in options.classes)
        and name not in options.stop_at
    ]
    rows = connection.execute(
        "SELECT id FROM role WHERE name IN (SELECT value FROM json_each(?)) ORDER BY id",
        (json.dumps(wanted),),
    )
    near, far = ("dst_id", "src_id") if direction == "up" else ("src_id", "dst_id")
    return _Hop(
        near=near,
        far=far,
        roles=", ".join(str(int(row[0])) for row in rows),
        as_of_us=None if options.as_of is None else micros(options.as_of),
    )


def walk(
    connection: sqlite3.Connection, root: Uri, direction: Direction, options: WalkOptions
) -> Walk:
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
    depths, edges, total = _reach(connection, int(start[0]), hop, options.depth, limit)
    nodes = _by_id(connection, list(depths), hop.as_of_us)
    return Walk(
        root=root,
        direction=direction,
        total=total,
        truncated=total > len(depths),
        nodes=tuple(Reached(node=nodes[id_], depth=depth) for id_, depth in depths.items()),
        edges=tuple(_edge(row) for row in edges),
    )


def _reach(
    connection: sqlite3.Connection, start: int, hop: _Hop, depth: int | None, limit: int
) -> tuple[dict[int, int], list[Any], int]:
    """Return depth by node id (nearest first), the edges among them, and the full count."""
    join = (
        f"SELECT e.{hop.far}{{more}} FROM reach JOIN edge e"  # noqa: S608 - our own names
        f" ON e.{hop.near} = reach.id WHERE {hop.holds}"
    )
    if depth is not None and depth <= _DEEP:
        step = join.format(more=", reach.depth + 1") + " AND reach.depth < ?"
        rows = connection.execute(
            f"WITH RECURSIVE reach(id, depth) AS (VALUES (?, 0) UNION {step})"  # noqa: S608
            " SELECT id, min(depth) FROM reach GROUP BY id ORDER BY 2, 1",
            (start, depth),
        ).fetchall()
        depths = dict(rows[:limit])
        return depths, _among(connection, list(depths), hop), len(rows)
    # The queue of a recursive query is first in, first out: ids come nearest first.
    step = join.format(more="")
    found_ids = connection.execute(
        f"WITH RECURSIVE reach(id) AS (VALUES (?) UNION {step}) SELECT id FROM reach",  # noqa: S608
        (start,),
    )
    ids = [int(row[0]) for row in found_ids]
    kept = ids if depth is not None else ids[:limit]
    edges = _among(connection, kept, hop)
    found = _depths(start, kept, edges, up=hop.far == "src_id")
    if depth is None:
        return found, edges, len(ids)
    near = {id_: hops for id_, hops in found.items() if hops <= depth}
    cut = dict(list(near.items())[:limit])
    return cut, [row for row in edges if row[0] in cut and row[1] in cut], len(near)


def _depths(start: int, ids: list[int], edges: list[Any], *, up: bool) -> dict[int, int]:
    """Return the least number of hops to each id, nearest first."""
    following: dict[int, list[int]] = {}
    for row in edges:
        near, far = (row[1], row[0]) if up else (row[0], row[1])
        following.setdefault(near, []).append(far)
    found, frontier = {start: 0}, [start]
    while frontier:
        ahead: list[int] = []
        for near in frontier:
            for far in following.get(near, ()):
                if far not in found:
                    found[far] = found[near] + 1
                    ahead.append(far)
        frontier = ahead
    return {id_: found[id_] for id_ in sorted(ids, key=lambda id_: (found[id_], id_))}


def _among(connection: sqlite3.Connection, ids: list[int], hop: _Hop) -> list[Any]:
    """Return the edges whose two ends are both among the ids."""
    known = set(ids)
    found: list[Any] = []
    for part in _chunks(ids):
        marks = ", ".join("?" * len(part))
        rows = connection.execute(
            "SELECT e.src_id, e.dst_id, a.uri, b.uri, r.name, e.provenance, v.id,"  # noqa: S608
            " e.valid_from, e.valid_to FROM edge e JOIN node a ON a.id = e.src_id"
            " JOIN node b ON b.id = e.dst_id JOIN role r ON r.id = e.role"
            " JOIN event_name v ON v.seq = e.seq"
            f" WHERE e.{hop.near} IN ({marks}) AND {hop.holds}",
            part,
        )
        found += [row for row in rows if row[0] in known and row[1] in known]
    return sorted(found, key=lambda row: (row[2], row[4], row[3]))


def _edge(row: Sequence[Any]) -> Edge:
    _, _, src, dst, role, provenance, event, since, until = row
    return Edge(
        src=Uri(src),
        dst=Uri(dst),
        role=role,
        provenance=PROVENANCES[provenance],
        event=EventId(event),
        valid_from=moment(since),
        valid_to=None if until is None else moment(until),
    )


def _by_id(
    connection: sqlite3.Connection, ids: list[int], as_of_us: int | None
) -> dict[int, Node]:
    found: dict[int, Node] = {}
    for part in _chunks(ids):
        marks = ", ".join("?" * len(part))
        for row in connection.execute(
            f"SELECT {COLUMNS} FROM node WHERE id IN ({marks})",  # noqa: S608 - our own names
            part,
        ).fetchall():
            found[row[0]] = (
                node_of(row) if as_of_us is None else node_as_of(connection, row, as_of_us)
            )
    return found


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
