"""Questions to the graph over SQL, for both databases."""

import json
from datetime import datetime
from typing import Any, Final

from mlg.adapters.graph_sql_facts import read_facts
from mlg.adapters.graph_sql_rows import Connection, micros
from mlg.adapters.graph_sql_walk import COLUMNS, node_as_of, node_of
from mlg.core.nodes import Attr
from mlg.core.reading import InProduction, NodePage, NodeQuery
from mlg.core.uris import Uri, parse_uri
from mlg.graph.project import resolve

MOST: Final = 10_000
"""Most nodes of one answer."""


def _text(value: Attr) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def read_nodes(connection: Connection, query: NodeQuery) -> NodePage:
    """Return a page of nodes in the order of their URIs."""
    where, args = ["TRUE"], list[object]()
    if query.uri is not None:
        where.append("uri = ?")
        args.append(query.uri)
    as_of_us = None if query.as_of is None else micros(query.as_of)
    if as_of_us is not None:
        where.append("valid_from <= ?")
        args.append(as_of_us)
    limit = max(1, min(query.limit, MOST))
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
    connection: Connection,
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
    connection: Connection,
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


def read_serving(connection: Connection, service: str, at: datetime) -> list[InProduction]:
    """Return the versions of a service that took traffic at a time, largest share first."""
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
