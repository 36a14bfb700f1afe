"""Questions to the graph's SQLite file, over connections that can only read."""

import json
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mlg.adapters.graph_sql_facts import read_facts
from mlg.adapters.graph_sql_rows import micros
from mlg.adapters.graph_sql_walk import COLUMNS, node_as_of, node_of, walk
from mlg.adapters.graph_sqlite_schema import ReadPool
from mlg.adapters.graph_sqlite_search import search
from mlg.core.nodes import Attr, Node
from mlg.core.ports import GraphReader
from mlg.core.reading import (
    Direction,
    InProduction,
    NodePage,
    NodeQuery,
    Production,
    Walk,
    WalkOptions,
)
from mlg.core.uris import Uri, parse_uri
from mlg.graph.audit import Link, RawEvent
from mlg.graph.project import resolve

_MOST: Final = 10_000


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
            return walk(connection, root, direction, options)

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
        with self._pool.snapshot() as connection:
            return search(connection, text, kinds, min(limit, _MOST))

    # --- beside the port: what `verify_chain` and the bundle read

    def chain(self, after: int = 0, limit: int = 1_000) -> tuple[RawEvent, ...]:
        """Return the stored bytes and columns of events with seq > `after`, unchecked."""
        with self._pool.snapshot() as connection:
            return read_chain(connection, after, limit)

    def links(self, after: int = 0, limit: int = 1_000) -> tuple[Link, ...]:
        """Return the same without content."""
        with self._pool.snapshot() as connection:
            return read_links(connection, after, limit)

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
    return tuple(map(RawEvent._make, rows))


def read_links(connection: sqlite3.Connection, after: int, limit: int) -> tuple[Link, ...]:
    """Return stored events without their content."""
    rows = connection.execute(
        "SELECT seq, hash, id, subject FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    )
    return tuple(map(Link._make, rows))


# --- lists


def _text(value: Attr) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _nodes(connection: sqlite3.Connection, query: NodeQuery) -> NodePage:
    where, args = ["1"], list[object]()
    if query.uri is not None:
        where.append("uri = ?")
        args.append(query.uri)
    as_of_us = None if query.as_of is None else micros(query.as_of)
    if as_of_us is not None:
        where.append("valid_from <= ?")
        args.append(as_of_us)
    limit = max(1, min(query.limit, _MOST))
    total, rows = 0, list[Any]()
    # a URI begins with its kind, so each kind is one stretch of the index of URIs
    for kind in sorted(set(query.kinds)) or ("",):
        condition = " AND ".join([*where, *(["uri > ? AND uri < ?"] if kind else [])])
        given = [*args, *((f"mlg://{kind}/", f"mlg://{kind}0") if kind else ())]
        if query.attr is not None:
            some, matched = _with_attr(connection, query, query.attr, condition, given)
        else:
            some, matched = _stretch(connection, query, condition, given, limit)
        total += some
        rows += matched
    nodes = tuple(
        node_of(row) if as_of_us is None else node_as_of(connection, row, as_of_us)
        for row in rows[:limit]
    )
    more = len(rows) > limit
    return NodePage(nodes=nodes, total=total, cursor=nodes[-1].uri if more else None)


def _stretch(
    connection: sqlite3.Connection,
    query: NodeQuery,
    condition: str,
    args: list[object],
    limit: int,
) -> tuple[int, list[Any]]:
    """Return how many nodes there are, and the first rows after the cursor."""
    total = connection.execute(
        f"SELECT count(*) FROM node WHERE {condition}",  # noqa: S608 - our own names
        args,
    ).fetchone()[0]
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM node WHERE {condition} AND uri > ?"  # noqa: S608
        " ORDER BY uri LIMIT ?",
        (*args, query.cursor or "", limit + 1),
    ).fetchall()
    return int(total), rows


def _with_attr(
    connection: sqlite3.Connection,
    query: NodeQuery,
    wanted: tuple[str, str],
    condition: str,
    args: list[object],
) -> tuple[int, list[Any]]:
    """Return the same of nodes with one attribute's value, compared as text."""
    total, matching = 0, list[Any]()
    for row in connection.execute(
        f"SELECT {COLUMNS} FROM node WHERE {condition} ORDER BY uri",  # noqa: S608
        args,
    ).fetchall():
        node = (
            node_of(row)
            if query.as_of is None
            else node_as_of(connection, row, micros(query.as_of))
        )
        if any(name == wanted[0] and _text(value) == wanted[1] for name, value in node.attrs):
            total += 1
            matching += [row] if node.uri > (query.cursor or "") else []
    return total, matching


# --- production


def _serving(connection: sqlite3.Connection, service: str, at: datetime) -> list[InProduction]:
    parts = parse_uri(service) if service.startswith("mlg://") else None
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM node WHERE kind = 'deployment'"  # noqa: S608 - our own names
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
