"""The graph's SQLite file: its tables, how it is opened, what its errors mean."""

import contextlib
import queue
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

from mlg.core.errors import BackendError
from mlg.core.nodes import ROLE_CLASS
from mlg.graph.encode import GENESIS

_GENERATED: Final = ("key", "id", "at", "recorded_at", "type", "actor", "subject", "cause")
"""Columns of `event` that are made from `data`."""


def _generated(name: str) -> str:
    text = "CAST(data AS TEXT)"
    value = f"CASE WHEN json_valid({text}) THEN json_extract({text}, '$.{name}') END"
    return f"{name} TEXT GENERATED ALWAYS AS ({value}) VIRTUAL"


_APPEND_ONLY: Final = (
    "CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN"
    " SELECT RAISE(ABORT, 'the event log is append-only'); END",
    "CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN"
    " SELECT RAISE(ABORT, 'the event log is append-only'); END",
    "CREATE TRIGGER event_in_order BEFORE INSERT ON event"
    " WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM event) BEGIN"
    " SELECT RAISE(ABORT, 'the event log is append-only'); END",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE event (seq INTEGER PRIMARY KEY, data BLOB NOT NULL,"
        " prev_hash BLOB NOT NULL, hash BLOB NOT NULL, "
        + ", ".join(_generated(name) for name in _GENERATED)
        + ")",
        "CREATE UNIQUE INDEX event_key ON event (key)",
        "CREATE UNIQUE INDEX event_id ON event (id)",
        *_APPEND_ONLY,
        "CREATE TABLE log_head (one INTEGER PRIMARY KEY CHECK (one = 1),"
        " seq INTEGER NOT NULL, hash BLOB NOT NULL)",
        f"INSERT INTO log_head VALUES (1, 0, x'{GENESIS}')",  # noqa: S608 - a constant
        "CREATE TABLE retold (id TEXT PRIMARY KEY, stored TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE role (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL)",
        "CREATE TABLE node (id INTEGER PRIMARY KEY, uri TEXT UNIQUE NOT NULL,"
        " kind TEXT NOT NULL, name TEXT NOT NULL, digest TEXT, attrs TEXT NOT NULL,"
        " valid_from INTEGER NOT NULL, valid_to INTEGER,"
        " last_at INTEGER, last_key TEXT, last_place INTEGER)",
        "CREATE INDEX node_kind ON node (kind, uri)",
        "CREATE INDEX node_service ON node (json_extract(attrs, '$.service'))"
        " WHERE kind = 'deployment'",
        "CREATE TABLE node_fact (node_id INTEGER NOT NULL, at INTEGER NOT NULL,"
        " key TEXT NOT NULL, place INTEGER NOT NULL, seq INTEGER NOT NULL,"
        " name TEXT NOT NULL, digest TEXT, attrs TEXT NOT NULL, ended INTEGER NOT NULL,"
        " PRIMARY KEY (node_id, at, key, place)) WITHOUT ROWID",
        "CREATE TABLE edge (id INTEGER PRIMARY KEY, src_id INTEGER NOT NULL,"
        " dst_id INTEGER NOT NULL, role INTEGER NOT NULL, class INTEGER NOT NULL,"
        " at INTEGER NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL,"
        " provenance INTEGER NOT NULL, ended INTEGER NOT NULL,"
        " valid_from INTEGER, valid_to INTEGER)",
        "CREATE INDEX edge_out ON edge (src_id, role, dst_id, valid_from, valid_to)",
        "CREATE INDEX edge_in ON edge (dst_id, role, src_id, valid_from, valid_to)",
        "CREATE VIRTUAL TABLE search USING fts5(name, uri, attrs,"
        " tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')",
    ),
    (
        # the same two columns of `event` are read out of its JSON, which may be megabytes
        "CREATE TABLE event_name (seq INTEGER PRIMARY KEY, id TEXT NOT NULL,"
        " key TEXT NOT NULL)",
        "INSERT INTO event_name SELECT seq, id, key FROM event",
    ),
    (
        # real columns before the JSON: a name is read without its event's megabytes
        "CREATE TABLE event_3 (seq INTEGER PRIMARY KEY, key TEXT, id TEXT, at TEXT,"
        " recorded_at TEXT, type TEXT, actor TEXT, subject TEXT, cause TEXT,"
        " prev_hash BLOB NOT NULL, hash BLOB NOT NULL, data BLOB NOT NULL)",
        "INSERT INTO event_3 SELECT seq, key, id, at, recorded_at, type, actor, subject,"
        " cause, prev_hash, hash, data FROM event ORDER BY seq",
        "DROP TABLE event",
        "DROP TABLE event_name",
        "ALTER TABLE event_3 RENAME TO event",
        "CREATE UNIQUE INDEX event_key ON event (key)",
        "CREATE UNIQUE INDEX event_id ON event (id)",
        "CREATE INDEX event_subject ON event (subject)",
        *_APPEND_ONLY,
        # one fact about a node lies in its row alone; more of them in node_fact
        "CREATE TABLE node_3 (id INTEGER PRIMARY KEY, uri TEXT UNIQUE NOT NULL,"
        " kind TEXT NOT NULL, name TEXT NOT NULL, digest TEXT, attrs TEXT NOT NULL,"
        " valid_from INTEGER NOT NULL, valid_to INTEGER,"
        " last_at INTEGER, last_key TEXT, last_place INTEGER, last_seq INTEGER,"
        " only_fact INTEGER NOT NULL)",
        "INSERT INTO node_3 SELECT id, uri, kind, name, digest, attrs, valid_from, valid_to,"
        " last_at, last_key, last_place, (SELECT seq FROM node_fact f WHERE f.node_id = node.id"
        " AND f.at = last_at AND f.key = last_key AND f.place = last_place), 0 FROM node",
        "DROP TABLE node",
        "ALTER TABLE node_3 RENAME TO node",
        "CREATE INDEX node_service ON node (json_extract(attrs, '$.service'))"
        " WHERE kind = 'deployment'",
        "CREATE TABLE edge_3 (id INTEGER PRIMARY KEY, src_id INTEGER NOT NULL,"
        " dst_id INTEGER NOT NULL, role INTEGER NOT NULL, at INTEGER NOT NULL,"
        " seq INTEGER NOT NULL, place INTEGER NOT NULL, provenance INTEGER NOT NULL,"
        " ended INTEGER NOT NULL, valid_from INTEGER, valid_to INTEGER)",
        "INSERT INTO edge_3 SELECT id, src_id, dst_id, role, at, seq, place, provenance, ended,"
        " valid_from, valid_to FROM edge",
        "DROP TABLE edge",
        "ALTER TABLE edge_3 RENAME TO edge",
        "CREATE INDEX edge_out ON edge (src_id, role, dst_id, valid_from, valid_to)",
        "CREATE INDEX edge_in ON edge (dst_id, role, src_id, valid_from, valid_to)",
        # words are indexed after the event is safe: nodes up to which id, and which anew
        "CREATE TABLE search_state (one INTEGER PRIMARY KEY CHECK (one = 1),"
        " upto INTEGER NOT NULL)",
        "INSERT INTO search_state SELECT 1, coalesce(max(id), 0) FROM node",
        "CREATE TABLE search_due (node_id INTEGER PRIMARY KEY)",
    ),
    (
        # arrows lie beside each other by the end that a trace comes from, and both indexes
        # hold all that a walk reads
        "CREATE TABLE edge_4 (dst_id INTEGER NOT NULL, role INTEGER NOT NULL,"
        " src_id INTEGER NOT NULL, seq INTEGER NOT NULL, place INTEGER NOT NULL,"
        " provenance INTEGER NOT NULL, ended INTEGER NOT NULL, at INTEGER NOT NULL,"
        " valid_from INTEGER, valid_to INTEGER,"
        " PRIMARY KEY (dst_id, role, src_id, seq, place)) WITHOUT ROWID",
        "INSERT INTO edge_4 SELECT dst_id, role, src_id, seq, place, provenance, ended, at,"
        " valid_from, valid_to FROM edge ORDER BY 1, 2, 3, 4, 5",
        "DROP TABLE edge",
        "ALTER TABLE edge_4 RENAME TO edge",
        "CREATE INDEX edge_out ON edge (src_id, role, valid_from, valid_to, provenance)",
        # beginnings of one letter too; no sizes of columns, as nothing asks for bm25. The
        # words are written anew by the writer, as of a graph that was just loaded
        "DROP TABLE search",
        "CREATE VIRTUAL TABLE search USING fts5(name, uri, attrs, columnsize = 0,"
        " tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3')",
        "UPDATE search_state SET upto = 0",
        "DELETE FROM search_due",
    ),
)
"""One tuple of statements a version; `PRAGMA user_version` counts those applied."""

_HINTS: Final = (
    ("full", "free disk space, then repeat the command; nothing of it was written"),
    ("not a database", "the file is damaged: restore a backup (mlg restore)"),
    ("malformed", "the file is damaged: restore a backup (mlg restore)"),
    ("locked", "another process holds the file: see mlg status, then repeat"),
    ("readonly", "give this user the right to write the file and its folder"),
    ("unable to open", "check that the file exists and that this user may read its folder"),
    ("no such table", "this is not a graph of mlg, or `mlg up` never ran here"),
    ("disk i/o", "check the disk and its free space, then repeat"),
)


def backend_error(error: Exception, path: Path) -> BackendError:
    """Return the error of the driver in the house's words."""
    text = str(error)
    hint = next((hint for word, hint in _HINTS if word in text.lower()), "see mlg doctor")
    return BackendError(
        f"the graph could not be read or written: {text}", where=path.name, hint=hint
    )


def fail(error: Exception, path: Path) -> NoReturn:
    """Raise `backend_error` of a driver's error.

    Raises:
        BackendError: Always.
    """
    found = backend_error(error, path)
    raise found from error


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Return a connection in autocommit mode, for use by one thread at a time.

    Raises:
        BackendError: The file cannot be opened or is no graph of ours.
    """
    mode = "rwc" if write else "ro"
    try:
        found = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10.0,
        )
    except sqlite3.Error as error:
        fail(error, path)
    try:
        found.execute(f"PRAGMA cache_size = {-262_144 if write else -65_536}")
        if write:
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = FULL")
            found.execute("PRAGMA wal_autocheckpoint = 8000")
            migrate(found, path)
        elif 0 < (version := check_version(found, path)) < len(MIGRATIONS):
            raise BackendError(
                f"the graph has schema version {version}, this mlg reads {len(MIGRATIONS)}",
                where=path.name,
                hint="run mlg up once: it brings the file up to date",
            )
    except sqlite3.Error as error:
        found.close()
        fail(error, path)
    except BackendError:
        found.close()
        raise
    return found


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return how many migrations the file has seen.

    Raises:
        BackendError: A newer mlg made it.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise BackendError(
            f"the graph has schema version {version}, this mlg knows up to {len(MIGRATIONS)}",
            where=path.name,
            hint="use the newer mlg that wrote it",
        )
    return version


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest schema in one transaction.

    Raises:
        BackendError: A newer mlg made the file.
    """
    if check_version(connection, path) < len(MIGRATIONS):
        with transaction(connection):
            for version in range(check_version(connection, path), len(MIGRATIONS)):
                for statement in MIGRATIONS[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
    known = {row[0] for row in connection.execute("SELECT name FROM role")}
    missing = [(name,) for name in ROLE_CLASS if name not in known]
    if missing:
        with transaction(connection):
            connection.executemany("INSERT OR IGNORE INTO role (name) VALUES (?)", missing)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Hold the write lock; commit at the end, roll back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class ReadPool:
    """Read-only connections, lent to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()

    @contextlib.contextmanager
    def snapshot(self) -> Generator[sqlite3.Connection]:
        """Lend a connection inside one read transaction, so that its answers agree.

        Raises:
            BackendError: The file cannot be read.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = connect(self._path, write=False)
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            fail(error, self._path)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._idle.put(connection)

    def close(self) -> None:
        """Close every idle connection."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return
