"""Questions to the graph's SQLite file, over connections that can only read."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

from mlg.adapters.graph_sqlite_project import read_facts
from mlg.adapters.graph_sqlite_schema import (
    PROVENANCES,
    ReadPool,
    attrs_pairs,
    micros,
    moment,
)
from mlg.core.errors import NotFoundError
from mlg.core.nodes import ROLE_CLASS, Attr, Edge, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import (
    Direction,
    InProduction,
    NodePage,
    NodeQuery,
    Production,
    Reached,
    Walk,
    WalkOptions,
)
from mlg.core.uris import Digest, EventId, Uri, parse_uri
from mlg.graph.audit import RawEvent
from mlg.graph.project import resolve

_MOST: Final = 10_000
_CHUNK: Final = 500
_DEEP: Final = 32
"""Up to this depth limit the walk counts hops in SQL; beyond it, in Python."""
_COLUMNS: Final = "id, uri, kind, name, digest, attrs, valid_from, valid_to"


class SqliteGraphReader:
    """Answers from one snapshot a question; never waits for the writer.

    The file is opened at the first question, so a reader may be made before the graph.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._pool = ReadPool(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no one is using."""
        self._pool.close()

    # --- the port

    def walk(self, root: Uri, direction: Direction, options: WalkOptions) -> Walk:
        with self._pool.snapshot() as connection:
            return _walk(connection, root, direction, options)

    def nodes(self, query: NodeQuery) -> NodePage:
        with self._pool.snapshot() as connection:
            return _nodes(connection, query)

    def production(self, service: str, at: datetime) -> Production:
        with self._pool.snapshot() as connection:
            return Production(
                service=service, at=at, versions=tuple(_serving(connection, service, at))
            )

    def search(
        self, text: str, kinds: tuple[str, ...] = (), limit: int = 50
    ) -> tuple[Node, ...]:
        words = [word for word in unquote(text).split() if any(c.isalnum() for c in word)]
        if not words:
            return ()
        match = " ".join('"' + word.replace('"', '""') + '"*' for word in words)
        with self._pool.snapshot() as connection:
            rows = connection.execute(
                "SELECT n.id, n.uri, n.kind, n.name, n.digest, n.attrs, n.valid_from,"
                " n.valid_to FROM search JOIN node n ON n.id = search.rowid"
                " WHERE search MATCH ? AND (? OR n.kind IN (SELECT value FROM json_each(?)))"
                " ORDER BY bm25(search, 10.0, 3.0, 1.0), n.uri LIMIT ?",
                (match, not kinds, json.dumps(kinds), min(limit, _MOST)),
            ).fetchall()
            return tuple(_node(row) for row in rows)

    # --- beside the port: what `verify_chain` and the bundle read

    def chain(self, after: int = 0, limit: int = 1_000) -> tuple[RawEvent, ...]:
        """Return the stored bytes and columns of events with seq > `after`, unchecked."""
        with self._pool.snapshot() as connection:
            return read_chain(connection, after, limit)

    def last_seq(self) -> int:
        """Return the seq of the newest event that was ever appended."""
        with self._pool.snapshot() as connection:
            return int(connection.execute("SELECT seq FROM log_head").fetchone()[0])


def read_chain(connection: sqlite3.Connection, after: int, limit: int) -> tuple[RawEvent, ...]:
    """Return stored events as they lie there, also damaged ones."""
    rows = connection.execute(
        "SELECT seq, CAST(data AS BLOB), CAST(prev_hash AS BLOB), CAST(hash AS BLOB),"
        " CAST(key AS BLOB), CAST(id AS BLOB), CAST(at AS BLOB), CAST(recorded_at AS BLOB),"
        " CAST(type AS BLOB), CAST(actor AS BLOB), CAST(subject AS BLOB), CAST(cause AS BLOB)"
        " FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    )
    names = ("key", "id", "at", "recorded_at", "type", "actor", "subject", "cause")
    return tuple(
        RawEvent(
            seq=row[0],
            data=bytes(row[1]),
            prev_hash=bytes(row[2]).hex(),
            hash=bytes(row[3]).hex(),
            columns=tuple(
                (name, None if value is None else bytes(value).decode(errors="replace"))
                for name, value in zip(names, row[4:], strict=True)
            ),
        )
        for row in rows
    )


def _node(row: Sequence[Any]) -> Node:
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


def _node_as_of(connection: sqlite3.Connection, row: Sequence[Any], as_of_us: int) -> Node:
    """Return the node as the facts up to the time make it; it must have begun by then."""
    from mlg.graph.project import default_name

    now = _node(row)
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


# --- walks


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


def _walk(
    connection: sqlite3.Connection, root: Uri, direction: Direction, options: WalkOptions
) -> Walk:
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
    limit = max(1, min(options.limit, _MOST * 10))
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
    """Return (depth by node id, nearest first), the edges among those, and how many there are."""
    join = (
        f"SELECT e.{hop.far}{{more}} FROM reach JOIN edge e"  # noqa: S608 - our own names
        f" ON e.{hop.near} = reach.id WHERE {hop.holds}"
    )
    if depth is not None and depth <= _DEEP:
        rows = connection.execute(
            "WITH RECURSIVE reach(id, depth) AS (VALUES (?, 0) UNION "
            + join.format(more=", reach.depth + 1")
            + " AND reach.depth < ?) SELECT id, min(depth) FROM reach GROUP BY id ORDER BY 2, 1",
            (start, depth),
        ).fetchall()
        depths = dict(rows[:limit])
        return depths, _among(connection, list(depths), hop), len(rows)
    # The queue of a recursive query is first in, first out: ids come nearest first.
    ids = [
        int(row[0])
        for row in connection.execute(
            "WITH RECURSIVE reach(id) AS (VALUES (?) UNION "
            + join.format(more="")
            + ") SELECT id FROM reach",
            (start,),
        )
    ]
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
            f" JOIN event v ON v.seq = e.seq WHERE e.{hop.near} IN ({marks}) AND {hop.holds}",
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
            f"SELECT {_COLUMNS} FROM node WHERE id IN ({marks})",  # noqa: S608 - our own names
            part,
        ).fetchall():
            found[row[0]] = (
                _node(row) if as_of_us is None else _node_as_of(connection, row, as_of_us)
            )
    return found


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


# --- lists


def _text(value: Attr) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _nodes(connection: sqlite3.Connection, query: NodeQuery) -> NodePage:
    where, args = ["1"], list[object]()
    if query.kinds:
        where.append("kind IN (SELECT value FROM json_each(?))")
        args.append(json.dumps(query.kinds))
    if query.uri is not None:
        where.append("uri = ?")
        args.append(query.uri)
    as_of_us = None if query.as_of is None else micros(query.as_of)
    if as_of_us is not None:
        where.append("valid_from <= ?")
        args.append(as_of_us)
    limit = max(1, min(query.limit, _MOST))
    if query.attr is not None:
        return _nodes_by_attr(connection, query, query.attr, " AND ".join(where), args)
    condition = " AND ".join(where)
    total = connection.execute(
        f"SELECT count(*) FROM node WHERE {condition}",  # noqa: S608 - our own names
        args,
    ).fetchone()[0]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM node WHERE {condition} AND uri > ?"  # noqa: S608
        " ORDER BY uri LIMIT ?",
        (*args, query.cursor or "", limit + 1),
    ).fetchall()
    nodes = tuple(
        _node(row) if as_of_us is None else _node_as_of(connection, row, as_of_us)
        for row in rows[:limit]
    )
    more = len(rows) > limit
    return NodePage(nodes=nodes, total=int(total), cursor=nodes[-1].uri if more else None)


def _nodes_by_attr(
    connection: sqlite3.Connection,
    query: NodeQuery,
    wanted: tuple[str, str],
    condition: str,
    args: list[object],
) -> NodePage:
    """Return the page of nodes with one attribute's value, compared as text."""
    limit = max(1, min(query.limit, _MOST))
    matching: list[Node] = []
    total = 0
    for row in connection.execute(
        f"SELECT {_COLUMNS} FROM node WHERE {condition} ORDER BY uri",  # noqa: S608
        args,
    ).fetchall():
        node = (
            _node(row)
            if query.as_of is None
            else _node_as_of(connection, row, micros(query.as_of))
        )
        if not any(
            name == wanted[0] and _text(value) == wanted[1] for name, value in node.attrs
        ):
            continue
        total += 1
        if node.uri > (query.cursor or "") and len(matching) <= limit:
            matching.append(node)
    page = tuple(matching[:limit])
    return NodePage(
        nodes=page, total=total, cursor=page[-1].uri if len(matching) > limit else None
    )


# --- production


def _serving(connection: sqlite3.Connection, service: str, at: datetime) -> list[InProduction]:
    parts = parse_uri(service) if service.startswith("mlg://") else None
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM node WHERE kind = 'deployment'"  # noqa: S608 - our own names
        " AND json_extract(attrs, '$.service') = ? AND valid_from <= ?",
        (parts.name if parts else service, micros(at)),
    ).fetchall()
    found: list[InProduction] = []
    for row in rows:
        if parts and parse_uri(row[1]).namespace != parts.namespace:
            continue
        state, since = None, None
        facts = read_facts(connection, row[0], Uri(row[1]), micros(at))
        for count, fact in enumerate(facts, start=1):
            state = resolve(facts[:count])
            assert state is not None  # noqa: S101 - narrows; there is a fact
            takes = state.valid_to is None and _share_bp(dict(state.attrs)) > 0
            since = (since or fact.order[0]) if takes else None
        if state is None or since is None:
            continue
        attrs = dict(state.attrs)
        found.append(
            InProduction(
                model_version=Uri(str(attrs.get("model_version", ""))),
                deployment=Uri(row[1]),
                image_digest=str(attrs.get("image_digest") or state.digest or ""),
                share_bp=_share_bp(attrs),
                since=since,
                health=str(attrs.get("health", "unknown")),
            )
        )
    return sorted(found, key=lambda version: (-version.share_bp, version.deployment))


def _share_bp(attrs: dict[str, Attr]) -> int:
    value = attrs.get("share_bp", 0)
    return value if isinstance(value, int) else 0


if TYPE_CHECKING:
    _: GraphReader = SqliteGraphReader(Path())
