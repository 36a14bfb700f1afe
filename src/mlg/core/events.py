"""The record of what happened: append-only events, and where the log stands."""

from dataclasses import dataclass
from datetime import datetime

from mlg.core.nodes import Attr
from mlg.core.uris import EventId, Uri


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFact:
    """What one event says about one node; attributes merge into the node's."""

    uri: Uri
    name: str = ""
    digest: str | None = None
    attrs: tuple[tuple[str, Attr], ...] = ()
    ended: bool = False
    """True when the thing stopped being at the event's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFact:
    """What one event says about one arrow."""

    src: Uri
    role: str
    dst: Uri
    provenance: str = "declared"
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, in CloudEvents' words, with its cause.

    The facts travel inside the event, so that projecting an old event never
    depends on newer code.
    """

    key: str
    """Idempotency key: ``workflow_id:step_id:n`` in workflows, a digest for ingested ones."""
    id: EventId
    at: datetime
    """When it happened; aware UTC."""
    recorded_at: datetime
    """When we learned of it; aware UTC."""
    type: str
    """`mlg.<noun>.<past participle>`, for example `mlg.model_version.registered`."""
    actor: str
    """Who did it: `local:<user>`, `workflow:train`, `system:supervisor`."""
    subject: Uri
    cause: EventId | None = None
    nodes: tuple[NodeFact, ...] = ()
    edges: tuple[EdgeFact, ...] = ()
    data: tuple[tuple[str, Attr], ...] = ()
    """Whatever else is worth keeping, sorted by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event with its place in the chain."""

    seq: int
    event: Event
    prev_hash: str
    hash: str
    """sha256(prev_hash bytes + canonical JSON bytes), lower-case hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Where the log stands: 0 and 64 zeros when it is empty."""

    seq: int
    hash: str
