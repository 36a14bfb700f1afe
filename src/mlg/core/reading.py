"""Answers of the graph: walks, pages of nodes, what was in production."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from mlg.core.events import StoredEvent
from mlg.core.nodes import Edge, EdgeClass, Node
from mlg.core.uris import Uri

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeQuery:
    """Which nodes to list; all conditions hold together."""

    kinds: tuple[str, ...] = ()
    uri: Uri | None = None
    attr: tuple[str, str] | None = None
    """One attribute and its value, as text."""
    as_of: datetime | None = None
    limit: int = 100
    """At most 10,000."""
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePage:
    """Some nodes, how many there are in all, and where to go on."""

    nodes: tuple[Node, ...]
    total: int
    cursor: str | None
    """None on the last page."""

    @property
    def truncated(self) -> bool:
        """Whether more nodes follow."""
        return self.cursor is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkOptions:
    """How far a walk goes."""

    classes: tuple[EdgeClass, ...] = ("lineage", "causal")
    roles: tuple[str, ...] = ()
    """Empty: every role of the classes."""
    stop_at: tuple[str, ...] = ()
    """Roles that are not followed, for example `warm_started_from`."""
    depth: int | None = None
    as_of: datetime | None = None
    limit: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A node that a walk came to, and in how many hops at least."""

    node: Node
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Everything that can be reached from the roots, nearest first."""

    root: Uri
    direction: Direction
    total: int
    """Number of reached nodes, also when `nodes` was cut at the limit."""
    truncated: bool
    nodes: tuple[Reached, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InProduction:
    """One version that took traffic at a time."""

    model_version: Uri
    deployment: Uri
    image_digest: str
    """Digest of the image, or of the artifact where no image was built."""
    share_bp: int
    since: datetime
    health: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """What served at a time; no versions when nothing did."""

    service: str
    at: datetime
    versions: tuple[InProduction, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Some events, and where to go on."""

    events: tuple[StoredEvent, ...]
    cursor: int
    """Seq of the last event that was looked at: the next `after`."""
    truncated: bool
    """Whether events follow that were not looked at."""
