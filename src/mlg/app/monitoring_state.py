"""What the monitors keep between two processes, and rows of the log as they read them."""

import logging
import secrets
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec

from mlg.core.clock import Clock, parse_time
from mlg.core.errors import LifecycleError
from mlg.core.ports import Batch, Cursor
from mlg.core.predict import ServingPolicy
from mlg.core.uris import Digest
from mlg.manifest.specs_watch import MonitorSpec
from mlg.monitors.monitor import Monitor
from mlg.monitors.severity import PolicyChange
from mlg.serving.log import decode_feedback, decode_prediction

FOLDER: Final = "monitors"

logger = logging.getLogger("mlg.monitoring")


class Stored(msgspec.Struct, kw_only=True, frozen=True):
    """Everything about one monitor that a new process needs."""

    born: str
    spec: MonitorSpec
    monitor: Monitor
    cursor: Cursor
    versions: dict[str, Digest] = {}
    """Artifact by version, of those that may have answered."""
    kinds: tuple[str, ...] = ()
    """Kinds of alerts that the open incident has opened."""
    windows: int = 0
    """Windows of all requests, until now."""
    opened: int = 0
    """The same when the open incident opened."""
    newest: str = ""
    """End of the newest window, or newest answer before the first: event time, RFC 3339."""
    damaged: int = 0
    """Records that could not be read."""


def stored_of(content: bytes, name: str) -> Stored | None:
    """Return a monitor's memory; None when it is damaged."""
    try:
        return msgspec.json.decode(content, type=Stored)
    except msgspec.MsgspecError:
        logger.warning("the memory of monitor %s is damaged: it learns anew", name)
        return None


def time_of(text: str, clock: Clock) -> datetime:
    """Return an event time; now, where the text is none."""
    try:
        return parse_time(text)
    except ValueError:
        return clock.now()


def drifted(policy: ServingPolicy, change: PolicyChange) -> ServingPolicy:
    """Return the policy under an incident; nothing but incidents asks for diversity yet."""
    return change.apply(replace(policy, diversity=0.0), policy.version)


def rows_of(batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Return predictions, feedback, and how many records could not be read."""
    predictions: list[dict[str, Any]] = []
    feedback: list[dict[str, Any]] = []
    damaged = 0
    for record in batch.records:
        try:
            if record.kind == "prediction":
                predictions.append(decode_prediction(record.payload))
            elif record.kind == "feedback":
                feedback.append(decode_feedback(record.payload))
        except (LifecycleError, ValueError, TypeError):
            damaged += 1
    return predictions, feedback, damaged


def watched(spec: MonitorSpec) -> MonitorSpec:
    """Return what makes a monitor another one; what follows an alert does not."""
    return msgspec.structs.replace(spec, on_alert="record")


def path_of(name: str) -> str:
    """Return where a monitor's memory is kept."""
    return f"{FOLDER}/{name}.json"


def without_viewer(stored: Stored, viewer: str) -> Stored | None:
    """Return the memory with another name for the viewer; None when it does not know him.

    The name is drawn anew, so that counts by viewer stay and lead nowhere.
    """
    text = msgspec.json.encode(stored)
    if viewer.encode() not in text:
        return None
    return msgspec.json.decode(
        text.replace(viewer.encode(), secrets.token_hex(len(viewer) // 2).encode()), type=Stored
    )
