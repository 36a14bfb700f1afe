"""Which database holds the graph: the home's own file, or PostgreSQL by its URL."""

import os
from pathlib import Path

from mlg.adapters.graph_postgres import PostgresGraph, PostgresGraphReader
from mlg.adapters.graph_sql_store import SqlGraph
from mlg.adapters.graph_sqlite import SqliteGraph
from mlg.adapters.graph_sqlite_check import BesideCheck
from mlg.adapters.graph_sqlite_read import SqliteGraphReader
from mlg.adapters.secrets_local import LocalSecrets
from mlg.app.settings import Settings, read_settings
from mlg.core.clock import Clock
from mlg.core.errors import NotFoundError
from mlg.core.ports import Secrets
from mlg.graph.audit import Beside

Reader = SqliteGraphReader | PostgresGraphReader

FILE = "graph.sqlite3"


def open_graph(
    home: Path, clock: Clock, settings: Settings, secrets: Secrets
) -> tuple[SqlGraph, Reader]:
    """Return the store and a reader of it.

    Raises:
        BackendError: The database cannot be opened.
        NotFoundError: The password's secret is not there.
    """
    if settings.graph is None:
        return SqliteGraph(home / FILE, clock), SqliteGraphReader(home / FILE)
    given = settings.graph
    password = secrets.resolve(given.password) if given.password else ""
    return PostgresGraph(given.url, password), PostgresGraphReader(given.url, password)


def beside(home: Path, reader: Reader) -> Beside | None:
    """Return what checks a part of the log in a process of its own; None in PostgreSQL."""
    return BesideCheck(home / FILE) if isinstance(reader, SqliteGraphReader) else None


def open_reader(home: Path) -> Reader:
    """Return a reader of an instance's graph, whether or not a control plane runs.

    Raises:
        NotFoundError: There is no instance.
    """
    settings = read_settings(os.environ, home.parent)
    if not (home if settings.graph else home / FILE).exists():
        raise NotFoundError("there is no instance", where=str(home), hint="mlg up --wait")
    if settings.graph is None:
        return SqliteGraphReader(home / FILE)
    given = settings.graph
    secrets = LocalSecrets(os.environ, home.parent)
    password = secrets.resolve(given.password) if given.password else ""
    return PostgresGraphReader(given.url, password)
