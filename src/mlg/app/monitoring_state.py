"""What the monitors keep between two processes."""

import logging
import secrets
from dataclasses import replace
from typing import Final

import msgspec

from mlg.core.ports import Cursor, Files
from mlg.core.predict import ServingPolicy
from mlg.core.uris import Digest
from mlg.manifest.specs_watch import MonitorSpec
from mlg.monitors.hold import Held
from mlg.monitors.monitor import Monitor
from mlg.monitors.severity import PolicyChange
from mlg.monitors.usual import Usual

FOLDER: Final = "monitors"

logger = logging.getLogger("mlg.monitoring")


class KeptBaseline(msgspec.Struct, kw_only=True, frozen=True):
    """A version of what is usual of one stream; the same numbers are the same content."""

    digest: Digest
    first_s: float
    """Event time of the first window learned from, seconds since 1970."""
    learned: int
    """Windows learned from."""
    columns: int
    """Of the season, in use."""

    def is_of(self, usual: Usual) -> bool:
        """Return whether this is what is held for usual now."""
        mine = (self.first_s, self.learned, self.columns)
        return mine == (usual.first_s, usual.learned, usual.columns)


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
    held: dict[str, Held] = {}
    """What holds them, by kind; the others page."""
    turns: int = 0
    """How often an open alert was held or released."""
    windows: int = 0
    """Windows of all requests, until now."""
    opened: int = 0
    """The same when the open incident opened."""
    newest: str = ""
    """End of the newest window, or newest answer before the first: event time, RFC 3339."""
    damaged: int = 0
    """Records that could not be read."""
    baselines: dict[str, KeptBaseline] = {}
    """Versions of what is usual that were kept last, by stream."""


def drifted(policy: ServingPolicy, change: PolicyChange) -> ServingPolicy:
    """Return the policy under an incident; nothing but incidents asks for diversity yet."""
    return change.apply(replace(policy, diversity=0.0), policy.version)


def watched(spec: MonitorSpec) -> MonitorSpec:
    """Return what makes a monitor another one; what follows an alert does not."""
    return msgspec.structs.replace(spec, on_alert="record")


def path_of(name: str) -> str:
    """Return where a monitor's memory is kept."""
    return f"{FOLDER}/{name}.json"


def read_stored(files: Files, name: str) -> Stored | None:
    """Return a monitor's memory; None when there is none, or it is damaged."""
    content = files.read(path_of(name))
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=Stored)
    except msgspec.MsgspecError:
        logger.warning("the memory of monitor %s is damaged: it learns anew", name)
        return None


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
