"""What was told of one node, as the tables keep it."""

import sqlite3

from mlg.adapters.graph_sqlite_schema import attrs_pairs, moment
from mlg.core.uris import Uri, parse_uri
from mlg.graph.project import NodeUpsert


def read_facts(
    connection: sqlite3.Connection, node_id: int, uri: Uri, until_us: int | None = None
) -> list[NodeUpsert]:
    """Return every told fact about a node, up to an event time where one is given."""
    rows = connection.execute(
        "SELECT at, key, place, name, digest, attrs, ended FROM node_fact"
        " WHERE node_id = :id AND (:until IS NULL OR at <= :until)"
        " UNION ALL SELECT last_at, last_key, last_place, iif(only_fact = 1, name, ''), digest,"
        " attrs, valid_to IS NOT NULL FROM node"
        " WHERE id = :id AND only_fact > 0 AND (:until IS NULL OR last_at <= :until)"
        " ORDER BY 1, 2, 3",
        {"id": node_id, "until": until_us},
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
