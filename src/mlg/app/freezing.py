"""`mlg freeze`: the file that every deciding part reads, and its event."""

from typing import Any

from mlg.automations.freeze import FREEZE_FILE, Freeze, freeze_from_bytes, freeze_to_bytes
from mlg.core.clock import rfc3339
from mlg.core.ports import Files, GraphStore
from mlg.graph import record_automations
from mlg.graph.record import Recorder


def frozen_document(files: Files) -> dict[str, Any]:
    """Return `{"frozen", "by", "at", "reason"}`; the last three are None when it is not."""
    held = freeze_from_bytes(files.read(FREEZE_FILE))
    if held is None:
        return {"frozen": False, "by": None, "at": None, "reason": None}
    at = rfc3339(held.at) if held.at else None
    return {"frozen": True, "by": held.by, "at": at, "reason": held.reason}


def freeze(
    files: Files, store: GraphStore, recorder: Recorder, on: bool, reason: str
) -> dict[str, Any]:
    """Freeze everything but rollbacks, or let it go on; return what holds now.

    The file is first when it freezes and last when it lifts: a crash between leaves
    everything frozen.

    Raises:
        BackendError: It could not be written or recorded.
    """
    if (files.read(FREEZE_FILE) is not None) == on:
        return frozen_document(files)
    at = recorder.clock.now()
    if on:
        files.write(
            FREEZE_FILE, freeze_to_bytes(Freeze(by=recorder.actor, at=at, reason=reason))
        )
    key = f"freeze:{recorder.ids.new_id()}"
    store.append(
        (record_automations.freeze_changed(recorder, key=key, on=on, reason=reason, at=at),)
    )
    if not on:
        files.remove(FREEZE_FILE)
    return frozen_document(files)
