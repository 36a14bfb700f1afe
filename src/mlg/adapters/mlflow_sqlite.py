"""An MLflow database in a SQLite file, read without MLflow; nothing is ever written.

Tested with the tables of MLflow 3.17. What is read by name has been there since 2.4.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from mlg.core.errors import BackendError

PAGE: Final = 200

Json = Mapping[str, Any]

_PAIRS: Final = {
    "experiment_tags": "experiment_id",
    "params": "run_uuid",
    "tags": "run_uuid",
}
_NEEDED: Final = frozenset(("experiments", "runs", "registered_models", "model_versions"))


class MlflowSqlite:
    """Answers as MLflow's REST API would, from its tables.

    Args:
        path: The database's file.
        where: How messages name it.
    """

    def __init__(self, path: Path, where: str) -> None:
        self._path, self._where = path, where

    def pages(self, what: str, within: str = "") -> Iterator[Json]:
        """Yield everything of a sort; see `MlflowRest.pages`.

        Raises:
            BackendError: The file cannot be read, or is no MLflow database.
        """
        try:
            with closing(self._open()) as database:
                if what == "experiments":
                    ids = _column(database, "SELECT experiment_id FROM experiments ORDER BY 1")
                    yield from (_experiment(database, id_) for id_ in ids)
                elif what == "runs":
                    yield from _runs(database, within)
                elif what == "models":
                    names = _column(database, "SELECT name FROM registered_models ORDER BY 1")
                    yield from (_model(database, name) for name in names)
                else:
                    yield from _versions(database, within)
        except sqlite3.Error as wrong:
            raise self._unreadable(wrong) from wrong

    def one(self, what: str, id_: str) -> Json | None:
        """Return an `experiment`, `run` or `model`; see `MlflowRest.one`.

        Raises:
            BackendError: The file cannot be read, or is no MLflow database.
        """
        try:
            with closing(self._open()) as database:
                if what == "experiment":
                    known = "SELECT 1 FROM experiments WHERE experiment_id = ?"
                    return _experiment(database, id_) if _has(database, known, id_) else None
                if what == "run":
                    known = "SELECT 1 FROM runs WHERE run_uuid = ?"
                    return _run(database, id_) if _has(database, known, id_) else None
                known = "SELECT 1 FROM registered_models WHERE name = ?"
                return _model(database, id_) if _has(database, known, id_) else None
        except sqlite3.Error as wrong:
            raise self._unreadable(wrong) from wrong

    def _open(self) -> sqlite3.Connection:
        if not self._path.is_file():
            raise BackendError(
                "no such file", where=self._where, hint="name the database's file."
            )
        database = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=30)
        database.row_factory = sqlite3.Row
        tables = set(_column(database, "SELECT name FROM sqlite_master WHERE type = 'table'"))
        if not tables >= _NEEDED:
            database.close()
            raise BackendError(
                "expected the tables of MLflow, found none of them",
                where=self._where,
                hint="is this MLflow's backend store?",
            )
        return database

    def _unreadable(self, wrong: sqlite3.Error) -> BackendError:
        return BackendError(
            f"MLflow's database cannot be read: {wrong}",
            where=self._where,
            hint="is it of MLflow before 2.4? Import from its server instead.",
        )


def _column(database: sqlite3.Connection, sql: str, *given: object) -> list[str]:
    return [str(row[0]) for row in database.execute(sql, given)]


def _has(database: sqlite3.Connection, sql: str, id_: str) -> bool:
    return database.execute(sql, (id_,)).fetchone() is not None


def _row(database: sqlite3.Connection, sql: str, *given: object) -> dict[str, Any]:
    return dict(database.execute(sql, given).fetchone())


def _pairs(database: sqlite3.Connection, table: str, id_: object) -> list[Json]:
    sql = f"SELECT key, value FROM {table} WHERE {_PAIRS[table]} = ?"  # noqa: S608 - a constant
    return [
        {"key": row["key"], "value": row["value"] or ""}
        for row in database.execute(sql, (id_,))
    ]


def _experiment(database: sqlite3.Connection, id_: str) -> Json:
    row = _row(database, "SELECT * FROM experiments WHERE experiment_id = ?", id_)
    return {**row, "experiment_id": id_, "tags": _pairs(database, "experiment_tags", id_)}


def _runs(database: sqlite3.Connection, experiment_id: str) -> Iterator[Json]:
    last = ""
    while True:
        ids = _column(
            database,
            "SELECT run_uuid FROM runs WHERE experiment_id = ? AND run_uuid > ? "
            "ORDER BY run_uuid LIMIT ?",
            experiment_id,
            last,
            PAGE,
        )
        if not ids:
            return
        yield from (_run(database, id_) for id_ in ids)
        last = ids[-1]


def _run(database: sqlite3.Connection, id_: str) -> Json:
    info = _row(database, "SELECT * FROM runs WHERE run_uuid = ?", id_)
    measured = database.execute(
        "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?", (id_,)
    )
    metrics = [
        {"key": row["key"], "value": float("nan") if row["is_nan"] else row["value"]}
        for row in measured
    ]
    read = database.execute(
        "SELECT i.input_uuid, d.name, d.digest, d.dataset_source_type AS source_type, "
        "d.dataset_source AS source, d.dataset_schema AS schema, d.dataset_profile AS profile "
        "FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
        "WHERE i.destination_type = 'RUN' AND i.source_type = 'DATASET' "
        "AND i.destination_id = ?",
        (id_,),
    )
    inputs: list[Json] = []
    for row in read.fetchall():
        tags = database.execute(
            "SELECT name AS key, value FROM input_tags WHERE input_uuid = ?",
            (row["input_uuid"],),
        )
        inputs.append({"dataset": dict(row), "tags": [dict(tag) for tag in tags]})
    return {
        "info": {
            **info,
            "run_id": id_,
            "run_name": info.get("name"),
            "experiment_id": str(info["experiment_id"]),
        },
        "data": {
            "metrics": metrics,
            "params": _pairs(database, "params", id_),
            "tags": _pairs(database, "tags", id_),
        },
        "inputs": {"dataset_inputs": inputs},
    }


def _model(database: sqlite3.Connection, name: str) -> Json:
    row = _row(database, "SELECT * FROM registered_models WHERE name = ?", name)
    tags = database.execute(
        "SELECT key, value FROM registered_model_tags WHERE name = ?", (name,)
    )
    aliases = database.execute(
        "SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)
    )
    return {
        **_stamped(row),
        "tags": [dict(tag) for tag in tags],
        "aliases": [dict(alias) for alias in aliases],
    }


def _versions(database: sqlite3.Connection, name: str) -> Iterator[Json]:
    listed = database.execute(
        "SELECT * FROM model_versions WHERE name = ? AND current_stage <> 'Deleted_Internal' "
        "ORDER BY version",
        (name,),
    )
    for row in listed.fetchall():
        tags = database.execute(
            "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?",
            (name, row["version"]),
        )
        yield {**_stamped(dict(row)), "tags": [dict(tag) for tag in tags]}


def _stamped(row: dict[str, Any]) -> Json:
    return {
        **row,
        "creation_timestamp": row.get("creation_time"),
        "last_updated_timestamp": row.get("last_updated_time"),
    }
