"""DBOS, set up the one way that this product needs it.

Traps that this page cures (each was hit; see docs/adr): the default serializer is
pickle; SQLite is not opened in WAL; recovery is tied to executor id and application
version, so both are pinned.
"""

import sqlite3
from pathlib import Path
from typing import Any, Final

import msgspec
from dbos import DBOS, DBOSPortableJSONSerializer, SetWorkflowID

from mlg.core.errors import BackendError
from mlg.workflows.train import Train, TrainRequest

APPLICATION_VERSION: Final = "1"
"""Raised when the sequence of steps of a workflow changes."""

EXECUTOR: Final = "control"
"""One slot: the embedded form has one control plane at a time."""


def configure(path: Path) -> None:
    """Set DBOS up on the SQLite file; workflow classes are made after this and before `launch`.

    Raises:
        BackendError: The file cannot be opened or written.
    """
    try:
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise BackendError(
            f"workflow state cannot be opened: {error}",
            where=path.name,
            hint="check the disk and the rights on the folder; the graph is not touched.",
        ) from error
    DBOS(
        config={
            "name": "mlg",
            "system_database_url": f"sqlite:///{path}",
            "executor_id": EXECUTOR,
            "application_version": APPLICATION_VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "ERROR",
        }
    )


def launch() -> None:
    """Start DBOS; interrupted workflows of an earlier control plane go on at once."""
    DBOS.launch()


def close() -> None:
    """Stop DBOS; running workflows are interrupted and go on at the next launch."""
    DBOS.destroy()


def start_run(train: Train, request: TrainRequest) -> str:
    """Start a run in the background; the same run id starts it once. Return the run id."""
    with SetWorkflowID(request.run_id):
        DBOS.start_workflow(train.run, msgspec.to_builtins(request))
    return request.run_id


def run_result(run_id: str) -> dict[str, Any]:
    """Return `{"state": "running"}`, what the run returned, or how it broke."""
    status = DBOS.get_workflow_status(run_id)
    if status is None:
        return {}
    if status.status == "SUCCESS":
        return dict(status.output or {})
    if status.status in {"ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"}:
        what = str(status.error or status.status.lower())
        problem = {"error": "backend", "what": what, "where": run_id, "hint": "see the log."}
        return {"state": "failed", "error": problem}
    return {"state": "running"}
