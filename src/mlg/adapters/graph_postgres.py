"""The graph's log and projections in PostgreSQL, and questions to it."""

import contextlib
import functools
import json
import queue
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

from mlg.adapters.graph_postgres_schema import LOCK, MIGRATIONS
from mlg.adapters.graph_sql_history import read_told
from mlg.adapters.graph_sql_read import MOST, read_nodes, read_serving
from mlg.adapters.graph_sql_rows import matching
from mlg.adapters.graph_sql_store import SqlGraph, read_last_seq, read_links, read_seqs
from mlg.adapters.graph_sql_walk import COLUMNS, node_of, walk
from mlg.adapters.graph_words import row_words, tokens
from mlg.core.errors import BackendError
from mlg.core.events import StoredEvent
from mlg.core.nodes import ROLE_CLASS, Node
from mlg.core.ports import GraphHistory, GraphReader, GraphStore
from mlg.core.reading import Direction, NodePage, NodeQuery, Production, Walk, WalkOptions
from mlg.core.uris import EventId, Uri
from mlg.graph.audit import Link, RawEvent

_PART: Final = 500


class PostgresGraph(SqlGraph):
    """The graph in PostgreSQL: writers on any host take turns by one advisory lock.

    Args:
        url: `postgresql://user@host:port/database?…`; its tables are made in the schema
            that the URL's `options` choose, else `public`.
        password: Of the URL's user; empty for none, or for libpq's own places.

    Raises:
        BackendError: The server cannot be reached, a newer mlg made the tables, the log was
            cut short, or the package `mlg[postgres]` is not installed.
    """

    def __init__(self, url: str, password: str = "") -> None:
        super().__init__(_Server(url, password))


class PostgresGraphReader:
    """Answers from one snapshot a question; never waits for the writer.

    Args:
        url: As for `PostgresGraph`; the server is reached at the first question.
        password: As for `PostgresGraph`.
    """

    def __init__(self, url: str, password: str = "") -> None:
        self._pool = _Pool(url, password)

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
        phrases = [found for word in unquote(text).split() if (found := tokens(word))]
        if not phrases:
            return ()
        query = " & ".join(
            " <-> ".join([*phrase[:-1], f"{phrase[-1]}:*"]) for phrase in phrases
        )
        columns = ", ".join(f"n.{name}" for name in COLUMNS.split(", "))
        with self._pool.snapshot() as connection:
            rows = connection.execute(
                f"SELECT {columns} FROM search s JOIN node n ON n.id = s.node_id"  # noqa: S608
                " WHERE s.words @@ to_tsquery('simple', ?)"
                " AND (? OR n.kind IN (SELECT value FROM json_each(?)))"
                " ORDER BY ts_rank('{0.01, 0.1, 0.3, 1.0}', s.words,"
                " to_tsquery('simple', ?)) DESC, n.uri LIMIT ?",
                (query, not kinds, json.dumps(kinds), query, min(limit, MOST)),
            ).fetchall()
            return tuple(node_of(row) for row in rows)

    def told(
        self, uris: Sequence[Uri], ids: Sequence[EventId] = (), limit: int = 40
    ) -> tuple[StoredEvent, ...]:
        with self._pool.snapshot() as connection:
            return read_told(connection, uris, ids, limit, by_seq="seq + 0")

    # --- beside the ports: what `verify_chain` and the bundle read

    def chain(self, after: int = 0, limit: int = 1_000) -> tuple[RawEvent, ...]:
        """Return the stored bytes and columns of events with seq > `after`, unchecked."""
        with self._pool.snapshot() as connection:
            return _page(connection, after, limit)

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


class _Server:
    """The server as the writer sees it."""

    def __init__(self, url: str, password: str) -> None:
        self._pool = _Pool(url, password)
        self.name = self._pool.name
        self.errors = (_driver().Error,)
        self.connection = self._pool.connect()
        try:
            self._migrate()
            self.search = _Words(self.connection)
        except _driver().Error as error:
            self.connection.close()
            raise self.error(error) from error
        except BackendError:
            self.connection.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        if self.connection.closed:
            self.connection.reopen(self._pool.connect())
        self.connection.execute("BEGIN")
        try:
            # held until the end: one writer at a time, on whatever host
            self.connection.execute("SELECT pg_advisory_xact_lock(?)", (LOCK,))
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if not self.connection.closed:
                self.connection.execute("ROLLBACK")
            raise

    def snapshot(self) -> "AbstractContextManager[_Connection]":
        return self._pool.snapshot()

    def page(self, connection: "_Connection", after: int, limit: int) -> tuple[RawEvent, ...]:
        return _page(connection, after, limit)

    def clear(self) -> None:
        self.connection.execute("TRUNCATE node, node_fact, edge, search")

    def error(self, error: Exception) -> BackendError:
        return self._pool.error(error)

    def close(self) -> None:
        self._pool.close()
        self.connection.close()

    def _migrate(self) -> None:
        with self.transaction():
            self.connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT)"
            )
            row = self.connection.execute("SELECT max(version) FROM schema_version").fetchone()
            version = row[0] or 0
            if version > len(MIGRATIONS):
                raise BackendError(
                    f"the graph has schema version {version}, this mlg knows up to"
                    f" {len(MIGRATIONS)}",
                    where=self.name,
                    hint="use the newer mlg that wrote it",
                )
            for number in range(version, len(MIGRATIONS)):
                for statement in MIGRATIONS[number]:
                    self.connection.execute(statement)
                self.connection.execute("INSERT INTO schema_version VALUES (?)", (number + 1,))
            self.connection.executemany(
                "INSERT INTO role (name) SELECT CAST(? AS TEXT)"
                " WHERE NOT EXISTS (SELECT 1 FROM role WHERE name = ?)",
                [(name, name) for name in ROLE_CLASS],
            )


class _Words:
    """The index of words: it never stays behind, a GIN index is cheap to add to."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self._due: set[int] = set()
        self._newest = 0
        self.forget()

    def forget(self) -> None:
        """Drop what waits; needed after each rollback."""
        self._due.clear()
        self._newest = self._connection.execute(
            "SELECT coalesce(max(node_id), 0) FROM search"
        ).fetchone()[0]

    @property
    def behind(self) -> int:
        """How many nodes wait."""
        return len(self._due)

    def grew(self, newest: int) -> None:
        """Nodes were made, up to this id."""
        self._due.update(range(self._newest + 1, newest + 1))
        self._newest = max(self._newest, newest)

    def changed(self, ids: Iterable[int]) -> None:
        """What is said of these nodes changed."""
        self._due.update(ids)

    def catch_up(self, most: int = _PART) -> None:
        """Index all that waits, in parts of so many, inside the caller's transaction."""
        due = sorted(self._due)
        for start in range(0, len(due), most):
            rows = matching(
                self._connection,
                f"SELECT {COLUMNS} FROM node"  # noqa: S608 - our own names
                " WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
                due[start : start + most],
            )
            self._connection.executemany(
                "INSERT INTO search VALUES (?, setweight(to_tsvector('simple', ?), 'A')"
                " || setweight(to_tsvector('simple', ?), 'B')"
                " || setweight(to_tsvector('simple', ?), 'C'))"
                " ON CONFLICT (node_id) DO UPDATE SET words = excluded.words",
                [
                    (row[0], *(" ".join(tokens(part)) for part in row_words(row)))
                    for row in rows
                ],
            )
        self._due.clear()


class _Connection:
    """A connection that takes the SQL that SQLite takes too."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run a statement; the answer has `fetchone` and `fetchall`."""
        return self._found.execute(_translated(sql), parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Any:
        """Run a statement once for each row of parameters."""
        with self._found.cursor() as cursor:
            cursor.executemany(_translated(sql), list(parameters))

    def reopen(self, other: "_Connection") -> None:
        """Go on over another connection."""
        self._found = other._found  # noqa: SLF001 - of this class

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return bool(self._found.closed)

    def close(self) -> None:
        """Close it."""
        self._found.close()


@functools.lru_cache(maxsize=512)
def _translated(sql: str) -> str:
    words = sql.replace("json_each(?)", "jsonb_array_elements_text(CAST(? AS JSONB))")
    return words.replace("?", "%s")


class _Pool:
    """Connections that only read, lent to one thread at a time."""

    def __init__(self, url: str, password: str) -> None:
        self._url, self._password = url, password
        self.name = "the PostgreSQL graph"
        self._idle: queue.SimpleQueue[_Connection] = queue.SimpleQueue()

    def connect(self) -> _Connection:
        """Return a connection in autocommit mode.

        Raises:
            BackendError: The server cannot be reached.
        """
        psycopg = _driver()
        try:
            found = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=10,
                cursor_factory=psycopg.ClientCursor,
                application_name="mlg",
                **({"password": self._password} if self._password else {}),
            )
            found.execute("SET synchronous_commit = on")
            # a plan of three joins needs no compiler
            found.execute("SET jit = off")
        except psycopg.Error as error:
            raise self.error(error) from error
        return _Connection(found)

    @contextlib.contextmanager
    def snapshot(self) -> Generator[_Connection]:
        """Lend a connection inside one read transaction, so that its answers agree.

        Raises:
            BackendError: The server cannot be read.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self.connect()
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection
            connection.execute("COMMIT")
        except _driver().Error as error:
            connection.close()
            raise self.error(error) from error
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)

    def error(self, error: Exception) -> BackendError:
        """Return a driver's error in the house's words; the URL may hold a password."""
        return BackendError(
            f"the graph could not be read or written: {error}".strip(),
            where=self.name,
            hint="check that the server runs and that the URL's user may use the database",
        )

    def close(self) -> None:
        """Close every idle connection."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return


def _page(connection: _Connection, after: int, limit: int) -> tuple[RawEvent, ...]:
    texts = ("key", "id", "at", "recorded_at", "type", "actor", "subject", "cause")
    columns = ", ".join(f"convert_to({name}, 'UTF8')" for name in texts)
    rows = connection.execute(
        f"SELECT seq, data, prev_hash, hash, {columns} FROM event"  # noqa: S608 - our names
        " WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    ).fetchall()
    return tuple(map(RawEvent._make, rows))


def _driver() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise BackendError(
            "a graph in PostgreSQL needs the driver psycopg",
            where="postgresql://",
            hint="pip install 'mlg[postgres]'",
        ) from error
    return psycopg


if TYPE_CHECKING:
    _store: GraphStore = PostgresGraph("")
    _reader: GraphReader = PostgresGraphReader("")
    _history: GraphHistory = PostgresGraphReader("")
