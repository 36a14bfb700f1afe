"""Questions to the graph's SQLite file, over connections that can only read."""

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mlg.adapters.graph_sql_history import read_told
from mlg.adapters.graph_sql_read import MOST, read_nodes, read_serving
from mlg.adapters.graph_sql_store import read_last_seq, read_links, read_seqs
from mlg.adapters.graph_sql_walk import walk
from mlg.adapters.graph_sqlite_misspelt import search_misspelt
from mlg.adapters.graph_sqlite_schema import ReadPool
from mlg.adapters.graph_sqlite_search import search
from mlg.core.events import StoredEvent
from mlg.core.nodes import Node
from mlg.core.ports import GraphHistory, GraphReader
from mlg.core.reading import Direction, NodePage, NodeQuery, Production, Walk, WalkOptions
from mlg.core.uris import EventId, Uri
from mlg.graph.audit import Link, RawEvent


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

    # --- the ports

    def walk(self, root: Uri, direction: Direction, options: WalkOptions) -> Walk:
        with self._pool.snapshot() as connection:
            return walk(connection, root, direction, options)

    def nodes(self, query: NodeQuery) -> NodePage:
        with self._pool.snapshot() as connection:
            return read_nodes(connection, query)

    def production(self, service: str, at: datetime) -> Production:
        with self._pool.snapshot() as connection:
            return Production(
                service=service, at=at, versions=tuple(read_serving(connection, service, at))
            )

    def search(
        self, text: str, kinds: tuple[str, ...] = (), limit: int = 50
    ) -> tuple[Node, ...]:
        with self._pool.snapshot() as connection:
            found = search(connection, text, kinds, min(limit, MOST))
            return found or search_misspelt(connection, text, kinds, min(limit, MOST))

    def told(
        self, uris: Sequence[Uri], ids: Sequence[EventId] = (), limit: int = 40
    ) -> tuple[StoredEvent, ...]:
        with self._pool.snapshot() as connection:
            return read_told(connection, uris, ids, limit)

    # --- beside the ports: what `verify_chain` and the bundle read

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
            return read_last_seq(connection)

    def seqs_of(self, ids: Collection[str], subjects: Collection[str]) -> tuple[int, ...]:
        """Return the seq of each event with one of the ids or subjects, in order."""
        with self._pool.snapshot() as connection:
            return read_seqs(connection, ids, subjects)


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


if TYPE_CHECKING:
    _: GraphReader = SqliteGraphReader(Path())
    _history: GraphHistory = SqliteGraphReader(Path())
