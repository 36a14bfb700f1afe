"""What the log says of a few things: found by index, whatever the length of the log."""

from collections.abc import Sequence
from typing import Any, Final

from mlg.adapters.graph_sql_rows import Connection, matching
from mlg.core.events import StoredEvent
from mlg.core.uris import EventId, Uri
from mlg.graph.encode import decode

MOST_URIS: Final = 500
MOST_IDS: Final = 5_000
MOST_EACH: Final = 500

_OF_SUBJECT: Final = "SELECT seq FROM event WHERE subject = ? ORDER BY {0}{1} LIMIT ?"
_OF_NODE: Final = (
    "SELECT f.seq FROM node n JOIN node_fact f ON f.node_id = n.id WHERE n.uri = ?"
    " ORDER BY f.at{0}, f.key{0} LIMIT ?"
)
_ONLY_FACT: Final = (
    "SELECT last_seq FROM node WHERE uri = ? AND only_fact > 0 AND last_seq IS NOT NULL"
)


def read_told(
    connection: Connection,
    uris: Sequence[Uri],
    ids: Sequence[EventId],
    limit: int,
    *,
    by_seq: str = "seq",
) -> tuple[StoredEvent, ...]:
    """Return the events about these URIs and those of these ids, in the order of the log.

    Args:
        connection: Inside a snapshot.
        uris: Things; at most the first `MOST_URIS` are looked up.
        ids: Events; at most the first `MOST_IDS` are looked up.
        limit: Of each URI so many of the first and of the newest events.
        by_seq: How the events of one subject are ordered; PostgreSQL must not walk the
            whole log by its key to save itself a sort.
    """
    each = max(1, min(limit, MOST_EACH))
    seqs: set[int] = set()
    for uri in dict.fromkeys(uris[:MOST_URIS]):
        for way in ("", " DESC"):
            seqs |= _seqs(connection, _OF_SUBJECT.format(by_seq, way), (uri, each))
            seqs |= _seqs(connection, _OF_NODE.format(way), (uri, each))
        seqs |= _seqs(connection, _ONLY_FACT, (uri,))
    if ids:
        seqs |= {
            row[0]
            for row in matching(
                connection,
                "SELECT seq FROM event WHERE id IN (SELECT value FROM json_each(?))",
                ids[:MOST_IDS],
            )
        }
    return _stored(connection, sorted(seqs))


def _seqs(connection: Connection, statement: str, bound: Sequence[object]) -> set[int]:
    return {row[0] for row in connection.execute(statement, bound).fetchall()}


def _stored(connection: Connection, seqs: Sequence[int]) -> tuple[StoredEvent, ...]:
    rows: list[Any] = matching(
        connection,
        "SELECT seq, data, prev_hash, hash FROM event"
        " WHERE seq IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) ORDER BY seq",
        seqs,
    )
    return tuple(
        StoredEvent(
            seq=seq,
            event=decode(bytes(data)),
            prev_hash=bytes(prev_hash).hex(),
            hash=bytes(own_hash).hex(),
        )
        for seq, data, prev_hash, own_hash in rows
    )
