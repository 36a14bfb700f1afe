"""What was told of one node, as the tables keep it."""

from mlg.adapters.graph_sql_rows import Connection, attrs_pairs, moment
from mlg.core.uris import Uri, parse_uri
from mlg.graph.project import NodeUpsert


def read_facts(
    connection: Connection, node_id: int, uri: Uri, until_us: int | None = None
) -> list[NodeUpsert]:
    """Return every told fact about a node, up to an event time where one is given."""
    until = " AND {} <= ?" if until_us is not None else ""
    bound = (node_id,) if until_us is None else (node_id, until_us)
    rows = connection.execute(
        "SELECT at, key, place, name, digest, attrs, ended FROM node_fact"  # noqa: S608
        f" WHERE node_id = ?{until.format('at')}"
        " UNION ALL SELECT last_at, last_key, last_place,"
        " CASE only_fact WHEN 1 THEN name ELSE '' END, digest, attrs,"
        " CASE WHEN valid_to IS NULL THEN 0 ELSE 1 END FROM node"
        f" WHERE id = ? AND only_fact > 0{until.format('last_at')} ORDER BY 1, 2, 3",
        (*bound, *bound),
    ).fetchall()
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
