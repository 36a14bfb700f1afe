"""The graph's log and projections in one SQLite file."""

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from mlg.adapters.graph_sql_store import PROJECTIONS, SqlGraph
from mlg.adapters.graph_sqlite_read import read_chain
from mlg.adapters.graph_sqlite_schema import (
    ReadPool,
    backend_error,
    connect,
    fail,
    transaction,
)
from mlg.adapters.graph_sqlite_search import SearchIndex
from mlg.core.clock import Clock, ManualClock
from mlg.core.errors import BackendError
from mlg.core.ports import GraphStore
from mlg.graph.audit import RawEvent


class SqliteGraph(SqlGraph):
    """The graph in one file: WAL, every commit synced, readers on connections of their own.

    Args:
        path: The database file; made when it is not there (its folder must be).
        _clock: Not read; every adapter of the log is made the same way.
        max_pages: Most pages of 4 KiB that the file may take; None is no limit.

    Raises:
        BackendError: The file cannot be opened, is damaged, or was cut short.
    """

    def __init__(self, path: Path, _clock: Clock, *, max_pages: int | None = None) -> None:
        super().__init__(_File(path, max_pages))


class _File:
    """The file as the writer sees it."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path, max_pages: int | None) -> None:
        self._path, self.name = path, path.name
        self.connection = connect(path, write=True)
        try:
            if max_pages is not None:
                self.connection.execute(f"PRAGMA max_page_count = {int(max_pages)}")
            self.search = SearchIndex(self.connection)
        except sqlite3.Error as error:
            self.connection.close()
            fail(error, path)
        self._pool = ReadPool(path)

    def transaction(self) -> AbstractContextManager[None]:
        return transaction(self.connection)

    def snapshot(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._pool.snapshot()

    def page(
        self, connection: sqlite3.Connection, after: int, limit: int
    ) -> tuple[RawEvent, ...]:
        return read_chain(connection, after, limit)

    def clear(self) -> None:
        for table in PROJECTIONS:
            self.connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our names
        self.connection.execute("UPDATE search_state SET upto = 0")

    def error(self, error: Exception) -> BackendError:
        return backend_error(error, self._path)

    def close(self) -> None:
        self._pool.close()
        self.connection.close()


if TYPE_CHECKING:
    _: GraphStore = SqliteGraph(Path(), ManualClock())
